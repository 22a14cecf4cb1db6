//! The caveats of an answer, as lines for people: first the level of trust and the reasons for it, then what concerns
//! this answer alone, and last what concerns the law in general, in one line that says where to read it.
//!
//! Like any client, it knows only the JSON of the API.

use serde::Deserialize;

/// The caveats that every answer contains.
#[derive(Debug, Deserialize)]
pub struct Caveats {
    /// Quantities of the question that lie outside the range of the runs.
    pub extrapolation: Vec<Extrapolation>,
    /// What to know before trusting the answer.
    pub warnings: Vec<Warning>,
    /// Absent in answers of older versions of the service.
    pub trust: Option<Trust>,
}

/// How far an answer can be trusted.
#[derive(Debug, Deserialize)]
pub struct Trust {
    /// The level of trust, in one word.
    pub level: String,
    /// Codes of the reasons.
    pub because: Vec<String>,
}

/// A quantity outside the range of the runs.
#[derive(Debug, Deserialize)]
pub struct Extrapolation {
    /// Name of the quantity.
    pub variable: String,
    /// The factor by which it lies outside.
    pub factor: f64,
    /// `above` or `below`.
    pub side: String,
}

/// Something to know before trusting an answer.
#[derive(Debug, Deserialize)]
pub struct Warning {
    /// Stable code.
    pub code: String,
    /// The warning as a sentence.
    pub detail: String,
    /// Absent in answers of older versions of the service.
    #[serde(default)]
    pub of: WarningOf,
}

/// What a warning is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningOf {
    /// This answer only.
    #[default]
    Answer,
    /// The law, and so all of its answers.
    Law,
}

impl Trust {
    fn told(&self) -> String {
        if self.because.is_empty() {
            return self.level.clone();
        }
        format!("{}, because of {}", self.level, self.because.join(", "))
    }
}

impl Extrapolation {
    /// The extrapolation in words.
    pub fn told(&self) -> String {
        format!(
            "{} is {} the runs behind the law, by a factor of {}",
            self.variable,
            self.side,
            short(self.factor)
        )
    }
}

impl Caveats {
    /// One line per caveat, the most important first; `law` is the address at which the law can be read.
    pub fn lines(&self, law: &str) -> Vec<String> {
        let because = self.trust.as_ref().map_or(&[][..], |trust| &trust.because);
        let is_reason = |warning: &&Warning| because.contains(&warning.code);
        let is_of = |of: WarningOf| move |warning: &&Warning| warning.of == of;
        let told = |warning: &Warning| format!("{} ({})", warning.detail, warning.code);

        let mut lines = Vec::new();
        lines.extend(self.trust.as_ref().map(|trust| format!("trust: {}", trust.told())));
        let reasons = self.warnings.iter().filter(is_reason);
        lines.extend(reasons.map(|warning| format!("because: {}", told(warning))));
        let outside = self.extrapolation.iter().map(Extrapolation::told);
        lines.extend(outside.map(|told| format!("extrapolation: {told}")));
        let others = || self.warnings.iter().filter(|warning| !is_reason(warning));
        let notes = others().filter(is_of(WarningOf::Answer));
        lines.extend(notes.map(|warning| format!("note: {}", told(warning))));

        let mut standing: Vec<(&str, usize)> = Vec::new();
        for Warning { code, .. } in others().filter(is_of(WarningOf::Law)) {
            match standing.iter_mut().find(|(known, _)| known == code) {
                Some((_, times)) => *times += 1,
                None => standing.push((code, 1)),
            }
        }
        if !standing.is_empty() {
            let counted = standing.iter().map(|(code, times)| match times {
                1 => (*code).to_owned(),
                _ => format!("{code} ({times} times)"),
            });
            let codes = counted.collect::<Vec<_>>().join(", ");
            lines.push(format!("on the law, whatever it is asked: {codes}; in words at {law}"));
        }
        lines
    }
}

/// Formats a number with four significant digits, for people.
pub fn short(value: f64) -> String {
    // Rounded through its decimal form, and printed without trailing zeros.
    let rounded: f64 = format!("{value:.3e}").parse().unwrap_or(value);
    if rounded == 0.0 || (1e-3..1e5).contains(&rounded.abs()) {
        rounded.to_string()
    } else {
        format!("{rounded:e}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.81234, 2.0, 1e8, 123_456.0, 99_999.9, -0.000_123_46, 1.2e-5].map(short);
        assert_eq!(shown, ["0", "0.8123", "2", "1e8", "1.235e5", "1e5", "-1.235e-4", "1.2e-5"]);
    }

    #[test]
    fn what_matters_comes_first_and_remarks_on_the_law_are_one_line() {
        let warning = |code: &str, of: &str| json!({"code": code, "detail": format!("about {code}"), "of": of});
        let answer = json!({
            "extrapolation": [{"variable": "data", "factor": 2.0, "side": "above"}],
            "warnings": [
                warning("interpolated", "answer"), warning("correlated", "law"), warning("lack_of_fit", "law"),
                warning("correlated", "law"), warning("narrow_data", "law"),
            ],
            "trust": {"level": "weak", "because": ["wide_interval", "lack_of_fit"]},
        });
        let caveats: Caveats = serde_json::from_value(answer).unwrap();
        assert_eq!(
            caveats.lines("http://h/law"),
            [
                "trust: weak, because of wide_interval, lack_of_fit",
                "because: about lack_of_fit (lack_of_fit)",
                "extrapolation: data is above the runs behind the law, by a factor of 2",
                "note: about interpolated (interpolated)",
                "on the law, whatever it is asked: correlated (2 times), narrow_data; in words at http://h/law",
            ]
        );
    }

    #[test]
    fn an_answer_of_an_older_service_is_told_in_full() {
        let answer = json!({
            "extrapolation": [],
            "warnings": [{"code": "narrow_data", "detail": "few data"}],
        });
        let caveats: Caveats = serde_json::from_value(answer).unwrap();
        assert_eq!(caveats.lines("u"), ["note: few data (narrow_data)"]);
    }
}
