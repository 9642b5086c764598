//! The plan: which targets go into which batch.

use std::ops::Range;

use super::estimate::lower_bound;
use super::pack::{Share, pack};
use super::spread::{Piece, root_domains, separate, spread};
use crate::provider::MAX_ROOT_DOMAINS;
use crate::targets::{TargetId, TargetList};

/// The targets of one request: at most 1000 targets of at most 100 root domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The number of the batch in the run, from 0.
    pub number: u32,
    /// The targets, grouped by root domain.
    pub targets: Vec<TargetId>,
    /// The number of root domains of the targets.
    pub root_domains: u32,
}

/// All batches of a run, in compact form.
#[derive(Debug, Default)]
pub struct Plan {
    /// All targets of the plan, sorted by root domain.
    order: Vec<TargetId>,
    /// For each root domain of each batch, a range of `order`, or several.
    shares: Vec<Range<u32>>,
    /// For each batch, the end of its shares in `shares`.
    ends: Vec<u32>,
    /// For each batch, the number of its root domains.
    root_domains: Vec<u32>,
    /// The number of targets of each root domain, in the order of the domains' names.
    sizes: Vec<u32>,
}

impl Plan {
    /// Plans all targets of a list.
    #[must_use]
    pub fn of(list: &TargetList) -> Self {
        Self::of_some(list, list.ids().collect())
    }

    /// Plans some targets of a list. They must be sorted, and each must be there once.
    #[must_use]
    pub fn of_some(list: &TargetList, mut order: Vec<TargetId>) -> Self {
        debug_assert!(order.is_sorted_by(|left, right| left < right));
        let sizes = sizes(list, &order);
        let spread = spread(list, &mut order, &sizes);
        let mut next: Vec<u32> = Vec::with_capacity(sizes.len());
        let mut total = 0;
        for size in &sizes {
            next.push(total);
            total += size;
        }
        let mut take = |share: Share| {
            let start = &mut next[share.domain as usize];
            let targets = *start..*start + share.targets;
            *start = targets.end;
            targets
        };
        let (mut shares, mut ends, mut domains) = (Vec::new(), Vec::new(), Vec::new());
        if spread.is_empty() {
            for batch in pack(&sizes) {
                domains.push(batch.len() as u32);
                shares.extend(batch.into_iter().map(&mut take));
                ends.push(shares.len() as u32);
            }
        } else {
            let mut piece = |share: Share| Piece {
                domain: share.domain,
                targets: take(share),
            };
            let batches = pack(&sizes).into_iter();
            let mut batches: Vec<Vec<Piece>> = batches
                .map(|batch| batch.into_iter().map(&mut piece).collect())
                .collect();
            separate(&mut batches, &spread);
            for batch in batches {
                domains.push(root_domains(&batch));
                shares.extend(batch.into_iter().map(|piece| piece.targets));
                ends.push(shares.len() as u32);
            }
        }
        Self {
            order,
            shares,
            ends,
            root_domains: domains,
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

    /// The number of targets.
    #[must_use]
    pub fn targets(&self) -> u64 {
        self.order.len() as u64
    }

    /// All batches, in the order of their numbers.
    pub fn batches(&self) -> impl DoubleEndedIterator<Item = Batch> + '_ {
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
            let root_domains = self.root_domains[number];
            debug_assert!(root_domains as usize <= MAX_ROOT_DOMAINS);
            Batch {
                number: number as u32,
                targets,
                root_domains,
            }
        })
    }
}

/// The number of targets of each root domain among these, which are sorted.
fn sizes(list: &TargetList, mut targets: &[TargetId]) -> Vec<u32> {
    let mut sizes = Vec::new();
    while let Some(&first) = targets.first() {
        let of_root = list.targets_of_root_domain(list.root_domain_of(first));
        // Not more than the root domain has.
        let most = targets.len().min((of_root.end.0 - first.0) as usize);
        let size = targets[..most].partition_point(|&id| id < of_root.end);
        sizes.push(size as u32);
        targets = &targets[size..];
    }
    sizes
}
