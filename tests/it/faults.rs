//! Faults around the service: killed and suspended processes, a database that restarts, hangs, is read only or of
//! another version, and clocks that jump. The tests use real processes and a real PostgreSQL; docs/operating.md lists
//! every fault with its test. Waits are bounded by a count of attempts.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};
use sparsity_planner::cli::demo_runs;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::postgres::Server;
use crate::support::process::{PATIENT, Process, planner, script, send, succeeded};
use crate::support::wait::{until, until_some};
use crate::support::{App, CREATED, OK, PROGRAM, empty_database, run};

const RUNS: &str = "/v1/families/t5-c4/runs";
const QUESTION: &str =
    "/v1/families/t5-c4/optimal-sparsity?nonzero_params=1e8&compute=1e19&flop_mode=sparse";

/// Requests of these tests to a service in a separate process.
impl Process {
    fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        ask(self.base(), method, path, &body.to_string())
    }

    /// The JSON of an answer, which must have the status 200.
    fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, &Value::Null).whole();
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    fn status(&self, path: &str) -> u16 {
        self.ask("GET", path, &Value::Null).whole().0
    }

    /// Uploads the demo's runs to a new family and asks for a fit with this many starts. Returns the path of the
    /// refit.
    fn ask_for_refit(&self, starts: u32) -> String {
        let (status, body) = self.ask("POST", "/v1/families", &json!({"name": "mine"})).whole();
        assert_eq!(status, 201, "{body}");
        let runs = serde_json::to_value(demo_runs::runs()).unwrap();
        assert_eq!(self.ask("POST", "/v1/families/mine/runs", &runs).whole().0, 200);
        let options = json!({"starts": starts});
        let (status, body) = self.ask("POST", "/v1/families/mine/refits", &options).whole();
        assert_eq!(status, 202, "{body}");
        let refit: Value = serde_json::from_str(&body).unwrap();
        format!("/v1/refits/{}", refit["id"].as_str().unwrap())
    }

    /// Waits until announcements are followed, or are not. If the database came back a moment ago, the service may
    /// still answer 503, as its connections notice it one after the other.
    async fn until_followed(&self, wanted: bool) {
        let is_so = async || {
            let answer = self.ask("GET", "/readyz", &Value::Null);
            let Answer::Whole { status: 200, body, .. } = answer else { return false };
            serde_json::from_str::<Value>(&body).unwrap()["follows_announcements"] == wanted
        };
        until(is_so, &format!("announcements are followed: {wanted}")).await;
    }

    /// Waits for the end of a refit.
    async fn finished(&self, refit: &str) -> Value {
        let find = async || {
            let found = self.get(refit);
            (!found["finished_at"].is_null()).then_some(found)
        };
        until_some(find, refit).await
    }
}

/// The outcome of a request.
#[derive(Debug)]
enum Answer {
    Whole {
        status: u16,
        retry_after: bool,
        body: String,
    },
    /// The connection was made, but no whole answer came.
    Cut,
    Refused,
}

impl Answer {
    /// Status and body of an answer that must have arrived.
    fn whole(self) -> (u16, String) {
        let Self::Whole { status, body, .. } = self else { panic!("no answer: {self:?}") };
        (status, body)
    }

    /// Whether it is a 503 that says when to try again.
    fn is_later(&self) -> bool {
        matches!(self, Self::Whole { status: 503, retry_after: true, .. })
    }

    fn is_ok(&self) -> bool {
        matches!(self, Self::Whole { status: 200, .. })
    }
}

/// Sends one request on a new connection.
fn ask(base: &str, method: &str, path: &str, body: &str) -> Answer {
    let address = base.strip_prefix("http://").unwrap();
    let Ok(mut stream) = TcpStream::connect(address) else { return Answer::Refused };
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut text = String::new();
    if stream.write_all(request.as_bytes()).is_err() || stream.read_to_string(&mut text).is_err() {
        return Answer::Cut;
    }
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Answer::Cut };
    let head = head.to_lowercase();
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    if header("content-length: ").is_none_or(|length| length.parse() != Ok(body.len())) {
        return Answer::Cut;
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let retry_after = header("retry-after: ").is_some();
    Answer::Whole { status, retry_after, body: body.to_owned() }
}

/// Clients that upload one run after the other, each under its own name.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<(String, Answer)>>>,
}

impl Load {
    fn start(base: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let client = |client: usize| {
            let (stop, acknowledged, base) = (stop.clone(), acknowledged.clone(), base.to_owned());
            std::thread::spawn(move || {
                let mut answers = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let name = format!("{client}-{}", answers.len());
                    let answer = ask(&base, "POST", RUNS, &json!([run(&name)]).to_string());
                    match answer {
                        Answer::Whole { status: 200, .. } => {
                            acknowledged.fetch_add(1, Ordering::Relaxed);
                        }
                        // A refused upload is tried again later, as the answer says.
                        _ => std::thread::sleep(Duration::from_millis(20)),
                    }
                    answers.push((name, answer));
                }
                answers
            })
        };
        let clients = (0..4).map(client).collect();
        Self { stop, acknowledged, clients }
    }

    /// Waits until this many more uploads are acknowledged.
    async fn until_acknowledged(&self, more: usize) {
        let enough = self.acknowledged.load(Ordering::Relaxed) + more;
        until(|| async { self.acknowledged.load(Ordering::Relaxed) >= enough }, "uploads").await;
    }

    /// Stops the clients, and returns the outcome of every upload.
    fn end(self) -> Vec<(String, Answer)> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}

/// Names of the acknowledged uploads, sorted.
fn acknowledged(answers: &[(String, Answer)]) -> Vec<&str> {
    let ok = answers.iter().filter(|(_, answer)| answer.is_ok());
    let mut names: Vec<&str> = ok.map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

/// Names of the stored runs, sorted.
async fn stored(url: &str) -> Vec<String> {
    let names = "SELECT external_id FROM runs ORDER BY external_id COLLATE \"C\"";
    sqlx::query_scalar(names).fetch_all(&mut connect(url).await).await.unwrap()
}

async fn count(url: &str, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&mut connect(url).await).await.unwrap()
}

async fn execute(url: &str, sql: &'static str) {
    sqlx::raw_sql(sql).execute(&mut connect(url).await).await.unwrap();
}

/// A PostgreSQL server for one test, which it can stop and start.
struct OwnPostgres {
    server: Server,
    pg_ctl: PathBuf,
    cluster: PathBuf,
}

impl OwnPostgres {
    async fn start() -> Self {
        let server = Server::start();
        let mut connection = connect(&server.url).await;
        let programs = "SELECT setting FROM pg_config WHERE name = 'BINDIR'";
        let programs: String =
            sqlx::query_scalar(programs).fetch_one(&mut connection).await.unwrap();
        let cluster: String =
            sqlx::query_scalar("SHOW data_directory").fetch_one(&mut connection).await.unwrap();
        let pg_ctl = PathBuf::from(programs).join("pg_ctl");
        Self { server, pg_ctl, cluster: cluster.into() }
    }

    fn url(&self) -> &str {
        &self.server.url
    }

    /// Runs pg_ctl as the owner of the cluster.
    fn control(&self, arguments: &[&str]) {
        let owner = std::fs::metadata(&self.cluster).unwrap();
        let mut command = Command::new(&self.pg_ctl);
        command.args(arguments).args(["-w", "-t", "60", "-D"]).arg(&self.cluster);
        // The server inherits open files and the working directory, to which its paths are relative.
        command.args(["-l", "server.log"]).current_dir(self.cluster.parent().unwrap());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        if owner.uid() != nix::unistd::geteuid().as_raw() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        assert!(command.status().unwrap().success(), "pg_ctl {arguments:?}");
    }

    fn stop(&self) {
        self.control(&["stop", "-m", "fast"]);
    }

    /// Starts the server again with the same settings.
    fn start_again(&self) {
        let port = self.server.url.parse::<sqlx::postgres::PgConnectOptions>().unwrap().get_port();
        let options = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=100"
        );
        self.control(&["start", "-o", &options]);
    }
}

#[tokio::test]
async fn a_postgres_restarted_under_load_loses_nothing_that_was_acknowledged() {
    let postgres = OwnPostgres::start().await;
    let service = Process::serve(postgres.url(), &["--database-timeout-ms", "2000"]).await;
    let load = Load::start(service.base());
    for mode in ["fast", "immediate"] {
        load.until_acknowledged(50).await;
        postgres.control(&["restart", "-m", mode]);
    }
    load.until_acknowledged(50).await;
    postgres.stop();
    // While the database is away the service lives and reports it.
    assert_eq!(service.status("/healthz"), 200);
    assert!(service.ask("GET", "/readyz", &Value::Null).is_later());
    assert!(service.ask("POST", RUNS, &json!([run("away")])).is_later());
    assert!(service.ask("POST", "/v1/families", &json!({"name": "away"})).is_later());
    postgres.start_again();
    load.until_acknowledged(50).await;
    let answers = load.end();
    for (name, answer) in &answers {
        assert!(answer.is_ok() || answer.is_later(), "{name}: {answer:?}");
    }
    assert!(answers.iter().any(|(_, answer)| answer.is_later()));
    let stored = stored(postgres.url()).await;
    for name in acknowledged(&answers) {
        assert!(stored.iter().any(|stored| stored == name), "{name} is lost");
    }
    service.until_followed(true).await;
}

/// Citus creates such a certificate at its first start, and turns TLS on.
#[tokio::test]
async fn a_certificate_that_is_too_old_to_be_checked_is_told_with_what_helps() {
    let postgres = OwnPostgres::start().await;
    // The certificate is valid for a hundred years, so that only its version is wrong.
    for (file, text) in [
        ("server.crt", include_str!("old-certificate.crt")),
        ("server.key", include_str!("old-certificate.key")),
    ] {
        // One line per row, so that COPY has nothing to escape.
        let lines = format!("SELECT unnest(string_to_array(rtrim('{text}', E'\\n'), E'\\n'))");
        let write = format!("COPY ({lines}) TO PROGRAM 'umask 077; cat > {file}'");
        let mut connection = connect(postgres.url()).await;
        sqlx::raw_sql(AssertSqlSafe(write)).execute(&mut connection).await.unwrap();
    }
    execute(postgres.url(), "ALTER SYSTEM SET ssl = on").await;
    execute(postgres.url(), "SELECT pg_reload_conf()").await;
    until(async || PgConnection::connect(postgres.url()).await.is_err(), "TLS is on").await;
    let refused = planner(postgres.url(), &["migrate"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("version 1 of X.509"), "{said}");
    let plain = format!("{}?sslmode=disable", postgres.url());
    succeeded(&planner(&plain, &["migrate"]));
}

#[tokio::test]
async fn a_refit_outlives_the_absence_of_its_database() {
    let postgres = OwnPostgres::start().await;
    let timeout = ["--database-timeout-ms", "2000", "--lease-ms", "3000"];
    let service = Process::serve(postgres.url(), &timeout).await;
    let refit = service.ask_for_refit(512);
    service.until_logged("refit claimed").await;
    postgres.stop();
    // Longer than the lease.
    tokio::time::sleep(Duration::from_secs(4)).await;
    postgres.start_again();
    let finished = || async {
        let Answer::Whole { status: 200, body, .. } = service.ask("GET", &refit, &Value::Null)
        else {
            return false;
        };
        body.contains("\"state\":\"succeeded\"")
    };
    until(finished, "the refit succeeds").await;
    assert_eq!(count(postgres.url(), "SELECT sum(attempts) FROM refits").await, 1);
}

#[tokio::test]
async fn a_read_only_database_refuses_writes_for_now_and_answers_questions() {
    let postgres = OwnPostgres::start().await;
    let service = Process::serve(postgres.url(), &[]).await;
    let read_only = "ALTER SYSTEM SET default_transaction_read_only = on";
    execute(postgres.url(), read_only).await;
    execute(postgres.url(), "SELECT pg_reload_conf()").await;
    let write = |name| service.ask("POST", RUNS, &json!([run(name)]));
    // The connections notice the change one after the other.
    until(|| async { write("before").is_later() }, "writes are refused").await;
    for (path, body) in [
        ("/v1/families", json!({"name": "late"})),
        ("/v1/families/t5-c4/refits", json!({})),
        (
            "/v1/hardware-profiles",
            json!({"name": "late", "cost": {"prunable_share": 0.9, "efficiency": 0.5}}),
        ),
    ] {
        let answer = service.ask("POST", path, &body);
        assert!(answer.is_later(), "{path}: {answer:?}");
    }
    let many: Vec<Value> = (0..2000).map(|i| run(&format!("many-{i}"))).collect();
    assert!(service.ask("POST", RUNS, &json!(many)).is_later());
    for path in [QUESTION, RUNS, "/v1/families", "/readyz"] {
        assert_eq!(service.status(path), 200, "{path}");
    }
    let ready = service.get("/readyz");
    assert_eq!((&ready["status"], &ready["claims_refits"]), (&json!("degraded"), &json!(false)));
    // A replica can start, as there is nothing to migrate.
    let other = Process::serve(postgres.url(), &[]).await;
    assert_eq!(other.get(QUESTION), service.get(QUESTION));
    // ALTER SYSTEM must be a statement by itself.
    let mut connection = connect(postgres.url()).await;
    for sql in [
        "SET default_transaction_read_only = off",
        "ALTER SYSTEM RESET default_transaction_read_only",
        "SELECT pg_reload_conf()",
    ] {
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    }
    until(|| async { write("after").is_ok() }, "writes are taken again").await;
    let is_ready = async || service.get("/readyz")["claims_refits"] == true;
    until(is_ready, "refits can be claimed again").await;
    assert!(stored(postgres.url()).await.iter().all(|name| !name.starts_with("many")));
}

/// While the database is away, known keys are accepted for the time that is set, and after it nobody is let in.
#[tokio::test]
async fn known_keys_are_believed_for_a_while_when_the_database_is_away() {
    let postgres = OwnPostgres::start().await;
    let more = ["--key-refresh-ms", "100", "--database-timeout-ms", "2000"];
    let start = async |believed: &str| {
        let arguments = [&more[..], &["--keys-believed-ms", believed]].concat();
        Process::serve(postgres.url(), &arguments).await
    };
    let created = planner(postgres.url(), &["keys", "create", "--name", "a", "--scope", "read"]);
    let known =
        succeeded(&created).lines().find(|line| line.starts_with("sp_")).unwrap().to_owned();
    let (long, short) = (start("3600000").await, start("3000").await);
    let ask = |service: &Process, key: &str| -> String {
        let ask = format!(
            "curl -sS -o /dev/null -w '%{{http_code}}' -H 'Authorization: Bearer {key}' \"$BASE{QUESTION}\""
        );
        script(service.base(), &ask)
    };
    for service in [&long, &short] {
        until(async || ask(service, &known) == "200", "the key is known, and the law in memory")
            .await;
    }
    postgres.stop();
    until(async || ask(&short, &known) == "503", "its keys are not believed any more").await;
    // This service still accepts known keys, long after the other one stopped, but no unknown ones.
    assert_eq!(ask(&long, &known), "200");
    let unknown = format!("sp_{}_{}", "0".repeat(32), "0".repeat(64));
    assert_ne!(ask(&long, &unknown), "200");
}

#[tokio::test]
async fn an_exhausted_pool_is_told_and_questions_are_answered_on() {
    let url = empty_database().await;
    let small = ["--database-connections", "4", "--database-timeout-ms", "3000"];
    let service = Process::serve(&url, &small).await;
    service.until_followed(true).await;
    let before = service.get(QUESTION);
    let mut connection = connect(&url).await;
    let mut lock = connection.begin().await.unwrap();
    sqlx::query("LOCK TABLE runs IN EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    let (answered, answers) = mpsc::channel();
    let uploads: Vec<_> = (0..8)
        .map(|i| {
            let (base, answered) = (service.base().to_owned(), answered.clone());
            std::thread::spawn(move || {
                let name = format!("upload-{i}");
                let answer = ask(&base, "POST", RUNS, &json!([run(&name)]).to_string());
                answered.send((name, answer)).unwrap();
            })
        })
        .collect();
    // The pool has four connections, so the lock holds up at most four uploads; the other four must give up.
    let mut all = Vec::new();
    for _ in 0..4 {
        let (name, answer) = answers.recv().unwrap();
        assert!(answer.is_later(), "{answer:?}");
        all.push((name, answer));
    }
    assert_eq!(service.get(QUESTION), before);
    assert_eq!(service.status("/healthz"), 200);
    lock.rollback().await.unwrap();
    for upload in uploads {
        upload.join().unwrap();
    }
    all.extend(answers.try_iter());
    assert!(all.iter().all(|(_, answer)| answer.is_ok() || answer.is_later()), "{all:?}");
    assert_eq!(stored(&url).await, acknowledged(&all));
    until(|| async { service.status("/readyz") == 200 }, "the pool recovers").await;
}

#[tokio::test]
async fn a_service_stopped_under_load_answers_what_it_accepted_and_refuses_the_rest() {
    let url = empty_database().await;
    // The drain time is long enough for a slow machine.
    let mut service = Process::serve(&url, &PATIENT).await;
    let base = service.base().to_owned();
    let load = Load::start(&base);
    load.until_acknowledged(100).await;
    service.signal("-TERM");
    let (status, log) = service.ended();
    assert_eq!(status.code(), Some(0));
    assert!(matches!(ask(&base, "GET", "/healthz", ""), Answer::Refused));
    let answers = load.end();
    let whole = answers.iter().filter(|(_, answer)| matches!(answer, Answer::Whole { .. }));
    for (name, answer) in whole {
        assert!(answer.is_ok() || answer.is_later(), "{name}: {answer:?}");
    }
    // Every upload that was stored was acknowledged, and the reverse.
    assert_eq!(stored(&url).await, acknowledged(&answers));
    assert!(!log.contains("still under way"), "{log}");
}

#[tokio::test]
async fn a_killed_workers_refit_goes_on_with_another_and_ends_in_one_law() {
    let url = empty_database().await;
    let service = Process::serve(&url, &[]).await;
    let refit = service.ask_for_refit(512);
    service.until_logged("refit claimed").await;
    let worker = Process::worker(&url, &[]).await;
    // The stopping service gives the refit back.
    service.signal("-TERM");
    worker.until_logged("refit claimed").await;
    worker.signal("-KILL");
    let other = Process::serve(&url, &[]).await;
    let refit = other.finished(&refit).await;
    assert_eq!(refit["state"], "succeeded", "{refit}");
    assert_eq!(count(&url, "SELECT count(*) FROM laws WHERE source = 'fit'").await, 1);
    assert_eq!(count(&url, "SELECT sum(attempts) FROM refits").await, 2);
}

#[tokio::test]
async fn a_worker_stopped_past_its_lease_does_not_save_when_it_wakes() {
    let url = empty_database().await;
    let sleeper = Process::serve(&url, &[]).await;
    let refit = sleeper.ask_for_refit(512);
    sleeper.until_logged("refit claimed").await;
    sleeper.signal("-STOP");
    let worker = Process::worker(&url, &[]).await;
    worker.until_logged("refit ended").await;
    sleeper.signal("-CONT");
    sleeper.until_logged("the refit is another worker's now, or gone").await;
    // After it wakes, the service lets nobody in until it has read the keys again.
    let answers = || async { sleeper.ask("GET", &refit, &Value::Null).whole().0 == 200 };
    until(answers, "the service that woke answers").await;
    assert_eq!(sleeper.get(&refit)["state"], "succeeded");
    assert_eq!(count(&url, "SELECT count(*) FROM laws WHERE source = 'fit'").await, 1);
    let answer =
        sleeper.get("/v1/families/mine/prediction?nonzero_params=1e7&sparsity=0&data=1e10");
    assert_eq!(answer["law"]["version"], 1);
}

#[tokio::test]
async fn a_refit_is_cancelled_by_way_of_a_replica_that_does_not_run_it() {
    let url = empty_database().await;
    let one = Process::serve(&url, &[]).await;
    let two = Process::serve(&url, &[]).await;
    let refit = one.ask_for_refit(4096);
    let claimed = |service: &Process| service.log().contains("refit claimed");
    until(async || claimed(&one) || claimed(&two), "the refit is claimed").await;
    let other = if claimed(&one) { &two } else { &one };
    assert_eq!(other.ask("DELETE", &refit, &Value::Null).whole().0, 200);
    let refit = other.finished(&refit).await;
    assert_eq!(refit["state"], "cancelled", "{refit}");
    assert_eq!(count(&url, "SELECT count(*) FROM laws WHERE source = 'fit'").await, 0);
}

/// Keeps a process suspended until the end of the test.
struct Stopped(String);

impl Stopped {
    fn new(pid: i32) -> Self {
        send("-STOP", &pid.to_string());
        Self(pid.to_string())
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        send("-CONT", &self.0);
    }
}

/// Process id of the database session on which a service listens for announcements of laws.
async fn listening_backend(url: &str) -> i32 {
    let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()
        AND (query LIKE 'LISTEN%laws%' OR query LIKE '%still listens%') AND pid <> pg_backend_pid()";
    sqlx::query_scalar(sql).fetch_one(&mut connect(url).await).await.unwrap()
}

#[tokio::test]
async fn a_lost_and_a_silent_listener_are_noticed_and_another_law_answers_all_the_same() {
    let url = empty_database().await;
    let here = Process::serve(&url, &[]).await;
    let law = json!({"coefficients": {"a_s": 16.8, "b_s": 0.72, "c_s": 45.0, "b_n": 0.245,
        "a_d": 6.9e8, "b_d": 0.2, "c": 0.65}, "reference": "x"});
    here.until_followed(true).await;
    assert_eq!(here.get(QUESTION)["law"]["version"], 1);

    // The connection ends.
    let pid = listening_backend(&url).await;
    let end = format!("SELECT pg_terminate_backend({pid})");
    sqlx::raw_sql(AssertSqlSafe(end)).execute(&mut connect(&url).await).await.unwrap();
    here.until_followed(false).await;
    here.until_followed(true).await;
    assert_eq!(here.get(QUESTION)["law"]["version"], 1);

    // The connection stays open but nothing arrives any more, as in a network that has lost it.
    let stopped = Stopped::new(listening_backend(&url).await);
    let there = Process::serve(&url, &[]).await;
    assert_eq!(there.ask("POST", "/v1/families/t5-c4/laws", &law).whole().0, 201);
    here.until_followed(false).await;
    assert_eq!(here.get(QUESTION)["law"]["version"], 2);
    here.until_followed(true).await;
    assert_eq!(here.get(QUESTION), there.get(QUESTION));
    drop(stopped);
}

#[tokio::test]
async fn five_replicas_start_at_once_on_an_empty_database() {
    let url = empty_database().await;
    let start = || Process::start(&url, &["serve", "--bind", "127.0.0.1:0"]);
    let mut replicas: Vec<Process> = (0..5).map(|_| start()).collect();
    for replica in &mut replicas {
        replica.until_listening().await;
        assert_eq!(replica.status("/readyz"), 200);
        assert_eq!(replica.get(QUESTION)["law"]["version"], 1);
    }
    assert_eq!(count(&url, "SELECT count(*) FROM laws").await, 2);
}

#[tokio::test]
async fn an_old_version_works_and_starts_beside_a_schema_that_grew_but_not_one_that_shrank() {
    let url = empty_database().await;
    let running = Process::serve(&url, &[]).await;
    assert_eq!(running.ask("POST", RUNS, &json!([run("before")])).whole().0, 200);
    execute(
        &url,
        "ALTER TABLE runs ADD COLUMN later text;
         ALTER TABLE laws ADD COLUMN later integer NOT NULL DEFAULT 1;
         CREATE TABLE later (id uuid PRIMARY KEY);
         INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (99990101000000, 'later things', true, '\\x00', 0)",
    )
    .await;
    let started = Process::serve(&url, &[]).await;
    started.until_logged("the schema is of a newer version").await;
    for service in [&running, &started] {
        assert_eq!(service.status("/readyz"), 200);
        for body in [json!([run("before")]), json!([run("after")])] {
            assert_eq!(service.ask("POST", RUNS, &body).whole().0, 200);
        }
        assert_eq!(service.get(RUNS)["items"].as_array().unwrap().len(), 2);
        service.get(QUESTION);
    }
    let refit = started.ask_for_refit(2);
    assert_eq!(running.finished(&refit).await["state"], "succeeded");
    execute(
        &url,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (99990102000000, 'contract drop things', true, '\\x00', 0)",
    )
    .await;
    assert!(running.ask("GET", "/readyz", &Value::Null).is_later());
    let refused = planner(&url, &["serve", "--bind", "127.0.0.1:0"]);
    assert!(!refused.status.success());
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("99990102000000") && message.contains("newer version"), "{message}");
}

#[tokio::test]
async fn a_clock_that_jumps_back_breaks_nothing() {
    let app = App::with_worker().await;
    app.demo_family("mine").await;
    for hours in [-48, 72, -24] {
        app.clock.advance(TimeDelta::hours(hours));
        let name = format!("at{hours}");
        app.post("/v1/families/mine/runs", json!([run(&name), run("again")]))
            .await
            .assert_status(OK);
        let forecast = json!({"external_id": format!("to-come{hours}"), "nonzero_params": 1e7,
            "sparsity": 0.5, "data": 3e10});
        let refit = app.refit("mine", json!({"starts": 2, "bootstrap": 0, "holdout": []})).await;
        assert_eq!(refit["state"], "succeeded", "{refit}");
        app.post("/v1/families/mine/forecasts", forecast).await.assert_status(CREATED);
        let families: Value = app.get("/v1/families").await.json();
        assert_eq!(families["items"][0]["name"], "mine");
        // The newest run comes first, whatever time it carries.
        let runs: Value = app.get("/v1/families/mine/runs?limit=2").await.json();
        let newest: Vec<_> = runs["items"].as_array().unwrap().iter().collect();
        assert!(newest.iter().any(|run| run["external_id"] == name.as_str()), "{runs}");
    }
    let laws: Value = app.get("/v1/families/mine/laws").await.json();
    let versions: Vec<_> =
        laws["items"].as_array().unwrap().iter().map(|law| law["version"].as_i64()).collect();
    assert_eq!(versions, [Some(3), Some(2), Some(1)]);
}

#[test]
fn three_replicas_answer_alike_after_one_was_killed_over_a_refit() {
    let mut command = Command::new("bash");
    command.arg("docker/local-cluster.sh").current_dir(env!("CARGO_MANIFEST_DIR"));
    let text = succeeded(&command.env("PLANNER", PROGRAM).output().unwrap());
    assert!(text.contains("all replicas answer alike"), "{text}");
}

#[tokio::test]
async fn a_backup_is_restored_by_the_commands_of_the_page() {
    let (url, restored) = (empty_database().await, empty_database().await);
    let service = Process::serve(&url, &[]).await;
    let refit = service.ask_for_refit(2);
    service.finished(&refit).await;
    let page = include_str!("../../docs/operating.md");
    let (_, rest) = page.split_once("<!-- backup -->").unwrap();
    let block = rest.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0;
    let directory = tempfile::tempdir().unwrap();
    let programs = "SELECT setting FROM pg_config WHERE name = 'BINDIR'";
    let programs: String =
        sqlx::query_scalar(programs).fetch_one(&mut connect(&url).await).await.unwrap();
    let setup = format!(
        "PATH={programs}:$PATH; cd {}; DATABASE_URL='{url}'; NEW_DATABASE_URL='{restored}'\n",
        directory.path().display()
    );
    script(service.base(), &(setup + block));
    let other = Process::serve(&restored, &[]).await;
    let question =
        "/v1/families/mine/optimal-sparsity?nonzero_params=5e7&compute=1e19&flop_mode=sparse";
    assert_eq!(other.get(question), service.get(question));
}
