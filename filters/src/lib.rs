//! distill-filters.
