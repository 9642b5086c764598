//! The search is within its bounds, and no target is lost.

use super::*;

/// What it took until every target had an end.
#[derive(Debug, Clone, Copy, Default)]
struct Took {
    refused: u32,
    paid: u32,
    /// Targets in all requests.
    sent: usize,
}

/// The targets of a test: the first are asked for in batches of 1000, and all of them are refused
/// or returned. Each root domain has 40.
struct Search {
    targets: u32,
    /// Others that have lost their batch.
    company: u32,
    bad: HashSet<u32>,
    names: Names,
}

/// Which target of its request a refusal names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    Nothing,
    FirstBad,
    First,
    Last,
    AnyGood,
}

impl Names {
    /// The index of the named target.
    fn of(self, batch: &[TargetId], bad: &HashSet<u32>) -> Option<usize> {
        let is_bad = |target: &TargetId| bad.contains(&target.0);
        match self {
            Self::Nothing => None,
            Self::FirstBad => batch.iter().position(is_bad),
            Self::First => Some(0),
            Self::Last => Some(batch.len() - 1),
            Self::AnyGood => {
                let good = (0..batch.len()).filter(|at| !is_bad(&batch[*at]));
                let good: Vec<usize> = good.collect();
                let seed = batch.iter().map(|target| u64::from(target.0)).sum();
                fastrand::Rng::with_seed(seed).choice(good)
            }
        }
    }
}

impl Search {
    fn of(targets: u32, bad: impl IntoIterator<Item = u32>) -> Self {
        Self {
            targets,
            company: 0,
            bad: bad.into_iter().collect(),
            names: Names::Nothing,
        }
    }

    /// The next batch: its number, its targets, how many are suspects, and the names so far.
    fn next(&self, isolation: &mut Isolation<'_>) -> Option<(Vec<TargetId>, usize, Part)> {
        let next = isolation.next().or_else(|| isolation.probe());
        if let Some(part) = next {
            let (known, room) = (part.targets.len(), isolation.room(&part));
            let mut batch = part.targets.clone();
            isolation.fill(&mut batch, room);
            return Some((batch, known, part));
        }
        let mut batch = Vec::new();
        let mut rest: Vec<TargetId> = isolation.loose.drain(..).collect();
        rest.append(&mut isolation.fresh);
        move_fitting(&mut rest, &mut batch, MAX_TARGETS, |target| target.0 / 40);
        isolation.loose = rest;
        let part = Part {
            targets: Vec::new(),
            left_out: Vec::new(),
            alone: false,
            named_before: 0,
        };
        (!batch.is_empty()).then_some((batch, 0, part))
    }

    /// Asks until every target has an end.
    fn run(&self) -> Took {
        let mut isolation = Isolation::new(|target| target.0 / 40);
        let all: Vec<TargetId> = (0..self.targets).map(TargetId).collect();
        let mut planned: VecDeque<Vec<TargetId>> =
            all.chunks(MAX_TARGETS).map(<[TargetId]>::to_vec).collect();
        let company = self.targets..self.targets + self.company;
        isolation.fresh.extend(company.map(TargetId));
        // Enough responses before, so that company is allowed.
        let before = 100 * self.company;
        isolation.returned(u32::MAX, &vec![TargetId(u32::MAX); before as usize]);
        let (mut took, mut convicted) = (Took::default(), HashSet::new());
        let mut returned = Vec::new();
        for number in 0.. {
            let planned = planned.pop_front().map(|targets| {
                let part = Part {
                    targets: Vec::new(),
                    left_out: Vec::new(),
                    alone: false,
                    named_before: 0,
                };
                (targets, 0, part)
            });
            let Some((batch, known, part)) = planned.or_else(|| self.next(&mut isolation)) else {
                break;
            };
            let roots: HashSet<u32> = batch.iter().map(|target| target.0 / 40).collect();
            assert!(batch.len() <= MAX_TARGETS && roots.len() <= MAX_ROOT_DOMAINS);
            took.sent += batch.len();
            isolation.keep_left_out(number, part.left_out);
            let first_bad = batch.iter().position(|it| self.bad.contains(&it.0));
            match (first_bad, &batch[..]) {
                (None, _) => {
                    took.paid += 1;
                    isolation.returned(number, &batch);
                    returned.extend(batch);
                }
                (Some(_), &[alone]) => {
                    took.refused += 1;
                    isolation.refused_alone(number, alone);
                    assert!(convicted.insert(alone.0));
                }
                (at, _) => {
                    took.refused += 1;
                    let named = at.and_then(|_| self.names.of(&batch, &self.bad));
                    isolation.refused(number, batch, known, part.named_before, named);
                }
            }
        }
        assert_eq!(convicted, self.bad);
        let mut ended: Vec<u32> = returned.iter().map(|target| target.0).collect();
        ended.extend(isolation.rest().map(|target| target.0));
        ended.extend(&convicted);
        ended.sort_unstable();
        let everything: Vec<u32> = (0..self.targets + self.company).collect();
        assert_eq!(ended, everything, "every target has one end");
        took
    }
}

/// So many of `0..of`, at random.
fn some(count: usize, of: u32, seed: u64) -> HashSet<u32> {
    let mut all: Vec<u32> = (0..of).collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut all);
    all.into_iter().take(count).collect()
}

#[test]
fn bad_targets_are_found_within_the_bounds_and_few_requests_are_paid_for() {
    for count in [1, 2, 5, 20, 50, 200, 500, 1000] {
        for seed in 0..3 {
            for company in [0, 20_000] {
                let bad = some(count, 1000, seed);
                let search = Search {
                    company,
                    ..Search::of(1000, bad)
                };
                let took = search.run();
                let k = count as f64;
                let bits = k * (1000.0 / k).log2();
                let (requests, paid) = (8.0 * bits + 30.0 * k + 100.0, 0.25 * bits + 2.0 * k + 6.0);
                let case = format!("{count} bad, seed {seed}, company {company}: {took:?}");
                assert!(
                    f64::from(took.refused) <= requests,
                    "{case}, over {requests}"
                );
                let paid = paid + f64::from(company / 1000);
                assert!(f64::from(took.paid) <= paid, "{case}, over {paid}");
            }
        }
    }
}

#[test]
fn neighbours_that_are_all_bad_are_found_with_few_requests() {
    for (name, bad, most_refused, most_paid) in [
        ("40 in a row", (1234..1274).collect::<Vec<u32>>(), 450, 20),
        ("400 in a row", (1234..1634).collect(), 2500, 25),
        (
            "5 whole root domains",
            (0..5).flat_map(|n| n * 1000..n * 1000 + 40).collect(),
            800,
            25,
        ),
        ("everything", (0..5000).collect(), 17_000, 0),
    ] {
        let took = Search::of(5000, bad).run();
        assert!(
            took.refused <= most_refused && took.paid <= most_paid,
            "{name}: {took:?}"
        );
    }
}

#[test]
fn a_batch_of_bad_targets_that_are_named_is_not_sent_once_for_each() {
    let named = |bad: u32| {
        let search = Search {
            names: Names::FirstBad,
            ..Search::of(1000, 0..bad)
        };
        search.run()
    };
    // One request for each name and one for each conviction, and one that is paid for.
    let took = named(50);
    assert_eq!((took.refused, took.paid), (100, 1));
    let took = named(1000);
    assert!(took.refused <= 2000 && took.sent < 150_000, "{took:?}");
}

#[test]
fn names_that_are_wrong_cost_a_few_responses_and_then_no_longer_count() {
    for names in [Names::First, Names::Last, Names::AnyGood] {
        for (count, most) in [(1, 9), (5, 20), (50, 110)] {
            for seed in 0..5 {
                let search = Search {
                    names,
                    ..Search::of(1000, some(count, 1000, seed))
                };
                let took = search.run();
                assert!(
                    took.paid <= most,
                    "{names:?}, {count} bad, seed {seed}: {took:?}"
                );
            }
        }
    }
}

#[test]
fn what_is_left_out_of_a_request_that_never_ends_is_not_lost() {
    let mut isolation = Isolation::new(|target| target.0 / 40);
    isolation.refused(0, (0..1000).map(TargetId).collect(), 0, 0, None);
    let part = isolation.next().unwrap();
    assert!(part.targets.len() > 800 && part.targets.len() < 1000);
    let left = 1000 - part.targets.len();
    isolation.keep_left_out(1, part.left_out);
    assert_eq!(isolation.rest().count(), left);
}
