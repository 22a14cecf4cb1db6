//! The program as users start it: in a separate process, with all that it prints and logs.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::support::PROGRAM;
use crate::support::wait::until;

/// Long enough that a worker on a busy machine keeps its refit, and short enough to wait for.
const LEASE: [&str; 2] = ["--lease-ms", "10000"];

/// Arguments with the defaults of tests, except for those that the test sets itself.
fn with_defaults(arguments: &[&str], more: &[&str]) -> Vec<String> {
    let lease = if more.contains(&LEASE[0]) { &[][..] } else { &LEASE };
    let all = [arguments, lease, &["--poll-interval-ms", "100"], more].concat();
    all.into_iter().map(str::to_owned).collect()
}

/// For a service that stops with requests in progress: time to answer them on a busy machine.
pub const PATIENT: [&str; 2] = ["--drain-timeout-ms", "120000"];

/// A process of the program, killed at the end of the test if it still runs.
pub struct Process {
    child: Child,
    printed: Text,
    logged: Text,
    base: Option<String>,
}

/// What has come out of a pipe. The pipe must always be read, as a full one would block the process.
struct Text {
    lines: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Text {
    fn read(pipe: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(String::new()));
        let kept = lines.clone();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                *kept.lock().unwrap() += &(line + "\n");
            }
        });
        Self { lines, reader: Some(reader) }
    }

    fn so_far(&self) -> String {
        self.lines.lock().unwrap().clone()
    }

    /// The whole output, once the process has ended.
    fn whole(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.so_far()
    }
}

impl Process {
    /// Starts the program.
    pub fn start(database_url: &str, arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[("DATABASE_URL", database_url)])
    }

    /// The same with environment variables; `DATABASE_URL` is only set if it is among them.
    pub fn start_with(arguments: &[impl AsRef<OsStr>], variables: &[(&str, &str)]) -> Self {
        Self::spawn(Command::new(PROGRAM).args(arguments), variables)
    }

    /// A running service, started with these limits of open files: the soft and the hard one.
    pub async fn serve_with_files(database_url: &str, files: (u32, u32), more: &[&str]) -> Self {
        let limited =
            format!("ulimit -Sn {} && ulimit -Hn {} && exec \"$0\" \"$@\"", files.0, files.1);
        let service = with_defaults(&["serve", "--bind", "127.0.0.1:0"], more);
        let mut command = Command::new("sh");
        command.args(["-c", &limited, PROGRAM]).args(service);
        let mut service = Self::spawn(&mut command, &[("DATABASE_URL", database_url)]);
        service.until_listening().await;
        service
    }

    fn spawn(command: &mut Command, variables: &[(&str, &str)]) -> Self {
        let mut child = command
            .env_remove("DATABASE_URL")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let printed = Text::read(child.stdout.take().unwrap());
        let logged = Text::read(child.stderr.take().unwrap());
        Self { child, printed, logged, base: None }
    }

    /// A running service.
    pub async fn serve(database_url: &str, more: &[&str]) -> Self {
        Self::serve_on("127.0.0.1:0", database_url, more, &[]).await
    }

    /// The same on this address, with additional environment variables.
    pub async fn serve_on(
        bind: &str,
        database_url: &str,
        more: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let service = with_defaults(&["serve", "--bind", bind], more);
        let variables = [&[("DATABASE_URL", database_url)], variables].concat();
        let mut service = Self::start_with(&service, &variables);
        service.until_listening().await;
        service
    }

    /// Waits until the service listens.
    pub async fn until_listening(&mut self) {
        self.until_logged("listening").await;
        let log = self.log();
        let line = log.lines().find(|line| line.contains("listening")).unwrap();
        self.base = Some(format!("http://{}", line.rsplit("address=").next().unwrap().trim()));
    }

    /// A running worker.
    pub async fn worker(database_url: &str, variables: &[(&str, &str)]) -> Self {
        let worker = with_defaults(&["worker"], &[]);
        let variables = [&[("DATABASE_URL", database_url)], variables].concat();
        let worker = Self::start_with(&worker, &variables);
        worker.until_logged("working").await;
        worker
    }

    /// The URL of a running service.
    pub fn base(&self) -> &str {
        self.base.as_deref().expect("it is a service, and up")
    }

    /// What the process has logged so far.
    pub fn log(&self) -> String {
        self.logged.so_far()
    }

    /// Waits until the log contains a text.
    pub async fn until_logged(&self, text: &str) {
        until(async || self.has(&self.logged, text), text).await;
    }

    /// Waits until the output contains a text, and returns all that was printed.
    pub async fn until_printed(&self, text: &str) -> String {
        until(async || self.has(&self.printed, text), text).await;
        self.printed.so_far()
    }

    /// Whether the output contains this text. Fails the test if the process has ended without it.
    fn has(&self, output: &Text, text: &str) -> bool {
        let ended = output.reader.as_ref().is_none_or(JoinHandle::is_finished);
        let so_far = output.so_far();
        let has = so_far.contains(text);
        assert!(has || !ended, "it ended without {text}: {so_far}\n{}", self.log());
        has
    }

    /// Contents of a file of the process below `/proc`.
    pub fn file(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap()
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: &str) {
        send(signal, &self.child.id().to_string());
    }

    /// Waits until the process ends. Returns its status and all that it logged.
    pub fn ended(&mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        (status, self.logged.whole())
    }

    /// Stops the process in order, and returns all that it logged.
    pub fn stop(&mut self) -> String {
        self.signal("-TERM");
        let (status, log) = self.ended();
        assert!(status.success(), "{status}: {log}");
        log
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process.
pub fn send(signal: &str, pid: &str) {
    assert!(Command::new("kill").args([signal, pid]).status().unwrap().success());
}

/// Runs a command of the program to its end.
pub fn planner(database_url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(["--log", "warn"]).args(arguments).env("DATABASE_URL", database_url);
    command.output().unwrap()
}

pub fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The block of the quick start that follows this marker.
fn block(marker: &str) -> String {
    let page = include_str!("../../docs/quick-start.md");
    let (_, rest) = page.split_once(&format!("<!-- {marker} -->")).expect("the marker is there");
    let (_, rest) = rest.split_once("```sh\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// Runs a shell script against a service, and returns what it prints.
pub fn script(base: &str, script: &str) -> String {
    let mut command = Command::new("sh");
    command.args(["-eu", "-c", script]).current_dir(env!("CARGO_MANIFEST_DIR"));
    succeeded(&command.env("BASE", base).output().unwrap())
}

/// Uploads the runs of the quick start and asks for a fit with this many starts. Returns the path of the refit.
pub fn upload_and_ask(base: &str, starts: u32) -> String {
    upload_and_ask_with(base, starts, "x-nothing: nothing")
}

/// The same with one more header in the request for the fit.
pub fn upload_and_ask_with(base: &str, starts: u32, header: &str) -> String {
    let walk = block("walk");
    let upload = walk.split("# Ask for a fit").next().unwrap();
    let ask = format!(
        "echo; curl -sS --fail-with-body -X POST -H 'Content-Type: application/json' -H '{header}' \
         -d '{{\"starts\": {starts}}}' $BASE/v1/families/my-models/refits"
    );
    let text = script(base, &format!("{upload}\n{ask}"));
    let refit: Value = serde_json::from_str(text.trim().lines().last().unwrap()).unwrap();
    format!("/v1/refits/{}", refit["id"].as_str().unwrap())
}
