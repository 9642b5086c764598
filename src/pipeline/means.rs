//! What is known about the account before anything is sent: prices, balance and limits.

use serde::Serialize;
use strum::IntoStaticStr;
use tracing::warn;

use super::ready::Pipeline;
use crate::error::{Error, ErrorKind, Result};
use crate::money::Usd;
use crate::provider::{Account, MAX_TARGETS, Prices};

/// Where prices come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum PricesFrom {
    /// The `[price]` table of the pipeline file.
    File,
    /// The account.
    Account,
    /// The provider's list prices, because the account could not be read or does not tell prices that
    /// can be reckoned with.
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
    ///
    /// # Errors
    /// Told prices that are too high to be believed.
    pub(super) fn of(pipeline: &Pipeline, account: Option<&Account>) -> Result<Self> {
        let (prices, prices_from) = match (pipeline.prices, account) {
            (Some(prices), _) => (prices, PricesFrom::File),
            (None, Some(account)) => believed(account.prices)?,
            (None, None) => (Prices::default(), PricesFrom::List),
        };
        Ok(Self {
            balance_usd: account.and_then(balance),
            price_per_request_usd: prices.per_request,
            price_per_row_usd: prices.per_row,
            prices_from,
            requests_per_minute: account.and_then(|account| account.requests_per_minute),
        })
    }

    pub(super) fn prices(&self) -> Prices {
        Prices {
            per_request: self.price_per_request_usd,
            per_row: self.price_per_row_usd,
        }
    }
}

/// A told price of a full request is not believed if it is more than this many times the list price.
const ABSURD: u64 = 100;
/// No account has this many dollars.
const ABSURD_BALANCE: Usd = Usd::from_micros(1_000_000_000_000_000_000);

/// The prices to reckon with, from those that the account tells.
///
/// | told | reckoned with | why |
/// |---|---|---|
/// | both, at least one above zero | as told | |
/// | one missing, not a number, or below zero | list prices, with a warning | nothing can be reserved with them; the first response shows the real price |
/// | both zero | list prices, with a warning | a budget would limit nothing |
/// | a full request above 100 times the list price | refused | reckoning with less could spend it, and believing it should be a person's decision |
fn believed(told: Option<Prices>) -> Result<(Prices, PricesFrom)> {
    let list = Prices::default();
    let full = |prices: Prices| prices.cost(1, MAX_TARGETS as u64);
    let reason = match told {
        None => "does not tell its prices",
        Some(told) if told.per_request.is_negative() || told.per_row.is_negative() => {
            "tells a price below zero"
        }
        Some(told) if full(told) == Usd::ZERO => "tells prices of zero",
        Some(told) if full(told) > full(list) * ABSURD => {
            let message = format!(
                "the account's price of ${} per request and ${} per row is more than {ABSURD} times the list price (${} and ${})",
                told.per_request, told.per_row, list.per_request, list.per_row
            );
            let hint = "nothing was sent; if the price is right, set it in [price] and run the same command again";
            return Err(Error::new(ErrorKind::Account, message).with_hint(hint));
        }
        Some(told) => return Ok((told, PricesFrom::Account)),
    };
    let (per_request, per_row) = (list.per_request, list.per_row);
    warn!(%per_request, %per_row, "the account {reason}; using the provider's list prices");
    Ok((list, PricesFrom::List))
}

/// The balance that the account tells, if it can be believed. A balance below zero is a debt.
fn balance(account: &Account) -> Option<Usd> {
    let balance = account.balance.filter(|balance| *balance < ABSURD_BALANCE);
    if balance.is_none() {
        warn!("the account does not tell a believable balance; it is not checked");
    }
    balance
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_prices_are_believed_replaced_or_refused() {
        let usd = |text: &str| text.parse::<Usd>().unwrap();
        for (per_request, per_row, from) in [
            ("0.024", "0.000036", Some(PricesFrom::Account)),
            ("0.5", "0", Some(PricesFrom::Account)),
            ("0", "0.00006", Some(PricesFrom::Account)),
            ("6", "0", Some(PricesFrom::Account)),
            ("0", "0", Some(PricesFrom::List)),
            ("-0.024", "0.000036", Some(PricesFrom::List)),
            ("0.024", "-1", Some(PricesFrom::List)),
            ("6.01", "0", None),
            ("0.024", "1", None),
            ("79228162514264337593543950335", "1", None),
        ] {
            let told = Prices {
                per_request: usd(per_request),
                per_row: usd(per_row),
            };
            let believed = believed(Some(told));
            assert_eq!(
                believed.as_ref().ok().map(|(_, from)| *from),
                from,
                "{per_request}, {per_row}"
            );
            if let Err(error) = believed {
                assert_eq!(error.kind(), ErrorKind::Account);
                assert!(error.to_string().contains("$0.024"), "{error}");
            }
        }
        assert_eq!(believed(None).unwrap().1, PricesFrom::List);
        for (told, kept) in [("-5", true), ("0", true), ("1e13", false)] {
            let account = Account {
                balance: Some(usd(told)),
                ..Account::default()
            };
            assert_eq!(balance(&account).is_some(), kept, "{told}");
        }
    }
}
