//! What is said beside a plan.

use super::*;
use crate::law::{
    CoefficientValues, Coefficients, Ensemble, FlopMode, FlopsPerParam, Member, StorageFormat,
    T5_C4,
};

fn law(members: usize) -> SampledLaw {
    let truth = T5_C4.coefficients().values();
    let member = |i: usize| {
        let a_s = truth.a_s * (0.9 + 0.2 * i as f64 / members as f64);
        let coefficients = Coefficients::new(CoefficientValues { a_s, ..truth }).unwrap();
        Member { coefficients, noise: 0.0 }
    };
    let ensemble = Ensemble::new((0..members).map(member), 0.95, 0.025);
    SampledLaw::new(*T5_C4.coefficients(), ensemble, |loss, _| loss)
}

fn setting(law: &SampledLaw) -> PlanSetting<'_> {
    let (step, pruning) = (StepCost::from(FlopMode::Sparse), PruningSchedule::default());
    PlanSetting {
        law: law.into(),
        support: T5_C4.support(),
        cost: TrainingCost::new(FlopsPerParam::TRAINING, pruning.clone(), step.clone()),
        step,
        pruning,
        storage: Storage::new(StorageFormat::Dense, 16),
        inference_tokens: 0.0,
        repetition: None,
    }
}

fn two_of_four() -> PlannedPattern<'static> {
    let half = Density::new(0.5).unwrap();
    let worth = PatternWorth { nominal: half, effective: None };
    PlannedPattern { name: "2:4", worth, step_cost: Some(0.6), two_of_four: true }
}

fn question(limits: Limits) -> PlanQuestion<'static> {
    PlanQuestion {
        goal: Goal::LeastLoss,
        limits,
        patterns: None,
        hardware_patterns: None,
        frontier_points: 11,
        intervals: true,
    }
}

#[test]
fn no_plan_is_sparser_than_the_runs_unless_it_is_asked_for() {
    let law = law(0);
    let setting = setting(&law);
    // Few parameters and much compute, so that many zeros would pay.
    let limits =
        Limits::default().with(Constraint::Compute, 1e22).with(Constraint::NonzeroParamsMax, 1e7);
    let plan = setting.plan(&question(limits)).unwrap();
    assert_eq!(plan.max_sparsity, 0.875);
    assert_eq!(plan.best.model.scheme.density.sparsity().get(), 0.875);
    assert_eq!(plan.notes, [PlanNote::SparsityLimited]);
    assert!(plan.intervals.is_none());
    let sparser = limits.with(Constraint::SparsityMax, 0.01);
    let plan = setting.plan(&question(sparser)).unwrap();
    assert!(plan.best.model.scheme.density.sparsity().get() > 0.875);
    assert_eq!(plan.notes, []);
}

#[test]
fn a_plan_is_made_again_by_each_resample() {
    let law = law(40);
    let limits = Limits::default().with(Constraint::Compute, 1e21);
    let plan = setting(&law).plan(&question(limits)).unwrap();
    let intervals = plan.intervals.unwrap();
    let best = plan.best.model;
    assert!(intervals.loss.contains(best.loss));
    assert!(intervals.nonzero_params.contains(best.nonzero_params));
    assert!(intervals.nonzero_params.low < intervals.nonzero_params.high);
    assert!(intervals.dense_loss.unwrap().contains(plan.dense.unwrap().model.loss));
    assert!(plan.frontier.len() > 5 && plan.frontier.contains(&best));
}

#[test]
fn patterns_are_the_only_zeros_where_they_are_named() {
    let law = law(0);
    let limits =
        Limits::default().with(Constraint::Compute, 1e21).with(Constraint::NonzeroParamsMax, 1e8);
    let named = [two_of_four()];
    let by_pattern = PlanQuestion { patterns: Some(&named), ..question(limits) };
    let plan = setting(&law).plan(&by_pattern).unwrap();
    assert_eq!(plan.best.pattern.unwrap().name, "2:4");
    assert_eq!(plan.max_sparsity, 0.5);
    assert!(plan.pattern.is_none() && plan.dense.unwrap().pattern.is_none());
    let beside = PlanQuestion { hardware_patterns: Some(&named), ..question(limits) };
    let beside = setting(&law).plan(&beside).unwrap();
    assert!(beside.best.pattern.is_none());
    assert_eq!(beside.pattern.unwrap().model, plan.best.model);
}

#[test]
fn what_is_in_the_way_is_said() {
    let law = law(0);
    let limits = Limits::default()
        .with(Constraint::Compute, 1e15)
        .with(Constraint::NonzeroParamsMin, 1e9)
        .with(Constraint::DataMin, 1e9);
    let error = setting(&law).plan(&question(limits)).unwrap_err();
    let PlanError::Infeasible(Infeasible { limits, obstacles }) = error else { panic!("{error}") };
    assert!(limits.has(Constraint::SparsityMax), "the bound of the runs is among them");
    assert_eq!(obstacles.len(), 3, "{obstacles:?}");
    assert!(obstacles.iter().all(|obstacle| obstacle.needed.is_some()));
}
