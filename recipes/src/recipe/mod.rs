//! Reading a recipe: TOML with `--set` overrides in (`source`), typed tables out (`decode`), every mistake reported at
//! once with its place, the offending text and what would have been right (`diagnostic`).

pub mod decode;
pub mod diagnostic;
pub mod source;

#[cfg(test)]
mod tests;
