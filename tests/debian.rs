//! A real Debian in containers, by the command line as a user types it: its package manager, python3, a service of several processes, and
//! limits that are seen to limit. The root file system comes from `mmdebstrap` once and is kept below `target/`.
//!
//! Needs root and Debian's mirror; says so and fails where it has neither.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, unreachable_pub)] // a program of the test house

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

const ORLOP: &str = env!("CARGO_BIN_EXE_orlop");
const PATIENCE: Duration = Duration::from_secs(60);
const IMAGE: &str = "debian:test";

/// One store for all tests of this file, with the image in it.
static LAB: LazyLock<Lab> = LazyLock::new(Lab::new);

struct Lab {
    dir: tempfile::TempDir,
}

/// Removes a container however its test ends.
struct Running<'a>(&'a Lab, String);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let gone = self.0.orlop(&["rm", "--force", &self.1]);
        assert!(gone.status.success() || std::thread::panicking(), "{gone:?}");
    }
}

/// The archive of a small Debian, made once for each version of the words below.
fn debian_tar() -> PathBuf {
    const WORDS: [&str; 4] = ["--variant=apt", "--include=python3,procps", "--mode=root", "bookworm"];
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/debian-bookworm.tar");
    if kept.exists() {
        return kept;
    }
    // Beside the final place, so that a run that was cut leaves no half of an archive under its name.
    let partial = kept.with_extension("tar.partial");
    let made = Command::new("mmdebstrap")
        .args(WORDS)
        .arg("-")
        .stdout(std::fs::File::create(&partial).unwrap())
        .stderr(Stdio::piped())
        .output()
        .expect("mmdebstrap starts (Debian package mmdebstrap)");
    assert!(made.status.success(), "mmdebstrap failed: {}", String::from_utf8_lossy(&made.stderr));
    std::fs::rename(&partial, &kept).unwrap();
    kept
}

impl Lab {
    fn new() -> Lab {
        assert!(nix::unistd::geteuid().is_root(), "these tests need root");
        let lab = Lab { dir: tempfile::Builder::new().prefix("orlop-debian-").tempdir().unwrap() };
        lab.good(&["import", debian_tar().to_str().unwrap(), IMAGE]);
        lab
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(ORLOP);
        command
            .env("ORLOP_CONFIG", "/dev/null")
            .env("ORLOP_ROOT", self.dir.path().join("root"))
            .env("ORLOP_RUN", self.dir.path().join("run"))
            .args(args)
            .stdin(Stdio::null());
        command
    }

    fn orlop(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn good(&self, args: &[&str]) -> String {
        let out = self.orlop(args);
        assert!(out.status.success(), "{args:?}: {out:?}");
        String::from_utf8(out.stdout).unwrap()
    }

    fn run(&self, flags: &[&str], command: &[&str]) -> Output {
        self.orlop(&[&["run", "--network", "none"], flags, &[IMAGE], command].concat())
    }

    fn start<'a>(&'a self, flags: &[&str], command: &[&str]) -> Running<'a> {
        let out = self.run(&[&["--detach"], flags].concat(), command);
        assert!(out.status.success(), "{out:?}");
        Running(self, String::from_utf8(out.stdout).unwrap().trim().to_owned())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn until(what: &str, mut is_done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_done() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn its_package_manager_and_python_run() {
    let out = LAB.run(&["--rm"], &["apt-get", "--version"]);
    assert!(out.status.success() && text(&out.stdout).starts_with("apt 2."), "{out:?}");
    let out = LAB.run(&["--rm"], &["dpkg", "--verify", "apt"]);
    assert!(out.status.success() && out.stdout.is_empty(), "every file of a package is as it was packed: {out:?}");
    let script =
        "import hashlib, json, os, threading; print(json.dumps([os.getpid(), hashlib.sha256(b'').hexdigest()[:8]]))";
    let out = LAB.run(&["--rm"], &["python3", "-c", script]);
    assert_eq!((text(&out.stdout).trim(), out.status.code()), ("[1, \"e3b0c442\"]", Some(0)), "{out:?}");
}

#[test]
fn a_service_of_several_processes_serves_and_is_stopped() {
    let script = "
import http.server, os, signal, socketserver, sys
server = socketserver.TCPServer(('127.0.0.1', 8080), http.server.SimpleHTTPRequestHandler)
children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        server.serve_forever()
    children.append(child)
def stop(*_):
    for child in children: os.kill(child, signal.SIGKILL)
    for child in children: os.waitpid(child, 0)
    print('stopped', len(children), flush=True)
    sys.exit(7)
signal.signal(signal.SIGTERM, stop)
print('serving', flush=True)
signal.pause()
";
    let service = LAB.start(&["--workdir", "/etc"], &["python3", "-c", script]);
    until("it serves", || LAB.good(&["logs", &service.1]).contains("serving"));
    assert_eq!(LAB.good(&["top", &service.1]).lines().count(), 1 + 5);
    let get = "import urllib.request as it; print(it.urlopen('http://127.0.0.1:8080/debian_version').read().decode())";
    for _ in 0..4 {
        let out = LAB.good(&["exec", &service.1, "python3", "-c", get]);
        assert!(out.starts_with("12."), "{out}");
    }
    LAB.good(&["stop", "--time", "50", &service.1]);
    assert!(LAB.good(&["logs", &service.1]).contains("stopped 4"));
    assert_eq!(LAB.good(&["inspect", "--format", "{{.State.ExitCode}}", &service.1]).trim(), "7");
}

#[test]
fn a_memory_limit_ends_it_and_is_shown_as_oom() {
    let name = "eater";
    let out = LAB.run(&["--name", name, "--memory", "32m"], &["python3", "-c", "x = b'a' * (300 << 20)"]);
    let _eater = Running(&LAB, name.to_owned());
    assert_eq!(out.status.code(), Some(137), "{out:?}");
    assert_eq!(LAB.good(&["inspect", "--format", "{{.State.OOMKilled}}", name]).trim(), "true");
    let row = LAB.good(&["ps", "--all", "--filter", "name=eater", "--format", "{{.Status}}"]);
    assert!(row.starts_with("Exited (137)"), "{row}");
}

#[test]
fn a_cpu_quota_is_kept() {
    let script = "
import time
start, burnt = time.monotonic(), time.process_time()
while time.monotonic() - start < 3: pass
print(time.process_time() - burnt)
";
    let out = LAB.run(&["--rm", "--cpus", "0.2"], &["python3", "-c", script]);
    let burnt_s: f64 = text(&out.stdout).trim().parse().unwrap_or_else(|_| panic!("{out:?}"));
    // 0.2 of 3 s is 0.6 s; without the quota a quiet machine burns 3 s. A busy one can only burn less.
    assert!(burnt_s < 1.2, "{burnt_s} s of processor time in 3 s");
    assert!(burnt_s > 0.0);
}

#[test]
fn a_pids_limit_refuses_the_process_too_many() {
    let script = "
import os
made = 0
try:
    while made < 60:
        if os.fork() == 0: os.read(os.pipe()[0], 1)
        made += 1
except BlockingIOError: pass
print(made, open('/sys/fs/cgroup/pids.max').read() if os.path.exists('/sys/fs/cgroup/pids.max') else '')
";
    let out = LAB.run(&["--rm", "--pids-limit", "20"], &["python3", "-c", script]);
    assert_eq!(text(&out.stdout).split_whitespace().next(), Some("19"), "{out:?}");
}
