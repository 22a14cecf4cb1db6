//! Convex hulls of points: the region of the runs, beyond which lines are extrapolated.

/// Returns the corners of the convex hull of points, in order around it; fewer than three if all points lie on a line.
///
/// Uses Andrew's monotone chain.
pub(crate) fn convex(places: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut sorted: Vec<_> = places.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    sorted.dedup();
    let chain = |places: &mut dyn Iterator<Item = (f64, f64)>| {
        let mut corners: Vec<(f64, f64)> = Vec::new();
        for place in places {
            while let [.., a, b] = corners[..] {
                let turn = (b.0 - a.0) * (place.1 - a.1) - (b.1 - a.1) * (place.0 - a.0);
                if turn > 0.0 {
                    break;
                }
                corners.pop();
            }
            corners.push(place);
        }
        // The last corner is the first one of the other chain.
        corners.pop();
        corners
    };
    let mut corners = chain(&mut sorted.iter().copied());
    corners.extend(chain(&mut sorted.iter().rev().copied()));
    corners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_are_kept_and_what_lies_within_is_not() {
        let places = [(0.0, 0.0), (4.0, 0.0), (2.0, 1.0), (4.0, 3.0), (0.0, 3.0), (2.0, 0.0)];
        assert_eq!(convex(&places), [(0.0, 0.0), (4.0, 0.0), (4.0, 3.0), (0.0, 3.0)]);
        assert!(convex(&[(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]).len() < 3);
        assert!(convex(&[(1.0, 1.0); 5]).len() < 3);
        assert!(convex(&[]).is_empty());
    }
}
