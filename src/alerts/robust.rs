//! Statistics that a few wild values do not change.

/// From the median absolute deviation to the standard deviation of a normal distribution.
const NORMAL: f64 = 1.4826;

/// The median; `None` without values. Reorders the values.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let middle = values.len() / 2;
    let (_, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = values[..middle].iter().copied().fold(f64::MIN, f64::max);
    Some(f64::midpoint(lower, upper))
}

/// How far the values lie around their median: the median absolute deviation, on the scale of a
/// standard deviation. Zero without values. Reorders the values.
pub(super) fn spread(values: &mut [f64]) -> f64 {
    let Some(centre) = median(values) else {
        return 0.0;
    };
    for value in values.iter_mut() {
        *value = (*value - centre).abs();
    }
    NORMAL * median(values).unwrap_or_default()
}

/// The distance between the quartiles, on the scale of a standard deviation. Unlike [`spread`], it is
/// large for values that alternate between two. Zero without values. Reorders the values.
pub(super) fn between_quartiles(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let quarter = values.len() / 4;
    match (values.get(quarter), values.iter().rev().nth(quarter)) {
        (Some(low), Some(high)) => NORMAL / 2.0 * (high - low),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_alternate_lie_far_between_their_quartiles() {
        let alternating: Vec<f64> = (0..27)
            .map(|n| if n % 2 == 0 { 1.0 } else { -1.0 })
            .collect();
        for (values, between) in [
            (vec![], 0.0),
            (vec![3.0], 0.0),
            (vec![4.0, 1.0, 3.0, 2.0], 0.7413),
            (vec![5.0, 1.0, 3.0, 2.0, 1e9], 0.7413 * 3.0),
            (alternating, 1.4826),
        ] {
            let found = between_quartiles(&mut values.clone());
            assert!((found - between).abs() < 1e-9, "{values:?}: {found}");
        }
    }

    #[test]
    fn one_wild_value_changes_neither_the_median_nor_the_spread() {
        for (values, middle, around) in [
            (vec![], None, 0.0),
            (vec![3.0], Some(3.0), 0.0),
            (vec![1.0, 2.0], Some(1.5), 0.7413),
            (vec![5.0, 1.0, 3.0, 2.0, 4.0], Some(3.0), 1.4826),
            (vec![5.0, 1.0, 3.0, 2.0, 1e9], Some(3.0), 1.4826 * 2.0),
            (vec![4.0, 1.0, 3.0, 2.0], Some(2.5), 1.4826),
        ] {
            assert_eq!(median(&mut values.clone()), middle, "{values:?}");
            let found = spread(&mut values.clone());
            assert!((found - around).abs() < 1e-9, "{values:?}: {found}");
        }
    }
}
