//! The law that a question is put to, and what to know before trusting its answer.

use std::sync::Arc;

use sparsity_law::fit::{Estimate, Residual};
use sparsity_law::law::{
    Ensemble, Extrapolation, Member, PatternWorth, Question, Range, SampledLaw, Sparsity,
    SparsityLevel, StepCost, TrainingCost,
};

use crate::api::wire::problem::ApiError;
use crate::api::wire::views::{IntervalView, LawRef, WarningView};
use crate::domain::law::Law;
use crate::domain::text::Pattern;
use crate::live::laws::KeptLaw;

/// A law with the laws of its resampled runs, and what every answer says of it.
#[derive(Debug)]
pub struct AskedLaw {
    /// The law.
    pub law: Law,
    /// Its coefficients with those of its resampled runs, from which intervals come.
    pub sampled: SampledLaw,
    /// Its id as text, which answers carry in their ETag.
    pub tag: String,
    /// How an answer names it.
    pub reference: Arc<LawRef>,
    /// What its runs cannot tell.
    warnings: Vec<Arc<WarningView>>,
    /// What is said of a sparsity between two levels of its runs, by the lower one.
    gaps: Vec<Arc<WarningView>>,
    /// What is said where no runs are known.
    unknown_support: Arc<WarningView>,
    /// What is said where intervals are wanted and there are no resamples.
    no_intervals: Arc<WarningView>,
}

impl KeptLaw for AskedLaw {
    fn new(law: Law, ensemble: Option<Ensemble>) -> Self {
        let reference = Arc::new(LawRef::from(&law));
        let warnings = law.content.warnings.iter().map(|w| Arc::new(w.into())).collect();
        // A law with an ensemble was fitted; without a residual there is no noise either.
        let residual = law.content.options.as_ref().map(|options| options.fit.residual);
        let measured =
            |loss, noise| residual.map_or(loss, |residual| residual.measured(loss, noise));
        let levels = law.content.support.levels();
        let gap = |pair: &[SparsityLevel]| {
            let (below, above) = (pair[0].sparsity, pair[1].sparsity);
            let detail = format!("no run has a sparsity between {below} and {above}");
            Arc::new(WarningView::new("interpolated", detail))
        };
        let gaps = levels.windows(2).map(gap).collect();
        let sampled = SampledLaw::new(law.content.coefficients, ensemble, measured);
        let tag = law.id.to_string();
        let unknown_support = "the runs behind this law are not known: how far the answer extrapolates \
                               cannot be said";
        let no_intervals = "this law carries no resampled coefficients to compute intervals from";
        Self {
            law,
            sampled,
            tag,
            reference,
            warnings,
            gaps,
            unknown_support: Arc::new(WarningView::new("unknown_support", unknown_support)),
            no_intervals: Arc::new(WarningView::new("no_intervals", no_intervals)),
        }
    }

    fn bytes(&self) -> usize {
        BYTES_OF_LAW + self.sampled.bytes()
    }
}

/// What a law takes besides its resamples: diagnostics and support.
const BYTES_OF_LAW: usize = 16 * 1024;

impl AskedLaw {
    /// Training cost as of the law's making.
    pub fn cost(&self, step: impl Into<StepCost>) -> TrainingCost {
        TrainingCost::new(self.law.content.flops_per_param, self.law.content.pruning, step)
    }

    /// What a pattern is worth; `None` where its numbers are out of range.
    pub fn worth(&self, pattern: &Pattern) -> Option<PatternWorth> {
        let nominal = Sparsity::new(pattern.sparsity()).ok()?.density();
        let reports = &self.law.content.patterns;
        let report = reports.iter().find(|report| report.name == pattern.as_str());
        let effective = match report {
            Some(report) => {
                let Estimate { value, interval } = report.effective_sparsity;
                Some((Sparsity::new(value).ok()?, interval))
            }
            None => None,
        };
        Some(PatternWorth { nominal, effective })
    }

    /// The interval of an answer, where the law has resamples.
    pub fn interval(&self, answer: impl Fn(&Member) -> f64) -> Option<IntervalView> {
        self.sampled.interval(answer).map(Into::into)
    }

    /// How the fit compared prediction and measurement; `None` for a published law.
    pub fn residual(&self) -> Option<Residual> {
        self.law.content.options.as_ref().map(|options| options.fit.residual)
    }

    /// Refuses a question about something that never varied over the runs.
    ///
    /// # Errors
    /// [`ApiError::Undetermined`].
    pub fn require_all(&self, what: &str) -> Result<(), ApiError> {
        let known = self.law.content.coefficients.determines();
        let missing = [
            (known.sparsity, "sparsity"),
            (known.data, "data"),
            (known.nonzero_params, "nonzero_params"),
        ];
        match missing.into_iter().find(|(known, _)| !known) {
            None => Ok(()),
            Some((_, quantity)) => Err(self.undetermined(what, quantity)),
        }
    }

    fn undetermined(&self, what: &str, quantity: &str) -> ApiError {
        ApiError::Undetermined(format!(
            "all runs of law {} have the same {quantity}, so it does not know what another \
             {quantity} would do, and {what} depends on it: submit runs with other values and refit",
            self.law.version
        ))
    }

    /// Refuses a prediction away from the one value that all runs have of a quantity.
    ///
    /// # Errors
    /// [`ApiError::Undetermined`].
    pub fn require_at(&self, question: &Question<'_>) -> Result<(), ApiError> {
        let known = self.law.content.coefficients.determines();
        let support = &self.law.content.support;
        let sparsities = support.levels().first().zip(support.levels().last());
        let sparsities =
            sparsities.map(|(low, high)| Range { min: low.sparsity, max: high.sparsity });
        let asked = [
            (known.sparsity, "sparsity", question.density.sparsity().get(), sparsities),
            (known.data, "data", question.data.get(), support.data()),
            (
                known.nonzero_params,
                "nonzero_params",
                question.nonzero_params.get(),
                support.nonzero_params(),
            ),
        ];
        for (known, quantity, value, range) in asked {
            // As close as levels of the fit: sparsities by difference, the others by ratio.
            let inside = range.is_none_or(|Range { min, max }| {
                let margin = 2e-3 * if quantity == "sparsity" { 1.0 } else { max };
                (min - margin..=max + margin).contains(&value)
            });
            if !known && !inside {
                return Err(self.undetermined("the answer", quantity));
            }
        }
        Ok(())
    }

    /// What to know before trusting an answer at this point.
    pub fn caveats(
        &self,
        question: &Question<'_>,
        intervals: bool,
    ) -> (Vec<Extrapolation>, Vec<Arc<WarningView>>) {
        let (extrapolation, warnings) = self.borrowed_caveats(question, intervals);
        (extrapolation, warnings.into_iter().cloned().collect())
    }

    /// As [`Self::caveats`], with borrowed warnings, for an answer that is sent while the law is held. Cloning an
    /// `Arc` changes its counter, and threads that change the same counter slow each other down.
    pub(crate) fn borrowed_caveats(
        &self,
        question: &Question<'_>,
        intervals: bool,
    ) -> (Vec<Extrapolation>, Vec<&Arc<WarningView>>) {
        let support = &self.law.content.support;
        let extrapolation = support.extrapolation(question);
        let unknown = support.levels().is_empty().then_some(&self.unknown_support);
        let gap = support.gap_around(question.density.sparsity());
        let gap = gap.and_then(|gap| self.gaps.get(gap));
        let about_point = unknown.into_iter().chain(gap);
        (extrapolation, about_point.chain(self.all_warnings(intervals)).collect())
    }

    /// What to know before trusting any answer.
    pub fn warnings(&self, intervals: bool) -> Vec<Arc<WarningView>> {
        self.all_warnings(intervals).cloned().collect()
    }

    fn all_warnings(&self, intervals: bool) -> impl Iterator<Item = &Arc<WarningView>> {
        let missing = intervals && self.sampled.ensemble().is_none();
        self.warnings.iter().chain(missing.then_some(&self.no_intervals))
    }
}
