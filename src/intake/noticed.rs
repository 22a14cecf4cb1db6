//! Warnings about an input as a whole, collected while its rows are read.

use std::collections::BTreeMap;

use crate::domain::run::SubmittedRun;

/// Something odd about an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntakeWarning {
    /// Stable code of the warning.
    pub code: &'static str,
    /// A sentence for people to read.
    pub detail: String,
}

/// Ratio of the largest to the smallest loss of an input above which the losses are probably in different units.
const LOSS_SPREAD: f64 = 100.0;
/// Number of parameters below which a model is implausible; the number is more likely in millions.
const SMALLEST_MODEL: f64 = 1e4;
/// Largest plausible difference between the sparsity of a run and that of its pattern.
const PATTERN_MARGIN: f64 = 0.02;
/// Plausible ratios of a run's FLOPs to the FLOPs computed from its size and data: the lower bound is relative to the
/// sparse count, the upper bound to the dense one.
const FLOPS_RANGE: (f64, f64) = (0.9, 1.3);

/// Comparison of the FLOPs that runs report with the FLOPs computed from their size and data.
#[derive(Debug, Default)]
pub(super) struct NoticedFlops {
    /// Number of runs that report FLOPs.
    with: u64,
    /// Number of runs whose FLOPs are implausible.
    off: u64,
    /// Smallest and largest ratio of reported to computed FLOPs among the implausible ones.
    ratios: Option<(f64, f64)>,
}

impl NoticedFlops {
    pub(super) fn note(&mut self, run: &SubmittedRun, flops: f64, flops_per_param: f64) {
        let observation = &run.observation;
        let sparse = flops_per_param * observation.nonzero_params.get() * observation.data.get();
        let dense = sparse / observation.sparsity.density().get();
        self.with += 1;
        // Some counters include zeros and some do not, so anything between the sparse and the dense count is plausible.
        let ratio = if flops < FLOPS_RANGE.0 * sparse {
            flops / sparse
        } else if flops > FLOPS_RANGE.1 * dense {
            flops / dense
        } else {
            return;
        };
        self.off += 1;
        let (low, high) = self.ratios.unwrap_or((ratio, ratio));
        self.ratios = Some((low.min(ratio), high.max(ratio)));
    }

    pub(super) fn warning(&self, flops_per_param: f64) -> Option<IntakeWarning> {
        let (low, high) = self.ratios?;
        let detail = format!(
            "FLOPs of {} of {} runs are not {flops_per_param} N D: {low:.3} to {high:.3} times that, and {} to {} is \
             usual. Half of it: multiply-adds (MACs), as fvcore, thop and ptflops count. A third: the forward pass \
             alone. Much less: experts that the counter left out, or data that is not in the family's unit. Size and \
             data are taken as they are",
            self.off, self.with, FLOPS_RANGE.0, FLOPS_RANGE.1,
        );
        Some(IntakeWarning { code: "flops_off", detail })
    }
}

/// Observations made over all rows.
#[derive(Debug, Default)]
pub(super) struct Noticed {
    pub(super) losses: Option<(f64, f64)>,
    pub(super) small: u64,
    pub(super) off_pattern: u64,
    pub(super) unfinished: BTreeMap<String, u64>,
    pub(super) cut_tags: u64,
    /// Number of values, by field, in columns that have the name of the field but were not used for it.
    pub(super) not_taken: BTreeMap<&'static str, u64>,
    pub(super) flops: NoticedFlops,
    /// Whether sparsities have a percent sign, and the first row that told.
    pub(super) percent: Option<(bool, u64)>,
}

impl Noticed {
    pub(super) fn note(&mut self, run: &SubmittedRun) {
        let observation = &run.observation;
        let loss = observation.loss.get();
        let (low, high) = self.losses.unwrap_or((loss, loss));
        self.losses = Some((low.min(loss), high.max(loss)));
        self.small += u64::from(observation.nonzero_params.get() < SMALLEST_MODEL);
        self.off_pattern += u64::from(run.pattern.as_ref().is_some_and(|pattern| {
            (pattern.sparsity() - observation.sparsity.get()).abs() > PATTERN_MARGIN
        }));
    }

    pub(super) fn warnings(self, flops_per_param: f64) -> Vec<IntakeWarning> {
        let mut found = Vec::new();
        found.extend(self.flops.warning(flops_per_param));
        let mut warn = |code, detail| found.push(IntakeWarning { code, detail });
        if let Some((low, high)) = self.losses.filter(|(low, high)| high / low > LOSS_SPREAD) {
            warn(
                "loss_spread",
                format!("losses lie between {low} and {high}: are they all in one unit?"),
            );
        }
        if self.small > 0 {
            let detail = format!(
                "{} runs have fewer than {SMALLEST_MODEL} non-zero parameters: are they in millions? \
                 scale=nonzero_params:1e6 says so",
                self.small
            );
            warn("small_models", detail);
        }
        if self.off_pattern > 0 {
            let detail = format!(
                "{} runs have a sparsity that is not that of their pattern, where n:m keeps n of m: only a part of \
                 the weights may be pruned by it",
                self.off_pattern
            );
            warn("sparsity_off_pattern", detail);
        }
        if !self.unfinished.is_empty() {
            let states =
                self.unfinished.iter().map(|(state, rows)| format!("{state} in {rows} rows"));
            let detail = format!(
                "some runs did not finish: {}; where=... leaves rows out",
                states.collect::<Vec<_>>().join(", ")
            );
            warn("unfinished_runs", detail);
        }
        for (field, rows) in &self.not_taken {
            let detail = format!(
                "the column {field} is a field here, has values in {rows} rows, and was not taken; map={field}:{field} \
                 takes it"
            );
            warn("fields_not_taken", detail);
        }
        if self.cut_tags > 0 {
            warn("tags_cut", format!("{} tags were cut to the length of a tag", self.cut_tags));
        }
        found
    }
}
