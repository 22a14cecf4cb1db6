//! Refusals of what the runs behind a law do not determine, with the runs that would settle it.

use sparsity_law::law::{
    CoefficientName, Determined, Lacking, LawForm, Missing, NotIdentified, Question, Range,
};

use super::AskedLaw;
use crate::api::wire::problem::{ApiError, MissingView, SettlingRunView};

impl AskedLaw {
    /// Refuses a question about a budget that the law cannot answer.
    ///
    /// A law of the seven coefficients has to determine the effects of size, sparsity and data together. A law of
    /// another form only has to have seen different sizes and amounts of data: it is not stored in the first place if
    /// its runs leave anything but the effect of data open.
    ///
    /// # Errors
    /// [`ApiError::Undetermined`] or [`ApiError::NotIdentified`].
    pub fn require_plans(&self, what: &str) -> Result<(), ApiError> {
        if self.own.is_some() { self.require_budgets(what) } else { self.require_all(what) }
    }

    /// Refuses a question that only the seven coefficients can answer, for laws of other forms.
    ///
    /// # Errors
    /// [`ApiError::Undetermined`] if the law has another form.
    pub fn require_curve(&self) -> Result<(), ApiError> {
        let Some(own) = &self.own else { return Ok(()) };
        let version = self.law.version;
        let why = match own.law().form() {
            LawForm::Levels => {
                "levels, which knows single sparsities and nothing between them. It answers predictions, \
                 optimal sparsities, loss-by-sparsity, gain, plans, suggestions, comparisons of recipes and forecasts"
            }
            _ => {
                "experts, by which what sparsity is worth depends on the size. It answers predictions, \
                 optimal sparsities, loss-by-sparsity, plans, suggestions, comparisons of recipes and forecasts"
            }
        };
        Err(ApiError::Undetermined(format!(
            "law {version} has the form {why}; for this question refit with another form, or name a version that has \
             one (law_version)"
        )))
    }

    /// The quantities whose effect the law knows.
    fn determines(&self) -> Determined {
        match &self.own {
            None => self.law.content.coefficients.determines(),
            Some(own) => Determined {
                nonzero_params: true,
                sparsity: true,
                data: own.law().determines_data(),
            },
        }
    }

    /// The error for questions that no law with a borrowed gain answers, with the sparse runs that would give it its
    /// own gain; `None` for all other laws.
    pub fn without_own_gain(&self, what: &str) -> Option<ApiError> {
        let version = self.law.version;
        self.law.content.shape.gain.as_ref().map(|lent| ApiError::NotIdentified {
            detail: format!(
                "{what} cannot be had of law {version}: its gain is borrowed of {}; {}",
                lent.family,
                if lent.settling.is_empty() {
                    "submit runs of three sparsities and refit"
                } else {
                    "suggestions are the sparse runs that make it this family's own: make them, submit them and refit"
                }
            ),
            missing: vec![MissingView::from(&Missing {
                what: Lacking::Sparsity,
                have: 1,
                needed: 3,
            })],
            suggestions: lent.settling.iter().map(SettlingRunView::from).collect(),
        })
    }

    /// Refuses a question about a quantity that varied too little over the runs, or not at all.
    ///
    /// # Errors
    /// [`ApiError::Undetermined`] or [`ApiError::NotIdentified`].
    pub fn require_all(&self, what: &str) -> Result<(), ApiError> {
        self.require_varied(what)?;
        let known = self.law.content.identification();
        known.map_or(Ok(()), |known| known.require_all()).map_err(|error| self.open(what, error))
    }

    /// Refuses a question that depends on the effects of size and data, where either never varied over the runs. Where
    /// they varied but the runs still leave something open, [`Self::require_at`] refuses the question.
    ///
    /// # Errors
    /// [`ApiError::Undetermined`] if all runs have the same data or the same size.
    pub fn require_budgets(&self, what: &str) -> Result<(), ApiError> {
        let known = self.determines();
        for (known, quantity) in [(known.data, "data"), (known.nonzero_params, "nonzero_params")] {
            if !known {
                return Err(self.undetermined(what, quantity));
            }
        }
        Ok(())
    }

    /// Refuses a question that depends on the effects of size and sparsity but not of data, where these varied too
    /// little over the runs, or not at all.
    ///
    /// # Errors
    /// [`ApiError::Undetermined`] or [`ApiError::NotIdentified`].
    pub fn require_gain(&self, what: &str) -> Result<(), ApiError> {
        use CoefficientName::{AS, BN, BS, CS};
        let determined = self.determines();
        if !(determined.sparsity && determined.nonzero_params) {
            self.require_varied(what)?;
        }
        let known = self.law.content.identification();
        let known = known.map_or(Ok(()), |known| known.require(&[AS, BS, CS, BN]));
        known.map_err(|error| self.open(what, error))
    }

    /// The error for an answer that the runs do not determine, with the runs that would settle it.
    fn open(&self, what: &str, error: NotIdentified) -> ApiError {
        let known = self.law.content.identification();
        let settling = known.map_or(&[][..], |known| &known.settling);
        let advice = if settling.is_empty() {
            "submit runs with other values and refit"
        } else {
            "suggestions are the cheapest runs that settle it: make them, submit them and refit"
        };
        ApiError::NotIdentified {
            detail: format!("{what} cannot be had of law {}: {error}; {advice}", self.law.version),
            missing: error.missing.iter().map(MissingView::from).collect(),
            suggestions: settling.iter().map(SettlingRunView::from).collect(),
        }
    }

    fn require_varied(&self, what: &str) -> Result<(), ApiError> {
        let known = self.determines();
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
        let support = &self.law.content.support;
        let varied = |range: Option<Range>| range.is_some_and(|Range { min, max }| min < max);
        let varied = match quantity {
            "sparsity" => support.levels().len() > 1,
            "data" => varied(support.data()),
            _ => varied(support.nonzero_params()),
        };
        let why = if support.levels().is_empty() {
            "was given without its runs"
        } else if varied {
            "found no effect of it in its runs"
        } else {
            "has runs of a single value of it"
        };
        ApiError::Undetermined(format!(
            "{what} depends on {quantity}, and law {} does not know what another {quantity} would do: it {why}; submit \
             runs with other values and refit",
            self.law.version
        ))
    }

    /// Refuses a prediction that the runs do not determine, or away from the only value that they have of a quantity.
    ///
    /// # Errors
    /// [`ApiError::Undetermined`] or [`ApiError::NotIdentified`].
    pub fn require_at(&self, question: &Question<'_>) -> Result<(), ApiError> {
        self.require_at_level(question, None)
    }

    /// Like [`Self::require_at`], at the level of the given place if there is one.
    ///
    /// # Errors
    /// The same as [`Self::require_at`].
    pub fn require_at_level(
        &self,
        question: &Question<'_>,
        level: Option<usize>,
    ) -> Result<(), ApiError> {
        let known = self.determines();
        let support = &self.law.content.support;
        let sparsities = support.levels().first().zip(support.levels().last());
        // A law whose runs are unknown and that says nothing of sparsity is one of dense models.
        let sparsities = sparsities.map_or(Range { min: 0.0, max: 0.0 }, |(low, high)| Range {
            min: low.sparsity,
            max: high.sparsity,
        });
        let asked = [
            (known.sparsity, "sparsity", question.density.sparsity().get(), Some(sparsities)),
            (known.data, "data", question.data.get(), support.data()),
            (
                known.nonzero_params,
                "nonzero_params",
                question.nonzero_params.get(),
                support.nonzero_params(),
            ),
        ];
        for (known, quantity, value, range) in asked {
            // The tolerance by which fits group values into levels: absolute for sparsities, relative for the others.
            let inside = range.is_none_or(|Range { min, max }| {
                let margin = 2e-3 * if quantity == "sparsity" { 1.0 } else { max };
                (min - margin..=max + margin).contains(&value)
            });
            if !known && !inside {
                return Err(self.undetermined("the answer", quantity));
            }
        }
        if let Some(own) = &self.own {
            // Laws of these forms are only stored if their runs determine everything, so only the level is left to
            // check.
            let known = own.law().levels().is_none_or(|_| {
                let Question { nonzero_params, density, data, .. } = *question;
                own.law().loss_at(level, density, nonzero_params, data).is_some()
            });
            return known.then_some(()).ok_or_else(|| self.no_level(own.law(), question.density));
        }
        let identified = self.law.content.identification();
        let identified = identified.map_or(Ok(()), |known| known.require_loss(question));
        identified.map_err(|error| self.open("the loss", error))
    }
}
