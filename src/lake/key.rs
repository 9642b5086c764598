//! Compares the sort keys of rows without copying them: for sorting, for cutting files and for auditing.

use std::cmp::Ordering;

use arrow::array::AsArray as _;
use arrow::array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Int32Type, Int64Type};

/// A value of a sort column. Null sorts first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum KeyPart<'a> {
    Null,
    Count(i64),
    Text(&'a str),
}

/// A [`KeyPart`] that outlives its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OwnedPart {
    Null,
    Count(i64),
    Text(String),
}

impl KeyPart<'_> {
    pub(super) fn to_owned(self) -> OwnedPart {
        match self {
            Self::Null => OwnedPart::Null,
            Self::Count(count) => OwnedPart::Count(count),
            Self::Text(text) => OwnedPart::Text(text.to_owned()),
        }
    }
}

impl OwnedPart {
    pub(super) fn as_part(&self) -> KeyPart<'_> {
        match self {
            Self::Null => KeyPart::Null,
            Self::Count(count) => KeyPart::Count(*count),
            Self::Text(text) => KeyPart::Text(text),
        }
    }
}

/// The order of two keys.
pub(super) fn compare_owned(left: &[OwnedPart], right: &[OwnedPart]) -> Ordering {
    left.iter()
        .map(OwnedPart::as_part)
        .cmp(right.iter().map(OwnedPart::as_part))
}

/// The sort columns of a batch.
pub(super) struct Keys<'a>(Vec<KeyColumn<'a>>);

enum KeyColumn<'a> {
    Text(&'a StringArray),
    /// The dictionary's indexes and values.
    Dictionary(&'a Int32Array, &'a StringArray),
    Count(&'a Int64Array),
}

impl<'a> KeyColumn<'a> {
    fn of(column: &'a ArrayRef) -> Option<Self> {
        if let Some(texts) = column.as_string_opt::<i32>() {
            return Some(Self::Text(texts));
        }
        if let Some(counts) = column.as_primitive_opt::<Int64Type>() {
            return Some(Self::Count(counts));
        }
        let dictionary = column.as_dictionary_opt::<Int32Type>()?;
        Some(Self::Dictionary(
            dictionary.keys(),
            dictionary.values().as_string_opt::<i32>()?,
        ))
    }

    fn part(&self, row: usize) -> KeyPart<'a> {
        match self {
            Self::Text(texts) if texts.is_valid(row) => KeyPart::Text(texts.value(row)),
            Self::Count(counts) if counts.is_valid(row) => KeyPart::Count(counts.value(row)),
            Self::Dictionary(numbers, texts) if numbers.is_valid(row) => {
                let number = numbers.value(row) as usize;
                if texts.is_valid(number) {
                    KeyPart::Text(texts.value(number))
                } else {
                    KeyPart::Null
                }
            }
            _ => KeyPart::Null,
        }
    }

    fn rows(&self) -> usize {
        match self {
            Self::Text(texts) => texts.len(),
            Self::Dictionary(numbers, _) => numbers.len(),
            Self::Count(counts) => counts.len(),
        }
    }

    /// Whether a row has the same index into a dictionary as the row before it: then it has the same value, and they need
    /// not be compared.
    fn repeats_index(&self, row: usize) -> bool {
        match self {
            Self::Dictionary(numbers, _) if row > 0 && numbers.null_count() == 0 => {
                numbers.values()[row] == numbers.values()[row - 1]
            }
            _ => false,
        }
    }

    /// How each row after the first compares with the row before it.
    fn steps(&self) -> Vec<Ordering> {
        match self {
            Self::Text(texts) if texts.null_count() == 0 => {
                let text =
                    |bounds: &[i32]| &texts.value_data()[bounds[0] as usize..bounds[1] as usize];
                let pairs = texts.value_offsets().windows(3);
                pairs
                    .map(|pair| text(&pair[1..]).cmp(text(&pair[..2])))
                    .collect()
            }
            _ => (1..self.rows())
                .map(|row| match self.repeats_index(row) {
                    true => Ordering::Equal,
                    false => self.part(row).cmp(&self.part(row - 1)),
                })
                .collect(),
        }
    }
}

impl<'a> Keys<'a> {
    /// The columns with these names; none if one is missing or has a type that cannot be sorted by.
    pub(super) fn of(batch: &'a RecordBatch, names: &[String]) -> Option<Self> {
        let columns = names
            .iter()
            .map(|name| KeyColumn::of(batch.column_by_name(name)?));
        columns.collect::<Option<_>>().map(Self)
    }

    /// Whether the rows are sorted.
    pub(super) fn ascend(&self) -> bool {
        let mut columns = self.0.iter().map(KeyColumn::steps);
        let mut steps = columns.next().unwrap_or_default();
        for column in columns {
            for (step, next) in steps.iter_mut().zip(column) {
                *step = step.then(next);
            }
        }
        steps.iter().all(|step| step.is_ge())
    }

    /// The key of a row.
    pub(super) fn owned(&self, row: usize) -> Vec<OwnedPart> {
        self.0
            .iter()
            .map(|column| column.part(row).to_owned())
            .collect()
    }

    /// The first eight bytes of a row's key: where they differ, the keys have the same order. 0 if the key does not begin
    /// with a text.
    pub(super) fn start(&self, row: usize) -> u64 {
        match self.0.first().map(|column| column.part(row)) {
            Some(KeyPart::Text(text)) => {
                let mut start = [0; 8];
                let length = text.len().min(start.len());
                start[..length].copy_from_slice(&text.as_bytes()[..length]);
                u64::from_be_bytes(start)
            }
            _ => 0,
        }
    }

    /// Whether the key of each row sorts before one that consists of these texts.
    pub(super) fn below<'k>(&'k self, key: &'k [String]) -> impl Iterator<Item = bool> + 'k {
        let rows = self.0.first().map_or(0, KeyColumn::rows);
        (0..rows).map(move |row| {
            let parts = self.0.iter().map(|column| column.part(row));
            parts
                .cmp(key.iter().map(|text| KeyPart::Text(text)))
                .is_lt()
        })
    }

    /// Compares the key of a row with the key of a row in another batch.
    pub(super) fn compare(&self, row: usize, other: &Keys<'_>, other_row: usize) -> Ordering {
        self.0
            .iter()
            .zip(&other.0)
            .map(|(left, right)| left.part(row).cmp(&right.part(other_row)))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }

    /// Whether a row has this key.
    pub(super) fn is(&self, row: usize, key: &[OwnedPart]) -> bool {
        self.0
            .iter()
            .zip(key)
            .all(|(column, part)| column.part(row) == part.as_part())
    }
}

/// Calls `each` with the value of every row that differs from the row before it, in a column of strings, plain or
/// dictionary-encoded.
pub(super) fn changes<'a>(column: &'a ArrayRef, mut each: impl FnMut(&'a str)) {
    let Some(column) = KeyColumn::of(column) else {
        return;
    };
    let mut before = KeyPart::Null;
    for row in 0..column.rows() {
        if column.repeats_index(row) {
            continue;
        }
        let part = column.part(row);
        if let KeyPart::Text(text) = part
            && part != before
        {
            each(text);
        }
        before = part;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use arrow::array::DictionaryArray;
    use proptest::prelude::*;

    use super::*;

    /// Few different texts, so that many rows repeat the one before them.
    fn texts() -> impl Strategy<Value = Vec<Option<&'static str>>> {
        prop::collection::vec(
            prop::option::weighted(0.9, prop::sample::select(vec!["", "a", "ab", "b"])),
            1..40,
        )
    }

    proptest! {
        #[test]
        fn no_value_is_left_out_and_neighbours_are_compared_in_every_kind_of_column(
            values in texts(),
            // Several indexes may stand for the same text, or for none.
            keys in prop::collection::vec(prop::option::weighted(0.9, any::<prop::sample::Index>()), 0..80),
            has_nulls in any::<bool>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let keys = keys.iter().filter(|key| has_nulls || key.is_some());
            let keys: Int32Array = keys.map(|key| key.map(|key| key.index(values.len()) as i32)).collect();
            let plain: ArrayRef = Arc::new(StringArray::from(values.clone()));
            let whole: StringArray = values.iter().flatten().map(|text| Some(*text)).collect();
            let dictionary = DictionaryArray::try_new(keys, Arc::clone(&plain)).unwrap();
            for column in [plain, Arc::new(whole), Arc::new(dictionary)] {
                let from = cut.index(column.len() + 1);
                let column = column.slice(from, column.len() - from);
                let keys = KeyColumn::of(&column).unwrap();
                let parts: Vec<KeyPart<'_>> = (0..keys.rows()).map(|row| keys.part(row)).collect();
                let mut found = Vec::new();
                changes(&column, |text| found.push(KeyPart::Text(text)));
                let mut expected = parts.clone();
                expected.dedup();
                expected.retain(|part| *part != KeyPart::Null);
                prop_assert_eq!(&found, &expected);
                let all: BTreeSet<_> = parts.iter().filter(|part| **part != KeyPart::Null).collect();
                prop_assert_eq!(found.iter().collect::<BTreeSet<_>>(), all);
                let steps: Vec<Ordering> = parts.windows(2).map(|pair| pair[1].cmp(&pair[0])).collect();
                prop_assert_eq!(keys.steps(), steps);
            }
        }
    }
}
