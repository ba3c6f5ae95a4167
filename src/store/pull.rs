//! Takes in an image whose layers come over a wire: what is here already is not fetched, the rest flows through one pipeline each
//! (fetch, inflate, hash, unpack), several at once. Called by the embedded engine with an [`Origin`] that it made. The image is
//! there whole or not at all; what came of its blobs stays for the next try.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::adding::{Adding, NewImage, mismatch};
use super::compression::Compression;
use super::error::{Class, IoContext, StoreError};
use super::images::Collection;
use super::index::{self, LayerRef};
use super::layers::{BlobRef, Fresh, Job, Workshop};
use super::partial::{self, Arriving, Origin, Partial, Turn};
use super::{Result, Store};
use crate::engine::image::LoadedImage;
use crate::engine::progress::{Progress, Step};
use crate::oci::image::{Descriptor, Document, ImageConfig, Manifest};
use crate::oci::reference::Reference;
use crate::stdx::ids::Digest;

/// An image as its registry describes it; the documents are checked against their digests before they are used.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The name people gave it.
    pub shown: String,
    /// What it will be called: tags, and `repository@digest`.
    pub names: Vec<Reference>,
    /// The manifest of one platform, byte for byte.
    pub manifest: Vec<u8>,
    /// The config that it names.
    pub config: Vec<u8>,
}

/// What came of a pull.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The image.
    pub image: LoadedImage,
    /// Nothing had to be fetched and no name was new.
    pub was_up_to_date: bool,
}

/// One layer of the image that is not unpacked here.
struct Missing<'a> {
    blob: &'a Descriptor,
    diff_id: &'a Digest,
}

/// What the threads of a pull share.
struct Crew<'a> {
    store: &'a Store,
    shop: Workshop<'a>,
    origin: &'a dyn Origin,
    stop: AtomicBool,
}

/// What one look at a layer came to.
enum Look {
    /// It is there: made by us, or by another process meanwhile.
    Done(Option<Box<Fresh>>),
    /// Another pull has it in hand.
    Held,
}

impl Store {
    /// Brings the image in, at most `n_at_once` layers at a time.
    ///
    /// Blocks for as long as it takes. `progress` has the short digest of each layer's blob as part and, in this order,
    /// `present`, or `waiting`, `verifying`, `fetching`, `extracting` and `done` as verb.
    ///
    /// # Errors
    /// `Invalid` for documents that are no image, `Corrupt` when bytes do not have their digest, `Full`, or what the origin
    /// said. The store then has the images it had, and the bytes that came.
    pub fn pull(&self, wanted: Wanted, origin: &dyn Origin, n_at_once: usize, progress: &Progress) -> Result<Pulled> {
        let pulled = self.pull_all(wanted, origin, n_at_once, progress);
        if pulled.as_ref().is_err_and(|error| error.class == Class::Full) {
            // Layers that were ready are of no use on a full disk; what came of the blobs stays.
            let _ = self.collect(Collection::Sweep);
        }
        pulled
    }

    fn pull_all(&self, wanted: Wanted, origin: &dyn Origin, n_at_once: usize, progress: &Progress) -> Result<Pulled> {
        let adding = Adding::start(self)?;
        let (manifest, diff_ids) = read_documents(&wanted)?;
        let layers: Vec<Missing<'_>> =
            manifest.layers.iter().zip(&diff_ids).map(|(blob, diff_id)| Missing { blob, diff_id }).collect();
        let missing = self.missing_layers(&layers, progress)?;
        let was_here = missing.is_empty() && self.has_names(&wanted)?;
        let crew = Crew { store: self, shop: adding.workshop(progress), origin, stop: AtomicBool::new(false) };
        let fresh = crew.bring(&missing, n_at_once)?;
        let refs = layers.iter().map(|layer| self.layer_ref(layer, &fresh)).collect::<Result<Vec<_>>>()?;
        let image =
            NewImage { config: wanted.config, manifest: Some(wanted.manifest), layers: refs, names: wanted.names };
        for layer in &missing {
            let (part, size) = (layer.blob.digest.short().to_owned(), layer.blob.size);
            progress.report(Step { part, verb: "done", done_bytes: size, total_bytes: Some(size) });
        }
        let image = adding.commit(fresh, vec![image])?.pop();
        let image =
            image.ok_or_else(|| StoreError::new(Class::Internal, wanted.shown, "the image was not committed"))?;
        Ok(Pulled { image, was_up_to_date: was_here })
    }

    /// A document (manifest or config) that is here already, verified.
    pub fn document(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.read_blob(digest).ok()
    }

    /// Each layer once, largest first, so that the last one to start is a short one.
    fn missing_layers<'a>(&self, layers: &[Missing<'a>], progress: &Progress) -> Result<Vec<Missing<'a>>> {
        let mut seen = BTreeSet::new();
        let mut missing = Vec::new();
        for layer in layers {
            let is_here = self.layer_record(layer.diff_id)?.is_some();
            let (part, size) = (layer.blob.digest.short().to_owned(), layer.blob.size);
            let verb = if is_here { "present" } else { "waiting" };
            progress.report(Step { part, verb, done_bytes: if is_here { size } else { 0 }, total_bytes: Some(size) });
            if !is_here && seen.insert(layer.diff_id) {
                missing.push(Missing { blob: layer.blob, diff_id: layer.diff_id });
            }
        }
        missing.sort_by_key(|layer| std::cmp::Reverse(layer.blob.size));
        Ok(missing)
    }

    fn has_names(&self, wanted: &Wanted) -> Result<bool> {
        let id = Digest::of(&wanted.config);
        self.read_index(|transaction| {
            let row = index::by_id(transaction, id.as_str())?;
            Ok(row.is_some_and(|row| wanted.names.iter().all(|name| row.names.contains(name))))
        })
    }

    /// A layer as the index names it: with the blob that is kept of it, which may be another one than this manifest's when the
    /// layer was here before.
    fn layer_ref(&self, layer: &Missing<'_>, fresh: &[Fresh]) -> Result<LayerRef> {
        let diff_id = layer.diff_id.clone();
        let own = BlobRef {
            digest: layer.blob.digest.clone(),
            size_bytes: layer.blob.size,
            media_type: layer.blob.media_type.clone(),
        };
        let is_coming = fresh.iter().any(|made| made.blob.as_ref().is_some_and(|(blob, _)| blob.digest == own.digest));
        if is_coming || self.blob_path(&own.digest).exists() {
            return Ok(LayerRef { diff_id, blob: Some(own) });
        }
        let kept = self.layer_record(&diff_id)?.and_then(|record| record.blob);
        let blob = kept.map(|digest| self.describe_blob(digest)).transpose()?;
        Ok(LayerRef { diff_id, blob })
    }

    /// A kept blob as the index names it.
    pub(super) fn describe_blob(&self, digest: Digest) -> Result<BlobRef> {
        let path = self.blob_path(&digest);
        let mut file = File::open(&path).at("open", &path)?;
        let size_bytes = file.metadata().at("look at", &path)?.len();
        let mut head = Vec::new();
        (&mut file).take(6).read_to_end(&mut head).at("read", &path)?;
        let media_type = Compression::detect(&head).layer_media_type().to_owned();
        Ok(BlobRef { digest, size_bytes, media_type })
    }
}

/// Manifest and config, checked against each other.
fn read_documents(wanted: &Wanted) -> Result<(Manifest, Vec<Digest>)> {
    let shown = &wanted.shown;
    let refused = |e| StoreError::invalid(shown, "its manifest is refused").caused_by(e);
    let Document::Manifest(manifest) = Document::parse(&wanted.manifest).map_err(refused)? else {
        return Err(StoreError::invalid(shown, "its manifest is an index"));
    };
    let mut hasher = manifest.config.digest.hasher();
    hasher.update(&wanted.config);
    let digest = hasher.finish();
    if digest != manifest.config.digest {
        return Err(mismatch(shown, format!("its config has the digest {digest}, not {}", manifest.config.digest)));
    }
    let config = ImageConfig::parse(&wanted.config)
        .map_err(|e| StoreError::invalid(shown, "its config is refused").caused_by(e))?;
    let diff_ids = config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        let why = format!("its config names {} layers, its manifest {}", diff_ids.len(), manifest.layers.len());
        return Err(mismatch(shown, why));
    }
    Ok((manifest, diff_ids))
}

impl Crew<'_> {
    /// Fetches and unpacks all of them; what another pull has in hand comes last. The first failure ends the others at their next read.
    fn bring(&self, missing: &[Missing<'_>], n_at_once: usize) -> Result<Vec<Fresh>> {
        let queue: Mutex<VecDeque<(usize, &Missing<'_>)>> = Mutex::new(missing.iter().enumerate().collect());
        let results = Mutex::new(Vec::new());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let work = || {
            while !self.is_cancelled()
                && let Some((at, layer)) = next()
            {
                let result = match self.look_after(layer, at, missing.len()) {
                    Ok(Look::Held) => {
                        queue.lock().unwrap_or_else(PoisonError::into_inner).push_back((at, layer));
                        continue;
                    }
                    Ok(Look::Done(fresh)) => Ok(fresh.map(|fresh| *fresh)),
                    Err(error) => Err(error),
                };
                if result.is_err() {
                    self.stop.store(true, Ordering::Relaxed);
                }
                results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..n_at_once.min(missing.len()) {
                scope.spawn(work);
            }
            work();
        });
        let mut fresh = Vec::new();
        for result in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
            fresh.extend(result?);
        }
        match missing.first() {
            Some(layer) if self.is_cancelled() => Err(partial::cancelled(layer.blob)),
            _ => Ok(fresh),
        }
    }

    /// Brings one layer, unless another pull has it in hand.
    fn look_after(&self, layer: &Missing<'_>, at: usize, n_layers: usize) -> Result<Look> {
        // A partial whose start was damaged before is thrown away and fetched anew, once.
        let mut may_retry = true;
        let mut n_tries = 0;
        loop {
            if self.store.layer_record(layer.diff_id)?.is_some() {
                return Ok(Look::Done(None));
            }
            let short = layer.blob.digest.short();
            let job = Job { n: at + n_tries * n_layers, shown: short, total_bytes: Some(layer.blob.size) };
            n_tries += 1;
            let path = self.store.blob_path(&layer.blob.digest);
            if path.exists() {
                let file = File::open(&path).at("open", &path)?;
                let unpacked = self.shop.unpack_kept(&job, &mut { file }, layer.blob);
                let mut fresh = match unpacked.and_then(|fresh| checked(layer, fresh)) {
                    Err(error) if may_retry && matches!(error.class, Class::Corrupt | Class::Invalid) => {
                        // A crash may have left it empty, or the disk is at fault: the registry's bytes decide.
                        fs::remove_file(&path).at("remove the blob", &path)?;
                        may_retry = false;
                        continue;
                    }
                    unpacked => unpacked?,
                };
                if let Some((_, place)) = &mut fresh.blob {
                    *place = path;
                }
                self.store.place_early(&mut fresh)?;
                return Ok(Look::Done(Some(Box::new(fresh))));
            }
            let partial = match Partial::take(self.store, layer.blob)? {
                Turn::Ours(partial) => partial,
                Turn::Held(done_bytes) => {
                    let (part, total_bytes) = (short.to_owned(), Some(layer.blob.size));
                    self.shop.progress.report(Step { part, verb: "waiting", done_bytes, total_bytes });
                    return Ok(Look::Held);
                }
                Turn::Look if self.is_cancelled() => return Err(partial::cancelled(layer.blob)),
                Turn::Look => continue,
            };
            // Whoever had it in hand may have finished between our look and our turn.
            if path.exists() || self.store.layer_record(layer.diff_id)?.is_some() {
                partial.discard()?;
                continue;
            }
            match self.arrive(layer, &job, &partial) {
                Ok(mut fresh) => {
                    // Before the partial is let go of: whoever waits for it finds the layer.
                    self.store.place_early(&mut fresh)?;
                    return Ok(Look::Done(Some(Box::new(fresh))));
                }
                Err(error) if !matches!(error.class, Class::Corrupt | Class::Invalid) => return Err(error),
                Err(error) => {
                    let was_resumed = partial.len > 0;
                    partial.discard()?;
                    if !(was_resumed && may_retry) {
                        return Err(error);
                    }
                    may_retry = false;
                }
            }
        }
    }

    /// Unpacks while it arrives. The digest is compared when all came, whatever the unpacking said: wrong bytes are the first cause.
    fn arrive(&self, layer: &Missing<'_>, job: &Job<'_>, partial: &Partial) -> Result<Fresh> {
        let mut arriving = Arriving::new(partial, layer.blob, self, self.shop.budget, self.shop.progress);
        let unpacked = self.shop.unpack_kept(job, &mut arriving, layer.blob);
        if let Err(error) = &unpacked
            && !matches!(error.class, Class::Corrupt | Class::Invalid)
        {
            return unpacked;
        }
        if let Err(error) = std::io::copy(&mut arriving, &mut std::io::sink()) {
            return Err(super::layers::read_error(job.shown, error));
        }
        let (n_bytes, digest) = arriving.finish();
        if digest != layer.blob.digest || n_bytes != layer.blob.size {
            let why = format!("{n_bytes} bytes came with the digest {digest}");
            return Err(mismatch(&format!("layer {}", layer.blob.digest), why));
        }
        let mut fresh = checked(layer, unpacked?)?;
        match &mut fresh.blob {
            Some((_, path)) => path.clone_from(&partial.path),
            None => fresh.leftover = Some(partial.path.clone()),
        }
        Ok(fresh)
    }
}

impl Origin for Crew<'_> {
    fn open(&self, blob: &Descriptor, offset: u64) -> std::io::Result<Box<dyn Read + '_>> {
        self.origin.open(blob, offset)
    }

    fn is_cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.origin.is_cancelled()
    }
}

fn checked(layer: &Missing<'_>, fresh: Fresh) -> Result<Fresh> {
    if fresh.diff_id == *layer.diff_id {
        return Ok(fresh);
    }
    let why = format!("it unpacks to {}, not to {}", fresh.diff_id, layer.diff_id);
    Err(mismatch(&format!("layer {}", layer.blob.digest), why))
}

#[cfg(test)]
mod tests;
