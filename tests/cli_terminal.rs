//! The terminal under foreground verbs: raw while the session lasts, as it was afterwards, whatever ends it. The real program on a
//! pseudo-terminal, on the demo engine; `setsid --ctty` (util-linux) gives it the terminal as its own.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, unreachable_pub)] // a program of the test house

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;

const PATIENCE: Duration = Duration::from_secs(20);

struct Session {
    child: Child,
    ours: File,
    theirs: OwnedFd,
    before: Termios,
    seen: Vec<u8>,
}

impl Session {
    fn start(args: &[&str]) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        let slave = || pty.slave.try_clone().unwrap();
        let child = Command::new("setsid")
            .args(["--ctty", env!("CARGO_BIN_EXE_orlop"), "--demo"])
            .args(args)
            .env("HOME", "/nonexistent")
            .stdin(slave())
            .stdout(slave())
            .stderr(slave())
            .spawn()
            .expect("setsid of util-linux");
        nix::fcntl::fcntl(&pty.master, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
        Self { child, ours: File::from(pty.master), theirs: pty.slave, before, seen: Vec::new() }
    }

    fn read_some(&mut self) {
        let mut buffer = [0; 4096];
        match self.ours.read(&mut buffer) {
            Ok(n) => self.seen.extend_from_slice(&buffer[..n]),
            // Nothing yet: let the other side work.
            Err(_) => std::thread::yield_now(),
        }
    }

    #[track_caller]
    fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !String::from_utf8_lossy(&self.seen).contains(text) {
            assert!(Instant::now() < deadline, "no {text:?} in {:?}", String::from_utf8_lossy(&self.seen));
            self.read_some();
        }
    }

    fn type_keys(&mut self, keys: &[u8]) {
        self.ours.write_all(keys).unwrap();
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(self.theirs.as_fd()).unwrap().local_flags.contains(LocalFlags::ICANON)
    }

    fn tell(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// The exit code, once the terminal is seen to be as it was.
    #[track_caller]
    fn end(mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                self.child.kill().unwrap();
                panic!("does not end; wrote {:?}", String::from_utf8_lossy(&self.seen));
            }
            self.read_some();
        };
        let after = tcgetattr(self.theirs.as_fd()).unwrap();
        assert_eq!(after, self.before, "the terminal is as it was");
        status.code()
    }
}

const SHELL: [&str; 5] = ["run", "--rm", "-it", "busybox:1.36", "sh"];

#[test]
fn a_shell_is_raw_while_it_lasts_and_gives_its_exit_code() {
    let mut session = Session::start(&SHELL);
    session.wait_for("/ # ");
    assert!(session.is_raw());
    session.type_keys(b"echo hi\r");
    session.wait_for("\r\nhi\r\n");
    session.type_keys(b"exit 4\r");
    assert_eq!(session.end(), Some(4));
}

#[test]
fn the_detach_keys_leave_with_0() {
    let mut session = Session::start(&SHELL);
    session.wait_for("/ # ");
    session.type_keys(b"\x10\x11");
    session.wait_for("read escape sequence");
    assert_eq!(session.end(), Some(0));
}

#[test]
fn other_detach_keys_can_be_chosen() {
    let mut session = Session::start(&["run", "--rm", "-it", "--detach-keys", "ctrl-]", "busybox:1.36", "sh"]);
    session.wait_for("/ # ");
    session.type_keys(b"\x1d");
    session.wait_for("read escape sequence");
    assert_eq!(session.end(), Some(0));
}

#[test]
fn a_signal_that_is_not_proxied_ends_the_client_and_leaves_the_terminal_whole() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let mut session = Session::start(&["run", "--rm", "-it", "--sig-proxy=false", "busybox:1.36", "sh"]);
        session.wait_for("/ # ");
        session.tell(signal);
        assert_eq!(session.end(), Some(code));
    }
    let mut session = Session::start(&["exec", "-it", "web-1", "sh"]);
    session.wait_for("/ # ");
    assert!(session.is_raw());
    session.tell(Signal::SIGTERM);
    assert_eq!(session.end(), Some(143));
}

#[test]
fn a_proxied_signal_ends_the_process_and_the_code_is_its() {
    let mut session = Session::start(&SHELL);
    session.wait_for("/ # ");
    session.tell(Signal::SIGTERM);
    assert_eq!(session.end(), Some(143));
}
