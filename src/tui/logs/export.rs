//! What a save writes: the lines that pass, as they came, read from shared segments on a thread that may block.
//!
//! Made by the model; run by the executor. Holds no copy of the text.

use std::io::{self, Write};

use super::store::{Bits, Lines, Snapshot};

/// Lines to be written, in order. Raw bytes: escapes and all, as the process wrote them.
#[derive(Debug)]
pub struct Export {
    parts: Vec<(Snapshot, Option<Bits>)>,
}

impl Export {
    /// Each part with the set of lines that pass; `None` is all.
    pub(super) fn new(parts: Vec<(Snapshot, Option<Bits>)>) -> Self {
        Self { parts }
    }

    pub fn n_lines(&self) -> u64 {
        self.parts.iter().map(|(part, passing)| passing.as_ref().map_or(part.n, |bits| bits.n_set) as u64).sum()
    }

    /// Writes every line with a newline; returns how many. Blocking.
    pub fn write_to(&self, to: &mut dyn Write) -> io::Result<u64> {
        let mut scratch = Lines::default();
        let mut n_lines = 0;
        for (part, passing) in &self.parts {
            n_lines += part.with(&mut scratch, |lines| write_part(lines, passing.as_ref(), to))?;
        }
        Ok(n_lines)
    }
}

fn write_part(lines: &Lines, passing: Option<&Bits>, to: &mut dyn Write) -> io::Result<u64> {
    let Some(passing) = passing else {
        to.write_all(&lines.bytes)?;
        return Ok(lines.metas.len() as u64);
    };
    let mut at = 0;
    while let Some(idx) = passing.next(at) {
        to.write_all(lines.line(idx).bytes)?;
        to.write_all(b"\n")?;
        at = idx + 1;
    }
    Ok(passing.n_set as u64)
}
