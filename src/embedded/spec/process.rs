//! The process part: arguments, environment, user, capabilities, limits.

use crate::oci::runtime::{
    LinuxCapabilities, LinuxCapabilitiesBuilder, PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process,
    ProcessBuilder, UserBuilder,
};

use crate::engine::{Class, ContainerSpec, EngineError, ExecSpec, Result, Ulimit};
use crate::runtime::caps::{self, CapSet};
use crate::runtime::user::ResolvedUser;

use super::super::init;
use super::super::record::ContainerRecord;
use super::{Surroundings, build as built, has_security_opt};

/// Docker's, when neither image nor user says one.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) fn build(record: &ContainerRecord, around: &Surroundings<'_>) -> Result<Process> {
    let spec = &record.spec;
    let user = UserBuilder::default()
        .uid(around.user.uid)
        .gid(around.user.gid)
        .additional_gids(around.user.groups.clone())
        .build()
        .map_err(built)?;
    let cwd = spec.working_dir.as_deref().filter(|dir| !dir.is_empty()).unwrap_or("/");
    let mut process = ProcessBuilder::default()
        .terminal(spec.tty)
        .user(user)
        .args(args(record, around))
        .env(env(record, &around.user.home))
        .cwd(cwd)
        .capabilities(capabilities(spec, around.user.uid == 0)?)
        .rlimits(spec.ulimits.iter().map(rlimit).collect::<Result<Vec<_>>>()?)
        .no_new_privileges(has_no_new_privileges(spec))
        .build()
        .map_err(built)?;
    process.set_oom_score_adj(spec.oom_score_adj);
    Ok(process)
}

fn args(record: &ContainerRecord, around: &Surroundings<'_>) -> Vec<String> {
    let command = std::iter::once(&record.path).chain(&record.args).cloned();
    match around.init {
        Some(_) => [init::PATH.to_owned(), "--".to_owned()].into_iter().chain(command).collect(),
        None => command.collect(),
    }
}

fn has_no_new_privileges(spec: &ContainerSpec) -> bool {
    has_security_opt(spec, "no-new-privileges") || has_security_opt(spec, "no-new-privileges=true")
}

/// A further process in a running container: what the command does not say is the container's.
pub(crate) fn exec(record: &ContainerRecord, asked: &ExecSpec, user: &ResolvedUser) -> Result<Process> {
    let spec = &record.spec;
    let oci_user = UserBuilder::default()
        .uid(user.uid)
        .gid(user.gid)
        .additional_gids(user.groups.clone())
        .build()
        .map_err(built)?;
    let cwd = asked.working_dir.as_deref().or(spec.working_dir.as_deref()).filter(|dir| !dir.is_empty()).unwrap_or("/");
    let mut with_own = record.clone();
    with_own.spec.tty = asked.tty;
    with_own.spec.env = override_env(&spec.env, &asked.env);
    let caps = if asked.privileged { &ContainerSpec { privileged: true, ..ContainerSpec::default() } } else { spec };
    ProcessBuilder::default()
        .terminal(asked.tty)
        .user(oci_user)
        .args(asked.cmd.clone())
        .env(env(&with_own, &user.home))
        .cwd(cwd)
        .capabilities(capabilities(caps, user.uid == 0)?)
        .rlimits(spec.ulimits.iter().map(rlimit).collect::<Result<Vec<_>>>()?)
        .no_new_privileges(has_no_new_privileges(spec))
        .build()
        .map_err(built)
}

/// The command's variables over the container's.
fn override_env(base: &[String], over: &[String]) -> Vec<String> {
    let name = |entry: &str| entry.split_once('=').map_or(entry, |(name, _)| name).to_owned();
    let given: Vec<String> = over.iter().map(|entry| name(entry)).collect();
    let kept = base.iter().filter(|entry| !given.contains(&name(entry)));
    kept.chain(over.iter().filter(|entry| entry.contains('='))).cloned().collect()
}

/// The engine's own variables, each replaced by the container's of the same name.
fn env(record: &ContainerRecord, home: &str) -> Vec<String> {
    let mut own = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={}", record.hostname)];
    if record.spec.tty {
        own.push("TERM=xterm".to_owned());
    }
    own.push(format!("HOME={home}"));
    let name = |entry: &str| entry.split_once('=').map_or(entry, |(name, _)| name).to_owned();
    let given: Vec<String> = record.spec.env.iter().map(|entry| name(entry)).collect();
    own.retain(|entry| !given.contains(&name(entry)));
    own.extend(record.spec.env.iter().filter(|entry| entry.contains('=')).cloned());
    own
}

/// What the container's processes can ever hold.
pub(super) fn bounding(spec: &ContainerSpec) -> Result<CapSet> {
    if spec.privileged {
        return Ok(CapSet::all());
    }
    caps::tweak(CapSet::docker_default(), &spec.cap_add, &spec.cap_drop)
        .map_err(|error| EngineError::new(Class::Invalid, "", "cannot decide the capabilities").caused_by(&error))
}

/// Docker's default set, changed as asked; inheritable and ambient stay empty (CVE-2022-24769). A process that is not root
/// holds none but keeps the bounding set for set-uid programs.
pub(crate) fn capabilities(spec: &ContainerSpec, is_root: bool) -> Result<LinuxCapabilities> {
    let bounding = bounding(spec)?;
    let held = if is_root { bounding } else { CapSet::EMPTY };
    LinuxCapabilitiesBuilder::default()
        .bounding(bounding.to_oci())
        .permitted(held.to_oci())
        .effective(held.to_oci())
        .inheritable(CapSet::EMPTY.to_oci())
        .ambient(CapSet::EMPTY.to_oci())
        .build()
        .map_err(built)
}

fn rlimit(ulimit: &Ulimit) -> Result<PosixRlimit> {
    let typ = format!("RLIMIT_{}", ulimit.name.to_ascii_uppercase());
    let typ: PosixRlimitType = serde_json::from_value(serde_json::Value::String(typ))
        .map_err(|_| EngineError::new(Class::Invalid, &ulimit.name, format!("invalid ulimit type: {}", ulimit.name)))?;
    let value = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
    PosixRlimitBuilder::default().typ(typ).soft(value(ulimit.soft)).hard(value(ulimit.hard)).build().map_err(built)
}
