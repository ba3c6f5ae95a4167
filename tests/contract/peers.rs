//! The same cases through `remote` on real daemons of Debian's: dockerd, and podman's service. Each is started on temporary roots and a
//! temporary socket, answers every case, and is stopped; one that is not installed is named. Where a peer differs, a row says why.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orlop::config::host::Endpoint;
use orlop::engine::{Engine, ImportImage, ListContainers, Progress, RemoveContainer};
use orlop::remote::Remote;

use crate::CASES;
use crate::world::{World, busybox_tar, not_here, runtime};

/// A daemon starts and stops within this, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Cases under way at once.
const N_AT_ONCE: usize = 3;

/// Where docker's own answer is another one. The case runs, and its end does not count.
const DOCKER_DIFFERS: &[(&str, &str)] = &[
    ("a_container_runs_and_its_exit_code_is_told", "20.10 may note the end of a short life before its start"),
    ("unknown_filters_are_refused", "20.10 begins the sentence with a capital letter: Invalid filter 'frob'"),
];

const PODMAN_DIFFERS: &[(&str, &str)] = &[
    ("a_container_runs_and_its_exit_code_is_told", "4.3 may note the end of a short life before its start"),
    ("wait_for_removal", "4.3 tells no exit code of what has been removed"),
    ("wait_registered_before_the_start_sees_the_exit", "4.3 looks four times a second: it may miss a short life"),
    ("auto_remove_leaves_nothing", "4.3 looks four times a second: it may miss a short life"),
    ("events_come_in_order", "4.3 answers before it follows its file of events"),
    ("only_running_ones_unless_all", "4.3 lists whole seconds and sorts within one by its own rule"),
    ("unknown_filters_are_refused", "4.3 words it otherwise: frob is an invalid filter"),
    ("kill_needs_a_running_container", "4.3 says: can only kill running containers"),
    ("a_taken_name_is_a_conflict", "4.3 words it otherwise, with the same class"),
    ("bad_requests_are_invalid", "4.3 words it otherwise: names must match …"),
    ("a_missing_command_is_127", "4.3 does not keep why a start failed"),
    ("newest_first_and_limited", "4.3 lists whole seconds and sorts within one by its own rule"),
    ("filters_select", "4.3 finds no ancestor by its short name"),
];

/// A daemon on a directory of its own; dropped, nothing is left of either.
pub(crate) struct Daemon {
    child: Child,
    dir: tempfile::TempDir,
}

impl Daemon {
    fn start(command: &mut Command, dir: tempfile::TempDir) -> Self {
        let file = File::create(dir.path().join("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn().unwrap();
        Self { child, dir }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    fn said(&self) -> String {
        let text = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        text.lines().rev().take(5).collect::<Vec<_>>().join("\n")
    }

    /// What a failed case left running.
    fn remove_containers(&self) {
        let engine = remote(&self.socket());
        let all = ListContainers { all: true, ..ListContainers::default() };
        let force = RemoveContainer { force: true, volumes: true };
        let removing = async {
            for row in engine.containers().list(&all).await.unwrap_or_default() {
                let _ = engine.containers().remove(&row.id, &force).await;
            }
        };
        let _ = runtime().block_on(async { tokio::time::timeout(PATIENCE, removing).await });
    }

    /// Podman's monitors of exec sessions stay for minutes: whoever names this directory on its command line goes with it.
    fn end_stragglers(&self) {
        let own = self.dir.path().as_os_str().as_encoded_bytes();
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if memchr::memmem::find(&line, own).is_some() {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        for point in points.filter(|point| Path::new(point).starts_with(self.dir.path())) {
            let _ = umount2(point, MntFlags::MNT_DETACH);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.remove_containers();
        }
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX));
        let _ = kill(pid, Signal::SIGTERM);
        let end = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.end_stragglers();
    }
}

fn is_there(programs: &[&str]) -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("not root".to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |program: &str| std::env::split_paths(&path).any(|dir| dir.join(program).exists());
    match programs.iter().find(|program| !has(program)) {
        Some(program) => Err(format!("no {program}")),
        None => Ok(()),
    }
}

/// The engine of one case: its connections live in the case's own runtime.
pub(crate) fn remote(socket: &Path) -> Remote {
    Remote::new(Endpoint::Unix(socket.to_owned())).unwrap()
}

/// Waits until the daemon answers, and gives it the image.
fn prepare(daemon: &mut Daemon) {
    let engine = remote(&daemon.socket());
    let runtime = runtime();
    let end = Instant::now() + PATIENCE;
    while let Err(error) = runtime.block_on(engine.system().ping()) {
        let is_alive = matches!(daemon.child.try_wait(), Ok(None));
        assert!(is_alive && Instant::now() < end, "{error}\n{}", daemon.said());
        std::thread::sleep(Duration::from_millis(50));
    }
    let options = ImportImage {
        reference: Some("busybox".to_owned()),
        changes: vec!["CMD [\"sh\"]".to_owned(), "ENV PATH=/bin".to_owned()],
        ..ImportImage::default()
    };
    let tar = Box::new(std::io::Cursor::new(busybox_tar().unwrap()));
    runtime.block_on(engine.images().import(tar, &options, Progress::none())).expect("the image is imported");
}

/// Every case on one engine, some at once; what fails and is no known difference fails the test at the end, all together.
fn answer_all(peer: &str, socket: &Path, differs: &[(&str, &str)]) {
    let next = AtomicUsize::new(0);
    let failed = std::sync::Mutex::new(Vec::new());
    let work = || {
        while let Some((name, case)) = CASES.get(next.fetch_add(1, Ordering::Relaxed)) {
            let world = World::of(Arc::new(remote(socket)), "busybox");
            let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(world))).is_ok();
            let known = differs.iter().find(|(case, _)| case == name);
            match (passed, known) {
                (true, _) => {}
                (false, Some((_, why))) => eprintln!("DIFFERS: {name}: {peer}: {why}"),
                (false, None) => failed.lock().unwrap().push(*name),
            }
        }
    };
    std::thread::scope(|scope| (0..N_AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{peer}: {} of {} cases failed: {failed:?}", failed.len(), CASES.len());
}

/// A dockerd that has the image; why not, otherwise.
pub(crate) fn dockerd() -> Result<Daemon, String> {
    is_there(&["dockerd", "containerd", "runc"])?;
    let dir = tempfile::Builder::new().prefix("orlop-dockerd-").tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let mut command = Command::new("dockerd");
    command
        .args(["--data-root", &at("root"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
        .args(["--host", &format!("unix://{}", at("sock")), "--storage-driver=vfs"])
        .args(["--iptables=false", "--ip6tables=false", "--bridge=none"]);
    let mut daemon = Daemon::start(&mut command, dir);
    prepare(&mut daemon);
    Ok(daemon)
}

/// A podman service that has the image; why not, otherwise.
pub(crate) fn podman() -> Result<Daemon, String> {
    is_there(&["podman", "conmon"])?;
    let dir = tempfile::Builder::new().prefix("orlop-podman-").tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    // Debian's crun and runc do not run under podman on every kind of cgroups and limits; this program's runtime does.
    let runtime = dir.path().join("orlop-runtime");
    symlink(env!("CARGO_BIN_EXE_orlop"), &runtime).unwrap();
    // Podman asks for as many files as root may have anywhere, and the runtime's warning about that would stand in the containers' logs.
    let conf = dir.path().join("containers.conf");
    std::fs::write(&conf, "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n").unwrap();
    let mut command = Command::new("podman");
    command
        .env("CONTAINERS_CONF", &conf)
        .args(["--root", &at("root"), "--runroot", &at("run"), "--tmpdir", &at("tmp"), "--storage-driver", "vfs"])
        .args(["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", &runtime.display().to_string()])
        .args(["system", "service", "--time", "0", &format!("unix://{}", at("sock"))]);
    let mut daemon = Daemon::start(&mut command, dir);
    prepare(&mut daemon);
    Ok(daemon)
}

#[test]
fn remote_on_dockerd() {
    match dockerd() {
        Ok(daemon) => answer_all("dockerd", &daemon.socket(), DOCKER_DIFFERS),
        Err(why) => not_here("remote_on_dockerd", &why),
    }
}

#[test]
fn remote_on_podman() {
    match podman() {
        Ok(daemon) => answer_all("podman", &daemon.socket(), PODMAN_DIFFERS),
        Err(why) => not_here("remote_on_podman", &why),
    }
}
