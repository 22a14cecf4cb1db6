//! Predicted against measured loss of the runs of a law.

use crate::draw::axis::{Axis, Unit};
use crate::draw::sheet::{Entry, Heading, Shape, Sheet, Sign, Stroke};
use crate::draw::{Canvas, Caption, numbers};

/// What to draw.
#[derive(Debug, Clone)]
pub struct FitPicture {
    /// Where it comes from.
    pub caption: Caption,
    /// The runs.
    pub runs: Vec<FittedPoint>,
    /// Whether only outliers were asked for.
    pub outliers_only: bool,
    /// The scatter of the runs about the law, in words.
    pub noise: Option<String>,
    /// Why there are no runs, where there are none.
    pub without_runs: &'static str,
}

/// One run.
#[derive(Debug, Clone, Copy)]
pub struct FittedPoint {
    /// Measured loss.
    pub measured: f64,
    /// Predicted loss.
    pub predicted: f64,
    /// Its sparsity.
    pub sparsity: f64,
    /// Whether it lies far off the law.
    pub outlier: bool,
}

/// Losses that differ by more than this are drawn on logarithmic axes.
const WIDE: f64 = 5.0;
/// Levels of sparsity that are told apart by shapes and named one by one.
const MOST_NAMED: usize = 8;
/// Sparsities that differ by less than this are one level: pruned runs scatter about their target.
const LEVELS_PER_UNIT: f64 = 1000.0;

fn key(sparsity: f64) -> i64 {
    // At most 1000.
    (sparsity * LEVELS_PER_UNIT).round() as i64
}

impl FitPicture {
    /// The picture as SVG.
    #[must_use]
    pub fn svg(&self, canvas: Canvas) -> String {
        let palette = canvas.palette();
        let mut levels: Vec<i64> = self.runs.iter().map(|run| key(run.sparsity)).collect();
        levels.sort_unstable();
        levels.dedup();
        let losses = || self.runs.iter().flat_map(|run| [run.measured, run.predicted]);
        let low = losses().fold(f64::INFINITY, f64::min);
        let high = losses().fold(0.0, f64::max);
        let axis = |name: &str| {
            if low > 0.0 && high / low > WIDE {
                Axis::log(name, Unit::Power, losses())
            } else {
                Axis::linear(name, Unit::Decimal, losses())
            }
            .with_room(0.05, 0.05)
        };
        let named = levels.len() <= MOST_NAMED;
        let shape = |rank: usize| if named { Shape::of(rank) } else { Shape::Circle };
        let ranks: Vec<usize> = if named {
            (0..levels.len()).collect()
        } else {
            // Some of many tell how colours run.
            (0..5).map(|step| step * (levels.len() - 1) / 4).collect()
        };
        let mut legend: Vec<Entry> = ranks
            .into_iter()
            .map(|rank| Entry {
                sign: Sign::Mark(shape(rank)),
                colour: palette.level(rank, levels.len()),
                text: numbers::percent(levels[rank] as f64 / LEVELS_PER_UNIT),
            })
            .collect();
        let entry = |sign, colour: &str, text: &str| Entry {
            sign,
            colour: colour.to_owned(),
            text: text.to_owned(),
        };
        if !self.runs.is_empty() {
            legend.push(entry(Sign::Dashed, palette.ink, "prediction equals measurement"));
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
                "Predicted against measured loss of {}, law {}",
                self.caption.family, self.caption.law_version
            ),
            subtitle,
            legend,
            caption: &self.caption,
        };
        let (x, y) = (axis("measured loss"), axis("predicted loss"));
        if self.runs.is_empty() {
            let mut sheet = Sheet::bare(canvas, heading, x, y, 8.0);
            sheet.message(self.without_runs);
            return sheet.finish();
        }
        let mut sheet = Sheet::new(canvas, heading, x, y, 8.0);
        let (from, to) = (low * 0.5, high * 1.5);
        let stroke = Stroke { colour: palette.ink, width: 1.4, dashed: true, class: "diagonal" };
        sheet.line(&[[from, from], [to, to]], stroke);
        let size = if self.runs.len() > 500 { 2.6 } else { 4.5 };
        for run in &self.runs {
            // Every level is that of some run.
            let rank = levels.binary_search(&key(run.sparsity)).unwrap_or_default();
            let colour = palette.level(rank, levels.len());
            sheet.mark(shape(rank), run.measured, run.predicted, size, &colour);
        }
        for run in self.runs.iter().filter(|run| run.outlier) {
            sheet.ring(run.measured, run.predicted);
        }
        sheet.finish()
    }
}
