//! Bad input gets a message that names the place, the fault and the next step; nothing is sent, and
//! the exit code is 2.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::harness::{Site, text};

/// Runs `run` on a site and checks its exit code and the words of its message.
fn refused(site: &Site, code: i32, words: &[&str]) {
    let output = site.program("run", &[]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
    assert!(
        message.contains("\nhint: ") || message.starts_with("hint: "),
        "no hint in: {message}"
    );
    assert!(!site.lake().join("_archive").exists(), "something was sent");
}

fn site() -> Site {
    Site::new(["https://example.com/"])
}

fn list(site: Site, name: &str, bytes: impl AsRef<[u8]>, more: &str) -> Site {
    let path = site.write(name, bytes);
    site.with_targets(&format!("paths = [\"{}\"]\n{more}", path.display()))
}

#[test]
fn a_missing_target_file_is_named() {
    refused(
        &site().with_targets("paths = [\"no/such/list.txt\"]"),
        2,
        &["target list no/such/list.txt does not exist"],
    );
}

#[test]
fn an_empty_target_file_is_named() {
    refused(
        &list(site(), "empty.txt", "", ""),
        2,
        &["the target list is empty", "empty.txt"],
    );
    refused(
        &list(site(), "blank.txt", "\n# only a comment\n\r\n", ""),
        2,
        &["the target list is empty"],
    );
}

#[test]
fn a_glob_that_matches_nothing_is_named() {
    refused(
        &site().with_targets("paths = [\"no/such/*.txt\"]"),
        2,
        &["no/such/*.txt matches no file"],
    );
}

#[test]
fn a_directory_is_not_a_target_list() {
    refused(
        &site().with_targets("paths = [\"data/targets\"]"),
        2,
        &["data/targets is a directory", "data/targets/*.txt"],
    );
}

#[test]
fn a_file_of_an_unknown_format_is_named() {
    refused(
        &list(site(), "targets.xls", "x", ""),
        2,
        &[
            "targets.xls",
            "its extension does not name a known format",
            "[targets] format",
        ],
    );
}

#[test]
fn a_line_that_is_not_utf_8_is_invalid_and_its_place_is_shown() {
    let site = list(
        site(),
        "latin1.txt",
        b"https://example.com/\nhttps://example.com/caf\xe9\n",
        "",
    );
    let output = site.program("plan", &[]);
    let message = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{message}");
    assert!(
        message.contains("latin1.txt line 2") && message.contains("not UTF-8 at byte 24"),
        "{message}"
    );
    let utf16: Vec<u8> = "https://example.com/\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    refused(
        &list(site, "utf16.txt", utf16, ""),
        2,
        &[
            "utf16.txt looks like UTF-16 without a byte order mark",
            "save the list as UTF-8",
        ],
    );
}

#[test]
fn a_csv_without_the_column_names_those_it_has() {
    let site = list(
        site(),
        "list.csv",
        "page,client\nhttps://example.com/,a\n",
        "column = \"url\"",
    );
    refused(
        &site,
        2,
        &[
            "list.csv has no column `url`; its columns are: `page`, `client`",
            "[targets] column",
        ],
    );
}

#[test]
fn a_csv_with_an_open_quote_swallows_nothing() {
    let rows = "b.com,x\n".repeat(500);
    let site = list(
        site(),
        "list.csv",
        format!("url,note\na.com,\"never closed\n{rows}"),
        "",
    );
    refused(
        &site,
        2,
        &["list.csv, line 2: a quote is opened and never closed"],
    );
}

#[test]
fn a_broken_gzip_is_named() {
    refused(
        &list(site(), "fake.txt.gz", "https://example.com/\n", ""),
        2,
        &["failed to read target list", "fake.txt.gz"],
    );
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder
        .write_all("https://example.com/\n".repeat(1000).as_bytes())
        .unwrap();
    let mut cut = encoder.finish().unwrap();
    cut.truncate(cut.len() / 2);
    refused(
        &list(site(), "cut.txt.gz", cut, ""),
        2,
        &["failed to read target list", "cut.txt.gz, line"],
    );
}

#[test]
fn a_file_that_is_not_parquet_is_named() {
    refused(
        &list(site(), "fake.parquet", "https://example.com/\n", ""),
        2,
        &["fake.parquet as Parquet"],
    );
}

#[test]
fn a_list_without_a_valid_target_sends_nothing() {
    let site = list(site(), "bad.txt", "localhost\nftp://example.com/\n", "");
    refused(
        &site,
        2,
        &[
            "none of 2 lines is a valid target",
            "bad.txt line 1: `localhost`: host `localhost` has a single label",
        ],
    );
}

#[test]
fn mistakes_in_a_pipeline_file_are_shown_with_line_and_key() {
    for (lines, words) in [
        (
            "[api]\nmax_inflight = 3",
            &[
                "pipeline.toml, line 9, key `max_inflight`",
                "unknown field `max_inflight`",
                "`max_in_flight`",
            ][..],
        ),
        (
            "[api]\nmax_in_flight = \"many\"",
            &[
                "line 9, key `max_in_flight`",
                "invalid type: string \"many\"",
            ],
        ),
        (
            "[api]\nmax_in_flight = 0",
            &["line 9, key `api.max_in_flight`: 0 is not from 1 to 30"],
        ),
        (
            "[api]\nmax_in_flight = 31",
            &["line 9, key `api.max_in_flight`: 31 is not from 1 to 30"],
        ),
        (
            "[api]\ntimeout_seconds = 60",
            &["key `api.timeout_seconds`: 60 is not from 121 to 3600"],
        ),
        (
            "[budget]\nmax_cost_usd = \"-1.00\"",
            &["line 9, key `budget.max_cost_usd`: -1.00 is negative"],
        ),
        (
            "[budget]\nmax_cost_usd = \"lots\"",
            &[
                "line 9, key `max_cost_usd`",
                "`lots` is not an amount of dollars",
            ],
        ),
        (
            "[publish]\nmax_failed_ratio = 1.5",
            &["line 9, key `publish.max_failed_ratio`: 1.5 is not from 0.0 to 1.0"],
        ),
        (
            "[api]\nbase_url = \"ftp://example.com\"",
            &["line 9, key `api.base_url`", "scheme `ftp` is not https"],
        ),
        (
            "[api]\nbase_url = \"http://api.example.com\"",
            &["line 9, key `api.base_url`", "unencrypted; use https://"],
        ),
        (
            "[api]\nbase_url = \"https://me:secret@example.com\"",
            &["credentials do not belong in a URL"],
        ),
        ("[api\n", &["pipeline.toml, line 8"]),
    ] {
        refused(&site().with(lines), 2, words);
    }
}

#[test]
fn a_column_that_is_kept_twice_and_a_missing_table_are_named() {
    let path = "paths = [\"data/targets/awesome.txt\"]";
    refused(
        &site().with_targets(&format!("{path}\nkeep = [\"a\", \"a\"]")),
        2,
        &["line 8, key `targets.keep`: names `a` twice"],
    );
    let site = site();
    let file = site.write("other.toml", site.text().replace("[lake]", "[leak]"));
    let output = crate::harness::program()
        .arg("run")
        .arg(file)
        .output()
        .unwrap();
    assert!(
        text(&output.stderr).contains("unknown field `leak`"),
        "{}",
        text(&output.stderr)
    );
    let file = site.write(
        "none.toml",
        "name = \"x\"\nendpoint = \"backlinks/bulk_pages_summary\"\n[targets]\npaths = [\"a.txt\"]\n",
    );
    let output = crate::harness::program()
        .arg("run")
        .arg(file)
        .output()
        .unwrap();
    assert!(
        text(&output.stderr).contains(
            "none.toml needs [api] base_url = \"https://api.dataforseo.com\", [lake] url = \"lake\""
        ),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn an_unknown_endpoint_is_named_with_the_known_ones() {
    let site = site();
    let file = site.write(
        "other.toml",
        site.text().replace("bulk_pages_summary\"", "summary\""),
    );
    let output = crate::harness::program()
        .arg("run")
        .arg(file)
        .output()
        .unwrap();
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(
        message.contains("line 2, key `endpoint`")
            && message.contains("`backlinks/bulk_pages_summary`"),
        "{message}"
    );
}

#[test]
fn a_missing_pipeline_file_is_named() {
    let output = crate::harness::program()
        .args(["run", "no/such.toml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("failed to read pipeline file no/such.toml"));
}

#[test]
fn missing_credentials_are_named_by_variable() {
    let site = site().with("[api]\nbase_url = \"https://api.example.com\"");
    let output = site.program("run", &["--backfill"]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    for word in [
        "DATAFORSEO_LOGIN is not set, and https://api.example.com needs credentials",
        "DATAFORSEO_PASSWORD_FILE",
    ] {
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn a_lake_that_is_not_writable_is_named() {
    let site = site();
    let file = site.write("a-file", "");
    let output = site.program("run", &["--lake", &format!("{}/lake", file.display())]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(
        message.contains("[lake] url: failed to create") && message.contains("a-file/lake"),
        "{message}"
    );
}
