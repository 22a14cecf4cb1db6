//! One capacity at each sparsity, and nothing between them (arXiv 2506.01863, 2502.16440).
//!
//! Runs of one sparsity may be told apart further, by the pattern of their zeros or by the recipe that made them: each
//! such level has a name beside its sparsity.

use serde::{Deserialize, Serialize};

use super::cost::TrainingCost;
use super::quantity::{Compute, Data, Density, NonzeroParams, Sparsity};

/// `L = A_j N^(-b_N) + (a_D / D)^b_D + c` at the sparsity of level `j`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LevelLaw {
    /// The levels, in rising order of sparsity; of one sparsity that without a name first, the others by their names.
    pub levels: Vec<LevelCapacity>,
    /// `b_N`.
    pub b_n: f64,
    /// `a_D`; 0 where the runs have one amount of data, whose part of the loss is then in `c`.
    pub a_d: f64,
    /// `b_D`.
    pub b_d: f64,
    /// `c`.
    pub c: f64,
}

/// The capacity at one sparsity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LevelCapacity {
    /// The sparsity.
    pub sparsity: f64,
    /// The pattern or the recipe; `None` of runs without one, and where runs are told apart by their sparsity alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Runs at it.
    pub runs: usize,
    /// `A_j`.
    pub a: f64,
    /// `(A_j / A_0)^(-1/b_N)`: the size of the dense model that is as good, relative to the non-zero parameters; the
    /// dense one of the same name where there is one, else that without a name, else the only one. `None` where there
    /// is none of these.
    pub gain: Option<f64>,
}

impl LevelCapacity {
    /// Whether it has the name of another and a density within two per cent of its.
    pub(super) fn is_same_level(&self, other: &Self) -> bool {
        let ratio = (1.0 - self.sparsity) / (1.0 - other.sparsity);
        self.name == other.name && (ratio - 1.0).abs() <= SAME_LEVEL
    }

    /// Whether it is within two per cent of a density.
    #[must_use]
    pub fn has_density(&self, density: Density) -> bool {
        self.apart(density) <= SAME_LEVEL
    }

    /// How far it is from a density, relative to its own.
    fn apart(&self, density: Density) -> f64 {
        (density.get() / (1.0 - self.sparsity) - 1.0).abs()
    }

    /// The sparsity, with the name where it has one.
    #[must_use]
    pub fn told(&self) -> String {
        match &self.name {
            Some(name) => format!("{} ({name})", self.sparsity),
            None => self.sparsity.to_string(),
        }
    }
}

/// Sparsities closer than this, by the density, are one level.
const SAME_LEVEL: f64 = 0.02;

impl LevelLaw {
    /// The level of this density: the nearest of those within two per cent of it. Of several with names that without
    /// one, else the only one; `None` where a name has to say which ([`Self::place_of`]).
    #[must_use]
    pub fn level(&self, density: Density) -> Option<&LevelCapacity> {
        self.levels.get(self.place(density)?)
    }

    /// The place of the same.
    #[must_use]
    pub fn place(&self, density: Density) -> Option<usize> {
        if let Some(place) = self.unnamed_place(density) {
            return Some(place);
        }
        let mut named = (0..self.levels.len()).filter(|at| self.levels[*at].has_density(density));
        named.next().filter(|_| named.next().is_none())
    }

    /// Whether there are levels of this density of which a name has to say which is meant.
    #[must_use]
    pub fn has_several(&self, density: Density) -> bool {
        let same = self.levels.iter().filter(|level| level.has_density(density));
        self.level(density).is_none() && same.count() > 0
    }

    /// The place of the level of this density without a name, the nearest of those within two per cent of it.
    #[must_use]
    pub fn unnamed_place(&self, density: Density) -> Option<usize> {
        let plain = self.levels.iter().enumerate();
        let same = plain.filter(|(_, level)| level.name.is_none() && level.has_density(density));
        let nearest = same.min_by(|(_, a), (_, b)| a.apart(density).total_cmp(&b.apart(density)));
        nearest.map(|(place, _)| place)
    }

    /// The place of the level of this density and name, within two per cent of the density.
    #[must_use]
    pub fn place_of(&self, density: Density, name: &str) -> Option<usize> {
        let of_name = |level: &LevelCapacity| level.name.as_deref() == Some(name);
        self.levels.iter().position(|level| of_name(level) && level.has_density(density))
    }

    /// The place of the dense level beside which a level of this name is held.
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

    /// Its loss at one of its levels.
    pub(super) fn loss_at(
        &self,
        level: &LevelCapacity,
        nonzero_params: NonzeroParams,
        data: Data,
    ) -> f64 {
        let Self { b_n, a_d, b_d, c, .. } = self;
        level.a * nonzero_params.get().powf(-b_n) + (a_d / data.get()).powf(*b_d) + c
    }

    /// The densities of the levels from `least` on, falling.
    pub(super) fn densities_down_to(
        &self,
        least: Option<Density>,
    ) -> impl Iterator<Item = Density> + '_ {
        self.places_down_to(least).map(|(_, density)| density)
    }

    /// The same, each with its place among the levels.
    pub(super) fn places_down_to(
        &self,
        least: Option<Density>,
    ) -> impl Iterator<Item = (usize, Density)> + '_ {
        let densities = self.levels.iter().enumerate().filter_map(|(place, level)| {
            Some((place, Sparsity::new(level.sparsity).ok()?.density()))
        });
        // A bound that names a level keeps it, to rounding.
        densities
            .filter(move |(_, x)| least.is_none_or(|least| x.get() >= least.get() * (1.0 - 1e-12)))
    }

    /// The same with the gain of each level by its capacity.
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

    /// The sparsities between which the best lies at a size and a budget: the neighbours of the best level.
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
        // Levels of one sparsity are no neighbours of each other.
        let others = || self.levels.iter().map(|level| level.sparsity);
        let low = others().rev().find(|other| *other < own).unwrap_or(own);
        // Beyond the sparsest nothing says where it ends.
        Some([low, others().find(|other| *other > own).unwrap_or(1.0)])
    }
}
