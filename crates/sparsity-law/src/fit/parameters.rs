//! Which of the seven coordinates of a fit are free, and how the others follow from them.
//!
//! A coordinate that is not free is either constant or a smooth function of others. A fixed `a_S` determines
//! `a = a_S / (L0 N0^b_N)`, which changes with `b_N`; on the boundary `s0 = 1` of the physical constraint, `b_S`
//! follows from `a`, `c_S` and `b_N`. Derivatives by the free coordinates follow from those by all seven by the
//! chain rule, one coordinate at a time.

use std::collections::BTreeMap;

use super::form::Form;
use super::normalised::{BOUNDS, COUNT, Normalised, Point, at};
use super::objective::{Evaluation, Gradient, Hessian};
use crate::law::CoefficientName;

/// How a coordinate gets its value.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Slot {
    Free,
    Constant(f64),
    /// `offset - ln_n0 e^(ln b_N)`: a capacity coefficient that is fixed in raw units.
    Capacity {
        offset: f64,
        ln_n0: f64,
    },
    /// `factor e^(ln b_D) - ln_l0`: `a_D`, fixed in raw units.
    Data {
        factor: f64,
        ln_l0: f64,
    },
    /// `ln b_N + ln(a + c_S') - ln a`: `b_S` on the boundary `s0 = 1`.
    Boundary,
}

/// The coordinates of a fit, each with its role.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parameters {
    slots: [Slot; COUNT],
}

impl Parameters {
    /// The coordinates for runs of this form, with the coefficients in `fixed` held at these values in raw units.
    pub fn new(form: Form, fixed: &BTreeMap<CoefficientName, f64>, units: &Normalised) -> Self {
        let mut slots = [Slot::Free; COUNT];
        for (&name, value) in fixed {
            let ln = value.ln();
            let offset = ln - units.ln_l0;
            let capacity = Slot::Capacity { offset, ln_n0: units.ln_n0 };
            let (place, slot) = match name {
                CoefficientName::AS => (at::A, capacity),
                CoefficientName::CS => (at::CS, capacity),
                CoefficientName::BS => (at::BS, Slot::Constant(ln)),
                CoefficientName::BN => (at::BN, Slot::Constant(ln)),
                CoefficientName::BD => (at::BD, Slot::Constant(ln)),
                CoefficientName::AD => {
                    (at::E, Slot::Data { factor: ln - units.ln_d0, ln_l0: units.ln_l0 })
                }
                CoefficientName::C => (at::C, Slot::Constant(offset)),
            };
            slots[place] = slot;
        }
        // Of terms that the runs cannot tell apart only one is kept; the others are switched off.
        const OFF: Slot = Slot::Constant(f64::NEG_INFINITY);
        const UNUSED: Slot = Slot::Constant(0.0);
        if !form.sparsity {
            slots[at::A] = OFF;
            slots[at::BS] = UNUSED;
        }
        if !form.nonzero_params {
            slots[at::BN] = OFF;
            slots[at::CS] = OFF;
        }
        if !form.data {
            slots[at::E] = OFF;
            slots[at::BD] = UNUSED;
        }
        Self { slots }
    }

    /// The same coordinates with one more held at a value.
    pub fn holding(&self, place: usize, value: f64) -> Self {
        let mut held = self.clone();
        held.slots[place] = Slot::Constant(value);
        held
    }

    /// The same coordinates with `b_S` on the boundary `s0 = 1`.
    pub fn on_boundary(&self) -> Self {
        let mut bound = self.clone();
        bound.slots[at::BS] = Slot::Boundary;
        bound
    }

    /// Whether a coordinate is free.
    pub fn is_free(&self, place: usize) -> bool {
        self.slots[place] == Slot::Free
    }

    /// Whether every coordinate is free or constant, so that none depends on another.
    pub fn are_independent(&self) -> bool {
        self.slots.iter().all(|slot| matches!(slot, Slot::Free | Slot::Constant(_)))
    }

    /// Number of free coordinates.
    pub fn count(&self) -> usize {
        (0..COUNT).filter(|place| self.is_free(*place)).count()
    }

    /// The point with its free coordinates moved into the box and the others set to their values.
    pub fn complete(&self, point: &Point) -> Point {
        let mut full = *point;
        for place in 0..COUNT {
            match self.slots[place] {
                Slot::Free => full[place] = full[place].clamp(BOUNDS[place].0, BOUNDS[place].1),
                Slot::Constant(value) => full[place] = value,
                _ => {}
            }
        }
        for place in 0..COUNT {
            match self.slots[place] {
                Slot::Capacity { offset, ln_n0 } => {
                    full[place] = offset - ln_n0 * full[at::BN].exp();
                }
                Slot::Data { factor, ln_l0 } => full[place] = factor * full[at::BD].exp() - ln_l0,
                _ => {}
            }
        }
        if self.slots[at::BS] == Slot::Boundary {
            full[at::BS] = full[at::BN] + ln_sum(full[at::A], full[at::CS]) - full[at::A];
        }
        full
    }

    /// Turns derivatives by all seven coordinates into derivatives by the free ones. The other coordinates get a
    /// zero gradient and a unit Hessian, so that a Newton step does not move them.
    pub fn restrict(&self, point: &Point, evaluation: &mut Evaluation) {
        let (g, h) = (&mut evaluation.gradient, &mut evaluation.hessian);
        if self.slots[at::BS] == Slot::Boundary {
            let share = (point[at::A] - ln_sum(point[at::A], point[at::CS])).exp();
            let mut slope = Gradient::zeros();
            slope[at::A] = share - 1.0;
            slope[at::CS] = 1.0 - share;
            slope[at::BN] = 1.0;
            let bend = share * (1.0 - share);
            let mut curve = Hessian::zeros();
            curve[(at::A, at::A)] = bend;
            curve[(at::CS, at::CS)] = bend;
            curve[(at::A, at::CS)] = -bend;
            curve[(at::CS, at::A)] = -bend;
            eliminate(g, h, at::BS, &slope, &curve);
        }
        for place in 0..COUNT {
            let (by, slope) = match self.slots[place] {
                Slot::Capacity { ln_n0, .. } => (at::BN, -ln_n0 * point[at::BN].exp()),
                Slot::Data { factor, .. } => (at::BD, factor * point[at::BD].exp()),
                _ => continue,
            };
            // The exponential of a coordinate is its own first and second derivative.
            let mut gradient = Gradient::zeros();
            gradient[by] = slope;
            let mut curve = Hessian::zeros();
            curve[(by, by)] = slope;
            eliminate(g, h, place, &gradient, &curve);
        }
        for place in (0..COUNT).filter(|place| !self.is_free(*place)) {
            evaluation.hold(place);
        }
    }

    /// Turns a gradient by all seven coordinates into one by the free ones.
    pub fn restrict_gradient(&self, point: &Point, gradient: &Gradient) -> Gradient {
        let mut evaluation =
            Evaluation { value: 0.0, gradient: *gradient, hessian: Hessian::zeros() };
        self.restrict(point, &mut evaluation);
        evaluation.gradient
    }
}

/// Replaces the coordinate `j` by a function of the others that has this gradient and Hessian.
fn eliminate(g: &mut Gradient, h: &mut Hessian, j: usize, slope: &Gradient, curve: &Hessian) {
    let row = h.column(j).into_owned();
    let (g_j, h_jj) = (g[j], h[(j, j)]);
    *g += slope * g_j;
    *h += row * slope.transpose()
        + slope * row.transpose()
        + slope * slope.transpose() * h_jj
        + curve * g_j;
}

/// `ln(e^a + e^b)` without overflow.
fn ln_sum(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    high + (low - high).exp().ln_1p()
}

/// `ln s0`, where `s0` is the slope of the gain at `S = 0`.
pub(super) fn ln_gain_slope(point: &Point) -> f64 {
    point[at::A] + point[at::BS] - point[at::BN] - ln_sum(point[at::A], point[at::CS])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::config::Residual;
    use crate::fit::objective::Objective;
    use crate::fit::{Observations, testing};
    use crate::law::T5_C4;
    use proptest::prelude::*;

    const ALL: Form = Form { nonzero_params: true, sparsity: true, data: true };

    proptest! {
        #[test]
        fn derivatives_by_the_free_coordinates_are_right(
            start in prop::array::uniform7(-1.5..1.0f64), which in 0..4,
        ) {
            let runs = Normalised::new(&Observations::new(testing::grid(T5_C4.coefficients(), 0.01, 1)));
            let objective = Objective::new(&runs, &vec![1.0; runs.len()], Residual::Log, 0.5);
            let truth = T5_C4.coefficients().values();
            let fixed = |pairs: &[(CoefficientName, f64)]| pairs.iter().copied().collect();
            let parameters = match which {
                0 => Parameters::new(ALL, &fixed(&[(CoefficientName::AS, truth.a_s)]), &runs),
                1 => Parameters::new(ALL, &fixed(&[(CoefficientName::AD, truth.a_d)]), &runs),
                2 => Parameters::new(ALL, &fixed(&[(CoefficientName::CS, truth.c_s)]), &runs).on_boundary(),
                _ => Parameters::new(ALL, &BTreeMap::new(), &runs).on_boundary(),
            };
            let evaluate = |point: &Point| {
                let full = parameters.complete(point);
                let mut evaluation = objective.evaluate(&full, objective.delta);
                parameters.restrict(&full, &mut evaluation);
                evaluation
            };
            let here = evaluate(&start);
            let step = 1e-6;
            for i in (0..COUNT).filter(|i| parameters.is_free(*i)) {
                let moved = |by: f64| { let mut p = start; p[i] += by; evaluate(&p) };
                let (above, below) = (moved(step), moved(-step));
                let difference = (above.value - below.value) / (2.0 * step);
                let scale = 1.0 + here.gradient.amax();
                prop_assert!((difference - here.gradient[i]).abs() < 1e-6 * scale);
                let full = parameters.complete(&start);
                let jumps = objective.residuals(&full).iter()
                    .any(|(r, _)| (r.abs() / objective.delta - 1.0).abs() < 1e-3);
                if !jumps {
                    for j in (0..COUNT).filter(|j| parameters.is_free(*j)) {
                        let difference = (above.gradient[j] - below.gradient[j]) / (2.0 * step);
                        let scale = 1.0 + here.hessian.amax();
                        prop_assert!((difference - here.hessian[(i, j)]).abs() < 1e-5 * scale);
                    }
                }
            }
        }

        #[test]
        fn on_the_boundary_the_slope_is_one(start in prop::array::uniform7(-1.5..1.0f64)) {
            let runs = Normalised::new(&Observations::new(testing::grid(T5_C4.coefficients(), 0.0, 1)));
            let parameters = Parameters::new(ALL, &BTreeMap::new(), &runs).on_boundary();
            prop_assert!(ln_gain_slope(&parameters.complete(&start)).abs() < 1e-12);
        }
    }

    #[test]
    fn pinned_coefficients_keep_their_raw_values() {
        let runs = Normalised::new(&Observations::new(testing::grid(T5_C4.coefficients(), 0.0, 1)));
        let pins = [
            (CoefficientName::AS, 12.5),
            (CoefficientName::CS, 40.0),
            (CoefficientName::AD, 3e8),
            (CoefficientName::C, 0.65),
            (CoefficientName::BN, 0.3),
        ];
        let parameters = Parameters::new(ALL, &pins.into_iter().collect(), &runs);
        assert_eq!(parameters.count(), 2);
        let got = runs.coefficients(&parameters.complete(&[0.1; COUNT])).unwrap().values();
        for (got, want) in [got.a_s, got.c_s, got.a_d, got.c, got.b_n].into_iter().zip(pins) {
            assert!((got / want.1 - 1.0).abs() < 1e-12, "{want:?}: {got}");
        }
    }
}
