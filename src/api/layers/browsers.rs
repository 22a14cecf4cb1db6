//! Protection against misuse through browsers: what this service's pages may do, and which other pages may call it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::response::Response;
use tower_http::cors::CorsLayer;

use crate::api::layers::replica_reads::READ_AFTER;

/// Content security policy of this service's pages. They may load their own files, inline styles (used by pictures and
/// by the API browser), and images that they created themselves. No other page may embed them in a frame.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data: blob:; connect-src 'self'; font-src 'self' data:; object-src 'none'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);

/// Adds security headers, and forbids caches to store answers that do not state their lifetime: by default they may
/// show an outdated state of a refit for minutes.
#[must_use]
pub fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    // An SVG picture that is opened on its own is a document too.
    let is_page = content_type.is_some_and(|content_type| {
        content_type.starts_with(b"text/html") || content_type.starts_with(b"image/svg+xml")
    });
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Pages of other origins cannot embed an answer as an image or script; those that are allowed to call the API do so
    // by CORS.
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    );
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    }
    if is_page {
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(
            HeaderName::from_static("cross-origin-opener-policy"),
            HeaderValue::from_static("same-origin"),
        );
    }
    response
}

/// Whether a request addresses the service by an IP address, by `localhost` or a name below it, or by one of the
/// allowed names.
///
/// The owner of any other name can let it resolve to this machine once a page of that name is loaded (DNS rebinding).
/// To the browser, the service then has the same origin as that page, which may read and write it. Requests without the
/// header do not come from browsers.
#[must_use]
pub fn is_own_host(headers: &HeaderMap, allowed: &[String]) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let Some(host) = hosts.next() else { return true };
    if hosts.next().is_some() {
        return false;
    }
    // Fast path for what most programs send.
    if host.to_str().is_ok_and(|host| host.parse::<SocketAddr>().is_ok()) {
        return true;
    }
    let Ok(authority) = Authority::try_from(host.as_bytes()) else { return false };
    let name = authority.host().to_ascii_lowercase();
    let bracketed = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    bracketed.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
        || name.parse::<IpAddr>().is_ok()
        || name == "localhost"
        || name.ends_with(".localhost")
        || allowed.contains(&name)
}

/// Whether a page of another site, which is not one of the trusted origins, sends a request that may write.
///
/// Browsers send a preflight before most such requests, which is refused; but not before a `POST` that a form could
/// have sent, such as one without a body. They state where a request comes from, newer ones in `Sec-Fetch-Site` and
/// older ones in `Origin`. A request with neither does not come from a browser.
#[must_use]
pub fn is_cross_site(method: &Method, headers: &HeaderMap, trusted: &[HeaderValue]) -> bool {
    if method.is_safe() {
        return false;
    }
    let origin = headers.get(header::ORIGIN);
    if origin.is_some_and(|origin| trusted.contains(origin)) {
        return false;
    }
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        Some(b"same-origin" | b"none") => false,
        Some(_) => true,
        None => {
            let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
            origin.is_some_and(|origin| {
                let origin = origin.as_bytes();
                origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://")) != host
            })
        }
    }
}

/// How long a browser may cache the answer to a preflight.
const MAX_AGE: Duration = Duration::from_secs(600);

/// CORS for pages of these origins; `None` if there are none. Credentials are not allowed, as cookies have no meaning
/// here: a page needs a key.
pub fn cross_origin(origins: &[HeaderValue]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let request_id = HeaderName::from_static("x-request-id");
    let layer = CorsLayer::new()
        .allow_origin(origins.to_vec())
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::ACCEPT,
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_NONE_MATCH,
            HeaderName::from_static("prefer"),
            request_id.clone(),
            READ_AFTER,
        ])
        .expose_headers([
            header::ETAG,
            header::LOCATION,
            HeaderName::from_static("preference-applied"),
            header::RETRY_AFTER,
            header::WWW_AUTHENTICATE,
            request_id,
            READ_AFTER,
        ])
        .max_age(MAX_AGE);
    Some(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for &(name, value) in pairs {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_service_is_known_by_addresses_and_names_that_lead_nowhere_else() {
        let allowed = ["planner.example.org".to_owned()];
        for host in [
            "127.0.0.1:8080",
            "127.0.0.1",
            "[::1]:8080",
            "[::1]",
            "localhost",
            "LocalHost:8080",
            "planner.localhost:8080",
            "planner.example.org:8080",
            "Planner.Example.org",
        ] {
            assert!(is_own_host(&headers(&[("host", host)]), &allowed), "{host}");
        }
        for host in [
            "",
            "attacker.example",
            "localhost.attacker.example:8080",
            "notlocalhost",
            "127.0.0.1.attacker.example",
            "x.planner.example.org",
            "127.0.0.1:8080/",
            "[attacker.example]",
        ] {
            assert!(!is_own_host(&headers(&[("host", host)]), &allowed), "{host}");
        }
        assert!(is_own_host(&headers(&[]), &allowed));
        let two = headers(&[("host", "localhost"), ("host", "attacker.example")]);
        assert!(!is_own_host(&two, &allowed));
    }

    #[test]
    fn a_page_of_another_site_is_told_from_the_own_one() {
        let trusted = [HeaderValue::from_static("https://dashboard.example.org")];
        let crosses = |method: &Method, pairs: &[(&'static str, &'static str)]| {
            let mut headers = headers(pairs);
            headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:8080"));
            is_cross_site(method, &headers, &trusted)
        };
        for site in ["cross-site", "same-site", "anything"] {
            assert!(crosses(&Method::POST, &[("sec-fetch-site", site)]), "{site}");
            assert!(!crosses(&Method::GET, &[("sec-fetch-site", site)]), "{site}");
        }
        for site in ["same-origin", "none"] {
            assert!(!crosses(&Method::DELETE, &[("sec-fetch-site", site)]), "{site}");
        }
        for origin in ["https://attacker.example", "http://127.0.0.1:3000", "null"] {
            assert!(crosses(&Method::POST, &[("origin", origin)]), "{origin}");
        }
        assert!(!crosses(&Method::POST, &[("origin", "http://127.0.0.1:8080")]));
        assert!(!crosses(&Method::POST, &[]));
        let named = [("origin", "https://dashboard.example.org"), ("sec-fetch-site", "cross-site")];
        assert!(!crosses(&Method::POST, &named));
    }
}
