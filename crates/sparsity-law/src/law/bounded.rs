//! The best sparsity under a bound, with its intervals.

use super::cost::TrainingCost;
use super::ensemble::Interval;
use super::optimum::{optimal_density, optimal_density_under};
use super::quantity::{Compute, Density, NonzeroParams};
use super::recommendation::{Recommendation, RecommendationIntervals};
use super::sampled::SampledLaw;

impl SampledLaw {
    /// Interval of the best sparsity among the densities from `least` up; `None` where the law has no resamples.
    #[must_use]
    pub fn bounded_optimum_interval(
        &self,
        least: Density,
        cost: &TrainingCost,
        nonzero_params: NonzeroParams,
        compute: Compute,
    ) -> Option<Interval> {
        let highest = least.sparsity().get();
        if cost.saved_by_zeros().is_none() || self.coefficients().gain_curve().is_some() {
            // There may be several minima, and the bound may leave each law a different one.
            return self.interval(|member| {
                let law = &member.coefficients;
                optimal_density_under(law, cost, (nonzero_params, compute), Some(least), None)
                    .sparsity()
                    .get()
            });
        }
        let level = self.prepared()?.level();
        if !cost.has_optimum() {
            return Some(Interval { level, low: highest, high: highest });
        }
        let free = optimal_density(self.coefficients(), cost, nonzero_params, compute);
        let free = self.optimum_interval(cost, nonzero_params, compute, free)?;
        // The best sparsity under the bound is the free optimum or the bound, whichever is lower. This rises with the
        // free optimum, so the ends of its interval can be cut one by one.
        Some(Interval { level, low: free.low.min(highest), high: free.high.min(highest) })
    }

    /// Intervals of a recommendation under a bound; `None` where the law has no resamples.
    #[must_use]
    pub fn bounded_intervals(
        &self,
        least: Density,
        cost: &TrainingCost,
        nonzero_params: NonzeroParams,
        compute: Compute,
        found: &Recommendation,
    ) -> Option<RecommendationIntervals> {
        let prepared = self.prepared()?;
        let Recommendation { best, dense, .. } = found;
        let known = prepared.optimum_intervals(best.density, nonzero_params, best.data, dense.data);
        let at_best = (best.density, nonzero_params, best.data);
        let at_dense = (dense.density, nonzero_params, dense.data);
        Some(RecommendationIntervals {
            sparsity: self.bounded_optimum_interval(least, cost, nonzero_params, compute)?,
            loss: self.widen_mean(known.loss, at_best, best.loss),
            dense_loss: self.widen_mean(known.dense_loss, at_dense, dense.loss),
            gain: known.gain,
            chinchilla_ratio: prepared.chinchilla_interval(cost, nonzero_params, compute),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{
        CoefficientValues, Coefficients, Ensemble, FlopMode, FlopsPerParam, Member,
        PruningSchedule, StepCost, T5_C4,
    };
    use proptest::prelude::*;

    fn law() -> SampledLaw {
        let truth = T5_C4.coefficients().values();
        let member = |i: i32| {
            let values = CoefficientValues {
                a_s: truth.a_s * (1.0 + 0.01 * f64::from(i)),
                b_d: truth.b_d * (1.0 - 0.005 * f64::from(i)),
                ..truth
            };
            Member { coefficients: Coefficients::new(values).unwrap(), noise: 0.0 }
        };
        let ensemble = Ensemble::new((-10..=10).map(member), 0.95, 0.025);
        SampledLaw::new(*T5_C4.coefficients(), ensemble, |loss, _| loss)
    }

    proptest! {
        #[test]
        fn a_bound_is_kept_and_no_allowed_sparsity_is_better(
            least in 0.02..0.99f64, ln_n in 14.0..23.0f64, ln_c in 40.0..52.0f64,
            kind in 0..4usize, start in 0.0..0.5f64,
        ) {
            let law = law();
            let least = Density::new(least).unwrap();
            let step = match kind {
                0 => FlopMode::Dense.into(),
                1 => FlopMode::Sparse.into(),
                2 => StepCost::of_share(0.9, 0.7).unwrap(),
                _ => StepCost::of_points(&[(0.4, 0.9), (0.5, 0.5), (0.9, 0.45)]).unwrap(),
            };
            let pruning = PruningSchedule::new(start, start + 0.3, 3.0).unwrap();
            let cost = TrainingCost::new(FlopsPerParam::TRAINING, pruning, step);
            let (n, c) = (
                NonzeroParams::new(ln_n.exp()).unwrap(),
                Compute::new(ln_c.exp()).unwrap(),
            );
            let coefficients = law.coefficients();
            let found = Recommendation::down_to(Some(least), coefficients, &cost, n, c).unwrap();
            prop_assert!(found.best.density >= least);
            for i in 0..=200 {
                let y = -least.get().ln() * f64::from(i) / 200.0;
                let density = Density::clamped((-y).exp().max(least.get()));
                let data = cost.data(density, n, c).unwrap();
                // Rounding of a sum of three terms.
                prop_assert!(coefficients.loss(density, n, data) >= found.best.loss * (1.0 - 1e-13));
            }
            let free = Recommendation::new(coefficients, &cost, n, c).unwrap();
            if free.best.density >= least {
                prop_assert!((free.best.loss / found.best.loss - 1.0).abs() < 1e-12);
            }
            let known = law.bounded_intervals(least, &cost, n, c, &found).unwrap();
            prop_assert!(known.sparsity.high <= least.sparsity().get());
            let direct = law.interval(|member| {
                let law = &member.coefficients;
                optimal_density_under(law, &cost, (n, c), Some(least), None).sparsity().get()
            });
            let direct = direct.unwrap();
            // An interval end may lie between two resamples of which the bound cuts only one. It is cut after the
            // interpolation, not before, so it may be off by half of the distance between them.
            let members = law.ensemble().unwrap().members();
            let mut optima: Vec<f64> = members
                .map(|member| optimal_density(&member.coefficients, &cost, n, c).sparsity().get())
                .collect();
            optima.sort_by(f64::total_cmp);
            let farthest = optima.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
            for (end, direct) in
                [(known.sparsity.low, direct.low), (known.sparsity.high, direct.high)]
            {
                let off = end - direct;
                prop_assert!(off >= -1e-7 && off <= 0.5 * farthest + 1e-7, "{end} {direct}");
            }
        }
    }

    #[test]
    fn where_zeros_are_free_the_bound_is_the_answer() {
        let law = law();
        let pruning = PruningSchedule::new(0.0, 0.0, 3.0).unwrap();
        let least = Density::new(0.03).unwrap();
        let (n, c) = (NonzeroParams::new(1e8).unwrap(), Compute::new(1e19).unwrap());
        // The last one skips all zeros by its measured points, which go down to a cost of zero.
        let free = [
            StepCost::from(FlopMode::Sparse),
            StepCost::of_points(&[(0.5, 0.6), (1.0, 0.0)]).unwrap(),
        ];
        for step in free {
            let cost = TrainingCost::new(FlopsPerParam::TRAINING, pruning.clone(), step);
            assert!(!cost.has_optimum());
            let found = Recommendation::down_to(Some(least), law.coefficients(), &cost, n, c);
            let found = found.unwrap();
            assert_eq!(found.best.density, least);
            let known = law.bounded_intervals(least, &cost, n, c, &found).unwrap();
            assert_eq!((known.sparsity.low, known.sparsity.high), (0.97, 0.97));
            assert!(known.loss.low < found.best.loss && found.best.loss < known.loss.high);
        }
    }
}
