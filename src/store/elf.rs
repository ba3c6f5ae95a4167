//! Reads what an ELF file needs to run: its interpreter and its shared libraries, as ld.so(8) would find them. Called by
//! `from-host` on the host's own files; nothing is executed (no ldd). Every offset is checked, a damaged file is an error.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The most bytes of a table that is read.
const MAX_TABLE_BYTES: u64 = 16 << 20;
const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// What an ELF file asks for.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Needs {
    /// Word size and processor: libraries must have the same.
    pub(super) machine: (u8, u16),
    pub(super) interpreter: Option<PathBuf>,
    pub(super) libraries: Vec<String>,
    /// Search paths with `$ORIGIN` replaced; RPATH counts only without RUNPATH.
    pub(super) rpath: Vec<PathBuf>,
    pub(super) runpath: Vec<PathBuf>,
}

/// Reads the file at `path` (free of symbolic links); `None` when it is no ELF file.
pub(super) fn needs(path: &Path) -> io::Result<Option<Needs>> {
    let file = File::open(path)?;
    let mut head = [0; 64];
    match file.read_exact_at(&mut head, 0) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    if &head[..4] != b"\x7fELF" {
        return Ok(None);
    }
    let layout = Layout { is_64: head[4] == 2, is_big: head[5] == 2 };
    Elf { file, layout }.read(&head, path.parent().unwrap_or(Path::new("/"))).map(Some)
}

#[derive(Clone, Copy)]
struct Layout {
    is_64: bool,
    is_big: bool,
}

impl Layout {
    fn number(self, bytes: &[u8], at: usize, len: usize) -> io::Result<u64> {
        let field = bytes.get(at..at + len).ok_or_else(damaged)?;
        let fold = |value: u64, byte: &u8| (value << 8) | u64::from(*byte);
        Ok(if self.is_big { field.iter().fold(0, fold) } else { field.iter().rev().fold(0, fold) })
    }

    /// A field that is four bytes in 32-bit files and eight in 64-bit ones.
    fn word(self, bytes: &[u8], at_32: usize, at_64: usize) -> io::Result<u64> {
        if self.is_64 { self.number(bytes, at_64, 8) } else { self.number(bytes, at_32, 4) }
    }
}

struct Segment {
    kind: u64,
    offset: u64,
    address: u64,
    size: u64,
}

struct Elf {
    file: File,
    layout: Layout,
}

impl Elf {
    fn read(&self, head: &[u8], origin: &Path) -> io::Result<Needs> {
        let segments = self.segments(head)?;
        let machine = self.layout.number(head, 18, 2)?;
        let mut needs = Needs { machine: (head[4], machine as u16), ..Needs::default() };
        for segment in &segments {
            match segment.kind {
                PT_INTERP => {
                    let bytes = self.bytes(segment.offset, segment.size)?;
                    needs.interpreter = Some(PathBuf::from(text(&bytes)));
                }
                PT_DYNAMIC => self.dynamic(segment, &segments, origin, &mut needs)?,
                _ => {}
            }
        }
        Ok(needs)
    }

    fn segments(&self, head: &[u8]) -> io::Result<Vec<Segment>> {
        let layout = self.layout;
        let table = layout.word(head, 28, 32)?;
        let (size_at, count_at) = if layout.is_64 { (54, 56) } else { (42, 44) };
        let entry_size = layout.number(head, size_at, 2)?;
        let n_entries = layout.number(head, count_at, 2)?;
        if entry_size < 32 || (layout.is_64 && entry_size < 56) {
            return if n_entries == 0 { Ok(Vec::new()) } else { Err(damaged()) };
        }
        let bytes = self.bytes(table, entry_size * n_entries)?;
        let segment = |entry: &[u8]| {
            Ok(Segment {
                kind: layout.number(entry, 0, 4)?,
                offset: layout.word(entry, 4, 8)?,
                address: layout.word(entry, 8, 16)?,
                size: layout.word(entry, 16, 32)?,
            })
        };
        bytes.chunks_exact(entry_size as usize).map(segment).collect()
    }

    fn dynamic(&self, segment: &Segment, segments: &[Segment], origin: &Path, needs: &mut Needs) -> io::Result<()> {
        let bytes = self.bytes(segment.offset, segment.size)?;
        let word = if self.layout.is_64 { 8 } else { 4 };
        let mut entries = Vec::new();
        for entry in bytes.chunks_exact(2 * word) {
            let (tag, value) = (self.layout.number(entry, 0, word)?, self.layout.number(entry, word, word)?);
            if tag == 0 {
                break;
            }
            entries.push((tag, value));
        }
        let find = |tag| entries.iter().find(|(t, _)| *t == tag).map(|(_, value)| *value);
        let Some(address) = find(DT_STRTAB) else { return Ok(()) };
        let inside =
            |s: &&Segment| s.kind == PT_LOAD && (s.address..s.address.saturating_add(s.size)).contains(&address);
        let load = segments.iter().find(inside).ok_or_else(damaged)?;
        let strings = self.bytes(address - load.address + load.offset, find(DT_STRSZ).unwrap_or(0))?;
        let string = |at: u64| strings.get(at as usize..).map(text).ok_or_else(damaged);
        for (tag, value) in entries {
            match tag {
                DT_NEEDED => needs.libraries.push(string(value)?),
                DT_RPATH => needs.rpath = search_path(&string(value)?, origin),
                DT_RUNPATH => needs.runpath = search_path(&string(value)?, origin),
                _ => {}
            }
        }
        Ok(())
    }

    fn bytes(&self, offset: u64, size: u64) -> io::Result<Vec<u8>> {
        if size > MAX_TABLE_BYTES || size > self.file.metadata()?.len() {
            return Err(damaged());
        }
        let mut bytes = vec![0; size as usize];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

fn search_path(text: &str, origin: &Path) -> Vec<PathBuf> {
    let origin = origin.display().to_string();
    let dirs = text.split(':').filter(|dir| !dir.is_empty());
    dirs.map(|dir| PathBuf::from(dir.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin))).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|b| *b == 0).next().unwrap_or_default()).into_owned()
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "damaged ELF file")
}

/// The paths in glibc's library cache under a library's name, in the cache's order.
pub(super) struct Cache(Vec<(String, PathBuf)>);

impl Cache {
    /// The host's; empty when there is none (musl).
    pub(super) fn of_host() -> Cache {
        Cache(std::fs::read("/etc/ld.so.cache").ok().and_then(|bytes| parse_cache(&bytes)).unwrap_or_default())
    }

    pub(super) fn paths(&self, name: &str) -> impl Iterator<Item = &Path> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, path)| path.as_path())
    }
}

/// The format since glibc 2.2: a header of 48 bytes, entries of 24, strings by offset from the header.
fn parse_cache(bytes: &[u8]) -> Option<Vec<(String, PathBuf)>> {
    let start = memchr::memmem::find(bytes, b"glibc-ld.so.cache1.1")?;
    let table = &bytes[start..];
    let number = |at: usize| Some(u32::from_le_bytes(table.get(at..at + 4)?.try_into().ok()?) as usize);
    let n_entries = number(20)?.min(1 << 20);
    let entry = |n: usize| {
        let at = 48 + 24 * n;
        Some((text(table.get(number(at + 4)?..)?), PathBuf::from(text(table.get(number(at + 8)?..)?))))
    };
    Some((0..n_entries).map_while(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_own_programs_are_read() {
        let Ok(sh) = Path::new("/bin/sh").canonicalize() else {
            eprintln!("not shown: this machine has no /bin/sh");
            return;
        };
        let needs = needs(&sh).unwrap().expect("an ELF file");
        assert_eq!(
            needs.interpreter.is_some(),
            needs.libraries.iter().any(|name| name.starts_with("libc.")),
            "{needs:?}"
        );
    }

    #[test]
    fn what_is_no_elf_or_cut_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        assert_eq!(needs(&path).unwrap(), None);
        let Ok(whole) = std::fs::read("/bin/sh") else { return };
        // No byte of a header may lead to a panic or a wild read.
        for at in 4..64 {
            let mut bytes = whole[..whole.len().min(8192)].to_vec();
            bytes[at] = 0xff;
            std::fs::write(&path, &bytes).unwrap();
            let _ = needs(&path);
        }
        std::fs::write(&path, &whole[..200]).unwrap();
        assert!(needs(&path).is_err());
    }

    #[test]
    fn origin_and_cache_are_understood() {
        let found = search_path("$ORIGIN/../lib:${ORIGIN}:/opt", Path::new("/a/bin"));
        assert_eq!(found, [Path::new("/a/bin/../lib"), Path::new("/a/bin"), Path::new("/opt")]);
        assert!(parse_cache(b"nonsense").is_none());
        assert!(parse_cache(&[b"glibc-ld.so.cache1.1".as_slice(), &[0xff; 60]].concat()).is_some_and(|v| v.is_empty()));
    }
}
