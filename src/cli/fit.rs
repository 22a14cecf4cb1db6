//! `fit`: fits a law to files of runs, without a database.

use std::collections::BTreeSet;

use rayon::ThreadPoolBuilder;
use serde_json::{Value, json};
use sparsity_law::fit::{
    Constraint, Control, Delta, FitConfig, FormReport, FormTask, Residual, fit_form,
};
use sparsity_law::law::{
    self, CoefficientName, FormCoefficient, LawForm, PruningSchedule, SampledForm,
};

use crate::cli::print::print_json;
use crate::cli::table::TableConfig;
use crate::domain::grouping::GroupedRuns;
use crate::domain::law::{StoredWarning, determines_budgets};
use crate::domain::mapping::MappingSettings;
use crate::domain::refit::{LevelsBy, RefitOptions};
use crate::domain::trust::{Trust, TrustCode, TrustLevel};
use crate::intake::keep_first;

#[derive(Debug, clap::Args)]
pub struct FitArgs {
    #[command(flatten)]
    table: TableConfig,
    /// Compare losses themselves instead of their logarithms.
    #[arg(long)]
    linear: bool,
    /// Where the Huber loss turns from quadratic to linear, in units of the residual; auto for 1.345 robust standard
    /// deviations of the residuals.
    #[arg(long, default_value = "auto", value_parser = delta)]
    delta: Delta,
    /// Number of random starts.
    #[arg(long, default_value_t = FitConfig::DEFAULT_STARTS)]
    starts: u32,
    /// Seed of the random starts and resamples.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Number of bootstrap resamples, from which the intervals are computed; 0 for none.
    #[arg(long, default_value_t = FitConfig::DEFAULT_BOOTSTRAP)]
    bootstrap: u32,
    /// Nominal coverage of the intervals.
    #[arg(long, default_value_t = FitConfig::DEFAULT_CONFIDENCE)]
    confidence: f64,
    /// Hold a coefficient fixed: --fix c=0.65 fixes the irreducible loss.
    #[arg(long = "fix", value_name = "COEFFICIENT=VALUE", value_parser = fixed)]
    fixed: Vec<(CoefficientName, f64)>,
    /// Require that the gain's slope at sparsity 0 is at most 1.
    #[arg(long)]
    physical: bool,
    /// Key of a tag (--tag-column) whose values say which runs are resampled together, such as those of one training,
    /// sweep or team.
    #[arg(long, value_name = "TAG")]
    cluster: Option<String>,
    /// Form of the law, that is, how it models sparsity: sparse, dense, levels, average_params or experts.
    #[arg(long, default_value = "sparse", value_parser = form)]
    form: LawForm,
    /// What tells runs of the same sparsity apart, for the form levels: pattern, or tag: followed by the key of a tag
    /// (--tag-column).
    #[arg(long, value_name = "WHAT", value_parser = levels)]
    levels: Option<LevelsBy>,
    /// Number of threads that fit; by default all cores.
    #[arg(long)]
    threads: Option<usize>,
}

fn delta(text: &str) -> Result<Delta, String> {
    if text == "auto" {
        return Ok(Delta::Auto);
    }
    text.parse().map(Delta::Fixed).map_err(|_| "must be auto or a number".to_owned())
}

fn form(text: &str) -> Result<LawForm, String> {
    LawForm::of_name(text).ok_or_else(|| {
        let names: Vec<&str> = LawForm::ALL.into_iter().map(LawForm::as_str).collect();
        format!("must be one of {}", names.join(", "))
    })
}

fn levels(text: &str) -> Result<LevelsBy, String> {
    LevelsBy::try_from(text.to_owned())
}

fn fixed(text: &str) -> Result<(CoefficientName, f64), String> {
    let (name, value) = text.split_once('=').ok_or("must be COEFFICIENT=VALUE")?;
    let found = CoefficientName::of_name(name);
    let name = found.ok_or("must name one of a_s, b_s, c_s, b_n, a_d, b_d and c")?;
    Ok((name, value.parse().map_err(|_| format!("must be a number, not {value}"))?))
}

/// A form's coefficients that are not among the usual seven, each with its interval.
fn own_coefficients(law: &SampledForm) -> Vec<Value> {
    let intervals = law.coefficient_intervals();
    let coefficients = law.law().named().into_iter().enumerate();
    coefficients
        .filter(|(_, coefficient)| law.law().has(coefficient))
        .map(|(place, FormCoefficient { name, sparsity, level, value })| {
            let interval = intervals.as_ref().map(|intervals| intervals[place]);
            let mut shown = json!({"name": name, "value": value, "interval": interval});
            if let Some(sparsity) = sparsity {
                shown["sparsity"] = json!(sparsity);
            }
            if let Some(level) = level {
                shown["level"] = json!(level);
            }
            shown
        })
        .collect()
}

pub fn fit_file(args: &FitArgs) -> anyhow::Result<Trust> {
    let inputs = args.table.inputs()?;
    let reading = args.table.reading(false, true, MappingSettings::default())?;
    let mut runs = Vec::new();
    let read = reading.run_parts(inputs.parts(), &mut |batch| {
        runs.extend(batch);
        true
    })?;
    for (reason, rows) in &read.left_out {
        eprintln!("left out: {rows} rows ({reason})");
    }
    for warning in &read.warnings {
        eprintln!("warning: {}", warning.detail);
    }
    let mut errors = read.errors;
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
    // Runs of a file have no ids, and need none, as nothing is stored.
    let runs = runs.into_iter().map(|run| run.run).filter(|run| run.exclusion_reason.is_none());
    let runs: Vec<_> = runs.map(|run| (uuid::Uuid::nil(), run)).collect();
    let cluster = args.cluster.as_deref();
    if let Some(tag) = cluster
        && !runs.iter().any(|(_, run)| run.tags.contains_key(tag))
    {
        let tags: BTreeSet<&str> =
            runs.iter().flat_map(|(_, run)| run.tags.keys()).map(String::as_str).collect();
        let tags: Vec<&str> = tags.into_iter().collect();
        let there = if tags.is_empty() { "they have none".to_owned() } else { tags.join(", ") };
        anyhow::bail!(
            "--cluster names a tag of the runs, and none has {tag:?}: {there} (--tag-column)"
        );
    }
    anyhow::ensure!(
        args.levels.is_none() || args.form == LawForm::Levels,
        "--levels is for --form levels"
    );
    let options = RefitOptions {
        cluster: args.cluster.clone(),
        form: Some(args.form),
        levels: args.levels.clone(),
        ..RefitOptions::default()
    };
    let grouped = GroupedRuns::new(runs, &options);
    let threads = ThreadPoolBuilder::new().num_threads(args.threads.unwrap_or(0)).build()?;
    let task = match args.form {
        LawForm::Sparse => FormTask::Sparse,
        LawForm::Dense => FormTask::Dense,
        LawForm::Levels => FormTask::Levels,
        LawForm::AverageParams => {
            // A file does not say how its runs were pruned.
            FormTask::AverageParams { mean_share: PruningSchedule::default().mean_share() }
        }
        LawForm::Experts => FormTask::Experts,
    };
    let FormReport { report, repeated } =
        threads.install(|| fit_form(&grouped.set, &task, &config, &Control::NONE))?;
    let identification = report.diagnostics.identification.as_ref();
    let coefficients = |law: &law::Coefficients| -> serde_json::Map<String, Value> {
        let values = law::CoefficientName::ALL.into_iter().zip(law.values().to_array());
        values
            .map(|(name, value)| {
                let known = identification.is_none_or(|known| known.determines(name));
                let value = if law.has(name) && known { json!(value) } else { Value::Null };
                (name.as_str().to_owned(), value)
            })
            .collect()
    };
    let intervals = report.ensemble.as_ref().map(law::Ensemble::coefficient_intervals);
    let own = report
        .own
        .clone()
        .map(|law| SampledForm::new(law, report.ensemble.clone(), None, |loss, _| loss));
    let own = own.as_ref().map(own_coefficients);
    let warnings: Vec<StoredWarning> = (report.warnings.iter().map(StoredWarning::from))
        .chain(GroupedRuns::untagged_warning(grouped.untagged, cluster))
        .chain(GroupedRuns::small_levels_warning(&grouped.small_levels))
        .collect();
    let mut trust = Trust::of_warnings(&warnings);
    let answers = if args.form == LawForm::Dense {
        let known = report.coefficients.determines();
        known.nonzero_params && known.data
    } else {
        determines_budgets(&report.coefficients, report.own.as_ref(), identification)
    };
    if !answers {
        trust.doubt(TrustLevel::None, TrustCode::NotIdentified);
    }
    let because: Vec<&str> = trust.because.iter().map(|code| code.as_str()).collect();
    print_json(&json!({
        "form": args.form,
        "own_coefficients": own,
        "coefficients": coefficients(&report.coefficients),
        "intervals": intervals,
        "objective": report.objective,
        "runs": report.runs,
        "failed_resamples": report.failed_resamples,
        "warnings": warnings,
        "trust": {"level": trust.level.as_str(), "because": because},
        "diagnostics": report.diagnostics,
        "repeated_data": repeated,
        "patterns": report.patterns,
        "pretrained": report.pretrained,
        "options": config.get(),
        "data_digest": report.data_digest,
    }))?;
    Ok(trust)
}
