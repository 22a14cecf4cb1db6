//! The mathematics and the fit without the service: answers of a published law, and of a law fitted on one's own runs,
//! with intervals.
//!
//! `cargo run -p sparsity-law --example library`

#![allow(clippy::print_stdout, reason = "the answers are the result")]

use std::error::Error;

use sparsity_law::fit::{Control, FitConfig, Observation, Observations, fit};
use sparsity_law::law::{
    Coefficients, Compute, Data, DomainError, Factor, FlopMode, FlopsPerParam, Loss, NonzeroParams,
    PruningSchedule, Sparsity, StepCost, T5_C4, TrainingCost, contour_compute, ln_contour_ratio,
    optimal_density, optimal_sparsity,
};

fn cost(step: impl Into<StepCost>) -> TrainingCost {
    TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), step)
}

/// Answers of a published law for 100 M non-zero parameters and 1e20 FLOPs.
fn published() -> Result<(), Box<dyn Error>> {
    let law = T5_C4.coefficients();
    let (n, c) = (NonzeroParams::new(1e8)?, Compute::new(1e20)?);
    let some = StepCost::of_share(0.9, 0.7).map_err(|(field, error)| format!("{field} {error}"))?;
    let modes = [
        ("zeros cost as much", cost(FlopMode::Dense)),
        ("some zeros are skipped", cost(some)),
        ("zeros are free", cost(FlopMode::Sparse)),
    ];
    for (name, cost) in &modes {
        let best = optimal_sparsity(law, cost, n, c)?;
        let sparsity = 100.0 * best.sparsity().get();
        println!(
            "{name}: {sparsity:.1} % sparse, loss {:.4} on {:.3e} tokens",
            best.loss,
            best.data.get()
        );
    }
    let half = Sparsity::new(0.5)?.density();
    let gain = Factor::gain(law, None, half);
    println!("at 50 % they are worth {:.3e} dense parameters", gain.times(1e8).value);
    let (_, free) = &modes[2];
    let ratio = ln_contour_ratio(law, free, half).ok_or("50 % has its budget")?;
    println!(
        "50 % is best at {:.3e} FLOPs where zeros are free",
        contour_compute(law, free, n, ratio)
    );
    Ok(())
}

/// Runs on a grid of sizes, sparsities and data, with losses of the published law that are each slightly off.
fn runs() -> Result<Vec<Observation>, DomainError> {
    let mut runs = Vec::new();
    for n in [4e6, 1e7, 2.5e7, 6.3e7] {
        for s in [0.0, 0.5, 0.75, 0.875] {
            for d in [3e9, 9e9, 2.7e10, 8.1e10] {
                let (nonzero_params, sparsity) = (NonzeroParams::new(n)?, Sparsity::new(s)?);
                let data = Data::new(d)?;
                let loss = T5_C4.coefficients().loss(sparsity.density(), nonzero_params, data);
                let off = 1.0 + 0.003 * (37.0 * runs.len() as f64).sin();
                runs.push(Observation {
                    nonzero_params,
                    sparsity,
                    data,
                    loss: Loss::new(loss * off)?,
                });
            }
        }
    }
    Ok(runs)
}

/// A law fitted on these runs, and its answer to the same question.
fn fitted() -> Result<(), Box<dyn Error>> {
    let config = FitConfig { bootstrap: 200, ..FitConfig::default() }.check();
    let config = config.map_err(|errors| format!("{errors:?}"))?;
    let report = fit(&Observations::new(runs()?).into(), &config, &Control::NONE)?;
    let ensemble = report.ensemble.as_ref().ok_or("resamples were asked for")?;
    for (name, interval) in ensemble.coefficient_intervals() {
        println!("{:<4} {:.4e} to {:.4e}", name.as_str(), interval.low, interval.high);
    }
    let (n, c, cost) = (NonzeroParams::new(1e8)?, Compute::new(1e20)?, cost(FlopMode::Sparse));
    let best = |law: &Coefficients| 100.0 * optimal_density(law, &cost, n, c).sparsity().get();
    let interval = ensemble.interval(|member| best(&member.coefficients));
    println!(
        "where zeros are free: {:.1} % sparse ({:.1} to {:.1})",
        best(&report.coefficients),
        interval.low,
        interval.high
    );
    for warning in &report.warnings {
        println!("{}: {}", warning.code.as_str(), warning.detail);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    published()?;
    fitted()
}
