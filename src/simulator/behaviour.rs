//! The settings of the simulated provider: population, account, prices, limits, and faults.

use std::time::Duration;

use chrono::NaiveDate;
use serde_json::Value;

use super::faults::{Fault, Poison};
use super::population::Population;
use crate::money::Usd;
use crate::provider::{MAX_IN_FLIGHT, MAX_REQUESTS_PER_MINUTE, Prices};

/// The login that the simulator accepts by default. It is neither a secret nor a real account.
pub const LOGIN: &str = "simulator@example.com";
/// The password of [`LOGIN`].
pub const PASSWORD: &str = "not-a-real-password";

/// What `user_data` says in place of the truth: any JSON. `None` is the truth.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// The price of a request.
    pub per_request: Option<Value>,
    /// The price of a row.
    pub per_row: Option<Value>,
    /// The balance.
    pub balance: Option<Value>,
}

/// How the simulated provider behaves.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// The seed of the population.
    pub seed: u64,
    /// Whether something happens to some of its sites and pages.
    pub stories: bool,
    /// The date of the simulated data; by default today by the clock.
    pub date: Option<NaiveDate>,
    /// The only login that is accepted.
    pub login: String,
    /// The password of that login.
    pub password: String,
    /// The prices that the account pays.
    pub prices: Prices,
    /// What the account says about itself in place of the truth.
    pub told: Told,
    /// The balance of the account at the start.
    pub balance: Usd,
    /// The most paid requests at the same time.
    pub max_in_flight: u32,
    /// The most paid requests per minute.
    pub requests_per_minute: u32,
    /// The most calls of `user_data` per minute.
    pub user_data_per_minute: u32,
    /// The time that a task takes.
    pub latency: Duration,
    /// The faults that happen to requests.
    pub faults: Vec<Fault>,
    /// The targets that the provider refuses.
    pub poison: Poison,
    /// The number of requests after which the credentials are revoked.
    pub revoked_after: Option<u64>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            seed: 1,
            stories: false,
            date: None,
            login: LOGIN.to_owned(),
            password: PASSWORD.to_owned(),
            prices: Prices::default(),
            told: Told::default(),
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

impl Behaviour {
    /// The population of these settings.
    pub(super) fn population(&self) -> Population {
        let population = Population::new(self.seed);
        if self.stories {
            population.with_stories()
        } else {
            population
        }
    }
}
