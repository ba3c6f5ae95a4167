//! What happened, as it happens. Names are docker's, so that filters and scripts carry over.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::filter::Filters;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    Container,
    Image,
    Volume,
    Network,
    Daemon,
}

impl EventKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Network => "network",
            Self::Daemon => "daemon",
        }
    }
}

/// Docker's action word: `create start die oom kill stop pause unpause restart rename destroy attach detach resize update exec_create: …
/// exec_start: … exec_die health_status: healthy`, `tag untag delete import load pull push`, `mount unmount`, `connect disconnect`.
pub type EventAction = String;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub time: SystemTime,
    pub kind: EventKind,
    pub action: EventAction,
    /// Id of the thing; a volume's name.
    pub id: String,
    /// `name`, `image`, `exitCode`, `signal`, `oldName`, labels, …
    pub attributes: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventsQuery {
    /// Replay what is kept from here on.
    pub since: Option<SystemTime>,
    /// End the stream here.
    pub until: Option<SystemTime>,
    /// `container image volume network type event label`.
    pub filters: Filters,
}
