//! A bad target does not take its batch down: what to ask next after the provider has refused a batch.
//!
//! One bad target refuses a whole batch, and a refusal is free; an answer is what costs. So a refused batch is halved
//! until the bad target is alone, and each part is filled up with targets that nobody suspects, so that what is
//! answered and paid is a full request. A target counts as refused only when it was asked alone.
//!
//! With k bad targets among 1000 that are not named, halving costs about 2·k·log2(1000/k) requests more, nearly all of
//! them free: parts on one level of the tree are refused at most k times, and there are log2(1000/k) levels below the
//! one where each bad target has a part of its own.

use std::collections::{HashSet, VecDeque};

use crate::provider::{MAX_ROOT_DOMAINS, MAX_TARGETS};
use crate::targets::TargetId;

/// Targets of a refused batch that are still to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suspects {
    pub(super) targets: Vec<TargetId>,
    /// Whether it must be asked without others, because the answer is to be a verdict.
    pub(super) alone: bool,
}

/// What a refusal says of the batch's targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accused {
    /// It was asked alone: it is the one.
    Alone,
    /// The refusal names this one; it is only suspected, so that no innocent one is ever taken for bad.
    Named(usize),
    /// Some.
    Some,
    /// A field beside the targets: a defect.
    OtherField,
}

/// Reads what a refusal says. `text` gives a target as it was posted.
pub(super) fn accused<'a>(
    targets: &[TargetId],
    text: impl Fn(TargetId) -> &'a str,
    message: &str,
) -> Accused {
    // Before the parenthesis stands the field, in it the target, which may hold anything.
    let field = message.split('(').next().unwrap_or_default();
    if ["'include_subdomains'", "'rank_scale'", "'tag'"]
        .iter()
        .any(|name| field.contains(name))
    {
        return Accused::OtherField;
    }
    if targets.len() == 1 {
        return Accused::Alone;
    }
    // The longest that is found: `example.com` is found wherever `sub.example.com` is.
    let lengths = targets.iter().enumerate().filter_map(|(at, &target)| {
        let text = text(target);
        message.contains(text).then_some((text.len(), at))
    });
    lengths
        .max()
        .map_or(Accused::Some, |(_, at)| Accused::Named(at))
}

/// The targets of refused batches on their way to a verdict, and those that went along with them.
#[derive(Debug, Default)]
pub(super) struct Isolation {
    suspects: VecDeque<Suspects>,
    /// Targets that nobody suspects and that have lost their batch.
    pub(super) loose: Vec<TargetId>,
    /// Targets that were answered.
    good: u64,
    /// Targets that were refused alone.
    bad: u64,
    /// Batches that were refused though nobody suspected them.
    surprises: u64,
}

/// Expected bad targets among those that fill a batch up, at the most: else the filling is refused more often than it
/// saves.
const MAX_RISK: f64 = 0.2;

impl Isolation {
    /// Targets were answered.
    pub(super) fn answered(&mut self, targets: usize) {
        self.good += targets as u64;
    }

    /// A target was refused alone.
    pub(super) fn convicted(&mut self) {
        self.bad += 1;
    }

    /// A batch was refused whose first `suspects` targets were suspected already; none if nobody was.
    pub(super) fn refused(
        &mut self,
        mut targets: Vec<TargetId>,
        suspects: usize,
        named: Option<usize>,
    ) {
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
            });
            known -= usize::from(at < known);
        }
        self.loose.extend(targets.drain(known..));
        match (named, targets.len()) {
            (_, 0) => {}
            // Refused in company: alone it gets its verdict.
            (None, 1) => self.suspects.push_back(Suspects {
                targets,
                alone: true,
            }),
            // The one that was named may have been the only one.
            (Some(_), _) => self.suspects.push_back(Suspects {
                targets,
                alone: false,
            }),
            (None, _) => self.halve(targets),
        }
    }

    /// Both halves are to be asked.
    pub(super) fn halve(&mut self, mut targets: Vec<TargetId>) {
        let right = targets.split_off(targets.len() / 2);
        for targets in [targets, right] {
            self.suspects.push_back(Suspects {
                targets,
                alone: false,
            });
        }
    }

    /// The next targets to be asked for their verdict.
    pub(super) fn next(&mut self) -> Option<Suspects> {
        self.suspects.pop_front()
    }

    /// How many targets may fill a part up: no more than are likely to be good.
    fn allowed(&self) -> usize {
        let bad = self.bad.max(self.surprises).max(1) as f64;
        let share =
            bad / (self.good + self.bad + MAX_TARGETS as u64 * self.surprises).max(1) as f64;
        (MAX_RISK / share) as usize
    }

    /// How many more targets fit to these suspects.
    pub(super) fn room(&self, suspects: &Suspects) -> usize {
        if suspects.alone {
            0
        } else {
            (MAX_TARGETS - suspects.targets.len()).min(self.allowed())
        }
    }

    /// Moves loose targets to a batch until it is full.
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

    /// All targets that have not been asked to an end.
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
    fn a_refusal_accuses_whom_it_names() {
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
                Accused::Named(at)
            );
        }
        assert_eq!(accused("Invalid Field: 'targets'."), Accused::Some);
        assert_eq!(accused("Invalid Field: 'rank_scale'."), Accused::OtherField);
        assert_eq!(
            accused("40501 Invalid Field: 'target' (https://x.com/a'tag'b)."),
            Accused::Some
        );
        assert_eq!(
            super::accused(&ids[..1], |_| "a.com", "Invalid Field: 'targets'."),
            Accused::Alone
        );
    }

    /// Asks until all have their verdict; returns requests that were refused and such that were paid.
    fn isolate(targets: u32, company: u32, bad: &HashSet<u32>) -> (u32, u32, HashSet<u32>) {
        let mut isolation = Isolation::default();
        isolation
            .loose
            .extend((targets..targets + company).map(TargetId));
        isolation.answered(100_000);
        isolation.refused((0..targets).map(TargetId).collect(), 0, None);
        let (mut refused, mut paid, mut convicted) = (0, 0, HashSet::new());
        let mut answered = Vec::new();
        while let Some(suspects) = isolation.next() {
            let (known, room) = (suspects.targets.len(), isolation.room(&suspects));
            let mut batch = suspects.targets;
            isolation.fill(&mut batch, room, |target| target.0 % 50);
            assert!(batch.len() <= MAX_TARGETS);
            if !batch.iter().any(|target| bad.contains(&target.0)) {
                paid += 1;
                isolation.answered(batch.len());
                answered.extend(batch);
            } else if let [alone] = batch[..] {
                refused += 1;
                isolation.convicted();
                assert!(convicted.insert(alone.0));
            } else {
                refused += 1;
                isolation.refused(batch, known, None);
            }
        }
        let mut all: Vec<u32> = answered
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
    fn bad_targets_are_found_within_the_bound_and_good_ones_travel_in_full_requests() {
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
                // 999 good ones and their company, in full requests.
                assert!(
                    paid <= 11 && refused <= 12,
                    "{refused} refused, {paid} paid"
                );
            }
        }
    }
}
