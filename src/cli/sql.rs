//! `sql`: print a DuckDB script that creates views of the lake, or one that registers its files in a DuckLake catalog.

use std::path::PathBuf;

use clap::Args;

use super::args::LakeArg;
use super::console::{Console, Failure, print};
use super::outside::write_named;
use crate::lake::{ducklake, views};

const EXAMPLES: &str = "\
Examples:
  backlake sql lake --write lake.sql && duckdb -init lake.sql
  backlake sql s3://team-lake/links > links.sql
  backlake sql lake --ducklake lake.ducklake --write register.sql && duckdb -f register.sql

The script reads the manifests each time it runs, so a new snapshot needs no new script.
With --ducklake, run it after each publication.";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct SqlArgs {
    #[command(flatten)]
    lake: LakeArg,
    /// Print a script that registers the files of the lake in this DuckLake catalog: the path of a DuckDB file,
    /// sqlite:FILE, or postgres:CONNECTION
    #[arg(long, value_name = "CATALOG")]
    ducklake: Option<String>,
    /// Write the script to FILE instead of standard output
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

impl SqlArgs {
    pub(super) async fn exec(self, console: &Console) -> Result<(), Failure> {
        let store = self.lake.open(&console.clock).await?.store;
        let script = match &self.ducklake {
            None => views(&store).await?,
            Some(catalog) => ducklake(&store, catalog).await?,
        };
        match &self.write {
            None => print(&script)?,
            Some(file) => write_named("--write", file, script.as_bytes())?,
        }
        Ok(())
    }
}
