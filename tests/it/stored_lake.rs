//! A lake that an earlier version wrote is read, and its half-finished night continues: what was paid
//! for is not paid for again.
//!
//! `tests/lakes` has a lake per format. Once a version is released, its lake never changes. Until
//! then, the format may: `UPDATE_LAKE=1 cargo test --test it stored_lake` writes it anew.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{program, text};

/// The lake of this version.
fn stored() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lakes/0.1.0.tar.zst")
}

/// Enough root domains for two requests.
const DOMAINS: usize = 150;

const PIPELINE: &str = "\
name = \"nightly\"
[targets]
paths = [\"targets.txt\"]
[api]
base_url = \"simulator\"
max_in_flight = 1
[lake]
url = \"lake\"
";

/// Runs the program in a folder, and returns its JSON report.
fn report(folder: &Path, args: &[&str], code: i32) -> Value {
    let output = program()
        .args(args)
        .args(["--output", "json", "--quiet"])
        .current_dir(folder)
        .output()
        .unwrap();
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Writes a lake with a published night and one that stopped at the budget after one of its two
/// requests.
fn write_lake() {
    let folder = tempfile::tempdir().unwrap();
    let targets: String = (0..DOMAINS).map(|n| format!("site{n}.com\n")).collect();
    std::fs::write(folder.path().join("targets.txt"), targets).unwrap();
    std::fs::write(folder.path().join("nightly.toml"), PIPELINE).unwrap();
    let run = ["run", "nightly.toml", "--snapshot"];
    report(folder.path(), &[&run[..], &["2026-11-23"]].concat(), 0);
    let half = ["2026-11-24", "--max-cost-usd", "0.03"];
    report(folder.path(), &[&run[..], &half].concat(), 4);
    std::fs::create_dir_all(stored().parent().unwrap()).unwrap();
    let file = std::fs::File::create(stored()).unwrap();
    let mut archive = tar::Builder::new(zstd::Encoder::new(file, 19).unwrap().auto_finish());
    archive.append_dir_all(".", folder.path()).unwrap();
    archive.into_inner().unwrap();
}

#[test]
fn the_lake_of_this_format_is_read_and_its_half_finished_night_continues() {
    if std::env::var_os("UPDATE_LAKE").is_some() {
        write_lake();
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let packed = std::fs::File::open(stored()).unwrap();
    let mut archive = tar::Archive::new(zstd::Decoder::new(packed).unwrap());
    archive.unpack(folder).unwrap();

    report(folder, &["verify", "lake"], 0);
    let script = program()
        .args(["sql", "lake"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(text(&script.stdout).contains("CREATE OR REPLACE TEMP VIEW"));
    let states = |report: &Value, name: &str| -> Vec<(String, String)> {
        let nights = report[name].as_array().unwrap().iter();
        let word = |night: &Value, key: &str| night[key].as_str().unwrap_or_default().to_owned();
        nights
            .map(|night| (word(night, "snapshot"), word(night, "state")))
            .collect()
    };
    let status = report(folder, &["status", "nightly.toml"], 7);
    let open = ("2026-11-24".to_owned(), "open".to_owned());
    assert!(states(&status, "nights").contains(&open), "{status}");
    assert!(
        status.to_string().contains("--snapshot 2026-11-24"),
        "{status}"
    );

    let run = ["run", "nightly.toml", "--snapshot", "2026-11-24"];
    let continued = report(folder, &run, 0);
    assert_eq!(continued["state"], "published");
    assert_eq!(continued["requests"], 2, "{continued}");
    assert_eq!(continued["fates"]["failed"], 0);
    // What was published is what its archive says.
    report(
        folder,
        &["replay", "nightly.toml", "--snapshot", "2026-11-23"],
        0,
    );
    report(folder, &["verify", "lake"], 0);
    report(folder, &["diff", "lake"], 0);
}
