//! What no fixture covers.
