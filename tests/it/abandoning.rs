//! A run or a replacement that was started with wrong settings is abandoned, and another one begins: nothing that is
//! published changes before that, the responses stay in the archive, their cost still counts, and after a kill at any step
//! the same command finishes it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use backlake::lake::table_differences;
use backlake::money::Usd;
use backlake::pipeline::RunState;
use backlake::stop::Stop;
use backlake::store::{Owner, Store};
use backlake::upkeep::{Night, NightState, abandon, nights, to_abandon};
use bytes::Bytes;

use crate::campaign::{self, check_books, only_seed, reduced_or_full};
use crate::harness::{Site, date, mixed_targets as lines, program, text};
use crate::interfering::Death;
use crate::world::{Command, World, simulated};

const FORMATS: &str = "table_formats = [\"delta\", \"iceberg\"]";

/// A lake with a command that was killed before one of its writes.
async fn killed(before: &World, command: Command, at: u64) -> World {
    let world = before.fork();
    let death = Death::at(at);
    let store = world.interfered(&death);
    let (playing, what) = (world.play(command, &store), format!("{command:?} at {at}"));
    death.during(playing, &world.clock, &what).await;
    world
}

/// Abandons what is unfinished; true if there was something.
async fn abandoned(world: &World, store: &Store) -> bool {
    let (stop, owner) = (Stop::default(), Owner::this_process());
    let end = abandon(store, date(), &owner, &world.clock, &stop).await;
    end.unwrap_or_else(|error| panic!("{error}; {}", error.hint()))
        .is_some()
}

async fn night(world: &World) -> Night {
    let here = Owner::this_process();
    let found = nights(&world.store(), [date()], &here, world.clock.now()).await;
    found.unwrap().remove(0)
}

/// The night's cost is what the provider has charged for its date, as far as it is known.
async fn check_cost(world: &World, what: &str) {
    let night = night(world).await;
    let yesterday = date().pred_opt().unwrap();
    let here = Owner::this_process();
    let before = nights(&world.store(), [yesterday], &here, world.clock.now()).await;
    let before: Usd = before.unwrap().iter().map(|night| night.cost_usd).sum();
    let charged: Usd = world
        .simulator
        .ledger()
        .iter()
        .map(|charge| charge.cost)
        .sum();
    let least = before + night.cost_usd;
    assert!(
        least <= charged && charged <= least + night.cost_unknown_usd,
        "{what}: {least} and up to {}, charged {charged}",
        night.cost_unknown_usd
    );
}

/// What has to hold of a lake in which a run was abandoned.
async fn check(world: &World, unfinished: &World, what: &str) {
    world.check(unfinished.simulator.ledger().len(), what).await;
    let differences = table_differences(&world.store(), world.clock.now())
        .await
        .unwrap();
    assert_eq!(differences, [""; 0], "{what}");
    let (tree, before) = (world.tree().await, unfinished.tree().await);
    for (path, bytes) in &before {
        let is_kept = ["_archive/", "/intents/", "/attempts/", "_snapshots/"];
        if is_kept.iter().any(|part| path.contains(part)) {
            assert!(tree.get(path) == Some(bytes), "{what}: {path}");
        }
    }
    let manifest = format!("_snapshots/{}.json", date());
    let is_published = before.contains_key(&manifest);
    let night = night(world).await;
    let expected = match is_published {
        true => NightState::Published,
        false => NightState::Abandoned,
    };
    assert_eq!((night.state, night.replacing), (expected, false), "{what}");
    assert!(!night.needs_attention(), "{what}");
    check_cost(world, what).await;
}

/// Other settings start the date again, and pay for all of it, under tags that were never used.
async fn start_again(world: &World, command: Command, what: &str) {
    let mut world = world.fork();
    world.site = world.site.with("[request]\nrank_scale = \"one_hundred\"");
    let state = world.play(command, &world.store()).await;
    let state = state.unwrap_or_else(|error| panic!("{what}: {error}; {}", error.hint()));
    assert_eq!(state, RunState::Published, "{what}");
    world.check_lake(what).await;
    let tree = world.tree().await;
    let manifest = &tree[&format!("_snapshots/{}.json", date())];
    check_books(manifest, &world.simulator, what);
    check_cost(&world, what).await;
    let ledger = world.simulator.ledger();
    let tags: BTreeSet<_> = ledger.iter().map(|charge| charge.tag.clone()).collect();
    assert_eq!(tags.len(), ledger.len(), "{what}");
    // A replay takes nothing from the run that was abandoned.
    let published = |tree: &BTreeMap<String, Bytes>| {
        let mut tree = tree.clone();
        tree.retain(|path, _| path.contains("snapshot_date=") || path.contains("_snapshots/"));
        tree
    };
    world.play(Command::Replay, &world.store()).await.unwrap();
    assert!(published(&world.tree().await) == published(&tree), "{what}");
}

/// Kills abandoning at its writes, repeats it once, and checks what is promised. Returns the number of kills.
async fn kills(unfinished: &World, command: Command, what: &str, first: u64, one_in: u64) -> u64 {
    let world = unfinished.fork();
    let death = Death::at(u64::MAX);
    assert!(abandoned(&world, &world.interfered(&death)).await, "{what}");
    check(&world, unfinished, what).await;
    let after = campaign::shape(world.tree().await.into_keys());
    start_again(&world, command, what).await;
    let (mut kills, mut at) = (0, first);
    while at < death.writes() {
        let what = format!(
            "{what}, abandoning killed at write {at} of {}",
            death.writes()
        );
        let world = unfinished.fork();
        let death = Death::at(at);
        let store = world.interfered(&death);
        let abandoning = abandoned(&world, &store);
        death.during(abandoning, &world.clock, &what).await;
        // Nothing is left to abandon if the kill came after the last deletion of the record.
        abandoned(&world, &world.store()).await;
        assert!(
            to_abandon(&world.store(), date()).await.unwrap().is_none(),
            "{what}"
        );
        check(&world, unfinished, &what).await;
        assert_eq!(
            campaign::shape(world.tree().await.into_keys()),
            after,
            "{what}"
        );
        (kills, at) = (kills + 1, at + one_in);
    }
    kills
}

#[test]
fn abandoning_keeps_what_is_published_and_paid_for_also_if_it_is_killed() {
    // One point in this many.
    let one_in = reduced_or_full(12, 1);
    let (mut random, mut count) = (fastrand::Rng::with_seed(only_seed().unwrap_or(1)), 0);
    for lake in ["", FORMATS] {
        for command in [Command::Run, Command::Replace] {
            let (before, writes) = simulated(async {
                let world = World::new(250, lake);
                let yesterday = date().pred_opt().unwrap();
                let store = world.store();
                world
                    .play_date(Command::Run, yesterday, &store)
                    .await
                    .unwrap();
                // The names of the runs say the second.
                world.clock.sleep(Duration::from_secs(1)).await;
                if command == Command::Replace {
                    world.play(Command::Run, &store).await.unwrap();
                }
                let trial = world.fork();
                let death = Death::at(u64::MAX);
                trial
                    .play(command, &trial.interfered(&death))
                    .await
                    .unwrap();
                (world, death.writes())
            });
            // While it fetches, and shortly before and after its manifest is written.
            for at in [writes / 3, writes * 2 / 3, writes - 12, writes - 20] {
                let what = format!("{command:?} killed at write {at} of {writes}, {lake}");
                let first = random.u64(..one_in);
                count += simulated(async {
                    let unfinished = killed(&before, command, at).await;
                    match to_abandon(&unfinished.store(), date()).await {
                        Ok(Some(_)) => kills(&unfinished, command, &what, first, one_in).await,
                        // It was published before the kill.
                        Ok(None) => panic!("{what}"),
                        Err(_) => 0,
                    }
                });
            }
        }
    }
    println!("killed at {count} points");
    assert!(count > 20, "{count}");
}

#[test]
fn what_was_started_with_wrong_settings_is_abandoned_as_the_error_says() {
    for replaces in [false, true] {
        let mut site = Site::new(lines(300)).with("[request]\nrank_scale = \"one_thousand\"");
        let replace: &[&str] = if replaces { &["--replace"] } else { &[] };
        let run = |site: &Site, more: &[&str], expected: i32| {
            let output = site.program("run", &[&["-q"], more].concat());
            let errors = text(&output.stderr);
            assert_eq!(output.status.code(), Some(expected), "{errors}");
            errors
        };
        if replaces {
            run(&site, &[], 0);
        }
        let published = site.published_files();
        run(&site, &[replace, &["--max-cost-usd", "0.05"]].concat(), 4);
        site = site.replaced("one_thousand", "one_hundred");
        let errors = run(&site, replace, 2);
        let lake = site.lake().display().to_string();
        let way_out = format!("backlake abandon {lake} --snapshot 2026-11-23");
        assert!(errors.contains(&format!("`{way_out}`")), "{errors}");

        let abandon = |more: &[&str], expected: i32| {
            let args = way_out.split(' ').skip(1);
            let output = program().args(args).args(more).arg("-q").output().unwrap();
            let said = text(&output.stdout) + &text(&output.stderr);
            assert_eq!(output.status.code(), Some(expected), "{said}");
            said
        };
        let (tree, said) = (site.tree(), abandon(&[], 0));
        let what = if replaces { "replacement" } else { "run" };
        assert!(
            said.starts_with(&format!("would abandon: the {what} of 2026-11-23")),
            "{said}"
        );
        assert!(site.tree() == tree, "a dry run changes something");
        let said = abandon(&["--yes"], 0);
        assert!(
            said.contains("\n  paid: $0.03") && said.contains(" in 1 request;"),
            "{said}"
        );
        assert!(said.contains("stay in the archive"), "{said}");
        assert_eq!(
            said.contains("the published snapshot stays as it is"),
            replaces
        );
        assert!(site.published_files() == published);
        assert_eq!(site.problems(), [""; 0]);
        let again = abandon(&["--yes"], 0);
        assert!(again.starts_with("nothing to abandon: "), "{again}");

        run(&site, replace, 0);
        assert_eq!(site.manifest()["question"]["rank_scale"], "one_hundred");
        // What was abandoned counts in the cost of the night.
        let shown = program()
            .arg("status")
            .args([&lake, "--output", "json"])
            .output();
        let shown: serde_json::Value = serde_json::from_slice(&shown.unwrap().stdout).unwrap();
        let requests = &shown["nights"][0]["requests"];
        assert_eq!(requests, if replaces { 5 } else { 3 }, "{shown}");
        let nothing = abandon(&["--yes"], 0);
        assert!(nothing.starts_with("nothing to abandon: "), "{nothing}");
    }
}

#[test]
fn responses_of_an_abandoned_replacement_are_never_taken_for_those_of_the_run_that_it_was_to_replace()
 {
    let site = Site::new(lines(300)).with("[request]\nrank_scale = \"one_thousand\"");
    assert!(site.program("run", &["-q"]).status.success());
    let published = site.published_files();
    let site = site.replaced("one_thousand", "one_hundred");
    let replace = ["-q", "--replace", "--max-cost-usd", "0.05"];
    assert_eq!(site.program("run", &replace).status.code(), Some(4));
    let abandon = ["-q", "--snapshot", "2026-11-23", "--yes"];
    assert!(site.program("abandon", &abandon).status.success());
    let site = site.replaced("one_hundred", "one_thousand");
    std::fs::remove_file(site.lake().join("_snapshots/2026-11-23.json")).unwrap();
    for command in ["run", "replay"] {
        let output = site.program(command, &["-q"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(site.published_files() == published, "{command}");
        assert_eq!(site.problems(), [""; 0]);
    }
}

#[test]
fn pruning_keeps_the_newest_archive_that_can_be_replayed_and_not_that_of_an_abandoned_run() {
    let site = Site::new(lines(300));
    assert!(site.program("run", &["-q"]).status.success());
    let next = ["-q", "--snapshot", "2026-11-24"];
    let little = ["--backfill", "--max-cost-usd", "0.05"];
    let stopped = site.program("run", &[&next[..], &little].concat());
    assert_eq!(stopped.status.code(), Some(4));
    let abandoned = site.program("abandon", &[&next[..], &["--yes"]].concat());
    assert!(abandoned.status.success());
    let archives = || -> BTreeSet<String> {
        let paths = site.tree().into_keys();
        let archived = paths.filter(|path| path.starts_with("_archive/"));
        archived
            .filter_map(|path| Some(path.split('/').nth(1)?.to_owned()))
            .collect()
    };
    assert_eq!(archives().len(), 2);
    let lake = site.lake().display().to_string();
    let prune = |rule: [&str; 2]| {
        let prune = ["prune", &lake, "--yes", "-q"];
        let output = program().args(prune).args(rule).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    prune(["--keep-archives-days", "36500"]);
    assert_eq!(archives().len(), 2);
    prune(["--keep-archives", "1"]);
    assert_eq!(archives(), ["2026-11-23".to_owned()].into());
    let replay = site.program("replay", &["-q"]);
    assert!(replay.status.success(), "{}", text(&replay.stderr));
}

#[test]
fn a_date_without_anything_unfinished_is_refused() {
    let site = Site::new(lines(30));
    assert!(site.program("run", &["-q"]).status.success());
    refuses(&site, "2026-11-22", "was never started");
    refuses(
        &site,
        "2026-11-23",
        "is published, and no replacement of it is open",
    );
    // Only the newer of two snapshots stays. The archive of the other one can be replayed.
    let next = ["-q", "--snapshot", "2026-11-24", "--backfill"];
    assert!(site.program("run", &next).status.success());
    let lake = site.lake().display().to_string();
    let prune = ["prune", &lake, "--keep-snapshots", "1", "--yes", "-q"];
    assert!(program().args(prune).output().unwrap().status.success());
    refuses(&site, "2026-11-23", "was published and pruned");
    let replay = site.program("replay", &["-q", "--snapshot", "2026-11-23"]);
    assert!(replay.status.success(), "{}", text(&replay.stderr));
}

/// There is nothing to abandon, and the error says why.
fn refuses(site: &Site, date: &str, says: &str) {
    let output = site.program("abandon", &["-q", "--snapshot", date, "--yes"]);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(
        errors.contains(says) && errors.contains("backlake snapshots"),
        "{errors}"
    );
    assert!(!site.lake().join("_runs/2026-11-22").exists());
}
