//! distill-publish.
