//! The envelope around every response: two levels of status, the cost, and the number of items.
//!
//! A response is paid for, so it is read by need: what is not needed is skipped, and a field that
//! is needed is taken in whatever form its value can be understood. What was not as expected is
//! named in [`Envelope::oddities`]. The items are left to `flatten`. Every field may be null, and
//! `tasks_error` is ignored.

use serde::Deserializer;
use serde::de::DeserializeSeed as _;

use super::body::{Body, Malformed};
use super::code;
use super::each_item::each_item;
use super::fields::{cost, each_field, elements, text, whole};
use super::walk::{TakeItem, Walk};
use crate::money::Usd;

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
    /// What is not as expected, and was understood or left out nevertheless.
    pub oddities: Vec<String>,
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
    /// Reads the body of a response.
    ///
    /// # Errors
    /// [`Malformed`] if the body is not complete JSON or has no envelope.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let Body { json, mut oddities } = Body::of(body);
        let items = count_items(&json, &mut oddities)?;
        let raw = RawEnvelope::read(&json, &mut oddities);
        // A proxy writes JSON, too, so something must look like the provider's.
        let of_a_task = || raw.tasks.iter().any(|task| task.status_code.is_some());
        let status_code = match raw.status_code {
            Some(code) => code,
            None if of_a_task() => code::OK,
            None => return Err(Malformed::new("there is no status_code")),
        };
        let tasks = raw.tasks.into_iter().map(RawTask::known);
        Ok(Self {
            status_code,
            status_message: raw.status_message.unwrap_or_default(),
            cost: raw.cost,
            tasks: tasks.collect(),
            items,
            oddities,
        })
    }

    /// The task that was posted with this tag, else the first one.
    #[must_use]
    pub fn task_of(&self, tag: &str) -> Option<&Task> {
        let ours = |task: &&Task| task.tag.as_deref() == Some(tag);
        self.tasks.iter().find(ours).or(self.tasks.first())
    }

    /// The status that counts, with its text: the task's if the envelope's is a success, else the
    /// envelope's.
    #[must_use]
    pub fn status_with<'a>(&'a self, task: Option<&'a Task>) -> (u32, &'a str) {
        match task {
            Some(task) if self.status_code == code::OK => (task.status_code, &task.status_message),
            _ => (self.status_code, &self.status_message),
        }
    }

    /// As [`Envelope::status_with`] the first task.
    #[must_use]
    pub fn status(&self) -> (u32, &str) {
        self.status_with(self.tasks.first())
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

/// Counts the items, and notes bytes after the end. What the parser rejects is counted without
/// parsing values.
fn count_items(json: &str, odd: &mut Vec<String>) -> Result<u64, Malformed> {
    let mut counter = Counter::default();
    let mut parser = sonic_rs::Deserializer::from_str(json);
    let Err(error) = Walk::to_items(&mut counter).deserialize(&mut parser) else {
        if parser.end().is_err() {
            odd.push("bytes after the end".to_owned());
        }
        return Ok(counter.0);
    };
    let mut items = 0;
    match each_item(json, |_| items += 1) {
        Ok(()) if json.trim_ascii_start().starts_with('{') => {
            odd.push("values that are not JSON".to_owned());
            Ok(items)
        }
        Ok(()) => Err(Malformed::of(&error)),
        Err(malformed) => Err(malformed),
    }
}

/// The fields of the envelope that are needed. If a field is repeated, the last value counts.
#[derive(Default)]
struct RawEnvelope {
    status_code: Option<u32>,
    status_message: Option<String>,
    cost: Option<Usd>,
    tasks: Vec<RawTask>,
}

#[derive(Default)]
struct RawTask {
    id: Option<String>,
    status_code: Option<u32>,
    status_message: Option<String>,
    cost: Option<Usd>,
    tag: Option<String>,
    function: Option<String>,
}

impl RawEnvelope {
    fn read(json: &str, odd: &mut Vec<String>) -> Self {
        let mut read = Self::default();
        each_field(json, "", odd, |name, value, odd| match name {
            "status_code" => read.status_code = whole(value, "status_code", odd),
            "status_message" => read.status_message = text(value, "status_message", odd),
            "cost" => read.cost = cost(value, "cost", odd),
            "tasks" => {
                let tasks = elements(value).into_iter();
                read.tasks
                    .extend(tasks.filter_map(|task| RawTask::read(&task, odd)));
            }
            _ => {}
        });
        if read.tasks.len() > 1 {
            odd.push("more than one task".to_owned());
        }
        read
    }
}

impl RawTask {
    fn read(json: &str, odd: &mut Vec<String>) -> Option<Self> {
        if !json.starts_with('{') {
            return None;
        }
        let mut read = Self::default();
        each_field(json, "tasks.", odd, |name, value, odd| match name {
            "id" => read.id = text(value, "tasks.id", odd),
            "status_code" => read.status_code = whole(value, "tasks.status_code", odd),
            "status_message" => read.status_message = text(value, "tasks.status_message", odd),
            "cost" => read.cost = cost(value, "tasks.cost", odd),
            "data" if value.starts_with('{') => {
                each_field(value, "tasks.data.", odd, |name, value, odd| match name {
                    "tag" => read.tag = text(value, "tasks.data.tag", odd),
                    "function" => read.function = text(value, "tasks.data.function", odd),
                    _ => {}
                });
            }
            _ => {}
        });
        Some(read)
    }

    fn known(self) -> Task {
        Task {
            id: self.id,
            status_code: self.status_code.unwrap_or(code::OK),
            status_message: self.status_message.unwrap_or_default(),
            cost: self.cost,
            tag: self.tag,
            function: self.function,
        }
    }
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
            r#"{{"status_code":20000,"tasks":{}{}}}"#,
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

    #[test]
    fn a_paid_response_is_usable_whatever_form_its_fields_have() {
        let with = |envelope: &str, task: &str| {
            format!(
                r#"{{{envelope},"tasks":[{{{task},"data":{{"tag":"t"}},"result":[{{"items":[{{"url":"a"}},null]}}]}}]}}"#
            )
        };
        let plain = with(
            r#""status_code":20000,"cost":0.02"#,
            r#""id":"7","status_code":20000,"cost":0.02"#,
        );
        for (body, odd) in [
            (plain.clone(), &[][..]),
            (format!("\u{feff}{plain}"), &["a byte order mark"]),
            (format!("{plain}\r\n \n"), &[]),
            (format!("{plain}}}garbage"), &["bytes after the end"]),
            (
                plain.replace("20000", "\"20000\""),
                &["status_code", "tasks.status_code"],
            ),
            (
                plain.replace("20000", "20000.0"),
                &["status_code", "tasks.status_code"],
            ),
            (
                plain.replace("20000", "2e4"),
                &["status_code", "tasks.status_code"],
            ),
            (plain.replace("\"7\"", "7"), &["tasks.id"]),
            (plain.replace("0.02", "\"0.02\""), &["cost", "tasks.cost"]),
            (
                plain.replace("\"id\"", "\"status_message\":{\"a\":[1]},\"id\""),
                &["tasks.status_message"],
            ),
            (
                plain.replace("\"id\"", "\"id\":\"6\",\"id\""),
                &["tasks.id is repeated"],
            ),
            (
                plain.replacen("\"tasks\"", "\"time\":1e999,\"tasks\"", 1),
                &["values that are not JSON"],
            ),
            (
                plain.replacen("\"tasks\"", "\"time\":\"\\ud800\",\"tasks\"", 1),
                &["values that are not JSON"],
            ),
            (
                plain.replacen(
                    "[{\"id\"",
                    "[null,{\"status_code\":40501,\"data\":{\"tag\":\"other\"}},{\"id\"",
                    1,
                ),
                &["more than one task"],
            ),
        ] {
            let envelope = Envelope::read(body.as_bytes()).unwrap();
            let task = envelope.task_of("t").unwrap();
            let status = envelope.status_with(Some(task));
            assert_eq!((status.0, envelope.items), (20000, 1), "{body}");
            assert_eq!(task.id.as_deref(), Some("7"), "{body}");
            assert_eq!(envelope.charged(), Some("0.02".parse().unwrap()), "{body}");
            assert_eq!(envelope.oddities, odd, "{body}");
        }
        let mut not_utf8 = plain.into_bytes();
        not_utf8.splice(1..1, *b"\"x\":\"\xff\",");
        let envelope = Envelope::read(&not_utf8).unwrap();
        assert_eq!(envelope.oddities, ["bytes that are not UTF-8"]);
    }
}
