//! Reads what a lake holds for each of its dates. Only reads: no lock, no request, no change.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};
use futures::{StreamExt as _, TryStreamExt as _};

use super::night::{Evidence, Night, Published, Spent};
use crate::error::Result;
use crate::lake::{Manifest, snapshots};
use crate::ledger::{EarlierAttempt, Ledger};
use crate::question::Question;
use crate::store::{Holder, Layout, Owner, Store};

/// Dates that are read at the same time.
const CONCURRENT_DATES: usize = 8;

/// Every date on which something was started, oldest first. Empty if the place is not a lake.
///
/// # Errors
/// A place that cannot be read.
pub async fn dates(store: &Store) -> Result<BTreeSet<NaiveDate>> {
    let mut dates: BTreeSet<_> = snapshots(store).await?.into_iter().collect();
    dates.extend(store.dates_below(&Layout::runs()).await?);
    Ok(dates)
}

/// What became of these dates, as seen from the process `here`, in the same order.
///
/// # Errors
/// A lake that fails.
pub async fn nights(
    store: &Store,
    dates: impl IntoIterator<Item = NaiveDate>,
    here: &Owner,
    now: DateTime<Utc>,
) -> Result<Vec<Night>> {
    let dates: Vec<_> = dates.into_iter().collect();
    futures::stream::iter(dates)
        .map(async |date| Ok(Night::of(date, evidence(store, date, here, now).await?)))
        .buffered(CONCURRENT_DATES)
        .try_collect()
        .await
}

async fn evidence(
    store: &Store,
    snapshot: NaiveDate,
    here: &Owner,
    now: DateTime<Utc>,
) -> Result<Evidence> {
    let layout = Layout { snapshot };
    let ledger = Ledger::new(store.clone(), snapshot);
    let mut evidence = Evidence {
        lock: Holder::of(store, snapshot, here, now).await?,
        summary: ledger.summary().await?,
        ..Evidence::default()
    };
    let manifest = match Manifest::read(store, snapshot).await {
        Ok(manifest) => manifest,
        Err(error) => {
            evidence.damaged = Some(error);
            return Ok(evidence);
        }
    };
    let Some(manifest) = manifest else {
        evidence.pruned = store.get(&layout.pruned()).await?.is_some();
        // A record that cannot be read is what the next start complains about, too.
        let records = ledger.run_records().await.unwrap_or_default();
        let all = ledger.all_runs().await.unwrap_or_default();
        if let Some(record) = records.last().or(all.last()) {
            let attempts = attempts_of_date(&ledger, &record.question).await?;
            let of_run = attempts
                .iter()
                .filter(|earlier| earlier.attempt.is_of(&record.run));
            evidence.spent = Some(Spent {
                answered: Spent::of(of_run).answered,
                ..Spent::of(&attempts)
            });
            evidence.lines = ledger.line_count(&record.run).await?;
            evidence.question = Some(record.question.clone());
        }
        evidence.abandoned = records.is_empty() && !all.is_empty();
        return Ok(evidence);
    };
    let replacing = ledger.run_record(manifest.generation + 1).await?.is_some();
    if manifest.generation > 1 || replacing || ledger.has_abandoned().await? {
        let attempts = attempts_of_date(&ledger, &manifest.question).await?;
        evidence.spent = Some(Spent::of(&attempts));
    }
    evidence.published = Some(Published {
        tally: manifest.tally,
        bytes: manifest.bytes(),
        at: manifest.published_at,
        replacing,
    });
    evidence.question = Some(manifest.question);
    Ok(evidence)
}

/// The attempts of all runs of a date.
pub(super) async fn attempts_of_date(
    ledger: &Ledger,
    question: &Question,
) -> Result<Vec<EarlierAttempt>> {
    let all = 0..u32::MAX;
    let earlier = ledger.earlier_attempts(question.endpoint, all).await?;
    Ok(earlier.attempts)
}
