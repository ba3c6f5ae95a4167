//! Pulls: the registry says what an image is, the store takes it in. Called by `images`. A future that is dropped ends the transfers and
//! leaves what came; the next pull, of this process or another, goes on with it.

use std::sync::Arc;

use crate::engine::progress::Step;
use crate::engine::{Class, EngineError, Progress, PullImage, PulledImage, Result};
use crate::oci::image::Platform;
use crate::oci::reference::Reference;
use crate::registry::{Pick, Repository, Resolved};
use crate::stdx::ids::Digest;
use crate::store::{self, Pulled, StoreError, Wanted};

use super::images::parse_reference;
use super::registries::Wire;
use super::{Core, error};

/// Ends a pull's transfers when nobody waits for it any more.
struct Leash(Arc<Wire>);

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Core {
    pub(crate) async fn pull(self: &Arc<Self>, request: &PullImage, progress: &Progress) -> Result<Vec<PulledImage>> {
        let reference = parse_reference(&request.reference)?;
        let platform = request.platform.as_ref().map(|text| {
            text.parse::<Platform>().map_err(|why| EngineError::new(Class::Invalid, text, why).with_exit_code(125))
        });
        let platform = platform.transpose()?;
        let repository = self.registries().repository(&reference, request.credentials.clone());
        let references = if request.all_tags {
            let tags = repository.tags().await?;
            let named = tags.iter().map(|tag| parse_reference(&format!("{}:{tag}", reference.repository())));
            named.collect::<Result<Vec<_>>>()?
        } else {
            vec![reference]
        };
        let mut pulled = Vec::new();
        for reference in references {
            let image = self.pull_one(&repository, &reference, platform.as_ref(), progress).await?;
            self.image_event("pull", &image.reference, &reference.familiar());
            pulled.push(image);
        }
        Ok(pulled)
    }

    async fn pull_one(
        self: &Arc<Self>,
        repository: &Repository,
        reference: &Reference,
        platform: Option<&Platform>,
        progress: &Progress,
    ) -> Result<PulledImage> {
        let pick = Pick::of(reference);
        if platform.is_none()
            && let Some(image) = self.is_up_to_date(repository, reference, &pick, progress).await?
        {
            return Ok(image);
        }
        let resolved = repository.resolve(&pick, platform).await?;
        match self.take_in(repository, reference, &resolved, progress).await {
            // A mirror may have sent wrong bytes; the registry itself is the judge.
            Err(failed) if failed.is_wrong_bytes && reference.domain() == "docker.io" => {
                self.take_in(&repository.without_mirrors(), reference, &resolved, progress).await
            }
            done => done,
        }
        .map_err(|failed| failed.error)
    }

    /// The image, when the registry's answer to a question that counts as no pull is what is here already.
    async fn is_up_to_date(
        self: &Arc<Self>,
        repository: &Repository,
        reference: &Reference,
        pick: &Pick,
        progress: &Progress,
    ) -> Result<Option<PulledImage>> {
        if !matches!(pick, Pick::Tag(_)) || self.store.image_id(&reference.to_string()).is_err() {
            return Ok(None);
        }
        // Whatever is wrong is told by the question that must be answered.
        let Ok(head) = repository.head(pick).await else { return Ok(None) };
        let Some(digest) = head.digest else { return Ok(None) };
        let Ok(image) = self.store.image(&named(reference, &digest)?.to_string()) else { return Ok(None) };
        if !image.names.contains(reference) || !image.config.platform().runs_on(&Platform::host()) {
            return Ok(None);
        }
        for (diff_id, size) in &image.layers {
            let (part, total_bytes) = (diff_id.short().to_owned(), Some(*size));
            progress.report(Step { part, verb: "present", done_bytes: *size, total_bytes });
        }
        Ok(Some(PulledImage {
            reference: reference.to_string(),
            digest: digest.to_string(),
            id: image.id.to_string(),
            was_up_to_date: true,
        }))
    }

    async fn take_in(
        self: &Arc<Self>,
        repository: &Repository,
        reference: &Reference,
        resolved: &Resolved,
        progress: &Progress,
    ) -> std::result::Result<PulledImage, Failed> {
        let config = match self.store.document(&resolved.config.digest) {
            Some(bytes) => bytes,
            None => repository.config(&resolved.config).await.map_err(EngineError::from)?.to_vec(),
        };
        let digest_name = named(reference, resolved.digest())?;
        let mut names = vec![digest_name];
        if reference.digest().is_none() {
            names.push(reference.clone());
        }
        let manifest = resolved.manifest.bytes.to_vec();
        let wanted = Wanted { shown: reference.familiar(), names, manifest, config };
        let wire = Arc::new(Wire::new(repository.clone()));
        let leash = Leash(Arc::clone(&wire));
        let n_at_once = self.registries().registries().max_concurrent_downloads;
        let (core, progress) = (Arc::clone(self), progress.clone());
        let work = tokio::task::spawn_blocking(move || {
            core.store.pull(wanted, &*wire, n_at_once, &progress).map_err(|failed| Failed::of(failed, &wire))
        });
        let pulled: Pulled = work.await.map_err(|failed| error::join(&failed))??;
        drop(leash);
        Ok(PulledImage {
            reference: reference.to_string(),
            digest: resolved.digest().to_string(),
            id: pulled.image.id,
            was_up_to_date: pulled.was_up_to_date,
        })
    }
}

/// Why an image was not taken in.
struct Failed {
    error: EngineError,
    is_wrong_bytes: bool,
}

impl Failed {
    /// What the registry said is the reason, where it said something.
    fn of(failed: StoreError, wire: &Wire) -> Self {
        let is_wrong_bytes = failed.class == store::Class::Corrupt;
        let error = wire.take_failure().unwrap_or_else(|| failed.into());
        Self { error, is_wrong_bytes }
    }
}

impl From<EngineError> for Failed {
    fn from(error: EngineError) -> Self {
        Self { error, is_wrong_bytes: false }
    }
}

/// `repository@digest`.
pub(crate) fn named(reference: &Reference, digest: &Digest) -> Result<Reference> {
    parse_reference(&format!("{}@{digest}", reference.repository()))
}
