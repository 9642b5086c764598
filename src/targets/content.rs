//! Recognises content that is not what the format says, before any line of it becomes a target:
//! each line of a csv that is read as txt would be a page that was never on the list.

use memchr::memmem;

use super::column::{is_well_known, shown, shown_bytes};
use super::encoding::LOOKED_AT;
use super::list_file::ListFile;
use super::reading::{Delimiter, Format};
use super::refused::{Instead, Refused};
use crate::error::Error;

/// What is supported, for messages about what is not.
pub(super) const SUPPORTED: &str =
    "txt, csv, tsv, ndjson, json, xml (sitemaps), xlsx and parquet, plain or as .gz, .zst or .zip";

/// Formats that are recognised by their first bytes, and what to do about each.
const BINARY: [(&[u8], &str, &str, Option<Format>); 7] = [
    (
        b"PK\x03\x04",
        "a zip archive or an Excel workbook",
        "name it .zip, or .xlsx if it is a workbook",
        Some(Format::Xlsx),
    ),
    (
        b"PAR1",
        "Parquet",
        "name it .parquet, or set [targets] format = \"parquet\"",
        Some(Format::Parquet),
    ),
    (b"\x1f\x8b", "gzip", "add .gz to its name", None),
    (b"\x28\xb5\x2f\xfd", "zstd", "add .zst to its name", None),
    (
        b"\xd0\xcf\x11\xe0",
        "an old Excel workbook (.xls)",
        "save it as .xlsx or .csv",
        None,
    ),
    (b"%PDF", "a PDF", "export the list as csv", None),
    (b"{\\rtf", "rich text", "save it as plain text", None),
];

/// How many lines decide whether a text has columns.
const LINES: usize = 100;

/// Refuses text whose first bytes show that it is something else.
pub(super) fn check(list: &ListFile<'_>, format: Format, start: &[u8]) -> Result<(), Refused> {
    let found = BINARY.iter().find(|(magic, ..)| start.starts_with(magic));
    if let Some((_, what, advice, instead)) = found {
        let error = looks_like(list, format, what, "", advice);
        return Err(refused(error, *instead));
    }
    let text = start.trim_ascii_start();
    if format != Format::Xml && text.starts_with(b"<") {
        let shown = shown_bytes(first_line(text));
        return Err(if is_sitemap(text) {
            let advice = "name it .xml, or set [targets] format = \"xml\"";
            let error = looks_like(list, format, "a sitemap", &shown, advice);
            refused(error, Some(Format::Xml))
        } else {
            let advice = "get the list again: this may be the page of an error or a login";
            looks_like(list, format, "HTML or XML", &shown, advice).into()
        });
    }
    if format == Format::Txt {
        return check_txt(list, start);
    }
    Ok(())
}

/// The error, and the format that the content shows.
fn refused(error: Error, instead: Option<Format>) -> Refused {
    match instead {
        Some(format) => Refused::or(error, Instead::Format(format)),
        None => error.into(),
    }
}

fn looks_like(list: &ListFile<'_>, format: Format, what: &str, shown: &str, advice: &str) -> Error {
    let begins = match shown {
        "" => String::new(),
        shown => format!(": it begins with `{shown}`"),
    };
    let (list, format) = (list.named(), format.name());
    let message = format!("{list} is read as {format}, but looks like {what}{begins}");
    Error::usage(message).with_hint(format!("nothing was sent; {advice}"))
}

fn is_sitemap(text: &[u8]) -> bool {
    let text = &text[..text.len().min(4096)];
    [
        &b"<urlset"[..],
        b"<sitemapindex",
        b":urlset",
        b":sitemapindex",
    ]
    .iter()
    .any(|root| memmem::find(text, root).is_some())
}

/// The first line of a text, without its end.
fn first_line(text: &[u8]) -> &[u8] {
    &text[..memchr::memchr2(b'\n', b'\r', text).unwrap_or(text.len())]
}

/// The lines at the start of a text, without blank lines and comments. The last line that was
/// looked at may not be whole, and is left out.
pub(super) fn first_lines(start: &[u8]) -> Vec<&str> {
    let mut lines: Vec<&[u8]> = start.split(|&b| b == b'\n' || b == b'\r').collect();
    if start.len() >= LOOKED_AT && lines.len() > 1 {
        lines.pop();
    }
    let texts = lines.into_iter().filter_map(|line| {
        let text = std::str::from_utf8(line).ok()?.trim();
        (!text.is_empty() && !text.starts_with('#')).then_some(text)
    });
    texts.take(LINES).collect()
}

fn check_txt(list: &ListFile<'_>, start: &[u8]) -> Result<(), Refused> {
    let lines = first_lines(start);
    let Some(first) = lines.first() else {
        return Ok(());
    };
    if first.starts_with('<') {
        return check(list, Format::Txt, first.as_bytes());
    }
    if is_json(&lines) {
        let advice =
            "name it .ndjson (one object per line) or .json (an array), or set [targets] format";
        let error = looks_like(list, Format::Txt, "JSON", &shown(first), advice);
        let is_array = first.starts_with('[');
        let format = if is_array {
            Format::Json
        } else {
            Format::Ndjson
        };
        return Err(refused(error, Some(format)));
    }
    // Whoever sets the format has looked at the list. A header is no target even then.
    let found = match delimiter_of_header(first) {
        None if list.reading.format.is_none() => delimiter_of_rows(&lines),
        found => found,
    };
    let Some(delimiter) = found else {
        return Ok(());
    };
    let what = format!("csv with the delimiter {}", delimiter.toml());
    let escape = if delimiter_of_header(first).is_some() {
        ""
    } else {
        "; if each line is a target as it is, set [targets] format = \"txt\""
    };
    let advice = format!(
        "name it .csv, or set [targets] format = \"csv\", and column to the name or the number of the column with the targets{escape}"
    );
    let error = looks_like(list, Format::Txt, &what, &shown(first), &advice);
    Err(refused(error, Some(Format::Csv)))
}

fn is_json(lines: &[&str]) -> bool {
    let mut bytes = lines
        .iter()
        .flat_map(|line| line.bytes())
        .filter(|b| !b.is_ascii_whitespace());
    match (bytes.next(), bytes.next()) {
        (Some(b'['), Some(next)) => matches!(next, b'"' | b'{' | b']'),
        (Some(b'{'), Some(next)) => matches!(next, b'"' | b'}'),
        _ => false,
    }
}

/// The delimiter of a line that is a header: one of its fields is a well-known name, and none is a
/// target.
fn delimiter_of_header(line: &str) -> Option<Delimiter> {
    Delimiter::ALL.into_iter().find(|delimiter| {
        let fields = line.split(char::from(delimiter.byte()));
        let mut fields = fields.map(|field| field.trim().trim_matches('"'));
        let no_target = |field: &str| Shape::of(field.as_bytes()) == Shape::Other;
        fields.clone().count() > 1 && fields.clone().all(no_target) && fields.any(is_well_known)
    })
}

/// The delimiter of lines that are rows and not targets: each has the same number of fields, and
/// what surrounds the target could not be part of it.
pub(super) fn delimiter_of_rows(lines: &[&str]) -> Option<Delimiter> {
    if lines.len() < 2 {
        return None;
    }
    let found = Delimiter::ALL.into_iter().find(|delimiter| {
        let delimiter = char::from(delimiter.byte());
        let number = |line: &str| line.matches(delimiter).count();
        let fields = number(lines[0]);
        fields > 0
            && lines
                .iter()
                .all(|line| number(line) == fields && is_row(line, delimiter))
    });
    let quoted = lines.iter().all(|line| line.starts_with('"'));
    found.or_else(|| {
        quoted.then(|| {
            let between =
                |d: &Delimiter| lines[0].contains(&format!("\"{}\"", char::from(d.byte())));
            Delimiter::ALL
                .into_iter()
                .find(between)
                .unwrap_or(Delimiter::Comma)
        })
    })
}

fn is_row(line: &str, delimiter: char) -> bool {
    let mut fields = line
        .split(delimiter)
        .map(|field| field.trim().trim_matches('"'));
    if !is_url(line) {
        // A domain contains no delimiter.
        return fields.any(|field| Shape::of(field.as_bytes()) != Shape::Other);
    }
    fields.skip(1).all(|field| {
        is_url(field)
            || (Shape::of(field.as_bytes()) == Shape::Other
                && !field.contains(['/', '?', '=', '&', '%', '#']))
    })
}

fn is_url(text: &str) -> bool {
    Shape::of(text.as_bytes()) == Shape::Url
}

/// What a field looks like, judged by a glance at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// It begins with `http://` or `https://`.
    Url,
    /// It looks like the name of a host, perhaps with a path.
    Domain,
    /// Neither.
    Other,
}

impl Shape {
    pub(super) fn of(field: &[u8]) -> Self {
        let field = field.trim_ascii();
        let begins = |with: &[u8]| {
            field
                .get(..with.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(with))
        };
        if begins(b"http://") || begins(b"https://") {
            return Self::Url;
        }
        let host = field.split(|&b| b == b'/').next().unwrap_or_default();
        let is_host = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let mut labels = host.rsplit(|&b| b == b'.');
        let top = labels.next().unwrap_or_default();
        let is_top = top.len() >= 2 && top.iter().all(u8::is_ascii_alphabetic);
        let mut rest = labels.peekable();
        if host.iter().all(is_host)
            && is_top
            && rest.peek().is_some()
            && rest.all(|l| !l.is_empty())
        {
            Self::Domain
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_columns_are_told_from_urls_with_delimiters() {
        use Delimiter::{Comma, Pipe, Semicolon, Tab};
        for (lines, found) in [
            (
                &["https://a.com/p;ACME;2026", "https://a.com/q;Bolt;2026"][..],
                Some(Semicolon),
            ),
            (&["1,example.com", "2,example.org"], Some(Comma)),
            (&["example.com|5", "example.org|6"], Some(Pipe)),
            (&["https://a.com/\t200", "https://a.com/b\t404"], Some(Tab)),
            (&["\"https://a.com/\"", "\"https://b.com/\""], Some(Comma)),
            (
                &[
                    "https://a.com/,https://b.com/",
                    "https://c.com/,https://d.com/",
                ],
                Some(Comma),
            ),
            (
                &["https://a.com/,0.35", "https://b.com/,Acme Inc."],
                Some(Comma),
            ),
            // What follows the delimiter is part of the URL, or may be.
            (
                &["https://a.com/news,12.html", "https://a.com/news,13.html"],
                None,
            ),
            (&["https://a.com/x;id=1", "https://a.com/y;id=2"], None),
            (&["https://a.com/a,b/c", "https://a.com/d,e/f"], None),
            (&["https://a.com/a,b", "https://a.com/c"], None),
            (&["https://a.com/", "https://b.com/"], None),
            (&["https://a.com/p;ACME;2026"], None),
        ] {
            assert_eq!(delimiter_of_rows(lines), found, "{lines:?}");
        }
    }
}
