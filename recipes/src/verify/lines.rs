//! Lines in, lines out: in order, in parallel, as they come. A line that is no text or too long is answered with an
//! error and the rest goes on. Memory is bounded by the batches in flight.

use super::Lines;
use anyhow::{Context, Result};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    num::NonZeroUsize,
    ops::Range,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

/// Longer lines are not read, in bytes.
const MAX_LINE: usize = 16 << 20;
/// A batch ends at this size, in bytes, however few lines it has.
const MAX_BATCH: usize = 1 << 20;
/// How much is read at once, in bytes.
const BUFFER: usize = 256 << 10;

/// How lines are worked on.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Threads that work on them.
    pub threads: NonZeroUsize,
    /// Lines handed to a thread at once, if so many are there: 1 where a line is slow, many where it is quick.
    pub batch: NonZeroUsize,
}

impl Pace {
    /// On so many threads; on all cores by default.
    pub fn of(threads: Option<NonZeroUsize>, batch: NonZeroUsize) -> Pace {
        let threads = threads.or(thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
        Pace { threads, batch }
    }
}

/// What became of a line.
pub struct Answered {
    /// The line that answers it.
    pub text: String,
    /// Its verdict's name.
    pub verdict: &'static str,
}

/// What came through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lines with something on them.
    pub lines: u64,
    /// Lines that were answered with an error.
    pub errors: u64,
    /// The others, by verdict.
    pub verdicts: BTreeMap<&'static str, u64>,
}

/// Why a line has no text.
type Unread = Cow<'static, str>;

/// Consecutive lines with their numbers, the first is 1: where their text is, or why there is none.
struct Batch {
    place: u64,
    text: String,
    lines: Vec<(u64, Result<Range<usize>, Unread>)>,
}

impl Batch {
    fn new(place: u64) -> Batch {
        Batch { place, text: String::new(), lines: Vec::new() }
    }

    fn push(&mut self, number: u64, line: Result<&str, Unread>) {
        let line = line.map(|line| {
            let start = self.text.len();
            self.text.push_str(line);
            start..self.text.len()
        });
        self.lines.push((number, line));
    }
}

struct Answers {
    place: u64,
    text: String,
    tally: Tally,
}

/// Answers every line of `input` that is not blank on `output`. `answer` gets its number and its text, or why there is
/// none, and returns a line; as an error, one that says what is wrong. Nothing comes back where nobody reads the output any
/// more, which ends the work and is no error.
///
/// # Errors
/// When reading or writing fails.
pub fn answer_lines(
    pace: Pace,
    input: impl Read + Send + 'static,
    output: &mut impl Write,
    answer: impl Fn(u64, Result<&str, &str>) -> Result<Answered, String> + Send + Sync + 'static,
) -> Result<Option<Tally>> {
    let read = move |to_workers: &_| read(input, pace.batch.get(), to_workers).context("cannot read standard input");
    answer_batches(pace, read, output, answer)
}

/// As [`answer_lines`], of lines that come with their numbers from somewhere else.
///
/// # Errors
/// When writing fails, or what `lines` says.
pub fn answer_each(
    pace: Pace,
    lines: Lines,
    output: &mut impl Write,
    answer: impl Fn(u64, Result<&str, &str>) -> Result<Answered, String> + Send + Sync + 'static,
) -> Result<Option<Tally>> {
    let read = move |to_workers: &mpsc::SyncSender<Batch>| {
        let mut batch = Batch::new(0);
        for line in lines {
            let (number, line) = line?;
            batch.push(number, line.as_deref().map_err(|wrong| Cow::Owned(wrong.clone())));
            if batch.lines.len() >= pace.batch.get() || batch.text.len() >= MAX_BATCH {
                let next = Batch::new(batch.place + 1);
                let full = std::mem::replace(&mut batch, next);
                if to_workers.send(full).is_err() {
                    return Ok(batch.place);
                }
            }
        }
        let place = batch.place + 1;
        // Nobody takes it where writing ended early.
        let _ = to_workers.send(batch);
        Ok(place)
    };
    answer_batches(pace, read, output, answer)
}

fn answer_batches(
    pace: Pace,
    read: impl FnOnce(&mpsc::SyncSender<Batch>) -> Result<u64> + Send + 'static,
    output: &mut impl Write,
    answer: impl Fn(u64, Result<&str, &str>) -> Result<Answered, String> + Send + Sync + 'static,
) -> Result<Option<Tally>> {
    let waiting = 4 * pace.threads.get();
    let (to_workers, batches) = mpsc::sync_channel(waiting);
    let (to_writer, answers) = mpsc::sync_channel(waiting);
    // The threads are not waited for: where nobody reads the output any more, one may be waiting for input for ever.
    let reader = thread::spawn(move || read(&to_workers));
    let (batches, answer) = (Arc::new(Mutex::new(batches)), Arc::new(answer));
    for _ in 0..pace.threads.get() {
        let (batches, answer, to_writer) = (Arc::clone(&batches), Arc::clone(&answer), to_writer.clone());
        thread::spawn(move || {
            loop {
                let next = batches.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(batch) = next else { return };
                if to_writer.send(work(&batch, &*answer)).is_err() {
                    return;
                }
            }
        });
    }
    drop(to_writer);
    let Some((tally, written)) = write(answers, output)? else { return Ok(None) };
    match reader.join() {
        Ok(outcome) => {
            let read = outcome?;
            anyhow::ensure!(read == written, "{read} batches of lines were read, and {written} answered");
        }
        Err(_) => anyhow::bail!("reading lines ended in a panic"),
    }
    Ok(Some(tally))
}

fn work(batch: &Batch, answer: impl Fn(u64, Result<&str, &str>) -> Result<Answered, String>) -> Answers {
    let (mut text, mut tally) = (String::new(), Tally::default());
    for (number, line) in &batch.lines {
        tally.lines += 1;
        let line = line.as_ref().map(|range| &batch.text[range.clone()]).map_err(AsRef::as_ref);
        // Whatever happens to one line, it is answered, and so are the others.
        let answered = panic::catch_unwind(AssertUnwindSafe(|| answer(*number, line)));
        let answered = answered.unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            let error = format!("judging this line ended in a panic: {}", said.unwrap_or("without a word"));
            Err(super::wrong(line, *number, &error))
        });
        match answered {
            Ok(answered) => {
                *tally.verdicts.entry(answered.verdict).or_default() += 1;
                text.push_str(&answered.text);
            }
            Err(wrong) => {
                tally.errors += 1;
                text.push_str(&wrong);
            }
        }
        text.push('\n');
    }
    Answers { place: batch.place, text, tally }
}

/// Writes answers in order, and says what they were and how many batches; nothing where nobody reads them any more.
fn write(answers: mpsc::Receiver<Answers>, output: &mut impl Write) -> Result<Option<(Tally, u64)>> {
    let (mut next, mut early, mut total) = (0, BTreeMap::new(), Tally::default());
    for Answers { place, text, tally } in answers {
        total.lines += tally.lines;
        total.errors += tally.errors;
        for (verdict, count) in tally.verdicts {
            *total.verdicts.entry(verdict).or_default() += count;
        }
        early.insert(place, text);
        while let Some(text) = early.remove(&next) {
            next += 1;
            match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
                Err(gone) if gone.kind() == ErrorKind::BrokenPipe => return Ok(None),
                outcome => outcome.context("cannot write to standard output")?,
            }
        }
    }
    Ok(Some((total, next)))
}

/// Hands lines over: in full batches while there are many, one by one while somebody types.
/// How many batches they were is returned.
fn read(input: impl Read, most: usize, to_workers: &mpsc::SyncSender<Batch>) -> std::io::Result<u64> {
    let mut input = BufReader::with_capacity(BUFFER, input);
    let (mut place, mut number, mut ended) = (0, 0, false);
    let mut bytes = Vec::new();
    while !ended {
        let mut batch = Batch::new(place);
        // Blank lines count here too, so that an endless run of them is noticed to be unwanted.
        for _ in 0..most {
            let Some(fits) = next_line(&mut input, &mut bytes)? else {
                ended = true;
                break;
            };
            number += 1;
            if !fits {
                batch.push(number, Err("expected a line of at most 16 MiB, found a longer one".into()));
            } else if !bytes.trim_ascii().is_empty() {
                batch.push(number, std::str::from_utf8(&bytes).map_err(|_| "expected UTF-8, found other bytes".into()));
            }
            // What is here already is gone through; nobody waits for an answer until the next line has come.
            if batch.text.len() >= MAX_BATCH || !input.buffer().contains(&b'\n') {
                break;
            }
        }
        place += 1;
        if to_workers.send(batch).is_err() {
            break;
        }
    }
    Ok(place)
}

/// The next line into `line`; false where it is too long and was skipped, nothing at the end.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<Option<bool>> {
    line.clear();
    let mut limited = input.take(MAX_LINE as u64 + 1);
    if limited.read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    if line.len() <= MAX_LINE || line.ends_with(b"\n") {
        return Ok(Some(true));
    }
    line.clear();
    input.skip_until(b'\n')?;
    Ok(Some(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(input: &'static [u8], batch: usize) -> (String, Tally) {
        let pace =
            Pace { threads: NonZeroUsize::new(3).expect("three"), batch: NonZeroUsize::new(batch).expect("not zero") };
        let mut output = Vec::new();
        let tally = answer_lines(pace, input, &mut output, |number, line| match line {
            // Later lines are quicker, so that they overtake where they can.
            Ok(line) => {
                thread::sleep(std::time::Duration::from_millis(20 / number));
                Ok(said(format!("{number} {line}", line = line.trim())))
            }
            Err(wrong) => Err(format!("{number} {wrong}")),
        });
        (String::from_utf8(output).expect("text"), tally.expect("no error").expect("a reader"))
    }

    fn said(text: String) -> Answered {
        Answered { text, verdict: "equal" }
    }

    fn tally(lines: u64, errors: u64) -> Tally {
        let verdicts = [("equal", lines - errors)].into_iter().filter(|(_, count)| *count > 0);
        Tally { lines, errors, verdicts: verdicts.collect() }
    }

    #[test]
    fn answers_keep_the_order_of_the_lines_and_bad_lines_cost_one_answer() {
        for batch in [1, 2, 64] {
            let (output, told) = run(b"a\n\nb\n\xff\xfe\nc\n   \nd", batch);
            assert_eq!(output, "1 a\n3 b\n4 expected UTF-8, found other bytes\n5 c\n7 d\n", "batches of {batch}");
            assert_eq!(told, tally(5, 1));
        }
    }

    #[test]
    fn a_line_that_panics_is_answered_with_its_id_and_counted() {
        let input = b"{\"id\": \"a\"}\n{\"id\": \"b\"}\n{\"id\": \"c\"}\n";
        for (threads, batch) in [(1, 1), (1, 8), (3, 1)] {
            let count = |n| NonZeroUsize::new(n).expect("not zero");
            let pace = Pace { threads: count(threads), batch: count(batch) };
            let mut output = Vec::new();
            let told = answer_lines(pace, &input[..], &mut output, |number, _| {
                assert!(number != 2, "it went wrong");
                Ok(said(number.to_string()))
            });
            let output = String::from_utf8(output).expect("text");
            let lines: Vec<&str> = output.lines().collect();
            assert_eq!((lines.len(), lines[0], lines[2]), (3, "1", "3"), "{output}");
            assert!(lines[1].contains(r#""id":"b""#) && lines[1].contains("it went wrong"), "{output}");
            assert_eq!(told.expect("no error"), Some(tally(3, 1)));
        }
    }

    #[test]
    fn a_line_without_end_is_skipped_without_being_held() {
        let mut long = vec![b'x'; MAX_LINE + 5];
        long.extend(b"\nnext\n");
        let (output, told) = run(Box::leak(long.into_boxed_slice()), 8);
        assert_eq!(output, "1 expected a line of at most 16 MiB, found a longer one\n2 next\n");
        assert_eq!(told, tally(2, 1));
    }

    #[test]
    fn a_reader_that_went_away_ends_the_work() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let pace = Pace { threads: NonZeroUsize::MIN, batch: NonZeroUsize::MIN };
        let endless = std::io::repeat(b'\n').chain(std::io::empty());
        let input = (&b"a\n"[..]).chain(endless);
        let told = answer_lines(pace, input, &mut Gone, |_, line| Ok(said(line.unwrap_or_default().to_owned())));
        assert_eq!(told.expect("no error"), None);
    }

    #[test]
    fn lines_from_elsewhere_keep_their_numbers_and_what_cannot_be_read_ends_them() {
        let pace = |batch| Pace {
            threads: NonZeroUsize::new(2).expect("two"),
            batch: NonZeroUsize::new(batch).expect("not zero"),
        };
        let answer = |number, line: Result<&str, &str>| match line {
            Ok(line) => Ok(said(format!("{number} {line}"))),
            Err(wrong) => Err(format!("{number} {wrong}")),
        };
        for batch in [1, 2, 8] {
            let lines = || -> Lines {
                let line =
                    |number: u64| Ok((number, if number == 4 { Err("odd".to_owned()) } else { Ok("x".to_owned()) }));
                Box::new([2, 4, 4, 9].map(line).into_iter())
            };
            let mut output = Vec::new();
            let told = answer_each(pace(batch), lines(), &mut output, answer).expect("no error");
            assert_eq!(String::from_utf8(output).expect("text"), "2 x\n4 odd\n4 odd\n9 x\n");
            assert_eq!(told, Some(tally(4, 2)));
            let broken = Box::new(lines().chain([Err(anyhow::anyhow!("row group 3 is damaged"))]));
            let mut output = Vec::new();
            let error = answer_each(pace(batch), broken, &mut output, answer).expect_err("an error");
            assert!(error.to_string().contains("row group 3"), "{error}");
        }
    }
}
