//! A stored law: its coefficients, where they come from, and what to know before trusting them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sparsity_law::fit::{FormTask, Lenders, RepeatedData, Rival, Rivals};
use sparsity_law::law::{
    BorrowedGain, Coefficients, FlopsPerParam, FormLaw, Identification, Interval, LawForm,
    PruningSchedule, Reach, Repetition, SettlingRun, Sparsity, Support, T5_C4, VIT_JFT, Widening,
};
use uuid::Uuid;

use crate::domain::calibration::ForecastRecord;
use crate::domain::family::Zeros;
use crate::domain::law_origin::Origin;
use crate::domain::trust::{Trust, TrustCode, TrustLevel};

/// A stored law with everything that its answers depend on.
#[derive(Debug, Clone, PartialEq)]
pub struct Law {
    /// UUIDv7.
    pub id: Uuid,
    /// The family that it describes.
    pub family_id: Uuid,
    /// Counts the laws of a family from 1.
    pub version: i32,
    /// What it says.
    pub content: LawContent,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
}

/// What a law says, before it has a place in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct LawContent {
    /// Where it comes from, and what is kept of that.
    pub origin: Origin,
    /// The coefficients, in raw units.
    pub coefficients: Coefficients,
    /// Data unit of the family when the law was made.
    pub data_unit: String,
    /// `k` of the family when the law was made.
    pub flops_per_param: FlopsPerParam,
    /// Pruning schedule of the family when the law was made.
    pub pruning: PruningSchedule,
    /// What the zeros of the family were when the law was made.
    pub zeros: Zeros,
    /// Where its runs stop; no levels where that is unknown.
    pub support: Support,
    /// What the runs cannot tell.
    pub warnings: Vec<StoredWarning>,
    /// When it was fitted, or published.
    pub fitted_at: DateTime<Utc>,
    /// What it is beyond its coefficients.
    pub shape: LawShape,
}

/// What a law is beyond its seven coefficients; the default is the paper's form and nothing else.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LawShape {
    /// What it says of sparsity; `None` for the paper's form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<LawForm>,
    /// The gain that it has from another law.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain: Option<LentGain>,
    /// How fast repeating data wears out; `None` where no run repeats any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeated: Option<RepeatedData>,
    /// Other forms of the same runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rivals: Option<Rivals>,
    /// The law, where it is of a form with coefficients of its own; the seven hold what of it they can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub law: Option<FormLaw>,
    /// The interval of each of its coefficients, in the order of [`FormLaw::named`]; empty without resamples.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub law_intervals: Vec<Interval>,
}

/// A gain that was borrowed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LentGain {
    /// Name of the lending family.
    pub family: String,
    /// Version of its law.
    pub version: i32,
    /// Its gain.
    pub gain: BorrowedGain,
    /// The gains that resampled laws take in turn.
    pub in_turn: Vec<BorrowedGain>,
    /// The sparse runs that would make the gain the family's own.
    pub settling: Vec<SettlingRun>,
}

impl LawShape {
    /// Whether there is nothing to say beyond the coefficients.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// The form.
    #[must_use]
    pub fn form(&self) -> LawForm {
        self.form.unwrap_or(LawForm::Sparse)
    }

    /// What a fit of this form does; `mean_share` is that of the pruning schedule.
    #[must_use]
    pub fn task(&self, mean_share: f64) -> FormTask {
        match (self.form(), &self.gain) {
            (LawForm::Dense, Some(lent)) => {
                FormTask::Borrowed(Lenders { gain: lent.gain, in_turn: lent.in_turn.clone() })
            }
            (LawForm::Dense, None) => FormTask::Dense,
            (LawForm::AverageParams, _) => FormTask::AverageParams { mean_share },
            (LawForm::Levels, _) => FormTask::Levels,
            (LawForm::Experts, _) => FormTask::Experts,
            (LawForm::Sparse, _) => FormTask::Sparse,
        }
    }

    /// Other forms that predict runs that were held out no worse than this one.
    pub fn close_rivals(&self) -> impl Iterator<Item = &Rival> {
        let rivals = self.rivals.iter().flat_map(|rivals| &rivals.forms);
        rivals.filter(|rival| rival.no_worse && rival.law.form() != self.form())
    }
}

/// Which law answers for a family.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AnsweringLaw {
    /// Its id.
    pub id: Uuid,
    /// How its forecasts came out; nothing of a version that was asked for by its number.
    pub forecasts: ForecastRecord,
}

impl LawContent {
    /// `R` of repeated data, and whether runs of this law showed it.
    #[must_use]
    pub fn repetition_decay(&self) -> (f64, bool) {
        let known = self.shape.repeated.as_ref();
        known.map_or((Repetition::PUBLISHED_DECAY, false), |known| (known.decay, known.fitted))
    }

    /// Whether it was fitted without some runs to see what they do.
    #[must_use]
    pub fn is_what_if(&self) -> bool {
        self.origin.fit().is_some_and(|fit| fit.options.is_what_if())
    }

    /// What its runs determine; `None` of a published law, and of one that was fitted before that was looked at.
    #[must_use]
    pub fn identification(&self) -> Option<&Identification> {
        self.origin.fit()?.diagnostics.identification.as_ref()
    }

    /// How its intervals are widened outside its runs; `None` where nothing was shown.
    #[must_use]
    pub fn widening(&self) -> Option<Widening> {
        let error = self.origin.fit()?.diagnostics.rolling?;
        Some(Widening { error, reach: Reach::of(&self.support) })
    }

    /// Where the Huber loss of its fit turned linear; `None` of a published law.
    #[must_use]
    pub fn delta(&self) -> Option<f64> {
        let fit = self.origin.fit()?;
        fit.diagnostics.delta.or_else(|| fit.options.fit.delta.fixed())
    }

    /// The stored warnings, and what is to be said of every published law.
    #[must_use]
    pub fn all_warnings(&self) -> Vec<StoredWarning> {
        let warning = |code: TrustCode, detail: String| StoredWarning {
            code: code.as_str().to_owned(),
            detail,
        };
        let mut warnings = self.warnings.clone();
        if let Some(lent) = &self.shape.gain {
            let detail = format!(
                "no sparse run stands behind this law: what sparsity does is taken from law {} of {}, and may be \
                 otherwise here{}",
                lent.version,
                lent.family,
                if lent.settling.is_empty() {
                    ""
                } else {
                    "; gain.suggestions of the law are the runs that make it this family's own"
                }
            );
            warnings.push(warning(TrustCode::BorrowedGain, detail));
        }
        if matches!(self.origin, Origin::Published(_)) {
            let detail = "the coefficients were published elsewhere: how well they fit runs, and how far they \
                          may be off, was not checked here";
            warnings.push(warning(TrustCode::NotChecked, detail.to_owned()));
            let known = [&*T5_C4, &*VIT_JFT]
                .into_iter()
                .find(|known| *known.coefficients() == self.coefficients);
            if let Some((known, least)) =
                known.and_then(|known| Some((known, known.least_objective?)))
            {
                let detail = format!(
                    "the published coefficients are not the optimum of the runs that they were fitted on: their \
                     mean Huber loss is {:e}, and others reach {least:e}",
                    known.objective
                );
                warnings.push(warning(TrustCode::NotOptimum, detail));
            }
        }
        warnings
    }

    /// How far it can be trusted, in one word for the law: as far as its answers, and not at all where it has no answer
    /// to the question that it is for ([`Self::answers_optimal_sparsity`]).
    #[must_use]
    pub fn trust(&self) -> Trust {
        self.own_trust(self.trust_of_answers())
    }

    /// The law's own word where this is that of its answers, which may know of more than the law does.
    #[must_use]
    pub fn own_trust(&self, of_answers: Trust) -> Trust {
        let mut trust = of_answers;
        if !self.answers_optimal_sparsity() {
            trust.doubt(TrustLevel::None, TrustCode::NotIdentified);
        }
        trust
    }

    /// How far the answers that it gives can be trusted, whatever they are about.
    #[must_use]
    pub fn trust_of_answers(&self) -> Trust {
        let mut trust = Trust::of_warnings(&self.all_warnings());
        if self.identification().is_none() {
            trust.doubt(TrustLevel::Weak, TrustCode::NotChecked);
        }
        trust
    }

    /// Whether its runs determine which sparsity is best for a budget: of all, or of those that were measured.
    #[must_use]
    pub fn answers_optimal_sparsity(&self) -> bool {
        determines_budgets(&self.coefficients, self.shape.law.as_ref(), self.identification())
    }

    /// The measured sparsities, dense first, where all that its runs leave open is what lies between and beyond them.
    #[must_use]
    pub fn measured_sparsities(&self) -> Option<Vec<Sparsity>> {
        measured_sparsities(self.identification()?)
    }
}

/// Whether the runs of a law determine which sparsity is best for a budget: of all, or of those that were measured. `own`
/// is the law where it is of a form with coefficients of its own.
#[must_use]
pub fn determines_budgets(
    law: &Coefficients,
    own: Option<&FormLaw>,
    identification: Option<&Identification>,
) -> bool {
    if let Some(own) = own {
        return own.determines_data();
    }
    let complete = identification.is_none_or(Identification::is_complete);
    (law.determines().all() && complete) || identification.and_then(measured_sparsities).is_some()
}

fn measured_sparsities(known: &Identification) -> Option<Vec<Sparsity>> {
    let sparsities = known.sparsities.iter();
    let sparsities: Option<Vec<_>> = sparsities.map(|s| Sparsity::new(*s).ok()).collect();
    let sparsities = sparsities.filter(|_| known.determines_measured_sparsities())?;
    (sparsities.first()?.get() == 0.0).then_some(sparsities)
}

impl Trust {
    /// How far answers can be trusted of which there are these warnings, before anything else is known of them.
    #[must_use]
    pub fn of_warnings(warnings: &[StoredWarning]) -> Self {
        let mut trust = Self::GOOD;
        for warning in warnings {
            if let Some(code) = TrustCode::of_name(&warning.code) {
                trust.doubt(TrustLevel::Weak, code);
            }
        }
        trust
    }
}

/// A warning as it was given; codes of older versions of the service are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredWarning {
    /// Stable code.
    pub code: String,
    /// A sentence for a person.
    pub detail: String,
}

impl From<&sparsity_law::fit::Warning> for StoredWarning {
    fn from(warning: &sparsity_law::fit::Warning) -> Self {
        Self { code: warning.code.as_str().to_owned(), detail: warning.detail.clone() }
    }
}
