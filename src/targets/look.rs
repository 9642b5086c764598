//! Finds the settings with which a list can be read: reads its start, and follows what each refusal
//! says to set instead.

use super::block::Block;
use super::column::Column;
use super::list::canonicalised;
use super::places::Place;
use super::reading::Reading;
use super::refused::{Instead, Refused};
use super::rules::Rules;
use super::source::Sources;
use crate::error::{Error, Result};

/// The most settings that are found one after the other: format, lines to skip, header, column.
const MOST: usize = 4;
/// The most columns that are tried when no name says which one contains the targets.
const TRIED: usize = 64;

/// The settings with which a list can be read; what the list shows by itself stays unset.
///
/// # Errors
/// A list that cannot be read with any setting, with the reason and what to do about it.
pub fn reading_for(place: &Place, rules: &Rules) -> Result<Reading> {
    let mut sources = Sources {
        paths: vec![place.name.clone()],
        reading: Reading::default(),
    };
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
                let column = with_most_targets(&sources, place, rules, columns).ok_or(error)?;
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
