//! `/v1/families`.

use serde_json::{Value, json};

use crate::support::{App, CONFLICT, CREATED, NO_CONTENT, NOT_FOUND, OK, problem, run};

#[tokio::test]
async fn a_family_is_created_shown_changed_and_deleted() {
    let app = App::new().await;
    let created = app.post("/v1/families", json!({"name": "mine", "data_unit": "steps"})).await;
    created.assert_status(CREATED);
    assert_eq!(created.header("location"), "/v1/families/mine");
    insta::assert_json_snapshot!(created.json::<Value>(), @r#"
    {
      "active_law": null,
      "created_at": "2026-03-01T12:00:00Z",
      "data_unit": "steps",
      "description": "",
      "experts": null,
      "flops_per_param": 6.0,
      "law": null,
      "name": "mine",
      "objective": {
        "delta": "auto",
        "residual": "log"
      },
      "pinned": false,
      "pruning": {
        "end": 0.75,
        "exponent": 3.0,
        "start": 0.25
      },
      "tokens_per_data_unit": null,
      "updated_at": "2026-03-01T12:00:00Z",
      "zeros": "weights"
    }
    "#);

    app.clock.advance(chrono::TimeDelta::hours(1));
    let changes = json!({
        "description": "two\nlines", "data_unit": "tokens", "tokens_per_data_unit": 1,
        "objective": {"residual": "linear", "delta": 0.01},
        "pruning": {"start": 0.1, "end": 0.9, "exponent": 1},
    });
    let changed = app.server.patch("/v1/families/mine").json(&changes).await;
    changed.assert_status(OK);
    let family: Value = app.get("/v1/families/mine").await.json();
    assert_eq!(family, changed.json::<Value>());
    assert_eq!(family["objective"]["residual"], "linear");
    assert_eq!(family["tokens_per_data_unit"], 1.0);
    assert_eq!(family["updated_at"], "2026-03-01T13:00:00Z");
    let changes = json!({"tokens_per_data_unit": null});
    let changed = app.server.patch("/v1/families/mine").json(&changes).await;
    assert_eq!(changed.json::<Value>()["tokens_per_data_unit"], Value::Null);
    assert_eq!(changed.json::<Value>()["description"], "two\nlines");

    app.server.delete("/v1/families/mine").await.assert_status(NO_CONTENT);
    app.get("/v1/families/mine").await.assert_status(NOT_FOUND);
    app.server.delete("/v1/families/mine").await.assert_status(NOT_FOUND);
}

#[tokio::test]
async fn a_name_is_taken_once() {
    let app = App::new().await;
    let response = app.post("/v1/families", json!({"name": "t5-c4"})).await;
    problem(&response, 409, "family-exists");
}

#[tokio::test]
async fn everything_wrong_is_named() {
    let app = App::new().await;
    let body = json!({
        "name": "Not a slug", "description": "nul\u{0}", "tokens_per_data_unit": -1,
        "flops_per_param": 0
    });
    let response = app.post("/v1/families", body).await;
    let pointers = ["/name", "/description", "/tokens_per_data_unit", "/flops_per_param"];
    assert_eq!(problem(&response, 422, "invalid"), pointers);
    for (body, pointer) in [
        (json!({"name": "a", "more": 1}), "/more"),
        (json!({}), "/name"),
        (
            json!({"name": "a", "pruning": {"start": 0.6, "end": 0.5, "exponent": 3}}),
            "/pruning/start",
        ),
        (json!({"name": "a", "pruning": {"start": 0.5}}), "/pruning/end"),
        (
            json!({"name": "a", "objective": {"residual": "cubic", "delta": 1}}),
            "/objective/residual",
        ),
        (json!({"name": "a", "objective": {"residual": "log", "delta": 0}}), "/objective/delta"),
    ] {
        let response = app.post("/v1/families", body).await;
        assert_eq!(problem(&response, 422, "invalid"), [pointer]);
    }
}

#[tokio::test]
async fn what_is_no_name_is_no_family() {
    let app = App::new().await;
    for path in
        ["/v1/families/%00", "/v1/families/none", "/v1/families/A", "/v1/families/a%20b/laws"]
    {
        problem(&app.get(path).await, 404, "not-found");
    }
    // The name is not valid UTF-8.
    problem(&app.get("/v1/families/%ff").await, 400, "malformed");
}

#[tokio::test]
async fn the_data_unit_stays_under_runs_and_laws() {
    let app = App::new().await;
    let change = json!({"data_unit": "steps"});
    let response = app.server.patch("/v1/families/t5-c4").json(&change).await;
    problem(&response, 409, "data-unit-in-use");
    app.post("/v1/families", json!({"name": "mine"})).await.assert_status(CREATED);
    app.server.patch("/v1/families/mine").json(&change).await.assert_status(OK);
    app.post("/v1/families/mine/runs", run("a")).await.assert_status(OK);
    let response =
        app.server.patch("/v1/families/mine").json(&json!({"data_unit": "tokens"})).await;
    response.assert_status(CONFLICT);
}

#[tokio::test]
async fn pages_go_from_the_newest_back_and_stay_put_under_inserts() {
    let app = App::new().await;
    let create = |name: String| {
        let app = &app;
        async move {
            app.post("/v1/families", json!({"name": name})).await.assert_status(CREATED);
        }
    };
    for i in 0..5 {
        create(format!("f{i}")).await;
    }
    let names = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap().iter();
        items.map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    let first: Value = app.get("/v1/families?limit=3").await.json();
    assert_eq!(names(&first), ["f4", "f3", "f2"]);
    create("later".to_owned()).await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second: Value = app.get(&format!("/v1/families?limit=3&cursor={cursor}")).await.json();
    assert_eq!(names(&second)[..2], ["f1", "f0"]);
    let cursor = second["next_cursor"].as_str().unwrap();
    let third: Value = app.get(&format!("/v1/families?limit=3&cursor={cursor}")).await.json();
    assert_eq!(names(&third).len(), 1);
    assert_eq!(third["next_cursor"], Value::Null);
}

#[tokio::test]
async fn parameters_of_a_list_are_checked() {
    let app = App::new().await;
    for (query, pointer) in [
        ("limit=0", "/limit"),
        ("limit=1001", "/limit"),
        ("limit=x", "/limit"),
        ("cursor=x", "/cursor"),
        ("limit=1&limit=2", "/limit"),
        ("page=2", "/page"),
        ("cursor=%00", "/cursor"),
    ] {
        let response = app.get(&format!("/v1/families?{query}")).await;
        assert_eq!(problem(&response, 422, "invalid"), [pointer], "{query}");
    }
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_refused_by_kind() {
    let app = App::new().await;
    let post = || app.server.post("/v1/families");
    problem(&post().text("{}").await, 415, "unsupported-media-type");
    problem(&post().await, 415, "unsupported-media-type");
    let json = |text: &str| post().text(text).content_type("application/json");
    problem(&json("{\"name\": ").await, 400, "malformed");
    problem(&json("{\"name\": \"a\"} {}").await, 400, "malformed");
    problem(&json("").await, 400, "malformed");
    problem(&json(&" ".repeat(2 << 20)).await, 413, "too-large");
    assert_eq!(
        problem(&json("{\"name\": \"a\", \"name\": \"b\"}").await, 422, "invalid"),
        ["/name"]
    );
    problem(&app.server.put("/v1/families").await, 405, "method-not-allowed");
    problem(&app.get("/v2").await, 404, "not-found");
}

#[tokio::test]
async fn a_unit_of_many_tokens_costs_as_many_times_as_much() {
    let app = App::new().await;
    let steps =
        |name: &str| json!({"name": name, "data_unit": "steps", "tokens_per_data_unit": 65536});
    let family: Value = app.post("/v1/families", steps("counted")).await.json();
    assert_eq!(family["flops_per_param"], 6.0 * 65536.0);
    let mut wrong = steps("wrong");
    wrong["flops_per_param"] = json!(6);
    let response = app.post("/v1/families", wrong).await;
    assert_eq!(problem(&response, 422, "invalid"), ["/flops_per_param"]);
    assert!(response.text().contains("393216"), "{}", response.text());
    // If nothing says how many tokens a unit has, it stays 6.
    let images = json!({"name": "images", "data_unit": "images"});
    let family: Value = app.post("/v1/families", images).await.json();
    assert_eq!(family["flops_per_param"], 6.0);
    // If the tokens are added later, the cost of the whole unit must be given with them, as 6 would be the cost of
    // one token.
    let patch = async |body: Value| app.server.patch("/v1/families/images").json(&body).await;
    let response = patch(json!({"tokens_per_data_unit": 196})).await;
    assert_eq!(problem(&response, 422, "invalid"), ["/tokens_per_data_unit"]);
    assert!(response.text().contains("1176"), "{}", response.text());
    patch(json!({"tokens_per_data_unit": 4})).await.assert_status(OK);
    let both = patch(json!({"tokens_per_data_unit": 196, "flops_per_param": 1176})).await;
    assert_eq!(both.json::<Value>()["flops_per_param"], 1176.0);
    patch(json!({"description": "x"})).await.assert_status(OK);
}

#[tokio::test]
async fn a_family_says_what_its_law_rests_on() {
    let app = App::new().await;
    let law: Value = app.get("/v1/families/t5-c4/laws/1").await.json();
    let family: Value = app.get("/v1/families/t5-c4").await.json();
    for field in ["runs", "objective", "trust", "warnings"] {
        assert_eq!(family["law"][field], law[field], "{field}");
    }
    let list: Value = app.get("/v1/families").await.json();
    let listed = list["items"].as_array().unwrap();
    let listed = listed.iter().find(|one| one["name"] == "t5-c4").unwrap();
    assert_eq!(listed["law"], family["law"]);
}
