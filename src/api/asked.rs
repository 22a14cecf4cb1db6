//! The law that a question is put to, and what to know before trusting its answer.

use std::sync::Arc;

use moka::future::Cache;
use uuid::Uuid;

use super::AppState;
use super::caching::Freshness;
use super::families::existing;
use super::problem::ApiError;
use super::views::{ExtrapolationView, IntervalView, WarningView};
use crate::fit::Residual;
use crate::law::{DomainError, Ensemble, Member, Question, Range, StepCost, TrainingCost};
use crate::store::laws::{self, Law};
use crate::store::{StoreError, law_evidence};
use crate::text::FamilyName;

/// A law with the laws of its resampled runs.
#[derive(Debug)]
pub struct AskedLaw {
    /// The law.
    pub law: Law,
    /// Where its intervals come from, if it has any.
    pub ensemble: Option<Ensemble>,
}

/// Laws by id. They never change, so nothing in here is ever out of date.
#[derive(Debug, Clone)]
pub struct LawCache(Cache<Uuid, Arc<AskedLaw>>);

/// What a law takes besides its resamples: diagnostics and support.
const BYTES_OF_LAW: usize = 16 * 1024;

impl LawCache {
    /// A cache of about so many bytes.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        let bytes = |_: &Uuid, asked: &Arc<AskedLaw>| {
            let members = asked.ensemble.as_ref().map_or(0, |ensemble| ensemble.members().len());
            u32::try_from(BYTES_OF_LAW + members * size_of::<Member>()).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(max_bytes).weigher(bytes).build())
    }

    async fn get(&self, state: &AppState, id: Uuid) -> Result<Option<Arc<AskedLaw>>, StoreError> {
        if let Some(known) = self.0.get(&id).await {
            return Ok(Some(known));
        }
        let Some(law) = laws::find_law_by_id(&state.pool, id).await? else { return Ok(None) };
        let ensemble = law_evidence::find_law_resamples(&state.pool, id).await?;
        let asked = Arc::new(AskedLaw { law, ensemble });
        self.0.insert(id, asked.clone()).await;
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
    if let Some(id) = laws::find_law_id(&state.pool, name, version).await?
        // It may have gone with its family since.
        && let Some(law) = state.laws.get(state, id).await?
    {
        let freshness = if version.is_some() { Freshness::Pinned } else { Freshness::Revalidate };
        return Ok((law, freshness));
    }
    // Only where there is no answer does it matter why.
    existing(state, name).await?;
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

    /// The interval of an answer, where the law has resamples.
    pub fn interval(&self, answer: impl Fn(&Member) -> f64) -> Option<IntervalView> {
        self.ensemble.as_ref().map(|ensemble| ensemble.interval(answer).into())
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
    ) -> (Vec<ExtrapolationView>, Vec<WarningView>) {
        let support = &self.law.content.support;
        let extrapolation = support.extrapolation(question).into_iter().map(Into::into).collect();
        let mut warnings: Vec<WarningView> = Vec::new();
        if support.levels().is_empty() {
            let detail = "the runs behind this law are not known: how far the answer extrapolates \
                          cannot be said";
            warnings.push(WarningView::new("unknown_support", detail));
        }
        if let Some((below, above)) = support.gap_around(question.density.sparsity()) {
            let detail = format!("no run has a sparsity between {below} and {above}");
            warnings.push(WarningView::new("interpolated", detail));
        }
        warnings.extend(self.warnings(intervals));
        (extrapolation, warnings)
    }

    /// What to know before trusting any answer.
    pub fn warnings(&self, intervals: bool) -> Vec<WarningView> {
        let mut warnings: Vec<WarningView> =
            self.law.content.warnings.iter().map(WarningView::from).collect();
        if intervals && self.ensemble.is_none() {
            let detail = "this law carries no resampled coefficients to compute intervals from";
            warnings.push(WarningView::new("no_intervals", detail));
        }
        warnings
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
