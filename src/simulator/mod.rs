//! The provider, embedded: an HTTP server on loopback with the real one's rules, prices and limits.
//!
//! It speaks real HTTP, so the client code is the same for both, and it is as strict as the provider is known to be.
//! What it answers is a pure function of (seed, date, target), so a test knows the truth of every row. Where the
//! provider's behaviour is a guess, the simulator takes the nastier one.

mod faults;
mod listen;
mod population;
mod rules;
mod server;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use http::Request;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use faults::{Fault, Poison, What};
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
    /// Calls of `user_data` it takes a minute.
    pub user_data_per_minute: u32,
    /// How long it works on a task.
    pub latency: Duration,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Targets it takes for bad.
    pub poison: Poison,
    /// Requests after which the credentials are no longer good.
    pub revoked_after: Option<u64>,
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
            user_data_per_minute: 6,
            latency: Duration::ZERO,
            faults: Vec::new(),
            poison: Poison::default(),
            revoked_after: None,
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

/// What the simulator does with a request.
#[derive(Debug)]
pub enum Reaction {
    /// Answers it.
    Answer(Scripted),
    /// Takes no connection.
    Refused,
    /// Closes the connection without an answer.
    HangUp,
    /// Closes the connection in the middle of the answer to the request of this number.
    BreakOff(u64, Scripted),
    /// Sends half of the answer to the request of this number, and never the rest.
    Stall(u64, Scripted),
}

impl From<Scripted> for Reaction {
    fn from(answer: Scripted) -> Self {
        Self::Answer(answer)
    }
}

/// What can be watched as it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coming {
    /// The request of this number, from 0, has come.
    Request(u64),
    /// Half of the answer to it was sent.
    HalfAnswer(u64),
}

/// Hears what is watched.
type Watch = Box<dyn Fn(Coming) + Send + Sync>;

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

/// A simulator; if it listens, it does until this is dropped.
pub struct Simulator {
    state: Arc<State>,
    server: Option<(SocketAddr, JoinHandle<()>)>,
}

impl Simulator {
    /// A simulator that listens to no port: it is asked with [`Simulator::react`].
    #[must_use]
    pub fn new(behaviour: Behaviour, clock: &Clock) -> Self {
        Self {
            state: Arc::new(State::new(behaviour, clock.clone())),
            server: None,
        }
    }

    /// Starts on a port of loopback; 0 takes any that is free.
    ///
    /// # Errors
    /// A port that is taken.
    pub async fn start(behaviour: Behaviour, clock: &Clock, port: u16) -> Result<Self> {
        let mut simulator = Self::new(behaviour, clock);
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let listener = TcpListener::bind(address)
            .await
            .usage(|| format!("failed to start the simulator on 127.0.0.1:{port}"))?;
        let address = listener
            .local_addr()
            .context(|| "failed to ask for the simulator's port")?;
        simulator.server = Some((
            address,
            tokio::spawn(listen::listen(listener, Arc::clone(&simulator.state))),
        ));
        Ok(simulator)
    }

    /// Where it answers: `http://127.0.0.1:<port>`, with port 9, that of nobody, if it does not listen.
    #[must_use]
    pub fn url(&self) -> String {
        let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
        format!(
            "http://{}",
            self.server.as_ref().map_or(nobody, |(address, _)| *address)
        )
    }

    /// What it does with a request.
    pub async fn react(&self, request: Request<Bytes>) -> Reaction {
        server::react(&self.state, request).await
    }

    /// Has everything told that comes, as it comes.
    pub fn watch(&self, watch: impl Fn(Coming) + Send + Sync + 'static) {
        *self
            .state
            .watch
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Box::new(watch));
    }

    /// What it answers from: the truth of every row.
    #[must_use]
    pub fn population(&self) -> &Population {
        &self.state.population
    }

    /// Its books: every task it was asked for, in order.
    #[must_use]
    pub fn ledger(&self) -> Vec<Charge> {
        self.state
            .ledger
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Goes on with the books of another, as if it were the same provider.
    pub fn take_over(&self, ledger: Vec<Charge>) {
        self.state.tasks.store(
            ledger.len() as u64 * 2,
            std::sync::atomic::Ordering::Relaxed,
        );
        *self
            .state
            .ledger
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = ledger;
    }

    /// The most requests that were under way at once.
    #[must_use]
    pub fn most_in_flight(&self) -> usize {
        self.state
            .most_in_flight
            .load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Requests that have come to the paid endpoint.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.state
            .requests
            .load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Whether a connection is open or a request is worked on.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        0 < self.state.busy.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Forgets the script that is left, for another.
    pub fn script_anew(&self, answers: impl IntoIterator<Item = Scripted>) {
        self.state
            .script
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.script(answers);
    }

    /// Answers the next requests by this script, then by its own mind again.
    pub fn script(&self, answers: impl IntoIterator<Item = Scripted>) {
        self.state
            .script
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(answers);
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    /// The server's own end, which is never expected.
    pub async fn serve(mut self) -> Result<()> {
        match &mut self.server {
            Some((_, server)) => server.await.context(|| "the simulator stopped"),
            None => Ok(()),
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        if let Some((_, server)) = &self.server {
            server.abort();
        }
    }
}

/// Scripted answers still to be given.
type Script = Mutex<VecDeque<Scripted>>;
