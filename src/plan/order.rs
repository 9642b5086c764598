//! The order of targets in plans and in the pages table.

use rayon::prelude::*;

use crate::targets::{TargetId, TargetList};

/// All targets of a list, sorted by root domain and then by text. The pages table has the same
/// order.
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
    // A counting sort by root domain comes first, so that only texts within one domain are
    // compared.
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
    // Domains are sorted in parallel; a large one is also sorted in parallel itself.
    let mut domains: Vec<&mut [TargetId]> = order
        .chunk_by_mut(|&left, &right| list.root_domain_of(left) == list.root_domain_of(right))
        .filter(|targets| targets.len() > 1)
        .collect();
    domains.par_iter_mut().for_each(|targets| {
        let text = |id: &TargetId| list.target(*id).text;
        if targets.len() > 10_000 {
            targets.par_sort_unstable_by(|left, right| text(left).cmp(text(right)));
        } else {
            // With the texts beside the ids, a comparison reads less memory in random places. That
            // takes 24 bytes per target, too much for a large domain.
            let mut texts: Vec<_> = targets.iter().map(|id| (text(id), *id)).collect();
            texts.sort_unstable();
            for (target, (_, id)) in targets.iter_mut().zip(texts) {
                *target = id;
            }
        }
    });
    order
}
