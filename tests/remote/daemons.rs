//! Real daemons of Debian's for the tests: dockerd, and podman's service. Each has a directory of its own for its roots and its socket; dropped,
//! nothing is left of either. Used by the contract suite and by the tests of links.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orlop::config::host::Endpoint;
use orlop::engine::{Engine, ImportImage, ListContainers, Progress, RemoveContainer};
use orlop::remote::Remote;

use crate::world::{busybox_tar, runtime};

/// A daemon starts and stops within this, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One daemon and its directory.
pub struct Daemon {
    /// How it is started, also again.
    recipe: Command,
    child: Child,
    dir: tempfile::TempDir,
}

impl Daemon {
    /// Dockerd on a socket, with more flags.
    pub fn dockerd(more: &[String]) -> Self {
        let dir = tempfile::Builder::new().prefix("orlop-dockerd-").tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let mut recipe = Command::new("dockerd");
        recipe
            .args(["--data-root", &at("root"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
            .args(["--host", &format!("unix://{}", at("sock")), "--storage-driver=vfs"])
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
            .args(more);
        Self::start(recipe, dir)
    }

    /// Podman's service on a socket.
    pub fn podman() -> Self {
        Self::podman_with_plain(&[])
    }

    /// The same; it speaks without TLS to these registries.
    pub fn podman_with_plain(hosts: &[String]) -> Self {
        let dir = tempfile::Builder::new().prefix("orlop-podman-").tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        // Debian's crun and runc do not run under podman on every kind of cgroups and limits; this program's runtime does.
        let runtime = dir.path().join("orlop-runtime");
        symlink(env!("CARGO_BIN_EXE_orlop"), &runtime).unwrap();
        // Podman asks for as many files as root may have anywhere, and the runtime's warning about that would stand in the containers' logs.
        let conf = dir.path().join("containers.conf");
        std::fs::write(&conf, "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n").unwrap();
        let registries = dir.path().join("registries.conf");
        let plain = hosts.iter().map(|host| format!("[[registry]]\nlocation = \"{host}\"\ninsecure = true\n"));
        std::fs::write(&registries, plain.collect::<String>()).unwrap();
        let mut recipe = Command::new("podman");
        recipe
            .env("CONTAINERS_CONF", &conf)
            .env("CONTAINERS_REGISTRIES_CONF", &registries)
            .args(["--root", &at("root"), "--runroot", &at("run"), "--tmpdir", &at("tmp"), "--storage-driver", "vfs"])
            .args(["--cgroup-manager", "cgroupfs", "--events-backend", "file"])
            .args(["--runtime", &runtime.display().to_string()])
            .args(["system", "service", "--time", "0", &format!("unix://{}", at("sock"))]);
        Self::start(recipe, dir)
    }

    fn start(mut recipe: Command, dir: tempfile::TempDir) -> Self {
        let child = spawn(&mut recipe, dir.path());
        let mut daemon = Self { recipe, child, dir };
        daemon.wait_ready();
        daemon.import();
        daemon
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    /// An engine with connections of its own: they live in the caller's runtime.
    pub fn engine(&self) -> Remote {
        remote(&self.socket())
    }

    /// Ends it and waits until it has.
    pub fn stop(&mut self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX));
        let _ = kill(pid, signal);
        let end = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// On the same directory, after [`Daemon::stop`].
    pub fn start_again(&mut self) {
        // A daemon that was killed leaves its pid behind, which another process may have by now.
        let _ = std::fs::remove_file(self.dir.path().join("pid"));
        self.child = spawn(&mut self.recipe, self.dir.path());
        self.wait_ready();
    }

    fn wait_ready(&mut self) {
        let engine = self.engine();
        let runtime = runtime();
        let end = Instant::now() + PATIENCE;
        while let Err(error) = runtime.block_on(engine.system().ping()) {
            let is_alive = matches!(self.child.try_wait(), Ok(None));
            assert!(is_alive && Instant::now() < end, "{error}\n{}", self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Gives it the image `busybox`.
    fn import(&self) {
        let options = ImportImage {
            reference: Some("busybox".to_owned()),
            changes: vec!["CMD [\"sh\"]".to_owned(), "ENV PATH=/bin".to_owned()],
            ..ImportImage::default()
        };
        let tar = Box::new(std::io::Cursor::new(busybox_tar().unwrap()));
        let engine = self.engine();
        runtime().block_on(engine.images().import(tar, &options, Progress::none())).expect("the image is imported");
    }

    fn unmount(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        for point in points.filter(|point| Path::new(point).starts_with(self.dir.path())) {
            let _ = umount2(point, MntFlags::MNT_DETACH);
        }
    }

    fn said(&self) -> String {
        let text = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        text.lines().rev().take(5).collect::<Vec<_>>().join("\n")
    }

    /// What a failed case left running.
    fn remove_containers(&self) {
        let engine = self.engine();
        let all = ListContainers { all: true, ..ListContainers::default() };
        let force = RemoveContainer { force: true, volumes: true };
        let removing = async {
            for row in engine.containers().list(&all).await.unwrap_or_default() {
                let _ = engine.containers().remove(&row.id, &force).await;
            }
        };
        let _ = runtime().block_on(async { tokio::time::timeout(PATIENCE, removing).await });
    }
}

/// Whoever names this path on its command line ends.
pub fn end_all_naming(path: &Path) {
    let own = path.as_os_str().as_encoded_bytes();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if memchr::memmem::find(&line, own).is_some() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.remove_containers();
        }
        self.stop(Signal::SIGTERM);
        // Podman's monitors of exec sessions stay for minutes, and a killed dockerd leaves its helpers.
        end_all_naming(self.dir.path());
        self.unmount();
    }
}

fn spawn(recipe: &mut Command, dir: &Path) -> Child {
    let log = File::create(dir.join("log")).unwrap();
    // Podman's conmon writes a file `oom` where it stands when a container ran out of memory.
    recipe.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

/// The engine at a socket.
pub fn remote(socket: &Path) -> Remote {
    Remote::new(Endpoint::Unix(socket.to_owned())).unwrap()
}

/// What a test on this daemon needs.
pub const DOCKERD: &[&str] = &["dockerd", "containerd", "runc"];
/// The same behind ssh, docker's way: its program on the far side.
pub const DOCKER: &[&str] = &["docker", DOCKERD[0], DOCKERD[1], DOCKERD[2]];
pub const PODMAN: &[&str] = &["podman", "conmon"];

/// Whether a test can run here; says why not.
pub fn is_here(test: &str, programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |program: &&&str| std::env::split_paths(&path).any(|dir| dir.join(program).exists());
    let missing = programs.iter().find(|program| !has(program)).map(|program| format!("no {program}"));
    let why = if nix::unistd::geteuid().is_root() { missing } else { Some("not root".to_owned()) };
    if let Some(why) = &why {
        crate::world::not_here(test, why);
    }
    why.is_none()
}

/// A loopback address that only this process uses, a new one for each call: its ports are all free.
pub fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(2);
    let pid = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, pid[2], pid[3], NEXT.fetch_add(1, Ordering::Relaxed))
}
