//! Examples → tokens with their loss mask, once, before the first step: what cannot be trained on is left out, counted and
//! named here, not found out an hour later.
//!
//! Examples are read a batch at a time by a thread of their own, tokenised by all cores a few megabytes at a time, and
//! appended to the cache in their order. Memory does not grow with their number, but for the cache's index. A run that was
//! killed goes on after the cache's last commit.

use crate::{
    Answers, Overlong, TrainError, TrainingConfig,
    cache::{self, Cache, Found, Words, Writer},
    holdout::{Choice, Holdout},
    shuffle,
};
use distill_chat::{Chat, ChatError, TokenisedExample};
use distill_dataset::{Context, Dataset, Digest, Example, Interrupted};
use rayon::prelude::*;
use std::{io, sync::mpsc::sync_channel, thread};

/// Bytes of text that are tokenised together, and after which cancellation is looked at for certain.
const PIECE_BYTES: usize = 16 << 20;
/// One example in so many may be impossible to encode; where there are more, tokenizer or template are wrong, not the
/// examples. A single one is always left out.
const ONE_IN: u64 = 10;
/// Characters of what is said about an example that was left out.
const DETAIL_CHARS: usize = 500;

/// Reads and tokenises every example, or finds it done, or goes on where an earlier run was interrupted.
///
/// # Errors
/// When nothing is left to learn, more examples than one in ten cannot be encoded, the disk refuses, or a stop was asked
/// for.
pub(crate) fn load(
    examples: &[Dataset],
    chat: &Chat,
    config: &TrainingConfig,
    context: &Context,
) -> Result<Cache, TrainError> {
    let identity = identity(examples, chat, config, context.seed);
    let mut writer = match cache::open(&context.scratch, &identity)? {
        Found::Whole(cache) => return Ok(*cache),
        Found::Part(writer) => *writer,
    };
    let survey = survey(examples, config, context, &writer)?;
    tokenise(examples, chat, config, context, &survey, &mut writer)?;
    let extent = writer.extent();
    if extent.rows_out == 0 {
        let found = format!("expected at least one example, found none of {} usable", extent.rows_in);
        let first = extent.first_unencodable.as_ref().map_or(String::new(), |first| format!("\nthe first: {first}"));
        return Err(TrainError::Examples(format!(
            "{found}: {:?}{first}\nhint: `distill show RUN` tells why traces were dropped; `max-tokens` leaves out long ones",
            extent.rejected
        )));
    }
    if config.holdout_examples > 0 && extent.held_out == 0 {
        return Err(TrainError::Examples(format!(
            "expected held-out examples (`holdout-examples` = {}), found none usable: {:?}\nhint: hold out more, or let them be longer (`max-tokens`, `overlong`)",
            config.holdout_examples, extent.rejected
        )));
    }
    writer.finish()
}

/// Everything that decides the tokens.
fn identity(examples: &[Dataset], chat: &Chat, config: &TrainingConfig, seed: u64) -> String {
    let TrainingConfig { max_tokens, overlong, holdout_examples, answers, .. } = config;
    let mut digest = Digest::new("tokens-1");
    digest.field(chat.template_hash()).field(&chat.vocab_size().to_string()).field(&seed.to_string());
    digest.field(&format!("{max_tokens} {overlong:?} {holdout_examples} {answers:?}"));
    examples.iter().for_each(|dataset| {
        digest.field(&dataset.manifest.digest);
    });
    digest.finish()
}

/// What one look at all examples decides before they are tokenised.
struct Survey {
    holdout: Holdout,
    answers: Option<shuffle::Answers>,
}

fn survey(
    examples: &[Dataset],
    config: &TrainingConfig,
    context: &Context,
    writer: &Writer,
) -> Result<Survey, TrainError> {
    let mut choice = Choice::of(config.holdout_examples, context.seed);
    let shuffled = config.answers == Answers::Shuffled;
    let path = writer.beside("answers.tmp");
    let mut gathering = shuffled.then(|| shuffle::Gathering::begin(&path, context.seed)).transpose()?;
    if config.holdout_examples > 0 || shuffled {
        context.progress.begin("look through", num_rows(examples), "examples");
        let mut seen = 0;
        each_batch(examples, context, |rows| {
            context.progress.advance(seen, "");
            seen += rows.len() as u64;
            rows.iter().for_each(|row| choice.see(&row.problem_id));
            gathering.as_mut().map_or(Ok(()), |gathering| rows.iter().try_for_each(|row| gathering.see(row)))
        })?;
        context.progress.end();
    }
    let answers = gathering.map(shuffle::Gathering::finish).transpose()?;
    Ok(Survey { holdout: choice.finish()?, answers })
}

fn num_rows(examples: &[Dataset]) -> u64 {
    examples.iter().map(Dataset::num_rows).sum()
}

/// Hands on all examples in their order. While a batch is worked on, the next is read.
fn each_batch(
    examples: &[Dataset],
    context: &Context,
    mut each: impl FnMut(Vec<Example>) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    thread::scope(|scope| {
        let (send, receive) = sync_channel(0);
        let read = move || {
            let mut batches = examples.iter().flat_map(Dataset::batches::<Example>);
            // Nobody takes a batch any more once the work has failed or was stopped.
            batches.try_for_each(|batch| send.send(batch)).ok();
        };
        let started = thread::Builder::new().name("examples".to_owned()).spawn_scoped(scope, read);
        started.map_err(|error: io::Error| TrainError::io("start a thread that reads", "the examples")(error))?;
        for batch in receive {
            if context.cancel.is_cancelled() {
                return Err(Interrupted.into());
            }
            each(batch?)?;
        }
        Ok(())
    })
}

fn tokenise(
    examples: &[Dataset],
    chat: &Chat,
    config: &TrainingConfig,
    context: &Context,
    survey: &Survey,
    writer: &mut Writer,
) -> Result<(), TrainError> {
    let total = num_rows(examples);
    let done = writer.extent().rows_in;
    let mut index = 0;
    context.progress.begin("tokenise", total, "examples");
    let outcome = each_batch(examples, context, |mut rows| {
        let known = done.saturating_sub(index).min(rows.len() as u64);
        index += known;
        let mut rest = &mut rows[known as usize..];
        while !rest.is_empty() {
            let together = together(rest);
            let (piece, later) = std::mem::take(&mut rest).split_at_mut(together);
            rest = later;
            context.progress.advance(index, note(writer));
            let one = |(place, row): (usize, &mut Example)| {
                let going_on = !context.cancel.is_cancelled();
                going_on.then(|| prepare(row, index + place as u64, chat, config, survey))
            };
            let encoded: Option<Result<Vec<Encoded>, TrainError>> = piece.par_iter_mut().enumerate().map(one).collect();
            let encoded = encoded.transpose()?;
            let Some(encoded) = encoded else { return Err(Interrupted.into()) };
            for (row, encoded) in piece.iter().zip(encoded) {
                write(row, &encoded, survey.holdout.contains(&row.problem_id), writer)?;
            }
            index += piece.len() as u64;
            refuse_too_many(writer, total)?;
            if writer.is_due() {
                writer.commit()?;
            }
        }
        Ok(())
    });
    if matches!(outcome, Err(TrainError::Interrupted(_))) {
        // What is tokenised is kept.
        writer.commit()?;
    }
    outcome?;
    context.progress.advance(index, note(writer));
    context.progress.end();
    Ok(())
}

/// Encodes an example, with another's answer where the recipe shuffles them.
fn prepare(
    row: &mut Example,
    index: u64,
    chat: &Chat,
    config: &TrainingConfig,
    survey: &Survey,
) -> Result<Encoded, TrainError> {
    if let Some(answers) = &survey.answers {
        answers.replace(index, row)?;
    }
    Ok(encode(row, chat, config))
}

/// How many of the examples, at least one, are tokenised together.
fn together(rows: &[Example]) -> usize {
    let mut held = 0;
    let fits = rows.iter().take_while(|row| {
        held += row.messages.iter().map(|message| message.content.len()).sum::<usize>();
        held <= PIECE_BYTES
    });
    fits.count().clamp(1, rows.len())
}

fn note(writer: &Writer) -> String {
    match writer.extent().unencodable {
        0 => String::new(),
        count => format!("{count} cannot be encoded"),
    }
}

/// Puts an example's sequences into the cache; counts and names it where it has none.
fn write(row: &Example, encoded: &Encoded, held_out: bool, writer: &mut Writer) -> Result<(), TrainError> {
    if let Some(note) = &encoded.note {
        writer.count(note.reason());
        let detail = note.detail();
        if let Note::Unencodable(_) = note {
            writer.count_unencodable(&row.trace_id, &detail);
        }
        if encoded.sequences.is_empty() {
            writer.name(&row.trace_id, note.reason(), &detail)?;
        }
    }
    writer.add(&encoded.sequences, row.weight, held_out)
}

/// Refuses to go on once more than one example in ten of all, and more than one, cannot be encoded.
fn refuse_too_many(writer: &Writer, total: u64) -> Result<(), TrainError> {
    let extent = writer.extent();
    if extent.unencodable < 2 || extent.unencodable * ONE_IN <= total {
        return Ok(());
    }
    Err(TrainError::Examples(format!(
        "{} of the first {} examples cannot be encoded: expected at most one in {ONE_IN} of all {total}; the first is {}",
        extent.unencodable,
        extent.rows_in,
        extent.first_unencodable.as_deref().unwrap_or_default()
    )))
}

/// What becomes of an example.
struct Encoded {
    sequences: Vec<Words>,
    /// Why it was left out, or how it was cut.
    note: Option<Note>,
}

/// Why an example was left out, or how it was cut.
enum Note {
    Weight(f32),
    /// A model's text may spell a control token; one such trace must not end the run.
    ControlToken(String),
    Unencodable(ChatError),
    TooLong(usize),
    Truncated(usize),
    Split(usize),
}

impl Note {
    /// The word under which it is counted.
    fn reason(&self) -> &'static str {
        match self {
            Note::Weight(_) => "weight",
            Note::ControlToken(_) => "control-token",
            Note::Unencodable(ChatError::Template(_)) => "template-failed",
            Note::Unencodable(ChatError::Tokenizer(_)) => "tokenizer-failed",
            Note::Unencodable(_) => "untrainable",
            Note::TooLong(_) => "too-long",
            Note::Truncated(_) => "truncated",
            Note::Split(_) => "split",
        }
    }

    /// What exactly.
    fn detail(&self) -> String {
        match self {
            Note::Weight(weight) => format!("expected a weight above 0, found {weight}"),
            Note::ControlToken(token) => format!("a message spells {token:?}"),
            Note::Unencodable(error) => error.to_string().chars().take(DETAIL_CHARS).collect(),
            Note::TooLong(tokens) | Note::Truncated(tokens) | Note::Split(tokens) => format!("{tokens} tokens"),
        }
    }
}

fn encode(row: &Example, chat: &Chat, config: &TrainingConfig) -> Encoded {
    match cut(row, chat, config) {
        Err(note) => Encoded { sequences: Vec::new(), note: Some(note) },
        Ok((sequences, note)) => match sequences.iter().map(Words::of).collect() {
            Some(sequences) => Encoded { sequences, note },
            None => {
                let error = ChatError::Tokenizer("expected tokens below 2147483648, found a larger one".to_owned());
                Encoded { sequences: Vec::new(), note: Some(Note::Unencodable(error)) }
            }
        },
    }
}

/// An example's sequences, and how it was cut; or why it is left out.
fn cut(row: &Example, chat: &Chat, config: &TrainingConfig) -> Result<(Vec<TokenisedExample>, Option<Note>), Note> {
    if row.weight <= 0.0 || !row.weight.is_finite() {
        return Err(Note::Weight(row.weight));
    }
    if let Some(token) = row.messages.iter().find_map(|message| chat.find_special(&message.content)) {
        return Err(Note::ControlToken(token.to_owned()));
    }
    let mut tokens = chat.encode_example(&row.messages).map_err(Note::Unencodable)?;
    let (most, found) = (config.max_tokens as usize, tokens.ids.len());
    if found <= most {
        return Ok((vec![tokens], None));
    }
    let learns = |tokens: &TokenisedExample| tokens.loss[1..].contains(&true);
    match config.overlong {
        Overlong::Drop => Err(Note::TooLong(found)),
        Overlong::Truncate => {
            tokens.ids.truncate(most);
            tokens.loss.truncate(most);
            if learns(&tokens) { Ok((vec![tokens], Some(Note::Truncated(found)))) } else { Err(Note::TooLong(found)) }
        }
        Overlong::Split => {
            // The last token of a piece is the first of the next: it is predicted in one and seen in the other.
            let starts = (0..found - 1).step_by(most - 1);
            let pieces = starts.map(|start| {
                let end = (start + most).min(found);
                TokenisedExample { ids: tokens.ids[start..end].to_vec(), loss: tokens.loss[start..end].to_vec() }
            });
            Ok((pieces.filter(learns).collect(), Some(Note::Split(found))))
        }
    }
}
