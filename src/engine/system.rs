//! What an engine says of itself and its host.

/// Who and where.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineInfo {
    /// Stable id of the store.
    pub id: String,
    /// `embedded`, `docker`, `podman`.
    pub kind: String,
    /// Host name.
    pub name: String,
    pub version: String,
    pub n_containers: u32,
    pub n_running: u32,
    pub n_paused: u32,
    pub n_stopped: u32,
    pub n_images: u32,
    pub n_cpus: u32,
    pub mem_total_bytes: u64,
    pub kernel_version: String,
    pub operating_system: String,
    pub os_type: String,
    pub architecture: String,
    pub storage_driver: String,
    pub logging_driver: String,
    /// `cgroupfs`, `systemd`.
    pub cgroup_driver: String,
    /// `1`, `2`, or `1` with hybrid noted in warnings.
    pub cgroup_version: String,
    pub root_dir: String,
    pub default_runtime: String,
    pub runtimes: Vec<String>,
    pub security_options: Vec<String>,
    pub warnings: Vec<String>,
}

/// How busy the engine's host is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HostLoad {
    pub n_cpus: u32,
    /// Percent of all CPUs busy since the previous call; zero at the first.
    pub cpu_percent: f32,
    pub mem_used_bytes: u64,
    pub mem_total_bytes: u64,
    /// `None` where the kernel does not tell.
    pub pressure: Option<super::stats::Pressure>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineVersion {
    pub version: String,
    pub api_version: String,
    pub min_api_version: String,
    pub os: String,
    pub arch: String,
    pub kernel_version: String,
    pub git_commit: String,
    pub build_time: String,
    /// Named parts with their versions.
    pub components: Vec<(String, String)>,
}

/// Disk use with what could be freed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DiskUsage {
    pub images: Usage,
    pub containers: Usage,
    pub volumes: Usage,
    pub logs: Usage,
    pub build_cache: Usage,
}

/// Disk use thing by thing: rows of the lists with all their sizes.
#[derive(Clone, Debug, Default)]
pub struct DiskDetails {
    pub images: Vec<super::ImageSummary>,
    pub containers: Vec<super::ContainerSummary>,
    pub volumes: Vec<super::Volume>,
    pub build_cache_bytes: u64,
}

impl DiskDetails {
    /// Says of each volume which of the containers have it.
    #[must_use]
    pub fn with_users(mut self) -> Self {
        for volume in &mut self.volumes {
            let has = |ctr: &&super::ContainerSummary| {
                ctr.mounts.iter().any(|mount| mount.name.as_deref() == Some(&volume.name))
            };
            volume.used_by = Some(self.containers.iter().filter(has).map(|ctr| ctr.id.clone()).collect());
        }
        self
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub n_total: u64,
    pub n_active: u64,
    pub size_bytes: u64,
    pub reclaimable_bytes: u64,
}

/// How closely a store is looked at, and whether what is found is put right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckStore {
    /// Read and hash everything, not only what names and sizes say.
    pub thorough: bool,
    pub repair: bool,
}

/// What a check of the store found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    pub n_images: u64,
    pub n_layers: u64,
    pub n_blobs: u64,
    /// Blobs on their way in, which a pull goes on with.
    pub n_partials: u64,
    pub n_containers: u64,
    pub n_volumes: u64,
    pub problems: Vec<CheckProblem>,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckProblem {
    /// The image, blob, layer or path.
    pub subject: String,
    /// One sentence.
    pub message: String,
    pub is_repaired: bool,
}
