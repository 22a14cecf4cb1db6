//! Progress and cancellation of a fit, and the reasons why it may fail.

use crate::law::LawForm;

/// Why a fit gave no law.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FitError {
    /// Size, sparsity and data are the same in all runs.
    #[error(
        "all {runs} runs have the same nonzero_params, sparsity and data: nothing can be learnt \
         from them about what these do"
    )]
    NotIdentifiable {
        /// Number of runs.
        runs: usize,
    },
    /// A fixed coefficient, or the constraint, is about a term that these runs cannot separate from another.
    #[error(
        "{option} cannot be kept: all runs have the same {quantity}, so the law of these runs has \
         no such term of its own"
    )]
    Inseparable {
        /// Path of the option, its parts separated by `/`.
        option: String,
        /// `nonzero_params`, `sparsity` or `data`.
        quantity: &'static str,
    },
    /// The runs do not suit the requested form.
    #[error("these runs cannot carry the form {}: {reason}", .form.as_str())]
    FormNotCarried {
        /// The form.
        form: LawForm,
        /// Why not, and what can be done about it.
        reason: String,
    },
    /// There is no run to fit.
    #[error("there are no runs to fit")]
    NoRuns,
    /// A coefficient of the best fit is out of the range of an f64.
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
    /// Phase of a fit.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Phase {
        /// Descents from many starts.
        Searching = "searching",
        /// Fits of resampled runs.
        Resampling = "resampling",
        /// Hold-outs and profile intervals.
        Diagnosing = "diagnosing",
        /// Comparison of structured patterns and pretrained runs with the law.
        Comparing = "comparing",
    }
}

impl Phase {
    /// Begin and end of the phase as shares of the whole work, as measured with the default options.
    const fn part(self) -> (f64, f64) {
        match self {
            Self::Searching => (0.0, 0.1),
            Self::Resampling => (0.1, 0.8),
            Self::Diagnosing => (0.8, 0.9),
            Self::Comparing => (0.9, 1.0),
        }
    }
}

/// Callbacks of a running fit. They are called from several threads.
pub struct Control<'a> {
    /// Polled before every step of a descent; the fit stops once it returns true.
    pub should_stop: &'a (dyn Fn() -> bool + Sync),
    /// Called with the phase and the share of the whole work that is done, from 0 to 1.
    pub progress: &'a (dyn Fn(Phase, f64) + Sync),
}

impl Control<'static> {
    /// Never stops the fit and reports no progress.
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
