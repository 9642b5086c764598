//! The figures of one night: all pages together, by root domain, by label, and of single targets.
//!
//! A label counts a page once, however many lines with it name the page's target; a duplicate line
//! counts as the line that it repeats, so that a page shared by two clients counts for both.

use std::collections::{BTreeMap, HashMap, HashSet};

use polars::prelude::{ChunkExplode as _, DataFrame, JoinType, LazyFrame, col, lit};

use super::local_files::LocalFiles;
use super::tables::{FAILED, KEY, batches, blocking, keyed, merged, scan};
use super::totals::{Adder, PageNumbers, PageTotals};
use crate::contract::Table;
use crate::error::{Context as _, Result};
use crate::fate::Fate;
use crate::lake::Manifest;
use crate::store::Store;

/// A column of the target list and its value: `client` and `Acme`.
pub type Label = (String, String);

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

/// The most values of a column that are counted.
const MOST_VALUES: usize = 200;

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
        count_labels(&pages, &targets, &pick, &mut night)?;
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

fn count_labels(
    pages: &LocalFiles,
    targets: &LocalFiles,
    pick: &Pick,
    night: &mut NightPages,
) -> Result<()> {
    let labelled = col("labels").is_not_null();
    let valid = col("fate").neq(lit(Fate::Invalid.name()));
    let lines = scan(targets, None)?.filter(labelled.and(valid));
    let lines = keyed(lines, [col("labels")])?;
    let rows = merged(lines, matched(pages)?, JoinType::Inner);
    let mut columns: BTreeMap<String, BTreeMap<String, Adder>> = BTreeMap::new();
    let mut too_many = HashSet::new();
    // The labels of the target that the rows are at: another line can repeat them.
    let (mut current, mut seen) = (None::<String>, HashSet::<Label>::new());
    batches(rows, |mut batch| {
        batch.rechunk_mut();
        let labels = labels(&batch)?;
        let targets = strings(&batch, KEY[1])?;
        for (row, page) in numbers(&batch)?.into_iter().enumerate() {
            if current.as_deref() != targets[row] {
                current = targets[row].map(str::to_owned);
                seen.clear();
            }
            for label in &labels[row] {
                if too_many.contains(&label.0) || !pick.has_label(label) {
                    continue;
                }
                if !seen.insert(label.clone()) {
                    continue;
                }
                let values = columns.entry(label.0.clone()).or_default();
                let adder = values.entry(label.1.clone()).or_insert_with(Adder::new);
                adder.add(&page);
                if values.len() > MOST_VALUES {
                    columns.remove(&label.0);
                    too_many.insert(label.0.clone());
                }
            }
        }
        Ok(())
    })?;
    for (column, values) in columns {
        for (value, adder) in values {
            night.labels.push(((column.clone(), value), adder.finish()));
        }
    }
    night.labels.sort_by(|(left, one), (right, other)| {
        let order = left.0.cmp(&right.0).then(other.pages.cmp(&one.pages));
        order.then_with(|| left.1.cmp(&right.1))
    });
    night.columns_not_counted = too_many.into_iter().collect();
    night.columns_not_counted.sort();
    Ok(())
}

impl Pick {
    fn targets(&self) -> &HashSet<String> {
        match self {
            Self::Largest(_, targets) | Self::Only { targets, .. } => targets,
        }
    }

    fn has_label(&self, label: &Label) -> bool {
        match self {
            Self::Largest(..) => true,
            Self::Only { labels, .. } => labels.contains(label),
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

/// The labels of each row of a batch in one chunk.
fn labels(batch: &DataFrame) -> Result<Vec<Vec<Label>>> {
    let lists = batch.column("labels").and_then(|column| column.list());
    let lists = lists.context(|| FAILED)?;
    let entries = lists.get_inner();
    let entries = entries.struct_().context(|| FAILED)?;
    let field = |name: &str| entries.field_by_name(name).context(|| FAILED);
    let (keys, values) = (field("key")?, field("value")?);
    let (keys, values) = (
        keys.str().context(|| FAILED)?,
        values.str().context(|| FAILED)?,
    );
    let ends = lists.offsets().context(|| FAILED)?;
    let mut rows = Vec::with_capacity(batch.height());
    for end in ends.as_slice().windows(2) {
        let entries = (end[0] as usize)..(end[1] as usize);
        let label = |entry| {
            let key = keys.get(entry)?.to_owned();
            Some((key, values.get(entry).unwrap_or_default().to_owned()))
        };
        rows.push(entries.filter_map(label).collect());
    }
    Ok(rows)
}
