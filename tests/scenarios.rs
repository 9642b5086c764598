//! Failures heal inside the run, or the same command continues: one test per file in `tests/scenarios`.
//!
//! A scenario names what fails, at the provider or in the lake, and how each start must end. After
//! the last start the exit codes are the promised ones, the fates add up, the ledger agrees with
//! the provider request by request, and every row equals what the simulator knows.
//! `cargo test --test scenarios poison_one` plays those whose names contain `poison_one`.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;
use backlake::clock::Clock;
use backlake::contract::Table;
use backlake::error::Error;
use backlake::money::Usd;
use backlake::pipeline::{
    BalanceMode, CheckScope, Pipeline, RunMode, RunReport, RunState, Surroundings, check, run,
};
use backlake::simulator::{Behaviour, Fault, Poison, Simulator, Told};
use object_store::local::LocalFileSystem;
use serde::Deserialize;

#[path = "it/faulty.rs"]
mod faulty;
#[expect(
    dead_code,
    clippy::unused_async,
    reason = "shared with the other tests, which use more of it"
)]
#[path = "it/harness.rs"]
mod harness;

use faulty::{Faulty, Troubles};
use harness::{Site, date, noon, surroundings};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    /// What the scenario shows.
    about: String,
    #[serde(default)]
    list: List,
    /// Lines for the pipeline file.
    #[serde(default)]
    pipeline: String,
    #[serde(default)]
    provider: Provider,
    #[serde(default)]
    poison: PoisonSpec,
    #[serde(default, rename = "fault")]
    faults: Vec<Fault>,
    store: Option<Troubles>,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct List {
    pages: usize,
    per_domain: usize,
}

impl Default for List {
    fn default() -> Self {
        Self {
            pages: 20_000,
            per_domain: 40,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Provider {
    latency_ms: u64,
    max_in_flight: Option<u32>,
    requests_per_minute: Option<u32>,
    balance_usd: Option<Usd>,
    revoked_after: Option<u64>,
    /// What the account says in place of the truth, as JSON.
    told_per_request: Option<String>,
    told_per_row: Option<String>,
    told_balance: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PoisonSpec {
    /// One of this many lines is bad; 0 for none.
    every: usize,
    named: bool,
    code: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    /// The exit code of each start, in order.
    exits: Vec<u8>,
    #[serde(default)]
    refused: u64,
    #[serde(default)]
    failed: u64,
    /// At most this many requests more than the lower bound.
    extra_requests: Option<u64>,
    /// At most this many charged requests more than the lower bound.
    extra_charged: Option<usize>,
    /// A text that an error, its hint or the reason of a target must contain.
    says: Option<String>,
    /// At most this many seconds of simulated time per start.
    seconds: Option<u64>,
}

/// Everything around the run of a scenario.
struct World {
    name: String,
    targets: Vec<String>,
    site: Site,
    clock: Clock,
    simulator: Arc<Simulator>,
    store: Option<Arc<Faulty>>,
}

impl World {
    fn new(scenario: &Scenario, name: &str) -> Self {
        let targets = scenario.targets();
        let site = Site::new(&targets).with(&scenario.pipeline);
        let clock = Clock::simulated(noon());
        let simulator = Arc::new(Simulator::new(scenario.behaviour(&targets), &clock));
        let store = scenario.store.map(|troubles| {
            std::fs::create_dir_all(site.lake()).unwrap();
            let disk = LocalFileSystem::new_with_prefix(site.lake()).unwrap();
            Arc::new(Faulty::new(Arc::new(disk), &clock, troubles))
        });
        Self {
            name: name.to_owned(),
            targets,
            site,
            clock,
            simulator,
            store,
        }
    }

    fn surroundings(&self) -> Surroundings<'static> {
        let store = self.store.clone();
        Surroundings {
            store: store.map(|faulty| backlake::store::Store::over(faulty, "faulty")),
            ..surroundings(&self.simulator, &self.clock)
        }
    }

    fn pipeline(&self) -> Pipeline {
        self.site.pipeline(&self.simulator.url())
    }

    fn manifest(&self) -> PathBuf {
        let name = format!("_snapshots/{}.json", date());
        self.site.lake().join(name)
    }

    fn charged(&self) -> Usd {
        let ledger = self.simulator.ledger();
        ledger.iter().map(|charge| charge.cost).sum()
    }

    /// The operator fixes the cause: funds, credentials, room on the disk.
    async fn heal(&mut self, scenario: &Scenario) {
        let healed = Behaviour {
            balance: Behaviour::default().balance,
            revoked_after: None,
            faults: Vec::new(),
            ..scenario.behaviour(&self.targets)
        };
        let ledger = self.simulator.ledger();
        self.simulator = Arc::new(Simulator::new(healed, &self.clock));
        self.simulator.restore_ledger(ledger);
        if let Some(store) = &self.store {
            store.room.store(u64::MAX, Ordering::Relaxed);
        }
        // A lock that could not be released becomes stale.
        self.clock.sleep(Duration::from_secs(90)).await;
    }

    /// Checks that the ledger agrees with the provider to the cent, request by request.
    async fn check_the_ledger(&self, report: &RunReport) {
        let (name, charged) = (&self.name, self.charged());
        let recorded = (report.cost_usd, report.cost_unknown_usd);
        assert_eq!(recorded, (charged, Usd::ZERO), "{name}");
        let env = self.surroundings();
        let checked = check(&self.pipeline(), CheckScope::Reconcile, &env).await;
        let reconciled = checked.unwrap().reconciled.unwrap();
        let differences = &reconciled.first_differences;
        assert_eq!(reconciled.different, 0, "{name}: {differences:?}");
        assert_eq!(reconciled.charged_usd, charged, "{name}");
    }
}

impl Scenario {
    fn targets(&self) -> Vec<String> {
        let List { pages, per_domain } = self.list;
        (0..pages)
            .map(|n| format!("https://site{}.com/page-{n}", n / per_domain))
            .collect()
    }

    fn behaviour(&self, targets: &[String]) -> Behaviour {
        let default = Behaviour::default();
        let every = self.poison.every;
        let json = |text: &Option<String>| {
            let text = text.as_deref()?;
            Some(serde_json::from_str(text).unwrap())
        };
        let poison = targets
            .iter()
            .enumerate()
            .filter(|(n, _)| every > 0 && n % every == every / 2);
        Behaviour {
            date: Some(date()),
            latency: Duration::from_millis(self.provider.latency_ms),
            max_in_flight: self.provider.max_in_flight.unwrap_or(default.max_in_flight),
            requests_per_minute: self
                .provider
                .requests_per_minute
                .unwrap_or(default.requests_per_minute),
            balance: self.provider.balance_usd.unwrap_or(default.balance),
            revoked_after: self.provider.revoked_after,
            told: Told {
                per_request: json(&self.provider.told_per_request),
                per_row: json(&self.provider.told_per_row),
                balance: json(&self.provider.told_balance),
            },
            faults: self.faults.clone(),
            poison: Poison {
                targets: Arc::new(poison.map(|(_, target)| target.clone()).collect()),
                named: self.poison.named,
                code: self.poison.code.unwrap_or(default.poison.code),
            },
            ..default
        }
    }

    async fn play(&self, name: &str) {
        let mut world = World::new(self, name);
        let mut said = String::new();
        let mut last = None;
        for (start, expected) in self.expect.exits.iter().enumerate() {
            let (report, error) = self.start(&world, start).await;
            let exit = error
                .as_ref()
                .map_or(0, |error: &Error| error.kind().exit_code());
            assert_eq!(exit, *expected, "{name}, start {start}: {error:?}");
            let texts = error
                .iter()
                .map(|error| format!("{error} {}", error.hint()));
            said.extend(texts);
            if exit != 0 {
                assert!(!world.manifest().exists(), "{name} is published");
                world.heal(self).await;
            }
            last = report;
        }
        let report = last.unwrap_or_else(|| panic!("{name}: the last start has no report"));
        assert_eq!(report.fates.refused, self.expect.refused, "{name}");
        assert_eq!(report.fates.failed, self.expect.failed, "{name}");
        if self.expect.exits.last() != Some(&0) {
            // Not published: the ledger still knows every dollar.
            assert_eq!(report.state, RunState::Open, "{name}");
            assert_eq!(report.cost_usd, world.charged(), "{name}");
            return;
        }
        assert_eq!(report.state, RunState::Published, "{name}");
        assert_eq!(report.fates.unsent, 0, "{name}");
        world.check_the_ledger(&report).await;
        self.check_the_bounds(&world, &report);
        if let Some(says) = &self.expect.says {
            let reasons = world.site.table(Table::Targets);
            let reasons = reasons.column_by_name("reason").unwrap().as_string::<i32>();
            let found =
                said.contains(says) || reasons.iter().flatten().any(|reason| reason.contains(says));
            assert!(found, "{name}: no text contains `{says}`; errors: {said}");
        }
        self.check_against_the_truth(name, &world.site, &world.simulator, &world.targets);
    }

    /// One start of the run.
    async fn start(&self, world: &World, start: usize) -> (Option<RunReport>, Option<Error>) {
        let mut env = world.surroundings();
        env.seed += start as u64;
        let mode = RunMode {
            balance: match self.provider.balance_usd {
                Some(_) => BalanceMode::SpendWhatIsLeft,
                None => BalanceMode::Require,
            },
            ..RunMode::default()
        };
        let before = world.clock.running();
        let end = run(&world.pipeline(), mode, &env).await;
        let took = (world.clock.running() - before).as_secs();
        let name = &world.name;
        assert!(
            self.expect.seconds.is_none_or(|most| took <= most),
            "{name} took {took} s"
        );
        match end {
            Ok(end) => {
                let (lines, fates) = (end.report.lines, end.report.fates.total());
                assert_eq!(lines, fates, "{name}: the fates do not add up");
                (Some(end.report), end.error)
            }
            Err(error) => (None, Some(error)),
        }
    }

    /// Checks that finding and repeating failures cost no more requests than allowed.
    fn check_the_bounds(&self, world: &World, report: &RunReport) {
        let (name, bound) = (&world.name, report.lower_bound);
        if let Some(most) = self.expect.extra_requests {
            let extra = report.requests.saturating_sub(bound);
            assert!(
                extra <= most,
                "{name}: {extra} requests more than the bound of {bound}"
            );
        }
        if let Some(most) = self.expect.extra_charged {
            let extra = world.simulator.ledger().len() - bound as usize;
            assert!(
                extra <= most,
                "{name}: {extra} charges more than the bound of {bound}"
            );
        }
    }

    /// Checks every fate and every row against what the simulator knows.
    fn check_against_the_truth(
        &self,
        name: &str,
        site: &Site,
        simulator: &Simulator,
        targets: &[String],
    ) {
        let table = site.table(Table::Targets);
        let text = |column: &str| table.column_by_name(column).unwrap().as_string::<i32>();
        let fates: HashMap<&str, &str> = text("target")
            .iter()
            .flatten()
            .zip(text("fate").iter().flatten())
            .collect();
        assert_eq!(fates.len(), targets.len(), "{name}");
        let pages = site.table(Table::Pages);
        let names = pages.column_by_name("target").unwrap().as_string::<i32>();
        let links = pages
            .column_by_name("backlinks")
            .unwrap()
            .as_primitive::<Int64Type>();
        let mut rows: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for (target, links) in names.iter().flatten().zip(links.values()) {
            rows.entry(target).or_default().push(*links);
        }
        let matched = pages.column_by_name("matched").unwrap().as_boolean();
        let unmatched: HashSet<&str> = (0..pages.num_rows())
            .filter(|&row| !matched.value(row))
            .map(|row| names.value(row))
            .collect();
        for (n, target) in targets.iter().enumerate() {
            let root = format!("site{}.com", n / self.list.per_domain);
            let truth = simulator.population().page(date(), target, &root);
            let every = self.poison.every;
            match fates[target.as_str()] {
                "returned" => {
                    assert_eq!(
                        rows[target.as_str()],
                        [truth.unwrap().backlinks],
                        "{name}: {target}"
                    )
                }
                "absent" => {
                    assert!(
                        truth.is_none() && !rows.contains_key(target.as_str()),
                        "{name}: {target}"
                    )
                }
                "refused" => assert!(
                    every > 0 && n % every == every / 2,
                    "{name}: {target} is innocent"
                ),
                "failed" => assert!(self.expect.failed > 0, "{name}: {target}"),
                fate => panic!("{name}: {target} is {fate}"),
            }
        }
        assert!(unmatched.is_empty(), "{name}: {unmatched:?}");
    }
}

/// Plays one scenario on a clock of its own.
fn ends_as_it_promises(file: &Path, text: String) -> datatest_stable::Result<()> {
    let scenario: Scenario = toml::from_str(&text)?;
    assert!(!scenario.about.is_empty(), "`about` says what is shown");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()?;
    let name = file.file_stem().unwrap().to_string_lossy().into_owned();
    runtime.block_on(scenario.play(&name));
    Ok(())
}

datatest_stable::harness! {
    { test = ends_as_it_promises, root = "tests/scenarios", pattern = r"\.toml$" },
}
