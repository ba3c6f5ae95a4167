//! An image from a container as it is now. Called by `containers`; blocking.

use crate::engine::container::Status;
use crate::engine::{Class, CommitContainer, ContainerSpec, EngineError, HealthCheck, Progress, Result};
use crate::oci::image::{ContainerDefaults, Empty, Healthcheck};
use crate::store::Commit;

use super::Core;
use super::images::parse_reference;
use super::lifecycle::Freeze;
use super::record::ContainerRecord;
use super::view::View;

impl Core {
    pub(crate) fn commit(&self, ctr: &str, options: &CommitContainer) -> Result<String> {
        let name = Some(&options.reference).filter(|text| !text.is_empty());
        let name = name.map(|text| parse_reference(text)).transpose()?;
        let view = self.look(ctr)?;
        if matches!(view.status(), Status::Dead | Status::Removing) {
            let message = format!("You cannot commit container {} which is {:?}", view.record.name, view.status());
            return Err(EngineError::new(Class::Conflict, &view.record.name, message));
        }
        let _thaw = Thaw::after_freezing(self, &view, options)?;
        let commit = Commit {
            container: view.id.clone(),
            base: view.record.image_id.clone(),
            defaults: self.defaults(&view.record),
            changes: options.changes.clone(),
            author: options.author.clone(),
            comment: options.comment.clone(),
            created_by: view.record.command_line(),
            name,
            left_out: super::copy::mount_points(&self.store.changes(&view.id)?),
        };
        let image = self.store.commit(&commit, &Progress::none())?;
        let said = image.references.first().unwrap_or(&image.id);
        self.image_event("commit", &image.id, said);
        Ok(image.id)
    }

    /// What the container was run with, as the defaults of an image.
    fn defaults(&self, record: &ContainerRecord) -> ContainerDefaults {
        let spec: &ContainerSpec = &record.spec;
        let base = self.store.image(&record.image_id).map(|image| image.config.config).unwrap_or_default();
        ContainerDefaults {
            user: spec.user.clone().unwrap_or_default(),
            exposed_ports: spec.exposed_ports.iter().map(|port| (port.clone(), Empty {})).collect(),
            env: spec.env.clone(),
            entrypoint: spec.entrypoint.clone().filter(|words| !words.is_empty()),
            cmd: spec.cmd.clone(),
            volumes: base.volumes,
            working_dir: spec.working_dir.clone().unwrap_or_default(),
            labels: spec.labels.clone(),
            stop_signal: spec.stop_signal.clone().unwrap_or_default(),
            healthcheck: spec.health.as_ref().map(healthcheck),
            shell: base.shell,
            on_build: Vec::new(),
        }
    }
}

fn healthcheck(check: &HealthCheck) -> Healthcheck {
    let ns = |span: Option<std::time::Duration>| span.map_or(0, |span| i64::try_from(span.as_nanos()).unwrap_or(0));
    Healthcheck {
        test: check.test.clone(),
        interval: ns(check.interval),
        timeout: ns(check.timeout),
        start_period: ns(check.start_period),
        start_interval: ns(check.start_interval),
        retries: check.retries.map_or(0, i64::from),
    }
}

/// Lets a container go on that was paused for the commit.
struct Thaw<'a> {
    core: &'a Core,
    ctr: Option<String>,
}

impl<'a> Thaw<'a> {
    fn after_freezing(core: &'a Core, view: &View, options: &CommitContainer) -> Result<Self> {
        if !options.pause || view.status() != Status::Running {
            return Ok(Self { core, ctr: None });
        }
        let ctr = view.record.id.clone();
        match core.freeze(&ctr, Freeze::Pause) {
            Ok(()) => Ok(Self { core, ctr: Some(ctr) }),
            // It ended, or somebody else paused it, a moment ago: it stands still as well.
            Err(error) if error.class == Class::Conflict => Ok(Self { core, ctr: None }),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Thaw<'_> {
    fn drop(&mut self) {
        if let Some(ctr) = &self.ctr
            && let Err(error) = self.core.freeze(ctr, Freeze::Unpause)
        {
            tracing::warn!(container = %ctr, %error, "cannot unpause after a commit");
        }
    }
}
