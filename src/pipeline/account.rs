//! Whom a run asks: the host, the credentials, and what the account may do and pays.

use std::collections::{HashMap, HashSet};

use chrono::Duration;
use serde::Serialize;
use url::Url;

use super::credentials::credentials;
use super::report::{CheckReport, Reconciled};
use super::run::Surroundings;
use super::spec::{Api, Pipeline};
use crate::error::{Error, ErrorKind, Result};
use crate::fetch::{Charged, Client, Credentials, account, list};
use crate::lake::{Archive, Store};
use crate::money::Usd;
use crate::provider::{Account, Prices};
use crate::simulator::{Behaviour, LOGIN, PASSWORD, Simulator};

/// Where prices come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PricesFrom {
    /// The pipeline file's `[price]`.
    File,
    /// The account.
    Account,
    /// The provider's list prices: the account could not be asked.
    List,
}

/// What is known of the account before anything is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Means {
    /// What the account holds, if it says.
    pub balance_usd: Option<Usd>,
    /// What a request costs.
    pub price_per_request_usd: Usd,
    /// What a row costs.
    pub price_per_row_usd: Usd,
    /// Where the prices come from.
    pub prices_from: PricesFrom,
    /// Requests the account may send a minute, if it says.
    pub requests_per_minute: Option<u32>,
}

impl Means {
    /// As known without asking, or by what the account says.
    pub(super) fn of(pipeline: &Pipeline, account: Option<&Account>) -> Self {
        let told = account.and_then(|account| account.prices);
        let (prices, prices_from) = match (pipeline.prices, told) {
            (Some(prices), _) => (prices, PricesFrom::File),
            (None, Some(prices)) => (prices, PricesFrom::Account),
            (None, None) => (Prices::default(), PricesFrom::List),
        };
        Self {
            balance_usd: account.and_then(|account| account.balance),
            price_per_request_usd: prices.per_request,
            price_per_row_usd: prices.per_row,
            prices_from,
            requests_per_minute: account.and_then(|account| account.requests_per_minute),
        }
    }

    pub(super) fn prices(&self) -> Prices {
        Prices { per_request: self.price_per_request_usd, per_row: self.price_per_row_usd }
    }
}

/// The credentials for the pipeline's host.
pub(super) fn credentials_for(pipeline: &Pipeline, around: &Surroundings<'_>) -> Result<Credentials> {
    match &pipeline.api {
        Api::Simulator(_) => {
            Ok(Credentials { login: LOGIN.to_owned(), password: PASSWORD.to_owned().into() })
        }
        Api::Remote(url) => credentials(url, around.variable),
    }
}

/// A client for the pipeline's host, and the simulator, if that is the host: it runs for as long as it is held.
pub(super) async fn connect(
    pipeline: &Pipeline,
    credentials: &Credentials,
    around: &Surroundings<'_>,
) -> Result<(Client, Option<Simulator>)> {
    let clock = &around.clock;
    let client = |url: &str| match &around.wire {
        None => Client::new(url, credentials, pipeline.limits, clock),
        Some(wire) => {
            let base: Url = url.parse().map_err(|_| Error::usage(format!("`{url}` is no URL")))?;
            Client::over(std::sync::Arc::clone(wire), base, credentials, pipeline.limits, clock)
        }
    };
    let options = match &pipeline.api {
        Api::Remote(url) => return Ok((client(url)?, None)),
        Api::Simulator(options) => options,
    };
    let behaviour = Behaviour {
        seed: options.seed,
        latency: options.latency,
        date: Some(pipeline.snapshot),
        prices: pipeline.prices.unwrap_or_default(),
        ..Behaviour::default()
    };
    let simulator = Simulator::start(behaviour, clock, 0).await?;
    Ok((client(&simulator.url())?, Some(simulator)))
}

/// Asks for the account if there is a way to ask: the prices of a plan, for which nothing is sent.
pub(super) async fn means_for_plan(pipeline: &Pipeline, around: &Surroundings<'_>) -> Result<Means> {
    let Ok(credentials) = credentials_for(pipeline, around) else {
        return Ok(Means::of(pipeline, None));
    };
    let (client, _simulator) = connect(pipeline, &credentials, around).await?;
    let account = account(&client, &around.clock).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "using the provider's list prices");
        None
    });
    Ok(Means::of(pipeline, account.as_ref()))
}

/// Checks credentials, prices, balance and that the lake is writable; nothing is paid. With `reconcile`, holds the books
/// of the snapshot to the provider's list of tasks, too.
///
/// # Errors
/// The first of these that does not hold.
pub async fn check(pipeline: &Pipeline, around: &Surroundings<'_>, reconcile: bool) -> Result<CheckReport> {
    let store = around.lake(pipeline)?;
    store.probe().await?;
    let (client, _simulator) = connect(pipeline, &credentials_for(pipeline, around)?, around).await?;
    let account = account(&client, &around.clock).await?.ok_or_else(|| {
        Error::new(
            ErrorKind::Account,
            "failed to ask for the account: the provider gives no answer that makes sense",
        )
        .with_hint("check [api] base_url and the network between; the log above says what came")
    })?;
    let reconciled = match reconcile {
        false => None,
        true => Some(reconcile_books(pipeline, &store, &client, around).await?),
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
    around: &Surroundings<'_>,
) -> Result<Reconciled> {
    let snapshot = pipeline.snapshot;
    if let Api::Simulator(_) = pipeline.api {
        return Err(Error::usage("the embedded simulator forgets its books when a run ends")
            .with_hint("reconcile against the API, or against `backlake simulate` with --base-url"));
    }
    let archive = Archive::new(store.clone(), snapshot);
    // Those of the run that fills or has filled it last.
    let first = archive.run_records().await?.last().map_or(0, |record| record.first_batch);
    let (earlier, _) = archive.earlier(pipeline.endpoint, first..u32::MAX).await?;
    let attempts: Vec<_> = earlier.into_iter().map(|earlier| (earlier.attempt, earlier.reserved)).collect();
    let times = attempts.iter().map(|(attempt, _)| attempt.sent_at);
    let (Some(first), Some(last)) = (times.clone().min(), times.max()) else {
        return Err(Error::usage(format!(
            "there are no books of snapshot {snapshot} in {}",
            store.display()
        ))
        .with_hint("pass --snapshot with the date of a run that was started"));
    };
    let listed = list(client, &around.clock, first - Duration::hours(1), last + Duration::hours(1)).await?;
    let listed = listed.ok_or_else(|| {
        Error::new(ErrorKind::Account, "failed to ask for the list of tasks: no answer that makes sense")
    })?;
    let Some(run) = attempts.iter().find_map(|(attempt, _)| attempt.tag.rsplit_once('/')) else {
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
    let booked_usd = attempts.iter().filter_map(|(attempt, _)| attempt.cost_usd).sum();
    let charged_usd = charged.values().copied().sum();
    let mut differences = Vec::new();
    for (attempt, _) in &attempts {
        let listed = charged.remove(attempt.tag.as_str());
        let (booked, listed) = (attempt.cost_usd, listed.unwrap_or_default());
        if untold.contains(attempt.tag.as_str()) {
            differences.push(format!("{}: the provider does not say yet what it cost", attempt.tag));
        } else if attempt.charged == Charged::Unknown || booked.unwrap_or_default() != listed {
            let booked = booked.map_or_else(|| "unknown".to_owned(), |usd| format!("${usd}"));
            differences.push(format!("{}: {booked} in the books, ${listed} at the provider", attempt.tag));
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
