//! Settings: where the store lives, the config file, logging. Called by `main` and the faces; never creates a store.

pub mod places;

pub use places::Places;
