//! Sends HTTP requests; the only user of reqwest. A test implements [`Transport`] to reach the
//! simulator without sockets and on its own clock.

use std::net::IpAddr;
use std::time::Duration;
use std::{fmt, io};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use http::{HeaderMap, Request, StatusCode};
use url::{Host, Url};

use crate::error::{Context, Result};

/// Carries requests to the provider.
pub trait Transport: fmt::Debug + Send + Sync {
    /// Sends a request. Returns when the status and the headers of the response have arrived.
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<StreamingResponse, SendError>>;
}

/// A response whose body is still arriving.
pub struct StreamingResponse {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it arrives, or why it is incomplete.
    pub body: BoxStream<'static, Result<Bytes, String>>,
}

/// HTTP/1.1 and HTTP/2, over TLS unless the host is this machine.
#[derive(Debug)]
pub(super) struct HttpTransport(reqwest::Client);

impl HttpTransport {
    /// A pool of connections to a host.
    pub(super) fn new(base: &Url) -> Result<Self> {
        let http = Self::builder(base).build();
        Ok(Self(http.context(|| "failed to set up the HTTP client")?))
    }

    fn builder(base: &Url) -> reqwest::ClientBuilder {
        let mut http = reqwest::Client::builder();
        if base.scheme() == "http" {
            // A proxy would see the credentials.
            http = http.no_proxy();
        }
        http.user_agent(concat!("backlake/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            // It would send an attempt again by itself, unseen by ledger, budget and rate.
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(Duration::from_secs(15))
            .pool_idle_timeout(Duration::from_secs(50))
            .tcp_nodelay(true)
            .http2_max_header_list_size(64 << 10)
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<StreamingResponse, SendError>> {
        Box::pin(async move {
            let request = reqwest::Request::try_from(request)
                .map_err(|error| SendError::NotSent(chain(&error)))?;
            let response = self.0.execute(request).await.map_err(|error| {
                if error.is_connect() {
                    not_connected(chain(&error))
                } else {
                    SendError::NoResponse(chain(&error))
                }
            })?;
            let (status, headers) = (response.status(), response.headers().clone());
            let body = stream::unfold(response, |mut response| async move {
                let chunk = response
                    .chunk()
                    .await
                    .map_err(|error| chain(&error))
                    .transpose()?;
                Some((chunk, response))
            });
            Ok(StreamingResponse {
                status,
                headers,
                body: body.boxed(),
            })
        })
    }
}

/// Why there is no connection. A certificate that is not valid, and a proxy that wants credentials,
/// stay as they are.
fn not_connected(text: String) -> SendError {
    let lasting = ["invalid peer certificate", "proxy authorization required"];
    if lasting.iter().any(|reason| text.contains(reason)) {
        SendError::WayRefused(text)
    } else {
        SendError::NotSent(text)
    }
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
    let mut text = if error.is_timeout() {
        "timed out".to_owned()
    } else {
        String::new()
    };
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    if text.is_empty() {
        error.to_string()
    } else {
        text
    }
}

/// Why there is no complete response.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No connection: the request was never sent.
    #[error("failed to connect: {0}")]
    NotSent(String),
    /// No connection, and the next try would end the same way.
    #[error("failed to connect: {0}")]
    WayRefused(String),
    /// The request was sent, and no complete response arrived.
    #[error("no complete response: {0}")]
    NoResponse(String),
    /// The body of the response is larger than allowed.
    #[error(
        "the response is larger than {max} bytes; raise [api] max_response_mib if that is expected"
    )]
    TooLarge {
        /// The limit in bytes.
        max: u64,
    },
    /// The body of the response cannot be decompressed.
    #[error("failed to decompress the response: {cause}")]
    Encoding {
        /// The decoder's error.
        cause: io::Error,
        /// The body as received.
        body: Bytes,
    },
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_request_that_http_2_turns_away_is_sent_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base: Url = format!("http://{}", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let requests = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                seen.fetch_add(1, Ordering::Relaxed);
                respond.send_reset(h2::Reason::REFUSED_STREAM);
            }
        });
        let http = HttpTransport::builder(&base).http2_prior_knowledge();
        let transport = HttpTransport(http.build().unwrap());
        let mut request = Request::new(Bytes::from_static(b"[{}]"));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = base.as_str().parse().unwrap();
        let Err(error) = transport.send(request).await else {
            panic!("a refused stream has no response");
        };
        assert!(matches!(error, SendError::NoResponse(_)), "{error}");
        assert_eq!(requests.load(Ordering::Relaxed), 1);
    }
}
