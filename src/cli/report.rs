//! `report`: write the report of a snapshot as one HTML file.

use std::num::NonZeroU32;
use std::path::PathBuf;

use chrono::NaiveDate;
use clap::Args;

use super::args::{LakeArg, nights};
use super::console::{Console, Failure, print};
use super::outside::write_named;
use crate::clock::date;
use crate::report::{NIGHTS, ReportOptions, collect, html};

const EXAMPLES: &str = "\
Examples:
  backlake report lake --out report.html
  backlake report lake --snapshot 2026-11-23 --nights 90 --out november.html
  backlake report lake --label client=Acme --out acme.html
  backlake report s3://team-lake/links > report.html

The file needs no network and no script. Its appendix has the SQL behind the numbers.";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    lake: LakeArg,
    /// The snapshot to report (default: the newest)
    #[arg(long, value_name = "DATE", value_parser = date)]
    snapshot: Option<NaiveDate>,
    /// How many nights to look back
    #[arg(long, value_name = "N", default_value_t = NIGHTS, value_parser = nights)]
    nights: NonZeroU32,
    /// Show only pages whose lines have this label: a column that the pipeline keeps, and its value
    #[arg(long, value_name = "COLUMN=VALUE", value_parser = label)]
    label: Option<(String, String)>,
    /// Write to FILE instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl ReportArgs {
    pub(super) async fn exec(self, console: &Console) -> Result<(), Failure> {
        let lake = self.lake.open(&console.clock).await?;
        let options = ReportOptions {
            snapshot: self.snapshot,
            nights: self.nights,
            label: self.label,
            alerts: lake.alerts.unwrap_or_default(),
            now: console.clock.now(),
        };
        let page = html(&Box::pin(collect(&lake.store, options)).await?);
        match &self.out {
            None => print(&page)?,
            Some(file) => write_named("--out", file, page.as_bytes())?,
        }
        Ok(())
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let label = text.split_once('=').filter(|label| !label.0.is_empty());
    let (column, value) = label.ok_or("write a column and a value, such as client=Acme")?;
    Ok((column.to_owned(), value.to_owned()))
}
