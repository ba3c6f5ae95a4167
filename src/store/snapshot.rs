//! A container's file system: the layers of its image below, its own writable layer above. Called by the embedded engine
//! and, for the writable layer's size and changes, by whoever lists containers. Never writes into a layer.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::containers::read_record;
use super::error::{Class, IoContext, StoreError};
use super::extract::OPAQUE;
use super::merged::{Found, Stack};
use super::{Result, Store};
use crate::stdx::atomic::{self, Durability};
use crate::stdx::ids::{Digest, Id};
use crate::sys::xattr;

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

/// What a container did to one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Something in it, or about it, differs.
    Modified,
    /// The image has it not.
    Added,
    /// The image has it, the container no more.
    Deleted,
}

/// One line of `diff`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Absolute in the container.
    pub path: PathBuf,
    /// What happened.
    pub kind: ChangeKind,
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

    /// What a container has changed against its image, parents before children, in alphabetical order.
    ///
    /// # Errors
    /// The failed call.
    pub fn changes(&self, container: &Id) -> Result<Vec<Change>> {
        let overlay = self.overlay(container)?;
        let image = Stack::open(&overlay.lowers).at("open the layers of", &overlay.upper)?;
        let mut changes = Vec::new();
        let mut dirs = vec![PathBuf::new()];
        while let Some(dir) = dirs.pop() {
            changes_in(&overlay.upper, &dir, &image, &mut changes, &mut dirs)
                .at("compare", overlay.upper.join(&dir))?;
        }
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(changes)
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

fn changes_in(
    upper: &Path,
    dir: &Path,
    image: &Stack,
    changes: &mut Vec<Change>,
    dirs: &mut Vec<PathBuf>,
) -> io::Result<()> {
    let opened = File::open(upper.join(dir))?;
    for entry in fs::read_dir(upper.join(dir))? {
        let entry = entry?;
        let path = dir.join(entry.file_name());
        let Ok(meta) = entry.metadata() else { continue };
        let kind = match image.look_up(path.as_os_str().as_encoded_bytes())? {
            Found::Nothing => ChangeKind::Added,
            _ => ChangeKind::Modified,
        };
        let is_whiteout = meta.file_type().is_char_device() && meta.rdev() == 0;
        match (is_whiteout, kind) {
            // Made and removed again: a whiteout over nothing.
            (true, ChangeKind::Added) => continue,
            (true, _) => changes.push(Change { path: Path::new("/").join(&path), kind: ChangeKind::Deleted }),
            (false, kind) => changes.push(Change { path: Path::new("/").join(&path), kind }),
        }
        if meta.is_dir() {
            hidden_by(&opened, &entry, &path, upper, image, changes)?;
            dirs.push(path);
        }
    }
    Ok(())
}

/// What an opaque directory hides of the image, each entry as deleted unless the container made it again.
fn hidden_by(
    parent: &File,
    entry: &fs::DirEntry,
    path: &Path,
    upper: &Path,
    image: &Stack,
    changes: &mut Vec<Change>,
) -> io::Result<()> {
    let name = std::ffi::CString::new(entry.file_name().into_encoded_bytes())?;
    if xattr::get_at(parent, &name, OPAQUE)?.is_none() {
        return Ok(());
    }
    let Found::Dir(parts) = image.look_up(path.as_os_str().as_encoded_bytes())? else { return Ok(()) };
    let mut seen = HashSet::new();
    for part in parts {
        for name in crate::stdx::tree::names(&part)? {
            use std::os::unix::ffi::OsStrExt;
            let inner = path.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
            let is_visible = !matches!(image.look_up(inner.as_os_str().as_encoded_bytes())?, Found::Nothing);
            if is_visible && seen.insert(inner.clone()) && upper.join(&inner).symlink_metadata().is_err() {
                changes.push(Change { path: Path::new("/").join(&inner), kind: ChangeKind::Deleted });
            }
        }
    }
    Ok(())
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
