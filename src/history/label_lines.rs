//! The labels of targets, one target after another, as the lines of a list have them.

use std::cmp::Ordering;

use arrow::array::{Array as _, RecordBatch, StringArray};
use polars::prelude::{DataFrame, df};

use super::columns::{LabelColumn, Rows, at, texts};
use super::local_files::LocalFiles;
use super::tables::{FAILED, KEY};
use crate::error::{Context as _, Result};
use crate::fate::Fate;

/// A column of the target list and its value: `client` and `Acme`.
pub type Label = (String, String);

/// The labels of one target: those of all lines that name it, also twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TargetLabels {
    text: String,
    /// Where each column and each value ends in the text.
    ends: Vec<usize>,
}

impl TargetLabels {
    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    fn push(&mut self, (name, value): (&str, &str)) {
        for text in [name, value] {
            self.text.push_str(text);
            self.ends.push(self.text.len());
        }
    }

    /// The column and value of each label.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut from = 0;
        self.ends.chunks_exact(2).map(move |ends| {
            let label = (&self.text[from..ends[0]], &self.text[ends[0]..ends[1]]);
            from = ends[1];
            label
        })
    }

    /// Whether this label is among them.
    pub(super) fn contains(&self, label: &Label) -> bool {
        self.iter()
            .any(|(name, value)| name == label.0 && value == label.1)
    }
}

/// Moves through the lines of a list in the order of their targets.
pub(super) struct LabelLines {
    rows: Rows,
    batch: Option<Columns>,
    row: usize,
    labels: TargetLabels,
}

/// The columns of a batch of lines.
struct Columns {
    domains: StringArray,
    targets: StringArray,
    fates: StringArray,
    labels: LabelColumn,
}

const COLUMNS: [&str; 4] = [KEY[0], KEY[1], "fate", "labels"];

impl Columns {
    fn of(batch: &RecordBatch) -> Result<Self> {
        Ok(Self {
            domains: texts(batch, KEY[0])?.clone(),
            targets: texts(batch, KEY[1])?.clone(),
            fates: texts(batch, "fate")?.clone(),
            labels: LabelColumn::of(batch)?,
        })
    }

    /// The key of a line; `None` for an invalid one.
    fn key(&self, row: usize) -> Option<(&str, &str)> {
        let is_valid = at(&self.fates, row) != Some(Fate::Invalid.name());
        let key = at(&self.domains, row).zip(at(&self.targets, row));
        key.filter(|_| is_valid)
    }
}

impl LabelLines {
    pub(super) fn open(targets: &LocalFiles) -> Result<Self> {
        let mut lines = Self {
            rows: Rows::of(targets, &COLUMNS),
            batch: None,
            row: 0,
            labels: TargetLabels::default(),
        };
        lines.next_batch()?;
        Ok(lines)
    }

    fn next_batch(&mut self) -> Result<()> {
        let batch = self.rows.next_batch()?;
        self.batch = batch.as_ref().map(Columns::of).transpose()?;
        self.row = 0;
        Ok(())
    }

    /// The labels of a target. The targets come in the order of the table.
    pub(super) fn of(&mut self, target: (&str, &str)) -> Result<&TargetLabels> {
        self.labels.clear();
        while let Some(batch) = &self.batch {
            while self.row < batch.targets.len() {
                match batch.key(self.row).map(|key| key.cmp(&target)) {
                    Some(Ordering::Greater) => return Ok(&self.labels),
                    Some(Ordering::Equal) => {
                        let labels = batch.labels.of_line(self.row);
                        labels.for_each(|label| self.labels.push(label));
                    }
                    _ => {}
                }
                self.row += 1;
            }
            self.next_batch()?;
        }
        Ok(&self.labels)
    }
}

/// The keys of the targets that have a label, each once and in order.
pub(super) fn keys_with(targets: &LocalFiles, label: &Label) -> Result<DataFrame> {
    let mut rows = Rows::of(targets, &COLUMNS);
    let (mut domains, mut found) = (Vec::<String>::new(), Vec::<String>::new());
    while let Some(batch) = rows.next_batch()? {
        let batch = Columns::of(&batch)?;
        for row in 0..batch.targets.len() {
            let Some((domain, target)) = batch.key(row) else {
                continue;
            };
            let mut labels = batch.labels.of_line(row);
            let has_label = labels.any(|it| it == (&label.0, &label.1));
            let is_known = found.last().is_some_and(|last| last == target);
            if has_label && !is_known {
                domains.push(domain.to_owned());
                found.push(target.to_owned());
            }
        }
    }
    df!(KEY[0] => domains, KEY[1] => found).context(|| FAILED)
}
