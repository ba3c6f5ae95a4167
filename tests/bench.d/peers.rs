//! The contenders: orlop on a temporary root, a dockerd and a podman of our own, on sockets nobody else uses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::measure::{Contender, Sample, Series, interleave, output, run};
use super::meter::Meter;
use super::table::Table;
use super::tool;

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Samples of an engine's row; a runtime's has three times as many.
    pub n: usize,
    pub n_log_lines: u64,
    pub n_containers: usize,
    /// The program to measure.
    pub orlop: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Orlop,
    Docker,
    Podman,
}

impl Engine {
    pub fn name(self) -> &'static str {
        match self {
            Self::Orlop => "orlop",
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

/// A temporary directory with everything the rows need; ends what it started when dropped.
pub struct Bench {
    pub dir: PathBuf,
    pub options: Options,
    pub meter: Meter,
    pub table: Table,
    engines: Vec<Engine>,
    dockerd: Option<Child>,
}

pub fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

impl Bench {
    /// In the directory that `tests/bench` made and will remove.
    pub fn new(options: Options) -> Self {
        let dir = std::env::var_os("ORLOP_BENCH_DIR").map(PathBuf::from).expect("started by tests/bench");
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let meter = Meter::new(&name);
        let bench = Self { dir, options, meter, table: Table::default(), engines: vec![Engine::Orlop], dockerd: None };
        bench.make_rootfs();
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A root file system of busybox and our tool alone, as a tree and as a tar.
    fn make_rootfs(&self) {
        let root = self.path("rootfs");
        for dir in ["bin", "etc", "proc", "sys", "dev", "tmp"] {
            fs::create_dir_all(root.join(dir)).expect("a directory");
        }
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        fs::copy(busybox.expect("busybox-static is installed"), root.join("bin/busybox")).expect("a copy");
        let tool = std::env::current_exe().expect("the benchmark knows itself");
        fs::copy(tool, root.join(tool::PATH.trim_start_matches('/'))).expect("a copy");
        for applet in ["sh", "true", "sleep", "cat", "echo"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("a link");
        }
        output(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(self.path("rootfs.tar")).arg("."));
    }

    /// Every engine that is here, ours first.
    pub fn engines(&self) -> Vec<Engine> {
        self.engines.clone()
    }

    /// Our engine on a store of its own.
    pub fn orlop_in(&self, store: &str) -> Command {
        let mut command = Command::new(&self.options.orlop);
        command.env("ORLOP_ROOT", self.path(store)).env("ORLOP_RUN", self.path(&format!("{store}-run")));
        command.env("ORLOP_CONFIG", "/dev/null");
        command
    }

    /// An engine's command line, up to the verb.
    pub fn command(&self, engine: Engine) -> Command {
        match engine {
            Engine::Orlop => self.orlop_in("orlop"),
            Engine::Docker => {
                let mut command = Command::new("docker");
                command.arg("-H").arg(format!("unix://{}", self.path("docker.sock").display()));
                command
            }
            Engine::Podman => {
                let mut command = Command::new("podman");
                command.arg("--root").arg(self.path("podman")).arg("--runroot").arg(self.path("podman-run"));
                command.args(["--runtime", "crun", "--cgroup-manager", "cgroupfs"]);
                command
            }
        }
    }

    /// `run` or `create`, with what each engine needs to run at all here and so that its containers are counted as its own.
    pub fn making(&self, engine: Engine, verb: &str) -> Command {
        let mut command = self.command(engine);
        command.arg(verb).arg(format!("--cgroup-parent={}", self.meter.containers_of(engine.name())));
        if engine == Engine::Podman {
            // A root without CAP_SYS_RESOURCE may not raise what podman would raise.
            command.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"]);
        }
        command
    }

    /// Does something as `engine`: wall time and the CPU time that the engine used meanwhile.
    pub fn as_engine(&self, engine: Engine, work: impl FnOnce() -> Duration) -> Sample {
        self.metered(engine.name(), work)
    }

    /// The same for a contender that is no engine.
    pub fn metered(&self, who: &str, work: impl FnOnce() -> Duration) -> Sample {
        self.meter.enter(who);
        let before = self.meter.cpu(who);
        let wall = work();
        let cpu = self.meter.cpu(who).saturating_sub(before);
        self.meter.leave();
        Sample { wall, cpu }
    }

    /// Runs `work` with every engine in turn, `n` times after a first that does not count.
    pub fn contest(&self, n: usize, work: impl Fn(Engine) -> Duration) -> Vec<Series> {
        let work = &work;
        let contender = |engine: Engine| -> Contender<'_> {
            (engine.name().to_owned(), Box::new(move || self.as_engine(engine, || work(engine))))
        };
        let mut all: Vec<_> = self.engines.iter().copied().map(contender).collect();
        interleave(usize::from(n > 1), n, &mut all)
    }

    /// The daemon of docker, when there is one.
    pub fn docker_pid(&self) -> Option<u32> {
        self.dockerd.as_ref().map(Child::id)
    }

    /// Runs something with every engine, counted for nobody's row.
    pub fn each(&self, work: impl Fn(Engine)) {
        for engine in &self.engines {
            self.as_engine(*engine, || {
                work(*engine);
                Duration::ZERO
            });
        }
    }

    /// Removes a container everywhere, if it is there.
    pub fn remove(&self, name: &str) {
        self.each(|engine| {
            let quiet = self.command(engine).args(["rm", "-f", name]).stdin(Stdio::null()).output();
            quiet.expect("the engine's command starts");
        });
    }

    /// Starts the peers that are installed and gives all of them the image `bb`.
    pub fn start_peers(&mut self) {
        if on_path("dockerd") && on_path("docker") {
            self.start_docker();
            self.engines.push(Engine::Docker);
        } else {
            println!("docker is not installed: its figures are missing\n");
        }
        if on_path("podman") && on_path("crun") {
            self.engines.push(Engine::Podman);
        } else {
            println!("podman or crun is not installed: podman's figures are missing\n");
        }
        self.import();
    }

    /// Gives every engine the image `bb`.
    pub fn import(&self) {
        let tar = self.path("rootfs.tar");
        self.each(|engine| {
            run(self.command(engine).arg("import").arg(&tar).arg("bb"));
        });
    }

    fn start_docker(&mut self) {
        self.meter.enter(Engine::Docker.name());
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
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("dockerd starts");
        self.dockerd = Some(child);
        self.meter.leave();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.command(Engine::Docker).arg("version").output().is_ok_and(|output| output.status.success()) {
            let log = || fs::read_to_string(self.path("dockerd.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "dockerd does not answer:\n{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Bench {
    /// Ends what can be ended in good manners; `tests/bench` does the rest by ending the namespaces.
    fn drop(&mut self) {
        for engine in &self.engines {
            let listed = self.command(*engine).args(["ps", "-q"]).output();
            let ids = String::from_utf8_lossy(&listed.map(|out| out.stdout).unwrap_or_default()).into_owned();
            for id in ids.lines() {
                let _ = self.command(*engine).args(["rm", "-f", id]).output();
            }
        }
        if let Some(docker) = &mut self.dockerd {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(docker.id() as i32), nix::sys::signal::SIGTERM);
            let _ = docker.wait();
        }
        self.meter.remove();
    }
}
