//! How a fit is followed and stopped, and why there may be none.

use crate::law::LawForm;

/// Why no law came of the runs.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FitError {
    /// Nothing that the law speaks of varies.
    #[error(
        "all {runs} runs have the same nonzero_params, sparsity and data: nothing can be learnt \
         from them about what these do"
    )]
    NotIdentifiable {
        /// Number of runs.
        runs: usize,
    },
    /// A fixed coefficient or the constraint is about a term that these runs do not show.
    #[error(
        "{option} cannot be kept: all runs have the same {quantity}, so the law of these runs has \
         no such term of its own"
    )]
    Inseparable {
        /// The option, as a path of names.
        option: String,
        /// `nonzero_params`, `sparsity` or `data`.
        quantity: &'static str,
    },
    /// The runs do not suit the form that the law is to have.
    #[error("these runs cannot carry the form {}: {reason}", .form.as_str())]
    FormNotCarried {
        /// The form.
        form: LawForm,
        /// Why, and what to do.
        reason: String,
    },
    /// There is no run to fit.
    #[error("there are no runs to fit")]
    NoRuns,
    /// The best coefficients that were found cannot be held by a double.
    #[error("the runs determine no finite {coefficient}")]
    NotRepresentable {
        /// Name of the coefficient.
        coefficient: &'static str,
    },
    /// The fit was told to stop.
    #[error("the fit was stopped")]
    Stopped,
}

named! {
    /// What a fit is at.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Phase {
        /// Descending from many starts.
        Searching = "searching",
        /// Fitting resampled runs.
        Resampling = "resampling",
        /// Hold-outs and profiles.
        Diagnosing = "diagnosing",
        /// Structured patterns and pretrained runs.
        Comparing = "comparing",
    }
}

impl Phase {
    /// Which part of the whole work the phase is, as measured with the default options.
    const fn part(self) -> (f64, f64) {
        match self {
            Self::Searching => (0.0, 0.1),
            Self::Resampling => (0.1, 0.8),
            Self::Diagnosing => (0.8, 0.9),
            Self::Comparing => (0.9, 1.0),
        }
    }
}

/// What a running fit tells and is told. Called from several threads.
pub struct Control<'a> {
    /// Polled before every step of a descent: cancelled, lease lost, shutting down.
    pub should_stop: &'a (dyn Fn() -> bool + Sync),
    /// Called with the phase and the share of the whole work that is done, from 0 to 1.
    pub progress: &'a (dyn Fn(Phase, f64) + Sync),
}

impl Control<'static> {
    /// Runs to the end and tells nobody.
    pub const NONE: Self = Self { should_stop: &|| false, progress: &|_, _| () };
}

impl Control<'_> {
    pub(super) fn tell(&self, phase: Phase, share: f64) {
        let (from, to) = phase.part();
        (self.progress)(phase, from + share * (to - from));
    }
}

impl std::fmt::Debug for Control<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}
