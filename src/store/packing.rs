//! Layers that have no compressed form here, compressed for a push: into a file of the push, gone with it. Called by `push`. The same layer
//! always becomes the same bytes, and their digest is noted beside the layer: a registry that has them is not sent them, and nothing is
//! compressed to find that out.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use flate2::write::GzEncoder;

use super::budget::Budget;
use super::compression::Compression;
use super::error::{IoContext, StoreError};
use super::layers::{BlobRef, LayerRecord, PackedAs};
use super::{Result, Store};
use crate::engine::progress::{Progress, Step};
use crate::stdx::ids::{Digest, Hasher};

/// gzip, for every registry and every engine reads it. zlib-rs at level 6 makes 192 MB of a root file system of 541 MiB in 11 s of CPU time, where
/// Go's default makes 199 MB: a lower level is as small as docker's.
const LEVEL: u32 = 4;
/// What makes the bytes; a version of this program that makes others must be called something else.
const PACKER: &str = "gzip-4 zlib-rs 1";
const CHUNK_BYTES: usize = 256 * 1024;
/// How often progress is told.
const PROGRESS_BYTES: u64 = 4 << 20;

impl Store {
    /// What these layers are compressed. Those that were never compressed are, into `dir`, as many at once as there are processors.
    pub(super) fn packed(&self, diff_ids: &[Digest], dir: &Path, progress: &Progress) -> Result<Vec<BlobRef>> {
        let results: Mutex<Vec<Option<Result<BlobRef>>>> = Mutex::new(diff_ids.iter().map(|_| None).collect());
        let next = AtomicUsize::new(0);
        let work = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(diff_id) = diff_ids.get(at) else { return };
                let result = self.packed_one(diff_id, dir, progress);
                results.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(result);
            }
        };
        let n_threads = std::thread::available_parallelism().map_or(1, usize::from).min(diff_ids.len());
        std::thread::scope(|scope| {
            for _ in 1..n_threads {
                scope.spawn(work);
            }
            work();
        });
        results.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect()
    }

    fn packed_one(&self, diff_id: &Digest, dir: &Path, progress: &Progress) -> Result<BlobRef> {
        let record = self.present_layer(diff_id)?;
        match &record.packed {
            Some(packed) if packed.packer == PACKER => Ok(packed.blob.clone()),
            _ => {
                let blob = self.pack(&record, &dir.join(diff_id.hex()), progress)?;
                // A note that cannot be written costs the next push its time, and this one nothing.
                let noted = self.note_packed(record, PackedAs { packer: PACKER.to_owned(), blob: blob.clone() });
                if let Err(error) = noted {
                    tracing::warn!(%error, "what a layer was compressed to cannot be noted");
                }
                Ok(blob)
            }
        }
    }

    /// The compressed bytes of a layer, made now if this push has not made them.
    pub(super) fn open_packed(&self, diff_id: &Digest, expected: &Digest, path: &Path) -> Result<File> {
        if !path.exists() {
            let blob = self.pack(&self.present_layer(diff_id)?, path, &Progress::none())?;
            if blob.digest != *expected {
                let why = format!("it is now compressed to {}, and was to {expected}", blob.digest);
                return Err(StoreError::corrupt(format!("layer {diff_id}"), why).with_hint("push again"));
            }
        }
        File::open(path).at("open", path)
    }

    pub(super) fn present_layer(&self, diff_id: &Digest) -> Result<LayerRecord> {
        self.layer_record(diff_id)?.ok_or_else(|| {
            StoreError::corrupt(format!("layer {diff_id}"), "it is missing").with_hint("pull or load the image again")
        })
    }

    /// Compresses a layer into a file that is there when it is complete. What is read must still be the layer.
    fn pack(&self, record: &LayerRecord, path: &Path, progress: &Progress) -> Result<BlobRef> {
        let diff_id = &record.diff_id;
        let budget = Budget::of(&self.tmp())?;
        let unfinished = path.with_extension("part");
        let file = File::create(&unfinished).at("make", &unfinished)?;
        let sink = Sink { file, hasher: Hasher::sha256(), n_bytes: 0, budget: &budget };
        let mut encoder =
            GzEncoder::new(io::BufWriter::with_capacity(CHUNK_BYTES, sink), flate2::Compression::new(LEVEL));
        let mut tar = self.layer_tar(record)?;
        let (mut plain, mut n_read, mut told) = (diff_id.hasher(), 0, 0);
        let mut chunk = vec![0; CHUNK_BYTES];
        let written = |error: io::Error| match error.downcast::<StoreError>() {
            Ok(own) => own,
            Err(error) => StoreError::io("write", unfinished.display(), error),
        };
        loop {
            let n = tar.read(&mut chunk).map_err(|e| super::layers::read_error("the layer", e))?;
            if n == 0 {
                break;
            }
            plain.update(&chunk[..n]);
            encoder.write_all(&chunk[..n]).map_err(written)?;
            n_read += n as u64;
            if n_read - told >= PROGRESS_BYTES {
                told = n_read;
                let (part, total_bytes) = (diff_id.short().to_owned(), Some(record.tar_bytes));
                progress.report(Step { part, verb: "compressing", done_bytes: n_read, total_bytes });
            }
        }
        let sink = encoder.finish().map_err(written)?.into_inner().map_err(|e| written(e.into_error()))?;
        if plain.finish() != *diff_id {
            return Err(StoreError::corrupt(format!("layer {diff_id}"), "its files have changed in the store")
                .with_hint("remove the image and pull or load it again"));
        }
        fs::rename(&unfinished, path).at("make", path)?;
        let media_type = Compression::Gzip.layer_media_type().to_owned();
        Ok(BlobRef { digest: sink.hasher.finish(), size_bytes: sink.n_bytes, media_type })
    }
}

/// Counts and hashes what is written.
struct Sink<'a> {
    file: File,
    hasher: Hasher,
    n_bytes: u64,
    budget: &'a Budget,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.budget.take_bytes(bytes.len() as u64).map_err(io::Error::other)?;
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.n_bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Tar, have_root};
    use super::super::{PushLayer, Pushable, Source};
    use super::*;
    use crate::engine::image::ImportImage;
    use crate::oci::image::{Document, Manifest};

    /// What pushing an image would send, and how often something was compressed.
    fn push(store: &Store) -> (Pushable, usize) {
        let (note, noted) = std::sync::mpsc::channel();
        let progress = Progress(std::sync::Arc::new(move |step: Step| note.send(step).unwrap_or(())));
        let image = store.pushable(&"made:1".parse().unwrap(), &progress).unwrap();
        (image, noted.try_iter().filter(|step| step.verb == "compressing").count())
    }

    fn sent(store: &Store, layer: &PushLayer, offset: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        store.open_layer(layer, offset).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn manifest(image: &Pushable) -> Manifest {
        let Ok(Document::Manifest(manifest)) = Document::parse(&image.manifest) else { panic!("a manifest") };
        manifest
    }

    #[test]
    fn a_plain_layer_is_compressed_once_and_always_to_the_same_bytes() {
        if !have_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("root")).unwrap();
        let tar = Tar::new().dir("etc/", 0o755).file("etc/words", &b"layer ".repeat(2_000_000)).done();
        let request = ImportImage { reference: Some("made:1".into()), ..ImportImage::default() };
        let source = Source::Stream(Box::new(io::Cursor::new(tar.clone())));
        store.import(source, &request, &Progress::none()).unwrap();

        let (first, n_told) = push(&store);
        assert!(n_told > 0);
        let layer = &first.layers[0];
        let bytes = sent(&store, layer, 0);
        assert_eq!((Digest::of(&bytes), bytes.len() as u64), (layer.blob.digest.clone(), layer.blob.size));
        assert_eq!(manifest(&first).layers[0].digest, layer.blob.digest);
        assert!(manifest(&first).layers[0].media_type.ends_with("tar+gzip"));
        let mut plain = Vec::new();
        Compression::Gzip.inflate(bytes.as_slice()).unwrap().read_to_end(&mut plain).unwrap();
        assert_eq!((plain, &layer.diff_id), (tar, &Digest::of(&plain_of(&bytes))));
        let manifest_before = first.manifest.clone();
        drop(first);
        assert_eq!(fs::read_dir(store.tmp()).unwrap().count(), 0, "nothing of a push stays");

        // The second knows the digest, and makes the bytes only for a registry that has not got them.
        let (second, n_told) = push(&store);
        assert_eq!((n_told, &second.manifest), (0, &manifest_before));
        assert_eq!(sent(&store, &second.layers[0], 10), bytes[10..]);
        // Also when the image has meanwhile got a name by digest, as it does when it was pushed.
        store.note_digest(&second.id, &format!("made@{}", Digest::of(&second.manifest)).parse().unwrap()).unwrap();
        assert_eq!(push(&store).0.manifest, manifest_before);

        // What is no longer the layer is not sent.
        let layer_dir = store.layer_dir(&second.layers[0].diff_id);
        fs::write(layer_dir.join("fs/etc/words"), b"other".repeat(2_400_000)).unwrap();
        let (third, _) = push(&store);
        let error = store.open_layer(&third.layers[0], 0).map(drop).unwrap_err();
        assert!(error.message.contains("changed"), "{}", error.chain());
    }

    fn plain_of(bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
        plain
    }
}
