//! `wait`, and the gate that keeps its promise: a wait that was polled before a start is registered at the daemon before the start is sent,
//! though the two travel on different connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::ask::Ask;
use super::link::Link;
use crate::api::compat::Feature;
use crate::api::from_wire;
use crate::api::read::Read;
use crate::api::routes::{Call, Query};
use crate::engine::{Class, EngineError, Exit, Result, WaitCondition};
use futures_util::StreamExt;

/// A daemon that takes longer to take note of a wait holds no start up any more.
const REGISTER: Duration = Duration::from_secs(10);
/// The longest answer of a wait that is read.
const MAX_ANSWER: usize = 64 << 10;

/// Counts waits that are on their way.
#[derive(Default)]
pub(super) struct Gate {
    n_registering: AtomicUsize,
    one_done: Notify,
}

/// One of them; done when dropped.
struct Registering(Arc<Link>);

impl Drop for Registering {
    fn drop(&mut self) {
        self.0.gate.n_registering.fetch_sub(1, Ordering::AcqRel);
        self.0.gate.one_done.notify_waiters();
    }
}

impl Gate {
    /// Returns when no wait is on its way any more.
    pub(super) async fn pass(&self) {
        let all_done = async {
            loop {
                let next = self.one_done.notified();
                tokio::pin!(next);
                next.as_mut().enable();
                if self.n_registering.load(Ordering::Acquire) == 0 {
                    return;
                }
                next.await;
            }
        };
        // After that the start must not wait any longer.
        let _ = timeout(REGISTER, all_done).await;
    }
}

pub(super) async fn wait(link: &Arc<Link>, ctr: &str, condition: WaitCondition) -> Result<Exit> {
    // Counted before the first await, so that whoever polls this once and then starts the container misses nothing.
    link.gate.n_registering.fetch_add(1, Ordering::AcqRel);
    let registering = Registering(Arc::clone(link));
    let word = match condition {
        WaitCondition::NotRunning => None,
        WaitCondition::NextExit => Some("next-exit"),
        WaitCondition::Removed => Some("removed"),
    };
    if word.is_some() {
        link.need(Feature::WaitCondition).await?;
    }
    let ask = Ask::about(Call::ContainerWait, ctr)
        .query(Query::default().with_some("condition", word))
        .patient(Duration::MAX);
    // Daemons send the head when they have taken note, and the body at the end.
    let mut body = link.open(ask).await?.body;
    drop(registering);
    let mut answer = Vec::new();
    while let Some(piece) = body.next().await {
        answer.extend_from_slice(&piece?);
        if answer.len() > MAX_ANSWER {
            break;
        }
    }
    let doc: Option<Value> = serde_json::from_slice(&answer).ok();
    // No number is not zero: that would be a success that nobody told of.
    doc.filter(|doc| doc.at("StatusCode").is_number()).map(|doc| from_wire::container::exit(&doc)).ok_or_else(|| {
        let message = format!("{} ended a wait without saying how {ctr} ended", link.name());
        EngineError::new(Class::Unavailable, ctr, message).with_hint("the container itself is not touched: inspect it")
    })
}
