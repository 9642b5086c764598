//! A webhook hears how each run ended and what needs attention. It never changes a run, and nothing in
//! a list acts on it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

use crate::harness::{Site, text};
use crate::stories::attacked;

/// A webhook on loopback, and what it was told.
struct Hook {
    url: String,
    told: Arc<Mutex<Vec<String>>>,
}

impl Hook {
    /// A webhook that fails so many times before it accepts.
    fn start(failures: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook/SECRET", listener.local_addr().unwrap());
        let told = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&told);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let mut length = 0;
                for line in stream.by_ref().lines().map_while(Result::ok) {
                    let line = line.to_ascii_lowercase();
                    if let Some(value) = line.strip_prefix("content-length: ") {
                        length = value.parse().unwrap();
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let mut told = seen.lock();
                told.push(text(&body));
                let status = match told.len() <= failures {
                    true => "503 Service Unavailable",
                    false => "200 OK",
                };
                let response =
                    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
                let _ = stream.get_mut().write_all(response.as_bytes());
            }
        });
        Self { url, told }
    }

    /// What it was told since the last call.
    fn told(&self) -> Vec<Value> {
        let told = std::mem::take(&mut *self.told.lock());
        told.iter()
            .map(|body| serde_json::from_str(body).unwrap())
            .collect()
    }
}

/// A run that tells this webhook; its exit code, report and log.
fn run(site: &Site, url: Option<&str>, args: &[&str]) -> (i32, Value, String) {
    let file = site.write("pipeline.toml", site.text());
    let mut program = crate::harness::program();
    program
        .arg("run")
        .arg(file)
        .args(["--output", "json"])
        .args(args);
    if let Some(url) = url {
        program.env("HOOK", url);
    }
    let output = program.output().unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap();
    let log = text(&output.stderr);
    assert!(!log.contains("SECRET"), "{log}");
    (output.status.code().unwrap(), report, log)
}

fn site(format: &str) -> Site {
    let notify = format!("[notify]\nurl_env = \"HOOK\"\nformat = \"{format}\"");
    Site::new((0..150).map(|n| format!("site{n}.com"))).with(&notify)
}

#[test]
fn a_webhook_is_told_of_each_end_that_a_person_should_know_of() {
    let hook = Hook::start(0);
    let site = site("json");
    let (code, ..) = run(&site, Some(&hook.url), &["--max-cost-usd", "0.03"]);
    let told = hook.told();
    assert_eq!((code, told.len()), (4, 1), "{told:#?}");
    assert_eq!(
        (&told[0]["event"], &told[0]["exit_code"]),
        (&"failed".into(), &4.into())
    );
    assert!(
        told[0]["hint"].is_string() && told[0]["invented"] == true,
        "{told:#?}"
    );
    let (code, report, _) = run(&site, Some(&hook.url), &[]);
    let told = hook.told();
    assert_eq!((code, told.len()), (0, 1));
    assert_eq!(told[0]["event"], "finished");
    assert_eq!(
        (&told[0]["run"], &told[0]["fates"]),
        (&report["run"], &report["fates"])
    );
    assert_eq!(report["warnings"], Value::Array(Vec::new()));
    // The snapshot is published: nothing is sent, and nothing is told.
    assert_eq!(run(&site, Some(&hook.url), &[]).0, 0);
    assert_eq!(hook.told(), Vec::<Value>::new());
    // A wrong list is told, too.
    let lost = site.with_targets("paths = [\"/no/such/list.txt\"]");
    assert_eq!(
        run(&lost, Some(&hook.url), &["--snapshot", "2026-11-24"]).0,
        2
    );
    assert_eq!(hook.told()[0]["exit_code"], 2);
    // Only what was asked for.
    let quiet = lost.with("on = [\"held\"]");
    assert_eq!(
        run(&quiet, Some(&hook.url), &["--snapshot", "2026-11-24"]).0,
        2
    );
    assert_eq!(hook.told(), Vec::<Value>::new());
}

#[test]
fn a_webhook_that_fails_is_tried_again_or_a_warning_and_never_changes_the_run() {
    let hook = Hook::start(1);
    for (url, tries, warning) in [
        (Some(hook.url.as_str()), 2, ""),
        (
            Some("ftp://example.com/SECRET"),
            0,
            "HOOK is not an https:// URL",
        ),
        (
            Some("http://example.com/SECRET"),
            0,
            "HOOK is not an https:// URL",
        ),
        (None, 0, "HOOK is not set"),
    ] {
        let site = site("json");
        let (code, report, _) = run(&site, url, &[]);
        assert_eq!((code, &report["state"]), (0, &"published".into()));
        assert_eq!(hook.told().len(), tries, "{url:?}");
        let warnings = report["warnings"].to_string();
        assert_eq!(warnings == "[]", warning.is_empty(), "{warnings}");
        assert!(
            warnings.contains(warning) && !warnings.contains("SECRET"),
            "{warnings}"
        );
    }
}

#[test]
fn nothing_in_a_list_acts_in_slack() {
    let hook = Hook::start(0);
    let target = |n| {
        format!(
            "https://site{}.com/<https://evil.example|bank>@here{n}",
            n / 40
        )
    };
    let rows = attacked(target, 2).into_iter();
    let rows = rows.map(|target| format!("{target},<!channel> & @here\n"));
    let site = site("slack").with("[simulator]\nstories = true");
    let list = site.write(
        "list.csv",
        format!("url,client\n{}", rows.collect::<String>()),
    );
    let targets = format!("paths = [\"{}\"]\nkeep = [\"client\"]", list.display());
    let site = site.with_targets(&targets);
    let mut alerts = 0;
    for day in 11..13 {
        let date = format!("2026-11-{day}");
        let (code, report, _) = run(&site, Some(&hook.url), &["-q", "--snapshot", &date]);
        assert_eq!(code, 0);
        alerts += report["alerts"].as_array().unwrap().len();
    }
    let told = hook.told();
    assert!(told.len() == 2 && alerts >= 2, "{alerts} {told:#?}");
    for message in &told {
        let keys: Vec<_> = message.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["mrkdwn", "text", "unfurl_links", "unfurl_media"]);
        assert_eq!(message["mrkdwn"], false);
        let text = message["text"].as_str().unwrap();
        for active in ["<", ">", "://", "@here", "evil.example"] {
            assert!(!text.contains(active), "{active} in {text}");
        }
    }
    let all: String = told
        .iter()
        .map(|message| message["text"].as_str().unwrap())
        .collect();
    assert!(
        all.contains(":\u{2060}//evil.\u{2060}example")
            && all.contains("the snapshot is published"),
        "{all}"
    );
}
