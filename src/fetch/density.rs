//! Estimates how likely the provider refuses a target, from what it has refused and returned so far.
//!
//! The share of refused targets is nearly the same everywhere, or refused targets are neighbours:
//! a site writes all its URLs in a way that the provider does not take. So there are two estimates.
//! A root domain without a refused target has the share of such *first* refusals, and one with a
//! refused target has what was seen in it since.

use std::collections::HashMap;

/// The targets of a root domain that ended since its first one was refused.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    good: u64,
    bad: u64,
}

/// The refused and the returned targets of a run.
#[derive(Debug, Default)]
pub(super) struct Density {
    good: u64,
    bad: u64,
    /// The root domains that have a refused target.
    domains: HashMap<u32, Seen>,
}

/// The expectation before anything ended: so many targets were refused among so many. It is small
/// and weak, because a share that is taken too high makes small requests that are paid for.
const BEFORE: (f64, f64) = (0.1, 100.0);
/// The number of targets that the share of all root domains stands for in the share of one.
const WEIGHT: f64 = 3.0;
/// The most that a share counts for, so that its logarithm is finite.
const MOST: f64 = 0.999;

impl Density {
    /// Counts the targets of a response by their root domains.
    pub(super) fn returned(&mut self, roots: impl Iterator<Item = u32>) {
        for root in roots {
            self.good += 1;
            if let Some(seen) = self.domains.get_mut(&root) {
                seen.good += 1;
            }
        }
    }

    /// Counts a refused target of this root domain.
    pub(super) fn refused(&mut self, root: u32) {
        self.bad += 1;
        self.domains.entry(root).or_default().bad += 1;
    }

    /// The share of first refusals among all targets.
    pub(super) fn share(&self) -> f64 {
        let (refused, ended) = BEFORE;
        (self.domains.len() as f64 + refused) / ((self.good + self.bad) as f64 + ended)
    }

    /// How likely a target of this root domain is refused, as `-ln(1 - p)`: the sum over several
    /// targets says the same of them together.
    pub(super) fn hazard(&self, root: u32) -> f64 {
        let share = self.share();
        let share = self.domains.get(&root).map_or(share, |seen| {
            // The first one says that the domain is affected, and not how much.
            let bad = seen.bad.saturating_sub(1) as f64;
            (bad + WEIGHT * share) / (seen.good as f64 + bad + WEIGHT)
        });
        -(1.0 - share.min(MOST)).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_follows_what_ended_and_a_domain_with_several_refusals_has_its_own() {
        let mut density = Density::default();
        let close = |found: f64, wanted: f64| (found - wanted).abs() < wanted / 10.0;
        assert!(close(density.hazard(0), 0.001));
        // One of 100 in each of 50 domains: every domain has this share.
        for root in 0..50 {
            density.returned(std::iter::repeat_n(root, 99));
            density.refused(root);
        }
        assert!(close(density.hazard(0), 0.01) && close(density.hazard(77), 0.01));
        // Ten refusals in one domain say much about it and nothing about the others.
        (0..10).for_each(|_| density.refused(77));
        assert!(density.hazard(77) > 0.9, "{}", density.hazard(77));
        assert!(close(density.hazard(0), 0.01) && close(density.hazard(78), 0.01));
        // Good ones bring it down again.
        density.returned(std::iter::repeat_n(77, 900));
        assert!(close(density.hazard(77), 0.01), "{}", density.hazard(77));
    }
}
