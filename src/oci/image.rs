//! The documents an image is made of: index, manifest, config, and the list in a docker archive. Own thin types that
//! read both media-type families (OCI and Docker) and keep what they do not know; whoever stores a document keeps its
//! raw bytes, because the digest is over those. Called by the store; must never trust a size or a count without a cap.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stdx::ids::Digest;

/// The largest manifest or index that is read, in bytes.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// The largest image config that is read, in bytes.
pub const MAX_CONFIG_BYTES: u64 = 8 << 20;
/// The most entries an index may have.
pub const MAX_INDEX_ENTRIES: usize = 1000;
/// The most layers an image may have (the kernel's overlay takes 500).
pub const MAX_LAYERS: usize = 500;

/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI layer without compression.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Docker schema 2 manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Why a document is refused.
#[derive(Debug, thiserror::Error)]
pub enum DocError {
    /// It is not JSON of the expected shape.
    #[error("invalid {what}: {source}")]
    Json {
        /// `image manifest`, `image index`, …
        what: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
    /// It is larger than any honest one.
    #[error("{what} of {bytes} bytes is larger than {max}")]
    TooLarge {
        /// `image manifest`, `image config`, …
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The cap.
        max: u64,
    },
    /// It has more layers or entries than any honest one.
    #[error("{what} with {count} {of} has more than {max}")]
    TooMany {
        /// `image manifest` or `image index`.
        what: &'static str,
        /// `layers` or `entries`.
        of: &'static str,
        /// How many.
        count: usize,
        /// The cap.
        max: usize,
    },
    /// It can be read as a manifest and as an index (CVE-2021-41190).
    #[error("ambiguous document: it has both `manifests` and `layers` or `config`")]
    Ambiguous,
    /// It says that it is one thing and is used as another.
    #[error("document says that it is {said}, not {expected}")]
    MediaType {
        /// Its `mediaType`.
        said: String,
        /// What it was referred to as.
        expected: &'static str,
    },
}

/// A reference from one document to another, or to a layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the target is; empty when the writer left it out.
    #[serde(default)]
    pub media_type: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Number of its bytes.
    pub size: u64,
    /// In an index: what the target runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Free-form notes, such as the reference in an OCI layout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    /// Whether the target is an index or a manifest list.
    pub fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), OCI_INDEX | DOCKER_LIST)
    }

    /// An annotation's value.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Go's name of the processor: `amd64`, `arm64`.
    pub architecture: String,
    /// Go's name of the system: `linux`.
    pub os: String,
    /// `v7` and the like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// This machine's.
    pub fn host() -> Platform {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", None),
            "x86" => ("386", None),
            "arm" => ("arm", Some("v7".to_owned())),
            "powerpc64" => ("ppc64le", None),
            other => (other, None),
        };
        Platform { architecture: architecture.to_owned(), os: "linux".to_owned(), variant }
    }

    /// Whether an image for `self` runs where `host` is.
    pub fn runs_on(&self, host: &Platform) -> bool {
        self.os == host.os && self.architecture == host.architecture
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl std::str::FromStr for Platform {
    type Err = String;

    fn from_str(text: &str) -> Result<Platform, String> {
        let mut parts = text.split('/').map(str::to_owned);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(os), Some(architecture), variant, None) if !os.is_empty() && !architecture.is_empty() => {
                Ok(Platform { architecture, os, variant })
            }
            _ => Err(format!("invalid platform {text:?}: expected os/arch or os/arch/variant")),
        }
    }
}

/// An image manifest: one config and its layers, lowest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Which family it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The image's config; its digest is the image id.
    pub config: Descriptor,
    /// The layers' blobs, lowest first.
    pub layers: Vec<Descriptor>,
    /// Free-form notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// An index: several manifests, for platforms or, in a layout, for names.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// Which family it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The entries.
    pub manifests: Vec<Descriptor>,
    /// Free-form notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// A manifest or an index, whichever the bytes are.
#[derive(Debug, Clone)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// A choice of them.
    Index(Index),
}

impl Document {
    /// Reads a manifest or an index and refuses what could be both.
    ///
    /// # Errors
    /// [`DocError`], with every cap of this module applied.
    pub fn parse(bytes: &[u8]) -> Result<Document, DocError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Shape {
            manifests: Option<serde::de::IgnoredAny>,
            layers: Option<serde::de::IgnoredAny>,
            config: Option<serde::de::IgnoredAny>,
            media_type: Option<String>,
        }
        check_size("image manifest", bytes.len() as u64, MAX_MANIFEST_BYTES)?;
        let shape: Shape = from_json("image manifest", bytes)?;
        let said = shape.media_type.unwrap_or_default();
        if shape.manifests.is_none() {
            if matches!(said.as_str(), OCI_INDEX | DOCKER_LIST) {
                return Err(DocError::MediaType { said, expected: "an image manifest" });
            }
            let manifest: Manifest = from_json("image manifest", bytes)?;
            check_count("image manifest", "layers", manifest.layers.len(), MAX_LAYERS)?;
            return Ok(Document::Manifest(manifest));
        }
        if shape.layers.is_some() || shape.config.is_some() {
            return Err(DocError::Ambiguous);
        }
        if matches!(said.as_str(), OCI_MANIFEST | DOCKER_MANIFEST) {
            return Err(DocError::MediaType { said, expected: "an image index" });
        }
        let index: Index = from_json("image index", bytes)?;
        check_count("image index", "entries", index.manifests.len(), MAX_INDEX_ENTRIES)?;
        Ok(Document::Index(index))
    }
}

/// One image in `manifest.json` of a docker archive.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ArchiveEntry {
    /// Path of the config inside the archive.
    pub config: String,
    /// Its references, `name:tag`.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub repo_tags: Vec<String>,
    /// Paths of the layers inside the archive, lowest first.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub layers: Vec<String>,
}

/// Reads `manifest.json` of a docker archive.
///
/// # Errors
/// [`DocError`], with every cap of this module applied.
pub fn parse_archive_list(bytes: &[u8]) -> Result<Vec<ArchiveEntry>, DocError> {
    check_size("manifest.json", bytes.len() as u64, MAX_MANIFEST_BYTES)?;
    let list: Vec<ArchiveEntry> = from_json("manifest.json", bytes)?;
    check_count("manifest.json", "entries", list.len(), MAX_INDEX_ENTRIES)?;
    for entry in &list {
        check_count("manifest.json", "layers", entry.layers.len(), MAX_LAYERS)?;
    }
    Ok(list)
}

/// An image's config document.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Go's name of the processor.
    #[serde(default)]
    pub architecture: String,
    /// `v7` and the like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Go's name of the system.
    #[serde(default)]
    pub os: String,
    /// What a container is started with.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub config: ContainerDefaults,
    /// The layers by what they unpack to.
    #[serde(default)]
    pub rootfs: RootFs,
    /// How it was made, oldest first.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
}

impl ImageConfig {
    /// Reads a config.
    ///
    /// # Errors
    /// [`DocError`], with every cap of this module applied.
    pub fn parse(bytes: &[u8]) -> Result<ImageConfig, DocError> {
        check_size("image config", bytes.len() as u64, MAX_CONFIG_BYTES)?;
        let config: ImageConfig = from_json("image config", bytes)?;
        check_count("image config", "layers", config.rootfs.diff_ids.len(), MAX_LAYERS)?;
        Ok(config)
    }

    /// What it runs on; a config without an architecture (old imports) runs on the host.
    pub fn platform(&self) -> Platform {
        let host = Platform::host();
        let or = |own: &str, host: String| if own.is_empty() { host } else { own.to_owned() };
        Platform {
            architecture: or(&self.architecture, host.architecture),
            os: or(&self.os, host.os),
            variant: self.variant.clone().filter(|v| !v.is_empty()),
        }
    }
}

/// The `config` part of an image config: what a container gets when the caller says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerDefaults {
    /// `user[:group]`, names or numbers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `80/tcp` and the like; values are always `{}`.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// `NAME=value`.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// First part of the command line; absent and empty differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Second part, replaced by what the user types; absent and empty differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Paths that get an anonymous volume; values are always `{}`.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Empty>,
    /// Where the command starts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Free-form. Labels never select anything to execute (CVE-2026-53488).
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Name or number of the signal that asks the command to end.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// How to ask whether it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// The shell of shell-form commands.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
    /// Triggers for builds on top of it.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
}

/// JSON's `{}`: the value in maps that are sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// A health check; times in nanoseconds, zero means the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", command]`.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// For one check.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// After the start, when failures do not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between two checks in the start period.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// How many failures in a row make it unhealthy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// The `rootfs` part of an image config.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the layers' uncompressed tars, lowest first.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> RootFs {
        RootFs { kind: "layers".into(), diff_ids: Vec::new() }
    }
}

/// One step of how an image was made.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct History {
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether the step made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// Go writes an absent list or map as `null`.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn check_size(what: &'static str, bytes: u64, max: u64) -> Result<(), DocError> {
    if bytes > max { Err(DocError::TooLarge { what, bytes, max }) } else { Ok(()) }
}

fn check_count(what: &'static str, of: &'static str, count: usize, max: usize) -> Result<(), DocError> {
    if count > max { Err(DocError::TooMany { what, of, count, max }) } else { Ok(()) }
}

fn from_json<'a, T: Deserialize<'a>>(what: &'static str, bytes: &'a [u8]) -> Result<T, DocError> {
    serde_json::from_slice(bytes).map_err(|source| DocError::Json { what, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor() -> String {
        format!(r#"{{"mediaType":"x","digest":"sha256:{}","size":1}}"#, "a".repeat(64))
    }

    /// CVE-2021-41190, GHSA-5j5w-g665-5m35: one document, two readings.
    #[test]
    fn cve_2021_41190_a_document_is_a_manifest_or_an_index() {
        let d = descriptor();
        let both = format!(r#"{{"schemaVersion":2,"config":{d},"layers":[],"manifests":[{d}]}}"#);
        assert!(matches!(Document::parse(both.as_bytes()), Err(DocError::Ambiguous)));
        let liar = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","config":{d},"layers":[]}}"#);
        assert!(matches!(Document::parse(liar.as_bytes()), Err(DocError::MediaType { .. })));
        let liar = format!(r#"{{"schemaVersion":2,"mediaType":"{DOCKER_MANIFEST}","manifests":[]}}"#);
        assert!(matches!(Document::parse(liar.as_bytes()), Err(DocError::MediaType { .. })));
        let good = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{d},"layers":[{d}]}}"#);
        assert!(matches!(Document::parse(good.as_bytes()), Ok(Document::Manifest(_))));
    }

    /// CVE-2021-21285, CVE-2026-47262: a malformed or enormous document ends the engine.
    #[test]
    fn cve_2026_47262_documents_have_caps() {
        let d = descriptor();
        let many = vec![d.as_str(); MAX_LAYERS + 1].join(",");
        let layers = format!(r#"{{"schemaVersion":2,"config":{d},"layers":[{many}]}}"#);
        assert!(matches!(Document::parse(layers.as_bytes()), Err(DocError::TooMany { of: "layers", .. })));
        let many = vec![d.as_str(); MAX_INDEX_ENTRIES + 1].join(",");
        let entries = format!(r#"{{"schemaVersion":2,"manifests":[{many}]}}"#);
        assert!(matches!(Document::parse(entries.as_bytes()), Err(DocError::TooMany { of: "entries", .. })));
        let long = format!(r#"{{"schemaVersion":2,"pad":"{}"}}"#, "x".repeat(MAX_MANIFEST_BYTES as usize));
        assert!(matches!(Document::parse(long.as_bytes()), Err(DocError::TooLarge { .. })));
        for bad in ["", "null", "[]", "{}", "{\"layers\":null}", "{\"manifests\":7}", &"[".repeat(100_000)] {
            assert!(Document::parse(bad.as_bytes()).is_err(), "{bad:.20}");
            assert!(parse_archive_list(bad.as_bytes()).is_err() || bad == "[]", "{bad:.20}");
        }
        let one = format!("\"sha256:{}\"", "b".repeat(64));
        let many = vec![one.as_str(); MAX_LAYERS + 1].join(",");
        let config = format!(r#"{{"rootfs":{{"type":"layers","diff_ids":[{many}]}}}}"#);
        assert!(matches!(ImageConfig::parse(config.as_bytes()), Err(DocError::TooMany { .. })));
    }

    #[test]
    fn nulls_of_go_writers_read_as_empty() {
        let config = r#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":["sh"],"Volumes":null,
            "Entrypoint":[],"ExposedPorts":{"80/tcp":{}},"Labels":null},"rootfs":{"type":"layers","diff_ids":null},"history":null}"#;
        let config = ImageConfig::parse(config.as_bytes()).unwrap();
        assert_eq!(config.config.cmd, Some(vec!["sh".to_owned()]));
        assert_eq!(config.config.entrypoint, Some(vec![]));
        assert!(config.config.exposed_ports.contains_key("80/tcp"));
        assert!(ImageConfig::parse(br#"{"config":null}"#).is_ok());
    }
}
