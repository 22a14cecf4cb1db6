//! From a family's runs to what a fit takes: the runs of the law, of each structured pattern, and
//! of pretrained starts, each with its weight.

use std::collections::{BTreeMap, HashMap};

use sparsity_law::fit::{Observation, Observations, PatternRuns, PretrainedRuns, RunSet};
use sparsity_law::law::{Data, Sparsity};
use uuid::Uuid;

use crate::domain::law::StoredWarning;
use crate::domain::refit::TagWeight;
use crate::domain::run::{Start, SubmittedRun};

/// Runs in groups.
#[derive(Debug, Clone)]
pub struct GroupedRuns {
    /// The groups.
    pub set: RunSet,
    /// Ids of the runs that the law is fitted on, in canonical order.
    pub ids: Vec<Uuid>,
    /// How many of these lack the tag by which they are resampled.
    pub untagged: usize,
}

/// Of a run its cluster, its id, and how much of its data is different.
type Named = (Option<u32>, (Uuid, Option<Data>));
/// A run and its weight, with its cluster.
type Clustered = (Option<u32>, (Observation, f64));
/// Of a pretrained run its cluster, and how much data it was pretrained on.
type Trained = (Option<u32>, Option<Data>);

impl GroupedRuns {
    /// Groups runs that may be fitted; those without weight, and pretrained ones with a structured
    /// pattern, belong to no group. With the key of a tag for `cluster`, those of one value are resampled together.
    #[must_use]
    pub fn new(
        runs: impl IntoIterator<Item = (Uuid, SubmittedRun)>,
        weights: &[TagWeight],
        cluster: Option<&str>,
    ) -> Self {
        let mut clusters = Clusters::new(cluster);
        let mut law: Vec<(Named, (Observation, f64))> = Vec::new();
        let mut patterns = BTreeMap::<String, (f64, Vec<Clustered>)>::new();
        let mut pretrained: Vec<(Trained, (Observation, f64))> = Vec::new();
        for (id, run) in runs {
            let weighted = (run.observation, weight(&run.tags, weights));
            let cluster = clusters.of(&run.tags);
            match (run.start, run.pattern) {
                (Start::Scratch, None) => law.push(((cluster, (id, run.unique_data)), weighted)),
                (Start::Scratch, Some(pattern)) => patterns
                    .entry(pattern.as_str().to_owned())
                    .or_insert_with(|| (pattern.sparsity(), Vec::new()))
                    .1
                    .push((cluster, weighted)),
                (Start::Pretrained, None) => {
                    pretrained.push(((cluster, run.pretraining_data), weighted));
                }
                (Start::Pretrained, Some(_)) => {}
            }
        }
        let (named, law) = clusters.ordered(law, |named| named.0);
        let untagged = if cluster.is_some() {
            named.iter().filter(|(cluster, _)| cluster.is_none()).count()
        } else {
            0
        };
        let (ids, unique): (Vec<Uuid>, Vec<Option<Data>>) =
            named.into_iter().map(|(_, named)| named).unzip();
        let unique = if unique.iter().all(Option::is_none) { Vec::new() } else { unique };
        let patterns = patterns.into_iter().filter_map(|(name, (sparsity, runs))| {
            let nominal = Sparsity::new(sparsity).expect("a pattern keeps some of its parameters");
            let (_, runs) = clusters.ordered(runs, |cluster| *cluster);
            (!runs.is_empty()).then_some(PatternRuns { name, nominal, runs })
        });
        let patterns = patterns.collect();
        let (with, runs) = clusters.ordered(pretrained, |(cluster, _)| *cluster);
        let pretraining_data = with.into_iter().map(|(_, data)| data).collect();
        let pretrained = (!runs.is_empty()).then_some(PretrainedRuns { runs, pretraining_data });
        Self { set: RunSet { law, patterns, pretrained, unique }, ids, untagged }
    }

    /// What is said of runs that lack the tag by which they are resampled; `None` where all have it.
    #[must_use]
    pub fn untagged_warning(untagged: usize, cluster: Option<&str>) -> Option<StoredWarning> {
        let cluster = cluster.filter(|_| untagged > 0)?;
        let detail = format!(
            "{untagged} of the runs have no tag {cluster}, by which the others are resampled together: each of them \
             counts by itself"
        );
        Some(StoredWarning { code: "untagged_runs".to_owned(), detail })
    }
}

/// The clusters of runs, by the values of a tag.
struct Clusters<'a> {
    tag: Option<&'a str>,
    /// Of each value its number.
    known: HashMap<String, u32>,
}

impl<'a> Clusters<'a> {
    fn new(tag: Option<&'a str>) -> Self {
        Self { tag, known: HashMap::new() }
    }

    /// The number of a run's cluster; `None` where it is one by itself.
    fn of(&mut self, tags: &BTreeMap<String, String>) -> Option<u32> {
        let value = tags.get(self.tag?)?;
        if let Some(number) = self.known.get(value) {
            return Some(*number);
        }
        // Fewer than there are runs in memory.
        let number = u32::try_from(self.known.len()).expect("runs are limited to far fewer");
        self.known.insert(value.clone(), number);
        Some(number)
    }

    /// Runs in canonical order, and what came with each in the same order.
    fn ordered<T: Copy>(
        &self,
        mut rows: Vec<(T, (Observation, f64))>,
        cluster: impl Fn(&T) -> Option<u32>,
    ) -> (Vec<T>, Observations) {
        if self.tag.is_some() {
            // Of runs that are alike in all that is measured the order must not be that of their arrival.
            let mut names: Vec<(&str, u32)> =
                self.known.iter().map(|(name, number)| (name.as_str(), *number)).collect();
            names.sort_unstable();
            let mut ranks = vec![0; names.len()];
            for (rank, (_, number)) in names.iter().enumerate() {
                ranks[*number as usize] = rank;
            }
            rows.sort_by_key(|(with, _)| cluster(with).map(|number| ranks[number as usize]));
        }
        let (with, runs): (Vec<T>, Vec<(Observation, f64)>) = rows.into_iter().unzip();
        let runs = Observations::weighted(runs);
        let with: Vec<T> = runs.order().iter().map(|place| with[*place]).collect();
        if self.tag.is_none() {
            return (with, runs);
        }
        let clusters: Vec<_> = with.iter().map(cluster).collect();
        let runs = runs.clustered(&clusters);
        (with, runs)
    }
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
        let grouped = GroupedRuns::new(ids.iter().copied().zip(runs), &weights, None);
        assert_eq!(grouped.ids, [ids[1], ids[0]]);
        assert_eq!(grouped.set.law.weights(), [0.5, 1.0]);
        assert_eq!(grouped.set.unique, [Some(Data::new(1e8).unwrap()), None]);
        let [pattern] = grouped.set.patterns.as_slice() else { panic!("one pattern") };
        assert_eq!((pattern.name.as_str(), pattern.nominal.get()), ("2:4", 0.5));
        let pretrained = grouped.set.pretrained.unwrap();
        let data: Vec<f64> =
            pretrained.pretraining_data.iter().flatten().map(|d| d.get()).collect();
        assert_eq!(data, [8.0, 9.0]);
        assert_eq!((grouped.set.law.clusters(), grouped.untagged), (None, 0));
    }

    #[test]
    fn runs_of_one_tag_are_resampled_together_whatever_order_they_come_in() {
        let mut runs = vec![
            run(5.0, Start::Scratch, None, "b"),
            run(4.0, Start::Scratch, None, "a"),
            run(4.0, Start::Scratch, None, "b"),
            run(3.0, Start::Scratch, None, "a"),
            run(2.0, Start::Scratch, Some("2:4"), "a"),
            run(9.0, Start::Pretrained, None, "b"),
        ];
        let mut untagged = run(6.0, Start::Scratch, None, "");
        untagged.tags.clear();
        runs.push(untagged);
        let group = |runs: &[SubmittedRun]| {
            let named = runs.iter().map(|run| (Uuid::nil(), run.clone()));
            GroupedRuns::new(named, &[], Some("quality"))
        };
        let grouped = group(&runs);
        assert_eq!(grouped.set.law.clusters(), Some([0, 0, 1, 1, 2].as_slice()));
        assert_eq!((grouped.set.law.cluster_count(), grouped.untagged), (3, 1));
        assert_eq!(grouped.set.patterns[0].runs.cluster_count(), 1);
        runs.reverse();
        assert_eq!(group(&runs).set.law.clusters(), grouped.set.law.clusters());
        let warning = GroupedRuns::untagged_warning(1, Some("quality")).unwrap();
        assert!(warning.detail.starts_with("1 of the runs have no tag quality"));
        assert_eq!(GroupedRuns::untagged_warning(0, Some("quality")), None);
        let other = GroupedRuns::new([(Uuid::nil(), runs[0].clone())], &[], Some("sweep"));
        assert_eq!((other.set.law.cluster_count(), other.untagged), (1, 1));
    }
}
