//! What is kept on disk: blobs, layers, snapshots, volumes, container records, the index and the event journal. Called by
//! the embedded engine. Synchronous; any number of processes use one store at the same time, and a kill at any
//! instruction leaves what the next [`Store::sweep`] puts right.
//!
//! ```text
//! ROOT/version                     format number; an older orlop refuses a newer store
//! ROOT/blobs/sha256/<hex>          manifests, configs and compressed layers as received
//! ROOT/layers/<diffid hex>/        fs (one unpacked layer), meta.json, and what `save` needs to write its tar again
//! ROOT/index.db, ROOT/images.json  images and their names (SQLite), and the same as a plain list to rebuild it from
//! ROOT/partial/                    blobs on their way in, kept over cuts and kills
//! ROOT/volumes/<name>/             _data, meta.json
//! ROOT/containers/<id>/            records, log, writable layer; ROOT/names/<name> -> id
//! ROOT/events/journal              JSON lines
//! ROOT/tmp/op-*, trash-*           work of running operations (locked), trees on their way out
//! ROOT/gc.lock                     held shared by whoever adds content, alone by whoever removes unreferenced content
//! ```
//!
//! # How nothing is lost and nothing leaks
//! Content is made under `tmp`, flushed once by one barrier, renamed into place, and only then named in the index. A layer
//! directory or blob in place is therefore whole. Content that no image and no container names is removed under the
//! garbage lock, which an adding operation holds shared from its first look until its index commit.

use std::path::{Path, PathBuf};
use std::sync::Arc;

mod adding;
mod archive;
mod budget;
mod changes;
mod check;
mod commit;
mod compression;
mod containers;
mod copy;
mod diff;
mod elf;
mod error;
mod extract;
mod host;
mod images;
mod import;
mod index;
mod layers;
mod listing;
mod load;
mod merged;
mod pack;
mod packing;
mod partial;
mod pull;
mod push;
mod recipe;
mod relay;
mod save;
mod snapshot;
mod tape;
#[cfg(test)]
mod testing;
mod unpack;
mod volumes;

pub use archive::Source;
pub use commit::Commit;
pub use containers::{ContainerLock, Containers, NameTaken};
pub use error::{Class, StoreError};
pub use images::{DiskUse, Image, ImageUser, PruneScope, Removal};
pub use listing::layer_files_of;
pub use load::LoadOptions;
pub use pack::{Marks, Packer, component};
pub use partial::Origin;
pub use pull::{Pulled, Wanted};
pub use push::{PushLayer, Pushable};
pub use relay::{Relay, Relayed, relay};
pub use snapshot::Overlay;
pub use unpack::{Overwrite, Owners, Unpack};
pub use volumes::{CopyUp, Volumes};

use crate::stdx::journal::Journal;
use crate::stdx::{atomic, tree};
use error::IoContext;

/// What every call of the store returns.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// The format this program writes and reads.
const FORMAT: u32 = 1;
/// How much of the event journal is kept, in two files of this size.
pub const JOURNAL_BYTES: u64 = 8 << 20;

/// The directories of a store, relative to its root; the order is the order of creation.
const LAYOUT: &[&str] =
    &["blobs", "blobs/sha256", "blobs/sha512", "layers", "volumes", "containers", "names", "events", "tmp"];

/// A handle on the store at one root. Cheap to clone; holds no lock between calls, and the index open once it was needed.
#[derive(Debug, Clone)]
pub struct Store {
    root: Arc<Path>,
    index: Arc<index::Index>,
}

impl Store {
    /// Opens the store at `root`, making it if there is none. Well under a millisecond when it exists.
    ///
    /// # Errors
    /// [`Class::TooNew`] when a newer orlop wrote it, [`Class::Denied`] without the rights, [`Class::Full`].
    pub fn open(root: &Path) -> Result<Store> {
        let store = Store { root: Arc::from(root), index: Arc::default() };
        match std::fs::read_to_string(store.path("version")) {
            Ok(text) => store.check_version(&text)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => store.create()?,
            Err(error) => return Err(error).at("read the store's version in", root),
        }
        Ok(store)
    }

    fn check_version(&self, text: &str) -> Result<()> {
        let found: u32 = text.trim().parse().map_err(|_| {
            StoreError::corrupt(self.root.display(), format!("its version file says {:?}", text.trim()))
        })?;
        if found > FORMAT {
            return Err(StoreError::too_new(&self.root, found, FORMAT));
        }
        Ok(())
    }

    fn create(&self) -> Result<()> {
        make_private_dir(&self.root)?;
        for dir in LAYOUT {
            make_private_dir(&self.root.join(dir))?;
        }
        // The version comes last: where it is, everything is.
        let version = self.path("version");
        atomic::write(&version, format!("{FORMAT}\n").as_bytes(), atomic::Durability::Synced).at("write", &version)
    }

    /// Where the store is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The container directories.
    pub fn containers(&self) -> Containers<'_> {
        Containers::new(self)
    }

    /// The volumes.
    pub fn volumes(&self) -> Volumes<'_> {
        Volumes::new(self)
    }

    /// The event journal; one event is one JSON line.
    pub fn events(&self) -> Journal {
        Journal::new(self.path("events/journal"), JOURNAL_BYTES)
    }

    /// A path inside the store; `inner` never comes from outside unchecked.
    fn path(&self, inner: impl AsRef<Path>) -> PathBuf {
        self.root.join(inner)
    }

    /// Where removed trees wait for their deletion; the same file system as everything else here.
    pub fn trash_dir(&self) -> PathBuf {
        self.tmp()
    }

    fn tmp(&self) -> PathBuf {
        self.path("tmp")
    }

    /// Removes what killed processes left: half-made content, half-removed trees, leftover temporary files.
    ///
    /// # Errors
    /// The first failed call; the rest is left to the next sweep.
    pub fn sweep(&self) -> Result<()> {
        let tmp = self.tmp();
        tree::sweep_scratch(&tmp).at("sweep", &tmp)?;
        tree::sweep_trash(&tmp).at("sweep", &tmp)?;
        for entry in std::fs::read_dir(&self.root).at("sweep", &self.root)?.flatten() {
            if atomic::is_leftover(&entry.file_name()) {
                // Another sweep may have been first.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        self.containers().sweep()?;
        self.sweep_partials(partial::MAX_AGE)?;
        self.collect(images::Collection::Sweep).map(drop)
    }
}

/// Makes a directory with mode 0700 (CVE-2021-41091, CVE-2024-25621: others must not walk through), or checks that it is one.
fn make_private_dir(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.at("make the directory", path)
}

/// Sets a mode that the umask would cut.
fn set_mode(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).at("set the mode of", path)
}

#[cfg(test)]
mod tests;
