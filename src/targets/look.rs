//! Finds the settings with which a list can be read: reads its start, and follows what each refusal
//! says to set instead.

use super::block::Block;
use super::builder::canonicalised;
use super::column::Column;
use super::places::Place;
use super::reading::Reading;
use super::refused::{Instead, Refused};
use super::rules::Rules;
use super::source::Sources;
use crate::error::{Error, Result};
use crate::secret::shown;

/// The most settings that are found one after the other: format, lines to skip, header, column.
const MOST: usize = 4;
/// The most columns that are tried when no name says which one contains the targets.
const TRIED: usize = 64;

const NO_TARGETS: &str = "nothing was sent; no column consists mostly of domains, or of URLs with http:// or https://; correct the list, or write a pipeline file with [targets] column (`backlake config` prints one)";

/// The settings with which all these lists can be read; what the lists show by themselves stays
/// unset. Empty lists can be read with any.
///
/// # Errors
/// A list that cannot be read with any setting, with the reason and what to do about it; lists that
/// need different settings.
pub fn reading_for(places: &[Place], rules: &Rules) -> Result<Reading> {
    let mut needed: Vec<(&Place, Reading)> = Vec::new();
    for place in places {
        let reading = reading_for_one(place, rules)?;
        let known = needed.iter().any(|(_, known)| *known == reading);
        if !known && !is_empty(place, &reading) {
            needed.push((place, reading));
        }
    }
    let [(first, reading), rest @ ..] = &needed[..] else {
        return Ok(Reading::default());
    };
    let Some((other, _)) = rest.first() else {
        return Ok(reading.clone());
    };
    // A column that one list needs by name may be the one that the others show by themselves.
    let suits = |reading: &Reading, place: &Place, own: &Reading| {
        let without_column = || Reading {
            column: None,
            ..reading.clone()
        };
        let is_same = own == reading || own.column.is_none() && *own == without_column();
        is_same && start(&sources(place, reading.clone()), place).is_ok()
    };
    let fits = |reading: &&Reading| needed.iter().all(|(place, own)| suits(reading, place, own));
    let common = needed.iter().map(|(_, reading)| reading).find(fits);
    common.cloned().ok_or_else(|| {
        let differing = rest.iter().find(|(place, own)| !suits(reading, place, own));
        let other = differing.map_or(other, |(place, _)| place);
        let (first, other) = (shown(&first.name), shown(&other.name));
        Error::usage(format!(
            "{first} and {other} need different settings to be read"
        ))
        .with_hint("run `backlake init` for each of them, or make their columns the same")
    })
}

/// Which of these columns can be kept as labels, as far as the starts of the lists show it: a
/// Parquet cell that holds an array has no text.
#[must_use]
pub fn keepable(places: &[Place], reading: &Reading, columns: &[String]) -> Vec<String> {
    let can_keep = |column: &&String| {
        places.iter().all(|place| {
            let reading = Reading {
                keep: vec![(*column).clone()],
                ..reading.clone()
            };
            start(&sources(place, reading), place).is_ok()
        })
    };
    columns.iter().filter(can_keep).cloned().collect()
}

fn sources(place: &Place, reading: Reading) -> Sources {
    Sources {
        paths: vec![place.name.clone()],
        reading,
    }
}

/// Whether a list has no lines.
fn is_empty(place: &Place, reading: &Reading) -> bool {
    let start = start(&sources(place, reading.clone()), place);
    start.is_ok_and(|block| block.lines.is_empty())
}

fn reading_for_one(place: &Place, rules: &Rules) -> Result<Reading> {
    let mut sources = sources(place, Reading::default());
    for _ in 0..MOST {
        let Err(Refused { error, instead }) = start(&sources, place) else {
            break;
        };
        let Some(instead) = instead else {
            return Err(error);
        };
        let reading = &mut sources.reading;
        match instead {
            Instead::Format(format) => reading.format = Some(format),
            Instead::SkipLines(lines) => reading.skip_lines = lines,
            Instead::NoHeader(column) => {
                reading.header = false;
                reading.column = Some(column);
            }
            Instead::ColumnOf(columns) => {
                let column = with_most_targets(&sources, place, rules, columns);
                let column = column.ok_or_else(|| error.with_hint(NO_TARGETS))?;
                sources.reading.column = Some(column);
            }
        }
    }
    Ok(sources.reading)
}

/// The first lines of a list. An error after them does not matter here.
fn start(sources: &Sources, place: &Place) -> Result<Block, Refused> {
    let places = sources.without_indexes(std::slice::from_ref(place))?;
    let mut first = None;
    let mut keep_first = |block: Block| {
        first.get_or_insert(block);
        // Ends the reading.
        Err(Error::unexpected("the start of the list is enough"))
    };
    let read = sources.read(0, places.first().unwrap_or(place), &mut keep_first);
    match (first, read) {
        (Some(first), _) => Ok(first),
        (None, read) => read.map(|_| Block::default()),
    }
}

/// The one of these columns that has the most targets, if most of its lines are targets.
fn with_most_targets(
    sources: &Sources,
    place: &Place,
    rules: &Rules,
    columns: Vec<Column>,
) -> Option<Column> {
    let mut best: Option<(usize, Column)> = None;
    for column in columns.into_iter().take(TRIED) {
        let reading = Reading {
            column: Some(column.clone()),
            ..sources.reading.clone()
        };
        let paths = sources.paths.clone();
        let Ok(block) = start(&Sources { paths, reading }, place) else {
            continue;
        };
        let read = canonicalised(&block, rules);
        let targets = read.iter().filter(|read| read.is_ok()).count();
        let most = best.as_ref().map_or(0, |(most, _)| *most);
        if targets > most && 2 * targets > read.len() {
            best = Some((targets, column));
        }
    }
    best.map(|(_, column)| column)
}
