//! Uploads of runs in every format: what is stored, what is refused, and that nothing is stored in part.

use std::collections::BTreeSet;
use std::io::Write;

use axum_test::TestResponse;
use futures_util::future::join_all;
use serde_json::{Value, json};
use sparsity_planner::api::layers::transfers::TransferLimits;
use sparsity_planner::intake::IngestLimits;

use crate::support::wait::until;
use crate::support::{App, CREATED, OK, TRANSFERS, problem, run};

const RUNS: &str = "/v1/families/mine/runs";
const HEADER: &str = "external_id,nonzero_params,sparsity,data,loss\n";

async fn app() -> App {
    with_limits(TRANSFERS).await
}

async fn with_limits(limits: TransferLimits) -> App {
    let app = App::with_transfers(limits).await;
    app.post("/v1/families", json!({"name": "mine"})).await.assert_status(CREATED);
    app
}

async fn send(app: &App, query: &str, kind: &str, body: impl Into<Vec<u8>>) -> TestResponse {
    let request = app.server.post(&format!("{RUNS}?{query}"));
    request.bytes(body.into().into()).content_type(kind).await
}

async fn csv(app: &App, query: &str, rows: &str) -> TestResponse {
    send(app, query, "text/csv", format!("{HEADER}{rows}")).await
}

fn counts(response: &TestResponse) -> [u64; 4] {
    response.assert_status(OK);
    let result: Value = response.json();
    ["created", "updated", "unchanged", "errors"].map(|count| result[count].as_u64().unwrap())
}

async fn stored(app: &App) -> i64 {
    let count = sqlx::query_scalar("SELECT count(*) FROM runs");
    count.fetch_one(&app.pool).await.unwrap()
}

/// Rows of CSV with these numbers and this loss; larger numbers of them go through the staging table.
fn rows(numbers: std::ops::Range<u32>, loss: f64) -> String {
    numbers.map(|i| format!("run-{i},{},0.{},2e9,{loss}\n", 1_000_000 + i, i % 10)).collect()
}

#[tokio::test]
async fn many_runs_are_merged_as_few_are() {
    let app = app().await;
    assert_eq!(counts(&csv(&app, "", &rows(0..5000, 2.5)).await), [5000, 0, 0, 0]);
    assert_eq!(counts(&csv(&app, "", &rows(0..5000, 2.5)).await), [0, 0, 5000, 0]);
    let corrected = rows(0..1000, 2.5) + &rows(1000..3000, 2.4) + &rows(5000..6000, 2.5);
    assert_eq!(counts(&csv(&app, "", &corrected).await), [1000, 2000, 1000, 0]);
    // A few rows with the same names.
    assert_eq!(counts(&csv(&app, "", &rows(2990..3010, 2.4)).await), [0, 10, 10, 0]);
    assert_eq!(stored(&app).await, 6000);
    // Ids rise in the order of the rows.
    let list: Value = app.get(&format!("{RUNS}?limit=1")).await.json();
    assert_eq!(list["items"][0]["external_id"], "run-5999");
}

/// If connections were closed after each upload, the next one would need a new one, which also burdens a pooler.
#[tokio::test]
async fn uploads_of_many_runs_give_their_connection_back() {
    let app = app().await;
    let connections = async || -> BTreeSet<i32> {
        let pids = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()";
        let pids = sqlx::query_scalar(pids).fetch_all(&app.pool).await.unwrap();
        pids.into_iter().collect()
    };
    csv(&app, "", &rows(0..4000, 2.5)).await.assert_status(OK);
    let before = connections().await;
    for loss in [2.4, 2.3, 2.2] {
        assert_eq!(counts(&csv(&app, "", &rows(0..4000, loss)).await), [0, 4000, 0, 0]);
    }
    let after = connections().await;
    assert!(before.is_subset(&after), "{before:?} {after:?}");
    // A failed upload must leave nothing in the connection that later uploads could see.
    let wrong = rows(0..4000, 2.5) + "bad,1,2,3,4\n";
    problem(&csv(&app, "", &wrong).await, 422, "invalid");
    assert_eq!(counts(&csv(&app, "", &rows(0..4000, 2.2)).await), [0, 0, 4000, 0]);
}

#[tokio::test]
async fn one_wrong_row_of_many_and_nothing_is_stored() {
    let app = app().await;
    let wrong = rows(0..4000, 2.5) + "bad,1,2,3,4\n" + &rows(4000..4500, 2.5);
    let response = csv(&app, "", &wrong).await;
    assert_eq!(problem(&response, 422, "invalid"), ["/4000/sparsity"]);
    assert!(response.text().contains("(line 4002)"), "{}", response.text());
    // Repeated rows are found wherever the first one is.
    let repeated = rows(0..4000, 2.5) + &rows(10..12, 2.5);
    let response = csv(&app, "", &repeated).await;
    assert_eq!(problem(&response, 422, "invalid"), ["/4000/external_id", "/4001/external_id"]);
    assert!(response.text().contains("is that of row 10 too"), "{}", response.text());
    let response = csv(&app, "", &rows(0..250, -1.0)).await;
    assert_eq!(problem(&response, 422, "invalid").len(), 100);
    assert!(response.text().contains("250 fields are wrong, of which 100 are named"));
    assert_eq!(stored(&app).await, 0);

    let response = csv(&app, "on_error=skip", &(wrong + &repeated)).await;
    assert_eq!(counts(&response), [4500, 0, 0, 4003]);
    let rejected: Value = response.json();
    let rejected = rejected["rejected"].as_array().unwrap();
    assert_eq!(rejected.len(), TRANSFERS.ingest.named_errors);
    let [first, second] = [&rejected[0], &rejected[1]];
    assert_eq!((first["row"].as_u64(), &first["field"]), (Some(4000), &json!("sparsity")));
    assert_eq!((second["row"].as_u64(), &second["field"]), (Some(4501), &json!("external_id")));
}

#[tokio::test]
async fn a_reason_for_exclusion_comes_in_and_stays() {
    let app = app().await;
    let mut excluded = run("a");
    excluded["exclusion_reason"] = json!("diverged");
    app.post(RUNS, json!([excluded, run("b")])).await.assert_status(OK);
    let list: Value = app.get(&format!("{RUNS}?excluded=true")).await.json();
    assert_eq!(list["items"][0]["exclusion_reason"], "diverged");
    // Sent without a reason, the run stays as it is, among few rows or many.
    assert_eq!(counts(&app.post(RUNS, run("a")).await), [0, 0, 1, 0]);
    let many = "a,1e7,0.5,2e10,2.5\n".to_owned() + &rows(0..4000, 2.5);
    assert_eq!(counts(&csv(&app, "", &many).await), [4000, 0, 1, 0]);
    excluded["exclusion_reason"] = json!("diverged at step 7");
    assert_eq!(counts(&app.post(RUNS, excluded).await), [0, 1, 0, 0]);
}

#[tokio::test]
async fn batches_over_the_same_runs_neither_deadlock_nor_double() {
    let app = app().await;
    let uploads = (0..8_u32).map(|task| {
        let app = &app;
        async move {
            // Large and small uploads, each with its own order and losses.
            let size = if task % 2 == 0 { 3000 } else { 300 };
            let mut keys: Vec<u32> = (0..size).collect();
            keys.sort_by_key(|key| key.wrapping_mul(2_654_435_761).rotate_left(task * 4));
            let loss = 2.0 + f64::from(task);
            let body: String = keys.iter().map(|key| rows(*key..key + 1, loss)).collect();
            let [created, updated, unchanged, errors] = counts(&csv(app, "", &body).await);
            assert_eq!(created + updated + unchanged, u64::from(size));
            assert_eq!(errors, 0);
            created
        }
    });
    let created: u64 = join_all(uploads).await.into_iter().sum();
    assert_eq!((created, stored(&app).await), (3000, 3000));
}

#[tokio::test]
async fn bodies_may_be_compressed() {
    let app = app().await;
    let body = format!("{HEADER}{}", rows(0..3000, 2.5));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(body.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(body.as_bytes(), 1).unwrap();
    let coded = async |coding: &str, bytes: Vec<u8>| {
        let request = app.server.post(RUNS).bytes(bytes.into()).content_type("text/csv");
        request.add_header("content-encoding", coding).await
    };
    assert_eq!(counts(&coded("gzip", gzip.clone()).await), [3000, 0, 0, 0]);
    assert_eq!(counts(&coded("zstd", zstd).await), [0, 0, 3000, 0]);
    let cut = coded("gzip", gzip[..gzip.len() / 2].to_vec()).await;
    problem(&cut, 400, "malformed");
    let other = coded("br", gzip).await;
    problem(&other, 415, "unsupported-media-type");
    assert!(other.text().contains("identity, gzip, zstd"), "{}", other.text());
    let kind = send(&app, "", "text/tab-separated-values", "x").await;
    problem(&kind, 415, "unsupported-media-type");
    for offered in ["application/json", "application/x-ndjson", "text/csv"] {
        assert!(kind.text().contains(offered), "{}", kind.text());
    }
    assert_eq!(kind.text().contains("parquet"), cfg!(feature = "parquet"));
}

/// A table with one run, compressed by xz.
#[cfg(feature = "archives")]
const XZ: &[u8] = &[
    253, 55, 122, 88, 90, 0, 0, 4, 230, 214, 180, 70, 2, 0, 33, 1, 16, 0, 0, 0, 168, 112, 142, 134,
    1, 0, 65, 101, 120, 116, 101, 114, 110, 97, 108, 95, 105, 100, 44, 110, 111, 110, 122, 101,
    114, 111, 95, 112, 97, 114, 97, 109, 115, 44, 115, 112, 97, 114, 115, 105, 116, 121, 44, 100,
    97, 116, 97, 44, 108, 111, 115, 115, 10, 111, 102, 45, 120, 122, 44, 49, 101, 54, 44, 48, 46,
    53, 44, 49, 101, 57, 44, 51, 10, 0, 0, 0, 228, 230, 185, 233, 108, 93, 249, 252, 0, 1, 90, 66,
    73, 32, 0, 248, 31, 182, 243, 125, 1, 0, 0, 0, 0, 4, 89, 90,
];

#[cfg(feature = "archives")]
#[tokio::test]
async fn bodies_may_be_compressed_as_files_are() {
    let app = app().await;
    let coded = async |coding: &str, kind: &str, bytes: Vec<u8>| {
        let request = app.server.post(RUNS).bytes(bytes.into()).content_type(kind);
        request.add_header("content-encoding", coding).await
    };
    let bzip2 = |bytes: &[u8]| {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let body = format!("{HEADER}{}", rows(0..3000, 2.5));
    let packed = bzip2(body.as_bytes());
    assert_eq!(counts(&coded("bzip2", "text/csv", packed.clone()).await), [3000, 0, 0, 0]);
    assert_eq!(counts(&coded("xz", "text/csv", XZ.to_vec()).await), [1, 0, 0, 0]);
    for (coding, packed) in [("bzip2", &packed[..]), ("xz", XZ)] {
        let cut = coded(coding, "text/csv", packed[..packed.len() / 2].to_vec()).await;
        problem(&cut, 400, "malformed");
        let bare = send(&app, "", "text/csv", packed.to_vec()).await;
        problem(&bare, 400, "malformed");
        assert!(bare.text().contains(&format!("it is compressed by {coding}")), "{}", bare.text());
    }
    let bomb = coded("bzip2", "application/x-ndjson", bzip2(&vec![b'\n'; 32 << 20])).await;
    problem(&bomb, 413, "too-large");
    assert_eq!(stored(&app).await, 3001);
}

#[tokio::test]
async fn each_limit_is_kept_and_named() {
    let app = with_limits(TransferLimits {
        upload_bytes: 200_000,
        ingest: IngestLimits {
            expanded_bytes: 400_000,
            expansion: 1_000,
            rows: 9_000,
            idle_rows: 1_000_000,
            row_bytes: 2_000,
            named_errors: 3,
            block_bytes: 20_000,
            archive_files: 3,
        },
        ..TRANSFERS
    })
    .await;
    let refused = async |response: TestResponse, setting: &str| {
        problem(&response, 413, "too-large");
        assert!(response.text().contains(setting), "{}", response.text());
    };
    refused(csv(&app, "", &rows(0..10_000, 2.5)).await, "--max-upload-bytes").await;
    let long = rows(0..10, 2.5) + &"x".repeat(3_000) + ",1,0,1,1\n";
    refused(csv(&app, "", &long).await, "--max-row-bytes").await;
    let body = format!("{HEADER}{}", "a,1,0,1,1\n".repeat(9_001));
    refused(send(&app, "on_error=skip", "text/csv", body).await, "--max-upload-rows").await;
    let bomb = zstd::encode_all(&vec![b'\n'; 10_000_000][..], 1).unwrap();
    let request = app.server.post(RUNS).bytes(bomb.into()).content_type("application/x-ndjson");
    refused(request.add_header("content-encoding", "zstd").await, "--max-expanded-bytes").await;
    let arrow = std::fs::read("fuzz/corpus/arrow/stream").unwrap();
    let large = arrow_of(30_000);
    refused(send(&app, "", ARROW, large).await, "--max-block-bytes").await;
    assert_eq!(counts(&send(&app, "dry_run=true", ARROW, arrow).await), [2, 0, 0, 0]);
    assert_eq!(stored(&app).await, 0);
    let skipped = csv(&app, "on_error=skip", &rows(0..9, -1.0)).await;
    assert_eq!(counts(&skipped), [0, 0, 0, 9]);
    assert_eq!(skipped.json::<Value>()["rejected"].as_array().unwrap().len(), 3);
}

const ARROW: &str = "application/vnd.apache.arrow.stream";

/// A batch with a name of this many bytes.
fn arrow_of(bytes: usize) -> Vec<u8> {
    use arrow_array::{ArrayRef, RecordBatch, StringArray};

    let names: ArrayRef = std::sync::Arc::new(StringArray::from(vec!["x".repeat(bytes)]));
    let numbers = || -> ArrayRef { std::sync::Arc::new(StringArray::from(vec!["0.5"])) };
    let columns = HEADER
        .trim()
        .split(',')
        .map(|name| (name, if name == "external_id" { names.clone() } else { numbers() }));
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = arrow_ipc::writer::StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[cfg(feature = "archives")]
#[tokio::test]
async fn an_archive_is_one_table() {
    use std::io::Write as _;

    let zip = |files: &[(&str, String)]| {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, text) in files {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap().into_inner()
    };
    let table = |numbers, loss| HEADER.to_owned() + &rows(numbers, loss);
    let app = app().await;
    let mut files = vec![
        ("b.csv", table(0..2, 2.5)),
        ("a.csv", table(2..5, 2.5)),
        ("notes.txt", String::new()),
    ];
    let answer = send(&app, "", "application/zip", zip(&files)).await;
    assert_eq!(counts(&answer), [5, 0, 0, 0]);
    let answer: Value = answer.json();
    assert_eq!(answer["recognised"]["format"], "application/zip");
    assert_eq!(answer["warnings"][0]["code"], "files_not_read", "{answer}");
    // The archive is stored completely or not at all, and an error names the file.
    files[0].1 = table(5..6, 2.5) + &rows(6..7, -1.0);
    let refused = send(&app, "", "application/zip", zip(&files)).await;
    problem(&refused, 422, "invalid");
    assert!(refused.text().contains("(row 1 of b.csv)"), "{}", refused.text());
    files[0].1 = "a,b\n1,2\n".to_owned();
    let refused = send(&app, "", "application/zip", zip(&files)).await;
    assert!(refused.text().contains("(file b.csv of the archive)"), "{}", refused.text());
    assert_eq!(stored(&app).await, 5);
    let names: Vec<String> = (0..101).map(|at| format!("{at}.csv")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), String::new())).collect();
    let refused = send(&app, "", "application/zip", zip(&many)).await;
    problem(&refused, 413, "too-large");
    assert!(refused.text().contains("--max-archive-files"), "{}", refused.text());
}

/// Files written by pyarrow, pandas, polars and openpyxl.
#[tokio::test]
async fn files_of_other_tools_are_read_as_they_are() {
    let app = app().await;
    let file = |name: &str| std::fs::read(format!("fuzz/corpus/{name}")).unwrap();
    let file_of_arrow = "application/vnd.apache.arrow.file";
    for (name, kind) in [
        ("arrow/stream", ARROW),
        ("arrow/feather-lz4", file_of_arrow),
        ("arrow/feather-zstd", file_of_arrow),
        ("arrow/feather-uncompressed", file_of_arrow),
        // The first bytes tell which of the two Arrow formats it is.
        ("arrow/feather-lz4", ARROW),
    ] {
        let answer = send(&app, "", kind, file(name)).await;
        assert_eq!(counts(&answer)[0] + counts(&answer)[2], 2, "{name}: {}", answer.text());
    }
    let list: Value = app.get(RUNS).await.json();
    assert_eq!(list["items"][1]["tags"], json!({"sweep": "3"}));
    let response = send(&app, "", file_of_arrow, file("arrow/polars")).await;
    // It is read as an Arrow file, by the index at its end: a table, but not of runs.
    assert_eq!(problem(&response, 422, "invalid")[0], "/a");
    let kept = "tag_columns=when&map=external_id:u,nonzero_params:n,sparsity:s,data:d,pattern:p";
    if cfg!(feature = "parquet") {
        let answer =
            send(&app, kept, "application/vnd.apache.parquet", file("parquet/kinds")).await;
        assert_eq!(counts(&answer)[0], 2, "{}", answer.text());
        let run: Value = app
            .get(&format!("{RUNS}?external_id=41414141-4141-4141-4141-414141414141"))
            .await
            .json();
        assert_eq!(run["items"][0]["sparsity"], 0.25);
    }
    if cfg!(feature = "xlsx") {
        let workbook = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
        let answer = send(&app, "dry_run=true", workbook, file("xlsx/plain")).await;
        assert_eq!(counts(&answer)[3], 0, "{}", answer.text());
        let response = send(&app, "", workbook, file("xlsx/times")).await;
        let pointers = problem(&response, 422, "invalid");
        assert_eq!(pointers, ["/0/pattern", "/1/nonzero_params", "/1/external_id"]);
        assert!(response.text().contains("02:04:00"), "{}", response.text());
    }
}

#[tokio::test]
async fn columns_of_exports_are_mapped_by_the_query() {
    let app = app().await;
    let table = "Name,ID,config.tokens_b,config.total,config.zeros,summary.val_loss\n\
                 sun,x1,30,2e6,50,2.25\n";
    let query = "source=wandb&map=data:config.tokens_b,loss:summary.val_loss,\
                 total_params:config.total,sparsity:config.zeros&scale=data:1e9&\
                 sparsity_unit=percent&tag_columns=Name";
    assert_eq!(counts(&send(&app, query, "text/csv", table).await), [1, 0, 0, 0]);
    let list: Value = app.get(RUNS).await.json();
    let run = &list["items"][0];
    assert_eq!(run["external_id"], "x1");
    assert_eq!(run["nonzero_params"], 1e6);
    assert_eq!((&run["data"], &run["loss"]), (&json!(3e10), &json!(2.25)));
    assert_eq!(run["tags"], json!({"Name": "sun"}));
    for (query, pointer) in [
        ("map=loss", "/map"),
        ("map=steps:x", "/map"),
        ("scale=loss:x", "/scale"),
        ("scale=pattern:2", "/scale"),
        ("source=excel", "/source"),
        ("sparsity_unit=permille", "/sparsity_unit"),
        ("columns=x", "/columns"),
        ("", "/Name"),
    ] {
        let response = send(&app, query, "text/csv", table).await;
        assert_eq!(problem(&response, 422, "invalid")[0], pointer, "{query}");
    }
}

#[tokio::test]
async fn a_family_that_goes_during_an_upload_is_not_found() {
    let app = app().await;
    let mut holding = app.pool.begin().await.unwrap();
    // The merge waits for the row of the family, which is then deleted.
    sqlx::query("DELETE FROM families WHERE name = 'mine'").execute(&mut *holding).await.unwrap();
    let body = rows(0..3000, 2.5);
    let upload = csv(&app, "", &body);
    let delete = async {
        until_waiting(&app).await;
        holding.commit().await.unwrap();
    };
    let (response, ()) = tokio::join!(upload, delete);
    problem(&response, 404, "not-found");
    assert_eq!(stored(&app).await, 0);
}

/// Waits until a statement on this database waits for a lock.
async fn until_waiting(app: &App) {
    let waiting = async || -> i64 {
        sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(&app.pool)
        .await
        .unwrap()
    };
    until(async || waiting().await > 0, "a statement waits").await;
}
