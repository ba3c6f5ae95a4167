//! How a long operation reports itself: a callback that must not block.

use std::sync::Arc;

/// One step forward. Faces coalesce; engines may drop intermediate ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The part it concerns: a layer's short digest, a file; empty for the whole.
    pub part: String,
    /// `extracting`, `verifying`, `copying`, …
    pub verb: &'static str,
    pub done_bytes: u64,
    /// `None` when not known.
    pub total_bytes: Option<u64>,
}

impl Step {
    /// Whether its part has nothing more to wait for.
    pub fn is_settled(&self) -> bool {
        matches!(self.verb, "present" | "done" | "exists" | "mounted" | "pushed")
    }
}

/// Where steps go. Cheap to clone; called from any thread.
#[derive(Clone)]
pub struct Progress(pub Arc<dyn Fn(Step) + Send + Sync>);

impl Progress {
    /// Nobody is watching.
    pub fn none() -> Self {
        Self(Arc::new(|_| {}))
    }

    pub fn report(&self, step: Step) {
        (self.0)(step);
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}
