//! Predicted loss by sparsity, at one size and budget.

use crate::draw::axis::{Axis, Unit};
use crate::draw::legend::{Entry, Sign};
use crate::draw::marks::{Hold, Shape};
use crate::draw::sheet::{Heading, Sheet, Stroke};
use crate::draw::{Canvas, Caption, SparsityAxis, numbers};

/// The data of a picture of the loss.
#[derive(Debug, Clone)]
pub struct LossPicture {
    /// Family, law and notes.
    pub caption: Caption,
    /// Name of the FLOP mode.
    pub flop_mode: String,
    /// Number of non-zero parameters.
    pub nonzero_params: f64,
    /// Training compute, in FLOPs.
    pub compute: f64,
    /// Points of the curve: `[sparsity, loss]`, in ascending order of sparsity.
    pub points: Vec<[f64; 2]>,
    /// Points of the band: `[sparsity, lowest loss, highest loss]`.
    pub band: Option<Vec<[f64; 3]>>,
    /// Nominal coverage of the intervals, if there are any.
    pub coverage: Option<f64>,
    /// The best sparsity.
    pub best: BestSparsity,
    /// Predicted loss of the dense model.
    pub dense_loss: f64,
    /// The best pattern of the hardware profile, if it has patterns and the best one is not dense.
    pub pattern: Option<NamedLoss>,
    /// `[sparsity, loss]` of a point to mark.
    pub mark: Option<[f64; 2]>,
    /// Scale of the sparsity axis.
    pub axis: SparsityAxis,
}

/// The predicted loss of something with a name, such as a pattern.
#[derive(Debug, Clone)]
pub struct NamedLoss {
    /// The name, such as `2:4`.
    pub name: String,
    /// Sparsity that belongs to the name.
    pub sparsity: f64,
    /// Predicted loss.
    pub loss: f64,
}

/// The sparsity with the lowest loss.
#[derive(Debug, Clone, Copy)]
pub struct BestSparsity {
    /// The best sparsity.
    pub sparsity: f64,
    /// Interval of the best sparsity, as its lower and upper end.
    pub interval: Option<(f64, f64)>,
    /// Predicted loss at the best sparsity.
    pub loss: f64,
}

impl LossPicture {
    /// Draws the picture as SVG.
    #[must_use]
    pub fn svg(&self, canvas: Canvas) -> String {
        let palette = canvas.palette();
        let last = self.points.last().map_or(0.95, |point| point[0]);
        let x = match self.axis {
            SparsityAxis::Density => Axis::density(SparsityAxis::NAME, last),
            SparsityAxis::Linear => {
                Axis::linear("sparsity (%)", Unit::Percent, [0.0, last].into_iter())
            }
        };
        let crowded = x.place(self.best.sparsity) < 0.2;
        let losses = self.points.iter().map(|point| point[1]).chain([self.dense_loss]);
        let losses = losses.chain(self.pattern.as_ref().map(|pattern| pattern.loss));
        let y = Axis::linear("predicted loss", Unit::Decimal, losses).with_room(0.2, 0.12);
        let entry =
            |sign, colour: &str, text: String| Entry { sign, colour: colour.to_owned(), text };
        let mut legend = vec![entry(Sign::Line, palette.curve, "predicted loss".to_owned())];
        if let Some(coverage) = self.coverage {
            let text = format!("{} interval of the mean", numbers::percent(coverage));
            legend.push(entry(Sign::Band, palette.curve, text));
        }
        // A small picture saves the room of legend entries for things that are labelled in the picture.
        if !canvas.is_bare() {
            legend.push(entry(
                Sign::Mark(Shape::Diamond),
                palette.accent,
                match self.best.interval {
                    Some(_) => "best sparsity, with its interval".to_owned(),
                    None => "best sparsity".to_owned(),
                },
            ));
            legend.push(entry(Sign::Dashed, palette.ink, "dense model of this size".to_owned()));
        }
        if let Some(pattern) = &self.pattern {
            let text = format!("best pattern, {}", pattern.name);
            legend.push(entry(Sign::Mark(Shape::Triangle), palette.ink, text));
        }
        if let Some([sparsity, _]) = self.mark {
            let text = format!("{}, to compare", numbers::percent(sparsity));
            legend.push(entry(Sign::Mark(Shape::Square), palette.ink, text));
        }
        let heading = Heading {
            title: format!(
                "Loss by sparsity of {}, law {}, FLOP mode {}",
                self.caption.family, self.caption.law_version, self.flop_mode
            ),
            subtitle: format!(
                "{} non-zero parameters trained with {} FLOPs",
                numbers::count(self.nonzero_params),
                numbers::power(self.compute)
            ),
            legend,
            caption: &self.caption,
        };
        let mut sheet = Sheet::new(canvas, heading, x, y, 8.0);
        sheet.band(self.band.as_deref().unwrap_or_default(), palette.curve, 0.2);
        let dense = [[0.0, self.dense_loss], [last, self.dense_loss]];
        let stroke = Stroke { colour: palette.ink, width: 1.6, dashed: true, class: "dense" };
        sheet.line(&dense, stroke);
        let stroke = Stroke { colour: palette.curve, width: 2.4, dashed: false, class: "loss" };
        sheet.line(&self.points, stroke);
        let BestSparsity { sparsity, interval, loss } = self.best;
        let mut words = format!("best {}", numbers::percent_about(sparsity));
        if let Some((low, high)) = interval {
            sheet.bar((low, loss), (high, loss), palette.accent);
            let (low, high) = (numbers::percent_about(low), numbers::percent_about(high));
            words = format!("{words} ({low} to {high})");
        }
        let words = format!("{words}, loss {}", numbers::rounded(loss, 4));
        if let Some(pattern) = &self.pattern {
            sheet.mark(Shape::Triangle, pattern.sparsity, pattern.loss, 5.0, palette.ink);
        }
        if let Some([sparsity, loss]) = self.mark {
            sheet.mark(Shape::Square, sparsity, loss, 4.5, palette.ink);
        }
        sheet.mark(Shape::Diamond, sparsity, loss, 5.0, palette.accent);
        // Below the band, so that its edge does not cross the letters.
        let band = self.band.iter().flatten().map(|&[_, low, _]| low);
        sheet.note(&words, sparsity, band.fold(loss, f64::min), (0.0, 20.0), Hold::Middle);
        let words = format!("dense {}", numbers::rounded(self.dense_loss, 4));
        // If the best sparsity is far to the left, the curve rises from there, and the label has more room at the right
        // end.
        let (at, hold) = if crowded { (last, Hold::End) } else { (sparsity, Hold::Middle) };
        sheet.note(&words, at, self.dense_loss, (0.0, -10.0), hold);
        sheet.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::{Theme, png};

    #[test]
    fn no_numbers_break_it() {
        let caption = Caption { family: "f".to_owned(), law_version: 1, notes: Vec::new() };
        let axes = [SparsityAxis::Density, SparsityAxis::Linear, SparsityAxis::Density];
        let points = [(0.0, 1e-9), (1.0 - 1e-14, 1e300), (0.5, 2.0)];
        for ((sparsity, loss), axis) in points.into_iter().zip(axes) {
            let picture = LossPicture {
                caption: caption.clone(),
                flop_mode: "dense".to_owned(),
                nonzero_params: 1.0,
                compute: 1e40,
                points: vec![[0.0, loss], [sparsity, loss]],
                band: Some(vec![[0.0, -1e300, 1e300], [sparsity, 0.0, loss]]),
                coverage: Some(0.95),
                best: BestSparsity { sparsity, interval: Some((0.0, 1.0)), loss },
                dense_loss: loss,
                pattern: Some(NamedLoss { name: "2:4".to_owned(), sparsity, loss }),
                mark: Some([sparsity, loss]),
                axis,
            };
            let svg = picture.svg(Canvas::new(480, 1800, Theme::Light));
            assert!(!svg.contains("NaN"), "{svg}");
            assert!(png(&svg).is_ok());
        }
    }
}
