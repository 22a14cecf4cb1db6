//! Contours: for each of some sparsities, the budgets at which it is the best one, by model size.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use sparsity_law::law::{
    Compute, ContourLine, Data, Density, FormLaw, NonzeroParams, Question as LawQuestion, Range,
    SampledForm, Sparsity, Training, TrainingCost,
};
use utoipa::openapi::schema::{Array, SchemaType, Type};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::layers::owner::Owner;
use crate::api::questions::asked::any_law;
use crate::api::questions::law::{AskedLaw, sparsity_width};
use crate::api::questions::modes::{Mode, check_mode};
use crate::api::state::AppState;
use crate::api::tags::TAG_QUESTIONS;
use crate::api::wire::caching::KnownTags;
use crate::api::wire::extract::{FamilyPath, Query};
use crate::api::wire::negotiation::Representation;
use crate::api::wire::pictures::{
    Look, PngPicture, Sending, SvgPicture, ThemeView, caption, check_pair,
};
use crate::api::wire::problem::{ApiError, Problem};
use crate::api::wire::schemas::tuples_of;
use crate::api::wire::values::sparsities;
use crate::api::wire::views::{IntervalView, LawRef, TrustView, WarningView};
use crate::domain::checks::Checks;
use crate::draw::{Canvas, ContourPicture, LevelLine, Line, MeasuredRun};
use crate::store::law_evidence;

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_contours))
}

/// Which contours to compute.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ContoursParams {
    /// What a training step costs: `dense`, `sparse`, or the name of a hardware profile such as
    /// `example-block-sparse`.
    #[param(example = "sparse")]
    flop_mode: String,
    /// Sparsities, at most 100: `0,0.5,0.75,0.875` by default.
    #[serde(default = "ContoursParams::default_levels")]
    #[param(default = "0,0.5,0.75,0.875")]
    levels: String,
    /// Left end of the lines: by default the smallest size of the runs.
    #[param(minimum = 1, maximum = 1e18)]
    min_nonzero_params: Option<f64>,
    /// Right end of the lines: by default 100 times the largest size of the runs.
    #[param(minimum = 1, maximum = 1e18)]
    max_nonzero_params: Option<f64>,
    /// Points per line, spaced evenly by logarithm; by default 9, or 49 in a picture. The lines are straight in these
    /// coordinates, so two points suffice for them, but not for the bands.
    #[param(default = 9, minimum = 2, maximum = 200)]
    points: Option<u32>,
    /// A size and a budget, such as `7e7,1e20`, to mark in a picture. The lines extend to this size unless their ends
    /// are given.
    #[param(example = "7e7,1e20")]
    mark: Option<String>,
    /// Version of the law to ask; the active one by default.
    law_version: Option<i32>,
    /// Whether to answer with intervals.
    #[serde(default = "crate::api::wire::extract::yes")]
    #[param(default = true)]
    intervals: bool,
    /// Width of a picture in pixels, between 480 and 2400, or from 280 where it is `bare`. Like the parameters below,
    /// it has no effect on JSON.
    #[param(default = 800, minimum = 280, maximum = 2400)]
    width: Option<u32>,
    /// Height of a picture in pixels, between 360 and 1800, or from 200 where it is `bare`.
    #[param(default = 540, minimum = 200, maximum = 1800)]
    height: Option<u32>,
    /// Colours of a picture; `light` by default.
    #[param(inline)]
    theme: Option<ThemeView>,
    /// Whether to draw only the axes and the legend of a picture, without title and notes, with text as large as on a
    /// page, whatever the size of the picture, which may then be as small as 280 by 200 pixels.
    #[serde(default)]
    #[param(default = false)]
    bare: bool,
    /// The part of the horizontal axis that a picture shows, as its two ends, such as `1e6,1e9`; all of it by default.
    #[param(example = "1e6,1e9")]
    x_range: Option<String>,
    /// The part of the vertical axis that a picture shows, as its two ends; all of it by default.
    #[param(example = "1e18,1e22")]
    y_range: Option<String>,
    /// Axes of a picture: `log` by default.
    #[param(inline)]
    axes: Option<ContourAxesView>,
}

/// Axes of a picture of contours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ContourAxes)]
enum ContourAxesView {
    /// Both logarithmic.
    Log,
    /// Both linear, starting at 0.
    Linear,
}

/// Range of sizes where the runs are not known: such a law may be asked about models of any size.
const ANY_SIZE: Range = Range { min: 1e6, max: 1e10 };

/// By what factor the lines extend beyond the largest run.
const BEYOND: f64 = 100.0;
/// By what factor the lines extend beyond the size of a marked question.
const AROUND: f64 = 2.0;
/// Approximate maximum of runs in a picture: more could not be told apart, and are not read.
const MOST_DRAWN: u32 = 2_000;

/// What a picture shows besides the lines.
#[derive(Debug, Default)]
struct Drawn {
    runs: Vec<(NonzeroParams, Sparsity, Data)>,
    /// The note to show if some runs of the law are not drawn.
    note: Option<String>,
    mark: Option<[f64; 2]>,
    linear: bool,
}

impl ContoursParams {
    fn default_levels() -> String {
        "0,0.5,0.75,0.875".to_owned()
    }

    fn look(&self) -> Look<'_> {
        Look {
            width: self.width,
            height: self.height,
            theme: self.theme,
            bare: self.bare,
            x_range: self.x_range.as_deref(),
            y_range: self.y_range.as_deref(),
        }
    }

    /// The size and the budget to mark, if given.
    fn mark(&self, checks: &mut Checks) -> Option<[f64; 2]> {
        let [size, budget] = check_pair("mark", self.mark.as_deref()?, checks)?;
        let size = checks.take("mark", NonzeroParams::new(size))?;
        Some([size.get(), checks.take("mark", Compute::new(budget))?.get()])
    }

    /// The sparsities, the sizes at which the lines are computed, and the canvas of a picture.
    fn check(
        &self,
        support: Option<Range>,
        representation: Representation,
    ) -> Result<(Vec<Sparsity>, Vec<NonzeroParams>, Canvas), ApiError> {
        let mut checks = Checks::default();
        let levels = sparsities("levels", &self.levels, &mut checks);
        let support =
            support.map_or(ANY_SIZE, |Range { min, max }| Range { min, max: max * BEYOND });
        let marked = self.mark(&mut checks).map(|[size, _]| size);
        let reach = |end: f64, factor: f64| marked.map_or(end, |size| size * factor);
        let least = support.min.min(reach(support.min, 1.0 / AROUND)).max(1.0);
        let most = support.max.max(reach(support.max, AROUND)).min(1e18);
        let min = self.min_nonzero_params.unwrap_or(least);
        let max = self.max_nonzero_params.unwrap_or(most);
        check_mode(&self.flop_mode, &mut checks);
        let min = checks.take("min_nonzero_params", NonzeroParams::new(min));
        let max = checks.take("max_nonzero_params", NonzeroParams::new(max));
        let ends = min.zip(max).map(|(min, max)| (min.get(), max.get()));
        if ends.is_some_and(|(min, max)| min >= max) {
            checks.refuse("max_nonzero_params", "must be above min_nonzero_params");
        }
        let usual = if representation == Representation::Json { 9 } else { 49 };
        let points = self.points.unwrap_or(usual);
        if !(2..=200).contains(&points) {
            checks.refuse("points", format!("must be between 2 and 200, not {points}"));
        }
        let canvas = self.look().check(&mut checks);
        let (levels, (min, max)) = checks.finish(levels.zip(ends))?;
        let last = f64::from(points - 1);
        let sizes = (0..points).map(|point| {
            let share = f64::from(point) / last;
            // A size between two valid sizes is valid.
            NonzeroParams::new(Range { min, max }.at_share(share).clamp(min, max))
                .expect("a size between two sizes")
        });
        Ok((levels, sizes.collect(), canvas))
    }
}

/// Lines of equal optimal sparsity, by number of non-zero parameters N and compute C.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Contours)]
pub struct ContoursView {
    /// The law that the lines were computed from.
    law: Arc<LawRef>,
    /// What a training step costs: `dense`, `sparse`, or the name of a hardware profile.
    #[schema(example = "sparse")]
    flop_mode: String,
    /// The line on which a dense model of each size is compute-optimal.
    chinchilla: ChinchillaLineView,
    /// A line for each sparsity, in the order of the request.
    lines: Vec<ContourView>,
    /// What to know before trusting the lines.
    warnings: Vec<Arc<WarningView>>,
    /// How far the lines can be trusted: as far as the worst of them.
    trust: TrustView,
}

fn line_schema() -> Array {
    tuples_of::<2>().description(Some("`[nonzero_params, compute]`.")).build()
}

fn band_schema() -> Array {
    let description = "`[nonzero_params, lowest compute, highest compute]`; null where the law has no intervals. An end of 1e40, the \
         largest budget, says that by some resampled laws of experts no budget is enough.";
    let array_or_null = SchemaType::Array(vec![Type::Array, Type::Null]);
    tuples_of::<3>().schema_type(array_or_null).description(Some(description)).build()
}

/// The budgets at which a dense model is compute-optimal.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChinchillaLine)]
pub struct ChinchillaLineView {
    /// `[nonzero_params, compute]`.
    #[schema(schema_with = line_schema)]
    points: Vec<[f64; 2]>,
    /// `[nonzero_params, lowest compute, highest compute]`; null where the law has no intervals.
    #[schema(schema_with = band_schema)]
    band: Option<Vec<[f64; 3]>>,
}

/// The budgets at which one sparsity is optimal.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Contour)]
pub struct ContourView {
    /// The sparsity; at 0 the budgets up to which zeros do not lower the loss.
    #[schema(example = 0.5)]
    sparsity: f64,
    /// Budget relative to the compute at which a dense model of the same size is compute-optimal: the same at every
    /// size. Where a range of budgets has this optimal sparsity, the upper end of the range. Null, and without points,
    /// where a hardware profile makes the best sparsity jump over this one, so that no budget has it. Null for laws of
    /// experts, where the ratio differs from size to size.
    #[schema(example = 2.458)]
    chinchilla_ratio: Option<f64>,
    /// Interval of the ratio, over the resampled laws that have such a ratio; null where there are none.
    interval: Option<IntervalView>,
    /// `[nonzero_params, compute]`.
    #[schema(schema_with = line_schema)]
    points: Vec<[f64; 2]>,
    /// `[nonzero_params, lowest compute, highest compute]`; null where the law has no intervals.
    #[schema(schema_with = band_schema)]
    band: Option<Vec<[f64; 3]>>,
    /// How far the line can be trusted at the size within the runs that is nearest to its middle: as far as the optimal
    /// sparsity at its budget there. Its ends may lie far outside the runs.
    trust: TrustView,
}

/// The size at which the trust in lines over `sizes` is judged: the middle one, or the nearest within the runs to it.
fn judged_size(asked: &AskedLaw, sizes: &[NonzeroParams]) -> NonzeroParams {
    let middle = sizes[sizes.len() / 2];
    let Some(Range { min, max }) = asked.law.content.support.nonzero_params() else {
        return middle;
    };
    let (first, last) = (sizes[0].get(), sizes[sizes.len() - 1].get());
    let nearest = middle.get().clamp(min, max).clamp(first, last);
    // Between sizes that are valid.
    NonzeroParams::new(nearest).unwrap_or(middle)
}

/// How far it can be trusted that `density` is best at a size and a budget; `None` where the budget pays for no amount of
/// data.
fn trust_of_line(
    asked: &AskedLaw,
    cost: &TrainingCost,
    density: Density,
    (nonzero_params, compute): (NonzeroParams, f64),
    intervals: bool,
) -> Option<TrustView> {
    let compute = Compute::new(compute).ok()?;
    let training = Training::Compute(compute, cost);
    let question = LawQuestion::new(nonzero_params, density, training).ok()?;
    let interval = match (&asked.own, intervals) {
        (None, true) => asked.sampled.optimum_interval(cost, nonzero_params, compute, density),
        (Some(own), true) => own.interval(|law| {
            let best = law.best_density(cost, (nonzero_params, compute), None, None).ok()??;
            Some(best.sparsity().get())
        }),
        _ => None,
    };
    let outside = asked.law.content.support.extrapolation(&question);
    Some(asked.trust(sparsity_width(interval.map(Into::into)), &outside))
}

fn contours(
    asked: &AskedLaw,
    params: &ContoursParams,
    mode: &Mode,
    levels: &[Sparsity],
    sizes: &[NonzeroParams],
) -> Result<ContoursView, ApiError> {
    match &asked.own {
        None => asked.require_all("the optimal sparsity")?,
        Some(own) if own.law().levels().is_some() => asked.require_curve()?,
        Some(_) => asked.require_budgets("the optimal sparsity")?,
    }
    let cost = mode.cost(asked);
    if !cost.has_optimum() {
        return Err(ApiError::Undetermined(format!(
            "law {} has no contours in mode {}: with zeros from the first step on, which cost nothing there, every \
             further zero lowers the loss at every budget; ask in another mode, or ask optimal-sparsity with a bound",
            asked.law.version,
            mode.name()
        )));
    }
    if let Some(own) = &asked.own {
        return Ok(own_contours(asked, own, params, (mode, &cost), levels, sizes));
    }
    let chinchilla = ContourLine::chinchilla(&asked.sampled, &cost, params.intervals);
    let chinchilla =
        ChinchillaLineView { points: chinchilla.points(sizes)?, band: chinchilla.band(sizes) };
    let mut warnings = asked.warnings(params.intervals);
    let judged = judged_size(asked, sizes);
    let lines = levels.iter().map(|level| {
        let (law, density) = (&asked.sampled, level.density());
        let Some(line) = ContourLine::of_density(law, &cost, density, params.intervals) else {
            let detail = format!("no budget makes a sparsity of {level} optimal on this hardware");
            warnings.push(Arc::new(WarningView::new("no_budget", detail)));
            return Ok(ContourView {
                sparsity: level.get(),
                chinchilla_ratio: None,
                interval: None,
                points: Vec::new(),
                band: None,
                trust: asked.answers_trust(),
            });
        };
        let points = line.points(sizes)?;
        let [_, budget] = line.points(&[judged])?[0];
        let trust = trust_of_line(asked, &cost, density, (judged, budget), params.intervals);
        Ok(ContourView {
            sparsity: level.get(),
            chinchilla_ratio: Some(line.chinchilla_ratio()?),
            interval: line.ratio_interval().map(Into::into),
            points,
            band: line.band(sizes),
            trust: trust.unwrap_or_else(|| asked.answers_trust()),
        })
    });
    let lines = lines.collect::<Result<Vec<_>, ApiError>>()?;
    Ok(ContoursView {
        law: asked.reference.clone(),
        flop_mode: mode.name().to_owned(),
        chinchilla,
        trust: asked.trust_of_parts(lines.iter().map(|line| &line.trust)),
        lines,
        warnings,
    })
}

/// The contours of a law of experts, computed point by point: they are not straight, because the worth of sparsity
/// depends on the size. A size at which no budget makes the sparsity optimal has no point.
fn own_contours(
    asked: &AskedLaw,
    own: &SampledForm,
    params: &ContoursParams,
    (mode, cost): (&Mode, &TrainingCost),
    levels: &[Sparsity],
    sizes: &[NonzeroParams],
) -> ContoursView {
    let line = |of: &dyn Fn(&FormLaw, NonzeroParams) -> Option<f64>| {
        let at = |size: &NonzeroParams| Some([size.get(), of(own.law(), *size)?]);
        let points: Vec<[f64; 2]> = sizes.iter().filter_map(at).collect();
        let around = |[size, _]: &[f64; 2]| {
            let size = NonzeroParams::new(*size).ok()?;
            // Resampled laws for which no budget makes the sparsity optimal count as the largest budget, rather than
            // being left out.
            let compute = |law: &FormLaw| Some(of(law, size).map_or(LARGEST, |c| c.min(LARGEST)));
            let interval = own.interval(compute)?;
            Some([size.get(), interval.low, interval.high])
        };
        let band = || points.iter().map(around).collect::<Option<Vec<_>>>();
        let band = if params.intervals && !points.is_empty() { band() } else { None };
        (points, band)
    };
    let (points, band) = line(&|law, size| law.chinchilla_compute(cost, size));
    let chinchilla = ChinchillaLineView { points, band };
    let mut warnings = asked.warnings(params.intervals);
    let judged = judged_size(asked, sizes);
    let lines = levels.iter().map(|level| {
        let (points, band) = line(&|law, size| law.contour_compute(cost, level.density(), size));
        if points.len() < sizes.len() {
            let detail = format!(
                "at {} of {} sizes no budget makes a sparsity of {level} optimal",
                sizes.len() - points.len(),
                sizes.len()
            );
            warnings.push(Arc::new(WarningView::new("no_budget", detail)));
        }
        let budget = own.law().contour_compute(cost, level.density(), judged);
        let trust = budget.and_then(|budget| {
            trust_of_line(asked, cost, level.density(), (judged, budget), params.intervals)
        });
        ContourView {
            sparsity: level.get(),
            chinchilla_ratio: None,
            interval: None,
            points,
            band,
            trust: trust.unwrap_or_else(|| asked.answers_trust()),
        }
    });
    let lines: Vec<_> = lines.collect();
    ContoursView {
        law: asked.reference.clone(),
        flop_mode: mode.name().to_owned(),
        chinchilla,
        trust: asked.trust_of_parts(lines.iter().map(|line| &line.trust)),
        lines,
        warnings,
    }
}

/// The largest budget of an answer, in FLOPs.
const LARGEST: f64 = 1e40;

/// Shows lines of equal optimal sparsity.
///
/// The lines are straight in (log N, log C) and parallel to the Chinchilla line, except for laws of experts.
#[utoipa::path(
    get, path = "/v1/families/{family}/contours", tag = TAG_QUESTIONS,
    params(FamilyPath, ContoursParams),
    responses(
        (status = OK, description = "The lines, or a picture of them",
            content((ContoursView = "application/json"), (SvgPicture = "image/svg+xml"), (PngPicture = "image/png")),
            headers(("ETag" = String, description = "Changes with the law, the hardware profile and the representation"),
                ("Vary" = String, description = "`accept`"))),
        (status = NOT_ACCEPTABLE, description = "`Accept` takes neither JSON nor SVG nor PNG", body = Problem,
            content_type = "application/problem+json"),
        (status = NOT_MODIFIED, description = "As in the caller's copy"),
        (status = CONFLICT, description = "The family has no law yet, or its law does not know what is asked",
            body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn get_contours(
    State(state): State<AppState>,
    Path(path): Path<FamilyPath>,
    Query(params): Query<ContoursParams>,
    representation: Representation,
    known: KnownTags,
    owner: Owner,
) -> Result<Response, ApiError> {
    // Errors that do not depend on the law are reported before it is looked up.
    params.check(None, representation)?;
    let mode = Mode::find(&state, &params.flop_mode).await?;
    let name = path.name()?;
    let (asked, freshness) = any_law(&state, &name, params.law_version).await?;
    let (levels, sizes, canvas) =
        params.check(asked.law.content.support.nonzero_params(), representation)?;
    let (tag, freshness) = (mode.tag(&asked).into_owned(), mode.freshness(freshness));
    let mut sending = Sending { owner, known: &known, representation, tag, freshness };
    let law = Arc::clone(&asked);
    let mut drawn = Drawn::default();
    if let Representation::Picture(_) = representation {
        if let Some(response) = sending.not_modified() {
            return Ok(response);
        }
        let runs = asked.law.content.origin.runs().unwrap_or_default();
        let step = runs.div_ceil(MOST_DRAWN).max(1);
        match law_evidence::list_law_models(&state.pool, asked.law.id, step.into()).await {
            Ok(runs) => {
                drawn.runs = runs;
                drawn.note = (step > 1)
                    .then(|| format!("Drawn is one of {step} runs, by size, sparsity and data"));
            }
            // The lines do not need the runs. Without runs the picture has another tag, and has to be revalidated each
            // time.
            Err(error) if error.is_unavailable() => {
                tracing::warn!(%error, "a picture is drawn without its runs");
                drawn.note = Some("Its runs are not drawn: they cannot be read for now".to_owned());
                sending.tag += "-no-runs";
                sending.freshness = sending.freshness.revalidated();
            }
            Err(error) => return Err(error.into()),
        }
        drawn.mark = params.mark(&mut Checks::default());
        drawn.linear = params.axes == Some(ContourAxesView::Linear);
    }
    let mode = Arc::new(mode);
    let cost = Arc::clone(&mode);
    let answer = move || contours(&law, &params, &mode, &levels, &sizes);
    let draw = move |view: &ContoursView| {
        view.picture(name.as_str(), &asked, &cost.cost(&asked), drawn).svg(canvas)
    };
    sending.send(&state, answer, draw).await
}

impl ContoursView {
    fn picture(
        &self,
        family: &str,
        asked: &AskedLaw,
        cost: &TrainingCost,
        drawn: Drawn,
    ) -> ContourPicture {
        let line = |points: &[[f64; 2]], band: &Option<Vec<[f64; 3]>>| Line {
            points: points.to_vec(),
            band: band.clone(),
        };
        let banded = self.lines.iter().find_map(|line| line.interval);
        let banded = banded.map(|interval| interval.level).or_else(|| {
            // Lines of experts have no ratio, and therefore no interval to take the level from.
            let ensemble = asked.own.as_ref()?.ensemble()?;
            self.chinchilla.band.is_some().then(|| ensemble.level())
        });
        let mut caption = caption(family, &asked.law, self.warnings.iter().map(Arc::as_ref));
        caption.notes.extend(drawn.note);
        let run = |(nonzero_params, sparsity, data): (NonzeroParams, Sparsity, Data)| MeasuredRun {
            nonzero_params: nonzero_params.get(),
            compute: cost.compute(sparsity.density(), nonzero_params, data),
            sparsity: sparsity.get(),
        };
        ContourPicture {
            caption,
            flop_mode: self.flop_mode.clone(),
            chinchilla: line(&self.chinchilla.points, &self.chinchilla.band),
            lines: self
                .lines
                .iter()
                .map(|contour| LevelLine {
                    sparsity: contour.sparsity,
                    line: line(&contour.points, &contour.band),
                })
                .collect(),
            coverage: banded,
            runs: drawn.runs.into_iter().map(run).collect(),
            mark: drawn.mark,
            linear: drawn.linear,
        }
    }
}
