//! Jobs under way and short messages. Changed by `update`, painted by the footer and the toast corner.

use std::time::{Duration, Instant};

use crate::engine::progress::Step;

/// How long a message stays.
pub const TOAST_TIME: Duration = Duration::from_secs(4);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Good,
    Info,
    Warning,
    Bad,
}

/// A short message in the corner.
#[derive(Clone, Debug)]
pub struct Toast {
    pub tone: Tone,
    pub text: String,
    pub until: Instant,
}

/// A piece of work that takes time.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: u64,
    /// `stopping web-1`.
    pub title: String,
    pub started: Instant,
    pub progress: Option<Step>,
}

impl Job {
    /// 0..=1 when the engine told how much there is.
    pub fn ratio(&self) -> Option<f64> {
        let step = self.progress.as_ref()?;
        let total = step.total_bytes.filter(|total| *total > 0)?;
        Some((step.done_bytes as f64 / total as f64).clamp(0.0, 1.0))
    }
}
