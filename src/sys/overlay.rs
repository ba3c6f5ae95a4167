//! One detached overlay mount, on every kernel: layer by layer where the kernel takes them so (6.5), else by the old call inside a mount
//! namespace that lives as long as a throw-away thread. Called by `runtime` (a container's root) and `embedded` (a look into one).
//! Nothing of it is ever visible in the caller's own mount namespace, and it dies with its descriptor.

use super::at::{self, Confined};
use super::clone::NsFlags;
use super::mount::{self, Depth, FsContext, Propagation, SetAttr, attr};
use super::{Errno, Result, SysError, c_path, namespace};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// What is stacked.
#[derive(Clone, Copy, Debug)]
pub struct Overlay<'a> {
    /// Topmost first.
    pub lowers: &'a [&'a Path],
    /// None: read-only.
    pub changes: Option<Changes<'a>>,
    /// MOUNT_ATTR_* bits of the mount.
    pub attrs: u64,
}

/// Where writes go.
#[derive(Clone, Copy, Debug)]
pub struct Changes<'a> {
    pub upper: &'a Path,
    pub work: &'a Path,
    pub sync: Sync,
}

/// What happens to unwritten changes at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    Written,
    /// Not synced: for files that die with their container.
    Volatile,
}

/// Why it could not be mounted.
#[derive(Clone, Debug)]
pub struct OverlayError {
    pub source: SysError,
    /// The kernel's own words, where it has some.
    pub message: Option<String>,
}

impl From<SysError> for OverlayError {
    fn from(source: SysError) -> Self {
        Self { source, message: None }
    }
}

/// By the version: asking an older kernel costs a line in its log each time.
fn takes_layers_one_by_one() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    is_since(&release, (6, 5))
}

/// `6.18.44-cloud` is since 6.5. What is no version counts as new.
fn is_since(release: &str, wanted: (u32, u32)) -> bool {
    let mut parts = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let (Some(major), Some(minor)) = (parts.next(), parts.next()) else { return true };
    (major, minor) >= wanted
}

impl Overlay<'_> {
    /// A detached mount of it.
    ///
    /// # Errors
    /// EINVAL for directories that overlay refuses (its message then says which), ENODEV without overlay, EPERM without the right.
    pub fn mount(&self) -> std::result::Result<OwnedFd, OverlayError> {
        if !takes_layers_one_by_one() {
            return Ok(self.mount_the_old_way()?);
        }
        let context = FsContext::open(c"overlay")?;
        let mounted = self.configure(&context).and_then(|()| context.mount(self.attrs));
        mounted.map_err(|source| OverlayError { source, message: context.message().filter(|text| !text.is_empty()) })
    }

    fn configure(&self, context: &FsContext) -> Result<()> {
        for lower in self.lowers {
            context.set(c"lowerdir+", &c_path("fsconfig", lower)?)?;
        }
        if let Some(changes) = self.changes {
            context.set(c"upperdir", &c_path("fsconfig", changes.upper)?)?;
            context.set(c"workdir", &c_path("fsconfig", changes.work)?)?;
            if changes.sync == Sync::Volatile {
                context.set_flag(c"volatile")?;
            }
        }
        context.create()
    }

    /// mount(2), for which a mount must be somewhere: in a mount namespace that ends with its thread. The copy that leaves it is detached.
    fn mount_the_old_way(&self) -> Result<OwnedFd> {
        let failed = || SysError { call: "clone", errno: Errno::EAGAIN };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("overlay".to_owned());
            let thread = thread.spawn_scoped(scope, || self.mount_in_a_namespace()).map_err(|_| failed())?;
            thread.join().unwrap_or_else(|_| Err(failed()))
        })
    }

    /// Changes the calling thread's namespace and directory for good.
    fn mount_in_a_namespace(&self) -> Result<OwnedFd> {
        namespace::unshare(NsFlags::MOUNT)?;
        mount::set_propagation(Path::new("/"), Propagation::Private, Depth::Recursive)?;
        // The names of open directories, seen from where they are: 4 bytes each, so that the one page of options holds any
        // number of layers, and no colon or comma of a path is ever read as a separator. Opened here: overlay wants them of this namespace.
        let mut open = Vec::with_capacity(self.lowers.len() + 2);
        let mut name = |path: &Path| -> Result<String> {
            let dir = at::open(at::CWD, path, at::O_PATH, 0, Confined::No)?;
            let name = dir.as_raw_fd().to_string();
            open.push(dir);
            Ok(name)
        };
        let lowers = self.lowers.iter().map(|lower| name(lower)).collect::<Result<Vec<_>>>()?;
        let mut options = format!("lowerdir={}", lowers.join(":"));
        if let Some(changes) = self.changes {
            let sync = if changes.sync == Sync::Volatile { ",volatile" } else { "" };
            options.push_str(&format!(",upperdir={},workdir={}{sync}", name(changes.upper)?, name(changes.work)?));
        }
        // Any directory will do to mount on: nobody else sees it.
        let target = self.lowers.first().ok_or(SysError { call: "mount", errno: Errno::EINVAL })?;
        at::chdir(Path::new("/proc/thread-self/fd"))?;
        mount::classic(Path::new("overlay"), target, "overlay", 0, &options)?;
        let tree = mount::clone_tree(at::CWD, &c_path("open_tree", target)?, Depth::One)?;
        if self.attrs != 0 {
            let set = self.attrs & !attr::ATIME_MASK;
            mount::set_attr(tree.as_fd(), Depth::One, SetAttr { set, ..SetAttr::default() })?;
        }
        Ok(tree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (release, is_new) in
            [("6.1.0-56-cloud-amd64", false), ("6.5-rc1", true), ("6.18.44", true), ("5.15", false), ("?", true)]
        {
            assert_eq!(is_since(release, (6, 5)), is_new, "{release}");
        }
    }

    #[test]
    fn both_ways_give_the_same_tree() {
        if super::super::process::euid() != 0 {
            eprintln!("not run: needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<_> =
            (0..100).map(|n| dir.path().join(format!("a,long:name\\for-a-layer-that-is-no-short-one-{n}"))).collect();
        for (n, path) in names.iter().enumerate() {
            std::fs::create_dir(path).unwrap();
            std::fs::write(path.join(format!("file-{n}")), "").unwrap();
            std::fs::write(path.join("all"), n.to_string()).unwrap();
        }
        let (upper, work) = (dir.path().join("upper"), dir.path().join("work"));
        let lowers: Vec<&Path> = names.iter().map(|name| name.as_path()).collect();
        let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let cwd = std::env::current_dir().unwrap();
        for way in [|it: &Overlay<'_>| it.mount().unwrap(), |it: &Overlay<'_>| it.mount_the_old_way().unwrap()] {
            std::fs::create_dir(&upper).unwrap();
            std::fs::create_dir(&work).unwrap();
            let changes = Changes { upper: &upper, work: &work, sync: Sync::Volatile };
            let tree = way(&Overlay { lowers: &lowers, changes: Some(changes), attrs: 0 });
            let at = at::proc_fd_path(tree.as_fd());
            assert_eq!(std::fs::read_dir(&at).unwrap().count(), 101);
            assert_eq!(std::fs::read_to_string(at.join("all")).unwrap(), "0", "the topmost comes first");
            std::fs::write(at.join("new"), "x").unwrap();
            assert_eq!(std::fs::read_to_string(upper.join("new")).unwrap(), "x");
            drop(tree);
            let read_only = way(&Overlay { lowers: &lowers, changes: None, attrs: attr::RDONLY | attr::NOEXEC });
            let at = at::proc_fd_path(read_only.as_fd());
            assert!(std::fs::write(at.join("new"), "x").is_err());
            assert_eq!(
                at::mount_attrs(read_only.as_fd()).unwrap() & (attr::RDONLY | attr::NOEXEC),
                attr::RDONLY | attr::NOEXEC
            );
            std::fs::remove_dir_all(&upper).unwrap();
            std::fs::remove_dir_all(&work).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string("/proc/self/mountinfo").unwrap(),
            before,
            "nothing is seen in this namespace"
        );
        assert_eq!(std::env::current_dir().unwrap(), cwd);
    }
}
