//! The simulator as callers see it: called in process, or served on a port of the loopback
//! interface.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::Request;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::behaviour::Behaviour;
use super::listen;
use super::population::Population;
use super::reaction::{Milestone, Reaction, Scripted};
use super::server;
use super::state::{Charge, State};
use crate::clock::Clock;
use crate::error::{Context, Result};

/// A simulated provider. If it listens on a port, it stops when it is dropped.
pub struct Simulator {
    state: Arc<State>,
    server: Option<Server>,
}

struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Simulator {
    /// A simulator that listens on no port; callers use [`Simulator::react`].
    #[must_use]
    pub fn new(behaviour: Behaviour, clock: &Clock) -> Self {
        Self {
            state: Arc::new(State::new(behaviour, clock.clone())),
            server: None,
        }
    }

    /// Starts a simulator on a port of the loopback interface; 0 selects a free port.
    ///
    /// # Errors
    /// The port is in use.
    pub async fn start(behaviour: Behaviour, clock: &Clock, port: u16) -> Result<Self> {
        let mut simulator = Self::new(behaviour, clock);
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let listener = TcpListener::bind(address)
            .await
            .usage(|| format!("failed to start the simulator on 127.0.0.1:{port}"))?;
        let address = listener
            .local_addr()
            .context(|| "failed to read the port of the simulator")?;
        let task = tokio::spawn(listen::listen(listener, Arc::clone(&simulator.state)));
        simulator.server = Some(Server { address, task });
        Ok(simulator)
    }

    /// The base URL, `http://127.0.0.1:<port>`. A simulator that does not listen has port 9, which
    /// discards.
    #[must_use]
    pub fn url(&self) -> String {
        let discard = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
        let address = self
            .server
            .as_ref()
            .map_or(discard, |server| server.address);
        format!("http://{address}")
    }

    /// Reacts to a request as the provider would.
    pub async fn react(&self, request: Request<Bytes>) -> Reaction {
        server::react(&self.state, request).await
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    /// The server stops, which is never expected.
    pub async fn serve(mut self) -> Result<()> {
        match &mut self.server {
            Some(server) => (&mut server.task).await.context(|| "the simulator stopped"),
            None => Ok(()),
        }
    }
}

/// # For tests
/// These methods let a test see the truth, wait for a moment, and replace the next responses.
impl Simulator {
    /// The population: the true profile of every target.
    #[must_use]
    pub fn population(&self) -> &Population {
        &self.state.population
    }

    /// The provider's own ledger: every task that was done, in order.
    #[must_use]
    pub fn ledger(&self) -> Vec<Charge> {
        self.state.ledger.lock().clone()
    }

    /// Continues with the ledger of another simulator, as if both were the same provider.
    pub fn restore_ledger(&self, ledger: Vec<Charge>) {
        // Failed tasks are not in the ledger but had ids, too. Twice the entries skips all of them.
        let tasks = ledger.len() as u64 * 2;
        self.state.tasks.store(tasks, Ordering::Relaxed);
        *self.state.ledger.lock() = ledger;
    }

    /// The number of requests that have arrived at the paid endpoint.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// The most requests that were in flight at the same time.
    #[must_use]
    pub fn most_in_flight(&self) -> usize {
        self.state.most_in_flight.load(Ordering::Relaxed)
    }

    /// Whether a connection is open or a request is in progress.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        0 < self.state.busy.load(Ordering::Relaxed)
    }

    /// Calls `observer` for every milestone as it is reached.
    pub fn on_milestone(&self, observer: impl Fn(Milestone) + Send + Sync + 'static) {
        *self.state.observer.lock() = Some(Box::new(observer));
    }

    /// Adds responses to the script. Each replaces the response to one of the next paid requests.
    pub fn script(&self, responses: impl IntoIterator<Item = Scripted>) {
        self.state.script.lock().extend(responses);
    }

    /// Replaces the rest of the script.
    pub fn replace_script(&self, responses: impl IntoIterator<Item = Scripted>) {
        *self.state.script.lock() = responses.into_iter().collect();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.task.abort();
        }
    }
}
