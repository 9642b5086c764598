//! Tables of other programs, damaged metadata and formats that are switched off: a clear error or a defined end, and nothing
//! that is published or paid is lost.

use std::path::{Path, PathBuf};

use backlake::contract::Table;

use crate::harness::{Site, program, text};

const DATE: &str = "2026-11-23";

fn site(formats: &str) -> Site {
    let lake = format!("table_formats = {formats}");
    Site::new((0..300).map(|n| format!("d{n}.com"))).with_lake(&lake)
}

/// Runs the site's pipeline, and returns the exit code and what it says.
fn run(site: &Site, date: &str) -> (Option<i32>, String) {
    let output = site.program("run", &["--snapshot", date]);
    (output.status.code(), text(&output.stderr))
}

/// The exit code of `verify`, and what it says.
fn verify(lake: &Path) -> (Option<i32>, String) {
    let output = program().arg("verify").arg(lake).output().unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    (output.status.code(), said)
}

/// Gives all Iceberg tables with one version a second one that cannot be read.
fn damage_iceberg(lake: &Path) {
    for table in Table::ALL {
        let newest = format!("{}/_iceberg/metadata/v2.metadata.json", table.name());
        write(lake, &newest, "{}");
    }
}

fn remove_iceberg(lake: &Path) {
    for table in Table::ALL {
        std::fs::remove_dir_all(lake.join(table.name()).join("_iceberg")).unwrap();
    }
}

fn write(lake: &Path, name: &str, content: &str) -> PathBuf {
    let path = lake.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    path
}

/// A Delta log that another program has made.
const FOREIGN_DELTA: &str = r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}
{"metaData":{"id":"6a7f2d4e-8c1b-4c39-9d0e-3f5a7b9c1d2e","format":{"provider":"parquet","options":{}},"schemaString":"{\"type\":\"struct\",\"fields\":[{\"name\":\"sku\",\"type\":\"string\",\"nullable\":true,\"metadata\":{}}]}","partitionColumns":[],"configuration":{},"createdTime":1}}
"#;

#[test]
fn a_table_of_another_program_stops_a_run_before_it_pays() {
    for (formats, place, content, complaint) in [
        (
            r#"["delta"]"#,
            "pages/_delta_log/00000000000000000000.json",
            FOREIGN_DELTA,
            "it is partitioned by () instead of snapshot_date",
        ),
        (
            r#"["iceberg"]"#,
            "pages/_iceberg/metadata/v1.metadata.json",
            r#"{"format-version":2}"#,
            "pages/_iceberg/metadata/v1.metadata.json cannot be read",
        ),
    ] {
        let site = site(formats);
        std::fs::create_dir_all(site.lake()).unwrap();
        let foreign = write(&site.lake(), place, content);
        let (code, said) = run(&site, DATE);
        assert_eq!(code, Some(2), "{said}");
        assert!(
            said.contains(complaint) && said.contains("move pages/_"),
            "{said}"
        );
        let checked = site.program("check", &[]);
        assert_eq!(checked.status.code(), Some(2));
        assert!(text(&checked.stderr).contains(complaint));
        for nothing in [
            format!("_snapshots/{DATE}.json"),
            format!("_archive/{DATE}"),
        ] {
            assert!(!site.lake().join(&nothing).exists(), "{nothing}");
        }
        assert_eq!(std::fs::read_to_string(&foreign).unwrap(), content);
        std::fs::remove_file(foreign).unwrap();
        let (code, said) = run(&site, DATE);
        assert_eq!(code, Some(0), "{said}");
        let (code, said) = verify(&site.lake());
        assert_eq!(code, Some(0), "{said}");
    }
}

#[test]
fn an_iceberg_table_of_another_program_beside_ours_is_left_alone_and_named() {
    let site = site(r#"["iceberg"]"#);
    std::fs::create_dir_all(site.lake()).unwrap();
    let foreign = write(&site.lake(), "pages/metadata/00000-a.metadata.json", "{}");
    assert_eq!(run(&site, DATE).0, Some(0));
    let (code, said) = verify(&site.lake());
    assert_eq!(code, Some(7));
    assert!(
        said.contains("pages/metadata/00000-a.metadata.json is not listed in any manifest"),
        "{said}"
    );
    assert!(foreign.exists());
}

#[test]
fn a_format_that_is_switched_off_is_kept_up_to_date_and_never_stops_a_publication() {
    let on = site(r#"["delta", "iceberg"]"#);
    assert_eq!(run(&on, "2026-11-22").0, Some(0));
    let off = on.with_lake("table_formats = []");
    assert_eq!(run(&off, DATE).0, Some(0));
    let (code, said) = verify(&off.lake());
    assert_eq!(code, Some(0), "{said}");
    // Damaged, it is reported, by the run and by the audit.
    damage_iceberg(&off.lake());
    let (code, said) = run(&off, "2026-11-24");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("could not be kept up to date"), "{said}");
    let (code, said) = verify(&off.lake());
    assert_eq!(code, Some(7));
    assert!(said.contains("v2.metadata.json cannot be read"), "{said}");
    // Without its folders it is off.
    remove_iceberg(&off.lake());
    let (code, said) = verify(&off.lake());
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn in_a_lake_that_was_moved_nothing_is_paid_or_removed_until_its_iceberg_tables_are_moved_away() {
    let [home, moved] = [(); 2].map(|()| site(r#"["delta", "iceberg"]"#));
    for date in ["2026-11-21", "2026-11-22"] {
        assert_eq!(run(&home, date).0, Some(0));
    }
    std::fs::rename(home.lake(), moved.lake()).unwrap();
    let names = || {
        let names = moved.tree().into_keys();
        names
            .filter(|name| !name.contains("/locks/"))
            .collect::<Vec<_>>()
    };
    let before = (names(), verify(&moved.lake()));
    let (code, said) = run(&moved, DATE);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("the lake is now at"), "{said}");
    let lake = moved.lake().display().to_string();
    let prune = ["prune", &lake, "--keep-snapshots", "1", "--yes"];
    let pruned = program().args(prune).output().unwrap();
    assert_ne!(pruned.status.code(), Some(0));
    assert_eq!(before, (names(), verify(&moved.lake())));
    remove_iceberg(&moved.lake());
    assert_eq!(run(&moved, DATE).0, Some(0));
    let output = program().args(prune).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (code, said) = verify(&moved.lake());
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn damaged_tables_of_a_format_that_is_switched_off_never_stop_a_repeated_start() {
    let on = site(r#"["delta", "iceberg"]"#);
    assert_eq!(run(&on, DATE).0, Some(0));
    let off = on.with_lake("table_formats = []");
    damage_iceberg(&off.lake());
    let named = off.manifest()["run"].as_str().unwrap().to_owned();
    // As after a kill between the manifest and the clean-up.
    let placing = format!("_staging/{DATE}/placing");
    let report = |more: &[&str]| {
        write(&off.lake(), &placing, "");
        let output = off.program("run", &[&["--output", "json"], more].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let warning = report["warnings"][0].as_str().unwrap().to_owned();
        assert!(
            warning.contains("the lake has Iceberg tables") && warning.contains("v2.metadata.json"),
            "{warning}"
        );
        assert!(!off.lake().join(&placing).exists());
        report
    };
    assert_eq!(report(&[])["state"], "already_published");
    // A replacement that was killed is recognised once; after that, the command replaces again.
    write(&off.lake(), &format!("_runs/{DATE}/{named}.replacing"), "");
    let states = [(); 2].map(|()| report(&["--replace"])["state"].clone());
    assert_eq!(states, ["already_published", "published"]);
}
