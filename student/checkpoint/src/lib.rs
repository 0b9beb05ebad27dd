//! distill-checkpoint.
