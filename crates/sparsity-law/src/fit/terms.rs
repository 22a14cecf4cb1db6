//! What a fit is to say of sparsity, and the runs in the terms in which it is fitted.
//!
//! With `g` known, `L = A (g(S) N)^(-b_N) + (a_D / D_eff)^b_D + c` is a law of dense models of `g(S) N` parameters
//! and `D_eff` data. So the runs are put in these terms and fitted as dense ones: starts, resamples, hold-outs and
//! tests of the one fit do for every such form, and the way of the others is not touched.

use sha2::{Digest, Sha256};

use super::config::ValidFitConfig;
use super::control::{Control, FitError};
use super::observations::{Observation, Observations};
use super::report::Report;
use super::warnings::WarningCode;
use super::whole::{RunSet, fit};
use crate::law::{
    BorrowedGain, Coefficients, Data, Ensemble, GainCurve, LawForm, Member, NonzeroParams,
    Repetition, Sparsity,
};

/// What a fit is to say of sparsity.
#[derive(Debug, Clone, PartialEq)]
pub enum FormTask {
    /// The paper's form.
    Sparse,
    /// Nothing: all runs are dense.
    Dense,
    /// All runs are dense, and what sparsity does is taken from other laws.
    Borrowed(Lenders),
    /// By the mean number of parameters over training.
    AverageParams {
        /// Mean sparsity over training as a share of the final one.
        mean_share: f64,
    },
    /// By one capacity at each sparsity.
    Levels,
    /// By all parameters and the share that is active, as of mixtures of experts.
    Experts,
}

/// Whose gain is borrowed, and whose else it might have been.
#[derive(Debug, Clone, PartialEq)]
pub struct Lenders {
    /// The lender's gain.
    pub gain: BorrowedGain,
    /// Gains that the resampled laws take in turn: what the lender's own resamples leave open, and what other
    /// published lenders say. At least one.
    pub in_turn: Vec<BorrowedGain>,
}

impl Lenders {
    /// The most gains of a lender's resamples that are kept.
    pub const MOST_RESAMPLES: usize = 120;

    /// Of every five resampled laws two take the gains of the `published` lenders, the others the lender's own or
    /// those of its resamples: so an interval holds at least what the published ones say.
    #[must_use]
    pub fn new(
        gain: BorrowedGain,
        resamples: &[BorrowedGain],
        published: [BorrowedGain; 2],
    ) -> Self {
        let step = resamples.len().div_ceil(Self::MOST_RESAMPLES).max(1);
        let mut own: Vec<BorrowedGain> = resamples.iter().step_by(step).copied().collect();
        if own.is_empty() {
            own.push(gain);
        }
        while !own.len().is_multiple_of(3) {
            own.push(own[0]);
        }
        let [one, other] = published;
        let in_turn = own.chunks(3).flat_map(|own| own.iter().copied().chain([one, other]));
        Self { gain, in_turn: in_turn.collect() }
    }
}

impl FormTask {
    /// The form of the law.
    #[must_use]
    pub const fn form(&self) -> LawForm {
        match self {
            Self::Sparse => LawForm::Sparse,
            Self::Dense | Self::Borrowed(_) => LawForm::Dense,
            Self::AverageParams { .. } => LawForm::AverageParams,
            Self::Levels => LawForm::Levels,
            Self::Experts => LawForm::Experts,
        }
    }

    /// The curve of the law; `None` of the forms that have none.
    #[must_use]
    pub fn curve(&self) -> Option<GainCurve> {
        self.curve_of(None)
    }

    /// The curve of the law, or of the resampled law of this place.
    fn curve_of(&self, resample: Option<usize>) -> Option<GainCurve> {
        match self {
            Self::Sparse | Self::Dense | Self::Levels | Self::Experts => None,
            Self::Borrowed(Lenders { gain, in_turn }) => Some(GainCurve::Borrowed(
                resample
                    .and_then(|place| in_turn.get(place % in_turn.len().max(1)))
                    .copied()
                    .unwrap_or(*gain),
            )),
            Self::AverageParams { mean_share } => {
                Some(GainCurve::AverageParams { mean_share: *mean_share })
            }
        }
    }

    /// Refuses runs that cannot carry the form.
    pub(super) fn check(&self, runs: &Observations) -> Result<(), FitError> {
        let refuse = |reason: String| Err(FitError::FormNotCarried { form: self.form(), reason });
        let sparse = runs.as_slice().iter().filter(|run| run.sparsity.get() > 0.0).count();
        let levels = runs.levels(|run| run.sparsity.density().get()).len();
        match self {
            Self::Sparse => Ok(()),
            Self::Dense if sparse > 0 => refuse(format!(
                "{sparse} of the runs have zeros, of which a dense law says nothing: leave them out, or fit another form"
            )),
            Self::Borrowed(_) if sparse > 0 => refuse(format!(
                "{sparse} of the runs have zeros and say themselves what sparsity does: fit the form sparse, or leave them out to borrow"
            )),
            Self::AverageParams { .. } if levels < 2 => refuse(
                "all runs have the same sparsity, so that nothing would show whether counting mean parameters \
                 is right: add runs of another sparsity"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }
}

/// A law with a curve; the same law without.
#[must_use]
pub fn with_curve(law: Coefficients, curve: Option<GainCurve>) -> Coefficients {
    curve.and_then(|curve| law.with_gain(curve)).unwrap_or(law)
}

/// The resampled laws of a law with a curve: each with the curve that its place has.
#[must_use]
pub fn ensemble_with_curves(ensemble: Ensemble, task: &FormTask) -> Ensemble {
    if task.curve().is_none() {
        return ensemble;
    }
    let (level, tail) = (ensemble.level(), ensemble.tail());
    let members = ensemble.members().enumerate().map(|(place, member)| Member {
        coefficients: with_curve(member.coefficients, task.curve_of(Some(place))),
        ..member
    });
    // As many members as there were, so at least one.
    Ensemble::new(members, level, tail).unwrap_or(ensemble)
}

impl RunSet {
    /// The runs of the law with their data worth what it teaches where some of it is repeated.
    #[must_use]
    pub fn with_worth_of_data(&self, decay: Option<f64>) -> Observations {
        self.in_worth(decay).0
    }

    /// The same with the names of the runs in their new order.
    #[must_use]
    pub fn in_worth(&self, decay: Option<f64>) -> (Observations, Vec<Option<String>>) {
        let set = Terms::new(self, &FormTask::Sparse, decay).set;
        (set.law, set.names)
    }
}

/// Runs in the terms in which they are fitted.
pub(super) struct Terms<'a> {
    original: &'a RunSet,
    task: &'a FormTask,
    set: RunSet,
}

impl<'a> Terms<'a> {
    /// With what sparsity does by the form, and repeated data worth what `decay` says.
    pub fn new(original: &'a RunSet, task: &'a FormTask, decay: Option<f64>) -> Self {
        let curve = task.curve();
        let rows = original.law.as_slice().iter().enumerate().map(|(place, run)| {
            let unique = original.unique.get(place).copied().flatten();
            in_terms(run, curve.as_ref(), unique, decay)
        });
        let rows = rows.zip(original.law.weights().iter().copied()).collect();
        let (patterns, pretrained) = match task {
            FormTask::Sparse => (original.patterns.clone(), original.pretrained.clone()),
            _ => (Vec::new(), None),
        };
        let mut law = Observations::weighted(rows);
        if let Some(clusters) = original.law.clusters() {
            let moved = law.order().iter().map(|place| clusters.get(*place).copied());
            let moved: Vec<Option<u32>> = moved.collect();
            law = law.clustered(&moved);
        }
        // Data that teaches less than it is moves a run in the order.
        let names = match original.names.is_empty() {
            true => Vec::new(),
            false => law.order().iter().map(|place| original.names[*place].clone()).collect(),
        };
        let set = RunSet { law, patterns, pretrained, unique: Vec::new(), names };
        Self { original, task, set }
    }

    /// The fit, with everything that is said of runs about the runs as they were.
    pub fn fit(&self, config: &ValidFitConfig, control: &Control<'_>) -> Result<Report, FitError> {
        let mut report = fit(&self.set, config, control)?;
        report.coefficients = with_curve(report.coefficients, self.task.curve());
        report.ensemble = report.ensemble.map(|ensemble| ensemble_with_curves(ensemble, self.task));
        let runs = &self.original.law;
        let mut fitted = report.fitted.clone();
        for (run, place) in report.fitted.iter().zip(self.set.law.order()) {
            fitted[*place] = *run;
        }
        report.fitted = fitted;
        report.support = runs.support();
        report.data_digest = self.original.digest();
        if self.task.curve().is_some() {
            // The terms have one sparsity, of which the last of these is; the law has a curve for it.
            let told = |code: WarningCode| code == WarningCode::NotSeparable;
            if let Some(last) = report.warnings.iter().rposition(|warning| told(warning.code)) {
                report.warnings.remove(last);
            }
        }
        Ok(report)
    }
}

/// A run in the terms of a dense law without repetition.
pub(super) fn in_terms(
    run: &Observation,
    curve: Option<&GainCurve>,
    unique: Option<Data>,
    decay: Option<f64>,
) -> Observation {
    let repetition =
        unique.zip(decay).and_then(|(unique, decay)| Repetition::new(unique, decay).ok());
    let data = repetition.map_or(run.data, |repetition| repetition.effective_data(run.data));
    match curve {
        None => Observation { data, ..*run },
        Some(curve) => {
            let size = run.nonzero_params.get() * curve.gain(run.sparsity.density());
            let nonzero_params = NonzeroParams::new(size.min(1e18)).unwrap_or(run.nonzero_params);
            Observation { nonzero_params, sparsity: Sparsity::DENSE, data, ..*run }
        }
    }
}

impl RunSet {
    /// [`Observations::digest`] of the runs of the law, and of how much of their data is different where some
    /// repeat it.
    #[must_use]
    pub fn digest(&self) -> String {
        let plain = self.law.digest();
        if self.unique.iter().all(Option::is_none) {
            return plain;
        }
        // Runs that are alike in all else may have come in any order.
        let mut rows: Vec<[u64; 5]> = (self.law.as_slice().iter().zip(&self.unique))
            .map(|(run, unique)| {
                let unique = unique.map_or(0.0, Data::get);
                let values = [
                    run.nonzero_params.get(),
                    run.sparsity.get(),
                    run.data.get(),
                    run.loss.get(),
                    unique,
                ];
                values.map(f64::to_bits)
            })
            .collect();
        rows.sort_unstable();
        let mut hash = Sha256::new();
        hash.update(plain.as_bytes());
        for value in rows.iter().flatten() {
            hash.update(value.to_be_bytes());
        }
        format!("sha256:{}", hex::encode(hash.finalize()))
    }
}
