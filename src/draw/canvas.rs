//! Size and colours of a picture.

use std::ops::RangeInclusive;

/// What a picture is drawn on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canvas {
    width: u32,
    height: u32,
    theme: Theme,
}

/// Light or dark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Theme {
    /// For paper.
    #[default]
    Light,
    /// For a dark screen.
    Dark,
}

impl Canvas {
    /// Widths that there are, in pixels: smaller ones cannot be read.
    pub const WIDTHS: RangeInclusive<u32> = 480..=2400;
    /// Heights that there are, in pixels.
    pub const HEIGHTS: RangeInclusive<u32> = 360..=1800;
    /// Width where nothing is said.
    pub const WIDTH: u32 = 800;
    /// Height where nothing is said.
    pub const HEIGHT: u32 = 540;

    /// A canvas of so many pixels, cut to what there is.
    #[must_use]
    pub fn new(width: u32, height: u32, theme: Theme) -> Self {
        Self {
            width: width.clamp(*Self::WIDTHS.start(), *Self::WIDTHS.end()),
            height: height.clamp(*Self::HEIGHTS.start(), *Self::HEIGHTS.end()),
            theme,
        }
    }

    /// Width and height in pixels.
    #[must_use]
    pub const fn pixels(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Width and height in units of the layout. Letters grow with the picture and shrink with it no
    /// further than to three quarters.
    pub(crate) fn units(&self) -> (f64, f64) {
        let (width, height) = (f64::from(self.width), f64::from(self.height));
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

/// The colours of a theme. They differ in lightness too, so that a grey print can be read.
#[derive(Debug)]
pub(crate) struct Palette {
    pub(crate) background: &'static str,
    pub(crate) ink: &'static str,
    /// Texts that stand back.
    pub(crate) muted: &'static str,
    pub(crate) grid: &'static str,
    /// Regions that are named.
    pub(crate) tint: &'static str,
    /// The curve of a picture with one; from Okabe and Ito's palette.
    pub(crate) curve: &'static str,
    /// What is pointed at.
    pub(crate) accent: &'static str,
    /// Part of [`VIRIDIS`] that stands out from the background, from the first level to the last.
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
    levels: (0.6, 0.0),
};

const DARK: Palette = Palette {
    background: "#14181d",
    ink: "#e6edf3",
    muted: "#a3adb8",
    grid: "#2c333b",
    tint: "#8c96a1",
    curve: "#56b4e9",
    accent: "#ff9f5a",
    levels: (0.35, 1.0),
};

/// Viridis at even steps: even in lightness, and told apart by people who see two colours.
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

impl Palette {
    /// Colour of level `rank` of `count`.
    pub(crate) fn level(&self, rank: usize, count: usize) -> String {
        let (first, last) = self.levels;
        let share = if count > 1 { rank as f64 / (count - 1) as f64 } else { 0.5 };
        let place = (first + (last - first) * share) * (VIRIDIS.len() - 1) as f64;
        // At most one below the last: the share is at most 1.
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
    fn levels_fall_in_lightness_on_paper_and_rise_on_a_dark_screen() {
        let lightness = |palette: &Palette, rank| {
            let colour = palette.level(rank, 5);
            let channel = |at| f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap());
            0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
        };
        for rank in 0..4 {
            assert!(lightness(&LIGHT, rank) > lightness(&LIGHT, rank + 1) + 10.0);
            assert!(lightness(&DARK, rank) + 10.0 < lightness(&DARK, rank + 1));
        }
        assert_eq!(LIGHT.level(0, 1), LIGHT.level(1, 3));
    }
}
