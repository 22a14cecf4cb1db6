//! Tables as other tools export them, over HTTP: what was recognised, what was left out, and what would be stored.

use axum_test::TestResponse;
use serde_json::{Value, json};

use crate::support::{App, OK, problem};

const TABLE: &str = "run,seed,State,dense,total,steps,batch,eval/ppl\n\
                     wide,1,finished,50M,100M,20000,512,12.5\n\
                     wide,2,crashed,50M,100M,3000,512,80\n\
                     deep,1,finished,50M,50M,20000,512,13\n";

const QUERY: [(&str, &str); 7] = [
    ("map", "sparsity:1-dense/total"),
    ("map", "nonzero_params:dense"),
    ("map", "data:steps*batch*1024"),
    ("map", "loss:ln(`eval/ppl`)"),
    ("id", "run,seed"),
    ("where", "State == \"finished\""),
    ("tag_columns", "State"),
];

async fn send(app: &App, query: &[(&str, &str)], table: &str) -> TestResponse {
    let mut request = app.server.post("/v1/families/door/runs");
    for (name, value) in query {
        request = request.add_query_param(name, value);
    }
    request.content_type("text/csv").bytes(table.to_owned().into()).await
}

async fn app() -> App {
    let app = App::new().await;
    app.post("/v1/families", json!({"name": "door"})).await;
    app
}

#[tokio::test]
async fn a_table_comes_in_as_it_is_and_the_answer_says_how_it_was_read() {
    let app = app().await;
    let response = send(&app, &QUERY, TABLE).await;
    response.assert_status(OK);
    let answer: Value = response.json();
    assert_eq!(answer["created"], 2, "{answer}");
    assert_eq!(answer["left_out"], json!({"where": 1}));
    assert_eq!(answer["preview"], Value::Null);
    assert_eq!(
        answer["recognised"],
        json!({
            "format": "text/csv", "separator": ",", "decimal": null, "mapping": null,
            "columns": {
                "nonzero_params": "dense", "sparsity": "1-dense/total", "data": "steps*batch*1024",
                "loss": "ln(`eval/ppl`)",
            },
        })
    );
    let runs: Value = app.get("/v1/families/door/runs").await.json();
    let wide = runs["items"].as_array().unwrap().iter().find(|run| run["external_id"] == "wide:1");
    let wide = wide.unwrap();
    assert_eq!(wide["nonzero_params"], 5e7);
    assert_eq!(wide["sparsity"], 0.5);
    assert_eq!(wide["data"], 20_000.0 * 512.0 * 1024.0);
    assert_eq!(wide["loss"], 12.5_f64.ln());
    assert_eq!(wide["tags"], json!({"State": "finished"}));
    // Sending the table again changes nothing, even if a row was added above.
    let (header, rows) = TABLE.split_once('\n').unwrap();
    let table = format!("{header}\nnew,1,finished,50M,100M,20000,512,12.5\n{rows}");
    let answer: Value = send(&app, &QUERY, &table).await.json();
    assert_eq!((&answer["created"], &answer["unchanged"]), (&json!(1), &json!(2)));
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_stored_and_stores_nothing() {
    let app = app().await;
    let mut query = QUERY.to_vec();
    query.push(("dry_run", "true"));
    let table = format!(
        "{TABLE}bad,1,finished,50M,100M,20000,512,x\nworse,1,finished,50M,100M,20000,512,y\n"
    );
    let response = send(&app, &query, &table).await;
    response.assert_status(OK);
    let answer: Value = response.json();
    assert_eq!((&answer["created"], &answer["errors"]), (&json!(2), &json!(2)));
    assert_eq!(answer["preview"]["runs"][0]["external_id"], "wide:1");
    // Each kind of error is one entry, with the rows that have it.
    let kinds = answer["preview"]["errors"].as_array().unwrap();
    assert_eq!(kinds.len(), 1, "{kinds:?}");
    assert_eq!((&kinds[0]["field"], &kinds[0]["rows"]), (&json!("loss"), &json!([3, 4])));
    let runs: Value = app.get("/v1/families/door/runs").await.json();
    assert_eq!(runs["items"], json!([]));
    // The same for many rows, which are processed differently.
    let many: String =
        (0..3000).map(|i| format!("many,{i},finished,50M,100M,20000,512,12.5\n")).collect();
    let (header, _) = TABLE.split_once('\n').unwrap();
    let answer: Value = send(&app, &query, &format!("{header}\n{many}")).await.json();
    assert_eq!(answer["created"], 3000);
    assert_eq!(answer["preview"]["runs"].as_array().unwrap().len(), 20);
    let runs: Value = app.get("/v1/families/door/runs").await.json();
    assert_eq!(runs["items"], json!([]));
}

#[tokio::test]
async fn options_that_are_wrong_are_named_with_what_there_is() {
    let app = app().await;
    for (query, pointer) in [
        (("map", "loss:eval/perplexity"), "/map"),
        (("map", "speed:steps"), "/map"),
        (("where", "State = = 3"), "/where"),
        (("keep", "best:steps"), "/keep"),
        (("separator", "x"), "/separator"),
        (("mapp", "loss:x"), "/mapp"),
        (("dry_run", "maybe"), "/dry_run"),
        (("id", "name"), "/id"),
    ] {
        let pointers = problem(&send(&app, &[query], TABLE).await, 422, "invalid");
        assert!(pointers.contains(&pointer.to_owned()), "{query:?}: {pointers:?}");
    }
    let pointers =
        problem(&send(&app, &[("id", "run"), ("id", "seed")], TABLE).await, 422, "invalid");
    assert!(pointers.contains(&"/id".to_owned()), "{pointers:?}");
}

#[tokio::test]
async fn an_export_comes_back_as_it_went_out() {
    let app = app().await;
    send(&app, &QUERY, TABLE).await.assert_status(OK);
    let runs: Value = app.get("/v1/families/door/runs").await.json();
    let id = runs["items"][0]["id"].as_str().unwrap();
    let path = format!("/v1/families/door/runs/{id}");
    let excluded = json!({"excluded": true, "exclusion_reason": "diverged"});
    app.server.patch(&path).json(&excluded).await.assert_status(OK);
    for kind in ["text/csv", "application/x-ndjson", "application/json"] {
        let export = app.server.get("/v1/families/door/runs").add_header("accept", kind).await;
        export.assert_status(OK);
        // A page of JSON has its runs in `items`.
        let body = match kind {
            "application/json" => export.json::<Value>()["items"].to_string(),
            _ => export.text(),
        };
        app.post("/v1/families", json!({"name": "back"})).await;
        let sent = app.server.post("/v1/families/back/runs").content_type(kind);
        sent.bytes(body.clone().into()).await.assert_status(OK);
        let again: Value = app
            .server
            .post("/v1/families/back/runs")
            .content_type(kind)
            .bytes(body.into())
            .await
            .json();
        assert_eq!((&again["unchanged"], &again["warnings"]), (&json!(2), &json!([])), "{kind}");
        let back: Value = app.get("/v1/families/back/runs").await.json();
        let shown = |runs: &Value| -> Vec<String> {
            let mut shown: Vec<String> = (runs["items"].as_array().unwrap().iter())
                .map(|run| {
                    json!([run["external_id"], run["loss"], run["tags"], run["exclusion_reason"]])
                        .to_string()
                })
                .collect();
            shown.sort();
            shown
        };
        let out: Value = app.get("/v1/families/door/runs").await.json();
        assert_eq!(shown(&back), shown(&out), "{kind}");
    }
}
