//! Reading options as texts, spelt the same in a query string and on the command line.

use std::collections::BTreeMap;

use crate::domain::checks::{Checks, FieldError};
use crate::domain::mapping::MappingSettings;
use crate::intake::column_options::{
    AbsentFields, ColumnOptions, IdOption, RowChoice, SparsityUnit, Tracker,
};
use crate::intake::columns::Columns;
use crate::intake::dialect::Separator;
use crate::intake::field::Field;
use crate::intake::numbers::Decimal;

/// The options of an input as the caller wrote them, not yet parsed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OptionTexts {
    /// Options stored under a name. Options given beside it take precedence: field by field for `map` and `scale`, as a
    /// whole for all others.
    pub kept: MappingSettings,
    /// `FIELD:EXPRESSION`; each text holds one mapping, or several separated by commas.
    pub map: Vec<String>,
    /// `FIELD:FACTOR,FIELD:FACTOR`.
    pub scale: Vec<String>,
    /// `COLUMN,COLUMN`.
    pub tag_columns: Vec<String>,
    /// `fraction` or `percent`.
    pub sparsity_unit: Option<String>,
    /// Name of the tracker that exported the table.
    pub source: Option<String>,
    /// `COLUMN,COLUMN` or `content`.
    pub id: Option<String>,
    /// Whether runs without a name get one from their content if `id` is not given.
    pub names_optional: bool,
    /// Condition that a row must meet to be read as a run.
    pub condition: Option<String>,
    /// `last:COLUMN`, `first:COLUMN`, `min:COLUMN` or `max:COLUMN`.
    pub keep: Option<String>,
    /// Separator between cells, or `tab`.
    pub separator: Option<String>,
    /// Decimal mark, or `comma` or `point`.
    pub decimal: Option<String>,
    /// `TEXT,TEXT`.
    pub null: Option<String>,
    /// Name of a sheet.
    pub sheet: Option<String>,
    /// `keep` or `clear`.
    pub absent: Option<String>,
}

impl OptionTexts {
    /// Parses and checks the options.
    ///
    /// # Errors
    /// Everything that is wrong, each under the name of the option.
    pub fn check(&self) -> Result<Columns, Vec<FieldError>> {
        let mut checks = Checks::default();
        let mut map = Vec::new();
        for item in self.map.iter().flat_map(|text| items(text)) {
            match item.split_once(':') {
                Some((field, text)) => map.push((field.trim().to_owned(), text.to_owned())),
                None => checks.refuse("map", format!("must be FIELD:EXPRESSION, not {item}")),
            }
        }
        let kept = &self.kept;
        map.extend(beside(&map, &kept.map));
        let mut scale = Vec::new();
        for item in self.scale.iter().flat_map(|text| text.split(',')) {
            let Some((field, factor)) = item.split_once(':') else {
                checks.refuse("scale", format!("must be FIELD:FACTOR, not {item}"));
                continue;
            };
            let number = factor.trim().parse().map_err(|_| format!("{factor} is no number"));
            scale.extend(
                checks.take("scale", number).map(|factor: f64| (field.trim().to_owned(), factor)),
            );
        }
        scale.extend(beside(&scale, &kept.scale));
        let said = |given: &'_ Option<String>, kept: &'_ Option<String>| {
            given.clone().or_else(|| kept.clone())
        };
        let id = said(&self.id, &kept.id).map(|text| match text.trim() {
            "content" => IdOption::Content,
            columns => IdOption::Columns(listed(columns)),
        });
        let id = id.or_else(|| self.names_optional.then_some(IdOption::FieldOrContent));
        let keep = said(&self.keep, &kept.keep).and_then(|text| {
            let (choice, column) = text.split_once(':').unwrap_or((&text, ""));
            let choice = match choice.trim() {
                "last" | "max" => Some(RowChoice::Last),
                "first" | "min" => Some(RowChoice::First),
                _ => None,
            };
            match (choice, column.trim().trim_matches('`')) {
                (Some(choice), column) if !column.is_empty() => Some((choice, column.to_owned())),
                _ => {
                    let detail = "must be last:COLUMN, first:COLUMN, min:COLUMN or max:COLUMN";
                    checks.refuse("keep", format!("{detail}, not {text}"));
                    None
                }
            }
        });
        let separator = said(&self.separator, &kept.separator).and_then(|text| {
            let found = Separator::parse(&text);
            checks.take("separator", found.ok_or("must be a comma, a semicolon, a bar or tab"))
        });
        let decimal = said(&self.decimal, &kept.decimal).and_then(|text| {
            let found = match text.as_str() {
                "." | "point" => Ok(Decimal::Point),
                "," | "comma" => Ok(Decimal::Comma),
                _ => Err("must be a point or a comma"),
            };
            checks.take("decimal", found)
        });
        let source = said(&self.source, &kept.source).and_then(|text| {
            let found = Tracker::of_name(&text);
            let known = Tracker::ALL.map(Tracker::as_str).join(", ");
            checks
                .take("source", found.ok_or_else(|| format!("must be one of {known}, not {text}")))
        });
        let sparsity_unit = said(&self.sparsity_unit, &kept.sparsity_unit).and_then(|text| {
            let found = SparsityUnit::of_name(&text);
            let wrong = || format!("must be fraction or percent, not {text}");
            checks.take("sparsity_unit", found.ok_or_else(wrong))
        });
        let absent = said(&self.absent, &kept.absent).and_then(|text| {
            let found = AbsentFields::of_name(&text);
            checks.take("absent", found.ok_or_else(|| format!("must be keep or clear, not {text}")))
        });
        let mut tag_columns: Vec<String> =
            self.tag_columns.iter().flat_map(|text| listed(text)).collect();
        if tag_columns.is_empty() {
            tag_columns.clone_from(&kept.tag_columns);
        }
        let nulls = self.null.as_ref().map(|text| text.split(',').map(str::to_owned).collect());
        let options = ColumnOptions {
            source,
            map,
            scale,
            tag_columns,
            sparsity_unit: sparsity_unit.unwrap_or_default(),
            id,
            condition: said(&self.condition, &kept.condition),
            keep,
            separator,
            decimal,
            nulls: nulls.or_else(|| kept.null.clone()),
            sheet: said(&self.sheet, &kept.sheet),
            absent: absent.unwrap_or_default(),
        };
        let columns = checks.absorb(options.check());
        checks.finish(columns)
    }
}

/// The stored values of those fields for which no value is given.
fn beside<T: Clone>(given: &[(String, T)], kept: &BTreeMap<String, T>) -> Vec<(String, T)> {
    let silent = kept.iter().filter(|(field, _)| !given.iter().any(|(other, _)| other == *field));
    silent.map(|(field, value)| (field.clone(), value.clone())).collect()
}

/// Splits a list of column names separated by commas; each name may be in backticks.
fn listed(text: &str) -> Vec<String> {
    outside(text, ',').map(|name| name.trim().trim_matches('`').to_owned()).collect()
}

/// Splits a text into mappings. A comma starts a new mapping if the name of a field and a colon follow it, so
/// `loss:val_loss,data:tokens` is two mappings, and `loss:min(a,b)` is one.
fn items(text: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for part in outside(text, ',') {
        let begins = part.split_once(':').is_some_and(|(field, _)| {
            Field::ALL.into_iter().any(|known| known.as_str() == field.trim())
        });
        match items.last_mut() {
            Some(last) if !begins && !part.contains(':') => {
                last.push(',');
                last.push_str(part);
            }
            _ => items.push(part.to_owned()),
        }
    }
    items
}

/// Splits a text at those marks that are outside quotes and parentheses.
fn outside(text: &str, mark: char) -> impl Iterator<Item = &str> {
    let (mut quote, mut depth) = (None, 0_u32);
    text.split(move |c: char| {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"' | '`') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, c) if c == mark && depth == 0 => return true,
            _ => {}
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_begins_another_mapping_where_a_field_follows() {
        assert_eq!(items("loss:val_loss,data:tokens"), ["loss:val_loss", "data:tokens"]);
        assert_eq!(items("loss:min(a,b),data:`a,b`"), ["loss:min(a,b)", "data:`a,b`"]);
        assert_eq!(items("pattern:'2:4',sparsity:0"), ["pattern:'2:4'", "sparsity:0"]);
        assert_eq!(items("loss:a,wrong:b"), ["loss:a", "wrong:b"]);
    }

    #[test]
    fn every_wrong_option_is_named() {
        let texts = OptionTexts {
            map: vec!["loss".into(), "speed:a".into(), "loss:(".into()],
            keep: Some("best:a".into()),
            separator: Some("x".into()),
            decimal: Some(";".into()),
            source: Some("excel".into()),
            condition: Some("a ==".into()),
            ..OptionTexts::default()
        };
        let errors = texts.check().unwrap_err();
        let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(
            pointers,
            ["/map", "/keep", "/separator", "/decimal", "/source", "/map", "/map", "/where"]
        );
    }
}
