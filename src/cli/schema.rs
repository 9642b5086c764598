//! `schema`: show the columns of the tables, or the JSON Schema of the pipeline file.

use clap::Args;

use super::console::{Failure, print};
use crate::contract::{self, Table};
use crate::error::Error;
use crate::pipeline::pipeline_schema;

const EXAMPLES: &str = "\
Examples:
  backlake schema pages
  backlake schema --markdown
  backlake schema pages --toml > pages.v2.toml
  backlake schema pipeline > pipeline.schema.json        JSON Schema of the pipeline file

For an editor, write `#:schema pipeline.schema.json` into the first line of the pipeline file.";

/// The name that stands for the pipeline file.
const PIPELINE: &str = "pipeline";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct SchemaArgs {
    /// Only this table; `pipeline` is the JSON Schema of the pipeline file
    #[arg(value_parser = ["pages", "breakdowns", "targets", "requests", PIPELINE])]
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
        if self.table.as_deref() == Some(PIPELINE) {
            if self.toml {
                let message = "--toml: the pipeline file is not a table";
                let hint = "`backlake config` prints a pipeline file with every key";
                return Err(Error::usage(message).with_hint(hint).into());
            }
            return Ok(print(&pipeline_schema())?);
        }
        let text = match self.table.as_deref().and_then(Table::named) {
            Some(table) if self.toml => table.contract().text().to_owned(),
            Some(table) => table.contract().markdown(),
            None => contract::markdown(),
        };
        Ok(print(&text)?)
    }
}
