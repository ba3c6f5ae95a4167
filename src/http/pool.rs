//! Connections kept for the next request. Called by `registry` (one pool for each set of TLS settings) and `remote`. A connection that idled
//! may be dead without our knowing: then, and only then, an idempotent request with a body that can be sent again goes out once more on a
//! new one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::{Request, Response};
use tokio::time::{Instant, timeout};

use super::{Body, Connection, Deadlines, Dialer, HttpError, ResponseBody, Target};

/// Kept for each target; more are closed when they come back.
const MAX_IDLE: usize = 8;
/// An idle connection older than this is not trusted: servers and middle boxes close them about then.
const MAX_IDLE_AGE: Duration = Duration::from_secs(45);
/// A connection is busy for a moment after the last byte of its answer was read.
const SETTLING: Duration = Duration::from_secs(1);

/// A dialer and what it dialled; clones share.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    dialer: Dialer,
    idle: Mutex<HashMap<Target, Vec<(Connection, Instant)>>>,
}

/// The way back of one connection.
pub(super) struct Returning {
    shared: Arc<Shared>,
    target: Target,
    connection: Connection,
}

impl Returning {
    pub(super) fn give_back(self) {
        if !self.connection.is_open() {
            return;
        }
        let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.entry(self.target).or_default();
        if kept.len() < MAX_IDLE {
            kept.push((self.connection, Instant::now()));
        }
    }
}

impl Pool {
    pub fn new(dialer: Dialer) -> Self {
        Self { shared: Arc::new(Shared { dialer, idle: Mutex::default() }) }
    }

    /// The dialer, for connections that do not come back (upgrades).
    pub fn dialer(&self) -> &Dialer {
        &self.shared.dialer
    }

    /// Whether a kept connection is at hand, as far as can be known without asking.
    pub fn has_idle(&self, target: &Target) -> bool {
        let idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.get(target).is_some_and(|kept| kept.iter().any(|(_, since)| since.elapsed() < MAX_IDLE_AGE))
    }

    /// Sends a request (its URI a path with its query) and returns once the head of the answer is there. The connection comes back by itself
    /// when the body has been read to its end.
    ///
    /// # Errors
    /// As [`Dialer::dial`] and [`Connection::send`].
    pub async fn request(
        &self,
        target: &Target,
        request: Request<Body>,
        deadlines: Deadlines,
    ) -> Result<Response<ResponseBody>, HttpError> {
        let (head, body) = request.into_parts();
        if let Some(connection) = self.take(target).await {
            let Some(again) = body.again() else {
                // A body that can be read only once does not go to a connection that may be dead.
                return self.fresh(target, Request::from_parts(head, body), deadlines).await;
            };
            let first = Request::from_parts(head.clone(), body);
            return match self.exchange(connection, target, first, deadlines).await {
                Err(HttpError::Cut { .. }) if head.method.is_idempotent() => {
                    self.fresh(target, Request::from_parts(head, again), deadlines).await
                }
                answer => answer,
            };
        }
        self.fresh(target, Request::from_parts(head, body), deadlines).await
    }

    async fn fresh(
        &self,
        target: &Target,
        request: Request<Body>,
        deadlines: Deadlines,
    ) -> Result<Response<ResponseBody>, HttpError> {
        let connection = Connection::dial(&self.shared.dialer, target).await?;
        self.exchange(connection, target, request, deadlines).await
    }

    async fn exchange(
        &self,
        mut connection: Connection,
        target: &Target,
        request: Request<Body>,
        deadlines: Deadlines,
    ) -> Result<Response<ResponseBody>, HttpError> {
        let response = connection.send(request, deadlines).await?;
        let returning = Returning { shared: self.shared.clone(), target: target.clone(), connection };
        Ok(response.map(|body| body.and_then(returning)))
    }

    /// A kept connection that still looks alive.
    async fn take(&self, target: &Target) -> Option<Connection> {
        loop {
            let (mut connection, since) = {
                let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
                idle.get_mut(target)?.pop()?
            };
            let is_young = since.elapsed() < MAX_IDLE_AGE;
            if is_young && timeout(SETTLING, connection.ready()).await.unwrap_or(false) {
                return Some(connection);
            }
        }
    }
}
