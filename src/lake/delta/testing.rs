//! Helpers of the Delta tests: commits, and what is in a log.

use serde_json::Value;

use super::super::manifest::Manifest;
use super::super::testing::TABLE;
use super::commit::differences;
use crate::contract::Table;
use crate::error::Result;
use crate::lake::delta::commit as commit_by;
use crate::store::{Layout, Store};

pub(super) async fn commit(store: &Store, manifests: &[Manifest]) -> Result<usize> {
    commit_by(store, manifests, Table::contract).await
}

/// Commits snapshots, and returns the number of commits.
pub(super) async fn commit_all(store: &Store, manifests: &[&Manifest]) -> usize {
    let manifests: Vec<Manifest> = manifests.iter().copied().cloned().collect();
    commit(store, &manifests).await.unwrap()
}

/// Asserts that the logs list exactly the files of these snapshots, or that there are no logs.
pub(super) async fn assert_consistent(store: &Store, manifests: &[&Manifest]) {
    let manifests: Vec<Manifest> = manifests.iter().copied().cloned().collect();
    assert_eq!(differences(store, &manifests).await.unwrap(), [""; 0]);
}

/// The actions of a commit, or none if there is no such commit.
pub(super) async fn actions(store: &Store, version: u64) -> Option<Vec<Value>> {
    let commit = store
        .get(&Layout::delta_commit(TABLE, version))
        .await
        .unwrap()?;
    let lines = std::str::from_utf8(&commit).unwrap().lines();
    let actions = lines.map(|line| serde_json::from_str(line).unwrap());
    Some(actions.collect())
}

/// The actions of a kind in a commit.
pub(super) async fn of_kind(store: &Store, version: u64, kind: &str) -> Vec<Value> {
    let actions = actions(store, version).await.unwrap();
    actions
        .into_iter()
        .filter_map(|mut action| Some(action.get_mut(kind)?.take()))
        .collect()
}

/// The kinds of the actions in a commit, in their order.
pub(super) async fn kinds(store: &Store, version: u64) -> Vec<String> {
    let actions = actions(store, version).await.unwrap();
    let kind = |action: &Value| action.as_object().unwrap().keys().next().cloned();
    actions.iter().filter_map(kind).collect()
}
