//! Blobs on their way in: what came of one so far, kept over cuts and kills and gone on with by whoever wants it next. Called by
//! `pull`. One process at a time writes a partial (its file is locked); a complete one is never written again, only moved or removed.
//!
//! ```text
//! ROOT/partial/<algorithm>-<hex>        the bytes so far
//! ROOT/partial/<algorithm>-<hex>.json   how many of them are on the disk for sure, and in which boot that was written
//! ```
//! A killed process loses nothing: what it wrote is in the kernel. A crashed machine may keep a file's length without its bytes, so
//! after another boot only what was flushed counts. Everything is hashed again in any case, and the whole digest decides.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::budget::Budget;
use super::error::{IoContext, StoreError};
use super::{Result, Store};
use crate::engine::progress::{Progress, Step};
use crate::oci::image::Descriptor;
use crate::stdx::atomic::{self, Durability};
use crate::stdx::ids::{Digest, Hasher};
use crate::stdx::lock::{FileLock, LockError, Mode};
use crate::sys::fs as sysfs;

/// After so many new bytes the file is flushed and the record written.
const FLUSH_BYTES: u64 = 32 << 20;
/// How often progress is told.
const PROGRESS_BYTES: u64 = 256 << 10;
/// A partial that nobody went on with for so long is swept.
pub(super) const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// One try at a partial that another process is filling, between looks at what it has and whether to go on.
const WAIT: Duration = Duration::from_millis(100);

/// Where blobs come from. Called on several threads; what it opens blocks.
pub trait Origin: Sync {
    /// The blob's bytes from `offset` on.
    ///
    /// # Errors
    /// Whatever ended it for good; what is worth another try has been tried.
    fn open(&self, blob: &Descriptor, offset: u64) -> io::Result<Box<dyn Read + '_>>;
    /// Whether nobody wants the image any more.
    fn is_cancelled(&self) -> bool;
}

#[derive(Debug, Serialize, Deserialize)]
struct FlushRecord {
    boot: String,
    flushed_bytes: u64,
}

/// A partial that is this process's to fill until it is dropped.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) path: PathBuf,
    lock: FileLock,
    file: File,
    /// Bytes to be believed, before the digest says so.
    pub(super) len: u64,
}

impl Store {
    /// Where the partial of a blob is, whether or not it exists.
    pub(super) fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.path("partial").join(format!("{}-{}", digest.algorithm(), digest.hex()))
    }

    /// The files of blobs on their way in.
    pub(super) fn partial_files(&self) -> Result<Vec<PathBuf>> {
        let dir = self.path("partial");
        match fs::read_dir(&dir) {
            Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error).at("list the partial blobs in", &dir),
        }
    }

    /// Removes partials that are older than `age` and that nobody is filling; how many bytes they had.
    ///
    /// With an `age` of zero the caller holds the garbage lock alone: a running pull wants its complete partials, too.
    pub(super) fn sweep_partials(&self, age: Duration) -> Result<u64> {
        let mut n_bytes = 0;
        for path in self.partial_files()? {
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
                if path.file_name().is_some_and(atomic::is_leftover) {
                    let _ = fs::remove_file(&path);
                }
                continue;
            }
            let Ok(meta) = fs::metadata(&path) else { continue };
            let is_old = meta.modified().is_ok_and(|at| at.elapsed().is_ok_and(|elapsed| elapsed >= age));
            let is_record = path.extension().is_some_and(|extension| extension == "json");
            if is_record {
                if !path.with_extension("").exists() {
                    let _ = fs::remove_file(&path);
                }
                continue;
            }
            let Ok(file) = File::open(&path) else { continue };
            if !is_old || FileLock::acquire_file(file, Mode::Exclusive, Duration::ZERO).is_err() {
                continue;
            }
            fs::remove_file(&path).at("remove the partial blob", &path)?;
            forget_record(&path);
            n_bytes += meta.len();
        }
        Ok(n_bytes)
    }
}

/// What waiting for a partial came to.
pub(super) enum Turn {
    /// It is ours.
    Ours(Partial),
    /// Somebody else is filling it; so many bytes are there.
    Held(u64),
    /// Somebody finished with it: look at the store again.
    Look,
}

impl Partial {
    /// Takes the partial of a blob, making it if there is none.
    pub(super) fn take(store: &Store, blob: &Descriptor) -> Result<Turn> {
        let path = store.partial_path(&blob.digest);
        super::make_private_dir(&store.path("partial"))?;
        let open = || {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
            file.at("open the partial blob", &path)
        };
        let lock = match FileLock::acquire_file(open()?, Mode::Exclusive, WAIT) {
            Ok(lock) => lock,
            Err(LockError::Held { .. }) => {
                return Ok(fs::metadata(&path).map_or(Turn::Look, |meta| Turn::Held(meta.len())));
            }
            Err(LockError::Io(error)) => return Err(error).at("lock the partial blob", &path),
        };
        let file = File::from(lock.as_fd().try_clone_to_owned().at("open the partial blob", &path)?);
        let meta = file.metadata().at("look at", &path)?;
        // It may have been moved into place, or removed, between our open and our lock.
        if fs::metadata(&path).map(|now| now.ino()).ok() != Some(meta.ino()) {
            return Ok(Turn::Look);
        }
        let len = believed(&path, meta.len());
        if len > blob.size {
            // Somebody said another size once. A file that may be in use elsewhere is not cut but replaced.
            fs::remove_file(&path).at("remove the partial blob", &path)?;
            forget_record(&path);
            return Ok(Turn::Look);
        }
        // Seen as used, so that no sweep by age takes it.
        file.set_modified(SystemTime::now()).at("set the time of", &path)?;
        Ok(Turn::Ours(Partial { path, lock, file, len }))
    }

    /// Throws it away: its bytes are not those of the blob, or nobody needs them.
    pub(super) fn discard(self) -> Result<()> {
        fs::remove_file(&self.path).at("remove the partial blob", &self.path)?;
        forget_record(&self.path);
        drop(self.lock);
        Ok(())
    }

    fn flush(&self, len: u64) -> io::Result<()> {
        self.file.sync_data()?;
        let record = FlushRecord { boot: boot_id(), flushed_bytes: len };
        let bytes = serde_json::to_vec(&record).map_err(io::Error::other)?;
        atomic::write(&record_path(&self.path), &bytes, Durability::Ordered)
    }
}

/// Forgets how much of a partial was flushed; the file itself has moved or gone.
pub(super) fn forget_record(partial: &Path) {
    // A record without its file means nothing and is swept.
    let _ = fs::remove_file(record_path(partial));
}

fn record_path(partial: &Path) -> PathBuf {
    let mut name = partial.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

/// How many bytes of the file count.
fn believed(path: &Path, len: u64) -> u64 {
    let record = fs::read(record_path(path)).ok().and_then(|bytes| serde_json::from_slice::<FlushRecord>(&bytes).ok());
    match record {
        Some(record) if record.boot == boot_id() => len,
        Some(record) => len.min(record.flushed_bytes),
        // Younger than its first flush. Written in this boot, unless its time says otherwise.
        None if is_of_this_boot(path) => len,
        None => 0,
    }
}

pub(super) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn is_of_this_boot(path: &Path) -> bool {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let Some(seconds) = uptime.split(' ').next().and_then(|text| text.parse::<f64>().ok()) else { return false };
    let Ok(modified) = fs::metadata(path).and_then(|meta| meta.modified()) else { return false };
    SystemTime::now().checked_sub(Duration::from_secs_f64(seconds)).is_some_and(|booted| modified > booted)
}

/// A blob as a stream: first what is there already, then what comes; everything hashed, everything new written to the partial.
pub(super) struct Arriving<'a> {
    pub(super) partial: &'a Partial,
    pub(super) blob: &'a Descriptor,
    origin: &'a dyn Origin,
    budget: &'a Budget,
    progress: &'a Progress,
    wire: Option<Box<dyn Read + 'a>>,
    hasher: Hasher,
    position: u64,
    flushed: u64,
    told: u64,
}

impl<'a> Arriving<'a> {
    pub(super) fn new(
        partial: &'a Partial,
        blob: &'a Descriptor,
        origin: &'a dyn Origin,
        budget: &'a Budget,
        progress: &'a Progress,
    ) -> Arriving<'a> {
        let hasher = blob.digest.hasher();
        Arriving {
            partial,
            blob,
            origin,
            budget,
            progress,
            wire: None,
            hasher,
            position: 0,
            flushed: partial.len,
            told: 0,
        }
    }

    /// What came, when all of it did.
    pub(super) fn finish(self) -> (u64, Digest) {
        (self.position, self.hasher.finish())
    }

    fn read_disk(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.partial.len - self.position).unwrap_or(usize::MAX));
        let n_read = self.partial.file.read_at(&mut buffer[..want], self.position)?;
        if n_read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the partial blob was cut"));
        }
        Ok(n_read)
    }

    fn read_wire(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stopped = |e| io::Error::other(stopped(self.blob, e));
        let wire = match &mut self.wire {
            Some(wire) => wire,
            none => none.insert(self.origin.open(self.blob, self.position).map_err(stopped)?),
        };
        let want = buffer.len().min(usize::try_from(self.blob.size - self.position).unwrap_or(usize::MAX));
        let n_read = wire.read(&mut buffer[..want]).map_err(stopped)?;
        if n_read == 0 {
            let text = format!("{} of {} bytes came", self.position, self.blob.size);
            return Err(stopped(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
        }
        self.budget.take_bytes(n_read as u64).map_err(io::Error::other)?;
        let written = self.partial.file.write_all_at(&buffer[..n_read], self.position);
        written.map_err(|e| io::Error::other(StoreError::io("write", self.partial.path.display(), e)))?;
        let len = self.position + n_read as u64;
        if len - self.flushed >= FLUSH_BYTES {
            self.partial.flush(len)?;
            self.flushed = len;
        } else if len % (FLUSH_BYTES / 4) < n_read as u64 {
            // Only a hint, so that the next flush finds little to do.
            let _ = sysfs::start_writeback(&self.partial.file);
        }
        Ok(n_read)
    }

    fn tell(&mut self) {
        if self.position - self.told < PROGRESS_BYTES && self.position < self.blob.size {
            return;
        }
        self.told = self.position;
        let verb = match () {
            () if self.position >= self.blob.size => "extracting",
            () if self.position <= self.partial.len => "verifying",
            () => "fetching",
        };
        let (part, total_bytes) = (self.blob.digest.short().to_owned(), Some(self.blob.size));
        self.progress.report(Step { part, verb, done_bytes: self.position, total_bytes });
    }
}

impl Read for Arriving<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.position >= self.blob.size {
            return Ok(0);
        }
        if self.origin.is_cancelled() {
            return Err(io::Error::other(cancelled(self.blob)));
        }
        let n_read = if self.position < self.partial.len { self.read_disk(buffer)? } else { self.read_wire(buffer)? };
        self.hasher.update(&buffer[..n_read]);
        self.position += n_read as u64;
        self.tell();
        Ok(n_read)
    }
}

/// An own error of the origin (a [`StoreError`]) stays what it is.
fn stopped(blob: &Descriptor, error: io::Error) -> StoreError {
    error.downcast::<StoreError>().unwrap_or_else(|error| {
        let short = blob.digest.short();
        StoreError::new(super::Class::Unavailable, short, format!("the transfer of layer {short} stopped"))
            .with_hint("pull again to go on from where it stopped")
            .caused_by(error)
    })
}

pub(super) fn cancelled(blob: &Descriptor) -> StoreError {
    StoreError::new(super::Class::Conflict, blob.digest.short(), "the pull was cancelled")
        .with_hint("pull again to go on from where it stopped")
}
