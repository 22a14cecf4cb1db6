//! Predicted against measured loss for the runs of a law.

use crate::draw::axis::{Axis, Unit};
use crate::draw::legend::{Entry, Sign};
use crate::draw::marks::Shape;
use crate::draw::sheet::{Heading, Sheet, Stroke};
use crate::draw::{Canvas, Caption, numbers};

/// The data of a picture of the fit.
#[derive(Debug, Clone)]
pub struct FitPicture {
    /// Family, law and notes.
    pub caption: Caption,
    /// The runs to draw.
    pub runs: Vec<FittedPoint>,
    /// Whether `runs` are only the outliers.
    pub outliers_only: bool,
    /// The scatter of the runs about the law, in words.
    pub noise: Option<String>,
    /// The message to show if there are no runs.
    pub without_runs: &'static str,
    /// What the axes show.
    pub axes: FitAxes,
}

/// What the axes of a picture of the fit show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FitAxes {
    /// Predicted against measured loss; logarithmic if losses differ widely.
    #[default]
    Usual,
    /// Predicted against measured loss, linear.
    Linear,
    /// Predicted against measured loss, logarithmic.
    Log,
    /// Residual against measured loss.
    Residuals,
}

/// One run of the law.
#[derive(Debug, Clone, Copy)]
pub struct FittedPoint {
    /// Measured loss.
    pub measured: f64,
    /// Predicted loss.
    pub predicted: f64,
    /// Residual of the fit's objective; positive if the predicted loss is too high.
    pub residual: f64,
    /// Sparsity of the run.
    pub sparsity: f64,
    /// Whether the run lies far from the law.
    pub outlier: bool,
}

/// Number of runs above which they are small dots of one shape. Above [`VERY_MANY`] the dots are even smaller.
const MANY: usize = 500;
const VERY_MANY: usize = 2000;
/// Ratio of the largest to the smallest loss above which the axes are logarithmic.
const WIDE: f64 = 5.0;
/// Maximum number of levels of sparsity that have their own shapes and legend entries.
const MOST_NAMED: usize = 8;
/// Sparsities are rounded to one part in this many, since pruned runs scatter about their target level.
const LEVELS_PER_UNIT: f64 = 1000.0;

fn key(sparsity: f64) -> i64 {
    // A sparsity is at most 1, so the result is at most 1000.
    (sparsity * LEVELS_PER_UNIT).round() as i64
}

impl FitPicture {
    /// Draws the picture as SVG.
    #[must_use]
    pub fn svg(&self, canvas: Canvas) -> String {
        let palette = canvas.palette();
        let mut levels: Vec<i64> = self.runs.iter().map(|run| key(run.sparsity)).collect();
        levels.sort_unstable();
        levels.dedup();
        let losses = || self.runs.iter().flat_map(|run| [run.measured, run.predicted]);
        let low = losses().fold(f64::INFINITY, f64::min);
        let high = losses().fold(0.0, f64::max);
        let residuals = self.axes == FitAxes::Residuals;
        let log = match self.axes {
            FitAxes::Usual => low > 0.0 && high / low > WIDE,
            FitAxes::Log => low > 0.0,
            FitAxes::Linear | FitAxes::Residuals => false,
        };
        let axis = |name: &str| {
            if log {
                Axis::log(name, Unit::Power, losses())
            } else if residuals {
                Axis::linear(name, Unit::Decimal, self.runs.iter().map(|run| run.measured))
            } else {
                Axis::linear(name, Unit::Decimal, losses())
            }
            .with_room(0.05, 0.05)
        };
        let named = levels.len() <= MOST_NAMED;
        let many = self.runs.len() > MANY;
        let shape = |rank: usize| if named { Shape::of(rank) } else { Shape::Circle };
        let sparsity = |rank: usize| levels[rank] as f64 / LEVELS_PER_UNIT;
        let ranks: Vec<usize> = if named {
            (0..levels.len()).collect()
        } else {
            // Five of many levels show how the colours change.
            (0..5).map(|step| step * (levels.len() - 1) / 4).collect()
        };
        let mut legend: Vec<Entry> = ranks
            .into_iter()
            .map(|rank| Entry {
                sign: if many { Sign::Dot } else { Sign::Mark(shape(rank)) },
                colour: palette.level(sparsity(rank)),
                text: numbers::percent(sparsity(rank)),
            })
            .collect();
        let entry = |sign, colour: &str, text: &str| Entry {
            sign,
            colour: colour.to_owned(),
            text: text.to_owned(),
        };
        if !self.runs.is_empty() {
            legend.push(entry(Sign::Dashed, palette.ink, "as measured"));
        }
        if self.runs.iter().any(|run| run.outlier) {
            legend.push(entry(Sign::Ring, palette.accent, "outlier"));
        }
        let what = if self.outliers_only { "Outliers" } else { "Runs" };
        let mut subtitle = format!("{what} by sparsity: {}", self.runs.len());
        if let Some(noise) = &self.noise {
            subtitle = format!("{subtitle}; {noise}");
        }
        if self.runs.is_empty() {
            subtitle.clear();
        }
        let heading = Heading {
            title: format!(
                "{} measured loss of {}, law {}",
                if residuals { "Residual against" } else { "Predicted against" },
                self.caption.family,
                self.caption.law_version
            ),
            subtitle,
            legend,
            caption: &self.caption,
        };
        let x = axis("measured loss");
        let y = if residuals {
            let values = self.runs.iter().map(|run| run.residual).chain([0.0]);
            let name = "residual, above 0 where predicted too high";
            Axis::linear(name, Unit::Decimal, values).with_room(0.06, 0.06)
        } else {
            axis("predicted loss")
        };
        if self.runs.is_empty() {
            let mut sheet = Sheet::bare(canvas, heading, x, y, 8.0);
            sheet.message(self.without_runs);
            return sheet.finish();
        }
        let mut sheet = Sheet::new(canvas, heading, x, y, 8.0);
        let (from, to) = (low * 0.5, high * 1.5);
        let stroke = Stroke { colour: palette.ink, width: 1.4, dashed: true, class: "diagonal" };
        let [left, right] = if residuals { [0.0, 0.0] } else { [from, to] };
        sheet.line(&[[from, left], [to, right]], stroke);
        let place = |run: &FittedPoint| {
            [run.measured, if residuals { run.residual } else { run.predicted }]
        };
        // Every run's level is in the list, which was made of the runs.
        let rank = |run: &FittedPoint| levels.binary_search(&key(run.sparsity)).unwrap_or_default();
        if many {
            let size = if self.runs.len() > VERY_MANY { 1.5 } else { 2.2 };
            let mut of_level = vec![Vec::new(); levels.len()];
            for run in &self.runs {
                of_level[rank(run)].push(place(run));
            }
            for (level, places) in of_level.iter().enumerate() {
                sheet.dots(places, size, &palette.level(sparsity(level)));
            }
        } else {
            for run in &self.runs {
                let (rank, [measured, shown]) = (rank(run), place(run));
                let colour = palette.level(sparsity(rank));
                sheet.mark(shape(rank), measured, shown, 4.5, &colour);
            }
        }
        for run in self.runs.iter().filter(|run| run.outlier) {
            let [measured, shown] = place(run);
            sheet.ring(measured, shown);
        }
        sheet.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::{Theme, png};

    fn picture(count: u32, axes: FitAxes) -> FitPicture {
        let run = |i: u32| {
            let measured = 2.0 + f64::from(i % 97) / 97.0;
            let residual = f64::from(i % 7) / 100.0 - 0.03;
            FittedPoint {
                measured,
                predicted: measured * (1.0 + residual),
                residual,
                sparsity: f64::from(i % 4) / 4.0,
                outlier: i == 5,
            }
        };
        FitPicture {
            caption: Caption { family: "f".to_owned(), law_version: 1, notes: Vec::new() },
            runs: (0..count).map(run).collect(),
            outliers_only: false,
            noise: None,
            without_runs: "none",
            axes,
        }
    }

    #[test]
    fn thousands_of_runs_are_dots_and_few_bytes() {
        for axes in [FitAxes::Usual, FitAxes::Log, FitAxes::Residuals] {
            let svg = picture(5000, axes).svg(Canvas::new(800, 540, Theme::Light));
            assert_eq!(svg.matches("h.01").count(), 5000);
            assert!(svg.len() < 150_000, "{}", svg.len());
            assert_eq!(svg.matches("class=\"outlier\"").count(), 1);
            // The dots are visible in the PNG as well.
            let blank = picture(0, axes).svg(Canvas::new(800, 540, Theme::Light));
            assert!(png(&svg).unwrap().len() > 2 * png(&blank).unwrap().len());
        }
        let few = picture(400, FitAxes::Linear).svg(Canvas::new(800, 540, Theme::Light));
        assert_eq!(few.matches("class=\"mark\"").count(), 404);
    }
}
