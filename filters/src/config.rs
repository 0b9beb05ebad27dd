//! What a recipe may say of each filter: parameters of the measurement, and thresholds of the decision.

use distill_dataset::{Measure, Outcome, Verdict};
use distill_verify::Policy;
use serde::{Deserialize, Serialize};

/// One filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum FilterConfig {
    /// Are the tags closed, is one answer boxed?
    Format(FormatConfig),
    /// Is it too short or too long?
    Length(LengthConfig),
    /// Was the same said before?
    Duplicates(DuplicatesConfig),
    /// Is the answer right?
    Verify(VerifyConfig),
    /// Does it say what most answers to its problem say?
    Vote(VoteConfig),
}

/// The form of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct FormatConfig {
    /// Whether reasoning between `<think>` and `</think>` must precede the answer.
    pub reasoning: bool,
    /// Whether exactly one answer must be boxed.
    pub boxed: bool,
}

impl Default for FormatConfig {
    fn default() -> Self {
        FormatConfig { reasoning: true, boxed: true }
    }
}

/// Length in completion tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LengthConfig {
    /// Fewer is too short.
    pub min_tokens: u32,
    /// More is too long; no limit when absent.
    pub max_tokens: Option<u32>,
}

/// Exact repetition of a turn within a problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct DuplicatesConfig {
    /// How many equal turns of one problem are kept.
    pub max_copies: u32,
}

impl Default for DuplicatesConfig {
    fn default() -> Self {
        DuplicatesConfig { max_copies: 1 }
    }
}

/// What becomes of a trace that a judge cannot decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnknown {
    /// It goes on.
    Keep,
    /// It is dropped.
    Reject,
}

/// Is the answer right?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VerifyConfig {
    /// What becomes of answers that cannot be judged.
    pub on_unknown: OnUnknown,
    /// Where conventions differ: what counts as the same.
    #[serde(default)]
    pub policy: Policy,
}

/// Agreement with the majority, for problems whose answer nobody knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VoteConfig {
    /// The share of a problem's answers that must say the same, of those that say anything.
    #[serde(default = "half")]
    pub min_share: f64,
    /// What becomes of traces without an answer, of ties, and of what cannot be compared.
    pub on_unknown: OnUnknown,
    /// Where conventions differ: what counts as the same.
    #[serde(default)]
    pub policy: Policy,
}

fn half() -> f64 {
    0.5
}

/// What a side table depends on: the part of a filter's configuration without thresholds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Measurement {
    /// The form.
    Format(FormatConfig),
    /// Completion tokens.
    Length,
    /// How often the same was said before.
    Duplicates,
    /// The verdict on the answer.
    Verify(Policy),
    /// The share of answers that say the same.
    Vote(Policy),
}

impl FilterConfig {
    /// The kinds a recipe may name.
    pub const KINDS: &'static [&'static str] = &["format", "length", "duplicates", "verify", "vote"];

    /// Its kind, as recipes write it.
    pub fn kind(&self) -> &'static str {
        match self {
            FilterConfig::Format(_) => "format",
            FilterConfig::Length(_) => "length",
            FilterConfig::Duplicates(_) => "duplicates",
            FilterConfig::Verify(_) => "verify",
            FilterConfig::Vote(_) => "vote",
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// Which key, expected and found.
    pub fn check(&self) -> Result<(), String> {
        match self {
            FilterConfig::Length(LengthConfig { min_tokens, max_tokens: Some(max) }) if min_tokens > max => {
                Err(format!("`min-tokens`: expected at most max-tokens = {max}, found {min_tokens}"))
            }
            FilterConfig::Duplicates(DuplicatesConfig { max_copies: 0 }) => {
                Err("`max-copies`: expected at least 1, found 0".to_owned())
            }
            FilterConfig::Vote(VoteConfig { min_share, .. }) if !(0.0..=1.0).contains(min_share) => {
                Err(format!("`min-share`: expected 0 to 1, found {min_share}"))
            }
            _ => Ok(()),
        }
    }

    /// What is measured.
    pub fn measurement(&self) -> Measurement {
        match self {
            FilterConfig::Format(config) => Measurement::Format(config.clone()),
            FilterConfig::Length(_) => Measurement::Length,
            FilterConfig::Duplicates(_) => Measurement::Duplicates,
            FilterConfig::Verify(config) => Measurement::Verify(config.policy.clone()),
            FilterConfig::Vote(config) => Measurement::Vote(config.policy.clone()),
        }
    }

    /// What follows from a measure: the outcome, whether the trace goes on, and the reason if not.
    pub fn decide(&self, measure: &Measure) -> (Outcome, bool, String) {
        let value = measure.value.unwrap_or(0.0);
        let reject = |reason: &str| (Outcome::Reject, false, reason.to_owned());
        match self {
            FilterConfig::Length(config) if value < f64::from(config.min_tokens) => reject("too-short"),
            FilterConfig::Length(config) if config.max_tokens.is_some_and(|most| value > f64::from(most)) => {
                reject("too-long")
            }
            FilterConfig::Duplicates(config) if value >= f64::from(config.max_copies) => reject("duplicate"),
            FilterConfig::Length(_) | FilterConfig::Duplicates(_) => (Outcome::Accept, true, String::new()),
            // A majority that is too small says nothing.
            FilterConfig::Vote(config) if measure.verdict != Some(Verdict::Unknown) && value < config.min_share => {
                (Outcome::Unknown, config.on_unknown == OnUnknown::Keep, "small-majority".to_owned())
            }
            FilterConfig::Format(_) | FilterConfig::Verify(_) | FilterConfig::Vote(_) => match measure.verdict {
                Some(Verdict::Pass) => (Outcome::Accept, true, String::new()),
                Some(Verdict::Fail) => reject(&measure.reason),
                Some(Verdict::Unknown) | None => {
                    let keep = match self {
                        FilterConfig::Verify(config) => config.on_unknown == OnUnknown::Keep,
                        FilterConfig::Vote(config) => config.on_unknown == OnUnknown::Keep,
                        _ => false,
                    };
                    (Outcome::Unknown, keep, measure.reason.clone())
                }
            },
        }
    }
}
