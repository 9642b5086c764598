//! Finds the targets that the provider refuses, so that the rest of their batch is still fetched.
//!
//! One bad target makes the provider refuse the whole batch. A refusal is free; a response costs
//! money. So a refused batch is halved until the bad target is alone, and each part is filled up
//! with targets that are not suspects, so that every request that is paid for is a full one. A
//! target counts as refused only if it was asked for alone.
//!
//! With k bad targets among 1000 that are not named, halving costs about 2·k·log2(1000/k)
//! additional requests, nearly all of them free: the parts on one level of the tree are refused at
//! most k times, and there are log2(1000/k) levels below the level on which each bad target has a
//! part of its own.

use std::collections::{HashSet, VecDeque};

use crate::provider::{MAX_ROOT_DOMAINS, MAX_TARGETS};
use crate::targets::TargetId;

/// Targets of a refused batch that are not asked for again yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suspects {
    pub(super) targets: Vec<TargetId>,
    /// Whether the only target must be asked for alone, so that the result is certain.
    pub(super) alone: bool,
    /// How many others of their group refusals have named.
    pub(super) names: usize,
}

/// What a refusal says about the targets of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accused {
    /// The refusal names the target at this index. It is only a suspect until it is refused alone,
    /// because the text may be misread.
    Target(usize),
    /// The refusal names no target.
    Unnamed,
    /// The refusal names a field that is not a target: a defect of this program.
    OtherField,
}

/// Reads the message of a refusal. `text` returns a target as it was posted.
pub(super) fn accused<'a>(
    targets: &[TargetId],
    text: impl Fn(TargetId) -> &'a str,
    message: &str,
) -> Accused {
    // The field is before the parenthesis, the target inside it, and a target may contain any text.
    let field = message.split('(').next().unwrap_or_default();
    if ["'include_subdomains'", "'rank_scale'", "'tag'"]
        .iter()
        .any(|name| field.contains(name))
    {
        return Accused::OtherField;
    }
    // The longest match counts: a message with `sub.example.com` contains `example.com`, too.
    let lengths = targets.iter().enumerate().filter_map(|(at, &target)| {
        let text = text(target);
        message.contains(text).then_some((text.len(), at))
    });
    lengths
        .max()
        .map_or(Accused::Unnamed, |(_, at)| Accused::Target(at))
}

/// The suspects of refused batches, and the targets that lost their batch with them.
#[derive(Debug, Default)]
pub(super) struct Isolation {
    suspects: VecDeque<Suspects>,
    /// Targets that are not suspects and have lost their batch.
    pub(super) loose: Vec<TargetId>,
    /// How many targets were in a batch that has a response.
    good: u64,
    /// How many targets were refused alone.
    bad: u64,
    /// How many batches without suspects were refused.
    surprises: u64,
    /// How many requests were refused since the last one that has a response.
    in_a_row: u64,
}

/// Refusals without any response after which a part is no longer filled up: perhaps everything is
/// refused, and then sending the targets that fill it gains nothing.
const ROW_WITHOUT_COMPANY: u64 = 64;
/// The fewest names and the share of a group, as one in so many, after which its rest is halved
/// although each refusal names a target: removing named targets one by one sends the rest once for each.
const DENSE: (usize, usize) = (16, 8);
/// Refusals in a row between two looks at a batch without suspects.
const ROW_WITHOUT_A_LOOK: u64 = 16;
/// Refusals in a row with an unknown code after which the targets are probably not the cause.
const HOPELESS_ROW: u64 = 500;

/// The most bad targets to expect among those that fill up a part. With more, the part is refused
/// so often that filling it up saves nothing.
const MAX_RISK: f64 = 0.2;

/// Whether so many targets of a group are named that its rest is probably as bad.
fn is_dense(names: usize, rest: usize) -> bool {
    let (fewest, share) = DENSE;
    names >= fewest && names * share > rest
}

impl Isolation {
    /// Counts the targets of a batch that has a response.
    pub(super) fn returned(&mut self, targets: usize) {
        self.good += targets as u64;
        self.in_a_row = 0;
    }

    /// Counts a target that was refused alone.
    pub(super) fn convicted(&mut self) {
        self.bad += 1;
        self.in_a_row += 1;
    }

    /// Whether so many requests were refused in a row that it is time to look at a batch without
    /// suspects: perhaps everything is refused.
    pub(super) fn is_doubtful(&self) -> bool {
        self.in_a_row > 0 && self.in_a_row.is_multiple_of(ROW_WITHOUT_A_LOOK)
    }

    /// Whether so many requests were refused in a row that the targets are probably not the cause.
    pub(super) fn is_hopeless(&self) -> bool {
        self.in_a_row >= HOPELESS_ROW
    }

    /// Takes a refused batch apart. Its first `suspects` targets were suspects before; if none
    /// were, all are now. Refusals have named `names` others of their group.
    pub(super) fn refused(
        &mut self,
        mut targets: Vec<TargetId>,
        suspects: usize,
        names: usize,
        named: Option<usize>,
    ) {
        self.in_a_row += 1;
        let mut known = if suspects == 0 {
            self.surprises += 1;
            targets.len()
        } else {
            suspects
        };
        if let Some(at) = named {
            let target = targets.remove(at);
            self.suspects.push_front(Suspects {
                targets: vec![target],
                alone: true,
                names: 0,
            });
            known -= usize::from(at < known);
        }
        self.loose.extend(targets.drain(known..));
        let together = |targets, alone, names| Suspects {
            targets,
            alone,
            names,
        };
        match (named, targets.len()) {
            (_, 0) => {}
            // It was refused together with others, so it must be asked for alone.
            (None, 1) => self.suspects.push_back(together(targets, true, 0)),
            // The named target may be the only bad one, so the others stay together.
            (Some(_), count) if count == 1 || !is_dense(names + 1, count) => {
                self.suspects.push_back(together(targets, false, names + 1));
            }
            (_, count) => {
                let right = targets.split_off(count / 2);
                for half in [targets, right] {
                    self.suspects.push_back(together(half, false, names));
                }
            }
        }
    }

    /// The next suspects to ask for.
    pub(super) fn next(&mut self) -> Option<Suspects> {
        self.suspects.pop_front()
    }

    /// How many targets may fill up a part, given the share of bad targets so far.
    fn allowed(&self) -> usize {
        if self.good == 0 && self.in_a_row > ROW_WITHOUT_COMPANY {
            return 0;
        }
        let bad = self.bad.max(self.surprises).max(1) as f64;
        let share =
            bad / (self.good + self.bad + MAX_TARGETS as u64 * self.surprises).max(1) as f64;
        (MAX_RISK / share) as usize
    }

    /// How many more targets may be asked for together with these suspects.
    pub(super) fn room(&self, suspects: &Suspects) -> usize {
        if suspects.alone {
            0
        } else {
            (MAX_TARGETS - suspects.targets.len()).min(self.allowed())
        }
    }

    /// Moves loose targets to a batch until `room` more are in it or its root domains are at their
    /// limit.
    pub(super) fn fill(
        &mut self,
        batch: &mut Vec<TargetId>,
        mut room: usize,
        root_of: impl Fn(TargetId) -> u32,
    ) {
        let mut roots: HashSet<u32> = batch.iter().map(|&target| root_of(target)).collect();
        self.loose.retain(|&target| {
            let root = root_of(target);
            let fits = room > 0 && (roots.contains(&root) || roots.len() < MAX_ROOT_DOMAINS);
            if fits {
                roots.insert(root);
                batch.push(target);
                room -= 1;
            }
            !fits
        });
    }

    /// All targets that have not ended.
    pub(super) fn rest(self) -> impl Iterator<Item = TargetId> {
        self.loose.into_iter().chain(
            self.suspects
                .into_iter()
                .flat_map(|suspects| suspects.targets),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_accuses_the_target_that_it_names() {
        let texts = [
            "a.com",
            "b.a.com",
            "https://a.com/",
            "https://a.com/b",
            "https://a.com/b:c",
        ];
        let ids: Vec<TargetId> = (0..texts.len() as u32).map(TargetId).collect();
        let accused = |message: &str| accused(&ids, |id| texts[id.0 as usize], message);
        for (at, target) in texts.iter().enumerate() {
            assert_eq!(
                accused(&format!("Invalid Field: 'target' ({target}).")),
                Accused::Target(at)
            );
        }
        assert_eq!(accused("Invalid Field: 'targets'."), Accused::Unnamed);
        assert_eq!(accused("Invalid Field: 'rank_scale'."), Accused::OtherField);
        assert_eq!(
            accused("40501 Invalid Field: 'target' (https://x.com/a'tag'b)."),
            Accused::Unnamed
        );
    }

    /// Asks until every target has an end. Returns the number of refused requests, the number of
    /// paid requests, and the refused targets.
    fn isolate(targets: u32, company: u32, bad: &HashSet<u32>) -> (u32, u32, HashSet<u32>) {
        let mut isolation = Isolation::default();
        isolation
            .loose
            .extend((targets..targets + company).map(TargetId));
        isolation.returned(100_000);
        isolation.refused((0..targets).map(TargetId).collect(), 0, 0, None);
        let (mut refused, mut paid, mut convicted) = (0, 0, HashSet::new());
        let mut returned = Vec::new();
        while let Some(suspects) = isolation.next() {
            let (known, room) = (suspects.targets.len(), isolation.room(&suspects));
            let mut batch = suspects.targets;
            isolation.fill(&mut batch, room, |target| target.0 % 50);
            assert!(batch.len() <= MAX_TARGETS);
            if !batch.iter().any(|target| bad.contains(&target.0)) {
                paid += 1;
                isolation.returned(batch.len());
                returned.extend(batch);
            } else if let [alone] = batch[..] {
                refused += 1;
                isolation.convicted();
                assert!(convicted.insert(alone.0));
            } else {
                refused += 1;
                isolation.refused(batch, known, 0, None);
            }
        }
        let mut all: Vec<u32> = returned
            .into_iter()
            .chain(isolation.rest())
            .map(|target| target.0)
            .collect();
        all.extend(&convicted);
        all.sort_unstable();
        assert_eq!(
            all,
            (0..targets + company).collect::<Vec<_>>(),
            "every target has one end"
        );
        (refused, paid, convicted)
    }

    #[test]
    fn bad_targets_are_found_within_the_bound_and_good_ones_in_full_requests() {
        let mut random = fastrand::Rng::with_seed(3);
        for count in [1, 2, 5, 20, 50, 200, 1000] {
            let mut all: Vec<u32> = (0..1000).collect();
            random.shuffle(&mut all);
            let bad: HashSet<u32> = all.into_iter().take(count).collect();
            let k = count as f64;
            let bound = 2.0 * k * (1000.0 / k).log2() + 3.0 * k;
            let (refused, paid, found) = isolate(1000, 0, &bad);
            assert_eq!(found, bad);
            assert!(
                f64::from(refused + paid) <= bound,
                "{count} bad: {refused} refused, {paid} paid, over {bound}"
            );
            let (refused, paid, found) = isolate(1000, 20_000, &bad);
            assert_eq!(found, bad);
            assert!(
                f64::from(refused + paid) <= bound,
                "{count} bad: {refused} refused, {paid} paid, over {bound}"
            );
            if count == 1 {
                // The 999 good targets are in full requests.
                assert!(
                    paid <= 11 && refused <= 12,
                    "{refused} refused, {paid} paid"
                );
            }
        }
    }

    #[test]
    fn a_batch_of_bad_targets_that_are_named_is_not_sent_once_for_each() {
        // The number of requests, and of targets in them, until every bad target is convicted.
        let isolate = |bad: u32| {
            let mut isolation = Isolation::default();
            let (mut requests, mut sent) = (1, 1000);
            isolation.refused((0..1000).map(TargetId).collect(), 0, 0, Some(0));
            while let Some(Suspects { targets, names, .. }) = isolation.next() {
                requests += 1;
                sent += targets.len();
                match targets.iter().position(|target| target.0 < bad) {
                    None => isolation.returned(targets.len()),
                    Some(_) if targets.len() == 1 => isolation.convicted(),
                    named => isolation.refused(targets.clone(), targets.len(), names, named),
                }
            }
            assert_eq!(isolation.bad, u64::from(bad));
            (requests, sent)
        };
        // One request for each name and one for each conviction, and one that is paid.
        assert_eq!(isolate(50).0, 101);
        let (requests, sent) = isolate(1000);
        assert!(requests <= 2000 && sent < 150_000, "{requests}, {sent}");
    }
}
