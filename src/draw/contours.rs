//! Contours of the optimal sparsity over model size and compute, (N, C).

use crate::draw::axis::{Axis, Unit};
use crate::draw::legend::{Entry, Sign};
use crate::draw::marks::{Hold, Shape};
use crate::draw::sheet::{Heading, Sheet, Stroke};
use crate::draw::{Canvas, Caption, numbers};

/// The data of a contour picture.
#[derive(Debug, Clone)]
pub struct ContourPicture {
    /// Family, law and notes.
    pub caption: Caption,
    /// Name of the FLOP mode.
    pub flop_mode: String,
    /// The line on which a dense model is compute-optimal.
    pub chinchilla: Line,
    /// One line per sparsity.
    pub lines: Vec<LevelLine>,
    /// Nominal coverage of the bands, if there are any.
    pub coverage: Option<f64>,
    /// The runs of the law; lines are faint beyond their convex hull. Empty if they are not known.
    pub runs: Vec<MeasuredRun>,
    /// `[nonzero_params, compute]` of a question to mark.
    pub mark: Option<[f64; 2]>,
    /// Whether the axes are linear and start at 0; otherwise they are logarithmic.
    pub linear: bool,
}

/// A run of the law.
#[derive(Debug, Clone, Copy)]
pub struct MeasuredRun {
    /// Number of non-zero parameters.
    pub nonzero_params: f64,
    /// Training compute in the picture's FLOP mode.
    pub compute: f64,
    /// Sparsity of the run.
    pub sparsity: f64,
}

/// A line, possibly with a band.
#[derive(Debug, Clone, Default)]
pub struct Line {
    /// Points of the line: `[nonzero_params, compute]`.
    pub points: Vec<[f64; 2]>,
    /// Points of the band: `[nonzero_params, lowest compute, highest compute]`.
    pub band: Option<Vec<[f64; 3]>>,
}

/// The line on which one sparsity is optimal.
#[derive(Debug, Clone)]
pub struct LevelLine {
    /// The sparsity, from 0 to 1.
    pub sparsity: f64,
    /// The line; without points if the sparsity is optimal at no budget.
    pub line: Line,
}

/// Maximum number of levels with bands. Bands of more levels would cover each other, so each level has a bar at one
/// size instead.
const MOST_BANDS: usize = 5;
/// Maximum number of levels with bars; more would be too close together.
const MOST_BARS: usize = 24;
/// Number of runs above which they are drawn smaller.
const MANY_RUNS: usize = 500;

impl ContourPicture {
    /// Draws the picture as SVG.
    #[must_use]
    pub fn svg(&self, canvas: Canvas) -> String {
        let palette = canvas.palette();
        let mut levels: Vec<&LevelLine> =
            self.lines.iter().filter(|level| !level.line.points.is_empty()).collect();
        levels.sort_by(|a, b| a.sparsity.total_cmp(&b.sparsity));
        let banded = levels.len() <= MOST_BARS && self.coverage.is_some();
        let bars = levels.len() > MOST_BANDS;
        let runs = || self.runs.iter().map(|run| [run.nonzero_params, run.compute]);
        let points = || {
            let lines = levels.iter().map(|level| &level.line).chain([&self.chinchilla]);
            let points = lines.flat_map(|line| line.points.iter().copied());
            points.chain(runs()).chain(self.mark)
        };
        let (sizes, budgets) = ("non-zero parameters", "training compute (FLOPs)");
        let zero = || std::iter::once(0.0);
        let (x, y) = if self.linear {
            let x = Axis::linear(sizes, Unit::Count, points().map(|p| p[0]).chain(zero()));
            let y = Axis::linear(budgets, Unit::Power, points().map(|p| p[1]).chain(zero()));
            (x.with_room(0.0, 0.02), y.with_room(0.0, 0.03))
        } else {
            let x = Axis::log(sizes, Unit::Count, points().map(|p| p[0]));
            let y = Axis::log(budgets, Unit::Power, points().map(|p| p[1]));
            (x, y.with_room(0.04, 0.03))
        };
        // A sparsity in the middle gives the colour of the samples in the legend.
        let middle = levels.get(levels.len().saturating_sub(1) / 2);
        let sample = palette.level(middle.map_or(0.5, |level| level.sparsity));
        let mut legend = vec![entry(Sign::Line, &sample, "this sparsity is optimal".to_owned())];
        if let Some(coverage) = self.coverage.filter(|_| banded) {
            let text = format!("{} interval", numbers::percent(coverage));
            legend.push(entry(if bars { Sign::Bar } else { Sign::Band }, &sample, text));
        }
        // A small picture saves the room of legend entries for things that are labelled in the picture.
        let whole = !canvas.is_bare();
        if whole {
            let chinchilla = "dense compute-optimal (Chinchilla)";
            legend.push(entry(Sign::Dashed, palette.ink, chinchilla.to_owned()));
        }
        let dense = levels.first().filter(|level| level.sparsity == 0.0);
        if dense.is_some() && whole {
            legend.push(entry(Sign::Tint, palette.tint, "0 % is optimal".to_owned()));
        }
        if !self.runs.is_empty() {
            legend.push(entry(Sign::Dot, &sample, "runs".to_owned()));
            legend.push(entry(Sign::Faint, &sample, "beyond the runs".to_owned()));
        }
        if self.mark.is_some() && whole {
            let sign = Sign::Mark(Shape::Diamond);
            legend.push(entry(sign, palette.accent, "the question".to_owned()));
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
        let mut sheet = Sheet::new(canvas, heading, x, y, 80.0);
        if let Some(dense) = dense {
            sheet.region_below(&dense.line.points, "0 % is optimal");
        }
        for level in levels.iter().filter(|_| banded && !bars) {
            let band = level.line.band.as_deref().unwrap_or_default();
            sheet.band(band, &palette.level(level.sparsity), 0.16);
        }
        self.draw_runs(&mut sheet, canvas);
        let width = if levels.len() > 20 { 1.2 } else { 2.4 };
        let colours: Vec<_> = levels.iter().map(|level| palette.level(level.sparsity)).collect();
        let mut lines: Vec<(&[[f64; 2]], Stroke<'_>)> = Vec::new();
        for (level, colour) in levels.iter().zip(&colours) {
            lines.push((
                &level.line.points,
                Stroke { colour, width, dashed: false, class: "level" },
            ));
        }
        let stroke = Stroke { colour: palette.ink, width: 1.8, dashed: true, class: "chinchilla" };
        lines.push((&self.chinchilla.points, stroke));
        sheet.lines_by_support(&lines, &runs().collect::<Vec<_>>());
        if banded && bars {
            for (rank, (level, colour)) in levels.iter().zip(&colours).enumerate() {
                let band = level.line.band.as_deref().unwrap_or_default();
                // Each bar is at another size, so that no two cover each other.
                let share = (rank as f64 + 0.5) / levels.len() as f64;
                let place = (share * band.len().saturating_sub(1) as f64).round() as usize;
                if let Some(&[size, low, high]) = band.get(place) {
                    sheet.bar((size, low), (size, high), colour);
                }
            }
        }
        let chinchilla = ("Chinchilla".to_owned(), palette.ink.to_owned());
        sheet.end_label(&self.chinchilla.points, chinchilla.0, chinchilla.1);
        for (level, colour) in levels.iter().zip(colours) {
            sheet.end_label(&level.line.points, numbers::percent(level.sparsity), colour);
        }
        if let Some([size, compute]) = self.mark {
            sheet.mark(Shape::Diamond, size, compute, 5.5, palette.accent);
            sheet.note("the question", size, compute, (9.0, 4.0), Hold::Start);
        }
        if levels.is_empty() {
            sheet.message("no budget makes any of these sparsities optimal");
        }
        sheet.finish()
    }

    fn draw_runs(&self, sheet: &mut Sheet, canvas: Canvas) {
        let size = if self.runs.len() > MANY_RUNS { 1.5 } else { 2.4 };
        let mut runs: Vec<_> = self.runs.iter().collect();
        runs.sort_by(|a, b| a.sparsity.total_cmp(&b.sparsity));
        // Runs of nearly the same sparsity get one colour: pruned runs scatter about their target level, and the
        // differences could not be seen.
        let close = |a: &&MeasuredRun, b: &&MeasuredRun| b.sparsity - a.sparsity < 1e-3;
        for level in runs.chunk_by(close) {
            let places: Vec<_> =
                level.iter().map(|run| [run.nonzero_params, run.compute]).collect();
            sheet.dots(&places, size, &canvas.palette().level(level[0].sparsity));
        }
    }
}

fn entry(sign: Sign, colour: &str, text: String) -> Entry {
    Entry { sign, colour: colour.to_owned(), text }
}

#[cfg(test)]
mod tests {
    use resvg::usvg::roxmltree::Document;

    use super::*;
    use crate::draw::{Theme, Window};

    fn line(height: f64) -> Line {
        Line {
            points: vec![[1e6, height], [1e8, height * 1e4]],
            // Exceeds any axis on both sides.
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
            runs: Vec::new(),
            mark: None,
            linear: false,
        }
    }

    /// Paths of the elements of a class, in order.
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
        // The lowest level comes first. The axes leave 72 units free on the left, and 80 + 16 on the right.
        let [[(x0, y0), (x1, y1)], [_, (_, above)]] = [ends(&levels[0]), ends(&levels[1])];
        assert_eq!((x0, x1), (72.0, 704.0));
        // Each line rises four decades, and the second is two decades above the first; the axis has six decades and a
        // margin of 7 %.
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
    fn lines_are_faint_beyond_the_runs() {
        let mut seen = picture();
        let run = |nonzero_params, compute| MeasuredRun { nonzero_params, compute, sparsity: 0.5 };
        seen.runs = vec![run(1e6, 1e15), run(1e7, 1e15), run(1e7, 1e17)];
        seen.mark = Some([1e7, 1e16]);
        let svg = seen.svg(Canvas::new(800, 540, Theme::Light));
        assert_eq!((paths(&svg, "level").len(), paths(&svg, "supported").len()), (2, 3));
        let dots: usize = paths(&svg, "dots").iter().map(|d| d.matches('M').count()).sum();
        assert_eq!((dots, svg.matches("<clipPath").count()), (3, 2));
        assert!(svg.contains("beyond the runs") && svg.contains("the question"));
        // Without known runs nothing is faint.
        assert!(!picture().svg(Canvas::new(800, 540, Theme::Light)).contains("beyond the runs"));
    }

    #[test]
    fn twelve_levels_have_bars_in_place_of_bands() {
        let mut many = picture();
        let level = |i: u32| LevelLine { sparsity: f64::from(i) / 20.0, line: line(1e15) };
        many.lines = (1..=12).map(level).collect();
        let svg = many.svg(Canvas::new(800, 540, Theme::Light));
        assert_eq!((paths(&svg, "band").len(), paths(&svg, "bar").len()), (0, 12));
    }

    #[test]
    fn a_part_is_shown_with_labels_where_lines_leave_it() {
        let window = Window { x: Some([1e6, 1e7]), y: Some([1e14, 1e16]) };
        let svg = picture().svg(Canvas::bare(600, 340, Theme::Light).showing(window));
        assert!(svg.contains(r#"data-x="log 6 7""#) && svg.contains(r#"data-y="log 14 16""#));
        // The line of 50 % begins at the upper end of the axes, so its label is inside; that of 0 % leaves at the
        // right.
        let document = Document::parse(&svg).unwrap();
        let named = |words: &str| {
            let texts = document.descendants().filter(|node| node.has_tag_name("text"));
            texts.filter(|node| node.text().is_some_and(|text| text.trim() == words)).count()
        };
        // A label inside the axes is written twice, because of its halo.
        assert_eq!((named("50 %"), named("0 %")), (2, 1));
        assert!(!svg.contains("class=\"title\"") && !svg.contains("Law 3"));
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
