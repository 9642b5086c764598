//! Whom a run asks: the host, the credentials, and what the account may do.

use super::credentials::credentials;
use super::report::CheckReport;
use super::run::Surroundings;
use super::spec::{Api, Pipeline};
use crate::error::{Error, ErrorKind, Result};
use crate::fetch::{Client, Credentials};
use crate::lake::Store;
use crate::provider::{Account, Envelope, StatusClass};
use crate::simulator::{Behaviour, LOGIN, PASSWORD, Simulator};

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
    let options = match &pipeline.api {
        Api::Remote(url) => return Ok((Client::new(url, credentials, pipeline.limits)?, None)),
        Api::Simulator(options) => options,
    };
    let behaviour = Behaviour {
        seed: options.seed,
        latency: options.latency,
        date: Some(pipeline.snapshot),
        prices: pipeline.prices,
        ..Behaviour::default()
    };
    let simulator = Simulator::start(behaviour, around.clock.clone(), 0).await?;
    Ok((Client::new(&simulator.url(), credentials, pipeline.limits)?, Some(simulator)))
}

/// Checks credentials, prices, balance and that the lake is writable; nothing is paid.
///
/// # Errors
/// The first of these that does not hold.
pub async fn check(pipeline: &Pipeline, around: &Surroundings<'_>) -> Result<CheckReport> {
    let store = Store::create(&pipeline.lake)?;
    store.probe().await?;
    let (client, _simulator) = connect(pipeline, &credentials_for(pipeline, around)?, around).await?;
    let refused =
        |message: String| Error::new(ErrorKind::Account, format!("failed to ask for the account: {message}"));
    let reply = client.user_data().await.map_err(|error| refused(error.to_string()))?;
    let envelope =
        Envelope::read(&reply.body).map_err(|error| refused(format!("HTTP {}: {error}", reply.status)))?;
    let (code, message) = envelope.status();
    if StatusClass::of(code) != StatusClass::Success {
        return Err(
            refused(format!("{code} {message}")).with_hint("check DATAFORSEO_LOGIN and DATAFORSEO_PASSWORD")
        );
    }
    let account = Account::read(&reply.body).map_err(|error| refused(error.to_string()))?;
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
    })
}
