//! Posts a JSON document to a web server that is not the provider.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use url::Url;

use super::transport::{HttpTransport, Transport as _};
use crate::clock::Clock;
use crate::error::{Context as _, Error, Result};

/// How long the server may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Posts a JSON document, once, with a bearer token if there is one.
///
/// # Errors
/// The server cannot be reached, takes too long, or rejects the document. No message
/// contains the token.
pub async fn post_json(url: &Url, token: Option<&str>, json: String, clock: &Clock) -> Result<()> {
    let mut request = Request::post(url.as_str()).header(CONTENT_TYPE, "application/json");
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Bytes::from(json));
    let request =
        request.map_err(|_| Error::usage("the URL or the token cannot be sent in a request"))?;
    let transport = HttpTransport::new(url)?;
    let sent = clock.within(TIMEOUT, transport.send(request)).await;
    let response = sent
        .ok_or_else(|| {
            Error::unexpected(format!(
                "the server did not respond within {} s",
                TIMEOUT.as_secs()
            ))
        })?
        .context(|| "failed to reach the server")?;
    if response.status.is_success() {
        return Ok(());
    }
    Err(Error::unexpected(format!(
        "the server responded with {}",
        response.status
    )))
}
