//! Finds the target lists, wherever they are: on this machine, in a bucket, on the web. Remote lists
//! become temporary files, so that reading them needs no network.

use std::time::Duration;

use tempfile::TempPath;
use url::Url;

use super::ready::TargetSettings;
use crate::clock::Clock;
use crate::error::{Context, Error, Result};
use crate::fetch::{DownloadLimits, download, is_downloadable};
use crate::secret::{has_login, shown};
use crate::store::{Bucket, Download, SCHEMES};
use crate::targets::{Glob, Place, is_pattern, no_match, places_on_disk};

/// How long the download of a list may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// The lists of a pipeline, ready to be read.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) places: Vec<Place>,
    /// The copies of remote lists, which are deleted with this value.
    _copies: Vec<TempPath>,
}

/// The kinds of places that a path can name.
enum PlaceKind<'a> {
    OnDisk(&'a str),
    /// A bucket such as `s3://bucket`, and the name or glob of objects in it.
    InBucket(&'a str, &'a str),
    OnWeb(Url),
}

/// What a path names, or why it names no place.
fn kind(path: &str) -> Result<PlaceKind<'_>, String> {
    let Some((scheme, rest)) = path.split_once("://") else {
        return Ok(PlaceKind::OnDisk(path));
    };
    if has_login(path) {
        return Err(format!("{}: a login does not belong in a URL", shown(path)));
    }
    match scheme {
        scheme if SCHEMES.contains(&scheme) => match rest.split_once('/') {
            Some((bucket, name)) if !bucket.is_empty() && !name.is_empty() => {
                let root = &path[..path.len() - name.len() - 1];
                Ok(PlaceKind::InBucket(root, name))
            }
            _ => Err(format!("{path} names a bucket, not a list in it")),
        },
        "http" | "https" => {
            let url: Url = path
                .parse()
                .map_err(|error| format!("{} is not a URL: {error}", shown(path)))?;
            if !is_downloadable(&url) {
                return Err(format!(
                    "{}: only https:// is accepted for lists, so that they cannot be changed in transit",
                    shown(path)
                ));
            }
            Ok(PlaceKind::OnWeb(url))
        }
        _ => Err(format!(
            "{scheme}:// is not supported; use a path, s3://, gs://, az:// or https://"
        )),
    }
}

/// Checks that a path names a place, without looking for it.
pub(super) fn check_place(path: &str) -> Result<(), String> {
    kind(path).map(drop)
}

/// Finds all lists, and downloads those that are remote.
///
/// # Errors
/// A usage error that names the list and says why it cannot be read.
pub(super) async fn find_lists(settings: &TargetSettings, clock: &Clock) -> Result<Lists> {
    let mut lists = Lists::default();
    let mut remote = Vec::new();
    for path in &settings.sources.paths {
        if remote.contains(path) {
            continue;
        }
        match kind(path).map_err(Error::usage)? {
            PlaceKind::OnDisk(path) => {
                let path = path.to_owned();
                let found = tokio::task::spawn_blocking(move || places_on_disk(&path));
                let found = found.await.context(|| "the search for lists panicked")?;
                lists.places.extend(found?);
                continue;
            }
            PlaceKind::InBucket(root, name) => {
                let read = lists.add_from_bucket(root, name, settings.max_list_bytes);
                let in_time = clock.within(LIST_TIMEOUT, read).await;
                in_time.unwrap_or_else(|| Err(too_slow(path)))?;
            }
            PlaceKind::OnWeb(url) => {
                let limits = DownloadLimits {
                    timeout: LIST_TIMEOUT,
                    stall: Duration::from_secs(60),
                    max_bytes: settings.max_list_bytes,
                };
                let name = shown(path);
                let copy = download(&url, limits, clock).await;
                lists.add(name.clone(), copy.context(|| failed(&name))?);
            }
        }
        remote.push(path.clone());
    }
    lists.places = Place::each_once(std::mem::take(&mut lists.places));
    Ok(lists)
}

impl Lists {
    fn add(&mut self, name: String, copy: TempPath) {
        self.places.push(Place {
            name,
            file: copy.to_path_buf(),
        });
        self._copies.push(copy);
    }

    /// Copies the objects that a name or glob means, and adds them.
    async fn add_from_bucket(&mut self, root: &str, name: &str, max_bytes: u64) -> Result<()> {
        let url = |name: &str| format!("{root}/{name}");
        let bucket = Bucket::open(root).context(|| failed(&url(name)))?;
        // As on a disk, a name with brackets that exists is taken as it is.
        let is_glob = is_pattern(name) && !bucket.has(name).await.context(|| failed(&url(name)))?;
        let names = if is_glob {
            matches_of(&bucket, name)
                .await
                .context(|| failed(&url(name)))?
        } else {
            vec![name.to_owned()]
        };
        if names.is_empty() {
            return Err(no_match(&url(name)));
        }
        for name in names {
            // An object may be named and match a glob as well.
            let is_known = self.places.iter().any(|place| place.name == url(&name));
            if !is_known {
                let mut copy = Download::new(max_bytes)?;
                let copied = bucket.copy(&name, &mut copy).await;
                copied.context(|| failed(&url(&name)))?;
                self.add(url(&name), copy.finish());
            }
        }
        Ok(())
    }
}

/// The objects that a glob matches, sorted.
async fn matches_of(bucket: &Bucket, pattern: &str) -> Result<Vec<String>> {
    let glob = Glob::new(pattern)?;
    let fixed = &pattern[..pattern.find(['*', '?', '[']).unwrap_or(0)];
    let folder = fixed.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut names = bucket.under(folder).await?;
    names.retain(|name| glob.matches(name));
    Ok(names)
}

fn failed(list: &str) -> String {
    format!("failed to read target list {list}")
}

fn too_slow(list: &str) -> Error {
    let minutes = LIST_TIMEOUT.as_secs() / 60;
    Error::usage(format!(
        "{} takes longer than {minutes} minutes",
        failed(list)
    ))
    .with_hint("nothing was sent; check the object store, then run the same command again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_cannot_be_read_safely_is_refused() {
        for (path, words) in [
            (
                "http://a.com/list.csv?sig=SECRET",
                "only https:// is accepted",
            ),
            (
                "https://me:SECRET@a.com/list.csv",
                "a login does not belong in a URL",
            ),
            ("ftp://a.com/list.csv", "ftp:// is not supported"),
            (
                "s3://key:SECRET@bucket/list.csv",
                "a login does not belong in a URL",
            ),
            (
                "ftp://key:SECRET@host/list.csv",
                "a login does not belong in a URL",
            ),
            ("https://?sig=SECRET", "is not a URL"),
            ("s3://bucket", "names a bucket"),
            ("s3://bucket/", "names a bucket"),
        ] {
            let message = check_place(path).unwrap_err();
            assert!(message.contains(words), "{path}: {message}");
            assert!(!message.contains("SECRET"), "{path}: {message}");
        }
        for path in [
            "list.csv",
            "-",
            "s3://bucket/list.csv",
            "gs://bucket/lists/*.csv",
            "az://container/list.csv",
            "https://a.com/list.csv",
            "http://127.0.0.1:1/list.csv",
        ] {
            assert_eq!(check_place(path), Ok(()), "{path}");
        }
    }
}
