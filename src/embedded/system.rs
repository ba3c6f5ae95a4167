//! What the engine says of itself and its host: the `System` trait.

use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::engine::RegistryAuth;
use crate::engine::container::Status;
use crate::engine::system::Usage;
use crate::engine::{
    BoxStream, CheckReport, CheckStore, DiskUsage, EngineInfo, EngineVersion, Event, EventsQuery, HostLoad, Result,
    System,
};

use super::view::text;
use super::{Core, Embedded, events, host};

/// The newest Docker API whose whole vocabulary the traits speak.
const API_VERSION: &str = "1.47";
const MIN_API_VERSION: &str = "1.24";

impl Core {
    fn info(&self) -> Result<EngineInfo> {
        let views = self.views()?;
        let count = |test: &dyn Fn(Status) -> bool| views.iter().filter(|view| test(view.status())).count() as u32;
        let memory = host::memory();
        let (cgroup_version, mut warnings) = cgroup_version();
        if !nix::unistd::geteuid().is_root() {
            warnings.push("orlop does not run as root: containers cannot be started".to_owned());
        }
        Ok(EngineInfo {
            id: self.store_tag(),
            kind: "embedded".to_owned(),
            name: host::host_name(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            n_containers: views.len() as u32,
            n_running: count(&|status| matches!(status, Status::Running | Status::Restarting)),
            n_paused: count(&|status| status == Status::Paused),
            n_stopped: count(&|status| {
                matches!(status, Status::Created | Status::Exited | Status::Dead | Status::Removing)
            }),
            n_images: self.store.images()?.len() as u32,
            n_cpus: self.host.n_cpus,
            mem_total_bytes: memory.total_bytes,
            kernel_version: host::kernel_version(),
            operating_system: host::operating_system(),
            os_type: "linux".to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            storage_driver: "overlay".to_owned(),
            logging_driver: "cri".to_owned(),
            cgroup_driver: "cgroupfs".to_owned(),
            cgroup_version,
            root_dir: text(self.store.root()),
            default_runtime: "orlop".to_owned(),
            runtimes: vec!["orlop".to_owned()],
            security_options: vec!["name=seccomp,profile=builtin".to_owned(), "name=cgroupns".to_owned()],
            warnings,
        })
    }

    fn host_load(&self) -> HostLoad {
        let memory = host::memory();
        HostLoad {
            n_cpus: self.host.n_cpus,
            cpu_percent: self.load.percent(),
            mem_used_bytes: memory.total_bytes.saturating_sub(memory.available_bytes),
            mem_total_bytes: memory.total_bytes,
            pressure: host::pressure(),
        }
    }

    fn version(&self) -> EngineVersion {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        EngineVersion {
            api_version: API_VERSION.to_owned(),
            min_api_version: MIN_API_VERSION.to_owned(),
            os: "linux".to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            kernel_version: host::kernel_version(),
            git_commit: option_env!("ORLOP_GIT_COMMIT").unwrap_or_default().to_owned(),
            build_time: option_env!("ORLOP_BUILD_TIME").unwrap_or_default().to_owned(),
            components: vec![("Engine".to_owned(), version.clone()), ("orlop-runtime".to_owned(), version.clone())],
            version,
        }
    }

    fn disk_usage(&self) -> Result<DiskUsage> {
        let views = self.views()?;
        let (mut containers, mut logs) = (Usage::default(), Usage::default());
        for view in &views {
            let n_bytes = self.store.writable_bytes(&view.id).unwrap_or(0);
            add(&mut containers, n_bytes, view.is_up());
            add(&mut logs, log_bytes(&self.log_dir(&view.id)), view.is_up());
        }
        let used: Vec<&str> = views.iter().map(|view| view.record.image_id.as_str()).collect();
        let disk = self.store.disk_use()?;
        let mut images = Usage {
            n_total: disk.n_images as u64,
            size_bytes: disk.layers_bytes + disk.blobs_bytes,
            ..Usage::default()
        };
        let shared = self.store.shared_bytes()?;
        for image in self.store.images()? {
            if used.contains(&image.id.as_str()) {
                images.n_active += 1;
            } else {
                images.reclaimable_bytes +=
                    image.size_bytes().saturating_sub(shared.get(&image.id).copied().unwrap_or(0));
            }
        }
        let mut volumes = Usage::default();
        for volume in self.store.volumes().list()? {
            let n_bytes = self.store.volumes().size_bytes(&volume.name).unwrap_or(0);
            let is_used = views.iter().any(|view| view.record.volumes().any(|(name, _)| name == volume.name));
            add(&mut volumes, n_bytes, is_used);
        }
        Ok(DiskUsage { images, containers, volumes, logs, build_cache: Usage::default() })
    }
}

fn add(usage: &mut Usage, n_bytes: u64, is_active: bool) {
    usage.n_total += 1;
    usage.size_bytes += n_bytes;
    if is_active {
        usage.n_active += 1;
    } else {
        usage.reclaimable_bytes += n_bytes;
    }
}

fn log_bytes(dir: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
}

/// `2` where everything is unified, else `1`, with a word on a hybrid host.
fn cgroup_version() -> (String, Vec<String>) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let has =
        |kind: &str| mounts.lines().any(|line| line.split(" - ").nth(1).is_some_and(|tail| tail.starts_with(kind)));
    match (has("cgroup "), has("cgroup2 ")) {
        (true, true) => ("1".to_owned(), vec!["cgroups are hybrid: each controller is used where it is".to_owned()]),
        (true, false) => ("1".to_owned(), Vec::new()),
        _ => ("2".to_owned(), Vec::new()),
    }
}

#[async_trait]
impl System for Embedded {
    async fn info(&self) -> Result<EngineInfo> {
        self.blocking(|core| core.info()).await
    }

    async fn version(&self) -> Result<EngineVersion> {
        Ok(self.core.version())
    }

    async fn ping(&self) -> Result<Duration> {
        let asked = Instant::now();
        self.blocking(move |core| {
            let root = core.store.root();
            std::fs::metadata(root).map_err(|failed| super::error::io("look at the store", root, &failed))?;
            Ok(asked.elapsed())
        })
        .await
    }

    async fn events(&self, query: &EventsQuery) -> Result<BoxStream<Event>> {
        events::stream(&self.core.store.events(), query)
    }

    async fn host_load(&self) -> Result<HostLoad> {
        self.blocking(|core| Ok(core.host_load())).await
    }

    async fn disk_usage(&self) -> Result<DiskUsage> {
        self.blocking(|core| core.disk_usage()).await
    }

    async fn login(&self, auth: &RegistryAuth) -> Result<Option<String>> {
        Ok(self.core.registries().login(auth).await?)
    }

    async fn check(&self, options: &CheckStore) -> Result<CheckReport> {
        let options = *options;
        self.blocking(move |core| Ok(core.store.check(&options)?)).await
    }
}
