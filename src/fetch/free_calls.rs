//! Calls that are free of charge: the account, the tasks that it has run, and the size of the index.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tracing::warn;

use super::classify::{classify, classify_error};
use super::client::{Client, Response};
use super::refusal::refusal;
use super::retry::{Decision, RetryContext, RetryPolicy, Tries};
use super::transport::SendError;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{AttemptResult, Charged};
use crate::provider::{Account, IndexSize, ListedTask, MAX_LISTED, TaskListPage, code};

/// Pages of the task list that are read: a million tasks.
const MAX_PAGES: usize = 1000;

/// The policy for calls that are free of charge.
const FREE_CALLS: RetryPolicy = RetryPolicy {
    max_unsent: 4,
    max_attempts: 4,
    max_paid: 4,
    max_waits: 3,
    base: Duration::from_secs(1),
    longest: Duration::from_secs(20),
};

/// How often a run tries to connect for the first time: for about a minute.
const FIRST_CONNECTION: u32 = 8;

/// Reads the account: balance, limits and prices. Returns `None`, with a warning in the log, if the
/// provider cannot be reached or its response makes no sense.
///
/// # Errors
/// An account that the provider refuses.
pub async fn fetch_account(client: &Client, clock: &Clock) -> Result<Option<Account>> {
    match read_account(client, clock, FREE_CALLS).await? {
        Ok(account) => Ok(Some(account)),
        Err(failed) => {
            failed.warn(ACCOUNT);
            Ok(None)
        }
    }
}

/// Reads the account like [`fetch_account`], for a command that is about the account.
///
/// # Errors
/// An account that cannot be read, for whatever reason.
pub async fn require_account(client: &Client, clock: &Clock) -> Result<Account> {
    let read = read_account(client, clock, FREE_CALLS).await?;
    read.map_err(|failed| match failed.result {
        AttemptResult::NotSent => failed.unreachable(ErrorKind::Account),
        _ => Error::new(ErrorKind::Account, format!("failed to read {ACCOUNT}: {}", failed.message))
            .with_hint("check [api] base_url, the network and the proxy; if the provider is down, run the same command later"),
    })
}

/// Reads the account like [`fetch_account`], for a run that cannot go on without the provider.
///
/// # Errors
/// An account that the provider refuses; a provider to which no connection is made in about a minute.
pub async fn reach_account(client: &Client, clock: &Clock) -> Result<Option<Account>> {
    let policy = RetryPolicy {
        max_unsent: FIRST_CONNECTION,
        ..FREE_CALLS
    };
    match read_account(client, clock, policy).await? {
        Ok(account) => Ok(Some(account)),
        Err(failed) if failed.result == AttemptResult::NotSent => {
            Err(failed.unreachable(ErrorKind::Held))
        }
        Err(failed) => {
            failed.warn(ACCOUNT);
            Ok(None)
        }
    }
}

const ACCOUNT: &str = "the account";

async fn read_account(
    client: &Client,
    clock: &Clock,
    policy: RetryPolicy,
) -> Result<Result<Account, Failed>> {
    let read = |body: &[u8]| Account::read(body).ok();
    call(clock, policy, ACCOUNT, || client.user_data(), read).await
}

/// Lists the tasks that the account has run between two moments. Returns `None`, with a warning in
/// the log, if the provider cannot be reached or its response makes no sense.
///
/// # Errors
/// An account that the provider refuses.
pub async fn list_tasks(
    client: &Client,
    clock: &Clock,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Option<Vec<ListedTask>>> {
    let mut found = Vec::new();
    let (mut seen, mut offset) = (HashSet::new(), 0);
    for _ in 0..MAX_PAGES {
        let request = TaskListPage { from, to, offset };
        let what = "the task list";
        let send = || client.id_list(request.body());
        let page = match call(clock, FREE_CALLS, what, send, TaskListPage::read).await? {
            Ok(page) => page,
            Err(failed) => {
                failed.warn(what);
                return Ok(None);
            }
        };
        let is_last = page.len() < MAX_LISTED;
        offset += page.len();
        // A task that is listed late moves others to the next page, where they appear a second
        // time.
        let new = page
            .into_iter()
            .filter(|task| task.id.as_ref().is_none_or(|id| seen.insert(id.clone())));
        found.extend(new);
        if is_last {
            return Ok(Some(found));
        }
    }
    warn!("the provider's task list has more than {MAX_PAGES} pages");
    Ok(None)
}

/// How long the size of the index may take. No run waits longer for it.
const INDEX_TIMEOUT: Duration = Duration::from_secs(15);

/// Reads the size of the provider's index, once. Returns `None`, with a warning in the log, if that
/// fails: no run depends on it.
pub async fn fetch_index(client: &Client, clock: &Clock) -> Option<IndexSize> {
    let sent = clock.within(INDEX_TIMEOUT, client.index()).await;
    let failed = match sent.map(|response| usable(response, IndexSize::read)) {
        Some(Ok(size)) => return Some(size),
        Some(Err(failed)) => failed.message,
        None => format!("no response in {} s", INDEX_TIMEOUT.as_secs()),
    };
    warn!("failed to read the size of the provider's index: {failed}");
    None
}

/// Why a call has no usable response yet.
struct Failed {
    result: AttemptResult,
    message: String,
    requested_wait: Option<Duration>,
}

impl Failed {
    fn warn(&self, what: &str) {
        warn!("failed to read {what}: {}", self.message);
    }

    /// The error of a command that has not reached the provider.
    fn unreachable(&self, kind: ErrorKind) -> Error {
        let message = format!("the provider cannot be reached: {}", self.message);
        let hint = "nothing was sent; check the network, the proxy and [api] base_url, then run the same command again";
        Error::new(kind, message).with_hint(hint)
    }
}

/// Makes a call that is free of charge, with retries. Returns why not if there is no usable response.
async fn call<T>(
    clock: &Clock,
    policy: RetryPolicy,
    what: &str,
    send: impl AsyncFn() -> Result<Response, SendError>,
    read: impl Fn(&[u8]) -> Option<T>,
) -> Result<Result<T, Failed>> {
    let mut tries = Tries::default();
    loop {
        let failed = match usable(send().await, &read) {
            Ok(read) => return Ok(Ok(read)),
            Err(failed) => failed,
        };
        tries.count(failed.result, Charged::No);
        let context = RetryContext {
            now: clock.now(),
            jitter: 1.0,
            requested_wait: failed.requested_wait,
        };
        match policy.decide(failed.result, tries, Charged::No, context) {
            Decision::Retry(wait) => clock.sleep(wait).await,
            Decision::Stop => {
                let error = refusal(failed.result, &failed.message);
                let hint = error.hint().to_owned();
                let message = format!("failed to read {what}: {error}");
                return Err(Error::new(ErrorKind::Account, message).with_hint(hint));
            }
            _ => return Ok(Err(failed)),
        }
    }
}

/// Reads a response, or says why it is not usable.
fn usable<T>(
    response: Result<Response, SendError>,
    read: impl Fn(&[u8]) -> Option<T>,
) -> Result<T, Failed> {
    let response = response.map_err(|error| Failed {
        result: classify_error(&error),
        message: error.to_string(),
        requested_wait: None,
    })?;
    let failed = |result, message| Failed {
        result,
        message,
        requested_wait: response.requested_wait,
    };
    let envelope = classify(response.status, &response.body)
        .map_err(|no_envelope| failed(no_envelope.result, no_envelope.message))?;
    let (status, text) = envelope.status();
    let message = format!("{status} {text}");
    if status != code::OK {
        return Err(failed(AttemptResult::Status(status), message));
    }
    read(&response.body).ok_or_else(|| failed(AttemptResult::Malformed, message))
}
