//! The command line.

#![allow(clippy::print_stdout, reason = "commands answer on standard output")]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use chrono::TimeDelta;
use clap::{CommandFactory, Parser, Subcommand};
use futures_util::stream;
use rayon::ThreadPoolBuilder;
use serde_json::{Value, json};
use sparsity_planner::access::{Families, KeyText, Scope};
use sparsity_planner::api::Caller;
use sparsity_planner::app::{self, Database, Service};
#[cfg(feature = "ask")]
use sparsity_planner::ask::{self, Question};
use sparsity_planner::clock::Clock;
use sparsity_planner::config::{DatabaseConfig, HttpConfig, PrivateConfig, RefitConfig};
use sparsity_planner::fit::{Constraint, Control, FitConfig, Residual, fit};
use sparsity_planner::grouping::GroupedRuns;
use sparsity_planner::ingest::keep_first;
use sparsity_planner::law::CoefficientName;
use sparsity_planner::postgres::PrivatePostgres;
use sparsity_planner::store::PageRequest;
use sparsity_planner::store::families::{self, Family, FamilySettings};
use sparsity_planner::store::keys::{self, ApiKey};
use sparsity_planner::store::staging;
use sparsity_planner::table::TableConfig;
use sparsity_planner::telemetry::{self, LogConfig};
use sparsity_planner::text::{FamilyName, check_label};
use sparsity_planner::traces::{Traces, TracesConfig};
use sparsity_planner::{api, demo, law};
use tower::ServiceExt;
use uuid::Uuid;

/// Fits the sparsity scaling law to training runs, and answers with predicted loss and optimal
/// sparsity.
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
        /// Address for /healthz, /readyz and /metrics; none unless said.
        #[arg(long, env = "SPARSITY_PLANNER_HEALTH_BIND")]
        health_bind: Option<std::net::SocketAddr>,
    },
    /// Bring the database's schema up to date and end.
    Migrate {
        #[command(flatten)]
        database: DatabaseConfig,
    },
    /// Print the OpenAPI document.
    Openapi,
    /// Print what completes this program's commands in a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages.
    Man {
        /// Directory to write them to.
        directory: std::path::PathBuf,
    },
    /// Store the runs of a CSV, NDJSON, JSON or Parquet file in a family.
    Import(ImportArgs),
    /// Fit a law to a file of runs and print it; needs no database.
    Fit(FitArgs),
    /// Start with a family of synthetic runs, fit it, ask a question and go on serving.
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
    /// Ask a service elsewhere; ends with 0, with 2 if the answer is beyond the limits given, with 1 if
    /// there is none.
    #[cfg(feature = "ask")]
    Ask {
        #[command(subcommand)]
        question: Question,
    },
    /// Create, list and revoke API keys.
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Run a command with DATABASE_URL set to the private PostgreSQL.
    Postgres {
        #[command(flatten)]
        private: PrivateConfig,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true)]
        command: Vec<std::ffi::OsString>,
    },
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Create a key and print it, this once. Once there is one, the service asks for a key.
    Create {
        /// For people: whose key it is.
        #[arg(long)]
        name: String,
        /// What it may do: read, write (and read) or admin (and both).
        #[arg(long, value_parser = scope)]
        scope: Scope,
        /// A family that it may touch; may be given several times. All unless given.
        #[arg(long = "family", value_name = "FAMILY")]
        families: Vec<String>,
        /// Days after which it is refused; never unless given.
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        expires_in_days: Option<u16>,
        #[command(flatten)]
        database: DatabaseConfig,
    },
    /// Print all keys, without their secrets.
    List {
        #[command(flatten)]
        database: DatabaseConfig,
    },
    /// Revoke a key: every replica refuses it at once.
    Revoke {
        /// Its id; `keys list` prints it.
        id: Uuid,
        #[command(flatten)]
        database: DatabaseConfig,
    },
}

fn scope(name: &str) -> Result<Scope, String> {
    Scope::parse(name).ok_or_else(|| "must be read, write or admin".to_owned())
}

#[derive(Debug, clap::Args)]
struct ImportArgs {
    /// The family that the runs belong to.
    #[arg(long)]
    family: String,
    /// Create the family if it does not exist, counting data in this unit.
    #[arg(long, value_name = "DATA_UNIT")]
    create: Option<String>,
    /// Store the rows that are right even if others are wrong.
    #[arg(long)]
    skip_errors: bool,
    #[command(flatten)]
    table: TableConfig,
    #[command(flatten)]
    database: DatabaseConfig,
}

#[derive(Debug, clap::Args)]
struct FitArgs {
    #[command(flatten)]
    table: TableConfig,
    /// Compare absolute losses rather than their logarithms.
    #[arg(long)]
    linear: bool,
    /// Where the Huber loss turns from quadratic to linear, in units of the residual.
    #[arg(long, default_value_t = FitConfig::default().delta)]
    delta: f64,
    /// Number of random starts.
    #[arg(long, default_value_t = FitConfig::DEFAULT_STARTS)]
    starts: u32,
    /// Seed of starts and resamples.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Bootstrap resamples, from which the intervals follow; 0 for none.
    #[arg(long, default_value_t = FitConfig::DEFAULT_BOOTSTRAP)]
    bootstrap: u32,
    /// Nominal coverage of the intervals.
    #[arg(long, default_value_t = FitConfig::DEFAULT_CONFIDENCE)]
    confidence: f64,
    /// Hold a coefficient: --fix c=0.65 pins the irreducible loss.
    #[arg(long = "fix", value_name = "COEFFICIENT=VALUE", value_parser = fixed)]
    fixed: Vec<(CoefficientName, f64)>,
    /// Keep the gain's slope at sparsity 0 at most 1.
    #[arg(long)]
    physical: bool,
    /// Threads that fit; all cores unless said otherwise.
    #[arg(long)]
    threads: Option<usize>,
}

fn fixed(text: &str) -> Result<(CoefficientName, f64), String> {
    let (name, value) = text.split_once('=').ok_or("must be COEFFICIENT=VALUE")?;
    let found = CoefficientName::ALL.into_iter().find(|known| known.as_str() == name);
    let name = found.ok_or("must name one of a_s, b_s, c_s, b_n, a_d, b_d and c")?;
    Ok((name, value.parse().map_err(|_| format!("must be a number, not {value}"))?))
}

/// A question with intervals takes and returns vectors of a thousand numbers, beside dozens of small
/// pieces.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long a worker that stops may take to send its traces.
const WORKER_DRAIN: Duration = Duration::from_secs(5);

/// How `ask` ends where its answer is beyond the limits given.
#[cfg(feature = "ask")]
const DOUBTFUL: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be done where there is nobody to tell.
            let _ = error.print();
            // Not clap's 2, which `ask` has another meaning for.
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
            eprintln!("error: {error:#}");
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
        Command::Migrate { database } => Database::open(&database).await?.close().await?,
        Command::Completions { shell } => {
            let mut command = Cli::command();
            let name = command.get_name().to_owned();
            clap_complete::generate(shell, &mut command, name, &mut std::io::stdout());
        }
        Command::Man { directory } => {
            clap_mangen::generate_to(Cli::command(), &directory)
                .with_context(|| format!("writing to {}", directory.display()))?;
        }
        Command::Openapi => println!("{}", api::openapi().to_pretty_json()?),
        Command::Keys { command } => manage_keys(command).await?,
        Command::Import(args) => import(args).await?,
        Command::Fit(args) => fit_file(&args)?,
        Command::Demo { print_runs: true, .. } => print_json(&demo::runs())?,
        Command::Demo { private, http, refits, traces, .. } => {
            run_demo(private, &http, &refits, &traces).await?;
        }
        #[cfg(feature = "ask")]
        Command::Ask { question } => {
            let answered = ask::ask(&question).await?;
            println!("{}", answered.text);
            for doubt in &answered.doubts {
                eprintln!("not to be relied on: {doubt}");
            }
            return Ok(if answered.doubts.is_empty() {
                ExitCode::SUCCESS
            } else {
                DOUBTFUL.into()
            });
        }
        Command::Postgres { private, command } => return with_postgres(&private, &command).await,
    }
    Ok(ExitCode::SUCCESS)
}

fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

async fn manage_keys(command: KeysCommand) -> anyhow::Result<()> {
    match command {
        KeysCommand::Create { name, scope, families, expires_in_days, database } => {
            check_label(&name).context("the name")?;
            let families = match families.as_slice() {
                [] => Families::All,
                names => {
                    let names = names.iter().map(|name| FamilyName::new(name));
                    Families::Only(names.collect::<Result<_, _>>().context("the name of a family")?)
                }
            };
            let database = Database::open(&database).await?;
            let clock = Clock::system();
            let created_at = clock.now();
            let key = ApiKey {
                id: clock.new_id(),
                name,
                scope,
                families,
                created_by: "cli".to_owned(),
                created_at,
                expires_at: expires_in_days.map(|days| created_at + TimeDelta::days(days.into())),
                revoked_at: None,
                last_used_at: None,
            };
            let text = KeyText::random(key.id)?;
            keys::insert_key(&database.pool, &key, &text.hash()).await?;
            database.close().await?;
            eprintln!("created the key {}:", key.id);
            // Alone on standard output, for scripts.
            println!("{}", text.reveal());
        }
        KeysCommand::List { database } => {
            let database = Database::open(&database).await?;
            let mut listed = Vec::new();
            let mut after = None;
            loop {
                let page =
                    keys::list_keys(&database.pool, PageRequest { limit: 1000, after }).await?;
                listed.extend(page.items.iter().map(|key| {
                    json!({
                        "id": key.id,
                        "name": key.name,
                        "scope": key.scope.as_str(),
                        "families": key.families.names(),
                        "created_by": key.created_by,
                        "created_at": key.created_at,
                        "expires_at": key.expires_at,
                        "revoked_at": key.revoked_at,
                        "last_used_at": key.last_used_at,
                    })
                }));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            database.close().await?;
            print_json(&listed)?;
        }
        KeysCommand::Revoke { id, database } => {
            let database = Database::open(&database).await?;
            let revoked =
                keys::update_key_revoked(&database.pool, id, Clock::system().now()).await?;
            database.close().await?;
            let key = revoked.with_context(|| format!("there is no key {id}"))?;
            eprintln!("the key {id} ({}) is revoked", key.name);
        }
    }
    Ok(())
}

async fn import(args: ImportArgs) -> anyhow::Result<()> {
    let name = FamilyName::new(&args.family).context("the name of a family")?;
    let (file, reading) = args.table.open(args.skip_errors)?;
    let named = reading.limits.named_errors;
    let database = Database::open(&args.database).await?;
    let clock = Clock::system();
    let mut transaction = database.pool.begin().await?;
    let family = match (families::find_family(&mut *transaction, &name).await?, args.create) {
        (Some(family), _) => family,
        (None, Some(data_unit)) => {
            let family = new_family(&clock, name, data_unit)?;
            families::insert_family(&mut *transaction, &family).await?;
            family
        }
        (None, None) => bail!("there is no family {name}; --create DATA_UNIT creates it"),
    };
    let (batches, mut read) = tokio::sync::mpsc::channel(2);
    let reader = tokio::task::spawn_blocking(move || {
        reading.run(file, &mut |batch| batches.blocking_send(batch).is_ok())
    });
    let batches = stream::poll_fn(move |context| read.poll_recv(context));
    let staged = staging::stage_runs(&mut transaction, &clock, batches).await?;
    let mut errors = reader.await??.errors;
    let (repeated, count) = staging::delete_repeated_rows(&mut transaction, named).await?;
    errors.add_repeated(named, &repeated, count);
    if !args.skip_errors {
        args.table.refuse_errors(&errors)?;
    }
    let merged =
        staging::merge_staged_runs(&mut transaction, &clock, family.id, staged - count).await?;
    transaction.commit().await?;
    database.close().await?;
    print_json(&json!({
        "family": args.family,
        "created": merged.created,
        "updated": merged.updated,
        "unchanged": merged.unchanged,
        "errors": errors.total,
        "rejected": errors.named.iter().map(ToString::to_string).collect::<Vec<_>>(),
    }))
}

fn new_family(clock: &Clock, name: FamilyName, data_unit: String) -> anyhow::Result<Family> {
    check_label(&data_unit).context("the data unit")?;
    let default = FitConfig::default();
    let now = clock.now();
    Ok(Family {
        id: clock.new_id(),
        name,
        settings: FamilySettings {
            description: String::new(),
            tokens_per_data_unit: (data_unit == "tokens").then_some(1.0),
            data_unit,
            flops_per_param: law::FlopsPerParam::TRAINING,
            pruning: law::PruningSchedule::default(),
            residual: default.residual,
            delta: default.delta,
        },
        pinned_law_id: None,
        created_at: now,
        updated_at: now,
    })
}

fn fit_file(args: &FitArgs) -> anyhow::Result<()> {
    let (file, reading) = args.table.open(false)?;
    let mut runs = Vec::new();
    let mut errors = reading
        .run(file, &mut |batch| {
            runs.extend(batch);
            true
        })?
        .errors;
    let runs = keep_first(runs, reading.limits.named_errors, &mut errors);
    args.table.refuse_errors(&errors)?;
    let config = FitConfig {
        residual: if args.linear { Residual::Linear } else { Residual::Log },
        delta: args.delta,
        starts: args.starts,
        seed: args.seed,
        bootstrap: args.bootstrap,
        confidence: args.confidence,
        fixed: args.fixed.iter().copied().collect(),
        constraint: args.physical.then_some(Constraint::Physical),
        ..FitConfig::default()
    };
    let config = config.check().map_err(|errors| {
        let errors: Vec<String> =
            errors.iter().map(|error| format!("{} {error}", error.field())).collect();
        anyhow::anyhow!("options of the fit: {}", errors.join("; "))
    })?;
    // A file has no ids; nothing is stored.
    let runs = runs.into_iter().filter(|run| run.exclusion_reason.is_none());
    let runs = runs.map(|run| (uuid::Uuid::nil(), run));
    let grouped = GroupedRuns::new(runs, &[]);
    let threads = ThreadPoolBuilder::new().num_threads(args.threads.unwrap_or(0)).build()?;
    let report = threads.install(|| fit(&grouped.set, &config, &Control::NONE))?;
    let coefficients = |law: &law::Coefficients| -> serde_json::Map<String, Value> {
        let values = law::CoefficientName::ALL.into_iter().zip(law.values().to_array());
        values
            .map(|(name, value)| {
                let value = if law.has(name) { json!(value) } else { Value::Null };
                (name.as_str().to_owned(), value)
            })
            .collect()
    };
    let intervals = report.ensemble.as_ref().map(law::Ensemble::coefficient_intervals);
    print_json(&json!({
        "coefficients": coefficients(&report.coefficients),
        "intervals": intervals,
        "objective": report.objective,
        "runs": report.runs,
        "failed_resamples": report.failed_resamples,
        "warnings": report.warnings,
        "diagnostics": report.diagnostics,
        "patterns": report.patterns,
        "pretrained": report.pretrained,
        "options": config.get(),
        "data_digest": report.data_digest,
    }))
}

/// Runs a command beside the private PostgreSQL, and ends as it ends.
async fn with_postgres(
    private: &PrivateConfig,
    command: &[std::ffi::OsString],
) -> anyhow::Result<ExitCode> {
    let postgres =
        PrivatePostgres::start(private.data_dir.as_deref(), private.pg_bin.as_deref()).await?;
    let (program, arguments) = command.split_first().context("no command")?;
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env("DATABASE_URL", postgres.url())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("running {}", program.to_string_lossy()))?;
    let code = tokio::select! {
        status = child.wait() => status?.code().and_then(|code| u8::try_from(code).ok()),
        () = app::stop_signal() => None,
    };
    drop(child);
    postgres.stop().await?;
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The question that the demo asks.
const QUESTION: &str = "nonzero_params=1e8&compute=1e20&flop_mode=sparse";

async fn run_demo(
    private: PrivateConfig,
    http: &HttpConfig,
    refits: &RefitConfig,
    traces: &TracesConfig,
) -> anyhow::Result<()> {
    let traces = Traces::start(traces)?;
    // Always private: synthetic runs have no place in a database that others use.
    let database = Database::open(&DatabaseConfig {
        database_url: None,
        private,
        database_connections: 10,
        database_timeout_ms: 5_000,
    })
    .await?;
    let service = Service::start(&database, http, refits, &traces).await?;
    let shown = show_demo(&service).await;
    if shown.is_ok() {
        println!("The dashboard: http://{}/?family={}", service.address, demo::FAMILY);
        println!("Serving until Ctrl-C. The API's documentation: http://{}/docs/", service.address);
        service.run_until_stopped().await?;
    } else {
        service.stop().await?;
    }
    traces.close(http.drain()).await;
    database.close().await?;
    shown
}

async fn show_demo(service: &Service) -> anyhow::Result<()> {
    let base = format!("http://{}/v1/families", service.address);
    let family = format!("/v1/families/{}", demo::FAMILY);
    let (status, _) = call(service, Method::GET, &family, None).await?;
    if status == StatusCode::NOT_FOUND {
        let body = json!({"name": demo::FAMILY, "description": demo::DESCRIPTION});
        expect(service, Method::POST, "/v1/families", Some(body)).await?;
    }
    let runs = serde_json::to_value(demo::runs())?;
    let stored = expect(service, Method::POST, &format!("{family}/runs"), Some(runs)).await?;
    println!("Family `demo`: {}.", demo::DESCRIPTION);
    println!("Runs: {stored}");

    let mut refit = expect(service, Method::POST, &format!("{family}/refits"), None).await?;
    let refit_path = format!("/v1/refits/{}", refit["id"].as_str().unwrap_or_default());
    while refit["finished_at"].is_null() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        refit = expect(service, Method::GET, &refit_path, None).await?;
    }
    if refit["state"] != "succeeded" {
        bail!("the refit did not succeed: {refit}");
    }
    let law_path = format!("{family}/laws/{}", refit["law"]["version"]);
    let law = expect(service, Method::GET, &law_path, None).await?;
    println!(
        "Law {}: objective {} over {} runs, coefficients {}",
        law["version"], law["objective"], law["runs"], law["coefficients"]
    );

    let question = format!("{family}/optimal-sparsity?{QUESTION}");
    let answer = expect(service, Method::GET, &question, None).await?;
    println!("\nHow sparse should 100 M non-zero parameters be, trained with 1e20 FLOPs?");
    println!("  curl '{base}/{}/optimal-sparsity?{QUESTION}'", demo::FAMILY);
    println!("{answer:#}\n");
    Ok(())
}

/// Sends a request through the service's own router.
async fn call(
    service: &Service,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> anyhow::Result<(StatusCode, Value)> {
    // The service's own questions need no key, also where the database has some.
    let request = Request::builder().method(method).uri(path).extension(Caller::Service);
    let request = match body {
        Some(body) => request
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(serde_json::to_vec(&body)?))?,
        None => request.body(Body::empty())?,
    };
    let response = service.router.clone().oneshot(request).await?;
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await?;
    Ok((status, serde_json::from_slice(&bytes)?))
}

async fn expect(
    service: &Service,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> anyhow::Result<Value> {
    let (status, answer) = call(service, method.clone(), path, body).await?;
    if !status.is_success() {
        bail!("{method} {path} was answered with {answer}");
    }
    Ok(answer)
}
