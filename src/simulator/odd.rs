//! Unusual forms of an envelope that a client should understand, because the response is paid for.

use bytes::Bytes;

/// Writes the envelope of a response in another form, which the number of the request selects.
pub(super) fn odd(json: &str, number: u64) -> Bytes {
    let once = |from: &str, to: &str| json.replacen(from, to, 1);
    let forms: [&dyn Fn() -> String; 10] = [
        &|| once("\"id\":\"", "\"id\":7,\"was\":\""),
        &|| {
            json.replace(
                "\"status_message\":\"Ok.\"",
                "\"status_message\":{\"text\":[\"Ok.\"]}",
            )
        },
        &|| json.replace("\"status_code\":20000", "\"status_code\":\"20000\""),
        &|| json.replace("\"status_code\":20000", "\"status_code\":20000.0"),
        &|| format!("{json}\n}}, and more"),
        &|| format!("\u{feff}{json}"),
        &|| {
            once(
                "\"status_code\":20000",
                "\"status_code\":40501,\"status_code\":20000",
            )
        },
        &|| {
            once(
                "\"tasks\":[",
                "\"tasks\":[null,{\"status_code\":40501,\"data\":{\"tag\":\"another\"}},",
            )
        },
        &|| once("\"time\":", "\"time\":1e999,\"was\":"),
        &|| once("\"time\":", "\"note\":\"\\ud800\",\"time\":"),
    ];
    forms[(number % forms.len() as u64) as usize]().into()
}
