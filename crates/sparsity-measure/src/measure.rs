//! Measures a checkpoint: one pass over the weights, then sums and warnings.

use std::collections::BTreeSet;
use std::path::Path;

use crate::config::ModelConfig;
use crate::count::nonzero;
use crate::error::MeasureError;
use crate::files::{self, Checkpoint};
use crate::groups::{Groups, SIZES};
use crate::measurement::{
    Along, Counts, Experts, Group, LeftOutReason, Measurement, PatternTally, TensorPattern,
    TensorRow, Warning, WarningCode,
};
use crate::names::{Layout, Role, expert_of};
use crate::weights::{Weight, Weights, dtype_name, weights};

/// Smallest share of the non-zeros that a pattern allows that must be there for the pattern to be reported.
///
/// In groups of 32 elements of which half are zero by chance there are hardly ever more than 29 non-zeros, so
/// 29:32 holds without meaning anything. Patterns that a model was trained with are filled up except for a few
/// zeros.
const FILLED: f64 = 0.75;

/// Progress of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Number of bytes counted.
    pub done: u64,
    /// Number of bytes to count in all.
    pub of: u64,
}

/// Measures a checkpoint: a safetensors file, an index of several files, or a folder with either.
///
/// `config.json` beside the weights says which embeddings are tied and how many experts there are; without it,
/// only what the weights show is known. `progress` is called after every block of elements, thousands of times per
/// gigabyte.
///
/// # Errors
/// [`MeasureError`] where a file cannot be read, or where its zeros are not the zeros of the model.
///
/// # Examples
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let header = br#"{"proj.weight":{"dtype":"F32","shape":[1,4],"data_offsets":[0,16]}}"#;
/// let mut file = (header.len() as u64).to_le_bytes().to_vec();
/// file.extend(header);
/// file.extend([1.0_f32, 2.0, 0.0, -0.0].iter().flat_map(|x| x.to_le_bytes()));
/// let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("model.safetensors"), file)?;
///
/// let measured = sparsity_measure::measure(folder.path(), &mut |_| {})?;
/// assert_eq!((measured.all.nonzero_params, measured.all.sparsity), (2, 0.5));
/// assert_eq!(measured.pattern.as_deref(), Some("2:4"));
/// # Ok(())
/// # }
/// ```
pub fn measure(
    path: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Measurement, MeasureError> {
    let checkpoint = files::open(path)?;
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or_else(|| Path::new("")) };
    let config = ModelConfig::of(folder)?;
    let found = weights(&checkpoint, &config)?;
    let of = found.weights.iter().map(|weight| weight.source.bytes()).sum();
    let mut done = 0;
    let mut rows = Vec::with_capacity(found.weights.len());
    for weight in &found.weights {
        let row = row(weight, found.layout, &mut |read| {
            done += read;
            progress(Progress { done, of });
        })?;
        rows.push(row);
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    let all = Counts::sum(rows.iter());
    if all.total_params == 0 {
        return Err(MeasureError::Empty(path.to_owned()));
    }
    let sum = |take: &dyn Fn(Role) -> bool| Counts::sum(rows.iter().filter(|row| take(row.role)));
    let patterns = tally(&rows);
    let holds =
        patterns.iter().find(|tally| tally.along == Along::Inputs && tally.tensors == tally.of);
    let experts = experts(&rows, &config);
    Ok(Measurement {
        all,
        without_embeddings: sum(&|role| !role.is_embedding()),
        prunable: sum(&Role::is_prunable),
        embeddings: sum(&|role| role == Role::Embedding),
        output_layer: sum(&|role| role == Role::OutputLayer),
        pattern: holds.map(|tally| tally.pattern.clone()),
        warnings: warnings(&rows, &found, &checkpoint, &config, experts.as_ref()),
        patterns,
        experts,
        left_out: found.left_out,
        tensors: rows,
        bytes: of,
    })
}

fn row(
    weight: &Weight,
    layout: Layout,
    progress: &mut dyn FnMut(u64),
) -> Result<TensorRow, MeasureError> {
    let axes = if weight.shape.len() < 2 || weight.role == Role::Vector || weight.elements() == 0 {
        [None; 2]
    } else {
        let [inputs, other] = layout.axes(&weight.name, &weight.shape, weight.role);
        [Some(inputs), (other != inputs).then_some(other)]
    };
    let mut groups =
        axes.map(|axis| axis.and_then(|axis| Some((axis, Groups::new(&weight.shape, axis)?))));
    let mut count = 0;
    let rare =
        weight.source.flags(&weight.name, &weight.shape, weight.format, &mut |flags, read| {
            count += nonzero(flags);
            for slot in &mut groups {
                if slot.as_mut().is_some_and(|(_, groups)| !groups.push(flags)) {
                    *slot = None;
                }
            }
            progress(read);
        })?;
    let counts = Counts::new(weight.elements(), count);
    let mut patterns = Vec::new();
    for (slot, along) in groups.into_iter().zip([Along::Inputs, Along::Other]) {
        let Some((axis, groups)) = slot else { continue };
        let found = strictest(groups.finish(), counts);
        patterns.extend(found.into_iter().map(|group| TensorPattern {
            pattern: group.name(),
            axis,
            along,
            group,
        }));
    }
    Ok(TensorRow {
        name: weight.name.clone(),
        shape: weight.shape.clone(),
        dtype: dtype_name(weight.dtype),
        role: weight.role,
        counts,
        patterns,
        smallest: rare.smallest,
        not_finite: rare.not_finite,
    })
}

/// The patterns that hold and are filled, without those that follow from others.
fn strictest(most: crate::groups::Most, counts: Counts) -> Vec<Group> {
    let mut found: Vec<Group> = Vec::new();
    for (most, m) in most.into_iter().zip(SIZES) {
        let Some(n) = most.map(u64::from).filter(|n| (1..m).contains(n)) else { continue };
        let group = Group { m, n };
        let allowed = counts.total_params as f64 * n as f64 / m as f64;
        let filled = counts.nonzero_params as f64 >= FILLED * allowed;
        if filled && !found.iter().any(|smaller| smaller.implies(group)) {
            found.push(group);
        }
    }
    found
}

/// The number of prunable tensors in which each pattern holds. Patterns that hold in most tensors come first, then
/// those along the inputs, then those with the lowest share of non-zeros.
fn tally(rows: &[TensorRow]) -> Vec<PatternTally> {
    let prunable: Vec<&TensorRow> = rows.iter().filter(|row| row.role.is_prunable()).collect();
    let named = prunable.iter().flat_map(|row| &row.patterns);
    let named: BTreeSet<(Along, Group)> = named.map(|found| (found.along, found.group)).collect();
    let mut tallies: Vec<(u64, Along, Group)> = named
        .into_iter()
        .map(|(along, group)| {
            let holds = prunable.iter().filter(|row| row.holds(group, along)).count();
            (holds as u64, along, group)
        })
        .collect();
    let density = |group: &Group| group.n as f64 / group.m as f64;
    tallies.sort_by(|a, b| {
        let by_count = b.0.cmp(&a.0).then(a.1.cmp(&b.1));
        by_count.then(density(&a.2).total_cmp(&density(&b.2))).then(a.2.cmp(&b.2))
    });
    let of = prunable.len() as u64;
    tallies
        .into_iter()
        .map(|(tensors, along, group)| PatternTally { pattern: group.name(), along, tensors, of })
        .collect()
}

fn experts(rows: &[TensorRow], config: &ModelConfig) -> Option<Experts> {
    let of_experts = || rows.iter().filter(|row| row.role == Role::Expert);
    let count = of_experts()
        .filter_map(|row| match expert_of(&row.name) {
            Some(number) => Some(number.saturating_add(1)),
            None if row.shape.len() == 3 => row.shape.first().copied(),
            None => None,
        })
        .max()?;
    Some(Experts { count, per_token: config.experts_per_token, counts: Counts::sum(of_experts()) })
}

fn warnings(
    rows: &[TensorRow],
    found: &Weights,
    checkpoint: &Checkpoint,
    config: &ModelConfig,
    experts: Option<&Experts>,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |code, detail| warnings.push(Warning { code, detail });
    let matching = |test: &dyn Fn(&TensorRow) -> bool| -> Vec<&TensorRow> {
        rows.iter().filter(|row| test(row)).collect()
    };
    let first = |rows: &[&TensorRow]| rows.first().map_or("", |row| &*row.name).to_owned();

    let rounded = matching(&|row| {
        let (made, total) = (row.rounded_to_zero(), row.counts.total_params);
        let zeros = total - row.counts.nonzero_params;
        made > 0 && made * 100 >= zeros && made * 1000 >= total
    });
    if !rounded.is_empty() {
        let made: u64 = rounded.iter().map(|row| row.rounded_to_zero()).sum();
        warn(
            WarningCode::RoundingZeros,
            format!(
                "some {made} zeros in {} tensors are no pruned weights but numbers too small for their type, \
                 such as in {}",
                rounded.len(),
                first(&rounded)
            ),
        );
    }
    let coarse: Vec<&Weight> =
        found.weights.iter().filter(|weight| weight.format.is_coarse()).collect();
    if let Some(weight) = coarse.first() {
        warn(
            WarningCode::QuantisedWeights,
            format!(
                "{} tensors are quantised, such as {} ({}): zeros of pruning and of rounding look the same",
                coarse.len(),
                weight.name,
                dtype_name(weight.dtype)
            ),
        );
    }
    let half = matching(&|row| {
        let twice = row.counts.nonzero_params * 2;
        row.role.is_prunable()
            && row.patterns.is_empty()
            && twice.abs_diff(row.counts.total_params) * 1000 <= row.counts.total_params
    });
    if !half.is_empty() {
        warn(
            WarningCode::HalfWithoutPattern,
            format!(
                "half of {} tensors is zero and no n:m pattern holds, such as in {}: fine if pruning was \
                 unstructured; if it was 2:4, the array may have been saved in another order than its shape \
                 says (safetensors 0.8.0 for NumPy does so to arrays that are not in C order)",
                half.len(),
                first(&half)
            ),
        );
    }
    let across = matching(&|row| {
        let along = |wanted| row.patterns.iter().any(|found| found.along == wanted);
        row.role.is_prunable() && along(Along::Other) && !along(Along::Inputs)
    });
    if !across.is_empty() {
        warn(
            WarningCode::PatternNotAlongInputs,
            format!(
                "a pattern holds in {} tensors, but not along their inputs, where hardware wants it, such as \
                 in {}",
                across.len(),
                first(&across)
            ),
        );
    }
    let not_finite = matching(&|row| row.not_finite > 0);
    if !not_finite.is_empty() {
        let count: u64 = not_finite.iter().map(|row| row.not_finite).sum();
        warn(
            WarningCode::NotFinite,
            format!(
                "{count} parameters are infinite or no number, such as in {}",
                first(&not_finite)
            ),
        );
    }
    let zero = matching(&|row| {
        row.role != Role::Vector && row.counts.nonzero_params == 0 && row.counts.total_params > 0
    });
    if !zero.is_empty() {
        warn(
            WarningCode::AllZero,
            format!("{} tensors are zero throughout, such as {}", zero.len(), first(&zero)),
        );
    }
    for (embedding, output) in &found.tied_but_different {
        warn(
            WarningCode::TiedButDifferent,
            format!(
                "{embedding} and {output} should share their values, but differ; both are counted"
            ),
        );
    }
    let tied_once =
        found.left_out.iter().any(|left| matches!(left.reason, LeftOutReason::Tied { .. }));
    let has_output = rows.iter().any(|row| row.role == Role::OutputLayer);
    let is_decoder_of = rows.iter().any(|row| row.name.starts_with("decoder."));
    if config.tie_word_embeddings == Some(false)
        && config.always_ties()
        && !has_output
        && (is_decoder_of || tied_once)
    {
        warn(
            WarningCode::OutputLayerMissing,
            "config.json says that the output layer has weights of its own, but it has none: transformers 5 \
             shares the embedding in every T5"
                .to_owned(),
        );
    }
    if let (Some(experts), Some((count, name))) = (experts, config.experts)
        && experts.count != count
    {
        warn(
            WarningCode::ExpertsDiffer,
            format!("config.json says {name} = {count}, but the tensors have {}", experts.count),
        );
    }
    if !checkpoint.not_in_index.is_empty() {
        warn(
            WarningCode::NotInIndex,
            format!(
                "{} tensors are in the files but not in the index, and are not counted, such as {}",
                checkpoint.not_in_index.len(),
                checkpoint.not_in_index[0]
            ),
        );
    }
    warnings
}
