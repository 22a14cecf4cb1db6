//! What names and shapes tell about a tensor: what it is for, and along which axis its inputs lie.

use serde::Serialize;

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A weight matrix or convolution, which is pruned.
    Matrix,
    /// Weights of one or several experts, which are pruned as well.
    Expert,
    /// Weights that choose experts; not pruned.
    Router,
    /// Maps tokens or positions to vectors.
    Embedding,
    /// Maps vectors to tokens.
    OutputLayer,
    /// Biases, norms and other small tensors.
    Vector,
}

impl Role {
    /// Whether tensors of this role are pruned.
    #[must_use]
    pub fn is_prunable(self) -> bool {
        matches!(self, Self::Matrix | Self::Expert)
    }

    /// Whether it is an embedding or the output layer.
    #[must_use]
    pub fn is_embedding(self) -> bool {
        matches!(self, Self::Embedding | Self::OutputLayer)
    }
}

/// Names of modules that are embeddings, or of parameters that are embeddings by themselves.
const EMBEDDINGS: [&str; 28] = [
    "embed_tokens",
    "embed_positions",
    "embed_in",
    "embedding",
    "embeddings",
    "wte",
    "wpe",
    "tokens_embed",
    "positions_embed",
    "word_embeddings",
    "position_embeddings",
    "position_embedding",
    "token_type_embeddings",
    "token_embedding",
    "tok_embeddings",
    "token_embedder",
    "shared",
    "relative_attention_bias",
    "rel_embedding",
    "rel_embeddings",
    "pos_embed",
    "pos_embedding",
    "positional_embedding",
    "class_embedding",
    "class_token",
    "cls_token",
    "dist_token",
    "mask_token",
];
/// Names of modules that are output layers.
const OUTPUT_LAYERS: [&str; 3] = ["lm_head", "embed_out", "logits_dense"];

/// The parts of a name, which are separated by dots, or by slashes in flax.
fn parts(name: &str) -> Vec<&str> {
    name.split(['.', '/']).collect()
}

/// The role of a tensor, from its name and shape and the number of experts in `config.json`.
pub fn role(name: &str, shape: &[u64], experts: Option<u64>) -> Role {
    let parts = parts(name);
    let (leaf, modules) = parts.split_last().unwrap_or((&"", &[]));
    let is_parameter = matches!(*leaf, "weight" | "kernel" | "bias" | "scale");
    // The module that a weight belongs to; a parameter with another name is identified by its own name.
    let owner = if is_parameter { modules.last().copied().unwrap_or_default() } else { *leaf };
    if EMBEDDINGS.contains(&owner) && *leaf != "bias" {
        return Role::Embedding;
    }
    if OUTPUT_LAYERS.contains(&owner)
        || name == "output.weight"
        || name.ends_with("cls.predictions.decoder.weight")
    {
        return if shape.len() >= 2 { Role::OutputLayer } else { Role::Vector };
    }
    // A scale of shape (1, 1, n) is still a vector, whereas a weight with a single output is a matrix.
    let is_flat = !matches!(*leaf, "weight" | "kernel")
        && shape.iter().filter(|length| **length > 1).count() < 2;
    if shape.len() < 2 || is_flat {
        return Role::Vector;
    }
    if matches!(owner, "router" | "gate") || modules.contains(&"router") {
        let chooses = shape.len() == 2 && experts.is_none_or(|experts| shape.contains(&experts));
        if chooses {
            return Role::Router;
        }
    }
    let of_expert = |part: &str| matches!(part, "experts" | "expert" | "local_experts");
    if modules.iter().any(|part| of_expert(part)) {
        // One bias for each expert, so the tensor has two dimensions.
        let is_bias = leaf.ends_with("bias");
        return if is_bias { Role::Vector } else { Role::Expert };
    }
    Role::Matrix
}

/// Number of the expert that a tensor belongs to, where each expert has its own tensors.
pub fn expert_of(name: &str) -> Option<u64> {
    let parts = parts(name);
    let at = parts.iter().position(|part| matches!(*part, "experts" | "local_experts"))?;
    parts.get(at + 1)?.parse().ok()
}

/// Whether a tensor is a buffer: saved with the parameters, but not one of them.
pub fn is_buffer(name: &str, shape: &[u64]) -> bool {
    let parts = parts(name);
    let leaf = parts.last().copied().unwrap_or_default();
    let named = matches!(
        leaf,
        "inv_freq"
            | "original_inv_freq"
            | "masked_bias"
            | "running_mean"
            | "running_var"
            | "num_batches_tracked"
            | "position_ids"
            | "token_type_ids"
            | "causal_mask"
            | "cos_cached"
            | "sin_cached"
            | "relative_position_index"
            | "e_score_correction_bias"
    );
    // The triangular mask of GPT-2's attention, (1, 1, n, n), of which half is zeros.
    let triangle = leaf == "bias" && matches!(shape, [1, 1, a, b] if a == b);
    named || triangle
}

/// How weights are laid out, as far as the names and shapes of the whole checkpoint show.
#[derive(Debug, Default, Clone, Copy)]
pub struct Layout {
    /// Whether some weights are stored as (in, out), as in GPT-2's `Conv1D`.
    pub conv1d: bool,
    /// Whether the experts in one tensor are (experts, in, out), as in gpt-oss.
    pub experts_in_first: bool,
}

impl Layout {
    /// Infers the layout from the shapes of a checkpoint.
    pub fn of<'a>(
        tensors: impl Iterator<Item = (&'a str, &'a [u64])> + Clone,
        model_type: Option<&str>,
    ) -> Self {
        // Queries, keys and values in one weight: `Conv1D` has three times as many columns as rows, a plain Linear
        // of the same name (GPTBigCode) the other way round.
        let conv1d = tensors.clone().any(|(name, shape)| {
            name.ends_with("c_attn.weight")
                && matches!(shape, [a, b] if a.checked_mul(3) == Some(*b))
        });
        let find = |end: &str| {
            tensors.clone().find_map(|(name, shape)| match shape {
                [_, a, b] if name.ends_with(end) => Some((*a, *b)),
                _ => None,
            })
        };
        let experts_in_first = match (find("experts.gate_up_proj"), find("experts.down_proj")) {
            // (E, in, 2 I) and (E, I, in), as opposed to (E, 2 I, in) and (E, in, I): never both at once.
            (Some(up), Some(down)) => up.0 == down.1 && Some(up.1) == down.0.checked_mul(2),
            _ => matches!(
                model_type,
                Some("gpt_oss" | "llama4" | "llama4_text" | "aria" | "openai_privacy_filter")
            ),
        };
        Self { conv1d, experts_in_first }
    }

    /// The axis along which a weight's inputs lie, and another axis to check as well.
    pub fn axes(self, name: &str, shape: &[u64], role: Role) -> [usize; 2] {
        let dimensions = shape.len();
        let last = dimensions - 1;
        let leaf = parts(name).last().copied().unwrap_or_default().to_owned();
        if leaf == "kernel" {
            // flax: (in, out) and (in, heads, out); convolutions are (height, width, in, out).
            return if dimensions >= 4 { [last - 1, last] } else { [0, last] };
        }
        match dimensions {
            2 => {
                let conv1d = self.conv1d
                    && ["c_attn", "c_proj", "c_fc", "q_attn"]
                        .iter()
                        .any(|module| name.ends_with(&format!("{module}.weight")));
                if conv1d { [0, 1] } else { [1, 0] }
            }
            3 if role == Role::Expert => {
                if self.experts_in_first {
                    [1, 2]
                } else {
                    [2, 1]
                }
            }
            // Convolutions of PyTorch: (out, in, ...).
            _ => [1, last],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_a_tensor_is_for() {
        let cases: [(&str, &[u64], Role); 18] = [
            ("model.layers.0.self_attn.q_proj.weight", &[8, 8], Role::Matrix),
            ("model.layers.0.mlp.gate_proj.weight", &[8, 8], Role::Matrix),
            ("model.layers.0.mlp.gate.weight", &[4, 8], Role::Router),
            ("model.layers.0.mlp.experts.3.down_proj.weight", &[8, 8], Role::Expert),
            ("model.layers.0.mlp.experts.gate_up_proj", &[4, 8, 8], Role::Expert),
            ("model.layers.0.mlp.experts.gate_up_proj_bias", &[4, 8], Role::Vector),
            ("model.layers.0.input_layernorm.weight", &[8], Role::Vector),
            ("model.embed_tokens.weight", &[100, 8], Role::Embedding),
            ("transformer.wpe.weight", &[100, 8], Role::Embedding),
            ("shared.weight", &[100, 8], Role::Embedding),
            ("bert.embeddings.word_embeddings.weight", &[100, 8], Role::Embedding),
            ("bert.embeddings.LayerNorm.weight", &[8], Role::Vector),
            ("vit.embeddings.patch_embeddings.projection.weight", &[8, 3, 4, 4], Role::Matrix),
            ("vit.embeddings.cls_token", &[1, 1, 8], Role::Embedding),
            ("params.embed.embedding", &[100, 8], Role::Embedding),
            ("lm_head.weight", &[100, 8], Role::OutputLayer),
            ("lm_head.bias", &[100], Role::Vector),
            ("blocks.0.ls.gamma", &[1, 1, 8], Role::Vector),
        ];
        for (name, shape, expected) in cases {
            assert_eq!(role(name, shape, Some(4)), expected, "{name}");
        }
    }

    #[test]
    fn a_triangle_is_no_parameter() {
        assert!(is_buffer("h.0.attn.bias", &[1, 1, 1024, 1024]));
        assert!(!is_buffer("h.0.attn.c_attn.bias", &[2304]));
        assert!(is_buffer("bn.running_var", &[64]));
    }

    fn axis(layout: Layout, name: &str, shape: &[u64]) -> usize {
        layout.axes(name, shape, role(name, shape, None))[0]
    }

    #[test]
    fn inputs_lie_along_the_last_axis_of_linear_and_the_first_of_conv1d_and_flax() {
        let linear = Layout::default();
        assert_eq!(axis(linear, "h.0.attn.c_attn.weight", &[24, 8]), 1);
        let shapes: [(&str, &[u64]); 1] = [("h.0.attn.c_attn.weight", &[8, 24])];
        let gpt2 = Layout::of(shapes.into_iter(), None);
        assert_eq!(axis(gpt2, "h.0.mlp.c_proj.weight", &[32, 8]), 0);
        assert_eq!(axis(gpt2, "score.weight", &[2, 8]), 1);
        assert_eq!(axis(linear, "params.mlp.wi.kernel", &[8, 32]), 0);
        assert_eq!(axis(linear, "params.attn.query.kernel", &[8, 4, 2]), 0);
        assert_eq!(axis(linear, "params.conv.kernel", &[3, 3, 8, 16]), 2);
        assert_eq!(axis(linear, "conv1.weight", &[16, 8, 3, 3]), 1);
    }

    #[test]
    fn fused_experts_are_told_apart_by_their_shapes() {
        let layout = |up: [u64; 3], down: [u64; 3]| {
            let shapes = [("l.experts.gate_up_proj", up), ("l.experts.down_proj", down)];
            let shapes = shapes.iter().map(|(name, shape)| (*name, &shape[..]));
            Layout::of(shapes.collect::<Vec<_>>().into_iter(), None).experts_in_first
        };
        assert!(layout([4, 8, 24], [4, 12, 8]), "gpt-oss: (E, H, 2 I), (E, I, H)");
        assert!(!layout([4, 24, 8], [4, 8, 12]), "Mixtral: (E, 2 I, H), (E, H, I)");
        // The two layouts differ even where there are as many inner as outer dimensions.
        assert!(layout([4, 8, 16], [4, 8, 8]));
        assert!(!layout([4, 16, 8], [4, 8, 8]));
    }
}
