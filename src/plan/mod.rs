//! Targets in, [`Batch`]es out: the fewest requests that ask for every target once.
//!
//! What holds of a [`Plan`]: every target is in exactly one batch, no batch is over the provider's two caps, and the
//! same set of targets gives the same plan, whatever their order.

mod estimate;
mod pack;

use std::ops::Range;

use rayon::prelude::*;

pub use estimate::{Estimate, Pace, lower_bound, requests_in_input_order};
pub use pack::{Share, pack};

use crate::provider::MAX_ROOT_DOMAINS;
use crate::targets::{TargetId, TargetList};

/// The content of one request: at most 1000 targets of at most 100 root domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its number in the run, from 0.
    pub number: u32,
    /// The targets, by root domain and text.
    pub targets: Vec<TargetId>,
    /// The root domains among them.
    pub root_domains: u32,
}

/// All batches of a run.
#[derive(Debug, Default)]
pub struct Plan {
    /// The targets to be asked, by root domain and text.
    order: Vec<TargetId>,
    /// A stretch of `order` for each root domain in each batch.
    shares: Vec<Range<u32>>,
    /// Where in `shares` each batch ends.
    ends: Vec<u32>,
    /// Targets of each root domain, in the order of the domains' names.
    sizes: Vec<u32>,
}

impl Plan {
    /// Plans all targets of a list.
    #[must_use]
    pub fn of(list: &TargetList) -> Self {
        Self::of_some(list, sorted(list))
    }

    /// Plans some targets of a list, given by root domain and text: a part of [`sorted`].
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

    /// How many requests it takes.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.ends.len() as u64
    }

    /// How many requests it takes at the least, by the provider's caps.
    #[must_use]
    pub fn lower_bound(&self) -> u64 {
        lower_bound(&self.sizes)
    }

    /// The targets asked for, by root domain and text.
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
            let stretch =
                |share: &Range<u32>| &self.order[share.start as usize..share.end as usize];
            let targets = shares.iter().flat_map(stretch).copied().collect();
            debug_assert!(shares.len() <= MAX_ROOT_DOMAINS);
            Batch {
                number: number as u32,
                targets,
                root_domains: shares.len() as u32,
            }
        })
    }
}

/// All targets of a list by root domain and text: the order of the pages table, too.
#[must_use]
pub fn sorted(list: &TargetList) -> Vec<TargetId> {
    let mut by_name: Vec<u32> = (0..list.root_domain_count() as u32).collect();
    by_name.par_sort_unstable_by_key(|&root| list.root_domain(root));
    let mut place = vec![0_u32; by_name.len()];
    for (at, &root) in by_name.iter().enumerate() {
        place[root as usize] = at as u32;
    }
    drop(by_name);
    let ids = || (0..list.target_count() as u32).map(TargetId);
    let of = |id: TargetId| place[list.root_domain_of(id) as usize] as usize;
    // Gather by root domain first, so that only texts of one domain are compared.
    let mut next = vec![0_u32; place.len() + 1];
    for id in ids() {
        next[of(id) + 1] += 1;
    }
    for at in 1..next.len() {
        next[at] += next[at - 1];
    }
    let mut order = vec![TargetId(0); list.target_count()];
    for id in ids() {
        let slot = &mut next[of(id)];
        order[*slot as usize] = id;
        *slot += 1;
    }
    let mut domains: Vec<&mut [TargetId]> = order
        .chunk_by_mut(|&left, &right| list.root_domain_of(left) == list.root_domain_of(right))
        .filter(|targets| targets.len() > 1)
        .collect();
    domains.par_iter_mut().for_each(|targets| {
        let text = |id: &TargetId| list.target(*id).text;
        if targets.len() > 10_000 {
            targets.par_sort_unstable_by(|left, right| text(left).cmp(text(right)));
        } else {
            targets.sort_unstable_by(|left, right| text(left).cmp(text(right)));
        }
    });
    order
}
