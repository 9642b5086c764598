//! `schema`: the tables' documentation.

use clap::Args;

use super::output;
use crate::contract::{self, Table};
use crate::error::Result;

#[derive(Debug, Args)]
pub(super) struct SchemaArgs {
    /// Only this table
    #[arg(value_parser = ["pages", "breakdowns", "targets", "requests"])]
    table: Option<String>,
    /// The whole documentation, as schemas/README.md holds it
    #[arg(long, conflicts_with = "table")]
    markdown: bool,
    /// The contract file of the table, to begin a later version with
    #[arg(long, requires = "table")]
    toml: bool,
}

pub(super) fn schema(args: &SchemaArgs) -> Result<()> {
    match args.table.as_deref().and_then(Table::named) {
        Some(table) if args.toml => output::raw(table.contract().text()),
        Some(table) if !args.markdown => output::raw(&table.contract().markdown()),
        _ => output::raw(&contract::markdown()),
    }
}
