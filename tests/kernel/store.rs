//! The store against real tools and a hostile machine: archives by skopeo, podman and docker, a loader that is killed, a
//! disk that is full, two processes at once. Root only; what is not installed is said and counted as not shown.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use orlop::engine::progress::Progress;
use orlop::stdx::human::size_si;
use orlop::store::{Class, LoadOptions, PruneScope, Source, Store, StoreError};

/// A temporary directory with a store in it.
struct Bench {
    dir: tempfile::TempDir,
    store: Store,
}

fn bench() -> Bench {
    let dir = tempfile::Builder::new().prefix("orlop-store-").tempdir().expect("a temporary directory");
    let store = Store::open(&dir.path().join("root")).expect("a store");
    Bench { dir, store }
}

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn load(&self, archive: &Path) -> Result<String, StoreError> {
        let file = fs::File::open(archive).expect("the archive");
        let loaded = self.store.load(Source::from_file(file), &LoadOptions::default(), &Progress::none())?;
        Ok(loaded[0].id.clone())
    }

    fn make_image(&self) -> String {
        let name = "tools:1".parse().expect("a reference");
        self.store.from_host(&name, &["/bin/sh".into(), "/bin/ls".into()], &Progress::none()).expect("an image").id
    }

    fn save(&self, name: &str) -> PathBuf {
        let path = self.path("saved.tar");
        let mut file = fs::File::create(&path).expect("a file");
        self.store.save(&[name.to_owned()], &mut file).expect("an archive");
        path
    }

    fn n_left_in_tmp(&self) -> usize {
        fs::read_dir(self.path("root/tmp")).expect("tmp").count()
    }
}

/// Says why a test shows nothing on this machine.
fn not_shown(why: &str) {
    // A closed stderr is no reason to fail.
    let _ = writeln!(std::io::stderr(), "not shown: {why}");
}

/// Whether a program is there; says so when not.
fn have(program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !is_there {
        not_shown(&format!("{program} is not installed"));
    }
    is_there
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// skopeo reads what we save and writes it in all its forms; each comes back as the same image.
#[test]
fn skopeo_reads_ours_and_we_read_every_form_of_its() {
    if !have("skopeo") {
        return;
    }
    let bench = bench();
    let id = bench.make_image();
    let saved = bench.save("tools:1");
    let from = format!("docker-archive:{}", saved.display());
    let config = run(Command::new("skopeo").args(["inspect", "--config", "--raw", &from]));
    assert!(config.contains("from-host"), "{config}");
    let forms = [
        ("docker-archive", format!("docker-archive:{}:tests/a:1", bench.path("a.tar").display()), bench.path("a.tar")),
        ("oci-archive", format!("oci-archive:{}:tests/b:1", bench.path("b.tar").display()), bench.path("b.tar")),
        ("oci", format!("oci:{}:tests/c:1", bench.path("c").display()), bench.path("c")),
    ];
    for (form, target, path) in forms {
        run(Command::new("skopeo").args(["copy", "--quiet", "--insecure-policy", &from, &target]));
        let archive = if form == "oci" {
            run(Command::new("tar").arg("-cf").arg(bench.path("c.tar")).arg("-C").arg(&path).arg("."));
            bench.path("c.tar")
        } else {
            path
        };
        let other = self::bench();
        let loaded = other.load(&archive).unwrap_or_else(|e| panic!("{form}: {}", e.chain()));
        let image = other.store.image(&loaded).expect("the image");
        assert_eq!(image.layers.len(), 1, "{form}");
        assert_eq!(image.layers[0].0, bench.store.image(&id).expect("ours").layers[0].0, "{form}: the same layer");
        assert_eq!(image.names.len(), 1, "{form}: {:?}", image.names);
    }
}

#[test]
fn podman_reads_ours_and_we_read_its() {
    if !have("podman") {
        return;
    }
    let bench = bench();
    let id = bench.make_image();
    let saved = bench.save("tools:1");
    let podman = || {
        let mut command = Command::new("podman");
        command.arg("--root").arg(bench.path("podman")).arg("--runroot").arg(bench.path("podman-run"));
        command
    };
    run(podman().args(["load", "-q", "-i"]).arg(&saved));
    let theirs = bench.path("theirs.tar");
    run(podman().args(["save", "-q", "-o"]).arg(&theirs).arg("tools:1"));
    let other = self::bench();
    assert_eq!(other.load(&theirs).map_err(|e| e.chain()), Ok(id));
    // Its storage holds a mount until it is told to let go.
    run(podman().args(["system", "reset", "-f"]));
}

/// A dockerd of its own on a temporary root, ended with the test.
struct Dockerd {
    child: Child,
    socket: String,
}

impl Dockerd {
    fn start(dir: &Path) -> Option<Dockerd> {
        let at = |name: &str| dir.join(name).display().to_string();
        let socket = format!("unix://{}", at("docker.sock"));
        let log = fs::File::create(dir.join("dockerd.log")).ok()?;
        let child = Command::new("dockerd")
            .args(["--bridge", "none", "--iptables=false", "--ip6tables=false", "-H", &socket])
            .args(["--data-root", &at("docker"), "--exec-root", &at("docker-exec"), "--pidfile", &at("docker.pid")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .ok()?;
        let mut dockerd = Dockerd { child, socket };
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline && matches!(dockerd.child.try_wait(), Ok(None)) {
            let up = dockerd.command().arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            if up.is_ok_and(|status| status.success()) {
                return Some(dockerd);
            }
        }
        let log = fs::read_to_string(dir.join("dockerd.log")).unwrap_or_default();
        not_shown(&format!("dockerd does not start here: {}", log.lines().last().unwrap_or("no reason given")));
        None
    }

    fn command(&self) -> Command {
        let mut command = Command::new("docker");
        command.args(["-H", &self.socket]);
        command
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        // It may have ended by itself; wait tells.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

#[test]
fn docker_reads_ours_and_we_read_its() {
    if !have("dockerd") || !have("docker") {
        return;
    }
    let bench = bench();
    let id = bench.make_image();
    let saved = bench.save("tools:1");
    let Some(dockerd) = Dockerd::start(bench.dir.path()) else { return };
    let told = run(dockerd.command().args(["load", "-i"]).arg(&saved));
    assert!(told.contains("Loaded image: tools:1"), "{told}");
    let import = bench.path("import.tar");
    run(Command::new("tar").arg("-cf").arg(&import).args(["-C", "/etc", "passwd"]));
    run(dockerd.command().arg("import").arg(&import).arg("second:1"));
    let theirs = bench.path("theirs.tar");
    run(dockerd.command().args(["save", "-o"]).arg(&theirs).args(["tools:1", "second:1"]));
    let other = self::bench();
    let file = fs::File::open(&theirs).expect("the archive");
    let loaded = other.store.load(Source::from_file(file), &LoadOptions::default(), &Progress::none());
    let loaded = loaded.unwrap_or_else(|e| panic!("{}", e.chain()));
    assert_eq!(loaded.len(), 2);
    assert!(loaded.iter().any(|image| image.id == id && image.references == ["tools:1"]), "{loaded:?}");
    // And the same from a pipe.
    let piped = self::bench();
    let stream = Source::Stream(Box::new(fs::File::open(&theirs).expect("the archive")));
    assert_eq!(piped.store.load(stream, &LoadOptions::default(), &Progress::none()).map_err(|e| e.chain()), Ok(loaded));
}

/// The variable by which the killed test's child knows that it is one.
const CHILD: &str = "ORLOP_TEST_STORE_CHILD";

/// Loads one archive into one store over and over, until it is killed.
fn child_of_the_killed_test(task: &str) {
    let (root, archive) = task.split_once('|').expect("root|archive");
    let store = Store::open(Path::new(root)).expect("a store");
    loop {
        let file = fs::File::open(archive).expect("the archive");
        store.load(Source::from_file(file), &LoadOptions::default(), &Progress::none()).expect("a load");
        store.prune_images(PruneScope::Unused, &[]).expect("a prune");
    }
}

/// kill -9 at any moment of load and prune: the next process sweeps, and what it then sees is whole.
#[test]
fn a_killed_loader_leaves_nothing_and_breaks_nothing() {
    const TEST: &str = "store::a_killed_loader_leaves_nothing_and_breaks_nothing";
    if let Ok(task) = std::env::var(CHILD) {
        return child_of_the_killed_test(&task);
    }
    let source = bench();
    let id = source.make_image();
    let archive = source.save("tools:1");
    let bench = bench();
    let task = format!("{}|{}", bench.store.root().display(), archive.display());
    for round in 0..30u64 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", TEST])
            .env(CHILD, &task)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a child");
        // From right after the start to several rounds in, at moments that no round shares.
        let until = Instant::now() + Duration::from_micros(7_000 + round * 3_701);
        while Instant::now() < until {
            std::thread::yield_now();
        }
        child.kill().expect("kill");
        child.wait().expect("the child");
        // A new process: a new handle.
        let store = Store::open(bench.store.root()).expect("a store");
        store.sweep().expect("a sweep");
        assert_eq!(bench.n_left_in_tmp(), 0, "round {round}");
        let images = store.images().expect("the images");
        let n_layers = fs::read_dir(bench.path("root/layers")).expect("layers").count();
        assert_eq!(n_layers, images.len(), "round {round}: a layer for each image and no other");
        for image in images {
            assert_eq!(image.id.to_string(), id);
            store
                .save(std::slice::from_ref(&id), &mut std::io::sink())
                .unwrap_or_else(|e| panic!("round {round}: {}", e.chain()));
        }
    }
    assert_eq!(bench.load(&archive).map_err(|e| e.chain()), Ok(id));
}

/// A tmpfs of a few megabytes, unmounted with the test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(dir: &Path, options: &str) -> SmallDisk {
        fs::create_dir(dir).expect("a directory");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(dir));
        SmallDisk(dir.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()) || std::thread::panicking(), "{} stays", self.0.display());
    }
}

#[test]
fn a_full_disk_is_told_and_the_store_stays_as_it_was() {
    let bench = bench();
    bench.make_image();
    let small = bench.save("tools:1");
    let name = "large:1".parse().expect("a reference");
    let big = bench.path("big");
    fs::create_dir(&big).expect("a directory");
    for n in 0..12u8 {
        fs::write(big.join(n.to_string()), vec![n + 1; 1 << 20]).expect("a file");
    }
    for options in ["size=12m", "size=64m,nr_inodes=30"] {
        let disk = SmallDisk::mount(&bench.path("disk"), options);
        let store = Store::open(&disk.0.join("root")).expect("a store");
        let load = |path: &Path| {
            let stream = Source::Stream(Box::new(fs::File::open(path).expect("the archive")));
            store.load(stream, &LoadOptions::default(), &Progress::none())
        };
        if options == "size=12m" {
            load(&small).unwrap_or_else(|e| panic!("{}", e.chain()));
            let refused = store.from_host(&name, std::slice::from_ref(&big), &Progress::none()).expect_err("too large");
            assert_eq!(refused.class, Class::Full, "{}", refused.chain());
            assert!(refused.hint.is_some());
            assert_eq!(store.images().expect("the images").len(), 1);
            store.save(&["tools:1".to_owned()], &mut std::io::sink()).expect("what was there is whole");
        } else {
            let refused = load(&small).expect_err("more files than inodes");
            assert_eq!(refused.class, Class::Full, "{}", refused.chain());
        }
        assert_eq!(fs::read_dir(disk.0.join("root/tmp")).expect("tmp").count(), 0);
        drop(store);
        drop(disk);
        fs::remove_dir(bench.path("disk")).expect("the mount point");
    }
}

#[test]
fn a_read_only_disk_is_told() {
    let bench = bench();
    let disk = SmallDisk::mount(&bench.path("disk"), "size=8m");
    let root = disk.0.join("root");
    drop(Store::open(&root).expect("a store"));
    run(Command::new("mount").args(["-o", "remount,ro"]).arg(&disk.0));
    let store = Store::open(&root).expect("an existing store opens for reading");
    let name = "tools:1".parse().expect("a reference");
    let refused = store.from_host(&name, &["/bin/sh".into()], &Progress::none()).expect_err("read-only");
    assert_eq!(refused.class, Class::Denied, "{}", refused.chain());
    let fresh = Store::open(&disk.0.join("other")).expect_err("read-only");
    assert_eq!(fresh.class, Class::Denied, "{}", fresh.chain());
}

/// 2 GB of zeros in 2 MB, and a disk of 300 MB: refused before the disk is eaten.
#[test]
fn a_decompression_bomb_is_refused() {
    let bench = bench();
    let disk = SmallDisk::mount(&bench.path("disk"), "size=300m");
    let store = Store::open(&disk.0.join("root")).expect("a store");
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(2 << 30);
    header.set_mode(0o644);
    tar.append_data(&mut header, "zeros", std::io::Read::take(std::io::repeat(0), 2 << 30)).expect("an entry");
    let packed = tar.into_inner().and_then(flate2::write::GzEncoder::finish).expect("an archive");
    assert!(packed.len() < 20 << 20, "{}", size_si(packed.len() as u64));
    let request = orlop::engine::image::ImportImage::default();
    let source = Source::Stream(Box::new(std::io::Cursor::new(packed)));
    let refused = store.import(source, &request, &Progress::none()).expect_err("a bomb");
    assert_eq!(refused.class, Class::Full, "{}", refused.chain());
    assert_eq!(fs::read_dir(disk.0.join("root/tmp")).expect("tmp").count(), 0);
    assert!(store.images().expect("the images").is_empty());
}
