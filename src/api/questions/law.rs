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

/// A law with the laws of its resampled runs, and what every answer says of it.
#[derive(Debug)]
pub struct AskedLaw {
    /// The law.
    pub law: Law,
    /// Its coefficients with those of its resampled runs, from which intervals come.
    pub sampled: SampledLaw,
    /// The law with those of its resampled runs, where it is of a form with coefficients of its own: `sampled` then
    /// holds what of it the seven coefficients do, and no resamples.
    pub own: Option<SampledForm>,
    /// What answers carry in their ETag: its id, and the thresholds of trust.
    pub tag: String,
    /// How an answer names it.
    pub reference: Arc<LawRef>,
    /// What its runs cannot tell.
    warnings: Vec<Arc<WarningView>>,
    /// How far any answer that it gives can be trusted.
    trust: Trust,
    /// From what on they cannot.
    policy: TrustPolicy,
    /// What is said of a sparsity between two levels of its runs, by the lower one.
    gaps: Vec<Arc<WarningView>>,
    /// What is said where no runs are known.
    unknown_support: Arc<WarningView>,
    /// What is said where intervals are wanted and there are no resamples.
    no_intervals: Arc<WarningView>,
    /// What is said of a pattern that no run of the law has.
    unmeasured_pattern: Arc<WarningView>,
    /// What is said of repeated data where no run of the law shows how fast that wears out.
    repetition_assumed: Arc<WarningView>,
    /// What training costs in the modes of the hardware profiles that were asked last.
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
        // A law with an ensemble was fitted; without a residual there is no noise either.
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
        // Laws of versions that did not look answer as they always have.
        if law.content.identification().is_some() {
            sampled = sampled.holding_means();
        }
        if let Some(widening) = law.content.widening() {
            sampled = sampled.widened(widening, by_residual);
        }
        // Answers change with their law's forecasts.
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
                "repetition_assumed",
                repetition_assumed,
            )),
            costs: Mutex::default(),
        }
    }

    fn bytes(&self) -> usize {
        BYTES_OF_LAW + self.sampled.bytes() + self.own.as_ref().map_or(0, SampledForm::bytes)
    }
}

/// Hardware profiles whose costs a law remembers.
const MOST_COSTS: usize = 4;
/// What a law takes besides its resamples: diagnostics, support, and the costs of hardware profiles, of which each
/// has a few hundred nodes of 40 bytes.
const BYTES_OF_LAW: usize = (16 + 16 * MOST_COSTS) * 1024;

/// Numbers of resampled laws that are computed in about half a millisecond, one like the other.
const QUICK: usize = 30_000;

impl AskedLaw {
    /// Whether so many numbers, each by all resampled laws, are computed in less than about a millisecond. What
    /// takes longer is not computed on a thread that serves.
    #[must_use]
    pub fn is_quick(&self, numbers: usize) -> bool {
        self.resamples().saturating_mul(numbers) <= QUICK
    }

    /// How many resampled laws there are.
    #[must_use]
    pub fn resamples(&self) -> usize {
        let own = self.own.as_ref().and_then(SampledForm::ensemble);
        let ensemble = self.sampled.ensemble().or(own);
        ensemble.map_or(0, |ensemble| ensemble.members().len())
    }

    /// The law as plans ask it.
    #[must_use]
    pub fn plan_law(&self) -> PlanLaw<'_> {
        match &self.own {
            Some(own) => own.into(),
            None => (&self.sampled).into(),
        }
    }

    /// The law of all runs with those of its resamples, whatever its form.
    #[must_use]
    pub fn any_law(&self) -> (AnyLaw<'_>, Option<&Ensemble>) {
        match &self.own {
            Some(own) => (own.law().into(), own.ensemble()),
            None => (self.sampled.coefficients().into(), self.sampled.ensemble()),
        }
    }

    /// Training cost in the mode of a hardware profile, named by its id and the time of its last change. What of it
    /// is the same for all questions is computed once.
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

    /// Training cost as of the law's making.
    pub fn cost(&self, step: impl Into<StepCost>) -> TrainingCost {
        let content = &self.law.content;
        TrainingCost::new(content.flops_per_param, content.pruning.clone(), step)
    }

    /// How much of the data of a question is different, and what repeating it is worth; `None` where all of it is.
    pub fn repetition(&self, unique: Option<Data>) -> Option<Repetition> {
        let (decay, _) = self.law.content.repetition_decay();
        unique.and_then(|unique| Repetition::new(unique, decay).ok())
    }

    /// What is said of so much data where some of it is repeated; `None` where none is, or runs have shown it.
    pub fn assumed_repetition(
        &self,
        repetition: Option<&Repetition>,
        data: Data,
    ) -> Option<&Arc<WarningView>> {
        let (_, fitted) = self.law.content.repetition_decay();
        let repeats = repetition.is_some_and(|repetition| data.get() > repetition.unique());
        (repeats && !fitted).then_some(&self.repetition_assumed)
    }

    /// Other forms of the same runs that predict no worse, and whose best sparsity lies outside the interval.
    pub fn disagreeing_forms(
        &self,
        cost: &TrainingCost,
        (nonzero_params, compute): (NonzeroParams, Compute),
        interval: Option<IntervalView>,
    ) -> Option<Arc<WarningView>> {
        let IntervalView { low: lowest, high: highest, .. } = interval?;
        // The best of levels lies anywhere between its neighbours.
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

    /// The interval of an answer, where the law has resamples.
    pub fn interval(&self, answer: impl Fn(&Member) -> f64) -> Option<IntervalView> {
        self.sampled.interval(answer).map(Into::into)
    }

    /// What a token passes, where the zeros are experts.
    #[must_use]
    pub fn active_params(&self, nonzero_params: f64) -> Option<f64> {
        self.law.content.zeros.are_experts().then_some(nonzero_params)
    }

    /// How the fit compared prediction and measurement; `None` for a published law.
    pub fn residual(&self) -> Option<Residual> {
        self.law.content.origin.fit().map(|fit| fit.options.fit.residual)
    }

    /// The best of the measured sparsities at a size and a budget, of those with at least the least density if there
    /// is one, where the runs determine no more than that;
    /// `None` where they determine everything, and where no run is dense, so that there is nothing to compare with.
    ///
    /// # Errors
    /// [`ApiError::NotRepresentable`].
    pub fn best_measured(
        &self,
        cost: &TrainingCost,
        (nonzero_params, compute): (NonzeroParams, Compute),
        least: Option<Density>,
    ) -> Result<Option<MeasuredChoice>, ApiError> {
        let Some(mut sparsities) = self.law.content.measured_sparsities() else { return Ok(None) };
        // Dense is always among them, as it keeps every bound that any model of the size keeps.
        sparsities.retain(|sparsity| least.is_none_or(|least| sparsity.density() >= least));
        Ok(self.sampled.best_measured(cost, nonzero_params, compute, &sparsities)?)
    }

    /// Whether the best of the measured sparsities is all that can be said of sparsity.
    #[must_use]
    pub fn knows_measured_sparsities_alone(&self) -> bool {
        self.law.content.measured_sparsities().is_some()
    }

    /// How far an answer can be trusted: `width` of its interval, `None` without one.
    pub fn trust(&self, width: Option<Width>, extrapolation: &[Extrapolation]) -> TrustView {
        self.answer_trust(width, extrapolation).into()
    }

    /// The same as it is kept.
    pub fn answer_trust(&self, width: Option<Width>, extrapolation: &[Extrapolation]) -> Trust {
        let factor = extrapolation.iter().map(|each| each.factor).fold(1.0, f64::max);
        let mut trust = self.policy.of_answer(&self.trust, width, factor);
        // That the law extrapolates badly is nothing against an answer inside the runs.
        if extrapolation.is_empty() {
            trust.withdraw(TrustCode::ExtrapolatesBadly);
        }
        trust
    }

    /// How far the law can be trusted: not at all where it has no answer to the question that it is for.
    pub fn own_trust(&self) -> TrustView {
        self.law.content.own_trust(self.trust.clone()).into()
    }

    /// How far every answer that the law gives can be trusted, to which nothing is added by what is asked.
    pub fn answers_trust(&self) -> TrustView {
        self.trust.clone().into()
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
        // A law of levels answers at these alone.
        let of_levels = self.own.as_ref().is_some_and(|own| own.law().levels().is_some());
        let gap = support.gap_around(question.density.sparsity()).filter(|_| !of_levels);
        let gap = gap.and_then(|gap| self.gaps.get(gap));
        let about_point = unknown.into_iter().chain(gap);
        (extrapolation, about_point.chain(self.all_warnings(intervals)).collect())
    }

    /// What to know before trusting any answer.
    pub fn warnings(&self, intervals: bool) -> Vec<Arc<WarningView>> {
        self.all_warnings(intervals).cloned().collect()
    }

    fn all_warnings(&self, intervals: bool) -> impl Iterator<Item = &Arc<WarningView>> {
        let missing = intervals && self.resamples() == 0;
        self.warnings.iter().chain(missing.then_some(&self.no_intervals))
    }
}

/// Some digits that change with the thresholds: answers depend on them.
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

/// The width of the interval of a sparsity.
pub(crate) fn sparsity_width(interval: Option<IntervalView>) -> Option<Width> {
    interval.map(|interval| Width::Sparsity(interval.high - interval.low))
}

/// The width of the interval of a positive number, over the number.
pub(crate) fn relative_width(interval: Option<IntervalView>, value: f64) -> Option<Width> {
    interval.map(|interval| Width::Relative((interval.high - interval.low) / value.abs()))
}
