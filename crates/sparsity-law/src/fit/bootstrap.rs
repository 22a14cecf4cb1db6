//! Case resampling: laws that other runs of the same kind could have given.
//!
//! Each resample draws as many runs as there are, with replacement; where there are few runs, it weights them at
//! random instead. It is fitted from the law of all runs, from the other minima that the starts found, and from
//! random starts, so that it can leave the basin of the law. A resample that determines no law is counted and left
//! out.
//!
//! The objective of each resample is minimised to a billionth of its value. A coefficient that the resample
//! determines is then known to about 1e-4 of itself, far below the differences between resamples. A coefficient
//! that it does not determine is wherever the descent ended along the valley.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, Gamma};
use rayon::prelude::*;
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

use super::descent::Termination;
use super::form::Form;
use super::normalised::Point;
use super::objective::Objective;
use super::observations::{Observations, levels};
use super::search::Search;
use super::sketch::Sketch;
use super::starts::{Stream, generator};
use crate::law::Member;

/// Result of resampling.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Resampled {
    /// The law and one residual of each resample that determined a law, by index.
    pub members: Vec<Member>,
    /// Number of resamples that determined no law.
    pub failed: u32,
}

/// What a resample needs from the fit of all runs.
pub(super) struct Bootstrap<'a> {
    pub search: &'a Search<'a>,
    pub objective: &'a Objective<'a>,
    pub sketch: &'a Sketch<'a>,
    pub runs: &'a Observations,
    pub form: Form,
    /// Random stream of each resample, by its index.
    pub stream: fn(u32) -> Stream,
    pub seed: u64,
    /// Start points: the law of all runs first, then other minima.
    pub minima: &'a [Point],
    /// Whether all starts of the fit ended at the same minimum.
    pub starts_agree: bool,
    /// Residuals of the runs, already corrected for the number of fitted coefficients.
    pub residuals: &'a [f64],
}

/// Where all starts of the fit ended at one minimum, only one resample in this many also gets a random start;
/// otherwise each resample does. Of 500 random starts of resamples of the paper's T5 runs, on which all starts
/// agree, one ended lower than the descent from the law of all runs; none did on its ViT runs.
pub(super) const SPARING: u32 = 8;

impl Bootstrap<'_> {
    /// Fits all resamples on the current rayon pool; `None` if stopped.
    pub fn run(&self, resamples: u32, done: &(dyn Fn() + Sync)) -> Option<Resampled> {
        let fitted: Vec<Result<Option<Member>, Stopped>> = (0..resamples)
            .into_par_iter()
            .map(|index| {
                let member = self.resample(index);
                done();
                member
            })
            .collect();
        let fitted: Vec<Option<Member>> = fitted.into_iter().collect::<Result<_, _>>().ok()?;
        let members: Vec<Member> = fitted.into_iter().flatten().collect();
        // Fits in u32: there are no more members than resamples.
        let failed = resamples - members.len() as u32;
        Some(Resampled { members, failed })
    }

    fn resample(&self, index: u32) -> Result<Option<Member>, Stopped> {
        if (self.search.should_stop)() {
            return Err(Stopped);
        }
        let mut rng = generator(self.seed, (self.stream)(index));
        let weights = resampled(&mut rng, self.runs, self.search.parameters.count());
        let noise = self.residuals[rng.random_range(0..self.residuals.len())];
        if !self.is_identifiable(&weights) {
            return Ok(None);
        }
        let objective = self.objective.reweighted(&weights);
        let sketch = self.sketch.reweighted(&weights);
        let sketch = sketch.as_ref().unwrap_or(&objective);
        let fresh = usize::from(!self.starts_agree || index.is_multiple_of(SPARING));
        let best = self.search.best_of(&objective, sketch, self.minima, fresh, &mut rng);
        let Some(best) = best else { return Ok(None) };
        match best.termination {
            Termination::Stopped => Err(Stopped),
            Termination::Budget => Ok(None),
            Termination::Converged | Termination::Stalled => {
                let coefficients = self.objective.runs.coefficients(&best.point).ok();
                Ok(coefficients.map(|coefficients| Member { coefficients, noise }))
            }
        }
    }

    /// Whether every quantity that varies over all runs also varies over those with a positive weight.
    fn is_identifiable(&self, weights: &[f64]) -> bool {
        let varies = |quantity: fn(&super::Observation) -> f64| {
            let drawn = self.runs.as_slice().iter().zip(weights);
            let values = drawn.filter(|(_, weight)| **weight > 0.0).map(|(run, _)| quantity(run));
            let mut values = values.peekable();
            let first = values.peek().copied();
            // Cheap: usually the second or third run differs already.
            first.is_some_and(|first| values.any(|value| levels(vec![first, value]).len() > 1))
        };
        (!self.form.nonzero_params || varies(|run| run.nonzero_params.get()))
            && (!self.form.sparsity || varies(|run| run.sparsity.density().get()))
            && (!self.form.data || varies(|run| run.data.get()))
    }
}

struct Stopped;

/// Up to this many runs per free coefficient, resamples weight the runs at random instead of drawing them.
const FEW: usize = 6;
/// Smallest number of degrees of freedom, `n - p`, for which resamples weight the runs. With one degree of
/// freedom, Student's quantile is 12.7, more than any kind of random weights can scatter the laws.
const LEAST_DEGREES: usize = 2;
/// Smallest number of degrees of freedom for which the ends of an interval are moved outwards. With fewer they
/// would lie more than four standard deviations out, where only one in ten thousand resamples lies, so the
/// variance of the weights is raised instead.
const ENOUGH_DEGREES: usize = 5;

/// How a resample is made from the runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    /// Runs are drawn with replacement.
    Drawn,
    /// Each run has a random weight of mean 1 and variance 1, and the ends of intervals are moved outwards.
    Weighed,
    /// Each run has a random weight of mean 1 and a variance above 1.
    WeighedApart,
}

/// How to resample `count` runs, or clusters of runs, for a law with `free` free coefficients.
///
/// Few runs are not drawn: the drawn runs would often have two levels of a quantity where the law needs three, and
/// the law would then be wherever the descent ends. Random weights keep all levels (the weighted bootstrap: Rubin,
/// *The Bayesian Bootstrap*, 1981; Newton and Raftery, 1994). The residuals of a fit to few runs are smaller than
/// the noise by `sqrt((n - p) / n)`, and the laws of reweighted runs scatter less by the same factor. Either wider
/// interval ends or weights of a larger variance make up for it. `docs/coverage.md` reports how often such
/// intervals contain the truth.
fn scheme(count: usize, free: usize) -> Scheme {
    let degrees = count.saturating_sub(free);
    match degrees {
        _ if count > FEW * free || degrees < LEAST_DEGREES => Scheme::Drawn,
        ENOUGH_DEGREES.. => Scheme::Weighed,
        _ => Scheme::WeighedApart,
    }
}

/// Random weights of the runs in a resample, for a law with `free` free coefficients.
pub(super) fn resampled(rng: &mut impl Rng, runs: &Observations, free: usize) -> Vec<f64> {
    let count = runs.cluster_count();
    let variance = match scheme(count, free) {
        Scheme::Drawn => return draw(rng, runs),
        Scheme::Weighed => 1.0,
        Scheme::WeighedApart => widening(count, free).powi(2),
    };
    let weight = Gamma::new(1.0 / variance, variance).expect("both are positive and finite");
    let times: Vec<f64> = weight.sample_iter(rng).take(count).collect();
    let weights = runs.weights().iter();
    match runs.clusters() {
        None => weights.zip(times).map(|(weight, times)| weight * times).collect(),
        Some(clusters) => {
            weights.zip(clusters).map(|(weight, of)| weight * times[*of as usize]).collect()
        }
    }
}

/// Draws as many runs as there are, with replacement, and returns each run's weight times how often it was drawn.
/// Where runs are in clusters, draws as many clusters as there are, each with all of its runs.
pub(super) fn draw(rng: &mut impl Rng, runs: &Observations) -> Vec<f64> {
    let weights = runs.weights();
    let mut drawn = vec![0.0; weights.len()];
    let Some(clusters) = runs.clusters() else {
        for _ in 0..weights.len() {
            let run = rng.random_range(0..weights.len());
            drawn[run] += weights[run];
        }
        return drawn;
    };
    let mut times = vec![0.0; runs.cluster_count()];
    for _ in 0..times.len() {
        times[rng.random_range(0..runs.cluster_count())] += 1.0;
    }
    for ((drawn, weight), cluster) in drawn.iter_mut().zip(weights).zip(clusters) {
        *drawn = weight * times[*cluster as usize];
    }
    drawn
}

/// Share of the resamples that lies beyond each end of an interval of nominal coverage `level`.
///
/// Normal tails are shorter than Student's, for which the expanded percentile interval makes up (Hesterberg, *What
/// Teachers Should Know About the Bootstrap*, 2014, section 4.4): `Phi(-t(n - p))`. Hesterberg's interval also
/// corrects for residuals that are smaller than the noise by `sqrt((n - p) / n)`. That is not needed where runs,
/// not residuals, are drawn: a resample has fewer distinct runs, and its law scatters more by about the same
/// factor. Random weights of variance 1 do not have this effect, so for them the correction is applied.
///
/// Where runs are in clusters, the clusters are what is resampled: with `g` of them there are at most `g - 1`
/// degrees of freedom.
pub(super) fn tail(level: f64, runs: &Observations, free: usize) -> f64 {
    let scheme = scheme(runs.cluster_count(), free);
    tail_of(level, runs.len().min(runs.cluster_count() + free - 1), free, scheme)
}

fn tail_of(level: f64, runs: usize, free: usize, scheme: Scheme) -> f64 {
    let further = if scheme == Scheme::Weighed { widening(runs, free) } else { 1.0 };
    Normal::standard().cdf(-further * student_quantile(level, runs, free))
}

/// `sqrt(n / (n - p))`: the factor by which the residuals of a fit are smaller than the noise.
pub(super) fn widening(runs: usize, free: usize) -> f64 {
    (runs as f64 / degrees_of_freedom(runs, free)).sqrt()
}

/// Student's quantile that leaves `(1 - level) / 2` above it.
pub(super) fn student_quantile(level: f64, runs: usize, free: usize) -> f64 {
    let (degrees, share) = (degrees_of_freedom(runs, free), 0.5 + level / 2.0);
    if degrees > EXPANDED {
        return expanded_quantile(degrees, share);
    }
    // Valid: the location is 0, the scale 1 and the degrees of freedom at least 1.
    let student = StudentsT::new(0.0, 1.0, degrees).expect("at least one degree of freedom");
    student.inverse_cdf(share)
}

/// Degrees of freedom above which the expansion is more accurate than the inverse of the incomplete beta function,
/// whose error grows with the degrees of freedom: at a million it is 0.3 % of the quantile.
const EXPANDED: f64 = 200.0;

/// Student's quantile for many degrees of freedom `v`, expanded about the normal quantile `x` (Abramowitz and
/// Stegun, 26.7.5):
///
/// ```text
/// t = x + (x^3 + x) / 4v + (5x^5 + 16x^3 + 3x) / 96v^2 + (3x^7 + 19x^5 + 17x^3 - 15x) / 384v^3
///       + (79x^9 + 776x^7 + 1482x^5 - 1920x^3 - 945x) / 92160v^4
/// ```
fn expanded_quantile(degrees: f64, share: f64) -> f64 {
    let x = Normal::standard().inverse_cdf(share);
    let s = x * x;
    let terms = [
        (s + 1.0) / 4.0,
        ((5.0 * s + 16.0) * s + 3.0) / 96.0,
        (((3.0 * s + 19.0) * s + 17.0) * s - 15.0) / 384.0,
        ((((79.0 * s + 776.0) * s + 1482.0) * s - 1920.0) * s - 945.0) / 92160.0,
    ];
    x * terms.iter().rev().fold(0.0, |sum, term| (sum + term) / degrees) + x
}

/// `n - p`, but at least 1: as many runs as coefficients leave nothing to estimate the noise from.
fn degrees_of_freedom(runs: usize, free: usize) -> f64 {
    runs.saturating_sub(free).max(1) as f64
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::fit::testing;
    use crate::law::T5_C4;

    #[test]
    fn few_runs_widen_the_interval() {
        let tail_of = |level, runs, free| tail_of(level, runs, free, scheme(runs, free));
        assert!((tail_of(0.95, 1_000_000, 7) - 0.025).abs() < 1e-4);
        // R: pnorm(-qt(.975, 41))
        assert!((tail_of(0.95, 48, 7) - 0.021_716).abs() < 1e-5, "{}", tail_of(0.95, 48, 7));
        assert!(tail_of(0.95, 7, 7) < 1e-6);
        // SciPy: norm.cdf(-t.ppf(.975, 20) * sqrt(27 / 20)), norm.cdf(-t.ppf(.975, 4))
        assert!((tail_of(0.95, 27, 7) - 0.007_682).abs() < 1e-5, "{}", tail_of(0.95, 27, 7));
        assert!((tail_of(0.95, 11, 7) - 0.002_748).abs() < 1e-5, "{}", tail_of(0.95, 11, 7));
        assert!((student_quantile(0.95, 17, 7) - 2.228_138_85).abs() < 1e-6);
    }

    #[test]
    fn clusters_are_drawn_as_one_and_widen_the_interval() {
        let all = Observations::new(testing::grid(T5_C4.coefficients(), 0.01, 1));
        let clusters: Vec<_> = (0..64).map(|run| (run < 60).then_some(run / 4)).collect();
        let runs = all.clone().clustered(&clusters);
        assert_eq!((runs.len(), runs.cluster_count()), (64, 19));
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut seen = 0.0;
        for _ in 0..200 {
            let drawn = draw(&mut rng, &runs);
            assert!(drawn[..60].chunks(4).all(|of| of.iter().all(|weight| *weight == of[0])));
            seen += drawn.iter().sum::<f64>() / 64.0 / 200.0;
        }
        assert!((seen - 1.0).abs() < 0.05, "{seen}");
        // SciPy: norm.cdf(-t.ppf(.975, 18) * sqrt(25 / 18))
        assert!((tail(0.95, &runs, 7) - 0.006_643).abs() < 1e-5, "{}", tail(0.95, &runs, 7));
        assert_eq!(tail(0.95, &all, 7), tail_of(0.95, 64, 7, Scheme::Drawn));
        // Where every run is its own cluster, clusters change nothing.
        let none = all.clone().clustered(&[]);
        assert_eq!(tail(0.95, &none, 7), tail_of(0.95, 64, 7, Scheme::Drawn));
    }

    #[test]
    fn few_runs_are_weighed_so_that_all_of_them_stay() {
        let all = Observations::new(testing::grid(T5_C4.coefficients(), 0.01, 1));
        let few = Observations::new(all.as_slice().iter().step_by(4).copied().collect());
        assert_eq!(few.len(), 16);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut mean, mut square) = (0.0, 0.0);
        const RESAMPLES: usize = 4_000;
        for _ in 0..RESAMPLES {
            for weight in resampled(&mut rng, &few, 7) {
                assert!(weight > 0.0);
                mean += weight / (16 * RESAMPLES) as f64;
                square += weight * weight / (16 * RESAMPLES) as f64;
            }
        }
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        let variance = square - mean * mean;
        assert!((variance - 1.0).abs() < 0.05, "{variance}");
        // All runs of a cluster have the same weight.
        let clusters: Vec<_> = (0..64).map(|run| Some(run / 4)).collect();
        let clustered = all.clone().clustered(&clusters);
        let weights = resampled(&mut rng, &clustered, 7);
        assert!(weights.chunks(4).all(|of| of.iter().all(|weight| *weight == of[0])));
        assert!(weights.iter().all(|weight| weight.fract() != 0.0));
        // Many runs are drawn, as are so few that hardly a degree of freedom is left.
        let eight = Observations::new(few.as_slice()[..8].to_vec());
        for runs in [&all, &eight] {
            let drawn = resampled(&mut rng, runs, 7);
            assert!(drawn.iter().all(|weight| weight.fract() == 0.0), "{drawn:?}");
            assert_eq!(drawn.iter().sum::<f64>(), runs.len() as f64);
        }
    }

    #[test]
    fn many_runs_lose_no_digits() {
        // R: qt(.975, c(1000, 1e6)), qt(.995, 1e4)
        for (level, degrees, quantile) in [
            (0.95, 1_000, 1.962_339_081),
            (0.95, 1_000_000, 1.959_966_357),
            (0.99, 10_000, 2.576_321_046),
        ] {
            let found = student_quantile(level, degrees + 7, 7);
            assert!((found - quantile).abs() < 5e-9, "{level} {degrees}: {found}");
        }
        // Both methods agree where one takes over from the other, and approach the normal quantile.
        for level in [0.5, 0.9, 0.95, 0.99, 0.999] {
            let below = student_quantile(level, 200 + 7, 7);
            let (beyond, normal) = (expanded_quantile(200.0, 0.5 + level / 2.0), {
                Normal::standard().inverse_cdf(0.5 + level / 2.0)
            });
            assert!((below / beyond - 1.0).abs() < 1e-7, "{level}: {below} {beyond}");
            let mut last = beyond;
            for degrees in [300, 1_000, 10_000, 1_000_000, 1_000_000_000] {
                let next = student_quantile(level, degrees + 7, 7);
                assert!(normal < next && next < last, "{level} {degrees}: {next}");
                last = next;
            }
        }
    }
}
