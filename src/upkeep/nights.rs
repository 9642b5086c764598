//! Reads what a lake holds for each of its dates. Only reads: no lock, no request, no change.

use std::collections::BTreeSet;
use std::ops::Range;

use chrono::{DateTime, NaiveDate, Utc};
use futures::{StreamExt as _, TryStreamExt as _};

use super::night::{Evidence, Night, Published, Spent};
use crate::error::Result;
use crate::lake::{Manifest, snapshots};
use crate::ledger::{Charged, Ledger, Outcome};
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
            let of_date = spent(&ledger, &record.question, 0..u32::MAX).await?;
            let of_run = ledger.batches_of(record).await;
            let of_run = of_run.unwrap_or(record.first_batch..u32::MAX);
            let answered = match of_run.start {
                0 => of_date.answered,
                _ => spent(&ledger, &record.question, of_run).await?.answered,
            };
            evidence.spent = Some(Spent {
                answered,
                ..of_date
            });
            evidence.lines = ledger.line_count(&record.run).await?;
            evidence.question = Some(record.question.clone());
        }
        evidence.abandoned = records.is_empty() && !all.is_empty();
        return Ok(evidence);
    };
    let replacing = ledger.run_record(manifest.generation + 1).await?.is_some();
    if manifest.generation > 1 || replacing || ledger.has_abandoned().await? {
        evidence.spent = Some(spent(&ledger, &manifest.question, 0..u32::MAX).await?);
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

/// What the attempts at these batches of a date add up to.
pub(super) async fn spent(
    ledger: &Ledger,
    question: &Question,
    batches: Range<u32>,
) -> Result<Spent> {
    let earlier = ledger.earlier_attempts(question.endpoint, batches).await?;
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
