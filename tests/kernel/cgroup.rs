//! Limits that limit, freezing, killing, figures and clean-up, on whatever hierarchies this host has.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use orlop::oci::runtime::{
    LinuxCpu, LinuxCpuBuilder, LinuxDeviceCgroupBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources,
    LinuxResourcesBuilder,
};
use orlop::runtime::cgroup::{Cgroup, CgroupError, Controller, Driver, FreezerState, Layout, Version};
use orlop::runtime::devices;

/// No step of these tests takes longer on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn until(what: &str, mut is_done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_done() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A cgroup of its own for each test; killed and removed however the test ends.
struct Group {
    cgroup: Option<Cgroup>,
    warnings: Vec<String>,
}

impl Group {
    fn new(name: &str, res: LinuxResources) -> Group {
        let path = format!("/orlop-test/{name}-{}", std::process::id());
        let (cgroup, warnings) = Cgroup::create(Path::new(&path), Some(&res), Driver::Cgroupfs).unwrap();
        Group { cgroup: Some(cgroup), warnings }
    }

    /// A shell that joins the cgroup before it runs `script`: everything it starts is inside.
    fn spawn(&self, script: &str) -> Child {
        let mut child = Command::new("sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        self.attach(child.id()).unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        child
    }

    fn run(&self, script: &str) -> (ExitStatus, String) {
        let out = self.spawn(script).wait_with_output().unwrap();
        (out.status, String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
    }
}

impl std::ops::Deref for Group {
    type Target = Cgroup;
    fn deref(&self) -> &Cgroup {
        self.cgroup.as_ref().unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(cgroup) = self.cgroup.take() {
            let _ = cgroup.kill_all(9);
            let _ = cgroup.thaw();
            let done = cgroup.destroy();
            assert!(done.is_ok() || std::thread::panicking(), "{done:?}");
        }
    }
}

fn nothing() -> LinuxResources {
    LinuxResources::default()
}

/// Prints why a test cannot run on this host.
fn lacks(controller: Controller) -> bool {
    let is_missing = Layout::discover().unwrap().owner(controller).is_none();
    if is_missing {
        println!("cannot run here: no {} controller", controller.name());
    }
    is_missing
}

#[test]
fn memory_limit_kills_and_is_seen_in_the_events() {
    if lacks(Controller::Memory) {
        return;
    }
    let memory = LinuxMemoryBuilder::default().limit(16 << 20).swap(16 << 20).build().unwrap();
    let group = Group::new("oom", LinuxResourcesBuilder::default().memory(memory).build().unwrap());
    assert_eq!(group.stats().unwrap().memory_limit_bytes, Some(16 << 20));
    let oom = group.oom_fd().expect("a memory controller has an OOM descriptor");
    let (status, text) = group.run("head -c 100000000 /dev/zero | tail -c 90000000 | wc -c");
    until("the OOM kill is counted", || group.memory_events().oom_kill > 0);
    let mut fds = [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(&oom), nix::poll::PollFlags::POLLIN)];
    assert_eq!(nix::poll::poll(&mut fds, 10_000u16), Ok(1), "{status} {text}");
    let is_v2 = Layout::discover().unwrap().owner(Controller::Memory).is_some_and(|it| it.version == Version::V2);
    assert!(!is_v2 || group.memory_events().max > 0); // v1 kernels differ in whether a failed charge counts.
    assert!(group.stats().unwrap().memory_max_usage_bytes.is_none_or(|it| it > 8 << 20));
}

#[test]
fn memory_limits_can_grow_and_shrink() {
    if lacks(Controller::Memory) {
        return;
    }
    let with = |limit: i64, swap: i64| {
        let memory = LinuxMemoryBuilder::default().limit(limit).swap(swap).build().unwrap();
        LinuxResourcesBuilder::default().memory(memory).build().unwrap()
    };
    let group = Group::new("grow", with(32 << 20, 64 << 20));
    for (limit, swap) in [(128, 256), (16, 16), (16, 32), (64, 64)] {
        group.update(&with(limit << 20, swap << 20)).unwrap();
        assert_eq!(group.stats().unwrap().memory_limit_bytes, Some((limit as u64) << 20));
    }
    group.update(&with(-1, -1)).unwrap();
    assert_eq!(group.stats().unwrap().memory_limit_bytes, None);
    assert!(matches!(group.update(&with(64 << 20, 32 << 20)), Err(CgroupError::Value { .. })));
}

fn cpu(build: impl FnOnce(LinuxCpuBuilder) -> LinuxCpuBuilder) -> LinuxResources {
    let cpu: LinuxCpu = build(LinuxCpuBuilder::default()).build().unwrap();
    LinuxResourcesBuilder::default().cpu(cpu).build().unwrap()
}

#[test]
fn cpu_quota_throttles() {
    if lacks(Controller::Cpu) {
        return;
    }
    let group = Group::new("quota", cpu(|it| it.quota(5_000).period(50_000u64)));
    let mut busy = group.spawn("while :; do :; done");
    until("throttled time is counted", || {
        let stats = group.stats().unwrap();
        stats.throttled.n_throttled >= 5 && stats.throttled.throttled_ns > 50_000_000
    });
    let before = group.stats().unwrap();
    assert!(before.cpu_usage_ns > 0 && before.cpu_user_ns + before.cpu_system_ns > 0);
    let share = before.cpu_usage_ns as f64 / (before.throttled.n_periods as f64 * 50e6);
    assert!(share < 0.25, "a tenth of a cpu was allowed, {share:.2} was used");
    group.update(&cpu(|it| it.quota(-1))).unwrap();
    until("nothing holds it back any more", || {
        let now = group.stats().unwrap().cpu_usage_ns;
        std::thread::sleep(Duration::from_millis(50));
        group.stats().unwrap().cpu_usage_ns - now > 10_000_000
    });
    group.kill_all(9).unwrap();
    busy.wait().unwrap();
}

#[test]
fn shares_period_and_burst_are_written() {
    if lacks(Controller::Cpu) {
        return;
    }
    let group = Group::new("shares", cpu(|it| it.shares(512u64).quota(50_000).period(100_000u64).burst(10_000u64)));
    let dir = group
        .dirs()
        .into_iter()
        .find(|dir| dir.join("cpu.shares").exists() || dir.join("cpu.weight").exists())
        .unwrap();
    let read = |file: &str| std::fs::read_to_string(dir.join(file)).unwrap().trim().to_owned();
    if dir.join("cpu.shares").exists() {
        assert_eq!((read("cpu.shares"), read("cpu.cfs_quota_us")), ("512".to_owned(), "50000".to_owned()));
    } else {
        assert_eq!((read("cpu.weight"), read("cpu.max")), ("59".to_owned(), "50000 100000".to_owned()));
    }
}

#[test]
fn pids_limit_refuses_forks() {
    if lacks(Controller::Pids) {
        return;
    }
    let with = |limit: i64| {
        LinuxResourcesBuilder::default()
            .pids(LinuxPidsBuilder::default().limit(limit).build().unwrap())
            .build()
            .unwrap()
    };
    let group = Group::new("pids", with(4));
    let (_, text) = group.run("for i in 1 2 3 4 5 6 7 8; do sleep 60 >/dev/null 2>&1 & done; echo unreached-or-not");
    assert!(text.to_lowercase().contains("fork"), "{text}");
    let stats = group.stats().unwrap();
    assert_eq!(stats.pids_limit, Some(4));
    assert!(stats.pids_current <= 4 && stats.n_processes >= 1);
    for unlimited in [0, -1] {
        group.update(&with(unlimited)).unwrap();
        assert_eq!(group.stats().unwrap().pids_limit, None);
    }
    group.kill_all(9).unwrap();
}

#[test]
fn cpuset_is_inherited_and_wrong_cpus_are_named() {
    if lacks(Controller::Cpuset) {
        return;
    }
    let group = Group::new("cpuset", cpu(|it| it.cpus("0").mems("0")));
    let (_, text) = group.run("grep Cpus_allowed_list /proc/self/status");
    assert_eq!(text.split_whitespace().last(), Some("0"), "{text}");
    let err = group.update(&cpu(|it| it.cpus("4000"))).map(drop);
    if let Err(err) = err {
        assert!(err.to_string().contains("4000"), "{err}");
    }
    let free = Group::new("cpuset-free", nothing());
    assert!(free.run("true").0.success());
}

#[test]
fn frozen_processes_stand_still_and_thawed_ones_go_on() {
    let group = Group::new("freeze", nothing());
    let mut busy = group.spawn("while :; do :; done");
    let usage = || group.stats().unwrap().cpu_usage_ns;
    until("it runs", || usage() > 0);
    group.freeze().unwrap();
    assert_eq!(group.freezer_state().unwrap(), FreezerState::Frozen);
    let frozen_at = usage();
    std::thread::sleep(Duration::from_millis(100)); // Nothing may happen: there is no event to wait for.
    assert_eq!(usage(), frozen_at);
    group.thaw().unwrap();
    assert_eq!(group.freezer_state().unwrap(), FreezerState::Thawed);
    until("it runs again", || usage() > frozen_at);
    group.freeze().unwrap();
    group.kill_all(9).unwrap(); // A paused container dies too.
    busy.wait().unwrap();
}

#[test]
fn kill_all_reaches_everybody_and_keeps_the_state() {
    let group = Group::new("kill", nothing());
    let mut tree = group
        .spawn("trap 'exit 7' TERM; for i in 1 2 3 4 5; do sleep 60 & done; (sleep 60; true) & while :; do wait; done");
    until("all are there", || group.pids().unwrap().len() >= 7);
    group.kill_all(15).unwrap();
    assert_eq!(tree.wait().unwrap().code(), Some(7));
    assert_eq!(group.freezer_state().unwrap(), FreezerState::Thawed);
    let mut rest = group.spawn("trap '' TERM; while :; do (:); done"); // forks all the time
    group.kill_all(9).unwrap();
    rest.wait().unwrap();
    until("the cgroup is empty", || group.pids().unwrap().is_empty());
}

#[test]
fn another_process_finds_it_by_its_record() {
    let group = Group::new("record", nothing());
    let text = serde_json::to_string(&group.record()).unwrap();
    let again = Cgroup::open(&serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!(again.record(), group.record());
    assert_eq!(again.dirs(), group.dirs());
    let mut newer = group.record();
    newer.version += 1;
    assert!(matches!(Cgroup::open(&newer), Err(CgroupError::RecordVersion(_))));
    let record = group.record();
    drop(group);
    assert!(matches!(Cgroup::open(&record), Err(CgroupError::Gone(_))));
    assert!(matches!(again.stats(), Err(CgroupError::Gone(_))));
    assert_eq!(again.pids().unwrap(), Vec::<u32>::new());
    again.destroy().unwrap(); // Gone already: fine.
}

#[test]
fn destroy_takes_nested_cgroups_and_leaves_nothing() {
    let mut group = Group::new("nested", nothing());
    let dirs = group.dirs();
    for dir in &dirs {
        std::fs::create_dir_all(dir.join("a/b/c")).unwrap();
    }
    group.cgroup.take().unwrap().destroy().unwrap();
    assert_eq!(dirs.iter().filter(|dir| dir.exists()).count(), 0);
}

#[test]
fn a_busy_path_is_refused_and_a_left_over_one_replaced() {
    let group = Group::new("busy", nothing());
    let mut child = group.spawn("sleep 60");
    let create = || Cgroup::create(group.path(), Some(&nothing()), Driver::Cgroupfs);
    assert!(matches!(create(), Err(CgroupError::InUse { .. })));
    assert!(group.dirs().iter().all(|dir| dir.exists()));
    group.kill_all(9).unwrap();
    child.wait().unwrap();
    let is_empty = |dir: &PathBuf| std::fs::read_to_string(dir.join("cgroup.procs")).unwrap().is_empty();
    until("every hierarchy has let them go", || group.dirs().iter().all(is_empty));
    drop(create().unwrap());
}

#[test]
fn a_wrong_limit_leaves_nothing_behind() {
    let path = PathBuf::from(format!("/orlop-test/wrong-{}", std::process::id()));
    assert!(Cgroup::create(&path, Some(&cpu(|it| it.quota(5))), Driver::Cgroupfs).is_err());
    let left = Layout::discover().unwrap().hierarchies;
    let left: Vec<_> =
        left.iter().map(|it| it.mountpoint.join(path.strip_prefix("/").unwrap())).filter(|it| it.exists()).collect();
    assert_eq!(left, Vec::<PathBuf>::new());
}

#[test]
fn devices_are_filtered_and_can_be_opened_up() {
    let deny = devices::docker_default_rules().unwrap();
    let res = |rules| LinuxResourcesBuilder::default().devices::<Vec<_>>(rules).build().unwrap();
    let group = Group::new("devices", res(deny.clone()));
    assert_eq!(group.warnings, Vec::<String>::new());
    let dir = tempfile::tempdir().unwrap();
    let mem = dir.path().join("kmsg");
    nix::sys::stat::mknod(
        &mem,
        nix::sys::stat::SFlag::S_IFCHR,
        nix::sys::stat::Mode::S_IRWXU,
        nix::sys::stat::makedev(1, 11),
    )
    .unwrap();
    let script =
        format!("head -c 1 /dev/zero >/dev/null && echo null-works; true < {} && echo kmsg-works; true", mem.display());
    let (_, text) = group.run(&script);
    assert!(text.contains("null-works") && !text.contains("kmsg-works"), "{text}");
    assert!(text.contains("ermi"), "refused by permission: {text}");
    let mut open = deny.clone();
    let mut rule = LinuxDeviceCgroupBuilder::default()
        .allow(true)
        .typ(orlop::oci::runtime::LinuxDeviceType::C)
        .access("r")
        .build()
        .unwrap();
    rule.set_major(Some(1)).set_minor(Some(11));
    open.push(rule);
    group.update(&res(open)).unwrap();
    assert!(group.run(&script).1.contains("kmsg-works"));
    group.update(&res(deny)).unwrap();
    assert!(!group.run(&script).1.contains("kmsg-works"));
}

#[test]
fn the_container_sees_what_it_was_put_into() {
    let group = Group::new("mounts", nothing());
    let mounts = group.container_mounts();
    assert_eq!(mounts.len(), group.dirs().len());
    let is_v2_alone = Layout::discover().unwrap().hierarchies.iter().all(|it| it.version == Version::V2);
    assert_eq!(mounts[0].destination.as_os_str().is_empty(), is_v2_alone);
    assert!(mounts.iter().all(|it| it.host_dir.exists() && (it.fs_type == "cgroup2") == it.data.is_empty()));
}

#[test]
fn systemd_form_is_made_by_cgroupfs_with_a_warning() {
    let form = format!("orlop-test.slice:t:{}", std::process::id());
    let (cgroup, warnings) = Cgroup::create(Path::new(&form), None, true).unwrap();
    assert_eq!(cgroup.path(), Path::new(&format!("/orlop.slice/orlop-test.slice/t-{}.scope", std::process::id())));
    assert!(warnings[0].contains("systemd"));
    let dirs = cgroup.dirs();
    cgroup.destroy().unwrap();
    for dir in dirs {
        // The slices are this test's alone.
        let _ = std::fs::remove_dir(dir.parent().unwrap());
        let _ = std::fs::remove_dir(dir.parent().unwrap().parent().unwrap());
    }
}

/// Of two first containers of a store, one finds the store's cgroup made by the other and not yet given any CPU.
#[test]
fn a_parent_without_cpus_gets_them_before_anybody_enters() {
    let owner = Layout::discover().unwrap();
    let Some(cpusets) = owner.owner(Controller::Cpuset).filter(|it| it.version == Version::V1) else {
        println!("cannot run here: no cpuset controller of cgroup v1");
        return;
    };
    let name = format!("halfmade-{}", std::process::id());
    let parent = cpusets.mountpoint.join("orlop-test").join(&name);
    std::fs::create_dir_all(&parent).unwrap();
    let path = format!("/orlop-test/{name}/own");
    let (cgroup, _) = Cgroup::create(Path::new(&path), None, Driver::Cgroupfs).unwrap();
    let group = Group { cgroup: Some(cgroup), warnings: Vec::new() };
    assert!(group.run("true").0.success());
    let dirs = group.dirs();
    drop(group);
    for dir in dirs {
        // One per hierarchy, made by the create; this test's alone.
        let _ = std::fs::remove_dir(dir.parent().unwrap());
    }
    let _ = std::fs::remove_dir(parent);
}
