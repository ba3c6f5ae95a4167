//! One process with its stdio as the shim holds it: the container's own, an exec, or a health probe. Data and small steps; the loop decides.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime};

use super::slab::Key;
use crate::engine::{Exit, StreamKind};
use crate::shim::protocol::ExecRecord;

/// Input that the process has not taken yet; beyond it the client's connection is not read.
const MAX_INPUT_BYTES: usize = 1 << 20;
/// How long output that someone else holds open is waited for once the process has ended.
pub(super) const OUTPUT_GRACE: Duration = Duration::from_secs(2);

pub(super) struct Session {
    pub(super) purpose: Purpose,
    pub(super) tty: bool,
    pub(super) process: Option<Process>,
    /// Stdout (or the terminal) and stderr.
    pub(super) outs: [Option<Watched>; 2],
    pub(super) input: Input,
    pub(super) clients: Vec<Key>,
    /// Rows and columns.
    pub(super) size: Option<(u16, u16)>,
    /// The process has ended; so its session does, when its output has or at this time.
    pub(super) ended: Option<(Exit, Instant)>,
}

pub(super) enum Purpose {
    Main,
    Exec(ExecRecord),
    Probe { started_at: SystemTime, kill_at: Instant, is_late: bool, output: Vec<u8> },
}

pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) pidfd: OwnedFd,
}

/// A descriptor and whether epoll has it.
pub(super) struct Watched {
    pub(super) fd: OwnedFd,
    pub(super) is_watched: bool,
}

/// The way to a process's stdin.
#[derive(Default)]
pub(super) struct Input {
    /// `None` before the start and after its end.
    pub(super) fd: Option<Watched>,
    pub(super) queue: VecDeque<u8>,
    /// Close it when the queue is empty.
    pub(super) is_ending: bool,
    /// Nobody can write any more.
    pub(super) is_over: bool,
    /// The first client's leaving ends it.
    pub(super) once: bool,
}

impl Session {
    pub(super) fn new(purpose: Purpose, tty: bool) -> Self {
        Self {
            purpose,
            tty,
            process: None,
            outs: [None, None],
            input: Input::default(),
            clients: Vec::new(),
            size: None,
            ended: None,
        }
    }

    pub(super) fn is_main(&self) -> bool {
        matches!(self.purpose, Purpose::Main)
    }

    pub(super) fn has_output(&self) -> bool {
        self.outs.iter().any(Option::is_some)
    }

    pub(super) fn is_input_full(&self) -> bool {
        self.input.queue.len() >= MAX_INPUT_BYTES
    }

    pub(super) fn take_input(&mut self, bytes: &[u8]) {
        if !self.input.is_over && !self.input.is_ending {
            self.input.queue.extend(bytes);
        }
    }
}

/// The stream an output slot carries.
pub(super) fn stream_of(slot: usize) -> StreamKind {
    if slot == 0 { StreamKind::Stdout } else { StreamKind::Stderr }
}
