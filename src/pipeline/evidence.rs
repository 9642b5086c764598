//! What the lake shows about the provider before anything is sent: whether its responses can be used
//! at the prices that apply, and whether it asked to wait.

use chrono::{DateTime, Duration, Utc};

use super::gathered::Gathered;
use crate::error::{Error, ErrorKind};
use crate::fetch::{Entry, Evidence, price_not_understood};
use crate::lake::{Manifest, snapshots};
use crate::ledger::{Attempt, Charged, Outcome};
use crate::money::Usd;
use crate::provider::{Prices, StatusClass, code};
use crate::store::Store;

/// Reads what shows that responses can be used: a response of this run that cost what the prices
/// say, or else the newest snapshot, if the same host was asked and its requests cost no more than
/// they would at these prices.
pub(super) async fn evidence(store: &Store, gathered: &Gathered, prices: Prices) -> Evidence {
    let entries = &gathered.attempts.entries;
    let usable = entries.iter().any(|entry| is_usable(entry, prices))
        || newest_snapshot_shows_it(store, gathered, prices).await;
    Evidence {
        usable,
        wasted: wasted(entries),
    }
}

fn is_usable(entry: &Entry, prices: Prices) -> bool {
    let attempt = &entry.attempt;
    let told = prices.cost(1, u64::from(attempt.targets));
    attempt.outcome == Outcome::Ok && attempt.cost_usd.is_some_and(|cost| cost <= told)
}

/// The responses that were paid for but unusable, since the last usable one.
fn wasted(entries: &[Entry]) -> u32 {
    let attempts = entries.iter().rev().map(|entry| &entry.attempt);
    let since = attempts.take_while(|attempt| attempt.outcome != Outcome::Ok);
    let wasted = since.filter(|attempt| {
        let unreadable =
            attempt.status_code.is_none() && attempt.http_status.is_some_and(|status| status < 300);
        match attempt.charged {
            Charged::Yes => attempt.body_bytes.is_some(),
            Charged::Unknown => unreadable,
            Charged::No => false,
        }
    });
    wasted.count() as u32
}

async fn newest_snapshot_shows_it(store: &Store, gathered: &Gathered, prices: Prices) -> bool {
    // A lake that cannot be read shows nothing; that is no reason to fail here.
    let Some(newest) = snapshots(store)
        .await
        .ok()
        .and_then(|dates| dates.last().copied())
    else {
        return false;
    };
    let Ok(Some(manifest)) = Manifest::read(store, newest).await else {
        return false;
    };
    let asked = (&manifest.question.asked_of, manifest.question.endpoint);
    let asks = &gathered.record.question;
    let (items, requests) = (manifest.tally.items, manifest.tally.requests);
    asked == (&asks.asked_of, asks.endpoint)
        && items > 0
        && requests.cost_usd <= prices.cost(requests.sent, items)
}

/// Why nothing may be sent yet, if an earlier start of the run has met a reason that lasts.
pub(super) fn must_wait(entries: &[Entry], prices: Prices, now: DateTime<Utc>) -> Option<Error> {
    let too_often = entries.iter().map(|entry| &entry.attempt);
    let until = too_often.filter_map(asked_again_from).max();
    if let Some(until) = until.filter(|until| now < *until) {
        let until = until.format("%Y-%m-%d %H:%M UTC");
        let message = format!(
            "the provider refused the same task because it was posted too often ({} or {}), and asks to wait until {until}",
            code::TOO_OFTEN_PER_HOUR,
            code::TOO_OFTEN_PER_DAY
        );
        let hint = format!("nothing was sent; run the same command after {until}");
        return Some(Error::new(ErrorKind::Account, message).with_hint(hint));
    }
    let charged = |entry: &&Entry| entry.attempt.cost_usd.is_some_and(|cost| cost > Usd::ZERO);
    let last = entries.iter().rev().find(charged)?;
    let told = prices.cost(1, u64::from(last.attempt.targets)).to_scale();
    let cost = last.attempt.cost_usd.unwrap_or_default();
    (cost > told).then(|| price_not_understood(told, cost))
}

/// When a batch that was posted too often may be posted again.
fn asked_again_from(attempt: &Attempt) -> Option<DateTime<Utc>> {
    let code = attempt.status_code?;
    let wait = match StatusClass::of(code) {
        StatusClass::PostedTooOften if code == code::TOO_OFTEN_PER_HOUR => Duration::hours(1),
        StatusClass::PostedTooOften => Duration::days(1),
        _ => return None,
    };
    Some(attempt.sent_at + wait)
}
