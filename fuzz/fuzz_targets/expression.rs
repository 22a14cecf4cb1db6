//! Expressions of mappings and conditions: `POST /v1/families/{family}/runs?map=FIELD:EXPRESSION&where=CONDITION`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sparsity_planner::intake::{Expression, OptionTexts, Outcome};

fuzz_target!(|text: &str| {
    if let Ok(expression) = Expression::parse(text) {
        for cell in
            [Outcome::Null, Outcome::Number(2.0), Outcome::Text("7.5".into()), Outcome::Bool(true)]
        {
            let _ = expression
                .evaluate(&|_| cell.clone(), &|text| text.parse().map_err(|_| String::new()));
        }
    }
    let texts = OptionTexts {
        map: vec![text.to_owned()],
        condition: Some(text.to_owned()),
        id: Some(text.to_owned()),
        keep: Some(text.to_owned()),
        ..OptionTexts::default()
    };
    let _ = texts.check();
});
