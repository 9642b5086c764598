//! A lake in memory and everything around it, and the five commands that change a lake.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backlake::clock::Clock;
use backlake::lake::{audit, snapshots, strays};
use backlake::pipeline::{
    Begins, FindingsMode, RunMode, RunState, StartMode, Surroundings, replay, run,
};
use backlake::simulator::{Behaviour, Simulator};
use backlake::stop::Stop;
use backlake::store::{Owner, Store};
use backlake::upkeep::{Keep, compact, prune, to_compact, to_prune};
use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt as _};

use crate::campaign::contents;
use crate::harness::{Site, date, mixed_targets as lines, noon, surroundings};
use crate::interfering::{Interfered, Interference};
use crate::turns::in_turns;

/// A command that changes the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Command {
    Run,
    Replay,
    Replace,
    Compact,
    Prune,
}

/// In an order in which each has something to do.
pub(crate) const COMMANDS: [Command; 5] = [
    Command::Run,
    Command::Replay,
    Command::Replace,
    Command::Compact,
    Command::Prune,
];

impl Command {
    pub(crate) fn pays(self) -> bool {
        matches!(self, Self::Run | Self::Replace)
    }
}

const PART_BYTES: usize = 12 << 10;

/// A lake in memory and everything around it.
pub(crate) struct World {
    pub(crate) site: Site,
    pub(crate) simulator: Arc<Simulator>,
    pub(crate) clock: Clock,
    pub(crate) objects: Arc<InMemory>,
    targets: Vec<String>,
    in_flight: u32,
    /// Lines of the pipeline file's `[lake]` table.
    lake: &'static str,
}

impl World {
    pub(crate) fn new(targets: usize, lake: &'static str) -> Self {
        Self::at(noon(), lines(targets).collect(), 4, lake)
    }

    /// A world with as many requests in flight as an account may have, and more than twice as many requests.
    pub(crate) fn wide() -> Self {
        let targets = (0..6500).map(|n| format!("site{n}.com"));
        Self::at(noon(), targets.collect(), 30, "")
    }

    fn at(now: DateTime<Utc>, targets: Vec<String>, in_flight: u32, lake: &'static str) -> Self {
        let clock = Clock::simulated(now);
        let behaviour = Behaviour {
            date: Some(date()),
            latency: Duration::from_millis(800),
            ..Behaviour::default()
        };
        let simulator = Arc::new(Simulator::new(behaviour, &clock));
        let api = format!("[api]\nmax_in_flight = {in_flight}");
        Self {
            site: Site::new(&targets).with_lake(lake).with(&api),
            simulator,
            clock,
            objects: Arc::default(),
            targets,
            in_flight,
            lake,
        }
    }

    /// A copy of the world, an hour later.
    pub(crate) fn fork(&self) -> Self {
        let now = self.clock.now() + chrono::Duration::hours(1);
        let forked = Self::at(now, self.targets.clone(), self.in_flight, self.lake);
        forked.simulator.restore_ledger(self.simulator.ledger());
        Self {
            objects: Arc::new(self.objects.fork()),
            ..forked
        }
    }

    /// The lake as it is.
    pub(crate) fn store(&self) -> Store {
        Self::over(Arc::clone(&self.objects) as _)
    }

    /// The lake with interference.
    pub(crate) fn interfered<I: Interference>(&self, by: &Arc<I>) -> Store {
        let inner = Arc::clone(&self.objects) as Arc<dyn ObjectStore>;
        Self::over(Arc::new(Interfered::new(inner, by)))
    }

    /// A lake in which some files are so large for their parts that they are uploaded in several.
    fn over(objects: Arc<dyn ObjectStore>) -> Store {
        Store::over(objects, "memory").with_part_bytes(PART_BYTES)
    }

    pub(crate) fn surroundings(&self, store: &Store) -> Surroundings<'static> {
        in_turns(Surroundings {
            store: Some(store.clone()),
            ..surroundings(&self.simulator, &self.clock)
        })
    }

    /// Does a command to the lake, for the snapshot of all tests.
    pub(crate) async fn play(
        &self,
        command: Command,
        store: &Store,
    ) -> backlake::error::Result<RunState> {
        self.play_date(command, date(), store).await
    }

    pub(crate) async fn play_date(
        &self,
        command: Command,
        date: NaiveDate,
        store: &Store,
    ) -> backlake::error::Result<RunState> {
        let pipeline = self.site.pipeline_of(date, &self.simulator.url());
        let env = self.surroundings(store);
        let (clock, stop, owner) = (&self.clock, Stop::default(), Owner::this_process());
        let store = store.patient(clock, &stop, Duration::from_secs(600));
        let mode = RunMode {
            begins: Begins::AnyDate,
            ..RunMode::default()
        };
        let end = match command {
            Command::Run => run(&pipeline, mode, &env).await?,
            Command::Replay => replay(&pipeline, FindingsMode::Hold, &env).await?,
            Command::Replace => {
                let start = StartMode::Replace;
                run(&pipeline, RunMode { start, ..mode }, &env).await?
            }
            Command::Compact => {
                let found = to_compact(&store, None, clock.today()).await?;
                let dates: Vec<_> = found.iter().map(|found| found.snapshot).collect();
                compact(&store, &dates, &owner, clock, &stop).await?;
                return Ok(RunState::Published);
            }
            Command::Prune => {
                let keep = Keep {
                    newest: Some(1),
                    days: None,
                };
                let plan = to_prune(&store, keep, keep, clock.today()).await?;
                prune(&store, &plan, &owner, clock, &stop).await?;
                return Ok(RunState::Published);
            }
        };
        assert_eq!(end.report.state == RunState::Open, end.error.is_some());
        end.error.map_or(Ok(end.report.state), Err)
    }

    /// The lake is sound, and the provider has charged for this many requests.
    pub(crate) async fn check(&self, charged: usize, what: &str) {
        assert_eq!(self.simulator.ledger().len(), charged, "{what}");
        self.check_lake(what).await;
    }

    /// The lake is sound.
    pub(crate) async fn check_lake(&self, what: &str) {
        let store = self.store();
        let found = strays(&store, self.clock.now()).await.unwrap();
        assert_eq!(found, [""; 0], "{what}");
        for date in snapshots(&store).await.unwrap() {
            let found = audit(&store, date).await.unwrap().unwrap();
            assert_eq!(found.problems, [""; 0], "{what}");
        }
    }

    /// Puts these objects in the place of all objects of the lake.
    pub(crate) async fn replace_by(&self, objects: &BTreeMap<String, Bytes>) {
        for path in self.tree().await.into_keys() {
            self.objects.delete(&path.into()).await.unwrap();
        }
        for (path, bytes) in objects {
            let path = path.as_str().into();
            self.objects.put(&path, bytes.clone().into()).await.unwrap();
        }
    }

    /// Every object of the lake, by its path.
    pub(crate) async fn tree(&self) -> BTreeMap<String, Bytes> {
        contents(&self.objects).await
    }
}

/// Runs a test in simulated time.
pub(crate) fn simulated<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(work)
}
