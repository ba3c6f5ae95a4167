//! Signals: names, masks, dispositions, signalfd. Called by `runtime` and `shim`. No handler is ever installed.

use super::{Errno, Result, SysError, check_int};
use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A signal number that exists (1 to 64).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signal(i32);

const NAMES: [(&str, i32); 33] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

impl Signal {
    pub const KILL: Self = Self(libc::SIGKILL);
    pub const TERM: Self = Self(libc::SIGTERM);
    pub const INT: Self = Self(libc::SIGINT);
    pub const HUP: Self = Self(libc::SIGHUP);
    pub const CHLD: Self = Self(libc::SIGCHLD);
    pub const WINCH: Self = Self(libc::SIGWINCH);
    pub const URG: Self = Self(libc::SIGURG);
    pub const PIPE: Self = Self(libc::SIGPIPE);
    pub const CONT: Self = Self(libc::SIGCONT);

    /// `None` outside 1..=64.
    #[must_use]
    pub fn new(number: i32) -> Option<Self> {
        (1..=64).contains(&number).then_some(Self(number))
    }

    /// Reads `9`, `KILL`, `SIGKILL`, `sigkill`, `RTMIN+3`, `RTMAX-1`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse() {
            return Self::new(number);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Some(Self(*number));
        }
        if let Some(rest) = name.strip_prefix("RTMIN") {
            let offset: i32 = if rest.is_empty() { 0 } else { rest.strip_prefix('+')?.parse().ok()? };
            return Self::new(34 + offset).filter(|_| (0..=30).contains(&offset));
        }
        let rest = name.strip_prefix("RTMAX")?;
        let offset: i32 = if rest.is_empty() { 0 } else { rest.strip_prefix('-')?.parse().ok()? };
        Self::new(64 - offset).filter(|_| (0..=30).contains(&offset))
    }

    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None => write!(f, "SIG{}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn set_mask(how: libc::c_int, set: &libc::sigset_t) -> Result<()> {
    // SAFETY: set is an initialised signal set; no old set is asked for.
    check_int("sigprocmask", unsafe { libc::sigprocmask(how, set, std::ptr::null_mut()) }).map(drop)
}

fn empty_set() -> libc::sigset_t {
    // SAFETY: sigset_t is plain words, and sigemptyset initialises it.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        set
    }
}

/// Blocks every signal that can be blocked and returns a descriptor that reads them.
pub fn divert_all() -> Result<OwnedFd> {
    let mut set = empty_set();
    // SAFETY: set is initialised.
    unsafe { libc::sigfillset(&raw mut set) };
    set_mask(libc::SIG_SETMASK, &set)?;
    // SAFETY: -1 asks for a new descriptor; set is initialised.
    let fd =
        check_int("signalfd", unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) })?;
    // SAFETY: new and unowned.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// One signal from [`divert_all`]'s descriptor, if one is there.
pub fn take(fd: BorrowedFd<'_>) -> Result<Option<Signal>> {
    // SAFETY: signalfd_siginfo is plain integers.
    let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
    // SAFETY: info is valid for writes of its size.
    let n = unsafe { libc::read(fd.as_raw_fd(), (&raw mut info).cast(), size_of_val(&info)) };
    if n < 0 {
        let errno = Errno::last();
        return if errno == Errno::EAGAIN { Ok(None) } else { Err(SysError::new("read", errno)) };
    }
    Ok(Signal::new(info.ssi_signo as i32))
}

/// Default dispositions for all and nothing blocked: how a program expects to start. Ignored and blocked signals survive
/// exec, so whatever this process (or Rust's start code, which ignores SIGPIPE) set must be undone.
pub fn reset_all() -> Result<()> {
    for number in 1..=64 {
        if !matches!(number, libc::SIGKILL | libc::SIGSTOP | 32 | 33) {
            // SAFETY: SIG_DFL installs no code.
            unsafe { libc::signal(number, libc::SIG_DFL) };
        }
    }
    set_mask(libc::SIG_SETMASK, &empty_set())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read_as_kill_takes_them() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGTERM", 15),
            ("sigusr1", 10),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
            ("RTMIN", 34),
        ] {
            assert_eq!(Signal::parse(text).map(Signal::number), Some(number), "{text}");
        }
        for text in ["0", "65", "-1", "", "SIG", "NOPE", "RTMIN+31", "RTMIN-1", "99999999999"] {
            assert_eq!(Signal::parse(text), None, "{text}");
        }
    }
}
