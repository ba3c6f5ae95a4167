//! The terminal, taken and given back. Called by the event loop alone.
//!
//! ```text
//!            enter                suspend (raw SIGTSTP)
//!   cooked ---------> raw, alternate screen ---------> cooked, stopped
//!     ^                  |      ^                          |
//!     +------ leave -----+      +------- resume -----------+     (Drop and the panic hook leave too)
//! ```
//!
//! Its descriptor is opened anew, so that non-blocking mode is ours alone and the shell's stdin keeps its flags; a frame that a slow
//! line does not take at once waits here while keys go on being read. Nothing here may block but [`Terminal::leave`], which has a deadline.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, raise};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use tokio::io::unix::AsyncFd;

use super::screen::{Charset, Depth};

/// Whether clicks and the wheel are ours or the terminal's own (selection of text).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mouse {
    #[default]
    Off,
    On,
}

const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?2004h\x1b[0m\x1b[2J\x1b[H";
const LEAVE: &str = "\x1b[?2026l\x1b[?1006l\x1b[?1000l\x1b[?2004l\x1b[0m\x1b[?25h\x1b[?1049l";
const MOUSE_ON: &str = "\x1b[?1000h\x1b[?1006h";
const MOUSE_OFF: &str = "\x1b[?1006l\x1b[?1000l";
/// How long the last bytes may take on a dead line before they are given up.
const LEAVE_PATIENCE: Duration = Duration::from_millis(200);

/// What the panic hook needs to give the terminal back, and the thread whose panic ends the program.
static TAKEN: Mutex<Option<(Termios, ThreadId)>> = Mutex::new(None);

/// The terminal in our hands.
pub struct Terminal {
    tty: AsyncFd<File>,
    cooked: Termios,
    mouse: Mouse,
    /// Bytes of a frame that the line has not taken yet.
    unsent: Vec<u8>,
    sent: usize,
    is_entered: bool,
}

impl Terminal {
    /// Takes the controlling terminal: raw mode, alternate screen, bracketed paste. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// When stdout is not a terminal, or none can be opened.
    pub fn enter(mouse: Mouse) -> io::Result<Self> {
        let file = open_tty()?;
        let cooked = tcgetattr(&file)?;
        let mut terminal =
            Self { tty: readiness_of(file)?, cooked, mouse, unsent: Vec::new(), sent: 0, is_entered: false };
        install_panic_hook();
        terminal.resume()?;
        Ok(terminal)
    }

    /// Takes the terminal again after [`Terminal::leave`].
    pub fn resume(&mut self) -> io::Result<()> {
        let mut raw = self.cooked.clone();
        cfmakeraw(&mut raw);
        tcsetattr(self.tty.get_ref(), SetArg::TCSADRAIN, &raw)?;
        if let Ok(mut taken) = TAKEN.lock() {
            *taken = Some((self.cooked.clone(), std::thread::current().id()));
        }
        self.is_entered = true;
        self.unsent.clear();
        self.sent = 0;
        self.send(ENTER.as_bytes())?;
        if self.mouse == Mouse::On {
            self.send(MOUSE_ON.as_bytes())?;
        }
        Ok(())
    }

    /// Gives the terminal back as it was. Waits at most a moment for a slow line. Harmless when repeated.
    pub fn leave(&mut self) {
        if !std::mem::take(&mut self.is_entered) {
            return;
        }
        // The panic hook may have been here before: its message stands on the terminal now.
        if TAKEN.lock().is_ok_and(|mut taken| taken.take().is_none()) {
            return;
        }
        // What is left of a frame is worthless now, but a cut escape sequence must not swallow ours: CAN ends it.
        let rest = if self.unsent.is_empty() { LEAVE.to_owned() } else { format!("\x18{LEAVE}") };
        self.unsent.clear();
        let deadline = Instant::now() + LEAVE_PATIENCE;
        let mut left = rest.as_bytes();
        while !left.is_empty() && Instant::now() < deadline {
            match self.tty.get_ref().write(left) {
                Ok(n) => left = &left[n..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(2)),
                Err(_) => break,
            }
        }
        let _ = tcsetattr(self.tty.get_ref(), SetArg::TCSANOW, &self.cooked);
    }

    /// Gives the terminal back, stops this process as Ctrl-Z does in a shell, and takes it again on `fg`.
    pub fn suspend(&mut self) -> io::Result<()> {
        self.leave();
        raise(Signal::SIGTSTP)?;
        self.resume()
    }

    pub fn set_mouse(&mut self, mouse: Mouse) -> io::Result<()> {
        self.mouse = mouse;
        self.send(if mouse == Mouse::On { MOUSE_ON } else { MOUSE_OFF }.as_bytes())
    }

    /// Cells, `(80, 24)` when the terminal does not know.
    pub fn size(&self) -> (u16, u16) {
        match crossterm::terminal::size() {
            Ok((cols, rows)) if cols > 0 && rows > 0 => (cols, rows),
            _ => (80, 24),
        }
    }

    /// Writes as much as the line takes now and keeps the rest; see [`Terminal::is_clear`].
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.unsent.is_empty() {
            let n = write_some(self.tty.get_ref(), bytes)?;
            self.unsent.extend_from_slice(&bytes[n..]);
            return Ok(());
        }
        self.unsent.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether everything sent has been taken: only then is a new frame worth painting.
    pub fn is_clear(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Waits until the line may take more. Cancel safe.
    pub async fn wait_writable(&self) -> io::Result<()> {
        self.tty.writable().await.map(|mut ready| {
            // Readiness is taken back here and comes again with the next edge; `flush_some` writes until the line is full.
            ready.clear_ready();
        })
    }

    /// Gives the line what it takes now.
    pub fn flush_some(&mut self) -> io::Result<()> {
        self.sent += write_some(self.tty.get_ref(), &self.unsent[self.sent..])?;
        if self.sent == self.unsent.len() {
            self.unsent.clear();
            self.sent = 0;
        }
        Ok(())
    }

    /// Waits for input; 0 bytes is the end of the terminal. Cancel safe.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.tty.readable().await?;
            match self.tty.get_ref().read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Readiness of a descriptor that we own for good.
#[expect(
    deprecated,
    reason = "the replacement is unsafe, and unsafe lives in sys; a File is one open descriptor until it is dropped"
)]
fn readiness_of(file: File) -> io::Result<AsyncFd<File>> {
    AsyncFd::new(file)
}

/// Writes until done or the line is full.
fn write_some(mut tty: &File, bytes: &[u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match tty.write(&bytes[done..]) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

fn open_tty() -> io::Result<File> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "stdout is not a terminal"));
    }
    let open = |path: &Path| {
        OpenOptions::new().read(true).write(true).custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits()).open(path)
    };
    let by_name = nix::unistd::ttyname(stdout.as_fd()).map_err(io::Error::from).and_then(|path| open(&path));
    // Inside a container or after su, the name may lead nowhere or not be ours to open.
    by_name.or_else(|_| open(Path::new("/dev/tty"))).or_else(|_| open(Path::new("/proc/self/fd/1")))
}

/// On a panic of the UI's own thread the terminal is given back before the message is printed; other threads' panics are reported by
/// whoever joins them.
fn install_panic_hook() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let taken = TAKEN.try_lock().ok().and_then(|mut slot| match &*slot {
                Some((_, thread)) if *thread == std::thread::current().id() => slot.take(),
                Some(_) => {
                    tracing::error!("a background task panicked: {info}");
                    None
                }
                None => None,
            });
            let is_ours_to_tell = taken.is_some() || TAKEN.try_lock().is_ok_and(|slot| slot.is_none());
            if let Some((cooked, _)) = taken {
                let mut out = io::stdout();
                let _ = out.write_all(LEAVE.as_bytes()).and_then(|()| out.flush());
                let _ = tcsetattr(io::stdout().as_fd(), SetArg::TCSANOW, &cooked);
            }
            if is_ours_to_tell {
                previous(info);
            }
        }));
    });
}

/// What the environment says the terminal can show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    pub depth: Depth,
    pub charset: Charset,
}

impl Abilities {
    /// Reads `NO_COLOR`, `COLORTERM`, `TERM`, `LC_ALL`, `LC_CTYPE`, `LANG` through `var`. An unknown terminal gets sixteen colours.
    pub fn detect(var: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| var(name).filter(|value| !value.is_empty());
        let term = set("TERM").unwrap_or_default();
        let depth = if set("NO_COLOR").is_some() || term == "dumb" || term.starts_with("vt") {
            Depth::None
        } else if set("COLORTERM").is_some_and(|value| value == "truecolor" || value == "24bit")
            || term.ends_with("direct")
        {
            Depth::True
        } else if term.contains("256color")
            || ["xterm-kitty", "alacritty", "foot", "xterm-ghostty"].contains(&term.as_str())
        {
            Depth::Indexed
        } else {
            Depth::Ansi16
        };
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
        let is_utf8 = locale.is_some_and(|l| l.to_ascii_lowercase().replace('-', "").contains("utf8"));
        let charset =
            if is_utf8 && term != "dumb" && !term.starts_with("vt") { Charset::Unicode } else { Charset::Ascii };
        Self { depth, charset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(env: &[(&str, &str)], depth: Depth, charset: Charset) {
        let found = Abilities::detect(|name| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()));
        assert_eq!(found, Abilities { depth, charset }, "{env:?}");
    }

    #[test]
    fn the_environment_says_what_can_be_shown() {
        check(&[("TERM", "xterm-256color"), ("LANG", "en_GB.UTF-8")], Depth::Indexed, Charset::Unicode);
        check(
            &[("TERM", "xterm-256color"), ("COLORTERM", "truecolor"), ("LANG", "C.utf8")],
            Depth::True,
            Charset::Unicode,
        );
        check(&[("TERM", "xterm-256color"), ("NO_COLOR", "1"), ("LANG", "C.UTF-8")], Depth::None, Charset::Unicode);
        check(&[("TERM", "xterm-256color"), ("NO_COLOR", ""), ("LC_ALL", "C")], Depth::Indexed, Charset::Ascii);
        check(&[("TERM", "vt100"), ("LANG", "en_GB.UTF-8")], Depth::None, Charset::Ascii);
        check(&[("TERM", "unheard-of"), ("LANG", "de_DE.utf8")], Depth::Ansi16, Charset::Unicode);
        check(&[], Depth::Ansi16, Charset::Ascii);
    }
}
