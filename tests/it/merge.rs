//! Runs that are sent again: which fields stay and which go; and runs addressed by their `external_id`.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use axum_test::TestResponse;
use serde_json::{Value, json};

use sparsity_law::law::Sparsity;
use sparsity_planner::domain::submission::contradicts;
use sparsity_planner::domain::text::Pattern;

use crate::support::{App, NO_CONTENT, NOT_FOUND, OK, database, problem};

/// A run with a value in every field.
const FULL: &str = r#"{"external_id": "a/1", "nonzero_params": 1e7, "sparsity": 0.5, "data": 2e10, "loss": 2.5,
    "start": "pretrained", "pretraining_data": 1e9, "unique_data": 5e8, "pattern": "2:4", "tags": {"sweep": "3", "by": "me"},
    "exclusion_reason": "diverged"}"#;

/// The required columns of a row, with another loss.
const REQUIRED: [(&str, &str); 5] = [
    ("external_id", "a/1"),
    ("nonzero_params", "1e7"),
    ("sparsity", "0.5"),
    ("data", "2e10"),
    ("loss", "2.25"),
];

async fn app() -> App {
    let app = App::new().await;
    app.post("/v1/families", json!({"name": "mine"})).await;
    app
}

async fn send(app: &App, kind: &str, query: &str, body: Vec<u8>) -> TestResponse {
    let path = format!("/v1/families/mine/runs{query}");
    app.server.post(&path).content_type(kind).bytes(body.into()).await
}

async fn stored(app: &App) -> Value {
    let runs: Value = app.get("/v1/families/mine/runs?external_id=a/1").await.json();
    runs["items"][0].clone()
}

fn csv(cells: &[(&str, &str)]) -> Vec<u8> {
    let line = |of: fn(&(&str, &str)) -> String| cells.iter().map(of).collect::<Vec<_>>().join(",");
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let values: Vec<_> = cells.iter().map(|(_, value)| quoted(value)).collect();
    format!("{}\n{}\n", line(|(name, _)| (*name).to_owned()), values.join(",")).into_bytes()
}

fn json_row(cells: &[(&str, &str)]) -> Vec<u8> {
    let fields = cells.iter().map(|(name, value)| match *value {
        "" => format!("\"{name}\": null"),
        number if number.parse::<f64>().is_ok() => format!("\"{name}\": {number}"),
        object if object.starts_with('{') => format!("\"{name}\": {object}"),
        text => format!("\"{name}\": \"{text}\""),
    });
    format!("{{{}}}", fields.collect::<Vec<_>>().join(", ")).into_bytes()
}

#[cfg(feature = "parquet")]
fn parquet(cells: &[(&str, &str)]) -> Vec<u8> {
    let batch = batch(cells);
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn arrow(cells: &[(&str, &str)]) -> Vec<u8> {
    let batch = batch(cells);
    let schema = batch.schema();
    let mut writer = arrow_ipc::writer::StreamWriter::try_new(Vec::new(), &schema).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn batch(cells: &[(&str, &str)]) -> RecordBatch {
    let columns = cells.iter().map(|(name, value)| {
        let column: ArrayRef = match value.parse::<f64>() {
            Ok(number) => Arc::new(Float64Array::from(vec![number])),
            Err(_) => {
                let value = (!value.is_empty()).then_some(*value);
                Arc::new(StringArray::from(vec![value]))
            }
        };
        (*name, column, true)
    });
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// Writes the cells of a row in a format.
type Writer = fn(&[(&str, &str)]) -> Vec<u8>;

/// Media types, and how a row is written in each.
const FORMATS: &[(&str, Writer)] = &[
    ("application/json", json_row),
    ("application/x-ndjson", json_row),
    ("text/csv", csv),
    #[cfg(feature = "parquet")]
    ("application/vnd.apache.parquet", parquet),
    ("application/vnd.apache.arrow.stream", arrow),
];

/// The values of the optional fields.
fn optional(run: &Value) -> Value {
    json!([
        run["start"],
        run["pretraining_data"],
        run["pattern"],
        run["tags"],
        run["exclusion_reason"]
    ])
}

#[tokio::test]
async fn what_a_row_does_not_bring_stays_and_an_empty_cell_empties() {
    let app = app().await;
    let full = json!(["pretrained", 1e9, "2:4", {"sweep": "3", "by": "me"}, "diverged"]);
    for (kind, write) in FORMATS {
        let again = async |with: &[(&str, &str)], query: &str| {
            app.server.delete("/v1/families/mine/runs/by-external-id/a%2F1").await;
            send(&app, "application/json", "", FULL.into()).await.assert_status(OK);
            let cells = [&REQUIRED[..], with].concat();
            let answer = send(&app, kind, query, write(&cells)).await;
            answer.assert_status(OK);
            assert_eq!(answer.json::<Value>()["updated"], 1, "{kind} {with:?}");
            let same: Value = send(&app, kind, query, write(&cells)).await.json();
            assert_eq!(same["unchanged"], 1, "{kind} {with:?}: {same}");
            let run = stored(&app).await;
            assert_eq!(run["loss"], 2.25, "{kind}");
            optional(&run)
        };
        assert_eq!(again(&[], "").await, full, "{kind}");
        assert_eq!(again(&[], "?absent=keep").await, full, "{kind}");
        let cleared = json!(["scratch", null, null, {}, null]);
        assert_eq!(again(&[], "?absent=clear").await, cleared, "{kind}");
        let mut expected = full.clone();
        expected[2] = Value::Null;
        assert_eq!(again(&[("pattern", "")], "").await, expected, "{kind}");
        expected[3] = json!({});
        assert_eq!(again(&[("pattern", ""), ("tags", "")], "").await, expected, "{kind}");
        // The tags are one field, so they are replaced together.
        expected = full.clone();
        expected[3] = json!({"sweep": "four"});
        let tags = [("tags", r#"{"sweep": "four"}"#)];
        assert_eq!(again(&tags, "").await, expected, "{kind}");
        // A run from scratch has no pretraining data.
        expected = full.clone();
        (expected[0], expected[1]) = (json!("scratch"), Value::Null);
        assert_eq!(again(&[("start", "scratch")], "").await, expected, "{kind}");
        assert_eq!(again(&[("start", "")], "").await, expected, "{kind}");
        assert_eq!(again(&[("start", "pretrained")], "").await, full, "{kind}");
        // An empty reason does not include the run again, as whoever excluded it had a reason.
        assert_eq!(again(&[("exclusion_reason", "")], "").await, full, "{kind}");
        let cleared = again(&[("exclusion_reason", "")], "?absent=clear").await;
        assert_eq!(cleared[4], Value::Null, "{kind}");
        expected = full.clone();
        expected[4] = json!("again");
        assert_eq!(again(&[("exclusion_reason", "again")], "").await, expected, "{kind}");
    }
}

/// Two stored runs: one with a pattern, by which three quarters are zeros, and one without a pattern, of which half
/// is.
async fn app_with_patterns() -> App {
    let app = app().await;
    let rows = json!([
        {"external_id": "a/1", "nonzero_params": 1e7, "sparsity": 0.75, "data": 2e10, "loss": 2.5, "pattern": "1:4"},
        {"external_id": "b", "nonzero_params": 1e7, "sparsity": 0.5, "data": 2e10, "loss": 2.5},
    ]);
    app.post("/v1/families/mine/runs", rows).await.assert_status(OK);
    app
}

/// Cells of a row with this sparsity and another loss than the stored one.
fn with_sparsity(sparsity: &'static str) -> Vec<(&'static str, &'static str)> {
    let mut cells = REQUIRED.to_vec();
    cells[2].1 = sparsity;
    cells
}

#[tokio::test]
async fn a_pattern_does_not_stay_beside_a_sparsity_that_contradicts_it() {
    let app = app_with_patterns().await;
    for (kind, write) in FORMATS {
        let before = stored(&app).await;
        let wrong = write(&with_sparsity("0.25"));
        let refused = send(&app, kind, "", wrong.clone()).await;
        problem(&refused, 422, "invalid");
        let error = refused.json::<Value>()["errors"][0].clone();
        assert!(error["pointer"].as_str().unwrap().ends_with("/pattern"), "{kind} {error}");
        for said in ["1:4", "0.25", "3:4"] {
            assert!(error["detail"].as_str().unwrap().contains(said), "{kind} {error}");
        }
        assert_eq!(stored(&app).await, before, "{kind}");
        let shown: Value = send(&app, kind, "?dry_run=true", wrong.clone()).await.json();
        assert_eq!((&shown["errors"], &shown["updated"]), (&json!(1), &json!(0)), "{kind} {shown}");
        assert_eq!(shown["preview"]["errors"][0]["field"], "pattern", "{kind}");
        assert_eq!(shown["preview"]["runs"], json!([]), "{kind}");
        let skipped: Value = send(&app, kind, "?on_error=skip", wrong.clone()).await.json();
        assert_eq!(skipped["rejected"][0]["field"], "pattern", "{kind}");
        assert_eq!(stored(&app).await, before, "{kind}");

        // Nor does a run that comes again as dense stay one of a pattern.
        let dense = send(&app, kind, "", write(&with_sparsity("0"))).await;
        problem(&dense, 422, "invalid");
        let error = dense.json::<Value>()["errors"][0].clone();
        let detail = error["detail"].as_str().unwrap();
        assert!(detail.contains("1:4") && !detail.contains("3:4"), "{kind} {error}");
        assert_eq!(stored(&app).await, before, "{kind}");

        // A row that gives a pattern, empties it, or agrees with the stored one is accepted.
        for (cells, query, pattern) in [
            ([with_sparsity("0.25"), vec![("pattern", "3:4")]].concat(), "", json!("3:4")),
            ([with_sparsity("0.25"), vec![("pattern", "")]].concat(), "", Value::Null),
            (with_sparsity("0.25"), "?absent=clear", Value::Null),
            (with_sparsity("0.74"), "", json!("1:4")),
        ] {
            app.server.delete("/v1/families/mine/runs/by-external-id/a%2F1").await;
            let first = [with_sparsity("0.75"), vec![("pattern", "1:4")]].concat();
            send(&app, kind, "", write(&first)).await.assert_status(OK);
            send(&app, kind, query, write(&cells)).await.assert_status(OK);
            assert_eq!(stored(&app).await["pattern"], pattern, "{kind} {cells:?}");
        }
        app.server.delete("/v1/families/mine/runs/by-external-id/a%2F1").await;
        let first = json!({"external_id": "a/1", "nonzero_params": 1e7, "sparsity": 0.75, "data": 2e10, "loss": 2.5,
            "pattern": "1:4"});
        app.post("/v1/families/mine/runs", first).await.assert_status(OK);
    }
}

/// The same with few rows and with more than fit into the parameters of one statement: nothing is stored in part.
#[tokio::test]
async fn what_contradicts_a_pattern_is_named_among_the_rows_and_nothing_else_is_stored() {
    let app = app_with_patterns().await;
    for others in [3, 2500] {
        let mut rows: Vec<String> = (0..others)
            .map(|i| {
                format!(
                    r#"{{"external_id": "r{i}", "nonzero_params": 1e7, "sparsity": 0.5, "data": 2e10, "loss": 2.5}}"#
                )
            })
            .collect();
        rows.insert(
            2,
            r#"{"external_id": "a/1", "nonzero_params": 1e7, "sparsity": 0.25, "data": 2e10, "loss": 2.25}"#.to_owned(),
        );
        let body = rows.join("\n").into_bytes();
        let refused = send(&app, "application/x-ndjson", "", body.clone()).await;
        assert_eq!(problem(&refused, 422, "invalid"), ["/2/pattern"]);
        let count = async |app: &App| {
            let list = app
                .server
                .get("/v1/families/mine/runs")
                .add_header("accept", "application/x-ndjson");
            list.await.text().lines().count()
        };
        assert_eq!(count(&app).await, 2);
        assert_eq!(stored(&app).await["sparsity"], 0.75);
        let skipped: Value =
            send(&app, "application/x-ndjson", "?on_error=skip", body.clone()).await.json();
        assert_eq!(skipped["created"], others);
        assert_eq!((&skipped["errors"], &skipped["rejected"][0]["row"]), (&json!(1), &json!(2)));
        assert_eq!(
            (stored(&app).await["sparsity"].as_f64(), count(&app).await),
            (Some(0.75), others + 2)
        );
        let again: Value = send(&app, "application/x-ndjson", "?on_error=skip", body).await.json();
        assert_eq!((&again["unchanged"], &again["errors"]), (&json!(others), &json!(1)));
        for i in 0..3 {
            app.server.delete(&format!("/v1/families/mine/runs/by-external-id/r{i}")).await;
        }
    }
}

#[tokio::test]
async fn the_database_and_the_service_agree_on_what_contradicts_a_pattern() {
    let pool = database().await;
    for pattern in ["1:4", "2:4", "3:4", "1:2", "1:16", "15:16", "4:8", "7:8", "1:1024"] {
        for percent in 0..100 {
            let sparsity = f64::from(percent) / 100.0 + 0.003;
            let there: bool = sqlx::query_scalar("SELECT pattern_contradicts($1, $2)")
                .bind(pattern)
                .bind(sparsity)
                .fetch_one(&pool)
                .await
                .unwrap();
            let here =
                contradicts(&Pattern::new(pattern).unwrap(), Sparsity::new(sparsity).unwrap());
            assert_eq!(there, here, "{pattern} {sparsity}");
        }
    }
}

/// More rows than fit into the parameters of one statement, some with a field and some without.
#[tokio::test]
async fn many_rows_each_leave_what_they_do_not_bring() {
    const MANY: usize = 2500;
    let app = app().await;
    let rows = |with: &dyn Fn(usize) -> String| -> Vec<u8> {
        let row = |i: usize| {
            format!(
                r#"{{"external_id": "r{i}", "nonzero_params": 1e7, "sparsity": 0.5, "data": 2e10, "loss": 2.5{}}}"#,
                with(i)
            )
        };
        (0..MANY).map(row).collect::<Vec<_>>().join("\n").into_bytes()
    };
    let kind = "application/x-ndjson";
    let first = rows(&|_| r#", "tags": {"a": "1"}, "pattern": "2:4""#.to_owned());
    send(&app, kind, "", first).await.assert_status(OK);
    let odd = |i: usize| i % 2 == 1;
    let second = rows(&|i| if odd(i) { r#", "tags": {}"#.to_owned() } else { String::new() });
    let answer: Value = send(&app, kind, "", second).await.json();
    assert_eq!((&answer["updated"], &answer["unchanged"]), (&json!(1250), &json!(1250)));
    let list = app.server.get("/v1/families/mine/runs").add_header("accept", kind).await.text();
    let mut seen = 0;
    for line in list.lines() {
        let run: Value = serde_json::from_str(line).unwrap();
        let i: usize = run["external_id"].as_str().unwrap()[1..].parse().unwrap();
        let tags = if odd(i) { json!({}) } else { json!({"a": "1"}) };
        let left = run.get("tags").cloned().unwrap_or(json!({}));
        assert_eq!((&left, &run["pattern"]), (&tags, &json!("2:4")), "{line}");
        seen += 1;
    }
    assert_eq!(seen, MANY);
}

#[tokio::test]
async fn a_run_is_found_excluded_and_deleted_by_its_submitters_name() {
    let app = app().await;
    let rows = json!([
        serde_json::from_str::<Value>(FULL).unwrap(),
        {"external_id": "a", "nonzero_params": 1e7, "sparsity": 0.5, "data": 2e10, "loss": 2.5},
        {"external_id": "b%c d", "nonzero_params": 1e7, "sparsity": 0.5, "data": 2e10, "loss": 2.5},
    ]);
    send(&app, "application/json", "", rows.to_string().into()).await.assert_status(OK);
    let named = async |name: &str| {
        let answer = app
            .server
            .get("/v1/families/mine/runs")
            .add_query_param("external_id", name)
            .await
            .json::<Value>();
        answer["items"].as_array().unwrap().clone()
    };
    assert_eq!(named("a/1").await.len(), 1);
    assert_eq!(named("a/1").await[0]["external_id"], "a/1");
    assert_eq!(named("a/").await, [json!(null); 0]);
    let lines =
        app.server.get("/v1/families/mine/runs?external_id=a").add_header("accept", "text/csv");
    assert_eq!(lines.await.text().lines().count(), 2);
    let pointers = problem(&app.get("/v1/families/mine/runs?external_id=").await, 422, "invalid");
    assert_eq!(pointers, ["/external_id"]);

    let path = "/v1/families/mine/runs/by-external-id";
    let include = json!({"excluded": false});
    let patched = app.server.patch(&format!("{path}/a%2F1")).json(&include).await;
    patched.assert_status(OK);
    assert_eq!(patched.json::<Value>()["excluded"], false);
    let exclude = json!({"excluded": true, "exclusion_reason": "twice"});
    let patched = app.server.patch(&format!("{path}/b%25c%20d")).json(&exclude).await;
    assert_eq!(patched.json::<Value>()["exclusion_reason"], "twice");
    let wrong = app.server.patch(&format!("{path}/a")).json(&json!({"excluded": true})).await;
    assert_eq!(problem(&wrong, 422, "invalid"), ["/exclusion_reason"]);
    for unknown in ["a%2F2", "A", "%00"] {
        let answer = app.server.patch(&format!("{path}/{unknown}")).json(&include).await;
        problem(&answer, 404, "not-found");
        let answer = app.server.delete(&format!("{path}/{unknown}")).await;
        problem(&answer, 404, "not-found");
    }
    app.server.delete(&format!("{path}/a%2F1")).await.assert_status(NO_CONTENT);
    app.server.delete(&format!("{path}/a%2F1")).await.assert_status(NOT_FOUND);
    assert_eq!(named("a/1").await, [json!(null); 0]);
    assert_eq!(named("a").await.len(), 1);
    let other = app.server.delete("/v1/families/none/runs/by-external-id/a").await;
    problem(&other, 404, "not-found");
}
