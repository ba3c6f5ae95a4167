//! What a container shall be → the body of `POST /containers/create`, and the bodies of update and exec. Called by clients. Only what was asked
//! for is written: what is left out is the daemon's to choose.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::engine::spec::{ContainerSpec, HealthCheck, MountKind, MountSpec, Resources, RestartPolicy};
use crate::engine::{ExecSpec, UpdateContainer};

use super::host_config;

/// An object under construction that leaves out what is empty.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn put(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        let is_empty = match &value {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(members) => members.is_empty(),
            _ => false,
        };
        if !is_empty {
            self.0.insert(key.to_owned(), value);
        }
    }

    /// Kept even when it is empty: an empty list says something else than none.
    fn put_some(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.0.insert(key.to_owned(), value.into());
        }
    }
}

/// The whole body.
pub fn to_wire(spec: &ContainerSpec) -> Value {
    let mut body = Object::default();
    body.put("Image", spec.image.clone());
    body.put_some("Cmd", spec.cmd.clone());
    body.put_some("Entrypoint", spec.entrypoint.clone().map(cleared));
    body.put("Env", spec.env.clone());
    body.put("WorkingDir", spec.working_dir.clone());
    body.put("User", spec.user.clone());
    body.put("Tty", spec.tty);
    body.put("OpenStdin", spec.open_stdin);
    body.put("StdinOnce", spec.stdin_once);
    body.put("Hostname", spec.hostname.clone());
    body.put("Domainname", spec.domainname.clone());
    body.put("Labels", json!(spec.labels));
    body.put("StopSignal", spec.stop_signal.clone());
    body.put_some("StopTimeout", spec.stop_timeout.map(seconds));
    body.put_some("Healthcheck", spec.health.as_ref().map(health));
    body.put("ExposedPorts", set(&spec.exposed_ports));
    let anonymous = |mount: &&MountSpec| matches!(mount.kind, MountKind::Volume { name: None, .. });
    let anonymous: Vec<_> = spec.mounts.iter().filter(anonymous).map(|mount| mount.target.clone()).collect();
    body.put("Volumes", set(&anonymous));
    body.put("HostConfig", host(spec));
    Value::Object(body.0)
}

/// Docker's way of clearing an image's entrypoint is one empty word.
fn cleared(words: Vec<String>) -> Vec<String> {
    if words.is_empty() { vec![String::new()] } else { words }
}

fn set(names: &[String]) -> Value {
    Value::Object(names.iter().map(|name| (name.clone(), json!({}))).collect())
}

/// Docker's -1 is "never".
pub fn seconds(span: Duration) -> i64 {
    if span == Duration::MAX { -1 } else { i64::try_from(span.as_secs()).unwrap_or(-1) }
}

fn health(check: &HealthCheck) -> Value {
    let nanos = |span: Option<Duration>| span.map(|span| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
    let mut body = Object::default();
    body.put("Test", check.test.clone());
    body.put("Interval", nanos(check.interval));
    body.put("Timeout", nanos(check.timeout));
    body.put("StartPeriod", nanos(check.start_period));
    body.put("StartInterval", nanos(check.start_interval));
    body.put("Retries", check.retries);
    Value::Object(body.0)
}

fn host(spec: &ContainerSpec) -> Value {
    let mut host = resources(&spec.resources);
    let (binds, mounts, tmpfs) = mounts(&spec.mounts);
    host.put("Binds", binds);
    host.put("Mounts", mounts);
    host.put("Tmpfs", tmpfs);
    host.put("VolumesFrom", spec.volumes_from.clone());
    host.put("NetworkMode", spec.network_mode.clone());
    host.put("PortBindings", json!(host_config::port_bindings(&spec.ports)));
    host.put("PublishAllPorts", spec.publish_all);
    host.put("RestartPolicy", restart(spec.restart));
    host.put("AutoRemove", spec.auto_remove);
    host.put("Init", spec.init);
    host.put("Annotations", json!(spec.annotations));
    host.put("Dns", spec.dns.clone());
    host.put("DnsSearch", spec.dns_search.clone());
    host.put("DnsOptions", spec.dns_options.clone());
    host.put("ExtraHosts", spec.extra_hosts.clone());
    let ulimit = |limit: &crate::engine::Ulimit| json!({"Name": limit.name, "Soft": limit.soft, "Hard": limit.hard});
    host.put("Ulimits", spec.ulimits.iter().map(ulimit).collect::<Vec<_>>());
    host.put("Sysctls", json!(spec.sysctls));
    host.put("ShmSize", spec.shm_size_bytes);
    host.put_some("OomScoreAdj", spec.oom_score_adj);
    host.put("Privileged", spec.privileged);
    host.put("ReadonlyRootfs", spec.read_only_rootfs);
    host.put("CapAdd", spec.cap_add.clone());
    host.put("CapDrop", spec.cap_drop.clone());
    host.put("SecurityOpt", spec.security_opts.clone());
    host.put("GroupAdd", spec.group_add.clone());
    host.put_some("MaskedPaths", spec.masked_paths.clone());
    host.put_some("ReadonlyPaths", spec.readonly_paths.clone());
    host.put("IpcMode", spec.ipc_mode.clone());
    host.put("PidMode", spec.pid_mode.clone());
    host.put("UTSMode", spec.uts_mode.clone());
    host.put("CgroupnsMode", spec.cgroupns_mode.clone());
    host.put("UsernsMode", spec.userns_mode.clone());
    host.put("CgroupParent", spec.cgroup_parent.clone());
    host.put("LogConfig", log(spec));
    Value::Object(host.0)
}

/// The house's own driver is the daemon's default one there.
fn log(spec: &ContainerSpec) -> Value {
    let driver = if spec.log.driver == "cri" { "" } else { spec.log.driver.as_str() };
    if driver.is_empty() && spec.log.options.is_empty() {
        return Value::Null;
    }
    json!({"Type": driver, "Config": spec.log.options})
}

fn restart(policy: RestartPolicy) -> Value {
    match policy {
        RestartPolicy::No => Value::Null,
        RestartPolicy::Always => json!({"Name": "always"}),
        RestartPolicy::UnlessStopped => json!({"Name": "unless-stopped"}),
        RestartPolicy::OnFailure { max_retries } => json!({"Name": "on-failure", "MaximumRetryCount": max_retries}),
    }
}

fn resources(res: &Resources) -> Object {
    let rates = |rows: &[(String, u64)]| -> Value {
        rows.iter().map(|(path, rate)| json!({"Path": path, "Rate": rate})).collect()
    };
    let mut host = Object::default();
    host.put("Memory", res.memory_bytes);
    host.put("MemorySwap", res.memory_swap_bytes);
    host.put("MemoryReservation", res.memory_reservation_bytes);
    host.put_some("MemorySwappiness", res.memory_swappiness);
    host.put("OomKillDisable", res.oom_kill_disable);
    host.put("NanoCpus", res.nano_cpus);
    host.put("CpuShares", res.cpu_shares);
    host.put("CpuPeriod", res.cpu_period_us);
    host.put("CpuQuota", res.cpu_quota_us);
    host.put("CpuRealtimePeriod", res.cpu_rt_period_us);
    host.put("CpuRealtimeRuntime", res.cpu_rt_runtime_us);
    host.put("CpusetCpus", res.cpuset_cpus.clone());
    host.put("CpusetMems", res.cpuset_mems.clone());
    host.put_some("PidsLimit", res.pids_limit);
    host.put("BlkioWeight", res.blkio_weight);
    host.put("BlkioDeviceReadBps", rates(&res.device_read_bps));
    host.put("BlkioDeviceWriteBps", rates(&res.device_write_bps));
    host.put("BlkioDeviceReadIOps", rates(&res.device_read_iops));
    host.put("BlkioDeviceWriteIOps", rates(&res.device_write_iops));
    let devices: Vec<_> = res.devices.iter().map(|text| json!(host_config::device(text))).collect();
    host.put("Devices", devices);
    host.put("DeviceCgroupRules", res.device_cgroup_rules.clone());
    host
}

/// `Binds`, `Mounts` and `Tmpfs`. Anonymous volumes stand in `Config.Volumes`.
fn mounts(all: &[MountSpec]) -> (Vec<String>, Vec<Value>, Value) {
    let (mut binds, mut mounts, mut tmpfs) = (Vec::new(), Vec::new(), Map::new());
    for mount in all {
        if let Some(text) = host_config::bind(mount) {
            binds.push(text);
        } else if let Some((target, options)) = host_config::tmpfs(mount) {
            tmpfs.insert(target, options.into());
        } else {
            mounts.extend(long(mount));
        }
    }
    (binds, mounts, Value::Object(tmpfs))
}

fn long(mount: &MountSpec) -> Option<Value> {
    let mut body = Object::default();
    match &mount.kind {
        MountKind::Bind { source, propagation, create, non_recursive } => {
            let mut options = Object::default();
            options.put("Propagation", propagation.clone());
            options.put("NonRecursive", *non_recursive);
            options.put("CreateMountpoint", *create);
            body.put("Type", "bind");
            body.put("Source", source.clone());
            body.put("BindOptions", Value::Object(options.0));
        }
        MountKind::Volume { name: None, labels, .. } if labels.is_empty() => return None,
        MountKind::Volume { name, no_copy, subpath, labels } => {
            let mut options = Object::default();
            options.put("NoCopy", *no_copy);
            options.put("Subpath", subpath.clone());
            options.put("Labels", json!(labels));
            body.put("Type", "volume");
            body.put("Source", name.clone());
            body.put("VolumeOptions", Value::Object(options.0));
        }
        MountKind::Tmpfs { .. } => return None,
    }
    body.put("Target", mount.target.clone());
    body.put("ReadOnly", mount.read_only);
    Some(Value::Object(body.0))
}

/// The body of `POST /containers/{id}/update`.
pub fn update(update: &UpdateContainer) -> Value {
    let mut body = resources(&update.resources);
    if let Some(policy) = update.restart {
        let policy = if policy == RestartPolicy::No { json!({"Name": "no"}) } else { restart(policy) };
        body.put("RestartPolicy", policy);
    }
    Value::Object(body.0)
}

/// The body of `POST /containers/{id}/exec`.
pub fn exec(spec: &ExecSpec) -> Value {
    let mut body = Object::default();
    body.put_some("Cmd", Some(spec.cmd.clone()));
    body.put("User", spec.user.clone());
    body.put("WorkingDir", spec.working_dir.clone());
    body.put("Env", spec.env.clone());
    body.put("Tty", spec.tty);
    body.put("AttachStdin", spec.attach_stdin);
    body.put("AttachStdout", spec.attach_stdout);
    body.put("AttachStderr", spec.attach_stderr);
    body.put("Privileged", spec.privileged);
    body.put_some("DetachKeys", spec.detach_keys.clone());
    Value::Object(body.0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::api::from_wire;
    use crate::engine::spec::PortBinding;

    #[test]
    fn what_is_asked_for_is_what_is_understood() {
        let spec = ContainerSpec {
            image: "busybox".into(),
            cmd: Some(vec!["sh".into()]),
            env: vec!["A=b".into()],
            labels: BTreeMap::from([("k".into(), "v".into())]),
            stop_timeout: Some(Duration::from_secs(3)),
            restart: RestartPolicy::OnFailure { max_retries: 2 },
            health: Some(HealthCheck {
                test: vec!["CMD".into(), "true".into()],
                interval: Some(Duration::from_secs(1)),
                ..HealthCheck::default()
            }),
            mounts: vec![
                MountSpec {
                    kind: MountKind::Bind {
                        source: "/a".into(),
                        propagation: None,
                        create: true,
                        non_recursive: false,
                    },
                    target: "/b".into(),
                    read_only: true,
                },
                MountSpec {
                    kind: MountKind::Bind {
                        source: "/c".into(),
                        propagation: Some("rslave".into()),
                        create: false,
                        non_recursive: false,
                    },
                    target: "/d".into(),
                    read_only: false,
                },
                MountSpec {
                    kind: MountKind::Volume {
                        name: Some("v".into()),
                        no_copy: false,
                        subpath: Some("x".into()),
                        labels: BTreeMap::new(),
                    },
                    target: "/e".into(),
                    read_only: false,
                },
                MountSpec {
                    kind: MountKind::Tmpfs { size_bytes: Some(1 << 20), mode: Some(0o755), options: vec![] },
                    target: "/f".into(),
                    read_only: false,
                },
                MountSpec {
                    kind: MountKind::Volume { name: None, no_copy: false, subpath: None, labels: BTreeMap::new() },
                    target: "/g".into(),
                    read_only: false,
                },
            ],
            ports: vec![PortBinding {
                container_port: 80,
                protocol: "tcp".into(),
                host_ip: None,
                host_port: Some(8080),
            }],
            resources: Resources {
                memory_bytes: Some(64 << 20),
                pids_limit: Some(-1),
                devices: vec!["/dev/null:/dev/x:rw".into()],
                ..Resources::default()
            },
            masked_paths: Some(vec![]),
            ..ContainerSpec::default()
        };
        let wire = to_wire(&spec);
        let read = from_wire::spec::spec(&wire, &wire["HostConfig"]);
        let wanted = ContainerSpec { log: read.log.clone(), ..spec };
        assert_eq!(read, wanted);
    }

    #[test]
    fn what_was_not_asked_for_is_not_said() {
        let wire = to_wire(&ContainerSpec { image: "x".into(), entrypoint: Some(vec![]), ..ContainerSpec::default() });
        assert_eq!(wire, json!({"Image": "x", "Entrypoint": [""]}));
        assert_eq!(update(&UpdateContainer::default()), json!({}));
        assert_eq!(exec(&ExecSpec::default()), json!({"Cmd": []}));
        assert_eq!((seconds(Duration::MAX), seconds(Duration::ZERO)), (-1, 0));
    }
}
