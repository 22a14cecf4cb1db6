//! Questions to a service elsewhere, for pipelines: one sentence or the answer as it is, and whether it
//! may be acted on.
//!
//! Knows the API only as any client does, by its paths and JSON.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use reqwest::Url;
use serde::Deserialize;

use crate::cli::remote::{RemoteError, Server};

/// What to ask.
#[derive(Debug, Subcommand)]
pub enum Question {
    /// The sparsity that makes the most of a training budget.
    OptimalSparsity {
        /// Non-zero parameters at the end of training.
        #[arg(long)]
        nonzero_params: f64,
        /// Training cost in FLOPs.
        #[arg(long)]
        compute: f64,
        /// What a training step costs: dense, sparse, or the name of a hardware profile.
        #[arg(long)]
        flop_mode: String,
        /// Whom to ask, and what to accept.
        #[command(flatten)]
        asking: Asking,
    },
    /// The loss that a model will reach.
    Prediction {
        /// Non-zero parameters at the end of training.
        #[arg(long)]
        nonzero_params: f64,
        /// Fraction of zeros at the end of training.
        #[arg(long)]
        sparsity: f64,
        /// Training data, in the family's data unit. Either this, or a training cost and a mode.
        #[arg(long, required_unless_present = "compute", conflicts_with_all = ["compute", "flop_mode"])]
        data: Option<f64>,
        /// Training cost in FLOPs.
        #[arg(long, requires = "flop_mode")]
        compute: Option<f64>,
        /// What a training step costs: dense, sparse, or the name of a hardware profile.
        #[arg(long, requires = "compute")]
        flop_mode: Option<String>,
        /// Whom to ask, and what to accept.
        #[command(flatten)]
        asking: Asking,
    },
}

/// Whom to ask, and what to accept.
#[derive(Debug, Args)]
pub struct Asking {
    /// Whom to ask.
    #[command(flatten)]
    server: Server,
    /// The family whose law answers.
    #[arg(long)]
    family: String,
    /// Version of the law; the active one unless said otherwise.
    #[arg(long)]
    law_version: Option<i32>,
    /// Leave the intervals out.
    #[arg(long, conflicts_with = "max_interval")]
    no_intervals: bool,
    /// Print the answer as the service sent it.
    #[arg(long)]
    json: bool,
    /// End with 2 if a quantity lies further outside the runs behind the law than by this factor.
    #[arg(long, value_name = "FACTOR", value_parser = limit)]
    max_extrapolation: Option<f64>,
    /// End with 2 if the interval is wider than this, in the unit of the answer, or if there is none.
    #[arg(long, value_name = "WIDTH", value_parser = limit)]
    max_interval: Option<f64>,
}

fn limit(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    if value >= 0.0 { Ok(value) } else { Err("must be at least 0".to_owned()) }
}

/// An answer, and whether it is good enough.
#[derive(Debug)]
pub struct Answered {
    /// What to print: sentences, or the answer as it was sent.
    pub text: String,
    /// Why it is not to be acted on; empty if it is.
    pub doubts: Vec<String>,
}

/// Asks the service.
///
/// # Errors
///
/// See [`RemoteError`].
pub async fn ask(question: &Question) -> Result<Answered, RemoteError> {
    let asking = question.asking();
    let body = asking.server.get(question.url()?).await?;
    let (sentence, caveats, interval) = match question {
        Question::OptimalSparsity { nonzero_params, compute, flop_mode, .. } => {
            let answer: OptimalSparsity = serde_json::from_str(&body)?;
            let sparsity = if answer.best_measured_level {
                format!("one of those that were measured: {}", short(answer.sparsity))
            } else {
                short(answer.sparsity)
            };
            let sentence = format!(
                "The best sparsity of {} non-zero parameters trained with {} FLOPs in mode {flop_mode} is \
                 {sparsity}{}, for a loss of {} against {} dense, says {}.",
                short(*nonzero_params),
                short(*compute),
                within(answer.interval.as_ref()),
                short(answer.loss),
                short(answer.dense.loss),
                answer.caveats.law.named(&asking.family),
            );
            (sentence, answer.caveats, answer.interval)
        }
        Question::Prediction { nonzero_params, sparsity, .. } => {
            let answer: Prediction = serde_json::from_str(&body)?;
            let sentence = format!(
                "The loss of {} non-zero parameters at a sparsity of {}, trained on {} of data, will be \
                 {}{}, says {}.",
                short(*nonzero_params),
                short(*sparsity),
                short(answer.data),
                short(answer.loss),
                within(answer.interval.as_ref()),
                answer.caveats.law.named(&asking.family),
            );
            (sentence, answer.caveats, answer.interval)
        }
    };
    let text = if asking.json { body } else { caveats.below(sentence) };
    Ok(Answered { text, doubts: asking.doubts(&caveats, interval.as_ref()) })
}

impl Question {
    fn asking(&self) -> &Asking {
        match self {
            Self::OptimalSparsity { asking, .. } | Self::Prediction { asking, .. } => asking,
        }
    }

    fn url(&self) -> Result<Url, RemoteError> {
        let asking = self.asking();
        let (name, own) = match self {
            Self::OptimalSparsity { nonzero_params, compute, flop_mode, .. } => (
                "optimal-sparsity",
                vec![
                    ("nonzero_params", Some(nonzero_params.to_string())),
                    ("compute", Some(compute.to_string())),
                    ("flop_mode", Some(flop_mode.clone())),
                ],
            ),
            Self::Prediction { nonzero_params, sparsity, data, compute, flop_mode, .. } => (
                "prediction",
                vec![
                    ("nonzero_params", Some(nonzero_params.to_string())),
                    ("sparsity", Some(sparsity.to_string())),
                    ("data", data.map(|data| data.to_string())),
                    ("compute", compute.map(|compute| compute.to_string())),
                    ("flop_mode", flop_mode.clone()),
                ],
            ),
        };
        let mut url = asking.server.url(&["v1", "families", &asking.family, name])?;
        let common = [
            ("law_version", asking.law_version.map(|version| version.to_string())),
            ("intervals", asking.no_intervals.then(|| "false".to_owned())),
        ];
        for (name, value) in own.into_iter().chain(common) {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, &value);
            }
        }
        Ok(url)
    }
}

#[derive(Deserialize)]
struct OptimalSparsity {
    sparsity: f64,
    #[serde(default)]
    best_measured_level: bool,
    loss: f64,
    dense: Dense,
    interval: Option<Interval>,
    #[serde(flatten)]
    caveats: Caveats,
}

#[derive(Deserialize)]
struct Dense {
    loss: f64,
}

#[derive(Deserialize)]
struct Prediction {
    loss: f64,
    data: f64,
    interval: Option<Interval>,
    #[serde(flatten)]
    caveats: Caveats,
}

/// What every answer has.
#[derive(Deserialize)]
struct Caveats {
    law: Law,
    extrapolation: Vec<Extrapolation>,
    warnings: Vec<Warning>,
    /// A service of an older version says nothing of it.
    trust: Option<Trust>,
}

#[derive(Deserialize)]
struct Trust {
    level: String,
    because: Vec<String>,
}

impl Trust {
    fn told(&self) -> String {
        if self.because.is_empty() {
            return self.level.clone();
        }
        format!("{}, because of {}", self.level, self.because.join(", "))
    }
}

#[derive(Deserialize)]
struct Law {
    version: i32,
    source: String,
}

#[derive(Deserialize)]
struct Interval {
    level: f64,
    low: f64,
    high: f64,
}

#[derive(Deserialize)]
struct Extrapolation {
    variable: String,
    factor: f64,
    side: String,
}

#[derive(Deserialize)]
struct Warning {
    code: String,
    detail: String,
}

impl Law {
    fn named(&self, family: &str) -> String {
        let source = if self.source == "fit" { "fitted" } else { &self.source };
        format!("law {} of {family} ({source})", self.version)
    }
}

impl Extrapolation {
    fn told(&self) -> String {
        format!(
            "{} is {} the runs behind the law, by a factor of {}",
            self.variable,
            self.side,
            short(self.factor)
        )
    }
}

impl Caveats {
    /// The sentence, and under it a line for each caveat.
    fn below(&self, mut sentence: String) -> String {
        for found in &self.extrapolation {
            let _ = write!(sentence, "\nextrapolation: {}", found.told());
        }
        for warning in &self.warnings {
            let _ = write!(sentence, "\nwarning: {} ({})", warning.detail, warning.code);
        }
        if let Some(trust) = &self.trust {
            let _ = write!(sentence, "\ntrust: {}", trust.told());
        }
        sentence
    }
}

impl Asking {
    fn doubts(&self, caveats: &Caveats, interval: Option<&Interval>) -> Vec<String> {
        let mut doubts = Vec::new();
        if let Some(trust) = caveats.trust.as_ref().filter(|trust| trust.level == "none") {
            doubts.push(format!("the answer is not to be trusted: {}", trust.because.join(", ")));
        }
        if let Some(most) = self.max_extrapolation {
            let beyond = caveats.extrapolation.iter().filter(|found| found.factor > most);
            doubts.extend(beyond.map(|found| format!("{}, more than {most}", found.told())));
        }
        if let Some(widest) = self.max_interval {
            match interval.map(|interval| interval.high - interval.low) {
                Some(width) if width <= widest => {}
                Some(width) => {
                    doubts
                        .push(format!("the interval is {} wide, more than {widest}", short(width)));
                }
                None => doubts.push("the law has no interval for this answer".to_owned()),
            }
        }
        doubts
    }
}

fn within(interval: Option<&Interval>) -> String {
    interval.map_or_else(String::new, |Interval { level, low, high }| {
        format!(" ({} % interval {} to {})", short(level * 100.0), short(*low), short(*high))
    })
}

/// A number to four digits, for people.
fn short(value: f64) -> String {
    // Rounded by its own digits, and written without those that say nothing.
    let rounded: f64 = format!("{value:.3e}").parse().unwrap_or(value);
    if rounded == 0.0 || (1e-3..1e5).contains(&rounded.abs()) {
        rounded.to_string()
    } else {
        format!("{rounded:e}")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        question: Question,
    }

    fn parsed(arguments: &str) -> Result<Question, clap::Error> {
        let line = Line::try_parse_from(format!("ask {arguments}").split(' '))?;
        Ok(line.question)
    }

    const PREDICTION: &str =
        "prediction --url http://h --family f --nonzero-params 1e8 --sparsity 0.5";

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.81234, 2.0, 1e8, 123_456.0, 99_999.9, -0.000_123_46, 1.2e-5].map(short);
        assert_eq!(shown, ["0", "0.8123", "2", "1e8", "1.235e5", "1e5", "-1.235e-4", "1.2e-5"]);
    }

    #[test]
    fn the_address_may_have_a_path_and_names_are_escaped() {
        let question = parsed(
            "optimal-sparsity --url https://h/planner/ --family a/b --nonzero-params 1e8 --compute 1e20 \
             --flop-mode my&mode --law-version 3 --no-intervals",
        );
        assert_eq!(
            question.unwrap().url().unwrap().as_str(),
            "https://h/planner/v1/families/a%2Fb/optimal-sparsity?nonzero_params=100000000\
             &compute=100000000000000000000&flop_mode=my%26mode&law_version=3&intervals=false"
        );
        let plain = parsed(&format!("{PREDICTION} --data 1e9")).unwrap().url().unwrap();
        let expected = "http://h/v1/families/f/prediction?nonzero_params=100000000&sparsity=0.5&data=1000000000";
        assert_eq!(plain.as_str(), expected);
    }

    #[test]
    fn only_http_is_asked() {
        let line = PREDICTION.replace("http:", "file:") + " --data 1e9";
        assert!(matches!(parsed(&line).unwrap().url(), Err(RemoteError::Url(_))));
    }

    #[test]
    fn a_prediction_has_data_or_a_budget() {
        for rest in
            ["", " --compute 1e20", " --flop-mode dense", " --data 1 --compute 1 --flop-mode dense"]
        {
            assert!(parsed(&format!("{PREDICTION}{rest}")).is_err(), "{rest}");
        }
        assert!(parsed(&format!("{PREDICTION} --compute 1e20 --flop-mode dense")).is_ok());
        for rest in ["--max-interval -1", "--max-interval NaN", "--no-intervals --max-interval 1"] {
            assert!(parsed(&format!("{PREDICTION} --data 1 {rest}")).is_err(), "{rest}");
        }
    }

    #[test]
    fn doubts_name_what_is_beyond_the_limits() {
        let line = format!("{PREDICTION} --data 1 --max-extrapolation 4 --max-interval 0.5");
        let question = parsed(&line).unwrap();
        let far = |factor| Extrapolation { variable: "data".into(), factor, side: "above".into() };
        let wide = |high| Interval { level: 0.95, low: 0.25, high };
        let caveats = |extrapolation: Vec<Extrapolation>, trust: Option<&str>| Caveats {
            law: Law { version: 1, source: "fit".into() },
            extrapolation,
            warnings: Vec::new(),
            trust: trust.map(|level| Trust {
                level: level.into(),
                because: vec!["wide_interval".into(), "extrapolation".into()],
            }),
        };
        let doubts = |factor, high| {
            let caveats = caveats(vec![far(factor)], Some("weak"));
            question.asking().doubts(&caveats, Some(&wide(high)))
        };
        assert!(doubts(4.0, 0.75).is_empty());
        assert_eq!(
            doubts(4.5, 1.0),
            [
                "data is above the runs behind the law, by a factor of 4.5, more than 4",
                "the interval is 0.75 wide, more than 0.5"
            ]
        );
        let without = question.asking().doubts(&caveats(Vec::new(), None), None);
        assert_eq!(without, ["the law has no interval for this answer"]);
        // Without any limit of the caller's own.
        let plain = parsed(&format!("{PREDICTION} --data 1")).unwrap();
        let worthless = caveats(Vec::new(), Some("none"));
        assert_eq!(
            plain.asking().doubts(&worthless, None),
            ["the answer is not to be trusted: wide_interval, extrapolation"]
        );
        assert_eq!(
            worthless.below("It is 3.".into()),
            "It is 3.\ntrust: none, because of wide_interval, extrapolation"
        );
    }
}
