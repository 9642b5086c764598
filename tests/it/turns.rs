//! A transport on which the requests and responses of one start take turns: no two of them pass in the same millisecond of
//! simulated time. The order in which threads finish work on responses that arrived together therefore does not matter.

use std::sync::Arc;
use std::time::Duration;

use backlake::clock::Clock;
use backlake::fetch::{SendError, StreamingResponse, Transport};
use backlake::pipeline::Surroundings;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::Request;
use parking_lot::Mutex;

const TURN: Duration = Duration::from_millis(1);

#[derive(Debug)]
struct Turns {
    inner: Arc<dyn Transport>,
    clock: Clock,
    /// The first turn that is free.
    free: Mutex<Duration>,
}

impl Turns {
    /// Waits for a turn of its own.
    async fn turn(&self) {
        let now = self.clock.running();
        let turn = {
            let mut free = self.free.lock();
            let turn = (now + TURN).max(*free);
            *free = turn + TURN;
            turn
        };
        self.clock.sleep(turn - now).await;
    }
}

impl Transport for Turns {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<StreamingResponse, SendError>> {
        Box::pin(async {
            self.turn().await;
            let response = self.inner.send(request).await;
            self.turn().await;
            response
        })
    }
}

/// The same surroundings, with a transport on which requests and responses take turns.
pub(crate) fn in_turns(env: Surroundings<'_>) -> Surroundings<'_> {
    let turns = |inner| {
        let turns = Turns {
            inner,
            clock: env.clock.clone(),
            free: Mutex::default(),
        };
        Arc::new(turns) as Arc<dyn Transport>
    };
    Surroundings {
        transport: env.transport.map(turns),
        ..env
    }
}
