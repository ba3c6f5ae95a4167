//! The store as its callers use it: archives in, images found, containers on top, archives out; and what must not happen
//! on the way. Unpacking needs root; without it each test says so.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use serde_json::json;

use super::testing::{Tar, have_root};
use super::*;
use crate::engine::CheckStore;
use crate::engine::changes::ChangeKind;
use crate::engine::image::{ImportImage, RemovedImage};
use crate::engine::progress::Progress;
use crate::stdx::ids::{Digest, Id};

/// A store in a temporary directory.
struct Bench {
    dir: tempfile::TempDir,
    store: Store,
}

fn bench() -> Option<Bench> {
    have_root().then(|| {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("root")).unwrap();
        Bench { dir, store }
    })
}

impl Bench {
    fn load(&self, archive: &[u8]) -> Result<Vec<crate::engine::image::LoadedImage>> {
        let path = self.dir.path().join("archive.tar");
        fs::write(&path, archive).unwrap();
        let loaded = self.store.load(
            Source::from_file(fs::File::open(&path).unwrap()),
            &LoadOptions::default(),
            &Progress::none(),
        );
        fs::remove_file(&path).unwrap();
        loaded
    }

    fn load_stream(&self, archive: Vec<u8>) -> Result<Vec<crate::engine::image::LoadedImage>> {
        let stream = Source::Stream(Box::new(std::io::Cursor::new(archive)));
        self.store.load(stream, &LoadOptions::default(), &Progress::none())
    }

    /// Nothing is left of an operation, and with `n_images` images nothing that they do not need.
    fn assert_clean(&self, n_images: usize) {
        assert_eq!(fs::read_dir(self.store.tmp()).unwrap().count(), 0, "left in tmp");
        assert_eq!(self.store.images().unwrap().len(), n_images);
        if n_images == 0 {
            assert_eq!(fs::read_dir(self.store.path("layers")).unwrap().count(), 0, "left in layers");
            assert_eq!(fs::read_dir(self.store.path("blobs/sha256")).unwrap().count(), 0, "left in blobs");
        }
    }

    fn layer_file(&self, tar: &[u8], path: &str) -> std::path::PathBuf {
        self.store.layer_dir(&Digest::of(tar)).join("fs").join(path)
    }
}

fn config(layers: &[&[u8]], platform: (&str, &str)) -> Vec<u8> {
    let diff_ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    json!({
        "architecture": platform.1, "os": platform.0, "created": "2026-01-02T03:04:05Z",
        "config": {"Cmd": ["sh"], "Env": ["A=b"], "Labels": {"who": "tests"}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": "one"}, {"created_by": "nothing", "empty_layer": true}, {"created_by": "two"}],
    })
    .to_string()
    .into_bytes()
}

fn host() -> (&'static str, String) {
    ("linux", crate::oci::image::Platform::host().architecture)
}

/// As docker up to 24 writes: a directory for each layer, the config by its digest.
fn docker_archive(names: &[&str], layers: &[&[u8]]) -> Vec<u8> {
    let config = config(layers, ("linux", &host().1));
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let mut tar = Tar::new();
    let mut paths = Vec::new();
    for (n, layer) in layers.iter().enumerate() {
        let path = format!("{n:064}/layer.tar");
        // Equal layers are links to the first, as docker 20.10 does it.
        tar = tar.dir(&format!("{n:064}/"), 0o755).file(&format!("{n:064}/VERSION"), b"1.0");
        tar = match layers[..n].iter().position(|known| known == layer) {
            Some(first) => tar.symlink(&path, &format!("../{first:064}/layer.tar")),
            None => tar.file(&path, layer),
        };
        paths.push(path);
    }
    let list = json!([{"Config": config_name, "RepoTags": names, "Layers": paths}]).to_string();
    tar.file(&config_name, &config).file("manifest.json", list.as_bytes()).file("repositories", b"{}").done()
}

/// Parts of an OCI layout, to be put together honestly or not.
struct Layout {
    blobs: Vec<(String, Vec<u8>)>,
    manifests: Vec<serde_json::Value>,
}

impl Layout {
    fn new() -> Layout {
        Layout { blobs: Vec::new(), manifests: Vec::new() }
    }

    fn blob(&mut self, bytes: &[u8]) -> serde_json::Value {
        let digest = Digest::of(bytes);
        self.blobs.push((format!("blobs/sha256/{}", digest.hex()), bytes.to_vec()));
        json!({"mediaType": "", "digest": digest.as_str(), "size": bytes.len()})
    }

    fn image(&mut self, layers: &[&[u8]], packed: &[Vec<u8>], platform: (&str, &str)) -> serde_json::Value {
        let config = config(layers, platform);
        let config = self.blob(&config);
        let layers: Vec<_> = packed.iter().map(|layer| self.blob(layer)).collect();
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers}).to_string();
        let mut descriptor = self.blob(manifest.as_bytes());
        descriptor["mediaType"] = json!(crate::oci::image::OCI_MANIFEST);
        descriptor["platform"] = json!({"os": platform.0, "architecture": platform.1});
        descriptor
    }

    fn named(mut self, mut descriptor: serde_json::Value, name: &str) -> Layout {
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        self.manifests.push(descriptor);
        self
    }

    fn done(self) -> Vec<u8> {
        let mut tar = Tar::new().file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        for (path, bytes) in &self.blobs {
            tar = tar.file(path, bytes);
        }
        let index = json!({"schemaVersion": 2, "manifests": self.manifests}).to_string();
        tar.file("index.json", index.as_bytes()).done()
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn two_layers() -> (Vec<u8>, Vec<u8>) {
    let base = Tar::new().dir("etc", 0o755).file("etc/a", b"base").dir("tmp", 0o1777).file("gone", b"x").done();
    let top = Tar::new().file("etc/a", b"top").file("tmp/f", b"f").file(".wh.gone", b"").done();
    (base, top)
}

#[test]
fn a_docker_archive_becomes_an_image_and_an_archive_again() {
    let Some(bench) = bench() else { return };
    let (base, top) = two_layers();
    let archive = docker_archive(&["tests/one:1", "tests/one:2"], &[&base, &top, &base]);
    let loaded = bench.load(&archive).unwrap();
    assert_eq!(loaded[0].references, ["tests/one:1", "tests/one:2"]);
    bench.assert_clean(1);
    let image = bench.store.image("tests/one:1").unwrap();
    assert_eq!(image.id.to_string(), loaded[0].id);
    for name in [image.id.as_str(), image.id.hex(), image.id.short(), "docker.io/tests/one:2"] {
        assert_eq!(bench.store.image(name).unwrap().id, image.id);
    }
    let history = image.history();
    assert_eq!(history.iter().map(|step| step.created_by.as_str()).collect::<Vec<_>>(), ["", "two", "nothing", "one"]);
    assert_eq!((history[2].size_bytes, history[2].id.as_str()), (0, "<missing>"));
    assert_eq!(history[0].tags, ["tests/one:1", "tests/one:2"]);
    assert_eq!(fs::read_to_string(bench.layer_file(&top, "etc/a")).unwrap(), "top");

    let mut saved = Vec::new();
    bench.store.save(&["tests/one:2".to_owned()], &mut saved).unwrap();
    for is_stream in [false, true] {
        let other = self::bench().unwrap();
        let again = if is_stream { other.load_stream(saved.clone()) } else { other.load(&saved) }.unwrap();
        assert_eq!(
            (again[0].id.as_str(), again[0].references.as_slice()),
            (loaded[0].id.as_str(), &["tests/one:2".to_owned()][..])
        );
        assert!(other.store.image("tests/one:2").unwrap().manifest.is_some());
        other.assert_clean(1);
        // And it is there already.
        assert_eq!(other.load(&saved).unwrap()[0].id, loaded[0].id);
        other.assert_clean(1);
    }
}

#[test]
fn an_implied_directory_keeps_the_attributes_from_below() {
    let Some(bench) = bench() else { return };
    let (base, top) = two_layers();
    bench.load(&docker_archive(&["a:1"], &[&base, &top])).unwrap();
    let tmp = fs::metadata(bench.layer_file(&top, "tmp")).unwrap();
    assert_eq!(tmp.mode() & 0o7777, 0o1777, "the layer has only tmp/f, the base says what tmp is");
}

#[test]
fn every_outer_compression_and_a_pipe_give_the_same_image() {
    let Some(first) = bench() else { return };
    let (base, top) = two_layers();
    let archive = docker_archive(&["a:1"], &[&base, &top]);
    let id = first.load(&archive).unwrap()[0].id.clone();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&archive).unwrap();
    let zstd = zstd::encode_all(&archive[..], 1).unwrap();
    for packed in [archive.clone(), gzip(&archive), zstd, xz.finish().unwrap()] {
        let bench = bench().unwrap();
        assert_eq!(bench.load(&packed).unwrap()[0].id, id);
        bench.assert_clean(1);
        let bench = self::bench().unwrap();
        assert_eq!(bench.load_stream(packed).unwrap()[0].id, id);
        bench.assert_clean(1);
    }
}

#[test]
fn an_oci_layout_keeps_its_blobs_and_its_identity() {
    let Some(bench) = bench() else { return };
    let (base, top) = two_layers();
    let packed = vec![gzip(&base), zstd::encode_all(&top[..], 1).unwrap()];
    let mut layout = Layout::new();
    let descriptor = layout.image(&[&base, &top], &packed, ("linux", &host().1));
    let manifest = descriptor["digest"].as_str().unwrap().to_owned();
    let archive = layout.named(descriptor, "tests/oci:1").done();
    let loaded = bench.load(&archive).unwrap();
    let image = bench.store.image("tests/oci:1").unwrap();
    assert_eq!(image.repo_digests(), [format!("tests/oci@{manifest}")]);
    assert_eq!(bench.store.image(&format!("tests/oci@{manifest}")).unwrap().id, image.id);
    // The same image as a docker archive: its layers are there, and its blobs stay.
    bench.load(&docker_archive(&["tests/plain:1"], &[&base, &top])).unwrap();
    let mut saved = Vec::new();
    bench.store.save(&["tests/oci:1".to_owned(), "tests/plain:1".to_owned()], &mut saved).unwrap();
    let other = self::bench().unwrap();
    let again = other.load_stream(saved).unwrap();
    assert_eq!(again[0].id, loaded[0].id);
    assert_eq!(other.store.image("tests/oci:1").unwrap().manifest.unwrap().as_str(), manifest);
}

#[test]
fn the_hosts_platform_is_chosen_from_nested_indexes() {
    let Some(bench) = bench() else { return };
    let (base, top) = two_layers();
    let mut layout = Layout::new();
    let here = layout.image(&[&base], std::slice::from_ref(&base), ("linux", &host().1));
    let there = layout.image(&[&top], std::slice::from_ref(&top), ("linux", "s390x"));
    let mut attestation = here.clone();
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    let inner = json!({"schemaVersion": 2, "manifests": [there, attestation, here]}).to_string();
    let inner = layout.blob(inner.as_bytes());
    let archive = layout.named(inner, "multi:1").done();
    bench.load(&archive).unwrap();
    assert_eq!(bench.store.image("multi:1").unwrap().layers[0].0, Digest::of(&base));
    let wanted = LoadOptions { platform: Some("linux/riscv64".parse().unwrap()) };
    let stream = Source::Stream(Box::new(std::io::Cursor::new(archive)));
    let refused = bench.store.load(stream, &wanted, &Progress::none()).unwrap_err();
    assert_eq!(refused.class, Class::Invalid);
    assert!(refused.hint.unwrap().contains("linux/s390x"));
    bench.assert_clean(1);
}

/// Every lie an archive can tell about itself ends in an error and an empty store, from a file and from a pipe.
#[test]
fn lying_archives_are_refused_and_leave_nothing() {
    let Some(bench) = bench() else { return };
    let (base, top) = two_layers();
    let honest = docker_archive(&["a:1"], &[&base, &top]);
    let config_bytes = config(&[&base, &top], ("linux", &host().1));
    let config_name = format!("{}.json", Digest::of(&config_bytes).hex());
    let list = |config: &str, layers: serde_json::Value| {
        json!([{"Config": config, "RepoTags": ["a:1"], "Layers": layers}]).to_string()
    };
    let both = || Tar::new().file("l1/layer.tar", &base).file("l2/layer.tar", &top).file(&config_name, &config_bytes);
    let names = json!(["l1/layer.tar", "l2/layer.tar"]);
    let mut wrong_digest = Layout::new();
    let descriptor = wrong_digest.image(&[&base], &[gzip(&base)], ("linux", &host().1));
    let at = wrong_digest.blobs.iter().position(|(_, bytes)| *bytes == gzip(&base)).unwrap();
    wrong_digest.blobs[at].1 = gzip(&top);
    // Other bytes that inflate to the right content.
    let mut repacked = Layout::new();
    let repacked_image = repacked.image(&[&base], &[gzip(&base)], ("linux", &host().1));
    let at = repacked.blobs.iter().position(|(_, bytes)| *bytes == gzip(&base)).unwrap();
    repacked.blobs[at].1 = zstd::encode_all(&base[..], 1).unwrap();
    let mut ambiguous = Layout::new();
    let inner = ambiguous.blob(br#"{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}"#);
    let mut wrong_size = Layout::new();
    let mut sized = wrong_size.image(&[&base], std::slice::from_ref(&base), ("linux", &host().1));
    sized["size"] = json!(7);
    // A manifest of the right size that is another one.
    let mut changed = Layout::new();
    let changed_image = changed.image(&[&base], &[gzip(&base)], ("linux", &host().1));
    let manifest = changed.blobs.last_mut().map(|(_, bytes)| bytes).unwrap();
    *manifest = String::from_utf8(manifest.clone()).unwrap().replace("schemaVersion", "schemaVersioN").into_bytes();
    let many = json!(vec!["l1/layer.tar"; crate::oci::image::MAX_LAYERS + 1]);
    let cases: Vec<(&str, Vec<u8>, Class)> = vec![
        ("empty", Vec::new(), Class::Invalid),
        ("no tar", b"this is no archive at all".repeat(100), Class::Invalid),
        ("no manifest", Tar::new().file("hello", b"x").done(), Class::Invalid),
        ("cut", honest[..honest.len() / 2].to_vec(), Class::Invalid),
        (
            "config gone",
            both().file("manifest.json", list("none.json", names.clone()).as_bytes()).done(),
            Class::Invalid,
        ),
        (
            "layer gone",
            both().file("manifest.json", list(&config_name, json!(["l1/layer.tar", "x"])).as_bytes()).done(),
            Class::Invalid,
        ),
        (
            "layers swapped",
            both().file("manifest.json", list(&config_name, json!(["l2/layer.tar", "l1/layer.tar"])).as_bytes()).done(),
            Class::Corrupt,
        ),
        (
            "a layer too few",
            both().file("manifest.json", list(&config_name, json!(["l1/layer.tar"])).as_bytes()).done(),
            Class::Corrupt,
        ),
        ("too many layers", both().file("manifest.json", list(&config_name, many).as_bytes()).done(), Class::Invalid),
        (
            "config of another name",
            both()
                .file(&format!("{:064}.json", 1), &config_bytes)
                .file("manifest.json", list(&format!("{:064}.json", 1), names.clone()).as_bytes())
                .done(),
            Class::Corrupt,
        ),
        (
            "config leads out",
            both().file("manifest.json", list("../../etc/passwd", names.clone()).as_bytes()).done(),
            Class::Invalid,
        ),
        ("name leads out", Tar::new().file("../x", b"").done(), Class::Invalid),
        (
            "bad reference",
            both()
                .file(
                    "manifest.json",
                    json!([{"Config": config_name, "RepoTags": ["A B"], "Layers": names}]).to_string().as_bytes(),
                )
                .done(),
            Class::Invalid,
        ),
        ("link loop", Tar::new().symlink("manifest.json", "b").symlink("b", "manifest.json").done(), Class::Invalid),
        ("CVE-2021-41190 ambiguous", ambiguous.named(inner, "a:1").done(), Class::Invalid),
        ("document of another digest", changed.named(changed_image, "a:1").done(), Class::Corrupt),
        ("blob of another digest", wrong_digest.named(descriptor, "a:1").done(), Class::Corrupt),
        ("blob packed otherwise", repacked.named(repacked_image, "a:1").done(), Class::Corrupt),
        ("document of another size", wrong_size.named(sized, "a:1").done(), Class::Corrupt),
        ("manifest too large", Tar::new().file("manifest.json", &vec![b' '; 5 << 20]).done(), Class::Invalid),
        ("cut gzip", gzip(&honest)[..300].to_vec(), Class::Invalid),
    ];
    for (what, archive, class) in cases {
        for is_stream in [false, true] {
            let refused = if is_stream { bench.load_stream(archive.clone()) } else { bench.load(&archive) };
            let refused = refused.expect_err(what);
            assert_eq!(refused.class, class, "{what}: {}", refused.chain());
            bench.assert_clean(0);
        }
    }
}

#[test]
fn removal_follows_dockers_rules_and_frees_what_nobody_needs() {
    let Some(bench) = bench() else { return };
    let (base, top) = two_layers();
    bench.load(&docker_archive(&["a:1", "b:1"], &[&base, &top])).unwrap();
    bench.load(&docker_archive(&["base:1"], &[&base])).unwrap();
    let id = bench.store.image("a:1").unwrap().id;
    let user = |is_running| ImageUser { container: "c".repeat(64), image: id.to_string(), is_running };
    let conflict = |name: &str, removal, users: &[ImageUser]| {
        let refused = bench.store.remove_image(name, removal, users).unwrap_err();
        assert_eq!(refused.class, Class::Conflict, "{refused}");
        refused.message
    };
    assert!(conflict(id.as_str(), Removal::Careful, &[]).contains("referenced in multiple repositories"));
    assert!(conflict(id.short(), Removal::Forced, &[user(true)]).contains("running container cccccccccccc"));
    let untagged = bench.store.remove_image("a:1", Removal::Careful, &[user(true)]).unwrap();
    assert_eq!(untagged, [RemovedImage::Untagged("a:1".into())]);
    assert!(conflict("b:1", Removal::Careful, &[user(false)]).contains("(must force) - container cccccccccccc"));
    let removed = bench.store.remove_image("b:1", Removal::Careful, &[]).unwrap();
    assert!(removed.contains(&RemovedImage::Deleted(id.to_string())), "{removed:?}");
    assert!(!bench.store.layer_dir(&Digest::of(&top)).exists());
    assert!(bench.store.layer_dir(&Digest::of(&base)).exists(), "another image has it");
    assert_eq!(bench.store.image("b:1").unwrap_err().message, "No such image: b:1");
    let report = bench.store.prune_images(PruneScope::Unused, &[]).unwrap();
    assert!(report.reclaimed_bytes > 0);
    bench.assert_clean(0);
}

#[test]
fn names_move_and_prune_takes_what_has_none() {
    let Some(bench) = bench() else { return };
    let (base, top) = two_layers();
    let first = bench.load(&docker_archive(&["a:1"], &[&base])).unwrap()[0].id.clone();
    bench.store.tag("a:1", &"copy:2".parse().unwrap()).unwrap();
    bench.load(&docker_archive(&["a:1"], &[&base, &top])).unwrap();
    assert_ne!(bench.store.image("a:1").unwrap().id.to_string(), first);
    assert_eq!(bench.store.image("copy:2").unwrap().id.to_string(), first);
    assert!(bench.store.prune_images(PruneScope::Dangling, &[]).unwrap().removed.is_empty());
    bench.store.tag("a:1", &"copy:2".parse().unwrap()).unwrap();
    let pruned = bench.store.prune_images(PruneScope::Dangling, &[]).unwrap();
    assert_eq!(pruned.removed, [first.as_str()]);
    let shared = bench.store.shared_bytes().unwrap();
    assert_eq!(shared.into_values().collect::<Vec<_>>(), [0]);
    assert!(bench.store.tag("none", &"x".parse().unwrap()).is_err());
}

#[test]
fn a_container_keeps_its_layers_when_the_image_goes() {
    let Some(bench) = bench() else { return };
    let (base, top) = two_layers();
    bench.load(&docker_archive(&["a:1"], &[&base, &top])).unwrap();
    let image = bench.store.image("a:1").unwrap();
    let id = Id::random();
    bench.store.containers().create_dir(&id).unwrap();
    let overlay = bench.store.snapshot(&image.id, &id).unwrap();
    assert_eq!(overlay.lowers, [bench.layer_file(&top, ""), bench.layer_file(&base, "")]);
    assert_eq!(fs::metadata(&overlay.upper).unwrap().permissions().mode() & 0o7777, 0o755);
    bench.store.remove_image("a:1", Removal::Forced, &[]).unwrap();
    assert!(overlay.lowers.iter().all(|lower| lower.is_dir()), "the container stands on them");
    assert!(bench.store.snapshot(&image.id, &Id::random()).is_err());
    let grave = bench.store.containers().remove(&id, None).unwrap();
    crate::stdx::tree::remove_all(&grave).unwrap();
    bench.store.sweep().unwrap();
    bench.assert_clean(0);
}

#[test]
fn changes_tell_what_the_container_did() {
    let Some(bench) = bench() else { return };
    let (base, top) = two_layers();
    bench.load(&docker_archive(&["a:1"], &[&base, &top])).unwrap();
    let id = Id::random();
    bench.store.containers().create_dir(&id).unwrap();
    let overlay = bench.store.snapshot(&bench.store.image("a:1").unwrap().id, &id).unwrap();
    let upper = |path: &str| overlay.upper.join(path);
    fs::create_dir(upper("etc")).unwrap();
    fs::write(upper("etc/a"), "changed").unwrap();
    fs::write(upper("etc/new"), "12345").unwrap();
    let none = nix::sys::stat::Mode::empty();
    nix::sys::stat::mknod(&upper("tmp"), nix::sys::stat::SFlag::S_IFCHR, none, 0).unwrap();
    nix::sys::stat::mknod(&upper("gone"), nix::sys::stat::SFlag::S_IFCHR, none, 0).unwrap();
    let changes = bench.store.changes(&id).unwrap();
    let told: Vec<_> = changes.iter().map(|c| (c.path.as_str(), c.kind, c.size_bytes)).collect();
    assert_eq!(
        told,
        [
            ("/etc", ChangeKind::Modified, 0),
            ("/etc/a", ChangeKind::Modified, 7),
            ("/etc/new", ChangeKind::Added, 5),
            ("/tmp", ChangeKind::Deleted, 1),
        ]
    );
    assert_eq!(bench.store.writable_bytes(&id).unwrap(), 12);
}

#[test]
fn a_damaged_or_lost_index_is_made_again() {
    let Some(bench) = bench() else { return };
    let (base, top) = two_layers();
    let id = bench.load(&docker_archive(&["a:1", "b:2"], &[&base, &top])).unwrap()[0].id.clone();
    for damage in ["lost", "garbage", "zeros"] {
        for suffix in ["-wal", "-shm", "-journal"] {
            let _ = fs::remove_file(bench.store.path(format!("index.db{suffix}")));
        }
        let path = bench.store.path("index.db");
        match damage {
            "lost" => fs::remove_file(&path).unwrap(),
            "garbage" => fs::write(&path, b"no database ".repeat(1000)).unwrap(),
            _ => {
                let len = fs::metadata(&path).unwrap().len() as usize;
                fs::write(&path, [&fs::read(&path).unwrap()[..100], &vec![0; len - 100]].concat()).unwrap();
            }
        }
        let store = Store::open(bench.store.root()).unwrap();
        assert_eq!(store.image("b:2").unwrap().id.to_string(), id, "{damage}");
        store.tag("a:1", &"c:3".parse().unwrap()).unwrap();
        assert_eq!(store.images().unwrap()[0].names.len(), 3, "{damage}");
    }
}

/// A kill between the dump and the commit leaves the dump one change ahead; an index that is further behind has lost something.
#[test]
fn a_change_that_was_killed_before_its_commit_is_no_fault() {
    let Some(bench) = bench() else { return };
    let (base, top) = two_layers();
    let index = bench.store.path("index.db");
    bench.load(&docker_archive(&["a:1"], &[&base])).unwrap();
    let before = fs::read(&index).unwrap();
    bench.load(&docker_archive(&["b:1"], &[&base, &top])).unwrap();
    let complaints = |before: &[u8]| {
        fs::write(&index, before).unwrap();
        let store = Store::open(bench.store.root()).unwrap();
        let report = store.check(&CheckStore { thorough: true, repair: false }).unwrap();
        report.problems.iter().filter(|problem| problem.message.starts_with("images.json has")).count()
    };
    assert_eq!(complaints(&before), 0);

    let store = Store::open(bench.store.root()).unwrap();
    store.tag("a:1", &"c:1".parse().unwrap()).unwrap();
    bench.load(&docker_archive(&["b:1"], &[&base, &top])).unwrap();
    assert_eq!(complaints(&before), 1, "two changes were lost");
}

#[test]
fn two_loads_at_once_share_and_lose_nothing() {
    let Some(bench) = bench() else { return };
    let (base, top) = two_layers();
    std::thread::scope(|scope| {
        for n in 0..6 {
            // A handle of its own, as another process has.
            let store = Store::open(bench.store.root()).unwrap();
            let own = Tar::new().file(&format!("own-{}", n / 2), b"x").done();
            let archive = docker_archive(&[&format!("image:{n}")], &[&base, &top, &own]);
            scope.spawn(move || {
                let stream = Source::Stream(Box::new(std::io::Cursor::new(archive)));
                store.load(stream, &LoadOptions::default(), &Progress::none()).unwrap();
                store.collect(images::Collection::Prune).unwrap();
            });
        }
    });
    bench.assert_clean(3);
    for n in 0..6 {
        let image = bench.store.image(&format!("image:{n}")).unwrap();
        assert!(image.layers.iter().all(|(id, _)| bench.store.layer_dir(id).join("fs").is_dir()));
    }
}

#[test]
fn import_makes_an_image_and_refuses_an_archive_of_images() {
    let Some(bench) = bench() else { return };
    let (base, _) = two_layers();
    let request = ImportImage {
        reference: Some("root:fs".into()),
        message: Some("by hand".into()),
        changes: vec!["CMD [\"/bin/true\"]".into(), "ENV A=1".into()],
        platform: None,
    };
    for packed in [base.clone(), gzip(&base)] {
        let source = Source::Stream(Box::new(std::io::Cursor::new(packed)));
        let loaded = bench.store.import(source, &request, &Progress::none()).unwrap();
        assert_eq!(loaded.references, ["root:fs"]);
        let image = bench.store.image("root:fs").unwrap();
        assert_eq!(image.config.config.cmd.as_deref(), Some(&["/bin/true".to_owned()][..]));
        assert_eq!(image.layers[0].0, Digest::of(&base));
        assert_eq!(image.history()[0].comment, "by hand");
    }
    bench.store.prune_images(PruneScope::Unused, &[]).unwrap();
    let images = docker_archive(&["a:1"], &[&base]);
    for archive in [images, b"nonsense".repeat(1000)] {
        let source = Source::Stream(Box::new(std::io::Cursor::new(archive)));
        assert_eq!(bench.store.import(source, &request, &Progress::none()).unwrap_err().class, Class::Invalid);
    }
    let bad = ImportImage { changes: vec!["RUN x".into()], ..request };
    let source = Source::Stream(Box::new(std::io::empty()));
    assert_eq!(bench.store.import(source, &bad, &Progress::none()).unwrap_err().class, Class::Invalid);
    bench.assert_clean(0);
}

#[test]
fn from_host_brings_programs_with_what_they_need() {
    let Some(bench) = bench() else { return };
    if !Path::new("/bin/sh").exists() {
        eprintln!("not shown: this machine has no /bin/sh");
        return;
    }
    let dir = bench.dir.path().join("extra");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("script"), "#!/usr/bin/env sh\n").unwrap();
    fs::set_permissions(dir.join("script"), fs::Permissions::from_mode(0o755)).unwrap();
    let name = "tools:1".parse().unwrap();
    bench.store.from_host(&name, &["/bin/sh".into(), dir.clone()], &Progress::none()).unwrap();
    let image = bench.store.image("tools:1").unwrap();
    assert_eq!(image.config.config.cmd.as_deref(), Some(&["/bin/sh".to_owned()][..]));
    let root = bench.store.layer_dir(&image.layers[0].0).join("fs");
    // Seen from inside: the kernel resolves links against the image's root, as in a container.
    let output =
        std::process::Command::new("chroot").arg(&root).args(["/bin/sh", "-c", "echo works"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "works\n", "{output:?}");
    assert!(root.join(dir.strip_prefix("/").unwrap()).join("script").exists());
    assert_eq!(fs::metadata(root.join("tmp")).unwrap().mode() & 0o7777, 0o1777);
    let missing = bench.store.from_host(&name, &["no-such-program-here".into()], &Progress::none()).unwrap_err();
    assert_eq!(missing.class, Class::NotFound);
    assert_eq!(bench.store.from_host(&name, &[], &Progress::none()).unwrap_err().class, Class::Invalid);
}

#[test]
fn save_notices_content_that_has_changed() {
    let Some(bench) = bench() else { return };
    let (base, top) = two_layers();
    bench.load(&docker_archive(&["a:1"], &[&base, &top])).unwrap();
    let file = bench.layer_file(&top, "etc/a");
    for tampered in ["TOP", "", "longer than it was"] {
        fs::write(&file, tampered).unwrap();
        let result = bench.store.save(&["a:1".to_owned()], &mut Vec::new());
        assert!(result.is_err(), "{tampered:?}");
    }
    fs::write(&file, "top").unwrap();
    bench.store.save(&["a:1".to_owned()], &mut Vec::new()).unwrap();
    assert_eq!(bench.store.save(&["b:1".to_owned()], &mut Vec::new()).unwrap_err().class, Class::NotFound);
    assert!(bench.store.save(&[], &mut Vec::new()).is_err());
}

#[test]
fn opening_is_cheap_and_makes_no_database() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(!store.path("index.db").exists());
    let mut journal = store.events().from_now().unwrap();
    store.events().append("{\"a\":1}").unwrap();
    assert_eq!(journal.next_line().unwrap().as_deref(), Some("{\"a\":1}"));
    let mut text = String::new();
    fs::File::open(store.path("version")).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "1\n");
}

/// What a layer has is the same whether one looks at it where it lies or reads it from an archive.
#[test]
fn files_of_layers_are_the_same_from_disk_and_from_an_archive() {
    let Some(bench) = bench() else { return };
    let bottom = Tar::new()
        .dir("etc", 0o755)
        .file("etc/a", b"aaaa")
        .file("etc/b", b"bb")
        .dir("srv", 0o755)
        .dir("srv/deep", 0o700)
        .file("srv/deep/x", b"xxxxxxxx")
        .file("srv/y", b"y")
        .hard_link("etc/again", "etc/a")
        .symlink("etc/link", "a")
        .file("implied/dir/file", b"123")
        .dir("old", 0o755)
        .file("old/one", b"1")
        .file("old/two", b"22")
        .done();
    let middle = Tar::new()
        .dir("etc", 0o755)
        .file("etc/a", b"other")
        .file("etc/.wh.b", b"")
        .file(".wh.srv", b"")
        .dir("old", 0o755)
        .file("old/.wh..wh..opq", b"")
        .file("old/two", b"new")
        .file("implied/dir/more", b"4")
        .done();
    let top = Tar::new().file("old", b"a file now").dir("etc", 0o711).dir("srv", 0o755).file("srv/y", b"yy").done();
    let id = bench.load(&docker_archive(&["three:1"], &[&bottom, &middle, &top])).unwrap().remove(0).id;
    let from_disk = bench.store.layer_files("three:1").unwrap();
    let mut archive = Vec::new();
    bench.store.save(std::slice::from_ref(&id), &mut archive).unwrap();
    let from_archive = layer_files_of(archive.as_slice(), &id.parse().unwrap(), None).unwrap();
    for (disk, archive) in from_disk.iter().zip(&from_archive) {
        assert_eq!(disk.changes, archive.changes, "{}", disk.diff_id);
        assert_eq!(disk, archive);
    }
    assert_eq!(from_disk.len(), 3);
    let deleted = |layer: &crate::engine::changes::LayerFiles| {
        let gone = layer.changes.iter().filter(|change| change.kind == ChangeKind::Deleted);
        gone.map(|change| change.path.clone()).collect::<Vec<_>>()
    };
    assert_eq!(deleted(&from_archive[1]), ["/etc/b", "/old/one", "/srv"]);
    assert!(layer_files_of(&archive[..archive.len() / 3], &id.parse().unwrap(), None).is_err());
}

#[test]
fn a_prune_says_what_the_disk_got_back() {
    let Some(bench) = bench() else { return };
    let tar = Tar::new().dir("d", 0o755).file("d/one", &[1; 9000]).hard_link("d/two", "d/one").file("e", b"x").done();
    let other = Tar::new().file("kept", &[2; 5000]).done();
    bench.load(&docker_archive(&["gone:1"], &[&tar])).unwrap();
    bench.load(&docker_archive(&["kept:1"], &[&other])).unwrap();
    let on_disk = || {
        let bytes = |name| crate::stdx::tree::allocated_bytes(&bench.store.path(name)).unwrap();
        bytes("layers") + bytes("blobs")
    };
    let before = on_disk();
    let kept = ImageUser {
        container: String::new(),
        image: bench.store.image("kept:1").unwrap().id.to_string(),
        is_running: false,
    };
    let report = bench.store.prune_images(PruneScope::Unused, &[kept]).unwrap();
    assert_eq!(report.removed.len(), 2, "{report:?}");
    assert_eq!(report.reclaimed_bytes, before - on_disk());
}
