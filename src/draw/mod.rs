//! Pictures of answers, fit to paste into a report: numbers in, SVG out, and PNG from the SVG.
//!
//! Pure as [`sparsity_law::law`] is, and above nothing of this crate. The SVG is laid out here and written by
//! the crate `svg`. `plotters` was looked at first: its SVG backend draws in whole pixels, which puts
//! kinks into straight lines, and does not clip, while the bands of these pictures leave their axes by
//! orders of magnitude. PNGs are drawn from the SVG by `resvg` with a font that is compiled in, so
//! that they are the same on a machine without fonts.
//!
//! Axes come from the lines and never from their bands. Every picture is laid out in units of which
//! 800 x 540 fill the default canvas; a larger one is the same picture in more detail.

mod axis;
mod canvas;
mod contours;
mod exchange;
mod fit_quality;
mod gain;
mod loss;
mod numbers;
mod png;
mod sheet;

pub use canvas::{Canvas, Theme};
pub use contours::{ContourPicture, LevelLine, Line};
pub use exchange::ExchangePicture;
pub use fit_quality::{FitPicture, FittedPoint};
pub use gain::{GainPicture, GainPoint};
pub use loss::{BestSparsity, LossPicture};
pub use png::{PngError, png};

/// What a picture says of where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caption {
    /// The family that the law is of.
    pub family: String,
    /// Version of the law.
    pub law_version: i32,
    /// Lines below the picture: the law, its runs, warnings.
    pub notes: Vec<String>,
}
