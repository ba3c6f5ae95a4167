//! Images over a wire: pull, pull with half of it here, push, save and removal, beside docker and podman, on a `docker-registry` of our own.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::logs::make_archive;
use super::measure::run;
use super::peers::{Bench, Engine, on_path};

/// What is moved: a name, and how its layers are cut.
const IMAGES: &[(&str, usize, u64)] = &[("big", 6, 85 << 20), ("many", 60, 400 << 10)];

pub fn images(bench: &mut Bench) {
    if !on_path("docker-registry") {
        println!("docker-registry is not installed: pull and push are missing\n");
        return;
    }
    let registry = Registry::start(bench, "registry");
    for &(name, n_layers, layer_bytes) in IMAGES {
        let size_mib = publish(bench, &registry, name, n_layers, layer_bytes);
        measure(bench, &registry, name, &format!("{size_mib} MiB in {n_layers} layers"));
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

/// Puts the image, and one of the lower half of its layers, into the registry with skopeo, so that no contender made the blobs. The MiB of the archive.
fn publish(bench: &Bench, registry: &Registry, name: &str, n_layers: usize, layer_bytes: u64) -> u64 {
    let mut size_mib = 0;
    for (name, n_layers) in [(format!("{name}-half"), n_layers / 2), (name.to_owned(), n_layers)] {
        let archive = bench.path("published.tar");
        make_archive(bench, &archive, n_layers, layer_bytes);
        size_mib = fs::metadata(&archive).map_or(0, |meta| meta.len()) >> 20;
        run(Command::new("skopeo")
            .args(["copy", "--dest-tls-verify=false"])
            .arg(format!("docker-archive:{}", archive.display()))
            .arg(format!("docker://{}", registry.reference(&name))));
        let _ = fs::remove_file(&archive);
    }
    size_mib
}

fn measure(bench: &mut Bench, registry: &Registry, name: &str, what: &str) {
    let (whole, half) = (registry.reference(name), registry.reference(&format!("{name}-half")));
    let n = (bench.options.n / 5).clamp(1, 5);
    let pull = |engine, reference: &str| run(&mut transfer(bench, engine, "pull", reference));
    let remove = |engine, reference: &str| run(bench.command(engine).args(["rmi", "-f", reference]));
    let settle = || drop(Command::new("sync").status());

    let cold = bench.contest(n, |engine| {
        settle();
        let wall = pull(engine, &whole);
        remove(engine, &whole);
        wall
    });
    let rest = bench.contest(n, |engine| {
        pull(engine, &half);
        settle();
        let wall = pull(engine, &whole);
        remove(engine, &whole);
        remove(engine, &half);
        wall
    });
    bench.each(|engine| {
        pull(engine, &whole);
    });
    let saved = bench.contest(n, |engine| {
        let archive = bench.path("saved.tar");
        let wall = run(bench.command(engine).arg("save").arg("-o").arg(&archive).arg(&whole));
        let _ = fs::remove_file(&archive);
        wall
    });
    let pushed = bench.contest(n, |engine| {
        // A registry that has nothing yet, so that every byte goes over.
        let empty = Registry::start(bench, &format!("empty-{}", engine.name()));
        let target = empty.reference(name);
        run(bench.command(engine).args(["tag", &whole, &target]));
        let wall = run(&mut transfer(bench, engine, "push", &target));
        remove(engine, &target);
        wall
    });
    let removed = bench.contest(n, |engine| {
        pull(engine, &whole);
        settle();
        remove(engine, &whole)
    });
    bench.table.times(&format!("`pull` of {what} (CPU with its removal)"), &cold);
    bench.table.times("the same with half of the layers here (CPU of both pulls)", &rest);
    bench.table.times(&format!("`save` of {what}"), &saved);
    bench.table.times(&format!("`push` of {what} into an empty registry"), &pushed);
    bench.table.times(&format!("`rmi` of {what} (CPU with its pull)"), &removed);
}
