//! What a sweep must vary to be worth fitting. Sweeps of equal size and equal cost per run are simulated from the
//! published T5 law and fitted; further sweeps show how close to a line of size and data a sweep may be. Prints the
//! tables of `docs/sweeps.md`.
//!
//! `cargo run --release -p sparsity-law --example sweeps`

#![allow(clippy::print_stdout, reason = "the table is the result")]

use anyhow::Context;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sparsity_law::fit::{Control, FitConfig, Observation, Observations, Report, WarningCode, fit};
use sparsity_law::law::{
    CoefficientName, Coefficients, Compute, Data, FlopMode, FlopsPerParam, Loss, NonzeroParams,
    PruningSchedule, Sparsity, T5_C4, TrainingCost, optimal_density,
};

/// Standard deviation of the logarithm of a loss: about the residual of the paper's fits.
const NOISE: f64 = 0.005;

/// Runs as `(N, S, D)`.
type Runs = Vec<(f64, f64, f64)>;
/// A sweep: its name, and its runs.
type Sweep = (&'static str, Runs);

fn grid(sizes: &[f64], sparsities: &[f64], data: &[f64]) -> Runs {
    let mut runs = Vec::new();
    for &n in sizes {
        for &s in sparsities {
            runs.extend(data.iter().map(|&d| (n, s, d)));
        }
    }
    runs
}

fn sweeps() -> Vec<Sweep> {
    let sizes = [4e6, 1e7, 2.5e7, 6.3e7];
    let sparsities = [0.0, 0.5, 0.75, 0.875];
    let data = [3e9, 9e9, 2.7e10, 8.1e10];
    vec![
        ("4 sizes x 4 sparsities x 4 amounts of data, 27x", grid(&sizes, &sparsities, &data)),
        ("the same, data spans 3x", grid(&sizes, &sparsities, &[1.5e10, 2.2e10, 3.2e10, 4.5e10])),
        ("the same, sizes span 3x", grid(&[1e7, 1.4e7, 2.1e7, 3e7], &sparsities, &data)),
        ("two sparsities: 0 and 0.5", {
            grid(
                &[4e6, 1e7, 2.5e7, 6.3e7],
                &[0.0, 0.5],
                &[3e9, 6e9, 9e9, 1.6e10, 2.7e10, 4e10, 6e10, 8.1e10],
            )
        }),
        ("data in proportion to size (20 a parameter)", {
            let sizes = [4e6, 6e6, 9e6, 1.3e7, 2e7, 3e7, 4.5e7, 6.3e7];
            let levels = [0.0, 0.25, 0.5, 0.6, 0.7, 0.75, 0.82, 0.875];
            sizes.iter().flat_map(|&n| levels.iter().map(move |&s| (n, s, 20.0 * n))).collect()
        }),
        ("16 runs: 2 sizes x 4 sparsities x 2 amounts", {
            grid(&[4e6, 6.3e7], &sparsities, &[3e9, 8.1e10])
        }),
    ]
}

/// Sweeps of 64 runs along `D = 20 N`, with the data off that line by up to a factor, over a short and a long range of
/// sizes; and the grid for comparison.
fn lines() -> Vec<(String, Runs)> {
    let mut random = ChaCha8Rng::seed_from_u64(64);
    let mut found = Vec::new();
    for (range, largest) in [("16x", 6.4e7), ("1,000x", 4e9_f64)] {
        for factor in [1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 8.0_f64] {
            let mut runs = Vec::new();
            for size in 0..8 {
                let n = 4e6 * (largest / 4e6).powf(f64::from(size) / 7.0);
                for s in [0.0, 0.25, 0.5, 0.6, 0.7, 0.75, 0.82, 0.875] {
                    let off = factor.powf(2.0 * random.random::<f64>() - 1.0);
                    runs.push((n, s, 20.0 * n * off));
                }
            }
            found.push((format!("sizes over {range}, data off the line by up to {factor}x"), runs));
        }
    }
    found.push(("the grid".to_owned(), sweeps().swap_remove(0).1));
    found
}

/// Root mean square error of the best sparsity over many draws of the noise, and how often the fit warned of a line.
fn error(sweep: &[(f64, f64, f64)]) -> anyhow::Result<(f64, usize)> {
    let truth = best(T5_C4.coefficients())?;
    let config = FitConfig { bootstrap: 0, starts: 8, holdout: Vec::new(), ..FitConfig::default() };
    let config = config.check().map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
    let (mut sum, mut warned) = (0.0, 0);
    for seed in 0..DRAWS {
        let report = fit(&observe(sweep, seed)?.into(), &config, &Control::NONE)?;
        sum += (best(&report.coefficients)? - truth).powi(2);
        warned += usize::from(report.warnings.iter().any(|w| w.code == WarningCode::Collinear));
    }
    Ok(((sum / DRAWS as f64).sqrt(), warned))
}

/// Number of draws of the noise for each line.
const DRAWS: u64 = 50;

fn observe(sweep: &[(f64, f64, f64)], seed: u64) -> anyhow::Result<Observations> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut normal = move || {
        // Box-Muller transform; 1 - u is never 0.
        let (u, v) = (random.random::<f64>(), random.random::<f64>());
        (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    };
    let runs = sweep.iter().map(|&(n, s, d)| {
        let (nonzero_params, sparsity) = (NonzeroParams::new(n)?, Sparsity::new(s)?);
        let data = Data::new(d)?;
        let loss = T5_C4.coefficients().loss(sparsity.density(), nonzero_params, data);
        let loss = Loss::new(loss * (NOISE * normal()).exp())?;
        Ok(Observation { nonzero_params, sparsity, data, loss })
    });
    Ok(Observations::new(runs.collect::<anyhow::Result<Vec<_>>>()?))
}

/// The best sparsity for 100 M non-zero parameters and 1e20 FLOPs where zeros are free.
fn best(law: &Coefficients) -> anyhow::Result<f64> {
    let cost =
        TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), FlopMode::Sparse);
    let (n, c) = (NonzeroParams::new(1e8)?, Compute::new(1e20)?);
    Ok(optimal_density(law, &cost, n, c).sparsity().get())
}

/// The best sparsity with its interval, as text.
fn recommended(report: &Report) -> anyhow::Result<String> {
    let ensemble = report.ensemble.as_ref().context("the law has resamples")?;
    let interval = ensemble.interval(|member| best(&member.coefficients).unwrap_or(f64::NAN));
    let found = best(&report.coefficients)?;
    Ok(format!(
        "{:.0} % ({:.0} to {:.0})",
        100.0 * found,
        100.0 * interval.low,
        100.0 * interval.high
    ))
}

fn main() -> anyhow::Result<()> {
    println!("True best sparsity: {:.0} %.\n", 100.0 * best(T5_C4.coefficients())?);
    println!("| sweep | runs | best sparsity at N = 1e8, C = 1e20 | b_d (true 0.203) | warnings |");
    println!("|---|---|---|---|---|");
    for (name, sweep) in sweeps() {
        let config = FitConfig::default().check();
        let config = config.map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
        let report = fit(&observe(&sweep, 2309)?.into(), &config, &Control::NONE)?;
        let b_d = match &report.ensemble {
            Some(ensemble) => {
                let interval = ensemble.coefficient_intervals()[&CoefficientName::BD];
                format!("{:.2} to {:.2}", interval.low, interval.high)
            }
            None => "-".to_owned(),
        };
        let mut codes: Vec<_> =
            report.warnings.iter().map(|w| format!("`{}`", w.code.as_str())).collect();
        codes.sort_unstable();
        codes.dedup();
        println!(
            "| {name} | {} | {} | {b_d} | {} |",
            sweep.len(),
            recommended(&report)?,
            codes.join(", ")
        );
    }
    println!("\n| 64 runs along D = 20 N | error of the best sparsity, points | `collinear` |");
    println!("|---|---|---|");
    for (name, sweep) in lines() {
        let (error, warned) = error(&sweep)?;
        println!("| {name} | {:.1} | {warned} of {DRAWS} |", 100.0 * error);
    }
    Ok(())
}
