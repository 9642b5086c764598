//! A store that hiccups costs time and nothing else: no paid response is lost, nothing is paid twice,
//! no command fails, and the lake is sound.
//!
//! A seed decides which operation of each command meets which trouble, and time is simulated:
//! `SEED=17 cargo test --test it hiccups` plays one seed again. The campaign counts how often it
//! reached each trouble, operation and command, and fails when one is never reached.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backlake::clock::Clock;
use backlake::error::{Error, ErrorKind};
use backlake::pipeline::{Progress, RunMode, Surroundings, run};
use futures::future::BoxFuture;
use object_store::Result;
use object_store::path::Path;
use parking_lot::Mutex;
use strum::VariantArray;

use crate::campaign::{Left, only_seed, seeds};
use crate::interfering::{Interference, OPERATIONS, Operation};
use crate::world::{COMMANDS, Command, World, simulated};

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

#[derive(Debug)]
struct Plan {
    trouble: Trouble,
    /// The number of the operation at which it begins.
    at: usize,
    /// It begins with an operation on a path that begins with this.
    on: &'static str,
    /// How long it lasts. Zero: one operation.
    lasts: Duration,
    status: &'static str,
}

/// Trouble with a store.
#[derive(Debug)]
struct Troubled {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    plan: Option<Plan>,
    /// The operations since the plan was made.
    operations: Vec<Operation>,
    /// When the trouble began.
    since: Option<Duration>,
    reached: BTreeMap<(Trouble, Operation), u64>,
}

impl Troubled {
    fn new(clock: &Clock) -> Arc<Self> {
        Arc::new(Self {
            clock: clock.clone(),
            state: Mutex::default(),
        })
    }

    fn plan(&self, plan: Option<Plan>) {
        let mut state = self.state.lock();
        (state.plan, state.since) = (plan, None);
        state.operations.clear();
    }

    /// The trouble that this operation meets.
    fn meets(&self, operation: Operation, path: &Path) -> Option<(Trouble, &'static str)> {
        let mut state = self.state.lock();
        let number = state.operations.len();
        state.operations.push(operation);
        let now = self.clock.running();
        let plan = state.plan.as_ref()?;
        let (trouble, status, lasts) = (plan.trouble, plan.status, plan.lasts);
        let begins =
            state.since.is_none() && number >= plan.at && path.as_ref().starts_with(plan.on);
        let goes_on = state.since.is_some_and(|since| now < since + lasts);
        let is_write = operation.is_write();
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
}

#[async_trait]
impl Interference for Troubled {
    async fn around(
        &self,
        operation: Operation,
        path: &Path,
        work: BoxFuture<'_, Result<()>>,
    ) -> Result<()> {
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
            Trouble::After => work.await?,
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

/// A world whose store has trouble.
struct Trial {
    world: World,
    troubled: Arc<Troubled>,
}

impl Trial {
    fn new() -> Self {
        Self::of(World::new(900, ""))
    }

    /// With 30 requests in flight.
    fn wide() -> Self {
        Self::of(World::wide())
    }

    fn of(world: World) -> Self {
        let troubled = Troubled::new(&world.clock);
        Self { world, troubled }
    }

    async fn play(&self, command: Command) -> backlake::error::Result<()> {
        let store = self.world.interfered(&self.troubled);
        self.world.play(command, &store).await.map(drop)
    }

    fn charged(&self) -> usize {
        self.world.simulator.ledger().len()
    }
}

/// A command without trouble.
struct Undisturbed {
    command: Command,
    operations: Vec<Operation>,
    /// How many requests are charged after it.
    charged: usize,
}

/// Plays all commands without trouble.
async fn undisturbed(trial: Trial) -> Vec<Undisturbed> {
    let mut found = Vec::new();
    for command in COMMANDS {
        trial.troubled.plan(None);
        trial.play(command).await.unwrap();
        let operations = trial.troubled.state.lock().operations.clone();
        found.push(Undisturbed {
            command,
            operations,
            charged: trial.charged(),
        });
    }
    found
}

/// Chooses an operation. Each kind is as likely as the others, although a command has few of some.
fn any_of(operations: &[Operation], random: &mut fastrand::Rng) -> usize {
    // The first operation finds out whether there is a lake at all.
    let numbered = || (0..).zip(operations).skip(1);
    let kinds: BTreeSet<_> = numbered().map(|(_, kind)| kind).collect();
    let kind = random.choice(kinds);
    let of_kind = numbered().filter(|(_, other)| Some(*other) == kind);
    random.choice(of_kind.collect::<Vec<_>>()).unwrap().0
}

type Reached = BTreeMap<(Trouble, Operation), u64>;

/// Plays every command with trouble, and returns what was reached and what is left.
async fn play(seed: u64, trial: Trial, undisturbed: &[Undisturbed]) -> (Reached, Left) {
    let mut random = fastrand::Rng::with_seed(seed);
    for undisturbed in undisturbed {
        let (command, charged) = (undisturbed.command, undisturbed.charged);
        let trouble = Trouble::VARIANTS[random.usize(..Trouble::VARIANTS.len())];
        let plan = Plan {
            trouble,
            at: any_of(&undisturbed.operations, &mut random),
            on: "",
            lasts: Duration::from_secs(if random.bool() { 10 } else { 0 }),
            status: STATUSES[random.usize(..STATUSES.len())],
        };
        let what = format!("seed {seed}: {command:?} with {plan:?}");
        trial.troubled.plan(Some(plan));
        let mut end = trial.play(command).await;
        // Credentials that fail before they have ever worked are not waited for; nothing was sent.
        if trouble == Trouble::Expired
            && matches!(&end, Err(error) if error.kind() == ErrorKind::Usage)
        {
            trial.troubled.plan(None);
            end = trial.play(command).await;
        }
        assert!(end.is_ok(), "{what}: {}", end.unwrap_err());
        trial.world.check(charged, &what).await;
    }
    let World {
        simulator, objects, ..
    } = &trial.world;
    let left = Left::of(simulator, objects).await;
    let reached = trial.troubled.state.lock().reached.clone();
    (reached, left)
}

/// Plays these seeds with four requests in flight, and returns what each has left.
pub(crate) fn left(seeds: impl Iterator<Item = u64>) -> Vec<Left> {
    let narrow = simulated(async { undisturbed(Trial::new()).await });
    let play = |seed| simulated(async { play(seed, Trial::new(), &narrow).await.1 });
    seeds.map(play).collect()
}

#[test]
fn whatever_a_store_does_for_ten_seconds_every_command_succeeds_and_nothing_is_paid_twice() {
    let narrow = simulated(async { undisturbed(Trial::new()).await });
    let wide = simulated(async { undisturbed(Trial::wide()).await });
    let mut reached = Reached::new();
    for seed in seeds(12, 300) {
        // Few seeds with 30 requests in flight: they take long.
        let (found, _) = simulated(async {
            match seed % 6 {
                5 => play(seed, Trial::wide(), &wide).await,
                _ => play(seed, Trial::new(), &narrow).await,
            }
        });
        for (branch, count) in found {
            *reached.entry(branch).or_default() += count;
        }
    }
    println!("branches reached: {reached:?}");
    if only_seed().is_some() {
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

/// The store fails from the first response on, for this long.
fn outage(seconds: u64) -> Plan {
    Plan {
        trouble: Trouble::Before,
        at: 0,
        on: "_archive/2026-11-23/0",
        lasts: Duration::from_secs(seconds),
        status: "503",
    }
}

/// Runs during an outage.
async fn fails_for(trial: &Trial, seconds: u64) -> Option<Error> {
    trial.troubled.plan(Some(outage(seconds)));
    trial.play(Command::Run).await.err()
}

#[test]
fn responses_in_flight_outlast_a_store_that_fails_for_minutes() {
    for (trial, in_flight) in [(Trial::new as fn() -> Trial, 1), (Trial::wide, 30)] {
        let charged = simulated(async {
            let undisturbed = trial();
            undisturbed.play(Command::Run).await.unwrap();
            let most = undisturbed.world.simulator.most_in_flight();
            assert!(most >= in_flight, "{most}");
            undisturbed.charged()
        });
        for seconds in [6, 60, 590] {
            simulated(async {
                let trial = trial();
                let error = fails_for(&trial, seconds).await;
                assert!(error.is_none(), "{seconds} s: {}", error.unwrap());
                trial.world.check(charged, "a store that fails").await;
            });
        }
    }
}

#[test]
fn a_response_that_the_store_never_takes_is_kept_on_disk_and_the_next_start_archives_it() {
    simulated(async {
        let undisturbed = Trial::new();
        undisturbed.play(Command::Run).await.unwrap();
        let trial = Trial::new();
        let error = fails_for(&trial, 1200).await.unwrap();
        assert_eq!(error.kind(), ErrorKind::Unexpected);
        let (_, place) = error.hint().split_once("kept in ").unwrap();
        let place = std::path::Path::new(place.split(';').next().unwrap());
        assert!(place.exists(), "{}", place.display());
        // The store works again, and the lock has expired.
        trial.world.clock.sleep(Duration::from_secs(1200)).await;
        // A run in an empty lake, as if the disk were not mounted, does not delete the kept response.
        let (lake, ledger) = (trial.world.tree().await, trial.world.simulator.ledger());
        trial.world.replace_by(&BTreeMap::new()).await;
        trial.play(Command::Run).await.unwrap();
        assert!(place.exists(), "{}", place.display());
        trial.world.replace_by(&lake).await;
        trial.world.simulator.restore_ledger(ledger);
        trial.play(Command::Run).await.unwrap();
        // Neither the file nor the folders of the date and of the lake are left.
        let left = place.ancestors().take(3).find(|left| left.exists());
        assert_eq!(left, None);
        trial.world.check(undisturbed.charged(), "spilled").await;
    });
}

#[test]
fn progress_says_when_a_run_waits_for_the_lake_and_when_it_goes_on() {
    simulated(async {
        let trial = Trial::new();
        trial.troubled.plan(Some(outage(60)));
        let seen = Mutex::new(Vec::new());
        let on_progress = |progress: Progress| {
            if matches!(progress, Progress::LakeFails | Progress::LakeWorks) {
                seen.lock().push(progress);
            }
        };
        let store = trial.world.interfered(&trial.troubled);
        let env = Surroundings {
            on_progress: &on_progress,
            ..trial.world.surroundings(&store)
        };
        let pipeline = trial.world.site.pipeline(&trial.world.simulator.url());
        let end = Box::pin(run(&pipeline, RunMode::default(), &env)).await;
        assert!(end.unwrap().error.is_none());
        assert_eq!(*seen.lock(), [Progress::LakeFails, Progress::LakeWorks]);
    });
}
