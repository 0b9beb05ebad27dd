//! A server that answers as a teacher's does, over HTTP/1.1 on the loopback, and fails as they do: for the tests of the
//! client and of whole runs, and for benchmarks. It keeps a log of what it sent, token for token.
//!
//! | path | answer |
//! |---|---|
//! | `POST /v1/completions`, `POST /v1/chat/completions` | an [`Answer`] to the request's seed, or the rest of the one that its prompt ends in a part of; prompts may be token ids, and the answer's are told where `return_token_ids` asks for them |
//! | `GET /v1/models` | its model |
//! | `GET /metrics` | its load, as vLLM tells it |
//! | `GET /log` | what it sent, a [`Served`] a line |
//!
//! Asked with the seed 7, it sends the answer to that seed, and says so in its log:
//!
//! ```
//! # use distill_simulator::{Answer, Script, Simulator};
//! # use std::{io::{Read, Write}, net::{Shutdown, TcpStream}};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let lengths = (20, 60);
//! let simulator = Simulator::start(Script { lengths, ..Script::default() })?;
//! let body = r#"{"prompt": "What is 1+1?", "seed": 7}"#;
//! let mut stream = TcpStream::connect(simulator.address())?;
//! write!(stream, "POST /v1/completions HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
//! stream.shutdown(Shutdown::Write)?;
//! let mut reply = String::new();
//! stream.read_to_string(&mut reply)?;
//! assert!(reply.contains("data: [DONE]"));
//!
//! let (log, answer) = (simulator.log(), Answer::of(7, lengths));
//! assert_eq!((log[0].seed, log[0].sent, log[0].ended), (7, answer.len, true));
//! # Ok(())
//! # }
//! ```

mod answer;
mod script;
mod serve;
mod vocabulary;

pub use answer::Answer;
pub use script::{Fault, Script, Shape};
pub use serve::{Served, Simulator, serve_forever};
pub use vocabulary::{BEGIN, END, decode, encode};
