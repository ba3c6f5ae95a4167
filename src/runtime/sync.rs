//! What parent and init say to each other: one packet each, over a socket pair that exec closes. Called by `launch`, `exec` and
//! `init`. End of file is a message too: the other side is gone, or (from the init, after start) has become the program.

use super::error::{At, Result, RuntimeError, Step};
use crate::sys::{poll, socket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// From the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Maps are written, the cgroup is joined: go on.
    Proceed,
    /// The hooks on the host's side are done.
    HooksDone,
    /// Execute the program.
    Start,
}

impl Order {
    fn byte(self) -> u8 {
        match self {
            Self::Proceed => b'P',
            Self::HooksDone => b'H',
            Self::Start => b'S',
        }
    }
}

/// From the init.
#[derive(Debug)]
pub(crate) enum Report {
    /// Mounts are in place, hooks may run.
    Mounted,
    /// The pseudo terminal's master.
    Terminal(OwnedFd),
    /// The real init's pid, from the process that entered a user namespace to make it.
    Pid(u32),
    /// Something was done otherwise than asked.
    Warning(String),
    /// All is done but exec.
    Ready,
    Failed(RuntimeError),
    /// End of file.
    Closed,
}

/// One side of the conversation.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl Channel {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    pub(crate) fn pair() -> Result<(Self, Self)> {
        let (parent, init) = socket::packet_pair().at(Step::Channel, "socketpair")?;
        Ok((Self(parent), Self(init)))
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Sends an order; a dead init is not an error here: what it said before it died is waiting to be read.
    pub(crate) fn order(&self, order: Order) {
        let _ = socket::send(self.fd(), &[order.byte()], None);
    }

    /// Waits for `wanted`.
    ///
    /// # Errors
    /// `Orphaned` when the parent is gone or says something else.
    pub(crate) fn await_order(&self, wanted: Order) -> Result<()> {
        let mut byte = [0];
        let (n, _) = socket::receive(self.fd(), &mut byte).at(Step::Channel, "receive")?;
        if n == 1 && byte[0] == wanted.byte() { Ok(()) } else { Err(RuntimeError::new(Step::Orphaned, "")) }
    }

    pub(crate) fn report(&self, report: &Report) -> Result<()> {
        let (message, fd): (Vec<u8>, _) = match report {
            Report::Mounted => (vec![b'm'], None),
            Report::Terminal(master) => (vec![b't'], Some(master.as_fd())),
            Report::Pid(pid) => ([&b"p"[..], &pid.to_le_bytes()].concat(), None),
            Report::Warning(text) => ([&b"w"[..], &text.as_bytes()[..text.len().min(3000)]].concat(), None),
            Report::Ready => (vec![b'r'], None),
            Report::Failed(err) => ([&b"e"[..], &err.to_bytes()].concat(), None),
            Report::Closed => return Ok(()),
        };
        socket::send(self.fd(), &message, fd).at(Step::Channel, "send")
    }

    /// Waits for the next report, at most `limit`.
    pub(crate) fn next(&self, limit: Duration) -> Result<Report> {
        let [ready] = poll::wait([(self.fd(), poll::Interest::Read)], Some(limit)).at(Step::Channel, "poll")?;
        if !ready.any() {
            return Err(RuntimeError::new(Step::TimedOut, "the container's init"));
        }
        let mut buf = [0u8; 4096];
        // A peer that dies with unread messages resets the connection: the same as end of file.
        let Ok((n, fd)) = socket::receive(self.fd(), &mut buf) else { return Ok(Report::Closed) };
        let Some((kind, rest)) = buf[..n].split_first() else { return Ok(Report::Closed) };
        let broken = || RuntimeError::new(Step::Channel, "message not understood");
        match (kind, fd) {
            (b'm', _) => Ok(Report::Mounted),
            (b't', Some(master)) => Ok(Report::Terminal(master)),
            (b'p', _) => Ok(Report::Pid(u32::from_le_bytes(rest.try_into().map_err(|_| broken())?))),
            (b'w', _) => Ok(Report::Warning(String::from_utf8_lossy(rest).into_owned())),
            (b'r', _) => Ok(Report::Ready),
            (b'e', _) => Ok(Report::Failed(RuntimeError::from_bytes(rest).ok_or_else(broken)?)),
            _ => Err(broken()),
        }
    }
}
