//! distill-model.
