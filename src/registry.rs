//! The distribution client: what a registry has, fetched and sent, as the OCI distribution specification and Docker's registries speak.
//! Called by `embedded` (pull, push, search, login); it never touches the store: documents come back as bytes with their digests, layers as
//! streams, and the caller keeps them.
//!
//! ```text
//! Client ── repository(reference, credentials) ──> Repository ── resolve(pick, platform) ──> Resolved { manifest, index, config, layers }
//!   │                                                   ├─────── config(descriptor)        ──> Bytes, verified
//!   ├─ search, catalog                                  ├─────── blob(descriptor, offset)   ──> BlobStream of Bytes, NOT verified
//!   └─ login                                            ├─────── head, tags
//!                                                       └─────── push_blob, push_manifest
//! ```
//!
//! - A [`Client`] is one for each engine, a [`Repository`] one repository as one user; clones of both are cheap and share connections, tokens
//!   and what was learnt of hosts.
//! - Every question is asked of Docker Hub's mirrors in order, then of the registry; what may pass (cuts, stalls, 429, 5xx) is asked again after
//!   a pause, `max-download-attempts` times. Credentials go to the registry and its token server alone.
//! - A [`BlobStream`] begins at the offset that was asked for and goes on by itself from the byte where it was cut. It never gives a byte beyond
//!   the descriptor's size, and ends with an error if there are fewer. **The caller verifies the digest** over what it had and what came; when
//!   that is wrong, it throws both away and, if there were mirrors, asks [`Repository::without_mirrors`].
//! - `urls` of foreign layers are ignored: content comes from the registry or not at all (CVE-2020-15157).
//! - Caps: manifests and indexes 4 MiB, configs 8 MiB, 1,000 entries, 500 layers, indexes in indexes 3 deep.
//! - Errors are one sentence with a hint and turn into the engine's by `into()`.

mod auth;
mod blob;
mod call;
mod challenge;
mod client;
mod error;
mod hosts;
mod login;
mod platform;
mod push;
mod repository;
mod resolve;
mod search;
mod suggest;
mod url;

#[cfg(test)]
mod tests;

pub use blob::BlobStream;
pub use client::{Client, Options};
pub use error::RegistryError;
pub use push::{BlobPushed, Opener};
pub use repository::{Document, Head, Pick, Repository};
pub use resolve::Resolved;
