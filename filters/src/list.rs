//! The list of filters. Adding one adds its file and its line here.

use crate::{
    DuplicatesConfig, Filter, FormatConfig, LanguageConfig, LengthConfig, RepetitionConfig, StyleConfig, VerifyConfig,
    VoteConfig,
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{
        Error,
        value::{self, UnitDeserializer},
    },
};
use serde_json::{Map, Value};
use std::{fmt, sync::Arc};

/// How the configuration of a filter is read, by its kind.
type Reader<D, E> = (&'static str, fn(D) -> Result<FilterConfig, E>);

fn list<'de, D: Deserializer<'de>>() -> Vec<Reader<D, D::Error>> {
    vec![
        ("format", read::<FormatConfig, D>),
        ("length", read::<LengthConfig, D>),
        ("language", read::<LanguageConfig, D>),
        ("style", read::<StyleConfig, D>),
        ("duplicates", read::<DuplicatesConfig, D>),
        ("repetition", read::<RepetitionConfig, D>),
        ("verify", read::<VerifyConfig, D>),
        ("vote", read::<VoteConfig, D>),
    ]
}

fn read<'de, T: Filter + Serialize + Deserialize<'de> + 'static, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<FilterConfig, D::Error> {
    FilterConfig::new(T::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// One filter, as a recipe lists it.
#[derive(Clone)]
pub struct FilterConfig {
    /// With its kind.
    settings: Map<String, Value>,
    filter: Arc<dyn Filter>,
    /// The sources that it looks at, by their places; all where there is nothing.
    sources: Option<Vec<usize>>,
}

impl FilterConfig {
    /// A filter with its settings. Its kind is the name of its stage.
    ///
    /// # Errors
    /// When the settings are no table.
    pub fn new<T: Filter + Serialize + 'static>(config: T) -> Result<FilterConfig, serde_json::Error> {
        let mut settings = Map::from_iter([("kind".to_owned(), config.stage().name.into())]);
        settings.extend(serde_json::from_value::<Map<String, Value>>(serde_json::to_value(&config)?)?);
        Ok(FilterConfig { settings, filter: Arc::new(config), sources: None })
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

    /// The filter itself.
    pub fn filter(&self) -> &dyn Filter {
        &*self.filter
    }

    /// Its kind, as recipes write it.
    pub fn kind(&self) -> &'static str {
        self.filter.stage().name
    }
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
