//! One repository of a registry, as one user: its manifests, configs and tags. Called by `embedded`; blobs and pushing are next door.

use std::sync::Arc;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LINK};
use serde::Deserialize;

use super::call::{Ask, Call, Caller, Fetched};
use super::error::{Code, RegistryError, Result, shown};
use super::hosts::{HUB, Host};
use super::{suggest, url};
use crate::engine::auth::Credentials;
use crate::engine::error::Class;
use crate::oci::image::{
    DOCKER_LIST, DOCKER_MANIFEST, Descriptor, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, OCI_INDEX, OCI_MANIFEST,
};
use crate::oci::reference::Reference;
use crate::stdx::ids::Digest;

/// What we read; schema 1 is among it so that a registry which has nothing else says so.
const ACCEPTED: [&str; 5] = [
    OCI_INDEX,
    OCI_MANIFEST,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// One page of tags or names.
const MAX_PAGE_BYTES: u64 = 4 << 20;
/// More tags than this are not listed.
const MAX_NAMES: usize = 100_000;

/// Which of a repository's manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    Tag(String),
    Digest(Digest),
}

impl Pick {
    /// The digest when it is pinned, else the tag.
    pub fn of(reference: &Reference) -> Self {
        match (reference.digest(), reference.tag()) {
            (Some(digest), _) => Self::Digest(digest.clone()),
            (None, tag) => Self::Tag(tag.unwrap_or("latest").to_owned()),
        }
    }
}

impl std::fmt::Display for Pick {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => f.write_str(digest.as_str()),
        }
    }
}

/// A manifest or index as it came; the digest is of these bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub bytes: Bytes,
    pub digest: Digest,
    /// As the registry said; empty when it said nothing.
    pub media_type: String,
}

/// What a registry says of a manifest without sending it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// `None` from registries that do not say.
    pub digest: Option<Digest>,
    pub media_type: String,
    pub size_bytes: Option<u64>,
}

/// See the room's head. Clones share everything.
#[derive(Clone)]
pub struct Repository {
    pub(super) caller: Caller,
    pub(super) domain: String,
    pub(super) path: String,
    pub(super) whom: Ask,
}

impl Repository {
    pub(super) fn new(caller: Caller, reference: &Reference) -> Self {
        let (domain, path) = (reference.domain().to_owned(), reference.path().to_owned());
        Self { caller, domain, path, whom: Ask::Anyone }
    }

    /// The same, asking the registry alone: for when a mirror gave wrong bytes.
    #[must_use]
    pub fn without_mirrors(&self) -> Self {
        Self { whom: Ask::Owner, ..self.clone() }
    }

    /// As people write it: `debian`, `ghcr.io/x/y`.
    pub fn name(&self) -> &str {
        &self.caller.subject
    }

    pub(super) async fn host(&self) -> Result<Arc<Host>> {
        self.caller.hosts.host(&self.domain).await
    }

    pub(super) fn pull_scope(&self) -> String {
        format!("repository:{}:pull", self.path)
    }

    /// `debian:12`, `debian@sha256:…`.
    pub(super) fn named(&self, pick: &Pick) -> String {
        let mark = if matches!(pick, Pick::Tag(_)) { ':' } else { '@' };
        format!("{}{mark}{pick}", self.name())
    }

    fn manifest_call(&self, method: Method, pick: &Pick) -> Call {
        let accept = HeaderValue::from_str(&ACCEPTED.join(", ")).expect("media types are plain text");
        Call::new(method, format!("{}/manifests/{pick}", self.path), self.pull_scope()).header(ACCEPT, accept)
    }

    /// Asks what a manifest is without fetching it; Docker Hub does not count it as a pull.
    ///
    /// # Errors
    /// `NotFound`, `Unauthorized`, `Unavailable`, …
    pub async fn head(&self, pick: &Pick) -> Result<Head> {
        let call = self.manifest_call(Method::HEAD, pick);
        let asked = self.caller.call(&*self.host().await?, self.whom, &call).await;
        let (_, answer) = asked.map_err(|error| self.about_manifest(error, pick))?;
        let size_bytes = answer.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Head { digest: said_digest(answer.headers()), media_type: media_type(answer.headers()), size_bytes })
    }

    /// Fetches a manifest or index and verifies it: against the pinned digest, else against the one that the registry says.
    ///
    /// # Errors
    /// As [`Repository::head`], and `Invalid` when the bytes are not what they should be.
    pub(super) async fn manifest(&self, pick: &Pick) -> Result<Document> {
        let call = self.manifest_call(Method::GET, pick);
        let fetched = self.caller.fetch(&*self.host().await?, self.whom, &call, MAX_MANIFEST_BYTES).await;
        let Fetched { endpoint, headers, bytes } = match fetched {
            Ok(fetched) => fetched,
            Err(error) => return Err(self.with_suggestion(self.about_manifest(error, pick), pick).await),
        };
        let expected = match pick {
            Pick::Digest(digest) => Some(digest.clone()),
            Pick::Tag(_) => said_digest(&headers),
        };
        let digest = match expected {
            Some(digest) => {
                verify(&self.named(pick), &endpoint.target.to_string(), &digest, &bytes)?;
                digest
            }
            None => Digest::of(&bytes),
        };
        Ok(Document { bytes, digest, media_type: media_type(&headers) })
    }

    /// Fetches an image's config whole and verifies it.
    ///
    /// # Errors
    /// `Invalid` when it is larger than 8 MiB or not what its digest says; else as every question.
    pub async fn config(&self, descriptor: &Descriptor) -> Result<Bytes> {
        if descriptor.size > MAX_CONFIG_BYTES {
            let message = format!("{}: an image config of {} bytes is too large", self.name(), descriptor.size);
            return Err(RegistryError::new(Class::Invalid, self.name(), message));
        }
        let call = Call::get(format!("{}/blobs/{}", self.path, descriptor.digest), self.pull_scope());
        let fetched = self.caller.fetch(&*self.host().await?, self.whom, &call, descriptor.size).await;
        let Fetched { endpoint, bytes, .. } = fetched.map_err(|error| self.about_blob(error, &descriptor.digest))?;
        verify(self.name(), &endpoint.target.to_string(), &descriptor.digest, &bytes)?;
        Ok(bytes)
    }

    /// All tags, as the registry sorts them.
    ///
    /// # Errors
    /// `NotFound`, `Unauthorized`, `Unavailable`, …
    pub async fn tags(&self) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let host = self.host().await?;
        let path = format!("{}/tags/list?n=1000", self.path);
        let pages = Pages { caller: &self.caller, host: &host, scope: self.pull_scope(), max: MAX_NAMES };
        pages
            .collect(path, |page: Page| page.tags.unwrap_or_default())
            .await
            .map_err(|error| self.about_repository(error))
    }

    /// The same error in terms of a manifest.
    fn about_manifest(&self, error: RegistryError, pick: &Pick) -> RegistryError {
        if error.class == Class::NotFound && error.code != Code::NameUnknown {
            let message = format!("manifest for {} not found: manifest unknown", self.named(pick));
            return RegistryError { message, subject: self.named(pick), ..error };
        }
        self.about_repository(error)
    }

    pub(super) fn about_blob(&self, error: RegistryError, digest: &Digest) -> RegistryError {
        if error.class == Class::NotFound {
            let message = format!("{}: the registry has no blob {digest}", self.name());
            return RegistryError { message, subject: self.name().to_owned(), ..error }
                .hint("the image was pushed only in part or its blobs were deleted; have it pushed again");
        }
        self.about_repository(error)
    }

    pub(super) fn about_repository(&self, error: RegistryError) -> RegistryError {
        let name = self.name().to_owned();
        match error.class {
            Class::Unauthorized | Class::Forbidden if !error.from_network => {
                let why = if self.caller.credentials == Credentials::Anonymous {
                    "it does not exist or needs a login"
                } else {
                    "it does not exist or is not open to this login"
                };
                let message = format!("access to {name} denied: {why}");
                RegistryError { message, subject: name, ..error.because_of_message() }.hint(self.login_hint())
            }
            Class::NotFound => {
                let message = format!("{name}: the registry has no such repository");
                RegistryError { message, subject: name, ..error }
            }
            _ => RegistryError { subject: name, ..error },
        }
    }

    fn login_hint(&self) -> String {
        let host = if self.domain == HUB { String::new() } else { format!(" {}", self.domain) };
        format!("log in with: orlop login{host}")
    }

    async fn with_suggestion(&self, error: RegistryError, pick: &Pick) -> RegistryError {
        let is_lost = matches!(error.class, Class::NotFound | Class::Unauthorized) && !error.from_network;
        let suggestion = if is_lost { suggest::instead(self, pick).await } else { None };
        match suggestion {
            Some(hint) if error.class == Class::NotFound => error.hint(hint),
            Some(hint) => {
                let login = error.hint.clone().unwrap_or_default();
                error.hint(format!("{hint} Else {login}"))
            }
            None => error,
        }
    }
}

impl RegistryError {
    /// Keeps what the registry said as the reason beneath a new sentence.
    fn because_of_message(self) -> Self {
        let said = self.message.clone();
        self.because(said)
    }
}

/// Lists that come in pages, each naming the next (RFC 8288).
pub(super) struct Pages<'a> {
    pub(super) caller: &'a Caller,
    pub(super) host: &'a Host,
    pub(super) scope: String,
    /// Stops here.
    pub(super) max: usize,
}

impl Pages<'_> {
    pub(super) async fn collect<P: for<'de> Deserialize<'de>>(
        &self,
        path: String,
        items: impl Fn(P) -> Vec<String>,
    ) -> Result<Vec<String>> {
        let mut all = Vec::new();
        let mut next = Some(path);
        while let Some(path) = next.take() {
            let call = Call::get(path.clone(), self.scope.clone());
            let Fetched { endpoint, headers, bytes } =
                self.caller.fetch(self.host, Ask::Owner, &call, MAX_PAGE_BYTES).await?;
            let link = headers.get(LINK).and_then(|value| value.to_str().ok()).and_then(next_link);
            let page: P = serde_json::from_slice(&bytes).map_err(|error| {
                let message = format!("{}: its list cannot be read", endpoint.target);
                RegistryError::new(Class::Unavailable, &self.caller.subject, message).because(error)
            })?;
            let n_before = all.len();
            all.extend(items(page));
            all.truncate(self.max);
            if all.len() == self.max || all.len() == n_before {
                break;
            }
            if let Some(link) = link {
                let here = self.caller.uri(&endpoint, &path)?;
                let there = url::join(&here, &link)?;
                let whole = there.path_and_query().map_or("", |it| it.as_str());
                // Whatever host the link names, the list is this registry's.
                next = whole.split_once("/v2/").map(|(_, rest)| rest.to_owned());
            }
        }
        Ok(all)
    }
}

/// The address in `<…>; rel="next"`.
fn next_link(header: &str) -> Option<String> {
    header.split(',').find_map(|link| {
        let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
        rest.contains("next").then(|| address.to_owned())
    })
}

fn said_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get(CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
}

/// Without its parameters.
fn media_type(headers: &HeaderMap) -> String {
    let said = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    shown(said.split(';').next().unwrap_or_default())
}

fn verify(subject: &str, peer: &str, expected: &Digest, bytes: &[u8]) -> Result<()> {
    let mut hasher = expected.hasher();
    hasher.update(bytes);
    let found = hasher.finish();
    if found == *expected {
        return Ok(());
    }
    let message = format!("{subject}: {peer} sent {found} for {expected}");
    Err(RegistryError::new(Class::Invalid, subject, message)
        .hint("the registry or something on the way changed the bytes; nothing of it was kept"))
}
