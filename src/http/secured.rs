//! A TLS stream whose peer is heard out. Made by `dial`. A peer that does not take our certificate says so after the handshake and closes (TLS 1.3,
//! RFC 8446 §4.4.2.4): by then the request is on its way, and what fails first is the writing. The alert that tells why has come before that.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::Duplex;

/// Enough for the record of an alert.
const ALERT: usize = 256;

pub(super) struct Secured(pub(super) TlsStream<Box<dyn Duplex>>);

impl Secured {
    /// What the peer said last, where it said something; the failure itself otherwise.
    fn why(&mut self, cx: &mut Context<'_>, failed: io::Error) -> io::Error {
        let mut last = [0; ALERT];
        match Pin::new(&mut self.0).poll_read(cx, &mut ReadBuf::new(&mut last)) {
            Poll::Ready(Err(said)) if said.kind() == io::ErrorKind::InvalidData => said,
            _ => failed,
        }
    }
}

impl AsyncRead for Secured {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.0).poll_write(cx, bytes));
        Poll::Ready(written.map_err(|failed| self.why(cx, failed)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.0).poll_flush(cx));
        Poll::Ready(flushed.map_err(|failed| self.why(cx, failed)))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
