//! What a push needs of an image: the manifest that names what is kept, and the bytes of each blob from any offset. Called by the
//! embedded engine. While a [`Pushable`] lives nothing of it is collected.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::error::{Class, IoContext, StoreError};
use super::index::{self, ImageRow, LayerRef};
use super::layers::BlobRef;
use super::save::{self, Described};
use super::{Result, Store};
use crate::engine::progress::Progress;
use crate::oci::image::Descriptor;
use crate::oci::reference::Reference;
use crate::stdx::ids::Digest;
use crate::stdx::lock::FileLock;
use crate::stdx::tree::ScratchDir;

/// An image ready to be sent.
#[derive(Debug)]
pub struct Pushable {
    /// Digest of its config.
    pub id: Digest,
    pub manifest: Vec<u8>,
    pub media_type: String,
    pub config: Descriptor,
    /// Lowest first; a blob that is there twice is listed twice.
    pub layers: Vec<PushLayer>,
    _keep: FileLock,
    /// What was compressed for this push.
    _scratch: ScratchDir,
}

/// One layer of it.
#[derive(Debug, Clone)]
pub struct PushLayer {
    /// What people know it by.
    pub diff_id: Digest,
    pub blob: Descriptor,
    /// `domain/path` of repositories that this blob is known from.
    pub seen_in: Vec<Reference>,
    source: Source,
}

/// Where a layer's bytes are.
#[derive(Debug, Clone)]
enum Source {
    /// They are kept as they came.
    Kept,
    /// They are put together from its files.
    Tar,
    /// They are compressed into this file, now or when they are first asked for.
    Packed(PathBuf),
}

impl Store {
    /// The image that a name means, ready to be sent. Layers without a compressed form get one, which takes its time; `progress` has a layer's
    /// short diffID as part and `compressing` as verb.
    ///
    /// An image that came from a registry with plain layers is sent with them, so that it keeps its digest.
    ///
    /// # Errors
    /// [`Class::NotFound`] in docker's words; [`Class::Corrupt`]; [`Class::Full`].
    pub fn pushable(&self, name: &Reference, progress: &Progress) -> Result<Pushable> {
        let keep = self.keep_content()?;
        let row = self.find_row(&name.to_string()).map_err(|error| match error.class {
            Class::NotFound => {
                let familiar = name.familiar();
                StoreError::new(
                    Class::NotFound,
                    &familiar,
                    format!("An image does not exist locally with the tag: {familiar}"),
                )
            }
            _ => error,
        })?;
        let tmp = self.tmp();
        let scratch = ScratchDir::new(&tmp).at("make a directory in", &tmp)?;
        let config = self.read_blob(&row.id)?;
        let described = self.describe_layers(&row, scratch.path(), progress)?;
        let manifest = self.manifest_for(&row, config.len(), &described)?;
        let config = self.config_descriptor(&row, config.len() as u64, &manifest);
        let others = self.read_index(index::all)?;
        let layers = row.layers.iter().zip(described);
        let layers = layers.map(|(layer, (digest, size, media_type))| {
            let diff_id = layer.diff_id.clone();
            let source = match &layer.blob {
                Some(_) => Source::Kept,
                None if digest == diff_id => Source::Tar,
                None => Source::Packed(scratch.path().join(diff_id.hex())),
            };
            PushLayer {
                diff_id,
                seen_in: seen_in(&others, &digest),
                blob: descriptor(digest, size, media_type),
                source,
            }
        });
        let layers = layers.collect();
        let media_type = save::media_type(&manifest);
        Ok(Pushable { id: row.id, manifest, media_type, config, layers, _keep: keep, _scratch: scratch })
    }

    /// Each layer as it will be sent.
    fn describe_layers(&self, row: &ImageRow, dir: &Path, progress: &Progress) -> Result<Vec<Described>> {
        let mut described = row.layers.iter().map(|layer| self.describe(layer)).collect::<Result<Vec<_>>>()?;
        let mut plain: Vec<Digest> =
            row.layers.iter().filter(|layer| layer.blob.is_none()).map(|layer| layer.diff_id.clone()).collect();
        plain.sort();
        plain.dedup();
        if plain.is_empty() || self.is_known_plain(row, &described, &plain)? {
            return Ok(described);
        }
        let packed = self.packed(&plain, dir, progress)?;
        for (layer, described) in row.layers.iter().zip(&mut described).filter(|(layer, _)| layer.blob.is_none()) {
            let at = plain.binary_search(&layer.diff_id).unwrap_or_default();
            let BlobRef { digest, size_bytes, media_type } = packed[at].clone();
            *described = (digest, size_bytes, media_type);
        }
        Ok(described)
    }

    /// Whether a registry has the image with plain layers: it came with a manifest that names them and is known there by a digest, which is
    /// not that of an earlier push of ours.
    fn is_known_plain(&self, row: &ImageRow, described: &[Described], plain: &[Digest]) -> Result<bool> {
        if row.manifest.is_none() || row.names.iter().all(|name| name.digest().is_none()) {
            return Ok(false);
        }
        let made = self.manifest_for(row, 0, described)?;
        let mut was_packed = false;
        for diff_id in plain {
            was_packed |= self.present_layer(diff_id)?.packed.is_some();
        }
        Ok(!was_packed && row.manifest.as_ref().is_some_and(|digest| *digest == Digest::of(&made)))
    }

    /// The names of a repository that have a tag.
    ///
    /// # Errors
    /// The failed call.
    pub fn tags_of(&self, repository: &Reference) -> Result<Vec<Reference>> {
        let rows = self.read_index(index::all)?;
        let names = rows.into_iter().flat_map(|row| row.names);
        let mut tags: Vec<_> =
            names.filter(|name| name.tag().is_some() && name.repository() == repository.repository()).collect();
        tags.sort();
        Ok(tags)
    }

    /// Notes what a registry calls the image.
    ///
    /// # Errors
    /// The failed call.
    pub fn note_digest(&self, id: &Digest, name: &Reference) -> Result<()> {
        self.change_index(|transaction| {
            // It may have been removed while it was sent.
            if index::by_id(transaction, id.as_str())?.is_some() {
                index::name_it(transaction, name, id)?;
            }
            Ok(Ok(()))
        })
    }

    /// A layer's blob from `offset` on. What has to be put together again is read from its start and not shown before the offset.
    ///
    /// # Errors
    /// The failed call.
    pub fn open_layer(&self, layer: &PushLayer, offset: u64) -> Result<Box<dyn Read>> {
        match &layer.source {
            Source::Kept => Ok(Box::new(self.open_blob(&layer.blob.digest, offset)?)),
            Source::Packed(path) => {
                let mut file = self.open_packed(&layer.diff_id, &layer.blob.digest, path)?;
                file.seek(SeekFrom::Start(offset)).at("read", path)?;
                Ok(Box::new(file))
            }
            Source::Tar => {
                let mut tar = self.layer_tar(&self.present_layer(&layer.diff_id)?)?;
                let n_skipped = io::copy(&mut (&mut tar).take(offset), &mut io::sink());
                n_skipped.map_err(|e| super::layers::read_error("the layer", e))?;
                Ok(tar)
            }
        }
    }

    /// A blob's file from `offset` on.
    ///
    /// # Errors
    /// The failed call.
    pub fn open_blob(&self, digest: &Digest, offset: u64) -> Result<File> {
        let path = self.blob_path(digest);
        let mut file = File::open(&path).at("open", &path)?;
        file.seek(SeekFrom::Start(offset)).at("read", &path)?;
        Ok(file)
    }

    /// What a layer's bytes are called and how many they are, as `save` and push give them.
    pub(super) fn describe(&self, layer: &LayerRef) -> Result<Described> {
        if let Some(blob) = &layer.blob {
            return Ok((blob.digest.clone(), blob.size_bytes, blob.media_type.clone()));
        }
        let record = self.present_layer(&layer.diff_id)?;
        Ok((layer.diff_id.clone(), record.tar_bytes, crate::oci::image::OCI_LAYER.to_owned()))
    }

    /// As the manifest has it, so that its media type is the one that was pulled.
    fn config_descriptor(&self, row: &ImageRow, size: u64, manifest: &[u8]) -> Descriptor {
        use crate::oci::image::{Document, OCI_CONFIG};
        match Document::parse(manifest) {
            Ok(Document::Manifest(manifest)) => manifest.config,
            _ => descriptor(row.id.clone(), size, OCI_CONFIG.to_owned()),
        }
    }
}

fn descriptor(digest: Digest, size: u64, media_type: String) -> Descriptor {
    Descriptor { media_type, digest, size, platform: None, annotations: None }
}

/// Repositories whose images have this blob.
fn seen_in(rows: &[ImageRow], blob: &Digest) -> Vec<Reference> {
    let has = |row: &&ImageRow| row.layers.iter().any(|l| l.blob.as_ref().is_some_and(|known| known.digest == *blob));
    let names: BTreeSet<Reference> = rows.iter().filter(has).flat_map(|row| row.names.iter().cloned()).collect();
    let mut seen = BTreeSet::new();
    names.into_iter().filter(|name| seen.insert(name.repository())).collect()
}
