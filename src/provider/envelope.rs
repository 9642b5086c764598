//! The envelope around every response: two levels of status, the cost, and the number of items.
//!
//! Reading it walks the whole response as `flatten` will, so that a response that `flatten` could
//! not read is found at once. The items themselves are left to `flatten`. Every field may be null,
//! and `tasks_error` is ignored.

use serde::de::DeserializeSeed as _;
use serde::{Deserialize, Deserializer};
use sonic_rs::RawNumber;
use thiserror::Error;

use super::account::plausible;
use super::code;
use super::walk::{TakeItem, Walk};
use crate::money::Usd;

/// Why a body is not a response: it is not JSON, is truncated, is nested too deeply, or has no
/// envelope.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("failed to read the response as JSON: {0}")]
pub struct Malformed(String);

/// A response without its items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The status code of the whole response.
    pub status_code: u32,
    /// The text of that status.
    pub status_message: String,
    /// What was charged for the whole response.
    pub cost: Option<Usd>,
    /// The tasks that are not null. This program posts one task per request.
    pub tasks: Vec<Task>,
    /// The number of items that are not null, over all tasks.
    pub items: u64,
}

/// A task of a response, without its items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The provider's id for it.
    pub id: Option<String>,
    /// Its own status code.
    pub status_code: u32,
    /// The text of that status.
    pub status_message: String,
    /// What was charged for it.
    pub cost: Option<Usd>,
    /// The tag that was posted with it.
    pub tag: Option<String>,
    /// The function that ran it: the last part but one of its path.
    pub function: Option<String>,
}

impl Envelope {
    /// Reads the body of a response to its end.
    ///
    /// # Errors
    /// [`Malformed`] if the body is not complete JSON or has no envelope.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let not_json = |error: sonic_rs::Error| Malformed(first_line(&error));
        let mut counter = Counter::default();
        let mut json = sonic_rs::Deserializer::from_slice(body);
        Walk::to_items(&mut counter)
            .deserialize(&mut json)
            .map_err(not_json)?;
        json.end().map_err(not_json)?;
        let raw: RawEnvelope = sonic_rs::from_slice(body).map_err(not_json)?;
        let Some(status_code) = raw.status_code else {
            return Err(Malformed("there is no status_code".to_owned()));
        };
        let tasks = raw.tasks.into_iter().flatten().flatten().map(|task| {
            let data = task.data.unwrap_or_default();
            Task {
                id: task.id,
                status_code: task.status_code.unwrap_or(code::OK),
                status_message: task.status_message.unwrap_or_default(),
                cost: task.cost.and_then(usd),
                tag: data.tag,
                function: data.function,
            }
        });
        Ok(Self {
            status_code,
            status_message: raw.status_message.unwrap_or_default(),
            cost: raw.cost.and_then(usd),
            tasks: tasks.collect(),
            items: counter.0,
        })
    }

    /// The status that counts, with its text: the task's if the envelope's is a success, else the
    /// envelope's.
    #[must_use]
    pub fn status(&self) -> (u32, &str) {
        match self.tasks.first() {
            Some(task) if self.status_code == code::OK => (task.status_code, &task.status_message),
            _ => (self.status_code, &self.status_message),
        }
    }

    /// What was charged, to a millionth of a dollar. If envelope and task differ, the larger amount
    /// counts.
    #[must_use]
    pub fn charged(&self) -> Option<Usd> {
        self.tasks
            .iter()
            .filter_map(|task| task.cost)
            .chain(self.cost)
            .max()
            .map(Usd::to_scale)
    }
}

/// The message of a JSON error without the excerpt of the body that follows it.
fn first_line(error: &sonic_rs::Error) -> String {
    error
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .trim_end()
        .to_owned()
}

fn usd(number: RawNumber) -> Option<Usd> {
    plausible(number.as_str())
}

#[derive(Deserialize)]
struct RawEnvelope {
    status_code: Option<u32>,
    status_message: Option<String>,
    cost: Option<RawNumber>,
    tasks: Option<Vec<Option<RawTask>>>,
}

#[derive(Deserialize)]
struct RawTask {
    id: Option<String>,
    status_code: Option<u32>,
    status_message: Option<String>,
    cost: Option<RawNumber>,
    data: Option<RawData>,
}

#[derive(Deserialize, Default)]
struct RawData {
    tag: Option<String>,
    function: Option<String>,
}

/// Counts the items that are not null.
#[derive(Default)]
struct Counter(u64);

impl TakeItem for Counter {
    fn take<'de, D: Deserializer<'de>>(&mut self, item: D) -> Result<(), D::Error> {
        self.0 += u64::from(Walk::past().deserialize(item)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_response_is_read() {
        let body = include_bytes!("../../data/responses/01_seed_bulk_pages_summary_ok.json");
        let envelope = Envelope::read(body).unwrap();
        assert_eq!(envelope.status(), (20000, "Ok."));
        assert_eq!(envelope.charged(), Some("0.02006".parse().unwrap()));
        assert_eq!(envelope.items, 2);
        assert_eq!(
            envelope.tasks[0].id.as_deref(),
            Some("04241333-1535-0576-0000-a7b281e5516b")
        );
    }

    #[test]
    fn every_level_may_be_null() {
        for body in [
            r#"{"status_code":20000,"tasks":null}"#,
            r#"{"status_code":20000,"cost":null,"tasks":[null,{"id":null,"result":null}]}"#,
            r#"{"status_code":20000,"tasks":[{"result":[null,{"items":null}]}]}"#,
            r#"{"status_code":20000,"tasks":[{"data":null,"result":[{"items":[null,null]}]}]}"#,
        ] {
            assert_eq!(
                Envelope::read(body.as_bytes()).map(|envelope| envelope.items),
                Ok(0),
                "{body}"
            );
        }
    }

    #[test]
    fn a_cost_that_no_request_can_have_is_ignored() {
        for (cost, known) in [
            ("0.06", true),
            ("0", true),
            ("-1000", false),
            ("1e300", false),
            ("79228162514264337593543950335", false),
        ] {
            let body = format!(r#"{{"status_code":20000,"cost":{cost},"tasks":[]}}"#);
            assert_eq!(
                Envelope::read(body.as_bytes()).unwrap().charged().is_some(),
                known,
                "{cost}"
            );
        }
    }

    #[test]
    fn the_status_of_a_failed_task_counts_in_a_successful_envelope() {
        let body = br#"{"status_code":20000,"tasks_error":0,"tasks":[{"status_code":40501,"status_message":"Invalid Field"}]}"#;
        assert_eq!(
            Envelope::read(body).unwrap().status(),
            (40501, "Invalid Field")
        );
    }

    #[test]
    fn a_body_that_is_not_a_response_is_malformed() {
        let whole =
            include_str!("../../data/responses/01_seed_bulk_pages_summary_ok.json").trim_end();
        for body in [
            "",
            "<html>",
            "{}",
            "[]",
            "null",
            &whole[..whole.len() - 1],
            &whole[..1000],
        ] {
            assert!(Envelope::read(body.as_bytes()).is_err(), "{body}");
        }
        let deep = format!(
            r#"{{"status_code":20000,"x":{}{}}}"#,
            "[".repeat(10_000),
            "]".repeat(10_000)
        );
        assert!(
            Envelope::read(deep.as_bytes())
                .unwrap_err()
                .to_string()
                .contains("nested deeper")
        );
    }
}
