//! What patterns are worth by a law, and what is said of those that none of its runs has.

use std::sync::Arc;

use sparsity_law::fit::{Estimate, PatternReport};
use sparsity_law::law::{FormLaw, PatternWorth, SampledForm, Sparsity};

use super::AskedLaw;
use crate::api::wire::views::WarningView;
use crate::domain::text::Pattern;

/// What the choice between patterns is called where no pattern beats the dense model.
const DENSE: &str = "dense";

/// Patterns whose ratios differ by less than this have the same ratio.
const SAME_RATIO: f64 = 1e-9;

impl AskedLaw {
    /// The effective sparsity of a pattern; `None` where its numbers are out of range.
    pub fn worth(&self, pattern: &Pattern) -> Option<PatternWorth> {
        let nominal = Sparsity::new(pattern.sparsity()).ok()?.density();
        let reports = self.law.content.origin.patterns();
        let measured = reports.iter().find(|report| report.name == pattern.as_str());
        // An unmeasured pattern taken at its nominal sparsity could beat a measured one of the same ratio just because
        // nobody measured it, so it gets the worst value measured at that ratio. Laws stored by versions that took it
        // at its nominal sparsity keep giving the answers they gave.
        let of_ratio = || {
            let same = |report: &&PatternReport| {
                (report.nominal_sparsity - pattern.sparsity()).abs() < SAME_RATIO
            };
            let worth = |report: &PatternReport| report.effective_sparsity.value;
            let all = reports.iter().filter(same);
            all.min_by(|a, b| worth(a).total_cmp(&worth(b)))
        };
        let report = match measured {
            None if self.law.content.identification().is_some() => of_ratio(),
            _ => measured,
        };
        let effective = match report {
            Some(report) => {
                let Estimate { value, interval } = report.effective_sparsity;
                Some((Sparsity::new(value).ok()?, interval))
            }
            None => None,
        };
        Some(PatternWorth { nominal, effective })
    }

    /// Sorts the patterns that the law has runs of first, because the first of several equally good ones is
    /// recommended.
    pub fn measured_first<'p>(&self, patterns: &'p [Pattern]) -> Vec<&'p Pattern> {
        let mut ordered: Vec<&Pattern> = patterns.iter().collect();
        if self.law.content.identification().is_some() {
            ordered.sort_by_key(|pattern| self.unmeasured(Some(pattern.as_str())).is_some());
        }
        ordered
    }

    /// The warning for a recommended pattern that no run of the law has; `None` if there are such runs, or no pattern.
    pub fn unmeasured<'a>(&'a self, pattern: Option<&str>) -> Option<&'a Arc<WarningView>> {
        // A law of mixtures of experts knows them by their sparsity alone, so there is nothing to be measured by name.
        let name =
            pattern.filter(|name| *name != DENSE && !self.law.content.zeros.are_experts())?;
        let measured = self.law.content.origin.patterns().iter().any(|report| report.name == name)
            || self.has_level(name);
        (!measured).then_some(&self.unmeasured_pattern)
    }

    /// Whether this is a law of levels with a level of this name.
    fn has_level(&self, name: &str) -> bool {
        match self.own.as_ref().map(SampledForm::law) {
            Some(FormLaw::Levels(levels)) => {
                levels.levels.iter().any(|level| level.name.as_deref() == Some(name))
            }
            _ => false,
        }
    }
}
