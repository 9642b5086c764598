//! Reads sitemaps: the `loc` of each `url`, with entities decoded, whatever its namespace is called.
//! An index of sitemaps stands for the files that it names.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::rc::Rc;

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, Event};

use super::block::{Blocks, Entities, MAX_TARGET, Sink};
use super::column::shown;
use super::content;
use super::encoding::{Peek, read_buffered};
use super::list_file::ListFile;
use super::places::Place;
use super::reading::{Format, ReadAs};
use super::refused::Refused;
use crate::error::{Context, Result};

/// The most bytes of one tag, text or comment.
const MAX_EVENT: u64 = 1 << 20;
/// The most elements around another; extensions need a few.
const MAX_DEPTH: usize = 64;
/// The most sitemaps of an index, as sitemaps.org says.
const MAX_SITEMAPS: usize = 50_000;

/// Reads one target per `loc`. The number of a line is that of the line on which the `loc` starts.
pub(super) fn sitemap(list: &ListFile<'_>, text: Peek, sink: Sink<'_>) -> Result<ReadAs, Refused> {
    let mut blocks = Blocks::new(list.number, sink);
    blocks.block.entities = Entities::Decoded;
    let root = each_loc(list, text, |root, line, loc| {
        if root == Root::Index {
            let message = "an index of sitemaps is read only from a file on this machine, and names no other index";
            return Err(list
                .wrong_at(line, message)
                .with_hint("nothing was sent; name the sitemaps themselves in [targets] paths"));
        }
        blocks.block.push_target(line, loc.as_bytes());
        blocks
            .block
            .labels
            .extend(list.reading.keep.iter().map(|_| None));
        blocks.flush_if_full()
    })?;
    debug_assert_eq!(root, Root::Urls);
    blocks.finish()?;
    Ok(list.read_as(Format::Xml, None, None, Vec::new()))
}

/// What a sitemap contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    /// Pages: `urlset`.
    Urls,
    /// Sitemaps: `sitemapindex`.
    Index,
}

/// The files of an index of sitemaps; none if the list is not an index. Each file is in the folder
/// of the index and has the last part of the URL as its name: nothing is fetched.
pub(super) fn indexed(list: &ListFile<'_>, mut text: Peek) -> Result<Option<Vec<Place>>> {
    let start = text.look().usage(|| list.failed())?;
    if !String::from_utf8_lossy(start).contains("sitemapindex") {
        return Ok(None);
    }
    let folder = Path::new(list.path).parent().unwrap_or(Path::new(""));
    let mut files = Vec::new();
    let root = each_loc(list, text, |root, line, loc| {
        if root == Root::Urls {
            return Ok(());
        }
        let name = loc.split(['?', '#']).next().unwrap_or_default();
        let name = name.rsplit('/').next().unwrap_or_default();
        let is_name = !matches!(name, "" | "." | "..") && !name.contains(['\\', '\0']);
        let file = folder.join(name);
        if !is_name || !file.is_file() {
            let message = format!(
                "the index names `{}`, and its folder has no file `{}`",
                shown(loc),
                shown(name)
            );
            let hint = "nothing was sent; put the sitemaps next to their index, or name them in [targets] paths";
            return Err(list.wrong_at(line, &message).with_hint(hint));
        }
        if files.len() == MAX_SITEMAPS {
            let message = format!("an index names at most {MAX_SITEMAPS} sitemaps");
            return Err(list.wrong_at(line, &message));
        }
        files.push(Place {
            name: file.to_string_lossy().into_owned(),
            file,
        });
        Ok(())
    })?;
    Ok((root == Root::Index).then_some(files))
}

/// Calls `take` for each `loc` with the kind of the sitemap, the line, and the text.
fn each_loc(
    list: &ListFile<'_>,
    mut text: Peek,
    mut take: impl FnMut(Root, u64, &str) -> Result<()>,
) -> Result<Root> {
    content::check(list, Format::Xml, text.look().usage(|| list.failed())?)?;
    let counts = Rc::new(Counts::default());
    let mut reader = Reader::from_reader(Counted {
        reader: text,
        counts: Rc::clone(&counts),
    });
    // So that an empty `loc` is an empty target and not nothing.
    reader.config_mut().expand_empty_elements = true;
    let broken = |line: u64, what: &str| {
        let message = format!("not a sitemap: {what}");
        list.wrong_at(line, &message).with_hint(format!(
            "nothing was sent; supported are {}",
            content::SUPPORTED
        ))
    };
    let mut path: Vec<String> = Vec::new();
    let (mut root, mut loc, mut started) = (None, String::new(), 0);
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        counts.since_event.set(0);
        let line = counts.ends.get() + 1;
        let event = reader
            .read_event_into(&mut buffer)
            .map_err(|error| broken(line, &shown(&error.to_string())))?;
        match event {
            Event::Start(tag) => {
                let name = tag.local_name().as_ref().to_owned();
                if path.is_empty() {
                    root = Some(root_of(&name).ok_or_else(|| {
                        broken(line, &format!("its root element is `{}`", shown(&name)))
                    })?);
                }
                if path.len() == MAX_DEPTH {
                    return Err(broken(line, "its elements are nested too deeply"));
                }
                path.push(name);
                (loc, started) = (String::new(), counts.ends.get() + 1);
            }
            Event::End(_) => {
                if let Some(root) = root.filter(|&root| is_loc(&path, root)) {
                    take(root, started, loc.trim())?;
                }
                path.pop();
            }
            _ if path.len() != 3 => {
                if matches!(event, Event::Eof) {
                    break;
                }
            }
            Event::Text(text) => push(&mut loc, &text.xml10_content()),
            Event::CData(text) => push(&mut loc, &text.xml10_content()),
            Event::GeneralRef(entity) => {
                let character = decoded(&entity).ok_or_else(|| {
                    let name = shown(&entity.xml10_content());
                    broken(line, &format!("`&{name};` is not an entity of XML"))
                })?;
                push(&mut loc, &character);
            }
            Event::Eof => break,
            _ => {}
        }
    }
    match root {
        Some(root) if path.is_empty() => Ok(root),
        Some(_) => Err(broken(counts.ends.get() + 1, "it ends in the middle")),
        None => Err(broken(1, "it has no root element")),
    }
}

fn root_of(name: &str) -> Option<Root> {
    match name {
        "urlset" => Some(Root::Urls),
        "sitemapindex" => Some(Root::Index),
        _ => None,
    }
}

/// Whether these elements lead to the `loc` of an entry, and not to that of an image or a video.
fn is_loc(path: &[String], root: Root) -> bool {
    let entry = match root {
        Root::Urls => "url",
        Root::Index => "sitemap",
    };
    path.len() == 3 && path[1] == entry && path[2] == "loc"
}

/// Adds text to a target, which needs not be longer than one byte too long.
fn push(loc: &mut String, text: &str) {
    if loc.len() <= MAX_TARGET {
        loc.push_str(text);
    }
}

fn decoded(entity: &BytesRef<'_>) -> Option<String> {
    match entity.resolve_char_ref() {
        Ok(Some(character)) => Some(character.to_string()),
        Ok(None) => resolve_xml_entity(&entity.xml10_content()).map(str::to_owned),
        Err(_) => None,
    }
}

/// What has passed a [`Counted`] reader.
#[derive(Default)]
struct Counts {
    /// The number of line feeds.
    ends: Cell<u64>,
    /// The number of bytes since the last event.
    since_event: Cell<u64>,
}

/// A reader that counts lines, and refuses one event of any length.
struct Counted {
    reader: Peek,
    counts: Rc<Counts>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, into)
    }
}

impl BufRead for Counted {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.counts.since_event.get() > MAX_EVENT {
            return Err(io::Error::other(format!(
                "a tag or a text has more than {MAX_EVENT} bytes"
            )));
        }
        self.reader.fill_buf()
    }

    fn consume(&mut self, used: usize) {
        // The bytes are the ones that were filled last, so filling again does not read.
        if let Ok(buffer) = self.reader.fill_buf() {
            let ends = memchr::memchr_iter(b'\n', &buffer[..used.min(buffer.len())]).count();
            self.counts.ends.set(self.counts.ends.get() + ends as u64);
        }
        let since = &self.counts.since_event;
        since.set(since.get() + used as u64);
        self.reader.consume(used);
    }
}
