//! `wait`: the end of a container, or its removal. Called by `containers`. Everything that could happen next is being listened to before the
//! first await, so that whoever polls once and then starts the container misses nothing.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::container::Status;
use crate::engine::{Class, EngineError, Event, EventKind, Exit, Result, WaitCondition};
use crate::shim::Request;
use crate::shim::protocol::Answer;
use crate::stdx::ids::Id;

use super::Core;
use super::events::Follower;
use super::view::{STATE, View};
use super::wire::Link;

/// What no event tells is looked for this often.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What a wait listens to.
pub(crate) struct Wait {
    core: Arc<Core>,
    view: View,
    condition: WaitCondition,
    journal: Follower,
    /// Which state file was there at the registration: one that replaces it tells of a start that failed, which the journal does not.
    state_file: Option<u64>,
    /// A shim and the number of the request that it answers at the end.
    shim: Option<(Link, u64)>,
}

impl Core {
    /// Registers. Blocks on the disk for some tens of microseconds; must be called inside the tokio runtime.
    pub(crate) fn register_wait(self: &Arc<Self>, ctr: &str, condition: WaitCondition) -> Result<Wait> {
        let journal = Follower::from_now(&self.store.events())?;
        // As written: putting a dead shim's state right may wait for a lock, and is done later where that is allowed.
        let id = self.find(ctr)?;
        let state_file = self.state_file(&id);
        let view = self.view_as_written(&id)?.ok_or_else(|| EngineError::no_such_container(ctr))?;
        let shim = match Link::connect(&self.run_dir(&view.id))? {
            // Removal is told by the journal, whoever does it.
            Some(mut link) if condition != WaitCondition::Removed => {
                match link.send_first(Request::Wait { condition: condition.into() }) {
                    Ok(seq) => Some((link, seq)),
                    // It ended between the two calls: its record and the journal have the rest.
                    Err(error) if error.class == Class::Unavailable => None,
                    Err(error) => return Err(error),
                }
            }
            _ => None,
        };
        Ok(Wait { core: Arc::clone(self), view, condition, journal, state_file, shim })
    }

    /// Every write of a state makes a new file.
    fn state_file(&self, id: &Id) -> Option<u64> {
        std::fs::metadata(self.container_dir(id).join(STATE)).ok().map(|meta| meta.ino())
    }
}

impl Wait {
    /// Cancel safe.
    pub(crate) async fn done(mut self) -> Result<Exit> {
        match self.condition {
            WaitCondition::NotRunning => self.not_running().await,
            WaitCondition::NextExit => self.next_exit().await,
            WaitCondition::Removed => self.removed().await,
        }
    }

    async fn not_running(&mut self) -> Result<Exit> {
        if !self.view.is_up() {
            return Ok(self.view.state().exit.clone().unwrap_or_default());
        }
        if let Some(exit) = self.shim_answer().await? {
            return Ok(exit);
        }
        // The shim ended before it answered: what it wrote, or what was put right, is the truth.
        match self.look_again().await? {
            Some(view) if view.is_up() => self.next_exit().await,
            Some(view) => Ok(view.state().exit.clone().unwrap_or_default()),
            None => self.exit_from_journal(None).await,
        }
    }

    async fn next_exit(&mut self) -> Result<Exit> {
        if let Some(exit) = self.shim_answer().await? {
            return Ok(exit);
        }
        self.exit_from_journal(None).await
    }

    async fn removed(&mut self) -> Result<Exit> {
        let exit = self.view.state().exit.clone();
        self.exit_from_journal(Some(exit.unwrap_or_default())).await
    }

    /// `None` when the shim went without a word, or there is none.
    async fn shim_answer(&mut self) -> Result<Option<Exit>> {
        let Some((mut link, seq)) = self.shim.take() else { return Ok(None) };
        match link.answer(seq).await {
            Ok(Answer::Exited { exit }) => Ok(Some(exit)),
            Ok(_) => Ok(None),
            Err(error) if error.class == Class::Unavailable => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn look_again(&self) -> Result<Option<View>> {
        let (core, id) = (Arc::clone(&self.core), self.view.id.clone());
        let looked = tokio::task::spawn_blocking(move || core.view(&id));
        looked.await.map_err(|error| super::error::join(&error))?
    }

    /// The container's next `die`; with `until_removed`, its `destroy`, with the exit of the last `die` before it.
    async fn exit_from_journal(&mut self, until_removed: Option<Exit>) -> Result<Exit> {
        let mut last = until_removed.clone();
        loop {
            if let Some(event) = self.journal.try_next()? {
                let Some(action) = own_action(&event, &self.view.id) else { continue };
                match action {
                    "die" if until_removed.is_none() => return Ok(exit_of(&event)),
                    "die" => last = Some(exit_of(&event)),
                    "destroy" => return last.ok_or_else(|| removed_while_waiting(&self.view)),
                    _ => {}
                }
                continue;
            }
            // Removed by an engine that was killed before it told the journal: the directory says so.
            if !self.core.container_dir(&self.view.id).exists() {
                return last.ok_or_else(|| removed_while_waiting(&self.view));
            }
            if until_removed.is_none()
                && let Some(exit) = self.failed_start()?
            {
                return Ok(exit);
            }
            let next = tokio::time::timeout(LOOK_AGAIN, self.journal.readable());
            if let Ok(failed) = next.await {
                failed?;
            }
        }
    }

    /// The exit of a start that failed since the registration: nothing ran, so no `die` tells of it.
    fn failed_start(&mut self) -> Result<Option<Exit>> {
        let now = self.core.state_file(&self.view.id);
        if now == self.state_file {
            return Ok(None);
        }
        let run = self.core.run_state(&self.view.id)?;
        let is_up = matches!(run.state.status, Status::Running | Status::Paused | Status::Restarting);
        if is_up {
            self.state_file = now;
        }
        Ok(run.state.exit.filter(|exit| !is_up && exit.error.is_some()))
    }
}

fn own_action<'a>(event: &'a Event, id: &Id) -> Option<&'a str> {
    (event.kind == EventKind::Container && event.id == id.as_str()).then_some(event.action.as_str())
}

fn exit_of(event: &Event) -> Exit {
    let number = |key: &str| event.attributes.get(key).and_then(|text| text.parse::<i32>().ok());
    Exit { code: number("exitCode").unwrap_or(0), signal: number("signal"), ..Exit::default() }
}

fn removed_while_waiting(view: &View) -> EngineError {
    let message = format!("container {} was removed before it ended", view.record.name);
    EngineError::new(Class::NotFound, &view.record.name, message)
}
