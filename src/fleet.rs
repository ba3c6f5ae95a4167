//! Several engines as one: the containers of all of them in one list, each action going to the engine that has its container. Built by `main`
//! from any engines; faces see an [`Engine`] like every other.
//!
//! A container is named by its id, by a name that only one host has, or as `host/name`. What belongs to one host alone (making a container,
//! pulling, removing an image) is refused with the hint to go to that host: the fleet never chooses where something happens. So is whatever would
//! change something on a host that its owner marked read-only.
//! An image goes from one engine to another by [`copy::copy_image`].
//! A host that does not answer keeps its last rows, marked as away, and never holds up the others.

pub mod copy;
mod reading;
mod routing;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;

use crate::engine::{Access, Class, ContainerSummary, Engine, EngineError, HostEntry, Result};

/// Longest wait for one host where all are asked; the others' answers do not wait longer either.
const ANSWER_TIME: Duration = Duration::from_secs(3);
/// Longest wait for a host that was silent when it was last asked, and for anybody where events are subscribed.
const GRACE: Duration = Duration::from_millis(300);

/// One engine of the fleet.
struct Member {
    name: String,
    access: Access,
    engine: Arc<dyn Engine>,
    /// Rows of its last answer, for the time when it is away.
    last: Mutex<Vec<ContainerSummary>>,
    /// It let the last question run out of time: nobody waits long for it until it answers something.
    is_silent: AtomicBool,
}

impl Member {
    /// Its answer, or that it does not answer within `longest`.
    async fn answer<T>(&self, longest: Duration, question: impl Future<Output = Result<T>>) -> Result<T> {
        let answer = tokio::time::timeout(longest, question).await;
        // An engine may find out by itself that nothing comes.
        let is_silent = answer.as_ref().map_or(true, |said| said.as_ref().is_err_and(|e| e.class == Class::Timeout));
        self.is_silent.store(is_silent, Ordering::Relaxed);
        answer.unwrap_or_else(|_| Err(silent(&self.name)))
    }

    /// What a thing of this host is called in the fleet.
    fn own(&self, name: &str) -> String {
        format!("{}/{name}", self.name)
    }

    /// # Errors
    /// `Forbidden` for whatever would change something on a host that is read-only.
    fn may_change(&self, subject: &str) -> Result<()> {
        if self.access == Access::Full {
            return Ok(());
        }
        let message = format!("{} is read-only: nothing there is changed from this list", self.name);
        Err(EngineError::new(Class::Forbidden, subject, message)
            .with_hint("H goes to that host, where ctrl-w allows changes; or take read_only from it in the config"))
    }

    fn patience(&self) -> Duration {
        if self.is_silent.load(Ordering::Relaxed) { GRACE } else { ANSWER_TIME }
    }
}

/// See the module's head.
pub struct Fleet {
    members: Vec<Arc<Member>>,
    /// Container id → index of its member, of those that were listed last.
    owners: Mutex<HashMap<String, usize>>,
}

impl Fleet {
    /// Names should differ; they are shown and typed.
    pub fn new(members: Vec<(HostEntry, Arc<dyn Engine>)>) -> Self {
        let member = |(HostEntry { name, access, .. }, engine)| {
            Arc::new(Member { name, access, engine, last: Mutex::default(), is_silent: AtomicBool::new(false) })
        };
        Self { members: members.into_iter().map(member).collect(), owners: Mutex::default() }
    }

    /// Asks all members at once; each answers in time or fails.
    async fn ask_all<'a, T, F>(&'a self, question: impl Fn(&'a Member) -> F) -> Vec<(&'a Member, Result<T>)>
    where
        F: Future<Output = Result<T>>,
    {
        let asked = self.members.iter().map(|member| {
            let answer = member.answer(member.patience(), question(member));
            async move { (&**member, answer.await) }
        });
        join_all(asked).await
    }

    /// The answers of those that answer; an error only when nobody does.
    async fn gather<'a, T, F>(&'a self, question: impl Fn(&'a Member) -> F) -> Result<Vec<T>>
    where
        F: Future<Output = Result<T>>,
    {
        let (mut good, mut first) = (Vec::new(), None);
        for (_, answer) in self.ask_all(question).await {
            match answer {
                Ok(answer) => good.push(answer),
                Err(error) => first = first.or(Some(error)),
            }
        }
        first.filter(|_| good.is_empty()).map_or(Ok(good), Err)
    }

    /// The containers a member has now; what it had before is forgotten.
    fn remember(&self, owner: usize, rows: &[ContainerSummary]) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.retain(|_, of| *of != owner);
        owners.extend(rows.iter().map(|row| (row.id.clone(), owner)));
    }

    fn remembered(&self, id: &str) -> Option<&Member> {
        let owner = self.owners.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied();
        self.members.get(owner?).map(|member| &**member)
    }

    /// The member of that name, and what is left of `host/name`.
    fn addressed<'a>(&self, typed: &'a str) -> Option<(&Member, &'a str)> {
        self.members.iter().find_map(|member| {
            let rest = typed.strip_prefix(member.name.as_str())?.strip_prefix('/')?;
            (!rest.is_empty()).then_some((&**member, rest))
        })
    }
}

fn silent(host: &str) -> EngineError {
    EngineError::new(Class::Timeout, host, format!("{host} does not answer"))
}

/// For what must happen on one host that somebody chose.
fn choose_a_host(what: &str) -> EngineError {
    EngineError::unsupported(format!("{what} belongs to one host, and several are shown"))
        .with_hint("H goes to one host; on the command line, --host does")
}

#[cfg(test)]
mod tests;
