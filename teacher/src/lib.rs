//! Who answers. `Complete` is the one trait through which problems become text: an HTTP endpoint here, the in-process
//! engine in `teacher/local`. Sampling and evaluation see only this trait.

mod complete;
mod http;

pub use complete::{Complete, Completion, Identity, Queue, Request, TeacherError};
pub use http::{Api, ApiKey, HttpTeacher, HttpTeacherConfig, Render, RenderPrompt};
