//! Time of a fit: of the law alone, and of a refit with the default options.
//!
//! The paper's runs belong to the authors and are not part of this project. They are fitted where
//! `SPARSITY_PLANNER_PAPER_DATA` names the directory that holds `t5-data.csv` and `vit-data.json`.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on panics")]

mod shared;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use shared::{fitted, has_paper_data, paper, point_fit, pool, thread_counts};
use sparsity_law::fit::{FitConfig, Observation, Observations};
use sparsity_law::law::{Data, Loss, NonzeroParams, Sparsity};

/// The synthetic runs of the demo.
fn demo_runs() -> Observations {
    #[derive(serde::Deserialize)]
    struct Row {
        nonzero_params: f64,
        sparsity: f64,
        data: f64,
        loss: f64,
    }
    let rows: Vec<Row> =
        serde_json::from_str(include_str!("../../../examples/demo-runs.json")).unwrap();
    let observation = |row: Row| Observation {
        nonzero_params: NonzeroParams::new(row.nonzero_params).unwrap(),
        sparsity: Sparsity::new(row.sparsity).unwrap(),
        data: Data::new(row.data).unwrap(),
        loss: Loss::new(row.loss).unwrap(),
    };
    Observations::new(rows.into_iter().map(observation).collect())
}

fn fits(criterion: &mut Criterion) {
    let mut cases = vec![("demo", demo_runs(), FitConfig::default())];
    if has_paper_data() {
        cases.push(("T5", paper::t5_runs(), paper::t5_config()));
        cases.push(("ViT", paper::vit_runs(), paper::vit_config()));
    }
    for (name, runs, default) in cases {
        for (what, config) in [("point fit", point_fit(&default)), ("default refit", default)] {
            let mut group = criterion.benchmark_group(format!("{name}, {what}"));
            group.sample_size(10);
            for threads in thread_counts() {
                let pool = pool(threads);
                group.bench_function(BenchmarkId::new("threads", threads), |bencher| {
                    pool.install(|| bencher.iter(|| fitted(&runs, &config)));
                });
            }
            group.finish();
        }
    }
}

criterion_group!(benches, fits);
criterion_main!(benches);
