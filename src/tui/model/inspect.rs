//! A JSON document as a tree that folds. Built when a document arrives; a key costs the rows that change, painting the rows on screen.

use std::collections::HashSet;

use serde_json::Value;

use super::super::text::sanitise;

/// Entries deeper than this start folded.
const OPEN_DEPTH: usize = 1;

/// One entry of the document, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub depth: usize,
    /// `None` for elements of an array.
    pub key: Option<String>,
    pub kind: Kind,
    /// The value, or for objects and arrays how much is inside.
    pub text: String,
    /// Entries below this one.
    pub n_below: usize,
    path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    String,
    Number,
    /// `true`, `false`, `null`.
    Word,
}

/// The tree, what is folded, where the cursor is, what is searched for.
#[derive(Clone, Debug, Default)]
pub struct Inspect {
    nodes: Vec<Node>,
    /// Paths, so that a document that changed keeps its folds.
    folded: HashSet<String>,
    is_known: bool,
    /// Indices of nodes that no fold hides.
    visible: Vec<usize>,
    cursor: usize,
    offset: usize,
    search: String,
}

impl Inspect {
    /// Shows another document; folds and cursor stay where the paths are the same.
    pub fn set(&mut self, document: &Value) {
        let here = self.current().map(|node| node.path.clone());
        self.nodes.clear();
        collect(document, None, 0, "", &mut self.nodes);
        // The outermost braces are no entry of their own.
        if !self.nodes.is_empty() {
            self.nodes.remove(0);
        }
        if !std::mem::replace(&mut self.is_known, true) {
            let deep = self.nodes.iter().filter(|node| node.n_below > 0 && node.depth >= OPEN_DEPTH);
            self.folded = deep.map(|node| node.path.clone()).collect();
        }
        self.refold();
        let found = here.and_then(|path| self.visible.iter().position(|at| self.nodes[*at].path == path));
        self.cursor = found.unwrap_or(0);
    }

    /// Forgets everything: another subject.
    pub fn clear(&mut self) {
        let search = std::mem::take(&mut self.search);
        *self = Self { search, ..Self::default() };
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub fn n_visible(&self) -> usize {
        self.visible.len()
    }

    pub fn cursor(&self) -> usize {
        self.cursor
    }

    pub fn is_folded(&self, node: &Node) -> bool {
        self.folded.contains(&node.path)
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

    pub fn window(&self, height: usize) -> impl Iterator<Item = (usize, &Node)> {
        let first = self.first_on_screen(height);
        self.visible.iter().enumerate().skip(first).take(height).map(|(at, node)| (at, &self.nodes[*node]))
    }

    pub fn current(&self) -> Option<&Node> {
        self.visible.get(self.cursor).map(|at| &self.nodes[*at])
    }

    /// Unfolds the entry; on an open one, goes to its first child.
    pub fn unfold(&mut self) {
        let Some(node) = self.current().cloned() else { return };
        if self.folded.remove(&node.path) {
            self.refold();
        } else if node.n_below > 0 {
            self.step(1);
        }
    }

    /// Folds the entry; on one without children or already folded, goes to its parent. False when there is nothing further out.
    pub fn fold(&mut self) -> bool {
        let Some(node) = self.current().cloned() else { return false };
        if node.n_below > 0 && self.folded.insert(node.path.clone()) {
            self.refold();
            return true;
        }
        let parent = self.visible[..self.cursor].iter().rposition(|at| self.nodes[*at].depth < node.depth);
        if let Some(parent) = parent {
            self.cursor = parent;
        }
        parent.is_some()
    }

    /// Folds everything, or unfolds everything when all is folded.
    pub fn toggle_all(&mut self) {
        let all: HashSet<String> = self.nodes.iter().filter(|n| n.n_below > 0).map(|n| n.path.clone()).collect();
        self.folded = if all.is_subset(&self.folded) { HashSet::new() } else { all };
        self.refold();
        self.step(0);
    }

    pub fn set_search(&mut self, search: &str) {
        self.search = search.to_lowercase();
        if !self.search.is_empty() && !self.current().is_some_and(|node| self.is_match(node)) {
            self.next_match();
        }
    }

    pub fn has_search(&self) -> bool {
        !self.search.is_empty()
    }

    pub fn search(&self) -> &str {
        &self.search
    }

    pub fn is_match(&self, node: &Node) -> bool {
        !self.search.is_empty()
            && (node.key.as_ref().is_some_and(|key| key.to_lowercase().contains(&self.search))
                || node.n_below == 0 && node.text.to_lowercase().contains(&self.search))
    }

    /// How many entries match, folded ones too.
    pub fn n_matches(&self) -> usize {
        self.nodes.iter().filter(|node| self.is_match(node)).count()
    }

    pub fn next_match(&mut self) {
        let here = self.visible.get(self.cursor).copied().unwrap_or(0);
        let after = (here + 1..self.nodes.len()).chain(0..=here.min(self.nodes.len().saturating_sub(1)));
        self.go_to(after.into_iter().find(|at| self.nodes.get(*at).is_some_and(|node| self.is_match(node))));
    }

    pub fn previous_match(&mut self) {
        let here = self.visible.get(self.cursor).copied().unwrap_or(0);
        let before = (0..here).rev().chain((here..self.nodes.len()).rev());
        self.go_to(before.into_iter().find(|at| self.is_match(&self.nodes[*at])));
    }

    /// Opens the folds around a node and puts the cursor on it.
    fn go_to(&mut self, node: Option<usize>) {
        let Some(target) = node else { return };
        let path = self.nodes[target].path.clone();
        self.folded.retain(|folded| !(path.starts_with(folded.as_str()) && path[folded.len()..].starts_with('/')));
        self.refold();
        self.cursor = self.visible.iter().position(|at| *at == target).unwrap_or(self.cursor);
    }

    fn refold(&mut self) {
        self.visible.clear();
        let mut at = 0;
        while at < self.nodes.len() {
            self.visible.push(at);
            let node = &self.nodes[at];
            at += 1 + if self.folded.contains(&node.path) { node.n_below } else { 0 };
        }
        self.cursor = self.cursor.min(self.visible.len().saturating_sub(1));
    }
}

fn collect(value: &Value, key: Option<&str>, depth: usize, path: &str, nodes: &mut Vec<Node>) {
    let at = nodes.len();
    let (kind, text) = match value {
        Value::Object(entries) => (Kind::Object, plural(entries.len(), "entry", "entries")),
        Value::Array(items) => (Kind::Array, plural(items.len(), "item", "items")),
        Value::String(text) => (Kind::String, sanitise(text).into_owned()),
        Value::Number(number) => (Kind::Number, number.to_string()),
        word => (Kind::Word, word.to_string()),
    };
    let key = key.map(|key| sanitise(key).into_owned());
    nodes.push(Node { depth: depth.saturating_sub(1), key, kind, text, n_below: 0, path: path.to_owned() });
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                collect(value, Some(key), depth + 1, &format!("{path}/{key}"), nodes);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                collect(value, None, depth + 1, &format!("{path}/{index}"), nodes);
            }
        }
        _ => {}
    }
    nodes[at].n_below = nodes.len() - at - 1;
}

fn plural(n: usize, one: &str, many: &str) -> String {
    match n {
        0 => "empty".to_owned(),
        1 => format!("1 {one}"),
        _ => format!("{n} {many}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tree() -> Inspect {
        let mut tree = Inspect::default();
        tree.set(&json!({"Id": "x", "State": {"Pid": 7, "Health": {"Log": [1, 2]}}, "Args": [], "Env": ["A=b"]}));
        tree
    }

    fn shown(tree: &Inspect) -> Vec<String> {
        tree.window(99)
            .map(|(_, node)| format!("{}{}", " ".repeat(node.depth), node.key.as_deref().unwrap_or(&node.text)))
            .collect()
    }

    #[test]
    fn the_first_level_is_open_and_deeper_ones_fold() {
        let mut tree = tree();
        assert_eq!(shown(&tree), ["Id", "State", " Pid", " Health", "Args", "Env", " A=b"]);
        tree.step(3);
        tree.unfold();
        assert_eq!(shown(&tree)[4], "  Log");
        assert!(tree.fold());
        assert!(tree.fold());
        assert_eq!(tree.current().unwrap().key.as_deref(), Some("State"));
        assert!(tree.fold());
        assert_eq!(shown(&tree), ["Id", "State", "Args", "Env", " A=b"]);
        assert!(!tree.fold());
    }

    #[test]
    fn search_opens_folds_and_goes_round() {
        let mut tree = tree();
        tree.set_search("log");
        assert_eq!((tree.current().unwrap().key.as_deref(), tree.n_matches()), (Some("Log"), 1));
        tree.next_match();
        assert_eq!(tree.current().unwrap().key.as_deref(), Some("Log"));
        tree.set_search("a=b");
        assert_eq!(tree.current().unwrap().text, "A=b");
        tree.previous_match();
        assert_eq!(tree.current().unwrap().text, "A=b");
        tree.set_search("nowhere");
        assert_eq!(tree.n_matches(), 0);
    }

    #[test]
    fn a_changed_document_keeps_folds_and_cursor() {
        let mut tree = tree();
        tree.step(5);
        tree.set(&json!({"Added": 1, "Id": "x", "State": {"Pid": 8}, "Args": [], "Env": ["A=b", "C=d"]}));
        assert_eq!(tree.current().unwrap().key.as_deref(), Some("Env"));
        tree.set(&json!(null));
        assert!(tree.is_empty() && tree.current().is_none());
        tree.step(3);
        tree.unfold();
        tree.toggle_all();
    }
}
