//! Commands run inside containers.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::json;

use super::Remote;
use super::ask::Ask;
use super::hijack::{self, Process, Session};
use crate::api::compat::Feature;
use crate::api::read::Read;
use crate::api::routes::{Call, Query};
use crate::api::{create, from_wire};
use crate::engine::{Attached, Class, EngineError, ExecDetail, ExecSpec, Execs, Result, TtySize};

/// The oldest half is forgotten beyond so many: then the daemon is asked.
const MAX_KNOWN: usize = 512;

/// Sessions made here, so that a start need not ask first what it starts.
#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<String, Made>>);

#[derive(Clone, Debug)]
struct Made {
    tty: bool,
    detach_keys: Vec<u8>,
    is_started: bool,
}

impl Known {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Made>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, id: &str, made: Made) {
        let mut known = self.lock();
        if known.len() >= MAX_KNOWN {
            known.retain(|_, made| !made.is_started);
        }
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(id.to_owned(), made);
    }

    fn get(&self, id: &str) -> Option<Made> {
        self.lock().get(id).cloned()
    }

    fn started(&self, id: &str) {
        if let Some(made) = self.lock().get_mut(id) {
            made.is_started = true;
        }
    }
}

#[async_trait]
impl Execs for Remote {
    async fn create(&self, ctr: &str, spec: &ExecSpec) -> Result<String> {
        if spec.working_dir.is_some() {
            self.link.need(Feature::ExecWorkingDir).await?;
        }
        if spec.cmd.is_empty() {
            return Err(EngineError::new(Class::Invalid, ctr, "No exec command specified"));
        }
        let detach_keys = hijack::detach_keys(spec.detach_keys.as_deref())?;
        let ask = Ask::about(Call::ExecCreate, super::containers::named(ctr)?).json(&create::exec(spec));
        let id = self.link.json(ask).await?.text("Id");
        if check_id(&id).is_err() {
            return Err(self.link.strange("a new exec without an id"));
        }
        self.link.execs.add(&id, Made { tty: spec.tty, detach_keys, is_started: false });
        Ok(id)
    }

    async fn start(&self, exec_id: &str, size: Option<TtySize>) -> Result<Attached> {
        let made = self.startable(exec_id).await?;
        let mut body = json!({"Detach": false, "Tty": made.tty});
        let has_size = made.tty && size.is_some();
        let in_start = has_size && self.link.has(Feature::ExecSize).await?;
        if let Some(size) = size.filter(|_| in_start) {
            body["ConsoleSize"] = json!([size.rows, size.cols]);
        }
        let ask = Ask::about(Call::ExecStart, exec_id).json(&body);
        let process = Process::Exec(exec_id.to_owned());
        let session = Session { tty: made.tty, detach_keys: made.detach_keys, process };
        let attached = hijack::open(&self.link, ask, session).await?;
        self.link.execs.started(exec_id);
        if let Some(size) = size.filter(|_| has_size && !in_start) {
            // It may have ended by now, or not have begun: its output counts more.
            let _ = Execs::resize(self, exec_id, size).await;
        }
        Ok(attached)
    }

    async fn start_detached(&self, exec_id: &str) -> Result<()> {
        let made = self.startable(exec_id).await?;
        let ask = Ask::about(Call::ExecStart, exec_id).json(&json!({"Detach": true, "Tty": made.tty}));
        self.link.done(ask).await?;
        self.link.execs.started(exec_id);
        Ok(())
    }

    async fn inspect(&self, exec_id: &str) -> Result<ExecDetail> {
        check_id(exec_id)?;
        let doc = self.link.object(Ask::about(Call::ExecInspect, exec_id)).await?;
        if doc.text("ID").is_empty() {
            return Err(self.link.strange("an exec without an id"));
        }
        Ok(from_wire::container::exec(&doc))
    }

    async fn resize(&self, exec_id: &str, size: TtySize) -> Result<()> {
        check_id(exec_id)?;
        let query = Query::default().with("h", size.rows).with("w", size.cols);
        self.link.done(Ask::about(Call::ExecResize, exec_id).query(query)).await
    }
}

impl Remote {
    /// Whether it has a terminal. Once the connection is taken over a daemon can only write its refusal between the bytes: a session that ran
    /// already is refused here.
    async fn startable(&self, exec_id: &str) -> Result<Made> {
        let made = match self.link.execs.get(exec_id) {
            Some(made) => made,
            None => {
                let detail = Execs::inspect(self, exec_id).await?;
                let is_started = detail.running || (detail.exit.is_some() && detail.pid.is_some());
                Made { tty: detail.spec.tty, detach_keys: hijack::detach_keys(None)?, is_started }
            }
        };
        if made.is_started {
            let message = format!("Error: Exec command {exec_id} has already run");
            return Err(EngineError::new(Class::Conflict, exec_id, message));
        }
        Ok(made)
    }
}

fn check_id(exec_id: &str) -> Result<()> {
    let is_id = !exec_id.is_empty() && exec_id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_id { Ok(()) } else { Err(EngineError::no_such_exec(exec_id)) }
}
