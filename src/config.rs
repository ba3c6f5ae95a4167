//! Settings: where the store lives, the config file, logging. Called by `main` and the faces; never creates a store.

pub mod command_line;
pub mod contexts;
pub mod credentials;
pub mod host;
pub mod logging;
pub mod places;
pub mod registries;
pub mod settings;

pub use command_line::{Completion, LineOutput, LineRunner, LineStream};
pub use places::Places;
pub use registries::Registries;
pub use settings::{ConfigFile, Settings};
