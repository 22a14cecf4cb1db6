//! The separator of a table, and the check that its quotes are closed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use sparsity_law::named;

use crate::intake::error::IngestError;

named! {
    /// The character between cells, in the order in which it is looked for.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Separator {
        /// A comma.
        Comma = ",",
        /// A semicolon, the usual separator where a comma is the decimal mark.
        Semicolon = ";",
        /// A tab.
        Tab = "tab",
        /// `|`.
        Bar = "|",
    }
}

impl Separator {
    /// Parses the name of a separator: the character itself, or `tab` or `\t`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "\\t" => Some(Self::Tab),
            _ => Self::of_name(name),
        }
    }

    /// The separator as a byte.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Semicolon => b';',
            Self::Tab => b'\t',
            Self::Bar => b'|',
        }
    }
}

/// Returns the separator that occurs most often outside quotes in the header line, or a comma if there is none. The
/// line stays in the reader.
pub(crate) fn find_separator(reader: &mut impl BufRead) -> io::Result<Separator> {
    let buffer = reader.fill_buf()?;
    let (mut counts, mut quoted) = ([0_usize; 4], false);
    for &byte in buffer {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' | b'\r' if !quoted && counts.iter().any(|count| *count > 0) => break,
            _ if quoted => {}
            _ => {
                for (separator, count) in Separator::ALL.iter().zip(&mut counts) {
                    *count += usize::from(separator.byte() == byte);
                }
            }
        }
    }
    // On a tie, the first of the usual separators wins.
    let most = counts.iter().copied().max().unwrap_or(0);
    let at = counts.iter().position(|count| *count == most && most > 0);
    Ok(Separator::ALL[at.unwrap_or(0)])
}

/// A reader that checks the quotes of a table while passing it on. The parser behind it would take an open quote at the
/// end of the input as closed there, and would append text behind a closing quote to the cell.
pub(crate) struct QuoteCheck<R> {
    source: R,
    separator: u8,
    state: State,
    line: u64,
    /// Line on which the open quote begins.
    opened: u64,
    /// Whether the next byte that is not a line end begins a record.
    fresh: bool,
    starts: RecordStarts,
}

/// Lines on which records begin, in order, for the records that were read but not yet asked for. The parser's own line
/// count skips blank lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct RecordStarts(Rc<RefCell<VecDeque<u64>>>);

impl RecordStarts {
    /// Returns the line of the next record, from 1.
    pub(crate) fn next(&self) -> Option<u64> {
        self.0.borrow_mut().pop_front()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the beginning of a cell.
    Start,
    /// In a cell without quotes.
    Bare,
    /// Inside quotes.
    Quoted,
    /// Behind a quote inside quotes, which is either half of a doubled quote or the end of the cell.
    Closing,
}

impl<R: Read> QuoteCheck<R> {
    pub(crate) fn new(source: R, separator: Separator) -> (Self, RecordStarts) {
        let starts = RecordStarts::default();
        let check = Self {
            source,
            separator: separator.byte(),
            state: State::Start,
            line: 1,
            opened: 0,
            fresh: true,
            starts: starts.clone(),
        };
        (check, starts)
    }

    fn look(&mut self, bytes: &[u8]) -> Result<(), IngestError> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self.state {
                // Most bytes of a table are in this state, so it skips to the next byte that can change something.
                State::Bare => {
                    let end =
                        rest.iter().position(|&b| b == self.separator || b == b'\n' || b == b'\r');
                    let Some(end) = end else { return Ok(()) };
                    self.line += u64::from(rest[end] == b'\n');
                    self.fresh = rest[end] != self.separator;
                    self.state = State::Start;
                    at += end + 1;
                }
                State::Quoted => {
                    let end = rest.iter().position(|&b| b == b'"');
                    let passed = &rest[..end.unwrap_or(rest.len())];
                    self.line += passed.iter().filter(|&&b| b == b'\n').count() as u64;
                    let Some(end) = end else { return Ok(()) };
                    self.state = State::Closing;
                    at += end + 1;
                }
                State::Start | State::Closing => {
                    let byte = rest[0];
                    let ends = byte == b'\n' || byte == b'\r';
                    if self.fresh && !ends {
                        self.starts.0.borrow_mut().push_back(self.line);
                    }
                    self.fresh = ends;
                    self.state = match (self.state, byte) {
                        (State::Start, b'"') => {
                            self.opened = self.line;
                            State::Quoted
                        }
                        (State::Closing, b'"') => State::Quoted,
                        (_, b'\n') => {
                            self.line += 1;
                            State::Start
                        }
                        (_, b'\r') => State::Start,
                        (_, byte) if byte == self.separator => State::Start,
                        (State::Closing, _) => {
                            return Err(IngestError::Malformed(format!(
                                "line {} has text behind a closing quote; the quote was opened on line {}. A quote \
                                 inside a quoted cell is written twice",
                                self.line, self.opened
                            )));
                        }
                        (_, _) => State::Bare,
                    };
                    at += 1;
                }
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for QuoteCheck<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.look(&buffer[..read])?;
        if read == 0 && !buffer.is_empty() && self.state == State::Quoted {
            return Err(IngestError::Malformed(format!(
                "the quote that is opened on line {} is never closed: the rows behind it would be lost",
                self.opened
            ))
            .into());
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str, piece: usize) -> Result<(), String> {
        struct Pieces<'a>(&'a [u8], usize);
        impl Read for Pieces<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let n = self.1.min(self.0.len()).min(buffer.len());
                buffer[..n].copy_from_slice(&self.0[..n]);
                self.0 = &self.0[n..];
                Ok(n)
            }
        }
        let (mut check, _) = QuoteCheck::new(Pieces(text.as_bytes(), piece), Separator::Comma);
        let mut passed = String::new();
        check.read_to_string(&mut passed).map_err(|error| IngestError::from(error).to_string())?;
        assert_eq!(passed, text);
        Ok(())
    }

    #[test]
    fn whatever_closes_passes_in_pieces_of_any_size() {
        let table = "a,\"b \"\"c\"\"\",d\r\n\"x\ny\",2\",\"\"\n,\"\",\n";
        for piece in 1..=table.len() {
            checked(table, piece).unwrap();
        }
    }

    #[test]
    fn a_quote_without_its_end_is_named_by_the_line_where_it_opens() {
        for piece in [1, 3, 100] {
            let error = checked("a,b\n1,2\n3,\"4\n5,6\n", piece).unwrap_err();
            assert!(error.contains("opened on line 3 is never closed"), "{error}");
            let error = checked("a,b\n\"x\ny\"z,2\n", piece).unwrap_err();
            assert!(error.starts_with("line 3 has text behind a closing quote"), "{error}");
            assert!(error.contains("opened on line 2"), "{error}");
        }
    }

    #[test]
    fn the_separator_is_what_the_header_has_most_of() {
        let found = |text: &str| find_separator(&mut text.as_bytes()).unwrap().as_str();
        assert_eq!(found("a;b;c\n1,5;2;3\n"), ";");
        assert_eq!(found("a\tb\n"), "tab");
        assert_eq!(found("a|b\n"), "|");
        assert_eq!(found("\"a;b;c\",d\n"), ",");
        assert_eq!(found("\n\nloss;data\n"), ";");
        assert_eq!(found("loss\n2.5\n"), ",");
    }
}
