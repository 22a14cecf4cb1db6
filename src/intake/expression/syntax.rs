//! From the text of an expression to its parts, by the grammar that stands above.

/// Maximum depth of nested parts.
const MOST_DEPTH: usize = 40;

/// Why a text is not an expression, or why an expression has no value for a row: the end of a sentence for people to
/// read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExpressionError(String);

pub(super) fn error<T>(detail: impl Into<String>) -> Result<T, ExpressionError> {
    Err(ExpressionError(detail.into()))
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Part {
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
pub(super) enum Operator {
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
pub(super) enum Function {
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
pub(super) enum Token {
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

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, ExpressionError> {
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

pub(super) fn describe(token: &Token) -> String {
    match token {
        Token::Number(number) => number.to_string(),
        Token::Text(text) => format!("the text {text:?}"),
        Token::Word(word) => word.clone(),
        Token::Column(name) => format!("`{name}`"),
        Token::Sign(sign) => format!("{sign:?}"),
    }
}

pub(super) struct Parser {
    pub(super) tokens: Vec<Token>,
    pub(super) at: usize,
    pub(super) columns: Vec<String>,
    pub(super) depth: usize,
}

impl Parser {
    pub(super) fn peek(&self) -> Option<&Token> {
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

    pub(super) fn condition(&mut self) -> Result<Part, ExpressionError> {
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
