//! Archives between a blocking reader or writer and a connection. Disk runs on a blocking thread; a bounded channel joins the two.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;

use super::dial::plain;
use crate::engine::{BoxStream, Class, EngineError, Reader, Result, Writer};

/// Bytes moved at once, and how many of these may wait: the faster side waits for the slower.
const PIECE: usize = 256 << 10;
const N_WAITING: usize = 4;

/// A body under way from a reader.
pub(super) struct Upload {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
}

/// Why a reader stopped, when it was not its end: the daemon's complaint about half an archive says less.
#[derive(Clone, Default)]
pub(super) struct Failure(Arc<Mutex<Option<String>>>);

impl Failure {
    fn set(&self, why: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// The reader's reason before the daemon's.
    pub(super) fn or<T>(&self, answer: Result<T>) -> Result<T> {
        match (answer, self.0.lock().unwrap_or_else(PoisonError::into_inner).take()) {
            (Err(_), Some(why)) => Err(EngineError::new(Class::Invalid, "", why)),
            (answer, _) => answer,
        }
    }
}

impl Upload {
    /// Starts to read on a blocking thread. Dropping it stops the reading: a reader that waits for room sees that nobody listens.
    pub(super) fn start(mut reader: Reader) -> (Self, Failure) {
        let (to, pieces) = mpsc::channel(N_WAITING);
        let failure = Failure::default();
        let told = failure.clone();
        tokio::task::spawn_blocking(move || {
            loop {
                let mut piece = Vec::with_capacity(PIECE);
                let read = reader.by_ref().take(PIECE as u64).read_to_end(&mut piece);
                let piece = match read {
                    Ok(0) => return,
                    Ok(_) => Ok(Bytes::from(piece)),
                    Err(error) => {
                        told.set(format!("cannot read the archive: {}", plain(&error)));
                        Err(error)
                    }
                };
                let is_over = piece.is_err();
                if to.blocking_send(piece).is_err() || is_over {
                    return;
                }
            }
        });
        (Self { pieces }, failure)
    }
}

impl Stream for Upload {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pieces.poll_recv(cx)
    }
}

/// Writes a body out on a blocking thread.
///
/// # Errors
/// The stream's, or the writer's.
pub(super) async fn download(mut body: BoxStream<Bytes>, mut to: Writer) -> Result<()> {
    let (sender, mut pieces) = mpsc::channel::<Bytes>(N_WAITING * 4);
    let writing = tokio::task::spawn_blocking(move || -> io::Result<()> {
        while let Some(piece) = pieces.blocking_recv() {
            to.write_all(&piece)?;
        }
        to.flush()
    });
    let mut failure = None;
    while let Some(piece) = body.next().await {
        match piece {
            // A full disk closes the channel: its error comes from the thread.
            Ok(piece) => {
                if sender.send(piece).await.is_err() {
                    break;
                }
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    drop(sender);
    let written =
        writing.await.map_err(|_| EngineError::new(Class::Internal, "", "the writer of the archive is gone"))?;
    match (failure, written) {
        (_, Err(error)) => {
            let class = if error.kind() == io::ErrorKind::StorageFull { Class::Full } else { Class::Internal };
            Err(EngineError::new(class, "", format!("cannot write the archive: {}", plain(&error))))
        }
        (Some(error), Ok(())) => Err(error),
        (None, Ok(())) => Ok(()),
    }
}
