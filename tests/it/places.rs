//! Lists are read from where they are; a place without a list is named with what to do, and nothing
//! that a glob matches is skipped without a word.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::process::Output;

use crate::harness::{Site, program, text};

/// Runs `plan` with these paths of the site's folder, which is also the home folder.
fn plan(site: &Site, paths: &[&str]) -> Output {
    let folder = site.folder.path().display().to_string();
    let paths: Vec<String> = paths
        .iter()
        .map(|path| format!("{:?}", path.replace("[folder]", &folder)))
        .collect();
    let text = site
        .text()
        .replace(&format!("\"{folder}/targets.txt\""), &paths.join(", "));
    let file = site.write("pipeline.toml", text);
    program()
        .arg("plan")
        .arg(file)
        .args(["--output", "json"])
        .env("HOME", &folder)
        .output()
        .unwrap()
}

/// The number of lines that the paths name.
fn lines(site: &Site, paths: &[&str]) -> u64 {
    let output = plan(site, paths);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    report["lines"].as_u64().unwrap()
}

/// Asserts that the paths are refused with these words.
fn refused(site: &Site, paths: &[&str], words: &[&str]) {
    let output = plan(site, paths);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{paths:?}: {message}");
    for word in words {
        assert!(
            message.contains(word),
            "{paths:?}: `{word}` is not in: {message}"
        );
    }
    assert!(message.contains("hint: "), "{message}");
}

#[test]
fn a_path_means_the_files_that_a_person_expects() {
    let site = Site::new(["a.com"]);
    site.write(".hidden.txt", "b.com\nc.com\n");
    site.write("list[1].txt", "d.com\ne.com\nf.com\n");
    std::fs::create_dir(site.folder.path().join("folder.txt")).unwrap();
    for (paths, expected) in [
        (&["[folder]/targets.txt"][..], 1),
        // Neither the hidden file nor the folder.
        (&["[folder]/*.txt"], 4),
        (&["[folder]/.*.txt"], 2),
        (&["[folder]/list[1].txt"], 3),
        (&["[folder]/list[[]1].txt"], 3),
        (&["[folder]/list[[]?].txt", "[folder]/list[1].txt"], 3),
        (&["~/targets.txt"], 1),
        (&["~/*.txt"], 4),
    ] {
        assert_eq!(lines(&site, paths), expected, "{paths:?}");
    }
}

#[test]
fn a_place_without_a_list_is_named_with_what_to_do() {
    let site = Site::new(["a.com"]);
    symlink("nowhere", site.folder.path().join("dangling.csv")).unwrap();
    let not_utf8 = OsStr::from_bytes(b"caf\xe9.ndjson");
    std::fs::write(site.folder.path().join(not_utf8), "").unwrap();
    for (path, words) in [
        (
            "[folder]/none.txt",
            &["none.txt does not exist", "working directory"][..],
        ),
        (
            "[folder]/*.parquet",
            &["*.parquet matches no file", "hidden files"],
        ),
        (
            "[folder]/list[2].txt",
            &["list[2].txt matches no file", "brackets are a pattern"],
        ),
        ("[folder]/list[2.txt", &["not a valid glob", "[[]"]),
        ("[folder]", &["is a directory", "/*.txt"]),
        (
            "[folder]/dangling.csv",
            &["dangling.csv is a link to nowhere, which does not exist"],
        ),
        (
            "[folder]/*.csv",
            &["dangling.csv is a link to nowhere, which does not exist"],
        ),
        ("[folder]/*.ndjson", &["caf", "not UTF-8", "rename"]),
        (
            "~someone/list.txt",
            &["~someone/list.txt", "another user", "write the whole path"],
        ),
        ("[folder]/targets.txt/x", &["does not exist"]),
    ] {
        refused(&site, &[path], words);
    }
}
