//! Canonical forms of valid lines, and the reasons for invalid ones.

use proptest::prelude::*;

use super::super::host::host;
use super::*;

fn form(line: &str) -> Result<(String, TargetKind, String), String> {
    canonical(line, &Rules::default())
        .map(|target| {
            // A list does not store what the text shows.
            let (text, root) = (target.text(), target.root_domain());
            assert_eq!(TargetKind::of(text, root), target.kind(), "{line}");
            let rest = host(text).strip_suffix(root);
            assert!(
                rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
                "{line}"
            );
            (
                target.text().to_owned(),
                target.kind(),
                target.root_domain().to_owned(),
            )
        })
        .map_err(|invalid| invalid.to_string())
}

#[test]
fn pages_get_the_form_that_the_provider_requires() {
    use TargetKind::Page;
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
        ("http://9.9.9.9/x", "http://9.9.9.9/x", Page, "9.9.9.9"),
    ] {
        assert_eq!(
            form(line),
            Ok((text.to_owned(), kind, root.to_owned())),
            "{line}"
        );
    }
}

#[test]
fn domains_lose_their_www_and_get_their_root_domain() {
    use TargetKind::{Domain, Page, Subdomain};
    for (line, text, kind, root) in [
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
        ("gov.uk", "gov.uk", Domain, "gov.uk"),
        ("www.gov.uk", "www.gov.uk", Domain, "www.gov.uk"),
        ("example.com/", "example.com", Domain, "example.com"),
        ("www.example.org/", "example.org", Domain, "example.org"),
        ("domain:example.com", "example.com", Domain, "example.com"),
        (
            "DOMAIN: www.shop.example.com/",
            "shop.example.com",
            Subdomain,
            "example.com",
        ),
        (
            "sc-domain:example.net",
            "example.net",
            Domain,
            "example.net",
        ),
        (
            "domain:https://example.com/",
            "example.com",
            Domain,
            "example.com",
        ),
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
fn a_line_that_breaks_a_rule_gets_the_reason() {
    for (line, reason) in [
        ("", "empty"),
        (
            "https://user:secret@example.com/",
            "contains user info before the host",
        ),
        (
            "https://@example.com/",
            "contains user info before the host",
        ),
        ("someone@example.com", "contains user info before the host"),
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
        ("https://example.com/\u{7}", "contains a control character"),
        ("https://exa\tmple.com/", "contains a control character"),
        ("https://[::1]/", "an IPv6 host is not a domain name"),
        (
            "https://example.com(not set)",
            "contains white space; write it as %20, and put comments on their own lines",
        ),
        (
            "https://example.com/a # note",
            "contains white space; write it as %20, and put comments on their own lines",
        ),
        ("12345", "host `12345` has a single label"),
        ("1.2.3", "host `1.2.3` is not a domain name"),
        ("http://0x7f.1/", "host `0x7f.1` is not a domain name"),
        ("http://12345/x", "host `12345` has a single label"),
        ("*.example.com", "host `*.example.com` is not a domain name"),
        (
            "a..example.com",
            "host `a..example.com` is not a domain name",
        ),
        (
            "https://example.com:99999/",
            "not a URL: invalid port number",
        ),
    ] {
        assert_eq!(form(line), Err(reason.to_owned()), "{line}");
    }
}

#[test]
fn names_and_addresses_that_are_not_on_the_internet_are_invalid() {
    for (line, reserved) in [
        ("router.local", "local"),
        ("abcdefgh.onion", "onion"),
        ("https://printer.internal/", "internal"),
        ("https://printer.internal/status", "internal"),
        ("https://a.localhost./x", "localhost"),
        ("Shop.EXAMPLE", "example"),
        ("nas.home.arpa", "arpa"),
        ("domain:a.test", "test"),
        ("a.invalid", "invalid"),
        ("wiki.corp", "corp"),
        ("a.alt", "alt"),
    ] {
        let reason = form(line).unwrap_err();
        let end = format!("is not on the internet: `{reserved}` is reserved for special use");
        assert!(reason.ends_with(&end), "{line}: {reason}");
    }
    for (address, block) in [
        ("0.0.0.0", "reserved"),
        ("10.255.255.255", "a private address"),
        ("100.64.0.1", "a private address"),
        ("127.0.0.1", "a loopback address"),
        ("169.254.169.254", "a link-local address"),
        ("172.31.0.1", "a private address"),
        ("192.0.2.7", "an address for examples"),
        ("192.168.1.1", "a private address"),
        ("198.19.0.1", "reserved"),
        ("224.0.0.1", "a multicast address"),
        ("255.255.255.255", "reserved"),
    ] {
        let reason = format!("host {address} is {block}: nothing on the internet links to it");
        assert_eq!(form(&format!("http://{address}/admin")), Err(reason));
    }
    for line in [
        "example.com",
        "example.net",
        "example.org",
        "www.example.com",
        "local.com",
        "test.de",
        "github.io",
        "https://onion.example.org/",
        "http://172.32.0.1/",
        "http://100.128.0.1/",
        "http://192.0.1.1/",
    ] {
        assert!(form(line).is_ok(), "{line}: {:?}", form(line));
    }
}

#[test]
fn an_escaped_ampersand_in_a_query_is_an_ampersand_unless_the_reader_decodes() {
    let text = |line: &str, entities| {
        let target = LineTarget::of(line, entities, &Rules::default()).unwrap();
        target.text(line).to_owned()
    };
    for (line, as_written, decoded) in [
        (
            "https://a.com/?x=1&amp;y=2",
            "https://a.com/?x=1&y=2",
            "https://a.com/?x=1&amp;y=2",
        ),
        (
            "https://a.com/x&amp;y",
            "https://a.com/x&amp;y",
            "https://a.com/x&amp;y",
        ),
        (
            "https://a.com/?x&amp;amp;y",
            "https://a.com/?x&amp;y",
            "https://a.com/?x&amp;amp;y",
        ),
    ] {
        assert_eq!(text(line, Entities::AsWritten), as_written);
        assert_eq!(text(line, Entities::Decoded), decoded);
    }
}

#[test]
fn another_spelling_of_what_is_invalid_gets_the_reason() {
    for (line, reason) in [
        ("2001:db8::1", "an IPv6 host is not a domain name"),
        ("fe80::1", "an IPv6 host is not a domain name"),
        ("\u{200b}\u{a0}", "empty"),
        ("domain:", "no host"),
        (
            "domain:exa mple.com",
            "contains white space; write it as %20, and put comments on their own lines",
        ),
        (
            "domain:https://example.com/page",
            "a page follows `domain:`; write the page alone, or only its domain",
        ),
        (
            "domain:ftp://example.com",
            "a page needs http:// or https:// in front",
        ),
        ("127.0.0.1", "an IP address is not a domain"),
        ("9.9.9.9", "an IP address is not a domain"),
        ("domain:10.0.0.5", "an IP address is not a domain"),
        // Two names with a no-break space in between must not become one.
        (
            "one.com\u{a0}two.com",
            "contains white space; write it as %20, and put comments on their own lines",
        ),
    ] {
        assert_eq!(form(line), Err(reason.to_owned()), "{line}");
    }
}

#[test]
fn most_pages_are_recognised_by_their_bytes() {
    for (line, recognised) in [
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
        ("https://9.9.9.9/a", false),
        ("https://xn--bcher-kva.com/a", false),
        ("https://printer.internal/a", false),
        ("https://example.com:8443/a", false),
        ("https://user@example.com/a", false),
    ] {
        assert_eq!(
            plain_page(line, &Rules::default()).is_some(),
            recognised,
            "{line}"
        );
    }
}

#[test]
fn a_bare_url_is_a_domain_if_the_pipeline_says_so() {
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
fn icann_rules_count_a_page_and_a_host_towards_the_icann_root_domain() {
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
    fn canonical_forms_are_stable(
        line in prop_oneof![
            "\\PC{0,40}",
            "(https?://)?[a-zA-Z0-9.%:@_-]{0,20}(/[ -~]{0,30})?",
            "(sc-)?domain: ?[a-z.]{1,12}/?",
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
    fn invisible_characters_at_the_ends_and_in_hosts_change_nothing(
        scheme in "(https?://|domain:)?",
        host in "(www\\.)?(([a-z]{1,5}|bücher)\\.){1,2}(com|co\\.uk|local|9)",
        rest in "(/([a-z?]{0,5})?)?",
        inserts in prop::collection::vec((any::<prop::sample::Index>(), "[\u{ad}\u{200b}-\u{200f}\u{202a}-\u{202e}\u{2060}\u{feff}\u{fe0f}]"), 0..6),
        ends in "[\u{a0}\u{200b}\u{feff}\u{2028} ]{0,3}",
    ) {
        let mut spelled = host.clone();
        for (at, invisible) in inserts {
            let places: Vec<usize> = (0..=spelled.len()).filter(|&at| spelled.is_char_boundary(at)).collect();
            spelled.insert_str(places[at.index(places.len())], &invisible);
        }
        let spelled = format!("{ends}{scheme}{spelled}\u{a0}{rest}{ends}");
        prop_assert_eq!(form(&spelled), form(&format!("{scheme}{host}{rest}")), "{:?}", spelled);
    }

    #[test]
    fn a_page_recognised_by_its_bytes_equals_the_parsed_one(
        line in prop_oneof![
            "https?://[a-z0-9.-]{1,12}[ -~]{0,12}",
            "https?://([a-z0-9-]{1,5}\\.){1,3}(com|c0m|0x1f|10|xn--p1ai)/[!-~]{0,20}",
            "https?://([a-z]{1,5}\\.){1,2}co\\.uk(/[a-zA-Z0-9._~-]{1,5}){1,4}([?#&=;][a-z0-9]{1,5}){0,3}",
        ],
    ) {
        let rules = Rules::default();
        if plain_page(&line, &rules).is_some() {
            prop_assert_eq!(canonical(&line, &rules), read(&line, &rules));
        }
    }
}
