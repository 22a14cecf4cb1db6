//! Case resampling: what other runs of the same kind might have said.
//!
//! Each resample draws as many runs as there are, with replacement, or weighs the runs where they
//! are few, and is fitted from the law of all runs, from the other minima that its starts found, and
//! from random starts, so that it can leave the basin. A resample that determines no law is counted and left out.
//!
//! The objective of each is minimised to a billionth of its value. A coefficient that the resample determines is
//! then known to some 1e-4 of itself, far below what resamples differ by; one that it leaves open is wherever the
//! descent ended along the valley.

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

/// What resampling gave.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Resampled {
    /// The law and a residual of each resample that gave one, in order.
    pub members: Vec<Member>,
    /// How many gave none.
    pub failed: u32,
}

/// Everything that a resample needs of the fit of all runs.
pub(super) struct Bootstrap<'a> {
    pub search: &'a Search<'a>,
    pub objective: &'a Objective<'a>,
    pub sketch: &'a Sketch<'a>,
    pub runs: &'a Observations,
    pub form: Form,
    /// Stream of each resample.
    pub stream: fn(u32) -> Stream,
    pub seed: u64,
    /// The law of all runs first, then other minima.
    pub minima: &'a [Point],
    /// Whether every start of the law ended at the same minimum.
    pub starts_agree: bool,
    /// Residuals of the runs, already widened for the coefficients that were fitted.
    pub residuals: &'a [f64],
}

/// Where every start of the law ended at one minimum, one resample in so many gets a random start;
/// otherwise each does. Of 500 random starts of resamples of the paper's T5 runs, on which all starts agree, one
/// ended lower than the descent from the law of all runs, and none on its ViT runs.
pub(super) const SPARING: u32 = 8;

impl Bootstrap<'_> {
    /// Runs all resamples on the current rayon pool; `None` where it was stopped.
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
        // At most as many as there were resamples.
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

    /// Whether what varies over all runs still varies over the drawn ones.
    fn is_identifiable(&self, weights: &[f64]) -> bool {
        let varies = |quantity: fn(&super::Observation) -> f64| {
            let drawn = self.runs.as_slice().iter().zip(weights);
            let values = drawn.filter(|(_, weight)| **weight > 0.0).map(|(run, _)| quantity(run));
            let mut values = values.peekable();
            let first = values.peek().copied();
            // Most often the second or third run differs already.
            first.is_some_and(|first| values.any(|value| levels(vec![first, value]).len() > 1))
        };
        (!self.form.nonzero_params || varies(|run| run.nonzero_params.get()))
            && (!self.form.sparsity || varies(|run| run.sparsity.density().get()))
            && (!self.form.data || varies(|run| run.data.get()))
    }
}

struct Stopped;

/// Up to so many runs a coefficient are weighed and not drawn.
const FEW: usize = 6;
/// Least degrees of freedom, `n - p`, with which runs are weighed. With one, Student's quantile is 12.7, beyond what
/// weights of any kind scatter.
const LEAST_DEGREES: usize = 2;
/// Least degrees of freedom with which the ends of an interval are taken further out. With fewer they would be more than
/// four deviations out, where one in ten thousand resamples lies: then the weights scatter more.
const ENOUGH_DEGREES: usize = 5;

/// How a resample differs from the runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    /// Runs are drawn with replacement.
    Drawn,
    /// Each has a random weight of mean and variance 1, and the ends of intervals are further out.
    Weighed,
    /// Each has a random weight of mean 1 that scatters more.
    WeighedApart,
}

/// How resamples of so many runs, or clusters of runs, are made for a law of so many free coefficients.
///
/// Few runs are not drawn: what is drawn of them often has two levels of something where the law needs three, and its law
/// is wherever the descent ends. With random weights all levels stay (the weighted bootstrap: Rubin, *The Bayesian
/// Bootstrap*, 1981; Newton and Raftery, 1994). The fit of few runs leaves residuals that are smaller than the noise by
/// `sqrt((n - p) / n)`, and so do laws of weighed runs scatter less; either the ends or the weights make up for it.
/// `docs/coverage.md` counts how often such intervals hold the truth.
fn scheme(count: usize, free: usize) -> Scheme {
    let degrees = count.saturating_sub(free);
    match degrees {
        _ if count > FEW * free || degrees < LEAST_DEGREES => Scheme::Drawn,
        ENOUGH_DEGREES.. => Scheme::Weighed,
        _ => Scheme::WeighedApart,
    }
}

/// Weights of the runs in a resample, for a law of so many free coefficients.
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

/// Draws as many runs as there are, with replacement: the weights times how often each was drawn. Of runs in clusters
/// as many clusters as there are, each with all of its runs.
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

/// Share of the resamples beyond each end of an interval of nominal coverage `level`.
///
/// Normal tails are shorter than Student's, and the expanded percentile interval makes up for that (Hesterberg, *What
/// Teachers Should Know About the Bootstrap*, 2014, section 4.4): `Phi(-t(n - p))`. It makes up for residuals too, which are
/// smaller than the noise by `sqrt((n - p) / n)`; not so here, where runs are drawn and not residuals: a resample has fewer
/// different runs, and its law scatters more by about as much. Weights of variance 1 do not make up for it.
///
/// Clusters are what is drawn, where there are some: with `g` of them there are at most `g - 1` degrees of freedom.
pub(super) fn tail(level: f64, runs: &Observations, free: usize) -> f64 {
    let scheme = scheme(runs.cluster_count(), free);
    tail_of(level, runs.len().min(runs.cluster_count() + free - 1), free, scheme)
}

fn tail_of(level: f64, runs: usize, free: usize, scheme: Scheme) -> f64 {
    let further = if scheme == Scheme::Weighed { widening(runs, free) } else { 1.0 };
    Normal::standard().cdf(-further * student_quantile(level, runs, free))
}

/// `sqrt(n / (n - p))`: how much smaller the residuals of a fit are than the noise.
pub(super) fn widening(runs: usize, free: usize) -> f64 {
    (runs as f64 / degrees_of_freedom(runs, free)).sqrt()
}

/// Student's quantile that leaves `(1 - level) / 2` above it.
pub(super) fn student_quantile(level: f64, runs: usize, free: usize) -> f64 {
    let (degrees, share) = (degrees_of_freedom(runs, free), 0.5 + level / 2.0);
    if degrees > EXPANDED {
        return expanded_quantile(degrees, share);
    }
    // A location of 0 and a scale of 1 are valid, and so is every number of degrees above 0.
    let student = StudentsT::new(0.0, 1.0, degrees).expect("at least one degree of freedom");
    student.inverse_cdf(share)
}

/// Degrees of freedom from which on the expansion has more digits than the inverse of the incomplete beta function,
/// which loses them as the degrees grow: 0.3 % of the quantile at a million.
const EXPANDED: f64 = 200.0;

/// Student's quantile about the normal one, `x`, for many degrees of freedom `v` (Abramowitz and Stegun, 26.7.5):
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

/// `n - p`, at least 1: as many runs as coefficients leave nothing to estimate the noise from.
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
        // As many clusters as runs are runs.
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
        // A cluster has one weight.
        let clusters: Vec<_> = (0..64).map(|run| Some(run / 4)).collect();
        let clustered = all.clone().clustered(&clusters);
        let weights = resampled(&mut rng, &clustered, 7);
        assert!(weights.chunks(4).all(|of| of.iter().all(|weight| *weight == of[0])));
        assert!(weights.iter().all(|weight| weight.fract() != 0.0));
        // More are drawn, and so few that hardly a degree of freedom is left.
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
        // Both ways meet where the one takes over from the other, and go on to the normal quantile.
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
