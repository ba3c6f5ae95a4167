//! Progress of load, import and from-host: one line a part, redrawn in place on a terminal, silent otherwise.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::Progress;
use crate::engine::progress::Step;
use crate::stdx::human;

/// Redrawing more often than this is noise.
const PACE: Duration = Duration::from_millis(80);
/// Lines kept in place; parts beyond share the last one.
const MAX_PARTS: usize = 16;

/// Draws steps, or not.
pub struct Meter(Option<Arc<Mutex<Drawing>>>);

#[derive(Default)]
struct Drawing {
    parts: Vec<Step>,
    n_drawn: usize,
    last: Option<Instant>,
    is_over: bool,
}

impl Meter {
    pub fn choose(is_shown: bool) -> Self {
        Self(is_shown.then(Arc::default))
    }

    /// Where the engine reports to; draws on its thread.
    pub fn progress(&self) -> Progress {
        let Some(drawing) = self.0.clone() else { return Progress::none() };
        Progress(Arc::new(move |step| {
            drawing.lock().unwrap_or_else(PoisonError::into_inner).take(step);
        }))
    }

    /// Takes the lines off the screen.
    ///
    /// # Errors
    /// Output that cannot be written.
    pub fn clear(&mut self, out: &mut dyn Write) -> std::io::Result<()> {
        let Some(drawing) = self.0.take() else { return Ok(()) };
        let mut drawing = drawing.lock().unwrap_or_else(PoisonError::into_inner);
        drawing.is_over = true;
        if drawing.n_drawn > 0 {
            write!(out, "\x1b[{}A\x1b[J", drawing.n_drawn)?;
        }
        out.flush()
    }
}

impl Drawing {
    fn take(&mut self, step: Step) {
        let known = self.parts.iter().position(|part| part.part == step.part);
        match known {
            Some(at) => self.parts[at] = step,
            None if self.parts.len() < MAX_PARTS => self.parts.push(step),
            None => {
                self.parts.pop();
                self.parts.push(step);
            }
        }
        let is_due = self.last.is_none_or(|last| last.elapsed() >= PACE);
        if is_due && !self.is_over {
            self.last = Some(Instant::now());
            self.draw();
        }
    }

    fn draw(&mut self) {
        let mut text = String::new();
        if self.n_drawn > 0 {
            text.push_str(&format!("\x1b[{}A", self.n_drawn));
        }
        for part in &self.parts {
            text.push_str(&format!("\r{}\x1b[K\n", line(part)));
        }
        self.n_drawn = self.parts.len();
        // A terminal that went away must not stop the load.
        let _ = std::io::stdout().write_all(text.as_bytes());
        let _ = std::io::stdout().flush();
    }
}

fn line(step: &Step) -> String {
    let part: String = step.part.chars().filter(|c| !c.is_control()).take(40).collect();
    let done = human::size_si(step.done_bytes);
    let Some(total) = step.total_bytes.filter(|total| *total > 0) else {
        return format!("{part}: {} {done}", step.verb);
    };
    let filled = (step.done_bytes.min(total) as u128 * 30 / u128::from(total)) as usize;
    let bar = format!("{}>{}", "=".repeat(filled.min(29)), " ".repeat(29 - filled.min(29)));
    format!("{part}: {} [{bar}] {done}/{}", step.verb, human::size_si(total))
}
