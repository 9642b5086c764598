//! The commands that README and docs show print what the documents say.
//!
//! Each ```` ```console ```` block runs in a copy of the folders that it names, so nothing is left
//! behind. What differs from run to run (a run's name, a time) is not compared.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The README and every page of docs/ that shows a console.
fn documents() -> Vec<PathBuf> {
    let pages = fs::read_dir(root().join("docs")).unwrap();
    let mut documents = vec![root().join("README.md")];
    documents.extend(pages.map(|page| page.unwrap().path()));
    documents.retain(|path| {
        path.extension().is_some_and(|ending| ending == "md")
            && fs::read_to_string(path).unwrap().contains("```console\n")
    });
    documents.sort();
    documents
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Replaces what differs from run to run by a wildcard.
fn comparable(line: &str) -> String {
    // `cargo run --` builds the same program; a test need not build it again.
    let line = line.replace("$ cargo run -- ", "$ backlake ");
    match line.split_once("  run 2") {
        // The name of a run and the time that it took.
        Some((time, _)) => {
            let label = time.split_whitespace().next().unwrap_or_default();
            format!("  {label}[..]run [..]")
        }
        None => line,
    }
}

/// A document as trycmd expects it: an empty line ends the output of a command.
fn as_case(document: &str) -> String {
    let mut case = String::new();
    let mut in_console = false;
    for line in document.lines() {
        if in_console && line == "```" {
            case.push('\n');
        }
        in_console = line == "```console" || (in_console && line != "```");
        case.push_str(&comparable(line));
        case.push('\n');
    }
    case
}

#[test]
fn the_commands_in_the_documents_print_what_they_show() {
    let folder = tempfile::tempdir().unwrap();
    let documents = documents();
    assert!(documents.iter().any(|path| path.ends_with("README.md")));
    let cases = trycmd::TestCases::new();
    cases.env("BACKLAKE_LOG", "error");
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        let case = folder.path().join(document.file_name().unwrap());
        fs::write(&case, as_case(&text)).unwrap();
        // trycmd runs a document in the folder of its name that ends with `.in`.
        let place = case.with_extension("in");
        copy(&root().join("pipelines"), &place.join("pipelines"));
        copy(&root().join("data"), &place.join("data"));
        cases.case(case);
    }
    cases.run();
}
