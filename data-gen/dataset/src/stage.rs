//! What a stage says of itself, beside its code: its name, its version, and the part of its configuration that decides
//! its result. From these and its inputs comes its key.
//!
//! A stage is a `const` of [`Stage`] and a free function. Its units of work are the shards of its main input (a *map*),
//! or one (a *gather*); whoever runs stages claims, runs and commits them (`store.rs`).

use crate::digest::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// A stage's name and the version of its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its folder in the store.
    pub name: &'static str,
    /// Raised whenever its code, or a default of its configuration, gives other results for the same inputs.
    pub version: u32,
}

/// The settings that a key hashes: `name = value`, of what differs from the defaults, sorted.
///
/// An option that nobody sets is in no key, so adding one makes nothing again. What only says how to run is left out by
/// its owner (`#[serde(skip_serializing)]`).
///
/// ```
/// use distill_dataset::Keyed;
/// use serde_json::json;
///
/// let keyed = Keyed::of(&json!({"epochs": 7, "betas": [0.9, 0.95], "note": null}), &json!({"betas": [0.9, 0.95]}));
/// assert_eq!(keyed.to_string(), "epochs = 7\n");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Keyed(BTreeMap<String, String>);

impl Keyed {
    /// The settings of `config` that differ from `unset`, which is the same configuration with nothing set.
    pub fn of(config: &impl Serialize, unset: &impl Serialize) -> Keyed {
        let (mut set, mut defaults) = (BTreeMap::new(), BTreeMap::new());
        flatten("", &as_value(config), &mut set);
        flatten("", &as_value(unset), &mut defaults);
        set.retain(|name, value| defaults.get(name) != Some(value));
        // A default that is switched off is a setting too.
        for name in defaults.into_keys().filter(|name| !name.is_empty()) {
            if !set.contains_key(&name) && is_absent(&as_value(config), &name) {
                set.insert(name, "none".to_owned());
            }
        }
        Keyed(set)
    }

    /// Every setting of `config`, for one without defaults.
    pub fn all(config: &impl Serialize) -> Keyed {
        Keyed::of(config, &Value::Null)
    }

    /// Adds one setting.
    pub fn with(mut self, name: &str, value: impl Serialize) -> Keyed {
        self.0.insert(name.to_owned(), as_value(&value).to_string());
        self
    }

    /// Adds the settings of a part under its name.
    pub fn nest(mut self, name: &str, part: Keyed) -> Keyed {
        self.0.extend(part.0.into_iter().map(|(inner, value)| (format!("{name}.{inner}"), value)));
        self
    }
}

impl std::fmt::Display for Keyed {
    /// One `name = value` a line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|(name, value)| writeln!(f, "{name} = {value}"))
    }
}

fn as_value(config: &impl Serialize) -> Value {
    serde_json::to_value(config).unwrap_or_else(|error| Value::String(format!("unserialisable: {error}")))
}

/// Tables become dotted names; lists are one value; what is absent is not there.
fn flatten(name: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Null => {}
        Value::Object(table) => {
            for (key, value) in table {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(&name, value, into);
            }
        }
        other => {
            into.insert(name.to_owned(), other.to_string());
        }
    }
}

/// Whether `config` says *nothing* at a dotted name, or at a table on the way to it.
fn is_absent(config: &Value, name: &str) -> bool {
    let mut value = config;
    for key in name.split('.') {
        match value.get(key) {
            Some(Value::Null) => return true,
            Some(inner) => value = inner,
            None => return false,
        }
    }
    false
}

/// The key of a stage's result: hash(name, version, settings, each input's name and content digest). 64 hex digits.
pub fn stage_key<'i>(stage: Stage, settings: &Keyed, inputs: impl IntoIterator<Item = (&'i str, &'i str)>) -> String {
    let mut digest = Digest::new("stage-key");
    digest.field(stage.name).field(&stage.version.to_string()).field(&settings.to_string());
    for (name, content) in inputs {
        digest.field(name).field(content);
    }
    digest.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_key_holds_what_differs_and_nothing_else() {
        let unset = json!({"a": 1, "table": {"b": true, "c": "x"}, "list": [1, 2], "most": 5});
        let keyed = |config| Keyed::of(&config, &unset).to_string();
        assert_eq!(keyed(unset.clone()), "", "what nobody set is in no key");
        let more = json!({"a": 1, "table": {"b": true, "c": "x"}, "list": [1, 2], "most": 5, "new": null});
        assert_eq!(keyed(more), "", "a new option that is not set changes no key");
        let changed = json!({"a": 2, "table": {"b": true, "c": "y"}, "list": [2, 1], "most": 5});
        assert_eq!(keyed(changed), "a = 2\nlist = [2,1]\ntable.c = \"y\"\n");
        let off = json!({"a": 1, "table": {"b": true, "c": "x"}, "list": [1, 2], "most": null});
        assert_eq!(keyed(off), "most = none\n", "a default that is switched off is a setting");
    }

    #[test]
    fn a_key_depends_on_every_part() {
        let stage = Stage { name: "export", version: 1 };
        let settings = Keyed::default().with("name", "x");
        let keys = [
            stage_key(stage, &settings, [("traces", "a")]),
            stage_key(Stage { version: 2, ..stage }, &settings, [("traces", "a")]),
            stage_key(Stage { name: "examples", ..stage }, &settings, [("traces", "a")]),
            stage_key(stage, &Keyed::default(), [("traces", "a")]),
            stage_key(stage, &settings, [("traces", "b")]),
            stage_key(stage, &settings, [("problems", "a")]),
            stage_key(stage, &settings, [("traces", "a"), ("traces", "a")]),
        ];
        let distinct: std::collections::BTreeSet<&String> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }
}
