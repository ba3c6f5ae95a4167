//! Detach keys: docker's grammar (`ctrl-p,ctrl-q`, `a,ctrl-\`, single characters) and the matcher that watches typed bytes for them. Pure.

/// What attaches use when nothing else is said.
pub const DEFAULT_KEYS: &str = "ctrl-p,ctrl-q";

/// Why a key sequence cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid detach keys ({keys}): unknown key '{key}'")]
pub struct DetachKeysError {
    pub keys: String,
    pub key: String,
}

/// Reads a comma-separated list of keys into the bytes a terminal sends for them; empty text is an empty list: never detach.
///
/// # Errors
/// A part that is neither one character nor `ctrl-` with `a-z`, `@`, `[`, `\`, `]`, `^` or `_`.
pub fn parse(keys: &str) -> Result<Vec<u8>, DetachKeysError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    keys.split(',').map(|key| byte_of(key).ok_or_else(|| error(keys, key))).collect()
}

fn error(keys: &str, key: &str) -> DetachKeysError {
    DetachKeysError { keys: keys.to_owned(), key: key.to_owned() }
}

fn byte_of(key: &str) -> Option<u8> {
    if let [byte] = key.as_bytes() {
        return byte.is_ascii().then_some(*byte);
    }
    match key.strip_prefix("ctrl-")?.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        [b'@'] => Some(0),
        [sign @ (b'[' | b'\\' | b']' | b'^' | b'_')] => Some(sign - b'@'),
        _ => None,
    }
}

/// Watches input for the sequence. A beginning that turns out to be none is passed on in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    keys: Vec<u8>,
    n_matched: usize,
}

/// What to do with some input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed {
    /// What the process gets.
    pub pass: Vec<u8>,
    /// The sequence was completed; what followed it is dropped.
    pub detach: bool,
}

impl Matcher {
    pub fn new(keys: Vec<u8>) -> Self {
        Self { keys, n_matched: 0 }
    }

    /// Whether input can go through unchanged: nothing held back, and no key of the sequence's beginning in it.
    pub fn is_transparent(&self, input: &[u8]) -> bool {
        self.n_matched == 0 && self.keys.first().is_none_or(|first| memchr::memchr(*first, input).is_none())
    }

    pub fn feed(&mut self, input: &[u8]) -> Typed {
        if self.is_transparent(input) {
            return Typed { pass: input.to_vec(), detach: false };
        }
        let mut pass = Vec::with_capacity(input.len());
        for byte in input {
            self.step(*byte, &mut pass);
            if self.n_matched == self.keys.len() {
                self.n_matched = 0;
                return Typed { pass, detach: true };
            }
        }
        Typed { pass, detach: false }
    }

    /// What is held back because it could become the sequence; for the end of input.
    pub fn flush(&mut self) -> Vec<u8> {
        let held = self.keys[..self.n_matched].to_vec();
        self.n_matched = 0;
        held
    }

    fn step(&mut self, byte: u8, pass: &mut Vec<u8>) {
        // On a mismatch the held bytes may still contain a later beginning of the sequence: give them up from the front.
        while self.n_matched > 0 && self.keys[self.n_matched] != byte {
            let held = self.n_matched;
            let shorter = (0..held).rev().find(|n| self.keys[held - n..held] == self.keys[..*n]).unwrap_or(0);
            pass.extend_from_slice(&self.keys[..held - shorter]);
            self.n_matched = shorter;
        }
        if self.keys[self.n_matched] == byte {
            self.n_matched += 1;
        } else {
            pass.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_grammar_is_dockers() {
        let check = |keys: &str, wanted: &[u8]| assert_eq!(parse(keys).as_deref(), Ok(wanted), "{keys}");
        check("ctrl-p,ctrl-q", &[16, 17]);
        check("ctrl-a,a,Z", &[1, b'a', b'Z']);
        check("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", &[0, 27, 28, 29, 30, 31]);
        check("", &[]);
        for bad in ["ctrl-", "ctrl-1", "ctrl-A", "alt-x", "ab", "a,,b", "é"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    fn type_in(keys: &[u8], pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut matcher = Matcher::new(keys.to_vec());
        let mut all = Vec::new();
        for piece in pieces {
            let typed = matcher.feed(piece);
            all.extend(typed.pass);
            if typed.detach {
                return (all, true);
            }
        }
        all.extend(matcher.flush());
        (all, false)
    }

    #[test]
    fn half_a_sequence_is_replayed() {
        assert_eq!(type_in(&[16, 17], &[&[b'x', 16], &[17, b'y']]), (b"x".to_vec(), true));
        assert_eq!(type_in(&[16, 17], &[&[16], b"z"]), (vec![16, b'z'], false));
        assert_eq!(type_in(&[16, 17], &[&[16, 16, 17]]), (vec![16], true));
        assert_eq!(type_in(&[1, 1, 2], &[&[1, 1, 1, 2]]), (vec![1], true));
        assert_eq!(type_in(&[], &[&[16, 17]]), (vec![16, 17], false));
        assert_eq!(type_in(&[16, 17], &[&[16]]), (vec![16], false));
    }

    proptest! {
        #[test]
        fn everything_but_the_sequence_goes_through(
            keys in proptest::collection::vec(0u8..3, 1..4),
            input in proptest::collection::vec(0u8..3, 0..30),
            cut in 1usize..5,
        ) {
            let pieces: Vec<&[u8]> = input.chunks(cut).collect();
            let at = input.windows(keys.len()).position(|window| window == keys);
            let wanted = at.map_or((input.clone(), false), |at| (input[..at].to_vec(), true));
            prop_assert_eq!(type_in(&keys, &pieces), wanted);
        }
    }
}
