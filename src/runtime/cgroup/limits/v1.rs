//! Limits as cgroup v1 spells them (Documentation/admin-guide/cgroup-v1).

use crate::oci::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxThrottleDevice};

use super::super::CgroupError;
use super::super::dir::Dir;
use super::{Limits, Put, is_busy};

const LIMIT: &str = "memory.limit_in_bytes";
const SWAP: &str = "memory.memsw.limit_in_bytes";

pub(super) fn memory(to: &mut Limits<'_>, dir: &Dir, memory: &LinuxMemory) -> Result<(), CgroupError> {
    if memory.use_hierarchy() == Some(true) && dir.has("memory.use_hierarchy") {
        to.put(Put { dir, file: "memory.use_hierarchy", value: "1".to_owned(), what: "memory hierarchy" })?;
    }
    limit_and_swap(to, dir, memory)?;
    if let Some(soft) = memory.reservation().filter(|it| *it != 0) {
        to.put(Put { dir, file: "memory.soft_limit_in_bytes", value: soft.to_string(), what: "memory reservation" })?;
    }
    if let Some(tcp) = memory.kernel_tcp().filter(|it| *it != 0) {
        to.put(Put {
            dir,
            file: "memory.kmem.tcp.limit_in_bytes",
            value: tcp.to_string(),
            what: "kernel TCP memory limit",
        })?;
    }
    #[allow(deprecated)] // read to say that it does nothing, not to use it
    if memory.kernel().is_some_and(|it| it > 0) {
        to.ignored("kernel memory limit", "kernels since 5.4 count it in the memory limit");
    }
    if let Some(swappiness) = memory.swappiness() {
        to.put(Put { dir, file: "memory.swappiness", value: swappiness.to_string(), what: "memory swappiness" })?;
    }
    if memory.disable_oom_killer() == Some(true) {
        to.put(Put { dir, file: "memory.oom_control", value: "1".to_owned(), what: "disabling the OOM killer" })?;
    }
    Ok(())
}

/// memory ≤ memory+swap must hold after every single write, so the order depends on where the old values are.
fn limit_and_swap(to: &mut Limits<'_>, dir: &Dir, memory: &LinuxMemory) -> Result<(), CgroupError> {
    let limit = memory.limit().filter(|it| *it != 0);
    // Unlimited memory with a left-over swap limit would be refused: unlimited swap goes with it.
    let swap = memory.swap().filter(|it| *it != 0).or(limit.filter(|it| *it < 0));
    let swap = swap.filter(|_| {
        let has = dir.has(SWAP);
        if !has && memory.swap().is_some_and(|it| it > 0) {
            to.ignored("memory swap limit", "this kernel does not account swap");
        }
        has
    });
    let is_raised = |new: i64| new < 0 || dir.read_u64(LIMIT).is_none_or(|now| now < new.unsigned_abs());
    let put_swap = |to: &mut Limits<'_>| match swap {
        Some(swap) => to.put(Put { dir, file: SWAP, value: swap.to_string(), what: "memory swap limit" }),
        None => Ok(()),
    };
    let swap_first = swap.is_some_and(is_raised);
    if swap_first {
        put_swap(to)?;
    }
    if let Some(limit) = limit {
        let put = Put { dir, file: LIMIT, value: limit.to_string(), what: "memory limit" };
        to.put(put).map_err(|err| explain_busy(err, dir))?;
    }
    if swap_first { Ok(()) } else { put_swap(to) }
}

/// EBUSY means that the cgroup holds more than the new limit and the kernel could not take it away.
fn explain_busy(err: CgroupError, dir: &Dir) -> CgroupError {
    match err {
        CgroupError::Limit { what, value, source, .. } if is_busy(&source) => {
            let used = dir.read_u64("memory.usage_in_bytes").unwrap_or(0);
            CgroupError::Value { what, value, why: format!("{used} bytes are in use and cannot be reclaimed") }
        }
        err => err,
    }
}

pub(super) fn cpu(to: &mut Limits<'_>, dir: &Dir, cpu: &LinuxCpu) -> Result<(), CgroupError> {
    if let Some(shares) = cpu.shares().filter(|it| *it != 0) {
        to.put(Put { dir, file: "cpu.shares", value: shares.to_string(), what: "cpu shares" })?;
    }
    // A group with idle set takes no shares and the other way round; idle comes last because it is the rarer wish.
    if let Some(idle) = cpu.idle() {
        to.put(Put { dir, file: "cpu.idle", value: idle.to_string(), what: "cpu idle" })?;
    }
    quota(to, dir, cpu)?;
    if let Some(period) = cpu.realtime_period().filter(|it| *it != 0) {
        to.put(Put { dir, file: "cpu.rt_period_us", value: period.to_string(), what: "cpu realtime period" })?;
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|it| *it != 0) {
        let put = Put { dir, file: "cpu.rt_runtime_us", value: runtime.to_string(), what: "cpu realtime runtime" };
        to.put(put).map_err(explain_realtime)?;
    }
    Ok(())
}

/// Quota over period must not pass the parent's at any moment, so a period that is refused is tried again after the quota.
fn quota(to: &mut Limits<'_>, dir: &Dir, cpu: &LinuxCpu) -> Result<(), CgroupError> {
    let period = cpu.period().filter(|it| *it != 0);
    let put_period = |to: &mut Limits<'_>| match period {
        Some(period) => to.put(Put { dir, file: "cpu.cfs_period_us", value: period.to_string(), what: "cpu period" }),
        None => Ok(()),
    };
    // The burst must not be larger than the quota: an old one is taken away before the quota shrinks.
    if cpu.quota().is_some_and(|it| it > 0) && dir.read_u64("cpu.cfs_burst_us").is_some_and(|it| it > 0) {
        to.put(Put { dir, file: "cpu.cfs_burst_us", value: "0".to_owned(), what: "cpu burst" })?;
    }
    let first = put_period(to);
    if let Some(quota) = cpu.quota().filter(|it| *it != 0) {
        let value = quota.max(-1).to_string();
        to.put(Put { dir, file: "cpu.cfs_quota_us", value, what: "cpu quota" })?;
    }
    if first.is_err() {
        put_period(to)?;
    }
    match cpu.burst() {
        Some(burst) => to.put(Put { dir, file: "cpu.cfs_burst_us", value: burst.to_string(), what: "cpu burst" }),
        None => Ok(()),
    }
}

fn explain_realtime(err: CgroupError) -> CgroupError {
    match err {
        CgroupError::Limit { what, value, .. } => CgroupError::Value {
            what,
            value,
            why: "the parent cgroups must have at least as much in cpu.rt_runtime_us, and it must be below the period"
                .to_owned(),
        },
        err => err,
    }
}

pub(super) fn block_io(to: &mut Limits<'_>, dir: &Dir, io: &LinuxBlockIo) -> Result<(), CgroupError> {
    // Weights belong to a scheduler: CFQ until Linux 5.0, BFQ after it.
    let prefix = if dir.has("blkio.weight") { "blkio." } else { "blkio.bfq." };
    let what = "block i/o weight";
    if let Some(weight) = io.weight().filter(|it| *it != 0) {
        to.put(Put { dir, file: &format!("{prefix}weight"), value: weight.to_string(), what })?;
    }
    if let Some(weight) = io.leaf_weight().filter(|it| *it != 0) {
        to.put(Put {
            dir,
            file: &format!("{prefix}leaf_weight"),
            value: weight.to_string(),
            what: "block i/o leaf weight",
        })?;
    }
    for it in io.weight_device().iter().flatten() {
        if let Some(weight) = it.weight() {
            let value = format!("{}:{} {weight}", it.major(), it.minor());
            to.put(Put { dir, file: &format!("{prefix}weight_device"), value, what })?;
        }
    }
    let mut throttle = |file: &str, devices: &Option<Vec<LinuxThrottleDevice>>| {
        devices.iter().flatten().try_for_each(|it| {
            let value = format!("{}:{} {}", it.major(), it.minor(), it.rate());
            to.put(Put { dir, file, value, what: "block i/o throttle" })
        })
    };
    throttle("blkio.throttle.read_bps_device", io.throttle_read_bps_device())?;
    throttle("blkio.throttle.write_bps_device", io.throttle_write_bps_device())?;
    throttle("blkio.throttle.read_iops_device", io.throttle_read_iops_device())?;
    throttle("blkio.throttle.write_iops_device", io.throttle_write_iops_device())
}
