//! Text of a list as UTF-8: a byte order mark is dropped, and UTF-16 is decoded as a stream.

use std::io::{self, BufRead, Read};
use std::ops::Range;

use encoding_rs::{Decoder, DecoderResult, UTF_16BE, UTF_16LE};

/// Bytes that are looked at to recognise an encoding or a format.
pub(super) const LOOKED_AT: usize = 1 << 16;

/// A reader whose next bytes can be looked at before they are read.
pub(super) struct Peek {
    ahead: Vec<u8>,
    used: usize,
    rest: Box<dyn BufRead>,
}

impl Peek {
    pub(super) fn new(rest: Box<dyn BufRead>) -> Self {
        Self {
            ahead: Vec::new(),
            used: 0,
            rest,
        }
    }

    /// The next [`LOOKED_AT`] bytes, or all if there are fewer.
    pub(super) fn look(&mut self) -> io::Result<&[u8]> {
        let have = self.ahead.len() - self.used;
        if have < LOOKED_AT {
            self.ahead.drain(..self.used);
            self.used = 0;
            let room = (LOOKED_AT - have) as u64;
            (&mut self.rest).take(room).read_to_end(&mut self.ahead)?;
        }
        Ok(&self.ahead[self.used..])
    }
}

impl Read for Peek {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, into)
    }
}

impl BufRead for Peek {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used < self.ahead.len() {
            return Ok(&self.ahead[self.used..]);
        }
        self.rest.fill_buf()
    }

    fn consume(&mut self, used: usize) {
        if self.used < self.ahead.len() {
            self.used += used;
        } else {
            self.rest.consume(used);
        }
    }
}

/// The encoding of a text, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// UTF-8, and how long its byte order mark is.
    Utf8 {
        mark: usize,
    },
    Utf16Le,
    Utf16Be,
    /// UTF-16 without a byte order mark: its byte order is a guess.
    Unmarked,
    Utf32,
}

impl Encoding {
    /// The encoding of a text that starts with these bytes.
    pub(super) fn of(start: &[u8]) -> Self {
        match start {
            [0xFF, 0xFE, 0, 0, ..] | [0, 0, 0xFE, 0xFF, ..] => Self::Utf32,
            [0xFF, 0xFE, ..] => Self::Utf16Le,
            [0xFE, 0xFF, ..] => Self::Utf16Be,
            [0xEF, 0xBB, 0xBF, ..] => Self::Utf8 { mark: 3 },
            _ if alternates(&start[..start.len().min(256)]) => Self::Unmarked,
            _ => Self::Utf8 { mark: 0 },
        }
    }
}

/// Whether every other byte of most pairs is zero, as in UTF-16 of ASCII.
fn alternates(start: &[u8]) -> bool {
    let pairs = start.chunks_exact(2);
    let number = pairs.len();
    let (mut little, mut big) = (0, 0);
    for pair in pairs {
        little += usize::from(pair[0] != 0 && pair[1] == 0);
        big += usize::from(pair[0] == 0 && pair[1] != 0);
    }
    number >= 2 && little.max(big) * 4 >= number * 3
}

/// Bytes in the buffer of decoded text.
const BUFFER: usize = 1 << 18;

/// UTF-16 as UTF-8. A unit that is not a character becomes a byte that is not UTF-8, so that its
/// line is invalid and no other.
struct FromUtf16 {
    reader: Box<dyn BufRead>,
    decoder: Decoder,
    /// Decoded text; what is in `at` is not consumed yet.
    decoded: Vec<u8>,
    at: Range<usize>,
    ended: bool,
}

/// Decodes UTF-16 with its byte order mark.
pub(super) fn from_utf16(reader: Box<dyn BufRead>, little_endian: bool) -> Box<dyn BufRead> {
    let encoding = if little_endian { UTF_16LE } else { UTF_16BE };
    Box::new(FromUtf16 {
        reader,
        decoder: encoding.new_decoder_with_bom_removal(),
        decoded: vec![0; BUFFER],
        at: 0..0,
        ended: false,
    })
}

impl BufRead for FromUtf16 {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at.is_empty() && !self.ended {
            let from = self.reader.fill_buf()?;
            let last = from.is_empty();
            // One byte is left for a unit that is not a character.
            let into = &mut self.decoded[..BUFFER - 1];
            let (result, used, mut written) = self
                .decoder
                .decode_to_utf8_without_replacement(from, into, last);
            self.reader.consume(used);
            if matches!(result, DecoderResult::Malformed(..)) {
                self.decoded[written] = 0xFF;
                written += 1;
            }
            self.ended = last && result == DecoderResult::InputEmpty;
            self.at = 0..written;
        }
        Ok(&self.decoded[self.at.clone()])
    }

    fn consume(&mut self, used: usize) {
        self.at.start += used;
    }
}

impl Read for FromUtf16 {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, into)
    }
}

/// Reads from the buffer of a reader.
pub(super) fn read_buffered(reader: &mut impl BufRead, into: &mut [u8]) -> io::Result<usize> {
    let available = reader.fill_buf()?;
    let read = available.len().min(into.len());
    into[..read].copy_from_slice(&available[..read]);
    reader.consume(read);
    Ok(read)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn decoded(bytes: Vec<u8>, little_endian: bool) -> Vec<u8> {
        let mut text = Vec::new();
        from_utf16(Box::new(Cursor::new(bytes)), little_endian)
            .read_to_end(&mut text)
            .unwrap();
        text
    }

    #[test]
    fn utf_16_is_decoded_and_what_is_not_a_character_is_not_hidden() {
        let text = "\u{feff}url\r\ncafé,日本,😀\n";
        let units: Vec<u16> = text.encode_utf16().collect();
        let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        assert_eq!(Encoding::of(&little), Encoding::Utf16Le);
        assert_eq!(Encoding::of(&big), Encoding::Utf16Be);
        assert_eq!(Encoding::of(&little[2..]), Encoding::Unmarked);
        assert_eq!(Encoding::of(&big[2..]), Encoding::Unmarked);
        let plain = text.trim_start_matches('\u{feff}').as_bytes();
        assert_eq!(decoded(little.clone(), true), plain);
        assert_eq!(decoded(big, false), plain);
        // Half a pair in the middle, and half a unit at the end.
        assert_eq!(
            decoded(vec![b'a', 0, 0, 0xD8, b'b', 0], true),
            b"a\xffb".to_vec()
        );
        assert_eq!(decoded(vec![b'a', 0, b'b'], true), b"a\xff".to_vec());
    }

    #[test]
    fn text_that_is_not_utf_16_is_not_taken_for_it() {
        for text in [
            &b""[..],
            b"a",
            b"https://example.com/",
            b"\0\0\0\0",
            b"a\0b",
        ] {
            assert_eq!(Encoding::of(text), Encoding::Utf8 { mark: 0 }, "{text:?}");
        }
    }
}
