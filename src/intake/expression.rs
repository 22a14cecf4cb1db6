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
//! Parsing takes time proportional to the text, which is at most [`MOST_BYTES`] long and at most [`MOST_DEPTH`] levels
//! deep; evaluation takes time proportional to the number of parts. There are no loops, and the only names are columns.

use std::borrow::Cow;
use std::cmp::Ordering;

/// Maximum length of an expression, in bytes.
pub const MOST_BYTES: usize = 1_000;
/// Maximum depth of nested parts.
const MOST_DEPTH: usize = 40;

/// A parsed expression, which has a value for each row.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    root: Part,
    columns: Vec<String>,
}

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

/// Why a text is not an expression, or why an expression has no value for a row: the end of a sentence for people to
/// read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExpressionError(String);

fn error<T>(detail: impl Into<String>) -> Result<T, ExpressionError> {
    Err(ExpressionError(detail.into()))
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    /// A column, as an index into the expression's list of columns.
    Column(usize),
    Negative(Box<Part>),
    Not(Box<Part>),
    Two(Operator, Box<[Part; 2]>),
    Call(Function, Vec<Part>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Add,
    Subtract,
    Multiply,
    Divide,
    Power,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Ln,
    Log2,
    Log10,
    Exp,
    Sqrt,
    Abs,
    Round,
    Min,
    Max,
    Coalesce,
    If,
    Lower,
    Contains,
}

/// Each function with its name, and the least and most arguments it takes.
const FUNCTIONS: [(Function, &str, [usize; 2]); 13] = [
    (Function::Ln, "ln", [1, 1]),
    (Function::Log2, "log2", [1, 1]),
    (Function::Log10, "log10", [1, 1]),
    (Function::Exp, "exp", [1, 1]),
    (Function::Sqrt, "sqrt", [1, 1]),
    (Function::Abs, "abs", [1, 1]),
    (Function::Round, "round", [1, 1]),
    (Function::Min, "min", [2, 8]),
    (Function::Max, "max", [2, 8]),
    (Function::Coalesce, "coalesce", [2, 8]),
    (Function::If, "if", [3, 3]),
    (Function::Lower, "lower", [1, 1]),
    (Function::Contains, "contains", [2, 2]),
];

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Number(f64),
    Text(String),
    /// A bare word: a column, a function or a keyword.
    Word(String),
    /// The name of a column in backticks.
    Column(String),
    Sign(&'static str),
}

/// Signs, with longer ones before their prefixes.
const SIGNS: [&str; 20] = [
    "==", "!=", "<=", ">=", "&&", "||", "**", "<", ">", "=", "!", "+", "-", "*", "/", "^", "(",
    ")", ",", "%",
];

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

fn tokens(text: &str) -> Result<Vec<Token>, ExpressionError> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '0'..='9' | '.' => {
                let end = number_end(rest);
                let Ok(number) = rest[..end].parse() else {
                    return error(format!("has {:?}, which is no number", &rest[..end]));
                };
                if rest[end..].starts_with(|c: char| c.is_alphanumeric() || c == '_') {
                    let word = rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next();
                    return error(format!(
                        "has {:?}: a column whose name begins with a digit stands in backticks",
                        word.unwrap_or(rest)
                    ));
                }
                found.push(Token::Number(number));
                end
            }
            '\'' | '"' | '`' => {
                let Some(end) = rest[1..].find(first) else {
                    return error(format!("has {first} without its end"));
                };
                let inner = rest[1..=end].to_owned();
                found.push(if first == '`' { Token::Column(inner) } else { Token::Text(inner) });
                end + 2
            }
            c if c.is_alphabetic() || c == '_' => {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'));
                let end = end.unwrap_or(rest.len());
                found.push(Token::Word(rest[..end].to_owned()));
                end
            }
            c => {
                let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) else {
                    return error(format!("has {c:?}, which means nothing in an expression"));
                };
                found.push(Token::Sign(sign));
                sign.len()
            }
        };
        rest = rest[taken..].trim_start();
    }
    Ok(found)
}

/// Returns the length of the number at the start of a text: digits, a decimal point, an exponent with its sign.
fn number_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') {
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + sign);
        if exponent > end + 1 + sign {
            end = exponent;
        }
    }
    end
}

fn describe(token: &Token) -> String {
    match token {
        Token::Number(number) => number.to_string(),
        Token::Text(text) => format!("the text {text:?}"),
        Token::Word(word) => word.clone(),
        Token::Column(name) => format!("`{name}`"),
        Token::Sign(sign) => format!("{sign:?}"),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    columns: Vec<String>,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    /// Takes the next token if it is one of these signs or words, and returns its index among them.
    fn take(&mut self, wanted: &[&str]) -> Option<usize> {
        let found = match self.peek()? {
            Token::Sign(sign) => wanted.iter().position(|wanted| wanted == sign),
            Token::Word(word) => wanted.iter().position(|wanted| wanted == word),
            _ => None,
        }?;
        self.at += 1;
        Some(found)
    }

    fn left_to_right(
        &mut self,
        signs: &[&str],
        operators: &[Operator],
        next: fn(&mut Self) -> Result<Part, ExpressionError>,
    ) -> Result<Part, ExpressionError> {
        let mut left = next(self)?;
        while let Some(sign) = self.take(signs) {
            let right = next(self)?;
            left = Part::Two(operators[sign], Box::new([left, right]));
        }
        Ok(left)
    }

    fn condition(&mut self) -> Result<Part, ExpressionError> {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return error(format!("has more than {MOST_DEPTH} parts inside each other"));
        }
        let found = self.left_to_right(&["or", "||"], &[Operator::Or; 2], Self::both);
        self.depth -= 1;
        found
    }

    fn both(&mut self) -> Result<Part, ExpressionError> {
        self.left_to_right(&["and", "&&"], &[Operator::And; 2], Self::negated)
    }

    fn negated(&mut self) -> Result<Part, ExpressionError> {
        let mut negations = 0;
        while self.take(&["not", "!"]).is_some() {
            negations += 1;
        }
        let part = self.comparison()?;
        Ok(match negations {
            0 => part,
            odd if odd % 2 == 1 => Part::Not(Box::new(part)),
            _ => Part::Not(Box::new(Part::Not(Box::new(part)))),
        })
    }

    fn comparison(&mut self) -> Result<Part, ExpressionError> {
        use Operator::{AtLeast, AtMost, Equal, Greater, Less, Unequal};
        const SIGNS: [&str; 7] = ["==", "=", "!=", "<=", "<", ">=", ">"];
        const OPERATORS: [Operator; 7] = [Equal, Equal, Unequal, AtMost, Less, AtLeast, Greater];
        let left = self.sum()?;
        let Some(sign) = self.take(&SIGNS) else { return Ok(left) };
        let right = self.sum()?;
        if self.take(&SIGNS).is_some() {
            return error("compares three things at once: join two comparisons by and");
        }
        Ok(Part::Two(OPERATORS[sign], Box::new([left, right])))
    }

    fn sum(&mut self) -> Result<Part, ExpressionError> {
        self.left_to_right(&["+", "-"], &[Operator::Add, Operator::Subtract], Self::product)
    }

    fn product(&mut self) -> Result<Part, ExpressionError> {
        self.left_to_right(&["*", "/"], &[Operator::Multiply, Operator::Divide], Self::signed)
    }

    fn signed(&mut self) -> Result<Part, ExpressionError> {
        let mut negative = false;
        while self.take(&["-"]).is_some() {
            negative = !negative;
        }
        let part = self.power()?;
        Ok(if negative { Part::Negative(Box::new(part)) } else { part })
    }

    fn power(&mut self) -> Result<Part, ExpressionError> {
        let base = self.atom()?;
        if self.take(&["^", "**"]).is_none() {
            return Ok(base);
        }
        let negative = self.take(&["-"]).is_some();
        let exponent = self.atom()?;
        let exponent = if negative { Part::Negative(Box::new(exponent)) } else { exponent };
        Ok(Part::Two(Operator::Power, Box::new([base, exponent])))
    }

    fn atom(&mut self) -> Result<Part, ExpressionError> {
        let Some(token) = self.peek().cloned() else { return error("ends too early") };
        self.at += 1;
        match token {
            Token::Number(number) => Ok(Part::Number(number)),
            Token::Text(text) => Ok(Part::Text(text)),
            Token::Column(name) => Ok(self.column(name)),
            Token::Sign("(") => {
                let inner = self.condition()?;
                if self.take(&[")"]).is_none() {
                    return error("has ( without )");
                }
                Ok(inner)
            }
            Token::Word(word) => match word.as_str() {
                "true" => Ok(Part::Bool(true)),
                "false" => Ok(Part::Bool(false)),
                "null" => Ok(Part::Null),
                "and" | "or" | "not" => error(format!("has {word} where a value should stand")),
                _ if self.peek() == Some(&Token::Sign("(")) => self.call(&word),
                _ => Ok(self.column(word)),
            },
            other => error(format!("has {} where a value should stand", describe(&other))),
        }
    }

    fn call(&mut self, name: &str) -> Result<Part, ExpressionError> {
        let Some((function, _, [fewest, most])) =
            FUNCTIONS.into_iter().find(|(_, known, _)| *known == name)
        else {
            let known = FUNCTIONS.map(|(_, name, _)| name).join(", ");
            return error(format!("has a function {name}, which there is not: there are {known}"));
        };
        self.at += 1;
        let mut arguments = vec![self.condition()?];
        while self.take(&[","]).is_some() {
            arguments.push(self.condition()?);
        }
        if self.take(&[")"]).is_none() {
            return error("has ( without )");
        }
        if !(fewest..=most).contains(&arguments.len()) {
            let wanted =
                if fewest == most { fewest.to_string() } else { format!("{fewest} to {most}") };
            return error(format!("gives {name} {}, which takes {wanted}", arguments.len()));
        }
        Ok(Part::Call(function, arguments))
    }

    fn column(&mut self, name: String) -> Part {
        let known = self.columns.iter().position(|known| *known == name);
        Part::Column(known.unwrap_or_else(|| {
            self.columns.push(name);
            self.columns.len() - 1
        }))
    }
}

/// How many letters of a text a message shows.
const SHOWN: usize = 40;

struct Evaluation<'e, 'v> {
    columns: &'e [String],
    cell: &'e dyn Fn(usize) -> Outcome<'v>,
    number: &'e dyn Fn(&str) -> Result<f64, String>,
}

impl<'v> Evaluation<'_, 'v> {
    fn part(&self, part: &'v Part) -> Result<Outcome<'v>, ExpressionError> {
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

#[cfg(test)]
mod tests;
