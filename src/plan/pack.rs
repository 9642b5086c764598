//! Packs root domains of given sizes into the fewest batches: pure, deterministic, no I/O.
//!
//! A batch has two caps, one for targets and one for root domains, and the best batch reaches both.
//! Each batch is filled by one of three rules:
//!
//! - **Targets are the limit:** the 100 smallest domains have 1000 targets or more. Take the
//!   smallest until the batch is full, and split the last one. Every batch has 1000 targets, so
//!   this part meets the bound for targets.
//! - **Domains are the limit:** the 100 largest domains have at most 1000 targets together. Take
//!   them whole. Every batch has 100 domains, so this part meets the bound for domains.
//! - **Both are the limit:** take small and large domains, 100 in all, and choose the last one so
//!   that the sum is exactly 1000. If no domain of that size is left, exchange one of the others.
//!   If that also fails, split a domain, which costs a slot, or leave the batch short, which costs
//!   targets: whichever the remaining batches can afford.
//!
//! A batch that is full by both caps lowers the bound for the rest by one. So only a split or a
//! short batch can move the result away from the bound.
//!
//! These rules choose among all domains, so a batch has domains from anywhere in the alphabet. But
//! a row can be written early only if no open batch can have a row before it. So the domains are first
//! packed in windows of consecutive domains. If this needs no extra batch, the batches follow the
//! order of the domains, except within a window.

use std::collections::{BTreeMap, VecDeque};

use super::estimate::lower_bound;
use crate::provider::{MAX_ROOT_DOMAINS, MAX_TARGETS};

const TARGETS: u32 = MAX_TARGETS as u32;
const SLOTS: usize = MAX_ROOT_DOMAINS;

/// The part of a root domain that goes into one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The root domain, as its index in the given sizes.
    pub domain: u32,
    /// The number of its targets. The plan takes the next ones in order.
    pub targets: u32,
}

/// The windows that are tried, by the batches that one fills. The last one has all domains.
const WINDOWS: [u64; 3] = [32, 256, u64::MAX];

/// Packs root domains into batches within both caps. `sizes` are their numbers of targets. Batches
/// roughly follow the order of the domains where this needs no extra batch.
///
/// The time is proportional to the domains plus the batches times their caps, and the memory to the
/// domains.
///
/// ```
/// // A domain of 1500 targets fills a batch and a half; the small ones fit into the rest.
/// let batches = backlake::plan::pack(&[1500, 20, 3]);
/// assert_eq!(batches.len(), 2);
/// assert_eq!(batches.iter().flatten().map(|share| share.targets).sum::<u32>(), 1523);
/// ```
#[must_use]
pub fn pack(sizes: &[u32]) -> Vec<Vec<Share>> {
    let fewest = lower_bound(sizes);
    let mut best: Option<Vec<Vec<Share>>> = None;
    for window in WINDOWS {
        let batches = pack_in_windows(sizes, window);
        let is_fewest = batches.len() as u64 == fewest;
        if best.as_ref().is_none_or(|best| batches.len() < best.len()) {
            best = Some(batches);
        }
        if is_fewest {
            break;
        }
    }
    best.unwrap_or_default()
}

/// Packs the domains that fill `window` batches, then the next ones, and so on. What does not fill a
/// batch goes into the next window.
fn pack_in_windows(sizes: &[u32], window: u64) -> Vec<Vec<Share>> {
    let mut rest = Rest::new();
    let mut batches = Vec::new();
    for (domain, &size) in (0..).zip(sizes) {
        if size > 0 {
            rest.put(size, domain);
        }
        if rest.fewest_batches() >= window {
            while rest.fewest_batches() > 1 {
                batches.push(rest.fill());
            }
        }
    }
    while rest.domains > 0 {
        batches.push(rest.fill());
    }
    batches
}

/// The domains that are not packed yet, grouped by the number of targets that each has left.
struct Rest {
    /// The domains with 1 to 1000 targets left, indexed by that number.
    /// The first domain of a size is taken first.
    small: Vec<VecDeque<u32>>,
    /// The domains with more targets left.
    big: BTreeMap<u32, VecDeque<u32>>,
    domains: usize,
    targets: u64,
    /// The fewest slots that the domains need.
    slots: u64,
}

impl Rest {
    fn new() -> Self {
        Self {
            small: vec![VecDeque::new(); TARGETS as usize + 1],
            big: BTreeMap::new(),
            domains: 0,
            targets: 0,
            slots: 0,
        }
    }

    /// Adds a domain with this many targets.
    fn put(&mut self, size: u32, domain: u32) {
        self.count(size).push_back(domain);
    }

    /// Adds what is left of a domain, as the first of its size.
    fn put_back(&mut self, size: u32, domain: u32) {
        self.count(size).push_front(domain);
    }

    /// Counts a domain that is about to be added, and returns those of its size.
    fn count(&mut self, size: u32) -> &mut VecDeque<u32> {
        self.domains += 1;
        self.targets += u64::from(size);
        self.slots += u64::from(size.div_ceil(TARGETS));
        if size <= TARGETS {
            &mut self.small[size as usize]
        } else {
            self.big.entry(size).or_default()
        }
    }

    /// The fewest batches that the domains need.
    fn fewest_batches(&self) -> u64 {
        let by_slots = self.slots.div_ceil(SLOTS as u64);
        self.targets.div_ceil(u64::from(TARGETS)).max(by_slots)
    }

    /// Removes a domain of this size.
    fn take(&mut self, size: u32) -> u32 {
        let taken = if size <= TARGETS {
            self.small[size as usize].pop_front()
        } else {
            let class = self.big.get_mut(&size);
            let taken = class.and_then(VecDeque::pop_front);
            if self.big.get(&size).is_some_and(VecDeque::is_empty) {
                self.big.remove(&size);
            }
            taken
        };
        #[expect(
            clippy::expect_used,
            reason = "callers take only sizes that they have seen in a group"
        )]
        let domain = taken.expect("a domain of this size");
        self.domains -= 1;
        self.targets -= u64::from(size);
        self.slots -= u64::from(size.div_ceil(TARGETS));
        domain
    }

    /// The sizes of all domains, smallest first.
    fn ascending(&self) -> impl Iterator<Item = u32> {
        let small = (1..).zip(&self.small[1..]);
        let classes = small.chain(self.big.iter().map(|(&size, class)| (size, class)));
        classes.flat_map(|(size, class)| std::iter::repeat_n(size, class.len()))
    }

    /// The sizes of all domains, largest first.
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

    /// Removes the next batch.
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

    /// Removes domains of these sizes until the batch is full, and puts back the rest of the last
    /// one.
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
                self.put_back(size - targets, domain);
            }
        }
        batch
    }

    /// Chooses 100 domains, small and large, whose sizes add up to 1000 or nearly so. Only the last
    /// may exceed it.
    fn mix(&self, smallest: &[u32], largest: &[u32]) -> Vec<u32> {
        let mut chosen = smallest.to_vec();
        let mut total = sum(smallest);
        // Replace small domains by large ones, largest first, until the next one would exceed the
        // cap.
        let mut large = 0;
        while total - chosen[SLOTS - 1 - large] + largest[large].min(TARGETS) < TARGETS {
            total = total - chosen[SLOTS - 1 - large] + largest[large].min(TARGETS);
            chosen[SLOTS - 1 - large] = largest[large];
            large += 1;
        }
        // One slot stays open for the domain that makes the sum exact.
        let open = SLOTS - 1 - large;
        let replaced = chosen.remove(open);
        let wanted = TARGETS - (total - replaced);
        let left = Left::without(self, &chosen);
        if left.has(wanted) {
            chosen.push(wanted);
            return chosen;
        }
        if let Some(Exchange { at, instead, last }) = left.exchange(&chosen, wanted) {
            chosen[at] = instead;
            chosen.push(last);
            return chosen;
        }
        // Nothing fits exactly. Splitting the largest domain costs a slot, and the best fit costs
        // some targets, so compare how much of each the lower bound leaves spare.
        let batches = self.fewest_batches();
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

/// An exchange of one chosen domain that makes room for a last one of the right size.
struct Exchange {
    /// The index of the chosen domain to exchange.
    at: usize,
    /// The size of the domain to take instead.
    instead: u32,
    /// The size of the last domain.
    last: u32,
}

/// The number of domains of each size up to 1000 that are left after a choice.
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

    /// Finds an exchange of one chosen domain, and a last domain, such that the sum is as wanted.
    fn exchange(&self, chosen: &[u32], wanted: u32) -> Option<Exchange> {
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
                        return Some(Exchange { at, instead, last });
                    }
                }
            }
        }
        None
    }
}

/// The number of targets that domains of these sizes have in one batch.
fn sum(sizes: &[u32]) -> u32 {
    sizes.iter().map(|&size| size.min(TARGETS)).sum()
}
