//! An image as people have them, from this machine's own files: thousands of small ones, some large, links and directories, compressible about
//! two and a half times. Used by the rows of images.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::Command;

use super::measure::output;
use super::peers::Bench;

/// What came of it.
pub struct Made {
    pub mib: u64,
    pub n_entries: usize,
}

/// Layers of about so many bytes, in the form that `docker save` writes. A layer takes whole directories from all over /usr; the same call makes
/// the same layers, and fewer of them are the first ones.
pub fn make_archive(bench: &Bench, archive: &Path, n_layers: usize, layer_bytes: u64) -> Made {
    let dir = bench.path("archive");
    fs::create_dir_all(&dir).expect("a directory");
    let lists = choose(n_layers, layer_bytes);
    let layers: Vec<_> = lists.iter().enumerate().map(|(index, list)| make_layer(&dir, index, list)).collect();
    let diff_ids: Vec<_> = layers.iter().map(|(_, digest)| format!("sha256:{digest}")).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z", "config": { "Cmd": ["/bin/true"] },
        "history": diff_ids.iter().map(|id| serde_json::json!({ "created_by": format!("layer {id}") })).collect::<Vec<_>>(),
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    fs::write(dir.join("config.json"), config.to_string()).expect("written");
    let manifest = serde_json::json!([{
        "Config": "config.json", "RepoTags": ["big:1"], "Layers": layers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(),
    }]);
    fs::write(dir.join("manifest.json"), manifest.to_string()).expect("written");
    output(Command::new("tar").arg("-C").arg(&dir).arg("-cf").arg(archive).arg("."));
    let _ = fs::remove_dir_all(&dir);
    let mib = fs::metadata(archive).map_or(0, |meta| meta.len()) >> 20;
    Made { mib, n_entries: lists.iter().map(BTreeSet::len).sum() }
}

/// The paths of each layer.
fn choose(n_layers: usize, layer_bytes: u64) -> Vec<BTreeSet<String>> {
    let places = ["/usr/lib", "/usr/share", "/usr/bin", "-xdev"];
    let kinds = ["(", "-type", "l", "-o", "-type", "f", "-size", "-20M", ")", "-printf", "%s\t%h\t%p\n"];
    let found = output(Command::new("find").args(places).args(kinds));
    // By a hash of the directory: packages of all kinds in each layer, and what lies together stays together.
    let mut by_directory: BTreeMap<(u64, &str), Vec<(&str, u64)>> = BTreeMap::new();
    for line in found.lines() {
        let mut words = line.splitn(3, '\t');
        let (Some(size), Some(parent), Some(path)) = (words.next(), words.next(), words.next()) else { continue };
        // A name that is no UTF-8 could not be given to tar again.
        if path.contains('\u{fffd}') {
            continue;
        }
        let mut hasher = DefaultHasher::new();
        parent.hash(&mut hasher);
        by_directory.entry((hasher.finish(), parent)).or_default().push((path, size.parse().unwrap_or(0)));
    }
    let (mut layers, mut layer, mut bytes) = (Vec::new(), BTreeSet::new(), 0);
    for (path, size) in by_directory.into_values().flatten() {
        if layers.len() == n_layers {
            break;
        }
        let parents = Path::new(path).ancestors().skip(1).filter(|parent| parent.parent().is_some());
        layer.extend(parents.map(|parent| parent.display().to_string()));
        layer.insert(path.to_owned());
        bytes += size;
        if bytes > layer_bytes {
            layers.push(std::mem::take(&mut layer));
            bytes = 0;
        }
    }
    assert!(layers.len() == n_layers, "/usr has only enough for {} layers", layers.len());
    layers
}

fn make_layer(dir: &Path, index: usize, paths: &BTreeSet<String>) -> (String, String) {
    let name = format!("layer{index}.tar");
    let list = dir.join("names");
    let text: String = paths.iter().map(|path| format!("{path}\n")).collect();
    fs::write(&list, text).expect("written");
    let mut tar = Command::new("tar");
    tar.arg("-cf").arg(dir.join(&name)).args(["--no-recursion", "--absolute-names", "--verbatim-files-from"]);
    // Links mean what they meant; names of entries are without the first slash.
    output(tar.args(["--transform=flags=rhS;s,^/,,", "-T"]).arg(&list));
    fs::remove_file(&list).expect("removed");
    let digest = output(Command::new("sha256sum").arg(dir.join(&name)));
    (name, digest.split_whitespace().next().unwrap_or_default().to_owned())
}
