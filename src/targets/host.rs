//! Hosts: which names and addresses are valid, and which root domain a host belongs to.
//!
//! Root domains follow the public suffix list of the `psl` crate.

use std::net::Ipv4Addr;

use psl::{List, Psl, Type};

use super::rules::{Invalid, SuffixList};

/// Top-level names that no registry delegates: IANA's registry of special-use domain names (RFC 6761
/// and its successors; `example.com`, `.net` and `.org` are real sites, so they stay), the name that
/// ICANN reserves for private use (`internal`), and those that RFC 6762 lists as used in private
/// networks. `arpa` is infrastructure (RFC 3172) and contains `home.arpa`.
const SPECIAL_USE: [&str; 15] = [
    "alt",
    "arpa",
    "corp",
    "example",
    "home",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "private",
    "test",
];

/// Checks that a host is a DNS name of two or more labels, `_` included, that can exist on the
/// internet. The `url` crate accepts more, and one target that the provider refuses refuses its
/// whole batch.
pub(super) fn check_host(host: &str) -> Result<(), Invalid> {
    let fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if host.is_empty() {
        return Err(Invalid::EmptyHost);
    }
    // Every line passes here, so the labels are found once.
    let (mut labels, mut last) = (0, "");
    for label in host.split('.') {
        if host.len() > 253 || !fits(label) {
            return Err(Invalid::BadHost {
                host: shortened(host),
            });
        }
        (labels, last) = (labels + 1, label);
    }
    if labels == 1 {
        return Err(Invalid::SingleLabel {
            host: host.to_owned(),
        });
    }
    match SPECIAL_USE.iter().find(|&&name| name == last) {
        None => Ok(()),
        Some(&name) => Err(Invalid::SpecialUse {
            host: shortened(host),
            name,
        }),
    }
}

/// Blocks of addresses that are not on the internet (IANA's registry of special-purpose addresses):
/// first address, length of the prefix, and what the block is.
const RESERVED: [(Ipv4Addr, u32, &str); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "reserved"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "a private address"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "a private address"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "a loopback address"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "a link-local address"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "a private address"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "reserved"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "an address for examples"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "reserved"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "a private address"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "reserved"),
    (
        Ipv4Addr::new(198, 51, 100, 0),
        24,
        "an address for examples",
    ),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "an address for examples"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "a multicast address"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// Checks that an address can be on the internet.
pub(super) fn check_public(address: Ipv4Addr) -> Result<(), Invalid> {
    let within = |start: Ipv4Addr, length: u32| {
        let mask = u32::MAX << (32 - length);
        address.to_bits() & mask == start.to_bits()
    };
    match RESERVED
        .iter()
        .find(|&&(start, length, _)| within(start, length))
    {
        None => Ok(()),
        Some(&(.., block)) => Err(Invalid::ReservedAddress {
            address: address.to_string(),
            block,
        }),
    }
}

/// Accepts an IPv4 address only in dotted decimal form. The URL standard also reads `12345` as one.
pub(super) fn check_address(address: &str, written: &str) -> Result<(), Invalid> {
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

/// The part of a URL between `//` and the path, as written: user info, host and port.
pub(super) fn authority(url: &str) -> &str {
    let rest = url.split_once("//").map_or("", |(_, rest)| rest);
    rest.split(['/', '\\', '?', '#']).next().unwrap_or_default()
}

/// The host of a target in canonical form.
pub(super) fn host(target: &str) -> &str {
    let rest = target.split_once("://").map_or(target, |(_, rest)| rest);
    let end = rest.find([':', '/']).unwrap_or(rest.len());
    &rest[..end]
}

/// The first characters of a host or scheme, for messages.
pub(super) fn shortened(host: &str) -> String {
    host.chars().take(120).collect()
}

/// The root domain of a host: the public suffix and one more label. A host that is itself a public
/// suffix is its own root domain.
pub(super) fn root_domain(host: &str, suffixes: SuffixList) -> &str {
    let Some(mut suffix) = List.suffix(host.as_bytes()) else {
        return host;
    };
    if suffixes == SuffixList::Icann {
        // The ICANN suffix is part of the private one: look up what remains without the first
        // label.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn private_suffixes_never_merge_two_icann_root_domains(
            left in "([a-z]{1,3}\\.){0,2}(github\\.io|example\\.com|co\\.uk|blogspot\\.com)",
            right in "([a-z]{1,3}\\.){0,2}(github\\.io|example\\.com|co\\.uk|blogspot\\.com)",
        ) {
            let same = |suffixes| root_domain(&left, suffixes) == root_domain(&right, suffixes);
            if same(SuffixList::IcannAndPrivate) {
                prop_assert!(same(SuffixList::Icann));
            }
        }
    }
}
