//! First and second derivatives of an objective, and Newton steps from them.

use nalgebra::{SMatrix, SVector};

use super::normalised::COUNT;

/// Gradient by the coordinates of a [`Point`](super::normalised::Point).
pub(super) type Gradient = SVector<f64, COUNT>;
/// Hessian by the coordinates of a [`Point`](super::normalised::Point).
pub(super) type Hessian = SMatrix<f64, COUNT, COUNT>;

/// Solves `h x = g` for a positive definite `h`, of which only the lower triangle is read; `None` where `h` is not
/// positive definite. For so few unknowns, loops of known length are several times as fast as a general
/// factorisation.
pub(super) fn solve(h: &Hessian, g: &Gradient) -> Option<Gradient> {
    // h = L D L^T with ones on the diagonal of L, where the array keeps 1 / D instead.
    let (mut l, mut d) = ([[0.0; COUNT]; COUNT], [0.0; COUNT]);
    let mut x: [f64; COUNT] = (*g).into();
    for j in 0..COUNT {
        let mut scaled = [0.0; COUNT];
        let mut pivot = h[(j, j)];
        for k in 0..j {
            scaled[k] = l[j][k] * d[k];
            pivot -= l[j][k] * scaled[k];
        }
        if !(pivot > 0.0 && pivot.is_finite()) {
            return None;
        }
        (d[j], l[j][j]) = (pivot, pivot.recip());
        for i in j + 1..COUNT {
            let mut cell = h[(i, j)];
            for k in 0..j {
                cell -= l[i][k] * scaled[k];
            }
            l[i][j] = cell * l[j][j];
        }
        for k in 0..j {
            x[j] -= l[j][k] * x[k];
        }
    }
    for j in (0..COUNT).rev() {
        x[j] *= l[j][j];
        for i in j + 1..COUNT {
            x[j] -= l[i][j] * x[i];
        }
    }
    Some(x.into())
}

/// Value and derivatives at a point.
#[derive(Debug, Clone, Copy)]
pub(super) struct Evaluation {
    pub value: f64,
    pub gradient: Gradient,
    pub hessian: Hessian,
}

impl Evaluation {
    /// Makes a Newton step leave this coordinate where it is.
    pub fn hold(&mut self, place: usize) {
        self.gradient[place] = 0.0;
        self.hessian.row_mut(place).fill(0.0);
        self.hessian.column_mut(place).fill(0.0);
        self.hessian[(place, place)] = 1.0;
    }
}
