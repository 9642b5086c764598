//! No answer is paid twice knowingly, none is lost, and whatever the network does has a defined end.

use std::io::Write as _;
use std::process::Stdio;

use backlake::contract::Table;
use backlake::error::ErrorKind;
use backlake::fate::Fates;
use backlake::money::Usd;
use backlake::pipeline::{RunEnd, RunState};
use backlake::simulator::{Behaviour, LOGIN, PASSWORD, Scripted, Simulator};

use crate::harness::{Site, noon, program, simulator, surroundings, text};

fn pages(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("https://example.com/{n}")).collect()
}

fn kind(end: &RunEnd) -> Option<ErrorKind> {
    end.error.as_ref().map(backlake::error::Error::kind)
}

fn published(end: &RunEnd) {
    assert!(end.error.is_none(), "{:?}", end.error);
    assert_eq!(end.report.state, RunState::Published);
    assert_eq!(end.report.lines, end.report.fates.total());
}

async fn run_scripted(
    count: usize,
    answers: impl IntoIterator<Item = Scripted>,
) -> (Site, Simulator, RunEnd) {
    let site = Site::new(pages(count)).with("[api]\nmax_in_flight = 1\nmax_answer_mib = 1");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    simulator.script(answers);
    let end = site.run(&simulator, &clock).await.unwrap();
    (site, simulator, end)
}

#[tokio::test]
async fn what_the_provider_says_will_pass_is_tried_again() {
    for code in [40103, 40202, 40209, 50000, 50001, 50301, 50303, 50304, 50401] {
        let (_, simulator, end) = run_scripted(10, [Scripted::code(code), Scripted::code(code)]).await;
        published(&end);
        assert_eq!((end.report.requests, end.report.retries), (3, 2), "{code}");
        assert_eq!(end.report.cost_usd, simulator.ledger()[0].cost, "{code}");
    }
}

#[tokio::test]
async fn what_will_not_pass_stops_the_run_and_names_what_to_do() {
    for (code, hint) in [
        (40100, "DATAFORSEO_LOGIN"),
        (40203, "daily limit"),
        (40207, "IP address"),
        (40210, "add credit"),
        (40205, "posted too often"),
        (40506, "defect of backlake"),
    ] {
        let (site, _, end) = run_scripted(10, [Scripted::code(code)]).await;
        assert_eq!(kind(&end), Some(ErrorKind::Account), "{code}");
        assert!(end.error.as_ref().unwrap().hint().contains(hint), "{code}: {}", end.error.unwrap().hint());
        assert_eq!((end.report.state, end.report.fates.unsent), (RunState::Open, 10));
        assert!(!site.lake().join("pages").exists());
    }
}

#[tokio::test]
async fn a_refused_target_does_not_take_its_batch_down() {
    // The list is of targets that keep our rules; the script plays a provider that is stricter.
    let named = || {
        Scripted::ok(
            r#"{"status_code":20000,"cost":0,"tasks":[{"status_code":40501,"status_message":"Invalid Field: 'target' (https://example.com/7).","cost":0,"result":null}]}"#,
        )
    };
    // The target that is named is asked alone, and refused again: only then it counts as refused.
    let (site, _, end) = run_scripted(20, [named(), named()]).await;
    published(&end);
    assert_eq!((end.report.fates.refused, end.report.requests, end.report.retries), (1, 3, 0));
    assert_eq!(site.table(Table::Targets).num_rows(), 20);

    let unnamed = || Scripted::code(40501);
    // 8 → 4+4 → the first half refused again → 2+2 → 1+1, alone.
    let (_, _, end) = run_scripted(8, [unnamed(), unnamed()]).await;
    published(&end);
    assert_eq!((end.report.fates.refused, end.report.requests), (0, 5));
}

#[tokio::test]
async fn a_night_in_which_everything_is_refused_is_held_open() {
    let (site, _, end) = run_scripted(4, (0..7).map(|_| Scripted::code(40501))).await;
    assert_eq!(kind(&end), Some(ErrorKind::TargetsFailed));
    assert_eq!((end.report.fates.refused, end.report.cost_usd), (4, Usd::ZERO));
    assert!(!site.lake().join("pages").exists());
    // A code that nobody knows refuses the batch; which of its targets is meant, it does not say.
    let (_, _, end) = run_scripted(4, [Scripted::code(40999)]).await;
    assert_eq!((kind(&end), end.report.fates.failed), (Some(ErrorKind::TargetsFailed), 4));
}

#[tokio::test]
async fn a_snapshot_holds_answers_to_one_question_only() {
    let mut site = Site::new(pages(1500))
        .with("[budget]\nmax_cost_usd = \"0.07\"\n[request]\nrank_scale = \"one_hundred\"");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    let end = site.run(&simulator, &clock).await.unwrap();
    assert_eq!(kind(&end), Some(ErrorKind::Budget));
    // What was answered is told as such, though it is not flattened yet.
    let report = end.report;
    assert_eq!(report.items, report.fates.returned + report.unmatched);
    assert_eq!(report.fates.returned + report.fates.absent, 1000);
    assert!(report.fates.returned > 900 && end.error.unwrap().hint().contains("--snapshot 2026-11-23"));
    site = site.replaced("one_hundred", "one_thousand");
    let error = site.run(&simulator, &clock).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("rank_scale is OneHundred there and OneThousand here"), "{error}");
    assert_eq!(simulator.ledger().len(), 1);
}

#[tokio::test]
async fn damaged_books_are_worked_around_and_nothing_is_published_without_its_answer() {
    let site = Site::new(pages(1500)).with("[api]\nmax_in_flight = 1\nmax_attempts = 1");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    simulator.script([Scripted::code(50000)]);
    site.run(&simulator, &clock).await.unwrap();
    let broken = |path: &str| std::fs::write(site.lake().join(path), "").unwrap();
    // As a power cut leaves them.
    broken("_runs/2026-11-23/attempts/00001-1.json");
    broken("_runs/2026-11-23/attempts/00000-1.json");
    broken("_archive/2026-11-23/00000-1.json.zst");
    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    let asked: usize = simulator.ledger().iter().map(|charge| charge.targets).sum();
    assert_eq!((end.report.requests, asked), (3, 1500));

    std::fs::remove_file(site.lake().join("_snapshots/2026-11-23.json")).unwrap();
    broken("_archive/2026-11-23/00002-1.json.zst");
    let end = site.run(&simulator, &clock).await;
    assert_eq!(end.unwrap_err().kind(), ErrorKind::TargetsFailed);
    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    assert_eq!(simulator.ledger().len(), 3, "the answer that was damaged is asked for again, once");
}

#[tokio::test]
async fn an_intent_that_is_lost_costs_no_answer_and_no_number_is_given_twice() {
    let site = Site::new(pages(1500)).with("[api]\nmax_in_flight = 1\nmax_attempts = 1");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    simulator.script([Scripted::code(50000)]);
    site.run(&simulator, &clock).await.unwrap();
    std::fs::write(site.lake().join("_runs/2026-11-23/intents/00001-1.json.zst"), "").unwrap();
    let paid = site.lake().join("_archive/2026-11-23/00001-1.json.zst");
    let before = std::fs::read(&paid).unwrap();
    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    assert_eq!(std::fs::read(paid).unwrap(), before, "a paid answer was written over");
    let ledger = simulator.ledger();
    assert_eq!(end.report.cost_usd, ledger.iter().map(|charge| charge.cost).sum());
    // The rows of the answer nobody can tell the question of are kept, beside those of the new one.
    assert_eq!(end.report.items, ledger.iter().map(|charge| charge.items as u64).sum::<u64>());
    assert_eq!(end.report.unmatched, ledger[0].items as u64);
}

#[tokio::test]
async fn an_answer_that_is_none_is_kept_and_asked_again() {
    let whole = include_bytes!("../../data/responses/01_seed_bulk_pages_summary_ok.json");
    let deep = format!(r#"{{"status_code":20000,"tasks":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
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
    for (name, answer) in [
        ("no JSON", Scripted::ok("<html>sorry</html>")),
        ("cut off", Scripted::ok(whole[..1500].to_vec())),
        ("empty", Scripted::ok("")),
        ("not UTF-8", Scripted::ok(b"{\"status_code\":20000,\"status_message\":\"\xff\"}".to_vec())),
        ("nested deep", Scripted::ok(deep)),
        ("a broken gzip", zipped(cut)),
        ("no gzip", zipped(b"plain".to_vec())),
        ("a server error", Scripted { status: 502, ..Scripted::ok("<html>502</html>") }),
        (
            "another request's answer",
            Scripted::ok(
                r#"{"status_code":20000,"cost":0.06,"tasks":[{"status_code":20000,"data":{"tag":"someone else's"},"result":[]}]}"#,
            ),
        ),
    ] {
        let (site, _, end) = run_scripted(10, [answer]).await;
        published(&end);
        assert_eq!((end.report.requests, end.report.retries), (2, 1), "{name}");
        assert_eq!(end.report.fates.returned + end.report.fates.absent, 10, "{name}");
        let archived = site.lake().join("_archive/2026-11-23/00000-1.json.zst");
        // What was received is kept as it was, whatever it was.
        assert!(archived.exists(), "{name}");
        assert!(!["no JSON", "cut off"].contains(&name) || end.report.cost_unknown_usd > Usd::ZERO, "{name}");
    }
    // What is too large would be as large again: it is not paid for twice.
    for (name, answer) in [("too large", Scripted::ok(vec![b' '; 2 << 20])), ("a bomb", zipped(bomb))] {
        let (_, _, end) = run_scripted(10, [answer]).await;
        assert_eq!((kind(&end), end.report.requests), (Some(ErrorKind::TargetsFailed), 1), "{name}");
        assert!(end.report.cost_unknown_usd > Usd::ZERO, "{name}");
    }
}

#[tokio::test]
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

#[tokio::test]
async fn when_the_tries_are_used_up_the_snapshot_is_held_open_and_the_next_start_goes_on() {
    let site = Site::new(pages(1500)).with("[api]\nmax_in_flight = 1\nmax_attempts = 1");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    simulator.script([Scripted::code(50000)]);
    let end = site.run(&simulator, &clock).await.unwrap();
    assert_eq!(kind(&end), Some(ErrorKind::TargetsFailed));
    assert_eq!((end.report.fates.failed, end.report.requests), (1000, 2));
    assert!(!site.lake().join("pages").exists(), "a partial snapshot is in sight");

    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    assert_eq!((end.report.fates.failed, end.report.requests), (0, 3));
    // The answer of the first start was not asked for again.
    let asked: usize = simulator.ledger().iter().map(|charge| charge.targets).sum();
    assert_eq!(asked, 1500);
    assert_eq!(end.report.cost_usd, simulator.ledger().iter().map(|charge| charge.cost).sum());
    let audit = program().args(["verify"]).arg(site.lake()).output().unwrap();
    assert!(audit.status.success(), "{}", text(&audit.stderr));
}

#[tokio::test]
async fn failures_within_the_ratio_are_published_with_their_fate() {
    let site = Site::new(pages(1500))
        .with("[api]\nmax_in_flight = 1\nmax_attempts = 1\n[publish]\nmax_failed_ratio = 0.7");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    simulator.script([Scripted::code(50000)]);
    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    assert_eq!(end.report.fates.failed, 1000);
}

#[tokio::test]
async fn at_the_budget_the_run_stops_before_the_request_that_it_does_not_cover() {
    let site = Site::new(pages(5000)).with("[budget]\nmax_cost_usd = \"0.13\"");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    let end = site.run(&simulator, &clock).await.unwrap();
    assert_eq!(kind(&end), Some(ErrorKind::Budget));
    assert_eq!(simulator.ledger().len(), 2);
    assert!(end.report.cost_usd <= "0.13".parse().unwrap());
    assert_eq!((end.report.fates.unsent, end.report.requests), (3000, 2));

    let text = site.text().replace("0.13", "1.00");
    let overrides = backlake::pipeline::Overrides { base_url: Some(simulator.url()), ..Default::default() };
    let pipeline = backlake::pipeline::Pipeline::parse("richer.toml", &text, overrides, &clock).unwrap();
    let end = backlake::pipeline::run(&pipeline, &surroundings(&clock)).await.unwrap();
    published(&end);
    assert_eq!(simulator.ledger().len(), 5);
}

#[tokio::test]
async fn an_account_without_funds_stops_the_run() {
    let site = Site::new(pages(5000)).with("[api]\nmax_in_flight = 1");
    let balance = "0.20".parse().unwrap();
    let (simulator, clock) = simulator(Behaviour { balance, ..Behaviour::default() }).await;
    let end = site.run(&simulator, &clock).await.unwrap();
    assert_eq!(kind(&end), Some(ErrorKind::Account));
    assert_eq!(end.report.requests as usize, simulator.ledger().len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_s_limits_are_kept() {
    let lines: Vec<String> = (0..6_000).map(|n| format!("site{n}.com")).collect();
    let site = Site::new(lines).with("[api]\nmax_in_flight = 7\nrequests_per_minute = 60");
    let limits = Behaviour { max_in_flight: 7, requests_per_minute: 75, ..Behaviour::default() };
    let (simulator, clock) = simulator(limits).await;
    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    assert_eq!((end.report.requests, end.report.retries), (60, 0));
    assert!(simulator.most_in_flight() <= 7);
    assert!((clock.now() - noon()).num_seconds() >= 50, "{}", clock.now());
}

#[tokio::test]
async fn nobody_listening_is_no_charge_and_ends() {
    let site = Site::new(pages(3));
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let clock = backlake::clock::Clock::simulated(noon());
    let pipeline = site.pipeline(&format!("http://{free}"));
    let end = backlake::pipeline::run(&pipeline, &surroundings(&clock)).await.unwrap();
    assert_eq!(kind(&end), Some(ErrorKind::TargetsFailed));
    assert_eq!((end.report.cost_unknown_usd, end.report.fates.failed), (Usd::ZERO, 3));
    assert_eq!(end.report.requests, 6);
}

#[tokio::test]
async fn a_changed_list_is_planned_on_top_of_what_is_archived() {
    let mut site = Site::new(pages(1500)).with("[api]\nmax_in_flight = 1\nmax_attempts = 1");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    simulator.script([Scripted::code(50000)]);
    site.run(&simulator, &clock).await.unwrap();
    let answered = simulator.ledger()[0].items as u64;
    // Only two of the answered targets stay in the list, and one is new.
    let path = site
        .write("other.txt", "https://example.com/999\nhttps://example.com/998\nhttps://example.com/new\n");
    site = site.with_targets(&format!("paths = [\"{}\"]", path.display()));
    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    assert_eq!(end.report.lines, 3);
    let Fates { returned, absent, .. } = end.report.fates;
    assert_eq!(returned + absent, 3);
    // What was paid for is kept, though no line asks for it any more.
    assert!(end.report.unmatched >= answered - 2 && end.report.items == returned + end.report.unmatched);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_killed_is_continued_and_its_answers_are_not_paid_again() {
    let site = Site::new((0..3_000).map(|n| format!("site{n}.com"))).with("[api]\nmax_in_flight = 2");
    let file = site.write("pipeline.toml", site.text());
    let (simulator, _) = simulator(Behaviour::default()).await;
    let start = || {
        let mut command = program();
        command.arg("run").arg(&file).args(["--base-url", &simulator.url()]);
        command.env("DATAFORSEO_LOGIN", LOGIN).env("DATAFORSEO_PASSWORD", PASSWORD);
        command
    };
    let mut child = start().stderr(Stdio::piped()).spawn().unwrap();
    // The log says when a tenth is fetched; that is the moment.
    let log = std::io::BufReader::new(child.stderr.take().unwrap());
    let fetched = std::io::BufRead::lines(log).map(Result::unwrap).find(|line| line.contains("fetched"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(fetched.is_some());
    // A file that was being written when the end came bears another ending.
    let files = std::fs::read_dir(site.lake().join("_archive/2026-11-23"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let archived = files.filter(|path| path.extension().is_some_and(|ending| ending == "zst")).count();
    let charged = simulator.ledger().len();
    assert!(archived >= 3 && charged - archived <= 2, "{archived} of {charged} are archived");

    let output = start().output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    // Of all that was charged before, only what was in flight is asked for again.
    assert_eq!(simulator.ledger().len(), 30 + charged - archived);
    let audit = program().arg("verify").arg(site.lake()).output().unwrap();
    assert!(audit.status.success(), "{}", text(&audit.stderr));
    assert_eq!(site.table(Table::Targets).num_rows(), 3_000);
}

#[test]
fn credentials_appear_nowhere_in_what_a_run_leaves_behind() {
    let mut server = program()
        .args(["simulate", "--port", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(server.stdout.take().unwrap()), &mut line)
        .unwrap();
    let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    let site = Site::new(pages(10));
    let file = site.write("pipeline.toml", site.text());
    let password_file = site.write("password", PASSWORD);
    let run = |password: &std::path::Path| {
        let output = program()
            .arg("run")
            .arg(&file)
            .args(["--base-url", &url, "-vv"])
            .env("DATAFORSEO_LOGIN", LOGIN)
            .env("DATAFORSEO_PASSWORD_FILE", password)
            .output()
            .unwrap();
        (output.status.code(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
    };
    let wrong = site.write("wrong", "another-fake-password");
    let (refused, log_of_refusal) = run(&wrong);
    let (done, log) = run(&password_file);
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!((refused, done), (Some(3), Some(0)), "{log_of_refusal}\n{log}");
    let encoded =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("{LOGIN}:{PASSWORD}"));
    let secrets = [PASSWORD, "another-fake-password", encoded.as_str()];
    for secret in secrets {
        assert!(!log.contains(secret) && !log_of_refusal.contains(secret), "a credential is in the log");
    }
    let mut folders = vec![site.lake()];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mut bytes = std::fs::read(&path).unwrap();
            if path.extension().is_some_and(|ending| ending == "zst") {
                bytes = zstd::decode_all(bytes.as_slice()).unwrap();
            }
            read += 1;
            for secret in secrets {
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "a credential is in {}", path.display());
            }
        }
    }
    assert!(read > 8, "{read} files");
}
