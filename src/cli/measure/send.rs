//! Sends a measured checkpoint to a service as a run.

use anyhow::{Context, bail};
use clap::Args;
use reqwest::Url;
use serde_json::{Map, Value, json};
use sparsity_measure::{Measurement, RunFields};

use crate::cli::remote::Server;

/// Where to send the run, and the facts about it that cannot be measured.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// Family of a service to send the run to.
    #[arg(long, value_name = "FAMILY", requires_all = ["id", "data", "loss"])]
    log: Option<String>,
    /// Your name for the run; sending the same name again updates the same run.
    #[arg(long, requires = "log")]
    id: Option<String>,
    /// Training data that the run has seen, in the family's data unit.
    #[arg(long, requires = "log")]
    data: Option<f64>,
    /// Validation loss of the run.
    #[arg(long, requires = "log")]
    loss: Option<f64>,
    /// Sparsity pattern of the run, refused if it does not hold; `none` for unstructured sparsity. By default the
    /// pattern that holds in every prunable tensor.
    #[arg(long, requires = "log")]
    pattern: Option<String>,
    /// What the run started from: scratch or pretrained.
    #[arg(long, requires = "log", value_parser = ["scratch", "pretrained"])]
    start: Option<String>,
    /// Data that the checkpoint had already seen, for a pretrained start.
    #[arg(long, requires = "log")]
    pretraining_data: Option<f64>,
    /// Tag of the run, such as --tag optimizer=adamw.
    #[arg(long = "tag", value_name = "KEY=VALUE", requires = "log", value_parser = tag)]
    tags: Vec<(String, String)>,
    /// Address of the service, such as `https://planner.example.org`.
    #[arg(long, env = "SPARSITY_PLANNER_URL")]
    url: Option<Url>,
    /// API key, if the service requires one; better given by the environment variable, as other users of the machine
    /// can see arguments.
    #[arg(long, env = "SPARSITY_PLANNER_KEY", hide_env_values = true)]
    key: Option<String>,
}

fn tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// The options for sending, checked and complete.
#[derive(Debug)]
pub struct Log {
    server: Server,
    to: Url,
    pattern: Option<String>,
    /// The fields of the run that are known before measuring.
    said: Map<String, Value>,
}

impl LogArgs {
    /// Checks what to send and where; `None` if nothing is to be sent.
    pub fn check(&self) -> anyhow::Result<Option<Log>> {
        let Self { log: Some(family), id: Some(id), data: Some(data), loss: Some(loss), .. } = self
        else {
            return Ok(None);
        };
        let url = self.url.clone().context("--log needs the service's address: say --url")?;
        let server = Server { url, key: self.key.clone() };
        let to = server.url(&["v1", "families", family, "runs"])?;
        if !(data.is_finite() && loss.is_finite()) {
            bail!("--data and --loss must be numbers");
        }
        let mut said = Map::new();
        said.insert("external_id".to_owned(), json!(id));
        said.insert("data".to_owned(), json!(data));
        said.insert("loss".to_owned(), json!(loss));
        if let Some(start) = &self.start {
            said.insert("start".to_owned(), json!(start));
        }
        if let Some(data) = self.pretraining_data {
            said.insert("pretraining_data".to_owned(), json!(data));
        }
        if !self.tags.is_empty() {
            let tags: Map<String, Value> =
                self.tags.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
            said.insert("tags".to_owned(), Value::Object(tags));
        }
        Ok(Some(Log { server, to, pattern: self.pattern.clone(), said }))
    }
}

impl Log {
    /// The run to send: only what was given and what was measured.
    pub fn run(
        &self,
        measured: &Measurement,
        fields: RunFields,
    ) -> anyhow::Result<Map<String, Value>> {
        let pattern = match self.pattern.as_deref() {
            None => fields.pattern,
            Some("none") => None,
            Some(pattern) if measured.holds(pattern) => Some(pattern.to_owned()),
            Some(pattern) => {
                bail!(
                    "{pattern} does not hold in every prunable tensor along its inputs; nothing was sent"
                )
            }
        };
        let mut run = self.said.clone();
        run.insert("nonzero_params".to_owned(), json!(fields.nonzero_params));
        run.insert("sparsity".to_owned(), json!(fields.sparsity));
        if let Some(pattern) = pattern {
            run.insert("pattern".to_owned(), json!(pattern));
        }
        Ok(run)
    }

    /// Sends the run and returns the service's answer. The request may be repeated, as a run with the same id is the
    /// same run.
    pub async fn send(&self, measured: &Measurement, fields: RunFields) -> anyhow::Result<Value> {
        let run = self.run(measured, fields)?;
        let answer = self.server.post(self.to.clone(), Value::Object(run).to_string()).await?;
        Ok(serde_json::from_str(&answer)?)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        log: LogArgs,
    }

    const LOG: &str = "--log f --id a --data 2 --loss 3 --url http://h";

    fn parsed(arguments: &str) -> Result<LogArgs, clap::Error> {
        let words = std::iter::once("measure").chain(arguments.split_whitespace());
        Line::try_parse_from(words).map(|line| line.log)
    }

    /// A matrix with the pattern 2:4.
    fn measured() -> Measurement {
        let header = br#"{"a.weight":{"dtype":"I8","shape":[4,4],"data_offsets":[0,16]}}"#;
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header);
        file.extend([1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0, 1, 0, 1]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, file).unwrap();
        sparsity_measure::measure(&path, &mut |_| {}).unwrap()
    }

    fn run(arguments: &str) -> anyhow::Result<Value> {
        let log = parsed(&format!("{LOG} {arguments}")).unwrap().check().unwrap().unwrap();
        let measured = measured();
        let fields = measured.run_fields(sparsity_measure::Scope::All);
        log.run(&measured, fields).map(Value::Object)
    }

    #[test]
    fn a_run_holds_what_was_measured_and_what_was_said() {
        let expected = json!({
            "external_id": "a", "data": 2.0, "loss": 3.0,
            "nonzero_params": 8, "sparsity": 0.5, "pattern": "2:4",
        });
        assert_eq!(run("").unwrap(), expected);
        let more =
            run("--start pretrained --pretraining-data 5 --tag x=y=z --pattern 3:4").unwrap();
        assert_eq!(more["start"], "pretrained");
        assert_eq!(more["pretraining_data"], 5.0);
        assert_eq!((&more["tags"]["x"], &more["pattern"]), (&json!("y=z"), &json!("3:4")));
    }

    #[test]
    fn a_pattern_that_does_not_hold_is_not_sent() {
        assert!(run("--pattern 1:4").unwrap_err().to_string().contains("does not hold"));
        assert!(run("--pattern none").unwrap().get("pattern").is_none());
    }

    #[test]
    fn what_belongs_together_is_asked_for() {
        for line in ["--log f", "--log f --id a --data 1", "--id a", "--pattern 2:4", "--tag a=b"] {
            assert!(parsed(line).is_err(), "{line}");
        }
        assert!(parsed("").unwrap().check().unwrap().is_none());
        let log = parsed(&LOG.replace("http:", "file:")).unwrap();
        assert!(log.check().is_err());
    }
}
