//! The provider's status codes, and what class each belongs to. Texts vary; codes decide.

/// Codes that are named elsewhere, too.
pub mod code {
    /// All is well.
    pub const OK: u32 = 20000;
    /// More than one task in a request.
    pub const ONE_TASK: u32 = 40000;
    /// The credentials are wrong.
    pub const NOT_AUTHORISED: u32 = 40100;
    /// Over the requests a minute.
    pub const RATE_PER_MINUTE: u32 = 40202;
    /// Over the requests at once.
    pub const TOO_MANY_AT_ONCE: u32 = 40209;
    /// The account has no funds left.
    pub const OUT_OF_FUNDS: u32 = 40210;
    /// No such path.
    pub const NOT_FOUND: u32 = 40400;
    /// The same target twice.
    pub const DUPLICATE: u32 = 40407;
    /// A field's value is not allowed.
    pub const INVALID_FIELD: u32 = 40501;
    /// Nothing was posted.
    pub const EMPTY: u32 = 40502;
    /// What was posted is no array of tasks.
    pub const BAD_STRUCTURE: u32 = 40503;
    /// A field nobody knows.
    pub const UNKNOWN_FIELD: u32 = 40506;
    /// The task took over 120 seconds.
    pub const TASK_TIMEOUT: u32 = 50401;
}

/// What a status code means for the one who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusClass {
    /// The answer is there.
    Success,
    /// Too many requests this minute: wait for the next.
    RatePerMinute,
    /// Too many requests at once.
    TooManyAtOnce,
    /// The provider has a trouble of its own that passes.
    Server,
    /// The provider has a trouble that rarely passes: a few tries only.
    ServerFewTries,
    /// The same task was posted too often: wait for an hour or a day.
    PostedTooOften,
    /// The batch is refused: a target or several break the provider's rules.
    BatchRefused,
    /// The account may not go on: credentials, funds, limits.
    Account,
    /// The request itself is wrong: a defect of this program.
    Defect,
}

impl StatusClass {
    /// The class of a status code of an envelope or a task.
    #[must_use]
    pub fn of(code: u32) -> Self {
        match code {
            code::OK => Self::Success,
            code::RATE_PER_MINUTE => Self::RatePerMinute,
            code::TOO_MANY_AT_ONCE => Self::TooManyAtOnce,
            40103 => Self::Server,
            40100 | 40104 | 40200 | 40201 | 40203 | 40204 | 40207 | 40210 => Self::Account,
            40205 | 40206 => Self::PostedTooOften,
            40000 | 40006 | 40400 | 40402 | 40502 | 40503 | 40506 | 50100 => Self::Defect,
            50304 => Self::ServerFewTries,
            50000..=59999 => Self::Server,
            // 40501, 40407 and every other 4xxxx; a code of no known kind is as final.
            _ => Self::BatchRefused,
        }
    }

    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::RatePerMinute => "rate_per_minute",
            Self::TooManyAtOnce => "too_many_at_once",
            Self::Server => "server",
            Self::ServerFewTries => "server_few_tries",
            Self::PostedTooOften => "posted_too_often",
            Self::BatchRefused => "batch_refused",
            Self::Account => "account",
            Self::Defect => "defect",
        }
    }

    /// The class of an HTTP status whose body holds no envelope.
    #[must_use]
    pub fn of_http(status: u16) -> Self {
        match status {
            401..=403 => Self::Account,
            404 | 405 | 413 | 415 => Self::Defect,
            408 | 425 | 500..=599 => Self::Server,
            429 => Self::RatePerMinute,
            // A redirect is never followed, and 200 without an envelope is no answer.
            200..=299 => Self::Server,
            _ => Self::Defect,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_code_has_its_class() {
        use StatusClass as C;
        for (codes, class) in [
            (&[20000][..], C::Success),
            (&[40202], C::RatePerMinute),
            (&[40209], C::TooManyAtOnce),
            (&[40103, 50000, 50001, 50301, 50303, 50401], C::Server),
            (&[40501, 40407], C::BatchRefused),
            (
                &[40100, 40104, 40200, 40201, 40203, 40204, 40207, 40210],
                C::Account,
            ),
            (
                &[40000, 40006, 40400, 40402, 40502, 40503, 40506, 50100],
                C::Defect,
            ),
            (&[50304], C::ServerFewTries),
            (&[40205, 40206], C::PostedTooOften),
            (&[40999, 41000, 49999], C::BatchRefused),
            (&[50999, 51000, 59999], C::Server),
        ] {
            for &code in codes {
                assert_eq!(StatusClass::of(code), class, "{code}");
            }
        }
    }
}
