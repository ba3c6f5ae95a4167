//! Exec sessions and health probes: further processes in the running container. Part of the loop.

use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime};

use super::process::{self, Stdio};
use super::requests::{exec_role, no_such_exec};
use super::session::{OUTPUT_GRACE, Purpose, Session};
use super::slab::Key;
use super::{Phase, Supervisor};
use crate::engine::container::{HealthProbe, Status};
use crate::engine::{Exit, HealthStatus};
use crate::shim::protocol::{Answer, Exec, ExecRecord, Fault, FaultKind};

/// Ended sessions remembered at most.
const MAX_ENDED: usize = 256;

impl Supervisor {
    /// Starts a command; replies before its output can come.
    pub(super) fn exec(&mut self, conn: Key, seq: u64, mut exec: Exec) -> Result<(), Fault> {
        self.running()?;
        process::set_badness(&mut exec.process);
        if self.state.state.status == Status::Paused {
            let text = format!("container {} is paused, unpause the container before exec", self.cfg.name);
            return Err(Fault::new(FaultKind::Conflict, text));
        }
        if self.running_exec(&exec.id).is_some() {
            return Err(Fault::new(FaultKind::Conflict, format!("exec {} is already running", exec.id)));
        }
        let record = ExecRecord {
            id: exec.id.clone(),
            running: true,
            tty: exec.tty,
            started_at: Some(SystemTime::now()),
            ..ExecRecord::default()
        };
        let mut session = Session::new(Purpose::Exec(record), exec.tty);
        session.size = exec.size;
        session.input.once = true;
        session.input.is_over = !exec.stdin || exec.detach;
        let key = self.sessions.insert(session);
        if !exec.detach {
            let joined = exec_role(key, &exec).and_then(|role| self.join(conn, role));
            if let Err(fault) = joined {
                self.sessions.remove(key);
                return Err(fault);
            }
        }
        let command = exec.process.args().clone().unwrap_or_default().join(" ");
        match self.run_exec(key, &exec) {
            Ok(pid) => {
                self.reply(conn, seq, Ok(Answer::ExecStarted { pid }));
                self.emit(&format!("exec_start: {command}"), &[("execID", exec.id)]);
                Ok(())
            }
            Err(fault) => {
                self.leave_session(conn);
                self.sessions.remove(key);
                Err(fault)
            }
        }
    }

    fn run_exec(&mut self, key: Key, exec: &Exec) -> Result<u32, Fault> {
        let has_input = self.sessions.get(key).is_some_and(|session| !session.input.is_over);
        let (theirs, ours) = match exec.tty {
            true => (Stdio::Terminal { size: exec.size }, process::Ours::default()),
            false => process::pipes(if has_input { process::Stdin::Pipe } else { process::Stdin::Null })?,
        };
        let Some(container) = &mut self.container else {
            return Err(Fault::new(FaultKind::Conflict, "the container is not running"));
        };
        let launched = container.exec(&self.cfg, exec, theirs)?;
        let pid = launched.pid;
        self.take_process(key, launched, ours);
        if let Some(Purpose::Exec(record)) = self.sessions.get_mut(key).map(|session| &mut session.purpose) {
            record.pid = Some(pid);
        }
        Ok(pid)
    }

    pub(super) fn running_exec(&self, id: &str) -> Option<Key> {
        self.sessions.iter().find_map(|(key, session)| match &session.purpose {
            Purpose::Exec(record) if record.id == id => Some(key),
            _ => None,
        })
    }

    pub(super) fn exec_records(&self, id: Option<&str>) -> Result<Answer, Fault> {
        let running = self.sessions.iter().filter_map(|(_, session)| match &session.purpose {
            Purpose::Exec(record) => Some(record),
            _ => None,
        });
        let all = self.ended_execs.iter().map(|(_, record)| record).chain(running);
        let execs: Vec<ExecRecord> = all.filter(|record| id.is_none_or(|id| record.id == id)).cloned().collect();
        match id {
            Some(id) if execs.is_empty() => Err(no_such_exec(id)),
            _ => Ok(Answer::Execs { execs }),
        }
    }

    /// The process of an exec or a probe has ended; its session does when its output has.
    pub(super) fn on_exec_exit(&mut self, key: Key, exit: Exit) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.ended = Some((exit, Instant::now() + OUTPUT_GRACE));
        for slot in 0..2 {
            let is_open = self.sessions.get(key).is_some_and(|session| session.outs[slot].is_some());
            if is_open && self.read_output(key, slot, 1) == super::io::Out::Closed {
                self.close_output(key, slot);
            }
        }
        if self.sessions.get(key).is_some_and(|session| !session.has_output()) {
            self.end_session(key);
        }
    }

    /// Ends what should have ended: output held open by others, probes over time.
    pub(super) fn end_late_sessions(&mut self, now: Instant) {
        for key in self.sessions.keys() {
            let Some(session) = self.sessions.get_mut(key) else { continue };
            if session.ended.as_ref().is_some_and(|(_, until)| *until <= now) {
                self.end_session(key);
                continue;
            }
            let Some(process) = &session.process else { continue };
            if let Purpose::Probe { kill_at, is_late, .. } = &mut session.purpose
                && *kill_at <= now
                && !std::mem::replace(is_late, true)
            {
                // Its end is reported by its pidfd like any other.
                let _ = process::signal(process.pidfd.as_fd(), process::libc_sigkill());
            }
        }
    }

    /// A session is over: its client is told, its record kept for a while.
    pub(super) fn end_session(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some((exit, _)) = session.ended.take() else { return };
        self.end_clients(key, &exit);
        let Some(session) = self.sessions.remove(key) else { return };
        match session.purpose {
            Purpose::Main => {}
            Purpose::Exec(mut record) => {
                let attributes = [("execID", record.id.clone()), ("exitCode", exit.code.to_string())];
                record.running = false;
                record.pid = None;
                record.exit = Some(exit);
                record.finished_at = Some(SystemTime::now());
                self.ended_execs.push_back((Instant::now(), record));
                if self.ended_execs.len() > MAX_ENDED {
                    self.ended_execs.pop_front();
                }
                self.emit("exec_die", &attributes);
            }
            Purpose::Probe { started_at, is_late, output, .. } => self.probed(&exit, started_at, is_late, output),
        }
    }

    /// Takes the exit of a process that was killed with its container.
    pub(super) fn reap_exec(&mut self, key: Key, deadline: Instant) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(process) = session.process.take() else { return };
        process::wait_readable(process.pidfd.as_fd(), deadline);
        let killed = Exit { code: 137, signal: Some(9), ..Exit::default() };
        let exit = process::try_wait(process.pidfd.as_fd()).unwrap_or(killed);
        let _ = self.epoll.delete(&process.pidfd);
        session.ended = Some((exit, Instant::now()));
    }

    /// When the next health probe is due; `None` while one runs.
    pub(super) fn probe_at(&self) -> Option<Instant> {
        let monitor = self.health.as_ref()?;
        let is_probing = self.sessions.iter().any(|(_, session)| matches!(session.purpose, Purpose::Probe { .. }));
        (!is_probing).then(|| self.run_began + monitor.next_at())
    }

    pub(super) fn probe(&mut self, now: Instant) {
        let Some(monitor) = &mut self.health else { return };
        if self.phase != Phase::Running || self.state.state.status == Status::Paused {
            monitor.postpone(now - self.run_began);
            return;
        }
        let plan = monitor.plan().clone();
        let purpose = Purpose::Probe {
            started_at: SystemTime::now(),
            kill_at: now + plan.timeout,
            is_late: false,
            output: Vec::new(),
        };
        let mut session = Session::new(purpose, false);
        session.input.is_over = true;
        let key = self.sessions.insert(session);
        let exec = Exec { process: process::probe_process(&self.cfg.spec, plan.args), ..Exec::default() };
        if let Err(fault) = self.run_exec(key, &exec) {
            self.sessions.remove(key);
            let exit = Exit { code: i32::from(fault.exit_code.unwrap_or(125)), ..Exit::default() };
            let text = std::iter::once(fault.message).chain(fault.causes).collect::<Vec<_>>().join(": ");
            self.probed(&exit, SystemTime::now(), false, text.into_bytes());
        }
    }

    fn probed(&mut self, exit: &Exit, started_at: SystemTime, is_late: bool, output: Vec<u8>) {
        let ran: Duration = self.run_began.elapsed();
        let Some(monitor) = &mut self.health else { return };
        let (exit_code, output) = match is_late {
            // Docker's words for it.
            true => (-1, format!("Health check exceeded timeout ({:?})", monitor.plan().timeout)),
            false => (exit.code, String::from_utf8_lossy(&output).into_owned()),
        };
        let probe = HealthProbe { start: started_at, end: SystemTime::now(), exit_code, output };
        let changed = monitor.probed(ran, probe);
        self.record();
        let word = match changed {
            Some(HealthStatus::Healthy) => "healthy",
            Some(HealthStatus::Unhealthy) => "unhealthy",
            _ => return,
        };
        self.emit(&format!("health_status: {word}"), &[]);
    }
}
