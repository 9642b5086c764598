//! `init`: look at a target list and write a pipeline file for it.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::Path;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::console::{Console, Failure};
use super::format::{count, rounded_up};
use super::outside::{not_written, write_new_outside};
use super::plan::invalid;
use super::run_text::{columns, provider};
use crate::counted::counted;
use crate::error::{Error, Result};
use crate::pipeline::{InitReport, InitSettings, file_for, init};
use crate::provider::Endpoint;
use crate::visible::escaped;

const EXAMPLES: &str = "\
Examples:
  backlake init pages.csv
  backlake init 's3://team/lists/*.csv.gz' --out nightly.toml
  backlake init pages.csv --base-url https://api.dataforseo.com --lake s3://team-lake/links

Finds out the format, the header and the column of the targets, and writes what differs from the
defaults. Nothing is sent. An existing file is never overwritten.";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct InitArgs {
    /// The target list: a path, a glob, s3://, gs://, az:// or https://
    list: String,
    /// The pipeline file to write (default: the name of the list, in the working directory)
    #[arg(long, value_name = "FILE")]
    out: Option<String>,
    /// The endpoint of the API
    #[arg(long, value_name = "NAME", default_value = Endpoint::default().name(), value_parser = PossibleValuesParser::new(Endpoint::ALL.map(Endpoint::name)))]
    endpoint: String,
    /// The provider to ask: `simulator`, or https://api.dataforseo.com (default: simulator)
    #[arg(long, env = "BACKLAKE_BASE_URL", value_name = "URL")]
    base_url: Option<String>,
    /// The lake: a path, s3://, gs:// or az:// (default: `simulated-lake` with the simulator, `lake` otherwise)
    #[arg(long, env = "BACKLAKE_LAKE", value_name = "URL")]
    lake: Option<String>,
}

impl InitArgs {
    pub(super) async fn exec(self, console: &Console) -> Result<(), Failure> {
        let file = self.out.unwrap_or_else(|| file_for(&self.list));
        if Path::new(&file).symlink_metadata().is_ok() {
            return Err(exists(&file).into());
        }
        let mut known = Endpoint::ALL.into_iter();
        let endpoint = known.find(|endpoint| endpoint.name() == self.endpoint);
        let settings = InitSettings {
            list: self.list,
            file,
            endpoint: endpoint.unwrap_or_default(),
            base_url: self.base_url,
            lake: self.lake,
        };
        let made = init(&settings, &console.clock).await?;
        write_new(&settings.file, &made.text)?;
        Ok(console.report(&made.report, || text(&made.report))?)
    }
}

fn exists(file: &str) -> Error {
    Error::usage(format!("{file} exists, and is not overwritten"))
        .with_hint("pass another file with --out, or move this one away")
}

/// Writes a file that does not exist yet.
fn write_new(file: &str, text: &str) -> Result<()> {
    match write_new_outside(Path::new(file), text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(exists(file)),
        written => written.map_err(|error| not_written("--out", Path::new(file), error)),
    }
}

fn text(report: &InitReport) -> String {
    let (file, plan) = (escaped(&report.file), &report.plan);
    let mut text = format!("{file} is written\n\n");
    let asked = provider(&plan.provider, plan.invented);
    let domains = format!("in {}", counted(plan.root_domains, "root domain"));
    let cost = format!("at most {} at list prices", rounded_up(plan.cost_usd));
    let _ = writeln!(text, "  {:<14}{asked}", "provider");
    for (name, number, note) in [
        ("lines", plan.lines, ""),
        ("targets", plan.targets, domains.as_str()),
        ("  pages", report.pages, ""),
        ("  domains", report.domains, ""),
        ("  subdomains", report.subdomains, ""),
        ("duplicates", plan.duplicates, ""),
        ("invalid", plan.invalid, ""),
        ("requests", plan.requests, cost.as_str()),
    ] {
        let line = format!("  {name:<14}{:>12}  {note}", count(number));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    invalid(plan, &mut text);
    text += &columns(&plan.lists);
    if !report.keep.is_empty() {
        let keep = escaped(&report.keep.join(", ")).into_owned();
        let _ = writeln!(text, "      kept as labels: {keep}");
    }
    let shell = shell_word(&report.file);
    let _ = writeln!(
        text,
        "\nnext:\n  backlake plan {shell}    free: requests, cost and time\n  backlake run {shell}     {}",
        if plan.invented {
            "free: fetches invented data and publishes it"
        } else {
            "costs money; credentials come from the environment"
        }
    );
    text
}

/// A word that a shell passes on as it is.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    if text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}
