//! What the campaigns share: their size and seed, and how they compare lakes.

use std::collections::BTreeMap;
use std::ops::Range;

use backlake::lake::Manifest;
use backlake::money::Usd;
use backlake::simulator::{Charge, Simulator};
use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::memory::InMemory;
use object_store::{ObjectStore as _, ObjectStoreExt as _};

use crate::harness::date;

/// The one seed that the variable `SEED` names.
pub(crate) fn only_seed() -> Option<u64> {
    let seed = std::env::var("SEED").ok()?;
    Some(seed.parse().unwrap())
}

/// Whether campaigns have their full size: without debug assertions, or with `ALL=1`.
pub(crate) fn is_full() -> bool {
    !cfg!(debug_assertions) || std::env::var_os("ALL").is_some()
}

pub(crate) fn reduced_or_full<T>(reduced: T, full: T) -> T {
    if is_full() { full } else { reduced }
}

/// The seeds to play: the one that `SEED` names, or the first ones.
pub(crate) fn seeds(reduced: u64, full: u64) -> Range<u64> {
    let all = 0..reduced_or_full(reduced, full);
    only_seed().map_or(all, |seed| seed..seed + 1)
}

/// The objects of a lake that are the same however often a command was started: how many there are of each name, without
/// the names of runs.
pub(crate) fn shape(paths: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut shape = BTreeMap::new();
    for path in paths {
        // What attempts and commits leave, the report of the last start that could write one, and what is
        // written after a snapshot is published.
        let differing = [
            "_alerts/",
            "/intents/",
            "/attempts/",
            "_archive/",
            "/_delta_log/",
            "/_iceberg/",
            "/summary.json",
        ];
        if differing.iter().any(|part| path.contains(part)) {
            continue;
        }
        *shape.entry(without_names(&path)).or_default() += 1;
    }
    shape
}

/// Replaces what differs from start to start in a path: the name of the run and the number of a lock.
fn without_names(path: &str) -> String {
    let parts = path.split('/').map(|part| {
        let is_run = part.len() >= 23 && part.as_bytes()[8] == b'T' && part.as_bytes()[15] == b'Z';
        match part.get(23..) {
            Some(rest) if is_run => format!("RUN{rest}"),
            _ => part.to_owned(),
        }
    });
    let parts: Vec<String> = parts.collect();
    match parts.iter().position(|part| part == "locks") {
        Some(at) => parts[..=at].join("/"),
        None => parts.join("/"),
    }
}

/// How many of these paths are responses of the snapshot of all tests.
pub(crate) fn archived(paths: impl Iterator<Item = String>) -> usize {
    let folder = format!("_archive/{}/", date());
    let is_whole = |path: &String| path.starts_with(&folder) && !path.contains('#');
    paths.filter(is_whole).count()
}

/// The summary, if there is one, is that of the start which published the snapshot or of a later one.
pub(crate) fn check_summary(summary: Option<&[u8]>, manifest: &[u8], what: &str) {
    let Some(summary) = summary else { return };
    let summary: serde_json::Value = serde_json::from_slice(summary).unwrap();
    let manifest: Manifest = serde_json::from_slice(manifest).unwrap();
    assert_eq!(summary["run"], manifest.run, "{what}");
    assert_ne!(summary["state"], "open", "{what}");
}

/// The manifest books exactly what the provider has charged for its run.
pub(crate) fn check_books(manifest: &[u8], simulator: &Simulator, what: &str) {
    let manifest: Manifest = serde_json::from_slice(manifest).unwrap();
    let of_run = |tag: &str| tag.starts_with(&format!("{}/", manifest.run));
    let charges = simulator.ledger().into_iter();
    let charged = charges.filter(|charge| charge.tag.as_deref().is_some_and(of_run));
    let booked = manifest.tally.requests;
    assert_eq!(
        (booked.cost_usd, booked.cost_unknown_usd),
        (charged.map(|charge| charge.cost).sum(), Usd::ZERO),
        "{what}"
    );
}

/// Every object of a lake in memory, by its path.
pub(crate) async fn contents(objects: &InMemory) -> BTreeMap<String, Bytes> {
    let mut found = BTreeMap::new();
    let listed: Vec<_> = objects.list(None).try_collect().await.unwrap();
    for path in listed.into_iter().map(|object| object.location) {
        let object = objects.get(&path).await.unwrap();
        found.insert(path.to_string(), object.bytes().await.unwrap());
    }
    found
}

/// What the play of a seed has left.
pub(crate) struct Left {
    /// What the provider has charged.
    pub(crate) ledger: Vec<Charge>,
    /// The lake.
    pub(crate) objects: BTreeMap<String, Bytes>,
}

impl Left {
    pub(crate) async fn of(simulator: &Simulator, objects: &InMemory) -> Self {
        Self {
            ledger: simulator.ledger(),
            objects: contents(objects).await,
        }
    }
}
