//! Everything about one container. Called by `containers`.

use std::collections::BTreeMap;

use crate::engine::{ContainerDetail, Result};
use crate::shim::log;

use super::Core;
use super::record::Mounted;
use super::view::{View, text};

impl Core {
    /// Blocking.
    pub(crate) fn inspect(&self, ctr: &str) -> Result<ContainerDetail> {
        let view = self.look(ctr)?;
        let (record, dir) = (&*view.record, self.container_dir(&view.id));
        let files = dir.join("files");
        Ok(ContainerDetail {
            id: record.id.clone(),
            name: record.name.clone(),
            created: Some(record.created),
            spec: record.spec.clone(),
            image_id: record.image_id.clone(),
            path: record.path.clone(),
            args: record.args.clone(),
            state: view.state().clone(),
            mounts: record.mounts.iter().map(Mounted::to_point).collect(),
            log_path: text(&log::file_path(&self.log_dir(&view.id), 0)),
            hostname_path: text(&files.join("hostname")),
            hosts_path: text(&files.join("hosts")),
            resolv_conf_path: text(&files.join("resolv.conf")),
            driver: "overlay".to_owned(),
            exec_ids: view.run.exec_ids.clone(),
            graph: self.graph(&view)?,
            size_rw_bytes: None,
            size_root_fs_bytes: None,
            start_timeline: view.run.start_timeline.clone(),
            raw: None,
        })
    }

    fn graph(&self, view: &View) -> Result<BTreeMap<String, String>> {
        let overlay = self.store.overlay(&view.id)?;
        let lowers: Vec<String> = overlay.lowers.iter().map(|lower| text(lower)).collect();
        Ok(BTreeMap::from([
            ("LowerDir".to_owned(), lowers.join(":")),
            ("UpperDir".to_owned(), text(&overlay.upper)),
            ("WorkDir".to_owned(), text(&overlay.work)),
        ]))
    }

    /// Bytes of the writable layer, and of it with the image.
    pub(crate) fn sizes(&self, view: &View) -> Result<(u64, u64)> {
        let writable = self.store.writable_bytes(&view.id)?;
        let image = self.store.image(&view.record.image_id).map_or(0, |image| image.size_bytes());
        Ok((writable, writable + image))
    }
}
