//! Verdicts on single traces, by the rules of the filter `verify`: for who buys samples of a problem until it is settled.

use crate::{
    FilterError, Verified,
    verify::{compared, judged, run_tests},
};
use distill_dataset::{Journal, Problem, Reference, Trace, Verdict};
use distill_verify::{
    Policy,
    code::{Judges, Language},
};
use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

/// Who judges single traces.
pub struct Verdicts {
    policy: Policy,
    programs: Option<Programs>,
}

/// Tests that are run once, and what they said.
struct Programs {
    judges: Judges,
    said: Mutex<Journal<Verified>>,
}

impl Verdicts {
    /// By these conventions; what has tests is unknown.
    pub fn new(policy: Policy) -> Verdicts {
        Verdicts { policy, programs: None }
    }

    /// The same, with somebody who runs tests. What they say is kept in `dir`, so that no program runs twice, whoever asks: it
    /// has to be a folder of those tools and limits alone.
    ///
    /// # Errors
    /// When the sandbox cannot be had here, or the folder cannot be read.
    pub fn running(self, judges: Judges, dir: &Path) -> Result<Verdicts, FilterError> {
        if judges.options().tools.has(Language::Python) {
            judges.prepare(Language::Python)?;
        }
        let said = Mutex::new(Journal::open(dir)?);
        Ok(Verdicts { programs: Some(Programs { judges, said }), ..self })
    }

    /// The verdict on a problem's trace; unknown where it has tests and nobody runs them.
    pub fn of(&self, problem: &Problem, trace: &Trace) -> Verdict {
        let turn = trace.format.turn(&trace.text);
        if let (Reference::Tests, Some(programs)) = (problem.reference, &self.programs) {
            return programs.verdict(problem, trace, &turn);
        }
        let asked = (problem.reference, problem.messages.as_slice(), problem.answer.as_str());
        match judged(&trace.format, &turn, asked, &self.policy) {
            Ok(Some(judgement)) => compared(&trace.id, judgement, &problem.answer).verdict,
            _ => Verdict::Unknown,
        }
    }
}

impl Programs {
    fn verdict(&self, problem: &Problem, trace: &Trace, turn: &str) -> Verdict {
        let journal = || self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(Some(said)) = journal().get(&trace.id) {
            return said.verdict;
        }
        let said = run_tests(&trace.id, (&trace.format, turn), &problem.answer, &self.judges);
        // Where it cannot be kept, the tests run again; a disk that is full is told by those who keep answers.
        let _ = journal().append(&said);
        said.verdict
    }
}
