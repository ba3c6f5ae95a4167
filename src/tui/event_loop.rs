//! The loop: signals first, then keys, then answers, then time; drain, settle, draw once. Called by `run`.
//!
//! Order of starvation, by decision: a flood of log lines can hold up the stats but never a key, and nothing holds up a signal.
//! A frame is painted only when something changed and the terminal has taken the last one: on a slow line frames are left out, keys are not.

use std::io;
use std::time::{Duration, Instant};

use ratatui::layout::Rect;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::app::App;
use super::input::Parser;
use super::msg::{Command, Msg};
use super::screen::Screen;
use super::settings::Motion;
use super::terminal::Terminal;

/// At least this long from one frame to the next when nobody typed: 30 a second.
const FRAME: Duration = Duration::from_millis(33);
/// The same while the line is slow: the terminal had not taken the last frame at once.
const SLOW_FRAME: Duration = Duration::from_millis(150);
/// The same for whoever asked for little motion; keys are answered at once all the same.
const CALM_FRAME: Duration = Duration::from_millis(1000);
/// After the first frame has stood so long, the memory that the start needed is given back.
const SETTLED: Duration = Duration::from_secs(2);
/// Messages taken in one turn before the screen gets its chance.
const BUDGET: usize = 128;
/// The first frame waits this long for the lists, so that it is worth looking at and painted once; no longer, whatever the engine does.
const FIRST_FRAME: Duration = Duration::from_millis(12);
/// After this silence a lone escape was the Esc key.
const ESC_TIME: Duration = Duration::from_millis(25);
/// A turn that takes longer is worth a line in the log file.
const LONG_TURN: Duration = Duration::from_millis(50);

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The user left.
    Quit,
    /// The terminal went away.
    Gone,
    /// A signal asked for the end; its number.
    Signalled(i32),
}

struct Signals {
    term: Signal,
    hup: Signal,
    int: Signal,
    quit: Signal,
    winch: Signal,
    cont: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            hup: signal(SignalKind::hangup())?,
            int: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            winch: signal(SignalKind::window_change())?,
            cont: signal(SignalKind::from_raw(nix::sys::signal::Signal::SIGCONT as i32))?,
        })
    }

    async fn next(&mut self) -> nix::sys::signal::Signal {
        use nix::sys::signal::Signal as S;
        tokio::select! {
            _ = self.term.recv() => S::SIGTERM,
            _ = self.hup.recv() => S::SIGHUP,
            _ = self.int.recv() => S::SIGINT,
            _ = self.quit.recv() => S::SIGQUIT,
            _ = self.winch.recv() => S::SIGWINCH,
            _ = self.cont.recv() => S::SIGCONT,
        }
    }
}

/// What woke the loop.
enum Woke {
    Signal(nix::sys::signal::Signal),
    Input(io::Result<usize>),
    Sent(io::Result<()>),
    Message(Option<Box<Msg>>),
    Time,
}

/// The loop's own state.
struct Loop {
    app: App,
    terminal: Terminal,
    screen: Screen,
    parser: Parser,
    /// Something changed since the last frame.
    is_dirty: bool,
    /// A key was pressed since the last frame: draw at once.
    is_urgent: bool,
    drawn_at: Instant,
    /// Until then the first frame may wait; `None` once it is painted.
    first_by: Option<Instant>,
    /// When what the start needed is given back.
    trim_at: Option<Instant>,
    /// The terminal did not take the last frame at once.
    is_slow: bool,
    esc_at: Option<Instant>,
}

/// Runs until the user leaves, the terminal goes away, or a signal comes. The terminal is given back in every case.
pub(super) async fn run(app: App, terminal: Terminal, screen: Screen) -> io::Result<End> {
    let mut signals = Signals::new()?;
    let now = Instant::now();
    let mut this = Loop {
        app,
        terminal,
        screen,
        parser: Parser::default(),
        is_dirty: true,
        is_urgent: true,
        drawn_at: now,
        first_by: Some(now + FIRST_FRAME),
        trim_at: None,
        is_slow: false,
        esc_at: None,
    };
    let (cols, rows) = this.terminal.size();
    this.app.take(Msg::Resize(cols, rows));
    this.app.settle();
    let mut buffer = [0_u8; 4096];
    loop {
        let woke = this.wait(&mut signals, &mut buffer).await;
        let turn = Instant::now();
        if let Some(end) = this.turn(woke, &buffer)? {
            this.terminal.leave();
            return Ok(end);
        }
        let took = turn.elapsed();
        if took > LONG_TURN {
            tracing::warn!("a turn of the screen took {} ms", took.as_millis());
        }
    }
}

impl Loop {
    async fn wait(&mut self, signals: &mut Signals, buffer: &mut [u8]) -> Woke {
        let deadline = self.deadline();
        let has_unsent = !self.terminal.is_clear();
        let Self { app, terminal, .. } = self;
        // Two borrows of one terminal: reading needs it shared, flushing alone, so what is unsent is waited for first.
        tokio::select! {
            biased;
            signal = signals.next() => Woke::Signal(signal),
            input = read_or_flush(terminal, has_unsent, buffer) => input,
            msg = app.next() => Woke::Message(msg.map(Box::new)),
            () = sleep_until(deadline) => Woke::Time,
        }
    }

    /// Takes in what woke the loop and what else is there, settles, draws.
    fn turn(&mut self, woke: Woke, buffer: &[u8]) -> io::Result<Option<End>> {
        let was_waiting = self.app.model.is_waiting_for_lists();
        match woke {
            Woke::Signal(signal) => {
                if let Some(end) = self.signalled(signal)? {
                    return Ok(Some(end));
                }
            }
            Woke::Input(Ok(0)) => return Ok(Some(End::Gone)),
            Woke::Input(Ok(n)) => self.typed(&buffer[..n]),
            // EIO is what a hung-up terminal answers.
            Woke::Input(Err(_)) | Woke::Sent(Err(_)) => return Ok(Some(End::Gone)),
            Woke::Sent(Ok(())) => {}
            Woke::Message(Some(msg)) => {
                self.is_dirty = true;
                self.app.take(*msg);
            }
            Woke::Message(None) => return Ok(Some(End::Quit)),
            Woke::Time => self.time_passed(),
        }
        for _ in 0..BUDGET {
            let Some(msg) = self.app.try_next() else { break };
            self.is_dirty = true;
            self.app.take(msg);
        }
        // What everybody is waiting for is not held up by the pace of frames.
        self.is_urgent |= was_waiting && !self.app.model.is_waiting_for_lists();
        self.app.settle();
        if let Some(end) = self.obey()? {
            return Ok(Some(end));
        }
        if self.may_draw() {
            self.draw()?;
        }
        Ok(None)
    }

    fn typed(&mut self, bytes: &[u8]) {
        let mut inputs = Vec::new();
        self.parser.feed(bytes, &mut inputs);
        self.esc_at = self.parser.is_pending().then(|| Instant::now() + ESC_TIME);
        self.press(inputs);
    }

    fn press(&mut self, inputs: Vec<super::input::Input>) {
        for input in inputs {
            self.is_dirty = true;
            self.is_urgent = true;
            self.app.input(input);
            // A key that follows in the same read must see what this one led to.
            self.app.settle();
        }
    }

    fn time_passed(&mut self) {
        let now = Instant::now();
        if self.esc_at.is_some_and(|at| at <= now) {
            self.esc_at = None;
            let mut inputs = Vec::new();
            self.parser.flush(&mut inputs);
            self.press(inputs);
        }
        if self.trim_at.is_some_and(|at| at <= now) {
            self.trim_at = None;
            crate::sys::memory::trim();
        }
        if self.app.model.wake_at.is_some_and(|at| at <= now) {
            self.is_dirty = true;
            self.app.take(Msg::Tick);
        }
    }

    fn signalled(&mut self, signal: nix::sys::signal::Signal) -> io::Result<Option<End>> {
        use nix::sys::signal::Signal as S;
        match signal {
            S::SIGWINCH => self.resized(),
            S::SIGCONT => {
                // Stopped from outside, or by Ctrl-Z and back already: raw mode and screen are ours again either way.
                self.terminal.resume()?;
                self.resized();
                self.screen.forget();
            }
            other => return Ok(Some(End::Signalled(other as i32))),
        }
        Ok(None)
    }

    fn resized(&mut self) {
        let (cols, rows) = self.terminal.size();
        self.app.take(Msg::Resize(cols, rows));
        self.is_dirty = true;
        self.is_urgent = true;
    }

    /// Does what is the terminal's to do.
    fn obey(&mut self) -> io::Result<Option<End>> {
        for order in self.app.take_terminal_orders() {
            match order {
                Command::Quit => return Ok(Some(End::Quit)),
                Command::Redraw => self.screen.forget(),
                Command::SetMouse(mouse) => self.terminal.set_mouse(mouse)?,
                Command::Clipboard(text) => self.terminal.send(osc52(&text).as_bytes())?,
                Command::Suspend => {
                    self.terminal.suspend()?;
                    self.screen.forget();
                    self.resized();
                }
                _ => {}
            }
            self.is_dirty = true;
            self.is_urgent = true;
        }
        Ok(None)
    }

    fn frame_time(&self) -> Duration {
        let logs = self.app.model.detail.logs.as_ref();
        let wanted = logs
            .filter(|_| !self.app.model.detail.logs_of.is_empty())
            .map_or(FRAME, super::logs::LogsModel::frame_interval);
        let calm = match self.app.model.settings.motion {
            Motion::Full => FRAME,
            Motion::Reduced => CALM_FRAME,
        };
        if self.is_slow { wanted.max(SLOW_FRAME).max(calm) } else { wanted.max(calm) }
    }

    fn may_draw(&self) -> bool {
        if let Some(first_by) = self.first_by {
            return !self.app.model.is_waiting_for_lists() || Instant::now() >= first_by;
        }
        self.is_dirty && self.terminal.is_clear() && (self.is_urgent || self.drawn_at.elapsed() >= self.frame_time())
    }

    /// When to look again although nothing happens.
    fn deadline(&self) -> Option<Instant> {
        if self.first_by.is_some() {
            return self.first_by;
        }
        let frame = (self.is_dirty && self.terminal.is_clear()).then(|| self.drawn_at + self.frame_time());
        [frame, self.esc_at, self.trim_at, self.app.model.wake_at].into_iter().flatten().min()
    }

    fn draw(&mut self) -> io::Result<()> {
        let (cols, rows) = self.app.model.size;
        let area = Rect::new(0, 0, cols, rows);
        let app = &self.app;
        let bytes = self.screen.frame_but(area, app.held(), |buf| app.view(area, buf));
        if !bytes.is_empty() {
            self.terminal.send(bytes)?;
        }
        self.is_slow = !self.terminal.is_clear();
        self.is_dirty = false;
        self.is_urgent = false;
        self.drawn_at = Instant::now();
        if self.first_by.take().is_some() {
            self.trim_at = Some(self.drawn_at + SETTLED);
        }
        self.app.painted();
        Ok(())
    }
}

/// Keys come before what is unsent: a slow line must not hold up a quit.
async fn read_or_flush(terminal: &mut Terminal, has_unsent: bool, buffer: &mut [u8]) -> Woke {
    if !has_unsent {
        return Woke::Input(terminal.read(buffer).await);
    }
    tokio::select! {
        biased;
        input = terminal.read(buffer) => Woke::Input(input),
        ready = terminal.wait_writable() => match ready {
            Ok(()) => Woke::Sent(terminal.flush_some()),
            Err(e) => Woke::Sent(Err(e)),
        },
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Puts text on the clipboard of the terminal at the other end, through tmux and SSH.
fn osc52(text: &str) -> String {
    format!("\x1b]52;c;{}\x07", base64(text.as_bytes()))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let is_there = digit <= chunk.len();
            let index = (group >> (18 - 6 * digit)) as usize & 63;
            out.push(if is_there { DIGITS[index] as char } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_rfc_4648_has_it() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
