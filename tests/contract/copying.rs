//! Images from one engine to another, between each pair of the embedded one, a dockerd and a podman: only what is missing goes over, the id
//! is the same at both ends, a second copy sends nothing, and one that is broken off leaves nothing.

use std::sync::Arc;

use orlop::engine::progress::Step;
use orlop::engine::{Class, Engine, ListImages, LoadedImage, Progress};
use orlop::fleet::copy::{CopiedImage, copy_image};
use orlop::oci::image::ArchiveEntry;
use orlop::stdx::ids::Digest;
use serde_json::json;
use tokio::sync::Notify;

use crate::daemons::{self, DOCKERD, Daemon, PODMAN};
use crate::world::{World, not_here, runtime};

/// Bytes of the file in each layer: some pieces of the pipes between the ends.
const LAYER_BYTES: usize = 700_000;

/// A layer with one file of bytes that do not compress.
fn layer(seed: &str, n_bytes: usize) -> Vec<u8> {
    let mut state = seed.bytes().fold(17u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let bytes: Vec<u8> = (0..n_bytes)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, format!("file-{}", seed.replace('/', "-")), bytes.as_slice()).unwrap();
    tar.into_inner().unwrap()
}

/// A docker archive of one image with these layers.
fn archive(name: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, bytes).unwrap();
    };
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let steps: Vec<_> = layers.iter().map(|_| json!({"created_by": "COPY . /"})).collect();
    let config = json!({"architecture": "amd64", "os": "linux", "created": "2026-11-21T00:00:00Z", "history": steps,
        "config": {"Cmd": ["/x"], "Labels": {"copied": name}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids.iter().map(Digest::as_str).collect::<Vec<_>>()}});
    let config = config.to_string();
    for (diff_id, layer) in diff_ids.iter().zip(layers) {
        add(&format!("{}.tar", diff_id.hex()), layer);
    }
    let config_name = format!("{}.json", Digest::of(config.as_bytes()).hex());
    add(&config_name, config.as_bytes());
    let entry = ArchiveEntry {
        config: config_name,
        repo_tags: vec![name.to_owned()],
        layers: diff_ids.iter().map(|diff_id| format!("{}.tar", diff_id.hex())).collect(),
    };
    add("manifest.json", serde_json::to_string(&[entry]).unwrap().as_bytes());
    tar.into_inner().unwrap()
}

async fn load(engine: &dyn Engine, archive: Vec<u8>) -> Vec<LoadedImage> {
    engine.images().load(Box::new(std::io::Cursor::new(archive)), Progress::none()).await.expect("it is loaded")
}

/// Engines by name; the daemons live as long as this.
struct House {
    engines: Vec<(&'static str, Arc<dyn Engine>)>,
    _daemons: Vec<Daemon>,
}

/// Everybody that is here; who is not is named.
fn house() -> House {
    let mut house = House { engines: Vec::new(), _daemons: Vec::new() };
    match World::embedded() {
        Ok(world) => house.engines.push(("embedded", world.engine)),
        Err(why) => not_here("copies of embedded", &why),
    }
    for (name, programs) in [("dockerd", DOCKERD), ("podman", PODMAN)] {
        if daemons::is_here(&format!("copies of {name}"), programs) {
            let daemon = if name == "podman" { Daemon::podman() } else { Daemon::dockerd(&[]) };
            house.engines.push((name, Arc::new(daemon.engine())));
            house._daemons.push(daemon);
        }
    }
    house
}

#[test]
fn images_go_from_each_engine_to_each_other() {
    let house = house();
    runtime().block_on(async {
        let base = [layer("base/0", LAYER_BYTES), layer("base/1", LAYER_BYTES)];
        for (_, engine) in &house.engines {
            load(&**engine, archive("copied-base:1", &base)).await;
        }
        for (from, source) in &house.engines {
            for (to, target) in house.engines.iter().filter(|(to, _)| to != from) {
                copy_and_again(&format!("{from}-{to}"), &base, &**source, &**target).await;
                break_off(&format!("{from}-{to}"), &**source, &**target).await;
            }
        }
        for (_, engine) in &house.engines {
            for row in engine.images().list(&ListImages::default()).await.unwrap() {
                if row.references.iter().any(|name| name.contains("copied-")) {
                    engine
                        .images()
                        .remove(&row.id, &orlop::engine::RemoveImage { force: true, no_prune: false })
                        .await
                        .unwrap();
                }
            }
        }
    });
}

/// Four layers of which two are there, and one twice.
async fn copy_and_again(pair: &str, base: &[Vec<u8>], source: &dyn Engine, target: &dyn Engine) {
    let name = format!("copied-{pair}:1");
    let own = [layer(&format!("{pair}/2"), LAYER_BYTES), layer(&format!("{pair}/3"), 1000)];
    let layers = [base, &own, &own[..1]].concat();
    let id = load(source, archive(&name, &layers)).await.remove(0).id;
    let copied =
        copy_image(source, target, &name, Progress::none()).await.unwrap_or_else(|error| panic!("{pair}: {error}"));
    assert_eq!((copied.id.as_str(), copied.n_sent, copied.n_present), (id.as_str(), 2, 2), "{pair}: {copied:?}");
    assert!(copied.sent_bytes < 2 * LAYER_BYTES as u64, "{pair}: {copied:?}");
    let there = target.images().inspect(&copied.references[0]).await.unwrap();
    let here = source.images().inspect(&name).await.unwrap();
    assert_eq!((there.summary.id, there.layers), (id, here.layers), "{pair}");
    let again = copy_image(source, target, &name, Progress::none()).await.unwrap();
    assert_eq!((again.n_sent, again.sent_bytes, again.n_present), (0, 0, 4), "{pair}");
    // What came by copy is whole: it goes on from there as from anywhere.
    let written = tempfile::NamedTempFile::new().unwrap();
    let to = Box::new(written.reopen().unwrap());
    target.images().save(std::slice::from_ref(&copied.references[0]), to).await.unwrap();
    assert!(written.as_file().metadata().unwrap().len() > 3 * LAYER_BYTES as u64, "{pair}");
}

/// The copy is dropped while a layer goes over.
async fn break_off(pair: &str, source: &dyn Engine, target: &dyn Engine) {
    let name = format!("copied-half-{pair}:1");
    let id = load(source, archive(&name, &[layer(&format!("{pair}/half"), 12 * LAYER_BYTES)])).await.remove(0).id;
    let moving = Arc::new(Notify::new());
    let told = Arc::clone(&moving);
    let progress = Progress(Arc::new(move |step: Step| {
        if step.verb == "pushing" {
            told.notify_one();
        }
    }));
    let dropped: Option<CopiedImage> = tokio::select! {
        done = copy_image(source, target, &name, progress) => Some(done.unwrap()),
        () = moving.notified() => None,
    };
    // It may have been over when it was dropped; then it is there whole.
    match target.images().inspect(&id).await {
        Ok(_) => target.images().save(std::slice::from_ref(&id), Box::new(std::io::sink())).await.unwrap(),
        Err(error) => assert_eq!((error.class, dropped), (Class::NotFound, None), "{pair}"),
    }
    let copied =
        copy_image(source, target, &name, Progress::none()).await.unwrap_or_else(|error| panic!("{pair}: {error}"));
    assert_eq!(copied.id, id, "{pair}");
}
