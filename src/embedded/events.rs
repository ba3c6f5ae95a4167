//! The journal of events as an async stream, and the writing of the engine's own. Called by `system`, `wait` and everything that changes
//! something. Any process's events come, because the journal is what all of them append to.

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::SystemTime;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::engine::{BoxStream, Class, EngineError, Event, EventKind, EventsQuery, Filters, Result};
use crate::stdx::journal::{Journal, MAX_LINE_BYTES, Reader};

use super::record::ContainerRecord;

/// What events can be filtered by.
const FILTERS: [&str; 12] = [
    "container",
    "image",
    "volume",
    "network",
    "type",
    "event",
    "label",
    "daemon",
    "scope",
    "plugin",
    "service",
    "node",
];

/// Appends an event. Failing to do so must not undo what happened, so the log is all that hears of it.
pub(crate) fn emit(journal: &Journal, kind: EventKind, action: &str, id: &str, attributes: BTreeMap<String, String>) {
    let event = Event { time: SystemTime::now(), kind, action: action.to_owned(), id: id.to_owned(), attributes };
    if let Err(error) = to_line(event).and_then(|line| journal.append(&line)) {
        tracing::warn!(%error, action, id, "cannot write an event");
    }
}

/// An event about a container, with what events say of containers.
pub(crate) fn emit_container(journal: &Journal, record: &ContainerRecord, action: &str, more: &[(&str, String)]) {
    let mut attributes = record.event_attributes();
    attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    emit(journal, EventKind::Container, action, &record.id, attributes);
}

/// One line. Attributes that would make it too long go, longest first, but the name stays.
fn to_line(mut event: Event) -> std::io::Result<String> {
    loop {
        let line = serde_json::to_string(&event)?;
        if line.len() < MAX_LINE_BYTES {
            return Ok(line);
        }
        let droppable = event.attributes.iter().filter(|(key, _)| *key != "name");
        let longest = droppable.max_by_key(|(key, value)| key.len() + value.len()).map(|(key, _)| key.clone());
        match longest {
            Some(key) => event.attributes.remove(&key),
            None => return Ok(line),
        };
    }
}

/// A place in the journal that can be awaited.
pub(crate) struct Follower {
    reader: Reader,
    /// A second descriptor of the reader's wake-ups, so that the registration owns what it watches.
    wakeups: AsyncFd<OwnedFd>,
}

impl Follower {
    /// Takes the place at once: what is appended after this call comes.
    pub(crate) fn from_now(journal: &Journal) -> Result<Self> {
        Self::new(journal.from_now())
    }

    /// From the oldest kept event on.
    pub(crate) fn from_start(journal: &Journal) -> Result<Self> {
        Self::new(journal.from_start())
    }

    fn new(reader: std::io::Result<Reader>) -> Result<Self> {
        let failed = |error: std::io::Error| {
            EngineError::new(Class::Internal, "", "cannot follow the journal of events").caused_by(&error)
        };
        let reader = reader.map_err(failed)?;
        let wakeups = readable_copy(reader.as_fd()).map_err(failed)?;
        Ok(Self { reader, wakeups })
    }

    /// The next event, `None` when there is none yet. Lines that are no events (a newer writer's, a torn one) are skipped.
    pub(crate) fn try_next(&mut self) -> Result<Option<Event>> {
        let failed = |error: std::io::Error| {
            EngineError::new(Class::Internal, "", "cannot read the journal of events").caused_by(&error)
        };
        while let Some(line) = self.reader.next_line().map_err(failed)? {
            if let Ok(event) = serde_json::from_str(&line) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// The next event, awaited. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            self.readable().await?;
        }
    }

    /// Until it is worth looking again. What came between the last look and the clearing here is found by the next look. Cancel safe.
    pub(crate) async fn readable(&mut self) -> Result<()> {
        let mut guard = self.wakeups.readable().await.map_err(|error| {
            EngineError::new(Class::Internal, "", "cannot follow the journal of events").caused_by(&error)
        })?;
        self.reader.clear_wakeups();
        guard.clear_ready();
        Ok(())
    }
}

/// A second descriptor of something that becomes readable, registered with the loop.
#[expect(
    deprecated,
    reason = "the call that replaces it is unsafe; an OwnedFd cannot change or lose its descriptor, which is all it asks for"
)]
pub(crate) fn readable_copy(fd: BorrowedFd<'_>) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd.try_clone_to_owned()?, Interest::READABLE)
}

/// The stream of `query`; its subscription stands on return.
pub(crate) fn stream(journal: &Journal, query: &EventsQuery) -> Result<BoxStream<Event>> {
    query.filters.check_keys(&FILTERS)?;
    let follower = match query.since {
        Some(_) => Follower::from_start(journal)?,
        None => Follower::from_now(journal)?,
    };
    let state = (follower, query.clone());
    Ok(Box::pin(futures_util::stream::unfold(Some(state), |state| async move {
        let (mut follower, query) = state?;
        match next_wanted(&mut follower, &query).await {
            Ok(Some(event)) => Some((Ok(event), Some((follower, query)))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })))
}

async fn next_wanted(follower: &mut Follower, query: &EventsQuery) -> Result<Option<Event>> {
    loop {
        let event = match query.until {
            None => follower.next().await?,
            Some(until) => match next_before(follower, until).await? {
                Some(event) => event,
                None => return Ok(None),
            },
        };
        let is_in_time = query.since.is_none_or(|since| event.time >= since);
        if is_in_time && matches(&event, &query.filters) {
            return Ok(Some(event));
        }
    }
}

/// The next event of not after `until`; `None` when that moment has come and no older one is left.
async fn next_before(follower: &mut Follower, until: SystemTime) -> Result<Option<Event>> {
    let event = match follower.try_next()? {
        Some(event) => event,
        None => {
            let left = until.duration_since(SystemTime::now()).unwrap_or_default();
            match tokio::time::timeout(left, follower.next()).await {
                Ok(event) => event?,
                Err(_) => return Ok(None),
            }
        }
    };
    Ok((event.time <= until).then_some(event))
}

/// Docker's rules: a container is named by name, id or id prefix; an image by reference with or without tag.
pub(crate) fn matches(event: &Event, filters: &Filters) -> bool {
    let any = |key: &str, test: &dyn Fn(&str) -> bool| {
        let values = filters.values(key);
        values.is_empty() || values.iter().any(|value| test(value))
    };
    let attribute = |key: &str| event.attributes.get(key).map_or("", String::as_str);
    let is_named = |kind: EventKind, value: &str| {
        let name = value.strip_prefix('/').unwrap_or(value);
        event.kind == kind
            && (event.id == value || attribute("name") == name || (!value.is_empty() && event.id.starts_with(value)))
    };
    let is_image = |value: &str| {
        let own = match event.kind {
            EventKind::Image => attribute("name"),
            EventKind::Container => attribute("image"),
            _ => return false,
        };
        let untagged = own.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(own, |(name, _)| name);
        own == value || untagged == value || (event.kind == EventKind::Image && event.id == value)
    };
    let is_action = |value: &str| event.action == value || event.action.split(':').next() == Some(value);
    any("type", &|value| event.kind.as_str() == value)
        && any("event", &is_action)
        && any("container", &|value| is_named(EventKind::Container, value))
        && any("volume", &|value| is_named(EventKind::Volume, value))
        && any("network", &|value| is_named(EventKind::Network, value))
        && any("image", &is_image)
        && filters.match_labels(&event.attributes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;
    use std::time::Duration;

    fn event(kind: EventKind, action: &str, id: &str, attributes: &[(&str, &str)]) -> Event {
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Event { time: SystemTime::now(), kind, action: action.to_owned(), id: id.to_owned(), attributes }
    }

    #[test]
    fn filters_follow_dockers_rules() {
        let die = event(EventKind::Container, "die", "abcdef", &[("name", "web"), ("image", "img:1"), ("k", "v")]);
        let probe = event(EventKind::Container, "health_status: healthy", "abcdef", &[]);
        let check = |event: &Event, filters: Filters, want: bool| {
            assert_eq!(matches(event, &filters), want, "{filters:?}");
        };
        let f = Filters::default;
        check(&die, f(), true);
        check(&die, f().with("type", "container").with("event", "die"), true);
        check(&die, f().with("event", "start"), false);
        check(&die, f().with("event", "start").with("event", "die"), true);
        check(&die, f().with("container", "abc"), true);
        check(&die, f().with("container", "/web"), true);
        check(&die, f().with("container", "other"), false);
        check(&die, f().with("image", "img"), true);
        check(&die, f().with("image", "img:2"), false);
        check(&die, f().with("label", "k=v"), true);
        check(&die, f().with("label", "k=w"), false);
        check(&die, f().with("volume", "web"), false);
        check(&probe, f().with("event", "health_status"), true);
    }

    #[test]
    fn an_event_that_is_too_long_loses_its_longest_attributes() {
        let long = "x".repeat(3000);
        let line = to_line(event(EventKind::Container, "die", "a", &[("name", "web"), ("l1", &long), ("l2", &long)]));
        let back: Event = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(back.attributes.len(), 2);
        assert_eq!(back.attributes["name"], "web");
    }

    #[tokio::test]
    async fn a_subscription_misses_nothing_and_ends_at_until() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path().join("journal"), 1 << 20);
        emit(&journal, EventKind::Container, "create", "a", BTreeMap::new());
        let mut live = stream(&journal, &EventsQuery::default()).unwrap();
        emit(&journal, EventKind::Container, "start", "a", BTreeMap::new());
        assert_eq!(live.next().await.unwrap().unwrap().action, "start");
        let writer = journal.clone();
        let late = tokio::spawn(async move { emit(&writer, EventKind::Container, "die", "a", BTreeMap::new()) });
        let next = tokio::time::timeout(Duration::from_secs(5), live.next()).await.unwrap();
        assert_eq!(next.unwrap().unwrap().action, "die");
        late.await.unwrap();
        let now = SystemTime::now();
        let query = EventsQuery { since: Some(SystemTime::UNIX_EPOCH), until: Some(now), ..EventsQuery::default() };
        let kept: Vec<_> = stream(&journal, &query).unwrap().map(|event| event.unwrap().action).collect().await;
        assert_eq!(kept, ["create", "start", "die"]);
    }
}
