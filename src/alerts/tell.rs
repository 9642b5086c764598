//! Decides what is told tonight: what is new or has become worse. The rest is quiet for a while.

use std::collections::HashMap;

use chrono::{Days, NaiveDate};
use serde::{Deserialize, Serialize};

use super::alert::Finding;
use super::rule::Rule;

/// How many times as far an alert must go to be told again before its time.
pub(super) const WORSE: f64 = 2.0;
/// The most entries that are remembered.
const MOST: usize = 20_000;

/// What was told of a subject, as the lake remembers it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// The rule.
    pub(super) rule: Rule,
    /// Identifies it among the alerts of its rule.
    pub(super) key: String,
    /// The first night of an unbroken row of nights.
    pub(super) since: NaiveDate,
    /// The last night on which the rule alerted.
    pub(super) seen: NaiveDate,
    /// The night on which it was told.
    pub(super) told: NaiveDate,
    /// How far it went when it was told.
    pub(super) magnitude: f64,
}

/// A finding, and since when it is known.
#[derive(Debug)]
pub(super) struct Telling {
    pub(super) finding: Finding,
    pub(super) since: NaiveDate,
    /// Tonight, or the night on which it was told before.
    pub(super) told: NaiveDate,
}

/// For how long something is remembered, and for how long it is quiet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) quiet_nights: u32,
    pub(super) nights: u32,
}

/// What is told tonight and what is quiet, and the memory after it. `before` is the memory of the
/// last earlier night that has one.
pub(super) fn tell(
    mut findings: Vec<Finding>,
    before: (Option<NaiveDate>, Vec<Memory>),
    tonight: NaiveDate,
    patience: Patience,
) -> (Vec<Telling>, Vec<Memory>) {
    let (last, memory) = before;
    let mut known: HashMap<(Rule, String), Memory> = memory
        .into_iter()
        .map(|memory| ((memory.rule, memory.key.clone()), memory))
        .collect();
    findings.sort_by(Finding::order);
    let forgotten = ago(tonight, patience.nights.max(patience.quiet_nights));
    // A slow change of what was told to have changed at once is not news.
    findings.retain(|finding| {
        let Some(sudden) = sudden_of(finding.rule) else {
            return true;
        };
        let was = known.get(&(sudden, finding.key()));
        was.is_none_or(|memory| memory.told < forgotten)
    });
    let quiet_since = ago(tonight, patience.quiet_nights);
    let mut tellings = Vec::with_capacity(findings.len());
    for finding in findings {
        let at = (finding.rule, finding.key());
        let was = known.get(&at).filter(|memory| memory.told < tonight);
        let goes_on = was.filter(|memory| Some(memory.seen) == last);
        let since = goes_on.map_or(tonight, |memory| memory.since);
        let is_quiet = was.filter(|memory| {
            memory.told >= quiet_since && finding.magnitude < WORSE * memory.magnitude
        });
        let (told, magnitude) = match is_quiet {
            Some(memory) => (memory.told, memory.magnitude),
            None => (tonight, finding.magnitude),
        };
        let memory = Memory {
            rule: finding.rule,
            key: at.1.clone(),
            since,
            seen: tonight,
            told,
            magnitude,
        };
        known.insert(at, memory);
        tellings.push(Telling {
            finding,
            since,
            told,
        });
    }
    let mut memory: Vec<_> = known.into_values().collect();
    memory.retain(|memory| memory.told >= forgotten);
    memory.sort_by(|left, right| {
        let newest = right.told.cmp(&left.told);
        newest.then_with(|| (left.rule, &left.key).cmp(&(right.rule, &right.key)))
    });
    memory.truncate(MOST);
    (tellings, memory)
}

fn ago(date: NaiveDate, days: u32) -> NaiveDate {
    let before = date.checked_sub_days(Days::new(days.into()));
    before.unwrap_or(NaiveDate::MIN)
}

/// The rule for the same change in one night.
fn sudden_of(rule: Rule) -> Option<Rule> {
    match rule {
        Rule::SlowLoss => Some(Rule::DomainsLost),
        Rule::SlowGain => Some(Rule::DomainsGained),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::Subject;

    fn finding(magnitude: f64) -> Finding {
        Finding {
            rule: Rule::DomainsLost,
            subject: Subject::Domain("example.com".to_owned()),
            detail: None,
            before: None,
            after: None,
            magnitude,
            weight: magnitude,
            pages: 0,
            what: String::new(),
        }
    }

    /// On which of these nights an alert is told, and since when it is then said to last. `None` is a
    /// night without it.
    fn told(nights: &[Option<f64>]) -> Vec<(usize, u64)> {
        let first = NaiveDate::from_ymd_opt(2026, 11, 1).unwrap();
        let (mut last, mut memory, mut told) = (None, Vec::new(), Vec::new());
        for (night, magnitude) in nights.iter().enumerate() {
            let tonight = first + Days::new(night as u64);
            let findings = magnitude.iter().map(|size| finding(*size)).collect();
            let patience = Patience {
                quiet_nights: 7,
                nights: 28,
            };
            let found = tell(findings, (last, memory), tonight, patience);
            (last, memory) = (Some(tonight), found.1);
            for telling in found.0.iter().filter(|telling| telling.told == tonight) {
                told.push((night, (telling.since - first).num_days() as u64));
            }
        }
        told
    }

    #[test]
    fn an_alert_is_told_once_and_again_after_a_week_or_if_it_is_twice_as_bad() {
        // It is quiet for seven nights.
        assert_eq!(told(&[Some(1.0); 10]), [(0, 0), (8, 0)]);
        let worse = [Some(1.0), Some(1.9), Some(2.0), Some(3.9), Some(4.0)];
        assert_eq!(told(&worse), [(0, 0), (2, 0), (4, 0)]);
        // It comes and goes, and is told no more often. It lasts since it came back.
        let flickering = [Some(1.0), None, Some(1.0), None, Some(1.0)];
        assert_eq!(told(&flickering), [(0, 0)]);
        let mut back = vec![Some(1.0), None, None, None, None, None, Some(1.0)];
        back.extend([Some(1.0); 2]);
        assert_eq!(told(&back), [(0, 0), (8, 6)]);
    }

    #[test]
    fn a_slow_change_of_what_was_told_at_once_is_not_told() {
        let tonight = NaiveDate::from_ymd_opt(2026, 11, 23).unwrap();
        let patience = Patience {
            quiet_nights: 7,
            nights: 28,
        };
        let slow = || Finding {
            rule: Rule::SlowLoss,
            ..finding(0.3)
        };
        let (_, memory) = tell(vec![finding(0.3)], (None, Vec::new()), tonight, patience);
        for (days, told) in [(10, 0), (28, 0), (29, 1)] {
            let before = (Some(tonight), memory.clone());
            let found = tell(vec![slow()], before, tonight + Days::new(days), patience);
            assert_eq!(found.0.len(), told, "{days}");
        }
    }
}
