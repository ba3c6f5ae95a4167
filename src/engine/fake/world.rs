//! The fake's state and its rules: containers that live, end, restart and are removed as time passes. Every change goes through
//! [`World`] under one lock, is told to the event subscribers, and wakes whoever waits. It never blocks and never runs anything.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::files::Files;
use super::program::{Happening, Program};
use super::queue::Sender;
use super::shell::Shell;
use super::tape::scramble;
use crate::engine::attach::Output;
use crate::engine::container::{Exit, Health, HealthProbe, HealthStatus, MountPoint, State, Status};
use crate::engine::error::{Class, EngineError, Result};
use crate::engine::event::{Event, EventKind};
use crate::engine::exec::ExecDetail;
use crate::engine::filter::Filters;
use crate::engine::image::{HistoryEntry, ImageDetail};
use crate::engine::logs::StreamKind;
use crate::engine::spec::{ContainerSpec, RestartPolicy};
use crate::engine::volume::Volume;

#[derive(Default)]
pub(super) struct World {
    /// Oldest first.
    pub(super) containers: Vec<Ctr>,
    pub(super) images: Vec<Img>,
    pub(super) volumes: Vec<Volume>,
    pub(super) execs: BTreeMap<String, FakeExec>,
    pub(super) events: Vec<Event>,
    pub(super) subscribers: Vec<(Filters, Sender<Event>)>,
    pub(super) failures: VecDeque<(String, EngineError)>,
    pub(super) gone: Option<EngineError>,
    pub(super) latency: Duration,
    pub(super) calls: Vec<String>,
    /// Bytes of the largest layer that broken pulls left, by reference.
    pub(super) partials: BTreeMap<String, u64>,
    /// What was pushed, by reference.
    pub(super) registry: BTreeMap<String, Pushed>,
    /// Grows with every change.
    pub(super) generation: u64,
    watchers: Vec<Waker>,
    serial: u64,
}

pub(super) struct Ctr {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) created: SystemTime,
    pub(super) spec: ContainerSpec,
    pub(super) image_id: String,
    pub(super) argv: Vec<String>,
    pub(super) state: State,
    pub(super) mounts: Vec<MountPoint>,
    pub(super) program: Program,
    /// What scripts and shells wrote.
    pub(super) lines: Vec<Line>,
    /// What comes next, earliest first.
    pub(super) agenda: VecDeque<(SystemTime, Happening)>,
    pub(super) restart_at: Option<SystemTime>,
    pub(super) shell: Option<Shell>,
    pub(super) attached: Vec<Sender<Output>>,
    /// How often it has ended.
    pub(super) n_exits: u64,
    pub(super) exec_ids: Vec<String>,
    pub(super) stopping: bool,
    /// Keeps running on SIGTERM, so that stop takes its whole timeout.
    pub(super) ignores_term: bool,
    /// Seeds the waves of its stats.
    pub(super) seed: u64,
    pub(super) size_rw_bytes: u64,
    /// What it began with, and what it has.
    pub(super) image_files: Arc<Files>,
    pub(super) files: Arc<Files>,
    pub(super) oom_kills: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) at: SystemTime,
    pub(super) stream: StreamKind,
    pub(super) bytes: Bytes,
    pub(super) newline: bool,
}

#[derive(Clone)]
pub(super) struct Img {
    pub(super) detail: ImageDetail,
    pub(super) history: Vec<HistoryEntry>,
    pub(super) files: Arc<Files>,
}

/// An image as the fake's registry keeps it.
#[derive(Clone)]
pub(super) struct Pushed {
    pub(super) digest: String,
    pub(super) img: Img,
}

pub(super) struct FakeExec {
    pub(super) detail: ExecDetail,
    pub(super) shell: Option<Shell>,
    pub(super) output: Option<Sender<Output>>,
    pub(super) agenda: VecDeque<(SystemTime, Happening)>,
}

impl World {
    pub(super) fn new_id(&mut self, kind: &str) -> String {
        self.serial += 1;
        let seed = kind.bytes().fold(self.serial, |seed, byte| scramble(seed ^ u64::from(byte)));
        (0..4).map(|part| format!("{:016x}", scramble(seed ^ (part << 56)))).collect()
    }

    /// Everyone who waits looks again.
    pub(super) fn changed(&mut self) -> Vec<Waker> {
        self.generation += 1;
        std::mem::take(&mut self.watchers)
    }

    pub(super) fn watch(&mut self, waker: &Waker) {
        if !self.watchers.iter().any(|known| known.will_wake(waker)) {
            self.watchers.push(waker.clone());
        }
    }

    /// Index by full id, name, or unique id prefix.
    pub(super) fn find(&self, ctr: &str) -> Result<usize> {
        let name = ctr.strip_prefix('/').unwrap_or(ctr);
        if let Some(found) = self.containers.iter().position(|known| known.id == ctr || known.name == name) {
            return Ok(found);
        }
        let mut found =
            (0..self.containers.len()).filter(|&i| !ctr.is_empty() && self.containers[i].id.starts_with(ctr));
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => {
                Err(EngineError::new(Class::Invalid, ctr, format!("Multiple IDs found with provided prefix: {ctr}"))
                    .with_hint("type more digits of the id, or the name"))
            }
            _ => Err(EngineError::no_such_container(ctr)),
        }
    }

    /// Index by reference (tag `latest` understood), id, id prefix or digest.
    pub(super) fn find_image(&self, image: &str) -> Result<usize> {
        let tagged = familiar(image);
        let hex = image.strip_prefix("sha256:").unwrap_or(image);
        let by_name = |img: &Img| {
            let summary = &img.detail.summary;
            summary.references.contains(&tagged) || summary.digests.iter().any(|digest| digest == image)
        };
        let by_id = |img: &Img| hex.len() >= 2 && img.detail.summary.id["sha256:".len()..].starts_with(hex);
        let found = self.images.iter().position(by_name).or_else(|| self.images.iter().position(by_id));
        found.ok_or_else(|| EngineError::no_such_image(&tagged))
    }

    pub(super) fn emit(
        &mut self,
        time: SystemTime,
        kind: EventKind,
        action: &str,
        id: &str,
        attributes: &[(&str, String)],
    ) {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let event = Event { time, kind, action: action.to_owned(), id: id.to_owned(), attributes };
        self.subscribers.retain(|(filters, to)| !event_matches(&event, filters) || to.push(Ok(event.clone())));
        self.events.push(event);
    }

    pub(super) fn emit_ctr(&mut self, time: SystemTime, idx: usize, action: &str, more: &[(&str, String)]) {
        let ctr = &self.containers[idx];
        let id = ctr.id.clone();
        let mut attributes = vec![("image", ctr.spec.image.clone()), ("name", ctr.name.clone())];
        let labels: Vec<_> = ctr.spec.labels.clone().into_iter().collect();
        attributes.extend(labels.iter().map(|(key, value)| (key.as_str(), value.clone())));
        attributes.extend_from_slice(more);
        self.emit(time, EventKind::Container, action, &id, &attributes);
    }

    /// Starts it. `Err` leaves it created or exited with the error recorded, as docker does.
    pub(super) fn start(&mut self, idx: usize, now: SystemTime) -> Result<()> {
        let pid = 4000 + self.generation as u32 * 7 % 28_000 + idx as u32;
        let ctr = &mut self.containers[idx];
        if let Program::Fails(code, why) = &ctr.program {
            let (code, why) = (*code, why.clone());
            ctr.state.error = why.clone();
            ctr.state.exit = Some(Exit { code: i32::from(code), error: Some(why.clone()), ..Exit::default() });
            let message = format!("failed to start container {}: {why}", ctr.name);
            return Err(EngineError::new(Class::Invalid, ctr.name.clone(), message).with_exit_code(code));
        }
        ctr.state.status = Status::Running;
        ctr.state.pid = Some(pid);
        ctr.state.started_at = Some(now);
        ctr.state.exit = None;
        ctr.state.error.clear();
        ctr.restart_at = None;
        ctr.stopping = false;
        if ctr.spec.health.is_some() && ctr.state.health.status == HealthStatus::None {
            ctr.state.health.status = HealthStatus::Starting;
        }
        match &mut ctr.program {
            Program::Script(course) => {
                ctr.agenda = course.iter().map(|(after, what)| (now + *after, what.clone())).collect()
            }
            Program::Shell => ctr.shell = Some(Shell::new(ctr.spec.tty)),
            Program::Serves(tape) => tape.start(now),
            Program::Cat | Program::Fails(..) => {}
        }
        let greeting = ctr.shell.as_ref().map(Shell::greeting).unwrap_or_default();
        self.emit_ctr(now, idx, "start", &[]);
        if !greeting.is_empty() {
            self.write(idx, now, StreamKind::Stdout, &greeting);
        }
        Ok(())
    }

    /// Output of a script or shell: into the log, line by line, and to whoever is attached.
    pub(super) fn write(&mut self, idx: usize, now: SystemTime, stream: StreamKind, bytes: &[u8]) {
        let ctr = &mut self.containers[idx];
        let stream = if ctr.spec.tty { StreamKind::Stdout } else { stream };
        let sent = Bytes::copy_from_slice(bytes);
        ctr.attached.retain(|to| to.push(Ok(Output::Bytes(stream, sent.clone()))));
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let newline = part.ends_with(b"\n");
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            match ctr.lines.last_mut().filter(|last| !last.newline && last.stream == stream) {
                Some(open) => {
                    open.bytes = Bytes::from([&open.bytes[..], text].concat());
                    open.newline = newline;
                }
                None => ctr.lines.push(Line { at: now, stream, bytes: Bytes::copy_from_slice(text), newline }),
            }
        }
    }

    /// The first process ended: records it, tells it, restarts or removes as the policy says.
    pub(super) fn end(&mut self, idx: usize, now: SystemTime, exit: Exit) {
        let ctr = &mut self.containers[idx];
        let code = exit.code;
        ctr.state.status = Status::Exited;
        ctr.state.pid = None;
        ctr.state.finished_at = Some(now);
        ctr.oom_kills += u64::from(exit.oom_killed);
        ctr.state.exit = Some(exit);
        ctr.n_exits += 1;
        ctr.agenda.clear();
        ctr.shell = None;
        if let Program::Serves(tape) = &mut ctr.program {
            tape.stop(now);
        }
        let again = !ctr.stopping && wants_restart(ctr.spec.restart, code, ctr.state.restart_count);
        if again {
            ctr.state.status = Status::Restarting;
            let backoff = Duration::from_millis(100) * 2_u32.pow(ctr.state.restart_count.min(9));
            ctr.restart_at = Some(now + backoff);
        } else {
            ctr.attached.clear();
        }
        let (auto_remove, exec_ids) = (ctr.spec.auto_remove, ctr.exec_ids.clone());
        for exec_id in exec_ids {
            self.end_exec(&exec_id, 137);
        }
        self.emit_ctr(now, idx, "die", &[("exitCode", code.to_string())]);
        if auto_remove && !again {
            self.remove(idx, now);
        }
    }

    pub(super) fn end_exec(&mut self, exec_id: &str, code: i32) {
        if let Some(exec) = self.execs.get_mut(exec_id).filter(|exec| exec.detail.running) {
            exec.detail.running = false;
            exec.detail.exit = Some(Exit { code, ..Exit::default() });
            exec.output = None;
            exec.agenda.clear();
        }
    }

    pub(super) fn remove(&mut self, idx: usize, now: SystemTime) {
        self.emit_ctr(now, idx, "destroy", &[]);
        let ctr = self.containers.remove(idx);
        self.execs.retain(|_, exec| exec.detail.container_id != ctr.id);
    }

    /// Does everything whose time has come; the next moment something will happen.
    pub(super) fn settle(&mut self, now: SystemTime) -> Option<SystemTime> {
        while let Some((idx, at)) = self.next_due().filter(|(_, at)| *at <= now) {
            let ctr = &mut self.containers[idx];
            if ctr.restart_at.is_some() {
                ctr.state.restart_count += 1;
                // A container that restarts has started before, so its program can be started.
                let _ = self.start(idx, at);
                continue;
            }
            match ctr.agenda.pop_front() {
                Some((_, Happening::Writes(stream, bytes))) => self.write(idx, at, stream, &bytes),
                Some((_, Happening::Ends(code))) => self.end(idx, at, Exit { code, ..Exit::default() }),
                None => {}
            }
        }
        self.settle_execs(now);
        let execs = self.execs.values().filter_map(|exec| exec.agenda.front().map(|(at, _)| *at)).min();
        [self.next_due().map(|(_, at)| at), execs].into_iter().flatten().min()
    }

    fn next_due(&self) -> Option<(usize, SystemTime)> {
        let due = |ctr: &Ctr| match ctr.state.status {
            Status::Running => ctr.agenda.front().map(|(at, _)| *at),
            Status::Restarting => ctr.restart_at,
            _ => None,
        };
        self.containers.iter().enumerate().filter_map(|(idx, ctr)| Some((idx, due(ctr)?))).min_by_key(|(_, at)| *at)
    }

    fn settle_execs(&mut self, now: SystemTime) {
        for exec in self.execs.values_mut() {
            while exec.agenda.front().is_some_and(|(at, _)| *at <= now) {
                match exec.agenda.pop_front() {
                    Some((_, Happening::Writes(stream, bytes))) => {
                        let stream = if exec.detail.spec.tty { StreamKind::Stdout } else { stream };
                        if let Some(to) = &exec.output {
                            to.push(Ok(Output::Bytes(stream, bytes.into())));
                        }
                    }
                    Some((_, Happening::Ends(code))) => {
                        exec.detail.running = false;
                        exec.detail.exit = Some(Exit { code, ..Exit::default() });
                        exec.output = None;
                    }
                    None => {}
                }
            }
        }
    }

    /// Fails when the world was told to.
    pub(super) fn admit(&mut self, call: &str) -> Result<()> {
        self.calls.push(call.to_owned());
        if let Some(error) = &self.gone {
            return Err(error.clone());
        }
        let verb = call.split(' ').next().unwrap_or(call);
        match self.failures.iter().position(|(wanted, _)| wanted == verb || wanted == "*") {
            Some(found) => {
                Err(self.failures.remove(found).map_or_else(|| EngineError::unsupported(verb), |(_, error)| error))
            }
            None => Ok(()),
        }
    }
}

impl Ctr {
    /// Sets health as a probe would.
    pub(super) fn probe(&mut self, now: SystemTime, exit_code: i32, output: &str) {
        let health = &mut self.state.health;
        health.failing_streak = if exit_code == 0 { 0 } else { health.failing_streak + 1 };
        health.status = match health.failing_streak {
            0 => HealthStatus::Healthy,
            1 | 2 => health.status,
            _ => HealthStatus::Unhealthy,
        };
        let start = now - Duration::from_millis(40);
        health.log.push(HealthProbe { start, end: now, exit_code, output: output.to_owned() });
        let n_extra = health.log.len().saturating_sub(5);
        health.log.drain(..n_extra);
    }

    pub(super) fn forget_health(&mut self) {
        self.state.health = Health::default();
    }
}

fn wants_restart(policy: RestartPolicy, code: i32, n_restarts: u32) -> bool {
    match policy {
        RestartPolicy::No => false,
        RestartPolicy::OnFailure { max_retries } => code != 0 && (max_retries == 0 || n_restarts < max_retries),
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
    }
}

/// `name` → `name:latest`; digests and tags stay.
pub(super) fn familiar(reference: &str) -> String {
    let plain = reference.strip_prefix("docker.io/").unwrap_or(reference);
    let plain = plain.strip_prefix("library/").unwrap_or(plain);
    let last = plain.rsplit('/').next().unwrap_or(plain);
    if last.contains(':') || last.contains('@') { plain.to_owned() } else { format!("{plain}:latest") }
}

pub(super) fn event_matches(event: &Event, filters: &Filters) -> bool {
    let attribute = |key: &str| event.attributes.get(key).map_or("", String::as_str);
    let any = |key: &str, test: &dyn Fn(&str) -> bool| {
        let values = filters.values(key);
        values.is_empty() || values.iter().any(|value| test(value))
    };
    let is = |kind: EventKind, value: &str| {
        event.kind == kind && (event.id.starts_with(value) || attribute("name") == value)
    };
    any("type", &|value| event.kind.as_str() == value)
        && any("event", &|value| event.action == value || event.action.split(':').next() == Some(value))
        && any("container", &|value| is(EventKind::Container, value))
        && any("image", &|value| is(EventKind::Image, value) || attribute("image") == value)
        && any("volume", &|value| is(EventKind::Volume, value))
        && any("network", &|value| is(EventKind::Network, value))
        && filters.match_labels(&event.attributes)
}
