//! Faults, kills and budgets in any order lose no target and no dollar, and spend nothing above the
//! ceiling. A seed decides everything, and time is simulated: `SEED=17 cargo test interleavings`
//! plays one seed again. The campaign counts how often it reached each rare branch.
//!
//! The lake is in memory: on a disk, nearly all of the time would go into files of which each request leaves several.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::AsArray as _;
use async_trait::async_trait;
use backlake::clock::Clock;
use backlake::contract::Table;
use backlake::fetch::Event;
use backlake::ledger::Outcome;
use backlake::money::Usd;
use backlake::pipeline::{Progress, RunEnd, RunState, Surroundings, run};
use backlake::simulator::{Behaviour, Fault, Poison, Simulator, What};
use backlake::store::Store;
use fastrand::Rng;
use futures::future::BoxFuture;
use object_store::memory::InMemory;
use object_store::path::Path;
use tokio::sync::Notify;

use crate::campaign::{Left, contents, is_full, only_seed, seeds};
use crate::faulty::{Faulty, Troubles};
use crate::harness::{Site, date, noon, surroundings};
use crate::interfering::{Interfered, Interference, Operation};
use crate::turns::in_turns;
use crate::world::simulated;

const KINDS: [(What, u32); 14] = [
    (What::Code, 40202),
    (What::Code, 40209),
    (What::Code, 50000),
    (What::Code, 50301),
    (What::Code, 50303),
    (What::Code, 50401),
    (What::Html, 502),
    (What::Refused, 0),
    (What::Reset, 0),
    (What::BreakOff, 0),
    (What::Stall, 0),
    (What::TruncatedGzip, 0),
    (What::Late, 0),
    (What::WallClock, 0),
];

fn fault(random: &mut Rng) -> Fault {
    let (what, code) = KINDS[random.usize(..KINDS.len())];
    let from = random.u64(0..30);
    let charged = random.bool() && !matches!(code, 40202 | 40209) && what != What::Refused;
    let seconds = if what == What::WallClock {
        random.f64() * 8000.0 - 4000.0
    } else {
        random.f64() * 200.0
    };
    Fault {
        what,
        charged,
        share: random.f64(),
        from,
        until: from + random.u64(1..8),
        code,
        seconds,
        times: 1,
    }
}

fn behaviour(random: &mut Rng, targets: &[String], named: bool) -> Behaviour {
    // Now and then everything is refused.
    let bad = match random.u8(..24) {
        0..12 => 0.0,
        12..23 => random.f64() * random.f64() * 0.2,
        _ => 1.0,
    };
    let poison: HashSet<String> = targets
        .iter()
        .filter(|_| bad >= 1.0 || random.f64() < bad)
        .cloned()
        .collect();
    Behaviour {
        seed: random.u64(..),
        date: Some(date()),
        latency: Duration::from_millis(random.u64(0..3000)),
        max_in_flight: random.u32(2..31),
        requests_per_minute: random.u32(20..2000),
        faults: (0..random.usize(0..8)).map(|_| fault(random)).collect(),
        poison: Poison {
            targets: Arc::new(poison),
            named,
            ..Poison::default()
        },
        ..Behaviour::default()
    }
}

/// What the kill of a process does to its lake: from then on no operation happens. How far a process gets until it is
/// dropped depends on threads.
#[derive(Debug, Default)]
struct Killed(AtomicBool);

#[async_trait]
impl Interference for Killed {
    async fn around(
        &self,
        _: Operation,
        _: &Path,
        work: BoxFuture<'_, object_store::Result<()>>,
    ) -> object_store::Result<()> {
        if self.0.load(Ordering::Relaxed) {
            std::future::pending().await
        }
        work.await
    }
}

/// Runs to the end, or until `dies_after` progress events, which a seed has at the same points: then the run is dropped,
/// as by a kill.
async fn run_or_die(
    pipeline: &backlake::pipeline::Pipeline,
    env: Surroundings<'_>,
    dies_after: u64,
    killed: &Killed,
    ambiguous: &AtomicBool,
) -> Option<backlake::error::Result<RunEnd>> {
    let (heard, death) = (AtomicU64::new(0), Notify::new());
    let on_progress = |progress: Progress| {
        if let Progress::Fetch(Event::Attempt {
            outcome: Outcome::Ambiguous,
            ..
        }) = progress
        {
            ambiguous.store(true, Ordering::Relaxed);
        }
        // Responses are flattened on other threads, so when that is done depends on the machine.
        let is_by_chance = matches!(progress, Progress::Flattened);
        if !is_by_chance && heard.fetch_add(1, Ordering::Relaxed) == dies_after {
            killed.0.store(true, Ordering::Relaxed);
            death.notify_one();
        }
    };
    let env = Surroundings {
        on_progress: &on_progress,
        ..env
    };
    tokio::select! {
        biased;
        () = death.notified() => None,
        end = run(pipeline, Default::default(), &env) => Some(end),
    }
}

/// The branches that a seed can reach; the campaign must reach each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Branch {
    Published,
    /// Every target is refused: nothing to publish.
    AllRefused,
    Killed,
    /// A request was sent, and no whole response came.
    Ambiguous,
    /// A start that ended with this exit code.
    Exit(u8),
    /// A published snapshot with refused targets.
    RefusedSome,
    /// A snapshot that took more than one start.
    Continued,
}

/// How many targets a game may have.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Size {
    /// Thousands.
    Full,
    /// So few that no response is large enough to be worked on by another thread.
    Small,
}

/// Plays one seed to its end. Returns the branches it reached and what it has left.
async fn play(seed: u64, size: Size) -> (BTreeSet<Branch>, Left) {
    let mut reached = BTreeSet::new();
    let ambiguous = AtomicBool::new(false);
    let mut random = Rng::with_seed(seed);
    // To find a target that refusals do not name takes dozens of requests.
    let named = random.bool();
    let most = match size {
        Size::Full if named => 4000,
        Size::Full => 1500,
        Size::Small => 16,
    };
    let (count, per_domain) = (random.usize(1..most), random.usize(1..60));
    let targets: Vec<String> = (0..count)
        .map(|n| format!("https://site{}.com/{n}", n / per_domain))
        .collect();
    let in_flight = random.u32(1..8);
    let site = Site::new(&targets).with(&format!("[api]\nmax_in_flight = {in_flight}"));
    let clock = Clock::simulated(noon());
    let behaviour = behaviour(&mut random, &targets, named);
    let bad = behaviour.poison.targets.len() as u64;
    let mut simulator = Arc::new(Simulator::new(behaviour.clone(), &clock));
    let memory = Arc::new(InMemory::new());
    let troubles = if random.u8(0..4) == 0 {
        let fails_from = random.u64(0..200);
        Troubles {
            fails_from,
            fails_until: fails_from + random.u64(1..6),
            ..Troubles::default()
        }
    } else {
        Troubles::default()
    };
    let faulty = Arc::new(Faulty::new(Arc::clone(&memory) as _, &clock, troubles));
    let spent = |simulator: &Simulator| -> Usd {
        simulator.ledger().iter().map(|charge| charge.cost).sum()
    };
    let mut ceiling = Usd::ZERO;
    let mut last = None;
    for start in 0..40 {
        // Later starts have no budget and are not killed, so that every seed ends.
        let wild = start < 12;
        ceiling += Usd::from_micros(random.i64(1..400_000));
        let mut pipeline = site.pipeline(&simulator.url());
        pipeline.budget.max_cost_usd =
            (wild && random.bool()).then_some(ceiling.max(spent(&simulator)));
        pipeline.budget.max_time =
            (wild && random.u8(0..4) == 0).then(|| Duration::from_secs(random.u64(1..100)));
        let killed = Arc::new(Killed::default());
        let store = Interfered::new(Arc::clone(&faulty) as _, &killed);
        let env = in_turns(Surroundings {
            seed: random.u64(..),
            store: Some(Store::over(Arc::new(store), "faulty")),
            ..surroundings(&simulator, &clock)
        });
        let dies_after = if wild && random.bool() {
            random.u64(0..120)
        } else {
            u64::MAX
        };
        let end = run_or_die(&pipeline, env, dies_after, &killed, &ambiguous).await;
        if let Some(limit) = pipeline.budget.max_cost_usd {
            assert!(
                spent(&simulator) <= limit,
                "seed {seed}: {} of {limit} spent",
                spent(&simulator)
            );
        }
        if start == 12 {
            // The provider recovers.
            let ledger = simulator.ledger();
            simulator = Arc::new(Simulator::new(
                Behaviour {
                    faults: Vec::new(),
                    ..behaviour.clone()
                },
                &clock,
            ));
            simulator.restore_ledger(ledger);
        }
        match &end {
            None => drop(reached.insert(Branch::Killed)),
            Some(
                Ok(RunEnd {
                    error: Some(error), ..
                })
                | Err(error),
            ) => {
                reached.insert(Branch::Exit(error.kind().exit_code()));
            }
            Some(Ok(_)) => {}
        }
        if let Some(Ok(RunEnd { report, error })) = end {
            assert_eq!(report.lines, report.fates.total(), "seed {seed}");
            assert_eq!(report.lines, count as u64, "seed {seed}");
            // Every recorded cost was charged, and every charge is recorded or known to be in doubt.
            let charged = spent(&simulator);
            assert!(
                report.cost_usd <= charged,
                "seed {seed}: {} booked, {charged} charged",
                report.cost_usd
            );
            assert!(
                charged <= report.cost_usd + report.cost_unknown_usd,
                "seed {seed}: {charged} charged, {report:?}"
            );
            let ended = report.state != RunState::Open || report.fates.refused == count as u64;
            assert_eq!(
                error.is_some(),
                report.state == RunState::Open,
                "seed {seed}"
            );
            if ended {
                if start > 0 {
                    reached.insert(Branch::Continued);
                }
                last = Some(report);
                break;
            }
        }
        // The lock of a killed run becomes stale.
        clock.sleep(Duration::from_secs(100)).await;
    }
    if ambiguous.load(Ordering::Relaxed) {
        reached.insert(Branch::Ambiguous);
    }
    let report = last.unwrap_or_else(|| panic!("seed {seed}: not published after 40 starts"));
    let charged = spent(&simulator);
    if report.state == RunState::Open {
        // Everything is refused. The ledger must agree with the provider here, too.
        reached.insert(Branch::AllRefused);
        assert_eq!(
            (report.fates.refused, bad),
            (count as u64, count as u64),
            "seed {seed}"
        );
        assert!(report.cost_usd <= charged, "seed {seed}");
        assert!(
            charged <= report.cost_usd + report.cost_unknown_usd,
            "seed {seed}"
        );
        return (reached, Left::of(&simulator, &memory).await);
    }
    reached.insert(Branch::Published);
    if report.fates.refused > 0 {
        reached.insert(Branch::RefusedSome);
    }
    assert_eq!(
        (report.cost_usd, report.cost_unknown_usd),
        (charged, Usd::ZERO),
        "seed {seed}"
    );
    assert_eq!(
        (
            report.fates.refused,
            report.fates.failed,
            report.fates.unsent
        ),
        (bad, 0, 0),
        "seed {seed}"
    );
    assert_eq!(report.unmatched, 0, "seed {seed}");
    for (path, bytes) in contents(&memory).await {
        if path.starts_with("pages/") {
            let file = site.lake().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, bytes).unwrap();
        }
    }
    let pages = site.table(Table::Pages);
    let mut rows: HashMap<&str, u64> = HashMap::new();
    for target in pages
        .column_by_name("target")
        .unwrap()
        .as_string::<i32>()
        .iter()
        .flatten()
    {
        *rows.entry(target).or_default() += 1;
    }
    assert!(
        rows.values().all(|count| *count == 1),
        "seed {seed}: a target has two rows"
    );
    assert_eq!(rows.len() as u64, report.fates.returned, "seed {seed}");
    (reached, Left::of(&simulator, &memory).await)
}

/// What a small game with this seed has left.
pub(crate) fn left(seed: u64) -> Left {
    simulated(play(seed, Size::Small)).1
}

#[test]
fn targets_and_money_are_conserved_whatever_the_interleaving() {
    let mut counts: BTreeMap<Branch, u32> = BTreeMap::new();
    for seed in seeds(24, 400) {
        for branch in simulated(play(seed, Size::Full)).0 {
            *counts.entry(branch).or_default() += 1;
        }
    }
    println!("branches reached: {counts:?}");
    if only_seed().is_some() {
        return;
    }
    // A short campaign reaches the common branches, the full one all of them.
    let mut expected = vec![
        Branch::Published,
        Branch::Killed,
        Branch::Continued,
        Branch::RefusedSome,
        Branch::Exit(4),
    ];
    if is_full() {
        // A store that fails for a while is tried again, so no seed ends with code 1.
        expected.extend([Branch::Ambiguous, Branch::AllRefused, Branch::Exit(5)]);
    }
    for branch in expected {
        assert!(
            counts.contains_key(&branch),
            "no seed reached {branch:?}: {counts:?}"
        );
    }
}
