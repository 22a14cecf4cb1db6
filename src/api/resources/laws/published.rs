//! Import of published laws.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use chrono::{DateTime, Datelike, Utc};
use serde::Deserialize;
use sparsity_law::fit::{Lenders, with_curve};
use sparsity_law::law::{
    BorrowedGain, CoefficientName, CoefficientValues, Coefficients, FormLaw, GivenCoefficient,
    Identification, LawForm, NoSuchForm, Support, T5_C4, VIT_JFT,
};
use utoipa::ToSchema;

use crate::api::layers::noting::Noting;
use crate::api::resources::laws::view::LawView;
use crate::api::state::AppState;
use crate::api::tags::TAG_LAWS;
use crate::api::wire::extract::{FamilyPath, JsonBody, no_family};
use crate::api::wire::problem::ApiError;
use crate::api::wire::views::BorrowView;
use crate::domain::checks::Checks;
use crate::domain::law::{LawContent, LawShape, LentGain};
use crate::domain::law_origin::{Origin, Publication};
use crate::domain::text::{FamilyName, check_label, check_prose};
use crate::live::keyring::Caller;
use crate::store::{families, laws};

/// Published coefficients to import.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateLaw {
    /// The coefficients of the forms `sparse` and `dense`, in raw units: parameters, and the family's data unit.
    #[schema(nullable = false)]
    coefficients: Option<PublishedCoefficients>,
    /// Form of the law, that is, how its loss depends on sparsity: `sparse`, the default; `dense` if it does not;
    /// `levels` for one capacity for each sparsity; `experts` for mixtures of experts.
    form: Option<PublishedForm>,
    /// The coefficients of the forms `levels` and `experts`, in place of `coefficients`, as a law shows them. Those of
    /// the data term are left out where the law does not know the effect of data. At most 1,000.
    #[schema(max_items = 1000, example = json!(null))]
    own_coefficients: Option<Vec<PublishedOwnCoefficient>>,
    /// The family whose gain a `dense` law borrows, so that it can answer questions about sparsity.
    gain: Option<BorrowView>,
    /// Source of the coefficients, such as a paper or a report; at most 2,000 characters.
    #[schema(example = "arXiv:2309.08520, table 3")]
    reference: String,
    /// Mean Huber loss over the law's runs, where published.
    objective: Option<f64>,
    /// Number of the law's runs, where published.
    runs: Option<u32>,
    /// When the law was published; by default now.
    fitted_at: Option<DateTime<Utc>>,
}

/// How the loss of a published law depends on sparsity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PublishedForm {
    /// The paper's form, with seven coefficients.
    #[default]
    Sparse,
    /// No dependence on sparsity: `A N^(-b_n) + (a_d / D)^b_d + c`, with five coefficients.
    Dense,
    /// One capacity for each sparsity, given in `own_coefficients`.
    Levels,
    /// Mixtures of experts, given in `own_coefficients`.
    Experts,
}

/// A coefficient of a published law of the form `levels` or `experts`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishedOwnCoefficient {
    /// Name of the coefficient in the formula of the form. In the form `levels`, `a` is given once for each level.
    #[schema(example = "a")]
    name: String,
    /// The sparsity that the coefficient applies to; only for `a` in the form `levels`.
    #[schema(example = 0.5, minimum = 0, exclusive_maximum = 1)]
    sparsity: Option<f64>,
    /// The pattern or recipe of the level that the coefficient applies to, where a sparsity has several levels.
    #[schema(example = json!(null), min_length = 1, max_length = 200)]
    level: Option<String>,
    /// Value of the coefficient, in raw units.
    #[schema(example = 55.8)]
    value: f64,
    /// Interval of the coefficient, as a law shows it. Accepted but not stored, as it does not say how coefficients
    /// vary together.
    #[schema(value_type = Object, nullable)]
    #[serde(rename = "interval")]
    _interval: Option<serde::de::IgnoredAny>,
}

/// The most coefficients in `own_coefficients`.
const MOST_OWN: usize = 1000;

/// Coefficients of a published law, in raw units: exactly those of its form. The form `sparse` has `a_s`, `b_s`, `c_s`,
/// `b_n`, `a_d`, `b_d` and `c`; the form `dense` has `a`, `b_n`, `a_d`, `b_d` and `c`.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishedCoefficients {
    /// Capacity of dense models.
    #[schema(example = 482.01)]
    a: Option<f64>,
    /// Capacity that sparsity costs.
    #[schema(example = json!(null))]
    a_s: Option<f64>,
    /// Exponent of the density.
    #[schema(example = json!(null))]
    b_s: Option<f64>,
    /// Capacity that is left as `S -> 1`.
    #[schema(example = json!(null))]
    c_s: Option<f64>,
    /// Exponent of the non-zero parameters.
    #[schema(example = 0.3478)]
    b_n: Option<f64>,
    /// Scale of the data, in the data unit.
    #[schema(example = 1_185_219_649.9)]
    a_d: Option<f64>,
    /// Exponent of the data.
    #[schema(example = 0.3658)]
    b_d: Option<f64>,
    /// Irreducible loss.
    #[schema(example = 1.8172)]
    c: Option<f64>,
}

impl CreateLaw {
    /// Checks the law of a form with `own_coefficients`; `None` for other forms, and where it is invalid.
    fn own(&self, checks: &mut Checks) -> Option<FormLaw> {
        let form = match self.form {
            Some(PublishedForm::Levels) => LawForm::Levels,
            Some(PublishedForm::Experts) => LawForm::Experts,
            None | Some(PublishedForm::Sparse | PublishedForm::Dense) => {
                if self.own_coefficients.is_some() {
                    let detail =
                        "must be left out of the forms sparse and dense, which have coefficients";
                    checks.refuse("own_coefficients", detail);
                }
                return None;
            }
        };
        if self.coefficients.is_some() {
            let detail = format!(
                "must be left out of the form {}, which has own_coefficients",
                form.as_str()
            );
            checks.refuse("coefficients", detail);
        }
        let Some(given) = &self.own_coefficients else {
            checks.refuse(
                "own_coefficients",
                format!("must be given for the form {}", form.as_str()),
            );
            return None;
        };
        if given.len() > MOST_OWN {
            let detail = format!("must be at most {MOST_OWN}, not {}", given.len());
            checks.refuse("own_coefficients", detail);
            return None;
        }
        for (place, coefficient) in given.iter().enumerate() {
            if let Some(level) = &coefficient.level {
                checks.take(&format!("own_coefficients/{place}/level"), check_label(level));
            }
        }
        let given: Vec<GivenCoefficient> = given
            .iter()
            .map(|PublishedOwnCoefficient { name, sparsity, level, value, .. }| GivenCoefficient {
                name: name.clone(),
                sparsity: *sparsity,
                level: level.clone(),
                value: *value,
            })
            .collect();
        FormLaw::of_coefficients(form, &given)
            .map_err(|NoSuchForm { place, field, detail }| {
                let pointer = match place {
                    Some(place) => format!("own_coefficients/{place}/{field}"),
                    None => "own_coefficients".to_owned(),
                };
                checks.refuse(&pointer, detail);
            })
            .ok()
    }

    /// Checks the coefficients of the forms `sparse` and `dense`.
    fn coefficients(&self, checks: &mut Checks) -> Option<Coefficients> {
        let dense = self.form == Some(PublishedForm::Dense);
        let form = if dense { "dense" } else { "sparse" };
        let Some(given) = self.coefficients else {
            checks.refuse("coefficients", format!("must be given for the form {form}"));
            return None;
        };
        let PublishedCoefficients { a, a_s, b_s, c_s, b_n, a_d, b_d, c } = given;
        let of_form = |name: &str| match name {
            "a" => dense,
            "a_s" | "b_s" | "c_s" => !dense,
            _ => true,
        };
        let given = [
            ("a", a),
            ("a_s", a_s),
            ("b_s", b_s),
            ("c_s", c_s),
            ("b_n", b_n),
            ("a_d", a_d),
            ("b_d", b_d),
            ("c", c),
        ];
        let mut complete = true;
        for (name, value) in given {
            let wrong = match (of_form(name), value) {
                (true, None) => format!("must be given for the form {form}"),
                (false, Some(_)) => format!("is no coefficient of the form {form}"),
                _ => continue,
            };
            checks.refuse(&format!("coefficients/{name}"), wrong);
            complete = false;
        }
        if !complete {
            return None;
        }
        let (a_s, b_s, c_s) = if dense { (Some(0.0), Some(1.0), a) } else { (a_s, b_s, c_s) };
        let values = CoefficientValues {
            a_s: a_s?,
            b_s: b_s?,
            c_s: c_s?,
            b_n: b_n?,
            a_d: a_d?,
            b_d: b_d?,
            c: c?,
        };
        // A dense law has a zero for `a_s`, which is allowed for a reduced law; none of its other coefficients may be
        // zero.
        let filled = if dense { CoefficientValues { a_s: 1.0, ..values } } else { values };
        let checked = Coefficients::new(filled).and_then(|_| Coefficients::reduced(values));
        checked
            .map_err(|(name, error)| {
                let name = if dense && name == CoefficientName::CS { "a" } else { name.as_str() };
                checks.refuse(&format!("coefficients/{name}"), error.to_string());
            })
            .ok()
    }
}

/// Finds the gain that a law is to borrow from the law of another family, which the caller must be allowed to see.
///
/// # Errors
/// [`ApiError::Invalid`] if there is no such law, or it does not know the effect of sparsity from its own runs.
pub(crate) async fn find_lender(
    state: &AppState,
    caller: &Caller,
    asked: &BorrowView,
) -> Result<(i32, BorrowedGain), ApiError> {
    let refuse = |detail: String| ApiError::field("/gain/borrow", detail);
    let unknown = || refuse(format!("must be a family that has a law, not {:?}", asked.borrow));
    let name = FamilyName::new(&asked.borrow).map_err(|_| unknown())?;
    if !caller.families().allow(name.as_str()) {
        return Err(unknown());
    }
    let law = laws::find_law(&state.pool, &name, asked.version).await?;
    let Some(law) = law else {
        return Err(match asked.version {
            Some(version) => {
                let detail = format!("must be a version of the laws of {name}, not {version}");
                ApiError::field("/gain/version", detail)
            }
            None => unknown(),
        });
    };
    let gain = BorrowedGain::of(&law.content.coefficients).ok_or_else(|| {
        refuse(format!(
            "must be a family whose own runs say what sparsity does: law {} of {name} does not",
            law.version
        ))
    })?;
    let determined = law.content.identification().is_none_or(Identification::is_complete);
    if !determined {
        return Err(refuse(format!(
            "must be a family whose runs determine what sparsity does: those of law {} of {name} do not",
            law.version
        )));
    }
    Ok((law.version, gain))
}

/// Imports published coefficients as the family's next law.
#[utoipa::path(
    post, path = "/v1/families/{family}/laws", tag = TAG_LAWS, params(FamilyPath),
    request_body = CreateLaw,
    responses((status = CREATED, description = "The law", body = LawView,
        headers(("Location" = String, description = "Path of the law")))),
)]
pub(super) async fn create_law(
    State(state): State<AppState>,
    caller: Caller,
    noting: Noting,
    Path(path): Path<FamilyPath>,
    JsonBody(body): JsonBody<CreateLaw>,
) -> Result<impl IntoResponse, ApiError> {
    let mut checks = Checks::default();
    let dense = body.form == Some(PublishedForm::Dense);
    let has_own = matches!(body.form, Some(PublishedForm::Levels | PublishedForm::Experts));
    let own = body.own(&mut checks);
    let coefficients = match &own {
        Some(own) => Some(own.coefficients()),
        None if has_own => None,
        None => body.coefficients(&mut checks),
    };
    if body.gain.is_some() && !dense {
        checks
            .refuse("gain", "belongs to a law of the form dense: others have a gain of their own");
    }
    checks.take("reference", check_prose(&body.reference));
    if body.reference.trim().is_empty() {
        checks.refuse("reference", "must say where the coefficients stand");
    }
    if body.objective.is_some_and(|objective| objective < 0.0) {
        checks.refuse("objective", "must be at least 0");
    }
    if body.runs.is_some_and(|runs| i32::try_from(runs).is_err()) {
        checks.refuse("runs", "must be at most 2147483647");
    }
    // Years that PostgreSQL and RFC 3339 can both represent, and that a publication can have.
    if body.fitted_at.is_some_and(|time| !(1900..=9999).contains(&time.year())) {
        checks.refuse("fitted_at", "must be in the years 1900 to 9999");
    }
    let coefficients = checks.finish(coefficients)?;
    let gain = match &body.gain {
        Some(asked) => {
            let (version, gain) = find_lender(&state, &caller, asked).await?;
            let published = [&*T5_C4, &*VIT_JFT]
                .map(|law| BorrowedGain::of(law.coefficients()).unwrap_or(gain));
            let in_turn = Lenders::new(gain, &[], published).in_turn;
            let family = asked.borrow.clone();
            Some(LentGain { family, version, gain, in_turn, settling: Vec::new() })
        }
        None => None,
    };
    let form = own.as_ref().map(FormLaw::form).or(dense.then_some(LawForm::Dense));
    let shape = LawShape { form, gain, law: own, ..LawShape::default() };

    let name = path.name()?;
    let mut write = noting.begin(&state.pool).await?;
    let family = families::find_family_for_update(&mut *write, &name)
        .await?
        .ok_or_else(|| no_family(name.as_str()))?;
    let now = state.clock.now();
    let content = LawContent {
        origin: Origin::Published(Publication {
            reference: body.reference,
            objective: body.objective,
            runs: body.runs,
        }),
        coefficients: with_curve(
            coefficients,
            shape.task(family.settings.pruning.mean_share()).curve(),
        ),
        data_unit: family.settings.data_unit,
        flops_per_param: family.settings.flops_per_param,
        pruning: family.settings.pruning,
        zeros: family.settings.zeros,
        support: Support::default(),
        warnings: Vec::new(),
        fitted_at: body.fitted_at.unwrap_or(now),
        shape,
    };
    let id = state.clock.new_id();
    let law = laws::insert_law(&mut *write, id, family.id, &content, now).await?;
    let location = format!("/v1/families/{name}/laws/{}", law.version);
    write.commit(StatusCode::CREATED, Some(&location)).await?;
    // The next question to this process must get this law, even if the announcement takes longer.
    state.laws.forget(name.as_str());
    let active = laws::find_law(&state.pool, &name, None).await?.map(|law| law.id);
    let body = Json(LawView::new(law, active));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], body))
}
