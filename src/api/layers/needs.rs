//! The permission that each operation requires: the one table that the guard enforces and the OpenAPI document shows. A
//! test keeps it complete.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::http::Method;

use crate::domain::access::Scope;

/// What a request requires of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing, and rate limits do not apply: health checks.
    Health,
    /// Nothing: pages, their files, and paths that do not exist.
    Open,
    /// This scope.
    Scope(Scope),
}

/// The scope of every operation. `Read` covers everything that changes nothing, including questions that are sent by
/// POST because they are long; what cannot be undone requires `Admin`.
const SCOPES: [(&str, &str, Scope); 59] = {
    use Scope::{Admin, Read, Write};
    [
        ("GET", "/v1/families", Read),
        ("POST", "/v1/families", Write),
        ("GET", "/v1/families/{family}", Read),
        ("PATCH", "/v1/families/{family}", Write),
        ("DELETE", "/v1/families/{family}", Admin),
        ("PUT", "/v1/families/{family}/active-law", Write),
        ("GET", "/v1/families/{family}/contours", Read),
        ("GET", "/v1/families/{family}/data-multiplier", Read),
        ("GET", "/v1/families/{family}/effective-params", Read),
        ("GET", "/v1/families/{family}/events", Read),
        ("GET", "/v1/families/{family}/fit-quality", Read),
        ("GET", "/v1/families/{family}/forecasts", Read),
        ("POST", "/v1/families/{family}/forecasts", Write),
        ("GET", "/v1/families/{family}/forecasts/calibration", Read),
        ("GET", "/v1/families/{family}/forecasts/{id}", Read),
        ("GET", "/v1/families/{family}/gain", Read),
        ("GET", "/v1/families/{family}/laws", Read),
        ("POST", "/v1/families/{family}/laws", Write),
        ("GET", "/v1/families/{family}/laws/compare", Read),
        ("GET", "/v1/families/{family}/laws/{version}", Read),
        ("GET", "/v1/families/{family}/loss-by-sparsity", Read),
        ("POST", "/v1/families/{family}/optimal-sparsities", Read),
        ("GET", "/v1/families/{family}/optimal-sparsity", Read),
        ("GET", "/v1/families/{family}/optimal-sparsity/history", Read),
        ("POST", "/v1/families/{family}/plans", Read),
        ("GET", "/v1/families/{family}/prediction", Read),
        ("POST", "/v1/families/{family}/predictions", Read),
        ("GET", "/v1/families/{family}/refits", Read),
        ("POST", "/v1/families/{family}/refits", Write),
        ("GET", "/v1/families/{family}/mappings", Read),
        ("GET", "/v1/families/{family}/mappings/{mapping}", Read),
        ("PUT", "/v1/families/{family}/mappings/{mapping}", Write),
        ("DELETE", "/v1/families/{family}/mappings/{mapping}", Write),
        ("GET", "/v1/families/{family}/runs", Read),
        ("POST", "/v1/families/{family}/runs", Write),
        ("GET", "/v1/families/{family}/runs/{id}", Read),
        ("PATCH", "/v1/families/{family}/runs/{id}", Write),
        ("DELETE", "/v1/families/{family}/runs/{id}", Write),
        ("PATCH", "/v1/families/{family}/runs/by-external-id/{external_id}", Write),
        ("DELETE", "/v1/families/{family}/runs/by-external-id/{external_id}", Write),
        ("POST", "/v1/families/{family}/suggestions", Read),
        ("GET", "/v1/families/{family}/uploads", Read),
        ("GET", "/v1/families/{family}/uploads/{id}", Read),
        ("GET", "/v1/compare", Read),
        ("GET", "/v1/hardware-profiles", Read),
        ("POST", "/v1/hardware-profiles", Write),
        ("GET", "/v1/hardware-profiles/{profile}", Read),
        ("PATCH", "/v1/hardware-profiles/{profile}", Write),
        ("DELETE", "/v1/hardware-profiles/{profile}", Write),
        ("GET", "/v1/refits/{id}", Read),
        ("DELETE", "/v1/refits/{id}", Write),
        ("GET", "/v1/refits/{id}/events", Read),
        ("GET", "/v1/caller", Read),
        ("GET", "/v1/keys", Admin),
        ("POST", "/v1/keys", Admin),
        ("GET", "/v1/keys/{id}", Admin),
        ("DELETE", "/v1/keys/{id}", Admin),
        ("GET", "/v1/audit-events", Admin),
        ("GET", "/metrics", Read),
    ]
};

/// The operations of one path: a vector, as there are only a few.
type Methods = Vec<(&'static str, Scope)>;

static BY_PATH: LazyLock<HashMap<&'static str, Methods>> = LazyLock::new(|| {
    let mut paths: HashMap<_, Methods> = HashMap::new();
    for (method, path, scope) in SCOPES {
        paths.entry(path).or_default().push((method, scope));
    }
    paths
});

/// The scope of an operation; `None` if there is no such operation.
#[must_use]
pub fn scope_of(method: &str, path: &str) -> Option<Scope> {
    let found = BY_PATH.get(path)?.iter().find(|(known, _)| *known == method);
    found.map(|(_, scope)| *scope)
}

/// What a request requires of its caller, given its method and the template of its path; the template is `None` if the
/// path does not exist.
#[must_use]
pub fn need(method: &Method, path: Option<&str>) -> Need {
    let Some(path) = path else { return Need::Open };
    // HEAD is answered like GET.
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    match (path, BY_PATH.get(path)) {
        ("/healthz" | "/readyz", _) => Need::Health,
        (_, Some(methods)) => {
            // A method that the path does not have is answered with 405.
            let found = methods.iter().find(|(known, _)| *known == method.as_str());
            found.map_or(Need::Open, |(_, scope)| Need::Scope(*scope))
        }
        // An operation missing from the table is for administrators only, rather than open to everybody.
        (_, None) if path.starts_with("/v1/") => Need::Scope(Scope::Admin),
        (_, None) => Need::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_needs_what_its_operation_says() {
        let get = |path| need(&Method::GET, Some(path));
        assert_eq!(get("/healthz"), Need::Health);
        assert_eq!(get("/docs/{*rest}"), Need::Open);
        assert_eq!(get("/metrics"), Need::Scope(Scope::Read));
        assert_eq!(get("/v1/families/{family}/prediction"), Need::Scope(Scope::Read));
        assert_eq!(need(&Method::HEAD, Some("/v1/keys")), Need::Scope(Scope::Admin));
        let family = Some("/v1/families/{family}");
        assert_eq!(need(&Method::DELETE, family), Need::Scope(Scope::Admin));
        assert_eq!(need(&Method::POST, family), Need::Open);
        assert_eq!(need(&Method::GET, None), Need::Open);
    }

    #[test]
    fn what_was_forgotten_is_for_administrators() {
        assert_eq!(need(&Method::GET, Some("/v1/new")), Need::Scope(Scope::Admin));
    }

    #[test]
    fn every_line_is_an_operation() {
        let document = serde_json::to_value(crate::api::document::openapi()).unwrap();
        for (method, path, _) in SCOPES {
            let operation = &document["paths"][path][method.to_lowercase()];
            assert!(operation.is_object(), "there is no {method} {path}");
        }
    }

    #[test]
    fn no_operation_stands_twice() {
        let methods = BY_PATH.iter().flat_map(|(path, methods)| {
            methods.iter().map(move |(method, _)| format!("{method} {path}"))
        });
        let unique: std::collections::HashSet<_> = methods.collect();
        assert_eq!(unique.len(), SCOPES.len());
    }
}
