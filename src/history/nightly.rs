//! The figures of one night: all pages together, by root domain, by label, and of single targets.

use std::collections::{HashMap, HashSet};

use polars::prelude::{DataFrame, JoinType, LazyFrame, col};

use super::labels::{Label, Labels, labelled};
use super::local_files::LocalFiles;
use super::tables::{FAILED, KEY, batches, blocking, keyed, merged, scan};
use super::totals::{Adder, PageNumbers, PageTotals};
use crate::contract::Table;
use crate::error::{Context as _, Result};
use crate::lake::Manifest;
use crate::store::Store;

/// Which root domains, labels and targets of a night to count.
#[derive(Debug, Clone)]
pub enum Pick {
    /// The root domains with the most backlinks, at most so many, all labels, and these targets.
    Largest(usize, HashSet<String>),
    /// These alone.
    Only {
        /// Root domains.
        domains: HashSet<String>,
        /// Labels.
        labels: HashSet<Label>,
        /// Targets.
        targets: HashSet<String>,
    },
}

/// The bounds between the parts of [`NightPages::ranks`] and [`NightPages::spam_scores`].
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Of ranks, ascending.
    pub ranks: Vec<i64>,
    /// Of spam scores, ascending.
    pub spam_scores: Vec<i64>,
}

/// The figures of one night.
#[derive(Debug, Clone, Default)]
pub struct NightPages {
    /// All pages.
    pub all: PageTotals,
    /// The number of pages by rank.
    pub ranks: Vec<u64>,
    /// The number of pages by spam score.
    pub spam_scores: Vec<u64>,
    /// Root domains that have pages, by name.
    pub root_domains: usize,
    /// The picked root domains, most backlinks first.
    pub domains: Vec<(String, PageTotals)>,
    /// The picked labels, most pages first.
    pub labels: Vec<(Label, PageTotals)>,
    /// Columns with so many different values that they do not group anything.
    pub columns_not_counted: Vec<String>,
    /// The picked targets.
    pub targets: HashMap<String, PageNumbers>,
}

/// Reads the figures of a night.
///
/// # Errors
/// The lake fails, or a file is missing or damaged.
pub async fn night_pages(
    store: &Store,
    manifest: &Manifest,
    pick: Pick,
    bounds: Bounds,
) -> Result<NightPages> {
    let pages = LocalFiles::open(store, manifest, Table::Pages).await?;
    let targets = LocalFiles::open(store, manifest, Table::Targets).await?;
    blocking(move || {
        let mut night = count_pages(&pages, &pick, &bounds)?;
        let lines = keyed(labelled(&targets)?, [col("labels")])?;
        let rows = merged(lines, matched(&pages)?, JoinType::Inner);
        let mut labels = match &pick {
            Pick::Largest(..) => Labels::all(),
            Pick::Only { labels, .. } => Labels::only(labels),
        };
        batches(rows, |batch| {
            let pages = numbers(&batch)?;
            labels.add(batch, &pages)
        })?;
        (night.labels, night.columns_not_counted) = labels.finish();
        Ok(night)
    })
    .await
}

const NUMBERS: [&str; 5] = [
    "backlinks",
    "broken_backlinks",
    "referring_main_domains",
    "rank",
    "backlinks_spam_score",
];

/// The pages that count, with their key and numbers.
fn matched(files: &LocalFiles) -> Result<LazyFrame> {
    let counts = col("matched").and(col(KEY[1]).is_not_null());
    keyed(scan(files, None)?.filter(counts), NUMBERS.map(col))
}

fn count_pages(files: &LocalFiles, pick: &Pick, bounds: &Bounds) -> Result<NightPages> {
    let mut night = NightPages::default();
    let mut all = Adder::new();
    let mut domains = Domains::new(pick);
    batches(matched(files)?, |batch| {
        let names = strings(&batch, KEY[0])?;
        let targets = strings(&batch, KEY[1])?;
        for (row, page) in numbers(&batch)?.into_iter().enumerate() {
            all.add(&page);
            domains.add(names[row].unwrap_or_default(), &page);
            if let Some(target) = targets[row]
                && pick.targets().contains(target)
            {
                night.targets.insert(target.to_owned(), page);
            }
        }
        Ok(())
    })?;
    [night.ranks, night.spam_scores] = all.spread(&bounds.ranks, &bounds.spam_scores);
    night.all = all.finish();
    (night.domains, night.root_domains) = domains.finish();
    Ok(night)
}

/// The root domains of a night, which come one after another.
struct Domains<'a> {
    pick: &'a Pick,
    current: Option<(String, Adder)>,
    found: Vec<(String, PageTotals)>,
    number: usize,
}

impl<'a> Domains<'a> {
    fn new(pick: &'a Pick) -> Self {
        Self {
            pick,
            current: None,
            found: Vec::new(),
            number: 0,
        }
    }

    fn add(&mut self, name: &str, page: &PageNumbers) {
        if self
            .current
            .as_ref()
            .is_none_or(|current| current.0 != name)
        {
            self.close();
            self.current = Some((name.to_owned(), Adder::new()));
        }
        if let Some((_, adder)) = &mut self.current {
            adder.add(page);
        }
    }

    fn close(&mut self) {
        /// Domains that are gathered before all but the largest are dropped.
        const GATHERED: usize = 20_000;
        let Some((name, adder)) = self.current.take() else {
            return;
        };
        self.number += 1;
        match self.pick {
            Pick::Only { domains, .. } if !domains.contains(&name) => {}
            Pick::Only { .. } => self.found.push((name, adder.finish())),
            Pick::Largest(most, _) => {
                self.found.push((name, adder.finish()));
                if self.found.len() >= most + GATHERED {
                    self.cut(*most);
                }
            }
        }
    }

    fn cut(&mut self, most: usize) {
        self.found.sort_by(|(left, one), (right, other)| {
            let order = other.backlinks.cmp(&one.backlinks);
            order.then_with(|| left.cmp(right))
        });
        self.found.truncate(most);
    }

    fn finish(mut self) -> (Vec<(String, PageTotals)>, usize) {
        self.close();
        self.cut(match self.pick {
            Pick::Largest(most, _) => *most,
            Pick::Only { .. } => usize::MAX,
        });
        (self.found, self.number)
    }
}

impl Pick {
    fn targets(&self) -> &HashSet<String> {
        match self {
            Self::Largest(_, targets) | Self::Only { targets, .. } => targets,
        }
    }
}

fn strings<'a>(batch: &'a DataFrame, name: &str) -> Result<Vec<Option<&'a str>>> {
    let column = batch.column(name).and_then(|column| column.str());
    Ok(column.context(|| FAILED)?.iter().collect())
}

fn numbers(batch: &DataFrame) -> Result<Vec<PageNumbers>> {
    let mut pages = vec![PageNumbers::default(); batch.height()];
    for name in NUMBERS {
        let column = batch.column(name).and_then(|column| column.i64());
        for (page, value) in pages.iter_mut().zip(column.context(|| FAILED)?.iter()) {
            match name {
                "backlinks" => page.backlinks = value,
                "broken_backlinks" => page.broken_backlinks = value,
                "referring_main_domains" => page.referring_main_domains = value,
                "rank" => page.rank = value,
                _ => page.backlinks_spam_score = value,
            }
        }
    }
    Ok(pages)
}
