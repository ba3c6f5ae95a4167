//! The flags of `run` and `create` → [`ContainerSpec`]. Pure but for environment and label files.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::args::{CreateArgs, LimitArgs};
use super::values::{self, RateUnit, Result, ValueError, bad};
use crate::engine::spec::{ContainerSpec, HealthCheck, LogSettings, Resources, RestartPolicy};

/// The words after the flags and everything else: what to create.
///
/// # Errors
/// The first value that cannot be meant, in docker's words.
pub fn spec(args: &CreateArgs) -> Result<ContainerSpec> {
    let (image, cmd) = args.words.split_first().ok_or_else(|| ValueError::Plain("image is required".to_owned()))?;
    let restart = args.restart.as_deref().map_or(Ok(RestartPolicy::No), values::restart)?;
    if args.rm && restart != RestartPolicy::No {
        return Err(ValueError::Plain("conflicting options: cannot specify both --restart and --rm".to_owned()));
    }
    let (security_opts, systempaths_open) = security(&args.security_opt)?;
    let unmasked = || systempaths_open.then(Vec::new);
    let mut ports = Vec::new();
    for text in &args.publish {
        ports.extend(values::publish(text)?);
    }
    let mut exposed_ports = Vec::new();
    for text in &args.expose {
        exposed_ports.extend(values::expose(text)?);
    }
    exposed_ports.extend(ports.iter().map(|port| format!("{}/{}", port.container_port, port.protocol)));
    exposed_ports.sort();
    exposed_ports.dedup();
    Ok(ContainerSpec {
        image: image.clone(),
        cmd: (!cmd.is_empty()).then(|| cmd.to_vec()),
        entrypoint: args
            .entrypoint
            .as_ref()
            .map(|entry| if entry.is_empty() { Vec::new() } else { vec![entry.clone()] }),
        env: environment(&args.env, &args.env_file)?,
        working_dir: args.workdir.clone(),
        user: args.user.clone(),
        tty: args.tty,
        open_stdin: args.interactive,
        stdin_once: false,
        hostname: args.hostname.clone(),
        domainname: args.domainname.clone(),
        labels: labels(&args.label, &args.label_file)?,
        annotations: args.annotation.iter().map(|text| values::pair(text)).collect(),
        stop_signal: args.stop_signal.clone(),
        stop_timeout: stop_timeout(args)?,
        health: health(args)?,
        restart,
        auto_remove: args.rm,
        init: args.init,
        mounts: mounts(args)?,
        volumes_from: args.volumes_from.clone(),
        network_mode: args.network.clone(),
        exposed_ports,
        ports,
        publish_all: args.publish_all,
        dns: args.dns.clone(),
        dns_search: args.dns_search.clone(),
        dns_options: args.dns_option.clone(),
        extra_hosts: hosts(&args.add_host)?,
        resources: resources(args)?,
        ulimits: args.ulimit.iter().map(|text| values::ulimit(text)).collect::<Result<_>>()?,
        sysctls: args.sysctl.iter().map(|text| values::pair(text)).collect(),
        shm_size_bytes: args.shm_size.as_deref().map(|text| values::bytes("--shm-size", text)).transpose()?,
        oom_score_adj: oom_score(args)?,
        privileged: args.privileged,
        read_only_rootfs: args.read_only,
        cap_add: args.cap_add.clone(),
        cap_drop: args.cap_drop.clone(),
        security_opts,
        group_add: args.group_add.clone(),
        masked_paths: unmasked(),
        readonly_paths: unmasked(),
        ipc_mode: args.ipc.clone(),
        pid_mode: args.pid.clone(),
        uts_mode: args.uts.clone(),
        cgroupns_mode: args.cgroupns.clone(),
        userns_mode: args.userns.clone(),
        cgroup_parent: args.cgroup_parent.clone(),
        log: log(args),
    })
}

/// `--env-file` first, then `-e`, as docker.
///
/// # Errors
/// A file that cannot be read, a variable without a name.
pub fn environment(env: &[String], files: &[String]) -> Result<Vec<String>> {
    let lookup = |name: &str| std::env::var(name).ok();
    let mut found = Vec::new();
    for path in files {
        for line in values::file_lines(path)? {
            found.extend(values::env(&line, &lookup)?);
        }
    }
    for text in env {
        found.extend(values::env(text, &lookup)?);
    }
    Ok(found)
}

fn labels(typed: &[String], files: &[String]) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for path in files {
        found.extend(values::file_lines(path)?.iter().map(|line| values::pair(line)));
    }
    for text in typed {
        if text.starts_with('=') || text.is_empty() {
            return Err(bad("-l, --label", text, format!("invalid label '{text}': empty name")));
        }
        found.extend([values::pair(text)]);
    }
    Ok(found)
}

fn stop_timeout(args: &CreateArgs) -> Result<Option<Duration>> {
    let Some(text) = &args.stop_timeout else { return Ok(None) };
    let seconds: i64 = values::whole("--stop-timeout", text)?;
    Ok(Some(u64::try_from(seconds).map_or(Duration::MAX, Duration::from_secs)))
}

fn oom_score(args: &CreateArgs) -> Result<Option<i32>> {
    let Some(text) = &args.oom_score_adj else { return Ok(None) };
    let score: i32 = values::whole("--oom-score-adj", text)?;
    if (-1000..=1000).contains(&score) {
        return Ok(Some(score));
    }
    Err(ValueError::Plain(format!("Invalid value {score}, range for oom score adj is [-1000, 1000]")))
}

fn health(args: &CreateArgs) -> Result<Option<HealthCheck>> {
    let span = |flag, text: &Option<String>| text.as_deref().map(|text| values::duration(flag, text)).transpose();
    let check = HealthCheck {
        test: args.health_cmd.iter().flat_map(|cmd| ["CMD-SHELL".to_owned(), cmd.clone()]).collect(),
        interval: span("--health-interval", &args.health_interval)?,
        timeout: span("--health-timeout", &args.health_timeout)?,
        start_period: span("--health-start-period", &args.health_start_period)?,
        start_interval: span("--health-start-interval", &args.health_start_interval)?,
        retries: args.health_retries.as_deref().map(|text| values::whole("--health-retries", text)).transpose()?,
    };
    let is_given = check != HealthCheck::default();
    match (args.no_healthcheck, is_given) {
        (true, true) => Err(ValueError::Plain("--no-healthcheck conflicts with --health-* options".to_owned())),
        (true, false) => Ok(Some(HealthCheck { test: vec!["NONE".to_owned()], ..HealthCheck::default() })),
        (false, true) => Ok(Some(check)),
        (false, false) => Ok(None),
    }
}

fn mounts(args: &CreateArgs) -> Result<Vec<crate::engine::MountSpec>> {
    let mut found = Vec::new();
    for text in &args.volume {
        found.push(values::volume(text, &absolute)?);
    }
    for text in &args.mount {
        found.push(values::mount(text, &absolute)?);
    }
    for text in &args.tmpfs {
        found.push(values::tmpfs(text)?);
    }
    let mut targets = std::collections::BTreeSet::new();
    for mount in &found {
        if !targets.insert(mount.target.trim_end_matches('/')) {
            return Err(ValueError::Plain(format!("Duplicate mount point: {}", mount.target)));
        }
    }
    Ok(found)
}

/// `./x` and `~/x` as absolute host paths.
fn absolute(path: &str) -> String {
    let path = match (path.strip_prefix("~/"), std::env::var("HOME")) {
        (Some(rest), Ok(home)) => format!("{home}/{rest}"),
        _ => path.to_owned(),
    };
    let lexical = std::path::absolute(Path::new(&path)).ok();
    let mut clean = std::path::PathBuf::new();
    for part in lexical.as_deref().unwrap_or(Path::new(&path)).components() {
        match part {
            std::path::Component::ParentDir => drop(clean.pop()),
            part => clean.push(part),
        }
    }
    clean.display().to_string()
}

fn hosts(typed: &[String]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for text in typed {
        let (name, ip) = text
            .split_once('=')
            .or_else(|| text.split_once(':'))
            .ok_or_else(|| bad("--add-host", text, format!("bad format for add-host: {text:?}")))?;
        let ip = ip.trim_start_matches('[').trim_end_matches(']');
        if ip != "host-gateway" && ip.parse::<std::net::IpAddr>().is_err() {
            return Err(bad("--add-host", text, format!("invalid IP address in add-host: {ip:?}")));
        }
        found.push(format!("{name}:{ip}"));
    }
    Ok(found)
}

fn security(typed: &[String]) -> Result<(Vec<String>, bool)> {
    let mut found = Vec::new();
    let mut systempaths_open = false;
    for text in typed {
        // The old form had a colon.
        let text = text
            .replacen("label:", "label=", 1)
            .replacen("apparmor:", "apparmor=", 1)
            .replacen("seccomp:", "seccomp=", 1);
        match text.split_once('=') {
            Some(("systempaths", "unconfined")) => systempaths_open = true,
            Some(("seccomp", profile)) if !matches!(profile, "unconfined" | "builtin") => {
                let json = std::fs::read_to_string(profile).map_err(|error| {
                    ValueError::Plain(format!(
                        "opening seccomp profile ({profile}) failed: open {profile}: {}",
                        values::plain_io(&error)
                    ))
                })?;
                found.push(format!("seccomp={json}"));
            }
            None if text != "no-new-privileges" => {
                return Err(ValueError::Plain(format!("invalid --security-opt: {text:?}")));
            }
            _ => found.push(text),
        }
    }
    Ok((found, systempaths_open))
}

fn log(args: &CreateArgs) -> LogSettings {
    let standard = LogSettings::default();
    LogSettings {
        driver: args.log_driver.clone().unwrap_or(standard.driver),
        options: args.log_opt.iter().map(|text| values::pair(text)).collect(),
    }
}

fn resources(args: &CreateArgs) -> Result<Resources> {
    let rates = |flag, texts: &[String], unit| {
        texts.iter().map(|text| values::device_rate(flag, text, unit)).collect::<Result<Vec<_>>>()
    };
    let swappiness = match number::<i64>("--memory-swappiness", &args.memory_swappiness)? {
        None | Some(-1) => None,
        Some(value @ 0..=100) => Some(value as u8),
        Some(value) => {
            return Err(ValueError::Plain(format!("invalid value: {value}. Valid memory swappiness range is 0-100")));
        }
    };
    Ok(Resources {
        memory_swappiness: swappiness,
        oom_kill_disable: args.oom_kill_disable,
        cpu_rt_period_us: number("--cpu-rt-period", &args.cpu_rt_period)?,
        cpu_rt_runtime_us: number("--cpu-rt-runtime", &args.cpu_rt_runtime)?,
        device_read_bps: rates("--device-read-bps", &args.device_read_bps, RateUnit::Bytes)?,
        device_write_bps: rates("--device-write-bps", &args.device_write_bps, RateUnit::Bytes)?,
        device_read_iops: rates("--device-read-iops", &args.device_read_iops, RateUnit::Operations)?,
        device_write_iops: rates("--device-write-iops", &args.device_write_iops, RateUnit::Operations)?,
        devices: args.device.clone(),
        device_cgroup_rules: args.device_cgroup_rule.clone(),
        ..limits(&args.limits)?
    })
}

fn number<T: std::str::FromStr>(flag: &'static str, text: &Option<String>) -> Result<Option<T>> {
    text.as_deref().map(|text| values::whole(flag, text)).transpose()
}

/// The limits that `run`, `create` and `update` share.
fn limits(args: &LimitArgs) -> Result<Resources> {
    let size = |flag, text: &Option<String>| text.as_deref().map(|text| values::bytes(flag, text)).transpose();
    let swap = args.memory_swap.as_deref().map(|text| values::bytes_or_unlimited("--memory-swap", text)).transpose()?;
    let blkio_weight: Option<u16> = number("--blkio-weight", &args.blkio_weight)?;
    if let Some(weight) = blkio_weight.filter(|weight| *weight != 0 && !(10..=1000).contains(weight)) {
        return Err(ValueError::Plain(format!("range of blkio weight is from 10 to 1000, not {weight}")));
    }
    let nano_cpus = args.cpus.as_deref().map(|text| values::cpus("--cpus", text)).transpose()?;
    if nano_cpus.is_some() && (args.cpu_period.is_some() || args.cpu_quota.is_some()) {
        return Err(ValueError::Plain(
            "conflicting options: Nano CPUs and CPU Period/Quota cannot both be set".to_owned(),
        ));
    }
    Ok(Resources {
        memory_bytes: size("-m, --memory", &args.memory)?,
        memory_swap_bytes: swap,
        memory_reservation_bytes: size("--memory-reservation", &args.memory_reservation)?,
        nano_cpus,
        cpu_shares: number("-c, --cpu-shares", &args.cpu_shares)?,
        cpu_period_us: number("--cpu-period", &args.cpu_period)?,
        cpu_quota_us: number("--cpu-quota", &args.cpu_quota)?,
        cpuset_cpus: args.cpuset_cpus.clone(),
        cpuset_mems: args.cpuset_mems.clone(),
        pids_limit: number("--pids-limit", &args.pids_limit)?,
        blkio_weight: blkio_weight.filter(|weight| *weight != 0),
        ..Resources::default()
    })
}

/// The flags of `update` in the same words.
///
/// # Errors
/// As [`spec`].
pub fn update(args: &super::args::UpdateArgs) -> Result<crate::engine::UpdateContainer> {
    let restart = args.restart.as_deref().map(values::restart).transpose()?;
    Ok(crate::engine::UpdateContainer { resources: limits(&args.limits)?, restart })
}
