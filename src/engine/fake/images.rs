//! The fake's images: `Images` on [`World`]. Archives are read to their end and stand for one image named after their size.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::Fake;
use super::files;
use super::registry;
use super::select;
use super::world::{Img, World, familiar};
use crate::engine::changes::{CommitContainer, LayerFiles};
use crate::engine::error::{Class, EngineError, Result};
use crate::engine::event::EventKind;
use crate::engine::filter::Filters;
use crate::engine::image::{
    FoundImage, HistoryEntry, ImageConfig, ImageDetail, ImageSummary, ImportImage, ListImages, LoadedImage,
    PruneReport, PullImage, PulledImage, PushImage, PushedImage, RemoveImage, RemovedImage, SearchImages,
};
use crate::engine::progress::{Progress, Step};
use crate::engine::{Images, Reader};

/// Adds an image; an older one of that name loses it.
pub(super) fn add(world: &mut World, reference: &str, size_bytes: u64, created: SystemTime) -> String {
    let id = format!("sha256:{}", world.new_id("image"));
    let layers = (0..3).map(|_| format!("sha256:{}", world.new_id("layer"))).collect();
    let names = if reference.is_empty() { Vec::new() } else { vec![familiar(reference)] };
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned();
    let config = ImageConfig { env: vec![path], cmd: Some(vec!["sh".to_owned()]), ..ImageConfig::default() };
    add_as(world, Saved { config, id, names, layers, size_bytes, created })
}

/// What an archive of the fake's tells of an image.
struct Saved {
    config: ImageConfig,
    id: String,
    names: Vec<String>,
    layers: Vec<String>,
    size_bytes: u64,
    created: SystemTime,
}

/// First line of the fake's archives; each line after it is one image.
const ARCHIVE: &str = "archive of orlop's demonstration";

impl Saved {
    fn line(detail: &ImageDetail, names: &[String]) -> String {
        let summary = &detail.summary;
        let created = summary.created.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok()).unwrap_or_default();
        let (names, layers) = (names.join(","), detail.layers.join(","));
        let config = serde_json::to_string(&detail.config).unwrap_or_default();
        format!("{} {} {} {layers} {names} {config}\n", summary.id, summary.size_bytes, created.as_nanos())
    }

    fn read(line: &str) -> Option<Self> {
        let list = |text: &str| text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let mut words = line.splitn(6, ' ');
        Some(Self {
            id: words.next()?.to_owned(),
            size_bytes: words.next()?.parse().ok()?,
            created: SystemTime::UNIX_EPOCH + Duration::from_nanos(words.next()?.parse().ok()?),
            layers: list(words.next()?),
            names: list(words.next()?),
            config: serde_json::from_str(words.next()?).ok()?,
        })
    }
}

fn add_as(world: &mut World, image: Saved) -> String {
    let Saved { config, id, names, layers, size_bytes, created } = image;
    if let Ok(idx) = world.find_image(&id) {
        for name in names {
            world.images.iter_mut().for_each(|img| img.detail.summary.references.retain(|old| *old != name));
            world.images[idx].detail.summary.references.push(name);
        }
        return id;
    }
    for name in &names {
        world.images.iter_mut().for_each(|img| img.detail.summary.references.retain(|old| old != name));
    }
    let summary = ImageSummary {
        id: id.clone(),
        digests: Vec::new(),
        references: names.clone(),
        created: Some(created),
        size_bytes,
        shared_bytes: Some(size_bytes / 3),
        labels: config.labels.clone(),
        ..ImageSummary::default()
    };
    let history = history(&id, &names, created, size_bytes);
    let files = files::of_an_image();
    let detail = ImageDetail {
        summary,
        config,
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        layer_sizes: vec![size_bytes / 3 * 2, size_bytes / 3, size_bytes % 3],
        layers,
        ..ImageDetail::default()
    };
    world.images.push(Img { detail, history, files });
    id
}

/// A container's files as an image: the layers of its own, and one more.
pub(super) fn commit(world: &mut World, ctr: usize, options: &CommitContainer, now: SystemTime) -> Result<String> {
    let below = world.find_image(&world.containers[ctr].image_id)?;
    let (id, layer) = (format!("sha256:{}", world.new_id("image")), format!("sha256:{}", world.new_id("layer")));
    let ctr = &world.containers[ctr];
    let mut img = Img { files: std::sync::Arc::clone(&ctr.files), ..world.images[below].clone() };
    let size_bytes = files::changes(&ctr.image_files, &ctr.files).iter().map(|change| change.size_bytes).sum();
    let names: Vec<String> =
        Some(&options.reference).filter(|name| !name.is_empty()).map(|name| familiar(name)).into_iter().collect();
    for old in &mut img.history {
        old.id = "<missing>".to_owned();
        old.tags.clear();
    }
    let (created_by, comment) = (ctr.argv.join(" "), options.comment.clone());
    let top = HistoryEntry { id: id.clone(), created: Some(now), created_by, comment, size_bytes, tags: names.clone() };
    img.history.insert(0, top);
    let detail = &mut img.detail;
    for line in &options.changes {
        files::apply(&mut detail.config, line);
    }
    (detail.author, detail.comment) = (options.author.clone(), options.comment.clone());
    detail.layers.push(layer);
    detail.layer_sizes.push(size_bytes);
    detail.summary.id = id.clone();
    detail.summary.labels = detail.config.labels.clone();
    detail.summary.created = Some(now);
    detail.summary.size_bytes += size_bytes;
    detail.summary.digests.clear();
    put(world, img, names);
    Ok(id)
}

/// Adds an image under these names, which others lose; one that is there only gets the names.
pub(super) fn put(world: &mut World, mut img: Img, names: Vec<String>) {
    for name in &names {
        world.images.iter_mut().for_each(|img| img.detail.summary.references.retain(|old| old != name));
    }
    let id = img.detail.summary.id.clone();
    match world.images.iter_mut().find(|known| known.detail.summary.id == id) {
        Some(known) => known.detail.summary.references.extend(names),
        None => {
            img.detail.summary.references = names;
            world.images.push(img);
        }
    }
}

fn history(id: &str, tags: &[String], created: SystemTime, size_bytes: u64) -> Vec<HistoryEntry> {
    let below = |created_by: &str, size_bytes: u64, days: u64| HistoryEntry {
        id: "<missing>".to_owned(),
        created: Some(created - Duration::from_secs(days * 86_400)),
        created_by: created_by.to_owned(),
        size_bytes,
        ..HistoryEntry::default()
    };
    let top = HistoryEntry { id: id.to_owned(), tags: tags.to_vec(), ..below("CMD [\"sh\"]", 0, 0) };
    vec![
        top,
        below(
            "RUN /bin/sh -c apt-get update && apt-get install -y ca-certificates && rm -rf /var/lib/apt/lists/*",
            size_bytes / 3,
            0,
        ),
        below("/bin/sh -c #(nop) ADD file:3f1a0e in / ", size_bytes / 3 * 2, 9),
    ]
}

fn users(world: &World, image_id: &str) -> Vec<(String, bool)> {
    let of_image = world.containers.iter().filter(|ctr| ctr.image_id == image_id);
    of_image.map(|ctr| (ctr.id.clone(), ctr.state.status.is_alive())).collect()
}

fn with_counts(world: &World, summary: &ImageSummary) -> ImageSummary {
    ImageSummary { n_containers: Some(users(world, &summary.id).len() as u32), ..summary.clone() }
}

/// What is kept of an archive's beginning: more than the fake's own ones have.
const HEAD_BYTES: usize = 1 << 20;

/// Reads it all, with progress; the bytes read, and the first of them.
fn drain(mut archive: Reader, progress: &Progress, head: &mut Vec<u8>) -> Result<u64> {
    let failed =
        |error: std::io::Error| EngineError::new(Class::Invalid, "", "cannot read the archive").caused_by(&error);
    let mut buffer = vec![0; 64 << 10];
    let mut done_bytes = 0;
    loop {
        let n = archive.read(&mut buffer).map_err(failed)?;
        if n == 0 {
            break;
        }
        done_bytes += n as u64;
        let n_kept = n.min(HEAD_BYTES - head.len());
        head.extend_from_slice(&buffer[..n_kept]);
        progress.report(Step { part: "fa4e5c0ffee0".to_owned(), verb: "extracting", done_bytes, total_bytes: None });
    }
    if done_bytes == 0 {
        return Err(EngineError::new(Class::Invalid, "", "the archive is empty")
            .with_hint("give a docker-save archive or an OCI layout, by -i FILE or on standard input"));
    }
    Ok(done_bytes)
}

#[async_trait]
impl Images for Fake {
    async fn list(&self, query: &ListImages) -> Result<Vec<ImageSummary>> {
        let world = self.enter("images.list").await?;
        let found = select::images(&world, &query.filters)?;
        let mut rows: Vec<_> =
            found.into_iter().map(|idx| with_counts(&world, &world.images[idx].detail.summary)).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.created));
        Ok(rows)
    }

    async fn inspect(&self, image: &str) -> Result<ImageDetail> {
        let world = self.enter(&format!("images.inspect {image}")).await?;
        let found = &world.images[world.find_image(image)?].detail;
        Ok(ImageDetail { summary: with_counts(&world, &found.summary), ..found.clone() })
    }

    async fn history(&self, image: &str) -> Result<Vec<HistoryEntry>> {
        let world = self.enter(&format!("images.history {image}")).await?;
        Ok(world.images[world.find_image(image)?].history.clone())
    }

    async fn tag(&self, image: &str, new_reference: &str) -> Result<()> {
        let mut world = self.enter(&format!("images.tag {image} {new_reference}")).await?;
        let idx = world.find_image(image)?;
        let name = familiar(new_reference);
        if name.chars().any(|c| c.is_uppercase() || c.is_whitespace()) {
            let message = format!("invalid reference format: repository name ({new_reference}) must be lowercase");
            return Err(EngineError::new(Class::Invalid, new_reference, message));
        }
        world.images.iter_mut().for_each(|img| img.detail.summary.references.retain(|old| *old != name));
        world.images[idx].detail.summary.references.push(name.clone());
        let id = world.images[idx].detail.summary.id.clone();
        world.emit(self.now(), EventKind::Image, "tag", &id, &[("name", name)]);
        self.tell(world);
        Ok(())
    }

    async fn remove(&self, image: &str, options: &RemoveImage) -> Result<Vec<RemovedImage>> {
        let mut world = self.enter(&format!("images.remove {image}")).await?;
        let (idx, now) = (world.find_image(image)?, self.now());
        let summary = world.images[idx].detail.summary.clone();
        let name = familiar(image);
        let is_one_name_of_many = summary.references.contains(&name) && summary.references.len() > 1;
        if !summary.references.contains(&name) && summary.references.len() > 1 && !options.force {
            let message = format!(
                "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
                &summary.id[7..19]
            );
            return Err(EngineError::new(Class::Conflict, image, message).with_hint("-f takes all its names too"));
        }
        if !is_one_name_of_many {
            let blocker = users(&world, &summary.id).into_iter().find(|(_, alive)| *alive || !options.force);
            if let Some((user, alive)) = blocker {
                let (state, must) = if alive { ("running", "cannot be forced") } else { ("stopped", "must be forced") };
                let message = format!(
                    "conflict: unable to remove repository reference \"{image}\" ({must}) - container {} is using its \
                     referenced image {}",
                    &user[..12],
                    &summary.id[7..19]
                );
                return Err(
                    EngineError::new(Class::Conflict, image, message).with_hint(format!("a {state} container uses it"))
                );
            }
        }
        let mut removed = Vec::new();
        let untagged = if is_one_name_of_many { vec![name] } else { summary.references.clone() };
        for name in untagged {
            world.images[idx].detail.summary.references.retain(|old| *old != name);
            world.emit(now, EventKind::Image, "untag", &summary.id, &[("name", name.clone())]);
            removed.push(RemovedImage::Untagged(name));
        }
        if !is_one_name_of_many {
            let img = world.images.remove(idx);
            world.emit(now, EventKind::Image, "delete", &summary.id, &[("name", summary.id.clone())]);
            removed.push(RemovedImage::Deleted(summary.id));
            removed.extend(img.detail.layers.into_iter().rev().map(RemovedImage::Deleted));
        }
        self.tell(world);
        Ok(removed)
    }

    async fn prune(&self, filters: &Filters) -> Result<PruneReport> {
        filters.check_keys(&["dangling", "label", "label!", "until"])?;
        let mut world = self.enter("images.prune").await?;
        let every_unused = filters.values("dangling").iter().any(|value| value == "false" || value == "0");
        let until = select::until(filters, self.now());
        let is_old = |img: &Img| until.is_none_or(|until| img.detail.summary.created < Some(until));
        let unused = |world: &World, img: &Img| {
            let summary = &img.detail.summary;
            is_old(img)
                && (every_unused || summary.references.is_empty())
                && users(world, &summary.id).is_empty()
                && filters.match_labels(&img.detail.config.labels)
        };
        let ids: Vec<_> =
            world.images.iter().filter(|img| unused(&world, img)).map(|img| img.detail.summary.id.clone()).collect();
        let mut report = PruneReport::default();
        for id in ids {
            let idx = world.find_image(&id)?;
            let img = world.images.remove(idx);
            report.reclaimed_bytes += img.detail.summary.size_bytes;
            report.removed.extend(img.detail.summary.references);
            report.removed.push(id);
        }
        self.tell(world);
        Ok(report)
    }

    async fn load(&self, archive: Reader, progress: Progress) -> Result<Vec<LoadedImage>> {
        drop(self.enter("images.load").await?);
        let mut head = Vec::new();
        let size_bytes = drain(archive, &progress, &mut head)?;
        let (mut world, now) = (self.lock(), self.now());
        let text = String::from_utf8_lossy(&head);
        if let Some(lines) = text.strip_prefix(ARCHIVE) {
            let mut loaded = Vec::new();
            for image in lines.lines().filter_map(Saved::read) {
                let (references, size_bytes) = (image.names.clone(), image.size_bytes);
                let id = add_as(&mut world, image);
                let name = references.first().unwrap_or(&id).clone();
                world.emit(now, EventKind::Image, "load", &id, &[("name", name)]);
                loaded.push(LoadedImage { id, references, size_bytes });
            }
            self.tell(world);
            return Ok(loaded);
        }
        let reference = format!("loaded:{size_bytes}");
        let id = add(&mut world, &reference, size_bytes, now);
        world.emit(now, EventKind::Image, "load", &id, &[("name", reference.clone())]);
        self.tell(world);
        Ok(vec![LoadedImage { id, references: vec![reference], size_bytes }])
    }

    async fn import(&self, archive: Reader, options: &ImportImage, progress: Progress) -> Result<LoadedImage> {
        drop(self.enter("images.import").await?);
        let size_bytes = drain(archive, &progress, &mut Vec::new())?;
        let (mut world, now) = (self.lock(), self.now());
        let id = add(&mut world, options.reference.as_deref().unwrap_or(""), size_bytes, now);
        let idx = world.find_image(&id)?;
        let img = &mut world.images[idx];
        for line in &options.changes {
            files::apply(&mut img.detail.config, line);
        }
        img.detail.summary.labels = img.detail.config.labels.clone();
        img.detail.comment = options.message.clone().unwrap_or_default();
        img.history[0].comment = img.detail.comment.clone();
        world.emit(now, EventKind::Image, "import", &id, &[("name", id.clone())]);
        self.tell(world);
        Ok(LoadedImage { id, references: options.reference.iter().map(|name| familiar(name)).collect(), size_bytes })
    }

    async fn from_host(&self, reference: &str, paths: &[String], progress: Progress) -> Result<LoadedImage> {
        drop(self.enter(&format!("images.from_host {reference}")).await?);
        if let Some(missing) = paths.iter().find(|path| path.contains("missing")) {
            return Err(EngineError::new(Class::NotFound, missing, format!("cannot find {missing}: no such file")));
        }
        for path in paths {
            progress.report(Step {
                part: path.clone(),
                verb: "copying",
                done_bytes: 1 << 20,
                total_bytes: Some(1 << 20),
            });
        }
        let size_bytes = (paths.len() as u64) << 20;
        let (mut world, now) = (self.lock(), self.now());
        let id = add(&mut world, reference, size_bytes, now);
        world.emit(now, EventKind::Image, "import", &id, &[("name", familiar(reference))]);
        self.tell(world);
        Ok(LoadedImage { id, references: vec![familiar(reference)], size_bytes })
    }

    async fn pull(&self, request: &PullImage, progress: Progress) -> Result<Vec<PulledImage>> {
        Ok(vec![registry::pull(self, &request.reference, &progress).await?])
    }

    async fn push(&self, request: &PushImage, progress: Progress) -> Result<Vec<PushedImage>> {
        Ok(vec![registry::push(self, &request.reference, &progress).await?])
    }

    async fn search(&self, query: &SearchImages) -> Result<Vec<FoundImage>> {
        registry::search(self, &query.term).await
    }

    async fn layer_files(&self, image: &str) -> Result<Vec<LayerFiles>> {
        let world = self.enter(&format!("images.layer_files {image}")).await?;
        let found = &world.images[world.find_image(image)?];
        Ok(registry::layer_files(&found.detail.layers, &found.history))
    }

    async fn save(&self, images: &[String], mut to: Box<dyn std::io::Write + Send>) -> Result<()> {
        let world = self.enter("images.save").await?;
        let mut text = format!("{ARCHIVE}\n");
        for image in images {
            let detail = &world.images[world.find_image(image)?].detail;
            let names: Vec<_> =
                detail.summary.references.iter().filter(|name| **name == familiar(image)).cloned().collect();
            text.push_str(&Saved::line(detail, &names));
        }
        drop(world);
        let failed =
            |error: std::io::Error| EngineError::new(Class::Internal, "", "cannot write the archive").caused_by(&error);
        to.write_all(text.as_bytes()).and_then(|()| to.flush()).map_err(failed)
    }
}
