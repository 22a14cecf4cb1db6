//! Runs that nobody should send but somebody will: whatever the runs are, a fit ends within its budget, with finite
//! numbers or a named error.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use proptest::prelude::*;
use sparsity_law::fit::{
    Constraint, Control, FitConfig, FitError, HoldoutReport, Observation, Observations,
    PatternRuns, PretrainedRuns, Report, Residual, RunSet, WarningCode, fit,
};
use sparsity_law::law::{
    CoefficientName, Coefficients, Data, Loss, NonzeroParams, Sparsity, T5_C4,
};

fn run(n: f64, s: f64, d: f64, l: f64) -> Observation {
    Observation {
        nonzero_params: NonzeroParams::new(n).unwrap(),
        sparsity: Sparsity::new(s).unwrap(),
        data: Data::new(d).unwrap(),
        loss: Loss::new(l).unwrap(),
    }
}

/// Runs of the published law over a grid, each changed by `change`.
fn grid(change: impl Fn(usize, [f64; 4]) -> [f64; 4]) -> Vec<Observation> {
    let mut runs = Vec::new();
    for n in [1e6, 8e6, 64e6] {
        for s in [0.0, 0.5, 0.875] {
            for d in [1e9, 8e9, 64e9] {
                let clean = run(n, s, d, 1.0);
                let law = T5_C4.coefficients();
                let loss = law.loss(clean.sparsity.density(), clean.nonzero_params, clean.data);
                let [n, s, d, l] = change(runs.len(), [n, s, d, loss]);
                runs.push(run(n, s, d, l));
            }
        }
    }
    runs
}

/// Few starts and resamples: what can go wrong shows in a few of them too.
fn quick() -> FitConfig {
    FitConfig { starts: 3, bootstrap: 100, ..FitConfig::default() }
}

/// The same options without resamples and hold-outs.
fn without_resamples(config: FitConfig) -> FitConfig {
    FitConfig { bootstrap: 0, holdout: Vec::new(), ..config }
}

/// The numbers of a report that are not finite, by name.
fn defects(report: &Report, runs: &RunSet) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |what: String, value: f64| {
        if !value.is_finite() {
            found.push(format!("{what} = {value}"));
        }
    };
    let law = |check: &mut dyn FnMut(String, f64), what: &str, law: &Coefficients| {
        for (name, value) in CoefficientName::ALL.into_iter().zip(law.values().to_array()) {
            check(format!("{what} {}", name.as_str()), value);
        }
    };
    law(&mut check, "law", &report.coefficients);
    check("objective".to_owned(), report.objective);
    let diagnostics = &report.diagnostics;
    check("agreement".to_owned(), diagnostics.agreement);
    check("noise".to_owned(), diagnostics.noise);
    check("condition".to_owned(), diagnostics.condition.unwrap_or(1.0));
    for start in &diagnostics.starts {
        check("start".to_owned(), start.objective);
    }
    for value in diagnostics.correlations.iter().flatten() {
        check("correlation".to_owned(), *value);
    }
    for profile in &diagnostics.profiles {
        for end in [profile.low, profile.high].into_iter().flatten() {
            check(format!("profile of {}", profile.coefficient.as_str()), end);
        }
    }
    for holdout in &diagnostics.holdouts {
        for value in [Some(holdout.limit), holdout.bias, holdout.rms].into_iter().flatten() {
            check(format!("holdout {}", holdout.holdout.as_str()), value);
        }
    }
    for fitted in &report.fitted {
        check("predicted".to_owned(), fitted.predicted);
        check("residual".to_owned(), fitted.residual);
        check("leverage".to_owned(), fitted.leverage);
    }
    for run in runs.law.as_slice() {
        let predicted =
            report.coefficients.loss(run.sparsity.density(), run.nonzero_params, run.data);
        check("prediction of a run".to_owned(), predicted);
    }
    if let Some(ensemble) = &report.ensemble {
        for member in ensemble.members() {
            law(&mut check, "member", &member.coefficients);
            check("member's noise".to_owned(), member.noise);
        }
        for (name, interval) in ensemble.coefficient_intervals() {
            check(format!("low end of {}", name.as_str()), interval.low);
            check(format!("high end of {}", name.as_str()), interval.high);
        }
    }
    for pattern in &report.patterns {
        for estimate in [Some(pattern.effective_sparsity), pattern.gain].into_iter().flatten() {
            check("pattern".to_owned(), estimate.value);
            if let Some(interval) = estimate.interval {
                check("pattern low".to_owned(), interval.low);
                check("pattern high".to_owned(), interval.high);
            }
        }
        check("unstructured gain".to_owned(), pattern.unstructured_gain.unwrap_or(1.0));
    }
    if let Some(pretrained) = &report.pretrained {
        law(&mut check, "pretrained", &pretrained.coefficients);
        check("pretrained objective".to_owned(), pretrained.objective);
        for interval in pretrained.intervals.values() {
            check("pretrained low".to_owned(), interval.low);
            check("pretrained high".to_owned(), interval.high);
        }
        for multiplier in &pretrained.multipliers {
            let both = [multiplier.sparse_phase, multiplier.both_phases];
            for estimate in both.into_iter().flatten() {
                check("multiplier".to_owned(), estimate.value);
                if let Some(interval) = estimate.interval {
                    check("multiplier low".to_owned(), interval.low);
                    check("multiplier high".to_owned(), interval.high);
                }
            }
        }
    }
    // All floats of the hold-outs were checked above. A null in the JSON would be a float that was missed, except where
    // it stands for an absent number.
    let json = serde_json::to_string(&diagnostics.holdouts).unwrap();
    let none = |holdout: &&HoldoutReport| holdout.bias.is_none() && holdout.rms.is_none();
    let expected = 2 * diagnostics.holdouts.iter().filter(none).count();
    if json.matches("null").count() != expected {
        found.push(json);
    }
    found
}

/// Largest number of evaluations of one start: two descents, where the constraint requires a second one.
const MOST_EVALUATIONS: u32 = 2 * 2_100;

fn fit_soundly(name: &str, runs: &RunSet, config: FitConfig) -> Result<Report, FitError> {
    let report = fit(runs, &config.check().unwrap(), &Control::NONE)?;
    let defects = defects(&report, runs);
    assert!(defects.is_empty(), "{name}: {:?}", &defects[..defects.len().min(5)]);
    for start in &report.diagnostics.starts {
        assert!(start.evaluations <= MOST_EVALUATIONS, "{name}: {start:?}");
    }
    Ok(report)
}

/// Both residuals, each with a usual, a tiny and a huge delta.
fn configs() -> Vec<FitConfig> {
    let deltas = [1e-3, 1e-9, 1e6];
    let both = [Residual::Log, Residual::Linear];
    both.into_iter()
        .flat_map(|residual| {
            // One of the six also has resamples and hold-outs.
            deltas.map(|delta| {
                let config = FitConfig { residual, delta: delta.into(), ..quick() };
                let usual = delta == 1e-3 && residual == Residual::Log;
                if usual { config } else { without_resamples(config) }
            })
        })
        .collect()
}

fn survives(name: &str, runs: Vec<Observation>) {
    survives_as(name, runs, configs());
}

/// Like [`survives`], but without resamples and hold-outs: with wild runs each of these uses up its budget, as the fit
/// does.
fn survives_alone(name: &str, runs: Vec<Observation>) {
    survives_as(name, runs, configs().into_iter().map(without_resamples).collect());
}

fn survives_as(name: &str, runs: Vec<Observation>, configs: Vec<FitConfig>) {
    let runs: RunSet = Observations::new(runs).into();
    for config in configs {
        let name = format!("{name}, {:?}, {:?}", config.residual, config.delta);
        match fit_soundly(&name, &runs, config) {
            Ok(_) | Err(FitError::NotRepresentable { .. }) => {}
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn one_wild_loss() {
    for loss in [1e-12, 1e-3, 1e3, 1e12] {
        survives(
            &format!("loss {loss:e}"),
            grid(|i, [n, s, d, l]| [n, s, d, if i == 13 { loss } else { l }]),
        );
    }
}

#[test]
fn losses_of_all_magnitudes_together() {
    survives("alternating", grid(|i, [n, s, d, _]| [n, s, d, if i % 2 == 0 { 1e-9 } else { 1e9 }]));
    survives_alone(
        "geometric",
        grid(|i, [n, s, d, _]| [n, s, d, 10_f64.powf(9.0 - 18.0 * i as f64 / 26.0)]),
    );
}

#[test]
fn losses_that_do_not_follow_any_law() {
    survives_alone("all equal", grid(|_, [n, s, d, _]| [n, s, d, 2.5]));
    survives_alone("rising with size", grid(|_, [n, s, d, l]| [n, s, d, 10.0 / l + n.ln()]));
    survives_alone("rising with data", grid(|_, [n, s, d, _]| [n, s, d, d.ln()]));
    survives("falling with sparsity", grid(|_, [n, s, d, l]| [n, s, d, l * (1.0 - 0.9 * s)]));
    survives_alone("scattered", grid(|i, [n, s, d, _]| [n, s, d, 1.0 + (i * 7 % 27) as f64]));
}

#[test]
fn the_widest_ranges_of_size_data_and_sparsity() {
    let spread = |i: usize, low: f64, high: f64| 10_f64.powf(low + (high - low) * i as f64 / 26.0);
    survives_alone("sizes", grid(|i, [_, s, d, l]| [spread(i, 3.0, 13.0), s, d, l]));
    survives_alone("all sizes", grid(|i, [_, s, d, l]| [spread(i, 0.0, 18.0), s, d, l]));
    survives_alone("data", grid(|i, [n, s, _, l]| [n, s, spread(i, -6.0, 30.0), l]));
    survives_alone(
        "sparsity",
        grid(|i, [n, s, d, l]| [n, if i % 3 == 2 { 0.999_999 } else { s }, d, l]),
    );
    survives_alone(
        "sparsest",
        grid(|i, [n, s, d, l]| [n, if i % 3 == 2 { 1.0 - f64::EPSILON } else { s }, d, l]),
    );
    survives(
        "all at once",
        grid(|i, _| {
            [
                spread(i, 0.0, 18.0),
                0.04 * i as f64 * 0.9,
                spread(26 - i, -6.0, 30.0),
                spread(i * 7 % 27, -12.0, 12.0),
            ]
        }),
    );
}

#[test]
fn few_runs_get_a_law_and_a_warning() {
    let all = grid(|_, run| run);
    for count in [2, 3, 7, 8] {
        // Spread over the grid, so that all three quantities vary with three or more runs.
        let runs: Vec<_> = (0..count).map(|i| all[i * 16 % 27]).collect();
        survives(&format!("{count} runs"), runs.clone());
        let report = fit_soundly("few", &Observations::new(runs).into(), quick()).unwrap();
        let warned = report.warnings.iter().any(|w| w.code == WarningCode::TooFewRuns);
        assert_eq!(warned, count <= report.diagnostics.fitted.len(), "{count}");
    }
}

#[test]
fn runs_that_are_all_alike_are_refused() {
    let one = grid(|_, run| run)[4];
    for count in [1, 2, 30] {
        for config in configs() {
            let runs = Observations::new(vec![one; count]).into();
            assert_eq!(
                fit_soundly("alike", &runs, config),
                Err(FitError::NotIdentifiable { runs: count })
            );
        }
    }
}

#[test]
fn quantities_that_do_not_vary() {
    for mask in 1..7_u32 {
        let same = |bit: u32, value: f64, other: f64| if mask & bit != 0 { value } else { other };
        let runs = grid(|i, [n, s, d, l]| {
            let noise = 1.0 + 0.01 * ((i * 7 % 27) as f64 / 27.0 - 0.5);
            [same(1, 8e6, n), same(2, 0.0, s), same(4, 8e9, d), l * noise]
        });
        // With fewer coefficients to fit, less can go wrong, so only the smallest law and one other are resampled.
        let method = if mask == 1 || mask == 6 { survives } else { survives_alone };
        method(&format!("constant {mask:03b}"), runs);
    }
    survives("constant sparsity", grid(|_, [n, _, d, l]| [n, 0.75, d, l]));
}

#[test]
fn duplicates_only() {
    let all = grid(|_, run| run);
    let twos: Vec<_> = [all[0], all[13], all[26]].into_iter().flat_map(|run| [run; 5]).collect();
    survives("three runs five times", twos);
    survives("all three times", [all.clone(), all.clone(), all].concat());
}

#[test]
fn weights_of_all_magnitudes() {
    const LEAST: f64 = 1e-300;
    const MOST: f64 = 1000.0;
    type Case = (&'static str, fn(usize) -> f64);
    let cases: [Case; 6] = [
        ("least", |_| LEAST),
        ("most", |_| MOST),
        ("in turn", |i| [LEAST, 1.0, MOST][i % 3]),
        ("one heavy", |i| if i == 0 { MOST } else { LEAST }),
        ("one light", |i| if i == 0 { LEAST } else { MOST }),
        // The smallest positive double, whose multiples have exact ratios.
        ("denormal", |_| 5e-324),
    ];
    for (name, weight) in cases {
        let noisy = grid(|i, [n, s, d, l]| [n, s, d, l * (1.0 + 1e-3 * (i * 7 % 27) as f64)]);
        let rows = noisy.into_iter().enumerate().map(|(i, run)| (run, weight(i))).collect();
        let runs: RunSet = Observations::weighted(rows).into();
        for config in configs() {
            fit_soundly(&format!("weights: {name}"), &runs, config).unwrap();
        }
    }
}

#[test]
fn coefficients_fixed_at_the_ends_of_their_ranges() {
    let runs: RunSet = Observations::new(grid(|_, run| run)).into();
    for name in CoefficientName::ALL {
        let ends = if name.is_exponent() { [1e-3, 20.0] } else { [1e-100, 1e100] };
        for value in ends {
            for residual in [Residual::Log, Residual::Linear] {
                let fixed = [(name, value)].into();
                let config = FitConfig { residual, fixed, ..quick() };
                // Resamples of a law that is this wrong use up their budgets, so only one case of each kind has them.
                let resampled = matches!(name, CoefficientName::BN | CoefficientName::C)
                    && residual == Residual::Log
                    && value < 1.0;
                let config = if resampled { config } else { without_resamples(config) };
                match fit_soundly(&format!("{} = {value:e}", name.as_str()), &runs, config) {
                    Ok(report) => {
                        let got = report.coefficients.values().to_array()[name as usize];
                        assert!((got / value - 1.0).abs() < 1e-9, "{name:?} {value:e}: {got:e}");
                    }
                    Err(FitError::NotRepresentable { .. }) => {}
                    Err(error) => panic!("{name:?} {value:e}: {error}"),
                }
            }
        }
    }
}

/// Excess of the slope over 1 that is rounding.
const ROUNDING: f64 = 1e-8;

#[test]
fn the_constraint_holds_whatever_the_runs() {
    let wild = [
        grid(|_, run| run),
        grid(|_, [n, s, d, l]| [n, s, d, l * (1.0 - 0.9 * s)]),
        grid(|i, [n, s, d, _]| [n, s, d, 1.0 + (i * 7 % 27) as f64]),
        grid(|_, [n, s, d, _]| [n, s, d, n.ln()]),
        grid(|_, [n, s, d, _]| [n, s, d, 2.5]),
    ];
    for (which, runs) in wild.into_iter().enumerate() {
        let runs: RunSet = Observations::new(runs).into();
        for config in configs() {
            let config = FitConfig { constraint: Some(Constraint::Physical), ..config };
            let config = if which == 0 { config } else { without_resamples(config) };
            match fit_soundly(&format!("constraint {which}"), &runs, config) {
                Ok(report) => {
                    let slope = report.coefficients.gain_slope();
                    assert!(slope <= 1.0 + ROUNDING, "{which}: {slope}");
                }
                // Where data has no effect, no double may be able to hold a_D; real runs always give a law.
                Err(FitError::NotRepresentable { .. }) => assert!(which > 1, "{which}"),
                Err(error) => panic!("{which}: {error}"),
            }
        }
    }
}

#[test]
fn patterns_and_pretrained_groups_of_few_or_wild_runs() {
    let all = grid(|_, run| run);
    let groups: [Vec<Observation>; 6] = [
        vec![all[4]],
        vec![all[4]; 5],
        vec![all[4], all[5]],
        vec![run(1e6, 0.5, 1e9, 1e-12), run(1e6, 0.5, 2e9, 1e12)],
        vec![run(1.0, 0.999_999, 1e-6, 1e12), run(1e18, 0.0, 1e30, 1e-12), all[3]],
        grid(|_, [n, s, d, l]| [n, s, d, 0.3 * l]),
    ];
    for (which, group) in groups.into_iter().enumerate() {
        let pattern = |name: &str, nominal: f64| PatternRuns {
            name: name.to_owned(),
            nominal: Sparsity::new(nominal).unwrap(),
            runs: Observations::new(group.clone()),
        };
        let pretrained = |data: Option<f64>| PretrainedRuns {
            runs: Observations::new(group.clone()),
            pretraining_data: vec![data.map(|d| Data::new(d).unwrap()); group.len()],
        };
        for (residual, data) in
            [(Residual::Log, None), (Residual::Log, Some(1e30)), (Residual::Linear, Some(1e-6))]
        {
            let runs = RunSet {
                law: Observations::new(all.clone()),
                patterns: vec![pattern("2:4", 0.5), pattern("1:1024", 1023.0 / 1024.0)],
                pretrained: Some(pretrained(data)),
                unique: Vec::new(),
                names: Vec::new(),
            };
            let config = FitConfig { residual, ..quick() };
            let report = fit_soundly(&format!("group {which}"), &runs, config).unwrap();
            assert_eq!(report.patterns.len(), 2);
        }
    }
}

prop_compose! {
    /// A run anywhere in the ranges of its quantities.
    fn any_run()(
        ln_n in 0.0..=18.0_f64, s in prop_oneof![Just(0.0), 0.0..1.0_f64, Just(1.0 - f64::EPSILON)],
        ln_d in -6.0..=30.0_f64, ln_l in -12.0..=12.0_f64,
    ) -> Observation {
        run(10_f64.powf(ln_n).clamp(1.0, 1e18), s, 10_f64.powf(ln_d).clamp(1e-6, 1e30), 10_f64.powf(ln_l).clamp(1e-12, 1e12))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_runs_are_fitted_soundly_or_refused(
        runs in prop::collection::vec((any_run(), 0.0..1000.0_f64), 1..=30),
        linear in any::<bool>(), constrained in any::<bool>(), ln_delta in -9.0..6.0_f64,
        resampled in prop::bool::weighted(0.1), seed in 0..1000_u64,
    ) {
        let config = FitConfig {
            residual: if linear { Residual::Linear } else { Residual::Log },
            delta: 10_f64.powf(ln_delta).clamp(1e-9, 1e6).into(),
            constraint: constrained.then_some(Constraint::Physical),
            starts: 3,
            seed,
            ..quick()
        };
        let config = if resampled { config } else { without_resamples(config) };
        let runs: RunSet = Observations::weighted(runs).into();
        match fit_soundly("any", &runs, config) {
            Ok(_) | Err(FitError::NotRepresentable { .. } | FitError::Inseparable { .. } | FitError::NotIdentifiable { .. } | FitError::NoRuns) => {}
            Err(FitError::Stopped) => prop_assert!(false, "nobody stopped it"),
            Err(error @ FitError::FormNotCarried { .. }) => prop_assert!(false, "{error}"),
        }
    }
}
