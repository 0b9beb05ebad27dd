//! What is wanted of a teacher: samples, in the order in which they are asked for.

use crate::{Budget, Identity, Partial, Variant};
use distill_dataset::{DatasetError, Digest, Message, Problem, SamplingParams, trace_id, with_system};
use std::collections::BTreeMap;

/// One sample that is wanted.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its identity.
    pub id: String,
    /// The problem.
    pub problem_id: String,
    /// Which of the problem's samples, from 0.
    pub sample_index: u32,
    /// The system prompt in it, where that is not the problem's own.
    pub system: Option<String>,
    /// The conversation up to the answer.
    pub messages: Vec<Message>,
    /// What is asked of the sampler.
    pub sampling: SamplingParams,
    /// The sampler's seed.
    pub seed: u64,
    /// Whether the seed is part of the identity.
    pub seeded: bool,
    /// What was received of it before this process began.
    pub partial: Option<Partial>,
    /// The same sample with a lower limit: what came of it is taken, and gone on from where that limit cut it.
    pub shorter: Option<String>,
}

impl Ask {
    /// A training sample. Its seed comes from its identity alone: the same sample, whichever run buys it.
    pub fn sample<'v>(
        problem: &Problem,
        sample_index: u32,
        identity: &Identity,
        variant: impl Into<Variant<'v>>,
    ) -> Ask {
        let variant = variant.into();
        let id = identity.sample_id(&problem.id, variant, sample_index);
        let seed = Digest::new("sample-seed").field(&id).finish_u64();
        Ask::new(problem, sample_index, variant, (id, seed))
    }

    /// An attempt of an evaluation, with a seed that does not depend on who is asked.
    pub fn attempt(
        problem: &Problem,
        sample_index: u32,
        identity: &Identity,
        sampling: &SamplingParams,
        seed: u64,
    ) -> Ask {
        let id = trace_id(&problem.id, &identity.asked(sampling, Some(seed)), sample_index);
        Ask { seeded: true, ..Ask::new(problem, sample_index, sampling.into(), (id, seed)) }
    }

    fn new(problem: &Problem, sample_index: u32, variant: Variant<'_>, (id, seed): (String, u64)) -> Ask {
        Ask {
            id,
            problem_id: problem.id.clone(),
            sample_index,
            system: variant.system.map(str::to_owned),
            messages: with_system(&problem.messages, variant.system),
            sampling: variant.sampling,
            seed,
            seeded: false,
            partial: None,
            shorter: None,
        }
    }

    /// Everything that is asked, by name.
    pub fn asked(&self, identity: &Identity) -> BTreeMap<String, String> {
        let variant = Variant { sampling: self.sampling, system: self.system.as_deref() };
        identity.asked(variant, self.seeded.then_some(self.seed))
    }
}

/// Samples in the order in which they are asked for.
pub type Asks<'a> = Box<dyn Iterator<Item = Result<Ask, DatasetError>> + 'a>;

/// What is wanted.
pub struct Order<'a> {
    /// The samples; every call gives the same ones in the same order.
    pub asks: &'a (dyn Fn() -> Asks<'a> + Sync),
    /// The samples of the whole dataset, which others may buy too: its budget counts all of them.
    pub all: &'a (dyn Fn() -> Asks<'a> + Sync),
    /// A name of the dataset that is the same for all who buy it.
    pub dataset: String,
    /// The most that these samples may cost, whenever they were bought.
    pub budget: Budget,
    /// What is being done, and what is counted, for people.
    pub task: (&'static str, &'static str),
}
