//! The commands of the documentation, run as they are written.
//!
//! Every fenced block of commands in the README, SECURITY.md and docs/ is run against a separate service for each
//! page, in the order of the page and in one shell, so that a block can use what an earlier one has set. Blocks that
//! cannot be run are listed below with the reason; all others are run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use Why::{Not, RunBy};
use tokio::process::Command;

use crate::support::process::{Process, script};
use crate::support::{PROGRAM, empty_database};

/// Why a block is not run here.
enum Why {
    /// Another test runs it: module and function.
    RunBy(&'static str, &'static str),
    /// No default test runs it, for this reason.
    Not(&'static str),
}

/// For commands that serve until they are stopped.
const SERVES: Why = RunBy("process", "the_demo_answers_a_question_and_serves_on");

/// Blocks that this test does not run: page, beginning of the first line, reason.
const ELSEWHERE: &[(&str, &str, Why)] = &[
    ("README.md", "cargo run --release -- demo ", SERVES),
    (
        "docs/papers-runs.md",
        "cargo run --release -- import t5-data.csv",
        RunBy("process", "the_papers_t5_runs_reach_the_global_minimum_over_http"),
    ),
    (
        "docs/papers-runs.md",
        "python3 -c 'import json,csv,sys;",
        Not(
            "needs the authors' run data; crates/sparsity-law/tests/paper_data.rs fits the same runs",
        ),
    ),
    (
        "docs/install.md",
        "DATABASE_URL=postgres://user:password@host:5432/database cargo run",
        Not("needs a database of the reader's own; every other test serves from one"),
    ),
    ("docs/install.md", "export POSTGRES_PASSWORD=...", Not("needs Docker")),
    (
        "docs/install.md",
        "cargo install --path .",
        Not("builds a release, and installs it for the user"),
    ),
    ("docs/contributing.md", "cargo test ", Not("is the test run itself")),
    (
        "docs/access.md",
        "sparsity-planner serve --bind 0.0.0.0:8080 --oidc-issuer",
        Not("needs an issuer, and serves until it is stopped; tests/it/oidc.rs has one of its own"),
    ),
    (
        "docs/coverage.md",
        "cargo run --release -p sparsity-law --example simulated",
        Not("takes minutes of all cores"),
    ),
    (
        "docs/coverage.md",
        "cargo run --release -p sparsity-law --example lack_of_fit",
        Not("takes minutes of all cores"),
    ),
    ("docs/coverage.md", "cargo test --release --test coverage", Not("takes minutes of all cores")),
    ("docs/dashboard.md", "cargo run --release -- demo ", SERVES),
    ("docs/dashboard.md", "tests/browser/run", Not("needs Chromium and Node; .ci/run runs it")),
    (
        "docs/dashboard.md",
        "tests/browser/pictures",
        Not("needs Chromium and Node, and writes to docs"),
    ),
    (
        "docs/operating.md",
        "pg_dump --format=custom",
        RunBy("faults", "a_backup_is_restored_by_the_commands_of_the_page"),
    ),
    ("docs/quick-start.md", "cargo run --release -- demo", SERVES),
    (
        "docs/scaling.md",
        "# On each node, as a superuser: shared_preload_libraries",
        Not("needs Citus; tests/citus/run does the same where it is installed"),
    ),
    (
        "docs/scaling.md",
        "docker build --tag REGISTRY/sparsity-planner",
        Not("needs Docker and a cluster; .ci/run checks the manifests"),
    ),
    (
        "docs/trackers.md",
        "# Weights & Biases: run-*.wandb",
        Not("needs the files of trackers; the Python client's tests run it on such files"),
    ),
];

/// Texts that the commands of a page must print.
const PRINTED: &[(&str, &[&str])] = &[
    ("README.md", &["\"sparsity\":0.59", "says law 1 of t5-c4 (published)"]),
    ("docs/access.md", &["\"name\": \"laptop\"", "\"items\":[]"]),
    (
        "docs/measure.md",
        &["2:4 holds along their inputs in 2 of 2 prunable tensors", "sent: {\"created\":1"],
    ),
    ("docs/dense-only.md", &["\"sparsity\":0.6255", "\"borrowed_gain\""]),
    ("docs/forms.md", &["\"holdout_error\""]),
    ("docs/repeated-data.md", &["\"effective_data\"", "\"repetition_assumed\""]),
    ("docs/hardware-profiles.md", &["\"pattern\":"]),
    ("docs/plans.md", &["\"goal\":\"least_cost\"", "\"binding\":[\"memory_bytes\""]),
    (
        "docs/quick-start.md",
        &[
            "\"created\": 48",
            "\"state\":\"succeeded\",\"progress\":1.0\n{\n \"version\": 1",
            "\"state\":\"succeeded\"\n\"reproduces\":1",
            "\"sparsity\": 0.",
        ],
    ),
    (
        "docs/recipes.md",
        &[
            "\"unchanged\":1",
            "\"external_id\":\"a\"",
            "\"external_id\":\"large-1\"",
            "\"expected_width_ratio\"",
            "<svg",
        ],
    ),
    ("docs/events.md", &["event: family", "\"since_law\":{\"added\":0"]),
    (
        "docs/uploads.md",
        &["\"created\":2", "\"created\":3", "\"unchanged\":48", "\"state\":\"succeeded\""],
    ),
];

/// Time limit for the commands of a page, so that one that never ends does not hold up the tests.
const LONGEST: Duration = Duration::from_secs(180);

/// Languages of fenced blocks that are commands.
const COMMANDS: [&str; 5] = ["sh", "console", "bash", "shell", "zsh"];

/// A block of commands.
struct Block {
    page: String,
    line: usize,
    code: String,
}

impl Block {
    /// Whether this block is on that page and begins with this text.
    fn is(&self, page: &str, first: &str) -> bool {
        self.page == page && self.code.starts_with(first)
    }

    fn is_elsewhere(&self) -> bool {
        ELSEWHERE.iter().any(|(page, first, _)| self.is(page, first))
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Paths of the pages, from the root of the repository.
fn pages() -> Vec<String> {
    let listed = std::fs::read_dir(root().join("docs")).unwrap();
    let names = listed.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let pages = names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}"));
    let mut pages: Vec<_> = pages.collect();
    pages.extend(["README.md".to_owned(), "SECURITY.md".to_owned()]);
    pages.sort_unstable();
    pages
}

/// The blocks of commands of a page, in order.
fn blocks(page: &str) -> Vec<Block> {
    let text = std::fs::read_to_string(root().join(page)).unwrap();
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    let mut inside = false;
    for (i, line) in text.lines().enumerate() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            inside = !inside;
            if inside {
                let is_commands = COMMANDS.contains(&language.split([' ', ',']).next().unwrap());
                let block = || Block { page: page.to_owned(), line: i + 1, code: String::new() };
                open = is_commands.then(block);
            } else {
                found.extend(open.take());
            }
        } else if let Some(block) = &mut open {
            block.code.push_str(line);
            block.code.push('\n');
        }
    }
    assert!(!inside, "{page} ends within a block");
    found
}

/// Runs blocks one after the other in one shell, beside a service with the family `demo`. Returns what they print.
async fn run(blocks: &[Block]) -> String {
    let database = empty_database().await;
    let service = Process::serve(&database, &[]).await;
    script(
        service.base(),
        "post() { curl -sS --fail-with-body -X POST -H 'Content-Type: application/json' \"$@\"; }
         post -d '{\"name\": \"demo\"}' $BASE/v1/families
         post --data-binary @examples/demo-runs.json $BASE/v1/families/demo/runs
         refit=$(post -o /dev/null -w '%header{location}' -d '{\"starts\": 4, \"bootstrap\": 100, \"holdout\": []}' \
            $BASE/v1/families/demo/refits)
         curl -sS $BASE$refit/events",
    );
    let directory = tempfile::tempdir().unwrap();
    let examples = directory.path().join("examples");
    std::fs::create_dir(&examples).unwrap();
    for entry in std::fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, examples.join(path.file_name().unwrap())).unwrap();
    }
    // A refused request fails its block, except within a pipe.
    let mut code = format!(
        "PATH={}:$PATH\ncurl() {{ command curl --fail-with-body \"$@\"; }}\n",
        Path::new(PROGRAM).parent().unwrap().display()
    );
    for block in blocks {
        code.push_str(&format!("echo '{}:{}' >&2\n", block.page, block.line));
        code.push_str(&block.code.replace("http://127.0.0.1:8080", service.base()));
    }
    let code = code.replace("cargo run --release -- ", "sparsity-planner ");
    let mut command = Command::new("sh");
    command.args(["-eu", "-c", &code]).current_dir(directory.path());
    command.env("BASE", service.base()).env("DATABASE_URL", &database).kill_on_drop(true);
    let output = tokio::time::timeout(LONGEST, command.output()).await;
    let output = output.expect("the blocks of a page end by themselves").unwrap();
    let (text, errors) = (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "the last block that is named failed\n{errors}\n{text}");
    text
}

#[tokio::test]
async fn the_commands_of_the_documentation_work_as_written() {
    let mut ran = BTreeSet::new();
    for page in pages() {
        let blocks: Vec<Block> =
            blocks(&page).into_iter().filter(|block| !block.is_elsewhere()).collect();
        if blocks.is_empty() {
            continue;
        }
        let text = run(&blocks).await;
        let printed = PRINTED.iter().find(|(of, _)| *of == page);
        for expected in printed.into_iter().flat_map(|(_, expected)| *expected) {
            assert!(text.contains(expected), "{page} does not print {expected}\n{text}");
        }
        ran.insert(page);
    }
    assert!(PRINTED.iter().all(|(page, _)| ran.contains(*page)), "{ran:?}");
}

#[test]
fn what_is_not_run_is_there_and_run_where_it_is_said() {
    let blocks: Vec<Block> = pages().iter().flat_map(|page| blocks(page)).collect();
    for (page, first, why) in ELSEWHERE {
        let count = blocks.iter().filter(|block| block.is(page, first)).count();
        assert_eq!(count, 1, "{page}: {first}");
        match why {
            RunBy(module, function) => {
                let tests = root().join(format!("tests/it/{module}.rs"));
                let tests = std::fs::read_to_string(tests).unwrap();
                assert!(tests.contains(&format!("fn {function}()")), "{module}::{function}");
            }
            Not(reason) => assert!(!reason.is_empty()),
        }
    }
}
