//! Routes requests, applies credentials, limits and faults, and reacts as the provider does.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};

use super::draws::Draws;
use super::faults::{Fault, What};
use super::free::{errors, id_list, index, user_data};
use super::odd::odd;
use super::reaction::{Milestone, Reaction, Scripted};
use super::response::{TaskResponse, encoded, refused, refused_login, without_tasks};
use super::rules::Refusal;
use super::state::{Charge, InFlight, State};
use super::task::perform;
use crate::provider::{Endpoint, IndexSize, code};

/// Reacts to a request.
pub(super) async fn react(state: &Arc<State>, request: Request<Bytes>) -> Reaction {
    let (head, body) = request.into_parts();
    let headers = head.headers;
    let paid = Endpoint::BulkPagesSummary.path();
    let mut reaction = match (&head.method, head.uri.path()) {
        (&Method::POST, path) if path == paid => bulk_pages_summary(state, headers, body).await,
        (&Method::GET, "/v3/appendix/user_data") => user_data(state, &headers).into(),
        (&Method::GET, IndexSize::PATH) => index(state, &headers).into(),
        (&Method::POST, "/v3/backlinks/id_list") => id_list(state, &headers, &body).into(),
        (&Method::POST, "/v3/backlinks/errors") => errors(state, &headers, &body).into(),
        _ => Scripted {
            status: 404,
            ..without_tasks(&Refusal::new(code::NOT_FOUND, "Not Found."), &headers)
        }
        .into(),
    };
    if let Reaction::Response(response) = &mut reaction {
        let date = state.clock.now().format("%a, %d %b %Y %H:%M:%S GMT");
        response.headers.push(("date", date.to_string()));
    }
    reaction
}

async fn bulk_pages_summary(state: &Arc<State>, headers: HeaderMap, body: Bytes) -> Reaction {
    let in_flight = InFlight::enter(state);
    let number = state.requests.fetch_add(1, Ordering::Relaxed);
    state.report(Milestone::Request(number));
    let faults = faults_of(state, number);
    for fault in faults.iter().filter(|fault| fault.what == What::WallClock) {
        state.clock.set_wall(fault.step());
    }
    if let Some(refusal) = refused_at_the_door(state, &in_flight, &headers) {
        return refusal.into();
    }
    state
        .clock
        .sleep(state.behaviour.latency + delay(&faults))
        .await;
    if let Some(scripted) = state.script.lock().pop_front() {
        return scripted.into();
    }
    let fault = faults
        .into_iter()
        .find(|fault| !matches!(fault.what, What::Late | What::WallClock));
    let reaction = match fault {
        Some(fault) if !fault.charged => instead_of_the_task(fault, &headers, state),
        _ => {
            let done = perform_and_encode(state, headers.clone(), body, fault.cloned()).await;
            match fault {
                Some(fault) => after_the_task(fault, number, done, &headers, state),
                None => done.response.into(),
            }
        }
    };
    drop(in_flight);
    reaction
}

/// The faults of a request: a pure function of the seed and the number of the request.
fn faults_of(state: &State, number: u64) -> Vec<&Fault> {
    let draw = |salt: &[u8]| {
        Draws::new(state.behaviour.seed, &[salt, &number.to_le_bytes()]).bits() as f64
            / u64::MAX as f64
    };
    let faults = state.behaviour.faults.iter().enumerate();
    let strikes = |(at, fault): &(usize, &Fault)| fault.strikes(number, draw(&at.to_le_bytes()));
    faults.filter(strikes).map(|(_, fault)| fault).collect()
}

/// The delay of all faults together.
fn delay(faults: &[&Fault]) -> Duration {
    let late = faults.iter().filter(|fault| fault.what == What::Late);
    late.map(|fault| fault.delay()).sum()
}

/// Refuses a request before any work if its credentials are wrong or it exceeds a limit.
fn refused_at_the_door(
    state: &State,
    in_flight: &InFlight<'_>,
    headers: &HeaderMap,
) -> Option<Scripted> {
    if !state.authorised(headers) {
        return Some(refused_login(headers));
    }
    if in_flight.count > state.behaviour.max_in_flight as usize {
        let message = "Too many simultaneous requests.";
        let refusal = Refusal::new(code::TOO_MANY_AT_ONCE, message);
        return Some(without_tasks(&refusal, headers));
    }
    if !state.admits_request() {
        return Some(refused(state, &Refusal::rate_per_minute(), headers));
    }
    None
}

/// A task that is done and charged, and its response.
struct Done {
    id: String,
    response: Scripted,
}

/// Does a task on a blocking thread, because a large one takes milliseconds. In simulated time it runs in place, so
/// that the order of simultaneous tasks does not depend on threads.
async fn perform_and_encode(
    state: &Arc<State>,
    headers: HeaderMap,
    body: Bytes,
    fault: Option<Fault>,
) -> Done {
    let state = Arc::clone(state);
    let is_simulated = state.clock.is_simulated();
    let work = move || {
        let mut done = perform(&state, &body);
        if let Some(fault) = fault.filter(|fault| fault.what == What::Dearer) {
            let mut ledger = state.ledger.lock();
            if let Some(charge) = ledger.iter_mut().find(|charge| charge.id == done.id()) {
                charge.cost = charge.cost * fault.times;
                done.set_cost(charge.cost);
            }
        }
        Done {
            id: done.id().to_owned(),
            response: encoded(&done, &headers),
        }
    };
    if is_simulated {
        return work();
    }
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Done {
            id: String::new(),
            response: Scripted::html(500),
        })
}

/// The reaction to a request whose task is never done.
fn instead_of_the_task(fault: &Fault, headers: &HeaderMap, state: &State) -> Reaction {
    match fault.what {
        What::Code => refused(state, &Refusal::new(fault.code, "Scripted."), headers).into(),
        What::EnvelopeCode => without_tasks(&Refusal::new(fault.code, "Scripted."), headers).into(),
        What::Html => Scripted::html(fault.code as u16).into(),
        What::Refused => Reaction::Refused,
        What::Stall => Reaction::Stall(0, Scripted::ok("")),
        _ => Reaction::HangUp,
    }
}

/// The reaction to a request whose task is done and charged.
fn after_the_task(
    fault: &Fault,
    number: u64,
    done: Done,
    headers: &HeaderMap,
    state: &State,
) -> Reaction {
    let Done { id, mut response } = done;
    match fault.what {
        What::Code => {
            // A failed task can still be charged.
            let refusal = Refusal::new(fault.code, "Scripted.");
            let mut failed = TaskResponse::of_failed_task(state, &refusal);
            let mut ledger = state.ledger.lock();
            if let Some(charge) = ledger.iter_mut().find(|charge| charge.id == id) {
                *charge = Charge {
                    status_code: fault.code,
                    items: 0,
                    ..charge.clone()
                };
                failed.set_cost(charge.cost);
            }
            encoded(&failed, headers).into()
        }
        What::Dearer => response.into(),
        What::Odd => {
            // Without gzip, which a client must accept, too.
            let json = response.plain();
            Scripted::ok(odd(&String::from_utf8_lossy(&json), number)).into()
        }
        What::Encoding => {
            let names = ["GZIP", "x-gzip", "Gzip", "X-GZIP"];
            let name = names[(number % names.len() as u64) as usize];
            let encodings = response.headers.iter_mut();
            for (_, value) in encodings.filter(|(header, _)| *header == "content-encoding") {
                name.clone_into(value);
            }
            response.into()
        }
        What::Html => Scripted::html(fault.code as u16).into(),
        What::BreakOff => Reaction::BreakOff(number, response),
        What::Stall => Reaction::Stall(number, response),
        What::TruncatedGzip => {
            response.body.truncate(response.body.len() / 2);
            response.into()
        }
        _ => Reaction::HangUp,
    }
}
