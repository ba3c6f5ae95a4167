//! Loads docker archives and OCI layouts, from a file or a stream. Called by the embedded engine. Every digest that the
//! archive states is verified before anything becomes visible; what is in the store already is not read again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::adding::{Adding, NewImage, mismatch};
use super::archive::{Archive, Opened, Place, Source, shown};
use super::compression::Compression;
use super::error::StoreError;
use super::images::check_platform;
use super::index::LayerRef;
use super::layers::{Fresh, Job, Workshop};
use super::{Result, Store};
use crate::engine::image::LoadedImage;
use crate::engine::progress::Progress;
use crate::oci::image::{
    ArchiveEntry, Descriptor, Document, ImageConfig, MAX_CONFIG_BYTES, MAX_INDEX_ENTRIES, MAX_MANIFEST_BYTES, Manifest,
    Platform, parse_archive_list,
};
use crate::oci::reference::Reference;
use crate::stdx::ids::Digest;

/// How deep an index may refer to indexes.
const MAX_NESTING: usize = 4;

/// What to take from an archive.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Which platform of several; `None` means this machine's.
    pub platform: Option<Platform>,
}

/// An image of the archive before its layers are there.
pub(super) struct Plan {
    shown: String,
    pub(super) config: Vec<u8>,
    manifest: Option<Vec<u8>>,
    pub(super) layers: Vec<PlannedLayer>,
    names: Vec<Reference>,
}

pub(super) struct PlannedLayer {
    pub(super) path: String,
    pub(super) diff_id: Digest,
    /// What the manifest says of the bytes as they come.
    blob: Option<Descriptor>,
}

impl Store {
    /// Adds the images of an archive.
    ///
    /// Blocks for as long as it takes; `progress` is called from several threads.
    ///
    /// # Errors
    /// `Invalid` for what is no archive or is hostile, `Corrupt` when a digest does not fit, `Full`. The store is then as
    /// it was.
    pub fn load(&self, source: Source, options: &LoadOptions, progress: &Progress) -> Result<Vec<LoadedImage>> {
        let adding = Adding::start(self)?;
        let mut fresh = Vec::new();
        let archive = match source.open()? {
            Opened::File(file) => Archive::scan(file)?,
            Opened::Stream(stream) => Archive::consume(stream, self, &adding.workshop(progress), &mut fresh)?,
        };
        let plans = plan(&archive, options)?;
        fetch(self, &archive, &plans, &adding.workshop(progress), &mut fresh)?;
        let images =
            plans.into_iter().map(|plan| assemble(self, &archive, plan, &fresh)).collect::<Result<Vec<_>>>()?;
        let wanted: BTreeSet<_> =
            images.iter().flat_map(|image| image.layers.iter().map(|l| l.diff_id.clone())).collect();
        // What a stream carried and no image names stays in the scratch directory and goes with it.
        fresh.retain(|layer| wanted.contains(&layer.diff_id));
        adding.commit(fresh, images)
    }
}

/// The images of an archive, by its own lists.
pub(super) fn plan(archive: &Archive, options: &LoadOptions) -> Result<Vec<Plan>> {
    let plans = if archive.has("manifest.json") {
        plan_docker(archive, options)?
    } else if archive.has("index.json") {
        plan_layout(archive, options)?
    } else {
        return Err(StoreError::invalid("the archive", "it has neither manifest.json nor index.json")
            .with_hint("a plain root file system is read by import, not by load"));
    };
    if plans.is_empty() {
        return Err(StoreError::invalid("the archive", "it has no image"));
    }
    Ok(plans)
}

fn plan_docker(archive: &Archive, options: &LoadOptions) -> Result<Vec<Plan>> {
    let refused = |e| StoreError::invalid("the archive", "its manifest.json is refused").caused_by(e);
    let entries = parse_archive_list(&archive.document("manifest.json", MAX_MANIFEST_BYTES)?).map_err(refused)?;
    let manifests = if archive.has("index.json") { manifests_by_config(archive)? } else { HashMap::new() };
    entries.into_iter().map(|entry| plan_entry(archive, options, entry, &manifests)).collect()
}

/// Newer docker archives are OCI layouts too: their manifests keep the image's identity in registries.
fn manifests_by_config(archive: &Archive) -> Result<HashMap<Digest, (Vec<u8>, Manifest)>> {
    let mut found = HashMap::new();
    let Ok(bytes) = archive.document("index.json", MAX_MANIFEST_BYTES) else { return Ok(found) };
    let Ok(Document::Index(index)) = Document::parse(&bytes) else { return Ok(found) };
    let mut queue: Vec<(Descriptor, usize)> = index.manifests.into_iter().map(|d| (d, 0)).collect();
    let mut n_seen = 0;
    while let Some((descriptor, depth)) = queue.pop() {
        n_seen += 1;
        // Platforms that were not saved are named and not there.
        if n_seen > MAX_INDEX_ENTRIES || depth > MAX_NESTING || !archive.has(&blob_path(&descriptor.digest)) {
            continue;
        }
        let bytes = described(archive, &descriptor, MAX_MANIFEST_BYTES)?;
        match Document::parse(&bytes) {
            Ok(Document::Manifest(manifest)) => {
                found.insert(manifest.config.digest.clone(), (bytes, manifest));
            }
            Ok(Document::Index(inner)) => queue.extend(inner.manifests.into_iter().map(|d| (d, depth + 1))),
            Err(_) => {}
        }
    }
    Ok(found)
}

fn plan_entry(
    archive: &Archive,
    options: &LoadOptions,
    entry: ArchiveEntry,
    manifests: &HashMap<Digest, (Vec<u8>, Manifest)>,
) -> Result<Plan> {
    let shown = entry.repo_tags.first().cloned().unwrap_or_else(|| entry.config.chars().take(40).collect());
    let config_bytes = archive.document(&entry.config, MAX_CONFIG_BYTES)?;
    let config = parse_config(&shown, &config_bytes)?;
    let id = Digest::of(&config_bytes);
    check_config_name(&shown, &entry.config, &id)?;
    if let Some(wanted) = &options.platform {
        check_platform(&shown, &config.platform(), wanted)?;
    }
    let diff_ids = config.rootfs.diff_ids;
    if diff_ids.len() != entry.layers.len() {
        let why = format!("its config names {} layers, manifest.json {}", diff_ids.len(), entry.layers.len());
        return Err(mismatch(&shown, why));
    }
    let manifest = manifests.get(&id).filter(|(_, manifest)| {
        let paths = manifest.layers.iter().map(|layer| blob_path(&layer.digest));
        paths.eq(entry.layers.iter().cloned())
    });
    let blob = |n: usize| manifest.map(|(_, manifest)| manifest.layers[n].clone());
    let layers = entry.layers.into_iter().zip(diff_ids).enumerate();
    let layers = layers.map(|(n, (path, diff_id))| PlannedLayer { path, diff_id, blob: blob(n) }).collect();
    let names = entry.repo_tags.iter().map(|name| parse_name(&shown, name)).collect::<Result<_>>()?;
    Ok(Plan { shown, config: config_bytes, manifest: manifest.map(|(bytes, _)| bytes.clone()), layers, names })
}

/// A config is called by its digest in every archive that docker ever wrote; one that lies is damaged.
fn check_config_name(shown: &str, path: &str, id: &Digest) -> Result<()> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let hex = name.strip_suffix(".json").unwrap_or(name);
    match format!("sha256:{hex}").parse::<Digest>() {
        Ok(said) if said != *id => Err(mismatch(shown, format!("the config {path} has the digest {id}"))),
        _ => Ok(()),
    }
}

fn plan_layout(archive: &Archive, options: &LoadOptions) -> Result<Vec<Plan>> {
    let refused = |e| StoreError::invalid("the archive", "its index.json is refused").caused_by(e);
    let Document::Index(index) =
        Document::parse(&archive.document("index.json", MAX_MANIFEST_BYTES)?).map_err(refused)?
    else {
        return Err(StoreError::invalid("the archive", "its index.json is a manifest"));
    };
    let host = options.platform.clone().unwrap_or_else(Platform::host);
    let candidates = index.manifests.iter().filter(|d| !is_attestation(d)).cloned().collect::<Vec<_>>();
    // A flat list of platforms without names is one image of many platforms.
    let is_choice =
        candidates.len() > 1 && candidates.iter().all(|d| d.platform.is_some() && layout_names(d).is_empty());
    let chosen = if is_choice { vec![choose("the archive", &candidates, &host)?] } else { candidates };
    chosen.iter().map(|descriptor| plan_descriptor(archive, descriptor, &host)).collect()
}

fn plan_descriptor(archive: &Archive, top: &Descriptor, host: &Platform) -> Result<Plan> {
    let names = layout_names(top);
    let shown = names.first().map_or_else(|| top.digest.short().to_owned(), Reference::familiar);
    let mut descriptor = top.clone();
    for _ in 0..MAX_NESTING {
        let bytes = described(archive, &descriptor, MAX_MANIFEST_BYTES)?;
        let refused = |e| StoreError::invalid(&shown, "its manifest is refused").caused_by(e);
        match Document::parse(&bytes).map_err(refused)? {
            Document::Index(index) => {
                let candidates: Vec<_> = index.manifests.into_iter().filter(|d| !is_attestation(d)).collect();
                descriptor = choose(&shown, &candidates, host)?;
            }
            Document::Manifest(manifest) => return plan_manifest(archive, shown, bytes, manifest, names, host),
        }
    }
    Err(StoreError::invalid(&shown, "its indexes are nested too deeply"))
}

fn plan_manifest(
    archive: &Archive,
    shown: String,
    bytes: Vec<u8>,
    manifest: Manifest,
    names: Vec<Reference>,
    host: &Platform,
) -> Result<Plan> {
    let config_bytes = described(archive, &manifest.config, MAX_CONFIG_BYTES)?;
    let config = parse_config(&shown, &config_bytes)?;
    check_platform(&shown, &config.platform(), host)?;
    let diff_ids = config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        let why = format!("its config names {} layers, its manifest {}", diff_ids.len(), manifest.layers.len());
        return Err(mismatch(&shown, why));
    }
    let layers = manifest.layers.into_iter().zip(diff_ids);
    let layers = layers
        .map(|(blob, diff_id)| PlannedLayer { path: blob_path(&blob.digest), diff_id, blob: Some(blob) })
        .collect();
    Ok(Plan { shown, config: config_bytes, manifest: Some(bytes), layers, names })
}

/// The manifest for a platform.
fn choose(shown: &str, candidates: &[Descriptor], host: &Platform) -> Result<Descriptor> {
    if let [only] = candidates {
        return Ok(only.clone());
    }
    let fits = |d: &&Descriptor| d.platform.as_ref().is_some_and(|platform| platform.runs_on(host));
    if let Some(descriptor) = candidates.iter().find(fits) {
        return Ok(descriptor.clone());
    }
    let there: Vec<_> = candidates.iter().filter_map(|d| d.platform.as_ref()).map(Platform::to_string).collect();
    Err(StoreError::invalid(shown, format!("it has no image for {host}"))
        .with_hint(format!("it has: {}; ask for one of them with --platform", there.join(", "))))
}

fn is_attestation(descriptor: &Descriptor) -> bool {
    descriptor.annotation("vnd.docker.reference.type").is_some()
        || descriptor.platform.as_ref().is_some_and(|platform| platform.os == "unknown")
}

/// The names an OCI layout gives: a full one by containerd's annotation, else the reference annotation when it is a name
/// and not just a version.
fn layout_names(descriptor: &Descriptor) -> Vec<Reference> {
    if let Some(Ok(name)) = descriptor.annotation("io.containerd.image.name").map(str::parse::<Reference>) {
        return vec![name];
    }
    let Some(text) = descriptor.annotation("org.opencontainers.image.ref.name") else { return Vec::new() };
    let is_version = text == "latest" || text.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit());
    let is_bare = !text.contains([':', '/']);
    text.parse().ok().filter(|_| !(is_bare && is_version)).into_iter().collect()
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

/// A document of an OCI layout, verified.
fn described(archive: &Archive, descriptor: &Descriptor, max: u64) -> Result<Vec<u8>> {
    let bytes = archive.document(&blob_path(&descriptor.digest), max)?;
    let mut hasher = descriptor.digest.hasher();
    hasher.update(&bytes);
    let digest = hasher.finish();
    if digest != descriptor.digest {
        return Err(mismatch("the archive", format!("{} has the digest {digest}", blob_path(&descriptor.digest))));
    }
    if bytes.len() as u64 != descriptor.size {
        let why = format!("{digest} has {} bytes, not {}", bytes.len(), descriptor.size);
        return Err(mismatch("the archive", why));
    }
    Ok(bytes)
}

fn parse_config(shown: &str, bytes: &[u8]) -> Result<ImageConfig> {
    ImageConfig::parse(bytes).map_err(|e| StoreError::invalid(shown, "its config is refused").caused_by(e))
}

fn parse_name(shown: &str, name: &str) -> Result<Reference> {
    name.parse().map_err(|e| StoreError::invalid(shown, "its name is refused").caused_by(Box::new(e)))
}

/// Unpacks the layers that are neither in the store nor unpacked already, on as many threads as there are processors.
fn fetch(store: &Store, archive: &Archive, plans: &[Plan], shop: &Workshop<'_>, fresh: &mut Vec<Fresh>) -> Result<()> {
    let mut seen = BTreeSet::new();
    let mut jobs = Vec::new();
    for layer in plans.iter().flat_map(|plan| &plan.layers) {
        let Some((path, place)) = archive.resolve(&layer.path) else {
            // Who wrote it may have known that the layer is here.
            if store.layer_record(&layer.diff_id)?.is_some() {
                continue;
            }
            return Err(StoreError::invalid("the archive", format!("it has no {}", layer.path))
                .with_hint("it is incomplete; write it again"));
        };
        if let Place::Range { offset, size } = place
            && seen.insert(*offset)
        {
            let form = archive.form(*offset, *size)?;
            let is_unpacked = store.layer_record(&layer.diff_id)?.is_some();
            let has_blob = layer.blob.as_ref().is_some_and(|blob| store.blob_path(&blob.digest).exists());
            if !is_unpacked || (form != Compression::Plain && !has_blob) {
                jobs.push(FetchJob { shown: shown(&path), layer, form, is_unpacked, offset: *offset, size: *size });
            }
        }
    }
    let first = fresh.len();
    let (next, stop) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let results = Mutex::new(Vec::new());
    let work = || {
        while stop.load(Ordering::Relaxed) == 0 {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(at) else { return };
            let result = job.run(archive, shop, first + at);
            stop.fetch_add(usize::from(result.is_err()), Ordering::Relaxed);
            results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        }
    };
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
    std::thread::scope(|scope| {
        for _ in 1..n_threads {
            scope.spawn(work);
        }
        work();
    });
    for result in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
        fresh.push(result?);
    }
    Ok(())
}

struct FetchJob<'a> {
    shown: String,
    layer: &'a PlannedLayer,
    form: Compression,
    is_unpacked: bool,
    offset: u64,
    size: u64,
}

impl FetchJob<'_> {
    fn run(&self, archive: &Archive, shop: &Workshop<'_>, n: usize) -> Result<Fresh> {
        let job = Job { n, shown: &self.shown, total_bytes: Some(self.size) };
        let mut input = archive.range(self.offset, self.size);
        if self.is_unpacked {
            return shop.copy_blob(&job, self.form, &self.layer.diff_id, &mut input);
        }
        let fresh = shop.unpack(&job, &mut input)?;
        if fresh.diff_id == self.layer.diff_id {
            return Ok(fresh);
        }
        let why = format!("layer {} unpacks to {}, not to {}", self.layer.path, fresh.diff_id, self.layer.diff_id);
        Err(mismatch("the archive", why))
    }
}

/// Compares what the archive says with what came.
fn assemble(store: &Store, archive: &Archive, plan: Plan, fresh: &[Fresh]) -> Result<NewImage> {
    let by_diff: HashMap<&Digest, &Fresh> = fresh.iter().map(|layer| (&layer.diff_id, layer)).collect();
    let mut layers = Vec::with_capacity(plan.layers.len());
    for layer in &plan.layers {
        let came = match archive.resolve(&layer.path) {
            Some((_, Place::Unpacked(n))) => Some(&fresh[*n]),
            _ => by_diff.get(&layer.diff_id).copied(),
        };
        let is_known = matches!(archive.resolve(&layer.path), Some((_, Place::Known(id))) if *id == layer.diff_id)
            || store.layer_record(&layer.diff_id)?.is_some();
        let blob = match came {
            Some(came) if came.diff_id != layer.diff_id => {
                let why = format!("layer {} unpacks to {}, not to {}", layer.path, came.diff_id, layer.diff_id);
                return Err(mismatch(&plan.shown, why));
            }
            Some(came) => {
                if let Some(said) = layer
                    .blob
                    .as_ref()
                    .filter(|said| said.digest.algorithm() == "sha256" && said.digest != came.came_as)
                {
                    return Err(mismatch(
                        &plan.shown,
                        format!("layer {} has the digest {}", said.digest, came.came_as),
                    ));
                }
                came.blob.as_ref().map(|(blob, _)| blob.clone())
            }
            None if archive.resolve(&layer.path).is_none() && is_known => kept_blob(store, layer)?,
            None if is_known => layer.blob.as_ref().filter(|blob| blob.digest != layer.diff_id).map(as_blob),
            None => {
                let why = format!("layer {} does not unpack to {}", layer.path, layer.diff_id);
                return Err(mismatch(&plan.shown, why));
            }
        };
        layers.push(LayerRef { diff_id: layer.diff_id.clone(), blob });
    }
    Ok(NewImage { config: plan.config, manifest: plan.manifest, layers, names: plan.names })
}

/// What is kept of a layer that the archive leaves out: its own blob, or the one that it came with before.
fn kept_blob(store: &Store, layer: &PlannedLayer) -> Result<Option<super::layers::BlobRef>> {
    let own = layer.blob.as_ref().filter(|blob| blob.digest != layer.diff_id);
    if let Some(own) = own.filter(|blob| store.blob_path(&blob.digest).exists()) {
        return Ok(Some(as_blob(own)));
    }
    let kept = store.layer_record(&layer.diff_id)?.and_then(|record| record.blob);
    kept.map(|digest| store.describe_blob(digest)).transpose()
}

fn as_blob(descriptor: &Descriptor) -> super::layers::BlobRef {
    super::layers::BlobRef {
        digest: descriptor.digest.clone(),
        size_bytes: descriptor.size,
        media_type: descriptor.media_type.clone(),
    }
}
