//! Numbers in lanes: as many at a time as every sum has parts.
//!
//! Vectors of a processor are narrower than the lanes or as wide, so that the same code gives the same bits on all.

use pulp::Simd;

/// Number of partial sums that every sum is split into.
pub(super) const LANES: usize = 4;
/// Rows of lanes in a block of runs; the columns of a block fit into the fastest cache.
pub(super) const BLOCK: usize = 16;

pub(super) type Lanes = [f64; LANES];
pub(super) type Block = [Lanes; BLOCK];

/// [`LANES`] numbers as vectors of the processor: the first [`parts`] entries are used.
pub(super) type Vectors<S> = [<S as Simd>::f64s; LANES];

/// Number of vectors that hold [`LANES`] numbers.
#[inline(always)]
const fn parts<S: Simd>() -> usize {
    const { assert!(LANES.is_multiple_of(S::F64_LANES)) };
    LANES / S::F64_LANES
}

#[inline(always)]
pub(super) fn load<S: Simd>(simd: S, lanes: &Lanes) -> Vectors<S> {
    let mut vectors = [simd.splat_f64s(0.0); LANES];
    let (whole, _) = S::as_simd_f64s(lanes);
    vectors[..parts::<S>()].copy_from_slice(&whole[..parts::<S>()]);
    vectors
}

#[inline(always)]
pub(super) fn times<S: Simd>(simd: S, mut a: Vectors<S>, b: Vectors<S>) -> Vectors<S> {
    for (a, b) in a.iter_mut().zip(b).take(parts::<S>()) {
        *a = simd.mul_f64s(*a, b);
    }
    a
}

/// A sum, split into [`LANES`] partial sums.
#[derive(Clone, Copy)]
pub(super) struct Sum<S: Simd>(Vectors<S>);

impl<S: Simd> Sum<S> {
    #[inline(always)]
    pub fn zero(simd: S) -> Self {
        Self([simd.splat_f64s(0.0); LANES])
    }

    #[inline(always)]
    pub fn add(&mut self, simd: S, more: Vectors<S>) {
        for (sum, more) in self.0.iter_mut().zip(more).take(parts::<S>()) {
            *sum = simd.add_f64s(*sum, more);
        }
    }

    #[inline(always)]
    pub fn total(&self, simd: S) -> f64 {
        let mut lanes = [0.0; LANES];
        self.add_to(simd, &mut lanes);
        sum(lanes)
    }

    #[inline(always)]
    pub fn add_to(&self, simd: S, total: &mut Lanes) {
        let (total, _) = S::as_mut_simd_f64s(total);
        for (total, sum) in total.iter_mut().zip(self.0).take(parts::<S>()) {
            *total = simd.add_f64s(*total, sum);
        }
    }
}

/// Adds to each total the sum of the products of `factor` with one of `columns`.
#[inline(always)]
pub(super) fn add_products<S: Simd, const K: usize>(
    simd: S,
    totals: &mut [Lanes; K],
    factor: &[Lanes],
    columns: [&Block; K],
) {
    let mut sums = [Sum::zero(simd); K];
    for (row, factor) in factor.iter().enumerate() {
        let factor = load(simd, factor);
        for (sum, column) in sums.iter_mut().zip(columns) {
            sum.add(simd, times(simd, factor, load(simd, &column[row])));
        }
    }
    for (total, sum) in totals.iter_mut().zip(sums) {
        sum.add_to(simd, total);
    }
}

#[inline(always)]
pub(super) fn sum([a, b, c, d]: Lanes) -> f64 {
    (a + c) + (b + d)
}
