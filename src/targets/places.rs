//! Where lists are: paths, globs and `~` become files to read, in order.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

use crate::error::{Context, Error, Result};

/// A list that is ready to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What messages and tables call it: its path or URL, or `-` for standard input.
    pub name: String,
    /// The file that contains it. Not used for standard input.
    pub file: PathBuf,
}

impl Place {
    /// A file that is named by its path.
    fn at(path: &str) -> Self {
        Self {
            name: path.to_owned(),
            file: path.into(),
        }
    }

    /// Removes places whose file occurred before. Their names do not decide: two URLs may differ
    /// only in the query, which is not shown because it may be a secret.
    #[must_use]
    pub fn each_once(mut places: Vec<Self>) -> Vec<Self> {
        let mut seen = HashSet::new();
        places.retain(|place| seen.insert(place.file.clone()));
        places
    }
}

/// How `*`, `?` and brackets match: a hidden file must be named, and no pattern crosses a folder.
const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// Whether a path has a pattern.
#[must_use]
pub fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// A glob, for names that are not on a disk.
#[derive(Debug)]
pub struct Glob(Pattern);

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// A malformed pattern.
    pub fn new(pattern: &str) -> Result<Self> {
        let read = Pattern::new(pattern).map_err(|error| malformed(pattern).caused_by(error));
        read.map(Self)
    }

    /// Whether a whole name matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.0.matches_with(name, MATCHING)
    }
}

/// The files that a path or glob on this machine names, or standard input. A path that exists is
/// taken as it is, whatever characters it has.
///
/// # Errors
/// A path that does not exist or is a directory; a glob that is malformed or matches no file; a
/// match that cannot be read: a dangling link, a name that is not UTF-8.
pub fn places_on_disk(path: &str) -> Result<Vec<Place>> {
    if path == "-" || is_file(Path::new(path))? {
        return Ok(vec![Place::at(path)]);
    }
    let path = &with_home(path)?;
    if is_file(Path::new(path))? {
        Ok(vec![Place::at(path)])
    } else if is_pattern(path) {
        matches_of(path)
    } else {
        Err(
            Error::usage(format!("target list {path} does not exist")).with_hint(
                "paths are relative to the working directory; correct the path or create the list",
            ),
        )
    }
}

/// Whether a path exists and can be read as a list.
fn is_file(path: &Path) -> Result<bool> {
    let shown = path.display();
    match path.metadata() {
        Ok(found) if found.is_dir() => {
            let folder = shown.to_string();
            let folder = folder.trim_end_matches('/');
            Err(Error::usage(format!("target list {shown} is a directory"))
                .with_hint(format!("name its files, for example \"{folder}/*.txt\"")))
        }
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            match path.read_link() {
                Ok(to) => Err(dangling(path, &to)),
                Err(_) => Ok(false),
            }
        }
        Err(error) => Err(error).usage(|| format!("failed to read target list {shown}")),
    }
}

fn dangling(link: &Path, to: &Path) -> Error {
    let (link, to) = (link.display(), to.display());
    Error::usage(format!(
        "target list {link} is a link to {to}, which does not exist"
    ))
    .with_hint("nothing was sent; restore the file or remove the link")
}

/// A path with the home folder in place of `~`.
fn with_home(path: &str) -> Result<String> {
    let Some(rest) = path.strip_prefix('~') else {
        return Ok(path.to_owned());
    };
    if !(rest.is_empty() || rest.starts_with('/')) {
        let message = format!("target list {path}: only `~/` is expanded, not another user's home");
        return Err(Error::usage(message).with_hint("write the whole path"));
    }
    match std::env::home_dir().map(PathBuf::into_os_string) {
        Some(home) if !home.is_empty() => match home.into_string() {
            Ok(home) => Ok(home + rest),
            Err(home) => Err(not_utf8(Path::new(&home))),
        },
        _ => Err(Error::usage(format!(
            "target list {path}: `~` is the home folder, and HOME is not set"
        ))
        .with_hint("write the whole path")),
    }
}

/// The files that a glob matches, sorted.
fn matches_of(pattern: &str) -> Result<Vec<Place>> {
    let (start, rest) = match pattern.strip_prefix('/') {
        Some(rest) => ("/", rest),
        None => ("", pattern),
    };
    let parts: Vec<&str> = rest.split('/').collect();
    let mut matches = Vec::new();
    collect(Path::new(start), &parts, &mut matches)?;
    matches.sort_unstable();
    let mut places = Vec::new();
    for found in matches {
        // A folder beside the lists is not one of them.
        if !found.is_dir() && is_file(&found)? {
            let name = found.to_str().ok_or_else(|| not_utf8(&found))?;
            places.push(Place::at(name));
        }
    }
    if places.is_empty() {
        return Err(no_match(pattern));
    }
    Ok(places)
}

/// Collects what the parts of a glob match in a folder. Unlike the glob crate's own search, this
/// neither skips names that are not UTF-8 nor fails at them.
fn collect(folder: &Path, parts: &[&str], matches: &mut Vec<PathBuf>) -> Result<()> {
    let Some((&part, rest)) = parts.split_first() else {
        matches.push(folder.to_owned());
        return Ok(());
    };
    if part == "**" {
        collect(folder, rest, matches)?;
        for (name, path) in entries(folder)? {
            // A link could lead back to a folder above.
            if path.is_dir() && !path.is_symlink() && !name.starts_with('.') {
                collect(&path, parts, matches)?;
            }
        }
    } else if is_pattern(part) {
        let glob = Glob::new(part)?;
        for (name, path) in entries(folder)? {
            if glob.matches(&name) && (rest.is_empty() || path.is_dir()) {
                collect(&path, rest, matches)?;
            }
        }
    } else if folder.join(part).symlink_metadata().is_ok() {
        collect(&folder.join(part), rest, matches)?;
    }
    Ok(())
}

/// The names in a folder, readable also where they are not UTF-8, and their paths.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let here = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let failed = || format!("failed to list the folder {} for a glob", here.display());
    let mut entries = Vec::new();
    for entry in here.read_dir().usage(failed)? {
        let name = entry.usage(failed)?.file_name();
        entries.push((name.to_string_lossy().into_owned(), folder.join(name)));
    }
    Ok(entries)
}

/// The error for a glob that matches nothing.
#[must_use]
pub fn no_match(pattern: &str) -> Error {
    let hint = if pattern.contains('[') {
        "brackets are a pattern: [ab] matches a or b; write [[] for a bracket itself, or correct the glob"
    } else {
        "a glob is relative to the working directory and does not match hidden files; correct the glob or create the list"
    };
    Error::usage(format!("[targets] paths: {pattern} matches no file")).with_hint(hint)
}

fn malformed(pattern: &str) -> Error {
    Error::usage(format!("[targets] paths: `{pattern}` is not a valid glob")).with_hint(
        "`*`, `?` and brackets are patterns; write [*], [?] or [[] for the character itself",
    )
}

fn not_utf8(path: &Path) -> Error {
    let shown = path.display();
    Error::usage(format!("the name of target list {shown} is not UTF-8"))
        .with_hint("nothing was sent; rename the file, or name the other lists one by one")
}
