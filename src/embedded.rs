//! The engine in this process: implements the `engine` traits on the store, the shims and the runtime. Called by `main`.

mod events;
mod host;
mod merge;
mod record;
mod signals;
mod spec;
mod top;
mod validate;
