//! Reads a tar stream: ustar, PAX and GNU headers in one pass, bodies without copies. Called by the layer extractor and
//! the archive reader. Sizes follow one rule everywhere (PAX over ustar, none for links and devices), so that no two
//! readers inside this program can disagree about where an entry ends (CVE-2025-62518).

use std::io::{self, BufRead, Read};

use super::error::StoreError;

const BLOCK: usize = 512;
/// The largest extended header or long name, in bytes.
const MAX_EXTENSION_BYTES: u64 = 1 << 20;
/// The longest path, in bytes.
pub(super) const MAX_PATH_BYTES: usize = 4096;
/// The most extended attributes and sparse pieces of one entry.
const MAX_PIECES: usize = 32 * 1024;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
    /// A type that means nothing to a file system, such as a volume label.
    Other(u8),
}

/// One entry's header, with its extended headers applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) kind: Kind,
    /// Permission bits with set-id and sticky bits.
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    /// Bytes of the body in the archive.
    pub(super) size: u64,
    pub(super) mtime: (i64, u32),
    pub(super) device: (u64, u64),
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Option<Sparse>,
}

/// A file with holes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sparse {
    pub(super) real_size: u64,
    /// Offset and length of what is in the body, in order.
    pub(super) pieces: Vec<(u64, u64)>,
    /// PAX 1.0: the map is at the start of the body.
    pub(super) is_in_body: bool,
}

/// Gets every byte of the stream that is not the body of a plain file.
pub(super) trait Tap {
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// Wants nothing.
pub(super) struct NoTap;

impl Tap for NoTap {
    fn raw(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// A tar stream being read.
pub(super) struct Tape<R, T> {
    input: R,
    pub(super) tap: T,
    body_left: u64,
    padding: u64,
    offset: u64,
}

impl<R: BufRead, T: Tap> Tape<R, T> {
    pub(super) fn new(input: R, tap: T) -> Tape<R, T> {
        Tape { input, tap, body_left: 0, padding: 0, offset: 0 }
    }

    /// Where the next unread byte is.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// What is left of the present body.
    pub(super) fn body_left(&self) -> u64 {
        self.body_left
    }

    /// The next entry; `None` at the end of the archive. Skips what is left of the present body.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry>, StoreError> {
        let mut pax = Pax::default();
        let (mut long_path, mut long_link) = (None, None);
        loop {
            self.skip_body()?;
            let Some(block) = self.header_block()? else { return Ok(None) };
            let mut header = Header::parse(&block, self.offset)?;
            match header.flag {
                b'x' => {
                    let bytes = self.extension(header.size)?;
                    pax = Pax::parse(&bytes, self.offset)?;
                }
                b'g' => drop(self.extension(header.size)?),
                b'L' => long_path = Some(until_nul(self.extension(header.size)?)),
                b'K' => long_link = Some(until_nul(self.extension(header.size)?)),
                _ => {
                    let old_sparse = if header.flag == b'S' { Some(self.old_sparse_map(&block)?) } else { None };
                    header.apply(pax, long_path, long_link);
                    let entry = header.into_entry(old_sparse, self.offset)?;
                    self.body_left = entry.size;
                    self.padding = entry.size.next_multiple_of(BLOCK as u64) - entry.size;
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// Reads on after the end of the archive, so that the whole stream is seen: padding, or what somebody hid there.
    pub(super) fn drain(&mut self) -> Result<(), StoreError> {
        loop {
            let chunk = self.input.fill_buf().map_err(|e| broken(self.offset, e))?;
            if chunk.is_empty() {
                return Ok(());
            }
            let n_bytes = chunk.len();
            self.tap.raw(chunk).map_err(|e| StoreError::io("keep", "the archive's headers", e))?;
            self.input.consume(n_bytes);
            self.offset += n_bytes as u64;
        }
    }

    /// The next piece of the body, at most `want` bytes, without a copy; then [`Tape::advance`] past it.
    pub(super) fn body_chunk(&mut self, want: u64) -> Result<&[u8], StoreError> {
        let left = self.body_left.min(want);
        let offset = self.offset;
        let chunk = self.input.fill_buf().map_err(|e| broken(offset, e))?;
        if chunk.is_empty() && left > 0 {
            return Err(truncated(offset));
        }
        Ok(&chunk[..chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX))])
    }

    pub(super) fn advance(&mut self, n_bytes: usize) {
        self.input.consume(n_bytes);
        self.body_left -= n_bytes as u64;
        self.offset += n_bytes as u64;
    }

    /// Passes what is left of the body, and its padding, to the tap.
    pub(super) fn skip_body(&mut self) -> Result<(), StoreError> {
        let mut left = self.body_left + self.padding;
        while left > 0 {
            let offset = self.offset;
            let chunk = self.input.fill_buf().map_err(|e| broken(offset, e))?;
            if chunk.is_empty() {
                return Err(truncated(offset));
            }
            let n_bytes = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.tap.raw(&chunk[..n_bytes]).map_err(|e| StoreError::io("keep", "the archive's headers", e))?;
            self.input.consume(n_bytes);
            self.offset += n_bytes as u64;
            left -= n_bytes as u64;
        }
        (self.body_left, self.padding) = (0, 0);
        Ok(())
    }

    /// Reads exactly so many bytes of the body and gives them to the tap.
    pub(super) fn read_tapped(&mut self, buffer: &mut [u8]) -> Result<(), StoreError> {
        let offset = self.offset;
        self.input.read_exact(buffer).map_err(|e| broken(offset, e))?;
        self.tap.raw(buffer).map_err(|e| StoreError::io("keep", "the archive's headers", e))?;
        self.offset += buffer.len() as u64;
        self.body_left = self.body_left.saturating_sub(buffer.len() as u64);
        Ok(())
    }

    /// One block; `None` when the stream ends cleanly, or with a block of zeros as the format wants.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>, StoreError> {
        if self.input.fill_buf().map_err(|e| broken(self.offset, e))?.is_empty() {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        self.read_tapped(&mut block)?;
        if block.iter().all(|b| *b == 0) { Ok(None) } else { Ok(Some(block)) }
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, StoreError> {
        if size > MAX_EXTENSION_BYTES {
            return Err(bad(self.offset, format!("an extended header of {size} bytes is larger than 1 MiB")));
        }
        let mut bytes = vec![0; size as usize];
        self.read_tapped(&mut bytes)?;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        self.skip_body()?;
        Ok(bytes)
    }

    /// The map of an old GNU sparse file: four pieces in the header, then blocks of 21.
    fn old_sparse_map(&mut self, header: &[u8; BLOCK]) -> Result<Sparse, StoreError> {
        let mut sparse = Sparse { real_size: number(&header[483..495], self.offset)?, ..Sparse::default() };
        push_pieces(&mut sparse.pieces, &header[386..482], self.offset)?;
        let mut is_extended = header[482] != 0;
        while is_extended {
            let mut block = [0; BLOCK];
            self.read_tapped(&mut block)?;
            push_pieces(&mut sparse.pieces, &block[..504], self.offset)?;
            is_extended = block[504] != 0;
        }
        Ok(sparse)
    }

    /// The map at the start of the body of a PAX 1.0 sparse file: decimal lines, padded to a block.
    pub(super) fn body_sparse_map(&mut self) -> Result<Vec<(u64, u64)>, StoreError> {
        let mut text = Vec::new();
        let mut n_lines_wanted = 1;
        let mut numbers = Vec::new();
        while numbers.len() < n_lines_wanted {
            if self.body_left < BLOCK as u64 {
                return Err(bad(self.offset, "the sparse map ends early"));
            }
            let mut block = [0; BLOCK];
            self.read_tapped(&mut block)?;
            text.extend_from_slice(&block);
            while numbers.len() < n_lines_wanted
                && let Some(end) = memchr::memchr(b'\n', &text)
            {
                let value = decimal(&text[..end]).ok_or_else(|| bad(self.offset, "malformed sparse map"))?;
                text.drain(..=end);
                if numbers.is_empty() {
                    if value > MAX_PIECES as u64 {
                        return Err(bad(self.offset, "a sparse map with too many pieces"));
                    }
                    n_lines_wanted = 1 + 2 * value as usize;
                }
                numbers.push(value);
            }
            if text.len() > 2 * BLOCK {
                return Err(bad(self.offset, "malformed sparse map"));
            }
        }
        Ok(numbers[1..].chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    }
}

/// The present body as a reader; ends where it ends.
pub(super) struct Body<'a, R, T>(pub(super) &'a mut Tape<R, T>);

impl<R: BufRead, T: Tap> Read for Body<'_, R, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let chunk = self.0.body_chunk(buffer.len() as u64).map_err(io::Error::other)?;
        let n_bytes = chunk.len();
        buffer[..n_bytes].copy_from_slice(chunk);
        self.0.advance(n_bytes);
        Ok(n_bytes)
    }
}

/// A path without `.`, `..` and empty components, relative to the root; `None` when it leaves the root on the way.
pub(super) fn clean_path(path: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

/// The fields of one header block.
struct Header {
    entry: Entry,
    flag: u8,
    size: u64,
}

impl Header {
    fn parse(block: &[u8; BLOCK], offset: u64) -> Result<Header, StoreError> {
        check_sum(block, offset)?;
        let is_ustar = &block[257..262] == b"ustar";
        let is_gnu = &block[257..265] == b"ustar  \0";
        let mut path = field(&block[..100]).to_vec();
        let prefix = field(&block[345..500]);
        if is_ustar && !is_gnu && !prefix.is_empty() {
            path = [prefix, b"/", &path].concat();
        }
        let size = number(&block[124..136], offset)?;
        let device =
            if is_ustar { (number(&block[329..337], offset)?, number(&block[337..345], offset)?) } else { (0, 0) };
        let entry = Entry {
            path,
            link: field(&block[157..257]).to_vec(),
            kind: Kind::Other(block[156]),
            mode: (number(&block[100..108], offset)? & 0o7777) as u32,
            uid: number(&block[108..116], offset)?,
            gid: number(&block[116..124], offset)?,
            size,
            mtime: (signed(&block[136..148], offset)?, 0),
            device,
            xattrs: Vec::new(),
            sparse: None,
        };
        Ok(Header { entry, flag: block[156], size })
    }

    fn apply(&mut self, pax: Pax, long_path: Option<Vec<u8>>, long_link: Option<Vec<u8>>) {
        let entry = &mut self.entry;
        if let Some(path) = pax.sparse_name.or(pax.path).or(long_path) {
            entry.path = path;
        }
        if let Some(link) = pax.link.or(long_link) {
            entry.link = link;
        }
        entry.size = pax.size.unwrap_or(entry.size);
        entry.uid = pax.uid.unwrap_or(entry.uid);
        entry.gid = pax.gid.unwrap_or(entry.gid);
        entry.mtime = pax.mtime.unwrap_or(entry.mtime);
        entry.xattrs = pax.xattrs;
        entry.sparse = pax.sparse;
    }

    fn into_entry(self, old_sparse: Option<Sparse>, offset: u64) -> Result<Entry, StoreError> {
        let mut entry = self.entry;
        entry.kind = match self.flag {
            b'0' | 0 | b'7' | b'S' if entry.path.ends_with(b"/") && self.flag == 0 => Kind::Directory,
            b'0' | 0 | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => Kind::Other(other),
        };
        // Links, devices, directories and pipes have no body, whatever their size says (Go's and GNU's rule).
        if !matches!(entry.kind, Kind::File | Kind::Other(_)) {
            entry.size = 0;
        }
        if old_sparse.is_some() {
            entry.sparse = old_sparse;
        }
        if entry.kind != Kind::File {
            entry.sparse = None;
        }
        for text in [&entry.path, &entry.link] {
            if text.len() > MAX_PATH_BYTES {
                return Err(bad(offset, format!("a path of {} bytes is longer than {MAX_PATH_BYTES}", text.len())));
            }
            if text.contains(&0) {
                return Err(bad(offset, "a path with a zero byte"));
            }
        }
        if entry.size > i64::MAX as u64 {
            return Err(bad(offset, "an entry larger than any file"));
        }
        Ok(entry)
    }
}

/// What a PAX extended header says.
#[derive(Default)]
struct Pax {
    path: Option<Vec<u8>>,
    sparse_name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse: Option<Sparse>,
}

impl Pax {
    fn parse(mut bytes: &[u8], offset: u64) -> Result<Pax, StoreError> {
        let malformed = || bad(offset, "malformed PAX header");
        let mut pax = Pax::default();
        let mut offset_of_piece = None;
        while !bytes.is_empty() && bytes[0] != 0 {
            let space = memchr::memchr(b' ', bytes).ok_or_else(malformed)?;
            let length = decimal(&bytes[..space]).and_then(|n| usize::try_from(n).ok()).ok_or_else(malformed)?;
            if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
                return Err(malformed());
            }
            let record = &bytes[space + 1..length - 1];
            bytes = &bytes[length..];
            let equals = memchr::memchr(b'=', record).ok_or_else(malformed)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            pax.record(key, value, &mut offset_of_piece).ok_or_else(malformed)?;
            if pax.xattrs.len() > MAX_PIECES || pax.sparse.as_ref().is_some_and(|s| s.pieces.len() > MAX_PIECES) {
                return Err(malformed());
            }
        }
        Ok(pax)
    }

    /// Takes one record; `None` when its value is malformed. An empty value takes an earlier one back.
    fn record(&mut self, key: &[u8], value: &[u8], piece_offset: &mut Option<u64>) -> Option<()> {
        let text = || Some(value.to_vec()).filter(|v| !v.is_empty());
        match key {
            b"path" => self.path = text(),
            b"linkpath" => self.link = text(),
            b"size" => self.size = Some(decimal(value)?),
            b"uid" => self.uid = Some(decimal(value)?),
            b"gid" => self.gid = Some(decimal(value)?),
            b"mtime" => self.mtime = Some(timestamp(value)?),
            b"GNU.sparse.name" => self.sparse_name = text(),
            b"GNU.sparse.major" => self.sparse().is_in_body = value == b"1",
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse().real_size = decimal(value)?,
            // 0.0: one record for each number.
            b"GNU.sparse.offset" => *piece_offset = Some(decimal(value)?),
            b"GNU.sparse.numbytes" => {
                let piece = (piece_offset.take()?, decimal(value)?);
                self.sparse().pieces.push(piece);
            }
            // 0.1: all numbers in one record.
            b"GNU.sparse.map" => {
                let numbers: Option<Vec<u64>> = value.split(|b| *b == b',').map(decimal).collect();
                self.sparse().pieces = numbers?.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Some(())
    }

    fn sparse(&mut self) -> &mut Sparse {
        self.sparse.get_or_insert_default()
    }
}

fn check_sum(block: &[u8; BLOCK], offset: u64) -> Result<(), StoreError> {
    let said = number(&block[148..156], offset)?;
    let unsigned: u64 = block.iter().map(|b| u64::from(*b)).sum();
    let own: u64 = block[148..156].iter().map(|b| u64::from(*b)).sum();
    let sum = unsigned - own + 8 * u64::from(b' ');
    // Some old writers summed signed bytes.
    let n_high = block.iter().enumerate().filter(|(at, b)| !(148..156).contains(at) && **b >= 0x80).count() as u64;
    if said == sum || said == sum.wrapping_sub(256 * n_high) {
        return Ok(());
    }
    Err(bad(offset, "a header with a wrong checksum; this is not a tar archive, or it is damaged"))
}

/// A text field ends at a NUL or at its end.
fn field(bytes: &[u8]) -> &[u8] {
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(field(&bytes).len());
    bytes
}

/// Octal text, or base 256 when the first bit is set.
fn number(bytes: &[u8], offset: u64) -> Result<u64, StoreError> {
    u64::try_from(signed(bytes, offset)?).map_err(|_| bad(offset, "a negative number in a header"))
}

fn signed(bytes: &[u8], offset: u64) -> Result<i64, StoreError> {
    if bytes[0] & 0x80 != 0 {
        // Two's complement; bit 7 marks the form and bit 6 is the sign.
        let is_negative = bytes[0] & 0x40 != 0;
        let mut value: i128 = if is_negative { -1 } else { 0 };
        for (at, byte) in bytes.iter().enumerate() {
            let byte = if at == 0 && !is_negative { byte & 0x7f } else { *byte };
            value = (value << 8) | i128::from(byte);
        }
        return i64::try_from(value).map_err(|_| bad(offset, "a number in a header is too large"));
    }
    let text = field(bytes).trim_ascii();
    let mut value = 0i64;
    for digit in text {
        if !(b'0'..=b'7').contains(digit) {
            return Err(bad(offset, "a header field is not a number; this is not a tar archive, or it is damaged"));
        }
        value = value * 8 + i64::from(digit - b'0');
    }
    Ok(value)
}

fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// `-?SECONDS[.FRACTION]`, rounded down to nanoseconds.
fn timestamp(bytes: &[u8]) -> Option<(i64, u32)> {
    let (is_negative, bytes) = bytes.strip_prefix(b"-").map_or((false, bytes), |rest| (true, rest));
    let mut parts = bytes.splitn(2, |b| *b == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let mut nanos = 0u32;
    if let Some(fraction) = parts.next() {
        let mut digits = fraction.iter();
        for _ in 0..9 {
            let digit = digits.next().copied().unwrap_or(b'0');
            nanos = nanos * 10 + u32::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        }
    }
    match (is_negative, nanos) {
        (false, _) => Some((seconds, nanos)),
        (true, 0) => Some((-seconds, 0)),
        (true, _) => Some((-seconds - 1, 1_000_000_000 - nanos)),
    }
}

fn push_pieces(pieces: &mut Vec<(u64, u64)>, bytes: &[u8], offset: u64) -> Result<(), StoreError> {
    for pair in bytes.chunks_exact(24) {
        if pair[0] == 0 {
            break;
        }
        pieces.push((number(&pair[..12], offset)?, number(&pair[12..], offset)?));
    }
    if pieces.len() > MAX_PIECES { Err(bad(offset, "a sparse map with too many pieces")) } else { Ok(()) }
}

fn bad(offset: u64, why: impl std::fmt::Display) -> StoreError {
    StoreError::invalid(format!("tar stream, byte {offset}"), why)
}

fn truncated(offset: u64) -> StoreError {
    bad(offset, "the archive ends in the middle of an entry").with_hint("it was cut short; fetch or write it again")
}

fn broken(offset: u64, error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => truncated(offset),
        // A store error that came through a reader keeps its class.
        _ => match error.downcast::<StoreError>() {
            Ok(own) => own,
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => {
                bad(offset, "the compressed data is damaged").caused_by(error)
            }
            Err(error) => StoreError::io("read", "the archive", error),
        },
    }
}

#[cfg(test)]
mod tests;
