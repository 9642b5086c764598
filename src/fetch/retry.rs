//! Decides what to do after an attempt: a pure function of its result, the number of tries, and
//! whether it may have been charged.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::clock::to_next_minute;
use crate::ledger::{AttemptResult, Charged};
use crate::provider::StatusClass;

/// How often a batch was tried, by the reason of the failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tries {
    /// The request was never sent.
    pub unsent: u32,
    /// The server failed, and nothing was charged.
    pub free: u32,
    /// The attempt failed, and it was charged or may have been.
    pub paid: u32,
    /// The account's limits were exceeded.
    pub waits: u32,
}

impl Tries {
    /// Counts a try by its result.
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

/// What a decision depends on in addition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryContext {
    /// The current time.
    pub now: DateTime<Utc>,
    /// A random number from 0 to 1.
    pub jitter: f64,
    /// How long the provider asks to wait, if it does.
    pub requested_wait: Option<Duration>,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The response counts.
    Done,
    /// Retry after this wait.
    Retry(Duration),
    /// The provider refuses a target of the batch: find out which.
    Isolate,
    /// The batch takes the provider too long: ask for its halves.
    Halve,
    /// The tries are used up.
    GiveUp,
    /// The whole run must stop, because of the account or a defect of this program.
    Stop,
}

/// How often to retry, and after which wait.
///
/// | result | tries | wait before the next |
/// |---|---|---|
/// | no connection: nothing is sent, nothing is paid | `max_unsent` | doubling from `base` to `longest` |
/// | a failure of the server that was not charged | `max_attempts` | the same |
/// | no complete response, a failure with HTTP 5xx, a billed failure: charged or perhaps charged | `max_paid` | the same from 4 × `base` |
/// | a body that is not a response, 50304 | 3 | the same |
/// | a body that is too large | 1 | none: a retry would be as large |
/// | 40202, HTTP 429 | `max_waits` | until the next minute |
/// | 40209 | `max_waits` | doubling; the pacer sends fewer at once |
/// | 50401, 50402: more than 120 s | 2 | doubling; then the targets are asked for in halves |
/// | 40501, 40407, 40408: a bad target | - | none: it is isolated |
/// | an unknown 4xxxx that costs nothing | - | none: it may be a bad target, so it is isolated |
/// | an unknown 4xxxx that is or may be charged | 2 | doubling from 4 × `base` |
/// | account, defect, not the provider, posted too often | - | none: the run stops |
///
/// A failure that may have been charged is retried, too, because there is no other way to get the
/// response. Its attempt in the ledger has an unknown charge until the provider's task list settles
/// it. Waiting for the account's limits does not count against the tries of failures. Every wait is
/// random between half and all of the stated time, so that many batches do not return at the same
/// time. A longer wait that the provider asks for (`Retry-After`) replaces it, from 1 second to 15
/// minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries per batch to connect.
    pub max_unsent: u32,
    /// Tries per batch against failures of the server that were not charged.
    pub max_attempts: u32,
    /// Tries per batch against failures that were charged or may have been.
    pub max_paid: u32,
    /// Tries per batch against the account's limits.
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

/// Tries against failures that rarely pass.
const FEW_TRIES: u32 = 3;
/// Tries of a batch that is refused with an unknown code and charged, or perhaps charged.
const TRIES_OF_A_PAID_REFUSAL: u32 = 2;
/// Tries of a batch that takes too long, before it is halved.
const TRIES_BEFORE_HALVING: u32 = 2;
/// The shortest wait that the provider can request.
pub(super) const MIN_WAIT: Duration = Duration::from_secs(1);
/// The longest wait that the provider can request.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(15 * 60);

impl RetryPolicy {
    /// Decides what follows a try that is already counted in `tries`.
    #[must_use]
    pub fn decide(
        &self,
        result: AttemptResult,
        tries: Tries,
        charged: Charged,
        context: RetryContext,
    ) -> Decision {
        let requested = context
            .requested_wait
            .map_or(Duration::ZERO, |wait| wait.clamp(MIN_WAIT, MAX_WAIT));
        let spread = |wait: Duration| {
            wait.mul_f64(0.5 + 0.5 * context.jitter.clamp(0.0, 1.0))
                .max(requested)
        };
        let doubling = |tries: u32| {
            let factor = 2_u32.saturating_pow(tries.saturating_sub(1).min(16));
            spread(self.base.saturating_mul(factor).min(self.longest))
        };
        let within = |tries: u32, limit: u32, wait: Duration| {
            if tries < limit {
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
            (_, StatusClass::BatchRefused) => Decision::Isolate,
            (_, StatusClass::UnknownRefusal) if !paid => Decision::Isolate,
            // What costs money is not taken apart in a hundred requests.
            (_, StatusClass::UnknownRefusal) => within(
                tries.free + tries.paid,
                TRIES_OF_A_PAID_REFUSAL,
                doubling(tries.paid + 2),
            ),
            (_, StatusClass::TooSlow) if tries.free + tries.paid >= TRIES_BEFORE_HALVING => {
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
            (_, StatusClass::Server | StatusClass::TooSlow) if paid => {
                within(tries.paid, self.max_paid, doubling(tries.paid + 2))
            }
            (_, StatusClass::Server | StatusClass::TooSlow) => {
                within(tries.free, self.max_attempts, doubling(tries.free))
            }
            (_, StatusClass::TooManyAtOnce) => {
                within(tries.waits, self.max_waits, doubling(tries.waits))
            }
            (_, StatusClass::RatePerMinute) => within(
                tries.waits,
                self.max_waits,
                (to_next_minute(context.now) + spread(self.base)).max(requested),
            ),
            (
                _,
                StatusClass::Account
                | StatusClass::Defect
                | StatusClass::NotTheProvider
                | StatusClass::PostedTooOften,
            ) => Decision::Stop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 20 seconds before the next minute, with the longest random wait.
    fn context() -> RetryContext {
        RetryContext {
            now: DateTime::from_timestamp(1_790_000_080, 0).unwrap(),
            jitter: 1.0,
            requested_wait: None,
        }
    }

    fn decide(result: AttemptResult, charged: Charged, times: u32) -> Decision {
        let mut tries = Tries::default();
        (0..times).for_each(|_| tries.count(result, charged));
        RetryPolicy::default().decide(result, tries, charged, context())
    }

    /// The number of tries in total, the time waited in total, and the last decision.
    fn to_the_end(result: AttemptResult, charged: Charged) -> (u32, Duration, Decision) {
        let mut waited = Duration::ZERO;
        for tries in 1.. {
            match decide(result, charged, tries) {
                Decision::Retry(wait) => waited += wait,
                end => return (tries, waited, end),
            }
            assert!(tries < 100, "{result:?} is retried forever");
        }
        unreachable!()
    }

    #[test]
    fn every_code_of_the_provider_has_its_decision() {
        for code in 20000..60000 {
            let (tries, waited, end) = to_the_end(AttemptResult::Status(code), Charged::No);
            let expected = match code {
                20000 | 40102 => (1, Decision::Done),
                40202 | 40209 => (30, Decision::GiveUp),
                40100 | 40104 | 40200 | 40201 | 40203 | 40204 | 40205 | 40206 | 40207 | 40210 => {
                    (1, Decision::Stop)
                }
                40000..=40006 | 40400..=40403 | 40405 | 40406 | 40502..=40506 | 50100 => {
                    (1, Decision::Stop)
                }
                50304 => (3, Decision::GiveUp),
                50401 | 50402 => (2, Decision::Halve),
                40101 | 40103 | 40601 | 40602 | 50000.. => (8, Decision::GiveUp),
                // 40407, 40408, 40501 and everything unknown.
                _ => (1, Decision::Isolate),
            };
            assert_eq!((tries, end), expected, "{code}");
            assert!(waited < Duration::from_secs(3600), "{code}: {waited:?}");
        }
    }

    #[test]
    fn every_http_status_and_every_failed_connection_has_its_decision() {
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
            (AttemptResult::Status(40101), Charged::Unknown, 5),
            (AttemptResult::Status(40999), Charged::Yes, 2),
            (AttemptResult::Status(40999), Charged::Unknown, 2),
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
    fn waiting_for_a_limit_does_not_count_as_a_failure() {
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
    fn above_the_limit_per_minute_the_retry_waits_for_the_next_minute() {
        let decision = decide(AttemptResult::Status(40202), Charged::No, 1);
        assert_eq!(decision, Decision::Retry(Duration::from_secs(22)));
    }

    #[test]
    fn a_requested_wait_is_respected_within_bounds() {
        let mut tries = Tries::default();
        tries.count(AttemptResult::Status(50000), Charged::No);
        for (requested, wait) in [(0, 2), (1, 2), (60, 60), (86_400, 900)] {
            let context = RetryContext {
                requested_wait: Some(Duration::from_secs(requested)),
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
                "{requested}"
            );
        }
    }
}
