//! Lines of a list as read, in blocks of a few thousand, on their way from the readers to the
//! target list.

use super::problem::{Problem, Unreadable};
use crate::error::Result;

/// The longest target in bytes; a longer one is invalid.
pub(super) const MAX_TARGET: usize = 1 << 16;
/// The most lines in one block.
pub(super) const BLOCK_LINES: usize = 8192;
/// Bytes of text after which a block is handed on.
const BLOCK_BYTES: usize = 1 << 20;

/// Who decodes the entities in a line, such as `&amp;`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Entities {
    /// The format has no entities: `&amp;` in a query was copied from HTML and means `&`.
    #[default]
    AsWritten,
    /// The reader has decoded them, because the format is XML.
    Decoded,
}

/// Some lines of one source, as read.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// The number of the source.
    pub(super) source: usize,
    /// Who decodes the entities in its lines.
    pub(super) entities: Entities,
    pub(super) lines: Vec<RawLine>,
    /// The labels of the lines, one after another: one for each kept column of each line.
    pub(super) labels: Vec<Option<Box<str>>>,
    /// The texts of all lines, one after another.
    text: String,
}

/// One line as read: its number in the source, and its text or the problem with it.
#[derive(Debug)]
pub(super) struct RawLine {
    pub(super) number: u64,
    pub(super) problem: Option<Problem>,
    start: usize,
    end: usize,
}

impl Block {
    /// An empty block of a source.
    pub(super) fn of(source: usize) -> Self {
        Self {
            source,
            ..Self::default()
        }
    }

    /// An empty block of a source whose lines have entities or had them.
    pub(super) fn like(source: usize, entities: Entities) -> Self {
        Self {
            source,
            entities,
            ..Self::default()
        }
    }

    /// The text of a line, as written.
    pub(super) fn text(&self, line: &RawLine) -> &str {
        &self.text[line.start..line.end]
    }

    /// Adds a target as written. One that is too long gets that as its problem.
    pub(super) fn push_target(&mut self, number: u64, text: &[u8]) {
        if text.len() > MAX_TARGET {
            let problem = Unreadable::TooLong { max: MAX_TARGET };
            self.push(number, start_of(text), Some(problem.into()));
        } else {
            self.push(number, text, None);
        }
    }

    /// Adds a line. Bytes that are not UTF-8 are a problem if the line has no other.
    pub(super) fn push(&mut self, number: u64, bytes: &[u8], problem: Option<Problem>) {
        let start = self.text.len();
        let problem = match std::str::from_utf8(bytes) {
            Ok(text) => {
                self.text.push_str(text);
                problem
            }
            Err(error) => {
                self.text.push_str(&String::from_utf8_lossy(bytes));
                let at = error.valid_up_to() + 1;
                problem.or(Some(Unreadable::NotUtf8 { at }.into()))
            }
        };
        self.lines.push(RawLine {
            number,
            problem,
            start,
            end: self.text.len(),
        });
    }
}

/// The first bytes of a text that is too long or unreadable, as the targets table shows it.
pub(super) fn start_of(text: &[u8]) -> &[u8] {
    &text[..text.len().min(256)]
}

/// Receives the blocks of all lists in order. An error stops the reader.
pub(super) type Sink<'a> = &'a mut dyn FnMut(Block) -> Result<()>;

/// Collects the lines of one source and hands them on block by block.
pub(super) struct Blocks<'a> {
    /// The block that is being filled.
    pub(super) block: Block,
    sink: Sink<'a>,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(source: usize, sink: Sink<'a>) -> Self {
        Self {
            block: Block::of(source),
            sink,
        }
    }

    /// Hands the block on if it is full. Called after each line and its labels.
    pub(super) fn flush_if_full(&mut self) -> Result<()> {
        if self.block.lines.len() < BLOCK_LINES && self.block.text.len() < BLOCK_BYTES {
            return Ok(());
        }
        let next = Block::like(self.block.source, self.block.entities);
        (self.sink)(std::mem::replace(&mut self.block, next))
    }

    /// Hands on the last block.
    pub(super) fn finish(self) -> Result<()> {
        (self.sink)(self.block)
    }
}
