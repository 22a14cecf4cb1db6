//! What is said where the bounds leave no plan: which are in the way, and how far each would have to be moved.

use sparsity_law::law::{Constraint, Density, Infeasible, Obstacle};

use super::request::PlanRequest;
use crate::api::wire::problem::ApiError;
use crate::domain::checks::FieldError;

/// Converts a bound on the density, as it is stored, back to the sparsity that the request gave.
fn sparsity_of(density: f64) -> f64 {
    Density::clamped(density).sparsity().get()
}

/// Rounds to seven significant digits, upwards or downwards.
fn outward(value: f64, up: bool) -> f64 {
    /// A number within this relative distance of one with seven digits counts as that number, so that rounding errors
    /// do not move it by a whole digit.
    const ROUNDING: f64 = 1e-11;
    if value == 0.0 {
        return value;
    }
    let scale = 10f64.powi(6 - value.abs().log10().floor() as i32);
    let digits = value * scale;
    let whole =
        if up { (digits * (1.0 - ROUNDING)).ceil() } else { (digits * (1.0 + ROUNDING)).floor() };
    whole / scale
}

fn written(value: f64) -> String {
    if (1e-3..1e6).contains(&value) || value == 0.0 {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

/// Explains one bound that makes the plan impossible: how far it would have to be moved.
fn obstacle_detail(obstacle: &Obstacle, why: &Infeasible, request: &PlanRequest) -> String {
    let Obstacle { constraint, needed } = *obstacle;
    let is_sparsity = matches!(constraint, Constraint::SparsityMin | Constraint::SparsityMax);
    let shown = |value: f64| if is_sparsity { sparsity_of(value) } else { value };
    let origin = match constraint {
        _ if request.limits.has(constraint) => "is given",
        Constraint::SparsityMax => "is the default, that of the sparsest run",
        // The request gave no such bound: the dense model is compared at the cost of the plan.
        _ => "is that of the plan",
    };
    let given = format!("{} {origin}", written(shown(why.limits.get(constraint))));
    let Some(needed) = needed else {
        let others = why.obstacles.iter().filter(|other| other.constraint != constraint);
        let others: Vec<_> = others.map(|other| other.constraint.as_str()).collect();
        return format!("{given} and cannot be kept together with {}", others.join(", "));
    };
    // The highest sparsity is stored as the lowest density and the lowest as the highest, so the direction is reversed.
    let up = constraint.is_upper() != is_sparsity;
    let needed = written(outward(shown(needed), up));
    match constraint {
        Constraint::TargetLoss => {
            format!("the least loss that can be reached is {needed}, {given}")
        }
        _ if up => format!("at least {needed} would be needed, {given}"),
        _ => format!("at most {needed} would be possible, {given}"),
    }
}

/// One line for each bound that makes the plan impossible.
pub(super) fn infeasible_lines(why: &Infeasible, request: &PlanRequest) -> Vec<String> {
    let line = |obstacle: &Obstacle| {
        let detail = obstacle_detail(obstacle, why, request);
        format!("{}: {detail}", obstacle.constraint.as_str())
    };
    why.obstacles.iter().map(line).collect()
}

/// The error for a request whose bounds leave no plan, with a field for each bound in the way.
pub(super) fn refusal(why: &Infeasible, request: &PlanRequest) -> ApiError {
    let field = |obstacle: &Obstacle| FieldError {
        pointer: format!("/{}", obstacle.constraint.as_str().replace('.', "/")),
        detail: obstacle_detail(obstacle, why, request),
    };
    ApiError::Infeasible(why.obstacles.iter().map(field).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_to_where_they_are_enough() {
        assert_eq!(written(outward(1.3e9 * (1.0 + 1e-13), true)), "1.3e9");
        assert_eq!(written(outward(1_234_567_890.0, true)), "1.234568e9");
        assert_eq!(written(outward(1_234_567_890.0, false)), "1.234567e9");
        assert_eq!(written(outward(2.31, true)), "2.31");
        // The maximum sparsity of a plan that may have no zeros.
        assert_eq!(written(outward(0.0, false)), "0");
    }
}
