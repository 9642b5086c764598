//! The provider's status codes: the class of each, and what an operator should do about it. Texts
//! vary, so only codes decide.

use strum::IntoStaticStr;

/// The status codes that have a meaning of their own.
pub mod code {
    /// Success.
    pub const OK: u32 = 20000;
    /// The request has more than one task.
    pub const ONE_TASK: u32 = 40000;
    /// More tasks than a request of any endpoint may have.
    pub const TOO_MANY_TASKS: u32 = 40006;
    /// The credentials are wrong.
    pub const NOT_AUTHORISED: u32 = 40100;
    /// The provider's index failed. This is documented as billable.
    pub const INDEX_FAILED: u32 = 40101;
    /// There is nothing about these targets. This is paid for.
    pub const NO_RESULTS: u32 = 40102;
    /// The provider failed to run the task.
    pub const EXECUTION_FAILED: u32 = 40103;
    /// The account must be verified.
    pub const ACCOUNT_NOT_VERIFIED: u32 = 40104;
    /// The account must pay.
    pub const PAYMENT_REQUIRED: u32 = 40200;
    /// The account is paused.
    pub const ACCOUNT_PAUSED: u32 = 40201;
    /// More requests per minute than the account may send.
    pub const RATE_PER_MINUTE: u32 = 40202;
    /// The daily cost limit that the account's owner has set is reached.
    pub const DAILY_LIMIT: u32 = 40203;
    /// The account has no subscription.
    pub const NO_SUBSCRIPTION: u32 = 40204;
    /// The same task was posted too often within an hour.
    pub const TOO_OFTEN_PER_HOUR: u32 = 40205;
    /// The same task was posted too often within a day.
    pub const TOO_OFTEN_PER_DAY: u32 = 40206;
    /// The account does not allow this IP address.
    pub const IP_NOT_ALLOWED: u32 = 40207;
    /// More requests at the same time than the account may send.
    pub const TOO_MANY_AT_ONCE: u32 = 40209;
    /// The account has no funds left.
    pub const OUT_OF_FUNDS: u32 = 40210;
    /// There is no such path.
    pub const NOT_FOUND: u32 = 40400;
    /// There is no such function.
    pub const INVALID_PATH: u32 = 40402;
    /// A batch has the same target twice.
    pub const DUPLICATE: u32 = 40407;
    /// A target is not a valid URL.
    pub const INVALID_TARGET: u32 = 40408;
    /// The value of a field is not allowed.
    pub const INVALID_FIELD: u32 = 40501;
    /// The body is empty.
    pub const EMPTY: u32 = 40502;
    /// The body is not an array of tasks.
    pub const BAD_STRUCTURE: u32 = 40503;
    /// The provider does not have such a field.
    pub const UNKNOWN_FIELD: u32 = 40506;
    /// The task was handed over and has no result yet.
    pub const TASK_HANDED_OVER: u32 = 40601;
    /// The task waits in the provider's queue.
    pub const TASK_IN_QUEUE: u32 = 40602;
    /// The request is not one that the API offers.
    pub const NOT_IMPLEMENTED: u32 = 50100;
    /// A third party that the provider depends on fails.
    pub const THIRD_PARTY: u32 = 50304;
    /// The task took longer than 120 seconds.
    pub const TASK_TIMEOUT: u32 = 50401;
    /// A part of the provider took longer than 120 seconds for the task.
    pub const TASK_TIMEOUT_INSIDE: u32 = 50402;
}

/// How the program reacts to a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum StatusClass {
    /// The response counts.
    Success,
    /// Too many requests in this minute: wait for the next minute.
    RatePerMinute,
    /// Too many requests at the same time: send fewer.
    TooManyAtOnce,
    /// A failure of the provider that passes: retry.
    Server,
    /// A failure of the provider that rarely passes: retry a few times only.
    ServerFewTries,
    /// The same task was posted too often: wait for an hour or a day.
    PostedTooOften,
    /// The task takes the provider too long: retry, then ask for fewer targets.
    TooSlow,
    /// The provider refuses the batch, because one or more targets break its rules.
    BatchRefused,
    /// A code that this program does not know, in the range of refusals.
    UnknownRefusal,
    /// The account may not continue: credentials, funds or limits.
    Account,
    /// The request itself is wrong: a defect of this program.
    Defect,
    /// Something else than the provider responds: a redirect, a proxy, another host.
    NotTheProvider,
}

impl StatusClass {
    /// The class of the status code of an envelope or a task.
    #[must_use]
    pub fn of(code: u32) -> Self {
        match code {
            code::OK | code::NO_RESULTS => Self::Success,
            code::RATE_PER_MINUTE => Self::RatePerMinute,
            code::TOO_MANY_AT_ONCE => Self::TooManyAtOnce,
            code::INDEX_FAILED
            | code::EXECUTION_FAILED
            | code::TASK_HANDED_OVER
            | code::TASK_IN_QUEUE => Self::Server,
            code::NOT_AUTHORISED
            | code::ACCOUNT_NOT_VERIFIED
            | code::PAYMENT_REQUIRED
            | code::ACCOUNT_PAUSED
            | code::DAILY_LIMIT
            | code::NO_SUBSCRIPTION
            | code::IP_NOT_ALLOWED
            | code::OUT_OF_FUNDS => Self::Account,
            code::TOO_OFTEN_PER_HOUR | code::TOO_OFTEN_PER_DAY => Self::PostedTooOften,
            code::INVALID_FIELD | code::DUPLICATE | code::INVALID_TARGET => Self::BatchRefused,
            // 40404 is not among them: the sandbox sends it where it has no data.
            code::ONE_TASK..=code::TOO_MANY_TASKS
            | code::NOT_FOUND..=40403
            | 40405
            | 40406
            | code::EMPTY..=code::UNKNOWN_FIELD
            | code::NOT_IMPLEMENTED => Self::Defect,
            code::THIRD_PARTY => Self::ServerFewTries,
            code::TASK_TIMEOUT | code::TASK_TIMEOUT_INSIDE => Self::TooSlow,
            50000..=59999 => Self::Server,
            _ => Self::UnknownRefusal,
        }
    }

    /// Whether a response with this status code may be charged although it says that it cost
    /// nothing: the provider bills the failure, or still works on the task.
    #[must_use]
    pub fn may_be_charged_later(code: u32) -> bool {
        matches!(
            code,
            code::INDEX_FAILED | code::TASK_HANDED_OVER | code::TASK_IN_QUEUE
        )
    }

    /// The class of an HTTP status whose body has no envelope.
    #[must_use]
    pub fn of_http(status: u16) -> Self {
        match status {
            401..=403 => Self::Account,
            408 | 425 | 500..=599 => Self::Server,
            429 => Self::RatePerMinute,
            // A proxy may respond 200 with a page of its own.
            200..=299 => Self::Server,
            // The provider always sends an envelope, so this is not the provider, or not its path.
            _ => Self::NotTheProvider,
        }
    }

    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// What an operator should do when this status code stops a run.
    #[must_use]
    pub fn hint(code: u32) -> Option<&'static str> {
        match code {
            code::NOT_AUTHORISED => Some(CHECK_CREDENTIALS),
            code::OUT_OF_FUNDS | code::PAYMENT_REQUIRED => Some(ADD_CREDIT),
            code::DAILY_LIMIT => Some(
                "the account's own daily limit is reached; raise it in the dashboard or run the same command after 00:00 UTC",
            ),
            code::IP_NOT_ALLOWED => {
                Some("allow this machine's IP address in the provider's dashboard")
            }
            code::TOO_OFTEN_PER_HOUR => {
                Some("the same task was posted too often; run the same command in an hour")
            }
            code::TOO_OFTEN_PER_DAY => {
                Some("the same task was posted too often; run the same command tomorrow")
            }
            code => Self::of(code).general_hint(),
        }
    }

    /// What an operator should do when an HTTP status without an envelope stops a run.
    #[must_use]
    pub fn http_hint(status: u16) -> Option<&'static str> {
        match status {
            401 => Some(CHECK_CREDENTIALS),
            402 => Some(ADD_CREDIT),
            407 => Some(
                "the proxy before [api] base_url wants credentials: set them in HTTPS_PROXY (http://user:password@host:port), or go around the proxy with NO_PROXY",
            ),
            status => Self::of_http(status).general_hint(),
        }
    }

    /// The hint for all statuses of the class.
    fn general_hint(self) -> Option<&'static str> {
        match self {
            Self::Defect => Some(
                "this is a defect of backlake, not of your account; report it with the message above",
            ),
            Self::NotTheProvider => Some(CHECK_THE_WAY),
            _ => None,
        }
    }
}

/// What to check when something other than the provider responds.
pub const CHECK_THE_WAY: &str = "this does not come from the provider: check [api] base_url, and the proxy in HTTPS_PROXY and NO_PROXY";
const CHECK_CREDENTIALS: &str =
    "check DATAFORSEO_LOGIN and DATAFORSEO_PASSWORD (the API password, not the dashboard's)";
const ADD_CREDIT: &str =
    "the account is out of funds; add credit and run the same command: it continues";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_code_has_its_class() {
        use StatusClass as C;
        for (codes, class) in [
            (&[20000, 40102][..], C::Success),
            (&[40202], C::RatePerMinute),
            (&[40209], C::TooManyAtOnce),
            (&[40101, 40103, 40601, 40602], C::Server),
            (&[50000, 50001, 50301, 50303], C::Server),
            (&[50401, 50402], C::TooSlow),
            (&[40501, 40407, 40408], C::BatchRefused),
            (
                &[40100, 40104, 40200, 40201, 40203, 40204, 40207, 40210],
                C::Account,
            ),
            (
                &[40000, 40001, 40002, 40003, 40004, 40005, 40006],
                C::Defect,
            ),
            (&[40400, 40401, 40402, 40403, 40405, 40406], C::Defect),
            (&[40502, 40503, 40504, 40505, 40506, 50100], C::Defect),
            (&[50304], C::ServerFewTries),
            (&[40205, 40206], C::PostedTooOften),
            (&[40007, 40404, 40999, 41000, 49999], C::UnknownRefusal),
            (&[50999, 51000, 59999], C::Server),
        ] {
            for &code in codes {
                assert_eq!(StatusClass::of(code), class, "{code}");
            }
        }
    }

    #[test]
    fn every_defect_has_a_hint_and_no_success_does() {
        for code in 20000..60000 {
            match StatusClass::of(code) {
                StatusClass::Defect | StatusClass::PostedTooOften => {
                    assert!(StatusClass::hint(code).is_some(), "{code}");
                }
                StatusClass::Account => {}
                _ => assert_eq!(StatusClass::hint(code), None, "{code}"),
            }
        }
    }
}
