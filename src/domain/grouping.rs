//! From a family's runs to what a fit takes: the runs of the law, of each structured pattern, and
//! of pretrained starts, each with its weight.

use std::collections::BTreeMap;

use sparsity_law::fit::{Observation, Observations, PatternRuns, PretrainedRuns, RunSet};
use sparsity_law::law::{Data, Sparsity};
use uuid::Uuid;

use crate::domain::refit::TagWeight;
use crate::domain::run::{Start, SubmittedRun};

/// Runs in groups.
#[derive(Debug, Clone)]
pub struct GroupedRuns {
    /// The groups.
    pub set: RunSet,
    /// Ids of the runs that the law is fitted on, in canonical order.
    pub ids: Vec<Uuid>,
}

/// Id of a run, and how much of its data is different.
type Named = (Uuid, Option<Data>);

impl GroupedRuns {
    /// Groups runs that may be fitted; those without weight, and pretrained ones with a structured
    /// pattern, belong to no group.
    #[must_use]
    pub fn new(
        runs: impl IntoIterator<Item = (Uuid, SubmittedRun)>,
        weights: &[TagWeight],
    ) -> Self {
        let mut law: Vec<(Named, (Observation, f64))> = Vec::new();
        let mut patterns = BTreeMap::<String, (f64, Vec<(Observation, f64)>)>::new();
        let mut pretrained: Vec<(Option<Data>, (Observation, f64))> = Vec::new();
        for (id, run) in runs {
            let weighted = (run.observation, weight(&run.tags, weights));
            match (run.start, run.pattern) {
                (Start::Scratch, None) => law.push(((id, run.unique_data), weighted)),
                (Start::Scratch, Some(pattern)) => patterns
                    .entry(pattern.as_str().to_owned())
                    .or_insert_with(|| (pattern.sparsity(), Vec::new()))
                    .1
                    .push(weighted),
                (Start::Pretrained, None) => pretrained.push((run.pretraining_data, weighted)),
                (Start::Pretrained, Some(_)) => {}
            }
        }
        let (named, law) = ordered(law);
        let (ids, unique): (Vec<Uuid>, Vec<Option<Data>>) = named.into_iter().unzip();
        let unique = if unique.iter().all(Option::is_none) { Vec::new() } else { unique };
        let patterns = patterns.into_iter().filter_map(|(name, (sparsity, runs))| {
            let nominal = Sparsity::new(sparsity).expect("a pattern keeps some of its parameters");
            let runs = Observations::weighted(runs);
            (!runs.is_empty()).then_some(PatternRuns { name, nominal, runs })
        });
        let patterns = patterns.collect();
        let (pretraining_data, runs) = ordered(pretrained);
        let pretrained = (!runs.is_empty()).then_some(PretrainedRuns { runs, pretraining_data });
        Self { set: RunSet { law, patterns, pretrained, unique }, ids }
    }
}

/// Runs in canonical order, and what came with each in the same order.
fn ordered<T: Copy>(rows: Vec<(T, (Observation, f64))>) -> (Vec<T>, Observations) {
    let (with, runs): (Vec<T>, Vec<(Observation, f64)>) = rows.into_iter().unzip();
    let runs = Observations::weighted(runs);
    (runs.order().iter().map(|place| with[*place]).collect(), runs)
}

/// The product of the weights whose tags the run has.
fn weight(tags: &BTreeMap<String, String>, weights: &[TagWeight]) -> f64 {
    weights
        .iter()
        .filter(|entry| tags.get(&entry.tag) == Some(&entry.value))
        .map(|entry| entry.weight)
        .product()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::text::Pattern;
    use sparsity_law::law::{Loss, NonzeroParams};

    fn run(n: f64, start: Start, pattern: Option<&str>, tag: &str) -> SubmittedRun {
        SubmittedRun {
            external_id: n.to_string(),
            observation: Observation {
                nonzero_params: NonzeroParams::new(n).unwrap(),
                sparsity: Sparsity::new(0.5).unwrap(),
                data: Data::new(1e9).unwrap(),
                loss: Loss::new(3.0).unwrap(),
            },
            start,
            pretraining_data: (start == Start::Pretrained).then(|| Data::new(n).unwrap()),
            unique_data: (tag == "poor").then(|| Data::new(1e8).unwrap()),
            pattern: pattern.map(|pattern| Pattern::new(pattern).unwrap()),
            tags: BTreeMap::from([("quality".to_owned(), tag.to_owned())]),
            exclusion_reason: None,
        }
    }

    #[test]
    fn runs_go_to_the_group_that_they_tell_about() {
        let runs = [
            run(5.0, Start::Scratch, None, "good"),
            run(4.0, Start::Scratch, None, "poor"),
            run(3.0, Start::Scratch, None, "broken"),
            run(2.0, Start::Scratch, Some("2:4"), "good"),
            run(9.0, Start::Pretrained, None, "good"),
            run(8.0, Start::Pretrained, None, "good"),
            run(1.0, Start::Pretrained, Some("2:4"), "good"),
        ];
        let ids: Vec<Uuid> = (0..runs.len()).map(|i| Uuid::from_u128(i as u128)).collect();
        let entry = |value: &str, weight| TagWeight {
            tag: "quality".to_owned(),
            value: value.to_owned(),
            weight,
        };
        let weights = [entry("poor", 0.5), entry("broken", 0.0)];
        let grouped = GroupedRuns::new(ids.iter().copied().zip(runs), &weights);
        assert_eq!(grouped.ids, [ids[1], ids[0]]);
        assert_eq!(grouped.set.law.weights(), [0.5, 1.0]);
        assert_eq!(grouped.set.unique, [Some(Data::new(1e8).unwrap()), None]);
        let [pattern] = grouped.set.patterns.as_slice() else { panic!("one pattern") };
        assert_eq!((pattern.name.as_str(), pattern.nominal.get()), ("2:4", 0.5));
        let pretrained = grouped.set.pretrained.unwrap();
        let data: Vec<f64> =
            pretrained.pretraining_data.iter().flatten().map(|d| d.get()).collect();
        assert_eq!(data, [8.0, 9.0]);
    }
}
