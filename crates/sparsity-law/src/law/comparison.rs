//! Two laws side by side: whether their coefficients and their recommendations differ by more than both intervals.

use std::collections::BTreeMap;

use super::coefficients::{CoefficientName, Coefficients};
use super::cost::TrainingCost;
use super::ensemble::Interval;
use super::flop_mode::FlopMode;
use super::identification::Identification;
use super::optimum::optimal_density;
use super::quantity::{Compute, FlopsPerParam, NonzeroParams};
use super::sampled::SampledLaw;
use super::schedule::PruningSchedule;
use super::support::{Range, Support};

/// Number of sizes, and of amounts of data, at which two laws are compared.
const STEPS: u32 = 5;
/// Range to which ratios of coefficients are clamped.
const RATIOS: Range = Range { min: 1e-300, max: 1e300 };

/// One of two laws that are compared.
#[derive(Debug, Clone)]
pub struct ComparedLaw<'a> {
    /// The law with its resamples.
    pub law: &'a SampledLaw,
    /// Intervals of the coefficients; empty where the law has none.
    pub intervals: &'a BTreeMap<CoefficientName, Interval>,
    /// The runs behind it, as far as they are known.
    pub support: &'a Support,
    /// `k`: FLOPs per parameter and unit of data.
    pub flops_per_param: FlopsPerParam,
    /// Times at which pruning begins and ends.
    pub pruning: PruningSchedule,
    /// What the runs determine, where that is known.
    pub identification: Option<&'a Identification>,
}

impl ComparedLaw<'_> {
    /// Whether the law has a coefficient that its runs determine.
    fn determines(&self, name: CoefficientName) -> bool {
        let known = self.identification.is_none_or(|known| known.determines(name));
        self.law.coefficients().has(name) && known
    }

    /// Whether the law can be asked for an optimal sparsity.
    fn determines_all(&self) -> bool {
        let known = self.identification.is_none_or(Identification::is_complete);
        self.law.coefficients().determines().all() && known
    }
}

/// The same answer by both laws.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compared {
    /// Answer of law `a`.
    pub a: f64,
    /// Interval of `a`, where the law has one.
    pub a_interval: Option<Interval>,
    /// Answer of law `b`.
    pub b: f64,
    /// Interval of `b`, where the law has one.
    pub b_interval: Option<Interval>,
}

impl Compared {
    /// Whether the two intervals are disjoint; `None` where a law has no interval.
    #[must_use]
    pub fn apart(&self) -> Option<bool> {
        Some(self.a_interval?.is_apart_from(&self.b_interval?))
    }

    /// The ratio `b / a`, clamped to between 1e-300 and 1e300.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        (self.b / self.a).clamp(RATIOS.min, RATIOS.max)
    }
}

/// The optimal sparsity at one size and one budget, by both laws.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ComparedOptimum {
    /// FLOP mode: the cost of a step.
    pub flop_mode: FlopMode,
    /// `N`: non-zero parameters.
    pub nonzero_params: NonzeroParams,
    /// `C`: training compute in FLOPs.
    pub compute: Compute,
    /// The optimal sparsities.
    pub sparsity: Compared,
}

/// Compares each coefficient that both laws have, and that the runs of both determine.
#[must_use]
pub fn compare_coefficients(
    a: &ComparedLaw<'_>,
    b: &ComparedLaw<'_>,
) -> Vec<(CoefficientName, Compared)> {
    let value = |law: &ComparedLaw<'_>, name: CoefficientName| {
        law.law.coefficients().values().to_array()[name as usize]
    };
    let in_both = |name: &CoefficientName| [a, b].into_iter().all(|law| law.determines(*name));
    let compared = |name| Compared {
        a: value(a, name),
        a_interval: a.intervals.get(&name).copied(),
        b: value(b, name),
        b_interval: b.intervals.get(&name).copied(),
    };
    CoefficientName::ALL.into_iter().filter(in_both).map(|name| (name, compared(name))).collect()
}

/// Compares the optimal sparsities on a grid over the sizes and amounts of data of both laws' runs, in dense and in
/// sparse mode.
///
/// Each budget is the compute of a dense model of that size on that data, with the FLOPs per parameter of `a`. The
/// result is empty where no runs are known, or where a law does not describe all of size, sparsity and data. A mode in
/// which a law has no best sparsity is left out.
#[must_use]
pub fn compare_optima(a: &ComparedLaw<'_>, b: &ComparedLaw<'_>) -> Vec<ComparedOptimum> {
    let joined = |of: fn(&Support) -> Option<Range>| {
        [a, b].into_iter().filter_map(|law| of(law.support)).reduce(Range::join)
    };
    let knows_all = [a, b].into_iter().all(|law| law.determines_all());
    let ranges = joined(Support::nonzero_params).zip(joined(Support::data));
    let Some((sizes, amounts)) = ranges.filter(|_| knows_all) else { return Vec::new() };
    let steps = |range: Range| {
        (0..STEPS).map(move |step| range.at_share(f64::from(step) / f64::from(STEPS - 1)))
    };
    let mut found = Vec::new();
    for flop_mode in FlopMode::ALL {
        let costs = [a, b]
            .map(|law| TrainingCost::new(law.flops_per_param, law.pruning.clone(), flop_mode));
        // Without an optimum there is nothing to compare.
        if !costs.iter().all(TrainingCost::has_optimum) {
            continue;
        }
        for size in steps(sizes) {
            for data in steps(amounts) {
                let compute = Compute::new(a.flops_per_param.get() * size * data);
                // Each budget is computed from a size and an amount of data; one that is out of range is left out.
                let point = NonzeroParams::new(size).ok().zip(compute.ok());
                found.extend(point.map(|(nonzero_params, compute)| {
                    let optimum = |law: &ComparedLaw<'_>, cost: &TrainingCost| {
                        optimum(law.law, cost, nonzero_params, compute)
                    };
                    let (a, a_interval) = optimum(a, &costs[0]);
                    let (b, b_interval) = optimum(b, &costs[1]);
                    let sparsity = Compared { a, a_interval, b, b_interval };
                    ComparedOptimum { flop_mode, nonzero_params, compute, sparsity }
                }));
            }
        }
    }
    found
}

/// The optimal sparsity by a law, with its interval where the law has resamples.
fn optimum(
    law: &SampledLaw,
    cost: &TrainingCost,
    nonzero_params: NonzeroParams,
    compute: Compute,
) -> (f64, Option<Interval>) {
    let sparsity =
        |law: &Coefficients| optimal_density(law, cost, nonzero_params, compute).sparsity().get();
    let interval = law.interval(|member| sparsity(&member.coefficients));
    (sparsity(law.coefficients()), interval)
}

/// Share of the compared optima that differ by more than both intervals, from 0 to 1; `None` where there are no optima,
/// or where a law has no intervals.
#[must_use]
pub fn share_apart(optima: &[ComparedOptimum]) -> Option<f64> {
    let decided = optima.iter().map(|optimum| optimum.sparsity.apart());
    let decided = decided.collect::<Option<Vec<bool>>>().filter(|decided| !decided.is_empty())?;
    Some(decided.iter().filter(|apart| **apart).count() as f64 / decided.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{CoefficientValues, Ensemble, Member, T5_C4};

    /// A law whose resamples scatter by 1 % in `a_S`, around `factor` times the value of the T5 law.
    fn law(factor: f64) -> SampledLaw {
        let truth = T5_C4.coefficients().values();
        let of = |factor: f64| {
            Coefficients::new(CoefficientValues { a_s: truth.a_s * factor, ..truth }).unwrap()
        };
        let members = (0..21).map(|i| {
            let scatter = 1.0 + 0.001 * f64::from(i - 10);
            Member { coefficients: of(factor * scatter), noise: 0.0 }
        });
        let ensemble = Ensemble::new(members, 0.95, 0.025);
        SampledLaw::new(of(factor), ensemble, |loss, _| loss)
    }

    fn compared<'a>(
        law: &'a SampledLaw,
        intervals: &'a BTreeMap<CoefficientName, Interval>,
    ) -> ComparedLaw<'a> {
        ComparedLaw {
            law,
            intervals,
            support: T5_C4.support(),
            flops_per_param: FlopsPerParam::TRAINING,
            pruning: PruningSchedule::default(),
            identification: None,
        }
    }

    #[test]
    fn laws_that_differ_are_apart_and_equal_ones_are_not() {
        let (one, other) = (law(1.0), law(1.2));
        let intervals = |law: &SampledLaw| law.ensemble().unwrap().coefficient_intervals();
        let (of_one, of_other) = (intervals(&one), intervals(&other));
        let (a, b) = (compared(&one, &of_one), compared(&other, &of_other));
        let coefficients = compare_coefficients(&a, &b);
        assert_eq!(coefficients.len(), 7);
        let (name, a_s) = coefficients[0];
        assert_eq!((name, a_s.apart()), (CoefficientName::AS, Some(true)));
        assert!((a_s.ratio() - 1.2).abs() < 1e-12);
        assert_eq!(coefficients[1].1.apart(), Some(false));
        let optima = compare_optima(&a, &b);
        assert_eq!(optima.len(), 2 * 25);
        assert!(share_apart(&optima).unwrap() > 0.5);
        let same = compare_optima(&a, &a);
        assert_eq!(share_apart(&same), Some(0.0));
        assert!(same.iter().all(|optimum| optimum.sparsity.a == optimum.sparsity.b));
    }

    #[test]
    fn without_runs_or_intervals_nothing_is_said() {
        let published = SampledLaw::new(*T5_C4.coefficients(), None, |loss, _| loss);
        let (none, nowhere) = (BTreeMap::new(), Support::default());
        let law = compared(&published, &none);
        assert_eq!(share_apart(&compare_optima(&law, &law)), None);
        assert_eq!(compare_coefficients(&law, &law)[0].1.apart(), None);
        let unknown = ComparedLaw { support: &nowhere, ..law.clone() };
        assert_eq!(compare_optima(&unknown, &unknown), []);
    }
}
