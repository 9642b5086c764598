//! The program, killed at any of its file operations in a lake on a disk, and repeated once: nothing is paid again but
//! what was in flight, nothing is left over, and the lake is sound.
//!
//! `kill_at.c` stops the program at each operation, counts it, and kills the whole process before the one with a given
//! number or as soon as it has happened. The campaign takes one point in some, from a seed:
//! `SEED=3 cargo test --test it killed_on_disk`; with `ALL=1` it takes every one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output};
use std::sync::Arc;

use backlake::contract::Table;
use backlake::simulator::{Behaviour, Charge, LOGIN, PASSWORD, Simulator};
use futures::StreamExt as _;
use tempfile::TempDir;

use crate::campaign::{archived, check_books, check_summary, only_seed, reduced_or_full, shape};
use crate::harness::{Site, date, listening, mixed_targets, program, text};
use crate::killing::settled;
use crate::world::{COMMANDS, Command};

const IN_FLIGHT: usize = 3;
/// The exit code of `kill_at` after it has killed.
const KILLED: i32 = 137;

/// The program that kills another one, and the folder that it is in.
struct Killer(TempDir);

impl Killer {
    fn compile() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/kill_at.c");
        let compiled = Process::new("cc")
            .args(["-O1", "-o"])
            .arg(folder.path().join("kill_at"))
            .arg(source)
            .output()
            .unwrap();
        assert!(compiled.status.success(), "{}", text(&compiled.stderr));
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("kill_at")
    }
}

/// When to kill.
#[derive(Debug, Clone, Copy)]
enum When {
    Before,
    After,
    Never,
}

/// A lake on a disk and its provider.
struct Lake {
    site: Site,
    simulator: Simulator,
}

/// The files of a lake, and what the provider has charged until then.
struct Saved {
    files: BTreeMap<String, Vec<u8>>,
    ledger: Vec<Charge>,
}

impl Lake {
    async fn new(keys: &str) -> Self {
        let api = format!(
            "[api]\nmax_in_flight = {IN_FLIGHT}\nrequests_per_minute = 10000\nlisted_after_seconds = 1"
        );
        let site = Site::new(mixed_targets(250)).with_lake(keys).with(&api);
        // The campaign starts more often per minute than a real account may.
        let behaviour = Behaviour {
            user_data_per_minute: 10_000,
            ..Behaviour::default()
        };
        let simulator = listening(behaviour).await;
        site.write("pipeline.toml", site.text());
        std::fs::create_dir(site.lake()).unwrap();
        Self { site, simulator }
    }

    fn save(&self) -> Saved {
        Saved {
            files: self.site.tree(),
            ledger: self.simulator.ledger(),
        }
    }

    async fn restore(keys: &str, saved: &Saved) -> Self {
        let lake = Self::new(keys).await;
        for (name, bytes) in &saved.files {
            let path = lake.site.lake().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        lake.simulator.restore_ledger(saved.ledger.clone());
        lake
    }

    /// The command line of a command.
    fn args(&self, command: Command) -> Vec<String> {
        let lake = self.site.lake().display().to_string();
        let file = self.site.folder.path().join("pipeline.toml");
        let file = file.display().to_string();
        let url = self.simulator.url();
        let args: &[&str] = match command {
            Command::Run => &["run", &file, "--base-url", &url, "--backfill"],
            Command::Replay => &["replay", &file, "--base-url", &url],
            Command::Replace => &["run", &file, "--base-url", &url, "--replace"],
            Command::Compact => &["compact", &lake, "--yes"],
            Command::Prune => &[
                "prune",
                &lake,
                "--keep-snapshots",
                "1",
                "--keep-archives",
                "1",
                "--yes",
            ],
        };
        args.iter().map(ToString::to_string).collect()
    }

    /// Runs the program to its end.
    fn finish(&self, args: &[String]) -> Output {
        output(program().args(args))
    }

    /// Runs a command until a kill, and returns its operations and the output.
    fn until(
        &self,
        killer: &Killer,
        command: Command,
        at: i64,
        when: When,
    ) -> (Vec<String>, Output) {
        let log = self.site.folder.path().join("operations");
        let program = program();
        let folder = self.site.lake().canonicalize().unwrap();
        let when = match when {
            When::Before | When::Never => "before",
            When::After => "after",
        };
        let mut killed = Process::new(killer.path());
        killed.arg(folder).args([&at.to_string(), when]).arg(&log);
        killed.arg(program.get_program()).args(self.args(command));
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => killed.env(name, value),
                None => killed.env_remove(name),
            };
        }
        let output = output(&mut killed);
        let log = std::fs::read_to_string(log).unwrap();
        (log.lines().map(str::to_owned).collect(), output)
    }

    fn names(&self) -> impl Iterator<Item = String> {
        self.site.tree().into_keys()
    }

    /// The lake and its archive are sound.
    fn verify(&self, what: &str) {
        let place = self.site.lake().display().to_string();
        let audit = self.finish(&["verify".to_owned(), "--archive".to_owned(), place]);
        let (said, errors) = (text(&audit.stdout), text(&audit.stderr));
        assert!(audit.status.success(), "{what}: {said}{errors}");
    }

    /// Files and folders that no finished command leaves.
    fn left_over(&self) -> Vec<String> {
        let files = self.names().filter(|name| is_temporary(name));
        let entries = |folder: &str| {
            let entries = std::fs::read_dir(self.site.lake().join(folder));
            let entries = entries.into_iter().flatten();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names
                .map(|name| format!("{folder}/{name}"))
                .collect::<Vec<_>>()
        };
        let probed = [".", "_runs", "_archive", "_snapshots"].into_iter();
        let probed = probed.chain(Table::ALL.map(Table::name)).flat_map(entries);
        let probed = probed.filter(|name| name.contains("/.probe-"));
        let staged = entries("_staging");
        let found: BTreeSet<String> = files.chain(probed).chain(staged).collect();
        found.into_iter().collect()
    }
}

fn is_temporary(name: &str) -> bool {
    name.contains('#') || name.contains(".backlake-") || name.contains(".probe-")
}

/// Makes files old enough to be left-overs.
fn age(lake: &Lake, names: &[String]) {
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    for name in names {
        let file = std::fs::File::open(lake.site.lake().join(name)).unwrap();
        file.set_modified(long_ago).unwrap();
    }
}

/// Waits for a process without holding up the simulators, which run on the same threads.
fn output(command: &mut Process) -> Output {
    command
        .env("DATAFORSEO_LOGIN", LOGIN)
        .env("DATAFORSEO_PASSWORD", PASSWORD);
    tokio::task::block_in_place(|| command.output().unwrap())
}

/// The lake before a command, and what the command does if nothing disturbs it.
struct Case {
    keys: &'static str,
    command: Command,
    before: Saved,
    operations: Vec<String>,
    charged: usize,
    after: BTreeMap<String, usize>,
}

async fn cases(killer: &Killer, keys: &'static str) -> Vec<Case> {
    let mut lake = Lake::new(keys).await;
    let yesterday = date().pred_opt().unwrap().to_string();
    let mut args = lake.args(Command::Run);
    args.extend(["--snapshot".to_owned(), yesterday]);
    let output = lake.finish(&args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut cases = Vec::new();
    for command in COMMANDS {
        let before = lake.save();
        lake = Lake::restore(keys, &before).await;
        let (operations, output) = lake.until(killer, command, -1, When::Never);
        assert!(output.status.success(), "{}", text(&output.stderr));
        cases.push(Case {
            keys,
            command,
            before,
            operations,
            charged: lake.simulator.ledger().len(),
            after: shape(lake.names()),
        });
    }
    cases
}

/// Kills a command at an operation, repeats it once, and checks what is promised. Returns the kind of the operation, or
/// `None` if the command ended before it.
async fn killed(killer: &Killer, case: &Case, at: usize, when: When) -> Option<String> {
    let Case { command, keys, .. } = *case;
    let lake = Lake::restore(keys, &case.before).await;
    let kept = archived(lake.names());
    let (operations, output) = lake.until(killer, command, at.try_into().unwrap(), when);
    let last = operations.last().cloned().unwrap_or_default();
    let what = format!("{command:?} killed {when:?} operation {at} ({last}), {keys}");
    let code = output.status.code();
    if code == Some(0) && operations.len() <= at {
        // How many operations a command takes differs a little: which of its threads makes a folder, whether the lock
        // is renewed.
        return None;
    }
    assert_eq!(code, Some(KILLED), "{what}: {}", text(&output.stderr));
    let kind = last.split(' ').next().unwrap_or_default().to_owned();
    if is_over(&operations, when) {
        lake.verify(&what);
        return Some(kind);
    }
    settled(&lake.simulator).await;
    let lost = match command.pays() {
        true => {
            let paid = lake.simulator.ledger().len() - case.before.ledger.len();
            paid - (archived(lake.names()) - kept)
        }
        false => 0,
    };
    assert!(lost <= IN_FLIGHT, "{what}: {lost} responses are lost");
    let output = lake.finish(&lake.args(command));
    assert!(output.status.success(), "{what}: {}", text(&output.stderr));
    let charged = lake.simulator.ledger().len();
    assert_eq!(charged, case.charged + lost, "{what}");
    let names = lake.names().filter(|name| !is_temporary(name));
    assert_eq!(shape(names), case.after, "{what}");
    let left = lake.left_over();
    if !left.is_empty() {
        // Another process could be writing these without having a lock. They go when they are old.
        let kinds = ["/locks/", "/.probe-"];
        let is_shared = |name: &String| kinds.iter().any(|kind| name.contains(kind));
        assert!(left.iter().all(is_shared), "{what}: {left:?}");
        age(&lake, &left);
        let output = lake.finish(&lake.args(Command::Replay));
        assert!(output.status.success(), "{what}: {}", text(&output.stderr));
        assert_eq!(lake.left_over(), [""; 0], "{what}");
    }
    let read = |path: String| std::fs::read(lake.site.lake().join(path));
    let manifest = read(format!("_snapshots/{}.json", date())).unwrap();
    check_books(&manifest, &lake.simulator, &what);
    let summary = read(format!("_runs/{}/summary.json", date())).ok();
    check_summary(summary.as_deref(), &manifest, &what);
    lake.verify(&what);
    Some(kind)
}

/// Whether a replacement has deleted its mark, which is the last thing that it does. After that, the same command is
/// another replacement.
fn is_over(operations: &[String], when: When) -> bool {
    let unmarks = |line: &String| line.starts_with("unlink ") && line.ends_with(".replacing");
    let at = operations.iter().position(unmarks);
    at.is_some_and(|at| at + 1 < operations.len() || matches!(when, When::After))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_program_killed_at_any_file_operation_is_repeated_once_and_nothing_is_lost_or_left_over()
{
    let killer = Arc::new(Killer::compile());
    // One point in this many.
    let one_in = match std::env::var_os("ALL") {
        Some(_) => 1,
        None => reduced_or_full(90, 6),
    };
    let mut random = fastrand::Rng::with_seed(only_seed().unwrap_or(1));
    let (mut points, mut kinds) = (Vec::new(), BTreeSet::new());
    for keys in ["", "table_formats = [\"delta\"]"] {
        for case in cases(&killer, keys).await {
            let case = Arc::new(case);
            println!(
                "{:?}: {} operations, {keys}",
                case.command,
                case.operations.len()
            );
            kinds.extend(
                case.operations
                    .iter()
                    .filter_map(|line| Some(line.split_once(' ')?.0.to_owned())),
            );
            let mut at = random.usize(..one_in.min(case.operations.len()));
            while at < case.operations.len() {
                // After an operation is before the next one of the same thread, but not of the others.
                let when = [When::Before, When::After][random.usize(..2)];
                points.push((Arc::clone(&case), at, when));
                at += one_in;
            }
        }
    }
    let count = points.len();
    let mut killed = futures::stream::iter(points)
        .map(|(case, at, when)| {
            let killer = Arc::clone(&killer);
            tokio::spawn(async move { killed(&killer, &case, at, when).await })
        })
        // A start that settles charges mostly waits for the provider to list them.
        .buffer_unordered(6);
    let (mut reached, mut missed) = (BTreeMap::<String, u32>::new(), 0);
    while let Some(kind) = killed.next().await {
        match kind.unwrap() {
            Some(kind) => *reached.entry(kind).or_default() += 1,
            None => missed += 1,
        }
    }
    println!("killed at {count} points: {reached:?}, {missed} not reached");
    assert!(count > 10, "{count}");
    assert!(
        missed * 10 <= count,
        "{missed} of {count} points were not reached"
    );
    let expected = ["fsync", "link", "mkdir", "open", "rename", "unlink"];
    assert_eq!(kinds, expected.map(str::to_owned).into());
}
