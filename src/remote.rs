//! The engine of another process: any daemon that speaks docker's API, over a unix socket, TCP, TLS or ssh. Made by `main`, used by faces
//! through `dyn Engine`. It keeps no state of its own but connections: every answer is the daemon's.
//!
//! ```text
//! dyn Engine -> verbs (containers, images, …) -> link: version agreed, connection kept or dialled, deadline -> dial: unix | tcp | tls | ssh
//!                          |                      |
//!                          +-> hijack (attach, exec): a connection of its own, both ways
//!                          +-> logs, events: streams that are taken up again after a cut, without repeating or losing a line
//! ```
//! Nothing is dialled before the first call. Every call has a deadline; a dead host is one sentence with a hint.

mod archive;
mod ask;
mod containers;
mod dial;
mod events;
mod execs;
mod hijack;
mod images;
mod layers;
mod link;
mod logs;
mod ssh;
mod stats;
mod system;
mod things;
mod transfer;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use crate::config::host::Endpoint;
use crate::engine::Result;

use self::link::Link;

/// An engine behind a connection. Cheap to clone.
#[derive(Clone)]
pub struct Remote {
    link: Arc<Link>,
}

impl Remote {
    /// An engine at `endpoint`. Nothing is dialled yet: a host that is down is said by the first call.
    ///
    /// # Errors
    /// TLS files that cannot be read or used.
    pub fn new(endpoint: Endpoint) -> Result<Self> {
        Self::with_patience(endpoint, Duration::MAX)
    }

    /// The same, waiting for no connection and no answer longer than `longest`. What lasts by its nature (events, a followed log, `wait`) still
    /// lasts.
    ///
    /// # Errors
    /// As [`Remote::new`].
    pub fn with_patience(endpoint: Endpoint, longest: Duration) -> Result<Self> {
        Ok(Self { link: Link::new(endpoint, longest)? })
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        self.link.endpoint()
    }
}
