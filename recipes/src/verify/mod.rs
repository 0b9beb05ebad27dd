//! `distill verify`: JSON lines in, one JSON line out for each, in their order, while they come.

mod lines;
mod math;

pub use lines::{Pace, Tally, answer_lines};
pub use math::{math, policy};
