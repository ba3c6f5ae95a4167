//! One engine to check, and short words for what the cases do all the time.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use futures_util::StreamExt;
use orlop::config::Places;
use orlop::embedded::{Embedded, EmbeddedSettings};
use orlop::engine::container::Status;
use orlop::engine::fake::Fake;
use orlop::engine::{
    ContainerDetail, ContainerSpec, Engine, EngineError, ImportImage, LogsQuery, Progress, RemoveContainer,
};

#[path = "../registry/house.rs"]
#[expect(dead_code, reason = "the registry's own tests need more of it")]
pub(crate) mod house;

/// Held by a case that prunes: dockerd refuses a second one meanwhile.
pub(crate) static PRUNING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// An engine with one image, and a prefix that keeps names of parallel cases apart.
pub(crate) struct World {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) image: &'static str,
    prefix: String,
    /// The registry that the engine knows; one of the case's own is started where there is none.
    known_registry: Option<String>,
    own_registry: OnceLock<house::Registry>,
}

/// The embedded engine of this test program: one store, made at the first use. A static is never dropped, so the next run removes it.
struct Place {
    dir: PathBuf,
    image: Vec<u8>,
}

static PLACE: LazyLock<Result<Place, String>> = LazyLock::new(|| {
    if !nix::unistd::geteuid().is_root() {
        return Err("not root".to_owned());
    }
    remove_places_of_the_dead();
    let dir = std::env::temp_dir().join(format!("{PLACE_PREFIX}{}", std::process::id()));
    std::fs::create_dir(&dir).map_err(|error| error.to_string())?;
    Ok(Place { dir, image: busybox_tar()? })
});

const PLACE_PREFIX: &str = "orlop-contract-";

fn remove_places_of_the_dead() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PLACE_PREFIX)?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

impl World {
    pub(crate) fn fake() -> Self {
        let fake = Fake::empty_on_wall_clock();
        fake.add_image("busybox", 4 << 20);
        Self { known_registry: Some("registry.example:5000".to_owned()), ..Self::of(Arc::new(fake), "busybox") }
    }

    /// Why it cannot be had here, otherwise.
    pub(crate) fn embedded() -> Result<Self, String> {
        let place = PLACE.as_ref().map_err(Clone::clone)?;
        let places = Places { root: place.dir.join("root"), run: place.dir.join("run") };
        let settings = EmbeddedSettings {
            program: Some(PathBuf::from(env!("CARGO_BIN_EXE_orlop"))),
            ..EmbeddedSettings::default()
        };
        let engine = Embedded::open(places, settings).map_err(|error| error.to_string())?;
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            let reader = Box::new(std::io::Cursor::new(place.image.clone()));
            let options = ImportImage {
                reference: Some("busybox".to_owned()),
                changes: vec!["CMD [\"sh\"]".to_owned(), "ENV PATH=/bin".to_owned()],
                ..ImportImage::default()
            };
            let runtime = runtime();
            runtime.block_on(engine.images_import(reader, &options)).expect("the image is imported");
        });
        Ok(Self::of(engine, "busybox"))
    }

    /// Some other engine that has the image under this name.
    pub(crate) fn of(engine: Arc<dyn Engine>, image: &'static str) -> Self {
        Self { engine, image, prefix: unique(), known_registry: None, own_registry: OnceLock::new() }
    }

    /// The same with a registry that the engine is set up for.
    pub(crate) fn with_registry(self, host: Option<String>) -> Self {
        Self { known_registry: host, ..self }
    }

    /// `host:port` of a registry that wants [`house::login`]; `None` where there is none to be had.
    pub(crate) fn registry(&self) -> Option<String> {
        if self.known_registry.is_some() {
            return self.known_registry.clone();
        }
        house::tools().then(|| self.own_registry.get_or_init(registry).host())
    }

    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    pub(crate) fn spec(&self, cmd: &[&str]) -> ContainerSpec {
        ContainerSpec {
            image: self.image.to_owned(),
            cmd: Some(cmd.iter().map(|word| (*word).to_owned()).collect()),
            network_mode: Some("none".to_owned()),
            ..ContainerSpec::default()
        }
    }

    /// Runs `script` in a shell.
    pub(crate) fn sh(&self, script: &str) -> ContainerSpec {
        self.spec(&["sh", "-c", script])
    }

    pub(crate) async fn create(&self, name: &str, spec: &ContainerSpec) -> String {
        let name = self.name(name);
        self.engine.containers().create(Some(&name), spec).await.expect("the container is created").id
    }

    pub(crate) async fn run(&self, name: &str, spec: &ContainerSpec) -> String {
        let id = self.create(name, spec).await;
        self.engine.containers().start(&id).await.expect("the container starts");
        id
    }

    pub(crate) async fn inspect(&self, ctr: &str) -> ContainerDetail {
        self.engine.containers().inspect(ctr).await.expect("the container is inspected")
    }

    pub(crate) async fn status(&self, ctr: &str) -> Status {
        self.inspect(ctr).await.state.status
    }

    /// Polls until the container is so, for as long as [`PATIENCE`].
    pub(crate) async fn until(&self, ctr: &str, wanted: impl Fn(&ContainerDetail) -> bool) -> ContainerDetail {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let detail = self.inspect(ctr).await;
            if wanted(&detail) {
                return detail;
            }
            assert!(std::time::Instant::now() < deadline, "not within {PATIENCE:?}: {:?}", detail.state);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn remove(&self, ctr: &str) {
        let options = RemoveContainer { force: true, volumes: true };
        self.engine.containers().remove(ctr, &options).await.expect("the container is removed");
    }

    /// Everything that the container wrote.
    pub(crate) async fn log(&self, ctr: &str, query: &LogsQuery) -> String {
        let mut stream = self.engine.containers().logs(ctr, query).await.expect("the log is opened");
        let mut text = String::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.expect("the log is read");
            for entry in &chunk.entries {
                text.push_str(&String::from_utf8_lossy(chunk.line(entry)));
                text.push('\n');
            }
        }
        text
    }
}

/// An import that needs no `Images` import at the caller's.
trait Import {
    async fn images_import(
        &self,
        reader: orlop::engine::Reader,
        options: &ImportImage,
    ) -> Result<orlop::engine::LoadedImage, EngineError>;
}

impl Import for Embedded {
    async fn images_import(
        &self,
        reader: orlop::engine::Reader,
        options: &ImportImage,
    ) -> Result<orlop::engine::LoadedImage, EngineError> {
        self.images().import(reader, options, Progress::none()).await
    }
}

/// A registry that lets in only who logs in.
pub(crate) fn registry() -> house::Registry {
    house::Registry::start(&house::Setup { has_htpasswd: true, ..house::Setup::default() })
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a tokio runtime")
}

/// Runs one case with a deadline over all of it.
pub(crate) fn run<F>(world: World, case: fn(Arc<World>) -> F)
where
    F: Future<Output = ()>,
{
    let runtime = runtime();
    runtime.block_on(async {
        let done = tokio::time::timeout(PATIENCE * 2, case(Arc::new(world))).await;
        assert!(done.is_ok(), "the case did not end within {:?}", PATIENCE * 2);
    });
}

/// A case that cannot run here says so; it is no success.
pub(crate) fn not_here(case: &str, why: &str) {
    tell([format!("NOT RUN: {case}: {why}").as_str()]);
}

/// Lines that are to be seen whether or not the test succeeds, in one piece.
pub(crate) fn tell<'a>(lines: impl IntoIterator<Item = &'a str>) {
    let text: String = lines.into_iter().map(|line| format!("{line}\n")).collect();
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
}

fn unique() -> String {
    static COUNTER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    format!("c{}", COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

/// A root file system of Debian's busybox-static: the program and a link for each of its names.
pub(crate) fn busybox_tar() -> Result<Vec<u8>, String> {
    let path = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| std::path::Path::new(path).exists());
    let path = path.ok_or("no busybox (Debian package busybox-static)")?;
    let program = std::fs::read(path).map_err(|error| error.to_string())?;
    let mut tar = tar::Builder::new(Vec::new());
    let mut dir = |name: &str, mode: u32| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(mode);
        header.set_size(0);
        tar.append_data(&mut header, name, std::io::empty()).map_err(|error| error.to_string())
    };
    for name in ["bin/", "etc/", "proc/", "sys/", "dev/", "root/", "data/"] {
        dir(name, 0o755)?;
    }
    dir("tmp/", 0o1777)?;
    let mut file = |name: &str, mode: u32, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes).map_err(|error| error.to_string())
    };
    file("bin/busybox", 0o755, &program)?;
    file("bin/not-executable", 0o644, b"#!/bin/sh\n")?;
    file("data/seed", 0o644, b"from the image\n")?;
    file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/data:/bin/sh\n")?;
    file("etc/group", 0o644, b"root:x:0:\nweb:x:34:\naudio:x:29:web\n")?;
    let names = "sh cat echo sleep true false ls id env hostname kill ps dd yes head wc test stat mount touch rm mkdir printf pwd sort nproc tty stty seq grep od ip";
    for name in names.split(' ') {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        tar.append_link(&mut header, format!("bin/{name}"), "busybox").map_err(|error| error.to_string())?;
    }
    tar.into_inner().map_err(|error| error.to_string())
}
