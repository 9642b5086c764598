//! Turns the errors of an object store into a reason and a hint.

use std::error::Error as StdError;

use url::Url;

use crate::error::ErrorKind;

/// What to do if a cloud's client has found no credentials.
pub(super) const NO_CREDENTIALS: &str = "set the environment variables of the cloud (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; GOOGLE_APPLICATION_CREDENTIALS; AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY), or run with a role of the machine or a workload identity; profiles and SSO are not read: export their variables, for example with `aws configure export-credentials --format env`";

/// A reason why a store cannot be used.
#[derive(Debug, PartialEq)]
pub(super) struct Reason {
    pub(super) kind: ErrorKind,
    pub(super) what: &'static str,
    pub(super) hint: &'static str,
}

/// The codes and texts of the stores and of their client, and what they mean; the first one counts.
const REASONS: [(&[&str], Reason); 6] = [
    (
        &[
            "NoSuchBucket",
            "ContainerNotFound",
            "specified bucket does not exist",
        ],
        Reason {
            kind: ErrorKind::Usage,
            what: "the bucket does not exist",
            hint: "create the bucket, or correct [lake] url or the endpoint",
        },
    ),
    (
        &["ExpiredToken", "TokenRefreshRequired", "token has expired"],
        Reason {
            kind: ErrorKind::Unexpected,
            what: "the credentials have expired",
            hint: "get new credentials, then run the same command again",
        },
    ),
    (
        &[
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "AuthenticationFailed",
        ],
        Reason {
            kind: ErrorKind::Usage,
            what: "the store does not accept the credentials",
            hint: "check the key and the secret in the environment, and that the endpoint is the store that they are for",
        },
    ),
    (
        &[
            "configured region",
            "PermanentRedirect",
            "AuthorizationHeaderMalformed",
        ],
        Reason {
            kind: ErrorKind::Usage,
            what: "the bucket is in another region",
            hint: "set AWS_REGION to the region of the bucket",
        },
    ),
    (
        &[
            "AccessDenied",
            "AuthorizationPermissionMismatch",
            "403 Forbidden",
        ],
        Reason {
            kind: ErrorKind::Usage,
            what: "the credentials lack a permission",
            hint: "they must be allowed to list, read, write and delete below the folder of the lake; commands that only read need the first two",
        },
    ),
    (
        &["(Connect)", "dns error", "Connection refused"],
        Reason {
            kind: ErrorKind::Unexpected,
            what: "the store cannot be reached",
            hint: "check the endpoint (AWS_ENDPOINT_URL), the network and the proxy, then run the same command again",
        },
    ),
];

/// Why a store cannot be used, if its error is a known one.
pub(super) fn reason(error: &(dyn StdError + 'static)) -> Option<&'static Reason> {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    let says = |words: &&str| texts.iter().any(|text| text.contains(*words));
    let found = REASONS.iter().find(|(words, _)| words.iter().any(&says));
    found.map(|(_, reason)| reason)
}

/// Checks the endpoint of an S3-compatible store before its client is used, which would panic or say
/// less.
pub(super) fn check_endpoint(endpoint: &str, http_allowed: bool) -> Result<(), String> {
    let parsed: Option<Url> = endpoint.parse().ok();
    let scheme = parsed
        .as_ref()
        .filter(|url| url.has_host())
        .map(Url::scheme);
    match scheme {
        Some("https") => Ok(()),
        Some("http") if http_allowed => Ok(()),
        Some("http") => Err(
            "the endpoint in AWS_ENDPOINT_URL is plain http; use https, or set AWS_ALLOW_HTTP=true if it is in your own network".to_owned(),
        ),
        _ => Err("the endpoint in AWS_ENDPOINT_URL is not a URL; write it as https://minio.example.com:9000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stores_and_their_client_say_has_a_reason() {
        for (said, what) in [
            (
                "404 Not Found: <Error><Code>NoSuchBucket</Code>",
                Some("the bucket does not exist"),
            ),
            (
                "403 Forbidden: <Error><Code>InvalidAccessKeyId</Code>",
                Some("the store does not accept the credentials"),
            ),
            (
                "403 Forbidden: <Error><Code>AccessDenied</Code>",
                Some("the credentials lack a permission"),
            ),
            (
                "400 Bad Request: <Error><Code>ExpiredToken</Code>",
                Some("the credentials have expired"),
            ),
            (
                "Received redirect without LOCATION, this normally indicates an incorrectly configured region",
                Some("the bucket is in another region"),
            ),
            (
                "client error (Connect): tcp connect error",
                Some("the store cannot be reached"),
            ),
            ("503 Slow Down", None),
        ] {
            let error = std::io::Error::other(said);
            assert_eq!(reason(&error).map(|reason| reason.what), what, "{said}");
        }
    }

    #[test]
    fn an_endpoint_is_a_url_and_encrypted_unless_http_is_allowed() {
        for (endpoint, allowed, words) in [
            ("https://minio.example.com:9000", false, ""),
            ("http://127.0.0.1:9000", true, ""),
            ("http://127.0.0.1:9000", false, "AWS_ALLOW_HTTP=true"),
            ("nonsense", true, "is not a URL"),
            ("minio:9000", true, "is not a URL"),
            ("ftp://minio", true, "is not a URL"),
        ] {
            let checked = check_endpoint(endpoint, allowed);
            let message = checked.err().unwrap_or_default();
            assert_eq!(message.is_empty(), words.is_empty(), "{endpoint}");
            assert!(message.contains(words), "{endpoint}: {message}");
        }
    }
}
