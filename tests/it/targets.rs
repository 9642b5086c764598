//! Every input line of every format is read, and gets exactly one fate.

use std::collections::HashMap;
use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;

use arrow::array::AsArray as _;
use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use backlake::contract::Table;
use backlake::plan::Plan;
use backlake::simulator::Behaviour;
use backlake::targets::{Column, LineEnd, Reading, Rules, Sources, TargetList};
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;

use crate::harness::{Site, program, simulator, text};

const LINES: [&str; 4] = [
    "https://example.com/a",
    "Example.ORG",
    "not a target",
    "https://EXAMPLE.com/a#again",
];

fn read(path: &std::path::Path, keep: &[&str]) -> TargetList {
    let sources = Sources {
        paths: vec![path.display().to_string()],
        reading: Reading {
            column: Some(Column::Name("url".to_owned())),
            keep: keep.iter().map(|&name| name.to_owned()).collect(),
            ..Reading::default()
        },
    };
    TargetList::read(&sources, &Rules::default()).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The same four lines in every format, with a column to keep if the format has columns.
fn formats() -> Vec<(&'static str, Vec<u8>)> {
    let csv: String = LINES
        .iter()
        .enumerate()
        .map(|(n, line)| format!("client {n},\"{line}\"\r\n"))
        .collect();
    let ndjson: String = LINES
        .iter()
        .enumerate()
        .map(|(n, line)| format!("{{\"url\":\"{line}\",\"client\":\"client {n}\",\"x\":[1]}}\n"))
        .collect();
    let schema = Schema::new(vec![
        Field::new("n", DataType::Int64, false),
        Field::new("url", DataType::Utf8, true),
        Field::new("client", DataType::Utf8, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(0..4)),
        Arc::new(StringArray::from(LINES.to_vec())),
        Arc::new(StringArray::from_iter_values(
            (0..4).map(|n| format!("client {n}")),
        )),
    ];
    let batch = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    let parquet = writer.into_inner().unwrap();
    vec![
        (
            "txt",
            format!("# a comment\n\n{}", LINES.join("\r\n")).into_bytes(),
        ),
        ("csv", format!("\u{feff}client,url\r\n{csv}").into_bytes()),
        ("ndjson", ndjson.into_bytes()),
        ("parquet", parquet),
    ]
}

#[test]
fn every_format_and_compression_gives_the_same_targets() {
    let folder = tempfile::tempdir().unwrap();
    for (ending, bytes) in formats() {
        for (packed, bytes) in [
            ("", bytes.clone()),
            (".gz", gzip(&bytes)),
            (".zst", zstd::encode_all(bytes.as_slice(), 1).unwrap()),
        ] {
            let path = folder.path().join(format!("list.{ending}{packed}"));
            std::fs::write(&path, bytes).unwrap();
            let keep: &[&str] = if ending == "txt" { &[] } else { &["client"] };
            let list = read(&path, keep);
            let targets: Vec<String> = list
                .targets()
                .map(|target| target.text.into_owned())
                .collect();
            assert_eq!(
                targets,
                ["https://example.com/a", "example.org"],
                "{ending}{packed}"
            );
            assert_eq!(
                (
                    list.line_count(),
                    list.duplicate_count(),
                    list.invalid_count()
                ),
                (4, 1, 1),
                "{ending}{packed}"
            );
            let numbers: Vec<u64> = list.lines().map(|line| line.place.number).collect();
            let expected = match ending {
                "txt" => [3, 4, 5, 6],
                "csv" => [2, 3, 4, 5],
                _ => [1, 2, 3, 4],
            };
            assert_eq!(numbers, expected, "{ending}{packed}");
            let inputs: Vec<String> = list.lines().map(|line| line.input().to_owned()).collect();
            assert_eq!(inputs, LINES, "{ending}{packed}");
            assert_eq!(
                list.line(3).end,
                LineEnd::Duplicate {
                    of: list.targets().next().unwrap().id,
                    first: 0
                }
            );
            if !keep.is_empty() {
                assert_eq!(
                    list.labels(2).collect::<Vec<_>>(),
                    [("client", "client 2")],
                    "{ending}{packed}"
                );
            }
        }
    }
}

#[test]
fn standard_input_is_read_plain_and_compressed() {
    let plain = LINES.join("\n").into_bytes();
    for bytes in [
        plain.clone(),
        gzip(&plain),
        zstd::encode_all(plain.as_slice(), 1).unwrap(),
    ] {
        let site = Site::new([""]).with_targets("paths = [\"-\"]");
        let file = site.write("pipeline.toml", site.text());
        let mut child = program()
            .arg("plan")
            .arg(file)
            .args(["--output", "json"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        let report: serde_json::Value =
            serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
        assert_eq!(
            (&report["lines"], &report["targets"], &report["invalid"]),
            (&4.into(), &2.into(), &1.into())
        );
        assert_eq!(report["first_invalid"][0]["source"], "-");
    }
}

#[test]
fn globs_and_files_are_read_in_order_and_each_once() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b.txt", "a.txt", "z.csv"] {
        std::fs::write(folder.path().join(name), format!("url\n{name}.com\n")).unwrap();
    }
    let path = |name: &str| folder.path().join(name).display().to_string();
    let paths = vec![path("z.csv"), path("*.txt"), path("a.txt")];
    let reading = Reading::default();
    let sources = Sources { paths, reading };
    let list = TargetList::read(&sources, &Rules::default()).unwrap();
    let targets = list.lines().filter_map(|line| line.target);
    let targets: Vec<String> = targets.map(|target| target.text.into_owned()).collect();
    assert_eq!(targets, ["z.csv.com", "a.txt.com", "b.txt.com"]);
}

#[test]
fn a_line_of_any_length_gets_a_fate() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.txt");
    std::fs::write(
        &path,
        format!("https://a.com/{}\nhttps://b.com/\n", "x".repeat(3 << 20)),
    )
    .unwrap();
    let list = read(&path, &[]);
    assert_eq!((list.line_count(), list.invalid_count()), (2, 1));
    assert_eq!(
        list.line(0).end,
        LineEnd::Invalid("longer than 65536 bytes")
    );
    assert_eq!(list.line(1).place.number, 2);
    // Near the limit, no line is read as part of the next one.
    for length in 65_534..65_540 {
        let long = format!("https://a.com/{}", "x".repeat(length - 14));
        std::fs::write(
            &path,
            format!("https://b.com/\n{long}\nhttps://c.com/\r\n{long}\r\nhttps://d.com/"),
        )
        .unwrap();
        let list = read(&path, &[]);
        assert_eq!(list.line_count(), 5, "{length}");
        assert_eq!(
            list.invalid_count(),
            if length > 65_536 { 2 } else { 0 },
            "{length}"
        );
    }
}

#[test]
fn lines_of_a_csv_are_counted_as_an_editor_counts_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.csv");
    for (text, numbers) in [
        ("url\n\n\n\na.com\n\nb.com", &[5_u64, 7][..]),
        ("url\r\n\r\na.com\r\nb.com\r\n", &[3, 4]),
        ("url\ra.com\rb.com\r", &[2, 3]),
        (
            "url,note\na.com,\"one\ntwo \"\"x\"\"\n\nthree\"\nb.com,\n",
            &[2, 6],
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        let found: Vec<u64> = read(&path, &[])
            .lines()
            .map(|line| line.place.number)
            .collect();
        assert_eq!(found, numbers, "{text:?}");
    }
}

#[test]
fn rows_without_a_target_are_invalid_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, reasons) in [
        (
            "a.ndjson",
            "{\"other\":1}\n{\"url\":null}\n[1]\n{\"url\":\"a.com\"",
            &[
                "no `url` in this row",
                "no `url` in this row",
                "not a JSON",
                "not a JSON",
            ][..],
        ),
        (
            "a.csv",
            "client,url\nx\ny,\n",
            &["no `url` in this row", "empty"],
        ),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let list = read(&path, &[]);
        assert_eq!(list.line_count(), reasons.len(), "{name}");
        for (line, reason) in list.lines().zip(reasons) {
            assert!(
                matches!(line.end, LineEnd::Invalid(found) if found.starts_with(reason)),
                "{name}: {line:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn kept_columns_become_labels_in_the_targets_table() {
    let site = Site::new([""]);
    let path = site.write(
        "list.csv",
        "url,client,tier\nhttps://a.com/,Acme,1\nlocalhost,Bolt,2\nhttps://a.com/,,3\n",
    );
    let site = site.with_targets(&format!(
        "paths = [\"{}\"]\nkeep = [\"client\", \"tier\"]",
        path.display()
    ));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    assert!(site.run(&simulator, &clock).await.unwrap().error.is_none());
    let targets = site.table(Table::Targets);
    let column = |name: &str| targets.column_by_name(name).unwrap();
    let (labels, lines) = (
        column("labels").as_map(),
        column("line").as_primitive::<arrow::datatypes::Int64Type>(),
    );
    let mut found = HashMap::new();
    for row in 0..targets.num_rows() {
        let entries = labels.value(row);
        let (keys, values) = (
            entries.column(0).as_string::<i32>(),
            entries.column(1).as_string::<i32>(),
        );
        let pairs: Vec<String> = keys
            .iter()
            .zip(values)
            .map(|(key, value)| format!("{}={}", key.unwrap(), value.unwrap()))
            .collect();
        found.insert(lines.value(row), pairs.join(" "));
    }
    assert_eq!(found[&2], "client=Acme tier=1");
    assert_eq!(found[&3], "client=Bolt tier=2");
    assert_eq!(found[&4], "client= tier=3");
    // The third line repeats the first.
    let reasons = column("reason").as_string::<i32>();
    let duplicates: Vec<&str> = reasons
        .iter()
        .flatten()
        .filter(|reason| reason.contains("the same as"))
        .collect();
    assert_eq!(duplicates.len(), 1);
    assert!(duplicates[0].ends_with("list.csv line 2"), "{duplicates:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_file_is_read_to_its_end_and_every_target_is_in_one_batch(
        bytes in prop::collection::vec(
            prop_oneof![
                4 => "(https?://)?(www\\.)?[a-c]{1,2}\\.(com|co\\.uk|github\\.io)(/[a-z]{0,2})?".prop_map(String::into_bytes),
                1 => prop::collection::vec(any::<u8>(), 0..20),
            ],
            0..300,
        ),
        format in prop_oneof![Just("txt"), Just("csv"), Just("ndjson")],
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("list.{format}"));
        std::fs::write(&path, bytes.join(&b'\n')).unwrap();
        let sources = Sources {
            paths: vec![path.display().to_string()],
            reading: Reading::default(),
        };
        let Ok(list) = TargetList::read(&sources, &Rules::default()) else {
            // Only a file that is not a list at all: UTF-16, or a csv without the column.
            return Ok(());
        };
        let ends = list.lines().filter(|line| matches!(line.end, LineEnd::Target(_))).count();
        prop_assert_eq!(ends, list.target_count());
        prop_assert_eq!(list.line_count(), list.target_count() + list.duplicate_count() + list.invalid_count());
        let mut planned: Vec<u32> = Plan::of(&list).batches().flat_map(|batch| batch.targets).map(|id| id.0).collect();
        planned.sort_unstable();
        prop_assert_eq!(planned, (0..list.target_count() as u32).collect::<Vec<_>>());
    }
}

#[test]
fn the_real_list_is_planned_at_its_bound() {
    let output = program()
        .args(["plan", "pipelines/demo.toml", "--output", "json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["requests"], report["lower_bound"]);
    assert_eq!(report["lines"], 4842);
}

/// Two different values must not become one label, and a value must not become no label.
#[test]
fn a_label_from_json_is_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for (written, label) in [
        ("12345678901234567890123", "12345678901234567890123"),
        ("12345678901234567890124", "12345678901234567890124"),
        ("0.10", "0.10"),
        ("1e3", "1e3"),
        ("-0", "-0"),
        ("true", "true"),
        ("\"0.10 \\\" \u{e9}\"", "0.10 \" \u{e9}"),
        ("[1.50 , \"a b\\\" c\", 1e3]", "[1.50,\"a b\\\" c\",1e3]"),
        ("{ \"b\" : 1.0 ,\t\"a\" : [ ] }", "{\"b\":1.0,\"a\":[]}"),
    ] {
        let object = format!("{{\"url\": \"a.com\", \"client\": {written}, \"x\": 1.10}}");
        for (name, text) in [
            ("list.ndjson", object.clone()),
            ("list.json", format!("[\n{object}\n]")),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            let list = read(&path, &["client"]);
            let labels: Vec<_> = list.labels(0).collect();
            assert_eq!(labels, [("client", label)], "{name}: {written}");
        }
    }
}

#[test]
fn a_target_that_is_no_text_is_invalid_for_that_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.ndjson");
    for (written, reason) in [
        ("{\"url\":5}", "`url` is not a text in this row"),
        ("{\"url\":[\"a.com\"]}", "`url` is not a text in this row"),
        ("{\"url\":null}", "no `url` in this row"),
        ("{\"other\":5}", "no `url` in this row"),
    ] {
        std::fs::write(&path, format!("{{\"url\":\"a.com\"}}\n{written}\n")).unwrap();
        let list = read(&path, &[]);
        let LineEnd::Invalid(why) = list.line(1).end else {
            panic!("{written} is a target");
        };
        assert_eq!(why, reason, "{written}");
    }
}

#[test]
fn a_parquet_value_without_text_is_refused_and_not_taken_for_a_null() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.parquet");
    for (client, expected) in [
        (Some(&b"Acme"[..]), Ok(vec![("client", "Acme")])),
        (None, Ok(vec![])),
        (Some(&b"\xff\xfe"[..]), Err(())),
    ] {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("url", Arc::new(StringArray::from(vec!["a.com", "b.com"]))),
            (
                "client",
                Arc::new(BinaryArray::from(vec![Some(&b"x"[..]), client])),
            ),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        std::fs::write(&path, writer.into_inner().unwrap()).unwrap();
        let sources = Sources {
            paths: vec![path.display().to_string()],
            reading: Reading {
                column: Some(Column::Name("url".to_owned())),
                keep: vec!["client".to_owned()],
                ..Reading::default()
            },
        };
        match (TargetList::read(&sources, &Rules::default()), expected) {
            (Ok(list), Ok(labels)) => assert_eq!(list.labels(1).collect::<Vec<_>>(), labels),
            (Err(error), Err(())) => {
                let error = error.to_string();
                assert!(error.contains("`client` has a value in row 2"), "{error}");
            }
            (read, expected) => panic!("{client:?}: {read:?} instead of {expected:?}"),
        }
    }
}
