//! What a daemon sent → what the engine traits say. Called by `remote` for every answer. Reading is lenient (see `read`): podman's nulls,
//! fields of other versions and missing ones never fail a whole answer; where something is essential, as an id, a row without it is left out.

use std::collections::HashSet;

pub mod container;
pub mod event;
pub mod image;
pub mod progress;
pub mod spec;
pub mod stats;
pub mod system;
pub mod things;

/// What selects by id needs each once: of rows that come twice the first counts.
fn once_each<T>(rows: impl Iterator<Item = T>, key: impl Fn(&T) -> &str) -> Vec<T> {
    let mut seen = HashSet::new();
    rows.filter(|row| seen.insert(key(row).to_owned())).collect()
}
