//! Classifies what came back from a request: an envelope, a body without one, or no complete
//! response.

use super::transport::SendError;
use crate::ledger::{AttemptResult, Charged};
use crate::provider::Envelope;

/// Why a complete body is not a response of the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoEnvelope {
    pub(super) result: AttemptResult,
    /// Whether the request may have been charged.
    pub(super) charged: Charged,
    /// The reason, for people.
    pub(super) message: String,
}

/// Reads the envelope of a complete body. Takes CPU time for a large body.
pub(super) fn classify(http_status: u16, body: &[u8]) -> Result<Envelope, NoEnvelope> {
    Envelope::read(body).map_err(|malformed| match http_status {
        200..=299 => NoEnvelope {
            result: AttemptResult::Malformed,
            charged: Charged::Unknown,
            message: if looks_like_html(body) {
                format!(
                    "an HTML page with HTTP {http_status} in place of a response: a login page, a proxy, or a wrong base_url"
                )
            } else {
                malformed.to_string()
            },
        },
        status => NoEnvelope {
            result: AttemptResult::HttpStatus(status),
            // A request that is turned away is not charged. A server that fails may have charged
            // before.
            charged: if status < 500 {
                Charged::No
            } else {
                Charged::Unknown
            },
            message: format!("HTTP {status} without a response of the provider"),
        },
    })
}

/// Whether a body is a page for people, as far as its beginning shows.
fn looks_like_html(body: &[u8]) -> bool {
    let start = String::from_utf8_lossy(&body[..body.len().min(512)]).to_ascii_lowercase();
    let start = start.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    ["<!doctype html", "<html", "<head", "<body", "<!--"]
        .iter()
        .any(|tag| start.starts_with(tag))
}

/// The result of a request that has no complete body.
pub(super) fn classify_error(error: &SendError) -> AttemptResult {
    match error {
        SendError::NotSent(_) => AttemptResult::NotSent,
        SendError::WayRefused(_) => AttemptResult::WayRefused,
        SendError::NoResponse(_) => AttemptResult::NoResponse,
        SendError::TooLarge { .. } => AttemptResult::TooLarge,
        SendError::Encoding { .. } => AttemptResult::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_counts_under_every_http_status() {
        let body = br#"{"status_code":40100,"status_message":"no","tasks":[]}"#;
        for http_status in [200, 401, 500] {
            let envelope = classify(http_status, body).unwrap();
            assert_eq!(envelope.status(), (40100, "no"));
        }
    }

    #[test]
    fn without_an_envelope_only_a_request_that_was_turned_away_is_certainly_free() {
        for (http_status, result, charged) in [
            (200, AttemptResult::Malformed, Charged::Unknown),
            (307, AttemptResult::HttpStatus(307), Charged::No),
            (429, AttemptResult::HttpStatus(429), Charged::No),
            (502, AttemptResult::HttpStatus(502), Charged::Unknown),
        ] {
            let error = classify(http_status, b"<html>").unwrap_err();
            assert_eq!((error.result, error.charged), (result, charged));
        }
    }
}
