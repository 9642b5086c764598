//! Whom a run asks: the host, the credentials, and what the account may do and pays.

use std::collections::{HashMap, HashSet};

use chrono::Duration;

use super::connect::{connect, credentials_for};
use super::report::{CheckReport, Reconciled};
use super::spec::{Api, Pipeline};
use super::surroundings::Surroundings;
use crate::error::{Error, ErrorKind, Result};
use crate::fetch::{Client, fetch_account, list_tasks};
use crate::ledger::{Charged, Ledger};
use crate::money::Usd;
use crate::store::Store;

/// Checks credentials, prices, balance and that the lake is writable; nothing is paid. With `reconcile`, holds the books
/// of the snapshot to the provider's list of tasks, too.
///
/// # Errors
/// The first of these that does not hold.
pub async fn check(
    pipeline: &Pipeline,
    env: &Surroundings<'_>,
    reconcile: bool,
) -> Result<CheckReport> {
    let store = env.lake(pipeline)?;
    store.probe().await?;
    let (client, _simulator) = connect(pipeline, &credentials_for(pipeline, env)?, env).await?;
    let account = fetch_account(&client, &env.clock).await?.ok_or_else(|| {
        Error::new(
            ErrorKind::Account,
            "failed to ask for the account: the provider gives no answer that makes sense",
        )
        .with_hint("check [api] base_url and the network between; the log above says what came")
    })?;
    let reconciled = match reconcile {
        false => None,
        true => Some(reconcile_books(pipeline, &store, &client, env).await?),
    };
    Ok(CheckReport {
        pipeline: pipeline.name.clone(),
        base_url: match &pipeline.api {
            Api::Simulator(_) => "simulator".to_owned(),
            Api::Remote(url) => url.clone(),
        },
        lake: store.display(),
        balance_usd: account.balance,
        price_per_request_usd: account.prices.map(|prices| prices.per_request),
        price_per_row_usd: account.prices.map(|prices| prices.per_row),
        requests_per_minute: account.requests_per_minute,
        reconciled,
    })
}

/// Tasks that a reconciliation names of each kind.
const FIRST_DIFFERENCES: usize = 5;

/// Holds the books of a snapshot to the provider's list of tasks, by tag.
async fn reconcile_books(
    pipeline: &Pipeline,
    store: &Store,
    client: &Client,
    env: &Surroundings<'_>,
) -> Result<Reconciled> {
    let snapshot = pipeline.snapshot;
    if let Api::Simulator(_) = pipeline.api {
        return Err(
            Error::usage("the embedded simulator forgets its books when a run ends").with_hint(
                "reconcile against the API, or against `backlake simulate` with --base-url",
            ),
        );
    }
    let ledger = Ledger::new(store.clone(), snapshot);
    // Those of the run that fills or has filled it last.
    let first = ledger
        .run_records()
        .await?
        .last()
        .map_or(0, |record| record.first_batch);
    let (earlier, _) = ledger
        .earlier_attempts(pipeline.endpoint, first..u32::MAX)
        .await?;
    let attempts: Vec<_> = earlier
        .into_iter()
        .map(|earlier| (earlier.attempt, earlier.reserved))
        .collect();
    let times = attempts.iter().map(|(attempt, _)| attempt.sent_at);
    let (Some(first), Some(last)) = (times.clone().min(), times.max()) else {
        return Err(Error::usage(format!(
            "there are no books of snapshot {snapshot} in {}",
            store.display()
        ))
        .with_hint("pass --snapshot with the date of a run that was started"));
    };
    let listed = list_tasks(
        client,
        &env.clock,
        first - Duration::hours(1),
        last + Duration::hours(1),
    )
    .await?;
    let listed = listed.ok_or_else(|| {
        Error::new(
            ErrorKind::Account,
            "failed to ask for the list of tasks: no answer that makes sense",
        )
    })?;
    let Some(run) = attempts
        .iter()
        .find_map(|(attempt, _)| attempt.tag.rsplit_once('/'))
    else {
        return Err(Error::unexpected("an attempt has no tag of ours"));
    };
    let ours = format!("{}/", run.0);
    let mut charged: HashMap<&str, Usd> = HashMap::new();
    let mut untold = HashSet::new();
    for task in &listed {
        if let Some(tag) = task.tag.as_deref().filter(|tag| tag.starts_with(&ours)) {
            *charged.entry(tag).or_default() += task.cost.unwrap_or_default().to_scale();
            if task.cost.is_none() {
                untold.insert(tag);
            }
        }
    }
    let booked_usd = attempts
        .iter()
        .filter_map(|(attempt, _)| attempt.cost_usd)
        .sum();
    let charged_usd = charged.values().copied().sum();
    let mut differences = Vec::new();
    for (attempt, _) in &attempts {
        let listed = charged.remove(attempt.tag.as_str());
        let (booked, listed) = (attempt.cost_usd, listed.unwrap_or_default());
        if untold.contains(attempt.tag.as_str()) {
            differences.push(format!(
                "{}: the provider does not say yet what it cost",
                attempt.tag
            ));
        } else if attempt.charged == Charged::Unknown || booked.unwrap_or_default() != listed {
            let booked = booked.map_or_else(|| "unknown".to_owned(), |usd| format!("${usd}"));
            differences.push(format!(
                "{}: {booked} in the books, ${listed} at the provider",
                attempt.tag
            ));
        }
    }
    let mut strange: Vec<_> = charged
        .into_iter()
        .map(|(tag, usd)| format!("{tag}: not in the books, ${usd} at the provider"))
        .collect();
    strange.sort_unstable();
    differences.extend(strange);
    let different = differences.len() as u64;
    differences.truncate(FIRST_DIFFERENCES);
    Ok(Reconciled {
        snapshot,
        requests: attempts.len() as u64,
        booked_usd,
        charged_usd,
        different,
        first_differences: differences,
    })
}
