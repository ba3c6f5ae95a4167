//! Which layers a daemon has, told by the images that it lists; and what is in each, told by what it saves. Part of the remote engine's images.

use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};
use serde_json::Value;

use super::Remote;
use super::ask::Ask;
use crate::api::compat::Family;
use crate::api::read::Read;
use crate::api::routes::Call;
use crate::engine::{Class, EngineError, Images, LayerFiles, LayersWanted, ListImages, Result};
use crate::oci::chain::chain_ids;
use crate::oci::image::Platform;
use crate::stdx::ids::Digest;
use crate::stdx::pipe;
use crate::store::layer_files_of;

/// Images looked at together.
const N_AT_ONCE: usize = 8;

/// What the daemon's load must find in an archive.
///
/// Docker looks a layer up by its chain id before it opens the layer's file (moby 20.10, image/tarexport/load.go). Podman takes an OCI
/// layout's layer from its storage by digest wherever it lies (containers/image, `TryReusingBlob`); of a docker archive it wants all.
pub(super) async fn wanted(remote: &Remote, diff_ids: &[String]) -> Result<LayersWanted> {
    let all = || diff_ids.iter().cloned().collect::<BTreeSet<_>>();
    match remote.link.peer().await?.family {
        Family::Docker => {
            let info = remote.link.json(Ask::new(Call::Info)).await?;
            if keeps_blobs(&info) {
                return Ok(LayersWanted::All(
                    "this docker keeps images in containerd, whose load takes whole ones only".to_owned(),
                ));
            }
            let there: BTreeSet<Digest> = layers(remote).await?.iter().flat_map(|image| chain_ids(image)).collect();
            let chain = chain_ids(&parsed(diff_ids));
            // A value that is no digest would shift the rest.
            if chain.len() != diff_ids.len() {
                return Ok(LayersWanted::Only(all()));
            }
            let missing = diff_ids.iter().zip(&chain).filter(|(_, chain_id)| !there.contains(*chain_id));
            Ok(LayersWanted::Only(missing.map(|(diff_id, _)| diff_id.clone()).collect()))
        }
        Family::Podman => {
            let there: BTreeSet<String> = layers(remote).await?.iter().flatten().map(Digest::to_string).collect();
            Ok(LayersWanted::Only(all().into_iter().filter(|diff_id| !there.contains(diff_id)).collect()))
        }
        _ => Ok(LayersWanted::All("this daemon's load may not find layers that are left out".to_owned())),
    }
}

/// What each layer added, changed and removed, read from what the daemon saves while it comes: only names and sizes are kept.
pub(super) async fn files(remote: &Remote, image: &str) -> Result<Vec<LayerFiles>> {
    let detail = Images::inspect(remote, image).await?;
    let id = detail.summary.id.clone();
    let digest =
        id.parse::<Digest>().map_err(|_| EngineError::new(Class::Internal, &id, format!("{id} is no digest")))?;
    let platform = format!("{}/{}", detail.os, detail.architecture).parse::<Platform>().ok();
    let (to, archive, judge) = pipe::pipe();
    let ends = judge.ends();
    let reading = tokio::task::spawn_blocking(move || layer_files_of(archive, &digest, platform));
    let saved = Images::save(remote, &[id], Box::new(to)).await;
    match &saved {
        Ok(()) => judge.whole(),
        Err(_) => judge.broken(),
    }
    let listed =
        reading.await.map_err(|_| EngineError::new(Class::Internal, image, "the reading of the archive panicked"))?;
    match saved {
        Err(error) if !ends.writer_was_left() => Err(error),
        _ => Ok(listed?),
    }
}

/// Whether images are containerd's: then `load` is containerd's import, which wants every blob.
fn keeps_blobs(info: &Value) -> bool {
    let rows = info.at("DriverStatus").as_array().map(Vec::as_slice).unwrap_or_default();
    rows.iter().any(|row| row[0] == "driver-type" && row[1].as_str().is_some_and(|kind| kind.contains("snapshotter")))
}

/// The layers of every image, bottom first. An image that goes away meanwhile has none.
async fn layers(remote: &Remote) -> Result<Vec<Vec<Digest>>> {
    let query = ListImages { all: true, ..ListImages::default() };
    let ids: BTreeSet<String> = Images::list(remote, &query).await?.into_iter().map(|row| row.id).collect();
    let looks = ids.into_iter().map(|id| async move {
        let detail = Images::inspect(remote, &id).await;
        detail.map(|detail| parsed(&detail.layers)).unwrap_or_default()
    });
    Ok(stream::iter(looks).buffer_unordered(N_AT_ONCE).collect().await)
}

fn parsed(diff_ids: &[String]) -> Vec<Digest> {
    diff_ids.iter().filter_map(|text| text.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn containerd_s_images_are_told_by_the_driver() {
        let classic = json!({"Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "extfs"]]});
        let containerd = json!({"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]});
        assert!(!keeps_blobs(&classic) && keeps_blobs(&containerd));
        assert!(!keeps_blobs(&json!({"DriverStatus": null})) && !keeps_blobs(&json!({"DriverStatus": [[]]})));
    }
}
