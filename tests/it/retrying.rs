//! A failure that passes is retried, one that does not pass stops the run, and the account's limits
//! are respected.

use std::sync::Arc;

use backlake::error::ErrorKind;
use backlake::fetch::{SendError, StreamingResponse, Transport};
use backlake::money::Usd;
use backlake::pipeline::{RunMode, RunState, Surroundings, run};
use backlake::simulator::{Behaviour, Fault, Scripted, What};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::Request;

use crate::harness::{Site, noon, program, simulator, surroundings, text};
use crate::scripted::{kind, pages, published, run_scripted};

#[tokio::test(start_paused = true)]
async fn a_failure_that_passes_is_retried() {
    for code in [40103, 40202, 40209, 50000, 50001, 50301, 50303, 50304] {
        let (_, simulator, end) =
            run_scripted(10, [Scripted::code(code), Scripted::code(code)]).await;
        published(&end);
        assert_eq!((end.report.requests, end.report.retries), (3, 2), "{code}");
        assert_eq!(end.report.cost_usd, simulator.ledger()[0].cost, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_does_not_pass_stops_the_run_with_a_hint() {
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
async fn a_batch_that_takes_too_long_is_retried_and_then_halved() {
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
    // Halving ends before every target has a request of its own.
    let (_, _, end) = run_scripted(1000, (0..1000).map(|_| Scripted::code(50401))).await;
    assert_eq!(
        (kind(&end), end.report.requests),
        (Some(ErrorKind::Held), 62)
    );
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_the_provider_requests_holds_back_all_batches() {
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
async fn a_provider_that_cannot_be_reached_costs_nothing() {
    let site = Site::new(pages(3));
    let refused = Fault {
        what: What::Refused,
        charged: false,
        share: 1.0,
        from: 0,
        until: u64::MAX,
        code: 0,
        seconds: 0.0,
        times: 1,
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
async fn after_the_last_try_the_snapshot_is_held_and_the_next_start_continues() {
    let site = Site::new(pages(1500)).with("[api]\nmax_in_flight = 1\nmax_attempts = 1");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    simulator.script([Scripted::code(50000)]);
    let end = site.run(&simulator, &clock).await.unwrap();
    assert_eq!(kind(&end), Some(ErrorKind::Held));
    assert_eq!((end.report.fates.failed, end.report.requests), (1000, 2));
    assert!(
        !site.lake().join("pages").exists(),
        "a partial snapshot is visible"
    );

    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    assert_eq!((end.report.fates.failed, end.report.requests), (0, 3));
    // The targets with a response of the first start were not asked for again.
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
async fn the_limits_of_the_account_are_respected() {
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

/// A network without the provider.
#[derive(Debug)]
struct Nowhere;

impl Transport for Nowhere {
    fn send(&self, _: Request<Bytes>) -> BoxFuture<'_, Result<StreamingResponse, SendError>> {
        Box::pin(async { Err(SendError::NotSent("connection refused".to_owned())) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_was_never_reached_stops_the_run_in_two_minutes() {
    let site = Site::new(pages(50_000));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    let env = Surroundings {
        transport: Some(Arc::new(Nowhere)),
        ..surroundings(&simulator, &clock)
    };
    let pipeline = site.pipeline(&simulator.url());
    let end = run(&pipeline, RunMode::default(), &env).await.unwrap();
    assert_eq!((end.report.requests, end.report.fates.unsent), (0, 50_000));
    let error = end.error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Held);
    let message = error.to_string();
    assert!(
        message.contains("the provider cannot be reached"),
        "{message}"
    );
    assert!(
        error.hint().contains("nothing was sent"),
        "{}",
        error.hint()
    );
    let seconds = (clock.now() - noon()).num_seconds();
    assert!((30..120).contains(&seconds), "{seconds}");
}
