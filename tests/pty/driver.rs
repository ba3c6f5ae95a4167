//! A pseudo-terminal with a program on it: types, reads the screen through an emulator, waits with deadlines. Used by the terminal tests
//! and the benchmark.
#![allow(dead_code)] // each of them needs its part

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;

/// The program under test.
pub(crate) const ORLOP: &str = env!("CARGO_BIN_EXE_orlop");
/// Longest wait for anything; machines that run tests are busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to start, with which environment.
pub(crate) struct Setup {
    words: Vec<String>,
    env: Vec<(String, String)>,
}

impl Setup {
    pub(crate) fn orlop(args: &[&str]) -> Self {
        let words = std::iter::once(ORLOP).chain(args.iter().copied()).map(str::to_owned).collect();
        Self::new(words)
    }

    /// On a store of its own below this directory.
    pub(crate) fn on_store(dir: &std::path::Path) -> Self {
        let (root, run) = (dir.join("root"), dir.join("run"));
        Self::orlop(&["--root", &root.to_string_lossy(), "--run-root", &run.to_string_lossy()])
    }

    /// An interactive shell with job control and a prompt that is known.
    pub(crate) fn shell() -> Self {
        Self::new(["bash", "--norc", "--noprofile", "-i"].map(str::to_owned).to_vec()).env("PS1", "$ ")
    }

    /// Any program with its arguments.
    pub(crate) fn new(words: Vec<String>) -> Self {
        let env =
            [("TERM", "xterm-256color"), ("LANG", "C.UTF-8"), ("PATH", "/usr/bin:/bin"), ("ORLOP_CONFIG", "/dev/null")];
        Self { words, env: env.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec() }
    }

    /// Sets a variable; an empty value takes it away.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.retain(|(present, _)| present != name);
        if !value.is_empty() {
            self.env.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    pub(crate) fn start(self, cols: u16, rows: u16) -> Tty {
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        // A child that held the other end would never see its terminal go away.
        for end in [&pty.master, &pty.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        }
        let first_modes = modes_of(&pty.slave);
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        // setsid makes the terminal the program's own, so that it gets its signals.
        let child = Command::new("setsid")
            .arg("-c")
            .args(&self.words)
            .env_clear()
            .envs(self.env)
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let emulator = vt100::Parser::new(cells(rows), cells(cols), 0);
        Tty {
            master: Some(File::from(pty.master)),
            slave: pty.slave,
            child,
            emulator,
            raw: Vec::new(),
            read_at: Instant::now(),
            first_modes,
        }
    }
}

fn cells(n: u16) -> std::num::NonZeroU16 {
    std::num::NonZeroU16::new(n).unwrap()
}

/// The flags that a screen changes: echo, canonical input, signals, and the output's newline.
fn modes_of(tty: &OwnedFd) -> (LocalFlags, u32) {
    let modes = tcgetattr(tty).unwrap();
    (modes.local_flags, modes.output_flags.bits())
}

/// A running program and its terminal.
pub(crate) struct Tty {
    master: Option<File>,
    /// Kept open so that the modes can be read after the end.
    slave: OwnedFd,
    child: Child,
    emulator: vt100::Parser,
    raw: Vec<u8>,
    /// When something came last.
    read_at: Instant,
    first_modes: (LocalFlags, u32),
}

/// What programs ask a terminal, and what an ordinary one answers: device attributes, keyboard protocol, cursor.
const QUESTIONS: [(&[u8], &[u8]); 4] = [
    (b"\x1b[c", b"\x1b[?62;22c"),
    (b"\x1b[0c", b"\x1b[?62;22c"),
    (b"\x1b[?u", b"\x1b[?0u"),
    (b"\x1b[6n", b"\x1b[1;1R"),
];

impl Tty {
    pub(crate) fn write(&mut self, text: &str) {
        self.master.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Takes in what comes within this time.
    pub(crate) fn pump(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            self.read_until(deadline);
        }
    }

    /// Takes in what comes first, if something does before the deadline.
    pub(crate) fn pump_once(&mut self, deadline: Instant) {
        self.read_until(deadline);
    }

    /// One read, if there is something before the deadline.
    fn read_until(&mut self, deadline: Instant) {
        let Some(master) = &mut self.master else { return };
        let left = deadline.saturating_duration_since(Instant::now()).min(Duration::from_millis(50));
        let mut ready = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        if poll(&mut ready, timeout).unwrap_or(0) == 0 {
            return;
        }
        let mut buffer = [0_u8; 16384];
        if let Ok(n) = master.read(&mut buffer) {
            self.read_at = Instant::now();
            for (_, answer) in
                QUESTIONS.iter().filter(|(question, _)| memchr::memmem::find(&buffer[..n], question).is_some())
            {
                master.write_all(answer).unwrap();
            }
            self.raw.extend_from_slice(&buffer[..n]);
            self.emulator.process(&buffer[..n]);
        }
    }

    pub(crate) fn screen(&self) -> String {
        self.emulator.screen().contents()
    }

    pub(crate) fn wait_for(&mut self, shown: &str) {
        self.wait_until(&format!("`{shown}` does not show up"), |screen| screen.contains(shown));
    }

    pub(crate) fn wait_gone(&mut self, shown: &str) {
        self.wait_until(&format!("`{shown}` does not go away"), |screen| !screen.contains(shown));
    }

    pub(crate) fn wait_until(&mut self, complaint: &str, holds: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(&self.screen()) {
            assert!(Instant::now() < deadline, "{complaint}:\n{}", self.screen());
            self.read_until(deadline);
        }
    }

    /// Reads until what `look` sees is another thing than before; how long it took until that was read. `None` when it never was.
    pub(crate) fn wait_change<T: PartialEq>(&mut self, look: impl Fn(&vt100::Screen) -> T) -> Option<Duration> {
        self.wait_change_within(PATIENCE, look)
    }

    pub(crate) fn wait_change_within<T: PartialEq>(
        &mut self,
        patience: Duration,
        look: impl Fn(&vt100::Screen) -> T,
    ) -> Option<Duration> {
        let (start, before) = (Instant::now(), look(self.emulator.screen()));
        while start.elapsed() < patience {
            self.read_until(start + patience);
            if look(self.emulator.screen()) != before {
                return Some(self.read_at.saturating_duration_since(start));
            }
        }
        None
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// A new window size, as a terminal emulator would set it.
    pub(crate) fn resize(&mut self, cols: u16, rows: u16) {
        let path = nix::unistd::ttyname(&self.slave).unwrap();
        let (cols_word, rows_word) = (cols.to_string(), rows.to_string());
        let status =
            Command::new("stty").arg("-F").arg(path).args(["cols", &cols_word, "rows", &rows_word]).status().unwrap();
        assert!(status.success());
        self.emulator.screen_mut().set_size(cells(rows), cells(cols));
    }

    /// The terminal window is closed.
    pub(crate) fn hang_up(&mut self) {
        self.master = None;
    }

    /// Waits for the end; the exit code, 128 + n after a signal.
    pub(crate) fn wait_exit(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                // What it wrote last is still in the terminal's queue.
                self.pump(Duration::from_millis(100));
                return status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.screen());
            self.read_until(Instant::now() + Duration::from_millis(20));
            if self.master.is_none() {
                std::thread::yield_now();
            }
        }
    }

    pub(crate) fn first_modes(&self) -> (LocalFlags, u32) {
        self.first_modes
    }

    pub(crate) fn modes(&self) -> (LocalFlags, u32) {
        modes_of(&self.slave)
    }

    /// The last bytes written, as text.
    pub(crate) fn tail(&self, n: usize) -> String {
        let start = self.raw.len().saturating_sub(n);
        String::from_utf8_lossy(&self.raw[start..]).into_owned()
    }

    pub(crate) fn n_bytes(&self) -> usize {
        self.raw.len()
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
