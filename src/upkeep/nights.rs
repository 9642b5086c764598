//! Reads what a lake holds for each of its dates. Only reads: no lock, no request, no change.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};
use futures::{StreamExt as _, TryStreamExt as _};

use super::night::{Evidence, Night, Published, Spent};
use crate::error::Result;
use crate::lake::{Manifest, snapshots};
use crate::ledger::{Charged, Ledger, Outcome, RunRecord};
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
        let records = ledger.run_records().await;
        if let Some(record) = records.unwrap_or_default().last() {
            evidence.spent = Some(spent(&ledger, record, record.first_batch).await?);
            evidence.lines = ledger.line_count(&record.run).await?;
            evidence.question = Some(record.question.clone());
        }
        return Ok(evidence);
    };
    let next = ledger.run_record(manifest.generation + 1).await?;
    let replacing = next.is_some();
    if manifest.generation > 1 || replacing {
        let record = match next {
            Some(record) => Some(record),
            None => ledger.run_records().await?.pop(),
        };
        if let Some(record) = record {
            evidence.spent = Some(spent(&ledger, &record, 0).await?);
        }
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

/// What the attempts of a date add up to, from this batch on.
async fn spent(ledger: &Ledger, record: &RunRecord, first: u32) -> Result<Spent> {
    let endpoint = record.question.endpoint;
    let earlier = ledger.earlier_attempts(endpoint, first..u32::MAX).await?;
    let mut spent = Spent::default();
    for earlier in earlier.attempts {
        spent.requests += 1;
        spent.cost_usd += earlier.attempt.cost_usd.unwrap_or_default();
        if earlier.attempt.charged == Charged::Unknown {
            spent.cost_unknown_usd += earlier.reserved;
        }
        if earlier.attempt.outcome == Outcome::Ok {
            spent.answered += earlier.targets.len() as u64;
        }
    }
    Ok(spent)
}
