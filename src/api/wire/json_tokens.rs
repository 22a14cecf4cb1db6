//! Limits the length of any single text, number or run of whitespace in the JSON of a request.
//!
//! Parsing JSON yields to other work between two values but cannot do so within one ([`sparsity_law::pace`]): a name as
//! long as a body would occupy a thread for as long as reading it takes. Meaningful names and values are short, so long
//! ones are found and refused before anything is parsed.

use crate::api::wire::problem::ApiError;

/// Longest allowed text, number or run of whitespace, in bytes.
const LONGEST: usize = 256 * 1024;

/// Number of bytes of a too long text that the error shows.
const SHOWN: usize = 40;

/// Scans the JSON of a request, which may come in blocks. It need not be valid: the parser reports its errors.
#[derive(Debug, Default)]
pub struct JsonTokens {
    inside: Inside,
    /// Number of bytes in the blocks scanned so far.
    before: usize,
    /// Position at which the current text, number or whitespace begins.
    begins: usize,
    /// First bytes of the current text, number or whitespace.
    start: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Inside {
    /// In a number, a word or whitespace, or between tokens.
    #[default]
    Other,
    Text,
    /// After a backslash in a text.
    Escape,
}

impl JsonTokens {
    /// Scans the next block.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] if a text, number or run of whitespace is longer than [`LONGEST`].
    pub fn look(&mut self, block: &[u8]) -> Result<(), ApiError> {
        let mut at = 0;
        while at < block.len() {
            let rest = &block[at..];
            let ends = match self.inside {
                Inside::Text => rest.iter().position(|byte| matches!(byte, b'"' | b'\\')),
                Inside::Escape => Some(0),
                Inside::Other => rest.iter().position(|byte| {
                    matches!(byte, b'"' | b',' | b':' | b'[' | b']' | b'{' | b'}')
                }),
            };
            let taken = &rest[..ends.unwrap_or(rest.len())];
            let room = SHOWN.saturating_sub(self.start.len());
            self.start.extend_from_slice(&taken[..taken.len().min(room)]);
            at += taken.len();
            if self.before + at - self.begins > LONGEST {
                return Err(self.too_long());
            }
            let Some(end) = block.get(at).filter(|_| ends.is_some()) else { break };
            at += 1;
            let now = match (self.inside, end) {
                (Inside::Text, b'\\') => Inside::Escape,
                (Inside::Escape, _) => Inside::Text,
                (Inside::Other, b'"') => Inside::Text,
                _ => Inside::Other,
            };
            // An escape sequence does not end its text.
            if self.inside == Inside::Other || now == Inside::Other {
                self.begins = self.before + at;
                self.start.clear();
            } else if self.start.len() < SHOWN {
                self.start.push(*end);
            }
            self.inside = now;
        }
        self.before += block.len();
        Ok(())
    }

    fn too_long(&self) -> ApiError {
        let start = String::from_utf8_lossy(&self.start);
        let what = match self.inside {
            Inside::Other if start.trim_ascii().is_empty() => "a blank".to_owned(),
            Inside::Other => format!("a number or word that begins with {start}"),
            Inside::Text | Inside::Escape => format!("a text that begins with {start:?}"),
        };
        ApiError::Malformed(format!(
            "{what} stands at byte {} and is longer than {LONGEST} bytes, which is the most in a request",
            self.begins
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error for this JSON, scanned in blocks of `block` bytes.
    fn said(json: &str, block: usize) -> Option<String> {
        let mut tokens = JsonTokens::default();
        let mut looked = json.as_bytes().chunks(block).map(|block| tokens.look(block));
        let error = looked.find_map(Result::err)?;
        match error {
            ApiError::Malformed(detail) => Some(detail),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_long_text_number_or_blank_is_found_wherever_blocks_end() {
        let long = |of: &str| of.repeat(LONGEST / of.len() + 1);
        let escaped = long(r#"\""#);
        for (json, what) in [
            (format!(r#"{{"a": 1, "{}": 1}}"#, long("x")), r#"a text that begins with "xxx"#),
            (format!(r#"{{"a": "{escaped}"}}"#), r#"a text that begins with "\\\"\\\""#),
            (format!(r#"["a\\", {}]"#, long("7")), "a number or word that begins with  777"),
            (format!(r#"{{"points": [{}]}}"#, long(" \n")), "a blank stands at byte 12 "),
        ] {
            for block in [1, 7, 1000, LONGEST, usize::MAX] {
                let said = said(&json, block).unwrap();
                assert!(said.starts_with(what), "{said}");
                assert!(said.len() < 400, "{said}");
            }
        }
    }

    #[test]
    fn long_lists_of_short_values_are_none_of_that() {
        let number = "1.25,".repeat(LONGEST);
        let text = r#""a\"b","#.repeat(LONGEST);
        let longest = "x".repeat(LONGEST);
        for json in [
            format!("[{number}1]"),
            format!("[{text}1]"),
            format!(r#"["{longest}", "{longest}"]"#),
            format!("[{},{longest}]", "[{".repeat(LONGEST)),
        ] {
            for block in [1000, usize::MAX] {
                assert_eq!(said(&json, block), None);
            }
        }
    }
}
