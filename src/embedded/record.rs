//! `container.json`: what a container was made to be. Written by the engine under the container's lock, read by every engine process; the
//! run state beside it belongs to the shim. Must never be changed in a way that an older reader misunderstands without raising [`VERSION`].

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::engine::container::MountPoint;
use crate::engine::{Class, ContainerSpec, EngineError, Result};

/// The newest record this program reads and the one it writes.
pub(crate) const VERSION: u32 = 1;

/// Everything fixed at create (and by rename and update).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub(crate) version: u32,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created: SystemTime,
    /// As asked for, with the image's defaults merged in.
    pub(crate) spec: ContainerSpec,
    /// `sha256:…` of the image's config.
    pub(crate) image_id: String,
    /// Layers of the root file system, bottom first: kept here so that a lost index never orphans a container.
    pub(crate) diff_ids: Vec<String>,
    pub(crate) path: String,
    pub(crate) args: Vec<String>,
    /// In the order they are mounted.
    pub(crate) mounts: Vec<Mounted>,
    pub(crate) hostname: String,
}

/// One mount with everything decided: where from, where to, how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mounted {
    /// Absolute and clean.
    pub(crate) target: String,
    pub(crate) read_only: bool,
    pub(crate) kind: MountedKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MountedKind {
    Bind {
        source: String,
        propagation: String,
        non_recursive: bool,
    },
    Volume {
        name: String,
        /// The directory that is mounted: `_data`, or the subpath in it.
        source: String,
        /// Made for this container alone; goes with it on `rm -v` and `--rm`.
        anonymous: bool,
        /// Image content below the target goes into the volume while that is empty.
        copy_up: bool,
        subpath: Option<String>,
    },
    Tmpfs {
        options: Vec<String>,
    },
}

impl ContainerRecord {
    /// Parses a record.
    ///
    /// # Errors
    /// `Unsupported` when a newer orlop wrote it, `Internal` when it is damaged; both name the container.
    pub(crate) fn parse(id: &str, bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let damaged = |error: serde_json::Error| {
            EngineError::new(Class::Internal, id, format!("the record of container {id} cannot be read"))
                .caused_by(&error)
        };
        match serde_json::from_slice::<Self>(bytes) {
            Ok(record) if record.version <= VERSION => Ok(record),
            Ok(record) => Err(newer(id, record.version)),
            Err(error) => match serde_json::from_slice::<Head>(bytes) {
                Ok(head) if head.version > VERSION => Err(newer(id, head.version)),
                _ => Err(damaged(error)),
            },
        }
    }

    /// What events say of a container beside its id: labels first, so that `name` and `image` cannot be overridden by them.
    pub(crate) fn event_attributes(&self) -> BTreeMap<String, String> {
        let mut attributes = self.spec.labels.clone();
        attributes.insert("name".to_owned(), self.name.clone());
        attributes.insert("image".to_owned(), self.spec.image.clone());
        attributes
    }

    /// Names of the volumes that it mounts.
    pub(crate) fn volumes(&self) -> impl Iterator<Item = (&str, bool)> {
        self.mounts.iter().filter_map(|mounted| match &mounted.kind {
            MountedKind::Volume { name, anonymous, .. } => Some((name.as_str(), *anonymous)),
            _ => None,
        })
    }

    /// Entrypoint and arguments joined by spaces, as lists show it.
    pub(crate) fn command_line(&self) -> String {
        std::iter::once(&self.path).chain(&self.args).map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

impl Mounted {
    /// As inspect and lists tell of it.
    pub(crate) fn to_point(&self) -> MountPoint {
        let base =
            MountPoint { destination: self.target.clone(), read_write: !self.read_only, ..MountPoint::default() };
        match &self.kind {
            MountedKind::Bind { source, propagation, .. } => MountPoint {
                kind: "bind".to_owned(),
                source: source.clone(),
                propagation: propagation.clone(),
                mode: if self.read_only { "ro".to_owned() } else { String::new() },
                ..base
            },
            MountedKind::Volume { name, source, .. } => MountPoint {
                kind: "volume".to_owned(),
                name: Some(name.clone()),
                source: source.clone(),
                driver: "local".to_owned(),
                mode: if self.read_only { "ro".to_owned() } else { "z".to_owned() },
                ..base
            },
            MountedKind::Tmpfs { options } => MountPoint { kind: "tmpfs".to_owned(), mode: options.join(","), ..base },
        }
    }
}

fn newer(id: &str, version: u32) -> EngineError {
    EngineError::new(
        Class::Unsupported,
        id,
        format!("container {id} was made by a newer orlop (record version {version}, this one reads {VERSION})"),
    )
    .with_hint("use the newer orlop for it, or remove it with that one")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> ContainerRecord {
        ContainerRecord {
            version: VERSION,
            id: "ab".repeat(32),
            name: "web".to_owned(),
            created: SystemTime::UNIX_EPOCH,
            spec: ContainerSpec { image: "img:latest".to_owned(), ..ContainerSpec::default() },
            image_id: format!("sha256:{}", "cd".repeat(32)),
            diff_ids: vec![format!("sha256:{}", "ef".repeat(32))],
            path: "/bin/sh".to_owned(),
            args: vec!["-c".to_owned(), "true".to_owned()],
            mounts: Vec::new(),
            hostname: "abababababab".to_owned(),
        }
    }

    #[test]
    fn a_record_survives_the_disk() {
        let record = sample();
        assert_eq!(ContainerRecord::parse(&record.id, &serde_json::to_vec(&record).unwrap()).unwrap(), record);
        assert_eq!(record.command_line(), "/bin/sh -c true");
    }

    #[test]
    fn a_newer_record_is_refused_with_its_version_and_a_damaged_one_as_damaged() {
        let newer = ContainerRecord::parse("x", br#"{"version":7,"shape":"unknown"}"#).unwrap_err();
        assert_eq!(newer.class, Class::Unsupported);
        assert!(newer.message.contains("record version 7"), "{newer}");
        let damaged = ContainerRecord::parse("x", br#"{"version":1"#).unwrap_err();
        assert_eq!(damaged.class, Class::Internal);
    }
}
