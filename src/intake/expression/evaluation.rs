//! What the parts of an expression come to in a row.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::syntax::{ExpressionError, Function, Operator, Part, error};

/// The value of an expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome<'v> {
    /// No value: an empty column, or anything computed from one.
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(Cow<'v, str>),
}

/// How many letters of a text a message shows.
const SHOWN: usize = 40;

pub(super) struct Evaluation<'e, 'v> {
    pub(super) columns: &'e [String],
    pub(super) cell: &'e dyn Fn(usize) -> Outcome<'v>,
    pub(super) number: &'e dyn Fn(&str) -> Result<f64, String>,
}

impl<'v> Evaluation<'_, 'v> {
    pub(super) fn part(&self, part: &'v Part) -> Result<Outcome<'v>, ExpressionError> {
        Ok(match part {
            Part::Null => Outcome::Null,
            Part::Bool(value) => Outcome::Bool(*value),
            Part::Number(number) => Outcome::Number(*number),
            Part::Text(text) => Outcome::Text(Cow::Borrowed(text)),
            Part::Column(at) => (self.cell)(*at),
            Part::Negative(part) => numeric(self.number(part)?.map(|number| -number)),
            Part::Not(part) => Outcome::Bool(!self.truth(part)?),
            Part::Two(Operator::And, parts) => {
                Outcome::Bool(self.truth(&parts[0])? && self.truth(&parts[1])?)
            }
            Part::Two(Operator::Or, parts) => {
                Outcome::Bool(self.truth(&parts[0])? || self.truth(&parts[1])?)
            }
            Part::Two(operator, parts) => self.two(*operator, parts)?,
            Part::Call(function, arguments) => self.call(*function, arguments)?,
        })
    }

    fn two(
        &self,
        operator: Operator,
        [left, right]: &'v [Part; 2],
    ) -> Result<Outcome<'v>, ExpressionError> {
        let compare = |holds: fn(Ordering) -> bool| {
            Ok(Outcome::Bool(self.order(left, right)?.is_some_and(holds)))
        };
        match operator {
            Operator::Equal => compare(Ordering::is_eq),
            // A missing value differs from every value.
            Operator::Unequal => {
                Ok(Outcome::Bool(self.order(left, right)?.is_none_or(Ordering::is_ne)))
            }
            Operator::Less => compare(Ordering::is_lt),
            Operator::AtMost => compare(Ordering::is_le),
            Operator::Greater => compare(Ordering::is_gt),
            Operator::AtLeast => compare(Ordering::is_ge),
            _ => {
                let pair = self.number(left)?.zip(self.number(right)?);
                Ok(numeric(pair.map(|(a, b)| match operator {
                    Operator::Add => a + b,
                    Operator::Subtract => a - b,
                    Operator::Multiply => a * b,
                    Operator::Divide => a / b,
                    _ => a.powf(b),
                })))
            }
        }
    }

    /// Compares two values: as numbers if both are numbers or texts that can be read as numbers, as texts if both are
    /// texts. Returns `None` if they cannot be compared, such as a missing value with any other; two missing values are
    /// equal. A text that is compared with a number must be one: otherwise a cell such as `1,000` would be less than
    /// nothing, more than nothing and unlike everything, and its row would be left out in silence.
    fn order(&self, left: &'v Part, right: &'v Part) -> Result<Option<Ordering>, ExpressionError> {
        let (a, b) = (self.part(left)?, self.part(right)?);
        Ok(match (&a, &b) {
            (Outcome::Null, Outcome::Null) => Some(Ordering::Equal),
            (Outcome::Null, _) | (_, Outcome::Null) => None,
            (Outcome::Bool(a), Outcome::Bool(b)) => Some(a.cmp(b)),
            (Outcome::Bool(value), Outcome::Text(text))
            | (Outcome::Text(text), Outcome::Bool(value)) => {
                let is = |word: &str| text.eq_ignore_ascii_case(word);
                if !is("true") && !is("false") {
                    let shown = text.chars().take(SHOWN).collect::<String>();
                    return error(format!(
                        "compares {value} with {shown:?}, which is neither true nor false"
                    ));
                }
                is(if *value { "true" } else { "false" }).then_some(Ordering::Equal)
            }
            (Outcome::Text(a), Outcome::Text(b)) => match ((self.number)(a), (self.number)(b)) {
                (Ok(a), Ok(b)) => a.partial_cmp(&b),
                _ => Some(a.cmp(b)),
            },
            _ => {
                let pair = self.read(left, &a)?.zip(self.read(right, &b)?);
                pair.and_then(|(a, b)| a.partial_cmp(&b))
            }
        })
    }

    /// The number that a part of the expression has for a value; `None` if it has no value.
    fn read(&self, part: &Part, value: &Outcome<'_>) -> Result<Option<f64>, ExpressionError> {
        let (needed, value) = match value {
            Outcome::Null => return Ok(None),
            Outcome::Number(number) => return Ok(Some(*number)),
            Outcome::Text(text) => match (self.number)(text) {
                Ok(number) => return Ok(Some(number)),
                Err(needed) => {
                    (needed, format!("{:?}", text.chars().take(SHOWN).collect::<String>()))
                }
            },
            Outcome::Bool(value) => ("must be a number".to_owned(), value.to_string()),
        };
        let of = match part {
            Part::Column(at) => format!("column {}", self.columns[*at]),
            _ => "a part of the expression".to_owned(),
        };
        error(format!("{of} {needed}, not {value}"))
    }

    fn number(&self, part: &'v Part) -> Result<Option<f64>, ExpressionError> {
        let outcome = self.part(part)?;
        self.read(part, &outcome)
    }

    fn truth(&self, part: &'v Part) -> Result<bool, ExpressionError> {
        match self.part(part)? {
            Outcome::Bool(value) => Ok(value),
            Outcome::Null => Ok(false),
            Outcome::Text(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Outcome::Text(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Outcome::Number(_) | Outcome::Text(_) => {
                error("a condition must be true or false: compare with ==, <, and so on")
            }
        }
    }

    fn call(
        &self,
        function: Function,
        arguments: &'v [Part],
    ) -> Result<Outcome<'v>, ExpressionError> {
        let one = |of: fn(f64) -> f64| Ok(numeric(self.number(&arguments[0])?.map(of)));
        match function {
            Function::Ln => one(f64::ln),
            Function::Log2 => one(f64::log2),
            Function::Log10 => one(f64::log10),
            Function::Exp => one(f64::exp),
            Function::Sqrt => one(f64::sqrt),
            Function::Abs => one(f64::abs),
            Function::Round => one(f64::round),
            Function::Min | Function::Max => {
                let choose = if function == Function::Min { f64::min } else { f64::max };
                let mut found: Option<f64> = None;
                for argument in arguments {
                    let Some(number) = self.number(argument)? else { return Ok(Outcome::Null) };
                    found = Some(found.map_or(number, |found| choose(found, number)));
                }
                Ok(numeric(found))
            }
            Function::Coalesce => {
                for argument in arguments {
                    match self.part(argument)? {
                        Outcome::Null => {}
                        found => return Ok(found),
                    }
                }
                Ok(Outcome::Null)
            }
            Function::If => self.part(&arguments[if self.truth(&arguments[0])? { 1 } else { 2 }]),
            Function::Lower => Ok(match self.part(&arguments[0])? {
                Outcome::Text(text) => Outcome::Text(Cow::Owned(text.to_lowercase())),
                other => other,
            }),
            Function::Contains => {
                let (text, part) = (self.part(&arguments[0])?, self.part(&arguments[1])?);
                Ok(Outcome::Bool(match (&text, &part) {
                    (Outcome::Text(text), Outcome::Text(part)) => text.contains(&**part),
                    _ => false,
                }))
            }
        }
    }
}

fn numeric<'v>(number: Option<f64>) -> Outcome<'v> {
    number.map_or(Outcome::Null, Outcome::Number)
}
