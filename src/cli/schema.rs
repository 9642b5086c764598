//! `schema`: show the columns of the tables.

use clap::Args;

use super::console::{Failure, print};
use crate::contract::{self, Table};

const EXAMPLES: &str = "\
Examples:
  backlake schema pages
  backlake schema --markdown
  backlake schema pages --toml > pages.v2.toml";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct SchemaArgs {
    /// Only this table
    #[arg(value_parser = ["pages", "breakdowns", "targets", "requests"])]
    table: Option<String>,
    /// Print all tables as in schemas/README.md
    #[arg(long, conflicts_with = "table")]
    markdown: bool,
    /// Print the contract file of the table, as the start of a later version
    #[arg(long, requires = "table")]
    toml: bool,
}

impl SchemaArgs {
    pub(super) fn exec(self) -> Result<(), Failure> {
        let text = match self.table.as_deref().and_then(Table::named) {
            Some(table) if self.toml => table.contract().text().to_owned(),
            Some(table) => table.contract().markdown(),
            None => contract::markdown(),
        };
        Ok(print(&text)?)
    }
}
