//! Assertions about a function. They run in a cell of their own, the solution in another, and what they ask of each other is
//! passed on from here: plain data alone, and what the solution says only where it is its turn. `peer.py` is both ends.

use super::{
    CheckTests, Judgement, Language, Outcome,
    calls::{SOLUTION, end, gone, loaded, raised, token},
    judge::{Halt, Judge, file, judged, misery},
    text::{short, short_bytes},
    value::Sent,
};
use distill_sandbox::{Event, Job, Limits, Process, Stopped};

/// The assertions' place among the processes.
const CHECK: usize = 1;
/// Longest text of evidence.
const SHORT: usize = 200;

impl Judge {
    /// Runs assertions in one cell and the solution that they call in another.
    pub(super) fn check(&mut self, code: &str, tests: &CheckTests, limits: &Limits) -> Result<(), Halt> {
        let solution = self.solution(code, "solve", limits);
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
        let mut relay = Relay { limits, loaded: false, waiting: None, pending: None, calls: 0, call: String::new() };
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

/// Passes messages between assertions and a solution.
struct Relay<'t> {
    limits: &'t Limits,
    loaded: bool,
    /// The message that waits for the solution to be loaded.
    waiting: Option<Vec<u8>>,
    /// The word of the message whose answer is due from the solution.
    pending: Option<[u8; 8]>,
    calls: u64,
    /// The last call, as it is shown.
    call: String,
}

impl Relay<'_> {
    /// One event; true when the assertions held.
    fn step(&mut self, event: Event, running: &mut [Process; 2]) -> Result<bool, Halt> {
        match event {
            Event::Frame(SOLUTION, frame) if self.loaded => self.answered(&frame, running)?,
            Event::Frame(SOLUTION, _) | Event::Ended(SOLUTION) if !self.loaded => {
                loaded(event, &running[SOLUTION], self.limits)?;
                self.loaded = true;
                if let Some(message) = self.waiting.take() {
                    self.ask(&message, running);
                }
            }
            Event::Frame(_, frame) => return self.asserted(&frame, running),
            // It waited for assertions that asked nothing.
            Event::Ended(SOLUTION) if self.calls == 0 && self.pending.is_none() && ran_out(&running[SOLUTION])? => {
                let detail = "the assertions failed to run: they took too long before the first call".to_owned();
                return Err(judged(Outcome::TestsFailure, detail));
            }
            Event::Ended(SOLUTION) => {
                let call = self.told();
                let detail = |judgement: Judgement| {
                    let detail = format!("{call}: {}", judgement.detail);
                    Halt::Judged(Judgement { test: Some(1), detail, ..judgement })
                };
                return Err(gone(&running[SOLUTION], self.limits).map_or_else(|halt| halt, detail));
            }
            Event::Ended(_) => return Err(self.assertions_ended(&running[CHECK])),
        }
        Ok(false)
    }

    fn told(&self) -> String {
        format!("call {}, {}", self.calls, self.call)
    }

    /// Assertions that end without a word are at fault, unless they were given something and came to a limit with it: the
    /// tests are made for what is right.
    fn assertions_ended(&self, check: &Process) -> Halt {
        let end = match check.end() {
            Ok(end) => end,
            Err(error) => return error.into(),
        };
        match misery(end, &check.stderr().bytes, self.limits) {
            Some((outcome @ (Outcome::Time | Outcome::Memory | Outcome::Output), detail)) if self.calls > 0 => {
                let detail = format!("{}: the assertions came to a limit with what it gave: {detail}", self.told());
                Halt::Judged(Judgement { test: Some(1), ..Judgement::new(outcome, 0, short(&detail, 2 * SHORT)) })
            }
            why => {
                let why = why.map_or_else(|| "they ended without a word".to_owned(), |(_, detail)| detail);
                judged(Outcome::TestsFailure, format!("the assertions failed to run: {why}"))
            }
        }
    }

    fn ask(&mut self, message: &[u8], running: &mut [Process; 2]) {
        let token = token();
        self.pending = Some(token);
        running[SOLUTION].send(&[&token, message]);
    }

    fn asserted(&mut self, frame: &[u8], running: &mut [Process; 2]) -> Result<bool, Halt> {
        let (kind, rest) = frame.split_first().unwrap_or((&b'D', &[]));
        if *kind == b'C' {
            let message = Sent::read(rest)
                .and_then(Sent::tuple::<6>)
                .ok_or_else(|| judged(Outcome::TestsFailure, "the assertions said what is no message".to_owned()))?;
            if message[0].text() == Some(b"call") {
                self.calls += 1;
                let shown = message[1].tuple::<4>().and_then(|[shown, ..]| shown.text());
                self.call = short_bytes(shown.unwrap_or_default(), SHORT);
            }
            if self.loaded {
                self.ask(rest, running);
            } else {
                self.waiting = Some(rest.to_vec());
            }
            return Ok(false);
        }
        let told = Sent::read(rest).and_then(Sent::tuple::<3>);
        let [line, said, got] = told.map_or([""; 3].map(str::to_owned), |texts| {
            texts.map(|text| String::from_utf8_lossy(text.text().unwrap_or_default()).into_owned())
        });
        let outcome = match kind {
            // Assertions that ask nothing prove nothing.
            b'P' if self.calls == 0 => {
                return Err(judged(Outcome::TestsFailure, "the assertions never called the solution".to_owned()));
            }
            b'P' => return Ok(true),
            b'X' => raised(&said),
            b'A' if said.starts_with("MemoryError") => Outcome::Memory,
            b'A' => Outcome::WrongAnswer,
            _ => {
                let why = format!("the assertions cannot be used: {}", last(&said));
                return Err(judged(Outcome::TestsFailure, short(&why, 2 * SHORT)));
            }
        };
        let detail = if self.calls > 0 { format!("{}: {said}", self.told()) } else { said };
        let judgement = Judgement::new(outcome, 0, short(&detail, 2 * SHORT));
        let (expected, got) = (short(&line, SHORT), short(&got, SHORT));
        Err(Halt::Judged(Judgement { test: Some(1), expected, got, ..judgement }))
    }

    fn answered(&mut self, frame: &[u8], running: &mut [Process; 2]) -> Result<(), Halt> {
        let message = self.pending.take().and_then(|token| frame.strip_prefix(&token[..]));
        let message = message.filter(|message| Sent::read(message).and_then(Sent::tuple::<6>).is_some());
        match message {
            Some(message) => running[CHECK].send(&[message]),
            None => {
                let detail = format!("{}: it wrote into the channel of its answers", self.told());
                return Err(judged(Outcome::RuntimeError, detail));
            }
        }
        Ok(())
    }
}

/// Whether a process was stopped for the time that passed, not for what it did.
fn ran_out(process: &Process) -> Result<bool, Halt> {
    Ok(process.end()?.stopped == Some(Stopped::Wall))
}

/// The last line that says something.
fn last(text: &str) -> &str {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("")
}
