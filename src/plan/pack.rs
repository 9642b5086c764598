//! Packs root domains of given sizes into the fewest batches: pure, deterministic, no I/O.
//!
//! Two caps bind a batch, targets and root domains, so the art is to run out of both at the same moment. Each batch
//! in turn is filled by one of three rules:
//!
//! - **Targets bind:** the 100 smallest domains alone are over 1000 targets. Take the smallest until the batch is
//!   full, and split the last. Every batch is full, so this part meets the bound by targets.
//! - **Domains bind:** the 100 largest together are under 1000 targets. Take them whole. Every batch has 100
//!   domains, so this part meets the bound by domains.
//! - **Both bind:** take small ones and large ones, 100 in all, and choose the last so that the sum is exactly 1000;
//!   exchange one of the others where no domain of the size wanted is left. Only where that fails, too, is a domain
//!   split (which costs a slot) or the batch left short (which costs targets), whichever the rest can better afford.
//!
//! A batch that is full by both caps lowers the bound for the rest by one, so only the last resort moves the result
//! away from the bound.

use std::collections::BTreeMap;

use crate::provider::{MAX_ROOT_DOMAINS, MAX_TARGETS};

const TARGETS: u32 = MAX_TARGETS as u32;
const SLOTS: usize = MAX_ROOT_DOMAINS;

/// How many targets of one root domain go into a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The root domain, by its place in the sizes given.
    pub domain: u32,
    /// How many of its targets; the plan takes the next ones in order.
    pub targets: u32,
}

/// Packs root domains, given by their number of targets, into batches within both caps.
///
/// Takes time in the order of domains plus batches times their caps, and memory in the order of domains.
///
/// ```
/// // One domain of 1500 targets fills a batch and a half; the small ones find room beside it.
/// let batches = backlake::plan::pack(&[1500, 20, 3]);
/// assert_eq!(batches.len(), 2);
/// assert_eq!(batches.iter().flatten().map(|share| share.targets).sum::<u32>(), 1523);
/// ```
#[must_use]
pub fn pack(sizes: &[u32]) -> Vec<Vec<Share>> {
    let mut rest = Rest::of(sizes);
    let mut batches = Vec::new();
    while rest.domains > 0 {
        batches.push(rest.fill());
    }
    batches
}

/// The domains that are not yet packed, by the targets each has left.
struct Rest {
    /// Domains with 1 to 1000 targets left, by that number.
    small: Vec<Vec<u32>>,
    /// Domains with more.
    big: BTreeMap<u32, Vec<u32>>,
    domains: usize,
    targets: u64,
    /// Slots that the domains take at the least.
    slots: u64,
}

impl Rest {
    fn of(sizes: &[u32]) -> Self {
        let mut rest = Self {
            small: vec![Vec::new(); TARGETS as usize + 1],
            big: BTreeMap::new(),
            domains: 0,
            targets: 0,
            slots: 0,
        };
        // The last put in is the first taken out, so that ties go by the order given.
        for (domain, &size) in sizes.iter().enumerate().rev() {
            if size > 0 {
                rest.put(size, domain as u32);
            }
        }
        rest
    }

    fn put(&mut self, size: u32, domain: u32) {
        if size <= TARGETS {
            self.small[size as usize].push(domain);
        } else {
            self.big.entry(size).or_default().push(domain);
        }
        self.domains += 1;
        self.targets += u64::from(size);
        self.slots += u64::from(size.div_ceil(TARGETS));
    }

    /// Takes a domain of this size out.
    fn take(&mut self, size: u32) -> u32 {
        let taken = if size <= TARGETS {
            self.small[size as usize].pop()
        } else {
            let class = self.big.get_mut(&size);
            let taken = class.and_then(Vec::pop);
            if self.big.get(&size).is_some_and(Vec::is_empty) {
                self.big.remove(&size);
            }
            taken
        };
        #[expect(
            clippy::expect_used,
            reason = "the callers have just seen it in its class"
        )]
        let domain = taken.expect("a domain of this size");
        self.domains -= 1;
        self.targets -= u64::from(size);
        self.slots -= u64::from(size.div_ceil(TARGETS));
        domain
    }

    fn ascending(&self) -> impl Iterator<Item = u32> {
        let small = (1..).zip(&self.small[1..]);
        let classes = small.chain(self.big.iter().map(|(&size, class)| (size, class)));
        classes.flat_map(|(size, class)| std::iter::repeat_n(size, class.len()))
    }

    fn descending(&self) -> impl Iterator<Item = u32> {
        let small = (1..=TARGETS)
            .rev()
            .map(|size| (size, &self.small[size as usize]));
        let classes = self
            .big
            .iter()
            .rev()
            .map(|(&size, class)| (size, class))
            .chain(small);
        classes.flat_map(|(size, class)| std::iter::repeat_n(size, class.len()))
    }

    /// Takes the next batch out.
    fn fill(&mut self) -> Vec<Share> {
        let smallest: Vec<u32> = self.ascending().take(SLOTS).collect();
        if self.domains <= SLOTS || sum(&smallest) >= TARGETS {
            return self.ship(&smallest);
        }
        let largest: Vec<u32> = self.descending().take(SLOTS).collect();
        if sum(&largest) <= TARGETS {
            return self.ship(&largest);
        }
        let mixed = self.mix(&smallest, &largest);
        self.ship(&mixed)
    }

    /// Takes domains of these sizes out until the batch is full, and puts back what is left of the last.
    fn ship(&mut self, sizes: &[u32]) -> Vec<Share> {
        let mut room = TARGETS;
        let mut batch = Vec::with_capacity(sizes.len());
        for &size in sizes {
            if room == 0 {
                break;
            }
            let domain = self.take(size);
            let targets = size.min(room);
            room -= targets;
            batch.push(Share { domain, targets });
            if size > targets {
                self.put(size - targets, domain);
            }
        }
        batch
    }

    /// Sizes of 100 domains, small and large, that sum up to 1000 or come near it; only the last may be over.
    fn mix(&self, smallest: &[u32], largest: &[u32]) -> Vec<u32> {
        let mut chosen = smallest.to_vec();
        let mut total = sum(smallest);
        // Put large ones in place of small ones, the largest first, until the next one would be over.
        let mut large = 0;
        while total - chosen[SLOTS - 1 - large] + largest[large].min(TARGETS) < TARGETS {
            total = total - chosen[SLOTS - 1 - large] + largest[large].min(TARGETS);
            chosen[SLOTS - 1 - large] = largest[large];
            large += 1;
        }
        let open = SLOTS - 1 - large;
        let replaced = chosen.remove(open);
        let wanted = TARGETS - (total - replaced);
        let left = Left::without(self, &chosen);
        if left.has(wanted) {
            chosen.push(wanted);
            return chosen;
        }
        if let Some((at, instead, last)) = left.exchange(&chosen, wanted) {
            chosen[at] = instead;
            chosen.push(last);
            return chosen;
        }
        // No exact fit. Split the largest, or leave the batch short by what the best fit lacks?
        let batches = self
            .targets
            .div_ceil(u64::from(TARGETS))
            .max(self.slots.div_ceil(SLOTS as u64));
        let spare_slots = batches * SLOTS as u64 - self.slots;
        let spare_targets = batches * u64::from(TARGETS) - self.targets;
        let best = (1..wanted).rev().find(|&size| left.has(size));
        let short = best.map(|size| u64::from(wanted - size));
        match (best, short) {
            (Some(best), Some(short)) if short * spare_slots < spare_targets => chosen.push(best),
            _ => chosen.push(largest[large]),
        }
        chosen
    }
}

/// How many domains of each size up to 1000 are left beside those chosen.
struct Left {
    counts: Vec<u32>,
}

impl Left {
    fn without(rest: &Rest, chosen: &[u32]) -> Self {
        let mut counts: Vec<u32> = rest.small.iter().map(|class| class.len() as u32).collect();
        for &size in chosen.iter().filter(|&&size| size <= TARGETS) {
            counts[size as usize] -= 1;
        }
        Self { counts }
    }

    fn has(&self, size: u32) -> bool {
        self.counts
            .get(size as usize)
            .is_some_and(|&count| count > 0)
    }

    /// One of `chosen` to exchange, what for, and a last one, such that all sum up as wanted.
    fn exchange(&self, chosen: &[u32], wanted: u32) -> Option<(usize, u32, u32)> {
        let distinct: Vec<usize> = (0..chosen.len())
            .filter(|&at| at == 0 || chosen[at] != chosen[at - 1])
            .collect();
        for step in 1..TARGETS {
            for (last, up) in [(wanted.saturating_sub(step), true), (wanted + step, false)] {
                if !self.has(last) {
                    continue;
                }
                for &at in &distinct {
                    let instead = if up {
                        chosen[at] + step
                    } else {
                        chosen[at].saturating_sub(step)
                    };
                    let enough = if instead == last { 2 } else { 1 };
                    if chosen[at] <= TARGETS
                        && instead > 0
                        && self.counts.get(instead as usize) >= Some(&enough)
                    {
                        return Some((at, instead, last));
                    }
                }
            }
        }
        None
    }
}

/// What domains of these sizes would put into one batch.
fn sum(sizes: &[u32]) -> u32 {
    sizes.iter().map(|&size| size.min(TARGETS)).sum()
}
