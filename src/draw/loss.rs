//! Predicted loss by sparsity at one size and budget.

use crate::draw::axis::{Axis, Unit};
use crate::draw::legend::{Entry, Sign};
use crate::draw::marks::{Hold, Shape};
use crate::draw::sheet::{Heading, Sheet, Stroke};
use crate::draw::{Canvas, Caption, SparsityAxis, numbers};

/// What to draw.
#[derive(Debug, Clone)]
pub struct LossPicture {
    /// Where it comes from.
    pub caption: Caption,
    /// What a training step costs.
    pub flop_mode: String,
    /// Non-zero parameters.
    pub nonzero_params: f64,
    /// Training compute.
    pub compute: f64,
    /// `[sparsity, loss]`, in rising order of the sparsity.
    pub points: Vec<[f64; 2]>,
    /// `[sparsity, lowest, highest loss]`.
    pub band: Option<Vec<[f64; 3]>>,
    /// Nominal coverage of the intervals, where there are some.
    pub coverage: Option<f64>,
    /// The best sparsity.
    pub best: BestSparsity,
    /// Predicted loss of the dense model.
    pub dense_loss: f64,
    /// The best pattern of the hardware profile, where there is one, and it is not dense.
    pub pattern: Option<NamedLoss>,
    /// A sparsity that is marked, with its loss.
    pub mark: Option<[f64; 2]>,
    /// How sparsities lie.
    pub axis: SparsityAxis,
}

/// The loss of something with a name.
#[derive(Debug, Clone)]
pub struct NamedLoss {
    /// Such as `2:4`.
    pub name: String,
    /// Its sparsity.
    pub sparsity: f64,
    /// Its loss.
    pub loss: f64,
}

/// The sparsity of the least loss.
#[derive(Debug, Clone, Copy)]
pub struct BestSparsity {
    /// The sparsity.
    pub sparsity: f64,
    /// Its interval.
    pub interval: Option<(f64, f64)>,
    /// Predicted loss at it.
    pub loss: f64,
}

impl LossPicture {
    /// The picture as SVG.
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
        // What is named where it stands needs no room of a small picture.
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
        // Beside a curve that rises from the left its end has room.
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
