//! Images as the store keeps them: found by any of their names, listed, tagged, removed, accounted for. Called by the
//! embedded engine. An image is a row of the index over content that is in place; removal forgets the row first and
//! collects the content after.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use super::error::{Class, IoContext, StoreError};
use super::index::{self, ImageRow};
use super::snapshot::Pins;
use super::{Result, Store};
use crate::engine::image::{self as domain, HistoryEntry, ImageDetail, ImageSummary, PruneReport, RemovedImage};
use crate::oci::image::{ImageConfig, Platform};
use crate::oci::reference::Reference;
use crate::stdx::ids::Digest;
use crate::stdx::lock::{FileLock, Mode};
use crate::stdx::tree;

/// How long a collection waits for those who are adding content. A new container holds the lock for a millisecond, a load
/// for as long as it takes.
const COLLECT_PATIENCE: Duration = Duration::from_millis(300);
/// How long an unasked collection leaves a blob alone that no image names.
const SPARED: Duration = Duration::from_secs(24 * 3600);

/// An image, read whole.
#[derive(Debug, Clone)]
pub struct Image {
    /// Digest of its config.
    pub id: Digest,
    /// Its names in normal form.
    pub names: Vec<Reference>,
    /// Digest of the manifest it came with, if it came with one.
    pub manifest: Option<Digest>,
    /// Its config.
    pub config: ImageConfig,
    /// The config's bytes, as they came.
    pub raw_config: Vec<u8>,
    /// When this store got it.
    pub added: SystemTime,
    /// Unpacked layers, lowest first: the diffID and the bytes of its files.
    pub layers: Vec<(Digest, u64)>,
}

/// A container that was made from an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUser {
    /// The container's id.
    pub container: String,
    /// The image's id.
    pub image: String,
    /// Whether it is running now, which no force overrides.
    pub is_running: bool,
}

/// What a removal may break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Nothing: refuse when a container needs the image or several names point to it.
    Careful,
    /// Names and stopped containers' claims.
    Forced,
}

/// Which images a prune takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PruneScope {
    /// Those without a name.
    Dangling,
    /// All that no container uses.
    Unused,
}

/// What the store takes on disk, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskUse {
    /// Unpacked layers, each once.
    pub layers_bytes: u64,
    /// Compressed layers and documents.
    pub blobs_bytes: u64,
    /// Number of images.
    pub n_images: usize,
}

impl Image {
    /// Bytes of all its layers.
    pub fn size_bytes(&self) -> u64 {
        self.layers.iter().map(|(_, size)| size).sum()
    }

    /// `repository@sha256:…`: what registries called it, and for repositories where none did the manifest it came with.
    pub fn repo_digests(&self) -> Vec<String> {
        let said = |name: &&Reference| name.digest().is_some();
        let mut digests: BTreeSet<String> = self.names.iter().filter(said).map(Reference::familiar).collect();
        let known: BTreeSet<_> = self.names.iter().filter(said).map(Reference::repository).collect();
        if let Some(manifest) = &self.manifest {
            let silent = self.names.iter().filter(|name| !known.contains(&name.repository()));
            digests.extend(silent.map(|name| format!("{}@{manifest}", name.familiar_repository())));
        }
        digests.into_iter().collect()
    }

    /// Whether no tag names it.
    pub fn is_dangling(&self) -> bool {
        self.names.iter().all(|name| name.tag().is_none())
    }

    /// Its names as people write them.
    pub fn familiar_names(&self) -> Vec<String> {
        self.names.iter().filter(|name| name.tag().is_some()).map(Reference::familiar).collect()
    }

    /// When it was made, by its config.
    pub fn created(&self) -> Option<SystemTime> {
        parse_time(self.config.created.as_deref()?)
    }

    /// A row of a list.
    pub fn summary(&self) -> ImageSummary {
        ImageSummary {
            id: self.id.to_string(),
            references: self.familiar_names(),
            digests: self.repo_digests(),
            created: self.created(),
            size_bytes: self.size_bytes(),
            shared_bytes: None,
            labels: self.config.config.labels.clone(),
            n_containers: None,
        }
    }

    /// Everything inspect shows.
    pub fn detail(&self) -> ImageDetail {
        let platform = self.config.platform();
        ImageDetail {
            summary: self.summary(),
            config: self.run_defaults(),
            author: self.config.author.clone().unwrap_or_default(),
            comment: self.config.history.last().map(|step| step.comment.clone()).unwrap_or_default(),
            architecture: platform.architecture,
            variant: platform.variant,
            os: platform.os,
            layers: self.layers.iter().map(|(id, _)| id.to_string()).collect(),
            layer_sizes: self.layers.iter().map(|(_, size)| *size).collect(),
            graph: BTreeMap::new(),
            raw: None,
        }
    }

    /// What a container gets when the caller says nothing.
    pub fn run_defaults(&self) -> domain::ImageConfig {
        let own = &self.config.config;
        domain::ImageConfig {
            user: own.user.clone(),
            exposed_ports: own.exposed_ports.keys().cloned().collect(),
            env: own.env.clone(),
            entrypoint: own.entrypoint.clone(),
            cmd: own.cmd.clone(),
            volumes: own.volumes.keys().cloned().collect(),
            working_dir: own.working_dir.clone(),
            labels: own.labels.clone(),
            stop_signal: Some(own.stop_signal.clone()).filter(|signal| !signal.is_empty()),
            health: own.healthcheck.as_ref().map(health),
            shell: Some(own.shell.clone()).filter(|shell| !shell.is_empty()),
            on_build: own.on_build.clone(),
        }
    }

    /// How it was made, newest first, as docker shows it.
    pub fn history(&self) -> Vec<HistoryEntry> {
        let mut sizes = self.layers.iter().map(|(_, size)| *size);
        let mut entries: Vec<_> = self
            .config
            .history
            .iter()
            .map(|step| HistoryEntry {
                id: "<missing>".to_owned(),
                created: step.created.as_deref().and_then(parse_time),
                created_by: step.created_by.clone(),
                comment: step.comment.clone(),
                size_bytes: if step.empty_layer { 0 } else { sizes.next().unwrap_or(0) },
                tags: Vec::new(),
            })
            .collect();
        // Layers that the history does not tell of are still there.
        entries.extend(sizes.map(|size_bytes| HistoryEntry {
            id: "<missing>".to_owned(),
            size_bytes,
            ..Default::default()
        }));
        entries.reverse();
        if let Some(newest) = entries.first_mut() {
            newest.id = self.id.to_string();
            newest.tags = self.familiar_names();
        }
        entries
    }
}

impl Store {
    /// All images, newest in the store first. An image whose content is damaged is left out and logged.
    ///
    /// # Errors
    /// The failed call.
    pub fn images(&self) -> Result<Vec<Image>> {
        let rows = self.read_index(index::all)?;
        let mut sizes = HashMap::new();
        let read = |row: ImageRow| {
            let id = row.id.clone();
            self.read_image(row, &mut sizes).inspect_err(|error| tracing::error!(%id, error = error.chain())).ok()
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// The image that `name` means: a reference, a full id, the start of an id, or `repository@digest`.
    ///
    /// # Errors
    /// [`Class::NotFound`] `No such image: X`; [`Class::Invalid`] when several ids start so.
    pub fn image(&self, name: &str) -> Result<Image> {
        let row = self.find_row(name)?;
        self.read_image(row, &mut HashMap::new())
    }

    /// The id of the image that `name` means, without reading the image.
    ///
    /// # Errors
    /// As [`Store::image`].
    pub fn image_id(&self, name: &str) -> Result<Digest> {
        Ok(self.find_row(name)?.id)
    }

    pub(super) fn find_row(&self, text: &str) -> Result<ImageRow> {
        let missing = || {
            StoreError::new(Class::NotFound, text, format!("No such image: {text}"))
                .with_hint("`orlop images` lists what is here; load, import or from-host bring more")
        };
        let reference = text.parse::<Reference>().ok();
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let is_hex = !hex.is_empty() && hex.len() <= 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let found = self.read_index(|transaction| {
            if is_hex && hex.len() == 64 {
                return Ok(index::by_id(transaction, &format!("sha256:{hex}"))?.into_iter().collect());
            }
            if let Some(reference) = &reference {
                if let Some(id) = index::by_name(transaction, reference)? {
                    return Ok(index::by_id(transaction, &id)?.into_iter().collect());
                }
                if let Some(digest) = reference.digest() {
                    let named = |row: &ImageRow| {
                        row.manifest.as_ref() == Some(digest)
                            && row.names.iter().any(|name| name.repository() == reference.repository())
                    };
                    return Ok(index::all(transaction)?.into_iter().filter(named).take(1).collect());
                }
            }
            let ids = if is_hex { index::by_prefix(transaction, hex)? } else { Vec::new() };
            ids.iter().filter_map(|id| index::by_id(transaction, id).transpose()).collect::<rusqlite::Result<Vec<_>>>()
        })?;
        match <[ImageRow; 1]>::try_from(found) {
            Ok([row]) => Ok(row),
            Err(rows) if rows.is_empty() => Err(missing()),
            Err(_) => Err(StoreError::invalid(text, "several images have ids that start so")
                .with_hint("type more of the id, or the name")),
        }
    }

    fn read_image(&self, row: ImageRow, sizes: &mut HashMap<Digest, u64>) -> Result<Image> {
        let raw_config = self.read_blob(&row.id)?;
        let config = ImageConfig::parse(&raw_config)
            .map_err(|e| StoreError::corrupt(format!("image {}", row.id.short()), "its config").caused_by(e))?;
        let mut layers = Vec::with_capacity(row.layers.len());
        for layer in row.layers {
            let size = match sizes.get(&layer.diff_id) {
                Some(size) => *size,
                None => {
                    let record = self.layer_record(&layer.diff_id)?.ok_or_else(|| {
                        StoreError::corrupt(
                            format!("image {}", row.id.short()),
                            format!("layer {} is missing", layer.diff_id),
                        )
                        .with_hint("load the image again")
                    })?;
                    sizes.insert(layer.diff_id.clone(), record.size_bytes);
                    record.size_bytes
                }
            };
            layers.push((layer.diff_id, size));
        }
        let added = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(row.added_s).unwrap_or(0));
        Ok(Image { id: row.id, names: row.names, manifest: row.manifest, config, raw_config, added, layers })
    }

    /// A small blob's bytes, verified.
    pub(super) fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.blob_path(digest);
        let bytes = fs::read(&path).at("read", &path)?;
        let mut hasher = digest.hasher();
        hasher.update(&bytes);
        if hasher.finish() == *digest {
            return Ok(bytes);
        }
        Err(StoreError::corrupt(path.display(), "its bytes do not have its digest"))
    }

    /// Gives the image `name` another name, taking that from the image that had it.
    ///
    /// # Errors
    /// [`Class::NotFound`]; [`Class::Invalid`] for a name with a digest.
    pub fn tag(&self, name: &str, new: &Reference) -> Result<Digest> {
        if new.digest().is_some() {
            return Err(StoreError::invalid(new, "refusing to create a tag with a digest reference"));
        }
        let id = self.find_row(name)?.id;
        self.change_index(|transaction| {
            if index::by_id(transaction, id.as_str())?.is_none() {
                return Ok(Err(StoreError::new(Class::NotFound, name, format!("No such image: {name}"))));
            }
            index::name_it(transaction, new, &id).map(Ok)
        })?;
        Ok(id)
    }

    /// Removes a name, and the image with its last one; or, given an id, the image with all its names.
    ///
    /// # Errors
    /// [`Class::NotFound`]; [`Class::Conflict`] in docker's words when containers or other names hold it.
    pub fn remove_image(&self, name: &str, removal: Removal, users: &[ImageUser]) -> Result<Vec<RemovedImage>> {
        let row = self.find_row(name)?;
        let removed = self.change_index(|transaction| {
            let Some(row) = index::by_id(transaction, row.id.as_str())? else {
                return Ok(Err(StoreError::new(Class::NotFound, name, format!("No such image: {name}"))));
            };
            let plan = match plan_removal(name, &row, removal, users) {
                Ok(plan) => plan,
                Err(error) => return Ok(Err(error)),
            };
            for name in &plan.names {
                index::unname(transaction, name)?;
            }
            if plan.is_deleted {
                index::delete(transaction, &row.id)?;
            }
            let untagged = plan.names.iter().map(|name| RemovedImage::Untagged(name.familiar()));
            let deleted = plan.is_deleted.then(|| RemovedImage::Deleted(row.id.to_string()));
            Ok(Ok(untagged.chain(deleted).collect::<Vec<_>>()))
        })?;
        let mut removed = removed;
        for layer in self.collect(Collection::Removal)?.layers {
            removed.push(RemovedImage::Deleted(layer.to_string()));
        }
        Ok(removed)
    }

    /// Removes images that nothing needs.
    ///
    /// # Errors
    /// The failed call.
    pub fn prune_images(&self, scope: PruneScope, users: &[ImageUser]) -> Result<PruneReport> {
        let removed = self.change_index(|transaction| {
            let mut removed = Vec::new();
            for row in index::all(transaction)? {
                let is_used = users.iter().any(|user| user.image == row.id.as_str());
                let has_tag = row.names.iter().any(|name| name.tag().is_some());
                if is_used || (scope == PruneScope::Dangling && has_tag) {
                    continue;
                }
                index::delete(transaction, &row.id)?;
                removed.extend(row.names.iter().map(Reference::familiar));
                removed.push(row.id.to_string());
            }
            Ok(Ok(removed))
        })?;
        Ok(PruneReport { removed, reclaimed_bytes: self.collect(Collection::Prune)?.n_bytes })
    }

    /// What images take on disk.
    ///
    /// # Errors
    /// The failed call.
    pub fn disk_use(&self) -> Result<DiskUse> {
        let rows = self.read_index(index::all)?;
        let mut use_ = DiskUse { n_images: rows.len(), ..DiskUse::default() };
        for diff_id in self.layer_ids()? {
            use_.layers_bytes += self.layer_record(&diff_id).ok().flatten().map_or(0, |record| record.size_bytes);
        }
        for (_, path) in self.blob_files()? {
            use_.blobs_bytes += fs::metadata(&path).map_or(0, |meta| meta.len());
        }
        Ok(use_)
    }

    /// For each image (by id) the bytes that other images share with it.
    ///
    /// # Errors
    /// The failed call.
    pub fn shared_bytes(&self) -> Result<HashMap<Digest, u64>> {
        let images = self.images()?;
        let mut n_users: HashMap<&Digest, usize> = HashMap::new();
        for image in &images {
            for diff_id in image.layers.iter().map(|(id, _)| id).collect::<HashSet<_>>() {
                *n_users.entry(diff_id).or_default() += 1;
            }
        }
        let shared = |image: &Image| -> u64 {
            image.layers.iter().filter(|(id, _)| n_users.get(id).is_some_and(|n| *n > 1)).map(|(_, size)| size).sum()
        };
        Ok(images.iter().map(|image| (image.id.clone(), shared(image))).collect())
    }

    /// Held by whoever adds content, from its first look at what is there until its commit.
    pub(super) fn keep_content(&self) -> Result<FileLock> {
        let path = self.path("gc.lock");
        FileLock::acquire(&path, Mode::Shared, Duration::from_secs(60))
            .map_err(|e| StoreError::lock("the store's content", e))
    }

    /// Removes content that no image and no container names. When another process is adding content nothing happens:
    /// the next sweep or removal collects.
    pub(super) fn collect(&self, occasion: Collection) -> Result<Collected> {
        let Ok(alone) = FileLock::acquire(&self.path("gc.lock"), Mode::Exclusive, COLLECT_PATIENCE) else {
            return Ok(Collected::default());
        };
        let mut graves = Vec::new();
        let rows = self.read_index(index::all)?;
        let mut layers: HashSet<Digest> =
            rows.iter().flat_map(|r| r.layers.iter().map(|l| l.diff_id.clone())).collect();
        for id in self.containers().list()? {
            layers.extend(Pins::read(&self.containers().dir(&id))?.map_or(Vec::new(), |pins| pins.layers));
        }
        let mut collected = Collected::default();
        let mut blobs: HashSet<Digest> = rows.iter().flat_map(row_blobs).collect();
        for diff_id in self.layer_ids()? {
            let record = self.layer_record(&diff_id).ok().flatten();
            if layers.contains(&diff_id) {
                blobs.extend(record.and_then(|record| record.blob));
                continue;
            }
            let dir = self.layer_dir(&diff_id);
            graves.push(tree::bury(&dir, &self.tmp()).at("remove the layer", &dir)?);
            self.forget_unflushed([&diff_id].into_iter())?;
            collected.layers.push(diff_id);
        }
        let spared = |path: &Path| occasion == Collection::Sweep && is_spared(path);
        if occasion == Collection::Prune {
            collected.n_bytes += self.sweep_partials(Duration::ZERO)?;
        }
        for (digest, path) in self.blob_files()? {
            if !blobs.contains(&digest) && !spared(&path) {
                collected.n_bytes += fs::metadata(&path).map_or(0, |meta| meta.blocks() * 512);
                fs::remove_file(&path).at("remove the blob", &path)?;
            }
        }
        // The long part: nobody needs to wait for it.
        drop(alone);
        if occasion == Collection::Prune {
            // What a prune says that it freed is what the disk gets back.
            let bytes = graves.iter().map(|grave| tree::allocated_bytes(grave).unwrap_or(0));
            collected.n_bytes += bytes.sum::<u64>();
        }
        remove_graves(&graves)?;
        Ok(collected)
    }

    /// The unpacked layers that are in place.
    pub(super) fn layer_ids(&self) -> Result<Vec<Digest>> {
        let dir = self.path("layers");
        let entries = fs::read_dir(&dir).at("list the layers in", &dir)?;
        Ok(entries.filter_map(|e| format!("sha256:{}", e.ok()?.file_name().to_str()?).parse().ok()).collect())
    }

    /// The blobs that are in place.
    pub(super) fn blob_files(&self) -> Result<Vec<(Digest, PathBuf)>> {
        let mut files = Vec::new();
        for algorithm in ["sha256", "sha512"] {
            let dir = self.path("blobs").join(algorithm);
            for entry in fs::read_dir(&dir).at("list the blobs in", &dir)?.flatten() {
                if let Some(digest) =
                    entry.file_name().to_str().and_then(|hex| format!("{algorithm}:{hex}").parse().ok())
                {
                    files.push((digest, entry.path()));
                }
            }
        }
        Ok(files)
    }
}

/// Why content is collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Collection {
    /// Nobody asked: blobs that came just now stay, because the next try of a killed pull wants them.
    Sweep,
    /// An image was removed.
    Removal,
    /// Somebody wants the room: partial blobs go as well.
    Prune,
}

/// What a collection removed.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) layers: Vec<Digest>,
    pub(super) n_bytes: u64,
}

/// Whether a blob that no image names came so lately that an unasked collection leaves it alone.
pub(super) fn is_spared(path: &Path) -> bool {
    let age = fs::metadata(path).and_then(|meta| meta.modified()).map(|at| at.elapsed().unwrap_or_default());
    age.is_ok_and(|age| age < SPARED)
}

/// Every blob that an image needs.
pub(super) fn row_blobs(row: &ImageRow) -> Vec<Digest> {
    let layers = row.layers.iter().filter_map(|layer| Some(layer.blob.as_ref()?.digest.clone()));
    layers.chain([row.id.clone()]).chain(row.manifest.clone()).collect()
}

struct RemovalPlan {
    names: Vec<Reference>,
    is_deleted: bool,
}

/// Docker's rules for what a name or an id removes, and its words when it refuses.
fn plan_removal(text: &str, row: &ImageRow, removal: Removal, users: &[ImageUser]) -> Result<RemovalPlan> {
    let is_forced = removal == Removal::Forced;
    let short = row.id.short();
    let user = |running| users.iter().find(|u| u.image == row.id.as_str() && u.is_running == running);
    let name = text.parse::<Reference>().ok().filter(|name| row.names.contains(name));
    if let Some(name) = name {
        // With the last tag of a repository go the digests that it was known by there.
        let is_same = |other: &&Reference| other.repository() == name.repository();
        let tags = |other: &&Reference| other.tag().is_some() && **other != name;
        let keeps_digests = name.tag().is_none() || row.names.iter().filter(is_same).any(|other| tags(&other));
        let goes = |other: &&Reference| **other == name || (!keeps_digests && is_same(other));
        let names: Vec<_> = row.names.iter().filter(goes).cloned().collect();
        if names.len() < row.names.len() {
            return Ok(RemovalPlan { names, is_deleted: false });
        }
        let Some(user) = user(true).or(user(false)) else {
            return Ok(RemovalPlan { names, is_deleted: true });
        };
        if is_forced {
            return Ok(RemovalPlan { names, is_deleted: false });
        }
        let message = format!(
            "conflict: unable to remove repository reference \"{text}\" (must force) - container {} is using its \
             referenced image {short}",
            clip(&user.container)
        );
        return Err(StoreError::new(Class::Conflict, text, message).with_hint("remove the container first, or force"));
    }
    let conflict = |why: String, how: &str| {
        let message = format!("conflict: unable to delete {short} ({how}) - {why}");
        Err(StoreError::new(Class::Conflict, text, message))
    };
    if let Some(user) = user(true) {
        let why = format!("image is being used by running container {}", clip(&user.container));
        return conflict(why, "cannot be forced");
    }
    if let Some(user) = user(false).filter(|_| !is_forced) {
        let why = format!("image is being used by stopped container {}", clip(&user.container));
        return conflict(why, "must be forced");
    }
    let n_repositories = row.names.iter().map(Reference::repository).collect::<HashSet<_>>().len();
    if n_repositories > 1 && !is_forced {
        return conflict("image is referenced in multiple repositories".to_owned(), "must be forced");
    }
    Ok(RemovalPlan { names: row.names.clone(), is_deleted: true })
}

fn clip(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn health(check: &crate::oci::image::Healthcheck) -> crate::engine::spec::HealthCheck {
    // Zero, and anything negative, means the default.
    let span = |ns: i64| u64::try_from(ns).ok().filter(|ns| *ns > 0).map(Duration::from_nanos);
    crate::engine::spec::HealthCheck {
        test: check.test.clone(),
        interval: span(check.interval),
        timeout: span(check.timeout),
        start_period: span(check.start_period),
        start_interval: span(check.start_interval),
        retries: u32::try_from(check.retries).ok().filter(|n| *n > 0),
    }
}

fn parse_time(text: &str) -> Option<SystemTime> {
    text.parse::<jiff::Timestamp>().ok().map(SystemTime::from)
}

/// An error when an image is for another machine.
pub(super) fn check_platform(shown: &str, platform: &Platform, wanted: &Platform) -> Result<()> {
    if platform.runs_on(wanted) {
        return Ok(());
    }
    Err(StoreError::invalid(shown, format!("the image is for {platform}, not {wanted}"))
        .with_hint(format!("ask for it with --platform {platform} if that is meant")))
}

/// Deletes directory trees, as many at once as there are processors. What is left when one fails, the next sweep deletes.
fn remove_graves(graves: &[PathBuf]) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some(grave) = graves.get(next.fetch_add(1, Ordering::Relaxed)) {
            tree::remove_all(grave).at("remove the layer", grave)?;
        }
        Ok(())
    };
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from).min(graves.len());
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..n_threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let panicked = || StoreError::new(Class::Internal, "the store", "the removal of layers panicked");
        others.into_iter().map(|it| it.join().unwrap_or_else(|_| Err(panicked()))).fold(own, Result::and)
    })
}
