//! Integration tests, one binary.

mod alone;
mod architecture;
mod cli;
mod convert;
mod endpoint;
mod hour;
mod keys;
mod kills;
mod money;
mod path;
mod ranks;
mod ready;
mod reference;
mod selection;
mod verify_code;
mod walls;
