//! Which coefficients the runs determine: by the levels of each quantity, and by the rank of the Jacobian.

use nalgebra::{DMatrix, DVector};

use super::form::Form;
use super::normalised::{COUNT, Normalised, Point};
use super::objective::Gradient;
use super::observations::{Observation, Observations};
use super::parameters::Parameters;
use crate::law::{
    CoefficientName, Coefficients, Data, Density, Directions, Identification, Lacking, Missing,
    NonzeroParams, SettlingRun,
};

/// Values that differ by less than this share are one level: the sparsity of pruned runs scatters about the
/// intended one, and two levels this close tell no more than one.
const LEVEL: f64 = 0.02;

/// Singular values below this share of the largest belong to directions that are not determined. In a good design
/// the smallest is 1/200 of the largest, in a poor one 1/10,000.
const RANK: f64 = 1e-6;

/// Smallest share of a new run's effect that must be new for the run to determine a direction.
const NEW: f64 = 1e-2;

/// Component of a direction, relative to its largest, below which a coefficient is not part of the direction.
const PART: f64 = 1e-3;

/// Smallest logarithm of an amplitude, relative to the loss at the geometric mean of the runs, where the rank is
/// computed: a term that vanishes in the fit has no shape that runs could tell.
const LEAST_PART: f64 = -3.0;

/// Range of the logarithms of exponents where the rank is computed, which keeps terms from being flat or too steep.
const EXPONENT: (f64, f64) = (-2.3, 0.7);

/// Largest number of levels of each quantity among which new runs are sought.
const MOST_LEVELS: usize = 8;

/// What the runs have too few of: levels of each quantity for its coefficients, or else runs (one more than
/// coefficients).
pub(super) fn missing_levels(
    runs: &Observations,
    parameters: &Parameters,
    form: Form,
) -> Vec<Missing> {
    let levels = Levels::of(runs);
    let free = |name: CoefficientName| usize::from(parameters.is_free(name as usize));
    use CoefficientName::{AD, AS, BD, BN, BS, C, CS};
    // A term has a third coefficient: the part added to it that does not change with the quantity.
    let beside_sparsity = if form.nonzero_params { free(CS) } else { free(C) };
    let amplitude = free(AS).max(free(CS));
    let needs = [
        (
            form.nonzero_params,
            Lacking::NonzeroParams,
            levels.sizes.len(),
            amplitude + free(BN) + free(C),
        ),
        (
            form.sparsity,
            Lacking::Sparsity,
            levels.densities.len(),
            free(AS) + free(BS) + beside_sparsity,
        ),
        (form.data, Lacking::Data, levels.data.len(), free(AD) + free(BD) + free(C)),
    ];
    let mut missing: Vec<Missing> = needs
        .into_iter()
        .filter(|(varies, _, have, needed)| *varies && have < needed)
        .map(|(_, what, have, needed)| Missing { what, have, needed })
        .collect();
    let (have, needed) = (runs.len(), parameters.count() + 1);
    // Fewer levels leave fewer numbers to determine; whether there are enough runs for those follows from the rank.
    if missing.is_empty() && have < needed {
        missing.push(Missing { what: Lacking::Runs, have, needed });
    }
    missing
}

/// Which coefficients of a law its runs determine, and which further runs would determine the others.
pub(super) fn identify(
    runs: &Observations,
    law: &Coefficients,
    units: &Normalised,
    (parameters, form): (&Parameters, Form),
    point: &Point,
) -> Identification {
    let levels = Levels::of(runs);
    let cells = levels.cells(runs);
    let places: Vec<usize> = (0..COUNT).filter(|place| parameters.is_free(*place)).collect();
    let point = &with_shape(point, parameters);
    let means = Directions {
        coefficients: units.coefficients(point).unwrap_or(*law),
        nonzero_params: units.ln_n0.exp(),
        data: units.ln_d0.exp(),
        vectors: Vec::new(),
    };
    let row = |cell: &Cell| -> DVector<f64> {
        let slope = means.slope_of_ln_loss(cell.nonzero_params, cell.density, cell.data);
        let slope = parameters.restrict_gradient(point, &Gradient::from(slope));
        DVector::from_iterator(places.len(), places.iter().map(|place| slope[*place]))
    };
    let rows: Vec<DVector<f64>> = cells.iter().map(row).collect();
    let known = Known::of(&rows, places.len());
    let rank = known.rank();
    let mut missing = missing_levels(runs, parameters, form);
    if missing.is_empty() && rank < places.len() {
        missing.push(Missing { what: Lacking::Combinations, have: rank, needed: places.len() });
    }
    let interpolates = runs.len() <= rank;
    if interpolates && !missing.iter().any(|each| each.what == Lacking::Runs) {
        let needed = places.len() + 1;
        missing.push(Missing { what: Lacking::Runs, have: runs.len(), needed });
    }
    let typical = (rows.len() as f64 / places.len() as f64).sqrt();
    let vectors: Vec<[f64; COUNT]> = known
        .open()
        .into_iter()
        .map(|direction| expand(parameters, point, &places, &direction, typical))
        .collect();
    let name = |place: &usize| CoefficientName::ALL[*place];
    let lacks = |what: Lacking| missing.iter().any(|each| each.what == what);
    let open = if interpolates {
        places.iter().map(name).collect()
    } else {
        open_coefficients(law, &vectors, &places, lacks(Lacking::NonzeroParams))
    };
    let settling = if missing.is_empty() {
        Vec::new()
    } else {
        settling(runs.len(), &levels, known, &row, &missing, parameters.count() + 1)
    };
    let sparsities = levels.densities.iter().rev().map(|density| 1.0 - density);
    Identification {
        runs: runs.len(),
        fitted: places.len(),
        rank,
        open,
        settling,
        sparsities: if lacks(Lacking::Sparsity) { sparsities.collect() } else { Vec::new() },
        sizes: if lacks(Lacking::NonzeroParams) { levels.sizes.clone() } else { Vec::new() },
        amounts: if lacks(Lacking::Data) { levels.data.clone() } else { Vec::new() },
        missing,
        directions: Directions { vectors, ..means },
    }
}

/// The point with its free terms made neither absent nor without curvature.
fn with_shape(point: &Point, parameters: &Parameters) -> Point {
    let mut shaped = *point;
    for name in CoefficientName::ALL {
        let place = name as usize;
        if parameters.is_free(place) {
            let (low, high) =
                if name.is_exponent() { EXPONENT } else { (LEAST_PART, f64::INFINITY) };
            shaped[place] = shaped[place].clamp(low, high);
        }
    }
    parameters.complete(&shaped)
}

/// Extends a direction of the free coordinates to all seven, with the length that [`Directions`] prescribes.
fn expand(
    parameters: &Parameters,
    point: &Point,
    places: &[usize],
    direction: &DVector<f64>,
    typical: f64,
) -> [f64; COUNT] {
    std::array::from_fn(|place| {
        let mut unit = Gradient::zeros();
        unit[place] = 1.0;
        let follows = parameters.restrict_gradient(point, &unit);
        let parts = places.iter().zip(direction.iter());
        typical * parts.map(|(free, part)| follows[*free] * part).sum::<f64>()
    })
}

/// The coefficients that take part in any of the directions. In raw units, `a_S` and `c_S` change with `b_N`. With
/// too few sizes, all coefficients of size are open, even where several sparsities together determine combinations
/// of them.
fn open_coefficients(
    law: &Coefficients,
    vectors: &[[f64; COUNT]],
    places: &[usize],
    lacks_sizes: bool,
) -> Vec<CoefficientName> {
    use CoefficientName::{AD, AS, BD, BN, C, CS};
    let moves = |name: CoefficientName| {
        if lacks_sizes && matches!(name, AS | CS | BN | C) {
            return true;
        }
        vectors.iter().any(|vector| {
            let most = vector.iter().fold(0.0_f64, |most, part| most.max(part.abs()));
            let part = |name: CoefficientName| vector[name as usize].abs() > PART * most;
            match name {
                AS | CS => part(name) || part(BN),
                AD => part(AD) || part(BD),
                _ => part(name),
            }
        })
    };
    let fitted = |name: &CoefficientName| places.contains(&(*name as usize)) && law.has(*name);
    CoefficientName::ALL.into_iter().filter(fitted).filter(|name| moves(*name)).collect()
}

/// The cheapest runs after which every direction is determined, each quantity has enough levels, and there are
/// more runs than coefficients.
///
/// Candidates are taken in order of cost, each one that tells something new. Sets of linearly independent rows
/// form a matroid, for which this greedy choice gives the cheapest set.
fn settling(
    runs: usize,
    levels: &Levels,
    mut known: Known,
    row: &impl Fn(&Cell) -> DVector<f64>,
    missing: &[Missing],
    fewest: usize,
) -> Vec<SettlingRun> {
    let mut candidates = levels.candidates();
    // Training cost, up to a constant factor, where zeros save nothing.
    let cost = |cell: &Cell| cell.nonzero_params.get() * cell.data.get() / cell.density.get();
    candidates.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
    let mut chosen: Vec<Cell> = Vec::new();
    for cell in &candidates {
        if known.is_full() {
            break;
        }
        if known.add(&row(cell)) {
            chosen.push(*cell);
        }
    }
    for each in missing {
        let (measured, of): (&[f64], fn(&Cell) -> f64) = match each.what {
            Lacking::NonzeroParams => (&levels.sizes, |cell| cell.nonzero_params.get()),
            Lacking::Sparsity => (&levels.densities, |cell| cell.density.get()),
            Lacking::Data => (&levels.data, |cell| cell.data.get()),
            Lacking::Runs | Lacking::Combinations => continue,
        };
        let mut there = measured.to_vec();
        let is_new = |there: &[f64], value: f64| {
            there.iter().all(|level| (value / level - 1.0).abs() > LEVEL)
        };
        for cell in &chosen {
            if is_new(&there, of(cell)) {
                there.push(of(cell));
            }
        }
        for cell in &candidates {
            if there.len() >= each.needed {
                break;
            }
            if is_new(&there, of(cell)) {
                there.push(of(cell));
                chosen.push(*cell);
            }
        }
    }
    // Add runs until there are more of them than coefficients.
    let lacking = fewest.saturating_sub(runs + chosen.len());
    let others = candidates.iter().filter(|cell| !chosen.contains(cell));
    let others: Vec<Cell> = others.take(lacking).copied().collect();
    chosen.extend(others);
    let run = |cell: Cell| SettlingRun {
        nonzero_params: cell.nonzero_params.get(),
        sparsity: cell.density.sparsity().get(),
        data: cell.data.get(),
    };
    chosen.into_iter().map(run).collect()
}

/// A model that was or could be trained, at levels of each quantity.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cell {
    nonzero_params: NonzeroParams,
    density: Density,
    data: Data,
}

/// The levels of each quantity over the runs, in ascending order.
struct Levels {
    sizes: Vec<f64>,
    densities: Vec<f64>,
    data: Vec<f64>,
}

impl Levels {
    fn of(runs: &Observations) -> Self {
        let of = |quantity: fn(&Observation) -> f64| {
            let mut values: Vec<f64> = runs.as_slice().iter().map(quantity).collect();
            values.sort_by(f64::total_cmp);
            values.dedup_by(|next, kept| *next - *kept <= LEVEL * *kept);
            values
        };
        Self {
            sizes: of(|run| run.nonzero_params.get()),
            densities: of(|run| run.sparsity.density().get()),
            data: of(|run| run.data.get()),
        }
    }

    /// The distinct models of the runs, each at its levels.
    fn cells(&self, runs: &Observations) -> Vec<Cell> {
        let at = |levels: &[f64], value: f64| levels.partition_point(|level| *level <= value) - 1;
        let mut places: Vec<[usize; 3]> = runs
            .as_slice()
            .iter()
            .map(|run| {
                [
                    at(&self.sizes, run.nonzero_params.get()),
                    at(&self.densities, run.sparsity.density().get()),
                    at(&self.data, run.data.get()),
                ]
            })
            .collect();
        places.sort_unstable();
        places.dedup();
        let cells = places
            .into_iter()
            .map(|[n, x, d]| cell(self.sizes[n], self.densities[x], self.data[d]));
        cells.flatten().collect()
    }

    /// Models that could be trained: every combination of levels of the runs, thinned out where there are many,
    /// and one more level beyond each end.
    fn candidates(&self) -> Vec<Cell> {
        let [sizes, mut densities, data] =
            [&self.sizes, &self.densities, &self.data].map(|levels| extended(levels));
        densities.retain(|density| *density <= 1.0);
        let mut cells = Vec::with_capacity(sizes.len() * densities.len() * data.len());
        for &n in &sizes {
            for &x in &densities {
                cells.extend(data.iter().filter_map(|&d| cell(n, x, d)));
            }
        }
        cells
    }
}

fn cell(nonzero_params: f64, density: f64, data: f64) -> Option<Cell> {
    Some(Cell {
        nonzero_params: NonzeroParams::new(nonzero_params).ok()?,
        density: Density::new(density).ok()?,
        data: Data::new(data).ok()?,
    })
}

/// Levels, thinned out where there are many, with one more at each end: by the ratio of the last two levels there,
/// or by 2 where there is only one level.
fn extended(levels: &[f64]) -> Vec<f64> {
    let step = levels.len().div_ceil(MOST_LEVELS).max(1);
    let mut thinned: Vec<f64> = levels.iter().copied().step_by(step).collect();
    let ratio = |pair: Option<&[f64]>| pair.map_or(2.0, |pair| pair[1] / pair[0]);
    let below = ratio(thinned.windows(2).next());
    let above = ratio(thinned.windows(2).last());
    let (first, last) = (thinned[0], thinned[thinned.len() - 1]);
    thinned.insert(0, first / below);
    thinned.push(last * above);
    thinned
}

/// What a set of runs tells: the space spanned by their rows, with columns scaled to unit length.
struct Known {
    /// Original lengths of the columns.
    lengths: DVector<f64>,
    /// Orthonormal basis of the space.
    basis: Vec<DVector<f64>>,
    /// Orthonormal directions outside the space.
    open: Vec<DVector<f64>>,
}

impl Known {
    fn of(rows: &[DVector<f64>], free: usize) -> Self {
        let mut information = DMatrix::<f64>::zeros(free, free);
        for row in rows {
            information += row * row.transpose();
        }
        // A column of zeros belongs to a term that vanishes everywhere, on which nothing depends.
        let length = |i: usize| {
            let length = information[(i, i)].sqrt();
            if length > 0.0 && length.is_finite() { length } else { f64::INFINITY }
        };
        let lengths = DVector::from_fn(free, |i, _| length(i));
        // Singular values of the rows, not eigenvalues of the information matrix: these are their squares, which
        // would lose half of the digits.
        let mut scaled = DMatrix::<f64>::zeros(rows.len().max(free), free);
        for (i, row) in rows.iter().enumerate() {
            for j in 0..free {
                scaled[(i, j)] = row[j] / lengths[j];
            }
        }
        let svd = scaled.svd(false, true);
        let most = svd.singular_values.max();
        let (mut basis, mut open) = (Vec::new(), Vec::new());
        if let Some(directions) = &svd.v_t {
            for (i, value) in svd.singular_values.iter().enumerate() {
                let direction = directions.row(i).transpose();
                let vanishes =
                    (0..free).any(|j| lengths[j].is_infinite() && direction[j].abs() > 0.5);
                if vanishes || *value > RANK * most {
                    basis.push(direction)
                } else {
                    open.push(direction)
                }
            }
        }
        Self { lengths, basis, open }
    }

    fn rank(&self) -> usize {
        self.basis.len()
    }

    fn is_full(&self) -> bool {
        self.basis.len() >= self.lengths.len()
    }

    /// Directions that are not determined, in the free coordinates.
    fn open(&self) -> Vec<DVector<f64>> {
        self.open.iter().map(|direction| direction.component_div(&self.lengths)).collect()
    }

    /// Adds a run if it tells anything new; returns whether it does.
    fn add(&mut self, row: &DVector<f64>) -> bool {
        let scaled = row.component_div(&self.lengths);
        let length = scaled.norm();
        let mut rest = scaled;
        // Done twice, as a single pass leaves rounding errors.
        for _ in 0..2 {
            for known in &self.basis {
                let along = known.dot(&rest);
                rest -= known * along;
            }
        }
        let is_new = rest.norm() > NEW * length;
        if is_new {
            self.basis.push(rest.normalize());
        }
        is_new
    }
}
