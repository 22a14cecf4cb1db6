//! Finds out which elements are zero, from the bits of their type.
//!
//! The loops are simple and run over blocks, so that the compiler vectorises them.

use safetensors::Dtype;

/// How to interpret the bits of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// 4 bits: sign, two bits of exponent, one of mantissa.
    F4,
    /// 8 bits, with NaN as 0x7f of either sign.
    E4M3,
    /// 8 bits, with infinities.
    E5M2,
    /// 8 bits without a negative zero: 0x80 is the only NaN.
    Fnuz,
    /// Signed 8-bit integer.
    I8,
    /// IEEE half precision.
    F16,
    /// The upper half of `F32`.
    BF16,
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
    /// Two single-precision numbers; zero where both are.
    C64,
    /// A byte that is zero or not, for masks.
    Byte,
}

/// Counts of elements that are rare, besides zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rare {
    /// Elements of the smallest magnitude that the type can represent.
    pub smallest: u64,
    /// Infinities and NaNs.
    pub not_finite: u64,
}

impl Rare {
    /// Adds the counts of other elements.
    pub fn add(&mut self, other: Self) {
        self.smallest += other.smallest;
        self.not_finite += other.not_finite;
    }
}

impl Format {
    /// The format of parameters of a type; `None` where the type is not used for parameters, or its layout is not
    /// defined.
    pub fn of_parameters(dtype: Dtype) -> Option<Self> {
        Some(match dtype {
            Dtype::F4 => Self::F4,
            Dtype::F8_E4M3 => Self::E4M3,
            Dtype::F8_E5M2 => Self::E5M2,
            Dtype::F8_E4M3FNUZ | Dtype::F8_E5M2FNUZ => Self::Fnuz,
            Dtype::I8 => Self::I8,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::BF16,
            Dtype::F32 => Self::F32,
            Dtype::F64 => Self::F64,
            Dtype::C64 => Self::C64,
            _ => return None,
        })
    }

    /// The format of a mask of a type; `None` where masks do not have that type.
    pub fn of_mask(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::BOOL | Dtype::U8 => Some(Self::Byte),
            Dtype::F4 | Dtype::C64 => None,
            other => Self::of_parameters(other),
        }
    }

    /// Whether values of this format were rounded to few bits, so that some zeros may come from rounding.
    pub fn is_coarse(self) -> bool {
        matches!(self, Self::F4 | Self::E4M3 | Self::E5M2 | Self::Fnuz | Self::I8)
    }

    /// Number of bytes that hold the given number of elements.
    pub fn bytes(self, elements: usize) -> usize {
        match self {
            Self::F4 => elements.div_ceil(2),
            Self::E4M3 | Self::E5M2 | Self::Fnuz | Self::I8 | Self::Byte => elements,
            Self::F16 | Self::BF16 => elements * 2,
            Self::F32 => elements * 4,
            Self::F64 | Self::C64 => elements * 8,
        }
    }

    /// Writes a flag for each element, 1 if it is not zero and 0 if it is; returns the counts of rare elements.
    pub fn flags(self, bytes: &[u8], flags: &mut Vec<u8>) -> Rare {
        const NONE: u8 = u8::MAX;
        match self {
            Self::F4 => nibbles(bytes, flags),
            Self::E4M3 => bytewise(bytes, flags, 0x7f, 0x7f),
            Self::E5M2 => bytewise(bytes, flags, 0x7f, 0x7c),
            Self::Byte => bytewise(bytes, flags, 0xff, NONE),
            Self::Fnuz => {
                scan(bytes, flags, u8::from_le_bytes, |x| x != 0, |x| x & 0x7f == 1, |x| x == 0x80)
            }
            Self::I8 => scan(
                bytes,
                flags,
                u8::from_le_bytes,
                |x| x != 0,
                |x| x == 1 || x == 0xff,
                |_| false,
            ),
            Self::F16 => halfwise(bytes, flags, 0x7c00),
            Self::BF16 => halfwise(bytes, flags, 0x7f80),
            Self::F32 => scan(
                bytes,
                flags,
                u32::from_le_bytes,
                |x| x << 1 != 0,
                |x| x << 1 == 2,
                |x| x << 1 >= 0xff00_0000,
            ),
            Self::F64 => scan(
                bytes,
                flags,
                u64::from_le_bytes,
                |x| x << 1 != 0,
                |x| x << 1 == 2,
                |x| x << 1 >= 0xffe0_0000_0000_0000,
            ),
            Self::C64 => scan(
                bytes,
                flags,
                u64::from_le_bytes,
                |x| x & 0x7fff_ffff_7fff_ffff != 0,
                |_| false,
                |x| {
                    let parts = [x & 0x7fff_ffff, (x >> 32) & 0x7fff_ffff];
                    parts.iter().any(|part| *part >= 0x7f80_0000)
                },
            ),
        }
    }
}

/// Number of flags that are set.
pub fn nonzero(flags: &[u8]) -> u64 {
    // Sums of 128 flags fit into a byte, and vectors hold more bytes than wider integers.
    flags.chunks(128).map(|block| u64::from(block.iter().sum::<u8>())).sum()
}

/// Reads bytes whose magnitude is under a mask, and which are not finite from a given magnitude on.
fn bytewise(bytes: &[u8], flags: &mut Vec<u8>, magnitude: u8, not_finite: u8) -> Rare {
    scan(
        bytes,
        flags,
        u8::from_le_bytes,
        move |x| x & magnitude != 0,
        move |x| x & magnitude == 1,
        move |x| magnitude != 0xff && x & magnitude >= not_finite,
    )
}

/// Reads half-precision numbers that are not finite from a given magnitude on.
fn halfwise(bytes: &[u8], flags: &mut Vec<u8>, not_finite: u16) -> Rare {
    scan(
        bytes,
        flags,
        u16::from_le_bytes,
        |x| x & 0x7fff != 0,
        |x| x & 0x7fff == 1,
        move |x| x & 0x7fff >= not_finite,
    )
}

/// The loop over elements of `WIDTH` bytes. It counts rare elements only in blocks that have some, which few do.
#[inline(always)]
fn scan<const WIDTH: usize, T: Copy>(
    bytes: &[u8],
    flags: &mut Vec<u8>,
    load: impl Fn([u8; WIDTH]) -> T + Copy,
    nonzero: impl Fn(T) -> bool + Copy,
    smallest: impl Fn(T) -> bool + Copy,
    not_finite: impl Fn(T) -> bool + Copy,
) -> Rare {
    let (elements, _) = bytes.as_chunks::<WIDTH>();
    flags.resize(elements.len(), 0);
    let mut rare = Rare::default();
    for (elements, flags) in elements.chunks(256).zip(flags.chunks_mut(256)) {
        let mut seen = false;
        for (element, flag) in elements.iter().zip(flags) {
            let element = load(*element);
            *flag = u8::from(nonzero(element));
            seen |= smallest(element) | not_finite(element);
        }
        if seen {
            for element in elements {
                let element = load(*element);
                rare.smallest += u64::from(smallest(element));
                rare.not_finite += u64::from(not_finite(element));
            }
        }
    }
    rare
}

/// Reads two elements per byte, the first in the lower half; all values are finite.
fn nibbles(bytes: &[u8], flags: &mut Vec<u8>) -> Rare {
    flags.resize(bytes.len() * 2, 0);
    let mut rare = Rare::default();
    for (byte, flags) in bytes.iter().zip(flags.as_chunks_mut::<2>().0) {
        let magnitudes = [byte & 7, byte >> 4 & 7];
        *flags = magnitudes.map(|magnitude| u8::from(magnitude != 0));
        rare.smallest += magnitudes.iter().filter(|magnitude| **magnitude == 1).count() as u64;
    }
    rare
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(format: Format, bytes: &[u8]) -> (Vec<u8>, u64, u64) {
        // Flags left over from an earlier block must not matter.
        let mut flags = vec![7; 3];
        let rare = format.flags(bytes, &mut flags);
        (flags, rare.smallest, rare.not_finite)
    }

    #[test]
    fn minus_zero_is_zero_in_every_float() {
        let single: Vec<u8> =
            [0.0_f32, -0.0, 1.0, -1.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(seen(Format::F32, &single), (vec![0, 0, 1, 1], 0, 0));
        let double: Vec<u8> = [0.0_f64, -0.0, 1.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(seen(Format::F64, &double), (vec![0, 0, 1], 0, 0));
        let half: Vec<u8> =
            [0x0000_u16, 0x8000, 0x3c00, 0x8001].iter().flat_map(|x| x.to_le_bytes()).collect();
        for format in [Format::F16, Format::BF16] {
            assert_eq!(seen(format, &half), (vec![0, 0, 1, 1], 1, 0));
        }
        for format in [Format::E4M3, Format::E5M2] {
            assert_eq!(seen(format, &[0x00, 0x80, 0x38, 0x81]), (vec![0, 0, 1, 1], 1, 0));
        }
        // 0, -0, 0.5, -6
        assert_eq!(seen(Format::F4, &[0x80, 0xf1]), (vec![0, 0, 1, 1], 1, 0));
    }

    #[test]
    fn the_nan_of_fnuz_is_no_zero() {
        assert_eq!(seen(Format::Fnuz, &[0x00, 0x80, 0x01]), (vec![0, 1, 1], 1, 1));
    }

    #[test]
    fn a_complex_number_is_zero_where_both_parts_are() {
        let parts = [(0.0_f32, -0.0_f32), (0.0, 1.0), (1.0, 0.0), (0.0, f32::NAN)];
        let bytes: Vec<u8> =
            parts.iter().flat_map(|(a, b)| [a.to_le_bytes(), b.to_le_bytes()].concat()).collect();
        assert_eq!(seen(Format::C64, &bytes), (vec![0, 1, 1, 1], 0, 1));
    }

    #[test]
    fn infinities_and_nans_are_told_and_the_largest_numbers_are_not() {
        let single: Vec<u8> = [f32::INFINITY, f32::NAN, f32::MAX, f32::MIN]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        assert_eq!(seen(Format::F32, &single).2, 2);
        let double: Vec<u8> =
            [f64::NEG_INFINITY, f64::NAN, f64::MAX].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(seen(Format::F64, &double).2, 2);
        assert_eq!(seen(Format::F16, &[0x00, 0x7c, 0xff, 0x7b]).2, 1);
        assert_eq!(seen(Format::BF16, &[0x80, 0xff, 0x7f, 0x7f]).2, 1);
        assert_eq!(seen(Format::E4M3, &[0x7f, 0xff, 0x7e]).2, 2);
        assert_eq!(seen(Format::E5M2, &[0x7c, 0x7f, 0x7b]).2, 2);
        assert_eq!(seen(Format::I8, &[0x80, 0x7f, 0xff]), (vec![1, 1, 1], 1, 0));
        assert_eq!(seen(Format::Byte, &[0xff, 0x00, 0x01]), (vec![1, 0, 1], 1, 0));
    }

    #[test]
    fn sums_of_flags_do_not_overflow() {
        assert_eq!(nonzero(&[1; 1000]), 1000);
    }
}
