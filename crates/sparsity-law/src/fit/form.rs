//! Which quantities vary over the runs, which decides the coefficients that a law has.

use std::collections::BTreeMap;

use crate::law::CoefficientName;

/// Which quantities vary enough over the runs for their terms to be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub nonzero_params: bool,
    pub sparsity: bool,
    pub data: bool,
}

impl Form {
    /// Whether the runs separate the terms that the physical constraint compares.
    pub const fn separates_all(self) -> bool {
        self.sparsity && self.nonzero_params
    }

    /// The coefficients that these runs cannot separate from others, each with the quantity that does not vary.
    pub fn inseparable(self) -> Vec<(CoefficientName, &'static str)> {
        use CoefficientName::{AD, AS, BD, BN, BS, C, CS};
        let mut found = BTreeMap::new();
        let groups: [(bool, &str, &[CoefficientName]); 3] = [
            (self.sparsity, "sparsity", &[AS, BS, CS]),
            (self.data, "data", &[AD, BD, C]),
            (self.nonzero_params, "nonzero_params", &[AS, CS, BN, C]),
        ];
        for (varies, quantity, names) in groups {
            if !varies {
                for name in names {
                    found.entry(*name).or_insert(quantity);
                }
            }
        }
        found.into_iter().collect()
    }
}
