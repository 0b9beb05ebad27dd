//! The list of filters. Adding one adds its file and its lines here.

use crate::{DuplicatesConfig, Filter, FormatConfig, LengthConfig, VerifyConfig, VoteConfig};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

/// One filter, as a recipe lists it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum FilterConfig {
    /// Is it whole?
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

impl FilterConfig {
    /// The kinds a recipe may name.
    pub const KINDS: &'static [&'static str] = &["format", "length", "duplicates", "verify", "vote"];

    /// Reads the configuration of a filter of that kind.
    ///
    /// # Errors
    /// When there is no such kind, or what the deserializer says.
    pub fn deserialize_as<'de, D: Deserializer<'de>>(kind: &str, deserializer: D) -> Result<FilterConfig, D::Error> {
        Ok(match kind {
            "format" => FilterConfig::Format(Deserialize::deserialize(deserializer)?),
            "length" => FilterConfig::Length(Deserialize::deserialize(deserializer)?),
            "duplicates" => FilterConfig::Duplicates(Deserialize::deserialize(deserializer)?),
            "verify" => FilterConfig::Verify(Deserialize::deserialize(deserializer)?),
            "vote" => FilterConfig::Vote(Deserialize::deserialize(deserializer)?),
            other => return Err(D::Error::unknown_variant(other, FilterConfig::KINDS)),
        })
    }

    /// The filter itself.
    pub fn filter(&self) -> &dyn Filter {
        match self {
            FilterConfig::Format(config) => config,
            FilterConfig::Length(config) => config,
            FilterConfig::Duplicates(config) => config,
            FilterConfig::Verify(config) => config,
            FilterConfig::Vote(config) => config,
        }
    }

    /// Its kind, as recipes write it.
    pub fn kind(&self) -> &'static str {
        self.filter().stage().name
    }
}
