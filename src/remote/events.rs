//! The event stream. Called by `system`. A stream that is cut is taken up again at once, since the last event, without repeating one; where
//! the daemon does not come back within moments the stream ends with the reason, and whoever follows lists anew: a daemon that was restarted
//! has forgotten its events.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::time::sleep;

use super::ask::Ask;
use super::dial::CUT;
use super::link::Link;
use super::logs::{RESUME_MARGIN_NS, is_away, unix};
use crate::api::from_wire;
use crate::api::from_wire::progress::Objects;
use crate::api::routes::{Call, Query};
use crate::engine::{BoxStream, Class, EngineError, Event, EventsQuery, Result};

/// How many of the events that were told are remembered. Dockerd keeps 256 for those who ask later.
const N_TOLD: usize = 512;
/// Waits before each try to take it up again.
const RETRIES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(400)];

pub(super) async fn open(link: &Arc<Link>, query: &EventsQuery) -> Result<BoxStream<Event>> {
    let mut follow = Follow {
        link: Arc::clone(link),
        query: query.clone(),
        body: Box::pin(stream::empty()),
        objects: Objects::default(),
        ready: VecDeque::new(),
        told: VecDeque::new(),
        known: Vec::new(),
        n_cuts: 0,
        is_over: false,
    };
    let is_met = link.is_met();
    follow.body = match follow.ask().await {
        Ok(body) => body,
        // What is wrong with whoever is there is said best by the question for that.
        Err(error) if !is_met && !is_away(&error) => return link.peer().await.and(Err(error)),
        Err(error) => return Err(error),
    };
    // Daemons send the head a moment before they subscribe: after another answer they have.
    if is_met {
        link.ping_once().await?;
    } else {
        link.peer().await?;
    }
    Ok(Box::pin(stream::unfold(follow, |mut follow| async move { follow.next().await.map(|event| (event, follow)) })))
}

/// What an event is known again by, without keeping it: events may be large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    time: SystemTime,
    hash: u64,
}

impl Mark {
    fn of(event: &Event) -> Self {
        let mut hasher = DefaultHasher::new();
        (event.kind.as_str(), &event.action, &event.id, &event.attributes).hash(&mut hasher);
        Self { time: event.time, hash: hasher.finish() }
    }
}

struct Follow {
    link: Arc<Link>,
    query: EventsQuery,
    body: BoxStream<Bytes>,
    objects: Objects,
    ready: VecDeque<Event>,
    /// The newest that were told, oldest first: after a cut these may come again. Daemons keep some hundred.
    told: VecDeque<Mark>,
    /// After a cut: those that come a second time.
    known: Vec<Mark>,
    /// Cuts since the last event that was new.
    n_cuts: usize,
    is_over: bool,
}

impl Follow {
    async fn ask(&mut self) -> Result<BoxStream<Bytes>> {
        let margin = Duration::from_nanos(RESUME_MARGIN_NS.unsigned_abs());
        let since = self.told.back().and_then(|mark| mark.time.checked_sub(margin)).or(self.query.since);
        let query = Query::default()
            .with_some("since", since.map(unix))
            .with_some("until", self.query.until.map(unix))
            .filters(&self.query.filters);
        Ok(self.link.open(Ask::new(Call::Events).query(query)).await?.body)
    }

    async fn next(&mut self) -> Option<Result<Event>> {
        while !self.is_over {
            if let Some(event) = self.ready.pop_front() {
                let mark = Mark::of(&event);
                if let Some(at) = self.known.iter().position(|known| *known == mark) {
                    self.known.swap_remove(at);
                    continue;
                }
                self.note(mark);
                return Some(Ok(event));
            }
            let cut = match self.objects.failure() {
                Some(bad) => self.link.garbled(&bad),
                None => match self.take().await {
                    Ok(is_over) if is_over => return None,
                    Ok(_) => continue,
                    Err(error) => error,
                },
            };
            if let Err(error) = self.again(cut).await {
                self.is_over = true;
                return Some(Err(error));
            }
        }
        None
    }

    /// Reads some more; whether that was the end that was asked for.
    async fn take(&mut self) -> Result<bool> {
        match self.body.next().await {
            Some(bytes) => {
                let found = self.objects.feed(&bytes?).map_err(|bad| self.link.garbled(&bad))?;
                self.ready.extend(found.iter().filter_map(from_wire::event::event));
                Ok(false)
            }
            None if self.query.until.is_some() => Ok(true),
            None => {
                let closed = format!("{} closed the event stream", self.link.name());
                Err(EngineError::new(Class::Unavailable, self.link.name(), closed).with_hint(CUT))
            }
        }
    }

    fn note(&mut self, mark: Mark) {
        self.n_cuts = 0;
        // All of them, not only those of the last moment: a clock that was set back makes more of them come again.
        self.told.push_back(mark);
        if self.told.len() > N_TOLD {
            self.told.pop_front();
        }
    }

    async fn again(&mut self, cut: EngineError) -> Result<()> {
        // Without a moment to go on from, what happened meanwhile is not known: that is for the follower to mend.
        if !is_away(&cut) || self.told.is_empty() {
            return Err(cut);
        }
        // A daemon that cuts before it says anything new is not asked for ever.
        while let Some(wait) = RETRIES.get(self.n_cuts) {
            self.n_cuts += 1;
            sleep(*wait).await;
            if let Ok(body) = self.ask().await {
                self.body = body;
                self.objects = Objects::default();
                self.known = self.told.iter().copied().collect();
                return Ok(());
            }
        }
        Err(cut)
    }
}
