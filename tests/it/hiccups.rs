//! A store that hiccups costs time and nothing else: no paid response is lost, nothing is paid twice,
//! no command fails, and the lake is sound.
//!
//! A seed decides which operation of each command meets which trouble, and time is simulated:
//! `SEED=17 cargo test --test it hiccups` plays one seed again. The campaign counts how often it
//! reached each trouble, operation and command, and fails when one is never reached.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backlake::clock::Clock;
use backlake::error::{Error, ErrorKind};
use backlake::lake::{audit, snapshots, strays};
use backlake::pipeline::{FindingsMode, RunMode, RunState, StartMode, Surroundings, replay, run};
use backlake::simulator::{Behaviour, Simulator};
use backlake::stop::Stop;
use backlake::store::{Owner, Store};
use backlake::upkeep::{Keep, compact, prune, to_compact, to_prune};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use strum::VariantArray;

use crate::harness::{Site, mixed_targets as lines, simulator, surroundings};

/// What a store does instead of what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, VariantArray)]
enum Trouble {
    /// It fails, and nothing has happened.
    Before,
    /// It fails, although it has happened.
    After,
    Slow,
    /// 409, to a write.
    Conflict,
    /// 412, to a write.
    Precondition,
    /// 401 or 403: the credentials have expired.
    Expired,
}

/// The status of a failure, as `object_store` says it.
const STATUSES: [&str; 5] = ["429", "500", "501", "502", "503"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    Put,
    Create,
    Update,
    Get,
    List,
    Delete,
}

const OPERATIONS: [Operation; 6] = [
    Operation::Put,
    Operation::Create,
    Operation::Update,
    Operation::Get,
    Operation::List,
    Operation::Delete,
];

#[derive(Debug)]
struct Plan {
    trouble: Trouble,
    /// The number of the operation at which it begins.
    at: u64,
    /// It begins with an operation on a path that begins with this.
    on: &'static str,
    /// How long it lasts. Zero: one operation.
    lasts: Duration,
    status: &'static str,
}

/// A store in memory with trouble.
#[derive(Debug)]
struct Troubled {
    inner: InMemory,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    plan: Option<Plan>,
    /// Operations since the plan was made.
    count: u64,
    /// When the trouble began.
    since: Option<Duration>,
    reached: BTreeMap<(Trouble, Operation), u64>,
}

impl Troubled {
    fn new(clock: &Clock) -> Arc<Self> {
        Arc::new(Self {
            inner: InMemory::new(),
            clock: clock.clone(),
            state: Mutex::default(),
        })
    }

    fn plan(&self, plan: Option<Plan>) {
        let mut state = self.state.lock();
        (state.plan, state.count, state.since) = (plan, 0, None);
    }

    /// The trouble that this operation meets.
    fn meets(&self, operation: Operation, path: &Path) -> Option<(Trouble, &'static str)> {
        let mut state = self.state.lock();
        let number = state.count;
        state.count += 1;
        let now = self.clock.running();
        let plan = state.plan.as_ref()?;
        let (trouble, status, lasts) = (plan.trouble, plan.status, plan.lasts);
        let begins =
            state.since.is_none() && number >= plan.at && path.as_ref().starts_with(plan.on);
        let goes_on = state.since.is_some_and(|since| now < since + lasts);
        let is_write = !matches!(operation, Operation::Get | Operation::List);
        let fits = match trouble {
            Trouble::Conflict | Trouble::Precondition => {
                matches!(operation, Operation::Create | Operation::Update)
            }
            Trouble::After => is_write,
            _ => true,
        };
        if !(begins || goes_on) || !fits {
            return None;
        }
        // Simulated time stands still while a thread waits for responses to write, so nothing there may take time.
        let is_read_to_publish =
            operation == Operation::Get && path.as_ref().starts_with("_archive");
        if is_read_to_publish && (trouble == Trouble::Slow || goes_on) {
            return None;
        }
        state.since.get_or_insert(now);
        *state.reached.entry((trouble, operation)).or_default() += 1;
        Some((trouble, status))
    }

    /// Does the operation, as far as its trouble allows.
    async fn with_trouble<T>(
        &self,
        operation: Operation,
        path: &Path,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let Some((trouble, status)) = self.meets(operation, path) else {
            return work.await;
        };
        let path = path.to_string();
        let source: Box<dyn std::error::Error + Send + Sync> = status.into();
        match trouble {
            Trouble::Slow => {
                self.clock.sleep(Duration::from_secs(7)).await;
                return work.await;
            }
            Trouble::After => drop(work.await?),
            Trouble::Before | Trouble::Conflict | Trouble::Precondition | Trouble::Expired => {}
        }
        Err(match trouble {
            Trouble::Conflict => object_store::Error::AlreadyExists { path, source },
            Trouble::Precondition => match operation {
                Operation::Create => object_store::Error::AlreadyExists { path, source },
                _ => object_store::Error::Precondition { path, source },
            },
            Trouble::Expired => object_store::Error::Unauthenticated { path, source },
            _ => object_store::Error::Generic {
                store: "troubled",
                source,
            },
        })
    }
}

/// The store as `Store` takes it.
#[derive(Debug, Clone)]
struct Shared(Arc<Troubled>);

impl std::fmt::Display for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("troubled")
    }
}

#[async_trait]
impl ObjectStore for Shared {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let operation = match options.mode {
            PutMode::Overwrite => Operation::Put,
            PutMode::Create => Operation::Create,
            PutMode::Update(_) => Operation::Update,
        };
        let put = self.0.inner.put_opts(location, payload, options);
        self.0.with_trouble(operation, location, put).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let get = self.0.inner.get_opts(location, options);
        self.0.with_trouble(Operation::Get, location, get).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let get = self.0.inner.get_ranges(location, ranges);
        self.0.with_trouble(Operation::Get, location, get).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let deleted = async move {
            let delete = store
                .0
                .inner
                .delete_stream(locations)
                .try_collect::<Vec<_>>();
            let path = Path::default();
            let deleted = store
                .0
                .with_trouble(Operation::Delete, &path, delete)
                .await?;
            Ok::<_, object_store::Error>(stream::iter(deleted.into_iter().map(Ok)))
        };
        stream::once(deleted).try_flatten().boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned().unwrap_or_default());
        let listed = async move {
            let list = store.0.inner.list(Some(&prefix)).try_collect::<Vec<_>>();
            let listed = store.0.with_trouble(Operation::List, &prefix, list).await?;
            Ok::<_, object_store::Error>(stream::iter(listed.into_iter().map(Ok)))
        };
        stream::once(listed).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let list = self.0.inner.list_with_delimiter(prefix);
        let path = prefix.cloned().unwrap_or_default();
        self.0.with_trouble(Operation::List, &path, list).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.inner.copy_opts(from, to, options).await
    }
}

/// A lake in memory and everything around it.
struct World {
    site: Site,
    simulator: Arc<Simulator>,
    clock: Clock,
    troubled: Arc<Troubled>,
    store: Store,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Command {
    Run,
    Replay,
    Replace,
    Compact,
    Prune,
}

const COMMANDS: [Command; 5] = [
    Command::Run,
    Command::Replay,
    Command::Replace,
    Command::Compact,
    Command::Prune,
];

impl World {
    async fn new() -> Self {
        let latency = Duration::from_millis(800);
        let behaviour = Behaviour {
            latency,
            ..Behaviour::default()
        };
        let (simulator, clock) = simulator(behaviour).await;
        let troubled = Troubled::new(&clock);
        let store = Store::over(Arc::new(Shared(Arc::clone(&troubled))), "troubled");
        Self {
            site: Site::new(lines(900)).with("[api]\nmax_in_flight = 4"),
            simulator,
            clock,
            troubled,
            store,
        }
    }

    fn surroundings(&self) -> Surroundings<'static> {
        Surroundings {
            store: Some(self.store.clone()),
            ..surroundings(&self.simulator, &self.clock)
        }
    }

    async fn play(&self, command: Command) -> backlake::error::Result<()> {
        let pipeline = self.site.pipeline(&self.simulator.url());
        let env = self.surroundings();
        let (clock, stop, owner) = (&self.clock, Stop::default(), Owner::this_process());
        let store = self.store.patient(clock, &stop, Duration::from_secs(600));
        let end = match command {
            Command::Run => run(&pipeline, RunMode::default(), &env).await?,
            Command::Replay => replay(&pipeline, FindingsMode::Hold, &env).await?,
            Command::Replace => {
                let mode = RunMode {
                    start: StartMode::Replace,
                    ..RunMode::default()
                };
                run(&pipeline, mode, &env).await?
            }
            Command::Compact => {
                let found = to_compact(&store, None, clock.today()).await?;
                let dates: Vec<_> = found.iter().map(|found| found.snapshot).collect();
                return compact(&store, &dates, &owner, clock, &stop).await;
            }
            Command::Prune => {
                let keep = Keep {
                    newest: Some(1),
                    days: None,
                };
                let plan = to_prune(&store, keep, keep, clock.today()).await?;
                return prune(&store, &plan, &owner, clock, &stop).await;
            }
        };
        assert_eq!(end.report.state == RunState::Published, end.error.is_none());
        end.error.map_or(Ok(()), Err)
    }

    async fn check(&self, charged: usize, what: &str) {
        self.troubled.plan(None);
        assert_eq!(self.simulator.ledger().len(), charged, "{what}");
        assert_eq!(strays(&self.store).await.unwrap(), [""; 0], "{what}");
        for date in snapshots(&self.store).await.unwrap() {
            let found = audit(&self.store, date).await.unwrap().unwrap();
            assert_eq!(found.problems, [""; 0], "{what}");
        }
    }
}

/// Plays every command with trouble, and returns what was reached.
async fn play(
    seed: u64,
    undisturbed: &[(Command, u64, usize)],
) -> BTreeMap<(Trouble, Operation), u64> {
    let mut random = fastrand::Rng::with_seed(seed);
    let world = World::new().await;
    for &(command, operations, charged) in undisturbed {
        let trouble = Trouble::VARIANTS[random.usize(..Trouble::VARIANTS.len())];
        let plan = Plan {
            trouble,
            // The first operation finds out whether there is a lake at all.
            at: random.u64(1..operations),
            on: "",
            lasts: Duration::from_secs(if random.bool() { 10 } else { 0 }),
            status: STATUSES[random.usize(..STATUSES.len())],
        };
        let what = format!("seed {seed}: {command:?} with {plan:?}");
        world.troubled.plan(Some(plan));
        let mut end = world.play(command).await;
        // Credentials that fail before they have ever worked are not waited for; nothing was sent.
        if trouble == Trouble::Expired
            && matches!(&end, Err(error) if error.kind() == ErrorKind::Usage)
        {
            world.troubled.plan(None);
            end = world.play(command).await;
        }
        assert!(end.is_ok(), "{what}: {}", end.unwrap_err());
        world.check(charged, &what).await;
    }
    world.troubled.state.lock().reached.clone()
}

fn simulated<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(work)
}

#[test]
fn whatever_a_store_does_for_ten_seconds_every_command_succeeds_and_nothing_is_paid_twice() {
    let undisturbed = simulated(async {
        let (world, mut found) = (World::new().await, Vec::new());
        for command in COMMANDS {
            world.troubled.plan(None);
            world.play(command).await.unwrap();
            let operations = world.troubled.state.lock().count;
            found.push((command, operations, world.simulator.ledger().len()));
        }
        found
    });
    let only = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse::<u64>().ok());
    let seeds = if cfg!(debug_assertions) { 12 } else { 300 };
    let mut reached: BTreeMap<(Trouble, Operation), u64> = BTreeMap::new();
    for seed in only.map_or(0..seeds, |seed| seed..seed + 1) {
        for (branch, count) in simulated(play(seed, &undisturbed)) {
            *reached.entry(branch).or_default() += count;
        }
    }
    println!("branches reached: {reached:?}");
    if only.is_some() {
        return;
    }
    for &trouble in Trouble::VARIANTS {
        assert!(
            reached.keys().any(|branch| branch.0 == trouble),
            "{trouble:?}: {reached:?}"
        );
    }
    for operation in OPERATIONS {
        assert!(
            reached.keys().any(|branch| branch.1 == operation),
            "{operation:?}: {reached:?}"
        );
    }
}

/// Runs with a store that fails from an operation on, for this long.
async fn fails_for(world: &World, seconds: u64) -> Option<Error> {
    world.troubled.plan(Some(Plan {
        trouble: Trouble::Before,
        at: 0,
        on: "_archive/2026-11-23/0",
        lasts: Duration::from_secs(seconds),
        status: "503",
    }));
    world.play(Command::Run).await.err()
}

#[test]
fn responses_in_flight_outlast_a_store_that_fails_for_minutes() {
    for seconds in [6, 60, 590] {
        simulated(async {
            let undisturbed = World::new().await;
            undisturbed.play(Command::Run).await.unwrap();
            let world = World::new().await;
            let error = fails_for(&world, seconds).await;
            assert!(error.is_none(), "{seconds} s: {}", error.unwrap());
            world
                .check(undisturbed.simulator.ledger().len(), "a store that fails")
                .await;
        });
    }
}

#[test]
fn a_response_that_the_store_never_takes_is_kept_on_disk_and_the_next_start_archives_it() {
    simulated(async {
        let undisturbed = World::new().await;
        undisturbed.play(Command::Run).await.unwrap();
        let world = World::new().await;
        let error = fails_for(&world, 1200).await.unwrap();
        assert_eq!(error.kind(), ErrorKind::Unexpected);
        let (_, place) = error.hint().split_once("kept in ").unwrap();
        let place = place.split(';').next().unwrap();
        assert!(std::path::Path::new(place).exists(), "{place}");
        // The store works again, and the lock has expired.
        world.clock.sleep(Duration::from_secs(1200)).await;
        world.play(Command::Run).await.unwrap();
        assert!(!std::path::Path::new(place).exists(), "{place}");
        world
            .check(undisturbed.simulator.ledger().len(), "spilled")
            .await;
    });
}
