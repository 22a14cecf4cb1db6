//! Measures how often the intervals of a fit with default options contain the truth, over simulated runs of a known
//! law:
//!
//! ```sh
//! cargo run --release -p sparsity-law --example simulated -- [SETS] [RESAMPLES] [SMALL]
//! ```
//!
//! The runs follow the published T5 law, on three sizes, three sparsities and three amounts of data, or on part of that
//! grid. Their errors are independent and normal, have heavy tails, or include runs that diverged. Further designs have
//! 16 or 36 trainings of four checkpoints each that share an error, resampled one by one and by training.
//!
//! Prints the table of `docs/coverage.md`: how often the interval contains the truth, its mean width, and that width
//! relative to the middle 95 % of the errors themselves. With any value of `SMALL`, only the first designs are
//! simulated.

#![allow(clippy::print_stdout, reason = "the table is what is asked for")]

use anyhow::{Context, Result};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sparsity_law::fit::{
    Control, FitConfig, Holdout, Observation, Observations, Residual, WarningCode, fit,
};
use sparsity_law::law::{
    Coefficients, Compute, Data, Density, FlopMode, FlopsPerParam, Interval, Loss, NonzeroParams,
    PruningSchedule, Reach, Recommendation, SampledLaw, Sparsity, T5_C4, TrainingCost, Widening,
    quantile,
};

/// Standard deviation of the logarithm of the loss.
const NOISE: f64 = 0.005;
/// Deviation of a diverged run, in the logarithm of the loss.
const DIVERGED: f64 = 0.3;

/// How a run deviates from the law.
#[derive(Clone, Copy, PartialEq)]
enum Error {
    Normal,
    /// Errors from Student's t distribution with three degrees of freedom, scaled to the same interquartile range.
    Heavy,
    /// Normal errors, and one run in twenty that diverged.
    Diverging,
    /// Normal errors, plus an error of the same size that all checkpoints of a training share.
    Shared {
        /// Whether the checkpoints of a training are resampled together.
        clustered: bool,
    },
}

fn normal(random: &mut ChaCha8Rng) -> f64 {
    // Box-Muller transform; the generator never returns 1.
    let (u, v) = (1.0 - random.random::<f64>(), random.random::<f64>());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

fn error(kind: Error, random: &mut ChaCha8Rng) -> f64 {
    match kind {
        Error::Normal | Error::Shared { .. } => NOISE * normal(random),
        Error::Heavy => {
            let square: f64 = (0..3).map(|_| normal(random).powi(2)).sum();
            // 0.6745 and 0.7649 are the upper quartiles of the two distributions.
            NOISE * 0.6745 / 0.7649 * normal(random) / (square / 3.0).sqrt()
        }
        Error::Diverging if random.random::<f64>() < 0.05 => DIVERGED,
        Error::Diverging => NOISE * normal(random),
    }
}

/// The first `count` models of a grid of three sizes, three sparsities and three amounts of data, in a fixed random
/// order.
fn design(count: usize) -> Result<Vec<(NonzeroParams, Sparsity, Data)>> {
    let mut models = Vec::new();
    for n in [2e6, 1.6e7, 1.28e8] {
        for s in [0.0, 0.5, 0.875] {
            for d in [1e9, 1e10, 1e11] {
                models.push((NonzeroParams::new(n)?, Sparsity::new(s)?, Data::new(d)?));
            }
        }
    }
    models.shuffle(&mut ChaCha8Rng::seed_from_u64(4));
    models.truncate(count);
    Ok(models)
}

/// Trainings with `levels` sizes and as many sparsities, each with four checkpoints that follow each other in the list.
fn trainings(levels: i32) -> Result<Vec<(NonzeroParams, Sparsity, Data)>> {
    let mut models = Vec::new();
    let share = |level: i32| f64::from(level) / f64::from(levels - 1);
    for size in 0..levels {
        for sparsity in 0..levels {
            for d in [1e9, 4.6e9, 2.15e10, 1e11] {
                let n = 2e6 * 64_f64.powf(share(size));
                let s = 1.0 - 0.125_f64.powf(share(sparsity));
                models.push((NonzeroParams::new(n)?, Sparsity::new(s)?, Data::new(d)?));
            }
        }
    }
    Ok(models)
}

#[derive(Default)]
struct Tally {
    /// Errors of each answer, one per data set.
    errors: [Vec<f64>; 4],
    held: [u32; 4],
    width: [f64; 4],
    sets: u32,
    named: u32,
}

struct Asked {
    cost: TrainingCost,
    nonzero_params: NonzeroParams,
    compute: Compute,
    inside: (Density, NonzeroParams, Data),
}

fn truth(law: &Coefficients, asked: &Asked) -> Result<[f64; 3]> {
    let at = |compute: f64| -> Result<Recommendation> {
        let compute = Compute::new(compute)?;
        Ok(Recommendation::new(law, &asked.cost, asked.nonzero_params, compute)?)
    };
    let (x, n, d) = asked.inside;
    let best = at(asked.compute.get())?;
    Ok([best.best.sparsity().get(), law.loss(x, n, d), at(4.0 * asked.compute.get())?.best.loss])
}

fn tally(kind: Error, count: usize, sets: u32, resamples: u32) -> Result<Tally> {
    let law = T5_C4.coefficients();
    let cost =
        TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), FlopMode::Sparse);
    let asked = Asked {
        cost,
        nonzero_params: NonzeroParams::new(1.28e8)?,
        compute: Compute::new(6.0 * 1.28e8 * 1e11)?,
        inside: (Sparsity::new(0.6)?.density(), NonzeroParams::new(1e7)?, Data::new(2e10)?),
    };
    let [sparsity, inside, beyond] = truth(law, &asked)?;
    let models = match kind {
        Error::Shared { .. } => trainings((count as f64 / 4.0).sqrt() as i32)?,
        _ => design(count)?,
    };
    let mut found = Tally::default();
    for set in 0..sets {
        let mut random = ChaCha8Rng::seed_from_u64(1 + u64::from(set));
        let mut runs = Vec::new();
        let mut shared = 0.0;
        for (place, (n, s, d)) in models.iter().enumerate() {
            if matches!(kind, Error::Shared { .. }) && place % 4 == 0 {
                shared = NOISE * normal(&mut random);
            }
            let loss = law.loss(s.density(), *n, *d) * (shared + error(kind, &mut random)).exp();
            let loss = Loss::new(loss)?;
            runs.push(Observation { nonzero_params: *n, sparsity: *s, data: *d, loss });
        }
        let holdout = vec![Holdout::Rolling];
        let config = FitConfig { bootstrap: resamples, holdout, ..FitConfig::default() };
        let config = config.check().map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
        let mut runs = Observations::new(runs);
        if kind == (Error::Shared { clustered: true }) {
            let training: Vec<_> =
                runs.order().iter().map(|place| Some(*place as u32 / 4)).collect();
            runs = runs.clustered(&training);
        }
        let report = fit(&runs.into(), &config, &Control::NONE)?;
        let measured = |loss, noise| Residual::Log.measured(loss, noise);
        let mut fitted =
            SampledLaw::new(report.coefficients, report.ensemble.clone(), measured).holding_means();
        if let Some(error) = report.diagnostics.rolling {
            let reach = Reach::of(&report.support);
            fitted = fitted.widened(Widening { error, reach }, measured);
        }
        let fitted_law = fitted.coefficients();
        let at = |compute: f64| -> Result<_> {
            let compute = Compute::new(compute)?;
            let best = Recommendation::new(fitted_law, &asked.cost, asked.nonzero_params, compute)?;
            let known =
                fitted.recommendation_intervals(&asked.cost, asked.nonzero_params, compute, &best);
            known.context("a law without intervals")
        };
        let (x, n, d) = asked.inside;
        let (mean, new_run) = fitted.loss_intervals(x, n, d).context("a law without intervals")?;
        let near = at(asked.compute.get())?;
        let far = at(4.0 * asked.compute.get())?;
        let own = if kind == Error::Diverging { Error::Normal } else { kind };
        let shared = if matches!(kind, Error::Shared { .. }) { normal(&mut random) } else { 0.0 };
        let run = inside * (NOISE * shared + error(own, &mut random)).exp();
        let [said_sparsity, said_inside, said_beyond] = truth(fitted_law, &asked)?;
        let all: [(Interval, f64, f64); 4] = [
            (near.sparsity, sparsity, said_sparsity),
            (mean, inside, said_inside),
            (far.loss, beyond, said_beyond),
            (new_run, run, said_inside),
        ];
        for (place, (interval, value, said)) in all.into_iter().enumerate() {
            found.errors[place].push(said - value);
            found.held[place] += u32::from(interval.contains(value));
            found.width[place] += interval.high - interval.low;
        }
        found.sets += 1;
        let told = report.warnings.iter().any(|warning| warning.code == WarningCode::Outliers);
        found.named += u32::from(told);
    }
    Ok(found)
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let sets = arguments.next().map_or(Ok(400), |text| text.parse())?;
    let resamples = arguments.next().map_or(Ok(1000), |text| text.parse())?;
    println!(
        "| errors | runs | best sparsity | loss inside | loss at 4x compute | new run | outliers named |"
    );
    println!("|---|---|---|---|---|---|---|");
    let only_small = arguments.next().is_some();
    let designs = [
        ("independent", Error::Normal, 27),
        ("independent", Error::Normal, 18),
        ("independent", Error::Normal, 12),
        ("independent", Error::Normal, 8),
        ("heavy tails", Error::Heavy, 27),
        ("5 % diverged", Error::Diverging, 27),
        ("shared by training", Error::Shared { clustered: false }, 64),
        ("shared by training, `cluster`", Error::Shared { clustered: true }, 64),
        ("shared by training, `cluster`", Error::Shared { clustered: true }, 144),
    ];
    let count = if only_small { 4 } else { designs.len() };
    for (name, kind, count) in designs.into_iter().take(count) {
        let found = tally(kind, count, sets, resamples)?;
        let cell = |place: usize| {
            let share = 100.0 * f64::from(found.held[place]) / f64::from(found.sets);
            let width = found.width[place] / f64::from(found.sets);
            let mut errors = found.errors[place].clone();
            let warranted = quantile(&mut errors, 0.975) - quantile(&mut errors, 0.025);
            format!("{share:.1} % ({width:.4}, {:.2})", width / warranted)
        };
        println!(
            "| {name} | {count} | {} | {} | {} | {} | {:.0} % |",
            cell(0),
            cell(1),
            cell(2),
            cell(3),
            100.0 * f64::from(found.named) / f64::from(found.sets)
        );
    }
    Ok(())
}
