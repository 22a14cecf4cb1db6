//! Numbers as people and tools write them, and how ambiguous ones are refused.

use sparsity_law::named;

use crate::intake::field::Field;

named! {
    /// The decimal mark of numbers.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Decimal {
        /// A point, as in `2.934`.
        Point = ".",
        /// A comma: `2,934` is less than 3.
        Comma = ",",
    }
}

/// A number that was read from a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Written {
    /// Value of the number; a percentage is already divided by 100.
    pub value: f64,
    /// Whether the text has a percent sign.
    pub percent: bool,
    /// Whether the text says what it counts in, as the `M` of `125M` does.
    pub unit: bool,
}

/// The kind of number in a field, which decides how it may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A count, which may have a unit as in `125M`, or separators between thousands.
    Count,
    /// A fraction, which may have a percent sign.
    Fraction,
    /// A number without any of these.
    Plain,
}

const fn kind(field: Field) -> Kind {
    match field {
        Field::NonzeroParams
        | Field::TotalParams
        | Field::Data
        | Field::PretrainingData
        | Field::UniqueData
        | Field::Flops => Kind::Count,
        Field::Sparsity => Kind::Fraction,
        _ => Kind::Plain,
    }
}

/// Reads the number of a field. `decimal` is `None` if the meaning of a comma is unknown.
///
/// # Errors
/// A description of what the field needs, without the offending value.
pub fn read(field: Field, text: &str, decimal: Option<Decimal>) -> Result<Written, String> {
    let text = text.trim();
    let kind = kind(field);
    if let Some(rest) = text.strip_suffix('%') {
        if kind != Kind::Fraction {
            return Err("must be a number without a percent sign".to_owned());
        }
        let value = plain(rest.trim_end(), kind, decimal)? / 100.0;
        return Ok(Written { value, percent: true, unit: false });
    }
    let (digits, factor) = match kind {
        Kind::Count => without_unit(text),
        Kind::Fraction | Kind::Plain => (text, None),
    };
    if factor.is_some() && digits.contains(['e', 'E']) {
        return Err(
            "must be a number with an exponent or with a unit, and not with both".to_owned()
        );
    }
    let value = plain(digits, kind, decimal)? * factor.unwrap_or(1.0);
    Ok(Written { value, percent: false, unit: factor.is_some() })
}

/// Splits off a unit: `125M` becomes 125 and one million.
fn without_unit(text: &str) -> (&str, Option<f64>) {
    let factor = match text.chars().next_back() {
        Some('k' | 'K') => 1e3,
        Some('m' | 'M') => 1e6,
        Some('b' | 'B' | 'g' | 'G') => 1e9,
        Some('t' | 'T') => 1e12,
        _ => return (text, None),
    };
    // Every unit is one byte long.
    let digits = text[..text.len() - 1].trim_end();
    if digits.ends_with(|c: char| c.is_ascii_digit() || c == '.') {
        (digits, Some(factor))
    } else {
        (text, None)
    }
}

/// Thousands separators: a space, a no-break space, a narrow no-break space, a thin space, and two apostrophes.
const THOUSANDS: [char; 6] = [' ', '\u{a0}', '\u{202f}', '\u{2009}', '\'', '\u{2019}'];

fn plain(text: &str, kind: Kind, decimal: Option<Decimal>) -> Result<f64, String> {
    let wrong = || Err("must be a number".to_owned());
    if let Ok(number) = text.parse() {
        // With a decimal comma, a point should be a thousands separator; in a number such as `1.234` it could be
        // either.
        let grouped = decimal == Some(Decimal::Comma) && groups(text, '.') == Some(1);
        return if grouped { ambiguous(text) } else { Ok(number) };
    }
    // Marks that can only separate thousands, as in French, Swiss and technical texts.
    let mark = THOUSANDS.into_iter().find(|mark| text.contains(*mark));
    if let Some(mark) = mark.filter(|mark| kind == Kind::Count && groups(text, *mark).is_some()) {
        return text.replace(mark, "").parse().or_else(|_| wrong());
    }
    let commas = text.matches(',').count();
    let points = text.matches('.').count();
    match (commas, points, decimal) {
        // A repeated mark can only separate thousands.
        (2.., 0, _) if kind == Kind::Count && groups(text, ',').is_some() => {
            text.replace(',', "").parse().or_else(|_| wrong())
        }
        (0, 2.., Some(Decimal::Comma)) if kind == Kind::Count && groups(text, '.').is_some() => {
            text.replace('.', "").parse().or_else(|_| wrong())
        }
        (1, 0, Some(Decimal::Comma)) => text.replace(',', ".").parse().or_else(|_| wrong()),
        (1, 0, Some(Decimal::Point)) if kind == Kind::Count && groups(text, ',').is_some() => {
            text.replace(',', "").parse().or_else(|_| wrong())
        }
        (1, 0, None) => ambiguous(text),
        _ => wrong(),
    }
}

fn ambiguous(text: &str) -> Result<f64, String> {
    let mark = if text.contains(',') { "comma" } else { "point" };
    Err(format!(
        "could be one number or another, as its {mark} may stand before decimals or between thousands: say \
         decimal=. or decimal=,"
    ))
}

/// Returns the number of three-digit groups behind a separator, if the text is a whole number with at least one such
/// group.
fn groups(text: &str, separator: char) -> Option<usize> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mut parts = text.split(separator);
    let first = parts.next().filter(|part| digits(part) && part.len() <= 3)?;
    let rest: Vec<&str> = parts.collect();
    let grouped = !first.is_empty() && rest.iter().all(|part| digits(part) && part.len() == 3);
    (grouped && !rest.is_empty()).then_some(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(field: Field, text: &str) -> Option<f64> {
        read(field, text, None).ok().map(|written| written.value)
    }

    #[test]
    fn counts_are_written_as_people_write_sizes() {
        for (text, expected) in [
            ("125M", 125e6),
            ("2.6B", 2.6e9),
            ("7 b", 7e9),
            ("1.5T", 1.5e12),
            ("20k", 2e4),
            ("3G", 3e9),
            ("1e9", 1e9),
            ("125,000,000", 125e6),
            (" 42 ", 42.0),
            ("125 000 000", 125e6),
            ("125\u{a0}000\u{a0}000", 125e6),
            ("2\u{202f}500\u{202f}000", 2.5e6),
            ("125'000", 125e3),
            ("125\u{2019}000 K", 125e6),
        ] {
            assert_eq!(value(Field::NonzeroParams, text), Some(expected), "{text}");
        }
        for text in [
            "M",
            "12 apples",
            "12 34",
            "1 234,5",
            "1 234 567'000",
            "1'23",
            "1_000",
            "12,34,567",
            "50%",
            "1,2,3",
            "1e9B",
            "1E3 k",
        ] {
            assert_eq!(value(Field::Data, text), None, "{text}");
        }
    }

    #[test]
    fn losses_have_no_units_and_no_thousands() {
        for text in ["2.9M", "1,234,567", "3%", "2 934", "2'934"] {
            assert_eq!(value(Field::Loss, text), None, "{text}");
        }
    }

    #[test]
    fn a_comma_that_could_be_either_is_refused_until_somebody_says_what_it_is() {
        for field in [Field::Loss, Field::Data] {
            assert!(read(field, "1,234", None).unwrap_err().contains("decimal="));
            let comma = read(field, "1,234", Some(Decimal::Comma)).unwrap();
            assert_eq!(comma.value, 1.234);
        }
        assert_eq!(read(Field::Data, "1,234", Some(Decimal::Point)).unwrap().value, 1234.0);
        read(Field::Loss, "1,234", Some(Decimal::Point)).unwrap_err();
        // With a decimal comma, a point separates thousands, or else the table contradicts itself.
        read(Field::Loss, "1.234", Some(Decimal::Comma)).unwrap_err();
        assert_eq!(
            read(Field::Data, "1.234.567", Some(Decimal::Comma)).unwrap().value,
            1_234_567.0
        );
        assert_eq!(read(Field::Loss, "2.5", Some(Decimal::Comma)).unwrap().value, 2.5);
    }

    #[test]
    fn a_percentage_is_a_fraction_once() {
        let half = Written { value: 0.5, percent: true, unit: false };
        assert_eq!(read(Field::Sparsity, "50%", None), Ok(half));
        assert_eq!(read(Field::Sparsity, "50 %", None), Ok(half));
        assert_eq!(read(Field::Sparsity, "50", None).unwrap().value, 50.0);
    }
}
