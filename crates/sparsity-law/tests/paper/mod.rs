//! The paper's own runs, read from the authors' files in the directory that [`DIRECTORY`] names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sparsity_law::fit::{FitConfig, Observation, Observations, Residual};
use sparsity_law::law::{Data, Loss, NonzeroParams, Sparsity};

/// Name of the environment variable with the directory.
pub const DIRECTORY: &str = "SPARSITY_PLANNER_PAPER_DATA";

pub fn file(name: &str) -> String {
    let directory = std::env::var(DIRECTORY).unwrap_or_else(|_| {
        panic!("{DIRECTORY} names the directory with the authors' run data");
    });
    std::fs::read_to_string(PathBuf::from(directory).join(name)).unwrap()
}

pub fn observation(total_params: f64, sparsity: f64, data: f64, loss: f64) -> Observation {
    Observation {
        nonzero_params: NonzeroParams::new(total_params * (1.0 - sparsity)).unwrap(),
        sparsity: Sparsity::new(sparsity).unwrap(),
        data: Data::new(data).unwrap(),
        loss: Loss::new(loss).unwrap(),
    }
}

/// The T5 runs: 24 blocks of 12 d^2 parameters, with d = 768 at scale 1; data in steps.
pub fn t5_runs() -> Observations {
    #[derive(serde::Deserialize)]
    struct Row {
        sparsity: f64,
        scale: f64,
        #[serde(rename = "val-loss")]
        loss: f64,
        steps: f64,
    }
    let text = file("t5-data.csv");
    let rows = csv::Reader::from_reader(text.as_bytes()).into_deserialize::<Row>();
    let total = |scale: f64| 24.0 * 12.0 * 768.0 * 768.0 * scale;
    let runs = rows.map(Result::unwrap);
    Observations::new(
        runs.map(|row| observation(total(row.scale), row.sparsity, row.steps, row.loss)).collect(),
    )
}

/// The ViT runs: 12 blocks of 12 d^2 parameters, with d = 768 at scale 1; data in images. The file holds columns of
/// values by row name.
pub fn vit_runs() -> Observations {
    let columns: BTreeMap<String, BTreeMap<String, f64>> =
        serde_json::from_str(&file("vit-data.json")).unwrap();
    let runs = columns["scale"].iter().map(|(row, scale)| {
        let total = 12.0 * 12.0 * 768.0 * 768.0 * scale;
        let value = |column: &str| columns[column][row];
        observation(total, value("sparsity"), value("total_examples"), value("val-loss"))
    });
    Observations::new(runs.collect())
}

pub fn t5_config() -> FitConfig {
    FitConfig { residual: Residual::Log, delta: 1e-3.into(), ..FitConfig::default() }
}

pub fn vit_config() -> FitConfig {
    FitConfig { residual: Residual::Linear, delta: 1e-2.into(), ..FitConfig::default() }
}
