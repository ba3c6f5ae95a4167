//! Finding repositories by name: Docker Hub by its search, other registries by their catalog. Called by `embedded`.

use serde::Deserialize;

use super::call::{Ask, Call, Caller, Fetched};
use super::client::{Client, domain_of};
use super::error::{RegistryError, Result, shown};
use super::hosts::Host;
use super::repository::Pages;
use crate::engine::auth::Credentials;
use crate::engine::error::Class;
use crate::engine::filter::Filters;
use crate::engine::image::{FoundImage, SearchImages};

const DEFAULT_LIMIT: u32 = 25;
const MAX_LIMIT: u32 = 100;
const MAX_ANSWER_BYTES: u64 = 4 << 20;
/// Names looked through in a catalog.
const MAX_CATALOG: usize = 20_000;

#[derive(Deserialize)]
struct HubAnswer {
    #[serde(default)]
    results: Vec<HubRow>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HubRow {
    name: String,
    description: Option<String>,
    star_count: u64,
    is_official: bool,
}

impl Client {
    /// Repositories whose name has the term in it; on Docker Hub also those that its search thinks of.
    ///
    /// # Errors
    /// `Invalid` for an empty term, a limit outside 1 to 100 or an unknown filter; else as every question.
    pub async fn search(&self, query: &SearchImages) -> Result<Vec<FoundImage>> {
        let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
        let invalid = |message: String| RegistryError::new(Class::Invalid, &query.term, message);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(invalid(format!("limit {limit} is outside the range of [1, {MAX_LIMIT}]")));
        }
        let keep = Keep::of(&query.filters).map_err(invalid)?;
        let (host, word) = split(&query.term);
        if word.is_empty() && host.is_none() {
            return Err(invalid("search term is empty".to_owned()).hint("give a part of the image's name"));
        }
        let mut rows = match host {
            Some(host) => self.search_catalog(host, word, &query.credentials).await?,
            None => self.search_hub(word, limit).await?,
        };
        rows.retain(|row| keep.keeps(row));
        rows.truncate(limit as usize);
        Ok(rows)
    }

    /// All repositories of a registry that offers its catalog, at most `max`.
    ///
    /// # Errors
    /// `Unsupported` when it does not; else as every question.
    pub async fn catalog(&self, registry: &str, credentials: &Credentials, max: usize) -> Result<Vec<String>> {
        let domain = domain_of(registry)?;
        let caller = self.caller(domain.clone(), credentials.clone());
        let host = self.hosts.host(&domain).await?;
        let listed = list_catalog(&caller, &host, max).await;
        listed.map_err(|error| match error.class {
            Class::NotFound | Class::Unsupported => {
                let message = format!("{domain} has no catalog to search in");
                RegistryError { class: Class::Unsupported, message, ..error }
            }
            Class::Unauthorized | Class::Forbidden if !error.from_network => {
                let message = format!("{domain}: its catalog is not open to this login");
                RegistryError { message, ..error }.hint(format!("log in with: orlop login {domain}"))
            }
            _ => error,
        })
    }

    async fn search_catalog(&self, host: &str, word: &str, credentials: &Credentials) -> Result<Vec<FoundImage>> {
        let word = word.to_lowercase();
        let names = self.catalog(host, credentials, MAX_CATALOG).await?;
        let found = names.into_iter().filter(|name| name.to_lowercase().contains(&word));
        Ok(found.map(|name| FoundImage { name: format!("{host}/{}", shown(&name)), ..FoundImage::default() }).collect())
    }

    async fn search_hub(&self, word: &str, limit: u32) -> Result<Vec<FoundImage>> {
        let caller = self.caller(word.to_owned(), Credentials::Anonymous);
        let host = self.hosts.place(&self.hub_index).await?;
        let word = word.strip_prefix("library/").unwrap_or(word);
        let call = Call::get(format!("/v1/search?q={}&n={limit}", super::url::encoded(word)), "");
        let Fetched { endpoint, bytes, .. } = caller.fetch(&host, Ask::Owner, &call, MAX_ANSWER_BYTES).await?;
        let answer: HubAnswer = serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("{}: its answer is no list of images", endpoint.target);
            RegistryError::new(Class::Unavailable, word, message).because(error)
        })?;
        Ok(answer.results.into_iter().map(FoundImage::from).collect())
    }
}

/// The catalog (distribution specification, "Listing Repositories" of Docker's registry API).
pub(super) async fn list_catalog(caller: &Caller, host: &Host, max: usize) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Page {
        #[serde(default)]
        repositories: Option<Vec<String>>,
    }
    let pages = Pages { caller, host, scope: "registry:catalog:*".to_owned(), max };
    pages.collect("_catalog?n=1000".to_owned(), |page: Page| page.repositories.unwrap_or_default()).await
}

impl From<HubRow> for FoundImage {
    fn from(row: HubRow) -> Self {
        let description = shown(&row.description.unwrap_or_default());
        Self { name: shown(&row.name), description, n_stars: row.star_count, is_official: row.is_official }
    }
}

/// The host before the first slash, when it looks like one.
fn split(term: &str) -> (Option<&str>, &str) {
    let term = term.trim();
    match term.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
            let is_hub = matches!(first, "docker.io" | "index.docker.io");
            (if is_hub { None } else { Some(first) }, rest)
        }
        _ => (None, term),
    }
}

/// The filters.
struct Keep {
    is_official: Option<bool>,
    min_stars: u64,
}

impl Keep {
    fn of(filters: &Filters) -> Result<Self, String> {
        filters.check_keys(&["is-official", "is-automated", "stars"]).map_err(|error| error.message)?;
        let mut keep = Self { is_official: None, min_stars: 0 };
        for value in filters.values("is-official") {
            let said = matches!(value.as_str(), "true" | "1" | "t");
            if !said && !matches!(value.as_str(), "false" | "0" | "f") {
                return Err(format!("invalid filter 'is-official={value}'"));
            }
            keep.is_official = Some(said);
        }
        for value in filters.values("stars") {
            let stars = value.parse::<u64>().map_err(|_| format!("invalid filter 'stars={value}'"))?;
            keep.min_stars = keep.min_stars.max(stars);
        }
        Ok(keep)
    }

    fn keeps(&self, row: &FoundImage) -> bool {
        self.is_official.is_none_or(|wanted| wanted == row.is_official) && row.n_stars >= self.min_stars
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_from_a_user() {
        assert_eq!(split("debian"), (None, "debian"));
        assert_eq!(split("someone/tool"), (None, "someone/tool"));
        assert_eq!(split("r.example:5000/de"), (Some("r.example:5000"), "de"));
        assert_eq!(split("localhost/"), (Some("localhost"), ""));
        assert_eq!(split("docker.io/debian"), (None, "debian"));
    }

    #[test]
    fn filters_are_checked() {
        let row = |n_stars, is_official| FoundImage { n_stars, is_official, ..FoundImage::default() };
        let keep = Keep::of(&Filters::default().with("stars", "3").with("is-official", "true")).unwrap();
        assert!(keep.keeps(&row(3, true)) && !keep.keeps(&row(2, true)) && !keep.keeps(&row(9, false)));
        assert!(Keep::of(&Filters::default().with("stars", "x")).is_err());
        assert!(Keep::of(&Filters::default().with("colour", "x")).is_err());
    }
}
