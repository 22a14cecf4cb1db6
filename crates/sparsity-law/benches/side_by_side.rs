//! The fit compared with the published method, and how its time grows with the number of runs. One run on one machine
//! prints two Markdown tables.
//!
//! | option | meaning | default |
//! |---|---|---|
//! | `SPARSITY_PLANNER_PAPER_DATA` | environment variable: directory with the authors' `t5-data.csv` and `vit-data.json`; without it the first table is omitted | |
//! | `PYTHON` | environment variable: an interpreter with NumPy and SciPy | `python3` |
//! | `-- --large` | argument: also fit 100,000 runs | |

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on panics")]
#![allow(clippy::print_stdout, reason = "the tables are the result")]

mod shared;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use shared::{fitted, has_paper_data, paper, point_fit, pool, thread_counts};
use sparsity_law::fit::{FitConfig, Observation, Observations, Report};
use sparsity_law::law::{Data, Loss, NonzeroParams, Sparsity, T5_C4};

/// Number of fits, whose median time is taken.
const REPEATS: usize = 5;
/// Number of runs of the SciPy script, each with different starts, whose median time is taken.
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
    println!("| runs | what | threads | seconds | CPU seconds | CPU, of SciPy's | objective |");
    println!("|---|---|---|---|---|---|---|");
    let cases = [
        ("T5", "t5-data.csv", paper::t5_runs(), paper::t5_config()),
        ("ViT", "vit-data.json", paper::vit_runs(), paper::vit_config()),
    ];
    for (name, file, runs, default) in cases {
        let scipy = scipy(file);
        let row = |what: &str, threads: usize, time: Time, objective: &str| {
            let Time { seconds, cpu_seconds } = time;
            let ratio = cpu_seconds / scipy.time.cpu_seconds;
            let ratio =
                if ratio < 0.1 { format!("1/{:.0}", ratio.recip()) } else { format!("{ratio:.2}") };
            println!(
                "| {name} | {what} | {threads} | {seconds:.4} | {cpu_seconds:.4} | {ratio} | \
                 {objective} |"
            );
        };
        let (least, most) = scipy.objectives;
        let what = format!("SciPy {}, {} starts", scipy.scipy, scipy.starts);
        row(&what, 1, scipy.time, &format!("{least:.6e} to {most:.6e}"));
        let point = point_fit(&default);
        let what = format!("point fit, {} starts", point.starts);
        let (time, objective) = median_fit(&runs, &point, 1);
        row(&what, 1, time, &objective);
        let what = format!("default refit, {} resamples", default.bootstrap);
        for threads in thread_counts() {
            let (time, objective) = median_fit(&runs, &default, threads);
            row(&what, threads, time, &objective);
        }
    }
    println!();
}

/// Elapsed time and CPU time of some work; other load on the machine changes the latter only little.
#[derive(Clone, Copy, serde::Deserialize)]
struct Time {
    seconds: f64,
    cpu_seconds: f64,
}

impl Time {
    fn of<T>(work: impl FnOnce() -> T) -> (Self, T) {
        let (begin, cpu_begin) = (Instant::now(), cpu());
        let result = work();
        let cpu_seconds = (cpu() - cpu_begin).as_secs_f64();
        (Self { seconds: begin.elapsed().as_secs_f64(), cpu_seconds }, result)
    }

    /// The median of each of the two times separately.
    fn median(times: &[Self]) -> Self {
        let of = |value: fn(&Self) -> f64| {
            let mut values: Vec<f64> = times.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Self { seconds: of(|time| time.seconds), cpu_seconds: of(|time| time.cpu_seconds) }
    }
}

/// CPU time of all threads of this process.
fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap().into()
}

/// The results of all runs of the SciPy script.
struct Scipy {
    time: Time,
    /// Best and worst objective over these runs.
    objectives: (f64, f64),
    starts: u32,
    scipy: String,
}

fn scipy(file: &str) -> Scipy {
    /// The output of the script.
    #[derive(serde::Deserialize)]
    struct Printed {
        #[serde(flatten)]
        time: Time,
        objective: f64,
        starts: u32,
        scipy: String,
    }
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let data = PathBuf::from(std::env::var_os(paper::DIRECTORY).unwrap()).join(file);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches/with_scipy.py");
    let run = |seed: usize| -> Printed {
        let seed = seed.to_string();
        let output = Command::new(&python).arg(script).arg(&data).arg(seed).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let runs: Vec<Printed> = (0..SCIPY_SEEDS).map(run).collect();
    let objectives = || runs.iter().map(|run| run.objective);
    Scipy {
        time: Time::median(&runs.iter().map(|run| run.time).collect::<Vec<_>>()),
        objectives: (
            objectives().fold(f64::INFINITY, f64::min),
            objectives().fold(f64::NEG_INFINITY, f64::max),
        ),
        starts: runs[0].starts,
        scipy: runs[0].scipy.clone(),
    }
}

/// The median time, and the objective, which is the same for every repeat.
fn median_fit(runs: &Observations, config: &FitConfig, threads: usize) -> (Time, String) {
    let pool = pool(threads);
    let fit = || Time::of(|| pool.install(|| fitted(runs, config)));
    let (times, reports): (Vec<Time>, Vec<Report>) = (0..REPEATS).map(|_| fit()).unzip();
    (Time::median(&times), format!("{:.6e}", reports[0].objective))
}

/// Default refits with more and more runs. The peak memory never falls, so the sizes must rise.
fn many_runs(sizes: &[usize]) {
    let threads = *thread_counts().last().unwrap();
    let config = FitConfig::default();
    println!(
        "Default refits, {} resamples, of synthetic runs that are all different, on {threads} \
         threads, once each:\n",
        config.bootstrap
    );
    println!(
        "| runs | seconds | CPU seconds | CPU microseconds a run and resample | peak memory, MiB |"
    );
    println!("|---|---|---|---|---|");
    for &size in sizes {
        let runs = different_runs(size);
        let pool = pool(threads);
        let (time, _) = Time::of(|| pool.install(|| fitted(&runs, &config)));
        let Time { seconds, cpu_seconds } = time;
        let each = cpu_seconds * 1e6 / (size as f64 * f64::from(config.bootstrap));
        let memory = peak_memory().map_or_else(|| "?".to_owned(), |kib| (kib / 1024).to_string());
        println!("| {size} | {seconds:.1} | {cpu_seconds:.1} | {each:.3} | {memory} |");
    }
}

/// Runs of the published T5 law with 1 % noise, no two of which have the same size, sparsity or amount of data.
fn different_runs(count: usize) -> Observations {
    let mut random = ChaCha8Rng::seed_from_u64(count as u64);
    let run = |_| {
        let mut between = |low: f64, high: f64| low * (high / low).powf(random.random::<f64>());
        let nonzero_params = NonzeroParams::new(between(1e6, 1e9)).unwrap();
        let sparsity = Sparsity::new(1.0 - between(1.0 / 32.0, 1.0)).unwrap();
        let data = Data::new(between(1e9, 1e12)).unwrap();
        // Box-Muller transform; 1 - u is never 0.
        let (u, v) = (random.random::<f64>(), random.random::<f64>());
        let normal = (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        let expected = T5_C4.coefficients().loss(sparsity.density(), nonzero_params, data);
        let loss = Loss::new(expected * (0.01 * normal).exp()).unwrap();
        Observation { nonzero_params, sparsity, data, loss }
    };
    Observations::new((0..count).map(run).collect())
}

/// Peak memory of this process in KiB (`VmHWM`); `None` where the system does not report it.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
