//! How much training a question is about: an amount of data, or a cost.

use serde::Serialize;
use sparsity_law::law::{Compute, Data, NonzeroParams};
use utoipa::ToSchema;

use crate::api::questions::modes::{Mode, check_mode};
use crate::api::wire::problem::ApiError;
use crate::domain::checks::Checks;
use crate::domain::currency::Currency;

/// A training cost as the request gives it, at most in one currency. The values are in the order of [`Currency::ALL`].
#[derive(Debug, Clone, Copy, Default)]
pub struct GivenBudget(pub [Option<f64>; 4]);

impl GivenBudget {
    /// A training cost in one currency.
    #[must_use]
    pub fn one(currency: Currency, value: f64) -> Self {
        let mut given = [None; 4];
        given[currency as usize] = Some(value);
        Self(given)
    }

    /// Whether a cost is given in any currency.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.0.iter().any(Option::is_some)
    }

    /// Checks a budget that must be given in exactly one currency.
    pub(crate) fn check(self, checks: &mut Checks) -> Option<Spending> {
        let mut given = Currency::ALL
            .into_iter()
            .filter_map(|currency| Some((currency, self.0[currency as usize]?)));
        let Some((currency, value)) = given.next() else {
            let detail = "must be given, or device_hours, days or cost in its place";
            checks.refuse("compute", detail);
            return None;
        };
        if let Some((other, _)) = given.next() {
            let detail = format!("must not be given beside {}", currency.as_str());
            checks.refuse(other.as_str(), detail);
            return None;
        }
        Spending::check(currency, value, checks)
    }
}

/// A checked training cost. Its FLOPs may depend on the mode, which is looked up after the checks.
#[derive(Debug, Clone, Copy)]
pub struct Spending {
    currency: Currency,
    value: f64,
}

/// The highest number of hours or days or amount of money in a question.
const MOST: f64 = 1e15;

impl Spending {
    /// Checks a value in a currency.
    pub(crate) fn check(currency: Currency, value: f64, checks: &mut Checks) -> Option<Self> {
        if currency == Currency::Compute {
            checks.take("compute", Compute::new(value))?;
        } else if !(value > 0.0 && value <= MOST) {
            checks.refuse(
                currency.as_str(),
                format!("must be above 0 and at most {MOST:e}, not {value}"),
            );
            return None;
        }
        Some(Self { currency, value })
    }

    /// The currency and the value in it, as given.
    pub(crate) const fn given(self) -> (Currency, f64) {
        (self.currency, self.value)
    }

    /// The FLOPs that this cost pays for in a mode.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] where the mode has no price or speed to convert the cost, or where the FLOPs are out of
    /// range.
    pub(crate) fn compute(self, mode: &Mode) -> Result<Compute, ApiError> {
        let field = format!("/{}", self.currency.as_str());
        let lacks = |what: &str| match mode {
            Mode::Known(_) => ApiError::field(
                &field,
                format!(
                    "needs a hardware profile with {what} as the flop_mode, and {} is none: give compute in its place",
                    mode.name()
                ),
            ),
            Mode::Profile(_) => ApiError::field(
                &field,
                format!(
                    "needs {what} of the hardware profile {}, which does not say it",
                    mode.name()
                ),
            ),
        };
        let rates = mode.rates();
        let hour = || {
            let flops = rates.and_then(|rates| rates.flops_per_device_hour());
            flops.ok_or_else(|| lacks("flops_per_second"))
        };
        let flops = match self.currency {
            Currency::Compute => self.value,
            Currency::DeviceHours => self.value * hour()?,
            Currency::Days => {
                let hours = rates.map_or(0.0, |rates| rates.device_hours_per_day());
                self.value * hours * hour()?
            }
            Currency::Cost => {
                let hour = hour()?;
                let price = rates.and_then(|rates| rates.price_per_hour);
                self.value / price.ok_or_else(|| lacks("price_per_hour"))? * hour
            }
        };
        Compute::new(flops)
            .map_err(|error| ApiError::field(&field, format!("pays for FLOPs, which {error}")))
    }
}

/// A training cost in every currency that is known.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = Budget)]
pub struct BudgetView {
    /// Training cost in FLOPs.
    #[schema(example = 1e19)]
    compute: f64,
    /// Hours of one device; null where the mode is not a hardware profile with the speed of a device.
    #[schema(example = 6.94)]
    device_hours: Option<f64>,
    /// Days of all devices of the hardware profile together; null where `device_hours` is null.
    #[schema(example = 0.0045)]
    days: Option<f64>,
    /// Price of the hours; null where the hardware profile has no price.
    #[schema(example = 13.9)]
    cost: Option<f64>,
}

impl BudgetView {
    /// Converts FLOPs to all currencies that a mode knows.
    pub(crate) fn new(compute: f64, mode: &Mode) -> Self {
        let spent = mode.rates().and_then(|rates| rates.spent(compute));
        Self {
            compute,
            device_hours: spent.map(|spent| spent.device_hours),
            days: spent.map(|spent| spent.days),
            cost: spent.and_then(|spent| spent.cost),
        }
    }

    /// Training cost in FLOPs.
    pub(crate) const fn compute(&self) -> f64 {
        self.compute
    }

    /// The device hours, the days and the price.
    pub(crate) const fn paid(&self) -> [Option<f64>; 3] {
        [self.device_hours, self.days, self.cost]
    }
}

/// How much training a question is about, as known before the mode is looked up.
#[derive(Debug, Clone, Copy)]
pub enum AskedBudget {
    /// An amount of data.
    Data(Data),
    /// A training cost.
    Spending(Spending),
}

impl AskedBudget {
    /// Checks a budget that is given either as `data`, or as a training cost with its `flop_mode`.
    pub(crate) fn check(
        data: Option<f64>,
        given: GivenBudget,
        flop_mode: Option<&str>,
        checks: &mut Checks,
    ) -> Option<Self> {
        let compute = given.0[Currency::Compute as usize];
        // A cost in FLOPs or data goes through the simpler check; the other currencies stand in place of `compute`.
        let other = Currency::ALL.into_iter().skip(1).find(|c| given.0[*c as usize].is_some());
        let Some(other) = other else {
            let budget = Budget::check(data, compute, flop_mode, checks)?;
            return Some(match budget {
                Budget::Data(data) => Self::Data(data),
                Budget::Compute(compute) => {
                    let (currency, value) = (Currency::Compute, compute.get());
                    Self::Spending(Spending { currency, value })
                }
            });
        };
        if data.is_some() {
            checks.refuse(other.as_str(), "must not be given beside data");
            return None;
        }
        match flop_mode {
            Some(mode) => check_mode(mode, checks),
            None => {
                let detail = format!("must be given with {}: a hardware profile", other.as_str());
                checks.refuse("flop_mode", detail);
            }
        }
        given.check(checks).map(Self::Spending)
    }

    /// Converts the budget to data or FLOPs, given the mode.
    ///
    /// # Errors
    /// The same as [`Spending::compute`].
    pub(crate) fn in_mode(self, mode: &Mode) -> Result<Budget, ApiError> {
        match self {
            Self::Data(data) => Ok(Budget::Data(data)),
            Self::Spending(spending) => spending.compute(mode).map(Budget::Compute),
        }
    }
}

/// How much training a question is about, with the mode known.
#[derive(Debug, Clone, Copy)]
pub enum Budget {
    /// An amount of data.
    Data(Data),
    /// A training cost in FLOPs. How much data it pays for depends on the FLOP mode, which is looked up after the
    /// checks.
    Compute(Compute),
}

impl Budget {
    /// Checks a budget that is given either as `data`, or as `compute` with its `flop_mode`.
    pub(crate) fn check(
        data: Option<f64>,
        compute: Option<f64>,
        flop_mode: Option<&str>,
        checks: &mut Checks,
    ) -> Option<Self> {
        match (data, compute, flop_mode) {
            (Some(data), None, None) => checks.take("data", Data::new(data)).map(Self::Data),
            (None, Some(compute), Some(mode)) => {
                check_mode(mode, checks);
                checks.take("compute", Compute::new(compute)).map(Self::Compute)
            }
            (None, Some(_), None) => {
                let detail = "must be given with compute: dense, sparse or a hardware profile";
                checks.refuse("flop_mode", detail);
                None
            }
            (Some(_), Some(_), _) => {
                checks.refuse("compute", "must not be given beside data");
                None
            }
            (Some(_), None, Some(_)) => {
                checks.refuse("flop_mode", "belongs to compute, not to data");
                None
            }
            (None, None, _) => {
                checks.refuse("data", "must be given, or compute and flop_mode in its place");
                None
            }
        }
    }

    /// Checks a budget in FLOPs and the mode. `flop_mode` is `None` where neither a point of a list nor the request as
    /// a whole names a mode.
    pub(crate) fn check_compute(
        compute: f64,
        flop_mode: Option<&str>,
        checks: &mut Checks,
    ) -> Option<Compute> {
        let compute = checks.take("compute", Compute::new(compute));
        match flop_mode {
            Some(mode) => check_mode(mode, checks),
            None => checks.refuse("flop_mode", "must be given, here or for all points"),
        }
        compute
    }

    /// Checks a size and a training cost, for questions for the best sparsity.
    pub(crate) fn check_spending(
        nonzero_params: f64,
        given: GivenBudget,
        flop_mode: Option<&str>,
        checks: &mut Checks,
    ) -> Option<(NonzeroParams, Spending)> {
        let nonzero_params = checks.take("nonzero_params", NonzeroParams::new(nonzero_params));
        let spending = given.check(checks);
        match flop_mode {
            Some(mode) => check_mode(mode, checks),
            None => checks.refuse("flop_mode", "must be given, here or for all points"),
        }
        nonzero_params.zip(spending)
    }

    /// Checks a size and a budget in FLOPs, for targets of suggestions.
    pub(crate) fn check_sized(
        nonzero_params: f64,
        compute: f64,
        flop_mode: Option<&str>,
        checks: &mut Checks,
    ) -> Option<(NonzeroParams, Compute)> {
        let nonzero_params = checks.take("nonzero_params", NonzeroParams::new(nonzero_params));
        nonzero_params.zip(Self::check_compute(compute, flop_mode, checks))
    }
}
