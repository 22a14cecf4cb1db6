//! What pictures are made of: lines, marks and texts, with the room that texts take.

use std::fmt::Write;

use svg::node::element::{Circle, Path, Text};

/// Size of most texts.
pub(super) const BODY: f64 = 12.0;
/// Average width of a letter relative to the font size. This is large for a sans-serif font, because the program that
/// shows the SVG may use another one.
const LETTER: f64 = 0.55;

/// Shapes of marks, which can be told apart without colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Circle,
    Square,
    Diamond,
    Triangle,
}

impl Shape {
    /// The shape of the level with this rank; shapes repeat after four.
    pub(crate) const fn of(rank: usize) -> Self {
        match rank % 4 {
            0 => Self::Circle,
            1 => Self::Square,
            2 => Self::Diamond,
            _ => Self::Triangle,
        }
    }
}

/// The point of a text that its coordinates refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    Start,
    Middle,
    End,
}

impl Hold {
    const fn anchor(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

pub(super) fn width_of(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * LETTER * size
}

/// Formats a number of the layout; more precision than hundredths of a unit would not be visible.
pub(super) fn decimals(value: f64) -> String {
    format!("{value:.2}")
}

pub(super) fn path(places: &[(f64, f64)], closed: bool) -> Path {
    let mut steps = String::new();
    for (i, (x, y)) in places.iter().enumerate() {
        let letter = if i == 0 { 'M' } else { 'L' };
        // Writing to a string cannot fail.
        let _ = write!(steps, "{letter}{x:.2} {y:.2}");
    }
    if closed {
        steps.push('Z');
    }
    Path::new().set("d", steps)
}

pub(super) fn text(words: &str, at: (f64, f64), size: f64, colour: &str, hold: Hold) -> Text {
    Text::new(words)
        .set("x", decimals(at.0))
        .set("y", decimals(at.1))
        .set("font-size", size)
        .set("fill", colour)
        .set("text-anchor", hold.anchor())
}

pub(super) fn shape_at(shape: Shape, at: (f64, f64), size: f64, colour: &str, edge: &str) -> Path {
    let (x, y) = at;
    let places = match shape {
        Shape::Circle => {
            let around = (0..16).map(|i| f64::from(i) * std::f64::consts::TAU / 16.0);
            around.map(|angle| (x + size * angle.cos(), y + size * angle.sin())).collect()
        }
        Shape::Square => {
            let half = size * 0.9;
            vec![
                (x - half, y - half),
                (x + half, y - half),
                (x + half, y + half),
                (x - half, y + half),
            ]
        }
        Shape::Diamond => {
            let half = size * 1.25;
            vec![(x - half, y), (x, y - half), (x + half, y), (x, y + half)]
        }
        Shape::Triangle => {
            let half = size * 1.15;
            vec![(x - half, y + half * 0.8), (x, y - half), (x + half, y + half * 0.8)]
        }
    };
    path(&places, true)
        .set("fill", colour)
        .set("stroke", edge)
        .set("stroke-width", 0.7)
        .set("class", "mark")
}

pub(super) fn ring_at(at: (f64, f64), colour: &str) -> Circle {
    Circle::new()
        .set("cx", decimals(at.0))
        .set("cy", decimals(at.1))
        .set("r", 8)
        .set("fill", "none")
        .set("stroke", colour)
        .set("stroke-width", 1.8)
}

/// Breaks a text into lines that fit into this many units.
pub(super) fn wrapped(words: &str, room: f64, size: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words.split(' ').filter(|word| !word.is_empty()) {
        match lines.last_mut() {
            Some(line) if width_of(line, size) + width_of(word, size) + size <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
