//! The best sparsities of many budgets by a law of a form with coefficients of its own.

use std::sync::Arc;

use axum::response::Response;
use serde::Serialize;
use sparsity_law::law::{Compute, Data, NonzeroParams, SampledForm, Variable};
use sparsity_law::pace::step;

use super::request::{OptimalSparsityPoint, Sized};
use super::view::OptimalSparsityResult;
use crate::api::questions::budget::BudgetView;
use crate::api::questions::bulk::points::{Modes, Points, Table, assumed_repetition};
use crate::api::questions::law::AskedLaw;
use crate::api::questions::modes::Mode;
use crate::api::questions::optimal_sparsity::DenseView;
use crate::api::questions::own_optima::OwnOptimum;
use crate::api::wire::columns::{BEYOND, ResultColumns};
use crate::api::wire::problem::ApiError;
use crate::api::wire::rows;
use crate::api::wire::views::{LawRef, WarningView};
use crate::domain::trust::TrustCode;

/// The JSON answer of laws of other forms, in the shape of [`OptimalSparsities`].
#[derive(Serialize)]
struct OwnOptima {
    law: Arc<LawRef>,
    results: Vec<OptimalSparsityResult>,
    warnings: Vec<Arc<WarningView>>,
}

/// Answers every point by a law of the form `levels` or `experts`.
///
/// # Errors
/// The error of the first point without an answer.
pub(super) fn own_optima(
    asked: &AskedLaw,
    own: &SampledForm,
    (points, questions): (&Points<OptimalSparsityPoint>, &[Sized]),
    modes: &Modes,
    (default, intervals, unique): (Option<&str>, bool, Option<Data>),
    table: Table,
) -> Result<Response, ApiError> {
    let repetition = asked.repetition(unique);
    let row = |(at, (size, compute, bounds)): (usize, &Sized)| {
        step();
        let (mode, cost, ranges) = modes.of(points.as_slice()[at].flop_mode.as_deref().or(default));
        let (question, asked_for) = ((*size, *compute, bounds), (*size, *compute));
        let in_mode = (mode, cost, ranges);
        OwnOptimum::find(asked, own, question, in_mode, repetition.as_ref(), intervals)
            .map(|answer| own_row(asked, asked_for, mode, answer, intervals))
            .map_err(|error| points.error_at(at, error))
    };
    let results = questions.iter().enumerate().map(row).collect::<Result<Vec<_>, _>>()?;
    let mut warnings = asked.warnings(intervals);
    let code = TrustCode::FormsDisagree.as_str();
    if results.iter().any(|row| row.trust.because.contains(&code)) {
        let detail = "at some points, of which trust says so, other forms of the law predict held-out runs no worse \
                      and have their best sparsity outside the interval";
        warnings.insert(0, Arc::new(WarningView::new(code, detail)));
    }
    let most = results.iter().map(|row| row.data).fold(0.0, f64::max);
    if let Some(warning) = assumed_repetition(asked, repetition.as_ref(), most) {
        warnings.insert(0, warning);
    }
    match table {
        Table::Json => {
            rows::whole_json(&OwnOptima { law: asked.reference.clone(), results, warnings })
        }
        Table::Arrow => own_arrow(&results, intervals, &asked.reference, &warnings),
    }
}

fn own_row(
    asked: &AskedLaw,
    (nonzero_params, compute): (NonzeroParams, Compute),
    mode: &Mode,
    answer: OwnOptimum,
    intervals: bool,
) -> OptimalSparsityResult {
    let found = answer.found;
    OptimalSparsityResult {
        nonzero_params: nonzero_params.get(),
        compute: compute.get(),
        budget: BudgetView::new(compute.get(), mode),
        sparsity: found.best.sparsity().get(),
        best_measured_level: answer.of_levels,
        level: asked.level_name(found.level),
        binding: answer.binding,
        interval: intervals.then_some(answer.interval),
        loss: found.best.loss,
        loss_interval: intervals.then_some(answer.loss_interval),
        data: found.best.data.get(),
        active_params: asked.active_params(nonzero_params.get()),
        total_params: found.total_params,
        dense: found.dense.map(DenseView::from),
        gain: found.gain,
        chinchilla_ratio: found.chinchilla_ratio,
        pattern: None,
        extrapolation: answer.outside.into_iter().map(Into::into).collect(),
        interpolated: answer.interpolated,
        trust: answer.trust,
    }
}

/// The same columns as for other laws; unknown values are null.
fn own_arrow(
    rows: &[OptimalSparsityResult],
    intervals: bool,
    law: &LawRef,
    warnings: &[Arc<WarningView>],
) -> Result<Response, ApiError> {
    let mut columns = ResultColumns::default();
    columns.numbers("nonzero_params", rows, |row| row.nonzero_params);
    columns.numbers("compute", rows, |row| row.compute);
    columns.maybe(["device_hours", "days", "cost"], rows.len(), |at| rows[at].budget.paid());
    columns.numbers("sparsity", rows, |row| row.sparsity);
    let wanted = intervals.then_some(rows);
    columns.interval(["sparsity_low", "sparsity_high"], wanted, |row| row.interval.flatten());
    columns.numbers("loss", rows, |row| row.loss);
    columns.interval(["loss_low", "loss_high"], wanted, |row| row.loss_interval.flatten());
    columns.numbers("data", rows, |row| row.data);
    columns.numbers("total_params", rows, |row| row.total_params);
    columns.maybe(["dense_loss", "dense_data", "gain", "chinchilla_ratio"], rows.len(), |at| {
        let dense = rows[at].dense.as_ref();
        let (loss, data) = dense.map(|dense| (dense.loss, dense.data)).unzip();
        [loss, data, rows[at].gain, rows[at].chinchilla_ratio]
    });
    let beyond = |at: usize, variable: Variable| {
        let mut outside = rows[at].extrapolation.iter();
        outside.find(|each| each.variable == variable.as_str()).map(|each| each.factor)
    };
    columns.caveats(
        rows.len(),
        |at| BEYOND.map(|(_, variable)| beyond(at, variable)),
        |at| rows[at].interpolated,
    );
    let binding: Vec<_> = rows.iter().map(|row| row.binding.clone()).collect();
    columns.lists("binding", &binding);
    // The column only exists for laws whose levels have names.
    if rows.iter().any(|row| row.level.is_some()) {
        columns.texts("level", rows.len(), |at| rows[at].level.as_deref());
    }
    columns.trust(rows.len(), |at| rows[at].trust.clone());
    columns.stream(law, warnings)
}
