//! Serves the simulator on a port of the loopback interface: HTTP/1.1, and every way in which a
//! connection can fail.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::reaction::{Milestone, Reaction, Scripted};
use super::server::react;
use super::state::State;

/// The largest request in bytes.
const MAX_REQUEST: usize = 16 << 20;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Counts a connection or a request as in progress as long as it exists.
struct Busy(Arc<State>);

impl Busy {
    fn start(state: &Arc<State>) -> Self {
        state.busy.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(state))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves until its task is aborted.
pub(super) async fn listen(listener: TcpListener, state: Arc<State>) {
    // Dropping the set aborts the connections together with the listener.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection to the simulator failed");
                tokio::task::yield_now().await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let state = Arc::clone(&state);
        let open = Busy::start(&state);
        connections.spawn(async move {
            let _open = open;
            let service = service_fn(|request| serve(Arc::clone(&state), request));
            // The provider does not care whether the client closes the connection.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn serve(state: Arc<State>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MAX_REQUEST)
        .collect()
        .await
        .map_err(io::Error::other)?
        .to_bytes();
    // The provider does and charges a task even if the client does not wait for it.
    let (worker, busy) = (Arc::clone(&state), Busy::start(&state));
    let reaction = tokio::spawn(async move {
        let _busy = busy;
        react(&worker, Request::from_parts(head, body)).await
    });
    match reaction.await.map_err(io::Error::other)? {
        Reaction::Response(scripted) => {
            let body = scripted.body.clone();
            Ok(response(
                scripted,
                Full::new(body)
                    .map_err(|never| match never {})
                    .boxed_unsync(),
            ))
        }
        Reaction::Refused | Reaction::HangUp => Err(io::ErrorKind::ConnectionReset.into()),
        Reaction::BreakOff(number, scripted) => {
            let rest = stream::once(async { Err(io::ErrorKind::ConnectionReset.into()) });
            Ok(half(state, number, scripted, rest.boxed()))
        }
        Reaction::Stall(number, scripted) => {
            Ok(half(state, number, scripted, stream::pending().boxed()))
        }
    }
}

/// Half of a response, and then `rest`.
fn half(
    state: Arc<State>,
    number: u64,
    scripted: Scripted,
    rest: stream::BoxStream<'static, io::Result<Frame<Bytes>>>,
) -> Response<Body> {
    let half = scripted.body.slice(..scripted.body.len() / 2);
    let first = stream::once(async { Ok(Frame::data(half)) });
    let reported = stream::once(async move {
        state.report(Milestone::HalfResponse(number));
        Ok(Frame::data(Bytes::new()))
    });
    response(
        scripted,
        StreamBody::new(first.chain(reported).chain(rest)).boxed_unsync(),
    )
}

fn response(scripted: Scripted, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(scripted.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in scripted.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().append(name, value);
        }
    }
    response
}
