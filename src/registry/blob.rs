//! A blob as a stream that survives cuts: from any byte, again from where it broke off, from the next place when one fails. Called by
//! `embedded` for layers. It counts bytes and hashes none.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use hyper::StatusCode;
use hyper::header::{ACCEPT_ENCODING, CONTENT_RANGE, HeaderValue, RANGE};

use super::call::{Answer, Ask, Call};
use super::error::{Again, RegistryError, Result};
use super::hosts::{Endpoint, Kind};
use super::repository::Repository;
use crate::engine::error::Class;
use crate::http::ResponseBody;
use crate::oci::image::Descriptor;
use crate::stdx::ids::Digest;

/// The bytes of a blob from the asked offset to its end; ends after the last byte or after one error. Dropping it stops the transfer.
pub struct BlobStream {
    inner: BoxStream<'static, Result<Bytes>>,
}

impl Stream for BlobStream {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.inner.as_mut().poll_next(cx)
    }
}

impl Repository {
    /// Streams a blob from `offset`; nothing is asked before the first poll. The digest is for the caller to verify.
    pub fn blob(&self, descriptor: &Descriptor, offset: u64) -> BlobStream {
        let transfer = Transfer {
            repository: self.clone(),
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            at: offset,
            open: None,
            n_failures: 0,
            ranges: Ranges::Trusted,
            is_over: false,
        };
        let inner = futures_util::stream::unfold(transfer, |mut transfer| async move {
            let piece = transfer.next().await?;
            transfer.is_over = piece.is_err();
            Some((piece, transfer))
        });
        BlobStream { inner: inner.boxed() }
    }
}

/// Whether the server's answers to `Range` make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ranges {
    Trusted,
    /// It answered with something else than what was asked for: the whole is asked for from now on.
    Broken,
}

struct Transfer {
    repository: Repository,
    digest: Digest,
    size: u64,
    /// The next byte to hand out.
    at: u64,
    open: Option<Open>,
    /// In a row, without a byte between them.
    n_failures: u32,
    ranges: Ranges,
    is_over: bool,
}

/// An answer that is being read.
struct Open {
    body: ResponseBody,
    endpoint: Arc<Endpoint>,
    /// Bytes before `at` that come first because the server sends from the start.
    skip: u64,
}

impl Transfer {
    async fn next(&mut self) -> Option<Result<Bytes>> {
        if self.is_over {
            return None;
        }
        loop {
            // Also when the offset was the end; a body that has more than the size is left unread.
            if self.at >= self.size {
                return None;
            }
            let failure = match self.read().await {
                Ok(bytes) => {
                    self.n_failures = 0;
                    return Some(Ok(bytes));
                }
                Err(error) => error,
            };
            if let Some(open) = self.open.take() {
                open.endpoint.failed();
            }
            self.n_failures += 1;
            if let Err(error) = self.repository.caller.pause(failure, self.n_failures).await {
                return Some(Err(self.repository.about_blob(error, &self.digest)));
            }
        }
    }

    /// The next piece of the present answer, or of a new one.
    async fn read(&mut self) -> Result<Bytes> {
        if self.open.is_none() {
            self.open = Some(self.ask().await?);
        }
        let open = self.open.as_mut().expect("it was just opened");
        loop {
            let mut bytes = match open.body.next().await {
                Some(Ok(bytes)) => bytes,
                Some(Err(error)) => return Err(RegistryError::network(self.repository.name(), error)),
                None => return Err(short(&self.repository, &open.endpoint, &self.digest, self.at, self.size)),
            };
            if open.skip > 0 {
                let n_skipped = open.skip.min(bytes.len() as u64);
                open.skip -= n_skipped;
                bytes = bytes.split_off(usize::try_from(n_skipped).unwrap_or(usize::MAX));
            }
            let n_left = self.size - self.at;
            if bytes.len() as u64 > n_left {
                return Err(too_long(&self.repository, &open.endpoint, &self.digest, self.size));
            }
            if !bytes.is_empty() {
                self.at += bytes.len() as u64;
                return Ok(bytes);
            }
        }
    }

    async fn ask(&mut self) -> Result<Open> {
        let repository = &self.repository;
        let path = format!("{}/blobs/{}", repository.path, self.digest);
        // A proxy that compresses on the way would make the offsets meaningless.
        let mut call =
            Call::get(path, repository.pull_scope()).header(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let asks_range = self.at > 0 && self.ranges == Ranges::Trusted;
        if asks_range {
            let value = HeaderValue::from_str(&format!("bytes={}-", self.at)).expect("digits are plain text");
            call = call.header(RANGE, value);
        }
        let host = repository.host().await?;
        let readers = if repository.whom == Ask::Owner { host.owners() } else { host.readers() };
        let (endpoint, answer) = match repository.caller.once(&readers, &call).await {
            Err(error) if asks_range && error.is_range_refusal() => {
                self.ranges = Ranges::Broken;
                let endpoint = readers.last().expect("a registry has at least one place");
                return Err(short(repository, endpoint, &self.digest, self.at, self.size).because(error));
            }
            other => other?,
        };
        let skip = match self.start_of(&answer) {
            Some(start) if start <= self.at => self.at - start,
            _ => {
                self.ranges = Ranges::Broken;
                let message = format!("{}: it answered with other bytes than those asked for", endpoint.target);
                return Err(RegistryError::new(Class::Unavailable, repository.name(), message).again(Again::Soon));
            }
        };
        let whole = answer.body().remaining().map(|rest| rest + self.at - skip);
        if whole.is_some_and(|whole| whole > self.size) {
            return Err(too_long(repository, &endpoint, &self.digest, self.size));
        }
        Ok(Open { body: answer.into_body(), endpoint, skip })
    }

    /// Where the bytes of an answer begin; `None` when it makes no sense.
    fn start_of(&self, answer: &Answer) -> Option<u64> {
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            return Some(0);
        }
        let (start, total) = content_range(answer.headers().get(CONTENT_RANGE)?.to_str().ok()?)?;
        total.is_none_or(|total| total == self.size).then_some(start)
    }
}

impl RegistryError {
    fn is_range_refusal(&self) -> bool {
        self.status == StatusCode::RANGE_NOT_SATISFIABLE.as_u16()
    }
}

/// Start and total of `bytes 5-9/10`; the total may be `*`.
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((start.parse().ok()?, total))
}

fn short(repository: &Repository, endpoint: &Endpoint, digest: &Digest, at: u64, size: u64) -> RegistryError {
    let message = format!("{}: it ended {} after {at} of {size} bytes", endpoint.target, digest.short());
    RegistryError::new(Class::Unavailable, repository.name(), message).again(Again::Soon)
}

fn too_long(repository: &Repository, endpoint: &Endpoint, digest: &Digest, size: u64) -> RegistryError {
    let message = format!("{}: it has more bytes for {digest} than the {size} of its manifest", endpoint.target);
    // A mirror may be wrong where the registry is right.
    let again = if endpoint.kind == Kind::Mirror { Again::Soon } else { Again::No };
    RegistryError::new(Class::Invalid, repository.name(), message)
        .hint("the registry or something on the way changed the bytes; nothing of it was kept")
        .again(again)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for bad in ["", "bytes", "bytes */10", "5-9/10", "bytes 5/10", "bytes x-9/10", "bytes 5-9/x"] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
