//! The DuckDB script with views of the lake: each table over all published snapshots, and common questions of analysts.
//!
//! The script contains the lake's path, but no file names: it reads the manifests each time it runs, so it stays valid
//! when snapshots are published. It never reads a file that no manifest lists, and with a condition on the date only the
//! files of that date.

use super::script::{extension, filled, place};
use crate::contract::Table;
use crate::error::Result;
use crate::store::{Layout, Store};
use crate::visible::escaped;

/// The script, with placeholders in braces.
const SCRIPT: &str = include_str!("views.sql");

/// The DuckDB script for the lake.
///
/// # Errors
/// A lake that fails, or in which no snapshot is published: the views would have no columns. A path that no pattern of
/// DuckDB can match.
pub async fn views(store: &Store) -> Result<String> {
    Ok(script(&place(store).await?))
}

fn script(place: &str) -> String {
    let tables: String = Table::ALL
        .into_iter()
        .map(|table| view(table.name()))
        .collect();
    let (shown, lake) = (escaped(place), quoted(place));
    filled(
        SCRIPT,
        &[
            ("extension", extension(place)),
            ("tables", &tables),
            ("version", env!("CARGO_PKG_VERSION")),
            ("manifests", Layout::manifests_pattern()),
            ("alerts", Layout::alerts_pattern()),
            ("place", &shown),
            ("lake", &lake),
        ],
    )
}

/// The view of one table over all published snapshots.
fn view(name: &str) -> String {
    format!(
        "
SET VARIABLE backlake_{name} = backlake_files('{name}');
SET VARIABLE backlake_{name}_differ = backlake_contracts_differ('{name}');
CREATE OR REPLACE TEMP VIEW {name} AS
SELECT *
FROM read_parquet(
    getvariable('backlake_{name}'),
    hive_partitioning = true,
    hive_types = {{snapshot_date: DATE}},
    union_by_name = getvariable('backlake_{name}_differ')
);
"
    )
}

/// A path for use between apostrophes in SQL, escaped so that DuckDB does not read it as a pattern.
fn quoted(path: &str) -> String {
    let mut quoted = String::with_capacity(path.len());
    for character in path.chars() {
        match character {
            '\'' => quoted.push_str("''"),
            '[' | '*' | '?' => quoted.extend(['[', character, ']']),
            _ => quoted.push(character),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_special_characters_is_escaped() {
        let script = script("/srv/the team's [old] lake");
        assert!(
            script.contains("'/srv/the team''s [[]old] lake/_snapshots/[0-9]"),
            "{script}"
        );
        assert!(
            script.contains("list('/srv/the team''s [[]old] lake/' || file.path)"),
            "{script}"
        );
        assert!(
            !script.contains("{lake}") && !script.contains("INSTALL"),
            "{script}"
        );
    }

    #[test]
    fn no_path_becomes_a_statement_or_a_placeholder() {
        let plain = script("/srv/lake");
        for place in [
            "/srv/{lake}\nDROP TABLE pages;--",
            "/srv/{place}{tables}{version}{extension}",
            "/srv/x\r\n.shell id",
            "/srv/x\u{2028}SELECT 1;",
            "/srv/';\nSELECT 1;--",
        ] {
            let found = script(place);
            let quoted = place.replace('\'', "''");
            // Outside of the comment, the path is in two literals and nowhere else.
            let (comment, rest) = found.split_once('\n').unwrap();
            assert!(comment.starts_with("-- DuckDB views"), "{comment}");
            let expected = plain.split_once('\n').unwrap().1;
            assert_eq!(rest, expected.replace("/srv/lake", &quoted), "{place}");
        }
    }

    #[test]
    fn a_remote_lake_needs_its_extension() {
        for (place, extension) in [
            ("s3://team-lake/links", "LOAD httpfs;"),
            ("gs://team-lake/links", "LOAD httpfs;"),
            ("az://team-lake/links", "LOAD azure;"),
        ] {
            let script = script(place);
            assert!(script.contains(extension), "{script}");
            assert!(
                script.contains("//team-lake/links/_snapshots/["),
                "{script}"
            );
        }
    }
}
