//! A one-reader queue that is a stream: what the fake sends events and output through. Unbounded, as its world is small; a
//! dropped reader is noticed at the next push, a dropped writer ends the stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use crate::engine::error::Result;

struct Slots<T> {
    items: VecDeque<Result<T>>,
    ended: bool,
    reader: Option<Waker>,
}

pub(super) struct Sender<T>(Weak<Mutex<Slots<T>>>);
pub(super) struct Receiver<T>(Arc<Mutex<Slots<T>>>);

pub(super) fn queue<T>() -> (Sender<T>, Receiver<T>) {
    let slots = Arc::new(Mutex::new(Slots { items: VecDeque::new(), ended: false, reader: None }));
    (Sender(Arc::downgrade(&slots)), Receiver(slots))
}

impl<T> Sender<T> {
    /// False when nobody reads any more.
    pub(super) fn push(&self, item: Result<T>) -> bool {
        self.change(|slots| slots.items.push_back(item))
    }

    fn change(&self, change: impl FnOnce(&mut Slots<T>)) -> bool {
        let Some(slots) = self.0.upgrade() else { return false };
        let reader = {
            let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut slots);
            slots.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
        true
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.change(|slots| slots.ended = true);
    }
}

impl<T> Stream for Receiver<T> {
    type Item = Result<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(item) = slots.items.pop_front() {
            return Poll::Ready(Some(item));
        }
        if slots.ended {
            return Poll::Ready(None);
        }
        slots.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}
