//! The ends of intervals by interpolation, in cells that are computed when they are first asked.
//!
//! A question with intervals asks a thousand laws, and the next one is most often about a model and a
//! budget nearby. Between them the ends of an interval hardly bend: within a cell they are taken to be
//! linear in each logarithm, and the middle of each cell is computed to see that they are.
//!
//! What a table says is a function of the question alone, whatever was asked before: replicas agree.

use std::sync::{Mutex, PoisonError};

/// Side of the larger cells, in logarithms: 0.4 % of a quantity. Much larger ones fail the check so often that
/// more is computed.
const SIDE: f64 = 1.0 / 256.0;
/// How far an end may lie from the direct computation in the middle of a cell, as a share of its interval's
/// width. Where it lies further a smaller cell is tried, and at last the question computed directly.
const TOLERANCE: f64 = 0.004;
/// What rounding may add to that: an interval may be a point.
const ROUNDING: f64 = 1e-12;
/// Sizes of cells, each a quarter of the one before.
const SIZES: u8 = 2;

/// A table of `ENDS` numbers, low and high ends in turn, over `AXES` logarithms.
#[derive(Debug)]
pub struct Table<const AXES: usize, const ENDS: usize> {
    /// Each cell has one place, which it shares with others.
    places: Box<[Mutex<Option<Cell<AXES, ENDS>>>]>,
}

/// The ends at the corners of a cell; bit `i` of a corner's index says on which side of axis `i` it is.
type Corners<const ENDS: usize> = Box<[[f64; ENDS]]>;

#[derive(Debug)]
struct Cell<const AXES: usize, const ENDS: usize> {
    place: Place<AXES>,
    /// `None` where the ends bend too much.
    corners: Option<Corners<ENDS>>,
}

/// Which cell.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place<const AXES: usize> {
    kind: u64,
    /// How often a side is quartered.
    quartered: u8,
    /// In sides.
    at: [i64; AXES],
}

impl<const AXES: usize, const ENDS: usize> Table<AXES, ENDS> {
    /// What a cell takes, in bytes.
    pub const BYTES_OF_CELL: usize =
        size_of::<Mutex<Option<Cell<AXES, ENDS>>>>() + size_of::<[f64; ENDS]>() * (1 << AXES);

    /// A table that keeps so many cells, at least one.
    #[must_use]
    pub fn new(cells: usize) -> Self {
        Self { places: (0..cells.max(1)).map(|_| Mutex::new(None)).collect() }
    }

    /// The ends at a question, to within a hundredth of their intervals' widths; `kind` is what else they
    /// depend on, and `direct` computes them.
    ///
    /// `direct` answers `None` where there is no such question; then so does this.
    pub fn ends(
        &self,
        kind: u64,
        question: [f64; AXES],
        direct: impl Fn([f64; AXES]) -> Option<[f64; ENDS]>,
    ) -> Option<[f64; ENDS]> {
        let found = (0..SIZES).find_map(|quartered| {
            let place = Place::of(kind, quartered, question);
            let slot = &self.places[place.hash() % self.places.len()];
            let lock = || slot.lock().unwrap_or_else(PoisonError::into_inner);
            let read = |corners: &Option<Corners<ENDS>>| {
                corners.as_ref().map(|corners| place.between(corners, question))
            };
            let known =
                |cell: &Cell<AXES, ENDS>| (cell.place == place).then(|| read(&cell.corners));
            let found = lock().as_ref().and_then(known);
            found.unwrap_or_else(|| {
                // Computed by everybody who asks at once: waiting for one another would cost as much.
                let corners = place.corners(&direct);
                let ends = read(&corners);
                *lock() = Some(Cell { place, corners });
                ends
            })
        });
        found.or_else(|| direct(question))
    }
}

impl<const AXES: usize> Place<AXES> {
    fn of(kind: u64, quartered: u8, question: [f64; AXES]) -> Self {
        // Logarithms of quantities, far inside the range of the integers.
        let at = question.map(|ln| (ln / Self::side(quartered)).floor() as i64);
        Self { kind, quartered, at }
    }

    fn side(quartered: u8) -> f64 {
        SIDE / f64::from(1_u32 << (2 * quartered))
    }

    /// Where it is `parts` of a side along each axis.
    fn inside(&self, parts: impl Fn(usize) -> f64) -> [f64; AXES] {
        std::array::from_fn(|axis| {
            (self.at[axis] as f64 + parts(axis)) * Self::side(self.quartered)
        })
    }

    fn hash(&self) -> usize {
        // Odd multipliers keep neighbours apart, as Fibonacci hashing does.
        let mix = |mixed: u64, each: u64| {
            (mixed ^ each).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
        };
        let start = mix(self.kind, self.quartered.into());
        let mixed = self.at.iter().fold(start, |mixed, each| mix(mixed, each.cast_unsigned()));
        (mixed >> 16) as usize
    }

    /// The ends at the corners, where they are nearly linear between them.
    fn corners<const ENDS: usize>(
        &self,
        direct: &impl Fn([f64; AXES]) -> Option<[f64; ENDS]>,
    ) -> Option<Corners<ENDS>> {
        let corner = |index: usize| direct(self.inside(|axis| ((index >> axis) & 1) as f64));
        let corners = (0..1 << AXES).map(corner).collect::<Option<Corners<ENDS>>>()?;
        let middle = self.inside(|_| 0.5);
        let (exact, linear) = (direct(middle)?, self.between(&corners, middle));
        let near = exact.chunks(2).zip(linear.chunks(2)).all(|(exact, linear)| {
            let allowed = TOLERANCE * (exact[1] - exact[0]) + ROUNDING;
            // False where a number is none.
            exact.iter().zip(linear).all(|(exact, linear)| (exact - linear).abs() <= allowed)
        });
        near.then_some(corners)
    }

    /// Linear in each axis between the corners.
    fn between<const ENDS: usize>(
        &self,
        corners: &Corners<ENDS>,
        question: [f64; AXES],
    ) -> [f64; ENDS] {
        let side = Self::side(self.quartered);
        let parts: [f64; AXES] = std::array::from_fn(|axis| {
            (question[axis] / side - self.at[axis] as f64).clamp(0.0, 1.0)
        });
        let mut ends = [0.0; ENDS];
        for (index, corner) in corners.iter().enumerate() {
            let weight: f64 = (0..AXES)
                .map(|axis| if (index >> axis) & 1 == 1 { parts[axis] } else { 1.0 - parts[axis] })
                .product();
            for (end, value) in ends.iter_mut().zip(corner) {
                *end += weight * value;
            }
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell as Counter;

    use super::*;

    /// An interval of width 1 whose ends are linear in both logarithms.
    fn linear([u, v]: [f64; 2]) -> Option<[f64; 2]> {
        let low = 3.0 + 0.5 * u - 0.25 * v;
        Some([low, low + 1.0])
    }

    #[test]
    fn linear_ends_are_exact_and_computed_once_a_cell() {
        let table = Table::<2, 2>::new(64);
        let computed = Counter::new(0);
        for i in 0..100 {
            let question = [1.0 + SIDE * f64::from(i) / 100.0, -2.0 + SIDE * 0.3];
            let ends = table.ends(0, question, |at| {
                computed.set(computed.get() + 1);
                linear(at)
            });
            for (end, exact) in ends.unwrap().into_iter().zip(linear(question).unwrap()) {
                assert!((end - exact).abs() < 1e-12);
            }
        }
        // Four corners and the middle.
        assert_eq!(computed.get(), 5);
    }

    #[test]
    fn where_ends_bend_they_are_computed_at_the_question() {
        let table = Table::<2, 2>::new(64);
        // Waves that are shorter than the smallest cells.
        let wavy = |[u, _]: [f64; 2]| Some([(3e3 * u).sin(), 2.0]);
        for part in [0.1, 0.4, 0.9] {
            let question = [SIDE * part, 0.0];
            assert_eq!(table.ends(0, question, wavy), wavy(question));
        }
    }

    #[test]
    fn cells_get_smaller_towards_a_bend() {
        let table = Table::<2, 2>::new(64);
        let turn = 0.3 * SIDE;
        // In the larger cell it is 0.3 in the middle, in a smaller one 0.05; 0.08 is let through.
        let bent = |[u, _]: [f64; 2]| {
            let low = (u - turn).abs() / SIDE;
            Some([low, low + 20.0])
        };
        let computed = Counter::new(0);
        for i in 0..100 {
            let question = [SIDE * f64::from(i) / 100.0, 0.0];
            let ends = table.ends(0, question, |at| {
                computed.set(computed.get() + 1);
                bent(at)
            });
            assert!((ends.unwrap()[0] - bent(question).unwrap()[0]).abs() < 0.11);
        }
        // Once the larger cell, and the four in it.
        assert_eq!(computed.get(), 25);
    }

    #[test]
    fn a_point_may_be_rounded() {
        let table = Table::<2, 2>::new(64);
        let computed = Counter::new(0);
        for i in 0..100 {
            let question = [SIDE * f64::from(i) / 100.0, 0.0];
            table.ends(0, question, |[u, _]| {
                computed.set(computed.get() + 1);
                Some([1e-15 * (1e5 * u).sin(), 0.0])
            });
        }
        assert_eq!(computed.get(), 5);
    }

    #[test]
    fn where_there_is_no_interval_there_is_none() {
        let table = Table::<2, 2>::new(64);
        assert_eq!(table.ends(0, [1.0, 1.0], |_| None), None);
        // At the edge of what can be asked the corners outside cannot be computed.
        let edge = |at: [f64; 2]| if at[0] < 0.0096 { linear(at) } else { None };
        assert_eq!(table.ends(0, [0.0095, 1.0], edge), linear([0.0095, 1.0]));
        assert_eq!(table.ends(0, [0.0099, 1.0], edge), None);
        let no_number = |_: [f64; 2]| Some([f64::NAN, 1.0]);
        assert!(table.ends(1, [0.0, 0.0], no_number).unwrap()[0].is_nan());
    }

    #[test]
    fn answers_do_not_depend_on_what_was_asked_before() {
        // One place for all cells.
        let (crowded, roomy) = (Table::<2, 2>::new(1), Table::<2, 2>::new(1024));
        let curved = |kind: u64| {
            move |[u, v]: [f64; 2]| {
                let low = (kind as f64 + 0.3 * u).sin() * (0.2 * v).cos();
                Some([low, low + 1.0])
            }
        };
        for i in (0..200_u32).chain((0..200).rev()) {
            let question = [0.37 * f64::from(i), -0.11 * f64::from(i)];
            let kind = u64::from(i) % 3;
            let ends = crowded.ends(kind, question, curved(kind));
            assert_eq!(ends, roomy.ends(kind, question, curved(kind)));
            for (end, exact) in ends.unwrap().into_iter().zip(curved(kind)(question).unwrap()) {
                assert!((end - exact).abs() < 1e-3);
            }
        }
    }
}
