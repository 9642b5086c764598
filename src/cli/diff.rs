//! `diff`: show what changed between two published snapshots.

use std::io::{self, BufWriter, ErrorKind, IsTerminal as _, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use clap::{Args, ValueEnum};

use super::args::{LakeArg, whole};
use super::console::{Console, Failure};
use super::diff_text::{
    breakdown_header, breakdown_line, mover_header, mover_line, page_header, page_line,
    summary_text, unanswered_header, unanswered_line,
};
use super::global::Output;
use super::outside::{Outside, not_written};
use crate::clock::date;
use crate::error::{Context as _, Error, Result};
use crate::history::{List, ListFormat, PageChange, Pair, Summary, summary};
use crate::store::Store;
use crate::visible::{ToTerminal, escaped_json, escaped_lines};

/// Rows of a list on a terminal by default.
const ROWS: u32 = 20;
/// Rows per section of a summary by default.
const TOP: NonZeroU32 = NonZeroU32::new(5).unwrap();

const EXAMPLES: &str = "\
Examples:
  backlake diff lake
  backlake diff lake --what movers --by referring_domains --limit 50
  backlake diff lake --from 2026-11-22 --to 2026-11-23 --what lost --format csv --out lost.csv
  backlake diff lake --what breakdowns --root-domain example.com --output json";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct DiffArgs {
    #[command(flatten)]
    lake: LakeArg,
    /// The earlier snapshot (default: the last one before --to)
    #[arg(long, value_name = "DATE", value_parser = date)]
    from: Option<NaiveDate>,
    /// The later snapshot (default: the newest)
    #[arg(long, value_name = "DATE", value_parser = date)]
    to: Option<NaiveDate>,
    /// What to show
    #[arg(long, value_enum, default_value_t = What::Summary)]
    what: What,
    /// The metric to compare: any int64 column of `backlake schema pages`. Over many pages, links are
    /// added up; of every other metric, the median is shown
    #[arg(long, value_name = "METRIC", default_value = "backlinks")]
    by: String,
    /// Only this root domain, such as crates.io; an error if neither list contains it
    #[arg(long, value_name = "DOMAIN")]
    root_domain: Option<String>,
    /// Show at most this many rows, largest change first; 0 shows all rows, sorted by key. Default: 5
    /// per section of a summary, 20 in a table, all rows in csv, json and parquet
    #[arg(long, value_name = "ROWS", value_parser = whole::<u32>, allow_negative_numbers = true)]
    limit: Option<u32>,
    /// Output format; `json` writes one object per line (a single object for `summary`)
    #[arg(long, value_enum)]
    format: Option<Form>,
    /// Write to FILE instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Counts, totals, and the largest changes
    Summary,
    /// Pages in both snapshots whose metric changed
    Movers,
    /// Movers whose metric rose
    Risen,
    /// Movers whose metric fell
    Fallen,
    /// Pages without data in the earlier snapshot that have data in the later one
    New,
    /// Pages with data in the earlier snapshot that have none in the later one
    Lost,
    /// Pages that only the later list contains
    Added,
    /// Pages that only the earlier list contains
    Removed,
    /// Pages without a response in one snapshot: failed, refused or not sent
    Unanswered,
    /// Links per dimension and key
    Breakdowns,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A table for people
    Table,
    /// CSV with a header
    Csv,
    /// One JSON object per line
    Json,
    /// A Parquet file; needs `--out`
    Parquet,
}

impl DiffArgs {
    pub(super) async fn exec(self, console: &Console) -> Result<(), Failure> {
        let form = self.format.unwrap_or(match console.output {
            Output::Json => Form::Json,
            Output::Text => Form::Table,
        });
        self.check(form)?;
        let store = self.lake.open(&console.clock).await?.store;
        let pair = Pair::choose(&store, self.from, self.to, self.root_domain.clone()).await?;
        Ok(self.show(form, &store, pair).await?)
    }

    async fn show(self, form: Form, store: &Store, pair: Pair) -> Result<()> {
        if self.what == What::Breakdowns {
            let breakdowns = pair.breakdowns(store).await?;
            let list = move || {
                let shifts = breakdowns.shifts()?;
                self.list(&shifts, form, &breakdown_header(), breakdown_line)
            };
            return blocking(list).await;
        }
        let pages = pair.pages(store, &self.by).await?;
        let (list, header, line): (_, _, PageLine) = match self.what {
            What::Summary | What::Breakdowns => {
                let breakdowns = pair.breakdowns(store).await?;
                let top = self.limit.map_or(Some(TOP), NonZeroU32::new).unwrap_or(TOP);
                let summed = move || self.summary(&summary(&pair, &pages, &breakdowns, top)?, form);
                return blocking(summed).await;
            }
            What::Movers => (pages.movers()?, mover_header(), mover_line),
            What::Risen => (pages.risen()?, mover_header(), mover_line),
            What::Fallen => (pages.fallen()?, mover_header(), mover_line),
            What::New => (pages.new_pages()?, page_header(&self.by), page_line),
            What::Lost => (pages.lost()?, page_header(&self.by), page_line),
            What::Added => (pages.added()?, page_header(&self.by), page_line),
            What::Removed => (pages.removed()?, page_header(&self.by), page_line),
            What::Unanswered => (
                pages.unanswered()?,
                unanswered_header(&self.by),
                unanswered_line,
            ),
        };
        blocking(move || self.list(&list, form, &header, line)).await
    }
}

/// Shows a page as a line of a table.
type PageLine = fn(&PageChange) -> String;

async fn blocking(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    tokio::task::spawn_blocking(work)
        .await
        .context(|| "failed to compare the snapshots")?
}

impl DiffArgs {
    fn check(&self, form: Form) -> Result<()> {
        let table = matches!(form, Form::Table | Form::Json);
        let (message, hint) = match (self.what, form) {
            (What::Summary, _) if !table => (
                "--format: a summary is several tables and does not fit into one file of rows",
                "choose another --what, or --format table or json",
            ),
            (What::Summary, _) if self.limit == Some(0) => (
                "--limit: 0 applies to lists, not to the summary",
                "choose another --what, or omit --limit",
            ),
            (_, Form::Parquet) if self.out.is_none() => {
                ("--format: parquet needs a file", "name the file with --out")
            }
            _ => return Ok(()),
        };
        Err(Error::usage(message).with_hint(hint))
    }

    fn limit(&self, form: Form) -> Option<NonZeroU32> {
        let default = if form == Form::Table { ROWS } else { 0 };
        NonZeroU32::new(self.limit.unwrap_or(default))
    }

    fn summary(&self, summary: &Summary, form: Form) -> Result<()> {
        let text = if form == Form::Table {
            summary_text(summary)
        } else {
            let json =
                serde_json::to_string_pretty(summary).context(|| "failed to write the summary")?;
            escaped_json(&json).into_owned() + "\n"
        };
        let to = Destination::open(self.out.as_deref())?;
        let mut out = to.writer(form)?;
        is_read(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
        to.close()
    }

    fn list<Row>(
        &self,
        list: &List<Row>,
        form: Form,
        header: &str,
        line: impl Fn(&Row) -> String,
    ) -> Result<()> {
        let limit = self.limit(form);
        let to = Destination::open(self.out.as_deref())?;
        match form {
            Form::Table => table(list, limit, to.writer(form)?, header, line)?,
            Form::Csv => list.write(limit, ListFormat::Csv, to.writer(form)?)?,
            Form::Json => list.write(limit, ListFormat::Json, to.writer(form)?)?,
            Form::Parquet => list.write(limit, ListFormat::Parquet, to.writer(form)?)?,
        }
        to.close()
    }
}

fn table<Row>(
    list: &List<Row>,
    limit: Option<NonZeroU32>,
    mut out: impl Write,
    header: &str,
    line: impl Fn(&Row) -> String,
) -> Result<()> {
    let mut closed = !is_read(writeln!(out, "{header}"))?;
    let listed = list.read(limit, |rows| {
        let text: String = rows.iter().map(&line).collect();
        closed = closed || !is_read(out.write_all(text.as_bytes()))?;
        // The reader has closed the pipe: the rest need not be computed.
        if closed {
            Err(Error::unexpected("the pipe is closed"))
        } else {
            Ok(())
        }
    });
    if closed {
        Ok(())
    } else {
        listed.and_then(|()| is_read(out.flush()).map(drop))
    }
}

/// Whether the reader still reads; a closed pipe is not an error.
fn is_read(written: io::Result<()>) -> Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context(|| "failed to write the result"),
    }
}

/// Standard output, or the file of `--out`.
struct Destination<'a>(Option<(Outside, &'a Path)>);

impl<'a> Destination<'a> {
    fn open(path: Option<&'a Path>) -> Result<Self> {
        let opened = path.map(|path| {
            let outside = Outside::open(path).map_err(|error| not_written("--out", path, error))?;
            Ok((outside, path))
        });
        opened.transpose().map(Self)
    }

    fn writer(&self, form: Form) -> Result<Box<dyn Write + Send>> {
        Ok(match &self.0 {
            // A file and a pipe get exact bytes, a terminal nothing that acts on it.
            None if io::stdout().is_terminal() => {
                let escape = match form {
                    Form::Json => escaped_json,
                    Form::Table | Form::Csv | Form::Parquet => escaped_lines,
                };
                let out = BufWriter::new(io::stdout());
                Box::new(BufWriter::new(ToTerminal::new(out, escape)))
            }
            None => Box::new(BufWriter::new(io::stdout())),
            Some((outside, path)) => {
                let file = outside
                    .writer()
                    .map_err(|error| not_written("--out", path, error))?;
                Box::new(BufWriter::new(file))
            }
        })
    }

    fn close(self) -> Result<()> {
        match self.0 {
            None => Ok(()),
            Some((outside, path)) => outside
                .close()
                .map_err(|error| not_written("--out", path, error)),
        }
    }
}
