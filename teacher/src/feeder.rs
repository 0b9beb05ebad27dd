//! The thread that reads problems ahead of the loop, so that decoding a shard stalls no stream. This is the one place
//! where it is decided that a sample is to be bought: where several processes buy from one list, it is reserved here, and
//! looked for once more in what the others kept.

use crate::{Answer, Answers, Ask, Asks, Identity, Kept, Partial};
use distill_dataset::{DatasetError, FinishReason, LogProbs, Trace};
use std::{
    sync::{Arc, mpsc::SyncSender},
    thread,
    time::Duration,
};

/// Samples read ahead.
pub(crate) const AHEAD: usize = 256;
/// Samples reserved together: what the others kept is looked at once for all of them.
const BATCH: usize = 32;
/// How often samples that others have are looked at again, in ticks.
const PATIENCE: u32 = 10;
const TICK: Duration = Duration::from_millis(100);

/// What the loop is handed.
pub(crate) enum Fed {
    /// A sample to buy.
    Ask(Box<Ask>),
    /// Another process has bought one.
    Known,
    /// So many are being bought by other processes.
    Waiting(usize),
}

/// Where samples are bought, and as what.
pub(crate) struct Place<'a> {
    pub(crate) answers: &'a Answers,
    pub(crate) identity: &'a Identity,
    /// Whether the teacher goes on from a part of an answer.
    pub(crate) continues: bool,
}

/// Nobody takes anything any more.
struct Ended;

type Wanted<'a> = &'a SyncSender<Result<Fed, DatasetError>>;

/// Sends the samples that are missing, in order, until all are sent or known, or nobody takes them any more.
pub(crate) fn feed(
    asks: Asks<'_>,
    missing: &[bool],
    place: &Place<'_>,
    has_ended: &dyn Fn() -> bool,
    wanted: Wanted<'_>,
) {
    // Ended: the loop has its own reasons.
    let _ = feed_all(asks, missing, place, has_ended, wanted);
}

fn feed_all(
    asks: Asks<'_>,
    missing: &[bool],
    place: &Place<'_>,
    has_ended: &dyn Fn() -> bool,
    wanted: Wanted<'_>,
) -> Result<(), Ended> {
    let mut later = Vec::new();
    let mut batch = Vec::new();
    for (ask, missing) in asks.zip(missing) {
        match ask {
            Err(error) => return send(wanted, Err(error)),
            Ok(ask) if *missing => batch.push(ask),
            Ok(_) => {}
        }
        if batch.len() == BATCH {
            later.extend(hand_over(std::mem::take(&mut batch), place, wanted)?);
        }
    }
    later.extend(hand_over(batch, place, wanted)?);
    while !later.is_empty() {
        send(wanted, Ok(Fed::Waiting(later.len())))?;
        for _ in 0..PATIENCE {
            if has_ended() {
                return Err(Ended);
            }
            thread::sleep(TICK);
        }
        // Whoever takes over a sample goes on from what the other had received.
        if let Err(error) = place.answers.refresh_partial() {
            return send(wanted, Err(error));
        }
        later = hand_over(later, place, wanted)?;
    }
    Ok(())
}

/// Sends those samples that are this process's to buy, and returns those that others have.
fn hand_over(asks: Vec<Ask>, place: &Place<'_>, wanted: Wanted<'_>) -> Result<Vec<Ask>, Ended> {
    let answers = place.answers;
    let mut later = Vec::new();
    let mut mine = Vec::new();
    for ask in asks {
        match answers.reserve(&ask.id) {
            Ok(true) => mine.push(ask),
            Ok(false) => later.push(ask),
            Err(error) => return send(wanted, Err(error)).map(|()| Vec::new()),
        }
    }
    if let Err(error) = answers.refresh() {
        return send(wanted, Err(error)).map(|()| Vec::new());
    }
    for ask in mine {
        match prepare(ask, place) {
            Ok(fed) => send(wanted, Ok(fed))?,
            Err(error) => return send(wanted, Err(error)).map(|()| Vec::new()),
        }
    }
    Ok(later)
}

/// Readies a sample that is this process's to buy: what was received of it by a process that was interrupted, or with a
/// lower limit, is gone on from, and what an interrupted attempt cost is charged.
fn prepare(mut ask: Ask, place: &Place<'_>) -> Result<Fed, DatasetError> {
    let answers = place.answers;
    let mut is_known = answers.contains(&ask.id);
    if !is_known {
        let broken_off = answers.interrupted(&ask.id)?;
        for (number, cost) in broken_off.owed {
            answers.charge(&ask.id, number, cost, false)?;
        }
        ask.partial = broken_off.partial;
        if ask.partial.is_none() && place.continues {
            is_known = take_shorter(&mut ask, place)?;
        }
    }
    if is_known {
        answers.release(&ask.id)?;
        return Ok(Fed::Known);
    }
    Ok(Fed::Ask(Box::new(ask)))
}

/// Takes what came of the same sample with a lower limit; whether that is all of it.
fn take_shorter(ask: &mut Ask, place: &Place<'_>) -> Result<bool, DatasetError> {
    let Some(shorter) = &ask.shorter else { return Ok(false) };
    let Some((Answer::Answered(trace), log_probs)) = place.answers.get_with_log_probs(shorter)? else {
        return Ok(false);
    };
    if trace.finish_reason == FinishReason::Length {
        let log_probs = log_probs.and_then(|text| LogProbs::of_text(&text).ok()).map(Arc::new);
        ask.partial = Some(Partial::of_cut(*trace, log_probs));
        return Ok(false);
    }
    let asked = ask.asked(place.identity);
    let trace = Box::new(Trace { id: ask.id.clone(), sampling: ask.sampling, ..*trace });
    place.answers.keep(&Kept::Answered { asked, trace, log_probs })?;
    Ok(true)
}

fn send(wanted: Wanted<'_>, fed: Result<Fed, DatasetError>) -> Result<(), Ended> {
    wanted.send(fed).map_err(|_| Ended)
}
