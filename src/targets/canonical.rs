//! The provider's rules for a target: what is one, in which form it is sent, and which root domain it counts under.
//!
//! Two lines that mean the same page or domain get the same canonical form; a line that breaks the rules gets a
//! reason. URLs are read by the `url` crate (WHATWG), root domains by the public suffix list of the `psl` crate.

use std::borrow::Cow;
use std::ops::Range;

use psl::{List, Psl, Type};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::{Host, Position, Url};

/// What a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum TargetKind {
    /// An absolute http or https URL.
    Page,
    /// A root domain, without scheme and `www.`.
    Domain,
    /// A host below a root domain, without scheme and `www.`.
    Subdomain,
}

impl TargetKind {
    /// The name in the tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Domain => "domain",
            Self::Subdomain => "subdomain",
        }
    }
}

/// What a URL without path and query, `https://example.com`, stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BareUrl {
    /// The page `https://example.com/`.
    #[default]
    Page,
    /// The domain `example.com`.
    Domain,
}

/// Which suffixes of the public suffix list end a root domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuffixList {
    /// Both sections: `a.github.io` and `b.github.io` count as two. Never fewer root domains than by ICANN alone,
    /// so a batch keeps the cap whichever of the two the provider counts by.
    #[default]
    IcannAndPrivate,
    /// The ICANN section only: both count as `github.io`.
    Icann,
}

/// How lines become targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rules {
    /// What a URL without path and query stands for.
    pub bare_url: BareUrl,
    /// Which suffixes end a root domain.
    pub suffixes: SuffixList,
}

/// Why a line is no target. The text is what the targets table shows as the reason.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each message says what its variant means")]
pub enum Invalid {
    #[error("empty")]
    Empty,
    #[error("longer than {max} bytes")]
    TooLong { max: usize },
    #[error("not UTF-8 at byte {at}; save the list as UTF-8")]
    NotUtf8 { at: usize },
    #[error("not a JSON object: {detail}")]
    NotJson { detail: String },
    #[error("no `{column}` in this row")]
    NoColumn { column: String },
    #[error("{reason}")]
    AsKept { reason: String },
    #[error("holds white space; write it as %20, and comments on lines of their own")]
    WhiteSpace,
    #[error("holds a control character")]
    ControlCharacter,
    #[error("scheme `{scheme}` is not http or https")]
    OtherScheme { scheme: String },
    #[error("holds user info before the host")]
    UserInfo,
    #[error("a page needs http:// or https:// in front")]
    PageWithoutScheme,
    #[error("a domain has no port; write a page with http:// or https:// in front")]
    DomainWithPort,
    #[error("no host")]
    EmptyHost,
    #[error("host `{host}` has a single label")]
    SingleLabel { host: String },
    #[error("host `{host}` is no domain name")]
    BadHost { host: String },
    #[error("an IPv6 host is no domain name")]
    Ipv6,
    #[error("no URL: {detail}")]
    BadUrl { detail: String },
}

/// A target in canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical {
    text: String,
    kind: TargetKind,
    root: Range<usize>,
}

impl Canonical {
    /// The form in which it is sent.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> TargetKind {
        self.kind
    }

    /// The root domain it counts under; for an IPv4 host the address itself.
    #[must_use]
    pub fn root_domain(&self) -> &str {
        &self.text[self.root.clone()]
    }
}

/// Brings a line to canonical form, or says why it is no target. Canonical forms are left as they are.
///
/// # Errors
/// [`Invalid`] with the first rule the line breaks.
pub fn canonical(line: &str, rules: &Rules) -> Result<Canonical, Invalid> {
    if let Some(page) = plain_page(line, rules) {
        return Ok(page);
    }
    read(line, rules)
}

/// A page in canonical form that is told by its bytes alone: a lower-case host, a path, and nothing that would be
/// encoded, decoded or dropped. Most lines of most lists are such, and reading one as a URL takes several times as long.
fn plain_page(line: &str, rules: &Rules) -> Option<Canonical> {
    let after_scheme = line
        .strip_prefix("https://")
        .or_else(|| line.strip_prefix("http://"))?;
    let (host, path) = after_scheme.split_at(after_scheme.find('/')?);
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_~!$&()*+,;:=@/?.".contains(&b);
    if path == "/" || !path.bytes().all(is_plain) || path.contains("/.") {
        return None;
    }
    // Labels that begin with a digit may make an address, those with `--` a name in another script.
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    let last_label = &host[host.rfind('.')? + 1..];
    let is_name = last_label.starts_with(|c: char| c.is_ascii_lowercase()) && !host.contains("--");
    if !(host.bytes().all(is_plain) && is_name && check_host(host).is_ok()) {
        return None;
    }
    let end = line.len() - path.len();
    let root = end - root_domain(host, rules.suffixes).len()..end;
    Some(Canonical {
        text: line.to_owned(),
        kind: TargetKind::Page,
        root,
    })
}

/// The same for any line.
fn read(line: &str, rules: &Rules) -> Result<Canonical, Invalid> {
    let line = line.trim();
    if line.is_empty() {
        return Err(Invalid::Empty);
    }
    if line.chars().any(char::is_control) {
        return Err(Invalid::ControlCharacter);
    }
    if line.contains(char::is_whitespace) {
        return Err(Invalid::WhiteSpace);
    }
    match scheme(line) {
        Some("http" | "https") => page(line, rules),
        Some(scheme) => Err(Invalid::OtherScheme {
            scheme: shortened(scheme),
        }),
        None => domain(line, rules),
    }
}

/// The scheme in front of `://`, or of a `name:` that is not `host:port`; `http` and `https` in lower case.
fn scheme(line: &str) -> Option<&str> {
    let (scheme, rest) = line.split_once(':')?;
    let named = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    if !rest.starts_with("//")
        && (!named || scheme.contains('.') || rest.starts_with(|c: char| c.is_ascii_digit()))
    {
        return None;
    }
    ["https", "http"]
        .into_iter()
        .find(|known| scheme.eq_ignore_ascii_case(known))
        .or(Some(scheme))
}

fn page(line: &str, rules: &Rules) -> Result<Canonical, Invalid> {
    let mut url = Url::parse(line).map_err(|error| match error {
        url::ParseError::EmptyHost => Invalid::EmptyHost,
        error => Invalid::BadUrl {
            detail: error.to_string(),
        },
    })?;
    if !line
        .split_once(':')
        .is_some_and(|(_, rest)| rest.starts_with("//"))
    {
        return Err(Invalid::PageWithoutScheme);
    }
    if !url.username().is_empty() || url.password().is_some() || has_user_info(line) {
        return Err(Invalid::UserInfo);
    }
    url.set_fragment(None);
    let address = match url.host() {
        None => return Err(Invalid::EmptyHost),
        Some(Host::Ipv6(_)) => return Err(Invalid::Ipv6),
        Some(Host::Ipv4(address)) => {
            check_address(&address.to_string(), host_of(line))?;
            true
        }
        Some(Host::Domain(_)) => false,
    };
    let host = url.host_str().unwrap_or_default();
    if !address {
        check_host(host.trim_end_matches('.'))?;
        if host.ends_with('.') {
            let host = host.trim_end_matches('.').to_owned();
            url.set_host(Some(&host)).map_err(|error| Invalid::BadUrl {
                detail: error.to_string(),
            })?;
        }
    }
    let bare = url.path() == "/" && url.query().is_none() && url.port().is_none();
    if bare && rules.bare_url == BareUrl::Domain {
        return domain(url.host_str().unwrap_or_default(), rules);
    }
    let host = url[..Position::BeforeHost].len()..url[..Position::AfterHost].len();
    let after_host = host.end;
    let mut text = String::from(url);
    let root = if address {
        host
    } else {
        host.end - root_domain(&text[host.clone()], rules.suffixes).len()..host.end
    };
    if let Cow::Owned(normal) = normal_percent(&text[after_host..]) {
        text.replace_range(after_host.., &normal);
    }
    Ok(Canonical {
        text,
        kind: TargetKind::Page,
        root,
    })
}

/// Takes an IPv4 address only as it is usually written: to the URL standard `12345` is one, too.
fn check_address(address: &str, written: &str) -> Result<(), Invalid> {
    match written.trim_end_matches('.') {
        written if written == address => Ok(()),
        written if !written.contains('.') => Err(Invalid::SingleLabel {
            host: shortened(written),
        }),
        written => Err(Invalid::BadHost {
            host: shortened(written),
        }),
    }
}

/// The host of a URL as written, without port.
fn host_of(line: &str) -> &str {
    let rest = line.split_once("//").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    authority.split(':').next().unwrap_or_default()
}

/// A host as messages show it.
fn shortened(host: &str) -> String {
    host.chars().take(120).collect()
}

/// Whether an `@` stands in the part between `//` and the path: the `url` crate drops an empty user name silently.
fn has_user_info(line: &str) -> bool {
    let rest = line.split_once("//").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    authority.contains('@')
}

fn domain(line: &str, rules: &Rules) -> Result<Canonical, Invalid> {
    if line.contains(['/', '?', '#', '\\']) {
        return Err(if line.starts_with('/') {
            Invalid::EmptyHost
        } else {
            Invalid::PageWithoutScheme
        });
    }
    if line.contains('@') {
        return Err(Invalid::UserInfo);
    }
    if line.starts_with('[') {
        return Err(Invalid::Ipv6);
    }
    if line.contains(':') {
        return Err(Invalid::DomainWithPort);
    }
    let line = line.trim_end_matches('.');
    let mut host = match Host::parse(line) {
        Ok(Host::Ipv4(address)) => {
            let text = address.to_string();
            check_address(&text, line)?;
            let root = 0..text.len();
            return Ok(Canonical {
                text,
                kind: TargetKind::Domain,
                root,
            });
        }
        Ok(Host::Domain(host)) => host,
        Ok(Host::Ipv6(_)) => return Err(Invalid::Ipv6),
        Err(url::ParseError::EmptyHost) => return Err(Invalid::EmptyHost),
        Err(_) => {
            return Err(Invalid::BadHost {
                host: shortened(line),
            });
        }
    };
    check_host(&host)?;
    while let Some(rest) = host.strip_prefix("www.") {
        // `www.co.uk` is itself a registered name, not the www host of one.
        if root_domain(&host, SuffixList::Icann) == host {
            break;
        }
        host = rest.to_owned();
    }
    let root = host.len() - root_domain(&host, rules.suffixes).len()..host.len();
    let kind = if root.start == 0 {
        TargetKind::Domain
    } else {
        TargetKind::Subdomain
    };
    Ok(Canonical {
        text: host,
        kind,
        root,
    })
}

/// Holds a host to what DNS allows, `_` included; the `url` crate lets more pass.
fn check_host(host: &str) -> Result<(), Invalid> {
    let fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if host.is_empty() {
        Err(Invalid::EmptyHost)
    } else if host.len() > 253 || !host.split('.').all(fits) {
        Err(Invalid::BadHost {
            host: shortened(host),
        })
    } else if !host.contains('.') {
        Err(Invalid::SingleLabel {
            host: host.to_owned(),
        })
    } else {
        Ok(())
    }
}

/// The root domain of a host: the public suffix and one label more. A host that is itself a suffix is its own.
fn root_domain(host: &str, suffixes: SuffixList) -> &str {
    let Some(mut suffix) = List.suffix(host.as_bytes()) else {
        return host;
    };
    if suffixes == SuffixList::Icann {
        // The ICANN suffix lies within the private one: ask again for what remains without its first label.
        while suffix.typ() == Some(Type::Private) {
            let shorter = suffix
                .as_bytes()
                .iter()
                .position(|&b| b == b'.')
                .map(|dot| &suffix.as_bytes()[dot + 1..]);
            match shorter.and_then(|rest| List.suffix(rest)) {
                Some(outer) => suffix = outer,
                None => break,
            }
        }
    }
    let before = host.len() - suffix.as_bytes().len();
    if before == 0 {
        return host;
    }
    let label = host[..before - 1].rfind('.').map_or(0, |dot| dot + 1);
    &host[label..]
}

/// A url without scheme, `www.` and final slash: what two ways to write the same page have in common.
#[must_use]
pub fn stem(url: &str) -> &str {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .unwrap_or(url);
    let rest = rest.strip_prefix("www.").unwrap_or(rest);
    rest.strip_suffix('/').unwrap_or(rest)
}

/// Percent-encoding in normal form (RFC 3986, 6.2.2): hex digits upper case, unreserved characters bare. A text with
/// a stray `%` is left alone, because there the meaning could change.
fn normal_percent(text: &str) -> Cow<'_, str> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn form(line: &str) -> Result<(String, TargetKind, String), String> {
        canonical(line, &Rules::default())
            .map(|target| {
                (
                    target.text().to_owned(),
                    target.kind(),
                    target.root_domain().to_owned(),
                )
            })
            .map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn targets_come_to_the_form_the_provider_asks_for() {
        use TargetKind::{Domain, Page, Subdomain};
        for (line, text, kind, root) in [
            (
                "https://Example.COM",
                "https://example.com/",
                Page,
                "example.com",
            ),
            (
                "HTTP://www.example.com:80/a/../b?q=1#top",
                "http://www.example.com/b?q=1",
                Page,
                "example.com",
            ),
            (
                "https://example.com:8443/",
                "https://example.com:8443/",
                Page,
                "example.com",
            ),
            (
                "https://bücher.example.de/ü",
                "https://xn--bcher-kva.example.de/%C3%BC",
                Page,
                "example.de",
            ),
            (
                "https://example.com/%7euser/%3a%2f",
                "https://example.com/~user/%3A%2F",
                Page,
                "example.com",
            ),
            (
                "https://example.com/100%/%7e",
                "https://example.com/100%/%7e",
                Page,
                "example.com",
            ),
            (
                "https://example.com./x",
                "https://example.com/x",
                Page,
                "example.com",
            ),
            (
                "http://192.0.2.7/x",
                "http://192.0.2.7/x",
                Page,
                "192.0.2.7",
            ),
            (
                "  WWW.Example.co.uk ",
                "example.co.uk",
                Domain,
                "example.co.uk",
            ),
            (
                "docs.example.com.",
                "docs.example.com",
                Subdomain,
                "example.com",
            ),
            ("a.github.io", "a.github.io", Domain, "a.github.io"),
            (
                "https://a.b.github.io/",
                "https://a.b.github.io/",
                Page,
                "b.github.io",
            ),
            ("github.io", "github.io", Domain, "github.io"),
            ("192.0.2.7", "192.0.2.7", Domain, "192.0.2.7"),
            (
                "_dmarc.example.com",
                "_dmarc.example.com",
                Subdomain,
                "example.com",
            ),
        ] {
            assert_eq!(
                form(line),
                Ok((text.to_owned(), kind, root.to_owned())),
                "{line}"
            );
        }
    }

    #[test]
    fn what_breaks_the_rules_is_told_why() {
        for (line, reason) in [
            ("", "empty"),
            (
                "https://user:secret@example.com/",
                "holds user info before the host",
            ),
            ("https://@example.com/", "holds user info before the host"),
            ("someone@example.com", "holds user info before the host"),
            ("ftp://example.com/", "scheme `ftp` is not http or https"),
            (
                "mailto:someone@example.com",
                "scheme `mailto` is not http or https",
            ),
            (
                "javascript:alert(1)",
                "scheme `javascript` is not http or https",
            ),
            ("localhost", "host `localhost` has a single label"),
            ("https://localhost/x", "host `localhost` has a single label"),
            ("https:///x", "host `x` has a single label"),
            ("https://", "no host"),
            ("//example.com/", "no host"),
            (
                "example.com/page",
                "a page needs http:// or https:// in front",
            ),
            (
                "https:example.com",
                "a page needs http:// or https:// in front",
            ),
            (
                "example.com:8080",
                "a domain has no port; write a page with http:// or https:// in front",
            ),
            ("https://example.com/\u{7}", "holds a control character"),
            ("https://exa\tmple.com/", "holds a control character"),
            ("https://[::1]/", "an IPv6 host is no domain name"),
            (
                "https://example.com(not set)",
                "holds white space; write it as %20, and comments on lines of their own",
            ),
            (
                "https://example.com/a # note",
                "holds white space; write it as %20, and comments on lines of their own",
            ),
            ("12345", "host `12345` has a single label"),
            ("1.2.3", "host `1.2.3` is no domain name"),
            ("http://0x7f.1/", "host `0x7f.1` is no domain name"),
            ("http://12345/x", "host `12345` has a single label"),
            ("*.example.com", "host `*.example.com` is no domain name"),
            ("a..example.com", "host `a..example.com` is no domain name"),
            ("https://example.com:99999/", "no URL: invalid port number"),
        ] {
            assert_eq!(form(line), Err(reason.to_owned()), "{line}");
        }
    }

    #[test]
    fn most_pages_are_told_by_their_bytes() {
        for (line, told) in [
            (
                "https://www.example.co.uk/blog/post-1?page=2&sort=new",
                true,
            ),
            ("http://example.com/A_b~c(1).html", true),
            ("https://example.com/", false),
            ("https://Example.com/a", false),
            ("https://example.com/a/../b", false),
            ("https://example.com/%7e", false),
            ("https://example.com/a#top", false),
            ("https://192.0.2.7/a", false),
            ("https://xn--bcher-kva.example/a", false),
            ("https://example.com:8443/a", false),
            ("https://user@example.com/a", false),
        ] {
            assert_eq!(
                plain_page(line, &Rules::default()).is_some(),
                told,
                "{line}"
            );
        }
    }

    #[test]
    fn a_bare_url_is_a_domain_where_the_pipeline_says_so() {
        let rules = Rules {
            bare_url: BareUrl::Domain,
            ..Rules::default()
        };
        let text = |line| canonical(line, &rules).unwrap().text().to_owned();
        assert_eq!(text("https://www.example.com"), "example.com");
        assert_eq!(text("https://www.example.com/#x"), "example.com");
        assert_eq!(
            text("https://www.example.com/?q"),
            "https://www.example.com/?q"
        );
        assert_eq!(
            text("https://www.example.com:81/"),
            "https://www.example.com:81/"
        );
    }

    #[test]
    fn icann_alone_counts_all_of_a_private_suffix_as_one() {
        let rules = Rules {
            suffixes: SuffixList::Icann,
            ..Rules::default()
        };
        for (line, root) in [
            ("https://a.b.github.io/", "github.io"),
            ("shop.blogspot.co.uk", "blogspot.co.uk"),
            ("bucket.s3.eu-west-1.amazonaws.com", "amazonaws.com"),
            ("docs.example.co.uk", "example.co.uk"),
        ] {
            assert_eq!(
                canonical(line, &rules).unwrap().root_domain(),
                root,
                "{line}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_line_is_a_target_or_told_why_and_a_canonical_form_stays(
            line in prop_oneof![
                "\\PC{0,40}",
                "(https?://)?[a-zA-Z0-9.%:@_-]{0,20}(/[ -~]{0,30})?",
                "(HTTP|https)://([a-z]{1,5}\\.){1,3}(com|co\\.uk|github\\.io|рф)(:[0-9]{1,5})?(/[%a-f0-9./?#é -]{0,20})?",
            ],
            suffixes in prop_oneof![Just(SuffixList::Icann), Just(SuffixList::IcannAndPrivate)],
        ) {
            let rules = Rules { suffixes, ..Rules::default() };
            if let Ok(first) = canonical(&line, &rules) {
                let again = canonical(first.text(), &rules);
                prop_assert_eq!(Ok(&first), again.as_ref());
                prop_assert!(first.text().contains(first.root_domain()));
                prop_assert!(!first.text().contains('#'));
            }
        }

        #[test]
        fn a_page_told_by_its_bytes_is_what_reading_it_gives(
            line in prop_oneof![
                "https?://[a-z0-9.-]{1,12}[ -~]{0,12}",
                "https?://([a-z0-9-]{1,5}\\.){1,3}(com|c0m|0x1f|10|xn--p1ai)/[!-~]{0,20}",
                "https?://([a-z]{1,5}\\.){1,2}co\\.uk(/[a-zA-Z0-9._~-]{1,5}){1,4}([?#&=;][a-z0-9]{1,5}){0,3}",
            ],
        ) {
            let rules = Rules::default();
            if let Some(page) = plain_page(&line, &rules) {
                prop_assert_eq!(Ok(page), read(&line, &rules));
            }
        }

        #[test]
        fn private_suffixes_never_join_what_icann_keeps_apart(
            left in "([a-z]{1,3}\\.){0,2}(github\\.io|example\\.com|co\\.uk|blogspot\\.com)",
            right in "([a-z]{1,3}\\.){0,2}(github\\.io|example\\.com|co\\.uk|blogspot\\.com)",
        ) {
            if root_domain(&left, SuffixList::IcannAndPrivate) == root_domain(&right, SuffixList::IcannAndPrivate) {
                prop_assert_eq!(root_domain(&left, SuffixList::Icann), root_domain(&right, SuffixList::Icann));
            }
        }
    }
}
