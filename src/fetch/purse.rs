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
    reserved: Usd,
    /// How much more than estimated the most expensive request has cost.
    excess: Usd,
}

impl Purse {
    /// A purse with this ceiling, or without one, of which `spent` is already used.
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

    /// Reserves the most that a request may cost, plus what other requests have cost more than
    /// that. Returns the reserved amount, or `None` if the ceiling does not cover it.
    #[must_use]
    pub fn reserve(&self, max_cost: Usd) -> Option<Usd> {
        let mut amounts = self.amounts.lock();
        let needed = max_cost + amounts.excess;
        let covered = self
            .ceiling
            .is_none_or(|ceiling| amounts.spent + amounts.reserved + needed <= ceiling);
        covered.then(|| {
            amounts.reserved += needed;
            needed
        })
    }

    /// Raises the reservation of a request that is about to be sent, if other requests have cost
    /// more than expected since it was made. Returns the whole reserved amount, or `None` if the
    /// ceiling does not cover it.
    #[must_use]
    pub fn raise(&self, reserved: Usd, max_cost: Usd) -> Option<Usd> {
        let mut amounts = self.amounts.lock();
        let needed = (max_cost + amounts.excess).max(reserved);
        let all = amounts.spent + amounts.reserved - reserved + needed;
        self.ceiling.is_none_or(|ceiling| all <= ceiling).then(|| {
            amounts.reserved += needed - reserved;
            needed
        })
    }

    /// Replaces a reservation by what was charged. If the charge is unknown, the whole reservation
    /// counts as spent.
    pub fn settle(&self, reserved: Usd, charged: Option<Usd>) {
        let mut amounts = self.amounts.lock();
        amounts.reserved -= reserved;
        let charged = charged.unwrap_or(reserved);
        amounts.spent += charged;
        if charged > reserved {
            let excess = amounts.excess + (charged - reserved);
            if amounts.excess == Usd::ZERO {
                warn!(%reserved, %charged, "the provider charges more than its prices say; reserving more from now on");
            }
            amounts.excess = excess;
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
        purse.settle(cents(60), Some(cents(20)));
        assert!(purse.reserve(cents(70)).is_some());
        purse.settle(cents(70), None);
        assert_eq!(purse.reserve(cents(1)), None);
        assert!(
            Purse::new(None, Usd::ZERO)
                .reserve(cents(1_000_000))
                .is_some()
        );
        // A request that cost more than expected raises the next reservation.
        let purse = Purse::new(Some(cents(100)), Usd::ZERO);
        purse.settle(purse.reserve(cents(10)).unwrap(), Some(cents(15)));
        assert_eq!(purse.reserve(cents(10)), Some(cents(15)));
    }
}
