//! The same seed plays the same game twice: the provider charges the same requests at the same times, and the lake has the
//! same objects.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::campaign::{Left, reduced_or_full, seeds};
use crate::{hiccups, interleavings};

/// Fails with the first charge and the objects that differ.
fn assert_same(first: &Left, second: &Left, what: &str) {
    let charges = first.ledger.iter().zip(&second.ledger);
    for (number, (first, second)) in charges.enumerate() {
        assert_eq!(first, second, "{what}: charge {number}");
    }
    assert_eq!(first.ledger.len(), second.ledger.len(), "{what}: charges");
    let all = first.objects.keys().chain(second.objects.keys());
    let all: BTreeSet<&String> = all.collect();
    let part = |objects: &BTreeMap<String, Bytes>, path: &String| {
        let bytes = objects.get(path)?;
        Some(comparable(path, bytes))
    };
    let different: Vec<_> = all
        .into_iter()
        .filter(|path| part(&first.objects, path) != part(&second.objects, path))
        .collect();
    assert_eq!(different, [""; 0], "{what}: objects");
}

/// What is the same in two plays: everything but the time that stages take on this machine, and the folder of the list.
fn comparable(path: &str, bytes: &Bytes) -> Bytes {
    let named_only = ["/summary.json", ".lines.ndjson.zst"];
    if path.starts_with("targets/") || named_only.iter().any(|end| path.ends_with(end)) {
        return Bytes::new();
    }
    if path.starts_with("_snapshots/") {
        let mut manifest: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        manifest["tables"]["targets"].take();
        manifest["checksum"].take();
        return manifest.to_string().into();
    }
    bytes.clone()
}

#[test]
fn the_same_troubles_of_the_store_give_the_same_ledger_and_the_same_lake() {
    let count = reduced_or_full(2, 20);
    let [first, second] = [(); 2].map(|()| hiccups::left(0..count));
    for (seed, (first, second)) in first.iter().zip(&second).enumerate() {
        assert_same(first, second, &format!("seed {seed}"));
    }
}

/// Large responses are worked on by threads, and which of two that arrive together is done first is free: no figure depends
/// on it, but the times of the next requests do. So these games are small.
#[test]
fn the_same_faults_and_kills_give_the_same_ledger_and_the_same_lake() {
    for seed in seeds(20, 200) {
        let [first, second] = [(); 2].map(|()| interleavings::left(seed));
        assert_same(&first, &second, &format!("seed {seed}"));
    }
}
