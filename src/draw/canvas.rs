//! Size, colours and visible part of a picture.

use std::ops::RangeInclusive;

/// The canvas of a picture: its size, colours and visible part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Canvas {
    width: u32,
    height: u32,
    theme: Theme,
    bare: bool,
    window: Window,
}

/// The visible part of a picture, as values at the ends of its axes. An axis without ends shows everything. An end that
/// has no position on the axis, such as 0 on a logarithmic one, is ignored.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Window {
    /// Ends of the horizontal axis, left and right.
    pub x: Option<[f64; 2]>,
    /// Ends of the vertical axis, bottom and top.
    pub y: Option<[f64; 2]>,
}

/// A light or dark colour theme.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Theme {
    /// For paper and light screens.
    #[default]
    Light,
    /// For dark screens.
    Dark,
}

impl Canvas {
    /// Allowed widths, in pixels; smaller pictures would not be readable.
    pub const WIDTHS: RangeInclusive<u32> = 480..=2400;
    /// Allowed heights, in pixels.
    pub const HEIGHTS: RangeInclusive<u32> = 360..=1800;
    /// Default width, in pixels.
    pub const WIDTH: u32 = 800;
    /// Default height, in pixels.
    pub const HEIGHT: u32 = 540;

    /// Allowed widths of a bare picture, in pixels.
    pub const BARE_WIDTHS: RangeInclusive<u32> = 280..=2400;
    /// Allowed heights of a bare picture, in pixels.
    pub const BARE_HEIGHTS: RangeInclusive<u32> = 200..=1800;

    /// Creates a canvas of this many pixels, limited to the allowed sizes.
    #[must_use]
    pub fn new(width: u32, height: u32, theme: Theme) -> Self {
        Self {
            width: width.clamp(*Self::WIDTHS.start(), *Self::WIDTHS.end()),
            height: height.clamp(*Self::HEIGHTS.start(), *Self::HEIGHTS.end()),
            theme,
            bare: false,
            window: Window::default(),
        }
    }

    /// Creates a bare canvas: only the legend and the plot, for a page that shows title and notes itself. A unit of the
    /// layout is one pixel at any size, so that letters are as large as those of the page.
    #[must_use]
    pub fn bare(width: u32, height: u32, theme: Theme) -> Self {
        Self {
            width: width.clamp(*Self::BARE_WIDTHS.start(), *Self::BARE_WIDTHS.end()),
            height: height.clamp(*Self::BARE_HEIGHTS.start(), *Self::BARE_HEIGHTS.end()),
            bare: true,
            ..Self::new(width, height, theme)
        }
    }

    /// The same canvas, showing only a part of the picture.
    #[must_use]
    pub const fn showing(self, window: Window) -> Self {
        Self { window, ..self }
    }

    /// Whether title and notes are left out.
    pub(crate) const fn is_bare(&self) -> bool {
        self.bare
    }

    /// The visible part of the picture.
    pub(crate) const fn window(&self) -> Window {
        self.window
    }

    /// Width and height in pixels.
    #[must_use]
    pub const fn pixels(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Width and height in units of the layout. Letters grow with the picture, and shrink with it to no less than three
    /// quarters of their size.
    pub(crate) fn units(&self) -> (f64, f64) {
        let (width, height) = (f64::from(self.width), f64::from(self.height));
        if self.bare {
            return (width, height);
        }
        let shares = (width / f64::from(Self::WIDTH), height / f64::from(Self::HEIGHT));
        let scale = shares.0.min(shares.1).max(0.75);
        (width / scale, height / scale)
    }

    pub(crate) const fn palette(&self) -> &'static Palette {
        match self.theme {
            Theme::Light => &LIGHT,
            Theme::Dark => &DARK,
        }
    }
}

/// The colours of a theme. They also differ in lightness, so that a print in grey is readable.
#[derive(Debug)]
pub(crate) struct Palette {
    pub(crate) background: &'static str,
    pub(crate) ink: &'static str,
    /// Secondary texts.
    pub(crate) muted: &'static str,
    pub(crate) grid: &'static str,
    /// Named regions.
    pub(crate) tint: &'static str,
    /// The curve of a picture that has only one; from the palette of Okabe and Ito.
    pub(crate) curve: &'static str,
    /// Highlighted things.
    pub(crate) accent: &'static str,
    /// Part of [`VIRIDIS`] that contrasts with the background, as shares from the dense to the sparsest level.
    levels: (f64, f64),
}

const LIGHT: Palette = Palette {
    background: "#ffffff",
    ink: "#1f2328",
    muted: "#57606a",
    grid: "#e1e5ea",
    tint: "#8c96a1",
    curve: "#0072b2",
    accent: "#c44e00",
    levels: (0.0, 0.6),
};

const DARK: Palette = Palette {
    background: "#1a1f26",
    ink: "#e6edf3",
    muted: "#a3adb8",
    grid: "#2c333b",
    tint: "#8c96a1",
    curve: "#56b4e9",
    accent: "#ff9f5a",
    levels: (0.35, 1.0),
};

/// The Viridis colour map at even steps: its lightness changes evenly, and colour-blind people can tell its colours
/// apart.
const VIRIDIS: [[f64; 3]; 9] = [
    [68.0, 1.0, 84.0],
    [71.0, 44.0, 122.0],
    [59.0, 81.0, 139.0],
    [44.0, 113.0, 142.0],
    [33.0, 144.0, 141.0],
    [39.0, 173.0, 129.0],
    [92.0, 200.0, 99.0],
    [170.0, 220.0, 50.0],
    [253.0, 231.0, 37.0],
];

/// Number of halvings of the weights after which the colour no longer changes.
const HALVINGS: f64 = 6.0;

impl Palette {
    /// The colour of a sparsity, which is the same in every picture.
    ///
    /// Half of the change follows the sparsity and half the logarithm of the density, so that neither 10 % and 20 % nor
    /// 97 % and 99 % look alike.
    pub(crate) fn level(&self, sparsity: f64) -> String {
        let (first, last) = self.levels;
        let sparsity = sparsity.clamp(0.0, 1.0);
        let halvings = -(1.0 - sparsity).max(f64::MIN_POSITIVE).log2();
        let share = f64::midpoint(sparsity, (halvings / HALVINGS).min(1.0));
        let place = (first + (last - first) * share) * (VIRIDIS.len() - 1) as f64;
        // The share is at most 1, so there is always a next colour.
        let below = (place.floor() as usize).min(VIRIDIS.len() - 2);
        let weight = place - below as f64;
        let mix = |channel: usize| {
            let (a, b) = (VIRIDIS[below][channel], VIRIDIS[below + 1][channel]);
            (a + (b - a) * weight).round() as u8
        };
        format!("#{:02x}{:02x}{:02x}", mix(0), mix(1), mix(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_keep_their_size_and_pictures_their_bounds() {
        assert_eq!(Canvas::new(800, 540, Theme::Light).units(), (800.0, 540.0));
        assert_eq!(Canvas::new(1600, 1080, Theme::Light).units(), (800.0, 540.0));
        assert_eq!(Canvas::new(480, 360, Theme::Light).units(), (640.0, 480.0));
        assert_eq!(Canvas::new(1, 9999, Theme::Light).pixels(), (480, 1800));
    }

    #[test]
    fn a_bare_picture_may_be_small_and_has_letters_of_a_page() {
        assert_eq!(Canvas::bare(330, 260, Theme::Light).units(), (330.0, 260.0));
        assert_eq!(Canvas::bare(1600, 1, Theme::Light).units(), (1600.0, 200.0));
    }

    #[test]
    fn sparser_levels_are_lighter_in_both_themes() {
        let lightness = |palette: &Palette, sparsity: f64| {
            let colour = palette.level(sparsity);
            let channel = |at| f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap());
            0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
        };
        let levels = [0.0, 0.25, 0.5, 0.75, 0.875, 0.9375, 0.97, 0.99];
        for palette in [&LIGHT, &DARK] {
            for pair in levels.windows(2) {
                assert!(
                    lightness(palette, pair[0]) + 4.0 < lightness(palette, pair[1]),
                    "{pair:?}"
                );
            }
        }
        assert_eq!(LIGHT.level(1.0), LIGHT.level(1.0 - 1e-9));
    }
}
