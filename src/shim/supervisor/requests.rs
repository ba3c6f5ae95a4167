//! What engines ask, one function per request. Part of the loop; answers at once or leaves the answer to a later event.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::conn::Role;
use super::process;
use super::session::Purpose;
use super::slab::Key;
use super::{Phase, Supervisor, Waiter};
use crate::engine::RestartPolicy;
use crate::engine::container::Status;
use crate::oci::runtime::LinuxResources;
use crate::shim::detach::{self, Matcher};
use crate::shim::log::replay::Replay;
use crate::shim::protocol::{
    self, Answer, Attach, Fault, FaultKind, Kind, Numbered, PROTOCOL_VERSION, Reply, ReplyBody, Request, StopTimeout,
    WaitKind, WhenSlow,
};
use crate::stdx::atomic::{self, Durability};
use crate::sys::tty::{self, Size};

impl Supervisor {
    pub(super) fn on_request(&mut self, key: Key, body: &[u8]) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let Ok(Numbered { seq, request }) = protocol::from_json("request", body) else {
            conn.is_broken = true;
            return;
        };
        conn.n_owed += 1;
        if let Some(answer) = self.answer(key, seq, request) {
            self.reply(key, seq, answer);
        }
    }

    /// `None`: answered later, or already (before the data that follows it).
    fn answer(&mut self, key: Key, seq: u64, request: Request) -> Option<Result<Answer, Fault>> {
        let done = |result: Result<(), Fault>| Some(result.map(|()| Answer::Done));
        match request {
            Request::Hello { .. } => Some(Ok(Answer::Hello {
                version: PROTOCOL_VERSION,
                id: self.cfg.id.clone(),
                shim_pid: std::process::id(),
            })),
            Request::Start => done(self.start()),
            Request::Attach(attach) => self.attach(key, seq, attach).err().map(Err),
            Request::Resize { exec, rows, cols } => done(self.resize(exec.as_deref(), rows, cols)),
            Request::Signal { signal } => done(self.signal(signal)),
            Request::Stop { signal, timeout } => self.stop(key, seq, signal, timeout).map(Err),
            Request::Pause => done(self.pause()),
            Request::Resume => done(self.resume()),
            Request::Exec(exec) => self.exec(key, seq, *exec).err().map(Err),
            Request::ExecInspect { id } => Some(self.exec_records(id.as_deref())),
            Request::Wait { condition } => self.wait(key, seq, condition),
            Request::Update { resources, restart } => Some(self.update(resources.map(|new| *new), restart)),
            Request::Rename { name, name_entry } => {
                self.cfg.name = name;
                self.cfg.name_entry = name_entry;
                self.save_config();
                Some(Ok(Answer::Done))
            }
            Request::State => {
                self.refresh_state();
                let mut state = self.state.clone();
                if self.phase == Phase::Created {
                    // An earlier run's end is for the record; what is asked is whether this shim waits for its start.
                    state.state.status = Status::Created;
                }
                Some(Ok(Answer::State { state: Box::new(state) }))
            }
            Request::Unknown => Some(Err(Fault::new(FaultKind::Unsupported, "this shim does not know the request"))),
        }
    }

    pub(super) fn reply(&mut self, key: Key, seq: u64, result: Result<Answer, Fault>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.n_owed = conn.n_owed.saturating_sub(1);
        let result = match result {
            Ok(answer) => ReplyBody::Ok(Box::new(answer)),
            Err(fault) => ReplyBody::Fault(fault),
        };
        conn.send_json(Kind::Reply, &Reply { seq, result });
    }

    fn attach(&mut self, key: Key, seq: u64, attach: Attach) -> Result<(), Fault> {
        if self.phase == Phase::Over {
            return Err(Fault::new(FaultKind::Conflict, "the container has ended"));
        }
        let keys = attach.detach_keys.or_else(|| self.cfg.detach_keys.clone());
        let role = Role {
            session: self.main,
            stdin: attach.stdin,
            stdout: attach.stdout,
            stderr: attach.stderr,
            keys: matcher(keys.as_deref())?,
            when_slow: attach.when_slow,
            replay: if attach.replay { self.open_replay() } else { None },
            n_lost: 0,
        };
        self.join(key, role)?;
        self.reply(key, seq, Ok(Answer::Attached { tty: self.cfg.tty }));
        self.emit("attach", &[]);
        Ok(())
    }

    fn open_replay(&mut self) -> Option<Replay> {
        let dir = self.cfg.log.dir.as_ref()?;
        if let Some(log) = &mut self.log {
            log.flush_all(crate::shim::log::writer::now_ns());
        }
        // A log that cannot be read has nothing to replay; the attach itself is not hurt.
        Replay::open(dir).ok()
    }

    /// Makes a connection the client of a session.
    pub(super) fn join(&mut self, key: Key, role: Role) -> Result<(), Fault> {
        let Some(conn) = self.conns.get_mut(key) else { return Ok(()) };
        if conn.role.is_some() || conn.is_ending {
            return Err(Fault::new(FaultKind::Invalid, "the connection already carries a session"));
        }
        if let Some(session) = self.sessions.get_mut(role.session) {
            session.clients.push(key);
        }
        conn.role = Some(role);
        Ok(())
    }

    fn resize(&mut self, exec: Option<&str>, rows: u16, cols: u16) -> Result<(), Fault> {
        let key = match exec {
            None => self.main,
            Some(id) => self.running_exec(id).ok_or_else(|| no_such_exec(id))?,
        };
        let Some(session) = self.sessions.get_mut(key) else { return Ok(()) };
        if !session.tty {
            return Err(Fault::new(FaultKind::Invalid, "cannot resize: the process has no terminal"));
        }
        session.size = Some((rows, cols));
        match &session.outs[0] {
            Some(terminal) => tty::set_size(terminal.fd.as_fd(), Size { rows, cols })
                .map_err(|error| Fault::new(FaultKind::Internal, "cannot resize the terminal").caused_by(&error)),
            None => Ok(()),
        }
    }

    fn signal(&mut self, signal: i32) -> Result<(), Fault> {
        self.running()?;
        if signal == process::libc_sigkill() || signal == self.cfg.stop_signal {
            self.state.stopped_by_request = true;
        }
        self.send_signal(signal)?;
        if signal == process::libc_sigkill() && self.state.state.status == Status::Paused {
            // A frozen process dies only when it is thawed (cgroup v1).
            let _ = self.resume();
        }
        self.emit("kill", &[("signal", signal.to_string())]);
        Ok(())
    }

    pub(super) fn running(&self) -> Result<(), Fault> {
        match self.phase {
            Phase::Running => Ok(()),
            _ => Err(Fault::new(FaultKind::Conflict, format!("container {} is not running", self.cfg.id))),
        }
    }

    fn stop(&mut self, key: Key, seq: u64, signal: Option<i32>, timeout: Option<StopTimeout>) -> Option<Fault> {
        let timeout = match timeout {
            None => self.cfg.stop_timeout,
            Some(StopTimeout::Ms(ms)) => Some(Duration::from_millis(ms)),
            Some(StopTimeout::Never) => None,
        };
        match self.phase {
            Phase::Created => {
                self.phase = Phase::Over;
                self.reply(key, seq, Err(self.not_running()));
                self.tidy();
                None
            }
            Phase::Over => Some(self.not_running()),
            Phase::Restarting => {
                self.state.stopped_by_request = true;
                self.waiters.push(Waiter { conn: key, seq, until: WaitKind::NotRunning });
                self.stay_down();
                None
            }
            Phase::Running => {
                self.state.stopped_by_request = true;
                self.begin_stop(signal.unwrap_or(self.cfg.stop_signal), timeout, Some((key, seq)));
                None
            }
        }
    }

    fn not_running(&self) -> Fault {
        Fault::new(FaultKind::NotModified, format!("container {} is not running", self.cfg.id))
    }

    fn pause(&mut self) -> Result<(), Fault> {
        self.running()?;
        if self.state.state.status == Status::Paused {
            return Err(Fault::new(FaultKind::Conflict, format!("container {} is already paused", self.cfg.id)));
        }
        if let Some(container) = &mut self.container {
            container.pause()?;
        }
        self.state.state.status = Status::Paused;
        self.record();
        self.emit("pause", &[]);
        Ok(())
    }

    pub(super) fn resume(&mut self) -> Result<(), Fault> {
        self.running()?;
        if self.state.state.status != Status::Paused {
            return Err(Fault::new(FaultKind::Conflict, format!("container {} is not paused", self.cfg.id)));
        }
        if let Some(container) = &mut self.container {
            container.resume()?;
        }
        self.state.state.status = Status::Running;
        self.record();
        self.emit("unpause", &[]);
        Ok(())
    }

    fn wait(&mut self, key: Key, seq: u64, until: WaitKind) -> Option<Result<Answer, Fault>> {
        let is_running = matches!(self.phase, Phase::Running | Phase::Restarting);
        if until == WaitKind::NotRunning && !is_running {
            let exit = self.state.state.exit.clone().unwrap_or_default();
            return Some(Ok(Answer::Exited { exit }));
        }
        self.waiters.push(Waiter { conn: key, seq, until });
        None
    }

    /// Answers those who wait for one of these.
    pub(super) fn answer_waiters(&mut self, reached: &[WaitKind]) {
        let exit = self.state.state.exit.clone().unwrap_or_default();
        let (ready, rest) =
            std::mem::take(&mut self.waiters).into_iter().partition(|waiter| reached.contains(&waiter.until));
        self.waiters = rest;
        for Waiter { conn, seq, .. } in ready {
            self.reply(conn, seq, Ok(Answer::Exited { exit: exit.clone() }));
        }
    }

    fn update(&mut self, new: Option<LinuxResources>, restart: Option<RestartPolicy>) -> Result<Answer, Fault> {
        let mut warnings = Vec::new();
        if let Some(new) = new {
            if let Some(container) = &mut self.container {
                warnings = container.update(&new)?;
            }
            process::set_resources(&mut self.cfg.spec, new);
        }
        if let Some(policy) = restart {
            self.cfg.restart = policy;
            if policy == RestartPolicy::No && self.phase == Phase::Restarting {
                self.stay_down();
            }
        }
        self.save_config();
        Ok(Answer::Warnings { warnings })
    }

    /// Keeps the changed settings for engines that come later.
    fn save_config(&self) {
        let bytes = serde_json::to_vec(&self.cfg).unwrap_or_default();
        // The copy in memory is what counts; the file is told again at the next change.
        let _ = atomic::write(&self.cfg.run_dir.join("shim.json"), &bytes, Durability::Ordered);
    }

    /// Brings in what is known elsewhere.
    pub(super) fn refresh_state(&mut self) {
        if let Some(log) = &self.log {
            self.state.log = log.trouble().clone();
        }
        if let Some(monitor) = &self.health {
            self.state.state.health = monitor.record().clone();
        }
        let ids = self.sessions.iter().filter_map(|(_, session)| match &session.purpose {
            Purpose::Exec(record) => Some(record.id.clone()),
            _ => None,
        });
        self.state.exec_ids = ids.collect();
    }

    /// Writes the run state. A full disk keeps the old record; the answer to `state` is right all the same.
    pub(super) fn record(&mut self) {
        self.record_as(Durability::Ordered);
    }

    /// [`Self::record`] for the last word on a container: an exit that somebody was told of must not be forgotten in a power cut. What removes
    /// itself needs none of that.
    pub(super) fn record_end(&mut self) {
        let is_kept = !self.cfg.auto_remove;
        self.record_as(if is_kept { Durability::Synced } else { Durability::Ordered });
    }

    fn record_as(&mut self, durability: Durability) {
        self.refresh_state();
        let _ = self.state.write(&self.cfg.state_path(), durability);
    }

    pub(super) fn begin_stop(&mut self, signal: i32, timeout: Option<Duration>, asker: Option<(Key, u64)>) {
        let kill_at = timeout.map(|timeout| Instant::now() + timeout);
        match &mut self.stopping {
            Some(stopping) => {
                stopping.askers.extend(asker);
                stopping.kill_at = stopping.kill_at.into_iter().chain(kill_at).min();
            }
            None => self.stopping = Some(super::Stopping { kill_at, askers: asker.into_iter().collect() }),
        }
        if timeout == Some(Duration::ZERO) {
            self.kill_everything();
            return;
        }
        // A process that is already ending refuses the signal; its end is on its way.
        let _ = self.send_signal(signal);
        if self.state.state.status == Status::Paused {
            let _ = self.resume();
        }
        self.emit("kill", &[("signal", signal.to_string())]);
    }
}

pub(super) fn no_such_exec(id: &str) -> Fault {
    Fault::new(FaultKind::NotFound, format!("No such exec instance: {id}"))
}

/// The matcher for some detach keys; docker's for `None`.
pub(super) fn matcher(keys: Option<&str>) -> Result<Matcher, Fault> {
    let keys = detach::parse(keys.unwrap_or(detach::DEFAULT_KEYS));
    keys.map(Matcher::new).map_err(|error| Fault::new(FaultKind::Invalid, error.to_string()))
}

/// A client's role in an exec session.
pub(super) fn exec_role(session: Key, exec: &protocol::Exec) -> Result<Role, Fault> {
    Ok(Role {
        session,
        stdin: exec.stdin,
        stdout: exec.stdout,
        stderr: exec.stderr,
        keys: matcher(exec.detach_keys.as_deref())?,
        when_slow: WhenSlow::Wait,
        replay: None,
        n_lost: 0,
    })
}
