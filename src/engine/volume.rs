//! Volumes.

use std::collections::BTreeMap;
use std::time::SystemTime;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    pub name: String,
    pub driver: String,
    /// Where its files are on the engine's host.
    pub mountpoint: String,
    pub created: Option<SystemTime>,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
    pub anonymous: bool,
    /// Names of containers that mount it; `None` when not computed.
    pub used_by: Option<Vec<String>>,
    /// `None` when not computed.
    pub size_bytes: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateVolume {
    /// `None`: anonymous.
    pub name: Option<String>,
    /// `local`.
    pub driver: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
}
