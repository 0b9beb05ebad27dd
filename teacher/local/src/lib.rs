//! distill-teacher-local.
