//! What is done with registries: pull, push, search. Who one is comes from docker's configuration file. Part of the executor.

use std::sync::Arc;
use std::time::Duration;

use crate::config::credentials::CredentialsFile;
use crate::engine::auth::Credentials;
use crate::engine::progress::Progress;
use crate::engine::{Class, Engine, EngineError, PullImage, PushImage, SearchImages};
use crate::oci::reference::Reference;

use super::super::msg::{Answer, Msg, Outcome};

/// Longest wait for a registry's catalogue.
const SEARCH_TIME: Duration = Duration::from_secs(30);

/// The file and its helpers are read on a blocking thread.
async fn credentials_for(image: &str) -> Answer<Credentials> {
    let Ok(reference) = image.parse::<Reference>() else { return Ok(Credentials::Anonymous) };
    let registry = reference.domain().to_owned();
    let found = tokio::task::spawn_blocking(move || {
        CredentialsFile::standard().map_or(Ok(Credentials::Anonymous), |file| file.lookup(&registry))
    });
    let found = found.await.map_err(|e| EngineError::new(Class::Internal, image, e.to_string()))?;
    found.map_err(|e| EngineError::new(Class::Invalid, image, e.to_string()))
}

pub(super) async fn pull(engine: &Arc<dyn Engine>, reference: &str, progress: Progress) -> Outcome {
    let pull = async {
        let credentials = credentials_for(reference).await?;
        let request = PullImage { reference: reference.to_owned(), credentials, ..PullImage::default() };
        engine.images().pull(&request, progress).await
    };
    let mut outcome = Outcome::new("pulled");
    match pull.await {
        Ok(pulled) if !pulled.is_empty() && pulled.iter().all(|image| image.was_up_to_date) => {
            outcome.done = "up to date:".to_owned();
            outcome.good.push(reference.to_owned());
        }
        Ok(_) => outcome.good.push(reference.to_owned()),
        Err(e) => outcome.bad.push((reference.to_owned(), e)),
    }
    outcome
}

pub(super) async fn push(engine: &Arc<dyn Engine>, reference: &str, progress: Progress) -> Outcome {
    let push = async {
        let credentials = credentials_for(reference).await?;
        let request = PushImage { reference: reference.to_owned(), all_tags: false, credentials };
        engine.images().push(&request, progress).await
    };
    let mut outcome = Outcome::new("pushed");
    match push.await {
        Ok(pushed) => {
            outcome.good.push(reference.to_owned());
            let digests = pushed.into_iter().map(|image| image.digest.chars().take(19).collect());
            outcome.notes.extend(digests);
        }
        Err(e) => outcome.bad.push((reference.to_owned(), e)),
    }
    outcome
}

pub(super) async fn search(engine: Arc<dyn Engine>, term: String) -> Msg {
    let ask = async {
        let credentials = credentials_for(&term).await?;
        engine.images().search(&SearchImages { term: term.clone(), credentials, ..SearchImages::default() }).await
    };
    let late = || {
        EngineError::new(
            Class::Timeout,
            &term,
            format!("the registry did not answer within {} s", SEARCH_TIME.as_secs()),
        )
    };
    let answer = tokio::time::timeout(SEARCH_TIME, ask).await.unwrap_or_else(|_| Err(late()));
    Msg::FoundImages(term, answer)
}
