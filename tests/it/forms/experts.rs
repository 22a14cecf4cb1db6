//! Laws of mixtures of experts.

use super::*;

/// Plans, contours and comparisons with the law of experts of `routed`.
async fn experts_are_planned_with_and_compared(app: &App) {
    let plans = "/v1/families/routed/plans";
    let body = json!({"flop_mode": "dense", "compute": 1e22, "frontier_points": 3});
    let response = app.post(plans, body).await;
    response.assert_status(OK);
    let plan: Value = response.json();
    let best = &plan["optimum"];
    let number = |name: &str| best[name].as_f64().unwrap();
    assert!(plan["intervals"]["sparsity"].is_object(), "{plan}");
    // The planned sparsity is the best one at the planned size, and no other size with its best sparsity has a lower
    // loss.
    let question = |size: f64| {
        format!(
            "/v1/families/routed/optimal-sparsity?nonzero_params={size}&compute=1e22&flop_mode=dense&intervals=false"
        )
    };
    let own: Value = app.get(&question(number("nonzero_params"))).await.json();
    assert!((own["sparsity"].as_f64().unwrap() - number("sparsity")).abs() < 1e-5, "{own} {plan}");
    assert!((own["loss"].as_f64().unwrap() / number("loss") - 1.0).abs() < 1e-9, "{own} {plan}");
    for factor in [0.8, 1.25] {
        let other: Value = app.get(&question(factor * number("nonzero_params"))).await.json();
        assert!(other["loss"].as_f64().unwrap() > number("loss"), "{other} {plan}");
    }
    let cheapest = json!({"flop_mode": "dense", "target_loss": number("loss"), "intervals": false});
    let cheapest: Value = app.post(plans, cheapest).await.json();
    let cost = cheapest["optimum"]["compute"].as_f64().unwrap();
    assert!((cost / 1e22 - 1.0).abs() < 1e-6, "{cheapest}");

    // On a contour the sparsity is the best one at every size, and the lines are not parallel.
    let contours = "/v1/families/routed/contours?flop_mode=dense&levels=0.5,0.75&points=5";
    let lines: Value = app.get(contours).await.json();
    for line in lines["lines"].as_array().unwrap() {
        let points = line["points"].as_array().unwrap();
        assert!(!points.is_empty() && line["chinchilla_ratio"].is_null(), "{line}");
        assert_eq!(line["band"].as_array().unwrap().len(), points.len(), "{line}");
        for point in points {
            let asked = format!(
                "/v1/families/routed/optimal-sparsity?nonzero_params={}&compute={}&flop_mode=dense&intervals=false",
                point[0], point[1]
            );
            let response = app.get(&asked).await;
            response.assert_status(OK);
            let known = response.json::<Value>()["sparsity"].as_f64().unwrap();
            assert!((known - line["sparsity"].as_f64().unwrap()).abs() < 1e-6, "{known} {line}");
        }
    }
    let picture = app.server.get(contours).add_header("accept", "image/svg+xml").await;
    picture.assert_status(OK);
    let unbound = app.get("/v1/families/routed/contours?flop_mode=sparse").await;
    problem(&unbound, 409, "undetermined");

    let compare = "/v1/compare?a=routed&b=routed&flop_mode=dense&a_sparsity=0";
    let both: Value = app.get(&format!("{compare}&b_sparsity=0.75")).await.json();
    let middle = &both["middle"];
    let multiple = middle["multiple"].as_f64().unwrap();
    assert!(middle["interval"]["low"].as_f64() <= Some(multiple), "{both}");
    // The comparison agrees with plans: the least loss of one side, and the cost of that loss on the other.
    let plan = |body: Value| {
        let app = &app;
        async move { app.post(plans, body).await.json::<Value>()["optimum"].clone() }
    };
    let compute = middle["budget"]["compute"].as_f64().unwrap();
    let sparse = json!({"flop_mode": "dense", "compute": compute, "intervals": false,
        "sparsity": {"min": 0.75, "max": 0.75}});
    let sparse = plan(sparse).await["loss"].as_f64().unwrap();
    assert!((sparse / middle["b_loss"].as_f64().unwrap() - 1.0).abs() < 1e-9, "{both}");
    let dense =
        json!({"flop_mode": "dense", "target_loss": sparse, "intervals": false, "max_sparsity": 0});
    let dense = plan(dense).await["compute"].as_f64().unwrap();
    assert!((dense / compute / multiple - 1.0).abs() < 1e-6, "{both} {dense}");
    let response = app.get(compare).await;
    assert_eq!(problem(&response, 422, "invalid"), ["/b_sparsity"]);
}

/// Losses by a law of experts over a grid of active sizes, shares of active parameters, and data.
fn expert_runs(amounts: &[f64]) -> Value {
    let mut runs = Vec::new();
    for n in [1e6, 4e6, 16e6, 64e6, 256e6] {
        for x in [1.0, 0.5, 0.25, 0.1, 0.04_f64] {
            for d in amounts {
                let place = runs.len();
                let total = n / x;
                let wobble = if (place * 7 + place / 4) % 4 < 2 { 1.002 } else { 0.998 };
                let loss = 0.9
                    + 900.0 * f64::powf(total, -0.5)
                    + 4000.0 * d.powf(-0.4)
                    + 0.5 * x.powf(0.2)
                    + 12.0 * x.powf(-0.2) * f64::powf(total, -0.15);
                runs.push(json!({"external_id": place.to_string(), "active_params": n, "total_params": total,
                    "data": d, "loss": loss * wobble}));
            }
        }
    }
    Value::Array(runs)
}

#[tokio::test]
async fn a_law_of_experts_answers_by_total_parameters() {
    let app = App::with_worker().await;
    let experts = json!({"name": "routed", "zeros": "experts"});
    app.post("/v1/families", experts).await.assert_status(CREATED);
    let all = expert_runs(&[1e9, 4e9, 16e9, 64e9]);
    app.post("/v1/families/routed/runs", all).await.assert_status(OK);
    let options = json!({"starts": 6, "bootstrap": 100, "form": "experts"});
    let refit = app.refit("routed", options).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    let law: Value = app.get("/v1/families/routed/laws/1").await.json();
    assert_eq!(law["form"], "experts");
    let own = law["own_coefficients"].as_array().unwrap();
    let names: Vec<&str> = own.iter().map(|each| each["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["e", "a", "alpha", "b", "beta", "c", "lambda", "d", "delta", "gamma"]);
    assert!(own.iter().all(|each| each["sparsity"].is_null() && each["interval"].is_object()));
    assert_eq!(
        (&law["coefficients"]["b_n"], &law["coefficients"]["c_s"]),
        (&json!(null), &json!(null))
    );

    let loss = answer(&app, "routed", "prediction?nonzero_params=2e7&sparsity=0.8&data=1e10").await;
    let truth = 0.9
        + 900.0 * 1e8_f64.powf(-0.5)
        + 4000.0 * 1e10_f64.powf(-0.4)
        + 0.5 * 0.2_f64.powf(0.2)
        + 12.0 * 0.2_f64.powf(-0.2) * 1e8_f64.powf(-0.15);
    assert!((loss["loss"].as_f64().unwrap() / truth - 1.0).abs() < 0.003, "{loss}");
    assert_eq!(
        (&loss["active_params"], &loss["total_params"]),
        (&json!(2e7), &json!(2e7 / (1.0 - 0.8)))
    );
    assert!(loss["interval"]["low"].as_f64().unwrap() < truth * 1.001, "{loss}");

    // Inactive experts cost nothing in this mode, so without a bound no sparsity is best.
    let question = "optimal-sparsity?nonzero_params=2e7&compute=1e19&flop_mode=sparse";
    let unbound = app.get(&format!("/v1/families/routed/{question}")).await;
    assert_eq!(problem(&unbound, 422, "invalid"), ["/max_sparsity"]);
    let bound = answer(&app, "routed", &format!("{question}&max_total_params=4e8")).await;
    assert!((bound["sparsity"].as_f64().unwrap() - 0.95).abs() < 1e-9, "{bound}");
    assert_eq!(bound["binding"], json!(["max_total_params"]));
    assert_eq!(bound["best_measured_level"], false);
    // If every parameter costs, the best sparsity lies inside the range, and no other one is better.
    let question = "optimal-sparsity?nonzero_params=2e7&compute=1e19&flop_mode=dense";
    let best = answer(&app, "routed", question).await;
    let sparsity = best["sparsity"].as_f64().unwrap();
    assert!(0.05 < sparsity && sparsity < 0.999, "{best}");
    let ends = ["low", "high"].map(|end| best["interval"][end].as_f64().unwrap());
    assert!(ends[0] <= sparsity && sparsity <= ends[1], "{best}");
    assert!(best["gain"].is_number() && best["chinchilla_ratio"].is_number(), "{best}");
    for other in [sparsity - 0.02, sparsity + 0.002] {
        let asked =
            format!("prediction?nonzero_params=2e7&sparsity={other}&compute=1e19&flop_mode=dense");
        let other = answer(&app, "routed", &asked).await;
        assert!(other["loss"].as_f64().unwrap() > best["loss"].as_f64().unwrap(), "{other}");
    }
    let bulk = json!({"flop_mode": "dense", "points": [{"nonzero_params": 2e7, "compute": 1e19}]});
    let many: Value = app.post("/v1/families/routed/optimal-sparsities", bulk).await.json();
    assert_eq!(many["results"][0]["sparsity"], best["sparsity"]);
    assert_eq!(many["results"][0]["interval"], best["interval"]);
    let curve = "loss-by-sparsity?nonzero_params=2e7&compute=1e19&flop_mode=dense&points=9";
    let losses = answer(&app, "routed", curve).await;
    assert_eq!(losses["points"].as_array().unwrap().len(), 9);
    assert_eq!(losses["optimum"]["sparsity"], best["sparsity"]);
    let picture = app.server.get(&format!("/v1/families/routed/{curve}"));
    picture.add_header("accept", "image/svg+xml").await.assert_status(OK);
    let budget = json!({"nonzero_params": 2e7, "compute": 1e19, "flop_mode": "dense"});
    for target in [
        json!({"own_coefficient": {"name": "lambda"}}),
        json!({"optimal_sparsity": budget}),
        loss_of(0.75),
    ] {
        let found = narrowed(&app, "routed", &target).await;
        assert!(!codes(&found).contains(&"between_levels"), "{found}");
    }
    // In this form the gain depends on the size.
    problem(&app.get("/v1/families/routed/gain").await, 409, "undetermined");
    refuses_the_others(&app, "routed", "experts").await;
    experts_are_planned_with_and_compared(&app).await;
    let import = json!({"form": "experts", "own_coefficients": law["own_coefficients"], "reference": "law 1"});
    imports_alike(&app, "routed", &import, &["&sparsity=0.5", "&sparsity=0.9"]).await;
    let again = app.refit("routed", json!({"reproduces": 1})).await;
    assert_eq!(again["state"], "succeeded", "{again}");
}

#[tokio::test]
async fn experts_on_one_amount_of_data_answer_sizes_and_no_budgets() {
    let app = App::with_worker().await;
    let experts = json!({"name": "routed", "zeros": "experts"});
    app.post("/v1/families", experts).await.assert_status(CREATED);
    app.post("/v1/families/routed/runs", expert_runs(&[1.3e11])).await.assert_status(OK);
    let options = json!({"starts": 4, "bootstrap": 100, "form": "experts"});
    let refit = app.refit("routed", options).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    answer(&app, "routed", "prediction?nonzero_params=2e7&sparsity=0.8&data=1.3e11").await;
    let law: Value = app.get("/v1/families/routed/laws/1").await.json();
    let own = law["own_coefficients"].as_array().unwrap().iter();
    let names: Vec<&str> = own.map(|each| each["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["e", "a", "alpha", "c", "lambda", "d", "delta", "gamma"]);
    for question in [
        "prediction?nonzero_params=2e7&sparsity=0.8&data=1e10",
        "optimal-sparsity?nonzero_params=2e7&compute=1e19&flop_mode=dense",
        "loss-by-sparsity?nonzero_params=2e7&compute=1e19&flop_mode=dense",
    ] {
        let response = app.get(&format!("/v1/families/routed/{question}")).await;
        problem(&response, 409, "undetermined");
        let detail = response.json::<Value>()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("a single value of it"), "{question}: {detail}");
    }
}
