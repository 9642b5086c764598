//! The books of a run: an intent before each request, its answer's bytes, and how it ended.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::money::Usd;
use crate::provider::{Endpoint, Envelope, StatusClass, code};
use crate::store::AttemptId;

/// What is about to be sent. Durable before it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Which attempt.
    pub id: AttemptId,
    /// The tag sent with it, unique to the attempt.
    pub tag: String,
    /// When.
    pub sent_at: DateTime<Utc>,
    /// What it may cost at the most.
    pub reserved: Usd,
    /// Root domains among the targets.
    pub root_domains: u32,
    /// What is asked for, in canonical form.
    pub targets: Vec<String>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its answer counts.
    Ok,
    /// It failed, and another followed.
    Retried,
    /// The provider refuses its targets.
    Refused,
    /// The provider refused it, and its targets were asked for in parts.
    Split,
    /// It failed, and no other followed.
    Failed,
    /// It was sent, and no whole answer came: it may have been charged, and [`Charged`] says what is known of that.
    Ambiguous,
}

impl Outcome {
    /// The name in the requests table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Retried => "retried",
            Self::Refused => "refused",
            Self::Split => "split",
            Self::Failed => "failed",
            Self::Ambiguous => "ambiguous",
        }
    }
}

/// Whether the provider charged for an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Charged {
    /// The answer, or the provider's list of tasks, says what.
    Yes,
    /// They say that nothing was, or the request never left.
    No,
    /// Nothing says so either way yet.
    Unknown,
}

impl Charged {
    /// The name in the requests table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }
}

/// A row of the requests table: an attempt and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which attempt.
    pub id: AttemptId,
    /// The tag sent with it.
    pub tag: String,
    /// The provider's id for the task.
    pub request_id: Option<String>,
    /// When it was sent.
    pub sent_at: DateTime<Utc>,
    /// From sending to the last byte of the answer, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Targets asked for.
    pub targets: u32,
    /// Root domains among them.
    pub root_domains: u32,
    /// The HTTP status.
    pub http_status: Option<u16>,
    /// The status that counts: the task's, or the envelope's.
    pub status_code: Option<u32>,
    /// The text to it, or what broke.
    pub status_message: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Items in the answer.
    pub items: Option<u64>,
    /// What was charged, where an answer or the provider's list of tasks says so.
    pub cost_usd: Option<Usd>,
    /// Whether it was charged.
    pub charged: Charged,
    /// The size of the answer's body, decompressed.
    pub body_bytes: Option<u64>,
}

impl Attempt {
    /// An attempt of which nothing is known yet but what was asked.
    #[must_use]
    pub fn of(intent: &Intent) -> Self {
        Self {
            id: intent.id,
            tag: intent.tag.clone(),
            request_id: None,
            sent_at: intent.sent_at,
            duration_ms: None,
            targets: intent.targets.len() as u32,
            root_domains: intent.root_domains,
            http_status: None,
            status_code: None,
            status_message: None,
            outcome: Outcome::Ambiguous,
            items: None,
            cost_usd: None,
            charged: Charged::Unknown,
            body_bytes: None,
        }
    }

    /// Enters what an answer says of itself, and tells what it comes to.
    pub fn answered(&mut self, envelope: &Envelope, endpoint: Endpoint) -> AttemptResult {
        let (status_code, message) = envelope.status();
        let task = envelope.tasks.first();
        self.status_code = Some(status_code);
        self.status_message = Some(message.to_owned());
        self.request_id = task.and_then(|task| task.id.clone());
        self.items = Some(envelope.items);
        self.cost_usd = envelope.charged();
        self.charged = match self.cost_usd {
            Some(cost) if cost > Usd::ZERO => Charged::Yes,
            Some(_) => Charged::No,
            None => Charged::Unknown,
        };
        if status_code != code::OK {
            return AttemptResult::Status(status_code);
        }
        let Some(task) = task else {
            self.status_message = Some("the answer holds no task".to_owned());
            return AttemptResult::Malformed;
        };
        let other_tag = task.tag.as_ref().is_some_and(|tag| *tag != self.tag);
        if other_tag
            || task
                .function
                .as_ref()
                .is_some_and(|other| other != endpoint.function())
        {
            self.status_message = Some("the answer is to another request".to_owned());
            return AttemptResult::Malformed;
        }
        AttemptResult::Status(code::OK)
    }
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptResult {
    /// The request never left: no connection. It cannot have been charged.
    NotSent,
    /// The request was sent, and no whole answer came. It may have been charged.
    NoResponse,
    /// A whole body came that is no answer. It may have been charged.
    Malformed,
    /// The body was larger than allowed. It may have been charged, and would be as large again.
    TooLarge,
    /// An answer came with this status.
    Status(u32),
    /// A body without envelope came under this HTTP status.
    HttpStatus(u16),
}

impl AttemptResult {
    /// The class of status that it amounts to.
    #[must_use]
    pub fn class(self) -> StatusClass {
        match self {
            Self::NotSent | Self::NoResponse => StatusClass::Server,
            // It may be paid for, and the next may well be the same.
            Self::Malformed | Self::TooLarge => StatusClass::ServerFewTries,
            Self::Status(code) => StatusClass::of(code),
            Self::HttpStatus(status) => StatusClass::of_http(status),
        }
    }
}
