//! The gain of sparsity, by sparsity.

use crate::draw::axis::{Axis, Unit};
use crate::draw::legend::{Entry, Sign};
use crate::draw::marks::{Hold, Shape};
use crate::draw::sheet::{Heading, Sheet, Stroke};
use crate::draw::{Canvas, Caption, SparsityAxis, numbers};

/// The data of a picture of the gain.
#[derive(Debug, Clone)]
pub struct GainPicture {
    /// Family, law and notes.
    pub caption: Caption,
    /// The gain at some sparsities, in any order.
    pub points: Vec<GainPoint>,
    /// Limit of the gain as the sparsity goes to 1.
    pub limit: Option<f64>,
    /// Interval of the limit.
    pub limit_interval: Option<(f64, f64)>,
    /// Nominal coverage of the intervals, if there are any.
    pub coverage: Option<f64>,
    /// A point to mark.
    pub mark: Option<GainPoint>,
    /// Scale of the sparsity axis.
    pub axis: SparsityAxis,
}

/// The gain at one sparsity.
#[derive(Debug, Clone, Copy)]
pub struct GainPoint {
    /// The sparsity, from 0 to 1.
    pub sparsity: f64,
    /// The gain at this sparsity.
    pub gain: f64,
    /// Interval of the gain.
    pub interval: Option<(f64, f64)>,
}

/// Maximum number of points that are drawn as marks; more are only a curve.
const MOST_MARKS: usize = 24;

impl GainPicture {
    /// Draws the picture as SVG.
    #[must_use]
    pub fn svg(&self, canvas: Canvas) -> String {
        let palette = canvas.palette();
        let mut points = self.points.clone();
        points.sort_by(|a, b| a.sparsity.total_cmp(&b.sparsity));
        // The axis shows only as much of the limit's interval as leaves the shape of the curve visible.
        let end = self.limit.map(|limit| {
            let end = self.limit_interval.map_or(limit, |(_, high)| high);
            end.clamp(limit, 1.0 + 2.0 * (limit - 1.0).max(0.0))
        });
        let gains = points.iter().map(|point| point.gain).chain([1.0]).chain(self.limit).chain(end);
        let last = points.last().map_or(0.99, |point| point.sparsity);
        let x = match self.axis {
            SparsityAxis::Linear => {
                let x = Axis::linear("sparsity (%)", Unit::Percent, [0.0, 1.0].into_iter());
                x.with_room(0.0, 0.02)
            }
            SparsityAxis::Density => Axis::density(SparsityAxis::NAME, last),
        };
        let y = Axis::linear("gain", Unit::Decimal, gains).with_room(0.06, 0.08);
        let mut legend = vec![Entry {
            sign: Sign::Line,
            colour: palette.curve.to_owned(),
            text: "gain".to_owned(),
        }];
        if let Some(coverage) = self.coverage {
            let text = format!("{} interval", numbers::percent(coverage));
            legend.push(Entry { sign: Sign::Band, colour: palette.curve.to_owned(), text });
        }
        // The line is labelled in the picture, so a small picture saves its legend entry.
        if !canvas.is_bare() && self.limit.is_some() {
            legend.push(Entry {
                sign: Sign::Dashed,
                colour: palette.accent.to_owned(),
                text: "limit as sparsity goes to 100 %".to_owned(),
            });
        }
        if self.mark.is_some() {
            legend.push(Entry {
                sign: Sign::Mark(Shape::Square),
                colour: palette.accent.to_owned(),
                text: "the question's best".to_owned(),
            });
        }
        let heading = Heading {
            title: format!(
                "Gain of sparsity of {}, law {}",
                self.caption.family, self.caption.law_version
            ),
            subtitle: "Size of the dense model of equal loss on the same data, over the non-zero \
                       parameters"
                .to_owned(),
            legend,
            caption: &self.caption,
        };
        let mut sheet = Sheet::new(canvas, heading, x, y, 8.0);
        let band: Option<Vec<_>> = points
            .iter()
            .map(|point| point.interval.map(|(low, high)| [point.sparsity, low, high]))
            .collect();
        sheet.band(&band.unwrap_or_default(), palette.curve, 0.2);
        if let Some(limit) = self.limit {
            let stroke =
                Stroke { colour: palette.accent, width: 1.6, dashed: true, class: "limit" };
            sheet.line(&[[0.0, limit], [1.0, limit]], stroke);
        }
        let curve: Vec<_> = points.iter().map(|point| [point.sparsity, point.gain]).collect();
        let stroke = Stroke { colour: palette.curve, width: 2.4, dashed: false, class: "gain" };
        sheet.line(&curve, stroke);
        if points.len() <= MOST_MARKS {
            for [sparsity, gain] in curve {
                sheet.mark(Shape::Circle, sparsity, gain, 4.0, palette.curve);
            }
        }
        if let Some(GainPoint { sparsity, gain, interval }) = self.mark {
            if let Some((low, high)) = interval {
                sheet.bar((sparsity, low), (sparsity, high), palette.accent);
            }
            sheet.mark(Shape::Square, sparsity, gain, 5.0, palette.accent);
        }
        if let Some(limit) = self.limit {
            self.note_limit(&mut sheet, limit, palette.accent);
        }
        sheet.finish()
    }

    /// Writes the limit beside its line, and marks it and its interval where the axis reaches a sparsity of 1.
    fn note_limit(&self, sheet: &mut Sheet, limit: f64, colour: &str) {
        let reaches_one = self.axis == SparsityAxis::Linear;
        let mut words = format!("limit {}", numbers::rounded(limit, 2));
        if let Some((low, high)) = self.limit_interval {
            if reaches_one {
                sheet.bar((1.0, low), (1.0, high), colour);
            }
            let (low, high) = (numbers::rounded(low, 2), numbers::rounded(high, 2));
            words = format!("{words} ({low} to {high})");
        }
        if reaches_one {
            sheet.mark(Shape::Diamond, 1.0, limit, 4.5, colour);
        }
        sheet.note(&words, 0.02, limit, (0.0, -7.0), Hold::Start);
    }
}
