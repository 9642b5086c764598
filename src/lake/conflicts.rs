//! How the metadata of a table format reaches a state although other writers may commit to it, too.

use futures::future::join_all;

use crate::contract::Table;
use crate::error::{Error, Result};

/// How often a commit is tried if other writers commit the same version first.
pub(super) const ATTEMPTS: usize = 20;

/// Metadata of a table that changes by committing its next version.
pub(super) trait Versioned: Send + Sync {
    /// What a commit changes.
    type Change: Send;

    /// The name of the format.
    const FORMAT: &'static str;

    fn table(&self) -> Table;

    /// Commits durably as the next version. False if another writer has committed that version: then nothing
    /// is changed, and the caller must reload.
    fn put(&mut self, change: Self::Change) -> impl Future<Output = Result<bool>> + Send;

    /// Reads the metadata again, because another writer may have changed it.
    fn reload(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// A state that metadata should have.
pub(super) trait Goal<V: Versioned>: Send + Sync {
    /// The change that reaches the goal; none if it is reached.
    fn change(&self, metadata: &V) -> impl Future<Output = Result<Option<V::Change>>> + Send;
}

/// Commits what is missing to reach the goals, and returns the number of commits. The changes of all tables are prepared
/// together. Once all of them are known, all commits are sent together, so that the tables change at nearly the same time.
///
/// If one of them fails, the others are still sent, and a repeated call continues.
pub(super) async fn reach<V: Versioned, G: Goal<V>>(
    tables: &mut [V],
    goal_of: impl Fn(Table) -> Result<Option<G>>,
) -> Result<usize> {
    let goals = tables.iter().map(|metadata| goal_of(metadata.table()));
    let goals: Vec<Option<G>> = goals.collect::<Result<_>>()?;
    let changes = tables.iter().zip(&goals).map(async |(metadata, goal)| {
        let Some(goal) = goal else { return Ok(None) };
        goal.change(metadata).await
    });
    let changes = join_all(changes.collect::<Vec<_>>()).await;
    let changes: Vec<Option<V::Change>> = changes.into_iter().collect::<Result<_>>()?;
    let ready = tables.iter_mut().zip(&goals).zip(changes);
    let ready =
        ready.filter_map(|((metadata, goal), change)| Some((metadata, goal.as_ref()?, change?)));
    let commits = ready.map(|(metadata, goal, change)| put(metadata, goal, change));
    let committed = join_all(commits.collect::<Vec<_>>()).await;
    let committed = committed.into_iter().collect::<Result<Vec<bool>>>()?;
    Ok(committed.into_iter().filter(|committed| *committed).count())
}

/// Commits, and tries again if another writer commits first. False if nothing is missing then.
async fn put<V: Versioned>(
    metadata: &mut V,
    goal: &impl Goal<V>,
    mut change: V::Change,
) -> Result<bool> {
    for _ in 0..ATTEMPTS {
        if metadata.put(change).await? {
            return Ok(true);
        }
        metadata.reload().await?;
        match goal.change(metadata).await? {
            None => return Ok(false),
            Some(again) => change = again,
        }
    }
    Err(gave_up(V::FORMAT, metadata.table()))
}

/// The error of a commit that others are always ahead of.
pub(super) fn gave_up(format: &str, table: Table) -> Error {
    let table = table.name();
    let message = format!(
        "gave up after {ATTEMPTS} conflicting commits by other writers to the {format} table {table}"
    );
    Error::unexpected(message).with_hint(format!(
        "nothing is lost; run the same command again when the other writers of {table} are done, and it continues where it stopped"
    ))
}
