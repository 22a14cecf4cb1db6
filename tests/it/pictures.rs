//! Pictures of answers: content negotiation, bytes, and what they show.

use axum_test::TestResponse;
use resvg::tiny_skia::Pixmap;
use resvg::usvg::roxmltree::Document;
use serde_json::{Value, json};

use crate::support::{App, CREATED, OK, problem};

const SVG: &str = "image/svg+xml";
const PNG: &str = "image/png";
const CONTOURS: &str = "/v1/families/t5-c4/contours?flop_mode=sparse";
const LOSSES: &str = "loss-by-sparsity?nonzero_params=1e8&compute=1e19&flop_mode=sparse";

async fn accept(app: &App, path: &str, accept: &str) -> TestResponse {
    app.server.get(path).add_header("accept", accept).await
}

/// The picture at a path, as SVG.
async fn svg(app: &App, path: &str) -> String {
    let response = accept(app, path, SVG).await;
    assert_eq!(response.status_code(), OK, "{}", response.text());
    assert_eq!(response.header("content-type"), SVG);
    response.text()
}

fn elements(svg: &str, class: &str) -> usize {
    let document = Document::parse(svg).unwrap();
    document.descendants().filter(|node| node.attribute("class") == Some(class)).count()
}

async fn fitted(options: Value) -> App {
    let app = App::with_worker().await;
    app.demo_family("mine").await;
    let wild = json!({"external_id": "wild", "nonzero_params": 1e7, "sparsity": 0.5,
                      "data": 3e10, "loss": 3.0});
    app.post("/v1/families/mine/runs", wild).await.assert_status(OK);
    let refit = app.refit("mine", options).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    app
}

/// A picture without title and notes, for a page that shows these itself.
async fn bare_of(app: &App) -> String {
    let look = "bare=true&width=300&height=220&x_range=1e7,1e8&y_range=1e17,1e20&mark=5e7,1e19";
    let drawn = svg(app, &format!("/v1/families/mine/contours?flop_mode=dense&{look}")).await;
    assert!(drawn.contains(r#"viewBox="0 0 300.00 220.00""#), "{drawn}");
    assert!(drawn.contains(r#"data-x="log 7 8""#) && drawn.contains(r#"data-y="log 17 20""#));
    drawn
}

fn quick() -> Value {
    json!({"starts": 8, "bootstrap": 100})
}

#[tokio::test]
async fn a_picture_is_drawn_in_the_format_and_size_that_are_asked_for() {
    let app = App::new().await;
    let drawn = svg(&app, CONTOURS).await;
    assert_eq!(elements(&drawn, "level"), 4);
    assert_eq!((elements(&drawn, "region"), elements(&drawn, "band")), (1, 0));
    assert_eq!(drawn, svg(&app, CONTOURS).await, "the same bytes");
    for (query, width, height) in [("", 800, 540), ("&width=480&height=600&theme=dark", 480, 600)] {
        let response = accept(&app, &format!("{CONTOURS}{query}"), PNG).await;
        assert_eq!(
            (response.status_code(), response.header("content-type")),
            (OK, PNG.parse().unwrap())
        );
        let pixels = Pixmap::decode_png(response.as_bytes()).unwrap();
        assert_eq!((pixels.width(), pixels.height()), (width, height));
        // A picture with lines and letters is neither blank nor full.
        let ground = pixels.pixel(0, 0).unwrap();
        let marked = pixels.pixels().iter().filter(|pixel| **pixel != ground).count();
        let share = marked as f64 / f64::from(width * height);
        assert!((0.02..0.6).contains(&share), "{share}");
        assert_eq!(ground.red() > 200, query.is_empty(), "dark is dark");
    }
    for (query, pointer) in [
        ("width=479", "/width"),
        ("width=2401", "/width"),
        ("height=10", "/height"),
        ("theme=pink", "/theme"),
        ("width=1e9", "/width"),
        ("bare=true&width=279", "/width"),
        ("x_range=1e9,1e6", "/x_range"),
        ("y_range=1e9", "/y_range"),
        ("mark=7e7", "/mark"),
        ("mark=0,1e20", "/mark"),
        ("axes=residuals", "/axes"),
        ("depth=3", "/depth"),
    ] {
        for format in [PNG, "application/json"] {
            let response = accept(&app, &format!("{CONTOURS}&{query}"), format).await;
            assert_eq!(problem(&response, 422, "invalid"), [pointer], "{query}");
        }
    }
}

#[tokio::test]
async fn representations_are_negotiated_and_cached_apart() {
    let app = App::new().await;
    let mut tags = Vec::new();
    for format in ["application/json", SVG, PNG] {
        let response = accept(&app, CONTOURS, format).await;
        assert_eq!(response.header("content-type"), format);
        assert_eq!(response.header("vary"), "accept");
        let tag = response.header("etag");
        let again = app
            .server
            .get(CONTOURS)
            .add_header("accept", format)
            .add_header("if-none-match", tag.clone())
            .await;
        assert_eq!(
            (again.status_code().as_u16(), again.header("vary")),
            (304, "accept".parse().unwrap())
        );
        assert_eq!(again.header("etag"), tag);
        assert!(!tags.contains(&tag), "{tag:?} twice");
        tags.push(tag);
    }
    // The ETag of one representation is not valid for another.
    let other = app.server.get(CONTOURS).add_header("accept", SVG);
    assert_eq!(other.add_header("if-none-match", tags[2].clone()).await.status_code(), OK);
    assert_eq!(app.get(CONTOURS).await.header("content-type"), "application/json");
    for path in ["contours?flop_mode=sparse", "gain", "fit-quality", LOSSES] {
        let path = format!("/v1/families/t5-c4/{path}");
        let response = accept(&app, &path, "text/csv, image/*;q=0").await;
        problem(&response, 406, "not-acceptable");
        assert_eq!(response.header("vary"), "accept");
        let liked = accept(&app, &path, "image/svg+xml;q=0.3, image/png;q=0.7, */*;q=0.1").await;
        assert_eq!(liked.header("content-type"), PNG, "{path}");
        assert_eq!(accept(&app, &path, "image/*").await.header("content-type"), SVG, "{path}");
        assert_eq!(app.get(&path).await.header("vary"), "accept", "{path}");
    }
    // A problem is sent as JSON, whatever representation was requested.
    let path = "/v1/families/none/contours?flop_mode=sparse";
    problem(&accept(&app, path, PNG).await, 404, "not-found");
    app.post("/v1/families", json!({"name": "mine"})).await.assert_status(CREATED);
    for path in ["contours?flop_mode=sparse", "gain", "fit-quality", LOSSES] {
        let response = accept(&app, &format!("/v1/families/mine/{path}"), SVG).await;
        problem(&response, 409, "no-law");
    }
}

#[tokio::test]
async fn a_fitted_law_is_drawn_with_its_runs_and_bands() {
    let app = fitted(quick()).await;
    let contours = svg(&app, "/v1/families/mine/contours?flop_mode=dense&levels=0.5,0.75").await;
    assert_eq!((elements(&contours, "level"), elements(&contours, "band")), (2, 2));
    assert_eq!(elements(&contours, "region"), 0);
    assert!(contours.contains("Law 1 of mine, fitted 2026-03-01 on 49 runs"), "{contours}");
    let bare = "/v1/families/mine/contours?flop_mode=dense&intervals=false";
    assert_eq!(elements(&svg(&app, bare).await, "band"), 0);
    let hardware = "/v1/families/mine/contours?flop_mode=example-block-sparse";
    assert!(svg(&app, hardware).await.contains("FLOP mode example-block-sparse"));
    let gain = svg(&app, "/v1/families/mine/gain").await;
    assert_eq!(
        (elements(&gain, "gain"), elements(&gain, "band"), elements(&gain, "limit")),
        (1, 1, 1)
    );
    // The only mark is that of the limit, as a curve of a hundred points has no marks.
    assert_eq!(elements(&gain, "mark"), 1);
    let some = svg(&app, "/v1/families/mine/gain?sparsities=0,0.5,0.9").await;
    assert_eq!(elements(&some, "mark"), 4);

    // The lines where the runs support them, and a note that they go beyond the runs.
    assert_eq!((elements(&contours, "supported"), elements(&bare_of(&app).await, "title")), (3, 0));
    assert!(contours.contains("beyond the runs"), "{contours}");
    // All runs are drawn, whatever page JSON would show, and the legend marks each level.
    let runs = svg(&app, "/v1/families/mine/fit-quality?limit=1").await;
    assert_eq!((elements(&runs, "mark"), elements(&runs, "outlier")), (49 + 4, 1));
    assert!(runs.contains("residual noise 0."), "{runs}");
    let residuals = svg(&app, "/v1/families/mine/fit-quality?axes=residuals").await;
    assert!(residuals.contains("residual, above 0") && elements(&residuals, "mark") == 49 + 4);
    let outliers = svg(&app, "/v1/families/mine/fit-quality?outliers=true").await;
    assert_eq!((elements(&outliers, "mark"), elements(&outliers, "outlier")), (1 + 1, 1));
    let published = svg(&app, "/v1/families/t5-c4/fit-quality").await;
    assert!(published.contains("its runs are not here") && elements(&published, "mark") == 0);
    let png = accept(&app, "/v1/families/t5-c4/fit-quality", PNG).await;
    assert!(Pixmap::decode_png(png.as_bytes()).is_ok());
}

#[tokio::test]
async fn the_loss_by_sparsity_has_its_least_at_the_optimum() {
    let app = fitted(quick()).await;
    for family in ["t5-c4", "vit-jft", "mine"] {
        for mode in ["dense", "sparse", "example-block-sparse"] {
            let question = format!("nonzero_params=1e8&compute=1e20&flop_mode={mode}");
            let path = format!("/v1/families/{family}/loss-by-sparsity?{question}&points=101");
            let losses: Value = app.get(&path).await.json();
            let path = format!("/v1/families/{family}/optimal-sparsity?{question}");
            let best: Value = app.get(&path).await.json();
            let optimum = &losses["optimum"];
            for field in ["sparsity", "loss", "data"] {
                assert_eq!(optimum[field], best[field], "{path}: {field}");
            }
            assert_eq!(optimum["interval"], best["interval"], "{path}");
            for field in ["loss", "data"] {
                assert_eq!(losses["dense"][field], best["dense"][field], "{path}");
            }
            assert_eq!(losses["warnings"], best["warnings"]);
            let points = losses["points"].as_array().unwrap();
            assert_eq!((points.len(), &points[0]), (101, &losses["dense"]));
            let value = |point: &Value, field: &str| point[field].as_f64().unwrap();
            let (least, at) = (value(optimum, "loss"), value(optimum, "sparsity"));
            for pair in points.windows(2) {
                assert!(value(&pair[0], "sparsity") < value(&pair[1], "sparsity"));
                assert!(value(&pair[1], "loss") >= least, "{path}");
            }
            let last = value(&points[100], "sparsity");
            assert!(1.0 - last < 0.14 * (1.0 - at) && last > 0.95, "{last} {at}");
            // The prediction at this sparsity gives the same loss.
            let sparsity = value(&points[40], "sparsity");
            let path = format!("/v1/families/{family}/prediction?{question}&sparsity={sparsity}");
            let prediction: Value = app.get(&path).await.json();
            let (a, b) = (value(&prediction, "loss"), value(&points[40], "loss"));
            assert!((a / b - 1.0).abs() < 1e-12, "{path}");
            assert_eq!(points[40]["interval"].is_null(), family != "mine");
        }
    }
    let path = format!("/v1/families/mine/{LOSSES}");
    let drawn = svg(&app, &path).await;
    assert_eq!(
        (elements(&drawn, "loss"), elements(&drawn, "dense"), elements(&drawn, "band")),
        (1, 1, 1)
    );
    // Marks: the best sparsity; in the mode of hardware also the best pattern, the compared sparsity and their signs
    // in the legend.
    assert_eq!(elements(&drawn, "mark"), 2);
    let path_of = |mode: &str| {
        let question = "loss-by-sparsity?nonzero_params=1e8&compute=1e20";
        format!("/v1/families/mine/{question}&flop_mode={mode}&mark=0.3")
    };
    let marked = svg(&app, &path_of("example-a100-2-4")).await;
    assert!(
        marked.contains("best pattern, 2:4") && marked.contains("30 %, to compare"),
        "{marked}"
    );
    assert_eq!(elements(&marked, "mark"), 6);
    let linear = svg(&app, &format!("{}&axes=linear", path_of("sparse"))).await;
    assert!(linear.contains(r#"data-x="linear 0 "#));
    let bare: Value = app.get(&format!("{path}&intervals=false")).await.json();
    assert_eq!((bare["optimum"].get("interval"), bare["points"][0].get("interval")), (None, None));
    for (query, pointers) in [
        (
            "nonzero_params=0&compute=1e50&flop_mode=x%20y&points=1",
            vec!["/nonzero_params", "/compute", "/flop_mode", "/points"],
        ),
        ("nonzero_params=1e8&compute=1e20&flop_mode=sparse&points=401", vec!["/points"]),
        ("nonzero_params=1e8&flop_mode=sparse", vec!["/compute"]),
    ] {
        let response = app.get(&format!("/v1/families/mine/loss-by-sparsity?{query}")).await;
        assert_eq!(problem(&response, 422, "invalid"), pointers, "{query}");
    }
}
