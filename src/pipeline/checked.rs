//! The values of a pipeline file, checked. An error names the file, the line, the key and what is
//! allowed.

use std::num::NonZeroU32;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;

use super::file::Amount;
use super::keys::{Bounded, Key, Ratio, Whole};
use crate::error::{Error, Result};
use crate::money::Usd;

/// A pipeline file, for messages that say where.
pub(super) struct File<'a> {
    pub(super) path: &'a str,
    pub(super) text: &'a str,
}

impl File<'_> {
    /// A whole number within its bounds, or its default.
    pub(super) fn whole(&self, key: &Whole, value: Option<Spanned<i64>>) -> Result<u32> {
        value.map_or(Ok(key.default), |given| self.within(&key.bounds, &given))
    }

    /// The same for a key whose bounds start at 1.
    pub(super) fn positive(&self, key: &Whole, value: Option<Spanned<i64>>) -> Result<NonZeroU32> {
        let number = self.whole(key, value)?;
        Ok(NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN))
    }

    pub(super) fn within(&self, bounds: &Bounded, value: &Spanned<i64>) -> Result<u32> {
        let number = u32::try_from(*value.get_ref())
            .ok()
            .filter(|number| bounds.range.contains(number));
        number.ok_or_else(|| {
            let (min, max) = (bounds.range.start(), bounds.range.end());
            let message = format!("{} is not from {min} to {max}", value.get_ref());
            self.refuse(bounds.key, value, &message)
        })
    }

    /// A ratio within its bounds, or its default.
    pub(super) fn ratio(&self, key: &Ratio, value: Option<Spanned<f64>>) -> Result<f64> {
        match value {
            None => Ok(key.default),
            Some(ratio) if (0.0..=key.max).contains(ratio.get_ref()) => Ok(*ratio.get_ref()),
            Some(ratio) => {
                let message = format!("{} is not from 0.0 to {:.1}", ratio.get_ref(), key.max);
                Err(self.refuse(key.key, &ratio, &message))
            }
        }
    }

    pub(super) fn dollars(&self, key: &str, value: &Spanned<Amount>) -> Result<Usd> {
        let Amount(usd) = *value.get_ref();
        if usd.is_negative() {
            return Err(self.refuse(key, value, &format!("{usd} is negative")));
        }
        Ok(usd)
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let before = &self.text[..span.start.min(self.text.len())];
        before.matches('\n').count() + 1
    }

    pub(super) fn refuse<T>(&self, key: &str, value: &Spanned<T>, message: &str) -> Error {
        let line = self.line(&value.span());
        let message = format!("{}, line {line}, key `{key}`: {message}", self.path);
        Error::usage(message).with_hint(hint(Key::named(key)))
    }

    /// An error of the TOML parser, with the line and the key it is about.
    pub(super) fn syntax(&self, error: &toml::de::Error) -> Error {
        let line = error.span().map(|span| self.line(&span));
        let lines = self.text.lines().take(line.unwrap_or(0));
        let mut table = String::new();
        let mut key = None;
        for text in lines {
            key = text.split_once('=').map(|(key, _)| key.trim());
            let heading = text.trim().strip_prefix('[');
            if let Some((name, _)) = heading.and_then(|heading| heading.split_once(']')) {
                table = format!("{}.", name.trim());
            }
        }
        let place = match (line, key) {
            (Some(line), Some(key)) => format!(", line {line}, key `{key}`"),
            (Some(line), None) => format!(", line {line}"),
            (None, _) => String::new(),
        };
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        let key = key.and_then(|key| Key::named(&format!("{table}{key}")));
        let is_toml = Path::new(self.path)
            .extension()
            .is_some_and(|ending| ending == "toml");
        let hint = match key {
            None if !is_toml => format!(
                "a pipeline file is a TOML file; if {0} is a target list, `backlake init {0}` writes a pipeline file for it",
                self.path
            ),
            key => hint(key),
        };
        Error::usage(format!("{}{place}: {message}", self.path)).with_hint(hint)
    }
}

/// What to write instead of a value that is refused.
fn hint(key: Option<&Key>) -> String {
    match key {
        Some(key) => format!(
            "write for example {}; `backlake config` explains every key",
            key.line()
        ),
        None => "`backlake config` prints every key with its meaning".to_owned(),
    }
}
