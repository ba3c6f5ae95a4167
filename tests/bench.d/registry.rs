//! Images: load, and over a wire pull, pull with half of it here, push, save and removal, beside docker and podman, on a `docker-registry` of
//! our own.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::archive::make_archive;
use super::measure::{Series, peak_rss_mib, run};
use super::peers::{Bench, Engine, on_path};
use super::table::Line;

/// What is moved: a name, and how its layers are cut.
const IMAGES: &[(&str, usize, u64)] = &[("big", 6, 85 << 20), ("many", 60, 400 << 10)];

pub fn images(bench: &mut Bench) {
    if !on_path("docker-registry") {
        println!("docker-registry is not installed: pull and push are missing\n");
        return;
    }
    let registry = Registry::start(bench, "registry");
    for &(name, n_layers, layer_bytes) in IMAGES {
        let what = publish(bench, &registry, name, n_layers, layer_bytes);
        measure(bench, &registry, name, &what);
    }
}

/// A registry with a directory of its own; ends with its value.
struct Registry {
    child: Child,
    dir: PathBuf,
    port: u16,
}

impl Registry {
    fn start(bench: &Bench, name: &str) -> Self {
        let dir = bench.path(name);
        fs::create_dir_all(&dir).expect("a directory");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port");
        let port = free.port();
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n",
            dir.join("data").display()
        );
        let file = dir.join("config.yml");
        fs::write(&file, config).expect("written");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry starts");
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "docker-registry does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, dir, port }
    }

    fn reference(&self, name: &str) -> String {
        format!("127.0.0.1:{}/bench/{name}:1", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// `pull` or `push` of a reference on loopback without TLS.
fn transfer(bench: &Bench, engine: Engine, verb: &str, reference: &str) -> Command {
    let mut command = bench.command(engine);
    command.arg(verb);
    if engine == Engine::Podman {
        command.arg("--tls-verify=false");
    }
    command.arg(reference);
    command
}

/// Puts the image, and one of the lower half of its layers, into the registry with skopeo, so that no contender made the blobs. What is in it.
fn publish(bench: &Bench, registry: &Registry, name: &str, n_layers: usize, layer_bytes: u64) -> String {
    let mut what = String::new();
    for (name, n_layers) in [(format!("{name}-half"), n_layers / 2), (name.to_owned(), n_layers)] {
        let archive = bench.path("published.tar");
        let made = make_archive(bench, &archive, n_layers, layer_bytes);
        run(Command::new("skopeo")
            .args(["copy", "--dest-tls-verify=false"])
            .arg(format!("docker-archive:{}", archive.display()))
            .arg(format!("docker://{}", registry.reference(&name))));
        let _ = fs::remove_file(&archive);
        what = format!("{} MiB in {n_layers} layers, {} entries", made.mib, made.n_entries);
    }
    what
}

/// Loads an archive of about 500 MiB in several layers.
pub fn load(bench: &mut Bench) {
    let archive = bench.path("big.tar");
    let made = make_archive(bench, &archive, 6, 85 << 20);
    let n = (bench.options.n / 3).clamp(1, 5);
    let series: Vec<Series> = bench.contest(n, |engine| {
        // What an earlier contender left to be written is not to be this one's burden.
        let _ = Command::new("sync").arg("-f").arg(&archive).status();
        let wall = run(bench.command(engine).args(["load", "-i"]).arg(&archive));
        run(bench.command(engine).args(["rmi", "-f", "big:1"]));
        wall
    });
    let what = format!("{} MiB in 6 layers, {} entries", made.mib, made.n_entries);
    bench.table.times(&format!("`load` of {what} (CPU with its removal)"), &series);
    let _ = fs::remove_file(&archive);
}

fn measure(bench: &mut Bench, registry: &Registry, name: &str, what: &str) {
    let (whole, half) = (registry.reference(name), registry.reference(&format!("{name}-half")));
    let n = (bench.options.n / 3).clamp(1, 5);
    let pull = |bench: &Bench, engine, reference: &str| run(&mut transfer(bench, engine, "pull", reference));
    let remove = |bench: &Bench, engine, reference: &str| run(bench.command(engine).args(["rmi", "-f", reference]));
    let settle = || drop(Command::new("sync").status());

    let series = bench.contest(n, |engine| {
        settle();
        let wall = pull(bench, engine, &whole);
        remove(bench, engine, &whole);
        wall
    });
    bench.table.times(&format!("`pull` of {what} (CPU with its removal)"), &series);
    let series = bench.contest(n, |engine| {
        pull(bench, engine, &half);
        settle();
        let wall = pull(bench, engine, &whole);
        remove(bench, engine, &whole);
        remove(bench, engine, &half);
        wall
    });
    bench.table.times("the same with half of the layers here (CPU of both pulls and removals)", &series);
    memory(bench, &whole, what);
    bench.each(|engine| {
        pull(bench, engine, &whole);
    });
    let series = bench.contest(n, |engine| {
        let archive = bench.path("saved.tar");
        let wall = run(bench.command(engine).arg("save").arg("-o").arg(&archive).arg(&whole));
        let _ = fs::remove_file(&archive);
        wall
    });
    bench.table.times(&format!("`save` of {what}"), &series);
    let series = bench.contest(n, |engine| {
        // A registry that has nothing yet, so that every byte goes over.
        let empty = Registry::start(bench, &format!("empty-{}", engine.name()));
        let target = empty.reference(name);
        run(bench.command(engine).args(["tag", &whole, &target]));
        settle();
        let wall = run(&mut transfer(bench, engine, "push", &target));
        remove(bench, engine, &target);
        wall
    });
    bench.table.times(&format!("`push` of {what}, pulled before, into an empty registry"), &series);
    let series = bench.contest(n, |engine| {
        pull(bench, engine, &whole);
        settle();
        remove(bench, engine, &whole)
    });
    bench.table.times(&format!("`rmi` of {what} (CPU with its pull)"), &series);
}

/// The most memory that one process had in its page tables during a pull: the command's, or the daemon's, whose mark is set back before.
fn memory(bench: &mut Bench, reference: &str, what: &str) {
    let mut lines = Vec::new();
    for engine in bench.engines() {
        let daemon = (engine == Engine::Docker).then(|| bench.docker_pid()).flatten();
        if let Some(pid) = daemon {
            let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
        let command = peak_rss_mib(&words(&transfer(bench, engine, "pull", reference)));
        let peak = daemon.map_or(command, peak_of);
        run(bench.command(engine).args(["rmi", "-f", reference]));
        let name = if daemon.is_some() { "docker (dockerd alone)" } else { engine.name() };
        lines.push(Line::new(name, peak));
    }
    bench.table.row(&format!("`pull` of {what}: peak resident memory"), "MiB", &lines);
}

/// A command with its environment as words for another to start.
fn words(command: &Command) -> Vec<String> {
    let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    let env = command.get_envs().filter_map(|(name, value)| Some(format!("{}={}", text(name), text(value?))));
    let mut words = vec!["env".to_owned()];
    words.extend(env);
    words.push(text(command.get_program()));
    words.extend(command.get_args().map(text));
    words
}

/// `VmHWM` of a process, in MiB.
fn peak_of(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}
