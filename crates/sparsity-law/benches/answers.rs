//! Time of an answer without HTTP: the optimal sparsity and its intervals over a thousand resampled laws, once with the
//! prepared laws and once computed directly.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on panics")]
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sparsity_law::law::{
    CoefficientValues, Coefficients, Compute, Density, Ensemble, FlopMode, FlopsPerParam, Member,
    NonzeroParams, Optimum, PreparedEnsemble, PruningSchedule, Recommendation, SampledLaw, T5_C4,
    TrainingCost, optimal_density, optimal_sparsity,
};

/// Number of questions, over four decades each of size and compute.
const QUESTIONS: u32 = 1024;

/// An ensemble of laws that scatter around the published one.
fn ensemble() -> Ensemble {
    let v = T5_C4.coefficients().values();
    let member = |i: u32| {
        let wave = |phase: u32, size: f64| (size * f64::from(i * phase).sin()).exp();
        let values = CoefficientValues {
            a_s: v.a_s * wave(3, 0.2),
            b_s: v.b_s * wave(5, 0.2),
            c_s: v.c_s * wave(7, 0.2),
            b_n: v.b_n * wave(11, 0.1),
            a_d: v.a_d * wave(13, 1.0),
            b_d: v.b_d * wave(17, 0.5),
            c: v.c,
        };
        Member { coefficients: Coefficients::new(values).unwrap(), noise: 0.001 }
    };
    Ensemble::new((0..1000).map(member), 0.95, 0.0245).unwrap()
}

fn questions() -> Vec<(NonzeroParams, Compute)> {
    (0..QUESTIONS)
        .map(|i| {
            let (size, compute) = (f64::from(i % 32) / 8.0, f64::from(i / 32) / 8.0);
            let compute = 10f64.powf(17.0 + size + compute);
            (NonzeroParams::new(10f64.powf(7.0 + size)).unwrap(), Compute::new(compute).unwrap())
        })
        .collect()
}

fn answers(criterion: &mut Criterion) {
    let ensemble = ensemble();
    let prepared = PreparedEnsemble::new(&ensemble, |loss, noise| loss * (-noise).exp());
    let law = T5_C4.coefficients();
    let questions = questions();
    for mode in [FlopMode::Dense, FlopMode::Sparse] {
        let cost = TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), mode);
        let best = |(n, c)| optimal_sparsity(law, &cost, n, c).unwrap();
        let mut group = criterion.benchmark_group(format!("{}, each", mode.as_str()));
        group.throughput(Throughput::Elements(u64::from(QUESTIONS)));
        group.bench_function("optimal sparsity", |b| {
            b.iter(|| questions.iter().map(|&question| best(question).loss).sum::<f64>());
        });
        group.finish();
        let mut group = criterion.benchmark_group(format!("{}, 1,000 laws", mode.as_str()));
        let (n, c) = questions[500];
        let optimum = best((n, c));
        group.bench_function("interval of the optimal sparsity", |b| {
            b.iter(|| prepared.sparsity_interval(&cost, black_box(n), c, optimum.density));
        });
        group.bench_function("the same by the direct computation", |b| {
            b.iter(|| {
                ensemble.interval(|member| {
                    optimal_density(&member.coefficients, &cost, black_box(n), c).sparsity().get()
                })
            });
        });
        group.finish();
        let mut group = criterion.benchmark_group("1,000 laws");
        group.bench_function("losses", |b| {
            b.iter(|| prepared.losses(optimum.density, black_box(n), optimum.data));
        });
        let sampled =
            SampledLaw::new(*law, Some(ensemble.clone()), |loss, noise| loss * (-noise).exp());
        let recommended = |(n, c)| {
            let found = Recommendation::new(law, &cost, n, c).unwrap();
            sampled.recommendation_intervals(&cost, n, c, &found).unwrap().loss.low
        };
        group.throughput(Throughput::Elements(u64::from(QUESTIONS)));
        group.bench_function(
            format!("all intervals of a recommendation, {}", mode.as_str()),
            |b| {
                b.iter(|| questions.iter().map(|&question| recommended(question)).sum::<f64>());
            },
        );
        group.bench_function(format!("its first two intervals, {}", mode.as_str()), |b| {
            b.iter(|| {
                let both = |&(n, c): &(NonzeroParams, Compute)| {
                    let best = best((n, c));
                    sampled.best_intervals(&cost, n, c, &best).unwrap()[0].low
                };
                questions.iter().map(both).sum::<f64>()
            });
        });
        group.throughput(Throughput::Elements(1));
        let losses = prepared.losses(optimum.density, n, optimum.data);
        group.bench_function("interval of values", |b| {
            b.iter(|| prepared.interval_of(black_box(&losses).clone()));
        });
        group.bench_function("intervals of loss, dense loss and gain", |b| {
            let Optimum { density, data, .. } = optimum;
            b.iter(|| prepared.optimum_intervals(density, black_box(n), data, data));
        });
        group.bench_function("interval of the chinchilla ratio", |b| {
            b.iter(|| prepared.chinchilla_interval(&cost, black_box(n), c));
        });
        group.bench_function("interval of the loss by the direct computation", |b| {
            b.iter(|| {
                ensemble.interval(|member| {
                    member.coefficients.loss(black_box(Density::DENSE), n, optimum.data)
                })
            });
        });
        group.finish();
    }
}

criterion_group!(benches, answers);
criterion_main!(benches);
