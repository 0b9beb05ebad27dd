//! What a run expects of its answers: that all of them name one model, and that an endpoint's reasoning comes where it came
//! before. The first to say settles it. It is looked at as the first bytes arrive, so that little is bought of another
//! model, and nothing of it is put together with an answer.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

/// What to do about another model.
const HINT: &str = "\nhint: another model is another teacher: say which in the teacher's `model` or `revision`; answers so far are kept";

/// What is expected, shared by all that is in flight.
#[derive(Clone, Default)]
pub(super) struct Expected {
    model: Rc<RefCell<Option<String>>>,
    reasoning: Rc<Cell<Option<&'static str>>>,
}

impl Expected {
    /// The model that answered so far, where one did.
    pub(super) fn of(model: Option<String>) -> Expected {
        Expected { model: Rc::new(RefCell::new(model)), ..Expected::default() }
    }

    /// The same model at another endpoint, whose reasoning may come elsewhere.
    pub(super) fn at_an_endpoint(&self) -> Expected {
        Expected { model: self.model.clone(), ..Expected::default() }
    }

    /// Takes the model that an answer names.
    ///
    /// # Errors
    /// When those before named another: expected and found.
    pub(super) fn take_model(&self, found: &str) -> Result<(), String> {
        let mut model = self.model.borrow_mut();
        let expected = model.get_or_insert_with(|| found.to_owned());
        if expected == found {
            return Ok(());
        }
        Err(format!("expected answers of the model `{expected}`, found one of `{found}`{HINT}"))
    }

    /// Takes where an answer's reasoning comes.
    ///
    /// # Errors
    /// When it came elsewhere before: expected and found.
    pub(super) fn take_reasoning(&self, found: &'static str) -> Result<(), String> {
        let expected = self.reasoning.get().unwrap_or(found);
        self.reasoning.set(Some(expected));
        if expected == found {
            return Ok(());
        }
        Err(format!(
            "its reasoning came in {expected} so far, and comes in {found} now: the server was changed during the run\nhint: answers so far are kept; if it still is the same model, run the same command again"
        ))
    }
}
