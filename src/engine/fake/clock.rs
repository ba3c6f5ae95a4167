//! The fake's time: the wall clock, or a virtual one that moves only when a test moves it. Called by the fake alone.
//! It never sleeps on a caller's thread: waiting is a future, woken by [`Clock::advance`] or by one small thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Wall,
    Virtual,
}

pub(super) struct Clock {
    mode: Mode,
    timers: Mutex<Timers>,
    changed: Condvar,
}

struct Timers {
    virtual_now: SystemTime,
    waiting: Vec<(SystemTime, Waker)>,
    has_thread: bool,
}

impl Clock {
    pub(super) fn new(mode: Mode, virtual_now: SystemTime) -> Arc<Self> {
        let timers = Timers { virtual_now, waiting: Vec::new(), has_thread: false };
        Arc::new(Self { mode, timers: Mutex::new(timers), changed: Condvar::new() })
    }

    pub(super) fn now(&self) -> SystemTime {
        match self.mode {
            Mode::Wall => SystemTime::now(),
            Mode::Virtual => self.lock().virtual_now,
        }
    }

    /// Wakes `waker` once the time has come; at once when it is past.
    pub(super) fn wake_at(self: &Arc<Self>, at: SystemTime, waker: Waker) {
        if at <= self.now() {
            waker.wake();
            return;
        }
        let mut timers = self.lock();
        timers.waiting.retain(|(due, old)| *due > at || !old.will_wake(&waker));
        timers.waiting.push((at, waker));
        if self.mode == Mode::Virtual {
            return;
        }
        if timers.has_thread {
            self.changed.notify_one();
            return;
        }
        let clock = Arc::clone(self);
        let spawned = std::thread::Builder::new().name("fake-clock".to_owned()).spawn(move || clock.run());
        timers.has_thread = spawned.is_ok();
    }

    /// Moves the virtual clock, stopping at each timer on the way so that everything sees its own moment.
    pub(super) fn advance(&self, by: Duration) {
        let target = self.lock().virtual_now + by;
        loop {
            let mut timers = self.lock();
            let next = timers.waiting.iter().map(|(at, _)| *at).min();
            let Some(at) = next.filter(|at| *at <= target) else {
                timers.virtual_now = target;
                return;
            };
            timers.virtual_now = timers.virtual_now.max(at);
            let due = take_due(&mut timers.waiting, at);
            drop(timers);
            due.into_iter().for_each(Waker::wake);
        }
    }

    pub(super) fn sleep_until(self: &Arc<Self>, at: SystemTime) -> Sleep {
        Sleep { clock: Arc::clone(self), at }
    }

    /// The wall-clock thread: ends when nobody waits.
    fn run(&self) {
        let mut timers = self.lock();
        loop {
            let now = SystemTime::now();
            let due = take_due(&mut timers.waiting, now);
            if !due.is_empty() {
                drop(timers);
                due.into_iter().for_each(Waker::wake);
                timers = self.lock();
                continue;
            }
            let Some(next) = timers.waiting.iter().map(|(at, _)| *at).min() else {
                timers.has_thread = false;
                return;
            };
            let wait = next.duration_since(now).unwrap_or_default();
            timers = self.changed.wait_timeout(timers, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Timers> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take_due(waiting: &mut Vec<(SystemTime, Waker)>, now: SystemTime) -> Vec<Waker> {
    waiting.extract_if(.., |(at, _)| *at <= now).map(|(_, waker)| waker).collect()
}

/// Resolves when the clock reaches its moment.
pub(super) struct Sleep {
    clock: Arc<Clock>,
    at: SystemTime,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.clock.now() >= self.at {
            return Poll::Ready(());
        }
        self.clock.wake_at(self.at, cx.waker().clone());
        Poll::Pending
    }
}
