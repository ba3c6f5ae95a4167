//! One operation that adds images: its scratch directory, its claim on the content that is there, and the commit that
//! makes everything visible. Called by load, import and from-host. Nothing is visible before the one barrier, and what is
//! not committed goes with the scratch directory.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::fchownat;

use super::budget::Budget;
use super::error::{Class, IoContext, StoreError};
use super::index::{self, ImageRow, LayerRef};
use super::layers::{Fresh, Workshop, place};
use super::merged::{Found, Stack};
use super::partial;
use super::{Result, Store};
use crate::engine::image::LoadedImage;
use crate::engine::progress::Progress;
use crate::oci::reference::Reference;
use crate::stdx::ids::Digest;
use crate::stdx::lock::FileLock;
use crate::stdx::tree::ScratchDir;
use crate::sys::{fs as sysfs, xattr};

/// An operation that adds images.
pub(super) struct Adding<'a> {
    store: &'a Store,
    scratch: ScratchDir,
    budget: Budget,
    _keep: FileLock,
}

/// An image that an operation has found.
#[derive(Debug)]
pub(super) struct NewImage {
    pub(super) config: Vec<u8>,
    pub(super) manifest: Option<Vec<u8>>,
    /// Lowest first.
    pub(super) layers: Vec<LayerRef>,
    pub(super) names: Vec<Reference>,
}

impl<'a> Adding<'a> {
    pub(super) fn start(store: &'a Store) -> Result<Adding<'a>> {
        let tmp = store.tmp();
        let keep = store.keep_content()?;
        let scratch = ScratchDir::new(&tmp).at("make a directory in", &tmp)?;
        // Only a hint: where it is unknown, layers are placed as the file system likes.
        let _ = File::open(scratch.path()).and_then(sysfs::spread_subdirectories);
        Ok(Adding { store, budget: Budget::of(&tmp)?, scratch, _keep: keep })
    }

    pub(super) fn workshop<'w>(&'w self, progress: &'w Progress) -> Workshop<'w> {
        Workshop { scratch: self.scratch.path(), budget: &self.budget, progress }
    }

    /// Makes everything visible: attributes of implied directories, small blobs, one barrier, renames, one transaction.
    pub(super) fn commit(self, fresh: Vec<Fresh>, images: Vec<NewImage>) -> Result<Vec<LoadedImage>> {
        let by_diff: HashMap<&Digest, &Fresh> =
            fresh.iter().filter(|layer| layer.dir.is_some()).map(|layer| (&layer.diff_id, layer)).collect();
        for image in &images {
            self.settle_implied(&image.layers, &by_diff)?;
        }
        let mut rows = Vec::new();
        let mut documents = Vec::new();
        for image in images {
            rows.push(self.row(image, &mut documents)?);
        }
        let scratch = self.scratch.path();
        let barrier = File::open(scratch).at("open", scratch)?;
        nix::unistd::syncfs(&barrier).at("flush", scratch)?;
        self.put_in_place(&fresh, &documents, &rows)?;
        for leftover in fresh.iter().filter_map(|layer| layer.leftover.as_ref()) {
            // What stays is swept when it is old.
            let _ = fs::remove_file(leftover);
            partial::forget_record(leftover);
        }
        let loaded = self.store.change_index(|transaction| {
            let mut loaded = Vec::new();
            for row in &rows {
                index::put(transaction, row)?;
                loaded.push((row.id.clone(), row.names.iter().map(Reference::familiar).collect()));
            }
            Ok(Ok(loaded))
        })?;
        let report = |(id, references): (Digest, Vec<String>)| {
            let size_bytes = self.store.image(id.as_str())?.size_bytes();
            Ok(LoadedImage { id: id.to_string(), references, size_bytes })
        };
        loaded.into_iter().map(report).collect()
    }

    fn row(&self, image: NewImage, documents: &mut Vec<Digest>) -> Result<ImageRow> {
        let id = self.document(&image.config, documents)?;
        let manifest = image.manifest.map(|bytes| self.document(&bytes, documents)).transpose()?;
        let added_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs() as i64);
        Ok(ImageRow { id, manifest, added_s, layers: image.layers, names: image.names })
    }

    fn document(&self, bytes: &[u8], documents: &mut Vec<Digest>) -> Result<Digest> {
        let digest = Digest::of(bytes);
        let path = self.scratch.path().join(digest.hex());
        fs::write(&path, bytes).at("write", &path)?;
        documents.push(digest.clone());
        Ok(digest)
    }

    /// Renames all content into place and flushes the directories it is now in.
    fn put_in_place(&self, fresh: &[Fresh], documents: &[Digest], rows: &[ImageRow]) -> Result<()> {
        for digest in documents {
            place(&self.scratch.path().join(digest.hex()), &self.store.blob_path(digest))?;
        }
        for layer in fresh {
            if let Some((blob, path)) = &layer.blob {
                place(path, &self.store.blob_path(&blob.digest))?;
                partial::forget_record(path);
            }
            if let Some(dir) = &layer.dir {
                place(dir, &self.store.layer_dir(&layer.diff_id))?;
            }
        }
        self.store.forget_unflushed(rows.iter().flat_map(|row| row.layers.iter().map(|layer| &layer.diff_id)))?;
        for dir in ["layers", "blobs/sha256"] {
            let path = self.store.path(dir);
            File::open(&path).and_then(|dir| dir.sync_all()).at("flush", &path)?;
        }
        Ok(())
    }

    /// A directory that a layer only implies would hide the one below with a made-up owner and mode: it gets that one's.
    fn settle_implied(&self, layers: &[LayerRef], fresh: &HashMap<&Digest, &Fresh>) -> Result<()> {
        for (at, layer) in layers.iter().enumerate() {
            let Some(Fresh { dir: Some(dir), implied, .. }) = fresh.get(&layer.diff_id) else { continue };
            if implied.is_empty() || at == 0 {
                continue;
            }
            let root = |layer: &LayerRef| match fresh.get(&layer.diff_id).and_then(|fresh| fresh.dir.as_ref()) {
                Some(dir) => dir.join("fs"),
                None => self.store.layer_dir(&layer.diff_id).join("fs"),
            };
            let below = Stack::open(layers[..at].iter().rev().map(root)).at("open the layers below", dir)?;
            let own = Stack::open([dir.join("fs")]).at("open the layer", dir)?;
            // Deepest first, so that a parent's time is set last.
            for path in implied.iter().rev() {
                settle(&below, &own, path).at("set the attributes of a directory in", dir)?;
            }
        }
        Ok(())
    }
}

fn settle(below: &Stack, own: &Stack, path: &[u8]) -> std::io::Result<()> {
    let (Found::Dir(model), Found::Dir(dir)) = (below.look_up(path)?, own.look_up(path)?) else { return Ok(()) };
    let (Some(model), Some(dir)) = (model.first(), dir.first()) else { return Ok(()) };
    let stat = nix::sys::stat::fstat(model)?;
    fchownat(dir, c".", Some(stat.st_uid.into()), Some(stat.st_gid.into()), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    fchmodat(dir, c".", Mode::from_bits_truncate(stat.st_mode), FchmodatFlags::FollowSymlink)?;
    copy_user_attributes(model, dir)?;
    let mtime = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
    Ok(utimensat(dir, c".", &mtime, &mtime, UtimensatFlags::NoFollowSymlink)?)
}

fn copy_user_attributes(from: impl AsFd, to: impl AsFd) -> std::io::Result<()> {
    for name in xattr::list_at(&from, c".")? {
        if name.to_bytes().starts_with(b"trusted.") {
            continue;
        }
        if let Some(value) = xattr::get_at(&from, c".", &CString::from(name.as_c_str()))? {
            xattr::set_at(&to, c".", &name, &value)?;
        }
    }
    Ok(())
}

/// An image whose parts do not belong together.
pub(super) fn mismatch(shown: &str, why: String) -> StoreError {
    StoreError::new(Class::Corrupt, shown, format!("{shown}: {why}"))
        .with_hint("the archive is damaged; fetch or write it again")
}
