//! The command line.

#![allow(clippy::print_stdout, reason = "commands answer on standard output")]

#[cfg(feature = "ask")]
pub mod ask;
mod caveats;
mod demo;
pub mod demo_runs;
mod fit;
mod import;
mod inputs;
mod keys;
#[cfg(feature = "measure")]
mod measure;
mod postgres;
mod print;
#[cfg(feature = "ask")]
pub mod remote;
pub mod table;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};

use crate::app::{self, Database, Service};
use crate::config::{DatabaseConfig, HttpConfig, PrivateConfig, RefitConfig};
use crate::domain::trust::TrustLevel;
use crate::intake::silence_caught_panics;
use crate::telemetry::causes::with_causes;
use crate::telemetry::traces::{Traces, TracesConfig};
use crate::telemetry::{self, LogConfig};

#[cfg(feature = "ask")]
use crate::cli::ask::Question;

/// Fits the sparsity scaling law to training runs, and answers with predicted loss and optimal sparsity.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(flatten)]
    log: LogConfig,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API and work on refits.
    Serve {
        #[command(flatten)]
        database: DatabaseConfig,
        #[command(flatten)]
        http: HttpConfig,
        #[command(flatten)]
        refits: RefitConfig,
        #[command(flatten)]
        traces: TracesConfig,
    },
    /// Work on refits only.
    Worker {
        #[command(flatten)]
        database: DatabaseConfig,
        #[command(flatten)]
        refits: RefitConfig,
        #[command(flatten)]
        traces: TracesConfig,
        /// Address that serves /healthz, /readyz and /metrics; none by default.
        #[arg(long, help_heading = "Requests and answers", env = "SPARSITY_PLANNER_HEALTH_BIND", value_parser = crate::config::address)]
        health_bind: Option<std::net::SocketAddr>,
    },
    /// Bring the database's schema up to date and exit.
    Migrate {
        #[command(flatten)]
        database: DatabaseConfig,
        /// Partition the table of runs into this many parts, by a hash of the family. Can be done once: it copies all
        /// runs, and nobody else can read or write them meanwhile.
        #[arg(long, value_parser = clap::value_parser!(u16).range(2..=1024))]
        partitions: Option<u16>,
        /// Distribute the tables over the nodes of a Citus coordinator, in the layout of docs/scaling.md. Needed once;
        /// an interrupted distribution can be continued by running it again.
        #[arg(long, conflicts_with = "partitions")]
        distribute: bool,
    },
    /// Print the OpenAPI document.
    Openapi,
    /// Print a completion script for a shell.
    Completions {
        /// Shell to complete for.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages.
    Man {
        /// Directory to write them to.
        directory: std::path::PathBuf,
    },
    /// Store the runs of CSV, NDJSON, JSON, Parquet, Arrow or Excel files in a family.
    Import(import::ImportArgs),
    /// Fit a law to files of runs and print it; needs no database. Exits with 0, with 2 if the runs do not determine the
    /// law, or with 1 if there is none.
    Fit(fit::FitArgs),
    /// Create a family of synthetic runs, fit it, ask a question, and then keep serving.
    Demo {
        #[command(flatten)]
        private: PrivateConfig,
        #[command(flatten)]
        http: HttpConfig,
        #[command(flatten)]
        refits: RefitConfig,
        #[command(flatten)]
        traces: TracesConfig,
        /// Only print the synthetic runs as JSON.
        #[arg(long)]
        print_runs: bool,
    },
    /// Ask a remote service a question. Exits with 0, with 2 if the answer is not to be trusted or beyond the given
    /// limits, or with 1 if there is no answer.
    #[cfg(feature = "ask")]
    Ask {
        #[command(subcommand)]
        question: Question,
    },
    /// Count the parameters, zeros and n:m patterns of a checkpoint, and optionally send it as a run.
    #[cfg(feature = "measure")]
    Measure(Box<measure::MeasureArgs>),
    /// Create, list and revoke API keys.
    Keys {
        #[command(subcommand)]
        command: keys::KeysCommand,
    },
    /// Run a command with DATABASE_URL set to the private PostgreSQL.
    Postgres {
        #[command(flatten)]
        private: PrivateConfig,
        /// Command to run, with its arguments.
        #[arg(required = true, trailing_var_arg = true)]
        command: Vec<std::ffi::OsString>,
    },
}

/// How long compute threads may take at the end of the program to notice that nobody waits for them.
const LAST_WORK: Duration = Duration::from_millis(200);

/// How long a stopping worker may take to send its traces.
const WORKER_DRAIN: Duration = Duration::from_secs(5);

/// Exit code of `ask` and `fit` if the answer or the law is not to be trusted, and of `ask` if the answer is beyond the
/// given limits.
const DOUBTFUL: u8 = 2;

/// Parses the command line and runs the command. Returns the exit code: 0 for success, 1 for an error, 2 if the answer
/// of `ask` or the law of `fit` is not to be trusted, or the answer is beyond the given limits.
///
/// Not an `async` function, so that the future of the whole service is compiled here, and not once more in the program.
pub fn main() -> ExitCode {
    silence_caught_panics();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(parsed());
            // Nobody waits for computations that are still running, and waiting for them could take for ever.
            runtime.shutdown_timeout(LAST_WORK);
            code
        }
        Err(error) => {
            eprintln!("error: no threads to work on: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn parsed() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // If the message cannot be printed, there is nobody to tell.
            let _ = error.print();
            // Not clap's 2, which has another meaning for `ask`.
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let result = match telemetry::init(&cli.log) {
        Ok(_logs) => run(cli.command).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve { database, http, refits, traces } => {
            let traces = Traces::start(&traces)?;
            let database = Database::open(&database).await?;
            let service = Service::start(&database, &http, &refits, &traces).await?;
            service.run_until_stopped().await?;
            traces.close(http.drain()).await;
            database.close().await?;
        }
        Command::Worker { database, refits, traces, health_bind } => {
            let traces = Traces::start(&traces)?;
            let database = Database::open(&database).await?;
            app::run_worker(&database, &refits, &traces, health_bind).await?;
            traces.close(WORKER_DRAIN).await;
            database.close().await?;
        }
        Command::Migrate { database, partitions, distribute } => {
            let database = Database::open(&database).await?;
            let done = match partitions {
                Some(parts) => database.partition(parts).await,
                None if distribute => database.distribute().await,
                None => Ok(()),
            };
            database.close().await?;
            done?;
        }
        Command::Completions { shell } => {
            let mut command = Cli::command();
            let name = command.get_name().to_owned();
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, name, &mut script);
            print::print_line(String::from_utf8(script)?.trim_end())?;
        }
        Command::Man { directory } => {
            clap_mangen::generate_to(Cli::command(), &directory)
                .with_context(|| format!("writing to {}", directory.display()))?;
        }
        Command::Openapi => {
            print::print_line(crate::api::document::openapi().to_pretty_json()?)?;
        }
        Command::Keys { command } => keys::manage_keys(command).await?,
        Command::Import(args) => import::import(args).await?,
        Command::Fit(args) => {
            let trust = fit::fit_file(&args)?;
            if trust.level == TrustLevel::None {
                let because: Vec<&str> = trust.because.iter().map(|code| code.as_str()).collect();
                eprintln!("the law is not to be trusted: {}", because.join(", "));
                return Ok(ExitCode::from(DOUBTFUL));
            }
        }
        Command::Demo { print_runs: true, .. } => print::print_json(&demo_runs::runs())?,
        Command::Demo { private, http, refits, traces, .. } => {
            demo::run_demo(private, &http, &refits, &traces).await?;
        }
        #[cfg(feature = "ask")]
        Command::Ask { question } => {
            let answered = ask::ask(&question).await?;
            print::print_line(&answered.text)?;
            for doubt in &answered.doubts {
                eprintln!("not to be relied on: {doubt}");
            }
            return Ok(if answered.doubts.is_empty() {
                ExitCode::SUCCESS
            } else {
                DOUBTFUL.into()
            });
        }
        #[cfg(feature = "measure")]
        Command::Measure(args) => measure::measure(*args).await?,
        Command::Postgres { private, command } => {
            return postgres::with_postgres(&private, &command).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;
    use std::path::Path;

    use super::*;

    /// The settings of these commands as a page: grouped by heading, in the order of the help, each setting once.
    fn settings() -> String {
        let mut page = String::from(
            "# Settings\n\n\
             Each is an option of `sparsity-planner serve`, of `worker` or of both, and a variable of the environment; \
             the option\ncounts where both are given. Sizes take `K`, `M`, `G` and `T` for powers of 1024. A test keeps \
             this page equal to\n`sparsity-planner serve --help`.\n",
        );
        let mut command = Cli::command();
        command.build();
        let commands = ["serve", "worker"].map(|name| command.find_subcommand(name).unwrap());
        let args = || commands.iter().flat_map(|command| command.get_arguments());
        let mut headings = Vec::new();
        for heading in args().filter_map(clap::Arg::get_help_heading) {
            if !headings.contains(&heading) {
                headings.push(heading);
            }
        }
        let mut seen = BTreeSet::new();
        for heading in headings {
            write!(page, "\n## {heading}\n\n| setting | variable | default | what it does |\n|---|---|---|---|\n")
                .unwrap();
            for arg in args().filter(|arg| arg.get_help_heading() == Some(heading)) {
                let (Some(long), Some(variable)) = (arg.get_long(), arg.get_env()) else {
                    panic!("{arg} has no long name or no variable");
                };
                if !seen.insert(long) {
                    continue;
                }
                let default: Vec<_> =
                    arg.get_default_values().iter().map(|value| value.to_str().unwrap()).collect();
                let default = if default.is_empty() {
                    String::new()
                } else {
                    format!("`{}`", default.join(","))
                };
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                let help =
                    help.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
                let variable = variable.to_str().unwrap();
                writeln!(page, "| `--{long}` | `{variable}` | {default} | {help} |").unwrap();
            }
        }
        page
    }

    /// With `UPDATE_SETTINGS=1` the test rewrites the page.
    #[test]
    fn the_page_of_settings_is_what_the_help_says() {
        // Builds without these features have fewer settings.
        if cfg!(not(all(feature = "oidc", feature = "otlp"))) {
            return;
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md");
        if std::env::var_os("UPDATE_SETTINGS").is_some() {
            std::fs::write(&path, settings()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), settings());
    }
}
