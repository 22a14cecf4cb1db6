//! Start points of descents: random exponents, and amplitudes fitted to them.
//!
//! Given its three exponents, the law is linear in its four amplitudes. So three random numbers and a small
//! least-squares problem give a start that is already close to the data (variable projection, Golub and Pereyra
//! 1973).

use nalgebra::{SMatrix, SVector};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::config::Holdout;
use super::normalised::Point;
use super::objective::Objective;

/// Ranges from which `ln b_S`, `ln b_N` and `ln b_D` are drawn: they extend about three times as far either way as
/// the exponents of measured laws.
const LN_EXPONENTS: [(f64, f64); 3] = [(-1.6, 1.1), (-3.0, 0.0), (-3.0, 0.7)];
/// Smallest amplitude of a start, relative to the loss: a descent could not bring back a term that is absent.
const LEAST_AMPLITUDE: f64 = 1e-3;
/// Sweeps of coordinate descent over the amplitudes; a start need not be exact.
const SWEEPS: usize = 50;

/// Independent streams of random numbers derived from one seed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    /// Start `index` of the fit.
    Start(u32),
    /// Resample `index`.
    Resample(u32),
    /// Start `index` of the pretrained runs.
    PretrainedStart(u32),
    /// Resample `index` of the pretrained runs.
    PretrainedResample(u32),
    /// The resamples of pattern `index`.
    Pattern(u32),
    /// The choice of the runs of a sketch.
    Thinning,
    /// The pilot fit for delta: of the law, or of the pretrained runs if true.
    Delta(bool),
    /// The fit of the runs below a limit of the quantity with this index.
    Rolling(u32, f64),
    /// Starts of rival forms, and resamples of the runs that they predict.
    Rivals(u32),
    /// The fit without the runs from this level up.
    Holdout(Holdout, f64),
}

/// The generator of one stream. It depends on the seed and the stream alone, so that results do not change with
/// the number of threads, starts or resamples.
pub(super) fn generator(seed: u64, stream: Stream) -> ChaCha8Rng {
    let (kind, index) = match stream {
        Stream::Start(index) => (0, index),
        Stream::Resample(index) => (1, index),
        Stream::PretrainedStart(index) => (2, index),
        Stream::PretrainedResample(index) => (3, index),
        Stream::Pattern(index) => (4, index),
        Stream::Thinning => (5, 0),
        Stream::Delta(pretrained) => (20, u32::from(pretrained)),
        Stream::Rolling(quantity, level) => {
            (21 + u64::from(quantity), (level.to_bits() >> 32) as u32)
        }
        Stream::Rivals(index) => (40, index),
        // The upper half of the bits is enough to tell levels apart.
        Stream::Holdout(holdout, level) => (6 + holdout as u64, (level.to_bits() >> 32) as u32),
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream((kind << 32) + u64::from(index));
    rng
}

/// A start: exponents drawn uniformly in the logarithm, amplitudes fitted to the runs.
pub(super) fn start_point(objective: &Objective<'_>, rng: &mut ChaCha8Rng) -> Point {
    let [ln_bs, ln_bn, ln_bd] =
        LN_EXPONENTS.map(|(low, high)| low + (high - low) * rng.random::<f64>());
    let basis_point = [0.0, ln_bs, 0.0, ln_bn, 0.0, ln_bd, 0.0];
    let (gram, moment) = objective.linear_system(&basis_point);
    let [a, c_s, e, c] = nonnegative(&gram, &moment).into();
    [a.ln(), ln_bs, c_s.ln(), ln_bn, e.ln(), ln_bd, c.ln()]
}

/// Least squares over amplitudes that are kept positive, by coordinate descent on the normal equations.
fn nonnegative(gram: &SMatrix<f64, 4, 4>, moment: &SVector<f64, 4>) -> SVector<f64, 4> {
    let mut amplitudes = SVector::<f64, 4>::repeat(0.25);
    for _ in 0..SWEEPS {
        for i in 0..4 {
            let rest = gram.row(i).dot(&amplitudes.transpose()) - gram[(i, i)] * amplitudes[i];
            amplitudes[i] = ((moment[i] - rest) / gram[(i, i)]).clamp(LEAST_AMPLITUDE, 1e3);
        }
    }
    amplitudes
}
