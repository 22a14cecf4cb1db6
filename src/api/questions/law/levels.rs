//! What a question may name of a law that knows single sparsities, and the refusal of any other.

use sparsity_law::law::{Data, Density, FormLaw, Interval, NonzeroParams, SampledForm};

use super::AskedLaw;
use crate::api::wire::problem::ApiError;

impl AskedLaw {
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
}
