//! Pushes: blobs that the registry has not got, then the manifest. Called by `images`. What came compressed is sent as it came, byte for byte.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use crate::engine::progress::Step;
use crate::engine::{EngineError, Progress, PushImage, PushedImage, Result};
use crate::oci::reference::Reference;
use crate::registry::{BlobPushed, Opener, Pick, Repository};
use crate::store::{PushLayer, Pushable};

use super::images::parse_reference;
use super::pull::named;
use super::{Core, error};

/// One piece of what is read from the disk.
const CHUNK_BYTES: usize = 256 * 1024;
/// Pieces that wait for the wire; the disk waits when they are so many. Nothing is dropped.
const QUEUE: usize = 4;

impl Core {
    pub(crate) async fn push(self: &Arc<Self>, request: &PushImage, progress: &Progress) -> Result<Vec<PushedImage>> {
        let reference = parse_reference(&request.reference)?;
        let references = if request.all_tags {
            let tags = self.store.tags_of(&reference)?;
            if tags.is_empty() {
                let familiar = reference.familiar_repository();
                let message = format!("An image does not exist locally with the tag: {familiar}");
                return Err(EngineError::new(crate::engine::Class::NotFound, familiar, message));
            }
            tags
        } else {
            vec![reference]
        };
        let mut pushed = Vec::new();
        for reference in references {
            let repository = self.registries().repository(&reference, request.credentials.clone());
            pushed.push(self.push_one(&repository, &reference, progress).await?);
        }
        Ok(pushed)
    }

    async fn push_one(
        self: &Arc<Self>,
        repository: &Repository,
        reference: &Reference,
        progress: &Progress,
    ) -> Result<PushedImage> {
        let (core, name, told) = (Arc::clone(self), reference.clone(), progress.clone());
        let looked = tokio::task::spawn_blocking(move || core.store.pushable(&name, &told)).await;
        let image: Pushable = looked.map_err(|failed| error::join(&failed))??;
        let mut seen = BTreeSet::new();
        let layers: Vec<PushLayer> =
            image.layers.iter().filter(|layer| seen.insert(layer.blob.digest.clone())).cloned().collect();
        for layer in &layers {
            report(progress, layer, "preparing", 0);
        }
        let n_at_once = self.registries().registries().max_concurrent_uploads;
        let sent = layers.into_iter().map(|layer| self.push_layer(repository, reference, layer, progress));
        stream::iter(sent).buffer_unordered(n_at_once).try_collect::<Vec<()>>().await?;
        let core = Arc::clone(self);
        let config = image.config.digest.clone();
        let open: Opener = Arc::new(move |offset| {
            let (core, config) = (Arc::clone(&core), config.clone());
            Ok(pieces(move || Ok(Box::new(core.store.open_blob(&config, offset).map_err(io::Error::other)?)), |_| {}))
        });
        repository.push_blob(&image.config, &[], open).await?;
        let manifest = Bytes::from(image.manifest.clone());
        let size_bytes = manifest.len() as u64;
        let digest = repository.push_manifest(&Pick::of(reference), &image.media_type, manifest).await?;
        self.store.note_digest(&image.id, &named(reference, &digest)?)?;
        self.image_event("push", &reference.to_string(), &reference.familiar());
        let tag = reference.tag().map_or_else(|| digest.to_string(), str::to_owned);
        Ok(PushedImage { tag, digest: digest.to_string(), size_bytes })
    }

    async fn push_layer(
        self: &Arc<Self>,
        repository: &Repository,
        reference: &Reference,
        layer: PushLayer,
        progress: &Progress,
    ) -> Result<()> {
        let pushed = layer.clone();
        let neighbours = layer.seen_in.iter().filter(|name| name.domain() == reference.domain());
        let neighbours: Vec<String> = neighbours.map(|name| name.path().to_owned()).collect();
        let (core, told) = (Arc::clone(self), progress.clone());
        let open: Opener = Arc::new(move |offset| {
            let (core, layer, told) = (Arc::clone(&core), layer.clone(), told.clone());
            let sent = layer.clone();
            let mut at = offset;
            let note = move |n_bytes: usize| {
                at += n_bytes as u64;
                report(&told, &sent, "pushing", at);
            };
            Ok(pieces(move || core.store.open_layer(&layer, offset).map_err(io::Error::other), note))
        });
        let verb = match repository.push_blob(&pushed.blob, &neighbours, open).await? {
            BlobPushed::Existed => "exists",
            BlobPushed::Mounted { .. } => "mounted",
            BlobPushed::Sent => "pushed",
        };
        report(progress, &pushed, verb, pushed.blob.size);
        Ok(())
    }
}

/// By what docker calls a layer while it pushes.
fn report(progress: &Progress, layer: &PushLayer, verb: &'static str, done_bytes: u64) {
    let (part, total_bytes) = (layer.diff_id.short().to_owned(), Some(layer.blob.size));
    progress.report(Step { part, verb, done_bytes, total_bytes });
}

/// What a blocking reader gives, read on a blocking thread that ends when nobody listens.
fn pieces(
    open: impl FnOnce() -> io::Result<Box<dyn Read>> + Send + 'static,
    mut note: impl FnMut(usize) + Send + 'static,
) -> BoxStream<'static, io::Result<Bytes>> {
    let (to, from) = mpsc::channel::<io::Result<Bytes>>(QUEUE);
    tokio::task::spawn_blocking(move || {
        let mut reader = match open() {
            Ok(reader) => reader,
            Err(failed) => return drop(to.blocking_send(Err(failed))),
        };
        loop {
            let mut piece = vec![0; CHUNK_BYTES];
            match reader.read(&mut piece) {
                Ok(0) => return,
                Ok(n_read) => {
                    piece.truncate(n_read);
                    note(n_read);
                    if to.blocking_send(Ok(piece.into())).is_err() {
                        return;
                    }
                }
                Err(failed) if failed.kind() == io::ErrorKind::Interrupted => {}
                Err(failed) => return drop(to.blocking_send(Err(failed))),
            }
        }
    });
    stream::unfold(from, |mut from| async move { Some((from.recv().await?, from)) }).boxed()
}
