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

/// What a training step costs, looked up by name.
#[derive(Debug)]
pub enum Mode {
    /// `dense` or `sparse`, which are built in.
    Known(FlopMode),
    /// A hardware profile, as stored at the time of the question.
    Profile(Arc<HardwareProfile>),
}

fn known(name: &str) -> Option<FlopMode> {
    FlopMode::of_name(name)
}

const WHICH: &str = "must be dense, sparse, or the name of a hardware profile, of which \
                     /v1/hardware-profiles has the list";

/// What training costs at each level of a law that is a pattern of the hardware, in the order of the levels. `None` for
/// all other levels, which cost the same as zeros anywhere.
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

/// Notes an error if `name` cannot be a FLOP mode, whatever hardware profiles are stored.
pub fn check_mode(name: &str, checks: &mut Checks) {
    if known(name).is_none() && ProfileName::new(name).is_err() {
        checks.refuse("flop_mode", WHICH);
    }
}

impl Mode {
    /// Finds the mode of a name.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] about `flop_mode` if there is no such mode.
    pub async fn find(state: &AppState, name: &str) -> Result<Self, ApiError> {
        if let Some(mode) = known(name) {
            return Ok(Self::Known(mode));
        }
        let unknown = || ApiError::field("/flop_mode", WHICH);
        let name = ProfileName::new(name).map_err(|_| unknown())?;
        let found = find_profile(&state.profiles, &state.pool, name).await?;
        Ok(Self::Profile(found.ok_or_else(unknown)?))
    }

    /// Finds the mode of a name that the request gives below `pointer`.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] about `flop_mode` below `pointer` if there is no such mode.
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

    /// Name of the mode.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Known(mode) => mode.as_str(),
            Self::Profile(profile) => profile.name.as_str(),
        }
    }

    /// What a training step costs.
    #[must_use]
    pub fn step(&self) -> StepCost {
        match self {
            Self::Known(mode) => (*mode).into(),
            Self::Profile(profile) => profile.settings.cost.step().clone(),
        }
    }

    /// What training costs in this mode by a law.
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

    /// The ETag of a law's answer in this mode: it changes with everything that the answer depends on.
    #[must_use]
    pub fn tag<'a>(&self, law: &'a AskedLaw) -> Cow<'a, str> {
        match self.own_tag() {
            None => Cow::Borrowed(&law.tag),
            Some(own) => Cow::Owned(format!("{}.{own}", law.tag)),
        }
    }

    /// The part of an ETag that depends on this mode and changes with the hardware profile; `None` for the built-in
    /// modes, which never change.
    #[must_use]
    pub fn own_tag(&self) -> Option<String> {
        match self {
            Self::Known(_) => None,
            Self::Profile(profile) => {
                // Every change of the profile moves this time forward.
                let updated = profile.updated_at.timestamp_micros();
                Some(format!("{}.{updated}", profile.id.simple()))
            }
        }
    }

    /// How fresh a law's answer is in this mode: an answer is not pinned by the version of the law if a profile can
    /// change it.
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

    /// What a step costs with a mixture of experts, relative to a dense step of the same shape.
    #[must_use]
    pub fn expert_cost(&self, choice: &ExpertChoice) -> f64 {
        match self {
            Self::Known(_) => self.step().at(choice.density().sparsity().get()),
            Self::Profile(profile) => profile.settings.expert_cost(choice),
        }
    }

    /// The mixtures of experts of a law as plans take patterns; `None` where the family lists none.
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

    /// Converts patterns to the type that plans take, leaving out those whose sparsity or worth is out of range.
    ///
    /// With a hardware profile, a pattern has its own step cost from the pattern start of the pruning schedule on,
    /// which is the end of pruning by default; in `dense` and `sparse` mode it costs the same as zeros anywhere.
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

    /// The patterns that the hardware can run; `None` for modes without a hardware profile.
    #[must_use]
    pub fn patterns(&self) -> Option<&[Pattern]> {
        match self {
            Self::Known(_) => None,
            Self::Profile(profile) => Some(&profile.settings.patterns),
        }
    }

    /// What the hardware computes and costs per hour; `None` for modes without a hardware profile.
    #[must_use]
    pub fn rates(&self) -> Option<&Rates> {
        match self {
            Self::Known(_) => None,
            Self::Profile(profile) => Some(&profile.settings.rates),
        }
    }

    /// How weights are stored by default.
    #[must_use]
    pub fn storage(&self) -> StorageFormat {
        match self {
            Self::Known(_) => StorageFormat::Dense,
            Self::Profile(profile) => profile.settings.storage,
        }
    }
}
