//! What a fit minimises, what it holds fixed, and how hard it tries.

use std::collections::BTreeMap;

use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::law::CoefficientName;

named! {
    /// How prediction and measurement are compared.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Residual {
        /// `ln f - ln L`: relative errors, the paper's choice for T5.
        Log = "log",
        /// `f - L`: absolute errors, the paper's choice for ViT.
        Linear = "linear",
    }
}

impl Residual {
    /// The residual of a prediction.
    #[must_use]
    pub fn of(self, predicted: f64, measured: f64) -> f64 {
        match self {
            Self::Log => (predicted / measured).ln(),
            Self::Linear => predicted - measured,
        }
    }

    /// The measured loss at which `predicted` has the residual `residual`: what a run with that noise would show.
    #[must_use]
    pub fn measured(self, predicted: f64, residual: f64) -> f64 {
        match self {
            Self::Log => predicted * (-residual).exp(),
            Self::Linear => predicted - residual,
        }
    }
}

/// Where the Huber loss turns from quadratic to linear, in units of the residual.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Delta {
    /// [`FitConfig::DELTA_IN_SIGMAS`] robust standard deviations of the residuals, determined during the fit. For
    /// normal residuals this has 95 % of the efficiency of least squares (Huber 1964), and a few residuals that
    /// are far from normal do not move the fit.
    Auto,
    /// A given number.
    Fixed(f64),
}

impl Delta {
    /// The given number; `None` for [`Delta::Auto`].
    #[must_use]
    pub const fn fixed(self) -> Option<f64> {
        match self {
            Self::Auto => None,
            Self::Fixed(delta) => Some(delta),
        }
    }
}

impl From<f64> for Delta {
    fn from(delta: f64) -> Self {
        Self::Fixed(delta)
    }
}

impl Serialize for Delta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Fixed(delta) => serializer.serialize_f64(*delta),
        }
    }
}

impl<'de> Deserialize<'de> for Delta {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DeltaVisitor)
    }
}

struct DeltaVisitor;

impl Visitor<'_> for DeltaVisitor {
    type Value = Delta;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("\"auto\" or a number")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Delta, E> {
        if text == "auto" {
            Ok(Delta::Auto)
        } else {
            Err(E::invalid_value(Unexpected::Str(text), &self))
        }
    }

    fn visit_f64<E: serde::de::Error>(self, delta: f64) -> Result<Delta, E> {
        Ok(Delta::Fixed(delta))
    }

    // Whole numbers in JSON; every delta in range is exact as an f64.
    fn visit_u64<E: serde::de::Error>(self, delta: u64) -> Result<Delta, E> {
        Ok(Delta::Fixed(delta as f64))
    }

    fn visit_i64<E: serde::de::Error>(self, delta: i64) -> Result<Delta, E> {
        Ok(Delta::Fixed(delta as f64))
    }
}

/// A condition on the coefficients, beyond their being positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Constraint {
    /// `s0 = a_S b_S / (b_N (a_S + c_S)) <= 1`: no slightly sparse model beats a dense one of the
    /// same total size.
    Physical,
}

named! {
    /// A hold-out: runs that are left out of a fit and then predicted by it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Holdout {
        /// The runs with the most non-zero parameters.
        NonzeroParams = "nonzero_params",
        /// The runs with the most data.
        Data = "data",
        /// The sparsest runs.
        Sparsity = "sparsity",
        /// Each size in turn, predicted from all smaller ones.
        Rolling = "rolling",
    }
}

/// Configuration of a fit, not yet checked. Serialised with every law, so that it can be refitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FitConfig {
    /// How predicted and measured loss are compared.
    pub residual: Residual,
    /// Where the Huber loss turns from quadratic to linear, in units of the residual.
    pub delta: Delta,
    /// Number of random starts.
    pub starts: u32,
    /// Seed from which every start and resample derives its own.
    pub seed: u64,
    /// Number of bootstrap resamples; 0 for a fit without any intervals, profile intervals included.
    pub bootstrap: u32,
    /// Nominal coverage of the intervals, 0 to 1.
    pub confidence: f64,
    /// Coefficients that are held at a given value, in raw units.
    pub fixed: BTreeMap<CoefficientName, f64>,
    /// A condition on the coefficients.
    pub constraint: Option<Constraint>,
    /// Which hold-outs to make.
    pub holdout: Vec<Holdout>,
}

impl Default for FitConfig {
    fn default() -> Self {
        Self {
            residual: Residual::Log,
            delta: Delta::Auto,
            starts: Self::DEFAULT_STARTS,
            seed: 0,
            bootstrap: Self::DEFAULT_BOOTSTRAP,
            confidence: Self::DEFAULT_CONFIDENCE,
            fixed: BTreeMap::new(),
            constraint: None,
            holdout: Holdout::ALL.to_vec(),
        }
    }
}

/// An option of [`FitConfig`] that is out of range or conflicts with another.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// The Huber parameter is out of range.
    #[error("must be {range}, not {0}", range = FitConfig::DELTA_RANGE)]
    Delta(f64),
    /// The number of starts is out of range.
    #[error("must be between 1 and {max}, not {0}", max = FitConfig::MAX_STARTS)]
    Starts(u32),
    /// The seed is too large.
    #[error("must be at most {max}, not {0}", max = FitConfig::MAX_SEED)]
    Seed(u64),
    /// The number of resamples is out of range.
    #[error(
        "must be 0 for no intervals, or between {min} and {max}, not {0}",
        min = FitConfig::MIN_BOOTSTRAP, max = FitConfig::MAX_BOOTSTRAP
    )]
    Bootstrap(u32),
    /// The coverage is out of range.
    #[error("must be {range}, not {0}", range = FitConfig::CONFIDENCE_RANGE)]
    Confidence(f64),
    /// A fixed coefficient is out of range.
    #[error("must be {range}, not {value}")]
    Fixed {
        /// Which coefficient.
        coefficient: CoefficientName,
        /// Its range in words.
        range: &'static str,
        /// What was given.
        value: f64,
    },
    /// All seven coefficients are fixed.
    #[error("must leave at least one coefficient to be fitted")]
    NothingToFit,
    /// The constraint would have to change `b_s`, which is fixed.
    #[error("cannot be kept where b_s is fixed: it is b_s that would have to give way")]
    ConstraintOnFixed,
}

impl ConfigError {
    /// Path of the invalid option, its parts separated by `/`.
    #[must_use]
    pub fn field(&self) -> String {
        match self {
            Self::Delta(_) => "objective/delta".to_owned(),
            Self::Starts(_) => "starts".to_owned(),
            Self::Seed(_) => "seed".to_owned(),
            Self::Bootstrap(_) => "bootstrap".to_owned(),
            Self::Confidence(_) => "confidence".to_owned(),
            Self::Fixed { coefficient, .. } => format!("fixed/{}", coefficient.as_str()),
            Self::NothingToFit => "fixed".to_owned(),
            Self::ConstraintOnFixed => "constraint".to_owned(),
        }
    }
}

impl FitConfig {
    /// Starts of a fit where the caller does not say. A start reaches the global minimum of the paper's T5 runs,
    /// and that of its ViT runs, with a probability above 90 %, so all of these starts practically never miss it.
    /// Where only every second start reaches the minimum, all miss it with a probability of 1 in 65,000.
    pub const DEFAULT_STARTS: u32 = 16;
    /// Largest number of starts allowed.
    pub const MAX_STARTS: u32 = 4096;
    /// Resamples of a fit where the caller does not say: each end of a 95 % interval then rests on about 20
    /// of them.
    pub const DEFAULT_BOOTSTRAP: u32 = 1000;
    /// Smallest number of resamples that gives an interval.
    pub const MIN_BOOTSTRAP: u32 = 100;
    /// Largest number of resamples allowed.
    pub const MAX_BOOTSTRAP: u32 = 10_000;
    /// Nominal coverage of the intervals where the caller does not say.
    pub const DEFAULT_CONFIDENCE: f64 = 0.95;
    /// The largest seed: all integers up to it are exact as JSON numbers.
    pub const MAX_SEED: u64 = (1 << 53) - 1;
    /// Delta of [`Delta::Auto`], in robust standard deviations of the residuals.
    pub const DELTA_IN_SIGMAS: f64 = 1.345;
    /// Allowed range of delta, in words.
    pub const DELTA_RANGE: &'static str = "between 1e-9 and 1e6, or \"auto\"";
    /// Allowed range of the coverage, in words.
    pub const CONFIDENCE_RANGE: &'static str = "between 0.5 and 0.999";
    /// Allowed range of a fixed exponent, in words.
    pub const EXPONENT_RANGE: &'static str = "between 0.001 and 20";
    /// Allowed range of a fixed amplitude, in words.
    pub const AMPLITUDE_RANGE: &'static str = "between 1e-100 and 1e100";

    /// Checks every field.
    ///
    /// ```
    /// use sparsity_law::fit::FitConfig;
    ///
    /// assert!(FitConfig::default().check().is_ok());
    /// let wrong = FitConfig { starts: 0, confidence: 95.0, ..FitConfig::default() };
    /// let fields: Vec<String> = wrong.check().unwrap_err().iter().map(|e| e.field()).collect();
    /// assert_eq!(fields, ["starts", "confidence"]);
    /// ```
    ///
    /// # Errors
    /// One error for every option that is out of range or conflicts with another.
    pub fn check(self) -> Result<ValidFitConfig, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let mut require = |holds: bool, error: ConfigError| {
            if !holds {
                errors.push(error);
            }
        };
        if let Delta::Fixed(delta) = self.delta {
            require((1e-9..=1e6).contains(&delta), ConfigError::Delta(delta));
        }
        require((1..=Self::MAX_STARTS).contains(&self.starts), ConfigError::Starts(self.starts));
        require(self.seed <= Self::MAX_SEED, ConfigError::Seed(self.seed));
        require(
            self.bootstrap == 0
                || (Self::MIN_BOOTSTRAP..=Self::MAX_BOOTSTRAP).contains(&self.bootstrap),
            ConfigError::Bootstrap(self.bootstrap),
        );
        require((0.5..=0.999).contains(&self.confidence), ConfigError::Confidence(self.confidence));
        for (&coefficient, &value) in &self.fixed {
            let (range, holds) = if coefficient.is_exponent() {
                (Self::EXPONENT_RANGE, (1e-3..=20.0).contains(&value))
            } else {
                (Self::AMPLITUDE_RANGE, (1e-100..=1e100).contains(&value))
            };
            require(holds, ConfigError::Fixed { coefficient, range, value });
        }
        require(self.fixed.len() < CoefficientName::ALL.len(), ConfigError::NothingToFit);
        require(
            self.constraint.is_none() || !self.fixed.contains_key(&CoefficientName::BS),
            ConfigError::ConstraintOnFixed,
        );
        if errors.is_empty() { Ok(ValidFitConfig(self)) } else { Err(errors) }
    }
}

/// A checked configuration; only a checked one can be fitted with.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidFitConfig(FitConfig);

impl ValidFitConfig {
    /// The options.
    #[must_use]
    pub const fn get(&self) -> &FitConfig {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_has_its_range() {
        let default = FitConfig::default();
        assert!(default.clone().check().is_ok());
        let fixed = |pairs: &[(CoefficientName, f64)]| pairs.iter().copied().collect();
        let all = CoefficientName::ALL.map(|name| (name, 1.0));
        let table = [
            (FitConfig { delta: f64::NAN.into(), ..default.clone() }, "objective/delta"),
            (FitConfig { starts: 0, ..default.clone() }, "starts"),
            (FitConfig { starts: 5000, ..default.clone() }, "starts"),
            (FitConfig { seed: 1 << 53, ..default.clone() }, "seed"),
            (FitConfig { bootstrap: 99, ..default.clone() }, "bootstrap"),
            (FitConfig { bootstrap: 10_001, ..default.clone() }, "bootstrap"),
            (FitConfig { confidence: 95.0, ..default.clone() }, "confidence"),
            (
                FitConfig { fixed: fixed(&[(CoefficientName::BN, 21.0)]), ..default.clone() },
                "fixed/b_n",
            ),
            (
                FitConfig { fixed: fixed(&[(CoefficientName::C, 0.0)]), ..default.clone() },
                "fixed/c",
            ),
            (FitConfig { fixed: fixed(&all), ..default.clone() }, "fixed"),
            (
                FitConfig {
                    fixed: fixed(&[(CoefficientName::BS, 1.0)]),
                    constraint: Some(Constraint::Physical),
                    ..default
                },
                "constraint",
            ),
        ];
        for (config, field) in table {
            let errors = config.check().unwrap_err();
            let fields: Vec<String> = errors.iter().map(ConfigError::field).collect();
            assert_eq!(fields, [field]);
        }
        assert_eq!(ConfigError::Starts(5000).to_string(), "must be between 1 and 4096, not 5000");
    }

    #[test]
    fn delta_is_a_number_or_auto() {
        for (text, delta) in [("\"auto\"", Delta::Auto), ("0.001", 1e-3.into()), ("1", 1.0.into())]
        {
            assert_eq!(serde_json::from_str::<Delta>(text).unwrap(), delta);
            let written = serde_json::to_string(&delta).unwrap();
            assert_eq!(serde_json::from_str::<Delta>(&written).unwrap(), delta);
        }
        serde_json::from_str::<Delta>("\"1\"").unwrap_err();
    }

    #[test]
    fn a_residual_is_undone() {
        for residual in [Residual::Log, Residual::Linear] {
            let r = residual.of(2.0, 1.9);
            assert!((residual.measured(2.0, r) - 1.9).abs() < 1e-15);
        }
    }
}
