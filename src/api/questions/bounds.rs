//! Bounds of a question on the sparsity of a model of given size.

use sparsity_law::law::{
    Bound, Ceiling, Compute, Density, NonzeroParams, Repetition, Sparsity, Storage, StorageFormat,
    TooLow, TrainingCost, optimal_sparsity_under,
};

use crate::api::questions::law::AskedLaw;
use crate::api::questions::modes::Mode;
use crate::api::resources::profiles::StorageView;
use crate::api::wire::problem::ApiError;
use crate::domain::checks::Checks;

/// The bounds as the request gives them.
#[derive(Debug, Clone, Copy, Default)]
pub struct GivenBounds {
    /// The most parameters, zeros included.
    pub max_total_params: Option<f64>,
    /// The most bytes that the weights may take.
    pub memory_bytes: Option<f64>,
    /// The highest sparsity.
    pub max_sparsity: Option<f64>,
}

/// How weights are stored, as the request gives it.
#[derive(Debug, Clone, Copy, Default)]
pub struct GivenStorage {
    /// The storage format; `None` for that of the mode.
    pub storage: Option<StorageView>,
    /// Bits per value; `None` for [`BITS`].
    pub bits_per_param: Option<u32>,
}

/// Checked bounds. The storage format may still depend on the mode, which is looked up after the checks.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    max_total_params: Option<f64>,
    memory_bytes: Option<f64>,
    max_sparsity: Option<Sparsity>,
    storage: Option<StorageFormat>,
    bits: u32,
}

/// Bits per value by default.
pub const BITS: u32 = 16;

/// Checks a number of parameters (zeros included) or of bytes: between 1 and `most`.
pub(crate) fn check_amount(field: &str, value: f64, most: f64, checks: &mut Checks) -> Option<f64> {
    if (1.0..=most).contains(&value) {
        return Some(value);
    }
    checks.refuse(field, format!("must be between 1 and {most:e}, not {value}"));
    None
}

/// The highest bound on the number of parameters.
pub(crate) const MOST_PARAMS: f64 = 1e22;
/// The highest bound on the number of bytes.
pub(crate) const MOST_BYTES: f64 = 1e30;

impl GivenStorage {
    /// The checked number of bits per value.
    pub(crate) fn bits(self, checks: &mut Checks) -> u32 {
        let bits = self.bits_per_param.unwrap_or(BITS);
        if !Storage::VALUE_BITS.contains(&bits) {
            checks.refuse("bits_per_param", format!("must be 4, 8, 16 or 32, not {bits}"));
        }
        bits
    }

    /// Refuses options of the storage in a request without a bound on memory.
    pub(crate) fn require_memory(self, has_memory: bool, checks: &mut Checks) {
        for (field, given) in
            [("storage", self.storage.is_some()), ("bits_per_param", self.bits_per_param.is_some())]
        {
            if given && !has_memory {
                checks.refuse(field, "belongs to memory_bytes, which is not given");
            }
        }
    }
}

impl GivenBounds {
    /// These bounds, with those that are not given taken from `others`.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            max_total_params: self.max_total_params.or(others.max_total_params),
            memory_bytes: self.memory_bytes.or(others.memory_bytes),
            max_sparsity: self.max_sparsity.or(others.max_sparsity),
        }
    }

    /// Checks each bound on its own.
    pub(crate) fn check(self, storage: GivenStorage, checks: &mut Checks) -> Option<Bounds> {
        let mut amount = |field: &str, value: Option<f64>, most| match value {
            Some(value) => check_amount(field, value, most, checks).map(Some),
            None => Some(None),
        };
        let max_total_params = amount("max_total_params", self.max_total_params, MOST_PARAMS);
        let memory_bytes = amount("memory_bytes", self.memory_bytes, MOST_BYTES);
        let max_sparsity = match self.max_sparsity {
            Some(value) => checks.take("max_sparsity", Sparsity::new(value)).map(Some),
            None => Some(None),
        };
        let bits = storage.bits(checks);
        Some(Bounds {
            max_total_params: max_total_params?,
            memory_bytes: memory_bytes?,
            max_sparsity: max_sparsity?,
            storage: storage.storage.map(StorageFormat::from),
            bits,
        })
    }
}

impl Bounds {
    /// Whether there are no bounds at all.
    pub(crate) const fn is_none(&self) -> bool {
        self.max_total_params.is_none()
            && self.memory_bytes.is_none()
            && self.max_sparsity.is_none()
    }

    /// The bounds with the storage format of a mode where the request gives none.
    pub(crate) fn ceiling(&self, mode: &Mode) -> Ceiling {
        let storage = || Storage::new(self.storage.unwrap_or_else(|| mode.storage()), self.bits);
        Ceiling {
            max_total_params: self.max_total_params,
            memory: self.memory_bytes.map(|bytes| (bytes, storage())),
            max_sparsity: self.max_sparsity,
        }
    }
}

/// The error for a bound that no model of the size can satisfy.
impl From<TooLow> for ApiError {
    fn from(error: TooLow) -> Self {
        Self::field(format!("/{}", error.bound.as_str()), error.to_string())
    }
}

/// Refuses a question for the best sparsity if zeros always lower the loss and no bound limits them.
///
/// # Errors
/// [`ApiError::Invalid`] about `max_sparsity`.
pub(crate) fn require_optimum(
    cost: &TrainingCost,
    least: Option<Density>,
    mode: &Mode,
) -> Result<(), ApiError> {
    if cost.has_optimum() || least.is_some() {
        return Ok(());
    }
    let detail = format!(
        "must be given, or max_total_params or memory_bytes in its place: with zeros from the first step on, which \
         cost nothing in mode {}, every further zero lowers the loss and no sparsity is best",
        mode.name()
    );
    Err(ApiError::field("/max_sparsity", detail))
}

/// The best density without bounds; `None` where there is no best density.
pub(crate) fn free_density(
    asked: &AskedLaw,
    cost: &TrainingCost,
    question: (NonzeroParams, Compute),
    repetition: Option<&Repetition>,
) -> Option<Density> {
    let law = asked.sampled.coefficients();
    let best = || optimal_sparsity_under(law, cost, question, None, repetition).ok();
    cost.has_optimum().then(best)?.map(|best| best.density)
}

/// The names of the bounds that rule out the best density `free`, which holds without bounds.
///
/// # Errors
/// [`ApiError::Invalid`] where no model of the size can satisfy a bound.
pub(crate) fn binding(
    ceiling: &Ceiling,
    nonzero_params: NonzeroParams,
    free: impl FnOnce() -> Option<Density>,
) -> Result<Vec<&'static str>, ApiError> {
    if ceiling.is_none() {
        return Ok(Vec::new());
    }
    let bounds = ceiling.binding(nonzero_params, free())?;
    Ok(bounds.into_iter().map(Bound::as_str).collect())
}
