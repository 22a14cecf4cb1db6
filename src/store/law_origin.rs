//! Where laws come from as columns: those of a fitted law, or those of a published one, and nothing between.

use std::collections::BTreeMap;

use sparsity_law::fit::{Diagnostics, PatternReport, PretrainedReport};
use sparsity_law::law::{CoefficientName, Interval};

use crate::domain::law_origin::{FitRecord, LawSource, Origin, Publication, Resamples};
use crate::domain::refit::RefitOptions;

/// The columns that say where a law comes from.
#[derive(Debug, Clone, Default)]
pub(super) struct OriginColumns {
    pub source: String,
    pub reference: Option<String>,
    pub objective: Option<f64>,
    pub runs: Option<i32>,
    pub data_digest: Option<String>,
    pub options: Option<RefitOptions>,
    pub diagnostics: Option<Diagnostics>,
    pub resamples: Option<i32>,
    pub failed_resamples: Option<i32>,
    pub intervals: Option<BTreeMap<CoefficientName, Interval>>,
    pub patterns: Option<Vec<PatternReport>>,
    pub pretrained: Option<PretrainedReport>,
}

impl OriginColumns {
    /// Where the law comes from; what is wrong with the columns if they are those of no law.
    ///
    /// Laws that were fitted before runs were resampled have no resamples, intervals and patterns.
    pub fn origin(self) -> Result<Origin, String> {
        let source = LawSource::of_name(&self.source);
        match source.ok_or_else(|| format!("source {}", self.source))? {
            LawSource::Fit => self.fitted(),
            LawSource::Published => self.published(),
        }
    }

    fn fitted(self) -> Result<Origin, String> {
        fn part<T>(found: Option<T>, column: &str) -> Result<T, String> {
            found.ok_or_else(|| format!("a fitted law without {column}"))
        }
        if self.reference.is_some() {
            return Err("a fitted law with reference".to_owned());
        }
        let resamples = count(self.resamples).zip(count(self.failed_resamples));
        Ok(Origin::Fitted(Box::new(FitRecord {
            objective: part(self.objective, "objective")?,
            runs: part(count(self.runs), "runs")?,
            data_digest: part(self.data_digest, "data_digest")?,
            options: part(self.options, "options")?,
            diagnostics: part(self.diagnostics, "diagnostics")?,
            resamples: resamples.map(|(fitted, failed)| Resamples { fitted, failed }),
            intervals: self.intervals.unwrap_or_default(),
            patterns: self.patterns.unwrap_or_default(),
            pretrained: self.pretrained,
        })))
    }

    fn published(self) -> Result<Origin, String> {
        let of_fits = [
            ("data_digest", self.data_digest.is_some()),
            ("options", self.options.is_some()),
            ("diagnostics", self.diagnostics.is_some()),
            ("resamples", self.resamples.is_some() || self.failed_resamples.is_some()),
            ("intervals", self.intervals.is_some()),
            ("patterns", self.patterns.is_some()),
            ("pretrained", self.pretrained.is_some()),
        ];
        if let Some((column, _)) = of_fits.into_iter().find(|(_, is_there)| *is_there) {
            return Err(format!("a published law with {column}"));
        }
        let Some(reference) = self.reference else {
            return Err("a published law without reference".to_owned());
        };
        Ok(Origin::Published(Publication {
            reference,
            objective: self.objective,
            runs: count(self.runs),
        }))
    }
}

fn count(stored: Option<i32>) -> Option<u32> {
    stored.and_then(|count| u32::try_from(count).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a law had that was fitted before runs were resampled.
    fn fitted() -> OriginColumns {
        let diagnostics = r#"{"agreement": 1.0, "starts": []}"#;
        OriginColumns {
            source: "fit".to_owned(),
            objective: Some(1e-5),
            runs: Some(48),
            data_digest: Some("ab".to_owned()),
            options: Some(RefitOptions::default()),
            diagnostics: Some(serde_json::from_str(diagnostics).unwrap()),
            ..OriginColumns::default()
        }
    }

    fn published() -> OriginColumns {
        OriginColumns {
            source: "published".to_owned(),
            reference: Some("a paper".to_owned()),
            ..OriginColumns::default()
        }
    }

    #[test]
    fn laws_of_older_versions_are_read() {
        let origin = fitted().origin().unwrap();
        let fit = origin.fit().unwrap();
        assert_eq!((fit.runs, fit.resamples), (48, None));
        assert!(fit.diagnostics.identification.is_none());
        let origin = published().origin().unwrap();
        assert_eq!((origin.reference(), origin.runs()), (Some("a paper"), None));
    }

    #[test]
    fn a_row_of_neither_kind_is_refused() {
        let wrong = [
            (OriginColumns { source: "guessed".to_owned(), ..fitted() }, "source guessed"),
            (OriginColumns { options: None, ..fitted() }, "a fitted law without options"),
            (OriginColumns { diagnostics: None, ..fitted() }, "a fitted law without diagnostics"),
            (OriginColumns { objective: None, ..fitted() }, "a fitted law without objective"),
            (OriginColumns { runs: Some(-1), ..fitted() }, "a fitted law without runs"),
            (OriginColumns { data_digest: None, ..fitted() }, "a fitted law without data_digest"),
            (
                OriginColumns { reference: published().reference, ..fitted() },
                "a fitted law with reference",
            ),
            (OriginColumns { reference: None, ..published() }, "a published law without reference"),
            (
                OriginColumns { options: fitted().options, ..published() },
                "a published law with options",
            ),
            (OriginColumns { resamples: Some(7), ..published() }, "a published law with resamples"),
        ];
        for (columns, said) in wrong {
            assert_eq!(columns.origin().unwrap_err(), said);
        }
    }
}
