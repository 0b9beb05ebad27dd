//! Tests that call a function. The solution answers calls in a cell of its own; what it returns is plain values, read
//! here. Expected values stay here. Assertions stay in a second cell, whose calls are passed on from here.

use super::{
    CheckTests, Judgement, Language, Outcome, Tests, Tolerance,
    judge::{Halt, Judge, file, judged, misery},
    text::{last_line, short},
    value::{Sent, Value},
};
use distill_sandbox::{Event, Job, Limits, Process, Stopped};
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
};

/// The solution's place among the processes.
const SOLUTION: usize = 0;
/// The assertions' place.
const CHECK: usize = 1;
/// Longest text of evidence.
const SHORT: usize = 200;

/// What a solution answers to a call.
enum Answer<'b> {
    /// A value.
    Value(Sent<'b>),
    /// A value, and what became of the arguments.
    Changed(Sent<'b>, Sent<'b>),
    /// Something that is no plain value.
    Opaque(String),
    /// An exception: its built-in classes, its message, the traceback's last line.
    Raised(Sent<'b>, Sent<'b>, String),
    /// Not an answer: somebody else wrote into the channel.
    Garbled,
}

impl<'b> Answer<'b> {
    /// An answer carries the word that its call carried, so that nothing written ahead or by the way is taken for one.
    fn read(frame: &'b [u8], token: [u8; 8]) -> Answer<'b> {
        let Some((b, rest)) = frame.split_first_chunk::<8>() else { return Answer::Garbled };
        let Some((kind, rest)) = rest.split_first().filter(|_| *b == token) else { return Answer::Garbled };
        let opaque = || Answer::Opaque("a value that is not plain".to_owned());
        match kind {
            b'V' => Sent::read(rest).map_or_else(opaque, Answer::Value),
            b'M' => match Sent::read(rest).map(Sent::tuple) {
                Some(Some([value, arguments])) => Answer::Changed(value, arguments),
                Some(None) => Answer::Garbled,
                None => opaque(),
            },
            b'U' => Answer::Opaque(short(&String::from_utf8_lossy(rest), SHORT)),
            b'X' => match Sent::read(rest).and_then(Sent::tuple) {
                Some([bases, message, trace]) => match (message.text(), trace.text()) {
                    (Some(_), Some(trace)) => Answer::Raised(bases, message, last_line(trace)),
                    _ => Answer::Garbled,
                },
                _ => Answer::Garbled,
            },
            _ => Answer::Garbled,
        }
    }

    /// Its value as it is shown, or what went wrong, as an outcome.
    fn value(self) -> Result<Sent<'b>, (Outcome, String)> {
        match self {
            Answer::Value(value) | Answer::Changed(value, _) => Ok(value),
            Answer::Opaque(what) => Err((Outcome::WrongAnswer, format!("it returned {what}"))),
            Answer::Raised(_, _, said) => Err((raised(&said), said)),
            Answer::Garbled => Err((Outcome::RuntimeError, "it wrote into the channel of its answers".to_owned())),
        }
    }
}

fn raised(said: &str) -> Outcome {
    if said.starts_with("MemoryError") { Outcome::Memory } else { Outcome::RuntimeError }
}

/// A word that nobody can guess.
fn token() -> [u8; 8] {
    RandomState::new().build_hasher().finish().to_le_bytes()
}

impl Judge {
    fn solution(&self, code: &str, argument: &str, limits: &Limits) -> Job {
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
        let (prelude, tolerance): (_, Option<Tolerance>) = match tests {
            Tests::Calls(tests) => ("calls", tests.tolerance),
            _ => ("calls+prelude", None),
        };
        let job = self.solution(code, prelude, limits);
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

    /// Runs assertions in one cell and the solution that they call in another.
    pub(super) fn check(&mut self, code: &str, tests: &CheckTests, limits: &Limits) -> Result<(), Halt> {
        let solution = self.solution(code, "calls", limits);
        let check = Job {
            start: self.python_start(format!("check:{}", tests.entry_point)),
            files: vec![
                file("setup.py", tests.starter.as_bytes().into(), false),
                file("check.py", tests.check.as_bytes().into(), false),
            ],
            ..solution.clone()
        };
        let worker = self.worker(Language::Python)?;
        let mut running = [worker.begin(&solution)?, worker.begin(&check)?];
        let mut relay = Relay::new(limits);
        let outcome = loop {
            let event = worker.next(&mut running)?;
            match relay.step(event, &mut running) {
                Ok(false) => {}
                Ok(true) => break Ok(()),
                Err(halt) => break Err(halt),
            }
        };
        end(worker, &mut running, outcome)
    }
}

/// Passes calls from assertions to a solution, and answers back.
struct Relay<'t> {
    limits: &'t Limits,
    loaded: bool,
    /// The call that waits for the solution to be loaded.
    waiting: Option<Vec<u8>>,
    /// The word of the call that waits for its answer.
    pending: Option<[u8; 8]>,
    calls: u64,
    /// The last call, as it is shown, and what it gave.
    last: (String, String),
    /// Whether that was no plain value.
    opaque: bool,
}

impl<'t> Relay<'t> {
    fn new(limits: &'t Limits) -> Relay<'t> {
        let last = (String::new(), String::new());
        Relay { limits, loaded: false, waiting: None, pending: None, calls: 0, last, opaque: false }
    }

    /// One event; true when the assertions held.
    fn step(&mut self, event: Event, running: &mut [Process; 2]) -> Result<bool, Halt> {
        match event {
            Event::Frame(SOLUTION, frame) if self.loaded => self.answer(&frame, running)?,
            Event::Frame(SOLUTION, _) | Event::Ended(SOLUTION) if !self.loaded => {
                loaded(event, &running[SOLUTION], self.limits)?;
                self.loaded = true;
                if let Some(frame) = self.waiting.take() {
                    running[SOLUTION].send(&[&frame]);
                }
            }
            Event::Frame(_, frame) => return self.asserted(&frame, running),
            Event::Ended(SOLUTION) => {
                let detail = |judgement: Judgement| {
                    let detail = format!("call {}, {}: {}", self.calls, self.last.0, judgement.detail);
                    Halt::Judged(Judgement { test: Some(1), detail, ..judgement })
                };
                return Err(gone(&running[SOLUTION], self.limits).map_or_else(|halt| halt, detail));
            }
            Event::Ended(_) => {
                let check = &running[CHECK];
                let why = misery(check.end()?, &check.stderr().bytes, self.limits);
                let why = why.map_or_else(|| "they ended without a word".to_owned(), |(_, detail)| detail);
                return Err(judged(Outcome::TestsFailure, format!("the assertions failed to run: {why}")));
            }
        }
        Ok(false)
    }

    fn asserted(&mut self, frame: &[u8], running: &mut [Process; 2]) -> Result<bool, Halt> {
        let (kind, rest) = frame.split_first().unwrap_or((&b'D', &[]));
        let said = || short(&String::from_utf8_lossy(rest), 2 * SHORT);
        match kind {
            b'C' => {
                let call = Sent::read(rest).and_then(Sent::tuple);
                let Some((name, arguments)) = call.and_then(|[name, arguments, _]| Some((name.text()?, arguments)))
                else {
                    return Err(judged(Outcome::TestsFailure, "the assertions made a call that is none".to_owned()));
                };
                let name = String::from_utf8_lossy(name);
                self.calls += 1;
                self.last = (format!("{name}{}", in_parentheses(arguments.short())), String::new());
                let token = token();
                let frame = [&token[..], rest].concat();
                self.pending = Some(token);
                if self.loaded {
                    running[SOLUTION].send(&[&frame]);
                } else {
                    self.waiting = Some(frame);
                }
                Ok(false)
            }
            // Assertions that ask nothing prove nothing.
            b'P' if self.calls == 0 => {
                Err(judged(Outcome::TestsFailure, "the assertions never called the solution".to_owned()))
            }
            b'P' => Ok(true),
            b'A' | b'X' => {
                let text = said();
                let outcome = match kind {
                    b'X' if text.contains("MemoryError") => Outcome::Memory,
                    b'X' if !self.opaque => Outcome::RuntimeError,
                    _ => Outcome::WrongAnswer,
                };
                let (call, got) = std::mem::take(&mut self.last);
                let (line, error) = text.split_once('⏎').unwrap_or(("", &text));
                let detail = format!("call {}, {call}: {error}", self.calls);
                let judgement = Judgement::new(outcome, 0, short(&detail, 2 * SHORT));
                Err(Halt::Judged(Judgement { test: Some(1), expected: short(line, SHORT), got, ..judgement }))
            }
            _ => Err(judged(Outcome::TestsFailure, format!("the assertions cannot be used: {}", said()))),
        }
    }

    fn answer(&mut self, frame: &[u8], running: &mut [Process; 2]) -> Result<(), Halt> {
        let garbled = || judged(Outcome::RuntimeError, "it wrote into the channel of its answers".to_owned());
        let token = self.pending.take().ok_or_else(garbled)?;
        self.opaque = false;
        let pair = |kind: u8, a: &[u8], b: &[u8]| [&[kind, b'(', 2, 0, 0, 0][..], a, b].concat();
        let reply = match Answer::read(frame, token) {
            Answer::Garbled => return Err(garbled()),
            Answer::Value(value) => {
                self.last.1 = value.short();
                [b"V", value.bytes()].concat()
            }
            Answer::Changed(value, arguments) => {
                self.last.1 = value.short();
                pair(b'M', value.bytes(), arguments.bytes())
            }
            Answer::Opaque(what) => {
                self.opaque = true;
                self.last.1.clone_from(&what);
                let mut reply = vec![b'X'];
                let text = |text: String| Value::Text(text.into_bytes());
                let error = [Value::List(vec![text("TypeError".to_owned())]), text(format!("it returned {what}"))];
                Value::Tuple(error.to_vec()).marshal(&mut reply);
                reply
            }
            Answer::Raised(bases, message, said) => {
                self.last.1 = said;
                pair(b'X', bases.bytes(), message.bytes())
            }
        };
        running[CHECK].send(&[&reply]);
        Ok(())
    }
}

/// The first thing a solution says: that it could be loaded, or why not.
fn loaded(event: Event, process: &Process, limits: &Limits) -> Result<(), Halt> {
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
fn gone(process: &Process, limits: &Limits) -> Result<Judgement, Halt> {
    let end = process.end()?;
    let (outcome, detail) = misery(end, &process.stderr().bytes, limits)
        .unwrap_or((Outcome::RuntimeError, "it ended before it had answered, with exit status 0".to_owned()));
    Ok(Judgement::new(outcome, 0, detail))
}

/// Ends what still runs. What was judged stands, unless the solution passed a limit meanwhile.
fn end(worker: &mut distill_sandbox::Worker, running: &mut [Process], outcome: Result<(), Halt>) -> Result<(), Halt> {
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
