//! Foreign text made visible: what comes from a file, a provider or a lake is escaped before it
//! reaches a terminal or a log.
//!
//! A control sequence could colour, hide or retype what a person reads; a bidirectional override
//! could reverse it. Invisible characters are escaped, too, so that two texts that look the same
//! are the same.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Whether a character shows nothing where it stands: the default-ignorable characters of Unicode
/// (zero-width, byte order mark, soft hyphen, bidirectional marks, fillers, variation selectors)
/// and the marks of annotations.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    !c.is_ascii()
        && matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Whether a terminal or a reader could take a character for something other than text.
fn is_deceptive(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || is_invisible(c)
}

/// A foreign text in one line: every control character, line end and invisible character is
/// written as its escape.
///
/// ```
/// assert_eq!(backlake::visible::escaped("\u{1b}[31mred\n"), "\\u{1b}[31mred\\n");
/// ```
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    escaped_unless(text, |_| false, in_rust)
}

/// A text of several lines: the same, but line feeds stay.
#[must_use]
pub fn escaped_lines(text: &str) -> Cow<'_, str> {
    escaped_unless(text, |c| c == '\n', in_rust)
}

/// Appends the escape that people know from source code: `\n`, `\u{1b}`.
fn in_rust(to: &mut String, c: char) {
    if c.is_control() {
        to.extend(c.escape_debug());
    } else {
        to.extend(c.escape_unicode());
    }
}

/// A JSON document that stays the same document: in JSON, such characters can only be part of a
/// string, and line feeds part of the layout.
#[must_use]
pub fn escaped_json(json: &str) -> Cow<'_, str> {
    let unit = |to: &mut String, c: char| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(to, "\\u{unit:04x}");
        }
    };
    escaped_unless(json, |c| c == '\n', unit)
}

/// A text as a string of TOML in one line, in which nothing acts on a terminal.
#[must_use]
pub fn toml_string(text: &str) -> String {
    let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
    let unit = |to: &mut String, c: char| {
        // Writing to a string cannot fail.
        let _ = write!(to, "\\U{:08X}", u32::from(c));
    };
    format!("\"{}\"", escaped_unless(&quoted, |_| false, unit))
}

fn escaped_unless(
    text: &str,
    stays: impl Fn(char) -> bool,
    escape: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    let changes = |c: char| is_deceptive(c) && !stays(c);
    let Some(first) = text.find(changes) else {
        return Cow::Borrowed(text);
    };
    let mut visible = String::with_capacity(text.len() + 16);
    visible.push_str(&text[..first]);
    for c in text[first..].chars() {
        if changes(c) {
            escape(&mut visible, c);
        } else {
            visible.push(c);
        }
    }
    Cow::Owned(visible)
}

/// Writes lines of text to a terminal: each is escaped when it is complete.
#[derive(Debug)]
pub struct ToTerminal<W: Write> {
    to: W,
    escape: fn(&str) -> Cow<'_, str>,
    /// What was written of the last line.
    line: Vec<u8>,
}

impl<W: Write> ToTerminal<W> {
    /// Escapes with this function, which keeps line feeds.
    pub fn new(to: W, escape: fn(&str) -> Cow<'_, str>) -> Self {
        Self {
            to,
            escape,
            line: Vec::new(),
        }
    }
}

impl<W: Write> Write for ToTerminal<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if let Some(end) = self.line.iter().rposition(|byte| *byte == b'\n') {
            let lines: Vec<u8> = self.line.drain(..=end).collect();
            let text = String::from_utf8_lossy(&lines);
            self.to.write_all((self.escape)(&text).as_bytes())?;
        }
        Ok(bytes.len())
    }

    /// Writes the last line, too, although it has no end.
    fn flush(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        self.to.write_all((self.escape)(&text).as_bytes())?;
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_that_acts_on_a_terminal_is_left() {
        for (text, visible) in [
            ("plain, ü and 日本", "plain, ü and 日本"),
            ("a \\ and \"quotes\" stay", "a \\ and \"quotes\" stay"),
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("over\rwrite", "over\\rwrite"),
            ("two\nlines", "two\\nlines"),
            ("two\u{2028}lines", "two\\u{2028}lines"),
            ("moc.\u{202e}evil", "moc.\\u{202e}evil"),
            ("exa\u{200b}mple.com", "exa\\u{200b}mple.com"),
        ] {
            assert_eq!(escaped(text), visible);
        }
        assert_eq!(escaped_lines("a\u{1b}\nb\t"), "a\\u{1b}\nb\\t");
    }

    #[test]
    fn what_is_written_to_a_terminal_is_escaped_wherever_the_writes_are_cut() {
        let text = "key,\"\u{1b}]0;t\u{7}\"\n\u{fc}\u{202e},1\nlast\u{9b}";
        for size in 1..text.len() {
            let mut to = ToTerminal::new(Vec::new(), escaped_lines);
            for some in text.as_bytes().chunks(size) {
                to.write_all(some).unwrap();
            }
            to.flush().unwrap();
            assert_eq!(String::from_utf8(to.to).unwrap(), escaped_lines(text));
        }
    }

    proptest! {
        #[test]
        fn escaped_json_is_the_same_document(text in any::<String>()) {
            let json = serde_json::to_string_pretty(&[&text]).unwrap();
            let visible = escaped_json(&json).into_owned();
            prop_assert!(visible.chars().all(|c| c == '\n' || !is_deceptive(c)));
            prop_assert_eq!(serde_json::from_str::<[String; 1]>(&visible).unwrap(), [text]);
        }

        #[test]
        fn a_toml_string_is_the_same_text_in_one_line(text in any::<String>()) {
            let line = format!("key = {}", toml_string(&text));
            prop_assert!(!line.contains(is_deceptive));
            let table: toml::Table = line.parse().unwrap();
            prop_assert_eq!(table["key"].as_str(), Some(text.as_str()));
        }
    }
}
