//! The law that a question is put to, and what to know before trusting its answer.

use std::collections::HashMap;
use std::sync::Arc;

use moka::future::Cache;
use uuid::Uuid;

use super::AppState;
use super::caching::Freshness;
use super::families::existing;
use super::intervals::Tables;
use super::problem::ApiError;
use super::remembered::Remembered;
use super::views::{IntervalView, LawRef, WarningView};
use crate::fit::{Estimate, Residual};
use crate::law::{
    Compute, Data, Density, DomainError, Ensemble, Extrapolation, Interval, Member, NonzeroParams,
    PreparedEnsemble, Question, Range, Sparsity, SparsityLevel, StepCost, TrainingCost,
    optimal_density,
};
use crate::store::laws::{self, Law};
use crate::store::{StoreError, law_evidence};
use crate::text::{FamilyName, Pattern};

/// What a structured pattern is worth to a law.
#[derive(Debug, Clone, Copy)]
pub struct PatternWorth {
    /// Density that it prescribes.
    pub nominal: Density,
    /// Unstructured sparsity that is as good, where the law's runs of this pattern have told, with its
    /// interval.
    effective: Option<(Sparsity, Option<Interval>)>,
}

impl PatternWorth {
    /// The density at which the loss is looked up.
    #[must_use]
    pub fn density(&self) -> Density {
        self.effective.map_or(self.nominal, |(sparsity, _)| sparsity.density())
    }

    /// Unstructured sparsity that is as good, where runs have told.
    #[must_use]
    pub fn effective(&self) -> Option<f64> {
        self.effective.map(|(sparsity, _)| sparsity.get())
    }

    /// The densities that it could be worth, where runs and resamples have told.
    #[must_use]
    pub fn interval(&self) -> Option<[Density; 2]> {
        let (_, interval) = self.effective?;
        interval
            .map(|Interval { low, high, .. }| [low, high].map(|end| Density::clamped(1.0 - end)))
    }
}

/// A law with the laws of its resampled runs, and what every answer says of it.
#[derive(Debug)]
pub struct AskedLaw {
    /// The law.
    pub law: Law,
    /// Where its intervals come from, if it has any.
    pub ensemble: Option<Ensemble>,
    /// The ensemble, prepared for quick answers.
    pub prepared: Option<PreparedEnsemble>,
    /// Intervals that were asked before.
    pub(super) tables: Tables,
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

impl AskedLaw {
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
        let prepared = ensemble.as_ref().map(|members| PreparedEnsemble::new(members, measured));
        let tag = law.id.to_string();
        let unknown_support = "the runs behind this law are not known: how far the answer extrapolates \
                               cannot be said";
        let no_intervals = "this law carries no resampled coefficients to compute intervals from";
        Self {
            law,
            ensemble,
            prepared,
            tables: Tables::new(),
            tag,
            reference,
            warnings,
            gaps,
            unknown_support: Arc::new(WarningView::new("unknown_support", unknown_support)),
            no_intervals: Arc::new(WarningView::new("no_intervals", no_intervals)),
        }
    }
}

/// Laws in memory, so that a question does no database work.
///
/// By id they never change. Which of them answers for a family does: that is remembered only while
/// the database's announcements are followed ([`super::follow_announcements`]), and forgotten when one names the
/// family or the connection is lost.
#[derive(Debug, Clone)]
pub struct LawCache {
    by_id: Cache<Uuid, Arc<AskedLaw>>,
    answering: Remembered<FamilyName, HashMap<Option<i32>, Arc<AskedLaw>>>,
}

/// Families that are remembered at most; past that all are forgotten.
const MOST_FAMILIES: usize = 10_000;
/// Versions of one family that are remembered at most; past that all of them are forgotten.
const MOST_VERSIONS: usize = 100;

/// What a law takes besides its resamples: diagnostics and support.
const BYTES_OF_LAW: usize = 16 * 1024;

/// What a resample takes: its coefficients, and what is prepared of them.
const BYTES_OF_MEMBER: usize = size_of::<Member>() + PreparedEnsemble::BYTES_OF_LAW;

impl LawCache {
    /// A cache of about so many bytes.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        let bytes = |_: &Uuid, asked: &Arc<AskedLaw>| {
            let members = asked.ensemble.as_ref().map_or(0, |ensemble| ensemble.members().len());
            let tables = if members == 0 { 0 } else { Tables::BYTES };
            u32::try_from(BYTES_OF_LAW + tables + members * BYTES_OF_MEMBER).unwrap_or(u32::MAX)
        };
        let by_id = Cache::builder().max_capacity(max_bytes).weigher(bytes).build();
        Self { by_id, answering: Remembered::default() }
    }

    /// Whether announcements are followed.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        self.answering.is_followed()
    }

    /// How many laws are in memory, and about how many bytes they take.
    #[must_use]
    pub fn size(&self) -> (u64, u64) {
        (self.by_id.entry_count(), self.by_id.weighted_size())
    }

    /// Forgets which laws answer for a family.
    pub fn forget(&self, family: &str) {
        self.answering.forget(|name| name.as_str() == family);
    }

    /// Begins or stops to remember which laws answer.
    pub(super) fn follow(&self, followed: bool) {
        self.answering.follow(followed);
    }

    fn remembered(&self, name: &FamilyName, version: Option<i32>) -> Option<Arc<AskedLaw>> {
        self.answering.find(|families| families.get(name)?.get(&version).cloned())
    }

    fn remember(
        &self,
        generation: u64,
        name: &FamilyName,
        version: Option<i32>,
        law: &Arc<AskedLaw>,
    ) {
        self.answering.remember(generation, |families| {
            if families.len() >= MOST_FAMILIES {
                families.clear();
            }
            let versions = families.entry(name.clone()).or_default();
            if versions.len() >= MOST_VERSIONS {
                versions.clear();
            }
            versions.insert(version, law.clone());
        });
    }

    async fn get(&self, state: &AppState, id: Uuid) -> Result<Option<Arc<AskedLaw>>, StoreError> {
        if let Some(known) = self.by_id.get(&id).await {
            return Ok(Some(known));
        }
        let Some(law) = laws::find_law_by_id(&state.pool, id).await? else { return Ok(None) };
        let ensemble = law_evidence::find_law_resamples(&state.pool, id).await?;
        let asked = Arc::new(AskedLaw::new(law, ensemble));
        self.by_id.insert(id, asked.clone()).await;
        Ok(Some(asked))
    }
}

/// The law that a question is put to: a version, or the one that answers now.
///
/// # Errors
/// [`ApiError::NotFound`], [`ApiError::NoLaw`].
pub async fn asked_law(
    state: &AppState,
    name: &FamilyName,
    version: Option<i32>,
) -> Result<(Arc<AskedLaw>, Freshness), ApiError> {
    let freshness = if version.is_some() { Freshness::Pinned } else { Freshness::Revalidate };
    if let Some(law) = state.laws.remembered(name, version) {
        return Ok((law, freshness));
    }
    let generation = state.laws.answering.generation();
    if let Some(id) = laws::find_law_id(&state.pool, name, version).await?
        // It may have gone with its family since.
        && let Some(law) = state.laws.get(state, id).await?
    {
        state.laws.remember(generation, name, version, &law);
        return Ok((law, freshness));
    }
    // Only where there is no answer does it matter why.
    existing(&state.pool, name).await?;
    match version {
        Some(version) => Err(ApiError::NotFound { what: "law", name: version.to_string() }),
        None => Err(ApiError::NoLaw),
    }
}

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
        self.ensemble.as_ref().map(|ensemble| ensemble.interval(answer).into())
    }

    /// The interval of the optimal sparsity, of which `best` is that of the law of all runs; `None`
    /// where the law has no resamples.
    pub fn optimum_interval(
        &self,
        cost: &TrainingCost,
        nonzero_params: NonzeroParams,
        compute: Compute,
        best: Density,
    ) -> Option<IntervalView> {
        let prepared = self.prepared.as_ref()?;
        if let Some(interval) = prepared.sparsity_interval(cost, nonzero_params, compute, best) {
            return Some(interval.into());
        }
        // A profile may have several local optima; each law is searched on its own.
        self.interval(|member| {
            let best = optimal_density(&member.coefficients, cost, nonzero_params, compute);
            best.sparsity().get()
        })
    }

    /// How the fit compared prediction and measurement; `None` for a published law.
    pub fn residual(&self) -> Option<Residual> {
        self.law.content.options.as_ref().map(|options| options.fit.residual)
    }

    /// The interval of the mean loss over the resampled laws, and that of the loss of one new run;
    /// `None` where the law has no resamples.
    pub fn loss_intervals(
        &self,
        density: Density,
        nonzero_params: NonzeroParams,
        data: Data,
    ) -> Option<(Interval, Interval)> {
        let prepared = self.prepared.as_ref()?;
        let losses = prepared.losses(density, nonzero_params, data);
        let new_run = prepared.interval_of(prepared.new_runs(&losses));
        Some((prepared.interval_of(losses), new_run))
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

    /// The same for an answer that is sent before the law goes: threads that count the same warnings up and
    /// down hold each other up.
    pub(super) fn borrowed_caveats(
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
        let missing = intervals && self.ensemble.is_none();
        self.warnings.iter().chain(missing.then_some(&self.no_intervals))
    }
}

/// A number of an answer, if it is one.
///
/// # Errors
/// [`ApiError::NotRepresentable`].
pub fn finite(name: &str, value: f64) -> Result<f64, ApiError> {
    if value.is_finite() {
        Ok(value)
    } else {
        let detail = format!("{name} overflows at this question: it lies far outside any data");
        Err(ApiError::NotRepresentable(detail))
    }
}

/// The budget pays for no amount of data that is one.
pub fn budget_error(error: &DomainError) -> ApiError {
    ApiError::NotRepresentable(format!("the data that this compute pays for {error}"))
}
