//! The points of a request: a list or a grid, the modes that they name, and how much may be asked of them.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use sparsity_law::law::{
    Compute, Data, DomainError, NonzeroParams, Ranges, Repetition, Sparsity, TrainingCost,
};

use crate::api::layers::answer_points::BulkLimits;
use crate::api::layers::owner::Owner;
use crate::api::questions::law::AskedLaw;
use crate::api::questions::modes::Mode;
use crate::api::questions::optimal_sparsity::check_unique_data;
use crate::api::state::AppState;
use crate::api::wire::columns::ARROW;
use crate::api::wire::negotiation::negotiate;
use crate::api::wire::problem::ApiError;
use crate::api::wire::values::{Spacing, ValuesBody};
use crate::api::wire::views::WarningView;
use crate::domain::checks::{Checks, FieldError};
use crate::domain::currency::Currency;

/// The most points of a request.
const MAX_POINTS: usize = BulkLimits::MOST_POINTS;
/// The most modes of a request.
const MAX_MODES: usize = 20;
/// The most wrong fields that an answer names.
const MAX_ERRORS: usize = 100;

/// How the results are sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Table {
    Json,
    Arrow,
}

impl<S: Send + Sync> FromRequestParts<S> for Table {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        negotiate(&parts.headers, &[Self::Json, Self::Arrow], |table| match table {
            Self::Json => "application/json",
            Self::Arrow => ARROW,
        })
    }
}

/// One axis of a grid.
pub(super) struct Axis {
    field: &'static str,
    pub(super) values: Option<ValuesBody>,
    spacing: Spacing,
    /// Checks one value of the axis.
    new: fn(f64) -> Result<f64, DomainError>,
}

impl Axis {
    pub(super) fn nonzero_params(values: Option<ValuesBody>) -> Self {
        let new = |value| NonzeroParams::new(value).map(NonzeroParams::get);
        Self { field: "nonzero_params", values, spacing: Spacing::Logarithmic, new }
    }

    fn compute(values: Option<ValuesBody>) -> Self {
        let new = |value| Compute::new(value).map(Compute::get);
        Self { field: "compute", values, spacing: Spacing::Logarithmic, new }
    }

    pub(super) fn data(values: Option<ValuesBody>) -> Self {
        let new = |value| Data::new(value).map(Data::get);
        Self { field: "data", values, spacing: Spacing::Logarithmic, new }
    }

    pub(super) fn sparsity(values: Option<ValuesBody>) -> Self {
        let new = |value| Sparsity::new(value).map(Sparsity::get);
        Self { field: "sparsity", values, spacing: Spacing::Linear, new }
    }

    fn check(&self, checks: &mut Checks) -> Option<Vec<f64>> {
        let Some(values) = &self.values else {
            checks.refuse(self.field, "must be given for a grid");
            return None;
        };
        values.check(self.field, (MAX_POINTS, self.spacing), self.new, checks)
    }
}

/// How many points a request has, of which there are so many as a list, or which are a grid; no more than one may have.
pub(super) fn count_points<const N: usize>(listed: Option<usize>, axes: &[Axis; N]) -> usize {
    let of_axis = |axis: &Axis| axis.values.as_ref().map_or(1, ValuesBody::count);
    let of_grid = || axes.iter().map(of_axis).fold(1, usize::saturating_mul);
    listed.unwrap_or_else(of_grid).min(MAX_POINTS)
}

/// A list of points, or the axes of a grid.
pub(super) enum Points<P> {
    List(Vec<P>),
    Grid(Vec<P>),
}

impl<P> Points<P> {
    pub(super) fn as_slice(&self) -> &[P] {
        match self {
            Self::List(points) | Self::Grid(points) => points,
        }
    }

    /// JSON pointer to a point of a list; empty for a grid, whose points do not stand in the body.
    fn pointer(&self, index: usize) -> String {
        match self {
            Self::List(_) => format!("/points/{index}"),
            Self::Grid(_) => String::new(),
        }
    }

    /// An error with the point at which it arose.
    pub(super) fn error_at(&self, index: usize, error: ApiError) -> ApiError {
        match error {
            // Which of many points it is about is said; what settles it is the same for all, and stays.
            ApiError::NotIdentified { detail, missing, suggestions } => ApiError::NotIdentified {
                detail: format!("point {index}: {detail}"),
                missing,
                suggestions,
            },
            // A field of a point stands below it; what holds for all points stands where it was given.
            ApiError::Invalid(errors) => {
                let at = |error: FieldError| FieldError {
                    pointer: format!("{}{}", self.pointer(index), error.pointer),
                    detail: error.detail,
                };
                ApiError::Invalid(errors.into_iter().map(at).collect())
            }
            ApiError::NotRepresentable(detail) | ApiError::Undetermined(detail) => {
                let detail = format!("point {index}: {detail}");
                ApiError::Invalid(vec![FieldError { pointer: self.pointer(index), detail }])
            }
            other => other,
        }
    }

    /// Checks every point, and stops when there are [`MAX_ERRORS`] errors.
    pub(super) fn check<Q>(
        &self,
        check: impl Fn(&P, &mut Checks) -> Option<Q>,
    ) -> Result<Vec<Q>, ApiError> {
        let mut checked = Vec::with_capacity(self.as_slice().len());
        let mut errors = Vec::new();
        for (index, point) in self.as_slice().iter().enumerate() {
            let mut checks = Checks::default();
            let value = check(point, &mut checks);
            match checks.finish(value) {
                Ok(value) => checked.push(value),
                Err(found) => errors.extend(found.into_iter().map(|error| FieldError {
                    pointer: format!("{}{}", self.pointer(index), error.pointer),
                    ..error
                })),
            }
            if errors.len() >= MAX_ERRORS || (matches!(self, Self::Grid(_)) && !errors.is_empty()) {
                break;
            }
        }
        if errors.is_empty() { Ok(checked) } else { Err(ApiError::Invalid(errors)) }
    }
}

impl<P> Points<P> {
    /// The list, or the grid of the axes with the last one fastest, of at most [`MAX_POINTS`] points.
    pub(super) fn new<const N: usize>(
        list: Option<Vec<P>>,
        axes: [Axis; N],
        point: impl Fn([f64; N]) -> P,
    ) -> Result<Self, ApiError> {
        let is_grid = axes.iter().any(|axis| axis.values.is_some());
        match list {
            Some(_) if is_grid => {
                Err(ApiError::field("/points", "must not be given beside the axes of a grid"))
            }
            Some(list) if (1..=MAX_POINTS).contains(&list.len()) => Ok(Self::List(list)),
            Some(list) => {
                let detail = format!("must be 1 to {MAX_POINTS} points, not {}", list.len());
                Err(ApiError::field("/points", detail))
            }
            None if !is_grid => {
                let detail = "must be given, or the axes of a grid in their place";
                Err(ApiError::field("/points", detail))
            }
            None => Ok(Self::Grid(grid(axes)?.into_iter().map(point).collect())),
        }
    }
}

/// All combinations of the values of the axes, those of the last axis one after the other.
fn grid<const N: usize>(axes: [Axis; N]) -> Result<Vec<[f64; N]>, ApiError> {
    let mut checks = Checks::default();
    let values = axes.map(|axis| axis.check(&mut checks));
    let complete = values.iter().all(Option::is_some).then_some(());
    checks.finish(complete)?;
    let values = values.map(Option::unwrap_or_default);
    let counts = values.each_ref().map(Vec::len);
    let count = counts.iter().try_fold(1usize, |product, count| product.checked_mul(*count));
    let Some(count) = count.filter(|count| *count <= MAX_POINTS) else {
        let sizes = counts.map(|count| count.to_string()).join(" x ");
        let detail = format!("the grid must have at most {MAX_POINTS} points, not {sizes}");
        return Err(ApiError::field("", detail));
    };
    let combination = |index: usize| {
        let (mut rest, mut combination) = (index, [0.0; N]);
        for axis in (0..N).rev() {
            combination[axis] = values[axis][rest % counts[axis]];
            rest /= counts[axis];
        }
        combination
    };
    Ok((0..count).map(combination).collect())
}

/// The flop modes of a request, each looked up once, with what training costs and the ranges of the runs in it.
pub(super) struct Modes {
    pub(super) costs: Vec<(Mode, TrainingCost, Ranges)>,
    by_name: HashMap<String, usize>,
}

impl Modes {
    /// Looks up the modes that are named.
    pub(super) async fn find(
        state: &AppState,
        law: &AskedLaw,
        named: Vec<Named>,
    ) -> Result<Self, ApiError> {
        let mut modes = Self { costs: Vec::new(), by_name: HashMap::new() };
        for Named { name, pointer } in named {
            let mode = Mode::find_below(state, &pointer, &name).await?;
            let cost = mode.cost(law);
            modes.by_name.insert(name, modes.costs.len());
            let ranges = law.law.content.support.ranges(Some(&cost));
            modes.costs.push((mode, cost, ranges));
        }
        Ok(modes)
    }

    /// The mode of a name that [`Self::find`] has looked up; without a name the only mode there is.
    pub(super) fn of(&self, name: Option<&str>) -> &(Mode, TrainingCost, Ranges) {
        &self.costs[name.map_or(0, |name| self.by_name[name])]
    }

    fn have_profile(&self) -> bool {
        self.costs.iter().any(|(mode, ..)| matches!(mode, Mode::Profile(_)))
    }
}

/// A flop mode that a request names, and where it does so first.
pub(super) struct Named {
    name: String,
    pointer: String,
}

impl Named {
    /// The different ones, in the order of [`Points::as_slice`]. Of each point `names` gives its own mode, if it has one,
    /// and the mode of the whole request, if the point needs it.
    pub(super) fn all<'a>(
        names: impl Iterator<Item = (Option<&'a str>, Option<&'a str>)>,
    ) -> Result<Vec<Self>, ApiError> {
        let mut all: Vec<Self> = Vec::new();
        for (index, (own, default)) in names.enumerate() {
            let Some(name) = own.or(default) else { continue };
            if all.iter().any(|named| named.name == name) {
                continue;
            }
            if all.len() == MAX_MODES {
                let detail = format!("must be at most {MAX_MODES} different ones in a request");
                return Err(ApiError::field("/flop_mode", detail));
            }
            // Only points of a list have a mode of their own.
            let pointer = own.map(|_| format!("/points/{index}")).unwrap_or_default();
            all.push(Self { name: name.to_owned(), pointer });
        }
        Ok(all)
    }
}

/// Lists of at most so many points are checked where they arrive: that takes less than a millisecond.
const FEW_POINTS: usize = 500;

/// Checks the points of a request, of which there are so many as a list; a grid may have many.
pub(super) async fn check_points<T: Send + 'static>(
    state: &AppState,
    owner: &Owner,
    listed: Option<usize>,
    check: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    match listed {
        Some(..=FEW_POINTS) => check(),
        _ => state.threads.run(*owner, check).await,
    }
}

/// How much different data a request is about.
pub(super) fn request_unique_data(given: Option<f64>) -> Result<Option<Data>, ApiError> {
    let mut checks = Checks::default();
    let unique = check_unique_data(given, &mut checks);
    Ok(checks.finish(unique)?)
}

/// Why each resampled law is searched on its own; `None` where all of them are asked together.
pub(super) fn searched(
    modes: &Modes,
    law: &AskedLaw,
    unique: Option<Data>,
) -> Option<&'static str> {
    if modes.have_profile() {
        Some("in the mode of a hardware profile")
    } else if unique.is_some() {
        Some("with unique_data")
    } else if law.law.content.coefficients.gain_curve().is_some() || law.own.is_some() {
        Some("by a law that has no gain of its own")
    } else {
        None
    }
}

/// Refuses intervals that ask too many resampled laws: each point asks all of them.
pub(super) fn check_work(
    state: &AppState,
    law: &AskedLaw,
    intervals: bool,
    points: usize,
    searched: Option<&'static str>,
) -> Result<(), ApiError> {
    let members = if intervals { law.resamples() } else { 0 };
    let BulkLimits { members: most, searched: most_searched, .. } = state.limits.bulk;
    let (most, setting) = match searched {
        Some(_) => (most_searched, "--max-searched-laws"),
        None => (most, "--max-asked-laws"),
    };
    let asked = (points as u64).saturating_mul(members as u64);
    if asked > most {
        let why = searched.map(|why| format!(" {why}")).unwrap_or_default();
        let detail = format!(
            "must be false: {points} points ask {members} resampled laws each{why}, more than {most} \
             ({setting}) in all; ask for at most {} points at a time",
            most / members.max(1) as u64
        );
        return Err(ApiError::field("/intervals", detail));
    }
    Ok(())
}

/// The axis of a training cost, in the one currency in which it is given, and that currency.
pub(super) fn cost_axis(values: [Option<ValuesBody>; 4]) -> Result<(Axis, Currency), ApiError> {
    let mut given = Currency::ALL.into_iter().zip(values).filter(|(_, values)| values.is_some());
    let Some((currency, values)) = given.next() else {
        return Ok((Axis::compute(None), Currency::Compute));
    };
    if let Some((other, _)) = given.next() {
        let detail = format!("must not be given beside {}", currency.as_str());
        return Err(ApiError::field(format!("/{}", other.as_str()), detail));
    }
    if currency == Currency::Compute {
        return Ok((Axis::compute(values), currency));
    }
    // What it is in FLOPs is checked where the mode is known.
    let new = |value: f64| {
        let range = "above 0 and at most 1e15";
        let valid = value > 0.0 && value <= 1e15;
        if valid { Ok(value) } else { Err(DomainError::OutOfRange { range, value }) }
    };
    let field = currency.as_str();
    Ok((Axis { field, values, spacing: Spacing::Logarithmic, new }, currency))
}

/// What is said of the most data of many answers, where some of it is repeated.
pub(super) fn assumed_repetition(
    asked: &AskedLaw,
    repetition: Option<&Repetition>,
    most: f64,
) -> Option<Arc<WarningView>> {
    asked.assumed_repetition(repetition, Data::new(most).ok()?).cloned()
}
