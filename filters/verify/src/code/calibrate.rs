//! How slow is this machine? A program of known work is run in the sandbox; limits on time are stretched by what it takes
//! more than on the machine that they are meant for, so that a slow machine does not turn right into wrong.

use super::judge::Judge;
use std::sync::OnceLock;

/// What the program takes on the machine on which the limits were chosen, in microseconds of CPU time, with CPython 3.11.
const REFERENCE_US: u64 = 40_000;
/// Most that limits are stretched, in percent.
const MOST: u64 = 1_000;
/// The best of a few tries, since others may disturb one.
const PROGRAM: &str = "
import time
best = 1e9
for _ in range(5):
    begin, total = time.process_time(), 0
    for n in range(250000):
        total += n * n % 7
    best = min(best, time.process_time() - begin)
print(int(best * 1e6))
";

/// How much time this machine gets, in percent of the reference; 100 where it is as fast, or nothing is known. Measured
/// once.
pub(super) fn slowness(judge: &mut Judge) -> u64 {
    static MEASURED: OnceLock<u64> = OnceLock::new();
    if let Some(measured) = MEASURED.get() {
        return *measured;
    }
    if judge.python().is_none() {
        return 100;
    }
    let taken = judge.printed(PROGRAM).and_then(|said| said.trim().parse::<u64>().ok());
    let percent = taken.map_or(100, |taken| stretched(taken, REFERENCE_US));
    *MEASURED.get_or_init(|| percent)
}

/// What differs by less than a fifth is no slower machine.
fn stretched(taken_us: u64, reference_us: u64) -> u64 {
    match taken_us.saturating_mul(100) / reference_us {
        percent if percent < 120 => 100,
        percent => percent.min(MOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_machines_get_more_time_and_fast_ones_no_less() {
        for (taken, percent) in [(0, 100), (10, 100), (100, 100), (119, 100), (120, 120), (300, 300), (u64::MAX, MOST)]
        {
            assert_eq!(stretched(taken, 100), percent, "{taken}");
        }
    }
}
