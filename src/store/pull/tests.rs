//! Pulls from an origin that cuts, lies, stalls and counts what it sends.

use std::fs;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use serde_json::json;

use super::super::testing::{Tar, have_root};
use super::super::{PruneScope, Removal};
use super::*;
use crate::oci::image::Platform;

/// Serves blobs from memory.
#[derive(Default)]
struct Shop {
    blobs: Vec<(Digest, Vec<u8>)>,
    n_sent: AtomicU64,
    n_opened: AtomicUsize,
    /// After so many bytes of one transfer it fails.
    cut_after: Option<u64>,
    cancelled: AtomicBool,
    /// Cancels itself after so many bytes.
    cancel_after: Option<u64>,
}

impl Shop {
    fn add(&mut self, bytes: Vec<u8>) -> Descriptor {
        let digest = Digest::of(&bytes);
        let size = bytes.len() as u64;
        self.blobs.push((digest.clone(), bytes));
        Descriptor { media_type: "x".to_owned(), digest, size, platform: None, annotations: None }
    }

    fn n_sent(&self) -> u64 {
        self.n_sent.swap(0, Ordering::Relaxed)
    }
}

struct Transfer<'a> {
    shop: &'a Shop,
    bytes: &'a [u8],
    left: u64,
}

impl Read for Transfer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX)).min(10_000);
        let n_read = self.bytes.read(&mut buffer[..want])?;
        self.left -= n_read as u64;
        let before = self.shop.n_sent.fetch_add(n_read as u64, Ordering::Relaxed);
        if self.shop.cancel_after.is_some_and(|limit| before + n_read as u64 > limit) {
            self.shop.cancelled.store(true, Ordering::Relaxed);
        }
        Ok(n_read)
    }
}

impl Origin for Shop {
    fn open(&self, blob: &Descriptor, offset: u64) -> io::Result<Box<dyn Read + '_>> {
        self.n_opened.fetch_add(1, Ordering::Relaxed);
        let (_, bytes) = self.blobs.iter().find(|(digest, _)| *digest == blob.digest).unwrap();
        let bytes = &bytes[usize::try_from(offset).unwrap().min(bytes.len())..];
        Ok(Box::new(Transfer { shop: self, bytes, left: self.cut_after.unwrap_or(u64::MAX) }))
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

fn noise(seed: u64, n_bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..n_bytes).map(|_| next()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An image of layers of noise; `seeds` tell the layers apart.
fn image(shop: &mut Shop, seeds: &[u64]) -> Wanted {
    let tars: Vec<_> =
        seeds.iter().map(|seed| Tar::new().file(&format!("f{seed}"), &noise(*seed, 200_000)).done()).collect();
    wanted(shop, &tars, gzip)
}

fn wanted(shop: &mut Shop, tars: &[Vec<u8>], pack: impl Fn(&[u8]) -> Vec<u8>) -> Wanted {
    let layers: Vec<_> = tars.iter().map(|tar| shop.add(pack(tar))).collect();
    let diff_ids: Vec<_> = tars.iter().map(|tar| Digest::of(tar)).collect();
    let platform = Platform::host();
    let config = json!({
        "architecture": platform.architecture, "os": platform.os, "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "config": {"mediaType": "x", "digest": Digest::of(&config), "size": config.len()},
        "layers": layers,
    });
    let manifest = manifest.to_string().into_bytes();
    let names = ["r.test/a:1".to_owned(), format!("r.test/a@{}", Digest::of(&manifest))];
    let names = names.iter().map(|name| name.parse().unwrap()).collect();
    Wanted { shown: "r.test/a:1".to_owned(), names, manifest, config }
}

fn bench() -> Option<(tempfile::TempDir, Store)> {
    have_root().then(|| {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("root")).unwrap();
        (dir, store)
    })
}

fn pull(store: &Store, wanted: &Wanted, shop: &Shop) -> Result<Pulled> {
    store.pull(wanted.clone(), shop, 3, &Progress::none())
}

fn total(wanted: &Wanted) -> u64 {
    let Ok(Document::Manifest(manifest)) = Document::parse(&wanted.manifest) else { panic!("a manifest") };
    manifest.layers.iter().map(|layer| layer.size).sum()
}

fn n_files(store: &Store, dir: &str) -> usize {
    fs::read_dir(store.path(dir)).map_or(0, Iterator::count)
}

#[test]
fn an_image_comes_once_and_layers_that_are_here_never() {
    let Some((_dir, store)) = bench() else { return };
    let mut shop = Shop::default();
    let first = image(&mut shop, &[1, 2, 3]);
    let pulled = pull(&store, &first, &shop).unwrap();
    assert!(!pulled.was_up_to_date);
    assert_eq!(shop.n_sent(), total(&first));
    let here = store.image("r.test/a:1").unwrap();
    assert_eq!(here.id, Digest::of(&first.config));
    assert_eq!(here.repo_digests(), [format!("r.test/a@{}", Digest::of(&first.manifest))]);
    assert_eq!(here.familiar_names(), ["r.test/a:1"]);
    assert!(pull(&store, &first, &shop).unwrap().was_up_to_date);
    assert_eq!(shop.n_sent(), 0);
    let second = image(&mut shop, &[1, 4, 3]);
    pull(&store, &second, &shop).unwrap();
    let Ok(Document::Manifest(manifest)) = Document::parse(&second.manifest) else { panic!("a manifest") };
    assert_eq!(shop.n_sent(), manifest.layers[1].size);
    assert_eq!(n_files(&store, "partial"), 0);
    assert!(store.image(first.config_id().as_str()).unwrap().is_dangling(), "the name moved on");
    store.save(&["r.test/a:1".to_owned()], &mut io::sink()).unwrap();
}

impl Wanted {
    fn config_id(&self) -> Digest {
        Digest::of(&self.config)
    }
}

#[test]
fn a_cut_transfer_goes_on_where_it_stopped() {
    let Some((_dir, store)) = bench() else { return };
    let mut shop = Shop::default();
    let wanted = image(&mut shop, &[1, 2]);
    shop.cut_after = Some(60_000);
    let mut n_cuts = 0;
    while let Err(error) = pull(&store, &wanted, &shop) {
        assert_eq!(error.class, Class::Unavailable, "{}", error.chain());
        assert!(store.images().unwrap().is_empty(), "nothing is half visible");
        // What another process does at its start takes nothing away.
        store.sweep().unwrap();
        n_cuts += 1;
        assert!(n_cuts < 50);
    }
    assert!(n_cuts >= 3, "{n_cuts}");
    assert_eq!(shop.n_sent(), total(&wanted), "no byte came twice");
    assert_eq!(n_files(&store, "partial"), 0);
}

#[test]
fn a_cancelled_pull_leaves_what_came() {
    let Some((_dir, store)) = bench() else { return };
    let mut shop = Shop::default();
    let wanted = image(&mut shop, &[1]);
    shop.cancel_after = Some(50_000);
    assert!(pull(&store, &wanted, &shop).unwrap_err().message.contains("cancelled"));
    shop.cancel_after = None;
    shop.cancelled.store(false, Ordering::Relaxed);
    pull(&store, &wanted, &shop).unwrap();
    assert_eq!(shop.n_sent(), total(&wanted));
}

#[test]
fn wrong_bytes_are_refused_and_a_damaged_partial_is_fetched_anew() {
    let Some((_dir, store)) = bench() else { return };
    let mut shop = Shop::default();
    let wanted = image(&mut shop, &[1]);
    let blob = shop.blobs[0].0.clone();
    // Half of it came, and the disk forgot what.
    shop.cut_after = Some(50_000);
    pull(&store, &wanted, &shop).unwrap_err();
    let partial = store.partial_path(&blob);
    let len = fs::metadata(&partial).unwrap().len();
    fs::write(&partial, vec![0; usize::try_from(len).unwrap()]).unwrap();
    shop.cut_after = None;
    pull(&store, &wanted, &shop).unwrap();
    // A liar is told from a damaged disk by the second try.
    let (_dir, other) = bench().unwrap();
    shop.blobs[0].1[1000] ^= 1;
    let error = pull(&other, &wanted, &shop).unwrap_err();
    assert_eq!(error.class, Class::Corrupt, "{}", error.chain());
    assert!(error.message.contains("came with the digest"), "{}", error.message);
    assert_eq!((n_files(&other, "partial"), n_files(&other, "tmp"), n_files(&other, "layers")), (0, 0, 0));
    // More, or less, than was said.
    for size in [-1i64, 1] {
        shop.blobs[0].1[1000] ^= u8::from(size == -1);
        let text = String::from_utf8(wanted.manifest.clone()).unwrap();
        let (true_size, lie) = (shop.blobs[0].1.len() as i64, shop.blobs[0].1.len() as i64 + size);
        let manifest = text.replace(&format!("\"size\":{true_size}"), &format!("\"size\":{lie}")).into_bytes();
        let lying = Wanted { manifest, ..wanted.clone() };
        let error = pull(&other, &lying, &shop).unwrap_err();
        assert!(matches!(error.class, Class::Corrupt | Class::Unavailable), "{size}: {}", error.chain());
        assert!(other.images().unwrap().is_empty());
    }
}

#[test]
fn a_layer_that_unpacks_to_something_else_is_refused() {
    let Some((_dir, store)) = bench() else { return };
    let mut shop = Shop::default();
    let mut wanted = image(&mut shop, &[1]);
    let other = image(&mut shop, &[2]);
    wanted.config = other.config.clone();
    let text = String::from_utf8(wanted.manifest).unwrap();
    let first_config = Digest::of(&image(&mut Shop::default(), &[1]).config);
    wanted.manifest = text.replace(first_config.as_str(), Digest::of(&other.config).as_str()).into_bytes();
    let error = pull(&store, &wanted, &shop).unwrap_err();
    assert!(error.message.contains("it unpacks to"), "{}", error.chain());
    assert_eq!((n_files(&store, "partial"), n_files(&store, "layers")), (0, 0));
}

#[test]
fn plain_and_zstd_layers_come_as_well() {
    let Some((_dir, store)) = bench() else { return };
    let mut shop = Shop::default();
    let tars = [Tar::new().file("a", &noise(1, 100_000)).done()];
    let plain = wanted(&mut shop, &tars, <[u8]>::to_vec);
    pull(&store, &plain, &shop).unwrap();
    assert_eq!(n_files(&store, "partial"), 0);
    store.save(&["r.test/a:1".to_owned()], &mut io::sink()).unwrap();
    let tars = [Tar::new().file("b", &noise(2, 100_000)).done()];
    let packed = wanted(&mut shop, &tars, |tar| zstd::encode_all(tar, 1).unwrap());
    pull(&store, &packed, &shop).unwrap();
    // The same layer in another wrapping: it is here, so its bytes are not asked for, and what is kept of it is said.
    shop.n_sent();
    let again = wanted(&mut shop, &tars, gzip);
    pull(&store, &again, &shop).unwrap();
    assert_eq!(shop.n_sent(), 0);
    let mut archive = Vec::new();
    store.save(&["r.test/a:1".to_owned()], &mut archive).unwrap();
    let (_dir, other) = bench().unwrap();
    let loaded = other.load(
        super::super::Source::Stream(Box::new(io::Cursor::new(archive))),
        &super::super::LoadOptions::default(),
        &Progress::none(),
    );
    assert_eq!(loaded.map(|loaded| loaded[0].id.clone()).map_err(|e| e.chain()), Ok(again.config_id().to_string()));
}

#[test]
fn pulls_of_one_image_fetch_once_and_unpack_once() {
    let Some((_dir, store)) = bench() else { return };
    let mut shop = Shop::default();
    let wanted = image(&mut shop, &[1, 2, 3, 4]);
    // Who told that a layer comes, or is read again.
    let told = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for who in 0..3 {
            // A handle of its own, as another process has one.
            let store = Store::open(store.root()).unwrap();
            let (wanted, shop, told) = (&wanted, &shop, &told);
            scope.spawn(move || {
                let (note, noted) = std::sync::mpsc::channel();
                let progress = Progress(std::sync::Arc::new(move |step: Step| note.send(step).unwrap_or(())));
                store.pull(wanted.clone(), shop, 3, &progress).unwrap();
                let is_work = |step: &Step| matches!(step.verb, "fetching" | "verifying" | "extracting");
                let parts = noted.try_iter().filter(is_work).map(|step| (step.part, who));
                told.lock().unwrap().extend(parts);
            });
        }
    });
    assert_eq!(shop.n_sent(), total(&wanted), "every byte once");
    let told = told.into_inner().unwrap();
    let parts: BTreeSet<_> = told.iter().map(|(part, _)| part).collect();
    assert_eq!((parts.len(), told.len()), (4, 4), "one worked on each layer: {told:?}");
    assert_eq!((n_files(&store, "partial"), n_files(&store, "tmp")), (0, 0));
    assert_eq!(store.images().unwrap().len(), 1);
}

/// A layer is in place before its image is, and trusted only in the boot in which it was unpacked, until a barrier has put it on the disk.
#[test]
fn a_layer_of_an_unfinished_pull_is_used_again_but_not_after_a_crash() {
    let Some((_dir, store)) = bench() else { return };
    let mut shop = Shop::default();
    let wanted = image(&mut shop, &[1, 2]);
    let (first, second) = (shop.blobs[0].clone(), shop.blobs[1].clone());
    let ImageConfig { rootfs, .. } = ImageConfig::parse(&wanted.config).unwrap();
    let diff_id = &rootfs.diff_ids[0];
    // The second layer does not come; whether the first is in place before the pull gives up is a matter of moments.
    shop.blobs[1].1.truncate(1000);
    let deadline = Instant::now() + Duration::from_secs(30);
    while store.layer_record(diff_id).unwrap().is_none() {
        assert!(Instant::now() < deadline, "the first layer is never in place");
        pull(&store, &wanted, &shop).unwrap_err();
    }
    shop.blobs[1] = second;
    shop.n_sent();
    assert!(store.images().unwrap().is_empty());
    // The machine crashed: the layer's files may be empty now.
    fs::write(store.unflushed_path(diff_id), "another boot").unwrap();
    fs::write(store.layer_dir(diff_id).join("fs/f1"), "").unwrap();
    assert!(store.layer_record(diff_id).unwrap().is_none());
    pull(&store, &wanted, &shop).unwrap();
    assert!(shop.n_sent() < total(&wanted), "its blob was there");
    assert_eq!(store.open_blob(&first.0, 0).unwrap().metadata().unwrap().len(), first.1.len() as u64);
    assert_eq!(fs::metadata(store.layer_dir(diff_id).join("fs/f1")).unwrap().len(), 200_000);
    assert!(!store.unflushed_path(diff_id).exists(), "what an image names is on the disk");
    store.save(&["r.test/a:1".to_owned()], &mut io::sink()).unwrap();
}

#[test]
fn a_prune_takes_partials_and_the_last_tag_takes_its_digest() {
    let Some((_dir, store)) = bench() else { return };
    let mut shop = Shop::default();
    let wanted = image(&mut shop, &[1]);
    shop.cut_after = Some(50_000);
    pull(&store, &wanted, &shop).unwrap_err();
    store.sweep().unwrap();
    assert_eq!(n_files(&store, "partial"), 1);
    let report = store.prune_images(PruneScope::Dangling, &[]).unwrap();
    assert_eq!((n_files(&store, "partial"), report.reclaimed_bytes), (0, 50_000));
    shop.cut_after = None;
    pull(&store, &wanted, &shop).unwrap();
    let removed = store.remove_image("r.test/a:1", Removal::Careful, &[]).unwrap();
    assert_eq!(removed.len(), 4, "tag, digest, image and layer: {removed:?}");
    assert_eq!((n_files(&store, "blobs/sha256"), n_files(&store, "layers")), (0, 0));
}
