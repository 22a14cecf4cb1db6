//! The OpenAPI document: generated from the handlers, completed with what all of them share.

use utoipa::OpenApi;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Ref, RefOr, Response, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;

use super::{
    AppState, TAG_FAMILIES, TAG_FORECASTS, TAG_LAWS, TAG_PROFILES, TAG_QUESTIONS, TAG_REFITS,
    TAG_RUNS, TAG_SERVICE, operations,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sparsity planner",
        description = "Fits the sparsity scaling law `L(S, N, D) = (a_s (1-S)^b_s + c_s) N^(-b_n) + \
            (a_d / D)^b_d + c` to training runs, and answers with predicted loss and optimal \
            sparsity. Source of the law: arXiv 2309.08520.\n\nErrors are RFC 9457 problem documents. \
            Unknown fields and query parameters are refused. Times are RFC 3339 in UTC.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "This service")),
    components(schemas(super::problem::Problem)),
    tags(
        (name = TAG_FAMILIES, description = "Model families: the runs that one law describes"),
        (name = TAG_RUNS, description = "Finished training runs"),
        (name = TAG_REFITS, description = "Fits that are asked for"),
        (name = TAG_LAWS, description = "Fitted and published laws"),
        (name = TAG_QUESTIONS, description = "Predicted loss and optimal sparsity"),
        (name = TAG_FORECASTS, description = "Predictions that are registered before training, and how they came true"),
        (name = TAG_PROFILES, description = "Named FLOP modes beside dense and sparse"),
        (name = TAG_SERVICE, description = "The service itself"),
    ),
)]
struct Base;

/// A router with the document's head.
pub(super) fn base() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(Base::openapi())
}

/// The whole document.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    let (_, mut document) = operations().split_for_parts();
    for (path, item) in &mut document.paths.paths {
        let operations =
            [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        for operation in operations.into_iter().flatten() {
            add_problems(path, operation);
            add_example(operation);
        }
    }
    document
}

/// Adds the problems that an operation can answer with by its shape: every one with a path can name
/// what does not exist, every one with a body can get one that cannot be read.
fn add_problems(path: &str, operation: &mut Operation) {
    let mut problems = vec![
        ("408", "The request took too long"),
        ("500", "The service failed"),
        ("503", "The database cannot be reached for now"),
    ];
    if path.contains('{') {
        problems.push(("404", "What the path names does not exist"));
    }
    if operation.parameters.as_ref().is_some_and(|parameters| !parameters.is_empty()) {
        problems.push(("400", "The request cannot be read"));
        problems.push(("422", "Parameters are not valid"));
    }
    if operation.request_body.is_some() {
        problems.push(("400", "The body cannot be read"));
        problems.push(("413", "The body is too large"));
        problems.push(("415", "The type of the body is not understood"));
        problems.push(("422", "Fields are not valid"));
    }
    if path == "/healthz" {
        problems.clear();
    }
    for (status, description) in problems {
        operation
            .responses
            .responses
            .entry(status.to_owned())
            .or_insert_with(|| problem(description).into());
    }
}

fn problem(description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content)
        .build()
}

/// Answers of a new installation to the examples of the parameters, by operation. A test asks the
/// service and compares.
pub const EXAMPLES: [(&str, &str); 2] = [
    ("get_prediction", include_str!("../../openapi/examples/get_prediction.json")),
    ("get_optimal_sparsity", include_str!("../../openapi/examples/get_optimal_sparsity.json")),
];

fn add_example(operation: &mut Operation) {
    let id = operation.operation_id.as_deref();
    let Some((_, example)) = EXAMPLES.iter().find(|(name, _)| Some(*name) == id) else { return };
    let Some(RefOr::T(response)) = operation.responses.responses.get_mut("200") else {
        return;
    };
    let example = serde_json::from_str(example).expect("a test reads the committed examples");
    for content in response.content.values_mut() {
        if let RefOr::T(content) = content {
            content.example = Some(serde_json::Value::clone(&example));
        }
    }
}
