//! Archives of every kind an engine writes, through a relay.

use std::io::Write;

use serde_json::{Value, json};

use super::*;
use crate::oci::image::OCI_MANIFEST;
use crate::store::testing::Tar;

/// Three layers, and a config over them.
struct Made {
    layers: Vec<Vec<u8>>,
    config: Vec<u8>,
}

impl Made {
    fn new() -> Made {
        let layers: Vec<Vec<u8>> = ["a", "b", "c"].map(|name| Tar::new().file(name, name.as_bytes()).done()).into();
        let diff_ids: Vec<_> = layers.iter().map(|tar| Digest::of(tar).to_string()).collect();
        let config =
            json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        Made { layers, config: config.to_string().into_bytes() }
    }

    fn diff_ids(&self) -> Vec<Digest> {
        self.layers.iter().map(|tar| Digest::of(tar)).collect()
    }

    fn relay(&self, wanted: &[usize]) -> Relay {
        Relay {
            id: Digest::of(&self.config),
            diff_ids: self.diff_ids(),
            wanted: wanted.iter().map(|at| Digest::of(&self.layers[*at])).collect(),
            names: vec!["app:1".parse().unwrap()],
        }
    }

    fn config_path(&self) -> String {
        format!("{}.json", Digest::of(&self.config).hex())
    }

    /// As docker up to 24 writes it: directories in the order of their names, lists last.
    fn docker(&self) -> Vec<u8> {
        let mut dirs = std::collections::BTreeMap::new();
        let mut parent = None;
        for (chain_id, tar) in chain_ids(&self.diff_ids()).iter().zip(&self.layers) {
            let created = "1970-01-01T00:00:00Z";
            let mut named = json!({"created": created, "layer_id": chain_id.as_str()});
            let mut document = json!({"created": created, "os": "linux"});
            if let Some(parent) = &parent {
                named["parent"] = json!(format!("sha256:{parent}"));
                document["parent"] = json!(parent);
            }
            let hex = Digest::of(named.to_string().as_bytes()).hex().to_owned();
            document["id"] = json!(hex);
            dirs.insert(hex.clone(), (document.to_string(), tar));
            parent = Some(hex);
        }
        let mut archive = Tar::new();
        for (hex, (document, tar)) in &dirs {
            archive = archive.dir(hex, 0o755).file(&format!("{hex}/VERSION"), b"1.0");
            archive = archive.file(&format!("{hex}/json"), document.as_bytes()).file(&format!("{hex}/layer.tar"), tar);
        }
        archive.file(&self.config_path(), &self.config).file("manifest.json", b"[]").done()
    }

    /// As podman writes it: a layer by its diffID, links for the old names.
    fn podman(&self) -> Vec<u8> {
        let mut archive = Tar::new();
        for tar in &self.layers {
            archive = archive.file(&format!("{}.tar", Digest::of(tar).hex()), tar);
        }
        let first = Digest::of(&self.layers[0]);
        archive = archive.file(&self.config_path(), &self.config);
        archive.symlink("ab/layer.tar", &format!("../{}.tar", first.hex())).done()
    }

    /// Compressed layers with a manifest, before the layers or after them.
    fn layout(&self, is_manifest_first: bool) -> Vec<u8> {
        let packed: Vec<Vec<u8>> = self.layers.iter().map(|tar| gzip(tar)).collect();
        let describe =
            |bytes: &[u8]| json!({"mediaType": "x", "digest": Digest::of(bytes).as_str(), "size": bytes.len()});
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": describe(&self.config),
            "layers": packed.iter().map(|gz| describe(gz)).collect::<Vec<_>>()});
        let manifest = manifest.to_string().into_bytes();
        let blob = |archive: Tar, bytes: &[u8]| archive.file(&blob_name(&Digest::of(bytes)), bytes);
        let mut archive = Tar::new();
        if is_manifest_first {
            archive = blob(archive, &manifest);
        }
        archive = packed.iter().fold(archive, |archive, gz| blob(archive, gz));
        blob(blob(archive, &manifest), &self.config).done()
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

/// A reader that gives a few bytes at a time, as a socket may.
struct Drops<'a>(&'a [u8]);

impl Read for Drops<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = buffer.len().min(self.0.len()).min(101);
        buffer[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

/// The written archive's files.
fn files(archive: &[u8]) -> HashMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let mut found = HashMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        found.insert(entry.path().unwrap().display().to_string(), bytes);
    }
    found
}

/// Relays; checks that the archive is whole but for the layers that were not wanted.
fn check(made: &Made, archive: &[u8], wanted: &[usize]) -> Relayed {
    let mut out = Vec::new();
    let sent = relay(&made.relay(wanted), Drops(archive), &mut out, &Progress::none()).unwrap();
    let files = files(&out);
    let list: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    assert_eq!(list[0]["RepoTags"], json!(["app:1"]));
    assert_eq!(files[list[0]["Config"].as_str().unwrap()], made.config);
    let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
    let top: Digest = index["manifests"][0]["digest"].as_str().unwrap().parse().unwrap();
    let manifest: Value = serde_json::from_slice(&files[&blob_name(&top)]).unwrap();
    for (at, tar) in made.layers.iter().enumerate() {
        let path = list[0]["Layers"][at].as_str().unwrap();
        let said = &manifest["layers"][at];
        assert_eq!(blob_name(&said["digest"].as_str().unwrap().parse().unwrap()), path);
        match files.get(path) {
            Some(bytes) => {
                assert!(wanted.contains(&at), "layer {at} was not wanted");
                assert_eq!(said["size"], json!(bytes.len()));
                assert!(bytes == tar || *bytes == gzip(tar));
            }
            // Who has it knows it by what it unpacks to.
            None => {
                assert!(!wanted.contains(&at), "layer {at} is missing");
                assert_eq!(path, blob_name(&Digest::of(tar)));
                assert_eq!(said["size"], json!(tar.len()));
            }
        }
    }
    assert_eq!(sent.n_layers, wanted.len());
    sent
}

#[test]
fn each_kind_of_archive_goes_over_without_what_is_there() {
    let made = Made::new();
    let kinds = [made.docker(), made.podman(), made.layout(true), made.layout(false)];
    for (n, archive) in kinds.iter().enumerate() {
        for wanted in [&[0, 1, 2][..], &[1, 2], &[0], &[]] {
            let sent = check(&made, archive, wanted);
            assert_eq!(sent.n_bytes == 0, wanted.is_empty(), "archive {n}");
        }
    }
}

#[test]
fn a_whole_copy_keeps_the_manifest() {
    let made = Made::new();
    let archive = made.layout(true);
    let mut out = Vec::new();
    relay(&made.relay(&[0, 1, 2]), archive.as_slice(), &mut out, &Progress::none()).unwrap();
    let (before, after) = (files(&archive), files(&out));
    let is_manifest = |bytes: &&Vec<u8>| matches!(Document::parse(bytes), Ok(Document::Manifest(_)));
    let manifest = before.values().find(is_manifest).unwrap();
    assert!(after.values().any(|bytes| bytes == manifest));
}

#[test]
fn an_archive_without_the_image_is_refused() {
    let made = Made::new();
    let sent = |archive: &[u8], relayed: &Relay| relay(relayed, archive, &mut Vec::new(), &Progress::none());
    let error = sent(&Tar::new().file("manifest.json", b"[]").done(), &made.relay(&[0])).unwrap_err();
    assert!(error.message.contains("it has no config"), "{}", error.message);
    let mut other = made.relay(&[]);
    other.diff_ids.push(Digest::of(b"one more"));
    let error = sent(&made.podman(), &other).unwrap_err();
    assert!(error.message.contains("it has no layer"), "{}", error.message);
    let whole = made.podman();
    assert!(sent(&whole[..whole.len() / 2], &made.relay(&[0, 1, 2])).is_err());
}

#[test]
fn a_layer_that_lies_about_its_digest_is_refused() {
    let made = Made::new();
    let named = format!("{}.tar", Digest::of(&made.layers[0]).hex());
    let archive = Tar::new().file(&named, &made.layers[1]).done();
    let error = relay(&made.relay(&[0]), archive.as_slice(), &mut Vec::new(), &Progress::none()).unwrap_err();
    assert_eq!(error.class, Class::Corrupt, "{}", error.message);
}
