//! A target that the provider refuses costs no other target its response, and it is not asked for
//! every night.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backlake::contract::Table;
use backlake::error::ErrorKind;
use backlake::money::Usd;
use backlake::pipeline::{Progress, RunMode, StartMode, Surroundings, plan, run};
use backlake::simulator::{Behaviour, Poison, Scripted, Simulator};
use chrono::{DateTime, Utc};

use crate::harness::{Site, date, noon, simulator, surroundings};
use crate::scripted::{kind, pages, published, run_scripted};

#[tokio::test(start_paused = true)]
async fn a_refused_target_does_not_take_its_batch_down() {
    // All targets follow our rules; the scripted provider is stricter.
    let named = || {
        Scripted::ok(
            r#"{"status_code":20000,"cost":0,"tasks":[{"status_code":40501,"status_message":"Invalid Field: 'target' (https://example.com/7).","cost":0,"result":null}]}"#,
        )
    };
    // The named target is asked for alone and refused again: only then it counts as refused.
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
    // 8 → 7 of them, refused again → 6, which are returned; then the two that were left out.
    let (_, _, end) = run_scripted(8, [unnamed(), unnamed()]).await;
    published(&end);
    assert_eq!((end.report.fates.refused, end.report.requests), (0, 5));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_whose_targets_are_all_refused_is_held() {
    let (site, _, end) = run_scripted(4, (0..40).map(|_| Scripted::code(40501))).await;
    assert_eq!(kind(&end), Some(ErrorKind::Held));
    assert_eq!(
        (end.report.fates.refused, end.report.cost_usd),
        (4, Usd::ZERO)
    );
    assert!(!site.lake().join("pages").exists());
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_refused_with_an_unknown_code_is_taken_apart() {
    // The search ends with the bad target alone.
    let bad = Poison {
        targets: Arc::new([pages(8)[1].clone()].into()),
        code: 40999,
        ..Poison::default()
    };
    let site = Site::new(pages(8)).with("[api]\nmax_in_flight = 1");
    let (simulator, clock) = simulator(Behaviour {
        poison: bad,
        ..Behaviour::default()
    })
    .await;
    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    assert_eq!((end.report.fates.refused, end.report.fates.failed), (1, 0));
    // A refusal that costs money is repeated once, and then the batch has failed.
    let paid = || Scripted::coded(40999, "0.024");
    let (_, simulator, end) = run_scripted(8, [paid(), paid()]).await;
    assert_eq!(
        (kind(&end), end.report.fates.failed, simulator.requests()),
        (Some(ErrorKind::Held), 8, 2)
    );
    assert_eq!(end.report.cost_usd, "0.048".parse().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_refuses_everything_with_an_unknown_code_stops_the_run() {
    let all = pages(40_000);
    let poison = Poison {
        targets: Arc::new(all.iter().cloned().collect()),
        code: 40999,
        ..Poison::default()
    };
    let site = Site::new(all);
    let (simulator, clock) = simulator(Behaviour {
        poison,
        ..Behaviour::default()
    })
    .await;
    let end = site.run(&simulator, &clock).await.unwrap();
    assert_eq!(kind(&end), Some(ErrorKind::Account));
    let error = end.error.unwrap();
    assert!(error.to_string().contains("40999"), "{error}");
    assert_eq!(end.report.fates.unsent, 40_000, "{:?}", end.report.fates);
    assert!(simulator.requests() < 600, "{}", simulator.requests());
}

#[tokio::test(start_paused = true)]
async fn a_refused_target_is_asked_for_again_after_a_month() {
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
        first.report.requests > 2 && first.report.fates.refused == 1,
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
    // With `retry_refused_after` switched off, earlier refusals are ignored.
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
async fn a_response_after_a_night_of_refusals_is_not_paid_for_twice() {
    let site = Site::new(pages(6)).with("[api]\nmax_in_flight = 1\nmax_attempts = 1");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    // Everything is refused: the batch, its parts, and each target alone.
    simulator.script((0..30).map(|_| Scripted::code(40501)));
    let end = site.run(&simulator, &clock).await.unwrap();
    assert_eq!(
        (kind(&end), end.report.fates.refused),
        (Some(ErrorKind::Held), 6)
    );
    simulator.replace_script([]);
    // The provider recovers. The run is stopped after everything is paid for and before it
    // publishes.
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

#[tokio::test(start_paused = true)]
async fn the_report_tells_what_the_search_took_and_the_plan_what_it_will_take() {
    let site = Site::new(pages(2500));
    let bad: Vec<String> = [1777, 77].map(|n| pages(2500)[n].clone()).into();
    let poison = Poison {
        targets: Arc::new(bad.iter().cloned().collect()),
        ..Poison::default()
    };
    let (simulator, clock) = simulator(Behaviour {
        poison,
        ..Behaviour::default()
    })
    .await;
    let env = surroundings(&simulator, &clock);
    let pipeline = site.pipeline(&simulator.url());
    assert_eq!(plan(&pipeline, &env).await.unwrap().refused_before, None);
    let end = run(&pipeline, Default::default(), &env).await.unwrap();
    published(&end);
    let found = end.report.refusals.unwrap();
    let paid = simulator.ledger().len() as u64;
    assert_eq!(
        (found.found, found.skipped, found.requests_refused),
        (2, 0, end.report.requests - paid)
    );
    assert_eq!(found.responses_above_bound, paid - end.report.lower_bound);
    let per_request: Usd = "0.024".parse().unwrap();
    assert_eq!(
        found.cost_usd,
        Some(per_request * found.responses_above_bound)
    );
    let examples: Vec<&str> = found.examples.iter().map(|it| it.target.as_str()).collect();
    assert_eq!(examples, bad);
    assert!(found.examples[0].reason.starts_with("40501"));
    let month = chrono::Duration::days(30);
    assert_eq!(found.asked_again_from, Some(date() + month));

    // Until then they are skipped; after that the plan expects the search.
    let before = plan(&pipeline, &env).await.unwrap().refused_before.unwrap();
    assert_eq!(
        (before.skipped, before.skipped_until, before.asked_again),
        (2, Some(date() + month), 0)
    );
    assert_eq!((before.requests, before.cost_usd), (0, Usd::ZERO));
    clock
        .sleep(month.to_std().unwrap() + std::time::Duration::from_secs(60))
        .await;
    let before = plan(&pipeline, &env).await.unwrap().refused_before.unwrap();
    assert_eq!((before.skipped, before.asked_again), (0, 2));
    assert!(
        before.requests >= 4 && before.cost_usd > Usd::ZERO,
        "{before:?}"
    );
}

/// Nights with random lists, refusals, replacements and pauses. A model says which targets are remembered as refused; each
/// run must skip these and find the others.
#[tokio::test(start_paused = true)]
async fn a_target_is_skipped_exactly_while_its_last_request_was_refused_and_the_pause_lasts() {
    let (mut skipped_most, mut cleared, mut all_skipped, mut replaced) = (0, 0, 0, 0);
    for seed in 0..10 {
        let mut random = fastrand::Rng::with_seed(seed);
        let site = Site::new(pages(1)).with("[api]\nmax_in_flight = 1");
        let (first, clock) = simulator(Behaviour::default()).await;
        let mut pipeline = site.pipeline(&first.url());
        let mut remembered: BTreeMap<usize, DateTime<Utc>> = BTreeMap::new();
        let (mut now, mut may_replace) = (noon(), false);
        for night in 0..8 {
            let replaces = may_replace && random.u8(..3) == 0;
            now += match replaces {
                true => chrono::Duration::hours(1),
                false => chrono::Duration::days(1),
            };
            clock.sleep((now - clock.now()).to_std().unwrap()).await;
            pipeline.snapshot = now.date_naive();
            let days = if random.u8(..4) == 0 { 0 } else { 5 };
            let pause = chrono::Duration::days(days);
            pipeline.targets.retry_refused_after = pause;
            let size = 1 + random.usize(..6);
            let list: BTreeSet<usize> = (0..size).map(|_| random.usize(..8)).collect();
            let is_bad = |random: &mut fastrand::Rng| random.u8(..5) < 2;
            let bad: BTreeSet<usize> = (0..8).filter(|_| is_bad(&mut random)).collect();

            let recent = |target: &usize| {
                days > 0 && remembered.get(target).is_some_and(|at| *at >= now - pause)
            };
            let mut skipped: BTreeSet<usize> = list.iter().copied().filter(recent).collect();
            all_skipped += u32::from(skipped == list);
            if skipped == list {
                skipped.clear();
            }
            let asked: BTreeSet<usize> = &list - &skipped;
            let found = &asked & &bad;
            let held = found.len() + skipped.len() == list.len();

            let name = |n: &usize| format!("https://example.com/{n}");
            let lines: Vec<String> = list.iter().map(name).collect();
            site.write("targets.txt", lines.join("\n"));
            let poison = Poison {
                targets: Arc::new(bad.iter().map(name).collect()),
                ..Poison::default()
            };
            let behaviour = Behaviour {
                poison,
                date: Some(date()),
                ..Behaviour::default()
            };
            let simulator = Arc::new(Simulator::new(behaviour, &clock));
            let env = surroundings(&simulator, &clock);
            let mode = RunMode {
                start: if replaces {
                    StartMode::Replace
                } else {
                    StartMode::Continue
                },
                ..RunMode::default()
            };
            let end = run(&pipeline, mode, &env).await.unwrap();
            let case = format!("seed {seed}, night {night}: {list:?}, bad {bad:?}, {remembered:?}");
            assert_eq!(kind(&end), held.then_some(ErrorKind::Held), "{case}");
            let refusals = end.report.refusals;
            let told = refusals.map_or((0, 0), |told| (told.found, told.skipped));
            let expected = (found.len() as u64, skipped.len() as u64);
            assert_eq!(told, expected, "(found, skipped) in {case}");

            skipped_most += u32::from(2 * (skipped.len() + found.len()) > list.len());
            for good in &asked - &bad {
                cleared += u32::from(remembered.remove(&good).is_some());
            }
            // If most of the list is refused, the targets are probably not the cause.
            if found.len() <= list.len() / 2 {
                remembered.extend(found.iter().map(|target| (*target, now)));
            }
            replaced += u32::from(replaces);
            may_replace = !held;
        }
    }
    let seen = [skipped_most, cleared, all_skipped, replaced];
    assert!(seen.iter().all(|times| *times > 0), "{seen:?}");
}
