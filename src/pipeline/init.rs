//! The first pipeline file for a target list: looks at the list, finds out how it can be read, and
//! writes what `plan` accepts as it is.

use std::path::Path;
use std::sync::Arc;

use super::first_file::{FirstFile, InitSettings};
use super::invalid::refuse_mistaken;
use super::lists::{Lists, check_place, find_lists};
use super::means::Means;
use super::plan::{planned, read_found};
use super::ready::{Overrides, Pipeline, TargetSettings};
use super::report::InitReport;
use super::resolve::SIMULATOR;
use crate::clock::Clock;
use crate::error::{Context, Error, Result};
use crate::secret::shown;
use crate::targets::{Column, ReadAs, TargetKind, TargetList, keepable, reading_for};
use crate::visible::toml_string;

/// The most columns that are kept as labels unless somebody asks for more.
const MOST_KEPT: usize = 10;

/// A pipeline file that is not written yet, and what it does.
#[derive(Debug, Clone)]
pub struct Init {
    /// What the list contains.
    pub report: InitReport,
    /// The content of the file.
    pub text: String,
}

/// Looks at a list and makes the pipeline file for it. Nothing is sent and nothing is written.
///
/// # Errors
/// A list that cannot be read with any setting, or in which too many lines are invalid.
pub async fn init(settings: &InitSettings, clock: &Clock) -> Result<Init> {
    if settings.list == "-" {
        let message = "standard input can be read only once, and a list is read several times";
        let hint = "save the list to a file, and pass that";
        return Err(Error::usage(message).with_hint(hint));
    }
    check_place(&settings.list).map_err(Error::usage)?;
    let name = name_of(&settings.file);
    let mut pipeline = draft(settings, &name, clock)?;
    let lists = Arc::new(find_lists(&pipeline.targets, clock).await?);
    let (found, rules) = (Arc::clone(&lists), pipeline.targets.rules);
    let reading = tokio::task::spawn_blocking(move || reading_for(&found.places, &rules));
    pipeline.targets.sources.reading =
        reading.await.context(|| "looking at the list panicked")??;
    let list = read_found(&pipeline.targets, &lists).await?;
    let columns = common(list.read_as());
    let reading = &mut pipeline.targets.sources.reading;
    reading.column = reading.column.take().or(columns.target);
    let columns = kept(&pipeline.targets, &lists, columns.others).await?;
    let (kept, not_kept) = if columns.len() <= MOST_KEPT {
        (columns, Vec::new())
    } else {
        (Vec::new(), columns)
    };
    pipeline.targets.sources.reading.keep.clone_from(&kept);
    refuse_mistaken(&list, &pipeline.targets)?;
    let report = report(&pipeline, settings, list, kept).await?;
    let file = FirstFile {
        settings,
        name: &name,
        reading: &pipeline.targets.sources.reading,
        not_kept: &not_kept,
        lake: &pipeline.lake.url,
        report: &report,
    };
    let text = file.text();
    // What is written is what was tried.
    let written = Pipeline::parse(&settings.file, &text, Overrides::default(), clock)?;
    if written.targets.sources != pipeline.targets.sources {
        let message = format!(
            "{} would not read {} as it was read",
            settings.file, settings.list
        );
        return Err(Error::unexpected(message));
    }
    Ok(Init { report, text })
}

/// The pipeline before the list is looked at; what is wrong in the flags is found here.
fn draft(settings: &InitSettings, name: &str, clock: &Clock) -> Result<Pipeline> {
    let base_url = settings.base_url.as_deref().unwrap_or(SIMULATOR);
    let lake = match (&settings.lake, &settings.base_url) {
        (Some(lake), _) => lake,
        (None, Some(url)) if url != SIMULATOR => "lake",
        (None, _) => "simulated-lake",
    };
    let overrides = Overrides {
        lake: Some(lake.to_owned()),
        base_url: Some(base_url.to_owned()),
        ..Overrides::default()
    };
    let list = toml_string(&settings.list);
    let text = format!("name = \"{name}\"\n[targets]\npaths = [{list}]\n");
    Pipeline::parse("the pipeline file", &text, overrides, clock)
}

/// The name of the pipeline file of a list, if none is given.
#[must_use]
pub fn file_for(list: &str) -> String {
    let list = shown(list);
    let last = list.rsplit('/').next().unwrap_or_default();
    // Without the extensions, that of the compression included.
    let stem = last.split('.').find(|part| !part.is_empty());
    format!("{}.toml", allowed_name(stem.unwrap_or_default()))
}

/// The name of the pipeline: that of its file, without what a name must not have.
fn name_of(file: &str) -> String {
    let stem = Path::new(file).file_stem().unwrap_or_default();
    allowed_name(&stem.to_string_lossy())
}

fn allowed_name(stem: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let name: String = stem
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .take(60)
        .collect();
    if name.contains(|c: char| c.is_ascii_alphanumeric()) {
        name
    } else {
        "pipeline".to_owned()
    }
}

/// Which of these columns the lists can be read with as labels.
async fn kept(
    targets: &TargetSettings,
    lists: &Arc<Lists>,
    columns: Vec<String>,
) -> Result<Vec<String>> {
    let (found, reading) = (Arc::clone(lists), targets.sources.reading.clone());
    let kept = tokio::task::spawn_blocking(move || keepable(&found.places, &reading, &columns));
    let kept = kept.await.context(|| "looking at the list panicked")?;
    let mut targets = targets.clone();
    targets.sources.reading.keep.clone_from(&kept);
    // What the starts of the lists allow may fail further down.
    let works = kept.is_empty() || read_found(&targets, lists).await.is_ok();
    Ok(if works { kept } else { Vec::new() })
}

/// The columns that all lists have.
struct Common {
    /// The column of the targets, if it is the same in every list.
    target: Option<Column>,
    others: Vec<String>,
}

fn common(lists: &[ReadAs]) -> Common {
    let Some((first, rest)) = lists.split_first() else {
        return Common {
            target: None,
            others: Vec::new(),
        };
    };
    let everywhere = |name: &&str| rest.iter().all(|list| list.other_columns().contains(name));
    let others = first.other_columns().into_iter().filter(everywhere);
    Common {
        target: first
            .column
            .clone()
            .filter(|column| rest.iter().all(|list| list.column.as_ref() == Some(column))),
        others: others.map(str::to_owned).collect(),
    }
}

async fn report(
    pipeline: &Pipeline,
    settings: &InitSettings,
    list: TargetList,
    keep: Vec<String>,
) -> Result<InitReport> {
    let (mut pages, mut domains, mut subdomains) = (0, 0, 0);
    for target in list.targets() {
        *match target.kind {
            TargetKind::Page => &mut pages,
            TargetKind::Domain => &mut domains,
            TargetKind::Subdomain => &mut subdomains,
        } += 1;
    }
    let means = Means::of(pipeline, None)?;
    Ok(InitReport {
        file: settings.file.clone(),
        pages,
        domains,
        subdomains,
        keep,
        plan: planned(pipeline, list, means).await?,
    })
}
