//! A server that answers as a teacher's does, over HTTP/1.1 on the loopback, and fails as they do: for the tests of the
//! client and of whole runs, and for benchmarks. It keeps a log of what it sent, token for token.
//!
//! | path | answer |
//! |---|---|
//! | `POST /v1/completions`, `POST /v1/chat/completions` | an [`Answer`] to the request's seed, or the rest of the one that its prompt ends in a part of; prompts may be token ids, and the answer's are told where `return_token_ids` asks for them |
//! | `GET /v1/models` | its model |
//! | `GET /metrics` | its load, as vLLM tells it |
//! | `GET /log` | what it sent, a [`Served`] a line |

mod answer;
mod script;
mod serve;
mod vocabulary;

pub use answer::Answer;
pub use script::{Fault, Script, Shape};
pub use serve::{Served, Simulator, serve_forever};
pub use vocabulary::{BEGIN, END, decode, encode};
