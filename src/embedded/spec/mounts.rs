//! Mounts in the order they are made: docker's system mounts, the generated files, then what was asked for.

use std::path::Path;

use crate::oci::runtime::{Mount, MountBuilder};

use crate::engine::Result;

use super::super::init;
use super::super::record::{ContainerRecord, Mounted, MountedKind};
use super::{Mode, Surroundings, build};

/// Docker's 64 MiB.
const DEFAULT_SHM_BYTES: u64 = 64 << 20;

pub(super) fn all(record: &ContainerRecord, around: &Surroundings<'_>) -> Result<Vec<Mount>> {
    let mut mounts = system(record, around)?;
    let is_taken = |path: &str| record.mounts.iter().any(|mounted| mounted.target == path);
    mounts.retain(|mount| !mount.destination().to_str().is_some_and(is_taken));
    for name in ["resolv.conf", "hostname", "hosts"] {
        let target = format!("/etc/{name}");
        if !is_taken(&target) {
            mounts.push(bind(&around.files_dir.join(name), &target, &["rbind", "rprivate"])?);
        }
    }
    for mounted in &record.mounts {
        mounts.push(asked(mounted)?);
    }
    if let Some(program) = around.init {
        // Read-only by the mount, so that nobody who can open it through /proc/1/exe can write it (CVE-2019-5736).
        mounts.push(bind(program, init::PATH, &["bind", "ro", "nosuid", "nodev", "rprivate"])?);
    }
    Ok(mounts)
}

/// A shared or slave bind needs the root to be at least that.
pub(super) fn rootfs_propagation(record: &ContainerRecord) -> Option<&'static str> {
    let wants = |wanted: [&str; 2]| {
        record.mounts.iter().any(|mounted| match &mounted.kind {
            MountedKind::Bind { propagation, .. } => wanted.contains(&propagation.as_str()),
            _ => false,
        })
    };
    match () {
        () if wants(["shared", "rshared"]) => Some("shared"),
        () if wants(["slave", "rslave"]) => Some("slave"),
        () => None,
    }
}

fn system(record: &ContainerRecord, around: &Surroundings<'_>) -> Result<Vec<Mount>> {
    let spec = &record.spec;
    let rw = if spec.privileged { "rw" } else { "ro" };
    let is_rw_cgroup = spec.privileged || super::has_security_opt(spec, "writable-cgroups=true");
    let cgroup_rw = if is_rw_cgroup { "rw" } else { "ro" };
    let mut mounts = vec![
        mount("proc", "proc", "/proc", &["nosuid", "noexec", "nodev"])?,
        mount("tmpfs", "tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"])?,
        mount(
            "devpts",
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        )?,
        mount("sysfs", "sysfs", "/sys", &["nosuid", "noexec", "nodev", rw])?,
        mount("cgroup", "cgroup", "/sys/fs/cgroup", &["nosuid", "noexec", "nodev", cgroup_rw])?,
    ];
    let flags = ["nosuid", "noexec", "nodev"];
    match Mode::of(spec.ipc_mode.as_deref()) {
        Mode::Host => mounts.push(bind(Path::new("/dev/mqueue"), "/dev/mqueue", &["rbind", "rprivate"])?),
        _ => mounts.push(mount("mqueue", "mqueue", "/dev/mqueue", &flags)?),
    }
    let size = format!("size={}", spec.shm_size_bytes.filter(|bytes| *bytes > 0).unwrap_or(DEFAULT_SHM_BYTES));
    match (spec.ipc_mode.as_deref(), &around.joins.shm) {
        (Some("none"), _) => {}
        (Some("host"), _) => mounts.push(bind(Path::new("/dev/shm"), "/dev/shm", &["rbind", "rprivate"])?),
        (_, Some(shared)) => {
            mounts.push(bind(shared, "/dev/shm", &["rbind", "rprivate", "nosuid", "noexec", "nodev"])?)
        }
        (Some("shareable"), None) => {
            let own = around.run_dir.join("shm");
            mounts.push(bind(&own, "/dev/shm", &["rbind", "rprivate", "nosuid", "noexec", "nodev"])?);
        }
        _ => mounts.push(mount("tmpfs", "shm", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", &size])?),
    }
    Ok(mounts)
}

fn asked(mounted: &Mounted) -> Result<Mount> {
    let access = if mounted.read_only { "ro" } else { "rw" };
    match &mounted.kind {
        MountedKind::Bind { source, propagation, non_recursive } => {
            let kind = if *non_recursive { "bind" } else { "rbind" };
            // Read-only means the whole tree below, as docker has it since API 1.44.
            let access = if mounted.read_only && !non_recursive { "rro" } else { access };
            bind(Path::new(source), &mounted.target, &[kind, access, propagation])
        }
        MountedKind::Volume { source, .. } => bind(Path::new(source), &mounted.target, &["rbind", access, "rprivate"]),
        MountedKind::Tmpfs { options } => {
            let mut all = vec!["nosuid", "nodev"];
            if !options.iter().any(|option| option == "exec") {
                all.push("noexec");
            }
            all.extend(options.iter().map(String::as_str).filter(|option| *option != "exec"));
            all.push(access);
            mount("tmpfs", "tmpfs", &mounted.target, &all)
        }
    }
}

fn bind(source: &Path, target: &str, options: &[&str]) -> Result<Mount> {
    let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    MountBuilder::default().destination(target).typ("bind").source(source).options(options).build().map_err(build)
}

fn mount(typ: &str, source: &str, target: &str, options: &[&str]) -> Result<Mount> {
    let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    MountBuilder::default().destination(target).typ(typ).source(source).options(options).build().map_err(build)
}
