//! The engines a person can switch between: the one inside, docker's contexts, sockets found by themselves, addresses typed. Implemented by
//! `main`, which alone knows the kinds of engines; called by faces.

use std::sync::Arc;

use super::{Engine, EngineError};

/// A colour that says which host one is on, chosen by the user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HostColor {
    #[default]
    Plain,
    Green,
    Yellow,
    Red,
}

/// Whether the faces offer what changes something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Access {
    #[default]
    Full,
    ReadOnly,
}

/// One engine that can be switched to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostEntry {
    /// What it is called and opened by: `embedded`, a context, a name of the config, an address.
    pub name: String,
    /// Where it is: an address, or a sentence for the engine inside.
    pub address: String,
    pub color: HostColor,
    pub access: Access,
    /// The hosts that are shown together; none where it is one host.
    pub members: Vec<HostEntry>,
}

/// Knows hosts and opens them.
pub trait Hosts: Send + Sync {
    /// What can be opened by name, the engine inside first. Reads small files: call it off the screen's thread.
    fn known(&self) -> Vec<HostEntry>;

    /// Opens by a known name or by an address (`unix:///…`, `tcp://…`, `ssh://…`) and remembers an address. Does not wait for the host: whether it answers
    /// shows with the first question.
    ///
    /// # Errors
    /// `NotFound` for an unknown name, `Invalid` for an address that cannot be meant.
    fn open(&self, name: &str) -> Result<(HostEntry, Arc<dyn Engine>), EngineError>;
}
