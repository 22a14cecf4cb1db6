//! Asks a remote service a question, for use in pipelines: prints one sentence, or the answer as it was sent, and tells
//! whether the answer may be acted on.
//!
//! Like any client, it knows only the paths and the JSON of the API.

use clap::{Args, Subcommand};
use reqwest::Url;
use serde::Deserialize;

use crate::cli::caveats::{Caveats, short};
use crate::cli::remote::{RemoteError, Server};

/// The question to ask.
#[derive(Debug, Subcommand)]
pub enum Question {
    /// The sparsity that makes the most of a training budget.
    OptimalSparsity {
        /// Non-zero parameters at the end of training.
        #[arg(long)]
        nonzero_params: f64,
        /// The training cost, in one currency.
        #[command(flatten)]
        budget: Budget,
        /// How training cost is counted: dense, sparse, or the name of a hardware profile.
        #[arg(long)]
        flop_mode: String,
        /// Limits that the model must not exceed.
        #[command(flatten)]
        bounds: Bounds,
        /// Which service to ask, and which answers to accept.
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
        /// Training data, in the family's data unit. Give either this, or a training cost and a FLOP mode.
        #[arg(long, conflicts_with_all = ["training_cost", "flop_mode"])]
        data: Option<f64>,
        /// Instead of the data: the training cost, in one currency.
        #[command(flatten)]
        budget: MaybeBudget,
        /// How training cost is counted: dense, sparse, or the name of a hardware profile.
        #[arg(long, requires = "training_cost")]
        flop_mode: Option<String>,
        /// Which service to ask, and which answers to accept.
        #[command(flatten)]
        asking: Asking,
    },
}

/// A training cost, in exactly one currency.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Budget {
    /// Training cost in FLOPs.
    #[arg(long)]
    compute: Option<f64>,
    /// Instead of FLOPs: hours of one device of the hardware profile.
    #[arg(long)]
    device_hours: Option<f64>,
    /// Instead of FLOPs: days of all devices of the hardware profile together.
    #[arg(long)]
    days: Option<f64>,
    /// Instead of FLOPs: money for the device hours, in the currency of the profile's price.
    #[arg(long)]
    cost: Option<f64>,
}

/// A training cost, for questions that give it instead of the data.
#[derive(Debug, Args)]
#[group(id = "training_cost", multiple = false)]
pub struct MaybeBudget {
    /// Training cost in FLOPs.
    #[arg(long, requires = "flop_mode", required_unless_present_any = ["data", "device_hours", "days", "cost"])]
    compute: Option<f64>,
    /// Instead of FLOPs: hours of one device of the hardware profile.
    #[arg(long, requires = "flop_mode")]
    device_hours: Option<f64>,
    /// Instead of FLOPs: days of all devices of the hardware profile together.
    #[arg(long, requires = "flop_mode")]
    days: Option<f64>,
    /// Instead of FLOPs: money for the device hours, in the currency of the profile's price.
    #[arg(long, requires = "flop_mode")]
    cost: Option<f64>,
}

/// Limits that a model must not exceed.
#[derive(Debug, Args)]
pub struct Bounds {
    /// Most parameters, including zeros.
    #[arg(long)]
    max_total_params: Option<f64>,
    /// Most bytes of the model's weights, stored at 16 bits as the hardware profile does.
    #[arg(long)]
    memory_bytes: Option<f64>,
    /// Highest sparsity.
    #[arg(long)]
    max_sparsity: Option<f64>,
}

/// Query parameters; those that are not given are `None`.
type Parameters = Vec<(&'static str, Option<String>)>;

fn currencies([compute, device_hours, days, cost]: [Option<f64>; 4]) -> Parameters {
    let text = |value: Option<f64>| value.map(|value| value.to_string());
    vec![
        ("compute", text(compute)),
        ("device_hours", text(device_hours)),
        ("days", text(days)),
        ("cost", text(cost)),
    ]
}

impl Budget {
    const fn given(&self) -> [Option<f64>; 4] {
        [self.compute, self.device_hours, self.days, self.cost]
    }
}

impl MaybeBudget {
    const fn given(&self) -> [Option<f64>; 4] {
        [self.compute, self.device_hours, self.days, self.cost]
    }
}

impl Bounds {
    fn parameters(&self) -> Parameters {
        let text = |value: Option<f64>| value.map(|value| value.to_string());
        vec![
            ("max_total_params", text(self.max_total_params)),
            ("memory_bytes", text(self.memory_bytes)),
            ("max_sparsity", text(self.max_sparsity)),
        ]
    }
}

/// A budget in words: in the currency in which it was given, and also in FLOPs if that is another one.
fn spent(given: [Option<f64>; 4], flops: Option<f64>) -> String {
    let [compute, device_hours, days, cost] = given;
    let own = match (compute, device_hours, days, cost) {
        (Some(compute), ..) => return format!("{} FLOPs", short(compute)),
        (_, Some(hours), ..) => format!("{} device hours", short(hours)),
        (_, _, Some(days), _) => format!("{} days of all devices", short(days)),
        (.., cost) => format!("a cost of {}", short(cost.unwrap_or_default())),
    };
    match flops {
        Some(flops) => format!("{own} ({} FLOPs)", short(flops)),
        None => own,
    }
}

/// Which service to ask, and which answers to accept.
#[derive(Debug, Args)]
pub struct Asking {
    /// The service to ask.
    #[command(flatten)]
    server: Server,
    /// Family whose law answers.
    #[arg(long)]
    family: String,
    /// Version of the law; by default the active one.
    #[arg(long)]
    law_version: Option<i32>,
    /// Leave out the intervals.
    #[arg(long, conflicts_with = "max_interval")]
    no_intervals: bool,
    /// Print the answer as the service sent it.
    #[arg(long)]
    json: bool,
    /// Exit with 2 if a quantity lies outside the runs behind the law by more than this factor.
    #[arg(long, value_name = "FACTOR", value_parser = limit)]
    max_extrapolation: Option<f64>,
    /// Exit with 2 if the interval is wider than this, in the unit of the answer, or if there is none.
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
    /// Text to print: sentences, or the answer as it was sent.
    pub text: String,
    /// Why the answer should not be acted on; empty if it may be.
    pub doubts: Vec<String>,
}

/// Asks the service the question.
///
/// # Errors
///
/// See [`RemoteError`].
pub async fn ask(question: &Question) -> Result<Answered, RemoteError> {
    let asking = question.asking();
    let body = asking.server.get(question.url()?).await?;
    let (sentence, law, caveats, interval) = match question {
        Question::OptimalSparsity { nonzero_params, budget, flop_mode, .. } => {
            let answer: OptimalSparsity = serde_json::from_str(&body)?;
            let sparsity = if answer.best_measured_level {
                format!("one of those that were measured: {}", short(answer.sparsity))
            } else {
                short(answer.sparsity)
            };
            let kept = match &answer.binding[..] {
                [] => String::new(),
                bounds => format!(", as much as {} {}", bounds.join(" and "), plural(bounds)),
            };
            let pattern = match &answer.pattern {
                Some(pattern) if pattern.name != "dense" => format!(
                    " Of the patterns, {} is best, for a loss of {}.",
                    pattern.name,
                    short(pattern.loss)
                ),
                Some(_) => " None of the patterns is better than a dense model.".to_owned(),
                None => String::new(),
            };
            let sentence = format!(
                "The best sparsity of {} non-zero parameters trained with {} in mode {flop_mode} is \
                 {sparsity}{}{kept}, for a loss of {}{}, says {}.{pattern}",
                short(*nonzero_params),
                spent(budget.given(), answer.budget.map(|budget| budget.compute)),
                within(answer.interval.as_ref()),
                short(answer.loss),
                answer
                    .dense
                    .map(|dense| format!(" against {} dense", short(dense.loss)))
                    .unwrap_or_default(),
                answer.law.named(&asking.family),
            );
            (sentence, answer.law, answer.caveats, answer.interval)
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
                answer.law.named(&asking.family),
            );
            (sentence, answer.law, answer.caveats, answer.interval)
        }
    };
    let text = if asking.json {
        body
    } else {
        let version = law.version.to_string();
        let law = asking.server.url(&["v1", "families", &asking.family, "laws", &version])?;
        let caveats = caveats.lines(law.as_str());
        std::iter::once(sentence).chain(caveats).collect::<Vec<_>>().join("\n")
    };
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
            Self::OptimalSparsity { nonzero_params, budget, flop_mode, bounds, .. } => {
                let mut own = vec![("nonzero_params", Some(nonzero_params.to_string()))];
                own.extend(currencies(budget.given()));
                own.push(("flop_mode", Some(flop_mode.clone())));
                own.extend(bounds.parameters());
                ("optimal-sparsity", own)
            }
            Self::Prediction { nonzero_params, sparsity, data, budget, flop_mode, .. } => {
                let mut own = vec![
                    ("nonzero_params", Some(nonzero_params.to_string())),
                    ("sparsity", Some(sparsity.to_string())),
                    ("data", data.map(|data| data.to_string())),
                ];
                own.extend(currencies(budget.given()));
                own.push(("flop_mode", flop_mode.clone()));
                ("prediction", own)
            }
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
    law: LawName,
    sparsity: f64,
    #[serde(default)]
    best_measured_level: bool,
    loss: f64,
    dense: Option<Dense>,
    interval: Option<Interval>,
    /// Absent in answers of older versions of the service, like `binding`.
    budget: Option<Flops>,
    #[serde(default)]
    binding: Vec<String>,
    /// The best pattern of the hardware, where the mode has some.
    pattern: Option<Pattern>,
    #[serde(flatten)]
    caveats: Caveats,
}

#[derive(Deserialize)]
struct Pattern {
    name: String,
    loss: f64,
}

/// The law that answered.
#[derive(Deserialize)]
struct LawName {
    version: i32,
    source: String,
}

impl LawName {
    /// The law in words.
    fn named(&self, family: &str) -> String {
        let source = if self.source == "fit" { "fitted" } else { &self.source };
        format!("law {} of {family} ({source})", self.version)
    }
}

#[derive(Deserialize)]
struct Flops {
    compute: f64,
}

#[derive(Deserialize)]
struct Dense {
    loss: f64,
}

#[derive(Deserialize)]
struct Prediction {
    law: LawName,
    loss: f64,
    data: f64,
    interval: Option<Interval>,
    #[serde(flatten)]
    caveats: Caveats,
}

#[derive(Deserialize)]
struct Interval {
    level: f64,
    low: f64,
    high: f64,
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

const fn plural(bounds: &[String]) -> &'static str {
    if bounds.len() == 1 { "allows" } else { "allow" }
}

fn within(interval: Option<&Interval>) -> String {
    interval.map_or_else(String::new, |Interval { level, low, high }| {
        format!(" ({} % interval {} to {})", short(level * 100.0), short(*low), short(*high))
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::caveats::{Extrapolation, Trust};

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
    fn budgets_have_one_currency_and_bounds_are_passed_on() {
        let best = "optimal-sparsity --url http://h --family f --nonzero-params 1e8 --flop-mode m";
        for (rest, query) in [
            (
                " --device-hours 1500 --max-sparsity 0.9",
                "device_hours=1500&flop_mode=m&max_sparsity=0.9",
            ),
            (" --days 2.5 --memory-bytes 1e9", "days=2.5&flop_mode=m&memory_bytes=1000000000"),
            (
                " --cost 3840 --max-total-params 1e9",
                "cost=3840&flop_mode=m&max_total_params=1000000000",
            ),
        ] {
            let url = parsed(&format!("{best}{rest}")).unwrap().url().unwrap();
            assert_eq!(url.query(), Some(&*format!("nonzero_params=100000000&{query}")));
        }
        for rest in ["", " --days 1 --cost 1", " --compute 1e20 --device-hours 1"] {
            assert!(parsed(&format!("{best}{rest}")).is_err(), "{rest}");
        }
        for currency in ["device-hours", "days", "cost"] {
            let line = format!("{PREDICTION} --{currency} 2");
            assert!(parsed(&line).is_err(), "{line}");
            assert!(parsed(&format!("{line} --flop-mode m --data 1")).is_err(), "{line}");
            assert!(parsed(&format!("{line} --flop-mode m --compute 1")).is_err(), "{line}");
            let url = parsed(&format!("{line} --flop-mode m")).unwrap().url().unwrap();
            let name = currency.replace('-', "_");
            let expected = format!("nonzero_params=100000000&sparsity=0.5&{name}=2&flop_mode=m");
            assert_eq!(url.query(), Some(&*expected));
        }
    }

    #[test]
    fn budgets_are_told_as_they_were_given() {
        assert_eq!(spent([Some(1e20), None, None, None], Some(1e20)), "1e20 FLOPs");
        let hours = [None, Some(1536.0), None, None];
        assert_eq!(spent(hours, Some(2.21e21)), "1536 device hours (2.21e21 FLOPs)");
        assert_eq!(spent([None, None, Some(2.0), None], None), "2 days of all devices");
        assert_eq!(spent([None, None, None, Some(9.0)], Some(1e19)), "a cost of 9 (1e19 FLOPs)");
    }

    #[test]
    fn doubts_name_what_is_beyond_the_limits() {
        let line = format!("{PREDICTION} --data 1 --max-extrapolation 4 --max-interval 0.5");
        let question = parsed(&line).unwrap();
        let far = |factor| Extrapolation { variable: "data".into(), factor, side: "above".into() };
        let wide = |high| Interval { level: 0.95, low: 0.25, high };
        let caveats = |extrapolation: Vec<Extrapolation>, trust: Option<&str>| Caveats {
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
        // Without any limit on the command line.
        let plain = parsed(&format!("{PREDICTION} --data 1")).unwrap();
        let worthless = caveats(Vec::new(), Some("none"));
        assert_eq!(
            plain.asking().doubts(&worthless, None),
            ["the answer is not to be trusted: wide_interval, extrapolation"]
        );
        let lines = worthless.lines("http://h/law");
        assert_eq!(lines, ["trust: none, because of wide_interval, extrapolation"]);
    }
}
