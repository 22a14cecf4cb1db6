//! How much training a question is about: data, or compute and what a step costs.

use sparsity_law::law::{Compute, Data, NonzeroParams};

use crate::api::questions::modes::check_mode;
use crate::domain::checks::Checks;

/// How much training a question is about.
#[derive(Debug, Clone, Copy)]
pub enum Budget {
    /// An amount of data.
    Data(Data),
    /// A training cost. How much data it pays for depends on the flop mode, which is looked up after the
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

    /// Checks a budget of compute and what a step costs. `flop_mode` is `None` where a point of a list names
    /// none, nor the request for all of its points.
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

    /// Checks a size and a budget of compute, as questions for the best sparsity have them.
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
