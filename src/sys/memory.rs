//! How the allocator deals with the kernel: `shim`, which stays for long, gives memory back; a command line's verb, gone in milliseconds, does not.

const PAGE: usize = 4096;

/// For a process that ends soon: its threads share one heap, which grows in large steps and never shrinks. Saves some dozen system calls.
pub fn keep_for_a_short_life() {
    const STEP: libc::c_int = 1 << 20;
    for (option, value) in [(libc::M_ARENA_MAX, 1), (libc::M_TOP_PAD, STEP), (libc::M_TRIM_THRESHOLD, libc::c_int::MAX)]
    {
        // SAFETY: takes integers; refuses what it does not know.
        unsafe { libc::mallopt(option, value) };
    }
}

/// Returns free pages of the allocator's heap (malloc_trim(3)) and unmaps the program's own code and constants, which come back from the page
/// cache as they are used. Takes some microseconds; what runs next pays some page faults.
pub fn trim() {
    // SAFETY: takes an integer; safe in any thread.
    unsafe { libc::malloc_trim(0) };
    drop_used_stack();
    let mut constants = Constants::default();
    // SAFETY: the callback gets valid entries and the pointer to our list, and keeps none.
    unsafe { libc::dl_iterate_phdr(Some(note_constants), (&raw mut constants).cast()) };
    // The code comes last, and as little as possible runs after it: each place that does brings 64 KiB back.
    for (begin, len) in constants.parts {
        // SAFETY: a private mapping of a file that was never written through: its pages are the file's, and come back on the next access.
        unsafe { libc::madvise(begin as *mut libc::c_void, len, libc::MADV_DONTNEED) };
    }
}

/// Read-only parts of the program, (address, length), in the order of their addresses: constants, then code.
#[derive(Default)]
struct Constants {
    parts: [(usize, usize); 4],
    n: usize,
}

/// Gives back what deeper calls have used of the stack; for the main thread, which has nothing else within a megabyte below it (the kernel's
/// stack guard gap).
fn drop_used_stack() {
    // More than the frames below this one can need.
    const MARGIN: usize = 16 * 1024;
    const DEPTH: usize = 256 * 1024;
    let here = 0u8;
    let end = (std::ptr::addr_of!(here) as usize - MARGIN) & !(PAGE - 1);
    if nix::unistd::gettid() == nix::unistd::getpid() {
        // SAFETY: nothing lives below the frames in use and their margin; what was never mapped there is left alone (ENOMEM).
        unsafe { libc::madvise((end - DEPTH) as *mut libc::c_void, DEPTH, libc::MADV_DONTNEED) };
    }
}

extern "C" fn note_constants(info: *mut libc::dl_phdr_info, _: usize, list: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the C library passes a valid entry whose headers live as long as the program, and the pointer that `trim` gave it.
    let (base, headers, list) = unsafe {
        let info = &*info;
        let headers = std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum));
        (info.dlpi_addr as usize, headers, &mut *list.cast::<Constants>())
    };
    for header in headers.iter().filter(|it| it.p_type == libc::PT_LOAD && it.p_flags & libc::PF_W == 0) {
        let begin = (base + header.p_vaddr as usize) & !(PAGE - 1);
        let end = base + (header.p_vaddr + header.p_memsz) as usize;
        if let Some(slot) = list.parts.get_mut(list.n) {
            *slot = (begin, end - begin);
            list.n += 1;
        }
    }
    // The first entry is the program itself; what else there may be is not ours.
    1
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_program_goes_on_with_less() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        let before = resident();
        super::trim();
        let after = resident();
        assert!(after < before, "{before} -> {after} KiB");
    }
}
