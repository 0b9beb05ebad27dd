//! Documents as a device sees them: integers that say where what is.

use super::{block::Sizes, lot::Making};
use crate::{Documents, ModelError};
use distill_ops::{Buffer, Dtype, Engine, kernels};

/// What the kernels ask of a batch, in the order it is kept.
#[derive(Clone, Copy, Debug)]
enum Part {
    Tokens,
    Positions,
    Starts,
    /// Tokens by their id.
    Order,
    /// Where an id's tokens begin in that order.
    IdStarts,
    Ids,
    /// Rows that predict.
    Rows,
    Targets,
}

const PARTS: usize = 8;

/// Room for a batch's integers and weights.
#[derive(Debug)]
pub(crate) struct BatchRoom {
    parts: [Buffer; PARTS],
    weights: Buffer,
}

/// A batch on the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    pub(crate) tokens: Buffer,
    pub(crate) positions: Buffer,
    pub(crate) order: Buffer,
    pub(crate) id_starts: Buffer,
    pub(crate) ids: Buffer,
    pub(crate) rows: Buffer,
    pub(crate) targets: Buffer,
    pub(crate) weights: Buffer,
    pub(crate) documents: kernels::Documents,
    /// Different tokens.
    pub(crate) distinct: usize,
    /// Labels.
    pub(crate) labels: usize,
}

impl BatchRoom {
    /// For batches of so many tokens.
    pub(crate) fn new(making: &mut Making<'_>, capacity: usize) -> Result<BatchRoom, ModelError> {
        let mut parts = Vec::with_capacity(PARTS);
        for _ in 0..PARTS {
            parts.push(making.zeros(Dtype::I32, capacity + 1)?);
        }
        let parts = parts.try_into().expect("as many as were made");
        Ok(BatchRoom { parts, weights: making.zeros(Dtype::F32, capacity + 1)? })
    }

    /// Puts a batch there.
    ///
    /// # Errors
    /// When it names what is not there, or the device fails.
    pub(crate) fn put(&self, engine: &mut Engine, batch: &Documents, sizes: &Sizes) -> Result<Batch, ModelError> {
        check(batch, sizes).map_err(ModelError::Step)?;
        let tokens: Vec<i32> = batch.tokens.iter().map(|token| token.cast_signed()).collect();
        let positions: Vec<i32> = batch.lengths.iter().flat_map(|length| 0..*length as i32).collect();
        let mut starts = vec![0];
        for length in &batch.lengths {
            starts.push(starts[starts.len() - 1] + *length as i32);
        }
        let mut order: Vec<i32> = (0..tokens.len() as i32).collect();
        order.sort_by_key(|place| (tokens[*place as usize], *place));
        let (mut ids, mut id_starts) = (Vec::new(), Vec::new());
        for (at, place) in order.iter().enumerate() {
            let id = tokens[*place as usize];
            if ids.last() != Some(&id) {
                ids.push(id);
                id_starts.push(at as i32);
            }
        }
        id_starts.push(order.len() as i32);
        let rows: Vec<i32> = batch.labels.iter().map(|label| label.row as i32).collect();
        let targets: Vec<i32> = batch.labels.iter().map(|label| label.target.cast_signed()).collect();
        let weights: Vec<f32> = batch.labels.iter().map(|label| label.weight).collect();
        let part = |part: Part| self.parts[part as usize];
        for (at, values) in [
            (Part::Tokens, &tokens),
            (Part::Positions, &positions),
            (Part::Starts, &starts),
            (Part::Order, &order),
            (Part::IdStarts, &id_starts),
            (Part::Ids, &ids),
            (Part::Rows, &rows),
            (Part::Targets, &targets),
        ] {
            engine.write_ints(part(at).start(), values)?;
        }
        engine.write(self.weights.start(), &weights)?;
        let documents = kernels::Documents {
            starts: part(Part::Starts).start(),
            count: batch.lengths.len(),
            longest: batch.lengths.iter().copied().max().unwrap_or(0),
            tokens: tokens.len(),
        };
        Ok(Batch {
            tokens: part(Part::Tokens),
            positions: part(Part::Positions),
            order: part(Part::Order),
            id_starts: part(Part::IdStarts),
            ids: part(Part::Ids),
            rows: part(Part::Rows),
            targets: part(Part::Targets),
            weights: self.weights,
            documents,
            distinct: ids.len(),
            labels: rows.len(),
        })
    }
}

/// What indexes memory on a card is looked at here: nothing does there.
fn check(batch: &Documents, sizes: &Sizes) -> Result<(), String> {
    let (tokens, sum) = (batch.tokens.len(), batch.lengths.iter().sum::<usize>());
    if tokens != sum {
        return Err(format!("expected documents of {tokens} tokens in all, found {sum}"));
    }
    let targets = batch.labels.iter().map(|label| label.target);
    if let Some(token) = batch.tokens.iter().copied().chain(targets).find(|token| *token as usize >= sizes.vocab) {
        return Err(format!("expected tokens below {}, found {token}", sizes.vocab));
    }
    let mut seen = vec![false; tokens];
    for label in &batch.labels {
        match seen.get_mut(label.row) {
            None => return Err(format!("expected labels of rows below {tokens}, found {}", label.row)),
            Some(true) => return Err(format!("expected one label a row, found two of row {}", label.row)),
            Some(free) => *free = true,
        }
    }
    // Attention counts numbers inside a document in 32 bits, and documents in a grid's third dimension.
    let longest = batch.lengths.iter().copied().max().unwrap_or(0);
    if longest.saturating_mul(sizes.heads.width()) > i32::MAX as usize || batch.lengths.len() > 65_535 {
        return Err(format!(
            "expected at most 65,535 documents of at most {} tokens, found {} of up to {longest}",
            i32::MAX as usize / sizes.heads.width().max(1),
            batch.lengths.len()
        ));
    }
    Ok(())
}
