//! `HostConfig`: what a container may use and touch, in docker's shape.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::engine::spec::{self, ContainerSpec, MountKind, MountSpec, PortBinding, RestartPolicy};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostConfig {
    pub binds: Option<Vec<String>>,
    #[serde(rename = "ContainerIDFile")]
    pub container_id_file: String,
    pub log_config: LogConfig,
    pub network_mode: String,
    pub port_bindings: BTreeMap<String, Vec<HostPort>>,
    pub restart_policy: RestartPolicyShape,
    pub auto_remove: bool,
    pub volume_driver: String,
    pub volumes_from: Option<Vec<String>>,
    pub console_size: [u16; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    pub cap_add: Option<Vec<String>>,
    pub cap_drop: Option<Vec<String>>,
    pub cgroupns_mode: String,
    pub dns: Vec<String>,
    pub dns_options: Vec<String>,
    pub dns_search: Vec<String>,
    pub extra_hosts: Option<Vec<String>>,
    pub group_add: Option<Vec<String>>,
    pub ipc_mode: String,
    pub cgroup: String,
    pub links: Option<Vec<String>>,
    pub oom_score_adj: i32,
    pub pid_mode: String,
    pub privileged: bool,
    pub publish_all_ports: bool,
    pub readonly_rootfs: bool,
    pub security_opt: Option<Vec<String>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tmpfs: BTreeMap<String, String>,
    #[serde(rename = "UTSMode")]
    pub uts_mode: String,
    pub userns_mode: String,
    pub shm_size: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    pub runtime: String,
    pub isolation: String,
    pub cpu_shares: u64,
    pub memory: u64,
    pub nano_cpus: u64,
    pub cgroup_parent: String,
    pub blkio_weight: u16,
    pub blkio_weight_device: Vec<Value>,
    pub blkio_device_read_bps: Vec<Rate>,
    pub blkio_device_write_bps: Vec<Rate>,
    #[serde(rename = "BlkioDeviceReadIOps")]
    pub blkio_device_read_iops: Vec<Rate>,
    #[serde(rename = "BlkioDeviceWriteIOps")]
    pub blkio_device_write_iops: Vec<Rate>,
    pub cpu_period: u64,
    pub cpu_quota: i64,
    pub cpu_realtime_period: u64,
    pub cpu_realtime_runtime: i64,
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
    pub devices: Vec<Device>,
    pub device_cgroup_rules: Option<Vec<String>>,
    pub device_requests: Option<Vec<Value>>,
    pub memory_reservation: u64,
    pub memory_swap: i64,
    pub memory_swappiness: Option<i64>,
    pub oom_kill_disable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
    pub pids_limit: Option<i64>,
    pub ulimits: Vec<UlimitShape>,
    pub cpu_count: u64,
    pub cpu_percent: u64,
    #[serde(rename = "IOMaximumIOps")]
    pub io_maximum_iops: u64,
    #[serde(rename = "IOMaximumBandwidth")]
    pub io_maximum_bandwidth: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Value>,
    pub masked_paths: Vec<String>,
    pub readonly_paths: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LogConfig {
    #[serde(rename = "Type")]
    pub kind: String,
    pub config: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostPort {
    #[serde(rename = "HostIp")]
    pub host_ip: String,
    #[serde(rename = "HostPort")]
    pub host_port: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RestartPolicyShape {
    pub name: String,
    pub maximum_retry_count: u32,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Rate {
    pub path: String,
    pub rate: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Device {
    pub path_on_host: String,
    pub path_in_container: String,
    pub cgroup_permissions: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UlimitShape {
    pub name: String,
    pub hard: i64,
    pub soft: i64,
}

/// The engine's view of a container in docker's words.
pub fn to_wire(spec: &ContainerSpec) -> HostConfig {
    let res = &spec.resources;
    let rates = |pairs: &[(String, u64)]| {
        pairs.iter().map(|(path, rate)| Rate { path: path.clone(), rate: *rate }).collect::<Vec<_>>()
    };
    let paths = |given: &Option<Vec<String>>, standard: &[&str]| match given {
        Some(paths) => paths.clone(),
        None if spec.privileged => Vec::new(),
        None => standard.iter().map(|path| (*path).to_owned()).collect(),
    };
    let binds: Vec<_> = spec.mounts.iter().filter_map(bind).collect();
    HostConfig {
        binds: some(binds),
        log_config: LogConfig { kind: spec.log.driver.clone(), config: spec.log.options.clone() },
        network_mode: spec.network_mode.clone().unwrap_or_else(|| "default".to_owned()),
        port_bindings: port_bindings(&spec.ports),
        restart_policy: restart(spec.restart),
        auto_remove: spec.auto_remove,
        volumes_from: some(spec.volumes_from.clone()),
        annotations: (!spec.annotations.is_empty()).then(|| spec.annotations.clone()),
        cap_add: some(spec.cap_add.clone()),
        cap_drop: some(spec.cap_drop.clone()),
        cgroupns_mode: spec.cgroupns_mode.clone().unwrap_or_else(|| "private".to_owned()),
        dns: spec.dns.clone(),
        dns_options: spec.dns_options.clone(),
        dns_search: spec.dns_search.clone(),
        extra_hosts: some(spec.extra_hosts.clone()),
        group_add: some(spec.group_add.clone()),
        ipc_mode: spec.ipc_mode.clone().unwrap_or_else(|| "private".to_owned()),
        oom_score_adj: spec.oom_score_adj.unwrap_or(0),
        pid_mode: spec.pid_mode.clone().unwrap_or_default(),
        privileged: spec.privileged,
        publish_all_ports: spec.publish_all,
        readonly_rootfs: spec.read_only_rootfs,
        security_opt: some(spec.security_opts.clone()),
        tmpfs: spec.mounts.iter().filter_map(tmpfs).collect(),
        uts_mode: spec.uts_mode.clone().unwrap_or_default(),
        userns_mode: spec.userns_mode.clone().unwrap_or_default(),
        shm_size: spec.shm_size_bytes.unwrap_or(64 << 20),
        sysctls: spec.sysctls.clone(),
        runtime: "orlop".to_owned(),
        cpu_shares: res.cpu_shares.unwrap_or(0),
        memory: res.memory_bytes.unwrap_or(0),
        nano_cpus: res.nano_cpus.unwrap_or(0),
        cgroup_parent: spec.cgroup_parent.clone().unwrap_or_default(),
        blkio_weight: res.blkio_weight.unwrap_or(0),
        blkio_device_read_bps: rates(&res.device_read_bps),
        blkio_device_write_bps: rates(&res.device_write_bps),
        blkio_device_read_iops: rates(&res.device_read_iops),
        blkio_device_write_iops: rates(&res.device_write_iops),
        cpu_period: res.cpu_period_us.unwrap_or(0),
        cpu_quota: res.cpu_quota_us.unwrap_or(0),
        cpu_realtime_period: res.cpu_rt_period_us.unwrap_or(0),
        cpu_realtime_runtime: res.cpu_rt_runtime_us.unwrap_or(0),
        cpuset_cpus: res.cpuset_cpus.clone().unwrap_or_default(),
        cpuset_mems: res.cpuset_mems.clone().unwrap_or_default(),
        devices: res.devices.iter().map(|text| device(text)).collect(),
        device_cgroup_rules: some(res.device_cgroup_rules.clone()),
        memory_reservation: res.memory_reservation_bytes.unwrap_or(0),
        // Docker's default: as much swap again as memory.
        memory_swap: res.memory_swap_bytes.unwrap_or_else(|| res.memory_bytes.map_or(0, |bytes| bytes as i64 * 2)),
        memory_swappiness: res.memory_swappiness.map(i64::from),
        oom_kill_disable: res.oom_kill_disable,
        init: spec.init.then_some(true),
        pids_limit: res.pids_limit,
        ulimits: spec
            .ulimits
            .iter()
            .map(|limit| UlimitShape { name: limit.name.clone(), hard: limit.hard, soft: limit.soft })
            .collect(),
        mounts: spec.mounts.iter().filter_map(mount).collect(),
        masked_paths: paths(&spec.masked_paths, &spec::MASKED_PATHS),
        readonly_paths: paths(&spec.readonly_paths, &spec::READONLY_PATHS),
        ..HostConfig::default()
    }
}

fn some(list: Vec<String>) -> Option<Vec<String>> {
    (!list.is_empty()).then_some(list)
}

/// Published ports by container port.
pub fn port_bindings(ports: &[PortBinding]) -> BTreeMap<String, Vec<HostPort>> {
    let mut found: BTreeMap<String, Vec<HostPort>> = BTreeMap::new();
    for port in ports {
        let host_port = port.host_port.map(|port| port.to_string()).unwrap_or_default();
        let entry = HostPort { host_ip: port.host_ip.clone().unwrap_or_default(), host_port };
        found.entry(format!("{}/{}", port.container_port, port.protocol)).or_default().push(entry);
    }
    found
}

fn restart(policy: RestartPolicy) -> RestartPolicyShape {
    let (name, maximum_retry_count) = match policy {
        RestartPolicy::No => ("no", 0),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
        RestartPolicy::OnFailure { max_retries } => ("on-failure", max_retries),
    };
    RestartPolicyShape { name: name.to_owned(), maximum_retry_count }
}

/// `source:target[:options]` for what `-v` made; what `--mount` made stands in `Mounts`.
pub fn bind(mount: &MountSpec) -> Option<String> {
    let mut options = Vec::new();
    let source = match &mount.kind {
        MountKind::Bind { source, propagation, create: true, .. } => {
            options.extend(propagation.clone());
            source
        }
        MountKind::Volume { name: Some(name), no_copy, subpath: None, .. } => {
            options.extend(no_copy.then(|| "nocopy".to_owned()));
            name
        }
        _ => return None,
    };
    options.extend(mount.read_only.then(|| "ro".to_owned()));
    let options = if options.is_empty() { String::new() } else { format!(":{}", options.join(",")) };
    Some(format!("{source}:{}{options}", mount.target))
}

/// A tmpfs as `target` and its options.
pub fn tmpfs(mount: &MountSpec) -> Option<(String, String)> {
    let MountKind::Tmpfs { size_bytes, mode, options } = &mount.kind else { return None };
    let mut words = options.clone();
    words.extend(size_bytes.map(|bytes| format!("size={bytes}")));
    words.extend(mode.map(|mode| format!("mode={mode:o}")));
    words.extend(mount.read_only.then(|| "ro".to_owned()));
    Some((mount.target.clone(), words.join(",")))
}

fn mount(mount: &MountSpec) -> Option<Value> {
    let MountKind::Bind { source, propagation, create: false, .. } = &mount.kind else { return None };
    let mut shape = json!({"Type": "bind", "Source": source, "Target": mount.target});
    if mount.read_only {
        shape["ReadOnly"] = json!(true);
    }
    if let Some(propagation) = propagation {
        shape["BindOptions"] = json!({"Propagation": propagation});
    }
    Some(shape)
}

/// `host[:container[:rwm]]`
pub fn device(text: &str) -> Device {
    let mut parts = text.split(':');
    let host = parts.next().unwrap_or("").to_owned();
    let second = parts.next().unwrap_or("");
    let is_permissions = !second.is_empty() && second.chars().all(|c| "rwm".contains(c));
    let inside = if second.is_empty() || is_permissions { host.clone() } else { second.to_owned() };
    let permissions = if is_permissions { second } else { parts.next().unwrap_or("rwm") };
    Device { path_on_host: host, path_in_container: inside, cgroup_permissions: permissions.to_owned() }
}
