//! What the stages behind the selection read together.

use crate::session::{Slot, Spec};
use anyhow::Result;
use distill_dataset::Manifest;
use distill_publish::Lineage;

/// Problems, traces and decisions.
pub(crate) struct Data<'a> {
    /// Of every source.
    pub(crate) problems: &'a [Slot],
    /// Of every source.
    pub(crate) traces: &'a [Slot],
    /// What is kept.
    pub(crate) selection: &'a Slot,
}

impl Data<'_> {
    /// A stage that reads all of it.
    pub(crate) fn inputs(&self, spec: Spec) -> Spec {
        spec.inputs("problems", self.problems).inputs("traces", self.traces).input("selection", self.selection)
    }

    /// Where it comes from, for cards.
    pub(crate) fn lineage(&self) -> Result<Lineage> {
        let selection = Some(self.selection.ready()?.manifest.clone());
        let (problems, traces) = (manifests(self.problems)?, manifests(self.traces)?);
        Ok(Lineage { problems, traces, selection, ..Lineage::default() })
    }
}

/// The manifests of finished stages.
pub(crate) fn manifests(slots: &[Slot]) -> Result<Vec<Manifest>> {
    slots.iter().map(|slot| Ok(slot.ready()?.manifest.clone())).collect()
}
