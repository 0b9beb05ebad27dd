//! distill-student.
