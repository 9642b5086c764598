//! The sort key of a table's rows, compared in place: what the writer cuts files by and the audit holds order to.

use std::cmp::Ordering;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};

/// A value of a sort column; null comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum KeyPart<'a> {
    Null,
    Count(i64),
    Text(&'a str),
}

/// The same, kept from one batch to the next.
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

/// Whether one key comes before another, is the same, or comes after it.
pub(super) fn compare_owned(left: &[OwnedPart], right: &[OwnedPart]) -> Ordering {
    left.iter().map(OwnedPart::as_part).cmp(right.iter().map(OwnedPart::as_part))
}

/// The sort columns of a batch.
pub(super) struct Keys<'a>(Vec<KeyColumn<'a>>);

enum KeyColumn<'a> {
    Text(&'a StringArray),
    /// Values that repeat: where the numbers are the same, nothing else needs to be looked at.
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
        Some(Self::Dictionary(dictionary.keys(), dictionary.values().as_string_opt::<i32>()?))
    }

    fn part(&self, row: usize) -> KeyPart<'a> {
        match self {
            Self::Text(texts) if texts.is_valid(row) => KeyPart::Text(texts.value(row)),
            Self::Count(counts) if counts.is_valid(row) => KeyPart::Count(counts.value(row)),
            Self::Dictionary(numbers, texts) if numbers.is_valid(row) => {
                let number = numbers.value(row) as usize;
                if texts.is_valid(number) { KeyPart::Text(texts.value(number)) } else { KeyPart::Null }
            }
            _ => KeyPart::Null,
        }
    }

    fn compare(&self, left: usize, right: usize) -> Ordering {
        if let Self::Dictionary(numbers, _) = self
            && numbers.is_valid(left)
            && numbers.is_valid(right)
            && numbers.value(left) == numbers.value(right)
        {
            return Ordering::Equal;
        }
        self.part(left).cmp(&self.part(right))
    }
}

impl<'a> Keys<'a> {
    /// The columns of these names; none if one is not there or of a type that nothing is sorted by.
    pub(super) fn of(batch: &'a RecordBatch, names: &[String]) -> Option<Self> {
        let columns = names.iter().map(|name| KeyColumn::of(batch.column_by_name(name)?));
        columns.collect::<Option<_>>().map(Self)
    }

    /// Compares the keys of two rows of the batch.
    pub(super) fn compare(&self, left: usize, right: usize) -> Ordering {
        let columns = self.0.iter().map(|column| column.compare(left, right));
        columns.into_iter().find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// The key of a row.
    pub(super) fn owned(&self, row: usize) -> Vec<OwnedPart> {
        self.0.iter().map(|column| column.part(row).to_owned()).collect()
    }

    /// The key of a row is this one.
    pub(super) fn is(&self, row: usize, key: &[OwnedPart]) -> bool {
        self.0.iter().zip(key).all(|(column, part)| column.part(row) == part.as_part())
    }
}

/// A column of texts, plain or a dictionary, as far as rows differ from the row before.
pub(super) fn changes<'a>(column: &'a ArrayRef, mut each: impl FnMut(&'a str)) {
    let Some(column) = KeyColumn::of(column) else {
        return;
    };
    let rows = match &column {
        KeyColumn::Text(texts) => texts.len(),
        KeyColumn::Dictionary(numbers, _) => numbers.len(),
        KeyColumn::Count(_) => 0,
    };
    for row in 0..rows {
        let repeats = row > 0 && column.compare(row - 1, row).is_eq();
        if let (false, KeyPart::Text(text)) = (repeats, column.part(row)) {
            each(text);
        }
    }
}
