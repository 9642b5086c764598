//! The figures of one night: all pages together, by root domain, by label, and of single targets.

use std::collections::{HashMap, HashSet};

use arrow::array::{Array as _, BooleanArray, Int64Array, RecordBatch, StringArray};

use super::columns::{Rows, at, booleans, number_at, numbers, texts};
use super::label_lines::{Label, LabelLines};
use super::labels::Labels;
use super::local_files::LocalFiles;
use super::opened::Opened;
use super::ranked::Ranked;
use super::tables::{KEY, blocking};
use super::totals::{Adder, PageNumbers, PageTotals};
use crate::contract::Table;
use crate::error::Result;
use crate::store::Store;

/// Which root domains, labels and targets of a night to count.
#[derive(Debug, Clone)]
pub enum Pick {
    /// The root domains with the most backlinks, at most so many, all labels, these targets, and the
    /// pages at risk.
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
    /// The pages with the most broken backlinks, of [`Pick::Largest`].
    pub broken: Vec<(String, PageNumbers)>,
    /// The pages with the most backlinks per referring main domain, of [`Pick::Largest`].
    pub concentrated: Vec<(String, PageNumbers)>,
}

/// The fewest backlinks with which a page can be concentrated.
pub const CONCENTRATED: i64 = 100;

/// Reads the figures of a night: of all pages, or of those whose target has a label.
///
/// # Errors
/// The lake fails, or a file is missing or damaged.
pub async fn night_pages(
    store: &Store,
    night: &Opened,
    label: Option<Label>,
    pick: Pick,
    bounds: Bounds,
) -> Result<NightPages> {
    let pages = night.files(store, Table::Pages).await?;
    let targets = night.files(store, Table::Targets).await?;
    blocking(move || count(&pages, &targets, label.as_ref(), &pick, &bounds)).await
}

const COLUMNS: [&str; 8] = [
    KEY[0],
    KEY[1],
    "matched",
    "backlinks",
    "broken_backlinks",
    "referring_main_domains",
    "rank",
    "backlinks_spam_score",
];

fn count(
    pages: &LocalFiles,
    targets: &LocalFiles,
    label: Option<&Label>,
    pick: &Pick,
    bounds: &Bounds,
) -> Result<NightPages> {
    let mut night = NightPages::default();
    let mut all = Adder::new();
    let mut domains = Domains::new(pick);
    let (mut labels, risks) = match pick {
        Pick::Largest(..) => (Labels::all(), RISKS),
        Pick::Only { labels, .. } => (Labels::only(labels), 0),
    };
    let (mut broken, mut concentrated) = (Ranked::new(risks), Ranked::new(risks));
    let mut lines = LabelLines::open(targets)?;
    let mut rows = Rows::of(pages, &COLUMNS);
    while let Some(batch) = rows.next_batch()? {
        let batch = PageBatch::of(&batch)?;
        for row in 0..batch.matched.len() {
            let Some((domain, target)) = batch.key(row) else {
                continue;
            };
            let own = lines.of((domain, target))?;
            if label.is_some_and(|label| !own.contains(label)) {
                continue;
            }
            let page = batch.numbers(row);
            all.add(&page);
            domains.add(domain, &page);
            labels.add(own, &page);
            if pick.targets().contains(target) {
                night.targets.insert(target.to_owned(), page);
            }
            broken.add(broken_links(&page), target, page);
            concentrated.add(links_per_domain(&page), target, page);
        }
    }
    [night.ranks, night.spam_scores] = all.spread(&bounds.ranks, &bounds.spam_scores);
    night.all = all.finish();
    (night.domains, night.root_domains) = domains.finish();
    (night.labels, night.columns_not_counted) = labels.finish();
    (night.broken, night.concentrated) = (broken.finish(), concentrated.finish());
    Ok(night)
}

/// The pages of each kind of risk.
const RISKS: usize = 10;

/// The value by which broken pages are ranked.
fn broken_links(page: &PageNumbers) -> Option<f64> {
    let links = page.broken_backlinks.filter(|links| *links > 0);
    links.map(|links| links as f64)
}

/// The value by which concentrated pages are ranked.
fn links_per_domain(page: &PageNumbers) -> Option<f64> {
    let links = page.backlinks.filter(|links| *links >= CONCENTRATED)?;
    let domains = page.referring_main_domains.filter(|domains| *domains > 0)?;
    Some(links as f64 / domains as f64)
}

/// The columns of a batch of pages.
struct PageBatch<'a> {
    domains: &'a StringArray,
    targets: &'a StringArray,
    matched: &'a BooleanArray,
    numbers: [&'a Int64Array; 5],
}

impl<'a> PageBatch<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self> {
        let number = |place: usize| numbers(batch, COLUMNS[3 + place]);
        Ok(Self {
            domains: texts(batch, KEY[0])?,
            targets: texts(batch, KEY[1])?,
            matched: booleans(batch, "matched")?,
            numbers: [number(0)?, number(1)?, number(2)?, number(3)?, number(4)?],
        })
    }

    /// The key of a page that counts.
    fn key(&self, row: usize) -> Option<(&'a str, &'a str)> {
        let counts = self.matched.is_valid(row) && self.matched.value(row);
        let target = at(self.targets, row).filter(|_| counts)?;
        Some((at(self.domains, row).unwrap_or_default(), target))
    }

    fn numbers(&self, row: usize) -> PageNumbers {
        let number = |place: usize| number_at(self.numbers[place], row);
        PageNumbers {
            backlinks: number(0),
            broken_backlinks: number(1),
            referring_main_domains: number(2),
            rank: number(3),
            backlinks_spam_score: number(4),
        }
    }
}

/// The root domains of a night, which come one after another.
struct Domains<'a> {
    pick: &'a Pick,
    /// The domain that the rows are at, and its pages if it is picked.
    current: Option<(String, Option<Adder>)>,
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
            let is_picked = match self.pick {
                Pick::Largest(..) => true,
                Pick::Only { domains, .. } => domains.contains(name),
            };
            self.current = Some((name.to_owned(), is_picked.then(Adder::new)));
        }
        if let Some((_, Some(adder))) = &mut self.current {
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
        self.found.extend(adder.map(|adder| (name, adder.finish())));
        if let Pick::Largest(most, _) = self.pick
            && self.found.len() >= most + GATHERED
        {
            self.cut(*most);
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
