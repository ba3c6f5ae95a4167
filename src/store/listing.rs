//! The files of each layer of an image, read from its archive while that goes by: nothing is unpacked and nothing is kept but names and
//! sizes. Called by `remote`, whose daemons tell no more of a layer than its tar. Says the same as [`super::Store::layer_files`] says of
//! unpacked layers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read};

use super::Result;
use super::archive::{Archive, Place};
use super::compression::Compression;
use super::error::StoreError;
use super::layers::read_error;
use super::load::{LoadOptions, plan};
use super::tape::{Entry, Kind, NoTap, Tape, clean_path};
use crate::engine::changes::{Change, ChangeKind, LayerFiles};
use crate::oci::image::{ImageConfig, Platform};
use crate::stdx::ids::Digest;

/// Names kept of one image at most; each takes some hundred bytes.
const MAX_ENTRIES: usize = 1_000_000;
/// What a directory gets that no layer names: 0755 of root.
const IMPLIED: (u32, u64, u64) = (0o755, 0, 0);
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What each layer of the image `id` added, changed and removed, bottom first.
///
/// Blocks until the archive has gone by.
///
/// # Errors
/// `Invalid` for an archive without the image, or with more files than are kept.
pub fn layer_files_of(archive: impl Read, id: &Digest, platform: Option<Platform>) -> Result<Vec<LayerFiles>> {
    let mut listed: Vec<Layer> = Vec::new();
    let mut n_left = MAX_ENTRIES;
    let archive = Archive::consume_with(archive, |entry, body| {
        listed.push(Layer::read(&super::archive::shown(&entry.path), body, &mut n_left)?);
        Ok(Place::Unpacked(listed.len() - 1))
    })?;
    let plans = plan(&archive, &LoadOptions { platform })?;
    let missing = |what: String| StoreError::invalid("the archive", format!("it has no {what}"));
    let plan = plans.into_iter().find(|plan| Digest::of(&plan.config) == *id);
    let plan = plan.ok_or_else(|| missing(format!("image {id}")))?;
    let config =
        ImageConfig::parse(&plan.config).map_err(|e| StoreError::invalid("its config", "is refused").caused_by(e))?;
    let mut makers = config.history.iter().filter(|step| !step.empty_layer);
    let mut below = Tree::default();
    let mut all = Vec::with_capacity(plan.layers.len());
    for layer in &plan.layers {
        let Some((_, Place::Unpacked(at))) = archive.resolve(&layer.path) else {
            return Err(missing(layer.path.clone()));
        };
        let listed = &listed[*at];
        let (changes, wasted_bytes) = below.compare(listed);
        all.push(LayerFiles {
            diff_id: layer.diff_id.to_string(),
            created_by: makers.next().map(|step| step.created_by.clone()).unwrap_or_default(),
            size_bytes: listed.size_bytes,
            changes,
            wasted_bytes,
        });
        below.lay(listed);
    }
    Ok(all)
}

/// A file or directory as far as a comparison needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node {
    is_dir: bool,
    /// Bytes of a regular file.
    size_bytes: u64,
    /// Mode, owner and group of a directory that the layer names; none of one that is only implied.
    attributes: Option<(u32, u64, u64)>,
}

/// What one layer's tar has.
#[derive(Default)]
struct Layer {
    nodes: BTreeMap<Vec<u8>, Node>,
    whiteouts: BTreeSet<Vec<u8>>,
    opaques: BTreeSet<Vec<u8>>,
    size_bytes: u64,
}

impl Layer {
    fn read(shown: &str, body: &mut dyn Read, n_left: &mut usize) -> Result<Layer> {
        let mut head = Vec::new();
        (&mut *body).take(6).read_to_end(&mut head).map_err(|e| read_error(shown, e))?;
        let form = Compression::detect(&head);
        let packed = BufReader::with_capacity(1 << 16, io::Cursor::new(head).chain(body));
        let mut tape = Tape::new(BufReader::with_capacity(1 << 18, form.inflate(packed)?), NoTap);
        let mut layer = Layer::default();
        while let Some(entry) = tape.next_entry()? {
            *n_left = n_left.checked_sub(1).ok_or_else(|| {
                StoreError::invalid("the image", format!("it has more than {MAX_ENTRIES} files, too many to list"))
            })?;
            layer.take(&entry);
        }
        tape.drain()?;
        Ok(layer)
    }

    fn take(&mut self, entry: &Entry) {
        // A name that leads out of the root is no file of the image.
        let Some(path) = clean_path(&entry.path).filter(|path| !path.is_empty()) else { return };
        let (parent, name) = split(&path);
        if name == OPAQUE {
            self.opaques.insert(parent.to_vec());
            return self.imply(parent);
        }
        if let Some(gone) = name.strip_prefix(WHITEOUT) {
            self.whiteouts.insert(join(parent, gone));
            return self.imply(parent);
        }
        self.imply(parent);
        let is_dir = entry.kind == Kind::Directory;
        let size_bytes = match entry.kind {
            Kind::File => entry.sparse.as_ref().map_or(entry.size, |sparse| sparse.real_size),
            Kind::HardLink => {
                let target = clean_path(&entry.link).and_then(|target| self.nodes.get(&target).copied());
                target.map_or(0, |node| node.size_bytes)
            }
            _ => 0,
        };
        if entry.kind == Kind::File {
            self.size_bytes += size_bytes;
        }
        let attributes = is_dir.then_some((entry.mode, entry.uid, entry.gid));
        self.nodes.insert(path, Node { is_dir, size_bytes, attributes });
    }

    /// Directories that a name needs and the tar may not have.
    fn imply(&mut self, dir: &[u8]) {
        let mut dir = dir;
        while !dir.is_empty() && !self.nodes.contains_key(dir) {
            self.nodes.insert(dir.to_vec(), Node { is_dir: true, size_bytes: 0, attributes: None });
            dir = split(dir).0;
        }
    }
}

/// The file system as the layers so far make it.
#[derive(Default)]
struct Tree(BTreeMap<Vec<u8>, Node>);

impl Tree {
    /// What a layer on top of it changes, in order of path, and the bytes that it hides.
    fn compare(&self, layer: &Layer) -> (Vec<Change>, u64) {
        let mut changes: BTreeMap<&[u8], (ChangeKind, u64)> = BTreeMap::new();
        let mut wasted_bytes = 0;
        for (path, node) in &layer.nodes {
            let Some(old) = self.0.get(path) else {
                changes.insert(path, (ChangeKind::Added, node.size_bytes));
                continue;
            };
            if !(old.is_dir && node.is_dir) {
                wasted_bytes += self.bytes_of(path);
            }
            // One that is only there to hold something did not change.
            let is_same = old.is_dir && node.is_dir && (node.attributes.is_none() || node.attributes == old.attributes);
            if !is_same {
                changes.insert(path, (ChangeKind::Modified, node.size_bytes));
            }
        }
        let replaced = layer.whiteouts.iter().filter(|path| layer.nodes.get(*path).is_some_and(|node| node.is_dir));
        let hidden = layer.opaques.iter().chain(replaced).flat_map(|dir| self.children(dir));
        let gone = layer.whiteouts.iter().filter_map(|path| self.0.get_key_value(path).map(|(path, _)| path));
        for path in hidden.chain(gone).filter(|path| !layer.nodes.contains_key(*path)) {
            let bytes = self.bytes_of(path);
            if changes.insert(path, (ChangeKind::Deleted, bytes)).is_none() {
                wasted_bytes += bytes;
            }
        }
        let change = |(path, (kind, size_bytes)): (&[u8], (ChangeKind, u64))| Change {
            path: format!("/{}", String::from_utf8_lossy(path)),
            kind,
            size_bytes,
        };
        (changes.into_iter().map(change).collect(), wasted_bytes)
    }

    fn lay(&mut self, layer: &Layer) {
        for path in &layer.whiteouts {
            self.remove_beneath(path);
            self.0.remove(path);
        }
        for dir in &layer.opaques {
            self.remove_beneath(dir);
        }
        for (path, node) in &layer.nodes {
            if !node.is_dir && self.0.get(path).is_some_and(|old| old.is_dir) {
                self.remove_beneath(path);
            }
            let kept = self.0.get(path).filter(|old| old.is_dir && node.is_dir).and_then(|old| old.attributes);
            let attributes = node.attributes.or(kept).or(Some(IMPLIED));
            self.0.insert(path.clone(), Node { attributes, ..*node });
        }
    }

    fn beneath<'a>(&'a self, dir: &[u8]) -> impl Iterator<Item = (&'a Vec<u8>, &'a Node)> + use<'a> {
        let prefix = if dir.is_empty() { Vec::new() } else { [dir, b"/"].concat() };
        self.0.range(prefix.clone()..).take_while(move |(path, _)| path.starts_with(&prefix))
    }

    fn children<'a>(&'a self, dir: &[u8]) -> impl Iterator<Item = &'a Vec<u8>> + use<'a> {
        let start = if dir.is_empty() { 0 } else { dir.len() + 1 };
        self.beneath(dir).map(|(path, _)| path).filter(move |path| !path[start..].contains(&b'/'))
    }

    /// Bytes of the files at a path and beneath it.
    fn bytes_of(&self, path: &[u8]) -> u64 {
        let own = self.0.get(path).map_or(0, |node| node.size_bytes);
        own + self.beneath(path).map(|(_, node)| node.size_bytes).sum::<u64>()
    }

    fn remove_beneath(&mut self, dir: &[u8]) {
        let gone: Vec<Vec<u8>> = self.beneath(dir).map(|(path, _)| path.clone()).collect();
        for path in gone {
            self.0.remove(&path);
        }
    }
}

/// The directory and the last name of a clean path.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    memchr::memrchr(b'/', path).map_or((&path[..0], path), |at| (&path[..at], &path[at + 1..]))
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}
