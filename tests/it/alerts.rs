//! What needs attention is told once, in every place where someone may look, and never changes a run.

use backlake::alerts::rules_markdown;
use backlake::clock::Clock;
use chrono::Days;
use serde_json::Value;

use crate::harness::{Site, program, text};
use crate::stories::attacked;

#[test]
fn the_documentation_of_the_rules_is_generated_from_the_code() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/alerts.md");
    let written = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = written.split_once("<!-- rules: generated -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- end -->").unwrap();
    let table = rules_markdown();
    let expected = format!("{before}<!-- rules: generated -->\n{table}<!-- end -->{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &expected).unwrap();
    }
    let hint = "run UPDATE_DOCS=1 cargo test --test it the_documentation_of_the_rules";
    assert!(
        std::fs::read_to_string(&file).unwrap() == expected,
        "{hint}"
    );
}

/// A site with hostile targets and labels, of which some are attacked.
fn site() -> Site {
    let site = Site::new(["https://unused.example/"]);
    let target = |n| format!("https://site{}.com/{}/<b>@here</b>'{n}", n / 40, n % 7);
    let mut list = "url,client\n".to_owned();
    for (n, target) in attacked(target, 2).into_iter().enumerate() {
        let client = ["Acme", "<!channel> & Co", "x'); DROP TABLE pages; --"][n % 3];
        list.push_str(&format!("{target},{client}\n"));
    }
    let path = site.write("list.csv", list);
    let targets = format!("paths = [\"{}\"]\nkeep = [\"client\"]", path.display());
    site.with_targets(&targets)
        .with("[simulator]\nstories = true")
}

fn run(site: &Site, date: &str) -> Value {
    run_with(site, date, &[])
}

fn run_with(site: &Site, date: &str, more: &[&str]) -> Value {
    let args = ["-q", "--output", "json", "--snapshot", date];
    let output = site.program("run", &[&args, more].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What `backlake alerts` says, and its exit code.
fn alerts(site: &Site, args: &[&str]) -> (Value, i32) {
    let lake = site.lake();
    let output = program()
        .arg("alerts")
        .arg(lake)
        .args(["--output", "json"])
        .args(args)
        .output()
        .unwrap();
    let found = serde_json::from_slice(&output.stdout).unwrap();
    (found, output.status.code().unwrap())
}

#[test]
fn alerts_are_in_the_report_the_lake_and_the_list_and_quiet_afterwards() {
    let site = site();
    run(&site, "2026-11-11");
    let report = run(&site, "2026-11-12");
    let told = report["alerts"].as_array().unwrap();
    let spam = told.iter().filter(|alert| alert["rule"] == "spam");
    assert_eq!(spam.count(), 2, "{told:#?}");
    assert_eq!(report["warnings"], Value::Array(Vec::new()));
    // A repeated start reports the same alerts, so its metrics are the same.
    let again = run(&site, "2026-11-12");
    assert_eq!(again["state"], "already_published");
    assert_eq!(again["alerts"], report["alerts"]);
    let date = report["snapshot"].as_str().unwrap();
    let stored = std::fs::read(site.lake().join(format!("_alerts/{date}.json"))).unwrap();
    let stored: Value = serde_json::from_slice(&stored).unwrap();
    let (listed, code) = alerts(&site, &["--snapshot", date]);
    assert_eq!(
        (code, alerts(&site, &["--snapshot", date, "--fail"]).1),
        (0, 7)
    );
    let ours = |found: &Value| -> Vec<Value> {
        let all = found["alerts"].as_array().unwrap().iter();
        // How old the snapshot is depends on when the list is made.
        all.filter(|alert| alert["rule"] != "stale")
            .cloned()
            .collect()
    };
    assert_eq!(ours(&listed), ours(&stored));
    let loud = ours(&stored)
        .into_iter()
        .filter(|alert| alert["quiet"] == false);
    assert_eq!(&loud.collect::<Vec<_>>(), told);
    // What was told is not told again.
    let later = run(&site, "2026-11-13");
    let of_spam = |report: &Value| -> Vec<Value> {
        let alerts = report["alerts"].as_array().unwrap().iter();
        let spam = alerts.filter(|alert| alert["rule"] == "spam");
        spam.map(|alert| alert["target"].clone()).collect()
    };
    let again = of_spam(&later);
    assert!(
        of_spam(&report)
            .iter()
            .all(|target| !again.contains(target)),
        "{later:#}"
    );
    for alert in ours(&stored) {
        assert!(
            alert["sql"].as_str().unwrap().starts_with(['S', 'W']),
            "{alert:#}"
        );
        if alert["target"].is_string() {
            assert_eq!(alert["labels"].as_array().unwrap().len(), 1, "{alert:#}");
        }
    }
    // The page shows it, and what a list contains stays text.
    let shown = |site: &Site, date: &str| {
        let output = site.program("report", &["--snapshot", date]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let page = shown(&site, "2026-11-12");
    assert!(page.contains("its spam score is in the band"), "{page}");
    assert!(page.contains("&lt;!channel&gt;") && !page.contains("<!channel>"));
    assert_eq!(site.problems(), [""; 0]);
    // The file is damaged: everything is told again, and the run is as good as before.
    std::fs::write(site.lake().join("_alerts/2026-11-13.json"), "{").unwrap();
    assert!(
        shown(&site, "2026-11-13")
            .contains("cannot be read: failed to read _alerts/2026-11-13.json")
    );
    assert_eq!(
        run(&site, "2026-11-14")["warnings"],
        Value::Array(Vec::new())
    );
    // Nothing can be written.
    std::fs::remove_dir_all(site.lake().join("_alerts")).unwrap();
    // Without a list of what was told, the page goes by the pipeline file.
    assert!(shown(&site, "2026-11-12").contains("its spam score is in the band"));
    let silent = site.with("[alerts]\nenabled = false");
    assert!(shown(&silent, "2026-11-12").contains("Alerts are switched off"));
    let picky = silent.replaced("enabled = false", "off = [\"spam\", \"index_shift\"]");
    let page = shown(&picky, "2026-11-12");
    assert!(!page.contains("its spam score is in the band"));
    // What was not looked for is not said to be fine.
    assert!(page.contains("The rule index_shift is switched off.") && !page.contains("no jump"));
    let site = picky.replaced("[\"spam\", \"index_shift\"]", "[]");
    std::fs::write(site.lake().join("_alerts"), "not a folder").unwrap();
    let report = run(&site, "2026-11-15");
    let warning = report["warnings"][0].as_str().unwrap();
    assert!(warning.contains("failed to look for alerts"), "{warning}");
    assert_eq!(report["state"], "published");
}

#[test]
fn a_snapshot_that_replaces_another_one_tells_only_what_is_new() {
    let site = site();
    run(&site, "2026-11-11");
    let first = run(&site, "2026-11-12");
    let told = first["alerts"].as_array().unwrap().len() as u64;
    assert!(told > 0, "{first:#}");
    let stored = || std::fs::read(site.lake().join("_alerts/2026-11-12.json")).unwrap();
    let (before, quiet) = (stored(), first["quiet_alerts"].as_u64().unwrap());
    let again = run_with(&site, "2026-11-12", &["--replace"]);
    assert_eq!(again["state"], "published", "{again:#}");
    assert_eq!(again["alerts"], Value::Array(Vec::new()), "{again:#}");
    assert_eq!(again["quiet_alerts"], quiet + told, "{again:#}");
    // The lake has all alerts of the snapshot as before.
    assert_eq!(text(&stored()), text(&before));
}

#[test]
fn a_date_whose_manifest_is_damaged_is_told_even_if_it_is_the_newest() {
    let site = site();
    let today = Clock::system().today();
    let [first, second, third] = [3, 2, 1].map(|days| (today - Days::new(days)).to_string());
    run(&site, &first);
    run(&site, &second);
    let manifest = site.lake().join(format!("_snapshots/{second}.json"));
    // One of a newer format is not damaged: what the newest snapshot is, is not known.
    let written = std::fs::read_to_string(&manifest).unwrap();
    let newer = written.replacen("\"format\": 1", "\"format\": 99", 1);
    std::fs::write(&manifest, newer).unwrap();
    let (said, code) = alerts(&site, &[]);
    assert_eq!(code, 2, "{said:#}");
    let message = said["error"]["message"].as_str().unwrap();
    assert!(message.contains("has format 99"), "{said:#}");
    std::fs::write(manifest, "{").unwrap();
    let unpublished = |found: &Value| -> Vec<String> {
        let all = found["alerts"].as_array().unwrap().iter();
        let ours = all.filter(|alert| alert["rule"] == "unpublished");
        ours.map(|alert| alert["what"].as_str().unwrap().to_owned())
            .collect()
    };
    let names_it = |told: &[String]| {
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].starts_with(&format!("{second} is damaged")),
            "{told:?}"
        );
    };
    let (listed, _) = alerts(&site, &[]);
    assert_eq!(listed["snapshot"], first, "{listed:#}");
    names_it(&unpublished(&listed));
    names_it(&unpublished(&run(&site, &third)));
}
