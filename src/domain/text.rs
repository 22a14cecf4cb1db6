//! Texts that users send, validated on construction: limited in length, without characters that the database refuses.

use std::fmt;

/// Why a text is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// The text is empty.
    #[error("must not be empty")]
    Empty,
    /// The text is too long.
    #[error("must have at most {max} characters, not {length}")]
    TooLong {
        /// Maximum number of characters.
        max: usize,
        /// Number of characters in the text.
        length: usize,
    },
    /// The text has a control character, which no name or label needs; PostgreSQL refuses NUL outright.
    #[error("must not contain control characters")]
    ControlCharacter,
    /// The text is not a valid name for a URL.
    #[error("must be 1 to 64 lower-case letters, digits and hyphens, with no hyphen at either end")]
    NotASlug,
    /// The name is reserved for a built-in FLOP mode.
    #[error("must not be dense or sparse, which are flop modes without a profile")]
    Reserved,
    /// The text is not a structured pattern.
    #[error("must be a pattern n:m with 1 <= n < m <= 1024, such as 2:4")]
    NotAPattern,
}

/// Maximum number of characters in an id, label, unit or pattern.
pub const LABEL_LIMIT: usize = 200;
/// Maximum number of characters in a description or reason.
pub const PROSE_LIMIT: usize = 2000;

/// Maximum number of bytes of a text in an error: as much as a person reads, however much was sent.
pub const ERROR_LIMIT: usize = 400;

/// Cuts a text to at most `most` bytes, between characters; three dots at the end show that it was cut.
pub fn cut(text: &mut String, most: usize) {
    const MORE: &str = "...";
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most.saturating_sub(MORE.len())));
        text.push_str(MORE);
        text.shrink_to_fit();
    }
}

/// Checks a label: not empty, at most [`LABEL_LIMIT`] characters, no control characters.
///
/// # Errors
/// [`TextError::Empty`], [`TextError::TooLong`], [`TextError::ControlCharacter`].
pub fn check_label(text: &str) -> Result<(), TextError> {
    if text.is_empty() {
        return Err(TextError::Empty);
    }
    check(text, LABEL_LIMIT, false)
}

/// Checks prose: at most [`PROSE_LIMIT`] characters, and no control characters except line ends and tabs.
///
/// # Errors
/// [`TextError::TooLong`], [`TextError::ControlCharacter`].
pub fn check_prose(text: &str) -> Result<(), TextError> {
    check(text, PROSE_LIMIT, true)
}

/// Checks a reason: prose that is not empty.
///
/// # Errors
/// [`TextError::Empty`], [`TextError::TooLong`], [`TextError::ControlCharacter`].
pub fn check_reason(text: &str) -> Result<(), TextError> {
    if text.is_empty() {
        return Err(TextError::Empty);
    }
    check_prose(text)
}

fn check(text: &str, max: usize, lines: bool) -> Result<(), TextError> {
    let length = text.chars().count();
    if length > max {
        return Err(TextError::TooLong { max, length });
    }
    let refused = |c: char| c.is_control() && !(lines && matches!(c, '\n' | '\r' | '\t'));
    if text.contains(refused) { Err(TextError::ControlCharacter) } else { Ok(()) }
}

/// Name of a family: a slug, usable in URLs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FamilyName(String);

impl FamilyName {
    /// Checks that a name is a slug.
    ///
    /// # Errors
    /// [`TextError::NotASlug`].
    pub fn new(name: &str) -> Result<Self, TextError> {
        check_slug(name).map(|()| Self(name.to_owned()))
    }

    /// The slug.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FamilyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of a stored mapping: a slug.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MappingName(String);

impl MappingName {
    /// Checks that a name is a slug.
    ///
    /// # Errors
    /// [`TextError::NotASlug`].
    pub fn new(name: &str) -> Result<Self, TextError> {
        check_slug(name).map(|()| Self(name.to_owned()))
    }

    /// The slug.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MappingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of a hardware profile: a slug other than the names of the built-in FLOP modes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProfileName(String);

impl ProfileName {
    /// Checks that a name is a slug, and neither `dense` nor `sparse`.
    ///
    /// # Errors
    /// [`TextError::NotASlug`], [`TextError::Reserved`].
    pub fn new(name: &str) -> Result<Self, TextError> {
        if matches!(name, "dense" | "sparse") {
            return Err(TextError::Reserved);
        }
        check_slug(name).map(|()| Self(name.to_owned()))
    }

    /// The slug.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks that a name needs no escaping in a URL.
fn check_slug(name: &str) -> Result<(), TextError> {
    let characters = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let valid = (1..=64).contains(&name.len())
        && name.bytes().all(characters)
        && !name.starts_with('-')
        && !name.ends_with('-');
    if valid { Ok(()) } else { Err(TextError::NotASlug) }
}

/// A structured pattern `n:m`: of every `m` consecutive parameters, `n` are kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(String);

impl Pattern {
    /// Parses a pattern; `1 <= n < m <= 1024`, without leading zeros.
    ///
    /// # Errors
    /// [`TextError::NotAPattern`].
    pub fn new(pattern: &str) -> Result<Self, TextError> {
        let number = |digits: &str| -> Option<u32> {
            let plain = !digits.starts_with('0') && digits.bytes().all(|c| c.is_ascii_digit());
            if plain { digits.parse().ok() } else { None }
        };
        let parsed = pattern.split_once(':').and_then(|(n, m)| Some((number(n)?, number(m)?)));
        match parsed {
            Some((n, m)) if 1 <= n && n < m && m <= 1024 => Ok(Self(pattern.to_owned())),
            _ => Err(TextError::NotAPattern),
        }
    }

    /// The pattern as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The fraction of zeros that the pattern prescribes: `1 - n/m`.
    #[must_use]
    pub fn sparsity(&self) -> f64 {
        let number = |digits: &str| digits.parse::<f64>().expect("new has parsed the numbers");
        let (kept, all) = self.0.split_once(':').expect("new has split at the colon");
        1.0 - number(kept) / number(all)
    }

    /// The pattern that keeps as many parameters as this one sets to zero: `3:4` for `1:4`.
    #[must_use]
    pub fn counterpart(&self) -> String {
        let number = |digits: &str| digits.parse::<u32>().expect("new has parsed the numbers");
        let (kept, all) = self.0.split_once(':').expect("new has split at the colon");
        format!("{}:{all}", number(all) - number(kept))
    }

    /// Whether every group of four consecutive parameters, counted from the first, keeps at most two, so that the model
    /// also satisfies 2:4.
    #[must_use]
    pub fn is_two_of_four(&self) -> bool {
        let number = |digits: &str| digits.parse::<u32>().expect("new has parsed the numbers");
        let (kept, all) = self.0.split_once(':').expect("new has split at the colon");
        // Four consecutive parameters lie in at most two groups of the pattern, or in one if its groups are multiples
        // of four.
        number(kept) == 1 || (number(kept) == 2 && number(all).is_multiple_of(4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        let cut = |text: &str, most| {
            let mut text = text.to_owned();
            super::cut(&mut text, most);
            text
        };
        assert_eq!(cut("12345678", 8), "12345678");
        assert_eq!(cut("123456789", 8), "12345...");
        // The fifth byte is in the middle of the third character.
        assert_eq!(cut("\u{e4}\u{f6}\u{fc}\u{df}x", 8), "\u{e4}\u{f6}...");
    }

    #[test]
    fn patterns_with_two_of_every_four_are_known() {
        // Worked out by hand: whether some arrangement keeps three of four consecutive parameters.
        for (pattern, fits) in [
            ("2:4", true),
            ("1:4", true),
            ("1:2", true),
            ("1:3", true),
            ("2:8", true),
            ("3:4", false),
            ("4:8", false),
            ("2:3", false),
            ("2:6", false),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().is_two_of_four(), fits, "{pattern}");
        }
    }

    #[test]
    fn control_characters_are_refused_and_prose_may_have_lines() {
        assert_eq!(check_label("a\0b"), Err(TextError::ControlCharacter));
        assert_eq!(check_label("a\nb"), Err(TextError::ControlCharacter));
        assert_eq!(check_label(""), Err(TextError::Empty));
        assert_eq!(check_label(&"ü".repeat(200)), Ok(()));
        assert_eq!(
            check_label(&"ü".repeat(201)),
            Err(TextError::TooLong { max: 200, length: 201 })
        );
        assert_eq!(check_prose("two\nlines\0"), Err(TextError::ControlCharacter));
        assert_eq!(check_prose("two\nlines"), Ok(()));
    }

    #[test]
    fn names_are_slugs() {
        for good in ["t5-c4", "a", "7b"] {
            assert!(FamilyName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a b", "a\0", &"a".repeat(65)] {
            assert_eq!(FamilyName::new(bad), Err(TextError::NotASlug), "{bad}");
        }
    }

    #[test]
    fn a_profile_is_not_named_like_a_mode() {
        assert!(ProfileName::new("a100-2-4").is_ok());
        assert_eq!(ProfileName::new("A100"), Err(TextError::NotASlug));
        assert_eq!(ProfileName::new("dense"), Err(TextError::Reserved));
        assert_eq!(ProfileName::new("sparse"), Err(TextError::Reserved));
    }

    #[test]
    fn patterns_keep_fewer_than_all() {
        for good in ["2:4", "1:16", "4:8"] {
            assert!(Pattern::new(good).is_ok(), "{good}");
        }
        assert_eq!(Pattern::new("2:8").unwrap().sparsity(), 0.75);
        for bad in ["4:2", "2:2", "0:4", "2", "2:4:8", "+2:4", "02:4", "2:2000", ""] {
            assert_eq!(Pattern::new(bad), Err(TextError::NotAPattern), "{bad}");
        }
    }
}
