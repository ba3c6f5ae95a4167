//! What is in an image archive: its files by path, read at random from a file or kept while a stream goes by. Called by
//! load. Paths are names in a table and never touch the file system.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::compression::Compression;
use super::error::{IoContext, StoreError};
use super::layers::{Fresh, Job, Workshop};
use super::tape::{Body, Entry, Kind, NoTap, Tape, clean_path};
use super::{Result, Store};
use crate::engine::Reader;
use crate::oci::image::{MAX_CONFIG_BYTES, MAX_INDEX_ENTRIES, MAX_LAYERS};
use crate::stdx::ids::Digest;

/// The most files an archive may have: every layer of every image and the documents around them.
const MAX_FILES: usize = 16 * MAX_INDEX_ENTRIES.saturating_add(MAX_LAYERS);
/// The most bytes of documents that are kept while a stream goes by.
const MAX_DOCUMENTS_BYTES: u64 = 64 << 20;
/// Bytes that tell a layer from a document.
const HEAD_BYTES: u64 = 512;
/// Symbolic links followed from one name (docker 20.10 links equal layers).
const MAX_HOPS: usize = 8;

/// Where an archive comes from.
pub enum Source {
    /// A file; a plain tar is read at random and its layers in parallel.
    File(File),
    /// A pipe or socket, read once from start to end.
    Stream(Box<dyn Read + Send>),
}

/// The files of an archive.
pub(super) struct Archive {
    bodies: HashMap<Vec<u8>, Place>,
    links: HashMap<Vec<u8>, Vec<u8>>,
    file: Option<Arc<File>>,
}

/// Where one file of an archive is.
pub(super) enum Place {
    /// A range of the archive's file.
    Range { offset: u64, size: u64 },
    /// Read already, because the stream has gone by.
    Document(Vec<u8>),
    /// Unpacked or listed already, for the same reason; the number is its place in the list of layers that went by.
    Unpacked(usize),
    /// A plain layer that was in the store already.
    Known(Digest),
}

impl Archive {
    /// Lists a plain tar file, jumping over the bodies.
    pub(super) fn scan(file: File) -> Result<Archive> {
        let file = Arc::new(file);
        let mut archive = Archive { bodies: HashMap::new(), links: HashMap::new(), file: Some(Arc::clone(&file)) };
        let end = file.metadata().at("look at", "the archive")?.len();
        let mut position = 0;
        while position < end {
            let input = BufReader::with_capacity(4096, Range { file: &file, position, end });
            let mut tape = Tape::new(input, NoTap);
            let Some(entry) = tape.next_entry()? else { break };
            let offset = position + tape.offset();
            let next = entry.size.checked_next_multiple_of(512).and_then(|size| offset.checked_add(size));
            position = next.filter(|next| *next <= end.next_multiple_of(512)).ok_or_else(|| {
                StoreError::invalid("the archive", "it ends in the middle of an entry")
                    .with_hint("it was cut short; fetch or write it again")
            })?;
            let place = Place::Range { offset, size: entry.size };
            archive.add(&entry.path, entry.kind, &entry.link, place)?;
        }
        Ok(archive)
    }

    /// Reads a stream to its end: small documents are kept, what looks like a layer is unpacked as it goes by.
    pub(super) fn consume(
        input: impl Read,
        store: &Store,
        shop: &Workshop<'_>,
        fresh: &mut Vec<Fresh>,
    ) -> Result<Archive> {
        Archive::consume_with(input, |entry, body| match known_layer(store, &entry.path)? {
            Some(diff_id) => Ok(Place::Known(diff_id)),
            None => {
                let shown = shown(&entry.path);
                let job = Job { n: fresh.len(), shown: &shown, total_bytes: Some(entry.size) };
                fresh.push(shop.unpack(&job, body)?);
                Ok(Place::Unpacked(fresh.len() - 1))
            }
        })
    }

    /// Reads a stream to its end: small documents are kept, and `layer` says what has become of what looks like a layer.
    pub(super) fn consume_with(
        input: impl Read,
        mut layer: impl FnMut(&Entry, &mut dyn Read) -> Result<Place>,
    ) -> Result<Archive> {
        let mut archive = Archive { bodies: HashMap::new(), links: HashMap::new(), file: None };
        let mut tape = Tape::new(BufReader::with_capacity(1 << 20, input), NoTap);
        let mut documents_left = MAX_DOCUMENTS_BYTES;
        while let Some(entry) = tape.next_entry()? {
            let head = match entry.kind {
                Kind::File => {
                    take_head(&mut Body(&mut tape)).map_err(|e| super::layers::read_error("the archive", e))?
                }
                _ => Vec::new(),
            };
            let mut body = head.as_slice().chain(Body(&mut tape));
            let place = match entry.kind {
                Kind::File if is_layer(&head, &entry.path) => layer(&entry, &mut body)?,
                Kind::File if entry.size <= MAX_CONFIG_BYTES.min(documents_left) => {
                    documents_left -= entry.size;
                    let mut bytes = Vec::new();
                    body.read_to_end(&mut bytes).map_err(|e| super::layers::read_error("the archive", e))?;
                    Place::Document(bytes)
                }
                _ => Place::Document(Vec::new()),
            };
            archive.add(&entry.path, entry.kind, &entry.link, place)?;
        }
        tape.drain()?;
        Ok(archive)
    }

    fn add(&mut self, path: &[u8], kind: Kind, link: &[u8], place: Place) -> Result<()> {
        if self.bodies.len() + self.links.len() >= MAX_FILES {
            return Err(StoreError::invalid("the archive", "it has more files than any image archive"));
        }
        let path = clean(path)?;
        match kind {
            Kind::File => {
                self.bodies.insert(path, place);
            }
            Kind::Symlink => {
                let parent = memchr::memrchr(b'/', &path).map_or(&path[..0], |at| &path[..at]);
                let target = [parent, b"/", link].concat();
                self.links.insert(path, clean(&target)?);
            }
            Kind::HardLink => {
                self.links.insert(path, clean(link)?);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether there is a file of that name.
    pub(super) fn has(&self, path: &str) -> bool {
        self.resolve(path).is_some()
    }

    /// Where a file is, through links between the archive's own names.
    pub(super) fn resolve(&self, path: &str) -> Option<(Vec<u8>, &Place)> {
        let mut path = clean_path(path.as_bytes())?;
        for _ in 0..MAX_HOPS {
            if let Some(place) = self.bodies.get(&path) {
                return Some((path, place));
            }
            path = self.links.get(&path)?.clone();
        }
        None
    }

    /// A small file's bytes.
    pub(super) fn document(&self, path: &str, max: u64) -> Result<Vec<u8>> {
        let missing = || {
            StoreError::invalid("the archive", format!("it has no {path}"))
                .with_hint("it is incomplete; write it again")
        };
        match self.resolve(path).ok_or_else(missing)?.1 {
            Place::Document(bytes) if bytes.len() as u64 <= max => Ok(bytes.clone()),
            Place::Range { size, offset } if *size <= max => {
                let mut bytes = vec![0; *size as usize];
                let file = self.file.as_ref().ok_or_else(missing)?;
                file.read_exact_at(&mut bytes, *offset).at("read", "the archive")?;
                Ok(bytes)
            }
            Place::Document(_) | Place::Range { .. } => {
                Err(StoreError::invalid("the archive", format!("{path} is larger than {max} bytes")))
            }
            Place::Unpacked(_) | Place::Known(_) => {
                Err(StoreError::invalid("the archive", format!("{path} is a layer where a document should be")))
            }
        }
    }

    /// A reader of a range of the archive's file.
    pub(super) fn range(&self, offset: u64, size: u64) -> impl Read + '_ {
        let file = self.file.as_deref();
        file.map_or_else(
            || Box::new(io::empty()) as Box<dyn Read + '_>,
            |file| Box::new(Range { file, position: offset, end: offset + size }),
        )
    }

    /// How a range of the archive's file is compressed.
    pub(super) fn form(&self, offset: u64, size: u64) -> Result<Compression> {
        let mut head = Vec::new();
        self.range(offset, size.min(6)).read_to_end(&mut head).at("read", "the archive")?;
        Ok(Compression::detect(&head))
    }
}

/// A part of a file as a stream, without moving the file's own position.
struct Range<'a> {
    file: &'a File,
    position: u64,
    end: u64,
}

impl Read for Range<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.end.saturating_sub(self.position)).unwrap_or(usize::MAX));
        let n_read = self.file.read_at(&mut buffer[..want], self.position)?;
        if n_read == 0 && want > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += n_read as u64;
        Ok(n_read)
    }
}

/// A name in the archive; one that leads out of it is an attack.
fn clean(path: &[u8]) -> Result<Vec<u8>> {
    clean_path(path).ok_or_else(|| {
        StoreError::invalid("the archive", format!("the name {} leads out of it", String::from_utf8_lossy(path)))
    })
}

/// The first bytes of a file, enough to tell what it is; a stream may bring them in any pieces.
pub(super) fn take_head(body: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD_BYTES as usize);
    body.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok(head)
}

/// Whether a file of a stream is a layer, by its first bytes and its name.
pub(super) fn is_layer(head: &[u8], path: &[u8]) -> bool {
    let is_tar = head.len() >= 262 && &head[257..262] == b"ustar";
    let is_empty_tar = head.len() >= 512 && head.iter().all(|b| *b == 0);
    is_tar || is_empty_tar || path.ends_with(b"/layer.tar") || Compression::detect(head) != Compression::Plain
}

/// The diffID that a path in an OCI layout promises, when the store has that layer unpacked.
fn known_layer(store: &Store, path: &[u8]) -> Result<Option<Digest>> {
    let hex = path.rsplit(|b| *b == b'/').next().and_then(|name| std::str::from_utf8(name).ok());
    // Podman's archives call a layer by its diffID, with an ending.
    let hex = hex.map(|name| name.strip_suffix(".tar").unwrap_or(name));
    let Some(digest) = hex.and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok()) else { return Ok(None) };
    Ok(store.layer_record(&digest)?.map(|record| record.diff_id))
}

/// A path as people see it.
pub(super) fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    match text.rsplit('/').next() {
        Some(hex) if hex.len() == 64 => hex[..12].to_owned(),
        _ => text.chars().take(60).collect(),
    }
}

impl Source {
    /// A regular file is read at random, anything else as a stream.
    pub fn from_file(file: File) -> Source {
        if file.metadata().is_ok_and(|meta| meta.is_file()) {
            Source::File(file)
        } else {
            Source::Stream(Box::new(file))
        }
    }

    /// What an engine was given: a file at its beginning, or a stream.
    pub fn from_reader(mut reader: Reader) -> Source {
        let any: &mut dyn std::any::Any = &mut *reader;
        let at_start = |file: &mut File| file.stream_position().is_ok_and(|at| at == 0).then(|| file.try_clone().ok());
        match any.downcast_mut::<File>().and_then(at_start).flatten() {
            Some(file) => Source::from_file(file),
            None => Source::Stream(Box::new(reader)),
        }
    }

    /// The plain tar file, or the inflated stream.
    pub(super) fn open(self) -> Result<Opened> {
        let input: Box<dyn Read + Send> = match self {
            Source::File(file) => {
                let mut head = [0; 6];
                let n_read = file.read_at(&mut head, 0).at("read", "the archive")?;
                if Compression::detect(&head[..n_read]) == Compression::Plain {
                    return Ok(Opened::File(file));
                }
                Box::new(file)
            }
            Source::Stream(stream) => stream,
        };
        let mut input = BufReader::with_capacity(256 * 1024, input);
        let form = Compression::detect(input.fill_buf().at("read", "the archive")?);
        Ok(Opened::Stream(form.inflate(input)?))
    }
}

/// A source, told apart and without outer compression.
pub(super) enum Opened {
    File(File),
    Stream(Box<dyn Read>),
}
