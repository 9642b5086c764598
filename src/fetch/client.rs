//! HTTP, and the only user of reqwest: posts a body, returns the whole answer or says how far it came.

use std::fmt;
use std::io::{self, Read};
use std::net::IpAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use url::{Host, Url};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::provider::Endpoint;

/// Who asks. Never shown: the password's type hides it.
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

/// What an answer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From sending to the last byte.
    pub timeout: Duration,
    /// Bytes of the body, before and after decompression.
    pub max_body: u64,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body, decompressed.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum SendError {
    /// No connection: the request never left.
    #[error("failed to connect: {0}")]
    NotSent(String),
    /// The request was sent, and no whole answer came.
    #[error("no whole answer: {0}")]
    NoAnswer(String),
    /// The answer's body is larger than allowed.
    #[error("the answer is larger than {max} bytes; raise [api] max_answer_mib if that is right")]
    TooLarge {
        /// The limit.
        max: u64,
    },
    /// The answer's body cannot be decompressed.
    #[error("failed to decompress the answer: {cause}")]
    Encoding {
        /// Why.
        cause: io::Error,
        /// The body as received.
        body: Bytes,
    },
}

/// Speaks to one host with one account.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    authorization: HeaderValue,
    limits: Limits,
}

impl Client {
    /// A client for this host. Certificates are verified and no redirect is followed.
    ///
    /// # Errors
    /// A host other than loopback without https: credentials are not sent in the clear.
    pub fn new(base: &str, credentials: &Credentials, limits: Limits) -> Result<Self> {
        let base: Url = base.parse().usage(|| format!("[api] base_url: `{base}` is no URL"))?;
        if base.scheme() != "https" && !(base.scheme() == "http" && is_loopback(&base)) {
            return Err(Error::usage(format!(
                "[api] base_url: {base} would send the credentials unencrypted"
            ))
            .with_hint("use https:// (http:// is for a simulator on this machine only)"));
        }
        let mut http = reqwest::Client::builder();
        if is_loopback(&base) {
            // What a proxy would read of plain http is the credentials.
            http = http.no_proxy();
        }
        let http = http
            .user_agent(concat!("backlake/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(Duration::from_secs(15))
            .timeout(limits.timeout)
            .pool_idle_timeout(Duration::from_secs(50))
            .tcp_nodelay(true)
            .build()
            .context(|| "failed to set up the HTTP client")?;
        let pair = format!("{}:{}", credentials.login, credentials.password.expose_secret());
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair);
        let mut authorization = HeaderValue::from_str(&format!("Basic {encoded}"))
            .map_err(|_| Error::new(ErrorKind::Account, "the credentials cannot be sent as HTTP Basic"))?;
        authorization.set_sensitive(true);
        Ok(Self { http, base, authorization, limits })
    }

    /// Posts a task to an endpoint.
    ///
    /// # Errors
    /// [`SendError`], which tells whether the request may have been charged.
    pub async fn post(&self, endpoint: Endpoint, body: Vec<u8>) -> Result<Reply, SendError> {
        let request =
            self.http.post(self.url(endpoint.path())).header(CONTENT_TYPE, "application/json").body(body);
        self.send(request).await
    }

    /// Asks what the provider knows of the account, free of charge.
    ///
    /// # Errors
    /// As [`Client::post`].
    pub async fn user_data(&self) -> Result<Reply, SendError> {
        self.send(self.http.get(self.url("/v3/appendix/user_data"))).await
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(path);
        url
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Reply, SendError> {
        let request =
            request.header(AUTHORIZATION, self.authorization.clone()).header(ACCEPT_ENCODING, "gzip");
        let mut response = request.send().await.map_err(|error| {
            if error.is_connect() {
                SendError::NotSent(chain(&error))
            } else {
                SendError::NoAnswer(chain(&error))
            }
        })?;
        let status = response.status().as_u16();
        let zipped =
            response.headers().get(CONTENT_ENCODING).is_some_and(|value| value.as_bytes() == b"gzip");
        let max = self.limits.max_body;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| SendError::NoAnswer(chain(&error)))? {
            if (body.len() + chunk.len()) as u64 > max {
                return Err(SendError::TooLarge { max });
            }
            body.extend_from_slice(&chunk);
        }
        let body = body.freeze();
        let body = if zipped {
            let unzip = tokio::task::spawn_blocking(move || unzip(&body, max));
            unzip.await.map_err(|error| SendError::NoAnswer(error.to_string()))??
        } else {
            body
        };
        Ok(Reply { status, body })
    }
}

fn unzip(zipped: &Bytes, max: u64) -> Result<Bytes, SendError> {
    let mut body = Vec::with_capacity(zipped.len().saturating_mul(8).min(1 << 22));
    MultiGzDecoder::new(zipped.as_ref())
        .take(max + 1)
        .read_to_end(&mut body)
        .map_err(|cause| SendError::Encoding { cause, body: zipped.clone() })?;
    if body.len() as u64 > max {
        return Err(SendError::TooLarge { max });
    }
    Ok(body.into())
}

/// Whether a URL's host is this machine.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

/// An error with its causes, in one line and without the URL.
fn chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "timed out".to_owned() } else { String::new() };
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}
