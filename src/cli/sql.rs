//! `sql`: print a DuckDB script that creates views of the lake.

use std::path::PathBuf;

use clap::Args;

use super::args::LakeArg;
use super::console::{Console, Failure, print};
use super::outside::write_named;
use crate::lake::views;

const EXAMPLES: &str = "\
Examples:
  backlake sql lake --write lake.sql && duckdb -init lake.sql
  backlake sql s3://team-lake/links > links.sql

The script reads the manifests each time it runs, so a new snapshot needs no new script.";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct SqlArgs {
    #[command(flatten)]
    lake: LakeArg,
    /// Write the script to FILE instead of standard output
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

impl SqlArgs {
    pub(super) async fn exec(self, console: &Console) -> Result<(), Failure> {
        let script = views(&self.lake.open(&console.clock).await?.store).await?;
        match &self.write {
            None => print(&script)?,
            Some(file) => write_named("--write", file, script.as_bytes())?,
        }
        Ok(())
    }
}
