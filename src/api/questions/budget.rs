//! How much training a question is about: data, or compute and what a step costs.

use sparsity_law::law::{Compute, Data};

use crate::api::questions::modes::check_mode;
use crate::domain::checks::Checks;

/// How much training a question is about.
#[derive(Debug, Clone, Copy)]
pub enum Budget {
    /// So much data.
    Data(Data),
    /// Together with the flop mode, which the store knows.
    Compute(Compute),
}

impl Budget {
    /// Out of `data`, or `compute` and `flop_mode`.
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
}
