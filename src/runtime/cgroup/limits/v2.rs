//! Limits as cgroup v2 spells them (Documentation/admin-guide/cgroup-v2.rst).

use crate::oci::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxThrottleDevice};

use super::super::CgroupError;
use super::super::dir::Dir;
use super::{Limits, Put, io_weight_from_blkio, weight_from_shares};

pub(super) fn memory(to: &mut Limits<'_>, dir: &Dir, memory: &LinuxMemory) -> Result<(), CgroupError> {
    let limit = memory.limit().filter(|it| *it != 0);
    if memory.check_before_update() == Some(true)
        && let (Some(limit), Some(used)) = (limit.filter(|it| *it > 0), dir.read_u64("memory.current"))
        && used > limit.unsigned_abs()
    {
        let why = format!("{used} bytes are in use");
        return Err(CgroupError::Value { what: "memory limit", value: limit.to_string(), why });
    }
    if let Some(swap) = swap_alone(dir, memory)? {
        if dir.has("memory.swap.max") {
            to.put(Put { dir, file: "memory.swap.max", value: swap, what: "memory swap limit" })?;
        } else if swap != "max" {
            to.ignored("memory swap limit", "this kernel does not account swap");
        }
    }
    if let Some(limit) = limit {
        to.put(Put { dir, file: "memory.max", value: or_max(limit), what: "memory limit" })?;
    }
    if let Some(soft) = memory.reservation().filter(|it| *it != 0) {
        to.put(Put { dir, file: "memory.low", value: or_max(soft), what: "memory reservation" })?;
    }
    if memory.swappiness().is_some() {
        to.ignored("memory swappiness", "cgroup v2 has none for single groups");
    }
    if memory.disable_oom_killer() == Some(true) {
        to.ignored("disabling the OOM killer", "cgroup v2 cannot");
    }
    Ok(())
}

fn or_max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

/// v2 counts swap apart from memory, the spec counts both together: equal values mean no swap at all.
fn swap_alone(dir: &Dir, memory: &LinuxMemory) -> Result<Option<String>, CgroupError> {
    let limit = memory.limit().filter(|it| *it != 0);
    let Some(both) = memory.swap().filter(|it| *it != 0) else {
        return Ok(limit.filter(|it| *it < 0).map(|_| "max".to_owned()));
    };
    if both < 0 {
        return Ok(Some("max".to_owned()));
    }
    let refuse = |why: &str| CgroupError::Value { what: "memory swap", value: both.to_string(), why: why.to_owned() };
    let memory = match limit {
        Some(limit) => limit.try_into().ok(),
        None => dir.read_u64("memory.max"),
    };
    let memory: u64 = memory.ok_or_else(|| refuse("a swap limit needs a memory limit"))?;
    let swap = both.unsigned_abs().checked_sub(memory);
    swap.map(|it| Some(it.to_string())).ok_or_else(|| refuse("memory plus swap must not be less than the memory limit"))
}

pub(super) fn cpu(to: &mut Limits<'_>, dir: &Dir, cpu: &LinuxCpu) -> Result<(), CgroupError> {
    if let Some(idle) = cpu.idle() {
        to.put(Put { dir, file: "cpu.idle", value: idle.to_string(), what: "cpu idle" })?;
    }
    if let Some(shares) = cpu.shares().filter(|it| *it != 0)
        && cpu.idle() != Some(1)
    {
        let value = weight_from_shares(shares).to_string();
        to.put(Put { dir, file: "cpu.weight", value, what: "cpu shares" })?;
    }
    if let Some(value) = max_line(dir, cpu) {
        if cpu.quota().is_some_and(|it| it > 0) && dir.read_u64("cpu.max.burst").is_some_and(|it| it > 0) {
            to.put(Put { dir, file: "cpu.max.burst", value: "0".to_owned(), what: "cpu burst" })?;
        }
        to.put(Put { dir, file: "cpu.max", value, what: "cpu quota" })?;
    }
    if let Some(burst) = cpu.burst() {
        to.put(Put { dir, file: "cpu.max.burst", value: burst.to_string(), what: "cpu burst" })?;
    }
    if cpu.realtime_runtime().is_some_and(|it| it != 0) || cpu.realtime_period().is_some_and(|it| it != 0) {
        to.ignored("cpu realtime budget", "cgroup v2 has none");
    }
    Ok(())
}

/// `quota period` of cpu.max; what is not given stays as it is.
fn max_line(dir: &Dir, cpu: &LinuxCpu) -> Option<String> {
    let (quota, period) = (cpu.quota().filter(|it| *it != 0), cpu.period().filter(|it| *it != 0));
    if quota.is_none() && period.is_none() {
        return None;
    }
    let now = dir.read_opt("cpu.max").unwrap_or_default();
    let mut now = now.split_whitespace();
    let (now_quota, now_period) = (now.next().unwrap_or("max"), now.next().unwrap_or("100000"));
    let quota = quota.map_or(now_quota.to_owned(), or_max);
    let period = period.map_or(now_period.to_owned(), |it| it.to_string());
    Some(format!("{quota} {period}"))
}

pub(super) fn block_io(to: &mut Limits<'_>, dir: &Dir, io: &LinuxBlockIo) -> Result<(), CgroupError> {
    // BFQ takes blkio's own range; io.cost (io.weight) has a wider one.
    let is_bfq = dir.has("io.bfq.weight");
    let file = if is_bfq { "io.bfq.weight" } else { "io.weight" };
    let scale = |weight: u16| if is_bfq { u64::from(weight) } else { io_weight_from_blkio(weight) };
    let what = "block i/o weight";
    if let Some(weight) = io.weight().filter(|it| *it != 0) {
        to.put(Put { dir, file, value: format!("default {}", scale(weight)), what })?;
    }
    if io.leaf_weight().is_some_and(|it| it != 0) {
        to.ignored("block i/o leaf weight", "cgroup v2 has none");
    }
    for it in io.weight_device().iter().flatten() {
        if let Some(weight) = it.weight() {
            to.put(Put { dir, file, value: format!("{}:{} {}", it.major(), it.minor(), scale(weight)), what })?;
        }
    }
    let mut throttle = |key: &str, devices: &Option<Vec<LinuxThrottleDevice>>| {
        devices.iter().flatten().try_for_each(|it| {
            let rate = if it.rate() == 0 { "max".to_owned() } else { it.rate().to_string() };
            let value = format!("{}:{} {key}={rate}", it.major(), it.minor());
            to.put(Put { dir, file: "io.max", value, what: "block i/o throttle" })
        })
    };
    throttle("rbps", io.throttle_read_bps_device())?;
    throttle("wbps", io.throttle_write_bps_device())?;
    throttle("riops", io.throttle_read_iops_device())?;
    throttle("wiops", io.throttle_write_iops_device())
}
