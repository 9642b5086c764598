//! What the provider knows for nothing: the account, and which tasks it has charged for.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tracing::{info, warn};

use super::client::{Client, Reply, SendError};
use super::ledger::{Attempt, Charged};
use super::retry::{Decision, Happened, Moment, RetryPolicy, Tries};
use super::work::{Entry, refusal};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::money::Usd;
use crate::provider::{Account, Envelope, IdList, Listed, MAX_LISTED, SERVER_TIMEOUT, code};

/// How a question that costs nothing is repeated.
const FREE_QUESTIONS: RetryPolicy = RetryPolicy {
    max_unsent: 4,
    max_attempts: 4,
    max_paid: 4,
    max_waits: 3,
    base: Duration::from_secs(1),
    longest: Duration::from_secs(20),
};
/// Pages of the list at the most: a million tasks.
const MAX_PAGES: usize = 1000;
/// How far apart the clocks may be, here and there; one of them may have been corrected meanwhile.
const CLOCKS_APART: chrono::Duration = chrono::Duration::hours(24);
/// After so long the provider's list holds what was posted, or never will, unless a pipeline knows better.
pub const LISTED_AFTER: Duration = Duration::from_secs(SERVER_TIMEOUT.as_secs() + 60);

/// Asks for the account: balance, limits, prices. None if the provider cannot be reached or makes no sense now.
///
/// # Errors
/// An account that the provider refuses.
pub async fn account(client: &Client, clock: &Clock) -> Result<Option<Account>> {
    let answer = ask(clock, "the account", || client.user_data(), |body| Account::read(body).ok());
    answer.await
}

/// Lists the tasks that the account has run between two moments.
///
/// # Errors
/// An account that the provider refuses. None if the provider cannot be reached or makes no sense now.
pub async fn list(
    client: &Client,
    clock: &Clock,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Option<Vec<Listed>>> {
    let mut found = Vec::new();
    let (mut seen, mut offset) = (HashSet::new(), 0);
    for _ in 0..MAX_PAGES {
        let question = IdList { from, to, offset };
        let page = ask(clock, "the list of tasks", || client.id_list(question.body()), IdList::read);
        let Some(page) = page.await? else {
            return Ok(None);
        };
        let last = page.len() < MAX_LISTED;
        offset += page.len();
        // One that is listed late moves others to the next page: there they come again.
        found.extend(
            page.into_iter().filter(|task| task.id.as_ref().is_none_or(|id| seen.insert(id.clone()))),
        );
        if last {
            return Ok(Some(found));
        }
    }
    warn!("the list of tasks does not end");
    Ok(None)
}

/// Settles what attempts cost of which no answer tells, by their tags in the provider's list of tasks. Returns those
/// that are settled.
///
/// One that is not listed `listed_after` so long was not charged; by a clock that nobody corrects. If some may yet come
/// and `wait` is set, it waits for them; what cannot be settled stays unknown.
///
/// # Errors
/// An account that the provider refuses.
pub async fn settle(
    client: &Client,
    clock: &Clock,
    listed_after: Duration,
    entries: &[Entry],
    wait: bool,
) -> Result<Vec<Attempt>> {
    let mut unknown: Vec<&Entry> =
        entries.iter().filter(|entry| entry.attempt.charged == Charged::Unknown).collect();
    let mut settled = Vec::new();
    let Some(first) = unknown.iter().map(|entry| entry.attempt.sent_at).min() else {
        return Ok(settled);
    };
    loop {
        let asked = clock.running();
        let listed = list(client, clock, first - CLOCKS_APART, clock.now() + CLOCKS_APART).await?;
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
            attempt.charged = if cost > Usd::ZERO { Charged::Yes } else { Charged::No };
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
    info!(settled = settled.len(), unknown = unknown.len(), "asked the provider what was charged");
    Ok(settled)
}

/// Asks a question that costs nothing, again if need be. None if there is no answer that makes sense.
async fn ask<T>(
    clock: &Clock,
    what: &str,
    post: impl AsyncFn() -> Result<Reply, SendError>,
    read: impl Fn(&[u8]) -> Option<T>,
) -> Result<Option<T>> {
    let mut tries = Tries::default();
    loop {
        let (happened, message, asked) = match post().await {
            Err(SendError::NotSent(message)) => (Happened::NotSent, message, None),
            Err(error) => (Happened::NoAnswer, error.to_string(), None),
            Ok(reply) => match Envelope::read(&reply.body) {
                Err(_) if !(200..300).contains(&reply.status) => {
                    (Happened::HttpStatus(reply.status), format!("HTTP {}", reply.status), reply.wait)
                }
                Err(malformed) => (Happened::Malformed, malformed.to_string(), reply.wait),
                Ok(envelope) => {
                    let (status, message) = envelope.status();
                    if status == code::OK
                        && let Some(answer) = read(&reply.body)
                    {
                        return Ok(Some(answer));
                    }
                    let happened =
                        if status == code::OK { Happened::Malformed } else { Happened::Status(status) };
                    (happened, format!("{status} {message}"), reply.wait)
                }
            },
        };
        tries.count(happened, Charged::No);
        let moment = Moment { now: clock.now(), jitter: 1.0, asked };
        match FREE_QUESTIONS.decide(happened, tries, Charged::No, moment) {
            Decision::Retry(wait) => clock.sleep(wait).await,
            Decision::Stop => {
                let error = refusal(happened, &message);
                let hint = error.hint().to_owned();
                return Err(Error::new(ErrorKind::Account, format!("failed to ask for {what}: {error}"))
                    .with_hint(hint));
            }
            _ => {
                warn!("failed to ask for {what}: {message}");
                return Ok(None);
            }
        }
    }
}
