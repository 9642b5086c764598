//! The bytes of a response as text: without a byte order mark, and in UTF-8.

use std::borrow::Cow;

use thiserror::Error;

use super::MAX_DEPTH;

/// Why a body is not a response: it is not JSON, is truncated, is nested too deeply, or has no
/// envelope.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("failed to read the response as JSON: {0}")]
pub struct Malformed(String);

impl Malformed {
    pub(super) fn new(reason: &str) -> Self {
        Self(reason.to_owned())
    }

    pub(super) fn deep() -> Self {
        Self(format!("nested deeper than {MAX_DEPTH} levels"))
    }

    pub(super) fn empty() -> Self {
        Self::new("the body is empty")
    }

    /// The message of a parser without the excerpt of the body that follows it.
    pub(super) fn of(error: &sonic_rs::Error) -> Self {
        let text = error.to_string();
        Self::new(text.lines().next().unwrap_or_default().trim_end())
    }
}

/// The text of a body, and what is not as expected about its bytes.
#[derive(Debug)]
pub struct Body<'a> {
    /// The text. Bytes that are not UTF-8 are replaced, because the rest is paid for.
    pub json: Cow<'a, str>,
    /// What is not as expected.
    pub oddities: Vec<String>,
}

impl<'a> Body<'a> {
    /// Reads the bytes of a body.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Self {
        let mut oddities = Vec::new();
        let (bytes, marked) = match bytes.strip_prefix(b"\xEF\xBB\xBF") {
            Some(rest) => (rest, true),
            None => (bytes, false),
        };
        if marked {
            oddities.push("a byte order mark".to_owned());
        }
        // Checking is several times faster than looking for what to replace.
        let json = match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => {
                oddities.push("bytes that are not UTF-8".to_owned());
                String::from_utf8_lossy(bytes)
            }
        };
        Self { json, oddities }
    }
}
