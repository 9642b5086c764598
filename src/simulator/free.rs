//! The free endpoints: the account, the size of the index, the list of tasks, and the list of errors.

use chrono::{DateTime, NaiveDateTime, Timelike as _, Utc};
use http::HeaderMap;
use serde_json::{Value, json};

use super::reaction::Scripted;
use super::response::{float, free, refused, refused_login};
use super::rules::{Refusal, one_task};
use super::state::{Charge, State};
use crate::money::Usd;
use crate::provider::Endpoint;

/// The account: its balance, limits and prices.
pub(super) fn user_data(state: &State, headers: &HeaderMap) -> Scripted {
    if !state.authorised(headers) {
        return refused_login(headers);
    }
    if !state.admits_user_data() {
        return refused(state, &Refusal::rate_per_minute(), headers);
    }
    let (prices, told) = (&state.behaviour.prices, &state.behaviour.told);
    let or_truth =
        |told: &Option<Value>, truth: Usd| told.clone().unwrap_or_else(|| json!(float(truth)));
    let live = json!({"live": {"priority_normal": [
        {"cost_type": "per_request", "cost": or_truth(&told.per_request, prices.per_request)},
        {"cost_type": "per_result", "cost": or_truth(&told.per_row, prices.per_row)},
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
            "balance": or_truth(&told.balance, state.balance()),
            "limits": {"day": {"total": null}},
        },
        "price": {"backlinks": {"bulk_pages_summary": live}},
    });
    let path = ["v3", "appendix", "user_data"];
    free(state, &path, Value::Null, json!([result]), headers)
}

/// The size of the provider's index.
pub(super) fn index(state: &State, headers: &HeaderMap) -> Scripted {
    if !state.authorised(headers) {
        return refused_login(headers);
    }
    let [backlinks, pages, domains] = state.population.index(state.date());
    let result = json!({
        "total_backlinks": backlinks,
        "total_pages": pages,
        "total_domains": domains,
    });
    let path = ["v3", "backlinks", "index"];
    free(state, &path, Value::Null, json!([result]), headers)
}

/// The tasks that were posted between two moments, a page at a time.
pub(super) fn id_list(state: &State, headers: &HeaderMap, body: &[u8]) -> Scripted {
    if !state.authorised(headers) {
        return refused_login(headers);
    }
    let task = match one_task(body) {
        Ok(task) => task,
        Err(refusal) => return refused(state, &refusal, headers),
    };
    let (Some(from), Some(to)) = (moment(&task["datetime_from"]), moment(&task["datetime_to"]))
    else {
        return refused(state, &Refusal::field("datetime_from"), headers);
    };
    let limit = task["limit"].as_u64().unwrap_or(1000).min(1000) as usize;
    let offset = task["offset"].as_u64().unwrap_or(0) as usize;
    let with_metadata = task["include_metadata"].as_bool().unwrap_or(false);
    let rows: Vec<Value> = {
        let ledger = state.ledger.lock();
        // The provider compares whole seconds.
        let second = |charge: &Charge| charge.posted.with_nanosecond(0).unwrap_or(charge.posted);
        let mut charges: Vec<&Charge> = ledger
            .iter()
            .filter(|charge| (from..=to).contains(&second(charge)))
            .collect();
        if task["sort"] == "desc" {
            charges.reverse();
        }
        let page = charges.into_iter().skip(offset).take(limit);
        page.map(|charge| row_of(charge, with_metadata)).collect()
    };
    let path = ["v3", "backlinks", "id_list"];
    free(state, &path, task, json!(rows), headers)
}

/// A charge as the list of tasks shows it.
fn row_of(charge: &Charge, with_metadata: bool) -> Value {
    let posted = charge.posted.format("%Y-%m-%d %H:%M:%S +00:00").to_string();
    let endpoint = Endpoint::BulkPagesSummary;
    let metadata = json!({"api": "backlinks", "function": endpoint.function(), "tag": charge.tag});
    json!({
        "id": charge.id,
        "url": format!("https://api.dataforseo.com{}", endpoint.path()),
        "datetime_posted": posted,
        "datetime_done": posted,
        "status": charge.status_code.to_string(),
        "cost": float(charge.cost),
        "metadata": if with_metadata { metadata } else { Value::Null },
    })
}

/// The errors of the account: always an empty list.
pub(super) fn errors(state: &State, headers: &HeaderMap, body: &[u8]) -> Scripted {
    if !state.authorised(headers) {
        return refused_login(headers);
    }
    let posted = one_task(body).unwrap_or(Value::Null);
    let path = ["v3", "backlinks", "errors"];
    free(state, &path, posted, json!([]), headers)
}

/// A moment as the provider writes it.
fn moment(value: &Value) -> Option<DateTime<Utc>> {
    let text = value.as_str()?.trim_end_matches(" +00:00");
    let naive = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S");
    naive.ok().map(|naive| naive.and_utc())
}
