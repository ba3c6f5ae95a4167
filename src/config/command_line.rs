//! What the screen's `:` line needs of the command line: the two faces are strangers, so `main` hands one to the other through this trait.
//! Implemented by `cli`, called by `tui`; it never writes to the terminal itself.

use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;

use crate::engine::Engine;

/// Something that could be typed next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// The whole word that would stand at the cursor.
    pub word: String,
    /// What it does, one short sentence; empty for values such as container names.
    pub help: String,
}

/// One step of a running line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineOutput {
    /// Text for the output pane, one line without its newline. Untrusted: escape before showing.
    Out(String),
    /// The same, said on stderr: errors, warnings, hints.
    Err(String),
    /// It ended with this exit code; nothing follows.
    Ended(u8),
}

pub type LineStream = Pin<Box<dyn Stream<Item = LineOutput> + Send>>;

/// Runs CLI verbs as typed after `:`. Needs a tokio runtime around it; dropping the stream cancels the line.
pub trait LineRunner: Send + Sync {
    /// Words that may stand at the end of `line` (verbs, subcommands, flags), best first. No I/O; container and image names are
    /// for the caller to add.
    fn complete(&self, line: &str) -> Vec<Completion>;

    /// Runs the line without a terminal: what would need one (`run -it`, `attach`) ends with a sentence that says so.
    fn run(&self, engine: Arc<dyn Engine>, line: &str) -> LineStream;
}
