//! The OpenAPI document: generated from the handlers, and completed with what all operations have in common.

use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Ref, RefOr, Response, ResponseBuilder};

use crate::api::layers::needs::scope_of;
use crate::api::routes::operations;
use crate::domain::access::Scope;

/// The complete OpenAPI document of the service.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    let (_, mut document) = operations().split_for_parts();
    let description = "An API key, asked for once one was created, or a token (JWT) of the OpenID \
                       Connect issuer that the service is configured with, as docs/access.md says. The \
                       roles of an operation name the scope that it needs: read, write or admin, each \
                       of which includes the ones before it.";
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description));
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(SCHEME, SecurityScheme::Http(scheme.build()));
    for (path, item) in &mut document.paths.paths {
        let operations = [
            ("GET", &mut item.get),
            ("PUT", &mut item.put),
            ("POST", &mut item.post),
            ("DELETE", &mut item.delete),
            ("PATCH", &mut item.patch),
        ];
        for (method, operation) in operations {
            let Some(operation) = operation else { continue };
            add_problems(path, operation);
            match scope_of(method, path) {
                Some(scope) => add_scope(operation, scope),
                // An operation that is open to everybody has an empty list here.
                None => operation.security = Some(Vec::new()),
            }
            describe(operation, scope_of(method, path));
            add_example(operation);
        }
    }
    document
}

/// Adds the problems that an operation can have because of its shape: one with a path parameter may name something that
/// does not exist, and one with a body may get a body that cannot be read.
fn add_problems(path: &str, operation: &mut Operation) {
    let mut problems = vec![
        ("408", "The request took too long"),
        ("500", "The service failed"),
        ("503", "The database cannot be reached for now, or there is no room for the request"),
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

/// Writes the description of an operation: its summary, the scope that it needs, and the rest of its comment. Without
/// this, an operation whose comment is a single paragraph would have a summary only.
fn describe(operation: &mut Operation, scope: Option<Scope>) {
    let summary = operation.summary.iter().map(String::as_str);
    let needs = match scope {
        Some(scope) => format!("Needs the scope `{}`.", scope.as_str()),
        None => "Needs no key.".to_owned(),
    };
    let rest = operation.description.iter().map(String::as_str);
    let paragraphs: Vec<&str> = summary.chain([&*needs]).chain(rest).collect();
    operation.description = Some(paragraphs.join("\n\n"));
}

/// Name of the security scheme.
const SCHEME: &str = "bearer";

/// Adds the scope that an operation needs, and the answers to callers without it.
fn add_scope(operation: &mut Operation, scope: Scope) {
    operation.security = Some(vec![SecurityRequirement::new(SCHEME, [scope.as_str()])]);
    let forbidden = format!(
        "The key or token has not the scope `{}`, or is for other families; or a page of another site asks a \
             service without keys",
        scope.as_str()
    );
    let problems = [
        ("401", "No valid key or token was sent, and one is asked for"),
        ("403", &forbidden),
        ("421", "The service has no keys, and is not known by this name"),
        ("429", "Too many requests; try again after Retry-After"),
    ];
    for (status, description) in problems {
        let responses = &mut operation.responses.responses;
        responses.entry(status.to_owned()).or_insert_with(|| problem(description).into());
    }
}

fn problem(description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content)
        .build()
}

/// Answers of a new installation to the example values of the parameters, by operation id. A test compares them with
/// the answers of the service.
pub const EXAMPLES: [(&str, &str); 3] = [
    ("get_prediction", include_str!("../../openapi/examples/get_prediction.json")),
    ("get_optimal_sparsity", include_str!("../../openapi/examples/get_optimal_sparsity.json")),
    ("get_recipe_comparison", include_str!("../../openapi/examples/get_recipe_comparison.json")),
];

fn add_example(operation: &mut Operation) {
    let id = operation.operation_id.as_deref();
    let Some((_, example)) = EXAMPLES.iter().find(|(name, _)| Some(*name) == id) else { return };
    let Some(RefOr::T(response)) = operation.responses.responses.get_mut("200") else {
        return;
    };
    let example = serde_json::from_str(example).expect("a test reads the committed examples");
    for (kind, content) in &mut response.content {
        // Other media types of the answer are pictures, to which the example does not apply.
        if let RefOr::T(content) = content
            && kind == "application/json"
        {
            content.example = Some(serde_json::Value::clone(&example));
        }
    }
}
