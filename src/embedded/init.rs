//! The tiny init of `--init`: pid 1 of a container, which starts the command, passes signals on to it and reaps what it leaves. Called by
//! `main` when the program runs under [`PATH`]'s name, inside the container: no engine, no files, one thread.
//!
//! Signals of the terminal reach the command's group by themselves and are not passed on again.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Where the container sees this program, read-only; docker's place.
pub const PATH: &str = "/sbin/docker-init";

/// `si_code` of a signal that the kernel itself sent, as the terminal does for Ctrl-C (man 2 sigaction).
const SI_KERNEL: i32 = 0x80;

/// Whether this program was started as a container's init.
pub fn is_asked_for() -> bool {
    std::env::args_os().next().is_some_and(|name| name == PATH)
}

/// Between the program's name and the command: this process becomes the command.
const CHILD: &str = "--child";

/// Runs what comes after `--` to its end; returns its exit code, 128 + n after signal n.
pub fn run() -> u8 {
    let mut words = std::env::args_os().skip(1);
    match words.next() {
        Some(word) if word == CHILD => become_command(words),
        Some(word) if word == "--" => supervise(words),
        _ => 125,
    }
}

/// A signal mask is inherited and only the process itself can change it: the child clears it and goes on as the command.
fn become_command(mut words: impl Iterator<Item = OsString>) -> u8 {
    let Some(program) = words.next() else { return 125 };
    if SigSet::empty().thread_set_mask().is_err() {
        return 125;
    }
    let failed = Command::new(&program).args(words).exec();
    failure(&program, &failed)
}

fn supervise(words: impl Iterator<Item = OsString>) -> u8 {
    let mut wanted = SigSet::all();
    for signal in [Signal::SIGFPE, Signal::SIGILL, Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGABRT, Signal::SIGTRAP] {
        wanted.remove(signal);
    }
    // Blocked before the child exists, so that none is lost.
    let Ok(()) = wanted.thread_block() else { return 125 };
    let Ok(signals) = SignalFd::with_flags(&wanted, SfdFlags::SFD_CLOEXEC) else { return 125 };
    let child = match Command::new(PATH).arg(CHILD).args(words).spawn() {
        Ok(child) => Pid::from_raw(child.id() as i32),
        Err(failed) => return failure(PATH.as_ref(), &failed),
    };
    loop {
        match signals.read_signal() {
            Ok(Some(info)) if info.ssi_signo == Signal::SIGCHLD as u32 => {
                if let Some(code) = reap(child) {
                    return code;
                }
            }
            Ok(Some(info)) if info.ssi_code == SI_KERNEL => {}
            // A child that has just ended needs no signal.
            Ok(Some(info)) => drop(Signal::try_from(info.ssi_signo as i32).map(|signal| kill(child, signal))),
            Ok(None) | Err(Errno::EINTR) => {}
            Err(_) => return 125,
        }
    }
}

/// Reaps whoever has ended; the command's code when it was among them.
fn reap(child: Pid) -> Option<u8> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == child => code = Some(status as u8),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => code = Some(128 + signal as u8),
            Ok(WaitStatus::StillAlive) | Err(_) => return code,
            Ok(_) => {}
        }
    }
}

/// Docker's codes: 127 when there is no such program, 126 when it cannot be executed.
fn failure(program: &OsStr, failed: &std::io::Error) -> u8 {
    use std::io::Write;
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "exec {}: {failed}", program.to_string_lossy());
    if failed.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 }
}
