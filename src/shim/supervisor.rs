//! The shim's loop: one epoll, one thread, every wait with a deadline. Called by [`super::role`] with everything open.
//!
//! ```text
//!            Start                 exit, policy says again
//! Created ----------> Running ---------------------------> Restarting
//!    |                  |  ^---------------------------------'  pause over
//!    | last client      | exit, stays down                      | Stop
//!    v left             v                                       v
//!   gone               Over: linger for slow clients, then gone
//! ```
//! Order at an exit: drain output, log, record, event, answers; only then is anything cleaned up, so that a waiter hears of it first.

mod conn;
mod events;
mod execs;
mod io;
mod lifecycle;
mod oom;
mod process;
mod requests;
mod session;
mod slab;

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use conn::Conn;
use oom::OomWatch;
use process::Container;
use session::{Purpose, Session};
use slab::{Key, Slab};

pub(super) use events::emit;
pub(super) use process::kill_and_remove;

use super::backoff::Backoff;
use super::config::ShimConfig;
use super::health::Monitor;
use super::log::LogWriter;
use super::protocol::{ExecRecord, WaitKind};
use super::state::{ProcessRef, RunState, boot_id};
use crate::sys::memory;

/// How long a shim that nobody talks to waits for its first client.
const UNUSED_PATIENCE: Duration = Duration::from_secs(30);
/// How long clients may take for what is left for them once all is over.
const LINGER: Duration = Duration::from_secs(5);
/// Text without a newline is written to the log after this.
const PARTIAL_PATIENCE: Duration = Duration::from_millis(200);
/// How long a client may keep a container waiting.
const SLOW_PATIENCE: Duration = Duration::from_secs(30);
/// Ended exec sessions are told for this long.
const EXEC_MEMORY: Duration = Duration::from_secs(300);
/// Output is read in pieces of at most this, while there is much of it.
const BUFFER_BYTES: usize = 64 * 1024;
/// And in pieces of this while there is little.
const SMALL_BUFFER_BYTES: usize = 4 * 1024;
/// How long after traffic began buffers are given back.
const QUIET: Duration = Duration::from_secs(2);

/// What the role was started with.
pub(super) struct Given {
    pub(super) cfg: ShimConfig,
    pub(super) listener: UnixListener,
    /// Held until everything is cleaned up.
    pub(super) lock: OwnedFd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Created,
    Running,
    Restarting,
    Over,
}

/// A stop under way.
struct Stopping {
    /// When everything gets SIGKILL; `None` when it never does or already did.
    kill_at: Option<Instant>,
    askers: Vec<(Key, u64)>,
}

struct Waiter {
    conn: Key,
    seq: u64,
    until: WaitKind,
}

/// A kill that is announced but not counted yet.
#[derive(Clone, Copy)]
struct OomLook {
    at: Instant,
    n_left: u32,
}

/// What an epoll event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Listener,
    Signals,
    Oom,
    Conn(Key),
    Process(Key),
    Out(Key, usize),
    In(Key),
}

impl Source {
    fn to_bits(self) -> u64 {
        let (tag, rest) = match self {
            Self::Listener => (0, 0),
            Self::Signals => (1, 0),
            Self::Oom => (2, 0),
            Self::Conn(key) => (3, key.to_bits()),
            Self::Process(key) => (4, key.to_bits()),
            Self::Out(key, slot) => (5 + slot as u64, key.to_bits()),
            Self::In(key) => (7, key.to_bits()),
        };
        tag << 56 | rest
    }

    fn from_bits(bits: u64) -> Self {
        let key = Key::from_bits(bits & ((1 << 56) - 1));
        match bits >> 56 {
            0 => Self::Listener,
            1 => Self::Signals,
            2 => Self::Oom,
            3 => Self::Conn(key),
            4 => Self::Process(key),
            tag @ (5 | 6) => Self::Out(key, (tag - 5) as usize),
            _ => Self::In(key),
        }
    }
}

pub(super) struct Supervisor {
    cfg: ShimConfig,
    epoll: Epoll,
    /// `None` once nobody new may come.
    listener: Option<UnixListener>,
    lock: Option<OwnedFd>,
    signals: SignalFd,
    conns: Slab<Conn>,
    sessions: Slab<Session>,
    main: Key,
    container: Option<Container>,
    phase: Phase,
    state: RunState,
    log: Option<LogWriter>,
    /// When held text must go to the log.
    partial_at: Option<Instant>,
    /// Log trouble as the record on disk has it.
    is_trouble_told: bool,
    run_began: Instant,
    backoff: Backoff,
    restart_at: Option<Instant>,
    stopping: Option<Stopping>,
    waiters: Vec<Waiter>,
    health: Option<Monitor>,
    oom: Option<OomWatch>,
    oom_look: Option<OomLook>,
    ended_execs: VecDeque<(Instant, ExecRecord)>,
    /// When a shim without clients, or with slow ones at the end, leaves.
    leave_at: Option<Instant>,
    buf: Vec<u8>,
    quiet_at: Option<Instant>,
    /// Memory is to be given back before the next wait.
    is_quiet: bool,
}

impl Supervisor {
    /// Sets up the loop; nothing runs yet.
    pub(super) fn new(given: Given) -> std::io::Result<Self> {
        let Given { mut cfg, listener, lock } = given;
        process::prepare(&mut cfg);
        let mut wanted = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGCHLD] {
            wanted.add(signal);
        }
        wanted.thread_block()?;
        let signals = SignalFd::with_flags(&wanted, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        listener.set_nonblocking(true)?;
        let readable = |source: Source| EpollEvent::new(EpollFlags::EPOLLIN, source.to_bits());
        epoll.add(&listener, readable(Source::Listener))?;
        epoll.add(&signals, readable(Source::Signals))?;
        let mut sessions = Slab::new();
        let mut session = Session::new(Purpose::Main, cfg.tty);
        session.input.once = cfg.stdin_once;
        session.input.is_over = !cfg.open_stdin;
        let main = sessions.insert(session);
        // A run of the past is told until this one begins.
        let mut state = RunState::read(&cfg.state_path()).ok().flatten().unwrap_or_default();
        state.shim = ProcessRef::of(std::process::id());
        state.boot_id = boot_id();
        state.state.restart_count = 0;
        Ok(Self {
            cfg,
            epoll,
            listener: Some(listener),
            lock: Some(lock),
            signals,
            conns: Slab::new(),
            sessions,
            main,
            container: None,
            phase: Phase::Created,
            state,
            log: None,
            partial_at: None,
            is_trouble_told: false,
            run_began: Instant::now(),
            backoff: Backoff::default(),
            restart_at: None,
            stopping: None,
            waiters: Vec::new(),
            health: None,
            oom: None,
            oom_look: None,
            ended_execs: VecDeque::new(),
            leave_at: Some(Instant::now() + UNUSED_PATIENCE),
            buf: Vec::new(),
            quiet_at: None,
            is_quiet: false,
        })
    }

    /// Runs until the container is gone and its clients have what is theirs.
    ///
    /// # Errors
    /// epoll itself failed; nothing can be done then.
    pub(super) fn run(mut self) -> std::io::Result<()> {
        let mut events = [EpollEvent::empty(); 32];
        loop {
            let timeout = self.next_deadline().map_or(EpollTimeout::NONE, timeout_until);
            if std::mem::take(&mut self.is_quiet) {
                // The last thing before the wait: what code runs after it comes back into memory.
                memory::trim();
            }
            let n_events = match self.epoll.wait(&mut events, timeout) {
                Ok(n_events) => n_events,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(errno) => return Err(errno.into()),
            };
            for event in &events[..n_events] {
                self.on_event(Source::from_bits(event.data()), event.events());
            }
            self.on_time(Instant::now());
            self.settle();
            if self.is_done() {
                self.clean_up();
                return Ok(());
            }
        }
    }

    fn on_event(&mut self, source: Source, flags: EpollFlags) {
        // Not put off by more traffic: giving back costs microseconds, and a container that says a line a second must not keep a busy one's
        // memory.
        self.quiet_at.get_or_insert_with(|| Instant::now() + QUIET);
        match source {
            Source::Listener => self.accept(),
            Source::Signals => self.on_signals(),
            Source::Oom => self.on_oom(),
            Source::Conn(key) => self.on_conn(key, flags),
            Source::Process(key) => self.on_process(key),
            Source::Out(key, slot) => self.on_output(key, slot),
            Source::In(key) => self.write_input(key),
        }
    }

    fn on_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            if info.ssi_signo == Signal::SIGCHLD as u32 {
                self.reap_strangers();
            } else {
                self.stop_for_the_host();
            }
        }
    }

    /// The next moment at which something is due.
    fn next_deadline(&self) -> Option<Instant> {
        let slow = self.conns.iter().filter_map(|(_, conn)| conn.blocks_since.map(|since| since + SLOW_PATIENCE));
        let sessions = self.sessions.iter().filter_map(|(_, session)| match (&session.purpose, &session.ended) {
            (_, Some((_, until))) => Some(*until),
            (Purpose::Probe { kill_at, is_late: false, .. }, None) => Some(*kill_at),
            _ => None,
        });
        let kill_at = self.stopping.as_ref().and_then(|stopping| stopping.kill_at);
        let probe_at = self.probe_at();
        let oom_at = self.oom_look.map(|look| look.at);
        [oom_at, self.partial_at, self.restart_at, kill_at, probe_at, self.leave_at, self.quiet_at]
            .into_iter()
            .flatten()
            .chain(slow)
            .chain(sessions)
            .min()
    }

    /// Does what has become due.
    fn on_time(&mut self, now: Instant) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.partial_at) {
            self.partial_at = None;
            if let Some(log) = &mut self.log {
                log.flush_all(super::log::writer::now_ns());
            }
        }
        if is_due(self.quiet_at) {
            self.quiet_at = None;
            self.give_back_memory();
        }
        if self.stopping.as_ref().is_some_and(|stopping| is_due(stopping.kill_at)) {
            self.kill_everything();
        }
        if let Some(look) = self.oom_look.take_if(|look| look.at <= now) {
            self.look_for_oom(look);
        }
        if is_due(self.restart_at) {
            self.restart_at = None;
            self.restart();
        }
        if is_due(self.probe_at()) {
            self.probe(now);
        }
        self.end_late_sessions(now);
        self.let_go_of_slow_clients(now);
        while self.ended_execs.front().is_some_and(|(ended, _)| *ended + EXEC_MEMORY <= now) {
            self.ended_execs.pop_front();
        }
    }

    fn give_back_memory(&mut self) {
        self.buf = Vec::new();
        if let Some(log) = &mut self.log {
            log.shrink();
        }
        self.is_quiet = true;
    }

    /// Whether there is no reason to stay.
    fn is_done(&self) -> bool {
        let is_late = self.leave_at.is_some_and(|at| at <= Instant::now());
        match self.phase {
            // Nobody started it and nobody is there who could.
            Phase::Created => self.conns.is_empty() && (is_late || self.leave_at.is_none()),
            Phase::Over => self.conns.is_empty() || is_late,
            Phase::Running | Phase::Restarting => false,
        }
    }

    fn watch(&self, fd: impl AsFd, source: Source, flags: EpollFlags) -> bool {
        self.epoll.add(fd, EpollEvent::new(flags, source.to_bits())).is_ok()
    }
}

/// Rounded up: waking before the deadline would make the loop spin.
fn timeout_until(at: Instant) -> EpollTimeout {
    let left_ms = at.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
    EpollTimeout::try_from(i32::try_from(left_ms).unwrap_or(i32::MAX)).unwrap_or(EpollTimeout::MAX)
}
