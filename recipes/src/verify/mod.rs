//! `distill verify`: JSON lines in, one JSON line out for each, in their order, while they come.

mod code;
mod lines;
mod math;

pub use code::{SUPERVISOR, code, judges, judges_for, launcher};
pub use lines::{Pace, Tally, answer_lines};
pub use math::{Override, math, policy};
