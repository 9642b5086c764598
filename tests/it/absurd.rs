//! Absurd figures in the files of a lake: a command says what is wrong, and none ends in a panic.

use serde_json::{Value, json};

use crate::harness::{Site, program, text};

/// Whether a text is a time such as `2026-11-23T10:00:00Z`, at any hour of the day.
fn is_time(text: &str) -> bool {
    text.starts_with("20") && text.as_bytes().get(10) == Some(&b'T')
}

/// The places of all figures and dates in a document.
fn figures(document: &Value, at: &str, found: &mut Vec<(String, Value)>) {
    match document {
        Value::Object(fields) => {
            for (name, value) in fields {
                figures(value, &format!("{at}/{name}"), found);
            }
        }
        // What holds of the first holds of the others.
        Value::Array(values) => {
            if let Some(value) = values.first() {
                figures(value, &format!("{at}/0"), found);
            }
        }
        Value::Number(_) => found.push((at.to_owned(), json!(u64::MAX))),
        Value::String(text) if text.parse::<f64>().is_ok() => {
            found.push((at.to_owned(), json!("79228162514264337593543950335")));
        }
        Value::String(text) if is_time(text) => {
            found.push((at.to_owned(), json!("+262142-12-31T23:59:59Z")));
        }
        _ => {}
    }
}

#[test]
fn no_figure_in_a_file_of_the_lake_ends_a_command_in_a_panic() {
    let site = Site::new(["https://example.com/", "example.org", "no target"])
        .with("[budget]\nmax_cost_usd = 5.0");
    let run = site.program("run", &["-q"]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let lake = site.lake();
    let lake = lake.to_str().unwrap();
    let pipeline = site.write("pipeline.toml", site.text());
    let pipeline = pipeline.to_str().unwrap();
    let mut tried = 0;
    let objects: [(&str, &[&[&str]]); 4] = [
        (
            "_snapshots/2026-11-23.json",
            &[&["status", lake], &["verify", lake]],
        ),
        (
            "_runs/2026-11-23/attempts/00000-1.json",
            &[&["verify", lake, "--archive"], &["replay", pipeline, "-q"]],
        ),
        (
            "_runs/2026-11-23/run.json",
            &[&["status", lake], &["replay", pipeline, "-q"]],
        ),
        ("_runs/2026-11-23/summary.json", &[&["status", lake]]),
    ];
    let sound = site.tree();
    for (object, commands) in objects {
        let before: Value = serde_json::from_slice(&sound[object]).unwrap();
        let mut places = Vec::new();
        figures(&before, "", &mut places);
        assert!(places.len() > 2, "{object}");
        for (place, value) in places {
            let mut document = before.clone();
            *document.pointer_mut(&place).unwrap() = value.clone();
            for command in commands {
                std::fs::write(site.lake().join(object), document.to_string()).unwrap();
                let output = program().args(*command).output().unwrap();
                let said = text(&output.stderr);
                let code = output.status.code();
                let what = format!("{command:?}, {object} {place} = {value}");
                assert!(code.is_some_and(|code| code <= 7), "{what}: {said}");
                assert!(!said.contains("panicked"), "{what}: {said}");
                tried += 1;
            }
        }
        for (path, bytes) in &sound {
            std::fs::write(site.lake().join(path), bytes).unwrap();
        }
    }
    assert!(tried > 50, "{tried}");
}
