//! The fake's volumes: `Volumes` on [`World`].

use std::time::SystemTime;

use async_trait::async_trait;

use super::Fake;
use super::containers::mount_point;
use super::world::World;
use crate::engine::container::MountPoint;
use crate::engine::error::{Class, EngineError, Result};
use crate::engine::event::EventKind;
use crate::engine::filter::Filters;
use crate::engine::image::PruneReport;
use crate::engine::spec::{MountKind, MountSpec};
use crate::engine::volume::{CreateVolume, Volume};
use crate::engine::{Force, Volumes};

/// Resolves a mount; volumes it names are made when missing.
pub(super) fn mount(world: &mut World, spec: &MountSpec, now: SystemTime) -> MountPoint {
    let mut point = mount_point(spec);
    if let MountKind::Volume { name, labels, .. } = &spec.kind {
        let options = CreateVolume { name: name.clone(), labels: labels.clone(), ..CreateVolume::default() };
        let volume = ensure(world, &options, now);
        point.source = volume.mountpoint;
        point.name = Some(volume.name);
    }
    point
}

fn ensure(world: &mut World, options: &CreateVolume, now: SystemTime) -> Volume {
    let name = options.name.clone().unwrap_or_else(|| world.new_id("volume"));
    if let Some(known) = world.volumes.iter().find(|volume| volume.name == name) {
        return known.clone();
    }
    let volume = Volume {
        driver: "local".to_owned(),
        mountpoint: format!("/var/lib/orlop/volumes/{name}/_data"),
        created: Some(now),
        labels: options.labels.clone(),
        options: options.options.clone(),
        anonymous: options.name.is_none(),
        used_by: None,
        size_bytes: Some(name.bytes().map(u64::from).sum::<u64>() * 21_337),
        name: name.clone(),
    };
    world.volumes.push(volume.clone());
    world.emit(now, EventKind::Volume, "create", &name, &[("driver", "local".to_owned())]);
    volume
}

fn with_users(world: &World, volume: &Volume) -> Volume {
    let uses = |mount: &MountPoint| mount.name.as_deref() == Some(&volume.name);
    let users = world.containers.iter().filter(|ctr| ctr.mounts.iter().any(uses)).map(|ctr| ctr.name.clone());
    Volume { used_by: Some(users.collect()), ..volume.clone() }
}

fn find(world: &World, name: &str) -> Result<usize> {
    world.volumes.iter().position(|volume| volume.name == name).ok_or_else(|| EngineError::no_such_volume(name))
}

#[async_trait]
impl Volumes for Fake {
    async fn list(&self, filters: &Filters) -> Result<Vec<Volume>> {
        filters.check_keys(&["name", "label", "label!", "driver", "dangling"])?;
        let world = self.enter("volumes.list").await?;
        let all = world.volumes.iter().map(|volume| with_users(&world, volume));
        let keep = |volume: &Volume| {
            let unused = volume.used_by.as_ref().is_some_and(Vec::is_empty);
            let any = |key: &str, test: &dyn Fn(&str) -> bool| {
                filters.values(key).is_empty() || filters.values(key).iter().any(|value| test(value))
            };
            any("name", &|value| volume.name.contains(value))
                && any("driver", &|value| volume.driver == value)
                && any("dangling", &|value| matches!(value, "true" | "1") == unused)
                && filters.match_labels(&volume.labels)
        };
        let mut found: Vec<_> = all.filter(keep).collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    async fn create(&self, options: &CreateVolume) -> Result<Volume> {
        let mut world = self.enter("volumes.create").await?;
        if let Some(driver) = options.driver.as_deref().filter(|driver| *driver != "local") {
            let message = format!("error looking up volume plugin {driver}: plugin \"{driver}\" not found");
            return Err(EngineError::new(Class::NotFound, driver, message));
        }
        let volume = ensure(&mut world, options, self.now());
        self.tell(world);
        Ok(volume)
    }

    async fn inspect(&self, name: &str) -> Result<Volume> {
        let world = self.enter(&format!("volumes.inspect {name}")).await?;
        Ok(with_users(&world, &world.volumes[find(&world, name)?]))
    }

    async fn remove(&self, name: &str, force: Force) -> Result<()> {
        let mut world = self.enter(&format!("volumes.remove {name}")).await?;
        let idx = match find(&world, name) {
            Err(_) if force == Force::Yes => return Ok(()),
            found => found?,
        };
        let uses = |mount: &MountPoint| mount.name.as_deref() == Some(name);
        let users: Vec<_> =
            world.containers.iter().filter(|ctr| ctr.mounts.iter().any(uses)).map(|ctr| ctr.id.clone()).collect();
        if !users.is_empty() {
            let message = format!("remove {name}: volume is in use - [{}]", users.join(", "));
            return Err(EngineError::new(Class::Conflict, name, message));
        }
        world.volumes.remove(idx);
        world.emit(self.now(), EventKind::Volume, "destroy", name, &[("driver", "local".to_owned())]);
        self.tell(world);
        Ok(())
    }

    async fn prune(&self, filters: &Filters) -> Result<PruneReport> {
        filters.check_keys(&["label", "label!", "all"])?;
        let mut world = self.enter("volumes.prune").await?;
        let named_too = filters.values("all").iter().any(|value| value == "true" || value == "1");
        let mut report = PruneReport::default();
        for volume in world.volumes.clone() {
            let unused = with_users(&world, &volume).used_by.is_some_and(|users| users.is_empty());
            if unused && (volume.anonymous || named_too) && filters.match_labels(&volume.labels) {
                report.reclaimed_bytes += volume.size_bytes.unwrap_or(0);
                world.volumes.retain(|known| known.name != volume.name);
                report.removed.push(volume.name);
            }
        }
        self.tell(world);
        Ok(report)
    }
}
