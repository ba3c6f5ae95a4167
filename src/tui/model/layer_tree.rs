//! The layers of an image as a tree that folds: each layer, and below it the files that it added, changed or removed. Built off the screen's
//! thread when the answer comes; a key costs the rows that show, painting the rows on screen.

use std::collections::HashSet;

use crate::engine::changes::{Change, ChangeKind, LayerFiles};

use super::super::text::sanitise;

/// One layer, bottom first.
#[derive(Clone, Debug)]
pub struct LayerNode {
    pub made_by: String,
    pub size_bytes: u64,
    pub wasted_bytes: u64,
    /// Files added, changed, removed; directories are not counted.
    pub counts: [usize; 3],
    files: Vec<FileNode>,
}

/// A path in a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileNode {
    pub depth: usize,
    pub name: String,
    pub kind: ChangeKind,
    /// Its own bytes, or of all below a directory.
    pub size_bytes: u64,
    /// Entries below this one.
    pub n_below: usize,
}

/// A row that shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    layer: usize,
    /// `None`: the layer itself.
    file: Option<usize>,
}

/// What a row shows.
pub enum Shown<'a> {
    Layer(&'a LayerNode),
    File(&'a FileNode),
}

/// The tree, what is open, where the cursor is.
#[derive(Clone, Debug, Default)]
pub struct LayerTree {
    layers: Vec<LayerNode>,
    open: HashSet<Place>,
    visible: Vec<Place>,
    cursor: usize,
    offset: usize,
    search: String,
    /// Places whose path has the text searched for, in order.
    found: Vec<Place>,
}

impl LayerTree {
    /// Sorts everything into trees: costs the number of paths; not for the screen's thread.
    pub fn new(layers: Vec<LayerFiles>) -> Self {
        let mut tree = Self { layers: layers.into_iter().map(LayerNode::new).collect(), ..Self::default() };
        tree.refold();
        tree
    }

    pub fn layers(&self) -> &[LayerNode] {
        &self.layers
    }

    pub fn n_visible(&self) -> usize {
        self.visible.len()
    }

    pub fn cursor(&self) -> usize {
        self.cursor
    }

    pub fn step(&mut self, delta: isize) {
        self.cursor = self.cursor.saturating_add_signed(delta).min(self.visible.len().saturating_sub(1));
    }

    pub fn first_on_screen(&self, height: usize) -> usize {
        let lowest = (self.cursor + 1).saturating_sub(height);
        self.offset.clamp(lowest, self.cursor.max(lowest)).min(self.visible.len().saturating_sub(height))
    }

    pub fn scroll_into(&mut self, height: usize) {
        self.offset = self.first_on_screen(height);
    }

    /// Rows on screen: position, whether open, what it is.
    pub fn window(&self, height: usize) -> impl Iterator<Item = (usize, bool, Shown<'_>)> {
        let first = self.first_on_screen(height);
        let rows = self.visible.iter().enumerate().skip(first).take(height);
        rows.map(|(at, place)| (at, self.open.contains(place), self.shown(*place)))
    }

    fn shown(&self, place: Place) -> Shown<'_> {
        let layer = &self.layers[place.layer];
        place.file.map_or(Shown::Layer(layer), |file| Shown::File(&layer.files[file]))
    }

    fn n_below(&self, place: Place) -> usize {
        match self.shown(place) {
            Shown::Layer(layer) => layer.files.len(),
            Shown::File(file) => file.n_below,
        }
    }

    /// Opens the row; on an open one, goes to its first child.
    pub fn unfold(&mut self) {
        let Some(here) = self.visible.get(self.cursor).copied() else { return };
        if self.n_below(here) == 0 {
            return;
        }
        if self.open.insert(here) { self.refold() } else { self.step(1) }
    }

    /// Folds the row; on a folded one, goes to what holds it. False when there is nothing further out.
    pub fn fold(&mut self) -> bool {
        let Some(here) = self.visible.get(self.cursor).copied() else { return false };
        if self.open.remove(&here) {
            self.refold();
            return true;
        }
        let depth = |place: &Place| match self.shown(*place) {
            Shown::Layer(_) => 0,
            Shown::File(file) => file.depth + 1,
        };
        let parent = self.visible[..self.cursor].iter().rposition(|place| depth(place) < depth(&here));
        if let Some(parent) = parent.filter(|_| here.file.is_some()) {
            self.cursor = parent;
        }
        here.file.is_some()
    }

    /// Folds everything, or opens all layers when all is folded.
    pub fn toggle_all(&mut self) {
        let here = self.visible.get(self.cursor).map(|place| place.layer);
        if self.open.is_empty() {
            self.open = (0..self.layers.len()).map(|layer| Place { layer, file: None }).collect();
        } else {
            self.open.clear();
        }
        self.refold();
        let found = self.visible.iter().position(|place| Some(place.layer) == here && place.file.is_none());
        self.cursor = found.unwrap_or(0);
    }

    pub fn search(&self) -> &str {
        &self.search
    }

    /// How many paths match, and which of them the cursor is on, from one.
    pub fn matches(&self) -> (usize, Option<usize>) {
        let here = self.visible.get(self.cursor);
        let at = here.and_then(|here| self.found.binary_search(here).ok());
        (self.found.len(), at.map(|at| at + 1))
    }

    /// Looks for a part of a name, with a slash in it for a part of a path; capitals count when some are typed. Goes to the first from here.
    /// Costs the number of paths.
    pub fn set_search(&mut self, text: &str) {
        self.search = text.to_owned();
        self.found.clear();
        if text.is_empty() {
            return;
        }
        let ignores_case = !text.chars().any(char::is_uppercase);
        let has = |name: &str| if ignores_case { name.to_lowercase().contains(text) } else { name.contains(text) };
        let is_path = text.contains('/');
        for (layer, node) in self.layers.iter().enumerate() {
            let mut path: Vec<&str> = Vec::new();
            for (at, file) in node.files.iter().enumerate() {
                path.truncate(file.depth);
                path.push(&file.name);
                if if is_path { has(&format!("/{}", path.join("/"))) } else { has(&file.name) } {
                    self.found.push(Place { layer, file: Some(at) });
                }
            }
        }
        let here = self.visible.get(self.cursor).copied();
        let at = self.found.partition_point(|place| here.is_some_and(|here| *place < here));
        self.go_to_match(at);
    }

    pub fn next_match(&mut self) {
        let here = self.visible.get(self.cursor).copied();
        let at = self.found.partition_point(|place| here.is_some_and(|here| *place <= here));
        self.go_to_match(at);
    }

    pub fn previous_match(&mut self) {
        let here = self.visible.get(self.cursor).copied();
        let at = self.found.partition_point(|place| here.is_some_and(|here| *place < here));
        self.go_to_match(at.checked_sub(1).unwrap_or(self.found.len().saturating_sub(1)));
    }

    /// Opens whatever holds the match; past the last one comes the first.
    fn go_to_match(&mut self, at: usize) {
        let Some(place) = self.found.get(at).or(self.found.first()).copied() else { return };
        self.open.insert(Place { layer: place.layer, file: None });
        let files = &self.layers[place.layer].files;
        let mut depth = place.file.map_or(0, |file| files[file].depth);
        for at in (0..place.file.unwrap_or(0)).rev() {
            if files[at].depth < depth {
                depth = files[at].depth;
                self.open.insert(Place { layer: place.layer, file: Some(at) });
            }
        }
        self.refold();
        self.cursor = self.visible.iter().position(|shown| *shown == place).unwrap_or(self.cursor);
    }

    fn refold(&mut self) {
        self.visible.clear();
        for (layer, node) in self.layers.iter().enumerate() {
            let place = Place { layer, file: None };
            self.visible.push(place);
            if !self.open.contains(&place) {
                continue;
            }
            let mut at = 0;
            while let Some(file) = node.files.get(at) {
                let place = Place { layer, file: Some(at) };
                self.visible.push(place);
                at += if self.open.contains(&place) { 1 } else { 1 + file.n_below };
            }
        }
        self.step(0);
    }
}

impl LayerNode {
    fn new(layer: LayerFiles) -> Self {
        let mut changes: Vec<(Vec<&str>, &Change)> = layer
            .changes
            .iter()
            .map(|change| (change.path.split('/').filter(|part| !part.is_empty()).collect(), change))
            .collect();
        // By parts, not by bytes: `/etc-old` must not come between `/etc` and what is in it.
        changes.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut files: Vec<FileNode> = Vec::new();
        let mut above: Vec<(&str, usize)> = Vec::new();
        for (parts, change) in &changes {
            let Some((name, dirs)) = parts.split_last() else { continue };
            let common = above.iter().zip(dirs).take_while(|((known, _), dir)| known == *dir).count();
            above.truncate(common);
            for dir in &dirs[common..] {
                // An engine that leaves directories out which only hold changes.
                above.push((dir, files.len()));
                files.push(FileNode::new(above.len() - 1, dir, ChangeKind::Modified, 0));
            }
            for (_, at) in &above {
                files[*at].n_below += 1;
                files[*at].size_bytes += change.size_bytes;
            }
            above.push((name, files.len()));
            files.push(FileNode::new(dirs.len(), name, change.kind, change.size_bytes));
        }
        count_below(&mut files);
        let of = |kind: ChangeKind| files.iter().filter(|file| file.n_below == 0 && file.kind == kind).count();
        let counts = [of(ChangeKind::Added), of(ChangeKind::Modified), of(ChangeKind::Deleted)];
        let made_by = layer.created_by.strip_prefix("/bin/sh -c #(nop) ").unwrap_or(&layer.created_by).trim();
        Self {
            made_by: sanitise(made_by).into_owned(),
            size_bytes: layer.size_bytes,
            wasted_bytes: layer.wasted_bytes,
            counts,
            files,
        }
    }
}

/// Entries below each one, from the depths alone.
fn count_below(files: &mut [FileNode]) {
    let mut holders: Vec<usize> = Vec::new();
    for at in 0..files.len() {
        holders.truncate(files[at].depth);
        files[at].n_below = 0;
        for holder in &holders {
            files[*holder].n_below += 1;
        }
        holders.push(at);
    }
}

impl FileNode {
    fn new(depth: usize, name: &str, kind: ChangeKind, size_bytes: u64) -> Self {
        Self { depth, name: sanitise(name).into_owned(), kind, size_bytes, n_below: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> LayerTree {
        let change = |path: &str, kind, size_bytes| Change { path: path.to_owned(), kind, size_bytes };
        let changes = vec![
            change("/etc", ChangeKind::Modified, 0),
            change("/etc-old", ChangeKind::Deleted, 7),
            change("/etc/hosts", ChangeKind::Modified, 10),
            change("/usr/lib/a.so", ChangeKind::Added, 100),
            change("/usr/lib/b.so", ChangeKind::Added, 20),
        ];
        let layer = |changes| LayerFiles { created_by: "RUN x".to_owned(), changes, ..LayerFiles::default() };
        LayerTree::new(vec![layer(Vec::new()), layer(changes)])
    }

    fn rows(tree: &LayerTree) -> Vec<String> {
        let show = |shown| match shown {
            Shown::Layer(layer) => layer.made_by.clone(),
            Shown::File(file) => format!("{}{} {}", " ".repeat(file.depth), file.name, file.size_bytes),
        };
        tree.window(100).map(|(_, _, shown)| show(shown)).collect()
    }

    #[test]
    fn directories_hold_their_files_and_missing_ones_are_made_up() {
        let mut tree = tree();
        assert_eq!(tree.layers()[1].counts, [2, 1, 1]);
        tree.step(1);
        tree.unfold();
        assert_eq!(rows(&tree), ["RUN x", "RUN x", "etc 10", "etc-old 7", "usr 120"]);
        tree.step(3);
        tree.unfold();
        tree.unfold();
        tree.unfold();
        assert_eq!(rows(&tree)[4..], ["usr 120", " lib 120", "  a.so 100", "  b.so 20"]);
    }

    #[test]
    fn a_search_opens_what_holds_the_match_and_goes_round() {
        let mut tree = tree();
        tree.set_search("B.SO");
        assert_eq!(tree.matches(), (0, None), "capitals that are typed count");
        tree.set_search(".so");
        assert_eq!((tree.matches(), rows(&tree)[tree.cursor()].as_str()), ((2, Some(1)), "  a.so 100"));
        tree.next_match();
        assert_eq!(rows(&tree)[tree.cursor()], "  b.so 20");
        tree.next_match();
        assert_eq!(tree.matches().1, Some(1));
        tree.previous_match();
        assert_eq!(tree.matches().1, Some(2));
        tree.set_search("etc/h");
        assert_eq!(rows(&tree)[tree.cursor()], " hosts 10");
        tree.set_search("");
        assert_eq!(tree.matches().0, 0);
    }

    #[test]
    fn folding_goes_outwards_and_ends_at_the_layers() {
        let mut tree = tree();
        tree.toggle_all();
        tree.step(4);
        assert!(tree.fold(), "to the layer");
        assert_eq!(tree.cursor(), 1);
        assert!(tree.fold(), "folds it");
        assert_eq!(tree.n_visible(), 2);
        assert!(!tree.fold());
        tree.unfold();
        tree.toggle_all();
        assert_eq!(tree.n_visible(), 2);
    }
}
