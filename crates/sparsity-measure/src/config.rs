//! Reads what is needed from the `config.json` beside the weights.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::MeasureError;

/// Keys under which models store their number of experts.
const EXPERTS: [&str; 4] =
    ["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"];
/// Keys of nested objects with the settings of the language model inside a larger model.
const INNER: [&str; 3] = ["text_config", "llm_config", "ffn_config"];

/// The settings in `config.json` that matter here; all `None` where there is no such file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ModelConfig {
    /// Family of the model, such as `gpt2`.
    pub model_type: Option<String>,
    /// Whether the output layer shares the embedding's weights.
    pub tie_word_embeddings: Option<bool>,
    /// Number of experts, and the key that it was found under.
    pub experts: Option<(u64, &'static str)>,
    /// Number of experts that each token passes through.
    pub experts_per_token: Option<u64>,
}

impl ModelConfig {
    /// Reads the `config.json` of a folder; without such a file, all settings are `None`.
    pub fn of(folder: &Path) -> Result<Self, MeasureError> {
        let path = folder.join("config.json");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(source) => return Err(MeasureError::Io { path, source }),
        };
        let value: Map<String, Value> =
            serde_json::from_slice(&text).map_err(|source| MeasureError::Json { path, source })?;
        Ok(Self::read(&value))
    }

    fn read(top: &Map<String, Value>) -> Self {
        let inner = INNER.iter().filter_map(|name| top.get(*name)?.as_object());
        let levels: Vec<&Map<String, Value>> = std::iter::once(top).chain(inner).collect();
        let find = |name: &str| levels.iter().find_map(|level| level.get(name));
        Self {
            model_type: top.get("model_type").and_then(Value::as_str).map(str::to_owned),
            tie_word_embeddings: find("tie_word_embeddings").and_then(Value::as_bool),
            experts: EXPERTS.iter().find_map(|name| Some((find(name)?.as_u64()?, *name))),
            experts_per_token: find("num_experts_per_tok").and_then(Value::as_u64),
        }
    }

    /// Whether transformers 5 ties the output layer whatever `config.json` says: T5 and its relatives share their
    /// embeddings even where `tie_word_embeddings` is false.
    pub fn always_ties(&self) -> bool {
        matches!(self.model_type.as_deref(), Some("t5" | "mt5" | "umt5" | "longt5"))
    }

    /// Whether the output layer shares the weights of the embedding.
    pub fn ties(&self) -> bool {
        self.always_ties() || self.tie_word_embeddings == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> ModelConfig {
        ModelConfig::read(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn the_number_of_experts_stands_under_one_of_four_names() {
        for name in EXPERTS {
            let config = read(&format!(r#"{{"{name}": 8, "num_experts_per_tok": 2}}"#));
            assert_eq!((config.experts, config.experts_per_token), (Some((8, name)), Some(2)));
        }
    }

    #[test]
    fn experts_may_stand_in_an_inner_object() {
        let config = read(r#"{"model_type": "dbrx", "ffn_config": {"moe_num_experts": 16}}"#);
        assert_eq!(config.experts, Some((16, "moe_num_experts")));
    }

    #[test]
    fn t5_is_tied_even_where_its_settings_deny_it() {
        let config = read(r#"{"model_type": "t5", "tie_word_embeddings": false}"#);
        assert!(config.ties());
        assert!(!read(r#"{"model_type": "llama", "tie_word_embeddings": false}"#).ties());
    }

    #[test]
    fn a_folder_without_settings_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(ModelConfig::of(folder.path()).unwrap(), ModelConfig::default());
    }
}
