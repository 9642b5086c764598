//! What an intent and an attempt are, and what the provider's response makes of an attempt.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;
use xxhash_rust::xxh3::xxh3_128;

use super::pack::MOST_BYTES;
use crate::error::{Error, Result};
use crate::fate::known_count;
use crate::money::Usd;
use crate::provider::{CHECK_THE_WAY, Endpoint, Envelope, StatusClass, code};
use crate::store::{AttemptId, sha256};
use crate::targets::TextList;

/// The durable record of what is about to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The batch and the number of the attempt.
    pub id: AttemptId,
    /// The tag that is sent with the request, unique to the attempt.
    pub tag: String,
    /// When the request is sent.
    pub sent_at: DateTime<Utc>,
    /// What the request may cost at most.
    pub reserved: Usd,
    /// The number of distinct root domains among the targets.
    pub root_domains: u32,
    /// The targets in canonical form.
    pub targets: TextList,
}

/// What an attempt records of the body that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyDigest {
    bytes: u64,
    sha256: String,
    xxh3: String,
}

impl BodyDigest {
    /// Hashes a body. Takes CPU time, so call it on a blocking thread.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Self {
            bytes: body.len() as u64,
            sha256: sha256(body),
            xxh3: xxh3(body),
        }
    }
}

fn xxh3(body: &[u8]) -> String {
    format!("{:032x}", xxh3_128(body))
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// Its response counts.
    Ok,
    /// It failed, and the batch was sent again.
    Retried,
    /// The provider refuses its only target.
    Refused,
    /// The provider refused the batch or took too long for it, and its targets were asked for in
    /// parts.
    Split,
    /// It failed, and the batch was not sent again.
    Failed,
    /// It was sent, and no complete response arrived. It may have been charged; [`Charged`] says
    /// what is known.
    Ambiguous,
}

impl Outcome {
    /// The name in the `requests` table.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Whether the provider charged for an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Charged {
    /// The response, or the provider's task list, says how much.
    Yes,
    /// They say that nothing was charged, or the request was never sent.
    No,
    /// Nothing says so either way yet.
    Unknown,
}

impl Charged {
    /// The name in the `requests` table.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// One sending of a batch and how it ended: a row of the `requests` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The batch and the number of the attempt.
    pub id: AttemptId,
    /// The tag that was sent with it.
    pub tag: String,
    /// The provider's id for the task.
    pub request_id: Option<String>,
    /// When it was sent.
    pub sent_at: DateTime<Utc>,
    /// Milliseconds from sending to the last byte of the response.
    #[serde(default, deserialize_with = "known_count")]
    pub duration_ms: Option<u64>,
    /// The number of targets.
    pub targets: u32,
    /// The number of distinct root domains among the targets.
    pub root_domains: u32,
    /// The HTTP status of the response.
    pub http_status: Option<u16>,
    /// The provider's status code: the task's if the envelope's is a success, else the envelope's.
    pub status_code: Option<u32>,
    /// The text of that status, or why there is no complete response.
    pub status_message: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// The number of items in the response.
    #[serde(default, deserialize_with = "known_count")]
    pub items: Option<u64>,
    /// What was charged, if the response or the provider's task list says so.
    pub cost_usd: Option<Usd>,
    /// Whether it was charged.
    pub charged: Charged,
    /// The size of the response body in bytes, decompressed.
    #[serde(default, deserialize_with = "known_count")]
    pub body_bytes: Option<u64>,
    /// The SHA-256 of the response body, decompressed, in hexadecimal.
    #[serde(default)]
    pub body_sha256: Option<String>,
    /// The XXH3 of the response body, decompressed: 128 bits in hexadecimal. It finds damage in a tenth of the time that
    /// SHA-256 takes.
    #[serde(default)]
    pub body_xxh3: Option<String>,
    /// What about the envelope of the response was not as expected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub oddities: Vec<String>,
}

impl Attempt {
    /// Whether a run has sent it, given the name of the run.
    #[must_use]
    pub fn is_of(&self, run: &str) -> bool {
        let id = self.tag.strip_prefix(run);
        id.is_some_and(|id| id.starts_with('/'))
    }

    /// An attempt that is about to be sent: only its intent is known.
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
            body_sha256: None,
            body_xxh3: None,
            oddities: Vec::new(),
        }
    }

    /// Records which body arrived.
    pub fn take_body(&mut self, body: BodyDigest) {
        self.body_bytes = Some(body.bytes);
        self.body_sha256 = Some(body.sha256);
        self.body_xxh3 = Some(body.xxh3);
    }

    /// The most bytes that its archived response can have when it is decompressed.
    #[must_use]
    pub fn most_bytes(&self) -> u64 {
        self.body_bytes
            .map_or(MOST_BYTES, |bytes| bytes.min(MOST_BYTES))
    }

    /// Checks that a body is the one that arrived: its size and its XXH3, or its SHA-256 if no XXH3 was recorded.
    /// Takes CPU time, so call it on a blocking thread.
    ///
    /// # Errors
    /// How it differs.
    pub fn check_body(&self, body: &[u8]) -> Result<()> {
        match &self.body_xxh3 {
            Some(recorded) => self.check(body, || *recorded == xxh3(body)),
            None => self.check_sha256(body),
        }
    }

    /// Checks that a body is the one that arrived, by every hash that was recorded. Takes CPU time, so call it on a blocking
    /// thread.
    ///
    /// # Errors
    /// How it differs.
    pub fn audit_body(&self, body: &[u8]) -> Result<()> {
        if self.body_xxh3.is_some() {
            self.check_body(body)?;
        }
        self.check_sha256(body)
    }

    fn check_sha256(&self, body: &[u8]) -> Result<()> {
        let recorded = self.body_sha256.as_ref();
        self.check(body, || {
            recorded.is_none_or(|recorded| *recorded == sha256(body))
        })
    }

    fn check(&self, body: &[u8], matches: impl FnOnce() -> bool) -> Result<()> {
        let differs = match self.body_bytes {
            Some(received) if received != body.len() as u64 => {
                format!("has {} bytes, but {received} were received", body.len())
            }
            _ if !matches() => "has other bytes than were received".to_owned(),
            _ => return Ok(()),
        };
        Err(Error::unexpected(format!(
            "the archived response to attempt {} {differs}",
            self.id
        )))
    }

    /// Takes over what the envelope of the response says. Returns the result of the attempt.
    pub fn take_envelope(&mut self, envelope: &Envelope, endpoint: Endpoint) -> AttemptResult {
        let task = envelope.task_of(&self.tag);
        let (status_code, message) = envelope.status_with(task);
        self.oddities.clone_from(&envelope.oddities);
        self.status_code = Some(status_code);
        self.status_message = Some(message.to_owned());
        self.request_id = task.and_then(|task| task.id.clone());
        self.items = Some(envelope.items);
        self.cost_usd = envelope.charged();
        self.charged = match self.cost_usd {
            Some(cost) if cost > Usd::ZERO => Charged::Yes,
            Some(_) if !StatusClass::may_be_charged_later(status_code) => Charged::No,
            _ => Charged::Unknown,
        };
        if self.charged == Charged::Unknown {
            self.cost_usd = None;
        }
        let result = AttemptResult::Status(status_code);
        if !result.counts() {
            return result;
        }
        let Some(task) = task else {
            // "No results" needs no task to say so.
            if status_code == code::NO_RESULTS {
                return result;
            }
            self.status_message = Some("the response has no task".to_owned());
            return AttemptResult::Malformed;
        };
        let other_tag = task.tag.as_ref().is_some_and(|tag| *tag != self.tag);
        let other_function = task
            .function
            .as_ref()
            .is_some_and(|function| function != endpoint.function());
        if other_tag || other_function {
            self.status_message = Some("the response belongs to another request".to_owned());
            return AttemptResult::Malformed;
        }
        result
    }
}

/// What came back from an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptResult {
    /// No connection: the request was never sent, so it cannot have been charged.
    NotSent,
    /// Something on the way refuses, so the request was never sent: a proxy without credentials, or
    /// a certificate that is not valid.
    WayRefused,
    /// The request was sent, and no complete response arrived. It may have been charged.
    NoResponse,
    /// A complete body arrived that is not a response of the provider. It may have been charged.
    Malformed,
    /// The body was larger than allowed. It may have been charged, and a retry would be as large.
    TooLarge,
    /// A response arrived with this status code.
    Status(u32),
    /// A body without an envelope arrived with this HTTP status.
    HttpStatus(u16),
}

impl AttemptResult {
    /// The class of status that the result is treated as.
    #[must_use]
    pub fn class(self) -> StatusClass {
        match self {
            Self::NotSent | Self::NoResponse => StatusClass::Server,
            Self::WayRefused => StatusClass::NotTheProvider,
            // It may be paid for, and a retry may well bring the same.
            Self::Malformed | Self::TooLarge => StatusClass::ServerFewTries,
            Self::Status(code) => StatusClass::of(code),
            Self::HttpStatus(status) => StatusClass::of_http(status),
        }
    }

    /// Whether the response counts: its targets need no further attempt.
    #[must_use]
    pub fn counts(self) -> bool {
        self.class() == StatusClass::Success
    }

    /// What an operator should do if the run stops because of the result.
    #[must_use]
    pub fn hint(self) -> Option<&'static str> {
        match self {
            Self::Status(code) => StatusClass::hint(code),
            Self::HttpStatus(status) => StatusClass::http_hint(status),
            Self::WayRefused => Some(CHECK_THE_WAY),
            Self::NotSent | Self::NoResponse | Self::Malformed | Self::TooLarge => None,
        }
    }
}
