//! The seven coefficients of the law, and the formulas that need nothing else.

use serde::{Deserialize, Serialize};

use super::gain_curve::{BorrowedGain, GainCurve};
use super::quantity::{Data, Density, DomainError, NonzeroParams};

named! {
    /// Names of the coefficients, in the order of [`CoefficientValues::to_array`].
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    pub enum CoefficientName {
        /// `a_S`
        #[serde(rename = "a_s")]
        AS = "a_s",
        /// `b_S`
        #[serde(rename = "b_s")]
        BS = "b_s",
        /// `c_S`
        #[serde(rename = "c_s")]
        CS = "c_s",
        /// `b_N`
        #[serde(rename = "b_n")]
        BN = "b_n",
        /// `a_D`
        #[serde(rename = "a_d")]
        AD = "a_d",
        /// `b_D`
        #[serde(rename = "b_d")]
        BD = "b_d",
        /// `c`
        #[serde(rename = "c")]
        C = "c",
    }
}

impl CoefficientName {
    /// Whether the coefficient is an exponent: dimensionless, and independent of the units of `N`, `D` and `L`.
    #[must_use]
    pub const fn is_exponent(self) -> bool {
        matches!(self, Self::BS | Self::BN | Self::BD)
    }
}

/// Coefficients as plain numbers, not yet checked. `N` is a number of parameters; `D` is in the data unit of the runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CoefficientValues {
    /// Part of the capacity coefficient that falls with sparsity.
    pub a_s: f64,
    /// Exponent of the density.
    pub b_s: f64,
    /// Part of the capacity coefficient that remains as `S -> 1`.
    pub c_s: f64,
    /// Exponent of the non-zero parameters.
    pub b_n: f64,
    /// Scale of the data, in data units.
    pub a_d: f64,
    /// Exponent of the data.
    pub b_d: f64,
    /// Irreducible loss.
    pub c: f64,
}

impl CoefficientValues {
    /// The values in the order of [`CoefficientName::ALL`].
    #[must_use]
    pub const fn to_array(self) -> [f64; 7] {
        [self.a_s, self.b_s, self.c_s, self.b_n, self.a_d, self.b_d, self.c]
    }

    /// The coefficients from values in the order of [`CoefficientName::ALL`].
    #[must_use]
    pub const fn from_array([a_s, b_s, c_s, b_n, a_d, b_d, c]: [f64; 7]) -> Self {
        Self { a_s, b_s, c_s, b_n, a_d, b_d, c }
    }
}

/// The quantities that a law can be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Determined {
    /// Whether the law describes the effect of the size.
    pub nonzero_params: bool,
    /// Whether the law describes the effect of sparsity.
    pub sparsity: bool,
    /// Whether the law describes the effect of the amount of data.
    pub data: bool,
}

impl Determined {
    /// Whether the law describes all three.
    #[must_use]
    pub const fn all(self) -> bool {
        self.nonzero_params && self.sparsity && self.data
    }
}

/// The law `L(S, N, D) = (a_S (1-S)^b_S + c_S) N^(-b_N) + (a_D / D)^b_D + c`.
///
/// All seven coefficients are positive and finite (arXiv 2309.08520, equation 2), except in a
/// [reduced](Coefficients::reduced) law.
///
/// ```
/// use sparsity_law::law::{Data, Density, NonzeroParams, T5_C4};
///
/// // The paper's extrapolation: 604 M non-zeros at 75 %, 500,000 steps of 65,536 tokens.
/// let loss = T5_C4.coefficients().loss(
///     Density::new(0.25)?,
///     NonzeroParams::new(48.0 * 12.0 * 1024.0 * 1024.0)?,
///     Data::new(500_000.0 * 65_536.0)?,
/// );
/// assert!((loss - 1.46830).abs() < 5e-6, "{loss}");
/// # Ok::<(), sparsity_law::law::DomainError>(())
/// ```
///
/// Where the coefficients themselves do not describe sparsity, a [`GainCurve`] can ([`Coefficients::with_gain`]). The
/// JSON form holds the seven numbers and no curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "CoefficientValues", into = "CoefficientValues")]
pub struct Coefficients {
    values: CoefficientValues,
    curve: Option<GainCurve>,
}

impl From<Coefficients> for CoefficientValues {
    fn from(law: Coefficients) -> Self {
        law.values
    }
}

impl TryFrom<CoefficientValues> for Coefficients {
    type Error = String;

    fn try_from(values: CoefficientValues) -> Result<Self, String> {
        Self::reduced(values).map_err(|(name, error)| format!("{} {error}", name.as_str()))
    }
}

impl Coefficients {
    /// Range of each coefficient in words, for error messages.
    pub const RANGE: &'static str = "between 1e-300 and 1e300";

    /// Checks that every coefficient is positive, finite and in [`Self::RANGE`].
    ///
    /// # Errors
    /// The first coefficient that is not, by name.
    pub fn new(values: CoefficientValues) -> Result<Self, (CoefficientName, DomainError)> {
        for (name, value) in CoefficientName::ALL.into_iter().zip(values.to_array()) {
            if !(1e-300..=1e300).contains(&value) {
                return Err((name, DomainError::OutOfRange { range: Self::RANGE, value }));
            }
        }
        Ok(Self::known(values))
    }

    /// A law fitted on runs in which `S`, `N` or `D` never varies. Such runs cannot separate some terms: the
    /// coefficients of those terms are 0, and the remaining term holds their sum.
    ///
    /// | constant | what is zero | what the others hold |
    /// |---|---|---|
    /// | `S = 0` | `a_S` | `c_S` holds `a_S + c_S` |
    /// | `N` | `b_N`, `c_S` | `a_S` holds `a_S N^(-b_N)`, `c` holds `c_S N^(-b_N) + c` |
    /// | `D` | `a_D` | `c` holds `(a_D / D)^b_D + c` |
    ///
    /// # Errors
    /// The first coefficient that is neither in range nor one of these zeros.
    pub fn reduced(values: CoefficientValues) -> Result<Self, (CoefficientName, DomainError)> {
        let CoefficientValues { a_s, c_s, b_n, a_d, .. } = values;
        let constant_size = b_n == 0.0 && c_s == 0.0;
        let filled = CoefficientValues {
            a_s: if a_s == 0.0 { 1.0 } else { a_s },
            c_s: if constant_size { 1.0 } else { c_s },
            b_n: if constant_size { 1.0 } else { b_n },
            a_d: if a_d == 0.0 { 1.0 } else { a_d },
            ..values
        };
        Self::new(filled).map(|_| Self::known(values))
    }

    /// The quantities that the law can be asked about.
    #[must_use]
    pub fn determines(&self) -> Determined {
        let CoefficientValues { a_s, b_n, a_d, .. } = self.values;
        let sparsity = a_s != 0.0 || self.curve.is_some();
        Determined { nonzero_params: b_n != 0.0, sparsity, data: a_d != 0.0 }
    }

    /// Whether the law has a term with this coefficient. It has none where its runs do not determine one
    /// ([`Self::reduced`]).
    #[must_use]
    pub fn has(&self, name: CoefficientName) -> bool {
        let Determined { nonzero_params, data, .. } = self.determines();
        match name {
            CoefficientName::AS | CoefficientName::BS => self.values.a_s != 0.0,
            CoefficientName::CS | CoefficientName::BN => nonzero_params,
            CoefficientName::AD | CoefficientName::BD => data,
            CoefficientName::C => true,
        }
    }

    /// Coefficients that are known to be in range, such as the constants of this crate. Nothing is checked.
    pub(super) const fn known(values: CoefficientValues) -> Self {
        Self { values, curve: None }
    }

    /// The law of values and a curve that came out of a checked law.
    pub(super) const fn of_parts(values: CoefficientValues, curve: Option<GainCurve>) -> Self {
        Self { values, curve }
    }

    /// Returns the same law with a curve that describes the effect of sparsity:
    /// `L = A (g(S) N)^(-b_N) + (a_D / D)^b_D + c` with `A = c_S`.
    ///
    /// `None` where the coefficients themselves describe sparsity, or where the law does not describe size.
    ///
    /// ```
    /// use sparsity_law::law::*;
    ///
    /// // Besiroglu and others 2024, arXiv 2404.10102, with the gain that the paper's T5 models had.
    /// let dense = Coefficients::reduced(CoefficientValues {
    ///     a_s: 0.0, b_s: 1.0, c_s: 482.01, b_n: 0.3478,
    ///     a_d: 2085.43_f64.powf(1.0 / 0.3658), b_d: 0.3658, c: 1.8172,
    /// }).expect("a dense law");
    /// let lender = BorrowedGain::of(T5_C4.coefficients()).expect("a law that knows sparsity");
    /// let law = dense.with_gain(GainCurve::Borrowed(lender)).expect("nothing of its own");
    /// let x = Sparsity::new(0.75)?.density();
    /// assert!((law.gain(x) - T5_C4.coefficients().gain(x)).abs() < 1e-12);
    ///
    /// let cost = TrainingCost::new(FlopsPerParam::TRAINING, PruningSchedule::default(), FlopMode::Sparse);
    /// let best = optimal_sparsity(&law, &cost, NonzeroParams::new(1e8)?, Compute::new(1e19)?)?;
    /// assert!((best.sparsity().get() - 0.625579).abs() < 5e-7);
    /// # Ok::<(), DomainError>(())
    /// ```
    #[must_use]
    pub fn with_gain(self, curve: GainCurve) -> Option<Self> {
        let CoefficientValues { a_s, b_n, .. } = self.values;
        (a_s == 0.0 && b_n != 0.0).then_some(Self { curve: Some(curve), ..self })
    }

    /// The curve that describes the effect of sparsity; `None` where the coefficients do, or where nothing does.
    #[must_use]
    pub const fn gain_curve(&self) -> Option<&GainCurve> {
        self.curve.as_ref()
    }

    /// The capacity coefficient at density `x`, which is the factor of `N^(-b_N)`: `a_S x^b_S + c_S`, or
    /// `A g(S)^(-b_N)` for a law with a curve.
    #[must_use]
    pub fn capacity(&self, density: Density) -> f64 {
        let CoefficientValues { a_s, b_s, c_s, b_n, .. } = self.values;
        match &self.curve {
            None => a_s * density.get().powf(b_s) + c_s,
            Some(curve) => c_s * (-b_n * curve.ln_gain(density)).exp(),
        }
    }

    /// `-d capacity / dy` in `y = -ln x`: how fast the capacity coefficient falls as zeros are added. Never negative.
    pub(super) fn capacity_fall(&self, density: Density) -> f64 {
        let CoefficientValues { a_s, b_s, b_n, .. } = self.values;
        match &self.curve {
            None => a_s * b_s * density.get().powf(b_s),
            Some(curve) => b_n * self.capacity(density) * curve.ln_gain_slope(density),
        }
    }

    /// The coefficients as plain numbers.
    #[must_use]
    pub const fn values(&self) -> CoefficientValues {
        self.values
    }

    /// Predicted loss at density `x`, `N` non-zero parameters and `D` data.
    ///
    /// Infinite only where `(a_D / D)^b_D` or `N^(-b_N)` overflows; callers that pass the number on check that it is
    /// finite.
    #[must_use]
    pub fn loss(&self, density: Density, nonzero_params: NonzeroParams, data: Data) -> f64 {
        let CoefficientValues { b_n, a_d, b_d, c, .. } = self.values;
        self.capacity(density) * nonzero_params.get().powf(-b_n) + (a_d / data.get()).powf(b_d) + c
    }

    /// Data at which a loss is reached: `D = a_D / (L - (a_S (1-S)^b_S + c_S) N^(-b_N) - c)^(1/b_D)`. Infinite where no
    /// amount of data reaches it.
    ///
    /// ```
    /// use sparsity_law::law::{Data, Density, NonzeroParams, T5_C4};
    ///
    /// let (law, n, d) = (T5_C4.coefficients(), NonzeroParams::new(1e8)?, Data::new(3e10)?);
    /// let loss = law.loss(Density::DENSE, n, d);
    /// assert!((law.data_for_loss(Density::DENSE, n, loss) / d.get() - 1.0).abs() < 1e-9);
    /// // Below what 100 M parameters reach on any data.
    /// assert!(law.data_for_loss(Density::DENSE, n, 1.0).is_infinite());
    /// # Ok::<(), sparsity_law::law::DomainError>(())
    /// ```
    #[must_use]
    pub fn data_for_loss(&self, density: Density, nonzero_params: NonzeroParams, loss: f64) -> f64 {
        let CoefficientValues { b_n, a_d, b_d, c, .. } = self.values;
        let limit = self.capacity(density) * nonzero_params.get().powf(-b_n) + c;
        if loss > limit { a_d * (loss - limit).powf(-1.0 / b_d) } else { f64::INFINITY }
    }

    /// The gain of sparsity, `gain(S) = ((a_S (1-S)^b_S + c_S) / (a_S + c_S))^(-1/b_N)`.
    ///
    /// A model with `N` non-zeros at sparsity `S` reaches the same loss as a dense model with `gain(S) N` parameters on
    /// the same data, at every `N` and `D`. The gain of a dense model is 1.
    ///
    /// ```
    /// use sparsity_law::law::{Data, Density, NonzeroParams, Sparsity, T5_C4};
    ///
    /// let law = T5_C4.coefficients();
    /// let x = Sparsity::new(0.5)?.density();
    /// assert!((law.gain(x) - 1.586).abs() < 5e-4);
    /// // The two models have the same loss, here on 30 B tokens.
    /// let (n, d) = (1e8, Data::new(3e10)?);
    /// let sparse = law.loss(x, NonzeroParams::new(n)?, d);
    /// let dense = law.loss(Density::DENSE, NonzeroParams::new(n * law.gain(x))?, d);
    /// assert!((sparse / dense - 1.0).abs() < 1e-12);
    /// # Ok::<(), sparsity_law::law::DomainError>(())
    /// ```
    #[must_use]
    pub fn gain(&self, density: Density) -> f64 {
        if let Some(curve) = &self.curve {
            return curve.ln_gain(density).exp();
        }
        let CoefficientValues { a_s, b_s, c_s, b_n, .. } = self.values;
        ((a_s * density.get().powf(b_s) + c_s) / (a_s + c_s)).powf(-1.0 / b_n)
    }

    /// Slope of the gain at `S = 0`: `s0 = a_S b_S / (b_N (a_S + c_S))`.
    ///
    /// With a slope above 1, a slightly sparse model would beat a dense one of the same *total* size, which measured
    /// models do not.
    ///
    /// ```
    /// use sparsity_law::law::{T5_C4, VIT_JFT};
    ///
    /// assert!((VIT_JFT.coefficients().gain_slope() - 0.808).abs() < 6e-4);
    /// assert!((T5_C4.coefficients().gain_slope() - 0.800).abs() < 6e-4);
    /// ```
    #[must_use]
    pub fn gain_slope(&self) -> f64 {
        if let Some(curve) = &self.curve {
            return curve.ln_gain_slope(Density::DENSE);
        }
        let CoefficientValues { a_s, b_s, c_s, b_n, .. } = self.values;
        a_s * b_s / (b_n * (a_s + c_s))
    }

    /// `ln D_chin`: logarithm of the data at which a dense model of `N` parameters is compute-optimal,
    /// `D_chin = a_D (b_D N^b_N / (b_N (a_S + c_S)))^(1/b_D)`.
    #[must_use]
    pub fn ln_chinchilla_data(&self, nonzero_params: NonzeroParams) -> f64 {
        let CoefficientValues { a_s, c_s, b_n, a_d, b_d, .. } = self.values;
        a_d.ln() + (b_d.ln() + b_n * nonzero_params.get().ln() - b_n.ln() - (a_s + c_s).ln()) / b_d
    }
}

impl BorrowedGain {
    /// The gain of a law whose own coefficients describe both size and sparsity; `None` for any other law.
    #[must_use]
    pub fn of(lender: &Coefficients) -> Option<Self> {
        let CoefficientValues { a_s, b_s, c_s, b_n, .. } = lender.values();
        (a_s != 0.0 && b_n != 0.0 && lender.gain_curve().is_none()).then_some(Self {
            a_s,
            b_s,
            c_s,
            b_n,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{Sparsity, T5_C4, VIT_JFT};
    use proptest::prelude::*;

    fn gain(law: &Coefficients, sparsity: f64) -> f64 {
        law.gain(Sparsity::new(sparsity).unwrap().density())
    }

    /// Tolerance for a table of gains with three digits.
    const THREE_DIGITS: f64 = 6e-4;

    #[test]
    fn gains_of_the_published_laws() {
        let table = [(0.5, 1.596, 1.586), (0.75, 2.172, 2.157), (0.875, 2.634, 2.630)];
        for (sparsity, vit, t5) in table {
            assert!((gain(VIT_JFT.coefficients(), sparsity) - vit).abs() < THREE_DIGITS);
            assert!((gain(T5_C4.coefficients(), sparsity) - t5).abs() < THREE_DIGITS);
        }
        assert_eq!(gain(T5_C4.coefficients(), 0.0), 1.0);
    }

    #[test]
    fn slope_of_the_gain_at_zero() {
        assert!((VIT_JFT.coefficients().gain_slope() - 0.808).abs() < THREE_DIGITS);
        assert!((T5_C4.coefficients().gain_slope() - 0.800).abs() < THREE_DIGITS);
    }

    #[test]
    fn a_reduced_law_says_what_it_knows() {
        let full = T5_C4.coefficients().values();
        let dense = Coefficients::reduced(CoefficientValues { a_s: 0.0, ..full }).unwrap();
        assert_eq!(
            dense.determines(),
            Determined { nonzero_params: true, sparsity: false, data: true }
        );
        let missing = |law: &Coefficients| -> Vec<&str> {
            let names = CoefficientName::ALL.into_iter().filter(|name| !law.has(*name));
            names.map(CoefficientName::as_str).collect()
        };
        assert_eq!(missing(&dense), ["a_s", "b_s"]);
        let one_size = CoefficientValues { b_n: 0.0, c_s: 0.0, a_d: 0.0, ..full };
        assert_eq!(
            missing(&Coefficients::reduced(one_size).unwrap()),
            ["c_s", "b_n", "a_d", "b_d"]
        );
        assert!(Coefficients::reduced(CoefficientValues { b_n: 0.0, ..full }).is_err());
        assert!(Coefficients::reduced(CoefficientValues { c: 0.0, ..full }).is_err());
        assert!(Coefficients::new(CoefficientValues { a_s: 0.0, ..full }).is_err());
    }

    #[test]
    fn the_first_bad_coefficient_is_named() {
        let good = T5_C4.coefficients().values();
        let (name, _) = Coefficients::new(CoefficientValues { b_n: 0.0, ..good }).unwrap_err();
        assert_eq!(name, CoefficientName::BN);
        let (name, _) = Coefficients::new(CoefficientValues { c: f64::NAN, ..good }).unwrap_err();
        assert_eq!(name, CoefficientName::C);
    }

    proptest! {
        #[test]
        fn loss_falls_in_size_and_data_and_rises_in_density_at_fixed_non_zeros(
            x in 0.01..0.99f64, ln_n in 10.0..25.0f64, ln_d in 15.0..32.0f64,
        ) {
            let law = T5_C4.coefficients();
            let at = |x: f64, ln_n: f64, ln_d: f64| law.loss(
                Density::new(x).unwrap(),
                NonzeroParams::new(ln_n.exp()).unwrap(),
                Data::new(ln_d.exp()).unwrap(),
            );
            let here = at(x, ln_n, ln_d);
            prop_assert!(at(x, ln_n + 0.1, ln_d) < here);
            prop_assert!(at(x, ln_n, ln_d + 0.1) < here);
            prop_assert!(at(x + 0.01, ln_n, ln_d) > here);
        }

        #[test]
        fn the_data_for_a_loss_gives_it(
            x in 0.01..1.0f64, ln_n in 10.0..25.0f64, ln_d in 15.0..32.0f64,
        ) {
            let law = T5_C4.coefficients();
            let (x, n) = (Density::new(x).unwrap(), NonzeroParams::new(ln_n.exp()).unwrap());
            let loss = law.loss(x, n, Data::new(ln_d.exp()).unwrap());
            prop_assert!((law.data_for_loss(x, n, loss).ln() - ln_d).abs() < 1e-9);
            prop_assert!(law.data_for_loss(x, n, 0.65).is_infinite());
        }

        #[test]
        fn a_dense_model_of_the_gained_size_has_the_same_loss(
            x in 0.01..1.0f64, ln_n in 10.0..25.0f64, ln_d in 15.0..32.0f64,
        ) {
            let law = VIT_JFT.coefficients();
            let density = Density::new(x).unwrap();
            let size = NonzeroParams::new(ln_n.exp()).unwrap();
            let data = Data::new(ln_d.exp()).unwrap();
            let dense = NonzeroParams::new(size.get() * law.gain(density)).unwrap();
            let (sparse, dense) = (law.loss(density, size, data), law.loss(Density::DENSE, dense, data));
            prop_assert!((sparse / dense - 1.0).abs() < 1e-12);
        }
    }
}
