//! The list of all operations, and the general part of the OpenAPI document.

use tower::util::MapResponseLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::api::layers::compression::{compressed, with_weak_tag};
use crate::api::state::AppState;
use crate::api::tags::{
    TAG_ACCESS, TAG_FAMILIES, TAG_FORECASTS, TAG_LAWS, TAG_PROFILES, TAG_QUESTIONS, TAG_REFITS,
    TAG_RUNS, TAG_SERVICE,
};
use crate::api::{questions, resources};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sparsity planner",
        description = "Fits the sparsity scaling law `L(S, N, D) = (a_s (1-S)^b_s + c_s) N^(-b_n) + \
            (a_d / D)^b_d + c` to training runs, and answers with predicted loss and optimal \
            sparsity. Source of the law: arXiv 2309.08520.\n\nErrors are RFC 9457 problem documents. \
            Unknown fields and query parameters are refused. Times are RFC 3339 in UTC.\n\nWhere a \
            streaming replica answers reads, answers to writes carry the header `x-read-after`; a read \
            that sends the latest of them back sees those writes, whichever process it reaches.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "This service")),
    // The data of events is not part of any response with a schema, so its type is added here.
    components(schemas(crate::api::wire::problem::Problem, resources::events::FamilyStandingView)),
    tags(
        (name = TAG_FAMILIES, description = "Model families: the runs that one law describes"),
        (name = TAG_RUNS, description = "Finished training runs"),
        (name = TAG_REFITS, description = "Fits that are asked for"),
        (name = TAG_LAWS, description = "Fitted and published laws"),
        (name = TAG_QUESTIONS, description = "Predicted loss and optimal sparsity"),
        (name = TAG_FORECASTS, description = "Predictions that are registered before training, and how they came true"),
        (name = TAG_PROFILES, description = "Named FLOP modes beside dense and sparse"),
        (name = TAG_ACCESS, description = "Who may use the service"),
        (name = TAG_SERVICE, description = "The service itself"),
    ),
)]
struct Base;

/// All operations of the service.
pub(crate) fn operations() -> OpenApiRouter<AppState> {
    let questions_asked_most =
        questions::predictions::router().merge(questions::optimal_sparsity::router());
    let others = OpenApiRouter::new()
        .merge(resources::families::router())
        .merge(resources::events::router())
        .merge(resources::runs::router())
        .merge(resources::waiting_uploads::router())
        .merge(resources::mappings::router())
        .merge(resources::refits::router())
        .merge(resources::laws::router())
        .merge(resources::comparison::router())
        .merge(resources::fit_quality::router())
        .merge(questions::bulk::router())
        .merge(questions::history::router())
        .merge(questions::effective::router())
        .merge(resources::forecasts::router())
        .merge(questions::contours::router())
        .merge(questions::gain::router())
        .merge(questions::loss_by_sparsity::router())
        .merge(questions::suggestions::router())
        .merge(questions::plans::router())
        .merge(questions::compare::router())
        .merge(resources::profiles::router())
        .merge(resources::callers::router())
        .merge(resources::keys::router())
        .merge(resources::audit::router())
        .merge(resources::health::router())
        .layer(compressed())
        .layer(MapResponseLayer::new(with_weak_tag));
    // These two questions are not compressed: their answers are short, and so frequent that the layer would cost
    // noticeable time.
    OpenApiRouter::with_openapi(Base::openapi()).merge(questions_asked_most).merge(others)
}
