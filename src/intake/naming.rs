//! Names of runs that are made of their values.

use sha2::{Digest, Sha256};

use crate::domain::run::SubmittedRun;
use crate::intake::value::Value;

/// Advice for a date or time that stands where a text is needed.
pub(super) const NO_TIME: &str = "spreadsheets and readers of tables take 2:4 for a time and 3-7-11 for a date, so the column must \
                       be written as text before it is filled";

/// 2^53: every whole number below it in size is represented exactly by an `f64`.
pub(super) const EXACT: f64 = 9_007_199_254_740_992.0;

/// The text that the value of a column adds to a name.
///
/// # Errors
/// If the column has no value that can be part of a name.
pub(super) fn part_of_name(column: &str, value: Option<&Value<'_>>) -> Result<String, String> {
    match value {
        Some(Value::Text(text)) => Ok(as_a_number(text).unwrap_or_else(|| text.to_string())),
        Some(Value::Integer(number)) => Ok(number.to_string()),
        Some(Value::Number(number)) if number.abs() < EXACT => Ok(number.to_string()),
        Some(Value::Bool(value)) => Ok(value.to_string()),
        Some(Value::Number(_)) => Err("has more digits than a number keeps".to_owned()),
        Some(value @ Value::Time(_)) => {
            let what = value.describe();
            Err(format!("must be made of texts, not {what} (column {column}): {NO_TIME}"))
        }
        None | Some(Value::Null | Value::List(_) | Value::Object(_)) => {
            Err(format!("column {column} has no value"))
        }
    }
}

/// How formats with numbers write a number that is a text in a format without them: `1.0` as 1, and Python's `1e-05` as
/// 0.00001. `None` for every other text, which may be a name that only looks like a number, such as `007`, `1.10` or
/// `3e8`.
fn as_a_number(text: &str) -> Option<String> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (number, exponent) = match unsigned.split_once('e') {
        Some((number, exponent)) => (number, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (number, None),
    };
    let plain = digits(whole) && (whole == "0" || !whole.starts_with('0'));
    if !plain || !fraction.is_none_or(digits) {
        return None;
    }
    match (exponent, fraction) {
        // Python always writes the sign of an exponent, and two digits at least.
        (Some(exponent), _) => {
            let size = exponent.strip_prefix(['-', '+']).filter(|size| size.len() >= 2);
            let number: f64 = text.parse().ok().filter(|_| size.is_some_and(digits))?;
            (number.abs() < EXACT).then(|| number.to_string())
        }
        (None, Some(fraction)) if fraction.bytes().all(|byte| byte == b'0') => {
            Some(text[..text.len() - fraction.len() - 1].to_owned())
        }
        (None, _) => None,
    }
}

/// A name hashed from the run's own values, so that it does not depend on anything else in the input. Sizes, data and
/// loss enter the hash with every bit.
pub(super) fn content_id(run: &SubmittedRun) -> String {
    let observation = &run.observation;
    let mut digest = Sha256::new();
    for number in [
        observation.nonzero_params.get(),
        observation.sparsity.get(),
        observation.data.get(),
        observation.loss.get(),
        run.pretraining_data.map_or(0.0, |data| data.get()),
    ] {
        digest.update(number.to_bits().to_be_bytes());
    }
    digest.update(run.start.as_str());
    digest.update([0]);
    digest.update(run.pattern.as_ref().map_or("", |pattern| pattern.as_str()));
    // Added only if present, so that names derived before this field existed stay the same.
    if let Some(unique) = run.unique_data {
        digest.update(unique.get().to_bits().to_be_bytes());
    }
    format!("content-{}", hex::encode(&digest.finalize()[..12]))
}
