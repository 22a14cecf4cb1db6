//! Cost of training: the pruning schedule, the FLOP modes, and the cost of a whole run.

use std::sync::{Arc, OnceLock};

use super::quantity::{Compute, Data, Density, DomainError, FlopsPerParam, NonzeroParams};
use super::schedule::PruningSchedule;
use super::step::{Piece, Shape, StepCost, mean_cost};

/// Training cost `C = k N D c_mul(S)` of one family of models on one kind of hardware, where
///
/// ```text
/// c_mul(S) = A(S) / (1 - S),   A(S) = integral over training progress p of h(s(p))
/// ```
///
/// with `h` the [`StepCost`] and `s(p)` the [`PruningSchedule`]. For `h = 1 - k s`, which includes dense and sparse
/// mode, `A(S) = 1 - m S`. Here `m`, the share of sparsity that saves FLOPs, is `k` times
/// [`PruningSchedule::mean_share`]. Clones share the values that are computed once.
#[derive(Debug, Clone)]
pub struct TrainingCost {
    flops_per_param: FlopsPerParam,
    form: Form,
    /// `c_mul` of the levels of a law, by index; `None` for a level that costs what its sparsity costs.
    of_levels: Arc<[Option<f64>]>,
}

#[derive(Debug, Clone)]
enum Form {
    Linear { saved_share: f64 },
    Curve(Arc<Curve>),
}

/// The multiplier where it has no short formula.
#[derive(Debug)]
pub(super) struct Curve {
    pieces: Arc<[Piece]>,
    pruning: PruningSchedule,
    nodes: OnceLock<Vec<Node>>,
}

/// The multiplier at one density, with its elasticity `w = d ln c_mul / dy = 1 + (1 - S) A' / A` in `y = -ln(1 - S)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    /// `1 - S`.
    pub density: Density,
    /// `-ln(1 - S)`.
    pub y: f64,
    /// `ln c_mul`.
    pub ln_multiplier: f64,
    /// `ln w` on the side of smaller sparsities; minus infinity where the multiplier falls.
    pub ln_elasticity_below: f64,
    /// `ln w` on the side of larger sparsities; differs from `ln_elasticity_below` at a kink of `h`.
    pub ln_elasticity_above: f64,
}

impl Node {
    /// Whether `h` has a kink here.
    pub(super) fn is_kink(&self) -> bool {
        self.ln_elasticity_below != self.ln_elasticity_above
    }
}

impl Curve {
    /// Largest distance between two nodes in `y`.
    const SPACING: f64 = 0.05;
    /// Fewest steps between two kinks.
    const FEWEST_STEPS: f64 = 4.0;
    /// Distance in `y` that the nodes reach beyond the last kink. From there on the multiplier is that of dense
    /// hardware times a constant, except for what a remaining density of 6e-6 contributes.
    const BEYOND: f64 = 12.0;

    pub(super) fn at(&self, y: f64) -> Node {
        self.node(-(-y).exp_m1(), Density::clamped((-y).exp()), y)
    }

    pub(super) fn at_density(&self, density: Density) -> Node {
        self.node(1.0 - density.get(), density, -density.get().ln())
    }

    fn node(&self, sparsity: f64, density: Density, y: f64) -> Node {
        let mean = mean_cost(&self.pieces, &self.pruning, sparsity);
        let ln_elasticity = |slope: f64| {
            let elasticity = 1.0 + density.get() * slope / mean.value;
            if elasticity > 0.0 { elasticity.ln() } else { f64::NEG_INFINITY }
        };
        Node {
            density,
            y,
            ln_multiplier: mean.value.ln() + y,
            ln_elasticity_below: ln_elasticity(mean.slope_below),
            ln_elasticity_above: ln_elasticity(mean.slope_above),
        }
    }

    /// Nodes in rising order of `y`, which include every kink of `h` below `S = 1`, so that everything is smooth
    /// between two neighbours. They do not depend on the law, so a thousand laws share them.
    pub(super) fn nodes(&self) -> &[Node] {
        self.nodes.get_or_init(|| {
            let mut nodes = vec![self.node(0.0, Density::DENSE, 0.0)];
            for sparsity in self.kinks_of_mean() {
                let density = Density::clamped(1.0 - sparsity);
                let y = -(-sparsity).ln_1p();
                self.fill(&mut nodes, y);
                nodes.push(self.node(sparsity, density, y));
            }
            let end = nodes.last().map_or(0.0, |node| node.y) + Self::BEYOND;
            self.fill(&mut nodes, end);
            nodes.push(self.at(end));
            nodes
        })
    }

    /// Sparsities below 1 at which the mean cost has a kink, in rising order.
    fn kinks_of_mean(&self) -> Vec<f64> {
        let ends = || self.pieces.iter().map(|piece| piece.end);
        let shares = self.pruning.lasting_shares();
        let all = shares.iter().flat_map(|share| ends().map(move |end| end / share));
        let mut kinks: Vec<f64> = all.filter(|sparsity| *sparsity < 1.0).collect();
        kinks.sort_by(f64::total_cmp);
        kinks.dedup();
        kinks
    }

    /// Appends evenly spaced nodes between the last one and `end`, which is itself left out.
    fn fill(&self, nodes: &mut Vec<Node>, end: f64) {
        let start = nodes.last().map_or(0.0, |node| node.y);
        let steps = ((end - start) / Self::SPACING).ceil().max(Self::FEWEST_STEPS);
        // A few hundred at most: no kink has a y above 37.
        for step in 1..steps as u32 {
            nodes.push(self.at(start + (end - start) * f64::from(step) / steps));
        }
    }
}

impl TrainingCost {
    /// Training cost of a family of models whose steps cost `step`: a [`FlopMode`](super::FlopMode) or a measured
    /// [`StepCost`].
    #[must_use]
    pub fn new(
        flops_per_param: FlopsPerParam,
        pruning: PruningSchedule,
        step: impl Into<StepCost>,
    ) -> Self {
        let form = match step.into().0 {
            Shape::Linear { saved } => Form::Linear { saved_share: saved * pruning.mean_share() },
            Shape::Pieces(pieces) => {
                Form::Curve(Arc::new(Curve { pieces, pruning, nodes: OnceLock::new() }))
            }
        };
        Self { flops_per_param, form, of_levels: Arc::default() }
    }

    /// Returns the same cost for a law whose levels have compute kernels of their own: their multipliers by index,
    /// computed by [`pattern_multiplier`](super::pattern_multiplier), and `None` for a level that costs what its
    /// sparsity costs.
    #[must_use]
    pub fn with_levels(self, multipliers: &[Option<f64>]) -> Self {
        Self { of_levels: multipliers.into(), ..self }
    }

    /// `c_mul` of the level with the index `level` where one is given, else of the density.
    #[must_use]
    pub fn multiplier_at(&self, level: Option<usize>, density: Density) -> f64 {
        let own = level.and_then(|place| self.of_levels.get(place).copied().flatten());
        own.unwrap_or_else(|| self.multiplier(density))
    }

    /// The share `m` of `c_mul = (1 - m S) / (1 - S)`; `None` on hardware where the multiplier does not have this form.
    #[must_use]
    pub fn saved_by_zeros(&self) -> Option<f64> {
        self.saved_share().ok()
    }

    /// Whether every budget has a best sparsity.
    ///
    /// It has none where training a model without non-zeros costs nothing: zeros are there from the first step and no
    /// step pays for them. The loss then falls with every further zero, and the best sparsity is the largest that is
    /// allowed.
    ///
    /// ```
    /// use sparsity_law::law::{FlopMode, FlopsPerParam, PruningSchedule, TrainingCost};
    ///
    /// let constant = PruningSchedule::new(0.0, 0.0, 3.0).map_err(|(_, error)| error)?;
    /// let cost = |pruning: &PruningSchedule, mode: FlopMode| {
    ///     TrainingCost::new(FlopsPerParam::TRAINING, pruning.clone(), mode)
    /// };
    /// assert!(!cost(&constant, FlopMode::Sparse).has_optimum());
    /// assert!(cost(&constant, FlopMode::Dense).has_optimum());
    /// assert!(cost(&PruningSchedule::default(), FlopMode::Sparse).has_optimum());
    /// # Ok::<(), sparsity_law::law::DomainError>(())
    /// ```
    #[must_use]
    pub fn has_optimum(&self) -> bool {
        match &self.form {
            Form::Linear { saved_share } => *saved_share < 1.0,
            // Tolerance for the rounding of a sum of costs near 1.
            Form::Curve(curve) => mean_cost(&curve.pieces, &curve.pruning, 1.0).value > 1e-14,
        }
    }

    /// The saved share `m`, at most 1, where the cost is linear in the sparsity; the curve otherwise.
    pub(super) fn saved_share(&self) -> Result<f64, &Curve> {
        match &self.form {
            Form::Linear { saved_share } => Ok(*saved_share),
            Form::Curve(curve) => Err(curve),
        }
    }

    /// Kinks of the cost of a step, as `y = -ln(1 - S)` in rising order.
    pub(super) fn kinks(&self) -> Vec<f64> {
        match self.saved_share() {
            Ok(_) => Vec::new(),
            Err(curve) => {
                curve.nodes().iter().filter(|node| node.is_kink()).map(|node| node.y).collect()
            }
        }
    }

    /// `k`: FLOPs per parameter and unit of data.
    #[must_use]
    pub const fn flops_per_param(&self) -> FlopsPerParam {
        self.flops_per_param
    }

    /// The multiplier `c_mul`: cost relative to a dense model with as many *non-zero* parameters. At least 1 wherever a
    /// step at sparsity `s` costs at least `1 - s`.
    ///
    /// ```
    /// use sparsity_law::law::{Density, FlopMode, FlopsPerParam, PruningSchedule, TrainingCost};
    ///
    /// let cost = |mode: FlopMode| {
    ///     TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), mode)
    /// };
    /// let half = Density::new(0.5)?;
    /// assert_eq!(cost(FlopMode::Dense).multiplier(half), 2.0); // 1 / (1 - S)
    /// assert_eq!(cost(FlopMode::Sparse).multiplier(half), 1.375); // (1 - 0.625 S) / (1 - S)
    /// # Ok::<(), sparsity_law::law::DomainError>(())
    /// ```
    #[must_use]
    pub fn multiplier(&self, density: Density) -> f64 {
        let x = density.get();
        let mean = match &self.form {
            // 1 exactly, as 1 - x would lose the digits of a small density.
            Form::Linear { saved_share: 1.0 } => return 1.0,
            Form::Linear { saved_share } => 1.0 - saved_share * (1.0 - x),
            Form::Curve(curve) => mean_cost(&curve.pieces, &curve.pruning, 1.0 - x).value,
        };
        mean / x
    }

    /// Data that `compute` pays for: `D = C / (k N c_mul)`.
    ///
    /// # Errors
    /// [`DomainError::OutOfRange`] where this is outside the range of [`Data`].
    pub fn data(
        &self,
        density: Density,
        nonzero_params: NonzeroParams,
        compute: Compute,
    ) -> Result<Data, DomainError> {
        self.data_at(None, density, nonzero_params, compute)
    }

    /// Data that `compute` pays for, at the level with the index `level` where one is given, else at the density.
    ///
    /// # Errors
    /// As for [`Self::data`].
    pub fn data_at(
        &self,
        level: Option<usize>,
        density: Density,
        nonzero_params: NonzeroParams,
        compute: Compute,
    ) -> Result<Data, DomainError> {
        let multiplier = self.multiplier_at(level, density);
        let per_unit = self.flops_per_param.get() * nonzero_params.get() * multiplier;
        Data::new(compute.get() / per_unit)
    }

    /// FLOPs of training on `data`: `k N D c_mul`.
    #[must_use]
    pub fn compute(&self, density: Density, nonzero_params: NonzeroParams, data: Data) -> f64 {
        self.compute_at(None, density, nonzero_params, data)
    }

    /// FLOPs of training on `data`, at the level with the index `level` where one is given, else at the density.
    #[must_use]
    pub fn compute_at(
        &self,
        level: Option<usize>,
        density: Density,
        nonzero_params: NonzeroParams,
        data: Data,
    ) -> f64 {
        let multiplier = self.multiplier_at(level, density);
        self.flops_per_param.get() * nonzero_params.get() * data.get() * multiplier
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::FlopMode;

    fn cost(mode: FlopMode) -> TrainingCost {
        TrainingCost::new(FlopsPerParam::new(6.0).unwrap(), PruningSchedule::default(), mode)
    }

    #[test]
    fn the_default_schedule_saves_five_eighths() {
        assert_eq!(PruningSchedule::default().mean_share(), 0.625);
    }

    #[test]
    fn multiplier_is_the_integral_over_the_schedule() {
        // Midpoint rule over the training progress, with h(s) = 1 - s.
        let (start, end, exponent) = (0.1, 0.6, 2.0);
        let schedule = PruningSchedule::new(start, end, exponent).unwrap();
        let flops = FlopsPerParam::new(6.0).unwrap();
        let cost = TrainingCost::new(flops, schedule, FlopMode::Sparse);
        let (steps, sparsity) = (200_000, 0.8);
        let mean = (0..steps)
            .map(|step| {
                let p = (f64::from(step) + 0.5) / f64::from(steps);
                let ramp = ((p - start) / (end - start)).clamp(0.0, 1.0);
                1.0 - sparsity * (1.0 - (1.0 - ramp).powf(exponent))
            })
            .sum::<f64>()
            / f64::from(steps);
        // The midpoint rule has an error of about step^2.
        let density = Density::new(1.0 - sparsity).unwrap();
        assert!((cost.multiplier(density) - mean / (1.0 - sparsity)).abs() < 1e-9);
    }

    #[test]
    fn zeros_from_the_first_step_are_free_where_they_are_skipped() {
        let constant = PruningSchedule::new(0.0, 0.0, 3.0).unwrap();
        let as_points = PruningSchedule::of_points(&[(0.0, 1.0)]).unwrap();
        for pruning in [constant, as_points] {
            let cost =
                |step: StepCost| TrainingCost::new(FlopsPerParam::TRAINING, pruning.clone(), step);
            let measured = StepCost::of_points(&[(0.5, 0.6), (0.75, 0.4)]).unwrap();
            for x in [1.0, 0.5, 0.25, 1e-9] {
                let density = Density::new(x).unwrap();
                assert_eq!(cost(FlopMode::Sparse.into()).multiplier(density), 1.0);
                assert_eq!(cost(FlopMode::Dense.into()).multiplier(density), 1.0 / x);
                // h(S) / (1 - S), as all of the training is at the final sparsity.
                let expected = measured.at(1.0 - x) / x;
                let got = cost(measured.clone()).multiplier(density);
                assert!((got / expected - 1.0).abs() < 1e-14, "{x}");
            }
        }
    }

    #[test]
    fn all_zeros_at_once_cost_the_mean_of_before_and_after() {
        let at_once = PruningSchedule::new(0.3, 0.3, 3.0).unwrap();
        let cost = TrainingCost::new(FlopsPerParam::TRAINING, at_once, FlopMode::Sparse);
        let half = cost.multiplier(Density::new(0.5).unwrap());
        assert!((half - (0.3 + 0.7 * 0.5) / 0.5).abs() < 1e-15);
    }

    #[test]
    fn dense_mode_pays_for_zeros() {
        let x = Density::new(0.125).unwrap();
        assert_eq!(cost(FlopMode::Dense).multiplier(x), 8.0);
        assert_eq!(cost(FlopMode::Sparse).multiplier(x), (1.0 - 0.625 * 0.875) / 0.125);
        assert_eq!(cost(FlopMode::Sparse).multiplier(Density::DENSE), 1.0);
    }

    #[test]
    fn a_profile_equal_to_a_mode_costs_the_same() {
        let cost = |points: &[(f64, f64)]| {
            let step = StepCost::of_points(points).unwrap();
            TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), step)
        };
        let (dense, sparse) = (cost(&[(1.0, 1.0)]), cost(&[(0.0, 1.0), (1.0, 0.0)]));
        // The same line, with points on it that look like kinks to the general formula.
        let kinked = cost(&[(0.25, 0.75), (0.5, 0.5), (1.0, 0.0)]);
        assert!(kinked.saved_share().is_err());
        for x in [1.0, 0.9, 0.75, 0.5, 0.3, 0.01, 1e-6] {
            let x = Density::new(x).unwrap();
            assert_eq!(dense.multiplier(x), super::tests::cost(FlopMode::Dense).multiplier(x));
            let expected = super::tests::cost(FlopMode::Sparse).multiplier(x);
            assert_eq!(sparse.multiplier(x), expected);
            // Absolute error of the mean cost: a few roundings of numbers near 1.
            assert!((kinked.multiplier(x) / expected - 1.0).abs() < 1e-14, "{x}");
        }
    }

    #[test]
    fn data_and_compute_are_inverse() {
        let (x, n) = (Density::new(0.3).unwrap(), NonzeroParams::new(3e8).unwrap());
        let sparse = cost(FlopMode::Sparse);
        let data = sparse.data(x, n, Compute::new(1e20).unwrap()).unwrap();
        assert!((sparse.compute(x, n, data) / 1e20 - 1.0).abs() < 1e-14);
    }

    #[test]
    fn a_schedule_that_ends_before_it_starts_is_refused() {
        assert_eq!(
            PruningSchedule::new(0.6, 0.5, 3.0),
            Err(("start", DomainError::PruningOrder { start: 0.6, end: 0.5 }))
        );
        assert_eq!(PruningSchedule::new(0.0, 1.1, 3.0).unwrap_err().0, "end");
        assert_eq!(PruningSchedule::new(0.0, 1.0, f64::NAN).unwrap_err().0, "exponent");
    }
}
