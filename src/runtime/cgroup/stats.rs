//! What a container uses, read from its cgroup in one go. Called at 1 to 10 Hz per visible container by the engine's
//! sampling: only open directories, no path is walked. Must never fail because one kernel lacks one file.

use serde::{Deserialize, Serialize};

use super::dir::Dir;
use super::hierarchy::{Controller, Version};
use super::{Cgroup, CgroupError, is_gone};

/// v1 writes these numbers for "no limit"; anything this large is none.
const UNLIMITED_FROM: u64 = 1 << 62;
/// cpuacct.stat counts in USER_HZ, which is 100 on every Linux ABI.
const NS_PER_TICK: u64 = 10_000_000;

/// One sample. Counters grow from the cgroup's creation; what the kernel does not tell is 0, or `None` where that matters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    pub cpu_usage_ns: u64,
    pub cpu_user_ns: u64,
    pub cpu_system_ns: u64,
    /// v1 only; empty elsewhere.
    pub per_cpu_ns: Vec<u64>,
    pub throttled: Throttled,
    pub memory_usage_bytes: u64,
    /// `None` is no limit.
    pub memory_limit_bytes: Option<u64>,
    pub memory_max_usage_bytes: Option<u64>,
    /// Page cache that goes first when memory is short; docker subtracts it from the usage that it shows.
    pub memory_inactive_file_bytes: u64,
    pub memory_cache_bytes: u64,
    pub memory_rss_bytes: u64,
    pub memory_swap_bytes: u64,
    pub memory_major_faults: u64,
    pub pids_current: u64,
    pub pids_limit: Option<u64>,
    pub n_processes: u64,
    pub block_io: Vec<BlockIo>,
    pub cpu_pressure: Option<Pressure>,
    pub memory_pressure: Option<Pressure>,
    pub io_pressure: Option<Pressure>,
    pub memory_events: MemoryEvents,
}

impl Stats {
    /// What docker calls memory usage: all but the cache that goes first.
    pub fn working_set_bytes(&self) -> u64 {
        self.memory_usage_bytes.saturating_sub(self.memory_inactive_file_bytes)
    }
}

/// Time in which a cpu quota held the container back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttled {
    pub n_periods: u64,
    pub n_throttled: u64,
    pub throttled_ns: u64,
}

/// Counters of one block device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockIo {
    pub major: u32,
    pub minor: u32,
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub read_ops: u64,
    pub write_ops: u64,
}

/// Share of the last ten seconds, in percent, in which somebody (`some`) or everybody (`full`) had to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    pub some_avg10: f32,
    pub full_avg10: f32,
}

/// Counters of memory.events; v1 knows `oom_kill` and, as its failcnts, `max`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryEvents {
    /// Allocations that would have failed for want of memory.
    pub oom: u64,
    /// Processes killed by the kernel's OOM killer.
    pub oom_kill: u64,
    /// Times the limit was hit.
    pub max: u64,
    pub high: u64,
}

impl Cgroup {
    /// One sample of everything.
    ///
    /// # Errors
    /// `Gone` when the cgroup has been removed.
    pub fn stats(&self) -> Result<Stats, CgroupError> {
        let mut stats = Stats { n_processes: self.n_processes()?, ..Stats::default() };
        if let Some((version, dir)) = self.owner(Controller::Cpu) {
            read_cpu_stat(dir, version, &mut stats);
        } else if let Some(dir) = self.v2() {
            read_cpu_stat(dir, Version::V2, &mut stats); // A core file: there without the controller too.
        }
        if let Some((_, dir)) = self.owner(Controller::Cpuacct) {
            read_cpuacct(dir, &mut stats);
        }
        match self.owner(Controller::Memory) {
            Some((Version::V1, dir)) => read_memory_v1(dir, &mut stats),
            Some((Version::V2, dir)) => read_memory_v2(dir, &mut stats),
            None => {}
        }
        if let Some((_, dir)) = self.owner(Controller::Pids) {
            stats.pids_current = dir.read_u64("pids.current").unwrap_or(0);
            stats.pids_limit = dir.read_u64("pids.max");
        }
        match self.owner(Controller::Io) {
            Some((Version::V1, dir)) => stats.block_io = read_blkio(dir),
            Some((Version::V2, dir)) => stats.block_io = parse_io_stat(&dir.read_opt("io.stat").unwrap_or_default()),
            None => {}
        }
        if let Some(dir) = self.v2() {
            stats.cpu_pressure = read_pressure(dir, "cpu.pressure");
            stats.memory_pressure = read_pressure(dir, "memory.pressure");
            stats.io_pressure = read_pressure(dir, "io.pressure");
        }
        stats.memory_events = self.memory_events();
        Ok(stats)
    }

    /// What the memory controller has counted; zeros without one.
    pub fn memory_events(&self) -> MemoryEvents {
        match self.owner(Controller::Memory) {
            Some((Version::V1, dir)) => {
                let control = dir.read_opt("memory.oom_control").unwrap_or_default();
                let kills = value_of(&control, "oom_kill");
                // With memory and memory+swap at the same value it is the second that is hit.
                let hits = ["memory.failcnt", "memory.memsw.failcnt"].iter().filter_map(|it| dir.read_u64(it)).sum();
                MemoryEvents { oom: kills, oom_kill: kills, max: hits, high: 0 }
            }
            Some((Version::V2, dir)) => {
                let text = dir.read_opt("memory.events").unwrap_or_default();
                let of = |key| value_of(&text, key);
                MemoryEvents { oom: of("oom"), oom_kill: of("oom_kill"), max: of("max"), high: of("high") }
            }
            None => MemoryEvents::default(),
        }
    }

    fn n_processes(&self) -> Result<u64, CgroupError> {
        let Some(dir) = self.procs_dir() else { return Ok(0) };
        match dir.procs_below() {
            Ok(pids) => Ok(pids.len() as u64),
            Err(err) if is_gone(&err) => Err(CgroupError::Gone(self.path.clone())),
            Err(source) => {
                let file = "cgroup.procs".to_owned();
                Err(CgroupError::Read { path: dir.path().to_owned(), file, source })
            }
        }
    }
}

fn read_cpu_stat(dir: &Dir, version: Version, stats: &mut Stats) {
    let text = dir.read_opt("cpu.stat").unwrap_or_default();
    let of = |key| value_of(&text, key);
    stats.throttled = Throttled {
        n_periods: of("nr_periods"),
        n_throttled: of("nr_throttled"),
        throttled_ns: if version == Version::V1 { of("throttled_time") } else { of("throttled_usec") * 1000 },
    };
    if version == Version::V2 {
        stats.cpu_usage_ns = of("usage_usec") * 1000;
        stats.cpu_user_ns = of("user_usec") * 1000;
        stats.cpu_system_ns = of("system_usec") * 1000;
    }
}

fn read_cpuacct(dir: &Dir, stats: &mut Stats) {
    stats.cpu_usage_ns = dir.read_u64("cpuacct.usage").unwrap_or(0);
    match (dir.read_u64("cpuacct.usage_user"), dir.read_u64("cpuacct.usage_sys")) {
        (Some(user), Some(system)) => (stats.cpu_user_ns, stats.cpu_system_ns) = (user, system),
        _ => {
            let text = dir.read_opt("cpuacct.stat").unwrap_or_default();
            stats.cpu_user_ns = value_of(&text, "user") * NS_PER_TICK;
            stats.cpu_system_ns = value_of(&text, "system") * NS_PER_TICK;
        }
    }
    let per_cpu = dir.read_opt("cpuacct.usage_percpu").unwrap_or_default();
    stats.per_cpu_ns = per_cpu.split_whitespace().filter_map(|it| it.parse().ok()).collect();
}

fn read_memory_v1(dir: &Dir, stats: &mut Stats) {
    stats.memory_usage_bytes = dir.read_u64("memory.usage_in_bytes").unwrap_or(0);
    stats.memory_limit_bytes = dir.read_u64("memory.limit_in_bytes").filter(|it| *it < UNLIMITED_FROM);
    stats.memory_max_usage_bytes = dir.read_u64("memory.max_usage_in_bytes");
    let text = dir.read_opt("memory.stat").unwrap_or_default();
    let of = |key| value_of(&text, key);
    stats.memory_inactive_file_bytes = of("total_inactive_file");
    stats.memory_cache_bytes = of("total_cache");
    stats.memory_rss_bytes = of("total_rss");
    stats.memory_swap_bytes = of("total_swap");
    stats.memory_major_faults = of("total_pgmajfault");
}

fn read_memory_v2(dir: &Dir, stats: &mut Stats) {
    stats.memory_usage_bytes = dir.read_u64("memory.current").unwrap_or(0);
    stats.memory_limit_bytes = dir.read_u64("memory.max");
    stats.memory_max_usage_bytes = dir.read_u64("memory.peak"); // Linux 5.19.
    let text = dir.read_opt("memory.stat").unwrap_or_default();
    let of = |key| value_of(&text, key);
    stats.memory_inactive_file_bytes = of("inactive_file");
    stats.memory_cache_bytes = of("file");
    stats.memory_rss_bytes = of("anon");
    stats.memory_swap_bytes = dir.read_u64("memory.swap.current").unwrap_or(0);
    stats.memory_major_faults = of("pgmajfault");
}

fn read_blkio(dir: &Dir) -> Vec<BlockIo> {
    let read = |file: &str| dir.read_opt(file).unwrap_or_default();
    parse_blkio(&read("blkio.throttle.io_service_bytes_recursive"), &read("blkio.throttle.io_serviced_recursive"))
}

/// Lines `8:0 Read 4096`; totals and kinds that are parts of others (Sync, Async) are passed over.
fn parse_blkio(bytes: &str, ops: &str) -> Vec<BlockIo> {
    let mut devices = Vec::new();
    for (text, is_bytes) in [(bytes, true), (ops, false)] {
        for line in text.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [device, kind, count] = fields[..] else { continue };
            let (Some(numbers), Ok(count)) = (device_numbers(device), count.parse::<u64>()) else { continue };
            let it = entry(&mut devices, numbers);
            match (kind, is_bytes) {
                ("Read", true) => it.read_bytes = count,
                ("Write", true) => it.write_bytes = count,
                ("Read", false) => it.read_ops = count,
                ("Write", false) => it.write_ops = count,
                _ => {}
            }
        }
    }
    devices
}

/// Lines `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`.
fn parse_io_stat(text: &str) -> Vec<BlockIo> {
    let mut devices = Vec::new();
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let Some(numbers) = fields.next().and_then(device_numbers) else { continue };
        let it = entry(&mut devices, numbers);
        for (key, count) in fields.filter_map(|it| it.split_once('=')) {
            let count = count.parse().unwrap_or(0);
            match key {
                "rbytes" => it.read_bytes = count,
                "wbytes" => it.write_bytes = count,
                "rios" => it.read_ops = count,
                "wios" => it.write_ops = count,
                _ => {}
            }
        }
    }
    devices
}

fn device_numbers(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn entry(devices: &mut Vec<BlockIo>, (major, minor): (u32, u32)) -> &mut BlockIo {
    let known = devices.iter().position(|it| (it.major, it.minor) == (major, minor));
    let at = known.unwrap_or_else(|| {
        devices.push(BlockIo { major, minor, ..BlockIo::default() });
        devices.len() - 1
    });
    &mut devices[at]
}

fn read_pressure(dir: &Dir, file: &str) -> Option<Pressure> {
    parse_pressure(&dir.read_opt(file)?)
}

/// Lines `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
fn parse_pressure(text: &str) -> Option<Pressure> {
    let of = |kind: &str| {
        let line = text.lines().find(|it| it.split(' ').next() == Some(kind))?;
        line.split(' ').find_map(|it| it.strip_prefix("avg10="))?.parse::<f32>().ok()
    };
    Some(Pressure { some_avg10: of("some")?, full_avg10: of("full").unwrap_or(0.0) })
}

/// The number behind `key` in `key number` lines; 0 when there is none.
fn value_of(text: &str, key: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(it, _)| *it == key)
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keyed_lines() {
        let text = "oom 3\noom_kill 2\nmax\n bad 5\n";
        assert_eq!((value_of(text, "oom"), value_of(text, "oom_kill"), value_of(text, "max")), (3, 2, 0));
    }

    #[test]
    fn both_generations_of_block_io() {
        let want = BlockIo { major: 8, minor: 16, read_bytes: 1, write_bytes: 2, read_ops: 3, write_ops: 4 };
        let v1 = parse_blkio("8:16 Read 1\n8:16 Write 2\n8:16 Sync 9\nTotal 3\n", "8:16 Read 3\n8:16 Write 4\n");
        assert_eq!(v1, [want]);
        assert_eq!(parse_io_stat("8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n"), [want]);
        assert_eq!(parse_io_stat("8:16 \n").len(), 1);
    }

    #[test]
    fn pressure_with_and_without_full() {
        let text = "some avg10=1.50 avg60=0.00 avg300=0.00 total=9\nfull avg10=0.25 avg60=0.00 avg300=0.00 total=9\n";
        assert_eq!(parse_pressure(text), Some(Pressure { some_avg10: 1.5, full_avg10: 0.25 }));
        assert_eq!(parse_pressure("some avg10=2.00 total=1\n").map(|it| it.full_avg10), Some(0.0));
        assert_eq!(parse_pressure(""), None);
    }

    proptest! {
        #[test]
        fn no_text_breaks_a_parser(text in "([0-9:]{0,5} (Read|rbytes=[0-9]{0,22}) ?[0-9]{0,22}\n){0,5}|\\PC{0,60}") {
            parse_blkio(&text, &text);
            parse_io_stat(&text);
            parse_pressure(&text);
            value_of(&text, "some");
        }
    }
}
