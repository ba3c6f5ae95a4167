//! The container directories: creation, names, records, locks, removal. Called by the embedded engine; a container's
//! state belongs to its shim. A container is its directory: what is not renamed into place does not exist, what is
//! renamed away is gone, whatever else happens.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Class, IoContext, StoreError};
use super::{Result, Store, make_private_dir};
use crate::stdx::atomic::{self, Durability};
use crate::stdx::ids::Id;
use crate::stdx::lock::{FileLock, LockError, Mode};
use crate::stdx::tree;

/// The largest record that is read, in bytes.
const MAX_RECORD_BYTES: u64 = 8 << 20;

/// The container directories of a store.
#[derive(Debug, Clone, Copy)]
pub struct Containers<'a> {
    store: &'a Store,
}

/// Whose the name already is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameTaken {
    /// The container that has it.
    pub owner: Id,
}

/// A container's lifecycle lock; released on drop and with the process.
#[derive(Debug)]
pub struct ContainerLock {
    _lock: FileLock,
}

/// The field that every record on disk starts with.
#[derive(serde::Deserialize)]
struct Versioned {
    version: u32,
}

impl<'a> Containers<'a> {
    pub(super) fn new(store: &'a Store) -> Containers<'a> {
        Containers { store }
    }

    /// The directory of a container, whether or not it exists.
    pub fn dir(&self, id: &Id) -> PathBuf {
        self.store.path("containers").join(id.as_str())
    }

    /// Makes the directory of a new container. Until its first record is written nobody lists it.
    ///
    /// # Errors
    /// [`Class::Conflict`] when it exists.
    pub fn create_dir(&self, id: &Id) -> Result<PathBuf> {
        let dir = self.dir(id);
        nix::unistd::mkdir(&dir, nix::sys::stat::Mode::S_IRWXU).at("make the container's directory", &dir)?;
        for inner in ["log", "files"] {
            make_private_dir(&dir.join(inner))?;
        }
        Ok(dir)
    }

    /// All containers, in no order. Only names are read: a directory without records is included.
    ///
    /// # Errors
    /// The failed call.
    pub fn list(&self) -> Result<Vec<Id>> {
        let dir = self.store.path("containers");
        let entries = fs::read_dir(&dir).at("list the containers in", &dir)?;
        Ok(entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect())
    }

    /// The container that `text` means: a full id, a name (with or without docker's leading slash), or the start of an id.
    ///
    /// # Errors
    /// [`Class::NotFound`] `No such container: X`; [`Class::Invalid`] when several ids start so.
    pub fn find(&self, text: &str) -> Result<Id> {
        let missing = || StoreError::new(Class::NotFound, text, format!("No such container: {text}"));
        if let Ok(id) = text.parse::<Id>()
            && self.dir(&id).is_dir()
        {
            return Ok(id);
        }
        let name = text.strip_prefix('/').unwrap_or(text);
        if is_name(name)
            && let Some(id) = self.name_owner(name)?
        {
            return Ok(id);
        }
        if text.is_empty() || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(missing());
        }
        let mut matches = self.list()?.into_iter().filter(|id| id.as_str().starts_with(text));
        match (matches.next(), matches.next()) {
            (Some(id), None) => Ok(id),
            (Some(_), Some(_)) => Err(StoreError::invalid(text, "several containers have ids that start so")
                .with_hint("type more of the id, or the name")),
            (None, _) => Err(missing()),
        }
    }

    /// Takes `name` for `id`, so that no other process can.
    ///
    /// A name whose container does not exist (its creator was killed) is taken over.
    ///
    /// # Errors
    /// [`Class::Invalid`] for a name docker would refuse; [`Class::Conflict`] in docker's words when it is in use.
    pub fn reserve_name(&self, name: &str, id: &Id) -> Result<()> {
        if !is_name(name) {
            return Err(StoreError::new(
                Class::Invalid,
                name,
                format!("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"),
            ));
        }
        match self.try_reserve(name, id)? {
            Ok(()) => Ok(()),
            Err(NameTaken { owner }) if owner == *id => Ok(()),
            Err(NameTaken { owner }) => Err(StoreError::new(
                Class::Conflict,
                name,
                format!(
                    "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\". You have to \
                     remove (or rename) that container to be able to reuse that name."
                ),
            )),
        }
    }

    fn try_reserve(&self, name: &str, id: &Id) -> Result<std::result::Result<(), NameTaken>> {
        let path = self.name_path(name);
        for _ in 0..3 {
            match symlink(id.as_str(), &path) {
                Ok(()) => return Ok(Ok(())),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).at("reserve the name", &path),
            }
            let Some(owner) = read_owner(&path)? else { continue };
            // The creator makes the directory first and takes the name second, so a name without a directory is a
            // leftover of a kill or of a removal that is about to release it.
            if self.dir(&owner).is_dir() {
                return Ok(Err(NameTaken { owner }));
            }
            self.release_name(name, &owner)?;
        }
        Err(StoreError::new(Class::Conflict, name, format!("the name {name} changes hands too quickly to take it")))
    }

    /// Gives a name back; nothing happens when it is no longer `id`'s.
    ///
    /// # Errors
    /// The failed call.
    pub fn release_name(&self, name: &str, id: &Id) -> Result<()> {
        let path = self.name_path(name);
        // Renamed aside first: of two processes that release the same stale name, one sees it gone.
        let aside = self.store.tmp().join(format!("{}name-{}", tree::TRASH_PREFIX, Id::random().short()));
        if read_owner(&path)?.as_ref() != Some(id) {
            return Ok(());
        }
        match fs::rename(&path, &aside) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).at("release the name", &path),
        }
        if let Some(other) = read_owner(&aside)?
            && other != *id
        {
            // Somebody took it between our look and the rename: give it back (their link cannot exist twice).
            let _ = symlink(other.as_str(), &path);
        }
        fs::remove_file(&aside).at("release the name", &path)
    }

    /// Gives `id` the name `new` instead of `old`. The caller holds the container's lock and rewrites its record.
    ///
    /// # Errors
    /// As [`Containers::reserve_name`].
    pub fn rename(&self, old: &str, new: &str, id: &Id) -> Result<()> {
        self.reserve_name(new, id)?;
        if old == new { Ok(()) } else { self.release_name(old, id) }
    }

    /// The container that has the name, if it exists.
    ///
    /// # Errors
    /// The failed call.
    pub fn name_owner(&self, name: &str) -> Result<Option<Id>> {
        Ok(read_owner(&self.name_path(name))?.filter(|id| self.dir(id).is_dir()))
    }

    fn name_path(&self, name: &str) -> PathBuf {
        self.store.path("names").join(name)
    }

    /// Takes a container's lifecycle lock, waiting at most `patience`.
    ///
    /// # Errors
    /// [`Class::NotFound`] when it does not exist or is removed while waiting; [`Class::Conflict`] naming the holder at the deadline.
    pub fn lock(&self, id: &Id, patience: Duration) -> Result<ContainerLock> {
        let dir = self.dir(id);
        let missing = || StoreError::new(Class::NotFound, id, format!("No such container: {id}"));
        let lock = match FileLock::acquire(&dir.join("lock"), Mode::Exclusive, patience) {
            Ok(lock) => lock,
            Err(LockError::Io(error)) if error.kind() == ErrorKind::NotFound => return Err(missing()),
            Err(error) => return Err(StoreError::lock(&format!("container {}", id.short()), error)),
        };
        // The holder before us may have removed it.
        if dir.is_dir() { Ok(ContainerLock { _lock: lock }) } else { Err(missing()) }
    }

    /// Reads a record, such as `container.json`; `None` when there is none.
    ///
    /// # Errors
    /// [`Class::TooNew`] when its `version` is above `known`; [`Class::Corrupt`] when it cannot be read as one.
    pub fn read_record<T: DeserializeOwned>(&self, id: &Id, file: &str, known: u32) -> Result<Option<T>> {
        read_record(&self.dir(id).join(file), known)
    }

    /// Replaces a record in one step. `T` must serialise a `version` field.
    ///
    /// # Errors
    /// The failed call; the old record is then still there.
    pub fn write_record<T: Serialize>(&self, id: &Id, file: &str, record: &T, durability: Durability) -> Result<()> {
        let path = self.dir(id).join(file);
        let bytes = serde_json::to_vec(record)
            .map_err(|e| StoreError::new(Class::Internal, id, "cannot serialise a record").caused_by(e))?;
        atomic::write(&path, &bytes, durability).at("write", &path)
    }

    /// Removes a container and releases its name. It vanishes in one step; returns the tree still to delete, for
    /// [`tree::remove_all`] on a thread of the caller's. What nobody deletes, the next [`Store::sweep`] does.
    ///
    /// # Errors
    /// [`Class::NotFound`] when it does not exist.
    pub fn remove(&self, id: &Id, name: Option<&str>) -> Result<PathBuf> {
        let dir = self.dir(id);
        let grave = tree::bury(&dir, &self.store.tmp()).map_err(|error| match error.kind() {
            ErrorKind::NotFound => StoreError::new(Class::NotFound, id, format!("No such container: {id}")),
            _ => StoreError::io("remove", dir.display(), error),
        })?;
        if let Some(name) = name {
            self.release_name(name, id)?;
        }
        Ok(grave)
    }

    pub(super) fn sweep(&self) -> Result<()> {
        let names = self.store.path("names");
        for entry in fs::read_dir(&names).at("sweep", &names)?.flatten() {
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            if let Some(owner) = read_owner(&entry.path())?
                && !self.dir(&owner).is_dir()
            {
                self.release_name(&name, &owner)?;
            }
        }
        for id in self.list()? {
            remove_leftovers(&self.dir(&id));
        }
        Ok(())
    }
}

/// Removes temporary files that a killed writer left beside the records.
fn remove_leftovers(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if atomic::is_leftover(&entry.file_name()) {
            // Gone already, or swept next time.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Reads a record of at most `known`'s version; `None` when there is none.
pub(super) fn read_record<T: DeserializeOwned>(path: &Path, known: u32) -> Result<Option<T>> {
    let bytes = match read_small(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).at("read", path),
    };
    let damaged = |e: serde_json::Error| StoreError::corrupt(path.display(), "not a record").caused_by(e);
    let version = match leading_version(&bytes) {
        Some(version) => version,
        None => serde_json::from_slice::<Versioned>(&bytes).map_err(damaged)?.version,
    };
    if version > known {
        let message = format!("{} has format {version}; this orlop knows up to {known}", path.display());
        return Err(StoreError::new(Class::TooNew, path.display(), message));
    }
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}

/// The version of a record that starts with it, as all of ours do: listing hundreds of containers parses each once.
fn leading_version(bytes: &[u8]) -> Option<u32> {
    let rest = bytes.strip_prefix(b"{\"version\":")?;
    let end = rest.iter().position(|b| !b.is_ascii_digit())?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

/// The whole of a small file, with one read when it fits the first buffer.
fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = fs::File::open(path)?;
    let mut bytes = vec![0; 16 * 1024];
    let n_read = file.read(&mut bytes)?;
    // A regular file gives less than was asked for only at its end.
    if n_read < bytes.len() {
        bytes.truncate(n_read);
        return Ok(bytes);
    }
    file.take(MAX_RECORD_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The id a name points to; `None` when there is no such name.
fn read_owner(path: &Path) -> Result<Option<Id>> {
    let target: OsString = match fs::read_link(path) {
        Ok(target) => target.into(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).at("read the name", path),
    };
    let id = target.to_str().and_then(|t| t.parse().ok());
    let damaged = || io::Error::new(ErrorKind::InvalidData, "it does not point to a container");
    id.map(Some).ok_or_else(damaged).at("read the name", path)
}

/// Docker's rule for names of containers and volumes: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, here with a bound.
pub(super) fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    (2..=255).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("root")).unwrap();
        (dir, store)
    }

    #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
    struct Record {
        version: u32,
        text: String,
    }

    #[test]
    fn names_belong_to_one_container_across_threads() {
        let (_dir, store) = store();
        let n_winners: usize = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8)
                .map(|_| {
                    let store = &store;
                    scope.spawn(move || {
                        let id = Id::random();
                        store.containers().create_dir(&id).unwrap();
                        usize::from(store.containers().reserve_name("web", &id).is_ok())
                    })
                })
                .collect();
            tries.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(n_winners, 1);
        let owner = store.containers().find("web").unwrap();
        let other = Id::random();
        store.containers().create_dir(&other).unwrap();
        let refused = store.containers().reserve_name("web", &other).unwrap_err();
        assert_eq!(refused.class, Class::Conflict);
        assert!(refused.message.contains(&format!("already in use by container \"{owner}\"")), "{refused}");
    }

    #[test]
    fn a_name_left_by_a_killed_creator_is_free() {
        let (_dir, store) = store();
        let (dead, alive) = (Id::random(), Id::random());
        store.containers().reserve_name("web", &dead).unwrap();
        assert_eq!(store.containers().name_owner("web").unwrap(), None);
        store.containers().create_dir(&alive).unwrap();
        store.containers().reserve_name("web", &alive).unwrap();
        assert_eq!(store.containers().find("/web").unwrap(), alive);
        store.containers().reserve_name("gone", &dead).unwrap();
        store.sweep().unwrap();
        assert!(!store.path("names/gone").is_symlink());
        assert!(store.path("names/web").is_symlink());
    }

    #[test]
    fn find_takes_ids_prefixes_and_names() {
        let (_dir, store) = store();
        let id = Id::random();
        store.containers().create_dir(&id).unwrap();
        store.containers().reserve_name("one", &id).unwrap();
        for text in [id.as_str(), id.short(), "one", "/one"] {
            assert_eq!(store.containers().find(text).unwrap(), id);
        }
        for text in ["", "two", "../containers", "zz", "a/b"] {
            let error = store.containers().find(text).unwrap_err();
            assert_eq!(error.message, format!("No such container: {text}"));
        }
        store.containers().rename("one", "two", &id).unwrap();
        assert!(store.containers().find("one").is_err());
        assert_eq!(store.containers().find("two").unwrap(), id);
        for bad in ["", "a", "-a", "a b", "a/b", "../x", "ä1"] {
            assert_eq!(store.containers().reserve_name(bad, &id).unwrap_err().class, Class::Invalid, "{bad}");
        }
    }

    #[test]
    fn records_are_whole_versioned_and_private() {
        let (_dir, store) = store();
        let id = Id::random();
        let dir = store.containers().create_dir(&id).unwrap();
        let containers = store.containers();
        assert_eq!(containers.read_record::<Record>(&id, "container.json", 1).unwrap(), None);
        let record = Record { version: 2, text: "x".into() };
        containers.write_record(&id, "container.json", &record, Durability::Synced).unwrap();
        assert_eq!(containers.read_record(&id, "container.json", 2).unwrap(), Some(record));
        let refused = containers.read_record::<Record>(&id, "container.json", 1).unwrap_err();
        assert_eq!(refused.class, Class::TooNew);
        fs::write(dir.join("container.json"), "{\"version\":1").unwrap();
        assert_eq!(containers.read_record::<Record>(&id, "container.json", 1).unwrap_err().class, Class::Corrupt);
    }

    #[test]
    fn a_removed_container_is_gone_at_once() {
        let (_dir, store) = store();
        let id = Id::random();
        store.containers().create_dir(&id).unwrap();
        store.containers().reserve_name("one", &id).unwrap();
        let lock = store.containers().lock(&id, Duration::ZERO).unwrap();
        let held = store.containers().lock(&id, Duration::ZERO).unwrap_err();
        assert_eq!(held.class, Class::Conflict);
        assert!(held.message.contains("locked by pid"), "{held}");
        let grave = store.containers().remove(&id, Some("one")).unwrap();
        drop(lock);
        assert!(store.containers().list().unwrap().is_empty());
        assert_eq!(store.containers().lock(&id, Duration::ZERO).unwrap_err().class, Class::NotFound);
        assert!(grave.is_dir());
        store.sweep().unwrap();
        assert!(!grave.exists());
        assert_eq!(fs::read_dir(store.tmp()).unwrap().count(), 0);
    }

    /// CVE-2021-41091, CVE-2024-25621: other local users walked into the data root.
    #[test]
    fn cve_2021_41091_every_directory_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let (_dir, store) = store();
        let id = Id::random();
        let ctr = store.containers().create_dir(&id).unwrap();
        let dirs = super::super::LAYOUT.iter().map(|d| store.path(d)).chain([ctr.clone(), ctr.join("log")]);
        for dir in dirs.chain([store.root().to_owned()]) {
            assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700, "{}", dir.display());
        }
    }

    #[test]
    fn a_newer_store_is_refused_and_untouched() {
        let (_dir, store) = store();
        fs::write(store.path("version"), "999\n").unwrap();
        let refused = Store::open(store.root()).unwrap_err();
        assert_eq!(refused.class, Class::TooNew);
        assert!(refused.hint.is_some());
        assert_eq!(fs::read_to_string(store.path("version")).unwrap(), "999\n");
    }
}
