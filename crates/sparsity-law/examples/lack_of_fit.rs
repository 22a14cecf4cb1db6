//! Measures how often a fit with default options warns that runs scatter in groups, over simulated runs of a known law:
//!
//! ```sh
//! cargo run --release -p sparsity-law --example lack_of_fit -- [SETS]
//! ```
//!
//! In one part each run scatters independently, so that every warning is a false alarm; in the other, runs share
//! errors. Prints the table of `docs/coverage.md`.

#![allow(clippy::print_stdout, reason = "the table is what is asked for")]

use anyhow::Result;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use sparsity_law::fit::{
    Control, FitConfig, Observation, Observations, Report, Residual, WarningCode, fit,
};
use sparsity_law::law::{Coefficients, Data, Loss, NonzeroParams, Sparsity, T5_C4, VIT_JFT};

/// Standard deviation of the logarithm of the loss.
const NOISE: f64 = 0.005;
/// Standard deviation of an error that runs share, relative to that of a run's own error.
const SHARED: f64 = 1.5;

/// How the runs deviate from the law.
#[derive(Clone, Copy)]
enum Error {
    Independent,
    /// Errors from Student's t distribution with three degrees of freedom, scaled to the same interquartile range.
    Heavy,
    /// In addition to its own error, one that all runs of a size share.
    BySize,
    /// In addition to its own error, one that all runs of a size and sparsity share.
    ByCell,
    /// In addition to its own error, one for the larger models that grows with size and with the square of the
    /// sparsity.
    Interaction,
    /// In addition to its own error, one that grows with size from the middle size up: large models are tuned worse.
    Mistuned,
}

struct Design {
    name: &'static str,
    law: &'static Coefficients,
    sizes: Vec<f64>,
    sparsities: Vec<f64>,
    data: Vec<f64>,
}

fn normal(random: &mut ChaCha8Rng) -> f64 {
    // Box-Muller transform; the generator never returns 1.
    let (u, v) = (1.0 - random.random::<f64>(), random.random::<f64>());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

impl Design {
    fn runs(&self, error: Error, seed: u64) -> Result<Observations> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut runs = Vec::new();
        let last = self.sizes.len() - 1;
        for (size, &n) in self.sizes.iter().enumerate() {
            let of_size = normal(&mut random);
            for &s in &self.sparsities {
                let of_cell = normal(&mut random);
                for &d in &self.data {
                    let own = normal(&mut random);
                    let beyond = (size as f64 / last as f64 - 0.5).max(0.0);
                    let off = match error {
                        Error::Independent => own,
                        Error::Heavy => {
                            let square: f64 = (0..3).map(|_| normal(&mut random).powi(2)).sum();
                            // 0.6745 and 0.7649 are the upper quartiles of the two distributions.
                            0.6745 / 0.7649 * own / (square / 3.0).sqrt()
                        }
                        Error::BySize => own + SHARED * of_size,
                        Error::ByCell => own + SHARED * of_cell,
                        Error::Interaction => own + 8.0 * beyond * s * s,
                        Error::Mistuned => own + 8.0 * beyond,
                    };
                    let (nonzero_params, sparsity) = (NonzeroParams::new(n)?, Sparsity::new(s)?);
                    let data = Data::new(d)?;
                    let loss = self.law.loss(sparsity.density(), nonzero_params, data);
                    let loss = Loss::new(loss * (NOISE * off).exp())?;
                    runs.push(Observation { nonzero_params, sparsity, data, loss });
                }
            }
        }
        Ok(Observations::new(runs))
    }

    fn report(&self, error: Error, seed: u64) -> Result<Report> {
        let config = FitConfig {
            residual: Residual::Log,
            bootstrap: 0,
            holdout: Vec::new(),
            starts: 8,
            ..FitConfig::default()
        };
        let config = config.check().map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
        Ok(fit(&self.runs(error, seed)?.into(), &config, &Control::NONE)?)
    }
}

fn is_told(report: &Report) -> bool {
    report.warnings.iter().any(|warning| warning.code == WarningCode::LackOfFit)
}

fn powers(first: f64, factor: f64, count: i32) -> Vec<f64> {
    (0..count).map(|power| first * factor.powi(power)).collect()
}

fn designs() -> Vec<Design> {
    let sparsities = vec![0.0, 0.5, 0.75, 0.875];
    vec![
        Design {
            name: "4 x 4 x 3, the grid of the paper's T5 runs",
            law: T5_C4.coefficients(),
            sizes: powers(1_327_104.0, 4.0, 4),
            sparsities: sparsities.clone(),
            data: powers(1.6384e10, 2.0, 3),
        },
        Design {
            name: "7 x 4 x 4, the grid of its ViT runs",
            law: VIT_JFT.coefficients(),
            sizes: powers(663_552.0, 2.0, 7),
            sparsities: sparsities.clone(),
            data: powers(2.25e8, 2.0, 4),
        },
        Design {
            name: "4 x 4 x 4, data spans 64x",
            law: T5_C4.coefficients(),
            sizes: powers(1e6, 4.0, 4),
            sparsities,
            data: powers(1e9, 4.0, 4),
        },
        Design {
            name: "3 x 3 x 3",
            law: T5_C4.coefficients(),
            sizes: powers(2e6, 8.0, 3),
            sparsities: vec![0.0, 0.5, 0.875],
            data: powers(1e9, 10.0, 3),
        },
    ]
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let sets: u64 = arguments.next().map_or(Ok(1000), |text| text.parse())?;
    println!("| runs | errors | told | by size | by sparsity | by data | by size and sparsity |");
    println!("|---|---|---|---|---|---|---|");
    let kinds = [
        ("independent", Error::Independent, 1),
        ("heavy tails", Error::Heavy, 1),
        ("shared by size", Error::BySize, 10),
        ("shared by size and sparsity", Error::ByCell, 10),
        ("large sparse models worse", Error::Interaction, 10),
        ("large models worse", Error::Mistuned, 10),
    ];
    for design in designs() {
        for (name, error, fewer) in kinds {
            let sets = (sets / fewer).max(1);
            let reports: Vec<Report> = (0..sets)
                .into_par_iter()
                .map(|seed| design.report(error, seed))
                .collect::<Result<_>>()?;
            let share = |count: usize| format!("{:.1} %", 100.0 * count as f64 / sets as f64);
            let told = share(reports.iter().filter(|report| is_told(report)).count());
            let mut row = format!("| {} | {name} | {told} |", design.name);
            for place in 0..4 {
                let below = |report: &&Report| {
                    let tests = &report.diagnostics.lack_of_fit;
                    tests.get(place).is_some_and(|test| test.p < 0.01 / 4.0)
                };
                row += &format!(" {} |", share(reports.iter().filter(below).count()));
            }
            println!("{row}");
        }
    }
    Ok(())
}
