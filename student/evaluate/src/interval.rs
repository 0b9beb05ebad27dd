//! The mean over problems with a 95 % interval that knows that samples of one problem resemble each other.

/// Standard normal quantile of 97.5 %.
const Z: f64 = 1.959_963_984_540_054;

/// Mean of the problems' means and its 95 % interval.
///
/// The standard error is clustered by problem (Miller, "Adding Error Bars to Evals", 2024): that of the problems' means.
/// It sets the effective number of samples of a Wilson score interval (1927), which stays inside 0..=1 and does not
/// collapse when all or none are right. `samples` is the number of samples for each problem.
pub fn mean_with_interval(means: &[f64], samples: u32) -> (f64, f64, f64) {
    let count = means.len() as f64;
    let mean = means.iter().sum::<f64>() / count;
    let variance = means.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0) / count;
    let spread = mean * (1.0 - mean);
    // Between one sample for each problem and all samples independent.
    let effective = if variance > 0.0 { spread / variance } else { count };
    let effective = effective.clamp(count.min(effective.max(1.0)), count * f64::from(samples));
    let center = (mean + Z * Z / (2.0 * effective)) / (1.0 + Z * Z / effective);
    let half = Z / (1.0 + Z * Z / effective) * (spread / effective + Z * Z / (4.0 * effective * effective)).sqrt();
    // Rounding must not put the mean outside its own interval.
    (mean, (center - half).clamp(0.0, mean), (center + half).clamp(mean, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_wrong_is_not_certainty() {
        let (mean, low, high) = mean_with_interval(&[0.0; 100], 4);
        assert_eq!((mean, low), (0.0, 0.0));
        assert!((high - 0.037).abs() < 0.001, "the rule of three, roughly: {high}");
    }

    #[test]
    fn one_sample_per_problem_is_wilsons_interval() {
        let means: Vec<f64> = (0..200).map(|index| f64::from(u8::from(index < 140))).collect();
        let (mean, low, high) = mean_with_interval(&means, 1);
        // Wilson for 140 of 200: 0.633 to 0.759.
        assert!((mean - 0.7).abs() < 1e-12);
        assert!((low - 0.633).abs() < 0.002 && (high - 0.759).abs() < 0.002, "{low} {high}");
    }

    #[test]
    fn samples_that_agree_within_a_problem_narrow_nothing() {
        let agreeing: Vec<f64> = (0..100).map(|index| f64::from(u8::from(index < 50))).collect();
        let (_, low, high) = mean_with_interval(&agreeing, 8);
        let (_, one_low, one_high) = mean_with_interval(&agreeing, 1);
        assert!(((high - low) - (one_high - one_low)).abs() < 0.005);
        let mixed = vec![0.5; 100];
        let (_, low, high) = mean_with_interval(&mixed, 8);
        assert!(high - low < (one_high - one_low) * 1.01, "problems alike: no wider than one sample each");
    }
}
