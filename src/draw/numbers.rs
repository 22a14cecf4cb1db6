//! Formats numbers as people write them.

/// Formats a number with three significant digits, without trailing zeros.
fn short(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    trimmed(format!("{value:.digits$}"))
}

fn trimmed(text: String) -> String {
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Formats a number of parameters: `250k`, `10M`, `1.5B`; from a thousand trillions on, a power of ten.
pub(crate) fn count(value: f64) -> String {
    let units = [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"), (1.0, "")];
    // The factor 0.9995 makes 999,999 appear as `1M`, which would otherwise round to `1000k`.
    match units.into_iter().find(|(unit, _)| value >= unit * 0.9995) {
        Some((unit, suffix)) if value < 0.9995e15 => {
            format!("{}{suffix}", short(value / unit))
        }
        _ => power(value),
    }
}

/// Formats an amount of compute as a power of ten, with a mantissa unless that is 1.
pub(crate) fn power(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let mut exponent = value.log10().floor();
    let mut mantissa = short(value / 10f64.powf(exponent));
    if mantissa == "10" {
        exponent += 1.0;
        mantissa = "1".to_owned();
    }
    let raised: String = format!("{exponent:.0}").chars().map(superscript).collect();
    if mantissa == "1" { format!("10{raised}") } else { format!("{mantissa}×10{raised}") }
}

/// Formats a loss or a gain for ticks at this step.
pub(crate) fn decimal(value: f64, step: f64) -> String {
    // Steps are 1, 2 or 5 times a power of ten.
    let digits = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
    format!("{value:.digits$}").replace('-', "−")
}

/// Formats a loss or a gain for a text, with this many digits after the point.
pub(crate) fn rounded(value: f64, digits: usize) -> String {
    if value.abs() >= 1e6 { format!("{value:.1e}") } else { format!("{value:.digits$}") }
}

/// Formats a sparsity in percent with as many digits as it was given, at most six after the point.
pub(crate) fn percent(sparsity: f64) -> String {
    format!("{} %", trimmed(format!("{:.6}", sparsity * 100.0)))
}

/// Formats a computed sparsity in percent, with as many digits as give its density two significant ones.
pub(crate) fn percent_about(sparsity: f64) -> String {
    let left = ((1.0 - sparsity) * 100.0).max(1e-10);
    let digits = (1.0 - left.log10().floor()).clamp(0.0, 10.0) as usize;
    format!("{:.digits$} %", sparsity * 100.0)
}

const fn superscript(digit: char) -> char {
    match digit {
        '-' => '⁻',
        '0' => '⁰',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '4' => '⁴',
        '5' => '⁵',
        '6' => '⁶',
        '7' => '⁷',
        '8' => '⁸',
        _ => '⁹',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_the_suffixes_of_the_field() {
        let table = [
            (1.0, "1"),
            (1e3, "1k"),
            (999_999.0, "1M"),
            (1_327_104.0, "1.33M"),
            (1e7, "10M"),
            (1e9, "1B"),
            (2.5e12, "2.5T"),
            (1e14, "100T"),
        ];
        for (value, text) in table {
            assert_eq!(count(value), text);
        }
        assert_eq!(count(1e18), "10¹⁸");
    }

    #[test]
    fn compute_is_a_power_of_ten() {
        assert_eq!(power(1e18), "10¹⁸");
        assert_eq!((power(0.0), count(0.0)), ("0".to_owned(), "0".to_owned()));
        assert_eq!(power(2e-3), "2×10⁻³");
        assert_eq!(power(9.999e20), "10²¹");
        assert_eq!(power(1.234e20), "1.23×10²⁰");
    }

    #[test]
    fn sparsities_are_percent() {
        assert_eq!(percent(0.875), "87.5 %");
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent_about(0.593361640), "59 %");
        assert_eq!(percent_about(0.913904160), "91.4 %");
        assert_eq!(percent_about(0.0), "0 %");
        assert_eq!(percent_about(0.99987), "99.987 %");
    }

    #[test]
    fn ticks_have_the_digits_of_their_step() {
        assert_eq!(decimal(2.5, 0.05), "2.50");
        assert_eq!((decimal(10.0, 5.0), decimal(-0.5, 0.1)), ("10".to_owned(), "−0.5".to_owned()));
        assert_eq!(rounded(2.34567, 3), "2.346");
    }
}
