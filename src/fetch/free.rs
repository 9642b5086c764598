//! Free calls: the account, and which tasks it has run.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tracing::warn;

use super::client::{Client, Response};
use super::refusal::refusal;
use super::retry::{Decision, RetryContext, RetryPolicy, Tries};
use super::transport::SendError;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{AttemptResult, Charged};
use crate::provider::{Account, Envelope, IdList, Listed, MAX_LISTED, code};

/// Asks for the account: balance, limits, prices. None if the provider cannot be reached or makes no sense now.
///
/// # Errors
/// An account that the provider refuses.
pub async fn fetch_account(client: &Client, clock: &Clock) -> Result<Option<Account>> {
    let answer = ask(
        clock,
        "the account",
        || client.user_data(),
        |body| Account::read(body).ok(),
    );
    answer.await
}

/// Lists the tasks that the account has run between two moments.
///
/// # Errors
/// An account that the provider refuses. None if the provider cannot be reached or makes no sense now.
pub async fn list_tasks(
    client: &Client,
    clock: &Clock,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Option<Vec<Listed>>> {
    let mut found = Vec::new();
    let (mut seen, mut offset) = (HashSet::new(), 0);
    for _ in 0..MAX_PAGES {
        let question = IdList { from, to, offset };
        let page = ask(
            clock,
            "the list of tasks",
            || client.id_list(question.body()),
            IdList::read,
        );
        let Some(page) = page.await? else {
            return Ok(None);
        };
        let last = page.len() < MAX_LISTED;
        offset += page.len();
        // One that is listed late moves others to the next page: there they come again.
        found.extend(
            page.into_iter()
                .filter(|task| task.id.as_ref().is_none_or(|id| seen.insert(id.clone()))),
        );
        if last {
            return Ok(Some(found));
        }
    }
    warn!("the list of tasks does not end");
    Ok(None)
}

/// Asks a question that costs nothing, again if need be. None if there is no answer that makes sense.
async fn ask<T>(
    clock: &Clock,
    what: &str,
    post: impl AsyncFn() -> Result<Response, SendError>,
    read: impl Fn(&[u8]) -> Option<T>,
) -> Result<Option<T>> {
    let mut tries = Tries::default();
    loop {
        let (result, message, asked) = match post().await {
            Err(SendError::NotSent(message)) => (AttemptResult::NotSent, message, None),
            Err(error) => (AttemptResult::NoResponse, error.to_string(), None),
            Ok(response) => match Envelope::read(&response.body) {
                Err(_) if !(200..300).contains(&response.status) => (
                    AttemptResult::HttpStatus(response.status),
                    format!("HTTP {}", response.status),
                    response.wait,
                ),
                Err(malformed) => (
                    AttemptResult::Malformed,
                    malformed.to_string(),
                    response.wait,
                ),
                Ok(envelope) => {
                    let (status, message) = envelope.status();
                    if status == code::OK
                        && let Some(answer) = read(&response.body)
                    {
                        return Ok(Some(answer));
                    }
                    let result = if status == code::OK {
                        AttemptResult::Malformed
                    } else {
                        AttemptResult::Status(status)
                    };
                    (result, format!("{status} {message}"), response.wait)
                }
            },
        };
        tries.count(result, Charged::No);
        let context = RetryContext {
            now: clock.now(),
            jitter: 1.0,
            asked,
        };
        match FREE_QUESTIONS.decide(result, tries, Charged::No, context) {
            Decision::Retry(wait) => clock.sleep(wait).await,
            Decision::Stop => {
                let error = refusal(result, &message);
                let hint = error.hint().to_owned();
                return Err(Error::new(
                    ErrorKind::Account,
                    format!("failed to ask for {what}: {error}"),
                )
                .with_hint(hint));
            }
            _ => {
                warn!("failed to ask for {what}: {message}");
                return Ok(None);
            }
        }
    }
}

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
