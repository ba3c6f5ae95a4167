//! What a log view wants done for it. The executor does it and answers through `feed`, `older`, `ended`.

use std::time::SystemTime;

use super::export::Export;

/// A source's place in the view it belongs to; the order of `LogsModel::sources`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceIdx(pub u16);

/// Where lines come from: a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSource {
    /// What the engine is asked for.
    pub container: String,
    /// What the prefix column shows.
    pub label: String,
}

/// One source's part of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceQuery {
    pub source: SourceIdx,
    pub container: String,
    /// Only the last N lines first; `None` is everything since `since`.
    pub tail: Option<u64>,
    /// Inclusive. The model takes out the lines it already holds.
    pub since: Option<SystemTime>,
}

/// Work for the executor.
#[derive(Debug)]
pub enum LogsCommand {
    /// Follow these sources, in place of whatever was followed before by this view for the same sources.
    /// Batches carry `generation`; older generations are ignored by the model.
    Subscribe { generation: u64, queries: Vec<SourceQuery> },
    /// Read `n` lines not after `until` (inclusive) of one source, no following; answer with `LogsModel::older`.
    FetchOlder { generation: u64, source: SourceIdx, container: String, until: SystemTime, n: u64 },
    /// Write the export to a file, on a thread that may block. `suggested_name` has no directory.
    Save { export: Box<Export>, suggested_name: String },
    /// Put this on the clipboard.
    Copy { text: String },
}
