//! Which runs to make next, tested on tables that others published: the runs that this crate suggests are compared with
//! random, cheapest, D-optimal and V-optimal ones. The output is two Markdown tables.
//!
//! | environment variable | meaning |
//! |---|---|
//! | `SPARSITY_PLANNER_PAPER_DATA` | directory with the authors' files, and with the files of others in `public` |
//!
//! The protocol is that of ScaleBench (arXiv 2604.22753). Every method starts from the cheapest runs and spends a share
//! of the cost of the whole table. The law of the runs that it bought is then judged by the most expensive quarter of
//! the runs, which no method may buy. All methods have the same fit, the same start, the same number of rounds after
//! which the law is fitted again, and the same budget.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on panics")]
#![allow(clippy::print_stdout, reason = "the tables are the result")]

#[path = "../tests/paper/mod.rs"]
#[expect(dead_code, reason = "how the paper fitted is not asked here")]
mod paper;

use std::path::PathBuf;

use nalgebra::{SMatrix, SVector};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use sparsity_law::fit::{
    Control, FitConfig, Knowledge, Observation, Observations, PlannedRun, Report, fit,
};
use sparsity_law::law::{
    CoefficientValues, Coefficients, Data, Density, Loss, NonzeroParams, Repetition, Sparsity,
    T5_C4,
};

/// Shares of the table's cost that are spent.
const SHARES: [f64; 3] = [0.01, 0.05, 0.1];
/// Number of times that the law is fitted again while a budget is spent.
const ROUNDS: usize = 4;
/// Number of seeds for the random choice; their median counts.
const SEEDS: u64 = 21;
/// Number of simulated tables, in which the law holds; they do not count in the medians.
const SIMULATED: u64 = 21;
/// Least number of runs to start with.
const LEAST_START: usize = 8;
/// Largest number of runs in one suggestion.
const SUGGESTED: usize = 20;

/// One published table, sorted by cost with the cheapest run first.
struct Table {
    name: &'static str,
    runs: Vec<Observation>,
    /// Cost of each run. All data that it was trained on counts, even where part of it was repeated.
    costs: Vec<f64>,
    /// Number of runs that may be bought; the others are the judges.
    pool: usize,
    /// Number of runs that every method starts with.
    start: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Choice {
    Random,
    Cheapest,
    /// The runs that most reduce the determinant of the coefficients' covariance.
    D {
        per_cost: bool,
    },
    /// The runs that most reduce the mean variance of the predictions for the judges.
    V {
        per_cost: bool,
    },
    Suggested,
}

const CHOICES: [(Choice, &str); 7] = [
    (Choice::Random, "random"),
    (Choice::Cheapest, "cheapest"),
    (Choice::D { per_cost: false }, "D-optimal"),
    (Choice::D { per_cost: true }, "D, by cost"),
    (Choice::V { per_cost: false }, "V-optimal"),
    (Choice::V { per_cost: true }, "V, by cost"),
    (Choice::Suggested, "suggested"),
];

/// A run without repeated data, and its cost.
fn plain(run: &Observation) -> (Observation, f64) {
    (*run, 6.0 * run.nonzero_params.get() * run.data.get())
}

fn main() {
    let tables = [
        Table::new("T5", paper::t5_runs().as_slice().iter().map(plain).collect()),
        Table::new("ViT", paper::vit_runs().as_slice().iter().map(plain).collect()),
        Table::new("gemstones", public("gemstones")),
        Table::new("OpenLM, C4", public("openlm-c4")),
        Table::new("OpenLM, RPJ", public("openlm-rpj")),
        Table::new("datablations", public("datablations")),
        Table::new("routing, S-Base", public("routing-s-base")),
        Table::new("its checkpoints", public("routing-s-base-checkpoints")),
    ];
    let simulated: Vec<Table> =
        (0..SIMULATED).map(|seed| Table::new("simulated", simulated(seed))).collect();
    for share in SHARES {
        println!("\n{:.0} % of the cost:\n", share * 100.0);
        let names = CHOICES.map(|(_, name)| name).join(" | ");
        println!("| table | runs | start | {names} | all that may be bought |");
        println!("|---|---|---|{}---|", "---|".repeat(CHOICES.len()));
        let rows: Vec<Vec<(f64, usize)>> = tables
            .par_iter()
            .map(|table| CHOICES.map(|(choice, _)| table.judged(choice, share)).to_vec())
            .collect();
        for (table, row) in tables.iter().zip(&rows) {
            let cells: Vec<String> =
                row.iter().map(|(error, bought)| format!("{error:.4} ({bought})")).collect();
            let all: Vec<usize> = (0..table.pool).collect();
            println!(
                "| {} | {} | {} | {} | {:.4} |",
                table.name,
                table.runs.len(),
                table.start,
                cells.join(" | "),
                table.error(&all)
            );
        }
        let worlds: Vec<Vec<f64>> = simulated
            .par_iter()
            .map(|table| CHOICES.map(|(choice, _)| table.judged(choice, share).0).to_vec())
            .collect();
        let cells: Vec<String> = (0..CHOICES.len())
            .map(|of| format!("{:.4}", median(worlds.iter().map(|row| row[of]).collect())))
            .collect();
        println!(
            "| {SIMULATED} simulated by the law, median | {} | {} | {} | |",
            simulated[0].runs.len(),
            simulated[0].start,
            cells.join(" | ")
        );
        let of = |place: usize| rows.iter().map(move |row| row[place].0);
        let medians: Vec<String> =
            (0..CHOICES.len()).map(|place| format!("{:.4}", median(of(place).collect()))).collect();
        println!("| *median* | | | {} | |", medians.join(" | "));
        let last = CHOICES.len() - 1;
        let better: Vec<String> = (0..CHOICES.len())
            .map(|place| {
                let ratios = of(last).zip(of(place)).map(|(own, other)| own / other);
                let ratios: Vec<f64> = ratios.collect();
                let mean = ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64;
                format!("{:.2}, {:.2}", median(ratios), mean.exp())
            })
            .collect();
        println!("| *suggested over it: median, geometric mean* | | | {} | |", better.join(" | "));
    }
}

/// Runs of the T5 law with noise, for a table in which the law holds.
fn simulated(seed: u64) -> Vec<(Observation, f64)> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut runs = Vec::new();
    for n in 0..7 {
        for s in [0.0, 0.5, 0.75, 0.875] {
            for d in 0..7 {
                let n = NonzeroParams::new(1e6 * 2.5_f64.powi(n)).unwrap();
                let sparsity = Sparsity::new(s).unwrap();
                let data = Data::new(1e9 * 2.5_f64.powi(d)).unwrap();
                let loss = T5_C4.coefficients().loss(sparsity.density(), n, data);
                // Box-Muller transform; 1 - u is never 0.
                let (u, v) = (rng.random::<f64>(), rng.random::<f64>());
                let normal = (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos();
                let loss = Loss::new(loss * (0.005 * normal).exp()).unwrap();
                runs.push(plain(&Observation { nonzero_params: n, sparsity, data, loss }));
            }
        }
    }
    runs
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { values[half] } else { (values[half - 1] + values[half]) / 2.0 }
}

/// A table from `public`. The data of a run that repeats its data is what that data is worth; its cost counts all of
/// it.
fn public(name: &str) -> Vec<(Observation, f64)> {
    let directory = PathBuf::from(std::env::var(paper::DIRECTORY).unwrap()).join("public");
    let mut reader = csv::Reader::from_path(directory.join(format!("{name}.csv"))).unwrap();
    let rows = reader.deserialize::<std::collections::BTreeMap<String, String>>();
    rows.map(|row| {
        let row = row.unwrap();
        let value = |column: &str| row.get(column)?.parse::<f64>().ok();
        let trained = value("data").unwrap();
        let mut data = trained;
        if let Some(unique) = value("unique_data") {
            let unique = Data::new(unique.min(data)).unwrap();
            data = Repetition::new(unique, Repetition::PUBLISHED_DECAY).unwrap().effective(data);
        }
        let run = Observation {
            nonzero_params: NonzeroParams::new(value("nonzero_params").unwrap()).unwrap(),
            sparsity: Sparsity::new(value("sparsity").unwrap()).unwrap(),
            data: Data::new(data).unwrap(),
            loss: Loss::new(value("loss").unwrap()).unwrap(),
        };
        (run, 6.0 * run.nonzero_params.get() * trained)
    })
    .collect()
}

fn fitted(runs: &[Observation]) -> Report {
    let options = FitConfig { bootstrap: 0, holdout: Vec::new(), ..FitConfig::default() };
    let set = Observations::new(runs.to_vec()).into();
    fit(&set, &options.check().unwrap(), &Control::NONE).unwrap()
}

fn distinct(runs: &[Observation], of: fn(&Observation) -> f64) -> usize {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.dedup_by(|next, kept| (*next - *kept).abs() <= 1e-3 * kept.abs());
    values.len()
}

impl Table {
    fn new(name: &'static str, mut rows: Vec<(Observation, f64)>) -> Self {
        rows.sort_by(|a, b| a.1.total_cmp(&b.1));
        let (runs, costs): (Vec<Observation>, Vec<f64>) = rows.into_iter().unzip();
        let pool = runs.len() * 3 / 4;
        // Enough runs for the law to describe each quantity that varies at all.
        let quantities: [fn(&Observation) -> f64; 3] = [
            |run| run.nonzero_params.get(),
            |run| run.data.get(),
            |run| run.sparsity.density().get(),
        ];
        let enough = |start: usize| {
            quantities.iter().all(|of| distinct(&runs[..start], *of) >= distinct(&runs, *of).min(3))
        };
        let start = (LEAST_START..pool).find(|start| enough(*start)).unwrap();
        Self { name, pool, start, costs, runs }
    }

    fn chosen(&self, places: &[usize]) -> Vec<Observation> {
        places.iter().map(|place| self.runs[*place]).collect()
    }

    /// Root mean squared residual of `ln L` over the most expensive quarter of the runs.
    fn error(&self, bought: &[usize]) -> f64 {
        let law = fitted(&self.chosen(bought)).coefficients;
        let judges = &self.runs[self.pool..];
        let squares = judges.iter().map(|run| {
            let loss = law.loss(run.sparsity.density(), run.nonzero_params, run.data);
            (loss / run.loss.get()).ln().powi(2)
        });
        (squares.sum::<f64>() / judges.len() as f64).sqrt()
    }

    /// Error of a choice, and the number of runs that it bought; for the random choice, those of the median seed.
    fn judged(&self, choice: Choice, share: f64) -> (f64, usize) {
        let seeds = if choice == Choice::Random { SEEDS } else { 1 };
        let mut all: Vec<(f64, usize)> = (0..seeds)
            .map(|seed| {
                let bought = self.bought(choice, share, seed);
                (self.error(&bought), bought.len())
            })
            .collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        all[all.len() / 2]
    }

    fn bought(&self, choice: Choice, share: f64, seed: u64) -> Vec<usize> {
        let budget = share * self.costs.iter().sum::<f64>();
        let mut bought: Vec<usize> = (0..self.start).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for round in 0..ROUNDS {
            let spent: f64 = bought.iter().map(|place| self.costs[*place]).sum();
            let limit = (budget - spent) / (ROUNDS - round) as f64;
            if limit <= 0.0 {
                break;
            }
            let next = self.next(choice, &bought, limit, &mut rng);
            bought.extend(next);
        }
        bought
    }

    /// The runs that a choice buys for at most `limit`.
    fn next(
        &self,
        choice: Choice,
        bought: &[usize],
        limit: f64,
        rng: &mut ChaCha8Rng,
    ) -> Vec<usize> {
        let mut left: Vec<usize> = (0..self.pool).filter(|place| !bought.contains(place)).collect();
        let (mut next, mut spent) = (Vec::new(), 0.0);
        match choice {
            Choice::Random | Choice::Cheapest => {
                if choice == Choice::Random {
                    left.shuffle(rng);
                }
                for place in left {
                    if spent + self.costs[place] <= limit {
                        spent += self.costs[place];
                        next.push(place);
                    }
                }
            }
            Choice::D { per_cost } | Choice::V { per_cost } => {
                let own = fitted(&self.chosen(bought));
                let mut design = Design::new(self, &own, bought);
                loop {
                    let score = |place: &usize| {
                        let gain = match choice {
                            Choice::D { .. } => design.lowers_determinant(*place),
                            _ => design.lowers_variance(*place),
                        };
                        if per_cost { gain / self.costs[*place] } else { gain }
                    };
                    let paid = left.iter().filter(|p| spent + self.costs[**p] <= limit);
                    let scored = paid.map(|place| (*place, score(place)));
                    let best = scored.max_by(|a, b| a.1.total_cmp(&b.1));
                    let Some((place, _)) = best else { break };
                    design.buy(place);
                    left.retain(|other| *other != place);
                    spent += self.costs[place];
                    next.push(place);
                }
            }
            Choice::Suggested => {
                // Ask again while money is left, as a user of the service would; the table has each run only once.
                loop {
                    let mut all = bought.to_vec();
                    all.extend(&next);
                    let found = self.suggested(&all, &left, limit - spent);
                    if found.is_empty() {
                        break;
                    }
                    left.retain(|place| !found.contains(place));
                    spent += found.iter().map(|place| self.costs[*place]).sum::<f64>();
                    next.extend(found);
                }
            }
        }
        next
    }

    /// The suggested runs for the loss of the model at the centre of the judges.
    fn suggested(&self, bought: &[usize], left: &[usize], limit: f64) -> Vec<usize> {
        let candidates: Vec<PlannedRun> = left
            .iter()
            .map(|place| {
                let run = self.runs[*place];
                PlannedRun {
                    nonzero_params: run.nonzero_params,
                    sparsity: run.sparsity,
                    level: None,
                    data: run.data,
                    compute: self.costs[*place],
                }
            })
            .collect();
        if candidates.iter().all(|run| run.compute > limit) {
            return Vec::new();
        }
        let runs = Observations::new(self.chosen(bought));
        let own = fitted(runs.as_slice());
        let judges = &self.runs[self.pool..];
        let middle = |of: fn(&Observation) -> f64| {
            (judges.iter().map(|run| of(run).ln()).sum::<f64>() / judges.len() as f64).exp()
        };
        let n = NonzeroParams::new(middle(|run| run.nonzero_params.get())).unwrap();
        let d = Data::new(middle(|run| run.data.get())).unwrap();
        let x = Density::new(middle(|run| run.sparsity.density().get()).min(1.0)).unwrap();
        let noise = own.diagnostics.noise;
        let options = FitConfig::default();
        let toward = Some((n, d));
        let known = Knowledge::new(&own.coefficients, &runs, &options, noise, toward).unwrap();
        let answer = |law: &Coefficients| Some(law.loss(x, n, d).ln());
        let Ok(found) = known.suggest(answer, &candidates, limit, SUGGESTED) else {
            return Vec::new();
        };
        let mut places: Vec<usize> = found.runs.iter().map(|run| left[run.candidate]).collect();
        places.sort_unstable();
        places.dedup();
        places
    }
}

type Slope = SVector<f64, 7>;

/// What the bought runs say about the seven coefficients, linearised. It is independent of the crate's own design code.
struct Design {
    slopes: Vec<Slope>,
    judges: std::ops::Range<usize>,
    covariance: SMatrix<f64, 7, 7>,
}

impl Design {
    fn new(table: &Table, own: &Report, bought: &[usize]) -> Self {
        let law = own.coefficients;
        let count = table.runs.len() as f64;
        let middle = |of: fn(&Observation) -> f64| {
            table.runs.iter().map(|run| of(run).ln()).sum::<f64>() / count
        };
        let ln_n = middle(|run| run.nonzero_params.get());
        let ln_d = middle(|run| run.data.get());
        let slopes: Vec<Slope> =
            table.runs.iter().map(|run| slope(law.values(), (ln_n, ln_d), run)).collect();
        // Before any run, each coefficient is known to within a factor of e^3.
        let prior = (own.diagnostics.noise / 3.0).powi(2);
        let mut information = SMatrix::<f64, 7, 7>::identity() * prior;
        for place in bought {
            information += slopes[*place] * slopes[*place].transpose();
        }
        let covariance = information.try_inverse().unwrap();
        Self { slopes, judges: table.pool..table.runs.len(), covariance }
    }

    fn lowers_determinant(&self, place: usize) -> f64 {
        let slope = &self.slopes[place];
        slope.dot(&(self.covariance * slope)).ln_1p()
    }

    fn lowers_variance(&self, place: usize) -> f64 {
        let slope = &self.slopes[place];
        let along = self.covariance * slope;
        let judges = self.slopes[self.judges.clone()].iter();
        let sum: f64 = judges.map(|judge| judge.dot(&along).powi(2)).sum();
        sum / (1.0 + slope.dot(&along))
    }

    fn buy(&mut self, place: usize) {
        let slope = self.slopes[place];
        let along = self.covariance * slope;
        self.covariance -= along * along.transpose() / (1.0 + slope.dot(&along));
    }
}

/// Derivatives of `ln L` in the logarithms of the amplitudes, taken at the middle of the runs, and of the exponents.
fn slope(v: CoefficientValues, (ln_n, ln_d): (f64, f64), run: &Observation) -> Slope {
    let (n, d) = (run.nonzero_params.get().ln(), run.data.get().ln());
    let x = run.sparsity.density().get().ln();
    let sparse = v.a_s * (v.b_s * x - v.b_n * n).exp();
    let rest = v.c_s * (-v.b_n * n).exp();
    let data = if v.a_d > 0.0 { (v.b_d * (v.a_d.ln() - d)).exp() } else { 0.0 };
    let loss = sparse + rest + data + v.c;
    Slope::from([
        sparse,
        sparse * v.b_s * x,
        rest,
        -(sparse + rest) * v.b_n * (n - ln_n),
        data,
        -data * v.b_d * (d - ln_d),
        v.c,
    ]) / loss
}
