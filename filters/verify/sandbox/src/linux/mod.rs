//! The isolation on Linux. `client` is the program's side, with `group` where control groups are ours; everything else runs in the supervisor, in this order:
//! `supervisor` builds the root (`tree`) and enters namespaces, `worker` starts cells (`cell`) and watches over them
//! (`watch`), `confine` and `filter` are what a program is put under, `warm` talks to an interpreter that is kept warm.

mod cell;
mod client;
mod confine;
mod filter;
mod group;
mod raw;
mod supervisor;
mod tree;
mod warm;
mod watch;
mod wire;
mod worker;

pub use client::{Event, Process, Worker};
pub use supervisor::supervise;

use crate::Layer;

/// A layer that could not be set up, and what the system said.
#[derive(Debug)]
struct Fault {
    layer: Layer,
    why: String,
}

/// Names what was being done when the system refused.
fn fault<E: std::fmt::Display>(layer: Layer, doing: impl Into<String>) -> impl FnOnce(E) -> Fault {
    let doing = doing.into();
    move |error| Fault { layer, why: format!("{doing}: {error}") }
}
