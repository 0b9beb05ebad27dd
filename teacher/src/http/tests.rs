//! The client against a server that behaves as real ones do.
