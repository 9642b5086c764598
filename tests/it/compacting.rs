//! `compact` bundles the small objects of a published run, and replays read bundles like loose objects.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use backlake::error::ErrorKind;
use backlake::pipeline::{RunEnd, RunMode, RunState, StartMode, Surroundings, run};
use backlake::simulator::Behaviour;
use backlake::stop::{Stop, StopReason};
use backlake::store::{Owner, Store};
use backlake::upkeep::{compact, to_compact};
use object_store::local::LocalFileSystem;

use crate::faulty::{Faulty, Troubles};
use crate::harness::{Site, date, program, simulator, surroundings};

/// Every file of the lake by its path, except locks and reports, which each command rewrites.
fn tree(lake: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = crate::harness::tree(lake);
    files.retain(|path, _| !path.contains("/locks/") && !path.ends_with("summary.json"));
    files
}

/// The objects that `compact` bundles: responses, intents and attempts outside of bundles.
fn loose(tree: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let is_loose = |path: &str| {
        (path.starts_with("_archive/") && !path.contains("bundle-"))
            || path.contains("/intents/")
            || path.contains("/attempts/")
    };
    tree.iter()
        .filter(|(path, _)| is_loose(path))
        .map(|(path, bytes)| (path.clone(), bytes.clone()))
        .collect()
}

/// All other files, except bundles.
fn rest(tree: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let mut rest = tree.clone();
    rest.retain(|path, _| !path.starts_with("_archive/") && !loose(tree).contains_key(path));
    rest
}

/// The objects in the lake's bundles, as any tar reader finds them.
fn bundled(lake: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for (path, bytes) in tree(lake)
        .into_iter()
        .filter(|(path, _)| path.ends_with(".tar"))
    {
        assert!(
            path.starts_with("_archive/2026-11-23/bundle-0000"),
            "{path}"
        );
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            std::io::copy(&mut entry, &mut content).unwrap();
            found.insert(name, content);
        }
    }
    found
}

/// What the program reports as bundled, or as planned without `--yes`.
fn program_compacts(site: &Site, more: &[&str]) -> Vec<(String, u64)> {
    let output = program()
        .arg("compact")
        .arg(site.lake())
        .args(more)
        .args(["--output", "json"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["packed"].as_bool(), Some(more.contains(&"--yes")));
    let archives = report["archives"].as_array().unwrap().iter();
    archives
        .map(|found| {
            (
                found["snapshot"].as_str().unwrap().to_owned(),
                found["objects"].as_u64().unwrap(),
            )
        })
        .collect()
}

fn replacing() -> RunMode {
    RunMode {
        start: StartMode::Replace,
        ..RunMode::default()
    }
}

fn published(end: backlake::error::Result<RunEnd>) -> RunEnd {
    let end = end.unwrap();
    assert!(
        end.error.is_none() && end.report.state == RunState::Published,
        "{:?}",
        end.report
    );
    end
}

fn site() -> Site {
    Site::new((0..2500).map(|n| {
        if n % 3 == 0 {
            format!("d{n}.com")
        } else {
            format!("https://e{}.org/{n}", n % 40)
        }
    }))
}

#[tokio::test(start_paused = true)]
async fn a_bundle_contains_every_object_under_its_path_and_a_replay_reads_it() {
    let site = site();
    let (simulator, clock) = simulator(Behaviour::default()).await;
    published(site.run(&simulator, &clock).await);
    let (before, requests) = (tree(&site.lake()), simulator.requests());
    let objects = loose(&before).len() as u64;
    assert!(objects > 20, "{objects}");

    let expected = vec![("2026-11-23".to_owned(), objects)];
    assert_eq!(program_compacts(&site, &[]), expected);
    assert_eq!(program_compacts(&site, &["--keep-days", "36500"]), []);
    assert!(tree(&site.lake()) == before, "a dry run changes nothing");
    assert_eq!(program_compacts(&site, &["--yes"]), expected);

    let after = tree(&site.lake());
    assert!(loose(&after).is_empty() && bundled(&site.lake()) == loose(&before));
    assert!(rest(&after) == rest(&before), "nothing else is touched");
    assert_eq!(
        after
            .keys()
            .filter(|path| path.starts_with("_archive/"))
            .count(),
        2
    );
    assert_eq!(program_compacts(&site, &["--yes"]), []);

    let tables = rest(&after);
    std::fs::remove_dir_all(site.lake().join("pages")).unwrap();
    published(site.replay(&simulator, &clock).await);
    assert!(
        rest(&tree(&site.lake())) == tables,
        "a replay from the bundle gives the same files"
    );
    assert_eq!(simulator.requests(), requests);
}

#[tokio::test(start_paused = true)]
async fn a_date_that_was_bundled_can_be_replaced_and_bundled_again() {
    let site = site();
    let (simulator, clock) = simulator(Behaviour::default()).await;
    published(site.run(&simulator, &clock).await);
    let first = loose(&tree(&site.lake()));
    program_compacts(&site, &["--yes"]);

    // While a replacement is in progress, nothing is bundled.
    let again = || Surroundings {
        seed: 8,
        ..surroundings(&simulator, &clock)
    };
    let env = again();
    let stop = env.stop.clone();
    let on_progress = move |_| {
        stop.request(backlake::stop::StopReason::Terminated);
    };
    let stopped = run(
        &site.pipeline(&simulator.url()),
        replacing(),
        &Surroundings {
            on_progress: &on_progress,
            ..env
        },
    )
    .await;
    assert!(stopped.is_err() || stopped.unwrap().error.is_some());
    assert_eq!(program_compacts(&site, &["--yes"]), []);

    published(run(&site.pipeline(&simulator.url()), replacing(), &again()).await);
    let second = loose(&tree(&site.lake()));
    assert!(
        second.keys().all(|path| !first.contains_key(path)),
        "an attempt number was used twice"
    );
    assert_eq!(
        program_compacts(&site, &["--yes"]),
        [("2026-11-23".to_owned(), second.len() as u64)]
    );
    let all = first.into_iter().chain(second).collect::<BTreeMap<_, _>>();
    assert!(bundled(&site.lake()) == all && loose(&tree(&site.lake())).is_empty());

    let tables = rest(&tree(&site.lake()));
    published(site.replay(&simulator, &clock).await);
    assert!(rest(&tree(&site.lake())) == tables);

    // Pruning deletes the bundles, too.
    let other = site.pipeline_of("2026-11-24".parse().unwrap(), &simulator.url());
    published(
        run(
            &other,
            RunMode::default(),
            &surroundings(&simulator, &clock),
        )
        .await,
    );
    let pruned = program()
        .arg("prune")
        .arg(site.lake())
        .args(["--keep-archives", "1", "--yes"])
        .output();
    assert!(pruned.unwrap().status.success());
    assert!(
        tree(&site.lake())
            .keys()
            .all(|path| !path.starts_with("_archive/2026-11-23"))
    );
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_compaction_loses_nothing_and_the_next_one_finishes_it() {
    let site = site();
    let (simulator, clock) = simulator(Behaviour::default()).await;
    published(site.run(&simulator, &clock).await);
    let before = tree(&site.lake());
    let mut interrupted = 0;
    for fails_from in 0.. {
        let disk = Arc::new(LocalFileSystem::new_with_prefix(site.lake()).unwrap());
        let troubles = Troubles {
            fails_from,
            ..Troubles::default()
        };
        let store = Store::over(Arc::new(Faulty::new(disk, &clock, troubles)), "faulty");
        let ended = compact(
            &store,
            &[date()],
            &Owner::this_process(),
            &clock,
            &Stop::default(),
        )
        .await;
        // As if the lock that it could not release had expired.
        std::fs::remove_dir_all(site.lake().join("_runs/2026-11-23/locks")).unwrap();
        // Bundled and loose objects together are all objects.
        let mut found = bundled(&site.lake());
        let now = tree(&site.lake());
        found.extend(loose(&now));
        assert!(
            found == loose(&before) && rest(&now) == rest(&before),
            "interrupted at write {fails_from}"
        );
        if ended.is_ok() && loose(&now).is_empty() {
            break;
        }
        interrupted += 1;
    }
    assert!(interrupted >= 3, "{interrupted}");

    // Interrupted before the deletions, objects exist twice; the next compaction deletes them.
    for (path, bytes) in loose(&before) {
        std::fs::create_dir_all(site.lake().join(&path).parent().unwrap()).unwrap();
        std::fs::write(site.lake().join(path), bytes).unwrap();
    }
    let bundles = bundled(&site.lake());
    let store = Store::open(site.lake().to_str().unwrap()).unwrap();
    assert_eq!(to_compact(&store, None, date()).await.unwrap().len(), 1);
    let stopped = Stop::default();
    stopped.request(StopReason::Interrupted);
    let error = compact(&store, &[date()], &Owner::this_process(), &clock, &stopped)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert_eq!(to_compact(&store, None, date()).await.unwrap().len(), 1);
    compact(
        &store,
        &[date()],
        &Owner::this_process(),
        &clock,
        &Stop::default(),
    )
    .await
    .unwrap();
    assert!(loose(&tree(&site.lake())).is_empty() && bundled(&site.lake()) == bundles);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_index_is_reported_and_the_tar_restores_everything() {
    let site = site();
    let (simulator, clock) = simulator(Behaviour::default()).await;
    published(site.run(&simulator, &clock).await);
    let before = tree(&site.lake());
    program_compacts(&site, &["--yes"]);
    let index = site.lake().join("_archive/2026-11-23/bundle-00000.json");
    std::fs::write(&index, "rubbish").unwrap();
    let failed = site.replay(&simulator, &clock).await;
    let error = failed.err().unwrap();
    assert!(
        error
            .to_string()
            .contains("_archive/2026-11-23/bundle-00000.json is damaged"),
        "{error}"
    );
    assert!(
        rest(&tree(&site.lake())) == rest(&before),
        "published files stay"
    );

    // As the hint advises.
    let bundle = std::fs::File::open(index.with_extension("tar")).unwrap();
    tar::Archive::new(bundle).unpack(site.lake()).unwrap();
    std::fs::remove_file(&index).unwrap();
    std::fs::remove_file(index.with_extension("tar")).unwrap();
    assert!(tree(&site.lake()) == before);
    published(site.replay(&simulator, &clock).await);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_restored_next_to_a_damaged_bundle_is_used() {
    let site = site();
    let (simulator, clock) = simulator(Behaviour::default()).await;
    published(site.run(&simulator, &clock).await);
    let before = tree(&site.lake());
    program_compacts(&site, &["--yes"]);
    let (path, response) = loose(&before)
        .into_iter()
        .find(|(path, _)| path.starts_with("_archive/"))
        .unwrap();
    let bundle = site.lake().join("_archive/2026-11-23/bundle-00000.tar");
    let mut tar = std::fs::read(&bundle).unwrap();
    let at = tar
        .windows(response.len())
        .position(|bytes| bytes == response)
        .unwrap();
    tar[at..at + response.len()].fill(0);
    std::fs::write(&bundle, tar).unwrap();
    let replayed = async || site.replay(&simulator, &clock).await;
    let error = replayed().await.err().unwrap();
    assert!(
        error.hint().contains("restore the files in _archive"),
        "{error}"
    );

    std::fs::write(site.lake().join(path), response).unwrap();
    published(replayed().await);
    assert!(rest(&tree(&site.lake())) == rest(&before));
}
