//! System calls with safe signatures; the only room with `unsafe`. One call per function, owned fds in and out.
#![allow(unsafe_code)] // the one room that may

pub mod caps;
pub mod fs;
pub mod memory;
pub mod ofd;
pub mod orphan;
pub mod winsize;
pub mod xattr;
