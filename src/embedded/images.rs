//! Images over the store's: the `Images` trait, and what containers need to know of images. The store does the work; this file says who uses
//! what, filters, and tells the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;

use async_trait::async_trait;

use crate::engine::container::Status;
use crate::engine::{
    Class, EngineError, EventKind, Filters, FoundImage, HistoryEntry, ImageDetail, ImageSummary, Images, ImportImage,
    LayerFiles, LayersWanted, ListImages, LoadedImage, Progress, PruneReport, PullImage, PulledImage, PushImage,
    PushedImage, Reader, RemoveImage, RemovedImage, Result, SearchImages,
};
use crate::oci::reference::Reference;
use crate::store::{Image, ImageUser, LoadOptions, PruneScope, Removal, Source};

use super::list::Ancestor;
use super::prune::until;
use super::view::text;
use super::volumes::is_true;
use super::{Core, Embedded, events};

const FILTERS: [&str; 7] = ["dangling", "label", "label!", "before", "since", "reference", "until"];
const PRUNE_FILTERS: [&str; 4] = ["dangling", "label", "label!", "until"];

impl Core {
    pub(crate) fn ancestor(&self, typed: &str) -> Ancestor {
        let found = self.store.image(typed).ok();
        let id = found.as_ref().map_or_else(String::new, |image| image.id.to_string());
        let diff_ids = found.map(|image| image.layers.iter().map(|(diff_id, _)| diff_id.to_string()).collect());
        Ancestor { typed: typed.to_owned(), id, diff_ids: diff_ids.unwrap_or_default() }
    }

    /// Which containers stand on which images.
    pub(crate) fn image_users(&self) -> Result<Vec<ImageUser>> {
        let user = |view: &super::view::View| ImageUser {
            container: view.record.id.clone(),
            image: view.record.image_id.clone(),
            is_running: matches!(view.status(), Status::Running | Status::Paused | Status::Restarting),
        };
        Ok(self.views()?.iter().map(user).collect())
    }

    fn images(&self, query: &ListImages) -> Result<Vec<ImageSummary>> {
        let filters = &query.filters;
        filters.check_keys(&FILTERS)?;
        let mut all = self.store.images()?;
        let created = |name: &str| -> Result<_> { Ok(self.store.image(name)?.created()) };
        let befores = filters.values("before").iter().map(|name| created(name)).collect::<Result<Vec<_>>>()?;
        let sinces = filters.values("since").iter().map(|name| created(name)).collect::<Result<Vec<_>>>()?;
        let dangling =
            filters.values("dangling").iter().map(|value| is_true("dangling", value)).collect::<Result<Vec<_>>>()?;
        let until = until(filters)?;
        let patterns = filters.values("reference");
        all.retain(|image| {
            let is_dangling = image.is_dangling();
            (dangling.is_empty() || dangling.contains(&is_dangling))
                && befores.iter().all(|moment| image.created() < *moment)
                && sinces.iter().all(|moment| image.created() > *moment)
                && until.is_none_or(|moment| image.created().is_some_and(|created| created < moment))
                && filters.match_labels(&image.config.config.labels)
                && (patterns.is_empty()
                    || image.familiar_names().iter().any(|name| patterns.iter().any(|pattern| is_like(name, pattern))))
        });
        let users = self.image_users()?;
        let mut rows: Vec<ImageSummary> = all.iter().map(Image::summary).collect();
        for row in &mut rows {
            row.n_containers = Some(users.iter().filter(|user| user.image == row.id).count() as u32);
            if !patterns.is_empty() {
                row.references.retain(|name| patterns.iter().any(|pattern| is_like(name, pattern)));
            }
        }
        rows.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.references.cmp(&b.references)));
        Ok(rows)
    }

    fn inspect_image(&self, name: &str) -> Result<ImageDetail> {
        let image = self.store.image(name)?;
        let mut detail = image.detail();
        detail.summary.n_containers =
            Some(self.image_users()?.iter().filter(|user| user.image == detail.summary.id).count() as u32);
        let layers: Vec<String> =
            image.layers.iter().rev().map(|(diff_id, _)| text(&self.layer_fs(diff_id.hex()))).collect();
        if let Some((top, below)) = layers.split_first() {
            detail.graph.insert("UpperDir".to_owned(), top.clone());
            if !below.is_empty() {
                detail.graph.insert("LowerDir".to_owned(), below.join(":"));
            }
        }
        Ok(detail)
    }

    fn layer_fs(&self, hex: &str) -> PathBuf {
        self.store.root().join("layers").join(hex).join("fs")
    }

    fn tag_image(&self, name: &str, new: &str) -> Result<()> {
        let reference = parse_reference(new)?;
        let id = self.store.tag(name, &reference)?;
        self.image_event("tag", id.as_str(), &reference.familiar());
        Ok(())
    }

    fn remove_image(&self, name: &str, options: RemoveImage) -> Result<Vec<RemovedImage>> {
        let image = self.store.image(name)?;
        let removal = if options.force { Removal::Forced } else { Removal::Careful };
        let removed = self.store.remove_image(name, removal, &self.image_users()?)?;
        for step in &removed {
            match step {
                RemovedImage::Untagged(reference) => self.image_event("untag", image.id.as_str(), reference),
                RemovedImage::Deleted(id) if id == image.id.as_str() => self.image_event("delete", id, id),
                RemovedImage::Deleted(_) => {}
            }
        }
        Ok(removed)
    }

    fn prune_images(&self, filters: &Filters) -> Result<PruneReport> {
        filters.check_keys(&PRUNE_FILTERS)?;
        let dangling =
            filters.values("dangling").iter().map(|value| is_true("dangling", value)).collect::<Result<Vec<_>>>()?;
        let scope = if dangling.contains(&false) { PruneScope::Unused } else { PruneScope::Dangling };
        let mut users = self.image_users()?;
        // What a filter keeps is as good as used.
        let until = until(filters)?;
        for image in self.store.images()? {
            let is_kept = !filters.match_labels(&image.config.config.labels)
                || until.is_some_and(|moment| image.created().is_none_or(|created| created >= moment));
            if is_kept {
                users.push(ImageUser { container: String::new(), image: image.id.to_string(), is_running: false });
            }
        }
        let report = self.store.prune_images(scope, &users)?;
        // Names come before the id that they were of.
        let mut names = Vec::new();
        for removed in &report.removed {
            if removed.starts_with("sha256:") {
                names.drain(..).for_each(|name: &String| self.image_event("untag", removed, name));
                self.image_event("delete", removed, removed);
            } else {
                names.push(removed);
            }
        }
        Ok(report)
    }

    pub(crate) fn image_event(&self, action: &str, id: &str, name: &str) {
        let attributes = BTreeMap::from([("name".to_owned(), name.to_owned())]);
        events::emit(&self.store.events(), EventKind::Image, action, id, attributes);
    }

    fn loaded(&self, action: &str, images: &[LoadedImage]) {
        for image in images {
            let name = image.references.first().unwrap_or(&image.id);
            self.image_event(action, &image.id, name);
        }
    }
}

pub(crate) fn parse_reference(text: &str) -> Result<Reference> {
    text.parse::<Reference>().map_err(|failed| {
        EngineError::new(Class::Invalid, text, format!("invalid reference format: {text}"))
            .caused_by(&failed)
            .with_exit_code(125)
    })
}

/// Docker's `reference` filter: a glob over `name` or `name:tag`; `*` stops at a slash.
fn is_like(name: &str, pattern: &str) -> bool {
    let untagged = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(name, _)| name);
    [name, untagged].iter().any(|name| glob(name.as_bytes(), pattern.as_bytes()))
}

fn glob(text: &[u8], pattern: &[u8]) -> bool {
    match (pattern.first(), text.first()) {
        (None, None) => true,
        (Some(b'*'), first) => {
            glob(text, &pattern[1..]) || first.is_some_and(|byte| *byte != b'/' && glob(&text[1..], pattern))
        }
        (Some(b'?'), Some(byte)) if *byte != b'/' => glob(&text[1..], &pattern[1..]),
        (Some(wanted), Some(byte)) if wanted == byte => glob(&text[1..], &pattern[1..]),
        _ => false,
    }
}

#[async_trait]
impl Images for Embedded {
    async fn list(&self, query: &ListImages) -> Result<Vec<ImageSummary>> {
        let query = query.clone();
        self.blocking(move |core| core.images(&query)).await
    }

    async fn inspect(&self, image: &str) -> Result<ImageDetail> {
        let image = image.to_owned();
        self.blocking(move |core| core.inspect_image(&image)).await
    }

    async fn history(&self, image: &str) -> Result<Vec<HistoryEntry>> {
        let image = image.to_owned();
        self.blocking(move |core| Ok(core.store.image(&image)?.history())).await
    }

    async fn tag(&self, image: &str, new_reference: &str) -> Result<()> {
        let (image, new_reference) = (image.to_owned(), new_reference.to_owned());
        self.blocking(move |core| core.tag_image(&image, &new_reference)).await
    }

    async fn remove(&self, image: &str, options: &RemoveImage) -> Result<Vec<RemovedImage>> {
        let (image, options) = (image.to_owned(), *options);
        self.blocking(move |core| core.remove_image(&image, options)).await
    }

    async fn prune(&self, filters: &Filters) -> Result<PruneReport> {
        let filters = filters.clone();
        self.blocking(move |core| core.prune_images(&filters)).await
    }

    async fn load(&self, archive: Reader, progress: Progress) -> Result<Vec<LoadedImage>> {
        self.blocking(move |core| {
            let loaded = core.store.load(Source::from_reader(archive), &LoadOptions::default(), &progress)?;
            core.loaded("load", &loaded);
            Ok(loaded)
        })
        .await
    }

    async fn import(&self, archive: Reader, options: &ImportImage, progress: Progress) -> Result<LoadedImage> {
        let options = options.clone();
        self.blocking(move |core| {
            let loaded = core.store.import(Source::from_reader(archive), &options, &progress)?;
            core.loaded("import", std::slice::from_ref(&loaded));
            Ok(loaded)
        })
        .await
    }

    async fn from_host(&self, reference: &str, paths: &[String], progress: Progress) -> Result<LoadedImage> {
        let (reference, paths): (_, Vec<PathBuf>) =
            (parse_reference(reference)?, paths.iter().map(PathBuf::from).collect());
        self.blocking(move |core| {
            let loaded = core.store.from_host(&reference, &paths, &progress)?;
            core.loaded("import", std::slice::from_ref(&loaded));
            Ok(loaded)
        })
        .await
    }

    async fn save(&self, images: &[String], mut to: Box<dyn Write + Send>) -> Result<()> {
        let images = images.to_owned();
        self.blocking(move |core| Ok(core.store.save(&images, &mut *to)?)).await
    }

    async fn pull(&self, request: &PullImage, progress: Progress) -> Result<Vec<PulledImage>> {
        self.core.pull(request, &progress).await
    }

    async fn push(&self, request: &PushImage, progress: Progress) -> Result<Vec<PushedImage>> {
        self.core.push(request, &progress).await
    }

    async fn search(&self, query: &SearchImages) -> Result<Vec<FoundImage>> {
        Ok(self.core.registries().search(query).await?)
    }

    async fn layer_files(&self, image: &str) -> Result<Vec<LayerFiles>> {
        let image = image.to_owned();
        self.blocking(move |core| Ok(core.store.layer_files(&image)?)).await
    }

    async fn layers_wanted(&self, diff_ids: &[String]) -> Result<LayersWanted> {
        let mut wanted: BTreeSet<String> = diff_ids.iter().cloned().collect();
        self.blocking(move |core| {
            for diff_id in core.store.unpacked_of(&wanted)? {
                wanted.remove(&diff_id);
            }
            Ok(LayersWanted::Only(wanted))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_filter_is_a_glob() {
        for (name, pattern, want) in [
            ("busybox:latest", "busybox", true),
            ("busybox:latest", "busy*", true),
            ("busybox:latest", "busy*:lat*", true),
            ("busybox:latest", "busy*:old", false),
            ("host:5000/a/b:1", "host:5000/*/b", true),
            ("host:5000/a/b:1", "host:5000/*", false),
            ("a/b:1", "?/b:?", true),
        ] {
            assert_eq!(is_like(name, pattern), want, "{name} ~ {pattern}");
        }
    }
}
