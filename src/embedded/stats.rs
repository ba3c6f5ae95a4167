//! What a container uses, read from its cgroups through descriptors that stay open. Called by `containers`. Understands both hierarchies by
//! what files a directory has, so a hybrid host needs no special case.
//!
//! A screen asks for the same dozen containers once a second: [`Kept`] has their files open from one time to the next, and one thread wakes for all.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::MissedTickBehavior;

use crate::engine::{BoxStream, EngineError, Result, StatsQuery, StatsSample};

use super::Core;
use super::host::{self, CpuTimes};
use super::spec::Mode;
use super::view::View;

const PERIOD: Duration = Duration::from_secs(1);
/// Larger than any of the files that are read.
const MAX_FILE_BYTES: usize = 16 * 1024;
/// What v1 says for "no limit" is the largest multiple of a page; any host has less memory.
const UNLIMITED: u64 = 1 << 62;

/// How a file is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    CpuV2,
    CpuUsageV1,
    CpuTicksV1,
    ThrottleV1,
    MemoryUsage,
    MemoryStat,
    MemoryLimit,
    OomEvents,
    Pids,
    PidsLimit,
    IoV1,
    IoV2,
    CpuPressure,
    MemoryPressure,
    IoPressure,
}

/// Which file of a cgroup directory is what. `cpu.stat` exists in both: the unified one comes with `cgroup.controllers` beside it.
const FILES: [(&str, Kind); 15] = [
    ("cpuacct.usage", Kind::CpuUsageV1),
    ("cpuacct.stat", Kind::CpuTicksV1),
    ("memory.usage_in_bytes", Kind::MemoryUsage),
    ("memory.current", Kind::MemoryUsage),
    ("memory.stat", Kind::MemoryStat),
    ("memory.limit_in_bytes", Kind::MemoryLimit),
    ("memory.max", Kind::MemoryLimit),
    ("memory.oom_control", Kind::OomEvents),
    ("memory.events", Kind::OomEvents),
    ("pids.current", Kind::Pids),
    ("pids.max", Kind::PidsLimit),
    ("blkio.throttle.io_service_bytes_recursive", Kind::IoV1),
    ("io.stat", Kind::IoV2),
    ("cpu.pressure", Kind::CpuPressure),
    ("memory.pressure", Kind::MemoryPressure),
];

/// Open files of one container's cgroups.
#[derive(Debug)]
struct Sampler {
    id: String,
    name: String,
    files: Vec<(Kind, File)>,
    /// Where the counters of its network are; `None` when it has none of its own.
    net_dev: Option<File>,
    mem_total_bytes: u64,
}

impl Sampler {
    /// Opens what there is. A container that does not run has no files and gives zeros.
    fn open(core: &Core, view: &View) -> Self {
        let mut files: Vec<(Kind, File)> = Vec::new();
        for dir in &view.run.cgroups {
            open_dir(dir, &mut files);
        }
        let has_own = Mode::of(view.record.spec.network_mode.as_deref()) == Mode::Private;
        let pid = view.state().pid.filter(|_| has_own);
        let net_dev = pid.and_then(|pid| File::open(format!("/proc/{pid}/net/dev")).ok());
        let (id, name) = (view.record.id.clone(), view.record.name.clone());
        Self { id, name, files, net_dev, mem_total_bytes: core.host.mem_total_bytes }
    }

    /// Reads everything once; `None` when the cgroups have gone.
    fn sample(&self, cpu: CpuTimes, buf: &mut [u8]) -> Option<StatsSample> {
        let mut sample = zeros(&self.id, &self.name, cpu);
        sample.running = true;
        let mut n_read = 0;
        for (kind, file) in &self.files {
            let Ok(n_bytes) = file.read_at(buf, 0) else { continue };
            n_read += 1;
            absorb(*kind, &String::from_utf8_lossy(&buf[..n_bytes]), &mut sample);
        }
        if n_read == 0 {
            return None;
        }
        if let Some(n_bytes) = self.net_dev.as_ref().and_then(|file| file.read_at(buf, 0).ok()) {
            (sample.net_rx_bytes, sample.net_tx_bytes) = net_counters(&String::from_utf8_lossy(&buf[..n_bytes]));
        }
        sample.mem_used_bytes = sample.mem_used_bytes.saturating_sub(sample.mem_cache_bytes);
        sample.mem_limit_bytes = match sample.mem_limit_bytes {
            0 => self.mem_total_bytes,
            limit => limit.min(self.mem_total_bytes),
        };
        Some(sample)
    }
}

/// Descriptors of the containers asked for last, so that the next time only reads.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<HashMap<String, Sampler>>);

/// Each sampler holds up to 17 descriptors, of a limit that is often 1024.
const MAX_KEPT: usize = 40;

/// One sample of each that runs. Blocks on the disk.
pub(crate) fn samples(core: &Arc<Core>, ctrs: &[String]) -> Vec<(String, StatsSample)> {
    let cpu = host::cpu_times();
    let mut buf = vec![0; MAX_FILE_BYTES];
    let mut kept = core.samplers.0.lock().unwrap_or_else(PoisonError::into_inner);
    let mut next = HashMap::new();
    let mut all = Vec::with_capacity(ctrs.len());
    for ctr in ctrs {
        let known = kept.remove(ctr).and_then(|sampler| sampler.sample(cpu, &mut buf).map(|sample| (sampler, sample)));
        // One that was restarted has new cgroups.
        let found = known.or_else(|| {
            let sampler = core.look(ctr).ok().filter(View::is_up).map(|view| Sampler::open(core, &view))?;
            sampler.sample(cpu, &mut buf).map(|sample| (sampler, sample))
        });
        let Some((sampler, sample)) = found else { continue };
        if next.len() < MAX_KEPT {
            next.insert(ctr.clone(), sampler);
        }
        all.push((ctr.clone(), sample));
    }
    *kept = next;
    all
}

fn open_dir(dir: &Path, files: &mut Vec<(Kind, File)>) {
    for (name, kind) in FILES {
        if files.iter().any(|(present, _)| *present == kind) {
            continue;
        }
        files.extend(File::open(dir.join(name)).ok().map(|file| (kind, file)));
    }
    let cpu = if dir.join("cgroup.controllers").exists() { Kind::CpuV2 } else { Kind::ThrottleV1 };
    // A unified hierarchy without the cpu controller has a cpu.stat too: it counts when no other does.
    if cpu == Kind::ThrottleV1 || !files.iter().any(|(kind, _)| *kind == Kind::CpuUsageV1) {
        files.extend(File::open(dir.join("cpu.stat")).ok().map(|file| (cpu, file)));
    }
    files.extend(File::open(dir.join("io.pressure")).ok().map(|file| (Kind::IoPressure, file)));
}

fn zeros(id: &str, name: &str, cpu: CpuTimes) -> StatsSample {
    StatsSample {
        id: id.to_owned(),
        name: name.to_owned(),
        read_at: SystemTime::now(),
        running: false,
        cpu_total_ns: 0,
        cpu_user_ns: 0,
        cpu_system_ns: 0,
        host_cpu_total_ns: cpu.total_ns,
        n_cpus_online: cpu.n_cpus,
        throttled_periods: 0,
        throttled_ns: 0,
        mem_used_bytes: 0,
        mem_cache_bytes: 0,
        mem_limit_bytes: 0,
        mem_max_bytes: None,
        n_pids: 0,
        pids_limit: None,
        net_rx_bytes: 0,
        net_tx_bytes: 0,
        blk_read_bytes: 0,
        blk_write_bytes: 0,
        oom_kills: 0,
        pressure: None,
    }
}

fn absorb(kind: Kind, text: &str, sample: &mut StatsSample) {
    let number = || text.trim().parse::<u64>().ok();
    let field = |name: &str| {
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse::<u64>().ok();
        text.lines().find_map(value)
    };
    match kind {
        Kind::CpuV2 => {
            sample.cpu_total_ns = field("usage_usec").unwrap_or(0) * 1000;
            sample.cpu_user_ns = field("user_usec").unwrap_or(0) * 1000;
            sample.cpu_system_ns = field("system_usec").unwrap_or(0) * 1000;
            sample.throttled_periods = field("nr_throttled").unwrap_or(sample.throttled_periods);
            sample.throttled_ns = field("throttled_usec").map_or(sample.throttled_ns, |us| us * 1000);
        }
        Kind::CpuUsageV1 => sample.cpu_total_ns = number().unwrap_or(0),
        Kind::CpuTicksV1 => {
            sample.cpu_user_ns = field("user").unwrap_or(0) * host::TICK_NS;
            sample.cpu_system_ns = field("system").unwrap_or(0) * host::TICK_NS;
        }
        Kind::ThrottleV1 => {
            sample.throttled_periods = field("nr_throttled").unwrap_or(0);
            sample.throttled_ns = field("throttled_time").unwrap_or(0);
        }
        Kind::MemoryUsage => sample.mem_used_bytes = number().unwrap_or(0),
        // v1's totals are of the whole subtree; v2's always are.
        Kind::MemoryStat => {
            sample.mem_cache_bytes = field("total_inactive_file").or_else(|| field("inactive_file")).unwrap_or(0);
        }
        Kind::MemoryLimit => {
            sample.mem_max_bytes = number().filter(|bytes| *bytes < UNLIMITED);
            sample.mem_limit_bytes = sample.mem_max_bytes.unwrap_or(0);
        }
        Kind::OomEvents => sample.oom_kills = field("oom_kill").unwrap_or(0),
        Kind::Pids => sample.n_pids = number().unwrap_or(0),
        Kind::PidsLimit => sample.pids_limit = number(),
        Kind::IoV1 => {
            let sum = |wanted: &str| io_sum_v1(text, wanted);
            (sample.blk_read_bytes, sample.blk_write_bytes) = (sum("Read"), sum("Write"));
        }
        Kind::IoV2 => {
            let sum = |wanted: &str| io_sum_v2(text, wanted);
            (sample.blk_read_bytes, sample.blk_write_bytes) = (sum("rbytes="), sum("wbytes="));
        }
        Kind::CpuPressure => sample.pressure.get_or_insert_default().cpu_some = some_avg10(text).unwrap_or(0.0),
        Kind::MemoryPressure => sample.pressure.get_or_insert_default().memory_some = some_avg10(text).unwrap_or(0.0),
        Kind::IoPressure => sample.pressure.get_or_insert_default().io_some = some_avg10(text).unwrap_or(0.0),
    }
}

/// `8:0 Read 4096` lines.
fn io_sum_v1(text: &str, wanted: &str) -> u64 {
    let value = |line: &str| {
        let mut words = line.split_whitespace();
        (words.nth(1)? == wanted).then(|| words.next()?.parse::<u64>().ok())?
    };
    text.lines().filter_map(value).sum()
}

/// `8:0 rbytes=4096 wbytes=0 …` lines.
fn io_sum_v2(text: &str, wanted: &str) -> u64 {
    text.split_whitespace().filter_map(|word| word.strip_prefix(wanted)?.parse::<u64>().ok()).sum()
}

/// `some avg10=1.50 avg60=… total=…`.
pub(crate) fn some_avg10(text: &str) -> Option<f32> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    line.split_whitespace().find_map(|word| word.strip_prefix("avg10="))?.parse().ok()
}

/// Bytes received and sent over everything but the loopback.
fn net_counters(text: &str) -> (u64, u64) {
    let interface = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let counters: Vec<u64> = counters.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        (name.trim() != "lo").then_some((*counters.first()?, *counters.get(8)?))
    };
    text.lines().skip(2).filter_map(interface).fold((0, 0), |sum, (rx, tx)| (sum.0 + rx, sum.1 + tx))
}

/// One sample at once, then one a second until the container ends.
pub(crate) fn stream(core: &Arc<Core>, view: &View, query: StatsQuery) -> BoxStream<StatsSample> {
    let is_up = view.is_up();
    let first = zeros(&view.record.id, &view.record.name, host::cpu_times());
    if !is_up {
        return Box::pin(futures_util::stream::iter([Ok(first)]));
    }
    let sampler = Arc::new(Sampler::open(core, view));
    let mut ticks = tokio::time::interval(PERIOD);
    // A reader that was away gets the next sample, not a burst of late ones.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let state = Some((sampler, ticks, query.once));
    Box::pin(futures_util::stream::unfold(state, |state| async move {
        let (sampler, mut ticks, once) = state?;
        ticks.tick().await;
        let reader = Arc::clone(&sampler);
        let sampled =
            tokio::task::spawn_blocking(move || reader.sample(host::cpu_times(), &mut vec![0; MAX_FILE_BYTES])).await;
        match sampled {
            Ok(Some(sample)) => Some((Ok(sample), (!once).then_some((sampler, ticks, once)))),
            Ok(None) => None,
            Err(error) => Some((Err(super::error::join(&error)), None)),
        }
    }))
}

/// Pids in the container's cgroups and those below them.
pub(crate) fn pids(cgroups: &[PathBuf]) -> Result<Vec<u32>> {
    let mut all = Vec::new();
    for dir in cgroups {
        collect_pids(dir, &mut all);
        if !all.is_empty() {
            break;
        }
    }
    all.sort_unstable();
    all.dedup();
    if all.is_empty() {
        return Err(EngineError::new(crate::engine::Class::Conflict, "", "the container has no processes"));
    }
    Ok(all)
}

fn collect_pids(dir: &Path, all: &mut Vec<u32>) {
    let text = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    all.extend(text.lines().filter_map(|line| line.trim().parse::<u32>().ok()));
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        collect_pids(&entry.path(), all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absorbed(files: &[(Kind, &str)]) -> StatsSample {
        let mut sample = zeros("x", "x", CpuTimes::default());
        for (kind, text) in files {
            absorb(*kind, text, &mut sample);
        }
        sample
    }

    #[test]
    fn both_hierarchies_are_understood() {
        let v1 = absorbed(&[
            (Kind::CpuUsageV1, "5000\n"),
            (Kind::CpuTicksV1, "user 3\nsystem 2\n"),
            (Kind::ThrottleV1, "nr_periods 9\nnr_throttled 4\nthrottled_time 77\n"),
            (Kind::MemoryUsage, "1000\n"),
            (Kind::MemoryStat, "inactive_file 1\ntotal_inactive_file 300\n"),
            (Kind::MemoryLimit, "9223372036854771712\n"),
            (Kind::OomEvents, "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
            (Kind::PidsLimit, "max\n"),
            (Kind::IoV1, "8:0 Read 10\n8:0 Write 20\n8:16 Read 1\nTotal 31\n"),
        ]);
        assert_eq!((v1.cpu_total_ns, v1.cpu_user_ns, v1.throttled_ns), (5000, 30_000_000, 77));
        assert_eq!((v1.mem_used_bytes, v1.mem_cache_bytes, v1.mem_limit_bytes), (1000, 300, 0));
        assert_eq!((v1.oom_kills, v1.pids_limit, v1.blk_read_bytes, v1.blk_write_bytes), (2, None, 11, 20));
        let v2 = absorbed(&[
            (Kind::CpuV2, "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_throttled 1\nthrottled_usec 7\n"),
            (Kind::MemoryStat, "file 9\ninactive_file 4\n"),
            (Kind::IoV2, "8:0 rbytes=10 wbytes=20 rios=1 wios=1\n8:16 rbytes=5 wbytes=0\n"),
            (Kind::MemoryPressure, "some avg10=1.50 avg60=0.00 avg300=0.00 total=5\nfull avg10=9.00\n"),
        ]);
        assert_eq!((v2.cpu_total_ns, v2.throttled_ns, v2.mem_cache_bytes), (5000, 7000, 4));
        assert_eq!((v2.blk_read_bytes, v2.blk_write_bytes), (15, 20));
        assert!((v2.pressure.unwrap().memory_some - 1.5).abs() < 0.01);
    }

    #[test]
    fn the_loopback_does_not_count() {
        let text =
            "Inter-|\n face |\n    lo: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n  eth0: 100 1 0 0 0 0 0 0 50 1 0 0 0 0 0 0\n";
        assert_eq!(net_counters(text), (100, 50));
    }
}
