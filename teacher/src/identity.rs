//! Who answers, told so exactly that two teachers which could say different things are never taken for one.

use distill_dataset::{Digest, SamplingParams, TurnFormat, trace_id};
use std::collections::BTreeMap;

/// Who answers: part of every sample's identity. What is empty is not known or does not apply, and changes no identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Name and revision: for a checkpoint the digest of its weights, for an endpoint the model's name and revision.
    pub teacher: String,
    /// Digest of the chat template; empty when the endpoint applies its own.
    pub template_hash: String,
    /// Which call of an endpoint is used, `chat` or `completions`; empty in this process.
    pub api: String,
    /// How its turns are laid out. The prefix is what our template puts into the assistant's turn.
    pub turn: TurnFormat,
    /// Engine and precision of an endpoint, as the recipe tells them, e.g. `vllm fp8`.
    pub served_as: String,
    /// Fields that are sent with every request, such as `top_k`, as JSON.
    pub body: String,
}

/// How one of a problem's samples is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variant<'a> {
    /// What is asked of the sampler.
    pub sampling: SamplingParams,
    /// A system prompt in the place of the problem's own.
    pub system: Option<&'a str>,
}

impl From<&SamplingParams> for Variant<'_> {
    fn from(sampling: &SamplingParams) -> Self {
        Variant { sampling: *sampling, system: None }
    }
}

impl Identity {
    /// What is set, by name.
    pub fn pairs(&self) -> BTreeMap<String, String> {
        let (usual, turn) = (TurnFormat::default(), &self.turn);
        let unusual = |tag: &String, usual: &String| if tag == usual { String::new() } else { tag.clone() };
        // In this process the template's digest says what it puts there.
        let prefix = if self.api.is_empty() { "" } else { &turn.prefix };
        let all = [
            ("teacher", self.teacher.clone()),
            ("template", self.template_hash.clone()),
            ("api", self.api.clone()),
            ("prefill", prefix.to_owned()),
            ("served-as", self.served_as.clone()),
            ("body", self.body.clone()),
            ("reasoning-open", unusual(&turn.open, &usual.open)),
            ("reasoning-close", unusual(&turn.close, &usual.close)),
        ];
        all.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// What is set, on one line: for the keys of stages, and for people.
    pub fn describe(&self) -> String {
        let pairs = self.pairs();
        pairs.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(" ")
    }

    /// A digest of what is set.
    pub fn digest(&self) -> String {
        let mut digest = Digest::new("identity");
        for (name, value) in self.pairs() {
            digest.field(&name).field(&value);
        }
        digest.finish_short()
    }

    /// Everything that is asked of it, by name. An evaluation's samples carry their `seed`, so that they are no
    /// training samples.
    pub fn asked<'v>(&self, variant: impl Into<Variant<'v>>, seed: Option<u64>) -> BTreeMap<String, String> {
        let (mut asked, variant) = (self.pairs(), variant.into());
        asked.extend(variant.sampling.pairs());
        asked.extend(variant.system.map(|system| ("system".to_owned(), system.to_owned())));
        asked.extend(seed.map(|seed| ("seed".to_owned(), seed.to_string())));
        asked
    }

    /// The identity of one training sample.
    pub fn sample_id<'v>(&self, problem_id: &str, variant: impl Into<Variant<'v>>, sample_index: u32) -> String {
        trace_id(problem_id, &self.asked(variant, None), sample_index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_changes_no_identity_and_what_is_set_does() {
        let plain = Identity { teacher: "r1@1".to_owned(), api: "chat".to_owned(), ..Identity::default() };
        let sampling = SamplingParams { temperature: 0.6, top_p: 0.95, max_new_tokens: 64, log_probabilities: None };
        let id = |identity: &Identity| identity.sample_id("p", &sampling, 0);
        // Written down: an identity that moves buys everything again.
        assert_eq!(id(&plain), "0a9cc5591dba0f8442787d9445da24fe");
        for other in [
            Identity { api: "completions".to_owned(), ..plain.clone() },
            Identity { template_hash: "t".to_owned(), ..plain.clone() },
            Identity { turn: TurnFormat::of_prompt("<think>\n"), ..plain.clone() },
            Identity { turn: TurnFormat { close: "</r>".to_owned(), ..TurnFormat::default() }, ..plain.clone() },
            Identity { served_as: "vllm fp8".to_owned(), ..plain.clone() },
        ] {
            assert_ne!(id(&plain), id(&other), "{}", other.describe());
            assert_ne!(plain.describe(), other.describe());
            assert_ne!(plain.digest(), other.digest());
        }
        let prompted = Variant { sampling, system: Some("Reflect.") };
        assert_ne!(plain.sample_id("p", prompted, 0), id(&plain), "another system prompt is another sample");
        let seeded = trace_id("p", &plain.asked(&sampling, Some(1)), 0);
        assert_ne!(seeded, id(&plain), "an attempt of an evaluation is no training sample");
    }
}
