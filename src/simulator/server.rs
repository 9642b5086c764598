//! What the simulator does with a request: routes, credentials, limits, books, and answers as the provider writes them.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use bytes::Bytes;
use chrono::{DateTime, NaiveDateTime, Timelike, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, Method, Request, header};
use serde::Serialize;
use serde_json::{Value, json};

use super::faults::{Fault, What};
use super::population::{Draws, Page, Population};
use super::rules::{Accepted, Refusal, check, one_task};
use super::{Behaviour, Charge, Coming, Reaction, Script, Scripted, Watch};
use crate::clock::Clock;
use crate::money::Usd;
use crate::provider::{Endpoint, code};
use crate::targets::{TargetKind, stem};

/// What all requests share.
pub(super) struct State {
    behaviour: Behaviour,
    clock: Clock,
    pub(super) population: Population,
    pub(super) ledger: Mutex<Vec<Charge>>,
    /// What the tasks under way may cost: as money is held that is not charged yet.
    held: Mutex<Usd>,
    pub(super) script: Script,
    pub(super) watch: Mutex<Option<Watch>>,
    in_flight: AtomicUsize,
    /// Connections that are open and requests that are worked on.
    pub(super) busy: AtomicUsize,
    pub(super) most_in_flight: AtomicUsize,
    /// The minute that is counted, and its requests.
    minute: Mutex<(i64, u32)>,
    /// The same for `user_data`.
    user_data_minute: Mutex<(i64, u32)>,
    /// Requests that have come to the paid endpoint.
    pub(super) requests: AtomicU64,
    pub(super) tasks: AtomicU64,
}

impl State {
    pub(super) fn new(behaviour: Behaviour, clock: Clock) -> Self {
        Self {
            population: Population::new(behaviour.seed),
            behaviour,
            clock,
            ledger: Mutex::default(),
            held: Mutex::default(),
            script: Mutex::default(),
            watch: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
            minute: Mutex::default(),
            user_data_minute: Mutex::default(),
            requests: AtomicU64::new(0),
            tasks: AtomicU64::new(0),
        }
    }

    fn balance(&self) -> Usd {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        self.behaviour.balance - ledger.iter().map(|charge| charge.cost).sum()
    }

    /// Whether the balance covers a task beside those under way; holds what it may cost until it is charged.
    fn holds(&self, most: Usd) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let covered = self.balance() - *held >= most;
        if covered {
            *held += most;
        }
        covered
    }

    /// Enters what a task has cost, of which so much was held.
    fn charge(&self, charge: Charge, most: Usd) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        self.ledger
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(charge);
        *held -= most;
    }

    /// Whether one more request fits into this minute; counts it.
    fn fits_minute(&self, minute: &Mutex<(i64, u32)>, most: u32) -> bool {
        let now = self.clock.now().timestamp() / 60;
        let mut minute = minute.lock().unwrap_or_else(PoisonError::into_inner);
        if minute.0 != now {
            *minute = (now, 0);
        }
        minute.1 += 1;
        minute.1 <= most
    }

    fn authorised(&self, headers: &HeaderMap) -> bool {
        let expected = format!("{}:{}", self.behaviour.login, self.behaviour.password);
        let expected = format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode(expected)
        );
        let revoked = self.behaviour.revoked_after;
        let revoked = revoked.is_some_and(|after| self.requests.load(Ordering::Relaxed) > after);
        !revoked
            && headers
                .get(header::AUTHORIZATION)
                .is_some_and(|given| given.as_bytes() == expected.as_bytes())
    }

    /// Tells the one who watches.
    pub(super) fn tell(&self, moment: Coming) {
        if let Some(watch) = &*self.watch.lock().unwrap_or_else(PoisonError::into_inner) {
            watch(moment);
        }
    }

    /// An id in the provider's form, unique in this simulator.
    fn next_id(&self) -> String {
        let number = self.tasks.fetch_add(1, Ordering::Relaxed);
        let now = self.clock.now();
        let hash = Draws::new(self.behaviour.seed, &[&number.to_le_bytes()]).bits() >> 16;
        format!(
            "{}-1535-{:04}-0000-{hash:012x}",
            now.format("%m%d%H%M"),
            576 + number % 9000
        )
    }
}

/// Answers a request.
pub(super) async fn react(state: &Arc<State>, request: Request<Bytes>) -> Reaction {
    let (head, body) = request.into_parts();
    let headers = head.headers;
    let paid = Endpoint::BulkPagesSummary.path();
    match (&head.method, head.uri.path()) {
        (&Method::POST, path) if path == paid => bulk_pages_summary(state, headers, body).await,
        (&Method::GET, "/v3/appendix/user_data") => user_data(state, &headers).into(),
        (&Method::POST, "/v3/backlinks/id_list") => id_list(state, &headers, &body).into(),
        (&Method::POST, "/v3/backlinks/errors") => errors(state, &headers, &body).into(),
        _ => Scripted {
            status: 404,
            ..envelope_only(code::NOT_FOUND, "Not Found.", &headers)
        }
        .into(),
    }
}

/// Counts a request as under way for as long as it lives.
struct InFlight<'a>(&'a State);

impl<'a> InFlight<'a> {
    fn enter(state: &'a State) -> (Self, usize) {
        let now = state.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        state.most_in_flight.fetch_max(now, Ordering::Relaxed);
        (Self(state), now)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn bulk_pages_summary(state: &Arc<State>, headers: HeaderMap, body: Bytes) -> Reaction {
    let (guard, in_flight) = InFlight::enter(state);
    let number = state.requests.fetch_add(1, Ordering::Relaxed);
    state.tell(Coming::Request(number));
    let draw = |salt: &[u8]| {
        Draws::new(state.behaviour.seed, &[salt, &number.to_le_bytes()]).bits() as f64
            / u64::MAX as f64
    };
    let faults = state.behaviour.faults.iter().enumerate();
    let strikes = |(at, fault): &(usize, &Fault)| fault.strikes(number, draw(&at.to_le_bytes()));
    let faults: Vec<&Fault> = faults.filter(strikes).map(|(_, fault)| fault).collect();
    let mut late = std::time::Duration::ZERO;
    for fault in &faults {
        match fault.what {
            What::Late => late += fault.duration(),
            What::WallClock => state.clock.set_wall(fault.step()),
            _ => {}
        }
    }
    if !state.authorised(&headers) {
        return refused_login(&headers).into();
    }
    if in_flight > state.behaviour.max_in_flight as usize {
        return envelope_only(
            code::TOO_MANY_AT_ONCE,
            "Too many simultaneous requests.",
            &headers,
        )
        .into();
    }
    if !state.fits_minute(&state.minute, state.behaviour.requests_per_minute) {
        let message = "Rate limit per minute exceeded.";
        return answer(
            &Envelope::of_failed_task(state, code::RATE_PER_MINUTE, message),
            &headers,
        )
        .into();
    }
    state.clock.sleep(state.behaviour.latency + late).await;
    let scripted = state
        .script
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .pop_front();
    if let Some(scripted) = scripted {
        return scripted.into();
    }
    let fault = faults
        .into_iter()
        .find(|fault| !matches!(fault.what, What::Late | What::WallClock));
    let reaction = match fault {
        Some(fault) if !fault.charged => fault.instead(&headers, state),
        _ => {
            let (worker, zipped) = (Arc::clone(state), headers.clone());
            let work = tokio::task::spawn_blocking(move || {
                let done = perform(&worker, &body);
                (answer(&done, &zipped), done.tasks[0].id.clone())
            });
            let (whole, id) = work.await.unwrap_or_else(|_| (html(500), String::new()));
            match fault {
                Some(fault) => fault.after(number, whole, &id, &headers, state),
                None => whole.into(),
            }
        }
    };
    drop(guard);
    reaction
}

/// Does a task: checks it, looks its targets up, enters the charge.
fn perform(state: &State, body: &[u8]) -> Envelope {
    let accepted = match one_task(body)
        .and_then(check)
        .and_then(|accepted| poisoned(state, accepted))
    {
        Ok(accepted) => accepted,
        Err(refusal) => return Envelope::of_failed_task(state, refusal.code, &refusal.message),
    };
    let prices = &state.behaviour.prices;
    let most = prices.cost(1, accepted.targets.len() as u64);
    if !state.holds(most) {
        return Envelope::of_failed_task(state, code::OUT_OF_FUNDS, "Insufficient funds.");
    }
    let date = state.behaviour.date.unwrap_or_else(|| state.clock.today());
    let scale = if accepted.posted["rank_scale"] == "one_hundred" {
        10
    } else {
        1
    };
    let mut stems: HashMap<&str, u32> = HashMap::new();
    for (text, _) in &accepted.targets {
        *stems.entry(stem(text)).or_default() += 1;
    }
    let mut items: Vec<Item> = accepted
        .targets
        .iter()
        .filter_map(|(text, known)| {
            let mut page = state
                .population
                .page(date, known.text(), known.root_domain())?;
            page.rank /= scale;
            page.main_domain_rank /= scale;
            let alone = stems[stem(text)] == 1;
            Some(Item {
                kind: "backlinks_page_summary",
                url: as_provider_writes(known.text(), known.kind(), alone),
                page,
            })
        })
        .collect();
    let id = state.next_id();
    shuffle(
        &mut items,
        &mut Draws::new(state.behaviour.seed, &[id.as_bytes()]),
    );
    let cost = prices.cost(1, items.len() as u64);
    let charge = Charge {
        id: id.clone(),
        tag: accepted.tag().map(str::to_owned),
        posted: state.clock.now(),
        status_code: code::OK,
        targets: accepted.targets.len(),
        items: items.len(),
        cost,
    };
    state.charge(charge, most);
    Envelope::of_items(id, accepted, items, cost)
}

/// Refuses a task that holds a target which the provider takes for bad, for reasons of its own.
fn poisoned(state: &State, accepted: Accepted) -> Result<Accepted, Refusal> {
    let poison = &state.behaviour.poison;
    let bad = accepted
        .targets
        .iter()
        .find(|(text, _)| poison.targets.contains(text));
    match bad {
        None => Ok(accepted),
        Some((text, _)) => Err(Refusal {
            code: poison.code,
            message: match poison.named {
                true => format!("Invalid Field: 'target' ({text})."),
                false => "Invalid Field: 'targets'.".to_owned(),
            },
        }),
    }
}

/// The provider does not always write a url as it was asked. Only where the target stays clear without ambiguity.
fn as_provider_writes(target: &str, kind: TargetKind, alone: bool) -> String {
    let draw = Draws::new(0x0F_0122, &[target.as_bytes()]).bits() % 100;
    match (kind, alone) {
        (TargetKind::Page, true) if draw < 3 && !target.contains('?') => {
            match target.strip_suffix('/') {
                Some(bare) if bare.matches('/').count() > 2 => bare.to_owned(),
                Some(_) => target.to_owned(),
                None => format!("{target}/"),
            }
        }
        (TargetKind::Domain | TargetKind::Subdomain, true) if draw < 30 => {
            format!("https://{target}/")
        }
        (TargetKind::Domain | TargetKind::Subdomain, true) if draw < 40 => {
            format!("http://www.{target}/")
        }
        _ => target.to_owned(),
    }
}

fn shuffle<T>(items: &mut [T], draws: &mut Draws) {
    for last in (1..items.len()).rev() {
        items.swap(last, (draws.bits() % (last as u64 + 1)) as usize);
    }
}

#[derive(Serialize)]
pub(super) struct Envelope {
    version: &'static str,
    status_code: u32,
    status_message: &'static str,
    time: &'static str,
    cost: f64,
    tasks_count: u32,
    /// Unreliable at the provider, so here it never tells of a failed task.
    tasks_error: u32,
    tasks: [Task; 1],
}

#[derive(Serialize)]
struct Task {
    id: String,
    status_code: u32,
    status_message: String,
    time: &'static str,
    cost: f64,
    result_count: u32,
    path: [&'static str; 4],
    data: Value,
    result: Option<[TaskResult; 1]>,
}

#[derive(Serialize)]
struct TaskResult {
    total_count: usize,
    items_count: usize,
    items: Option<Vec<Item>>,
}

#[derive(Serialize)]
struct Item {
    #[serde(rename = "type")]
    kind: &'static str,
    url: String,
    #[serde(flatten)]
    page: Page,
}

const VERSION: &str = "0.1.20261123";

impl Envelope {
    fn of(task: Task) -> Self {
        Self {
            version: VERSION,
            status_code: code::OK,
            status_message: "Ok.",
            time: "0.1566 sec.",
            cost: task.cost,
            tasks_count: 1,
            tasks_error: 0,
            tasks: [task],
        }
    }

    fn of_items(id: String, accepted: Accepted, items: Vec<Item>, cost: Usd) -> Self {
        let count = items.len();
        // Where there is nothing to return, `items` is null and not empty.
        let items = (count > 0).then_some(items);
        Self::of(Task {
            id,
            status_code: code::OK,
            status_message: "Ok.".to_owned(),
            time: "0.0989 sec.",
            cost: float(cost),
            result_count: 1,
            path: [
                "v3",
                "backlinks",
                Endpoint::BulkPagesSummary.function(),
                "live",
            ],
            data: echo(accepted.posted),
            result: Some([TaskResult {
                total_count: count,
                items_count: count,
                items,
            }]),
        })
    }

    /// Bills it.
    pub(super) fn charge(&mut self, cost: Usd) {
        self.cost = float(cost);
        self.tasks[0].cost = float(cost);
    }

    pub(super) fn of_failed_task(state: &State, status_code: u32, message: &str) -> Self {
        Self::of(Task {
            id: state.next_id(),
            status_code,
            status_message: message.to_owned(),
            time: "0 sec.",
            cost: 0.0,
            result_count: 0,
            path: [
                "v3",
                "backlinks",
                Endpoint::BulkPagesSummary.function(),
                "live",
            ],
            data: echo(Value::Null),
            result: None,
        })
    }
}

/// The posted parameters as an answer repeats them.
fn echo(posted: Value) -> Value {
    let mut data = serde_json::Map::new();
    data.insert("api".to_owned(), "backlinks".into());
    data.insert(
        "function".to_owned(),
        Endpoint::BulkPagesSummary.function().into(),
    );
    if let Value::Object(posted) = posted {
        data.extend(posted);
    }
    Value::Object(data)
}

/// Money as the provider writes it: a JSON number.
fn float(amount: Usd) -> f64 {
    amount.to_string().parse().unwrap_or_default()
}

fn user_data(state: &State, headers: &HeaderMap) -> Scripted {
    if !state.authorised(headers) {
        return refused_login(headers);
    }
    if !state.fits_minute(
        &state.user_data_minute,
        state.behaviour.user_data_per_minute,
    ) {
        let message = "Rate limit per minute exceeded.";
        return answer(
            &Envelope::of_failed_task(state, code::RATE_PER_MINUTE, message),
            headers,
        );
    }
    let prices = &state.behaviour.prices;
    let live = json!({"live": {"priority_normal": [
        {"cost_type": "per_request", "cost": float(prices.per_request)},
        {"cost_type": "per_result", "cost": float(prices.per_row)},
    ]}});
    let result = json!({
        "login": state.behaviour.login,
        "timezone": "Etc/UTC",
        "rates": {
            "limits": {"minute": {"total": state.behaviour.requests_per_minute}},
            "statistics": {},
        },
        "money": {
            "total": float(state.behaviour.balance),
            "balance": float(state.balance()),
            "limits": {"day": {"total": null}},
        },
        "price": {"backlinks": {"bulk_pages_summary": live}},
    });
    free(
        state,
        &["v3", "appendix", "user_data"],
        Value::Null,
        json!([result]),
        headers,
    )
}

/// A list of tasks between two moments, from a free endpoint.
fn id_list(state: &State, headers: &HeaderMap, body: &[u8]) -> Scripted {
    if !state.authorised(headers) {
        return refused_login(headers);
    }
    let task = match one_task(body) {
        Ok(task) => task,
        Err(refusal) => {
            return answer(
                &Envelope::of_failed_task(state, refusal.code, &refusal.message),
                headers,
            );
        }
    };
    let (Some(from), Some(to)) = (moment(&task["datetime_from"]), moment(&task["datetime_to"]))
    else {
        let message = "Invalid Field: 'datetime_from'.";
        return answer(
            &Envelope::of_failed_task(state, code::INVALID_FIELD, message),
            headers,
        );
    };
    let limit = task["limit"].as_u64().unwrap_or(1000).min(1000) as usize;
    let offset = task["offset"].as_u64().unwrap_or(0) as usize;
    let with_metadata = task["include_metadata"].as_bool().unwrap_or(false);
    let rows: Vec<Value> = {
        let ledger = state.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let mut charges: Vec<&Charge> = ledger
            .iter()
            .filter(|charge| {
                (from..=to).contains(&charge.posted.with_nanosecond(0).unwrap_or(charge.posted))
            })
            .collect();
        if task["sort"] == "desc" {
            charges.reverse();
        }
        let rows = charges.into_iter().skip(offset).take(limit).map(|charge| {
            let posted = charge.posted.format("%Y-%m-%d %H:%M:%S +00:00").to_string();
            let metadata = json!({"api": "backlinks", "function": Endpoint::BulkPagesSummary.function(), "tag": charge.tag});
            json!({
                "id": charge.id,
                "url": format!("https://api.dataforseo.com{}", Endpoint::BulkPagesSummary.path()),
                "datetime_posted": posted,
                "datetime_done": posted,
                "status": charge.status_code.to_string(),
                "cost": float(charge.cost),
                "metadata": if with_metadata { metadata } else { Value::Null },
            })
        });
        rows.collect()
    };
    free(
        state,
        &["v3", "backlinks", "id_list"],
        task,
        json!(rows),
        headers,
    )
}

fn errors(state: &State, headers: &HeaderMap, body: &[u8]) -> Scripted {
    if !state.authorised(headers) {
        return refused_login(headers);
    }
    let posted = one_task(body).unwrap_or(Value::Null);
    free(
        state,
        &["v3", "backlinks", "errors"],
        posted,
        json!([]),
        headers,
    )
}

/// A moment as the provider writes it.
fn moment(value: &Value) -> Option<DateTime<Utc>> {
    let text = value.as_str()?;
    let naive =
        NaiveDateTime::parse_from_str(text.trim_end_matches(" +00:00"), "%Y-%m-%d %H:%M:%S");
    naive.ok().map(|naive| naive.and_utc())
}

fn refused_login(headers: &HeaderMap) -> Scripted {
    let message = "You are not Authorized to Access this resource.";
    Scripted {
        status: 401,
        ..envelope_only(code::NOT_AUTHORISED, message, headers)
    }
}

/// An answer of a free endpoint.
fn free(state: &State, path: &[&str], data: Value, result: Value, headers: &HeaderMap) -> Scripted {
    let count = result.as_array().map_or(0, Vec::len);
    answer(
        &json!({
            "version": VERSION,
            "status_code": code::OK,
            "status_message": "Ok.",
            "time": "0.0156 sec.",
            "cost": 0,
            "tasks_count": 1,
            "tasks_error": 0,
            "tasks": [{
                "id": state.next_id(),
                "status_code": code::OK,
                "status_message": "Ok.",
                "time": "0.0098 sec.",
                "cost": 0,
                "result_count": count,
                "path": path,
                "data": data,
                "result": result,
            }],
        }),
        headers,
    )
}

/// An error on the envelope itself, without tasks.
fn envelope_only(status_code: u32, message: &str, headers: &HeaderMap) -> Scripted {
    answer(
        &json!({
            "version": VERSION,
            "status_code": status_code,
            "status_message": message,
            "time": "0 sec.",
            "cost": 0,
            "tasks_count": 0,
            "tasks_error": 0,
            "tasks": null,
        }),
        headers,
    )
}

/// Writes an answer, gzipped if the client takes that.
pub(super) fn answer(body: &impl Serialize, headers: &HeaderMap) -> Scripted {
    let Ok(json) = serde_json::to_vec(body) else {
        return html(500);
    };
    let takes_gzip = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(',').any(|part| part.trim().starts_with("gzip")));
    if !takes_gzip {
        return Scripted::ok(json);
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(json.len() / 4), Compression::fast());
    let zipped = encoder
        .write_all(&json)
        .and_then(|()| encoder.finish())
        .unwrap_or_default();
    let mut answer = Scripted::ok(zipped);
    answer.headers.push(("content-encoding", "gzip".to_owned()));
    answer
}

/// What a server before the provider says when that is broken.
pub(super) fn html(status: u16) -> Scripted {
    Scripted {
        status,
        headers: vec![("content-type", "text/html".to_owned())],
        body: format!("<html><body><h1>{status}</h1></body></html>").into(),
    }
}
