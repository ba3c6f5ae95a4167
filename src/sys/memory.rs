//! Gives memory back to the kernel. Called by `shim`, which stays for long and wants to be small.

/// Returns free pages of the allocator's heap (malloc_trim(3)).
pub fn trim() {
    // SAFETY: takes an integer; safe in any thread.
    unsafe { libc::malloc_trim(0) };
}
