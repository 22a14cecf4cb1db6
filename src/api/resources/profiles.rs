//! `/v1/hardware-profiles`: named FLOP modes in addition to `dense` and `sparse`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sparsity_law::law::{StepCost, StorageFormat};
use utoipa::openapi::schema::Array;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::layers::noting::Noting;
use crate::api::layers::replica_reads::Reads;
use crate::api::state::AppState;
use crate::api::tags::TAG_PROFILES;
use crate::api::wire::extract::{JsonBody, PageParams, Query, UniqueKeys, next_cursor};
use crate::api::wire::problem::{ApiError, Problem};
use crate::api::wire::schemas::tuples_of;
use crate::api::wire::views::nullable;
use crate::domain::checks::Checks;
use crate::domain::profile::{GivenCost, HardwareProfile, ProfileCost, ProfileSettings, Rates};
use crate::domain::text::{Pattern, ProfileName, check_prose};
use crate::store::profiles;

/// Routes of this resource.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_hardware_profiles, create_hardware_profile))
        .routes(routes!(get_hardware_profile, update_hardware_profile, delete_hardware_profile))
}

/// The most measured points per profile.
const MAX_POINTS: usize = 100;
/// The most patterns per profile.
const MAX_PATTERNS: usize = 50;

/// A named FLOP mode.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HardwareProfile)]
pub struct HardwareProfileView {
    /// Name of the profile in URLs and as a `flop_mode`.
    #[schema(example = "example-block-sparse")]
    name: String,
    /// What a training step costs at a sparsity, relative to a dense step of the same shape.
    cost: CostView,
    /// Structured patterns `n:m` that the hardware can run.
    #[schema(example = json!(["2:4"]))]
    patterns: Vec<String>,
    /// Measured cost of a step, by pattern.
    #[schema(example = json!({"2:4": 0.941}))]
    pattern_costs: BTreeMap<String, f64>,
    /// Measured cost of a step, by number of experts, relative to a dense model with as many active parameters.
    #[schema(example = json!({"8": 1.05, "64": 1.3}))]
    expert_costs: BTreeMap<String, f64>,
    /// How weights are stored by default.
    storage: StorageView,
    /// FLOPs of dense work per second of one device: the peak if `utilisation` is given, otherwise what training
    /// achieves; null where unknown. Used to convert budgets in hours, days and money. Between 1 and 1e30.
    #[schema(example = 1e15, minimum = 1, maximum = 1e30)]
    flops_per_second: Option<f64>,
    /// Share of `flops_per_second` that training achieves, above 0 and at most 1; null means 1.
    #[schema(example = 0.4, exclusive_minimum = 0, maximum = 1)]
    utilisation: Option<f64>,
    /// Number of devices that train together, used to count days; null means 1.
    #[schema(example = 64, minimum = 1, maximum = 100_000_000)]
    devices: Option<u32>,
    /// Price of an hour of one device, in a currency of your choice; null where unknown. Above 0 and at most 1e12.
    #[schema(example = 2.0, exclusive_minimum = 0, maximum = 1e12)]
    price_per_hour: Option<f64>,
    /// Where the numbers come from.
    source: String,
    /// When the profile was created.
    created_at: DateTime<Utc>,
    /// When the profile last changed.
    updated_at: DateTime<Utc>,
}

/// What a training step costs while the sparsity is `s`, relative to a dense step of the same shape.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = StepCost)]
pub enum CostView {
    /// `(1 - f) + f min(1, (1 - s) / eta)`.
    Share(ShareCost),
    /// Measured costs.
    Points(PointsCost),
}

/// `(1 - f) + f min(1, (1 - s) / eta)`: zeros save nothing at sparsities below `1 - eta`.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShareCost {
    /// `f`: share of the FLOPs that zeros can save.
    #[schema(example = 0.9, minimum = 0, maximum = 1)]
    prunable_share: f64,
    /// `eta`: fraction of the ideal speed-up that is achieved.
    #[schema(example = 0.7, exclusive_minimum = 0, maximum = 1)]
    efficiency: f64,
}

/// Measured points; linear between them and constant beyond the last one.
#[derive(Debug, Serialize, ToSchema)]
pub struct PointsCost {
    /// `[sparsity, cost]`, sorted by sparsity.
    #[schema(schema_with = points_schema)]
    points: Vec<[f64; 2]>,
}

fn points_schema() -> Array {
    tuples_of::<2>()
        .description(Some(
            "`[sparsity, cost]`, rising in the sparsity. The point `[0, 1]` comes first where it is left \
             out. A cost is above 0 and at most 10; at sparsity 1 it may be 0.",
        ))
        .min_items(Some(1))
        .max_items(Some(MAX_POINTS))
        .examples([json!([[0.5, 0.9], [0.9, 0.4]])])
        .build()
}

/// How the weights of a sparse model are stored.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[schema(as = StorageFormat)]
pub enum StorageView {
    /// All weights, zeros included.
    #[serde(rename = "dense")]
    Dense,
    /// One bit for each weight, and the non-zero weights.
    #[serde(rename = "bitmask")]
    Bitmask,
    /// Compressed sparse rows.
    #[serde(rename = "csr")]
    Csr,
    /// Two of every four weights, with two bits of position for each of these.
    #[serde(rename = "2:4")]
    TwoOfFour,
}

impl From<StorageView> for StorageFormat {
    fn from(format: StorageView) -> Self {
        match format {
            StorageView::Dense => Self::Dense,
            StorageView::Bitmask => Self::Bitmask,
            StorageView::Csr => Self::Csr,
            StorageView::TwoOfFour => Self::TwoOfFour,
        }
    }
}

impl From<StorageFormat> for StorageView {
    fn from(format: StorageFormat) -> Self {
        match format {
            StorageFormat::Dense => Self::Dense,
            StorageFormat::Bitmask => Self::Bitmask,
            StorageFormat::Csr => Self::Csr,
            StorageFormat::TwoOfFour => Self::TwoOfFour,
        }
    }
}

impl From<&GivenCost> for CostView {
    fn from(cost: &GivenCost) -> Self {
        match cost {
            GivenCost::Share { prunable_share, efficiency } => {
                Self::Share(ShareCost { prunable_share: *prunable_share, efficiency: *efficiency })
            }
            GivenCost::Points(points) => {
                Self::Points(PointsCost { points: points.iter().map(|&(s, h)| [s, h]).collect() })
            }
        }
    }
}

impl From<HardwareProfile> for HardwareProfileView {
    fn from(profile: HardwareProfile) -> Self {
        let settings = profile.settings;
        let costs = settings.pattern_costs.iter();
        Self {
            name: profile.name.to_string(),
            cost: settings.cost.given().into(),
            patterns: settings.patterns.iter().map(|p| p.as_str().to_owned()).collect(),
            pattern_costs: costs.map(|(p, cost)| (p.as_str().to_owned(), *cost)).collect(),
            expert_costs: {
                let costs = settings.expert_costs.iter();
                costs.map(|(count, cost)| (count.to_string(), *cost)).collect()
            },
            storage: settings.storage.into(),
            flops_per_second: settings.rates.flops_per_second,
            utilisation: settings.rates.utilisation,
            devices: settings.rates.devices,
            price_per_hour: settings.rates.price_per_hour,
            source: settings.source,
            created_at: profile.created_at,
            updated_at: profile.updated_at,
        }
    }
}

/// A page of hardware profiles.
#[derive(Debug, Serialize, ToSchema)]
pub struct HardwareProfileList {
    /// The profiles, newest first.
    items: Vec<HardwareProfileView>,
    /// Where the next page starts; null at the end.
    next_cursor: Option<String>,
}

/// A cost in either of its two forms. Its schema is that of [`CostView`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CostBody {
    prunable_share: Option<f64>,
    efficiency: Option<f64>,
    points: Option<Vec<[f64; 2]>>,
}

impl CostBody {
    fn check(self, checks: &mut Checks) -> Option<ProfileCost> {
        match (self.prunable_share, self.efficiency, self.points) {
            (Some(share), Some(efficiency), None) => ProfileCost::of_share(share, efficiency)
                .map_err(|(field, error)| {
                    checks.refuse(&format!("cost/{field}"), error.to_string());
                })
                .ok(),
            (None, None, Some(points)) => {
                let count = points.len();
                if !(1..=MAX_POINTS).contains(&count) {
                    let detail = format!("must be 1 to {MAX_POINTS} points, not {count}");
                    checks.refuse("cost/points", detail);
                    return None;
                }
                ProfileCost::of_points(points.into_iter().map(|[s, h]| (s, h)).collect())
                    .map_err(|e| {
                        let field = format!("cost/points/{}/{}", e.point, e.coordinate);
                        checks.refuse(&field, e.error.to_string());
                    })
                    .ok()
            }
            (Some(_), None, None) => {
                checks.refuse("cost/efficiency", "must be given with prunable_share");
                None
            }
            (None, Some(_), None) => {
                checks.refuse("cost/prunable_share", "must be given with efficiency");
                None
            }
            (None, None, None) => {
                checks.refuse("cost", "must have prunable_share and efficiency, or points");
                None
            }
            (_, _, Some(_)) => {
                let detail = "must not be given beside prunable_share or efficiency";
                checks.refuse("cost/points", detail);
                None
            }
        }
    }
}

/// Checks a list of patterns `n:m`, none of which may be given twice.
pub(crate) fn check_patterns(patterns: &[String], checks: &mut Checks) -> Option<Vec<Pattern>> {
    if patterns.len() > MAX_PATTERNS {
        let detail = format!("must be at most {MAX_PATTERNS}, not {}", patterns.len());
        checks.refuse("patterns", detail);
        return None;
    }
    let mut checked = Vec::with_capacity(patterns.len());
    for (i, name) in patterns.iter().enumerate() {
        let field = format!("patterns/{i}");
        match checks.take(&field, Pattern::new(name)) {
            Some(pattern) if checked.contains(&pattern) => {
                checks.refuse(&field, "must not be given twice");
            }
            pattern => checked.extend(pattern),
        }
    }
    Some(checked)
}

fn check_pattern_costs(
    costs: BTreeMap<String, f64>,
    patterns: &[Pattern],
    checks: &mut Checks,
) -> BTreeMap<Pattern, f64> {
    if costs.len() > MAX_PATTERNS {
        let detail = format!("must be at most {MAX_PATTERNS}, not {}", costs.len());
        checks.refuse("pattern_costs", detail);
        return BTreeMap::new();
    }
    let mut checked = BTreeMap::new();
    for (name, cost) in costs {
        // Escaped for a JSON pointer: names of patterns contain neither character, but invalid names may.
        let field = format!("pattern_costs/{}", name.replace('~', "~0").replace('/', "~1"));
        let Some(pattern) = patterns.iter().find(|pattern| pattern.as_str() == name) else {
            checks.refuse(&field, "must be one of the patterns");
            continue;
        };
        if StepCost::is_cost(cost) {
            checked.insert(pattern.clone(), cost);
        } else {
            checks.refuse(&field, format!("must be {}, not {cost}", StepCost::COST_RANGE));
        }
    }
    checked
}

fn check_expert_costs(costs: BTreeMap<String, f64>, checks: &mut Checks) -> BTreeMap<u32, f64> {
    if costs.len() > MAX_PATTERNS {
        let detail = format!("must be at most {MAX_PATTERNS}, not {}", costs.len());
        checks.refuse("expert_costs", detail);
        return BTreeMap::new();
    }
    let mut checked = BTreeMap::new();
    for (name, cost) in costs {
        let field = format!("expert_costs/{}", name.replace('~', "~0").replace('/', "~1"));
        let plain = !name.starts_with('0') && name.bytes().all(|digit| digit.is_ascii_digit());
        let count = name.parse::<u32>().ok().filter(|count| plain && (2..=65_536).contains(count));
        let Some(count) = count else {
            checks.refuse(&field, "must be a number of experts between 2 and 65536");
            continue;
        };
        if StepCost::is_cost(cost) {
            checked.insert(count, cost);
        } else {
            checks.refuse(&field, format!("must be {}, not {cost}", StepCost::COST_RANGE));
        }
    }
    checked
}

/// Checks the speed and price of the hardware. The other values need `flops_per_second`.
fn check_rates(rates: &Rates, checks: &mut Checks) {
    let mut check = |field: &str, value: Option<f64>, valid: fn(f64) -> bool, range: &str| {
        if let Some(value) = value.filter(|value| !valid(*value)) {
            checks.refuse(field, format!("must be {range}, not {value}"));
        }
    };
    let speed = |v: f64| (1.0..=1e30).contains(&v);
    check("flops_per_second", rates.flops_per_second, speed, "between 1 and 1e30");
    let share = |v: f64| v > 0.0 && v <= 1.0;
    check("utilisation", rates.utilisation, share, "above 0 and at most 1");
    let devices = |v: f64| (1.0..=1e8).contains(&v);
    check("devices", rates.devices.map(f64::from), devices, "between 1 and 1e8");
    let price = |v: f64| v > 0.0 && v <= 1e12;
    check("price_per_hour", rates.price_per_hour, price, "above 0 and at most 1e12");
    let others = [
        ("utilisation", rates.utilisation.is_some()),
        ("devices", rates.devices.is_some()),
        ("price_per_hour", rates.price_per_hour.is_some()),
    ];
    for (field, given) in others {
        if given && rates.flops_per_second.is_none() {
            checks.refuse(field, "belongs to flops_per_second, which is not given");
        }
    }
}

/// A hardware profile to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateHardwareProfile {
    /// Name of the profile: lower-case letters, digits and hyphens, at most 64; neither `dense` nor `sparse`.
    #[schema(example = "my-accelerator", pattern = "^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$")]
    name: String,
    /// What a training step costs at a sparsity, relative to a dense step of the same shape.
    #[schema(value_type = CostView)]
    cost: CostBody,
    /// Structured patterns `n:m` that the hardware can run; none by default.
    #[serde(default)]
    #[schema(example = json!(["2:4"]), max_items = 50)]
    patterns: Vec<String>,
    /// Measured cost of a step, by pattern, above 0 and at most 10. It applies from the end of pruning on, or from the
    /// `pattern_start` of the family's pruning. Patterns that are left out have the cost at their sparsity.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, f64>, example = json!({"2:4": 0.941}))]
    pattern_costs: UniqueKeys<f64>,
    /// Measured cost of a step, by number of experts, relative to a step of a dense model with as many *active*
    /// parameters: above 1 where routing costs something. Above 0 and at most 10, for up to 50 numbers of 2 to 65,536
    /// experts; other numbers have the cost at their sparsity.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, f64>, example = json!({"8": 1.05, "64": 1.3}))]
    expert_costs: UniqueKeys<f64>,
    /// How weights are stored by default: `dense` if left out.
    storage: Option<StorageView>,
    /// FLOPs of dense work per second of one device: the peak if `utilisation` is given, otherwise what training
    /// achieves. Used to convert budgets in hours, days and money. Between 1 and 1e30.
    #[schema(example = 1e15, minimum = 1, maximum = 1e30)]
    flops_per_second: Option<f64>,
    /// Share of `flops_per_second` that training achieves, above 0 and at most 1; 1 by default.
    #[schema(example = 0.4, exclusive_minimum = 0, maximum = 1)]
    utilisation: Option<f64>,
    /// Number of devices that train together, used to count days; 1 by default.
    #[schema(example = 64, minimum = 1, maximum = 100_000_000)]
    devices: Option<u32>,
    /// Price of an hour of one device, in a currency of your choice; above 0 and at most 1e12.
    #[schema(example = 2.0, exclusive_minimum = 0, maximum = 1e12)]
    price_per_hour: Option<f64>,
    /// Where the numbers come from; at most 2,000 characters.
    #[serde(default)]
    #[schema(max_length = 2000)]
    source: String,
}

impl CreateHardwareProfile {
    /// Checks all fields.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] listing every invalid field.
    pub(crate) fn check(self) -> Result<(ProfileName, ProfileSettings), ApiError> {
        let mut checks = Checks::default();
        let name = checks.take("name", ProfileName::new(&self.name));
        let cost = self.cost.check(&mut checks);
        let patterns = check_patterns(&self.patterns, &mut checks);
        let rates = Rates {
            flops_per_second: self.flops_per_second,
            utilisation: self.utilisation,
            devices: self.devices,
            price_per_hour: self.price_per_hour,
        };
        check_rates(&rates, &mut checks);
        let expert_costs = check_expert_costs(self.expert_costs.0, &mut checks);
        checks.take("source", check_prose(&self.source));
        let settings = cost.zip(patterns).map(|(cost, patterns)| ProfileSettings {
            cost,
            pattern_costs: check_pattern_costs(self.pattern_costs.0, &patterns, &mut checks),
            patterns,
            storage: self.storage.map_or(StorageFormat::Dense, StorageFormat::from),
            expert_costs,
            rates,
            source: self.source,
        });
        Ok(checks.finish(name.zip(settings))?)
    }
}

/// Changes to a hardware profile. Fields that are left out keep their values.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateHardwareProfile {
    /// What a training step costs, replaced as a whole.
    #[schema(value_type = Option<CostView>)]
    cost: Option<CostBody>,
    /// Structured patterns that the hardware can run, replaced as a whole.
    #[schema(max_items = 50)]
    patterns: Option<Vec<String>>,
    /// Measured cost of a step, by pattern, replaced as a whole.
    #[schema(value_type = Option<BTreeMap<String, f64>>)]
    pattern_costs: Option<UniqueKeys<f64>>,
    /// Measured cost of a step, by number of experts, replaced as a whole.
    #[schema(value_type = Option<BTreeMap<String, f64>>)]
    expert_costs: Option<UniqueKeys<f64>>,
    /// How weights are stored by default.
    storage: Option<StorageView>,
    /// FLOPs of dense work per second of one device; null where unknown.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<f64>, minimum = 1, maximum = 1e30)]
    flops_per_second: Option<Option<f64>>,
    /// Share of `flops_per_second` that training achieves; null means 1.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<f64>, exclusive_minimum = 0, maximum = 1)]
    utilisation: Option<Option<f64>>,
    /// Number of devices that train together; null means 1.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 100_000_000)]
    devices: Option<Option<u32>>,
    /// Price of an hour of one device; null where unknown.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<f64>, exclusive_minimum = 0, maximum = 1e12)]
    price_per_hour: Option<Option<f64>>,
    /// Where the numbers come from; at most 2,000 characters.
    #[schema(max_length = 2000)]
    source: Option<String>,
}

impl UpdateHardwareProfile {
    fn check(self, current: &ProfileSettings) -> Result<ProfileSettings, ApiError> {
        let mut checks = Checks::default();
        let cost = match self.cost {
            Some(cost) => cost.check(&mut checks),
            None => Some(current.cost.clone()),
        };
        let patterns = match &self.patterns {
            Some(patterns) => check_patterns(patterns, &mut checks),
            None => Some(current.patterns.clone()),
        };
        let costs = self.pattern_costs.map(|costs| costs.0).unwrap_or_else(|| {
            // Patterns that are removed lose their costs, too.
            let kept = current.pattern_costs.iter();
            kept.filter(|(pattern, _)| patterns.iter().flatten().any(|p| p == *pattern))
                .map(|(pattern, cost)| (pattern.as_str().to_owned(), *cost))
                .collect()
        });
        let source = self.source.unwrap_or_else(|| current.source.clone());
        checks.take("source", check_prose(&source));
        let rates = Rates {
            flops_per_second: self.flops_per_second.unwrap_or(current.rates.flops_per_second),
            utilisation: self.utilisation.unwrap_or(current.rates.utilisation),
            devices: self.devices.unwrap_or(current.rates.devices),
            price_per_hour: self.price_per_hour.unwrap_or(current.rates.price_per_hour),
        };
        check_rates(&rates, &mut checks);
        let expert_costs = match self.expert_costs {
            Some(costs) => check_expert_costs(costs.0, &mut checks),
            None => current.expert_costs.clone(),
        };
        let settings = cost.zip(patterns).map(|(cost, patterns)| ProfileSettings {
            cost,
            pattern_costs: check_pattern_costs(costs, &patterns, &mut checks),
            patterns,
            storage: self.storage.map_or(current.storage, StorageFormat::from),
            expert_costs,
            rates,
            source,
        });
        Ok(checks.finish(settings)?)
    }
}

/// Path of a hardware profile.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct ProfilePath {
    /// Name of the profile.
    #[param(example = "example-block-sparse")]
    profile: String,
}

impl ProfilePath {
    fn name(&self) -> Result<ProfileName, ApiError> {
        ProfileName::new(&self.profile).map_err(|_| no_profile(&self.profile))
    }
}

fn no_profile(name: &str) -> ApiError {
    ApiError::NotFound { what: "hardware profile", name: name.to_owned() }
}

/// Lists hardware profiles, newest first.
#[utoipa::path(
    get, path = "/v1/hardware-profiles", tag = TAG_PROFILES, params(PageParams),
    responses((status = OK, description = "A page of profiles", body = HardwareProfileList)),
)]
async fn list_hardware_profiles(
    reads: Reads,
    Query(params): Query<PageParams>,
) -> Result<Json<HardwareProfileList>, ApiError> {
    let request = params.check()?;
    let page = profiles::list_profiles(&mut *reads.connection().await?, request).await?;
    let next_cursor = next_cursor(&page);
    let items = page.items.into_iter().map(HardwareProfileView::from).collect();
    Ok(Json(HardwareProfileList { items, next_cursor }))
}

/// Creates a hardware profile. Its name can then be given as a `flop_mode`.
#[utoipa::path(
    post, path = "/v1/hardware-profiles", tag = TAG_PROFILES, request_body = CreateHardwareProfile,
    responses(
        (status = CREATED, description = "The profile", body = HardwareProfileView,
            headers(("Location" = String, description = "Path of the profile"))),
        (status = CONFLICT, description = "A profile of this name exists", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
async fn create_hardware_profile(
    State(state): State<AppState>,
    noting: Noting,
    JsonBody(body): JsonBody<CreateHardwareProfile>,
) -> Result<impl IntoResponse, ApiError> {
    let (name, settings) = body.check()?;
    let now = state.clock.now();
    let id = state.clock.new_id();
    let profile = HardwareProfile { id, name, settings, created_at: now, updated_at: now };
    let location = format!("/v1/hardware-profiles/{}", profile.name);
    let mut write = noting.begin(&state.pool).await?;
    profiles::insert_profile(&mut *write, &profile).await?;
    write.commit(StatusCode::CREATED, Some(&location)).await?;
    let body = Json(HardwareProfileView::from(profile));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], body))
}

/// Shows a hardware profile.
#[utoipa::path(
    get, path = "/v1/hardware-profiles/{profile}", tag = TAG_PROFILES, params(ProfilePath),
    responses((status = OK, description = "The profile", body = HardwareProfileView)),
)]
async fn get_hardware_profile(
    reads: Reads,
    Path(path): Path<ProfilePath>,
) -> Result<Json<HardwareProfileView>, ApiError> {
    let name = path.name()?;
    let profile = profiles::find_profile(&mut *reads.connection().await?, &name).await?;
    Ok(Json(profile.ok_or_else(|| no_profile(name.as_str()))?.into()))
}

/// Changes a hardware profile. Answers that use it change with it, and so do their ETags.
#[utoipa::path(
    patch, path = "/v1/hardware-profiles/{profile}", tag = TAG_PROFILES, params(ProfilePath),
    request_body = UpdateHardwareProfile,
    responses((status = OK, description = "The profile as it is now", body = HardwareProfileView)),
)]
async fn update_hardware_profile(
    State(state): State<AppState>,
    noting: Noting,
    Path(path): Path<ProfilePath>,
    JsonBody(body): JsonBody<UpdateHardwareProfile>,
) -> Result<Json<HardwareProfileView>, ApiError> {
    let name = path.name()?;
    let mut write = noting.begin(&state.pool).await?;
    let mut profile = profiles::find_profile_for_update(&mut *write, &name)
        .await?
        .ok_or_else(|| no_profile(name.as_str()))?;
    profile.settings = body.check(&profile.settings)?;
    // This time identifies a state of the profile, so it has to increase even if the clock does not.
    let next = profile.updated_at + TimeDelta::microseconds(1);
    profile.updated_at = state.clock.now().max(next);
    profiles::update_profile(&mut *write, &profile).await?;
    write.commit(StatusCode::OK, None).await?;
    state.profiles.forget(|known| *known == name);
    Ok(Json(profile.into()))
}

/// Deletes a hardware profile. No stored answers depend on it.
#[utoipa::path(
    delete, path = "/v1/hardware-profiles/{profile}", tag = TAG_PROFILES, params(ProfilePath),
    responses((status = NO_CONTENT, description = "It is gone")),
)]
async fn delete_hardware_profile(
    State(state): State<AppState>,
    noting: Noting,
    Path(path): Path<ProfilePath>,
) -> Result<StatusCode, ApiError> {
    let name = path.name()?;
    let mut write = noting.begin(&state.pool).await?;
    if !profiles::delete_profile(&mut *write, &name).await? {
        return Err(no_profile(name.as_str()));
    }
    write.commit(StatusCode::NO_CONTENT, None).await?;
    state.profiles.forget(|known| *known == name);
    Ok(StatusCode::NO_CONTENT)
}
