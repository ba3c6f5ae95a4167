//! What a container shall be: everything `create` takes. Plain data with serde for records on disk (never the wire: `api` maps names).
//! Sizes are bytes, times are `Duration` or nanoseconds as named; `None` means the engine's default, as docker defines it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Paths that a container cannot read (moby `daemon/pkg/oci/defaults.go`, with the 2025 additions: /proc/interrupts and powercap are side channels).
pub const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths that a container cannot write.
pub const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A container as asked for. Field groups follow docker's create: what runs, how it is kept, what it may touch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// Reference, id or digest as typed.
    pub image: String,
    /// `None`: the image's; `Some(vec![])` with an entrypoint given clears it.
    pub cmd: Option<Vec<String>>,
    /// `None`: the image's; `Some(vec![])`: none at all.
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=value`, or `NAME` alone to remove an image's variable.
    pub env: Vec<String>,
    pub working_dir: Option<String>,
    /// `user[:group]`, names or numbers.
    pub user: Option<String>,
    pub tty: bool,
    pub open_stdin: bool,
    /// Close the container's stdin when the first attached client leaves.
    pub stdin_once: bool,
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub stop_signal: Option<String>,
    pub stop_timeout: Option<Duration>,
    pub health: Option<HealthCheck>,
    pub restart: RestartPolicy,
    pub auto_remove: bool,
    /// Run a tiny init as pid 1 that forwards signals and reaps.
    pub init: bool,

    /// Binds, named and anonymous volumes, tmpfs.
    pub mounts: Vec<MountSpec>,
    /// `container[:ro|rw]`.
    pub volumes_from: Vec<String>,
    /// `none`, `host`, `container:X`, `bridge`/`default`, or a network's name.
    pub network_mode: Option<String>,
    /// `80/tcp`.
    pub exposed_ports: Vec<String>,
    pub ports: Vec<PortBinding>,
    pub publish_all: bool,
    pub dns: Vec<String>,
    pub dns_search: Vec<String>,
    pub dns_options: Vec<String>,
    /// `name:ip`.
    pub extra_hosts: Vec<String>,

    pub resources: Resources,
    pub ulimits: Vec<Ulimit>,
    pub sysctls: BTreeMap<String, String>,
    pub shm_size_bytes: Option<u64>,
    /// -1000..=1000.
    pub oom_score_adj: Option<i32>,

    pub privileged: bool,
    pub read_only_rootfs: bool,
    /// Capability names with or without `CAP_`, or `ALL`.
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    /// `no-new-privileges`, `seccomp=unconfined`, `seccomp=<profile JSON>`, `apparmor=…`, `label=…`.
    pub security_opts: Vec<String>,
    pub group_add: Vec<String>,
    /// `None`: docker's list; `Some(vec![])`: none (as `systempaths=unconfined`).
    pub masked_paths: Option<Vec<String>>,
    pub readonly_paths: Option<Vec<String>>,
    /// `private`, `host`, `container:X`, `shareable`, `none`.
    pub ipc_mode: Option<String>,
    /// `host`, `container:X`.
    pub pid_mode: Option<String>,
    /// `host`.
    pub uts_mode: Option<String>,
    /// `host`, `private`.
    pub cgroupns_mode: Option<String>,
    /// `host`, `auto`.
    pub userns_mode: Option<String>,
    pub cgroup_parent: Option<String>,
    pub log: LogSettings,
}

/// How the log is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogSettings {
    /// `json-file`, `local` and `cri` all mean our own file; `none` keeps nothing.
    pub driver: String,
    /// Docker's `max-size`, `max-file`.
    pub options: BTreeMap<String, String>,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { driver: "cri".to_owned(), options: BTreeMap::new() }
    }
}

/// Limits, all optional. Docker's `Resources`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    pub memory_bytes: Option<u64>,
    /// Memory plus swap; -1 unlimited.
    pub memory_swap_bytes: Option<i64>,
    pub memory_reservation_bytes: Option<u64>,
    /// 0..=100.
    pub memory_swappiness: Option<u8>,
    pub oom_kill_disable: bool,
    /// Billionths of a CPU.
    pub nano_cpus: Option<u64>,
    pub cpu_shares: Option<u64>,
    pub cpu_period_us: Option<u64>,
    pub cpu_quota_us: Option<i64>,
    pub cpu_rt_period_us: Option<u64>,
    pub cpu_rt_runtime_us: Option<i64>,
    /// `0-3,5`.
    pub cpuset_cpus: Option<String>,
    pub cpuset_mems: Option<String>,
    /// 0 and -1 unlimited.
    pub pids_limit: Option<i64>,
    /// 10..=1000.
    pub blkio_weight: Option<u16>,
    /// Device path and rate (bytes or operations a second).
    pub device_read_bps: Vec<(String, u64)>,
    pub device_write_bps: Vec<(String, u64)>,
    pub device_read_iops: Vec<(String, u64)>,
    pub device_write_iops: Vec<(String, u64)>,
    /// `host[:container[:rwm]]`.
    pub devices: Vec<String>,
    /// `c 1:3 rwm`.
    pub device_cgroup_rules: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// `nofile`, `nproc`, …
    pub name: String,
    /// -1 unlimited.
    pub soft: i64,
    pub hard: i64,
}

impl Ulimit {
    /// Docker's names: those of setrlimit without `RLIMIT_`.
    pub const NAMES: [&str; 16] = [
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
}

/// When a container that ended is started again by its shim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    #[default]
    No,
    /// After a non-zero exit, at most `max_retries` times (0: no bound).
    OnFailure {
        max_retries: u32,
    },
    Always,
    UnlessStopped,
}

/// A command run inside the container now and then; its exit says whether the container is well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthCheck {
    /// `["NONE"]`, `["CMD", …]`, `["CMD-SHELL", "…"]`; empty inherits the image's.
    pub test: Vec<String>,
    pub interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub start_period: Option<Duration>,
    pub start_interval: Option<Duration>,
    pub retries: Option<u32>,
}

/// Something mounted into a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    pub kind: MountKind,
    /// Absolute path inside the container.
    pub target: String,
    pub read_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A path of the host. `create` makes a missing source directory (docker's `-v`; `--mount` refuses instead).
    Bind {
        source: String,
        propagation: Option<String>,
        create: bool,
        non_recursive: bool,
    },
    /// A volume; `name` `None` is anonymous. `no_copy` skips the copy-up of image content.
    Volume {
        name: Option<String>,
        no_copy: bool,
        subpath: Option<String>,
        labels: BTreeMap<String, String>,
    },
    Tmpfs {
        size_bytes: Option<u64>,
        mode: Option<u32>,
        options: Vec<String>,
    },
}

/// A published port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortBinding {
    pub container_port: u16,
    /// `tcp`, `udp`, `sctp`.
    pub protocol: String,
    pub host_ip: Option<String>,
    /// `None` or 0: any free port.
    pub host_port: Option<u16>,
}
