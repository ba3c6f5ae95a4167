//! What one layer, or a container's writable one, differs in from those below it: `diff`, and the files of each layer of an image.
//! Called by the embedded engine. Layers are compared where they lie; nothing is mounted and nothing is followed.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, SFlag, fstat, fstatat};

use super::error::IoContext;
use super::extract::OPAQUE;
use super::merged::{Found, Stack, step};
use super::{Result, Store};
use crate::engine::changes::{Change, ChangeKind, LayerFiles};
use crate::stdx::ids::Id;
use crate::stdx::tree::names;
use crate::sys::xattr;

/// One path that differs.
struct Difference {
    /// Relative to the root.
    path: PathBuf,
    kind: ChangeKind,
    size_bytes: u64,
    /// Bytes below that it hides.
    hidden_bytes: u64,
    /// A directory that is only there to hold something, with the attributes it has below.
    is_same_dir: bool,
}

impl Difference {
    fn into_change(self) -> Change {
        let path = Path::new("/").join(&self.path).to_string_lossy().into_owned();
        Change { path, kind: self.kind, size_bytes: self.size_bytes }
    }
}

impl Store {
    /// What a container has changed against its image, parents before children, in alphabetical order.
    ///
    /// # Errors
    /// The failed call.
    pub fn changes(&self, container: &Id) -> Result<Vec<Change>> {
        let overlay = self.overlay(container)?;
        let image = Stack::open(&overlay.lowers).at("open the layers of", &overlay.upper)?;
        let found = compare(&overlay.upper, &image).at("compare", &overlay.upper)?;
        Ok(found.into_iter().map(Difference::into_change).collect())
    }

    /// What each layer of an image added, changed and removed, bottom first.
    ///
    /// Blocks; looks at every file of the image.
    ///
    /// # Errors
    /// [`super::Class::NotFound`], the failed call.
    pub fn layer_files(&self, image: &str) -> Result<Vec<LayerFiles>> {
        // While they are read nobody may collect them.
        let _keep = self.keep_content()?;
        let image = self.image(image)?;
        let mut makers = image.config.history.iter().filter(|step| !step.empty_layer);
        let roots: Vec<PathBuf> = image.layers.iter().map(|(id, _)| self.layer_dir(id).join("fs")).collect();
        let mut all = Vec::with_capacity(roots.len());
        for (at, (diff_id, size_bytes)) in image.layers.iter().enumerate() {
            let below = Stack::open(roots[..at].iter().rev()).at("open the layers below", &roots[at])?;
            let found = compare(&roots[at], &below).at("compare", &roots[at])?;
            let wasted_bytes = found.iter().map(|difference| difference.hidden_bytes).sum();
            let told = found.into_iter().filter(|difference| !difference.is_same_dir);
            all.push(LayerFiles {
                diff_id: diff_id.to_string(),
                created_by: makers.next().map(|step| step.created_by.clone()).unwrap_or_default(),
                size_bytes: *size_bytes,
                changes: told.map(Difference::into_change).collect(),
                wasted_bytes,
            });
        }
        Ok(all)
    }
}

/// Everything in `top` that differs from `below`, in order of path.
fn compare(top: &Path, below: &Stack) -> io::Result<Vec<Difference>> {
    let mut found = Vec::new();
    let mut dirs = vec![PathBuf::new()];
    while let Some(dir) = dirs.pop() {
        compare_dir(top, &dir, below, &mut found, &mut dirs)?;
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn compare_dir(
    top: &Path,
    dir: &Path,
    below: &Stack,
    found: &mut Vec<Difference>,
    dirs: &mut Vec<PathBuf>,
) -> io::Result<()> {
    let opened = File::open(top.join(dir))?;
    let parts = match below.look_up(dir.as_os_str().as_bytes())? {
        Found::Dir(parts) => parts,
        _ => Vec::new(),
    };
    let is_opaque = !dir.as_os_str().is_empty() && xattr::get_at(&opened, c".", OPAQUE)?.is_some_and(|v| v == b"y");
    if is_opaque {
        hidden_by(&opened, dir, &parts, found)?;
    }
    for name in names(&opened)? {
        // What vanishes while we look is not there.
        let stat = match fstatat(&opened, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => continue,
            other => other?,
        };
        let path = dir.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let old = step(&parts, name.to_bytes())?;
        let hidden_bytes = hidden(&parts, &name, &old, &stat)?;
        let is_whiteout = kind(&stat) == SFlag::S_IFCHR && stat.st_rdev == 0;
        let (change, size_bytes) = match (is_whiteout, &old) {
            // Made and removed again: a whiteout over nothing.
            (true, Found::Nothing) => continue,
            (true, _) => (ChangeKind::Deleted, hidden_bytes),
            (false, Found::Nothing) => (ChangeKind::Added, file_bytes(&stat)),
            (false, _) => (ChangeKind::Modified, file_bytes(&stat)),
        };
        let is_dir = kind(&stat) == SFlag::S_IFDIR;
        let is_same_dir = match &old {
            Found::Dir(parts) if is_dir => is_same(&stat, parts)?,
            _ => false,
        };
        found.push(Difference { path: path.clone(), kind: change, size_bytes, hidden_bytes, is_same_dir });
        if is_dir {
            dirs.push(path);
        }
    }
    Ok(())
}

/// What an opaque directory hides, each entry as deleted unless the layer has it again.
fn hidden_by(top: &File, dir: &Path, parts: &[OwnedFd], found: &mut Vec<Difference>) -> io::Result<()> {
    for name in merged_names(parts)? {
        let old = step(parts, name.to_bytes())?;
        if matches!(old, Found::Nothing) {
            continue;
        }
        let hidden_bytes = bytes_of(parts, &name, &old)?;
        let path = dir.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
        // A path that is here again is told with what took its place.
        if fstatat(top, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW).is_err() {
            let kind = ChangeKind::Deleted;
            found.push(Difference { path, kind, size_bytes: hidden_bytes, hidden_bytes, is_same_dir: false });
        }
    }
    Ok(())
}

/// Bytes below that an entry of the upper layer makes invisible.
fn hidden(parts: &[OwnedFd], name: &CStr, old: &Found, new: &FileStat) -> io::Result<u64> {
    match old {
        Found::Nothing => Ok(0),
        // A directory over a directory hides nothing by itself.
        Found::Dir(_) if kind(new) == SFlag::S_IFDIR => Ok(0),
        _ => bytes_of(parts, name, old),
    }
}

/// Bytes of the files at `name`, and beneath it where it is a directory.
fn bytes_of(parts: &[OwnedFd], name: &CStr, old: &Found) -> io::Result<u64> {
    match old {
        Found::Nothing => Ok(0),
        Found::Leaf => {
            let visible = parts.iter().find_map(|dir| fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok());
            Ok(visible.map_or(0, |stat| file_bytes(&stat)))
        }
        Found::Dir(inner) => {
            let mut total = 0;
            for name in merged_names(inner)? {
                let old = step(inner, name.to_bytes())?;
                total += bytes_of(inner, &name, &old)?;
            }
            Ok(total)
        }
    }
}

fn merged_names(parts: &[OwnedFd]) -> io::Result<std::collections::BTreeSet<std::ffi::CString>> {
    let mut all = std::collections::BTreeSet::new();
    for part in parts {
        all.extend(names(part.as_fd())?);
    }
    Ok(all)
}

fn is_same(new: &FileStat, parts: &[OwnedFd]) -> io::Result<bool> {
    let Some(first) = parts.first() else { return Ok(false) };
    let old = fstat(first)?;
    Ok((old.st_mode, old.st_uid, old.st_gid) == (new.st_mode, new.st_uid, new.st_gid))
}

fn file_bytes(stat: &FileStat) -> u64 {
    if kind(stat) == SFlag::S_IFREG { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 }
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}
