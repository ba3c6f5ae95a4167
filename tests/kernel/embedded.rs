//! The embedded engine under bad luck and bad input: killed clients and shims, two engines at once, limits that limit, a full disk. Every test
//! counts what is there before and after: mounts, cgroups, processes, directories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orlop::config::Places;
use orlop::embedded::{Embedded, EmbeddedSettings};
use orlop::engine::container::Status;
use orlop::engine::spec::MountKind;
use orlop::engine::{
    Class, ContainerDetail, ContainerSpec, Engine, EngineError, EventsQuery, ExecSpec, Force, ImportImage,
    ListContainers, LogsQuery, MountSpec, Progress, RemoveContainer, StatsQuery, StopOptions, WaitCondition,
};
use orlop::shim::RunState;

#[path = "../contract/world.rs"]
#[allow(dead_code, reason = "the contract suite's helpers; only the image is taken from there")]
mod world;

pub(crate) use world::busybox_tar;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// A child test process finds its store here; without it the child tests do nothing.
pub(crate) const CHILD_ROOT: &str = "ORLOP_TEST_CHILD_ROOT";

/// A store of its own in a temporary directory, with one image.
pub(crate) struct Lab {
    pub(crate) dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    pub(crate) engine: Arc<Embedded>,
}

/// What an engine could leak.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    mounts: usize,
    cgroups: Vec<PathBuf>,
    processes: usize,
    entries: Vec<String>,
}

pub(crate) fn places(root: &Path) -> Places {
    Places { root: root.join("root"), run: root.join("run") }
}

pub(crate) fn open(root: &Path) -> Arc<Embedded> {
    let program = Some(PathBuf::from(env!("CARGO_BIN_EXE_orlop")));
    Embedded::open(places(root), EmbeddedSettings { program, ..EmbeddedSettings::default() }).expect("the engine opens")
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::at(tempfile::Builder::new().prefix("orlop-kernel-").tempdir().unwrap())
    }

    fn at(dir: tempfile::TempDir) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "these tests need root");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let _inside = runtime.enter();
        let engine = open(dir.path());
        let archive = Box::new(std::io::Cursor::new(busybox_tar().unwrap()));
        let options = ImportImage {
            reference: Some("busybox".to_owned()),
            changes: vec!["ENV PATH=/bin".to_owned(), "CMD [\"sh\"]".to_owned()],
            ..ImportImage::default()
        };
        runtime.block_on(engine.images().import(archive, &options, Progress::none())).unwrap();
        drop(_inside);
        Self { dir, runtime, engine }
    }

    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        let bounded = async { tokio::time::timeout(PATIENCE, work).await.expect("it ends in time") };
        self.runtime.block_on(bounded)
    }

    pub(crate) fn create(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        self.block_on(self.engine.containers().create(None, spec)).map(|made| made.id)
    }

    pub(crate) fn run(&self, spec: &ContainerSpec) -> String {
        let id = self.create(spec).unwrap();
        self.block_on(self.engine.containers().start(&id)).unwrap();
        id
    }

    /// Runs to the end: the exit code and everything it wrote.
    pub(crate) fn output(&self, spec: &ContainerSpec) -> (i32, String) {
        let id = self.run(spec);
        let exit = self.block_on(self.engine.containers().wait(&id, WaitCondition::NotRunning)).unwrap();
        let text = self.log(&id);
        self.remove(&id);
        (exit.code, text)
    }

    pub(crate) fn log(&self, id: &str) -> String {
        self.block_on(async {
            let mut stream = self.engine.containers().logs(id, &LogsQuery::default()).await.unwrap();
            let mut text = String::new();
            while let Some(chunk) = stream.next().await {
                let chunk = chunk.unwrap();
                for entry in &chunk.entries {
                    text.push_str(&String::from_utf8_lossy(chunk.line(entry)));
                    text.push('\n');
                }
            }
            text
        })
    }

    pub(crate) fn inspect(&self, id: &str) -> ContainerDetail {
        self.block_on(self.engine.containers().inspect(id)).unwrap()
    }

    pub(crate) fn remove(&self, id: &str) {
        let options = RemoveContainer { force: true, volumes: true };
        self.block_on(self.engine.containers().remove(id, &options)).unwrap();
    }

    pub(crate) fn all(&self) -> Vec<String> {
        let query = ListContainers { all: true, ..ListContainers::default() };
        let rows = self.block_on(self.engine.containers().list(&query)).unwrap();
        rows.into_iter().map(|row| row.id).collect()
    }

    pub(crate) fn state(&self, id: &str) -> RunState {
        RunState::read(&places(self.dir.path()).container_dir(id).join("state.json")).unwrap().unwrap_or_default()
    }

    /// Everything that is here now.
    pub(crate) fn census(&self) -> Census {
        let places = places(self.dir.path());
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let here = self.dir.path().to_string_lossy().into_owned();
        let mounts = text.lines().filter(|line| line.contains(&here)).count();
        let mut entries = Vec::new();
        let dirs = ["containers", "names", "tmp", "volumes"].map(|name| places.root.join(name));
        for dir in dirs.into_iter().chain([places.run]) {
            let names = std::fs::read_dir(&dir).unwrap().flatten().map(|entry| entry.path().display().to_string());
            entries.extend(names);
        }
        entries.sort();
        Census { mounts, cgroups: self.cgroups(), processes: self.lasting_processes(), entries }
    }

    /// A test beside this one may be starting a program: until that executes it holds all that this process has open.
    fn lasting_processes(&self) -> usize {
        let mut n_least = self.processes();
        for _ in 0..20 {
            if n_least == 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
            n_least = n_least.min(self.processes());
        }
        n_least
    }

    /// Directories of this store's containers in every hierarchy.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let info = self.runtime.block_on(self.engine.system().info()).unwrap();
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let roots = text.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
        let prefix = format!("{}-", info.id);
        let is_own = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(&prefix);
        let mut found = Vec::new();
        for root in roots {
            let entries = std::fs::read_dir(Path::new(root).join("orlop")).into_iter().flatten().flatten();
            found.extend(entries.map(|entry| entry.path()).filter(is_own));
        }
        found.sort();
        found
    }

    /// Whoever holds something of this store open or has its directories mounted: shims and what runs in containers.
    fn processes(&self) -> usize {
        let here = self.dir.path().to_string_lossy().into_owned();
        let holds = |dir: &Path| {
            let fds = std::fs::read_dir(dir.join("fd")).into_iter().flatten().flatten();
            let mut links = fds.filter_map(|fd| std::fs::read_link(fd.path()).ok());
            links.any(|link| link.to_string_lossy().starts_with(&here))
                || std::fs::read_to_string(dir.join("mountinfo")).is_ok_and(|text| text.contains(&here))
        };
        let all = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let is_other = |dir: &PathBuf| {
            let pid = dir.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
            pid.is_some_and(|pid| pid != std::process::id())
        };
        all.filter(is_other).filter(|dir| holds(dir)).count()
    }

    /// Polls until nothing but `before` is there.
    pub(crate) fn settles_to(&self, before: &Census) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.census();
            if now == *before {
                return;
            }
            assert!(Instant::now() < deadline, "left behind: {now:#?}\nbefore: {before:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A failed test leaves no container running.
impl Drop for Lab {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let engine = &self.engine;
        let tidy = async {
            let all = ListContainers { all: true, ..ListContainers::default() };
            for row in engine.containers().list(&all).await.unwrap_or_default() {
                let options = RemoveContainer { force: true, volumes: true };
                // The first failure is the one to tell.
                let _ = engine.containers().remove(&row.id, &options).await;
            }
        };
        let _ = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, tidy).await });
    }
}

pub(crate) fn sh(script: &str) -> ContainerSpec {
    let cmd = ["sh", "-c", script].iter().map(|word| (*word).to_owned()).collect();
    ContainerSpec {
        image: "busybox".to_owned(),
        cmd: Some(cmd),
        network_mode: Some("none".to_owned()),
        ..ContainerSpec::default()
    }
}

#[test]
fn what_a_container_sees_is_its_own() {
    let lab = Lab::new();
    let before = lab.census();
    let spec = ContainerSpec {
        hostname: Some("boat".to_owned()),
        working_dir: Some("/tmp".to_owned()),
        ..sh("hostname; pwd; id; ps | wc -l; ls /data; cat /proc/self/status | grep CapEff; echo $A $HOME")
    };
    let spec = ContainerSpec { env: vec!["A=b".to_owned()], ..spec };
    let (code, text) = lab.output(&spec);
    assert_eq!(code, 0, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["boat", "/tmp"], "{text}");
    assert!(lines[2].starts_with("uid=0(root) gid=0(root)"), "{text}");
    assert!(lines[3].trim().parse::<u32>().unwrap() < 8, "only its own processes: {text}");
    assert_eq!(lines[4], "seed", "{text}");
    assert!(lines[5].ends_with("00000000a80425fb"), "docker's fourteen capabilities: {text}");
    assert_eq!(lines[6], "b /root", "{text}");
    lab.settles_to(&before);
}

#[test]
fn users_are_the_images() {
    let lab = Lab::new();
    let before = lab.census();
    let as_user = |user: &str| {
        lab.output(&ContainerSpec { user: Some(user.to_owned()), ..sh("id; grep CapEff /proc/self/status") })
    };
    let (_, text) = as_user("web");
    assert!(text.starts_with("uid=33(web) gid=34(web) groups=") && text.contains("29(audio)"), "{text}");
    assert!(text.contains("CapEff:\t0000000000000000"), "{text}");
    assert!(as_user("1234:5678").1.starts_with("uid=1234 gid=5678"), "numbers need no entry");
    let id = lab.create(&ContainerSpec { user: Some("nobody-here".to_owned()), ..sh("true") }).unwrap();
    let error = lab.block_on(lab.engine.containers().start(&id)).unwrap_err();
    assert!(error.to_string().contains("unable to find user nobody-here"), "{error}");
    lab.remove(&id);
    lab.settles_to(&before);
}

#[test]
fn volumes_are_filled_shared_and_go_with_their_container() {
    let lab = Lab::new();
    let before = lab.census();
    let volume = |name: Option<&str>| MountSpec {
        kind: MountKind::Volume {
            name: name.map(str::to_owned),
            no_copy: false,
            subpath: None,
            labels: BTreeMap::new(),
        },
        target: "/data".to_owned(),
        read_only: false,
    };
    let named = |script: &str| ContainerSpec { mounts: vec![volume(Some("shared"))], ..sh(script) };
    assert_eq!(lab.output(&named("cat /data/seed; echo more > /data/more")), (0, "from the image\n".to_owned()));
    assert_eq!(lab.output(&named("cat /data/more")), (0, "more\n".to_owned()));
    let host = tempfile::tempdir().unwrap();
    std::fs::write(host.path().join("f"), "of the host\n").unwrap();
    let bind = MountSpec {
        kind: MountKind::Bind {
            source: host.path().display().to_string(),
            propagation: None,
            create: false,
            non_recursive: false,
        },
        target: "/host".to_owned(),
        read_only: true,
    };
    let (code, text) = lab.output(&ContainerSpec { mounts: vec![bind], ..sh("cat /host/f; touch /host/g") });
    assert!(code != 0 && text.starts_with("of the host\n") && text.contains("Read-only file system"), "{text}");
    let spec = ContainerSpec { auto_remove: true, mounts: vec![volume(None)], ..sh("sleep 60") };
    let id = lab.run(&spec);
    assert_eq!(lab.block_on(lab.engine.volumes().list(&Default::default())).unwrap().len(), 2);
    lab.block_on(lab.engine.containers().kill(&id, "KILL")).unwrap();
    let names = || -> Vec<String> {
        let left = lab.block_on(lab.engine.volumes().list(&Default::default())).unwrap();
        left.into_iter().map(|volume| volume.name).collect()
    };
    let deadline = Instant::now() + PATIENCE;
    while names() != ["shared"] {
        assert!(Instant::now() < deadline, "{:?}", names());
        std::thread::sleep(Duration::from_millis(20));
    }
    lab.block_on(lab.engine.volumes().remove("shared", Force::No)).unwrap();
    lab.settles_to(&before);
}

#[test]
fn the_small_init_passes_signals_on_and_reaps() {
    let lab = Lab::new();
    let script = "trap 'echo got it; exit 5' TERM; (sleep 0.1 &) ; echo ready; while true; do sleep 0.1; done";
    let id = lab.run(&ContainerSpec { init: true, ..sh(script) });
    let deadline = Instant::now() + PATIENCE;
    while !lab.log(&id).contains("ready") {
        assert!(Instant::now() < deadline, "it does not begin: {}", lab.log(&id));
        std::thread::sleep(Duration::from_millis(20));
    }
    lab.block_on(lab.engine.containers().stop(&id, &StopOptions::default())).unwrap();
    let exit = lab.inspect(&id).state.exit.unwrap();
    assert_eq!(exit.code, 5, "{exit:?} {}", lab.log(&id));
    assert!(lab.log(&id).contains("got it"));
    lab.remove(&id);
}

#[test]
fn a_killed_shim_is_recorded_swept_and_told() {
    let lab = Lab::new();
    let before = lab.census();
    let id = lab.run(&sh("sleep 600 & sleep 600"));
    let mut events = lab.block_on(lab.engine.system().events(&EventsQuery::default())).unwrap();
    let state = lab.state(&id);
    let (shim, init) = (state.shim.unwrap(), state.init.unwrap());
    kill(Pid::from_raw(shim.pid as i32), Signal::SIGKILL).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while init.exists() || shim.exists() {
        assert!(Instant::now() < deadline, "the container outlives its shim");
        std::thread::sleep(Duration::from_millis(5));
    }
    let detail = lab.inspect(&id);
    assert_eq!(detail.state.status, Status::Exited);
    assert!(detail.state.error.contains("shim"), "{:?}", detail.state);
    let die = lab.block_on(events.next()).unwrap().unwrap();
    assert_eq!((die.action.as_str(), die.id.as_str()), ("die", id.as_str()));
    assert!(lab.cgroups().is_empty(), "{:?}", lab.cgroups());
    lab.block_on(lab.engine.containers().start(&id)).expect("it can be started again");
    lab.remove(&id);
    lab.settles_to(&before);
}

/// A record as an earlier boot of the host left it: nothing lives, and the shim's number may be anybody's.
fn as_of_an_earlier_boot(lab: &Lab, id: &str) {
    let path = places(lab.dir.path()).container_dir(id).join("state.json");
    let mut state = lab.state(id);
    state.boot_id = Some("an earlier one".to_owned());
    state.shim = orlop::shim::ProcessRef::of(std::process::id());
    state.write(&path, orlop::stdx::atomic::Durability::Ordered).unwrap();
}

#[test]
fn what_is_to_come_back_after_a_restart_of_the_host_does() {
    use orlop::engine::RestartPolicy as Policy;
    let lab = Lab::new();
    let before = lab.census();
    let cases = [
        (Policy::No, false, Status::Exited),
        (Policy::Always, false, Status::Running),
        (Policy::UnlessStopped, false, Status::Running),
        (Policy::UnlessStopped, true, Status::Exited),
        (Policy::OnFailure { max_retries: 3 }, false, Status::Running),
    ];
    let mut ids = Vec::new();
    for (restart, is_stopped, _) in &cases {
        let id = lab.run(&ContainerSpec { restart: *restart, ..sh("exec sleep 600") });
        if *is_stopped {
            lab.block_on(lab.engine.containers().kill(&id, "KILL")).unwrap();
            lab.block_on(lab.engine.containers().wait(&id, WaitCondition::NotRunning)).unwrap();
        } else {
            // As a power cut: no shim writes a last word.
            let shim = lab.state(&id).shim.unwrap();
            kill(Pid::from_raw(shim.pid as i32), Signal::SIGKILL).unwrap();
            let deadline = Instant::now() + PATIENCE;
            while shim.exists() {
                assert!(Instant::now() < deadline, "it survives SIGKILL");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        as_of_an_earlier_boot(&lab, &id);
        ids.push(id);
    }
    // What this boot has seen is forgotten with it; the next open is the first.
    std::fs::write(places(lab.dir.path()).root.join("boot"), "an earlier one").unwrap();
    let inside = lab.runtime.enter();
    drop(open(lab.dir.path()));
    drop(inside);
    for (id, (restart, is_stopped, wanted)) in ids.iter().zip(cases) {
        let state = lab.inspect(id).state;
        assert_eq!(state.status, wanted, "{restart:?}, stopped: {is_stopped}: {state:?}");
        if restart == Policy::No {
            assert!(state.error.contains("host was restarted"), "{state:?}");
            assert_eq!(state.exit.unwrap().code, 255);
        }
        lab.remove(id);
    }
    lab.settles_to(&before);
}

#[test]
fn limits_limit() {
    let lab = Lab::new();
    let before = lab.census();
    let mut hungry = sh("dd if=/dev/zero of=/dev/null bs=200M count=1");
    hungry.resources.memory_bytes = Some(32 << 20);
    hungry.resources.memory_swap_bytes = Some(32 << 20);
    let id = lab.run(&hungry);
    let exit = lab.block_on(lab.engine.containers().wait(&id, WaitCondition::NotRunning)).unwrap();
    assert!(exit.oom_killed && exit.code == 137, "{exit:?}");
    lab.remove(&id);

    let mut forking = sh("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; wait");
    forking.resources.pids_limit = Some(6);
    let (code, text) = lab.output(&forking);
    assert!(code != 0 && text.contains("fork"), "{code} {text}");

    let mut busy = sh("while true; do :; done");
    busy.resources.nano_cpus = Some(200_000_000);
    let id = lab.run(&busy);
    let samples: Vec<_> = lab.block_on(async {
        let stream = lab.engine.containers().stats(&id, &StatsQuery::default()).await.unwrap();
        stream.take(4).map(|sample| sample.unwrap()).collect().await
    });
    let (first, last) = (&samples[1], &samples[3]);
    let wall = last.read_at.duration_since(first.read_at).unwrap().as_secs_f64();
    let share = (last.cpu_total_ns - first.cpu_total_ns) as f64 / 1e9 / wall;
    assert!((0.02..0.30).contains(&share), "a fifth of a CPU was allowed, {share:.2} used");
    assert!(last.throttled_periods > 0, "{last:?}");
    lab.remove(&id);
    lab.settles_to(&before);
}

#[test]
fn bad_input_is_told_in_a_sentence_and_leaves_nothing() {
    let lab = Lab::new();
    let before = lab.census();
    let with = |change: fn(&mut ContainerSpec)| {
        let mut spec = sh("true");
        change(&mut spec);
        spec
    };
    let refused: [(ContainerSpec, &str); 8] = [
        (with(|s| s.image = "nope".into()), "No such image: nope"),
        (with(|s| s.resources.memory_bytes = Some(4096)), "Minimum memory limit allowed is 6MB"),
        (with(|s| s.network_mode = Some("mine".into())), "network mine not found"),
        (with(|s| s.network_mode = Some("container:nope".into())), "No such container: nope"),
        (with(|s| s.stop_signal = Some("NOPE".into())), "invalid signal: NOPE"),
        (with(|s| s.volumes_from = vec!["nope".into()]), "No such container: nope"),
        (with(|s| s.resources.devices = vec!["x".into()]), "invalid device specification: x"),
        (with(|s| s.log.driver = "nope".into()), "no log driver named 'nope'"),
    ];
    for (spec, says) in refused {
        let error = lab.create(&spec).unwrap_err();
        assert!(error.to_string().contains(says), "{error} does not say {says}");
        lab.settles_to(&before);
    }
    let fails_to_start: [(ContainerSpec, &str, Option<u8>); 4] = [
        (with(|s| s.cmd = Some(vec!["nope".into()])), "executable file not found in $PATH", Some(127)),
        (with(|s| s.cmd = Some(vec!["/bin/not-executable".into()])), "permission denied", Some(126)),
        (with(|s| s.cmd = Some(vec!["/data".into()])), "", Some(126)),
        (with(|s| s.resources.devices = vec!["/dev/nope".into()]), "gathering device information", Some(125)),
    ];
    for (spec, says, code) in fails_to_start {
        let id = lab.create(&spec).unwrap();
        let error = lab.block_on(lab.engine.containers().start(&id)).unwrap_err();
        assert!(error.to_string().contains(says), "{error} does not say {says}");
        assert_eq!(error.exit_code, code, "{error:?}");
        assert!(!lab.inspect(&id).state.error.is_empty());
        lab.remove(&id);
        lab.settles_to(&before);
    }
}

#[test]
fn who_waits_for_the_next_exit_hears_of_a_start_that_fails() {
    let lab = Lab::new();
    let id = lab.create(&ContainerSpec { cmd: Some(vec!["nope".to_owned()]), ..sh("") }).unwrap();
    for _ in 0..2 {
        let (exit, started) = lab.block_on(async {
            let exited = lab.engine.containers().wait(&id, WaitCondition::NextExit);
            tokio::join!(exited, lab.engine.containers().start(&id))
        });
        assert_eq!(started.unwrap_err().exit_code, Some(127));
        let exit = exit.unwrap();
        assert!(exit.code == 127 && exit.error.is_some_and(|text| text.contains("nope")), "{:?}", lab.state(&id));
    }
    lab.remove(&id);
}

#[test]
fn a_full_disk_refuses_and_keeps_what_is_there() {
    let dir = tempfile::Builder::new().prefix("orlop-kernel-").tempdir().unwrap();
    nix::mount::mount(Some("tmpfs"), dir.path(), Some("tmpfs"), nix::mount::MsFlags::empty(), Some("size=16m"))
        .unwrap();
    let place = dir.path().to_owned();
    let mounted = Unmount(place.clone());
    let lab = Lab::at(dir);
    let kept = lab.create(&sh("true")).unwrap();
    let filler = lab.dir.path().join("filler");
    let filled = std::fs::write(&filler, vec![0u8; 32 << 20]);
    assert!(filled.is_err(), "the disk was to be full");
    let error = lab.create(&sh("true")).unwrap_err();
    assert_eq!(error.class, Class::Full, "{error:?}");
    assert!(error.hint.is_some());
    std::fs::remove_file(&filler).unwrap();
    assert_eq!(lab.all(), std::slice::from_ref(&kept));
    assert_eq!(lab.output(&sh("echo works again")), (0, "works again\n".to_owned()));
    lab.remove(&kept);
    drop(lab);
    drop(mounted);
    // A mount point could not be removed with what was in it.
    std::fs::remove_dir(&place).unwrap();
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

fn child(lab: &Lab, test: &str) -> std::process::Child {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("embedded::{test}"), "--nocapture", "--test-threads", "1"])
        .env(CHILD_ROOT, lab.dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

/// Not a test by itself: goes on until it is killed.
#[test]
fn child_runs_for_ever() {
    let Some(root) = std::env::var_os(CHILD_ROOT) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let engine = open(Path::new(&root));
    runtime.block_on(async {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let id = engine.containers().create(None, &sh("sleep 600")).await.unwrap().id;
            engine.containers().start(&id).await.unwrap();
            let spec = ExecSpec { cmd: vec!["true".to_owned()], ..ExecSpec::default() };
            let exec_id = engine.execs().create(&id, &spec).await.unwrap();
            engine.execs().start_detached(&exec_id).await.unwrap();
            engine.containers().rename(&id, &format!("renamed-{}", &id[..12])).await.unwrap();
            engine.containers().remove(&id, &RemoveContainer { force: true, volumes: true }).await.unwrap();
        }
    });
}

#[test]
fn a_client_killed_at_any_moment_leaves_a_store_that_works() {
    let lab = Lab::new();
    let before = lab.census();
    for round in 0..12u64 {
        let mut process = child(&lab, "child_runs_for_ever");
        let begun = Instant::now() + Duration::from_millis(120 + round * 17);
        while Instant::now() < begun {
            lab.all();
        }
        process.kill().unwrap();
        process.wait().unwrap();
        for id in lab.all() {
            let detail = lab.inspect(&id);
            assert!(
                matches!(detail.state.status, Status::Created | Status::Running | Status::Exited),
                "{:?}",
                detail.state
            );
            lab.remove(&id);
        }
    }
    // What a kill in the middle of a create left is swept once it is old enough to be nobody's.
    for entry in std::fs::read_dir(places(lab.dir.path()).root.join("containers")).unwrap().flatten() {
        let old = std::time::SystemTime::now() - Duration::from_secs(3600);
        std::fs::File::open(entry.path()).unwrap().set_modified(old).unwrap();
    }
    lab.engine.sweep();
    lab.settles_to(&before);
}
