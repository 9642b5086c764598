//! What to do after an attempt: a pure function of what happened and how often it was tried.

use std::time::Duration;

use chrono::{DateTime, Timelike, Utc};

use crate::provider::{StatusClass, code};

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// The request never left: no connection. It cannot have been charged.
    NotSent,
    /// The request was sent, and no whole answer came. It may have been charged.
    NoAnswer,
    /// A whole body came that is no answer. It may have been charged.
    Malformed,
    /// The body was larger than allowed. It may have been charged, and would be as large again.
    TooLarge,
    /// An answer came with this status.
    Status(u32),
    /// A body without envelope came under this HTTP status.
    HttpStatus(u16),
}

/// How often a batch was tried, by why it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tries {
    /// Against trouble of the network or the server.
    pub failures: u32,
    /// Against the account's limits.
    pub waits: u32,
}

impl Tries {
    /// Counts a try by what came of it.
    pub fn count(&mut self, happened: Happened) {
        let class = match happened {
            Happened::Status(code) => StatusClass::of(code),
            Happened::HttpStatus(status) => StatusClass::of_http(status),
            _ => StatusClass::Server,
        };
        match class {
            StatusClass::RatePerMinute | StatusClass::TooManyAtOnce => self.waits += 1,
            _ => self.failures += 1,
        }
    }
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
    /// The provider refuses the batch as a whole.
    Refused,
    /// The tries are used up.
    GiveUp,
    /// The whole run must stop: the account, or a defect of this program.
    Stop,
}

/// How often and after how long to try again.
///
/// A failed try is repeated whether or not it may have been charged, because its answer is not to be had in any
/// other way; the attempt's ledger entry says `charged: unknown`, so no second payment goes unseen.
///
/// | what happened | tries | wait before the next |
/// |---|---|---|
/// | no connection, no whole answer, server trouble | `max_attempts` | doubling from `base` to `longest` |
/// | a body that is too large | 1 | none: it would be as large again |
/// | limit per minute | `max_waits` | until the next minute |
/// | too many at once | `max_waits` | doubling from `base` to `longest` |
/// | a body that is no answer, 50304 | 3 | doubling |
/// | a bad target | - | none: the batch is split |
/// | account, defect, posted too often | - | none: the run stops |
///
/// Waiting for the account's limits uses up no try against trouble. Every wait is drawn between half and all of the stated time, so that many batches do not return at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries of one batch against trouble of the network or the server.
    pub max_attempts: u32,
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
            max_attempts: 6,
            max_waits: 20,
            base: Duration::from_secs(2),
            longest: Duration::from_secs(120),
        }
    }
}

/// Tries against trouble that rarely passes.
const FEW_TRIES: u32 = 3;

impl RetryPolicy {
    /// Decides what follows a try, which `tries` counts already. `jitter` is a random number from 0 to 1.
    #[must_use]
    pub fn decide(&self, happened: Happened, tries: Tries, now: DateTime<Utc>, jitter: f64) -> Decision {
        let class = match happened {
            Happened::NotSent | Happened::NoAnswer => StatusClass::Server,
            // It is paid for, and the next may well be the same.
            Happened::Malformed => StatusClass::ServerFewTries,
            Happened::TooLarge => return Decision::GiveUp,
            Happened::Status(code::INVALID_FIELD | code::DUPLICATE) => return Decision::Isolate,
            Happened::Status(code) => StatusClass::of(code),
            Happened::HttpStatus(status) => StatusClass::of_http(status),
        };
        let spread = |wait: Duration| wait.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0));
        let doubling = |tries: u32| {
            let factor = 2_u32.saturating_pow(tries.saturating_sub(1).min(16));
            spread(self.base.saturating_mul(factor).min(self.longest))
        };
        let within = |tries: u32, most: u32, wait: Duration| {
            if tries < most { Decision::Retry(wait) } else { Decision::GiveUp }
        };
        match class {
            StatusClass::Success => Decision::Done,
            StatusClass::Server => within(tries.failures, self.max_attempts, doubling(tries.failures)),
            StatusClass::ServerFewTries => {
                within(tries.failures, self.max_attempts.min(FEW_TRIES), doubling(tries.failures))
            }
            StatusClass::TooManyAtOnce => within(tries.waits, self.max_waits, doubling(tries.waits)),
            StatusClass::RatePerMinute => {
                let to_next_minute = Duration::from_secs(u64::from(60 - now.second().min(59)));
                within(tries.waits, self.max_waits, to_next_minute + spread(self.base))
            }
            StatusClass::BatchRefused => Decision::Refused,
            StatusClass::Account | StatusClass::Defect | StatusClass::PostedTooOften => Decision::Stop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(happened: Happened, times: u32) -> Decision {
        let now = DateTime::from_timestamp(1_790_000_080, 0).unwrap();
        let mut tries = Tries::default();
        (0..times).for_each(|_| tries.count(happened));
        RetryPolicy::default().decide(happened, tries, now, 1.0)
    }

    #[test]
    fn every_happening_has_its_decision_and_every_wait_an_end() {
        let retried = |happened| matches!(decide(happened, 1), Decision::Retry(_));
        for happened in [Happened::NotSent, Happened::NoAnswer, Happened::Malformed] {
            assert!(retried(happened), "{happened:?}");
        }
        for status in 100..=599 {
            let decision = decide(Happened::HttpStatus(status), 1);
            let again = matches!(status, 200..=299 | 408 | 425 | 429 | 500..=599);
            assert_eq!(matches!(decision, Decision::Retry(_)), again, "HTTP {status}: {decision:?}");
            assert_ne!(decision, Decision::Done, "HTTP {status} without an envelope is no answer");
        }
        for code in 20000..60000 {
            let expected = match code {
                20000 => Decision::Done,
                40501 | 40407 => Decision::Isolate,
                40103 | 40202 | 40209 => continue,
                40100 | 40104 | 40200 | 40201 | 40203 | 40204 | 40205 | 40206 | 40207 | 40210 => {
                    Decision::Stop
                }
                40000 | 40006 | 40400 | 40402 | 40502 | 40503 | 40506 | 50100 => Decision::Stop,
                50000.. => continue,
                _ => Decision::Refused,
            };
            assert_eq!(decide(Happened::Status(code), 1), expected, "{code}");
        }
        for code in [40103, 40202, 40209, 50000, 50001, 50301, 50303, 50304, 50401, 59999] {
            assert!(retried(Happened::Status(code)), "{code}");
            let mut waited = Duration::ZERO;
            let mut tries = 1;
            while let Decision::Retry(wait) = decide(Happened::Status(code), tries) {
                waited += wait;
                tries += 1;
            }
            assert!(tries <= 20 && waited < Duration::from_secs(3600), "{code}: {tries} tries, {waited:?}");
        }
    }

    #[test]
    fn waiting_for_a_limit_uses_up_no_try_against_trouble() {
        let now = DateTime::from_timestamp(1_790_000_080, 0).unwrap();
        let mut tries = Tries::default();
        (0..19).for_each(|_| tries.count(Happened::Status(40209)));
        tries.count(Happened::Status(50000));
        let decision = RetryPolicy::default().decide(Happened::Status(50000), tries, now, 1.0);
        assert!(matches!(decision, Decision::Retry(_)), "{decision:?}");
        assert_eq!(decide(Happened::TooLarge, 1), Decision::GiveUp);
    }

    #[test]
    fn over_the_limit_per_minute_the_next_minute_is_awaited() {
        // The minute has 20 seconds left.
        assert_eq!(decide(Happened::Status(40202), 1), Decision::Retry(Duration::from_secs(22)));
    }
}
