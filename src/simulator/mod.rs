//! The provider, embedded: an HTTP server on loopback with the real one's rules, prices and limits.
//!
//! It speaks real HTTP, so the client code is the same for both, and it is as strict as the provider is known to be.
//! What it answers is a pure function of (seed, date, target), so a test knows the truth of every row. Where the
//! provider's behaviour is a guess, the simulator takes the nastier one.

mod population;
mod rules;
mod server;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use population::{CountsByKey, Page, Population};

use crate::clock::Clock;
use crate::error::{Context, Result};
use crate::money::Usd;
use crate::provider::{MAX_IN_FLIGHT, MAX_REQUESTS_PER_MINUTE, Prices};
use server::State;

/// How the simulated provider behaves.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// Decides the whole population.
    pub seed: u64,
    /// The day it pretends it is; by default the clock's.
    pub date: Option<NaiveDate>,
    /// The only login it accepts.
    pub login: String,
    /// The password to it.
    pub password: String,
    /// What the account pays.
    pub prices: Prices,
    /// What the account holds at the start.
    pub balance: Usd,
    /// Requests it takes at once.
    pub max_in_flight: u32,
    /// Requests it takes a minute.
    pub requests_per_minute: u32,
    /// How long it works on a task.
    pub latency: Duration,
}

/// The login that the embedded simulator takes; no secret, and no real account.
pub const LOGIN: &str = "simulator@example.com";
/// The password to [`LOGIN`].
pub const PASSWORD: &str = "not-a-real-password";

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            seed: 1,
            date: None,
            login: LOGIN.to_owned(),
            password: PASSWORD.to_owned(),
            prices: Prices::default(),
            balance: Usd::from_micros(1_000_000_000_000),
            max_in_flight: MAX_IN_FLIGHT,
            requests_per_minute: MAX_REQUESTS_PER_MINUTE,
            latency: Duration::ZERO,
        }
    }
}

/// An answer given in place of the next one.
#[derive(Debug, Clone)]
pub struct Scripted {
    /// The HTTP status.
    pub status: u16,
    /// Headers by name and value.
    pub headers: Vec<(&'static str, String)>,
    /// The body as sent.
    pub body: Bytes,
}

impl Scripted {
    /// A body under HTTP 200.
    #[must_use]
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type", "application/json".to_owned())],
            body: body.into(),
        }
    }

    /// A failed task under HTTP 200, as the provider sends it.
    #[must_use]
    pub fn code(code: u32) -> Self {
        let body = format!(
            r#"{{"version":"0.1","status_code":20000,"status_message":"Ok.","time":"0 sec.","cost":0,"tasks_count":1,"tasks_error":0,"tasks":[{{"id":null,"status_code":{code},"status_message":"Scripted.","time":"0 sec.","cost":0,"result_count":0,"path":[],"data":{{}},"result":null}}]}}"#
        );
        Self::ok(body)
    }
}

/// What the provider charged for one task: a line of its books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The task's id.
    pub id: String,
    /// The tag that was posted with it.
    pub tag: Option<String>,
    /// When it was posted.
    pub posted: DateTime<Utc>,
    /// The task's status.
    pub status_code: u32,
    /// Targets posted.
    pub targets: usize,
    /// Items returned.
    pub items: usize,
    /// What was charged.
    pub cost: Usd,
}

/// A running simulator; it stops when this is dropped.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    state: Arc<State>,
    server: JoinHandle<()>,
}

impl Simulator {
    /// Starts on a port of loopback; 0 takes any that is free.
    ///
    /// # Errors
    /// A port that is taken.
    pub async fn start(behaviour: Behaviour, clock: Clock, port: u16) -> Result<Self> {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let listener = TcpListener::bind(address)
            .await
            .usage(|| format!("failed to start the simulator on 127.0.0.1:{port}"))?;
        let address = listener.local_addr().context(|| "failed to ask for the simulator's port")?;
        let state = Arc::new(State::new(behaviour, clock));
        let router = server::router(Arc::clone(&state));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the simulator stopped");
            }
        });
        Ok(Self { address, state, server })
    }

    /// Where it answers: `http://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it answers from: the truth of every row.
    #[must_use]
    pub fn population(&self) -> &Population {
        &self.state.population
    }

    /// Its books: every task it was asked for, in order.
    #[must_use]
    pub fn ledger(&self) -> Vec<Charge> {
        self.state.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The most requests that were under way at once.
    #[must_use]
    pub fn most_in_flight(&self) -> usize {
        self.state.most_in_flight.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Answers the next requests by this script, then by its own mind again.
    pub fn script(&self, answers: impl IntoIterator<Item = Scripted>) {
        self.state.script.lock().unwrap_or_else(PoisonError::into_inner).extend(answers);
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    /// The server's own end, which is never expected.
    pub async fn serve(mut self) -> Result<()> {
        (&mut self.server).await.context(|| "the simulator stopped")
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Scripted answers still to be given.
type Script = Mutex<VecDeque<Scripted>>;
