//! What a daemon says of itself: info, version, disk use.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::api::compat::Family;
use crate::api::read::Read;
use crate::engine::system::{DiskUsage, EngineInfo, EngineVersion, Usage};

/// `GET /info`.
pub fn info(doc: &Value, family: Family) -> EngineInfo {
    let count = |key| u32::try_from(doc.count(key)).unwrap_or(0);
    EngineInfo {
        id: doc.text("ID"),
        kind: family.as_str().to_owned(),
        name: doc.text("Name"),
        version: doc.text("ServerVersion"),
        n_containers: count("Containers"),
        n_running: count("ContainersRunning"),
        n_paused: count("ContainersPaused"),
        n_stopped: count("ContainersStopped"),
        n_images: count("Images"),
        n_cpus: count("NCPU"),
        mem_total_bytes: doc.count("MemTotal"),
        kernel_version: doc.text("KernelVersion"),
        operating_system: doc.text("OperatingSystem"),
        os_type: doc.text("OSType"),
        architecture: doc.text("Architecture"),
        storage_driver: doc.text("Driver"),
        logging_driver: doc.text("LoggingDriver"),
        cgroup_driver: doc.text("CgroupDriver"),
        cgroup_version: doc.some_text("CgroupVersion").unwrap_or_else(|| "1".to_owned()),
        root_dir: doc.text("DockerRootDir"),
        default_runtime: doc.text("DefaultRuntime"),
        runtimes: doc.keys("Runtimes"),
        security_options: doc.texts("SecurityOptions"),
        warnings: doc.texts("Warnings"),
    }
}

/// `GET /version`.
pub fn version(doc: &Value) -> EngineVersion {
    let component = |part: &Value| (part.text("Name"), part.text("Version"));
    EngineVersion {
        version: doc.text("Version"),
        api_version: doc.text("ApiVersion"),
        min_api_version: doc.text("MinAPIVersion"),
        os: doc.text("Os"),
        arch: doc.text("Arch"),
        kernel_version: doc.text("KernelVersion"),
        git_commit: doc.text("GitCommit"),
        build_time: doc.text("BuildTime"),
        components: doc.items("Components").iter().map(component).collect(),
    }
}

/// `GET /system/df`, summed up as docker's command line does. Logs are not told.
pub fn disk_usage(doc: &Value) -> DiskUsage {
    DiskUsage {
        images: images(doc),
        containers: containers(doc),
        volumes: volumes(doc),
        logs: Usage::default(),
        build_cache: build_cache(doc),
    }
}

fn images(doc: &Value) -> Usage {
    let rows = doc.items("Images");
    let in_use = |row: &&Value| row.int("Containers") != 0;
    let used: u64 =
        rows.iter().filter(in_use).map(|row| row.count("Size").saturating_sub(row.count("SharedSize"))).sum();
    // Podman has no sum: what each has of its own, and once the most that any shares. It is more where several bases are shared.
    let own = |row: &Value| row.count("Size").saturating_sub(row.count("SharedSize"));
    let shared = rows.iter().map(|row| row.count("SharedSize")).max().unwrap_or(0);
    let size_bytes = match doc.count("LayersSize") {
        0 => rows.iter().map(own).sum::<u64>() + shared,
        layers => layers,
    };
    Usage {
        n_total: rows.len() as u64,
        n_active: rows.iter().filter(in_use).count() as u64,
        size_bytes,
        reclaimable_bytes: size_bytes.saturating_sub(used),
    }
}

fn containers(doc: &Value) -> Usage {
    let alive = BTreeSet::from(["running", "paused", "restarting"]);
    sum(doc.items("Containers"), |row| (row.count("SizeRw"), alive.contains(row.text("State").as_str())))
}

fn volumes(doc: &Value) -> Usage {
    sum(doc.items("Volumes"), |row| {
        let usage = row.at("UsageData");
        // -1: not computed.
        (usage.count("Size"), usage.int("RefCount") > 0)
    })
}

fn build_cache(doc: &Value) -> Usage {
    sum(doc.items("BuildCache"), |row| (if row.flag("Shared") { 0 } else { row.count("Size") }, row.flag("InUse")))
}

fn sum(rows: &[Value], size_and_use: impl Fn(&Value) -> (u64, bool)) -> Usage {
    let mut usage = Usage { n_total: rows.len() as u64, ..Usage::default() };
    for row in rows {
        let (size, is_active) = size_and_use(row);
        usage.size_bytes = usage.size_bytes.saturating_add(size);
        match is_active {
            true => usage.n_active += 1,
            false => usage.reclaimable_bytes = usage.reclaimable_bytes.saturating_add(size),
        }
    }
    usage
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn disk_use_is_summed_as_docker_does() {
        let doc = json!({
            "LayersSize": 100,
            "Images": [{"Containers": 1, "Size": 70, "SharedSize": 20}, {"Containers": 0, "Size": 30}],
            "Containers": [{"SizeRw": 5, "State": "running"}, {"SizeRw": 6, "State": "exited"}],
            "Volumes": [{"UsageData": {"Size": 9, "RefCount": 0}}, {"UsageData": {"Size": -1, "RefCount": 2}}, {}],
            "BuildCache": null
        });
        let usage = disk_usage(&doc);
        let row = |usage: Usage| (usage.n_total, usage.n_active, usage.size_bytes, usage.reclaimable_bytes);
        assert_eq!((row(usage.images), row(usage.containers)), ((2, 1, 100, 50), (2, 1, 11, 6)));
        assert_eq!((row(usage.volumes), row(usage.build_cache)), ((3, 1, 9, 9), (0, 0, 0, 0)));
    }
}
