//! Requested limits → files of the hierarchy that owns each controller. Called by `Cgroup::create` and `Cgroup::update`.
//! What the host cannot do is skipped with a warning that names it; what the kernel refuses as wrong is an error. Must never
//! pretend that a limit holds.

mod v1;
mod v2;

use std::io;

use crate::oci::runtime::{LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxResources};

use super::dir::Dir;
use super::hierarchy::{Controller, Version};
use super::{Cgroup, CgroupError};

/// Collects what had to be left out while limits are written.
pub(super) struct Limits<'a> {
    cgroup: &'a Cgroup,
    pub(super) warnings: Vec<String>,
}

/// One limit on its way into one file.
struct Put<'a> {
    dir: &'a Dir,
    file: &'a str,
    value: String,
    /// What the user calls it.
    what: &'static str,
}

impl<'a> Limits<'a> {
    pub(super) fn new(cgroup: &'a Cgroup) -> Limits<'a> {
        Limits { cgroup, warnings: Vec::new() }
    }

    /// Everything but devices, which have a file of their own.
    pub(super) fn apply(&mut self, res: &LinuxResources) -> Result<(), CgroupError> {
        check(res)?;
        if let Some(memory) = res.memory() {
            self.memory(memory)?;
        }
        if let Some(cpu) = res.cpu() {
            self.cpu(cpu)?;
            self.cpuset(cpu)?;
        }
        if let Some(pids) = res.pids()
            && let Some((_, dir)) = self.owner(Controller::Pids, "pids limit")
        {
            let value = if pids.limit() > 0 { pids.limit().to_string() } else { "max".to_owned() };
            self.put(Put { dir, file: "pids.max", value, what: "pids limit" })?;
        }
        if let Some(block_io) = res.block_io().as_ref().filter(|it| !is_empty_io(it)) {
            self.block_io(block_io)?;
        }
        for limit in res.hugepage_limits().iter().flatten() {
            self.hugetlb(limit)?;
        }
        if let Some(network) = res.network() {
            if let Some(class) = network.class_id()
                && let Some((_, dir)) = self.owner(Controller::NetCls, "network class")
            {
                self.put(Put { dir, file: "net_cls.classid", value: class.to_string(), what: "network class" })?;
            }
            for it in network.priorities().iter().flatten() {
                let value = format!("{} {}", it.name(), it.priority());
                if let Some((_, dir)) = self.owner(Controller::NetPrio, "network priority") {
                    self.put(Put { dir, file: "net_prio.ifpriomap", value, what: "network priority" })?;
                }
            }
        }
        for (device, limit) in res.rdma().iter().flatten() {
            let part = |key: &str, value: Option<u32>| value.map_or(String::new(), |it| format!(" {key}={it}"));
            let value = format!(
                "{device}{}{}",
                part("hca_handle", limit.hca_handles()),
                part("hca_object", limit.hca_objects())
            );
            if let Some((_, dir)) = self.owner(Controller::Rdma, "rdma limit") {
                self.put(Put { dir, file: "rdma.max", value, what: "rdma limit" })?;
            }
        }
        self.unified(res)
    }

    /// The directory where `controller` is enabled for this cgroup; a warning when there is none.
    fn owner(&mut self, controller: Controller, what: &str) -> Option<(Version, &'a Dir)> {
        let found = self.cgroup.owner(controller);
        if found.is_none() {
            self.warnings
                .push(format!("{what} is ignored: the {} controller is not available here", controller.name()));
        }
        found
    }

    /// Writes one value. A missing file or one that we may not write is a warning, a value that the kernel refuses an error.
    fn put(&mut self, put: Put<'_>) -> Result<(), CgroupError> {
        let Put { dir, file, value, what } = put;
        let Err(source) = dir.write(file, &value) else { return Ok(()) };
        match source.raw_os_error().map(nix::errno::Errno::from_raw) {
            Some(nix::errno::Errno::ENOENT) => {
                self.warnings.push(format!("{what} is ignored: this kernel has no {file}"));
                Ok(())
            }
            Some(errno @ (nix::errno::Errno::EPERM | nix::errno::Errno::EACCES | nix::errno::Errno::EROFS)) => {
                self.warnings.push(format!("{what} is ignored: {} may not be written: {}", file, errno.desc()));
                Ok(())
            }
            _ => Err(CgroupError::Limit { what, file: file.to_owned(), value, source }),
        }
    }

    fn ignored(&mut self, what: &str, why: &str) {
        self.warnings.push(format!("{what} is ignored: {why}"));
    }

    fn memory(&mut self, memory: &LinuxMemory) -> Result<(), CgroupError> {
        match self.owner(Controller::Memory, "memory limit") {
            Some((Version::V1, dir)) => v1::memory(self, dir, memory),
            Some((Version::V2, dir)) => v2::memory(self, dir, memory),
            None => Ok(()),
        }
    }

    fn cpu(&mut self, cpu: &LinuxCpu) -> Result<(), CgroupError> {
        let is_asked = cpu.shares().is_some_and(|it| it != 0)
            || cpu.quota().is_some()
            || cpu.period().is_some()
            || cpu.burst().is_some()
            || cpu.idle().is_some()
            || cpu.realtime_runtime().is_some()
            || cpu.realtime_period().is_some();
        if !is_asked {
            return Ok(());
        }
        match self.owner(Controller::Cpu, "cpu limit") {
            Some((Version::V1, dir)) => v1::cpu(self, dir, cpu),
            Some((Version::V2, dir)) => v2::cpu(self, dir, cpu),
            None => Ok(()),
        }
    }

    /// The files have the same names in both generations.
    fn cpuset(&mut self, cpu: &LinuxCpu) -> Result<(), CgroupError> {
        for (file, what, value) in
            [("cpuset.cpus", "cpuset cpus", cpu.cpus()), ("cpuset.mems", "cpuset mems", cpu.mems())]
        {
            let Some(value) = value.as_ref().filter(|it| !it.is_empty()) else { continue };
            let Some((_, dir)) = self.owner(Controller::Cpuset, what) else { continue };
            self.put(Put { dir, file, value: value.clone(), what }).map_err(|err| explain_cpuset(err, dir, file))?;
        }
        Ok(())
    }

    fn block_io(&mut self, io: &LinuxBlockIo) -> Result<(), CgroupError> {
        match self.owner(Controller::Io, "block i/o limit") {
            Some((Version::V1, dir)) => v1::block_io(self, dir, io),
            Some((Version::V2, dir)) => v2::block_io(self, dir, io),
            None => Ok(()),
        }
    }

    fn hugetlb(&mut self, limit: &LinuxHugepageLimit) -> Result<(), CgroupError> {
        let what = "hugetlb limit";
        let Some((version, dir)) = self.owner(Controller::Hugetlb, what) else { return Ok(()) };
        let size = limit.page_size();
        let value = if limit.limit() < 0 { "max".to_owned() } else { limit.limit().to_string() };
        let (file, reserved, value) = match version {
            Version::V1 => (
                format!("hugetlb.{size}.limit_in_bytes"),
                format!("hugetlb.{size}.rsvd.limit_in_bytes"),
                limit.limit().to_string(),
            ),
            Version::V2 => (format!("hugetlb.{size}.max"), format!("hugetlb.{size}.rsvd.max"), value),
        };
        self.put(Put { dir, file: &file, value: value.clone(), what })?;
        // Reservations count apart since Linux 5.7; without this limit a mapping could reserve what it may not touch.
        if dir.has(&reserved) { self.put(Put { dir, file: &reserved, value, what }) } else { Ok(()) }
    }

    fn unified(&mut self, res: &LinuxResources) -> Result<(), CgroupError> {
        let Some(pairs) = res.unified().as_ref().filter(|it| !it.is_empty()) else { return Ok(()) };
        let Some(dir) = self.cgroup.v2() else {
            self.ignored("unified resources", "this host has no cgroup v2");
            return Ok(());
        };
        let mut pairs: Vec<_> = pairs.iter().collect();
        pairs.sort();
        for (file, value) in pairs {
            if file.contains('/') || file.starts_with("cgroup.") || !file.contains('.') {
                let why = "a unified key is a file of one controller, such as memory.high".to_owned();
                return Err(CgroupError::Value { what: "unified key", value: file.clone(), why });
            }
            for line in value.lines() {
                self.put(Put { dir, file, value: line.to_owned(), what: "unified resource" })?;
            }
        }
        Ok(())
    }
}

fn is_empty_io(io: &LinuxBlockIo) -> bool {
    let none = |list: &Option<Vec<_>>| list.as_ref().is_none_or(Vec::is_empty);
    io.weight().is_none_or(|it| it == 0)
        && io.leaf_weight().is_none_or(|it| it == 0)
        && io.weight_device().as_ref().is_none_or(Vec::is_empty)
        && none(io.throttle_read_bps_device())
        && none(io.throttle_write_bps_device())
        && none(io.throttle_read_iops_device())
        && none(io.throttle_write_iops_device())
}

/// Refuses what the kernel would refuse, or take in another sense, before anything has been written.
fn check(res: &LinuxResources) -> Result<(), CgroupError> {
    let refuse = |what, value: String, why: &str| Err(CgroupError::Value { what, value, why: why.to_owned() });
    if let Some(memory) = res.memory() {
        let (limit, swap) = (memory.limit().unwrap_or(0), memory.swap().unwrap_or(0));
        if limit > 0 && swap > 0 && swap < limit {
            return refuse("memory swap", swap.to_string(), "memory plus swap must not be less than the memory limit");
        }
        if memory.swappiness().is_some_and(|it| it > 200) {
            return refuse("memory swappiness", memory.swappiness().unwrap_or(0).to_string(), "it must be 0 to 200");
        }
    }
    if let Some(cpu) = res.cpu() {
        if cpu.quota().is_some_and(|it| it > 0 && it < 1000) {
            return refuse("cpu quota", cpu.quota().unwrap_or(0).to_string(), "it must be at least 1000 microseconds");
        }
        if cpu.period().is_some_and(|it| it != 0 && !(1000..=1_000_000).contains(&it)) {
            return refuse(
                "cpu period",
                cpu.period().unwrap_or(0).to_string(),
                "it must be 1000 to 1000000 microseconds",
            );
        }
    }
    if let Some(io) = res.block_io() {
        let mut weights =
            io.weight().into_iter().chain(io.weight_device().iter().flatten().filter_map(|it| it.weight()));
        if let Some(weight) = weights.find(|it| *it != 0 && !(10..=1000).contains(it)) {
            return refuse("block i/o weight", weight.to_string(), "it must be 10 to 1000");
        }
    }
    Ok(())
}

/// The kernel says only that a cpu list is wrong; this adds which ones there are.
fn explain_cpuset(err: CgroupError, dir: &Dir, file: &str) -> CgroupError {
    let CgroupError::Limit { what, value, .. } = &err else { return err };
    let effective = [format!("{file}.effective"), file.replace("cpuset.", "cpuset.effective_")];
    let here = effective.iter().find_map(|it| dir.read_opt(it)).unwrap_or_default();
    let why = format!("not available here, or no list of numbers and ranges; available: {}", here.trim());
    CgroupError::Value { what, value: value.clone(), why }
}

/// crun's and runc's quadratic map of shares (2..262144, default 1024) onto weights (1..10000, default 100), so that the
/// default stays the default and both ends meet (runc issue 4772).
pub(super) fn weight_from_shares(shares: u64) -> u64 {
    let log = (shares.clamp(2, 262_144) as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    // The exact powers of ten must not be rounded up by the last bit of the float.
    ((10f64.powf(exponent) - 1e-6).ceil() as u64).clamp(1, 10_000)
}

/// blkio's 10..1000 onto io.weight's 1..10000, linearly.
fn io_weight_from_blkio(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}

fn is_busy(err: &io::Error) -> bool {
    err.raw_os_error() == Some(nix::errno::Errno::EBUSY as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::runtime::{LinuxCpuBuilder, LinuxMemoryBuilder, LinuxResourcesBuilder};
    use proptest::prelude::*;

    #[test]
    fn shares_map_onto_weights_with_fixed_points() {
        for (shares, weight) in
            [(2, 1), (1024, 100), (262_144, 10_000), (0, 1), (u64::MAX, 10_000), (512, 59), (2048, 174)]
        {
            assert_eq!(weight_from_shares(shares), weight, "{shares}");
        }
    }

    #[test]
    fn blkio_weights_meet_at_both_ends() {
        assert_eq!(io_weight_from_blkio(10), 1);
        assert_eq!(io_weight_from_blkio(1000), 10_000);
        assert_eq!(io_weight_from_blkio(500), 4950);
    }

    #[test]
    fn values_below_what_the_kernel_takes_are_named() {
        let check_one = |res: LinuxResources, part: &str| {
            let text = check(&res).unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
        };
        let cpu = LinuxCpuBuilder::default().quota(999).build().unwrap();
        check_one(LinuxResourcesBuilder::default().cpu(cpu).build().unwrap(), "cpu quota");
        let cpu = LinuxCpuBuilder::default().period(2_000_000u64).build().unwrap();
        check_one(LinuxResourcesBuilder::default().cpu(cpu).build().unwrap(), "cpu period");
        let memory = LinuxMemoryBuilder::default().limit(2 << 20).swap(1 << 20).build().unwrap();
        check_one(LinuxResourcesBuilder::default().memory(memory).build().unwrap(), "memory swap");
    }

    proptest! {
        #[test]
        fn weight_grows_with_shares(a in 2u64..262_144, b in 2u64..262_144) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(weight_from_shares(low) <= weight_from_shares(high));
            prop_assert!((1..=10_000).contains(&weight_from_shares(a)));
        }
    }
}
