//! System call filters: docker's default profile, and a compiler from the runtime spec's profiles to classic BPF, one binary
//! search tree for each architecture (attaching costs a walk for every call number, so short paths matter). Called by
//! `runtime::filter` before the clone and by the engine for the default. Must never let through what the profile does not.

mod compile;
mod profile;
mod table;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

pub use self::compile::compile;
pub use self::profile::default_profile;
use crate::oci::runtime::LinuxSeccomp;
pub use crate::sys::seccomp::Insn;
use crate::sys::{self};

/// Compiled programs kept in this process; with more profiles than this in use the cache starts anew.
const CACHE_PROFILES: usize = 16;
/// The kernel's bound (BPF_MAXINSNS).
const MAX_INSNS: usize = 4096;
const MAGIC: &[u8; 8] = b"orlopsc1";

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SeccompError {
    #[error("seccomp action {action} is not supported: nobody would answer the notifications")]
    Notify { action: &'static str },
    #[error("seccomp argument index {0} of {1} is out of range: system calls have six arguments")]
    ArgIndex(usize, String),
    #[error("seccomp flag {0} is not supported without a listener")]
    Flag(&'static str),
    #[error("seccomp architecture {0} is not supported on this machine")]
    Architecture(String),
    #[error("seccomp profile is too large: {0} instructions, the kernel takes {MAX_INSNS}")]
    TooLarge(usize),
    #[error("seccomp profile cannot be read: {0}")]
    Profile(String),
    #[error("cached seccomp program is damaged")]
    Damaged,
}

/// A compiled filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub insns: Vec<Insn>,
    /// SECCOMP_FILTER_FLAG_*.
    pub flags: u32,
}

impl Program {
    /// Puts the calling thread under the filter. Runs after a fork: no allocation.
    pub fn load(&self) -> sys::Result<()> {
        sys::seccomp::load(&self.insns, self.flags)
    }

    /// A compact form for a cache on disk: magic, flags, then eight bytes an instruction, all little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.flags.to_le_bytes());
        for it in &self.insns {
            bytes.extend(it.code.to_le_bytes());
            bytes.extend([it.jt, it.jf]);
            bytes.extend(it.k.to_le_bytes());
        }
        bytes
    }

    /// # Errors
    /// `Damaged` for anything that [`Program::to_bytes`] does not write.
    pub fn from_bytes(bytes: &[u8]) -> Result<Program, SeccompError> {
        let (flags, code) =
            bytes.strip_prefix(MAGIC).and_then(|it| it.split_first_chunk::<4>()).ok_or(SeccompError::Damaged)?;
        let (insns, rest) = code.as_chunks::<8>();
        if !rest.is_empty() || insns.is_empty() || insns.len() > MAX_INSNS {
            return Err(SeccompError::Damaged);
        }
        let insn = |it: &[u8; 8]| {
            let [c0, c1, jt, jf, k @ ..] = *it;
            Insn { code: u16::from_le_bytes([c0, c1]), jt, jf, k: u32::from_le_bytes(k) }
        };
        Ok(Program { insns: insns.iter().map(insn).collect(), flags: u32::from_le_bytes(*flags) })
    }
}

/// [`compile`], once for each content in this process.
pub fn compile_cached(profile: &LinuxSeccomp) -> Result<Arc<Program>, SeccompError> {
    static CACHE: Mutex<Option<HashMap<String, Arc<Program>>>> = Mutex::new(None);
    let key = serde_json::to_string(profile).map_err(|err| SeccompError::Profile(err.to_string()))?;
    let lock = || CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = lock().as_ref().and_then(|cache| cache.get(&key)) {
        return Ok(Arc::clone(found));
    }
    let program = Arc::new(compile(profile)?);
    let mut guard = lock();
    let cache = guard.get_or_insert_default();
    if cache.len() >= CACHE_PROFILES {
        cache.clear();
    }
    cache.insert(key, Arc::clone(&program));
    Ok(program)
}

#[cfg(test)]
mod tests;
