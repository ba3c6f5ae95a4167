//! Volumes over the store's: who uses one, what may be removed. Called through the `Volumes` trait.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::engine::volume::Volume;
use crate::engine::{Class, CreateVolume, EngineError, EventKind, Filters, Force, PruneReport, Result, Volumes};

use super::{Core, Embedded, events};

const FILTERS: [&str; 5] = ["dangling", "driver", "label", "label!", "name"];
const PRUNE_FILTERS: [&str; 3] = ["all", "label", "label!"];

impl Core {
    /// Names of the containers that mount each volume.
    fn volume_users(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for view in self.views()? {
            for (volume, _) in view.record.volumes() {
                users.entry(volume.to_owned()).or_default().push(view.record.name.clone());
            }
        }
        Ok(users)
    }

    fn volumes(&self, filters: &Filters) -> Result<Vec<Volume>> {
        filters.check_keys(&FILTERS)?;
        let users = self.volume_users()?;
        let any = |key: &str, test: &dyn Fn(&str) -> bool| {
            let values = filters.values(key);
            values.is_empty() || values.iter().any(|value| test(value))
        };
        let mut all = self.store.volumes().list()?;
        for volume in &mut all {
            volume.used_by = Some(users.get(&volume.name).cloned().unwrap_or_default());
        }
        for value in filters.values("dangling") {
            is_true("dangling", value)?;
        }
        all.retain(|volume| {
            let is_dangling = volume.used_by.as_ref().is_none_or(Vec::is_empty);
            any("name", &|wanted| volume.name.contains(wanted))
                && any("driver", &|wanted| volume.driver == wanted)
                && any("dangling", &|wanted| is_true("dangling", wanted).is_ok_and(|wanted| wanted == is_dangling))
                && filters.match_labels(&volume.labels)
        });
        Ok(all)
    }

    fn inspect_volume(&self, name: &str) -> Result<Volume> {
        let mut volume = self.store.volumes().get(name)?;
        volume.used_by = Some(self.volume_users()?.remove(name).unwrap_or_default());
        Ok(volume)
    }

    fn create_volume(&self, options: &CreateVolume) -> Result<Volume> {
        let existed = options.name.as_deref().is_some_and(|name| self.store.volumes().get(name).is_ok());
        let volume = self.store.volumes().create(options)?;
        if !existed {
            self.volume_event("create", &volume.name);
        }
        Ok(volume)
    }

    fn remove_volume(&self, name: &str, force: Force) -> Result<()> {
        if let Err(error) = self.store.volumes().get(name) {
            let error = EngineError::from(error);
            // Forced, a volume that is not there is as good as removed (docker).
            return if force == Force::Yes && error.class == Class::NotFound { Ok(()) } else { Err(error) };
        }
        let users: Vec<String> = self
            .views()?
            .iter()
            .filter(|view| view.record.volumes().any(|(volume, _)| volume == name))
            .map(|view| view.record.id.clone())
            .collect();
        if !users.is_empty() {
            let message = format!("remove {name}: volume is in use - [{}]", users.join(", "));
            return Err(
                EngineError::new(Class::Conflict, name, message).with_hint("remove the containers that use it first")
            );
        }
        self.store.volumes().remove(name)?;
        self.volume_event("destroy", name);
        Ok(())
    }

    fn prune_volumes(&self, filters: &Filters) -> Result<PruneReport> {
        filters.check_keys(&PRUNE_FILTERS)?;
        let takes_named = match filters.values("all") {
            [] => false,
            values => values.iter().map(|value| is_true("all", value)).collect::<Result<Vec<_>>>()?.contains(&true),
        };
        let mut report = PruneReport::default();
        for volume in self.volumes(&Filters::default())? {
            let is_used = volume.used_by.as_ref().is_some_and(|users| !users.is_empty());
            if is_used || !(volume.anonymous || takes_named) || !filters.match_labels(&volume.labels) {
                continue;
            }
            let n_bytes = self.store.volumes().size_bytes(&volume.name).unwrap_or(0);
            match self.remove_volume(&volume.name, Force::No) {
                Ok(()) => {
                    report.reclaimed_bytes += n_bytes;
                    report.removed.push(volume.name);
                }
                // Taken or removed by somebody else in the meantime.
                Err(error) => tracing::info!(volume = volume.name, %error, "not pruned"),
            }
        }
        Ok(report)
    }

    fn volume_event(&self, action: &str, name: &str) {
        let attributes = BTreeMap::from([("driver".to_owned(), "local".to_owned())]);
        events::emit(&self.store.events(), EventKind::Volume, action, name, attributes);
    }
}

/// Docker's booleans.
pub(crate) fn is_true(key: &str, value: &str) -> Result<bool> {
    match value {
        "1" | "true" | "True" | "TRUE" | "t" => Ok(true),
        "0" | "false" | "False" | "FALSE" | "f" => Ok(false),
        _ => Err(EngineError::new(Class::Invalid, value, format!("invalid filter '{key}={value}'"))),
    }
}

#[async_trait]
impl Volumes for Embedded {
    async fn list(&self, filters: &Filters) -> Result<Vec<Volume>> {
        let filters = filters.clone();
        self.blocking(move |core| core.volumes(&filters)).await
    }

    async fn create(&self, options: &CreateVolume) -> Result<Volume> {
        let options = options.clone();
        self.blocking(move |core| core.create_volume(&options)).await
    }

    async fn inspect(&self, name: &str) -> Result<Volume> {
        let name = name.to_owned();
        self.blocking(move |core| core.inspect_volume(&name)).await
    }

    async fn remove(&self, name: &str, force: Force) -> Result<()> {
        let name = name.to_owned();
        self.blocking(move |core| core.remove_volume(&name, force)).await
    }

    async fn prune(&self, filters: &Filters) -> Result<PruneReport> {
        let filters = filters.clone();
        self.blocking(move |core| core.prune_volumes(&filters)).await
    }
}
