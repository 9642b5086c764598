//! What is known of the account before anything is sent: prices, balance, limits.

use serde::Serialize;

use super::connect::{connect, credentials_for};
use super::spec::Pipeline;
use super::surroundings::Surroundings;
use crate::error::Result;
use crate::fetch::fetch_account;
use crate::money::Usd;
use crate::provider::{Account, Prices};

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
        Prices {
            per_request: self.price_per_request_usd,
            per_row: self.price_per_row_usd,
        }
    }
}

/// Asks for the account if there is a way to ask: the prices of a plan, for which nothing is sent.
pub(super) async fn means_for_plan(pipeline: &Pipeline, env: &Surroundings<'_>) -> Result<Means> {
    let Ok(credentials) = credentials_for(pipeline, env) else {
        return Ok(Means::of(pipeline, None));
    };
    let (client, _simulator) = connect(pipeline, &credentials, env).await?;
    let account = fetch_account(&client, &env.clock)
        .await
        .unwrap_or_else(|error| {
            tracing::warn!(%error, "using the provider's list prices");
            None
        });
    Ok(Means::of(pipeline, account.as_ref()))
}
