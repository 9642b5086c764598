//! Buckets: connects to an object store by URL, and reads target lists from it.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{ClientConfigKey, ObjectStore, ObjectStoreExt as _, RetryConfig};
use url::Url;

use super::diagnosis::{NO_CREDENTIALS, check_endpoint};
use super::download::Download;
use super::patience::asks_metadata_service;
use crate::error::{Context, Error, Result};

/// The schemes of the URLs of buckets.
pub(crate) const SCHEMES: [&str; 6] = ["s3", "s3a", "gs", "az", "abfs", "abfss"];

pub(super) fn unsupported(scheme: &str) -> String {
    format!("{scheme}:// is not supported")
}

/// Connects to the bucket of a URL. Credentials are found in each cloud's standard way: environment,
/// workload identity, instance role.
///
/// # Errors
/// Why the URL or the environment does not say how; none if no object store has this scheme.
pub(super) fn connect(
    url: &Url,
    retry: &RetryConfig,
) -> Option<Result<Arc<dyn ObjectStore>, object_store::Error>> {
    let retry = retry.clone();
    Some(match url.scheme() {
        "s3" | "s3a" => s3(url, retry),
        "gs" => {
            let builder = GoogleCloudStorageBuilder::from_env().with_url(url.as_str());
            let built = builder.with_retry(retry).build();
            built.map(|store| Arc::new(store) as _)
        }
        "az" | "abfs" | "abfss" => {
            let builder = MicrosoftAzureBuilder::from_env().with_url(url.as_str());
            let built = builder.with_retry(retry).build();
            built.map(|store| Arc::new(store) as _)
        }
        _ => return None,
    })
}

fn s3(url: &Url, retry: RetryConfig) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
    let builder = AmazonS3Builder::from_env().with_url(url.as_str());
    if let Some(endpoint) = builder.get_config_value(&AmazonS3ConfigKey::Endpoint) {
        let allow = AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp);
        let allowed = builder.get_config_value(&allow);
        let http_allowed = allowed.is_some_and(|allowed| allowed.eq_ignore_ascii_case("true"));
        check_endpoint(&endpoint, http_allowed).map_err(|message| {
            object_store::Error::Generic {
                store: "S3",
                source: message.into(),
            }
        })?;
    }
    let store = builder.with_retry(retry).build()?;
    Ok(Arc::new(store))
}

/// A bucket with target lists.
#[derive(Debug)]
pub(crate) struct Bucket {
    objects: Arc<dyn ObjectStore>,
}

impl Bucket {
    /// Connects to a bucket such as `s3://bucket`. Reading a list gives up sooner than the lake does:
    /// nothing is paid for yet.
    pub(crate) fn open(root: &str) -> Result<Self> {
        let retry = RetryConfig {
            max_retries: 3,
            retry_timeout: Duration::from_secs(60),
            ..RetryConfig::default()
        };
        let failed = || format!("failed to open {root}");
        let url: Url = root.parse().usage(failed)?;
        let unsupported = || Error::usage(unsupported(url.scheme()));
        let objects = connect(&url, &retry).ok_or_else(unsupported)?;
        let objects = objects.usage(failed)?;
        Ok(Self { objects })
    }

    /// Whether an object has exactly this name.
    pub(crate) async fn has(&self, name: &str) -> Result<bool> {
        match self.objects.head(&path(name)?).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(unreadable(error)),
        }
    }

    /// The names of all objects below a folder, sorted.
    pub(crate) async fn under(&self, folder: &str) -> Result<Vec<String>> {
        let listed = self.objects.list(Some(&path(folder)?));
        let names = listed.map_ok(|object| object.location.to_string());
        let mut names: Vec<String> = names.try_collect().await.map_err(unreadable)?;
        names.sort_unstable();
        Ok(names)
    }

    /// Copies an object to a file.
    pub(crate) async fn copy(&self, name: &str, to: &mut Download) -> Result<()> {
        let object = self.objects.get(&path(name)?).await.map_err(unreadable)?;
        let mut bytes = object.into_stream();
        while let Some(bytes) = bytes.next().await {
            to.write(&bytes.map_err(unreadable)?)?;
        }
        Ok(())
    }
}

fn path(name: &str) -> Result<Path> {
    Path::parse(name).usage(|| format!("`{name}` is not the name of an object"))
}

/// A list that cannot be read is for the user to correct: nothing was sent.
fn unreadable(error: object_store::Error) -> Error {
    if asks_metadata_service(&error) {
        let hint = format!("nothing was sent; {NO_CREDENTIALS}");
        return Error::usage("there are no credentials for its bucket").with_hint(hint);
    }
    let (message, hint) = match &error {
        object_store::Error::NotFound { .. } => (
            "it does not exist",
            "correct [targets] paths or create the list; nothing was sent",
        ),
        object_store::Error::Unauthenticated { .. }
        | object_store::Error::PermissionDenied { .. } => (
            "access is denied",
            "let the credentials of this environment read and list the bucket; nothing was sent",
        ),
        _ => (
            "the object store cannot be read",
            "check the URL, the credentials and the endpoint of the object store; nothing was sent",
        ),
    };
    Error::usage(message).caused_by(error).with_hint(hint)
}
