//! What the provider knows for nothing: the account, and which tasks it has charged for.

use std::collections::HashMap;
use std::time::Duration;

use tracing::info;

use super::client::Client;
use super::events::Entry;
use super::free::list_tasks;
use crate::clock::Clock;
use crate::error::Result;
use crate::ledger::{Attempt, Charged};
use crate::money::Usd;
use crate::provider::{Listed, SERVER_TIMEOUT};

/// How far apart the clocks may be, here and there; one of them may have been corrected meanwhile.
const CLOCKS_APART: chrono::Duration = chrono::Duration::hours(24);
/// After so long the provider's list holds what was posted, or never will, unless a pipeline knows better.
pub const LISTED_AFTER: Duration = Duration::from_secs(SERVER_TIMEOUT.as_secs() + 60);

/// Settles what attempts cost of which no answer tells, by their tags in the provider's list of tasks. Returns those
/// that are settled.
///
/// One that is not listed `listed_after` so long was not charged; by a clock that nobody corrects. If some may yet come
/// and `wait` is set, it waits for them; what cannot be settled stays unknown.
///
/// # Errors
/// An account that the provider refuses.
pub async fn settle_charges(
    client: &Client,
    clock: &Clock,
    listed_after: Duration,
    entries: &[Entry],
    wait: bool,
) -> Result<Vec<Attempt>> {
    let mut unknown: Vec<&Entry> = entries
        .iter()
        .filter(|entry| entry.attempt.charged == Charged::Unknown)
        .collect();
    let mut settled = Vec::new();
    let Some(first) = unknown.iter().map(|entry| entry.attempt.sent_at).min() else {
        return Ok(settled);
    };
    loop {
        let asked = clock.running();
        let listed = list_tasks(
            client,
            clock,
            first - CLOCKS_APART,
            clock.now() + CLOCKS_APART,
        )
        .await?;
        let Some(listed) = listed else { break };
        let mut by_tag: HashMap<&str, (Option<Usd>, &Listed)> = HashMap::new();
        for task in &listed {
            if let Some(tag) = &task.tag {
                let known = by_tag.entry(tag).or_insert((Some(Usd::ZERO), task));
                known.0 = known.0.zip(task.cost).map(|(sum, cost)| sum + cost);
            }
        }
        let mut open = Duration::ZERO;
        unknown.retain(|entry| {
            let age = asked.saturating_sub(entry.sent_by);
            let (cost, id) = match by_tag.get(entry.attempt.tag.as_str()) {
                Some((Some(cost), task)) if *cost > Usd::ZERO => (*cost, task.id.clone()),
                // What costs nothing yet may still be under way.
                _ if age < listed_after => {
                    open = open.max(listed_after - age);
                    return true;
                }
                Some((Some(cost), task)) => (*cost, task.id.clone()),
                Some((None, _)) => return true,
                None => (Usd::ZERO, None),
            };
            let mut attempt = entry.attempt.clone();
            attempt.cost_usd = Some(cost.to_scale());
            attempt.charged = if cost > Usd::ZERO {
                Charged::Yes
            } else {
                Charged::No
            };
            attempt.request_id = attempt.request_id.take().or(id);
            settled.push(attempt);
            false
        });
        if unknown.is_empty() || !wait || open.is_zero() {
            break;
        }
        info!(
            attempts = unknown.len(),
            seconds = open.as_secs(),
            "waiting until the provider must have listed them"
        );
        clock.sleep(open).await;
    }
    info!(
        settled = settled.len(),
        unknown = unknown.len(),
        "asked the provider what was charged"
    );
    Ok(settled)
}
