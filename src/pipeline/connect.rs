//! Connects to the provider that the pipeline names, and starts the simulator if that is the
//! provider.

use std::sync::Arc;

use url::Url;

use super::credentials::credentials;
use super::ready::{Pipeline, Provider};
use super::surroundings::Surroundings;
use crate::error::{Error, Result};
use crate::fetch::{Client, Credentials};
use crate::simulator::{Behaviour, LOGIN, PASSWORD, Simulator};

/// A client for the provider of a pipeline.
pub(super) struct Connection {
    pub(super) client: Client,
    /// The embedded simulator, if that is the provider: it runs as long as this value lives.
    _simulator: Option<Simulator>,
}

/// The credentials for the provider of the pipeline.
pub(super) fn credentials_for(pipeline: &Pipeline, env: &Surroundings<'_>) -> Result<Credentials> {
    match &pipeline.api.provider {
        Provider::Simulator(_) => Ok(Credentials {
            login: LOGIN.to_owned(),
            password: PASSWORD.to_owned().into(),
        }),
        Provider::Remote(url) => credentials(url, env.variable),
    }
}

/// Connects to the provider of the pipeline. Nothing is sent yet.
pub(super) async fn connect(
    pipeline: &Pipeline,
    credentials: &Credentials,
    env: &Surroundings<'_>,
) -> Result<Connection> {
    match &pipeline.api.provider {
        Provider::Remote(url) => Ok(Connection {
            client: client(url, pipeline, credentials, env)?,
            _simulator: None,
        }),
        Provider::Simulator(options) => {
            let behaviour = Behaviour {
                seed: options.seed,
                latency: options.latency,
                stories: options.stories,
                date: Some(pipeline.snapshot),
                prices: pipeline.prices.unwrap_or_default(),
                ..Behaviour::default()
            };
            let simulator = Simulator::start(behaviour, &env.clock, 0).await?;
            Ok(Connection {
                client: client(&simulator.url(), pipeline, credentials, env)?,
                _simulator: Some(simulator),
            })
        }
    }
}

fn client(
    url: &str,
    pipeline: &Pipeline,
    credentials: &Credentials,
    env: &Surroundings<'_>,
) -> Result<Client> {
    let limits = pipeline.api.limits;
    let Some(transport) = &env.transport else {
        return Client::new(url, credentials, limits, &env.clock);
    };
    let base: Url = url
        .parse()
        .map_err(|_| Error::usage(format!("`{url}` is not a URL")))?;
    Client::with_transport(Arc::clone(transport), base, credentials, limits, &env.clock)
}
