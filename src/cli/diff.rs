//! `diff`: what changed between two published snapshots.
//!
//! Here the result is the product: it goes to standard output, or to a file, also as text.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use clap::{Args, ValueEnum};
use tempfile::NamedTempFile;

use super::output::{Output, count};
use crate::error::{Context as _, Error, Result};
use crate::history::{
    BreakdownChange, List, ListFormat, PageChange, PageCounts, Pair, Summary, Total, summary,
};
use crate::money::group_thousands;
use crate::store::Store;

/// Rows of a list on a terminal, unless told otherwise.
const ROWS: u32 = 20;
/// Rows of each kind in a summary, unless told otherwise.
const TOP: NonZeroU32 = NonZeroU32::new(5).unwrap();

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// The lake: a path, s3://, gs:// or az://
    lake: String,
    /// The snapshot before; by default the last one before `--to`
    #[arg(long, value_name = "DATE")]
    from: Option<NaiveDate>,
    /// The snapshot after; by default the last one
    #[arg(long, value_name = "DATE")]
    to: Option<NaiveDate>,
    /// What to show
    #[arg(long, value_enum, default_value_t = What::Summary)]
    what: What,
    /// The metric of pages to compare: any column of counts, as `backlake schema pages` names them
    #[arg(long, value_name = "METRIC", default_value = "backlinks")]
    by: String,
    /// Only this root domain
    #[arg(long, value_name = "DOMAIN")]
    root_domain: Option<String>,
    /// Only so many rows, the greatest first; 0 for all, in the order of their keys. By default 5 of each kind in a
    /// summary, 20 in a table, and all in files and for machines
    #[arg(long, value_name = "ROWS")]
    limit: Option<u32>,
    /// The form: a table for people, or for machines; json is an object a line, of the summary one object
    #[arg(long, value_enum)]
    format: Option<Form>,
    /// Where to, in place of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Counts, totals, and the greatest changes of each kind
    Summary,
    /// Pages that are only in the snapshot after
    Gained,
    /// Pages that are only in the snapshot before
    Lost,
    /// Pages whose metric changed
    Movers,
    /// Links by dimension and key
    Breakdowns,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people
    Table,
    /// With a header
    Csv,
    /// An object a line
    Json,
    /// A Parquet file; needs `--out`
    Parquet,
}

pub(super) async fn diff(args: DiffArgs, output: Output) -> Result<()> {
    let form = args.format.unwrap_or(if output == Output::Json {
        Form::Json
    } else {
        Form::Table
    });
    args.check(form)?;
    let store = Store::open(&args.lake)?;
    let pair = Pair::choose(&store, args.from, args.to).await?;
    let domain = args.root_domain.as_deref();
    if args.what == What::Breakdowns {
        let breakdowns = pair.breakdowns(&store, domain).await?;
        let list = move || {
            args.list(
                &breakdowns.shifts()?,
                form,
                &breakdown_header(),
                breakdown_line,
            )
        };
        return blocking(list).await;
    }
    let pages = pair.pages(&store, &args.by, domain).await?;
    let by = args.by.clone();
    match args.what {
        What::Summary => {
            let breakdowns = pair.breakdowns(&store, domain).await?;
            let top = args.limit.map_or(Some(TOP), NonZeroU32::new).unwrap_or(TOP);
            blocking(move || args.summary(&summary(&pair, &pages, &breakdowns, top)?, form)).await
        }
        What::Movers => {
            let movers = pages.movers()?;
            blocking(move || args.list(&movers, form, &mover_header(), mover_line)).await
        }
        What::Gained | What::Breakdowns => {
            let gained = pages.gained()?;
            blocking(move || {
                args.list(&gained, form, &page_header(&by), |page| {
                    page_line(page, page.after)
                })
            })
            .await
        }
        What::Lost => {
            let lost = pages.lost()?;
            blocking(move || {
                args.list(&lost, form, &page_header(&by), |page| {
                    page_line(page, page.before)
                })
            })
            .await
        }
    }
}

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
                "--format: a summary is several tables, and no file of rows holds it",
                "choose a --what, or --format table or json",
            ),
            (What::Summary, _) if self.limit == Some(0) => (
                "--limit: 0 is for lists, not for the summary",
                "choose a --what, or leave it out",
            ),
            (_, Form::Parquet) if self.out.is_none() => (
                "--format: parquet goes to a file only",
                "name it with --out",
            ),
            _ => return Ok(()),
        };
        Err(Error::usage(message).with_hint(hint))
    }

    fn limit(&self, form: Form) -> Option<NonZeroU32> {
        let default = if form == Form::Table { ROWS } else { 0 };
        NonZeroU32::new(self.limit.unwrap_or(default))
    }

    fn summary(&self, summary: &Summary, form: Form) -> Result<()> {
        let text = match form {
            Form::Table => summary_text(summary),
            _ => {
                let json = serde_json::to_string_pretty(summary)
                    .context(|| "failed to write the summary")?;
                json + "\n"
            }
        };
        let mut to = Destination::open(self.out.as_deref())?;
        let mut out = to.writer()?;
        told(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
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
        let mut to = Destination::open(self.out.as_deref())?;
        match form {
            Form::Table => table(list, limit, to.writer()?, header, line)?,
            Form::Csv => list.write(limit, ListFormat::Csv, to.writer()?)?,
            Form::Json => list.write(limit, ListFormat::Json, to.writer()?)?,
            Form::Parquet => list.write(limit, ListFormat::Parquet, to.writer()?)?,
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
    let mut deserted = !told(writeln!(out, "{header}"))?;
    let listed = list.read(limit, |rows| {
        let text: String = rows.iter().map(&line).collect();
        deserted = deserted || !told(out.write_all(text.as_bytes()))?;
        // What nobody reads need not be found out.
        if deserted {
            Err(Error::unexpected("nobody reads"))
        } else {
            Ok(())
        }
    });
    if deserted {
        Ok(())
    } else {
        listed.and_then(|()| told(out.flush()).map(drop))
    }
}

/// Whether somebody still reads; that nobody does is no failure of ours.
fn told(written: io::Result<()>) -> Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context(|| "failed to write what has changed"),
    }
}

/// Standard output, or a file that appears under its name when it is whole.
struct Destination<'a>(Option<(NamedTempFile, &'a Path)>);

impl<'a> Destination<'a> {
    fn open(path: Option<&'a Path>) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self(None));
        };
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;

            // As any other new file; temporary ones are for their owner alone.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let file = builder
            .tempfile_in(folder)
            .usage(|| format!("--out: failed to write {}", path.display()))?;
        Ok(Self(Some((file, path))))
    }

    fn writer(&mut self) -> Result<Box<dyn Write + Send>> {
        let Some((file, path)) = &self.0 else {
            return Ok(Box::new(BufWriter::new(io::stdout())));
        };
        let file: File = file
            .as_file()
            .try_clone()
            .context(|| format!("failed to write {}", path.display()))?;
        Ok(Box::new(BufWriter::new(file)))
    }

    fn close(self) -> Result<()> {
        match self.0 {
            None => Ok(()),
            Some((file, path)) => file
                .persist(path)
                .map(drop)
                .usage(|| format!("--out: failed to write {}", path.display())),
        }
    }
}

fn number(value: Option<i64>) -> String {
    value.map_or_else(
        || "-".to_owned(),
        |value| group_thousands(&value.to_string()),
    )
}

fn signed(value: Option<i64>) -> String {
    let sign = if value.is_some_and(|value| value > 0) {
        "+"
    } else {
        ""
    };
    format!("{sign}{}", number(value))
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:+.1}%", share * 100.0))
}

fn page_header(by: &str) -> String {
    format!("{by:>32}  target")
}

fn page_line(page: &PageChange, value: Option<i64>) -> String {
    format!(
        "{:>32}  {}\n",
        number(value),
        page.target.as_deref().unwrap_or("-")
    )
}

fn change_header(what: &str) -> String {
    format!(
        "{:>15}{:>15}{:>15}{:>11}  {what}",
        "before", "after", "change", "relative"
    )
}

fn change_line(numbers: [Option<i64>; 3], relative: Option<f64>, what: &str) -> String {
    let [before, after, change] = numbers;
    format!(
        "{:>15}{:>15}{:>15}{:>11}  {what}\n",
        number(before),
        number(after),
        signed(change),
        percent(relative)
    )
}

fn mover_header() -> String {
    change_header("target")
}

fn mover_line(page: &PageChange) -> String {
    let target = page.target.as_deref().unwrap_or("-");
    change_line(
        [page.before, page.after, page.change],
        page.relative_change,
        target,
    )
}

fn breakdown_header() -> String {
    change_header(&format!("{:<18}  key", "dimension"))
}

fn breakdown_line(shift: &BreakdownChange) -> String {
    let dimension = shift.dimension.as_deref().unwrap_or("-");
    let key = shift
        .key
        .as_deref()
        .filter(|key| !key.is_empty())
        .unwrap_or("\"\"");
    let what = format!("{dimension:<18}  {key}");
    change_line(
        [shift.before, shift.after, shift.change],
        shift.relative_change,
        &what,
    )
}

fn summary_text(summary: &Summary) -> String {
    let PageCounts {
        before,
        after,
        gained,
        lost,
        changed,
        unchanged,
        unknown,
        ..
    } = summary.pages;
    let by = &summary.by;
    let mut text = format!("from {} to {}\n\n", summary.from, summary.to);
    for (name, pages, note) in [
        ("pages before", before, String::new()),
        ("pages after", after, String::new()),
        ("  gained", gained, String::new()),
        ("  lost", lost, String::new()),
        ("  changed", changed, format!("  in {by}")),
        ("  unchanged", unchanged, String::new()),
        (
            "  unknown",
            unknown,
            format!("  {by} is null in one of them"),
        ),
    ] {
        if name != "  unknown" || pages > 0 {
            let _ = writeln!(
                text,
                "  {name:<16}{:>14}{note}",
                count(pages.unsigned_abs())
            );
        }
    }
    let _ = writeln!(
        text,
        "\n{:>18}{:>18}{:>18}{:>11}{:>11}  metric",
        "before", "after", "change", "mean", "then"
    );
    for total in &summary.totals {
        let Total {
            metric,
            before,
            after,
            change,
            mean_before,
            mean_after,
        } = total;
        let mean =
            |mean: &Option<f64>| mean.map_or_else(|| "-".to_owned(), |mean| format!("{mean:.1}"));
        let _ = writeln!(
            text,
            "{:>18}{:>18}{:>18}{:>11}{:>11}  {metric}",
            number(Some(*before)),
            number(Some(*after)),
            signed(Some(*change)),
            mean(mean_before),
            mean(mean_after),
        );
    }
    let mut part = |name: &str, header: &str, lines: String| {
        if !lines.is_empty() {
            let _ = write!(text, "\n{name}\n{header}\n{lines}");
        }
    };
    let lines =
        |pages: &[PageChange], line: fn(&PageChange) -> String| pages.iter().map(line).collect();
    part(
        &format!("moved most in {by}"),
        &mover_header(),
        lines(&summary.movers, mover_line),
    );
    part(
        "gained",
        &page_header(by),
        lines(&summary.gained, |page| page_line(page, page.after)),
    );
    part(
        "lost",
        &page_header(by),
        lines(&summary.lost, |page| page_line(page, page.before)),
    );
    let shifts = summary.breakdowns.iter().map(breakdown_line).collect();
    part("breakdowns that shifted most", &breakdown_header(), shifts);
    text
}
