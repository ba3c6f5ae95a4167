//! The fake's host: `System` and `Networks` on [`World`].

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::Either;
use futures_util::stream::{self, StreamExt};

use super::Fake;
use super::queue::queue;
use super::world::event_matches;
use crate::engine::auth::{Credentials, RegistryAuth};
use crate::engine::container::Status;
use crate::engine::error::{Class, EngineError, Result};
use crate::engine::event::{Event, EventsQuery};
use crate::engine::filter::Filters;
use crate::engine::network::NetworkSummary;
use crate::engine::system::{DiskUsage, EngineInfo, EngineVersion, HostLoad, Usage};
use crate::engine::{BoxStream, Networks, System};

const EVENT_KEYS: [&str; 8] = ["container", "image", "volume", "network", "type", "event", "label", "label!"];

#[async_trait]
impl System for Fake {
    async fn info(&self) -> Result<EngineInfo> {
        let world = self.enter("system.info").await?;
        let n =
            |test: &dyn Fn(Status) -> bool| world.containers.iter().filter(|ctr| test(ctr.state.status)).count() as u32;
        Ok(EngineInfo {
            id: "fa4e0000-0000-4000-8000-000000000001".to_owned(),
            kind: "embedded".to_owned(),
            name: "demo".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            n_containers: world.containers.len() as u32,
            n_running: n(&|status| matches!(status, Status::Running | Status::Restarting)),
            n_paused: n(&|status| status == Status::Paused),
            n_stopped: n(&|status| matches!(status, Status::Created | Status::Exited | Status::Dead)),
            n_images: world.images.len() as u32,
            n_cpus: 4,
            mem_total_bytes: 24 << 30,
            kernel_version: "6.12.0-demo".to_owned(),
            operating_system: "Debian GNU/Linux 13 (trixie)".to_owned(),
            os_type: "linux".to_owned(),
            architecture: "x86_64".to_owned(),
            storage_driver: "overlay2".to_owned(),
            logging_driver: "cri".to_owned(),
            cgroup_driver: "cgroupfs".to_owned(),
            cgroup_version: "2".to_owned(),
            root_dir: "/var/lib/orlop".to_owned(),
            default_runtime: "orlop".to_owned(),
            runtimes: vec!["orlop".to_owned()],
            security_options: vec!["name=seccomp,profile=builtin".to_owned(), "name=cgroupns".to_owned()],
            warnings: Vec::new(),
        })
    }

    async fn host_load(&self) -> Result<HostLoad> {
        drop(self.enter("system.host_load").await?);
        let age = self.now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64() % 100_000.0;
        Ok(HostLoad {
            n_cpus: 4,
            cpu_percent: (30.0 + 22.0 * (age / 11.0).sin()) as f32,
            mem_used_bytes: (4_u64 << 30) + ((1.0 + (age / 60.0).sin()) * 4e8) as u64,
            mem_total_bytes: 24 << 30,
            pressure: None,
        })
    }

    async fn version(&self) -> Result<EngineVersion> {
        drop(self.enter("system.version").await?);
        Ok(EngineVersion {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            api_version: "1.47".to_owned(),
            min_api_version: "1.24".to_owned(),
            os: "linux".to_owned(),
            arch: "amd64".to_owned(),
            kernel_version: "6.12.0-demo".to_owned(),
            git_commit: "demo".to_owned(),
            build_time: "2026-11-21T12:00:00Z".to_owned(),
            components: vec![("orlop".to_owned(), env!("CARGO_PKG_VERSION").to_owned())],
        })
    }

    async fn ping(&self) -> Result<Duration> {
        let started = self.now();
        drop(self.enter("system.ping").await?);
        Ok(self.now().duration_since(started).unwrap_or_default())
    }

    async fn events(&self, query: &EventsQuery) -> Result<BoxStream<Event>> {
        query.filters.check_keys(&EVENT_KEYS)?;
        let mut world = self.enter("system.events").await?;
        let (sender, receiver) = queue();
        let is_old = |event: &&Event| {
            let in_time = query.since.is_some_and(|since| event.time >= since)
                && query.until.is_none_or(|until| event.time <= until);
            in_time && event_matches(event, &query.filters)
        };
        for event in world.events.iter().filter(is_old) {
            sender.push(Ok(event.clone()));
        }
        if query.until.is_some_and(|until| until <= self.now()) {
            return Ok(Box::pin(receiver));
        }
        world.subscribers.push((query.filters.clone(), sender));
        drop(world);
        let Some(until) = query.until else { return Ok(Box::pin(receiver)) };
        let end = self.0.clock.sleep_until(until);
        Ok(Box::pin(stream::unfold((receiver, end), |(mut receiver, end)| async move {
            match futures_util::future::select(receiver.next(), end).await {
                Either::Left((Some(event), end)) => Some((event, (receiver, end))),
                _ => None,
            }
        })))
    }

    /// One password is wrong everywhere: `wrong`.
    async fn login(&self, auth: &RegistryAuth) -> Result<Option<String>> {
        drop(self.enter(&format!("system.login {}", auth.registry)).await?);
        match &auth.credentials {
            Credentials::Password { password, .. } if password == "wrong" => {
                let message = "unauthorized: incorrect username or password";
                Err(EngineError::new(Class::Unauthorized, auth.registry.clone(), message))
            }
            _ => Ok(None),
        }
    }

    async fn disk_usage(&self) -> Result<DiskUsage> {
        let world = self.enter("system.disk_usage").await?;
        let used = |image_id: &str| world.containers.iter().any(|ctr| ctr.image_id == image_id);
        let images = world.images.iter().map(|img| {
            let summary = &img.detail.summary;
            (used(&summary.id), summary.size_bytes)
        });
        let containers = world.containers.iter().map(|ctr| (ctr.state.status.is_alive(), ctr.size_rw_bytes));
        let volumes = world.volumes.iter().map(|volume| {
            let mounted =
                world.containers.iter().any(|ctr| ctr.mounts.iter().any(|m| m.name.as_deref() == Some(&volume.name)));
            (mounted, volume.size_bytes.unwrap_or(0))
        });
        let logs = world.containers.iter().map(|ctr| (ctr.state.status.is_alive(), 1_200_000 + ctr.seed * 90_000));
        Ok(DiskUsage {
            images: usage(images),
            containers: usage(containers),
            volumes: usage(volumes),
            logs: usage(logs),
            build_cache: Usage::default(),
        })
    }
}

fn usage(things: impl Iterator<Item = (bool, u64)>) -> Usage {
    things.fold(Usage::default(), |sum, (active, bytes)| Usage {
        n_total: sum.n_total + 1,
        n_active: sum.n_active + u64::from(active),
        size_bytes: sum.size_bytes + bytes,
        reclaimable_bytes: sum.reclaimable_bytes + if active { 0 } else { bytes },
    })
}

#[async_trait]
impl Networks for Fake {
    async fn list(&self, filters: &Filters) -> Result<Vec<NetworkSummary>> {
        filters.check_keys(&["id", "name", "driver", "scope", "type", "label", "label!", "dangling"])?;
        drop(self.enter("networks.list").await?);
        let network = |name: &str, driver: &str, id: &str| NetworkSummary {
            id: id.repeat(16),
            name: name.to_owned(),
            driver: driver.to_owned(),
            scope: "local".to_owned(),
            ..NetworkSummary::default()
        };
        let all =
            [network("bridge", "bridge", "b41d"), network("host", "host", "0a57"), network("none", "null", "dead")];
        let keep = |network: &NetworkSummary| {
            let any = |key: &str, test: &dyn Fn(&str) -> bool| {
                filters.values(key).is_empty() || filters.values(key).iter().any(|value| test(value))
            };
            any("name", &|value| network.name.contains(value))
                && any("driver", &|value| network.driver == value)
                && any("id", &|value| network.id.starts_with(value))
        };
        Ok(all.into_iter().filter(keep).collect())
    }
}
