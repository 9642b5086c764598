//! The envelope around every answer: two levels of status, what it cost, how many items came.
//!
//! Reading it walks the whole answer, so that one that is cut off or is no JSON is known at once; the items
//! themselves are left to flatten. Everything is nullable, and `tasks_error` is not believed.

use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sonic_rs::RawNumber;
use thiserror::Error;

use super::{MAX_DEPTH, code};
use crate::money::Usd;

/// Why a body is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Malformed {
    /// The body is no JSON, or is cut off.
    #[error("the answer is no complete JSON: {0}")]
    NotJson(String),
    /// The body is nested deeper than any answer.
    #[error("the answer is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

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
    /// Items that are not null.
    pub items: u64,
}

impl Envelope {
    /// Reads the body of an answer to its end.
    ///
    /// # Errors
    /// [`Malformed`] if the body is no complete JSON or holds no envelope.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        if !depth_within(body, MAX_DEPTH) {
            return Err(Malformed::TooDeep);
        }
        let wire: Wire =
            sonic_rs::from_slice(body).map_err(|error| Malformed::NotJson(first_line(&error)))?;
        let Some(status_code) = wire.status_code else {
            return Err(Malformed::NotJson("it has no status_code".to_owned()));
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
                items: task
                    .result
                    .into_iter()
                    .flatten()
                    .flatten()
                    .filter_map(|result| result.items)
                    .map(|n| n.0)
                    .sum(),
            }
        });
        Ok(Self {
            status_code,
            status_message: wire.status_message.unwrap_or_default(),
            cost: wire.cost.and_then(usd),
            tasks: tasks.collect(),
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

    /// What was charged: the larger of the two figures, should they ever differ.
    #[must_use]
    pub fn charged(&self) -> Option<Usd> {
        self.tasks.iter().filter_map(|task| task.cost).chain(self.cost).max()
    }

    /// Items that are not null, over all tasks.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.tasks.iter().map(|task| task.items).sum()
    }
}

/// Whether the brackets of a JSON text are nested at most `max` deep. Needs no stack, so no text can exhaust it.
fn depth_within(json: &[u8], max: usize) -> bool {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(&byte) = json.get(at) {
        match byte {
            b'"' => {
                at += 1;
                while let Some(&byte) = json.get(at) {
                    match byte {
                        b'"' => break,
                        b'\\' => at += 1,
                        _ => {}
                    }
                    at += 1;
                }
            }
            b'[' | b'{' => {
                depth += 1;
                if depth > max {
                    return false;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    true
}

/// The message of a JSON error without the excerpt of the text that follows it.
fn first_line(error: &sonic_rs::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().trim_end().to_owned()
}

fn usd(number: RawNumber) -> Option<Usd> {
    number.as_str().parse().ok()
}

#[derive(Deserialize)]
struct Wire {
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
    result: Option<Vec<Option<WireResult>>>,
}

#[derive(Deserialize, Default)]
struct WireData {
    tag: Option<String>,
    function: Option<String>,
}

#[derive(Deserialize)]
struct WireResult {
    items: Option<ItemCount>,
}

/// How many elements of an array are not null.
struct ItemCount(u64);

impl<'de> Deserialize<'de> for ItemCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Count;
        impl<'de> Visitor<'de> for Count {
            type Value = ItemCount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of items")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<ItemCount, A::Error> {
                let mut count = 0;
                while let Some(item) = items.next_element::<Option<IgnoredAny>>()? {
                    count += u64::from(item.is_some());
                }
                Ok(ItemCount(count))
            }
        }
        deserializer.deserialize_seq(Count)
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
        assert_eq!(envelope.items(), 2);
        assert_eq!(envelope.tasks[0].id.as_deref(), Some("04241333-1535-0576-0000-a7b281e5516b"));
    }

    #[test]
    fn nulls_at_every_level_are_survived() {
        for body in [
            r#"{"status_code":20000,"tasks":null}"#,
            r#"{"status_code":20000,"cost":null,"tasks":[null,{"id":null,"result":null}]}"#,
            r#"{"status_code":20000,"tasks":[{"result":[null,{"items":null}]}]}"#,
            r#"{"status_code":20000,"tasks":[{"data":null,"result":[{"items":[null,null]}]}]}"#,
        ] {
            assert_eq!(Envelope::read(body.as_bytes()).map(|envelope| envelope.items()), Ok(0), "{body}");
        }
    }

    #[test]
    fn a_task_that_failed_under_a_good_envelope_is_seen() {
        let body = br#"{"status_code":20000,"tasks_error":0,"tasks":[{"status_code":40501,"status_message":"Invalid Field"}]}"#;
        assert_eq!(Envelope::read(body).unwrap().status(), (40501, "Invalid Field"));
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        let whole = include_str!("../../data/responses/01_seed_bulk_pages_summary_ok.json").trim_end();
        for body in ["", "<html>", "{}", "[]", "null", &whole[..whole.len() - 1], &whole[..1000]] {
            assert!(matches!(Envelope::read(body.as_bytes()), Err(Malformed::NotJson(_))), "{body}");
        }
        let deep = format!(r#"{{"status_code":20000,"x":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(Envelope::read(deep.as_bytes()), Err(Malformed::TooDeep));
        assert!(depth_within(br#"{"a":"[[[[[[\"[[["}"#, 1));
    }
}
