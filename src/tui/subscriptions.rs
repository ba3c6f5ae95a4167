//! What the screen listens to all the time: events, and the stats of rows on screen. Started by the executor, ended with it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, timeout};

use crate::engine::{Class, Engine, EngineError, EventsQuery, StatsQuery, StatsSample};

use super::executor::Outbox;
use super::msg::Msg;

/// Wait before the second try, and the longest wait.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(1);
/// A silent engine is asked whether it lives.
const PING_EVERY: Duration = Duration::from_secs(5);
const FIRST_PING: Duration = Duration::from_millis(500);
const PING_TIME: Duration = Duration::from_secs(3);
/// Until events come: a login may be part of it, and one that is given up on too early is never finished.
const OPEN_TIME: Duration = Duration::from_secs(30);
/// Samples are taken this often; one that takes longer is left out of its round.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// Rounds over which rows are spread that have to be asked for one by one.
const SPREAD: usize = 3;
const SAMPLE_TIME: Duration = Duration::from_secs(3);

/// Keeps an event stream open. A lost one is told, and opened again with a growing wait.
pub(super) async fn follow_events(engine: Arc<dyn Engine>, out: Outbox, hurry: Arc<Notify>) {
    let mut attempt = 0;
    loop {
        let error = listen(&*engine, &out, &mut attempt).await;
        attempt += 1;
        if !out.send(Msg::LinkLost { error, attempt }).await {
            return;
        }
        let wait = FIRST_RETRY.saturating_mul(1 << attempt.min(5)).min(LAST_RETRY);
        let _ = timeout(wait, hurry.notified()).await;
    }
}

/// Subscribes and passes events on until the stream ends; returns why.
async fn listen(engine: &dyn Engine, out: &Outbox, attempt: &mut u32) -> EngineError {
    let lost = |what: &str| EngineError::new(Class::Unavailable, "", what.to_owned());
    let mut events = match timeout(OPEN_TIME, engine.system().events(&EventsQuery::default())).await {
        Ok(Ok(events)) => events,
        Ok(Err(e)) => return e,
        Err(_) => return lost("the engine does not answer"),
    };
    // Subscribed first, lists second: nothing between them is missed.
    if !out.send(Msg::Subscribed).await {
        return lost("the screen has gone");
    }
    *attempt = 0;
    // The first word on the link comes with the first frame's leisure: its lists go before.
    let mut silence = FIRST_PING;
    loop {
        match timeout(std::mem::replace(&mut silence, PING_EVERY), events.next()).await {
            // Commands run inside containers are nobody's list row.
            Ok(Some(Ok(event))) if event.action.starts_with("exec_") => {}
            Ok(Some(Ok(event))) => {
                if !out.send(Msg::Event(event)).await {
                    return lost("the screen has gone");
                }
            }
            Ok(Some(Err(e))) => return e,
            Ok(None) => return lost("the engine closed the event stream"),
            Err(_) => match ping(engine).await {
                Ok(latency) => {
                    if !out.send(Msg::Latency(latency)).await {
                        return lost("the screen has gone");
                    }
                }
                Err(e) => return e,
            },
        }
    }
}

async fn ping(engine: &dyn Engine) -> Result<Duration, EngineError> {
    let late = || EngineError::new(Class::Unavailable, "", "the engine does not answer");
    timeout(PING_TIME, engine.system().ping()).await.unwrap_or_else(|_| Err(late()))
}

/// What is sampled: running rows on screen, and the one that the details are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    pub ids: Vec<String>,
    pub subject: Option<String>,
}

/// Samples the watched containers once a second, all in one message; sleeps while none is watched.
///
/// An engine that has to be asked for each container by itself is asked for new rows at once, for the subject every second and for the others
/// every third: thirty questions a second would be the most that a screen at rest does, and that its daemon does.
pub(super) async fn sample_stats(engine: Arc<dyn Engine>, out: Outbox, mut watching: watch::Receiver<Watched>) {
    let mut ticks = tokio::time::interval_at(Instant::now(), SAMPLE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut reads_many, mut known) = (true, HashSet::new());
    for round in 0_usize.. {
        let watched = watching.borrow_and_update().clone();
        if watched.ids.is_empty() {
            if watching.changed().await.is_err() {
                return;
            }
            continue;
        }
        let mut samples = None;
        if reads_many {
            match timeout(SAMPLE_TIME, engine.containers().samples(&watched.ids)).await {
                Ok(Err(error)) if error.class == Class::Unsupported => reads_many = false,
                answer => samples = Some(answer.ok().and_then(Result::ok).unwrap_or_default()),
            }
        }
        let samples = match samples {
            Some(samples) => samples,
            None => {
                let due = due(&watched, round, &known);
                known = watched.ids.into_iter().collect();
                join_all(due.into_iter().map(|id| sample(&*engine, id))).await.into_iter().flatten().collect()
            }
        };
        if !samples.is_empty() && !out.send(Msg::Samples(samples)).await {
            return;
        }
        // A changed set is sampled with the next tick: moving through a long list must not become a storm.
        ticks.tick().await;
    }
}

/// Whose turn it is, one by one.
fn due(watched: &Watched, round: usize, known: &HashSet<String>) -> Vec<String> {
    let is_due = |(at, id): &(usize, &String)| {
        at % SPREAD == round % SPREAD || !known.contains(*id) || watched.subject.as_ref() == Some(*id)
    };
    watched.ids.iter().enumerate().filter(is_due).map(|(_, id)| id.clone()).collect()
}

async fn sample(engine: &dyn Engine, id: String) -> Option<(String, StatsSample)> {
    let once = StatsQuery { once: true };
    let read = async { engine.containers().stats(&id, &once).await.ok()?.next().await?.ok() };
    let sample = timeout(SAMPLE_TIME, read).await.ok()??;
    sample.running.then_some((id, sample))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_rows_and_the_subject_are_always_due_the_others_in_turn() {
        let ids: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let watched = Watched { ids: ids.clone(), subject: Some("d".to_owned()) };
        let known: HashSet<String> = ids.iter().cloned().collect();
        assert_eq!(due(&watched, 0, &HashSet::new()), ids);
        assert_eq!(due(&watched, 0, &known), ["a", "d"]);
        assert_eq!(due(&watched, 1, &known), ["b", "d"]);
        let fewer: HashSet<String> = ids[1..].iter().cloned().collect();
        assert_eq!(due(&watched, 2, &fewer), ["a", "c", "d"]);
    }
}
