//! `init` writes a pipeline file that plans as it is, whatever the list looks like, and that means
//! what the list says.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field};
use backlake::clock::Clock;
use backlake::pipeline::{Init, InitSettings, Overrides, Pipeline, init};
use backlake::provider::Endpoint;
use backlake::targets::{Column, LineEnd, TargetList};
use parquet::arrow::ArrowWriter;

use crate::harness::{noon, program, text};
use crate::lists::readable;
use crate::texts::pinned;

/// What `init` makes of a list.
async fn made(list: &std::path::Path) -> backlake::error::Result<Init> {
    let settings = InitSettings {
        list: list.display().to_string(),
        file: "first.toml".to_owned(),
        endpoint: Endpoint::default(),
        base_url: None,
        lake: None,
    };
    init(&settings, &Clock::simulated(noon())).await
}

fn parsed(text: &str) -> Pipeline {
    let clock = Clock::simulated(noon());
    Pipeline::parse("first.toml", text, Overrides::default(), &clock).unwrap()
}

#[tokio::test]
async fn the_file_of_every_readable_list_reads_it_as_it_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, keys, targets) in readable() {
        let list = folder.path().join(name);
        std::fs::write(&list, bytes).unwrap();
        let Init { report, text } = made(&list).await.unwrap();
        let settings = parsed(&text).targets;
        let read = TargetList::read(&settings.sources, &settings.rules).unwrap();
        let found: Vec<(u64, String)> = read
            .lines()
            .filter_map(|line| match line.end {
                LineEnd::Target(id) => Some((line.place.number, read.target(id).text.into_owned())),
                LineEnd::Duplicate { .. } | LineEnd::Invalid(_) => None,
            })
            .collect();
        let found: Vec<(u64, &str)> = found
            .iter()
            .map(|(line, text)| (*line, text.as_str()))
            .collect();
        // Only people know that what looks like a csv is a list of URLs with semicolons.
        if keys != "format = \"txt\"" || name.ends_with(".zip") {
            assert_eq!(found, targets, "{name}: {text}");
        }
        assert_eq!(report.plan.invalid, 0, "{name}");
        let kinds = report.pages + report.domains + report.subdomains;
        assert_eq!(report.plan.targets, kinds, "{name}");
    }
}

#[tokio::test]
async fn settings_that_a_list_needs_are_found_one_after_the_other() {
    let list = |header: &str, row: &str| {
        let rows = (0..30).map(|n| row.replace('#', &n.to_string()) + "\n");
        rows.fold(header.to_owned(), |list, row| list + &row)
    };
    let wide = (0..11).fold("url".to_owned(), |names, n| names + &format!(",c{n}"));
    let cases: [(&str, String, &[&str]); 8] = [
        (
            "rank.txt",
            list("", "#;site#.com;x"),
            &[
                "format = \"csv\"",
                "header = false",
                "column = 2",
                "keep = [\"1\", \"3\"]",
            ],
        ),
        (
            "report.csv",
            list("exported now\nTitle;Top pages\n", "#;https://a.com/#"),
            &[
                "skip_lines = 1",
                "column = \"Top pages\"",
                "keep = [\"Title\"]",
            ],
        ),
        (
            "titles.csv",
            list("page,url\n", "Title #,https://a.com/#"),
            &["column = \"url\"", "keep = [\"page\"]"],
        ),
        (
            "twice.csv",
            list("x,y,y,Where\n", "#,1,2,a#.com"),
            &["column = \"Where\"", "keep = [\"x\"]"],
        ),
        (
            "unnamed.csv",
            list("a,,b\n", "#,https://a.com/#,2"),
            &["column = 2", "keep = [\"a\", \"b\"]"],
        ),
        (
            "wide.csv",
            list(&format!("{wide}\n"), "https://a.com/#,1"),
            &["column = \"url\"", "# keep = [\"c0\", \"c1\", "],
        ),
        (
            "lines.txt",
            list("", "{\"a\": 1, \"u\": \"https://a.com/#\"}"),
            &["format = \"ndjson\"", "column = \"u\"", "keep = [\"a\"]"],
        ),
        ("list", list("", "https://a.com/#"), &["format = \"txt\""]),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (name, content, lines) in cases {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let Init { text, .. } = made(&path).await.unwrap();
        for line in lines {
            let written = text.lines().any(|found| found.starts_with(line));
            assert!(written, "{name}: {line}: {text}");
        }
        parsed(&text);
    }
}

#[tokio::test]
async fn hostile_names_of_columns_and_lists_stay_names() {
    let hostile = [
        "\"\"\"",
        "\\",
        "a\nb",
        "]\n[lake]\nurl = \"evil\"",
        "tab\there",
        "'''",
        "# x",
        "\u{202e}moc",
        "\u{1b}[31m",
        "日本",
    ];
    let target = "\"url\" \\ of\nthe page";
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record([target].into_iter().chain(hostile))
        .unwrap();
    let row = ["https://a.com/"].into_iter().chain(hostile);
    csv.write_record(row).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("a \"list\"\n'\\.csv");
    std::fs::write(&list, csv.into_inner().unwrap()).unwrap();
    let Init { text, .. } = made(&list).await.unwrap();
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    let pipeline = parsed(&text);
    let reading = &pipeline.targets.sources.reading;
    assert_eq!(reading.column, Some(Column::Name(target.to_owned())));
    assert_eq!(reading.keep, hostile);
    assert_eq!(pipeline.targets.sources.paths, [list.display().to_string()]);
    assert_eq!(pipeline.lake.url, "simulated-lake");
}

#[test]
fn the_written_file_and_the_report_read_as_reviewed_and_both_commands_work() {
    let folder = tempfile::tempdir().unwrap();
    let rows: String = (0..3)
        .map(|n| format!("https://a.com/{n};Acme;{n}\n"))
        .collect();
    let list = format!("Exported by hand\nTop pages;Client;n\nexample.org;Bolt;9\n{rows};;\n");
    std::fs::write(folder.path().join("pages.csv"), list).unwrap();
    let run = |args: &[&str]| {
        let output = program().args(args).current_dir(&folder).output().unwrap();
        let errors = text(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        assert_eq!(errors, "", "{args:?}");
        text(&output.stdout)
    };
    let report = run(&["init", "pages.csv"]);
    let file = std::fs::read_to_string(folder.path().join("pages.toml")).unwrap();
    pinned("init", &report, None);
    pinned("init_file", &file, None);
    let report = run(&[
        "init",
        "pages.csv",
        "--base-url",
        "https://api.dataforseo.com",
        "--out",
        "real.toml",
        "--output",
        "json",
    ]);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["file"], "real.toml");
    assert_eq!(report["keep"], serde_json::json!(["Client", "n"]));
    assert_eq!(report["invalid"], 1);
    run(&["plan", "pages.toml"]);
    run(&["plan", "real.toml"]);
    run(&["run", "pages.toml", "-q"]);
    let file = std::fs::read_to_string(folder.path().join("real.toml")).unwrap();
    for line in [
        "base_url = \"https://api.dataforseo.com\"",
        "url = \"lake\"",
    ] {
        assert!(file.contains(line), "{file}");
    }
}

#[tokio::test]
async fn all_lists_of_a_glob_are_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        std::fs::write(folder.path().join(name), content).unwrap();
    };
    let glob = folder.path().join("*.csv");
    // The first list shows its column by itself, the second one needs its name.
    write("a.csv", "url,n\nhttps://a.com/1,1\n");
    write("b.csv", "page,url\nTitle,https://a.com/2\n");
    write("c.csv", "");
    let Init { report, text } = made(&glob).await.unwrap();
    assert!(text.contains("column = \"url\""), "{text}");
    assert_eq!(report.plan.targets, 2);
    // These two cannot be read in the same way.
    write("b.csv", "Title,Where\nx,https://a.com/2\n");
    let error = made(&glob).await.unwrap_err();
    let said = format!("{error} {}", error.hint());
    for name in ["a.csv", "b.csv", "backlake init"] {
        assert!(said.contains(name), "{said}");
    }
    assert!(!said.contains("c.csv"), "{said}");
}

#[tokio::test]
async fn only_columns_that_can_be_kept_are_kept_or_offered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pages.parquet");
    for (columns, mark) in [(3, "keep = ["), (20, "# keep = [")] {
        write_parquet(&path, columns);
        let Init { text, .. } = made(&path).await.unwrap();
        let keep = text.lines().find(|line| line.starts_with(mark));
        let keep = keep.unwrap_or_else(|| panic!("{text}"));
        assert!(
            keep.contains("\"c1\"") && !keep.contains("nested"),
            "{keep}"
        );
    }
}

/// A table of one page, so many columns of text, and one of structs.
fn write_parquet(path: &std::path::Path, columns: usize) {
    let text = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    let field = Arc::new(Field::new("x", DataType::Utf8, true));
    let nested = StructArray::from(vec![(field, text("x"))]);
    let mut all = vec![("url".to_owned(), text("https://a.com/"))];
    all.push(("nested".to_owned(), Arc::new(nested) as ArrayRef));
    all.extend((1..=columns).map(|n| (format!("c{n}"), text("x"))));
    let rows = RecordBatch::try_from_iter(all).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
}
