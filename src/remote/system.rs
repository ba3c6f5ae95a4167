//! The daemon itself.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde_json::json;

use super::ask::{Ask, LONG};
use super::{Remote, events};
use crate::api::compat::Family;
use crate::api::from_wire;
use crate::api::read::Read;
use crate::api::routes::Call;
use crate::engine::{
    BoxStream, Class, Credentials, DiskDetails, DiskUsage, EngineInfo, EngineVersion, Event, EventsQuery, RegistryAuth,
    Result, System,
};

/// How often a count of the disk is begun anew.
const N_COUNTS: usize = 5;

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
        let mut answer = self.link.object(Ask::new(Call::DiskUsage).patient(LONG)).await;
        // Podman fails when an image goes away while it counts.
        for _ in 0..N_COUNTS {
            if !answer.as_ref().is_err_and(|refused| refused.class == Class::NotFound) {
                break;
            }
            answer = self.link.object(Ask::new(Call::DiskUsage).patient(LONG)).await;
        }
        Ok(from_wire::system::disk_usage(&answer?))
    }

    async fn disk_details(&self) -> Result<Option<DiskDetails>> {
        // Podman's rows have no names and no shared sizes; its lists have.
        if self.link.peer().await?.family == Family::Podman {
            return Ok(None);
        }
        let doc = self.link.object(Ask::new(Call::DiskUsage).patient(LONG)).await?;
        Ok(Some(
            DiskDetails {
                images: from_wire::image::summaries(doc.at("Images")),
                containers: from_wire::container::summaries(doc.at("Containers"), SystemTime::now()),
                volumes: from_wire::things::volumes(&doc),
                build_cache_bytes: from_wire::system::disk_usage(&doc).build_cache.size_bytes,
            }
            .with_users(),
        ))
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
        let answer = self.link.json(Ask::new(Call::Login).json(&body)).await;
        let doc = answer.map_err(|mut refused| {
            // Docker passes a registry's 401 on as its own 500.
            if refused.message.contains("401 Unauthorized") || refused.message.contains("invalid username/password") {
                refused.class = Class::Unauthorized;
            }
            refused
        })?;
        Ok(doc.some_text("IdentityToken"))
    }
}
