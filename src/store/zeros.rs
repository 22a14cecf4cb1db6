//! What zeros are (weights or experts) in the form of columns of families and laws.

use serde::{Deserialize, Serialize};
use sparsity_law::law::ExpertGrid;

use crate::domain::family::Zeros;

/// A grid of experts, stored as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GridColumn {
    counts: Vec<u32>,
    active: Vec<u32>,
    shared_share: f64,
}

/// The grid of experts of a family, if it has one.
pub(super) fn grid_column(zeros: &Zeros) -> Option<GridColumn> {
    zeros.grid().map(|grid| GridColumn {
        counts: grid.counts().to_vec(),
        active: grid.active().to_vec(),
        shared_share: grid.shared_share(),
    })
}

/// The value that the columns stand for, or what is wrong with them.
pub(super) fn zeros(name: &str, grid: Option<GridColumn>) -> Result<Zeros, String> {
    let grid = grid.map(|GridColumn { counts, active, shared_share }| {
        ExpertGrid::new(&counts, &active, shared_share)
            .map_err(|(field, error)| format!("experts {field} {error}"))
    });
    match (name, grid.transpose()?) {
        ("weights", None) => Ok(Zeros::Weights),
        ("experts", grid) => Ok(Zeros::Experts(grid)),
        _ => Err(format!("zeros {name}")),
    }
}
