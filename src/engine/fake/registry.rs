//! A registry for the fake: pulls and pushes that take their time in steps, go on from where they were cut, and a catalogue to search.
//! Part of the fake's images.

use std::time::Duration;

use super::Fake;
use super::images::{add, put};
use super::world::{Pushed, familiar};
use crate::engine::changes::{Change, ChangeKind, LayerFiles};
use crate::engine::error::{Class, EngineError, Result};
use crate::engine::event::EventKind;
use crate::engine::image::{FoundImage, HistoryEntry, PulledImage, PushedImage};
use crate::engine::progress::{Progress, Step};

/// From one step of a transfer to the next, on the fake's clock.
const STEP: Duration = Duration::from_millis(100);
/// Layers of every image there: short digest, bytes, and whether it is here already.
const LAYERS: [(&str, u64, bool); 4] = [
    ("1f7ce2fa46ab", 29_126_484, false),
    ("9fef6a81de59", 12_480_003, true),
    ("a3ed95caeb02", 4_194_304, false),
    ("c0ffee000001", 312_345, false),
];
/// Steps that the largest layer takes.
const N_STEPS: u64 = 20;

fn step(part: &str, verb: &'static str, done_bytes: u64, total_bytes: u64) -> Step {
    Step { part: part.to_owned(), verb, done_bytes, total_bytes: Some(total_bytes) }
}

fn with_tag(reference: &str) -> String {
    let name = familiar(reference);
    let has_tag = name.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
    if has_tag { name } else { format!("{name}:latest") }
}

/// Fetches all layers side by side. What is fetched is remembered with every step, so that a pull that is dropped goes on from there.
pub(super) async fn pull(fake: &Fake, reference: &str, progress: &Progress) -> Result<PulledImage> {
    let name = with_tag(reference);
    drop(fake.enter(&format!("images.pull {name}")).await?);
    if name.chars().any(|c| c.is_uppercase() || c.is_whitespace()) {
        let message = format!("invalid reference format: {reference}");
        return Err(EngineError::new(Class::Invalid, reference, message));
    }
    if name.contains("missing") {
        let message =
            format!("pull access denied for {reference}, repository does not exist or may require 'docker login'");
        return Err(EngineError::new(Class::NotFound, reference, message)
            .with_hint("check the spelling; :login REGISTRY if it is private"));
    }
    let kept = fake.lock().registry.get(&name).map(|pushed| pushed.digest.clone());
    let digest = kept.unwrap_or_else(|| format!("sha256:{}", fake.lock().new_id("manifest")));
    let present = |fake: &Fake| {
        let world = fake.lock();
        world.find_image(&name).ok().map(|idx| world.images[idx].detail.summary.id.clone())
    };
    if let Some(id) = present(fake) {
        return Ok(PulledImage { reference: name, digest, id, was_up_to_date: true });
    }
    let kept = fake.lock().registry.get(&name).cloned();
    if let Some(Pushed { digest, mut img }) = kept {
        let repository = name.rsplit_once(':').map_or(name.as_str(), |(repository, _)| repository);
        img.detail.summary.digests = vec![format!("{repository}@{digest}")];
        let (mut world, now) = (fake.lock(), fake.now());
        let id = img.detail.summary.id.clone();
        put(&mut world, img, vec![name.clone()]);
        world.emit(now, EventKind::Image, "pull", &name, &[("name", name.clone())]);
        fake.tell(world);
        return Ok(PulledImage { reference: name, digest, id, was_up_to_date: false });
    }
    for (part, size, is_here) in LAYERS {
        progress.report(step(part, if is_here { "present" } else { "waiting" }, if is_here { size } else { 0 }, size));
    }
    let largest = LAYERS.iter().map(|(_, size, _)| *size).max().unwrap_or(1);
    loop {
        let fetched = fake.lock().partials.get(&name).copied().unwrap_or(0);
        if fetched >= largest {
            break;
        }
        fake.0.clock.sleep_until(fake.now() + STEP).await;
        let now = (fetched + largest / N_STEPS + 1).min(largest);
        fake.lock().partials.insert(name.clone(), now);
        for (part, size, is_here) in LAYERS {
            if !is_here && fetched < size {
                progress.report(step(part, "fetching", now.min(size), size));
            } else if !is_here {
                progress.report(step(part, "extracting", size, size));
            }
        }
    }
    for (part, size, is_here) in LAYERS {
        if !is_here {
            progress.report(step(part, "done", size, size));
        }
    }
    let (mut world, now) = (fake.lock(), fake.now());
    world.partials.remove(&name);
    let size_bytes = LAYERS.iter().map(|(_, size, _)| size).sum();
    let id = add(&mut world, &name, size_bytes, now);
    world.emit(now, EventKind::Image, "pull", &name, &[("name", name.clone())]);
    fake.tell(world);
    Ok(PulledImage { reference: name, digest, id, was_up_to_date: false })
}

/// Sends what the registry has not: the second layer is there, the others go one after another.
pub(super) async fn push(fake: &Fake, reference: &str, progress: &Progress) -> Result<PushedImage> {
    let name = with_tag(reference);
    fake.enter(&format!("images.push {name}")).await?.find_image(&name)?;
    let digest = format!("sha256:{}", fake.lock().new_id("manifest"));
    for (part, size, is_there) in LAYERS {
        if is_there {
            progress.report(step(part, "exists", size, size));
            continue;
        }
        progress.report(step(part, "pushing", size / 2, size));
        fake.0.clock.sleep_until(fake.now() + STEP).await;
        progress.report(step(part, "pushed", size, size));
    }
    let mut world = fake.lock();
    let idx = world.find_image(&name)?;
    let img = world.images[idx].clone();
    world.registry.insert(name.clone(), Pushed { digest: digest.clone(), img });
    drop(world);
    let tag = name.rsplit(':').next().unwrap_or("latest").to_owned();
    Ok(PushedImage { tag, digest, size_bytes: 1570 })
}

/// What the catalogue has under a word, the official one first.
pub(super) async fn search(fake: &Fake, term: &str) -> Result<Vec<FoundImage>> {
    drop(fake.enter(&format!("images.search {term}")).await?);
    const CATALOGUE: [(&str, &str, u64, bool); 5] = [
        ("nginx", "Official build of Nginx.", 20_931, true),
        ("nginx/nginx-ingress", "NGINX Ingress Controllers for Kubernetes", 112, false),
        ("bitnami/nginx", "Fast, small web server", 203, false),
        ("redis", "An in-memory data store", 13_021, true),
        ("postgres", "An object-relational database system", 14_002, true),
    ];
    let found = CATALOGUE.iter().filter(|(name, ..)| name.contains(term));
    let found = found.map(|(name, description, n_stars, is_official)| FoundImage {
        name: (*name).to_owned(),
        description: (*description).to_owned(),
        n_stars: *n_stars,
        is_official: *is_official,
    });
    let mut found: Vec<_> = found.collect();
    // What was pushed to a registry is found there.
    let (host, word) = term.split_once('/').unwrap_or(("", term));
    let world = fake.lock();
    let pushed = world.registry.keys().filter(|name| name.starts_with(host) && name.contains(word) && !host.is_empty());
    found.extend(pushed.map(|name| FoundImage {
        name: name.rsplit_once(':').map_or(name.as_str(), |(repository, _)| repository).to_owned(),
        ..FoundImage::default()
    }));
    Ok(found)
}

/// Made-up files for each layer that the history says is one, bottom first.
pub(super) fn layer_files(layers: &[String], history: &[HistoryEntry]) -> Vec<LayerFiles> {
    let made: Vec<&HistoryEntry> = history.iter().rev().filter(|entry| entry.size_bytes > 0).collect();
    let files: [&[(&str, ChangeKind, u64)]; 2] = [
        &[
            ("/bin", ChangeKind::Added, 0),
            ("/bin/sh", ChangeKind::Added, 1_200_000),
            ("/etc", ChangeKind::Added, 0),
            ("/etc/hosts", ChangeKind::Added, 120),
            ("/etc/ssl", ChangeKind::Added, 0),
            ("/etc/ssl/old.pem", ChangeKind::Added, 4_000),
            ("/usr", ChangeKind::Added, 0),
            ("/usr/lib", ChangeKind::Added, 0),
            ("/usr/lib/libc.so.6", ChangeKind::Added, 1_900_000),
        ],
        &[
            ("/etc", ChangeKind::Modified, 0),
            ("/etc/hosts", ChangeKind::Modified, 140),
            ("/etc/ssl", ChangeKind::Modified, 0),
            ("/etc/ssl/certs.pem", ChangeKind::Added, 200_000),
            ("/etc/ssl/old.pem", ChangeKind::Deleted, 4_000),
        ],
    ];
    let change = |(path, kind, size_bytes): &(&str, ChangeKind, u64)| Change {
        path: (*path).to_owned(),
        kind: *kind,
        size_bytes: *size_bytes,
    };
    layers
        .iter()
        .zip(made)
        .zip(files.iter().cycle())
        .enumerate()
        .map(|(at, ((diff_id, entry), files))| LayerFiles {
            diff_id: diff_id.clone(),
            created_by: entry.created_by.clone(),
            size_bytes: entry.size_bytes,
            changes: files.iter().map(change).collect(),
            wasted_bytes: if at == 0 { 0 } else { 4_120 },
        })
        .collect()
}
