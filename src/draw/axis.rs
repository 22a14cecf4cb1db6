//! Axes: the positions of values, and the ticks.

use crate::draw::numbers;

/// How values are mapped to positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    Linear,
    Log,
    /// `-ln(1 - S)`: linear in the logarithm of the density.
    Density,
}

impl Scale {
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Log => value.log10(),
            Self::Density => -(1.0 - value).ln(),
        }
    }

    fn value(self, place: f64) -> f64 {
        match self {
            Self::Linear => place,
            Self::Log => 10f64.powf(place),
            Self::Density => -(-place).exp_m1(),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Log => "log",
            Self::Density => "density",
        }
    }
}

/// How the values at ticks are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Numbers of parameters, such as `10M`.
    Count,
    /// Compute, as powers of ten.
    Power,
    /// Plain decimal numbers.
    Decimal,
    /// Sparsities in percent, without the sign, which is in the name of the axis.
    Percent,
}

/// An axis with a scale and two ends.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    pub(crate) name: String,
    scale: Scale,
    unit: Unit,
    low: f64,
    high: f64,
}

/// A tick of an axis.
#[derive(Debug, Clone)]
pub(crate) struct Tick {
    pub(crate) value: f64,
    /// Label of the tick; `None` for the small ticks in between.
    pub(crate) label: Option<String>,
}

/// Farthest position, in lengths of the axis. Positions are limited to it, since anything drawn there is clipped
/// anyway.
const FARTHEST: f64 = 100.0;

impl Axis {
    /// A logarithmic axis that covers these values; those that are not positive are ignored.
    pub(crate) fn log(name: &str, unit: Unit, values: impl Iterator<Item = f64>) -> Self {
        let values = values.filter(|value| value.is_finite() && *value > 0.0);
        Self::over(name, Scale::Log, unit, values.map(f64::log10))
    }

    /// A linear axis that covers these values.
    pub(crate) fn linear(name: &str, unit: Unit, values: impl Iterator<Item = f64>) -> Self {
        Self::over(name, Scale::Linear, unit, values.filter(|value| value.is_finite()))
    }

    /// An axis of sparsities from 0 to `high`, linear in the logarithm of the density.
    pub(crate) fn density(name: &str, high: f64) -> Self {
        let high = Scale::Density.place(high.clamp(0.0, 1.0 - 1e-12)).max(0.1);
        Self { name: name.to_owned(), scale: Scale::Density, unit: Unit::Percent, low: 0.0, high }
    }

    fn over(name: &str, scale: Scale, unit: Unit, places: impl Iterator<Item = f64>) -> Self {
        let ends = places.fold(None, |ends: Option<(f64, f64)>, place| match ends {
            None => Some((place, place)),
            Some((low, high)) => Some((low.min(place), high.max(place))),
        });
        let (mut low, mut high) = ends.unwrap_or((0.0, 1.0));
        if high - low <= 1e-9 * high.abs().max(1e-9) {
            let half = 0.05 * high.abs().max(1.0);
            (low, high) = (low - half, high + half);
        }
        Self { name: name.to_owned(), scale, unit, low, high }
    }

    /// Extends the axis at both ends, by shares of its length.
    pub(crate) fn with_room(mut self, below: f64, above: f64) -> Self {
        let length = self.high - self.low;
        self.low -= below * length;
        self.high += above * length;
        self
    }

    /// Limits the axis to these values. An end that has no position on the scale is ignored, and so are both if they
    /// are too close together or in the wrong order.
    pub(crate) fn between(mut self, ends: Option<[f64; 2]>) -> Self {
        let Some(ends) = ends else { return self };
        let [low, high] = ends.map(|end| self.scale.place(end));
        let low = if low.is_finite() { low } else { self.low };
        let high = if high.is_finite() { high } else { self.high };
        // Closer ends cannot be told apart as numbers.
        if high - low > 1e-9 * high.abs().max(low.abs()).max(1e-9) {
            (self.low, self.high) = (low, high);
        }
        self
    }

    /// The scale and the positions of both ends, from which the value at a position can be computed. The position of a
    /// value is the value itself if the scale is `linear`, its decimal logarithm if `log`, and `-ln(1 - value)` if
    /// `density`.
    pub(crate) fn description(&self) -> String {
        format!("{} {} {}", self.scale.name(), self.low, self.high)
    }

    /// The position of a value: 0 at the low end of the axis, 1 at the high end.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let place = (self.scale.place(value) - self.low) / (self.high - self.low);
        // The logarithm of a negative number is NaN.
        if place.is_nan() { -FARTHEST } else { place.clamp(-FARTHEST, FARTHEST) }
    }

    /// The ticks of the axis, of which about `most` at most have a label.
    pub(crate) fn ticks(&self, most: usize) -> Vec<Tick> {
        let most = most.max(2);
        match self.scale {
            Scale::Linear => self.even(self.low, self.high, most),
            Scale::Log => self.decades(most),
            Scale::Density => self.densities(most),
        }
    }

    fn label(&self, value: f64, step: f64) -> String {
        match self.unit {
            Unit::Count => numbers::count(value),
            Unit::Power => numbers::power(value),
            Unit::Decimal => numbers::decimal(value, step),
            Unit::Percent => numbers::decimal(value * 100.0, step * 100.0),
        }
    }

    /// Ticks at multiples of 1, 2 or 5 times a power of ten.
    fn even(&self, low: f64, high: f64, most: usize) -> Vec<Tick> {
        let least = (high - low) / most as f64;
        let magnitude = 10f64.powf(least.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * magnitude);
        // The last step is always large enough, because `magnitude` is more than a tenth of `least`.
        let step = steps.into_iter().find(|step| *step >= least).unwrap_or(steps[3]);
        // Keeps ticks at the ends in spite of rounding errors.
        let margin = 1e-9 * (high - low);
        let (first, last) = (((low - margin) / step).ceil(), ((high + margin) / step).floor());
        // Fits easily: no step is smaller than `least`, so there are at most about `most` ticks.
        let count = (last - first).max(0.0) as u32;
        let value = |i: u32| (first + f64::from(i)) * step;
        (0..=count)
            .map(value)
            .map(|value| Tick { value, label: Some(self.label(value, step)) })
            .collect()
    }

    fn decades(&self, most: usize) -> Vec<Tick> {
        let (first, last) = (self.low.ceil(), self.high.floor());
        if last - first < 1.0 {
            // Less than two decades: ticks at 1, 2 and 5 of each decade, or even steps if those are too few.
            let from = self.low.floor() as i32;
            let values = (from..=last as i32 + 1)
                .flat_map(|exponent| [1.0, 2.0, 5.0].map(|factor| factor * 10f64.powi(exponent)));
            let margin = 1e-9;
            let inside = self.low - margin..=self.high + margin;
            let ticks: Vec<_> = values
                .filter(|value| inside.contains(&value.log10()))
                .map(|value| Tick { value, label: Some(self.label(value, value)) })
                .collect();
            if ticks.len() >= 3 {
                return ticks;
            }
            return self.even(10f64.powf(self.low), 10f64.powf(self.high), most.min(6));
        }
        let (first, last) = (first as i32, last as i32);
        let count = (last - first + 1) as usize;
        let every = count.div_ceil(most);
        let mut ticks = Vec::new();
        for exponent in first - 1..=last {
            let decade = 10f64.powi(exponent);
            // If not every decade has a label, those with round exponents do.
            let labelled = exponent.rem_euclid(every as i32) == 0;
            ticks.push(Tick { value: decade, label: labelled.then(|| self.label(decade, decade)) });
            if count <= 8 {
                let between = (2..10).map(|factor| f64::from(factor) * decade);
                ticks.extend(between.map(|value| Tick { value, label: None }));
            }
        }
        ticks.retain(|tick| (self.low..=self.high).contains(&tick.value.log10()));
        ticks
    }

    fn densities(&self, most: usize) -> Vec<Tick> {
        // The usual levels first; from there on the density falls by about half from tick to tick.
        let nines = (2..=12).flat_map(|nines| {
            let left = 10f64.powi(-nines);
            [1.0 - 5.0 * left, 1.0 - 2.0 * left, 1.0 - left]
        });
        let values = [0.0, 0.25, 0.5, 0.75, 0.875].into_iter().chain(nines);
        let apart = 1.0 / most as f64;
        let mut last = -1.0;
        let mut ticks = Vec::new();
        for value in values {
            let place = self.place(value);
            if place > 1.0 + 1e-9 {
                break;
            }
            if place >= -1e-9 && place - last >= apart {
                last = place;
                let text = numbers::percent(value).trim_end_matches(" %").to_owned();
                ticks.push(Tick { value, label: Some(text) });
            }
        }
        if ticks.len() < 3 {
            // If the axis lies between two of these levels, it has even steps of the sparsity.
            let [low, high] = [self.low, self.high].map(|end| self.scale.value(end));
            return self.even(low.max(0.0), high, most);
        }
        ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis, most: usize) -> Vec<String> {
        let ticks = axis.ticks(most).into_iter();
        ticks.filter_map(|tick| tick.label).collect()
    }

    #[test]
    fn decades_are_marked_and_labelled() {
        let sizes = Axis::log("N", Unit::Count, [1.3e6, 8.5e9].into_iter());
        assert_eq!(labels(&sizes, 10), ["10M", "100M", "1B"]);
        let compute = Axis::log("C", Unit::Power, [1e15, 1e31].into_iter());
        assert_eq!(
            labels(&compute, 9),
            ["10¹⁶", "10¹⁸", "10²⁰", "10²²", "10²⁴", "10²⁶", "10²⁸", "10³⁰"]
        );
        let narrow = Axis::log("N", Unit::Count, [2e7, 6e7].into_iter());
        assert_eq!(labels(&narrow, 6), ["20M", "30M", "40M", "50M", "60M"]);
        let wider = Axis::log("N", Unit::Count, [4e6, 6e7].into_iter());
        assert_eq!(labels(&wider, 6), ["5M", "10M", "20M", "50M"]);
    }

    #[test]
    fn linear_axes_have_round_marks() {
        let axis = Axis::linear("L", Unit::Decimal, [2.31, 4.02].into_iter());
        assert_eq!(labels(&axis, 6), ["2.5", "3.0", "3.5", "4.0"]);
        let percent = Axis::linear("S", Unit::Percent, [0.0, 1.0].into_iter());
        assert_eq!(labels(&percent, 6), ["0", "20", "40", "60", "80", "100"]);
    }

    #[test]
    fn densities_are_marked_at_what_is_left() {
        let axis = Axis::density("S", 0.995);
        assert_eq!(labels(&axis, 12), ["0", "50", "75", "87.5", "95", "98", "99", "99.5"]);
    }

    #[test]
    fn a_part_has_marks_of_its_own() {
        let sizes = Axis::log("N", Unit::Count, [1e6, 1e10].into_iter()).between(Some([2e7, 6e7]));
        assert_eq!(labels(&sizes, 6), ["20M", "30M", "40M", "50M", "60M"]);
        assert_eq!((sizes.place(2e7), sizes.place(6e7)), (0.0, 1.0));
        let sparsities = Axis::density("S", 0.99).between(Some([0.8, 0.86]));
        assert_eq!(labels(&sparsities, 6), ["80", "81", "82", "83", "84", "85", "86"]);
        // An end without a position on the scale changes nothing.
        let all = Axis::log("N", Unit::Count, [1e6, 1e10].into_iter());
        for ends in [[-1.0, f64::NAN], [1e7, 1e7], [3e7, 2e7]] {
            assert_eq!(all.clone().between(Some(ends)).description(), all.description());
        }
        assert_eq!(all.between(Some([0.0, 1e8])).description(), "log 6 8");
    }

    #[test]
    fn no_value_lies_nowhere() {
        let axis = Axis::log("C", Unit::Power, [1e15, 1e20].into_iter());
        for value in [0.0, -1.0, 1e300, f64::INFINITY, f64::NAN] {
            assert!(axis.place(value).is_finite());
        }
        assert!(Axis::linear("L", Unit::Decimal, [2.0].into_iter()).place(2.0) == 0.5);
        assert!(!Axis::linear("L", Unit::Decimal, std::iter::empty()).ticks(5).is_empty());
    }
}
