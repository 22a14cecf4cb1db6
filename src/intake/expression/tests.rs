//! Tests of expressions.

use std::borrow::Cow;

use super::*;

const ROW: [(&str, &str); 6] = [
    ("steps", "1000"),
    ("batch", "512"),
    ("eval/loss", "2.5"),
    ("State", "finished"),
    ("empty", ""),
    ("val-loss", "3"),
];

fn value(text: &str) -> Result<Outcome<'static>, ExpressionError> {
    let expression: &'static Expression = Box::leak(Box::new(Expression::parse(text)?));
    let cell = |at: usize| {
        let name = &expression.columns()[at];
        match ROW.iter().find(|(column, _)| column == name) {
            Some((_, "")) | None => Outcome::Null,
            Some((_, text)) => Outcome::Text(Cow::Borrowed(*text)),
        }
    };
    let read = |text: &str| text.parse().map_err(|_| "must be a number".to_owned());
    expression.evaluate(&cell, &read)
}

fn number(text: &str) -> f64 {
    match value(text) {
        Ok(Outcome::Number(number)) => number,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn sums_bind_as_on_paper() {
    assert_eq!(number("1+2*3^2"), 19.0);
    assert_eq!(number("-2^2"), -4.0);
    assert_eq!(number("2*-3"), -6.0);
    assert_eq!(number("(1+2)*3"), 9.0);
    assert_eq!(number("8/4/2"), 1.0);
    assert_eq!(number("1-2-3"), -4.0);
    assert_eq!(number("2^-1"), 0.5);
    assert_eq!(number("1e3 + .5"), 1000.5);
}

#[test]
fn columns_are_numbers_where_numbers_are_wanted() {
    assert_eq!(number("steps*batch*1024"), 524_288_000.0);
    assert_eq!(number("ln(`eval/loss`)"), 2.5_f64.ln());
    assert_eq!(number("`val-loss` + 0"), 3.0);
    assert_eq!(number("1 - steps/(steps*4)"), 0.75);
    assert_eq!(number("max(steps, batch, 7)"), 1000.0);
}

#[test]
fn conditions_compare_texts_and_numbers() {
    let holds = |text: &str| value(text) == Ok(Outcome::Bool(true));
    assert!(holds("State == \"finished\""));
    assert!(holds("State == 'finished' and steps >= 1e3"));
    assert!(holds("steps < 999 or not (batch != 512)"));
    assert!(holds("contains(State, 'fin')"));
    assert!(holds("lower('ABC') == 'abc'"));
    assert!(!holds("State == 'failed'"));
}

#[test]
fn what_has_no_value_gives_none_and_holds_no_condition() {
    assert_eq!(value("empty * 2"), Ok(Outcome::Null));
    assert_eq!(value("empty == null"), Ok(Outcome::Bool(true)));
    assert_eq!(value("empty != 3"), Ok(Outcome::Bool(true)));
    assert_eq!(value("empty < 3"), Ok(Outcome::Bool(false)));
    assert_eq!(number("coalesce(empty, steps) + 0"), 1000.0);
    assert_eq!(number("if(empty == null, 1, 2)"), 1.0);
}

#[test]
fn a_text_that_is_compared_with_a_number_must_be_one() {
    for text in ["State > 3", "3 == State", "State != steps + 1", "State <= 1", "3 < (1 == 1)"] {
        let error = value(text).unwrap_err().to_string();
        assert!(error.contains("must be a number, not "), "{text}: {error}");
    }
    let error = value("State == true").unwrap_err().to_string();
    assert_eq!(error, "compares true with \"finished\", which is neither true nor false");
    assert_eq!(value("'True' == true"), Ok(Outcome::Bool(true)));
    assert_eq!(value("'False' != true"), Ok(Outcome::Bool(true)));
    // Texts are compared with texts.
    assert_eq!(value("State != '3'"), Ok(Outcome::Bool(true)));
    assert_eq!(value("State == steps"), Ok(Outcome::Bool(false)));
}

#[test]
fn constants_are_expressions() {
    assert_eq!(number("0"), 0.0);
    assert_eq!(value("'pretrained'"), Ok(Outcome::Text("pretrained".into())));
    assert_eq!(Expression::parse("loss").unwrap().as_column(), Some("loss"));
    assert_eq!(Expression::parse("`a b`").unwrap().as_column(), Some("a b"));
    assert_eq!(Expression::parse("loss+0").unwrap().as_column(), None);
    assert_eq!(Expression::parse("config.lr").unwrap().as_column(), Some("config.lr"));
}

#[test]
fn what_is_wrong_is_named() {
    let wrong = |text: &str| value(text).unwrap_err().to_string();
    assert_eq!(wrong("steps*"), "ends too early");
    assert_eq!(wrong("(steps"), "has ( without )");
    assert_eq!(wrong("'steps"), "has ' without its end");
    assert_eq!(wrong("steps batch"), "has batch where it should end");
    assert_eq!(wrong("State * 2"), "column State must be a number, not \"finished\"");
    assert_eq!(wrong("1 < 2 < 3"), "compares three things at once: join two comparisons by and");
    assert!(wrong("exec(1)").starts_with("has a function exec, which there is not"));
    assert_eq!(wrong("if(1, 2)"), "gives if 2, which takes 3");
    assert!(wrong("2nd").contains("stands in backticks"));
    assert_eq!(
        wrong("steps and 1"),
        "a condition must be true or false: compare with ==, <, and so on"
    );
    assert!(wrong("a; b").contains("means nothing"));
}

#[test]
fn length_and_depth_are_bounded() {
    assert!(Expression::parse(&"(".repeat(900)).is_err());
    assert!(Expression::parse(&format!("{}1{}", "(".repeat(60), ")".repeat(60))).is_err());
    assert!(Expression::parse(&"1+".repeat(600)).is_err());
    // The longest and the deepest expressions that are allowed.
    assert_eq!(number(&format!("{}1", "1+".repeat(499))), 500.0);
    assert_eq!(number(&format!("{}1{}", "(".repeat(39), ")".repeat(39))), 1.0);
    assert_eq!(number(&format!("{}1", "-".repeat(900))), 1.0);
}
