//! Reads from a streaming replica of PostgreSQL, made with `pg_basebackup` from the test's server.

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum_test::TestResponse;
use serde_json::{Value, json};
use sparsity_planner::store;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgPool};

use crate::support::postgres::Server;
use crate::support::process::planner;
use crate::support::wait::until;
use crate::support::{App, CREATED, NOT_FOUND, OK, database, empty_database, problem, run};

const READ_AFTER: &str = "x-read-after";
/// Longer than any test runs, so that nothing counts as too old.
const ANY_AGE: Duration = Duration::from_secs(3600);
const PATIENT: Duration = Duration::from_secs(60);

/// A primary with the service's schema, and a streaming replica of it.
struct Pair {
    // Stopped before the primary from which it streams.
    standby: Standby,
    pool: PgPool,
    _primary: Server,
}

struct Standby {
    postgres: PathBuf,
    directory: tempfile::TempDir,
    owner: (u32, u32),
    options: PgConnectOptions,
    child: Option<Child>,
}

impl Pair {
    async fn start() -> Self {
        let primary = Server::start();
        let options: PgConnectOptions = primary.url.parse().unwrap();
        let pool = store::connect(options.clone(), 20, PATIENT).await.unwrap();
        store::migrate(&pool).await.unwrap();
        let setting = async |sql: &'static str| -> String {
            sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap()
        };
        let programs = setting("SELECT setting FROM pg_config WHERE name = 'BINDIR'").await;
        let programs = PathBuf::from(programs);
        let cluster = std::fs::metadata(setting("SHOW data_directory").await).unwrap();
        let owner = (cluster.uid(), cluster.gid());

        let directory = tempfile::Builder::new()
            .prefix("sparsity-planner-replica-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir()
            .unwrap();
        if nix::unistd::geteuid().is_root() {
            chown(directory.path(), Some(owner.0), Some(owner.1)).unwrap();
        }
        let copied = as_owner(&programs.join("pg_basebackup"), owner)
            .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--dbname"])
            .arg(&primary.url)
            .arg("--pgdata")
            .arg(directory.path())
            .current_dir(directory.path())
            .output()
            .unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));

        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options = options.port(port);
        let postgres = programs.join("postgres");
        let mut standby = Standby { postgres, directory, owner, options, child: None };
        standby.start().await;
        Self { standby, pool, _primary: primary }
    }

    /// A replica of the service that reads from the standby.
    async fn app(&self, max_lag: Duration) -> App {
        self.app_on(self.standby.options.clone(), max_lag, PATIENT).await
    }

    async fn app_on(&self, options: PgConnectOptions, max_lag: Duration, timeout: Duration) -> App {
        App::reading_from(self.pool.clone(), options, max_lag, timeout).await
    }
}

/// A command that runs as the owner of the primary's cluster.
fn as_owner(program: &Path, (uid, gid): (u32, u32)) -> Command {
    let mut command = Command::new(program);
    if uid != nix::unistd::geteuid().as_raw() {
        command.uid(uid).gid(gid);
    }
    command
}

impl Standby {
    /// Starts the server, or starts it again. It stops when our end of its standard input closes, however this
    /// process ends.
    async fn start(&mut self) {
        let script =
            r#""$@" </dev/null >>server.log 2>&1 & pid=$!; cat; kill -INT $pid; wait $pid"#;
        let child = as_owner(Path::new("sh"), self.owner)
            .args(["-c", script, "sh"])
            .arg(&self.postgres)
            .arg("-D")
            .arg(self.directory.path())
            .args(["-p", &self.options.get_port().to_string()])
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
            .current_dir(self.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        self.child = Some(child);
        until(|| async { self.options.connect().await.is_ok() }, "the standby answers").await;
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
    }

    async fn execute(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&mut self.options.connect().await.unwrap()).await.unwrap();
    }

    async fn find<T>(&self, sql: &'static str) -> T
    where
        T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        let mut connection = self.options.connect().await.unwrap();
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
    }

    /// Pauses replay: later writes are not visible here.
    async fn pause(&self) {
        self.execute("SELECT pg_wal_replay_pause()").await;
        let paused = async || {
            self.find::<String>("SELECT pg_get_wal_replay_pause_state()").await == "paused"
        };
        until(paused, "the replay is paused").await;
    }

    async fn resume(&self) {
        self.execute("SELECT pg_wal_replay_resume()").await;
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn replica_state(app: &App) -> Value {
    let ready = app.get("/readyz").await;
    ready.assert_status(OK);
    let ready: Value = ready.json();
    let degraded = ready["read_replica"] != "used";
    assert_eq!(ready["status"], if degraded { "degraded" } else { "ready" });
    ready["read_replica"].clone()
}

async fn until_state(app: &App, state: &str) {
    until(|| async { replica_state(app).await == state }, state).await;
}

/// Creates something, and returns the position that the answer carries.
async fn write(app: &App, path: &str, body: Value) -> String {
    let response = app.post(path, body).await;
    assert!(response.status_code().is_success(), "{}", response.text());
    response.header(READ_AFTER).to_str().unwrap().to_owned()
}

async fn get_after(app: &App, path: &str, position: &str) -> TestResponse {
    app.server.get(path).add_header(READ_AFTER, position).await
}

fn names(list: &Value, field: &str) -> Vec<String> {
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item[field].as_str().unwrap().to_owned()).collect()
}

async fn counted(app: &App, outcome: &str) -> u64 {
    let text = app.get("/metrics").await.text();
    let name = format!("sparsity_planner_reads_total{{outcome=\"{outcome}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
}

const FAMILY: &str = "/v1/families/mine";

/// Creates a family with a law, a run, an open forecast and a scored one, and a hardware profile.
async fn fill(app: &App, name: &str) -> String {
    let family = format!("/v1/families/{name}");
    write(app, "/v1/families", json!({"name": name})).await;
    let coefficients = json!({
        "a_s": 17.0, "b_s": 0.7, "c_s": 0.5, "b_n": 0.25, "a_d": 6.9e8, "b_d": 0.2, "c": 1.0
    });
    let law = json!({"coefficients": coefficients, "reference": "made up for this test"});
    write(app, &format!("{family}/laws"), law).await;
    write(app, &format!("{family}/runs"), run("first")).await;
    let forecast = json!({
        "external_id": "later", "nonzero_params": 1e7, "sparsity": 0.5, "data": 2e10
    });
    write(app, &format!("{family}/forecasts"), forecast).await;
    let profile = json!({
        "name": format!("of-{name}"), "cost": {"prunable_share": 0.9, "efficiency": 0.5},
    });
    write(app, "/v1/hardware-profiles", profile).await
}

#[tokio::test]
async fn reads_come_from_the_replica_and_a_writer_sees_its_writes() {
    let pair = Pair::start().await;
    let (writer, reader) = (pair.app(ANY_AGE).await, pair.app(ANY_AGE).await);
    for app in [&writer, &reader] {
        until_state(app, "used").await;
    }
    let position = fill(&writer, "mine").await;
    // Either the replica or the primary may answer this.
    let runs: Value = get_after(&reader, &format!("{FAMILY}/runs"), &position).await.json();
    let id = runs["items"][0]["id"].as_str().unwrap().to_owned();
    let list: Value = reader.get(&format!("{FAMILY}/forecasts")).await.json();
    let forecast = list["items"][0]["id"].as_str().unwrap().to_owned();

    let (run_path, forecast) =
        (format!("{FAMILY}/runs/{id}"), format!("{FAMILY}/forecasts/{forecast}"));
    let paths = [
        "/v1/families",
        FAMILY,
        &format!("{FAMILY}/forecasts"),
        &format!("{FAMILY}/forecasts/calibration"),
        &forecast,
        &format!("{FAMILY}/laws"),
        &format!("{FAMILY}/laws/1"),
        &format!("{FAMILY}/laws/compare?a=1&b=1"),
        &format!("{FAMILY}/runs"),
        &run_path,
        "/v1/hardware-profiles",
        "/v1/hardware-profiles/of-mine",
    ];
    let mut before = Vec::new();
    for path in paths {
        let answer = get_after(&reader, path, &position).await;
        answer.assert_status(OK);
        before.push(answer.text());
    }

    pair.standby.pause().await;
    // This changes every one of those answers.
    fill(&writer, "other").await;
    write(&writer, &format!("{FAMILY}/laws"), json!({
        "coefficients": {"a_s": 17.0, "b_s": 0.7, "c_s": 0.5, "b_n": 0.25, "a_d": 6.9e8, "b_d": 0.2, "c": 1.1},
        "reference": "made up for this test too",
    }))
    .await;
    let mut later = run("later");
    later["loss"] = json!(2.6);
    write(&writer, &format!("{FAMILY}/runs"), later.clone()).await;
    for (method, path, body) in [
        ("PATCH", FAMILY, json!({"description": "changed"})),
        ("PATCH", &*run_path, json!({"excluded": true, "exclusion_reason": "diverged"})),
        ("PUT", &format!("{FAMILY}/active-law"), json!({"version": 2})),
    ] {
        let method = method.parse().unwrap();
        writer.server.method(method, path).json(&body).await.assert_status(OK);
    }
    let profile = "/v1/hardware-profiles/of-mine";
    let changed = writer.server.patch(profile).json(&json!({"source": "changed"})).await;
    changed.assert_status(OK);
    let position = changed.header(READ_AFTER).to_str().unwrap().to_owned();

    let (from_replica, behind) =
        (counted(&reader, "replica").await, counted(&reader, "behind").await);
    for (path, before) in paths.iter().zip(&before) {
        assert_eq!(reader.get(path).await.text(), *before, "{path} is not from the replica");
        assert_ne!(writer.get(path).await.text(), *before, "{path} hides a write from its writer");
        let after = get_after(&reader, path, &position).await;
        assert_ne!(after.text(), *before, "{path} is before {position}");
    }
    let twelve = paths.len() as u64;
    assert_eq!(counted(&reader, "replica").await, from_replica + twelve);
    assert_eq!(counted(&reader, "behind").await, behind + twelve);

    // The same holds for exports.
    let export = async |app: &App, position: &str| {
        let request = app.server.get(&format!("{FAMILY}/runs")).add_header("accept", "text/csv");
        let answer = request.add_header(READ_AFTER, position).await;
        answer.assert_status(OK);
        answer.text().lines().count() - 1
    };
    assert_eq!(export(&reader, "0").await, 1);
    assert_eq!(export(&reader, &position).await, 2);
    assert_eq!(export(&writer, "0").await, 2);

    // The laws that questions use are read from the primary, and so is whatever decides.
    let question = format!("{FAMILY}/prediction?nonzero_params=1e7&sparsity=0.5&data=2e10");
    assert_eq!(reader.get(&question).await.json::<Value>()["law"]["version"], 2);
    let again = reader.post(&format!("{FAMILY}/runs"), later).await;
    assert_eq!(again.json::<Value>()["unchanged"], 1);
    // The reader has written, so its reads now show at least its own write.
    assert_eq!(
        names(&reader.get(&format!("{FAMILY}/runs")).await.json(), "external_id"),
        ["later", "first"]
    );

    pair.standby.resume().await;
    let from_replica = counted(&reader, "replica").await;
    let caught_up = async || {
        let runs = reader.get(&format!("{FAMILY}/runs")).await.json();
        assert_eq!(names(&runs, "external_id"), ["later", "first"]);
        counted(&reader, "replica").await > from_replica
    };
    until(caught_up, "the replica is read from again").await;
}

#[tokio::test]
async fn whoever_hears_of_a_law_can_read_it_although_the_replica_lacks_it() {
    let pair = Pair::start().await;
    let (writer, worker) = (pair.app(ANY_AGE).await, pair.app(ANY_AGE).await);
    let (asking, told) = (pair.app(ANY_AGE).await, pair.app(ANY_AGE).await);
    tokio::spawn(worker.worker().run());
    told.follow().await;
    writer.demo_family("mine").await;
    let position = write(&writer, "/v1/families", json!({"name": "other"})).await;
    for app in [&asking, &told] {
        until_state(app, "used").await;
        let caught_up = async || {
            let from_replica = counted(app, "replica").await;
            get_after(app, FAMILY, &position).await.assert_status(OK);
            counted(app, "replica").await > from_replica
        };
        until(caught_up, "the replica has it").await;
    }

    pair.standby.pause().await;
    let refit = writer.refit("mine", json!({"starts": 8, "bootstrap": 0})).await;
    let law = format!("{FAMILY}/laws/1");
    asking.get(&law).await.assert_status(NOT_FOUND);
    asking.get(&format!("/v1/refits/{}", refit["id"].as_str().unwrap())).await.assert_status(OK);
    asking.get(&law).await.assert_status(OK);
    until(async || told.get(&law).await.status_code() == OK, "the announced law is read").await;
    pair.standby.resume().await;
}

#[tokio::test]
async fn nobody_reads_what_is_older_than_allowed() {
    let pair = Pair::start().await;
    let (writer, reader) = (pair.app(ANY_AGE).await, pair.app(Duration::from_secs(3)).await);
    until_state(&reader, "used").await;
    pair.standby.pause().await;
    write(&writer, "/v1/families", json!({"name": "mine"})).await;
    until(async || reader.get(FAMILY).await.status_code() == OK, "the write is seen").await;
    until_state(&reader, "behind").await;
    pair.standby.resume().await;
    until_state(&reader, "used").await;
}

#[tokio::test]
async fn a_replica_that_stops_is_replaced_and_used_again_until_it_is_promoted() {
    let mut pair = Pair::start().await;
    let (writer, reader) = (pair.app(ANY_AGE).await, pair.app(ANY_AGE).await);
    until_state(&reader, "used").await;
    let position = write(&writer, "/v1/families", json!({"name": "mine"})).await;

    pair.standby.stop();
    // The primary answers at once, whether the absence was noticed or not.
    get_after(&reader, FAMILY, &position).await.assert_status(OK);
    until_state(&reader, "away").await;
    let away = counted(&reader, "away").await;
    reader.get(FAMILY).await.assert_status(OK);
    assert_eq!(counted(&reader, "away").await, away + 1);
    let metrics = reader.get("/metrics").await.text();
    assert!(metrics.contains("sparsity_planner_read_replica_used 0"), "{metrics}");
    // A service can start without the replica too.
    let started = pair.app(ANY_AGE).await;
    started.get(FAMILY).await.assert_status(OK);

    pair.standby.start().await;
    until_state(&reader, "used").await;
    let used = async || {
        let from_replica = counted(&reader, "replica").await;
        reader.get(FAMILY).await.assert_status(OK);
        counted(&reader, "replica").await > from_replica
    };
    until(used, "the replica is read from again").await;
    until_state(&started, "used").await;

    pair.standby.execute("SELECT pg_promote()").await;
    until_state(&reader, "away").await;
    write(&writer, "/v1/families", json!({"name": "new"})).await;
    reader.get("/v1/families/new").await.assert_status(OK);
}

#[tokio::test]
async fn a_read_that_the_replica_fails_is_answered_by_the_primary() {
    let pair = Pair::start().await;
    let hasty = Duration::from_secs(4);
    let writer = pair.app(ANY_AGE).await;
    let patient = pair.app(ANY_AGE).await;
    let hasty = pair.app_on(pair.standby.options.clone(), ANY_AGE, hasty).await;
    let position = fill(&writer, "mine").await;
    for app in [&patient, &hasty] {
        until_state(app, "used").await;
        let caught_up = async || {
            let before = counted(app, "replica").await;
            get_after(app, FAMILY, &position).await.assert_status(OK);
            counted(app, "replica").await > before
        };
        until(caught_up, "the replica has it").await;
    }
    // The replica replays this lock and then pauses, so that it does not see the release.
    let mut transaction = pair.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *transaction)
        .await
        .unwrap();
    let locked = "SELECT EXISTS (SELECT FROM pg_locks WHERE mode = 'AccessExclusiveLock'
        AND relation = 'runs'::regclass)";
    until(async || pair.standby.find::<bool>(locked).await, "the lock is replayed").await;
    pair.standby.pause().await;
    transaction.commit().await.unwrap();

    // The replica does not answer within half of the time limit.
    let runs = format!("{FAMILY}/runs");
    assert_eq!(names(&hasty.get(&runs).await.json(), "external_id"), ["first"]);
    assert_eq!(counted(&hasty, "failed").await, 1);

    // The query is cancelled, as happens for the sake of replay.
    let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND backend_type = 'client backend'";
    let cancelled = until(async || pair.standby.find::<i64>(cancel).await > 0, "the read waits");
    let export = patient.server.get(&runs).add_header("accept", "application/x-ndjson");
    let (export, ()) = tokio::join!(async { export.await }, cancelled);
    export.assert_status(OK);
    assert_eq!(export.text().lines().count(), 1);
    assert_eq!(counted(&patient, "failed").await, 1);
    pair.standby.resume().await;
}

#[tokio::test]
async fn what_is_no_replica_of_the_database_is_not_read_from() {
    let pair = Pair::start().await;
    let primary = (*pair.pool.connect_options()).clone();
    let elsewhere: PgConnectOptions = empty_database().await.parse().unwrap();
    let other = pair.standby.options.clone().database("postgres");
    for options in [primary, elsewhere, other] {
        let app = pair.app_on(options, ANY_AGE, PATIENT).await;
        write(&app, "/v1/families", json!({"name": "mine"})).await;
        until_state(&app, "away").await;
        app.get(FAMILY).await.assert_status(OK);
        assert_eq!(counted(&app, "replica").await, 0);
        app.server.delete(FAMILY).await;
    }
}

#[tokio::test]
async fn a_position_that_is_none_is_refused_where_there_is_a_replica() {
    let pool = database().await;
    let primary = (*pool.connect_options()).clone();
    let app = App::reading_from(pool, primary, ANY_AGE, PATIENT).await;
    let response = get_after(&app, "/v1/families", "0/16B3748").await;
    assert_eq!(problem(&response, 422, "invalid"), ["/x-read-after"]);
    // A service without a replica does not use the header.
    let app = App::new().await;
    let created = app.post("/v1/families", json!({"name": "mine"})).await;
    created.assert_status(CREATED);
    assert!(!created.headers().contains_key(READ_AFTER));
    assert_eq!(app.get("/readyz").await.json::<Value>()["read_replica"], Value::Null);
}

#[tokio::test]
async fn the_address_of_a_replica_is_not_repeated() {
    let database = empty_database().await;
    let secret = "postgres//user:secret@host";
    let output =
        planner(&database, &["serve", "--bind", "127.0.0.1:0", "--read-database-url", secret]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--read-database-url is not a URL"), "{said}");
    assert!(!said.contains("secret"), "{said}");
}
