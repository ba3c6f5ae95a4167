//! An image's archive on its way from one engine to another: read as any engine saves it, written as one that every engine loads, without
//! the layers that the other end has. Called by `fleet` when an image is copied. Nothing is kept on disk but a layer of which the archive
//! does not say beforehand what it is, and that only until the next one.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};

use super::Result;
use super::archive::{is_layer, shown, take_head};
use super::compression::Compression;
use super::error::{Class, IoContext, StoreError};
use super::layers::read_error;
use super::save::{Archive, Described, blob_name, descriptors_of, new_manifest};
use super::tape::{Body, Kind, NoTap, Tape};
use crate::engine::progress::{Progress, Step};
use crate::oci::chain::{chain_ids, layer_of_directory};
use crate::oci::image::{ArchiveEntry, Document, MAX_CONFIG_BYTES, Manifest, OCI_LAYER};
use crate::oci::reference::Reference;
use crate::stdx::ids::{Digest, Hasher, Id};

const PROGRESS_BYTES: u64 = 1 << 20;

/// The image that is on its way.
#[derive(Debug, Clone)]
pub struct Relay {
    /// Digest of its config.
    pub id: Digest,
    /// Bottom first.
    pub diff_ids: Vec<Digest>,
    /// The layers to send.
    pub wanted: BTreeSet<Digest>,
    /// What it shall be called there.
    pub names: Vec<Reference>,
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Relayed {
    pub n_layers: usize,
    /// Bytes of these layers as they went over.
    pub n_bytes: u64,
}

/// Reads an archive to its end and writes what is wanted of it; every byte is compared with its digest on the way.
///
/// Blocks. Progress parts are short diffIDs; the verbs `pushing` and `pushed`.
///
/// # Errors
/// `Invalid` for an archive without the image, `Corrupt` for bytes that do not have their digest, the failed read or write.
pub fn relay(image: &Relay, archive: impl Read, out: &mut dyn Write, progress: &Progress) -> Result<Relayed> {
    let mut run = Run {
        image,
        chain: chain_ids(&image.diff_ids),
        out: Archive::start(out)?,
        progress,
        directories: HashMap::new(),
        blobs: HashMap::new(),
        described: HashMap::new(),
        config: None,
        manifest: None,
        sent: Relayed::default(),
    };
    let mut tape = Tape::new(BufReader::with_capacity(1 << 20, archive), NoTap);
    while let Some(entry) = tape.next_entry()? {
        if entry.kind != Kind::File {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        let head = take_head(&mut Body(&mut tape)).map_err(|e| read_error("the archive", e))?;
        let mut body = head.as_slice().chain(Body(&mut tape));
        if is_layer(&head, &entry.path) {
            run.layer(&path, entry.size, Compression::detect(&head), &mut body)?;
        } else if entry.size <= MAX_CONFIG_BYTES {
            let mut bytes = Vec::new();
            body.read_to_end(&mut bytes).map_err(|e| read_error("the archive", e))?;
            run.document(&path, bytes);
        }
    }
    tape.drain()?;
    run.finish()
}

struct Run<'a> {
    image: &'a Relay,
    chain: Vec<Digest>,
    out: Archive<'a>,
    progress: &'a Progress,
    /// Directories of an archive of docker up to 24, and the layer in each.
    directories: HashMap<String, Digest>,
    /// Blobs of a manifest, and the layer that each unpacks to.
    blobs: HashMap<Digest, Digest>,
    /// What each layer is called in the archive that is written.
    described: HashMap<Digest, Described>,
    config: Option<Vec<u8>>,
    manifest: Option<(Vec<u8>, Manifest)>,
    sent: Relayed,
}

/// A layer of the archive and what its bytes are called.
struct Known {
    diff_id: Digest,
    digest: Digest,
}

impl Run<'_> {
    fn document(&mut self, path: &str, bytes: Vec<u8>) {
        if let Some(directory) = path.strip_suffix("/json") {
            let directory = directory.rsplit('/').next().unwrap_or(directory);
            if let Some(at) = layer_of_directory(directory, &bytes, &self.chain) {
                self.directories.insert(directory.to_owned(), self.image.diff_ids[at].clone());
            }
        } else if Digest::of(&bytes) == self.image.id {
            self.config = Some(bytes);
        } else if let Ok(Document::Manifest(manifest)) = Document::parse(&bytes)
            && manifest.config.digest == self.image.id
            && manifest.layers.len() == self.image.diff_ids.len()
        {
            let blobs = manifest.layers.iter().map(|layer| layer.digest.clone());
            self.blobs.extend(blobs.zip(self.image.diff_ids.iter().cloned()));
            self.manifest = Some((bytes, manifest));
        }
    }

    /// What a file is, by its name or by a document that came before it.
    fn identify(&self, path: &str, form: Compression) -> Option<Known> {
        let mut parts = path.rsplit('/');
        let name = parts.next()?;
        if name == "layer.tar" {
            let diff_id = self.directories.get(parts.next()?).filter(|_| form == Compression::Plain)?.clone();
            return Some(Known { digest: diff_id.clone(), diff_id });
        }
        let digest: Digest = format!("sha256:{}", name.strip_suffix(".tar").unwrap_or(name)).parse().ok()?;
        if let Some(diff_id) = self.blobs.get(&digest) {
            return Some(Known { diff_id: diff_id.clone(), digest });
        }
        let is_plain = form == Compression::Plain && self.image.diff_ids.contains(&digest);
        is_plain.then(|| Known { diff_id: digest.clone(), digest })
    }

    fn layer(&mut self, path: &str, size: u64, form: Compression, body: &mut dyn Read) -> Result<()> {
        match self.identify(path, form) {
            Some(known) => self.pass(known, size, form, body),
            None => self.look_first(path, form, body),
        }
    }

    /// A layer that is known from the first byte.
    fn pass(&mut self, known: Known, size: u64, form: Compression, body: &mut dyn Read) -> Result<()> {
        let Known { diff_id, digest } = known;
        if self.described.contains_key(&diff_id) {
            return Ok(());
        }
        if !self.image.wanted.contains(&diff_id) {
            // The other end knows it by what it unpacks to, and a manifest says how long that is.
            let n_bytes = match form {
                Compression::Plain => size,
                _ => io::copy(&mut form.inflate(BufReader::new(body))?, &mut io::sink())
                    .map_err(|e| read_error(diff_id.short(), e))?,
            };
            self.described.insert(diff_id.clone(), (diff_id, n_bytes, OCI_LAYER.to_owned()));
            return Ok(());
        }
        let mut watched = Watched { body, progress: self.progress, part: diff_id.short(), size, n_bytes: 0, told: 0 };
        self.out.blob(&digest, size, &mut watched).map_err(|error| match error.class {
            Class::Corrupt => StoreError::corrupt(format!("layer {diff_id}"), "what came does not have its digest"),
            _ => error,
        })?;
        let part = diff_id.short().to_owned();
        self.progress.report(Step { part, verb: "pushed", done_bytes: size, total_bytes: Some(size) });
        self.sent.n_layers += 1;
        self.sent.n_bytes += size;
        self.described.insert(diff_id, (digest, size, form.layer_media_type().to_owned()));
        Ok(())
    }

    /// A layer that only its bytes tell: they are kept while they are looked at.
    fn look_first(&mut self, path: &str, form: Compression, body: &mut dyn Read) -> Result<()> {
        let name = shown(path.as_bytes());
        let mut file = unnamed_file()?;
        let mut came = Hashing { inner: body, hasher: Hasher::sha256() };
        let size = io::copy(&mut came, &mut file).map_err(|e| read_error(&name, e))?;
        let digest = came.hasher.finish();
        file.rewind().at("read", std::env::temp_dir())?;
        let diff_id = {
            let inner = form.inflate(BufReader::with_capacity(1 << 18, &file))?;
            let mut inside = Hashing { inner, hasher: Hasher::sha256() };
            io::copy(&mut inside, &mut io::sink()).map_err(|e| read_error(&name, e))?;
            inside.hasher.finish()
        };
        // Another image's, or something that only looks like a layer.
        if !self.image.diff_ids.contains(&diff_id) {
            return Ok(());
        }
        file.rewind().at("read", std::env::temp_dir())?;
        self.pass(Known { diff_id, digest }, size, form, &mut file)
    }

    fn finish(mut self) -> Result<Relayed> {
        let missing = |what: String| {
            StoreError::invalid("the archive", format!("it has no {what}"))
                .with_hint("the source did not send all of it")
        };
        let id = &self.image.id;
        let config = self.config.take().ok_or_else(|| missing(format!("config {id}")))?;
        let mut layers = Vec::new();
        for diff_id in &self.image.diff_ids {
            let described = self.described.get(diff_id).ok_or_else(|| missing(format!("layer {diff_id}")))?;
            layers.push(described.clone());
        }
        let fits =
            |manifest: &Manifest| manifest.layers.iter().map(|layer| &layer.digest).eq(layers.iter().map(|l| &l.0));
        let manifest = match self.manifest.take() {
            Some((bytes, manifest)) if fits(&manifest) => bytes,
            _ => new_manifest(id, config.len(), &layers),
        };
        self.out.blob(id, config.len() as u64, &mut config.as_slice())?;
        self.out.blob(&Digest::of(&manifest), manifest.len() as u64, &mut manifest.as_slice())?;
        let entry = ArchiveEntry {
            config: blob_name(id),
            repo_tags: self.image.names.iter().map(Reference::familiar).collect(),
            layers: layers.iter().map(|(digest, ..)| blob_name(digest)).collect(),
        };
        self.out.finish(&[entry], &descriptors_of(&self.image.names, &manifest))?;
        Ok(self.sent)
    }
}

/// Tells of a layer's bytes as they are read.
struct Watched<'a> {
    body: &'a mut dyn Read,
    progress: &'a Progress,
    part: &'a str,
    size: u64,
    n_bytes: u64,
    told: u64,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_read = self.body.read(buffer)?;
        self.n_bytes += n_read as u64;
        if self.n_bytes - self.told >= PROGRESS_BYTES {
            self.told = self.n_bytes;
            let (part, total_bytes) = (self.part.to_owned(), Some(self.size));
            self.progress.report(Step { part, verb: "pushing", done_bytes: self.n_bytes, total_bytes });
        }
        Ok(n_read)
    }
}

struct Hashing<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n_read]);
        Ok(n_read)
    }
}

/// A file that is gone with its descriptor.
fn unnamed_file() -> Result<File> {
    let path = std::env::temp_dir().join(format!("orlop-{}", Id::random()));
    let file = File::options().read(true).write(true).create_new(true).open(&path).at("make", &path)?;
    std::fs::remove_file(&path).at("remove", &path)?;
    Ok(file)
}

#[cfg(test)]
mod tests;
