//! The runtime command line on real bundles: the runtime spec's behaviours, and one test for each fault of the past that this part
//! could repeat, named after it. Needs root and a static busybox; without them each test says so and ends.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(60);

/// A bundle with busybox in it, a state root, and an id that is nobody else's.
struct Bundle {
    dir: tempfile::TempDir,
    id: String,
    config: Value,
}

impl Bundle {
    /// `None` (and a word about it) where these tests cannot run.
    fn new(args: &[&str]) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() || !Path::new("/bin/busybox").exists() {
            eprintln!("not run: needs root and /bin/busybox (Debian's busybox-static)");
            return None;
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("orlop-t{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::Builder::new().prefix("orlop-runtime-").tempdir().unwrap();
        let bin = dir.path().join("rootfs/bin");
        fs::create_dir_all(&bin).unwrap();
        crate::program::copy("/bin/busybox", bin.join("busybox"));
        for name in
            ["sh", "cat", "ls", "id", "sleep", "env", "true", "mount", "grep", "stat", "touch", "readlink", "tty"]
        {
            symlink("busybox", bin.join(name)).unwrap();
        }
        let made = Command::new(env!("CARGO_BIN_EXE_orlop"))
            .args(["runtime", "spec", "--bundle"])
            .arg(dir.path())
            .status()
            .unwrap();
        assert!(made.success());
        let mut config: Value = serde_json::from_slice(&fs::read(dir.path().join("config.json")).unwrap()).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(args);
        config["linux"]["cgroupsPath"] = json!(format!("/orlop-test/{id}"));
        Some(Self { dir, id, config })
    }

    fn rootfs(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// One command of the runtime; its words after the global options.
    fn command(&self, words: &[&str]) -> Command {
        fs::write(self.dir.path().join("config.json"), self.config.to_string()).unwrap();
        let mut command = Command::new("timeout");
        command
            .arg(DEADLINE.as_secs().to_string())
            .arg(env!("CARGO_BIN_EXE_orlop"))
            .args(["runtime", "--log-format", "json", "--log"])
            .arg(self.dir.path().join("log"))
            .arg("--root")
            .arg(self.dir.path().join("state"))
            .args(words)
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    fn call(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs it in the foreground: (exit code, output, errors).
    fn run(&self) -> (i32, String, String) {
        said(&self.call(&["run", &self.id]))
    }

    /// Creates and starts it, its streams away from ours.
    fn start(&self) {
        let mut create = self.command(&["create", &self.id]);
        let status = create.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success(), "create: {}", self.log());
        let (code, _, err) = said(&self.call(&["start", &self.id]));
        assert_eq!(code, 0, "{err}");
    }

    fn exec(&self, words: &[&str]) -> (i32, String, String) {
        said(&self.call(&[&["exec"], words].concat()))
    }

    fn status(&self) -> String {
        let (code, out, err) = said(&self.call(&["state", &self.id]));
        assert_eq!(code, 0, "{err}");
        let state: Value = serde_json::from_str(&out).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }

    fn pid(&self) -> u32 {
        let state: Value = serde_json::from_slice(&self.call(&["state", &self.id]).stdout).unwrap();
        u32::try_from(state["pid"].as_u64().unwrap()).unwrap()
    }

    fn await_status(&self, wanted: &str) {
        let end = Instant::now() + DEADLINE;
        while self.status() != wanted {
            assert!(Instant::now() < end, "{} never became {wanted}", self.id);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.call(&["delete", "--force", &self.id]);
    }
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn cgroup_dirs(id: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/sys/fs/cgroup") else { return Vec::new() };
    let below = entries.flatten().map(|entry| entry.path().join("orlop-test").join(id));
    below.chain([Path::new("/sys/fs/cgroup/orlop-test").join(id)]).filter(|path| path.exists()).collect()
}

#[test]
fn the_exit_code_is_the_programs_and_nothing_is_left() {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
        // A pid 1 is not killed by itself: the signal comes from a child's shell, through a process that is not init.
        let Some(mut bundle) = Bundle::new(&["sh", "-c", script]) else { return };
        if script.starts_with("kill") {
            bundle.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|it| it["type"] != "pid");
        }
        assert_eq!(bundle.run().0, code, "{script}: {}", bundle.log());
        assert_eq!(fs::read_dir(bundle.dir.path().join("state")).unwrap().count(), 0);
        assert_eq!(cgroup_dirs(&bundle.id), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_container_goes_through_the_states_of_the_spec() {
    let Some(bundle) = Bundle::new(&["sleep", "100"]) else { return };
    let mut create = bundle.command(&["create", "--pid-file", "pid", &bundle.id]);
    assert!(create.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success(), "{}", bundle.log());
    assert_eq!(bundle.status(), "created");
    assert_eq!(fs::read_to_string(bundle.dir.path().join("pid")).unwrap(), bundle.pid().to_string());
    let (code, _, err) = said(&bundle.call(&["create", &bundle.id]));
    assert!(code != 0 && err.contains("already exists"), "{err}");
    assert_eq!(bundle.call(&["start", &bundle.id]).status.code(), Some(0));
    assert_eq!(bundle.status(), "running");
    assert!(said(&bundle.call(&["start", &bundle.id])).2.contains("already running"));
    assert!(said(&bundle.call(&["delete", &bundle.id])).2.contains("not stopped"));
    assert_eq!(bundle.call(&["kill", &bundle.id, "KILL"]).status.code(), Some(0));
    bundle.await_status("stopped");
    // The words that containerd and podman look for.
    assert!(said(&bundle.call(&["kill", &bundle.id])).2.contains("container not running"));
    assert_eq!(bundle.call(&["delete", &bundle.id]).status.code(), Some(0));
    assert!(said(&bundle.call(&["state", &bundle.id])).2.contains("container does not exist"));
    assert_eq!(bundle.call(&["delete", "--force", &bundle.id]).status.code(), Some(0));
}

#[test]
fn a_wrong_command_is_127_or_126_in_dockers_words_and_leaves_nothing() {
    for (command, code, words) in [
        ("nope", 127, "executable file not found in $PATH"),
        ("/nope", 127, "no such file or directory"),
        ("/etc-dir", 126, "is a directory"),
        ("/plain", 126, "permission denied"),
    ] {
        let Some(bundle) = Bundle::new(&[command]) else { return };
        fs::create_dir(bundle.rootfs().join("etc-dir")).unwrap();
        fs::write(bundle.rootfs().join("plain"), "").unwrap();
        let (seen, _, err) = bundle.run();
        assert_eq!(seen, code, "{command}: {err}");
        assert!(err.contains(words), "{command}: {err}");
        let line: Value = serde_json::from_str(bundle.log().lines().last().unwrap()).unwrap();
        assert_eq!(line["level"], "error");
        assert!(line["msg"].as_str().unwrap().contains(words));
        assert!(cgroup_dirs(&bundle.id).is_empty());
        assert_eq!(fs::read_dir(bundle.dir.path().join("state")).unwrap().count(), 0);
    }
}

#[test]
fn every_1_x_version_is_read_and_others_are_refused() {
    for (version, is_read) in [("1.0.0", true), ("1.0.2-dev", true), ("1.3.0", true), ("2.0.0", false), ("x", false)] {
        let Some(mut bundle) = Bundle::new(&["true"]) else { return };
        bundle.config["ociVersion"] = json!(version);
        assert_eq!(bundle.run().0 == 0, is_read, "{version}: {}", bundle.log());
    }
}

#[test]
fn exec_enters_the_container_with_its_own_user_directory_and_environment() {
    let Some(bundle) = Bundle::new(&["sleep", "100"]) else { return };
    fs::create_dir(bundle.rootfs().join("work")).unwrap();
    bundle.start();
    let id = &bundle.id;
    let (code, out, err) =
        bundle.exec(&["--user", "1000:50", "--cwd", "/work", "--env", "A=b", id, "sh", "-c", "id; pwd; echo $A"]);
    assert_eq!((code, out.as_str()), (0, "uid=1000 gid=50\n/work\nb\n"), "{err}");
    assert_eq!(bundle.exec(&[id, "sh", "-c", "exit 3"]).0, 3);
    assert_eq!(bundle.exec(&[id, "nope"]).0, 127);
    assert_eq!(bundle.exec(&[id, "/work"]).0, 126);
    assert!(bundle.exec(&[id, "cat", "/proc/1/cmdline"]).1.starts_with("sleep"));
}

#[test]
fn pause_stops_time_and_exec_until_resume() {
    let Some(bundle) = Bundle::new(&["sleep", "100"]) else { return };
    bundle.start();
    assert_eq!(bundle.call(&["pause", &bundle.id]).status.code(), Some(0));
    assert_eq!(bundle.status(), "paused");
    assert!(bundle.exec(&[&bundle.id, "true"]).2.contains("paused"));
    assert_eq!(bundle.call(&["resume", &bundle.id]).status.code(), Some(0));
    assert_eq!(bundle.status(), "running");
    assert_eq!(bundle.exec(&[&bundle.id, "true"]).0, 0);
}

#[test]
fn update_changes_a_limit_of_a_running_container() {
    let Some(bundle) = Bundle::new(&["sleep", "100"]) else { return };
    bundle.start();
    let (code, _, err) = said(&bundle.call(&["update", "--pids-limit", "7", &bundle.id]));
    assert_eq!(code, 0, "{err}");
    let found = cgroup_dirs(&bundle.id)
        .iter()
        .any(|dir| fs::read_to_string(dir.join("pids.max")).is_ok_and(|text| text.trim() == "7"));
    assert!(found);
}

#[test]
fn hooks_run_in_their_order_and_places() {
    let Some(mut bundle) = Bundle::new(&["true"]) else { return };
    let trace = bundle.dir.path().join("trace");
    let host = |name: &str| json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("cat >/dev/null; echo {name} >> {}", trace.display())] }]);
    // Inside the container the same shell is the image's, and the trace is bound in.
    let inside = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "echo startContainer >> /trace"] }]);
    fs::write(&trace, "").unwrap();
    bundle.config["mounts"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "destination": "/trace", "type": "bind", "source": trace, "options": ["bind", "rw"] }));
    bundle.config["hooks"] = json!({
        "prestart": host("prestart"), "createRuntime": host("createRuntime"), "createContainer": host("createContainer"),
        "startContainer": inside, "poststart": host("poststart"), "poststop": host("poststop"),
    });
    let (code, _, err) = bundle.run();
    assert_eq!(code, 0, "{err}");
    let seen: Vec<String> = fs::read_to_string(&trace).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(seen, ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]);
}

#[test]
fn a_failing_hook_ends_the_creation_with_its_words() {
    let Some(mut bundle) = Bundle::new(&["true"]) else { return };
    bundle.config["hooks"] =
        json!({ "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", "echo no luck >&2; exit 4"] }] });
    let (code, _, err) = bundle.run();
    assert!(
        code != 0 && err.contains("createRuntime") && err.contains("exit status 4") && err.contains("no luck"),
        "{err}"
    );
    assert!(cgroup_dirs(&bundle.id).is_empty());
}

/// Runs it with a terminal that goes over a console socket; everything that it wrote.
fn on_terminal(bundle: &mut Bundle) -> String {
    bundle.config["process"]["terminal"] = json!(true);
    let socket = bundle.dir.path().join("console.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut create = bundle.command(&["create", "--console-socket", socket.to_str().unwrap(), &bundle.id]);
    assert!(create.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success(), "{}", bundle.log());
    let (connection, _) = listener.accept().unwrap();
    let (_, master) = orlop::sys::socket::receive(connection.as_fd(), &mut [0; 64]).unwrap();
    let mut master = fs::File::from(master.unwrap());
    assert_eq!(bundle.call(&["start", &bundle.id]).status.code(), Some(0));
    let (mut text, mut buf) = (String::new(), [0; 512]);
    // EIO when the container has closed its side.
    while let Ok(n @ 1..) = master.read(&mut buf) {
        text.push_str(&String::from_utf8_lossy(&buf[..n]));
    }
    text
}

#[test]
fn a_terminal_goes_over_the_console_socket() {
    let Some(mut bundle) = Bundle::new(&["sh", "-c", "tty; stat -c %t:%T /dev/console; readlink /proc/self/fd/0"])
    else {
        return;
    };
    let text = on_terminal(&mut bundle);
    assert_eq!(text.lines().next(), Some("/dev/pts/0"), "{text}");
    assert!(text.contains("/dev/pts/0"), "{text}");
}

#[test]
fn a_user_namespace_maps_root_to_somebody_else() {
    let Some(mut bundle) = Bundle::new(&["sh", "-c", "id; cat /proc/self/uid_map; echo x > /out/file"]) else { return };
    let out = bundle.dir.path().join("out");
    fs::create_dir(&out).unwrap();
    std::os::unix::fs::chown(&out, Some(200_000), Some(200_000)).unwrap();
    let config = &mut bundle.config;
    config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
    for map in ["uidMappings", "gidMappings"] {
        config["linux"][map] = json!([{ "containerID": 0, "hostID": 200_000, "size": 65536 }]);
    }
    config["mounts"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "destination": "/out", "type": "bind", "source": out, "options": ["bind"] }));
    fs::create_dir(bundle.rootfs().join("out")).unwrap();
    // The image's directories for mounts exist: root of the namespace may not make them in a root that is not its own.
    for dir in ["proc", "dev", "sys"] {
        fs::create_dir(bundle.rootfs().join(dir)).unwrap();
    }
    fs::set_permissions(bundle.dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (code, said, err) = bundle.run();
    assert_eq!(code, 0, "{err}");
    assert!(said.starts_with("uid=0 gid=0") && said.contains("200000"), "{said}");
    let made = std::os::unix::fs::MetadataExt::uid(&fs::metadata(bundle.dir.path().join("out/file")).unwrap());
    assert_eq!(made, 200_000);
}

/// The words of a command of the runtime, started by a shell that leaves descriptors of the host open in it.
fn with_open_descriptors(command: &Command) -> Command {
    let mut leaky = Command::new("sh");
    leaky.args(["-c", "exec 7</etc 8</etc/passwd 9</; exec \"$@\"", "sh"]).arg(command.get_program());
    leaky.args(command.get_args()).stdin(Stdio::null());
    leaky.current_dir(command.get_current_dir().unwrap());
    leaky
}

#[test]
fn cve_2015_3627_only_three_descriptors_are_open() {
    // The shell's own glob opens and closes a directory; what stays is what was inherited.
    let list = "for f in /proc/self/fd/*; do readlink $f >/dev/null && echo ${f##*/}; done; true";
    let Some(mut bundle) = Bundle::new(&["sh", "-c", list]) else { return };
    assert_eq!(bundle.run().1, "0\n1\n2\n");
    let mut run = with_open_descriptors(&bundle.command(&["run", &bundle.id]));
    assert_eq!(said(&run.output().unwrap()), (0, "0\n1\n2\n".to_owned(), String::new()));
    bundle.config["process"]["args"] = json!(["sleep", "100"]);
    bundle.start();
    let mut exec = with_open_descriptors(&bundle.command(&["exec", &bundle.id, "sh", "-c", list]));
    assert_eq!(said(&exec.output().unwrap()), (0, "0\n1\n2\n".to_owned(), String::new()));
}

/// What strace saw each process do, in its order: (pid, line).
fn traced(command: &Command) -> Option<Vec<(String, String)>> {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        eprintln!("not run: strace is not installed");
        return None;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", "trace=prctl,setns,unshare", "-e", "signal=none", "-o"]).arg(file.path());
    strace.arg(command.get_program()).args(command.get_args());
    strace.current_dir(command.get_current_dir().unwrap()).stdin(Stdio::null());
    let output = strace.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(file.path()).unwrap();
    let line = |line: &str| {
        line.trim_start().split_once(' ').map(|(pid, call)| (pid.to_owned(), call.trim_start().to_owned()))
    };
    Some(text.lines().filter_map(line).collect())
}

#[test]
fn cve_2016_9962_nobody_in_the_container_may_look_into_who_comes_in() {
    let Some(bundle) = Bundle::new(&["sleep", "100"]) else { return };
    bundle.start();
    let Some(calls) = traced(&bundle.command(&["exec", &bundle.id, "true"])) else { return };
    let mut hidden: Vec<&String> = Vec::new();
    let mut n_entered = 0;
    for (pid, call) in &calls {
        if call.starts_with("prctl(PR_SET_DUMPABLE, SUID_DUMP_DISABLE)") {
            hidden.push(pid);
        } else if call.starts_with("setns(") && !call.contains(", CLONE_NEWPID)") {
            // (A process that joins a pid namespace is not in it: its children will be.)
            n_entered += 1;
            assert!(hidden.contains(&pid), "{pid} enters while it can be ptraced: {calls:#?}");
        }
    }
    assert!(n_entered > 0, "{calls:#?}");
}

#[test]
fn cve_2019_5736_the_runtimes_file_cannot_be_written_through_its_processes() {
    let Some(bundle) = Bundle::new(&["sleep", "100"]) else { return };
    // A copy that nobody else runs: while a program runs, its file is busy for writers whatever its mount says.
    let program = bundle.dir.path().join("orlop-runtime");
    crate::program::copy(env!("CARGO_BIN_EXE_orlop"), &program);
    drop(bundle.command(&[]));
    let mut create = Command::new(&program);
    create
        .arg("--root")
        .arg(bundle.dir.path().join("state"))
        .args(["create", &bundle.id])
        .current_dir(bundle.dir.path());
    assert!(create.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    // The waiting init still runs the runtime's program: hold on to it as an attacker would, until it has gone.
    let mut held = fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut held, nix::libc::O_PATH);
    let held = held.read(true).open(format!("/proc/{}/exe", bundle.pid())).unwrap();
    assert_eq!(bundle.call(&["delete", "--force", &bundle.id]).status.code(), Some(0));
    let path = orlop::sys::at::proc_fd_path(held.as_fd());
    let end = Instant::now() + DEADLINE;
    let err = loop {
        match fs::OpenOptions::new().write(true).open(&path) {
            Err(err) if err.raw_os_error() == Some(nix::libc::ETXTBSY) && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(err) => break err,
            Ok(_) => panic!("the runtime's own file was opened for writing"),
        }
    };
    assert!(matches!(err.raw_os_error(), Some(nix::libc::EROFS | nix::libc::EPERM)), "{err}");
}

#[test]
fn cve_2019_16884_a_volume_inside_proc_is_refused() {
    for target in ["/proc/tty", "/proc/self/attr", "/proc/sys/kernel/core_pattern"] {
        let Some(mut bundle) = Bundle::new(&["true"]) else { return };
        let is_file = target.ends_with("pattern");
        let source = bundle.dir.path().join("source");
        if is_file {
            fs::write(&source, "").unwrap()
        } else {
            fs::create_dir(&source).unwrap()
        }
        bundle.config["mounts"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "destination": target, "type": "bind", "source": source, "options": ["bind"] }));
        let (code, _, err) = bundle.run();
        assert!(code != 0 && err.contains("inside /proc"), "{target}: {err}");
    }
}

#[test]
fn cve_2019_19921_a_link_in_place_of_proc_sys_or_dev_is_refused() {
    for name in ["proc", "sys", "dev"] {
        let Some(bundle) = Bundle::new(&["true"]) else { return };
        fs::create_dir(bundle.rootfs().join("evil")).unwrap();
        symlink("/evil", bundle.rootfs().join(name)).unwrap();
        let (code, _, err) = bundle.run();
        assert!(code != 0 && err.contains("symbolic link"), "{name}: {err}");
        assert_eq!(fs::read_dir(bundle.rootfs().join("evil")).unwrap().count(), 0, "{name}");
    }
}

#[test]
fn cve_2021_30465_a_mount_on_a_link_stays_inside_the_root() {
    let Some(mut bundle) = Bundle::new(&["sh", "-c", "cat /data/secret"]) else { return };
    let outside = tempfile::tempdir().unwrap();
    let source = bundle.dir.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("secret"), "inside\n").unwrap();
    symlink(outside.path(), bundle.rootfs().join("data")).unwrap();
    bundle.config["mounts"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "destination": "/data", "type": "bind", "source": source, "options": ["rbind", "ro"] }));
    let (code, out, err) = bundle.run();
    assert_eq!((code, out.as_str()), (0, "inside\n"), "{err}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn cve_2021_3602_the_hosts_environment_stays_outside() {
    let Some(mut bundle) = Bundle::new(&["env"]) else { return };
    let with_secret = |words: &[&str]| {
        let mut command = bundle.command(words);
        said(&command.env("ORLOP_TEST_SECRET", "of the host").output().unwrap())
    };
    let (code, out, err) = with_secret(&["run", &bundle.id]);
    assert!(code == 0 && out.contains("PATH=") && !out.contains("ORLOP_TEST_SECRET"), "{out}{err}");
    bundle.config["process"]["args"] = json!(["sleep", "100"]);
    bundle.start();
    let mut exec = bundle.command(&["exec", &bundle.id, "env"]);
    let (code, out, err) = said(&exec.env("ORLOP_TEST_SECRET", "of the host").output().unwrap());
    assert!(code == 0 && out.contains("PATH=") && !out.contains("ORLOP_TEST_SECRET"), "{out}{err}");
}

#[test]
fn cve_2022_24769_inheritable_and_ambient_sets_are_empty() {
    let Some(mut bundle) = Bundle::new(&["cat", "/proc/self/status"]) else { return };
    let (_, of_run, err) = bundle.run();
    assert!(of_run.contains("CapEff:"), "{err}");
    bundle.config["process"]["args"] = json!(["sleep", "100"]);
    bundle.start();
    let (_, status, _) = bundle.exec(&["--cap", "CAP_NET_RAW", &bundle.id, "cat", "/proc/self/status"]);
    for (set, text) in [("CapInh", &of_run), ("CapAmb", &of_run), ("CapInh", &status), ("CapAmb", &status)] {
        assert!(text.contains(&format!("{set}:\t0000000000000000")), "{text}");
    }
    assert!(status.contains("CapEff:\t0000000020002420"), "{status}");
}

#[test]
fn cve_2022_36109_groups_are_those_of_the_spec_and_no_others() {
    let Some(mut bundle) = Bundle::new(&["grep", "Groups", "/proc/self/status"]) else { return };
    bundle.config["process"]["user"] = json!({ "uid": 1000, "gid": 50, "additionalGids": [5, 10] });
    assert_eq!(bundle.run().1.split_whitespace().collect::<Vec<_>>(), ["Groups:", "5", "10"]);
}

#[test]
fn cve_2024_21626_a_descriptor_of_the_host_is_no_working_directory() {
    for number in 3..20 {
        let Some(mut bundle) = Bundle::new(&["true"]) else { return };
        bundle.config["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
        assert_ne!(bundle.run().0, 0, "{number}");
    }
    let Some(bundle) = Bundle::new(&["sleep", "100"]) else { return };
    bundle.start();
    for number in 3..20 {
        assert_ne!(bundle.exec(&["--cwd", &format!("/proc/self/fd/{number}"), &bundle.id, "true"]).0, 0, "{number}");
        let (code, ..) = bundle.exec(&[&bundle.id, &format!("/proc/self/fd/{number}/bin/true")]);
        assert!(code == 126 || code == 127, "{number}: {code}");
    }
}

#[test]
fn cve_2024_40635_ids_that_would_wrap_are_refused() {
    let Some(mut bundle) = Bundle::new(&["true"]) else { return };
    bundle.config["process"]["user"]["uid"] = json!(2_147_483_648_u32);
    assert!(bundle.run().2.contains("2147483647"));
}

#[test]
fn cve_2025_31133_masked_paths_show_nothing_and_read_only_ones_take_nothing() {
    let script = "cat /proc/keys /proc/interrupts /proc/timer_list; ls /sys/firmware; \
        for f in /proc/sys/kernel/panic /proc/sysrq-trigger; do (echo 1 > $f) 2>/dev/null && echo wrote $f; done; true";
    let Some(bundle) = Bundle::new(&["sh", "-c", script]) else { return };
    let (code, out, err) = bundle.run();
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
}

#[test]
fn cve_2025_31133_a_null_device_that_is_another_is_refused() {
    let Some(mut bundle) = Bundle::new(&["true"]) else { return };
    bundle.config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|it| !it["destination"].as_str().unwrap().starts_with("/dev"));
    fs::create_dir(bundle.rootfs().join("dev")).unwrap();
    symlink("/proc/version", bundle.rootfs().join("dev/null")).unwrap();
    let (code, _, err) = bundle.run();
    assert!(code != 0 && err.contains("/dev/null: something else is there already"), "{code} {err}");
}

/// The image has links where the host's terminal would be looked for by name.
#[test]
fn cve_2025_52565_the_console_is_the_terminal_itself() {
    let Some(mut bundle) = Bundle::new(&["sh", "-c", "stat -L -c %t:%T /dev/console"]) else { return };
    bundle.config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|it| !it["destination"].as_str().unwrap().starts_with("/dev"));
    fs::create_dir_all(bundle.rootfs().join("dev/pts")).unwrap();
    for n in 0..300 {
        symlink("/proc/sysrq-trigger", bundle.rootfs().join(format!("dev/pts/{n}"))).unwrap();
    }
    let text = on_terminal(&mut bundle);
    assert!(text.starts_with("88:"), "{text}");
}

#[test]
fn cve_2025_52881_only_kernel_parameters_of_the_containers_own_are_written() {
    let Some(mut bundle) = Bundle::new(&["cat", "/proc/sys/net/ipv4/ip_forward"]) else { return };
    bundle.config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
    assert_eq!(bundle.run().1, "1\n", "{}", bundle.log());
    for key in ["kernel.panic", "vm.swappiness", "net/../kernel/panic"] {
        bundle.config["linux"]["sysctl"] = json!({ key: "1" });
        assert!(bundle.run().2.contains("not in a separate kernel namespace"), "{key}");
    }
}

#[test]
fn a_limit_above_the_hosts_is_lowered_with_a_warning() {
    let Some(mut bundle) = Bundle::new(&["sh", "-c", "ulimit -n"]) else { return };
    let wanted = 1_000_000_000_u64;
    bundle.config["process"]["rlimits"] = json!([{ "type": "RLIMIT_CORE", "soft": 0, "hard": 0 }]);
    assert_eq!(bundle.run().0, 0);
    let own = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap().1;
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let caps = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap().to_owned();
    if u64::from_str_radix(&caps, 16).unwrap() & (1 << 24) != 0 {
        eprintln!("not run: this process has CAP_SYS_RESOURCE and can raise limits");
        return;
    }
    bundle.config["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": wanted, "hard": wanted }]);
    let (code, out, err) = bundle.run();
    assert_eq!((code, out.trim()), (0, own.to_string().as_str()), "{err}");
    assert!(bundle.log().contains("warning") && bundle.log().contains("nofile"), "{}", bundle.log());
}
