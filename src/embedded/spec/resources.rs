//! Limits: docker's resources as the runtime spec's. The same for `start` and `update`.

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use crate::oci::runtime::{
    LinuxBlockIoBuilder, LinuxCpuBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder,
    LinuxThrottleDevice, LinuxThrottleDeviceBuilder,
};
use nix::sys::stat::{major, minor};

use crate::engine::spec::Resources;
use crate::engine::{Class, ContainerSpec, EngineError, Result};

use super::{build as built, devices};

/// Docker's period for `--cpus`.
const PERIOD_US: u64 = 100_000;

pub(super) fn build(spec: &ContainerSpec) -> Result<LinuxResources> {
    let mut limits = limits(&spec.resources)?;
    limits.set_devices(Some(devices::rules(spec)?));
    Ok(limits)
}

/// Everything but devices. What was not asked for is absent.
pub(crate) fn limits(resources: &Resources) -> Result<LinuxResources> {
    let mut all = LinuxResourcesBuilder::default().build().map_err(built)?;
    all.set_memory(memory(resources)?);
    all.set_cpu(cpu(resources)?);
    all.set_block_io(block_io(resources)?);
    if let Some(limit) = resources.pids_limit {
        let limit = if limit <= 0 { -1 } else { limit };
        all.set_pids(Some(LinuxPidsBuilder::default().limit(limit).build().map_err(built)?));
    }
    Ok(all)
}

fn memory(resources: &Resources) -> Result<Option<crate::oci::runtime::LinuxMemory>> {
    let mut memory = LinuxMemoryBuilder::default().build().map_err(built)?;
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let limit = resources.memory_bytes.filter(|bytes| *bytes > 0).map(signed);
    memory.set_limit(limit);
    // Unsaid, swap is as much again as memory (docker).
    let swap = resources.memory_swap_bytes.filter(|swap| *swap != 0);
    memory.set_swap(swap.or_else(|| limit.map(|limit| limit.saturating_mul(2))));
    memory.set_reservation(resources.memory_reservation_bytes.filter(|bytes| *bytes > 0).map(signed));
    memory.set_swappiness(resources.memory_swappiness.map(u64::from));
    if resources.oom_kill_disable {
        memory.set_disable_oom_killer(Some(true));
    }
    let empty = LinuxMemoryBuilder::default().build().map_err(built)?;
    Ok((memory != empty).then_some(memory))
}

fn cpu(resources: &Resources) -> Result<Option<crate::oci::runtime::LinuxCpu>> {
    let mut cpu = LinuxCpuBuilder::default().build().map_err(built)?;
    cpu.set_shares(resources.cpu_shares.filter(|shares| *shares > 0).map(|shares| shares.clamp(2, 262_144)));
    cpu.set_period(resources.cpu_period_us.filter(|us| *us > 0));
    cpu.set_quota(resources.cpu_quota_us.filter(|us| *us != 0));
    if let Some(nano) = resources.nano_cpus.filter(|nano| *nano > 0) {
        cpu.set_period(Some(PERIOD_US));
        cpu.set_quota(Some((nano / (1_000_000_000 / PERIOD_US)) as i64));
    }
    cpu.set_realtime_period(resources.cpu_rt_period_us.filter(|us| *us > 0));
    cpu.set_realtime_runtime(resources.cpu_rt_runtime_us.filter(|us| *us > 0));
    cpu.set_cpus(resources.cpuset_cpus.clone().filter(|list| !list.is_empty()));
    cpu.set_mems(resources.cpuset_mems.clone().filter(|list| !list.is_empty()));
    let empty = LinuxCpuBuilder::default().build().map_err(built)?;
    Ok((cpu != empty).then_some(cpu))
}

fn block_io(resources: &Resources) -> Result<Option<crate::oci::runtime::LinuxBlockIo>> {
    let mut io = LinuxBlockIoBuilder::default().build().map_err(built)?;
    io.set_weight(resources.blkio_weight.filter(|weight| *weight > 0));
    io.set_throttle_read_bps_device(throttles(&resources.device_read_bps)?);
    io.set_throttle_write_bps_device(throttles(&resources.device_write_bps)?);
    io.set_throttle_read_iops_device(throttles(&resources.device_read_iops)?);
    io.set_throttle_write_iops_device(throttles(&resources.device_write_iops)?);
    let empty = LinuxBlockIoBuilder::default().build().map_err(built)?;
    Ok((io != empty).then_some(io))
}

fn throttles(list: &[(String, u64)]) -> Result<Option<Vec<LinuxThrottleDevice>>> {
    let one = |(path, rate): &(String, u64)| {
        let bad = |why: &str| EngineError::new(Class::Invalid, path, format!("cannot limit {path}: {why}"));
        let meta = std::fs::metadata(path).map_err(|_| bad("no such device"))?;
        if !meta.file_type().is_block_device() {
            return Err(bad("not a block device"));
        }
        let (major, minor) = (major(meta.rdev()) as i64, minor(meta.rdev()) as i64);
        LinuxThrottleDeviceBuilder::default().major(major).minor(minor).rate(*rate).build().map_err(built)
    };
    let all: Vec<_> = list.iter().map(one).collect::<Result<_>>()?;
    Ok((!all.is_empty()).then_some(all))
}
