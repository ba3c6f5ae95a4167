//! Images: lists and verbs as one request each; pull, push, load and import as streams of progress; save as an archive.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Remote;
use super::ask::{Ask, LONG, Payload};
use super::link::{Link, Opened};
use super::transfer::{self, Upload};
use super::{dial, layers};
use crate::api::compat::{Family, Feature};
use crate::api::error::one_line;
use crate::api::from_wire::image as wire;
use crate::api::from_wire::progress::{self, Objects, Parts};
use crate::api::read::Read;
use crate::api::routes::{Call, Query};
use crate::engine::{
    Class, Credentials, EngineError, Filters, FoundImage, HistoryEntry, ImageDetail, ImageSummary, Images, ImportImage,
    LayerFiles, LayersWanted, ListImages, LoadedImage, Progress, PruneReport, PullImage, PulledImage, PushImage,
    PushedImage, Reader, RemoveImage, RemovedImage, Result, SearchImages, Writer,
};
use crate::oci::reference::Reference;

/// A daemon that reports nothing of a transfer for so long is given up.
const SILENCE: Duration = Duration::from_secs(600);
const SEARCH_LIMIT: u32 = 25;

/// `name[:tag]` in its two parts; a port is no tag, and a digest stays with its name.
pub(super) fn split(reference: &str) -> (&str, &str) {
    match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') && !reference.contains('@') => (name, tag),
        _ => (reference, ""),
    }
}

/// What can be no reference is no image, without asking.
fn check(image: &str) -> Result<()> {
    let is_possible = !image.is_empty()
        && !image.split('/').any(|part| part.is_empty() || part == "." || part == "..")
        && image.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte));
    if is_possible { Ok(()) } else { Err(EngineError::no_such_image(image)) }
}

/// Docker and podman word it in several ways.
fn missing(refused: EngineError, image: &str) -> EngineError {
    if refused.class == Class::NotFound { EngineError::no_such_image(image) } else { refused }
}

fn auth_header(credentials: &Credentials, registry: &str) -> String {
    let body = match credentials {
        Credentials::Anonymous => json!({}),
        Credentials::Password { username, password } => {
            json!({"username": username, "password": password, "serveraddress": registry})
        }
        Credentials::IdentityToken(token) => json!({"identitytoken": token, "serveraddress": registry}),
        Credentials::RegistryToken(token) => json!({"registrytoken": token, "serveraddress": registry}),
    };
    URL_SAFE.encode(body.to_string())
}

/// Logins by registry: what podman's search reads.
fn config_header(credentials: &Credentials, registry: &str) -> String {
    let body = match credentials {
        Credentials::Password { username, password } => json!({registry: {"username": username, "password": password}}),
        _ => json!({}),
    };
    URL_SAFE.encode(body.to_string())
}

fn parsed(reference: &str) -> Result<Reference> {
    reference.parse::<Reference>().map_err(|error| EngineError::new(Class::Invalid, reference, error.to_string()))
}

#[async_trait]
impl Images for Remote {
    async fn list(&self, query: &ListImages) -> Result<Vec<ImageSummary>> {
        let words = Query::default().flag("all", query.all).filters(&query.filters);
        let mut rows = wire::summaries(&self.link.rows(Ask::new(Call::ImageList).query(words)).await?);
        // Podman 4 takes an image with any one of several labels.
        rows.retain(|row| query.filters.match_labels(&row.labels));
        Ok(rows)
    }

    async fn inspect(&self, image: &str) -> Result<ImageDetail> {
        check(image)?;
        let asked = self.link.raw_object(Ask::about(Call::ImageInspect, image)).await;
        let (doc, raw) = asked.map_err(|refused| missing(refused, image))?;
        if doc.text("Id").is_empty() {
            return Err(self.link.strange("an image without an id"));
        }
        Ok(wire::detail(&doc, raw))
    }

    async fn history(&self, image: &str) -> Result<Vec<HistoryEntry>> {
        check(image)?;
        let doc = self.link.rows(Ask::about(Call::ImageHistory, image)).await;
        Ok(wire::history(&doc.map_err(|refused| missing(refused, image))?))
    }

    async fn tag(&self, image: &str, new_reference: &str) -> Result<()> {
        check(image)?;
        parsed(new_reference)?;
        let (repository, tag) = split(new_reference);
        let query = Query::default().with("repo", repository).with_some("tag", Some(tag).filter(|tag| !tag.is_empty()));
        let done = self.link.done(Ask::about(Call::ImageTag, image).query(query)).await;
        done.map_err(|refused| missing(refused, image))
    }

    async fn remove(&self, image: &str, options: &RemoveImage) -> Result<Vec<RemovedImage>> {
        check(image)?;
        let query = Query::default().flag("force", options.force).flag("noprune", options.no_prune);
        let doc = self.link.rows(Ask::about(Call::ImageRemove, image).query(query).patient(LONG)).await;
        let doc = doc.map_err(|mut refused| {
            // Podman's 500 for what is a conflict.
            if refused.class == Class::Internal && refused.message.contains("force removal") {
                refused.class = Class::Conflict;
            }
            missing(refused, image)
        })?;
        Ok(wire::removed(&doc))
    }

    async fn prune(&self, filters: &Filters) -> Result<PruneReport> {
        self.link.need(Feature::Prune).await?;
        let takes_all = filters.values("dangling").iter().any(|value| matches!(value.as_str(), "false" | "0"));
        let ask = match self.link.peer().await?.family {
            Family::Podman if takes_all => {
                let mut others = filters.clone();
                others.0.remove("dangling");
                Ask::new(Call::LibpodImagePrune).query(Query::default().flag("all", true).filters(&others))
            }
            _ => Ask::new(Call::ImagePrune).query(Query::default().filters(filters)),
        };
        let doc = self.link.json(ask.patient(LONG)).await?;
        match doc.as_array() {
            // Podman's own form.
            Some(rows) => Ok(PruneReport {
                removed: rows.iter().map(|row| wire::id(&row.text("Id"))).collect(),
                reclaimed_bytes: rows.iter().map(|row| row.count("Size")).sum(),
            }),
            None => Ok(wire::pruned(&doc)),
        }
    }

    async fn load(&self, archive: Reader, progress: Progress) -> Result<Vec<LoadedImage>> {
        let (upload, failure) = Upload::start(archive);
        let ask = Ask::new(Call::ImageLoad).query(Query::default().with("quiet", 0)).tar(upload).patient(LONG);
        let said = failure.or(self.follow(ask, "", &progress).await)?;
        let texts: Vec<_> = said.iter().filter_map(|doc| doc.some_text("stream")).collect();
        let mut images = wire::loaded(&texts);
        for image in &mut images {
            let name = image.references.first().unwrap_or(&image.id).clone();
            // It was there a moment ago; its name is worth telling even if it has gone.
            if let Ok(detail) = Images::inspect(self, &name).await {
                image.id = detail.summary.id;
                image.size_bytes = detail.summary.size_bytes;
            }
        }
        Ok(images)
    }

    async fn import(&self, archive: Reader, options: &ImportImage, progress: Progress) -> Result<LoadedImage> {
        let (repository, tag) = split(options.reference.as_deref().unwrap_or(""));
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        // Podman takes the tag with the name, and drops it elsewhere.
        let (repository, tag) = match self.link.peer().await?.family {
            Family::Podman => (options.reference.as_deref().unwrap_or(""), ""),
            _ => (repository, tag),
        };
        let mut query = Query::default()
            .with("fromSrc", "-")
            .with_some("repo", some(repository))
            .with_some("tag", some(tag))
            .with_some("message", options.message.as_deref())
            .with_some("platform", options.platform.as_deref());
        for change in &options.changes {
            query = query.with("changes", change);
        }
        let (upload, failure) = Upload::start(archive);
        let ask = Ask::new(Call::ImageCreate).query(query).tar(upload).patient(LONG);
        let said = failure.or(self.follow(ask, "", &progress).await)?;
        let id = said.iter().rev().find_map(imported_id);
        let typed = options.reference.clone().or(id.clone()).ok_or_else(|| self.unclear("what it imported"))?;
        let detail = Images::inspect(self, id.as_deref().unwrap_or(&typed)).await?;
        let references =
            options.reference.iter().filter_map(|name| name.parse::<Reference>().ok()).map(|name| name.familiar());
        Ok(LoadedImage {
            id: detail.summary.id,
            references: references.collect(),
            size_bytes: detail.summary.size_bytes,
        })
    }

    async fn from_host(&self, reference: &str, _paths: &[String], _progress: Progress) -> Result<LoadedImage> {
        let message = format!("cannot make {reference} on {}: its files cannot be read from here", self.link.name());
        Err(EngineError::unsupported(message)
            .with_hint("make it with the embedded engine, then move it: orlop save NAME | orlop -H HOST load"))
    }

    async fn save(&self, images: &[String], to: Writer) -> Result<()> {
        for image in images {
            check(image)?;
        }
        let query = images.iter().fold(Query::default(), |query, image| query.with("names", image));
        let opened = self.link.open_archive(Ask::new(Call::ImageSave).query(query).patient(LONG)).await?;
        transfer::download(opened.body, to).await
    }

    async fn pull(&self, request: &PullImage, progress: Progress) -> Result<Vec<PulledImage>> {
        let reference = parsed(&request.reference)?;
        if request.platform.is_some() {
            self.link.need(Feature::Platform).await?;
        }
        let tag = reference.digest().map(|digest| digest.as_str().to_owned()).or(reference.tag().map(str::to_owned));
        let query = Query::default()
            .with("fromImage", reference.repository())
            .with_some("tag", tag.filter(|_| !request.all_tags))
            .with_some("platform", request.platform.as_deref());
        let ask = Ask::about(Call::ImageCreate, &request.reference)
            .query(query)
            .header("x-registry-auth", auth_header(&request.credentials, reference.domain()))
            .patient(LONG);
        // Podman does not say that nothing was new.
        let before = match self.link.peer().await?.family {
            Family::Podman => Images::inspect(self, &reference.to_string()).await.ok().map(|image| image.summary.id),
            _ => None,
        };
        let said = self.follow(ask, &request.reference, &progress).await?;
        let mut pulled = self.pulled(&reference, request.all_tags, &said).await?;
        for image in &mut pulled {
            image.was_up_to_date |= before.as_ref() == Some(&image.id);
        }
        Ok(pulled)
    }

    async fn push(&self, request: &PushImage, progress: Progress) -> Result<Vec<PushedImage>> {
        let reference = parsed(&request.reference)?;
        let query = Query::default().with_some("tag", reference.tag().filter(|_| !request.all_tags));
        let ask = Ask::about(Call::ImagePush, &reference.repository())
            .query(query)
            .header("x-registry-auth", auth_header(&request.credentials, reference.domain()))
            .patient(LONG);
        let said = self.follow(ask, &request.reference, &progress).await?;
        let pushed = |doc: &Value| {
            let aux = doc.at("aux");
            Some(PushedImage { digest: aux.some_text("Digest")?, tag: aux.text("Tag"), size_bytes: aux.count("Size") })
        };
        let mut all: Vec<_> = said.iter().filter_map(pushed).collect();
        if all.is_empty() {
            // Podman says it in a sentence.
            all.extend(said.iter().filter_map(|doc| digest_in(&doc.text("status"))).map(|digest| PushedImage {
                tag: reference.tag().unwrap_or("").to_owned(),
                digest,
                size_bytes: 0,
            }));
        }
        Ok(all)
    }

    async fn search(&self, query: &SearchImages) -> Result<Vec<FoundImage>> {
        let words = Query::default()
            .with("term", &query.term)
            .with("limit", query.limit.unwrap_or(SEARCH_LIMIT))
            .filters(&query.filters);
        let registry = match query.term.split_once('/') {
            Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
            _ => "",
        };
        let ask = Ask::about(Call::ImageSearch, &query.term).query(words);
        let ask = match self.link.peer().await?.family {
            Family::Podman => ask.header("x-registry-config", config_header(&query.credentials, registry)),
            _ => ask.header("x-registry-auth", auth_header(&query.credentials, registry)),
        };
        Ok(wire::found(&self.link.rows(ask).await?))
    }

    async fn layer_files(&self, image: &str) -> Result<Vec<LayerFiles>> {
        layers::files(self, image).await
    }

    async fn layers_wanted(&self, diff_ids: &[String]) -> Result<LayersWanted> {
        layers::wanted(self, diff_ids).await
    }
}

/// `{"status":"sha256:…"}` of docker, `{"stream":"sha256:…"}` of podman, or an id alone.
fn imported_id(doc: &Value) -> Option<String> {
    let text = [doc.text("status"), doc.text("stream"), doc.text("id")].into_iter().find_map(|text| {
        let hex = text.trim().strip_prefix("sha256:").unwrap_or(text.trim()).to_owned();
        (hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(hex)
    })?;
    Some(format!("sha256:{text}"))
}

/// The digest in "latest: digest: sha256:… size: 528" or "Digest: sha256:…".
fn digest_in(text: &str) -> Option<String> {
    let at = text.find("sha256:")?;
    let digest = text.get(at..at + 71)?;
    let is_digest = text.to_lowercase().contains("digest") && digest[7..].bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest.then(|| digest.to_owned())
}

impl Remote {
    fn unclear(&self, what: &str) -> EngineError {
        EngineError::new(Class::Internal, self.link.name(), format!("{} does not say {what}", self.link.name()))
    }

    /// Reads a stream of progress to its end; what a daemon says about a failure in the middle of it is the error.
    async fn follow(&self, ask: Ask, subject: &str, progress: &Progress) -> Result<Vec<Value>> {
        // An upload may take as long as it moves.
        let opened = match ask.payload {
            Payload::Tar(_) => self.link.open_archive(ask).await?,
            _ => self.link.open(ask).await?,
        };
        follow(&self.link, opened, subject, progress).await
    }

    async fn pulled(&self, reference: &Reference, all_tags: bool, said: &[Value]) -> Result<Vec<PulledImage>> {
        let digest = said.iter().rev().find_map(|doc| digest_in(&doc.text("status")));
        let was_up_to_date = said.iter().any(|doc| doc.text("status").contains("Image is up to date"));
        if all_tags {
            let repository = reference.familiar_repository();
            let filters = Filters::default().with("reference", repository);
            let rows = Images::list(self, &ListImages { all: false, filters }).await?;
            let one = |row: &ImageSummary| {
                let image = |name: &String| PulledImage {
                    reference: name.clone(),
                    digest: digest_of(row),
                    id: row.id.clone(),
                    was_up_to_date,
                };
                row.references.iter().map(image).collect::<Vec<_>>()
            };
            return Ok(rows.iter().flat_map(one).collect());
        }
        let name = reference.to_string();
        let detail = Images::inspect(self, &name).await?;
        let digest = digest.unwrap_or_else(|| digest_of(&detail.summary));
        Ok(vec![PulledImage { reference: name, digest, id: detail.summary.id, was_up_to_date }])
    }
}

fn digest_of(row: &ImageSummary) -> String {
    row.digests.first().and_then(|name| name.split_once('@')).map(|(_, digest)| digest.to_owned()).unwrap_or_default()
}

async fn follow(link: &Link, opened: Opened, subject: &str, progress: &Progress) -> Result<Vec<Value>> {
    let (mut body, mut objects, mut said) = (opened.body, Objects::default(), Vec::new());
    let mut parts = Parts::default();
    loop {
        let piece = match timeout(link.patience(SILENCE), body.next()).await {
            Err(_) => return Err(dial::silent(link.endpoint())),
            Ok(None) => break,
            Ok(Some(piece)) => piece?,
        };
        let found = objects.feed(&piece).map_err(|bad| link.garbled(&bad))?;
        for doc in found {
            if let Some(why) = progress::failure(&doc) {
                return Err(EngineError::new(class_of(&why), subject, one_line(&why)));
            }
            match parts.step(&doc) {
                Some(step) => progress.report(step),
                // Only what tells a result is kept: a long pull reports thousands of steps.
                None if said.len() < 10_000 => said.push(doc),
                None => {}
            }
        }
    }
    if !objects.is_between_objects() {
        let message = format!("{} ended its report in the middle", link.name());
        return Err(EngineError::new(Class::Unavailable, subject, message).with_hint(dial::CUT));
    }
    parts.rest().for_each(|step| progress.report(step));
    Ok(said)
}

/// A failure in the middle of a stream has no status any more: docker's sentences.
fn class_of(why: &str) -> Class {
    let why = why.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| why.contains(word));
    match () {
        () if has(&["unauthorized", "authentication required", "no basic auth"]) => Class::Unauthorized,
        () if has(&["denied"]) => Class::Forbidden,
        () if has(&["not found", "manifest unknown", "no such", "does not exist"]) => Class::NotFound,
        () if has(&["no space left"]) => Class::Full,
        () if has(&["timeout", "deadline exceeded"]) => Class::Timeout,
        () if has(&["connection refused", "no route to host", "dial tcp"]) => Class::Unavailable,
        () if has(&["invalid", "unexpected eof", "archive/tar"]) => Class::Invalid,
        () => Class::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_split_at_their_tag() {
        assert_eq!(split("a:1"), ("a", "1"));
        assert_eq!(split("host:5000/a"), ("host:5000/a", ""));
        assert_eq!(split("host:5000/a:2"), ("host:5000/a", "2"));
        assert_eq!(split("a@sha256:bc"), ("a@sha256:bc", ""));
        assert_eq!(split(""), ("", ""));
    }

    #[test]
    fn digests_are_found_in_sentences() {
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(digest_in(&format!("latest: digest: {digest} size: 528")), Some(digest.clone()));
        assert_eq!(digest_in(&format!("Digest: {digest}")), Some(digest));
        assert_eq!(digest_in("Digest: sha256:abc"), None);
        assert_eq!(digest_in(&format!("digest sha256:{}", "é".repeat(40))), None);
    }

    #[test]
    fn strange_names_are_no_images() {
        for name in ["", "../x", "a b", "a?b", "a//b", "ünï", "/x", "a\nb"] {
            assert_eq!(check(name).unwrap_err().class, Class::NotFound, "{name:?}");
        }
        assert!(check("host:5000/a/b:1").is_ok() && check(&format!("a@sha256:{}", "0".repeat(64))).is_ok());
    }
}
