//! Stored mappings, which say what columns of a table mean.

use serde_json::{Value, json};

use crate::support::{App, CREATED, NO_CONTENT, OK, problem};

const TABLE: &str = "run,seed,State,dense,total,steps,ppl,loss2\n\
                     wide,1,finished,50M,100M,20000,12.5,2.5\n\
                     wide,2,crashed,50M,100M,3000,80,4\n";

fn mapping() -> Value {
    json!({
        "map": {
            "sparsity": "1-dense/total", "nonzero_params": "dense", "data": "steps",
            "loss": "ln(ppl)",
        },
        "scale": {"data": 524_288},
        "id": "run,seed",
        "where": "State == 'finished'",
        "tag_columns": ["State"],
    })
}

async fn app() -> App {
    let app = App::new().await;
    app.post("/v1/families", json!({"name": "mine"})).await;
    app
}

const PATH: &str = "/v1/families/mine/mappings/nightly";

#[tokio::test]
async fn a_table_is_read_by_the_mapping_that_is_named() {
    let app = app().await;
    let kept = app.server.put(PATH).json(&mapping()).await;
    kept.assert_status(CREATED);
    let kept: Value = kept.json();
    assert_eq!((&kept["name"], &kept["id"]), (&json!("nightly"), &json!("run,seed")));
    assert_eq!((&kept["separator"], &kept["null"]), (&Value::Null, &Value::Null));
    assert_eq!(app.get(PATH).await.json::<Value>(), kept);
    app.server.put(PATH).json(&mapping()).await.assert_status(OK);

    let send = async |query: &str| {
        let path = format!("/v1/families/mine/runs?mapping=nightly&dry_run=true{query}");
        let request = app.server.post(&path).content_type("text/csv");
        let answer = request.bytes(TABLE.into()).await;
        answer.assert_status(OK);
        answer.json::<Value>()
    };
    let answer = send("").await;
    assert_eq!((&answer["created"], &answer["left_out"]), (&json!(1), &json!({"where": 1})));
    assert_eq!(answer["recognised"]["mapping"], "nightly");
    let run = &answer["preview"]["runs"][0];
    assert_eq!((&run["external_id"], &run["loss"]), (&json!("wide:1"), &json!(12.5_f64.ln())));
    assert_eq!(run["data"], 20_000.0 * 524_288.0);
    assert_eq!(run["tags"], json!({"State": "finished"}));
    // Parameters of the upload take precedence, for map and scale field by field.
    let answer =
        send("&map=loss:loss2&scale=data:2&where=steps%20%3C%204000&tag_columns=seed").await;
    let run = &answer["preview"]["runs"][0];
    assert_eq!((&run["external_id"], &run["loss"]), (&json!("wide:2"), &json!(4.0)));
    assert_eq!((&run["data"], &run["tags"]), (&json!(6000.0), &json!({"seed": "2"})));
    assert_eq!(run["sparsity"], 0.5);
}

#[tokio::test]
async fn mappings_are_checked_when_they_are_kept_and_when_they_are_named() {
    let app = app().await;
    for (body, pointer) in [
        (json!({"map": {"loss": "ln("}}), "/map"),
        (json!({"map": {"speed": "x"}}), "/map"),
        (json!({"scale": {"pattern": 2}}), "/scale"),
        (json!({"where": "a = = b"}), "/where"),
        (json!({"keep": "best:x"}), "/keep"),
        (json!({"source": "excel"}), "/source"),
        (json!({"absent": "drop"}), "/absent"),
        (json!({"separator": "xx"}), "/separator"),
        (json!({"speed": 1}), "/speed"),
        (json!({"map": {"loss": format!("'{}'", "x".repeat(70_000))}}), ""),
        (json!({"tag_columns": ["a\u{0}"]}), ""),
        (json!({"where": "a == '\u{7}'"}), ""),
    ] {
        let pointers = problem(&app.server.put(PATH).json(&body).await, 422, "invalid");
        assert!(
            pointers.iter().any(|found| found.trim_end_matches('/') == pointer),
            "{pointers:?} {pointer}"
        );
    }
    let named = app.server.put("/v1/families/mine/mappings/No_Slug").json(&json!({})).await;
    assert_eq!(problem(&named, 422, "invalid"), ["/mapping"]);
    problem(&app.get(PATH).await, 404, "not-found");
    problem(&app.server.delete(PATH).await, 404, "not-found");
    for name in ["nightly", "No_Slug"] {
        let path = format!("/v1/families/mine/runs?mapping={name}");
        let request = app.server.post(&path).content_type("text/csv");
        assert_eq!(problem(&request.bytes(TABLE.into()).await, 422, "invalid"), ["/mapping"]);
    }
}

#[tokio::test]
async fn a_family_keeps_a_limited_number_of_mappings_which_go_with_it() {
    let app = app().await;
    let most = app.limits.max_mappings;
    let path = |i: u32| format!("/v1/families/mine/mappings/m{i}");
    for i in 0..most {
        app.server.put(&path(i)).json(&json!({})).await.assert_status(CREATED);
    }
    let more = app.server.put(&path(most)).json(&json!({})).await;
    problem(&more, 413, "too-large");
    assert!(more.text().contains("--max-mappings"), "{}", more.text());
    // A mapping that exists can be replaced at the limit.
    app.server.put(&path(0)).json(&mapping()).await.assert_status(OK);
    let page: Value = app.get("/v1/families/mine/mappings?limit=3").await.json();
    let names = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap().iter();
        items.map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&page), ["m4", "m3", "m2"]);
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest: Value = app.get(&format!("/v1/families/mine/mappings?cursor={cursor}")).await.json();
    assert_eq!(names(&rest), ["m1", "m0"]);
    app.server.delete(&path(1)).await.assert_status(NO_CONTENT);
    app.server.put(&path(most)).json(&json!({})).await.assert_status(CREATED);
    app.server.delete("/v1/families/mine").await.assert_status(NO_CONTENT);
    app.post("/v1/families", json!({"name": "mine"})).await;
    let page: Value = app.get("/v1/families/mine/mappings").await.json();
    assert_eq!(page["items"], json!([]));
}
