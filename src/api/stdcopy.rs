//! The framing that carries stdout and stderr over one connection: one byte of stream (0 stdin, 1 stdout, 2 stderr, 3 the daemon's own
//! error), three zero bytes, the payload's length as u32 big endian, the payload. Called by `remote` for attach, exec and logs, and by a
//! server for the way back. It copies no payload and holds none back: pieces of a frame come out as they arrive.

use bytes::Bytes;

use crate::engine::StreamKind;

/// Length of a frame's head.
pub const HEAD: usize = 8;

/// Which stream a piece belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    Stream(StreamKind),
    /// The daemon says why it cannot go on.
    SystemError,
}

/// Some payload of one frame; never empty, except that a frame without payload gives one empty piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece<T = Bytes> {
    pub channel: Channel,
    pub bytes: T,
    /// The first of its frame.
    pub starts: bool,
    /// The last of its frame.
    pub ends: bool,
}

/// The bytes are no frames: another protocol, or a connection that lost some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream is not framed as docker frames it: a head of {head:02x?}")]
pub struct BadFrame {
    pub head: [u8; HEAD],
}

/// Takes a byte stream apart, whatever the boundaries it arrives in.
#[derive(Clone, Debug, Default)]
pub struct Demux {
    head: [u8; HEAD],
    n_head: usize,
    /// The frame under way: its channel and how much of it is still to come.
    frame: Option<(Channel, usize)>,
    starts: bool,
    strays: Strays,
}

/// What a newline between two frames is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Strays {
    /// No frame's.
    #[default]
    Refused,
    /// The end of the last frame, once there was one.
    Taken(Option<Channel>),
}

impl Demux {
    /// The same for podman's attach with a replay of the log: its frames leave out the newline that ends each line, and it is sent all the same
    /// (podman 4.3, `HTTPAttach`). No head begins with that byte, so nothing is misread by it.
    pub fn with_stray_newlines() -> Self {
        Self { strays: Strays::Taken(None), ..Self::default() }
    }

    /// Hands every piece in `bytes` to `take`, in order.
    ///
    /// # Errors
    /// A head that no daemon writes; the stream cannot be followed any further.
    pub fn feed(&mut self, bytes: &Bytes, mut take: impl FnMut(Piece)) -> Result<(), BadFrame> {
        self.feed_slice(bytes, |piece| {
            let Piece { channel, starts, ends, .. } = piece;
            take(Piece { channel, bytes: bytes.slice_ref(piece.bytes), starts, ends });
        })
    }

    /// The same without a count of references for each piece: log lines are small and many.
    ///
    /// # Errors
    /// As [`Demux::feed`].
    pub fn feed_slice<'a>(
        &mut self,
        mut bytes: &'a [u8],
        mut take: impl FnMut(Piece<&'a [u8]>),
    ) -> Result<(), BadFrame> {
        loop {
            if let Some((channel, left)) = self.frame {
                if bytes.is_empty() && left > 0 {
                    return Ok(());
                }
                let (piece, rest) = bytes.split_at(left.min(bytes.len()));
                bytes = rest;
                let left = left - piece.len();
                let starts = std::mem::replace(&mut self.starts, false);
                self.frame = (left > 0).then_some((channel, left));
                if let Strays::Taken(last) = &mut self.strays {
                    *last = Some(channel);
                }
                take(Piece { channel, bytes: piece, starts, ends: left == 0 });
            } else if let Some(newline) = self.stray_newline(&mut bytes) {
                take(newline);
            } else if !self.take_head(&mut bytes)? {
                return Ok(());
            }
        }
    }

    /// Whether the stream may end here: not inside a frame.
    pub fn is_between_frames(&self) -> bool {
        self.frame.is_none() && self.n_head == 0
    }

    fn stray_newline<'a>(&self, bytes: &mut &'a [u8]) -> Option<Piece<&'a [u8]>> {
        let Strays::Taken(Some(channel)) = self.strays else { return None };
        let (newline, rest) = bytes.split_at_checked(1).filter(|(byte, _)| self.n_head == 0 && byte == b"\n")?;
        *bytes = rest;
        Some(Piece { channel, bytes: newline, starts: true, ends: true })
    }

    fn take_head(&mut self, bytes: &mut &[u8]) -> Result<bool, BadFrame> {
        let (some, rest) = bytes.split_at((HEAD - self.n_head).min(bytes.len()));
        *bytes = rest;
        self.head[self.n_head..self.n_head + some.len()].copy_from_slice(some);
        self.n_head += some.len();
        if self.n_head < HEAD {
            return Ok(false);
        }
        self.n_head = 0;
        let [kind, a, b, c, length @ ..] = self.head;
        let channel = match kind {
            // Docker's own clients print what is marked as stdin to stdout.
            0 | 1 => Channel::Stream(StreamKind::Stdout),
            2 => Channel::Stream(StreamKind::Stderr),
            3 => Channel::SystemError,
            _ => return Err(BadFrame { head: self.head }),
        };
        if [a, b, c] != [0; 3] {
            return Err(BadFrame { head: self.head });
        }
        self.frame = Some((channel, u32::from_be_bytes(length) as usize));
        self.starts = true;
        Ok(true)
    }
}

/// The head of a frame.
pub fn head(kind: StreamKind, length: u32) -> [u8; HEAD] {
    let [a, b, c, d] = length.to_be_bytes();
    let kind = match kind {
        StreamKind::Stdout => 1,
        StreamKind::Stderr => 2,
    };
    [kind, 0, 0, 0, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(frames: &[(StreamKind, Vec<u8>)]) -> Vec<u8> {
        let one = |(kind, bytes): &(StreamKind, Vec<u8>)| [&head(*kind, bytes.len() as u32)[..], bytes].concat();
        frames.iter().flat_map(one).collect()
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_frames(
            frames in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)), 0..12),
            cuts in prop::collection::vec(1_usize..30, 1..60),
        ) {
            let frames: Vec<_> = frames.into_iter()
                .map(|(err, bytes)| (if err { StreamKind::Stderr } else { StreamKind::Stdout }, bytes)).collect();
            let wire = Bytes::from(whole(&frames));
            let (mut demux, mut seen, mut at, mut cuts) = (Demux::default(), Vec::new(), 0, cuts.into_iter().cycle());
            while at < wire.len() {
                let end = wire.len().min(at + cuts.next().unwrap_or(1));
                demux.feed(&wire.slice(at..end), |piece| {
                    let Channel::Stream(kind) = piece.channel else { panic!("no error was sent") };
                    if piece.starts { seen.push((kind, Vec::new())); }
                    let last = seen.last_mut().expect("a frame starts before it goes on");
                    assert_eq!(last.0, kind);
                    last.1.extend_from_slice(&piece.bytes);
                }).unwrap();
                at = end;
            }
            prop_assert!(demux.is_between_frames());
            prop_assert_eq!(seen, frames);
        }

        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Demux::default().feed(&Bytes::from(noise), |_| {});
        }
    }

    #[test]
    fn what_is_no_frame_is_said() {
        let feed = |bytes: &'static [u8]| Demux::default().feed(&Bytes::from_static(bytes), |_| {});
        assert!(feed(b"HTTP/1.1 200 OK").is_err());
        assert!(feed(&[1, 0, 1, 0, 0, 0, 0, 0]).is_err());
        assert_eq!(feed(&[3, 0, 0, 0, 0, 0, 0, 0]), Ok(()));
    }

    #[test]
    fn newlines_between_frames_are_of_the_frame_before_where_that_is_known_to_happen() {
        let line = |kind, text: &str| [&head(kind, text.len() as u32)[..], text.as_bytes(), b"\n"].concat();
        let wire = [line(StreamKind::Stdout, "one"), line(StreamKind::Stderr, "two")].concat();
        for n in 1..wire.len() {
            let (mut demux, mut seen) = (Demux::with_stray_newlines(), [Vec::<u8>::new(), Vec::new()]);
            for piece in wire.chunks(n) {
                demux
                    .feed_slice(piece, |piece| {
                        seen[usize::from(piece.channel != Channel::Stream(StreamKind::Stdout))].extend(piece.bytes);
                    })
                    .unwrap();
            }
            assert_eq!(seen, [b"one\n".to_vec(), b"two\n".to_vec()]);
        }
        assert!(Demux::default().feed_slice(&wire, |_| {}).is_err());
        assert!(Demux::with_stray_newlines().feed_slice(b"\n\x01\0\0\0\0\0\0\0", |_| {}).is_err(), "no frame before");
    }
}
