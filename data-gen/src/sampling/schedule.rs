//! How many samples a problem gets: as many until its outcome is settled, by a judge that is given from outside. A fixed
//! number spends most where it helps least, on problems that are always solved and on those that never are.
//!
//! Whether a sample is asked for depends on the verdicts on the same problem's samples before it and on nothing else, so a
//! dataset does not depend on what other runs bought, nor on the order in which answers came.

use distill_dataset::{Problem, Trace};
use serde::{Deserialize, Serialize};

/// What a judge says of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is right: the trace can be used.
    Usable,
    /// It is wrong, was cut, or is not there.
    Wrong,
    /// It cannot be told.
    Unknown,
}

/// Somebody who judges answers. This crate knows no verifier.
pub type Judge<'j> = &'j (dyn Fn(&Problem, &Trace) -> Outcome + Sync);

/// When a problem's outcome is settled: whichever comes first. `samples-per-problem` is the most that it gets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AdaptiveConfig {
    /// So many usable traces are enough.
    pub usable: Option<u32>,
    /// After so many samples without a usable one it is hopeless.
    pub hopeless_after: Option<u32>,
    /// The 95 % interval of its pass rate is so narrow (Wilson's score interval, 1927).
    pub interval: Option<f64>,
    /// Samples that are asked for together before the next look; 1 where nothing is said.
    pub at_once: Option<u32>,
    /// Temperatures of the first sample, the second and so on; the last one holds for those that follow.
    pub temperatures: Vec<f32>,
}

/// What is known of a problem's samples, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Samples whose outcome was looked at.
    pub tried: u32,
    /// Those of them that are usable.
    pub usable: u32,
}

impl Standing {
    /// Takes the outcome of the next sample.
    pub fn take(&mut self, outcome: Outcome) {
        self.tried += 1;
        self.usable += u32::from(outcome == Outcome::Usable);
    }
}

impl AdaptiveConfig {
    /// Checks the values, where a problem gets at most `most` samples.
    pub(super) fn check(&self, most: u32) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.usable.is_none()
            && self.hopeless_after.is_none()
            && self.interval.is_none()
            && self.temperatures.is_empty()
        {
            wrong.push(
                "`adaptive`: expected `usable`, `hopeless-after`, `interval` or `temperatures`, found none".to_owned(),
            );
        }
        for (key, found) in
            [("usable", self.usable), ("hopeless-after", self.hopeless_after), ("at-once", self.at_once)]
        {
            if let Some(found) = found.filter(|found| *found == 0 || *found > most) {
                wrong.push(format!("`adaptive.{key}`: expected 1 to `samples-per-problem` = {most}, found {found}"));
            }
        }
        if let Some(found) = self.interval.filter(|found| !(*found > 0.0 && *found < 1.0)) {
            wrong.push(format!("`adaptive.interval`: expected more than 0 and less than 1, found {found}"));
        }
        for found in self.temperatures.iter().filter(|found| !(0.0..=2.0).contains(*found)) {
            wrong.push(format!("`adaptive.temperatures`: expected 0 to 2, found {found}"));
        }
        wrong
    }

    /// Whether samples are judged at all.
    pub fn judges(&self) -> bool {
        self.usable.is_some() || self.hopeless_after.is_some() || self.interval.is_some()
    }

    /// The samples to ask for next, where a problem gets at most `most`; nothing where its outcome is settled.
    pub fn next(&self, standing: Standing, most: u32) -> Option<std::ops::Range<u32>> {
        let Standing { tried, usable } = standing;
        let at_once = if self.judges() { self.at_once.unwrap_or(1) } else { most };
        let enough = self.usable.is_some_and(|wanted| usable >= wanted);
        let hopeless = self.hopeless_after.is_some_and(|most| usable == 0 && tried >= most);
        let narrow = self.interval.is_some_and(|most| tried > 0 && width(usable, tried) <= most);
        let settled = tried >= most || enough || hopeless || narrow;
        (!settled).then(|| tried..most.min(tried + at_once))
    }

    /// The temperature of a sample, where the others have `usual`.
    pub fn temperature(&self, index: u32, usual: f32) -> f32 {
        let last = self.temperatures.len().saturating_sub(1);
        self.temperatures.get(last.min(index as usize)).copied().unwrap_or(usual)
    }
}

/// The width of the 95 % score interval of `passed` in `tried`.
fn width(passed: u32, tried: u32) -> f64 {
    const Z: f64 = 1.959_964;
    let (n, p) = (f64::from(tried), f64::from(passed) / f64::from(tried));
    2.0 * Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which samples are asked for of a problem whose samples come out so.
    fn asked(config: &AdaptiveConfig, most: u32, outcome: impl Fn(u32) -> Outcome) -> u32 {
        let mut standing = Standing::default();
        while let Some(block) = config.next(standing, most) {
            block.for_each(|index| standing.take(outcome(index)));
        }
        standing.tried
    }

    #[test]
    fn a_problem_gets_samples_until_it_is_settled() {
        let config = AdaptiveConfig { usable: Some(2), hopeless_after: Some(4), ..AdaptiveConfig::default() };
        assert_eq!(asked(&config, 16, |_| Outcome::Usable), 2, "easy");
        assert_eq!(asked(&config, 16, |_| Outcome::Wrong), 4, "hopeless");
        assert_eq!(asked(&config, 16, |_| Outcome::Unknown), 4, "nobody can tell");
        let third = |index: u32| if index % 3 == 2 { Outcome::Usable } else { Outcome::Wrong };
        assert_eq!(asked(&config, 16, third), 6, "until there are two");
        assert_eq!(asked(&config, 5, third), 5, "never more than the most");
        let pairs = AdaptiveConfig { at_once: Some(4), ..config };
        assert_eq!(asked(&pairs, 16, |_| Outcome::Usable), 4, "a block is asked for whole");
    }

    #[test]
    fn a_pass_rate_is_measured_until_its_interval_is_narrow() {
        // Wilson's interval of 5 in 10 is 0.237 to 0.763.
        assert!((width(5, 10) - 0.5266).abs() < 1e-3, "{}", width(5, 10));
        let config = AdaptiveConfig { interval: Some(0.4), ..AdaptiveConfig::default() };
        let always = asked(&config, 64, |_| Outcome::Usable);
        let half = asked(&config, 64, |index| if index % 2 == 0 { Outcome::Usable } else { Outcome::Wrong });
        assert!(always < half && half < 64, "{always} {half}: even odds take longest");
    }

    #[test]
    fn temperatures_are_those_of_their_places() {
        let config = AdaptiveConfig { temperatures: vec![0.6, 1.0], ..AdaptiveConfig::default() };
        assert_eq!([0, 1, 2].map(|index| config.temperature(index, 0.3)), [0.6, 1.0, 1.0]);
        assert_eq!(AdaptiveConfig::default().temperature(3, 0.3), 0.3);
        assert_eq!(asked(&config, 5, |_| Outcome::Wrong), 5, "without a reason to stop all are asked for");
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_key() {
        for (config, key) in [
            (AdaptiveConfig::default(), "`adaptive`"),
            (AdaptiveConfig { usable: Some(9), ..AdaptiveConfig::default() }, "adaptive.usable"),
            (AdaptiveConfig { interval: Some(1.5), ..AdaptiveConfig::default() }, "adaptive.interval"),
            (AdaptiveConfig { temperatures: vec![f32::NAN], ..AdaptiveConfig::default() }, "adaptive.temperatures"),
        ] {
            let wrong = config.check(8).join("\n");
            assert!(wrong.contains(key), "{key}: {wrong}");
        }
    }
}
