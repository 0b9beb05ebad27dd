//! Code in the sandbox: honest solutions, and everything that wants out or a verdict that it did not earn.

mod attacks;
mod bench;
mod cases;
mod honest;
