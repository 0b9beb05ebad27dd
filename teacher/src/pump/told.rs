//! What people and programs are told of the loop while it goes on.

use super::{Pump, Pumped};
use crate::{Cost, Seen};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How often others are shown how it stands.
const SHOW_EVERY: Duration = Duration::from_secs(1);

impl Pump<'_, '_> {
    pub(super) fn tell(&mut self) {
        self.show();
        let spent = self.spent();
        let mut notes = vec![self.gauge.told((self.in_flight.len(), self.seen.cut()), &spent, &self.order.budget)];
        if !self.remark.is_empty() {
            notes.push(self.remark.clone());
        }
        let counts = [
            (self.seen.retries, "tried again"),
            (self.tally.unanswered, "cannot be had"),
            (self.tally.failed, "failed"),
        ];
        for (count, what) in counts {
            if count > 0 {
                notes.push(format!("{count} {what}"));
            }
        }
        self.context.progress.advance_with(self.tally.done, notes.join(", "), self.fields.clone());
    }

    /// What was spent on the dataset, by anybody.
    pub(super) fn spent(&self) -> Cost {
        let mut spent = self.wallet.others();
        spent.add(self.ledger.spent());
        spent
    }

    /// Shows others how it stands, now and then.
    pub(super) fn show(&mut self) {
        if self.seen_at.is_some_and(|at| at.elapsed() < SHOW_EVERY) {
            return;
        }
        self.seen_at = Some(Instant::now());
        let (tokens_per_s, prompt_tokens_per_s) = self.gauge.rates();
        let seen = Seen {
            done: self.tally.done,
            total: self.tally.total,
            in_flight: self.in_flight.len() as u64,
            tokens_per_s,
            prompt_tokens_per_s,
            eta_s: self.eta_s(),
            unanswered: self.tally.unanswered,
            failed: self.tally.failed,
            remark: self.remark.clone(),
            ..self.seen.clone()
        };
        let seen = seen.with_costs(self.spent(), &self.order.budget);
        self.fields = serde_json::to_value(&seen).ok().map(Arc::new);
        self.wallet.see(seen);
    }

    /// Seconds until all are there, at the pace so far.
    fn eta_s(&self) -> Option<f64> {
        let Pumped { done, total, .. } = self.tally;
        let had = done.checked_sub(self.seen.begun_with).filter(|had| *had > 0)?;
        Some(self.begun.elapsed().as_secs_f64() / had as f64 * total.saturating_sub(done) as f64)
    }

    /// Counts tokens that arrived, and tells people now and then.
    pub(super) fn count(&mut self, arrived: u64) {
        if self.gauge.take(arrived, Instant::now()) {
            self.tell();
        }
    }
}
