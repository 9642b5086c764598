//! The DuckDB script with views of the lake: each table over all published snapshots, and common questions of analysts.
//!
//! The script contains the lake's path, but no file names: it reads the manifests each time it runs, so it stays valid
//! when snapshots are published. It never reads a file that no manifest lists, and with a condition on the date only the
//! files of that date.

use std::collections::BTreeSet;

use chrono::NaiveDate;

use super::manifest::{Manifest, snapshots};
use super::script::{extension, filled, place};
use crate::contract::Table;
use crate::error::Result;
use crate::store::{Layout, Store};
use crate::visible::escaped;

/// The script, with placeholders in braces.
const SCRIPT: &str = include_str!("views.sql");
/// How the manifests are read.
const MANIFESTS: &str = include_str!("manifests.sql");
/// What comes before the views of a session, and before those of a database file.
const SESSION: &str = include_str!("views_session.sql");
const DATABASE: &str = include_str!("views_database.sql");

/// How long the views live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewLife {
    /// As long as a session. The script reads the manifests each time it runs.
    Session,
    /// In a database file, for programs that only open it. The script names the files of the snapshots that are
    /// published now.
    Database,
}

/// The DuckDB script for the lake.
///
/// # Errors
/// A lake that fails, or in which no snapshot is published: the views would have no columns. A path that no pattern of
/// DuckDB can match.
pub async fn views(store: &Store, life: ViewLife) -> Result<String> {
    let place = place(store).await?;
    if life == ViewLife::Session {
        return Ok(script(&place, &Beginning::of_session(&place)));
    }
    let mut manifests = Vec::new();
    for date in snapshots(store).await? {
        // One that was deleted since then is not published any more.
        manifests.extend(Manifest::read(store, date).await?);
    }
    Ok(script(&place, &Beginning::of_database(&place, &manifests)))
}

/// What the two kinds of views do not have in common.
struct Beginning {
    /// How the script is used.
    usage: &'static str,
    temporary: &'static str,
    /// What comes before the tables.
    text: String,
    /// The views of the tables.
    tables: String,
    /// Expressions: the latest date, and maps from each date to the next and the previous one.
    latest: String,
    next: String,
    previous: String,
}

impl Beginning {
    fn of_session(place: &str) -> Self {
        let lake = quoted(place);
        let pattern = format!("'{lake}/{}'", Layout::manifests_pattern());
        let read = filled(MANIFESTS, &[("manifests", &pattern)]);
        let variable = |name: &str| format!("getvariable('backlake_{name}')");
        let tables = Table::ALL.into_iter().map(|table| {
            let name = table.name();
            let view = view(
                name,
                "TEMP ",
                &variable(name),
                &variable(&format!("{name}_differ")),
            );
            format!(
                "
SET VARIABLE backlake_{name} = backlake_files('{name}');
SET VARIABLE backlake_{name}_differ = backlake_contracts_differ('{name}');
{view}"
            )
        });
        Self {
            usage: "\
-- Run this script at the start of a session: `duckdb -init FILE`, `.read FILE`, or `execute` from a program. It reads
-- the manifests once, so all queries of a session see the same snapshots. Run it again to see snapshots published since
-- then. The script only changes if the lake moves.
",
            temporary: "TEMP ",
            text: filled(SESSION, &[("read", &read), ("lake", &lake)]),
            tables: tables.collect(),
            latest: variable("latest"),
            next: variable("next"),
            previous: variable("previous"),
        }
    }

    /// The manifests are of different dates, oldest first.
    fn of_database(place: &str, manifests: &[Manifest]) -> Self {
        let lake = quoted(place);
        let list = |paths: Vec<String>| {
            let paths = paths
                .iter()
                .map(|path| format!("'{lake}/{}'", quoted(path)));
            format!("[{}]", paths.collect::<Vec<_>>().join(",\n    "))
        };
        let dates: Vec<_> = manifests.iter().map(|manifest| manifest.snapshot).collect();
        let paths = dates
            .iter()
            .map(|date| Layout { snapshot: *date }.manifest().to_string());
        let read = filled(MANIFESTS, &[("manifests", &list(paths.collect()))]);
        let tables = Table::ALL.into_iter().map(|table| {
            let entries = manifests
                .iter()
                .filter_map(|manifest| manifest.tables.get(table.name()));
            let contracts: BTreeSet<_> = entries.clone().map(|entry| &entry.contract).collect();
            let files = entries.rev().flat_map(|entry| &entry.files);
            let files = list(files.map(|file| file.path.clone()).collect());
            let differ = contracts.len() > 1;
            format!("\n{}", view(table.name(), "", &files, &differ.to_string()))
        });
        let literal = |date: &NaiveDate| format!("DATE '{date}'");
        let pairs = |keys: &[NaiveDate], values: &[NaiveDate]| {
            let pairs = keys.iter().zip(values);
            let pairs = pairs.map(|(key, value)| format!("{}: {}", literal(key), literal(value)));
            format!("MAP {{{}}}", pairs.collect::<Vec<_>>().join(", "))
        };
        let (all_but_first, all_but_last) = (dates.get(1..), dates.split_last().map(|it| it.1));
        let (later, earlier) = (
            all_but_first.unwrap_or_default(),
            all_but_last.unwrap_or_default(),
        );
        // A map without an entry has no type.
        let none = "MAP {DATE '1970-01-01': NULL::DATE}".to_owned();
        let [next, previous] = [pairs(earlier, later), pairs(later, earlier)];
        let or_none = |map: String| if later.is_empty() { none.clone() } else { map };
        Self {
            usage: "\
-- Run this script on a database file: `duckdb links.duckdb < FILE`. Its views stay in the file, so that programs only open
-- it. They show the snapshots that were published when the script was made: make and run it again after each night.
",
            temporary: "",
            text: filled(DATABASE, &[("read", &read)]),
            tables: tables.collect(),
            latest: dates.last().map(literal).unwrap_or_else(|| "NULL::DATE".to_owned()),
            next: or_none(next),
            previous: or_none(previous),
        }
    }
}

fn script(place: &str, beginning: &Beginning) -> String {
    let (shown, lake) = (escaped(place), quoted(place));
    filled(
        SCRIPT,
        &[
            ("extension", extension(place)),
            ("use", beginning.usage),
            ("beginning", &beginning.text),
            ("tables", &beginning.tables),
            ("temp", beginning.temporary),
            ("latest", &beginning.latest),
            ("next", &beginning.next),
            ("previous", &beginning.previous),
            ("version", env!("CARGO_PKG_VERSION")),
            ("runs", Layout::run_records_pattern()),
            ("pruned", Layout::pruned_pattern()),
            ("summaries", Layout::summaries_pattern()),
            ("alerts", Layout::alerts_pattern()),
            ("place", &shown),
            ("lake", &lake),
        ],
    )
}

/// The view of one table over all published snapshots.
fn view(name: &str, temporary: &str, files: &str, contracts_differ: &str) -> String {
    format!(
        "\
CREATE OR REPLACE {temporary}VIEW {name} AS
SELECT *
FROM read_parquet(
    {files},
    hive_partitioning = true,
    hive_types = {{snapshot_date: DATE}},
    union_by_name = {contracts_differ}
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

    fn session(place: &str) -> String {
        script(place, &Beginning::of_session(place))
    }

    #[test]
    fn a_path_with_special_characters_is_escaped() {
        let script = session("/srv/the team's [old] lake");
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
        let plain = session("/srv/lake");
        for place in [
            "/srv/{lake}\nDROP TABLE pages;--",
            "/srv/{place}{tables}{version}{extension}",
            "/srv/x\r\n.shell id",
            "/srv/x\u{2028}SELECT 1;",
            "/srv/';\nSELECT 1;--",
        ] {
            let found = session(place);
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
            let script = session(place);
            assert!(script.contains(extension), "{script}");
            assert!(
                script.contains("//team-lake/links/_snapshots/["),
                "{script}"
            );
        }
    }
}
