//! What an attempt means for its batch: a pure function of the retry decision and the size of the
//! batch.
//!
//! The outcome goes into the `requests` table, the next step to the dispatcher, and both come from
//! here, so they cannot disagree.

use std::time::Duration;

use super::accused::Accused;
use super::retry::Decision;
use crate::ledger::{AttemptResult, Outcome};
use crate::provider::code;

/// How often a batch is halved because the provider takes too long for it. A full batch ends as at
/// most 16 parts.
const MAX_HALVINGS: u8 = 4;

/// What happens to the batch of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The response counts: the batch is complete.
    Complete,
    /// The batch is sent again after this wait.
    Retry(Duration),
    /// The targets are asked for in parts, to find the refused ones.
    Isolate {
        /// The index of the target that the refusal names, if it names one.
        named: Option<usize>,
    },
    /// The targets are asked for in halves, because the batch takes too long.
    Halve,
    /// The provider refuses the only target.
    Refuse,
    /// The targets have failed.
    Fail,
    /// The whole run stops, and the targets count as unsent.
    StopRun {
        /// The result that is the reason. Not always the attempt's own: a refused field is a
        /// defect.
        reason: AttemptResult,
    },
}

/// How an attempt ended, and what happens to its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) outcome: Outcome,
    pub(super) next: Next,
}

impl Verdict {
    /// Whether the targets of the batch need no further attempt.
    pub(super) fn done(self) -> bool {
        match self.next {
            Next::Complete | Next::Refuse | Next::Fail => true,
            Next::Retry(_) | Next::Isolate { .. } | Next::Halve | Next::StopRun { .. } => false,
        }
    }
}

/// The batch of an attempt, as far as the verdict depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchSize {
    /// The number of targets, at least 1.
    pub(super) targets: usize,
    /// How often the batch was halved before.
    pub(super) halvings: u8,
}

/// Decides what an attempt means for its batch.
///
/// | decision | batch | outcome | next |
/// |---|---|---|---|
/// | `Done` | any | ok | complete |
/// | `Retry` | any | retried; ambiguous without a response | retry |
/// | `Isolate`, another field is accused | any | failed | stop the run: a defect |
/// | `Isolate` | one target | refused | refuse |
/// | `Isolate` | several targets | split | isolate |
/// | `Halve` | several targets, halved fewer than 4 times | split | halve |
/// | `Halve` | any other | failed | fail |
/// | `GiveUp` | any | failed; ambiguous without a response | fail |
/// | `Stop` | any | failed | stop the run |
pub(super) fn verdict(
    decision: Decision,
    accused: Accused,
    result: AttemptResult,
    batch: BatchSize,
) -> Verdict {
    let several = batch.targets > 1;
    let unless_ambiguous = |outcome: Outcome| {
        if result == AttemptResult::NoResponse {
            Outcome::Ambiguous
        } else {
            outcome
        }
    };
    let (outcome, next) = match decision {
        Decision::Done => (Outcome::Ok, Next::Complete),
        Decision::Retry(wait) => (unless_ambiguous(Outcome::Retried), Next::Retry(wait)),
        Decision::Isolate => match accused {
            Accused::OtherField => {
                let reason = AttemptResult::Status(code::UNKNOWN_FIELD);
                (Outcome::Failed, Next::StopRun { reason })
            }
            _ if !several => (Outcome::Refused, Next::Refuse),
            Accused::Target(at) => (Outcome::Split, Next::Isolate { named: Some(at) }),
            Accused::Unnamed => (Outcome::Split, Next::Isolate { named: None }),
        },
        Decision::Halve if several && batch.halvings < MAX_HALVINGS => {
            (Outcome::Split, Next::Halve)
        }
        Decision::Halve => (Outcome::Failed, Next::Fail),
        Decision::GiveUp => (unless_ambiguous(Outcome::Failed), Next::Fail),
        Decision::Stop => (Outcome::Failed, Next::StopRun { reason: result }),
    };
    Verdict { outcome, next }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::super::retry::{RetryContext, RetryPolicy, Tries};
    use super::*;
    use crate::ledger::Charged;

    /// Every result that an attempt can have.
    fn results() -> impl Iterator<Item = AttemptResult> {
        let without_response = [
            AttemptResult::NotSent,
            AttemptResult::NoResponse,
            AttemptResult::Malformed,
            AttemptResult::TooLarge,
        ];
        let codes = (20000..60000).map(AttemptResult::Status);
        let statuses = (100..600).map(AttemptResult::HttpStatus);
        codes.chain(statuses).chain(without_response)
    }

    /// The decision about the first try, and about one after which no tries are left.
    fn decisions(result: AttemptResult) -> [Decision; 2] {
        let context = RetryContext {
            now: DateTime::from_timestamp(1_790_000_080, 0).unwrap(),
            jitter: 1.0,
            requested_wait: None,
        };
        [1, 100].map(|times| {
            let mut tries = Tries::default();
            (0..times).for_each(|_| tries.count(result, Charged::Unknown));
            RetryPolicy::default().decide(result, tries, Charged::Unknown, context)
        })
    }

    fn check(decision: Decision, accused: Accused, result: AttemptResult, batch: BatchSize) {
        let verdict = verdict(decision, accused, result, batch);
        let Verdict { outcome, next } = verdict;
        let case = || format!("{result:?} {decision:?} {accused:?} {batch:?}: {verdict:?}");
        let (outcomes, done): (&[Outcome], bool) = match next {
            Next::Complete => (&[Outcome::Ok], true),
            Next::Retry(_) => (&[Outcome::Retried, Outcome::Ambiguous], false),
            Next::Isolate { .. } | Next::Halve => (&[Outcome::Split], false),
            Next::Refuse => (&[Outcome::Refused], true),
            Next::Fail => (&[Outcome::Failed, Outcome::Ambiguous], true),
            Next::StopRun { .. } => (&[Outcome::Failed], false),
        };
        assert!(outcomes.contains(&outcome), "{}", case());
        assert_eq!(verdict.done(), done, "{}", case());
        assert_eq!(
            outcome == Outcome::Ambiguous,
            result == AttemptResult::NoResponse,
            "only a missing response is ambiguous: {}",
            case()
        );
        match next {
            Next::Complete => assert_eq!(decision, Decision::Done, "{}", case()),
            Next::Isolate { .. } => assert!(batch.targets > 1, "{}", case()),
            Next::Halve => assert!(
                batch.targets > 1 && batch.halvings < MAX_HALVINGS,
                "{}",
                case()
            ),
            Next::Refuse => assert_eq!(batch.targets, 1, "{}", case()),
            Next::Retry(wait) => assert_eq!(decision, Decision::Retry(wait), "{}", case()),
            Next::StopRun { reason } => {
                assert!(
                    reason == result || accused == Accused::OtherField,
                    "{}",
                    case()
                )
            }
            Next::Fail => {}
        }
    }

    #[test]
    fn outcome_and_next_step_agree_for_every_status_and_every_batch() {
        let kinds = [Accused::Target(0), Accused::Unnamed, Accused::OtherField];
        for result in results() {
            for decision in decisions(result) {
                for targets in [1, 2, 1000] {
                    for halvings in 0..=MAX_HALVINGS {
                        let batch = BatchSize { targets, halvings };
                        for accused in kinds {
                            check(decision, accused, result, batch);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_stop_fails_the_attempt_and_leaves_its_targets_unsent() {
        let batch = BatchSize {
            targets: 10,
            halvings: 0,
        };
        let result = AttemptResult::Status(code::OUT_OF_FUNDS);
        let verdict = verdict(Decision::Stop, Accused::Unnamed, result, batch);
        assert_eq!(verdict.outcome, Outcome::Failed);
        assert_eq!(verdict.next, Next::StopRun { reason: result });
        assert!(!verdict.done());
    }

    #[test]
    fn a_missing_response_stays_ambiguous_when_the_tries_are_used_up() {
        let batch = BatchSize {
            targets: 10,
            halvings: 0,
        };
        let result = AttemptResult::NoResponse;
        let verdict = verdict(Decision::GiveUp, Accused::Unnamed, result, batch);
        assert_eq!(
            (verdict.outcome, verdict.next),
            (Outcome::Ambiguous, Next::Fail)
        );
        assert!(verdict.done());
    }
}
