//! The budget of a run: what a request may cost at most is reserved before the request is sent.

use parking_lot::Mutex;
use tracing::warn;

use crate::money::Usd;

/// The budget of a run. The cost of everything in flight is reserved at its maximum, so the ceiling
/// holds whatever the responses cost.
#[derive(Debug)]
pub struct Purse {
    ceiling: Option<Usd>,
    amounts: Mutex<Amounts>,
}

#[derive(Debug, Default)]
struct Amounts {
    spent: Usd,
    /// What the requests in flight may cost at the told prices.
    told: Usd,
    /// The number of requests in flight.
    requests: u64,
    /// How much more than its told maximum the most expensive request has cost. Every request may
    /// cost that much more.
    excess: Usd,
    /// Whether a request was charged what the prices say.
    as_told: bool,
}

/// What a charge says about the told prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PriceCheck {
    /// Nothing was charged, or not more than the prices say.
    Fine,
    /// More was charged than the prices say, but the ceiling limits what this can cost.
    Dearer,
    /// More was charged than the prices say, and nothing shows what the next request will cost.
    NotUnderstood,
}

/// The smallest difference that counts: costs are stored in millionths of a dollar.
const ROUNDING: Usd = Usd::from_micros(1);

impl Amounts {
    fn committed(&self) -> Usd {
        self.spent + self.told + self.excess * self.requests
    }
}

impl Purse {
    /// A purse with this ceiling, or without one. `spent` is already used.
    #[must_use]
    pub fn new(ceiling: Option<Usd>, spent: Usd) -> Self {
        Self {
            ceiling,
            amounts: Mutex::new(Amounts {
                spent,
                ..Amounts::default()
            }),
        }
    }

    fn covers(&self, committed: Usd) -> bool {
        self.ceiling.is_none_or(|ceiling| committed <= ceiling)
    }

    /// Reserves what a request may cost at the told prices, plus what other requests have cost more
    /// than that. Returns the reserved amount, or `None` if the ceiling does not cover it.
    #[must_use]
    pub fn reserve(&self, told: Usd) -> Option<Usd> {
        let mut amounts = self.amounts.lock();
        let needed = told + amounts.excess;
        self.covers(amounts.committed() + needed).then(|| {
            amounts.told += told;
            amounts.requests += 1;
            needed
        })
    }

    /// What is reserved for a request that is about to be sent: other requests may have cost more
    /// since it was reserved. `None` if the ceiling does not cover everything that is reserved.
    #[must_use]
    pub fn confirm(&self, told: Usd) -> Option<Usd> {
        let amounts = self.amounts.lock();
        self.covers(amounts.committed())
            .then(|| told + amounts.excess)
    }

    /// Takes back the reservation of a request that is not sent.
    pub fn release(&self, told: Usd) {
        let mut amounts = self.amounts.lock();
        amounts.told -= told;
        amounts.requests -= 1;
    }

    /// Replaces a reservation by what was charged. If the charge is unknown, the whole reservation
    /// counts as spent.
    pub(super) fn settle(&self, told: Usd, charged: Option<Usd>) -> PriceCheck {
        let mut amounts = self.amounts.lock();
        amounts.told -= told;
        amounts.requests -= 1;
        let most = told + amounts.excess;
        amounts.spent += charged.unwrap_or(most);
        let charged = charged.unwrap_or_default();
        if charged <= told + ROUNDING {
            amounts.as_told |= charged > Usd::ZERO;
            return PriceCheck::Fine;
        }
        if amounts.excess == Usd::ZERO {
            warn!(%told, %charged, "the provider charges more than its prices say; reserving more from now on");
        }
        amounts.excess = amounts.excess.max(charged - told);
        if amounts.as_told && self.ceiling.is_some() {
            PriceCheck::Dearer
        } else {
            PriceCheck::NotUnderstood
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purse_never_reserves_more_than_its_ceiling() {
        let cents = |cents: i64| Usd::from_micros(cents * 10_000);
        let purse = Purse::new(Some(cents(100)), cents(10));
        assert_eq!(purse.reserve(cents(60)), Some(cents(60)));
        assert_eq!(purse.reserve(cents(31)), None);
        assert_eq!(purse.settle(cents(60), Some(cents(20))), PriceCheck::Fine);
        assert!(purse.reserve(cents(70)).is_some());
        purse.settle(cents(70), None);
        assert_eq!(purse.reserve(cents(1)), None);
        assert!(
            Purse::new(None, Usd::ZERO)
                .reserve(cents(1_000_000))
                .is_some()
        );
    }

    #[test]
    fn a_price_that_rises_counts_for_everything_in_flight_at_once() {
        let cents = |cents: i64| Usd::from_micros(cents * 10_000);
        let purse = Purse::new(Some(cents(200)), Usd::ZERO);
        for _ in 0..4 {
            assert_eq!(purse.reserve(cents(10)), Some(cents(10)));
        }
        assert_eq!(purse.settle(cents(10), Some(cents(10))), PriceCheck::Fine);
        // Three in flight; one of them costs ten times what it should.
        assert_eq!(
            purse.settle(cents(10), Some(cents(100))),
            PriceCheck::Dearer
        );
        // 110 are spent and two in flight may cost 100 each: the ceiling is reached.
        assert_eq!(purse.reserve(cents(10)), None);
        assert_eq!(purse.confirm(cents(10)), None);
        purse.release(cents(10));
        assert_eq!(purse.confirm(cents(10)), None);
        // A first response above the price stops everything, and so does any without a ceiling.
        let purse = Purse::new(Some(cents(100)), Usd::ZERO);
        purse.reserve(cents(10)).unwrap();
        let check = purse.settle(cents(10), Some(cents(11)));
        assert_eq!(check, PriceCheck::NotUnderstood);
        let purse = Purse::new(None, Usd::ZERO);
        for (charged, check) in [(10, PriceCheck::Fine), (11, PriceCheck::NotUnderstood)] {
            purse.reserve(cents(10)).unwrap();
            assert_eq!(purse.settle(cents(10), Some(cents(charged))), check);
        }
    }
}
