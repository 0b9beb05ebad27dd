//! distill-evaluate.
