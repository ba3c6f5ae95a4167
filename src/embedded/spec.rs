//! A container's record as an OCI runtime spec: docker's shape of a container with the defaults of the safety page. Called by `start`,
//! pure but for looking at the host devices that a request names. Must never grant what neither docker's defaults nor the request grant.

mod devices;
mod mounts;
mod process;
mod resources;
mod seccomp;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::oci::runtime as oci;
use crate::oci::runtime::{
    LinuxBuilder, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType, LinuxSeccomp, RootBuilder, Spec,
    SpecBuilder,
};

use crate::engine::{Class, ContainerSpec, EngineError, Result, spec};
use crate::runtime::user::ResolvedUser;

use super::record::ContainerRecord;

/// The version of the runtime spec that the documents follow.
const OCI_VERSION: &str = "1.2.0";

pub(crate) use devices::check as check_devices;
pub(crate) use process::exec as exec_process;
pub(crate) use resources::limits;
pub(crate) use seccomp::seccomp;

/// What is decided outside the record when a container starts.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings<'a> {
    /// Where the runtime finds the root file system.
    pub(crate) rootfs: &'a Path,
    /// Path below each cgroup hierarchy.
    pub(crate) cgroups_path: &'a str,
    /// Holds `hostname`, `hosts` and `resolv.conf`.
    pub(crate) files_dir: &'a Path,
    /// The program that is mounted as the container's init, when one was asked for.
    pub(crate) init: Option<&'a Path>,
    /// Holds `shm` when the ipc namespace can be shared.
    pub(crate) run_dir: &'a Path,
    pub(crate) user: &'a ResolvedUser,
    pub(crate) n_cpus: u32,
    /// Namespaces of other containers to join.
    pub(crate) joins: &'a Joins,
    /// `None`: unconfined.
    pub(crate) seccomp: Option<LinuxSeccomp>,
}

/// Namespace files (`/proc/<pid>/ns/…`) of the containers named by `container:X` modes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Joins {
    pub(crate) network: Option<PathBuf>,
    pub(crate) ipc: Option<PathBuf>,
    pub(crate) pid: Option<PathBuf>,
    /// The other container's shared memory directory.
    pub(crate) shm: Option<PathBuf>,
}

/// What a mode asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Private,
    Host,
    Container,
}

impl Mode {
    pub(crate) fn of(mode: Option<&str>) -> Self {
        match mode {
            Some("host") => Self::Host,
            Some(mode) if mode.starts_with("container:") => Self::Container,
            _ => Self::Private,
        }
    }
}

/// The document for one start.
///
/// # Errors
/// `Invalid` when a device or a host path that the record names is not there.
pub(crate) fn generate(record: &ContainerRecord, around: &Surroundings<'_>) -> Result<Spec> {
    let spec = &record.spec;
    let root = RootBuilder::default().path(around.rootfs).readonly(spec.read_only_rootfs).build().map_err(build)?;
    let builder = SpecBuilder::default()
        .version(OCI_VERSION)
        .root(root)
        .mounts(mounts::all(record, around)?)
        .process(process::build(record, around)?)
        .linux(linux(record, around)?)
        .annotations(annotations(spec));
    let is_own_uts = Mode::of(spec.uts_mode.as_deref()) != Mode::Host;
    let domain = spec.domainname.clone().filter(|domain| is_own_uts && !domain.is_empty());
    // Set after the build: the crate's default document has a host name of its own.
    let mut document = builder.build().map_err(build)?;
    document.set_hostname(is_own_uts.then(|| record.hostname.clone()));
    document.set_domainname(domain);
    Ok(document)
}

fn linux(record: &ContainerRecord, around: &Surroundings<'_>) -> Result<oci::Linux> {
    let spec = &record.spec;
    let mut builder = LinuxBuilder::default()
        .cgroups_path(around.cgroups_path)
        .namespaces(namespaces(spec, around.joins)?)
        .devices(devices::nodes(spec)?)
        .resources(resources::build(spec)?)
        .sysctl(sysctls(spec));
    if !spec.privileged {
        builder = builder.masked_paths(masked_paths(spec, around.n_cpus)).readonly_paths(readonly_paths(spec));
    } else {
        // The builder's defaults are the crate's own lists.
        builder = builder.masked_paths(Vec::<String>::new()).readonly_paths(Vec::<String>::new());
    }
    if let Some(propagation) = mounts::rootfs_propagation(record) {
        builder = builder.rootfs_propagation(propagation);
    }
    let mut linux = builder.build().map_err(build)?;
    linux.set_seccomp(around.seccomp.clone());
    Ok(linux)
}

fn namespaces(spec: &ContainerSpec, joins: &Joins) -> Result<Vec<LinuxNamespace>> {
    let joined = |mode: &Option<String>, path: &Option<PathBuf>| match Mode::of(mode.as_deref()) {
        Mode::Private => Some(None),
        Mode::Host => None,
        Mode::Container => Some(path.clone()),
    };
    let cgroup = (Mode::of(spec.cgroupns_mode.as_deref()) != Mode::Host).then_some(None);
    let uts = (Mode::of(spec.uts_mode.as_deref()) != Mode::Host).then_some(None);
    let wanted = [
        (LinuxNamespaceType::Mount, Some(None)),
        (LinuxNamespaceType::Uts, uts),
        (LinuxNamespaceType::Ipc, joined(&spec.ipc_mode, &joins.ipc)),
        (LinuxNamespaceType::Pid, joined(&spec.pid_mode, &joins.pid)),
        (LinuxNamespaceType::Network, joined(&spec.network_mode, &joins.network)),
        (LinuxNamespaceType::Cgroup, cgroup),
    ];
    let made = wanted.into_iter().filter_map(|(typ, path)| Some((typ, path?))).map(|(typ, path)| {
        let builder = LinuxNamespaceBuilder::default().typ(typ);
        match path {
            Some(path) => builder.path(path).build(),
            None => builder.build(),
        }
    });
    made.collect::<std::result::Result<_, _>>().map_err(build)
}

fn sysctls(spec: &ContainerSpec) -> HashMap<String, String> {
    let mut all = HashMap::new();
    if Mode::of(spec.network_mode.as_deref()) == Mode::Private {
        // Docker's defaults since 20.10: ping and low ports need no capability in a network namespace of one's own.
        all.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        all.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
    }
    all.extend(spec.sysctls.iter().map(|(key, value)| (key.clone(), value.clone())));
    all
}

fn has_security_opt(spec: &ContainerSpec, wanted: &str) -> bool {
    spec.security_opts.iter().any(|option| option.replace(':', "=") == wanted)
}

fn masked_paths(spec: &ContainerSpec, n_cpus: u32) -> Vec<String> {
    if has_security_opt(spec, "systempaths=unconfined") {
        return Vec::new();
    }
    let throttles = (0..n_cpus).map(|cpu| format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle"));
    let exists = |path: &String| Path::new(path).exists();
    let default = || spec::MASKED_PATHS.iter().map(|path| (*path).to_owned()).chain(throttles.filter(exists)).collect();
    spec.masked_paths.clone().unwrap_or_else(default)
}

fn readonly_paths(spec: &ContainerSpec) -> Vec<String> {
    if has_security_opt(spec, "systempaths=unconfined") {
        return Vec::new();
    }
    let default = || spec::READONLY_PATHS.iter().map(|path| (*path).to_owned()).collect();
    spec.readonly_paths.clone().unwrap_or_else(default)
}

fn annotations(spec: &ContainerSpec) -> HashMap<String, String> {
    spec.annotations.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The builders fail only on a missing required field, which would be a mistake here.
fn build(error: crate::oci::OciSpecError) -> EngineError {
    EngineError::new(Class::Internal, "", "cannot put the runtime spec together").caused_by(&error)
}

#[cfg(test)]
mod tests;
