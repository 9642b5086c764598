//! The account as the provider describes it, free of charge: balance, limits and prices.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::money::Usd;

/// What the account pays for the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    /// Per request.
    pub per_request: Usd,
    /// Per returned row.
    pub per_row: Usd,
}

impl Default for Prices {
    /// The provider's list prices since 2026-07-01.
    fn default() -> Self {
        Self {
            per_request: Usd::from_micros(24_000),
            per_row: Usd::from_micros(36),
        }
    }
}

impl Prices {
    /// The cost of this many requests with this many rows in total.
    #[must_use]
    pub fn cost(&self, requests: u64, rows: u64) -> Usd {
        self.per_request * requests + self.per_row * rows
    }
}

/// Dollars that no request can cost: a thousand times what the most expensive one does.
const IMPLAUSIBLE: i64 = 10_000;

/// A cost as the provider writes it, or `None` if no request can cost that much or less than
/// nothing. So a wrong number in a response cannot spoil the sums of the ledger.
pub(super) fn plausible(text: &str) -> Option<Usd> {
    let amount: Usd = text.parse().ok()?;
    (!amount.is_negative() && amount < Usd::from_micros(IMPLAUSIBLE * 1_000_000)).then_some(amount)
}

/// The account as `user_data` describes it. What the provider leaves out is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Account {
    /// The dollars that are left, as told. Nothing says yet that the amount is plausible.
    pub balance: Option<Usd>,
    /// Requests per minute that the account may send.
    pub requests_per_minute: Option<u32>,
    /// What a request and a row cost, as told. Nothing says yet that the prices are plausible.
    pub prices: Option<Prices>,
}

#[derive(Deserialize)]
struct AccountResponse<'a> {
    #[serde(borrow)]
    tasks: Option<Vec<Option<AccountTask<'a>>>>,
}

#[derive(Deserialize)]
struct AccountTask<'a> {
    #[serde(borrow)]
    result: Option<Vec<Option<&'a RawValue>>>,
}

impl Account {
    /// Reads the body of a successful `user_data` response.
    ///
    /// # Errors
    /// A body that is not such a response.
    pub fn read(body: &[u8]) -> serde_json::Result<Self> {
        let response: AccountResponse<'_> = serde_json::from_slice(body)?;
        let result = response
            .tasks
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|task| task.result)
            .flatten()
            .flatten()
            .next();
        let Some(result) = result else {
            return Ok(Self::default());
        };
        let result: serde_json::Value = serde_json::from_str(result.get())?;
        let amount = |value: &serde_json::Value| -> Option<Usd> {
            // Some clients read amounts as text, so the provider may write them so.
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            text.trim().parse().ok()
        };
        let costs = result.pointer("/price/backlinks/bulk_pages_summary/live/priority_normal");
        let price = |kind: &str| -> Option<Usd> {
            let mut costs = costs?.as_array()?.iter();
            amount(costs.find(|cost| cost["cost_type"] == kind)?.get("cost")?)
        };
        Ok(Self {
            balance: result.pointer("/money/balance").and_then(amount),
            requests_per_minute: result
                .pointer("/rates/limits/minute/total")
                .and_then(serde_json::Value::as_f64)
                .map(|limit| limit as u32),
            prices: match (price("per_request"), price("per_result")) {
                (Some(per_request), Some(per_row)) => Some(Prices {
                    per_request,
                    per_row,
                }),
                _ => None,
            },
        })
    }
}
