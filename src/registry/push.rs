//! Sending: a blob only when the registry has not got it, mounted from a neighbour where it lies there, else uploaded and resumed after a cut;
//! then the manifest that names it all. Called by `embedded`, blobs first. What is sent is what was pulled, byte for byte.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_core::stream::BoxStream;
use hyper::Method;
use hyper::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, RANGE};
use hyper::{StatusCode, Uri};

use super::call::{Answer, Ask, Call};
use super::error::{Again, Code, RegistryError, Result, shown};
use super::hosts::Endpoint;
use super::repository::{CONTENT_DIGEST, Pick, Repository};
use super::url::{encoded, join, with_query};
use crate::engine::error::Class;
use crate::http::Body;
use crate::oci::image::Descriptor;
use crate::stdx::ids::Digest;

/// Blobs up to this size go with the request that closes the upload: one round trip less, nothing worth resuming.
const SMALL_BYTES: u64 = 512 << 10;
/// Neighbours tried before a blob is sent after all.
const MAX_MOUNTS: usize = 3;

/// Gives the blob's bytes from an offset; asked again after a cut.
pub type Opener = Arc<dyn Fn(u64) -> io::Result<BoxStream<'static, io::Result<Bytes>>> + Send + Sync>;

/// How a blob came to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobPushed {
    Existed,
    Mounted { from: String },
    Sent,
}

/// An upload that the registry has opened.
struct Upload {
    endpoint: Arc<Endpoint>,
    /// Where the next part goes; another one after each answer.
    location: Uri,
    /// Bytes that the registry has.
    n_sent: u64,
}

impl Repository {
    fn push_scope(&self) -> String {
        format!("repository:{}:pull,push", self.path)
    }

    /// Whether the registry itself, not a mirror, has a blob.
    ///
    /// # Errors
    /// `Unauthorized`, `Unavailable`, …
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool> {
        let call = Call::new(Method::HEAD, format!("{}/blobs/{digest}", self.path), self.push_scope());
        match self.caller.call(&*self.host().await?, Ask::Owner, &call).await {
            Ok(_) => Ok(true),
            Err(error) if error.class == Class::NotFound => Ok(false),
            Err(error) => Err(self.about_push(error)),
        }
    }

    /// Makes sure that the registry has a blob. `mount_from` names repositories of the same registry (`library/debian`) that may have it.
    ///
    /// # Errors
    /// `Unauthorized`, `Unavailable`, `Invalid` when the registry finds other bytes than the digest's, …
    pub async fn push_blob(&self, blob: &Descriptor, mount_from: &[String], open: Opener) -> Result<BlobPushed> {
        if self.has_blob(&blob.digest).await? {
            return Ok(BlobPushed::Existed);
        }
        let mut opened = None;
        for from in mount_from.iter().filter(|from| **from != self.path).take(MAX_MOUNTS) {
            match self.mount(&blob.digest, from).await? {
                None => return Ok(BlobPushed::Mounted { from: from.clone() }),
                upload => opened = upload,
            }
        }
        self.upload(blob, opened, &open).await?;
        Ok(BlobPushed::Sent)
    }

    /// Sends a manifest or index as it is; the registry must have everything that it names.
    ///
    /// # Errors
    /// As [`Repository::push_blob`], and `Invalid` when the registry refuses it or stores it under another digest.
    pub async fn push_manifest(&self, pick: &Pick, media_type: &str, bytes: Bytes) -> Result<Digest> {
        let digest = Digest::of(&bytes);
        let kind = HeaderValue::from_str(media_type)
            .map_err(|_| RegistryError::new(Class::Invalid, self.name(), format!("{media_type:?} is no media type")))?;
        let mut call = Call::new(Method::PUT, format!("{}/manifests/{pick}", self.path), self.push_scope())
            .header(CONTENT_TYPE, kind);
        call.body = bytes;
        let asked = self.caller.call(&*self.host().await?, Ask::Owner, &call).await;
        let (_, answer) = asked.map_err(|error| self.about_push(error))?;
        let stored = answer.headers().get(CONTENT_DIGEST).and_then(|value| value.to_str().ok()?.parse::<Digest>().ok());
        match stored {
            Some(stored) if stored != digest && stored.algorithm() == digest.algorithm() => {
                let message = format!("{}: the registry stored {stored} for {digest}", self.named(pick));
                Err(RegistryError::new(Class::Invalid, self.name(), message))
            }
            _ => Ok(digest),
        }
    }

    /// `None` when it is mounted; an opened upload when the registry would rather have the bytes.
    async fn mount(&self, digest: &Digest, from: &str) -> Result<Option<Upload>> {
        let path = format!("{}/blobs/uploads/?mount={}&from={}", self.path, encoded(digest.as_str()), encoded(from));
        let mut call = Call::new(Method::POST, path, self.push_scope());
        call.scopes.push(format!("repository:{from}:pull"));
        let host = self.host().await?;
        match self.caller.call(&host, Ask::Owner, &call).await {
            Ok((_, answer)) if answer.status() == StatusCode::CREATED => Ok(None),
            Ok((endpoint, answer)) => Ok(Some(self.opened(endpoint, &call.path, &answer)?)),
            // A login that may not read the neighbour is no reason to fail.
            Err(error) if matches!(error.class, Class::Unauthorized | Class::Forbidden | Class::NotFound) => {
                Ok(Some(self.start().await?))
            }
            Err(error) => Err(self.about_push(error)),
        }
    }

    async fn start(&self) -> Result<Upload> {
        let call = Call::new(Method::POST, format!("{}/blobs/uploads/", self.path), self.push_scope());
        let asked = self.caller.call(&*self.host().await?, Ask::Owner, &call).await;
        let (endpoint, answer) = asked.map_err(|error| self.about_push(error))?;
        self.opened(endpoint, &call.path, &answer)
    }

    fn opened(&self, endpoint: Arc<Endpoint>, path: &str, answer: &Answer) -> Result<Upload> {
        let here = self.caller.uri(&endpoint, path)?;
        let location = self.location(&endpoint, &here, answer)?.ok_or_else(|| {
            let message = format!("{}: it does not say where to upload to", endpoint.target);
            RegistryError::new(Class::Unavailable, self.name(), message)
        })?;
        Ok(Upload { endpoint, location, n_sent: 0 })
    }

    fn location(&self, endpoint: &Endpoint, here: &Uri, answer: &Answer) -> Result<Option<Uri>> {
        let Some(value) = answer.headers().get(LOCATION) else { return Ok(None) };
        let text = value.to_str().map_err(|_| {
            let message = format!("{}: it sends us to an address that cannot be read", endpoint.target);
            RegistryError::new(Class::Unavailable, self.name(), message)
        })?;
        join(here, text).map(Some)
    }

    /// Uploads from wherever it stands until the registry has closed it; a failure that may pass begins where the registry says it is.
    async fn upload(&self, blob: &Descriptor, opened: Option<Upload>, open: &Opener) -> Result<()> {
        let mut current = opened;
        let mut n_failures = 0;
        loop {
            let mut upload = match current.take() {
                Some(upload) => upload,
                None => self.start().await?,
            };
            let before = upload.n_sent;
            let Err(error) = self.send(blob, &mut upload, open).await else { return Ok(()) };
            // The answer to the last request may be what was lost.
            if error.again != Again::No && self.has_blob(&blob.digest).await.unwrap_or(false) {
                return Ok(());
            }
            let is_gone = error.class == Class::NotFound || error.code == Code::BlobUploadUnknown;
            let again = if is_gone { Again::Soon } else { error.again };
            n_failures = if upload.n_sent > before { 1 } else { n_failures + 1 };
            self.caller.pause(error.again(again), n_failures).await.map_err(|error| self.about_push(error))?;
            current = self.stand(upload).await;
        }
    }

    /// Asks how far an upload has come; `None` when a new one must be opened.
    async fn stand(&self, mut upload: Upload) -> Option<Upload> {
        let call = self.part(Method::GET);
        let endpoint = upload.endpoint.clone();
        let answer = self.caller.exchange(&endpoint, &upload.location, &call, Body::empty).await.ok()?;
        if answer.status() != StatusCode::NO_CONTENT {
            return None;
        }
        upload.n_sent = received(&answer)?;
        upload.location = self.location(&endpoint, &upload.location, &answer).ok()?.unwrap_or(upload.location);
        Some(upload)
    }

    async fn send(&self, blob: &Descriptor, upload: &mut Upload, open: &Opener) -> Result<()> {
        let is_small = blob.size <= SMALL_BYTES && upload.n_sent == 0;
        if !is_small && upload.n_sent < blob.size {
            let range = format!("{}-{}", upload.n_sent, blob.size - 1);
            let call = self
                .part(Method::PATCH)
                .header(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))
                .header(CONTENT_RANGE, HeaderValue::from_str(&range).expect("digits are plain text"));
            let answer = self.deliver(upload, &upload.location, &call, blob, open).await?;
            upload.location =
                self.location(&upload.endpoint, &upload.location, &answer)?.unwrap_or(upload.location.clone());
            upload.n_sent = blob.size;
        }
        let end = with_query(&upload.location, "digest", blob.digest.as_str())?;
        let call = self.part(Method::PUT).header(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        self.deliver(upload, &end, &call, blob, open).await?;
        Ok(())
    }

    /// What is left of the blob, to `uri`.
    async fn deliver(
        &self,
        upload: &Upload,
        uri: &Uri,
        call: &Call,
        blob: &Descriptor,
        open: &Opener,
    ) -> Result<Answer> {
        let n_left = blob.size - upload.n_sent;
        let body = || match n_left {
            0 => Body::empty(),
            _ => match open(upload.n_sent) {
                Ok(stream) => Body::sized(stream, n_left),
                Err(error) => Body::sized(futures_util::stream::iter([Err(error)]), n_left),
            },
        };
        let answer = self.caller.exchange(&upload.endpoint, uri, call, body).await?;
        self.caller.success(&upload.endpoint, answer).await
    }

    fn part(&self, method: Method) -> Call {
        Call::new(method, String::new(), self.push_scope())
    }

    fn about_push(&self, error: RegistryError) -> RegistryError {
        let name = self.name();
        match (error.class, error.code) {
            (Class::Unauthorized | Class::Forbidden, _) if !error.from_network => {
                let error = self.about_repository(error);
                RegistryError { message: format!("push to {name} denied: this login may not write there"), ..error }
            }
            (_, Code::ManifestBlobUnknown) => {
                let message = format!("{name}: the registry lacks a blob that the manifest names");
                RegistryError { message, ..error }
            }
            (_, Code::DigestInvalid) => {
                let said = shown(&error.message);
                let message = format!("{name}: the registry received other bytes than the digest's: {said}");
                RegistryError { class: Class::Invalid, message, ..error }
            }
            _ => self.about_repository(error),
        }
    }
}

/// Bytes that the registry has, from `Range: 0-9` (inclusive; distribution says `0-0` for none and for one, and one byte more does no harm
/// because it names its own offset when we are wrong).
fn received(answer: &Answer) -> Option<u64> {
    let text = answer.headers().get(RANGE)?.to_str().ok()?;
    let (_, last) = text.trim_start_matches("bytes=").split_once('-')?;
    let last: u64 = last.parse().ok()?;
    Some(if last == 0 { 0 } else { last + 1 })
}
