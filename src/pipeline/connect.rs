//! A client for the host that the pipeline names, and the simulator if that is the host.

use url::Url;

use super::credentials::credentials;
use super::spec::{Api, Pipeline};
use super::surroundings::Surroundings;
use crate::error::{Error, Result};
use crate::fetch::{Client, Credentials};
use crate::simulator::{Behaviour, LOGIN, PASSWORD, Simulator};

/// The credentials for the pipeline's host.
pub(super) fn credentials_for(pipeline: &Pipeline, env: &Surroundings<'_>) -> Result<Credentials> {
    match &pipeline.api {
        Api::Simulator(_) => Ok(Credentials {
            login: LOGIN.to_owned(),
            password: PASSWORD.to_owned().into(),
        }),
        Api::Remote(url) => credentials(url, env.variable),
    }
}

/// A client for the pipeline's host, and the simulator, if that is the host: it runs for as long as it is held.
pub(super) async fn connect(
    pipeline: &Pipeline,
    credentials: &Credentials,
    env: &Surroundings<'_>,
) -> Result<(Client, Option<Simulator>)> {
    let clock = &env.clock;
    let client = |url: &str| match &env.transport {
        None => Client::new(url, credentials, pipeline.limits, clock),
        Some(transport) => {
            let base: Url = url
                .parse()
                .map_err(|_| Error::usage(format!("`{url}` is no URL")))?;
            Client::over(
                std::sync::Arc::clone(transport),
                base,
                credentials,
                pipeline.limits,
                clock,
            )
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
