//! A whole engine in memory: scripted, deterministic, with a virtual clock. Called by tests, by the contract suite and by
//! `orlop --demo`; it touches no file, no process and no network.
//!
//! Every verb really changes the state and tells the events a real engine would. Time passes by the wall clock
//! ([`Fake::demo`]) or only when a test says so ([`Fake::scripted`], [`Fake::advance`]).
//!
//! ```text
//! created --start--> running --script ends, kill, stop--> exited --start--> running
//!                    running <-unpause- paused            exited --policy--> restarting --back-off--> running
//! ```

mod clock;
mod containers;
mod demo;
mod execs;
mod files;
mod images;
mod program;
mod queue;
mod registry;
mod select;
mod shell;
mod system;
mod tape;
mod volumes;
mod world;

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Wake, Waker};
use std::time::{Duration, SystemTime};

use futures_util::future::{Either, select};

use self::clock::{Clock, Mode};
use self::world::World;
use super::container::Exit;
use super::error::{Class, EngineError, Result};
use super::spec::ContainerSpec;

pub use self::tape::{Style, Tape};

/// The fake engine. Clones share one world.
#[derive(Clone)]
pub struct Fake(Arc<Shared>);

struct Shared {
    clock: Arc<Clock>,
    world: Mutex<World>,
}

/// Where the virtual clock starts: 2026-11-21T12:00:00Z.
pub const EPOCH_S: u64 = 1_795_262_400;

impl Fake {
    /// Nothing in it, virtual clock.
    pub fn empty() -> Self {
        Self::with_clock(Mode::Virtual)
    }

    /// Nothing in it, wall clock.
    pub fn empty_on_wall_clock() -> Self {
        Self::with_clock(Mode::Wall)
    }

    /// The demo's scene on a virtual clock: for tests and pictures.
    pub fn scripted() -> Self {
        let fake = Self::empty();
        demo::fill(&fake);
        fake
    }

    /// The demo's scene on the wall clock: it lives.
    pub fn demo() -> Self {
        let fake = Self::empty_on_wall_clock();
        demo::fill(&fake);
        fake
    }

    /// The demo's scene and `n` quiet containers more, for measuring long lists. Virtual clock.
    pub fn crowded(n: usize) -> Self {
        let fake = Self::scripted();
        demo::crowd(&fake, n);
        fake
    }

    /// As [`Fake::crowded`] on the wall clock.
    pub fn crowded_demo(n: usize) -> Self {
        let fake = Self::demo();
        demo::crowd(&fake, n);
        fake
    }

    fn with_clock(mode: Mode) -> Self {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH_S);
        Self(Arc::new(Shared { clock: Clock::new(mode, start), world: Mutex::new(World::default()) }))
    }

    /// The time inside.
    pub fn now(&self) -> SystemTime {
        self.0.clock.now()
    }

    /// Moves the virtual clock; everything due on the way happens at its own moment. No effect on a wall clock.
    pub fn advance(&self, by: Duration) {
        self.0.clock.advance(by);
        drop(self.lock());
    }

    /// The next call of `verb` (`containers.stop`, `images.list`, … or `*`) fails with this error. Several queue up.
    pub fn fail_next(&self, verb: &str, error: EngineError) {
        self.lock().failures.push_back((verb.to_owned(), error));
    }

    /// From now on every call fails, as with a host that went away.
    pub fn go_away(&self, why: &str) {
        let error = EngineError::new(Class::Unavailable, "", why).with_hint("is the host up, and the daemon running?");
        let mut world = self.lock();
        world.gone = Some(error.clone());
        for (_, to) in world.subscribers.drain(..) {
            to.push(Err(error.clone()));
        }
        self.tell(world);
    }

    pub fn come_back(&self) {
        let mut world = self.lock();
        world.gone = None;
        self.tell(world);
    }

    /// Every call takes this long (of the clock in use).
    pub fn set_latency(&self, latency: Duration) {
        self.lock().latency = latency;
    }

    /// The calls made so far, as `containers.stop web-1`; taking them empties the list.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().calls)
    }

    /// Adds an image with nothing in it, so that containers can be made from it.
    pub fn add_image(&self, reference: &str, size_bytes: u64) -> String {
        let now = self.now();
        let mut world = self.lock();
        let id = images::add(&mut world, reference, size_bytes, now);
        self.tell(world);
        id
    }

    /// Creates and starts at once, without the futures. Returns the id.
    ///
    /// # Errors
    /// As [`Containers::create`] and [`Containers::start`].
    pub fn add_running(&self, name: &str, spec: &ContainerSpec) -> Result<String> {
        let now = self.now();
        let mut world = self.lock();
        let id = containers::create(&mut world, Some(name), spec, now)?;
        let idx = world.find(&id)?;
        world.start(idx, now)?;
        self.tell(world);
        Ok(id)
    }

    /// Replaces what a container's process does by a log generator; takes effect at once.
    ///
    /// # Errors
    /// `NotFound` for an unknown container.
    pub fn play(&self, ctr: &str, mut tape: Tape) -> Result<()> {
        let now = self.now();
        let mut world = self.lock();
        let idx = world.find(ctr)?;
        if world.containers[idx].state.status.is_alive() {
            tape.start(now);
        }
        world.containers[idx].program = program::Program::Serves(tape);
        self.tell(world);
        Ok(())
    }

    /// The container's first process ends by itself.
    ///
    /// # Errors
    /// `NotFound` for an unknown container.
    pub fn end(&self, ctr: &str, exit: Exit) -> Result<()> {
        let now = self.now();
        let mut world = self.lock();
        let idx = world.find(ctr)?;
        world.end(idx, now, exit);
        self.tell(world);
        Ok(())
    }

    /// A health probe runs: three failures in a row make it unhealthy.
    ///
    /// # Errors
    /// `NotFound` for an unknown container.
    pub fn probe(&self, ctr: &str, exit_code: i32, output: &str) -> Result<()> {
        let now = self.now();
        let mut world = self.lock();
        let idx = world.find(ctr)?;
        let before = world.containers[idx].state.health.status;
        world.containers[idx].probe(now, exit_code, output);
        let after = world.containers[idx].state.health.status;
        if before != after {
            world.emit_ctr(now, idx, &format!("health_status: {}", select::health_word(after)), &[]);
        }
        self.tell(world);
        Ok(())
    }

    /// Lets the call in, after the latency, if nothing was scripted against it.
    async fn enter(&self, call: &str) -> Result<MutexGuard<'_, World>> {
        let latency = self.lock().latency;
        if !latency.is_zero() {
            self.0.clock.sleep_until(self.now() + latency).await;
        }
        let mut world = self.lock();
        world.admit(call)?;
        Ok(world)
    }

    /// The world, with everything done that is due.
    fn lock(&self) -> MutexGuard<'_, World> {
        let mut world = self.0.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.settle(self.now());
        world
    }

    /// Ends a change: wakes whoever waits and sets the alarm for what comes next.
    fn tell(&self, mut world: MutexGuard<'_, World>) {
        let next = world.settle(self.now());
        let watchers = world.changed();
        drop(world);
        if let Some(at) = next {
            self.0.clock.wake_at(at, Waker::from(Arc::clone(&self.0)));
        }
        watchers.into_iter().for_each(Waker::wake);
    }

    /// Resolves with the first `Some` of `look`, which runs again after each change.
    async fn until<T>(&self, mut look: impl FnMut(&mut World) -> Option<T>) -> T {
        poll_fn(|cx| {
            let mut world = self.lock();
            match look(&mut world) {
                Some(found) => Poll::Ready(found),
                None => {
                    world.watch(cx.waker());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// As `until`, but gives up at `deadline`.
    async fn until_or<T>(&self, deadline: SystemTime, look: impl FnMut(&mut World) -> Option<T>) -> Option<T> {
        let look = std::pin::pin!(self.until(look));
        match select(look, self.0.clock.sleep_until(deadline)).await {
            Either::Left((found, _)) => Some(found),
            Either::Right(_) => None,
        }
    }
}

impl Wake for Shared {
    /// The alarm: something is due.
    fn wake(self: Arc<Self>) {
        let fake = Fake(self);
        let world = fake.lock();
        fake.tell(world);
    }
}

#[cfg(test)]
mod tests;
