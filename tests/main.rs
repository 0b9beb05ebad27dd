//! Integration tests, one binary.

mod architecture;
mod cli;
mod convert;
mod path;
mod verify_code;
