//! Writes images as one tar that is a docker archive and an OCI layout at once, as docker writes it. Called by the
//! embedded engine. Layers that came uncompressed are put together again from their files and verified while they are
//! written: an archive with a wrong byte is never finished silently.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};

use serde_json::json;

use super::error::{IoContext, StoreError};
use super::index::{ImageRow, LayerRef};
use super::{Result, Store};
use crate::oci::image::{ArchiveEntry, Document, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};
use crate::oci::reference::Reference;
use crate::stdx::ids::{Digest, Hasher};

/// One image of the archive and the names it is saved under.
struct Chosen {
    row: ImageRow,
    names: Vec<Reference>,
}

/// A layer's blob as a manifest describes it: digest, size, media type.
pub(super) type Described = (Digest, u64, String);

impl Store {
    /// Writes the images named (by reference or id) to `out`.
    ///
    /// An image named by id is saved without names, as docker does. Blocks until all is written.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` when stored content has changed; the failed write.
    pub fn save(&self, names: &[String], out: &mut dyn Write) -> Result<()> {
        if names.is_empty() {
            return Err(StoreError::invalid("save", "no image is named"));
        }
        // While they are read nobody may collect them.
        let _keep = self.keep_content()?;
        let mut chosen: Vec<Chosen> = Vec::new();
        for text in names {
            let row = self.find_row(text)?;
            let name = text.parse::<Reference>().ok().filter(|name| row.names.contains(name));
            // A digest is no tag that a load could give.
            let name = name.filter(|name| name.tag().is_some());
            match chosen.iter_mut().find(|known| known.row.id == row.id) {
                Some(known) => known.names.extend(name),
                None => chosen.push(Chosen { row, names: name.into_iter().collect() }),
            }
        }
        let mut archive = Archive::start(out)?;
        let mut entries = Vec::new();
        let mut descriptors = Vec::new();
        for image in &chosen {
            let (manifest, layers) = self.save_image(&mut archive, image)?;
            descriptors.extend(descriptors_of(&image.names, &manifest));
            let repo_tags = image.names.iter().map(Reference::familiar).collect();
            entries.push(ArchiveEntry { config: blob_name(&image.row.id), repo_tags, layers });
        }
        archive.finish(&entries, &descriptors)
    }

    /// Writes an image's blobs; returns its manifest's bytes and the paths of its layers.
    fn save_image(&self, archive: &mut Archive<'_>, image: &Chosen) -> Result<(Vec<u8>, Vec<String>)> {
        let config = self.read_blob(&image.row.id)?;
        archive.blob(&image.row.id, config.len() as u64, &mut config.as_slice())?;
        let described = image.row.layers.iter().map(|layer| self.describe(layer)).collect::<Result<Vec<_>>>()?;
        // Before the layers: who reads the stream knows what they are when they come.
        let manifest = self.manifest_for(&image.row, config.len(), &described)?;
        archive.blob(&Digest::of(&manifest), manifest.len() as u64, &mut manifest.as_slice())?;
        for layer in &image.row.layers {
            self.save_layer(archive, layer)?;
        }
        Ok((manifest, described.iter().map(|(digest, ..)| blob_name(digest)).collect()))
    }

    /// The manifest it came with, as long as it names the blobs that are kept; else one that does.
    pub(super) fn manifest_for(&self, row: &ImageRow, config_len: usize, layers: &[Described]) -> Result<Vec<u8>> {
        if let Some(digest) = &row.manifest {
            let bytes = self.read_blob(digest)?;
            if let Ok(Document::Manifest(manifest)) = Document::parse(&bytes)
                && manifest.layers.iter().map(|layer| &layer.digest).eq(layers.iter().map(|layer| &layer.0))
            {
                return Ok(bytes);
            }
        }
        Ok(new_manifest(&row.id, config_len, layers))
    }

    fn save_layer(&self, archive: &mut Archive<'_>, layer: &LayerRef) -> Result<()> {
        if let Some(blob) = &layer.blob {
            let path = self.blob_path(&blob.digest);
            let mut file = File::open(&path).at("open", &path)?;
            return archive.blob(&blob.digest, blob.size_bytes, &mut file);
        }
        let missing = || {
            StoreError::corrupt(format!("layer {}", layer.diff_id), "it is missing").with_hint("load the image again")
        };
        let record = self.layer_record(&layer.diff_id)?.ok_or_else(missing)?;
        let mut tar = self.layer_tar(&record)?;
        archive.blob(&layer.diff_id, record.tar_bytes, &mut tar)
    }
}

/// An archive being written.
pub(super) struct Archive<'a> {
    tar: tar::Builder<&'a mut dyn Write>,
    written: BTreeSet<Digest>,
}

impl<'a> Archive<'a> {
    pub(super) fn start(out: &'a mut dyn Write) -> Result<Archive<'a>> {
        let mut archive = Archive { tar: tar::Builder::new(out), written: BTreeSet::new() };
        archive.dir("blobs/")?;
        archive.dir("blobs/sha256/")?;
        Ok(archive)
    }

    /// Writes the lists of what is in it, docker's and the layout's, and ends it.
    pub(super) fn finish(mut self, entries: &[ArchiveEntry], descriptors: &[serde_json::Value]) -> Result<()> {
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors});
        self.file("index.json", index.to_string().as_bytes())?;
        let list = serde_json::to_vec(&entries)
            .map_err(|e| StoreError::invalid("manifest.json", "cannot be written").caused_by(e))?;
        self.file("manifest.json", &list)?;
        self.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let out = self.tar.into_inner().map_err(write_error)?;
        out.flush().map_err(write_error)
    }

    fn dir(&mut self, path: &str) -> Result<()> {
        let mut header = header(0, 0o755);
        header.set_entry_type(tar::EntryType::Directory);
        self.tar.append_data(&mut header, path, io::empty()).map_err(write_error)
    }

    fn file(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.tar.append_data(&mut header(bytes.len() as u64, 0o644), path, bytes).map_err(write_error)
    }

    /// Writes a blob once, verifying its size and digest on the way.
    pub(super) fn blob(&mut self, digest: &Digest, size: u64, input: &mut dyn Read) -> Result<()> {
        if !self.written.insert(digest.clone()) {
            return Ok(());
        }
        let mut verified = Verified { input, hasher: digest.hasher(), n_bytes: 0, size };
        let appended = self.tar.append_data(&mut header(size, 0o644), blob_name(digest), &mut verified);
        let Verified { hasher, n_bytes, .. } = verified;
        appended.map_err(write_error)?;
        if n_bytes == size && hasher.finish() == *digest {
            return Ok(());
        }
        Err(StoreError::corrupt(format!("blob {digest}"), "its bytes have changed in the store")
            .with_hint("remove the image and load it again; the archive that was being written is not complete"))
    }
}

/// A manifest for a config and layers.
pub(super) fn new_manifest(config: &Digest, config_len: usize, layers: &[Described]) -> Vec<u8> {
    let describe = |(digest, size, media_type): &Described| json!({"mediaType": media_type, "digest": digest.as_str(), "size": size});
    let config = json!({"mediaType": OCI_CONFIG, "digest": config.as_str(), "size": config_len});
    let layers: Vec<_> = layers.iter().map(describe).collect();
    let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers});
    manifest.to_string().into_bytes()
}

/// Counts and hashes what is read, and makes a short input an error of its own instead of a broken tar.
struct Verified<'a> {
    input: &'a mut dyn Read,
    hasher: Hasher,
    n_bytes: u64,
    size: u64,
}

impl Read for Verified<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_read = self.input.read(buffer)?;
        if n_read == 0 && self.n_bytes < self.size && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stored content is shorter than it was"));
        }
        self.n_bytes += n_read as u64;
        self.hasher.update(&buffer[..n_read]);
        Ok(n_read)
    }
}

fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header
}

fn write_error(error: io::Error) -> StoreError {
    StoreError::io("write", "the archive", error)
}

pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

/// One entry of the index for each name, or one without a name.
pub(super) fn descriptors_of(names: &[Reference], manifest: &[u8]) -> Vec<serde_json::Value> {
    let digest = Digest::of(manifest);
    let descriptor = json!({"mediaType": media_type(manifest), "digest": digest.as_str(), "size": manifest.len()});
    if names.is_empty() {
        return vec![descriptor];
    }
    let named = |name: &Reference| {
        let mut descriptor = descriptor.clone();
        descriptor["annotations"] = json!({
            "io.containerd.image.name": name.to_string(),
            "org.opencontainers.image.ref.name": name.tag().unwrap_or_default(),
        });
        descriptor
    };
    names.iter().map(named).collect()
}

/// What a manifest says that it is.
pub(super) fn media_type(manifest: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Said {
        media_type: Option<String>,
    }
    let said = serde_json::from_slice::<Said>(manifest).ok().and_then(|said| said.media_type);
    said.unwrap_or_else(|| OCI_MANIFEST.to_owned())
}
