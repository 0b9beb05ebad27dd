//! The list of filters. Adding one adds its file and its line here.

use crate::{
    BestConfig, ConciseConfig, ContaminationConfig, Contest, CoverageConfig, DuplicatesConfig, Filter, FormatConfig,
    JudgeConfig, LanguageConfig, LengthConfig, Listed, LongShortConfig, NearDuplicatesConfig, PassRateConfig,
    QuotaConfig, RandomConfig, RepetitionConfig, Selector, StyleConfig, VerifyConfig, VoteConfig,
};
use distill_dataset::Keyed;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{
        Error,
        value::{self, UnitDeserializer},
    },
};
use serde_json::{Map, Value};
use std::{fmt, path::Path, sync::Arc};

/// How the configuration of a filter is read, by its kind.
type Reader<D, E> = (&'static str, fn(D) -> Result<FilterConfig, E>);

fn list<'de, D: Deserializer<'de>>() -> Vec<Reader<D, D::Error>> {
    vec![
        ("format", read::<FormatConfig, D>),
        ("length", read::<LengthConfig, D>),
        ("language", read::<LanguageConfig, D>),
        ("style", read::<StyleConfig, D>),
        ("duplicates", read::<DuplicatesConfig, D>),
        ("near-duplicates", read::<NearDuplicatesConfig, D>),
        ("contamination", read::<ContaminationConfig, D>),
        ("repetition", read::<RepetitionConfig, D>),
        ("verify", read::<VerifyConfig, D>),
        ("judge", read::<JudgeConfig, D>),
        ("vote", read::<VoteConfig, D>),
        ("pass-rate", chosen::<PassRateConfig, D>),
        ("concise", chosen::<ConciseConfig, D>),
        ("best", chosen::<BestConfig, D>),
        ("quota", read::<QuotaConfig, D>),
        ("coverage", read::<CoverageConfig, D>),
        ("long-short", chosen::<LongShortConfig, D>),
        ("random", chosen::<RandomConfig, D>),
    ]
}

/// The kinds that look at problems alone; a test holds it to what each says of itself.
const ON_PROBLEMS: [&str; 9] = [
    "length",
    "language",
    "duplicates",
    "near-duplicates",
    "contamination",
    "repetition",
    "quota",
    "coverage",
    "random",
];

fn read<'de, T: Filter + Serialize + Deserialize<'de> + 'static, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<FilterConfig, D::Error> {
    FilterConfig::new(T::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn chosen<'de, T: Selector + Serialize + Deserialize<'de> + 'static, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<FilterConfig, D::Error> {
    FilterConfig::selector(T::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// What measures, or chooses without measuring.
#[derive(Clone)]
enum Step {
    Filter(Arc<dyn Filter>),
    Selector(Arc<dyn Selector>),
}

/// One filter or selector, as a recipe lists it.
#[derive(Clone)]
pub struct FilterConfig {
    /// With its kind.
    settings: Map<String, Value>,
    step: Step,
    /// The sources that it looks at, by their places; all where there is nothing.
    sources: Option<Vec<usize>>,
}

impl FilterConfig {
    /// A filter with its settings. Its kind is the name of its stage.
    ///
    /// # Errors
    /// When the settings are no table.
    pub fn new<T: Filter + Serialize + 'static>(config: T) -> Result<FilterConfig, serde_json::Error> {
        let settings = settings_of(config.stage().name, &config)?;
        Ok(FilterConfig { settings, step: Step::Filter(Arc::new(config)), sources: None })
    }

    /// A selector with its settings.
    ///
    /// # Errors
    /// When the settings are no table.
    pub fn selector<T: Selector + Serialize + 'static>(config: T) -> Result<FilterConfig, serde_json::Error> {
        let settings = settings_of(config.kind(), &config)?;
        Ok(FilterConfig { settings, step: Step::Selector(Arc::new(config)), sources: None })
    }

    /// As it is, for some sources only: their places, in order, and their names.
    pub fn only(mut self, sources: Vec<(usize, String)>) -> FilterConfig {
        let (places, names): (Vec<usize>, Vec<String>) = sources.into_iter().unzip();
        self.settings.insert("sources".to_owned(), names.into());
        FilterConfig { sources: Some(places), ..self }
    }

    /// The sources that it looks at, by their places; nothing where it looks at all.
    pub fn sources(&self) -> Option<&[usize]> {
        self.sources.as_deref()
    }

    /// Whether it looks at the traces of a source. Those of others pass it by.
    pub fn looks_at(&self, source: usize) -> bool {
        self.sources.as_ref().is_none_or(|sources| sources.contains(&source))
    }

    /// The kinds a recipe may name.
    pub fn kinds() -> Vec<&'static str> {
        list::<UnitDeserializer<value::Error>>().into_iter().map(|(kind, _)| kind).collect()
    }

    /// Those of them that look at problems alone.
    pub fn kinds_on_problems() -> Vec<&'static str> {
        ON_PROBLEMS.to_vec()
    }

    /// Reads the configuration of a filter of that kind.
    ///
    /// # Errors
    /// When there is no such kind, or what the deserializer says.
    pub fn deserialize_as<'de, D: Deserializer<'de>>(kind: &str, deserializer: D) -> Result<FilterConfig, D::Error> {
        match list().into_iter().find(|(known, _)| *known == kind) {
            Some((_, read)) => read(deserializer),
            None => {
                let known = FilterConfig::kinds().join(", ");
                Err(D::Error::custom(format!("expected a filter of {known}, found `{kind}`")))
            }
        }
    }

    /// The filter itself; nothing where it measures nothing.
    pub fn filter(&self) -> Option<&dyn Filter> {
        match &self.step {
            Step::Filter(filter) => Some(&**filter),
            Step::Selector(_) => None,
        }
    }

    fn listed(&self) -> &dyn Listed {
        match &self.step {
            Step::Filter(filter) => &**filter,
            Step::Selector(selector) => &**selector,
        }
    }

    /// Its kind, as recipes write it.
    pub fn kind(&self) -> &'static str {
        match &self.step {
            Step::Filter(filter) => filter.stage().name,
            Step::Selector(selector) => selector.kind(),
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// Which key, expected and found.
    pub fn check(&self) -> Result<(), String> {
        self.listed().check()
    }

    /// The same with its paths laid from `folder`.
    ///
    /// # Errors
    /// When a path is no text.
    pub fn laid_from(self, folder: &Path) -> Result<FilterConfig, serde_json::Error> {
        let laid = self.filter().map(|filter| filter.laid_from(folder)).transpose()?;
        Ok(laid.flatten().unwrap_or(self))
    }

    /// Whether it makes sense of problems.
    pub fn on_problems(&self) -> bool {
        self.listed().on_problems()
    }

    /// Checks what only matters where it looks at problems.
    ///
    /// # Errors
    /// Which key, expected and found.
    pub fn check_on_problems(&self) -> Result<(), String> {
        self.listed().check_on_problems()
    }

    /// Whether it needs what a verifier says.
    pub fn needs_verifier(&self) -> bool {
        self.listed().needs_verifier()
    }

    /// Whether it draws lots.
    pub fn draws(&self) -> bool {
        self.listed().draws()
    }

    /// Whether it is a verifier.
    pub fn verifies(&self) -> bool {
        self.filter().is_some_and(Filter::verifies)
    }

    /// What the selection depends on.
    pub(crate) fn settings(&self) -> Keyed {
        self.listed().settings()
    }

    /// What it decides over all rows together.
    pub(crate) fn contest(&self, seed: u64) -> Option<Box<dyn Contest>> {
        match &self.step {
            Step::Filter(filter) => filter.contest(seed),
            Step::Selector(selector) => Some(selector.contest(seed)),
        }
    }
}

fn settings_of(kind: &str, config: &impl Serialize) -> Result<Map<String, Value>, serde_json::Error> {
    let mut settings = Map::from_iter([("kind".to_owned(), kind.into())]);
    settings.extend(serde_json::from_value::<Map<String, Value>>(serde_json::to_value(config)?)?);
    Ok(settings)
}

impl PartialEq for FilterConfig {
    fn eq(&self, other: &FilterConfig) -> bool {
        self.settings == other.settings
    }
}

impl fmt::Debug for FilterConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl Serialize for FilterConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.settings.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_kinds_that_look_at_problems_are_those_that_say_so() {
        let kinds = FilterConfig::kinds().into_iter().filter(|kind| {
            let settings = match *kind {
                "verify" | "judge" | "vote" => json!({"on-unknown": "keep"}),
                "long-short" => json!({"boundary": 1}),
                _ => json!({}),
            };
            FilterConfig::deserialize_as(kind, settings).expect("a filter with nothing set").on_problems()
        });
        assert_eq!(kinds.collect::<Vec<_>>(), FilterConfig::kinds_on_problems());
    }
}
