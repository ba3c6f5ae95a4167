//! Volumes and networks.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::Remote;
use super::ask::{Ask, LONG};
use crate::api::compat::{Family, Feature};
use crate::api::from_wire;
use crate::api::routes::{Call, Query};
use crate::engine::{
    Class, CreateVolume, EngineError, Filters, Force, NetworkSummary, Networks, PruneReport, Result, Volume, Volumes,
};

#[async_trait]
impl Volumes for Remote {
    async fn list(&self, filters: &Filters) -> Result<Vec<Volume>> {
        let doc = self.link.object(Ask::new(Call::VolumeList).query(Query::default().filters(filters))).await?;
        Ok(from_wire::things::volumes(&doc))
    }

    async fn create(&self, options: &CreateVolume) -> Result<Volume> {
        let body = json!({
            "Name": options.name.as_deref().unwrap_or(""), "Driver": options.driver.as_deref().unwrap_or("local"),
            "Labels": options.labels, "DriverOpts": options.options
        });
        let ask = Ask::about(Call::VolumeCreate, options.name.as_deref().unwrap_or("")).json(&body).patient(LONG);
        self.named_volume(&self.link.object(ask).await?)
    }

    async fn inspect(&self, name: &str) -> Result<Volume> {
        check(name)?;
        let doc =
            self.link.object(Ask::about(Call::VolumeInspect, name)).await.map_err(|refused| missing(refused, name))?;
        self.named_volume(&doc)
    }

    async fn remove(&self, name: &str, force: Force) -> Result<()> {
        check(name)?;
        let query = Query::default().flag("force", force == Force::Yes);
        let ask = Ask::about(Call::VolumeRemove, name).query(query).patient(LONG);
        self.link.done(ask).await.map_err(|refused| missing(refused, name))
    }

    async fn prune(&self, filters: &Filters) -> Result<PruneReport> {
        self.link.need(Feature::Prune).await?;
        let takes_all = filters.values("all").iter().any(|value| matches!(value.as_str(), "true" | "1"));
        let mut filters = filters.clone();
        if !self.link.has(Feature::VolumePruneAll).await? {
            // Before 1.42 there was only one prune, and it took named ones too: less must be asked for in another way.
            if !takes_all {
                return Err(EngineError::unsupported(format!(
                    "{}: this daemon's prune takes named volumes too (its API is older than 1.42)",
                    self.link.name()
                ))
                .with_hint("say that you mean all of them: --all"));
            }
            filters.0.remove("all");
        }
        let ask = Ask::new(Call::VolumePrune).query(Query::default().filters(&filters)).patient(LONG);
        Ok(from_wire::things::pruned(&self.link.json(ask).await?, "VolumesDeleted"))
    }
}

impl Remote {
    fn named_volume(&self, doc: &Value) -> Result<Volume> {
        let volume = from_wire::things::volume(doc);
        if volume.name.is_empty() { Err(self.link.strange("a volume without a name")) } else { Ok(volume) }
    }
}

/// What can be no volume's name is none, without asking.
fn check(name: &str) -> Result<()> {
    let is_name = !name.is_empty()
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if is_name { Ok(()) } else { Err(EngineError::no_such_volume(name)) }
}

fn missing(refused: EngineError, name: &str) -> EngineError {
    if refused.class == Class::NotFound { EngineError::no_such_volume(name) } else { refused }
}

#[async_trait]
impl Networks for Remote {
    async fn list(&self, filters: &Filters) -> Result<Vec<NetworkSummary>> {
        let doc = self.link.rows(Ask::new(Call::NetworkList).query(Query::default().filters(filters))).await?;
        let mut found = from_wire::things::networks(&doc);
        // Podman has these two without listing them.
        if self.link.peer().await?.family == Family::Podman && filters.is_empty() {
            for name in ["host", "none"] {
                if !found.iter().any(|network| network.name == name) {
                    let driver = if name == "none" { "null" } else { name };
                    let network = NetworkSummary {
                        name: name.to_owned(),
                        driver: driver.to_owned(),
                        scope: "local".to_owned(),
                        ..NetworkSummary::default()
                    };
                    found.push(network);
                }
            }
        }
        Ok(found)
    }
}
