//! The FLOP mode that a question names: `dense`, `sparse` or a hardware profile.

use std::borrow::Cow;
use std::sync::Arc;

use sparsity_law::law::{
    ExpertChoice, FlopMode, FormLaw, LevelCapacity, PatternWorth, PlannedPattern, SampledForm,
    Sparsity, StepCost, StorageFormat, TrainingCost, pattern_multiplier,
};

use crate::api::questions::law::AskedLaw;
use crate::api::state::AppState;
use crate::api::wire::caching::Freshness;
use crate::api::wire::problem::ApiError;
use crate::domain::checks::{Checks, FieldError};
use crate::domain::profile::{HardwareProfile, Rates};
use crate::domain::text::{Pattern, ProfileName};
use crate::live::profiles::find_profile;

/// What a training step costs, by name.
#[derive(Debug)]
pub enum Mode {
    /// `dense` or `sparse`, which need no measurement.
    Known(FlopMode),
    /// A hardware profile, as it is stored at the time of the question.
    Profile(Arc<HardwareProfile>),
}

fn known(name: &str) -> Option<FlopMode> {
    FlopMode::of_name(name)
}

const WHICH: &str = "must be dense, sparse, or the name of a hardware profile, of which \
                     /v1/hardware-profiles has the list";

/// What training costs at the levels of a law that are patterns of the hardware, by place; `None` of the others, which
/// cost what any zeros cost.
fn level_multipliers(asked: &AskedLaw, profile: &HardwareProfile) -> Vec<Option<f64>> {
    let Some(FormLaw::Levels(law)) = asked.own.as_ref().map(SampledForm::law) else {
        return Vec::new();
    };
    let (settings, pruning) = (&profile.settings, &asked.law.content.pruning);
    let multiplier = |level: &LevelCapacity| {
        let name = level.name.as_deref()?;
        let pattern = settings.patterns.iter().find(|pattern| pattern.as_str() == name)?;
        let nominal = Sparsity::new(pattern.sparsity()).ok()?.density();
        let step_cost = settings.pattern_cost(pattern);
        level.has_density(nominal).then(|| pattern_multiplier(pruning, step_cost, nominal))
    };
    law.levels.iter().map(multiplier).collect()
}

/// Notes an error where `name` can be no flop mode, whatever hardware profiles are stored.
pub fn check_mode(name: &str, checks: &mut Checks) {
    if known(name).is_none() && ProfileName::new(name).is_err() {
        checks.refuse("flop_mode", WHICH);
    }
}

impl Mode {
    /// The mode of a name.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] where there is no such mode.
    pub async fn find(state: &AppState, name: &str) -> Result<Self, ApiError> {
        if let Some(mode) = known(name) {
            return Ok(Self::Known(mode));
        }
        let unknown = || ApiError::field("/flop_mode", WHICH);
        let name = ProfileName::new(name).map_err(|_| unknown())?;
        let found = find_profile(&state.profiles, &state.pool, name).await?;
        Ok(Self::Profile(found.ok_or_else(unknown)?))
    }

    /// The mode of a name that stands below a pointer of the body.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] where nothing has it.
    pub async fn find_below(state: &AppState, pointer: &str, name: &str) -> Result<Self, ApiError> {
        Self::find(state, name).await.map_err(|error| match error {
            ApiError::Invalid(errors) => {
                let below = |error: FieldError| FieldError {
                    pointer: format!("{pointer}{}", error.pointer),
                    detail: error.detail,
                };
                ApiError::Invalid(errors.into_iter().map(below).collect())
            }
            other => other,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Known(mode) => mode.as_str(),
            Self::Profile(profile) => profile.name.as_str(),
        }
    }

    /// What a step costs.
    #[must_use]
    pub fn step(&self) -> StepCost {
        match self {
            Self::Known(mode) => (*mode).into(),
            Self::Profile(profile) => profile.settings.cost.step().clone(),
        }
    }

    /// What training costs by a law in this mode.
    #[must_use]
    pub fn cost(&self, law: &AskedLaw) -> TrainingCost {
        match self {
            Self::Known(mode) => law.cost(*mode),
            Self::Profile(profile) => {
                let changed = (profile.id, profile.updated_at.timestamp_micros());
                law.cost_of(changed, || {
                    law.cost(self.step()).with_levels(&level_multipliers(law, profile))
                })
            }
        }
    }

    /// The ETag of an answer of a law in this mode: it changes with everything that the answer depends on.
    #[must_use]
    pub fn tag<'a>(&self, law: &'a AskedLaw) -> Cow<'a, str> {
        match self.own_tag() {
            None => Cow::Borrowed(&law.tag),
            Some(own) => Cow::Owned(format!("{}.{own}", law.tag)),
        }
    }

    /// What of an ETag is this mode's: it changes with the hardware profile. Nothing of the others, which never change.
    #[must_use]
    pub fn own_tag(&self) -> Option<String> {
        match self {
            Self::Known(_) => None,
            Self::Profile(profile) => {
                // Every change moves the time on.
                let updated = profile.updated_at.timestamp_micros();
                Some(format!("{}.{updated}", profile.id.simple()))
            }
        }
    }

    /// How fresh an answer of a law is in this mode: no law's version pins a profile.
    #[must_use]
    pub const fn freshness(&self, law: Freshness) -> Freshness {
        match self {
            Self::Known(_) => law,
            Self::Profile(_) => match law {
                Freshness::AsOf(_) => law,
                Freshness::Revalidate | Freshness::Pinned => Freshness::Revalidate,
            },
        }
    }

    /// What a step costs with experts, relative to a dense step of the same shape.
    #[must_use]
    pub fn expert_cost(&self, choice: &ExpertChoice) -> f64 {
        match self {
            Self::Known(_) => self.step().at(choice.density().sparsity().get()),
            Self::Profile(profile) => profile.settings.expert_cost(choice),
        }
    }

    /// The mixtures of experts of a law as plans take patterns; `None` where it lists none.
    #[must_use]
    pub fn planned_experts<'a>(&self, asked: &'a AskedLaw) -> Option<Vec<PlannedPattern<'a>>> {
        let choices = asked.law.content.zeros.grid()?.choices();
        let planned = |choice: &'a ExpertChoice| PlannedPattern {
            name: choice.name(),
            worth: PatternWorth { nominal: choice.density(), effective: None },
            step_cost: Some(self.expert_cost(choice)),
            two_of_four: false,
        };
        Some(choices.iter().map(planned).collect())
    }

    /// Patterns as plans take them, without those whose sparsity or worth is out of range.
    ///
    /// In a hardware profile a pattern's kernels run from where pruning ends; in `dense` and `sparse`
    /// mode it costs what any zeros cost.
    #[must_use]
    pub fn planned_patterns<'a>(
        &self,
        asked: &AskedLaw,
        patterns: &'a [Pattern],
    ) -> Vec<PlannedPattern<'a>> {
        let planned = |pattern: &'a Pattern| {
            let step_cost = match self {
                Self::Known(_) => None,
                Self::Profile(profile) => Some(profile.settings.pattern_cost(pattern)),
            };
            Some(PlannedPattern {
                name: pattern.as_str(),
                worth: asked.worth(pattern)?,
                step_cost,
                two_of_four: pattern.is_two_of_four(),
            })
        };
        asked.measured_first(patterns).into_iter().filter_map(planned).collect()
    }

    /// The patterns that the hardware can run; `None` where it is no profile.
    #[must_use]
    pub fn patterns(&self) -> Option<&[Pattern]> {
        match self {
            Self::Known(_) => None,
            Self::Profile(profile) => Some(&profile.settings.patterns),
        }
    }

    /// What the machine does in an hour; `None` where the mode is no hardware profile.
    #[must_use]
    pub fn rates(&self) -> Option<&Rates> {
        match self {
            Self::Known(_) => None,
            Self::Profile(profile) => Some(&profile.settings.rates),
        }
    }

    /// How weights are stored.
    #[must_use]
    pub fn storage(&self) -> StorageFormat {
        match self {
            Self::Known(_) => StorageFormat::Dense,
            Self::Profile(profile) => profile.settings.storage,
        }
    }
}
