//! distill-verify.
