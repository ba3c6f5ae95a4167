//! The log view, the page people live in: a bounded store, a query, a viewport and how they are painted.
//!
//! Called by the page that owns a [`LogsModel`]. The model is plain data and plain functions: it never waits, does no I/O, holds no
//! engine. What it wants done it says in [`LogsCommand`]s; what happened it is told by `feed`, `older` and `ended`.
//!
//! ```text
//!  LogStream(s) -> feed::spawn -> LogBatch -> model.feed -> store -> view -> cells
//!  key -> LogsAction -> model.apply -> LogsCommand -> executor
//! ```

mod action;
mod cells;
mod classify;
mod command;
mod display;
mod export;
mod feed;
mod histogram;
mod meter;
mod model;
mod paint;
mod pattern;
mod store;
mod times;

pub use action::LogsAction;
pub use classify::Level;
pub use command::{LogSource, LogsCommand, SourceIdx, SourceQuery};
pub use display::JsonMode;
pub use export::Export;
pub use feed::{Credit, LogBatch, SourceEnd, pump};
pub use meter::Meter;
pub use model::{LogsModel, LogsOptions, MatchCount, Wrap};
pub use paint::{Focus, MeterLine};
pub use times::TimeMode;
