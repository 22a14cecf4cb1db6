//! Exponential and logarithm without branches, so that the compiler can vectorise a loop over many laws. Those of the
//! standard library are function calls, which no compiler vectorises.
//!
//! Both are accurate to a few units in the last place over the range that laws need. Crates that offer the same need
//! `unsafe`, or a build for one particular processor, to be any faster. The loops are dispatched to the widest vectors
//! of the processor; as multiplications and additions are never fused, the bits are the same on all processors.

/// Adding this constant rounds a number below 2^51 to the nearest integer, and leaves that integer in the last bits.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// `ln 2` as a sum. The last bits of the first part are zeros, so that its product with a small integer is exact.
const LN_2: (f64, f64) = (6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10);

/// `e^x` for `-708 <= x <= 709`; outside that range, the value at the nearer end.
#[inline(always)]
pub(crate) fn exp(x: f64) -> f64 {
    // The argument is never NaN: it is a sum of finite logarithms, or infinite.
    let x = if x < -708.0 { -708.0 } else { x };
    let x = if x > 709.0 { 709.0 } else { x };
    let rounded = x * std::f64::consts::LOG2_E + ROUND;
    let power = rounded - ROUND;
    let r = (x - power * LN_2.0) - power * LN_2.1;
    // Taylor series; the first omitted term is below 2e-17 for |r| <= ln 2 / 2.
    let r2 = r * r;
    let r4 = r2 * r2;
    let r8 = r4 * r4;
    let low = (1.0 + r) + r2 * (1.0 / 2.0 + r * (1.0 / 6.0));
    let middle = (1.0 / 24.0 + r * (1.0 / 120.0)) + r2 * (1.0 / 720.0 + r * (1.0 / 5_040.0));
    let high = (1.0 / 40_320.0 + r * (1.0 / 362_880.0))
        + r2 * (1.0 / 3_628_800.0 + r * (1.0 / 39_916_800.0))
        + r4 * (1.0 / 479_001_600.0 + r * (1.0 / 6_227_020_800.0));
    let mantissa = low + r4 * middle + r8 * high;
    f64::from_bits(mantissa.to_bits().wrapping_add(rounded.to_bits() << 52))
}

/// `ln x` for normal positive numbers.
#[inline(always)]
pub(crate) fn ln(x: f64) -> f64 {
    /// Bits of `sqrt(1/2)`.
    const HALF_ROOT: u64 = 0x3fe6_a09e_667f_3bcd;
    /// Keeps the exponent a positive integer.
    const OFFSET: u64 = 1024;
    /// Bits of 2^52, where the unit in the last place is 1.
    const ONES: u64 = 0x4330_0000_0000_0000;
    let bits = x.to_bits();
    let exponent = bits.wrapping_sub(HALF_ROOT).wrapping_add(OFFSET << 52) >> 52;
    let power = f64::from_bits(exponent | ONES) - (4_503_599_627_370_496.0 + OFFSET as f64);
    let mantissa = f64::from_bits(bits.wrapping_sub(exponent.wrapping_sub(OFFSET) << 52));
    // 2 artanh s; the first omitted term of the series is below 1e-17 for |s| <= 0.172.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let s2 = s * s;
    let mut series = 1.0 / 19.0;
    for odd in [17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
        series = series * s2 + 1.0 / odd;
    }
    let artanh2 = 2.0 * s + 2.0 * s * s2 * series;
    power * LN_2.0 + (power * LN_2.1 + artanh2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A few units in the last place.
    const ULPS: f64 = 4.0 * f64::EPSILON;

    proptest! {
        #[test]
        fn exp_is_the_standard_one(x in -708.0..709.0f64) {
            prop_assert!((exp(x) / x.exp() - 1.0).abs() <= ULPS, "{x}");
        }

        #[test]
        fn ln_is_the_standard_one(x in -700.0..700.0f64) {
            let x = x.exp();
            prop_assert!((ln(x) - x.ln()).abs() <= ULPS * x.ln().abs().max(1.0), "{x}");
        }

        #[test]
        fn ln_is_the_standard_one_near_one(x in 0.5..2.0f64) {
            prop_assert!((ln(x) - x.ln()).abs() <= ULPS * x.ln().abs(), "{x}");
        }
    }

    #[test]
    fn ends_of_the_range() {
        assert_eq!(exp(f64::NEG_INFINITY), exp(-708.0));
        assert_eq!(exp(1e300), exp(709.0));
        assert!(exp(709.0).is_finite());
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(ln(1.0), 0.0);
        assert!((ln(f64::MIN_POSITIVE) - f64::MIN_POSITIVE.ln()).abs() < 1e-12);
        assert!((ln(f64::MAX) - f64::MAX.ln()).abs() < 1e-12);
    }
}
