//! Start, end, restart and removal of the container. Part of the loop; the order of an end is told in [`super`].

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::epoll::EpollFlags;

use super::oom::{OomWatch, memory_peak};
use super::process::{self, Container, Launched, Stdio};
use super::session::{Process, Purpose, Watched};
use super::slab::Key;
use super::{LINGER, OomLook, Phase, QUIET, Source, Supervisor};
use crate::engine::Exit;
use crate::engine::container::Status;
use crate::shim::health::{Monitor, Plan};
use crate::shim::log::LogWriter;
use crate::shim::log::writer::now_ns;
use crate::shim::protocol::{Answer, Fault, FaultKind, WaitKind};
use crate::shim::state::ProcessRef;
use crate::stdx::tree;
use crate::sys::tty::{self, Size};

/// How long output is waited for that someone outside the container still holds open.
const STRAGGLER_PATIENCE: Duration = Duration::from_millis(300);
const OOM_PAUSE: Duration = Duration::from_millis(20);
const OOM_LOOKS: u32 = 50;

impl Supervisor {
    /// The first start, asked for.
    pub(super) fn start(&mut self) -> Result<(), Fault> {
        if self.phase != Phase::Created {
            return Err(Fault::new(FaultKind::NotModified, format!("container {} is already running", self.cfg.id)));
        }
        let started = self.launch();
        if let Err(fault) = &started {
            self.failed_to_start(fault);
        }
        started
    }

    /// The pause is over.
    pub(super) fn restart(&mut self) {
        self.state.state.restart_count = self.backoff.n_restarts();
        if let Err(fault) = self.launch() {
            self.failed_to_start(&fault);
        }
    }

    fn launch(&mut self) -> Result<(), Fault> {
        match &mut self.log {
            Some(log) => log.close_lines(now_ns()),
            None => self.log = LogWriter::open(&self.cfg.log, now_ns()),
        }
        let (theirs, ours) = self.stdio()?;
        let (container, launched) = Container::launch(&self.cfg, theirs)?;
        self.run_began = Instant::now();
        self.state.cgroup = Some(container.cgroup().record());
        self.state.cgroups = container.cgroup().dirs();
        self.state.warnings = container.warnings().to_vec();
        self.state.start_timeline = container.timeline().to_vec();
        self.oom = OomWatch::new(&self.state.cgroups);
        if let Some(fd) = self.oom.as_ref().and_then(OomWatch::fd) {
            self.watch(fd, Source::Oom, EpollFlags::EPOLLIN);
        }
        self.container = Some(container);
        self.take_process(self.main, launched, ours);
        self.phase = Phase::Running;
        let state = &mut self.state.state;
        state.status = Status::Running;
        state.started_at = Some(SystemTime::now());
        state.finished_at = None;
        state.exit = None;
        state.error.clear();
        self.state.stopped_by_request = false;
        self.state.memory_peak_bytes = None;
        self.health = self.cfg.health.as_ref().and_then(Plan::of).map(Monitor::new);
        self.state.state.health = Default::default();
        self.record();
        self.emit("start", &[]);
        self.quiet_at = Some(Instant::now() + QUIET);
        Ok(())
    }

    /// The container's ends of its stdio and ours.
    fn stdio(&self) -> Result<(Stdio, process::Ours), Fault> {
        if self.cfg.tty {
            let size = self.sessions.get(self.main).and_then(|session| session.size);
            return Ok((Stdio::Terminal { size }, process::Ours::default()));
        }
        process::pipes(if self.cfg.open_stdin { process::Stdin::Pipe } else { process::Stdin::Null })
    }

    /// Takes charge of a process that has just been executed.
    pub(super) fn take_process(&mut self, key: Key, launched: Launched, ours: process::Ours) {
        let Launched { pid, pidfd, terminal } = launched;
        self.watch(pidfd.as_fd(), Source::Process(key), EpollFlags::EPOLLIN);
        let (stdin, stdout, stderr) = match terminal {
            Some(terminal) => (terminal.try_clone().ok(), Some(terminal), None),
            None => (ours.stdin, ours.stdout, ours.stderr),
        };
        for (slot, fd) in [stdout, stderr].into_iter().enumerate() {
            let Some(fd) = fd else { continue };
            process::set_nonblocking(&fd);
            self.add_output(key, slot, fd);
        }
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.process = Some(Process { pid, pidfd });
        session.ended = None;
        session.input.fd = stdin.filter(|_| !session.input.is_over).map(|fd: OwnedFd| {
            process::set_nonblocking(&fd);
            Watched { fd, is_watched: false }
        });
        if let (Some((rows, cols)), Some(out), true) = (session.size, &session.outs[0], session.tty) {
            // A size that came while the process was being made.
            let _ = tty::set_size(out.fd.as_fd(), Size { rows, cols });
        }
        if session.is_main() {
            self.state.init = ProcessRef::of(pid);
            self.state.state.pid = Some(pid);
        }
        self.write_input(key);
    }

    fn failed_to_start(&mut self, fault: &Fault) {
        let state = &mut self.state.state;
        let text = std::iter::once(&fault.message).chain(&fault.causes).cloned().collect::<Vec<_>>().join(": ");
        state.status = if state.started_at.is_some() { Status::Exited } else { Status::Created };
        state.exit = Some(Exit {
            code: i32::from(fault.exit_code.unwrap_or(128)),
            error: Some(text.clone()),
            ..Exit::default()
        });
        state.error = text;
        state.pid = None;
        self.state.init = None;
        self.record();
        self.end_run();
        self.tidy();
    }

    /// The container's first process has ended.
    pub(super) fn on_exit(&mut self, mut exit: Exit) {
        if let Some(container) = &mut self.container {
            container.kill_all();
        }
        self.end_execs_of_run();
        self.drain(self.main);
        if let Some(log) = &mut self.log {
            log.end(now_ns());
        }
        self.take_oom_kills();
        exit.oom_killed = self.state.state.exit.as_ref().is_some_and(|exit| exit.oom_killed);
        self.state.memory_peak_bytes = memory_peak(&self.state.cgroups);
        let ran = self.run_began.elapsed();
        let may_restart = !self.state.stopped_by_request && self.stopping.is_none();
        let pause = if may_restart { self.backoff.after(self.cfg.restart, &exit, ran) } else { None };
        let state = &mut self.state.state;
        state.status = if pause.is_some() { Status::Restarting } else { Status::Exited };
        state.pid = None;
        state.finished_at = Some(SystemTime::now());
        state.exit = Some(exit.clone());
        self.state.init = None;
        self.phase = if pause.is_some() { Phase::Restarting } else { Phase::Over };
        match pause {
            Some(_) => self.record(),
            None => self.record_end(),
        }
        let code = exit.code.to_string();
        self.emit("die", &[("exitCode", code), ("execDuration", ran.as_secs().to_string())]);
        self.end_run();
        match pause {
            Some(pause) => {
                self.restart_at = Some(Instant::now() + pause);
                self.destroy_container();
            }
            None => self.tidy(),
        }
    }

    /// Answers everybody who waited for the end of this run.
    fn end_run(&mut self) {
        let exit = self.state.state.exit.clone().unwrap_or_default();
        self.answer_waiters(&[WaitKind::NotRunning, WaitKind::NextExit]);
        if let Some(stopping) = self.stopping.take() {
            self.emit("stop", &[]);
            for (conn, seq) in stopping.askers {
                self.reply(conn, seq, Ok(Answer::Exited { exit: exit.clone() }));
            }
        }
        self.end_clients(self.main, &exit);
        self.health = None;
        self.oom = None;
        self.oom_look = None;
        let (open_stdin, once) = (self.cfg.open_stdin, self.cfg.stdin_once);
        if let Some(session) = self.sessions.get_mut(self.main) {
            session.outs = [None, None];
            session.input = super::session::Input { is_over: !open_stdin, once, ..Default::default() };
        }
    }

    /// Reads what is left in the pipes; all who could write are dead but for strangers who were handed a descriptor.
    fn drain(&mut self, key: Key) {
        let deadline = Instant::now() + STRAGGLER_PATIENCE;
        for slot in 0..2 {
            while self.sessions.get(key).is_some_and(|session| session.outs[slot].is_some()) {
                if self.read_output(key, slot, usize::MAX) == super::io::Out::Closed {
                    self.close_output(key, slot);
                    break;
                }
                if self.is_empty_for_good(key, slot, deadline) {
                    break;
                }
            }
        }
    }

    /// Waits for more output; true when none came in time.
    fn is_empty_for_good(&self, key: Key, slot: usize, deadline: Instant) -> bool {
        let Some(out) = self.sessions.get(key).and_then(|session| session.outs[slot].as_ref()) else { return true };
        !process::wait_readable(out.fd.as_fd(), deadline)
    }

    fn end_execs_of_run(&mut self) {
        for key in self.sessions.keys() {
            if key == self.main {
                continue;
            }
            self.reap_exec(key, Instant::now() + STRAGGLER_PATIENCE);
            self.drain(key);
            self.end_session(key);
        }
    }

    /// A restart that was due is not wanted any more.
    pub(super) fn stay_down(&mut self) {
        self.restart_at = None;
        self.state.state.status = Status::Exited;
        self.phase = Phase::Over;
        self.record();
        self.emit("stop", &[]);
        self.end_run();
        self.tidy();
    }

    /// The host or an operator wants this process gone: the container is ended as by a stop, but will be started again at boot.
    pub(super) fn stop_for_the_host(&mut self) {
        match self.phase {
            Phase::Created => {
                self.phase = Phase::Over;
                self.tidy();
            }
            Phase::Restarting => self.stay_down(),
            Phase::Running => self.begin_stop(self.cfg.stop_signal, self.cfg.stop_timeout, None),
            Phase::Over => {}
        }
    }

    pub(super) fn kill_everything(&mut self) {
        if let Some(stopping) = &mut self.stopping {
            stopping.kill_at = None;
        }
        // Already dead is as wanted.
        let _ = self.send_signal(process::libc_sigkill());
        if self.state.state.status == Status::Paused {
            let _ = self.resume();
        }
        if let Some(container) = &mut self.container {
            container.kill_all();
        }
    }

    pub(super) fn send_signal(&self, signal: i32) -> Result<(), Fault> {
        let process = self.sessions.get(self.main).and_then(|session| session.process.as_ref());
        let Some(process) = process else { return Ok(()) };
        process::signal(process.pidfd.as_fd(), signal)
    }

    /// The kernel tells of a kill, or is just about to kill (cgroup v1): then the counter is looked at again for a second.
    pub(super) fn on_oom(&mut self) {
        if self.take_oom_kills() == 0 {
            self.oom_look = Some(OomLook { at: Instant::now() + OOM_PAUSE, n_left: OOM_LOOKS });
        }
    }

    pub(super) fn look_for_oom(&mut self, look: OomLook) {
        if self.take_oom_kills() == 0 && look.n_left > 0 {
            self.oom_look = Some(OomLook { at: Instant::now() + OOM_PAUSE, n_left: look.n_left - 1 });
        }
    }

    fn take_oom_kills(&mut self) -> u64 {
        let n_kills = self.oom.as_mut().map_or(0, OomWatch::take_kills);
        if n_kills > 0 {
            // Remembered until the end: that is when it is asked for.
            self.state.state.exit = Some(Exit { oom_killed: true, ..Exit::default() });
            self.emit("oom", &[]);
        }
        n_kills
    }

    fn destroy_container(&mut self) {
        self.oom = None;
        if let Some(container) = self.container.take() {
            container.destroy();
        }
    }

    /// Leaves nothing behind but the record; clients may still be reading.
    pub(super) fn tidy(&mut self) {
        self.phase = Phase::Over;
        self.leave_at = Some(Instant::now() + LINGER);
        self.destroy_container();
        // Ended, or failed to start.
        if self.cfg.auto_remove && self.state.state.exit.is_some() {
            self.remove();
            self.answer_waiters(&[WaitKind::Removed]);
        }
        self.let_go_of_place();
    }

    /// Removes the container: first its name, so that it can be taken; then what an engine would see; then the rest.
    fn remove(&mut self) {
        self.log = None;
        let cfg = &self.cfg;
        // Each of these is swept by the next engine when it fails here.
        if let Some(entry) = &cfg.name_entry {
            let _ = std::fs::remove_file(entry);
        }
        for dir in std::iter::once(&cfg.container_dir).chain(&cfg.anonymous_volumes) {
            let _ = match cfg.trash_dir.as_os_str().is_empty() {
                true => tree::remove_all(dir),
                false => tree::discard(dir, &cfg.trash_dir),
            };
        }
        self.emit("destroy", &[]);
    }

    /// Gives up socket, files and lock: from here on a new shim may run this container.
    pub(super) fn let_go_of_place(&mut self) {
        self.listener = None;
        if self.lock.is_some() {
            crate::shim::spawn::remove_run_files(&self.cfg.run_dir);
        }
        self.lock = None;
    }

    /// The last thing before the end of the process.
    pub(super) fn clean_up(mut self) {
        self.let_go_of_place();
    }

    /// A process in the container's own session has ended, or an exec's.
    pub(super) fn on_process(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(process) = &session.process else { return };
        let Some(exit) = process::try_wait(process.pidfd.as_fd()) else { return };
        if let Some(process) = session.process.take() {
            // Closing is not enough while a copy of it is open in a child that is just being made.
            let _ = self.epoll.delete(&process.pidfd);
        }
        match session.purpose {
            Purpose::Main => self.on_exit(exit),
            Purpose::Exec(_) | Purpose::Probe { .. } => self.on_exec_exit(key, exit),
        }
    }

    /// Children that were left to us (a container in the host's pid namespace): reaped and forgotten.
    pub(super) fn reap_strangers(&mut self) {
        while let Some(pid) = process::peek_ended_child() {
            let known = self
                .sessions
                .iter()
                .find(|(_, session)| session.process.as_ref().is_some_and(|process| process.pid == pid));
            match known.map(|(key, _)| key) {
                Some(key) => self.on_process(key),
                None => process::reap(pid),
            }
        }
    }
}
