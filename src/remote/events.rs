//! The event stream. Called by `system`. A stream that is cut is taken up again at once, since the last event, without repeating one; where
//! the daemon does not come back within moments the stream ends with the reason, and whoever follows lists anew: a daemon that was restarted
//! has forgotten its events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::time::sleep;

use super::ask::Ask;
use super::link::Link;
use super::logs::{is_away, unix};
use crate::api::from_wire;
use crate::api::from_wire::progress::Objects;
use crate::api::routes::{Call, Query};
use crate::engine::{BoxStream, Class, EngineError, Event, EventsQuery, Result};

/// Waits before each try to take it up again.
const RETRIES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(400)];

pub(super) async fn open(link: &Arc<Link>, query: &EventsQuery) -> Result<BoxStream<Event>> {
    let mut follow = Follow {
        link: Arc::clone(link),
        query: query.clone(),
        body: Box::pin(stream::empty()),
        objects: Objects::default(),
        ready: VecDeque::new(),
        last: Vec::new(),
        known: Vec::new(),
        is_over: false,
    };
    follow.body = follow.ask().await?;
    // Daemons send the head a moment before they subscribe: after another answer they have.
    link.ping().await?;
    Ok(Box::pin(stream::unfold(follow, |mut follow| async move { follow.next().await.map(|event| (event, follow)) })))
}

struct Follow {
    link: Arc<Link>,
    query: EventsQuery,
    body: BoxStream<Bytes>,
    objects: Objects,
    ready: VecDeque<Event>,
    /// The events of the last moment that had any.
    last: Vec<Event>,
    /// After a cut: those that come a second time.
    known: Vec<Event>,
    is_over: bool,
}

impl Follow {
    async fn ask(&mut self) -> Result<BoxStream<Bytes>> {
        let since = self.last.first().map(|event| event.time).or(self.query.since);
        let query = Query::default()
            .with_some("since", since.map(unix))
            .with_some("until", self.query.until.map(unix))
            .filters(&self.query.filters);
        Ok(self.link.open(Ask::new(Call::Events).query(query)).await?.body)
    }

    async fn next(&mut self) -> Option<Result<Event>> {
        while !self.is_over {
            if let Some(event) = self.ready.pop_front() {
                if let Some(at) = self.known.iter().position(|known| *known == event) {
                    self.known.swap_remove(at);
                    continue;
                }
                self.note(&event);
                return Some(Ok(event));
            }
            let cut = match self.body.next().await {
                Some(Ok(bytes)) => match self.objects.feed(&bytes) {
                    Ok(found) => {
                        self.ready.extend(found.iter().filter_map(from_wire::event::event));
                        continue;
                    }
                    Err(bad) => {
                        EngineError::new(Class::Internal, self.link.name(), format!("{}: {bad}", self.link.name()))
                    }
                },
                None if self.query.until.is_some() => return None,
                None => EngineError::new(
                    Class::Unavailable,
                    self.link.name(),
                    format!("{} closed the event stream", self.link.name()),
                ),
                Some(Err(error)) => error,
            };
            if let Err(error) = self.again(cut).await {
                self.is_over = true;
                return Some(Err(error));
            }
        }
        None
    }

    fn note(&mut self, event: &Event) {
        if self.last.first().is_some_and(|last| last.time != event.time) {
            self.last.clear();
        }
        self.last.push(event.clone());
    }

    async fn again(&mut self, cut: EngineError) -> Result<()> {
        // Without a moment to go on from, what happened meanwhile is not known: that is for the follower to mend.
        if !is_away(&cut) || self.last.is_empty() {
            return Err(cut);
        }
        for wait in RETRIES {
            sleep(wait).await;
            if let Ok(body) = self.ask().await {
                self.body = body;
                self.objects = Objects::default();
                self.known = self.last.clone();
                return Ok(());
            }
        }
        Err(cut)
    }
}
