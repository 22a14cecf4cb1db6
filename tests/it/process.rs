//! The program as users start it: commands and signals.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use sparsity_planner::cli::demo_runs;

use crate::support::process::{Process, planner, script, succeeded, upload_and_ask};
use crate::support::{empty_database, empty_database_in};

#[tokio::test]
async fn a_signal_stops_the_service_within_seconds_and_gives_its_refit_back() {
    for signal in ["-TERM", "-INT"] {
        let mut service = Process::serve(&empty_database().await, &[]).await;
        let refit = upload_and_ask(service.base(), 4096);
        // An open event stream must not delay the stop.
        let mut stream = Command::new("curl")
            .args(["-sS", "--no-buffer", &format!("{}{refit}/events", service.base())])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut events = BufReader::new(stream.stdout.take().unwrap());
        let mut event = String::new();
        while !event.contains("\"state\":\"running\"") {
            event.clear();
            assert_ne!(events.read_line(&mut event).unwrap(), 0, "the refit never ran");
        }
        service.signal(signal);
        let (status, log) = service.ended();
        assert!(status.success(), "{status}");
        assert!(log.contains("given back"), "{log}");
        // No request had to be cut off at the end of the drain time.
        assert!(!log.contains("still under way"), "{log}");
        assert!(stream.wait().unwrap().success(), "the stream was not ended in order");
    }
}

#[tokio::test]
async fn a_killed_service_loses_nothing_and_its_refit_goes_on_elsewhere() {
    let url = empty_database().await;
    let service = Process::serve(&url, &[]).await;
    let refit = upload_and_ask(service.base(), 512);
    service.signal("-KILL");
    let other = Process::serve(&url, &[]).await;
    let events = script(other.base(), &format!("curl -sS --no-buffer $BASE{refit}/events"));
    assert!(events.trim().lines().last().unwrap().contains("\"state\":\"succeeded\""), "{events}");
}

#[tokio::test]
async fn a_worker_alone_takes_over_what_a_killed_service_left() {
    let url = empty_database().await;
    let service = Process::serve(&url, &[]).await;
    upload_and_ask(service.base(), 512);
    service.signal("-KILL");
    let mut worker = Process::worker(&url, &[]).await;
    worker.until_logged("refit ended").await;
    let log = worker.stop();
    let line = log.lines().find(|line| line.contains("refit ended")).unwrap();
    assert!(line.contains("succeeded"), "{line}");
}

#[tokio::test]
async fn the_demo_answers_a_question_and_serves_on() {
    let directory = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let directory = directory.path().to_str().unwrap();
    let demo = ["--log", "warn", "demo", "--bind", "127.0.0.1:0", "--data-dir", directory];
    let mut demo = Process::start_with(&demo, &[]);
    let text = demo.until_printed("Serving until Ctrl-C").await;
    let line = text.lines().find(|line| line.starts_with("Serving until Ctrl-C")).unwrap();
    assert!(text.contains("nobody's measurements"), "{text}");
    assert!(text.contains("Make 7") && text.contains("% of the weights zero"), "{text}");
    assert!(!text.contains("NaN"), "{text}");
    let base = line.trim().rsplit(' ').next().unwrap().trim_end_matches("/docs/");
    assert!(text.contains(&format!("The dashboard: {base}/?family=demo\n")), "{text}");
    let page = script(base, "curl -sS --fail-with-body \"$BASE/?family=demo\"");
    assert!(page.contains("<title>Sparsity planner</title>"), "{page}");
    let family = script(base, "curl -sS --fail-with-body $BASE/v1/families/demo");
    assert!(family.contains("Synthetic runs"), "{family}");
    demo.stop();
}

/// A table with the columns of the authors' T5 file and synthetic values.
fn t5_like(directory: &Path) -> String {
    let runs = serde_json::to_value(demo_runs::runs()).unwrap();
    let mut csv = String::from(",sparsity,scale,val-loss,steps\n");
    for (row, run) in runs.as_array().unwrap().iter().enumerate() {
        let number = |field: &str| run[field].as_f64().unwrap();
        let scale = number("nonzero_params") / (1.0 - number("sparsity")) / 169_869_312.0;
        let steps = number("data") / 65_536.0;
        csv += &format!("{row},{},{scale},{},{steps}\n", number("sparsity"), number("loss"));
    }
    let path = directory.join("t5-like.csv");
    std::fs::write(&path, csv).unwrap();
    path.to_str().unwrap().to_owned()
}

const T5_COLUMNS: [&str; 12] = [
    "--id",
    "content",
    "--total-params-column",
    "scale",
    "--scale",
    "total_params=169869312",
    "--map",
    "data=steps",
    "--scale",
    "data=65536",
    "--map",
    "loss=val-loss",
];

#[tokio::test]
async fn a_file_is_imported_once_however_often() {
    let url = empty_database().await;
    let directory = tempfile::tempdir().unwrap();
    let file = t5_like(directory.path());
    let import = [&["import", "--family", "mine", &file], &T5_COLUMNS[..]].concat();
    let output = planner(&url, &import);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no family mine"));
    let created = [&import[..], &["--create", "tokens"]].concat();
    let result: Value = serde_json::from_str(&succeeded(&planner(&url, &created))).unwrap();
    assert_eq!(result["created"], 48);
    let result: Value = serde_json::from_str(&succeeded(&planner(&url, &import))).unwrap();
    assert_eq!(result["unchanged"], 48);
}

#[tokio::test]
async fn a_file_with_errors_is_refused_whole_unless_told_to_skip() {
    let url = empty_database().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("runs.csv");
    let rows = "external_id,nonzero_params,sparsity,data,loss\na,1e6,0,1e9,3\nb,1e6,2,1e9,3\n";
    std::fs::write(&file, rows).unwrap();
    let file = file.to_str().unwrap();
    let import = ["import", "--family", "mine", "--create", "tokens", file];
    let output = planner(&url, &import);
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        message.contains("row 1: sparsity must be at least 0 and below 1, not 2 (line 3)"),
        "{message}"
    );
    let skipping = [&import[..], &["--skip-errors"]].concat();
    let result: Value = serde_json::from_str(&succeeded(&planner(&url, &skipping))).unwrap();
    assert_eq!(result["created"], 1);
    assert_eq!(result["rejected"].as_array().unwrap().len(), 1);
}

/// A directory with one table in several files, each in another format, and some unrelated files.
fn pieces(directory: &Path) {
    let row = |i: usize| (format!("r{i}"), 1e6 * 1.5_f64.powi(i as i32 % 7), 2.0 + i as f64 / 50.0);
    let csv = |rows: std::ops::Range<usize>, separator: &str| {
        let mut text =
            ["external_id", "nonzero_params", "sparsity", "data", "loss"].join(separator) + "\n";
        for (name, size, loss) in rows.map(row) {
            text += &[name, size.to_string(), "0.5".into(), "1e9".into(), loss.to_string()]
                .join(separator);
            text += "\n";
        }
        text
    };
    let write = |name: &str, bytes: &[u8]| std::fs::write(directory.join(name), bytes).unwrap();
    write("a.CSV", csv(0..3, ",").as_bytes());
    write("b.tsv", csv(3..5, "\t").as_bytes());
    let (name, size, loss) = row(5);
    let line = json!({"external_id": name, "nonzero_params": size, "sparsity": 0.5, "data": 1e9, "loss": loss});
    write("c.jsonl", line.to_string().as_bytes());
    std::fs::create_dir(directory.join("below")).unwrap();
    let gzip = |text: String| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    write("below/d.csv.gz", &gzip(csv(6..8, ",")));
    write("below/e.csv.zst", &zstd::encode_all(csv(8..9, ";").as_bytes(), 1).unwrap());
    write("notes.txt", b"not a table");
    write(".hidden.csv", b"nor this");
}

#[tokio::test]
async fn a_directory_of_files_is_one_table() {
    let url = empty_database().await;
    let directory = tempfile::tempdir().unwrap();
    pieces(directory.path());
    let path = directory.path().to_str().unwrap();
    let output = planner(&url, &["import", "--family", "mine", "--create", "tokens", path]);
    let result: Value = serde_json::from_str(&succeeded(&output)).unwrap();
    assert_eq!(result["created"], 9, "{result}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("not read:") && said.contains("notes.txt"), "{said}");
    assert!(!said.contains("hidden"), "{said}");
    // The same run is in two files: nothing is stored, and the error names both.
    let file = directory.path().join("a.CSV");
    let again = planner(&url, &["import", "--family", "mine", path, file.to_str().unwrap()]);
    assert!(!again.status.success());
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    let expected = format!("{0}: row 0: external_id is that of row 0 of {0} too", file.display());
    assert!(said.contains(&expected), "{said}");
    // An error names the file, the row in it and the line.
    let wrong = directory.path().join("wrong.csv");
    std::fs::write(&wrong, "external_id,nonzero_params,sparsity,data,loss\nx,1e6,7,1e9,3\n")
        .unwrap();
    let again = planner(&url, &["import", "--family", "mine", path]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    let expected = format!("{}: row 0: sparsity must be at least 0", wrong.display());
    assert!(said.contains(&expected) && said.contains("(line 2)"), "{said}");
    std::fs::remove_file(&wrong).unwrap();
    std::fs::write(directory.path().join("z.json"), "[{").unwrap();
    let again = planner(&url, &["import", "--family", "mine", path]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("z.json: ") && said.contains("EOF"), "{said}");
    let empty = tempfile::tempdir().unwrap();
    let none = planner(&url, &["import", "--family", "mine", empty.path().to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("has no files of runs"));
}

#[cfg(feature = "archives")]
#[tokio::test]
async fn an_archive_and_standard_input_are_read() {
    use std::io::Write as _;

    let url = empty_database().await;
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("runs.zip");
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&archive).unwrap());
    let rows = "external_id,nonzero_params,sparsity,data,loss\n";
    let plain = zip::write::SimpleFileOptions::default();
    for (name, text) in [
        ("x/a.csv", format!("{rows}a,1e6,0.5,1e9,3\n")),
        ("b.csv", format!("{rows}b,1e6,0.5,1e9,3\n")),
        ("__MACOSX/b.csv", "nothing".to_owned()),
        ("README", "nothing".to_owned()),
    ] {
        zip.start_file(name, plain).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap();
    let archive = archive.to_str().unwrap();
    let import = ["import", "--family", "mine", "--create", "tokens", archive];
    let result: Value = serde_json::from_str(&succeeded(&planner(&url, &import))).unwrap();
    assert_eq!(result["created"], 2, "{result}");
    let piped = |text: &str, more: &[&str]| {
        let mut child = std::process::Command::new(crate::support::PROGRAM)
            .args(["--log", "warn", "import", "--family", "mine", "-"])
            .args(more)
            .env("DATABASE_URL", &url)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // The program may have exited already, if it could not tell the format.
        let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
        child.wait_with_output().unwrap()
    };
    let run =
        r#"[{"external_id": "c", "nonzero_params": 1e6, "sparsity": 0, "data": 1e9, "loss": 3}]"#;
    let result: Value = serde_json::from_str(&succeeded(&piped(run, &[]))).unwrap();
    assert_eq!(result["created"], 1);
    let csv = format!("{rows}d,1e6,0.5,1e9,3\n");
    let unclear = piped(&csv, &[]);
    let said = String::from_utf8_lossy(&unclear.stderr).into_owned();
    assert!(said.contains("the format of standard input is not clear: say --format"), "{said}");
    let result: Value =
        serde_json::from_str(&succeeded(&piped(&csv, &["--format", "csv"]))).unwrap();
    assert_eq!(result["created"], 1);
}

#[test]
fn who_reads_no_further_is_no_failure() {
    // More than a pipe buffers.
    let mut child = std::process::Command::new(crate::support::PROGRAM)
        .arg("openapi")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.is_empty(), "{}: {said}", ended.status);
}

#[tokio::test]
async fn a_file_is_imported_by_a_mapping_that_is_kept() {
    let url = empty_database().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("runs.csv");
    let rows = "run,nonzero_params,sparsity,data,val\na,1e6,0,1e9,3\n";
    std::fs::write(&file, rows).unwrap();
    let file = file.to_str().unwrap();
    let mut service = Process::serve(&url, &[]).await;
    script(
        service.base(),
        "curl -sS --fail-with-body -X POST -H 'Content-Type: application/json' \
             -d '{\"name\": \"mine\"}' $BASE/v1/families
         curl -sS --fail-with-body -X PUT -H 'Content-Type: application/json' \
             -d '{\"map\": {\"loss\": \"val\"}, \"id\": \"run\"}' $BASE/v1/families/mine/mappings/mine",
    );
    service.stop();
    let import = ["import", "--family", "mine", "--mapping", "mine", file];
    let result: Value = serde_json::from_str(&succeeded(&planner(&url, &import))).unwrap();
    assert_eq!((&result["created"], &result["columns"]["loss"]), (&json!(1), &json!("val")));
    let other = ["import", "--family", "mine", "--mapping", "other", file];
    let said = String::from_utf8_lossy(&planner(&url, &other).stderr).into_owned();
    assert!(said.contains("the family mine keeps no mapping other"), "{said}");
}

#[test]
fn a_file_is_fitted_without_a_database() {
    let directory = tempfile::tempdir().unwrap();
    let file = t5_like(directory.path());
    let fit = [&["fit", &file, "--seed", "5", "--delta", "0.001"], &T5_COLUMNS[..]].concat();
    let law: Value =
        serde_json::from_str(&succeeded(&planner("postgres://nobody@127.0.0.1:1/none", &fit)))
            .unwrap();
    assert_eq!(law["runs"], 48);
    assert!(law["objective"].as_f64().unwrap() < 1e-5);
    assert!(law["coefficients"]["b_n"].as_f64().unwrap() > 0.1);
    assert_ne!(law["trust"]["level"], "none", "{}", law["trust"]);
}

#[test]
fn a_law_that_its_runs_do_not_determine_ends_a_pipeline() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("runs.csv");
    // As many runs as coefficients.
    let table = "external_id,nonzero_params,sparsity,data,loss\n\
        a,1e6,0,1e9,3.69\nb,1e6,0.5,3e9,3.26\nc,1e6,0.75,9e9,2.98\nd,1e6,0.875,2.7e10,2.78\n\
        e,4e6,0.5,3e9,2.72\nf,1.6e7,0.5,3e9,2.33\ng,6.4e7,0.875,2.7e10,1.71\n";
    std::fs::write(&file, table).unwrap();
    let fit = ["fit", file.to_str().unwrap(), "--bootstrap", "100"];
    let output = planner("postgres://nobody@127.0.0.1:1/none", &fit);
    assert_eq!(output.status.code(), Some(2));
    let law: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(law["trust"]["level"], "none");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("the law is not to be trusted: ") && said.contains("not_identified"),
        "{said}"
    );
}

#[test]
fn runs_of_a_file_are_resampled_by_a_tag() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("runs.csv");
    let demo = include_str!("../../examples/demo-runs.json");
    let demo: Vec<Value> = serde_json::from_str(demo).unwrap();
    let rows = demo.iter().map(|run| {
        let of = |field: &str| run[field].to_string();
        let (n, s) = (of("nonzero_params"), of("sparsity"));
        format!("{},{n},{s},{},{},{n}-{s}", of("external_id"), of("data"), of("loss"))
    });
    let header = "external_id,nonzero_params,sparsity,data,loss,training".to_owned();
    let table: Vec<String> = std::iter::once(header).chain(rows).collect();
    std::fs::write(&file, table.join("\n")).unwrap();
    let fit = |tag: &str| {
        let file = file.to_str().unwrap();
        let quick =
            ["fit", file, "--bootstrap", "100", "--starts", "4", "--tag-column", "training"];
        planner("postgres://nobody@127.0.0.1:1/none", &[&quick[..], &["--cluster", tag]].concat())
    };
    let law: Value = serde_json::from_str(&succeeded(&fit("training"))).unwrap();
    assert_eq!(law["diagnostics"]["clusters"], 16);
    let other = fit("sweep");
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(!other.status.success() && said.contains("none has \"sweep\": training"), "{said}");
}

#[test]
fn a_database_out_of_reach_is_an_error_that_shows_no_password() {
    let output = planner("postgres://user:hunter2@127.0.0.1:1/none", &["migrate"]);
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("connecting to the database"), "{message}");
    assert!(!message.contains("hunter2"));
    let output = planner("hunter2@nowhere", &["migrate"]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("DATABASE_URL is not a URL"), "{message}");
    assert!(!message.contains("hunter2"));
}

/// The authors' T5 runs, imported by the command of docs/papers-runs.md, refitted and asked over HTTP.
#[tokio::test]
#[ignore = "needs the authors' run data"]
async fn the_papers_t5_runs_reach_the_global_minimum_over_http() {
    let directory = std::env::var("SPARSITY_PLANNER_PAPER_DATA")
        .expect("SPARSITY_PLANNER_PAPER_DATA names the directory with the authors' run data");
    let url = empty_database().await;
    let file = format!("{directory}/t5-data.csv");
    let import =
        [&["import", &file, "--family", "t5-runs", "--create", "tokens"], &T5_COLUMNS[..]].concat();
    let result: Value = serde_json::from_str(&succeeded(&planner(&url, &import))).unwrap();
    assert_eq!(result["created"], 48);
    let service = Process::serve(&url, &[]).await;
    // The paper's delta, as the known results were computed with it.
    let refit = "refit=$(curl -sS --fail-with-body -X POST -o /dev/null -w '%header{location}' \
                 -H 'Content-Type: application/json' \
                 -d '{\"objective\": {\"residual\": \"log\", \"delta\": 0.001}}' \
                 $BASE/v1/families/t5-runs/refits)
                 curl -sS --fail-with-body --no-buffer $BASE$refit/events > /dev/null
                 curl -sS --fail-with-body $BASE/v1/families/t5-runs/laws/1";
    let law: Value = serde_json::from_str(&script(service.base(), refit)).unwrap();
    let objective = law["objective"].as_f64().unwrap();
    // The known minimum is given to seven digits.
    assert!((objective / 4.880117e-6 - 1.0).abs() < 2e-7, "{objective:e}");
    let codes: Vec<&str> = law["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| warning["code"].as_str().unwrap())
        .collect();
    for code in ["few_data_levels", "narrow_data", "correlated", "weakly_determined", "unphysical"]
    {
        assert!(codes.contains(&code), "{code}: {codes:?}");
    }
    // The run to which the paper extrapolates: 7 times the largest size, loss 1.48278.
    let question = "curl -sS --fail-with-body \
                    \"$BASE/v1/families/t5-runs/prediction?nonzero_params=603979776&sparsity=0.75&data=3.2768e10\"";
    let answer: Value = serde_json::from_str(&script(service.base(), question)).unwrap();
    assert!((answer["loss"].as_f64().unwrap() - 1.45507).abs() < 1e-5, "{answer}");
    assert_eq!(answer["extrapolation"][0]["variable"], "nonzero_params");
    let interval = &answer["prediction_interval"];
    let (low, high) = (interval["low"].as_f64().unwrap(), interval["high"].as_f64().unwrap());
    assert!(low < 1.4827780204906797 && 1.4827780204906797 < high, "{answer}");
}

#[test]
fn shells_and_manuals_know_every_command() {
    let completions = succeeded(&planner("", &["completions", "bash"]));
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().to_str().unwrap();
    succeeded(&planner("", &["man", target]));
    for command in ["serve", "worker", "import", "keys"] {
        assert!(
            completions.contains(&format!("sparsity__planner__subcmd__{command}")),
            "{command}"
        );
        let page = directory.path().join(format!("sparsity-planner-{command}.1"));
        assert!(std::fs::read_to_string(page).unwrap().contains(command));
    }
}

/// Names and tags may contain any character, which other encodings than UTF-8 cannot store.
#[tokio::test]
async fn a_database_that_cannot_keep_every_letter_is_refused() {
    let database = empty_database_in("LATIN1").await;
    let output = planner(&database, &["migrate"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("keeps text as LATIN1") && error.contains("--encoding UTF8"), "{error}");
    assert_eq!(error.matches("LATIN1").count(), 1, "said once: {error}");
}

/// Metrics can be collected without a key, at an address that answers nothing else.
#[tokio::test]
async fn health_and_metrics_have_an_address_of_their_own() {
    let database = empty_database().await;
    succeeded(&planner(&database, &["keys", "create", "--name", "admin", "--scope", "admin"]));
    let service = Process::serve(&database, &["--health-bind", "127.0.0.1:0"]).await;
    let log = service.log();
    let line = log.lines().find(|line| line.contains("health and metrics are answered")).unwrap();
    let health = format!("http://{}", line.rsplit("address=").next().unwrap().trim());
    let status =
        |url: String| script("", &format!("curl -sS -o /dev/null -w '%{{http_code}}' {url}"));
    assert_eq!(status(format!("{}/metrics", service.base())), "401");
    for path in ["metrics", "healthz", "readyz"] {
        assert_eq!(status(format!("{health}/{path}")), "200", "{path}");
    }
    assert_eq!(status(format!("{health}/v1/families")), "404");
}
