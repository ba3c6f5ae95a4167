//! Waiting for a process in the foreground: signals go on to it, and with a terminal bytes go both ways. Called by `run` and `exec`.

use super::super::error::{At, Result, Step};
use crate::sys::pidfd::{self, Exit};
use crate::sys::poll::{self, Interest};
use crate::sys::signal::{self, Signal};
use crate::sys::tty::{self, RawMode, Size};
use crate::sys::{Errno, fd};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// What the program wrote last must still be read after its end; its terminal closes at once unless something else holds it.
const DRAIN: Duration = Duration::from_millis(500);

/// Blocks all signals and returns where they are read.
pub(crate) fn divert() -> Result<OwnedFd> {
    signal::divert_all().at(Step::Session, "signals")
}

/// The size of this process's own terminal, if it has one.
pub(crate) fn own_size() -> Option<Size> {
    tty::size(std::io::stdin().as_fd()).ok()
}

/// Stays until the process ends, and reaps it.
pub(crate) fn attend(process: BorrowedFd<'_>, signals: OwnedFd, terminal: Option<OwnedFd>) -> Result<Exit> {
    match terminal {
        None => plain(process, &signals)?,
        Some(master) => {
            let stdin = std::io::stdin();
            // A terminal of ours becomes raw for the time: its keys are the container's.
            let raw = RawMode::enter(stdin.as_fd()).ok();
            let done = relay(process, &signals, &master);
            drop(raw);
            done?;
        }
    }
    pidfd::wait(process).at(Step::Wait, "the container")
}

fn plain(process: BorrowedFd<'_>, signals: &OwnedFd) -> Result<()> {
    loop {
        let [ended, signal] = poll::wait([(process, Interest::Read), (signals.as_fd(), Interest::Read)], None)
            .at(Step::Wait, "the container")?;
        if ended.any() {
            return Ok(());
        }
        if signal.any() {
            forward(process, signals, None)?;
        }
    }
}

/// Passes on what came, but for what is meant for this process.
fn forward(process: BorrowedFd<'_>, signals: &OwnedFd, terminal: Option<&OwnedFd>) -> Result<()> {
    while let Some(signal) = signal::take(signals.as_fd()).at(Step::Wait, "signals")? {
        match signal {
            Signal::CHLD | Signal::PIPE | Signal::URG => {}
            Signal::WINCH => {
                if let (Some(master), Some(size)) = (terminal, own_size()) {
                    let _ = tty::set_size(master.as_fd(), size);
                }
            }
            other => {
                // It may have ended this moment.
                let _ = pidfd::send_signal(process, other);
            }
        }
    }
    Ok(())
}

/// Copies between our streams and the container's terminal until the process has ended and its last words are out.
fn relay(process: BorrowedFd<'_>, signals: &OwnedFd, master: &OwnedFd) -> Result<()> {
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    let mut buf = vec![0u8; 32 * 1024];
    let mut is_input_open = true;
    let mut deadline: Option<Instant> = None;
    loop {
        // Without input left, the process is watched twice instead: the array stays one size.
        let input = if is_input_open { (stdin.as_fd(), Interest::Read) } else { (process, Interest::Hangup) };
        let ended = if deadline.is_none() { Interest::Read } else { Interest::Hangup };
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let [output, signal, gone, typed] = poll::wait(
            [(master.as_fd(), Interest::Read), (signals.as_fd(), Interest::Read), (process, ended), input],
            left,
        )
        .at(Step::Wait, "the container")?;
        if signal.any() {
            forward(process, signals, Some(master))?;
        }
        if output.any() {
            match fd::read(master.as_fd(), &mut buf) {
                // EIO: the last holder of the slave has closed it.
                Ok(0) | Err(crate::sys::SysError { errno: Errno::EIO, .. }) => return Ok(()),
                Ok(n) => fd::write_all(stdout.as_fd(), &buf[..n]).at(Step::Stdio, "standard output")?,
                Err(err) => return Err(err).at(Step::Terminal, "read"),
            }
        }
        if is_input_open && typed.any() {
            match fd::read(stdin.as_fd(), &mut buf) {
                Ok(n) if n > 0 => {
                    let _ = fd::write_all(master.as_fd(), &buf[..n]);
                }
                _ => is_input_open = false,
            }
        }
        if gone.any() && deadline.is_none() {
            deadline = Some(Instant::now() + DRAIN);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(());
        }
    }
}
