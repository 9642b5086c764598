//! Any table that a writer of its format writes is read back, and any bytes are read or refused.

use std::io::Write as _;

use backlake::targets::{Column, Delimiter, Format, LineEnd, Reading, Rules, Sources, TargetList};
use csv::{QuoteStyle, Terminator, WriterBuilder};
use proptest::prelude::*;

use crate::lists_made::{sheet, utf_16, zipped};

fn read(name: &str, bytes: &[u8], reading: Reading) -> backlake::error::Result<TargetList> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let paths = vec![path.display().to_string()];
    TargetList::read(&Sources { paths, reading }, &Rules::default())
}

/// Some text with everything that a format must quote.
fn cell() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => "[a-z]{0,4}",
        3 => "[a-z0-9é日😀 ,;|\t\"'\\\\<&\n]{0,8}",
        1 => "[a-z][a,;\"]{0,3}\r\n[a,;\"]{0,3}[a-z]",
    ]
}

/// A table with the targets in the column `at`, its other columns named `c0`, `c1`, ….
#[derive(Debug, Clone)]
struct Table {
    at: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = (0..2).map(|n| format!("c{n}")).collect();
        names.insert(self.at, "url".to_owned());
        names
    }
}

fn table() -> impl Strategy<Value = Table> {
    let row = prop::collection::vec(cell(), 2);
    (0..3_usize, prop::collection::vec(row, 1..6)).prop_map(|(at, mut rows)| {
        for (number, row) in rows.iter_mut().enumerate() {
            row.insert(at, format!("https://a.com/{number}?q=x,y;z|1"));
        }
        Table { at, rows }
    })
}

fn delimited(table: &Table, delimiter: u8, quotes: QuoteStyle, end: Terminator) -> Vec<u8> {
    let mut writer = WriterBuilder::new()
        .delimiter(delimiter)
        .quote_style(quotes)
        .terminator(end)
        .from_writer(Vec::new());
    writer.write_record(table.names()).unwrap();
    for row in &table.rows {
        writer.write_record(row).unwrap();
    }
    writer.into_inner().unwrap()
}

fn packed(name: &str, bytes: Vec<u8>, how: usize) -> (String, Vec<u8>) {
    match how {
        1 => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&bytes).unwrap();
            (format!("{name}.gz"), gzip.finish().unwrap())
        }
        2 => (
            format!("{name}.zst"),
            zstd::encode_all(bytes.as_slice(), 1).unwrap(),
        ),
        3 => ("list.zip".to_owned(), zipped(&[(name, &bytes)])),
        _ => (name.to_owned(), bytes),
    }
}

fn objects(table: &Table) -> Vec<String> {
    let names = table.names();
    let object = |row: &Vec<String>| {
        let pairs = names
            .iter()
            .cloned()
            .zip(row.iter().cloned().map(Into::into));
        serde_json::Value::Object(pairs.collect()).to_string()
    };
    table.rows.iter().map(object).collect()
}

/// The file of a table in a format and an encoding.
fn file(
    table: &Table,
    format: usize,
    end: Terminator,
    quotes: QuoteStyle,
    encoding: usize,
) -> (String, Vec<u8>) {
    let text = |name: &str, bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        let bytes = match encoding {
            1 => format!("\u{feff}{text}").into_bytes(),
            2 => utf_16(&text, true),
            3 => utf_16(&text, false),
            _ => text.into_bytes(),
        };
        (name.to_owned(), bytes)
    };
    match format {
        0..4 => {
            let delimiter = Delimiter::ALL[format].byte();
            text("list.csv", delimited(table, delimiter, quotes, end))
        }
        4 => text("list.tsv", delimited(table, b'\t', quotes, end)),
        5 => text("list.ndjson", objects(table).join("\n").into_bytes()),
        6 => text(
            "list.json",
            format!("[{}]", objects(table).join(",\n")).into_bytes(),
        ),
        _ => {
            let mut rows = vec![table.names()];
            rows.extend(table.rows.clone());
            let rows: Vec<Vec<&str>> = rows
                .iter()
                .map(|row| row.iter().map(String::as_str).collect())
                .collect();
            let rows: Vec<&[&str]> = rows.iter().map(Vec::as_slice).collect();
            ("list.xlsx".to_owned(), sheet(&rows))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_table_is_read_back_from_every_format(
        table in table(),
        format in 0..8_usize,
        encoding in 0..4_usize,
        packing in 0..4_usize,
        quotes in prop_oneof![Just(QuoteStyle::Necessary), Just(QuoteStyle::Always), Just(QuoteStyle::NonNumeric)],
        end in prop_oneof![Just(Terminator::CRLF), Just(Terminator::Any(b'\n')), Just(Terminator::Any(b'\r'))],
    ) {
        let (name, bytes) = file(&table, format, end, quotes, encoding);
        let (name, bytes) = packed(&name, bytes, packing);
        let reading = Reading { keep: vec!["c0".to_owned(), "c1".to_owned()], ..Reading::default() };
        let list = read(&name, &bytes, reading).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(&list.read_as()[0].column, &Some(Column::Name("url".to_owned())));
        prop_assert_eq!(list.line_count(), table.rows.len());
        for (index, row) in table.rows.iter().enumerate() {
            let line = list.line(index);
            prop_assert!(matches!(line.end, LineEnd::Target(_)), "{:?}", line);
            prop_assert_eq!(line.input(), &row[table.at]);
            let labels: Vec<_> = list.labels(index).filter(|(_, label)| !label.is_empty()).collect();
            let others = table.names().into_iter().zip(row).filter(|(name, text)| name != "url" && !text.is_empty());
            // XML has one line end.
            let plain = |text: &str| if format == 7 { text.replace("\r\n", "\n") } else { text.to_owned() };
            let expected: Vec<(String, String)> = others.map(|(name, text)| (name, plain(text))).collect();
            let labels: Vec<(String, String)> = labels.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
            prop_assert_eq!(labels, expected);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused_in_every_format(
        table in table(),
        format in 0..8_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
        noise in prop::collection::vec(any::<u8>(), 0..64),
        read_as in prop_oneof![Just(None), (0..8_usize).prop_map(Some)],
    ) {
        let (name, mut bytes) = file(&table, format, Terminator::CRLF, QuoteStyle::Necessary, 0);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
            bytes.extend(noise);
        }
        const FORMATS: [Format; 8] = [
            Format::Txt, Format::Csv, Format::Tsv, Format::Ndjson,
            Format::Json, Format::Xml, Format::Xlsx, Format::Parquet,
        ];
        let reading = Reading { format: read_as.map(|at| FORMATS[at]), ..Reading::default() };
        match read(&name, &bytes, reading) {
            Ok(list) => {
                let ends = list.target_count() + list.duplicate_count() + list.invalid_count();
                prop_assert_eq!(list.line_count(), ends);
            }
            Err(error) => {
                prop_assert_eq!(error.kind(), backlake::error::ErrorKind::Usage, "{}", error);
            }
        }
    }
}
