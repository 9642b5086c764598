//! The provider's list of the tasks that an account has run, free of charge: what settles whether a request was charged.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::account::plausible;
use crate::money::Usd;

/// Tasks on a page of the list at the most.
pub const MAX_LISTED: usize = 1000;

/// A page of the list that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdList {
    /// From this moment.
    pub from: DateTime<Utc>,
    /// To this moment.
    pub to: DateTime<Utc>,
    /// Tasks before the page.
    pub offset: usize,
}

/// A task that the account has run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The provider's id for it.
    pub id: Option<String>,
    /// The tag that was posted with it.
    pub tag: Option<String>,
    /// What was charged for it, if the list says so by now.
    pub cost: Option<Usd>,
}

impl IdList {
    /// The JSON body that asks for the page.
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

    /// Reads a page; none if it is no such page. A row that is null or holds nothing is kept as a task without tag, so
    /// that pages stay whole.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Vec<Listed>> {
        let answer: Value = serde_json::from_slice(body).ok()?;
        let rows = match answer.pointer("/tasks/0/result")? {
            Value::Null => return Some(Vec::new()),
            rows => rows.as_array()?,
        };
        let text = |row: &Value, pointer: &str| {
            row.pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let listed = rows.iter().map(|row| Listed {
            id: text(row, "/id"),
            tag: text(row, "/metadata/tag"),
            cost: row
                .get("cost")
                .and_then(|cost| plausible(cost.as_str().unwrap_or(&cost.to_string()))),
        });
        Some(listed.collect())
    }
}
