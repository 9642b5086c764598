//! The documentation of the tables, generated from their contracts.

use super::table::Table;

/// The Markdown documentation of all tables: the content of `schemas/README.md`.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "# The tables of the lake\n\n\
         This file is generated from the contracts in this folder by `backlake schema --markdown`; a test checks that \
         it is current.\n\
         Every table is partitioned by `snapshot_date`. The partition column is in the path, not in the files.\n\
         Timestamps are in UTC, with microseconds, from the year 1 to 9999.\n",
    );
    for table in Table::ALL {
        text.push('\n');
        text.push_str(&table.contract().markdown());
    }
    text
}
