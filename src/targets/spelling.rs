//! Spellings that people and programs give a target: invisible characters of copied text, prefixes
//! of other tools, escapes of HTML.

use std::borrow::Cow;

use super::block::Entities;
use crate::visible::is_invisible;

/// A line without white space and invisible characters at its ends.
pub(super) fn trimmed(line: &str) -> &str {
    line.trim_matches(|c: char| c.is_whitespace() || is_invisible(c))
}

/// A trimmed line without invisible characters in everything before its path.
///
/// A joiner between two letters of a script that needs it is part of a name (RFC 5892). A no-break
/// space inside a name stays, too, and makes the line invalid: it may separate two names.
pub(super) fn without_invisible(line: &str) -> Cow<'_, str> {
    if line.is_ascii() {
        return Cow::Borrowed(line);
    }
    let mut clean = String::with_capacity(line.len());
    for (at, c) in line.char_indices() {
        let next = || {
            line[at..]
                .chars()
                .skip(1)
                .find(|&c| !is_invisible(c) && !is_no_break(c))
        };
        let removed = match c {
            '\u{200c}' | '\u{200d}' => {
                let is_letter = |c: Option<char>| c.is_some_and(|c| !c.is_ascii());
                !(is_letter(clean.chars().next_back()) && is_letter(next()))
            }
            c if is_no_break(c) => {
                let is_end =
                    |c: Option<char>| c.is_none_or(|c| matches!(c, '/' | '\\' | '?' | '#' | ':'));
                is_end(clean.chars().next_back()) || is_end(next())
            }
            c => is_invisible(c),
        };
        if removed {
            continue;
        }
        // The path begins at the first of these that is not part of `://`.
        if matches!(c, '\\' | '?' | '#')
            || c == '/' && !clean.ends_with(':') && !clean.ends_with(":/")
        {
            clean.push_str(&line[at..]);
            break;
        }
        clean.push(c);
    }
    Cow::Owned(clean)
}

/// Whether a character is a space at which no line ends. Such spaces come with copied text.
fn is_no_break(c: char) -> bool {
    matches!(c, '\u{a0}' | '\u{2007}' | '\u{202f}')
}

/// What follows `domain:` or `sc-domain:`, the prefixes of disavow files and of search console
/// properties.
pub(super) fn domain_prefix(line: &str) -> Option<&str> {
    let (prefix, rest) = line.split_once(':')?;
    ["domain", "sc-domain"]
        .iter()
        .any(|known| prefix.eq_ignore_ascii_case(known))
        .then(|| trimmed(rest))
}

/// A line with `&` for `&amp;` in its query, as HTML means it; none if nothing changes.
pub(super) fn unescaped(line: &str, entities: Entities) -> Option<String> {
    // Few lines have an `&`, so this ends for most of them without a search for the query.
    memchr::memchr(b'&', line.as_bytes())?;
    if entities == Entities::Decoded {
        return None;
    }
    let (before, query) = line.split_once('?')?;
    query
        .contains("&amp;")
        .then(|| format!("{before}?{}", query.replace("&amp;", "&")))
}

/// The parts in which two spellings of the same page or domain differ, and the part that they share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Spelling<'a> {
    /// `http`, `https`, or nothing.
    pub scheme: &'a str,
    /// Whether the host begins with `www.`.
    pub www: bool,
    /// What is left without scheme, `www.` and final slash.
    pub stem: &'a str,
}

impl<'a> Spelling<'a> {
    /// Takes a URL or domain apart.
    #[must_use]
    pub fn of(url: &'a str) -> Self {
        let (scheme, rest) = match url.strip_prefix("https://") {
            Some(rest) => ("https", rest),
            None => url
                .strip_prefix("http://")
                .map_or(("", url), |rest| ("http", rest)),
        };
        let host = rest.strip_prefix("www.");
        let stem = host.unwrap_or(rest);
        Self {
            scheme,
            www: host.is_some(),
            stem: stem.strip_suffix('/').unwrap_or(stem),
        }
    }
}

/// The parts of a spelling that can differ, in one byte: two targets of the same form have different
/// stems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form(u8);

impl Form {
    /// The form of a target.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let Spelling { scheme, www, .. } = Spelling::of(text);
        let bits = scheme.len() as u8 | u8::from(www) << 3 | u8::from(text.ends_with('/')) << 4;
        Self(bits)
    }
}
