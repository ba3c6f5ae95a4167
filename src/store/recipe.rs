//! What is needed to write a layer's tar again, byte for byte, from its unpacked files: every byte of the stream that is
//! not the body of a plain file, and where those bodies are. It replaces a second copy of each uncompressed layer; the
//! digest is checked again whenever one is written. Called by the layer pipeline (written) and `save` (read).
//!
//! ```text
//! recipe.zst   zstd of records: 0 len:u32 bytes | 1 size:u64 len:u16 path
//! kept/<n>     what a later entry of the same layer replaced
//! ```

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::tape::Tap;

const RAW: u8 = 0;
const BODY: u8 = 1;
const RAW_MAX: usize = 64 * 1024;

/// Something that a later entry replaced: bodies named before `before_body` at or beneath `path` are in `kept/<n>`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Replaced {
    before_body: u64,
    path: Vec<u8>,
}

/// Writes a recipe while a layer is unpacked.
pub(super) struct Writer {
    out: zstd::stream::write::Encoder<'static, BufWriter<File>>,
    raw: Vec<u8>,
    n_bodies: u64,
}

impl Writer {
    pub(super) fn create(path: &Path) -> io::Result<Writer> {
        let file = BufWriter::with_capacity(256 * 1024, File::create_new(path)?);
        let out = zstd::stream::write::Encoder::new(file, 1)?;
        Ok(Writer { out, raw: Vec::with_capacity(RAW_MAX), n_bodies: 0 })
    }

    /// The next `size` bytes of the stream are what was written to `path`.
    pub(super) fn body(&mut self, path: &[u8], size: u64) -> io::Result<()> {
        self.flush_raw()?;
        self.n_bodies += 1;
        let len = u16::try_from(path.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut head = [0; 11];
        head[0] = BODY;
        head[1..9].copy_from_slice(&size.to_le_bytes());
        head[9..].copy_from_slice(&len.to_le_bytes());
        self.out.write_all(&head)?;
        self.out.write_all(path)
    }

    /// A note that what is at `path` now is about to move aside.
    pub(super) fn replaced(&self, path: &[u8]) -> Replaced {
        Replaced { before_body: self.n_bodies, path: path.to_vec() }
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.flush_raw()?;
        self.out.finish()?.flush()
    }

    fn flush_raw(&mut self) -> io::Result<()> {
        if !self.raw.is_empty() {
            self.out.write_all(&[RAW])?;
            self.out.write_all(&(self.raw.len() as u32).to_le_bytes())?;
            self.out.write_all(&self.raw)?;
            self.raw.clear();
        }
        Ok(())
    }
}

impl Tap for Writer {
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(RAW_MAX) {
            if self.raw.len() + piece.len() > RAW_MAX {
                self.flush_raw()?;
            }
            self.raw.extend_from_slice(piece);
        }
        Ok(())
    }
}

/// Reads a layer's tar again.
pub(super) struct Reader {
    layer: PathBuf,
    replaced: Vec<Replaced>,
    records: BufReader<zstd::stream::read::Decoder<'static, BufReader<File>>>,
    part: Part,
    n_bodies: u64,
}

enum Part {
    Raw(u64),
    Body(File, u64),
}

impl Reader {
    /// Over the layer in directory `layer`, with what its record says was replaced.
    pub(super) fn open(layer: &Path, replaced: Vec<Replaced>) -> io::Result<Reader> {
        let decoder = zstd::stream::read::Decoder::new(File::open(layer.join("recipe.zst"))?)?;
        let records = BufReader::with_capacity(256 * 1024, decoder);
        Ok(Reader { layer: layer.to_owned(), replaced, records, part: Part::Raw(0), n_bodies: 0 })
    }

    /// Goes to the next record; false at the end.
    fn next_part(&mut self) -> io::Result<bool> {
        let mut kind = [0];
        if self.records.read(&mut kind)? == 0 {
            return Ok(false);
        }
        if kind[0] == RAW {
            let mut len = [0; 4];
            self.records.read_exact(&mut len)?;
            self.part = Part::Raw(u64::from(u32::from_le_bytes(len)));
            return Ok(true);
        }
        let mut head = [0; 10];
        self.records.read_exact(&mut head)?;
        let (size, len) = head.split_at(8);
        let size = u64::from_le_bytes(size.try_into().unwrap_or_default());
        let mut path = vec![0; usize::from(u16::from_le_bytes(len.try_into().unwrap_or_default()))];
        self.records.read_exact(&mut path)?;
        let file = File::open(self.place(&path))?;
        self.n_bodies += 1;
        self.part = Part::Body(file, size);
        Ok(true)
    }

    /// Where the body that was written to `path` is now.
    fn place(&self, path: &[u8]) -> PathBuf {
        let at = |path: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(path));
        let moved = self.replaced.iter().enumerate().find_map(|(n, replaced)| {
            let rest = path.strip_prefix(replaced.path.as_slice())?;
            let is_beneath = rest.is_empty() || rest.starts_with(b"/");
            (replaced.before_body > self.n_bodies && is_beneath).then_some((n, rest))
        });
        match moved {
            Some((n, [])) => self.layer.join("kept").join(n.to_string()),
            Some((n, rest)) => self.layer.join("kept").join(n.to_string()).join(at(&rest[1..])),
            None => self.layer.join("fs").join(at(path)),
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let n_read = match &mut self.part {
                Part::Raw(left) => {
                    let n_read = (&mut self.records).take(*left).read(buffer)?;
                    *left -= n_read as u64;
                    n_read
                }
                Part::Body(file, left) => {
                    let n_read = file.take(*left).read(buffer)?;
                    *left -= n_read as u64;
                    if n_read == 0 && *left > 0 {
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file of the layer was cut"));
                    }
                    n_read
                }
            };
            if n_read > 0 || buffer.is_empty() || !self.next_part()? {
                return Ok(n_read);
            }
        }
    }
}
