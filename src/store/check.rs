//! Proves that everything in a store is accounted for: every row of the index has its content, every blob and layer its digest and
//! somebody who needs it, every other file a reason to be there. Called by the embedded engine. It looks while nobody adds content; it
//! removes nothing that a container stands on.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use super::error::{IoContext, StoreError};
use super::images::Collection;
use super::index::{self, ImageRow};
use super::layers::LayerRecord;
use super::snapshot::Pins;
use super::tape::{Body, Kind, NoTap, Tape, clean_path};
use super::{Result, Store};
use crate::engine::system::{CheckProblem, CheckReport, CheckStore};
use crate::oci::image::ImageConfig;
use crate::stdx::atomic;
use crate::stdx::ids::{Digest, Hasher};
use crate::stdx::lock::{FileLock, Mode};
use crate::stdx::tree::{SCRATCH_PREFIX, TRASH_PREFIX};

/// How long those who add content are waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// What belongs into the root of a store; `index.db.damaged-*` and temporary files come beside it.
const KNOWN: &[&str] = &[
    "version",
    "blobs",
    "layers",
    "partial",
    "volumes",
    "containers",
    "names",
    "events",
    "tmp",
    "index.db",
    "index.db-wal",
    "index.db-shm",
    "index.db-journal",
    "index.lock",
    "images.json",
    "gc.lock",
    "swept",
    "boot",
    "orlop.log",
];

/// A check in progress.
struct Check<'a> {
    store: &'a Store,
    options: CheckStore,
    report: CheckReport,
    /// What cannot be trusted any more.
    bad_layers: BTreeSet<Digest>,
    bad_blobs: BTreeSet<Digest>,
    /// Images that only the dump has.
    lost_rows: BTreeSet<Digest>,
}

impl Store {
    /// Looks at everything. Blocks: with `thorough` it reads every byte of every image.
    ///
    /// # Errors
    /// [`super::Class::Conflict`] while another process adds content, or the failed call. What is found is no error.
    pub fn check(&self, options: &CheckStore) -> Result<CheckReport> {
        // What killed processes left is no fault: every open sweeps it.
        self.sweep()?;
        let alone = FileLock::acquire(&self.path("gc.lock"), Mode::Exclusive, PATIENCE)
            .map_err(|error| StoreError::lock("the store's content", error))?;
        let mut check = Check {
            store: self,
            options: *options,
            report: CheckReport::default(),
            bad_layers: BTreeSet::new(),
            bad_blobs: BTreeSet::new(),
            lost_rows: BTreeSet::new(),
        };
        let rows = check.rows()?;
        check.blobs(&rows)?;
        check.layers(&rows)?;
        let broken = check.images(&rows)?;
        check.leftovers()?;
        check.containers()?;
        check.root()?;
        if !options.repair {
            return Ok(check.report);
        }
        check.repair(&rows, &broken)?;
        let report = check.report;
        // A collection takes the lock itself.
        drop(alone);
        self.sweep()?;
        self.collect(Collection::Removal)?;
        Ok(report)
    }
}

impl Check<'_> {
    fn complain(&mut self, subject: impl ToString, message: impl Into<String>) {
        let (subject, message) = (subject.to_string(), message.into());
        // A problem of content is repaired with its image, which says so.
        self.report.problems.push(CheckProblem { subject, message, is_repaired: false });
    }

    /// What a sweep or a collection takes away.
    fn litter(&mut self, subject: impl ToString, message: impl Into<String>) {
        self.complain(subject, message);
        if let (true, Some(problem)) = (self.options.repair, self.report.problems.last_mut()) {
            problem.is_repaired = true;
        }
    }

    /// The index's rows; one that is lost or damaged is made again by reading it.
    fn rows(&mut self) -> Result<Vec<ImageRow>> {
        // In one look: no change runs now, and the one that was killed last is told by the generation.
        let (rows, generation) =
            self.store.read_index(|transaction| Ok((index::all(transaction)?, index::generation(transaction)?)))?;
        self.report.n_images = rows.len() as u64;
        let dumped = self.store.dumped_ids(generation);
        let missing: Vec<Digest> =
            dumped.iter().flatten().filter(|id| !rows.iter().any(|row| row.id == **id)).cloned().collect();
        for id in missing {
            self.complain(&id, "images.json has an image that the index has not");
            self.lost_rows.insert(id);
        }
        if dumped.is_none() && !rows.is_empty() {
            self.litter("images.json", "the second copy of the index is missing or cannot be read");
        }
        Ok(rows)
    }

    fn blobs(&mut self, rows: &[ImageRow]) -> Result<()> {
        let mut wanted: HashSet<Digest> = rows.iter().flat_map(super::images::row_blobs).collect();
        for diff_id in self.store.layer_ids()? {
            wanted.extend(self.store.layer_record(&diff_id).ok().flatten().and_then(|record| record.blob));
        }
        for (digest, path) in self.store.blob_files()? {
            self.report.n_blobs += 1;
            if !wanted.contains(&digest) {
                // What came just now and was not named yet is left to the next pull.
                if !super::images::is_spared(&path) {
                    self.litter(&digest, "a blob that no image needs");
                }
                continue;
            }
            if self.options.thorough && hash_file(&path, &digest).at("read", &path)? != digest {
                self.bad_blobs.insert(digest.clone());
                self.complain(&digest, "the bytes of the blob do not have its digest");
            }
        }
        self.strangers("blobs/sha256", |name| format!("sha256:{name}").parse::<Digest>().is_ok())?;
        self.strangers("blobs/sha512", |name| format!("sha512:{name}").parse::<Digest>().is_ok())?;
        self.strangers("layers", |name| format!("sha256:{name}").parse::<Digest>().is_ok())
    }

    fn layers(&mut self, rows: &[ImageRow]) -> Result<()> {
        let mut wanted: HashSet<Digest> =
            rows.iter().flat_map(|row| row.layers.iter().map(|layer| layer.diff_id.clone())).collect();
        for id in self.store.containers().list()? {
            let pins = Pins::read(&self.store.containers().dir(&id));
            wanted.extend(pins.ok().flatten().map_or(Vec::new(), |pins| pins.layers));
        }
        for diff_id in self.store.layer_ids()? {
            self.report.n_layers += 1;
            if !wanted.contains(&diff_id) {
                self.litter(&diff_id, "a layer that no image and no container needs");
                continue;
            }
            if let Some(why) = self.fault_of_layer(&diff_id)? {
                self.complain(&diff_id, why);
                self.bad_layers.insert(diff_id);
            }
        }
        Ok(())
    }

    fn fault_of_layer(&self, diff_id: &Digest) -> Result<Option<String>> {
        let record = match self.store.layer_record(diff_id) {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(Some("the layer has no record".to_owned())),
            Err(error) => return Ok(Some(format!("the layer's record: {}", error.chain()))),
        };
        if record.diff_id != *diff_id {
            return Ok(Some(format!("the layer's record is of {}", record.diff_id)));
        }
        if !self.store.layer_dir(diff_id).join("fs").is_dir() {
            return Ok(Some("the layer has no files".to_owned()));
        }
        if let Some(blob) = &record.blob {
            if !self.store.blob_path(blob).is_file() {
                return Ok(Some(format!("the layer's blob {blob} is missing")));
            }
            if self.bad_blobs.contains(blob) {
                return Ok(Some(format!("the layer's blob {blob} is damaged")));
            }
        }
        if !self.options.thorough {
            return Ok(None);
        }
        Ok(self.fault_of_content(&record).unwrap_or_else(|error| Some(error.chain())))
    }

    /// Reads the layer's tar, from its files or from its blob, and compares.
    fn fault_of_content(&self, record: &LayerRecord) -> Result<Option<String>> {
        let mut hasher = Hasher::sha256();
        let tar = self.store.layer_tar(record)?;
        let mut tar = Hashed { inner: tar, hasher: &mut hasher };
        // A tar that is put together from the files proves them by its digest; one that is inflated does not.
        let fault = if record.blob.is_some() { self.compare_files(record, &mut tar)? } else { None };
        io::copy(&mut tar, &mut io::sink()).map_err(|e| super::layers::read_error("the layer", e))?;
        let found = hasher.finish();
        if found != record.diff_id {
            return Ok(Some(format!("the layer's files give the digest {found}")));
        }
        Ok(fault)
    }

    /// Whether each file of the tar is in the layer's directory with its bytes. The last of several entries of one name counts.
    fn compare_files(&self, record: &LayerRecord, tar: &mut dyn Read) -> Result<Option<String>> {
        let mut tape = Tape::new(BufReader::with_capacity(256 * 1024, tar), NoTap);
        let mut files: BTreeMap<Vec<u8>, Option<Digest>> = BTreeMap::new();
        while let Some(entry) = tape.next_entry()? {
            let Some(path) = clean_path(&entry.path) else { continue };
            let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
            if name.starts_with(b".wh.") {
                continue;
            }
            let content = if entry.kind == Kind::File && entry.sparse.is_none() {
                let mut hasher = Hasher::sha256();
                let mut body = Hashed { inner: Body(&mut tape), hasher: &mut hasher };
                io::copy(&mut body, &mut io::sink()).map_err(|e| super::layers::read_error("the layer", e))?;
                Some(hasher.finish())
            } else {
                None
            };
            files.insert(path, content);
        }
        tape.drain()?;
        let root = self.store.layer_dir(&record.diff_id).join("fs");
        let opened = File::open(&root).at("open", &root)?;
        let replaced: Vec<&Vec<u8>> = files
            .iter()
            .filter(|(path, _)| ancestors(path).any(|parent| matches!(files.get(parent), Some(Some(_)))))
            .map(|(path, _)| path)
            .collect();
        for (path, content) in &files {
            let Some(wanted) = content else { continue };
            if replaced.contains(&path) {
                continue;
            }
            let how = OpenHow::new()
                .flags(OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
                .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
            let shown = String::from_utf8_lossy(path);
            let Ok(fd) = openat2(&opened, path.as_slice(), how) else {
                return Ok(Some(format!("the layer's file {shown} is missing")));
            };
            let found = hash_reader(File::from(fd), wanted).at("read", &root)?;
            if found != *wanted {
                return Ok(Some(format!("the layer's file {shown} has changed")));
            }
        }
        Ok(None)
    }

    /// Images that cannot be what they say.
    fn images(&mut self, rows: &[ImageRow]) -> Result<BTreeSet<Digest>> {
        let mut broken = BTreeSet::new();
        for row in rows {
            if let Some(why) = self.fault_of_image(row) {
                let name = row.names.first().map_or_else(|| row.id.to_string(), ToString::to_string);
                self.complain(name, why);
                broken.insert(row.id.clone());
            }
        }
        Ok(broken)
    }

    fn fault_of_image(&self, row: &ImageRow) -> Option<String> {
        let config = match self.store.read_blob(&row.id) {
            Ok(bytes) => match ImageConfig::parse(&bytes) {
                Ok(config) => config,
                Err(error) => return Some(format!("the image's config: {error}")),
            },
            Err(error) => return Some(format!("the image's config: {}", error.chain())),
        };
        if let Some(manifest) = &row.manifest
            && let Err(error) = self.store.read_blob(manifest)
        {
            return Some(format!("the image's manifest: {}", error.chain()));
        }
        if !config.rootfs.diff_ids.iter().eq(row.layers.iter().map(|layer| &layer.diff_id)) {
            return Some("the index and the image's config name different layers".to_owned());
        }
        for layer in &row.layers {
            if self.bad_layers.contains(&layer.diff_id) {
                return Some(format!("its layer {} is damaged", layer.diff_id));
            }
            if !self.store.layer_dir(&layer.diff_id).is_dir() {
                return Some(format!("its layer {} is missing", layer.diff_id));
            }
            if let Some(blob) = &layer.blob {
                let size = fs::metadata(self.store.blob_path(&blob.digest)).map(|meta| meta.len());
                if size.ok() != Some(blob.size_bytes) || self.bad_blobs.contains(&blob.digest) {
                    return Some(format!("the blob {} of a layer is missing or damaged", blob.digest));
                }
            }
        }
        None
    }

    /// What killed processes left.
    fn leftovers(&mut self) -> Result<()> {
        for path in self.store.partial_files()? {
            let is_record = path.extension().is_some_and(|extension| extension == "json");
            let name = path.file_name().unwrap_or_default().to_owned();
            match (is_record, name.as_encoded_bytes().starts_with(b".")) {
                (_, true) if atomic::is_leftover(&name) => self.litter(path.display(), "a half-written file"),
                (true, false) if !path.with_extension("").exists() => {
                    self.litter(path.display(), "a note on a partial blob that has gone");
                }
                (false, false) => self.report.n_partials += 1,
                _ => {}
            }
        }
        let tmp = self.store.tmp();
        for entry in fs::read_dir(&tmp).at("list", &tmp)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(SCRATCH_PREFIX) {
                let is_free = File::open(entry.path())
                    .ok()
                    .is_none_or(|dir| FileLock::acquire_file(dir, Mode::Exclusive, Duration::ZERO).is_ok());
                if is_free {
                    self.litter(entry.path().display(), "what a killed operation was making");
                }
            } else if name.starts_with(TRASH_PREFIX) {
                self.litter(entry.path().display(), "a removed tree that is not yet deleted");
            } else {
                self.complain(entry.path().display(), "nothing of ours");
            }
        }
        Ok(())
    }

    fn containers(&mut self) -> Result<()> {
        for id in self.store.containers().list()? {
            self.report.n_containers += 1;
            let dir = self.store.containers().dir(&id);
            match Pins::read(&dir) {
                Ok(Some(pins)) => {
                    for layer in pins.layers {
                        if !self.store.layer_dir(&layer).is_dir() {
                            self.complain(&id, format!("its layer {layer} is missing"));
                        } else if self.bad_layers.contains(&layer) {
                            self.complain(&id, format!("its layer {layer} is damaged"));
                        }
                    }
                }
                // Somebody is making it.
                Ok(None) => {}
                Err(error) => self.complain(&id, error.chain()),
            }
        }
        let names = self.store.path("names");
        for entry in fs::read_dir(&names).at("list", &names)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if self.store.containers().name_owner(&name)?.is_none() {
                self.complain(format!("name {name}"), "it belongs to a container that is no more");
                if self.options.repair && fs::remove_file(entry.path()).is_ok() {
                    self.repaired();
                }
            }
        }
        self.strangers("containers", |name| name.parse::<crate::stdx::ids::Id>().is_ok())?;
        for volume in self.store.volumes().list()? {
            self.report.n_volumes += 1;
            if !Path::new(&volume.mountpoint).is_dir() {
                self.complain(format!("volume {}", volume.name), "it has no directory");
            }
        }
        Ok(())
    }

    fn root(&mut self) -> Result<()> {
        let is_known = |name: &str| {
            KNOWN.contains(&name) || name.starts_with("index.db.damaged-") || name.starts_with("orlop.log")
        };
        self.strangers("", is_known)
    }

    /// Entries of a directory that nothing of ours has made.
    fn strangers(&mut self, dir: &str, is_known: impl Fn(&str) -> bool) -> Result<()> {
        let path = self.store.path(dir);
        for entry in fs::read_dir(&path).at("list", &path)?.flatten() {
            let name = entry.file_name();
            if is_known(&name.to_string_lossy()) {
                continue;
            }
            if atomic::is_leftover(&name) {
                self.complain(entry.path().display(), "a half-written file");
                if self.options.repair && fs::remove_file(entry.path()).is_ok() {
                    self.repaired();
                }
            } else if !name.as_encoded_bytes().starts_with(b".") {
                self.complain(entry.path().display(), "nothing of ours");
            }
        }
        Ok(())
    }

    fn repaired(&mut self) {
        if let Some(problem) = self.report.problems.last_mut() {
            problem.is_repaired = true;
        }
    }

    /// Forgets images that are damaged and that no container needs, so that they can be brought again, and writes the index anew from
    /// what is there.
    fn repair(&mut self, rows: &[ImageRow], broken: &BTreeSet<Digest>) -> Result<()> {
        let mut held: HashSet<Digest> = HashSet::new();
        for id in self.store.containers().list()? {
            let pins = Pins::read(&self.store.containers().dir(&id));
            held.extend(pins.ok().flatten().map_or(Vec::new(), |pins| pins.layers));
        }
        let lost: Vec<&ImageRow> = rows.iter().filter(|row| broken.contains(&row.id)).collect();
        let mut dumped = self.store.dumped_rows();
        dumped.retain(|row| self.lost_rows.contains(&row.id));
        self.store.change_index(|transaction| {
            for row in &lost {
                index::delete(transaction, &row.id)?;
            }
            for row in dumped.iter().filter(|row| !broken.contains(&row.id)) {
                if index::by_id(transaction, row.id.as_str())?.is_none() {
                    index::put(transaction, row)?;
                }
            }
            Ok(Ok(()))
        })?;
        let mut gone: BTreeSet<String> = BTreeSet::new();
        for row in &lost {
            gone.extend(row.names.first().map(ToString::to_string));
            gone.insert(row.id.to_string());
        }
        gone.extend(dumped.iter().map(|row| row.id.to_string()));
        let free = self.bad_layers.iter().filter(|layer| !held.contains(layer)).map(ToString::to_string);
        gone.extend(free.chain(self.bad_blobs.iter().map(ToString::to_string)));
        for problem in self.report.problems.iter_mut().filter(|problem| gone.contains(&problem.subject)) {
            problem.is_repaired = true;
        }
        Ok(())
    }
}

/// Hashes what is read through it.
struct Hashed<'a, R> {
    inner: R,
    hasher: &'a mut Hasher,
}

impl<R: Read> Read for Hashed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n_read]);
        Ok(n_read)
    }
}

fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    memchr::memchr_iter(b'/', path).map(|at| &path[..at])
}

fn hash_file(path: &Path, like: &Digest) -> io::Result<Digest> {
    hash_reader(File::open(path)?, like)
}

fn hash_reader(file: File, like: &Digest) -> io::Result<Digest> {
    let mut hasher = like.hasher();
    let mut reader = Hashed { inner: file, hasher: &mut hasher };
    let mut buffer = vec![0; 256 * 1024];
    while reader.read(&mut buffer)? > 0 {}
    Ok(hasher.finish())
}
