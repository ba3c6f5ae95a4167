//! Bodies: what we send (nothing, bytes, or a stream) and what we get (a stream of bytes with deadlines). Called by `connection`, handed to
//! callers. A body that stalls ends with an error; one that lasts is the caller's choice ([`super::Deadlines`]).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use futures_util::StreamExt;
use hyper::body::{Body as HyperBody, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::HttpError;
use super::pool::Returning;

/// Bytes go out in pieces of this size, so that progress can be seen.
const PIECE: usize = 64 << 10;

/// What to send.
pub struct Body {
    kind: Kind,
    /// Bytes handed to the connection so far; a stall is when this stands still.
    sent: Arc<AtomicU64>,
}

enum Kind {
    Bytes(Bytes),
    Stream { stream: Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>, left: Option<u64> },
}

impl Body {
    pub fn empty() -> Self {
        Self::bytes(Bytes::new())
    }

    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Bytes(bytes.into()), sent: Arc::default() }
    }

    /// A stream of unknown length, sent chunked.
    pub fn stream(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self { kind: Kind::Stream { stream: Box::pin(stream), left: None }, sent: Arc::default() }
    }

    /// A stream of exactly `length` bytes, sent with `Content-Length`; one that is shorter or longer fails the request.
    pub fn sized(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static, length: u64) -> Self {
        Self { kind: Kind::Stream { stream: Box::pin(stream), left: Some(length) }, sent: Arc::default() }
    }

    /// The same again, where it can be sent twice.
    pub(super) fn again(&self) -> Option<Self> {
        match &self.kind {
            Kind::Bytes(bytes) => Some(Self::bytes(bytes.clone())),
            Kind::Stream { .. } => None,
        }
    }

    pub(super) fn sent(&self) -> Arc<AtomicU64> {
        self.sent.clone()
    }
}

impl HyperBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = match &mut self.kind {
            Kind::Bytes(bytes) if bytes.is_empty() => None,
            Kind::Bytes(bytes) => Some(Ok(bytes.split_to(PIECE.min(bytes.len())))),
            Kind::Stream { stream, left } => check_length(ready!(stream.poll_next_unpin(cx)), left),
        };
        if let Some(Ok(piece)) = &piece {
            self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Bytes(bytes) => bytes.is_empty(),
            Kind::Stream { left, .. } => *left == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream { left: Some(left), .. } => SizeHint::with_exact(*left),
            Kind::Stream { left: None, .. } => SizeHint::default(),
        }
    }
}

fn check_length(piece: Option<io::Result<Bytes>>, left: &mut Option<u64>) -> Option<io::Result<Bytes>> {
    let wrong = |why: &str| Some(Err(io::Error::new(io::ErrorKind::InvalidData, why.to_owned())));
    match (&piece, left.as_mut()) {
        (Some(Ok(bytes)), Some(left)) => match left.checked_sub(bytes.len() as u64) {
            Some(rest) => *left = rest,
            None => return wrong("it is longer than it was said to be"),
        },
        (None, Some(1..)) => return wrong("it is shorter than it was said to be"),
        _ => {}
    }
    piece
}

/// What came: a stream of bytes. Dropping it before its end closes the connection.
pub struct ResponseBody {
    peer: String,
    incoming: Incoming,
    /// Longest silence; `None` waits.
    idle: Option<Duration>,
    /// When the whole must be over, and how long that was from the request.
    total: Option<(Instant, Duration)>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Where the connection goes once the body has ended.
    returning: Option<Returning>,
}

impl ResponseBody {
    pub(super) fn new(
        peer: String,
        incoming: Incoming,
        idle: Option<Duration>,
        total: Option<(Instant, Duration)>,
    ) -> Self {
        Self { peer, incoming, idle, total, timer: None, returning: None }
    }

    /// Once it has ended, the connection is given back.
    pub(super) fn and_then(mut self, returning: Returning) -> Self {
        if self.incoming.is_end_stream() {
            returning.give_back();
        } else {
            self.returning = Some(returning);
        }
        self
    }

    /// Bytes still to come, where the peer said.
    pub fn remaining(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }

    /// The whole of it, if it is at most `max` bytes.
    ///
    /// # Errors
    /// `TooLarge`, `Timeout`, or `Cut`.
    pub async fn collect(mut self, max: u64) -> Result<Bytes, HttpError> {
        let too_large = |peer: &str| HttpError::TooLarge { peer: peer.to_owned(), max };
        if self.remaining().is_some_and(|said| said > max) {
            return Err(too_large(&self.peer));
        }
        let mut all = BytesMut::new();
        while let Some(piece) = self.next().await {
            let piece = piece?;
            if (all.len() + piece.len()) as u64 > max {
                return Err(too_large(&self.peer));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }

    /// When the present wait must end, and how long it is.
    fn limit(&self) -> Option<(Instant, Duration)> {
        let idle = self.idle.map(|span| (Instant::now() + span, span));
        match (idle, self.total) {
            (Some(idle), Some(total)) => Some(if idle.0 < total.0 { idle } else { total }),
            (one, other) => one.or(other),
        }
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        if self.timer.is_none() {
            self.timer = self.limit().map(|(until, _)| Box::pin(sleep_until(until)));
        }
        self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
    }
}

impl Stream for ResponseBody {
    type Item = Result<Bytes, HttpError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Pending if self.is_late(cx) => {
                    let after = self.limit().map_or(Duration::ZERO, |(_, span)| span);
                    let peer = self.peer.clone();
                    return Poll::Ready(Some(Err(HttpError::Timeout {
                        peer,
                        waiting_for: "more of its answer",
                        after,
                    })));
                }
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    if let Some(returning) = self.returning.take() {
                        returning.give_back();
                    }
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(error))) => {
                    self.returning = None;
                    return Poll::Ready(Some(Err(HttpError::from_hyper(&self.peer, error))));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    self.timer = None;
                    // Trailers say nothing that anyone here reads.
                    if let Ok(bytes) = frame.into_data() {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                }
            }
        }
    }
}
