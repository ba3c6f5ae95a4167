//! Progress. Of load, import and from-host: one line a part, redrawn in place on a terminal, silent otherwise. Of pull and push: docker's
//! words, redrawn in place on a terminal, a line for each change otherwise.

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

/// The parts of a pull or push with docker's words.
pub struct Ledger {
    is_tty: bool,
    shared: Arc<Mutex<Entries>>,
    n_drawn: usize,
}

#[derive(Default)]
struct Entries {
    parts: Vec<Step>,
    /// Changes of word since the last look, for output that is no terminal.
    said: Vec<String>,
    is_changed: bool,
}

impl Ledger {
    pub fn new(is_tty: bool) -> Self {
        Self { is_tty, shared: Arc::default(), n_drawn: 0 }
    }

    /// Where the engine reports to; only notes.
    pub fn progress(&self) -> Progress {
        let shared = self.shared.clone();
        Progress(Arc::new(move |step| shared.lock().unwrap_or_else(PoisonError::into_inner).note(step)))
    }

    /// Waits for the work and shows what it says meanwhile.
    pub async fn watch<F>(&mut self, work: &mut F, out: &mut (dyn Write + Send + Sync)) -> F::Output
    where
        F: Future + Unpin,
    {
        let mut tick = tokio::time::interval(PACE);
        loop {
            // The work first: its last words are shown once it is done.
            tokio::select! {
                biased;
                done = &mut *work => {
                    self.show(out);
                    return done;
                }
                _ = tick.tick() => self.show(out),
            }
        }
    }

    /// Output that went away must not stop the work.
    fn show(&mut self, out: &mut (dyn Write + Send + Sync)) {
        let mut entries = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::take(&mut entries.is_changed) {
            return;
        }
        let said = std::mem::take(&mut entries.said);
        let mut text = String::new();
        if self.is_tty {
            if self.n_drawn > 0 {
                text.push_str(&format!("\x1b[{}A", self.n_drawn));
            }
            entries.parts.iter().for_each(|part| text.push_str(&format!("\r{}\x1b[K\n", docker_line(part))));
            self.n_drawn = entries.parts.len();
        } else {
            said.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        }
        drop(entries);
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

impl Entries {
    fn note(&mut self, step: Step) {
        self.is_changed = true;
        let known = self.parts.iter().position(|part| part.part == step.part);
        let old = known.map(|at| self.parts[at].verb);
        if old != Some(step.verb)
            && let Some(word) = plain_word(step.verb)
        {
            self.said.push(format!("{}: {word}", name(&step.part)));
        }
        match known {
            Some(at) => self.parts[at] = step,
            None => self.parts.push(step),
        }
    }
}

fn name(part: &str) -> String {
    part.chars().filter(|c| !c.is_control()).take(40).collect()
}

/// What is said of a change where lines stay: not every step of it.
fn plain_word(verb: &str) -> Option<&str> {
    match verb {
        "verifying" | "fetching" | "pushing" => None,
        "extracting" => Some("Download complete"),
        verb => Some(docker_word(verb)),
    }
}

fn docker_word(verb: &str) -> &str {
    match verb {
        "present" => "Already exists",
        "waiting" => "Pulling fs layer",
        "verifying" => "Verifying Checksum",
        "fetching" => "Downloading",
        "extracting" => "Extracting",
        "done" => "Pull complete",
        "preparing" => "Preparing",
        "pushing" => "Pushing",
        "exists" => "Layer already exists",
        "mounted" => "Mounted from another repository",
        "pushed" => "Pushed",
        other => other,
    }
}

fn docker_line(step: &Step) -> String {
    let (part, word) = (name(&step.part), docker_word(step.verb));
    let moves = matches!(step.verb, "verifying" | "fetching" | "extracting" | "pushing");
    let Some(total) = step.total_bytes.filter(|total| *total > 0 && moves) else { return format!("{part}: {word}") };
    let (done, all) = (human::size_si(step.done_bytes.min(total)), human::size_si(total));
    let filled = usize::try_from(u128::from(step.done_bytes.min(total)) * 50 / u128::from(total)).unwrap_or(50);
    let bar = format!("{}>{}", "=".repeat(filled.min(49)), " ".repeat(49 - filled.min(49)));
    format!("{part}: {word} [{bar}] {done:>8}/{all}")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn step(part: &str, verb: &'static str, done_bytes: u64) -> Step {
        Step { part: part.to_owned(), verb, done_bytes, total_bytes: Some(100) }
    }

    #[tokio::test]
    async fn without_a_terminal_each_change_is_a_line() {
        let mut ledger = Ledger::new(false);
        let progress = ledger.progress();
        let steps = [("a", "waiting", 0), ("b", "present", 100), ("a", "fetching", 10), ("a", "fetching", 90)];
        let more = [("a", "extracting", 100), ("a", "extracting", 100), ("a", "done", 100)];
        for (part, verb, done) in steps.into_iter().chain(more) {
            progress.report(step(part, verb, done));
        }
        let mut out: Vec<u8> = Vec::new();
        ledger.watch(&mut std::future::ready(()), &mut out).await;
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "a: Pulling fs layer\nb: Already exists\na: Download complete\na: Pull complete\n");
    }

    #[test]
    fn a_bar_fills_and_no_part_moves_the_cursor() {
        let line = docker_line(&step("a\x1b[2Jb", "fetching", 50));
        assert!(line.starts_with("a[2Jb: Downloading [=========================>"), "{line}");
        assert!(line.ends_with(" 50B/100B"), "{line}");
    }
}
