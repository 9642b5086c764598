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
/// A server that cannot be reached, takes too long, or does not accept the document. No message
/// contains the token.
pub async fn post_json(url: &Url, token: Option<&str>, json: String, clock: &Clock) -> Result<()> {
    let mut request = Request::post(url.as_str()).header(CONTENT_TYPE, "application/json");
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Bytes::from(json));
    let request = request.map_err(|_| Error::usage("its URL or its token cannot be sent"))?;
    let transport = HttpTransport::new(url)?;
    let sent = clock.within(TIMEOUT, transport.send(request)).await;
    let response = sent
        .ok_or_else(|| Error::unexpected(format!("it takes longer than {} s", TIMEOUT.as_secs())))?
        .context(|| "it cannot be reached")?;
    if response.status.is_success() {
        return Ok(());
    }
    Err(Error::unexpected(format!(
        "it responds with {}",
        response.status
    )))
}
