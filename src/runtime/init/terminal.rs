//! The container's pseudo terminal: from its own devpts, its master sent to the parent, its slave at /dev/console and 0, 1, 2.
//! Called by `init`.

use super::super::error::{At, Result, Step};
use super::super::plan::process::ProcessPlan;
use super::super::sync::{Channel, Report};
use super::target::{Want, open_or_make};
use crate::sys::at::{self, Confined};
use crate::sys::mount::{self, Depth};
use crate::sys::tty;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// Makes the terminal when one is wanted. `root` is the container's root while it is not yet this process's.
pub(crate) fn set_up(process: &mut ProcessPlan, root: Option<BorrowedFd<'_>>, channel: &Channel) -> Result<()> {
    let Some(size) = process.terminal else { return Ok(()) };
    let own = root.and_then(|root| {
        let flags = at::O_PATH | at::O_DIRECTORY;
        let dir = at::open(root, Path::new("/dev/pts"), flags, 0, Confined::InRootNoSymlinks).ok()?;
        (at::fs_magic(dir.as_fd()) == Ok(at::magic::DEVPTS)).then_some(dir)
    });
    let devpts = match own {
        Some(dir) => dir,
        // Without a devpts of its own the container gets a terminal of the one in sight: the host's, or the joined one.
        None => at::open(at::CWD, Path::new("/dev/pts"), at::O_PATH | at::O_DIRECTORY, 0, Confined::No)
            .at(Step::Terminal, "/dev/pts")?,
    };
    let pty = tty::open(devpts.as_fd()).at(Step::Terminal, "ptmx")?;
    if size.rows != 0 || size.cols != 0 {
        tty::set_size(pty.master.as_fd(), size).at(Step::Terminal, "size")?;
    }
    // The user owns its terminal; the group stays devpts' own (tty).
    let group = at::stat(pty.slave.as_fd()).at(Step::Terminal, "slave")?.gid;
    at::chown(pty.slave.as_fd(), process.uid, group).at(Step::Terminal, "owner")?;
    if let Some(root) = root {
        // The slave itself, by descriptor: what an image put at /dev/console or /dev/pts/0 plays no part (CVE-2025-52565).
        let place = open_or_make(root, Path::new("/dev/console"), Want::File)?;
        let bound = mount::clone_tree(pty.slave.as_fd(), c"", Depth::One).at(Step::Terminal, "/dev/console")?;
        mount::attach(bound.as_fd(), place.as_fd()).at(Step::Terminal, "/dev/console")?;
    }
    tty::set_controlling(pty.slave.as_fd()).at(Step::Terminal, "controlling terminal")?;
    let copy = || crate::sys::fd::duplicate_above(pty.slave.as_fd(), 3).at(Step::Terminal, "slave");
    process.streams = Some([copy()?, copy()?, copy()?]);
    channel.report(&Report::Terminal(pty.master))
}
