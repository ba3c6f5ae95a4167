//! Proving credentials to a registry before they are kept. Called by `embedded`; keeps nothing itself.

use super::auth::{Keep, ask};
use super::call::{Ask, Call};
use super::challenge::Challenge;
use super::client::{Client, domain_of};
use super::error::{RegistryError, Result};
use crate::engine::auth::{Credentials, RegistryAuth};
use crate::engine::error::Class;

impl Client {
    /// Succeeds when the registry takes the credentials. Gives the identity token that is to be kept instead of the password, where the
    /// registry's token server hands one out.
    ///
    /// # Errors
    /// `Unauthorized` when they are wrong; else as every question.
    pub async fn login(&self, auth: &RegistryAuth) -> Result<Option<String>> {
        let domain = domain_of(&auth.registry)?;
        let caller = self.caller(domain.clone(), auth.credentials.clone());
        let host = self.hosts.host(&domain).await?;
        let asked = caller.call(&host, Ask::Owner, &Call::get("", "")).await;
        let (endpoint, _) = asked.map_err(|error| about_login(&domain, error))?;
        let (Some(Challenge::Bearer { realm, service, .. }), Credentials::Password { .. }) =
            (endpoint.challenge(), &auth.credentials)
        else {
            return Ok(None);
        };
        let service = service.unwrap_or_default();
        let granted = ask(&self.hosts, &endpoint, &auth.credentials, &realm, &service, "", Keep::Identity).await;
        Ok(granted.map_err(|error| about_login(&domain, error))?.refresh_token.filter(|token| !token.is_empty()))
    }
}

fn about_login(domain: &str, error: RegistryError) -> RegistryError {
    match error.class {
        Class::Unauthorized | Class::Forbidden if !error.from_network => {
            let message = format!("login to {domain} denied: incorrect username or password");
            RegistryError { class: Class::Unauthorized, subject: domain.to_owned(), message, ..error }
                .hint("many registries want an access token instead of the password")
        }
        Class::NotFound => {
            let message = format!("{domain} is no registry: it has no /v2/");
            RegistryError { subject: domain.to_owned(), message, ..error }.hint("check the host and the port")
        }
        _ => error,
    }
}
