//! dockerd and podman with this program as their OCI runtime: their own commands, on temporary roots and sockets. A peer that is not
//! installed is named and passed over.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);

fn is_there(program: &str) -> bool {
    let found =
        std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).exists()));
    let is_root = nix::unistd::geteuid().is_root();
    if !found || !is_root || !Path::new("/bin/busybox").exists() {
        eprintln!("not run: needs root, /bin/busybox and {program}");
        return false;
    }
    true
}

/// The program under the name that makes it a runtime, and a root file system as a tar.
fn workshop() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::Builder::new().prefix("orlop-peers-").tempdir().unwrap();
    let runtime = dir.path().join("orlop-runtime");
    crate::program::copy(env!("CARGO_BIN_EXE_orlop"), &runtime);
    let bin = dir.path().join("rootfs/bin");
    fs::create_dir_all(&bin).unwrap();
    crate::program::copy("/bin/busybox", bin.join("busybox"));
    for name in ["sh", "id", "cat", "sleep", "true", "tty", "ls", "grep", "uname"] {
        std::os::unix::fs::symlink("busybox", bin.join(name)).unwrap();
    }
    let tar = dir.path().join("rootfs.tar");
    let made = Command::new("tar").arg("-C").arg(dir.path().join("rootfs")).arg("-cf").arg(&tar).arg(".").status();
    assert!(made.unwrap().success());
    (dir, runtime, tar)
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// One peer's command line, with its options.
struct Peer {
    words: Vec<String>,
    daemon: Option<Child>,
    /// Where its command stands: podman's conmon writes a file `oom` there.
    dir: PathBuf,
}

impl Peer {
    fn call(&self, words: &[&str]) -> (i32, String, String) {
        let mut command = Command::new("timeout");
        command.arg(DEADLINE.as_secs().to_string()).args(&self.words).args(words);
        command.current_dir(&self.dir).stdin(Stdio::null());
        said(&command.output().unwrap())
    }

    /// A container that is gone after its command.
    fn run(&self, options: &[&str], words: &[&str]) -> (i32, String, String) {
        let fixed = ["run", "--rm", "--network", "none"];
        self.call(&[&fixed[..], options, &["bb"], words].concat())
    }

    fn contract(&self) {
        // (What is said beside it depends on the host: podman passes the runtime's warning about a lowered ulimit on, or not.)
        let (code, out, err) = self.run(&[], &["id", "-u"]);
        assert_eq!((code, out.as_str()), (0, "0"), "{err}");
        assert_eq!(self.run(&[], &["sh", "-c", "exit 5"]).0, 5);
        assert_eq!(self.run(&[], &["nope"]).0, 127);
        assert_eq!(self.run(&["--user", "1000:50"], &["id", "-u"]).1, "1000");
        // The peer's own default profile, loaded by us, is in force; and one that refuses something every container may do otherwise.
        assert_eq!(self.run(&[], &["grep", "Seccomp:", "/proc/self/status"]).1, "Seccomp:\t2");
        let rule = r#"{"names": ["uname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}"#;
        let profile = tempfile::NamedTempFile::new().unwrap();
        fs::write(profile.path(), format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}]}}"#)).unwrap();
        let own = format!("seccomp={}", profile.path().display());
        let filtered = self.run(&["--security-opt", &own], &["uname"]);
        assert_eq!(filtered.1, "", "{filtered:?}");
        assert_eq!(self.run(&[], &["uname"]).1, "Linux");
        let open = ["--security-opt", "seccomp=unconfined"];
        assert_eq!(self.run(&open, &["grep", "Seccomp:", "/proc/self/status"]).1, "Seccomp:\t0");
        assert_eq!(self.run(&["--tty"], &["sh", "-c", "tty; echo two"]).1, "/dev/pts/0\r\ntwo");
        self.limits();
        self.volumes();
        self.long_running();
    }

    fn limits(&self) {
        let read = |options: &[&str], files: &str| {
            let (code, out, err) = self.run(options, &["sh", "-c", &format!("cat {files} 2>/dev/null; true")]);
            assert_eq!(code, 0, "{options:?}: {err}");
            out
        };
        let memory = "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max";
        assert_eq!(read(&["--memory", "64m"], memory), "67108864");
        let cpu = "/sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max";
        assert_eq!(read(&["--cpus", "0.5"], cpu).split(' ').next(), Some("50000"));
        let pids = "/sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max";
        assert_eq!(read(&["--pids-limit", "77"], pids), "77");
        // And they limit: the fifth process is not made, the greedy one is killed.
        let forks = "for n in 1 2 3 4 5 6 7 8; do sleep 5 & done; echo unreached";
        let forked = self.run(&["--pids-limit", "5"], &["sh", "-c", forks]);
        assert!(forked.2.contains("fork"), "{forked:?}");
        let greedy = ["sh", "-c", "x=0123456789abcdef; while true; do x=$x$x; done"];
        let killed = self.run(&["--memory", "32m", "--memory-swap", "32m"], &greedy);
        assert_eq!(killed.0, 137, "{killed:?}");
    }

    fn volumes(&self) {
        let named = ["--volume", "orlop-peer-data:/data"];
        assert_eq!(self.run(&named, &["sh", "-c", "echo kept > /data/f"]).0, 0);
        assert_eq!(self.run(&named, &["cat", "/data/f"]).1, "kept");
        assert_eq!(self.call(&["volume", "rm", "orlop-peer-data"]).0, 0);
        let volume = self.run(
            &["--volume", "/etc:/host:ro"],
            &["sh", "-c", "ls /host/passwd; echo x 2>/dev/null > /host/x || echo refused"],
        );
        assert_eq!(volume.1, "/host/passwd\nrefused", "{}", volume.2);
    }

    fn long_running(&self) {
        let fixed = ["run", "--detach", "--name", "orlop-peer", "--network", "none", "bb"];
        let (code, _, err) = self.call(&[&fixed[..], &["sleep", "1000"]].concat());
        assert_eq!(code, 0, "{err}");
        assert_eq!(self.call(&["exec", "orlop-peer", "cat", "/proc/1/comm"]).1, "sleep");
        assert_eq!(self.call(&["exec", "orlop-peer", "sh", "-c", "exit 3"]).0, 3);
        assert_eq!(self.call(&["exec", "--tty", "orlop-peer", "tty"]).1, "/dev/pts/0");
        let filtered = self.call(&["exec", "orlop-peer", "grep", "Seccomp:", "/proc/self/status"]);
        assert_eq!(filtered.1, "Seccomp:\t2", "{}", filtered.2);
        assert_eq!(self.call(&["exec", "--user", "1000:50", "orlop-peer", "id", "-u"]).1, "1000");
        assert_eq!(self.call(&["pause", "orlop-peer"]).0, 0);
        assert_eq!(self.call(&["unpause", "orlop-peer"]).0, 0);
        assert_eq!(self.call(&["kill", "orlop-peer"]).0, 0);
        assert_eq!(self.call(&["wait", "orlop-peer"]).1, "137");
        assert_eq!(self.call(&["rm", "orlop-peer"]).0, 0);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.call(&["rm", "--force", "orlop-peer"]);
        if let Some(daemon) = &mut self.daemon {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(daemon.id()).unwrap_or(i32::MAX));
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            let end = Instant::now() + DEADLINE;
            while matches!(daemon.try_wait(), Ok(None)) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

#[test]
fn dockerd_runs_containers_on_it() {
    if !is_there("dockerd") || !is_there("docker") {
        return;
    }
    let (dir, runtime, tar) = workshop();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let host = format!("unix://{}", at("docker.sock"));
    let daemon = Command::new("dockerd")
        .args(["--data-root", &at("root"), "--exec-root", &at("exec"), "--pidfile", &at("pid"), "--host", &host])
        .args(["--add-runtime", &format!("orlop={}", runtime.display()), "--default-runtime", "orlop"])
        .args(["--iptables=false", "--bridge=none", "--storage-driver=vfs"])
        .stdout(Stdio::null())
        .stderr(fs::File::create(dir.path().join("log")).unwrap())
        .spawn()
        .unwrap();
    let peer = Peer {
        words: ["docker", "--host", &host].map(str::to_owned).into(),
        daemon: Some(daemon),
        dir: dir.path().to_owned(),
    };
    let end = Instant::now() + DEADLINE;
    while peer.call(&["info"]).0 != 0 {
        assert!(Instant::now() < end, "dockerd: {}", fs::read_to_string(dir.path().join("log")).unwrap_or_default());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(peer.call(&["import", tar.to_str().unwrap(), "bb"]).0, 0);
    peer.contract();
}

#[test]
fn podman_runs_containers_on_it() {
    if !is_there("podman") || !is_there("conmon") {
        return;
    }
    let (dir, runtime, tar) = workshop();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let words =
        ["podman", "--root", &at("root"), "--runroot", &at("run"), "--tmpdir", &at("tmp"), "--storage-driver", "vfs"];
    let more = ["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", runtime.to_str().unwrap()];
    let words = words.iter().chain(&more).map(|word| (*word).to_owned()).collect();
    let peer = Peer { words, daemon: None, dir: dir.path().to_owned() };
    let (code, _, err) = peer.call(&["import", tar.to_str().unwrap(), "bb"]);
    assert_eq!(code, 0, "{err}");
    peer.contract();
}
