//! Registries for the rest of this room: the client, made when it is first needed, and the stream of a blob as something that a
//! blocking thread reads. Called by `pull`, `push`, `images` and `system`.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::engine::EngineError;
use crate::oci::image::Descriptor;
use crate::registry::{Client, Options, Repository};
use crate::store::Origin;

use super::Core;

/// Pieces of a transfer that wait for the disk, some 16 KiB each: the transfer waits when they are so many. Nothing is dropped.
const QUEUE: usize = 32;

/// The client, made when the first registry is spoken to.
#[derive(Default)]
pub(crate) struct Lazy(OnceLock<Client>);

impl std::fmt::Debug for Lazy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lazy")
    }
}

impl Core {
    /// The client with this machine's settings.
    pub(crate) fn registries(&self) -> &Client {
        self.registries.0.get_or_init(|| {
            let (mut options, problems) = Options::of_host(self.settings.config_dir.as_deref());
            problems.iter().for_each(|problem| tracing::warn!(%problem, "a registry setting is of no use"));
            if let Some(registries) = &self.settings.registries {
                options.registries = registries.clone();
            }
            Client::new(options)
        })
    }
}

/// A repository as the store reads blobs from it. Ends all its transfers when it is told to or dropped.
pub(crate) struct Wire {
    repository: Repository,
    handle: Handle,
    transfers: Mutex<Vec<AbortHandle>>,
    is_over: AtomicBool,
    /// The first failure of a transfer, in the registry's words.
    failed: Mutex<Option<EngineError>>,
}

impl Wire {
    /// Called where a tokio runtime is.
    pub(crate) fn new(repository: Repository) -> Self {
        Self {
            repository,
            handle: Handle::current(),
            transfers: Mutex::default(),
            is_over: AtomicBool::new(false),
            failed: Mutex::default(),
        }
    }

    /// Ends all transfers; what reads from one is told so.
    pub(crate) fn cancel(&self) {
        let mut transfers = self.transfers.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_over.store(true, Ordering::Relaxed);
        transfers.drain(..).for_each(|transfer| transfer.abort());
    }

    /// Why the first transfer failed, if one did.
    pub(crate) fn take_failure(&self) -> Option<EngineError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, failure: EngineError) -> io::Error {
        let error = io::Error::other(failure.to_string());
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
        error
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl Origin for Wire {
    fn open(&self, blob: &Descriptor, offset: u64) -> io::Result<Box<dyn Read + '_>> {
        let (to, from) = mpsc::channel(QUEUE);
        let mut stream = self.repository.blob(blob, offset);
        let mut transfers = self.transfers.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_cancelled() {
            return Err(io::Error::other("nobody wants it any more"));
        }
        transfers.retain(|transfer| !transfer.is_finished());
        let task = self.handle.spawn(async move {
            while let Some(piece) = stream.next().await {
                let is_last = piece.is_err();
                if to.send(piece.map_err(EngineError::from)).await.is_err() || is_last {
                    return;
                }
            }
        });
        transfers.push(task.abort_handle());
        Ok(Box::new(Transfer { wire: self, from, piece: Bytes::new(), task: task.abort_handle() }))
    }

    fn is_cancelled(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

/// One blob being read; the transfer ends with it.
struct Transfer<'a> {
    wire: &'a Wire,
    from: mpsc::Receiver<Result<Bytes, EngineError>>,
    piece: Bytes,
    task: AbortHandle,
}

impl Read for Transfer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.from.blocking_recv() {
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(failure)) => return Err(self.wire.note(failure)),
                None => return Ok(0),
            }
        }
        let n_read = buffer.len().min(self.piece.len());
        buffer[..n_read].copy_from_slice(&self.piece.split_to(n_read));
        Ok(n_read)
    }
}

impl Drop for Transfer<'_> {
    fn drop(&mut self) {
        self.task.abort();
    }
}
