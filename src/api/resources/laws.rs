//! `/v1/families/{family}/laws`: fitted and published laws.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Datelike, Utc};
use serde::{Deserialize, Serialize};
use sparsity_law::fit::{
    Diagnostics, Lenders, Multiplier, PatternReport, PretrainedReport, Profile, RepeatedData,
    Rival, Rivals, with_curve,
};
use sparsity_law::law::{
    BorrowedGain, CoefficientName, CoefficientValues, Coefficients, ExpertCoefficients,
    Identification, Interval, LawForm, LevelLaw, RivalLaw, Support, T5_C4, VIT_JFT,
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::api::layers::replica_reads::Reads;
use crate::api::resources::families::{FamilyView, existing};
use crate::api::state::AppState;
use crate::api::tags::TAG_LAWS;
use crate::api::wire::caching::{Freshness, KnownTags, cached};
use crate::api::wire::extract::{
    FamilyPath, JsonBody, PageParams, Query, family_name, next_cursor, no_family,
};
use crate::api::wire::problem::{ApiError, MissingView, SettlingRunView};
use crate::api::wire::views::{
    BorrowView, CoefficientsView, EstimateView, ExpertsView, FitOptionsView, HoldoutView,
    IntervalView, LawCoefficientsView, LawFormView, LawSourceView, PruningView, SparsityLevelView,
    TrustView, WarningView, ZerosView,
};
use crate::domain::checks::Checks;
use crate::domain::law::{Law, LawContent, LawShape, LawSource, LentGain, Resamples};
use crate::domain::text::{FamilyName, check_prose};
use crate::live::keyring::Caller;
use crate::store::{families, laws};

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_laws, create_law))
        .routes(routes!(get_law))
        .routes(routes!(update_active_law))
}

/// A law: coefficients, and what stands behind them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Law)]
pub struct LawView {
    /// Id of the law.
    id: Uuid,
    /// Version within the family, counted from 1.
    #[schema(example = 1)]
    version: i32,
    /// Whether it was fitted here or published elsewhere.
    source: LawSourceView,
    /// Where published coefficients stand.
    reference: Option<String>,
    /// Whether it is the law that answers now.
    active: bool,
    /// Whether it was fitted without some runs, those of `options.without`, to see what they do. Such a law
    /// answers only where its version is asked for, and cannot be made active.
    #[schema(example = false)]
    what_if: bool,
    /// What it says of sparsity.
    form: LawFormView,
    /// The gain that it has from another family's law; null where what it says of sparsity is its own.
    gain: Option<LentGainView>,
    /// The coefficients, in raw units at full precision. Of a law that is `dense` or counts `average_params`, `c_s` is
    /// the capacity coefficient of dense models.
    coefficients: LawCoefficientsView,
    /// Interval of each coefficient; null where the law has none.
    intervals: Option<CoefficientIntervals>,
    /// Mean Huber loss over its runs, where known.
    #[schema(example = 4.880117e-6)]
    objective: Option<f64>,
    /// Number of its runs, where known.
    #[schema(example = 48)]
    runs: Option<u32>,
    /// What its runs cover, by level of sparsity; empty where unknown.
    support: Vec<SparsityLevelView>,
    /// What its runs cannot tell.
    warnings: Vec<WarningView>,
    /// How far its answers can be trusted, whatever they are about. What depends on the question (the width of an
    /// interval, how far it lies outside the runs) is added in each answer.
    trust: TrustView,
    /// What the fit says about itself; null for a published law.
    diagnostics: Option<DiagnosticsView>,
    /// Effective sparsity of each structured pattern among the runs.
    patterns: Vec<PatternReportView>,
    /// Runs from pretrained checkpoints; null where there were none.
    pretrained: Option<PretrainedReportView>,
    /// How fast repeating data wears out; null where no run says how much of its data is different.
    repeated_data: Option<RepeatedDataView>,
    /// Other forms of the law, fitted on the same runs; null where the refit did not ask for all forms.
    rivals: Option<RivalsView>,
    /// What the fit ran with; null for a published law.
    options: Option<FitOptionsView>,
    /// Digest of the runs that it was fitted on; null for a published law.
    data_digest: Option<String>,
    /// What `data` counts.
    #[schema(example = "tokens")]
    data_unit: String,
    /// FLOPs per parameter and data unit that its answers use.
    #[schema(example = 6.0)]
    flops_per_param: f64,
    /// Pruning schedule that its answers use.
    pruning: PruningView,
    /// What the zeros of its models are.
    zeros: ZerosView,
    /// The mixtures of experts that can be deployed; null where none are said.
    experts: Option<ExpertsView>,
    /// When it was fitted, or published.
    fitted_at: DateTime<Utc>,
}

/// Interval of each coefficient; null for one that the law does not have, or that its runs do not determine.
#[derive(Debug, Serialize, ToSchema)]
pub struct CoefficientIntervals {
    /// Of `a_s`.
    a_s: Option<IntervalView>,
    /// Of `b_s`.
    b_s: Option<IntervalView>,
    /// Of `c_s`.
    c_s: Option<IntervalView>,
    /// Of `b_n`.
    b_n: Option<IntervalView>,
    /// Of `a_d`.
    a_d: Option<IntervalView>,
    /// Of `b_d`.
    b_d: Option<IntervalView>,
    /// Of `c`.
    c: Option<IntervalView>,
}

impl CoefficientIntervals {
    /// `None` where there is none at all.
    fn new(
        intervals: &BTreeMap<CoefficientName, Interval>,
        identification: Option<&Identification>,
    ) -> Option<Self> {
        let determined = |name| identification.is_none_or(|known| known.determines(name));
        let of = |name| {
            let interval = intervals.get(&name).filter(|_| determined(name));
            interval.copied().map(IntervalView::from)
        };
        (!intervals.is_empty()).then(|| Self {
            a_s: of(CoefficientName::AS),
            b_s: of(CoefficientName::BS),
            c_s: of(CoefficientName::CS),
            b_n: of(CoefficientName::BN),
            a_d: of(CoefficientName::AD),
            b_d: of(CoefficientName::BD),
            c: of(CoefficientName::C),
        })
    }
}

/// What a fit says about itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Diagnostics)]
pub struct DiagnosticsView {
    /// Share of the starts whose objective is within 0.1 % of the best and whose answers over the range of the runs
    /// are those of the best: losses within 0.1 %, best sparsities within 0.01.
    #[schema(example = 0.97)]
    agreement: f64,
    /// Slope `s0` of the gain at sparsity 0; above 1 the law is unphysical there. Null where the law
    /// does not know what sparsity or size do.
    #[schema(example = 0.8)]
    gain_slope: Option<f64>,
    /// Robust standard deviation of the residuals, widened for the fitted coefficients, in the unit
    /// of the objective's residual.
    #[schema(example = 0.007)]
    noise: f64,
    /// Correlations of the fitted coefficients.
    correlations: CorrelationsView,
    /// Ratio of the largest to the smallest singular value of the Jacobian with columns of unit
    /// length; null where the runs do not determine all coefficients.
    #[schema(example = 185.0)]
    condition: Option<f64>,
    /// Profile interval of each fitted exponent.
    profiles: Vec<ProfileView>,
    /// How well left-out runs were predicted.
    holdouts: Vec<HoldoutReportView>,
    /// Resamples that gave a law.
    #[schema(example = 1000)]
    resamples: Option<u32>,
    /// Resamples that determined none.
    #[schema(example = 0)]
    failed_resamples: Option<u32>,
    /// Every start, in the order of its index.
    starts: Vec<StartReportView>,
    /// Which coefficients the runs determine; null for a law that was fitted before this was looked at.
    identification: Option<IdentificationView>,
    /// How many clusters of runs were resampled; null where each run was drawn by itself.
    #[schema(example = json!(null))]
    clusters: Option<usize>,
}

/// Which coefficients the runs of a law determine.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Identification)]
pub struct IdentificationView {
    /// Number of runs.
    #[schema(example = 48)]
    runs: usize,
    /// Number of coefficients that were fitted.
    #[schema(example = 7)]
    fitted: usize,
    /// How many combinations of them the runs tell apart.
    #[schema(example = 7)]
    rank: usize,
    /// The coefficients that they do not determine one by one; these are null.
    #[schema(example = json!([]))]
    open: Vec<&'static str>,
    /// What the runs have too few of; empty where every coefficient is determined.
    #[schema(example = json!([]))]
    missing: Vec<MissingView>,
    /// The cheapest runs that settle it.
    #[schema(example = json!([]))]
    suggestions: Vec<SettlingRunView>,
}

impl From<Identification> for IdentificationView {
    fn from(known: Identification) -> Self {
        Self {
            runs: known.runs,
            fitted: known.fitted,
            rank: known.rank,
            open: known.open.iter().map(|name| name.as_str()).collect(),
            missing: known.missing.iter().map(MissingView::from).collect(),
            suggestions: known.settling.iter().map(SettlingRunView::from).collect(),
        }
    }
}

/// Correlations of the logarithms of the coefficients at the geometric mean of the runs, where
/// `a_s`, `c_s` and `a_d` count as their part of the loss there: in raw units they say mostly how far
/// one parameter and one token are from the runs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Correlations)]
pub struct CorrelationsView {
    /// The coefficients of rows and columns.
    #[schema(example = json!(["a_s", "b_s"]))]
    coefficients: Vec<&'static str>,
    /// Row by row; empty where the runs do not determine all coefficients.
    #[schema(example = json!([[1.0, -0.6], [-0.6, 1.0]]))]
    matrix: Vec<Vec<f64>>,
}

/// How far one exponent can go while the others make up for it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Profile)]
pub struct ProfileView {
    /// The exponent.
    #[schema(example = "b_d")]
    coefficient: &'static str,
    /// Nominal coverage.
    #[schema(example = 0.95)]
    level: f64,
    /// Lower end; null where the runs set none.
    low: Option<f64>,
    /// Upper end; null where the runs set none.
    high: Option<f64>,
}

/// How well runs were predicted by a law that was fitted without them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HoldoutReport)]
pub struct HoldoutReportView {
    /// Which runs were left out.
    holdout: HoldoutView,
    /// The smallest value of the quantity that was left out.
    limit: f64,
    /// Runs that were predicted.
    runs: usize,
    /// Runs that the law was fitted on.
    fitted_runs: usize,
    /// Mean residual: positive where the losses were predicted too high. Null where the other runs are too few,
    /// or of too few levels, to determine a law.
    bias: Option<f64>,
    /// Root mean square of the residuals; null where `bias` is.
    rms: Option<f64>,
}

/// One start of a fit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StartReport)]
pub struct StartReportView {
    /// Mean Huber loss that it reached.
    objective: f64,
    /// Why it ended: `converged`, `stalled`, `budget` or `stopped`.
    #[schema(example = "converged")]
    termination: &'static str,
    /// Evaluations of the objective and its derivatives that it took.
    evaluations: u32,
}

impl DiagnosticsView {
    fn new(
        diagnostics: Diagnostics,
        resamples: Option<Resamples>,
        coefficients: &Coefficients,
    ) -> Self {
        let known = coefficients.determines();
        let determined = diagnostics.identification.as_ref().is_none_or(|known| {
            use CoefficientName::{AS, BN, BS, CS};
            known.require(&[AS, BS, CS, BN]).is_ok()
        });
        Self {
            agreement: diagnostics.agreement,
            gain_slope: (known.sparsity && known.nonzero_params && determined)
                .then(|| coefficients.gain_slope()),
            noise: diagnostics.noise,
            correlations: CorrelationsView {
                coefficients: diagnostics.fitted.into_iter().map(CoefficientName::as_str).collect(),
                matrix: diagnostics.correlations,
            },
            condition: diagnostics.condition,
            clusters: diagnostics.clusters,
            profiles: diagnostics
                .profiles
                .into_iter()
                .map(|Profile { coefficient, level, low, high }| ProfileView {
                    coefficient: coefficient.as_str(),
                    level,
                    low,
                    high,
                })
                .collect(),
            holdouts: diagnostics
                .holdouts
                .into_iter()
                .map(|report| HoldoutReportView {
                    holdout: report.holdout.into(),
                    limit: report.limit,
                    runs: report.runs,
                    fitted_runs: report.fitted_runs,
                    bias: report.bias,
                    rms: report.rms,
                })
                .collect(),
            resamples: resamples.map(|resamples| resamples.fitted),
            failed_resamples: resamples.map(|resamples| resamples.failed),
            starts: diagnostics
                .starts
                .into_iter()
                .map(|start| StartReportView {
                    objective: start.objective,
                    termination: start.termination.as_str(),
                    evaluations: start.evaluations,
                })
                .collect(),
            identification: diagnostics.identification.map(IdentificationView::from),
        }
    }
}

/// What a structured pattern is worth, measured by its runs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PatternReport)]
pub struct PatternReportView {
    /// Its name.
    #[schema(example = "2:4")]
    pattern: String,
    /// Fraction of zeros that it prescribes.
    #[schema(example = 0.5)]
    nominal_sparsity: f64,
    /// Number of its runs.
    runs: usize,
    /// Unstructured sparsity that explains its runs best, all coefficients of the law held.
    effective_sparsity: EstimateView,
    /// Gain at the effective sparsity; null where the law does not know what size does.
    gain: Option<EstimateView>,
    /// Gain of unstructured sparsity equal to the nominal one.
    unstructured_gain: Option<f64>,
}

impl From<PatternReport> for PatternReportView {
    fn from(report: PatternReport) -> Self {
        Self {
            pattern: report.name,
            nominal_sparsity: report.nominal_sparsity,
            runs: report.runs,
            effective_sparsity: report.effective_sparsity.into(),
            gain: report.gain.map(EstimateView::from),
            unstructured_gain: report.unstructured_gain,
        }
    }
}

/// The law of runs from pretrained checkpoints, and how much data the checkpoint was worth.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PretrainedReport)]
pub struct PretrainedReportView {
    /// Coefficients of these runs alone; their data is that of the sparse phase.
    coefficients: LawCoefficientsView,
    /// Interval of each coefficient; null where no resamples were made.
    intervals: Option<CoefficientIntervals>,
    /// Mean Huber loss over these runs.
    objective: f64,
    /// Number of runs.
    runs: usize,
    /// What these runs cannot tell.
    warnings: Vec<WarningView>,
    /// By sparsity, how much more data training from scratch needs for the same loss.
    multipliers: Vec<MultiplierView>,
}

/// Data that training from scratch needs for the loss of the pretrained start, relative to its data:
/// the geometric mean over the pretrained runs of one sparsity.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DataMultiplier)]
pub struct MultiplierView {
    /// The sparsity.
    #[schema(example = 0.5)]
    sparsity: f64,
    /// Number of pretrained runs at it.
    runs: usize,
    /// Counting the data of the sparse phase alone; null where no amount of data reaches the loss.
    sparse_phase: Option<EstimateView>,
    /// Counting dense pretraining and sparse phase together; null also where a run does not say how
    /// much data its checkpoint had seen.
    both_phases: Option<EstimateView>,
}

impl From<Multiplier> for MultiplierView {
    fn from(multiplier: Multiplier) -> Self {
        Self {
            sparsity: multiplier.sparsity,
            runs: multiplier.runs,
            sparse_phase: multiplier.sparse_phase.map(EstimateView::from),
            both_phases: multiplier.both_phases.map(EstimateView::from),
        }
    }
}

impl From<PretrainedReport> for PretrainedReportView {
    fn from(report: PretrainedReport) -> Self {
        let multipliers = report.multipliers.into_iter().map(MultiplierView::from);
        Self {
            coefficients: LawCoefficientsView::new(&report.coefficients, None),
            intervals: CoefficientIntervals::new(&report.intervals, None),
            objective: report.objective,
            runs: report.runs,
            warnings: report
                .warnings
                .iter()
                .map(|warning| WarningView::new(warning.code.as_str(), &*warning.detail))
                .collect(),
            multipliers: multipliers.collect(),
        }
    }
}

impl LawView {
    fn new(law: Law, active_id: Option<Uuid>) -> Self {
        let content = law.content;
        let what_if = content.is_what_if();
        let known = content.identification();
        let coefficients = LawCoefficientsView::new(&content.coefficients, known);
        let intervals = CoefficientIntervals::new(&content.intervals, known);
        let warnings = content.all_warnings().iter().map(WarningView::from).collect();
        let trust = content.trust().into();
        let delta = content.delta();
        let LawShape { form, gain, repeated, rivals } = content.shape;
        Self {
            id: law.id,
            version: law.version,
            source: content.source.into(),
            reference: content.reference,
            active: active_id == Some(law.id),
            what_if,
            form: form.unwrap_or(LawForm::Sparse).into(),
            gain: gain.map(LentGainView::from),
            repeated_data: repeated.map(RepeatedDataView::from),
            rivals: rivals.map(RivalsView::from),
            coefficients,
            intervals,
            trust,
            objective: content.objective,
            runs: content.runs,
            support: content.support.levels().iter().map(SparsityLevelView::from).collect(),
            warnings,
            diagnostics: content.diagnostics.map(|diagnostics| {
                DiagnosticsView::new(diagnostics, content.resamples, &content.coefficients)
            }),
            patterns: content.patterns.into_iter().map(PatternReportView::from).collect(),
            pretrained: content.pretrained.map(PretrainedReportView::from),
            options: content.options.map(|options| FitOptionsView::new(options, delta)),
            data_digest: content.data_digest,
            data_unit: content.data_unit,
            flops_per_param: content.flops_per_param.get(),
            pruning: (&content.pruning).into(),
            zeros: (&content.zeros).into(),
            experts: content.zeros.grid().map(ExpertsView::from),
            fitted_at: content.fitted_at,
        }
    }
}

/// A gain that was borrowed of another family's law.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BorrowedGain)]
pub struct LentGainView {
    /// Name of the lending family.
    #[schema(example = "t5-c4")]
    borrow: String,
    /// Version of its law.
    #[schema(example = 1)]
    version: i32,
    /// The lender's coefficients that make its gain, `((a_s (1-S)^b_s + c_s) / (a_s + c_s))^(-1/b_n)`.
    lender: LenderCoefficients,
    /// The sparse runs that would make the gain this family's own; empty of a law without runs.
    suggestions: Vec<SettlingRunView>,
}

/// What makes the gain of a law.
#[derive(Debug, Serialize, ToSchema)]
pub struct LenderCoefficients {
    /// Capacity that sparsity costs.
    #[schema(example = 16.787050107077444)]
    a_s: f64,
    /// Exponent of the density.
    #[schema(example = 0.72161276)]
    b_s: f64,
    /// Capacity that is left as `S -> 1`.
    #[schema(example = 45.01844735112024)]
    c_s: f64,
    /// Exponent of the non-zero parameters.
    #[schema(example = 0.24513173)]
    b_n: f64,
}

impl From<LentGain> for LentGainView {
    fn from(lent: LentGain) -> Self {
        let BorrowedGain { a_s, b_s, c_s, b_n } = lent.gain;
        Self {
            borrow: lent.family,
            version: lent.version,
            lender: LenderCoefficients { a_s, b_s, c_s, b_n },
            suggestions: lent.settling.iter().map(SettlingRunView::from).collect(),
        }
    }
}

/// How fast repeating data wears out: `D_eff = U + U R (1 - exp(-(D/U - 1) / R))` for `D` above the different data `U`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RepeatedData)]
pub struct RepeatedDataView {
    /// `R`, in epochs.
    #[schema(example = 15.39)]
    decay: f64,
    /// Whether the runs of the law show it; otherwise it is that of a published law of language models
    /// (arXiv 2305.16264).
    #[schema(example = false)]
    fitted: bool,
    /// Its profile interval; null where it was not fitted.
    interval: Option<IntervalView>,
    /// Runs that repeat their data.
    #[schema(example = 12)]
    runs: usize,
}

impl From<RepeatedData> for RepeatedDataView {
    fn from(RepeatedData { decay, fitted, interval, runs }: RepeatedData) -> Self {
        Self { decay, fitted, interval: interval.map(IntervalView::from), runs }
    }
}

/// Forms of the law that were fitted on the same runs and judged by how they predict runs that were held out.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rivals)]
pub struct RivalsView {
    /// Laws that were fitted on the runs below a limit of size, data or their product.
    #[schema(example = 16)]
    rounds: usize,
    /// Predictions of the other runs, the same for all forms.
    #[schema(example = 240)]
    predictions: usize,
    /// The forms, the one that predicts best first.
    forms: Vec<RivalView>,
    /// Forms that these runs cannot carry.
    refused: Vec<RefusedFormView>,
}

/// One form among others.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rival)]
pub struct RivalView {
    /// The form.
    form: LawFormView,
    /// Number of coefficients that were fitted.
    #[schema(example = 7)]
    coefficients: usize,
    /// Mean Huber loss over all runs.
    #[schema(example = 4.880117e-6)]
    objective: f64,
    /// Root of the mean squared residual of the predictions, in the unit of the objective's residual; null where the
    /// runs allow none.
    #[schema(example = 0.0091)]
    holdout_error: Option<f64>,
    /// Its interval, by resampling the runs that were predicted.
    interval: Option<IntervalView>,
    /// Interval of how much it is above the error of the law's own form.
    excess: Option<IntervalView>,
    /// Whether it predicts no worse than the law's own form, as far as these predictions tell.
    #[schema(example = true)]
    no_worse: bool,
    /// Its law.
    law: RivalLawView,
}

/// A form that was not fitted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RefusedForm)]
pub struct RefusedFormView {
    /// The form.
    form: LawFormView,
    /// Why these runs cannot carry it.
    #[schema(example = "the runs have 2 different values of sparsity, and it needs 3")]
    reason: String,
}

/// The law of a form, in raw units: one of these.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RivalLaw)]
pub enum RivalLawView {
    /// The paper's form.
    Sparse(CoefficientsView),
    /// Counting the mean number of parameters over training.
    AverageParams(AverageParamsCoefficients),
    /// One capacity at each sparsity.
    Levels(LevelsView),
    /// Mixtures of experts.
    Experts(ExpertCoefficientsView),
}

/// Coefficients of `A (N (1 - m S)/(1 - S))^(-b_n) + (a_d / D)^b_d + c`.
#[derive(Debug, Serialize, ToSchema)]
pub struct AverageParamsCoefficients {
    /// Capacity of dense models.
    a: f64,
    /// Exponent of the mean number of parameters.
    b_n: f64,
    /// Scale of the data.
    a_d: f64,
    /// Exponent of the data.
    b_d: f64,
    /// Irreducible loss.
    c: f64,
    /// `m`: mean sparsity over training as a share of the final one.
    #[schema(example = 0.625)]
    mean_share: f64,
}

/// Coefficients of `A_j N^(-b_n) + (a_d / D)^b_d + c` at the sparsity of level `j`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LevelCoefficients)]
pub struct LevelsView {
    /// The levels, in rising order of sparsity.
    levels: Vec<LevelView>,
    /// Exponent of the non-zero parameters.
    b_n: f64,
    /// Scale of the data.
    a_d: f64,
    /// Exponent of the data.
    b_d: f64,
    /// Irreducible loss.
    c: f64,
}

/// The capacity at one sparsity.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LevelCapacity)]
pub struct LevelView {
    /// The sparsity.
    #[schema(example = 0.5)]
    sparsity: f64,
    /// Runs at it.
    #[schema(example = 12)]
    runs: usize,
    /// `A_j`.
    a: f64,
    /// Size of the dense model that is as good, relative to the non-zero parameters; null where no run is dense.
    gain: Option<f64>,
}

/// Coefficients of `e + a T^(-alpha) + b D^(-beta) + c (1-S)^(-lambda) + d (1-S)^(-delta) T^(-gamma)` with `T` all
/// parameters.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExpertCoefficients)]
pub struct ExpertCoefficientsView {
    /// Irreducible loss.
    e: f64,
    /// Amplitude of the total size.
    a: f64,
    /// Its exponent.
    alpha: f64,
    /// Amplitude of the data.
    b: f64,
    /// Its exponent.
    beta: f64,
    /// Amplitude of the density.
    c: f64,
    /// Its exponent, of either sign.
    lambda: f64,
    /// Amplitude of density and size together.
    d: f64,
    /// Exponent of the density in it, of either sign.
    delta: f64,
    /// Exponent of the total size in it.
    gamma: f64,
}

impl From<Rivals> for RivalsView {
    fn from(rivals: Rivals) -> Self {
        let refused = rivals.refused.into_iter();
        Self {
            rounds: rivals.rounds,
            predictions: rivals.predictions,
            forms: rivals.forms.into_iter().map(RivalView::from).collect(),
            refused: refused
                .map(|refused| RefusedFormView {
                    form: refused.form.into(),
                    reason: refused.reason,
                })
                .collect(),
        }
    }
}

impl From<Rival> for RivalView {
    fn from(rival: Rival) -> Self {
        Self {
            form: rival.law.form().into(),
            coefficients: rival.free,
            objective: rival.objective,
            holdout_error: rival.holdout_error,
            interval: rival.interval.map(IntervalView::from),
            excess: rival.excess.map(IntervalView::from),
            no_worse: rival.no_worse,
            law: rival.law.into(),
        }
    }
}

impl From<RivalLaw> for RivalLawView {
    fn from(law: RivalLaw) -> Self {
        match law {
            RivalLaw::Sparse(CoefficientValues { a_s, b_s, c_s, b_n, a_d, b_d, c }) => {
                Self::Sparse(CoefficientsView { a_s, b_s, c_s, b_n, a_d, b_d, c })
            }
            RivalLaw::AverageParams { coefficients, mean_share } => {
                let CoefficientValues { c_s: a, b_n, a_d, b_d, c, .. } = coefficients;
                Self::AverageParams(AverageParamsCoefficients { a, b_n, a_d, b_d, c, mean_share })
            }
            RivalLaw::Levels(LevelLaw { levels, b_n, a_d, b_d, c }) => {
                let level = |level: &sparsity_law::law::LevelCapacity| LevelView {
                    sparsity: level.sparsity,
                    runs: level.runs,
                    a: level.a,
                    gain: level.gain,
                };
                let levels = levels.iter().map(level).collect();
                Self::Levels(LevelsView { levels, b_n, a_d, b_d, c })
            }
            RivalLaw::Experts(law) => {
                let ExpertCoefficients { e, a, alpha, b, beta, c, lambda, d, delta, gamma } = law;
                Self::Experts(ExpertCoefficientsView {
                    e,
                    a,
                    alpha,
                    b,
                    beta,
                    c,
                    lambda,
                    d,
                    delta,
                    gamma,
                })
            }
        }
    }
}

/// A page of laws.
#[derive(Debug, Serialize, ToSchema)]
pub struct LawList {
    /// Newest first.
    items: Vec<LawView>,
    /// Where the next page starts; null at the end.
    next_cursor: Option<String>,
}

/// Lists a family's laws, newest first.
#[utoipa::path(
    get, path = "/v1/families/{family}/laws", tag = TAG_LAWS, params(FamilyPath, PageParams),
    responses((status = OK, description = "A page of laws", body = LawList)),
)]
async fn list_laws(
    reads: Reads,
    Path(path): Path<FamilyPath>,
    Query(params): Query<PageParams>,
) -> Result<Json<LawList>, ApiError> {
    let (request, name) = (params.check()?, path.name()?);
    let mut db = reads.connection().await?;
    let family = existing(&mut *db, &name).await?;
    let page = laws::list_laws(&mut *db, &family.name, request).await?;
    let next_cursor = next_cursor(&page);
    let active = laws::find_law(&mut *db, &family.name, None).await?.map(|law| law.id);
    let items = page.items.into_iter().map(|law| LawView::new(law, active)).collect();
    Ok(Json(LawList { items, next_cursor }))
}

/// Path of a law.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct LawPath {
    /// Name of the family.
    #[param(example = "t5-c4")]
    family: String,
    /// Version of the law.
    #[param(example = 1, value_type = i32)]
    version: String,
}

/// Shows one version of a family's laws.
#[utoipa::path(
    get, path = "/v1/families/{family}/laws/{version}", tag = TAG_LAWS, params(LawPath),
    responses(
        (status = OK, description = "The law", body = LawView,
            headers(("ETag" = String, description = "Changes with the answer"))),
        (status = NOT_MODIFIED, description = "As in the caller's copy"),
    ),
)]
async fn get_law(
    reads: Reads,
    Path(path): Path<LawPath>,
    known: KnownTags,
) -> Result<Response, ApiError> {
    let name = family_name(&path.family)?;
    let mut db = reads.connection().await?;
    let family = existing(&mut *db, &name).await?;
    let not_found = || ApiError::NotFound { what: "law", name: path.version.clone() };
    let version: i32 = path.version.parse().map_err(|_| not_found())?;
    let law = laws::find_law(&mut *db, &family.name, Some(version)).await?.ok_or_else(not_found)?;
    let active = laws::find_law(&mut *db, &family.name, None).await?.map(|law| law.id);
    // A law never changes, but whether it is the active one does.
    let tag = format!("{}.{}", law.id, active == Some(law.id));
    cached(&known, &tag, Freshness::Revalidate, || Ok(LawView::new(law, active)))
}

/// Published coefficients to import.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateLaw {
    /// The coefficients, in raw units: parameters, and the family's data unit; those of the form.
    coefficients: PublishedCoefficients,
    /// What the law says of sparsity: `sparse`, or `dense` for nothing; `sparse` unless said otherwise.
    form: Option<PublishedForm>,
    /// Whose gain a `dense` law borrows, so that it answers questions about sparsity.
    gain: Option<BorrowView>,
    /// Where they stand: a paper, a report; at most 2,000 characters.
    #[schema(example = "arXiv:2309.08520, table 3")]
    reference: String,
    /// Mean Huber loss over its runs, where published.
    objective: Option<f64>,
    /// Number of its runs, where published.
    runs: Option<u32>,
    /// When it was published; now unless said otherwise.
    fitted_at: Option<DateTime<Utc>>,
}

/// What a published law says of sparsity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PublishedForm {
    /// The paper's form, with seven coefficients.
    #[default]
    Sparse,
    /// Nothing: `A N^(-b_n) + (a_d / D)^b_d + c`, with five.
    Dense,
}

/// Coefficients of a published law, in raw units: all of its form and no other. Of the form `sparse` they are `a_s`,
/// `b_s`, `c_s`, `b_n`, `a_d`, `b_d` and `c`, of the form `dense` `a`, `b_n`, `a_d`, `b_d` and `c`.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishedCoefficients {
    /// Capacity of dense models.
    #[schema(example = 482.01)]
    a: Option<f64>,
    /// Capacity that sparsity costs.
    #[schema(example = json!(null))]
    a_s: Option<f64>,
    /// Exponent of the density.
    #[schema(example = json!(null))]
    b_s: Option<f64>,
    /// Capacity that is left as `S -> 1`.
    #[schema(example = json!(null))]
    c_s: Option<f64>,
    /// Exponent of the non-zero parameters.
    #[schema(example = 0.3478)]
    b_n: Option<f64>,
    /// Scale of the data, in the data unit.
    #[schema(example = 1_185_219_649.9)]
    a_d: Option<f64>,
    /// Exponent of the data.
    #[schema(example = 0.3658)]
    b_d: Option<f64>,
    /// Irreducible loss.
    #[schema(example = 1.8172)]
    c: Option<f64>,
}

impl CreateLaw {
    /// The coefficients of the form that is given.
    fn coefficients(&self, checks: &mut Checks) -> Option<Coefficients> {
        let dense = self.form == Some(PublishedForm::Dense);
        let PublishedCoefficients { a, a_s, b_s, c_s, b_n, a_d, b_d, c } = self.coefficients;
        let of_form = |name: &str| match name {
            "a" => dense,
            "a_s" | "b_s" | "c_s" => !dense,
            _ => true,
        };
        let form = if dense { "dense" } else { "sparse" };
        let given = [
            ("a", a),
            ("a_s", a_s),
            ("b_s", b_s),
            ("c_s", c_s),
            ("b_n", b_n),
            ("a_d", a_d),
            ("b_d", b_d),
            ("c", c),
        ];
        let mut complete = true;
        for (name, value) in given {
            let wrong = match (of_form(name), value) {
                (true, None) => format!("must be given for the form {form}"),
                (false, Some(_)) => format!("is no coefficient of the form {form}"),
                _ => continue,
            };
            checks.refuse(&format!("coefficients/{name}"), wrong);
            complete = false;
        }
        if !complete {
            return None;
        }
        let (a_s, b_s, c_s) = if dense { (Some(0.0), Some(1.0), a) } else { (a_s, b_s, c_s) };
        let values = CoefficientValues {
            a_s: a_s?,
            b_s: b_s?,
            c_s: c_s?,
            b_n: b_n?,
            a_d: a_d?,
            b_d: b_d?,
            c: c?,
        };
        // Of a dense law the zero in the place of a_s is one that a law may have, and the others may not be zero.
        let filled = if dense { CoefficientValues { a_s: 1.0, ..values } } else { values };
        let checked = Coefficients::new(filled).and_then(|_| Coefficients::reduced(values));
        checked
            .map_err(|(name, error)| {
                let name = if dense && name == CoefficientName::CS { "a" } else { name.as_str() };
                checks.refuse(&format!("coefficients/{name}"), error.to_string());
            })
            .ok()
    }
}

/// The gain that a law borrows: that of the law of another family, which the caller may see.
///
/// # Errors
/// [`ApiError::Invalid`] where there is no such law, or it says nothing of sparsity by itself.
pub(crate) async fn find_lender(
    state: &AppState,
    caller: &Caller,
    asked: &BorrowView,
) -> Result<(i32, BorrowedGain), ApiError> {
    let refuse = |detail: String| ApiError::field("/gain/borrow", detail);
    let unknown = || refuse(format!("must be a family that has a law, not {:?}", asked.borrow));
    let name = FamilyName::new(&asked.borrow).map_err(|_| unknown())?;
    if !caller.families().allow(name.as_str()) {
        return Err(unknown());
    }
    let law = laws::find_law(&state.pool, &name, asked.version).await?;
    let Some(law) = law else {
        return Err(match asked.version {
            Some(version) => {
                let detail = format!("must be a version of the laws of {name}, not {version}");
                ApiError::field("/gain/version", detail)
            }
            None => unknown(),
        });
    };
    let gain = BorrowedGain::of(&law.content.coefficients).ok_or_else(|| {
        refuse(format!(
            "must be a family whose own runs say what sparsity does: law {} of {name} does not",
            law.version
        ))
    })?;
    let determined = law.content.identification().is_none_or(Identification::is_complete);
    if !determined {
        return Err(refuse(format!(
            "must be a family whose runs determine what sparsity does: those of law {} of {name} do not",
            law.version
        )));
    }
    Ok((law.version, gain))
}

/// Imports published coefficients as the family's next law.
#[utoipa::path(
    post, path = "/v1/families/{family}/laws", tag = TAG_LAWS, params(FamilyPath),
    request_body = CreateLaw,
    responses((status = CREATED, description = "The law", body = LawView,
        headers(("Location" = String, description = "Path of the law")))),
)]
async fn create_law(
    State(state): State<AppState>,
    caller: Caller,
    Path(path): Path<FamilyPath>,
    JsonBody(body): JsonBody<CreateLaw>,
) -> Result<impl IntoResponse, ApiError> {
    let mut checks = Checks::default();
    let coefficients = body.coefficients(&mut checks);
    let dense = body.form == Some(PublishedForm::Dense);
    if body.gain.is_some() && !dense {
        checks
            .refuse("gain", "belongs to a law of the form dense: others have a gain of their own");
    }
    checks.take("reference", check_prose(&body.reference));
    if body.reference.trim().is_empty() {
        checks.refuse("reference", "must say where the coefficients stand");
    }
    if body.objective.is_some_and(|objective| objective < 0.0) {
        checks.refuse("objective", "must be at least 0");
    }
    if body.runs.is_some_and(|runs| i32::try_from(runs).is_err()) {
        checks.refuse("runs", "must be at most 2147483647");
    }
    // What PostgreSQL and RFC 3339 both can hold, and a publication can have.
    if body.fitted_at.is_some_and(|time| !(1900..=9999).contains(&time.year())) {
        checks.refuse("fitted_at", "must be in the years 1900 to 9999");
    }
    let coefficients = checks.finish(coefficients)?;
    let gain = match &body.gain {
        Some(asked) => {
            let (version, gain) = find_lender(&state, &caller, asked).await?;
            let published = [&*T5_C4, &*VIT_JFT]
                .map(|law| BorrowedGain::of(law.coefficients()).unwrap_or(gain));
            let in_turn = Lenders::new(gain, &[], published).in_turn;
            let family = asked.borrow.clone();
            Some(LentGain { family, version, gain, in_turn, settling: Vec::new() })
        }
        None => None,
    };
    let shape = LawShape { form: dense.then_some(LawForm::Dense), gain, ..LawShape::default() };

    let name = path.name()?;
    let mut transaction = state.pool.begin().await?;
    let family = families::find_family_for_update(&mut *transaction, &name)
        .await?
        .ok_or_else(|| no_family(name.as_str()))?;
    let now = state.clock.now();
    let content = LawContent {
        source: LawSource::Published,
        reference: Some(body.reference),
        coefficients: with_curve(
            coefficients,
            shape.task(family.settings.pruning.mean_share()).curve(),
        ),
        objective: body.objective,
        runs: body.runs,
        intervals: BTreeMap::new(),
        resamples: None,
        patterns: Vec::new(),
        pretrained: None,
        data_unit: family.settings.data_unit,
        flops_per_param: family.settings.flops_per_param,
        pruning: family.settings.pruning,
        zeros: family.settings.zeros,
        support: Support::default(),
        options: None,
        diagnostics: None,
        warnings: Vec::new(),
        data_digest: None,
        fitted_at: body.fitted_at.unwrap_or(now),
        shape,
    };
    let id = state.clock.new_id();
    let law = laws::insert_law(&mut *transaction, id, family.id, &content, now).await?;
    transaction.commit().await?;
    // Whoever asks here next gets it, however long the announcement takes.
    state.laws.forget(name.as_str());
    let active = laws::find_law(&state.pool, &name, None).await?.map(|law| law.id);
    let location = format!("/v1/families/{name}/laws/{}", law.version);
    let body = Json(LawView::new(law, active));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], body))
}

/// Which law answers.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateActiveLaw {
    /// The version to pin; null leaves it to the newest fit.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(example = 1, required)]
    version: Option<i32>,
}

/// Pins the law that answers, or leaves it to the newest fit again.
#[utoipa::path(
    put, path = "/v1/families/{family}/active-law", tag = TAG_LAWS, params(FamilyPath),
    request_body = UpdateActiveLaw,
    responses((status = OK, description = "The family with its active law", body = FamilyView)),
)]
async fn update_active_law(
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    JsonBody(body): JsonBody<UpdateActiveLaw>,
) -> Result<Json<FamilyView>, ApiError> {
    let name = path.name()?;
    let law_id = match body.version {
        Some(version) => Some(pinnable(&state, &name, version).await?),
        None => None,
    };
    let family = existing(&state.pool, &name).await?;
    families::update_pinned_law(&state.pool, family.id, law_id).await?;
    state.laws.forget(name.as_str());
    let family = existing(&state.pool, &name).await?;
    FamilyView::load(&state.pool, family).await.map(Json)
}

async fn pinnable(state: &AppState, name: &FamilyName, version: i32) -> Result<Uuid, ApiError> {
    existing(&state.pool, name).await?;
    let law = laws::find_law(&state.pool, name, Some(version)).await?;
    let law = law.ok_or_else(|| {
        let detail = format!("must be a version of this family's laws, not {version}");
        ApiError::field("/version", detail)
    })?;
    if law.content.is_what_if() {
        let detail = "is a what-if: exclude the runs that it leaves out, and refit";
        return Err(ApiError::field("/version", detail));
    }
    Ok(law.id)
}
