//! Nothing in a response is lost: every value is in its column or, unchanged, in `extra`. No input
//! makes it panic.

use arrow::array::AsArray as _;
use arrow::array::{Array as _, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use backlake::contract::{ColumnType, DIMENSIONS, Table};
use backlake::flatten::{Flattened, Requested, breakdowns, flatten};
use backlake::provider::Envelope;
use backlake::targets::{Rules, Target, TargetId, TargetKind};
use chrono::DateTime;
use proptest::prelude::*;
use serde_json::{Value, json};

fn with_request<T>(targets: &[&'static str], then: impl FnOnce(&Requested<'_>) -> T) -> T {
    let targets: Vec<Target<'_>> = targets
        .iter()
        .map(|&text| Target {
            id: TargetId(0),
            text: text.into(),
            kind: TargetKind::Page,
            root_domain: "example.com",
        })
        .collect();
    let rules = Rules::default();
    then(&Requested {
        contract: Table::Pages.contract(),
        targets: &targets,
        rules: &rules,
        request_id: Some("id"),
        fetched_at: 1,
    })
}

fn response(items: &Value) -> Vec<u8> {
    let result = json!([{"total_count": 1, "items_count": 1, "items": items}]);
    let task =
        json!({"id": "id", "status_code": 20000, "cost": 0.06, "data": {}, "result": result});
    json!({"status_code": 20000, "cost": 0.06, "tasks": [task]})
        .to_string()
        .into_bytes()
}

fn rows(items: &Value) -> Flattened {
    with_request(&["https://example.com/a"], |requested| {
        flatten(&response(items), requested)
    })
    .unwrap()
}

fn value(batch: &RecordBatch, column: &str, row: usize) -> Value {
    let array = batch.column_by_name(column).unwrap();
    if array.is_null(row) {
        return Value::Null;
    }
    let kind = Table::Pages
        .contract()
        .columns
        .iter()
        .find(|known| known.name == column)
        .unwrap()
        .kind;
    match kind {
        ColumnType::Utf8 => array.as_string::<i32>().value(row).into(),
        ColumnType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        ColumnType::Timestamp => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            DateTime::from_timestamp_micros(micros)
                .unwrap()
                .format("%Y-%m-%d %H:%M:%S +00:00")
                .to_string()
                .into()
        }
        ColumnType::CountsByKey => {
            let entries = array.as_map().value(row);
            let (keys, values) = (
                entries.column(0).as_string::<i32>(),
                entries.column(1).as_primitive::<Int64Type>(),
            );
            Value::Object(
                keys.iter()
                    .zip(values)
                    .map(|(key, value)| (key.unwrap().to_owned(), value.into()))
                    .collect(),
            )
        }
        other => panic!("an item cannot fill a column of type {other:?}"),
    }
}

/// The item of a row, reassembled from its columns and `extra`.
fn reassembled(batch: &RecordBatch, row: usize) -> Value {
    let mut object = serde_json::Map::new();
    for column in Table::Pages
        .contract()
        .columns
        .iter()
        .filter(|column| column.item.is_some())
    {
        let value = value(batch, &column.name, row);
        if !value.is_null() {
            object.insert(column.name.clone(), value);
        }
    }
    let extra = batch.column_by_name("extra").unwrap().as_string::<i32>();
    if extra.is_valid(row) {
        let extra: Value = serde_json::from_str(extra.value(row)).unwrap();
        object.extend(extra.as_object().unwrap().clone());
    }
    Value::Object(object)
}

#[test]
fn the_recorded_response_is_decoded_with_all_24_fields() {
    let body = include_bytes!("../../data/responses/01_seed_bulk_pages_summary_ok.json");
    let targets = [
        "https://dataforseo.com/solutions",
        "https://dataforseo.com/about-us",
    ];
    let flattened = with_request(&targets, |requested| flatten(body, requested)).unwrap();
    assert_eq!(
        (flattened.returned, flattened.unmatched),
        (vec![true, true], 0)
    );
    assert!(flattened.irregularities.is_empty());
    let truth: Value = serde_json::from_slice(body).unwrap();
    let items = truth
        .pointer("/tasks/0/result/0/items")
        .unwrap()
        .as_array()
        .unwrap();
    for (row, item) in items.iter().enumerate() {
        let fields: Vec<&String> = item.as_object().unwrap().keys().collect();
        assert_eq!(fields.len(), 24);
        for field in fields {
            assert_eq!(
                value(&flattened.pages, field, row),
                item[field],
                "row {row}: {field}"
            );
        }
    }
}

#[test]
fn sibling_responses_keep_the_order_of_maps_and_their_unknown_fields() {
    for body in [
        include_str!("../../data/responses/02_backlinks_summary_explodingtopics.json"),
        include_str!("../../data/responses/03_backlinks_referring_domains_backlinko.json"),
    ] {
        let truth: Value = serde_json::from_str(body).unwrap();
        let result = truth.pointer("/tasks/0/result/0").unwrap();
        let items = if result["items"].is_array() {
            result["items"].clone()
        } else {
            json!([result])
        };
        let flattened = rows(&items);
        for (row, item) in items.as_array().unwrap().iter().enumerate() {
            let mut without_nulls = item.as_object().unwrap().clone();
            without_nulls.retain(|name, value| {
                !value.is_null()
                    || Table::Pages
                        .contract()
                        .columns
                        .iter()
                        .all(|column| column.name != *name)
            });
            assert_eq!(
                reassembled(&flattened.pages, row),
                Value::Object(without_nulls)
            );
        }
    }
}

#[test]
fn a_value_that_does_not_fit_leaves_a_null_and_its_original() {
    for (field, original) in [
        ("backlinks", json!(1.5)),
        ("backlinks", json!("12")),
        ("backlinks", json!(u64::MAX)),
        ("backlinks", json!([1])),
        ("rank", json!(true)),
        ("url", json!(7)),
        ("first_seen", json!("yesterday")),
        ("first_seen", json!("2024-02-30 00:00:00 +00:00")),
        ("first_seen", json!("0000-12-31 23:59:59 +00:00")),
        ("first_seen", json!("0001-01-01 00:00:00 +00:01")),
        ("first_seen", json!("9999-12-31 23:59:59 -00:01")),
        ("first_seen", json!("+10000-01-01 00:00:00 +00:00")),
        ("first_seen", json!(1_700_000_000)),
        ("referring_links_tld", json!([])),
        ("referring_links_tld", json!({"com": 1, "net": "2"})),
        ("referring_links_tld", json!({"com": 1.5})),
        ("referring_links_tld", json!("com")),
    ] {
        let flattened = rows(&json!([{"url": "https://example.com/a", field: original}]));
        assert_eq!(
            value(&flattened.pages, field, 0),
            Value::Null,
            "{field} {original}"
        );
        assert_eq!(
            reassembled(&flattened.pages, 0)[field],
            original,
            "{field} {original}"
        );
        assert_eq!(flattened.irregularities.misfits[field], 1);
    }
}

#[test]
fn the_first_and_the_last_time_that_readers_can_represent_fit() {
    let (first, last) = ("0001-01-01 00:00:00 +00:00", "9999-12-31 23:59:59 +00:00");
    for (written, time) in [
        (first, first),
        (last, last),
        ("0001-01-01 00:01:00 +00:01", first),
        ("9999-12-31 23:58:59 -00:01", last),
    ] {
        let flattened = rows(&json!([{"url": "https://example.com/a", "first_seen": written}]));
        assert_eq!(
            value(&flattened.pages, "first_seen", 0),
            json!(time),
            "{written}"
        );
        assert!(flattened.irregularities.misfits.is_empty(), "{written}");
    }
}

#[test]
fn extra_contains_originals_byte_for_byte() {
    let body = String::from_utf8(response(
        &json!([{"url": "https://example.com/a", "backlinks": 0}]),
    ))
    .unwrap()
    .replace(
        "\"backlinks\":0",
        "\"backlinks\":1.50e2,\"backlinks\":7,\"new\": {\"a\" : 12345678901234567890123}",
    );
    let flattened = with_request(&["https://example.com/a"], |requested| {
        flatten(body.as_bytes(), requested)
    })
    .unwrap();
    let extra = flattened
        .pages
        .column_by_name("extra")
        .unwrap()
        .as_string::<i32>()
        .value(0)
        .to_owned();
    assert_eq!(
        extra,
        r#"{"backlinks":7,"new":{"a" : 12345678901234567890123}}"#
    );
    // 1.50e2 is an unusual spelling of the integer 150, so it fits.
    assert_eq!(value(&flattened.pages, "backlinks", 0), json!(150));
    assert_eq!(flattened.irregularities.unknown_fields["new"], 1);
}

#[test]
fn nulls_empty_keys_and_null_counts_are_kept() {
    let item = json!({"url": "https://example.com/a", "referring_links_countries": {"": 3, "US": null}, "referring_links_tld": {}});
    let flattened = rows(&json!([null, item, null]));
    assert_eq!(flattened.pages.num_rows(), 1);
    assert_eq!(
        value(&flattened.pages, "referring_links_countries", 0),
        json!({"": 3, "US": null})
    );
    assert_eq!(value(&flattened.pages, "referring_links_tld", 0), json!({}));
    assert_eq!(
        value(&flattened.pages, "referring_links_types", 0),
        Value::Null
    );
    let unfolded = breakdowns(&flattened.pages).unwrap();
    assert_eq!(
        (unfolded.num_rows(), unfolded.column(4).null_count()),
        (2, 1)
    );
}

#[test]
fn an_item_that_was_not_requested_keeps_its_row_unmatched() {
    let flattened = rows(
        &json!([{"url": "HTTPS://Other.example.org:443/x#y"}, {"url": null}, 5, {"url": "not a url"}]),
    );
    assert_eq!((flattened.returned, flattened.unmatched), (vec![false], 4));
    let text = |name: &str, row: usize| {
        let column = flattened
            .pages
            .column_by_name(name)
            .unwrap()
            .as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    assert_eq!(
        text("target", 0).as_deref(),
        Some("https://other.example.org/x")
    );
    assert_eq!(text("root_domain", 0).as_deref(), Some("example.org"));
    assert_eq!((text("target", 1), text("root_domain", 1)), (None, None));
    assert_eq!(text("extra", 2).as_deref(), Some("{\"item\":5}"));
    assert_eq!(text("target", 3).as_deref(), Some("not a url"));
}

#[test]
fn a_response_nested_ten_thousand_deep_is_rejected() {
    for field in ["\"new\"", "\"backlinks\"", "\"referring_links_tld\""] {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let body = String::from_utf8(response(&json!([{"url": "x"}])))
            .unwrap()
            .replace("\"url\":\"x\"", &format!("{field}:{deep}"));
        assert!(with_request(&[], |requested| flatten(body.as_bytes(), requested)).is_err());
        assert!(
            Envelope::read(body.as_bytes())
                .unwrap_err()
                .to_string()
                .contains("nested deeper")
        );
    }
}

#[test]
fn flatten_reads_what_the_envelope_accepts() {
    for odd in [
        r#""\ud800""#,
        "1e999",
        "-1e400",
        "01",
        "\"\u{1}\"",
        "NaN",
        "[1,]",
        "{\"a\":1,}",
        "\"\\x\"",
    ] {
        for field in ["url", "backlinks", "new", "referring_links_tld"] {
            let body = String::from_utf8(response(&json!([{ "x": "here" }]))).unwrap();
            let body = body.replace("\"x\":\"here\"", &format!("\"{field}\":{odd}"));
            let read = Envelope::read(body.as_bytes());
            let flattened = with_request(&[], |requested| flatten(body.as_bytes(), requested));
            assert_eq!(read.is_ok(), flattened.is_ok(), "{field}: {odd}");
        }
    }
}

/// Any JSON value that is not too deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i32>().prop_map(|quarters| Value::from(f64::from(quarters) / 4.0)),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!("2024-03-31 07:06:04 +00:00")),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("\\PC{0,4}", inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// An item with known and unknown fields in any order; some values fit and others do not.
fn any_item() -> impl Strategy<Value = Value> {
    let names: Vec<String> = Table::Pages
        .contract()
        .columns
        .iter()
        .filter_map(|column| Some(column.item_name()?.to_owned()))
        .collect();
    let field = prop_oneof![prop::sample::select(names), "[a-z]{0,3}"];
    let counts = prop::collection::vec(("[a-z.]{0,3}", any::<i64>()), 0..5).prop_map(|entries| {
        Value::Object(
            entries
                .into_iter()
                .map(|(key, count)| (key, count.into()))
                .collect(),
        )
    });
    let value = prop_oneof![any_json(), counts, any::<i64>().prop_map(Value::from)];
    prop::collection::vec((field, value), 0..30)
        .prop_map(|fields| Value::Object(fields.into_iter().collect()))
}

proptest! {
    #[test]
    fn no_item_and_no_value_of_a_response_is_lost(
        items in prop::collection::vec(prop_oneof![8 => any_item(), 1 => any_json()], 0..6),
    ) {
        let items = Value::Array(items);
        let flattened = rows(&items);
        let items: Vec<&Value> = items.as_array().unwrap().iter().filter(|item| !item.is_null()).collect();
        prop_assert_eq!(flattened.pages.num_rows(), items.len());
        prop_assert_eq!(Envelope::read(&response(&json!(items))).unwrap().items, items.len() as u64);
        for (row, item) in items.iter().enumerate() {
            let found = reassembled(&flattened.pages, row);
            let Some(fields) = item.as_object() else {
                prop_assert_eq!(&found["item"], *item);
                continue;
            };
            for (name, truth) in fields {
                let known = Table::Pages.contract().columns.iter().any(|column| column.item_name() == Some(name.as_str()));
                if truth.is_null() && known {
                    continue;
                }
                // A float without a fraction may come back as an integer.
                let same = found.get(name) == Some(truth)
                    || truth.as_f64().is_some_and(|float| found[name].as_f64() == Some(float))
                    || truth.is_object() && same_counts(&found[name], truth);
                prop_assert!(same, "row {}: {} is {}, expected {}", row, name, found[name], truth);
            }
            prop_assert!(found.as_object().unwrap().len() <= fields.len());
        }
        let (pages, rows) = (&flattened.pages, flattened.pages.num_rows());
        for part in [pages.clone(), pages.slice(0, rows / 2), pages.slice(rows / 2, rows - rows / 2)] {
            prop_assert_eq!(unfolded_rows(&breakdowns(&part).unwrap()), entries_of_maps(&part));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(cut in 0_usize..3000, flip in 0_usize..3000, byte in any::<u8>()) {
        let mut body = include_bytes!("../../data/responses/01_seed_bulk_pages_summary_ok.json").to_vec();
        let at = flip % body.len();
        body[at] = byte;
        body.truncate(body.len() - cut % body.len());
        let flattened = with_request(&["https://dataforseo.com/solutions"], |requested| flatten(&body, requested));
        let envelope = Envelope::read(&body);
        if let Ok(envelope) = envelope {
            prop_assert_eq!(flattened.unwrap().pages.num_rows() as u64, envelope.items);
        }
    }
}

/// A row of breakdowns: target, dimension, key and links.
type Unfolded = (Option<String>, String, String, Option<i64>);

/// The rows of breakdowns.
fn unfolded_rows(breakdowns: &RecordBatch) -> Vec<Unfolded> {
    let text = |column: usize| {
        let plain = cast(breakdowns.column(column), &DataType::Utf8).unwrap();
        let texts: Vec<Option<String>> = plain
            .as_string::<i32>()
            .iter()
            .map(|text| text.map(str::to_owned))
            .collect();
        texts
    };
    let (targets, dimensions, keys) = (text(0), text(2), text(3));
    let links = breakdowns.column(4).as_primitive::<Int64Type>().iter();
    let rows = targets.into_iter().zip(dimensions).zip(keys).zip(links);
    rows.map(|(((target, dimension), key), links)| {
        (target, dimension.unwrap(), key.unwrap(), links)
    })
    .collect()
}

/// The entries of the maps of pages, one by one: page by page, dimension by dimension.
fn entries_of_maps(pages: &RecordBatch) -> Vec<Unfolded> {
    let targets = pages.column_by_name("target").unwrap().as_string::<i32>();
    let mut rows = Vec::new();
    for row in 0..pages.num_rows() {
        let target = targets.is_valid(row).then(|| targets.value(row).to_owned());
        for (dimension, field) in DIMENSIONS {
            let maps = pages.column_by_name(field).unwrap().as_map();
            if maps.is_null(row) {
                continue;
            }
            let entries = maps.value(row);
            let keys = entries.column(0).as_string::<i32>().iter().flatten();
            let links = entries.column(1).as_primitive::<Int64Type>().iter();
            rows.extend(
                keys.zip(links).map(|(key, links)| {
                    (target.clone(), dimension.to_owned(), key.to_owned(), links)
                }),
            );
        }
    }
    rows
}

/// Whether two maps of counts are equal. An integer and a float of the same value are equal.
fn same_counts(left: &Value, right: &Value) -> bool {
    match (left.as_object(), right.as_object()) {
        (Some(left), Some(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, count)| {
                    right.get(key).is_some_and(|other| {
                        count == other
                            || count.as_f64().is_some() && count.as_f64() == other.as_f64()
                    })
                })
        }
        _ => false,
    }
}
