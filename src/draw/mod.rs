//! Pictures of answers, suitable for pasting into a report: numbers in, SVG out, and PNG from the SVG.
//!
//! Like [`sparsity_law::law`], this module has no side effects, and it uses no other module of this crate. The SVG is
//! laid out here and written by the crate `svg`. `plotters` was considered first, but its SVG backend draws in whole
//! pixels, which puts kinks into straight lines, and it does not clip, while the bands of these pictures leave their
//! axes by orders of magnitude. PNGs are rendered from the SVG by `resvg` with a built-in font, so that they are the
//! same on a machine without fonts.
//!
//! The range of an axis follows from the lines; bands and intervals widen it by a limited amount at most, so that the
//! lines keep their shape. Every picture is laid out in units, of which 800 x 540 fill the default canvas; a larger
//! canvas shows the same picture in more detail. On a bare canvas, which is for a page that shows title and notes
//! itself, a unit is a pixel.
//!
//! The root element says where the axes are (`data-plot`: left, top, width, height in units) and what they show
//! (`data-x`, `data-y`: the scale, and the positions of both ends), so that a page can find the value at a position.

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

/// The scale of a sparsity axis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SparsityAxis {
    /// Linear in the logarithm of the density.
    #[default]
    Density,
    /// Linear in the sparsity.
    Linear,
}

impl SparsityAxis {
    /// Name of an axis with the scale [`SparsityAxis::Density`].
    const NAME: &str = "sparsity (%), logarithmic in the density";
}

/// What a picture says about its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caption {
    /// Name of the law's family.
    pub family: String,
    /// Version of the law.
    pub law_version: i32,
    /// Lines below the picture: the law, its runs, warnings.
    pub notes: Vec<String>,
}
