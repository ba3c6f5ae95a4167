//! HTTP/1.1 as a client: one dialled connection over TCP, TLS or a unix socket, requests and answers with streamed bodies, and the
//! raw stream after an upgrade. Called by `registry` and `remote`; it knows nothing of either's paths, credentials or retries.
//!
//! ```text
//! Target -> Dialer (proxy? TLS?) -> Duplex -> Connection -> send    -> Response<ResponseBody>   (stream of Bytes with deadlines)
//!                                                        -> upgrade -> Upgraded                 (raw, both ways)
//! Pool = Dialer + connections that idle: what to use for many small requests to few hosts.
//! ```
//!
//! Every wait has a deadline unless its caller says that it may last (events, logs, wait). Nothing here follows a redirect, adds a
//! credential or repeats a request whose body may have been seen; a [`Pool`] alone dials again when a connection that idled turned out to be
//! dead.

pub mod body;
pub mod connection;
pub mod dial;
pub mod error;
pub mod pool;
pub mod proxy;
mod resolve;
#[cfg(test)]
pub(crate) mod script;
mod secured;
pub mod target;
#[cfg(test)]
mod tests;
pub mod tls;
mod x509;

pub use body::{Body, ResponseBody};
pub use connection::{Connection, Deadlines, Upgraded};
pub use dial::{Dialer, Duplex};
pub use error::{CertificateProblem, HttpError};
pub use pool::Pool;
pub use proxy::Proxies;
pub use target::{Target, Way};
pub use tls::{Tls, TlsOptions, Verify};
