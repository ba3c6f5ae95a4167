//! What the screen listens to all the time: events, and the stats of rows on screen. Started by the executor, ended with it.

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
/// Samples are taken this often; one that takes longer is left out of its round.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
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
    let mut events = match timeout(PING_TIME, engine.system().events(&EventsQuery::default())).await {
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

/// Samples the watched containers once a second, all in one message; sleeps while none is watched.
pub(super) async fn sample_stats(engine: Arc<dyn Engine>, out: Outbox, mut watched: watch::Receiver<Vec<String>>) {
    let mut ticks = tokio::time::interval_at(Instant::now(), SAMPLE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reads_many = true;
    loop {
        let ids = watched.borrow_and_update().clone();
        if ids.is_empty() {
            if watched.changed().await.is_err() {
                return;
            }
            continue;
        }
        let samples = sample_all(&*engine, ids, &mut reads_many).await;
        if !samples.is_empty() && !out.send(Msg::Samples(samples)).await {
            return;
        }
        // A changed set is sampled with the next tick: moving through a long list must not become a storm.
        ticks.tick().await;
    }
}

/// In one question where the engine has one for that; it is found out once.
async fn sample_all(engine: &dyn Engine, ids: Vec<String>, reads_many: &mut bool) -> Vec<(String, StatsSample)> {
    if *reads_many {
        match timeout(SAMPLE_TIME, engine.containers().samples(&ids)).await {
            Ok(Ok(samples)) => return samples,
            Ok(Err(error)) if error.class == Class::Unsupported => *reads_many = false,
            _ => return Vec::new(),
        }
    }
    join_all(ids.into_iter().map(|id| sample(engine, id))).await.into_iter().flatten().collect()
}

async fn sample(engine: &dyn Engine, id: String) -> Option<(String, StatsSample)> {
    let once = StatsQuery { once: true };
    let read = async { engine.containers().stats(&id, &once).await.ok()?.next().await?.ok() };
    let sample = timeout(SAMPLE_TIME, read).await.ok()??;
    sample.running.then_some((id, sample))
}
