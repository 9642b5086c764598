//! The lines of a list: what each label costs, and why lines have no page.

use std::collections::{BTreeMap, HashMap};

use super::columns::{LabelColumn, Rows, at, micros, number_at, numbers, texts};
use super::label_lines::{Label, keys_with};
use super::labels::MOST_VALUES;
use super::local_files::LocalFiles;
use super::opened::Opened;
use super::tables::{KEY, blocking};
use crate::contract::Table;
use crate::error::Result;
use crate::fate::Fate;
use crate::money::Usd;
use crate::store::Store;

/// What a list says about its lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    /// Labels with their lines and their share of the cost. A column with too many values is left out.
    pub labels: Vec<(Label, LabelCost)>,
    /// Why lines are invalid, refused or failed, most lines first.
    pub reasons: Vec<Reason>,
    /// How many other reasons there are.
    pub more_reasons: usize,
}

/// What a label costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LabelCost {
    /// The lines with it, without invalid ones.
    pub lines: u64,
    /// Their share of the cost in millionths of a millionth of a dollar. What a batch cost is shared
    /// equally by its targets, and the share of a target by the lines that name it.
    share: i128,
}

impl LabelCost {
    /// The share as an amount.
    #[must_use]
    pub fn cost(self) -> Usd {
        let micros = (self.share + MICRO / 2) / MICRO;
        Usd::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

/// A millionth of a dollar in millionths of it.
const MICRO: i128 = 1_000_000;

/// A reason that lines have in common. The target itself is left out of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The fate: invalid, refused or failed.
    pub fate: String,
    /// The reason.
    pub reason: String,
    /// The lines.
    pub lines: u64,
}

/// The reasons that are listed.
pub const MOST_REASONS: usize = 20;

/// Reads the lines of a snapshot.
///
/// # Errors
/// The lake fails, or a file is missing or damaged.
pub async fn lines(store: &Store, snapshot: &Opened) -> Result<Lines> {
    let targets = snapshot.files(store, Table::Targets).await?;
    let requests = snapshot.files(store, Table::Requests).await?;
    blocking(move || read(&targets, &requests)).await
}

/// How many targets of a snapshot have a label.
///
/// # Errors
/// As [`lines`].
pub async fn targets_with(store: &Store, snapshot: &Opened, label: &Label) -> Result<usize> {
    let targets = snapshot.files(store, Table::Targets).await?;
    let label = label.clone();
    blocking(move || Ok(keys_with(&targets, &label)?.height())).await
}

fn read(targets: &LocalFiles, requests: &LocalFiles) -> Result<Lines> {
    let mut costs = Costs {
        shares: shares(targets, requests)?,
        ..Costs::default()
    };
    let mut reasons = HashMap::<(String, String), u64>::new();
    let columns = &[KEY[0], KEY[1], "fate", "reason", "batch", "labels"];
    let mut rows = Rows::of(targets, columns);
    while let Some(batch) = rows.next_batch()? {
        let [domains, names] = KEY.map(|name| texts(&batch, name));
        let (domains, names) = (domains?, names?);
        let (fates, why) = (texts(&batch, "fate")?, texts(&batch, "reason")?);
        let batches = numbers(&batch, "batch")?;
        let labels = LabelColumn::of(&batch)?;
        for row in 0..batch.num_rows() {
            let (fate, target) = (at(fates, row).unwrap_or_default(), at(names, row));
            let named = [Fate::Invalid, Fate::Refused, Fate::Failed].map(Fate::name);
            if named.contains(&fate) {
                let reason = without(at(why, row).unwrap_or_default(), target);
                *reasons.entry((fate.to_owned(), reason)).or_default() += 1;
            }
            if fate != Fate::Invalid.name() {
                let key = (
                    at(domains, row).unwrap_or_default(),
                    target.unwrap_or_default(),
                );
                costs.add(key, number_at(batches, row), labels.of_line(row));
            }
        }
    }
    let mut reasons: Vec<_> = reasons
        .into_iter()
        .map(|((fate, reason), lines)| Reason {
            fate,
            reason,
            lines,
        })
        .collect();
    reasons.sort_by(|left, right| {
        let order = right.lines.cmp(&left.lines);
        order.then_with(|| (&left.fate, &left.reason).cmp(&(&right.fate, &right.reason)))
    });
    let more_reasons = reasons.len().saturating_sub(MOST_REASONS);
    reasons.truncate(MOST_REASONS);
    Ok(Lines {
        labels: costs.finish(),
        reasons,
        more_reasons,
    })
}

/// A reason without the target that it names, so that many targets have it in common.
fn without(reason: &str, target: Option<&str>) -> String {
    match target {
        Some(target) if !target.is_empty() => reason.replace(target, "…"),
        _ => reason.to_owned(),
    }
}

/// The share of a target in the cost of its batch, by batch.
fn shares(targets: &LocalFiles, requests: &LocalFiles) -> Result<HashMap<i64, i128>> {
    let mut asked = HashMap::<i64, i128>::new();
    let mut rows = Rows::of(targets, &["batch"]);
    while let Some(batch) = rows.next_batch()? {
        for number in numbers(&batch, "batch")?.iter().flatten() {
            *asked.entry(number).or_default() += 1;
        }
    }
    let mut shares = HashMap::<i64, i128>::new();
    let mut rows = Rows::of(requests, &["batch", "cost_usd"]);
    while let Some(batch) = rows.next_batch()? {
        let costs = micros(&batch, "cost_usd")?;
        for (number, cost) in numbers(&batch, "batch")?.iter().zip(costs) {
            if let Some(number) = number {
                *shares.entry(number).or_default() += cost.unwrap_or_default();
            }
        }
    }
    for (number, share) in &mut shares {
        *share = *share * MICRO / asked.get(number).copied().unwrap_or(1);
    }
    Ok(shares)
}

/// Adds up the lines of each label. The lines of a target come one after another.
#[derive(Default)]
struct Costs {
    shares: HashMap<i64, i128>,
    /// `None`: the column has too many values.
    columns: BTreeMap<String, Option<BTreeMap<String, LabelCost>>>,
    target: (String, String),
    batch: Option<i64>,
    /// The labels of each line of the target.
    lines: Vec<Vec<Label>>,
}

impl Costs {
    fn add<'a>(
        &mut self,
        target: (&str, &str),
        batch: Option<i64>,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
    ) {
        if (self.target.0.as_str(), self.target.1.as_str()) != target {
            self.close();
            self.target = (target.0.to_owned(), target.1.to_owned());
        }
        // A line that repeats another one has no batch of its own.
        self.batch = self.batch.or(batch);
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.lines.push(labels.collect());
    }

    fn close(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        let share = self.batch.take().and_then(|batch| self.shares.get(&batch));
        let share = share.copied().unwrap_or_default() / (lines.len() as i128).max(1);
        for (name, value) in lines.into_iter().flatten() {
            let column = self
                .columns
                .entry(name)
                .or_insert_with(|| Some(BTreeMap::new()));
            let Some(values) = column else { continue };
            if values.len() == MOST_VALUES && !values.contains_key(&value) {
                *column = None;
                continue;
            }
            let label = values.entry(value).or_default();
            label.lines += 1;
            label.share += share;
        }
    }

    fn finish(mut self) -> Vec<(Label, LabelCost)> {
        self.close();
        let columns = self.columns.into_iter();
        let counted = columns.filter_map(|(name, values)| Some((name, values?)));
        counted
            .flat_map(|(name, values)| {
                let label = move |(value, cost)| ((name.clone(), value), cost);
                values.into_iter().map(label)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_lines_add_up_to_what_their_batches_cost() {
        let mut costs = Costs {
            shares: [(1, 60_000 * MICRO / 3)].into(),
            ..Costs::default()
        };
        let acme = || [("client", "Acme")].into_iter();
        let beta = || [("client", "Beta"), ("market", "de")].into_iter();
        costs.add(("a.com", "a.com"), Some(1), acme());
        costs.add(("b.com", "b.com"), Some(1), beta());
        // Named twice, and once more by the other client.
        costs.add(("c.com", "c.com"), None, acme());
        costs.add(("c.com", "c.com"), Some(1), acme());
        costs.add(("c.com", "c.com"), None, beta());
        costs.add(("d.com", "d.com"), None, beta());
        let found: Vec<_> = costs
            .finish()
            .into_iter()
            .map(|((_, value), cost)| (value, cost.lines, cost.cost().micros()))
            .collect();
        let expected = [("Acme", 3, 33_333), ("Beta", 3, 26_667), ("de", 3, 26_667)];
        assert_eq!(
            found,
            expected.map(|(value, lines, cost)| (value.to_owned(), lines, cost))
        );
    }

    #[test]
    fn a_column_with_a_value_per_line_is_left_out() {
        let mut costs = Costs::default();
        for n in 0..=MOST_VALUES {
            let (id, target) = (n.to_string(), format!("https://a.com/{n:05}"));
            let labels = [("id", id.as_str()), ("client", "Acme")];
            costs.add(("a.com", &target), None, labels.into_iter());
        }
        let found = costs.finish();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0.0, "client");
    }

    #[test]
    fn targets_with_the_same_reason_count_together() {
        let reason = "40501: invalid 'https://a.com/1'";
        assert_eq!(
            without(reason, Some("https://a.com/1")),
            "40501: invalid '…'"
        );
        assert_eq!(without("no host", None), "no host");
        assert_eq!(without("no host", Some("")), "no host");
    }
}
