//! The engine in this process: implements the `engine` traits on the store, the shims and the runtime. Called by `main`.
//!
//! One file a matter: the traits' own files (`containers`, `execs`, `images`, `volumes`, `networks`, `system`) only carry a call to a blocking
//! thread or to a stream; what happens stands in `create`, `lifecycle`, `recover`, `spec` and the rest, synchronous.
//!
//! Nothing here is held between calls but caches: any number of processes work on one store at once, each under the locks of the store, and
//! what runs is asked from the shims' records. An engine that is killed leaves nothing that the next one does not put right.
//!
//! It must never: run a container itself (shims do), trust a state whose shim is dead, resolve a path of an image outside its root, or wait
//! without a deadline.

mod attach;
mod commit;
mod containers;
mod copy;
mod create;
mod error;
mod events;
mod execs;
mod files;
mod host;
mod images;
pub mod init;
mod inspect;
mod lifecycle;
mod list;
mod logs;
mod merge;
mod mounts;
mod networks;
mod prune;
mod pull;
mod push;
mod record;
mod recover;
mod registries;
mod rootfs;
mod signals;
mod spec;
mod stats;
mod supervise;
mod system;
mod top;
mod tree;
mod validate;
mod view;
mod volumes;
mod wait;
mod wire;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::config::{Places, Registries};
use crate::engine::Result;
use crate::store::Store;

/// What a user may set for the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EmbeddedSettings {
    /// For attaches and execs that say none; `None` is docker's `ctrl-p,ctrl-q`.
    pub detach_keys: Option<String>,
    /// What is executed as shim and as `--init`; `None` is this very program. For programs that are not orlop: tests.
    pub program: Option<PathBuf>,
    /// Where the user's `config.toml` is; registry settings and certificates may lie beside it.
    pub config_dir: Option<PathBuf>,
    /// How registries are spoken to, instead of what this machine's files say.
    pub registries: Option<Registries>,
}

/// The engine over one store. Cheap to clone behind `Arc`.
#[derive(Debug)]
pub struct Embedded {
    core: Arc<Core>,
}

/// What all parts of the engine share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) places: Places,
    pub(crate) settings: EmbeddedSettings,
    pub(crate) store: Store,
    pub(crate) host: host::Host,
    pub(crate) load: host::LoadMeter,
    pub(crate) cache: view::Cache,
    pub(crate) samplers: stats::Kept,
    /// Commands that were prepared by this process, by exec id.
    pub(crate) execs: Mutex<HashMap<String, execs::Prepared>>,
    pub(crate) deletions: Deletions,
    pub(crate) registries: registries::Lazy,
}

impl Embedded {
    /// Opens the engine whose store is at `places`, making the store if there is none. A few hundred microseconds; waits for nobody.
    ///
    /// What a killed engine or shim left is swept on a thread of its own. The first open after the host was restarted takes as long as the
    /// starts of the containers that come back (`--restart always`, `unless-stopped`, a failed `on-failure`).
    ///
    /// # Errors
    /// `Unsupported` when a newer orlop wrote the store, `Forbidden` without the rights to the places, `Full`.
    pub fn open(places: Places, settings: EmbeddedSettings) -> Result<Arc<Self>> {
        let store = Store::open(&places.root)?;
        make_run_root(&places)?;
        let core = Arc::new(Core {
            places,
            settings,
            store,
            host: host::Host::read(),
            load: host::LoadMeter::default(),
            cache: view::Cache::default(),
            samplers: stats::Kept::default(),
            execs: Mutex::default(),
            deletions: Deletions::default(),
            registries: registries::Lazy::default(),
        });
        recover::after_boot(&core);
        recover::sweep_in_background(&core);
        Ok(Arc::new(Self { core }))
    }

    /// Puts right everything that killed engines and shims left. Blocks on the disk; an open does it by itself now and then.
    pub fn sweep(&self) {
        self.core.sweep();
    }

    /// Runs blocking work where it may block.
    async fn blocking<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Arc<Core>) -> Result<T> + Send + 'static,
    {
        let core = Arc::clone(&self.core);
        let done = tokio::task::spawn_blocking(move || work(&core)).await;
        done.map_err(|failed| error::join(&failed))?
    }
}

fn make_run_root(places: &Places) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&places.run);
    made.map_err(|failed| error::io("make the directory", &places.run, &failed))
}

/// Threads that delete trees out of sight. A process that ends waits for its own, so that a command leaves nothing for the next sweep.
#[derive(Debug, Default)]
pub(crate) struct Deletions(Mutex<Vec<JoinHandle<()>>>);

impl Deletions {
    pub(crate) fn push(&self, thread: JoinHandle<()>) {
        let mut threads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
    }
}

impl Drop for Deletions {
    fn drop(&mut self) {
        for thread in self.0.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // A panic there was printed there.
            let _ = thread.join();
        }
    }
}
