//! Images over a wire and files in and out of containers, by the program itself: transfers that are cut and clients that are killed,
//! a real registry, several processes at once that die at any moment. Root only; what is not installed is said.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use orlop::engine::progress::Progress;
use orlop::engine::system::CheckStore;
use orlop::oci::image::Descriptor;
use orlop::stdx::ids::Digest;
use orlop::store::{Class, Origin, PruneScope, Removal, Store, Wanted};
use serde_json::json;

/// For whatever takes a moment on an idle machine and much longer on a loaded one.
const PATIENCE: Duration = Duration::from_secs(60);

/// A root of its own for the program, gone with its value.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        assert!(nix::unistd::geteuid().is_root(), "these tests need root");
        Home(tempfile::Builder::new().prefix("orlop-images-").tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orlop"));
        command.args(words).stdin(Stdio::null()).current_dir(self.0.path());
        command.env("ORLOP_ROOT", self.path("root")).env("ORLOP_RUN", self.path("run"));
        command.env("DOCKER_CONFIG", self.path("docker")).env("XDG_CONFIG_HOME", self.path("config"));
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// What a command printed; it must succeed.
    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{words:?}: {out}{err}");
        out.into_owned()
    }

    /// The same for one that must fail: what it said.
    fn refused(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(!output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn with_busybox(self) -> Home {
        fs::write(self.path("bb.tar"), super::embedded::busybox_tar().unwrap()).unwrap();
        self.ok(&["import", "-c", "ENV PATH=/bin", "-c", "CMD [\"sh\"]", "bb.tar", "bb:1"]);
        self
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Containers would keep the directory alive.
        for id in String::from_utf8_lossy(&self.run(&["ps", "-aq"]).stdout).lines() {
            self.run(&["rm", "-f", id]);
        }
    }
}

fn noise(seed: u64, n_bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..n_bytes).map(|_| next()).collect()
}

/// A layer with one file of noise: its tar, and that compressed.
fn layer(seed: u64, n_bytes: usize) -> (Vec<u8>, Vec<u8>) {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(n_bytes as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, format!("file-{seed}"), noise(seed, n_bytes).as_slice()).unwrap();
    let tar = tar.into_inner().unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&tar).unwrap();
    (tar, encoder.finish().unwrap())
}

/// An image of layers of noise, as a registry has it.
struct Made {
    manifest: Vec<u8>,
    config: Vec<u8>,
    /// Bytes by digest.
    blobs: HashMap<String, Vec<u8>>,
}

fn image(seeds: &[u64], n_bytes: usize) -> Made {
    let layers: Vec<_> = seeds.iter().map(|seed| layer(*seed, n_bytes)).collect();
    let diff_ids: Vec<_> = layers.iter().map(|(tar, _)| Digest::of(tar)).collect();
    let host = orlop::oci::image::Platform::host();
    let config = json!({
        "architecture": host.architecture, "os": host.os, "config": {"Cmd": ["none"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = config.to_string().into_bytes();
    let describe = |packed: &Vec<u8>| {
        let media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
        json!({"mediaType": media_type, "digest": Digest::of(packed), "size": packed.len()})
    };
    let described: Vec<_> = layers.iter().map(|(_, packed)| describe(packed)).collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest::of(&config),
            "size": config.len(),
        },
        "layers": described,
    });
    let blobs = layers.into_iter().map(|(_, packed)| (Digest::of(&packed).to_string(), packed)).collect();
    Made { manifest: manifest.to_string().into_bytes(), config, blobs }
}

/// What a transfer of a layer meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The connection ends after so many bytes.
    Cut(usize),
    /// Nothing comes after so many bytes, until the client goes away.
    Hold(usize),
}

/// A registry of one image that cuts and holds as it is told, and counts the bytes of layers that it sends.
struct Faulty {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    made: Made,
    fates: Mutex<VecDeque<Fate>>,
    n_sent: AtomicU64,
}

impl Faulty {
    fn serve(made: Made, fates: impl IntoIterator<Item = Fate>) -> Faulty {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let fates = Mutex::new(fates.into_iter().collect());
        let shared = Arc::new(Shared { made, fates, n_sent: AtomicU64::new(0) });
        let served = Arc::clone(&shared);
        // Ends with the test's process: a thread that waits for connections holds nothing.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&served);
                // A client that goes away in the middle is what these tests are about.
                std::thread::spawn(move || drop(shared.talk(stream)));
            }
        });
        Faulty { port, shared }
    }

    fn n_left(&self) -> usize {
        self.shared.fates.lock().unwrap().len()
    }
}

impl Shared {
    fn talk(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut input = BufReader::new(stream.try_clone()?);
        let mut out = stream;
        loop {
            // A client that tries TLS first is told by its first byte.
            if input.fill_buf()?.first().is_none_or(|byte| !byte.is_ascii_alphabetic()) {
                return Ok(());
            }
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if input.read_line(&mut head)? == 0 {
                    return Ok(());
                }
            }
            let mut words = head.split_whitespace();
            let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let range = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
            let start: usize = range.and_then(|range| range.trim_end_matches('-').parse().ok()).unwrap_or(0);
            let name = path.rsplit('/').next().unwrap_or("");
            let (body, kind, is_layer) = if path == "/v2/" {
                (b"{}".as_slice(), "application/json", false)
            } else if path.contains("/manifests/") {
                (self.made.manifest.as_slice(), "application/vnd.oci.image.manifest.v1+json", false)
            } else if name == Digest::of(&self.made.config).as_str() {
                (self.made.config.as_slice(), "application/octet-stream", false)
            } else if let Some(blob) = self.made.blobs.get(name) {
                (blob.as_slice(), "application/octet-stream", true)
            } else {
                out.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
                continue;
            };
            let rest = &body[start.min(body.len())..];
            let status = if start > 0 { "206 Partial Content" } else { "200 OK" };
            let mut answer = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n", rest.len());
            if start > 0 {
                answer.push_str(&format!("Content-Range: bytes {start}-{}/{}\r\n", body.len() - 1, body.len()));
            }
            if path.contains("/manifests/") {
                answer.push_str(&format!("Docker-Content-Digest: {}\r\n", Digest::of(body)));
            }
            out.write_all(format!("{answer}\r\n").as_bytes())?;
            if method == "HEAD" {
                continue;
            }
            if is_layer {
                self.send_layer(&mut out, rest)?;
            } else {
                out.write_all(rest)?;
            }
        }
    }

    fn send_layer(&self, out: &mut TcpStream, rest: &[u8]) -> std::io::Result<()> {
        let fate = self.fates.lock().unwrap().pop_front();
        let n_bytes = match fate {
            Some(Fate::Cut(n) | Fate::Hold(n)) => n.min(rest.len()),
            None => rest.len(),
        };
        self.n_sent.fetch_add(n_bytes as u64, Ordering::Relaxed);
        out.write_all(&rest[..n_bytes])?;
        match fate {
            None => Ok(()),
            Some(Fate::Cut(_)) => Err(std::io::ErrorKind::ConnectionAborted.into()),
            // Until the other end is gone.
            Some(Fate::Hold(_)) => out.read(&mut [0; 1]).and(Err(std::io::ErrorKind::ConnectionAborted.into())),
        }
    }
}

/// Polls until it holds.
fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_pull_cut_ten_times_and_killed_three_times_fetches_no_byte_twice() {
    const PIECE: usize = 100_000;
    let made = image(&[1], 2_000_000);
    let total: usize = made.blobs.values().map(Vec::len).sum();
    let (cut, hold) = (Fate::Cut(PIECE), Fate::Hold(PIECE));
    let fates = [cut, cut, cut, cut, hold, cut, cut, cut, hold, cut, cut, cut, hold];
    let n_cuts = fates.iter().filter(|fate| **fate == cut).count();
    assert_eq!(n_cuts, 10);
    let registry = Faulty::serve(made, fates);
    let home = Home::new();
    let name = format!("127.0.0.1:{}/made/noise:1", registry.port);
    let partial_bytes = || {
        let dir = fs::read_dir(home.path("root/partial")).into_iter().flatten().flatten();
        dir.filter(|entry| entry.path().extension().is_none())
            .map(|entry| entry.metadata().map_or(0, |m| m.len()))
            .sum::<u64>()
    };
    for n_holds_after in [2, 1, 0] {
        let mut client = home.command(&["pull", &name]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // What the registry has sent has arrived, and it holds back the rest.
        wait_for("the held transfer", || {
            let n_holds = registry.shared.fates.lock().unwrap().iter().filter(|fate| **fate == hold).count();
            n_holds == n_holds_after && partial_bytes() == registry.shared.n_sent.load(Ordering::Relaxed)
        });
        client.kill().unwrap();
        client.wait().unwrap();
        assert!(home.ok(&["images", "-q"]).is_empty(), "nothing is half visible");
    }
    assert_eq!(registry.n_left(), 0);
    home.ok(&["pull", &name]);
    assert_eq!(registry.shared.n_sent.load(Ordering::Relaxed), total as u64, "every byte once");
    assert!(home.ok(&["system", "check"]).contains("nothing to complain about"));
    assert!(home.ok(&["pull", &name]).contains("Image is up to date"));
    assert_eq!(registry.shared.n_sent.load(Ordering::Relaxed), total as u64);
}

/// A docker-registry of its own, gone with its value.
struct Registry {
    child: Child,
    host: String,
    _dir: tempfile::TempDir,
}

impl Registry {
    fn start() -> Option<Registry> {
        let dir = tempfile::tempdir().unwrap();
        let config = json!({
            "version": "0.1",
            "log": {"level": "info"},
            "storage": {"filesystem": {"rootdirectory": dir.path().join("data")}, "delete": {"enabled": true}},
            "http": {"addr": "127.0.0.1:0", "secret": "of a test"},
        });
        // JSON is YAML.
        fs::write(dir.path().join("config.yml"), config.to_string()).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(dir.path().join("config.yml")).stdin(Stdio::null()).stdout(Stdio::null());
        let Ok(mut child) = command.stderr(Stdio::piped()).spawn() else {
            eprintln!("not shown: docker-registry is not installed");
            return None;
        };
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let port = loop {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the registry ended");
            let rest = line.split_once("listening on 127.0.0.1:").map(|(_, rest)| rest);
            let digits = rest.map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
            if let Some(digits) = digits {
                break digits;
            }
        };
        // Its log must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Some(Registry { child, host: format!("127.0.0.1:{port}"), _dir: dir })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn skopeo(words: &[&str]) -> Option<String> {
    let Ok(output) = Command::new("skopeo").args(words).output() else {
        eprintln!("not shown: skopeo is not installed");
        return None;
    };
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn what_is_pushed_and_pulled_has_the_digest_that_skopeo_sees() {
    let Some(registry) = Registry::start() else { return };
    let home = Home::new().with_busybox();
    let name = format!("{}/team/tool:1", registry.host);
    home.ok(&["tag", "bb:1", &name]);
    let told = home.ok(&["push", &name]);
    let digest = told.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap().to_owned();
    if let Some(seen) = skopeo(&["inspect", "--tls-verify=false", &format!("docker://{name}")]) {
        assert!(seen.contains(&digest), "{seen}");
        // Another repository, by another tool, which compresses on the way.
        let copy = format!("docker://{}/other/copy:2", registry.host);
        let from = format!("docker://{name}");
        skopeo(&["copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--insecure-policy", &from, &copy]);
        let seen = skopeo(&["inspect", "--tls-verify=false", &copy]).unwrap();
        let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
        let digest = seen["Digest"].as_str().unwrap();
        let second = Home::new();
        let copied = format!("{}/other/copy:2", registry.host);
        let pulled = second.ok(&["pull", &copied]);
        assert!(pulled.contains(digest), "{pulled} is not {digest}");
        assert!(second.ok(&["images", "--digests"]).contains(digest));
        let run = second.ok(&["run", "--rm", "--network", "none", &copied, "echo", "ran"]);
        assert_eq!(run, "ran\n");
        // What came compressed goes out as it came.
        let third = format!("{}/third/place:3", registry.host);
        second.ok(&["tag", &copied, &third]);
        assert!(second.ok(&["push", &third]).contains(digest));
        let by_digest = format!("{}/other/copy@{digest}", registry.host);
        assert!(second.ok(&["pull", &by_digest]).contains("up to date"));
    }
    let again = home.ok(&["push", &name]);
    assert!(again.contains("Layer already exists") && again.contains(&digest), "{again}");
    assert!(home.refused(&["pull", &format!("{}/team/tool:nope", registry.host)]).contains("not found"));
    assert!(home.refused(&["push", "nothing/here:1"]).contains("An image does not exist locally with the tag"));
    let all = Home::new();
    home.ok(&["tag", "bb:1", &format!("{}/team/tool:2", registry.host)]);
    home.ok(&["push", "-a", &format!("{}/team/tool", registry.host)]);
    all.ok(&["pull", "-q", "-a", &format!("{}/team/tool", registry.host)]);
    assert_eq!(all.ok(&["images", "-q"]).lines().count(), 2, "two names of one image");
    assert!(all.ok(&["system", "check"]).contains("nothing to complain about"));
    assert!(all.refused(&["run", "--pull", "never", "nosuch/image:1", "true"]).contains("No such image"));
}

#[test]
fn files_go_in_and_out_of_containers_that_run_and_that_do_not() {
    let home = Home::new().with_busybox();
    let script = "echo changed > /etc/new; mkdir -p /srv/d; echo deep > /srv/d/f; busybox ln -s /etc /srv/link; echo v > /data/f";
    home.ok(&["run", "--name", "cc", "--network", "none", "-v", "vol:/data", "bb:1", "sh", "-c", script]);
    let diff = home.ok(&["diff", "cc"]);
    assert!(diff.contains("A /etc/new\n") && diff.contains("A /srv/d/f\n") && !diff.contains("/proc"), "{diff}");
    fs::write(home.path("in.txt"), "from here").unwrap();
    fs::create_dir_all(home.path("tree/inner")).unwrap();
    fs::write(home.path("tree/inner/leaf"), "leaf").unwrap();
    home.ok(&["run", "-d", "--name", "rr", "--network", "none", "-v", "vol:/data", "bb:1", "sleep", "1000"]);
    for ctr in ["cc", "rr"] {
        home.ok(&["cp", "in.txt", &format!("{ctr}:/data/")]);
        home.ok(&["cp", "in.txt", &format!("{ctr}:/etc/renamed")]);
        home.ok(&["cp", "tree", &format!("{ctr}:/new-tree")]);
        home.ok(&["cp", "tree/.", &format!("{ctr}:/etc")]);
        home.ok(&["cp", &format!("{ctr}:/data"), "."]);
        assert_eq!(fs::read_to_string(home.path("data/in.txt")).unwrap(), "from here", "{ctr}");
        home.ok(&["cp", &format!("{ctr}:/etc/renamed"), &format!("out-{ctr}")]);
        assert_eq!(fs::read_to_string(home.path(&format!("out-{ctr}"))).unwrap(), "from here");
        home.ok(&["cp", &format!("{ctr}:/new-tree/."), &format!("flat-{ctr}")]);
        assert_eq!(fs::read_to_string(home.path(&format!("flat-{ctr}/inner/leaf"))).unwrap(), "leaf");
        home.ok(&["cp", &format!("{ctr}:/etc/inner/leaf"), &format!("leaf-{ctr}")]);
        let tar = home.run(&["cp", &format!("{ctr}:/etc/renamed"), "-"]).stdout;
        let mut entries = tar::Archive::new(tar.as_slice());
        let names: Vec<_> = entries.entries().unwrap().map(|e| e.unwrap().path().unwrap().into_owned()).collect();
        assert_eq!(names, [Path::new("renamed")]);
        let missing = home.refused(&["cp", &format!("{ctr}:/nope"), "x"]);
        assert!(missing.contains("Could not find the file /nope in container"), "{missing}");
        let dir = home.refused(&["cp", "tree", &format!("{ctr}:/etc/renamed")]);
        assert!(dir.contains("cannot copy directory"), "{dir}");
        fs::remove_dir_all(home.path("data")).unwrap();
    }
    assert_eq!(home.ok(&["exec", "rr", "cat", "/new-tree/inner/leaf"]), "leaf");
    // A link is a link unless it is to be followed.
    home.ok(&["cp", "cc:/srv/link", "link"]);
    assert_eq!(fs::read_link(home.path("link")).unwrap(), Path::new("/etc"));
    home.ok(&["cp", "-L", "cc:/srv/link", "followed"]);
    assert!(home.path("followed/new").is_file());
    // A link that leads out of the container leads nowhere.
    home.ok(&["exec", "rr", "busybox", "ln", "-s", "../../../../../../../../..", "/up"]);
    home.ok(&["cp", "in.txt", "rr:/up/orlop-escaped"]);
    assert_eq!(home.ok(&["exec", "rr", "cat", "/orlop-escaped"]), "from here");
    assert!(!Path::new("/orlop-escaped").exists());
    let id = home.ok(&[
        "commit",
        "-a",
        "me",
        "-m",
        "word",
        "-c",
        "ENV A=b",
        "-c",
        "CMD [\"cat\", \"/etc/new\"]",
        "cc",
        "bb:2",
    ]);
    assert_eq!(home.ok(&["run", "--rm", "--network", "none", "bb:2"]), "changed\n");
    assert_eq!(home.ok(&["run", "--rm", "--network", "none", "bb:2", "sh", "-c", "echo $A"]), "b\n");
    let config =
        home.ok(&["image", "inspect", "-f", "{{.Id}} {{.Author}} {{.Comment}} {{len .RootFS.Layers}}", "bb:2"]);
    assert_eq!(config.trim(), format!("{} me word 2", id.trim()));
    let exported = home.run(&["export", "cc"]).stdout;
    let mut entries = tar::Archive::new(exported.as_slice());
    let names: Vec<_> = entries.entries().unwrap().map(|e| e.unwrap().path().unwrap().into_owned()).collect();
    assert!(names.contains(&PathBuf::from("srv/d/f")) && names.contains(&PathBuf::from("bin/busybox")), "{names:?}");
    assert!(!names.contains(&PathBuf::from("data/f")), "volumes are not exported");
    home.ok(&["rm", "-f", "rr", "cc"]);
    assert!(home.ok(&["system", "check"]).contains("nothing to complain about"));
}

#[test]
fn a_check_finds_damage_and_repairs_it() {
    let home = Home::new().with_busybox();
    assert!(home.ok(&["system", "check"]).contains("nothing to complain about"));
    let layer = fs::read_dir(home.path("root/layers")).unwrap().next().unwrap().unwrap().path();
    let file = layer.join("fs/bin/busybox");
    let mut bytes = fs::read(&file).unwrap();
    bytes[1000] ^= 1;
    fs::write(&file, bytes).unwrap();
    fs::write(home.path("root/stranger"), "").unwrap();
    let output = home.run(&["system", "check"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in ["give the digest", "is damaged", "stranger: nothing of ours"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    fs::remove_file(home.path("root/stranger")).unwrap();
    let repaired = home.ok(&["system", "check", "--repair"]);
    assert!(repaired.contains("all repaired"), "{repaired}");
    assert!(home.ok(&["system", "check"]).contains("0 images, 0 layers, 0 blobs"));
    home.ok(&["import", "bb.tar", "bb:1"]);
    // The index is made again from what is on the disk.
    fs::write(home.path("root/index.db"), b"no database ".repeat(1000)).unwrap();
    let _ = fs::remove_file(home.path("root/index.db-wal"));
    assert_eq!(home.ok(&["images", "-q"]).lines().count(), 1);
    assert!(home.ok(&["system", "check"]).contains("nothing to complain about"));
}

/// The variable by which a child of the test below knows what to do.
const CHILD: &str = "ORLOP_TEST_IMAGES_CHILD";

/// Blobs from memory, a little at a time, so that a kill meets every stage.
struct Local<'a>(&'a Made);

impl Origin for Local<'_> {
    fn open(&self, blob: &Descriptor, offset: u64) -> std::io::Result<Box<dyn Read + '_>> {
        let bytes = &self.0.blobs[blob.digest.as_str()];
        Ok(Box::new(&bytes[usize::try_from(offset).unwrap()..]))
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Blobs from memory; in the middle of the second one somebody else takes all that is left of the disk.
struct Crowded<'a> {
    made: &'a Made,
    filler: PathBuf,
    n_opened: AtomicU64,
}

impl Origin for Crowded<'_> {
    fn open(&self, blob: &Descriptor, offset: u64) -> std::io::Result<Box<dyn Read + '_>> {
        let bytes = &self.made.blobs[blob.digest.as_str()][usize::try_from(offset).unwrap()..];
        if self.n_opened.fetch_add(1, Ordering::SeqCst) != 1 {
            return Ok(Box::new(bytes));
        }
        let (start, rest) = bytes.split_at(bytes.len() / 2);
        let filler = self.filler.clone();
        let fill = move || {
            let mut file = fs::File::create(&filler)?;
            let block = [1; 64 << 10];
            while file.write_all(&block).is_ok() {}
            Ok(())
        };
        Ok(Box::new(start.chain(OnFirstRead(Some(fill))).chain(rest)))
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Does something when it is read, and is empty.
struct OnFirstRead<F>(Option<F>);

impl<F: FnOnce() -> std::io::Result<()>> Read for OnFirstRead<F> {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        self.0.take().map_or(Ok(()), |act| act()).map(|()| 0)
    }
}

/// On a file system of its own in a mount namespace of one thread, so that nobody else sees either.
#[test]
fn a_disk_that_fills_up_in_the_middle_of_a_pull_shows_nothing_and_costs_nothing() {
    use nix::mount::{MsFlags, mount};
    let home = Home::new();
    let dir = home.path("small");
    fs::create_dir(&dir).unwrap();
    let work = move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        mount(Some("tmpfs"), &dir, Some("tmpfs"), MsFlags::empty(), Some("size=48m")).unwrap();
        let store = Store::open(&dir.join("root")).unwrap();
        let made = image(&[1, 2, 3], 4 << 20);
        let wanted = || Wanted {
            shown: "r.test/big:1".to_owned(),
            names: vec!["r.test/big:1".parse().unwrap()],
            manifest: made.manifest.clone(),
            config: made.config.clone(),
        };
        let filler = dir.join("filler");
        let crowded = Crowded { made: &made, filler: filler.clone(), n_opened: AtomicU64::new(0) };
        let error = store.pull(wanted(), &crowded, 1, &Progress::none()).unwrap_err();
        assert_eq!(error.class, Class::Full, "{}", error.chain());
        assert!(store.images().unwrap().is_empty());
        let n_in = |name: &str| fs::read_dir(dir.join("root").join(name)).map_or(0, Iterator::count);
        assert_eq!((n_in("tmp"), n_in("layers")), (0, 0), "what was unpacked does not stay on a full disk");
        // Somebody made room: what came is not fetched again.
        fs::remove_file(&filler).unwrap();
        let report = store.check(&CheckStore { thorough: true, repair: false }).unwrap();
        assert!(report.problems.is_empty(), "{:#?}", report.problems);
        store.pull(wanted(), &Local(&made), 2, &Progress::none()).unwrap();
        assert_eq!(store.images().unwrap().len(), 1);
        let report = store.check(&CheckStore { thorough: true, repair: false }).unwrap();
        assert!(report.problems.is_empty(), "{:#?}", report.problems);
        assert_eq!(n_in("partial"), 0);

        // What cannot fit is refused before the disk is full.
        let huge = image(&[4, 5, 6, 7], 9 << 20);
        let names = vec!["r.test/huge:1".parse().unwrap()];
        let wanted = Wanted {
            shown: "r.test/huge:1".to_owned(),
            names,
            manifest: huge.manifest.clone(),
            config: huge.config.clone(),
        };
        let error = store.pull(wanted, &Local(&huge), 2, &Progress::none()).unwrap_err();
        assert_eq!(error.class, Class::Full, "{}", error.chain());
        assert!(error.message.contains("does not fit"), "{}", error.chain());
        assert_eq!(store.images().unwrap().len(), 1);
    };
    std::thread::spawn(work).join().unwrap();
}

/// Works on the store until it is killed; each operation that is done adds a byte to a file.
fn child_of_the_random_test(task: &str) {
    let (root, seed) = task.split_once('|').unwrap();
    let store = Store::open(Path::new(root)).unwrap();
    let mut tally = fs::OpenOptions::new().append(true).open(Path::new(root).join("../tally")).unwrap();
    // Images that share layers.
    let images: Vec<Made> = [[1, 2], [1, 3], [2, 3], [3, 4], [1, 4]].iter().map(|seeds| image(seeds, 60_000)).collect();
    let mut dice = noise(seed.parse().unwrap(), 1 << 16).into_iter().cycle();
    let mut roll = |n: usize| usize::from(dice.next().unwrap()) % n;
    loop {
        let at = roll(images.len());
        let name = format!("r.test/image-{at}:1");
        let done = match roll(8) {
            0..=3 => {
                let made = &images[at];
                let digest = format!("r.test/image-{at}@{}", Digest::of(&made.manifest));
                let names = [name.as_str(), digest.as_str()].map(|name| name.parse().unwrap()).to_vec();
                let wanted =
                    Wanted { shown: name, names, manifest: made.manifest.clone(), config: made.config.clone() };
                store.pull(wanted, &Local(made), 2, &Progress::none()).map(drop)
            }
            4 => store.remove_image(&name, Removal::Careful, &[]).map(drop),
            5 => store.save(&[name], &mut std::io::sink()),
            6 => store.tag(&name, &format!("r.test/alias-{}:1", roll(3)).parse().unwrap()).map(drop),
            _ => store.prune_images(PruneScope::Dangling, &[]).map(drop),
        };
        if let Err(error) = done {
            let is_expected = matches!(error.class, Class::NotFound | Class::Conflict);
            assert!(is_expected, "{}", error.chain());
        }
        tally.write_all(b".").unwrap();
    }
}

#[test]
fn random_operations_of_four_processes_with_random_kills_leave_a_store_without_fault() {
    const TEST: &str = "images::random_operations_of_four_processes_with_random_kills_leave_a_store_without_fault";
    if let Ok(task) = std::env::var(CHILD) {
        return child_of_the_random_test(&task);
    }
    // The gate's number; 1000 and more are a matter of patience.
    let n_wanted = std::env::var("ORLOP_TEST_OPERATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(120);
    let home = Home::new();
    let root = home.path("root");
    drop(Store::open(&root).unwrap());
    let tally = home.path("tally");
    fs::write(&tally, "").unwrap();
    let errors = home.path("errors");
    let spawn = |seed: usize| {
        let log = fs::OpenOptions::new().create(true).append(true).open(&errors).unwrap();
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new(program);
        command.args(["--exact", TEST, "--nocapture"]).env(CHILD, format!("{}|{seed}", root.display()));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    };
    let mut children: VecDeque<Child> = (1..=4).map(spawn).collect();
    let (mut n_spawned, mut n_kills, mut n_seen) = (4, 0, 0);
    let deadline = Instant::now() + Duration::from_secs(240) * (1 + n_wanted / 300);
    loop {
        let n_done = fs::metadata(&tally).unwrap().len() as u32;
        let ended = children.iter_mut().any(|child| !matches!(child.try_wait(), Ok(None)));
        assert!(!ended, "a child failed: {}", fs::read_to_string(&errors).unwrap());
        assert!(Instant::now() < deadline, "{n_done} operations only");
        if n_done >= n_wanted {
            break;
        }
        if n_done >= n_seen + 6 {
            n_seen = n_done;
            n_kills += 1;
            n_spawned += 1;
            let mut victim = children.pop_front().unwrap();
            victim.kill().unwrap();
            victim.wait().unwrap();
            children.push_back(spawn(n_spawned));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(n_kills >= n_wanted / 40, "{n_kills} kills");
    let store = Store::open(&root).unwrap();
    store.sweep().unwrap();
    let report = store.check(&CheckStore { thorough: true, repair: false }).unwrap();
    assert!(report.problems.is_empty(), "{:#?}", report.problems);
    store.prune_images(PruneScope::Unused, &[]).unwrap();
    let report = store.check(&CheckStore { thorough: true, repair: false }).unwrap();
    assert!(report.problems.is_empty(), "{:#?}", report.problems);
    let n_left = |dir: &str| fs::read_dir(root.join(dir)).map_or(0, Iterator::count);
    let left: Vec<_> = ["layers", "blobs/sha256", "partial", "tmp"].map(|dir| (dir, n_left(dir))).into();
    assert!(left.iter().all(|(_, n)| *n == 0), "the disk is as it was: {left:?}");
}
