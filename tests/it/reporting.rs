//! The report of a snapshot is one page that loads nothing, runs nothing that a list contains, and
//! says what it cannot show.

use std::process::Output;

use backlake::contract::Table;

use crate::harness::{Site, program, text};

/// A site whose list has labels, published on so many nights up to 2026-11-23.
fn published(list: &str, nights: u32) -> Site {
    let site = Site::new(["https://unused.example/"]);
    let path = site.write("list.csv", list);
    let targets = format!("paths = [\"{}\"]\nkeep = [\"client\"]", path.display());
    let site = site.with_targets(&targets);
    for night in (0..nights).rev() {
        let date = format!("2026-11-{}", 23 - night);
        let output = site.program("run", &["-q", "--snapshot", &date]);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    site
}

#[test]
fn a_run_writes_the_page_if_asked_and_a_page_that_fails_is_only_a_warning() {
    let site = Site::new((0..50).map(|n| format!("https://example.com/{n}")));
    let site = site.with("[publish]\nreport = true");
    let output = site.program("run", &["-q"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let reports = site.lake().join("_reports");
    let page = std::fs::read_to_string(reports.join("2026-11-23.html")).unwrap();
    assert!(
        page.contains("Invented data") && page.ends_with("</html>"),
        "{page}"
    );
    assert_eq!(site.problems(), [""; 0]);
    // An earlier night is damaged, and then the folder cannot be written.
    let file = crate::harness::files(&site.lake(), Table::Pages).remove(0);
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[1..]).unwrap();
    let again = |date: &str| {
        let output = site.program("run", &["-q", "--output", "json", "--snapshot", date]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["state"], "published");
        report["warnings"].as_array().unwrap().clone()
    };
    let warnings = again("2026-11-24");
    let warned = warnings[0].as_str().unwrap();
    assert!(
        warned.contains("failed to write the report page"),
        "{warned}"
    );
    assert!(!reports.join("2026-11-24.html").exists());
    std::fs::write(&file, whole).unwrap();
    assert_eq!(again("2026-11-25"), [serde_json::Value::Null; 0]);
    std::fs::remove_dir_all(&reports).unwrap();
    std::fs::write(&reports, "not a folder").unwrap();
    assert_eq!(again("2026-11-26").len(), 1);
}

fn list(rows: impl IntoIterator<Item = (String, &'static str)>) -> String {
    let mut list = "url,client\n".to_owned();
    for (target, client) in rows {
        list.push_str(&format!("{target},{client}\n"));
    }
    list
}

fn pages(number: u32) -> String {
    let client = |n| if n % 3 == 0 { "Acme" } else { "Beta & Co" };
    list((0..number).map(|n| (format!("https://site{}.com/{n}", n / 40), client(n))))
}

fn report(site: &Site, args: &[&str]) -> Output {
    let lake = site.lake();
    program()
        .arg("report")
        .arg(lake)
        .args(args)
        .output()
        .unwrap()
}

fn page(site: &Site, args: &[&str]) -> String {
    let output = report(site, args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn one_night_shows_what_is_known_and_says_what_is_not() {
    let site = published(&pages(300), 1);
    let page = page(&site, &[]);
    for shown in [
        "Invented data",
        "<data value=\"300\">300</data></strong> lines read",
        "This report has only one night",
        "This needs a second night",
        "With one night nothing can be compared yet",
        "A trend needs at least two nights",
        "There is no earlier night to compare with",
        "Beta &amp; Co",
        "Acme",
    ] {
        assert!(page.contains(shown), "{shown}\n{page}");
    }
    assert!(!page.contains("Gained most"), "{page}");
}

#[test]
fn a_missing_night_is_named_and_not_filled() {
    let site = published(&pages(300), 4);
    std::fs::remove_file(site.lake().join("_snapshots/2026-11-22.json")).unwrap();
    let all = page(&site, &[]);
    assert!(all.contains("3 of 4 published"), "{all}");
    assert!(all.contains("2026-11-22</span> (open)"), "{all}");
    // The night before is missing, so there is no change over one night.
    assert!(!all.contains("data-sql=\"changes-1\""), "{all}");
    assert!(all.contains("Since 2026-11-21"), "{all}");
    assert!(all.contains("Since 2026-11-20"), "{all}");
    let older = page(&site, &["--snapshot", "2026-11-21", "--nights", "1"]);
    assert!(older.contains("2 of 2 published"), "{older}");
    assert!(!older.contains("2026-11-23"), "{older}");
}

#[test]
fn a_report_of_a_label_shows_its_pages_alone_and_a_label_that_no_line_has_is_an_error() {
    let site = published(&pages(300), 2);
    let all = page(&site, &[]);
    let acme = page(&site, &["--label", "client=Acme"]);
    assert!(acme.contains("Only pages whose"), "{acme}");
    assert!(!all.contains("Only pages whose"), "{all}");
    assert!(acme.contains("pages_of('client', 'Acme')"), "{acme}");
    for shared in ["Cost by label", "Beta &amp; Co", "lines read"] {
        assert!(acme.contains(shared), "{shared} in\n{acme}");
    }
    for (label, words) in [
        (
            "client=Nobody",
            "no line of 2026-11-23 has the label client=Nobody",
        ),
        ("market=Acme", "client=Beta & Co"),
        ("Acme", "such as client=Acme"),
    ] {
        let output = report(&site, &["--label", label]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(words), "{label}: {said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn the_budget_is_shown_and_why_lines_have_no_page() {
    let list = format!("{}no target at all,Acme\n", pages(60));
    let site = Site::new(["https://unused.example/"]);
    let path = site.write("list.csv", &list);
    let targets = format!("paths = [\"{}\"]\nkeep = [\"client\"]", path.display());
    let site = site
        .with_targets(&targets)
        .with("[budget]\nmax_cost_usd = \"7.50\"");
    let output = site.program("run", &["-q"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let page = page(&site, &[]);
    for shown in [
        "of a budget of",
        "$7.50",
        "contains white space",
        "Invalid, refused and failed lines",
    ] {
        assert!(page.contains(shown), "{shown} in\n{page}");
    }
}

#[test]
fn a_page_loads_nothing_and_every_image_and_header_has_a_name() {
    let site = published(&pages(300), 2);
    let page = page(&site, &[]);
    for start in [
        "src=",
        "@import",
        "url(",
        "<iframe",
        "<object",
        "<link rel=\"style",
        "http-equiv=\"refresh",
    ] {
        assert!(!page.contains(start), "{start} in\n{page}");
    }
    for (at, _) in page.match_indices("href=\"") {
        let to = &page[at + 6..];
        assert!(
            to.starts_with('#') || to.starts_with("data:,\""),
            "{}",
            &to[..40]
        );
    }
    assert!(page.contains("default-src 'none'"), "{page}");
    let after_svg = page.split("<svg ").skip(1);
    for svg in after_svg {
        let inner = svg.split_once('>').unwrap().1;
        assert!(inner.starts_with("<title>"), "{svg}");
    }
    for header in page
        .split("<th")
        .skip(1)
        .filter(|rest| !rest.starts_with("ead"))
    {
        assert!(header.starts_with(" scope="), "{header}");
    }
}

#[test]
fn what_a_list_contains_stays_text() {
    let long = format!("https://long.com/{}", "a".repeat(1_900));
    let hostile = [
        (
            "https://a-site.com/<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
        ),
        (
            "https://b-site.com/?q='--></style><b>",
            "'); DROP TABLE pages; --",
        ),
        ("https://c-site.com/moc\u{202e}live", "mid\u{200b}dle"),
        (long.as_str(), "{{7*7}}"),
    ];
    // Not every target has data, so each kind of line is there several times.
    let rows = (0..6).flat_map(|n| hostile.map(|(target, label)| (format!("{target}{n}"), label)));
    let site = published(&list(rows), 2);
    let page = page(&site, &[]);
    assert_eq!(page.matches("<script").count(), 1, "{page}");
    for raw in ["<img", "onerror=alert(1)>", "<b>", "\u{202e}", "\u{200b}"] {
        assert!(!page.contains(raw), "{raw:?} in\n{page}");
    }
    for shown in [
        "&lt;img src=x onerror=alert(1)&gt;",
        "mid\\u{200b}dle",
        "{{7*7}}",
    ] {
        assert!(page.contains(shown), "{shown} in\n{page}");
    }
}

#[test]
fn what_cannot_be_reported_is_said_and_nothing_is_written() {
    let site = published(&pages(100), 1);
    let out = site.folder.path().join("report.html");
    let written = out.display().to_string();
    let refused = |args: &[&str], code: i32, words: &str| {
        let output = report(&site, args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(
            said.contains(words) && said.contains("hint"),
            "{args:?}: {said}"
        );
        assert!(output.stdout.is_empty() && !out.exists());
    };
    let to = ["--out", written.as_str()];
    refused(
        &["--out", "/no/such/report.html"],
        2,
        "--out: failed to write /no/such/report.html",
    );
    refused(
        &["--snapshot", "2026-11-22", "--out", &written],
        2,
        "2026-11-22 is not published",
    );
    refused(&["--nights", "0"], 2, "--nights");
    let manifest = site.lake().join("_snapshots/2026-11-23.json");
    let whole = std::fs::read(&manifest).unwrap();
    std::fs::write(&manifest, &whole[..whole.len() / 2]).unwrap();
    refused(&to, 7, "failed to read _snapshots/2026-11-23.json");
    std::fs::write(&manifest, whole).unwrap();
    // A file of the right size with other content, then one that is too short, then none.
    let files = site.published_files();
    let (name, bytes) = files
        .iter()
        .find(|(name, _)| name.starts_with("pages/"))
        .unwrap();
    let file = site.lake().join(name);
    std::fs::write(&file, vec![0; bytes.len()]).unwrap();
    refused(&to, 7, "backlake verify");
    std::fs::write(&file, &bytes[1..]).unwrap();
    refused(&to, 7, "the manifest says");
    std::fs::remove_file(&file).unwrap();
    refused(&to, 7, "is missing");
    std::fs::remove_file(&manifest).unwrap();
    refused(&to, 2, "no snapshot is published");
}

#[test]
fn one_command_makes_nights_to_look_at_but_not_for_a_real_provider() {
    let site = Site::new((0..60).map(|n| format!("https://site{}.com/{n}", n / 20)));
    let simulated = |site: &Site| {
        let args = ["--nights", "3", "--date", "2026-11-23", "--stories"];
        site.program(
            "simulate",
            &[&args[..], &["-q", "--output", "json"]].concat(),
        )
    };
    // The second time, nothing is left to do.
    for expected in ["published", "already_published"] {
        let output = simulated(&site);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let nights: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let nights = nights.as_array().unwrap();
        let dates: Vec<_> = nights.iter().map(|night| &night["snapshot"]).collect();
        assert_eq!(dates, ["2026-11-21", "2026-11-22", "2026-11-23"]);
        assert!(nights.iter().all(|night| night["state"] == expected));
    }
    let page = page(&site, &[]);
    assert!(page.contains("3 of 3 published"), "{page}");
    assert!(page.contains("simulator, seed 1, stories"), "{page}");
    let real = site.with("[api]\nbase_url = \"https://api.dataforseo.com\"");
    let before = std::fs::read_dir(real.lake()).unwrap().count();
    let output = simulated(&real);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    let said = text(&output.stderr);
    assert!(said.contains("asks https://api.dataforseo.com"), "{said}");
    assert_eq!(std::fs::read_dir(real.lake()).unwrap().count(), before);
}

#[test]
fn a_night_on_which_the_index_changed_is_marked_in_the_plots() {
    let site = published(&pages(60), 3);
    let unmarked = page(&site, &[]);
    assert!(!unmarked.contains("class=\"mark\""), "{unmarked}");
    let file = site.lake().join("_alerts/2026-11-22.json");
    let stored = std::fs::read(&file).unwrap();
    let mut stored: serde_json::Value = serde_json::from_slice(&stored).unwrap();
    stored["alerts"] = serde_json::json!([{
        "rule": "index_shift", "key": "", "severity": "medium", "target": null, "root_domain": null,
        "labels": [], "detail": null, "before": 1.0, "after": 2.0, "what": "all pages moved",
        "since": "2026-11-22", "told": "2026-11-22", "quiet": false, "magnitude": 0.1, "pages": 0,
        "sql": ""
    }]);
    std::fs::write(&file, stored.to_string()).unwrap();
    let marked = page(&site, &[]);
    assert!(marked.contains("class=\"mark\""), "{marked}");
    let note = "index changed on <span class=\"night\">2026-11-22</span>";
    assert!(marked.contains(note), "{marked}");
}
