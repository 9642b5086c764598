//! The envelope around every answer: two levels of status, what it cost, how many items came.
//!
//! Reading it walks the whole answer as flatten will, so that one that flatten could not read is known at once; the
//! items themselves are left to flatten. Everything is nullable, and `tasks_error` is not believed.

use serde::de::DeserializeSeed as _;
use serde::{Deserialize, Deserializer};
use sonic_rs::RawNumber;
use thiserror::Error;

use super::account::plausible;
use super::code;
use super::walk::{TakeItem, Walk};
use crate::money::Usd;

/// Why a body is no answer: it is no JSON, is cut off, is nested too deep, or holds no envelope.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the answer cannot be read as JSON: {0}")]
pub struct Malformed(String);

/// An answer without its items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The status of the whole.
    pub status_code: u32,
    /// The text to it.
    pub status_message: String,
    /// What was charged for the whole.
    pub cost: Option<Usd>,
    /// The tasks that are not null; this program posts one.
    pub tasks: Vec<Task>,
    /// Items that are not null, over all tasks.
    pub items: u64,
}

/// A task of an answer without its items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The provider's id for it.
    pub id: Option<String>,
    /// Its own status.
    pub status_code: u32,
    /// The text to it.
    pub status_message: String,
    /// What was charged for it.
    pub cost: Option<Usd>,
    /// The tag that was posted with it.
    pub tag: Option<String>,
    /// The last part but one of its path: the function that answered.
    pub function: Option<String>,
}

impl Envelope {
    /// Reads the body of an answer to its end.
    ///
    /// # Errors
    /// [`Malformed`] if the body is no complete JSON or holds no envelope.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let not_json = |error: sonic_rs::Error| Malformed(first_line(&error));
        let mut counter = Counter::default();
        let mut json = sonic_rs::Deserializer::from_slice(body);
        Walk::to_items(&mut counter)
            .deserialize(&mut json)
            .map_err(not_json)?;
        json.end().map_err(not_json)?;
        let wire: Transport = sonic_rs::from_slice(body).map_err(not_json)?;
        let Some(status_code) = wire.status_code else {
            return Err(Malformed("it has no status_code".to_owned()));
        };
        let tasks = wire.tasks.into_iter().flatten().flatten().map(|task| {
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
            status_message: wire.status_message.unwrap_or_default(),
            cost: wire.cost.and_then(usd),
            tasks: tasks.collect(),
            items: counter.0,
        })
    }

    /// The status that counts: the task's, unless the envelope itself says that something is wrong.
    #[must_use]
    pub fn status(&self) -> (u32, &str) {
        match self.tasks.first() {
            Some(task) if self.status_code == code::OK => (task.status_code, &task.status_message),
            _ => (self.status_code, &self.status_message),
        }
    }

    /// What was charged, to a millionth of a dollar: the larger of the two figures, should they ever differ.
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

/// The message of a JSON error without the excerpt of the text that follows it.
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
struct Transport {
    status_code: Option<u32>,
    status_message: Option<String>,
    cost: Option<RawNumber>,
    tasks: Option<Vec<Option<WireTask>>>,
}

#[derive(Deserialize)]
struct WireTask {
    id: Option<String>,
    status_code: Option<u32>,
    status_message: Option<String>,
    cost: Option<RawNumber>,
    data: Option<WireData>,
}

#[derive(Deserialize, Default)]
struct WireData {
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
    fn the_recorded_answer_is_read() {
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
    fn nulls_at_every_level_are_survived() {
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
    fn a_cost_that_no_request_can_have_is_not_believed() {
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
    fn a_task_that_failed_under_a_good_envelope_is_seen() {
        let body = br#"{"status_code":20000,"tasks_error":0,"tasks":[{"status_code":40501,"status_message":"Invalid Field"}]}"#;
        assert_eq!(
            Envelope::read(body).unwrap().status(),
            (40501, "Invalid Field")
        );
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
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
