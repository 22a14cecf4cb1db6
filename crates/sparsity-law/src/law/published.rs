//! The two laws of the paper, at the precision that its notebook prints.
//!
//! The notebook states them in a normalised form, `(a (1-S)^b + c) n^-d + e x^-f + g` with `n = N / 1e6` and
//! `x = D / D0`. Raw coefficients rounded for reading would already bias `S_opt` in its sixth digit, so the raw
//! coefficients are computed from the normalised ones on first use.

use std::sync::LazyLock;

use super::coefficients::{CoefficientValues, Coefficients};
use super::support::{Range, SparsityLevel, Support};

/// A published law. Only a citation stands behind it, and no runs of this installation.
#[derive(Debug)]
pub struct PublishedLaw {
    /// Name of the family that has this law on a new installation.
    pub family: &'static str,
    /// Unit of the data.
    pub data_unit: &'static str,
    /// Source of the coefficients.
    pub reference: &'static str,
    /// Mean Huber objective of these coefficients over the paper's runs.
    pub objective: f64,
    /// The least objective that coefficients of this form can reach over the same runs, with the same residual and
    /// delta, where it is lower than `objective`.
    pub least_objective: Option<f64>,
    coefficients: Coefficients,
    support: Support,
}

impl PublishedLaw {
    /// The coefficients in raw units: numbers of parameters, and the law's data unit.
    #[must_use]
    pub const fn coefficients(&self) -> &Coefficients {
        &self.coefficients
    }

    /// The ranges of the paper's runs.
    #[must_use]
    pub const fn support(&self) -> &Support {
        &self.support
    }
}

/// Tokens in one step of the paper's T5 runs: 128 sequences of 512 tokens.
const T5_TOKENS_PER_STEP: f64 = 128.0 * 512.0;

/// T5 on C4; data in tokens.
pub static T5_C4: LazyLock<PublishedLaw> = LazyLock::new(|| {
    let [d_min, d_max] = [250_000.0, 1_000_000.0].map(|steps| steps * T5_TOKENS_PER_STEP);
    let sizes = Range { min: 1_327_104.0, max: 84_934_656.0 };
    let levels = [0.0, 0.5, 0.75, 0.875].map(|sparsity| level(sparsity, 12, sizes, d_min, d_max));
    PublishedLaw {
        family: "t5-c4",
        data_unit: "tokens",
        reference: "arXiv:2309.08520, notebook of google-research/jaxpruner, projects/bigsparse",
        objective: 7.603605e-6,
        least_objective: Some(4.880117e-6),
        coefficients: raw(
            [0.56778512, 0.72161276, 1.52265016, 0.24513173, 0.63361517, 0.20270772, 0.65074219],
            1e5 * T5_TOKENS_PER_STEP,
        ),
        support: Support::new(levels.to_vec()),
    }
});

/// ViT on JFT-4B; data in images.
pub static VIT_JFT: LazyLock<PublishedLaw> = LazyLock::new(|| {
    let small = 663_552.0;
    let levels = [
        (0.0, 28, 42_467_328.0),
        (0.5, 28, 42_467_328.0),
        (0.75, 28, 42_467_328.0),
        (0.875, 20, 10_616_832.0),
        (0.9375, 8, 1_327_104.0),
    ]
    .map(|(sparsity, runs, large)| {
        level(sparsity, runs, Range { min: small, max: large }, 2.25e8, 1.8e9)
    });
    PublishedLaw {
        family: "vit-jft",
        data_unit: "images",
        reference: "arXiv:2309.08520, notebook of google-research/jaxpruner, projects/bigsparse",
        objective: 4.929088e-4,
        least_objective: None,
        coefficients: raw(
            [1.30485411, 0.82101251, 2.07506343, 0.39222675, 0.27818217, 0.88979104, 4.51669257],
            1e9,
        ),
        support: Support::new(levels.to_vec()),
    }
});

/// Raw coefficients of the normalised law `(a (1-S)^b + c) (N/1e6)^-d + e (D/D0)^-f + g`: `a_S = a 1e6^d`,
/// `c_S = c 1e6^d`, `a_D = e^(1/f) D0`.
fn raw([a, b, c, d, e, f, g]: [f64; 7], data_scale: f64) -> Coefficients {
    let capacity = 1e6_f64.powf(d);
    Coefficients::known(CoefficientValues {
        a_s: a * capacity,
        b_s: b,
        c_s: c * capacity,
        b_n: d,
        a_d: e.powf(f.recip()) * data_scale,
        b_d: f,
        c: g,
    })
}

/// The ranges of a full grid of sizes and data at one sparsity.
fn level(sparsity: f64, runs: u32, sizes: Range, d_min: f64, d_max: f64) -> SparsityLevel {
    SparsityLevel {
        sparsity,
        runs,
        nonzero_params: sizes,
        data: Range { min: d_min, max: d_max },
        params_times_data: Range { min: sizes.min * d_min, max: sizes.max * d_max },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Agreement with a readable table of six digits.
    fn close(got: f64, table: f64) -> bool {
        (got / table - 1.0).abs() < 5e-6
    }

    #[test]
    fn raw_coefficients_agree_with_the_rounded_table() {
        let vit = VIT_JFT.coefficients().values();
        assert!(close(vit.a_s, 294.390) && close(vit.c_s, 468.157), "{vit:?}");
        assert!(close(vit.a_d, 2.37413e8), "{vit:?}");
        let t5 = T5_C4.coefficients().values();
        assert!(close(t5.a_s, 16.7871) && close(t5.c_s, 45.0184), "{t5:?}");
        assert!(close(t5.a_d / T5_TOKENS_PER_STEP, 10528.43), "{t5:?}");
    }

    #[test]
    fn the_papers_grids_have_as_many_runs_as_the_paper() {
        assert_eq!(T5_C4.support().runs(), 48);
        assert_eq!(VIT_JFT.support().runs(), 112);
    }
}
