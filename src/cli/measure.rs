//! `measure`: counts the parameters and zeros of a checkpoint.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;
use sparsity_measure::{Along, Counts, Measurement, Progress, Scope};

use crate::cli::print::{print_json, print_line};

#[cfg(feature = "ask")]
mod send;

#[derive(Debug, Args)]
pub struct MeasureArgs {
    /// Safetensors file, index of several such files, or folder of a checkpoint.
    path: PathBuf,
    /// Which parameters count for the size and sparsity of the run.
    #[arg(long, value_enum, default_value = "without-embeddings")]
    count: Count,
    /// Also print a line for each tensor.
    #[arg(long)]
    per_tensor: bool,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
    /// Options for sending the run.
    #[cfg(feature = "ask")]
    #[command(flatten)]
    log: send::LogArgs,
}

/// Which parameters are counted.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Count {
    /// All parameters.
    All,
    /// All but embeddings and the output layer, which is how the papers count.
    WithoutEmbeddings,
    /// Only matrices and experts, which are what pruning applies to.
    Prunable,
}

impl Count {
    fn scope(self) -> Scope {
        match self {
            Self::All => Scope::All,
            Self::WithoutEmbeddings => Scope::WithoutEmbeddings,
            Self::Prunable => Scope::Prunable,
        }
    }
}

/// Measures a checkpoint, prints the result, and sends the run if requested.
pub async fn measure(args: MeasureArgs) -> anyhow::Result<()> {
    // Wrong options are reported before minutes are spent on measuring.
    #[cfg(feature = "ask")]
    let log = args.log.check()?;
    let path = args.path.clone();
    let measured = tokio::task::spawn_blocking(move || measured(&path)).await??;
    let fields = measured.run_fields(args.count.scope());
    #[cfg(feature = "ask")]
    let sent = match log {
        Some(log) => Some(log.send(&measured, fields.clone()).await?),
        None => None,
    };
    #[cfg(not(feature = "ask"))]
    let sent: Option<serde_json::Value> = None;
    if args.json {
        return print_json(&json!({"run": fields, "measurement": measured, "answer": sent}));
    }
    let mut text = String::new();
    if args.per_tensor {
        text.push_str(&per_tensor(&measured));
        text.push('\n');
    }
    text.push_str(&totals(&measured));
    let pattern = fields.pattern.as_deref().unwrap_or("none");
    let _ = write!(
        text,
        "\nnonzero_params {}\nsparsity       {}\npattern        {pattern}",
        fields.nonzero_params, fields.sparsity
    );
    print_line(&text)?;
    for warning in &measured.warnings {
        eprintln!("warning: {} ({})", warning.detail, warning.code.as_str());
    }
    if let Some(answer) = sent {
        print_line(format_args!("\nsent: {answer}"))?;
    }
    Ok(())
}

/// Measures a checkpoint, showing progress if standard error is a terminal.
fn measured(path: &std::path::Path) -> Result<Measurement, sparsity_measure::MeasureError> {
    let watched = std::io::stderr().is_terminal();
    let mut shown = None;
    let mut show = |Progress { done, of }: Progress| {
        let percent = if of == 0 { 100 } else { u128::from(done) * 100 / u128::from(of) };
        if watched && shown != Some(percent) {
            shown = Some(percent);
            // Failing to show progress does not matter.
            let _ = write!(std::io::stderr(), "\rmeasuring {percent} %");
        }
    };
    let measured = sparsity_measure::measure(path, &mut show);
    if shown.is_some() {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    measured
}

fn totals(measured: &Measurement) -> String {
    let mut text =
        format!("{:<20} {:>20} {:>20} {:>9}\n", "", "parameters", "non-zero", "sparsity");
    let mut line = |name: &str, counts: Counts| {
        if counts.total_params > 0 {
            let Counts { total_params, nonzero_params, sparsity } = counts;
            let _ = writeln!(
                text,
                "{name:<20} {total_params:>20} {nonzero_params:>20} {sparsity:>9.5}"
            );
        }
    };
    line("all", measured.all);
    line("without embeddings", measured.without_embeddings);
    line("prunable", measured.prunable);
    line("embeddings", measured.embeddings);
    line("output layer", measured.output_layer);
    if let Some(experts) = &measured.experts {
        line(&format!("{} experts a layer", experts.count), experts.counts);
    }
    for tally in measured.patterns.iter().take(5) {
        let along = match tally.along {
            Along::Inputs => "their inputs",
            Along::Other => "another axis",
        };
        let _ = writeln!(
            text,
            "{} holds along {along} in {} of {} prunable tensors",
            tally.pattern, tally.tensors, tally.of
        );
    }
    if !measured.left_out.is_empty() {
        let _ = writeln!(
            text,
            "{} tensors are not counted: buffers, scales, or tied to others (--json names them)",
            measured.left_out.len()
        );
    }
    text
}

fn per_tensor(measured: &Measurement) -> String {
    let mut text = String::new();
    for row in &measured.tensors {
        let shape: Vec<String> = row.shape.iter().map(u64::to_string).collect();
        let patterns: Vec<String> = row
            .patterns
            .iter()
            .map(|found| format!("{} along axis {}", found.pattern, found.axis))
            .collect();
        let Counts { total_params, nonzero_params, sparsity } = row.counts;
        let _ = writeln!(
            text,
            "{} {} [{}] {total_params} {nonzero_params} {sparsity:.5} {}",
            row.name,
            row.dtype,
            shape.join(","),
            patterns.join(", ")
        );
    }
    text
}
