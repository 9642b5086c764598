//! The DuckDB script that brings a DuckLake catalog up to date with the lake.
//!
//! The script contains no file names: each time it runs, it compares the manifests with what the catalog lists, because
//! DuckLake counts the rows of a file twice that is registered twice. It decides in SQL alone, which has no `IF`: every
//! statement does nothing if nothing is missing.

use super::contracts::contracts_of;
use super::manifest::{Manifest, snapshots};
use super::script::{extension, filled, inside_quotes, place};
use crate::contract::{ColumnType, Contract, Contracts, Table};
use crate::error::{Error, Result};
use crate::store::{Layout, Store};
use crate::visible::escaped;

/// The script, with placeholders in braces.
const SCRIPT: &str = include_str!("ducklake.sql");

/// The script for the lake and a catalog: the path of a DuckDB file, `sqlite:` and the path of a file, or `postgres:` and a
/// connection string.
///
/// # Errors
/// A lake that fails, or in which no snapshot is published. A catalog that DuckLake does not have. A path that DuckLake would
/// read as a pattern.
pub async fn ducklake(store: &Store, catalog: &str) -> Result<String> {
    let place = place(store).await?;
    if let Some(character) = place.chars().find(|character| "*?[]'".contains(*character)) {
        return Err(Error::usage(format!(
            "DuckLake cannot register files of the lake {place}: its path has the character {character}"
        ))
        .with_hint("rename the folder, or open the lake by a link whose path does not have it"));
    }
    let catalog = Catalog::parse(catalog, &place)?;
    Ok(script(&place, &catalog, &contracts(store).await?))
}

/// A DuckLake catalog.
struct Catalog {
    /// What DuckDB attaches.
    attached: String,
    /// The folder for files of its own, where none is written.
    data: String,
    /// The extension that DuckDB needs for its database.
    extension: &'static str,
}

impl Catalog {
    fn parse(catalog: &str, lake: &str) -> Result<Self> {
        let catalog = catalog.strip_prefix("ducklake:").unwrap_or(catalog);
        let usage = |message: String| {
            Err(Error::usage(message).with_hint(
                "pass the path of a DuckDB file, sqlite:FILE, or postgres:CONNECTION such as 'postgres:dbname=lake host=db'",
            ))
        };
        let (kind, rest) = catalog.split_once(':').unwrap_or(("", catalog));
        let extension = match kind {
            "" => "",
            "sqlite" => "INSTALL sqlite;\nLOAD sqlite;\n",
            "postgres" => "INSTALL postgres;\nLOAD postgres;\n",
            other => {
                return usage(format!(
                    "--ducklake: `{}` is not a kind of catalog",
                    escaped(other)
                ));
            }
        };
        if rest.is_empty() {
            return usage("--ducklake: the catalog has no name".to_owned());
        }
        // Beside the catalog if it is a file: its functions for clean-up then never look into the lake.
        let data = if kind == "postgres" {
            format!("{lake}/{}/", Layout::ducklake())
        } else {
            format!("{rest}.files/")
        };
        Ok(Self {
            attached: format!("ducklake:{catalog}"),
            data,
            extension,
        })
    }
}

/// The latest contracts that files of the lake follow.
async fn contracts(store: &Store) -> Result<Contracts> {
    let mut latest = Contracts::default();
    for date in snapshots(store).await? {
        let Some(manifest) = Manifest::read(store, date).await? else {
            continue;
        };
        let contracts = contracts_of(store, &manifest).await?;
        let pages = |contracts: &Contracts| contracts.of(Table::Pages).version;
        if pages(&contracts) > pages(&latest) {
            latest = contracts;
        }
    }
    Ok(latest)
}

fn script(place: &str, catalog: &Catalog, contracts: &Contracts) -> String {
    let each = |text: fn(&Contract) -> String, between: &str| {
        let texts = Table::ALL.map(|table| text(contracts.of(table)));
        texts.join(between)
    };
    let extension = format!(
        "{}{}INSTALL ducklake;\nLOAD ducklake;\n",
        extension(place),
        catalog.extension
    );
    let ids = |contract: &Contract| {
        let ids = (1..=contract.version).map(|version| format!("'{}.v{version}'", contract.table));
        ids.collect::<Vec<_>>().join(", ")
    };
    filled(
        SCRIPT,
        &[
            ("extension", &extension),
            ("catalog", &inside_quotes(&catalog.attached)),
            ("data", &inside_quotes(&catalog.data)),
            ("contracts", &each(ids, ", ")),
            (
                "names",
                &each(|contract| format!("'{}'", contract.table), ", "),
            ),
            ("new", &each(new_files, "")),
            (
                "nothing_new",
                &each(
                    |contract| format!("len(getvariable('backlake_new_{}')) = 0", contract.table),
                    " AND ",
                ),
            ),
            ("tables", &each(table, "\n")),
            ("version", env!("CARGO_PKG_VERSION")),
            ("manifests", Layout::manifests_pattern()),
            ("place", &escaped(place)),
            ("lake", place),
        ],
    )
}

/// A variable with the files of a table that the catalog does not list.
fn new_files(contract: &Contract) -> String {
    let name = &contract.table;
    format!(
        "SET VARIABLE backlake_new_{name} = (
    SELECT coalesce(list(path ORDER BY path), []::VARCHAR[])
    FROM backlake_published
    WHERE name = '{name}' AND path NOT IN (SELECT path FROM backlake_listed)
);
"
    )
}

/// The statements that make a table of the catalog and register its new files.
fn table(contract: &Contract) -> String {
    let name = &contract.table;
    let column =
        |column: &crate::contract::Column| format!("\"{}\" {}", column.name, sql_type(column.kind));
    let columns: Vec<String> = contract.columns.iter().map(column).collect();
    let mut text = format!(
        "CREATE TABLE IF NOT EXISTS backlake.{name} (\n    {},\n    snapshot_date DATE\n);\n",
        columns.join(",\n    ")
    );
    // A catalog that was made for an earlier version of the contract.
    for added in contract.columns.iter().filter(|column| column.since > 1) {
        text += &format!(
            "ALTER TABLE backlake.{name} ADD COLUMN IF NOT EXISTS {};\n",
            column(added)
        );
    }
    text += &format!(
        "ALTER TABLE backlake.{name} SET PARTITIONED BY (snapshot_date);
CALL ducklake_add_data_files(
    'backlake', '{name}', getvariable('backlake_new_{name}'), hive_partitioning => true, allow_missing => true
);
"
    );
    text
}

fn sql_type(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Utf8 => "VARCHAR",
        ColumnType::Int64 => "BIGINT",
        ColumnType::Bool => "BOOLEAN",
        ColumnType::Timestamp => "TIMESTAMPTZ",
        ColumnType::Decimal => "DECIMAL(18,6)",
        ColumnType::CountsByKey => "MAP(VARCHAR, BIGINT)",
        ColumnType::TextsByKey => "MAP(VARCHAR, VARCHAR)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalog_has_files_of_its_own_and_its_extension() {
        for (given, attached, data, extension) in [
            ("a.ducklake", "ducklake:a.ducklake", "a.ducklake.files/", ""),
            ("ducklake:/b/a", "ducklake:/b/a", "/b/a.files/", ""),
            (
                "sqlite:a.db",
                "ducklake:sqlite:a.db",
                "a.db.files/",
                "LOAD sqlite;",
            ),
            (
                "postgres:dbname=a",
                "ducklake:postgres:dbname=a",
                "s3://b/lake/_ducklake/",
                "LOAD postgres;",
            ),
        ] {
            let catalog = Catalog::parse(given, "s3://b/lake").unwrap();
            assert_eq!(
                (catalog.attached.as_str(), catalog.data.as_str()),
                (attached, data)
            );
            assert!(catalog.extension.contains(extension), "{given}");
        }
        for (given, complaint) in [
            ("mysql:db", "`mysql` is not a kind of catalog"),
            ("", "the catalog has no name"),
            ("sqlite:", "the catalog has no name"),
        ] {
            let error = Catalog::parse(given, "lake").err().unwrap().to_string();
            assert!(error.contains(complaint), "{error}");
        }
    }

    #[test]
    fn a_quote_in_a_catalog_does_not_end_its_name() {
        let catalog = Catalog::parse("it's.ducklake", "lake").unwrap();
        let script = script("lake", &catalog, &Contracts::default());
        assert!(script.contains("ATTACH IF NOT EXISTS 'ducklake:it''s.ducklake' AS backlake (DATA_PATH 'it''s.ducklake.files/'"), "{script}");
    }
}
