//! Pictures of answers, fit to paste into a report: numbers in, SVG out, and PNG from the SVG.
//!
//! Pure as [`sparsity_law::law`] is, and above nothing of this crate. The SVG is laid out here and written by
//! the crate `svg`. `plotters` was looked at first: its SVG backend draws in whole pixels, which puts
//! kinks into straight lines, and does not clip, while the bands of these pictures leave their axes by
//! orders of magnitude. PNGs are drawn from the SVG by `resvg` with a font that is compiled in, so
//! that they are the same on a machine without fonts.
//!
//! Axes come from the lines and never from their bands. Every picture is laid out in units of which
//! 800 x 540 fill the default canvas; a larger one is the same picture in more detail. On a bare canvas,
//! for a page that says itself what stands around a picture, a unit is a pixel.
//!
//! The root element says where the axes lie (`data-plot`: left, top, width, height in units) and what they show
//! (`data-x`, `data-y`: scale, and places of both ends), so that a page finds the value at a place.

mod axis;
mod canvas;
mod contours;
mod exchange;
mod fit_quality;
mod gain;
mod hull;
mod legend;
mod loss;
mod marks;
mod numbers;
mod png;
mod sheet;

pub use canvas::{Canvas, Theme, Window};
pub use contours::{ContourPicture, LevelLine, Line, MeasuredRun};
pub use exchange::ExchangePicture;
pub use fit_quality::{FitAxes, FitPicture, FittedPoint};
pub use gain::{GainPicture, GainPoint};
pub use loss::{BestSparsity, LossPicture, NamedLoss};
pub use png::{PngError, png};

/// Axes of sparsities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SparsityAxis {
    /// Even in the logarithm of the density.
    #[default]
    Density,
    /// Even in the sparsity.
    Linear,
}

impl SparsityAxis {
    /// Name of the axis that is even in the logarithm of the density.
    const NAME: &str = "sparsity (%), logarithmic in the density";
}

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
