//! Assembles the weights of the model from the tensors of the files.
//!
//! A weight may be a single tensor, a tensor and its mask, or a compressed tensor in four parts; and a tensor may
//! be no weight at all. Where this is not clear, the checkpoint is refused.

use std::collections::BTreeMap;

use safetensors::Dtype;

use crate::config::ModelConfig;
use crate::count::Format;
use crate::error::{MeasureError, Refusal};
use crate::files::{Checkpoint, Stored};
use crate::measurement::{LeftOut, LeftOutReason};
use crate::names::{Layout, Role, is_buffer, role};
use crate::read::{Source, integers, same_bytes};

/// A weight of the model.
#[derive(Debug, Clone)]
pub struct Weight {
    /// Name in the model, without the suffixes that pruning adds.
    pub name: String,
    /// Lengths of the dimensions.
    pub shape: Vec<u64>,
    /// What the weight is for.
    pub role: Role,
    /// Type of the elements.
    pub dtype: Dtype,
    /// How to interpret the bits of an element.
    pub format: Format,
    /// The tensors that hold the elements.
    pub source: Source,
}

impl Weight {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }
}

/// The tensors of a checkpoint, sorted into weights and others.
#[derive(Debug, Default)]
pub struct Weights {
    /// The weights to count.
    pub weights: Vec<Weight>,
    /// The tensors that are not counted.
    pub left_out: Vec<LeftOut>,
    /// How the weights are laid out.
    pub layout: Layout,
    /// Pairs of weights that should be tied, but are both stored with different values.
    pub tied_but_different: Vec<(String, String)>,
}

/// Sorts the tensors of a checkpoint into weights and others.
pub fn weights(checkpoint: &Checkpoint, config: &ModelConfig) -> Result<Weights, MeasureError> {
    let tensors = &checkpoint.tensors;
    let mut found = Weights::default();
    for (name, stored) in tensors {
        match sort(name, stored, tensors)? {
            Sorted::Weight { name, shape, stored, source } => {
                let dtype = stored.dtype;
                let format = Format::of_parameters(dtype).ok_or_else(|| {
                    MeasureError::refused(&name, Refusal::Layout(dtype_name(dtype)))
                })?;
                if format == Format::F4 && !matches!(source, Source::Plain(_)) {
                    return Err(MeasureError::refused(&name, Refusal::Layout("F4 under a mask")));
                }
                let role = role(&name, &shape, config.experts.map(|(count, _)| count));
                found.weights.push(Weight { name, shape, role, dtype, format, source });
            }
            Sorted::LeftOut(reason) => found.left_out.push(LeftOut {
                tensor: name.clone(),
                reason,
                elements: stored.elements(),
            }),
            Sorted::PartOfAnother => {}
        }
    }
    found.left_out.extend(checkpoint.not_in_index.iter().map(|name| LeftOut {
        tensor: name.clone(),
        reason: LeftOutReason::NotInIndex,
        elements: 0,
    }));
    let shapes = found.weights.iter().map(|weight| (&*weight.name, &*weight.shape));
    found.layout = Layout::of(shapes, config.model_type.as_deref());
    found.refuse_masked_and_tied(checkpoint, config)?;
    found.count_tied_once(config)?;
    Ok(found)
}

/// What a tensor turned out to be.
enum Sorted<'a> {
    Weight { name: String, shape: Vec<u64>, stored: &'a Stored, source: Source },
    LeftOut(LeftOutReason),
    PartOfAnother,
}

fn sort<'a>(
    name: &str,
    stored: &'a Stored,
    tensors: &'a BTreeMap<String, Stored>,
) -> Result<Sorted<'a>, MeasureError> {
    let refused = |reason| Err(MeasureError::refused(name, reason));
    if [".lora_A.", ".lora_B.", ".lora_embedding_"].iter().any(|part| name.contains(part)) {
        return refused(Refusal::Adapter);
    }
    if let Some(sorted) = pruned_by_torch(name, stored, tensors)? {
        return Ok(sorted);
    }
    if let Some(sorted) = compressed(name, tensors)? {
        return Ok(sorted);
    }
    if is_buffer(name, &stored.shape) {
        return Ok(Sorted::LeftOut(LeftOutReason::Buffer));
    }
    if is_scale(name, stored, tensors) {
        return Ok(Sorted::LeftOut(LeftOutReason::Scale));
    }
    let weight = || Sorted::Weight {
        name: name.to_owned(),
        shape: stored.shape.clone(),
        stored,
        source: Source::Plain(stored.clone()),
    };
    let leaf = leaf(name);
    match stored.dtype {
        Dtype::F6_E2M3 | Dtype::F6_E3M2 => refused(Refusal::Layout(dtype_name(stored.dtype))),
        Dtype::I8 => {
            let base = name.strip_suffix(".weight");
            let has_zero_point = base.is_some_and(|base| {
                ["weight_zero_point", "zero_point"]
                    .iter()
                    .any(|point| tensors.contains_key(&format!("{base}.{point}")))
            });
            if has_zero_point {
                refused(Refusal::ZeroPoint)
            } else if stored.shape.len() >= 2 {
                Ok(weight())
            } else {
                Ok(Sorted::LeftOut(LeftOutReason::Integers))
            }
        }
        Dtype::BOOL | Dtype::I64 => Ok(Sorted::LeftOut(LeftOutReason::Integers)),
        Dtype::U8 | Dtype::U16 | Dtype::I16 | Dtype::U32 | Dtype::I32 | Dtype::U64 => {
            let packed =
                matches!(leaf, "weight" | "weight_packed" | "qweight" | "qzeros" | "_data")
                    || leaf.ends_with("_blocks")
                    || leaf.ends_with("_packed")
                    || (stored.shape.len() >= 2 && !leaf.contains("mask") && !leaf.contains("ids"));
            if packed {
                refused(Refusal::Packed(dtype_name(stored.dtype)))
            } else {
                Ok(Sorted::LeftOut(LeftOutReason::Integers))
            }
        }
        _ => Ok(weight()),
    }
}

fn leaf(name: &str) -> &str {
    name.rsplit(['.', '/']).next().unwrap_or_default()
}

/// Weights under `torch.nn.utils.prune`, or under a sparsifier of torchao, which is a parametrisation.
fn pruned_by_torch<'a>(
    name: &str,
    stored: &'a Stored,
    tensors: &'a BTreeMap<String, Stored>,
) -> Result<Option<Sorted<'a>>, MeasureError> {
    let product = |name: String, mask: &Stored| {
        if mask.shape != stored.shape {
            return Err(MeasureError::refused(&name, Refusal::MaskShape));
        }
        let format = Format::of_mask(mask.dtype).ok_or_else(|| {
            MeasureError::refused(&name, Refusal::MaskType(dtype_name(mask.dtype)))
        })?;
        let source = Source::Masked { original: stored.clone(), mask: mask.clone(), format };
        Ok(Some(Sorted::Weight { name, shape: stored.shape.clone(), stored, source }))
    };
    if let Some(base) = name.strip_suffix("_orig") {
        let mask = format!("{base}_mask");
        return match tensors.get(&mask) {
            Some(mask) => product(base.to_owned(), mask),
            None => Err(MeasureError::refused(name, Refusal::NoMask(mask))),
        };
    }
    if let Some(base) = name.strip_suffix("_mask") {
        if tensors.contains_key(&format!("{base}_orig")) {
            return Ok(Some(Sorted::PartOfAnother));
        }
        if tensors.get(base).is_some_and(|weight| weight.shape == stored.shape) {
            return Err(MeasureError::refused(name, Refusal::LooseMask(base.to_owned())));
        }
    }
    let Some((module, rest)) = name.split_once("parametrizations.") else { return Ok(None) };
    let (parameter, part) = rest.split_once('.').unwrap_or((rest, ""));
    let prefix = format!("{module}parametrizations.{parameter}");
    let mask = tensors.get(&format!("{prefix}.0.mask"));
    match (part, mask) {
        ("original", Some(mask)) => product(format!("{module}{parameter}"), mask),
        ("0.mask", Some(_)) if tensors.contains_key(&format!("{prefix}.original")) => {
            Ok(Some(Sorted::PartOfAnother))
        }
        _ => Err(MeasureError::refused(name, Refusal::Parametrised)),
    }
}

/// Weights in the formats sparse-bitmask and sparse-24-bitmask of compressed-tensors.
fn compressed<'a>(
    name: &str,
    tensors: &'a BTreeMap<String, Stored>,
) -> Result<Option<Sorted<'a>>, MeasureError> {
    let Some((base, part)) = name.rsplit_once('.') else { return Ok(None) };
    if !matches!(part, "bitmask" | "compressed" | "row_offsets" | "shape") {
        return Ok(None);
    }
    let of = |part: &str| tensors.get(&format!("{base}.{part}"));
    let (bits, values, shape) = match (of("bitmask"), of("compressed"), of("shape")) {
        (Some(bits), Some(values), Some(shape)) => (bits, values, shape),
        (None, None, _) => return Ok(None),
        _ => {
            let missing = "one of bitmask, compressed and shape is missing".to_owned();
            return Err(MeasureError::refused(base, Refusal::Bitmask(missing)));
        }
    };
    if part != "bitmask" {
        return Ok(Some(Sorted::PartOfAnother));
    }
    let wrong = |detail: &str| MeasureError::refused(base, Refusal::Bitmask(detail.to_owned()));
    if shape.dtype != Dtype::I64 || shape.elements() == 0 || shape.elements() > 8 {
        return Err(wrong("its shape is not one to eight 64-bit integers"));
    }
    let shape = integers(shape)?;
    // The shape must match the size of the bitmask in the file, which keeps the number of elements from overflowing.
    let (columns, rows) = shape.split_last().unwrap_or((&0, &[]));
    let bytes = rows.iter().try_fold(columns.div_ceil(8), |bytes, rows| bytes.checked_mul(*rows));
    let elements = shape.iter().try_fold(1_u64, |elements, length| elements.checked_mul(*length));
    if bits.dtype != Dtype::U8 || bytes != Some(bits.bytes) || elements.is_none() {
        return Err(wrong("its bitmask is not one bit for each element, rows in whole bytes"));
    }
    // Version 0.11 of compressed-tensors names the parts after the module, older versions after the weight.
    let name = if base.ends_with(".weight") { base.to_owned() } else { format!("{base}.weight") };
    let source = Source::Bitmask { bits: bits.clone(), values: values.clone() };
    Ok(Some(Sorted::Weight { name, shape, stored: values, source }))
}

/// Whether a tensor holds scale factors of quantised weights, which are not parameters of their own.
fn is_scale(name: &str, stored: &Stored, tensors: &BTreeMap<String, Stored>) -> bool {
    if stored.dtype == Dtype::F8_E8M0 {
        return true;
    }
    let coarse = |name: &str| {
        let dtype = tensors.get(name).map(|weight| weight.dtype);
        dtype.is_some_and(|dtype| {
            dtype == Dtype::U8 || Format::of_parameters(dtype).is_some_and(Format::is_coarse)
        })
    };
    let ends = ["_scale_inv", "_scale", "_global_scale", "_scale_2", "_scales"];
    let of_weight = ends.iter().filter_map(|end| name.strip_suffix(end));
    let of_weight = of_weight.into_iter().any(|base| {
        ["", "_packed", "_blocks"].iter().any(|packed| coarse(&format!("{base}{packed}")))
    });
    let Some((module, leaf)) = name.rsplit_once('.') else { return of_weight };
    let of_module = matches!(leaf, "SCB" | "input_scale" | "output_scale" | "k_scale" | "v_scale")
        && ["weight", "compressed"].iter().any(|part| coarse(&format!("{module}.{part}")));
    of_weight || of_module
}

impl Weights {
    /// Refuses a mask on one of two tied tensors: the other tensor is used without the mask, and so is this one
    /// once a loader ties them again.
    fn refuse_masked_and_tied(
        &self,
        checkpoint: &Checkpoint,
        config: &ModelConfig,
    ) -> Result<(), MeasureError> {
        for weight in self.weights.iter().filter(|weight| weight.role.is_embedding()) {
            let Source::Masked { original, .. } = &weight.source else { continue };
            let refused = |other: &str| {
                MeasureError::refused(&weight.name, Refusal::MaskedAndTied(other.to_owned()))
            };
            let own = |name: &str| name.strip_suffix("_orig").unwrap_or(name) == weight.name;
            for (name, other) in &checkpoint.aliases {
                if own(name) {
                    return Err(refused(other));
                }
                if own(other) {
                    return Err(refused(name));
                }
            }
            let others = self.weights.iter().filter(|other| {
                other.role.is_embedding()
                    && other.name != weight.name
                    && other.shape == weight.shape
            });
            for other in others {
                let stored = match &other.source {
                    Source::Plain(stored) | Source::Masked { original: stored, .. } => stored,
                    Source::Bitmask { .. } => continue,
                };
                if config.ties() || same_bytes(original, stored)? {
                    return Err(refused(&other.name));
                }
            }
            // The other tensor may not even be saved.
            let of_tokens = weight.role == Role::OutputLayer
                || [
                    "embed_tokens",
                    "wte",
                    "shared",
                    "word_embeddings",
                    "tok_embeddings",
                    "embed_in",
                ]
                .iter()
                .any(|module| weight.name.ends_with(&format!("{module}.weight")));
            if config.ties() && of_tokens {
                return Err(refused("the other end of the model, as config.json says"));
            }
        }
        Ok(())
    }

    /// Counts embeddings and output layers that are stored twice with the same values only once, unless
    /// `config.json` says that they are separate.
    fn count_tied_once(&mut self, config: &ModelConfig) -> Result<(), MeasureError> {
        if config.tie_word_embeddings == Some(false) && !config.always_ties() {
            return Ok(());
        }
        let mut candidates: Vec<usize> = (0..self.weights.len())
            .filter(|at| {
                let weight = &self.weights[*at];
                weight.role.is_embedding() && matches!(weight.source, Source::Plain(_))
            })
            .collect();
        // Embeddings come before output layers, so that the embedding is the one that is kept.
        candidates.sort_by_key(|at| self.weights[*at].role);
        let mut kept: Vec<usize> = Vec::new();
        let mut repeated = Vec::new();
        for at in candidates {
            let Weight { source: Source::Plain(stored), shape, dtype, role, .. } =
                &self.weights[at]
            else {
                continue;
            };
            let mut same = None;
            for other in &kept {
                let other = &self.weights[*other];
                let Source::Plain(other_stored) = &other.source else { continue };
                if other.shape != *shape || other.dtype != *dtype {
                    continue;
                }
                if same_bytes(stored, other_stored)? {
                    same = Some(other.name.clone());
                    break;
                }
                if config.ties() && *role == Role::OutputLayer {
                    let pair = (other.name.clone(), self.weights[at].name.clone());
                    self.tied_but_different.push(pair);
                }
            }
            match same {
                Some(other) => repeated.push((at, other)),
                None => kept.push(at),
            }
        }
        repeated.sort_unstable_by_key(|(at, _)| std::cmp::Reverse(*at));
        for (at, other) in repeated {
            let weight = self.weights.remove(at);
            self.left_out.push(LeftOut {
                elements: weight.elements(),
                tensor: weight.name,
                reason: LeftOutReason::Tied { to: other },
            });
        }
        Ok(())
    }
}

/// Name of a type in the header of a file.
pub fn dtype_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::BOOL => "BOOL",
        Dtype::F4 => "F4",
        Dtype::F6_E2M3 => "F6_E2M3",
        Dtype::F6_E3M2 => "F6_E3M2",
        Dtype::U8 => "U8",
        Dtype::I8 => "I8",
        Dtype::F8_E5M2 => "F8_E5M2",
        Dtype::F8_E4M3 => "F8_E4M3",
        Dtype::F8_E8M0 => "F8_E8M0",
        Dtype::F8_E4M3FNUZ => "F8_E4M3FNUZ",
        Dtype::F8_E5M2FNUZ => "F8_E5M2FNUZ",
        Dtype::I16 => "I16",
        Dtype::U16 => "U16",
        Dtype::F16 => "F16",
        Dtype::BF16 => "BF16",
        Dtype::I32 => "I32",
        Dtype::U32 => "U32",
        Dtype::F32 => "F32",
        Dtype::C64 => "C64",
        Dtype::F64 => "F64",
        Dtype::I64 => "I64",
        Dtype::U64 => "U64",
        _ => "unknown",
    }
}
