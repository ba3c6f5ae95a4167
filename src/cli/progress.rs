//! Progress. Of load, import and from-host: one line a part, redrawn in place on a terminal, silent otherwise. Of pull and push: docker's
//! words, redrawn in place on a terminal, a line for each change otherwise.

use std::collections::VecDeque;
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
/// Over which span speed is told.
const SPEED_SPAN: Duration = Duration::from_secs(4);
/// A bar of fewer columns says nothing.
const MIN_BAR: usize = 8;

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
    pace: Speed,
}

#[derive(Default)]
struct Entries {
    parts: Vec<Step>,
    /// Changes of word since the last look, for output that is no terminal.
    said: Vec<String>,
    is_changed: bool,
}

/// Whether the work goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    Over,
}

impl Ledger {
    pub fn new(is_tty: bool) -> Self {
        Self { is_tty, shared: Arc::default(), n_drawn: 0, pace: Speed::default() }
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
                    self.show(out, Stage::Over);
                    return done;
                }
                _ = tick.tick() => self.show(out, Stage::Running),
            }
        }
    }

    /// Output that went away must not stop the work.
    fn show(&mut self, out: &mut (dyn Write + Send + Sync), stage: Stage) {
        let mut entries = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let is_changed = std::mem::take(&mut entries.is_changed);
        if !is_changed && (stage == Stage::Running || self.n_drawn == 0) {
            return;
        }
        let said = std::mem::take(&mut entries.said);
        let mut text = String::new();
        if self.is_tty {
            let size = super::terminal::size().map_or((24, 80), |size| (size.rows, size.cols));
            self.pace.note(Totals::of(&entries.parts).moved_bytes, Instant::now());
            let lines = frame(&entries.parts, size, stage, &self.pace);
            if self.n_drawn > 0 {
                text.push_str(&format!("\x1b[{}A", self.n_drawn));
            }
            lines.iter().for_each(|line| text.push_str(&format!("\r{line}\x1b[K\n")));
            if lines.len() < self.n_drawn {
                text.push_str("\x1b[J");
            }
            self.n_drawn = lines.len();
        } else {
            said.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        }
        drop(entries);
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// How fast bytes came over the last seconds.
#[derive(Default)]
struct Speed(VecDeque<(Instant, u64)>);

impl Speed {
    fn note(&mut self, bytes: u64, now: Instant) {
        self.0.push_back((now, bytes));
        while self.0.len() > 2 && self.0.front().is_some_and(|(at, _)| now - *at > SPEED_SPAN) {
            self.0.pop_front();
        }
    }

    /// Bytes a second; `None` while nothing moves.
    fn get(&self) -> Option<f64> {
        let ((first, from), (last, to)) = (self.0.front()?, self.0.back()?);
        let seconds = (*last - *first).as_secs_f64();
        (to > from && seconds > 0.2).then(|| (to - from) as f64 / seconds)
    }
}

/// All parts together. What was here already is no work and is not counted in bytes.
#[derive(Default)]
struct Totals {
    n_over: usize,
    moved_bytes: u64,
    all_bytes: u64,
}

impl Totals {
    fn of(parts: &[Step]) -> Self {
        let mut it = Self::default();
        for part in parts {
            it.n_over += usize::from(part.is_settled());
            if !matches!(part.verb, "present" | "exists" | "mounted") {
                let total = part.total_bytes.unwrap_or(0);
                it.all_bytes += total;
                // Docker counts the unpacking from zero again.
                it.moved_bytes += if part.verb == "extracting" { total } else { part.done_bytes.min(total) };
            }
        }
        it
    }
}

fn moves(verb: &str) -> bool {
    matches!(verb, "verifying" | "fetching" | "extracting" | "compressing" | "pushing")
}

/// What is to be seen: every part where they fit, else those that move and how many there are of the others; all of them in the end.
fn frame(parts: &[Step], (rows, cols): (u16, u16), stage: Stage, speed: &Speed) -> Vec<String> {
    // The last column stays free: a line that fills it wraps on some terminals.
    let cols = usize::from(cols).saturating_sub(1).max(20);
    let draw = |part: &Step| docker_line(part, cols);
    if stage == Stage::Over {
        return parts.iter().map(draw).collect();
    }
    // One line for the sum, one where the cursor rests.
    let room = usize::from(rows).saturating_sub(2).max(1);
    let mut lines: Vec<String> = if parts.len() <= room {
        parts.iter().map(draw).collect()
    } else {
        let moving = parts.iter().filter(|part| moves(part.verb));
        moving.take(room - 1).map(draw).collect()
    };
    if parts.len() > 1 {
        lines.push(sum(parts, speed).chars().take(cols).collect());
    }
    lines
}

/// `3 of 60 layers, 12MB of 39MB, 45MB/s, 2 seconds left`
fn sum(parts: &[Step], speed: &Speed) -> String {
    let totals = Totals::of(parts);
    let mut text = format!("{} of {} layers", totals.n_over, parts.len());
    if totals.all_bytes > 0 {
        let (done, all) = (human::size_si(totals.moved_bytes), human::size_si(totals.all_bytes));
        text.push_str(&format!(", {done} of {all}"));
    }
    if let Some(speed) = speed.get().filter(|_| totals.moved_bytes < totals.all_bytes) {
        let seconds = (totals.all_bytes - totals.moved_bytes) as f64 / speed;
        let left = human::span(Duration::from_secs(seconds.ceil() as u64));
        text.push_str(&format!(", {}/s, {left} left", human::size_si(speed as u64)));
    }
    text
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
        "verifying" | "fetching" | "compressing" | "pushing" => None,
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
        "compressing" => "Compressing",
        "pushing" => "Pushing",
        "exists" => "Layer already exists",
        "mounted" => "Mounted from another repository",
        "pushed" => "Pushed",
        other => other,
    }
}

/// One part within so many columns; the bar gives way first.
fn docker_line(step: &Step, cols: usize) -> String {
    let (part, word) = (name(&step.part), docker_word(step.verb));
    let plain = |text: String| text.chars().take(cols).collect();
    let Some(total) = step.total_bytes.filter(|total| *total > 0 && moves(step.verb)) else {
        return plain(format!("{part}: {word}"));
    };
    let (done, all) = (human::size_si(step.done_bytes.min(total)), human::size_si(total));
    let (head, tail) = (format!("{part}: {word}"), format!("{done:>8}/{all}"));
    let width = cols.saturating_sub(head.chars().count() + tail.chars().count() + 4).min(50);
    if width < MIN_BAR {
        return plain(format!("{head} {tail}"));
    }
    let filled = usize::try_from(u128::from(step.done_bytes.min(total)) * width as u128 / u128::from(total));
    let filled = filled.unwrap_or(width).min(width - 1);
    format!("{head} [{}>{}] {tail}", "=".repeat(filled), " ".repeat(width - 1 - filled))
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
        let line = docker_line(&step("a\x1b[2Jb", "fetching", 50), 120);
        assert!(line.starts_with("a[2Jb: Downloading [=========================>"), "{line}");
        assert!(line.ends_with(" 50B/100B"), "{line}");
        for (cols, expected) in [
            (60, "a: Downloading [==============>              ]      50B/100B"),
            (30, "a: Downloading      50B/100B"),
            (20, "a: Downloading      "),
        ] {
            let line = docker_line(&step("a", "fetching", 50), cols);
            assert_eq!(line, expected);
            assert!(line.chars().count() <= cols);
        }
    }

    #[test]
    fn what_does_not_fit_the_screen_is_counted() {
        let mut parts: Vec<Step> = (0..60).map(|n| step(&format!("l{n}"), "waiting", 0)).collect();
        for (at, verb, done) in [(0, "present", 100), (1, "done", 100), (2, "extracting", 100), (3, "fetching", 50)] {
            parts[at] = step(&format!("l{at}"), verb, done);
        }
        let mut speed = Speed::default();
        let start = Instant::now();
        speed.note(0, start);
        speed.note(2000, start + Duration::from_secs(1));
        let lines = frame(&parts, (10, 60), Stage::Running, &speed);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].starts_with("l2: Extracting [") && lines[1].starts_with("l3: Downloading ["), "{lines:?}");
        assert_eq!(lines[2], "2 of 60 layers, 250B of 5.9kB, 2kB/s, 3 seconds left");
        assert!(lines.iter().all(|line| line.chars().count() < 60));
        assert_eq!(frame(&parts, (10, 60), Stage::Over, &speed).len(), 60, "the end tells of all");
        assert_eq!(frame(&parts[..4], (10, 60), Stage::Running, &speed).len(), 5);
        assert_eq!(frame(&parts[..1], (10, 60), Stage::Running, &speed), ["l0: Already exists"]);
        assert_eq!(frame(&parts, (0, 0), Stage::Running, &speed).len(), 1, "no terminal is too small");
    }
}
