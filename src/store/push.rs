//! What a push needs of an image: the manifest that names what is kept, and the bytes of each blob from any offset. Called by the
//! embedded engine. While a [`Pushable`] lives nothing of it is collected.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use super::error::{Class, IoContext, StoreError};
use super::index::{self, ImageRow, LayerRef};
use super::save::{self, Described};
use super::{Result, Store};
use crate::oci::image::Descriptor;
use crate::oci::reference::Reference;
use crate::stdx::ids::Digest;
use crate::stdx::lock::FileLock;

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
}

/// One layer of it.
#[derive(Debug, Clone)]
pub struct PushLayer {
    pub blob: Descriptor,
    /// `domain/path` of repositories that this blob is known from.
    pub seen_in: Vec<Reference>,
    layer: LayerRef,
}

impl Store {
    /// The image that a name means, ready to be sent.
    ///
    /// # Errors
    /// [`Class::NotFound`] in docker's words; [`Class::Corrupt`].
    pub fn pushable(&self, name: &Reference) -> Result<Pushable> {
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
        let config = self.read_blob(&row.id)?;
        let mut described: Vec<Described> = Vec::new();
        for layer in &row.layers {
            described.push(self.describe(layer)?);
        }
        let manifest = self.manifest_for(&row, config.len(), &described)?;
        let config = self.config_descriptor(&row, config.len() as u64, &manifest);
        let others = self.read_index(index::all)?;
        let layers = row.layers.iter().zip(described);
        let layers = layers.map(|(layer, (digest, size, media_type))| PushLayer {
            seen_in: seen_in(&others, &digest),
            blob: descriptor(digest, size, media_type),
            layer: layer.clone(),
        });
        let layers = layers.collect();
        let media_type = save::media_type(&manifest);
        Ok(Pushable { id: row.id, manifest, media_type, config, layers, _keep: keep })
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
        if let Some(blob) = &layer.layer.blob {
            return self.open_blob(&blob.digest, offset).map(|file| Box::new(file) as Box<dyn Read>);
        }
        let diff_id = &layer.layer.diff_id;
        let record = self.layer_record(diff_id)?.ok_or_else(|| {
            StoreError::corrupt(format!("layer {diff_id}"), "it is missing").with_hint("pull or load the image again")
        })?;
        let mut tar = self.layer_tar(&record)?;
        let n_skipped = io::copy(&mut (&mut tar).take(offset), &mut io::sink());
        n_skipped.map_err(|e| super::layers::read_error("the layer", e))?;
        Ok(tar)
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
        let record = self.layer_record(&layer.diff_id)?.ok_or_else(|| {
            StoreError::corrupt(format!("layer {}", layer.diff_id), "it is missing").with_hint("pull or load it again")
        })?;
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
