//! A run that is killed at any step and started again publishes the same snapshot, and pays for no
//! archived response twice. Signals end a run in order, and one run at a time holds the lock.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use arrow::array::RecordBatch;
use backlake::clock::Clock;
use backlake::contract::Table;
use backlake::fetch::{Event, Step};
use backlake::pipeline::{Overrides, Pipeline, Progress, RunMode, Surroundings, run};
use backlake::simulator::{Behaviour, Fault, LOGIN, Milestone, PASSWORD, Simulator, What};

use crate::campaign::reduced_or_full;
use crate::harness::{Site, credential, listening, program, text};

const IN_FLIGHT: usize = 3;

fn site(batches: usize) -> Site {
    let extra = format!(
        "[api]\nmax_in_flight = {IN_FLIGHT}\nrequests_per_minute = 10000\nlisted_after_seconds = 1"
    );
    Site::new((0..batches * 100).map(|n| format!("site{n}.com"))).with(&extra)
}

/// The number of complete responses in the archive.
fn archived(site: &Site) -> usize {
    let files = std::fs::read_dir(site.lake().join("_archive/2026-11-23"))
        .into_iter()
        .flatten();
    files
        .filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .path()
                .extension()
                .is_some_and(|ending| ending == "zst")
        })
        .count()
}

/// The command that runs the site's pipeline against a simulator.
fn start(site: &Site, simulator: &Simulator) -> Command {
    let file = site.write("pipeline.toml", site.text());
    let mut command = program();
    command
        .arg("run")
        .arg(&file)
        .args(["--base-url", &simulator.url()]);
    command
        .env("DATAFORSEO_LOGIN", LOGIN)
        .env("DATAFORSEO_PASSWORD", PASSWORD);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The rows of a snapshot without what differs from run to run: times, ids and batch numbers.
fn content(site: &Site) -> Vec<RecordBatch> {
    [
        (Table::Pages, &["fetched_at", "request_id"][..]),
        (Table::Breakdowns, &[]),
        (Table::Targets, &["batch", "request_id", "source"]),
    ]
    .into_iter()
    .map(|(table, own)| {
        let rows = site.table(table);
        let shared: Vec<usize> = (0..rows.num_columns())
            .filter(|&column| !own.contains(&rows.schema().field(column).name().as_str()))
            .collect();
        rows.project(&shared).unwrap()
    })
    .collect()
}

/// Continues a run to its end and compares it with an undisturbed one. `charged` and `kept` count
/// the charges and the archived responses at the kills.
fn continued(site: &Site, simulator: &Simulator, batches: usize, lost: usize, what: &str) {
    let output = start(site, simulator)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(output.status.success(), "{what}: {}", text(&output.stderr));
    assert_eq!(
        simulator.ledger().len(),
        batches + lost,
        "{what}: an archived answer was asked for again"
    );
    let audit = program().arg("verify").arg(site.lake()).output().unwrap();
    assert!(audit.status.success(), "{what}: {}", text(&audit.stderr));
    let cost = site.table(Table::Requests);
    let cost = cost.column_by_name("cost_usd").unwrap();
    let cost = arrow::array::AsArray::as_primitive::<arrow::datatypes::Decimal128Type>(cost);
    let booked: i128 = cost.iter().flatten().sum();
    let charged: i128 = simulator
        .ledger()
        .iter()
        .map(|charge| charge.cost.micros())
        .sum();
    assert_eq!(booked, charged, "{what}: the books are not the provider's");
}

fn undisturbed(batches: usize, simulator: &Simulator) -> Vec<RecordBatch> {
    let site = site(batches);
    assert!(start(&site, simulator).status().unwrap().success());
    content(&site)
}

/// Not a test: the child process of the tests below, which kills itself at a step.
#[test]
#[ignore = "started by the tests of this module, as a process to be killed"]
fn a_process_that_kills_itself() {
    let Ok(at) = std::env::var("KILLED_AT") else {
        return;
    };
    let clock = Clock::system();
    let file = std::env::var("KILLED_PIPELINE").unwrap();
    let overrides = Overrides {
        base_url: std::env::var("KILLED_URL").ok(),
        ..Overrides::default()
    };
    let pipeline = Pipeline::load(&file, overrides, &clock).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let on_progress = |progress: Progress| {
        // Not the first batch, so that the archive is not empty.
        let reached = match progress {
            Progress::Fetch(Event::Step(step)) => match step {
                Step::Intending(id) => at == "before the intent" && id.batch == 7,
                Step::Intended(id) => at == "after the intent" && id.batch == 7,
                Step::Received(id) => at == "answer received" && id.batch == 7,
                Step::Archived(id) => at == "archived" && id.batch == 7,
                Step::Recorded(id) => at == "entered" && id.batch == 7,
            },
            // While others are in flight.
            Progress::Flattened => at == "flattened",
            Progress::Publishing { .. } => at == "fetched",
            Progress::Staged => at == "staged",
            Progress::Moved => at == "half published",
            Progress::Manifested => at == "manifest",
            _ => false,
        };
        if reached {
            kill(std::process::id(), "KILL");
            loop {
                std::thread::park();
            }
        }
    };
    let env = Surroundings {
        variable: &credential,
        on_progress: &on_progress,
        ..Surroundings::of_process(&clock, 1)
    };
    let _ = runtime.block_on(run(&pipeline, RunMode::default(), &env));
}

fn kill(pid: u32, signal: &str) {
    Command::new("kill")
        .args([format!("-{signal}"), pid.to_string()])
        .status()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_killed_at_any_step_is_continued_to_the_same_snapshot() {
    let batches = 12;
    let expected = undisturbed(batches, &listening(Behaviour::default()).await);
    for at in [
        "before the intent",
        "after the intent",
        "answer received",
        "archived",
        "entered",
        "flattened",
        "fetched",
        "staged",
        "half published",
        "manifest",
    ] {
        let (site, simulator) = (site(batches), listening(Behaviour::default()).await);
        let file = site.write("pipeline.toml", site.text());
        let killed = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "killing::a_process_that_kills_itself",
                "--ignored",
                "--quiet",
            ])
            .env("KILLED_AT", at)
            .env("KILLED_PIPELINE", &file)
            .env("KILLED_URL", simulator.url())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert_eq!(killed.code(), None, "{at}: it was not killed");
        settled(&simulator).await;
        let lost = lost(&site, &simulator, at);
        continued(&site, &simulator, batches, lost, at);
        assert_eq!(content(&site), expected, "{at}");
    }
}

/// The number of charged requests without a response in the archive.
fn lost(site: &Site, simulator: &Simulator, at: &str) -> usize {
    let (charged, archived) = (simulator.ledger().len(), archived(site));
    let lost = charged.saturating_sub(archived);
    assert!(
        lost <= 2 * IN_FLIGHT,
        "{at}: {lost} answers of {charged} are lost"
    );
    lost
}

/// Waits for a line that matches; ends with the child or after the timeout.
fn wait_for(coming: &Receiver<Milestone>, fits: impl Fn(Milestone) -> bool) -> bool {
    while let Ok(moment) = coming.recv_timeout(Duration::from_secs(60)) {
        if fits(moment) {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_killed_while_the_provider_works_or_answers_is_continued() {
    let batches = 12;
    let expected = undisturbed(batches, &listening(Behaviour::default()).await);
    let stall = Fault {
        what: What::Stall,
        charged: true,
        share: 1.0,
        from: 7,
        until: 8,
        code: 0,
        seconds: 0.0,
        times: 1,
    };
    for (at, faults, moment) in [
        ("request sent", vec![], Milestone::Request(7)),
        ("half a response", vec![stall], Milestone::HalfResponse(7)),
    ] {
        let (site, simulator) = (
            site(batches),
            listening(Behaviour {
                faults,
                ..Behaviour::default()
            })
            .await,
        );
        let (send, coming) = channel();
        simulator.on_milestone(move |milestone| _ = send.send(milestone));
        let mut child = start(&site, &simulator).spawn().unwrap();
        assert!(wait_for(&coming, |came| came == moment), "{at}");
        child.kill().unwrap();
        child.wait().unwrap();
        settled(&simulator).await;
        let lost = lost(&site, &simulator, at);
        continued(&site, &simulator, batches, lost, at);
        assert_eq!(content(&site), expected, "{at}");
    }
}

/// Waits until the provider has finished the requests that arrived before the kill.
pub(crate) async fn settled(simulator: &Simulator) {
    while simulator.is_busy() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_killed_again_and_again_is_continued_to_the_same_snapshot() {
    let (batches, kills) = reduced_or_full((45, 15), (300, 100));
    let expected = undisturbed(batches, &listening(Behaviour::default()).await);
    // The test starts more often per minute than a real account may.
    let behaviour = Behaviour {
        user_data_per_minute: 10_000,
        ..Behaviour::default()
    };
    let (site, simulator) = (site(batches), listening(behaviour).await);
    let mut random = fastrand::Rng::with_seed(42);
    let (mut lost_so_far, mut killed) = (0, 0);
    for _ in 0..kills {
        let seen = simulator.requests();
        let at = seen + random.u64(0..6);
        let (send, coming) = channel();
        simulator.on_milestone(move |milestone| _ = send.send(milestone));
        let mut child = start(&site, &simulator)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = follow(&mut child);
        // When everything is fetched, the kill hits publishing.
        let published = loop {
            match coming.recv_timeout(Duration::from_millis(20)) {
                Ok(Milestone::Request(number)) if number >= at => break false,
                Ok(_) => {}
                Err(_) => match log.try_recv() {
                    Ok(line) if line.contains("publishing") => break false,
                    Ok(_) => {}
                    Err(_) if child.try_wait().unwrap().is_some() => break true,
                    Err(_) => {}
                },
            }
        };
        child.kill().unwrap();
        child.wait().unwrap();
        settled(&simulator).await;
        let lost = simulator.ledger().len().saturating_sub(archived(&site));
        assert!(
            lost - lost_so_far <= 2 * IN_FLIGHT,
            "{} answers are lost at one kill",
            lost - lost_so_far
        );
        lost_so_far = lost;
        killed += usize::from(!published);
    }
    assert!(killed >= kills / 2, "{killed} kills of {kills}");
    continued(
        &site,
        &simulator,
        batches,
        lost_so_far,
        "killed again and again",
    );
    assert_eq!(content(&site), expected);
}

/// The lines of a child's log, as they arrive.
fn follow(child: &mut Child) -> Receiver<String> {
    let (send, lines) = channel();
    let log = BufReader::new(child.stderr.take().unwrap());
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_run_in_order_and_a_second_one_at_once() {
    let latency = Duration::from_millis(200);
    for (signal, exit) in [("TERM", 143), ("INT", 130), ("HUP", 143)] {
        let (site, simulator) = (
            site(12),
            listening(Behaviour {
                latency,
                ..Behaviour::default()
            })
            .await,
        );
        let (send, coming) = channel();
        let (signalled, held) = channel();
        let held = Mutex::new(held);
        simulator.on_milestone(move |milestone| {
            _ = send.send(milestone);
            if milestone == Milestone::Request(4) {
                // Until the signal is sent, so that the run cannot end before it.
                _ = held.lock().unwrap().recv_timeout(Duration::from_secs(60));
            }
        });
        let metrics = site.folder.path().join("backlake.prom");
        let mut child = start(&site, &simulator)
            .arg("--metrics-file")
            .arg(&metrics)
            .spawn()
            .unwrap();
        assert!(wait_for(&coming, |came| came == Milestone::Request(4)));
        kill(child.id(), signal);
        signalled.send(()).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(exit), "{signal}");
        // Requests in flight were awaited and archived, and no other was sent.
        let charged = simulator.ledger().len();
        assert_eq!(archived(&site), charged, "{signal}");
        assert!(
            (5..=4 + 2 * IN_FLIGHT).contains(&charged),
            "{signal}: {charged}"
        );
        let summary =
            std::fs::read_to_string(site.lake().join("_runs/2026-11-23/summary.json")).unwrap();
        let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
        assert_eq!(
            (summary["exit_code"].as_i64(), summary["state"].as_str()),
            (Some(exit.into()), Some("open"))
        );
        let metrics = std::fs::read_to_string(metrics).unwrap();
        assert!(
            metrics.contains(&format!(
                "backlake_run_exit_code{{pipeline=\"test\"}} {exit}"
            )),
            "{metrics}"
        );
        continued(&site, &simulator, 12, 0, signal);
    }
    // The requests never end: the second signal does not wait for them.
    let latency = Duration::from_secs(100);
    let (site, simulator) = (
        site(12),
        listening(Behaviour {
            latency,
            ..Behaviour::default()
        })
        .await,
    );
    let (send, coming) = channel();
    simulator.on_milestone(move |milestone| _ = send.send(milestone));
    let mut child = start(&site, &simulator)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = follow(&mut child);
    assert!(wait_for(&coming, |came| came == Milestone::Request(1)));
    kill(child.id(), "INT");
    assert!(
        log.iter()
            .any(|line| line.contains("a second signal ends the process at once"))
    );
    kill(child.id(), "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_is_told_who_holds_the_snapshot() {
    let latency = Duration::from_secs(100);
    let (site, simulator) = (
        site(2),
        listening(Behaviour {
            latency,
            ..Behaviour::default()
        })
        .await,
    );
    let (send, coming) = channel();
    simulator.on_milestone(move |milestone| _ = send.send(milestone));
    let mut first = start(&site, &simulator).spawn().unwrap();
    assert!(wait_for(&coming, |came| came == Milestone::Request(0)));
    let second = start(&site, &simulator)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(6));
    let message = text(&second.stderr);
    assert!(
        message.contains(&format!("process {} on ", first.id())),
        "{message}"
    );
    assert!(message.contains("hint: nothing is lost"), "{message}");
    first.kill().unwrap();
    first.wait().unwrap();
    // The owner is gone, so the next start takes the lock at once.
    assert!(Path::new(&site.lake().join("_runs/2026-11-23/locks")).exists());
    let quick = listening(Behaviour::default()).await;
    assert!(start(&site, &quick).status().unwrap().success());
}
