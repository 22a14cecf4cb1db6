//! Runs and options that the benchmarks of the fit share.

#[path = "../../tests/paper/mod.rs"]
pub mod paper;

use sparsity_law::fit::{Control, FitConfig, Observations, Report, fit};

/// Whether the paper's own runs are available.
pub fn has_paper_data() -> bool {
    std::env::var_os(paper::DIRECTORY).is_some()
}

/// Options for the law alone: all starts and the profiles, without resamples and hold-outs.
pub fn point_fit(config: &FitConfig) -> FitConfig {
    FitConfig { bootstrap: 0, holdout: Vec::new(), ..config.clone() }
}

/// One thread, and as many as there are cores where that is more.
pub fn thread_counts() -> Vec<usize> {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    if all > 1 { vec![1, all] } else { vec![1] }
}

/// A pool with this number of threads.
pub fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

/// A fit on the current thread pool.
pub fn fitted(runs: &Observations, config: &FitConfig) -> Report {
    fit(&runs.clone().into(), &config.clone().check().unwrap(), &Control::NONE).unwrap()
}
