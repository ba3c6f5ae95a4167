//! Starts a process that belongs to nobody: own session, parent init, fresh descriptors. Called by `shim` to start a supervisor from an engine
//! that has many threads and much memory; so nothing is copied (CLONE_VM, the caller waits) and the child only makes system calls.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// What to run and what it finds open.
pub struct Orphan<'a> {
    /// The program, executed by descriptor.
    pub exe: BorrowedFd<'a>,
    pub argv: &'a [CString],
    pub env: &'a [CString],
    /// Found at 3, 4, … in this order; 0 to 2 are /dev/null and everything else is closed.
    pub fds: &'a [BorrowedFd<'a>],
}

const FIRST_FD: RawFd = 3;
/// The child makes a handful of calls and then executes; signal frames do not come, signals are blocked.
const STACK_BYTES: usize = 64 * 1024;

struct Shared {
    exe: RawFd,
    argv: *const *const libc::c_char,
    env: *const *const libc::c_char,
    fds: *const RawFd,
    n_fds: usize,
    /// Numbers from here on hide none of the above.
    parking: RawFd,
    inner_stack: *mut libc::c_void,
    pid: libc::pid_t,
    errno: libc::c_int,
}

/// Starts it and returns its pid once its program runs; the caller waits meanwhile (some hundred microseconds). The pid is not the caller's
/// child: it can be gone and reused at any time.
///
/// # Errors
/// The errno of the call that failed in the child (EMFILE, ENOEXEC, …) or of clone(2).
pub fn spawn(orphan: &Orphan<'_>) -> io::Result<u32> {
    let terminated = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
    };
    let (argv, env) = (terminated(orphan.argv), terminated(orphan.env));
    let fds: Vec<RawFd> = orphan.fds.iter().map(AsRawFd::as_raw_fd).collect();
    let mut outer_stack = vec![0u128; STACK_BYTES / 16];
    let mut inner_stack = vec![0u128; STACK_BYTES / 16];
    let mut shared = Shared {
        exe: orphan.exe.as_raw_fd(),
        argv: argv.as_ptr(),
        env: env.as_ptr(),
        fds: fds.as_ptr(),
        n_fds: fds.len(),
        parking: parking(orphan.exe.as_raw_fd(), &fds),
        inner_stack: inner_stack.as_mut_ptr_range().end.cast(),
        pid: 0,
        errno: 0,
    };
    // No handler of ours may run in a child that shares our memory.
    let old_mask = block_all_signals()?;
    // SAFETY: the stacks and `shared` outlive the call, since CLONE_VFORK makes us wait until the child has gone; the child runs on its own
    // stack and `outer` only makes system calls.
    let child = unsafe {
        libc::clone(
            outer,
            outer_stack.as_mut_ptr_range().end.cast(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            (&raw mut shared).cast(),
        )
    };
    let clone_error = io::Error::last_os_error();
    // SAFETY: restores the mask that was read above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const old_mask, std::ptr::null_mut()) };
    if child < 0 {
        return Err(clone_error);
    }
    reap(child);
    if shared.errno != 0 {
        return Err(io::Error::from_raw_os_error(shared.errno));
    }
    Ok(u32::try_from(shared.pid).unwrap_or(0))
}

/// Above all that is to be placed and all places.
fn parking(exe: RawFd, fds: &[RawFd]) -> RawFd {
    fds.iter().copied().chain([exe, FIRST_FD + fds.len() as RawFd]).fold(0, RawFd::max) + 1
}

fn block_all_signals() -> io::Result<libc::sigset_t> {
    // SAFETY: sigset_t is plain data, filled by sigfillset; both pointers are valid.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut old: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        match libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old) {
            0 => Ok(old),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

fn reap(child: libc::pid_t) {
    loop {
        // SAFETY: waits for our own child, whose status nobody wants.
        let ret = unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        if ret >= 0 || io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return;
        }
    }
}

/// Starts the inner child and leaves, so that init inherits it.
extern "C" fn outer(shared: *mut libc::c_void) -> libc::c_int {
    let shared: *mut Shared = shared.cast();
    // SAFETY: the pointer is the caller's `shared`, alive while we run; the same reasons hold for the inner clone.
    unsafe {
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let pid = libc::clone(inner, (*shared).inner_stack, flags, shared.cast());
        if pid < 0 {
            (*shared).errno = *libc::__errno_location();
        }
        (*shared).pid = pid;
    }
    0
}

/// Makes the fresh start and executes. Returns only on failure.
extern "C" fn inner(shared: *mut libc::c_void) -> libc::c_int {
    let shared: *mut Shared = shared.cast();
    // SAFETY: system calls with integers and with pointers that the waiting caller keeps alive; the descriptor table is our own copy.
    unsafe {
        if prepare(&*shared) {
            let exe = FIRST_FD + (*shared).n_fds as RawFd;
            libc::syscall(libc::SYS_execveat, exe, c"".as_ptr(), (*shared).argv, (*shared).env, libc::AT_EMPTY_PATH);
        }
        (*shared).errno = *libc::__errno_location();
    }
    127
}

/// # Safety
/// Only in the inner child: rearranges the descriptor table.
unsafe fn prepare(shared: &Shared) -> bool {
    // SAFETY: as `inner`.
    unsafe {
        if libc::setsid() < 0 || libc::chdir(c"/".as_ptr()) < 0 {
            return false;
        }
        libc::umask(0o077);
        let exe_at = FIRST_FD + shared.n_fds as RawFd;
        // First all out of the way, then each to its place.
        for n in 0..=shared.n_fds {
            let from = if n < shared.n_fds { *shared.fds.add(n) } else { shared.exe };
            if libc::dup3(from, shared.parking + n as RawFd, libc::O_CLOEXEC) < 0 {
                return false;
            }
        }
        for n in 0..=shared.n_fds {
            let flags = if n < shared.n_fds { 0 } else { libc::O_CLOEXEC };
            if libc::dup3(shared.parking + n as RawFd, FIRST_FD + n as RawFd, flags) < 0 {
                return false;
            }
        }
        if libc::syscall(libc::SYS_close_range, exe_at + 1, u32::MAX, 0) < 0 {
            return false;
        }
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        if null < 0 || (0..3).any(|fd| libc::dup2(null, fd) < 0) {
            return false;
        }
        if null > 2 {
            libc::close(null);
        }
        for signal in 1..32 {
            // Ignored signals would stay ignored in the container; SIGKILL and SIGSTOP refuse, which is as well.
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        true
    }
}

/// Takes over a descriptor that this process was started with.
///
/// # Errors
/// EBADF when nothing is open there.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: only sets a flag on an integer.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and by calling this once at the start the caller says that nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    #[test]
    fn it_runs_alone_with_its_descriptors_and_nothing_else() {
        let shell = std::fs::File::open("/bin/sh").unwrap();
        let (mut from_child, to_us) = std::io::pipe().unwrap();
        let mut input = tempfile::tempfile().unwrap();
        input.write_all(b"given").unwrap();
        let script = c"exec >&3; read x </proc/self/fd/4; echo $x; ls /proc/self/fd | tr '\n' ' '; pwd; cut -d' ' -f4-6 /proc/$$/stat; echo $$";
        let argv = [c"sh", c"-c", script].map(CString::from);
        let env = [c"PATH=/usr/bin:/bin".to_owned()];
        let fds = [to_us.as_fd(), input.as_fd()];
        let pid = spawn(&Orphan { exe: shell.as_fd(), argv: &argv, env: &env, fds: &fds }).unwrap();
        drop(to_us);
        let mut said = String::new();
        from_child.read_to_string(&mut said).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], "given");
        assert_eq!(lines[1], "0 1 2 3 4 5 /", "5 is the listing itself");
        let ids: Vec<u32> = lines[2].split(' ').map(|id| id.parse().unwrap()).collect();
        assert_ne!(ids[0], std::process::id(), "not our child");
        assert_eq!(ids[1..], [pid, pid], "own group and session");
        assert_eq!(lines[3], pid.to_string());
    }

    #[test]
    fn a_program_that_cannot_run_says_why() {
        let none = std::fs::File::open("/etc/passwd").unwrap();
        let failed = spawn(&Orphan { exe: none.as_fd(), argv: &[], env: &[], fds: &[] });
        assert!(matches!(failed.unwrap_err().raw_os_error(), Some(libc::EACCES | libc::ENOEXEC)));
    }
}
