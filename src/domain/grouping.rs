//! Groups the runs of a family for a fit: the runs that the law is fitted on, those of each structured pattern, and
//! those from pretrained starts, each run with its weight.

use std::collections::{BTreeMap, HashMap};

use sparsity_law::fit::{
    Observation, Observations, PatternRuns, PretrainedRuns, RunSet, SmallLevel,
};
use sparsity_law::law::{Data, LawForm, Sparsity};
use uuid::Uuid;

use crate::domain::law::StoredWarning;
use crate::domain::refit::{LevelsBy, RefitOptions, TagWeight};
use crate::domain::run::{SubmittedRun, TrainingStart};
use crate::domain::text::Pattern;

/// The runs of a family, grouped for a fit.
#[derive(Debug, Clone)]
pub struct GroupedRuns {
    /// The runs, in groups.
    pub set: RunSet,
    /// Ids of the runs that the law is fitted on, in canonical order.
    pub ids: Vec<Uuid>,
    /// Number of those runs that lack the tag by which runs are resampled.
    pub untagged: usize,
    /// Levels of sparsity that are left out of a law of levels because they have too few runs.
    pub small_levels: Vec<SmallLevel>,
}

/// A run's cluster, and beside it: the run's id, its amount of distinct data, and the index of the name that
/// distinguishes it from other runs of the same sparsity.
type Named = (Option<u32>, (Uuid, Option<Data>, Option<u32>));
/// A run's cluster, and the run with its weight.
type Clustered = (Option<u32>, (Observation, f64));
/// A pretrained run's cluster, and the amount of data that it was pretrained on.
type Trained = (Option<u32>, Option<Data>);

impl GroupedRuns {
    /// Groups the runs that may be fitted. Runs of weight 0, and pretrained ones with a structured pattern, belong to
    /// no group.
    ///
    /// If `cluster` names a tag, runs with the same value of that tag are resampled together. For a law of levels that
    /// distinguishes runs by pattern, runs with a pattern belong to the law; the runs of levels with too few runs are
    /// left out.
    #[must_use]
    pub fn new(
        runs: impl IntoIterator<Item = (Uuid, SubmittedRun)>,
        options: &RefitOptions,
    ) -> Self {
        let RefitOptions { weights, cluster, form, levels, .. } = options;
        let cluster = cluster.as_deref();
        let mut clusters = Clusters::new(cluster);
        let mut names = Names::default();
        let mut law: Vec<(Named, (Observation, f64))> = Vec::new();
        let mut patterns = BTreeMap::<String, (f64, Vec<Clustered>)>::new();
        let mut pretrained: Vec<(Trained, (Observation, f64))> = Vec::new();
        for (id, run) in runs {
            let weighted = (run.observation, weight(&run.tags, weights));
            let cluster = clusters.of(&run.tags);
            let name = match levels {
                None => None,
                Some(LevelsBy::Pattern) => run.pattern.as_ref().map(Pattern::as_str),
                Some(LevelsBy::Tag(tag)) => run.tags.get(tag).map(String::as_str),
            };
            let name = name.map(|name| names.place(name));
            // If patterns name the levels, runs with a pattern belong to the law.
            let of_law = run.start == TrainingStart::Scratch && *levels == Some(LevelsBy::Pattern);
            match (run.start, run.pattern.filter(|_| !of_law)) {
                (TrainingStart::Scratch, None) => {
                    law.push(((cluster, (id, run.unique_data, name)), weighted));
                }
                (TrainingStart::Scratch, Some(pattern)) => patterns
                    .entry(pattern.as_str().to_owned())
                    .or_insert_with(|| (pattern.sparsity(), Vec::new()))
                    .1
                    .push((cluster, weighted)),
                (TrainingStart::Pretrained, None) => {
                    pretrained.push(((cluster, run.pretraining_data), weighted));
                }
                (TrainingStart::Pretrained, Some(_)) => {}
            }
        }
        if levels.is_some() {
            // Runs with equal measurements must not be ordered by when they arrived.
            let ranks = names.ranks();
            law.sort_by_key(|((_, (_, _, name)), _)| name.map(|name| ranks[name as usize]));
        }
        let (named, law) = clusters.ordered(law, |named| named.0);
        let untagged = if cluster.is_some() {
            named.iter().filter(|(cluster, _)| cluster.is_none()).count()
        } else {
            0
        };
        let ids = named.iter().map(|(_, (id, ..))| *id).collect();
        let unique: Vec<Option<Data>> = named.iter().map(|(_, (_, unique, _))| *unique).collect();
        let unique = if unique.iter().all(Option::is_none) { Vec::new() } else { unique };
        let names = match levels {
            None => Vec::new(),
            Some(_) => {
                named.iter().map(|(_, (.., name))| name.map(|name| names.name(name))).collect()
            }
        };
        let patterns = patterns.into_iter().filter_map(|(name, (sparsity, runs))| {
            let nominal = Sparsity::new(sparsity).expect("a pattern keeps some of its parameters");
            let (_, runs) = clusters.ordered(runs, |cluster| *cluster);
            (!runs.is_empty()).then_some(PatternRuns { name, nominal, runs })
        });
        let patterns = patterns.collect();
        let (with, runs) = clusters.ordered(pretrained, |(cluster, _)| *cluster);
        let pretraining_data = with.into_iter().map(|(_, data)| data).collect();
        let pretrained = (!runs.is_empty()).then_some(PretrainedRuns { runs, pretraining_data });
        let set = RunSet { law, patterns, pretrained, unique, names };
        let grouped = Self { set, ids, untagged, small_levels: Vec::new() };
        if *form == Some(LawForm::Levels) { grouped.of_large_levels() } else { grouped }
    }

    /// Leaves out the runs of levels that have too few runs for a capacity of their own.
    fn of_large_levels(self) -> Self {
        let (kept, small_levels) = self.set.of_large_levels();
        if small_levels.is_empty() {
            return self;
        }
        let ids = kept.iter().map(|place| self.ids[*place]).collect();
        Self { set: self.set.with_runs(&kept), ids, small_levels, ..self }
    }

    /// The warning about levels that were left out; `None` if there are none.
    #[must_use]
    pub fn small_levels_warning(small: &[SmallLevel]) -> Option<StoredWarning> {
        let told = |level: &SmallLevel| {
            let runs = if level.runs == 1 { "run" } else { "runs" };
            format!("{} has {} {runs}", level.told, level.runs)
        };
        (!small.is_empty()).then(|| {
            let named: Vec<String> = small.iter().take(MOST_NAMED).map(told).collect();
            let others = match small.len() - named.len() {
                0 => String::new(),
                others => format!(", and {others} more"),
            };
            let detail = format!(
                "levels with fewer than {} runs do not show by how much they scatter, and are not in the law: sparsity {}{others}",
                SmallLevel::NEEDED,
                named.join(", sparsity ")
            );
            StoredWarning { code: "small_levels".to_owned(), detail }
        })
    }

    /// The warning about runs that lack the tag by which runs are resampled; `None` if there are none.
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

/// Maximum number of levels that a warning names; the others are only counted.
const MOST_NAMED: usize = 10;

/// Names that distinguish runs of the same sparsity.
#[derive(Default)]
struct Names {
    all: Vec<String>,
    places: HashMap<String, u32>,
}

impl Names {
    /// The index of a name, which is added if it is new.
    fn place(&mut self, name: &str) -> u32 {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        // There are no more names than runs in memory.
        let place = u32::try_from(self.all.len()).expect("runs are limited to far fewer");
        self.all.push(name.to_owned());
        self.places.insert(name.to_owned(), place);
        place
    }

    fn name(&self, place: u32) -> String {
        self.all[place as usize].clone()
    }

    /// The rank of each name in sorted order, by index.
    fn ranks(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.all.len()).collect();
        order.sort_by(|a, b| self.all[*a].cmp(&self.all[*b]));
        let mut ranks = vec![0; order.len()];
        for (rank, place) in order.into_iter().enumerate() {
            ranks[place] = rank;
        }
        ranks
    }
}

/// The clusters of runs, by the values of a tag.
struct Clusters<'a> {
    tag: Option<&'a str>,
    /// Number of the cluster of each value.
    known: HashMap<String, u32>,
}

impl<'a> Clusters<'a> {
    fn new(tag: Option<&'a str>) -> Self {
        Self { tag, known: HashMap::new() }
    }

    /// The number of a run's cluster; `None` if the run is a cluster by itself.
    fn of(&mut self, tags: &BTreeMap<String, String>) -> Option<u32> {
        let value = tags.get(self.tag?)?;
        if let Some(number) = self.known.get(value) {
            return Some(*number);
        }
        // There are no more clusters than runs in memory.
        let number = u32::try_from(self.known.len()).expect("runs are limited to far fewer");
        self.known.insert(value.clone(), number);
        Some(number)
    }

    /// Sorts runs into canonical order, and what belongs to each run along with them.
    fn ordered<T: Copy>(
        &self,
        mut rows: Vec<(T, (Observation, f64))>,
        cluster: impl Fn(&T) -> Option<u32>,
    ) -> (Vec<T>, Observations) {
        if self.tag.is_some() {
            // Runs with equal measurements must not be ordered by when they arrived.
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

/// The product of the weights whose tag and value the run has.
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
    use sparsity_law::law::{Loss, NonzeroParams};

    fn by_cluster(tag: &str) -> RefitOptions {
        RefitOptions { cluster: Some(tag.to_owned()), ..RefitOptions::default() }
    }

    fn run(n: f64, start: TrainingStart, pattern: Option<&str>, tag: &str) -> SubmittedRun {
        SubmittedRun {
            external_id: n.to_string(),
            observation: Observation {
                nonzero_params: NonzeroParams::new(n).unwrap(),
                sparsity: Sparsity::new(0.5).unwrap(),
                data: Data::new(1e9).unwrap(),
                loss: Loss::new(3.0).unwrap(),
            },
            start,
            pretraining_data: (start == TrainingStart::Pretrained).then(|| Data::new(n).unwrap()),
            unique_data: (tag == "poor").then(|| Data::new(1e8).unwrap()),
            pattern: pattern.map(|pattern| Pattern::new(pattern).unwrap()),
            tags: BTreeMap::from([("quality".to_owned(), tag.to_owned())]),
            exclusion_reason: None,
        }
    }

    #[test]
    fn runs_go_to_the_group_that_they_tell_about() {
        let runs = [
            run(5.0, TrainingStart::Scratch, None, "good"),
            run(4.0, TrainingStart::Scratch, None, "poor"),
            run(3.0, TrainingStart::Scratch, None, "broken"),
            run(2.0, TrainingStart::Scratch, Some("2:4"), "good"),
            run(9.0, TrainingStart::Pretrained, None, "good"),
            run(8.0, TrainingStart::Pretrained, None, "good"),
            run(1.0, TrainingStart::Pretrained, Some("2:4"), "good"),
        ];
        let ids: Vec<Uuid> = (0..runs.len()).map(|i| Uuid::from_u128(i as u128)).collect();
        let entry = |value: &str, weight| TagWeight {
            tag: "quality".to_owned(),
            value: value.to_owned(),
            weight,
        };
        let weights = [entry("poor", 0.5), entry("broken", 0.0)];
        let grouped = GroupedRuns::new(
            ids.iter().copied().zip(runs),
            &RefitOptions { weights: weights.to_vec(), ..RefitOptions::default() },
        );
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
            run(5.0, TrainingStart::Scratch, None, "b"),
            run(4.0, TrainingStart::Scratch, None, "a"),
            run(4.0, TrainingStart::Scratch, None, "b"),
            run(3.0, TrainingStart::Scratch, None, "a"),
            run(2.0, TrainingStart::Scratch, Some("2:4"), "a"),
            run(9.0, TrainingStart::Pretrained, None, "b"),
        ];
        let mut untagged = run(6.0, TrainingStart::Scratch, None, "");
        untagged.tags.clear();
        runs.push(untagged);
        let group = |runs: &[SubmittedRun]| {
            let named = runs.iter().map(|run| (Uuid::nil(), run.clone()));
            GroupedRuns::new(named, &by_cluster("quality"))
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
        let other = GroupedRuns::new([(Uuid::nil(), runs[0].clone())], &by_cluster("sweep"));
        assert_eq!((other.set.law.cluster_count(), other.untagged), (1, 1));
    }

    #[test]
    fn runs_of_one_sparsity_are_told_apart_by_pattern_or_tag_and_small_levels_are_left_out() {
        let levels = |levels| RefitOptions {
            form: Some(LawForm::Levels),
            levels,
            ..RefitOptions::default()
        };
        let mut runs = Vec::new();
        for i in 1..=3_u32 {
            let n = f64::from(i) * 1e6;
            runs.push(run(n, TrainingStart::Scratch, None, "one"));
            runs.push(run(n + 1.0, TrainingStart::Scratch, Some("2:4"), "two"));
        }
        runs.push(run(7e6, TrainingStart::Scratch, Some("4:8"), "two"));
        let grouped = |options: &RefitOptions, runs: &[SubmittedRun]| {
            let named = runs
                .iter()
                .map(|run| (Uuid::from_u128(run.external_id.len() as u128), run.clone()));
            GroupedRuns::new(named, options)
        };
        let plain = grouped(&levels(None), &runs);
        assert_eq!((plain.set.law.len(), plain.set.patterns.len()), (3, 2));
        assert!(plain.set.names.is_empty() && plain.small_levels.is_empty());

        let by_pattern = levels(Some(LevelsBy::Pattern));
        let by = grouped(&by_pattern, &runs);
        let names: Vec<Option<&str>> = by.set.names.iter().map(Option::as_deref).collect();
        assert_eq!(names, [None, Some("2:4"), None, Some("2:4"), None, Some("2:4")]);
        assert_eq!((by.ids.len(), by.set.patterns.len()), (6, 0));
        let warning = GroupedRuns::small_levels_warning(&by.small_levels).unwrap();
        assert!(warning.detail.ends_with("sparsity 0.5 (4:8) has 1 run"), "{}", warning.detail);
        let many = vec![by.small_levels[0].clone(); 1000];
        let warning = GroupedRuns::small_levels_warning(&many).unwrap();
        assert!(warning.detail.ends_with(", and 990 more"), "{}", warning.detail);
        let mut other = runs.clone();
        other.reverse();
        let again = grouped(&by_pattern, &other);
        assert_eq!((again.set, again.small_levels), (by.set, by.small_levels));

        // Runs with a pattern belong to no level of a tag.
        let by_tag = grouped(&levels(Some(LevelsBy::Tag("quality".to_owned()))), &runs);
        let names: Vec<Option<&str>> = by_tag.set.names.iter().map(Option::as_deref).collect();
        assert_eq!((names, by_tag.set.patterns.len()), (vec![Some("one"); 3], 2));
    }
}
