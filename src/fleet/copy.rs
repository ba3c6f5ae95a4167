//! Copies an image from one engine to another: what the source saves flows through a relay into the target's load, without the layers that
//! the target has. Called by faces with any two engines. Nothing is kept on disk here, and memory holds some pieces of 256 KiB; what an
//! engine itself lays down while it saves or loads (docker: the archive, under its own root) is its own matter.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::progress::Step;
use crate::engine::{Class, Engine, EngineError, ImageDetail, LayersWanted, LoadedImage, Progress, Result};
use crate::oci::reference::Reference;
use crate::stdx::ids::Digest;
use crate::stdx::pipe::{self, Judge, PipeReader, PipeWriter};
use crate::store::{self, Relay, Relayed};

/// What a copy did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopiedImage {
    /// `sha256:…` of the config, the same at both ends.
    pub id: String,
    /// What it is called there now; empty when it was named by its id.
    pub references: Vec<String>,
    /// Layers that went over.
    pub n_sent: usize,
    /// Bytes of these as they went over.
    pub sent_bytes: u64,
    /// Layers that were there before.
    pub n_present: usize,
    /// Why all went over, where the target cannot take less.
    pub why_all: Option<String>,
}

/// Copies `image` (a reference or an id) with the name that was typed, or without one when that was an id.
///
/// Progress parts are short diffIDs with the verbs of a push: `exists`, `preparing`, `pushing`, `pushed`. The image is at the target whole
/// or not at all, and its id is compared at the end.
///
/// # Errors
/// `NotFound` when the source has it not; whatever saving or loading says; `Internal` when another image than the source's came out.
///
/// # Cancel safety
/// Dropped, both ends stop at their next piece and the target keeps nothing.
pub async fn copy_image(
    source: &dyn Engine,
    target: &dyn Engine,
    image: &str,
    progress: Progress,
) -> Result<CopiedImage> {
    let detail = source.images().inspect(image).await?;
    let name = name_of(image, &detail);
    let n_layers = detail.layers.iter().collect::<BTreeSet<_>>().len();
    let mut copied = CopiedImage { id: detail.summary.id.clone(), n_present: n_layers, ..CopiedImage::default() };
    if is_there(target, &detail.summary.id).await? {
        for layer in &detail.layers {
            report(&progress, layer, "exists");
        }
        if let Some(name) = name {
            target.images().tag(&copied.id, &name).await?;
            copied.references.push(name);
        }
        return Ok(copied);
    }
    let wanted = target.images().layers_wanted(&detail.layers).await?;
    let (loaded, sent) = match wanted {
        LayersWanted::Only(wanted) => {
            for layer in &detail.layers {
                report(&progress, layer, if wanted.contains(layer) { "preparing" } else { "exists" });
            }
            let relay = order(&detail, &wanted, name.as_deref())?;
            through_relay(source, target, relay, progress).await?
        }
        LayersWanted::All(why) => {
            copied.why_all = Some(why);
            let what = name.clone().unwrap_or_else(|| copied.id.clone());
            let (loaded, n_bytes) = straight(source, target, &what, progress).await?;
            (loaded, Relayed { n_layers, n_bytes })
        }
    };
    copied.n_sent = sent.n_layers;
    copied.sent_bytes = sent.n_bytes;
    copied.n_present = n_layers.saturating_sub(sent.n_layers);
    copied.references = loaded.into_iter().flat_map(|image| image.references).collect();
    let known_as = copied.references.first().unwrap_or(&copied.id);
    let came = target.images().inspect(known_as).await?.summary.id;
    if came != copied.id {
        let message = format!("{known_as} came out as another image: {came}, not {}", copied.id);
        return Err(EngineError::new(Class::Internal, image, message));
    }
    Ok(copied)
}

async fn is_there(target: &dyn Engine, id: &str) -> Result<bool> {
    match target.images().inspect(id).await {
        Ok(found) => Ok(found.summary.id == id),
        Err(error) if error.class == Class::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The image's own name for what was typed; `None` when that was an id or a digest.
fn name_of(typed: &str, detail: &ImageDetail) -> Option<String> {
    let names = &detail.summary.references;
    let wanted = typed.parse::<Reference>().ok().filter(|name| name.digest().is_none())?;
    let same = names.iter().find(|name| name.parse::<Reference>().is_ok_and(|name| name == wanted));
    // Podman finds a short name under localhost too.
    let ending = format!("/{}", wanted.familiar());
    same.or_else(|| names.iter().find(|name| name.ends_with(&ending))).cloned()
}

fn order(detail: &ImageDetail, wanted: &BTreeSet<String>, name: Option<&str>) -> Result<Relay> {
    let digest = |text: &String| {
        let refused = |_| EngineError::new(Class::Invalid, text, format!("the source's {text} is no digest"));
        text.parse::<Digest>().map_err(refused)
    };
    Ok(Relay {
        id: digest(&detail.summary.id)?,
        diff_ids: detail.layers.iter().map(digest).collect::<Result<_>>()?,
        wanted: wanted.iter().map(digest).collect::<Result<_>>()?,
        names: name.and_then(|name| name.parse().ok()).into_iter().collect(),
    })
}

/// Source, relay, target: two pipes.
async fn through_relay(
    source: &dyn Engine,
    target: &dyn Engine,
    relay: Relay,
    progress: Progress,
) -> Result<(Vec<LoadedImage>, Relayed)> {
    let what = relay.names.first().map_or_else(|| relay.id.to_string(), Reference::familiar);
    let (saved, archive, source_judge) = pipe::pipe();
    let (sifted, incoming, relay_judge) = pipe::pipe();
    let (before, after) = (source_judge.ends(), relay_judge.ends());
    let relaying = relay_on_a_thread(relay, archive, sifted, relay_judge, progress);
    let saving = save(source, what, saved, source_judge);
    let loading = target.images().load(Box::new(incoming), Progress::none());
    let (saving, relayed, loaded) = futures_util::join!(saving, relaying, loading);
    // The cause is the failure of an end that no neighbour had left.
    saving.or_else(|error| unless(before.writer_was_left(), error))?;
    let relayed = match relayed {
        Err(error) if !before.reader_was_left() && !after.writer_was_left() => return Err(error),
        other => other,
    };
    Ok((loaded?, relayed?))
}

async fn relay_on_a_thread(
    relay: Relay,
    archive: PipeReader,
    mut out: PipeWriter,
    judge: Judge,
    progress: Progress,
) -> Result<Relayed> {
    let work = tokio::task::spawn_blocking(move || {
        let done = store::relay(&relay, archive, &mut out, &progress);
        drop(out);
        if done.is_ok() {
            judge.whole();
        }
        done
    });
    match work.await {
        Ok(done) => Ok(done?),
        Err(_) => Err(EngineError::new(Class::Internal, "", "the relay of the archive panicked")),
    }
}

/// Source and target, byte for byte.
async fn straight(
    source: &dyn Engine,
    target: &dyn Engine,
    what: &str,
    progress: Progress,
) -> Result<(Vec<LoadedImage>, u64)> {
    let (saved, incoming, judge) = pipe::pipe();
    let n_bytes = Arc::new(AtomicU64::new(0));
    let counted = Counted { inner: incoming, n_bytes: Arc::clone(&n_bytes), progress };
    let ends = judge.ends();
    let saving = save(source, what.to_owned(), saved, judge);
    let loading = target.images().load(Box::new(counted), Progress::none());
    let (saving, loaded) = futures_util::join!(saving, loading);
    saving.or_else(|error| unless(ends.writer_was_left(), error))?;
    Ok((loaded?, n_bytes.load(Ordering::Relaxed)))
}

/// Saves into the pipe and vouches for the end.
async fn save(source: &dyn Engine, what: String, to: PipeWriter, judge: Judge) -> Result<()> {
    let done = source.images().save(&[what], Box::new(to)).await;
    if done.is_ok() {
        judge.whole();
    }
    done
}

/// An error counts unless it only says that a neighbour had gone.
fn unless(was_left: bool, error: EngineError) -> Result<()> {
    if was_left { Ok(()) } else { Err(error) }
}

fn report(progress: &Progress, layer: &str, verb: &'static str) {
    let part = layer.strip_prefix("sha256:").unwrap_or(layer).chars().take(12).collect();
    progress.report(Step { part, verb, done_bytes: 0, total_bytes: None });
}

/// Counts what goes by.
struct Counted {
    inner: PipeReader,
    n_bytes: Arc<AtomicU64>,
    progress: Progress,
}

impl std::io::Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n_read = self.inner.read(buffer)?;
        let done_bytes = self.n_bytes.fetch_add(n_read as u64, Ordering::Relaxed) + n_read as u64;
        let step = Step { part: String::new(), verb: "pushing", done_bytes, total_bytes: None };
        self.progress.report(step);
        Ok(n_read)
    }
}
