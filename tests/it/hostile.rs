//! Input that nobody sends by mistake. It is refused with a problem and nothing is stored, or, if it is only unusual,
//! stored as it is.

use axum::http::{HeaderValue, Method};
use axum_test::TestResponse;
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::support::{App, CREATED, NOT_FOUND, OK, ORIGIN, StatusCode, problem, run};

/// An operation that takes JSON, with a valid body.
struct Taken {
    method: Method,
    path: String,
    body: Value,
}

/// A service with one object of each kind, and the operations to test.
async fn service() -> (App, Vec<Taken>) {
    let app = App::new().await;
    app.post("/v1/families", json!({"name": "mine"})).await.assert_status(CREATED);
    app.post("/v1/families/mine/runs", json!([run("a"), run("b")])).await.assert_status(OK);
    let runs: Value = app.get("/v1/families/mine/runs").await.json();
    let a_run = format!("/v1/families/mine/runs/{}", runs["items"][0]["id"].as_str().unwrap());
    app.post("/v1/hardware-profiles", profile("mine")).await.assert_status(CREATED);
    let questions = "/v1/families/t5-c4";
    let taken = [
        (
            Method::POST,
            "/v1/families".to_owned(),
            json!({
                "name": "other", "description": "text", "data_unit": "tokens", "tokens_per_data_unit": 1.0,
                "flops_per_param": 6.0, "pruning": {"start": 0.25, "end": 0.75, "exponent": 3.0},
                "objective": {"residual": "log", "delta": 0.001}
            }),
        ),
        (
            Method::PATCH,
            "/v1/families/mine".to_owned(),
            json!({"description": "text", "data_unit": "tokens", "objective": {"residual": "log", "delta": 0.01}}),
        ),
        (Method::PUT, "/v1/families/t5-c4/active-law".to_owned(), json!({"version": 1})),
        (
            Method::POST,
            "/v1/families/mine/runs".to_owned(),
            json!({
                "external_id": "c", "nonzero_params": 1e7, "sparsity": 0.5, "data": 2e10, "loss": 2.5,
                "start": "pretrained", "pretraining_data": 1e9, "pattern": "2:4", "tags": {"key": "value"},
                "exclusion_reason": "text"
            }),
        ),
        (Method::PATCH, a_run, json!({"excluded": true, "exclusion_reason": "text"})),
        (
            Method::POST,
            "/v1/families/mine/laws".to_owned(),
            json!({
                "coefficients": {
                    "a_s": 16.8, "b_s": 0.722, "c_s": 45.0, "b_n": 0.245, "a_d": 6.9e8, "b_d": 0.203, "c": 0.651
                },
                "reference": "text", "objective": 1e-5, "runs": 48, "fitted_at": "2026-01-01T00:00:00Z"
            }),
        ),
        (
            Method::POST,
            "/v1/families/mine/refits".to_owned(),
            json!({
                "starts": 4, "seed": 7, "objective": {"residual": "log", "delta": 0.001}, "bootstrap": 0,
                "confidence": 0.9, "fixed": {"c": 0.65}, "holdout": [],
                "weights": [{"tag": "key", "value": "value", "weight": 2.0}]
            }),
        ),
        (
            Method::POST,
            format!("{questions}/forecasts"),
            json!({
                "external_id": "c", "nonzero_params": 1e7, "sparsity": 0.5, "compute": 1e19,
                "flop_mode": "sparse", "law_version": 1, "note": "text"
            }),
        ),
        (
            Method::POST,
            format!("{questions}/predictions"),
            json!({"points": [{"nonzero_params": 1e7, "sparsity": 0.5, "compute": 1e19, "flop_mode": "dense"}]}),
        ),
        (
            Method::POST,
            format!("{questions}/optimal-sparsities"),
            json!({"nonzero_params": {"from": 1e7, "to": 1e9, "steps": 2}, "compute": [1e19], "flop_mode": "dense"}),
        ),
        (
            Method::POST,
            format!("{questions}/plans"),
            json!({
                "flop_mode": "sparse", "compute": 1e20, "memory_bytes": 1e10, "storage": "2:4",
                "bits_per_param": 16, "sparsity": {"max": 0.9}, "patterns": ["2:4"], "frontier_points": 0
            }),
        ),
        (Method::POST, "/v1/hardware-profiles".to_owned(), profile("other")),
        (Method::PATCH, "/v1/hardware-profiles/mine".to_owned(), {
            let mut changes = profile("mine");
            changes.as_object_mut().unwrap().remove("name");
            changes
        }),
    ];
    let taken = taken.map(|(method, path, body)| Taken { method, path, body });
    (app, taken.into())
}

fn profile(name: &str) -> Value {
    json!({
        "name": name, "cost": {"points": [[0.5, 0.8], [0.75, 0.5]]}, "patterns": ["2:4", "1:4"],
        "pattern_costs": {"2:4": 0.7}, "storage": "2:4", "source": "text"
    })
}

async fn send(app: &App, taken: &Taken, body: impl Into<Vec<u8>>) -> TestResponse {
    app.server
        .method(taken.method.clone(), &taken.path)
        .content_type("application/json")
        .bytes(body.into().into())
        .await
}

/// Checks that an answer is a problem with a 4xx status.
fn refused(response: &TestResponse, what: &str) {
    let status = response.status_code();
    assert!(status.is_client_error(), "{what}: {status} {}", response.text());
    assert_eq!(response.header("content-type"), "application/problem+json", "{what}");
    assert_eq!(response.json::<Value>()["status"], status.as_u16(), "{what}");
}

/// The contents of all tables except the audit log, which is written after the answer.
async fn stored(app: &App) -> Vec<(String, String)> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT table_name::text FROM information_schema.tables
         WHERE table_schema = 'public' AND table_name NOT IN ('audit_events', 'audit_notes', '_sqlx_migrations')
         ORDER BY 1",
    )
    .fetch_all(&app.pool)
    .await
    .unwrap();
    assert!(tables.len() > 5, "{tables:?}");
    let mut stored = Vec::new();
    for table in tables {
        let rows = format!(
            "SELECT coalesce(string_agg(t::text, '|' ORDER BY t::text), '') FROM {table} t"
        );
        let rows = sqlx::query_scalar(AssertSqlSafe(rows)).fetch_one(&app.pool).await.unwrap();
        stored.push((table, rows));
    }
    stored
}

/// Collects pointers to all values that are neither objects nor lists.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            entries.iter().for_each(|(key, inner)| leaves(inner, &format!("{at}/{key}"), found));
        }
        Value::Array(list) => {
            let list = list.iter().enumerate();
            list.for_each(|(i, inner)| leaves(inner, &format!("{at}/{i}"), found));
        }
        _ => found.push(at.to_owned()),
    }
}

/// The body as text, with the value at a pointer replaced by this text as it is.
fn with(body: &Value, pointer: &str, text: &str) -> String {
    const MARK: &str = "the mark of the place";
    let mut body = body.clone();
    *body.pointer_mut(pointer).unwrap() = json!(MARK);
    body.to_string().replace(&format!("{MARK:?}"), text)
}

#[tokio::test]
async fn hostile_values_are_refused_in_every_field_of_every_body() {
    let (app, all) = service().await;
    let before = stored(&app).await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let long = json!("x".repeat(100_000)).to_string();
    for taken in &all {
        let mut places = Vec::new();
        leaves(&taken.body, "", &mut places);
        for place in &places {
            let values = [
                r#""a\u0000b""#,
                "\"a\0b\"",
                r#""\u0007""#,
                // Half of a surrogate pair.
                r#""\ud800""#,
                &long,
                &deep,
                r#"{"$gt": ""}"#,
                "1e400",
                "-1e400",
                "-1e300",
                "1e300",
                "NaN",
                "Infinity",
                "0x10",
                "\"NaN\"",
            ];
            for value in values {
                // Skip `NaN` as a text where any text is allowed, and a large number as a coefficient of a law, which
                // may have any size.
                let is_text = taken.body.pointer(place).unwrap().is_string();
                if (value == "\"NaN\"" && is_text)
                    || (value == "1e300" && taken.path.ends_with("/laws") && !is_text)
                {
                    continue;
                }
                let shown = value.get(..40).unwrap_or(value);
                let what = format!("{} {}: {shown} at {place}", taken.method, taken.path);
                refused(&send(&app, taken, with(&taken.body, place, value)).await, &what);
            }
        }
    }
    assert_eq!(stored(&app).await, before);
}

#[tokio::test]
async fn a_body_says_everything_once_and_in_utf_8() {
    let (app, all) = service().await;
    let before = stored(&app).await;
    for taken in &all {
        let mut objects = vec![String::new()];
        let mut found = Vec::new();
        leaves(&taken.body, "", &mut found);
        for leaf in found {
            // All objects that contain the value.
            let ends = leaf.match_indices('/').map(|(end, _)| leaf[..end].to_owned());
            objects.extend(ends.filter(|end| taken.body.pointer(end).unwrap().is_object()));
        }
        objects.sort();
        objects.dedup();
        for object in objects {
            for (key, value) in taken.body.pointer(&object).unwrap().as_object().unwrap() {
                let inner = taken.body.pointer(&object).unwrap().to_string();
                let twice = format!("{{{key:?}: {value}, {}", inner.strip_prefix('{').unwrap());
                let body =
                    if object.is_empty() { twice } else { with(&taken.body, &object, &twice) };
                let what = format!("{} {}: {key} twice in {object}", taken.method, taken.path);
                refused(&send(&app, taken, body).await, &what);
            }
        }
        let text = taken.body.to_string();
        let what = |what| format!("{} {}: {what}", taken.method, taken.path);
        for (name, body) in [
            ("Latin 1", [b"{\"\xe9\": 1, ", &text.as_bytes()[1..]].concat()),
            ("an overlong NUL", [b"{\"\xc0\x80\": 1, ", &text.as_bytes()[1..]].concat()),
            ("UTF-16", text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
            ("cut short", text.as_bytes()[..text.len() - 1].to_vec()),
            ("something after it", [text.as_bytes(), b"{}"].concat()),
            ("an unknown field", format!("{{\"__proto__\": {{}}, {}", &text[1..]).into_bytes()),
            ("another type", b"\"text\"".to_vec()),
        ] {
            refused(&send(&app, taken, body).await, &what(name));
        }
        for kind in
            ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
        {
            let request = app.server.method(taken.method.clone(), &taken.path).content_type(kind);
            refused(&request.bytes(text.clone().into()).await, &what(kind));
        }
    }
    assert_eq!(stored(&app).await, before);
}

/// Texts that would have a special meaning if they got into SQL, HTML, a shell or a format string.
const ODD: [&str; 10] = [
    "'; DROP TABLE runs; --",
    "' OR '1'='1",
    "\\'; SELECT pg_sleep(9) --",
    "$1 $$ $x$ %s %n {} {0} ${jndi:x}",
    "%_%",
    "\"quoted\", and\\backslashed\\",
    "=1+1",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "\u{202e}\u{feff}\u{1f4a9} e\u{301}",
];

#[tokio::test]
async fn odd_texts_are_kept_as_they_are_and_found_by_nothing_but_themselves() {
    let app = App::new().await;
    app.post("/v1/families", json!({"name": "mine"})).await.assert_status(CREATED);
    let runs = ODD.map(|text| {
        let mut run = run(text);
        run["tags"] = json!({text: text, "all": "of them"});
        run["exclusion_reason"] = json!(text);
        run
    });
    let sent = app.post("/v1/families/mine/runs", json!(runs)).await;
    assert_eq!(sent.json::<Value>()["created"], ODD.len());
    for format in ["application/x-ndjson", "text/csv", "application/vnd.apache.parquet"] {
        let out = app.server.get("/v1/families/mine/runs").add_header("accept", format).await;
        out.assert_status(OK);
        // The export can be uploaded again unchanged.
        let back = app.server.post("/v1/families/mine/runs").content_type(format);
        let back: Value = back.bytes(out.into_bytes()).await.json();
        assert_eq!(back["unchanged"], ODD.len(), "{format}: {back}");
    }
    for text in ODD {
        app.server
            .patch("/v1/families/mine")
            .json(&json!({"description": text}))
            .await
            .assert_status(OK);
        let family: Value = app.get("/v1/families/mine").await.json();
        assert_eq!(family["description"], text);
        // The filter cannot express tags with a comma or a colon.
        if !text.contains([',', ':']) {
            let found = app.server.get("/v1/families/mine/runs");
            let found: Value = found.add_query_param("tags", format!("{text}:{text}")).await.json();
            let ids: Vec<_> =
                found["items"].as_array().unwrap().iter().map(|run| &run["external_id"]).collect();
            assert_eq!(ids, [text]);
        }
        for (path, parameter) in [
            ("/v1/families/mine/runs", "pattern"),
            ("/v1/families/mine/runs", "cursor"),
            ("/v1/families/mine/runs", "min_loss"),
            ("/v1/families", "limit"),
            ("/v1/families/t5-c4/prediction", "nonzero_params"),
            ("/v1/families/t5-c4/optimal-sparsity", "flop_mode"),
            ("/v1/audit-events", "family"),
            ("/v1/families/mine/runs", text),
        ] {
            let response = app.server.get(path).add_query_param(parameter, text).await;
            refused(&response, &format!("{path}?{parameter}={text}"));
        }
    }
    let all: Value = app.get("/v1/families/mine/runs").await.json();
    assert_eq!(all["items"].as_array().unwrap().len(), ODD.len());
}

#[tokio::test]
async fn hostile_paths_and_queries_are_refused() {
    let app = App::new().await;
    let long = "x".repeat(8_000);
    let ids = [
        "%00",
        "%27%3B--",
        "%2e%2e%2f",
        "a%00b",
        "%ff",
        "%c0%80",
        "%F0%9F%92%A9",
        "..%2F..",
        &long,
    ];
    for id in ids {
        for path in [
            format!("/v1/families/{id}"),
            format!("/v1/families/{id}/prediction?nonzero_params=1e7&sparsity=0&data=1e9"),
            format!("/v1/families/t5-c4/runs/{id}"),
            format!("/v1/families/t5-c4/laws/{id}"),
            format!("/v1/families/t5-c4/forecasts/{id}"),
            format!("/v1/hardware-profiles/{id}"),
            format!("/v1/refits/{id}"),
            format!("/v1/refits/{id}/events"),
            format!("/{id}"),
        ] {
            refused(&app.get(&path).await, &path);
        }
    }
    let numbers = [
        "NaN", "inf", "-inf", "1e400", "-1", "0x10", "1_000", "", "%00", "1e7%00", "%ff", "1;2",
        &long,
    ];
    for number in numbers {
        for path in [
            format!("/v1/families/t5-c4/prediction?nonzero_params={number}&sparsity=0&data=1e9"),
            format!("/v1/families/t5-c4/prediction?nonzero_params=1e7&sparsity={number}&data=1e9"),
            format!(
                "/v1/families/t5-c4/optimal-sparsity?nonzero_params=1e7&compute={number}&flop_mode=dense"
            ),
            format!("/v1/families/t5-c4/contours?flop_mode=dense&levels={number},0.5"),
            format!("/v1/families/t5-c4/runs?limit={number}"),
            format!("/v1/families?limit={number}"),
            format!("/v1/families?cursor={number}"),
        ] {
            refused(&app.get(&path).await, &path);
        }
    }
    for query in [
        "nonzero_params=1e7&nonzero_params=1e8&sparsity=0&data=1e9",
        "nonzero_params=1e7&sparsity=0&data=1e9&%00=1",
        "nonzero_params=1e7&sparsity=0&data=1e9&__proto__=1",
        "nonzero_params[]=1e7&sparsity=0&data=1e9",
    ] {
        refused(&app.get(&format!("/v1/families/t5-c4/prediction?{query}")).await, query);
    }
}

/// Each format that contains text: one row is wrong, so none is stored.
#[tokio::test]
async fn hostile_rows_are_refused_in_every_format() {
    let (app, _) = service().await;
    let before = stored(&app).await;
    let good = r#"{"external_id": "good", "nonzero_params": 1e7, "sparsity": 0, "data": 2e10, "loss": 2.5}"#;
    let lines = [
        good.replace("good", r"a\u0000b"),
        good.replace("good", "a\0b"),
        good.replace("good", &"x".repeat(201)),
        good.replace("2.5", "1e400"),
        good.replace("2.5", "NaN"),
        good.replace("1e7", "-0"),
        good.replace("1e7", "1e300"),
        good.replace("2e10", r#""2e10""#),
        good.replace("\"loss\": 2.5", "\"loss\": 2.5, \"loss\": 2.5"),
        good.replace("\"loss\": 2.5", "\"loss\": 2.5, \"tags\": {\"a\": \"b\", \"a\": \"c\"}"),
        good.replace("2.5", &format!("{}{}", "[".repeat(50_000), "]".repeat(50_000))),
        good.replace("2.5", &format!("{}1{}", "{\"a\":".repeat(50_000), "}".repeat(50_000))),
        good.replace("}", ""),
        "null".to_owned(),
        "[]".to_owned(),
    ];
    let send = async |kind: &str, body: Vec<u8>| {
        app.server.post("/v1/families/mine/runs").content_type(kind).bytes(body.into()).await
    };
    for line in &lines {
        let shown = line.get(..120).unwrap_or(line);
        let body = format!("{}\n{line}\n", good.replace("good", "first"));
        refused(&send("application/x-ndjson", body.into()).await, shown);
        let body = format!("[{}, {line}]", good.replace("good", "first"));
        refused(&send("application/json", body.into()).await, shown);
    }
    const HEADER: &str = "external_id,nonzero_params,sparsity,data,loss,tags\n";
    const FIRST: &str = "first,1e7,0,2e10,2.5,\n";
    for line in [
        "a\0b,1e7,0,2e10,2.5,",
        "a,1e7,0,2e10,nan,",
        "a,1e7,0,2e10,1e400,",
        "a,1e7,0,2e10,inf,",
        "a,1e7,0,2e10,0x10,",
        "a,1e7,0,2e10",
        "a,1e7,0,2e10,2.5,,,,",
        "\"a,1e7,0,2e10,2.5,",
        "a,1e7,0,2e10,2.5,\"{\"\"a\"\": \"\"b\"\", \"\"a\"\": \"\"c\"\"}\"",
        "a,1e7,0,2e10,2.5,\"{\"\"a\"\": \"\"\\u0000\"\"}\"",
        "first,1e7,0,2e10,2.5,",
    ] {
        let response = send("text/csv", format!("{HEADER}{FIRST}{line}\n").into()).await;
        refused(&response, line);
    }
    refused(
        &send("text/csv", [HEADER.as_bytes(), b"\xff\xfe,1e7,0,2e10,2.5,\n"].concat()).await,
        "bytes",
    );
    let twice = HEADER.replace("tags", "loss");
    refused(&send("text/csv", format!("{twice}{FIRST}").into()).await, "a column twice");
    for body in [&b"PAR1"[..], b"PAR1PAR1", b"PAR1\xff\xff\xff\xffPAR1", b"PAR1\0\0\0\0PAR1", b""] {
        refused(&send("application/vnd.apache.parquet", body.to_vec()).await, "no Parquet");
    }
    assert_eq!(stored(&app).await, before);
}

/// Small bodies that decompress to large ones.
#[tokio::test]
async fn what_grows_when_it_is_decompressed_is_cut_off() {
    use std::io::Write;

    let (app, _) = service().await;
    let before = stored(&app).await;
    let line = [b' '; 64 * 1024];
    // Each body begins like its format, as other bodies are refused at once.
    for (kind, start) in [
        ("application/json", ""),
        ("application/x-ndjson", ""),
        ("text/csv", ""),
        ("application/vnd.apache.parquet", "PAR1"),
        ("application/vnd.apache.arrow.file", "ARROW1\0\0"),
    ] {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut zstd = zstd::Encoder::new(Vec::new(), 1).unwrap();
        gzip.write_all(start.as_bytes()).unwrap();
        zstd.write_all(start.as_bytes()).unwrap();
        for _ in 0..2048 {
            gzip.write_all(&line).unwrap();
            zstd.write_all(&line).unwrap();
        }
        for (coding, body) in [("gzip", gzip.finish().unwrap()), ("zstd", zstd.finish().unwrap())] {
            assert!(body.len() < 2 << 20, "{}", body.len());
            let request = app.server.post("/v1/families/mine/runs").content_type(kind);
            let request = request.add_header("content-encoding", coding);
            let response = request.bytes(body.into()).await;
            problem(&response, 413, "too-large");
        }
    }
    assert_eq!(stored(&app).await, before);
}

/// A page of another site can send requests to a service on the machine of whoever opens it.
#[tokio::test]
async fn pages_of_other_sites_cannot_use_a_service_without_keys() {
    let app = App::new().await;
    app.demo_family("mine").await;
    let before = stored(&app).await;
    let ask = async |method: Method, path: &str, headers: &[(&str, &str)]| {
        let mut request = app.server.method(method, path);
        for &(name, value) in headers {
            request = request.add_header(name, HeaderValue::from_str(value).unwrap());
        }
        request.await
    };
    // A refit needs no body, so browsers send this request without a preflight.
    const REFITS: &str = "/v1/families/mine/refits";
    let own = ("host", "127.0.0.1:8080");
    for headers in [
        &[own, ("sec-fetch-site", "cross-site")][..],
        &[own, ("sec-fetch-site", "same-site")],
        &[own, ("origin", "https://attacker.example")],
        &[own, ("origin", "http://127.0.0.1:3000")],
        &[own, ("origin", "null")],
    ] {
        problem(&ask(Method::POST, REFITS, headers).await, 403, "cross-site");
        problem(&ask(Method::DELETE, "/v1/families/mine", headers).await, 403, "cross-site");
        // The request is answered, but the page cannot read the answer.
        ask(Method::GET, "/v1/families", headers).await.assert_status(OK);
    }
    let rebound = [("host", "attacker.example:8080"), ("sec-fetch-site", "same-origin")];
    for (method, path) in
        [(Method::POST, REFITS), (Method::GET, "/v1/families"), (Method::GET, "/")]
    {
        problem(&ask(method, path, &rebound).await, 421, "misdirected");
    }
    ask(Method::GET, "/healthz", &rebound).await.assert_status(OK);
    assert_eq!(stored(&app).await, before);

    let named = [("host", "planner.example.org"), ("sec-fetch-site", "same-origin")];
    ask(Method::GET, "/v1/families", &named).await.assert_status(OK);
    let trusted = [own, ("origin", ORIGIN), ("sec-fetch-site", "cross-site")];
    ask(Method::POST, REFITS, &trusted).await.assert_status(StatusCode::ACCEPTED);
    // The service's own page, and programs that are no browser, are let through.
    let page = [own, ("origin", "http://127.0.0.1:8080"), ("sec-fetch-site", "same-origin")];
    ask(Method::POST, REFITS, &page).await.assert_status(OK);
    ask(Method::POST, REFITS, &[own]).await.assert_status(OK);
    ask(Method::GET, "/v1/families/none", &[own]).await.assert_status(NOT_FOUND);
}

/// Questions to a new installation that cover every way of reading a query.
const QUESTIONS: [&str; 9] = [
    "/v1/families/t5-c4/prediction?nonzero_params=1e7&sparsity=0.75&data=3e10",
    "/v1/families/t5-c4/prediction?nonzero_params=1e7&sparsity=0.5&compute=1e+19&flop_mode=example-block-sparse",
    "/v1/families/t5-c4/optimal-sparsity?nonzero_params=1e8&compute=1e19&flop_mode=sparse&intervals=false",
    "/v1/families/vit-jft/contours?flop_mode=dense&levels=0,0.5&points=5",
    "/v1/families/t5-c4/gain?law_version=1&width=400",
    "/v1/families/t5-c4/effective-params?nonzero_params=1e8&pattern=2:4",
    "/v1/families/t5-c4/runs?limit=5&min_loss=1&tags=key:value&start=scratch&excluded=false",
    "/v1/families?limit=10&cursor=0190000000007000800000000000000a",
    "/v1/audit-events?limit=10&actor=anonymous&from=2026-01-01T00:00:00Z&family=t5-c4",
];

const PIECES: [&str; 24] = [
    "", "\0", "%", "&", "=", "+", "-", ".", "e", "0", "9", "1e400", "-0", "NaN", "inf", ",", ":",
    "[]", "\u{feff}", "\"", "{", "]", "\\", "'",
];

/// Characters that are percent-encoded in a query.
const KEPT: AsciiSet = CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A text of which parts are moved, left out, or changed.
fn damaged(text: &str, random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..random.random_range(0..3) {
        let at = random.random_range(0..=bytes.len());
        let end = (at + random.random_range(0..6)).min(bytes.len());
        match random.random_range(0..4) {
            0 => drop(bytes.splice(at..end, [random.random::<u8>()])),
            1 => {
                let piece = bytes[at..].iter().copied().take(20).collect::<Vec<_>>();
                drop(bytes.splice(at..at, piece));
            }
            _ => {
                let piece = PIECES[random.random_range(0..PIECES.len())];
                drop(bytes.splice(at..end, piece.bytes()));
            }
        }
    }
    bytes
}

/// The environment variable `CASES` sets the number of cases.
#[tokio::test]
async fn damaged_questions_and_profiles_are_answered_or_refused() {
    let app = App::new().await;
    let cases = std::env::var("CASES").map_or(300, |cases| cases.parse().unwrap());
    let mut random = ChaCha8Rng::seed_from_u64(2309);
    let mut answered = 0;
    for _ in 0..cases {
        let (path, query) =
            QUESTIONS[random.random_range(0..QUESTIONS.len())].split_once('?').unwrap();
        let query = damaged(query, &mut random);
        let question = format!("{path}?{}", percent_encode(&query, &KEPT));
        let accept = damaged("application/json;q=0.9, image/*;q=0.1, text/csv", &mut random);
        let mut request = app.server.get(&question);
        if random.random::<bool>()
            && let Ok(accept) = HeaderValue::from_bytes(&accept)
        {
            request = request.add_header("accept", accept);
        }
        let response = request.await;
        if response.status_code() == OK {
            answered += 1;
        } else {
            let status = response.status_code();
            assert!(status.is_client_error(), "{question}: {status} {}", response.text());
            assert_eq!(response.header("content-type"), "application/problem+json", "{question}");
        }

        let body = damaged(&profile("mine").to_string(), &mut random);
        let shown = String::from_utf8_lossy(&body).into_owned();
        let request = app.server.post("/v1/hardware-profiles").content_type("application/json");
        let response = request.bytes(body.into()).await;
        if response.status_code() != CREATED {
            refused(&response, &shown);
            continue;
        }
        // What was accepted is in its range, and is returned as it was stored.
        let created: Value = response.json();
        let path = response.header("location").to_str().unwrap().to_owned();
        assert_eq!(app.get(&path).await.json::<Value>(), created, "{shown}");
        for point in created["cost"]["points"].as_array().unwrap() {
            let (sparsity, cost) = (point[0].as_f64().unwrap(), point[1].as_f64().unwrap());
            assert!((0.0..=1.0).contains(&sparsity) && (0.0..=10.0).contains(&cost), "{shown}");
        }
        app.server.delete(&path).await.assert_status(StatusCode::NO_CONTENT);
    }
    assert!(answered > 0, "of {cases}");
}
