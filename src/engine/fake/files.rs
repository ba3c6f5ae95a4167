//! The files of the fake's images and containers, in memory: what `cp`, `diff`, `export` and `commit` read and write. Part of the fake; a
//! file is a name with bytes, a directory a name.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::EPOCH_S;
use crate::engine::changes::{Change, ChangeKind, CopiedPath};
use crate::engine::error::{Class, EngineError, Result};
use crate::engine::image::ImageConfig;
use crate::engine::{Reader, Writer};

/// A file's bytes, or nothing for a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Dir,
    File(Vec<u8>),
}

/// Absolute paths without a slash at the end; the root is not among them.
pub(super) type Files = BTreeMap<String, Node>;

/// What every image has.
pub(super) fn of_an_image() -> Arc<Files> {
    let dirs = ["/bin", "/data", "/etc", "/tmp"].map(|path| (path.to_owned(), Node::Dir));
    let files = [("/bin/sh", "#!"), ("/data/seed", "from the image\n"), ("/etc/hosts", "127.0.0.1 localhost\n")];
    let files = files.map(|(path, text)| (path.to_owned(), Node::File(text.as_bytes().to_vec())));
    Arc::new(dirs.into_iter().chain(files).collect())
}

/// What a container has that its image has not, in order of path; a directory with something new or gone in it has changed.
pub(super) fn changes(image: &Files, container: &Files) -> Vec<Change> {
    let mut found: BTreeMap<&str, ChangeKind> = BTreeMap::new();
    let mut note = |path, kind| {
        found.insert(path, kind);
        let parent = parent(path);
        if !parent.is_empty() {
            found.entry(parent).or_insert(ChangeKind::Modified);
        }
    };
    for (path, node) in container {
        match image.get(path) {
            None => note(path, ChangeKind::Added),
            Some(old) if old != node => note(path, ChangeKind::Modified),
            Some(_) => {}
        }
    }
    for path in image.keys().filter(|path| !container.contains_key(*path)) {
        note(path, ChangeKind::Deleted);
    }
    let size = |path: &str| container.get(path).or(image.get(path)).map_or(0, size_of);
    let change = |(path, kind): (&str, ChangeKind)| Change { path: path.to_owned(), kind, size_bytes: size(path) };
    found.into_iter().map(change).collect()
}

pub(super) fn stat(files: &Files, ctr: &str, path: &str) -> Result<CopiedPath> {
    let (clean, node) = find(files, ctr, path)?;
    let name = clean.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("/").to_owned();
    let mode = if node == Node::Dir { 0o040_755 } else { 0o100_644 };
    let modified = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH_S));
    Ok(CopiedPath { name, size_bytes: size_of(&node), mode, modified, link_target: String::new() })
}

/// Writes what is at `path`, under its last name, as a tar.
pub(super) fn copy_from(files: &Files, ctr: &str, path: &str, to: Writer) -> Result<()> {
    let (clean, node) = find(files, ctr, path)?;
    let name = if path.ends_with("/.") { "." } else { clean.rsplit('/').next().unwrap_or(".") };
    let name = if name.is_empty() { "." } else { name };
    let beneath = format!("{clean}/");
    let inside = files.iter().filter(|(path, _)| path.starts_with(&beneath));
    let inside = inside.map(|(path, node)| (format!("{name}/{}", &path[beneath.len()..]), node.clone()));
    write_tar(std::iter::once((name.to_owned(), node)).chain(inside), to)
}

pub(super) fn export(files: &Files, to: Writer) -> Result<()> {
    write_tar(files.iter().map(|(path, node)| (path[1..].to_owned(), node.clone())), to)
}

/// Unpacks a tar into a directory that is there.
pub(super) fn copy_into(files: &mut Files, ctr: &str, path: &str, tar: Reader) -> Result<()> {
    let (dir, node) = find(files, ctr, path)?;
    if node != Node::Dir {
        return Err(EngineError::new(Class::Invalid, path, format!("extraction point is not a directory: {path}")));
    }
    let bad = |error: io::Error| EngineError::new(Class::Invalid, path, "cannot read the archive").caused_by(&error);
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries().map_err(bad)? {
        let mut entry = entry.map_err(bad)?;
        let name = clean(&entry.path().map_err(bad)?.to_string_lossy());
        let node = match entry.header().entry_type() {
            tar::EntryType::Directory => Node::Dir,
            tar::EntryType::Regular => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(bad)?;
                Node::File(bytes)
            }
            _ => continue,
        };
        if !name.is_empty() {
            files.insert(format!("{dir}{name}"), node);
        }
    }
    Ok(())
}

/// A Dockerfile line on a configuration; the few that a demonstration needs.
pub(super) fn apply(config: &mut ImageConfig, line: &str) {
    let (word, rest) = line.trim().split_once(' ').unwrap_or((line, ""));
    let words = || serde_json::from_str(rest).unwrap_or_else(|_| ["/bin/sh", "-c", rest].map(str::to_owned).to_vec());
    match word.to_ascii_uppercase().as_str() {
        "CMD" => config.cmd = Some(words()),
        "ENTRYPOINT" => config.entrypoint = Some(words()),
        "ENV" => config.env.push(rest.to_owned()),
        "USER" => config.user = rest.to_owned(),
        "WORKDIR" => config.working_dir = rest.to_owned(),
        "LABEL" => {
            let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
            config.labels.insert(key.to_owned(), value.trim_matches('"').to_owned());
        }
        _ => {}
    }
}

fn find(files: &Files, ctr: &str, path: &str) -> Result<(String, Node)> {
    let clean = clean(path);
    let node = if clean.is_empty() { Some(&Node::Dir) } else { files.get(&clean) };
    let missing =
        || EngineError::new(Class::NotFound, path, format!("Could not find the file {path} in container {ctr}"));
    node.cloned().map(|node| (clean, node)).ok_or_else(missing)
}

/// `/a/b` for `a/./b/`; empty for the root.
fn clean(path: &str) -> String {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != "." && *part != "..");
    parts.fold(String::new(), |path, part| path + "/" + part)
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn size_of(node: &Node) -> u64 {
    match node {
        Node::Dir => 0,
        Node::File(bytes) => bytes.len() as u64,
    }
}

fn write_tar(nodes: impl Iterator<Item = (String, Node)>, mut to: Writer) -> Result<()> {
    let failed = |error: io::Error| EngineError::new(Class::Internal, "", "cannot write the archive").caused_by(&error);
    let mut tar = tar::Builder::new(Vec::new());
    for (path, node) in nodes {
        let mut header = tar::Header::new_gnu();
        let (kind, mode, bytes) = match node {
            Node::Dir => (tar::EntryType::Directory, 0o755, Vec::new()),
            Node::File(bytes) => (tar::EntryType::Regular, 0o644, bytes),
        };
        let path = if kind == tar::EntryType::Directory { path + "/" } else { path };
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        header.set_mtime(EPOCH_S);
        tar.append_data(&mut header, path, bytes.as_slice()).map_err(failed)?;
    }
    let bytes = tar.into_inner().map_err(failed)?;
    to.write_all(&bytes).and_then(|()| to.flush()).map_err(failed)
}
