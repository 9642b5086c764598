//! A snapshot with findings is held if the pipeline file says so, and published once someone
//! accepts it; a lake never mixes invented and real data.

use backlake::error::ErrorKind;
use backlake::pipeline::{FindingsMode, RunMode, RunState, plan, replay, run};
use backlake::simulator::Behaviour;

use crate::harness::{Site, drifting, mixed_targets as lines, simulator, surroundings};

#[tokio::test(start_paused = true)]
async fn drift_holds_a_snapshot_until_it_is_accepted() {
    let site = Site::new(lines(1200)).with("[publish]\non_drift = \"hold\"");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    let env = drifting(&simulator, &clock, |n, item| {
        item["rank"] = if n == 0 { "high".into() } else { 7.into() };
    });
    let pipeline = site.pipeline(&simulator.url());
    let held = run(&pipeline, RunMode::default(), &env).await.unwrap();
    let error = held.error.unwrap();
    assert_eq!(
        (error.kind(), held.report.state),
        (ErrorKind::Held, RunState::Open)
    );
    assert!(
        error.to_string().contains("`rank` does not fit its type")
            && error.hint().contains("--accept"),
        "{error}"
    );
    assert!(!site.lake().join("pages").exists() && !site.lake().join("_snapshots").exists());
    let asked = simulator.requests();

    let env = surroundings(&simulator, &clock);
    let end = replay(&pipeline, FindingsMode::Accept, &env).await.unwrap();
    assert_eq!(
        (end.report.state, simulator.requests()),
        (RunState::Published, asked)
    );
    assert_eq!(site.problems(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_change_against_the_previous_snapshot_holds_it_until_it_is_accepted() {
    let site = Site::new(lines(1500));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    assert!(site.run(&simulator, &clock).await.unwrap().error.is_none());
    site.write(
        "targets.txt",
        lines(300).map(|target| target + "\n").collect::<String>(),
    );
    let site = site.with("[publish]\non_change = \"hold\"\nmax_total_change = 100.0");
    let next_day = site.pipeline_of("2026-11-24".parse().unwrap(), &simulator.url());
    let env = surroundings(&simulator, &clock);
    let held = run(&next_day, RunMode::default(), &env).await.unwrap();
    let error = held.error.unwrap().to_string();
    assert!(
        error.contains("rows fell by 80") && held.report.state == RunState::Open,
        "{error}"
    );
    let [change] = held.report.findings.changes.as_slice() else {
        panic!("{:?}", held.report.findings)
    };
    assert!(
        change.figure == "rows" && change.change < -0.7,
        "{change:?}"
    );
    let accepting = RunMode {
        findings: FindingsMode::Accept,
        ..RunMode::default()
    };
    let end = run(&next_day, accepting, &env).await.unwrap();
    assert_eq!(end.report.state, RunState::Published);
}

#[tokio::test(start_paused = true)]
async fn a_lake_never_mixes_invented_and_real_data() {
    let site = Site::new(lines(300));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    let end = site.run(&simulator, &clock).await.unwrap();
    assert!(end.report.invented && end.report.provider == "127.0.0.1");
    assert_eq!(site.manifest()["question"]["invented"], true);
    let sent = simulator.requests();
    let tomorrow = "2026-11-24".parse().unwrap();
    let env = surroundings(&simulator, &clock);

    // The same date, another date, and a replay: refused before anything is sent.
    let real = |date| site.pipeline_of(date, "https://api.dataforseo.com");
    for pipeline in [real(crate::harness::date()), real(tomorrow)] {
        let replayed = replay(&pipeline, FindingsMode::Accept, &env).await;
        let ran = run(&pipeline, RunMode::default(), &env).await;
        for error in [replayed.unwrap_err(), ran.unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Usage);
            let message = error.to_string();
            assert!(
                message.contains("holds the simulator's invented data")
                    && message.contains("would ask api.dataforseo.com"),
                "{message}"
            );
            assert!(error.hint().contains("another [lake] url"));
        }
    }
    assert_eq!(simulator.requests(), sent);
    // Two simulators may share a lake, each on its own date.
    let embedded = site.pipeline_of(tomorrow, "simulator");
    assert!(plan(&embedded, &env).await.unwrap().invented);

    // The other way round, and for a snapshot that is open.
    let site = Site::new(lines(300)).with("[budget]\nmax_cost_usd = \"0.01\"");
    let open = run(
        &site.pipeline("https://api.dataforseo.com"),
        RunMode::default(),
        &env,
    )
    .await;
    let open = open.unwrap();
    assert!(!open.report.invented && open.report.state == RunState::Open);
    let error = site.run(&simulator, &clock).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(
        error
            .to_string()
            .contains("holds data from api.dataforseo.com"),
        "{error}"
    );
}
