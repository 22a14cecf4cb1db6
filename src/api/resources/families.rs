//! `/v1/families`: families of models, each with the runs that one law describes.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sparsity_law::fit::FitConfig;
use sparsity_law::law::{FlopsPerParam, PruningSchedule};
use sqlx::PgExecutor;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::layers::noting::Noting;
use crate::api::layers::replica_reads::Reads;
use crate::api::state::AppState;
use crate::api::tags::TAG_FAMILIES;
use crate::api::wire::extract::{FamilyPath, JsonBody, PageParams, Query, next_cursor, no_family};
use crate::api::wire::fit_options::{ObjectiveView, check_fit_config};
use crate::api::wire::problem::{ApiError, Problem};
use crate::api::wire::views::{LawRef, TrustView, WarningView, nullable};
use crate::api::wire::zeros::{ExpertsView, PruningBody, PruningView, ZerosView};
use crate::domain::checks::Checks;
use crate::domain::family::{Family, FamilySettings, Zeros};
use crate::domain::law::Law;
use crate::domain::text::{FamilyName, check_label, check_prose};
use crate::live::keyring::Caller;
use crate::store::{families, laws};

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_families, create_family)).routes(routes!(
        get_family,
        update_family,
        delete_family
    ))
}

/// A model family.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Family)]
pub struct FamilyView {
    /// Name of the family in URLs.
    #[schema(example = "t5-c4")]
    pub name: String,
    /// Free-text description.
    pub description: String,
    /// What `data` counts.
    #[schema(example = "tokens")]
    pub data_unit: String,
    /// Tokens in one data unit, where known.
    #[schema(example = 1.0)]
    pub tokens_per_data_unit: Option<f64>,
    /// FLOPs per parameter and data unit in training.
    #[schema(example = 6.0)]
    pub flops_per_param: f64,
    /// When the family's models are pruned during training.
    pub pruning: PruningView,
    /// What the zeros of the family's models are.
    pub zeros: ZerosView,
    /// The mixtures of experts that can be deployed; null where none are listed.
    pub experts: Option<ExpertsView>,
    /// What refits minimise by default.
    pub objective: ObjectiveView,
    /// The law that answers: the pinned law, or else the newest fitted one, or else the newest published one.
    pub active_law: Option<LawRef>,
    /// Runs, warnings and trust of that law; null where there is none.
    pub law: Option<LawGlanceView>,
    /// Whether that law is pinned.
    pub pinned: bool,
    /// When the family was created.
    pub created_at: DateTime<Utc>,
    /// When the family's settings last changed.
    pub updated_at: DateTime<Utc>,
}

/// A law at a glance.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LawGlance)]
pub struct LawGlanceView {
    /// Number of runs that the law was fitted on; null where a published law does not say.
    #[schema(example = 48)]
    pub runs: Option<u32>,
    /// Value of the objective that the law minimised, at its coefficients; null where a published law does not say.
    #[schema(example = 1.1e-5)]
    pub objective: Option<f64>,
    /// How far the law can be trusted: `none` where its runs do not determine the best sparsity of a budget. Each
    /// answer of the law has a rating of its own.
    pub trust: TrustView,
    /// What the runs cannot tell.
    pub warnings: Vec<WarningView>,
}

impl From<&Law> for LawGlanceView {
    fn from(law: &Law) -> Self {
        let content = &law.content;
        Self {
            runs: content.origin.runs(),
            objective: content.origin.objective(),
            trust: content.trust().into(),
            warnings: content.all_warnings().iter().map(WarningView::from).collect(),
        }
    }
}

impl FamilyView {
    fn new(family: Family, active_law: Option<&Law>) -> Self {
        let settings = family.settings;
        Self {
            name: family.name.to_string(),
            description: settings.description,
            data_unit: settings.data_unit,
            tokens_per_data_unit: settings.tokens_per_data_unit,
            flops_per_param: settings.flops_per_param.get(),
            pruning: (&settings.pruning).into(),
            zeros: (&settings.zeros).into(),
            experts: settings.zeros.grid().map(ExpertsView::from),
            objective: ObjectiveView::new(settings.residual, settings.delta),
            active_law: active_law.map(LawRef::from),
            law: active_law.map(LawGlanceView::from),
            pinned: family.pinned_law_id.is_some(),
            created_at: family.created_at,
            updated_at: family.updated_at,
        }
    }

    /// Shows a family with the law that answers for it, which is loaded here.
    pub(crate) async fn load(db: impl PgExecutor<'_>, family: Family) -> Result<Self, ApiError> {
        let law = laws::find_law(db, &family.name, None).await?;
        Ok(Self::new(family, law.as_ref()))
    }
}

/// A page of families.
#[derive(Debug, Serialize, ToSchema)]
pub struct FamilyList {
    /// The families, newest first.
    items: Vec<FamilyView>,
    /// Where the next page starts; null at the end.
    next_cursor: Option<String>,
}

/// A family to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateFamily {
    /// Name of the family: lower-case letters, digits and hyphens, at most 64.
    #[schema(example = "my-models", pattern = "^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$")]
    name: String,
    /// Free-text description; at most 2,000 characters.
    #[serde(default)]
    #[schema(max_length = 2000)]
    description: String,
    /// What `data` counts: `tokens` by default.
    #[schema(example = "tokens", default = "tokens")]
    data_unit: Option<String>,
    /// Tokens in one data unit, where known; 1 for tokens.
    #[schema(minimum = 1e-6, maximum = 1e12)]
    tokens_per_data_unit: Option<f64>,
    /// FLOPs per parameter and data unit in training: by default 6, for one forward and backward pass, times
    /// `tokens_per_data_unit` where that is known. At least `tokens_per_data_unit`.
    #[schema(minimum = 1e-3, maximum = 1e12)]
    flops_per_param: Option<f64>,
    /// When zeros are introduced during training: by default from 25 % to 75 % of it with exponent 3, or from the first
    /// step on if `zeros` is `experts`.
    #[schema(value_type = Option<PruningView>)]
    pruning: Option<PruningBody>,
    /// What the zeros of the family's models are: `weights` by default. With `experts`, `nonzero_params` counts the
    /// parameters that a token passes, and `sparsity` is the share of the parameters that it does not pass.
    zeros: Option<ZerosView>,
    /// The mixtures of experts that can be deployed; only if `zeros` is `experts`.
    experts: Option<ExpertsView>,
    /// What refits minimise: by default `log` with delta `auto`.
    objective: Option<ObjectiveView>,
}

impl CreateFamily {
    fn check(self) -> Result<(FamilyName, FamilySettings), ApiError> {
        let mut checks = Checks::default();
        let name = checks.take("name", FamilyName::new(&self.name));
        let default = FitConfig::default();
        let data_unit = self.data_unit.unwrap_or_else(|| "tokens".to_owned());
        let tokens = if data_unit == "tokens" { Some(1.0) } else { None };
        let tokens_per_data_unit = self.tokens_per_data_unit.or(tokens);
        // A data unit of several tokens costs that many times the FLOPs of one token.
        let flops_per_param = FlopsPerParam::new(6.0 * tokens_per_data_unit.unwrap_or(1.0));
        let flops_per_param = flops_per_param.unwrap_or(FlopsPerParam::TRAINING);
        let settings = FamilySettings {
            description: self.description,
            data_unit,
            tokens_per_data_unit,
            flops_per_param,
            pruning: match self.zeros {
                Some(ZerosView::Experts) => PruningSchedule::constant(),
                Some(ZerosView::Weights) | None => PruningSchedule::default(),
            },
            zeros: Zeros::Weights,
            residual: default.residual,
            delta: default.delta,
        };
        let changes = SettingChanges {
            flops_per_param: self.flops_per_param,
            pruning: self.pruning,
            zeros: self.zeros,
            experts: self.experts.map(Some),
            objective: self.objective,
        };
        let settings = changes.apply(settings, &mut checks);
        Ok(checks.finish(name.zip(settings))?)
    }
}

/// Changes to a family. Fields that are left out keep their values.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateFamily {
    /// Free-text description; at most 2,000 characters.
    description: Option<String>,
    /// What `data` counts; can only change while the family has neither runs nor laws.
    data_unit: Option<String>,
    /// Tokens in one data unit; null where unknown.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<f64>, minimum = 1e-6, maximum = 1e12)]
    tokens_per_data_unit: Option<Option<f64>>,
    /// FLOPs per parameter and data unit in training; existing laws keep their value.
    #[schema(minimum = 1e-3, maximum = 1e12)]
    flops_per_param: Option<f64>,
    /// When zeros are introduced during training, replaced as a whole; existing laws keep their schedule.
    #[schema(value_type = Option<PruningView>)]
    pruning: Option<PruningBody>,
    /// What the zeros of the family's models are; existing laws keep their value.
    zeros: Option<ZerosView>,
    /// The mixtures of experts that can be deployed, replaced as a whole; null for none. Existing laws keep theirs.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<ExpertsView>)]
    experts: Option<Option<ExpertsView>>,
    /// What refits minimise from now on.
    objective: Option<ObjectiveView>,
}

impl UpdateFamily {
    fn check(self, current: &FamilySettings) -> Result<FamilySettings, ApiError> {
        let mut checks = Checks::default();
        if let (Some(Some(tokens)), None) = (self.tokens_per_data_unit, self.flops_per_param)
            && current.flops_per_param.get() < tokens
        {
            let detail = format!(
                "must not be above the family's flops_per_param, {}, which is of a whole data unit: give both, {} \
                 for one forward and backward pass",
                current.flops_per_param.get(),
                6.0 * tokens
            );
            checks.refuse("tokens_per_data_unit", detail);
        }
        let settings = FamilySettings {
            description: self.description.unwrap_or_else(|| current.description.clone()),
            data_unit: self.data_unit.unwrap_or_else(|| current.data_unit.clone()),
            tokens_per_data_unit: self.tokens_per_data_unit.unwrap_or(current.tokens_per_data_unit),
            ..current.clone()
        };
        let changes = SettingChanges {
            flops_per_param: self.flops_per_param,
            pruning: self.pruning,
            zeros: self.zeros,
            experts: self.experts,
            objective: self.objective,
        };
        let settings = changes.apply(settings, &mut checks);
        Ok(checks.finish(settings)?)
    }
}

/// The settings that creating and changing a family have in common.
struct SettingChanges {
    flops_per_param: Option<f64>,
    pruning: Option<PruningBody>,
    zeros: Option<ZerosView>,
    experts: Option<Option<ExpertsView>>,
    objective: Option<ObjectiveView>,
}

impl SettingChanges {
    /// Applies these changes to `settings` and checks every field.
    fn apply(self, mut settings: FamilySettings, checks: &mut Checks) -> Option<FamilySettings> {
        checks.take("description", check_prose(&settings.description));
        checks.take("data_unit", check_label(&settings.data_unit));
        if let Some(tokens) = settings.tokens_per_data_unit
            && !(1e-6..=1e12).contains(&tokens)
        {
            checks.refuse("tokens_per_data_unit", "must be between 1e-6 and 1e12");
        }
        if let Some(flops_per_param) = self.flops_per_param {
            settings.flops_per_param =
                checks.take("flops_per_param", FlopsPerParam::new(flops_per_param))?;
            // Each of the tokens takes some FLOPs, so a lower value must be the cost of a single token, given by
            // mistake.
            let tokens = settings.tokens_per_data_unit.unwrap_or(0.0);
            if flops_per_param < tokens {
                let detail = format!(
                    "must be the FLOPs per parameter of a whole data unit, which is {tokens} tokens: {} for one \
                     forward and backward pass, not {flops_per_param}",
                    6.0 * tokens
                );
                checks.refuse("flops_per_param", detail);
            }
        }
        if let Some(pruning) = self.pruning {
            settings.pruning = pruning.check(checks)?;
        }
        let are_experts = match self.zeros {
            Some(zeros) => zeros == ZerosView::Experts,
            None => settings.zeros.are_experts(),
        };
        settings.zeros = match (are_experts, self.experts) {
            (true, Some(Some(experts))) => Zeros::Experts(Some(experts.check(checks)?)),
            (true, Some(None)) => Zeros::Experts(None),
            (true, None) => Zeros::Experts(settings.zeros.grid().cloned()),
            (false, Some(Some(_))) => {
                checks.refuse("experts", "belongs to zeros experts, and these are weights");
                return None;
            }
            (false, _) => Zeros::Weights,
        };
        if let Some(objective) = self.objective {
            let (residual, delta) = (objective.residual(), objective.delta.0);
            let config = FitConfig { residual, delta, ..FitConfig::default() };
            check_fit_config(config, checks)?;
            settings.residual = residual;
            settings.delta = delta;
        }
        Some(settings)
    }
}

/// Lists families, newest first. A key that is restricted to some families only sees these.
#[utoipa::path(
    get, path = "/v1/families", tag = TAG_FAMILIES, params(PageParams),
    responses((status = OK, description = "A page of families", body = FamilyList)),
)]
async fn list_families(
    reads: Reads,
    caller: Caller,
    Query(params): Query<PageParams>,
) -> Result<Json<FamilyList>, ApiError> {
    let only = caller.families().names();
    let request = params.check()?;
    let mut db = reads.connection().await?;
    let page = families::list_families(&mut *db, request, only.as_deref()).await?;
    let next_cursor = next_cursor(&page);
    let ids: Vec<_> = page.items.iter().map(|family| family.id).collect();
    let mut active = laws::list_active_laws(&mut *db, &ids).await?;
    let items = page
        .items
        .into_iter()
        .map(|family| {
            let law = active.remove(&family.id);
            FamilyView::new(family, law.as_ref())
        })
        .collect();
    Ok(Json(FamilyList { items, next_cursor }))
}

/// Creates a family.
#[utoipa::path(
    post, path = "/v1/families", tag = TAG_FAMILIES, request_body = CreateFamily,
    responses(
        (status = CREATED, description = "The family", body = FamilyView,
            headers(("Location" = String, description = "Path of the family"))),
        (status = CONFLICT, description = "A family of this name exists", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
async fn create_family(
    State(state): State<AppState>,
    caller: Caller,
    noting: Noting,
    JsonBody(body): JsonBody<CreateFamily>,
) -> Result<impl IntoResponse, ApiError> {
    let (name, settings) = body.check()?;
    caller.require_family(name.as_str())?;
    let now = state.clock.now();
    let family = Family {
        id: state.clock.new_id(),
        name,
        settings,
        pinned_law_id: None,
        created_at: now,
        updated_at: now,
    };
    let location = format!("/v1/families/{}", family.name);
    let mut write = noting.begin(&state.pool).await?;
    families::insert_family(&mut *write, &family).await?;
    write.commit(StatusCode::CREATED, Some(&location)).await?;
    let body = Json(FamilyView::new(family, None));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], body))
}

/// Shows a family.
#[utoipa::path(
    get, path = "/v1/families/{family}", tag = TAG_FAMILIES, params(FamilyPath),
    responses((status = OK, description = "The family", body = FamilyView)),
)]
async fn get_family(
    reads: Reads,
    Path(path): Path<FamilyPath>,
) -> Result<Json<FamilyView>, ApiError> {
    let name = path.name()?;
    let mut db = reads.connection().await?;
    let family = existing(&mut *db, &name).await?;
    FamilyView::load(&mut *db, family).await.map(Json)
}

/// Changes a family's settings. Existing laws keep the settings that they were made with.
#[utoipa::path(
    patch, path = "/v1/families/{family}", tag = TAG_FAMILIES, params(FamilyPath),
    request_body = UpdateFamily,
    responses(
        (status = OK, description = "The family as it is now", body = FamilyView),
        (status = CONFLICT, description = "The data unit is in use", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
async fn update_family(
    State(state): State<AppState>,
    noting: Noting,
    Path(path): Path<FamilyPath>,
    JsonBody(body): JsonBody<UpdateFamily>,
) -> Result<Json<FamilyView>, ApiError> {
    let name = path.name()?;
    let mut write = noting.begin(&state.pool).await?;
    let mut family = families::find_family_for_update(&mut *write, &name)
        .await?
        .ok_or_else(|| no_family(name.as_str()))?;
    let settings = body.check(&family.settings)?;
    if settings.data_unit != family.settings.data_unit
        && families::find_family_in_use(&mut *write, family.id).await?
    {
        return Err(ApiError::DataUnitInUse);
    }
    family.settings = settings;
    family.updated_at = state.clock.now();
    families::update_family(&mut *write, &family).await?;
    write.commit(StatusCode::OK, None).await?;
    FamilyView::load(&state.pool, family).await.map(Json)
}

/// Deletes a family with its runs, laws and refits.
#[utoipa::path(
    delete, path = "/v1/families/{family}", tag = TAG_FAMILIES, params(FamilyPath),
    responses((status = NO_CONTENT, description = "It is gone")),
)]
async fn delete_family(
    State(state): State<AppState>,
    noting: Noting,
    Path(path): Path<FamilyPath>,
) -> Result<StatusCode, ApiError> {
    let name = path.name()?;
    let mut write = noting.begin(&state.pool).await?;
    if !families::delete_family(&mut *write, &name).await? {
        return Err(no_family(name.as_str()));
    }
    write.commit(StatusCode::NO_CONTENT, None).await?;
    state.laws.forget(name.as_str());
    Ok(StatusCode::NO_CONTENT)
}

/// Finds the family of this name.
///
/// # Errors
/// [`ApiError::NotFound`] if there is no such family.
pub(crate) async fn existing(
    db: impl PgExecutor<'_>,
    name: &FamilyName,
) -> Result<Family, ApiError> {
    families::find_family(db, name).await?.ok_or_else(|| no_family(name.as_str()))
}
