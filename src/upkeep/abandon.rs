//! Abandons an unfinished run or replacement, so that another one of its date can begin: for one that was started with
//! wrong settings, which no start with the right ones continues.
//!
//! The responses of the run stay in the archive until it is pruned, and its cost still counts. What is published stays as
//! it is. The run's record is deleted last, so an interrupted `abandon` is repeated from its beginning.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use strum::VariantArray as _;

use super::night::Spent;
use super::nights::attempts_of_date;
use super::prune::Date;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::lake::{Manifest, TableFormat, ensure_readable, heal, is_untidy};
use crate::ledger::{EarlierAttempt, Ledger, RunRecord};
use crate::money::Usd;
use crate::question::Question;
use crate::stop::Stop;
use crate::store::{Lock, Owner, Store};

/// An unfinished run or replacement, and what it has paid for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unfinished {
    /// The date of its snapshot.
    pub snapshot: NaiveDate,
    /// Its name.
    pub run: String,
    /// When it was started for the first time.
    pub started_at: DateTime<Utc>,
    /// What it asks.
    pub question: Question,
    /// Whether it was to replace a published snapshot.
    pub replaces: bool,
    /// The requests that it has sent.
    pub requests: u64,
    /// The targets whose response is archived.
    pub answered: u64,
    /// What was charged.
    pub cost_usd: Usd,
    /// What may have been charged in addition, at most.
    pub cost_unknown_usd: Usd,
}

/// Finds what [`abandon`] would abandon, and changes nothing. `None` if it was abandoned before.
///
/// # Errors
/// A date with nothing unfinished; a lake that fails.
pub async fn to_abandon(store: &Store, snapshot: NaiveDate) -> Result<Option<Unfinished>> {
    let ledger = Ledger::new(store.clone(), snapshot);
    let published = Manifest::read(store, snapshot).await?;
    let records = unfinished(&ledger, published.as_ref()).await?;
    describe(&ledger, published.is_some(), &records).await
}

/// Abandons the unfinished run or replacement of a date. Returns it, or `None` if it was abandoned before.
///
/// # Errors
/// As [`to_abandon`]; a lock that another process holds; a requested stop. The same command continues.
pub async fn abandon(
    store: &Store,
    snapshot: NaiveDate,
    owner: &Owner,
    clock: &Clock,
    stop: &Stop,
) -> Result<Option<Unfinished>> {
    // Checked before the lock is taken: a lock would create a folder for a date that was never started.
    if to_abandon(store, snapshot).await?.is_none() {
        return Ok(None);
    }
    let work = async |lock: Arc<Lock>| {
        let ledger = Ledger::locked(store.clone(), snapshot, Arc::clone(&lock));
        let published = Manifest::read(store, snapshot).await?;
        let records = unfinished(&ledger, published.as_ref()).await?;
        let found = describe(&ledger, published.is_some(), &records).await?;
        if found.is_none() {
            return Ok(None);
        }
        // Before anything is changed.
        ensure_readable(store).await?;
        for record in &records {
            ledger.keep_abandoned(record).await?;
        }
        match &published {
            Some(published) => restore(store, &ledger, &lock, published).await?,
            None => {
                let date = Date::new(store, snapshot, &lock, clock.today(), stop);
                date.delete_from_tables(clock.now()).await?;
                date.delete_partitions().await?;
            }
        }
        for record in &records {
            ledger.close_abandoned(record).await?;
        }
        Ok(found)
    };
    Lock::hold(store, snapshot, owner.clone(), clock, stop, work).await
}

/// The records of what is not finished. After pruning, a date may have those of several runs.
async fn unfinished(ledger: &Ledger, published: Option<&Manifest>) -> Result<Vec<RunRecord>> {
    Ok(match published {
        Some(published) => {
            let replacement = ledger.run_record(published.generation + 1).await?;
            replacement.into_iter().collect()
        }
        None => {
            let mut records = ledger.run_records().await?;
            if ledger.is_pruned().await? {
                // A record outlives its snapshot, so that `replay` can rebuild that. What an interrupted `abandon` has
                // marked as pruned has its other record already.
                let abandoned = ledger.abandoned_runs().await?;
                records.retain(|record| abandoned.iter().any(|other| other.run == record.run));
            }
            records
        }
    })
}

async fn describe(
    ledger: &Ledger,
    replaces: bool,
    records: &[RunRecord],
) -> Result<Option<Unfinished>> {
    let Some(last) = records.last() else {
        if ledger.has_abandoned().await? {
            return Ok(None);
        }
        let what = if replaces {
            "is published, and no replacement of it is open"
        } else if ledger.is_pruned().await? {
            "was published and pruned"
        } else {
            "was never started"
        };
        let message = format!("snapshot {} {what}", ledger.snapshot());
        let hint = "nothing was changed; `backlake snapshots LAKE` lists what can be continued or abandoned";
        return Err(Error::usage(message).with_hint(hint));
    };
    let attempts = attempts_of_date(ledger, &last.question).await?;
    let is_unfinished = |earlier: &&EarlierAttempt| {
        let mut runs = records.iter();
        runs.any(|record| earlier.attempt.is_of(&record.run))
    };
    let spent = Spent::of(attempts.iter().filter(is_unfinished));
    Ok(Some(Unfinished {
        snapshot: ledger.snapshot(),
        run: last.run.clone(),
        started_at: last.started_at,
        question: last.question.clone(),
        replaces,
        requests: spent.requests,
        answered: spent.answered,
        cost_usd: spent.cost_usd,
        cost_unknown_usd: spent.cost_unknown_usd,
    }))
}

/// Removes what is left of a replacement whose publication was interrupted.
async fn restore(store: &Store, ledger: &Ledger, lock: &Lock, published: &Manifest) -> Result<()> {
    if is_untidy(store, published.snapshot).await? {
        heal(store, TableFormat::VARIANTS, lock, published).await?;
    }
    // With its marker, the next `--replace` would look like a repetition of the start that published the snapshot.
    ledger.unmark_replacing(&published.run).await
}
