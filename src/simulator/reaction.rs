//! What the simulator does with a request: a response, or a failure of the connection.

use std::io::Read as _;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;

/// An HTTP response as the simulator sends it, or as a test scripts it.
#[derive(Debug, Clone)]
pub struct Scripted {
    /// The HTTP status.
    pub status: u16,
    /// The headers by name and value.
    pub headers: Vec<(&'static str, String)>,
    /// The body as sent.
    pub body: Bytes,
}

impl Scripted {
    /// A JSON body with HTTP 200.
    #[must_use]
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type", "application/json".to_owned())],
            body: body.into(),
        }
    }

    /// A failed task with HTTP 200 that costs nothing, as the provider sends it.
    #[must_use]
    pub fn code(code: u32) -> Self {
        Self::coded(code, "0")
    }

    /// A failed task with HTTP 200 at this cost, which is any JSON.
    #[must_use]
    pub fn coded(code: u32, cost: &str) -> Self {
        Self::failed(code, "Scripted.", cost)
    }

    /// A failed task with HTTP 200 and this message, at this cost, which is any JSON.
    #[must_use]
    pub fn failed(code: u32, message: &str, cost: &str) -> Self {
        let body = format!(
            r#"{{"version":"0.1","status_code":20000,"status_message":"Ok.","time":"0 sec.","cost":{cost},"tasks_count":1,"tasks_error":0,"tasks":[{{"id":null,"status_code":{code},"status_message":"{message}","time":"0 sec.","cost":{cost},"result_count":0,"path":[],"data":{{}},"result":null}}]}}"#
        );
        Self::ok(body)
    }

    /// An error of the whole request: a response without tasks, at this cost, which is any JSON.
    #[must_use]
    pub fn envelope(code: u32, cost: &str) -> Self {
        let body = format!(
            r#"{{"version":"0.1","status_code":{code},"status_message":"Scripted.","time":"0 sec.","cost":{cost},"tasks_count":0,"tasks_error":0,"tasks":null}}"#
        );
        Self::ok(body)
    }

    /// The body without gzip.
    pub(super) fn plain(&self) -> Vec<u8> {
        let mut plain = Vec::new();
        let zipped = self
            .headers
            .iter()
            .any(|(name, _)| *name == "content-encoding");
        if !zipped
            || MultiGzDecoder::new(self.body.as_ref())
                .read_to_end(&mut plain)
                .is_err()
        {
            return self.body.to_vec();
        }
        plain
    }

    /// An HTML page, as a proxy in front of a broken provider sends it.
    #[must_use]
    pub(super) fn html(status: u16) -> Self {
        Self {
            status,
            headers: vec![("content-type", "text/html".to_owned())],
            body: format!("<html><body><h1>{status}</h1></body></html>").into(),
        }
    }
}

/// What the simulator does with a request. A number is that of the request, counted from 0.
#[derive(Debug)]
pub enum Reaction {
    /// Sends a response.
    Response(Scripted),
    /// Refuses the connection.
    Refused,
    /// Closes the connection without a response.
    HangUp,
    /// Closes the connection in the middle of the response.
    BreakOff(u64, Scripted),
    /// Sends half of the response and never the rest.
    Stall(u64, Scripted),
}

impl From<Scripted> for Reaction {
    fn from(response: Scripted) -> Self {
        Self::Response(response)
    }
}

/// A point in the life of a request that a test can wait for. A number is that of the request,
/// counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Milestone {
    /// A request to the paid endpoint has arrived.
    Request(u64),
    /// Half of the response has been sent.
    HalfResponse(u64),
}
