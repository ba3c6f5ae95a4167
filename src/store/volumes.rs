//! Volumes of the `local` driver: a directory with a record beside it. Called by the embedded engine, which knows which
//! containers use one. A volume's content belongs to its users: nothing here writes into one that is not empty.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use serde::{Deserialize, Serialize};

use super::containers::{is_name, read_record};
use super::copy::copy_tree;
use super::error::{Class, IoContext, StoreError};
use super::{Result, Store};
use crate::engine::volume::{CreateVolume, Volume};
use crate::stdx::atomic::{self, Durability};
use crate::stdx::ids::Id;
use crate::stdx::lock::{FileLock, Mode};
use crate::stdx::tree::{self, ScratchDir};

const RECORD_VERSION: u32 = 1;

/// `meta.json` of a volume.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    version: u32,
    created: SystemTime,
    labels: BTreeMap<String, String>,
    options: BTreeMap<String, String>,
    is_anonymous: bool,
}

/// What happened to a volume at its first use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyUp {
    /// It got the image's content.
    Copied,
    /// It had content, or the image has no such directory.
    Kept,
}

/// The volumes of a store.
#[derive(Debug, Clone, Copy)]
pub struct Volumes<'a> {
    store: &'a Store,
}

impl<'a> Volumes<'a> {
    pub(super) fn new(store: &'a Store) -> Volumes<'a> {
        Volumes { store }
    }

    /// Makes a volume; one that exists already with the same name is returned as it is, as docker does.
    ///
    /// # Errors
    /// [`Class::Invalid`] for a name, driver or option that is not ours; [`Class::Conflict`] when it exists with other options.
    pub fn create(&self, request: &CreateVolume) -> Result<Volume> {
        let driver = request.driver.as_deref().unwrap_or("local");
        if !matches!(driver, "" | "local") {
            return Err(StoreError::new(
                Class::NotFound,
                driver,
                format!("error looking up volume plugin {driver}: plugin \"{driver}\" not found"),
            )
            .with_hint("the only driver is local"));
        }
        if let Some(option) = request.options.keys().next() {
            return Err(StoreError::invalid(option, "the local driver takes no options yet")
                .with_hint("mount the device or network share on the host and use a bind mount"));
        }
        let (name, is_anonymous) = match request.name.as_deref() {
            Some(name) if !name.is_empty() => (name.to_owned(), false),
            _ => (Id::random().to_string(), true),
        };
        if !is_name(&name) {
            return Err(StoreError::new(
                Class::Invalid,
                &name,
                format!(
                    "\"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" \
                     are allowed"
                ),
            )
            .with_hint("to mount a directory of the host, give its absolute path"));
        }
        let record = Record {
            version: RECORD_VERSION,
            created: SystemTime::now(),
            labels: request.labels.clone(),
            options: BTreeMap::new(),
            is_anonymous,
        };
        self.place(&name, &record)?;
        self.get(&name)
    }

    /// Makes the directory aside and renames it into place, so that a volume is whole or not there.
    fn place(&self, name: &str, record: &Record) -> Result<()> {
        let scratch = ScratchDir::new(&self.store.tmp()).at("make a directory in", self.store.tmp())?;
        let made = scratch.path().join("volume");
        let bytes = serde_json::to_vec(record)
            .map_err(|e| StoreError::new(Class::Internal, name, "cannot serialise a record").caused_by(e))?;
        fs::create_dir(&made).at("make the directory", &made)?;
        nix::unistd::mkdir(&made.join("_data"), nix::sys::stat::Mode::from_bits_truncate(0o755))
            .at("make the directory", &made)?;
        super::set_mode(&made, 0o700)?;
        super::set_mode(&made.join("_data"), 0o755)?;
        atomic::write(&made.join("meta.json"), &bytes, Durability::Synced).at("write the record of", &made)?;
        match fs::rename(&made, self.dir(name)) {
            Ok(()) => {
                let parent = self.store.path("volumes");
                File::open(&parent).and_then(|dir| dir.sync_all()).at("flush", &parent)
            }
            Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty) => Ok(()),
            Err(error) => Err(error).at("make the volume", self.dir(name)),
        }
    }

    /// One volume, without its size.
    ///
    /// # Errors
    /// [`Class::NotFound`] in docker's words.
    pub fn get(&self, name: &str) -> Result<Volume> {
        let missing = || StoreError::new(Class::NotFound, name, format!("get {name}: no such volume"));
        if !is_name(name) {
            return Err(missing());
        }
        let dir = self.dir(name);
        let record: Record = read_record(&dir.join("meta.json"), RECORD_VERSION)?.ok_or_else(missing)?;
        Ok(Volume {
            name: name.to_owned(),
            driver: "local".to_owned(),
            mountpoint: dir.join("_data").display().to_string(),
            created: Some(record.created),
            labels: record.labels,
            options: record.options,
            anonymous: record.is_anonymous,
            used_by: None,
            size_bytes: None,
        })
    }

    /// All volumes by name, without sizes.
    ///
    /// # Errors
    /// The failed call; a damaged record is skipped.
    pub fn list(&self) -> Result<Vec<Volume>> {
        let dir = self.store.path("volumes");
        let entries = fs::read_dir(&dir).at("list the volumes in", &dir)?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut volumes: Vec<_> = names.filter_map(|name| self.get(&name).ok()).collect();
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }

    /// The directory that containers see.
    pub fn data_dir(&self, name: &str) -> PathBuf {
        self.dir(name).join("_data")
    }

    /// Bytes on disk of a volume's content; walks all of it.
    ///
    /// # Errors
    /// The failed call.
    pub fn size_bytes(&self, name: &str) -> Result<u64> {
        let data = self.data_dir(name);
        super::snapshot::tree_bytes(&data).at("measure", &data)
    }

    /// Removes a volume and its content. The caller has made sure that no container uses it.
    ///
    /// # Errors
    /// [`Class::NotFound`] in docker's words.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.get(name)?;
        let dir = self.dir(name);
        tree::discard(&dir, &self.store.tmp()).at("remove the volume", &dir)
    }

    /// Fills an empty volume with what the image has at `path`, and gives it that directory's owner and mode.
    ///
    /// `rootfs` is the root of the container's file system; `path` is resolved inside it by the kernel, so that no
    /// symbolic link of the image reaches the host (CVE-2022-23648).
    ///
    /// # Errors
    /// The failed call; the volume is then as empty as before.
    pub fn copy_up(&self, name: &str, rootfs: impl AsFd, path: &Path) -> Result<CopyUp> {
        let data = self.data_dir(name);
        // Two containers may start with one new volume: the second waits and finds it filled.
        let lock = self.dir(name).join("lock");
        let _lock = FileLock::acquire(&lock, Mode::Exclusive, Duration::from_secs(300))
            .map_err(|e| StoreError::lock(&format!("the volume {name}"), e))?;
        let is_empty = fs::read_dir(&data).at("read the volume", &data)?.next().is_none();
        let Some(source) = open_image_dir(&rootfs, path)?.filter(|_| is_empty) else { return Ok(CopyUp::Kept) };
        let aside = self.dir(name).join("_data.new");
        tree::remove_all(&aside).at("remove", &aside)?;
        fs::create_dir(&aside).at("make the directory", &aside)?;
        let target = File::open(&aside).at("open", &aside)?;
        let copied = copy_tree(&source, &target).and_then(|()| Ok(nix::unistd::syncfs(&target)?));
        // The empty directory is replaced in one step: a kill leaves it empty or full.
        if let Err(error) = copied.and_then(|()| fs::rename(&aside, &data)) {
            let _ = tree::remove_all(&aside);
            return Err(error).at("copy the image's content to the volume", &data);
        }
        Ok(CopyUp::Copied)
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.store.path("volumes").join(name)
    }
}

/// The image's directory at `path`, `None` when there is no directory.
fn open_image_dir(rootfs: impl AsFd, path: &Path) -> Result<Option<File>> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    match openat2(&rootfs, path, how) {
        Ok(dir) => Ok(Some(File::from(dir))),
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
        Err(errno) => Err(errno).at("open the image's directory", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("root")).unwrap();
        (dir, store)
    }

    fn named(name: &str) -> CreateVolume {
        CreateVolume { name: Some(name.to_owned()), ..CreateVolume::default() }
    }

    #[test]
    fn a_volume_is_made_found_and_removed() {
        let (_dir, store) = store();
        let volume = store.volumes().create(&named("data")).unwrap();
        assert!(volume.mountpoint.ends_with("volumes/data/_data"));
        fs::write(store.volumes().data_dir("data").join("f"), "x").unwrap();
        store.volumes().create(&named("data")).unwrap();
        assert!(store.volumes().data_dir("data").join("f").exists(), "a second create keeps the content");
        let anonymous = store.volumes().create(&CreateVolume::default()).unwrap();
        assert!(anonymous.anonymous && anonymous.name.len() == 64);
        assert_eq!(store.volumes().list().unwrap().len(), 2);
        store.volumes().remove("data").unwrap();
        assert_eq!(store.volumes().remove("data").unwrap_err().message, "get data: no such volume");
        assert_eq!(fs::read_dir(store.tmp()).unwrap().count(), 0);
    }

    #[test]
    fn names_drivers_and_options_that_are_not_ours_are_refused() {
        let (_dir, store) = store();
        for bad in ["../x", "a/b", "x", "-a", ".."] {
            assert_eq!(store.volumes().create(&named(bad)).unwrap_err().class, Class::Invalid, "{bad}");
            assert_eq!(store.volumes().get(bad).unwrap_err().class, Class::NotFound, "{bad}");
        }
        let other = CreateVolume { driver: Some("nfs".into()), ..named("data") };
        assert!(store.volumes().create(&other).is_err());
        let options = CreateVolume { options: [("type".into(), "tmpfs".into())].into(), ..named("data") };
        assert!(store.volumes().create(&options).is_err());
        assert!(store.volumes().list().unwrap().is_empty());
    }

    /// CVE-2022-23648: the image's VOLUME path led out of the image and copied the host's files.
    #[test]
    fn cve_2022_23648_copy_up_stays_in_the_image() {
        let (dir, store) = store();
        let (host, rootfs) = (dir.path().join("host"), dir.path().join("rootfs"));
        fs::create_dir_all(host.join("secrets")).unwrap();
        fs::write(host.join("secrets/key"), "secret").unwrap();
        fs::create_dir_all(rootfs.join("inside/data")).unwrap();
        fs::write(rootfs.join("inside/data/f"), "mine").unwrap();
        symlink(host.join("secrets"), rootfs.join("absolute")).unwrap();
        symlink("../host/secrets", rootfs.join("relative")).unwrap();
        symlink("/inside", rootfs.join("within")).unwrap();
        let root = File::open(&rootfs).unwrap();
        store.volumes().create(&named("v1")).unwrap();
        for path in ["/absolute", "/relative", "/../host/secrets", "../host/secrets", "/nothing"] {
            assert_eq!(store.volumes().copy_up("v1", &root, Path::new(path)).unwrap(), CopyUp::Kept, "{path}");
        }
        assert_eq!(store.volumes().copy_up("v1", &root, Path::new("/within/data")).unwrap(), CopyUp::Copied);
        assert_eq!(fs::read_to_string(store.volumes().data_dir("v1").join("f")).unwrap(), "mine");
    }

    #[test]
    fn copy_up_keeps_what_files_are_and_happens_once() {
        let (dir, store) = store();
        let rootfs = dir.path().join("rootfs");
        let image = rootfs.join("var/data");
        fs::create_dir_all(image.join("sub")).unwrap();
        fs::write(image.join("a"), "a").unwrap();
        fs::hard_link(image.join("a"), image.join("sub/b")).unwrap();
        symlink("/etc/passwd", image.join("link")).unwrap();
        fs::set_permissions(image.join("a"), fs::Permissions::from_mode(0o4711)).unwrap();
        fs::set_permissions(&image, fs::Permissions::from_mode(0o1777)).unwrap();
        let root = File::open(&rootfs).unwrap();
        store.volumes().create(&named("v1")).unwrap();
        assert_eq!(store.volumes().copy_up("v1", &root, Path::new("/var/data")).unwrap(), CopyUp::Copied);
        let data = store.volumes().data_dir("v1");
        assert_eq!(fs::metadata(&data).unwrap().mode() & 0o7777, 0o1777);
        assert_eq!(fs::metadata(data.join("a")).unwrap().mode() & 0o7777, 0o4711);
        assert_eq!(fs::metadata(data.join("a")).unwrap().ino(), fs::metadata(data.join("sub/b")).unwrap().ino());
        assert_eq!(fs::read_link(data.join("link")).unwrap(), Path::new("/etc/passwd"));
        fs::write(image.join("later"), "x").unwrap();
        assert_eq!(store.volumes().copy_up("v1", &root, Path::new("/var/data")).unwrap(), CopyUp::Kept);
        assert!(!data.join("later").exists());
    }
}
