//! Packing a sealed segment: its bytes and its index, each one zstd frame. Called by the store; pure, in memory.

use super::{LineMeta, Lines};
use crate::tui::logs::command::SourceIdx;

/// Fast enough to keep up with a flood in idle slices, and halves what lz4 would leave.
const LEVEL: i32 = 1;

/// A packed segment.
#[derive(Debug)]
pub(super) struct Packed {
    bytes: Box<[u8]>,
    metas: Box<[u8]>,
    n_bytes: usize,
    n_meta_bytes: usize,
    n_lines: usize,
}

impl Packed {
    pub(super) fn cost(&self) -> usize {
        self.bytes.len() + self.metas.len() + size_of::<Self>()
    }
}

pub(super) fn pack(lines: &Lines) -> Packed {
    let mut metas = Vec::with_capacity(lines.metas.len() * 6);
    let mut time_ns = 0i64;
    let mut end = 0u32;
    for meta in &lines.metas {
        push_varint(&mut metas, zigzag(meta.time_ns.wrapping_sub(time_ns)));
        push_varint(&mut metas, u64::from(meta.end - end));
        push_varint(&mut metas, u64::from(meta.source.0));
        metas.push(meta.flags);
        (time_ns, end) = (meta.time_ns, meta.end);
    }
    Packed {
        bytes: squeeze(&lines.bytes),
        n_meta_bytes: metas.len(),
        metas: squeeze(&metas),
        n_bytes: lines.bytes.len(),
        n_lines: lines.metas.len(),
    }
}

/// Unpacks into `lines`, whose buffers are reused.
pub(super) fn unpack(packed: &Packed, lines: &mut Lines) {
    lines.metas.clear();
    let mut raw = Vec::new();
    expand(&packed.metas, packed.n_meta_bytes, &mut raw);
    expand(&packed.bytes, packed.n_bytes, &mut lines.bytes);
    lines.metas.reserve(packed.n_lines);
    let mut rest = raw.as_slice();
    let mut time_ns = 0i64;
    let mut end = 0u32;
    for _ in 0..packed.n_lines {
        time_ns = time_ns.wrapping_add(unzigzag(take_varint(&mut rest)));
        end += take_varint(&mut rest) as u32;
        let source = SourceIdx(take_varint(&mut rest) as u16);
        let flags = rest[0];
        rest = &rest[1..];
        lines.metas.push(LineMeta { time_ns, end, source, flags });
    }
}

fn squeeze(bytes: &[u8]) -> Box<[u8]> {
    zstd::bulk::compress(bytes, LEVEL).expect("zstd compresses what is in memory").into_boxed_slice()
}

fn expand(packed: &[u8], n_bytes: usize, into: &mut Vec<u8>) {
    into.clear();
    into.reserve(n_bytes);
    let mut decompressor = zstd::bulk::Decompressor::new().expect("a zstd context is a small allocation");
    decompressor.decompress_to_buffer(packed, into).expect("our own frame, of the size we noted");
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

fn push_varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

fn take_varint(from: &mut &[u8]) -> u64 {
    let mut value = 0;
    for (idx, byte) in from.iter().enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * idx);
        if byte & 0x80 == 0 {
            *from = &from[idx + 1..];
            return value;
        }
    }
    unreachable!("our own varints are whole")
}
