//! Lines in, lines out: in order, in parallel, as they come. A line that is no text or too long is answered with an
//! error and the rest goes on. Memory is bounded by the batches in flight.

use anyhow::{Context, Result};
use std::{
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

/// What came through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lines with something on them.
    pub lines: u64,
    /// Lines that were answered with an error.
    pub errors: u64,
}

/// Consecutive lines with their numbers, the first is 1: where their text is, or why there is none.
struct Batch {
    place: u64,
    text: String,
    lines: Vec<(u64, Result<Range<usize>, &'static str>)>,
}

struct Answers {
    place: u64,
    text: String,
    tally: Tally,
}

/// Answers every line of `input` that is not blank on `output`. `answer` gets its number and its text, or why there is
/// none, and returns a line; as an error, one that says what is wrong.
///
/// # Errors
/// When reading or writing fails. A reader of `output` that went away ends the work and is no error.
pub fn answer_lines(
    pace: Pace,
    input: impl Read + Send + 'static,
    output: &mut impl Write,
    answer: impl Fn(u64, Result<&str, &str>) -> Result<String, String> + Send + Sync + 'static,
) -> Result<Tally> {
    let waiting = 4 * pace.threads.get();
    let (to_workers, batches) = mpsc::sync_channel(waiting);
    let (to_writer, answers) = mpsc::sync_channel(waiting);
    // The threads are not waited for: where nobody reads the output any more, one may be waiting for input for ever.
    let reader = thread::spawn(move || read(input, pace.batch.get(), &to_workers));
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
    let Some((tally, written)) = write(answers, output)? else { return Ok(Tally::default()) };
    match reader.join() {
        Ok(outcome) => {
            let read = outcome.context("cannot read standard input")?;
            anyhow::ensure!(read == written, "{read} batches of lines were read, and {written} answered");
        }
        Err(_) => anyhow::bail!("reading standard input ended in a panic"),
    }
    Ok(tally)
}

fn work(batch: &Batch, answer: impl Fn(u64, Result<&str, &str>) -> Result<String, String>) -> Answers {
    let (mut text, mut tally) = (String::new(), Tally::default());
    for (number, line) in &batch.lines {
        tally.lines += 1;
        let line = line.clone().map(|range| &batch.text[range]);
        // Whatever happens to one line, it is answered, and so are the others.
        let answered = panic::catch_unwind(AssertUnwindSafe(|| answer(*number, line)));
        let answered = answered.unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            let error = format!("judging this line ended in a panic: {}", said.unwrap_or("without a word"));
            Err(super::wrong(line, *number, &error))
        });
        let answered = answered.unwrap_or_else(|wrong| {
            tally.errors += 1;
            wrong
        });
        text.push_str(&answered);
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
        let mut batch = Batch { place, text: String::new(), lines: Vec::new() };
        // Blank lines count here too, so that an endless run of them is noticed to be unwanted.
        for _ in 0..most {
            let Some(fits) = next_line(&mut input, &mut bytes)? else {
                ended = true;
                break;
            };
            number += 1;
            if !fits {
                batch.lines.push((number, Err("expected a line of at most 16 MiB, found a longer one")));
            } else if !bytes.trim_ascii().is_empty() {
                let line = std::str::from_utf8(&bytes).map_err(|_| "expected UTF-8, found other bytes").map(|line| {
                    let start = batch.text.len();
                    batch.text.push_str(line);
                    start..batch.text.len()
                });
                batch.lines.push((number, line));
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
                Ok(format!("{number} {line}", line = line.trim()))
            }
            Err(wrong) => Err(format!("{number} {wrong}")),
        });
        (String::from_utf8(output).expect("text"), tally.expect("a tally"))
    }

    #[test]
    fn answers_keep_the_order_of_the_lines_and_bad_lines_cost_one_answer() {
        for batch in [1, 2, 64] {
            let (output, tally) = run(b"a\n\nb\n\xff\xfe\nc\n   \nd", batch);
            assert_eq!(output, "1 a\n3 b\n4 expected UTF-8, found other bytes\n5 c\n7 d\n", "batches of {batch}");
            assert_eq!(tally, Tally { lines: 5, errors: 1 });
        }
    }

    #[test]
    fn a_line_that_panics_is_answered_with_its_id_and_counted() {
        let input = b"{\"id\": \"a\"}\n{\"id\": \"b\"}\n{\"id\": \"c\"}\n";
        for (threads, batch) in [(1, 1), (1, 8), (3, 1)] {
            let count = |n| NonZeroUsize::new(n).expect("not zero");
            let pace = Pace { threads: count(threads), batch: count(batch) };
            let mut output = Vec::new();
            let tally = answer_lines(pace, &input[..], &mut output, |number, _| {
                assert!(number != 2, "it went wrong");
                Ok(number.to_string())
            });
            let output = String::from_utf8(output).expect("text");
            let lines: Vec<&str> = output.lines().collect();
            assert_eq!((lines.len(), lines[0], lines[2]), (3, "1", "3"), "{output}");
            assert!(lines[1].contains(r#""id":"b""#) && lines[1].contains("it went wrong"), "{output}");
            assert_eq!(tally.expect("a tally"), Tally { lines: 3, errors: 1 });
        }
    }

    #[test]
    fn a_line_without_end_is_skipped_without_being_held() {
        let mut long = vec![b'x'; MAX_LINE + 5];
        long.extend(b"\nnext\n");
        let (output, tally) = run(Box::leak(long.into_boxed_slice()), 8);
        assert_eq!(output, "1 expected a line of at most 16 MiB, found a longer one\n2 next\n");
        assert_eq!(tally, Tally { lines: 2, errors: 1 });
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
        let tally = answer_lines(pace, input, &mut Gone, |_, line| Ok(line.unwrap_or_default().to_owned()));
        assert_eq!(tally.expect("no error"), Tally::default());
    }
}
