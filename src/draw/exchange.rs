//! The worth of one recipe's compute in compute of another recipe.

use crate::draw::axis::{Axis, Unit};
use crate::draw::legend::{Entry, Sign};
use crate::draw::marks::{Hold, Shape};
use crate::draw::sheet::{Heading, Sheet, Stroke};
use crate::draw::{Canvas, Caption, numbers};

/// The data of an exchange picture.
#[derive(Debug, Clone)]
pub struct ExchangePicture {
    /// Family, law and notes.
    pub caption: Caption,
    /// Name of the recipe in whose compute the other one is measured.
    pub one: String,
    /// Name of the other recipe.
    pub other: String,
    /// Name of the FLOP mode.
    pub flop_mode: String,
    /// Points of the curve: `[compute, multiple]`, in ascending order of compute, without those that have no multiple.
    pub points: Vec<[f64; 2]>,
    /// Points of the band: `[compute, lowest multiple, highest multiple]`.
    pub band: Option<Vec<[f64; 3]>>,
    /// Nominal coverage of the intervals, if there are any.
    pub coverage: Option<f64>,
    /// Amounts of compute at which both recipes are equally good.
    pub crossings: Vec<f64>,
    /// The smallest and the largest compute that was asked for.
    pub range: [f64; 2],
}

impl ExchangePicture {
    /// Draws the picture as SVG.
    #[must_use]
    pub fn svg(&self, canvas: Canvas) -> String {
        let palette = canvas.palette();
        let x = Axis::log("training compute (FLOPs)", Unit::Power, self.range.into_iter());
        let lines = || self.points.iter().map(|point| point[1]).chain([1.0]);
        // The axis shows only as much of the band as leaves the shape of the line visible.
        let (low, high) =
            lines().fold((1.0_f64, 1.0_f64), |(low, high), at| (low.min(at), high.max(at)));
        let ends = self.band.iter().flatten().flat_map(|&[_, low, high]| [low, high]);
        let shown = ends.map(|end| end.clamp(0.7 * low, 1.4 * high));
        let multiples = lines().chain(shown);
        let y = Axis::linear("worth in compute", Unit::Decimal, multiples).with_room(0.2, 0.2);
        let (one, other) = (&self.one, &self.other);
        let entry =
            |sign, colour: &str, text: String| Entry { sign, colour: colour.to_owned(), text };
        let mut legend = vec![entry(Sign::Line, palette.curve, "worth of its compute".to_owned())];
        if let Some(coverage) = self.coverage {
            let text = format!("{} interval", numbers::percent(coverage));
            legend.push(entry(Sign::Band, palette.curve, text));
        }
        legend.push(entry(Sign::Dashed, palette.ink, "equally good".to_owned()));
        if !self.crossings.is_empty() {
            legend.push(entry(Sign::Mark(Shape::Diamond), palette.accent, "crossing".to_owned()));
        }
        let heading = Heading {
            title: format!("{other} against {one}, FLOP mode {}", self.flop_mode),
            subtitle: format!(
                "Compute with which {one} reaches the loss of {other}, over the compute of that"
            ),
            legend,
            caption: &self.caption,
        };
        let mut sheet = Sheet::new(canvas, heading, x, y, 8.0);
        sheet.band(self.band.as_deref().unwrap_or_default(), palette.curve, 0.2);
        let equal = self.range.map(|compute| [compute, 1.0]);
        let stroke = Stroke { colour: palette.ink, width: 1.6, dashed: true, class: "equal" };
        sheet.line(&equal, stroke);
        let stroke = Stroke { colour: palette.curve, width: 2.4, dashed: false, class: "multiple" };
        sheet.line(&self.points, stroke);
        for compute in &self.crossings {
            sheet.mark(Shape::Diamond, *compute, 1.0, 5.0, palette.accent);
            let words = format!("equal at {}", numbers::power(*compute));
            sheet.note(&words, *compute, 1.0, (0.0, 20.0), Hold::Middle);
        }
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
        let extremes =
            [vec![], vec![[1e18, 1e-300], [1e40, 1e300]], vec![[1e18, 1.0], [1e22, 1.0]]];
        for points in extremes {
            let picture = ExchangePicture {
                caption: caption.clone(),
                one: "f, dense".to_owned(),
                other: "g, 2:4".to_owned(),
                flop_mode: "dense".to_owned(),
                band: Some(points.iter().map(|&[compute, at]| [compute, 0.0, 10.0 * at]).collect()),
                points,
                coverage: Some(0.95),
                crossings: vec![1e20],
                range: [1.0, 1e40],
            };
            let svg = picture.svg(Canvas::new(480, 1800, Theme::Light));
            assert!(!svg.contains("NaN"), "{svg}");
            assert!(png(&svg).is_ok());
        }
    }
}
