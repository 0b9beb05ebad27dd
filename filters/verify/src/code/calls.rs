//! Tests that call a function. The solution answers calls in a cell of its own; what it returns is plain values, read
//! here. Expected values stay here.

use super::{
    Judgement, Language, Outcome, Tests, Tolerance,
    judge::{Halt, Judge, PER_TEST_MS, file, judged, misery},
    text::{last_line, short_bytes},
    value::{Sent, Value},
};
use distill_sandbox::{Event, Job, Limits, Process, Stopped};
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
};

/// The solution's place among the processes.
pub(super) const SOLUTION: usize = 0;
/// Longest text of evidence.
const SHORT: usize = 200;

/// What a solution answers to a call.
enum Answer<'b> {
    /// A value.
    Value(Sent<'b>),
    /// Something that is no plain value.
    Opaque(String),
    /// An exception: the traceback's last line.
    Raised(String),
    /// Not an answer: somebody else wrote into the channel.
    Garbled,
}

impl<'b> Answer<'b> {
    /// An answer carries the word that its call carried, so that nothing written ahead or by the way is taken for one.
    fn read(frame: &'b [u8], token: [u8; 8]) -> Answer<'b> {
        let Some((b, rest)) = frame.split_first_chunk::<8>() else { return Answer::Garbled };
        let Some((kind, rest)) = rest.split_first().filter(|_| *b == token) else { return Answer::Garbled };
        match kind {
            b'V' => {
                Sent::read(rest).map_or_else(|| Answer::Opaque("a value that is not plain".to_owned()), Answer::Value)
            }
            b'U' => Answer::Opaque(short_bytes(rest, SHORT)),
            b'X' => Answer::Raised(last_line(rest)),
            _ => Answer::Garbled,
        }
    }

    /// Its value as it is shown, or what went wrong, as an outcome.
    fn value(self) -> Result<Sent<'b>, (Outcome, String)> {
        match self {
            Answer::Value(value) => Ok(value),
            Answer::Opaque(what) => Err((Outcome::WrongAnswer, format!("it returned {what}"))),
            Answer::Raised(said) => Err((raised(&said), said)),
            Answer::Garbled => Err((Outcome::RuntimeError, "it wrote into the channel of its answers".to_owned())),
        }
    }
}

pub(super) fn raised(said: &str) -> Outcome {
    if said.starts_with("MemoryError") { Outcome::Memory } else { Outcome::RuntimeError }
}

/// A word that nobody can guess.
pub(super) fn token() -> [u8; 8] {
    RandomState::new().build_hasher().finish().to_le_bytes()
}

impl Judge {
    pub(super) fn solution(&self, code: &str, argument: &str, limits: &Limits) -> Job {
        Job {
            start: self.python_start(argument.to_owned()),
            limits: *limits,
            stdin: Arc::from([]),
            files: vec![file("main.py", code.as_bytes().into(), false)],
            channel: true,
            collect: None,
        }
    }

    /// Calls a function with arguments, and compares what it returns.
    pub(super) fn calls(&mut self, code: &str, tests: &Tests, limits: &Limits) -> Result<(), Halt> {
        let (Some(function), Ok(cases)) = (tests.starter().1, tests.calls()) else {
            return Err(judged(Outcome::TestsFailure, "the tests' arguments or results are not JSON".to_owned()));
        };
        let (start, tolerance): (_, Option<Tolerance>) = match tests {
            Tests::Calls(tests) => ("calls".to_owned(), tests.tolerance),
            // LiveCodeBench gives every call its time.
            _ if tests.limits().cpu_seconds.is_none() => (format!("calls+prelude:{}", self.scaled(PER_TEST_MS)), None),
            _ => ("calls+prelude".to_owned(), None),
        };
        let job = self.solution(code, &start, limits);
        let worker = self.worker(Language::Python)?;
        let mut running = [worker.begin(&job)?];
        let outcome = (|| -> Result<(), Halt> {
            loaded(worker.next(&mut running)?, &running[SOLUTION], limits)?;
            for (index, (arguments, expected)) in cases.into_iter().enumerate() {
                let place = |judgement: Judgement| {
                    Halt::Judged(Judgement { test: Some(index as u64 + 1), passed: index as u64, ..judgement })
                };
                let shown = format!("{function}{}", in_parentheses(arguments.short()));
                let token = token();
                running[SOLUTION].send(&[&token, &call(function, arguments)]);
                let frame;
                let answer = match worker.next(&mut running)? {
                    Event::Frame(_, sent) => {
                        frame = sent;
                        Answer::read(&frame, token)
                    }
                    Event::Ended(_) => return Err(gone(&running[SOLUTION], limits).map_or_else(|halt| halt, place)),
                };
                match answer.value() {
                    Ok(got) if expected.accepts(got, tolerance.as_ref()) => {}
                    Ok(got) => {
                        let judgement = Judgement::new(Outcome::WrongAnswer, 0, format!("{shown} differs"));
                        return Err(place(Judgement { expected: expected.short(), got: got.short(), ..judgement }));
                    }
                    Err((outcome, detail)) => {
                        let judgement = Judgement::new(outcome, 0, format!("{shown}: {detail}"));
                        return Err(place(Judgement { expected: expected.short(), ..judgement }));
                    }
                }
            }
            Ok(())
        })();
        end(worker, &mut running, outcome)
    }
}

/// The first thing a solution says: that it could be loaded, or why not.
pub(super) fn loaded(event: Event, process: &Process, limits: &Limits) -> Result<(), Halt> {
    let Event::Frame(_, frame) = event else {
        return Err(gone(process, limits).map_or_else(|halt| halt, Halt::Judged));
    };
    let said = || last_line(frame.get(1..).unwrap_or_default());
    match frame.first() {
        Some(b'L') if frame.len() == 1 => Ok(()),
        Some(b'S') => Err(judged(Outcome::CompileError, said())),
        Some(b'X') => Err(judged(raised(&said()), said())),
        _ => Err(judged(Outcome::RuntimeError, "it wrote into the channel of its answers".to_owned())),
    }
}

/// A solution that ended before it was asked to.
pub(super) fn gone(process: &Process, limits: &Limits) -> Result<Judgement, Halt> {
    let end = process.end()?;
    let (outcome, detail) = misery(end, &process.stderr().bytes, limits)
        .unwrap_or((Outcome::RuntimeError, "it ended before it had answered, with exit status 0".to_owned()));
    Ok(Judgement::new(outcome, 0, detail))
}

/// Ends what still runs. What was judged stands, unless the solution passed a limit meanwhile.
pub(super) fn end(
    worker: &mut distill_sandbox::Worker,
    running: &mut [Process],
    outcome: Result<(), Halt>,
) -> Result<(), Halt> {
    for process in running.iter_mut() {
        worker.stop(process, Stopped::Asked)?;
    }
    while running.iter().any(|process| !process.has_ended()) {
        worker.next(running)?;
    }
    outcome
}

fn call(function: &str, arguments: Value) -> Vec<u8> {
    let mut frame = Vec::new();
    let name = Value::Text(function.as_bytes().to_vec());
    Value::Tuple(vec![name, arguments, Value::Dict(Vec::new())]).marshal(&mut frame);
    frame
}

/// Arguments as they are written in a call, cut.
fn in_parentheses(text: String) -> String {
    let inner = text.strip_prefix(['[', '(']).unwrap_or(&text);
    format!("({})", inner.strip_suffix([']', ')']).unwrap_or(inner).trim_end_matches(','))
}
