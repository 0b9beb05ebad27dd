//! Examples → tokens with their loss mask, once, before the first step: what cannot be trained on is refused or counted
//! here, not found out an hour later.

use crate::{Answers, TrainError, TrainingConfig};
use distill_chat::{Chat, TokenisedExample};
use distill_dataset::{Dataset, Digest, Example, Message, Role};
use std::collections::BTreeMap;

/// A sequence to be learnt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sequence {
    /// Tokens with their mask.
    pub(crate) tokens: TokenisedExample,
    /// Weight of each of its tokens in the loss.
    pub(crate) weight: f32,
}

/// All sequences, in the order of the examples, and how many were left out by reason.
pub(crate) struct Corpus {
    pub(crate) sequences: Vec<Sequence>,
    pub(crate) rows_in: u64,
    pub(crate) rejected: BTreeMap<String, u64>,
}

/// Reads and tokenises every example.
pub(crate) fn load(
    examples: &[Dataset],
    chat: &Chat,
    config: &TrainingConfig,
    seed: u64,
) -> Result<Corpus, TrainError> {
    let mut rows = Vec::new();
    for dataset in examples {
        for row in dataset.rows::<Example>() {
            rows.push(row?);
        }
    }
    if config.answers == Answers::Shuffled {
        shuffle_answers(&mut rows, seed)?;
    }
    let mut corpus = Corpus { sequences: Vec::new(), rows_in: rows.len() as u64, rejected: BTreeMap::new() };
    for row in rows {
        let reason = if row.weight <= 0.0 || !row.weight.is_finite() {
            "weight"
        } else if row.messages.iter().any(|message| chat.find_special(&message.content).is_some()) {
            // A model's text may spell a control token; one such trace must not end the run.
            "control-token"
        } else {
            let tokens = chat.encode_example(&row.messages).map_err(|error| {
                TrainError::Examples(format!("the example of trace {} cannot be trained on: {error}", row.trace_id))
            })?;
            if tokens.ids.len() <= config.max_tokens as usize {
                corpus.sequences.push(Sequence { tokens, weight: row.weight });
                continue;
            }
            "too-long"
        };
        *corpus.rejected.entry(reason.to_owned()).or_default() += 1;
    }
    if corpus.sequences.is_empty() {
        let found = format!("expected at least one example, found none of {} usable", corpus.rows_in);
        return Err(TrainError::Examples(format!(
            "{found}: {:?}\nhint: `distill show RUN` tells why traces were dropped; `max-tokens` leaves out long ones",
            corpus.rejected
        )));
    }
    Ok(corpus)
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
}
