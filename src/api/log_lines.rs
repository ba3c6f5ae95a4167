//! The stream of `GET /containers/{id}/logs?timestamps=1` → lines with their times. Called by `remote`, which always asks for timestamps.
//!
//! A daemon stores a line of more than 16 KiB in parts and puts a timestamp before each; the parts are joined here and the later timestamps
//! dropped (docker/cli#4941). With frames, a part is a frame that does not end in a newline. Without frames (a terminal), it is exactly
//! 16 KiB of text followed by something that reads as a timestamp of the same moment.

use bytes::{Bytes, BytesMut};
use memchr::memchr;

use super::stdcopy::{BadFrame, Channel, Demux, Piece};
use super::time;
use crate::engine::logs::{LogChunk, LogEntry, StreamKind};

/// The size of the parts in which docker and podman store a long line.
const PART: usize = 16 << 10;
/// A line longer than this is given in pieces: nothing grows without bound.
const LONGEST: usize = 1 << 20;
/// Longer than any timestamp: `2006-01-02T15:04:05.000000000+00:00`.
const STAMP: usize = 36;
/// The most of a complaint that is kept.
const LONGEST_COMPLAINT: usize = 4096;
/// Parts of one line are stored within this time of each other.
const SAME_MOMENT_NS: i64 = 60_000_000_000;

/// Turns bytes into chunks of lines.
#[derive(Debug)]
pub struct LogLines {
    demux: Option<Demux>,
    out: Line,
    err: Line,
    last_ns: i64,
    stamps: Stamps,
    /// The daemon's own complaint, in frames of its own: as much of it as is shown.
    complaint: Vec<u8>,
    /// Nothing comes after a complaint.
    has_complained: bool,
}

/// How the stream carries its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// 8-byte heads.
    Framed,
    /// A terminal's: plain bytes.
    Raw,
}

#[derive(Debug, Default)]
struct Line {
    /// What may become a timestamp, while one is expected.
    stamp: Vec<u8>,
    text: Vec<u8>,
    time_ns: Option<i64>,
    /// Whether a timestamp is expected next.
    wants_stamp: bool,
}

impl LogLines {
    pub fn new(framing: Framing) -> Self {
        let line = || Line { wants_stamp: true, ..Line::default() };
        Self {
            demux: (framing == Framing::Framed).then(Demux::default),
            out: line(),
            err: line(),
            last_ns: 0,
            stamps: Stamps::default(),
            complaint: Vec::new(),
            has_complained: false,
        }
    }

    /// Takes bytes and gives the lines that ended in them; an empty chunk when none did.
    ///
    /// # Errors
    /// The stream is not framed though it should be.
    pub fn feed(&mut self, bytes: Bytes) -> Result<LogChunk, BadFrame> {
        let mut chunk = Chunk::with_capacity(bytes.len());
        let Some(mut demux) = self.demux.take() else {
            take(&mut self.out, &bytes, StreamKind::Stdout, Framing::Raw, &mut self.last_ns, &mut chunk);
            return Ok(chunk.done());
        };
        let fed = demux.feed_slice(&bytes, |piece| self.piece(&piece, &mut chunk));
        self.demux = Some(demux);
        fed.map(|()| chunk.done())
    }

    fn piece(&mut self, piece: &Piece<&[u8]>, chunk: &mut Chunk) {
        let (line, kind) = match piece.channel {
            Channel::Stream(StreamKind::Stdout) => (&mut self.out, StreamKind::Stdout),
            Channel::Stream(StreamKind::Stderr) => (&mut self.err, StreamKind::Stderr),
            Channel::SystemError => {
                let room = LONGEST_COMPLAINT - self.complaint.len();
                self.complaint.extend_from_slice(&piece.bytes[..piece.bytes.len().min(room)]);
                self.has_complained |= piece.ends || room == 0;
                return;
            }
        };
        if piece.starts && piece.ends && line.is_empty() {
            // Nearly always: a frame is a line with its time before it.
            if let Some((time_ns, text)) = self.stamps.whole_line(piece.bytes) {
                self.last_ns = time_ns;
                line.wants_stamp = true;
                chunk.push(text, time_ns, kind, true);
                return;
            }
        }
        if piece.starts {
            line.wants_stamp = true;
        }
        take(line, piece.bytes, kind, Framing::Framed, &mut self.last_ns, chunk);
    }

    /// What is left at the end: last lines without a newline.
    pub fn finish(&mut self) -> LogChunk {
        let mut chunk = Chunk::with_capacity(0);
        for (line, kind) in [(&mut self.out, StreamKind::Stdout), (&mut self.err, StreamKind::Stderr)] {
            if line.wants_stamp && !line.stamp.is_empty() {
                line.give_up_stamp();
            }
            if !line.text.is_empty() {
                line.end(kind, false, &mut self.last_ns, &mut chunk);
            }
        }
        chunk.done()
    }

    /// Whether the daemon has said to its end why it cannot go on: nothing comes after that.
    pub fn has_complained(&self) -> bool {
        self.has_complained
    }

    /// Whether the stream may end here: not inside a frame.
    pub fn is_between_frames(&self) -> bool {
        self.demux.as_ref().is_none_or(Demux::is_between_frames)
    }

    /// What the daemon said about why it cannot go on.
    pub fn complaint(&self) -> Option<String> {
        (!self.complaint.is_empty()).then(|| super::error::one_line(&String::from_utf8_lossy(&self.complaint)))
    }
}

fn take(line: &mut Line, mut bytes: &[u8], kind: StreamKind, framing: Framing, last_ns: &mut i64, chunk: &mut Chunk) {
    while !bytes.is_empty() {
        if line.wants_stamp {
            bytes = line.take_stamp(bytes);
            continue;
        }
        // Up to the newline, or to where a part of a terminal's long line may end.
        let to_part = if framing == Framing::Raw { PART - line.text.len() % PART } else { LONGEST };
        let window = &bytes[..bytes.len().min(to_part)];
        match memchr(b'\n', window) {
            Some(at) => {
                line.append(&window[..at]);
                bytes = &bytes[at + 1..];
                line.end(kind, true, last_ns, chunk);
            }
            None => {
                line.append(window);
                bytes = &bytes[window.len()..];
                line.wants_stamp = framing == Framing::Raw && window.len() == to_part;
                if line.text.len() >= LONGEST {
                    line.end(kind, false, last_ns, chunk);
                }
            }
        }
    }
}

/// Length of `2006-01-02T15:04:05`, and of that with nine digits and its zone.
const SECOND: usize = 19;
const FULL_STAMP: usize = 30;

/// Timestamps as dockerd writes them, `2006-01-02T15:04:05.000000000Z`: the second is read once for all lines of it.
#[derive(Debug, Default)]
struct Stamps {
    second: [u8; SECOND],
    second_ns: i64,
}

impl Stamps {
    /// Time and text of one whole line; `None` for anything else, which is then read step by step.
    fn whole_line<'a>(&mut self, bytes: &'a [u8]) -> Option<(i64, &'a [u8])> {
        let (stamp, line) = bytes.split_at_checked(FULL_STAMP + 1)?;
        let (text, end) = line.split_at_checked(line.len().checked_sub(1)?)?;
        if end != b"\n" || text.len() >= PART || memchr(b'\n', text).is_some() {
            return None;
        }
        Some((self.read(stamp)?, text))
    }

    /// A stamp with the blank behind it.
    fn read(&mut self, stamp: &[u8]) -> Option<i64> {
        let (second, rest) = stamp.split_at_checked(SECOND)?;
        let digits = rest.strip_prefix(b".")?.strip_suffix(b"Z ")?;
        if second != self.second {
            let mut whole = [b'Z'; SECOND + 1];
            whole[..SECOND].copy_from_slice(second);
            self.second_ns = time::parse_ns(&whole)?;
            self.second.copy_from_slice(second);
        }
        let digit = |sum: i64, byte: &u8| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0'));
        self.second_ns.checked_add(digits.iter().try_fold(0, digit)?)
    }
}

impl Line {
    /// Whether a line begins with what comes next.
    fn is_empty(&self) -> bool {
        self.stamp.is_empty() && self.text.is_empty() && self.time_ns.is_none()
    }

    /// Takes a timestamp off the front, as far as it has come; what turns out to be none is text.
    fn take_stamp<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let room = STAMP - self.stamp.len();
        let window = &bytes[..bytes.len().min(room)];
        let end = window.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b':' | b'.' | b'T' | b'Z'));
        let Some(end) = end else {
            self.stamp.extend_from_slice(window);
            if self.stamp.len() >= STAMP {
                self.give_up_stamp();
            }
            return &bytes[window.len()..];
        };
        self.stamp.extend_from_slice(&window[..end]);
        let stamp = if window[end] == b' ' { time::parse_ns(&self.stamp) } else { None };
        match stamp.filter(|ns| self.time_ns.is_none_or(|first| (0..SAME_MOMENT_NS).contains(&(ns - first)))) {
            Some(ns) => {
                self.time_ns.get_or_insert(ns);
                self.stamp.clear();
                self.wants_stamp = false;
                &bytes[end + 1..]
            }
            None => {
                self.give_up_stamp();
                &bytes[end..]
            }
        }
    }

    fn give_up_stamp(&mut self) {
        self.text.append(&mut self.stamp);
        self.wants_stamp = false;
    }

    fn append(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
    }

    fn end(&mut self, kind: StreamKind, newline: bool, last_ns: &mut i64, chunk: &mut Chunk) {
        let time_ns = self.time_ns.take().unwrap_or(*last_ns);
        *last_ns = time_ns;
        chunk.push(&self.text, time_ns, kind, newline);
        self.text.clear();
        self.wants_stamp = true;
    }
}

struct Chunk {
    bytes: BytesMut,
    entries: Vec<LogEntry>,
}

impl Chunk {
    fn with_capacity(n_bytes: usize) -> Self {
        // The text is shorter than its frames; lines of some hundred bytes are the rule.
        Self { bytes: BytesMut::with_capacity(n_bytes), entries: Vec::with_capacity(n_bytes / 128) }
    }

    fn push(&mut self, text: &[u8], time_ns: i64, stream: StreamKind, newline: bool) {
        // A chunk comes from one read of the network; its offsets fit by far.
        let start = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(text);
        let end = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.entries.push(LogEntry { time_ns, stream, range: start..end, newline });
    }

    fn done(self) -> LogChunk {
        LogChunk { bytes: self.bytes.freeze(), entries: self.entries, lost_before: 0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::stdcopy;

    const T: &str = "2026-11-21T04:45:39.000000001Z";

    fn lines(framing: Framing, wire: &[u8], cut: usize) -> Vec<(i64, StreamKind, String, bool)> {
        let mut reader = LogLines::new(framing);
        let mut chunks: Vec<_> =
            wire.chunks(cut.max(1)).map(|piece| reader.feed(Bytes::copy_from_slice(piece)).unwrap()).collect();
        chunks.push(reader.finish());
        let text = |chunk: &LogChunk, entry: &LogEntry| String::from_utf8_lossy(chunk.line(entry)).into_owned();
        let one = |chunk: &LogChunk| -> Vec<_> {
            chunk.entries.iter().map(|entry| (entry.time_ns, entry.stream, text(chunk, entry), entry.newline)).collect()
        };
        chunks.iter().flat_map(one).collect()
    }

    fn frame(kind: StreamKind, text: &str) -> Vec<u8> {
        [&stdcopy::head(kind, text.len() as u32)[..], text.as_bytes()].concat()
    }

    fn texts(rows: &[(i64, StreamKind, String, bool)]) -> Vec<&str> {
        rows.iter().map(|row| row.2.as_str()).collect()
    }

    #[test]
    fn parts_of_a_long_line_are_joined() {
        let (a, b) = ("a".repeat(PART), "b".repeat(10));
        let framed = [
            frame(StreamKind::Stdout, &format!("{T} {a}")),
            frame(StreamKind::Stderr, &format!("{T} between\n")),
            frame(StreamKind::Stdout, &format!("{T} {b}\n")),
        ]
        .concat();
        let raw = format!("{T} {a}{T} {b}\n{T} next\n");
        for cut in [1, 7, 1000, 100_000] {
            assert_eq!(texts(&lines(Framing::Framed, &framed, cut)), ["between", &format!("{a}{b}")]);
            assert_eq!(texts(&lines(Framing::Raw, raw.as_bytes(), cut)), [format!("{a}{b}").as_str(), "next"]);
        }
        let own = format!("{T} {a}2026 is no timestamp\n");
        assert_eq!(texts(&lines(Framing::Raw, own.as_bytes(), 50)), [format!("{a}2026 is no timestamp")]);
    }

    #[test]
    fn a_last_line_without_a_newline_is_kept() {
        let rows = lines(Framing::Framed, &frame(StreamKind::Stdout, &format!("{T} end")), 5);
        assert_eq!(rows, [(1_795_236_339_000_000_001, StreamKind::Stdout, "end".to_owned(), false)]);
        assert_eq!(lines(Framing::Raw, b"2026-11", 2), [(0, StreamKind::Stdout, "2026-11".to_owned(), false)]);
    }

    #[test]
    fn a_complaint_ends_with_its_frame_or_its_bound() {
        let complaint = |length: u32| [&[3, 0, 0, 0][..], &length.to_be_bytes(), b"no\nmore"].concat();
        let mut reader = LogLines::new(Framing::Framed);
        reader.feed(complaint(7).into()).unwrap();
        assert_eq!((reader.has_complained(), reader.complaint()), (true, Some("no more".to_owned())));
        let mut endless = LogLines::new(Framing::Framed);
        endless.feed(complaint(u32::MAX).into()).unwrap();
        assert!(!endless.has_complained() && !endless.is_between_frames());
        for _ in 0..LONGEST_COMPLAINT {
            endless.feed(Bytes::from_static(b"more")).unwrap();
        }
        assert!(endless.has_complained() && endless.complaint.len() == LONGEST_COMPLAINT);
    }

    #[test]
    fn nothing_grows_without_bound() {
        let rows = lines(Framing::Raw, &[b'x'; 3 << 20], 1 << 16);
        assert!(rows.len() == 3 && rows.iter().all(|row| row.2.len() == LONGEST));
    }

    #[test]
    fn whole_seconds_and_offsets_are_read() {
        let wire = b"2026-11-21T05:45:39+01:00 podman\nno stamp\n";
        let rows = lines(Framing::Raw, wire, 100);
        assert_eq!(texts(&rows), ["podman", "no stamp"]);
        assert_eq!((rows[0].0, rows[1].0), (1_795_236_339_000_000_000, 1_795_236_339_000_000_000));
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_lines(texts in prop::collection::vec("[ -~]{0,50}", 0..20), cut in 1_usize..90) {
            let framed: Vec<u8> = texts.iter().flat_map(|text| frame(StreamKind::Stdout, &format!("{T} {text}\n"))).collect();
            let raw: String = texts.iter().map(|text| format!("{T} {text}\n")).collect();
            for rows in [lines(Framing::Framed, &framed, cut), lines(Framing::Raw, raw.as_bytes(), cut)] {
                prop_assert_eq!(rows.into_iter().map(|row| row.2).collect::<Vec<_>>(), texts.clone());
            }
        }
    }
}
