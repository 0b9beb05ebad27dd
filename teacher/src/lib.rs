//! Who answers, and how it is asked. `Complete` is the one trait through which problems become text: an HTTP endpoint
//! here, the in-process engine in `teacher/local`. Sampling and evaluation ask through one loop, [`pump`]: it reserves
//! before it asks and settles afterwards ([`Ledger`]), and keeps every answer in the store ([`Answers`]) before anything
//! else happens to it.

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
    Render, RenderPrompt, TextCount, Tokenizer,
};
pub use identity::{Identity, Variant};
pub use ledger::{Budget, Charge, Charges, Cost, Exceeded, Ledger, Most};
pub use order::{Ask, Asks, Order};
pub use partial::{Partial, Piece, TokenIds};
pub use profiles::{HostAnswer, HostCall, HostPrice, HostProfile, ModelProfile, ModelPrompt, ModelSampling, ModelTurn};
pub use pump::{PumpError, Pumped, pump};
pub use purse::{Buyer, buyers, hours};
pub use seen::{EndpointSeen, Seen};
