//! Contours of the optimal sparsity in (N, C).

use crate::draw::axis::{Axis, Unit};
use crate::draw::sheet::{Entry, Heading, Sheet, Sign, Stroke};
use crate::draw::{Canvas, Caption, numbers};

/// What to draw.
#[derive(Debug, Clone)]
pub struct ContourPicture {
    /// Where it comes from.
    pub caption: Caption,
    /// What a training step costs.
    pub flop_mode: String,
    /// Where a dense model is compute-optimal.
    pub chinchilla: Line,
    /// A line for each sparsity.
    pub lines: Vec<LevelLine>,
    /// Nominal coverage of the bands, where there are some.
    pub coverage: Option<f64>,
}

/// A line with its band.
#[derive(Debug, Clone, Default)]
pub struct Line {
    /// `[nonzero_params, compute]`.
    pub points: Vec<[f64; 2]>,
    /// `[nonzero_params, lowest, highest compute]`.
    pub band: Option<Vec<[f64; 3]>>,
}

/// The line of one sparsity.
#[derive(Debug, Clone)]
pub struct LevelLine {
    /// The sparsity.
    pub sparsity: f64,
    /// Without points where no budget asks for it.
    pub line: Line,
}

/// More levels than this have no bands: they would cover each other.
const MOST_BANDS: usize = 12;

impl ContourPicture {
    /// The picture as SVG.
    #[must_use]
    pub fn svg(&self, canvas: Canvas) -> String {
        let palette = canvas.palette();
        let mut levels: Vec<&LevelLine> =
            self.lines.iter().filter(|level| !level.line.points.is_empty()).collect();
        levels.sort_by(|a, b| a.sparsity.total_cmp(&b.sparsity));
        let banded = levels.len() <= MOST_BANDS && self.coverage.is_some();
        let points = || {
            let lines = levels.iter().map(|level| &level.line).chain([&self.chinchilla]);
            lines.flat_map(|line| line.points.iter())
        };
        let x = Axis::log("non-zero parameters", Unit::Count, points().map(|p| p[0]));
        let y = Axis::log("training compute (FLOPs)", Unit::Power, points().map(|p| p[1]));
        // Sparser levels stand above, and so do their colours in the legend's sample.
        let colour = |rank: usize| palette.level(rank, levels.len());
        let sample = colour(levels.len().saturating_sub(1) / 2);
        let mut legend = vec![
            entry(Sign::Line, &sample, "this sparsity is optimal".to_owned()),
            entry(Sign::Dashed, palette.ink, "dense compute-optimal (Chinchilla)".to_owned()),
        ];
        if let Some(coverage) = self.coverage.filter(|_| banded) {
            let text = format!("{} interval", numbers::percent(coverage));
            legend.insert(1, entry(Sign::Band, &sample, text));
        }
        let dense = levels.first().filter(|level| level.sparsity == 0.0);
        if dense.is_some() {
            legend.push(entry(Sign::Tint, palette.tint, "0 % is optimal".to_owned()));
        }
        let heading = Heading {
            title: format!(
                "Optimal sparsity of {}, law {}, FLOP mode {}",
                self.caption.family, self.caption.law_version, self.flop_mode
            ),
            subtitle: "Training budgets at which each sparsity is optimal, by model size"
                .to_owned(),
            legend,
            caption: &self.caption,
        };
        let mut sheet = Sheet::new(canvas, heading, x, y.with_room(0.04, 0.03), 80.0);
        if let Some(dense) = dense {
            sheet.region_below(&dense.line.points, "0 % is optimal");
        }
        if banded {
            for (rank, level) in levels.iter().enumerate() {
                let band = level.line.band.as_deref().unwrap_or_default();
                sheet.band(band, &colour(rank), 0.16);
            }
        }
        let width = if levels.len() > 20 { 1.2 } else { 2.4 };
        for (rank, level) in levels.iter().enumerate() {
            let colour = colour(rank);
            let stroke = Stroke { colour: &colour, width, dashed: false, class: "level" };
            sheet.line(&level.line.points, stroke);
        }
        let stroke = Stroke { colour: palette.ink, width: 1.8, dashed: true, class: "chinchilla" };
        sheet.line(&self.chinchilla.points, stroke);
        let end = |line: &Line| line.points.last().map(|point| point[1]);
        let chinchilla = end(&self.chinchilla);
        let chinchilla = chinchilla.map(|y| (y, "Chinchilla".to_owned(), palette.ink.to_owned()));
        let labels: Vec<_> = chinchilla
            .into_iter()
            .chain(levels.iter().enumerate().filter_map(|(rank, level)| {
                Some((end(&level.line)?, numbers::percent(level.sparsity), colour(rank)))
            }))
            .collect();
        sheet.side_labels(&labels);
        if levels.is_empty() {
            sheet.message("no budget makes any of these sparsities optimal");
        }
        sheet.finish()
    }
}

fn entry(sign: Sign, colour: &str, text: String) -> Entry {
    Entry { sign, colour: colour.to_owned(), text }
}

#[cfg(test)]
mod tests {
    use resvg::usvg::roxmltree::Document;

    use super::*;
    use crate::draw::Theme;

    fn line(height: f64) -> Line {
        Line {
            points: vec![[1e6, height], [1e8, height * 1e4]],
            // Beyond any axis on both sides.
            band: Some(vec![[1e6, 0.0, 1e300], [1e8, 1.0, 1e300]]),
        }
    }

    fn picture() -> ContourPicture {
        let caption = Caption {
            family: "a<b>&\"c".to_owned(),
            law_version: 3,
            notes: vec!["Law 3".to_owned()],
        };
        let level = |sparsity, height| LevelLine { sparsity, line: line(height) };
        ContourPicture {
            caption,
            flop_mode: "sparse".to_owned(),
            chinchilla: line(1e15),
            lines: vec![
                level(0.5, 1e16),
                level(0.0, 1e14),
                LevelLine { sparsity: 0.6, line: Line::default() },
            ],
            coverage: Some(0.95),
        }
    }

    /// Elements of a class, in order.
    fn paths(svg: &str, class: &str) -> Vec<String> {
        let document = Document::parse(svg).unwrap();
        let of_class = document.descendants().filter(|node| node.attribute("class") == Some(class));
        of_class.map(|node| node.attribute("d").unwrap().to_owned()).collect()
    }

    fn ends(path: &str) -> [(f64, f64); 2] {
        let place = |text: &str| {
            let (x, y) = text.split_once(' ').unwrap();
            (x.parse().unwrap(), y.parse().unwrap())
        };
        let (from, to) = path.strip_prefix('M').unwrap().split_once('L').unwrap();
        [place(from), place(to)]
    }

    #[test]
    fn every_level_is_a_line_from_end_to_end() {
        let svg = picture().svg(Canvas::new(800, 540, Theme::Light));
        let levels = paths(&svg, "level");
        assert_eq!((levels.len(), paths(&svg, "band").len()), (2, 2));
        assert_eq!((paths(&svg, "chinchilla").len(), paths(&svg, "region").len()), (1, 1));
        // From the lowest level up; the axes leave 72 units at the left, 80 + 16 at the right.
        let [[(x0, y0), (x1, y1)], [_, (_, above)]] = [ends(&levels[0]), ends(&levels[1])];
        assert_eq!((x0, x1), (72.0, 704.0));
        // Four decades up, two from one level to the next, out of six and a margin of 7 %.
        let decade = (y1 - above) / 2.0;
        assert!(((y0 - y1) / decade - 4.0).abs() < 0.01);
        assert!((decade * 6.0 * 1.07 - 385.0).abs() < 5.0, "{decade}");
    }

    #[test]
    fn what_families_are_called_is_text_and_no_markup() {
        let svg = picture().svg(Canvas::new(800, 540, Theme::Dark));
        let document = Document::parse(&svg).unwrap();
        let title = document.descendants().find(|node| node.has_tag_name("title")).unwrap();
        let expected = "Optimal sparsity of a<b>&\"c, law 3, FLOP mode sparse";
        assert_eq!(title.text().unwrap().trim(), expected);
        assert!(!svg.contains("NaN") && !svg.contains("inf "), "{svg}");
    }

    #[test]
    fn the_same_numbers_are_the_same_bytes() {
        let canvas = Canvas::new(800, 540, Theme::Light);
        assert_eq!(picture().svg(canvas), picture().svg(canvas));
        let dark = Canvas::new(800, 540, Theme::Dark);
        assert_ne!(picture().svg(canvas), picture().svg(dark));
    }

    #[test]
    fn a_picture_without_lines_says_so() {
        let mut empty = picture();
        empty.lines.clear();
        let svg = empty.svg(Canvas::new(480, 360, Theme::Light));
        assert!(svg.contains("no budget makes any"));
        assert!(Document::parse(&svg).is_ok());
    }
}
