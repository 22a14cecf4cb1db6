//! Expressions over the columns of a row, as mappings and conditions use them.
//!
//! The language is our own because the maintained expression languages do not suit tables as people write them: common
//! ones distinguish whole numbers from fractions (`steps*512` is an error on a column with a fraction) and cannot quote
//! the name of a column such as `eval/loss`.
//!
//! ```text
//! condition  = both { "or" both }            both = negated { "and" negated }
//! negated    = [ "not" ] comparison          comparison = sum [ ("==" | "!=" | "<" | "<=" | ">" | ">=") sum ]
//! sum        = product { ("+" | "-") product }
//! product    = signed { ("*" | "/") signed } signed = "-" signed | power
//! power      = atom [ "^" [ "-" ] atom ]
//! atom       = number | 'text' | "text" | true | false | null | column | `any column`
//!            | function "(" condition { "," condition } ")" | "(" condition ")"
//! ```
//!
//! Other spellings are `||`, `&&`, `!`, `=` for `==`, and `**` for `^`. `2^3^2` is refused, as languages disagree on what
//! it is.
//!
//! Parsing takes time proportional to the text, which is at most [`MOST_BYTES`] long and at most `MOST_DEPTH` levels
//! deep; evaluation takes time proportional to the number of parts. There are no loops, and the only names are columns.

mod evaluation;
mod syntax;

use evaluation::Evaluation;
use syntax::{Parser, Part, describe, error, tokens};

pub use evaluation::Outcome;
pub use syntax::ExpressionError;

/// Maximum length of an expression, in bytes.
pub const MOST_BYTES: usize = 1_000;

/// A parsed expression, which has a value for each row.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    root: Part,
    columns: Vec<String>,
}

impl Expression {
    /// Parses an expression.
    ///
    /// # Errors
    /// If the text is not an expression; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > MOST_BYTES {
            return error(format!("has {} bytes, more than {MOST_BYTES}", text.len()));
        }
        let mut parser = Parser { tokens: tokens(text)?, at: 0, columns: Vec::new(), depth: 0 };
        let root = parser.condition()?;
        match parser.peek() {
            None => Ok(Self { root, columns: parser.columns }),
            Some(token) => error(format!("has {} where it should end", describe(token))),
        }
    }

    /// The columns that the expression reads, each once.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The name of the column, if the expression is nothing but one column.
    #[must_use]
    pub fn as_column(&self) -> Option<&str> {
        match self.root {
            Part::Column(at) => Some(&self.columns[at]),
            _ => None,
        }
    }

    /// Evaluates the expression for a row. `cell` returns the value of a column by its index in [`Self::columns`];
    /// `number` reads a number from a text, or says what the text would have to be.
    ///
    /// # Errors
    /// If the expression calculates with something that is not a number or compares it with one, or tests something
    /// that is neither true nor false.
    pub fn evaluate<'v>(
        &'v self,
        cell: &dyn Fn(usize) -> Outcome<'v>,
        number: &dyn Fn(&str) -> Result<f64, String>,
    ) -> Result<Outcome<'v>, ExpressionError> {
        Evaluation { columns: &self.columns, cell, number }.part(&self.root)
    }
}

#[cfg(test)]
mod tests;
