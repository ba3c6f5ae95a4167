//! Waiting on several descriptors. Called by the foreground part of `runtime` and by `shim`.

use super::{Errno, Result, check_int};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// What a caller waits for on one descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    Read,
    Write,
    /// Nothing but hang-up and error, which always wake.
    Hangup,
}

/// What became of one descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    pub readable: bool,
    pub writable: bool,
    pub hangup: bool,
}

impl Ready {
    #[must_use]
    pub fn any(self) -> bool {
        self.readable || self.writable || self.hangup
    }
}

/// poll(2) until something is ready or `timeout` has passed (`None`: for ever). EINTR continues with the time left.
/// All answers are empty on a timeout.
pub fn wait<const N: usize>(fds: [(BorrowedFd<'_>, Interest); N], timeout: Option<Duration>) -> Result<[Ready; N]> {
    let mut raw = fds.map(|(fd, interest)| libc::pollfd {
        fd: fd.as_raw_fd(),
        events: match interest {
            Interest::Read => libc::POLLIN,
            Interest::Write => libc::POLLOUT,
            Interest::Hangup => 0,
        },
        revents: 0,
    });
    wait_raw(&mut raw, timeout)?;
    Ok(raw.map(|fd| Ready {
        readable: fd.revents & libc::POLLIN != 0,
        writable: fd.revents & libc::POLLOUT != 0,
        hangup: fd.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0,
    }))
}

fn wait_raw(raw: &mut [libc::pollfd], timeout: Option<Duration>) -> Result<()> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    loop {
        let left_ms = match deadline {
            None => -1,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                // Rounded up: waking before the deadline would make the caller spin.
                i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
            }
        };
        // SAFETY: the array is valid for its length.
        let ret = unsafe { libc::poll(raw.as_mut_ptr(), raw.len() as libc::nfds_t, left_ms) };
        match check_int("poll", ret) {
            Err(err) if err.errno == Errno::EINTR => {}
            other => return other.map(drop),
        }
    }
}
