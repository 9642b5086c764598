//! The simulator on a port of loopback: HTTP/1.1, and all the ways in which a connection can go wrong.

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

use super::server::{State, react};
use super::{Coming, Reaction, Scripted};

/// Bytes of a request at the most.
const MAX_REQUEST: usize = 16 << 20;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Something that is under way for as long as this lives: a connection, or a task.
struct Busy(Arc<State>);

impl Busy {
    fn begin(state: &Arc<State>) -> Self {
        state.busy.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(state))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves until it is aborted.
pub(super) async fn listen(listener: TcpListener, state: Arc<State>) {
    // Connections end with the listener.
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
        let open = Busy::begin(&state);
        connections.spawn(async move {
            let _open = open;
            let service = service_fn(|request| serve(Arc::clone(&state), request));
            // A client that goes away is no concern of the provider's.
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
    // Done to its end and charged, whether or not the client waits for it.
    let (worker, busy) = (Arc::clone(&state), Busy::begin(&state));
    let reaction = tokio::spawn(async move {
        let _busy = busy;
        react(&worker, Request::from_parts(head, body)).await
    });
    match reaction.await.map_err(io::Error::other)? {
        Reaction::Answer(answer) => {
            let body = answer.body.clone();
            Ok(response(
                answer,
                Full::new(body)
                    .map_err(|never| match never {})
                    .boxed_unsync(),
            ))
        }
        Reaction::Refused | Reaction::HangUp => Err(io::ErrorKind::ConnectionReset.into()),
        Reaction::BreakOff(number, answer) => {
            let rest = stream::once(async { Err(io::ErrorKind::ConnectionReset.into()) });
            Ok(half(state, number, answer, rest.boxed()))
        }
        Reaction::Stall(number, answer) => {
            Ok(half(state, number, answer, stream::pending().boxed()))
        }
    }
}

/// Half of an answer, and then `rest`.
fn half(
    state: Arc<State>,
    number: u64,
    answer: Scripted,
    rest: stream::BoxStream<'static, io::Result<Frame<Bytes>>>,
) -> Response<Body> {
    let first = answer.body.slice(..answer.body.len() / 2);
    let first = stream::once(async { Ok(Frame::data(first)) });
    let told = stream::once(async move {
        state.tell(Coming::HalfAnswer(number));
        Ok(Frame::data(Bytes::new()))
    });
    response(
        answer,
        StreamBody::new(first.chain(told).chain(rest)).boxed_unsync(),
    )
}

fn response(answer: Scripted, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().append(name, value);
        }
    }
    response
}
