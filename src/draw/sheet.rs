//! The sheet that every picture is drawn on: title, legend, axes, a clipped plot area, and notes.

use std::fmt::Write;

use sha2::{Digest, Sha256};
use svg::Document;
use svg::node::element::{ClipPath, Definitions, Group, Path, Rectangle, Title};

use crate::draw::axis::Axis;
use crate::draw::canvas::{Canvas, Palette, Window};
use crate::draw::legend::{DOT_OPACITY, Entry, FAINT, MARGIN, ROW, legend};
use crate::draw::marks::{
    BODY, Hold, Shape, decimals, path, ring_at, shape_at, text, width_of, wrapped,
};
use crate::draw::{Caption, hull};

/// The title and legend above a picture, and the notes below it.
#[derive(Debug)]
pub(crate) struct Heading<'a> {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    pub(crate) legend: Vec<Entry>,
    pub(crate) caption: &'a Caption,
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stroke<'a> {
    pub(crate) colour: &'a str,
    pub(crate) width: f64,
    pub(crate) dashed: bool,
    /// Class of the SVG element, for scripts and tests.
    pub(crate) class: &'static str,
}

const TITLE: f64 = 16.0;
const SMALL: f64 = 10.5;
/// Height of a line of the notes.
const NOTE_ROW: f64 = 14.0;
/// Width left of the plot area, for the labels of the vertical axis.
const LEFT: f64 = 72.0;
/// Height of a label at the side of the plot area.
const LABEL: f64 = 15.0;
/// Number of layers that dots are spread over; up to this many overlapping dots darken each other.
const LAYERS: usize = 8;

/// A rectangle of the layout; `y` points down.
#[derive(Debug, Clone, Copy)]
struct Area {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

/// A picture under construction.
pub(crate) struct Sheet {
    canvas: Canvas,
    units: (f64, f64),
    palette: &'static Palette,
    plot: Area,
    x: Axis,
    y: Axis,
    title: String,
    /// Heading, axes and labels: everything around the plot area.
    around: Group,
    inside: Group,
    above: Group,
    clips: Vec<ClipPath>,
    /// Labels for the ends of lines: position as shares of the axes, text, colour.
    ends: Vec<((f64, f64), String, String)>,
}

impl Sheet {
    /// Creates a sheet with its title, legend, axes and notes. `right` units stay free to the right of the plot area.
    pub(crate) fn new(canvas: Canvas, heading: Heading<'_>, x: Axis, y: Axis, right: f64) -> Self {
        let mut sheet = Self::bare(canvas, heading, x, y, right);
        sheet.axes();
        sheet
    }

    /// Creates a sheet without ticks and axis names, for a picture without data.
    pub(crate) fn bare(canvas: Canvas, heading: Heading<'_>, x: Axis, y: Axis, right: f64) -> Self {
        let units = canvas.units();
        let palette = canvas.palette();
        let mut around = Group::new();
        let mut top = MARGIN + TITLE * 0.8;
        let title = heading.title;
        if !canvas.is_bare() {
            let line = text(&title, (MARGIN, top), TITLE, palette.ink, Hold::Start);
            around = around.add(line.set("font-weight", "bold").set("class", "title"));
            top += ROW;
            for line in wrapped(&heading.subtitle, units.0 - 2.0 * MARGIN, BODY) {
                around = around.add(text(&line, (MARGIN, top), BODY, palette.muted, Hold::Start));
                top += ROW - 2.0;
            }
            top += 4.0;
        }
        let (legend, rows) = legend(&heading.legend, top, units.0, palette);
        around = around.add(legend);
        top += ROW * rows + 2.0;

        let mut notes: Vec<String> = Vec::new();
        for note in heading.caption.notes.iter().filter(|_| !canvas.is_bare()) {
            notes.extend(wrapped(note, units.0 - 2.0 * MARGIN, SMALL));
        }
        let mut foot = units.1 - 10.0 - NOTE_ROW * notes.len().saturating_sub(1) as f64;
        let bottom = if canvas.is_bare() { units.1 - 46.0 } else { foot - 58.0 };
        for note in &notes {
            around = around.add(text(note, (MARGIN, foot), SMALL, palette.muted, Hold::Start));
            foot += NOTE_ROW;
        }
        let plot = Area {
            left: LEFT,
            top,
            width: units.0 - LEFT - right - MARGIN,
            height: (bottom - top).max(80.0),
        };
        let Window { x: across, y: up } = canvas.window();
        let (x, y) = (x.between(across), y.between(up));
        let (inside, above) = (Group::new(), Group::new());
        let (clips, ends) = (Vec::new(), Vec::new());
        Self { canvas, units, palette, plot, x, y, title, around, inside, above, clips, ends }
    }

    /// Whether a value lies within the axes. Always true if no window was set.
    fn shows(&self, x: f64, y: f64) -> bool {
        let within = |place: f64| (-1e-9..=1.0 + 1e-9).contains(&place);
        self.canvas.window() == Window::default()
            || (within(self.x.place(x)) && within(self.y.place(y)))
    }

    fn axes(&mut self) {
        let Area { left, top, width, height } = self.plot;
        let bottom = top + height;
        let mut grid = Group::new().set("stroke", self.palette.grid).set("fill", "none");
        let mut marks = Group::new().set("stroke", self.palette.muted).set("fill", "none");
        let mut labels = Group::new();
        // A label of the horizontal axis takes about 60 units, one of the vertical axis about 34.
        for tick in self.x.ticks((width / 60.0) as usize) {
            let x = left + self.x.place(tick.value) * width;
            let long = if tick.label.is_some() { 5.0 } else { 2.5 };
            marks = marks.add(path(&[(x, bottom), (x, bottom + long)], false));
            let Some(label) = tick.label else { continue };
            grid = grid.add(path(&[(x, top), (x, bottom)], false));
            let at = (x, bottom + 18.0);
            labels = labels.add(text(&label, at, BODY, self.palette.ink, Hold::Middle));
        }
        for tick in self.y.ticks((height / 34.0) as usize) {
            let y = bottom - self.y.place(tick.value) * height;
            let long = if tick.label.is_some() { 5.0 } else { 2.5 };
            marks = marks.add(path(&[(left - long, y), (left, y)], false));
            let Some(label) = tick.label else { continue };
            grid = grid.add(path(&[(left, y), (left + width, y)], false));
            let at = (left - 9.0, y + 4.2);
            labels = labels.add(text(&label, at, BODY, self.palette.ink, Hold::End));
        }
        let centre = (left + width / 2.0, bottom + 38.0);
        labels = labels.add(text(&self.x.name, centre, BODY, self.palette.ink, Hold::Middle));
        let centre = (MARGIN + 4.0, top + height / 2.0);
        let turned = format!("rotate(-90 {:.2} {:.2})", centre.0, centre.1);
        let name = text(&self.y.name, centre, BODY, self.palette.ink, Hold::Middle);
        labels = labels.add(name.set("transform", turned));
        self.around = std::mem::take(&mut self.around).add(grid).add(marks).add(labels);
    }

    /// Position of a value, in units of the layout.
    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let Area { left, top, width, height } = self.plot;
        (left + self.x.place(x) * width, top + (1.0 - self.y.place(y)) * height)
    }

    fn add(&mut self, element: impl svg::Node) {
        self.inside = std::mem::take(&mut self.inside).add(element);
    }

    fn add_above(&mut self, element: impl svg::Node) {
        self.above = std::mem::take(&mut self.above).add(element);
    }

    /// Draws a line through points.
    pub(crate) fn line(&mut self, points: &[[f64; 2]], stroke: Stroke<'_>) {
        let places: Vec<_> = points.iter().map(|&[x, y]| self.at(x, y)).collect();
        if places.is_empty() {
            return;
        }
        let line = path(&places, false)
            .set("class", stroke.class)
            .set("fill", "none")
            .set("stroke", stroke.colour)
            .set("stroke-width", stroke.width)
            .set("stroke-linejoin", "round");
        self.add(if stroke.dashed { line.set("stroke-dasharray", "7 4") } else { line });
    }

    /// Draws lines that are faint except within the convex hull of the given values, which are the runs. Without
    /// values, nothing is faint.
    pub(crate) fn lines_by_support(
        &mut self,
        lines: &[(&[[f64; 2]], Stroke<'_>)],
        support: &[[f64; 2]],
    ) {
        if support.is_empty() {
            for (points, stroke) in lines {
                self.line(points, *stroke);
            }
            return;
        }
        let all = std::mem::take(&mut self.inside);
        for (points, stroke) in lines {
            self.line(points, *stroke);
        }
        let faint = std::mem::take(&mut self.inside).set("opacity", FAINT);
        let places: Vec<_> = support.iter().map(|&[x, y]| self.at(x, y)).collect();
        let corners = hull::convex(&places);
        let clip = self.clip(path(&corners, true));
        for (points, stroke) in lines {
            self.line(points, Stroke { class: "supported", ..*stroke });
        }
        let clear = std::mem::take(&mut self.inside).set("clip-path", clip);
        self.inside = all.add(faint).add(clear);
    }

    /// Adds a clip path and returns a reference to it. Its name is a hash of its contents, so that clip paths of
    /// several pictures on one page can only share a name if they are the same.
    fn clip(&mut self, shape: impl svg::Node) -> String {
        let digest = Sha256::digest(shape.to_string());
        let name = format!("clip-{}", hex::encode(&digest[..6]));
        let reference = format!("url(#{name})");
        self.clips.push(ClipPath::new().set("id", name).add(shape));
        reference
    }

    /// Draws many small dots of one colour, which look darker where they overlap.
    pub(crate) fn dots(&mut self, points: &[[f64; 2]], size: f64, colour: &str) {
        for layer in 0..LAYERS.min(points.len()) {
            let mut steps = String::new();
            for &[x, y] in points.iter().skip(layer).step_by(LAYERS) {
                if self.shows(x, y) {
                    let (x, y) = self.at(x, y);
                    // Writing to a string cannot fail.
                    let _ = write!(steps, "M{x:.1} {y:.1}h.01");
                }
            }
            if steps.is_empty() {
                continue;
            }
            let dots = Path::new()
                .set("d", steps)
                .set("fill", "none")
                .set("stroke", colour)
                .set("stroke-width", 2.0 * size)
                .set("stroke-linecap", "round")
                .set("stroke-opacity", DOT_OPACITY)
                .set("class", "dots");
            self.add(dots);
        }
    }

    /// Draws a band between two curves, with thin edges.
    pub(crate) fn band(&mut self, band: &[[f64; 3]], colour: &str, opacity: f64) {
        let low: Vec<_> = band.iter().map(|&[x, low, _]| self.at(x, low)).collect();
        let high: Vec<_> = band.iter().map(|&[x, _, high]| self.at(x, high)).collect();
        if low.is_empty() {
            return;
        }
        let around: Vec<_> = low.iter().chain(high.iter().rev()).copied().collect();
        let filled = path(&around, true).set("fill", colour).set("fill-opacity", opacity);
        self.add(filled.set("class", "band"));
        for edge in [low, high] {
            let edge = path(&edge, false)
                .set("fill", "none")
                .set("stroke", colour)
                .set("stroke-width", 0.8)
                .set("stroke-opacity", 0.75);
            self.add(edge);
        }
    }

    /// Tints the region below a line, and writes its name at the lower right.
    pub(crate) fn region_below(&mut self, line: &[[f64; 2]], name: &str) {
        let Some((first, last)) = line.first().zip(line.last()) else { return };
        let bottom = self.plot.top + self.plot.height;
        let mut places: Vec<_> = line.iter().map(|&[x, y]| self.at(x, y)).collect();
        let right = self.at(last[0], last[1]).0;
        places.push((right, bottom));
        places.push((self.at(first[0], first[1]).0, bottom));
        let tint = path(&places, true).set("fill", self.palette.tint).set("fill-opacity", 0.25);
        self.add(tint.set("class", "region"));
        self.inside_text(name, (right - 10.0, bottom - 10.0), Hold::End);
    }

    /// Adds a text within the plot area, with a halo in the background colour.
    fn inside_text(&mut self, words: &str, at: (f64, f64), hold: Hold) {
        let halo = text(words, at, BODY, self.palette.background, hold)
            .set("stroke", self.palette.background)
            .set("stroke-width", 3)
            .set("stroke-opacity", 0.8)
            .set("stroke-linejoin", "round")
            .set("aria-hidden", "true");
        self.add_above(halo);
        self.add_above(text(words, at, BODY, self.palette.ink, hold));
    }

    /// Writes a text at a value, shifted by this many units.
    pub(crate) fn note(&mut self, words: &str, x: f64, y: f64, moved: (f64, f64), hold: Hold) {
        if !self.shows(x, y) {
            return;
        }
        let place = self.at(x, y);
        // Keeps the whole text within the plot area.
        let width = width_of(words, BODY);
        let (before, after) = match hold {
            Hold::Start => (0.0, width),
            Hold::Middle => (width / 2.0, width / 2.0),
            Hold::End => (width, 0.0),
        };
        let Area { left, top, width, height } = self.plot;
        let (least, most) = (left + before + 4.0, left + width - after - 4.0);
        let along = (place.0 + moved.0).min(most).max(least);
        let down = (place.1 + moved.1).min(top + height - 6.0).max(top + BODY + 2.0);
        self.inside_text(words, (along, down), hold);
    }

    /// Writes a message in the middle of the plot area.
    pub(crate) fn message(&mut self, words: &str) {
        let Area { left, top, width, height } = self.plot;
        let mut down = top + height / 2.0;
        for line in wrapped(words, width - 40.0, BODY) {
            self.inside_text(&line, (left + width / 2.0, down), Hold::Middle);
            down += ROW;
        }
    }

    /// Draws a mark at a value.
    pub(crate) fn mark(&mut self, shape: Shape, x: f64, y: f64, size: f64, colour: &str) {
        if !self.shows(x, y) {
            return;
        }
        let place = self.at(x, y);
        let marks = shape_at(shape, place, size, colour, self.palette.background);
        self.add_above(marks);
    }

    /// Draws a ring around a value.
    pub(crate) fn ring(&mut self, x: f64, y: f64) {
        if !self.shows(x, y) {
            return;
        }
        let place = self.at(x, y);
        let ring = ring_at(place, self.palette.accent).set("class", "outlier");
        self.add_above(ring);
    }

    /// Draws a vertical or horizontal bar between two values, with short end strokes.
    pub(crate) fn bar(&mut self, from: (f64, f64), to: (f64, f64), colour: &str) {
        let (a, b) = (self.at(from.0, from.1), self.at(to.0, to.1));
        let across = if (a.0 - b.0).abs() < (a.1 - b.1).abs() { (4.0, 0.0) } else { (0.0, 4.0) };
        let end =
            |p: (f64, f64)| [(p.0 - across.0, p.1 - across.1), (p.0 + across.0, p.1 + across.1)];
        let steps: Vec<_> = [[a, b], end(a), end(b)]
            .iter()
            .map(|piece| {
                let [(from, up), (to, down)] = piece;
                format!("M{from:.2} {up:.2}L{to:.2} {down:.2}")
            })
            .collect();
        let bar = Path::new()
            .set("d", steps.concat())
            .set("fill", "none")
            .set("stroke", colour)
            .set("stroke-width", 1.8)
            .set("class", "bar");
        self.add(bar);
    }

    /// Labels a line where it ends or leaves the plot area: to the right of the area, or inside it if the line leaves
    /// at the top or bottom.
    pub(crate) fn end_label(&mut self, points: &[[f64; 2]], words: String, colour: String) {
        let places: Vec<_> =
            points.iter().map(|&[x, y]| (self.x.place(x), self.y.place(y))).collect();
        if let Some(end) = visible_end(&places) {
            self.ends.push((end, words, colour));
        }
    }

    /// Places the labels of line ends beside the plot area, moving them apart where they are crowded. If there are too
    /// many for that, only those that find room are placed, in the order in which they were added, so that the first
    /// one always is.
    fn side_labels(&mut self) {
        let Area { left, top, width, height } = self.plot;
        let right = left + width;
        let mut placed: Vec<((f64, f64), String, String)> = Vec::new();
        let many = self.ends.len() as f64 * LABEL > 0.6 * height;
        for ((across, up), words, colour) in std::mem::take(&mut self.ends) {
            let place = (left + across * width, top + (1.0 - up) * height);
            if across < 0.98 && !(0.01..0.99).contains(&up) {
                let (aside, hold) =
                    if across < 0.2 { (5.0, Hold::Start) } else { (-5.0, Hold::End) };
                let down = place.1.min(top + height - 6.0).max(top + BODY + 2.0);
                self.inside_text(&words, (place.0 + aside, down), hold);
            } else if !many || placed.iter().all(|label| (label.0.1 - place.1).abs() >= LABEL) {
                placed.push((place, words, colour));
            }
        }
        placed.sort_by(|a, b| a.0.1.total_cmp(&b.0.1));
        let wanted: Vec<f64> = placed.iter().map(|label| label.0.1).collect();
        let spread = apart(&wanted, LABEL, top + 4.0, top + height - 2.0);
        for ((place, words, colour), moved) in placed.into_iter().zip(spread) {
            let from = (place.0.max(right - 1.0), place.1);
            let leader = path(&[from, (right + 6.0, moved), (right + 10.0, moved)], false)
                .set("fill", "none")
                .set("stroke", colour);
            let at = (right + 14.0, moved + 4.2);
            let label = text(&words, at, BODY, self.palette.ink, Hold::Start).set("class", "label");
            self.around = std::mem::take(&mut self.around).add(leader).add(label);
        }
    }

    /// Completes the picture and returns it as SVG.
    pub(crate) fn finish(mut self) -> String {
        self.side_labels();
        let Area { left, top, width, height } = self.plot;
        let frame = || {
            Rectangle::new()
                .set("x", decimals(left))
                .set("y", decimals(top))
                .set("width", decimals(width))
                .set("height", decimals(height))
        };
        let clip = self.clip(frame());
        let all = Rectangle::new().set("width", "100%").set("height", "100%");
        let (pixels, units) = (self.canvas.pixels(), self.units);
        let definitions = std::mem::take(&mut self.clips);
        let definitions = definitions.into_iter().fold(Definitions::new(), Definitions::add);
        let [left, top, width, height] = [left, top, width, height].map(decimals);
        let document = Document::new()
            .set("width", pixels.0)
            .set("height", pixels.1)
            .set("viewBox", format!("0 0 {} {}", decimals(units.0), decimals(units.1)))
            .set("font-family", "sans-serif")
            .set("role", "img")
            .set("data-plot", format!("{left} {top} {width} {height}"))
            .set("data-x", self.x.description())
            .set("data-y", self.y.description())
            .add(Title::new(self.title))
            .add(definitions)
            .add(all.set("fill", self.palette.background))
            .add(self.around)
            .add(Group::new().set("clip-path", clip).add(self.inside.set("data-inside", "")))
            .add(frame().set("fill", "none").set("stroke", self.palette.muted))
            .add(self.above);
        format!("{document}\n")
    }
}

/// The last point of a polyline that lies within the axes, which reach from 0 to 1; `None` if no point does.
fn visible_end(places: &[(f64, f64)]) -> Option<(f64, f64)> {
    let within = |(x, y): (f64, f64)| (0.0..=1.0).contains(&x) && (0.0..=1.0).contains(&y);
    let pairs = places.windows(2).rev();
    let ends = pairs.filter_map(|pair| {
        let (from, to) = (pair[0], pair[1]);
        // Liang-Barsky clipping: the shares of the segment at which it enters and leaves.
        let (mut enters, mut leaves) = (0.0_f64, 1.0_f64);
        for (at, step) in [(from.0, to.0 - from.0), (from.1, to.1 - from.1)] {
            if step == 0.0 {
                if !(0.0..=1.0).contains(&at) {
                    return None;
                }
                continue;
            }
            let (a, b) = (-at / step, (1.0 - at) / step);
            (enters, leaves) = (enters.max(a.min(b)), leaves.min(a.max(b)));
        }
        let end = (from.0 + leaves * (to.0 - from.0), from.1 + leaves * (to.1 - from.1));
        (enters <= leaves).then_some(end)
    });
    ends.into_iter().next().or_else(|| places.last().copied().filter(|&place| within(place)))
}

/// Moves positions, given in ascending order, so that they are at least `gap` apart within the ends. Each crowd stays
/// centred on the mean of its wanted positions.
fn apart(wanted: &[f64], gap: f64, low: f64, high: f64) -> Vec<f64> {
    // Crowds in ascending order: how many positions each holds, and the mean of its wanted positions.
    let mut crowds: Vec<(usize, f64)> = Vec::new();
    let first = |(count, middle): (usize, f64)| {
        let length = (count - 1) as f64 * gap;
        (middle - length / 2.0).min(high - length).max(low)
    };
    for &place in wanted {
        let mut crowd = (1, place);
        while let Some(&below) = crowds.last() {
            if first(below) + below.0 as f64 * gap <= first(crowd) {
                break;
            }
            let count = below.0 + crowd.0;
            let sum = below.1 * below.0 as f64 + crowd.1 * crowd.0 as f64;
            crowd = (count, sum / count as f64);
            crowds.pop();
        }
        crowds.push(crowd);
    }
    let places = crowds.into_iter().flat_map(|crowd| {
        let start = first(crowd);
        (0..crowd.0).map(move |at| start + at as f64 * gap)
    });
    places.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_pushed_apart_and_stay_inside() {
        assert_eq!(apart(&[10.0, 50.0], 15.0, 0.0, 100.0), [10.0, 50.0]);
        assert_eq!(apart(&[30.0, 31.0, 35.0], 15.0, 0.0, 100.0), [17.0, 32.0, 47.0]);
        assert_eq!(apart(&[1.0, 12.0, 13.0], 15.0, 0.0, 100.0), [0.0, 15.0, 30.0]);
        assert_eq!(apart(&[90.0, 95.0, 99.0], 15.0, 0.0, 100.0), [70.0, 85.0, 100.0]);
    }

    #[test]
    fn a_line_ends_where_it_is_last_seen() {
        assert_eq!(visible_end(&[(0.0, 0.0), (1.0, 0.5)]), Some((1.0, 0.5)));
        assert_eq!(visible_end(&[(0.0, 0.5), (1.0, 1.5)]), Some((0.5, 1.0)));
        assert_eq!(visible_end(&[(0.0, 0.5), (0.5, 0.5), (1.0, 9.0)]).map(|end| end.1), Some(1.0));
        assert_eq!(visible_end(&[(0.0, 2.0), (1.0, 3.0)]), None);
        assert_eq!(visible_end(&[(0.5, 0.5)]), Some((0.5, 0.5)));
        assert_eq!(visible_end(&[]), None);
    }

    #[test]
    fn texts_break_between_words() {
        assert_eq!(wrapped("a few words", 1000.0, 10.0), ["a few words"]);
        assert_eq!(wrapped("a few words", 50.0, 10.0), ["a few", "words"]);
    }
}
