//! Renders SVG as PNG, with a built-in font.

use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};
use thiserror::Error;

/// Noto Sans in two weights; fonts of the machine are not used.
static FONTS: LazyLock<Arc<fontdb::Database>> = LazyLock::new(|| {
    let mut fonts = fontdb::Database::new();
    fonts.load_font_data(notosans::REGULAR_TTF.to_vec());
    fonts.load_font_data(notosans::BOLD_TTF.to_vec());
    fonts.set_sans_serif_family("Noto Sans");
    Arc::new(fonts)
});

/// Why a picture cannot be rendered as PNG.
#[derive(Debug, Error)]
pub enum PngError {
    /// The input is not valid SVG.
    #[error("reading the SVG: {0}")]
    Svg(#[from] resvg::usvg::Error),
    /// The picture has no pixels.
    #[error("the picture has no pixels")]
    Empty,
    /// The pixels cannot be encoded.
    #[error("writing the PNG: {0}")]
    Encoding(String),
}

/// Renders an SVG made by [`crate::draw`] in its own size, and returns the bytes of the PNG.
///
/// # Errors
/// [`PngError`] if the SVG is invalid or empty, or cannot be encoded.
pub fn png(svg: &str) -> Result<Vec<u8>, PngError> {
    let options = Options { fontdb: FONTS.clone(), ..Options::default() };
    let tree = Tree::from_str(svg, &options)?;
    let size = tree.size().to_int_size();
    let mut pixels = Pixmap::new(size.width(), size.height()).ok_or(PngError::Empty)?;
    resvg::render(&tree, Transform::default(), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| PngError::Encoding(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_come_from_the_font_that_is_compiled_in() {
        let draw = |text: &str| {
            let svg = format!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" width="60" height="30">
                <text x="5" y="20" font-family="sans-serif">{text}</text></svg>"#
            );
            Pixmap::decode_png(&png(&svg).unwrap()).unwrap()
        };
        let (text, none) = (draw("10¹⁸"), draw(""));
        assert_eq!((text.width(), text.height()), (60, 30));
        let marked = |pixels: &Pixmap| pixels.pixels().iter().filter(|p| p.alpha() > 0).count();
        assert!(marked(&text) > 50 && marked(&none) == 0);
        assert!(png("no picture").is_err());
    }
}
