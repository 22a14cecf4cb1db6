//! How a law is shown in answers.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sparsity_law::fit::{Diagnostics, Multiplier, PatternReport, PretrainedReport, Profile};
use sparsity_law::law::{
    CoefficientName, Coefficients, FormCoefficient, FormLaw, Identification, Interval, LawForm,
};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::resources::laws::forms::{LentGainView, RepeatedDataView, RivalsView};
use crate::api::wire::fit_options::{FitOptionsView, HoldoutView};
use crate::api::wire::problem::{MissingView, SettlingRunView};
use crate::api::wire::views::{
    EstimateView, IntervalView, LawCoefficientsView, LawFormView, LawSourceView, SparsityLevelView,
    TrustView, WarningView,
};
use crate::api::wire::zeros::{ExpertsView, PruningView, ZerosView};
use crate::domain::law::{Law, LawShape};
use crate::domain::law_origin::{Origin, Resamples};

/// A law: its coefficients and the evidence behind them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Law)]
pub struct LawView {
    /// Id of the law.
    id: Uuid,
    /// Version within the family, counted from 1.
    #[schema(example = 1)]
    version: i32,
    /// Whether the law was fitted here or published elsewhere.
    source: LawSourceView,
    /// Source of published coefficients, such as a paper.
    reference: Option<String>,
    /// Whether this law answers questions at present.
    active: bool,
    /// Whether the law was fitted without some runs, those of `options.without`, to see what difference they make. Such
    /// a law answers only where its version is asked for, and cannot be made active.
    #[schema(example = false)]
    what_if: bool,
    /// Form of the law: how its loss depends on sparsity.
    form: LawFormView,
    /// The gain that is borrowed from another family's law; null where the law has a gain of its own.
    gain: Option<LentGainView>,
    /// The coefficients, in raw units at full precision. In a law that is `dense` or counts `average_params`, `c_s` is
    /// the capacity coefficient of dense models; in one of `levels` it is that of the densest level. Of `experts` only
    /// the terms that depend on data alone are given here.
    coefficients: LawCoefficientsView,
    /// Interval of each coefficient; null where the law has no intervals.
    intervals: Option<CoefficientIntervals>,
    /// The coefficients of the forms `levels` and `experts` that have no place in `coefficients`, with their intervals;
    /// null for other forms. The coefficients of the data term are left out where all runs have the same amount of
    /// data.
    own_coefficients: Option<Vec<OwnCoefficientView>>,
    /// Mean Huber loss over the runs of the law, where known.
    #[schema(example = 4.880117e-6)]
    objective: Option<f64>,
    /// Number of runs that the law was fitted on, where known.
    #[schema(example = 48)]
    runs: Option<u32>,
    /// What the runs cover, by level of sparsity; empty where unknown.
    support: Vec<SparsityLevelView>,
    /// What the runs cannot tell.
    warnings: Vec<WarningView>,
    /// How far the law can be trusted: `none` where its runs do not determine the best sparsity of a budget. Each
    /// answer of the law has a rating of its own, which also takes into account the width of its interval and how far
    /// the question lies outside the runs.
    trust: TrustView,
    /// What the fit reports about itself; null for a published law.
    diagnostics: Option<DiagnosticsView>,
    /// Effective sparsity of each structured pattern among the runs.
    patterns: Vec<PatternReportView>,
    /// Runs from pretrained checkpoints; null where there were none.
    pretrained: Option<PretrainedReportView>,
    /// How fast repeating data wears out; null where no run says how much of its data is unique.
    repeated_data: Option<RepeatedDataView>,
    /// Other forms of the law, fitted on the same runs; null where the refit did not ask for all forms.
    rivals: Option<RivalsView>,
    /// The options of the fit; null for a published law.
    options: Option<FitOptionsView>,
    /// Digest of the runs that the law was fitted on; null for a published law.
    data_digest: Option<String>,
    /// What `data` counts.
    #[schema(example = "tokens")]
    data_unit: String,
    /// FLOPs per parameter and data unit that the law's answers use.
    #[schema(example = 6.0)]
    flops_per_param: f64,
    /// Pruning schedule that the law's answers use.
    pruning: PruningView,
    /// What the zeros of the family's models are.
    zeros: ZerosView,
    /// The mixtures of experts that can be deployed; null where none are listed.
    experts: Option<ExpertsView>,
    /// When the law was fitted or published.
    fitted_at: DateTime<Utc>,
}

/// A coefficient of a form of law that is not one of the seven in `coefficients`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OwnCoefficient)]
pub struct OwnCoefficientView {
    /// Name of the coefficient in the formula of the form. In the form `levels`, `a` appears once for each level.
    #[schema(example = "a")]
    name: &'static str,
    /// The sparsity that the coefficient applies to; null where it applies to all.
    #[schema(example = 0.5)]
    sparsity: Option<f64>,
    /// The pattern or recipe of the level, if the law tells runs of the same sparsity apart by it. Left out otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    level: Option<String>,
    /// Value of the coefficient, in raw units.
    #[schema(example = 55.8)]
    value: f64,
    /// Interval of the coefficient; null where the law has no intervals.
    interval: Option<IntervalView>,
}

impl OwnCoefficientView {
    /// The coefficients that `law` has, with their intervals if there are any: `intervals` is either empty or in the
    /// order of [`FormLaw::named`].
    fn all(law: &FormLaw, intervals: &[Interval]) -> Vec<Self> {
        let coefficients = law.named().into_iter().enumerate();
        coefficients
            .filter(|(_, coefficient)| law.has(coefficient))
            .map(|(place, FormCoefficient { name, sparsity, level, value })| Self {
                name,
                sparsity,
                level,
                value,
                interval: intervals.get(place).copied().map(IntervalView::from),
            })
            .collect()
    }
}

/// Interval of each coefficient; null for a coefficient that the law does not have or that its runs do not determine.
#[derive(Debug, Serialize, ToSchema)]
pub struct CoefficientIntervals {
    /// Interval of `a_s`.
    a_s: Option<IntervalView>,
    /// Interval of `b_s`.
    b_s: Option<IntervalView>,
    /// Interval of `c_s`.
    c_s: Option<IntervalView>,
    /// Interval of `b_n`.
    b_n: Option<IntervalView>,
    /// Interval of `a_d`.
    a_d: Option<IntervalView>,
    /// Interval of `b_d`.
    b_d: Option<IntervalView>,
    /// Interval of `c`.
    c: Option<IntervalView>,
}

impl CoefficientIntervals {
    /// The intervals of the determined coefficients; `None` if `intervals` is empty.
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

/// What a fit reports about itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Diagnostics)]
pub struct DiagnosticsView {
    /// Share of the starts that agree with the best one: objective within 0.1 % of it and, over the range of the runs,
    /// losses within 0.1 % and best sparsities within 0.01 of it.
    #[schema(example = 0.97)]
    agreement: f64,
    /// Slope `s0` of the gain at sparsity 0; the law is unphysical there if it is above 1. Null where the law does not
    /// know the effect of sparsity or of size.
    #[schema(example = 0.8)]
    gain_slope: Option<f64>,
    /// Robust standard deviation of the residuals, widened for the number of fitted coefficients, in the unit of the
    /// objective's residual.
    #[schema(example = 0.007)]
    noise: f64,
    /// Correlations of the fitted coefficients.
    correlations: CorrelationsView,
    /// Ratio of the largest to the smallest singular value of the Jacobian with columns scaled to unit length; null
    /// where the runs do not determine all coefficients.
    #[schema(example = 185.0)]
    condition: Option<f64>,
    /// Profile interval of each fitted exponent.
    profiles: Vec<ProfileView>,
    /// How well left-out runs were predicted.
    holdouts: Vec<HoldoutReportView>,
    /// Number of resamples that gave a law.
    #[schema(example = 1000)]
    resamples: Option<u32>,
    /// Number of resamples that did not determine a law.
    #[schema(example = 0)]
    failed_resamples: Option<u32>,
    /// Every start, in the order of its index.
    starts: Vec<StartReportView>,
    /// Which coefficients the runs determine; null for a law that was fitted before fits recorded this.
    identification: Option<IdentificationView>,
    /// How many clusters of runs were resampled; null where runs were drawn one by one.
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
    /// How many independent combinations of the coefficients the runs determine.
    #[schema(example = 7)]
    rank: usize,
    /// The coefficients that the runs do not determine individually; their values are null.
    #[schema(example = json!([]))]
    open: Vec<&'static str>,
    /// What the runs have too few of; empty where every coefficient is determined.
    #[schema(example = json!([]))]
    missing: Vec<MissingView>,
    /// The cheapest runs that would determine the missing coefficients.
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

/// Correlations of the logarithms of the coefficients, taken at the geometric mean of the runs: there, `a_s`, `c_s` and
/// `a_d` count as their part of the loss. In raw units the correlations would mostly show how far one parameter and one
/// token are from the runs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Correlations)]
pub struct CorrelationsView {
    /// The coefficients of the rows and columns, in order.
    #[schema(example = json!(["a_s", "b_s"]))]
    coefficients: Vec<&'static str>,
    /// The correlations, row by row; empty where the runs do not determine all coefficients.
    #[schema(example = json!([[1.0, -0.6], [-0.6, 1.0]]))]
    matrix: Vec<Vec<f64>>,
}

/// How far one exponent can move while the other coefficients adapt to it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Profile)]
pub struct ProfileView {
    /// The exponent.
    #[schema(example = "b_d")]
    coefficient: &'static str,
    /// Nominal coverage.
    #[schema(example = 0.95)]
    level: f64,
    /// Lower end; null where the runs do not limit it.
    low: Option<f64>,
    /// Upper end; null where the runs do not limit it.
    high: Option<f64>,
}

/// How well a law predicts runs that it was fitted without.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HoldoutReport)]
pub struct HoldoutReportView {
    /// Which runs were left out.
    holdout: HoldoutView,
    /// Smallest value, among the left-out runs, of the quantity by which runs were left out.
    limit: f64,
    /// Number of runs that were predicted.
    runs: usize,
    /// Number of runs that the law was fitted on.
    fitted_runs: usize,
    /// Mean residual: positive where the losses were predicted too high. Null where the remaining runs, or their
    /// levels, are too few to determine a law.
    bias: Option<f64>,
    /// Root mean square of the residuals; null where `bias` is null.
    rms: Option<f64>,
}

/// One start of a fit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StartReport)]
pub struct StartReportView {
    /// Mean Huber loss that the start reached.
    objective: f64,
    /// Why the start ended: `converged`, `stalled`, `budget` or `stopped`.
    #[schema(example = "converged")]
    termination: &'static str,
    /// Number of evaluations of the objective and its derivatives.
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

/// What a structured pattern is worth, measured on its runs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PatternReport)]
pub struct PatternReportView {
    /// Name of the pattern.
    #[schema(example = "2:4")]
    pattern: String,
    /// Fraction of zeros that the pattern prescribes.
    #[schema(example = 0.5)]
    nominal_sparsity: f64,
    /// Number of runs with the pattern.
    runs: usize,
    /// Unstructured sparsity that explains the pattern's runs best, with all coefficients of the law held fixed.
    effective_sparsity: EstimateView,
    /// Gain at the effective sparsity; null where the law does not know the effect of size.
    gain: Option<EstimateView>,
    /// Gain of unstructured sparsity at the nominal sparsity of the pattern.
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

/// The law of the runs from pretrained checkpoints, and how much data these checkpoints were worth.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PretrainedReport)]
pub struct PretrainedReportView {
    /// Coefficients fitted on these runs alone, counting the data of their sparse phase.
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

/// How many times as much data training from scratch needs to reach the loss of the runs from pretrained checkpoints:
/// the geometric mean over such runs of one sparsity.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DataMultiplier)]
pub struct MultiplierView {
    /// The sparsity.
    #[schema(example = 0.5)]
    sparsity: f64,
    /// Number of pretrained runs at this sparsity.
    runs: usize,
    /// Multiple of the data of the sparse phase alone; null where no amount of data reaches the loss.
    sparse_phase: Option<EstimateView>,
    /// Multiple of the data of dense pretraining and sparse phase together; null also where a run does not say how much
    /// data its checkpoint had seen.
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
                .map(|warning| WarningView::of_law(warning.code.as_str(), &*warning.detail))
                .collect(),
            multipliers: multipliers.collect(),
        }
    }
}

impl LawView {
    /// Shows a law; `active_id` is the id of the law that answers for its family, if there is one.
    pub(super) fn new(law: Law, active_id: Option<Uuid>) -> Self {
        let content = law.content;
        let what_if = content.is_what_if();
        let known = content.identification();
        let coefficients = LawCoefficientsView::new(&content.coefficients, known);
        let intervals = CoefficientIntervals::new(content.origin.intervals(), known);
        let warnings = content.all_warnings().iter().map(WarningView::from).collect();
        let trust = content.trust().into();
        let delta = content.delta();
        let (source, objective, runs) =
            (content.origin.source(), content.origin.objective(), content.origin.runs());
        let (reference, fit) = match content.origin {
            Origin::Published(publication) => (Some(publication.reference), None),
            Origin::Fitted(fit) => (None, Some(*fit)),
        };
        let (diagnostics, patterns, pretrained, options, data_digest) = match fit {
            None => (None, Vec::new(), None, None, None),
            Some(fit) => (
                Some(DiagnosticsView::new(fit.diagnostics, fit.resamples, &content.coefficients)),
                fit.patterns.into_iter().map(PatternReportView::from).collect(),
                fit.pretrained.map(PretrainedReportView::from),
                Some(FitOptionsView::new(fit.options, delta)),
                Some(fit.data_digest),
            ),
        };
        let LawShape { form, gain, repeated, rivals, law: own, law_intervals } = content.shape;
        Self {
            id: law.id,
            version: law.version,
            source: source.into(),
            reference,
            active: active_id == Some(law.id),
            what_if,
            form: form.unwrap_or(LawForm::Sparse).into(),
            gain: gain.map(LentGainView::from),
            repeated_data: repeated.map(RepeatedDataView::from),
            rivals: rivals.map(RivalsView::from),
            coefficients,
            intervals,
            own_coefficients: own.map(|own| OwnCoefficientView::all(&own, &law_intervals)),
            trust,
            objective,
            runs,
            support: content.support.levels().iter().map(SparsityLevelView::from).collect(),
            warnings,
            diagnostics,
            patterns,
            pretrained,
            options,
            data_digest,
            data_unit: content.data_unit,
            flops_per_param: content.flops_per_param.get(),
            pruning: (&content.pruning).into(),
            zeros: (&content.zeros).into(),
            experts: content.zeros.grid().map(ExpertsView::from),
            fitted_at: content.fitted_at,
        }
    }
}
