//! The plan: which targets go into which batch.

use std::ops::Range;

use super::estimate::lower_bound;
use super::order::sorted;
use super::pack::pack;
use crate::provider::MAX_ROOT_DOMAINS;
use crate::targets::{TargetId, TargetList};

/// The targets of one request: at most 1000 targets of at most 100 root domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The number of the batch in the run, from 0.
    pub number: u32,
    /// The targets, sorted by root domain and text.
    pub targets: Vec<TargetId>,
    /// The number of root domains of the targets.
    pub root_domains: u32,
}

/// All batches of a run, in compact form.
#[derive(Debug, Default)]
pub struct Plan {
    /// All targets of the plan, sorted by root domain and text.
    order: Vec<TargetId>,
    /// For each root domain of each batch, a range of `order`.
    shares: Vec<Range<u32>>,
    /// For each batch, the end of its shares in `shares`.
    ends: Vec<u32>,
    /// The number of targets of each root domain, in the order of the domains' names.
    sizes: Vec<u32>,
}

impl Plan {
    /// Plans all targets of a list.
    #[must_use]
    pub fn of(list: &TargetList) -> Self {
        Self::of_some(list, sorted(list))
    }

    /// Plans some targets of a list. `order` is a part of [`sorted`], in the same order.
    #[must_use]
    pub fn of_some(list: &TargetList, order: Vec<TargetId>) -> Self {
        let sizes: Vec<u32> = order
            .chunk_by(|&left, &right| list.root_domain_of(left) == list.root_domain_of(right))
            .map(|targets| targets.len() as u32)
            .collect();
        let mut next: Vec<u32> = Vec::with_capacity(sizes.len());
        let mut total = 0;
        for size in &sizes {
            next.push(total);
            total += size;
        }
        let (mut shares, mut ends) = (Vec::new(), Vec::new());
        for batch in pack(&sizes) {
            for share in batch {
                let start = &mut next[share.domain as usize];
                shares.push(*start..*start + share.targets);
                *start += share.targets;
            }
            ends.push(shares.len() as u32);
        }
        Self {
            order,
            shares,
            ends,
            sizes,
        }
    }

    /// The number of requests.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.ends.len() as u64
    }

    /// The fewest requests that any plan for these targets needs, by the provider's caps.
    #[must_use]
    pub fn lower_bound(&self) -> u64 {
        lower_bound(&self.sizes)
    }

    /// All targets of the plan, sorted by root domain and text.
    #[must_use]
    pub fn order(&self) -> &[TargetId] {
        &self.order
    }

    /// All batches, in the order of their numbers.
    pub fn batches(&self) -> impl Iterator<Item = Batch> + '_ {
        (0..self.ends.len()).map(|number| {
            let first = if number == 0 {
                0
            } else {
                self.ends[number - 1]
            };
            let shares = &self.shares[first as usize..self.ends[number] as usize];
            let targets_of =
                |share: &Range<u32>| &self.order[share.start as usize..share.end as usize];
            let targets = shares.iter().flat_map(targets_of).copied().collect();
            debug_assert!(shares.len() <= MAX_ROOT_DOMAINS);
            Batch {
                number: number as u32,
                targets,
                root_domains: shares.len() as u32,
            }
        })
    }
}
