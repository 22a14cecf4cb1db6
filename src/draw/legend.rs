//! The legend of a picture: what its signs mean.

use svg::node::element::{Circle, Group, Rectangle};

use crate::draw::canvas::Palette;
use crate::draw::marks::{BODY, Hold, Shape, decimals, path, ring_at, shape_at, text, width_of};

/// Height of a line of the legend.
pub(super) const ROW: f64 = 18.0;
/// Room at the edges of a sheet.
pub(super) const MARGIN: f64 = 16.0;
/// Opacity of lines beyond the runs.
pub(super) const FAINT: f64 = 0.4;
/// Opacity of a dot that is one of many.
pub(super) const DOT_OPACITY: f64 = 0.55;

/// A legend entry: a sign and its meaning.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) sign: Sign,
    pub(crate) colour: String,
    pub(crate) text: String,
}

/// The sign of a legend entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    Line,
    Dashed,
    /// A line drawn faintly.
    Faint,
    Band,
    /// An upright bar, as drawn across a line for an interval.
    Bar,
    Tint,
    Mark(Shape),
    /// A small dot, one of many.
    Dot,
    Ring,
}

/// Draws legend entries side by side, in as many rows as they need. Returns the drawing and the number of rows.
pub(super) fn legend(entries: &[Entry], top: f64, units: f64, palette: &Palette) -> (Group, f64) {
    const SIGN: f64 = 24.0;
    let mut group = Group::new();
    let (mut x, mut y, mut rows) = (MARGIN, top, 1.0);
    for entry in entries {
        let width = SIGN + 6.0 + width_of(&entry.text, BODY) + 16.0;
        if x + width > units && x > MARGIN {
            (x, y, rows) = (MARGIN, y + ROW, rows + 1.0);
        }
        let middle = y - 4.0;
        let colour = entry.colour.as_str();
        let centre = (x + SIGN / 2.0, middle);
        let upright =
            path(&[(x + SIGN / 2.0, middle - 6.0), (x + SIGN / 2.0, middle + 6.0)], false);
        let block = |opacity: f64| {
            Rectangle::new()
                .set("x", decimals(x))
                .set("y", decimals(middle - 6.0))
                .set("width", SIGN)
                .set("height", 12)
                .set("fill", colour)
                .set("fill-opacity", opacity)
        };
        let line = path(&[(x, middle), (x + SIGN, middle)], false)
            .set("stroke", colour)
            .set("stroke-width", 2.2);
        group = match entry.sign {
            Sign::Line => group.add(line),
            Sign::Dashed => group.add(line.set("stroke-dasharray", "7 4")),
            Sign::Faint => group.add(line.set("stroke-opacity", FAINT)),
            Sign::Bar => group.add(upright.set("stroke", colour).set("stroke-width", 1.8)),
            Sign::Dot => group.add(
                Circle::new()
                    .set("cx", decimals(centre.0))
                    .set("cy", decimals(centre.1))
                    .set("r", 2.6)
                    .set("fill", colour)
                    .set("fill-opacity", DOT_OPACITY),
            ),
            Sign::Band => group.add(block(0.25).set("stroke", colour).set("stroke-width", 0.8)),
            Sign::Tint => group.add(block(0.25)),
            Sign::Mark(shape) => {
                group.add(shape_at(shape, centre, 4.5, colour, palette.background))
            }
            Sign::Ring => group.add(ring_at(centre, colour)),
        };
        let words = (x + SIGN + 6.0, y);
        group = group.add(text(&entry.text, words, BODY, palette.ink, Hold::Start));
        x += width;
    }
    (group, if entries.is_empty() { 0.0 } else { rows })
}
