//! Jobs under way and short messages. Changed by `update`, painted by the footer and the toast corner.

use std::time::{Duration, Instant};

use crate::engine::EngineError;
use crate::engine::progress::Step;

use super::super::msg::Work;

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
    /// What is being done, so that it can be done again.
    pub work: Work,
    /// The last step of each part, in order of their first.
    pub parts: Vec<Step>,
    /// When bytes began to move, and how many there were then: what an earlier try left costs no time.
    first_bytes: Option<(Instant, u64)>,
}

/// A piece of work that has ended.
#[derive(Clone, Debug)]
pub struct PastJob {
    pub title: String,
    pub work: Work,
    pub parts: Vec<Step>,
    pub took: Duration,
    pub end: JobEnd,
}

#[derive(Clone, Debug)]
pub enum JobEnd {
    Done,
    Cancelled,
    Failed(EngineError),
}

/// Past jobs kept for the list of jobs.
pub const MAX_PAST_JOBS: usize = 20;
/// Parts kept of a job; layers are fewer, files of a host may be more.
const MAX_PARTS: usize = 256;

impl Job {
    pub fn new(id: u64, title: String, started: Instant, work: Work) -> Self {
        Self { id, title, started, work, parts: Vec::new(), first_bytes: None }
    }

    /// Takes a step in.
    pub fn step(&mut self, step: Step, now: Instant) {
        match self.parts.iter_mut().find(|part| part.part == step.part) {
            Some(known) => *known = step,
            None => {
                if self.parts.len() >= MAX_PARTS {
                    self.parts.remove(0);
                }
                self.parts.push(step);
            }
        }
        let moves = self.parts.iter().any(|part| matches!(part.verb, "fetching" | "pushing"));
        if self.first_bytes.is_none() && moves {
            self.first_bytes = Some((now, self.bytes().0));
        }
    }

    /// Bytes done and bytes in all, over the parts that say how much there is.
    pub fn bytes(&self) -> (u64, u64) {
        self.parts.iter().fold((0, 0), |(done, all), part| {
            let total = part.total_bytes.unwrap_or(0);
            let moved = matches!(part.verb, "fetching" | "pushing" | "waiting" | "preparing" | "verifying");
            (done + if moved { part.done_bytes.min(total) } else { total }, all + total)
        })
    }

    /// 0..=1 when the engine told how much there is.
    pub fn ratio(&self) -> Option<f64> {
        match (self.parts.len(), self.bytes()) {
            (_, (_, 0)) => None,
            // One part is its own measure, whatever is done to it.
            (1, (_, total)) => Some((self.parts[0].done_bytes as f64 / total as f64).clamp(0.0, 1.0)),
            (_, (done, total)) => Some((done as f64 / total as f64).clamp(0.0, 1.0)),
        }
    }

    /// Bytes a second since bytes began to move; `None` in the first second.
    pub fn rate(&self, now: Instant) -> Option<f64> {
        let (since, before) = self.first_bytes?;
        let spent = now.saturating_duration_since(since).as_secs_f64();
        let moved = self.bytes().0.saturating_sub(before) as f64;
        (spent >= 1.0 && moved > 0.0).then(|| moved / spent)
    }

    /// How long it will take at the pace so far.
    pub fn eta(&self, now: Instant) -> Option<Duration> {
        let (done, total) = self.bytes();
        let left = total.saturating_sub(done);
        (left > 0).then(|| self.rate(now).map(|rate| Duration::from_secs_f64(left as f64 / rate)))?
    }

    /// The step that says most: the last that is still going on.
    pub fn present_step(&self) -> Option<&Step> {
        self.parts.iter().rfind(|part| !part.is_settled() && part.verb != "waiting").or(self.parts.last())
    }

    pub fn ended(self, end: JobEnd, now: Instant) -> PastJob {
        let took = now.saturating_duration_since(self.started);
        PastJob { title: self.title, work: self.work, parts: self.parts, took, end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_counts_what_this_try_moved() {
        let start = Instant::now();
        let after = |secs| start + Duration::from_secs(secs);
        let work = Work::Pull { reference: "a".to_owned() };
        let mut job = Job::new(1, "pulling a".to_owned(), start, work);
        let step = |part: &str, verb, done_bytes, total| Step {
            part: part.to_owned(),
            verb,
            done_bytes,
            total_bytes: Some(total),
        };
        job.step(step("x", "waiting", 0, 1000), after(0));
        job.step(step("y", "present", 500, 500), after(0));
        assert_eq!((job.bytes(), job.eta(after(5))), ((500, 1500), None));
        job.step(step("x", "fetching", 200, 1000), after(5));
        assert_eq!(job.rate(after(5)), None, "not in the first second");
        job.step(step("x", "fetching", 600, 1000), after(9));
        assert_eq!(job.eta(after(9)), Some(Duration::from_secs(4)));
        job.step(step("x", "extracting", 100, 1000), after(10));
        assert_eq!((job.bytes(), job.ratio(), job.eta(after(10))), ((1500, 1500), Some(1.0), None));
    }
}
