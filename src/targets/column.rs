//! Columns by name or number: which one contains the targets, and which ones are kept.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

use crate::error::{Error, Result};
use crate::visible::{escaped, is_invisible};

/// A column of a list, by name or number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Column {
    /// The name in the header.
    Name(String),
    /// The number, from 1.
    Number(usize),
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "`{}`", escaped(name)),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

impl<'de> Deserialize<'de> for Column {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct NameOrNumber;

        impl Visitor<'_> for NameOrNumber {
            type Value = Column;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a column, or its number from 1")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Column, E> {
                Ok(Column::Name(name.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Column, E> {
                usize::try_from(number)
                    .ok()
                    .filter(|number| (1..=MAX_COLUMNS).contains(number))
                    .map(Column::Number)
                    .ok_or_else(|| E::custom(format!("{number} is not from 1 to {MAX_COLUMNS}")))
            }
        }

        from.deserialize_any(NameOrNumber)
    }
}

/// The most columns of a list; a spreadsheet has no more.
pub const MAX_COLUMNS: usize = 16_384;

/// Names that exports and people give to the column of the targets, as [`plain`] makes them.
const WELL_KNOWN: [&str; 22] = [
    "url",
    "urls",
    "uri",
    "target",
    "targets",
    "targeturl",
    "target_url",
    "targetpage",
    "address",
    "page",
    "pages",
    "pageurl",
    "page_url",
    "toppage",
    "toppages",
    "landingpage",
    "landing_page",
    "loc",
    "link",
    "domain",
    "domains",
    "website",
];

/// Whether a column of this name usually contains the targets.
pub(super) fn is_well_known(name: &str) -> bool {
    WELL_KNOWN.contains(&&*plain(name))
}

/// A name without regard to case, white space and Unicode form.
fn plain(name: &str) -> Cow<'_, str> {
    let is_plain = |b: u8| b.is_ascii_graphic() && !b.is_ascii_uppercase();
    if name.bytes().all(is_plain) {
        return Cow::Borrowed(name);
    }
    let lower = name.nfkc().flat_map(char::to_lowercase);
    let kept = lower.filter(|&c| !(c.is_whitespace() || is_invisible(c)));
    // Lower case can undo the normal form.
    Cow::Owned(kept.collect::<String>().nfkc().collect())
}

/// Why no column was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotFound {
    /// No column has the name, a well-known name, or the number.
    Missing,
    /// Several columns have it, at these positions.
    Ambiguous(Vec<usize>),
}

/// The position of a column: by its exact name first, then without regard to case, white space and
/// Unicode form. Without a column, by the one well-known name.
pub(super) fn position(names: &[String], column: Option<&Column>) -> Result<usize, NotFound> {
    let one = |matches: &dyn Fn(&str) -> bool| {
        let mut found: Vec<usize> = (0..names.len()).filter(|&at| matches(&names[at])).collect();
        match found.len() {
            0 => Err(NotFound::Missing),
            1 => Ok(found.remove(0)),
            _ => Err(NotFound::Ambiguous(found)),
        }
    };
    match column {
        None => one(&is_well_known),
        Some(Column::Number(number)) if *number <= names.len() => Ok(number - 1),
        Some(Column::Number(_)) => Err(NotFound::Missing),
        Some(Column::Name(name)) => {
            let exact = one(&|found| found.trim_ascii() == name.trim_ascii());
            match exact {
                Err(NotFound::Missing) => one(&|found| plain(found) == plain(name)),
                found => found,
            }
        }
    }
}

/// The column at a position: by its name if the name means no other one, or else by its number.
pub(super) fn column_at(names: &[String], at: usize) -> Column {
    let name = Column::Name(names[at].trim().to_owned());
    if !names[at].trim().is_empty() && position(names, Some(&name)) == Ok(at) {
        name
    } else {
        Column::Number(at + 1)
    }
}

/// The names of columns for a message, each escaped, and shortened if there are many.
pub(super) fn listed<S: AsRef<str>>(names: impl ExactSizeIterator<Item = S>) -> String {
    const SHOWN: usize = 30;
    let more = names.len().saturating_sub(SHOWN);
    let mut listed: Vec<String> = names
        .take(SHOWN)
        .map(|name| format!("`{}`", shown(name.as_ref())))
        .collect();
    if more > 0 {
        listed.push(format!("and {more} more"));
    }
    listed.join(", ")
}

/// The start of a foreign text, escaped.
pub(super) fn shown(text: &str) -> String {
    const SHOWN: usize = 100;
    let cut: String = text.trim().chars().take(SHOWN).collect();
    let more = if cut.len() < text.trim().len() {
        "…"
    } else {
        ""
    };
    format!("{}{more}", escaped(&cut))
}

/// The same for bytes.
pub(super) fn shown_bytes(text: &[u8]) -> String {
    shown(&String::from_utf8_lossy(&text[..text.len().min(1024)]))
}

/// The error for a column that cannot be found. `key` is `column` or `keep`; `list` names the
/// list.
pub(super) fn not_found(
    list: &str,
    names: &[String],
    column: Option<&Column>,
    key: &str,
    why: &NotFound,
) -> Error {
    let all = listed(names.iter());
    let message = match (column, why) {
        (None, NotFound::Missing) => format!(
            "{list}: no column has a name that usually means targets, such as `url`, `target` or `page`; its columns are: {all}"
        ),
        (None, NotFound::Ambiguous(found)) => format!(
            "{list}: {} could each contain the targets",
            listed(found.iter().map(|&at| &names[at]))
        ),
        (Some(column), NotFound::Missing) => {
            format!("{list} has no column {column}; its columns are: {all}")
        }
        (Some(column), NotFound::Ambiguous(found)) => format!(
            "{list}: {} columns could be {column}; its columns are: {all}",
            found.len()
        ),
    };
    Error::usage(message).with_hint(format!(
        "nothing was sent; set [targets] {key} to the name or the number of one of these columns"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_found_by_its_exact_name_first_and_then_by_what_the_name_means() {
        use NotFound::{Ambiguous, Missing};
        let name = |name: &str| Some(Column::Name(name.to_owned()));
        for (names, column, found) in [
            (&["a", "url"][..], None, Ok(1)),
            (&["URL\u{a0}", "Client"], None, Ok(0)),
            (&["URL\u{a0}", "Client"], name("url"), Ok(0)),
            (&["Url", "url", "URL"], name("url"), Ok(1)),
            (&["Url", "URL"], name("url"), Err(Ambiguous(vec![0, 1]))),
            (&["url", "url"], name("url"), Err(Ambiguous(vec![0, 1]))),
            (&["Top Pages", "x"], None, Ok(0)),
            (&["\u{ff35}\u{ff32}\u{ff2c}"], None, Ok(0)),
            (&["Cafe\u{301}"], name("café"), Ok(0)),
            (&["page", "url"], None, Err(Ambiguous(vec![0, 1]))),
            (&["a", "b"], None, Err(Missing)),
            (&["a", "b"], name("c"), Err(Missing)),
            (&["a", "b"], Some(Column::Number(2)), Ok(1)),
            (&["a", "b"], Some(Column::Number(3)), Err(Missing)),
            (&["a ", "b"], name(" a"), Ok(0)),
        ] {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            assert_eq!(position(&names, column.as_ref()), found, "{names:?}");
        }
    }
}
