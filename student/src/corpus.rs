//! Examples → tokens with their loss mask, once, before the first step: what cannot be trained on is refused or counted
//! here, not found out an hour later. The result is kept beside the saved states, so that a resumed run does not tokenise
//! again.

use crate::{Answers, Overlong, TrainError, TrainingConfig, cache};
use distill_chat::{Chat, TokenisedExample};
use distill_dataset::{Context, Dataset, Digest, Example, Message, Role};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Examples between two looks at cancellation and progress.
const LOOK_EVERY: usize = 4096;

/// A sequence to be learnt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sequence {
    /// Tokens with their mask.
    pub(crate) tokens: TokenisedExample,
    /// Weight of each of its tokens in the loss.
    pub(crate) weight: f32,
}

/// All sequences, in the order of the examples.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Corpus {
    pub(crate) sequences: Vec<Sequence>,
    /// Sequences that are not learnt, for the held-out loss.
    pub(crate) holdout: Vec<Sequence>,
    pub(crate) rows_in: u64,
    /// Examples that are learnt.
    pub(crate) rows_out: u64,
    /// Examples that were left out, by reason, and those that were cut.
    pub(crate) rejected: BTreeMap<String, u64>,
}

/// Reads and tokenises every example, or finds it done.
pub(crate) fn load(
    examples: &[Dataset],
    chat: &Chat,
    config: &TrainingConfig,
    context: &Context,
) -> Result<Corpus, TrainError> {
    if let Some(corpus) = cache::load(&context.scratch) {
        return Ok(corpus);
    }
    let corpus = tokenise(examples, chat, config, context)?;
    if corpus.sequences.is_empty() {
        let found = format!("expected at least one example, found none of {} usable", corpus.rows_in);
        return Err(TrainError::Examples(format!(
            "{found}: {:?}\nhint: `distill show RUN` tells why traces were dropped; `max-tokens` leaves out long ones",
            corpus.rejected
        )));
    }
    if config.holdout_examples > 0 && corpus.holdout.is_empty() {
        return Err(TrainError::Examples(format!(
            "expected held-out examples (`holdout-examples` = {}), found none usable: {:?}\nhint: hold out more, or let them be longer (`max-tokens`, `overlong`)",
            config.holdout_examples, corpus.rejected
        )));
    }
    cache::save(&context.scratch, &corpus)?;
    Ok(corpus)
}

fn tokenise(
    examples: &[Dataset],
    chat: &Chat,
    config: &TrainingConfig,
    context: &Context,
) -> Result<Corpus, TrainError> {
    let mut rows = Vec::new();
    for dataset in examples {
        for row in dataset.rows::<Example>() {
            rows.push(row?);
        }
    }
    if config.answers == Answers::Shuffled {
        shuffle_answers(&mut rows, context.seed)?;
    }
    let held_out = held_out(&rows, config.holdout_examples as usize, context.seed)?;
    let mut corpus = Corpus { rows_in: rows.len() as u64, ..Corpus::default() };
    context.progress.begin("tokenise", corpus.rows_in, "examples");
    for (index, rows) in rows.chunks(LOOK_EVERY).enumerate() {
        context.progress.advance((index * LOOK_EVERY) as u64, "");
        if context.cancel.is_cancelled() {
            return Err(TrainError::Interrupted);
        }
        let encoded: Vec<Encoded> =
            rows.par_iter().map(|row| encode(row, chat, config)).collect::<Result<_, TrainError>>()?;
        for (row, encoded) in rows.iter().zip(encoded) {
            if let Some(note) = encoded.note {
                *corpus.rejected.entry(note.to_owned()).or_default() += 1;
            }
            let held_out = held_out.contains(row.problem_id.as_str());
            corpus.rows_out += u64::from(!held_out && !encoded.sequences.is_empty());
            let to = if held_out { &mut corpus.holdout } else { &mut corpus.sequences };
            to.extend(encoded.sequences.into_iter().map(|tokens| Sequence { tokens, weight: row.weight }));
        }
    }
    context.progress.end();
    Ok(corpus)
}

/// What becomes of an example.
struct Encoded {
    sequences: Vec<TokenisedExample>,
    /// Why it was left out, or how it was cut.
    note: Option<&'static str>,
}

fn encode(row: &Example, chat: &Chat, config: &TrainingConfig) -> Result<Encoded, TrainError> {
    let left_out = |note| Ok(Encoded { sequences: Vec::new(), note: Some(note) });
    if row.weight <= 0.0 || !row.weight.is_finite() {
        return left_out("weight");
    }
    if row.messages.iter().any(|message| chat.find_special(&message.content).is_some()) {
        // A model's text may spell a control token; one such trace must not end the run.
        return left_out("control-token");
    }
    let mut tokens = chat.encode_example(&row.messages).map_err(|error| {
        TrainError::Examples(format!("the example of trace {} cannot be trained on: {error}", row.trace_id))
    })?;
    let most = config.max_tokens as usize;
    if tokens.ids.len() <= most {
        return Ok(Encoded { sequences: vec![tokens], note: None });
    }
    let learns = |tokens: &TokenisedExample| tokens.loss[1..].contains(&true);
    match config.overlong {
        Overlong::Drop => left_out("too-long"),
        Overlong::Truncate => {
            tokens.ids.truncate(most);
            tokens.loss.truncate(most);
            if !learns(&tokens) {
                return left_out("too-long");
            }
            Ok(Encoded { sequences: vec![tokens], note: Some("truncated") })
        }
        Overlong::Split => {
            // The last token of a piece is the first of the next: it is predicted in one and seen in the other.
            let starts = (0..tokens.ids.len() - 1).step_by(most - 1);
            let pieces = starts.map(|start| {
                let end = (start + most).min(tokens.ids.len());
                TokenisedExample { ids: tokens.ids[start..end].to_vec(), loss: tokens.loss[start..end].to_vec() }
            });
            Ok(Encoded { sequences: pieces.filter(learns).collect(), note: Some("split") })
        }
    }
}

/// Problems whose examples, at least `count`, are not learnt: in a seeded order, all examples of a problem together.
fn held_out(rows: &[Example], count: usize, seed: u64) -> Result<BTreeSet<&str>, TrainError> {
    if count >= rows.len() && count > 0 {
        let found = rows.len();
        return Err(TrainError::Examples(format!(
            "`holdout-examples`: expected fewer than all {found}, found {count}"
        )));
    }
    let mut by_problem: BTreeMap<&str, usize> = BTreeMap::new();
    rows.iter().for_each(|row| *by_problem.entry(&row.problem_id).or_default() += 1);
    let problems = by_problem.len();
    let rank = |problem: &str| Digest::new("holdout").field(&seed.to_string()).field(problem).finish_short();
    let mut order: Vec<(String, &str, usize)> =
        by_problem.into_iter().map(|(problem, examples)| (rank(problem), problem, examples)).collect();
    order.sort_unstable();
    let mut held = 0;
    let chosen = order.into_iter().take_while(|(_, _, examples)| {
        let more = held < count;
        held += examples;
        more
    });
    let chosen: BTreeSet<&str> = chosen.map(|(_, problem, _)| problem).collect();
    if count > 0 && chosen.len() == problems {
        return Err(TrainError::Examples(format!(
            "`holdout-examples` = {count}: expected a problem that is left to learn, found that all {problems} are held out with their examples"
        )));
    }
    Ok(chosen)
}

/// Gives every example the assistant's turns of another problem: examples are put in a seeded order in which those of
/// one problem are neighbours, and the turns move on by the size of the largest such group.
fn shuffle_answers(rows: &mut [Example], seed: u64) -> Result<(), TrainError> {
    let rank = |row: &Example| Digest::new("shuffle").field(&seed.to_string()).field(&row.problem_id).finish_short();
    let mut order: Vec<(String, usize)> = rows.iter().enumerate().map(|(index, row)| (rank(row), index)).collect();
    order.sort();
    let shift = order.chunk_by(|a, b| a.0 == b.0).map(<[_]>::len).max().unwrap_or(0);
    if shift * 2 > rows.len() {
        return Err(TrainError::Examples(format!(
            "answers cannot be shuffled: {shift} of {} examples belong to one problem",
            rows.len()
        )));
    }
    let turns = |row: &Example| -> Vec<Message> {
        row.messages.iter().filter(|message| message.role == Role::Assistant).cloned().collect()
    };
    let answers: Vec<Vec<Message>> = order.iter().map(|(_, index)| turns(&rows[*index])).collect();
    for (place, (_, index)) in order.iter().enumerate() {
        rows[*index].messages.retain(|message| message.role != Role::Assistant);
        rows[*index].messages.extend(answers[(place + shift) % answers.len()].iter().cloned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(problem: u32, sample: u32) -> Example {
        Example {
            trace_id: format!("{problem}-{sample}"),
            problem_id: problem.to_string(),
            messages: vec![Message::user(problem.to_string()), Message::assistant(format!("{problem}/{sample}"))],
            weight: 1.0,
        }
    }

    #[test]
    fn shuffled_answers_belong_to_another_problem_and_none_is_lost() {
        let mut rows: Vec<Example> =
            (0..40).flat_map(|problem| (0..1 + problem % 4).map(move |sample| example(problem, sample))).collect();
        let mut before: Vec<String> = rows.iter().map(|row| row.messages[1].content.clone()).collect();
        shuffle_answers(&mut rows, 3).expect("a shuffle");
        for row in &rows {
            let (from, _) = row.messages[1].content.split_once('/').expect("an answer");
            assert_ne!(from, row.problem_id, "an example kept its own problem's answer");
        }
        let mut after: Vec<String> = rows.iter().map(|row| row.messages[1].content.clone()).collect();
        before.sort();
        after.sort();
        assert_eq!(before, after);
    }

    #[test]
    fn one_problem_cannot_be_shuffled() {
        let mut rows = vec![example(1, 0), example(1, 1), example(2, 0)];
        assert!(shuffle_answers(&mut rows, 3).is_err());
    }

    #[test]
    fn held_out_problems_take_all_their_examples_with_them() {
        let rows: Vec<Example> =
            (0..40).flat_map(|problem| (0..1 + problem % 4).map(move |sample| example(problem, sample))).collect();
        let chosen = held_out(&rows, 10, 3).expect("a choice");
        let count = rows.iter().filter(|row| chosen.contains(row.problem_id.as_str())).count();
        assert!((10..14).contains(&count), "{count} examples of {chosen:?}");
        assert!(held_out(&rows, 0, 3).expect("none").is_empty());
        assert!(held_out(&rows, rows.len(), 3).is_err(), "something must be left to learn");
        let two: Vec<Example> = (0..20).map(|sample| example(sample % 2, sample / 2)).collect();
        assert!(held_out(&two, 11, 3).is_err(), "two problems, and both would be held out");
    }
}
