//! Honest.
