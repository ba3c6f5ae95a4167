//! Unpacked layers: the pipeline that makes one from a stream, and the record beside each. Called by everything that adds
//! an image. A layer's directory is filled under `tmp` and renamed into place when it is whole, verified and flushed.
//!
//! ```text
//! read -> sha256 of what came -> inflate -> sha256 (diffID) -> | bounded queue | -> tar -> files
//!         (and a copy, if compressed)                            own thread
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use serde::{Deserialize, Serialize};

use super::budget::Budget;
use super::compression::Compression;
use super::containers::read_record;
use super::error::{Class, IoContext, StoreError};
use super::extract::{self, Keep, Unpacked};
use super::partial;
use super::recipe::{self, Replaced};
use super::{Result, Store};
use crate::engine::progress::{Progress, Step};
use crate::oci::image::Descriptor;
use crate::stdx::atomic::{self, Durability};
use crate::stdx::ids::{Digest, Hasher, Id};
use crate::stdx::tree;

const RECORD_VERSION: u32 = 1;
/// One piece in the queue; it stays in the processor's cache between hashing and writing.
const CHUNK_BYTES: usize = 256 * 1024;
/// Pieces in the queue: the reader waits when the writer is so far behind. Nothing is dropped.
const QUEUE: usize = 16;
/// How often progress is told.
const PROGRESS_BYTES: u64 = 4 << 20;

/// `meta.json` of a layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LayerRecord {
    version: u32,
    pub(super) diff_id: Digest,
    /// Bytes of all its files.
    pub(super) size_bytes: u64,
    /// Bytes of its tar.
    pub(super) tar_bytes: u64,
    pub(super) n_entries: u64,
    /// The compressed blob that its tar can be read from; `None` when it has a recipe.
    pub(super) blob: Option<Digest>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    replaced: Vec<Replaced>,
    /// What it was compressed to for a push, so that the next one need not do so to know the digest. The bytes are not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) packed: Option<PackedAs>,
}

/// A layer as some version of this program compresses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PackedAs {
    /// Which compressor, for another may make other bytes.
    pub(super) packer: String,
    pub(super) blob: BlobRef,
}

/// A blob that came compressed and is kept as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BlobRef {
    pub(super) digest: Digest,
    pub(super) size_bytes: u64,
    pub(super) media_type: String,
}

/// A layer that an operation has made and not yet put in place.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) diff_id: Digest,
    /// Digest of the bytes as they came.
    pub(super) came_as: Digest,
    /// The directory under `tmp`; `None` when only the blob is new.
    pub(super) dir: Option<PathBuf>,
    pub(super) blob: Option<(BlobRef, PathBuf)>,
    pub(super) implied: Vec<Vec<u8>>,
    /// What is of no use once the layer is in place.
    pub(super) leftover: Option<PathBuf>,
}

/// What becomes of the compressed bytes that a layer comes in.
#[derive(Clone, Copy)]
enum Packed<'a> {
    /// They are hashed and copied into a file of the operation.
    Copied,
    /// The caller has them, and knows what they are.
    Kept(&'a Descriptor),
}

/// What an operation needs to unpack layers.
pub(super) struct Workshop<'a> {
    pub(super) scratch: &'a Path,
    pub(super) budget: &'a Budget,
    pub(super) progress: &'a Progress,
}

/// One layer to unpack.
pub(super) struct Job<'a> {
    /// Tells this layer's temporary names from others of the operation.
    pub(super) n: usize,
    /// What people see: a short digest or a path in the archive.
    pub(super) shown: &'a str,
    pub(super) total_bytes: Option<u64>,
}

impl Workshop<'_> {
    /// Unpacks the layer that `input` is, compressed or not.
    ///
    /// # Errors
    /// `Invalid` for a hostile or damaged archive, `Full`; what was made is removed with the operation's directory.
    pub(super) fn unpack(&self, job: &Job<'_>, input: &mut dyn Read) -> Result<Fresh> {
        self.unpack_packed(job, input, Packed::Copied)
    }

    /// The same for bytes that the caller keeps and verifies himself; the path of the blob in the answer is for him to fill in. No
    /// progress is told.
    pub(super) fn unpack_kept(&self, job: &Job<'_>, input: &mut dyn Read, blob: &Descriptor) -> Result<Fresh> {
        let quiet = Progress::none();
        let shop = Workshop { scratch: self.scratch, budget: self.budget, progress: &quiet };
        shop.unpack_packed(job, input, Packed::Kept(blob))
    }

    fn unpack_packed(&self, job: &Job<'_>, mut input: &mut dyn Read, packed: Packed<'_>) -> Result<Fresh> {
        // The name decides on the place on the disk; see `spread_subdirectories`.
        let dir = self.scratch.join(format!("layer-{}-{}", job.n, Id::random().short()));
        for path in [dir.clone(), dir.join("fs"), dir.join("kept")] {
            fs::create_dir(&path).at("make the directory", &path)?;
        }
        super::set_mode(&dir.join("fs"), 0o755)?;
        let mut head = Vec::with_capacity(8);
        (&mut input).take(6).read_to_end(&mut head).map_err(|e| read_error(job.shown, e))?;
        let form = Compression::detect(&head);
        let mut input = io::Cursor::new(head).chain(input);
        let keep = match form {
            Compression::Plain => {
                let path = dir.join("recipe.zst");
                Keep::Recipe(Box::new(recipe::Writer::create(&path).at("make", &path)?))
            }
            _ => Keep::Nothing,
        };
        let blob_path = self.scratch.join(format!("blob-{}", job.n));
        let (flow, unpacked) = std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(QUEUE);
            let (give_back, empties) = channel();
            let reader = Pieces { receiver, give_back, piece: Vec::new(), at: 0 };
            let unpacker = scope.spawn(|| extract::unpack(reader, &dir, keep, self.budget));
            let mut pump = Pump { sender, empties, hasher: Hasher::sha256(), n_bytes: 0 };
            let flow = match form {
                Compression::Plain => self.pump_plain(job, &mut pump, &mut input),
                _ => match packed {
                    Packed::Copied => self.pump_packed(job, form, &mut pump, &mut input, &blob_path),
                    Packed::Kept(blob) => self.pump_kept(job, form, &mut pump, &mut input, blob),
                },
            };
            let Pump { sender, hasher, n_bytes, .. } = pump;
            drop(sender);
            let unpacked = unpacker.join().unwrap_or_else(|_| {
                Err(StoreError::new(Class::Internal, job.shown, format!("the unpacking of {} panicked", job.shown)))
            });
            (flow.map(|blob| (blob, hasher.finish(), n_bytes)), unpacked)
        });
        // When both ends failed the reader's error is the cause, unless the reader only found that nobody listens.
        let ((blob, diff_id, tar_bytes), unpacked) = match (flow, unpacked) {
            (Ok(flow), Ok(unpacked)) => (flow, unpacked),
            (Err(Stop::Input(error)), _) => return Err(error),
            (_, Err(error)) => return Err(error),
            (Err(Stop::Unheard), Ok(_)) => {
                return Err(StoreError::new(Class::Internal, job.shown, "the unpacking ended before its input"));
            }
        };
        self.finish(dir, diff_id, tar_bytes, blob.map(|blob| (blob, blob_path)), unpacked)
    }

    fn finish(
        &self,
        dir: PathBuf,
        diff_id: Digest,
        tar_bytes: u64,
        blob: Option<(BlobRef, PathBuf)>,
        unpacked: Unpacked,
    ) -> Result<Fresh> {
        let record = LayerRecord {
            version: RECORD_VERSION,
            diff_id: diff_id.clone(),
            size_bytes: unpacked.size_bytes,
            tar_bytes,
            n_entries: unpacked.n_entries,
            blob: blob.as_ref().map(|(blob, _)| blob.digest.clone()),
            replaced: unpacked.replaced,
            packed: None,
        };
        let path = dir.join("meta.json");
        let bytes = serde_json::to_vec(&record)
            .map_err(|e| StoreError::new(Class::Internal, &diff_id, "cannot serialise a record").caused_by(e))?;
        fs::write(&path, bytes).at("write", &path)?;
        let came_as = blob.as_ref().map_or_else(|| diff_id.clone(), |(blob, _)| blob.digest.clone());
        Ok(Fresh { diff_id, came_as, dir: Some(dir), blob, implied: unpacked.implied, leftover: None })
    }

    /// Sends uncompressed bytes on; one digest is both the blob's and the diffID.
    fn pump_plain(
        &self,
        job: &Job<'_>,
        pump: &mut Pump,
        input: &mut dyn Read,
    ) -> std::result::Result<Option<BlobRef>, Stop> {
        self.pump_all(job, pump, input)?;
        Ok(None)
    }

    /// Sends inflated bytes on, and keeps what came.
    fn pump_packed(
        &self,
        job: &Job<'_>,
        form: Compression,
        pump: &mut Pump,
        input: &mut dyn Read,
        blob_path: &Path,
    ) -> std::result::Result<Option<BlobRef>, Stop> {
        let file = File::create_new(blob_path).at("make", blob_path).map_err(Stop::Input)?;
        let spool = Spool { input, file, hasher: Hasher::sha256(), n_bytes: 0, budget: self.budget };
        let mut spool = BufReader::with_capacity(CHUNK_BYTES, spool);
        let mut inflated = form.inflate(&mut spool).map_err(Stop::Input)?;
        self.pump_all(job, pump, &mut inflated)?;
        drop(inflated);
        // Bytes after the compressed data belong to the blob's digest.
        io::copy(&mut spool, &mut io::sink()).map_err(|e| Stop::Input(read_error(job.shown, e)))?;
        let spool = spool.into_inner();
        let media_type = form.layer_media_type().to_owned();
        Ok(Some(BlobRef { digest: spool.hasher.finish(), size_bytes: spool.n_bytes, media_type }))
    }

    /// Sends inflated bytes on; what came is the caller's matter.
    fn pump_kept(
        &self,
        job: &Job<'_>,
        form: Compression,
        pump: &mut Pump,
        input: &mut dyn Read,
        blob: &Descriptor,
    ) -> std::result::Result<Option<BlobRef>, Stop> {
        let mut inflated = form.inflate(BufReader::with_capacity(CHUNK_BYTES, input)).map_err(Stop::Input)?;
        self.pump_all(job, pump, &mut inflated)?;
        Ok(Some(BlobRef { digest: blob.digest.clone(), size_bytes: blob.size, media_type: blob.media_type.clone() }))
    }

    fn pump_all(&self, job: &Job<'_>, pump: &mut Pump, input: &mut dyn Read) -> std::result::Result<(), Stop> {
        let mut told = 0;
        loop {
            let mut piece = pump.empties.try_recv().unwrap_or_default();
            piece.resize(CHUNK_BYTES, 0);
            let n_read = fill(input, &mut piece).map_err(|e| Stop::Input(read_error(job.shown, e)))?;
            if n_read == 0 {
                return Ok(());
            }
            piece.truncate(n_read);
            pump.hasher.update(&piece);
            pump.n_bytes += n_read as u64;
            pump.sender.send(piece).map_err(|_| Stop::Unheard)?;
            if pump.n_bytes - told >= PROGRESS_BYTES {
                told = pump.n_bytes;
                let (part, total_bytes) = (job.shown.to_owned(), job.total_bytes);
                self.progress.report(Step { part, verb: "extracting", done_bytes: told, total_bytes });
            }
        }
    }

    /// Copies a compressed blob whose layer is in the store already, verifying nothing yet: the caller compares digests.
    pub(super) fn copy_blob(
        &self,
        job: &Job<'_>,
        form: Compression,
        diff_id: &Digest,
        input: &mut dyn Read,
    ) -> Result<Fresh> {
        let path = self.scratch.join(format!("blob-{}", job.n));
        let file = File::create_new(&path).at("make", &path)?;
        let mut spool = Spool { input, file, hasher: Hasher::sha256(), n_bytes: 0, budget: self.budget };
        io::copy(&mut spool, &mut io::sink()).map_err(|e| read_error(job.shown, e))?;
        let media_type = form.layer_media_type().to_owned();
        let blob = BlobRef { digest: spool.hasher.finish(), size_bytes: spool.n_bytes, media_type };
        let came_as = blob.digest.clone();
        Ok(Fresh {
            diff_id: diff_id.clone(),
            came_as,
            dir: None,
            blob: Some((blob, path)),
            implied: Vec::new(),
            leftover: None,
        })
    }
}

/// An error of the input keeps its class when it is the store's own.
pub(super) fn read_error(shown: &str, error: io::Error) -> StoreError {
    match error.downcast::<StoreError>() {
        Ok(own) => own,
        Err(error) if error.raw_os_error().is_some() => StoreError::io("read", shown, error),
        Err(error) => StoreError::invalid(shown, "the data is damaged or cut short").caused_by(error),
    }
}

/// Why the reading end stopped.
enum Stop {
    Input(StoreError),
    /// The unpacking end has gone; its error is the one to tell.
    Unheard,
}

/// The reading end of the queue.
struct Pump {
    sender: SyncSender<Vec<u8>>,
    empties: Receiver<Vec<u8>>,
    hasher: Hasher,
    n_bytes: u64,
}

/// The unpacking end of the queue.
struct Pieces {
    receiver: Receiver<Vec<u8>>,
    give_back: Sender<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.piece.len() {
            // The reading end may be gone; then nobody needs the buffer.
            let _ = self.give_back.send(std::mem::take(&mut self.piece));
            self.piece = self.receiver.recv().unwrap_or_default();
            self.at = 0;
        }
        Ok(&self.piece[self.at..])
    }

    fn consume(&mut self, n_bytes: usize) {
        self.at += n_bytes;
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_read = self.fill_buf()?.read(buffer)?;
        self.consume(n_read);
        Ok(n_read)
    }
}

/// Reads a compressed blob, hashing it and keeping a copy.
struct Spool<'a> {
    input: &'a mut dyn Read,
    file: File,
    hasher: Hasher,
    n_bytes: u64,
    budget: &'a Budget,
}

impl Read for Spool<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_read = self.input.read(buffer)?;
        self.budget.take_bytes(n_read as u64).map_err(io::Error::other)?;
        self.hasher.update(&buffer[..n_read]);
        self.file.write_all(&buffer[..n_read])?;
        self.n_bytes += n_read as u64;
        Ok(n_read)
    }
}

/// Renames content into place; another operation may have been first, with the same content.
pub(super) fn place(from: &Path, to: &Path) -> Result<()> {
    match fs::rename(from, to) {
        Err(error) if is_taken(&error) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && to.exists() => Ok(()),
        placed => placed.at("put into place", to),
    }
}

/// Gives a file a second name; another's file there has the same bytes.
fn link(from: &Path, to: &Path) -> Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if is_taken(&error) => Ok(()),
        linked => linked.at("put into place", to),
    }
}

/// Puts a layer where it belongs, marked as perhaps not on the disk; another's layer there is as good.
fn place_layer(dir: &Path, to: &Path, marker: &Path) -> Result<()> {
    if to.exists() {
        return Ok(());
    }
    fs::write(marker, partial::boot_id()).at("write", marker)?;
    let placed = fs::rename(dir, to);
    if placed.is_err() {
        let _ = fs::remove_file(marker);
    }
    match placed {
        Err(error) if is_taken(&error) => Ok(()),
        placed => placed.at("put into place", to),
    }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty)
}

/// Reads until the buffer is full or the input ends.
fn fill(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut n_filled = 0;
    while n_filled < buffer.len() {
        match input.read(&mut buffer[n_filled..]) {
            Ok(0) => break,
            Ok(n_read) => n_filled += n_read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(n_filled)
}

impl Store {
    /// The directory of a layer, whether or not it exists.
    pub(super) fn layer_dir(&self, diff_id: &Digest) -> PathBuf {
        self.path("layers").join(diff_id.hex())
    }

    /// The record of a layer; `None` when it is not in the store.
    pub(super) fn layer_record(&self, diff_id: &Digest) -> Result<Option<LayerRecord>> {
        let record = read_record(&self.layer_dir(diff_id).join("meta.json"), RECORD_VERSION)?;
        Ok(record.filter(|_| !self.is_stale(diff_id)))
    }

    /// Exists while a layer is in place and perhaps not on the disk: written before the layer appears, removed after a barrier and before
    /// an image names it. Holds the boot in which that was; after another one the layer's files may be empty.
    pub(super) fn unflushed_path(&self, diff_id: &Digest) -> PathBuf {
        self.path("layers").join(format!(".unflushed-{}", diff_id.hex()))
    }

    fn is_stale(&self, diff_id: &Digest) -> bool {
        fs::read(self.unflushed_path(diff_id)).is_ok_and(|boot| boot != partial::boot_id().into_bytes())
    }

    /// Puts a layer in place before the image that it belongs to is whole, so that others need not unpack it, nor this pull when it is tried
    /// again. Not so a layer with implied directories, whose attributes are known when all layers are.
    pub(super) fn place_early(&self, fresh: &mut Fresh) -> Result<()> {
        if !fresh.implied.is_empty() {
            return Ok(());
        }
        let Some(dir) = fresh.dir.take() else { return Ok(()) };
        let (to, marker) = (self.layer_dir(&fresh.diff_id), self.unflushed_path(&fresh.diff_id));
        if self.is_stale(&fresh.diff_id) && to.exists() {
            tree::discard(&to, &self.tmp()).at("remove the layer", &to)?;
        }
        // The partial keeps its name, and with it its lock, until the layer is there: nobody finds neither of them and starts anew.
        let mut done_with = fresh.leftover.take();
        if let Some((blob, path)) = &fresh.blob {
            let kept = self.blob_path(&blob.digest);
            if *path != kept {
                link(path, &kept)?;
                done_with = Some(path.clone());
            }
        }
        let placed = place_layer(&dir, &to, &marker);
        if let Some(partial) = done_with {
            // What stays is swept when it is old.
            let _ = fs::remove_file(&partial);
            partial::forget_record(&partial);
        }
        placed
    }

    /// Takes the marks from layers that a barrier has put on the disk; the caller flushes the directory.
    pub(super) fn forget_unflushed<'a>(&self, diff_ids: impl Iterator<Item = &'a Digest>) -> Result<()> {
        for diff_id in diff_ids {
            let marker = self.unflushed_path(diff_id);
            match fs::remove_file(&marker) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).at("remove", &marker),
                _ => {}
            }
        }
        Ok(())
    }

    /// Notes in a layer's record what it was compressed to.
    pub(super) fn note_packed(&self, record: LayerRecord, packed: PackedAs) -> Result<()> {
        let path = self.layer_dir(&record.diff_id).join("meta.json");
        let record = LayerRecord { packed: Some(packed), ..record };
        let bytes = serde_json::to_vec(&record)
            .map_err(|e| StoreError::new(Class::Internal, &record.diff_id, "cannot serialise a record").caused_by(e))?;
        atomic::write(&path, &bytes, Durability::Ordered).at("write", &path)
    }

    /// Which of these diffIDs are unpacked here.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn unpacked_of(&self, diff_ids: &BTreeSet<String>) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for text in diff_ids {
            if let Ok(diff_id) = text.parse::<Digest>()
                && self.layer_record(&diff_id)?.is_some()
            {
                found.push(text.clone());
            }
        }
        Ok(found)
    }

    /// A layer's tar, as it was; the caller compares the digest.
    pub(super) fn layer_tar(&self, record: &LayerRecord) -> Result<Box<dyn Read>> {
        let dir = self.layer_dir(&record.diff_id);
        let Some(blob) = &record.blob else {
            return Ok(Box::new(recipe::Reader::open(&dir, record.replaced.clone()).at("read the recipe in", &dir)?));
        };
        let path = self.blob_path(blob);
        let mut file = BufReader::with_capacity(CHUNK_BYTES, File::open(&path).at("open", &path)?);
        let form = Compression::detect(file.fill_buf().at("read", &path)?);
        form.inflate(file)
    }

    /// The file of a blob, whether or not it exists.
    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path("blobs").join(digest.algorithm()).join(digest.hex())
    }
}
