//! What a fit is to say about sparsity, and the reduction of such fits to a dense law.
//!
//! With the gain `g` known, `L = A (g(S) N)^(-b_N) + (a_D / D_eff)^b_D + c` is a law of dense models with `g(S) N`
//! parameters and `D_eff` data. So the runs are converted to these quantities and fitted as dense ones: the
//! starts, resamples, hold-outs and tests of that one fit serve every such form.

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

/// What a fit is to say about the effect of sparsity.
#[derive(Debug, Clone, PartialEq)]
pub enum FormTask {
    /// The paper's form.
    Sparse,
    /// All runs are dense, and the law says nothing about sparsity.
    Dense,
    /// All runs are dense, and the effect of sparsity is taken from other laws.
    Borrowed(Lenders),
    /// Sparsity acts through the mean number of parameters over training.
    AverageParams {
        /// Mean sparsity over training as a share of the final one.
        mean_share: f64,
    },
    /// Each level of sparsity has a capacity of its own.
    Levels,
    /// Loss by the total number of parameters and the share that is active, as for mixtures of experts.
    Experts,
}

/// The borrowed gain, and other gains that it might have been.
#[derive(Debug, Clone, PartialEq)]
pub struct Lenders {
    /// Gain of the lender, which the law uses.
    pub gain: BorrowedGain,
    /// Gains that the resampled laws use in turn: those of the lender's resamples, for the lender's own
    /// uncertainty, and those of other published lenders. At least one.
    pub in_turn: Vec<BorrowedGain>,
}

impl Lenders {
    /// Largest number of resamples of a lender whose gains are kept.
    pub const MOST_RESAMPLES: usize = 120;

    /// Of every five resampled laws, two use the gains of the `published` lenders and three the lender's own gain
    /// or those of its resamples, so that an interval contains at least the published gains.
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
    /// The form of the fitted law.
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

    /// The gain curve of the law; `None` for forms that have none.
    #[must_use]
    pub fn curve(&self) -> Option<GainCurve> {
        self.curve_of(None)
    }

    /// The gain curve of the law, or of the resampled law with this index.
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

    /// Refuses runs that do not suit the form.
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

/// The law with a gain curve; the law as it is where there is no curve, or where it cannot take one.
#[must_use]
pub fn with_curve(law: Coefficients, curve: Option<GainCurve>) -> Coefficients {
    curve.and_then(|curve| law.with_gain(curve)).unwrap_or(law)
}

/// The resampled laws with their gain curves, each with the curve for its index; unchanged for a form without a
/// curve.
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
    // There are as many members as before, so at least one.
    Ensemble::new(members, level, tail).unwrap_or(ensemble)
}

impl RunSet {
    /// The runs of the law, their repeated data replaced by its effective amount.
    #[must_use]
    pub fn with_worth_of_data(&self, decay: Option<f64>) -> Observations {
        self.in_worth(decay).0
    }

    /// Same as [`Self::with_worth_of_data`], together with the names of the runs in their new order.
    #[must_use]
    pub fn in_worth(&self, decay: Option<f64>) -> (Observations, Vec<Option<String>>) {
        let set = Terms::new(self, &FormTask::Sparse, decay).set;
        (set.law, set.names)
    }
}

/// Runs converted to the quantities that they are fitted in.
pub(super) struct Terms<'a> {
    original: &'a RunSet,
    task: &'a FormTask,
    set: RunSet,
}

impl<'a> Terms<'a> {
    /// Converts the runs: the effect of sparsity follows from the form, and repeated data counts as its effective
    /// amount for `decay`.
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
        // Effective data may change the order of the runs.
        let names = match original.names.is_empty() {
            true => Vec::new(),
            false => law.order().iter().map(|place| original.names[*place].clone()).collect(),
        };
        let set = RunSet { law, patterns, pretrained, unique: Vec::new(), names };
        Self { original, task, set }
    }

    /// Fits the converted runs; the report is about the original runs.
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
            // Converted runs have one sparsity, which the last of these warnings is about; the law has a curve for
            // it.
            let told = |code: WarningCode| code == WarningCode::NotSeparable;
            if let Some(last) = report.warnings.iter().rposition(|warning| told(warning.code)) {
                report.warnings.remove(last);
            }
        }
        Ok(report)
    }
}

/// Converts a run to the size and data that it has under a dense law without repetition.
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
    /// [`Observations::digest`] of the runs of the law, extended by their amounts of distinct data where some run
    /// repeats data.
    #[must_use]
    pub fn digest(&self) -> String {
        let plain = self.law.digest();
        if self.unique.iter().all(Option::is_none) {
            return plain;
        }
        // Sorted, because runs that are alike in everything else may be in any order.
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
