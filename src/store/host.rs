//! Makes an image from the host's own programs: each with its interpreter and libraries at the paths they have here, so
//! that a machine without a registry can run something real at once. Called by the embedded engine. It reads what the
//! operator names and executes nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use super::adding::Adding;
use super::elf::{self, Cache};
use super::error::{Class, IoContext, StoreError};
use super::layers::Job;
use super::{Result, Store};
use crate::engine::image::LoadedImage;
use crate::engine::progress::Progress;
use crate::oci::image::{ContainerDefaults, History, Platform};
use crate::oci::reference::Reference;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Symbolic links followed on the way to one file, as the kernel counts them.
const MAX_HOPS: usize = 40;
/// Where libraries are when neither the file nor the cache says so.
const LIBRARY_DIRS: &[&str] = &["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"];
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

/// What comes at a path of the image.
enum Item {
    Dir { mode: u32 },
    Link(PathBuf),
    HostDir(PathBuf),
    HostFile(PathBuf),
    Text(&'static str),
}

impl Store {
    /// Makes an image `name` from programs of the host (by path or by name in `PATH`) and whole directories.
    ///
    /// # Errors
    /// `NotFound` when a program, its interpreter or a library is not there; `Invalid` when nothing is named.
    pub fn from_host(&self, name: &Reference, paths: &[PathBuf], progress: &Progress) -> Result<LoadedImage> {
        let mut tree = Tree { items: skeleton(), cache: Cache::of_host(), done: Default::default() };
        // `/bin/sh` and `#!/bin/sh` are to work where /bin is a link to usr/bin, however a program was found.
        for link in ["/bin", "/sbin", "/lib", "/lib64"].map(Path::new) {
            if fs::symlink_metadata(link).is_ok_and(|meta| meta.is_symlink()) && link.exists() {
                tree.add_path(link)?;
            }
        }
        let mut command = None;
        for path in paths {
            let found = locate(path)?;
            if fs::metadata(&found).at("look at", &found)?.is_dir() {
                tree.add_dir(&found)?;
            } else {
                tree.add_program(&found)?;
                command.get_or_insert(found);
            }
        }
        if paths.is_empty() {
            return Err(
                StoreError::invalid("from-host", "no program is named").with_hint("for example: from-host tools sh ls")
            );
        }
        let adding = Adding::start(self)?;
        let layer = pack(&tree.items, &adding, progress)?;
        let defaults = ContainerDefaults {
            cmd: command.map(|path| vec![path.display().to_string()]),
            env: vec![format!("PATH={PATH}")],
            ..ContainerDefaults::default()
        };
        let listed: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        let step = History { created_by: format!("from-host {}", listed.join(" ")), ..History::default() };
        adding.commit_single(layer, defaults, Platform::host(), step, vec![name.clone()])
    }
}

/// What programs expect to find whatever they are.
fn skeleton() -> BTreeMap<PathBuf, Item> {
    let mut items = BTreeMap::new();
    for (path, mode) in
        [("dev", 0o755), ("etc", 0o755), ("proc", 0o755), ("root", 0o700), ("sys", 0o755), ("tmp", 0o1777)]
    {
        items.insert(PathBuf::from(path), Item::Dir { mode });
    }
    items.insert(PathBuf::from("etc/passwd"), Item::Text(PASSWD));
    items.insert(PathBuf::from("etc/group"), Item::Text(GROUP));
    items
}

/// The absolute path of a program: as typed, or looked up in `PATH`.
fn locate(path: &Path) -> Result<PathBuf> {
    let missing = || {
        StoreError::new(Class::NotFound, path.display(), format!("{} is not on this host", path.display()))
            .with_hint("name a program by its path, or by a name that PATH finds")
    };
    if path.components().count() > 1 || path.is_absolute() {
        return std::path::absolute(path).ok().filter(|path| path.exists()).ok_or_else(missing);
    }
    let own = std::env::var("PATH").unwrap_or_else(|_| PATH.to_owned());
    let dirs = own.split(':').chain(PATH.split(':')).filter(|dir| dir.starts_with('/'));
    dirs.map(|dir| Path::new(dir).join(path)).find(|candidate| candidate.is_file()).ok_or_else(missing)
}

struct Tree {
    /// By path relative to the root; parents sort before their children.
    items: BTreeMap<PathBuf, Item>,
    cache: Cache,
    /// Programs and libraries whose needs are met, by real path.
    done: std::collections::HashSet<PathBuf>,
}

impl Tree {
    /// Adds a path with every symbolic link on the way to it; returns the real path.
    fn add_path(&mut self, path: &Path) -> Result<PathBuf> {
        let mut real = PathBuf::from("/");
        let mut ahead: Vec<_> = path.components().rev().map(|c| c.as_os_str().to_owned()).collect();
        let mut n_hops = 0;
        while let Some(part) = ahead.pop() {
            match Path::new(&part).components().next() {
                Some(Component::Normal(_)) => {}
                Some(Component::ParentDir) => {
                    real.pop();
                    continue;
                }
                Some(Component::RootDir) => {
                    real = PathBuf::from("/");
                    continue;
                }
                _ => continue,
            }
            let here = real.join(&part);
            let meta = fs::symlink_metadata(&here).at("look at", &here)?;
            if !meta.is_symlink() {
                real = here;
                let item = if meta.is_dir() { Item::HostDir(real.clone()) } else { Item::HostFile(real.clone()) };
                self.items.entry(relative(&real)).or_insert(item);
                continue;
            }
            n_hops += 1;
            if n_hops > MAX_HOPS {
                return Err(StoreError::invalid(path.display(), "too many symbolic links"));
            }
            let target = fs::read_link(&here).at("read the link", &here)?;
            ahead.extend(target.components().rev().map(|c| c.as_os_str().to_owned()));
            self.items.insert(relative(&here), Item::Link(target));
        }
        Ok(real)
    }

    /// Adds a program or library with everything it needs.
    fn add_program(&mut self, path: &Path) -> Result<()> {
        let mut queue = vec![(path.to_owned(), Vec::new())];
        while let Some((path, inherited)) = queue.pop() {
            let real = self.add_path(&path)?;
            if !self.done.insert(real.clone()) {
                continue;
            }
            let Some(needs) = elf::needs(&real).at("read the program", &real)? else {
                queue.extend(script_needs(&real)?.into_iter().map(|path| (path, Vec::new())));
                continue;
            };
            // RPATH is passed on to the libraries; RUNPATH is the file's own (ld.so(8)).
            let rpath = if needs.runpath.is_empty() { [needs.rpath.clone(), inherited].concat() } else { Vec::new() };
            if let Some(interpreter) = &needs.interpreter {
                queue.push((interpreter.clone(), Vec::new()));
            }
            for library in &needs.libraries {
                let found = self.find_library(library, &needs, &rpath).ok_or_else(|| {
                    let message = format!("{library}, which {} needs, is not on this host", real.display());
                    StoreError::new(Class::NotFound, library, message)
                })?;
                queue.push((found, rpath.clone()));
            }
        }
        Ok(())
    }

    fn find_library(&self, name: &str, needs: &elf::Needs, rpath: &[PathBuf]) -> Option<PathBuf> {
        let fits = |path: &PathBuf| {
            let real = path.canonicalize().ok();
            real.and_then(|real| elf::needs(&real).ok().flatten()).is_some_and(|own| own.machine == needs.machine)
        };
        if name.contains('/') {
            return Some(PathBuf::from(name)).filter(fits);
        }
        let beside = needs.interpreter.as_ref().and_then(|path| path.parent()).map(Path::to_owned);
        let dirs = rpath.iter().chain(&needs.runpath).map(|dir| dir.join(name));
        let cached = self.cache.paths(name).map(Path::to_owned);
        let usual = LIBRARY_DIRS.iter().map(PathBuf::from).chain(beside).map(|dir| dir.join(name));
        dirs.chain(cached).chain(usual).find(fits)
    }

    /// Adds a directory with all that is in it, and what programs in it need as far as that is there.
    fn add_dir(&mut self, path: &Path) -> Result<()> {
        let mut dirs = vec![self.add_path(path)?];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).at("read", &dir)? {
                let path = entry.at("read", &dir)?.path();
                let Ok(meta) = fs::symlink_metadata(&path) else { continue };
                let kind = meta.file_type();
                if kind.is_symlink() {
                    self.items.insert(relative(&path), Item::Link(fs::read_link(&path).at("read the link", &path)?));
                } else if kind.is_dir() {
                    self.items.insert(relative(&path), Item::HostDir(path.clone()));
                    dirs.push(path);
                } else if kind.is_file() {
                    self.items.insert(relative(&path), Item::HostFile(path.clone()));
                    if meta.mode() & 0o111 != 0 || path.to_string_lossy().contains(".so") {
                        // A directory may hold plug-ins for libraries that this host has not.
                        let _ = self.add_program(&path);
                    }
                } else if kind.is_socket() || kind.is_fifo() {
                    tracing::debug!(path = %path.display(), "left out: a socket or pipe");
                }
            }
        }
        Ok(())
    }
}

/// What a script's first line names: its interpreter, and the program that `env` would start.
fn script_needs(path: &Path) -> Result<Vec<PathBuf>> {
    let mut line = Vec::new();
    let file = File::open(path).at("open", path)?;
    BufReader::new(file.take(256)).read_until(b'\n', &mut line).at("read", path)?;
    let Some(rest) = line.strip_prefix(b"#!") else { return Ok(Vec::new()) };
    let text = String::from_utf8_lossy(rest).into_owned();
    let mut words = text.split_whitespace();
    let Some(interpreter) = words.next().map(PathBuf::from) else { return Ok(Vec::new()) };
    let mut needs = vec![locate(&interpreter)?];
    if interpreter.file_name().is_some_and(|name| name == "env")
        && let Some(program) = words.find(|word| !word.starts_with('-') && !word.contains('='))
    {
        needs.push(locate(Path::new(program))?);
    }
    Ok(needs)
}

fn relative(path: &Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_owned()
}

/// Writes the items as a tar into the layer pipeline.
fn pack(items: &BTreeMap<PathBuf, Item>, adding: &Adding<'_>, progress: &Progress) -> Result<super::layers::Fresh> {
    let (mut reader, writer) = io::pipe().map_err(|e| StoreError::io("make", "a pipe", e))?;
    std::thread::scope(|scope| {
        let packer = scope.spawn(move || write_tar(items, writer));
        let job = Job { n: 0, shown: "the host's files", total_bytes: None };
        let layer = adding.workshop(progress).unpack(&job, &mut reader);
        drop(reader);
        let packed = packer.join().unwrap_or_else(|_| Err(StoreError::invalid("from-host", "the packing panicked")));
        match (layer, packed) {
            // A reader that fails breaks the pipe, so the packer's error is only its echo.
            (Err(error), Err(echo)) if is_broken_pipe(&echo) => Err(error),
            (_, Err(error)) => Err(error),
            (layer, Ok(())) => layer,
        }
    })
}

fn is_broken_pipe(error: &StoreError) -> bool {
    let source = error.source.as_ref().and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn write_tar(items: &BTreeMap<PathBuf, Item>, out: impl Write) -> Result<()> {
    let mut tar = tar::Builder::new(io::BufWriter::with_capacity(1 << 20, out));
    tar.follow_symlinks(false);
    tar.sparse(false);
    for (path, item) in items {
        append(&mut tar, path, item).at("pack", path)?;
    }
    tar.into_inner().and_then(|mut out| out.flush()).at("pack", Path::new("the image"))
}

fn append(tar: &mut tar::Builder<impl Write>, path: &Path, item: &Item) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    match item {
        Item::Dir { mode } => {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(*mode);
            tar.append_data(&mut header, path, io::empty())
        }
        Item::Link(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            if target.as_os_str().as_bytes().len() > 4096 {
                return Err(io::ErrorKind::InvalidFilename.into());
            }
            tar.append_link(&mut header, path, target)
        }
        Item::HostDir(host) => {
            header.set_metadata(&fs::symlink_metadata(host)?);
            tar.append_data(&mut header, path, io::empty())
        }
        Item::HostFile(host) => {
            let file = File::open(host)?;
            let meta = file.metadata()?;
            header.set_metadata(&meta);
            // The size was written already: a file that grows meanwhile is cut, one that shrinks is an error.
            tar.append_data(&mut header, path, file.take(meta.len()))
        }
        Item::Text(text) => {
            header.set_mode(0o644);
            header.set_size(text.len() as u64);
            tar.append_data(&mut header, path, text.as_bytes())
        }
    }
}
