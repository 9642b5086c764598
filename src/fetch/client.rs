//! Sends requests to the provider with one account, and returns complete responses or says why
//! there is none.
//!
//! Responses are not trusted. Their size before and after decompression, the number of their
//! headers, the total time and the time between two bytes are bounded, and nothing reads a response
//! before it is complete.

use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, TimeDelta, Utc};
use flate2::read::MultiGzDecoder;
use futures::StreamExt as _;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, DATE, RETRY_AFTER,
};
use http::{HeaderMap, HeaderValue, Method, Request};
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::transport::{HttpTransport, SendError, Transport, is_loopback};
use crate::aside::{aside, unpacked};
use crate::clock::{Clock, to_next_minute};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::provider::{Endpoint, IndexSize};
use crate::secret::{Secrets, shown};

/// The login of the account. It is never shown: the password's type hides it.
#[derive(Clone)]
pub struct Credentials {
    /// The account's login.
    pub login: String,
    /// The account's API password.
    pub password: SecretString,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(hidden)")
    }
}

/// The limits of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest time from sending to the last byte.
    pub timeout: Duration,
    /// The longest time between two bytes of the body.
    pub stall: Duration,
    /// The largest body in bytes, before and after decompression.
    pub max_body: u64,
}

/// A complete response.
#[derive(Debug, Clone)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body, decompressed. If it repeats the credentials, they are replaced by asterisks.
    pub body: Bytes,
    /// How often the body repeats the credentials.
    pub secrets: usize,
    /// How long the provider asks to wait before the next request, if it does.
    pub requested_wait: Option<Duration>,
}

/// A date that differs by more says nothing about a clock.
const MOST_AHEAD: TimeDelta = TimeDelta::days(3650);
/// Headers that a response may have.
const MAX_HEADERS: usize = 100;

/// Sends requests to one host with one account.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    base: Url,
    authorization: HeaderValue,
    secrets: Secrets,
    limits: Limits,
    clock: Clock,
    /// How far the provider's clock was ahead of ours at the last response that showed its date.
    ahead: Arc<Mutex<TimeDelta>>,
}

impl Client {
    /// A client for this host. Certificates are verified, and redirects are not followed.
    ///
    /// # Errors
    /// A host other than this machine without https, because credentials must not be sent
    /// unencrypted.
    pub fn new(
        base: &str,
        credentials: &Credentials,
        limits: Limits,
        clock: &Clock,
    ) -> Result<Self> {
        let base: Url = base
            .parse()
            .usage(|| format!("[api] base_url: `{}` is not a URL", shown(base)))?;
        if base.scheme() != "https" && !(base.scheme() == "http" && is_loopback(&base)) {
            return Err(Error::usage(format!(
                "[api] base_url: {} would send the credentials unencrypted",
                shown(base.as_str())
            ))
            .with_hint("use https:// (http:// is for a simulator on this machine only)"));
        }
        let transport = Arc::new(HttpTransport::new(&base)?);
        Self::with_transport(transport, base, credentials, limits, clock)
    }

    /// A client with another transport, for tests.
    ///
    /// # Errors
    /// Credentials that cannot be sent.
    pub fn with_transport(
        transport: Arc<dyn Transport>,
        base: Url,
        credentials: &Credentials,
        limits: Limits,
        clock: &Clock,
    ) -> Result<Self> {
        let pair = format!(
            "{}:{}",
            credentials.login,
            credentials.password.expose_secret()
        );
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair);
        let mut authorization =
            HeaderValue::from_str(&format!("Basic {encoded}")).map_err(|_| {
                Error::new(
                    ErrorKind::Account,
                    "the credentials cannot be sent as HTTP Basic",
                )
                .with_hint(
                    "remove line breaks and control characters from the login and the password",
                )
            })?;
        authorization.set_sensitive(true);
        Ok(Self {
            transport,
            base,
            authorization,
            secrets: Secrets::new(&credentials.login, credentials.password.expose_secret()),
            limits,
            clock: clock.clone(),
            ahead: Arc::default(),
        })
    }

    /// Posts a task to an endpoint.
    ///
    /// # Errors
    /// [`SendError`], which says whether the request may have been charged.
    pub async fn post(&self, endpoint: Endpoint, body: Vec<u8>) -> Result<Response, SendError> {
        self.send(Method::POST, endpoint.path(), body.into()).await
    }

    /// Requests the account, free of charge.
    ///
    /// # Errors
    /// As [`Client::post`].
    pub async fn user_data(&self) -> Result<Response, SendError> {
        self.send(Method::GET, "/v3/appendix/user_data", Bytes::new())
            .await
    }

    /// Requests the size of the provider's index, free of charge.
    ///
    /// # Errors
    /// As [`Client::post`].
    pub async fn index(&self) -> Result<Response, SendError> {
        self.send(Method::GET, IndexSize::PATH, Bytes::new()).await
    }

    /// Requests a page of the tasks that the account has run, free of charge.
    ///
    /// # Errors
    /// As [`Client::post`].
    pub async fn id_list(&self, body: Vec<u8>) -> Result<Response, SendError> {
        self.send(Method::POST, "/v3/backlinks/id_list", body.into())
            .await
    }

    /// How far the provider's clock is ahead of ours, as the `Date` header of its last response says. Zero if none says so.
    #[must_use]
    pub fn provider_ahead(&self) -> TimeDelta {
        *self.ahead.lock()
    }

    /// Takes note of the date of a response.
    fn note_date(&self, headers: &HeaderMap) {
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok());
        let ahead = date.map(|date| date.to_utc() - self.clock.now());
        if let Some(ahead) = ahead.filter(|ahead| ahead.abs() < MOST_AHEAD) {
            *self.ahead.lock() = ahead;
        }
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(path);
        url
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response, SendError> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        let sent = request.body().clone();
        *request.uri_mut() =
            self.url(path).as_str().parse().map_err(|_| {
                SendError::NotSent("the address cannot be written as a URI".to_owned())
            })?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(AUTHORIZATION, self.authorization.clone());
        let whole = self
            .clock
            .within(self.limits.timeout, self.receive(request))
            .await;
        let received = whole.unwrap_or_else(|| {
            let limit = self.limits.timeout.as_secs();
            Err(SendError::NoResponse(format!(
                "timed out: no complete response in {limit} s"
            )))
        });
        let secrets = self.secrets.clone();
        let bytes = sent.len() + received.as_ref().map_or(0, |response| response.body.len());
        let searched = aside(bytes, move || without_secrets(&secrets, received, &sent));
        searched.await.unwrap_or_else(|_| {
            Err(SendError::NoResponse(
                "searching the response for credentials panicked".to_owned(),
            ))
        })
    }

    async fn receive(&self, request: Request<Bytes>) -> Result<Response, SendError> {
        let mut response = self.transport.send(request).await?;
        self.note_date(&response.headers);
        if response.headers.len() > MAX_HEADERS {
            return Err(SendError::NoResponse(format!(
                "the response has more than {MAX_HEADERS} headers"
            )));
        }
        let max = self.limits.max_body;
        let mut body = BytesMut::new();
        loop {
            let Some(chunk) = self
                .clock
                .within(self.limits.stall, response.body.next())
                .await
            else {
                let (limit, received) = (self.limits.stall.as_secs(), body.len());
                return Err(SendError::NoResponse(format!(
                    "stalled: no byte in {limit} s after {received} bytes"
                )));
            };
            let Some(chunk) = chunk else { break };
            let chunk = chunk.map_err(SendError::NoResponse)?;
            if (body.len() + chunk.len()) as u64 > max {
                return Err(SendError::TooLarge { max });
            }
            body.extend_from_slice(&chunk);
        }
        let body = body.freeze();
        let zipped = response
            .headers
            .get(CONTENT_ENCODING)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| {
                let name = value.trim();
                name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip")
            });
        let body = if zipped {
            let unzipped = aside(unpacked(body.len()), move || unzip(&body, max));
            unzipped
                .await
                .map_err(|error| SendError::NoResponse(error.to_string()))??
        } else {
            body
        };
        let requested_wait = requested_wait(&response.headers, self.clock.now());
        Ok(Response {
            status: response.status.as_u16(),
            body,
            secrets: 0,
            requested_wait,
        })
    }
}

/// Takes the credentials out of what was received, before anything stores, reads or prints it.
fn without_secrets(
    secrets: &Secrets,
    received: Result<Response, SendError>,
    sent: &[u8],
) -> Result<Response, SendError> {
    match received {
        Ok(mut response) => {
            if let Some((body, count)) = secrets.blotted(&response.body, sent) {
                (response.body, response.secrets) = (body, count);
            }
            Ok(response)
        }
        Err(SendError::Encoding { cause, body }) => {
            let blotted = secrets.blotted(&body, sent);
            let body = blotted.map_or(body, |(body, _)| body);
            Err(SendError::Encoding { cause, body })
        }
        Err(error) => Err(error),
    }
}

/// How long the headers of a response ask to wait: `Retry-After`, in seconds or as a date, or the
/// rest of the minute if `X-RateLimit-Remaining` is 0. The provider documents neither, but both are
/// respected.
fn requested_wait(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    if let Some(after) = text(RETRY_AFTER.as_str()) {
        let date = || DateTime::parse_from_rfc2822(after).ok();
        return match after.parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => date().map(|date| (date.to_utc() - now).to_std().unwrap_or_default()),
        };
    }
    let remaining: u64 = text("x-ratelimit-remaining")?.parse().ok()?;
    (remaining == 0).then(|| to_next_minute(now))
}

fn unzip(zipped: &Bytes, max: u64) -> Result<Bytes, SendError> {
    let mut body = Vec::with_capacity(zipped.len().saturating_mul(8).min(1 << 22));
    MultiGzDecoder::new(zipped.as_ref())
        .take(max + 1)
        .read_to_end(&mut body)
        .map_err(|cause| SendError::Encoding {
            cause,
            body: zipped.clone(),
        })?;
    if body.len() as u64 > max {
        return Err(SendError::TooLarge { max });
    }
    Ok(body.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_headers_request_is_read() {
        let now = DateTime::from_timestamp(1_790_000_080, 0).unwrap();
        for (name, value, expected) in [
            ("retry-after", "7", Some(7)),
            ("retry-after", "Mon, 21 Sep 2026 14:15:00 GMT", Some(20)),
            ("retry-after", "Mon, 21 Sep 2026 14:00:00 GMT", Some(0)),
            ("retry-after", "soon", None),
            ("retry-after", "-3", None),
            ("x-ratelimit-remaining", "12", None),
            ("x-ratelimit-remaining", "0", Some(20)),
            ("x-ratelimit-limit", "2000", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(
                requested_wait(&headers, now).map(|wait| wait.as_secs()),
                expected,
                "{name}: {value}"
            );
        }
    }
}
