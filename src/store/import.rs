//! Makes an image of one layer from a root file system's tar. Called by the embedded engine. The tar is unpacked as a
//! layer is, with the same refusals.

use std::fs::File;
use std::io::Read;

use super::adding::{Adding, NewImage};
use super::archive::{Opened, Source};
use super::changes;
use super::error::StoreError;
use super::index::LayerRef;
use super::layers::{Fresh, Job};
use super::{Result, Store};
use crate::engine::image::{ImportImage, LoadedImage};
use crate::engine::progress::Progress;
use crate::oci::image::{ContainerDefaults, History, ImageConfig, Platform, RootFs};

impl Store {
    /// Makes an image from a tar, compressed or not.
    ///
    /// # Errors
    /// `Invalid` for a request or a tar that is refused, `Full`. The store is then as it was.
    pub fn import(&self, source: Source, request: &ImportImage, progress: &Progress) -> Result<LoadedImage> {
        let mut defaults = ContainerDefaults::default();
        for line in &request.changes {
            changes::apply(line, &mut defaults)?;
        }
        let names = request.reference.iter().map(|name| {
            name.parse().map_err(|e| StoreError::invalid(name, "no name for an image").caused_by(Box::new(e)))
        });
        let names = names.collect::<Result<Vec<_>>>()?;
        let platform = match &request.platform {
            Some(text) => text.parse::<Platform>().map_err(|why| StoreError::invalid(text, why))?,
            None => Platform::host(),
        };
        let comment = request.message.clone().unwrap_or_else(|| "Imported from -".to_owned());
        let adding = Adding::start(self)?;
        let (mut input, total_bytes): (Box<dyn Read>, _) = match source.open()? {
            Opened::File(file) => sized(file),
            Opened::Stream(stream) => (stream, None),
        };
        let job = Job { n: 0, shown: "the archive", total_bytes };
        let layer = adding.workshop(progress).unpack(&job, &mut input)?;
        refuse_archive_of_images(&layer)?;
        adding.commit_single(layer, defaults, platform, History { comment, ..History::default() }, names)
    }
}

fn sized(file: File) -> (Box<dyn Read>, Option<u64>) {
    let total = file.metadata().ok().map(|meta| meta.len());
    (Box::new(file), total)
}

/// The mistake that is easy to make: a docker archive is no root file system.
fn refuse_archive_of_images(layer: &Fresh) -> Result<()> {
    let Some(root) = layer.dir.as_ref().map(|dir| dir.join("fs")) else { return Ok(()) };
    let is_layout = root.join("oci-layout").is_file() && root.join("index.json").is_file();
    if is_layout || (root.join("manifest.json").is_file() && !root.join("bin").exists() && !root.join("usr").exists()) {
        return Err(StoreError::invalid("the archive", "it is an archive of images, not a root file system")
            .with_hint("use load"));
    }
    Ok(())
}

impl Adding<'_> {
    /// Commits an image of this one layer.
    pub(super) fn commit_single(
        self,
        layer: Fresh,
        defaults: ContainerDefaults,
        platform: Platform,
        step: History,
        names: Vec<crate::oci::reference::Reference>,
    ) -> Result<LoadedImage> {
        let created = jiff::Timestamp::now().to_string();
        let config = ImageConfig {
            created: Some(created.clone()),
            author: None,
            architecture: platform.architecture,
            variant: platform.variant,
            os: platform.os,
            config: defaults,
            rootfs: RootFs { diff_ids: vec![layer.diff_id.clone()], ..RootFs::default() },
            history: vec![History { created: Some(created), ..step }],
        };
        let config = serde_json::to_vec(&config)
            .map_err(|e| StoreError::invalid("the image", "its config cannot be written").caused_by(e))?;
        let layers =
            vec![LayerRef { diff_id: layer.diff_id.clone(), blob: layer.blob.as_ref().map(|(blob, _)| blob.clone()) }];
        let loaded = self.commit(vec![layer], vec![NewImage { config, manifest: None, layers, names }])?;
        loaded.into_iter().next().ok_or_else(|| StoreError::invalid("the image", "it was not committed"))
    }
}
