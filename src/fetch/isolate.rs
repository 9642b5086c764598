//! Finds the targets that the provider refuses, so that the rest of their batch is still fetched.
//!
//! One bad target makes the provider refuse the whole batch. A refusal is free; a response costs
//! nearly the same for 1 target as for 1000. So what counts is the number of *responses* that the
//! search needs, and refusals are used to keep it low:
//!
//! - A refused batch is not halved, because each half would be paid for in one of two cases. Most
//!   of it is asked for, as much as has one chance in 16 to be good. If it is refused, what was left
//!   out is probably good and is set aside. If it is returned, a large request was paid for, and
//!   what was left out has the bad target.
//! - What is set aside waits until it fills requests: either to the end, or until it is so much that
//!   it probably has a bad target of its own and may be searched in the same way.
//! - How much that is follows from the share of bad targets so far ([`Density`]).
//!
//! A target counts as refused only if it was asked for alone.
//!
//! No search can do much better. A search that sends n requests, of which m are paid for, has at
//! most C(n, 0) + … + C(n, m) results, and there are C(N, k) ways in which k of N targets can be
//! bad. With one chance in 16, each bad target among 1000 takes about 35 requests, and 1 to 2 of
//! them are paid for. Halving takes 10 and pays for 5.
//!
//! Refusals that name a target make this unnecessary: the named target is asked for alone, and the others together.
//! Names stop counting once more than [`WRONG_NAMES`] more of them were wrong than right.

use std::collections::{HashMap, HashSet, VecDeque};
use std::f64::consts::LN_2;

use super::density::Density;
use crate::provider::{MAX_ROOT_DOMAINS, MAX_TARGETS};
use crate::targets::TargetId;

/// What refusals say about a set of targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Perhaps all are good: they are asked for together.
    Open,
    /// At least one is bad.
    Refused,
}

/// Targets of a refused batch that are not asked for again yet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Suspects {
    targets: Vec<TargetId>,
    state: State,
    /// How many others of their group refusals have named.
    named_before: usize,
}

/// Suspects to ask for in the next request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) targets: Vec<TargetId>,
    /// What is left out, to be handed to [`Isolation::keep_left_out`].
    pub(super) left_out: Vec<TargetId>,
    /// Whether the only target must be asked for alone, so that the result is certain.
    alone: bool,
    /// How many others of their group refusals have named.
    pub(super) named_before: usize,
}

/// The suspects of refused batches, and the targets that lost their batch with them.
pub(super) struct Isolation<'a> {
    root_of: Box<dyn Fn(TargetId) -> u32 + 'a>,
    suspects: VecDeque<Suspects>,
    /// Targets that are probably good and have lost their batch.
    pub(super) loose: Vec<TargetId>,
    /// Targets that no refused request has asked for: only these fill up parts, because a bad one
    /// among them would make every part look bad.
    pub(super) fresh: Vec<TargetId>,
    /// What was left out of the requests in flight, by batch.
    left_out: HashMap<u32, Vec<TargetId>>,
    density: Density,
    /// How many requests were refused since the last one that has a response.
    in_a_row: u64,
    /// Targets that a refusal has named and that have no end yet.
    accused: HashSet<TargetId>,
    /// How many named targets were returned when they were asked for alone.
    named_wrongly: u64,
    /// How many were refused.
    named_rightly: u64,
}

/// The chance that a part is good, one in so many. At this chance, one paid response is worth about
/// 30 refusals.
const CHANCE: f64 = 16.0;
/// The highest expected number of bad targets among those that fill up a part. If one of them gets
/// the part refused, the search is misled.
const MAX_RISK: f64 = 0.01;
/// So many loose targets fill requests as well as all would.
const MANY_LOOSE: usize = 20 * MAX_TARGETS;
/// How many more names may be wrong than right before names no longer count.
const WRONG_NAMES: u64 = 2;
/// A group is dense if refusals have named at least this many of its targets, and more than one for
/// each [`DENSE_SHARE`] of its rest. It is halved although each refusal names a target: removing
/// named targets one by one sends the rest once for each.
const DENSE_NAMES: usize = 16;
/// See [`DENSE_NAMES`].
const DENSE_SHARE: usize = 8;
/// Refusals in a row between two looks at a batch without suspects.
const ROW_WITHOUT_A_LOOK: u64 = 64;
/// Refusals in a row with an unknown code after which the targets are probably not the cause.
const HOPELESS_ROW: u64 = 500;

/// What it takes to find refused targets, in addition to the requests of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Search {
    /// Requests.
    pub requests: u64,
    /// Those among them that are paid for.
    pub responses: u64,
}

impl Search {
    /// What to expect for so many targets that refusals name, and so many that they do not name, as
    /// measured with 1 to 100 among 5000.
    #[must_use]
    pub fn expected(named: u64, unnamed: u64) -> Self {
        Self {
            requests: 2 * named + 35 * unnamed,
            responses: (unnamed * 17).div_ceil(10),
        }
    }
}

/// Whether refusals have named so many targets of a group that its rest is probably as bad.
fn is_dense(named: usize, rest: usize) -> bool {
    named >= DENSE_NAMES && named * DENSE_SHARE > rest
}

impl<'a> Isolation<'a> {
    /// Nothing is refused yet. `root_of` returns the root domain of a target.
    pub(super) fn new(root_of: impl Fn(TargetId) -> u32 + 'a) -> Self {
        Self {
            root_of: Box::new(root_of),
            suspects: VecDeque::new(),
            loose: Vec::new(),
            fresh: Vec::new(),
            left_out: HashMap::new(),
            density: Density::default(),
            in_a_row: 0,
            accused: HashSet::new(),
            named_wrongly: 0,
            named_rightly: 0,
        }
    }

    /// Keeps what is left out of a batch until the batch has ended.
    pub(super) fn keep_left_out(&mut self, batch: u32, left_out: Vec<TargetId>) {
        if !left_out.is_empty() {
            self.left_out.insert(batch, left_out);
        }
    }

    /// Sets aside what was left out of a batch, before everything else, so that neighbours stay
    /// neighbours.
    pub(super) fn set_aside(&mut self, batch: u32) {
        if let Some(left_out) = self.left_out.remove(&batch) {
            self.loose.splice(0..0, left_out);
        }
    }

    /// Counts the targets of a batch that has a response. What was left out of it has the bad one.
    pub(super) fn returned(&mut self, batch: u32, targets: &[TargetId]) {
        let roots = targets.iter().map(|&target| (self.root_of)(target));
        self.density.returned(roots);
        self.in_a_row = 0;
        if let &[alone] = targets {
            self.named_wrongly += u64::from(self.accused.remove(&alone));
        }
        if let Some(targets) = self.left_out.remove(&batch) {
            self.suspects.push_front(Suspects {
                targets,
                state: State::Refused,
                named_before: 0,
            });
        }
    }

    /// Counts a target that was refused alone.
    pub(super) fn refused_alone(&mut self, batch: u32, target: TargetId) {
        self.density.refused((self.root_of)(target));
        self.named_rightly += u64::from(self.accused.remove(&target));
        self.in_a_row += 1;
        self.set_aside(batch);
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
    /// were, all are now. Refusals have named `named_before` others of their group, and this one
    /// names the target at `named`.
    pub(super) fn refused(
        &mut self,
        batch: u32,
        mut targets: Vec<TargetId>,
        suspects: usize,
        named_before: usize,
        named: Option<usize>,
    ) {
        self.in_a_row += 1;
        self.set_aside(batch);
        let mut suspects = if suspects == 0 {
            targets.len()
        } else {
            suspects
        };
        let named = named.filter(|_| self.named_wrongly <= self.named_rightly + WRONG_NAMES);
        if let Some(at) = named {
            let target = targets.remove(at);
            self.accused.insert(target);
            self.suspects.push_front(Suspects {
                targets: vec![target],
                state: State::Refused,
                named_before: 0,
            });
            suspects -= usize::from(at < suspects);
        }
        // The rest only filled up the batch.
        self.loose.extend(targets.drain(suspects..));
        if targets.is_empty() {
            return;
        }
        let mut later = |targets, state, named_before| {
            self.suspects.push_back(Suspects {
                targets,
                state,
                named_before,
            });
        };
        if named.is_none() {
            later(targets, State::Refused, named_before);
        } else if targets.len() > 1 && is_dense(named_before + 1, targets.len()) {
            let right = targets.split_off(targets.len() / 2);
            later(targets, State::Open, named_before);
            later(right, State::Open, named_before);
        } else {
            // The named target may be the only bad one, so the others stay together.
            later(targets, State::Open, named_before + 1);
        }
    }

    /// The next suspects to ask for.
    pub(super) fn next(&mut self) -> Option<Part> {
        let Suspects {
            mut targets,
            state,
            named_before,
        } = self.suspects.pop_front()?;
        let refused = state == State::Refused;
        let alone = refused && targets.len() == 1;
        let left_out = if refused && !alone {
            targets.split_off(self.part_size(&targets))
        } else {
            Vec::new()
        };
        Some(Part {
            targets,
            left_out,
            alone,
            named_before,
        })
    }

    /// How many of the first targets of a refused set to ask for: as many as have the chance to be
    /// good, given that not all are.
    fn part_size(&self, targets: &[TargetId]) -> usize {
        let hazard = |&target: &TargetId| self.density.hazard((self.root_of)(target));
        let all: f64 = targets.iter().map(hazard).sum();
        let good = 1.0 / CHANCE + (1.0 - 1.0 / CHANCE) * (-all).exp();
        let size = self.count_reaching(targets.iter(), -good.ln());
        size.unwrap_or(targets.len()).min(targets.len() - 1)
    }

    /// How many of the first of these targets reach a hazard together; `None` if even all of them together do not. A
    /// first one that is probably refused is enough: asked for alone, it most likely ends for free.
    fn count_reaching<'t>(
        &self,
        targets: impl Iterator<Item = &'t TargetId>,
        hazard: f64,
    ) -> Option<usize> {
        let mut sum = 0.0;
        let mut hazards = targets.map(|&target| self.density.hazard((self.root_of)(target)));
        let reached = hazards.position(|of_one| {
            let is_first = sum == 0.0;
            sum += of_one;
            sum >= hazard || is_first && of_one >= LN_2
        });
        reached.map(|at| at + 1)
    }

    /// Loose targets for one request, if the first ones are so many that they probably have a bad
    /// target: waiting for more gains nothing.
    pub(super) fn probe(&mut self) -> Option<Part> {
        let first = self.loose.iter().take(MAX_TARGETS);
        let room = self.count_reaching(first, CHANCE.ln())?;
        let mut targets = Vec::new();
        move_fitting(&mut self.loose, &mut targets, room, &self.root_of);
        Some(Part {
            targets,
            left_out: Vec::new(),
            alone: false,
            named_before: 0,
        })
    }

    /// Whether there are so many loose targets that waiting for more gains nothing.
    pub(super) fn has_many_loose(&self) -> bool {
        self.loose.len() >= MANY_LOOSE
    }

    /// How many more targets may be asked for together with these suspects.
    pub(super) fn room(&self, part: &Part) -> usize {
        if part.alone {
            0
        } else {
            let allowed = (MAX_RISK / self.density.share()) as usize;
            (MAX_TARGETS - part.targets.len()).min(allowed)
        }
    }

    /// Fills up a batch with `room` fresh targets, or until its root domains are at their limit.
    pub(super) fn fill(&mut self, batch: &mut Vec<TargetId>, room: usize) {
        move_fitting(&mut self.fresh, batch, room, &self.root_of);
    }

    /// All targets that have not ended.
    pub(super) fn rest(self) -> impl Iterator<Item = TargetId> {
        self.loose
            .into_iter()
            .chain(self.fresh)
            .chain(self.left_out.into_values().flatten())
            .chain(
                self.suspects
                    .into_iter()
                    .flat_map(|suspects| suspects.targets),
            )
    }
}

/// Moves targets to a batch until `room` more are in it or its root domains are at their limit.
fn move_fitting(
    from: &mut Vec<TargetId>,
    batch: &mut Vec<TargetId>,
    mut room: usize,
    root_of: impl Fn(TargetId) -> u32,
) {
    if room == 0 {
        return;
    }
    let mut roots: HashSet<u32> = batch.iter().map(|&target| root_of(target)).collect();
    from.retain(|&target| {
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

#[cfg(test)]
mod tests;
