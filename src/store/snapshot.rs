//! A container's file system: the layers of its image below, its own writable layer above. Called by the embedded engine
//! and, for the writable layer's size and changes, by whoever lists containers. Never writes into a layer.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::containers::read_record;
use super::error::{Class, IoContext, StoreError};
use super::{Result, Store};
use crate::stdx::atomic::{self, Durability};
use crate::stdx::ids::{Digest, Id};

const RECORD_VERSION: u32 = 1;
const PINS_FILE: &str = "layers.json";

/// Where overlay takes a container's file system from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// Read-only layers, topmost first; never empty.
    pub lowers: Vec<PathBuf>,
    /// The writable layer.
    pub upper: PathBuf,
    /// Overlay's own directory beside it.
    pub work: PathBuf,
}

/// The layers a container stands on, kept even when its image goes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Pins {
    version: u32,
    /// Lowest first.
    pub(super) layers: Vec<Digest>,
}

impl Pins {
    pub(super) fn read(container: &Path) -> Result<Option<Pins>> {
        read_record(&container.join(PINS_FILE), RECORD_VERSION)
    }
}

impl Store {
    /// Gives a container, whose directory exists, a writable layer on an image.
    ///
    /// # Errors
    /// [`Class::NotFound`] when the image is gone; [`Class::Conflict`] when the container has a file system already.
    pub fn snapshot(&self, image: &Digest, container: &Id) -> Result<Overlay> {
        // From the look at the image until the pins are written nobody may collect its layers.
        let _keep = self.keep_content()?;
        let image = self.image(image.as_str())?;
        let dir = self.containers().dir(container);
        let layers: Vec<Digest> = image.layers.into_iter().map(|(id, _)| id).collect();
        if layers.is_empty() {
            // Overlay needs a lower directory, and an image `FROM scratch` may have none.
            super::make_private_dir(&dir.join("lower"))?;
            super::set_mode(&dir.join("lower"), 0o755)?;
        }
        for made in ["upper", "work"] {
            let path = dir.join(made);
            fs::create_dir(&path).at("make the directory", &path)?;
        }
        let pins = serde_json::to_vec(&Pins { version: RECORD_VERSION, layers })
            .map_err(|e| StoreError::new(Class::Internal, container, "cannot serialise a record").caused_by(e))?;
        let path = dir.join(PINS_FILE);
        atomic::write(&path, &pins, Durability::Ordered).at("write", &path)?;
        let overlay = self.overlay(container)?;
        same_root(&overlay)?;
        Ok(overlay)
    }

    /// The file system of a container that has one.
    ///
    /// # Errors
    /// [`Class::NotFound`] when it has none.
    pub fn overlay(&self, container: &Id) -> Result<Overlay> {
        let dir = self.containers().dir(container);
        let pins = Pins::read(&dir)?.ok_or_else(|| {
            StoreError::new(Class::NotFound, container, format!("container {} has no file system", container.short()))
        })?;
        let mut lowers: Vec<_> = pins.layers.iter().rev().map(|id| self.layer_dir(id).join("fs")).collect();
        if lowers.is_empty() {
            lowers.push(dir.join("lower"));
        }
        // The same layer twice is legal in a manifest and refused by overlay; the upper one hides the lower.
        let mut seen = HashSet::new();
        lowers.retain(|lower| seen.insert(lower.clone()));
        Ok(Overlay { lowers, upper: dir.join("upper"), work: dir.join("work") })
    }

    /// Bytes on disk of a container's writable layer; walks all of it.
    ///
    /// # Errors
    /// The failed call.
    pub fn writable_bytes(&self, container: &Id) -> Result<u64> {
        let upper = self.containers().dir(container).join("upper");
        tree_bytes(&upper).at("measure", &upper)
    }
}

/// The merged root has the upper directory's attributes, so they must be the image's.
fn same_root(overlay: &Overlay) -> Result<()> {
    let Some(top) = overlay.lowers.first() else { return Ok(()) };
    let meta = fs::metadata(top).at("look at", top)?;
    std::os::unix::fs::chown(&overlay.upper, Some(meta.uid()), Some(meta.gid()))
        .at("set the owner of", &overlay.upper)?;
    super::set_mode(&overlay.upper, meta.mode() & 0o7777)
}

/// Bytes on disk beneath `path`, each inode once; the file system's boundary is not crossed.
pub(super) fn tree_bytes(path: &Path) -> io::Result<u64> {
    let top = fs::symlink_metadata(path)?;
    let mut seen = HashSet::new();
    let mut dirs = vec![path.to_owned()];
    let mut n_bytes = 0;
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            // What vanishes while we look is not counted.
            let Ok(meta) = entry.metadata() else { continue };
            if meta.dev() != top.dev() || (meta.nlink() > 1 && !meta.is_dir() && !seen.insert(meta.ino())) {
                continue;
            }
            if meta.is_dir() {
                dirs.push(entry.path());
            } else if meta.is_file() {
                n_bytes += meta.size().min(meta.blocks() * 512);
            }
        }
    }
    Ok(n_bytes)
}
