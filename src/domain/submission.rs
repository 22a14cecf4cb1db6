//! Checks the fields of a submitted run, in whatever format they came.

use std::collections::BTreeMap;
use std::fmt::Write;

use sparsity_law::fit::Observation;
use sparsity_law::law::{Data, Loss, NonzeroParams, Sparsity};

use crate::domain::checks::{Checks, FieldError};
use crate::domain::run::{SubmittedRun, TrainingStart};
use crate::domain::text::{Pattern, check_label, check_reason};

/// Maximum number of tags of a run.
pub const MAX_TAGS: usize = 50;

/// The fields of a run as submitted, unchecked.
#[derive(Debug, Clone)]
pub struct RunFields {
    /// The submitter's name for the run.
    pub external_id: Option<String>,
    /// `N`; may be left out if `total_params` is given.
    pub nonzero_params: Option<f64>,
    /// `N / (1 - S)`; may be left out if `nonzero_params` is given.
    pub total_params: Option<f64>,
    /// `S`, from 0 to 1; may be left out if both sizes are given.
    pub sparsity: Option<f64>,
    /// `D`, in the family's unit.
    pub data: Option<f64>,
    /// `L`.
    pub loss: Option<f64>,
    /// What the run started from.
    pub start: TrainingStart,
    /// Data that the pretrained starting point had been trained on.
    pub pretraining_data: Option<f64>,
    /// Amount of distinct data.
    pub unique_data: Option<f64>,
    /// Structured pattern, such as `2:4`.
    pub pattern: Option<String>,
    /// The submitter's labels.
    pub tags: BTreeMap<String, String>,
    /// Why fits exclude the run.
    pub exclusion_reason: Option<String>,
}

/// Largest relative difference between the two sizes at which they still agree: they may have been rounded for reading.
const SAME_SIZE: f64 = 1e-3;

/// Whether two sizes contradict each other; they may have been rounded differently.
#[must_use]
pub fn sizes_differ(one: f64, other: f64) -> bool {
    (one / other - 1.0).abs() > SAME_SIZE
}

/// Computes `N` from whichever of the two sizes is given, or from both if they agree. Errors go into `checks`, and the
/// result is `None`.
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
        // Both are given, as in a list of runs from the service; they must agree.
        (Some(nonzero), Some(total)) => {
            let density = sparsity?.density().get();
            if sizes_differ(total * density, nonzero) {
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

/// Largest difference at which a run's sparsity agrees with that of its pattern.
const AGREEMENT: f64 = 0.02;

/// Parses a pattern. The error explains a time of day, which spreadsheets turn patterns into.
fn read_pattern(text: &str) -> Result<Pattern, String> {
    Pattern::new(text).map_err(|error| {
        let parts: Vec<&str> = text.trim().split([':', ' ']).collect();
        let numbers = parts.iter().take(3).all(|part| part.parse::<f64>().is_ok());
        // A pattern never starts with a zero, but a time of day may.
        let time = numbers && (parts.len() >= 3 || parts.len() == 2 && text.trim().starts_with('0'));
        if time {
            format!("{error}; {text:?} looks like what a spreadsheet makes of a pattern: format the column as text")
        } else {
            format!("{error}, not {text:?}")
        }
    })
}

/// Refuses a pattern that seems to count zeros rather than the weights that are kept: some tools write `1:4` for one,
/// some for the other. A sparsity below that of the pattern is accepted, because the pattern may cover only a part of
/// the weights.
fn check_agreement(pattern: &Pattern, sparsity: Sparsity, checks: &mut Checks) {
    if counts_zeros(pattern, sparsity) {
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

/// Whether the sparsity agrees with that of the pattern's counterpart, and not with that of the pattern itself.
fn counts_zeros(pattern: &Pattern, sparsity: Sparsity) -> bool {
    let counterpart = 1.0 - pattern.sparsity();
    (counterpart - sparsity.get()).abs() <= AGREEMENT && contradicts(pattern, sparsity)
}

/// Whether the sparsity is not that of the pattern, so that a run which is sent again without a pattern does not keep the
/// stored one. The SQL statement that merges runs applies the same test (`pattern_contradicts` in the schema).
#[must_use]
pub fn contradicts(pattern: &Pattern, sparsity: Sparsity) -> bool {
    (pattern.sparsity() - sparsity.get()).abs() > AGREEMENT
}

fn kept_by(pattern: &Pattern, sparsity: Sparsity) -> String {
    let kept = 100.0 * (1.0 - pattern.sparsity());
    format!(
        "{} keeps {kept:.0} % of the weights here, and the sparsity is {}",
        pattern.as_str(),
        sparsity.get()
    )
}

/// The error of a run that has a new sparsity and no pattern, if the stored pattern contradicts the sparsity.
#[must_use]
pub fn contradiction(pattern: &Pattern, sparsity: Sparsity) -> FieldError {
    let mut detail = format!(
        "would stay {}, and {}: send the pattern beside the sparsity, or an empty one where the zeros have none",
        pattern.as_str(),
        kept_by(pattern, sparsity),
    );
    if counts_zeros(pattern, sparsity) {
        write!(
            detail,
            "; where the stored pattern counts zeros, it is {} here",
            pattern.counterpart()
        )
        .expect("a text takes any length");
    }
    FieldError { pointer: "/pattern".to_owned(), detail }
}

impl RunFields {
    /// Checks the fields and builds the run.
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
        if let (Some(Some(unique)), Some(data)) = (&unique_data, &data) {
            let (unique, data) = (unique.get(), data.get());
            if unique > data && sizes_differ(unique, data) {
                let detail = format!(
                    "must be at most data, of which it is the part that is different: data is {data} here, not {unique} \
                     or more (are the two columns swapped?)"
                );
                checks.refuse("unique_data", detail);
            }
        }
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
        // All of it may be different, and both may have been rounded.
        for unique in [1e9, 1.0005e9] {
            let run = RunFields { unique_data: Some(unique), ..fields() };
            assert!(run.check(Checks::default()).is_ok(), "{unique}");
        }
        let more = RunFields { unique_data: Some(2e9), ..fields() };
        let errors = more.check(Checks::default()).unwrap_err();
        assert!(errors[0].detail.contains("data is 1000000000 here, not 2000000000"), "{errors:?}");
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
