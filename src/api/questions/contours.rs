//! Contours: the budgets at which each of some sparsities is the best, by size.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use sparsity_law::law::{ContourLine, NonzeroParams, Range, Sparsity};
use utoipa::openapi::schema::{Array, SchemaType, Type};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::layers::owner::Owner;
use crate::api::questions::asked::asked_law;
use crate::api::questions::law::AskedLaw;
use crate::api::questions::modes::{Mode, check_mode};
use crate::api::state::AppState;
use crate::api::tags::TAG_QUESTIONS;
use crate::api::wire::caching::KnownTags;
use crate::api::wire::extract::{FamilyPath, Query};
use crate::api::wire::negotiation::Representation;
use crate::api::wire::pictures::{
    PngPicture, Sending, SvgPicture, ThemeView, caption, check_canvas,
};
use crate::api::wire::problem::{ApiError, Problem};
use crate::api::wire::schemas::tuples_of;
use crate::api::wire::values::sparsities;
use crate::api::wire::views::{IntervalView, LawRef, TrustView, WarningView};
use crate::domain::checks::Checks;
use crate::draw::{Canvas, ContourPicture, LevelLine, Line};

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_contours))
}

/// Which contours to draw.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ContoursParams {
    /// What a training step costs: `dense`, `sparse`, or the name of a hardware profile such as
    /// `example-block-sparse`.
    #[param(example = "sparse")]
    flop_mode: String,
    /// Sparsities, at most 100: `0,0.5,0.75,0.875` unless said otherwise.
    #[serde(default = "ContoursParams::default_levels")]
    #[param(default = "0,0.5,0.75,0.875")]
    levels: String,
    /// Left end of the lines: the smallest size of the runs unless said otherwise.
    #[param(minimum = 1, maximum = 1e18)]
    min_nonzero_params: Option<f64>,
    /// Right end of the lines: 100 times the largest size of the runs unless said otherwise.
    #[param(minimum = 1, maximum = 1e18)]
    max_nonzero_params: Option<f64>,
    /// Points of each line, spaced evenly in the logarithm; 9 unless said otherwise, and in a picture
    /// 49. The lines are straight there, so two tell all; the bands are not.
    #[param(default = 9, minimum = 2, maximum = 200)]
    points: Option<u32>,
    /// Version of the law to ask; the active one unless said otherwise.
    law_version: Option<i32>,
    /// Whether to answer with intervals.
    #[serde(default = "crate::api::wire::extract::yes")]
    #[param(default = true)]
    intervals: bool,
    /// Width of a picture in pixels, between 480 and 2400. Of no effect on JSON, as `height` and `theme`.
    #[param(default = 800, minimum = 480, maximum = 2400)]
    width: Option<u32>,
    /// Height of a picture in pixels, between 360 and 1800.
    #[param(default = 540, minimum = 360, maximum = 1800)]
    height: Option<u32>,
    /// Colours of a picture; `light` unless said otherwise.
    #[param(inline)]
    theme: Option<ThemeView>,
}

/// Sizes where the runs are not known: a law without support is asked about models of any size.
const ANY_SIZE: Range = Range { min: 1e6, max: 1e10 };

/// How far beyond the largest run the lines go.
const BEYOND: f64 = 100.0;

impl ContoursParams {
    fn default_levels() -> String {
        "0,0.5,0.75,0.875".to_owned()
    }

    /// Levels, the sizes at which the lines are computed, and the canvas of a picture.
    fn check(
        &self,
        support: Option<Range>,
        representation: Representation,
    ) -> Result<(Vec<Sparsity>, Vec<NonzeroParams>, Canvas), ApiError> {
        let mut checks = Checks::default();
        let levels = sparsities("levels", &self.levels, &mut checks);
        let support =
            support.map_or(ANY_SIZE, |Range { min, max }| Range { min, max: max * BEYOND });
        let min = self.min_nonzero_params.unwrap_or(support.min);
        let max = self.max_nonzero_params.unwrap_or(support.max.min(1e18));
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
        let canvas = check_canvas(self.width, self.height, self.theme, &mut checks);
        let (levels, (min, max)) = checks.finish(levels.zip(ends))?;
        let last = f64::from(points - 1);
        let sizes = (0..points).map(|point| {
            let share = f64::from(point) / last;
            // Between two sizes that are in range.
            NonzeroParams::new(Range { min, max }.at_share(share).clamp(min, max))
                .expect("a size between two sizes")
        });
        Ok((levels, sizes.collect(), canvas))
    }
}

/// Lines of equal optimal sparsity in (N, C).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Contours)]
pub struct ContoursView {
    /// The law that they were computed from.
    law: Arc<LawRef>,
    /// What a training step costs: `dense`, `sparse`, or the name of a hardware profile.
    #[schema(example = "sparse")]
    flop_mode: String,
    /// Where a dense model of each size is compute-optimal.
    chinchilla: ChinchillaLineView,
    /// A line for each sparsity, in the order that was asked.
    lines: Vec<ContourView>,
    /// What to know before trusting them.
    warnings: Vec<Arc<WarningView>>,
    /// How far the law behind them can be trusted.
    trust: TrustView,
}

fn line_schema() -> Array {
    tuples_of::<2>().description(Some("`[nonzero_params, compute]`.")).build()
}

fn band_schema() -> Array {
    let description =
        "`[nonzero_params, lowest compute, highest compute]`; null where the law has no intervals.";
    let array_or_null = SchemaType::Array(vec![Type::Array, Type::Null]);
    tuples_of::<3>().schema_type(array_or_null).description(Some(description)).build()
}

/// Where a dense model is compute-optimal.
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
    /// Budget over the compute at which a dense model of the same size is compute-optimal: the same
    /// at every size. Null, and no points, where a hardware profile makes the best sparsity jump over
    /// this one, so that no budget asks for it; where a range of budgets does, its upper end.
    #[schema(example = 2.458)]
    chinchilla_ratio: Option<f64>,
    /// Interval of the ratio, over the resampled laws that have one; null where there are none.
    interval: Option<IntervalView>,
    /// `[nonzero_params, compute]`.
    #[schema(schema_with = line_schema)]
    points: Vec<[f64; 2]>,
    /// `[nonzero_params, lowest compute, highest compute]`; null where the law has no intervals.
    #[schema(schema_with = band_schema)]
    band: Option<Vec<[f64; 3]>>,
}

fn contours(
    asked: &AskedLaw,
    params: &ContoursParams,
    mode: &Mode,
    levels: &[Sparsity],
    sizes: &[NonzeroParams],
) -> Result<ContoursView, ApiError> {
    asked.require_all("the optimal sparsity")?;
    let cost = mode.cost(asked);
    if !cost.has_optimum() {
        return Err(ApiError::Undetermined(format!(
            "law {} has no contours in mode {}: with zeros from the first step on, which cost nothing there, every \
             further zero lowers the loss at every budget; ask in another mode, or ask optimal-sparsity with a bound",
            asked.law.version,
            mode.name()
        )));
    }
    let chinchilla = ContourLine::chinchilla(&asked.sampled, &cost, params.intervals);
    let chinchilla =
        ChinchillaLineView { points: chinchilla.points(sizes)?, band: chinchilla.band(sizes) };
    let mut warnings = asked.warnings(params.intervals);
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
            });
        };
        let points = line.points(sizes)?;
        Ok(ContourView {
            sparsity: level.get(),
            chinchilla_ratio: Some(line.chinchilla_ratio()?),
            interval: line.ratio_interval().map(Into::into),
            points,
            band: line.band(sizes),
        })
    });
    Ok(ContoursView {
        law: asked.reference.clone(),
        flop_mode: mode.name().to_owned(),
        chinchilla,
        lines: lines.collect::<Result<_, ApiError>>()?,
        warnings,
        trust: asked.own_trust(),
    })
}

/// Lines of equal optimal sparsity, straight in (log N, log C) and parallel to the Chinchilla line.
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
    // What is wrong whatever the law is said before one is looked for.
    params.check(None, representation)?;
    let mode = Mode::find(&state, &params.flop_mode).await?;
    let name = path.name()?;
    let (asked, freshness) = asked_law(&state, &name, params.law_version).await?;
    let (levels, sizes, canvas) =
        params.check(asked.law.content.support.nonzero_params(), representation)?;
    let (tag, freshness) = (mode.tag(&asked).into_owned(), mode.freshness(freshness));
    let sending = Sending { owner, known: &known, representation, tag, freshness };
    let law = Arc::clone(&asked);
    let answer = move || contours(&law, &params, &mode, &levels, &sizes);
    let draw = move |view: &ContoursView| view.picture(name.as_str(), &asked).svg(canvas);
    sending.send(&state, answer, draw).await
}

impl ContoursView {
    fn picture(&self, family: &str, asked: &AskedLaw) -> ContourPicture {
        let line = |points: &[[f64; 2]], band: &Option<Vec<[f64; 3]>>| Line {
            points: points.to_vec(),
            band: band.clone(),
        };
        let banded = self.lines.iter().find_map(|line| line.interval);
        ContourPicture {
            caption: caption(family, &asked.law, self.warnings.iter().map(Arc::as_ref)),
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
            coverage: banded.map(|interval| interval.level),
        }
    }
}
