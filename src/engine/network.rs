//! Networks.

use std::collections::BTreeMap;

/// A row of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkSummary {
    pub id: String,
    pub name: String,
    /// `bridge`, `host`, `null`.
    pub driver: String,
    pub scope: String,
    pub labels: BTreeMap<String, String>,
}
