//! Responses are not trusted, and credentials never leave the request.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use backlake::contract::Table;
use backlake::error::ErrorKind;
use backlake::money::Usd;
use backlake::simulator::{Behaviour, LOGIN, PASSWORD, Scripted};

use crate::harness::{Site, listening, program, text};
use crate::scripted::{kind, pages, published, run_scripted};

#[tokio::test(start_paused = true)]
async fn a_malformed_response_is_archived_and_retried() {
    let whole = include_bytes!("../../data/responses/01_seed_bulk_pages_summary_ok.json");
    let deep = format!(
        r#"{{"status_code":20000,"tasks":{}{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&vec![b' '; 8 << 20]).unwrap();
    let zipped = |body: Vec<u8>| Scripted {
        headers: vec![("content-encoding", "gzip".to_owned())],
        ..Scripted::ok(body)
    };
    let bomb = bomb.finish().unwrap();
    let mut cut = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    cut.write_all(whole).unwrap();
    let mut cut = cut.finish().unwrap();
    cut.truncate(cut.len() / 2);
    for (name, response) in [
        ("no JSON", Scripted::ok("<html>sorry</html>")),
        ("cut off", Scripted::ok(whole[..1500].to_vec())),
        ("empty", Scripted::ok("")),
        (
            "not UTF-8",
            Scripted::ok(b"{\"status_code\":20000,\"status_message\":\"\xff\"}".to_vec()),
        ),
        ("nested deep", Scripted::ok(deep)),
        ("a broken gzip", zipped(cut)),
        ("no gzip", zipped(b"plain".to_vec())),
        (
            "a server error",
            Scripted {
                status: 502,
                ..Scripted::ok("<html>502</html>")
            },
        ),
        (
            "another request's response",
            Scripted::ok(
                r#"{"status_code":20000,"cost":0.024,"tasks":[{"status_code":20000,"data":{"tag":"someone else's"},"result":[]}]}"#,
            ),
        ),
    ] {
        let (site, _, end) = run_scripted(10, [response]).await;
        published(&end);
        assert_eq!((end.report.requests, end.report.retries), (2, 1), "{name}");
        assert_eq!(
            end.report.fates.returned + end.report.fates.absent,
            10,
            "{name}"
        );
        let archived = site.lake().join("_archive/2026-11-23/00000-1.json.zst");
        // Every body is archived as received, readable or not.
        assert!(archived.exists(), "{name}");
        // The provider's task list shows no charge for it.
        assert_eq!(end.report.cost_unknown_usd, Usd::ZERO, "{name}");
    }
    // A retry would be as large, so a response that is too large is not paid for twice.
    for (name, response) in [
        ("too large", Scripted::ok(vec![b' '; 2 << 20])),
        ("a bomb", zipped(bomb)),
    ] {
        let (_, _, end) = run_scripted(10, [response]).await;
        assert_eq!(
            (kind(&end), end.report.requests),
            (Some(ErrorKind::Held), 1),
            "{name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_redirect_is_not_followed() {
    let redirect = Scripted {
        status: 307,
        headers: vec![("location", "http://127.0.0.1:9/steal".to_owned())],
        body: "".into(),
    };
    let (_, _, end) = run_scripted(3, [redirect]).await;
    assert_eq!(kind(&end), Some(ErrorKind::Account));
    assert!(end.error.unwrap().to_string().contains("HTTP 307"));
}

#[tokio::test(start_paused = true)]
async fn a_hostile_response_has_a_defined_end() {
    let good = |body: &str| Scripted::ok(body.to_owned());
    let item = r#"{"type":"backlinks_page_summary","url":"https://elsewhere.org/","backlinks":7}"#;
    let response = |item: &str| {
        good(&format!(
            r#"{{"status_code":20000,"cost":0.02,"tasks":[{{"status_code":20000,"cost":0.02,"result":[{{"items":[{item}]}}]}}]}}"#
        ))
    };
    // Items that were not asked for are kept as unmatched, and the targets are absent.
    let (_, _, end) = run_scripted(3, [response(item)]).await;
    published(&end);
    assert_eq!(
        (
            end.report.unmatched,
            end.report.fates.absent,
            end.report.requests
        ),
        (1, 3, 1)
    );
    // The content type is ignored.
    let mut typed = response(item);
    typed.headers = vec![("content-type", "text/html".to_owned())];
    let (_, _, end) = run_scripted(3, [typed]).await;
    assert_eq!((end.report.unmatched, end.report.requests), (1, 1));
    // Too many headers: not a response, so it is retried.
    let mut headers = response(item);
    headers
        .headers
        .extend((0..101).map(|n| ("x-more", n.to_string())));
    let (_, _, end) = run_scripted(3, [headers]).await;
    published(&end);
    assert_eq!((end.report.requests, end.report.retries), (2, 1));
    // Of a field that appears twice the last value counts: here a refusal, so one of three and the
    // other two are asked for.
    let twice = good(r#"{"status_code":20000,"status_code":40501,"cost":0,"tasks":[]}"#);
    let (_, _, end) = run_scripted(3, [twice]).await;
    published(&end);
    assert_eq!((end.report.requests, end.report.retries), (3, 0));
}

/// Starts `backlake simulate`, and returns the process and its URL.
fn start_simulator() -> (Child, String) {
    let mut server = program()
        .args(["simulate", "--port", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(server.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    let mut words = line.split_whitespace();
    let url = words.find(|word| word.starts_with("http://")).unwrap();
    (server, url.to_owned())
}

/// The files below a folder with their bytes, decompressed.
fn decompressed_files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(decompressed_files(&path));
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        if path.extension().is_some_and(|ending| ending == "zst") {
            bytes = zstd::decode_all(bytes.as_slice()).unwrap();
        }
        files.push((path, bytes));
    }
    files
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_repeats_the_credentials_does_not_get_them_into_logs_or_the_lake() {
    let pair = format!("{LOGIN}:{PASSWORD}");
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair);
    let percent = LOGIN.replace('@', "%40");
    let echo = format!("Basic {encoded}, {LOGIN} ({percent}), {PASSWORD}");
    let no_secret = |written: &[(PathBuf, Vec<u8>)]| {
        for secret in [PASSWORD, LOGIN, &percent, encoded.trim_end_matches('=')] {
            for (path, bytes) in written {
                let mut windows = bytes.windows(secret.len());
                let found = windows.any(|window| window == secret.as_bytes());
                assert!(!found, "{secret} is in {}", path.display());
            }
        }
    };
    let failed = [
        Scripted::ok(serde_json::json!({"status_code": 50000, "status_message": echo}).to_string()),
        Scripted {
            status: 502,
            ..Scripted::ok(format!("<html>{echo}</html>"))
        },
        Scripted {
            headers: vec![("content-encoding", "gzip".to_owned())],
            ..Scripted::ok(format!("no gzip: {echo}"))
        },
    ];
    for failed in failed {
        let (site, _, end) = run_scripted(10, [failed]).await;
        published(&end);
        no_secret(&decompressed_files(&site.lake()));
    }

    let simulator = listening(Behaviour::default()).await;
    // Paid, and without an item.
    simulator.script([Scripted::ok(
        serde_json::json!({
            "status_code": 20000, "status_message": echo, "version": echo, "cost": 0.024,
            "tasks": [{"id": echo, "status_code": 20000, "status_message": echo, "cost": 0.024, "result": [{"items": []}]}],
        })
        .to_string(),
    )]);
    let site = Site::new(pages(10));
    let file = site.write("pipeline.toml", site.text());
    let mut command = program();
    command
        .arg("run")
        .arg(&file)
        .args(["--base-url", &simulator.url(), "-vv", "--backfill"])
        .env("DATAFORSEO_LOGIN", LOGIN)
        .env("DATAFORSEO_PASSWORD", PASSWORD);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let log = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(log.contains("repeats the credentials"), "{log}");
    let archived = std::fs::read(site.lake().join("_archive/2026-11-23/00000-1.json.zst"));
    let archived = zstd::decode_all(archived.unwrap().as_slice()).unwrap();
    assert!(
        text(&archived).contains("\"Basic ****"),
        "{}",
        text(&archived)
    );
    let mut written = decompressed_files(&site.lake());
    for table in Table::ALL {
        let rows = format!("{:?}", site.table(table));
        written.push((table.name().into(), rows.into_bytes()));
    }
    written.push(("the log".into(), log.into_bytes()));
    no_secret(&written);
}

#[test]
fn a_login_in_a_url_is_refused_without_being_printed() {
    let site = Site::new(["https://example.com/"]);
    let list = site.folder.path().join("targets.txt");
    let list = format!("paths = [\"{}\"]", list.display());
    let file = |name: &str, targets: &str, lake: &str, base: &str| {
        let text = format!(
            "[targets]\n{targets}\n[api]\nbase_url = \"{base}\"\n[lake]\nurl = \"{lake}\"\n"
        );
        site.write(name, text).display().to_string()
    };
    let good = file("good.toml", &list, "lake", "simulator");
    let https = "https://me:SECRET@api.example.com";
    let odd = "https://me:SEC/RET@api.example.com";
    let s3 = "s3://key:SECRET@bucket/lake";
    let slash = "s3://key:SEC/RET@bucket/lake";
    let in_list = file(
        "list.toml",
        &format!("paths = [\"{s3}\"]"),
        "lake",
        "simulator",
    );
    let in_lake = file("lake.toml", &list, slash, "simulator");
    let in_base = file("base.toml", &list, "lake", odd);
    let cases: Vec<Vec<&str>> = vec![
        vec!["run", &in_list],
        vec!["run", &in_lake],
        vec!["run", &in_base],
        vec!["plan", &in_base],
        vec!["status", &in_lake],
        vec!["run", &good, "--base-url", https],
        vec!["run", &good, "--base-url", odd],
        vec!["run", &good, "--lake", s3],
        vec!["check", &good, "--lake", slash],
        vec!["verify", s3],
        vec!["sql", slash],
        vec!["snapshots", "gs://key:SECRET@bucket"],
    ];
    for args in cases {
        for more in [
            &["--output", "text"][..],
            &["--output", "json", "--log-format", "json", "-vv"],
        ] {
            let output = program().args(&args).args(more).output().unwrap();
            let printed = format!("{}{}", text(&output.stdout), text(&output.stderr));
            assert_eq!(output.status.code(), Some(2), "{args:?}: {printed}");
            assert!(!printed.contains("SEC"), "{args:?}: {printed}");
            let refused = ["credentials do not belong", "a login does not belong"];
            assert!(
                refused.iter().any(|why| printed.contains(why)),
                "{args:?}: {printed}"
            );
        }
    }
}

#[test]
fn credentials_appear_nowhere_in_what_a_run_leaves_behind() {
    let (mut server, url) = start_simulator();
    let site = Site::new(pages(10));
    let file = site.write("pipeline.toml", site.text());
    let password_file = site.write("password", PASSWORD);
    let wrong_password_file = site.write("wrong", "another-fake-password");
    let metrics = site.folder.path().join("lake.prom");
    let run = |password: &Path| {
        let output = program()
            .arg("run")
            .arg(&file)
            .args(["--base-url", &url, "-vv", "--metrics-file"])
            .arg(&metrics)
            .env("DATAFORSEO_LOGIN", LOGIN)
            .env("DATAFORSEO_PASSWORD_FILE", password)
            .output()
            .unwrap();
        let log = format!("{}{}", text(&output.stdout), text(&output.stderr));
        (output.status.code(), log)
    };
    let (refused, log_of_refusal) = run(&wrong_password_file);
    let (done, log) = run(&password_file);
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(
        (refused, done),
        (Some(3), Some(0)),
        "{log_of_refusal}\n{log}"
    );

    let pair = format!("{LOGIN}:{PASSWORD}");
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair);
    let metrics = std::fs::read(metrics).unwrap();
    let mut written = decompressed_files(&site.lake());
    assert!(written.len() > 8, "{} files", written.len());
    written.extend([
        ("the log".into(), log.into_bytes()),
        ("the log of a refusal".into(), log_of_refusal.into_bytes()),
        ("the metrics".into(), metrics),
    ]);
    for secret in [PASSWORD, "another-fake-password", encoded.as_str()] {
        for (path, bytes) in &written {
            let mut windows = bytes.windows(secret.len());
            let found = windows.any(|window| window == secret.as_bytes());
            assert!(!found, "a credential is in {}", path.display());
        }
    }
}
