//! The fit beside the published way to do it, and how it grows with the runs: one run, one machine,
//! two Markdown tables.
//!
//! | from | what | default |
//! |---|---|---|
//! | `SPARSITY_PLANNER_PAPER_DATA` | directory with the authors' `t5-data.csv` and `vit-data.json`; without it there is no first table | |
//! | `PYTHON` | an interpreter with NumPy and SciPy | `python3` |
//! | `-- --large` | 100,000 runs too | |

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on panics")]
#![allow(clippy::print_stdout, reason = "the tables are the result")]

mod shared;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use shared::{fitted, has_paper_data, paper, point_fit, pool, thread_counts};
use sparsity_planner::fit::{FitConfig, Observation, Observations};
use sparsity_planner::law::{Data, Loss, NonzeroParams, Sparsity, T5_C4};

/// Fits of which the median time is taken.
const REPEATS: usize = 5;
/// Runs of the SciPy script, each with other starts, of which the median time is taken.
const SCIPY_SEEDS: usize = 5;

fn main() {
    let large = std::env::args().any(|argument| argument == "--large");
    if has_paper_data() {
        beside_scipy();
    } else {
        println!("No comparison with SciPy: {} is not set.\n", paper::DIRECTORY);
    }
    many_runs(if large { &[1_000, 10_000, 100_000] } else { &[1_000, 10_000] });
}

fn beside_scipy() {
    println!(
        "Median time of SciPy from {SCIPY_SEEDS} seeds, with the best and worst objective of these, \
         and of {REPEATS} of each fit:\n"
    );
    println!("| runs | what | threads | seconds | of SciPy's | objective |");
    println!("|---|---|---|---|---|---|");
    let cases = [
        ("T5", "t5-data.csv", paper::t5_runs(), paper::t5_config()),
        ("ViT", "vit-data.json", paper::vit_runs(), paper::vit_config()),
    ];
    for (name, file, runs, default) in cases {
        let scipy = scipy(file);
        let row = |what: &str, threads: usize, seconds: f64, objective: &str| {
            let ratio = seconds / scipy.seconds;
            let ratio =
                if ratio < 0.1 { format!("1/{:.0}", ratio.recip()) } else { format!("{ratio:.2}") };
            println!("| {name} | {what} | {threads} | {seconds:.4} | {ratio} | {objective} |");
        };
        let what = format!("SciPy {}, {} starts", scipy.scipy, scipy.starts);
        let (least, most) = scipy.objectives;
        row(&what, 1, scipy.seconds, &format!("{least:.6e} to {most:.6e}"));
        let point = point_fit(&default);
        let what = format!("point fit, {} starts", point.starts);
        let (seconds, objective) = median_fit(&runs, &point, 1);
        row(&what, 1, seconds, &objective);
        let what = format!("default refit, {} resamples", default.bootstrap);
        for threads in thread_counts() {
            let (seconds, objective) = median_fit(&runs, &default, threads);
            row(&what, threads, seconds, &objective);
        }
    }
    println!();
}

/// SciPy's runs together.
struct Scipy {
    seconds: f64,
    /// The best and the worst of what its runs found.
    objectives: (f64, f64),
    starts: u32,
    scipy: String,
}

fn scipy(file: &str) -> Scipy {
    /// What the script prints.
    #[derive(serde::Deserialize)]
    struct Printed {
        seconds: f64,
        objective: f64,
        starts: u32,
        scipy: String,
    }
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let data = PathBuf::from(std::env::var_os(paper::DIRECTORY).unwrap()).join(file);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/with_scipy.py");
    let run = |seed: usize| -> Printed {
        let seed = seed.to_string();
        let output = Command::new(&python).arg(script).arg(&data).arg(seed).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let mut runs: Vec<Printed> = (0..SCIPY_SEEDS).map(run).collect();
    let objectives = || runs.iter().map(|run| run.objective);
    let range = (
        objectives().fold(f64::INFINITY, f64::min),
        objectives().fold(f64::NEG_INFINITY, f64::max),
    );
    runs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let Printed { seconds, starts, scipy, .. } = runs.swap_remove(SCIPY_SEEDS / 2);
    Scipy { seconds, objectives: range, starts, scipy }
}

/// Median seconds, and the objective, which is the same every time.
fn median_fit(runs: &Observations, config: &FitConfig, threads: usize) -> (f64, String) {
    let pool = pool(threads);
    let (mut times, objectives): (Vec<Duration>, Vec<f64>) =
        (0..REPEATS).map(|_| timed(runs, config, &pool)).unzip();
    times.sort_unstable();
    (times[REPEATS / 2].as_secs_f64(), format!("{:.6e}", objectives[0]))
}

fn timed(runs: &Observations, config: &FitConfig, pool: &rayon::ThreadPool) -> (Duration, f64) {
    let begin = Instant::now();
    let report = pool.install(|| fitted(runs, config));
    (begin.elapsed(), report.objective)
}

/// Default refits of ever more runs. The peak of the memory never falls, so sizes must rise.
fn many_runs(sizes: &[usize]) {
    let threads = *thread_counts().last().unwrap();
    let config = FitConfig::default();
    println!(
        "Default refits, {} resamples, of synthetic runs that are all different, on {threads} \
         threads, once each:\n",
        config.bootstrap
    );
    println!("| runs | seconds | microseconds a run and resample | peak memory, MiB | objective |");
    println!("|---|---|---|---|---|");
    for &size in sizes {
        let runs = different_runs(size);
        let (time, objective) = timed(&runs, &config, &pool(threads));
        let seconds = time.as_secs_f64();
        let each = seconds * 1e6 / (size as f64 * f64::from(config.bootstrap));
        let memory =
            peak_memory().map_or_else(|| "unknown".to_owned(), |kib| (kib / 1024).to_string());
        println!("| {size} | {seconds:.1} | {each:.3} | {memory} | {objective:.6e} |");
    }
}

/// Runs of the published T5 law with 1 % noise, of which no two share a size, a sparsity or an
/// amount of data.
fn different_runs(count: usize) -> Observations {
    let mut random = ChaCha8Rng::seed_from_u64(count as u64);
    let run = |_| {
        let mut between = |low: f64, high: f64| low * (high / low).powf(random.random::<f64>());
        let nonzero_params = NonzeroParams::new(between(1e6, 1e9)).unwrap();
        let sparsity = Sparsity::new(1.0 - between(1.0 / 32.0, 1.0)).unwrap();
        let data = Data::new(between(1e9, 1e12)).unwrap();
        // Box and Muller; 1 - u is never 0.
        let (u, v) = (random.random::<f64>(), random.random::<f64>());
        let normal = (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        let expected = T5_C4.coefficients().loss(sparsity.density(), nonzero_params, data);
        let loss = Loss::new(expected * (0.01 * normal).exp()).unwrap();
        Observation { nonzero_params, sparsity, data, loss }
    };
    Observations::new((0..count).map(run).collect())
}

/// `VmHWM` of this process; nothing where the system does not tell.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
