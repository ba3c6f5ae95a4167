//! The fake's containers: `Containers` on [`World`].

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};

use super::program::Program;
use super::queue::queue;
use super::select;
use super::shell::{DetachKeys, Shell};
use super::tape::Tape;
use super::world::{Ctr, World};
use super::{Fake, files, images, volumes};
use crate::engine::attach::{AttachOptions, Attached, Input, Output, TtySize};
use crate::engine::changes::{Change, CommitContainer, CopiedPath, CopyInto};
use crate::engine::container::{
    ContainerDetail, ContainerSummary, CreatedContainer, DEFAULT_STOP_TIMEOUT, Exit, ListContainers, MountPoint,
    ProcessTable, RemoveContainer, State, Status, StopOptions, UpdateContainer, WaitCondition,
};
use crate::engine::error::{Class, EngineError, Result};
use crate::engine::filter::Filters;
use crate::engine::image::PruneReport;
use crate::engine::logs::{LogChunk, LogEntry, LogStream, LogsQuery, StreamKind};
use crate::engine::spec::{ContainerSpec, MountKind, MountSpec};
use crate::engine::stats::{Pressure, StatsQuery, StatsSample};
use crate::engine::{BoxStream, Containers, Reader, Writer};
use crate::sys::signal::Signal;

const NAMES: [&str; 8] = [
    "brave_anchor",
    "calm_harbor",
    "eager_keel",
    "gentle_sail",
    "keen_rudder",
    "lucid_tide",
    "mellow_mast",
    "quiet_cove",
];

/// Checks and adds a container; shared with the scene builder.
pub(super) fn create(world: &mut World, name: Option<&str>, spec: &ContainerSpec, now: SystemTime) -> Result<String> {
    let image = world.find_image(&spec.image)?;
    let name = match name {
        Some(name) => name.trim_start_matches('/').to_owned(),
        None => free_name(world),
    };
    check_name(&name)?;
    if let Some(holder) = world.containers.iter().find(|ctr| ctr.name == name) {
        return Err(EngineError::new(
            Class::Conflict,
            name.clone(),
            format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{}\". You have to remove (or \
                 rename) that container to be able to reuse that name.",
                holder.id
            ),
        ));
    }
    let config = world.images[image].detail.config.clone();
    let mut spec = spec.clone();
    let had_entrypoint = spec.entrypoint.is_some();
    let entrypoint = spec.entrypoint.clone().or(config.entrypoint).unwrap_or_default();
    let cmd = spec.cmd.clone().or(if had_entrypoint { None } else { config.cmd }).unwrap_or_default();
    let argv: Vec<String> = entrypoint.iter().chain(&cmd).cloned().collect();
    if argv.is_empty() {
        return Err(EngineError::new(Class::Invalid, name, "no command specified"));
    }
    spec.entrypoint = (!entrypoint.is_empty()).then_some(entrypoint);
    spec.cmd = Some(cmd);
    let mut env = config.env;
    env.extend(spec.env.iter().filter(|pair| pair.contains('=')).cloned());
    spec.env = env;
    let mut labels = config.labels;
    labels.append(&mut spec.labels);
    spec.labels = labels;
    let id = world.new_id("container");
    let mounts = spec.mounts.iter().map(|mount| volumes::mount(world, mount, now)).collect();
    if spec.hostname.is_none() {
        spec.hostname = Some(id[..12].to_owned());
    }
    let (image_id, seed) = (world.images[image].detail.summary.id.clone(), world.containers.len() as u64);
    let image_files = Arc::clone(&world.images[image].files);
    let program = Program::of(&argv);
    world.containers.push(Ctr {
        id: id.clone(),
        name,
        created: now,
        spec,
        image_id,
        argv,
        state: State::default(),
        mounts,
        program,
        lines: Vec::new(),
        agenda: Default::default(),
        restart_at: None,
        shell: None,
        attached: Vec::new(),
        n_exits: 0,
        exec_ids: Vec::new(),
        stopping: false,
        ignores_term: false,
        seed,
        size_rw_bytes: 4096 + seed * 37_411,
        image_files: Arc::clone(&image_files),
        files: image_files,
        oom_kills: 0,
    });
    let idx = world.containers.len() - 1;
    world.emit_ctr(now, idx, "create", &[]);
    Ok(id)
}

fn free_name(world: &World) -> String {
    let taken = |name: &String| world.containers.iter().any(|ctr| &ctr.name == name);
    let plain = NAMES.iter().map(|name| (*name).to_owned());
    let numbered = (1..).flat_map(|n| NAMES.iter().map(move |name| format!("{name}{n}")));
    plain.chain(numbered).find(|name| !taken(name)).unwrap_or_default()
}

fn check_name(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if first && name.len() > 1 && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)) {
        return Ok(());
    }
    let message = format!("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
    Err(EngineError::new(Class::Invalid, name, message))
}

fn not_running(world: &World, idx: usize) -> EngineError {
    let id = &world.containers[idx].id;
    EngineError::new(Class::Conflict, id.clone(), format!("container {id} is not running"))
}

fn signal_number(signal: &str) -> Result<i32> {
    let known = Signal::parse(signal).map(Signal::number);
    known.ok_or_else(|| EngineError::new(Class::Invalid, signal, format!("Invalid signal: {signal}")))
}

impl World {
    /// A signal as the process sees it.
    fn signal(&mut self, idx: usize, now: SystemTime, number: i32) {
        let ctr = &self.containers[idx];
        let harmless = matches!(number, 10 | 12 | 17 | 18 | 19 | 20 | 28 | 1);
        let survives = harmless || (number != 9 && ctr.ignores_term);
        if !survives && ctr.state.status.is_alive() {
            self.end(idx, now, Exit { code: 128 + number, signal: Some(number), ..Exit::default() });
        }
    }

    fn size_of(&self, idx: usize) -> (u64, u64) {
        let ctr = &self.containers[idx];
        let image = self.images.iter().find(|img| img.detail.summary.id == ctr.image_id);
        (ctr.size_rw_bytes, ctr.size_rw_bytes + image.map_or(0, |img| img.detail.summary.size_bytes))
    }
}

fn summary(world: &World, idx: usize, with_size: bool) -> ContainerSummary {
    let ctr = &world.containers[idx];
    let (rw, root_fs) = world.size_of(idx);
    let alive = ctr.state.status.is_alive();
    ContainerSummary {
        id: ctr.id.clone(),
        host: String::new(),
        name: ctr.name.clone(),
        image: ctr.spec.image.clone(),
        image_id: ctr.image_id.clone(),
        command: ctr.argv.join(" "),
        created: Some(ctr.created),
        state: ctr.state.clone(),
        labels: ctr.spec.labels.clone(),
        ports: if alive { ctr.spec.ports.clone() } else { Vec::new() },
        mounts: ctr.mounts.clone(),
        networks: vec![select::network(ctr).to_owned()],
        size_rw_bytes: with_size.then_some(rw),
        size_root_fs_bytes: with_size.then_some(root_fs),
    }
}

fn detail(world: &World, idx: usize) -> ContainerDetail {
    let ctr = &world.containers[idx];
    let (rw, root_fs) = world.size_of(idx);
    let dir = format!("/var/lib/orlop/containers/{}", ctr.id);
    let graph = [
        ("LowerDir".to_owned(), "/var/lib/orlop/layers/fake/fs".to_owned()),
        ("UpperDir".to_owned(), format!("{dir}/upper")),
        ("WorkDir".to_owned(), format!("{dir}/work")),
    ];
    let started = ctr.state.started_at.is_some();
    let timeline: &[(&str, u64)] =
        if started { &[("shim", 412_000), ("cgroup", 96_000), ("rootfs", 610_000), ("exec", 233_000)] } else { &[] };
    ContainerDetail {
        id: ctr.id.clone(),
        name: ctr.name.clone(),
        created: Some(ctr.created),
        spec: ctr.spec.clone(),
        image_id: ctr.image_id.clone(),
        path: ctr.argv.first().cloned().unwrap_or_default(),
        args: ctr.argv.get(1..).unwrap_or_default().to_vec(),
        state: ctr.state.clone(),
        mounts: ctr.mounts.clone(),
        log_path: format!("{dir}/log/container.log"),
        hostname_path: format!("{dir}/files/hostname"),
        hosts_path: format!("{dir}/files/hosts"),
        resolv_conf_path: format!("{dir}/files/resolv.conf"),
        driver: "overlay2".to_owned(),
        exec_ids: ctr.exec_ids.clone(),
        graph: BTreeMap::from(graph),
        size_rw_bytes: Some(rw),
        size_root_fs_bytes: Some(root_fs),
        start_timeline: timeline.iter().map(|(step, ns)| ((*step).to_owned(), *ns)).collect(),
        raw: None,
    }
}

#[async_trait]
impl Containers for Fake {
    async fn list(&self, query: &ListContainers) -> Result<Vec<ContainerSummary>> {
        let world = self.enter("containers.list").await?;
        let mut found = select::containers(&world, &query.filters)?;
        let any_state = query.all
            || query.limit.is_some()
            || !query.filters.values("status").is_empty()
            || !query.filters.values("exited").is_empty();
        found.retain(|&idx| {
            any_state
                || matches!(world.containers[idx].state.status, Status::Running | Status::Paused | Status::Restarting)
        });
        found.reverse();
        found.truncate(query.limit.unwrap_or(usize::MAX));
        Ok(found.into_iter().map(|idx| summary(&world, idx, query.size)).collect())
    }

    async fn create(&self, name: Option<&str>, spec: &ContainerSpec) -> Result<CreatedContainer> {
        let now = self.now();
        let mut world = self.enter(&format!("containers.create {}", name.unwrap_or(&spec.image))).await?;
        let id = create(&mut world, name, spec, now)?;
        self.tell(world);
        let unlimited_swap = spec.resources.memory_bytes.is_some_and(|bytes| bytes < 6 << 20);
        if unlimited_swap {
            let message = "Minimum memory limit allowed is 6MB";
            return Err(EngineError::new(Class::Invalid, id, message));
        }
        Ok(CreatedContainer { id, warnings: Vec::new() })
    }

    async fn inspect(&self, ctr: &str) -> Result<ContainerDetail> {
        let world = self.enter(&format!("containers.inspect {ctr}")).await?;
        let idx = world.find(ctr)?;
        Ok(detail(&world, idx))
    }

    async fn start(&self, ctr: &str) -> Result<()> {
        let mut world = self.enter(&format!("containers.start {ctr}")).await?;
        let (idx, now) = (world.find(ctr)?, self.now());
        match world.containers[idx].state.status {
            Status::Running | Status::Restarting => {
                return Err(EngineError::new(Class::NotModified, ctr, format!("container {ctr} is already running")));
            }
            Status::Paused => {
                let message = "cannot start a paused container, try unpause instead";
                return Err(EngineError::new(Class::Conflict, ctr, message));
            }
            _ => {}
        }
        world.containers[idx].forget_health();
        world.containers[idx].state.restart_count = 0;
        let started = world.start(idx, now);
        if started.is_err() {
            world.containers[idx].n_exits += 1;
            world.containers[idx].attached.clear();
        }
        self.tell(world);
        started
    }

    async fn stop(&self, ctr: &str, options: &StopOptions) -> Result<()> {
        let (id, deadline) = {
            let world = self.enter(&format!("containers.stop {ctr}")).await?;
            self.begin_stop(world, ctr, options)?
        };
        let ended = |world: &mut World| {
            let gone = world.find(&id).map_or(true, |idx| !world.containers[idx].state.status.is_alive());
            gone.then_some(())
        };
        let in_time = self.until_or(deadline, ended).await.is_some();
        self.finish_stop(&id, in_time);
        Ok(())
    }

    async fn restart(&self, ctr: &str, options: &StopOptions) -> Result<()> {
        let id = {
            let world = self.enter(&format!("containers.restart {ctr}")).await?;
            world.containers[world.find(ctr)?].id.clone()
        };
        match Containers::stop(self, &id, options).await {
            Err(error) if error.class != Class::NotModified => return Err(error),
            _ => {}
        }
        Containers::start(self, &id).await?;
        let (mut world, now) = (self.lock(), self.now());
        let idx = world.find(&id)?;
        world.emit_ctr(now, idx, "restart", &[]);
        self.tell(world);
        Ok(())
    }

    async fn kill(&self, ctr: &str, signal: &str) -> Result<()> {
        let mut world = self.enter(&format!("containers.kill {ctr}")).await?;
        let (idx, now) = (world.find(ctr)?, self.now());
        let number = signal_number(signal)?;
        if !world.containers[idx].state.status.is_alive() {
            let mut error = not_running(&world, idx);
            error.message = format!("cannot kill container: {ctr}: {}", error.message);
            return Err(error);
        }
        world.emit_ctr(now, idx, "kill", &[("signal", number.to_string())]);
        world.containers[idx].stopping |= matches!(number, 9 | 15);
        world.signal(idx, now, number);
        self.tell(world);
        Ok(())
    }

    async fn pause(&self, ctr: &str) -> Result<()> {
        let mut world = self.enter(&format!("containers.pause {ctr}")).await?;
        let (idx, now) = (world.find(ctr)?, self.now());
        match world.containers[idx].state.status {
            Status::Running => world.containers[idx].state.status = Status::Paused,
            Status::Paused => {
                let message = format!("container {} is already paused", world.containers[idx].id);
                return Err(EngineError::new(Class::Conflict, ctr, message));
            }
            _ => return Err(not_running(&world, idx)),
        }
        if let Program::Serves(tape) = &mut world.containers[idx].program {
            tape.stop(now);
        }
        world.emit_ctr(now, idx, "pause", &[]);
        self.tell(world);
        Ok(())
    }

    async fn unpause(&self, ctr: &str) -> Result<()> {
        let mut world = self.enter(&format!("containers.unpause {ctr}")).await?;
        let (idx, now) = (world.find(ctr)?, self.now());
        if world.containers[idx].state.status != Status::Paused {
            let message = format!("Container {} is not paused", world.containers[idx].id);
            return Err(EngineError::new(Class::Conflict, ctr, message));
        }
        world.containers[idx].state.status = Status::Running;
        if let Program::Serves(tape) = &mut world.containers[idx].program {
            tape.start(now);
        }
        world.emit_ctr(now, idx, "unpause", &[]);
        self.tell(world);
        Ok(())
    }

    async fn rename(&self, ctr: &str, new_name: &str) -> Result<()> {
        let mut world = self.enter(&format!("containers.rename {ctr} {new_name}")).await?;
        let (idx, now) = (world.find(ctr)?, self.now());
        check_name(new_name)?;
        if let Some(holder) = world.containers.iter().find(|known| known.name == new_name) {
            let message = format!(
                "Conflict. The container name \"/{new_name}\" is already in use by container \"{}\". You have to remove \
                 (or rename) that container to be able to reuse that name.",
                holder.id
            );
            return Err(EngineError::new(Class::Conflict, new_name, message));
        }
        let old = std::mem::replace(&mut world.containers[idx].name, new_name.to_owned());
        world.emit_ctr(now, idx, "rename", &[("oldName", format!("/{old}"))]);
        self.tell(world);
        Ok(())
    }

    async fn remove(&self, ctr: &str, options: &RemoveContainer) -> Result<()> {
        let mut world = self.enter(&format!("containers.remove {ctr}")).await?;
        let (idx, now) = (world.find(ctr)?, self.now());
        let known = &world.containers[idx];
        if matches!(known.state.status, Status::Running | Status::Paused | Status::Restarting) {
            if !options.force {
                let status = known.state.status.as_str();
                let message = format!(
                    "cannot remove container \"{}\": container is {status}: stop the container before removing or force remove",
                    known.name
                );
                return Err(EngineError::new(Class::Conflict, ctr, message));
            }
            world.containers[idx].stopping = true;
            let auto_remove = world.containers[idx].spec.auto_remove;
            world.emit_ctr(now, idx, "kill", &[("signal", "9".to_owned())]);
            world.end(idx, now, Exit { code: 137, signal: Some(9), ..Exit::default() });
            if auto_remove {
                self.tell(world);
                return Ok(());
            }
        }
        let idx = world.find(ctr)?;
        if options.volumes {
            let names: Vec<_> = world.containers[idx].mounts.iter().filter_map(|mount| mount.name.clone()).collect();
            world.volumes.retain(|volume| !(volume.anonymous && names.contains(&volume.name)));
        }
        world.remove(idx, now);
        self.tell(world);
        Ok(())
    }

    async fn wait(&self, ctr: &str, condition: WaitCondition) -> Result<Exit> {
        let (id, n_exits) = {
            let world = self.enter(&format!("containers.wait {ctr}")).await?;
            let idx = world.find(ctr)?;
            (world.containers[idx].id.clone(), world.containers[idx].n_exits)
        };
        let mut last = Exit::default();
        let exit = self.until(|world| {
            if let Some(error) = &world.gone {
                return Some(Err(error.clone()));
            }
            let Ok(idx) = world.find(&id) else { return Some(Ok(exit_of_removed(world, &id, &last))) };
            let ctr = &world.containers[idx];
            last = ctr.state.exit.clone().unwrap_or_default();
            let holds = match condition {
                WaitCondition::NotRunning => {
                    !matches!(ctr.state.status, Status::Running | Status::Paused | Status::Restarting)
                }
                WaitCondition::NextExit => ctr.n_exits > n_exits,
                WaitCondition::Removed => false,
            };
            holds.then(|| Ok(last.clone()))
        });
        exit.await
    }

    async fn update(&self, ctr: &str, update: &UpdateContainer) -> Result<Vec<String>> {
        let mut world = self.enter(&format!("containers.update {ctr}")).await?;
        let (idx, now) = (world.find(ctr)?, self.now());
        let (old, new) = (&mut world.containers[idx].spec, update.resources.clone());
        let res = &mut old.resources;
        res.memory_bytes = new.memory_bytes.or(res.memory_bytes);
        res.memory_swap_bytes = new.memory_swap_bytes.or(res.memory_swap_bytes);
        res.memory_reservation_bytes = new.memory_reservation_bytes.or(res.memory_reservation_bytes);
        res.nano_cpus = new.nano_cpus.or(res.nano_cpus);
        res.cpu_shares = new.cpu_shares.or(res.cpu_shares);
        res.cpu_period_us = new.cpu_period_us.or(res.cpu_period_us);
        res.cpu_quota_us = new.cpu_quota_us.or(res.cpu_quota_us);
        res.cpuset_cpus = new.cpuset_cpus.or(res.cpuset_cpus.take());
        res.cpuset_mems = new.cpuset_mems.or(res.cpuset_mems.take());
        res.pids_limit = new.pids_limit.or(res.pids_limit);
        res.blkio_weight = new.blkio_weight.or(res.blkio_weight);
        old.restart = update.restart.unwrap_or(old.restart);
        world.emit_ctr(now, idx, "update", &[]);
        self.tell(world);
        Ok(Vec::new())
    }

    async fn attach(&self, ctr: &str, options: &AttachOptions) -> Result<Attached> {
        let mut world = self.enter(&format!("containers.attach {ctr}")).await?;
        let (idx, now) = (world.find(ctr)?, self.now());
        let detach = DetachKeys::parse(options.detach_keys.as_deref())
            .map_err(|why| EngineError::new(Class::Invalid, ctr, format!("invalid detach keys: {why}")))?;
        let (sender, receiver) = queue();
        let known = &mut world.containers[idx];
        if options.replay_logs {
            for line in &known.lines {
                let mut bytes = line.bytes.to_vec();
                bytes.extend(line.newline.then_some(b'\n'));
                sender.push(Ok(Output::Bytes(line.stream, bytes.into())));
            }
        }
        let (id, tty) = (known.id.clone(), known.spec.tty);
        let input =
            FakeInput { fake: self.clone(), id: id.clone(), detach, open: options.stdin && known.spec.open_stdin };
        let from_tape = matches!(known.program, Program::Serves(_));
        known.attached.push(sender);
        world.emit_ctr(now, idx, "attach", &[]);
        self.tell(world);
        let (stdout, stderr) = (options.stdout, options.stderr);
        let wanted = move |output: &Result<Output>| match output {
            Ok(Output::Bytes(StreamKind::Stdout, _)) => stdout,
            Ok(Output::Bytes(StreamKind::Stderr, _)) => stderr,
            _ => true,
        };
        let direct = receiver.filter(move |output| std::future::ready(wanted(output)));
        let output: BoxStream<Output> = if from_tape {
            let query = LogsQuery { follow: true, tail: Some(0), stdout, stderr, ..LogsQuery::default() };
            let taped = log_stream(self.clone(), id, &query).flat_map(|chunk| stream::iter(outputs(chunk)));
            // The queue tells of detaching and of the end, the tape of everything else: the first to end ends both.
            let end = || stream::once(async { None });
            let both = stream::select(direct.map(Some).chain(end()), taped.map(Some).chain(end()));
            Box::pin(both.take_while(|item| std::future::ready(item.is_some())).filter_map(std::future::ready))
        } else {
            Box::pin(direct)
        };
        Ok(Attached { tty, output, input: Box::new(input) })
    }

    async fn resize(&self, ctr: &str, _size: TtySize) -> Result<()> {
        let mut world = self.enter(&format!("containers.resize {ctr}")).await?;
        let (idx, now) = (world.find(ctr)?, self.now());
        if !world.containers[idx].state.status.is_alive() {
            return Err(not_running(&world, idx));
        }
        world.emit_ctr(now, idx, "resize", &[]);
        Ok(())
    }

    async fn logs(&self, ctr: &str, query: &LogsQuery) -> Result<LogStream> {
        let world = self.enter(&format!("containers.logs {ctr}")).await?;
        let id = world.containers[world.find(ctr)?].id.clone();
        drop(world);
        if !query.stdout && !query.stderr {
            return Err(EngineError::new(Class::Invalid, ctr, "you must choose at least one stream"));
        }
        Ok(log_stream(self.clone(), id, query))
    }

    async fn stats(&self, ctr: &str, query: &StatsQuery) -> Result<BoxStream<StatsSample>> {
        let world = self.enter(&format!("containers.stats {ctr}")).await?;
        let id = world.containers[world.find(ctr)?].id.clone();
        drop(world);
        let (fake, once) = (self.clone(), query.once);
        Ok(Box::pin(stream::unfold((fake, id, 0_u64), move |(fake, id, n)| async move {
            if n > 0 && once {
                return None;
            }
            if n > 0 {
                fake.0.clock.sleep_until(fake.now() + Duration::from_secs(1)).await;
            }
            let world = fake.lock();
            if let Some(error) = world.gone.clone() {
                drop(world);
                return (n != u64::MAX).then_some((Err(error), (fake, id, u64::MAX)));
            }
            let idx = world.find(&id).ok()?;
            let sample = sample(&world.containers[idx], fake.now());
            drop(world);
            if n == u64::MAX || (!sample.running && n > 0) {
                return None;
            }
            Some((Ok(sample), (fake, id, n + 1)))
        })))
    }

    async fn top(&self, ctr: &str, _ps_args: &str) -> Result<ProcessTable> {
        let world = self.enter(&format!("containers.top {ctr}")).await?;
        let idx = world.find(ctr)?;
        let known = &world.containers[idx];
        let Some(pid) = known.state.pid.filter(|_| known.state.status.is_alive()) else {
            return Err(not_running(&world, idx));
        };
        let titles = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"].map(str::to_owned).to_vec();
        let tty = if known.spec.tty { "pts/0" } else { "?" };
        let row = |pid: u32, parent: u32, cmd: &str| {
            ["root", &pid.to_string(), &parent.to_string(), "0", "10:00", tty, "00:00:01", cmd]
                .map(str::to_owned)
                .to_vec()
        };
        let workers = if known.argv[0].contains("nginx") { 2 } else { 0 };
        let mut rows = vec![row(pid, pid - 1, &known.argv.join(" "))];
        rows.extend((1..=workers).map(|n| row(pid + n, pid, "nginx: worker process")));
        Ok(ProcessTable { titles, rows })
    }

    async fn prune(&self, filters: &Filters) -> Result<PruneReport> {
        filters.check_keys(&["label", "label!", "until"])?;
        let mut world: MutexGuard<'_, World> = self.enter("containers.prune").await?;
        let now = self.now();
        let until = select::until(filters, now);
        let stopped = |ctr: &Ctr| matches!(ctr.state.status, Status::Created | Status::Exited | Status::Dead);
        let ids: Vec<_> = world
            .containers
            .iter()
            .filter(|ctr| stopped(ctr) && filters.match_labels(&ctr.spec.labels))
            .filter(|ctr| until.is_none_or(|until| ctr.created < until))
            .map(|ctr| ctr.id.clone())
            .collect();
        let mut report = PruneReport::default();
        for id in ids {
            let idx = world.find(&id)?;
            report.reclaimed_bytes += world.containers[idx].size_rw_bytes;
            world.remove(idx, now);
            report.removed.push(id);
        }
        self.tell(world);
        Ok(report)
    }

    async fn changes(&self, ctr: &str) -> Result<Vec<Change>> {
        let world = self.enter(&format!("containers.changes {ctr}")).await?;
        let found = &world.containers[world.find(ctr)?];
        Ok(files::changes(&found.image_files, &found.files))
    }

    async fn export(&self, ctr: &str, to: Writer) -> Result<()> {
        let world = self.enter(&format!("containers.export {ctr}")).await?;
        files::export(&world.containers[world.find(ctr)?].files, to)
    }

    async fn commit(&self, ctr: &str, options: &CommitContainer) -> Result<String> {
        let mut world = self.enter(&format!("containers.commit {ctr}")).await?;
        let (idx, now) = (world.find(ctr)?, self.now());
        let id = images::commit(&mut world, idx, options, now)?;
        world.emit_ctr(now, idx, "commit", &[("comment", options.comment.clone())]);
        self.tell(world);
        Ok(id)
    }

    async fn stat_path(&self, ctr: &str, path: &str) -> Result<CopiedPath> {
        let world = self.enter(&format!("containers.stat_path {ctr} {path}")).await?;
        files::stat(&world.containers[world.find(ctr)?].files, ctr, path)
    }

    async fn copy_from(&self, ctr: &str, path: &str, to: Writer) -> Result<CopiedPath> {
        let world = self.enter(&format!("containers.copy_from {ctr} {path}")).await?;
        let found = &world.containers[world.find(ctr)?].files;
        let stat = files::stat(found, ctr, path)?;
        files::copy_from(found, ctr, path, to)?;
        Ok(stat)
    }

    async fn copy_into(&self, ctr: &str, options: &CopyInto, tar: Reader) -> Result<()> {
        let mut world = self.enter(&format!("containers.copy_into {ctr} {}", options.path)).await?;
        let idx = world.find(ctr)?;
        let mut copy = (*world.containers[idx].files).clone();
        files::copy_into(&mut copy, ctr, &options.path, tar)?;
        world.containers[idx].files = Arc::new(copy);
        self.tell(world);
        Ok(())
    }
}

impl Fake {
    /// Sends the stop signal; the id and when patience ends.
    fn begin_stop(
        &self,
        mut world: MutexGuard<'_, World>,
        ctr: &str,
        options: &StopOptions,
    ) -> Result<(String, SystemTime)> {
        let (idx, now) = (world.find(ctr)?, self.now());
        let known = &mut world.containers[idx];
        if !is_up(known) {
            return Err(EngineError::new(Class::NotModified, ctr, format!("container {ctr} is already stopped")));
        }
        let signal = options.signal.as_deref().or(known.spec.stop_signal.as_deref()).unwrap_or("TERM");
        let number = signal_number(signal)?;
        let timeout = options.timeout.or(known.spec.stop_timeout).unwrap_or(DEFAULT_STOP_TIMEOUT);
        let id = known.id.clone();
        known.stopping = true;
        if known.state.status == Status::Restarting {
            known.state.status = Status::Exited;
            known.restart_at = None;
        } else if !timeout.is_zero() {
            world.emit_ctr(now, idx, "kill", &[("signal", number.to_string())]);
            world.signal(idx, now, number);
        }
        self.tell(world);
        let never = now + Duration::from_secs(u64::from(u32::MAX));
        Ok((id, now.checked_add(timeout).unwrap_or(never)))
    }

    /// Kills what did not listen, and tells of the stop.
    fn finish_stop(&self, id: &str, in_time: bool) {
        let (mut world, now) = (self.lock(), self.now());
        let Ok(idx) = world.find(id) else { return };
        if !in_time {
            world.emit_ctr(now, idx, "kill", &[("signal", "9".to_owned())]);
            world.signal(idx, now, 9);
        }
        if let Ok(idx) = world.find(id) {
            world.emit_ctr(now, idx, "stop", &[]);
        }
        self.tell(world);
    }

    /// Lets a container shrug off SIGTERM, so that stop takes its whole timeout.
    ///
    /// # Errors
    /// `NotFound` for an unknown container.
    pub fn ignore_term(&self, ctr: &str) -> Result<()> {
        let mut world = self.lock();
        let idx = world.find(ctr)?;
        world.containers[idx].ignores_term = true;
        Ok(())
    }
}

/// It runs, or would again by itself.
fn is_up(ctr: &Ctr) -> bool {
    matches!(ctr.state.status, Status::Running | Status::Paused | Status::Restarting)
}

/// The exit of a container that is no more: its last `die` event says it.
fn exit_of_removed(world: &World, id: &str, last: &Exit) -> Exit {
    let died = world.events.iter().rev().find(|event| event.id == id && event.action == "die");
    let code = died.and_then(|event| event.attributes.get("exitCode")?.parse().ok());
    Exit { code: code.unwrap_or(last.code), ..last.clone() }
}

/// The writing half of an attach.
struct FakeInput {
    fake: Fake,
    id: String,
    detach: DetachKeys,
    open: bool,
}

#[async_trait]
impl Input for FakeInput {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let (through, is_detached) = self.detach.feed(&bytes);
        let (mut world, now) = (self.fake.lock(), self.fake.now());
        let idx = world.find(&self.id)?;
        if self.open && !through.is_empty() {
            feed(&mut world, idx, now, &through);
        }
        if is_detached && let Ok(idx) = world.find(&self.id) {
            for to in world.containers[idx].attached.drain(..) {
                to.push(Ok(Output::Detached));
            }
            world.emit_ctr(now, idx, "detach", &[]);
        }
        self.fake.tell(world);
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        let (mut world, now) = (self.fake.lock(), self.fake.now());
        let Ok(idx) = world.find(&self.id) else { return Ok(()) };
        if !std::mem::take(&mut self.open) || !world.containers[idx].state.status.is_alive() {
            return Ok(());
        }
        let answer = world.containers[idx].shell.as_mut().map(Shell::close);
        if let Some(answer) = answer {
            world.write(idx, now, StreamKind::Stdout, &answer.output);
            world.end(idx, now, Exit { code: answer.ended.unwrap_or(0), ..Exit::default() });
        } else if matches!(world.containers[idx].program, Program::Cat) {
            world.end(idx, now, Exit::default());
        }
        self.fake.tell(world);
        Ok(())
    }
}

fn feed(world: &mut World, idx: usize, now: SystemTime, bytes: &[u8]) {
    if matches!(world.containers[idx].program, Program::Cat) {
        world.write(idx, now, StreamKind::Stdout, bytes);
        return;
    }
    let Some(answer) = world.containers[idx].shell.as_mut().map(|shell| shell.feed(bytes)) else { return };
    world.write(idx, now, StreamKind::Stdout, &answer.output);
    if let Some(code) = answer.ended {
        world.end(idx, now, Exit { code, ..Exit::default() });
    }
}

fn outputs(chunk: Result<LogChunk>) -> Vec<Result<Output>> {
    match chunk {
        Err(error) => vec![Err(error)],
        Ok(chunk) => chunk
            .entries
            .iter()
            .map(|entry| {
                let mut line = chunk.line(entry).to_vec();
                line.push(b'\n');
                Ok(Output::Bytes(entry.stream, line.into()))
            })
            .collect(),
    }
}

/// Where a reader of a log stands.
struct Reading {
    fake: Fake,
    id: String,
    query: LogsQuery,
    /// Next line, counted from the first ever written; `None` before the first look.
    next: Option<u64>,
    ended: bool,
}

const MAX_LINES_A_CHUNK: u64 = 2048;

fn log_stream(fake: Fake, id: String, query: &LogsQuery) -> LogStream {
    let reading = Reading { fake, id, query: query.clone(), next: None, ended: false };
    Box::pin(stream::unfold(reading, |mut reading| async move {
        loop {
            if reading.ended {
                return None;
            }
            match reading.look() {
                Look::Chunk(chunk) => return Some((Ok(chunk), reading)),
                Look::Lost(error) => {
                    reading.ended = true;
                    return Some((Err(error), reading));
                }
                Look::End => return None,
                Look::Wait(until, generation) => {
                    let changed = |world: &mut World| (world.generation != generation).then_some(());
                    match until {
                        Some(at) => drop(reading.fake.until_or(at, changed).await),
                        None => reading.fake.until(changed).await,
                    }
                }
            }
        }
    }))
}

enum Look {
    Chunk(LogChunk),
    Wait(Option<SystemTime>, u64),
    Lost(EngineError),
    End,
}

impl Reading {
    fn look(&mut self) -> Look {
        let (world, now) = (self.fake.lock(), self.fake.now());
        if let Some(error) = &world.gone {
            return Look::Lost(error.clone());
        }
        let Ok(idx) = world.find(&self.id) else { return Look::End };
        let ctr = &world.containers[idx];
        let (first, len) = match &ctr.program {
            Program::Serves(tape) => (tape.first(now), tape.len(now)),
            _ => (0, ctr.lines.len() as u64),
        };
        let next = self.next.unwrap_or_else(|| first_wanted(ctr, &self.query, first, len, now));
        let lost_before = first.saturating_sub(next);
        let from = next.max(first);
        let to = len.min(from + MAX_LINES_A_CHUNK);
        self.next = Some(to.max(from));
        if from < to {
            let mut chunk = chunk(ctr, &self.query, from..to, now);
            chunk.lost_before = lost_before;
            return Look::Chunk(chunk);
        }
        let lives = matches!(ctr.state.status, Status::Running | Status::Paused | Status::Restarting);
        if !self.query.follow || !lives {
            return Look::End;
        }
        // Batches of 20 ms: a fast log must not cost a wake-up a line.
        let pace = match &ctr.program {
            Program::Serves(tape) if ctr.state.status == Status::Running => {
                Some(now + Duration::from_secs_f64(1.0 / tape.lines_per_s).max(Duration::from_millis(20)))
            }
            _ => None,
        };
        Look::Wait(pace, world.generation)
    }
}

fn is_wanted(query: &LogsQuery, stream: StreamKind, at: SystemTime) -> bool {
    let kind = if stream == StreamKind::Stdout { query.stdout } else { query.stderr };
    kind && query.since.is_none_or(|since| at >= since) && query.until.is_none_or(|until| at <= until)
}

fn line_meta(ctr: &Ctr, n: u64, now: SystemTime) -> (StreamKind, SystemTime) {
    match &ctr.program {
        Program::Serves(tape) => {
            (if ctr.spec.tty { StreamKind::Stdout } else { tape.stream_of(n) }, tape.time_of(n, now))
        }
        _ => ctr.lines.get(n as usize).map_or((StreamKind::Stdout, now), |line| (line.stream, line.at)),
    }
}

/// Walks back from the end until `tail` lines match.
fn first_wanted(ctr: &Ctr, query: &LogsQuery, first: u64, len: u64, now: SystemTime) -> u64 {
    let Some(tail) = query.tail else { return first };
    let mut left = tail;
    let mut n = len;
    while n > first && left > 0 {
        n -= 1;
        let (stream, at) = line_meta(ctr, n, now);
        left -= u64::from(is_wanted(query, stream, at));
    }
    n
}

fn chunk(ctr: &Ctr, query: &LogsQuery, lines: std::ops::Range<u64>, now: SystemTime) -> LogChunk {
    let (mut bytes, mut entries) = (Vec::new(), Vec::new());
    for n in lines {
        let (stream, at) = line_meta(ctr, n, now);
        if !is_wanted(query, stream, at) {
            continue;
        }
        let start = bytes.len() as u32;
        let mut newline = true;
        match &ctr.program {
            Program::Serves(tape) => tape.write_line(n, &mut bytes),
            _ => {
                let line = &ctr.lines[n as usize];
                newline = line.newline;
                bytes.extend_from_slice(&line.bytes);
            }
        }
        let time_ns = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64);
        entries.push(LogEntry { time_ns, stream, range: start..bytes.len() as u32, newline });
    }
    LogChunk { bytes: bytes.into(), entries, lost_before: 0 }
}

/// Waves: every counter is an exact integral, so rates between any two samples are right.
fn sample(ctr: &Ctr, now: SystemTime) -> StatsSample {
    let running = ctr.state.status.is_alive();
    let started = ctr.state.started_at.unwrap_or(now);
    let age = if running { now.duration_since(started).unwrap_or_default().as_secs_f64() } else { 0.0 };
    let seed = ctr.seed as f64;
    let (base, period) = (0.02 + (ctr.seed % 7) as f64 * 0.06, 40.0 + seed % 5.0 * 13.0);
    let turn = std::f64::consts::TAU / period;
    let cpu_s = base * (age - 0.8 / turn * ((age * turn + seed).cos() - seed.cos()));
    let mem_max = ctr.spec.resources.memory_bytes;
    let mem_limit = mem_max.unwrap_or(24 << 30);
    let share = 0.35 + 0.25 * (age / 90.0 + seed).sin();
    let used = (mem_max.unwrap_or((24 << 20) * (1 + ctr.seed % 9)) as f64 * share) as u64;
    let ns = |seconds: f64| (seconds.max(0.0) * 1e9) as u64;
    StatsSample {
        id: ctr.id.clone(),
        name: ctr.name.clone(),
        read_at: now,
        running,
        cpu_total_ns: ns(cpu_s),
        cpu_user_ns: ns(cpu_s * 0.7),
        cpu_system_ns: ns(cpu_s * 0.3),
        host_cpu_total_ns: ns(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64() % 1e6 * 4.0),
        n_cpus_online: 4,
        throttled_periods: (age * base) as u64,
        throttled_ns: ns(age * base * 0.05),
        mem_used_bytes: if running { used } else { 0 },
        mem_cache_bytes: if running { used / 4 } else { 0 },
        mem_limit_bytes: if running { mem_limit } else { 0 },
        mem_max_bytes: mem_max,
        n_pids: if running { 1 + ctr.seed % 12 } else { 0 },
        pids_limit: ctr.spec.resources.pids_limit.and_then(|limit| u64::try_from(limit).ok()),
        net_rx_bytes: (age * 1200.0 * (1.0 + seed)) as u64,
        net_tx_bytes: (age * 5400.0 * (1.0 + seed)) as u64,
        blk_read_bytes: (age * 300.0) as u64 + (3 << 20),
        blk_write_bytes: (age * 900.0) as u64,
        oom_kills: ctr.oom_kills,
        pressure: running.then(|| Pressure {
            cpu_some: (base * 20.0 * (1.0 + (age * turn).sin())) as f32,
            memory_some: 0.0,
            io_some: (0.4 * (1.0 + (age / 17.0).sin())) as f32,
        }),
    }
}

/// For the scene: a container with its own tape.
pub(super) fn with_tape(world: &mut World, idx: usize, tape: Tape) {
    world.containers[idx].program = Program::Serves(tape);
}

/// For the scene and tests: what a mount looks like before its volume exists.
pub(super) fn mount_point(mount: &MountSpec) -> MountPoint {
    let mut point = MountPoint {
        destination: mount.target.clone(),
        read_write: !mount.read_only,
        mode: if mount.read_only { "ro".to_owned() } else { String::new() },
        ..MountPoint::default()
    };
    match &mount.kind {
        MountKind::Bind { source, propagation, .. } => {
            point.kind = "bind".to_owned();
            point.source = source.clone();
            point.propagation = propagation.clone().unwrap_or_else(|| "rprivate".to_owned());
        }
        MountKind::Volume { name, .. } => {
            point.kind = "volume".to_owned();
            point.name = name.clone();
            point.driver = "local".to_owned();
        }
        MountKind::Tmpfs { .. } => point.kind = "tmpfs".to_owned(),
    }
    point
}
