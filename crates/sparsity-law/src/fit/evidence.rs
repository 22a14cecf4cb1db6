//! What the runs cannot tell, as warnings with a stable code and a sentence.

use super::collinearity::Collinearity;
use super::dependence::{duplicates, trainings};
use super::form::Form;
use super::lack_of_fit::TOLD;
use super::normalised::{BOUNDS, COUNT, Point};
use super::observations::Observations;
use super::parameters::Parameters;
use super::report::{Diagnostics, FittedRun};
use super::warnings::{Warning, WarningCode};
use crate::law::{CoefficientName, CoefficientValues, Coefficients, Ensemble, Identification};

/// Smallest number of distinct values of each quantity without a warning.
const FEWEST_LEVELS: usize = 4;
/// Smallest ratio of the largest to the smallest amount of data without a warning.
const NARROWEST_DATA: f64 = 10.0;
/// Smallest share of starts that agree with the best one without a warning. If only this share of all possible
/// starts reached the best minimum, the default number of starts would still find it with a probability above 99.9
/// %.
const FEWEST_AGREEING: f64 = 0.5;
/// Correlation of two coefficients above which they are called correlated.
const CORRELATED: f64 = 0.95;
/// Smallest number of clusters beyond the number of coefficients without a warning.
const FEWEST_SPARE_CLUSTERS: usize = 8;
/// Ratio of the ends of an exponent's interval above which it is called weakly determined.
pub(super) const WEAK: f64 = 3.0;
/// Share of failed resamples above which there is a warning.
const FAILING: f64 = 0.01;
/// Noise below this is rounding.
const LEAST_NOISE: f64 = 1e-7;
/// Share of rolling predictions inside nominal 95 % intervals below which extrapolation is called bad.
const HONEST: f64 = 0.8;
/// Logarithm of an amplitude, relative to the loss, below which its term counts as absent.
pub(super) const ABSENT: f64 = -12.0;

/// What is known about a fit when its warnings are written.
pub(super) struct Evidence<'a> {
    pub runs: &'a Observations,
    pub form: Form,
    /// Number of fitted coefficients.
    pub free: usize,
    /// The law, if it is of the paper's form.
    pub law: Option<PaperLaw<'a>>,
    pub diagnostics: &'a Diagnostics,
    pub fitted: &'a [FittedRun],
    pub ensemble: Option<&'a Ensemble>,
    pub resamples: u32,
    pub identification: &'a Identification,
}

/// A law of the paper's form, and the point where the search for it ended.
pub(super) struct PaperLaw<'a> {
    pub coefficients: &'a Coefficients,
    pub point: &'a Point,
    pub parameters: &'a Parameters,
}

impl Evidence<'_> {
    /// All warnings about the fit.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut found = Vec::new();
        let mut warn = |code, detail| found.push(Warning { code, detail });
        self.design(&mut warn);
        if let Some(law) = &self.law {
            self.coefficients(law, &mut warn);
        }
        self.quality(&mut warn);
        found
    }

    /// Warnings about the choice of runs, whatever their losses.
    fn design(&self, warn: &mut impl FnMut(WarningCode, String)) {
        if !self.identification.is_complete() {
            let missing = self.identification.missing.iter().map(ToString::to_string);
            let open = self.identification.open.iter().map(|name| name.as_str());
            let detail = format!(
                "the runs do not determine {}: they have {}",
                open.collect::<Vec<_>>().join(", "),
                missing.collect::<Vec<_>>().join("; ")
            );
            warn(WarningCode::NotIdentified, detail);
        }
        let (runs, free) = (self.runs.len(), self.free);
        if runs <= free {
            let detail = format!(
                "{runs} runs for {free} coefficients: many different laws fit them equally well"
            );
            warn(WarningCode::TooFewRuns, detail);
        }
        let levels = [
            (
                self.form.nonzero_params,
                WarningCode::FewNonzeroParamsLevels,
                "nonzero_params",
                self.runs.levels(|run| run.nonzero_params.get()).len(),
            ),
            (
                self.form.data,
                WarningCode::FewDataLevels,
                "data",
                self.runs.levels(|run| run.data.get()).len(),
            ),
            (
                self.form.sparsity,
                WarningCode::FewSparsityLevels,
                "sparsity",
                self.runs.levels(|run| run.sparsity.density().get()).len(),
            ),
        ];
        for (varies, code, quantity, levels) in levels {
            if !varies {
                let detail = format!(
                    "all runs have the same {quantity}: the law cannot be asked what another \
                     {quantity} would do"
                );
                warn(WarningCode::NotSeparable, detail);
            } else if levels < FEWEST_LEVELS {
                let detail = format!(
                    "the runs have {levels} different values of {quantity}; at least \
                     {FEWEST_LEVELS} are needed to tell the shape of a curve from its height"
                );
                warn(code, detail);
            }
        }
        let data = self.runs.as_slice().iter().map(|run| run.data.get());
        let (least, most) = data.fold((f64::INFINITY, 0.0_f64), |(a, b), d| (a.min(d), b.max(d)));
        if self.form.data && most < NARROWEST_DATA * least {
            let detail = format!(
                "the amounts of data span a factor of {:.1}: how the loss falls beyond them is \
                 hardly determined",
                most / least
            );
            warn(WarningCode::NarrowData, detail);
        }
        if let Some(line) = Collinearity::of(self.runs).filter(|line| line.is_line()) {
            let detail = format!(
                "nonzero_params and data of the runs lie nearly on one line (correlation of their \
                 logarithms {:.3}{}): what size does can hardly be told from what data do, and answers may be \
                 farther off than their intervals say; add runs with other data at the same size and \
                 sparsity",
                line.overall,
                line.beside_sparsity
                    .map(|r| format!(", {r:.3} beside sparsity"))
                    .unwrap_or_default()
            );
            warn(WarningCode::Collinear, detail);
        }
    }

    /// Warnings about single coefficients.
    fn coefficients(&self, law: &PaperLaw<'_>, warn: &mut impl FnMut(WarningCode, String)) {
        let fitted = &self.diagnostics.fitted;
        for (i, row) in self.diagnostics.correlations.iter().enumerate() {
            for (j, &correlation) in row.iter().enumerate().skip(i + 1) {
                if correlation.abs() > CORRELATED {
                    let detail = format!(
                        "{} and {} are correlated ({correlation:.3}): the runs determine them \
                         together rather than one by one",
                        fitted[i].as_str(),
                        fitted[j].as_str()
                    );
                    warn(WarningCode::Correlated, detail);
                }
            }
        }
        for name in fitted.iter().filter(|name| name.is_exponent()) {
            let Some(ensemble) = self.ensemble else { continue };
            let place = *name as usize;
            let interval =
                ensemble.interval(|member| member.coefficients.values().to_array()[place]);
            if interval.high > WEAK * interval.low {
                let detail = format!(
                    "{} could be anywhere between {:.3} and {:.3}: answers that lean on it, far \
                     from the runs most of all, are uncertain by more than their digits show",
                    name.as_str(),
                    interval.low,
                    interval.high
                );
                warn(WarningCode::WeaklyDetermined, detail);
            }
        }
        for place in (0..COUNT).filter(|place| law.parameters.is_free(*place)) {
            let (low, high) = BOUNDS[place];
            let name = CoefficientName::ALL[place];
            let absent = !name.is_exponent() && law.point[place] < ABSENT;
            if absent {
                let detail = format!(
                    "the term of {} vanishes in the fit: the runs show no sign of it",
                    name.as_str()
                );
                warn(WarningCode::AtBound, detail);
            } else if law.point[place] <= low || law.point[place] >= high {
                let detail = format!(
                    "{} ended at the edge of the values that are tried: the runs do not \
                     determine it",
                    name.as_str()
                );
                warn(WarningCode::AtBound, detail);
            }
        }
        let CoefficientValues { b_n, .. } = law.coefficients.values();
        let slope = law.coefficients.gain_slope();
        // On the boundary of the constraint, the slope is 1 to rounding.
        if b_n > 0.0 && slope > 1.0 + 1e-9 {
            let detail = format!(
                "the gain starts with slope s0 = {slope:.3} > 1: by this law a slightly sparse \
                 model would beat a dense one of the same total size"
            );
            warn(WarningCode::Unphysical, detail);
        }
    }

    /// Warnings about how far the fit itself can be trusted.
    fn quality(&self, warn: &mut impl FnMut(WarningCode, String)) {
        let agreement = self.diagnostics.agreement;
        if agreement < FEWEST_AGREEING {
            let detail = format!(
                "only {:.0} % of the starts reached the best objective and answer as the best one does: there \
                 may be a better one, or many as good",
                agreement * 100.0
            );
            warn(WarningCode::StartsDisagree, detail);
        }
        let told = self.diagnostics.lack_of_fit.iter().filter(|test| test.p < TOLD);
        let told: Vec<String> =
            told.map(|test| format!("{} (p = {:.1e})", test.by.as_str(), test.p)).collect();
        // Where a law passes through nearly all runs, the residuals are only rounding.
        if !told.is_empty() && self.diagnostics.noise > LEAST_NOISE {
            let detail = format!(
                "the runs scatter about the law by groups and not each by itself, by {}: the law does not hold for \
                 them as it stands, or the runs of a group share what they are off by, and intervals are too narrow",
                told.join(", ")
            );
            warn(WarningCode::LackOfFit, detail);
        }
        let (fitted, clusters) = (self.free, self.runs.cluster_count());
        if self.runs.clusters().is_some() && clusters < fitted + FEWEST_SPARE_CLUSTERS {
            let detail = if clusters <= fitted {
                format!(
                    "the runs make {clusters} clusters, and {fitted} coefficients are fitted: resamples of so few say \
                     nothing of what is open, so that there are no intervals; at least {} are needed",
                    fitted + 1
                )
            } else {
                format!(
                    "the runs make {clusters} clusters, hardly more than the {fitted} coefficients: intervals from so \
                     few are rough"
                )
            };
            warn(WarningCode::FewClusters, detail);
        }
        let residuals: Vec<f64> = self.fitted.iter().map(|run| run.residual).collect();
        let trainings = trainings(self.runs, &residuals);
        if trainings > 0 && self.diagnostics.noise > LEAST_NOISE {
            let detail = format!(
                "{trainings} sizes and sparsities have runs on several amounts of data whose losses are off the law \
                 alike: they look like checkpoints of one training, which count as one run and not as several, so \
                 that intervals are too narrow; upload the last of each (keep=last:data), or resample by a tag that says \
                 which training a run is of (cluster)"
            );
            warn(WarningCode::Checkpoints, detail);
        }
        let duplicates = duplicates(self.runs);
        if duplicates > 0 {
            let detail = format!(
                "{duplicates} runs repeat the size, sparsity, data and loss of another to the last digit: the same \
                 measurement under another name counts twice"
            );
            warn(WarningCode::Duplicates, detail);
        }
        if let Some(rolling) = self.diagnostics.rolling
            && (rolling.inside as f64) < HONEST * rolling.predictions as f64
        {
            let detail = format!(
                "laws of the smaller runs put only {} of {} larger runs inside their own intervals: intervals \
                 outside the runs are widened by what these were off",
                rolling.inside, rolling.predictions
            );
            warn(WarningCode::ExtrapolatesBadly, detail);
        }
        let outliers = self.fitted.iter().filter(|run| run.outlier).count();
        if outliers > 0 {
            let detail = format!(
                "{outliers} of {} runs lie more than {:.1} standard deviations off the law; \
                 fit-quality with outliers=true names them",
                self.fitted.len(),
                super::outlying_distance(self.fitted.len())
            );
            warn(WarningCode::Outliers, detail);
        }
        let made = self.ensemble.map_or(0, |ensemble| ensemble.count());
        let failed = self.resamples as usize - made;
        if failed as f64 > FAILING * f64::from(self.resamples) {
            let detail = format!(
                "{failed} of {} resamples determined no law: the intervals rest on the others and \
                 are too narrow",
                self.resamples
            );
            warn(WarningCode::ResamplesFailed, detail);
        }
    }
}
