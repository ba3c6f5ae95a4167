//! The daemon itself.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;

use super::ask::{Ask, LONG};
use super::{Remote, events};
use crate::api::from_wire;
use crate::api::read::Read;
use crate::api::routes::Call;
use crate::engine::{
    BoxStream, Credentials, DiskUsage, EngineInfo, EngineVersion, Event, EventsQuery, RegistryAuth, Result, System,
};

#[async_trait]
impl System for Remote {
    async fn info(&self) -> Result<EngineInfo> {
        let doc = self.link.object(Ask::new(Call::Info)).await?;
        Ok(from_wire::system::info(&doc, self.link.peer().await?.family))
    }

    async fn version(&self) -> Result<EngineVersion> {
        Ok(from_wire::system::version(&self.link.object(Ask::new(Call::Version)).await?))
    }

    async fn ping(&self) -> Result<Duration> {
        self.link.ping().await
    }

    async fn events(&self, query: &EventsQuery) -> Result<BoxStream<Event>> {
        events::open(&self.link, query).await
    }

    async fn disk_usage(&self) -> Result<DiskUsage> {
        let doc = self.link.object(Ask::new(Call::DiskUsage).patient(LONG)).await?;
        Ok(from_wire::system::disk_usage(&doc))
    }

    async fn login(&self, auth: &RegistryAuth) -> Result<Option<String>> {
        let body = match &auth.credentials {
            Credentials::Anonymous => json!({"serveraddress": auth.registry}),
            Credentials::Password { username, password } => {
                json!({"username": username, "password": password, "serveraddress": auth.registry})
            }
            Credentials::IdentityToken(token) => json!({"identitytoken": token, "serveraddress": auth.registry}),
            Credentials::RegistryToken(token) => json!({"registrytoken": token, "serveraddress": auth.registry}),
        };
        let doc = self.link.json(Ask::new(Call::Login).json(&body)).await?;
        Ok(doc.some_text("IdentityToken"))
    }
}
