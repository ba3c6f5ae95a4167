//! What verbs print on a terminal of other people's words. Used by `cli` for verbs whose output is text; what a container writes itself (logs,
//! attach, exec) goes its own way.

use std::io::{self, Write};

use crate::stdx::shown::is_unsafe;

/// A writer that passes on text without what drives a terminal: but for line ends and tabs, unsafe characters become question marks.
pub(super) struct Printable<W> {
    out: W,
    /// The beginning of a character whose rest has not come.
    held: Vec<u8>,
}

impl<W: Write> Printable<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, held: Vec::new() }
    }

    fn pass(&mut self, text: &str) -> io::Result<()> {
        if !text.chars().any(|c| is_unsafe(c) && !matches!(c, '\n' | '\t')) {
            return self.out.write_all(text.as_bytes());
        }
        let plain = |c: char| if is_unsafe(c) && !matches!(c, '\n' | '\t') { '?' } else { c };
        self.out.write_all(text.chars().map(plain).collect::<String>().as_bytes())
    }
}

impl<W: Write> Write for Printable<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut self.held);
        let mut rest = &held[..];
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.pass(text)?;
                    break;
                }
                Err(error) => {
                    let (good, bad) = rest.split_at(error.valid_up_to());
                    self.pass(std::str::from_utf8(good).unwrap_or(""))?;
                    let Some(n_bad) = error.error_len() else {
                        self.held = bad.to_vec();
                        break;
                    };
                    self.out.write_all(b"?")?;
                    rest = &bad[n_bad..];
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cutting_gives_the_same_text() {
        let wire = b"caf\xc3\xa9 \x1b[2J\xe6\x97\xa5\n\tx\xff\xc2\x9b1m\xe2\x80\xae\r\n";
        for cut in 1..wire.len() {
            let mut out = Vec::new();
            let mut writer = Printable::new(&mut out);
            wire.chunks(cut).for_each(|piece| writer.write_all(piece).unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), "café ?[2J日\n\tx??1m??\n", "{cut}");
        }
    }
}
