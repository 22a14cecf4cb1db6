//! The points of a bulk request: a list or a grid, the modes that they name, and the limits on their number.

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

/// The most points per request.
const MAX_POINTS: usize = BulkLimits::MOST_POINTS;
/// The most different modes per request.
const MAX_MODES: usize = 20;
/// The most invalid fields that an answer lists.
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

/// Number of points of a request, given as a list of length `listed` or as the axes of a grid; at most [`MAX_POINTS`].
pub(super) fn count_points<const N: usize>(listed: Option<usize>, axes: &[Axis; N]) -> usize {
    let of_axis = |axis: &Axis| axis.values.as_ref().map_or(1, ValuesBody::count);
    let of_grid = || axes.iter().map(of_axis).fold(1, usize::saturating_mul);
    listed.unwrap_or_else(of_grid).min(MAX_POINTS)
}

/// The points of a request, and whether they were given as a list or as a grid.
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

    /// JSON pointer to a point of a list; empty for a grid, because its points do not appear in the body.
    fn pointer(&self, index: usize) -> String {
        match self {
            Self::List(_) => format!("/points/{index}"),
            Self::Grid(_) => String::new(),
        }
    }

    /// Adds the point at which an error occurred to the error.
    pub(super) fn error_at(&self, index: usize, error: ApiError) -> ApiError {
        match error {
            // The detail says which point the error is about; the runs that would settle it are the same for all
            // points.
            ApiError::NotIdentified { detail, missing, suggestions } => ApiError::NotIdentified {
                detail: format!("point {index}: {detail}"),
                missing,
                suggestions,
            },
            // The pointer of an error in a point is below that of the point.
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

    /// Checks every point, and stops after [`MAX_ERRORS`] errors, or after the first error in a grid.
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
    /// Takes the list, or builds the grid of the axes with the last axis varying fastest; at most [`MAX_POINTS`]
    /// points.
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

/// All combinations of the values of the axes, with the last axis varying fastest.
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

/// The FLOP modes of a request, each looked up once, with its training cost and the ranges of the runs.
pub(super) struct Modes {
    pub(super) costs: Vec<(Mode, TrainingCost, Ranges)>,
    by_name: HashMap<String, usize>,
}

impl Modes {
    /// Looks up the named modes.
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

    /// The mode with a name that [`Self::find`] has looked up; without a name, the only mode of the request.
    pub(super) fn of(&self, name: Option<&str>) -> &(Mode, TrainingCost, Ranges) {
        &self.costs[name.map_or(0, |name| self.by_name[name])]
    }

    fn have_profile(&self) -> bool {
        self.costs.iter().any(|(mode, ..)| matches!(mode, Mode::Profile(_)))
    }
}

/// A FLOP mode that a request names, and where it is named first.
pub(super) struct Named {
    name: String,
    pointer: String,
}

impl Named {
    /// The different modes of a request, in the order of [`Points::as_slice`]. For each point, `names` yields the
    /// point's own mode, if it has one, and the mode of the whole request, if the point needs it.
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
            // Only points of a list can have their own mode.
            let pointer = own.map(|_| format!("/points/{index}")).unwrap_or_default();
            all.push(Self { name: name.to_owned(), pointer });
        }
        Ok(all)
    }
}

/// Lists of at most this many points are checked on the thread that received them, which takes less than a millisecond.
const FEW_POINTS: usize = 500;

/// Checks the points of a request, given as a list of length `listed` or as a grid, which may have many points.
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

/// Checks the amount of unique data of a request.
pub(super) fn request_unique_data(given: Option<f64>) -> Result<Option<Data>, ApiError> {
    let mut checks = Checks::default();
    let unique = check_unique_data(given, &mut checks);
    Ok(checks.finish(unique)?)
}

/// Why the optimum of each resampled law has to be searched; `None` where a table covers all of them.
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

/// Refuses intervals that would evaluate too many resampled laws, all of which are evaluated at each point.
///
/// # Errors
/// [`ApiError::Invalid`] about `intervals`.
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

/// The axis of the training cost, and the currency in which it is given: at most one.
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
    // The value in FLOPs is checked once the mode is known.
    let new = |value: f64| {
        let range = "above 0 and at most 1e15";
        let valid = value > 0.0 && value <= 1e15;
        if valid { Ok(value) } else { Err(DomainError::OutOfRange { range, value }) }
    };
    let field = currency.as_str();
    Ok((Axis { field, values, spacing: Spacing::Logarithmic, new }, currency))
}

/// The warning about repeated data for many answers, of which `most` is the largest amount of data.
pub(super) fn assumed_repetition(
    asked: &AskedLaw,
    repetition: Option<&Repetition>,
    most: f64,
) -> Option<Arc<WarningView>> {
    asked.assumed_repetition(repetition, Data::new(most).ok()?).cloned()
}
