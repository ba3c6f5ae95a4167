//! From a tag or digest to the one image that is meant: through indexes, by platform, down to config and layers. Called by `embedded`
//! before anything is fetched; refuses whatever is no image we can run, by name.

use super::error::{RegistryError, Result, shown};
use super::platform::{choose, offered, satisfies};
use super::repository::{Document, Pick, Repository};
use crate::engine::error::Class;
use crate::oci::image::{self, Descriptor, ImageConfig, Index, Manifest, OCI_CONFIG, Platform};

/// Docker's image config.
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Indexes in indexes are followed so far.
const MAX_DEPTH: usize = 3;

/// An image as a registry has it; nothing of its config and layers is fetched yet.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The image's own manifest.
    pub manifest: Document,
    /// The outermost index, when the name leads to one.
    pub index: Option<Document>,
    /// Its digest is the image's id.
    pub config: Descriptor,
    /// Lowest first.
    pub layers: Vec<Descriptor>,
    /// What the index said of it.
    pub platform: Option<Platform>,
}

impl Resolved {
    /// What the registry names by the tag: the index where there is one, else the manifest.
    pub fn digest(&self) -> &crate::stdx::ids::Digest {
        self.index.as_ref().map_or(&self.manifest.digest, |index| &index.digest)
    }
}

impl Repository {
    /// Finds the image for `platform`, or for this machine when none is given.
    ///
    /// # Errors
    /// `NotFound` (with what there is: near tags, the platforms), `Invalid` for what is no image, `Unauthorized`, `Unavailable`, …
    pub async fn resolve(&self, pick: &Pick, platform: Option<&Platform>) -> Result<Resolved> {
        let host = Platform::host();
        let wanted = platform.unwrap_or(&host);
        let name = self.named(pick);
        let mut document = self.manifest(pick).await?;
        let mut index = None;
        let mut chosen = None;
        for _ in 0..=MAX_DEPTH {
            match read(&name, &document)? {
                image::Document::Manifest(manifest) => {
                    let resolved = image_of(&name, document, index, manifest, chosen)?;
                    if let (Some(asked), None) = (platform, &resolved.index) {
                        self.check_platform(&name, &resolved.config, asked).await?;
                    }
                    return Ok(resolved);
                }
                image::Document::Index(list) => {
                    let entry = entry_of(&name, &list, wanted)?;
                    let below = self.manifest(&Pick::Digest(entry.digest.clone())).await?;
                    check_kind(&name, entry, &below)?;
                    chosen = entry.platform.clone();
                    index.get_or_insert(document);
                    document = below;
                }
            }
        }
        let message = format!("{name}: an index of indexes, more than {MAX_DEPTH} deep");
        Err(RegistryError::new(Class::Invalid, name, message))
    }

    /// An image without an index says in its config what it is for.
    async fn check_platform(&self, name: &str, config: &Descriptor, wanted: &Platform) -> Result<()> {
        let bytes = self.config(config).await?;
        let own = ImageConfig::parse(&bytes).map_err(|error| RegistryError::document(name, error))?.platform();
        if satisfies(&own, wanted) { Ok(()) } else { Err(no_platform(name, wanted, &[own.to_string()])) }
    }
}

fn read(name: &str, document: &Document) -> Result<image::Document> {
    if is_schema_1(document) {
        let message = format!("{name} is in docker's schema 1 format, which is not read");
        return Err(RegistryError::new(Class::Unsupported, name, message)
            .hint("have it pulled and pushed again by docker 1.10 or newer"));
    }
    image::Document::parse(&document.bytes).map_err(|error| RegistryError::document(name, error))
}

fn is_schema_1(document: &Document) -> bool {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        schema_version: u32,
    }
    document.media_type.starts_with("application/vnd.docker.distribution.manifest.v1")
        || serde_json::from_slice::<Version>(&document.bytes).is_ok_and(|it| it.schema_version == 1)
}

fn entry_of<'a>(name: &str, list: &'a Index, wanted: &Platform) -> Result<&'a Descriptor> {
    // A single entry without a platform is what some tools write for an index inside an index.
    let single = match list.manifests.as_slice() {
        [only] if only.platform.is_none() => Some(only),
        _ => None,
    };
    choose(&list.manifests, wanted).or(single).ok_or_else(|| no_platform(name, wanted, &offered(&list.manifests)))
}

fn no_platform(name: &str, wanted: &Platform, offered: &[String]) -> RegistryError {
    let message = format!("no matching manifest for {wanted} in {name}");
    let hint = match offered {
        [] => "it names no platform at all".to_owned(),
        some => format!("it is there for {}", some.iter().take(20).cloned().collect::<Vec<_>>().join(", ")),
    };
    RegistryError::new(Class::NotFound, name, message).hint(shown(&hint))
}

/// The entry said what it leads to; the bytes must be that (CVE-2021-41190).
fn check_kind(name: &str, entry: &Descriptor, below: &Document) -> Result<()> {
    let is_index = matches!(read(name, below)?, image::Document::Index(_));
    let said_manifest = matches!(entry.media_type.as_str(), image::OCI_MANIFEST | image::DOCKER_MANIFEST);
    let size = below.bytes.len() as u64;
    if entry.is_index() && !is_index || said_manifest && is_index {
        let said = shown(&entry.media_type);
        let message = format!("{name}: the index calls {} {said:?}, which it is not", entry.digest);
        return Err(RegistryError::new(Class::Invalid, name, message));
    }
    if entry.size != size {
        let message = format!("{name}: the index says {} bytes for {}, it has {size}", entry.size, entry.digest);
        return Err(RegistryError::new(Class::Invalid, name, message));
    }
    Ok(())
}

fn image_of(
    name: &str,
    manifest: Document,
    index: Option<Document>,
    parsed: Manifest,
    platform: Option<Platform>,
) -> Result<Resolved> {
    let invalid = |message: String| RegistryError::new(Class::Invalid, name, message);
    let config_type = parsed.config.media_type.as_str();
    // The last is what docker wrote before it had a type for it.
    if !matches!(config_type, OCI_CONFIG | DOCKER_CONFIG | "" | "application/octet-stream") {
        let message = format!("{name} is no container image: its config is {:?}", shown(config_type));
        return Err(invalid(message).hint("registries also hold charts, signatures and other things"));
    }
    for (number, layer) in parsed.layers.iter().enumerate() {
        if !is_layer(&layer.media_type) {
            let message =
                format!("{name}: layer {} has the unknown media type {:?}", number + 1, shown(&layer.media_type));
            return Err(invalid(message).hint("tar, gzip and zstd layers are known"));
        }
    }
    Ok(Resolved { manifest, index, config: parsed.config, layers: parsed.layers, platform })
}

fn is_layer(media_type: &str) -> bool {
    let oci = media_type
        .strip_prefix("application/vnd.oci.image.layer.v1.tar")
        .or(media_type.strip_prefix("application/vnd.oci.image.layer.nondistributable.v1.tar"));
    let docker = media_type
        .strip_prefix("application/vnd.docker.image.rootfs.diff.tar")
        .or(media_type.strip_prefix("application/vnd.docker.image.rootfs.foreign.diff.tar"));
    match (oci, docker) {
        (Some(form), _) => matches!(form, "" | "+gzip" | "+zstd"),
        (_, Some(form)) => matches!(form, "" | ".gzip" | ".zstd"),
        _ => media_type.is_empty(),
    }
}
