//! What to do after an attempt: a pure function of what result, how often it was tried, and whether it may have been
//! charged.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::clock::to_next_minute;
use crate::ledger::{AttemptResult, Charged};
use crate::provider::{StatusClass, code};

/// How often a batch was tried, by why it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tries {
    /// The request never left.
    pub unsent: u32,
    /// Trouble of the server that was not charged.
    pub free: u32,
    /// Failures that were charged or may have been.
    pub paid: u32,
    /// Over the account's limits.
    pub waits: u32,
}

impl Tries {
    /// Counts a try by what came of it.
    pub fn count(&mut self, result: AttemptResult, charged: Charged) {
        let counter = match (result, result.class(), charged) {
            (AttemptResult::NotSent, ..) => &mut self.unsent,
            (_, StatusClass::RatePerMinute | StatusClass::TooManyAtOnce, _) => &mut self.waits,
            (.., Charged::No) => &mut self.free,
            (.., Charged::Yes | Charged::Unknown) => &mut self.paid,
        };
        *counter += 1;
    }
}

/// What a decision depends on besides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryContext {
    /// The time.
    pub now: DateTime<Utc>,
    /// A random number from 0 to 1.
    pub jitter: f64,
    /// How long the provider asks to wait, if it does.
    pub asked: Option<Duration>,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The answer counts.
    Done,
    /// Try again after this long.
    Retry(Duration),
    /// The provider refuses a target of the batch: find out which.
    Isolate,
    /// The batch is too much for the provider: ask in halves.
    Halve,
    /// The provider refuses the batch as a whole.
    Refused,
    /// The tries are used up.
    GiveUp,
    /// The whole run must stop: the account, or a defect of this program.
    Stop,
}

/// How often and after how long to try again.
///
/// | what result | tries | wait before the next |
/// |---|---|---|
/// | no connection: nothing left, nothing is paid | `max_unsent` | doubling from `base` to `longest` |
/// | server trouble that was not charged | `max_attempts` | the same |
/// | no whole answer, a failure under HTTP 5xx, a billed failure: charged, or perhaps | `max_paid` | the same from 4 × `base` |
/// | a body that is no answer, 50304 | 3 | the same |
/// | a body that is too large | 1 | none: it would be as large again |
/// | 40202, HTTP 429 | `max_waits` | until the next minute |
/// | 40209 | `max_waits` | doubling; the pacer sends fewer at once |
/// | 50401: over 120 s | 2 | doubling; then the batch is asked in halves |
/// | 40501, 40407: a bad target | - | none: it is isolated |
/// | any other 4xxxx | - | none: the batch has failed |
/// | account, defect, posted too often | - | none: the run stops |
///
/// A failure that may have been charged is repeated all the same, because its answer is not to be had in any other way;
/// its ledger entry says `charged: unknown` until the provider's list of tasks settles it. Waiting for the account's
/// limits uses up no try against trouble. Every wait is drawn between half and all of the stated time, so that many
/// batches do not return at once; one that the provider asks for (`Retry-After`) is kept instead if it is longer, from
/// `FLOOR` to `CEILING`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries of one batch to get a request out at all.
    pub max_unsent: u32,
    /// Tries of one batch against trouble of the server that was not charged.
    pub max_attempts: u32,
    /// Tries of one batch that were charged, or may have been, and brought nothing.
    pub max_paid: u32,
    /// Tries of one batch against the account's limits.
    pub max_waits: u32,
    /// The first wait.
    pub base: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_unsent: 12,
            max_attempts: 8,
            max_paid: 5,
            max_waits: 30,
            base: Duration::from_secs(2),
            longest: Duration::from_secs(120),
        }
    }
}

/// Tries against trouble that rarely passes.
const FEW_TRIES: u32 = 3;
/// Tries of a task that takes too long, before it is halved.
const TRIES_BEFORE_HALVING: u32 = 2;
/// The shortest wait that the provider may ask for.
pub(super) const FLOOR: Duration = Duration::from_secs(1);
/// The longest wait that the provider may ask for.
pub(super) const CEILING: Duration = Duration::from_secs(15 * 60);

impl RetryPolicy {
    /// Decides what follows a try, which `tries` counts already.
    #[must_use]
    pub fn decide(
        &self,
        result: AttemptResult,
        tries: Tries,
        charged: Charged,
        context: RetryContext,
    ) -> Decision {
        let asked = context
            .asked
            .map_or(Duration::ZERO, |asked| asked.clamp(FLOOR, CEILING));
        let spread = |wait: Duration| {
            wait.mul_f64(0.5 + 0.5 * context.jitter.clamp(0.0, 1.0))
                .max(asked)
        };
        let doubling = |tries: u32| {
            let factor = 2_u32.saturating_pow(tries.saturating_sub(1).min(16));
            spread(self.base.saturating_mul(factor).min(self.longest))
        };
        let within = |tries: u32, most: u32, wait: Duration| {
            if tries < most {
                Decision::Retry(wait)
            } else {
                Decision::GiveUp
            }
        };
        let paid = charged != Charged::No;
        match (result, result.class()) {
            (_, StatusClass::Success) => Decision::Done,
            (AttemptResult::NotSent, _) => {
                within(tries.unsent, self.max_unsent, doubling(tries.unsent))
            }
            (AttemptResult::TooLarge, _) => Decision::GiveUp,
            (AttemptResult::Status(code::INVALID_FIELD | code::DUPLICATE), _) => Decision::Isolate,
            (AttemptResult::Status(code::TASK_TIMEOUT), _)
                if tries.free + tries.paid >= TRIES_BEFORE_HALVING =>
            {
                Decision::Halve
            }
            (_, StatusClass::ServerFewTries) => {
                let failures = tries.free + tries.paid;
                within(
                    failures,
                    self.max_attempts.min(FEW_TRIES),
                    doubling(failures),
                )
            }
            (_, StatusClass::Server) if paid => {
                within(tries.paid, self.max_paid, doubling(tries.paid + 2))
            }
            (_, StatusClass::Server) => within(tries.free, self.max_attempts, doubling(tries.free)),
            (_, StatusClass::TooManyAtOnce) => {
                within(tries.waits, self.max_waits, doubling(tries.waits))
            }
            (_, StatusClass::RatePerMinute) => within(
                tries.waits,
                self.max_waits,
                (to_next_minute(context.now) + spread(self.base)).max(asked),
            ),
            (_, StatusClass::BatchRefused) => Decision::Refused,
            (_, StatusClass::Account | StatusClass::Defect | StatusClass::PostedTooOften) => {
                Decision::Stop
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The 20 seconds before a full minute, without luck.
    fn context() -> RetryContext {
        RetryContext {
            now: DateTime::from_timestamp(1_790_000_080, 0).unwrap(),
            jitter: 1.0,
            asked: None,
        }
    }

    fn decide(result: AttemptResult, charged: Charged, times: u32) -> Decision {
        let mut tries = Tries::default();
        (0..times).for_each(|_| tries.count(result, charged));
        RetryPolicy::default().decide(result, tries, charged, context())
    }

    /// How often it is tried in all, how long is waited in all, and what comes then.
    fn to_the_end(result: AttemptResult, charged: Charged) -> (u32, Duration, Decision) {
        let mut waited = Duration::ZERO;
        for tries in 1.. {
            match decide(result, charged, tries) {
                Decision::Retry(wait) => waited += wait,
                end => return (tries, waited, end),
            }
            assert!(tries < 100, "{result:?} is tried for ever");
        }
        unreachable!()
    }

    #[test]
    fn every_code_of_the_provider_has_its_decision() {
        for code in 20000..60000 {
            let (tries, waited, end) = to_the_end(AttemptResult::Status(code), Charged::No);
            let expected = match code {
                20000 => (1, Decision::Done),
                40501 | 40407 => (1, Decision::Isolate),
                40202 | 40209 => (30, Decision::GiveUp),
                40100 | 40104 | 40200 | 40201 | 40203 | 40204 | 40205 | 40206 | 40207 | 40210 => {
                    (1, Decision::Stop)
                }
                40000 | 40006 | 40400 | 40402 | 40502 | 40503 | 40506 | 50100 => {
                    (1, Decision::Stop)
                }
                50304 => (3, Decision::GiveUp),
                50401 => (2, Decision::Halve),
                40103 | 50000.. => (8, Decision::GiveUp),
                _ => (1, Decision::Refused),
            };
            assert_eq!((tries, end), expected, "{code}");
            assert!(waited < Duration::from_secs(3600), "{code}: {waited:?}");
        }
    }

    #[test]
    fn every_http_status_without_an_answer_and_every_way_a_connection_fails_has_its_decision() {
        for status in 100..=599 {
            for charged in [Charged::No, Charged::Unknown] {
                let expected = match (status, charged) {
                    (200..=299 | 408 | 425 | 500..=599, Charged::No) => (8, Decision::GiveUp),
                    (200..=299 | 408 | 425 | 500..=599, _) => (5, Decision::GiveUp),
                    (429, _) => (30, Decision::GiveUp),
                    _ => (1, Decision::Stop),
                };
                let (tries, _, end) = to_the_end(AttemptResult::HttpStatus(status), charged);
                assert_eq!((tries, end), expected, "HTTP {status}, charged {charged:?}");
            }
        }
        for (result, charged, tries) in [
            (AttemptResult::NotSent, Charged::No, 12),
            (AttemptResult::NoResponse, Charged::Unknown, 5),
            (AttemptResult::Malformed, Charged::Unknown, 3),
            (AttemptResult::TooLarge, Charged::Unknown, 1),
            // A failed task can be billed.
            (AttemptResult::Status(50000), Charged::Yes, 5),
        ] {
            let (tried, waited, end) = to_the_end(result, charged);
            assert_eq!((tried, end), (tries, Decision::GiveUp), "{result:?}");
            assert!(
                tried == 1 || waited >= Duration::from_secs(6),
                "{result:?}: {waited:?}"
            );
        }
    }

    #[test]
    fn waiting_for_a_limit_uses_up_no_try_against_trouble() {
        let mut tries = Tries::default();
        (0..29).for_each(|_| tries.count(AttemptResult::Status(40209), Charged::No));
        tries.count(AttemptResult::Status(50000), Charged::No);
        let decision = RetryPolicy::default().decide(
            AttemptResult::Status(50000),
            tries,
            Charged::No,
            context(),
        );
        assert!(matches!(decision, Decision::Retry(_)), "{decision:?}");
    }

    #[test]
    fn over_the_limit_per_minute_the_next_minute_is_awaited() {
        let decision = decide(AttemptResult::Status(40202), Charged::No, 1);
        assert_eq!(decision, Decision::Retry(Duration::from_secs(22)));
    }

    #[test]
    fn what_the_provider_asks_for_is_kept_within_bounds() {
        let mut tries = Tries::default();
        tries.count(AttemptResult::Status(50000), Charged::No);
        for (asked, wait) in [(0, 2), (1, 2), (60, 60), (86_400, 900)] {
            let context = RetryContext {
                asked: Some(Duration::from_secs(asked)),
                ..context()
            };
            let decision = RetryPolicy::default().decide(
                AttemptResult::Status(50000),
                tries,
                Charged::No,
                context,
            );
            assert_eq!(
                decision,
                Decision::Retry(Duration::from_secs(wait)),
                "{asked}"
            );
        }
    }
}
