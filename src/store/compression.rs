//! What an archive or a layer is compressed with, told by its first bytes, and a reader of what is inside. Called by the
//! layer pipeline and the archive readers. All decoders are linked in: no external program ever sees untrusted bytes
//! (CVE-2014-9356, CVE-2026-41567).

use std::io::{self, BufRead, Read};

use super::error::StoreError;

/// Inflated bytes below which no ratio is suspicious.
const BOMB_FLOOR_BYTES: u64 = 4 << 30;
/// The highest ratio that is believed above that.
const BOMB_RATIO: u64 = 500;
/// What an xz stream may ask of memory, in bytes; `xz -9` needs 65 MiB.
const XZ_MEMORY_BYTES: u64 = 256 << 20;
/// The largest zstd window, as a power of two: 128 MiB, what `zstd` itself accepts without `--long`.
const ZSTD_WINDOW_LOG: u32 = 27;

/// How bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Plain,
    Gzip,
    Zstd,
    Xz,
    Bzip2,
}

impl Compression {
    /// Tells by the first bytes; six are enough.
    pub(super) fn detect(head: &[u8]) -> Compression {
        match head {
            [0x1f, 0x8b, 8, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            // A skippable frame may come first (zstd:chunked, pzstd).
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Compression::Bzip2,
            _ => Compression::Plain,
        }
    }

    /// What a layer so packed is called in an OCI manifest.
    pub(super) fn layer_media_type(self) -> &'static str {
        match self {
            Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
            _ => crate::oci::image::OCI_LAYER,
        }
    }

    /// A reader of what is inside `input`.
    ///
    /// # Errors
    /// `Invalid` for a form that has no decoder here.
    pub(super) fn inflate<'a, R: BufRead + 'a>(self, input: R) -> Result<Box<dyn Read + 'a>, StoreError> {
        let counted = Counted::new(input);
        Ok(match self {
            Compression::Plain => Box::new(counted),
            Compression::Gzip => {
                Box::new(Guarded::new(flate2::bufread::MultiGzDecoder::new(counted), |d| d.get_ref().n))
            }
            Compression::Zstd => {
                let failed = |e| StoreError::io("start", "the zstd decoder", e);
                let mut decoder = zstd::stream::read::Decoder::with_buffer(counted).map_err(failed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(failed)?;
                Box::new(Guarded::new(decoder, |d| d.get_ref().n))
            }
            Compression::Xz => {
                let stream =
                    liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES, liblzma::stream::CONCATENATED)
                        .map_err(|e| StoreError::io("start", "the xz decoder", e.into()))?;
                let decoder = liblzma::bufread::XzDecoder::new_stream(counted, stream);
                Box::new(Guarded::new(decoder, |d| d.get_ref().n))
            }
            Compression::Bzip2 => {
                return Err(StoreError::invalid("the archive", "bzip2 is not supported")
                    .with_hint("unpack it first: bunzip2 < FILE | orlop import -"));
            }
        })
    }
}

/// Counts what a decoder takes.
struct Counted<R> {
    inner: R,
    n: u64,
}

impl<R> Counted<R> {
    fn new(inner: R) -> Counted<R> {
        Counted { inner, n: 0 }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_read = self.inner.read(buffer)?;
        self.n += n_read as u64;
        Ok(n_read)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, n_bytes: usize) {
        self.n += n_bytes as u64;
        self.inner.consume(n_bytes);
    }
}

/// Ends a stream that inflates beyond belief.
struct Guarded<D> {
    decoder: D,
    taken: fn(&D) -> u64,
    n_given: u64,
}

impl<D> Guarded<D> {
    fn new(decoder: D, taken: fn(&D) -> u64) -> Guarded<D> {
        Guarded { decoder, taken, n_given: 0 }
    }
}

impl<D: Read> Read for Guarded<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_read = self.decoder.read(buffer)?;
        self.n_given += n_read as u64;
        let n_taken = (self.taken)(&self.decoder);
        if is_bomb(n_taken, self.n_given) {
            let text =
                format!("{n_taken} compressed bytes gave {} bytes: refused as a decompression bomb", self.n_given);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(n_read)
    }
}

fn is_bomb(n_taken: u64, n_given: u64) -> bool {
    n_given > BOMB_FLOOR_BYTES && n_given / n_taken.max(1) > BOMB_RATIO
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn inflated(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Compression::detect(packed).inflate(packed).unwrap().read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn every_form_is_told_by_its_first_bytes() {
        let text = b"layer bytes ".repeat(1000);
        let two_members = [gzip(&text), gzip(b"and more")].concat();
        assert_eq!(inflated(&two_members).unwrap(), [&text[..], b"and more"].concat());
        let frame = zstd::encode_all(&text[..], 1).unwrap();
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        assert_eq!(inflated(&[&skippable[..], &frame, &skippable, &frame].concat()).unwrap(), text.repeat(2));
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&text).unwrap();
        assert_eq!(inflated(&xz.finish().unwrap()).unwrap(), text);
        assert_eq!(inflated(b"plain").unwrap(), b"plain");
        assert!(Compression::detect(b"BZh91AY").inflate(&b"BZh91AY"[..]).is_err());
    }

    #[test]
    fn a_cut_or_damaged_stream_is_an_error() {
        let text: Vec<u8> = (0..100_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for packed in [gzip(&text), zstd::encode_all(&text[..], 1).unwrap()] {
            assert!(inflated(&packed[..packed.len() / 2]).is_err());
            let mut damaged = packed.clone();
            let middle = damaged.len() / 2;
            damaged[middle..middle + 64].fill(0xff);
            assert!(inflated(&damaged).map_or(true, |out| out != text));
        }
    }

    /// Zip bombs: 10 GB of zeros in 10 MB.
    #[test]
    fn a_decompression_bomb_is_cut_off() {
        assert!(is_bomb(10 << 20, 10 << 30));
        assert!(!is_bomb(10 << 20, 3 << 30), "a large sparse-looking layer is fine");
        assert!(!is_bomb(1 << 30, 20 << 30));
        let mut guarded = Guarded { decoder: io::repeat(0), taken: |_| 1000, n_given: BOMB_FLOOR_BYTES };
        assert!(guarded.read(&mut [0; 4096]).is_err());
    }
}
