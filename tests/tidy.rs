//! The house rules, kept by reading our own source: floors and fences, file heads, dependency reasons, names that must not leak.
//! It prints the longest files and functions and fails none of them for length.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, unreachable_pub)] // a program of the test house

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::Visit;

/// Room and floor; a room may name rooms of lower floors only, and rooms of one floor are strangers.
const FLOORS: &[(&str, u8)] = &[
    ("main", 8),
    ("tui", 7),
    ("cli", 7),
    ("server", 7),
    ("hosts", 7),
    ("embedded", 6),
    ("builder", 5),
    ("fleet", 5),
    ("registry", 4),
    ("remote", 4),
    ("api", 3),
    ("config", 3),
    ("http", 3),
    ("store", 3),
    ("network", 3),
    ("shim", 3),
    ("engine", 2),
    ("runtime", 2),
    ("sys", 1),
    ("oci", 1),
    ("stdx", 0),
];

/// Crates that only these rooms may name.
const FENCES: &[(&str, &[&str])] = &[
    ("libc", &["sys"]),
    ("ratatui", &["tui"]),
    ("crossterm", &["tui"]),
    ("tui_textarea", &["tui"]),
    ("vt100", &["tui"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("hyper", &["server", "remote", "registry", "http"]),
    ("hyper_util", &["server", "remote", "http"]),
    ("tokio_rustls", &["server", "http"]),
    ("anyhow", &["main", "cli"]),
    ("rusqlite", &["store"]),
    ("oci_spec", &["oci"]),
    ("tokio", &["main", "tui", "cli", "server", "embedded", "builder", "fleet", "registry", "remote", "http"]),
];

struct Source {
    path: PathBuf,
    room: String,
    text: String,
    tokens: TokenStream,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    walk(&root().join("src"), &mut found);
    assert!(found.len() > 20, "the source tree was not found: {} files", found.len());
    found
}

fn walk(dir: &Path, found: &mut Vec<Source>) {
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let tokens = text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let room = room_of(&path);
            found.push(Source { path, room, text, tokens });
        }
    }
}

fn room_of(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

fn floor(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// Every `head::name` in a token stream, where a group after `head::` counts for each of its first names.
fn names_after(head: &str, tokens: TokenStream, found: &mut Vec<(String, usize)>) {
    let trees: Vec<_> = tokens.into_iter().collect();
    for (index, tree) in trees.iter().enumerate() {
        if let TokenTree::Group(group) = tree {
            names_after(head, group.stream(), found);
        }
        let is_head = matches!(tree, TokenTree::Ident(ident) if ident == head);
        if is_head && is_path_sep(&trees, index + 1) {
            match trees.get(index + 3) {
                Some(TokenTree::Ident(name)) => found.push((name.to_string(), name.span().start().line)),
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    first_names(group.stream(), found)
                }
                _ => {}
            }
        }
    }
}

fn first_names(group: TokenStream, found: &mut Vec<(String, usize)>) {
    let mut at_start = true;
    for tree in group {
        match tree {
            TokenTree::Ident(name) if at_start => {
                found.push((name.to_string(), name.span().start().line));
                at_start = false;
            }
            TokenTree::Punct(punct) if punct.as_char() == ',' => at_start = true,
            _ => {}
        }
    }
}

fn is_path_sep(trees: &[TokenTree], at: usize) -> bool {
    let colon = |tree: Option<&TokenTree>| matches!(tree, Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    colon(trees.get(at)) && colon(trees.get(at + 1))
}

fn idents(tokens: TokenStream, wanted: &str, lines: &mut Vec<usize>) {
    for tree in tokens {
        match tree {
            TokenTree::Group(group) => idents(group.stream(), wanted, lines),
            TokenTree::Ident(ident) if ident == wanted => lines.push(ident.span().start().line),
            _ => {}
        }
    }
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn rooms_import_from_lower_floors_only() {
    let mut faults = Vec::new();
    for source in sources() {
        let head = if source.room == "main" { "orlop" } else { "crate" };
        let Some(own_floor) = floor(&source.room) else {
            if source.room != "lib" {
                faults.push(format!(
                    "{}: room `{}` stands on no floor: add it to FLOORS",
                    source.path.display(),
                    source.room
                ));
            }
            continue;
        };
        let mut names = Vec::new();
        names_after(head, source.tokens.clone(), &mut names);
        for (name, line) in names {
            let Some(other) = floor(&name) else { continue };
            if name != source.room && other >= own_floor {
                faults.push(format!(
                    "{}:{line}: `{}` (floor {own_floor}) names `{name}` (floor {other})",
                    source.path.display(),
                    source.room
                ));
            }
        }
    }
    report(&faults);
}

#[test]
fn fenced_crates_stay_in_their_rooms() {
    let mut faults = Vec::new();
    for source in sources() {
        for (name, rooms) in FENCES {
            if rooms.contains(&source.room.as_str()) {
                continue;
            }
            let mut found = Vec::new();
            names_after(name, source.tokens.clone(), &mut found);
            faults.extend(
                found
                    .iter()
                    .map(|(_, line)| format!("{}:{line}: `{name}` belongs to {rooms:?}", source.path.display())),
            );
        }
    }
    report(&faults);
}

#[test]
fn unsafe_stays_in_sys() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| source.room != "sys") {
        let mut lines = Vec::new();
        idents(source.tokens.clone(), "unsafe", &mut lines);
        faults.extend(lines.iter().map(|line| format!("{}:{line}: unsafe outside sys", source.path.display())));
    }
    report(&faults);
}

#[test]
fn every_file_opens_with_what_it_is() {
    let faults: Vec<_> = sources()
        .iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| format!("{}: no //! head", source.path.display()))
        .collect();
    report(&faults);
}

#[test]
fn no_mod_rs() {
    let faults: Vec<_> = sources()
        .iter()
        .filter(|source| source.path.ends_with("mod.rs"))
        .map(|s| s.path.display().to_string())
        .collect();
    report(&faults);
}

#[test]
fn no_unfinished_business() {
    let marks = ["TODO", "FIXME", "XXX", "HACK"].map(|mark| format!("{mark}:"));
    let mut faults = Vec::new();
    for source in sources() {
        for (index, line) in source.text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark.as_str())) {
                faults.push(format!("{}:{}: {}", source.path.display(), index + 1, line.trim()));
            }
        }
    }
    report(&faults);
}

#[test]
fn the_crate_doc_names_every_room() {
    let head = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let (doc, code): (Vec<_>, Vec<_>) = head.lines().partition(|line| line.starts_with("//!"));
    let doc = doc.join("\n");
    let rooms = code.iter().filter_map(|line| line.strip_prefix("pub mod ")).map(|line| line.trim_end_matches(';'));
    let faults: Vec<_> =
        rooms.filter(|room| !doc.contains(room)).map(|room| format!("lib.rs: `{room}` is not in the map")).collect();
    report(&faults);
}

#[test]
fn every_dependency_says_why() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut in_dependencies = false;
    let mut faults = Vec::new();
    let mut n_seen = 0;
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line == "[dependencies]" || line == "[dev-dependencies]";
        } else if in_dependencies && line.contains('=') && !line.starts_with('#') {
            n_seen += 1;
            let why = line.rsplit_once("# ").map_or("", |(_, why)| why);

            if why.len() < 5 {
                faults.push(format!("Cargo.toml: no reason for {line}"));
            }
        }
    }
    assert!(n_seen > 10, "the dependency table was not found");
    report(&faults);
}

#[test]
fn every_dependency_is_used() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    let all = sources();
    let mut faults = Vec::new();
    for line in section.lines().filter(|line| line.contains('=') && !line.starts_with('#')) {
        let name = line.split(['=', ' ']).next().unwrap().replace('-', "_");
        let used = all.iter().any(|source| {
            let mut lines = Vec::new();
            idents(source.tokens.clone(), &name, &mut lines);
            !lines.is_empty()
        });
        if !used {
            faults.push(format!("Cargo.toml: nothing names `{name}`"));
        }
    }
    report(&faults);
}

/// Collects the length of every function.
#[derive(Default)]
struct Functions(Vec<(usize, String)>);

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig, item.span());
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, item.span());
        syn::visit::visit_impl_item_fn(self, item);
    }
}

impl Functions {
    fn add(&mut self, sig: &syn::Signature, span: proc_macro2::Span) {
        self.0.push((span.end().line - span.start().line + 1, sig.ident.to_string()));
    }
}

#[test]
fn the_longest_are_printed() {
    let mut files = Vec::new();
    let mut functions = Vec::new();
    let mut per_room: BTreeMap<String, usize> = BTreeMap::new();
    for source in sources() {
        let n_lines = source.text.lines().count();
        *per_room.entry(source.room.clone()).or_default() += n_lines;
        let mut visit = Functions::default();
        visit.visit_file(&syn::parse_file(&source.text).unwrap());
        let path = source.path.strip_prefix(root()).unwrap().display().to_string();
        functions.extend(visit.0.into_iter().map(|(lines, name)| (lines, format!("{path} {name}"))));
        files.push((n_lines, path));
    }
    files.sort_unstable_by(|a, b| b.cmp(a));
    functions.sort_unstable_by(|a, b| b.cmp(a));
    println!("rooms: {per_room:?}");
    files.iter().take(8).for_each(|(lines, path)| println!("{lines:5} {path}"));
    functions.iter().take(8).for_each(|(lines, name)| println!("{lines:5} {name}"));
    assert!(functions.len() > 10, "no functions were found");
}
