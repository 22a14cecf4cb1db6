//! The law that a question is put to, and what to know before trusting its answer.

use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use sparsity_law::fit::{Estimate, PatternReport, Residual, ensemble_with_curves};
use sparsity_law::law::{
    AnyLaw, CoefficientName, Compute, Data, Density, Determined, Ensemble, Extrapolation, FormLaw,
    Interval, Lacking, LawForm, MeasuredChoice, Member, Missing, NonzeroParams, NotIdentified,
    PatternWorth, PlanLaw, Question, Range, Repetition, SampledForm, SampledLaw, Sparsity,
    SparsityLevel, StepCost, TrainingCost,
};
use uuid::Uuid;

use crate::api::wire::problem::ApiError;
use crate::api::wire::problem::{MissingView, SettlingRunView};
use crate::api::wire::views::{IntervalView, LawRef, TrustView, WarningView};
use crate::domain::calibration::ForecastRecord;
use crate::domain::law::Law;
use crate::domain::text::Pattern;
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
        let residual = law.content.options.as_ref().map(|options| options.fit.residual);
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

/// What the choice between patterns is called where no pattern beats the dense model.
const DENSE: &str = "dense";

/// Patterns whose ratios differ by less than this have the same ratio.
const SAME_RATIO: f64 = 1e-9;

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

    /// Predicted loss, for a question that has passed [`Self::require_at`].
    ///
    /// # Errors
    /// [`ApiError::Undetermined`] at a sparsity that a law of levels does not have.
    pub fn loss(
        &self,
        level: Option<usize>,
        density: Density,
        nonzero_params: NonzeroParams,
        data: Data,
    ) -> Result<f64, ApiError> {
        match &self.own {
            None => Ok(self.law.content.coefficients.loss(density, nonzero_params, data)),
            Some(own) => {
                let loss = own.law().loss_at(level, density, nonzero_params, data);
                loss.ok_or_else(|| self.no_level(own.law(), density))
            }
        }
    }

    /// The name of the level at this place; `None` for a level without a name and for laws without levels.
    #[must_use]
    pub fn level_name(&self, place: Option<usize>) -> Option<String> {
        self.own.as_ref()?.law().level(place)?.name.clone()
    }

    /// Finds the place of the level that a question names.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] about `level` where the law has no level of this name at this density.
    pub fn named_level(&self, name: &str, density: Density) -> Result<usize, ApiError> {
        let place = match self.own.as_ref().map(SampledForm::law) {
            Some(FormLaw::Levels(levels)) => levels.place_of(density, name),
            _ => None,
        };
        place.ok_or_else(|| {
            let told = self.own.as_ref().map(|own| own.law().levels_told()).unwrap_or_default();
            let detail = if told.is_empty() {
                format!("must be left out: law {} has no levels", self.law.version)
            } else {
                format!("must name a level of the sparsity; law {} has {told}", self.law.version)
            };
            ApiError::field("/level", detail)
        })
    }

    /// Intervals of the mean loss and of the loss of one new run; `None` where the law has no intervals.
    #[must_use]
    pub fn loss_intervals(
        &self,
        level: Option<usize>,
        density: Density,
        nonzero_params: NonzeroParams,
        data: Data,
    ) -> Option<(Interval, Interval)> {
        match &self.own {
            None => self.sampled.loss_intervals(density, nonzero_params, data),
            Some(own) => own.loss_intervals_at(level, density, nonzero_params, data),
        }
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

    /// Refuses a sparsity that a law of levels does not have. Laws of other forms accept every sparsity.
    ///
    /// # Errors
    /// [`ApiError::Undetermined`] if the sparsity is not one of the law's levels.
    pub fn require_level(&self, density: Density) -> Result<(), ApiError> {
        match &self.own {
            Some(own) if !self.knows(density) => Err(self.no_level(own.law(), density)),
            _ => Ok(()),
        }
    }

    /// Whether the law can say anything about models of this density.
    #[must_use]
    pub fn knows(&self, density: Density) -> bool {
        match self.own.as_ref().map(SampledForm::law) {
            Some(FormLaw::Levels(levels)) => levels.level(density).is_some(),
            _ => true,
        }
    }

    /// Refuses a question about a budget that the law cannot answer.
    ///
    /// A law of the seven coefficients has to determine the effects of size, sparsity and data together. A law of
    /// another form only has to have seen different sizes and amounts of data: it is not stored in the first place if
    /// its runs leave anything but the effect of data open.
    ///
    /// # Errors
    /// [`ApiError::Undetermined`] or [`ApiError::NotIdentified`].
    pub fn require_plans(&self, what: &str) -> Result<(), ApiError> {
        if self.own.is_some() { self.require_budgets(what) } else { self.require_all(what) }
    }

    /// The error for a sparsity that a law of levels does not have, or has several levels of.
    pub fn no_level(&self, own: &FormLaw, density: Density) -> ApiError {
        let sparsity = density.sparsity().get();
        let FormLaw::Levels(levels) = own else {
            return ApiError::Undetermined(format!("law {} has no levels", self.law.version));
        };
        if levels.has_several(density) {
            return ApiError::Undetermined(format!(
                "law {} has several levels of sparsity {sparsity}, of which a question names one by level: it has {}",
                self.law.version,
                own.levels_told()
            ));
        }
        ApiError::Undetermined(format!(
            "law {} has the form levels, which knows the sparsities {} and nothing between and beyond them: sparsity \
             must be one of these, not {sparsity}; submit runs at it and refit, or ask a law of another form",
            self.law.version,
            own.levels_told()
        ))
    }

    /// Refuses a question that only the seven coefficients can answer, for laws of other forms.
    ///
    /// # Errors
    /// [`ApiError::Undetermined`] if the law has another form.
    pub fn require_curve(&self) -> Result<(), ApiError> {
        let Some(own) = &self.own else { return Ok(()) };
        let version = self.law.version;
        let why = match own.law().form() {
            LawForm::Levels => {
                "levels, which knows single sparsities and nothing between them. It answers predictions, \
                 optimal sparsities, loss-by-sparsity, gain, plans, suggestions, comparisons of recipes and forecasts"
            }
            _ => {
                "experts, by which what sparsity is worth depends on the size. It answers predictions, \
                 optimal sparsities, loss-by-sparsity, plans, suggestions, comparisons of recipes and forecasts"
            }
        };
        Err(ApiError::Undetermined(format!(
            "law {version} has the form {why}; for this question refit with another form, or name a version that has \
             one (law_version)"
        )))
    }

    /// The quantities whose effect the law knows.
    fn determines(&self) -> Determined {
        match &self.own {
            None => self.law.content.coefficients.determines(),
            Some(own) => Determined {
                nonzero_params: true,
                sparsity: true,
                data: own.law().determines_data(),
            },
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

    /// The error for questions that no law with a borrowed gain answers, with the sparse runs that would give it its
    /// own gain; `None` for all other laws.
    pub fn without_own_gain(&self, what: &str) -> Option<ApiError> {
        let version = self.law.version;
        self.law.content.shape.gain.as_ref().map(|lent| ApiError::NotIdentified {
            detail: format!(
                "{what} cannot be had of law {version}: its gain is borrowed of {}; {}",
                lent.family,
                if lent.settling.is_empty() {
                    "submit runs of three sparsities and refit"
                } else {
                    "suggestions are the sparse runs that make it this family's own: make them, submit them and refit"
                }
            ),
            missing: vec![MissingView::from(&Missing {
                what: Lacking::Sparsity,
                have: 1,
                needed: 3,
            })],
            suggestions: lent.settling.iter().map(SettlingRunView::from).collect(),
        })
    }

    /// The effective sparsity of a pattern; `None` where its numbers are out of range.
    pub fn worth(&self, pattern: &Pattern) -> Option<PatternWorth> {
        let nominal = Sparsity::new(pattern.sparsity()).ok()?.density();
        let reports = &self.law.content.patterns;
        let measured = reports.iter().find(|report| report.name == pattern.as_str());
        // An unmeasured pattern taken at its nominal sparsity could beat a measured one of the same ratio just because
        // nobody measured it, so it gets the worst value measured at that ratio. Laws stored by versions that took it
        // at its nominal sparsity keep giving the answers they gave.
        let of_ratio = || {
            let same = |report: &&PatternReport| {
                (report.nominal_sparsity - pattern.sparsity()).abs() < SAME_RATIO
            };
            let worth = |report: &PatternReport| report.effective_sparsity.value;
            let all = reports.iter().filter(same);
            all.min_by(|a, b| worth(a).total_cmp(&worth(b)))
        };
        let report = match measured {
            None if self.law.content.identification().is_some() => of_ratio(),
            _ => measured,
        };
        let effective = match report {
            Some(report) => {
                let Estimate { value, interval } = report.effective_sparsity;
                Some((Sparsity::new(value).ok()?, interval))
            }
            None => None,
        };
        Some(PatternWorth { nominal, effective })
    }

    /// Sorts the patterns that the law has runs of first, because the first of several equally good ones is
    /// recommended.
    pub fn measured_first<'p>(&self, patterns: &'p [Pattern]) -> Vec<&'p Pattern> {
        let mut ordered: Vec<&Pattern> = patterns.iter().collect();
        if self.law.content.identification().is_some() {
            ordered.sort_by_key(|pattern| self.unmeasured(Some(pattern.as_str())).is_some());
        }
        ordered
    }

    /// The warning for a recommended pattern that no run of the law has; `None` if there are such runs, or no pattern.
    pub fn unmeasured<'a>(&'a self, pattern: Option<&str>) -> Option<&'a Arc<WarningView>> {
        // A law of mixtures of experts knows them by their sparsity alone, so there is nothing to be measured by name.
        let name =
            pattern.filter(|name| *name != DENSE && !self.law.content.zeros.are_experts())?;
        let measured = self.law.content.patterns.iter().any(|report| report.name == name)
            || self.has_level(name);
        (!measured).then_some(&self.unmeasured_pattern)
    }

    /// Whether this is a law of levels with a level of this name.
    fn has_level(&self, name: &str) -> bool {
        match self.own.as_ref().map(SampledForm::law) {
            Some(FormLaw::Levels(levels)) => {
                levels.levels.iter().any(|level| level.name.as_deref() == Some(name))
            }
            _ => false,
        }
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
        self.law.content.options.as_ref().map(|options| options.fit.residual)
    }

    /// Refuses a question about a quantity that varied too little over the runs, or not at all.
    ///
    /// # Errors
    /// [`ApiError::Undetermined`] or [`ApiError::NotIdentified`].
    pub fn require_all(&self, what: &str) -> Result<(), ApiError> {
        self.require_varied(what)?;
        let known = self.law.content.identification();
        known.map_or(Ok(()), |known| known.require_all()).map_err(|error| self.open(what, error))
    }

    /// Refuses a question that depends on the effects of size and data, where either never varied over the runs. Where
    /// they varied but the runs still leave something open, [`Self::require_at`] refuses the question.
    ///
    /// # Errors
    /// [`ApiError::Undetermined`] if all runs have the same data or the same size.
    pub fn require_budgets(&self, what: &str) -> Result<(), ApiError> {
        let known = self.determines();
        for (known, quantity) in [(known.data, "data"), (known.nonzero_params, "nonzero_params")] {
            if !known {
                return Err(self.undetermined(what, quantity));
            }
        }
        Ok(())
    }

    /// Refuses a question that depends on the effects of size and sparsity but not of data, where these varied too
    /// little over the runs, or not at all.
    ///
    /// # Errors
    /// [`ApiError::Undetermined`] or [`ApiError::NotIdentified`].
    pub fn require_gain(&self, what: &str) -> Result<(), ApiError> {
        use CoefficientName::{AS, BN, BS, CS};
        let determined = self.determines();
        if !(determined.sparsity && determined.nonzero_params) {
            self.require_varied(what)?;
        }
        let known = self.law.content.identification();
        let known = known.map_or(Ok(()), |known| known.require(&[AS, BS, CS, BN]));
        known.map_err(|error| self.open(what, error))
    }

    /// The error for an answer that the runs do not determine, with the runs that would settle it.
    fn open(&self, what: &str, error: NotIdentified) -> ApiError {
        let known = self.law.content.identification();
        let settling = known.map_or(&[][..], |known| &known.settling);
        let advice = if settling.is_empty() {
            "submit runs with other values and refit"
        } else {
            "suggestions are the cheapest runs that settle it: make them, submit them and refit"
        };
        ApiError::NotIdentified {
            detail: format!("{what} cannot be had of law {}: {error}; {advice}", self.law.version),
            missing: error.missing.iter().map(MissingView::from).collect(),
            suggestions: settling.iter().map(SettlingRunView::from).collect(),
        }
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

    /// The trust that applies to every answer of this law, before anything that depends on the question.
    pub fn answers_trust(&self) -> TrustView {
        self.trust.clone().into()
    }

    fn require_varied(&self, what: &str) -> Result<(), ApiError> {
        let known = self.determines();
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

    /// Refuses a prediction that the runs do not determine, or away from the only value that they have of a quantity.
    ///
    /// # Errors
    /// [`ApiError::Undetermined`] or [`ApiError::NotIdentified`].
    pub fn require_at(&self, question: &Question<'_>) -> Result<(), ApiError> {
        self.require_at_level(question, None)
    }

    /// Like [`Self::require_at`], at the level of the given place if there is one.
    ///
    /// # Errors
    /// The same as [`Self::require_at`].
    pub fn require_at_level(
        &self,
        question: &Question<'_>,
        level: Option<usize>,
    ) -> Result<(), ApiError> {
        let known = self.determines();
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
            // The tolerance by which fits group values into levels: absolute for sparsities, relative for the others.
            let inside = range.is_none_or(|Range { min, max }| {
                let margin = 2e-3 * if quantity == "sparsity" { 1.0 } else { max };
                (min - margin..=max + margin).contains(&value)
            });
            if !known && !inside {
                return Err(self.undetermined("the answer", quantity));
            }
        }
        if let Some(own) = &self.own {
            // Laws of these forms are only stored if their runs determine everything, so only the level is left to
            // check.
            let known = own.law().levels().is_none_or(|_| {
                let Question { nonzero_params, density, data, .. } = *question;
                own.law().loss_at(level, density, nonzero_params, data).is_some()
            });
            return known.then_some(()).ok_or_else(|| self.no_level(own.law(), question.density));
        }
        let identified = self.law.content.identification();
        let identified = identified.map_or(Ok(()), |known| known.require_loss(question));
        identified.map_err(|error| self.open("the loss", error))
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
