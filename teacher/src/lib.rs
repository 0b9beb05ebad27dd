//! Who answers, and how it is asked. `Complete` is the one trait through which problems become text: an HTTP endpoint
//! here, the in-process engine in `teacher/local`. Sampling and evaluation ask through one loop, [`pump`]: it reserves
//! before it asks and settles afterwards ([`Ledger`]), and keeps every answer in the store ([`Answers`]) before anything
//! else happens to it.
//!
//! A model behind an endpoint, here a simulated one, is asked one question. [`pump`] asks many and keeps what it hears:
//!
//! ```
//! # use distill_dataset::{Cancel, Message, SamplingParams};
//! # use distill_simulator::{Answer, Script, Simulator};
//! # use distill_teacher::{Complete, Completion, HttpTeacher, Queue, Request, TeacherError};
//! # use std::ops::ControlFlow;
//! struct One(Option<Request>, Option<Completion>);
//! impl Queue for One {
//!     fn next(&mut self) -> Option<Request> {
//!         self.0.take()
//!     }
//!     fn deliver(&mut self, _: u64, outcome: Result<Completion, TeacherError>) -> ControlFlow<()> {
//!         self.1 = outcome.ok();
//!         ControlFlow::Continue(())
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let simulator = Simulator::start(Script { lengths: (20, 60), ..Script::default() })?;
//! let config = serde_json::from_value(serde_json::json!({"url": simulator.url(), "model": "sim"}))?;
//! let teacher = HttpTeacher::new(config, None, None)?;
//!
//! let sampling = SamplingParams { temperature: 0.6, top_p: 0.95, max_new_tokens: 256, log_probabilities: None };
//! let request = Request { id: 0, messages: vec![Message::user("What is 1+1?")], sampling, seed: 7, partial: None };
//! let mut queue = One(Some(request), None);
//! teacher.complete(&mut queue, &Cancel::default())?;
//! let completion = queue.1.ok_or("expected an answer")?;
//! assert_eq!(completion.text, Answer::of(7, (20, 60)).text());
//! # Ok(())
//! # }
//! ```

mod answers;
mod complete;
mod feeder;
mod gauge;
mod http;
mod identity;
mod in_flight;
mod ledger;
mod order;
mod partial;
mod profiles;
mod pump;
mod purse;
mod seen;
mod writer;

pub use answers::{Answer, Answers, Kept, UNKNOWN, trace};
pub use complete::{Complete, Completion, Queue, Request, TeacherError};
#[doc(hidden)]
pub use http::fuzzing;
pub use http::{
    Api, ApiKey, Continuation, Decode, Encode, EndpointConfig, HttpTeacher, HttpTeacherConfig, Omit, Price, Probed,
    Registry, Render, RenderPrompt, TextCount, Tokenizer,
};
pub use identity::{Identity, Variant};
pub use ledger::{Budget, Charge, Charges, Cost, Exceeded, Ledger, Most};
pub use order::{Ask, Asks, Order};
pub use partial::{Partial, Piece, TokenIds};
pub use profiles::{HostAnswer, HostCall, HostPrice, HostProfile, ModelProfile, ModelPrompt, ModelSampling, ModelTurn};
pub use pump::{PumpError, Pumped, pump};
pub use purse::{Buyer, buyers, hours};
pub use seen::{EndpointSeen, Seen};
