//! Runs are reported to a data catalogue, and the catalogue never affects a run.

use serde_json::Value;

use crate::harness::{Site, text};
use crate::outside::fifo;

fn events(site: &Site) -> Vec<Value> {
    let events = std::fs::read_to_string(site.folder.path().join("events.ndjson")).unwrap();
    let events = events.lines().map(serde_json::from_str);
    events.collect::<Result<_, _>>().unwrap()
}

/// Two requests, with events in a file and to a port on which no server listens.
fn site() -> Site {
    let site = Site::new((0..150).map(|n| format!("site{n}.com")));
    let file = site.folder.path().join("events.ndjson");
    let lineage = format!(
        "[lineage]\nfile = \"{}\"\nurl = \"http://127.0.0.1:9/api/v1/lineage\"",
        file.display()
    );
    site.with(&lineage)
}

#[test]
fn a_run_tells_how_it_begins_and_ends_and_a_server_that_fails_changes_nothing() {
    let site = site();
    let output = site.program("run", &["--max-cost-usd", "0.03"]);
    let log = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{log}");
    assert!(log.contains("failed to send a lineage event"), "{log}");
    let output = site.program("run", &["-q"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let events = events(&site);
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| event["eventType"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["START", "FAIL", "START", "COMPLETE"]);
    let run = |at: usize| &events[at]["run"]["runId"];
    assert!(run(0) == run(1) && run(2) == run(3) && run(1) != run(2));
    let error = &events[1]["run"]["facets"]["errorMessage"]["message"];
    assert!(error.as_str().unwrap().contains("budget"), "{error}");
    let manifest = site.manifest();
    for output in events[3]["outputs"].as_array().unwrap() {
        let name = output["name"].as_str().unwrap();
        let table = name.rsplit('/').next().unwrap();
        let statistics = &output["outputFacets"]["outputStatistics"];
        assert_eq!(statistics["rowCount"], manifest["tables"][table]["rows"]);
        assert!(
            output["facets"]["schema"]["fields"]
                .as_array()
                .unwrap()
                .len()
                > 3
        );
    }
    assert_eq!(events[0]["outputs"][0]["outputFacets"], Value::Null);
}

#[test]
fn a_file_that_cannot_be_written_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    fifo(&pipe);
    // A FIFO without a reader would hold up the run.
    for file in [folder.path().join("none/events"), pipe] {
        let file = file.display().to_string();
        let site = Site::new(["example.com"]).with(&format!("[lineage]\nfile = \"{file}\""));
        let output = site.program("run", &[]);
        let log = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{log}");
        assert!(log.contains(&format!("failed to write {file}")), "{log}");
    }
}
