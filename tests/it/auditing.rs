//! The archive is held to the ledger: what is not as it was received is named and never published.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use backlake::clock::Clock;
use backlake::error::ErrorKind;
use backlake::simulator::{Behaviour, Simulator};

use crate::altered::{change_attempt, change_response, record_body};
use crate::harness::{Site, mixed_targets, program, simulator, text};

fn response(site: &Site, id: &str) -> PathBuf {
    site.lake()
        .join(format!("_archive/2026-11-23/{id}.json.zst"))
}

/// The exit code of `verify --archive`, and the problems that it finds in archives.
fn audit(site: &Site) -> (Option<i32>, Vec<String>) {
    let output = program()
        .arg("verify")
        .arg(site.lake())
        .args(["--archive", "--output", "json"])
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let archives = report["archives"].as_array().unwrap().iter();
    let problems = archives.flat_map(|archive| archive["problems"].as_array().unwrap());
    let problems = problems.map(|problem| problem.as_str().unwrap().to_owned());
    (output.status.code(), problems.collect())
}

/// The items of a response.
fn items(response: &mut serde_json::Value) -> &mut Vec<serde_json::Value> {
    response["tasks"][0]["result"][0]["items"]
        .as_array_mut()
        .unwrap()
}

/// A damage to the response of attempt 00001-1.
type Damage = fn(&Site);

/// What can happen to an archived response, and how it is named.
const DAMAGES: [(&str, Damage, &str); 7] = [
    (
        "emptied",
        |site| {
            change_response(site, "00001-1", |response| items(response).clear());
        },
        "bytes",
    ),
    (
        "another number of the same length",
        |site| {
            change_response(site, "00001-1", |response| {
                let rank = &mut items(response)[0]["rank"];
                let digits = rank.to_string();
                let other = if digits.starts_with('1') { "2" } else { "1" };
                *rank = serde_json::from_str(&digits.replacen(&digits[..1], other, 1)).unwrap();
            });
        },
        "other bytes than were received",
    ),
    (
        "swapped",
        |site| {
            let (one, two) = (response(site, "00000-1"), response(site, "00001-1"));
            let between = one.with_extension("between");
            std::fs::rename(&one, &between).unwrap();
            std::fs::rename(&two, &one).unwrap();
            std::fs::rename(&between, &two).unwrap();
        },
        "00000-1",
    ),
    (
        "copied from another attempt",
        |site| {
            std::fs::copy(response(site, "00000-1"), response(site, "00001-1")).unwrap();
        },
        "bytes",
    ),
    (
        "cut off",
        |site| {
            let whole = std::fs::read(response(site, "00001-1")).unwrap();
            std::fs::write(response(site, "00001-1"), &whole[..whole.len() / 2]).unwrap();
        },
        "failed to decompress",
    ),
    (
        "without a byte",
        |site| std::fs::write(response(site, "00001-1"), "").unwrap(),
        "failed to decompress",
    ),
    (
        "lost",
        |site| std::fs::remove_file(response(site, "00001-1")).unwrap(),
        "missing",
    ),
];

fn restore(site: &Site, tree: &BTreeMap<String, Vec<u8>>) {
    for (path, bytes) in tree {
        std::fs::write(site.lake().join(path), bytes).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_not_as_it_was_received_is_named_and_never_published() {
    let site = Site::new(mixed_targets(900));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    assert!(site.run(&simulator, &clock).await.unwrap().error.is_none());
    let recorded = site.tree();
    // Each hash alone is enough. A ledger of an earlier version has no XXH3.
    for forgotten in [None, Some("body_xxh3"), Some("body_sha256")] {
        restore(&site, &recorded);
        for id in ["00000-1", "00001-1"] {
            change_attempt(&site, id, |attempt| {
                forgotten.map(|hash| attempt.remove(hash).unwrap());
            });
        }
        no_damage_is_published(&site, &simulator, &clock).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_compares_one_hash_and_an_audit_compares_both() {
    let site = Site::new(mixed_targets(900));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    assert!(site.run(&simulator, &clock).await.unwrap().error.is_none());
    let recorded = site.tree();
    for (hash, is_replayed) in [("body_sha256", true), ("body_xxh3", false)] {
        restore(&site, &recorded);
        change_attempt(&site, "00001-1", |attempt| {
            attempt[hash] = "0".repeat(attempt[hash].as_str().unwrap().len()).into();
        });
        let replayed = site.replay(&simulator, &clock).await;
        assert_eq!(replayed.is_ok(), is_replayed, "{hash}");
        let (code, problems) = audit(&site);
        assert_eq!((code, problems.len()), (Some(7), 1), "{hash}: {problems:?}");
        assert!(
            problems[0].contains("other bytes than were received"),
            "{problems:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn every_compressed_object_has_a_checksum() {
    let site = Site::new(mixed_targets(900));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    assert!(site.run(&simulator, &clock).await.unwrap().error.is_none());
    let tree = site.tree();
    let packed = tree.iter().filter(|(path, _)| path.ends_with(".zst"));
    for (path, bytes) in packed.clone() {
        // The descriptor of the frame follows its magic number.
        assert!(bytes[4] & 0b100 != 0, "{path}");
    }
    for kind in ["_archive/", "/intents/", ".lines.ndjson.zst"] {
        assert!(
            packed.clone().any(|(path, _)| path.contains(kind)),
            "{kind}"
        );
    }
}

/// Each damage is named by the replay and by the audit, and changes nothing that is published.
async fn no_damage_is_published(site: &Site, simulator: &Arc<Simulator>, clock: &Clock) {
    let sound = site.tree();
    assert_eq!(audit(site), (Some(0), vec![]));
    for (damage, harm, named) in DAMAGES {
        harm(site);
        let published = site.published_files();
        let error = site.replay(simulator, clock).await.unwrap_err();
        let message = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Unexpected, "{damage}: {message}");
        assert!(message.contains("-1"), "{damage}: {message}");
        assert!(
            error.hint().contains("verify LAKE --archive"),
            "{damage}: {}",
            error.hint()
        );
        assert!(site.published_files() == published, "{damage}");
        let (code, problems) = audit(site);
        assert_eq!(code, Some(7), "{damage}");
        let found = problems.iter().find(|problem| problem.contains(named));
        assert!(found.is_some(), "{damage}: {problems:?}");
        restore(site, &sound);
    }
    assert_eq!(audit(site), (Some(0), vec![]));
    assert!(site.replay(simulator, clock).await.unwrap().error.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_replay_never_publishes_less_than_is_published() {
    let site = Site::new(mixed_targets(900));
    let (simulator, clock) = simulator(Behaviour::default()).await;
    assert!(site.run(&simulator, &clock).await.unwrap().error.is_none());
    let (published, manifest) = (site.published_files(), site.manifest());
    // Even if the ledger itself says that this is what was received.
    let body = change_response(&site, "00001-1", |response| drop(items(response).pop()));
    record_body(&site, "00001-1", &body);
    let error = site.replay(&simulator, &clock).await.unwrap_err();
    let returned = manifest["fates"]["returned"].as_u64().unwrap();
    let less = format!(
        "has {} returned targets, but {returned} are published",
        returned - 1
    );
    assert!(error.to_string().contains(&less), "{error}");
    assert!(site.published_files() == published && site.manifest() == manifest);
}

#[test]
fn an_archive_without_its_ledger_or_with_a_damaged_bundle_is_named() {
    let site = Site::new(mixed_targets(900));
    let run = site.program("run", &["-q"]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let sound = site.tree();
    for (object, named) in [
        ("attempts/00000-1.json", "attempts/00000-1.json"),
        ("intents/00000-1.json.zst", "intents/00000-1.json.zst"),
    ] {
        std::fs::write(site.lake().join(format!("_runs/2026-11-23/{object}")), "{").unwrap();
        let (code, problems) = audit(&site);
        assert!(
            problems.iter().any(|found| found.contains(named)),
            "{problems:?}"
        );
        assert_eq!(code, Some(7));
        restore(&site, &sound);
    }
    std::fs::copy(response(&site, "00000-1"), response(&site, "00077-1")).unwrap();
    let (code, problems) = audit(&site);
    assert_eq!((code, problems.len()), (Some(7), 1), "{problems:?}");
    assert!(
        problems[0].contains("no attempt of the ledger"),
        "{problems:?}"
    );
    std::fs::remove_file(response(&site, "00077-1")).unwrap();

    let compact = program()
        .arg("compact")
        .arg(site.lake())
        .arg("--yes")
        .output();
    assert!(compact.unwrap().status.success());
    let bundle = site.lake().join("_archive/2026-11-23/bundle-00000.tar");
    assert_eq!(audit(&site), (Some(0), vec![]));
    let whole = std::fs::read(&bundle).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    for (harm, named) in [
        (&damaged[..], "other bytes"),
        (&whole[..whole.len() / 2], "other bytes"),
    ] {
        std::fs::write(&bundle, harm).unwrap();
        let (code, problems) = audit(&site);
        assert!(
            problems.iter().any(|found| found.contains(named)),
            "{problems:?}"
        );
        assert_eq!(code, Some(7));
    }
    std::fs::remove_file(&bundle).unwrap();
    let (code, problems) = audit(&site);
    assert!(
        problems[0].contains("bundle-00000.tar is missing"),
        "{problems:?}"
    );
    assert_eq!(code, Some(7));
}
