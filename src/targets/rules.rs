//! The vocabulary of the provider's rules: kinds of targets, choices of the pipeline, and reasons
//! for invalid lines.

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;
use thiserror::Error;

/// The kind of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
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
    /// The kind of a target in canonical form with this root domain.
    pub(super) fn of(text: &str, root_domain: &str) -> Self {
        if text.contains("://") {
            Self::Page
        } else if text.len() == root_domain.len() {
            Self::Domain
        } else {
            Self::Subdomain
        }
    }

    /// The name in the tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// How to read a URL without path and query, such as `https://example.com`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BareUrl {
    /// As the page `https://example.com/`.
    #[default]
    Page,
    /// As the domain `example.com`.
    Domain,
}

/// Which sections of the public suffix list delimit a root domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuffixList {
    /// Both sections: `a.github.io` and `b.github.io` are two root domains. This never counts fewer
    /// root domains than ICANN alone, so a batch keeps the provider's cap whichever section the
    /// provider uses.
    #[default]
    IcannAndPrivate,
    /// The ICANN section only: both count as `github.io`.
    Icann,
}

/// The choices of a pipeline that decide how lines become targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rules {
    /// How to read a URL without path and query.
    pub bare_url: BareUrl,
    /// Which suffixes delimit a root domain.
    pub suffixes: SuffixList,
}

/// The rule of the provider that a line breaks. The message is the `reason` in the targets table.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each message explains its variant")]
pub enum Invalid {
    #[error("empty")]
    Empty,
    #[error("contains white space; write it as %20, and put comments on their own lines")]
    WhiteSpace,
    #[error("contains a control character")]
    ControlCharacter,
    #[error("scheme `{scheme}` is not http or https")]
    OtherScheme { scheme: String },
    #[error("contains user info before the host")]
    UserInfo,
    #[error("a page needs http:// or https:// in front")]
    PageWithoutScheme,
    #[error("a domain has no port; write a page with http:// or https:// in front")]
    DomainWithPort,
    #[error("no host")]
    EmptyHost,
    #[error("host `{host}` has a single label")]
    SingleLabel { host: String },
    #[error("host `{host}` is not a domain name")]
    BadHost { host: String },
    #[error("an IPv6 host is not a domain name")]
    Ipv6,
    #[error("an IP address is not a domain")]
    BareAddress,
    #[error("host {address} is {block}: nothing on the internet links to it")]
    ReservedAddress {
        address: String,
        block: &'static str,
    },
    #[error("host `{host}` is not on the internet: `{name}` is reserved for special use")]
    SpecialUse { host: String, name: &'static str },
    #[error("a page follows `domain:`; write the page alone, or only its domain")]
    PageAsDomain,
    #[error("not a URL: {detail}")]
    BadUrl { detail: String },
}
