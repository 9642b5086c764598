//! The canonical form of a target, in which it is sent, compared and published.
//!
//! Two lines that mean the same page or domain get the same canonical form; a line that breaks a
//! rule of the provider gets a reason. The `url` crate parses URLs (WHATWG).

use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::ops::Range;

use url::{Host, Position, Url};

use super::block::Entities;
use super::host::{authority, check_address, check_host, check_public, root_domain, shortened};
use super::percent::normal_percent;
use super::rules::{BareUrl, Invalid, Rules, SuffixList, TargetKind};
use super::spelling::{domain_prefix, trimmed, unescaped, without_invisible};

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

    /// The kind of the target.
    #[must_use]
    pub fn kind(&self) -> TargetKind {
        self.kind
    }

    /// The root domain that it counts towards; for an IPv4 host, the address itself.
    #[must_use]
    pub fn root_domain(&self) -> &str {
        &self.text[self.root.clone()]
    }
}

/// The canonical form of a line. A line that is already in canonical form stays the same.
///
/// # Errors
/// [`Invalid`] with the first rule that the line breaks.
pub fn canonical(line: &str, rules: &Rules) -> Result<Canonical, Invalid> {
    match plain_page(line, rules) {
        Some(root) => Ok(Canonical {
            text: line.to_owned(),
            kind: TargetKind::Page,
            root,
        }),
        None => read(line, rules),
    }
}

/// The target of a line of a list. Most lines are in canonical form, so their texts are not copied.
#[derive(Debug)]
pub(super) enum LineTarget {
    /// The line is in canonical form, and its root domain is there.
    AsWritten(Range<usize>),
    Other(Canonical),
}

impl LineTarget {
    /// The target of a line, which may contain entities.
    ///
    /// # Errors
    /// As [`canonical`].
    pub(super) fn of(line: &str, entities: Entities, rules: &Rules) -> Result<Self, Invalid> {
        if let Some(line) = unescaped(line, entities) {
            return canonical(&line, rules).map(Self::Other);
        }
        match plain_page(line, rules) {
            Some(root) => Ok(Self::AsWritten(root)),
            None => read(line, rules).map(Self::Other),
        }
    }

    /// The canonical form. `line` is the one that was given to [`LineTarget::of`].
    pub(super) fn text<'a>(&'a self, line: &'a str) -> &'a str {
        match self {
            Self::AsWritten(_) => line,
            Self::Other(canonical) => canonical.text(),
        }
    }

    /// The root domain. `line` is as in [`LineTarget::text`].
    pub(super) fn root_domain<'a>(&'a self, line: &'a str) -> &'a str {
        match self {
            Self::AsWritten(root) => &line[root.clone()],
            Self::Other(canonical) => canonical.root_domain(),
        }
    }
}

/// Recognises a page in canonical form by its bytes: a lower-case host, a path, and no byte that a
/// URL parser encodes, decodes or drops. Most lines of most lists are such pages, and parsing them
/// as URLs takes several times as long. Returns where its root domain is.
fn plain_page(line: &str, rules: &Rules) -> Option<Range<usize>> {
    let after_scheme = line
        .strip_prefix("https://")
        .or_else(|| line.strip_prefix("http://"))?;
    let host_end = memchr::memchr(b'/', after_scheme.as_bytes())?;
    let (host, path) = after_scheme.split_at(host_end);
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_~!$&()*+,;:=@/?.".contains(&b);
    if path == "/" || !path.bytes().all(is_plain) || has_pair(path, b'/', b'.') {
        return None;
    }
    // A last label that starts with a digit may belong to an IPv4 address; `--` marks a name in
    // another script.
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    let last_label = &host[memchr::memrchr(b'.', host.as_bytes())? + 1..];
    let is_name =
        last_label.starts_with(|c: char| c.is_ascii_lowercase()) && !has_pair(host, b'-', b'-');
    if !(host.bytes().all(is_plain) && is_name && check_host(host).is_ok()) {
        return None;
    }
    let end = line.len() - path.len();
    Some(end - root_domain(host, rules.suffixes).len()..end)
}

/// Whether two bytes follow each other in a text.
fn has_pair(text: &str, first: u8, second: u8) -> bool {
    let text = text.as_bytes();
    memchr::memchr_iter(second, text).any(|at| at > 0 && text[at - 1] == first)
}

/// The canonical form of any line, found by parsing it.
fn read(line: &str, rules: &Rules) -> Result<Canonical, Invalid> {
    let line = &*without_invisible(trimmed(line));
    if line.is_empty() {
        return Err(Invalid::Empty);
    }
    if let Some(named) = domain_prefix(line) {
        return named_domain(named, rules);
    }
    check_characters(line)?;
    if line.parse::<Ipv6Addr>().is_ok() {
        return Err(Invalid::Ipv6);
    }
    match scheme(line) {
        Some("http" | "https") => page(line, rules),
        Some(scheme) => Err(Invalid::OtherScheme {
            scheme: shortened(scheme),
        }),
        None => domain(line, rules),
    }
}

/// The domain of a line such as `domain:example.com` or `sc-domain:example.com`.
fn named_domain(named: &str, rules: &Rules) -> Result<Canonical, Invalid> {
    if named.is_empty() {
        return Err(Invalid::EmptyHost);
    }
    check_characters(named)?;
    let target = match scheme(named) {
        Some("http" | "https") => {
            let bare_url = BareUrl::Domain;
            page(named, &Rules { bare_url, ..*rules })?
        }
        _ => domain(named, rules)?,
    };
    match target.kind {
        TargetKind::Page => Err(Invalid::PageAsDomain),
        TargetKind::Domain | TargetKind::Subdomain => Ok(target),
    }
}

fn check_characters(line: &str) -> Result<(), Invalid> {
    if line.chars().any(char::is_control) {
        return Err(Invalid::ControlCharacter);
    }
    if line.contains(char::is_whitespace) {
        return Err(Invalid::WhiteSpace);
    }
    Ok(())
}

/// The scheme of a line, from `scheme://…` or from a `name:…` that is not `host:port`. `http` and
/// `https` are returned in lower case.
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

/// The canonical form of a line that starts with `http:` or `https:`.
fn page(line: &str, rules: &Rules) -> Result<Canonical, Invalid> {
    let mut url = Url::parse(line).map_err(|error| match error {
        url::ParseError::EmptyHost => Invalid::EmptyHost,
        error => Invalid::BadUrl {
            detail: error.to_string(),
        },
    })?;
    // The `url` crate also accepts `https:example.com`, which more likely is a typing error.
    if !line
        .split_once(':')
        .is_some_and(|(_, rest)| rest.starts_with("//"))
    {
        return Err(Invalid::PageWithoutScheme);
    }
    // The `url` crate silently drops an empty user name, so the text is checked, too.
    if !url.username().is_empty() || url.password().is_some() || authority(line).contains('@') {
        return Err(Invalid::UserInfo);
    }
    url.set_fragment(None);
    let address = match url.host() {
        None => return Err(Invalid::EmptyHost),
        Some(Host::Ipv6(_)) => return Err(Invalid::Ipv6),
        Some(Host::Ipv4(address)) => {
            let written = authority(line).split(':').next().unwrap_or_default();
            check_address(&address.to_string(), written)?;
            check_public(address)?;
            true
        }
        Some(Host::Domain(_)) => false,
    };
    let host = url.host_str().unwrap_or_default();
    if !address {
        check_host(host.trim_end_matches('.'))?;
        // The final dot of an absolute DNS name does not change the page.
        if host.ends_with('.') {
            let host = host.trim_end_matches('.').to_owned();
            url.set_host(Some(&host)).map_err(|error| Invalid::BadUrl {
                detail: error.to_string(),
            })?;
        }
    }
    // A bare URL may mean the domain; `domain` then applies its own rules.
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

/// The canonical form of a line without a scheme. `example.com/` is the domain, too: without a
/// scheme it cannot be a page.
fn domain(line: &str, rules: &Rules) -> Result<Canonical, Invalid> {
    let line = match line.strip_suffix('/') {
        Some(host) if !host.is_empty() => host,
        _ => line,
    };
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
            check_address(&address.to_string(), line)?;
            return Err(Invalid::BareAddress);
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
        // `www.co.uk` is a registered name itself, not the www host of another one.
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

#[cfg(test)]
mod tests;
