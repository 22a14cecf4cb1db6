//! The law that a question is put to, and what to know before trusting its answer.

mod levels;
mod pattern_worth;
mod refusals;

use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use sparsity_law::fit::{Residual, ensemble_with_curves};
use sparsity_law::law::{
    AnyLaw, Compute, Data, Density, Ensemble, Extrapolation, LawForm, MeasuredChoice, Member,
    NonzeroParams, PlanLaw, Question, Repetition, SampledForm, SampledLaw, SparsityLevel, StepCost,
    TrainingCost,
};
use uuid::Uuid;

use crate::api::wire::problem::ApiError;
use crate::api::wire::views::{IntervalView, LawRef, TrustView, WarningView};
use crate::domain::calibration::ForecastRecord;
use crate::domain::law::Law;
use crate::domain::trust::{Trust, TrustCode, TrustPolicy, Width};
use crate::live::laws::KeptLaw;

/// A law ready to answer questions: with its resamples and everything that its answers repeat.
#[derive(Debug)]
pub struct AskedLaw {
    /// The law as stored.
    pub law: Law,
    /// The seven coefficients, with those of the resamples, from which intervals come.
    pub sampled: SampledLaw,
    /// The law in its own form, with its resamples, for forms with coefficients beyond the seven (`levels`,
    /// `experts`). `sampled` then holds only what the seven coefficients can say of the law, and no resamples.
    pub own: Option<SampledForm>,
    /// Identifies the state of the law in the ETag of answers: id, trust thresholds and forecast record.
    pub tag: String,
    /// The reference to the law that answers carry.
    pub reference: Arc<LawRef>,
    /// Warnings that apply to every answer: what the runs cannot tell, and forecasts that missed.
    warnings: Vec<Arc<WarningView>>,
    /// How far any answer of this law can be trusted, whatever is asked.
    trust: Trust,
    /// The thresholds beyond which answers are trusted less.
    policy: TrustPolicy,
    /// Warnings about sparsities between two neighbouring levels of the runs, by index of the lower level.
    gaps: Vec<Arc<WarningView>>,
    /// Warning of a law whose runs are not known.
    unknown_support: Arc<WarningView>,
    /// Warning for answers that should carry intervals, of a law without resamples.
    no_intervals: Arc<WarningView>,
    /// Warning about a recommended pattern that no run of the law has.
    unmeasured_pattern: Arc<WarningView>,
    /// Warning about repeated data, of a law whose runs do not show how fast repetition wears out.
    repetition_assumed: Arc<WarningView>,
    /// Training costs in the modes of a few hardware profiles, oldest entry first, by profile id and time of its last
    /// change.
    costs: Mutex<Vec<((Uuid, i64), TrainingCost)>>,
}

impl KeptLaw for AskedLaw {
    type Setting = TrustPolicy;

    fn new(
        law: Law,
        ensemble: Option<Ensemble>,
        forecasts: ForecastRecord,
        policy: &TrustPolicy,
    ) -> Self {
        let reference = Arc::new(LawRef::from(&law));
        let all_warnings = law.content.all_warnings();
        let mut warnings: Vec<_> = all_warnings.iter().map(|w| Arc::new(w.into())).collect();
        let mut trust = law.content.trust_of_answers();
        if let Some(level) = policy.of_forecasts(&forecasts) {
            let ForecastRecord { scored, inside, nominal } = forecasts;
            let detail = format!(
                "{inside} of the {scored} forecasts by this law whose runs have arrived lie inside their intervals, \
                 which promised {:.0} %",
                100.0 * nominal
            );
            let code = TrustCode::ForecastsMissed;
            warnings.push(Arc::new(WarningView::of_law(code.as_str(), detail)));
            trust.doubt(level, code);
        }
        // Only fitted laws have resamples. Without a known residual there is no noise to add either.
        let residual = law.content.origin.fit().map(|fit| fit.options.fit.residual);
        let measured = |loss, noise| match residual {
            Some(residual) => residual.measured(loss, noise),
            None => loss,
        };
        let by_residual: fn(f64, f64) -> f64 = match residual {
            Some(Residual::Log) => |loss, noise| Residual::Log.measured(loss, noise),
            Some(Residual::Linear) => |loss, noise| Residual::Linear.measured(loss, noise),
            None => |loss, _| loss,
        };
        let levels = law.content.support.levels();
        let gap = |pair: &[SparsityLevel]| {
            let (below, above) = (pair[0].sparsity, pair[1].sparsity);
            let detail = format!("no run has a sparsity between {below} and {above}");
            Arc::new(WarningView::new("interpolated", detail))
        };
        let gaps = levels.windows(2).map(gap).collect();
        let form = law.content.shape.task(law.content.pruning.mean_share());
        let ensemble = ensemble.map(|ensemble| ensemble_with_curves(ensemble, &form));
        let (ensemble, own) = match &law.content.shape.law {
            None => (ensemble, None),
            Some(own) => {
                let widening = law.content.widening();
                (None, Some(SampledForm::new(own.clone(), ensemble, widening, by_residual)))
            }
        };
        let mut sampled = SampledLaw::new(law.content.coefficients, ensemble, measured);
        // Laws stored by versions that did not analyse identification must keep giving the answers they always gave.
        if law.content.identification().is_some() {
            sampled = sampled.holding_means();
        }
        if let Some(widening) = law.content.widening() {
            sampled = sampled.widened(widening, by_residual);
        }
        // Warnings and trust depend on the law's forecasts, so the tag has to change with them.
        let of_forecasts = match forecasts.scored {
            0 => String::new(),
            scored => format!(".{}-{scored}", forecasts.inside),
        };
        let tag = format!("{}.{}{of_forecasts}", law.id, policy_tag(policy));
        let unknown_support = "the runs behind this law are not known: how far the answer extrapolates \
                               cannot be said";
        let unmeasured_pattern = "no run of the law has the pattern that is recommended: it is taken to be worth \
                                  what a measured pattern of the same ratio is, or else its nominal sparsity, \
                                  which is the most that a pattern can be expected to be worth";
        let repetition_assumed = format!(
            "some of the data is seen more than once, and no runs of this law show what that is worth: a published \
             law of language models is taken, by which {} epochs wear it out",
            Repetition::PUBLISHED_DECAY
        );
        let no_intervals = "this law carries no resampled coefficients to compute intervals from";
        Self {
            law,
            sampled,
            own,
            tag,
            reference,
            warnings,
            trust,
            policy: *policy,
            gaps,
            unknown_support: Arc::new(WarningView::new("unknown_support", unknown_support)),
            no_intervals: Arc::new(WarningView::new("no_intervals", no_intervals)),
            unmeasured_pattern: Arc::new(WarningView::new(
                TrustCode::UnmeasuredPattern.as_str(),
                unmeasured_pattern,
            )),
            repetition_assumed: Arc::new(WarningView::new(
                TrustCode::RepetitionAssumed.as_str(),
                repetition_assumed,
            )),
            costs: Mutex::default(),
        }
    }

    fn bytes(&self) -> usize {
        BYTES_OF_LAW + self.sampled.bytes() + self.own.as_ref().map_or(0, SampledForm::bytes)
    }
}

/// The most hardware profiles whose costs a law remembers.
const MOST_COSTS: usize = 4;
/// Estimated memory of a law besides its resamples: diagnostics, support, and the costs of hardware profiles, each of
/// which has a few hundred nodes of 40 bytes.
const BYTES_OF_LAW: usize = (16 + 16 * MOST_COSTS) * 1024;

/// How many evaluations of a resampled law take about half a millisecond, whichever quantity is evaluated.
const QUICK: usize = 30_000;

impl AskedLaw {
    /// Whether `numbers` values, each evaluated by all resamples, take less than about a millisecond. Anything slower
    /// must not be computed on a thread that serves requests.
    #[must_use]
    pub fn is_quick(&self, numbers: usize) -> bool {
        self.resamples().saturating_mul(numbers) <= QUICK
    }

    /// Number of resamples.
    #[must_use]
    pub fn resamples(&self) -> usize {
        let own = self.own.as_ref().and_then(SampledForm::ensemble);
        let ensemble = self.sampled.ensemble().or(own);
        ensemble.map_or(0, |ensemble| ensemble.count())
    }

    /// The law in the type that plans take.
    #[must_use]
    pub fn plan_law(&self) -> PlanLaw<'_> {
        match &self.own {
            Some(own) => own.into(),
            None => (&self.sampled).into(),
        }
    }

    /// The law fitted on all runs and its resamples, whatever its form.
    #[must_use]
    pub fn any_law(&self) -> (AnyLaw<'_>, Option<&Ensemble>) {
        match &self.own {
            Some(own) => (own.law().into(), own.ensemble()),
            None => (self.sampled.coefficients().into(), self.sampled.ensemble()),
        }
    }

    /// Training cost in the mode of a hardware profile, identified by profile id and the time of its last change. The
    /// part that is the same for all questions is computed once and remembered.
    pub(crate) fn cost_of(
        &self,
        profile: (Uuid, i64),
        cost: impl FnOnce() -> TrainingCost,
    ) -> TrainingCost {
        let mut known = self.costs.lock();
        if let Some((_, cost)) = known.iter().find(|(of, _)| *of == profile) {
            return cost.clone();
        }
        let cost = cost();
        if known.len() >= MOST_COSTS {
            known.remove(0);
        }
        known.push((profile, cost.clone()));
        cost
    }

    /// The cost of training at this cost of a step, with the law's FLOPs per parameter and pruning schedule.
    pub fn cost(&self, step: impl Into<StepCost>) -> TrainingCost {
        let content = &self.law.content;
        TrainingCost::new(content.flops_per_param, content.pruning.clone(), step)
    }

    /// Repetition of data for a question with this much unique data; `None` where all of the data is unique.
    pub fn repetition(&self, unique: Option<Data>) -> Option<Repetition> {
        let (decay, _) = self.law.content.repetition_decay();
        unique.and_then(|unique| Repetition::new(unique, decay).ok())
    }

    /// The warning for a question that repeats data at a rate of wear that no run has shown; `None` where no data is
    /// repeated, or runs have shown the rate.
    pub fn assumed_repetition(
        &self,
        repetition: Option<&Repetition>,
        data: Data,
    ) -> Option<&Arc<WarningView>> {
        let (_, fitted) = self.law.content.repetition_decay();
        let repeats = repetition.is_some_and(|repetition| data.get() > repetition.unique());
        (repeats && !fitted).then_some(&self.repetition_assumed)
    }

    /// Warns of other forms that predict held-out runs no worse, but have their best sparsity outside the interval.
    pub fn disagreeing_forms(
        &self,
        cost: &TrainingCost,
        (nonzero_params, compute): (NonzeroParams, Compute),
        interval: Option<IntervalView>,
    ) -> Option<Arc<WarningView>> {
        let IntervalView { low: lowest, high: highest, .. } = interval?;
        // The true best may lie anywhere between the neighbours of the best level, so the interval is widened to these.
        let levels = self.own.as_ref().and_then(|own| own.law().levels()).unwrap_or_default();
        let levels = || levels.iter().map(|level| level.get());
        let lowest = levels().rev().find(|level| *level < lowest).unwrap_or(lowest);
        let beyond = if levels().len() > 0 { 1.0 } else { highest };
        let highest = levels().find(|level| *level > highest).unwrap_or(beyond);
        let outside: Vec<String> = (self.law.content.shape.close_rivals())
            .filter_map(|rival| {
                let [low, high] = rival.law.optimal_sparsities(cost, nonzero_params, compute)?;
                let form = rival.law.form();
                let apart = high < lowest || low > highest;
                let said = if form == LawForm::Levels {
                    format!("{} says between {low:.3} and {high:.3}", form.as_str())
                } else {
                    format!("{} says {low:.4}", form.as_str())
                };
                apart.then_some(said)
            })
            .collect();
        (!outside.is_empty()).then(|| {
            let detail = format!(
                "other forms of the law predict held-out runs no worse and have their best sparsity outside the \
                 interval: {}; rivals of the law have the comparison",
                outside.join(", ")
            );
            Arc::new(WarningView::new(TrustCode::FormsDisagree.as_str(), detail))
        })
    }

    /// Interval of an answer over the resamples; `None` where the law has none.
    pub fn interval(&self, answer: impl Fn(&Member) -> f64) -> Option<IntervalView> {
        self.sampled.interval(answer).map(Into::into)
    }

    /// Parameters that a token passes, for families whose zeros are experts; `None` for others.
    #[must_use]
    pub fn active_params(&self, nonzero_params: f64) -> Option<f64> {
        self.law.content.zeros.are_experts().then_some(nonzero_params)
    }

    /// How the fit compared predictions and measurements; `None` for a published law.
    pub fn residual(&self) -> Option<Residual> {
        self.law.content.origin.fit().map(|fit| fit.options.fit.residual)
    }

    /// The best of the measured sparsities at a size and a budget, for a law whose runs determine no more than that.
    /// With `least`, only sparsities of at least this density are considered.
    ///
    /// `None` where the runs determine everything, and where no run is dense, so that there is nothing to compare with.
    ///
    /// # Errors
    /// [`ApiError::NotRepresentable`] where an amount of data or a loss is out of the range of numbers.
    pub fn best_measured(
        &self,
        cost: &TrainingCost,
        (nonzero_params, compute): (NonzeroParams, Compute),
        least: Option<Density>,
    ) -> Result<Option<MeasuredChoice>, ApiError> {
        let Some(mut sparsities) = self.law.content.measured_sparsities() else { return Ok(None) };
        // A dense model satisfies every lower bound on density, so the dense level always stays in the list.
        sparsities.retain(|sparsity| least.is_none_or(|least| sparsity.density() >= least));
        Ok(self.sampled.best_measured(cost, nonzero_params, compute, &sparsities)?)
    }

    /// Whether the law can only choose between the measured sparsities, and say nothing between them.
    #[must_use]
    pub fn knows_measured_sparsities_alone(&self) -> bool {
        self.law.content.measured_sparsities().is_some()
    }

    /// How far an answer can be trusted, as sent; `width` is that of its interval, `None` without one.
    pub fn trust(&self, width: Option<Width>, extrapolation: &[Extrapolation]) -> TrustView {
        self.answer_trust(width, extrapolation).into()
    }

    /// How far an answer can be trusted, as stored with a forecast; see [`Self::trust`].
    pub fn answer_trust(&self, width: Option<Width>, extrapolation: &[Extrapolation]) -> Trust {
        let factor = extrapolation.iter().map(|each| each.factor).fold(1.0, f64::max);
        let mut trust = self.policy.of_answer(&self.trust, width, factor);
        // That the law extrapolates badly does not matter for an answer inside the range of the runs.
        if extrapolation.is_empty() {
            trust.withdraw(TrustCode::ExtrapolatesBadly);
        }
        trust
    }

    /// How far the law itself can be trusted: not at all where its runs do not determine the best sparsity of a budget.
    pub fn own_trust(&self) -> TrustView {
        self.law.content.own_trust(self.trust.clone()).into()
    }

    /// How far an answer of several parts can be trusted: as far as the worst of them, and no further than the law.
    pub fn trust_of_parts<'t>(&self, parts: impl Iterator<Item = &'t TrustView>) -> TrustView {
        parts.cloned().fold(self.answers_trust(), TrustView::with)
    }

    /// The trust that applies to every answer of this law, before anything that depends on the question.
    pub fn answers_trust(&self) -> TrustView {
        self.trust.clone().into()
    }

    /// What to know before trusting an answer at this point: extrapolated quantities, and warnings.
    pub fn caveats(
        &self,
        question: &Question<'_>,
        intervals: bool,
    ) -> (Vec<Extrapolation>, Vec<Arc<WarningView>>) {
        let (extrapolation, warnings) = self.borrowed_caveats(question, intervals);
        (extrapolation, warnings.into_iter().cloned().collect())
    }

    /// Like [`Self::caveats`] with borrowed warnings, for answers that are sent while the law is held. Cloning an `Arc`
    /// changes its counter, and threads that change the same counter slow each other down.
    pub(crate) fn borrowed_caveats(
        &self,
        question: &Question<'_>,
        intervals: bool,
    ) -> (Vec<Extrapolation>, Vec<&Arc<WarningView>>) {
        let support = &self.law.content.support;
        let extrapolation = support.extrapolation(question);
        let unknown = support.levels().is_empty().then_some(&self.unknown_support);
        // A law of levels answers only at its levels, so it never interpolates.
        let of_levels = self.own.as_ref().is_some_and(|own| own.law().levels().is_some());
        let gap = support.gap_around(question.density.sparsity()).filter(|_| !of_levels);
        let gap = gap.and_then(|gap| self.gaps.get(gap));
        let about_point = unknown.into_iter().chain(gap);
        (extrapolation, about_point.chain(self.all_warnings(intervals)).collect())
    }

    /// Warnings that apply to every answer.
    pub fn warnings(&self, intervals: bool) -> Vec<Arc<WarningView>> {
        self.all_warnings(intervals).cloned().collect()
    }

    fn all_warnings(&self, intervals: bool) -> impl Iterator<Item = &Arc<WarningView>> {
        let missing = intervals && self.resamples() == 0;
        self.warnings.iter().chain(missing.then_some(&self.no_intervals))
    }
}

/// Some hex digits that change with the trust thresholds, because answers depend on these.
pub(crate) fn policy_tag(policy: &TrustPolicy) -> String {
    let TrustPolicy { sparsity_width, relative_width, extrapolation, forecasts_inside } = policy;
    let mut hash = Sha256::new();
    for threshold in [sparsity_width, relative_width, extrapolation] {
        hash.update(threshold.weak.to_be_bytes());
        hash.update(threshold.none.to_be_bytes());
    }
    hash.update(forecasts_inside.to_be_bytes());
    hex::encode(&hash.finalize()[..4])
}

/// Width of the interval of a sparsity, as a difference.
pub(crate) fn sparsity_width(interval: Option<IntervalView>) -> Option<Width> {
    interval.map(|interval| Width::Sparsity(interval.high - interval.low))
}

/// Width of the interval of a positive number, relative to the number.
pub(crate) fn relative_width(interval: Option<IntervalView>, value: f64) -> Option<Width> {
    interval.map(|interval| Width::Relative((interval.high - interval.low) / value.abs()))
}
