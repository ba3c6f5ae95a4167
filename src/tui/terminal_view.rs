//! A terminal in a pane: what a shell or an attached process writes, and what is typed to it.
//!
//! Called by the page that owns a [`TerminalModel`]. Pure: bytes in by `feed`, keys in by `key`, bytes out as return values; it holds no
//! connection. Whatever the process writes ends up as cells of an interpreted screen, never as bytes on the user's terminal.
//!
//! ```text
//! running --detach keys--> (page closes)        running --end of output--> ended(code) --Enter--> (page closes)
//! ```

mod keys;
mod paint;

use std::num::NonZeroU16;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::engine::TtySize;
use crate::shim::detach::{self, DetachKeysError, Matcher};
use crate::tui::text;

/// Lines kept above the screen.
const SCROLLBACK: usize = 5_000;
/// A title longer than this is cut, characters.
const TITLE: usize = 120;

/// What a key was for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TerminalKey {
    /// Send these bytes to the process; may be empty while detach keys are being typed.
    Send(Vec<u8>),
    /// The detach keys were typed: drop the connection, the process goes on. The bytes before them still go out.
    Detach(Vec<u8>),
    /// The process has ended and the user is done looking.
    Close,
    /// The view scrolled; nothing to send.
    Scrolled,
    /// Not for the process, and nothing happened.
    Ignored,
}

/// Where the process stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Running,
    Ended(Option<i64>),
    Lost(String),
}

/// A terminal and its screen.
pub struct TerminalModel {
    parser: vt100::Parser<Asides>,
    state: State,
    detach: Matcher,
    detach_keys: String,
    revision: u64,
}

impl std::fmt::Debug for TerminalModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TerminalModel")
            .field("state", &self.state)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// What the process asked of the terminal besides text.
#[derive(Debug, Default)]
struct Asides {
    title: String,
    has_rung: bool,
    replies: Vec<u8>,
}

/// Replies held back when a process asks faster than it reads, bytes.
const REPLIES: usize = 4096;

impl Asides {
    fn reply(&mut self, reply: &[u8]) {
        if self.replies.len() + reply.len() <= REPLIES {
            self.replies.extend_from_slice(reply);
        }
    }
}

impl vt100::Callbacks for Asides {
    fn audible_bell(&mut self, _: &mut vt100::Screen) {
        self.has_rung = true;
    }

    fn visual_bell(&mut self, _: &mut vt100::Screen) {
        self.has_rung = true;
    }

    fn set_window_title(&mut self, _: &mut vt100::Screen, title: &[u8]) {
        let title: String = String::from_utf8_lossy(title).chars().take(TITLE).collect();
        self.title = text::sanitise(&title).into_owned();
    }

    /// Answers what programs wait for (busybox's shell asks for the cursor at each prompt). Title and clipboard are never reported: an
    /// answer is input to the process, and output must not choose it.
    fn unhandled_csi(
        &mut self,
        screen: &mut vt100::Screen,
        intermediate: Option<u8>,
        _: Option<u8>,
        params: &[&[u16]],
        command: char,
    ) {
        let param = params.first().and_then(|param| param.first()).copied().unwrap_or(0);
        match (intermediate, command, param) {
            (None, 'n', 5) => self.reply(b"\x1b[0n"),
            (None, 'n', 6) => {
                let (row, col) = screen.cursor_position();
                let cols = screen.size().1.get();
                self.reply(format!("\x1b[{};{}R", row + 1, (col + 1).min(cols)).as_bytes());
            }
            (None, 'c', 0) => self.reply(b"\x1b[?6c"),
            (Some(b'>'), 'c', 0) => self.reply(b"\x1b[>0;0;0c"),
            _ => {}
        }
    }
}

impl TerminalModel {
    /// A blank terminal. `detach_keys` in docker's grammar (`ctrl-]`); empty for none.
    ///
    /// # Errors
    /// Keys that cannot be meant.
    pub fn new(size: TtySize, detach_keys: &str) -> Result<Self, DetachKeysError> {
        let (rows, cols) = at_least(size);
        Ok(Self {
            parser: vt100::Parser::new_with_callbacks(rows, cols, SCROLLBACK, Asides::default()),
            state: State::Running,
            detach: Matcher::new(detach::parse(detach_keys)?),
            detach_keys: detach_keys.to_owned(),
            revision: 0,
        })
    }

    /// Takes what the process wrote; returns what the terminal answers, to be sent to the process.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.revision += 1;
        self.parser.process(bytes);
        std::mem::take(&mut self.parser.callbacks_mut().replies)
    }

    /// Changes whenever the screen may have.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The process ended; its exit code if it is known.
    pub fn ended(&mut self, exit_code: Option<i64>) {
        self.state = State::Ended(exit_code);
        self.revision += 1;
    }

    /// The connection broke; the process may be alive.
    pub fn lost(&mut self, reason: &str) {
        self.state = State::Lost(text::sanitise(reason).into_owned());
        self.revision += 1;
    }

    pub fn is_running(&self) -> bool {
        self.state == State::Running
    }

    /// What the process called its window; clean text, empty when it said nothing.
    pub fn title(&self) -> &str {
        &self.parser.callbacks().title
    }

    /// Whether the bell rang since the last call: to be shown as a short flash.
    pub fn take_bell(&mut self) -> bool {
        std::mem::take(&mut self.parser.callbacks_mut().has_rung)
    }

    /// A new size in cells; returns it when the process must be told.
    pub fn resize(&mut self, size: TtySize) -> Option<TtySize> {
        let (rows, cols) = at_least(size);
        if self.parser.screen().size() == (rows, cols) {
            return None;
        }
        self.revision += 1;
        self.parser.set_size(rows, cols);
        Some(TtySize { rows: rows.get(), cols: cols.get() })
    }

    /// Takes a key.
    pub fn key(&mut self, key: KeyEvent) -> TerminalKey {
        if key.kind == KeyEventKind::Release {
            return TerminalKey::Ignored;
        }
        if self.scroll(key) {
            self.revision += 1;
            return TerminalKey::Scrolled;
        }
        if !self.is_running() {
            let closes = matches!(key.code, KeyCode::Enter | KeyCode::Esc | KeyCode::Char('q'));
            return if closes { TerminalKey::Close } else { TerminalKey::Ignored };
        }
        let screen = self.parser.screen();
        let bytes = keys::encode(key, screen.application_cursor());
        if bytes.is_empty() {
            return TerminalKey::Ignored;
        }
        if screen.scrollback() > 0 {
            self.parser.screen_mut().set_scrollback(0);
            self.revision += 1;
        }
        let typed = self.detach.feed(&bytes);
        if typed.detach { TerminalKey::Detach(typed.pass) } else { TerminalKey::Send(typed.pass) }
    }

    /// Pasted text, as the process wants it: bracketed when it asked for that. Detach keys in it do not detach.
    pub fn paste(&mut self, pasted: &str) -> Vec<u8> {
        if !self.is_running() {
            return Vec::new();
        }
        keys::paste(pasted, self.parser.screen().bracketed_paste())
    }

    /// Shift with the page, arrow, Home and End keys scrolls; alternate screens have nothing above them.
    fn scroll(&mut self, key: KeyEvent) -> bool {
        let screen = self.parser.screen_mut();
        if key.modifiers != KeyModifiers::SHIFT || screen.alternate_screen() {
            return false;
        }
        let (now, page) = (screen.scrollback(), usize::from(screen.size().0.get() / 2).max(1));
        let next = match key.code {
            KeyCode::PageUp => now.saturating_add(page),
            KeyCode::PageDown => now.saturating_sub(page),
            KeyCode::Up => now.saturating_add(1),
            KeyCode::Down => now.saturating_sub(1),
            KeyCode::Home => SCROLLBACK,
            KeyCode::End => 0,
            _ => return false,
        };
        screen.set_scrollback(next);
        true
    }
}

/// Rows and columns the interpreter of the screen can work with: wide characters need two columns.
fn at_least(size: TtySize) -> (NonZeroU16, NonZeroU16) {
    let at_least = |cells: u16, least: NonZeroU16| NonZeroU16::new(cells).map_or(least, |cells| cells.max(least));
    (at_least(size.rows, NonZeroU16::MIN), at_least(size.cols, NonZeroU16::MIN.saturating_add(1)))
}

#[cfg(test)]
mod tests;
