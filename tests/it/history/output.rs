//! `diff` shows the same changes in every format, and rejects what it cannot compare.

use std::path::Path;
use std::process::{Output, Stdio};

use arrow::array::RecordBatch;
use backlake::contract::Table;
use backlake::error::ErrorKind;
use backlake::history::PageChange;

use super::oracle::{day, expected};
use super::two_days::{numbers, read_day, two_days};
use crate::harness::{program, text};

fn diff(lake: &Path, args: &[&str]) -> Output {
    program().arg("diff").arg(lake).args(args).output().unwrap()
}

fn out(lake: &Path, args: &[&str]) -> String {
    let output = diff(lake, args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_formats_contain_the_same_rows() {
    let site = two_days().await;
    let lake = site.lake();
    let days = [0, 1].map(|number| read_day(&lake, day(number), "backlinks"));
    let expected = expected([&days[0], &days[1]]);
    let json: Vec<PageChange> = out(&lake, &["--what", "movers", "--output", "json"])
        .lines()
        .map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| row[name].as_str().map(str::to_owned);
            PageChange {
                root_domain: text("root_domain"),
                target: text("target"),
                before: row["before"].as_i64(),
                after: row["after"].as_i64(),
                change: row["change"].as_i64(),
                relative_change: row["relative_change"].as_f64(),
                ..PageChange::default()
            }
        })
        .collect();
    assert_eq!(json.len(), expected.movers.len());
    for (row, expected) in json.iter().zip(&expected.movers) {
        // The JSON parser can differ in the last bit.
        let ratio = expected.relative_change.unwrap();
        assert!(
            (row.relative_change.unwrap() - ratio).abs() < 1e-12,
            "{row:?}"
        );
        assert_eq!(
            &PageChange {
                relative_change: Some(ratio),
                ..row.clone()
            },
            expected
        );
    }
    let csv = out(&lake, &["--what", "removed", "--format", "csv"]);
    let removed = expected.removed.iter().map(|page| {
        let number = page
            .before
            .map_or_else(String::new, |number| number.to_string());
        format!(
            "{},{},{number}\n",
            page.root_domain.as_ref().unwrap(),
            page.target.as_ref().unwrap()
        )
    });
    assert_eq!(
        csv,
        "root_domain,target,before\n".to_owned() + &removed.collect::<String>()
    );
    let file = site.folder.path().join("added.parquet");
    let path = file.display().to_string();
    assert_eq!(
        out(
            &lake,
            &["--what", "added", "--format", "parquet", "--out", &path]
        ),
        ""
    );
    let reader = std::fs::File::open(&file).unwrap();
    let builder =
        parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(reader).unwrap();
    let rows: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
    let added: Vec<_> = rows
        .iter()
        .flat_map(|rows| numbers(rows, "after"))
        .collect();
    assert_eq!(
        added,
        expected
            .added
            .iter()
            .map(|page| page.after)
            .collect::<Vec<_>>()
    );
    let table = out(&lake, &["--what", "movers", "--limit", "0"]);
    assert_eq!(table.lines().count(), 1 + expected.movers.len());
    assert_eq!(out(&lake, &["--what", "movers"]).lines().count(), 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_root_domain_can_be_compared_alone() {
    let site = two_days().await;
    let lake = site.lake();
    let days = [0, 1].map(|number| {
        let mut day = read_day(&lake, day(number), "backlinks");
        day.pages
            .retain(|(domain, _), _| domain.as_deref() == Some("big.org"));
        day
    });
    let expected = expected([&days[0], &days[1]]);
    let json: serde_json::Value = serde_json::from_str(&out(
        &lake,
        &["--root-domain", "big.org", "--output", "json"],
    ))
    .unwrap();
    let pages = &json["pages"];
    assert_eq!(pages["added"]["pages"], expected.added.len());
    assert_eq!(pages["removed"]["pages"], expected.removed.len());
    assert_eq!(pages["in_both"]["risen"], expected.risen.len());
    assert_eq!(pages["in_both"]["fallen"], expected.fallen.len());
    assert_eq!(json["root_domain"], "big.org");
    for page in json["top"]["risen"].as_array().unwrap() {
        assert_eq!(page["root_domain"], "big.org");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_shows_the_most_important_changes() {
    let site = two_days().await;
    let output_text = out(&site.lake(), &["--by", "referring_domains"]);
    for words in [
        "from 2026-11-23 to 2026-11-24",
        "added to the list",
        "in both",
        "median referring_domains",
        "largest rises of referring_domains",
        "largest shifts of breakdowns",
        "median main_domain_rank",
    ] {
        assert!(
            output_text.contains(words),
            "{words} is not in: {output_text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_closes_the_pipe_is_not_an_error() {
    let site = two_days().await;
    for format in ["table", "csv", "json"] {
        let mut child = program()
            .arg("diff")
            .arg(site.lake())
            .args(["--what", "movers", "--limit", "0", "--format", format])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{format}: {}",
            text(&output.stderr)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impossible_comparison_is_rejected_with_a_hint() {
    let site = two_days().await;
    let lake = site.lake();
    for (args, message, hint) in [
        (
            &["--from", "2026-11-01"][..],
            "2026-11-01 is not published",
            "backlake snapshots",
        ),
        (
            &["--to", "2026-11-23"],
            "no snapshot before 2026-11-23",
            "backlake snapshots",
        ),
        (
            &["--from", "2026-11-24"],
            "2026-11-24 cannot be compared with itself",
            "two dates",
        ),
        (
            &["--from", "2026-11-24", "--to", "2026-11-23"],
            "--from 2026-11-24 is later than --to 2026-11-23",
            "--from 2026-11-23 --to 2026-11-24",
        ),
        (
            &["--root-domain", "big.example"],
            "no target of big.example is in the snapshots 2026-11-23 and 2026-11-24",
            "registrable domain",
        ),
        (
            &["--what", "breakdowns", "--root-domain", "https://big.org/1"],
            "no target of https://big.org/1 is in",
            "registrable domain",
        ),
        (
            &["--by", "fame"],
            "fame is not a metric",
            "choose one of rank, main_domain_rank, backlinks",
        ),
        (
            &["--by", "target"],
            "target is not a metric",
            "choose one of rank",
        ),
        (
            &["--format", "csv"],
            "a summary is several tables",
            "--what",
        ),
        (
            &["--limit", "0"],
            "0 applies to lists, not to the summary",
            "--what",
        ),
        (
            &["--what", "lost", "--format", "parquet"],
            "parquet needs a file",
            "--out",
        ),
        (
            &[
                "--what",
                "lost",
                "--format",
                "csv",
                "--out",
                "no/such/folder/x.csv",
            ],
            "failed to write no/such/folder/x.csv",
            "",
        ),
    ] {
        let output = diff(&lake, args);
        let output_text = text(&output.stderr);
        assert_eq!(
            (output.status.code(), text(&output.stdout)),
            (Some(2), String::new()),
            "{args:?}: {output_text}"
        );
        assert!(
            output_text.contains(message) && output_text.contains(hint),
            "{args:?}: {output_text}"
        );
    }
    let path = lake.join("_snapshots/2026-11-23.json");
    let manifest = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, manifest.replace("one_thousand", "one_hundred")).unwrap();
    let output = diff(&lake, &["--output", "json"]);
    let output_text: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = output_text["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("rank_scale was one_hundred, now one_thousand"),
        "{message}"
    );
    std::fs::remove_file(path).unwrap();
    assert!(text(&diff(&lake, &[]).stderr).contains("no snapshot before 2026-11-24 is published"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_differs_from_the_manifest_is_not_compared() {
    let site = two_days().await;
    let file = crate::harness::files(&site.lake(), Table::Pages).remove(0);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 10]).unwrap();
    let output = diff(&site.lake(), &[]);
    let output_text = text(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(ErrorKind::FoundProblems.exit_code().into())
    );
    assert!(
        output_text.contains("the manifest says") && output_text.contains("backlake verify"),
        "{output_text}"
    );
}
