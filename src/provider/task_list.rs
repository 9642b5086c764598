//! The provider's list of the tasks that an account has run, free of charge. It says whether a
//! request was charged.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::account::plausible;
use crate::money::Usd;

/// Tasks on one page of the list.
pub const MAX_LISTED: usize = 1000;

/// Which page of the list to request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskListPage {
    /// Tasks posted at or after this moment.
    pub from: DateTime<Utc>,
    /// Tasks posted at or before this moment.
    pub to: DateTime<Utc>,
    /// The number of tasks to skip.
    pub offset: usize,
}

/// A task that the account has run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTask {
    /// The provider's id for it.
    pub id: Option<String>,
    /// The tag that was posted with it.
    pub tag: Option<String>,
    /// What was charged for it, if the list says so yet.
    pub cost: Option<Usd>,
}

impl TaskListPage {
    /// The JSON body that requests the page.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let moment = |time: DateTime<Utc>| time.format("%Y-%m-%d %H:%M:%S +00:00").to_string();
        let page = json!([{
            "datetime_from": moment(self.from),
            "datetime_to": moment(self.to),
            "limit": MAX_LISTED,
            "offset": self.offset,
            "sort": "asc",
            "include_metadata": true,
        }]);
        page.to_string().into_bytes()
    }

    /// Reads the body of a page, or `None` if it is not a page. A row that is null or empty is kept
    /// as a task without a tag, so that the number of rows still says whether the page is the last.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Vec<ListedTask>> {
        let response: Value = serde_json::from_slice(body).ok()?;
        let rows = match response.pointer("/tasks/0/result")? {
            Value::Null => return Some(Vec::new()),
            rows => rows.as_array()?,
        };
        let text = |row: &Value, pointer: &str| {
            row.pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let listed = rows.iter().map(|row| ListedTask {
            id: text(row, "/id"),
            tag: text(row, "/metadata/tag"),
            cost: row
                .get("cost")
                .and_then(|cost| plausible(cost.as_str().unwrap_or(&cost.to_string()))),
        });
        Some(listed.collect())
    }
}
