//! `GET /containers/{id}/json`: everything about one container.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::host_config::{self, HostConfig, HostPort};
use super::{status, time};
use crate::engine::container::{ContainerDetail, HealthStatus, MountPoint, State, Status};
use crate::engine::spec::{ContainerSpec, HealthCheck, MountKind};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerInspect {
    pub id: String,
    pub created: String,
    pub path: String,
    pub args: Vec<String>,
    pub state: StateShape,
    pub image: String,
    pub resolv_conf_path: String,
    pub hostname_path: String,
    pub hosts_path: String,
    pub log_path: String,
    pub name: String,
    pub restart_count: u32,
    pub driver: String,
    pub platform: String,
    pub mount_label: String,
    pub process_label: String,
    pub app_armor_profile: String,
    #[serde(rename = "ExecIDs")]
    pub exec_ids: Option<Vec<String>>,
    pub host_config: HostConfig,
    pub graph_driver: GraphDriver,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<u64>,
    pub mounts: Vec<MountShape>,
    pub config: Config,
    pub network_settings: NetworkSettings,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct StateShape {
    pub status: String,
    pub running: bool,
    pub paused: bool,
    pub restarting: bool,
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    pub dead: bool,
    pub pid: u32,
    pub exit_code: i32,
    pub error: String,
    pub started_at: String,
    pub finished_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthShape>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthShape {
    pub status: String,
    pub failing_streak: u32,
    pub log: Vec<ProbeShape>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ProbeShape {
    pub start: String,
    pub end: String,
    pub exit_code: i32,
    pub output: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GraphDriver {
    pub data: BTreeMap<String, String>,
    pub name: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MountShape {
    #[serde(rename = "Type")]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub source: String,
    pub destination: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub driver: String,
    pub mode: String,
    #[serde(rename = "RW")]
    pub rw: bool,
    pub propagation: String,
}

/// What runs: `Config` of containers and images.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    pub hostname: String,
    pub domainname: String,
    pub user: String,
    pub attach_stdin: bool,
    pub attach_stdout: bool,
    pub attach_stderr: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<BTreeMap<String, Map<String, Value>>>,
    pub tty: bool,
    pub open_stdin: bool,
    pub stdin_once: bool,
    pub env: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Value>,
    pub image: String,
    pub volumes: Option<BTreeMap<String, Map<String, Value>>>,
    pub working_dir: String,
    pub entrypoint: Option<Vec<String>>,
    pub on_build: Option<Vec<String>>,
    pub labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkSettings {
    #[serde(rename = "Bridge")]
    pub bridge: String,
    #[serde(rename = "SandboxID")]
    pub sandbox_id: String,
    #[serde(rename = "SandboxKey")]
    pub sandbox_key: String,
    #[serde(rename = "Ports")]
    pub ports: BTreeMap<String, Option<Vec<HostPort>>>,
    #[serde(rename = "HairpinMode")]
    pub hairpin_mode: bool,
    #[serde(rename = "LinkLocalIPv6Address")]
    pub link_local_ipv6_address: String,
    #[serde(rename = "LinkLocalIPv6PrefixLen")]
    pub link_local_ipv6_prefix_len: u8,
    #[serde(rename = "SecondaryIPAddresses")]
    pub secondary_ip_addresses: Option<Vec<Value>>,
    #[serde(rename = "SecondaryIPv6Addresses")]
    pub secondary_ipv6_addresses: Option<Vec<Value>>,
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    #[serde(rename = "Gateway")]
    pub gateway: String,
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: u8,
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    #[serde(rename = "MacAddress")]
    pub mac_address: String,
    #[serde(rename = "Networks")]
    pub networks: BTreeMap<String, Value>,
}

/// Whether sizes are shown: `inspect -s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    Hidden,
    Shown,
}

/// The inspect answer as JSON; a daemon's own JSON is passed on as it came.
pub fn to_json(detail: &ContainerDetail, sizes: Sizes) -> Value {
    if let Some(raw) = detail.raw.as_ref().and_then(|raw| serde_json::from_str(raw.get()).ok()) {
        return raw;
    }
    serde_json::to_value(to_wire(detail, sizes)).unwrap_or_default()
}

pub fn to_wire(detail: &ContainerDetail, sizes: Sizes) -> ContainerInspect {
    let shown = |bytes: Option<u64>| bytes.filter(|_| sizes == Sizes::Shown);
    ContainerInspect {
        id: detail.id.clone(),
        created: time::or_never(detail.created),
        path: detail.path.clone(),
        args: detail.args.clone(),
        state: state(detail),
        image: detail.image_id.clone(),
        resolv_conf_path: detail.resolv_conf_path.clone(),
        hostname_path: detail.hostname_path.clone(),
        hosts_path: detail.hosts_path.clone(),
        log_path: detail.log_path.clone(),
        name: format!("/{}", detail.name),
        restart_count: detail.state.restart_count,
        driver: detail.driver.clone(),
        platform: "linux".to_owned(),
        exec_ids: (!detail.exec_ids.is_empty()).then(|| detail.exec_ids.clone()),
        host_config: host_config::to_wire(&detail.spec),
        graph_driver: GraphDriver { data: detail.graph.clone(), name: detail.driver.clone() },
        size_rw: shown(detail.size_rw_bytes),
        size_root_fs: shown(detail.size_root_fs_bytes),
        mounts: detail.mounts.iter().map(mount).collect(),
        config: config(&detail.spec),
        network_settings: network_settings(&detail.spec, &detail.state),
        ..ContainerInspect::default()
    }
}

fn state(detail: &ContainerDetail) -> StateShape {
    let state = &detail.state;
    let exit = state.exit.clone().unwrap_or_default();
    let has_health = state.health.status != HealthStatus::None;
    let probe = |probe: &crate::engine::container::HealthProbe| ProbeShape {
        start: time::to_wire(probe.start),
        end: time::to_wire(probe.end),
        exit_code: probe.exit_code,
        output: probe.output.clone(),
    };
    let health = || HealthShape {
        status: status::health(state.health.status).to_owned(),
        failing_streak: state.health.failing_streak,
        log: state.health.log.iter().map(probe).collect(),
    };
    StateShape {
        status: state.status.as_str().to_owned(),
        running: matches!(state.status, Status::Running | Status::Paused | Status::Restarting),
        paused: state.status == Status::Paused,
        restarting: state.status == Status::Restarting,
        oom_killed: exit.oom_killed,
        dead: state.status == Status::Dead,
        pid: state.pid.unwrap_or(0),
        exit_code: if state.status.is_alive() { 0 } else { exit.code },
        error: if state.error.is_empty() { exit.error.unwrap_or_default() } else { state.error.clone() },
        started_at: time::or_never(state.started_at),
        finished_at: time::or_never(state.finished_at),
        health: has_health.then(health),
    }
}

fn mount(mount: &MountPoint) -> MountShape {
    MountShape {
        kind: mount.kind.clone(),
        name: mount.name.clone(),
        source: mount.source.clone(),
        destination: mount.destination.clone(),
        driver: mount.driver.clone(),
        mode: mount.mode.clone(),
        rw: mount.read_write,
        propagation: mount.propagation.clone(),
    }
}

fn config(spec: &ContainerSpec) -> Config {
    let anonymous = |mount: &crate::engine::MountSpec| {
        matches!(mount.kind, MountKind::Volume { name: None, .. }).then(|| (mount.target.clone(), Map::new()))
    };
    let volumes: BTreeMap<_, _> = spec.mounts.iter().filter_map(anonymous).collect();
    Config {
        hostname: spec.hostname.clone().unwrap_or_default(),
        domainname: spec.domainname.clone().unwrap_or_default(),
        user: spec.user.clone().unwrap_or_default(),
        exposed_ports: keys(&spec.exposed_ports),
        tty: spec.tty,
        open_stdin: spec.open_stdin,
        stdin_once: spec.stdin_once,
        env: Some(spec.env.clone()),
        cmd: spec.cmd.clone().filter(|cmd| !cmd.is_empty()),
        healthcheck: spec.health.as_ref().map(health_check),
        image: spec.image.clone(),
        volumes: (!volumes.is_empty()).then_some(volumes),
        working_dir: spec.working_dir.clone().unwrap_or_default(),
        entrypoint: spec.entrypoint.clone(),
        labels: Some(spec.labels.clone()),
        stop_signal: spec.stop_signal.clone(),
        stop_timeout: spec.stop_timeout.map(|span| i64::try_from(span.as_secs()).unwrap_or(-1)),
        ..Config::default()
    }
}

/// `{"80/tcp": {}}`
pub fn keys(names: &[String]) -> Option<BTreeMap<String, Map<String, Value>>> {
    (!names.is_empty()).then(|| names.iter().map(|name| (name.clone(), Map::new())).collect())
}

/// Durations are nanoseconds on the wire.
pub fn health_check(check: &HealthCheck) -> Value {
    let mut shape = json!({ "Test": check.test });
    let spans = [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ];
    for (name, span) in spans {
        if let Some(span) = span {
            shape[name] = json!(span.as_nanos() as u64);
        }
    }
    if let Some(retries) = check.retries {
        shape["Retries"] = json!(retries);
    }
    shape
}

fn network_settings(spec: &ContainerSpec, state: &State) -> NetworkSettings {
    let mode = match spec.network_mode.as_deref() {
        None | Some("default") => "bridge",
        Some(mode) => mode,
    };
    let endpoint = json!({
        "IPAMConfig": null, "Links": null, "Aliases": null, "MacAddress": "", "DriverOpts": null, "NetworkID": "",
        "EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "",
        "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "DNSNames": null
    });
    let is_named = !mode.starts_with("container:");
    let published = host_config::port_bindings(&spec.ports);
    let ports = if state.status.is_alive() {
        published.into_iter().map(|(port, on)| (port, Some(on))).collect()
    } else {
        BTreeMap::new()
    };
    NetworkSettings {
        ports,
        networks: is_named.then(|| (mode.to_owned(), endpoint)).into_iter().collect(),
        ..NetworkSettings::default()
    }
}
