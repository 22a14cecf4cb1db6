//! Measures how often the intervals contain new runs, over tables of real runs:
//!
//! ```sh
//! cargo run --release -p sparsity-law --example coverage -- DIRECTORY [RESAMPLES] [DELTA]
//! ```
//!
//! The directory holds CSV files with the columns `nonzero_params`, `sparsity`, `data` and `loss`. In each table the
//! cheapest three quarters of the runs are fitted, by size times data (by size where all have the same data, or the
//! name begins with `routing`). Each of the other runs is then compared with the 95 % interval of a new run. `DELTA` is
//! the delta of the Huber loss; with `without` in its place, the intervals are those of the resamples alone, at a delta
//! of 0.001. Prints the table of `benches/coverage.md`.

#![allow(clippy::print_stdout, reason = "the table is what is asked for")]

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sparsity_law::fit::{
    Control, Delta, FitConfig, Holdout, Observation, Observations, Residual, fit,
};
use sparsity_law::law::{Data, Loss, NonzeroParams, Reach, SampledLaw, Sparsity, Widening};

/// Share of the runs that are fitted.
const FITTED: f64 = 0.75;
/// Nominal coverage of the intervals.
const LEVEL: f64 = 0.95;

/// The runs of a table in rising order of cost, and how many of them are fitted.
struct Table {
    name: String,
    runs: Vec<Observation>,
    fitted: usize,
}

impl Table {
    fn read(path: &Path) -> Result<Self> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut reader = csv::Reader::from_path(path)?;
        let header = reader.headers()?.clone();
        let column = |name: &str| {
            let found = header.iter().position(|column| column == name);
            found.with_context(|| format!("{} has no column {name}", path.display()))
        };
        let [n, s, d, l] = ["nonzero_params", "sparsity", "data", "loss"].map(column);
        let (n, s, d, l) = (n?, s?, d?, l?);
        let mut runs = Vec::new();
        for record in reader.records() {
            let record = record?;
            let number = |place: usize| record[place].parse::<f64>();
            runs.push(Observation {
                nonzero_params: NonzeroParams::new(number(n)?)?,
                sparsity: Sparsity::new(number(s)?)?,
                data: Data::new(number(d)?)?,
                loss: Loss::new(number(l)?)?,
            });
        }
        let by_size =
            name.starts_with("routing") || runs.windows(2).all(|pair| pair[0].data == pair[1].data);
        let cost = |run: &Observation| {
            run.nonzero_params.get() * if by_size { 1.0 } else { run.data.get() }
        };
        runs.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
        let fitted = (FITTED * runs.len() as f64).round() as usize;
        Ok(Self { name, runs, fitted })
    }
}

/// Results for the runs that were not fitted.
struct Outcome {
    asked: usize,
    inside: usize,
    /// Mean width of the intervals of the logarithm of the loss.
    width: f64,
    /// Mean interval score (Winkler 1972) for the logarithm of the loss: the width, plus 2 / (1 - level) times the
    /// distance by which the run lies outside.
    score: f64,
}

fn outcome(table: &Table, config: FitConfig, widen: bool) -> Result<Outcome> {
    let (fitted, others) = table.runs.split_at(table.fitted);
    let config = config.check().map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
    let report = fit(&Observations::new(fitted.to_vec()).into(), &config, &Control::NONE)?;
    let measured = |loss, noise| Residual::Log.measured(loss, noise);
    let mut law = SampledLaw::new(report.coefficients, report.ensemble.clone(), measured);
    if widen {
        law = law.holding_means();
        if let Some(error) = report.diagnostics.rolling {
            law = law.widened(Widening { error, reach: Reach::of(&report.support) }, measured);
        }
    }
    let mut found = Outcome { asked: others.len(), inside: 0, width: 0.0, score: 0.0 };
    for run in others {
        let intervals = law.loss_intervals(run.sparsity.density(), run.nonzero_params, run.data);
        let (_, interval) = intervals.context("a law without intervals")?;
        let [low, high, loss] = [interval.low, interval.high, run.loss.get()].map(f64::ln);
        found.inside += usize::from((low..=high).contains(&loss));
        found.width += high - low;
        let outside = (low - loss).max(loss - high).max(0.0);
        found.score += high - low + 2.0 / (1.0 - LEVEL) * outside;
    }
    found.width /= others.len() as f64;
    found.score /= others.len() as f64;
    Ok(found)
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().context("say in which directory the tables are")?;
    let resamples = arguments.next().map_or(Ok(1000), |text| text.parse())?;
    let last = arguments.next();
    let widen = last.as_deref() != Some("without");
    let delta = match last.as_deref() {
        None => Delta::Auto,
        Some("without") => Delta::Fixed(1e-3),
        Some(text) => Delta::Fixed(text.parse()?),
    };
    let config = FitConfig {
        bootstrap: resamples,
        delta,
        holdout: vec![Holdout::Rolling],
        ..FitConfig::default()
    };
    let entries = std::fs::read_dir(&directory)?.collect::<Result<Vec<_>, _>>()?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "csv"));
    paths.sort();
    ensure!(!paths.is_empty(), "{directory} has no CSV files");

    println!("| table | fitted | asked | inside | mean width | mean score |");
    println!("|---|---|---|---|---|---|");
    let (mut tables, mut shares, mut scores) = (0.0, 0.0, 0.0);
    let (mut asked, mut inside) = (0, 0);
    for path in paths {
        let table = Table::read(&path)?;
        match outcome(&table, config.clone(), widen) {
            Ok(found) => {
                let share = found.inside as f64 / found.asked as f64;
                println!(
                    "| {} | {} | {} | {:.0} % | {:.4} | {:.4} |",
                    table.name,
                    table.fitted,
                    found.asked,
                    100.0 * share,
                    found.width,
                    found.score
                );
                tables += 1.0;
                shares += share;
                scores += found.score;
                asked += found.asked;
                inside += found.inside;
            }
            Err(error) => println!("| {} | {} | | {error} | | |", table.name, table.fitted),
        }
    }
    println!(
        "\nmean over tables: {:.1} % inside, score {:.4}; over runs: {:.1} % inside",
        100.0 * shares / tables,
        scores / tables,
        100.0 * inside as f64 / asked as f64
    );
    Ok(())
}
