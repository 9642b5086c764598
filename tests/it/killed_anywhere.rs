//! A command that is killed at any of its operations on the store is repeated once: nothing is paid again but what was in
//! flight, nothing is left over, and the lake is sound.
//!
//! The campaign kills each command before each of its writes and deletions, on a lake with Delta logs and Iceberg tables
//! and on one without.
//! A reduced campaign takes one point in some, from a seed: `SEED=3 cargo test --test it killed_anywhere`.

use std::collections::BTreeMap;

use backlake::pipeline::RunState;

use crate::campaign::{self, check_books, check_summary, only_seed, reduced_or_full};
use crate::harness::date;
use crate::interfering::Death;
use crate::world::{COMMANDS, Command, World, simulated};

/// The lake before a command, and what the command does if nothing disturbs it.
struct Case {
    command: Command,
    before: World,
    writes: u64,
    charged: usize,
    after: BTreeMap<String, usize>,
}

/// How many objects of each name a lake has.
async fn shape(world: &World) -> BTreeMap<String, usize> {
    campaign::shape(world.tree().await.into_keys())
}

/// The lake before each command, with what the command does undisturbed.
async fn cases(lake: &'static str) -> Vec<Case> {
    let mut world = World::new(250, lake);
    let yesterday = date().pred_opt().unwrap();
    let store = world.store();
    world
        .play_date(Command::Run, yesterday, &store)
        .await
        .unwrap();
    let mut cases = Vec::new();
    for command in COMMANDS {
        let before = world.fork();
        world = world.fork();
        let death = Death::at(u64::MAX);
        let store = world.interfered(&death);
        world.play(command, &store).await.unwrap();
        cases.push(Case {
            command,
            before,
            writes: death.writes(),
            charged: world.simulator.ledger().len(),
            after: shape(&world).await,
        });
    }
    cases
}

/// How many responses of the snapshot are in the archive.
async fn archived(world: &World) -> usize {
    campaign::archived(world.tree().await.into_keys())
}

/// Kills a command at a write, repeats it once, and checks what is promised.
async fn killed(case: &Case, at: u64, lake: &str) {
    let Case {
        command, charged, ..
    } = *case;
    let what = format!(
        "{command:?} killed at write {at} of {}, {lake}",
        case.writes
    );
    let world = case.before.fork();
    let (paid, kept) = (world.simulator.ledger().len(), archived(&world).await);
    let death = Death::at(at);
    let store = world.interfered(&death);
    let playing = world.play(command, &store);
    death.during(playing, &world.clock, &what).await;
    let lost = match command.pays() {
        true => world.simulator.ledger().len() - paid - (archived(&world).await - kept),
        false => 0,
    };
    let state = world.play(command, &world.store()).await;
    let state = state.unwrap_or_else(|error| panic!("{what}: {error}; {}", error.hint()));
    assert_ne!(state, RunState::Open, "{what}");
    world.check(charged + lost, &what).await;
    assert_eq!(shape(&world).await, case.after, "{what}");
    let tree = world.tree().await;
    let manifest = &tree[&format!("_snapshots/{}.json", date())];
    check_books(manifest, &world.simulator, &what);
    let summary = tree.get(&format!("_runs/{}/summary.json", date()));
    check_summary(summary.map(AsRef::as_ref), manifest, &what);
}

#[test]
fn a_command_killed_at_any_operation_is_repeated_once_and_nothing_is_lost_or_left_over() {
    // One point in this many.
    let one_in = reduced_or_full(12, 1);
    let (mut random, mut points) = (fastrand::Rng::with_seed(only_seed().unwrap_or(1)), 0);
    for lake in ["", "table_formats = [\"delta\", \"iceberg\"]"] {
        for case in simulated(cases(lake)) {
            let mut at = random.u64(..one_in);
            while at < case.writes {
                simulated(killed(&case, at, lake));
                points += 1;
                at += one_in;
            }
        }
    }
    println!("killed at {points} points");
    assert!(points > 20, "{points}");
}
