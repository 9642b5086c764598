//! Downloads a target list from the web to a temporary file, within limits of size and time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, LOCATION};
use http::{HeaderMap, Request, StatusCode};
use tempfile::TempPath;
use url::Url;

use super::transport::{HttpTransport, SendError, StreamingResponse, Transport, is_loopback};
use crate::clock::Clock;
use crate::error::{Context, Error, Result};
use crate::store::Download;

/// The limits of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownloadLimits {
    /// The longest time from the first byte sent to the last byte received, over all tries.
    pub timeout: Duration,
    /// The longest time between two bytes.
    pub stall: Duration,
    /// The largest file in bytes.
    pub max_bytes: u64,
}

/// How often a download is tried. A list is read before anything is paid for, so a scheduler can
/// also start the run again.
const TRIES: u32 = 3;
/// The wait before the second try.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Redirects that are followed.
const MAX_REDIRECTS: usize = 5;

/// Whether a list may be read from this URL: over https, or from this machine.
#[must_use]
pub fn is_downloadable(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url))
}

/// Downloads a list. Redirects are followed to URLs that are as safe.
///
/// # Errors
/// A usage error that says why the list cannot be read. Messages contain neither the query nor the
/// user info of the URL, which may be credentials.
pub async fn download(url: &Url, limits: DownloadLimits, clock: &Clock) -> Result<TempPath> {
    let tries = async {
        let mut wait = FIRST_WAIT;
        for _ in 1..TRIES {
            match once(url, limits, clock).await {
                Err(Failure::Passing(_)) => clock.sleep(wait).await,
                Err(Failure::Lasting(error)) => return Err(error),
                Ok(path) => return Ok(path),
            }
            wait *= 2;
        }
        once(url, limits, clock)
            .await
            .map_err(|failure| match failure {
                Failure::Passing(error) | Failure::Lasting(error) => error,
            })
    };
    let in_time = clock.within(limits.timeout, tries).await;
    in_time.unwrap_or_else(|| {
        let minutes = limits.timeout.as_secs() / 60;
        Err(refused(format!("it takes longer than {minutes} minutes")))
    })
}

/// Why a try failed.
enum Failure {
    /// Another try may succeed.
    Passing(Error),
    /// It would fail in the same way.
    Lasting(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Lasting(error)
    }
}

async fn once(url: &Url, limits: DownloadLimits, clock: &Clock) -> Result<TempPath, Failure> {
    let StreamingResponse { mut body, .. } = opened(url, limits, clock).await?;
    let mut to = Download::new(limits.max_bytes)?;
    loop {
        match clock.within(limits.stall, body.next()).await {
            Some(Some(Ok(bytes))) => to.write(&bytes)?,
            Some(None) => return Ok(to.finish()),
            Some(Some(Err(cause))) => {
                return Err(Failure::Passing(refused(format!("it broke off: {cause}"))));
            }
            None => return Err(Failure::Passing(stalled(limits))),
        }
    }
}

/// The response at the end of all redirects.
async fn opened(
    url: &Url,
    limits: DownloadLimits,
    clock: &Clock,
) -> Result<StreamingResponse, Failure> {
    let mut url = url.clone();
    for _ in 0..=MAX_REDIRECTS {
        let transport: Arc<dyn Transport> = Arc::new(HttpTransport::new(&url)?);
        let request = Request::get(url.as_str()).header(ACCEPT_ENCODING, "identity");
        let request = request.body(Bytes::new());
        let request = request.usage(|| "its URL cannot be requested")?;
        let sent = clock.within(limits.stall, transport.send(request)).await;
        let response = match sent {
            Some(Ok(response)) => response,
            Some(Err(error)) => return Err(Failure::Passing(unreachable(&error))),
            None => return Err(Failure::Passing(stalled(limits))),
        };
        match response.status {
            StatusCode::OK => return as_it_is(&url, response).map_err(Failure::Lasting),
            status if status.is_redirection() => url = redirected(&url, &response.headers)?,
            status => {
                let error = answered(status);
                return Err(if status.is_server_error() {
                    Failure::Passing(error)
                } else {
                    Failure::Lasting(error)
                });
            }
        }
    }
    let message = format!("it redirects more than {MAX_REDIRECTS} times");
    Err(Failure::Lasting(refused(message)))
}

/// Refuses a list that is compressed although its name does not say so, because the name decides how
/// it is read.
fn as_it_is(url: &Url, response: StreamingResponse) -> Result<StreamingResponse> {
    let encoding = response.headers.get(CONTENT_ENCODING);
    match encoding.and_then(|encoding| encoding.to_str().ok()) {
        None | Some("" | "identity") => Ok(response),
        Some(_) if url.path().ends_with(".gz") || url.path().ends_with(".zst") => Ok(response),
        Some(encoding) => Err(
            Error::usage(format!("its server compresses it ({encoding})"))
                .with_hint("store the list uncompressed, or under a name that ends in .gz or .zst"),
        ),
    }
}

/// Where a redirect leads. From https it never leads to another scheme.
fn redirected(from: &Url, headers: &HeaderMap) -> Result<Url> {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let to = location.and_then(|location| from.join(location).ok());
    match to {
        None => Err(refused("it redirects to nowhere".to_owned())),
        Some(to) if to.scheme() == from.scheme() && is_downloadable(&to) => Ok(to),
        Some(to) => {
            let host = to.host_str().unwrap_or_default();
            let message = format!("it redirects to {}://{host}", to.scheme());
            Err(Error::usage(message)
                .with_hint("only redirects to https are followed; write the final URL"))
        }
    }
}

fn answered(status: StatusCode) -> Error {
    let hint = match status.as_u16() {
        401 | 403 => {
            "the URL must be readable without a login; a signed URL may have expired; nothing was sent"
        }
        404 | 410 => "correct [targets] paths or create the list; nothing was sent",
        _ => return refused(format!("its server responds with HTTP {status}")),
    };
    Error::usage(format!("its server responds with HTTP {status}")).with_hint(hint)
}

fn unreachable(error: &SendError) -> Error {
    refused(format!("its server cannot be reached: {error}"))
}

fn stalled(limits: DownloadLimits) -> Error {
    let seconds = limits.stall.as_secs();
    refused(format!("its server sends nothing for {seconds} seconds"))
}

fn refused(message: String) -> Error {
    Error::usage(message).with_hint(
        "check the URL and the network, then run the same command again; nothing was sent",
    )
}
