//! The provider is the bottleneck: as many requests are in flight as the account allows.

use std::sync::Arc;
use std::time::Duration;

use backlake::clock::Clock;
use backlake::pipeline::RunState;
use backlake::simulator::{Behaviour, Simulator};

use crate::harness::{Site, date, noon, surroundings};

/// The seconds of simulated time that a run of this many batches takes, and the number of requests
/// it sends.
async fn run(batches: usize, settings: &str, behaviour: Behaviour) -> (f64, u64) {
    let site = Site::new((0..batches * 100).map(|n| format!("site{n}.com"))).with(settings);
    let clock = Clock::simulated(noon());
    let behaviour = Behaviour {
        date: Some(date()),
        latency: Duration::from_secs(1),
        ..behaviour
    };
    let simulator = Arc::new(Simulator::new(behaviour, &clock));
    let before = clock.running();
    let pipeline = site.pipeline(&simulator.url());
    let end = backlake::pipeline::run(
        &pipeline,
        Default::default(),
        &surroundings(&simulator, &clock),
    )
    .await
    .unwrap();
    assert_eq!(end.report.state, RunState::Published, "{:?}", end.error);
    (
        (clock.running() - before).as_secs_f64(),
        end.report.requests,
    )
}

#[tokio::test(start_paused = true)]
async fn thirty_in_flight_at_a_second_each_keep_the_pipe_full() {
    let (batches, settings) = (600, "[api]\nmax_in_flight = 30\nrequests_per_minute = 2000");
    let (seconds, requests) = run(batches, settings, Behaviour::default()).await;
    let full = batches as f64 / 30.0;
    println!(
        "{batches} batches: {seconds:.2} s, {:.3} of a full pipe",
        seconds / full
    );
    assert_eq!(requests as usize, batches);
    // Nothing shows yet that responses can be used, so the first second belongs to two requests.
    assert!(seconds <= 1.03 * full + 1.0, "{seconds} s");
}

#[tokio::test(start_paused = true)]
async fn under_40209_the_run_settles_near_the_best_fixed_setting() {
    let limited = || Behaviour {
        max_in_flight: 12,
        ..Behaviour::default()
    };
    let batches = 600;
    let (best, _) = run(batches, "[api]\nmax_in_flight = 12", limited()).await;
    let (adaptive, requests) = run(batches, "[api]\nmax_in_flight = 30", limited()).await;
    println!(
        "a limit of 12: {adaptive:.1} s, at best {best:.1} s, {} turned away",
        requests - batches as u64
    );
    assert!(adaptive <= 1.1 * best, "{adaptive} s, at best {best} s");
}
