//! What is known about the account before anything is sent: prices, balance and limits.

use serde::Serialize;

use super::ready::Pipeline;
use crate::money::Usd;
use crate::provider::{Account, Prices};

/// Where prices come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PricesFrom {
    /// The `[price]` table of the pipeline file.
    File,
    /// The account.
    Account,
    /// The provider's list prices, because the account could not be read.
    List,
}

/// What is known about the account before anything is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Means {
    /// The balance of the account, if the provider reports it.
    pub balance_usd: Option<Usd>,
    /// The price of a request.
    pub price_per_request_usd: Usd,
    /// The price of a returned row.
    pub price_per_row_usd: Usd,
    /// Where the prices come from.
    pub prices_from: PricesFrom,
    /// How many requests per minute the account allows, if the provider reports it.
    pub requests_per_minute: Option<u32>,
}

impl Means {
    /// The means of an account; without one, the prices of the file or the list.
    pub(super) fn of(pipeline: &Pipeline, account: Option<&Account>) -> Self {
        let reported = account.and_then(|account| account.prices);
        let (prices, prices_from) = match (pipeline.prices, reported) {
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
