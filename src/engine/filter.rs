//! Filters of lists, prunes and events: a multimap of key to values, as `--filter key=value` gives them.
//! Values of one key are OR-ed, except `label`, which is AND-ed; keys are AND-ed (docker's rule). Engines reject unknown keys with `Invalid`.

use std::collections::BTreeMap;

use super::error::{Class, EngineError, Result};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(pub BTreeMap<String, Vec<String>>);

impl Filters {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values of a key; empty when it was not given.
    pub fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.0.entry(key.to_owned()).or_default().push(value.into());
        self
    }

    /// Adds a `key=value` as typed. `Invalid` when there is no `=`.
    pub fn add(&mut self, typed: &str) -> Result<()> {
        let (key, value) = typed.split_once('=').ok_or_else(|| {
            EngineError::new(
                Class::Invalid,
                typed,
                format!("invalid argument \"{typed}\" for \"-f, --filter\" flag: invalid filter '{typed}'"),
            )
            .with_hint("write it as key=value, for example --filter status=running")
        })?;
        self.0.entry(key.trim().to_lowercase()).or_default().push(value.trim().to_owned());
        Ok(())
    }

    /// `Invalid` when a key is not among those known.
    pub fn check_keys(&self, known: &[&str]) -> Result<()> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(EngineError::new(Class::Invalid, key, format!("invalid filter '{key}'"))
                .with_hint(format!("known filters here: {}", known.join(", ")))),
        }
    }

    /// Whether labels satisfy every `label` filter (`key` or `key=value`) and no `label!` filter.
    pub fn match_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |wanted: &String| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|present| present == value),
            None => labels.contains_key(wanted),
        };
        self.values("label").iter().all(has) && !self.values("label!").iter().any(has)
    }
}
