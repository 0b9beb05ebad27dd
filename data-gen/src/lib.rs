//! distill-data-gen.
