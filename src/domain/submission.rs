//! From the fields of a submitted run, whatever they came in, to a checked run.

use std::collections::BTreeMap;

use sparsity_law::fit::Observation;
use sparsity_law::law::{Data, Loss, NonzeroParams, Sparsity};

use crate::domain::checks::{Checks, FieldError};
use crate::domain::run::{SubmittedRun, TrainingStart};
use crate::domain::text::{Pattern, check_label, check_reason};

/// The most tags of a run.
pub const MAX_TAGS: usize = 50;

/// Fields of a run as they were given.
#[derive(Debug, Clone)]
pub struct RunFields {
    /// The submitter's name of the run.
    pub external_id: Option<String>,
    /// `N`, or else `total_params`.
    pub nonzero_params: Option<f64>,
    /// `N / (1 - S)`, or else `nonzero_params`.
    pub total_params: Option<f64>,
    /// `S`, or else both sizes.
    pub sparsity: Option<f64>,
    /// `D`.
    pub data: Option<f64>,
    /// `L`.
    pub loss: Option<f64>,
    /// What the run started from.
    pub start: TrainingStart,
    /// Data that a pretrained start had seen.
    pub pretraining_data: Option<f64>,
    /// How much of the data is different.
    pub unique_data: Option<f64>,
    /// Structured pattern.
    pub pattern: Option<String>,
    /// Labels.
    pub tags: BTreeMap<String, String>,
    /// Why fits leave the run out.
    pub exclusion_reason: Option<String>,
}

/// How far two sizes that say the same may differ, relative: they may have been rounded for people.
const SAME_SIZE: f64 = 1e-3;

/// `N` out of one of the two sizes that are asked for, or out of both where they agree.
pub fn check_size(
    nonzero_params: Option<f64>,
    total_params: Option<f64>,
    sparsity: Option<Sparsity>,
    checks: &mut Checks,
) -> Option<NonzeroParams> {
    match (nonzero_params, total_params) {
        (Some(nonzero), None) => checks.take("nonzero_params", NonzeroParams::new(nonzero)),
        (None, Some(total)) => sparsity.and_then(|sparsity| {
            let nonzero = NonzeroParams::new(total * sparsity.density().get());
            checks.take("total_params", nonzero.map_err(|e| format!("times the density {e}")))
        }),
        // Both, as a list of runs has them: one says what the other says.
        (Some(nonzero), Some(total)) => {
            let density = sparsity?.density().get();
            if (total * density / nonzero - 1.0).abs() > SAME_SIZE {
                let detail = format!(
                    "must be nonzero_params / (1 - sparsity), which is {}, or not given beside it, not {total}",
                    nonzero / density
                );
                checks.refuse("total_params", detail);
                return None;
            }
            checks.take("nonzero_params", NonzeroParams::new(nonzero))
        }
        (None, None) => {
            if !checks.has("nonzero_params") && !checks.has("total_params") {
                checks.refuse("nonzero_params", "must be given, or total_params in its place");
            }
            None
        }
    }
}

/// How far a run's sparsity may lie from that of its pattern before the two are held not to agree.
const AGREEMENT: f64 = 0.02;

/// A pattern; a time of day is what spreadsheets make of one.
fn read_pattern(text: &str) -> Result<Pattern, String> {
    Pattern::new(text).map_err(|error| {
        let parts: Vec<&str> = text.trim().split([':', ' ']).collect();
        let numbers = parts.iter().take(3).all(|part| part.parse::<f64>().is_ok());
        // No pattern begins with a zero, and a time of day does.
        let time = numbers && (parts.len() >= 3 || parts.len() == 2 && text.trim().starts_with('0'));
        if time {
            format!("{error}; {text:?} looks like what a spreadsheet makes of a pattern: format the column as text")
        } else {
            format!("{error}, not {text:?}")
        }
    })
}

/// Refuses a pattern that counts zeros where others count what is kept: tools of both kinds write `1:4`. A sparsity
/// below that of the pattern is none of these, as a part of the weights may have no pattern.
fn check_agreement(pattern: &Pattern, sparsity: Sparsity, checks: &mut Checks) {
    if contradicts(pattern, sparsity) {
        checks.refuse(
            "pattern",
            format!(
                "{}: where the pattern counts zeros, as some tools write it, it is {} here",
                kept_by(pattern, sparsity),
                pattern.counterpart()
            ),
        );
    }
}

/// Whether a pattern keeps as many as are said to be zero, and not the other way round. The statement that merges runs
/// asks the same of a pattern that stays (`pattern_contradicts` of the schema).
#[must_use]
pub fn contradicts(pattern: &Pattern, sparsity: Sparsity) -> bool {
    let (own, given) = (pattern.sparsity(), sparsity.get());
    let agrees = |with: f64| (with - given).abs() <= AGREEMENT;
    agrees(1.0 - own) && !agrees(own)
}

fn kept_by(pattern: &Pattern, sparsity: Sparsity) -> String {
    let kept = 100.0 * (1.0 - pattern.sparsity());
    format!(
        "{} keeps {kept:.0} % of the weights here, and the sparsity is {}",
        pattern.as_str(),
        sparsity.get()
    )
}

/// What is wrong with a run that brings a new sparsity and no pattern, where the stored pattern contradicts it.
#[must_use]
pub fn contradiction(pattern: &Pattern, sparsity: Sparsity) -> FieldError {
    let detail = format!(
        "would stay {}, and {}: send the pattern beside the sparsity, which is {} where the stored one counts zeros, or \
         an empty one where the zeros have none",
        pattern.as_str(),
        kept_by(pattern, sparsity),
        pattern.counterpart()
    );
    FieldError { pointer: "/pattern".to_owned(), detail }
}

impl RunFields {
    /// The checked run.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn check(self, mut checks: Checks) -> Result<SubmittedRun, Vec<FieldError>> {
        let external_id = checks.require("external_id", self.external_id);
        let external_id =
            external_id.filter(|id| checks.take("external_id", check_label(id)).is_some());
        let sparsity = match (self.sparsity, self.nonzero_params, self.total_params) {
            (None, Some(nonzero), Some(total)) if !checks.has("sparsity") => {
                let sparsity = Sparsity::new(1.0 - nonzero / total);
                if sparsity.is_err() {
                    let detail =
                        format!("must be at least nonzero_params, which is {nonzero}, not {total}");
                    checks.refuse("total_params", detail);
                }
                sparsity.ok()
            }
            (given, ..) => {
                let given = checks.require("sparsity", given);
                given.and_then(|value| checks.take("sparsity", Sparsity::new(value)))
            }
        };
        let data = checks.require("data", self.data);
        let data = data.and_then(|value| checks.take("data", Data::new(value)));
        let loss = checks.require("loss", self.loss);
        let loss = loss.and_then(|value| checks.take("loss", Loss::new(value)));
        let nonzero_params =
            check_size(self.nonzero_params, self.total_params, sparsity, &mut checks);
        let pattern = self.pattern.as_deref().map(|p| checks.take("pattern", read_pattern(p)));
        if let (Some(Some(pattern)), Some(sparsity)) = (&pattern, sparsity) {
            check_agreement(pattern, sparsity, &mut checks);
        }
        let pretraining_data =
            self.pretraining_data.map(|data| checks.take("pretraining_data", Data::new(data)));
        let unique_data = self.unique_data.map(|data| checks.take("unique_data", Data::new(data)));
        if pretraining_data.is_some() && self.start == TrainingStart::Scratch {
            checks.refuse("pretraining_data", "belongs to a run whose start is pretrained");
        }
        if self.tags.len() > MAX_TAGS {
            checks.refuse("tags", format!("must be at most {MAX_TAGS}, not {}", self.tags.len()));
        }
        for (key, value) in &self.tags {
            checks.take("tags", check_label(key).map_err(|e| format!("keys {e}")));
            checks.take("tags", check_label(value).map_err(|e| format!("values {e}")));
        }
        if let Some(reason) = &self.exclusion_reason {
            checks.take("exclusion_reason", check_reason(reason));
        }
        let observation = || {
            Some(Observation {
                nonzero_params: nonzero_params?,
                sparsity: sparsity?,
                data: data?,
                loss: loss?,
            })
        };
        let run = observation().zip(external_id).map(|(observation, external_id)| SubmittedRun {
            external_id,
            observation,
            start: self.start,
            pretraining_data: pretraining_data.flatten(),
            unique_data: unique_data.flatten(),
            pattern: pattern.flatten(),
            tags: self.tags,
            exclusion_reason: self.exclusion_reason,
        });
        checks.finish(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> RunFields {
        RunFields {
            external_id: Some("a".into()),
            nonzero_params: Some(1e6),
            total_params: None,
            sparsity: Some(0.5),
            data: Some(1e9),
            loss: Some(3.0),
            start: TrainingStart::Scratch,
            pretraining_data: None,
            unique_data: None,
            pattern: None,
            tags: BTreeMap::new(),
            exclusion_reason: None,
        }
    }

    fn wrong(fields: RunFields) -> Vec<String> {
        let errors = fields.check(Checks::default()).unwrap_err();
        errors.into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn total_parameters_become_non_zero_ones() {
        let run = RunFields { nonzero_params: None, total_params: Some(2e6), ..fields() };
        let run = run.check(Checks::default()).unwrap();
        assert_eq!(run.observation.nonzero_params.get(), 1e6);
    }

    #[test]
    fn both_sizes_say_the_sparsity() {
        let both = RunFields { total_params: Some(8e6), sparsity: None, ..fields() };
        assert_eq!(both.check(Checks::default()).unwrap().observation.sparsity.get(), 0.875);
        let less = RunFields { total_params: Some(9e5), sparsity: None, ..fields() };
        assert_eq!(wrong(less), ["/total_params"]);
        assert_eq!(wrong(RunFields { sparsity: None, ..fields() }), ["/sparsity"]);
    }

    #[test]
    fn one_of_the_two_sizes_is_given() {
        assert!(RunFields { total_params: Some(2e6), ..fields() }.check(Checks::default()).is_ok());
        assert_eq!(wrong(RunFields { total_params: Some(3e6), ..fields() }), ["/total_params"]);
        assert_eq!(wrong(RunFields { nonzero_params: None, ..fields() }), ["/nonzero_params"]);
    }

    #[test]
    fn only_a_pretrained_start_has_pretraining_behind_it() {
        let data = Some(1e9);
        assert_eq!(wrong(RunFields { pretraining_data: data, ..fields() }), ["/pretraining_data"]);
        let run =
            RunFields { start: TrainingStart::Pretrained, pretraining_data: data, ..fields() };
        assert_eq!(run.check(Checks::default()).unwrap().pretraining_data.unwrap().get(), 1e9);
        let run = RunFields {
            start: TrainingStart::Pretrained,
            pretraining_data: Some(-1.0),
            ..fields()
        };
        assert_eq!(wrong(run), ["/pretraining_data"]);
    }

    #[test]
    fn data_may_be_seen_more_than_once() {
        let run = RunFields { unique_data: Some(2.5e8), ..fields() };
        assert_eq!(run.check(Checks::default()).unwrap().unique_data.unwrap().get(), 2.5e8);
        assert_eq!(wrong(RunFields { unique_data: Some(0.0), ..fields() }), ["/unique_data"]);
    }

    #[test]
    fn tags_are_limited() {
        let tags = |count: usize| (0..count).map(|i| (i.to_string(), "x".into())).collect();
        let run = RunFields { tags: tags(MAX_TAGS), ..fields() };
        assert!(run.check(Checks::default()).is_ok());
        assert_eq!(wrong(RunFields { tags: tags(MAX_TAGS + 1), ..fields() }), ["/tags"]);
    }

    #[test]
    fn a_time_of_day_in_the_place_of_a_pattern_is_explained() {
        for text in ["02:04:00 AM", "02:04", "16:32:00", "16:32:00.000000000", "2:04:00"] {
            let error = read_pattern(text).unwrap_err();
            assert!(error.contains("what a spreadsheet makes of a pattern"), "{error}");
        }
        for text in ["4:2", "a:b", "2:4:x", "none"] {
            let error = read_pattern(text).unwrap_err();
            assert!(!error.contains("spreadsheet"), "{error}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_named() {
        let run = RunFields {
            external_id: Some("a\0".into()),
            sparsity: Some(50.0),
            loss: Some(f64::NAN),
            pattern: Some("4:2".into()),
            tags: BTreeMap::from([(String::new(), "x".into())]),
            ..fields()
        };
        assert_eq!(wrong(run), ["/external_id", "/sparsity", "/loss", "/pattern", "/tags"]);
    }
}
