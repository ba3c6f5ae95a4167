//! What every test here needs: a running docker-registry, images to put into it, skopeo, a client of ours.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use orlop::config::Registries;
use orlop::engine::auth::Credentials;
use orlop::oci::image::Descriptor;
use orlop::registry::{Client, Opener, Options, RegistryError, Repository};
use orlop::stdx::ids::Digest;
use serde_json::{Value, json};

/// For whatever takes a moment on an idle machine and much longer on a loaded one.
const PATIENCE: Duration = Duration::from_secs(60);
pub const USER: &str = "jan";
pub const PASSWORD: &str = "s3cret";
/// bcrypt of [`PASSWORD`] at the lowest cost.
const HTPASSWD: &str = "jan:$2b$04$bFF.pEK.mMNWjOtCJnG98uOWt/0hbiV3xzhByDvd4MvhVsRE7I2QC\n";

/// Whether the tools are there; says which is not.
pub fn tools() -> bool {
    ["docker-registry", "skopeo"].iter().all(|tool| {
        let there = std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(tool).is_file()));
        if !there {
            println!("NOT RUN: {tool} is not installed (apt-get install {tool})");
        }
        there
    })
}

/// How to set a registry up.
#[derive(Default)]
pub struct Setup {
    /// A certificate and its key, PEM.
    pub tls: Option<(String, String)>,
    /// PEM of the authority whose clients alone are let in.
    pub client_authority: Option<String>,
    pub has_htpasswd: bool,
    /// URL of the registry that it mirrors.
    pub mirror_of: Option<String>,
}

/// A docker-registry of its own, gone with its value.
pub struct Registry {
    pub port: u16,
    pub dir: tempfile::TempDir,
    child: Child,
    is_tls: bool,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    pub fn plain() -> Self {
        Self::start(&Setup::default())
    }

    pub fn start(setup: &Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.yml");
        std::fs::write(&config, configuration(dir.path(), setup)).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let port = port_of(&mut child);
        Self { port, dir, child, is_tls: setup.tls.is_some() }
    }

    /// `127.0.0.1:port`
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self) -> String {
        format!("{}://{}", if self.is_tls { "https" } else { "http" }, self.host())
    }
}

fn configuration(dir: &Path, setup: &Setup) -> String {
    let mut http = json!({"addr": "127.0.0.1:0", "secret": "of a test"});
    if let Some((chain, key)) = &setup.tls {
        let (chain_file, key_file) = (dir.join("server.crt"), dir.join("server.key"));
        std::fs::write(&chain_file, chain).unwrap();
        std::fs::write(&key_file, key).unwrap();
        http["tls"] = json!({"certificate": chain_file, "key": key_file});
    }
    if let Some(authority) = &setup.client_authority {
        let file = dir.join("clients.crt");
        std::fs::write(&file, authority).unwrap();
        http["tls"]["clientcas"] = json!([file]);
    }
    let mut config = json!({
        "version": "0.1",
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": dir.join("data")}, "delete": {"enabled": true}},
        "http": http,
    });
    if setup.has_htpasswd {
        let file = dir.join("htpasswd");
        std::fs::write(&file, HTPASSWD).unwrap();
        config["auth"] = json!({"htpasswd": {"realm": "of a test", "path": file}});
    }
    if let Some(remote) = &setup.mirror_of {
        config["proxy"] = json!({"remoteurl": remote});
    }
    // JSON is YAML.
    config.to_string()
}

/// It says where it listens; a thread reads on, so that its log never blocks it.
fn port_of(child: &mut Child) -> u16 {
    let (sender, receiver) = mpsc::channel();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let mut log = Vec::new();
    loop {
        let line = receiver
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("docker-registry did not come up:\n{}", log.join("\n")));
        if let Some((_, rest)) = line.split_once("listening on 127.0.0.1:") {
            return rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap();
        }
        log.push(line);
    }
}

/// Runs skopeo; its output, or a panic with what it said.
pub fn skopeo(args: &[&str]) -> String {
    let output = Command::new("skopeo").args(["--insecure-policy"]).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "skopeo {args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// An OCI layout on disk.
pub struct Layout {
    dir: tempfile::TempDir,
    pub layers: Vec<Bytes>,
}

impl Layout {
    /// One image with layers of about these sizes, for this machine; `arm64` adds a second image and an index over both.
    pub fn new(sizes: &[usize], platforms: &[&str]) -> Self {
        let layout =
            Self { dir: tempfile::tempdir().unwrap(), layers: sizes.iter().map(|&size| layer(size)).collect() };
        std::fs::create_dir_all(layout.dir.path().join("blobs/sha256")).unwrap();
        std::fs::write(layout.dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let mut entries: Vec<Value> = platforms.iter().map(|arch| layout.image(arch)).collect();
        let mut top = entries.remove(0);
        if !entries.is_empty() {
            entries.insert(0, top);
            let index = json!({"schemaVersion": 2, "mediaType": orlop::oci::image::OCI_INDEX, "manifests": entries});
            top = layout.blob(index.to_string().as_bytes(), orlop::oci::image::OCI_INDEX);
        }
        top["annotations"] = json!({"org.opencontainers.image.ref.name": "x"});
        let index = json!({"schemaVersion": 2, "manifests": [top]});
        std::fs::write(layout.dir.path().join("index.json"), index.to_string()).unwrap();
        layout
    }

    fn image(&self, architecture: &str) -> Value {
        let layers: Vec<Value> =
            self.layers.iter().map(|bytes| self.blob(bytes, "application/vnd.oci.image.layer.v1.tar+gzip")).collect();
        let diff_ids: Vec<String> = self.layers.iter().map(|bytes| diff_id(bytes)).collect();
        let config = json!({"architecture": architecture, "os": "linux", "config": {"Cmd": ["/x"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let config = self.blob(config.to_string().as_bytes(), orlop::oci::image::OCI_CONFIG);
        let kind = orlop::oci::image::OCI_MANIFEST;
        let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers});
        let mut entry = self.blob(manifest.to_string().as_bytes(), kind);
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry
    }

    fn blob(&self, bytes: &[u8], media_type: &str) -> Value {
        let digest = Digest::of(bytes);
        std::fs::write(self.dir.path().join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest.as_str(), "size": bytes.len()})
    }

    /// Has skopeo copy it, byte for byte, to `host/name:tag`.
    pub fn put(&self, host: &str, name: &str, more: &[&str]) {
        let from = format!("oci:{}:x", self.dir.path().display());
        let to = format!("docker://{host}/{name}");
        let mut args = vec!["copy", "--all", "--preserve-digests"];
        args.extend(more);
        args.extend([from.as_str(), to.as_str()]);
        skopeo(&args);
    }
}

/// A gzip layer with one file of bytes that do not compress; the same for the same size.
pub fn layer(size: usize) -> Bytes {
    let mut state = size as u64 | 1;
    let content: Vec<u8> = (0..size)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(size as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, format!("file-{size}"), content.as_slice()).unwrap();
    let mut gzip = tar.into_inner().unwrap();
    gzip.flush().unwrap();
    gzip.finish().unwrap().into()
}

fn diff_id(gzip: &[u8]) -> String {
    let mut plain = Vec::new();
    std::io::copy(&mut flate2::read::GzDecoder::new(gzip), &mut plain).unwrap();
    Digest::of(&plain).as_str().to_owned()
}

/// A client that knows nothing of this machine.
pub fn client(change: impl FnOnce(&mut Options)) -> Client {
    let mut options = Options::default();
    options.registries.max_download_attempts = 6;
    change(&mut options);
    Client::new(options)
}

pub fn repository(client: &Client, reference: &str, credentials: Credentials) -> Repository {
    client.repository(&reference.parse().unwrap(), credentials)
}

pub fn login() -> Credentials {
    Credentials::Password { username: USER.to_owned(), password: PASSWORD.to_owned() }
}

/// The whole stream.
pub async fn read(repository: &Repository, descriptor: &Descriptor, offset: u64) -> Result<Bytes, RegistryError> {
    let mut stream = repository.blob(descriptor, offset);
    let mut all = BytesMut::new();
    while let Some(piece) = stream.next().await {
        all.extend_from_slice(&piece?);
    }
    Ok(all.freeze())
}

/// A source of these bytes in pieces.
pub fn opener(bytes: &Bytes) -> Opener {
    let bytes = bytes.clone();
    Arc::new(move |offset| {
        let rest = bytes.slice(usize::try_from(offset).unwrap()..);
        let pieces: Vec<_> = rest.chunks(64 << 10).map(|piece| Ok(rest.slice_ref(piece))).collect();
        Ok(futures_util::stream::iter(pieces).boxed())
    })
}

pub fn descriptor(bytes: &[u8], media_type: &str) -> Descriptor {
    let (media_type, digest) = (media_type.to_owned(), Digest::of(bytes));
    Descriptor { media_type, digest, size: bytes.len() as u64, platform: None, annotations: None }
}

/// `certs.d` in a temporary directory, with these files for one host.
pub fn certs(dir: &Path, host: &str, files: &[(&str, &str)]) -> Vec<PathBuf> {
    let own = dir.join("certs.d").join(host);
    std::fs::create_dir_all(&own).unwrap();
    for (name, text) in files {
        std::fs::write(own.join(name), text).unwrap();
    }
    vec![dir.join("certs.d")]
}

pub fn mirrors(urls: &[String]) -> Registries {
    Registries { registry_mirrors: urls.to_vec(), max_download_attempts: 3, ..Registries::default() }
}
