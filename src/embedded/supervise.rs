//! From a record to a running shim: what the shim is told, finding one that waits, starting one. Called by `lifecycle` and `containers`
//! (attach) under the container's lock.

use std::path::{Path, PathBuf};

use crate::engine::container::{DEFAULT_STOP_TIMEOUT, Status};
use crate::engine::{Class, EngineError, Result};
use crate::shim::protocol::Answer;
use crate::shim::{self, LogConfig, Request, Rootfs, ShimClient, ShimConfig};
use crate::stdx::human;
use crate::stdx::ids::Id;

use super::record::ContainerRecord;
use super::spec::{self, Joins, Mode, Surroundings};
use super::view::View;
use super::wire::PROMPT;
use super::{Core, error, files, rootfs, signals};

impl Core {
    /// A connection to the container's shim; `None` when none listens.
    pub(crate) fn connect_shim(&self, id: &Id) -> Result<Option<ShimClient>> {
        match ShimClient::connect(&self.run_dir(id)) {
            Ok(client) => Ok(Some(client)),
            Err(failed) if is_absent(&failed) => Ok(None),
            Err(failed) => Err(error::io("connect to the supervisor in", &self.run_dir(id), &failed)),
        }
    }

    /// A shim that was made by an attach and waits for its start. One that is on its way out is waited for and not taken.
    pub(crate) fn waiting_shim(&self, view: &View) -> Result<Option<ShimClient>> {
        let Some(mut client) = self.connect_shim(&view.id)? else { return Ok(None) };
        let is_waiting = match client.call(Request::State, PROMPT) {
            Ok(Answer::State { state }) => state.state.status == Status::Created,
            _ => false,
        };
        if is_waiting {
            return Ok(Some(client));
        }
        self.await_shim_end(view)?;
        Ok(None)
    }

    pub(crate) fn spawn_shim(&self, config: &ShimConfig) -> Result<ShimClient> {
        let spawned = match &self.settings.program {
            Some(program) => {
                let opened = std::fs::File::open(program);
                let file = opened.map_err(|failed| error::io("open the supervisor's program", program, &failed))?;
                shim::spawn::spawn_from(std::os::fd::AsFd::as_fd(&file), config)
            }
            None => shim::spawn(config),
        };
        spawned.map_err(|failed| {
            let message = format!("cannot start the supervisor of container {}", config.name);
            EngineError::new(Class::Internal, &config.name, message).caused_by(&failed).with_exit_code(125)
        })
    }

    /// Everything the shim needs to run the container without an engine.
    pub(crate) fn shim_config(&self, view: &View) -> Result<ShimConfig> {
        let record = &*view.record;
        let (dir, run_dir) = (self.container_dir(&view.id), self.run_dir(&view.id));
        let overlay = self.store.overlay(&view.id)?;
        let user = rootfs::resolve_user(&overlay, &record.spec)?;
        let joins = self.joins(record)?;
        let files_dir = self.files_dir(record)?;
        if files_dir == dir.join("files") {
            files::write(&files_dir, record)?;
        }
        if record.spec.ipc_mode.as_deref() == Some("shareable") {
            make_shared_memory(&run_dir)?;
        }
        let cgroups_path = self.cgroups_path(record);
        let init = if record.spec.init { Some(self.own_program()?) } else { None };
        let around = Surroundings {
            rootfs: Path::new("rootfs"),
            cgroups_path: &cgroups_path,
            files_dir: &files_dir,
            init: init.as_deref(),
            run_dir: &run_dir,
            user: &user,
            n_cpus: self.host.n_cpus,
            joins: &joins,
            seccomp: spec::seccomp(&record.spec)?,
        };
        let document = spec::generate(record, &around)?;
        Ok(ShimConfig {
            id: record.id.clone(),
            name: record.name.clone(),
            spec: document,
            rootfs: Rootfs::Overlay { lower: overlay.lowers, upper: overlay.upper, work: overlay.work },
            tty: record.spec.tty,
            open_stdin: record.spec.open_stdin,
            stdin_once: record.spec.stdin_once,
            log: log_config(&record.spec.log, self.log_dir(&view.id))?,
            restart: record.spec.restart,
            stop_signal: stop_signal(record)?,
            stop_timeout: stop_timeout(record),
            health: record.spec.health.clone().filter(|health| health.test.first().is_none_or(|word| word != "NONE")),
            auto_remove: record.spec.auto_remove,
            container_dir: dir,
            run_dir,
            trash_dir: self.store.trash_dir(),
            journal: self.journal_path(),
            journal_max_bytes: crate::store::JOURNAL_BYTES,
            name_entry: Some(self.name_entry(&record.name)),
            anonymous_volumes: self.anonymous_volumes(record),
            event_attributes: record.event_attributes(),
            detach_keys: self.settings.detach_keys.clone(),
            ..ShimConfig::default()
        })
    }

    pub(crate) fn name_entry(&self, name: &str) -> PathBuf {
        self.store.root().join("names").join(name)
    }

    /// Where this very program is on disk.
    fn own_program(&self) -> Result<PathBuf> {
        if let Some(program) = &self.settings.program {
            return Ok(program.clone());
        }
        let exe = Path::new("/proc/self/exe");
        let path = std::fs::read_link(exe).map_err(|failed| error::io("find this program through", exe, &failed))?;
        if path.exists() {
            return Ok(path);
        }
        let message = format!("this program is no longer at {}, so it cannot be a container's init", path.display());
        Err(EngineError::new(Class::Conflict, "init", message).with_hint("start the new orlop, or leave --init out"))
    }

    pub(crate) fn journal_path(&self) -> PathBuf {
        self.store.root().join("events/journal")
    }

    fn anonymous_volumes(&self, record: &ContainerRecord) -> Vec<PathBuf> {
        let anonymous = record.volumes().filter(|(_, anonymous)| *anonymous);
        anonymous.map(|(name, _)| self.store.root().join("volumes").join(name)).collect()
    }

    /// `/orlop/<store>-<id>`, or that name under the parent that was asked for: nothing of another engine is called so. One directory for
    /// both: each takes 0.4 ms over all hierarchies of cgroup v1.
    fn cgroups_path(&self, record: &ContainerRecord) -> String {
        let parent = record.spec.cgroup_parent.as_deref().unwrap_or_default().trim_matches('/');
        let base = if parent.is_empty() { "orlop" } else { parent };
        format!("/{base}/{}-{}", self.store_tag(), record.id)
    }

    /// Tells this store's cgroups from those of others.
    pub(crate) fn store_tag(&self) -> String {
        use std::os::unix::ffi::OsStrExt;
        let root = std::fs::canonicalize(self.store.root()).unwrap_or_else(|_| self.store.root().to_path_buf());
        crate::stdx::ids::Digest::of(root.as_os_str().as_bytes()).hex()[..12].to_owned()
    }

    /// Where the generated files are: the container's own, or those of the container whose network it shares.
    fn files_dir(&self, record: &ContainerRecord) -> Result<PathBuf> {
        let shared = record.spec.network_mode.as_deref().and_then(|mode| mode.strip_prefix("container:"));
        let id = match shared {
            Some(other) => self.find(other)?.to_string(),
            None => record.id.clone(),
        };
        Ok(self.places.container_dir(&id).join("files"))
    }

    /// The namespaces of other containers that this one joins.
    fn joins(&self, record: &ContainerRecord) -> Result<Joins> {
        let spec = &record.spec;
        let mut joins = Joins::default();
        let modes = [(&spec.network_mode, "net"), (&spec.ipc_mode, "ipc"), (&spec.pid_mode, "pid")];
        for (mode, kind) in modes {
            if Mode::of(mode.as_deref()) != Mode::Container {
                continue;
            }
            let other = self.look(mode.as_deref().unwrap_or_default().trim_start_matches("container:"))?;
            let Some(pid) = other.state().pid.filter(|_| other.status() == Status::Running) else {
                let message = format!("cannot join {kind} namespace of a non running container: {}", other.record.name);
                return Err(EngineError::new(Class::Conflict, &other.record.name, message).with_exit_code(125));
            };
            let path = Some(PathBuf::from(format!("/proc/{pid}/ns/{kind}")));
            match kind {
                "net" => joins.network = path,
                "pid" => joins.pid = path,
                _ => {
                    joins.ipc = path;
                    joins.shm = self.shared_memory(&other)?;
                }
            }
        }
        Ok(joins)
    }

    fn shared_memory(&self, other: &View) -> Result<Option<PathBuf>> {
        if other.record.spec.ipc_mode.as_deref() != Some("shareable") {
            let message = format!(
                "can't join IPC of container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                other.record.id
            );
            return Err(EngineError::new(Class::Conflict, &other.record.name, message).with_exit_code(125));
        }
        Ok(Some(self.run_dir(&other.id).join("shm")))
    }
}

fn is_absent(failed: &std::io::Error) -> bool {
    use std::io::ErrorKind as Kind;
    matches!(failed.kind(), Kind::NotFound | Kind::ConnectionRefused | Kind::NotADirectory)
}

/// A directory on the run root's file system that several containers see as /dev/shm.
fn make_shared_memory(run_dir: &Path) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let shm = run_dir.join("shm");
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&shm);
    let opened = made.and_then(|()| std::fs::set_permissions(&shm, std::fs::Permissions::from_mode(0o1777)));
    opened.map_err(|failed| error::io("make the shared memory at", &shm, &failed))
}

fn stop_signal(record: &ContainerRecord) -> Result<i32> {
    match record.spec.stop_signal.as_deref() {
        Some(signal) if !signal.is_empty() => signals::parse(signal),
        _ => Ok(15),
    }
}

/// `None` waits for ever.
fn stop_timeout(record: &ContainerRecord) -> Option<std::time::Duration> {
    let timeout = record.spec.stop_timeout.unwrap_or(DEFAULT_STOP_TIMEOUT);
    (timeout != std::time::Duration::MAX).then_some(timeout)
}

/// Docker's `max-size` and `max-file`; `none` keeps nothing.
pub(crate) fn log_config(settings: &crate::engine::spec::LogSettings, dir: PathBuf) -> Result<LogConfig> {
    let mut config = LogConfig { dir: Some(dir), ..LogConfig::default() };
    match settings.driver.as_str() {
        "" | "cri" | "json-file" | "local" => {}
        "none" => config.dir = None,
        other => {
            let message = format!("logger: no log driver named '{other}' is registered");
            return Err(EngineError::new(Class::Invalid, other, message)
                .with_hint("json-file, local and cri all mean orlop's own file; none keeps nothing")
                .with_exit_code(125));
        }
    }
    for (key, value) in &settings.options {
        let bad = || {
            EngineError::new(Class::Invalid, key, format!("invalid value {value:?} for log opt '{key}'"))
                .with_exit_code(125)
        };
        match key.as_str() {
            // Unbounded is not offered: a log that fills the disk stops every container on it.
            "max-size" if value == "-1" => {}
            "max-size" => {
                config.max_size_bytes = human::parse_bytes(value).ok().filter(|bytes| *bytes > 0).ok_or_else(bad)?
            }
            "max-file" => config.max_files = value.parse().ok().filter(|n| *n > 0).ok_or_else(bad)?,
            "compress" | "mode" | "max-buffer-size" | "labels" | "labels-regex" | "env" | "env-regex" | "tag" => {}
            _ => {
                let message = format!("unknown log opt '{key}' for json-file log driver");
                return Err(EngineError::new(Class::Invalid, key, message).with_exit_code(125));
            }
        }
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::spec::LogSettings;

    fn log(driver: &str, options: &[(&str, &str)]) -> Result<LogConfig> {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        log_config(&LogSettings { driver: driver.to_owned(), options }, PathBuf::from("/l"))
    }

    #[test]
    fn log_options_are_dockers() {
        let config = log("json-file", &[("max-size", "10m"), ("max-file", "3")]).unwrap();
        assert_eq!((config.max_size_bytes, config.max_files, config.dir), (10 << 20, 3, Some("/l".into())));
        assert_eq!(log("none", &[]).unwrap().dir, None);
        for (driver, key, value) in
            [("splunk", "tag", "x"), ("local", "max-size", "x"), ("local", "max-file", "0"), ("local", "nope", "1")]
        {
            assert_eq!(log(driver, &[(key, value)]).unwrap_err().class, Class::Invalid, "{driver} {key}={value}");
        }
    }
}
