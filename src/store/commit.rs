//! Makes an image from a container's writable layer over the layers that it stands on. Called by the embedded engine, which pauses
//! the container meanwhile. The layer goes through the same pipeline as one that comes from outside.

use std::fs::File;

use super::adding::{Adding, NewImage};
use super::changes;
use super::error::{Class, IoContext, StoreError};
use super::index::{self, LayerRef};
use super::layers::{Fresh, Job};
use super::pack::{Marks, Packer};
use super::snapshot::Pins;
use super::{Result, Store};
use crate::engine::image::LoadedImage;
use crate::engine::progress::Progress;
use crate::oci::image::{ContainerDefaults, History, ImageConfig, Platform};
use crate::oci::reference::Reference;
use crate::stdx::ids::Id;

/// What to make an image of.
#[derive(Debug, Clone)]
pub struct Commit {
    pub container: Id,
    /// `sha256:…` of the image that it was made from, which may have gone.
    pub base: String,
    /// The image's run defaults, before the changes.
    pub defaults: ContainerDefaults,
    /// Dockerfile lines.
    pub changes: Vec<String>,
    pub author: String,
    pub comment: String,
    /// The command that ran in it, for the history.
    pub created_by: String,
    pub name: Option<Reference>,
    /// Absolute paths of the writable layer that are no part of the image: places that were made to mount on.
    pub left_out: Vec<String>,
}

impl Store {
    /// Makes the image. Blocks for as long as the container's changes take to be read and written.
    ///
    /// # Errors
    /// `Invalid` for a change that is refused, `NotFound` when the container has no file system, `Full`.
    pub fn commit(&self, commit: &Commit, progress: &Progress) -> Result<LoadedImage> {
        let mut defaults = commit.defaults.clone();
        for line in &commit.changes {
            changes::apply(line, &mut defaults)?;
        }
        let adding = Adding::start(self)?;
        let mut config = self.base_config(commit)?;
        let mut layers = self.layers_below(commit)?;
        let has_changes = self.changes(&commit.container)?.iter().any(|change| !commit.left_out.contains(&change.path));
        let fresh = if has_changes { Some(self.pack_upper(&adding, commit, progress)?) } else { None };
        if let Some(layer) = &fresh {
            config.rootfs.diff_ids.push(layer.diff_id.clone());
            layers.push(LayerRef { diff_id: layer.diff_id.clone(), blob: None });
        }
        let created = jiff::Timestamp::now().to_string();
        config.history.push(History {
            created: Some(created.clone()),
            created_by: commit.created_by.clone(),
            author: commit.author.clone(),
            comment: commit.comment.clone(),
            empty_layer: fresh.is_none(),
        });
        config.created = Some(created);
        config.author = Some(commit.author.clone()).filter(|author| !author.is_empty());
        config.config = defaults;
        let config = serde_json::to_vec(&config)
            .map_err(|e| StoreError::invalid("the image", "its config cannot be written").caused_by(e))?;
        let image = NewImage { config, manifest: None, layers, names: commit.name.iter().cloned().collect() };
        let made = adding.commit(fresh.into_iter().collect(), vec![image])?.pop();
        made.ok_or_else(|| StoreError::new(Class::Internal, &commit.container, "the image was not committed"))
    }

    /// The config to go on from; when the image has gone, one that knows the layers alone.
    fn base_config(&self, commit: &Commit) -> Result<ImageConfig> {
        match self.image(&commit.base) {
            Ok(image) => Ok(image.config),
            Err(error) if error.class == Class::NotFound => {
                let platform = Platform::host();
                let mut config = ImageConfig {
                    architecture: platform.architecture,
                    os: platform.os,
                    variant: platform.variant,
                    ..ImageConfig::default()
                };
                config.rootfs.diff_ids = self.pinned(commit)?.layers;
                Ok(config)
            }
            Err(error) => Err(error),
        }
    }

    fn pinned(&self, commit: &Commit) -> Result<Pins> {
        Pins::read(&self.containers().dir(&commit.container))?.ok_or_else(|| {
            let short = commit.container.short();
            StoreError::new(Class::NotFound, &commit.container, format!("container {short} has no file system"))
        })
    }

    fn layers_below(&self, commit: &Commit) -> Result<Vec<LayerRef>> {
        if let Some(row) = self.read_index(|transaction| index::by_id(transaction, &commit.base))? {
            return Ok(row.layers);
        }
        let kept = |diff_id| {
            let blob = self.layer_record(&diff_id)?.and_then(|record| record.blob);
            Ok(LayerRef { diff_id, blob: blob.map(|digest| self.describe_blob(digest)).transpose()? })
        };
        self.pinned(commit)?.layers.into_iter().map(kept).collect()
    }

    fn pack_upper(&self, adding: &Adding<'_>, commit: &Commit, progress: &Progress) -> Result<Fresh> {
        let upper = self.overlay(&commit.container)?.upper;
        let dir = File::open(&upper).at("open", &upper)?;
        let (mut reader, writer) = std::io::pipe().at("make a pipe for", &upper)?;
        let left_out: Vec<_> = commit.left_out.iter().map(|path| format!(".{path}").into_bytes()).collect();
        std::thread::scope(|scope| {
            let packing = scope.spawn(move || {
                let out = std::io::BufWriter::with_capacity(256 * 1024, writer);
                let mut packer = Packer::new(out, Marks::Layer).without(left_out);
                // The root's own attributes belong to the layer.
                packer.directory(&dir, b".")?;
                packer.finish()?.into_inner().map(drop).map_err(std::io::IntoInnerError::into_error)
            });
            let job = Job { n: 0, shown: "the container", total_bytes: None };
            let unpacked = adding.workshop(progress).unpack(&job, &mut reader);
            drop(reader);
            let packed = packing.join().unwrap_or_else(|_| Err(std::io::Error::other("the packing panicked")));
            match (packed, unpacked) {
                // The unpacking stopped first, and the pipe broke for it.
                (Err(error), Err(first)) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(first),
                (Err(error), _) => Err(error).at("read", &upper),
                (Ok(()), unpacked) => unpacked,
            }
        })
    }
}
