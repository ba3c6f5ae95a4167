//! Samples of what a container uses. Called by `containers`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::ask::Ask;
use super::link::Link;
use crate::api::compat::Feature;
use crate::api::from_wire;
use crate::api::from_wire::progress::Objects;
use crate::api::routes::{Call, Query};
use crate::engine::{BoxStream, EngineError, Result, StatsQuery, StatsSample};

/// Daemons take two samples a second apart unless told not to.
const HEAD: Duration = Duration::from_secs(30);

pub(super) async fn open(link: &Arc<Link>, ctr: &str, query: &StatsQuery) -> Result<BoxStream<StatsSample>> {
    let words = if query.once {
        let one_shot = link.has(Feature::OneShotStats).await?;
        Query::default().with("stream", 0).flag("one-shot", one_shot)
    } else {
        Query::default().with("stream", 1)
    };
    // A sample a second: a silence is no container that has nothing to say.
    let body = link.open_archive(Ask::about(Call::ContainerStats, ctr).query(words).patient(HEAD)).await?.body;
    let samples = Samples {
        link: Arc::clone(link),
        ctr: ctr.to_owned(),
        body,
        objects: Objects::default(),
        ready: Vec::new().into_iter(),
        once: query.once,
        has_told: false,
        is_over: false,
    };
    Ok(Box::pin(stream::unfold(samples, |mut samples| async move { samples.next().await.map(|one| (one, samples)) })))
}

struct Samples {
    link: Arc<Link>,
    ctr: String,
    body: BoxStream<Bytes>,
    objects: Objects,
    ready: std::vec::IntoIter<serde_json::Value>,
    once: bool,
    has_told: bool,
    is_over: bool,
}

impl Samples {
    async fn next(&mut self) -> Option<Result<StatsSample>> {
        loop {
            if self.is_over {
                return None;
            }
            if let Some(doc) = self.ready.next() {
                let sample = from_wire::stats::sample(&doc, &self.ctr, SystemTime::now());
                // Docker goes on with zeros for ever after the container has ended.
                self.is_over = self.once || !sample.running;
                self.has_told = true;
                return Some(Ok(sample));
            }
            let bytes = match self.body.next().await {
                Some(Ok(bytes)) => bytes,
                Some(Err(error)) => return self.fail(error),
                // Podman says nothing at all of a stopped container.
                None => {
                    self.is_over = true;
                    let stopped = from_wire::stats::sample(&serde_json::Value::Null, &self.ctr, SystemTime::now());
                    return (!self.has_told).then_some(Ok(stopped));
                }
            };
            match self.objects.feed(&bytes) {
                Ok(found) => self.ready = found.into_iter(),
                Err(bad) => {
                    return self.fail(self.link.garbled(&bad));
                }
            }
        }
    }

    fn fail(&mut self, error: EngineError) -> Option<Result<StatsSample>> {
        self.is_over = true;
        Some(Err(error))
    }
}
