//! What a create (or update) request may say: every check that needs no disk, with docker's sentences. Called by `create` and `update`
//! before anything is made; pure but for the number of CPUs it is told. Host paths are checked by `mounts`.

use std::time::Duration;

use crate::engine::spec::Resources;
use crate::engine::{Class, ContainerSpec, EngineError, RestartPolicy, Result, Ulimit};
use crate::runtime::caps;

use super::signals;

/// Below this the kernel cannot start a process in the cgroup (docker's bound).
const MIN_MEMORY_BYTES: u64 = 6 << 20;

/// Checks everything and returns warnings.
pub(crate) fn check(spec: &ContainerSpec, n_cpus: u32) -> Result<Vec<String>> {
    check_identity(spec)?;
    check_lifecycle(spec)?;
    check_modes(spec)?;
    check_security(spec)?;
    for ulimit in &spec.ulimits {
        check_ulimit(ulimit)?;
    }
    check_sysctls(spec)?;
    if let Some(score) = spec.oom_score_adj.filter(|score| !(-1000..=1000).contains(score)) {
        return Err(invalid(score, format!("Invalid value {score}, range for oom score adj is [-1000, 1000]")));
    }
    let mut warnings = check_resources(&spec.resources, n_cpus)?;
    if spec.privileged && !spec.cap_add.is_empty() {
        warnings.push("capabilities are not added to a privileged container: it has them all".to_owned());
    }
    Ok(warnings)
}

/// Limits alone; also for `update`.
pub(crate) fn check_resources(resources: &Resources, n_cpus: u32) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    check_memory(resources)?;
    check_cpu(resources, n_cpus)?;
    for (value, what) in [(&resources.cpuset_cpus, "cpus"), (&resources.cpuset_mems, "mems")] {
        if let Some(list) = value.as_deref().filter(|list| !list.is_empty()) {
            check_cpuset(list, what, n_cpus)?;
        }
    }
    if let Some(weight) = resources.blkio_weight.filter(|weight| *weight != 0 && !(10..=1000).contains(weight)) {
        return Err(invalid(weight, "Range of blkio weight is from 10 to 1000"));
    }
    if let Some(limit) = resources.pids_limit.filter(|limit| *limit < -1) {
        return Err(invalid(limit, format!("invalid pids limit {limit}: 0 and -1 mean no limit")));
    }
    if resources.oom_kill_disable && resources.memory_bytes.is_none() {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources."
                .to_owned(),
        );
    }
    Ok(warnings)
}

fn invalid(subject: impl ToString, message: impl Into<String>) -> EngineError {
    EngineError::new(Class::Invalid, subject.to_string(), message).with_exit_code(125)
}

fn check_identity(spec: &ContainerSpec) -> Result<()> {
    if let Some(name) = &spec.hostname {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if name.len() > 64 || !name.chars().all(is_plain) {
            return Err(invalid(name, format!("invalid hostname: {name}"))
                .with_hint("letters, digits, dots and hyphens, at most 64"));
        }
    }
    for entry in &spec.env {
        if entry.is_empty() || entry.starts_with('=') || entry.contains('\0') {
            return Err(
                invalid(entry, format!("invalid environment variable: {entry}")).with_hint("write it as NAME=value")
            );
        }
    }
    for word in spec.entrypoint.iter().chain(&spec.cmd).flatten() {
        if word.contains('\0') {
            return Err(invalid(word, "a command cannot hold a zero byte"));
        }
    }
    if let Some(dir) = spec.working_dir.as_deref().filter(|dir| !dir.is_empty() && !dir.starts_with('/')) {
        let message = format!("the working directory '{dir}' is invalid, it needs to be an absolute path");
        return Err(invalid(dir, message));
    }
    for host in &spec.extra_hosts {
        let is_pair = host.split_once([':', '=']).is_some_and(|(name, address)| {
            let bare = address.trim_start_matches('[').trim_end_matches(']');
            !name.is_empty() && (address == "host-gateway" || bare.parse::<std::net::IpAddr>().is_ok())
        });
        if !is_pair {
            return Err(
                invalid(host, format!("bad format for add-host: {host:?}")).with_hint("write it as name:address")
            );
        }
    }
    Ok(())
}

fn check_lifecycle(spec: &ContainerSpec) -> Result<()> {
    if let Some(signal) = spec.stop_signal.as_deref().filter(|signal| !signal.is_empty()) {
        signals::parse(signal)?;
    }
    if spec.auto_remove && spec.restart != RestartPolicy::No {
        return Err(invalid("", "can't create 'AutoRemove' container with restart policy"));
    }
    let Some(health) = &spec.health else { return Ok(()) };
    match health.test.first().map(String::as_str) {
        None | Some("" | "NONE" | "CMD-SHELL" | "CMD") => {}
        Some(other) => {
            return Err(
                invalid(other, format!("unknown type {other} in Healthcheck")).with_hint("NONE, CMD or CMD-SHELL")
            );
        }
    }
    let spans = [
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ];
    for (name, span) in spans {
        if span.is_some_and(|span| !span.is_zero() && span < Duration::from_millis(1)) {
            return Err(invalid(name, format!("{name} in Healthcheck cannot be less than 1ms")));
        }
    }
    Ok(())
}

fn check_modes(spec: &ContainerSpec) -> Result<()> {
    let fits = |mode: &Option<String>, known: &[&str], takes_container: bool| {
        mode.as_deref().is_none_or(|mode| {
            known.contains(&mode)
                || (takes_container && mode.strip_prefix("container:").is_some_and(|it| !it.is_empty()))
        })
    };
    let modes: [(&str, &Option<String>, &[&str], bool); 5] = [
        ("IPC", &spec.ipc_mode, &["", "private", "shareable", "host", "none"], true),
        ("PID", &spec.pid_mode, &["", "host"], true),
        ("UTS", &spec.uts_mode, &["", "host"], false),
        ("cgroup namespace", &spec.cgroupns_mode, &["", "host", "private"], false),
        ("USER", &spec.userns_mode, &["", "host", "auto"], false),
    ];
    for (what, mode, known, takes_container) in modes {
        if !fits(mode, known, takes_container) {
            let mode = mode.as_deref().unwrap_or_default();
            return Err(invalid(mode, format!("invalid {what} mode: {mode}")));
        }
    }
    if spec.uts_mode.as_deref() == Some("host") && spec.hostname.as_deref().is_some_and(|name| !name.is_empty()) {
        return Err(invalid("hostname", "conflicting options: hostname and the UTS mode"));
    }
    if spec.network_mode.as_deref().is_some_and(|mode| mode.starts_with("container:")) {
        let conflicts = [
            (spec.hostname.is_some(), "hostname"),
            (!spec.dns.is_empty(), "dns"),
            (!spec.extra_hosts.is_empty(), "custom host-to-IP mapping"),
        ];
        if let Some((_, what)) = conflicts.iter().find(|(is_given, _)| *is_given) {
            return Err(invalid(what, format!("conflicting options: {what} and the network mode")));
        }
        if !spec.ports.is_empty() || spec.publish_all {
            let message = "conflicting options: port publishing and the container type network mode";
            return Err(invalid("ports", message));
        }
    }
    Ok(())
}

fn check_security(spec: &ContainerSpec) -> Result<()> {
    for (what, list) in [("CapAdd", &spec.cap_add), ("CapDrop", &spec.cap_drop)] {
        for name in list.iter().filter(|name| !matches!(name.to_ascii_uppercase().as_str(), "ALL" | "CAP_ALL")) {
            if caps::parse(name).is_err() {
                let upper = name.to_ascii_uppercase();
                let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
                return Err(invalid(name, format!("invalid {what}: unknown capability: \"{full}\"")));
            }
        }
    }
    for option in &spec.security_opts {
        let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        let is_known = match key {
            "no-new-privileges" => matches!(value, "" | "true" | "false"),
            "seccomp" | "apparmor" | "label" => !value.is_empty(),
            "systempaths" => value == "unconfined",
            "writable-cgroups" => matches!(value, "" | "true" | "false"),
            _ => false,
        };
        if !is_known {
            return Err(invalid(option, format!("invalid --security-opt: {option:?}"))
                .with_hint("no-new-privileges, seccomp=…, apparmor=…, label=… or systempaths=unconfined"));
        }
    }
    Ok(())
}

fn check_ulimit(ulimit: &Ulimit) -> Result<()> {
    if !Ulimit::NAMES.contains(&ulimit.name.as_str()) {
        return Err(invalid(&ulimit.name, format!("invalid ulimit type: {}", ulimit.name)));
    }
    let is_below = |soft: i64, hard: i64| hard == -1 || (soft != -1 && soft <= hard);
    if ulimit.soft < -1 || ulimit.hard < -1 || !is_below(ulimit.soft, ulimit.hard) {
        return Err(invalid(
            &ulimit.name,
            format!("ulimit soft limit must be less than or equal to hard limit: {} > {}", ulimit.soft, ulimit.hard),
        ));
    }
    Ok(())
}

/// Only what a namespace of the container owns may be set (runc libcontainer/configs/validate).
fn check_sysctls(spec: &ContainerSpec) -> Result<()> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let is_host = |mode: &Option<String>| mode.as_deref() == Some("host");
    for key in spec.sysctls.keys() {
        let bad = |why: &str| Err(invalid(key, format!("sysctl \"{key}\" {why}")));
        let is_plain = !key.is_empty() && !key.contains("..") && key.chars().all(|c| c.is_ascii_graphic() && c != '\0');
        if !is_plain {
            return bad("is not a name of a kernel parameter");
        }
        let dotted = key.replace('/', ".");
        let is_ipc = IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.");
        match () {
            () if is_ipc && is_host(&spec.ipc_mode) => return bad("not allowed in host ipc namespace"),
            () if is_ipc => {}
            () if dotted.starts_with("net.") && is_host(&spec.network_mode) => {
                return bad("not allowed in host network namespace");
            }
            () if dotted.starts_with("net.") => {}
            () if dotted == "kernel.domainname" && !is_host(&spec.uts_mode) => {}
            () => return bad("is not in a separate kernel namespace"),
        }
    }
    Ok(())
}

fn check_memory(resources: &Resources) -> Result<()> {
    let limit = resources.memory_bytes.filter(|bytes| *bytes > 0);
    if let Some(bytes) = limit.filter(|bytes| *bytes < MIN_MEMORY_BYTES) {
        return Err(invalid(bytes, "Minimum memory limit allowed is 6MB"));
    }
    if limit.is_some_and(|bytes| i64::try_from(bytes).is_err()) {
        return Err(invalid("memory", "memory limit is too large"));
    }
    match (limit, resources.memory_swap_bytes.filter(|swap| *swap > 0)) {
        (Some(limit), Some(swap)) if (swap as u64) < limit => {
            return Err(invalid(swap, "Minimum memoryswap limit should be larger than memory limit, see usage"));
        }
        (None, Some(swap)) => {
            return Err(invalid(swap, "You should always set the Memory limit when using Memoryswap limit, see usage"));
        }
        _ => {}
    }
    if let Some(value) = resources.memory_swappiness.filter(|value| *value > 100) {
        return Err(invalid(value, format!("Invalid value: {value}, valid memory swappiness range is 0-100")));
    }
    if let Some(soft) = resources.memory_reservation_bytes.filter(|bytes| *bytes > 0) {
        if soft < MIN_MEMORY_BYTES {
            return Err(invalid(soft, "Minimum memory reservation allowed is 6MB"));
        }
        if limit.is_some_and(|limit| limit < soft) {
            let message = "Minimum memory limit can not be less than memory reservation limit, see usage";
            return Err(invalid(soft, message));
        }
    }
    Ok(())
}

fn check_cpu(resources: &Resources, n_cpus: u32) -> Result<()> {
    let period = resources.cpu_period_us.filter(|us| *us != 0);
    let quota = resources.cpu_quota_us.filter(|us| *us > 0);
    if let Some(nano) = resources.nano_cpus.filter(|nano| *nano != 0) {
        let conflict =
            [(period.is_some(), "Period"), (quota.is_some(), "Quota")].into_iter().find(|(is_set, _)| *is_set);
        if let Some((_, what)) = conflict {
            let message = format!("Conflicting options: Nano CPUs and CPU {what} cannot both be set");
            return Err(invalid(nano, message));
        }
        if !(10_000_000..=u64::from(n_cpus) * 1_000_000_000).contains(&nano) {
            let message =
                format!("Range of CPUs is from 0.01 to {n_cpus}.00, as there are only {n_cpus} CPUs available");
            return Err(invalid(nano, message));
        }
    }
    if let Some(period) = period.filter(|us| !(1_000..=1_000_000).contains(us)) {
        let message = "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)";
        return Err(invalid(period, message));
    }
    if let Some(quota) = quota.filter(|us| *us < 1_000) {
        return Err(invalid(quota, "CPU cfs quota can not be less than 1ms (i.e. 1000)"));
    }
    Ok(())
}

fn check_cpuset(list: &str, what: &str, n_cpus: u32) -> Result<()> {
    let bad = || invalid(list, format!("Invalid value {list} for cpuset {what}"));
    for part in list.split(',') {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high): (u32, u32) = (low.parse().map_err(|_| bad())?, high.parse().map_err(|_| bad())?);
        if low > high || high > 8192 {
            return Err(bad());
        }
        if what == "cpus" && high >= n_cpus {
            let available = format!("0-{}", n_cpus.saturating_sub(1));
            let message = format!("Requested CPUs are not available - requested {list}, available: {available}");
            return Err(invalid(list, message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_fails(change: impl FnOnce(&mut ContainerSpec), says: &str) {
        let mut spec = ContainerSpec::default();
        change(&mut spec);
        let error = check(&spec, 2).unwrap_err();
        assert_eq!(error.class, Class::Invalid);
        assert!(error.message.contains(says), "{error} does not say {says}");
    }

    #[test]
    fn bad_requests_get_dockers_sentence() {
        check_fails(|s| s.resources.memory_bytes = Some(1 << 20), "Minimum memory limit allowed is 6MB");
        check_fails(|s| s.resources.memory_swap_bytes = Some(1 << 30), "You should always set the Memory limit");
        check_fails(
            |s| {
                s.resources.memory_bytes = Some(64 << 20);
                s.resources.memory_swap_bytes = Some(32 << 20);
            },
            "Minimum memoryswap limit should be larger",
        );
        check_fails(|s| s.resources.nano_cpus = Some(9_000_000_000), "Range of CPUs is from 0.01 to 2.00");
        check_fails(|s| s.resources.nano_cpus = Some(1), "Range of CPUs");
        check_fails(|s| s.resources.cpuset_cpus = Some("0-7".into()), "Requested CPUs are not available");
        check_fails(|s| s.resources.cpuset_cpus = Some("x".into()), "Invalid value x for cpuset cpus");
        check_fails(|s| s.resources.blkio_weight = Some(5), "Range of blkio weight");
        check_fails(|s| s.stop_signal = Some("NOPE".into()), "invalid signal: NOPE");
        check_fails(|s| s.working_dir = Some("rel".into()), "needs to be an absolute path");
        check_fails(|s| s.env = vec!["=x".into()], "invalid environment variable: =x");
        check_fails(|s| s.cap_add = vec!["frob".into()], "invalid CapAdd: unknown capability: \"CAP_FROB\"");
        check_fails(|s| s.security_opts = vec!["x=y".into()], "invalid --security-opt");
        check_fails(|s| s.pid_mode = Some("nope".into()), "invalid PID mode: nope");
        check_fails(|s| s.oom_score_adj = Some(1001), "range for oom score adj");
        check_fails(|s| s.ulimits = vec![Ulimit { name: "x".into(), soft: 1, hard: 1 }], "invalid ulimit type: x");
        check_fails(|s| s.ulimits = vec![Ulimit { name: "nofile".into(), soft: 5, hard: 3 }], "5 > 3");
        check_fails(
            |s| drop(s.sysctls.insert("kernel.panic".into(), "1".into())),
            "not in a separate kernel namespace",
        );
        check_fails(|s| s.hostname = Some("a b".into()), "invalid hostname: a b");
        check_fails(|s| s.extra_hosts = vec!["a".into()], "bad format for add-host");
        check_fails(
            |s| {
                s.auto_remove = true;
                s.restart = RestartPolicy::Always;
            },
            "can't create 'AutoRemove' container with restart policy",
        );
    }

    #[test]
    fn what_docker_takes_is_taken() {
        let mut spec = ContainerSpec::default();
        spec.resources.memory_bytes = Some(6 << 20);
        spec.resources.memory_swap_bytes = Some(-1);
        spec.resources.nano_cpus = Some(500_000_000);
        spec.resources.cpuset_cpus = Some("0-1,1".into());
        spec.resources.pids_limit = Some(-1);
        spec.sysctls.insert("net.ipv4.ip_forward".into(), "1".into());
        spec.sysctls.insert("kernel.shmmax".into(), "1".into());
        spec.cap_add = vec!["ALL".into(), "net_admin".into(), "CAP_SYS_TIME".into()];
        spec.security_opts = vec!["no-new-privileges".into(), "seccomp=unconfined".into()];
        spec.extra_hosts = vec!["a:1.2.3.4".into(), "b:::1".into(), "c:host-gateway".into()];
        spec.ulimits = vec![Ulimit { name: "nofile".into(), soft: 10, hard: -1 }];
        assert_eq!(check(&spec, 2).unwrap(), Vec::<String>::new());
    }
}
