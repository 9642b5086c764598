//! Responses as the provider writes them: the JSON of tasks and errors, gzipped if the client
//! accepts that.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, header};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::population::Page;
use super::reaction::Scripted;
use super::rules::{Accepted, Refusal};
use super::state::State;
use crate::money::Usd;
use crate::provider::{Endpoint, code};

const VERSION: &str = "0.1.20261123";

/// The response to one paid task.
#[derive(Serialize)]
pub(super) struct TaskResponse {
    version: &'static str,
    status_code: u32,
    status_message: &'static str,
    time: &'static str,
    cost: f64,
    tasks_count: u32,
    /// The provider's value is unreliable, so here it is 0 even if the task failed.
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
    items: Option<Vec<PageItem>>,
}

/// One element of `items`: the profile of one target.
#[derive(Serialize)]
pub(super) struct PageItem {
    #[serde(rename = "type")]
    kind: &'static str,
    url: String,
    #[serde(flatten)]
    page: Page,
}

impl PageItem {
    pub(super) fn new(url: String, page: Page) -> Self {
        Self {
            kind: "backlinks_page_summary",
            url,
            page,
        }
    }
}

impl TaskResponse {
    /// The response to a task that is done.
    pub(super) fn of_items(
        id: String,
        accepted: Accepted,
        items: Vec<PageItem>,
        cost: Usd,
    ) -> Self {
        let count = items.len();
        // The provider writes null, not an empty array, if it has no items.
        let items = (count > 0).then_some(items);
        Self::of(Task {
            id,
            status_code: code::OK,
            status_message: "Ok.".to_owned(),
            time: "0.0989 sec.",
            cost: float(cost),
            result_count: 1,
            path: path_of_task(),
            data: echo(accepted.posted),
            result: Some([TaskResult {
                total_count: count,
                items_count: count,
                items,
            }]),
        })
    }

    /// The response to a task that failed; it costs nothing.
    pub(super) fn of_failed_task(state: &State, refusal: &Refusal) -> Self {
        Self::of(Task {
            id: state.next_id(),
            status_code: refusal.code,
            status_message: refusal.message.clone(),
            time: "0 sec.",
            cost: 0.0,
            result_count: 0,
            path: path_of_task(),
            data: echo(Value::Null),
            result: None,
        })
    }

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

    /// The id of the task.
    pub(super) fn id(&self) -> &str {
        &self.tasks[0].id
    }

    /// Sets the cost of the task.
    pub(super) fn set_cost(&mut self, cost: Usd) {
        self.cost = float(cost);
        self.tasks[0].cost = float(cost);
    }
}

fn path_of_task() -> [&'static str; 4] {
    let function = Endpoint::BulkPagesSummary.function();
    ["v3", "backlinks", function, "live"]
}

/// The posted parameters as a response repeats them.
fn echo(posted: Value) -> Value {
    let mut data = Map::new();
    data.insert("api".to_owned(), "backlinks".into());
    let function = Endpoint::BulkPagesSummary.function();
    data.insert("function".to_owned(), function.into());
    if let Value::Object(posted) = posted {
        data.extend(posted);
    }
    Value::Object(data)
}

/// Money as the provider writes it: a JSON number.
pub(super) fn float(amount: Usd) -> f64 {
    amount.to_string().parse().unwrap_or_default()
}

/// The response of a free endpoint.
pub(super) fn free(
    state: &State,
    path: &[&str],
    data: Value,
    result: Value,
    headers: &HeaderMap,
) -> Scripted {
    let count = result.as_array().map_or(0, Vec::len);
    encoded(
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

/// The response to a task that is refused.
pub(super) fn refused(state: &State, refusal: &Refusal, headers: &HeaderMap) -> Scripted {
    encoded(&TaskResponse::of_failed_task(state, refusal), headers)
}

/// The response to wrong credentials.
pub(super) fn refused_login(headers: &HeaderMap) -> Scripted {
    let message = "You are not Authorized to Access this resource.";
    Scripted {
        status: 401,
        ..without_tasks(&Refusal::new(code::NOT_AUTHORISED, message), headers)
    }
}

/// An error of the whole request: a response without tasks.
pub(super) fn without_tasks(refusal: &Refusal, headers: &HeaderMap) -> Scripted {
    encoded(
        &json!({
            "version": VERSION,
            "status_code": refusal.code,
            "status_message": refusal.message,
            "time": "0 sec.",
            "cost": 0,
            "tasks_count": 0,
            "tasks_error": 0,
            "tasks": null,
        }),
        headers,
    )
}

/// Writes a response as JSON, gzipped if the client accepts that.
pub(super) fn encoded(body: &impl Serialize, headers: &HeaderMap) -> Scripted {
    let Ok(json) = serde_json::to_vec(body) else {
        return Scripted::html(500);
    };
    let accepts_gzip = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(',').any(|part| part.trim().starts_with("gzip")));
    if !accepts_gzip {
        return Scripted::ok(json);
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(json.len() / 4), Compression::fast());
    let zipped = encoder
        .write_all(&json)
        .and_then(|()| encoder.finish())
        .unwrap_or_default();
    let mut response = Scripted::ok(zipped);
    response
        .headers
        .push(("content-encoding", "gzip".to_owned()));
    response
}
