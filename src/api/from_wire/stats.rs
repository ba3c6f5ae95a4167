//! One object of `GET /containers/{id}/stats`.

use std::time::SystemTime;

use serde_json::Value;

use crate::api::read::Read;
use crate::engine::StatsSample;

/// `id` stands in where the daemon leaves it out. A stopped container's object has no time of reading.
pub fn sample(doc: &Value, id: &str, now: SystemTime) -> StatsSample {
    let (cpu, memory) = (doc.at("cpu_stats"), doc.at("memory_stats"));
    let (usage, throttling) = (cpu.at("cpu_usage"), cpu.at("throttling_data"));
    let pids = doc.at("pids_stats");
    let net = |key: &str| doc.at("networks").as_object().into_iter().flatten().map(|(_, link)| link.count(key)).sum();
    let read_at = doc.time("read");
    let n_pids = pids.count("current");
    let running = n_pids > 0 || usage.count("total_usage") > 0;
    let cache = cache(memory.at("stats"));
    StatsSample {
        id: doc.some_text("id").or_else(|| doc.some_text("Id")).unwrap_or_else(|| id.to_owned()),
        name: doc.some_text("name").unwrap_or_else(|| doc.text("Name")).trim_start_matches('/').to_owned(),
        read_at: read_at.unwrap_or(now),
        running,
        cpu_total_ns: usage.count("total_usage"),
        cpu_user_ns: usage.count("usage_in_usermode"),
        cpu_system_ns: usage.count("usage_in_kernelmode"),
        host_cpu_total_ns: cpu.count("system_cpu_usage"),
        n_cpus_online: n_cpus(cpu),
        throttled_periods: throttling.count("throttled_periods"),
        throttled_ns: throttling.count("throttled_time"),
        mem_used_bytes: memory.count("usage").saturating_sub(cache),
        mem_cache_bytes: cache,
        mem_limit_bytes: memory.count("limit"),
        mem_max_bytes: None,
        n_pids,
        pids_limit: pids.at("limit").as_u64().filter(|limit| *limit != 0 && *limit != u64::MAX),
        net_rx_bytes: net("rx_bytes"),
        net_tx_bytes: net("tx_bytes"),
        blk_read_bytes: block(doc, "read"),
        blk_write_bytes: block(doc, "write"),
        // The API does not tell.
        oom_kills: 0,
        pressure: None,
    }
}

/// Page cache that can be dropped: cgroup v1's name for it, or v2's.
fn cache(stats: &Value) -> u64 {
    if stats.get("total_inactive_file").is_some() {
        stats.count("total_inactive_file")
    } else {
        stats.count("inactive_file")
    }
}

fn n_cpus(cpu: &Value) -> u32 {
    let online = cpu.count("online_cpus");
    let counted =
        cpu.at("cpu_usage").items("percpu_usage").iter().filter(|used| used.as_u64() != Some(0)).count() as u64;
    u32::try_from(if online > 0 { online } else { counted }).unwrap_or(1)
}

fn block(doc: &Value, operation: &str) -> u64 {
    let rows = doc.at("blkio_stats").items("io_service_bytes_recursive");
    rows.iter().filter(|row| row.text("op").eq_ignore_ascii_case(operation)).map(|row| row.count("value")).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sample_is_read_and_a_stopped_one_is_zeros() {
        let doc = json!({
            "read": "2026-11-21T04:45:39.5Z", "name": "/web", "id": "ab", "pids_stats": {"current": 3, "limit": 100},
            "cpu_stats": {"cpu_usage": {"total_usage": 500, "percpu_usage": [1, 2, 0]}, "system_cpu_usage": 9000},
            "memory_stats": {"usage": 1000, "limit": 5000, "stats": {"total_inactive_file": 400, "inactive_file": 1}},
            "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}, "eth1": {"rx_bytes": 10}},
            "blkio_stats": {"io_service_bytes_recursive": [{"op": "Read", "value": 7}, {"op": "write", "value": 8}]}
        });
        let sample = super::sample(&doc, "x", SystemTime::UNIX_EPOCH);
        assert_eq!((sample.name.as_str(), sample.running, sample.n_cpus_online), ("web", true, 2));
        assert_eq!((sample.mem_used_bytes, sample.net_rx_bytes, sample.net_tx_bytes), (600, 11, 2));
        assert_eq!((sample.blk_read_bytes, sample.blk_write_bytes, sample.pids_limit), (7, 8, Some(100)));
        let stopped =
            super::sample(&json!({"read": "0001-01-01T00:00:00Z", "networks": null}), "x", SystemTime::UNIX_EPOCH);
        assert_eq!((stopped.id.as_str(), stopped.running, stopped.mem_used_bytes), ("x", false, 0));
    }
}
