//! The ways in which a model can be sparse and their costs on some hardware, which are the same for every law.

use super::cost::TrainingCost;
use super::limits::Limits;
use super::quantity::Density;
use super::scheme::SparsityScheme;
use super::step::StepCost;
use super::storage::Storage;

/// Where the zeros of a model may be.
#[derive(Debug, Clone, PartialEq)]
pub enum ZeroPlacement {
    /// Anywhere: every sparsity that the bounds allow.
    Anywhere,
    /// Only in one of these schemes. A model without zeros is allowed if its scheme is among them.
    Schemes(Vec<SparsityScheme>),
}

/// Hardware, storage, and where zeros may be. The plans of a thousand resampled laws share one `Means`, so everything
/// that does not depend on the law is computed once, here.
#[derive(Debug, Clone)]
pub struct Means {
    cost: TrainingCost,
    step: StepCost,
    storage: Storage,
    zeros: ZeroPlacement,
    /// Nodes at `y = -ln(1 - S)` in rising order, which include every kink of the cost and of the storage.
    nodes: Vec<(f64, SparsityScheme)>,
}

/// Largest distance between two nodes in `y`.
const SPACING: f64 = 0.05;
/// Fewest cells between two kinks, and between the two ends of a range.
const FEWEST_CELLS: u32 = 4;

impl Means {
    /// The means of a training cost, the cost per step that it was made from, and a storage format.
    #[must_use]
    pub fn new(cost: TrainingCost, step: StepCost, storage: Storage, zeros: ZeroPlacement) -> Self {
        let mut means = Self { cost, step, storage, zeros, nodes: Vec::new() };
        if means.zeros == ZeroPlacement::Anywhere {
            let mut ends = means.cost.kinks();
            ends.extend(storage.pays_below().map(|density| -density.ln()));
            let last = -(1.0 - Limits::HIGHEST_SPARSITY).ln();
            ends.retain(|y| *y > 0.0 && *y < last);
            ends.push(last);
            ends.sort_by(f64::total_cmp);
            let starts = std::iter::once(0.0).chain(ends.iter().copied());
            let places: Vec<f64> = std::iter::once(0.0)
                .chain(starts.zip(&ends).flat_map(|(start, &end)| even(start, end)))
                .collect();
            means.nodes = places.into_iter().map(|y| (y, means.at(y))).collect();
        }
        means
    }

    /// Where zeros may be.
    #[must_use]
    pub const fn zeros(&self) -> &ZeroPlacement {
        &self.zeros
    }

    /// `k`: FLOPs per parameter and unit of data.
    pub(super) const fn flops_per_param(&self) -> f64 {
        self.cost.flops_per_param().get()
    }

    /// The design with zeros anywhere, at a density.
    #[must_use]
    pub fn unstructured(&self, density: Density) -> SparsityScheme {
        SparsityScheme {
            density,
            effective: density,
            multiplier: self.cost.multiplier(density),
            inference_flops: self.step.inference_flops(density),
            bits: self.storage.unstructured_bits(density),
            level: None,
        }
    }

    fn at(&self, y: f64) -> SparsityScheme {
        self.unstructured(Density::clamped((-y).exp()))
    }

    /// The nodes from `low` to `high` in rising order, with both ends included.
    pub(super) fn nodes(
        &self,
        low: f64,
        high: f64,
        at: impl Fn(f64) -> SparsityScheme,
    ) -> Vec<(f64, SparsityScheme)> {
        let inside = |y: f64| y > low && y < high;
        let mut nodes = vec![(low, at(low))];
        nodes.extend(self.nodes.iter().copied().filter(|(y, _)| inside(*y)));
        if nodes.len() < FEWEST_CELLS as usize {
            nodes.extend(even(low, high).filter(|y| inside(*y)).map(|y| (y, at(y))));
            nodes.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        }
        nodes.push((high, at(high)));
        nodes
    }
}

/// Evenly spaced points from `start`, which is left out, to `end`, which is included.
fn even(start: f64, end: f64) -> impl Iterator<Item = f64> {
    // A few hundred at most: no sparsity has a y above 10.
    let cells = (((end - start) / SPACING).ceil() as u32).max(FEWEST_CELLS);
    (1..=cells).map(move |cell| {
        if cell == cells { end } else { start + (end - start) * f64::from(cell) / f64::from(cells) }
    })
}
