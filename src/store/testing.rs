//! Tar archives written byte by byte, honest and not, for the store's tests.

/// Whether this process may set owners and make devices; says so when not.
pub(super) fn have_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        eprintln!("not shown: unpacking layers with owners and devices needs root");
    }
    is_root
}

/// A tar being written.
pub(super) struct Tar {
    bytes: Vec<u8>,
    owner: (u32, u32),
}

impl Tar {
    pub(super) fn new() -> Tar {
        Tar { bytes: Vec::new(), owner: (0, 0) }
    }

    pub(super) fn owned(mut self, uid: u32, gid: u32) -> Tar {
        self.owner = (uid, gid);
        self
    }

    pub(super) fn file(self, path: &str, body: &[u8]) -> Tar {
        self.mode_file(path, 0o644, body)
    }

    pub(super) fn mode_file(self, path: &str, mode: u32, body: &[u8]) -> Tar {
        self.entry(b'0', path, "", mode, body.len() as u64, (0, 0)).body(body)
    }

    /// A header that says `size`, whatever follows.
    pub(super) fn lying_file(self, path: &str, size: u64, body: &[u8]) -> Tar {
        self.entry(b'0', path, "", 0o644, size, (0, 0)).body(body)
    }

    pub(super) fn dir(self, path: &str, mode: u32) -> Tar {
        self.entry(b'5', path, "", mode, 0, (0, 0))
    }

    pub(super) fn symlink(self, path: &str, target: &str) -> Tar {
        self.entry(b'2', path, target, 0o777, 0, (0, 0))
    }

    pub(super) fn hard_link(self, path: &str, target: &str) -> Tar {
        self.entry(b'1', path, target, 0o644, 0, (0, 0))
    }

    pub(super) fn device(self, path: &str, flag: u8, major: u32, minor: u32) -> Tar {
        self.entry(flag, path, "", 0o660, 0, (major, minor))
    }

    /// An extended header for the next entry.
    pub(super) fn pax(self, records: &[(&str, &str)]) -> Tar {
        let records: Vec<_> = records.iter().map(|(key, value)| (*key, value.as_bytes())).collect();
        self.pax_bytes(&records)
    }

    pub(super) fn pax_bytes(self, records: &[(&str, &[u8])]) -> Tar {
        let mut body = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            body.extend_from_slice(format!("{length} {key}=").as_bytes());
            body.extend_from_slice(value);
            body.push(b'\n');
        }
        self.pax_raw(&body)
    }

    /// An extended header as it is.
    pub(super) fn pax_raw(self, body: &[u8]) -> Tar {
        self.entry(b'x', "pax", "", 0o644, body.len() as u64, (0, 0)).body(body)
    }

    /// A file with a GNU long name.
    pub(super) fn gnu_long(self, path: &str, body: &[u8]) -> Tar {
        let path = path.trim_end_matches('/');
        let name = [path.as_bytes(), b"\0"].concat();
        self.entry(b'L', "././@LongLink", "", 0, name.len() as u64, (0, 0)).body(&name).file("cut", body)
    }

    /// A sparse file of the old GNU form, with up to four pieces.
    pub(super) fn old_sparse(mut self, path: &str, real_size: u64, pieces: &[(u64, u64)], body: &[u8]) -> Tar {
        let at = self.bytes.len();
        self = self.entry(b'S', path, "", 0o644, body.len() as u64, (0, 0));
        let header = &mut self.bytes[at..at + 512];
        header[257..265].copy_from_slice(b"ustar  \0");
        header[345..500].fill(0);
        for (n, (offset, len)) in pieces.iter().enumerate() {
            octal(&mut header[386 + 24 * n..][..12], *offset);
            octal(&mut header[398 + 24 * n..][..12], *len);
        }
        octal(&mut header[483..495], real_size);
        check_sum(header);
        self.body(body)
    }

    /// The whole, with its two blocks of zeros.
    pub(super) fn done(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }

    fn entry(mut self, flag: u8, path: &str, target: &str, mode: u32, size: u64, device: (u32, u32)) -> Tar {
        let mut header = [0u8; 512];
        let text = |field: &mut [u8], text: &str| {
            let n = text.len().min(field.len());
            field[..n].copy_from_slice(&text.as_bytes()[..n]);
        };
        text(&mut header[..100], path);
        text(&mut header[157..257], target);
        octal(&mut header[100..108], mode.into());
        octal(&mut header[108..116], self.owner.0.into());
        octal(&mut header[116..124], self.owner.1.into());
        octal(&mut header[124..136], size);
        octal(&mut header[136..148], 1_000_000_000);
        header[156] = flag;
        header[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut header[329..337], device.0.into());
        octal(&mut header[337..345], device.1.into());
        check_sum(&mut header);
        self.bytes.extend_from_slice(&header);
        self
    }

    fn body(mut self, body: &[u8]) -> Tar {
        self.bytes.extend_from_slice(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }
}

fn octal(field: &mut [u8], value: u64) {
    let digits = format!("{value:0width$o}", width = field.len() - 1);
    field[..digits.len()].copy_from_slice(digits.as_bytes());
}

fn check_sum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u64 = header.iter().map(|b| u64::from(*b)).sum();
    octal(&mut header[148..155], sum);
    header[155] = b' ';
}
