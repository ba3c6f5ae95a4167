//! `create`: everything is checked before anything is made, what is made is undone when a later step fails, and the record is written last:
//! until then the container does not exist for anybody. Called by `containers`. Blocking.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::SystemTime;

use crate::engine::{Class, ContainerSpec, CreatedContainer, EngineError, EventKind, Result};
use crate::stdx::ids::Id;
use crate::stdx::{names, tree};
use crate::store::{Image, Overlay};

use super::merge;
use super::mounts::{self, Decided};
use super::record::{ContainerRecord, Mounted, MountedKind, VERSION};
use super::spec::Mode;
use super::{Core, events, networks, rootfs, spec, supervise, validate};

/// How often an invented name may be taken before something is wrong.
const NAME_ATTEMPTS: u32 = 30;

impl Core {
    pub(crate) fn create(&self, name: Option<&str>, asked: &ContainerSpec) -> Result<CreatedContainer> {
        let mut asked = asked.clone();
        let mut warnings = validate::check(&asked, self.host.n_cpus)?;
        spec::check_devices(&asked)?;
        supervise::log_config(&asked.log, std::path::PathBuf::new())?;
        reject_what_is_not_here(&asked, &mut warnings)?;
        networks::decide(&mut asked, &mut warnings)?;
        self.pin_joined_containers(&mut asked)?;
        let image = self.store.image(&asked.image)?;
        self.check_platform(&image)?;
        let defaults = image.run_defaults();
        let merged = merge::merge(asked, &defaults)?;
        // Wrong capabilities, limits and profiles are told now, not at the start.
        spec::limits(&merged.resources)?;
        spec::seccomp(&merged)?;

        let id = Id::random();
        let mut made = Made { core: self, id: &id, name: None, volumes: Vec::new(), is_done: false };
        self.store.containers().create_dir(&id)?;
        let _lock = self.lock(&id)?;
        let name = self.take_name(name, &id)?;
        made.name = Some(name.clone());
        let mut decided = Decided::default();
        let from_others = self.volumes_from(&merged)?;
        let done = mounts::decide(&self.store, &merged, &defaults.volumes, from_others, &mut decided);
        made.volumes.clone_from(&decided.made_volumes);
        done?;
        let overlay = self.store.snapshot(&image.id, &id)?;
        self.copy_up(&overlay, &decided.mounts)?;

        let (path, args) = merge::path_and_args(&merged);
        let record = ContainerRecord {
            version: VERSION,
            id: id.to_string(),
            name,
            created: SystemTime::now(),
            hostname: hostname(&merged, &id),
            image_id: image.id.to_string(),
            diff_ids: image.layers.iter().map(|(diff_id, _)| diff_id.to_string()).collect(),
            path,
            args,
            mounts: decided.mounts,
            spec: merged,
        };
        self.write_record(&id, &record)?;
        made.is_done = true;
        drop(made);
        for volume in &decided.made_volumes {
            events::emit(&self.store.events(), EventKind::Volume, "create", volume, Default::default());
        }
        events::emit_container(&self.store.events(), &record, "create", &[]);
        Ok(CreatedContainer { id: record.id, warnings })
    }

    /// The name asked for, or an invented one that is free.
    fn take_name(&self, name: Option<&str>, id: &Id) -> Result<String> {
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            let name = name.strip_prefix('/').unwrap_or(name);
            let taken = self.store.containers().reserve_name(name, id);
            return taken.map(|()| name.to_owned()).map_err(|error| EngineError::from(error).with_exit_code(125));
        }
        for attempt in 0..NAME_ATTEMPTS {
            let name = names::adjective_name(attempt);
            match self.store.containers().reserve_name(&name, id) {
                Ok(()) => return Ok(name),
                Err(error) if error.class == crate::store::Class::Conflict => {}
                Err(error) => return Err(error.into()),
            }
        }
        // The short id is as good as unique.
        let name = format!("c{}", id.short());
        self.store.containers().reserve_name(&name, id)?;
        Ok(name)
    }

    /// `container:web` becomes `container:<id>`, so that a rename does not cut the tie.
    fn pin_joined_containers(&self, spec: &mut ContainerSpec) -> Result<()> {
        for mode in [&mut spec.network_mode, &mut spec.ipc_mode, &mut spec.pid_mode].into_iter().flatten() {
            if let Some(other) = mode.strip_prefix("container:") {
                *mode = format!("container:{}", self.find(other)?);
            }
        }
        Ok(())
    }

    fn check_platform(&self, image: &Image) -> Result<()> {
        let platform = image.config.platform();
        let host = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        if platform.os != "linux" && !platform.os.is_empty() {
            let message = format!("image operating system \"{}\" cannot be used on this platform", platform.os);
            return Err(EngineError::new(Class::Invalid, image.id.to_string(), message).with_exit_code(125));
        }
        if platform.architecture != host && !platform.architecture.is_empty() {
            // It may run through binfmt_misc; if not, the start says "exec format error".
            tracing::info!(image = %image.id, architecture = platform.architecture, "image of another architecture");
        }
        Ok(())
    }

    /// Mounts of the containers that `--volumes-from` names.
    fn volumes_from(&self, spec: &ContainerSpec) -> Result<Vec<Mounted>> {
        let mut all: Vec<Mounted> = Vec::new();
        for entry in &spec.volumes_from {
            let (ctr, mode) = entry.split_once(':').unwrap_or((entry, ""));
            let read_only = match mode {
                "" | "rw" | "z" => None,
                "ro" => Some(true),
                _ => {
                    let message = format!("invalid mode: {mode}");
                    return Err(EngineError::new(Class::Invalid, entry, message).with_exit_code(125));
                }
            };
            let other = self.look(ctr)?;
            for mounted in
                other.record.mounts.iter().filter(|mounted| !matches!(mounted.kind, MountedKind::Tmpfs { .. }))
            {
                let mut shared = mounted.clone();
                shared.read_only = read_only.unwrap_or(mounted.read_only);
                if let MountedKind::Volume { anonymous, copy_up, .. } = &mut shared.kind {
                    // It belongs to the other container, which keeps it.
                    (*anonymous, *copy_up) = (false, false);
                }
                all.retain(|present| present.target != shared.target);
                all.push(shared);
            }
        }
        Ok(all)
    }

    /// Fills empty volumes with what the image has at their place.
    fn copy_up(&self, overlay: &Overlay, mounts: &[Mounted]) -> Result<()> {
        let mut root = None;
        for mounted in mounts {
            let MountedKind::Volume { name, copy_up: true, .. } = &mounted.kind else { continue };
            let root = match &root {
                Some(root) => root,
                None => root.insert(rootfs::open(overlay)?),
            };
            self.store.volumes().copy_up(name, root.as_fd(), Path::new(&mounted.target))?;
        }
        Ok(())
    }
}

/// What was made so far; dropped before it is done, it is taken back.
struct Made<'a> {
    core: &'a Core,
    id: &'a Id,
    name: Option<String>,
    volumes: Vec<String>,
    is_done: bool,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        // The first error is told; what cannot be taken back here the next sweep takes.
        match self.core.store.containers().remove(self.id, self.name.as_deref()) {
            Ok(grave) => drop(tree::remove_all(&grave)),
            Err(error) => tracing::warn!(container = %self.id, error = %error.chain(), "left for the next sweep"),
        }
        for volume in &self.volumes {
            if let Err(error) = self.core.store.volumes().remove(volume) {
                tracing::warn!(volume, error = %error.chain(), "cannot take back a volume");
            }
        }
    }
}

/// As docker: the host's with its UTS or network namespace, else the one asked for, else the short id.
fn hostname(spec: &ContainerSpec, id: &Id) -> String {
    let is_host = |mode: &Option<String>| Mode::of(mode.as_deref()) == Mode::Host;
    match spec.hostname.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => name.to_owned(),
        None if is_host(&spec.uts_mode) || is_host(&spec.network_mode) => super::host::host_name(),
        None => id.short().to_owned(),
    }
}

/// Features that the interface has and this version has not: said now, in a sentence.
fn reject_what_is_not_here(spec: &ContainerSpec, warnings: &mut Vec<String>) -> Result<()> {
    if spec.userns_mode.as_deref() == Some("auto") {
        let message = "a user namespace for each container (userns auto) is not available yet";
        return Err(EngineError::unsupported(message).with_hint("leave --userns out").with_exit_code(125));
    }
    for option in &spec.security_opts {
        let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        match key {
            "apparmor" if value != "unconfined" => {
                warnings
                    .push(format!("AppArmor profile {value} is ignored: this version does not load AppArmor profiles"));
            }
            "label" if value != "disable" => {
                warnings.push(format!("SELinux option {value} is ignored: this version does not label containers"));
            }
            _ => {}
        }
    }
    Ok(())
}
