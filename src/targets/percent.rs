//! Percent-encoding in normal form (RFC 3986, 6.2.2).

use std::borrow::Cow;

/// Writes hex digits in upper case and decodes unreserved characters. A text with a stray `%` stays
/// as it is, because a change could alter its meaning.
pub(super) fn normal_percent(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut normal = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'%' {
            normal.push(bytes[at]);
            at += 1;
            continue;
        }
        let digit = |at: usize| bytes.get(at).and_then(|&b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else {
            return Cow::Borrowed(text);
        };
        let byte = (high * 16 + low) as u8;
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            normal.push(byte);
        } else {
            normal.extend([
                b'%',
                bytes[at + 1].to_ascii_uppercase(),
                bytes[at + 2].to_ascii_uppercase(),
            ]);
        }
        at += 3;
    }
    String::from_utf8(normal).map_or(Cow::Borrowed(text), Cow::Owned)
}
