//! No answer is paid twice knowingly, none is lost, and whatever the network does has a defined end.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;

use backlake::contract::Table;
use backlake::error::ErrorKind;
use backlake::fate::Fates;
use backlake::money::Usd;
use backlake::pipeline::{
    BalanceMode, PricesFrom, Progress, RunEnd, RunMode, RunState, Surroundings, run,
};
use backlake::simulator::{Behaviour, Fault, LOGIN, PASSWORD, Poison, Scripted, Simulator, What};

use crate::harness::{Site, noon, program, simulator, surroundings, text};

fn pages(count: usize) -> Vec<String> {
    (0..count)
        .map(|n| format!("https://example.com/{n}"))
        .collect()
}

fn kind(end: &RunEnd) -> Option<ErrorKind> {
    end.error.as_ref().map(backlake::error::Error::kind)
}

fn published(end: &RunEnd) {
    assert!(end.error.is_none(), "{:?}", end.error);
    assert_eq!(end.report.state, RunState::Published);
    assert_eq!(end.report.lines, end.report.fates.total());
}

fn fault() -> Fault {
    Fault {
        what: What::Reset,
        charged: false,
        share: 1.0,
        from: 0,
        until: u64::MAX,
        code: 0,
        seconds: 0.0,
    }
}

async fn run_scripted(
    count: usize,
    answers: impl IntoIterator<Item = Scripted>,
) -> (Site, Arc<Simulator>, RunEnd) {
    let site = Site::new(pages(count)).with("[api]\nmax_in_flight = 1\nmax_response_mib = 1");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    simulator.script(answers);
    let end = site.run(&simulator, &clock).await.unwrap();
    (site, simulator, end)
}

#[tokio::test(start_paused = true)]
async fn what_the_provider_says_will_pass_is_tried_again() {
    for code in [40103, 40202, 40209, 50000, 50001, 50301, 50303, 50304] {
        let (_, simulator, end) =
            run_scripted(10, [Scripted::code(code), Scripted::code(code)]).await;
        published(&end);
        assert_eq!((end.report.requests, end.report.retries), (3, 2), "{code}");
        assert_eq!(end.report.cost_usd, simulator.ledger()[0].cost, "{code}");
    }
}

#[tokio::test(start_paused = true)]
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
        assert!(
            end.error.as_ref().unwrap().hint().contains(hint),
            "{code}: {}",
            end.error.unwrap().hint()
        );
        assert_eq!(
            (end.report.state, end.report.fates.unsent),
            (RunState::Open, 10)
        );
        assert!(!site.lake().join("pages").exists());
    }
}

#[tokio::test(start_paused = true)]
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
    assert_eq!(
        (
            end.report.fates.refused,
            end.report.requests,
            end.report.retries
        ),
        (1, 3, 0)
    );
    assert_eq!(site.table(Table::Targets).num_rows(), 20);

    let unnamed = || Scripted::code(40501);
    // 8 → 4+4 → the first half refused again → 2+2 → 1+1, alone.
    let (_, _, end) = run_scripted(8, [unnamed(), unnamed()]).await;
    published(&end);
    assert_eq!((end.report.fates.refused, end.report.requests), (0, 5));
}

#[tokio::test(start_paused = true)]
async fn a_night_in_which_everything_is_refused_is_held_open() {
    let (site, _, end) = run_scripted(4, (0..7).map(|_| Scripted::code(40501))).await;
    assert_eq!(kind(&end), Some(ErrorKind::Held));
    assert_eq!(
        (end.report.fates.refused, end.report.cost_usd),
        (4, Usd::ZERO)
    );
    assert!(!site.lake().join("pages").exists());
    // A code that nobody knows refuses the batch; which of its targets is meant, it does not say.
    let (_, _, end) = run_scripted(4, [Scripted::code(40999)]).await;
    assert_eq!(
        (kind(&end), end.report.fates.failed),
        (Some(ErrorKind::Held), 4)
    );
}

#[tokio::test(start_paused = true)]
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
    assert!(
        report.fates.returned > 900 && end.error.unwrap().hint().contains("--snapshot 2026-11-23")
    );
    site = site.replaced("one_hundred", "one_thousand");
    let error = site.run(&simulator, &clock).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(
        error
            .to_string()
            .contains("rank_scale is OneHundred there and OneThousand here"),
        "{error}"
    );
    assert_eq!(simulator.ledger().len(), 1);
}

#[tokio::test(start_paused = true)]
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
    assert_eq!(end.unwrap_err().kind(), ErrorKind::Held);
    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    assert_eq!(
        simulator.ledger().len(),
        3,
        "the answer that was damaged is asked for again, once"
    );
}

#[tokio::test(start_paused = true)]
async fn an_intent_that_is_lost_costs_no_answer_and_no_number_is_given_twice() {
    let site = Site::new(pages(1500)).with("[api]\nmax_in_flight = 1\nmax_attempts = 1");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    simulator.script([Scripted::code(50000)]);
    site.run(&simulator, &clock).await.unwrap();
    std::fs::write(
        site.lake()
            .join("_runs/2026-11-23/intents/00001-1.json.zst"),
        "",
    )
    .unwrap();
    let paid = site.lake().join("_archive/2026-11-23/00001-1.json.zst");
    let before = std::fs::read(&paid).unwrap();
    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    assert_eq!(
        std::fs::read(paid).unwrap(),
        before,
        "a paid answer was written over"
    );
    let ledger = simulator.ledger();
    assert_eq!(
        end.report.cost_usd,
        ledger.iter().map(|charge| charge.cost).sum()
    );
    // The rows of the answer nobody can tell the question of are kept, beside those of the new one.
    assert_eq!(
        end.report.items,
        ledger.iter().map(|charge| charge.items as u64).sum::<u64>()
    );
    assert_eq!(end.report.unmatched, ledger[0].items as u64);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_none_is_kept_and_asked_again() {
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
    for (name, answer) in [
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
            "another request's answer",
            Scripted::ok(
                r#"{"status_code":20000,"cost":0.06,"tasks":[{"status_code":20000,"data":{"tag":"someone else's"},"result":[]}]}"#,
            ),
        ),
    ] {
        let (site, _, end) = run_scripted(10, [answer]).await;
        published(&end);
        assert_eq!((end.report.requests, end.report.retries), (2, 1), "{name}");
        assert_eq!(
            end.report.fates.returned + end.report.fates.absent,
            10,
            "{name}"
        );
        let archived = site.lake().join("_archive/2026-11-23/00000-1.json.zst");
        // What was received is kept as it was, whatever it was.
        assert!(archived.exists(), "{name}");
        // What it cost is settled by the provider's list, which knows of no charge.
        assert_eq!(end.report.cost_unknown_usd, Usd::ZERO, "{name}");
    }
    // What is too large would be as large again: it is not paid for twice.
    for (name, answer) in [
        ("too large", Scripted::ok(vec![b' '; 2 << 20])),
        ("a bomb", zipped(bomb)),
    ] {
        let (_, _, end) = run_scripted(10, [answer]).await;
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
async fn when_the_tries_are_used_up_the_snapshot_is_held_open_and_the_next_start_goes_on() {
    let site = Site::new(pages(1500)).with("[api]\nmax_in_flight = 1\nmax_attempts = 1");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    simulator.script([Scripted::code(50000)]);
    let end = site.run(&simulator, &clock).await.unwrap();
    assert_eq!(kind(&end), Some(ErrorKind::Held));
    assert_eq!((end.report.fates.failed, end.report.requests), (1000, 2));
    assert!(
        !site.lake().join("pages").exists(),
        "a partial snapshot is in sight"
    );

    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    assert_eq!((end.report.fates.failed, end.report.requests), (0, 3));
    // The answer of the first start was not asked for again.
    let asked: usize = simulator.ledger().iter().map(|charge| charge.targets).sum();
    assert_eq!(asked, 1500);
    assert_eq!(
        end.report.cost_usd,
        simulator.ledger().iter().map(|charge| charge.cost).sum()
    );
    let audit = program()
        .args(["verify"])
        .arg(site.lake())
        .output()
        .unwrap();
    assert!(audit.status.success(), "{}", text(&audit.stderr));
}

#[tokio::test(start_paused = true)]
async fn failures_within_the_ratio_are_published_with_their_fate() {
    let site = Site::new(pages(1500))
        .with("[api]\nmax_in_flight = 1\nmax_attempts = 1\n[publish]\nmax_failed_ratio = 0.7");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    simulator.script([Scripted::code(50000)]);
    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    assert_eq!(end.report.fates.failed, 1000);
}

#[tokio::test(start_paused = true)]
async fn at_the_budget_the_run_stops_before_the_request_that_it_does_not_cover() {
    let site = Site::new(pages(5000)).with("[budget]\nmax_cost_usd = \"0.13\"");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    let end = site.run(&simulator, &clock).await.unwrap();
    assert_eq!(kind(&end), Some(ErrorKind::Budget));
    assert_eq!(simulator.ledger().len(), 2);
    assert!(end.report.cost_usd <= "0.13".parse().unwrap());
    assert_eq!((end.report.fates.unsent, end.report.requests), (3000, 2));

    let text = site.text().replace("0.13", "1.00");
    let overrides = backlake::pipeline::Overrides {
        base_url: Some(simulator.url()),
        ..Default::default()
    };
    let pipeline =
        backlake::pipeline::Pipeline::parse("richer.toml", &text, overrides, &clock).unwrap();
    let end = run(
        &pipeline,
        Default::default(),
        &surroundings(&simulator, &clock),
    )
    .await
    .unwrap();
    published(&end);
    assert_eq!(simulator.ledger().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_takes_too_long_is_tried_again_and_then_asked_in_halves() {
    let (_, simulator, end) =
        run_scripted(10, [Scripted::code(50401), Scripted::code(50401)]).await;
    published(&end);
    assert_eq!((end.report.requests, end.report.retries), (4, 1));
    assert_eq!(
        simulator
            .ledger()
            .iter()
            .map(|charge| charge.targets)
            .collect::<Vec<_>>(),
        [5, 5]
    );
    // It does not end in a request for each target.
    let (_, _, end) = run_scripted(1000, (0..1000).map(|_| Scripted::code(50401))).await;
    assert_eq!(
        (kind(&end), end.report.requests),
        (Some(ErrorKind::Held), 62)
    );
}

#[tokio::test(start_paused = true)]
async fn a_balance_that_does_not_cover_the_plan_is_said_before_the_first_request() {
    let site = Site::new(pages(5000)).with("[api]\nmax_in_flight = 1");
    let balance = "0.20".parse().unwrap();
    let (simulator, clock) = simulator(Behaviour {
        balance,
        ..Behaviour::default()
    })
    .await;
    let end = site.run(&simulator, &clock).await.unwrap();
    assert_eq!(
        (kind(&end), end.report.requests),
        (Some(ErrorKind::Account), 0)
    );
    let error = end.error.unwrap();
    assert!(
        error
            .to_string()
            .contains("balance of $0.20 does not cover")
            && error.hint().contains("--spend")
    );

    let pipeline = site.pipeline(&simulator.url());
    let mode = RunMode {
        balance: BalanceMode::SpendWhatIsLeft,
        ..RunMode::default()
    };
    let end = run(&pipeline, mode, &surroundings(&simulator, &clock))
        .await
        .unwrap();
    assert_eq!(kind(&end), Some(ErrorKind::Account));
    assert_eq!(
        (simulator.ledger().len(), end.report.fates.unsent),
        (3, 2000)
    );
    assert_eq!(end.report.requests as usize, simulator.ledger().len() + 1);
}

#[tokio::test(start_paused = true)]
async fn the_account_s_limits_are_kept() {
    let lines: Vec<String> = (0..6_000).map(|n| format!("site{n}.com")).collect();
    let site = Site::new(lines).with("[api]\nmax_in_flight = 7\nrequests_per_minute = 60");
    let limits = Behaviour {
        max_in_flight: 7,
        requests_per_minute: 75,
        ..Behaviour::default()
    };
    let (simulator, clock) = simulator(limits).await;
    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    assert_eq!((end.report.requests, end.report.retries), (60, 0));
    assert!(simulator.most_in_flight() <= 7);
    assert!(
        (clock.now() - noon()).num_seconds() >= 50,
        "{}",
        clock.now()
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_listening_is_no_charge_and_ends() {
    let site = Site::new(pages(3));
    let refused = Fault {
        what: What::Refused,
        ..fault()
    };
    let (simulator, clock) = simulator(Behaviour {
        faults: vec![refused],
        ..Behaviour::default()
    })
    .await;
    let end = site.run(&simulator, &clock).await.unwrap();
    assert_eq!(kind(&end), Some(ErrorKind::Held));
    assert_eq!(
        (end.report.cost_unknown_usd, end.report.fates.failed),
        (Usd::ZERO, 3)
    );
    assert_eq!(end.report.requests, 12);
}

#[tokio::test(start_paused = true)]
async fn a_changed_list_is_planned_on_top_of_what_is_archived() {
    let mut site = Site::new(pages(1500)).with("[api]\nmax_in_flight = 1\nmax_attempts = 1");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    simulator.script([Scripted::code(50000)]);
    site.run(&simulator, &clock).await.unwrap();
    let answered = simulator.ledger()[0].items as u64;
    // Only two of the answered targets stay in the list, and one is new.
    let path = site.write(
        "other.txt",
        "https://example.com/999\nhttps://example.com/998\nhttps://example.com/new\n",
    );
    site = site.with_targets(&format!("paths = [\"{}\"]", path.display()));
    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    assert_eq!(end.report.lines, 3);
    let Fates {
        returned, absent, ..
    } = end.report.fates;
    assert_eq!(returned + absent, 3);
    // What was paid for is kept, though no line asks for it any more.
    assert!(
        end.report.unmatched >= answered - 2 && end.report.items == returned + end.report.unmatched
    );
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
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(server.stdout.take().unwrap()),
        &mut line,
    )
    .unwrap();
    let url = line
        .split_whitespace()
        .find(|word| word.starts_with("http://"))
        .unwrap()
        .to_owned();
    let site = Site::new(pages(10));
    let file = site.write("pipeline.toml", site.text());
    let password_file = site.write("password", PASSWORD);
    let run = |password: &std::path::Path| {
        let output = program()
            .arg("run")
            .arg(&file)
            .args(["--base-url", &url, "-vv", "--metrics-file"])
            .arg(site.folder.path().join("lake.prom"))
            .env("DATAFORSEO_LOGIN", LOGIN)
            .env("DATAFORSEO_PASSWORD_FILE", password)
            .output()
            .unwrap();
        (
            output.status.code(),
            format!("{}{}", text(&output.stdout), text(&output.stderr)),
        )
    };
    let wrong = site.write("wrong", "another-fake-password");
    let (refused, log_of_refusal) = run(&wrong);
    let (done, log) = run(&password_file);
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(
        (refused, done),
        (Some(3), Some(0)),
        "{log_of_refusal}\n{log}"
    );
    let encoded = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        format!("{LOGIN}:{PASSWORD}"),
    );
    let secrets = [PASSWORD, "another-fake-password", encoded.as_str()];
    for secret in secrets {
        assert!(
            !log.contains(secret) && !log_of_refusal.contains(secret),
            "a credential is in the log"
        );
    }
    let metrics = std::fs::read_to_string(site.folder.path().join("lake.prom")).unwrap();
    assert!(
        secrets.iter().all(|secret| !metrics.contains(secret)),
        "a credential is in the metrics"
    );
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
                let found = bytes
                    .windows(secret.len())
                    .any(|window| window == secret.as_bytes());
                assert!(!found, "a credential is in {}", path.display());
            }
        }
    }
    assert!(read > 8, "{read} files");
}

#[tokio::test(start_paused = true)]
async fn a_refused_target_is_remembered_and_asked_again_after_a_month() {
    let site = Site::new(pages(50));
    let bad = "https://example.com/7".to_owned();
    let poison = Poison {
        targets: Arc::new([bad.clone()].into()),
        ..Poison::default()
    };
    let (simulator, clock) = simulator(Behaviour {
        poison,
        ..Behaviour::default()
    })
    .await;
    let mut pipeline = site.pipeline(&simulator.url());
    let first = run(
        &pipeline,
        Default::default(),
        &surroundings(&simulator, &clock),
    )
    .await
    .unwrap();
    published(&first);
    assert!(
        first.report.requests > 5 && first.report.fates.refused == 1,
        "{:?}",
        first.report
    );
    for (days, requests) in [(1, 1), (10, 1), (40, first.report.requests), (41, 1)] {
        let snapshot = noon() + chrono::Duration::days(days);
        clock
            .sleep((snapshot - clock.now()).to_std().unwrap())
            .await;
        pipeline.snapshot = snapshot.date_naive();
        let end = run(
            &pipeline,
            Default::default(),
            &surroundings(&simulator, &clock),
        )
        .await
        .unwrap();
        published(&end);
        assert_eq!(
            (end.report.requests, end.report.fates.refused),
            (requests, 1),
            "after {days} days"
        );
    }
    // Another host's refusals, or a memory that is switched off, keep nobody from asking.
    pipeline.targets.retry_refused_after = chrono::Duration::zero();
    pipeline.snapshot = (noon() + chrono::Duration::days(42)).date_naive();
    let end = run(
        &pipeline,
        Default::default(),
        &surroundings(&simulator, &clock),
    )
    .await
    .unwrap();
    assert_eq!(end.report.requests, first.report.requests);
}

#[tokio::test(start_paused = true)]
async fn what_the_provider_asks_to_wait_is_waited_by_all() {
    for (header, value, seconds) in [
        ("retry-after", "45", 45),
        ("x-ratelimit-remaining", "0", 50),
    ] {
        let (simulator, clock) = simulator(Behaviour::default()).await;
        clock.sleep(std::time::Duration::from_secs(10)).await;
        let mut busy = Scripted::code(50303);
        busy.headers.push((header, value.to_owned()));
        simulator.script([busy]);
        let site = Site::new(pages(3000)).with("[api]\nmax_in_flight = 1");
        let end = site.run(&simulator, &clock).await.unwrap();
        published(&end);
        assert_eq!(
            (end.report.requests, end.report.retries),
            (4, 1),
            "{header}"
        );
        let waited = (simulator.ledger()[0].posted - noon()).num_seconds() - 10;
        assert!(
            (seconds - 1..seconds + 6).contains(&waited),
            "{header}: {waited} s"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_hostile_answer_has_a_defined_end() {
    let good = |body: &str| Scripted::ok(body.to_owned());
    let item = r#"{"type":"backlinks_page_summary","url":"https://elsewhere.org/","backlinks":7}"#;
    let answer = |item: &str| {
        good(&format!(
            r#"{{"status_code":20000,"cost":0.03,"tasks":[{{"status_code":20000,"cost":0.03,"result":[{{"items":[{item}]}}]}}]}}"#
        ))
    };
    // Items that nobody asked for are kept as unmatched; what was asked is absent.
    let (_, _, end) = run_scripted(3, [answer(item)]).await;
    published(&end);
    assert_eq!(
        (
            end.report.unmatched,
            end.report.fates.absent,
            end.report.requests
        ),
        (1, 3, 1)
    );
    // A content type is not believed, in either direction.
    let mut typed = answer(item);
    typed.headers = vec![("content-type", "text/html".to_owned())];
    let (_, _, end) = run_scripted(3, [typed]).await;
    assert_eq!((end.report.unmatched, end.report.requests), (1, 1));
    // More headers than anyone needs, and a status twice: the answer is none, and it is asked again.
    let mut headers = answer(item);
    headers
        .headers
        .extend((0..101).map(|n| ("x-more", n.to_string())));
    let twice = good(r#"{"status_code":20000,"status_code":40501,"tasks":[]}"#);
    for hostile in [headers, twice] {
        let (_, _, end) = run_scripted(3, [hostile]).await;
        published(&end);
        assert_eq!((end.report.requests, end.report.retries), (2, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn the_account_s_prices_are_reckoned_with_unless_the_file_says_otherwise() {
    let dear = backlake::provider::Prices {
        per_request: "0.5".parse().unwrap(),
        per_row: Usd::ZERO,
    };
    let plan_of = |site: Site| async move {
        let (simulator, clock) = simulator(Behaviour {
            prices: dear,
            ..Behaviour::default()
        })
        .await;
        let pipeline = site.pipeline(&simulator.url());
        backlake::pipeline::plan(&pipeline, &surroundings(&simulator, &clock))
            .await
            .unwrap()
    };
    let report = plan_of(Site::new(pages(10))).await;
    assert_eq!(
        (
            report.cost_usd.to_string().as_str(),
            report.means.prices_from
        ),
        ("0.50", PricesFrom::Account)
    );
    assert_eq!(report.balance_covers, Some(true));
    let file = "[price]\nper_request_usd = \"0.1\"\nper_row_usd = \"0\"";
    let report = plan_of(Site::new(pages(10)).with(file)).await;
    assert_eq!(
        (
            report.cost_usd.to_string().as_str(),
            report.means.prices_from
        ),
        ("0.10", PricesFrom::File)
    );

    // A file that is wrong about the prices does not break the ceiling twice.
    let site = Site::new(pages(9000)).with(&format!(
        "{file}\n[budget]\nmax_cost_usd = \"1.2\"\n[api]\nmax_in_flight = 1"
    ));
    let (simulator, clock) = simulator(Behaviour {
        prices: dear,
        ..Behaviour::default()
    })
    .await;
    let end = site.run(&simulator, &clock).await.unwrap();
    assert_eq!(kind(&end), Some(ErrorKind::Budget));
    assert!(
        end.report.cost_usd <= "1.2".parse().unwrap(),
        "{}",
        end.report.cost_usd
    );
}

#[tokio::test(start_paused = true)]
async fn reconciling_finds_what_the_books_have_wrong() {
    let site = Site::new(pages(2500)).with("[api]\nmax_in_flight = 1");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    published(&site.run(&simulator, &clock).await.unwrap());
    let pipeline = site.pipeline(&simulator.url());
    let reconcile = || async {
        let env = surroundings(&simulator, &clock);
        backlake::pipeline::check(&pipeline, backlake::pipeline::CheckScope::Reconcile, &env)
            .await
            .unwrap()
            .reconciled
            .unwrap()
    };
    assert_eq!(reconcile().await.different, 0);
    // One entry is changed, and one attempt is lost with its intent.
    let books = site.lake().join("_runs/2026-11-23");
    let entry = books.join("attempts/00001-1.json");
    let text = std::fs::read_to_string(&entry).unwrap();
    let mut changed: serde_json::Value = serde_json::from_str(&text).unwrap();
    changed["cost_usd"] = "0.01".into();
    std::fs::write(entry, changed.to_string()).unwrap();
    std::fs::remove_file(books.join("attempts/00002-1.json")).unwrap();
    std::fs::remove_file(books.join("intents/00002-1.json.zst")).unwrap();
    let found = reconcile().await;
    assert_eq!(
        (found.requests, found.different),
        (2, 2),
        "{:?}",
        found.first_differences
    );
    assert!(
        found
            .first_differences
            .iter()
            .any(|line| line.contains("00001-1: $0.01 in the ledger"))
    );
    assert!(
        found
            .first_differences
            .iter()
            .any(|line| line.contains("00002-1: not in the ledger"))
    );
}

#[tokio::test(start_paused = true)]
async fn targets_that_were_answered_twice_have_one_row_that_counts() {
    let site = Site::new(pages(1500)).with("[api]\nmax_in_flight = 1\nmax_attempts = 1");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    simulator.script([Scripted::code(50000)]);
    site.run(&simulator, &clock).await.unwrap();
    // As two owners of the snapshot, neither of which knew of the other, would have left it.
    let books = site.lake().join("_runs/2026-11-23");
    let copy = |name: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let bytes = std::fs::read(site.lake().join(name)).unwrap();
        std::fs::write(
            site.lake().join(name.replace("00001-1", "00009-1")),
            change(bytes),
        )
        .unwrap();
    };
    let renumbered = |json: &[u8]| {
        let mut json: serde_json::Value = serde_json::from_slice(json).unwrap();
        json["id"]["batch"] = 9.into();
        json.to_string().into_bytes()
    };
    copy("_archive/2026-11-23/00001-1.json.zst", &|bytes| bytes);
    copy("_runs/2026-11-23/attempts/00001-1.json", &|bytes| {
        renumbered(&bytes)
    });
    copy("_runs/2026-11-23/intents/00001-1.json.zst", &|bytes| {
        zstd::encode_all(
            renumbered(&zstd::decode_all(bytes.as_slice()).unwrap()).as_slice(),
            3,
        )
        .unwrap()
    });
    assert!(books.join("intents/00009-1.json.zst").exists());
    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    let twice = simulator.ledger()[0].items as u64;
    assert_eq!((end.report.unmatched, end.report.fates.unsent), (twice, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_at_a_signal_is_awaited_for_so_long_and_then_settled_by_the_next_start() {
    let site = Site::new(pages(3000)).with("[api]\ndrain_seconds = 40");
    let latency = std::time::Duration::from_secs(60);
    let (simulator, clock) = simulator(Behaviour {
        latency,
        ..Behaviour::default()
    })
    .await;
    let env = surroundings(&simulator, &clock);
    let pipeline = site.pipeline(&simulator.url());
    let stop = env.stop.clone();
    let signal = async {
        clock.sleep(std::time::Duration::from_secs(5)).await;
        stop.request(backlake::stop::StopReason::Terminated);
    };
    let (end, ()) = tokio::join!(run(&pipeline, Default::default(), &env), signal);
    let end = end.unwrap();
    assert_eq!(
        (kind(&end), clock.running().as_secs()),
        (Some(ErrorKind::Terminated), 55)
    );
    assert_eq!((end.report.requests, end.report.fates.unsent), (3, 3000));
    assert!(end.report.cost_unknown_usd > Usd::ZERO);
    // The provider did them all the same: they are asked again, and both charges are in the books.
    clock.sleep(latency).await;
    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    let charged: Usd = simulator.ledger().iter().map(|charge| charge.cost).sum();
    assert_eq!(
        (end.report.cost_usd, end.report.cost_unknown_usd),
        (charged, Usd::ZERO)
    );
    assert_eq!(simulator.ledger().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_after_a_night_of_refusals_is_not_asked_again() {
    let site = Site::new(pages(6)).with("[api]\nmax_in_flight = 1\nmax_attempts = 1");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    // Everything is refused: the batch, its halves, and each target alone.
    simulator.script((0..30).map(|_| Scripted::code(40501)));
    let end = site.run(&simulator, &clock).await.unwrap();
    assert_eq!(
        (kind(&end), end.report.fates.refused),
        (Some(ErrorKind::Held), 6)
    );
    simulator.replace_script([]);
    // The provider has come to its senses; the run is stopped when all is paid, and before it publishes.
    let env = surroundings(&simulator, &clock);
    let stop = env.stop.clone();
    let on_progress = move |progress: Progress| {
        if matches!(progress, Progress::Publishing { .. }) {
            stop.request(backlake::stop::StopReason::Terminated);
        }
    };
    let stopped = run(
        &site.pipeline(&simulator.url()),
        Default::default(),
        &Surroundings {
            on_progress: &on_progress,
            ..env
        },
    )
    .await;
    assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Terminated);
    assert_eq!(simulator.ledger().len(), 1);
    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    assert_eq!((simulator.ledger().len(), end.report.unmatched), (1, 0));
}
