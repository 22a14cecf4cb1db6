//! One capacity for each sparsity, and nothing between the sparsities (arXiv 2506.01863, 2502.16440).
//!
//! Runs of one sparsity may be divided further, by the pattern of their zeros or by the recipe that made them. Each
//! such level has a name in addition to its sparsity.

use serde::{Deserialize, Serialize};

use super::cost::TrainingCost;
use super::quantity::{Compute, Data, Density, NonzeroParams, Sparsity};

/// `L = A_j N^(-b_N) + (a_D / D)^b_D + c` at the sparsity of level `j`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LevelLaw {
    /// The levels in rising order of sparsity; those of one sparsity by name, the one without a name first.
    pub levels: Vec<LevelCapacity>,
    /// `b_N`: exponent of the non-zero parameters.
    pub b_n: f64,
    /// `a_D`: scale of the data; 0 where the runs have one amount of data only, whose effect is then part of `c`.
    pub a_d: f64,
    /// `b_D`: exponent of the data.
    pub b_d: f64,
    /// `c`: irreducible loss.
    pub c: f64,
}

/// The capacity at one sparsity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LevelCapacity {
    /// Sparsity of the level.
    pub sparsity: f64,
    /// The pattern or the recipe; `None` for runs without one, and where only the sparsity distinguishes runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Number of runs at this level.
    pub runs: usize,
    /// The capacity coefficient `A_j`.
    pub a: f64,
    /// `(A_j / A_0)^(-1/b_N)`: size of the dense model that is as good, relative to the non-zero parameters.
    ///
    /// The dense level is the one of the same name, else the one without a name, else the only one. `None` where there
    /// is no such level.
    pub gain: Option<f64>,
}

impl LevelCapacity {
    /// Whether two levels have the same name, and densities within two per cent.
    pub(super) fn is_same_level(&self, other: &Self) -> bool {
        let ratio = (1.0 - self.sparsity) / (1.0 - other.sparsity);
        self.name == other.name && (ratio - 1.0).abs() <= SAME_LEVEL
    }

    /// Whether the density of the level is within two per cent of this one.
    #[must_use]
    pub fn has_density(&self, density: Density) -> bool {
        self.apart(density) <= SAME_LEVEL
    }

    /// Distance of a density from that of the level, relative to the latter.
    fn apart(&self, density: Density) -> f64 {
        (density.get() / (1.0 - self.sparsity) - 1.0).abs()
    }

    /// The sparsity in words, followed by the name where there is one.
    #[must_use]
    pub fn told(&self) -> String {
        match &self.name {
            Some(name) => format!("{} ({name})", self.sparsity),
            None => self.sparsity.to_string(),
        }
    }
}

/// Relative difference of densities up to which two sparsities are one level.
const SAME_LEVEL: f64 = 0.02;

impl LevelLaw {
    /// The level of a density, within two per cent: the nearest level without a name, else the only level with a name.
    /// `None` where there is none, or where a name is needed to choose ([`Self::place_of`]).
    #[must_use]
    pub fn level(&self, density: Density) -> Option<&LevelCapacity> {
        self.levels.get(self.place(density)?)
    }

    /// Index of the level of a density, chosen as in [`Self::level`].
    #[must_use]
    pub fn place(&self, density: Density) -> Option<usize> {
        if let Some(place) = self.unnamed_place(density) {
            return Some(place);
        }
        let mut named = (0..self.levels.len()).filter(|at| self.levels[*at].has_density(density));
        named.next().filter(|_| named.next().is_none())
    }

    /// Whether a name is needed to choose among the levels of this density.
    #[must_use]
    pub fn has_several(&self, density: Density) -> bool {
        let same = self.levels.iter().filter(|level| level.has_density(density));
        self.level(density).is_none() && same.count() > 0
    }

    /// Index of the level without a name that is nearest to this density, within two per cent.
    #[must_use]
    pub fn unnamed_place(&self, density: Density) -> Option<usize> {
        let plain = self.levels.iter().enumerate();
        let same = plain.filter(|(_, level)| level.name.is_none() && level.has_density(density));
        let nearest = same.min_by(|(_, a), (_, b)| a.apart(density).total_cmp(&b.apart(density)));
        nearest.map(|(place, _)| place)
    }

    /// Index of the level with this name whose density is within two per cent of the given one.
    #[must_use]
    pub fn place_of(&self, density: Density, name: &str) -> Option<usize> {
        let of_name = |level: &LevelCapacity| level.name.as_deref() == Some(name);
        self.levels.iter().position(|level| of_name(level) && level.has_density(density))
    }

    /// Index of the dense level that a level with this name is compared with.
    pub(super) fn dense_place(&self, name: Option<&str>) -> Option<usize> {
        let dense = || {
            let all = self.levels.iter().enumerate();
            all.filter(|(_, level)| level.sparsity <= SAME_LEVEL)
        };
        let of = |wanted: Option<&str>| {
            let (place, _) = dense().find(|(_, level)| level.name.as_deref() == wanted)?;
            Some(place)
        };
        of(name).or_else(|| of(None)).or_else(|| {
            let mut all = dense();
            let (place, _) = all.next()?;
            all.next().is_none().then_some(place)
        })
    }

    /// Predicted loss at one of the levels.
    pub(super) fn loss_at(
        &self,
        level: &LevelCapacity,
        nonzero_params: NonzeroParams,
        data: Data,
    ) -> f64 {
        let Self { b_n, a_d, b_d, c, .. } = self;
        level.a * nonzero_params.get().powf(-b_n) + (a_d / data.get()).powf(*b_d) + c
    }

    /// Densities of the levels from `least` up, in falling order.
    pub(super) fn densities_down_to(
        &self,
        least: Option<Density>,
    ) -> impl Iterator<Item = Density> + '_ {
        self.places_down_to(least).map(|(_, density)| density)
    }

    /// Like [`Self::densities_down_to`], each with the index of its level.
    pub(super) fn places_down_to(
        &self,
        least: Option<Density>,
    ) -> impl Iterator<Item = (usize, Density)> + '_ {
        let densities = self.levels.iter().enumerate().filter_map(|(place, level)| {
            Some((place, Sparsity::new(level.sparsity).ok()?.density()))
        });
        // A bound that equals a level, up to rounding, allows that level.
        densities
            .filter(move |(_, x)| least.is_none_or(|least| x.get() >= least.get() * (1.0 - 1e-12)))
    }

    /// Returns the law with the gain of each level computed from the capacities.
    pub(crate) fn with_gains(mut self) -> Self {
        let gain = |level: &LevelCapacity| {
            let dense = self.levels[self.dense_place(level.name.as_deref())?].a;
            Some((level.a / dense).powf(-1.0 / self.b_n))
        };
        let gains: Vec<Option<f64>> = self.levels.iter().map(gain).collect();
        for (level, gain) in self.levels.iter_mut().zip(gains) {
            level.gain = gain;
        }
        self
    }

    /// The sparsities between which the best one lies at a size and a budget: the neighbours of the best level.
    pub(super) fn around_best(
        &self,
        cost: &TrainingCost,
        nonzero_params: NonzeroParams,
        compute: Compute,
    ) -> Option<[f64; 2]> {
        let loss = |level: &LevelCapacity| {
            let density = Sparsity::new(level.sparsity).ok()?.density();
            let data = cost.data(density, nonzero_params, compute).ok()?;
            Some(self.loss_at(level, nonzero_params, data))
        };
        let losses = self.levels.iter().enumerate();
        let losses = losses.filter_map(|(place, level)| Some((place, loss(level)?)));
        let (best, _) = losses.min_by(|(_, a), (_, b)| a.total_cmp(b))?;
        let own = self.levels[best].sparsity;
        // Levels of the same sparsity are not neighbours of each other.
        let others = || self.levels.iter().map(|level| level.sparsity);
        let low = others().rev().find(|other| *other < own).unwrap_or(own);
        // Beyond the sparsest level the range is open up to 1.
        Some([low, others().find(|other| *other > own).unwrap_or(1.0)])
    }
}
