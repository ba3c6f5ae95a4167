//! `Config` and `HostConfig` → what a container shall be: for inspect, and for a server's create.

use std::time::Duration;

use serde_json::Value;

use crate::api::read::Read;
use crate::engine::spec::{
    ContainerSpec, HealthCheck, LogSettings, MountKind, MountSpec, PortBinding, Resources, RestartPolicy, Ulimit,
};

/// Both halves of a container's settings. A null half counts as empty.
pub fn spec(config: &Value, host: &Value) -> ContainerSpec {
    ContainerSpec {
        image: config.text("Image"),
        cmd: config.some_texts("Cmd"),
        entrypoint: config.some_texts("Entrypoint"),
        env: config.texts("Env"),
        working_dir: config.some_text("WorkingDir"),
        user: config.some_text("User"),
        tty: config.flag("Tty"),
        open_stdin: config.flag("OpenStdin"),
        stdin_once: config.flag("StdinOnce"),
        hostname: config.some_text("Hostname"),
        domainname: config.some_text("Domainname"),
        labels: config.pairs("Labels"),
        annotations: host.pairs("Annotations"),
        stop_signal: config.some_text("StopSignal"),
        stop_timeout: config.at("StopTimeout").as_u64().map(Duration::from_secs),
        health: health(config.at("Healthcheck")),
        restart: restart(host.at("RestartPolicy")),
        auto_remove: host.flag("AutoRemove"),
        init: host.flag("Init"),
        mounts: mounts(config, host),
        volumes_from: host.texts("VolumesFrom"),
        network_mode: host.some_text("NetworkMode"),
        exposed_ports: config.keys("ExposedPorts"),
        ports: ports(host.at("PortBindings")),
        publish_all: host.flag("PublishAllPorts"),
        dns: host.texts("Dns"),
        dns_search: host.texts("DnsSearch"),
        dns_options: host.texts("DnsOptions"),
        extra_hosts: host.texts("ExtraHosts"),
        resources: resources(host),
        ulimits: host.items("Ulimits").iter().map(ulimit).collect(),
        sysctls: host.pairs("Sysctls"),
        shm_size_bytes: some_count(host, "ShmSize"),
        oom_score_adj: i32::try_from(host.int("OomScoreAdj")).ok().filter(|score| *score != 0),
        privileged: host.flag("Privileged"),
        read_only_rootfs: host.flag("ReadonlyRootfs"),
        cap_add: host.texts("CapAdd"),
        cap_drop: host.texts("CapDrop"),
        security_opts: host.texts("SecurityOpt"),
        group_add: host.texts("GroupAdd"),
        masked_paths: host.some_texts("MaskedPaths"),
        readonly_paths: host.some_texts("ReadonlyPaths"),
        ipc_mode: host.some_text("IpcMode"),
        pid_mode: host.some_text("PidMode"),
        uts_mode: host.some_text("UTSMode"),
        cgroupns_mode: host.some_text("CgroupnsMode"),
        userns_mode: host.some_text("UsernsMode"),
        cgroup_parent: host.some_text("CgroupParent"),
        log: LogSettings { driver: host.at("LogConfig").text("Type"), options: host.at("LogConfig").pairs("Config") },
    }
}

fn some_count(doc: &Value, key: &str) -> Option<u64> {
    Some(doc.count(key)).filter(|count| *count != 0)
}

fn some_int(doc: &Value, key: &str) -> Option<i64> {
    Some(doc.int(key)).filter(|number| *number != 0)
}

/// `None` when there is none at all.
pub fn health(doc: &Value) -> Option<HealthCheck> {
    let span = |key| some_count(doc, key).map(Duration::from_nanos);
    doc.is_object().then(|| HealthCheck {
        test: doc.texts("Test"),
        interval: span("Interval"),
        timeout: span("Timeout"),
        start_period: span("StartPeriod"),
        start_interval: span("StartInterval"),
        retries: u32::try_from(doc.int("Retries")).ok().filter(|retries| *retries != 0),
    })
}

fn restart(doc: &Value) -> RestartPolicy {
    match doc.text("Name").as_str() {
        "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        "on-failure" => {
            RestartPolicy::OnFailure { max_retries: u32::try_from(doc.int("MaximumRetryCount")).unwrap_or(0) }
        }
        _ => RestartPolicy::No,
    }
}

fn ports(doc: &Value) -> Vec<PortBinding> {
    let mut found = Vec::new();
    for (port, on) in doc.as_object().into_iter().flatten() {
        let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        let Ok(container_port) = number.parse() else { continue };
        for binding in on.as_array().into_iter().flatten() {
            found.push(PortBinding {
                container_port,
                protocol: protocol.to_owned(),
                host_ip: binding.some_text("HostIp"),
                host_port: u16::try_from(binding.int("HostPort")).ok().filter(|port| *port != 0),
            });
        }
    }
    found
}

fn ulimit(doc: &Value) -> Ulimit {
    // Podman writes RLIMIT_NOFILE.
    let name = doc.text("Name").to_ascii_lowercase();
    let name = name.strip_prefix("rlimit_").unwrap_or(&name).to_owned();
    Ulimit { name, soft: doc.int("Soft"), hard: doc.int("Hard") }
}

fn resources(host: &Value) -> Resources {
    let rates = |key| {
        let rate = |row: &Value| (row.text("Path"), row.count("Rate"));
        host.items(key).iter().map(rate).collect()
    };
    Resources {
        memory_bytes: some_count(host, "Memory"),
        memory_swap_bytes: some_int(host, "MemorySwap"),
        memory_reservation_bytes: some_count(host, "MemoryReservation"),
        memory_swappiness: host.at("MemorySwappiness").as_u64().and_then(|share| u8::try_from(share).ok()),
        oom_kill_disable: host.flag("OomKillDisable"),
        nano_cpus: some_count(host, "NanoCpus"),
        cpu_shares: some_count(host, "CpuShares"),
        cpu_period_us: some_count(host, "CpuPeriod"),
        cpu_quota_us: some_int(host, "CpuQuota"),
        cpu_rt_period_us: some_count(host, "CpuRealtimePeriod"),
        cpu_rt_runtime_us: some_int(host, "CpuRealtimeRuntime"),
        cpuset_cpus: host.some_text("CpusetCpus"),
        cpuset_mems: host.some_text("CpusetMems"),
        pids_limit: some_int(host, "PidsLimit"),
        blkio_weight: u16::try_from(host.int("BlkioWeight")).ok().filter(|weight| *weight != 0),
        device_read_bps: rates("BlkioDeviceReadBps"),
        device_write_bps: rates("BlkioDeviceWriteBps"),
        device_read_iops: rates("BlkioDeviceReadIOps"),
        device_write_iops: rates("BlkioDeviceWriteIOps"),
        devices: host.items("Devices").iter().map(device).collect(),
        device_cgroup_rules: host.texts("DeviceCgroupRules"),
    }
}

fn device(doc: &Value) -> String {
    let rights = doc.some_text("CgroupPermissions").unwrap_or_else(|| "rwm".to_owned());
    format!("{}:{}:{rights}", doc.text("PathOnHost"), doc.text("PathInContainer"))
}

fn mounts(config: &Value, host: &Value) -> Vec<MountSpec> {
    let mut found: Vec<_> = host.texts("Binds").iter().filter_map(|text| bind(text)).collect();
    found.extend(host.items("Mounts").iter().filter_map(mount));
    let tmpfs = host.pairs("Tmpfs");
    found.extend(tmpfs.into_iter().map(|(target, options)| tmpfs_mount(target, &options)));
    // Anonymous volumes, unless something else is mounted there.
    let taken: std::collections::BTreeSet<_> = found.iter().map(|mount| mount.target.clone()).collect();
    let anonymous = config.keys("Volumes").into_iter().filter(|target| !taken.contains(target));
    found.extend(anonymous.map(|target| MountSpec { kind: volume(None, false), target, read_only: false }));
    found
}

fn volume(name: Option<String>, no_copy: bool) -> MountKind {
    MountKind::Volume { name, no_copy, subpath: None, labels: std::collections::BTreeMap::new() }
}

/// `source:target[:options]`
fn bind(text: &str) -> Option<MountSpec> {
    let mut parts = text.splitn(3, ':');
    let (source, target) = (parts.next()?, parts.next()?);
    let options: Vec<_> = parts.next().unwrap_or("").split(',').filter(|word| !word.is_empty()).collect();
    let has = |word: &str| options.contains(&word);
    let propagations = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];
    let propagation = options.iter().find(|word| propagations.contains(word)).map(|word| (*word).to_owned());
    let kind = if source.starts_with('/') {
        MountKind::Bind { source: source.to_owned(), propagation, create: true, non_recursive: has("bind") }
    } else {
        volume(Some(source.to_owned()), has("nocopy"))
    };
    Some(MountSpec { kind, target: target.to_owned(), read_only: has("ro") })
}

fn mount(doc: &Value) -> Option<MountSpec> {
    let source = doc.some_text("Source");
    let kind = match doc.text("Type").as_str() {
        "bind" => {
            let options = doc.at("BindOptions");
            MountKind::Bind {
                source: source?,
                propagation: options.some_text("Propagation"),
                create: options.flag("CreateMountpoint"),
                non_recursive: options.flag("NonRecursive"),
            }
        }
        "volume" => {
            let options = doc.at("VolumeOptions");
            MountKind::Volume {
                name: source,
                no_copy: options.flag("NoCopy"),
                subpath: options.some_text("Subpath"),
                labels: options.pairs("Labels"),
            }
        }
        "tmpfs" => {
            let options = doc.at("TmpfsOptions");
            MountKind::Tmpfs {
                size_bytes: some_count(options, "SizeBytes"),
                mode: u32::try_from(options.int("Mode")).ok().filter(|mode| *mode != 0),
                options: Vec::new(),
            }
        }
        // Kinds that this engine's words cannot say are shown by the raw JSON alone.
        _ => return None,
    };
    Some(MountSpec { kind, target: doc.text("Target"), read_only: doc.flag("ReadOnly") })
}

fn tmpfs_mount(target: String, options: &str) -> MountSpec {
    let (mut size_bytes, mut mode, mut read_only, mut rest) = (None, None, false, Vec::new());
    for word in options.split(',').filter(|word| !word.is_empty()) {
        match word.split_once('=') {
            Some(("size", size)) => size_bytes = crate::stdx::human::parse_bytes(size).ok(),
            Some(("mode", octal)) => mode = u32::from_str_radix(octal, 8).ok(),
            _ if word == "ro" => read_only = true,
            _ => rest.push(word.to_owned()),
        }
    }
    MountSpec { kind: MountKind::Tmpfs { size_bytes, mode, options: rest }, target, read_only }
}
