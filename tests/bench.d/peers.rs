//! The contenders: orlop on a temporary root, a dockerd and a podman of our own, on sockets nobody else uses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::measure::output;

pub const ORLOP: &str = env!("CARGO_BIN_EXE_orlop");

/// A temporary directory with everything the rows need; ends what it started when dropped.
pub struct Bench {
    pub dir: PathBuf,
    docker: Option<Child>,
    pub podman: bool,
}

pub fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

impl Bench {
    pub fn new() -> Self {
        let dir = PathBuf::from(format!("/tmp/orlop-bench-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a temporary directory");
        let bench = Self { dir, docker: None, podman: false };
        bench.make_rootfs();
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A root file system of busybox alone, as a tree and as a tar.
    fn make_rootfs(&self) {
        let root = self.path("rootfs");
        for dir in ["bin", "etc", "proc", "sys", "dev", "tmp"] {
            fs::create_dir_all(root.join(dir)).expect("a directory");
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
        for applet in ["sh", "true", "sleep", "cat", "echo", "yes", "head", "seq"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("a link");
        }
        output(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(self.path("rootfs.tar")).arg("."));
    }

    pub fn orlop(&self) -> Command {
        let mut command = Command::new(ORLOP);
        command.env("ORLOP_ROOT", self.path("orlop")).env("ORLOP_RUN", self.path("run"));
        command
    }

    pub fn docker(&self) -> Command {
        let mut command = Command::new("docker");
        command.arg("-H").arg(format!("unix://{}", self.path("docker.sock").display()));
        command
    }

    pub fn podman(&self) -> Command {
        let mut command = Command::new("podman");
        command.arg("--root").arg(self.path("podman")).arg("--runroot").arg(self.path("podman-run"));
        command.args(["--runtime", "crun", "--cgroup-manager", "cgroupfs"]);
        command
    }

    /// Starts the peers that are installed and gives all of them the image `bb`.
    pub fn start_peers(&mut self) {
        let tar = self.path("rootfs.tar");
        output(self.orlop().args(["import"]).arg(&tar).arg("bb"));
        if on_path("dockerd") && on_path("docker") {
            self.start_docker();
            output(self.docker().args(["import"]).arg(&tar).arg("bb"));
        } else {
            println!("dockerd is not installed: its rows are missing");
        }
        if on_path("podman") && on_path("crun") {
            output(self.podman().args(["import"]).arg(&tar).arg("bb"));
            self.podman = true;
        } else {
            println!("podman or crun is not installed: their rows are missing");
        }
    }

    pub fn has_docker(&self) -> bool {
        self.docker.is_some()
    }

    fn start_docker(&mut self) {
        let log = fs::File::create(self.path("dockerd.log")).expect("a log file");
        let child = Command::new("dockerd")
            .arg("--data-root")
            .arg(self.path("docker"))
            .arg("--exec-root")
            .arg(self.path("docker-run"))
            .arg("--pidfile")
            .arg(self.path("docker.pid"))
            .arg("-H")
            .arg(format!("unix://{}", self.path("docker.sock").display()))
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("dockerd starts");
        self.docker = Some(child);
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.docker().arg("version").output().is_ok_and(|output| output.status.success()) {
            assert!(Instant::now() < deadline, "dockerd did not answer: see {}", self.path("dockerd.log").display());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub fn pids_named(&self, name: &str, needle: &Path) -> Vec<u32> {
        let needle = needle.display().to_string();
        let entries = fs::read_dir("/proc").expect("/proc").flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| {
                let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                comm.starts_with(name) && (needle.is_empty() || String::from_utf8_lossy(&line).contains(&needle))
            })
            .collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let ids =
            self.orlop().args(["ps", "-aq"]).output().map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
        for id in ids.unwrap_or_default().lines() {
            let _ = self.orlop().args(["rm", "-f", id]).output();
        }
        if let Some(docker) = &mut self.docker {
            let ids = Command::new("docker")
                .arg("-H")
                .arg(format!("unix://{}", self.dir.join("docker.sock").display()))
                .args(["ps", "-aq"])
                .output();
            for id in String::from_utf8_lossy(&ids.map(|out| out.stdout).unwrap_or_default()).lines() {
                let socket = format!("unix://{}", self.dir.join("docker.sock").display());
                let _ = Command::new("docker").args(["-H", &socket, "rm", "-f", id]).output();
            }
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(docker.id() as i32), nix::sys::signal::SIGTERM);
            let _ = docker.wait();
        }
        if self.podman {
            let _ = self.podman().args(["rm", "-af", "-t", "0"]).output();
        }
        let _ = Command::new("umount")
            .arg("-R")
            .arg("-l")
            .arg(self.dir.join("podman/overlay"))
            .stderr(Stdio::null())
            .status();
        let _ = fs::remove_dir_all(&self.dir);
    }
}
