//! One error type for the whole program: a kind, a message and a hint.
//!
//! The kind alone decides the exit code ([`ErrorKind::exit_code`]); the message says what went wrong and where
//! (file, line, key, target, batch); the hint says what to do next.

use std::fmt;

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it is, as the one who started the program must tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// A defect, or an environment that broke under us (a full disk, say).
    Unexpected,
    /// The command line, the pipeline file or a target list is wrong. Nothing was sent.
    Usage,
    /// The account or the provider refuses: credentials, funds, limits.
    Account,
    /// The next request was not covered by the budget, or the time was up.
    Budget,
    /// More targets failed than the pipeline tolerates; the snapshot is held open.
    TargetsFailed,
    /// Another run holds the snapshot.
    Locked,
    /// SIGINT.
    Interrupted,
    /// SIGTERM or SIGHUP.
    Terminated,
}

impl ErrorKind {
    /// The process's exit code: the contract with the scheduler.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Unexpected => 1,
            Self::Usage => 2,
            Self::Account => 3,
            Self::Budget => 4,
            Self::TargetsFailed => 5,
            Self::Locked => 6,
            // As a shell reports a process that a signal has ended: 128 and the signal's number.
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// What to do next when the error itself does not say.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Self::Unexpected => {
                "run the same command again: it continues, and asks for nothing that is archived; if it fails again, report this with the log of `-vv`"
            }
            Self::Usage => {
                "nothing was sent and nothing was paid; correct it and run the same command again"
            }
            Self::Account => {
                "answers already paid for are archived; settle it with the provider, then run the same command: it continues"
            }
            Self::Budget => {
                "answers already paid for are archived; raise --max-cost-usd ([budget] max_cost_usd, for all starts of the snapshot) if that is what it stopped at, and run the same command: it continues"
            }
            Self::TargetsFailed => {
                "the snapshot is held open and the answers are archived; run the same command again to retry what failed, or raise [publish] max_failed_ratio"
            }
            Self::Locked => {
                "nothing is lost; let the other run finish, then run the same command: it says that the snapshot is published, or continues"
            }
            Self::Interrupted | Self::Terminated => {
                "what was answered is archived; run the same command again: it continues"
            }
        }
    }
}

/// What went wrong, where, and what to do next.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    reported: bool,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of a kind; the message is lower case and has no full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            reported: false,
            source: None,
        }
    }

    /// The command line, the pipeline file or a target list is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// A defect, or an environment that broke under us.
    pub fn unexpected(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unexpected, message)
    }

    /// Says what to do next, in place of the kind's own hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Keeps the cause; it is shown after the message.
    #[must_use]
    pub fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says that a report for machines holds the error already.
    #[must_use]
    pub fn mark_reported(mut self) -> Self {
        self.reported = true;
        self
    }

    /// Whether a report for machines holds the error already.
    #[must_use]
    pub fn is_reported(&self) -> bool {
        self.reported
    }

    /// The kind, which decides the exit code.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &str {
        self.hint.as_deref().unwrap_or_else(|| self.kind.hint())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            // One of our own has already printed its causes.
            cause = if error.is::<Self>() {
                None
            } else {
                error.source()
            };
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Adds what was being done to an error that comes from elsewhere.
pub trait Context<T> {
    /// Turns the error into an unexpected one: `context` is "failed to …", with what and where.
    fn context<S: Into<String>>(self, context: impl FnOnce() -> S) -> Result<T>;
    /// The same for an error that the user can mend.
    fn usage<S: Into<String>>(self, context: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<Box<dyn std::error::Error + Send + Sync>>> Context<T>
    for std::result::Result<T, E>
{
    fn context<S: Into<String>>(self, context: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| Error::unexpected(context()).caused_by(error))
    }

    fn usage<S: Into<String>>(self, context: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| Error::usage(context()).caused_by(error))
    }
}
