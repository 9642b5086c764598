//! Shows whether the memory of a run grows with its batches, and how long after the last response it
//! publishes: `cargo bench --bench run`. `-- wait` runs only the last case.
//!
//! Runs of 200 and 2,000 batches: full ones (1,000 targets of few domains) and batches of 100
//! domains. Each run is a process of its own; the simulator stays in this one. The target list grows
//! with the number of lines and is measured first; sort buffer and row groups grow to their bounds.
//! Then 1,000 batches of 1,000 pages with 30 in flight, each response a second after its request.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints, and ends where it fails"
)]

mod peak;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use backlake::clock::Clock;
use backlake::fetch::{Event, Step};
use backlake::pipeline::{Overrides, Pipeline, Progress, Surroundings, plan, run};
use backlake::simulator::{Behaviour, LOGIN, PASSWORD, Simulator};

use peak::{measure_in_a_child, peak_megabytes};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    if let Some(at) = args.iter().position(|arg| arg == "--measure") {
        return runtime.block_on(measure(&args[at + 1]));
    }
    let only_wait = args.iter().any(|arg| arg == "wait");
    for (name, batches, a_batch, latency) in [
        ("100 domains", 200, 100, Duration::ZERO),
        ("100 domains", 2_000, 100, Duration::ZERO),
        ("1000 pages", 200, 1000, Duration::ZERO),
        ("1000 pages", 2_000, 1000, Duration::ZERO),
        ("1000 pages after 1 s", 1_000, 1000, Duration::from_secs(1)),
    ] {
        if only_wait && latency.is_zero() {
            continue;
        }
        let behaviour = Behaviour {
            latency,
            ..Behaviour::default()
        };
        let simulator = runtime
            .block_on(Simulator::start(behaviour, &Clock::system(), 0))
            .expect("a simulator");
        let folder = tempfile::tempdir().expect("a folder");
        let list = folder.path().join("list.txt");
        let line = |n: usize| match a_batch {
            100 => format!("site{n}.com\n"),
            _ => format!("https://www.site{}.com/blog/post-{n}\n", n / 40),
        };
        std::fs::write(&list, (0..batches * a_batch).map(line).collect::<String>())
            .expect("a list");
        let text = format!(
            "name = \"bench\"\nendpoint = \"backlinks/bulk_pages_summary\"\n[targets]\npaths = [\"{}\"]\n\
             [api]\nbase_url = \"{}\"\nrequests_per_minute = 10000\n[lake]\nurl = \"{}\"\n",
            list.display(),
            simulator.url(),
            folder.path().join("lake").display(),
        );
        print!("{batches:>5} batches of {name}: ");
        measure_in_a_child([&text]);
    }
}

async fn measure(text: &str) {
    let clock = Clock::system();
    let pipeline =
        Pipeline::parse("bench.toml", text, Overrides::default(), &clock).expect("a pipeline");
    let variable = |name: &str| {
        Some(
            if name == "DATAFORSEO_LOGIN" {
                LOGIN
            } else {
                PASSWORD
            }
            .to_owned(),
        )
    };
    let (received, published) = (Mutex::new(None), Mutex::new(None));
    let ahead = AtomicU64::new(0);
    let on_progress = |progress: Progress| {
        let moment = match progress {
            Progress::Publishing { written, .. } => {
                return ahead.store(written, Ordering::Relaxed);
            }
            Progress::Fetch(Event::Step(Step::Received(_))) => &received,
            Progress::Manifested => &published,
            _ => return,
        };
        *moment.lock().expect("a moment") = Some(Instant::now());
    };
    let env = Surroundings {
        variable: &variable,
        on_progress: &on_progress,
        ..Surroundings::of_process(&clock, 1)
    };
    plan(&pipeline, &env).await.expect("a plan");
    let list = peak_megabytes();
    let start = Instant::now();
    let end = run(&pipeline, Default::default(), &env)
        .await
        .expect("a run");
    assert!(end.error.is_none(), "{:?}", end.error);
    let moment = |of: Mutex<Option<Instant>>| of.into_inner().ok().flatten().expect("a moment");
    let wait = moment(published) - moment(received);
    let report = end.report;
    println!(
        "{} requests, {} items, {:.0} MB of Parquet, {:.1} s, {} rows written before publishing, published {:.1} s after the last response, peak {} MB, of which the list and its plan {list} MB",
        report.requests,
        report.items,
        report.bytes as f64 / 1e6,
        start.elapsed().as_secs_f64(),
        ahead.into_inner(),
        wait.as_secs_f64(),
        peak_megabytes(),
    );
}
