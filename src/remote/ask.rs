//! One request before it is sent: which call, on what, with which words, and how long its answer may take.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::transfer::Upload;
use crate::api::routes::{self, Call, Query};

/// For calls that a healthy daemon answers at once; a loaded one may take its time.
const SHORT: Duration = Duration::from_secs(60);
/// For calls that walk disks or wait for processes.
pub(super) const LONG: Duration = Duration::from_secs(600);

/// What goes with a request.
pub(super) enum Payload {
    Empty,
    Json(Bytes),
    Tar(Upload),
}

/// A request.
pub(super) struct Ask {
    pub(super) call: Call,
    /// The container, image, volume or exec it is about; empty for none.
    pub(super) name: String,
    pub(super) query: Query,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) payload: Payload,
    /// Until the answer's head is there; where the whole answer is read, until its end.
    pub(super) patience: Duration,
}

impl Ask {
    pub(super) fn new(call: Call) -> Self {
        Self::about(call, "")
    }

    pub(super) fn about(call: Call, name: &str) -> Self {
        Self {
            call,
            name: name.to_owned(),
            query: Query::default(),
            headers: Vec::new(),
            payload: Payload::Empty,
            patience: SHORT,
        }
    }

    pub(super) fn query(mut self, query: Query) -> Self {
        self.query = query;
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn json(mut self, body: &Value) -> Self {
        self.payload = Payload::Json(body.to_string().into());
        self
    }

    pub(super) fn tar(mut self, upload: Upload) -> Self {
        self.payload = Payload::Tar(upload);
        self
    }

    pub(super) fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub(super) fn method(&self) -> &'static str {
        routes::route(self.call).method
    }

    /// Path and query; the version is the link's to say.
    pub(super) fn target(&self) -> String {
        format!("{}{}", routes::path(routes::route(self.call), &self.name), self.query.as_str())
    }
}
