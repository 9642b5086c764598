//! Secrets where they do not belong: a login in a URL is recognised without being printed, and
//! credentials that a response repeats are blotted out.

use std::borrow::Cow;

use bytes::Bytes;
use memchr::memchr3_iter;

/// Shorter texts are not looked for: they would be found by chance, and what is paid for would be
/// changed.
const SHORTEST: usize = 6;

/// Whether a URL contains a login or a password, also one that is not well formed.
#[must_use]
pub fn has_login(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else {
        return false;
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    // A secret with a slash ends the authority early. A port is a number.
    let port = host.rsplit_once(']').map_or(host, |(_, port)| port);
    let no_port = port
        .split_once(':')
        .is_some_and(|(_, port)| port.bytes().any(|byte| !byte.is_ascii_digit()));
    match user {
        // Azure writes container@account.
        Some(user) if matches!(scheme, "abfs" | "abfss") => user.contains(':'),
        Some(_) => true,
        None => no_port,
    }
}

/// A URL for messages: without a query, a fragment and a login. Paths and the names of objects stay
/// as they are.
#[must_use]
pub fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    if has_login(url) {
        return format!("{scheme}://…");
    }
    let end = match scheme {
        "http" | "https" => rest.find(['?', '#']).unwrap_or(rest.len()),
        _ => rest.len(),
    };
    format!("{scheme}://{}", &rest[..end])
}

/// Names of the parameters of a URL whose values are credentials, in lower case: signed URLs of the clouds, and keys.
const SECRET_PARAMETERS: [&str; 16] = [
    "sig",
    "signature",
    "token",
    "access_token",
    "key",
    "api_key",
    "apikey",
    "password",
    "secret",
    "x-amz-signature",
    "x-amz-credential",
    "x-amz-security-token",
    "x-goog-signature",
    "x-goog-credential",
    "awsaccesskeyid",
    "googleaccessid",
];

/// A message in which no URL shows a login or the value of a parameter that holds a credential. All else stays: a message
/// may be about a page with a query.
#[must_use]
pub fn without_credentials(message: &str) -> Cow<'_, str> {
    if !message.contains("://") {
        return Cow::Borrowed(message);
    }
    let mut clean = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find("://") {
        let scheme = rest[..at]
            .bytes()
            .rev()
            .take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
            .count();
        let (before, url) = rest.split_at(at - scheme);
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '|');
        // A bracket around a URL is no part of it, one inside it is.
        let end = url.find(ends).unwrap_or(url.len());
        let end = url[..end].trim_end_matches([')', ']', '}', ',', ';']).len();
        clean.push_str(before);
        push_without_credentials(&mut clean, &url[..end]);
        rest = &url[end..];
    }
    clean.push_str(rest);
    Cow::Owned(clean)
}

fn push_without_credentials(clean: &mut String, url: &str) {
    if let Some((scheme, rest)) = url.split_once("://")
        && has_login(url)
    {
        clean.push_str(scheme);
        clean.push_str("://…");
        // What follows the last `@` is no secret. Without one, no part of the URL is certain.
        if let Some((_, host)) = rest.rsplit_once('@') {
            clean.push('@');
            push_query(clean, host);
        }
        return;
    }
    push_query(clean, url);
}

fn push_query(clean: &mut String, url: &str) {
    let Some((before, query)) = url.split_once('?') else {
        clean.push_str(url);
        return;
    };
    clean.push_str(before);
    for (n, parameter) in query.split('&').enumerate() {
        clean.push(if n == 0 { '?' } else { '&' });
        let name = parameter.split('=').next().unwrap_or_default();
        let is_secret = SECRET_PARAMETERS.contains(&name.to_ascii_lowercase().as_str());
        if is_secret && name.len() < parameter.len() {
            clean.push_str(name);
            clean.push_str("=…");
        } else {
            clean.push_str(parameter);
        }
    }
}

/// The credentials of an account, in the forms in which a response could repeat them.
#[derive(Clone)]
pub struct Secrets(Vec<String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(hidden)")
    }
}

impl Secrets {
    /// The password, the login if it is an address, and all of them in Base64, as HTTP Basic sends
    /// them. A login that is a mere word could be a word of a response.
    #[must_use]
    pub fn new(login: &str, password: &str) -> Self {
        use base64::Engine as _;
        use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

        let pair = format!("{login}:{password}");
        let mut secrets = vec![password.to_owned()];
        for text in [pair.as_str(), password] {
            secrets.extend([STANDARD_NO_PAD.encode(text), URL_SAFE_NO_PAD.encode(text)]);
        }
        if login.contains('@') {
            secrets.push(login.to_owned());
        }
        secrets.retain(|secret| secret.chars().count() >= SHORTEST);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self(secrets)
    }

    /// A body without the secrets, and how many there were; none if there is none. Each is replaced
    /// by asterisks of the same length. What is part of the request is not taken for a secret.
    #[must_use]
    pub fn blotted(&self, body: &Bytes, request: &[u8]) -> Option<(Bytes, usize)> {
        let mut blotted: Option<Vec<u8>> = None;
        let mut count = 0;
        for secret in &self.0 {
            if find(request, secret, 0).is_some() {
                continue;
            }
            let mut from = 0;
            loop {
                let text = blotted.as_deref().unwrap_or(body);
                let Some((at, bytes)) = find(text, secret, from) else {
                    break;
                };
                let text = blotted.get_or_insert_with(|| body.to_vec());
                blot(&mut text[at..at + bytes]);
                count += 1;
                from = at + bytes;
            }
        }
        blotted.map(|blotted| (blotted.into(), count))
    }
}

/// Asterisks, but digits where a number could be meant: JSON stays JSON.
fn blot(text: &mut [u8]) {
    let is_number = text
        .iter()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E'));
    for byte in text {
        if !is_number {
            *byte = b'*';
        } else if byte.is_ascii_digit() {
            *byte = b'1';
        }
    }
}

/// Where a text begins that stands for a secret, and its length in bytes.
fn find(text: &[u8], secret: &str, from: usize) -> Option<(usize, usize)> {
    let first = *secret.as_bytes().first()?;
    let starts = memchr3_iter(first, b'%', b'\\', &text[from..]);
    // Every backslash is a start, so the one before is known.
    let mut escape = None;
    starts
        .map(|at| from + at)
        // A character after a backslash belongs to its escape.
        .filter(|&at| {
            let is_escaped = at
                .checked_sub(1)
                .is_some_and(|before| escape == Some(before));
            if text[at] == b'\\' && !is_escaped {
                escape = Some(at);
            }
            !is_escaped
        })
        .find_map(|at| Some((at, spelled(&text[at..], secret)?)))
}

/// The length of a text that stands for a secret: each character as it is, escaped as in JSON, or
/// percent-encoded.
fn spelled(text: &[u8], secret: &str) -> Option<usize> {
    let mut at = 0;
    for character in secret.chars() {
        at += character_len(&text[at..], character)?;
    }
    Some(at)
}

fn character_len(text: &[u8], character: char) -> Option<usize> {
    if let [b'\\', escape, rest @ ..] = text {
        let is_code = *escape == b'u' && hex(rest.get(..4)?) == Some(character.into());
        if is_code {
            return Some(6);
        }
        if matches!(escape, b'"' | b'\\' | b'/') && char::from(*escape) == character {
            return Some(2);
        }
    }
    let mut utf8 = [0; 4];
    let utf8 = character.encode_utf8(&mut utf8).as_bytes();
    let percent = utf8.iter().zip(text.chunks(3)).all(|(&byte, found)| {
        matches!(found, [b'%', code @ ..] if code.len() == 2 && hex(code) == Some(byte.into()))
    });
    if percent && text.len() >= 3 * utf8.len() {
        return Some(3 * utf8.len());
    }
    if character == ' ' && text.first() == Some(&b'+') {
        return Some(1);
    }
    text.starts_with(utf8).then_some(utf8.len())
}

fn hex(digits: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(digits).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_login_in_a_url_is_found_and_never_shown() {
        for url in [
            "https://me:SECRET@api.example.com",
            "https://SECRET@api.example.com",
            "https://me:SEC/RET@api.example.com",
            "https://me:SECRET?x@api.example.com",
            "https://me:SEC RET@api.example.com",
            "https://me:SECRET@[bad",
            "s3://key:SECRET@bucket/lake",
            "s3://key:SEC/RET@bucket/lake",
            "gs://SECRET@bucket/lake",
            "abfss://key:SECRET@account.dfs.core.windows.net/lake",
        ] {
            assert!(has_login(url), "{url}");
            assert!(!shown(url).contains("SEC"), "{}", shown(url));
        }
        for (url, expected) in [
            (
                "https://api.example.com:8443/x@y",
                "https://api.example.com:8443/x@y",
            ),
            ("http://[::1]:80/", "http://[::1]:80/"),
            ("https://[::1]", "https://[::1]"),
            (
                "https://a.com/list.csv?sig=SECRET#x",
                "https://a.com/list.csv",
            ),
            ("https://a.com?sig=SECRET", "https://a.com"),
            ("s3://bucket/a?.txt", "s3://bucket/a?.txt"),
            ("s3://bucket/me@home", "s3://bucket/me@home"),
            (
                "abfss://files@account.dfs.core.windows.net/lake",
                "abfss://files@account.dfs.core.windows.net/lake",
            ),
            ("me@home/lake", "me@home/lake"),
            ("/srv/a:b@c/lake", "/srv/a:b@c/lake"),
        ] {
            assert!(!has_login(url), "{url}");
            assert_eq!(shown(url), expected);
        }
    }

    #[test]
    fn a_message_shows_no_credentials_and_everything_else() {
        for (message, clean) in [
            ("nothing to hide: 1://", "nothing to hide: 1://"),
            (
                "failed (https://me:SECRET@a.com/x), again",
                "failed (https://…@a.com/x), again",
            ),
            ("`https://SECRET@a.com`", "`https://…@a.com`"),
            (
                "s3://key:SEC/RET@bucket/lake failed",
                "s3://…@bucket/lake failed",
            ),
            ("https://me:SECRET is wrong", "https://… is wrong"),
            (
                "{\"url\":\"https://a.com/l.csv?sv=1&sig=SECRET%3D&x=2\"}",
                "{\"url\":\"https://a.com/l.csv?sv=1&sig=…&x=2\"}",
            ),
            (
                "two: https://a.com/?X-Amz-Signature=SECRET https://b.com:8443/?id=5&tag",
                "two: https://a.com/?X-Amz-Signature=… https://b.com:8443/?id=5&tag",
            ),
            (
                "page https://a.com/?q=(1)&key",
                "page https://a.com/?q=(1)&key",
            ),
        ] {
            assert_eq!(without_credentials(message), clean);
        }
    }

    fn blotted(login: &str, password: &str, body: &str) -> (String, usize) {
        let found =
            Secrets::new(login, password).blotted(&Bytes::copy_from_slice(body.as_bytes()), b"{}");
        let (body, count) = found.unwrap_or((Bytes::copy_from_slice(body.as_bytes()), 0));
        (String::from_utf8(body.to_vec()).unwrap(), count)
    }

    #[test]
    fn a_secret_is_found_in_every_spelling_and_nothing_else_changes() {
        let (login, password) = ("me@example.com", "p\"ss/w\u{f6}rd");
        let pair = format!("{login}:{password}");
        let basic = base64::Engine::encode(&base64::engine::general_purpose::STANDARD_NO_PAD, pair);
        for spelling in [
            "p\\\"ss/w\u{f6}rd",
            "p\\\"ss\\/w\\u00f6rd",
            "p%22ss%2Fw%C3%B6rd",
            "p%22ss%2fw%c3%b6rd",
            "me%40example.com",
            "me@example.com",
            &basic,
        ] {
            let body = format!("x \"{spelling}\"=&");
            let expected = format!("x \"{}\"=&", "*".repeat(spelling.len()));
            assert_eq!(blotted(login, password, &body), (expected, 1), "{spelling}");
        }
        let other = "me, example.com, p, word";
        assert_eq!(blotted(login, password, other), (other.to_owned(), 0));
        // A number stays a number, an escape an escape, and a short word a word.
        assert_eq!(
            blotted("me", "123456", "[123456,0.123456]").0,
            "[111111,0.111111]"
        );
        assert_eq!(blotted("me", "nothing", r#"["\nothing"]"#).1, 0);
        assert_eq!(
            blotted("links", "com", "links.com, com, links"),
            ("links.com, com, links".to_owned(), 0)
        );
        // What was asked for is in the response by right.
        let secrets = Secrets::new("me", "example.com");
        let body = Bytes::from_static(b"[\"example.com\"]");
        assert_eq!(secrets.blotted(&body, b"[\"example.com\"]"), None);
    }

    proptest! {
        #[test]
        fn a_response_with_secrets_stays_json_of_the_same_length(
            password in "[ -~\u{e4}\u{65e5}]{6,20}", before in any::<String>(), after in any::<String>(),
        ) {
            let text = format!("{before}{password}{after}");
            let json = serde_json::to_string(&[&text]).unwrap();
            let (blotted, count) = blotted("me", &password, &json);
            prop_assert_eq!(blotted.len(), json.len());
            prop_assert!(count >= 1);
            let read: [String; 1] = serde_json::from_str(&blotted).unwrap();
            prop_assert!(!read[0].contains(&password));
        }

        #[test]
        fn no_body_is_too_odd(password in "[ -~]{6,12}", body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let found = Secrets::new("me@x.y", &password).blotted(&body.into(), b"");
            prop_assert!(found.is_none_or(|(_, count)| count > 0));
        }
    }
}
