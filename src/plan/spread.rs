//! Keeps targets apart that differ only in scheme, `www.` or final slash, where that costs no
//! request.
//!
//! The provider may write the url of an item otherwise than it was asked for. In different batches
//! such items cannot be mistaken for each other. First the targets of each root domain are put into
//! an order in which a cut keeps them apart; then parts of batches with such targets are moved, or
//! exchanged, into batches that have a root domain to spare. No batch is added, and none exceeds a
//! cap.

use std::collections::HashMap;
use std::ops::Range;

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use crate::provider::{MAX_ROOT_DOMAINS, MAX_TARGETS};
use crate::targets::{Spelling, TargetId, TargetList};

/// Other batches that are tried for each part.
const CANDIDATES: usize = 64;

/// The parts of a root domain's targets that must not be in one batch, as ranges of their order. The
/// first part begins with the first spellings, each further one has the second, third, … spellings.
type Parts = Vec<Range<u32>>;

/// Puts the targets of each root domain, which are consecutive in `order`, into an order that keeps
/// spellings of the same page apart. `sizes` are the numbers of targets of the root domains. Returns
/// the parts of each root domain that has such targets, by its number in `sizes`.
pub(super) fn spread(
    list: &TargetList,
    mut order: &mut [TargetId],
    sizes: &[u32],
) -> HashMap<u32, Parts> {
    let mut begin = 0;
    let mut domains = Vec::with_capacity(sizes.len());
    for (number, &size) in (0..).zip(sizes) {
        let (targets, rest) = order.split_at_mut(size as usize);
        domains.push((number, begin, targets));
        order = rest;
        begin += size;
    }
    let spread = domains
        .into_par_iter()
        .with_min_len(64)
        .filter_map(|(number, begin, targets)| {
            let parts = spread_domain(list, targets)?;
            let placed = parts
                .into_iter()
                .map(|part| begin + part.start..begin + part.end);
            Some((number, placed.collect()))
        });
    spread.collect()
}

/// The same for one root domain; none if no two of its targets are spellings of the same page.
fn spread_domain(list: &TargetList, targets: &mut [TargetId]) -> Option<Parts> {
    // Texts of the same form differ in their stems.
    let (first, rest) = targets.split_first()?;
    let of_all = list.form_of(*first);
    if rest.iter().all(|id| list.form_of(*id) == of_all) {
        return None;
    }
    // Hashes, because the texts of a large domain would take much memory. Two pages with the same hash
    // are kept apart, too, which harms neither.
    let stems = list
        .targets_of(targets.iter().copied())
        .map(|target| xxh3_64(Spelling::of(&target.text).stem.as_bytes()));
    let stems: Vec<u64> = stems.collect();
    let mut by_stem: hashbrown::HashMap<u64, u32> =
        hashbrown::HashMap::with_capacity(targets.len());
    let ranks: Vec<u32> = stems
        .iter()
        .map(|&stem| {
            let next = by_stem.entry(stem).or_default();
            *next += 1;
            *next - 1
        })
        .collect();
    let most = ranks.iter().copied().max().unwrap_or_default();
    if most == 0 {
        return None;
    }
    // First spellings of pages that have others, then pages with one spelling, then the others.
    let mut ranked: Vec<(u32, bool, TargetId)> = targets
        .iter()
        .zip(stems.iter().zip(&ranks))
        .map(|(id, (stem, &rank))| (rank, by_stem[stem] == 1, *id))
        .collect();
    ranked.sort_by_key(|&(rank, single, _)| (rank, single));
    let mut parts = Parts::new();
    for (at, (target, &(rank, single, id))) in targets.iter_mut().zip(&ranked).enumerate() {
        *target = id;
        let at = at as u32;
        match parts.get_mut(rank as usize) {
            None => parts.push(at..at + 1),
            Some(part) if !single => part.end = at + 1,
            Some(_) => {}
        }
    }
    Some(parts)
}

/// A piece of a batch: consecutive targets of one root domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// The number of the root domain in the order.
    pub(super) domain: u32,
    /// The targets, as a range of the order.
    pub(super) targets: Range<u32>,
}

/// The number of root domains of a batch.
pub(super) fn root_domains(pieces: &[Piece]) -> u32 {
    let mut domains: Vec<u32> = pieces.iter().map(|piece| piece.domain).collect();
    domains.sort_unstable();
    domains.dedup();
    domains.len() as u32
}

impl Piece {
    fn len(&self) -> usize {
        self.targets.len()
    }
}

/// Moves parts of the same root domain into different batches, as long as that costs no request.
pub(super) fn separate(batches: &mut [Vec<Piece>], spread: &HashMap<u32, Parts>) {
    let mut sizes: Vec<usize> = batches
        .iter()
        .map(|pieces| pieces.iter().map(Piece::len).sum())
        .collect();
    for number in 0..batches.len() {
        for at in 0..batches[number].len() {
            let Some(parts) = spread.get(&batches[number][at].domain) else {
                continue;
            };
            // From the end, so that what stays is one piece.
            while let Some(cut) = last_cut(&batches[number][at], parts) {
                if !move_out(batches, &mut sizes, number, at, cut, spread) {
                    break;
                }
            }
        }
    }
}

/// Where the last part begins in a piece that has targets of several parts.
fn last_cut(piece: &Piece, parts: &Parts) -> Option<u32> {
    let within =
        |part: &&Range<u32>| part.start < piece.targets.end && piece.targets.start < part.end;
    let mut found = parts.iter().rev().filter(within);
    let last = found.next()?;
    found.next().map(|_| last.start)
}

/// Moves the end of a piece, from `cut`, into another batch. Returns whether there was one.
fn move_out(
    batches: &mut [Vec<Piece>],
    sizes: &mut [usize],
    from: usize,
    at: usize,
    cut: u32,
    spread: &HashMap<u32, Parts>,
) -> bool {
    let Piece { domain, targets } = batches[from][at].clone();
    let moved = (targets.end - cut) as usize;
    let has = |pieces: &[Piece], domain| pieces.iter().any(|piece| piece.domain == domain);
    let count = batches.len();
    let others = (1..count).map(|step| (from + step) % count);
    for to in others.take(CANDIDATES) {
        if batches[to].len() == MAX_ROOT_DOMAINS || has(&batches[to], domain) {
            continue;
        }
        if sizes[to] + moved > MAX_TARGETS {
            // The batch is full: as many targets of another root domain come back.
            if !exchange(batches, to, from, moved as u32, spread) {
                continue;
            }
        } else {
            sizes[to] += moved;
            sizes[from] -= moved;
        }
        batches[from][at].targets.end = cut;
        let targets = cut..targets.end;
        batches[to].push(Piece { domain, targets });
        return true;
    }
    false
}

/// Moves this many targets of a root domain without parts from one batch to another, which may have
/// others of it. Returns whether there are any.
fn exchange(
    batches: &mut [Vec<Piece>],
    from: usize,
    to: usize,
    count: u32,
    spread: &HashMap<u32, Parts>,
) -> bool {
    if batches[to].len() == MAX_ROOT_DOMAINS {
        return false;
    }
    for at in 0..batches[from].len() {
        let Piece { domain, targets } = batches[from][at].clone();
        if targets.len() <= count as usize || spread.contains_key(&domain) {
            continue;
        }
        let split = targets.end - count;
        batches[from][at].targets.end = split;
        let targets = split..targets.end;
        batches[to].push(Piece { domain, targets });
        return true;
    }
    false
}
