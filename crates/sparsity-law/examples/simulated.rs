//! How often the intervals of a fit with default options hold the truth, over simulated runs whose law is known:
//!
//! ```sh
//! cargo run --release -p sparsity-law --example simulated -- [SETS] [RESAMPLES]
//! ```
//!
//! Runs are those of the published law of T5 on three sizes, three sparsities and three amounts of data, or some of these,
//! with errors that are independent and normal, with heavy tails, or with runs that diverged. Writes the table of
//! `docs/coverage.md`.

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
};

/// Standard deviation of the logarithm of the loss.
const NOISE: f64 = 0.005;
/// How far off a diverged run is.
const DIVERGED: f64 = 0.3;

/// How a run is off the law.
#[derive(Clone, Copy, PartialEq)]
enum Error {
    Normal,
    /// Student's with three degrees of freedom, scaled to the same middle half.
    Heavy,
    /// Normal, and one run in twenty diverged.
    Diverging,
}

fn normal(random: &mut ChaCha8Rng) -> f64 {
    // Box and Muller; the generator gives no 1.
    let (u, v) = (1.0 - random.random::<f64>(), random.random::<f64>());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

fn error(kind: Error, random: &mut ChaCha8Rng) -> f64 {
    match kind {
        Error::Normal => NOISE * normal(random),
        Error::Heavy => {
            let square: f64 = (0..3).map(|_| normal(random).powi(2)).sum();
            // 0.6745 and 0.7649: the upper quartiles of the two.
            NOISE * 0.6745 / 0.7649 * normal(random) / (square / 3.0).sqrt()
        }
        Error::Diverging if random.random::<f64>() < 0.05 => DIVERGED,
        Error::Diverging => NOISE * normal(random),
    }
}

/// Three sizes, three sparsities, three amounts of data; of these the first `count` in an order that is always the same.
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

#[derive(Default)]
struct Tally {
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
    let models = design(count)?;
    let mut found = Tally::default();
    for set in 0..sets {
        let mut random = ChaCha8Rng::seed_from_u64(1 + u64::from(set));
        let mut runs = Vec::new();
        for (n, s, d) in &models {
            let loss = law.loss(s.density(), *n, *d) * error(kind, &mut random).exp();
            let loss = Loss::new(loss)?;
            runs.push(Observation { nonzero_params: *n, sparsity: *s, data: *d, loss });
        }
        let holdout = vec![Holdout::Rolling];
        let config = FitConfig { bootstrap: resamples, holdout, ..FitConfig::default() };
        let config = config.check().map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
        let report = fit(&Observations::new(runs).into(), &config, &Control::NONE)?;
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
        let kind = if kind == Error::Diverging { Error::Normal } else { kind };
        let run = inside * error(kind, &mut random).exp();
        let all: [(Interval, f64); 4] =
            [(near.sparsity, sparsity), (mean, inside), (far.loss, beyond), (new_run, run)];
        for (place, (interval, value)) in all.into_iter().enumerate() {
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
    let designs = [
        ("independent", Error::Normal, 27),
        ("independent", Error::Normal, 18),
        ("independent", Error::Normal, 12),
        ("independent", Error::Normal, 8),
        ("heavy tails", Error::Heavy, 27),
        ("5 % diverged", Error::Diverging, 27),
    ];
    for (name, kind, count) in designs {
        let found = tally(kind, count, sets, resamples)?;
        let cell = |place: usize| {
            let share = 100.0 * f64::from(found.held[place]) / f64::from(found.sets);
            format!("{share:.1} % ({:.4})", found.width[place] / f64::from(found.sets))
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
