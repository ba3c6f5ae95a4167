//! Bytes of the terminal → keys, pastes, clicks. Called by the event loop; pure state, no I/O.
//!
//! Our own parser rather than crossterm's reader: end of file must end the program (crossterm spins on it), one descriptor serves reads
//! and readiness, and nothing wakes up while nobody types. Sequences as xterm's ctlseqs page lists them, and kitty's `CSI u`.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Longest unfinished sequence that is kept; more is noise and dropped.
const MAX_SEQUENCE: usize = 64;
/// Longest paste; the rest is dropped (a form field holds far less).
const MAX_PASTE: usize = 1 << 20;

/// What a person did at the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Key(KeyEvent),
    /// Bracketed paste, as valid text.
    Paste(String),
    Click {
        x: u16,
        y: u16,
    },
    ScrollUp {
        x: u16,
        y: u16,
    },
    ScrollDown {
        x: u16,
        y: u16,
    },
}

/// Turns bytes into [`Input`]s, however they are cut into reads.
#[derive(Debug, Default)]
pub struct Parser {
    pending: Vec<u8>,
    paste: Option<Vec<u8>>,
}

const PASTE_END: &[u8] = b"\x1b[201~";

impl Parser {
    /// Takes bytes as read; appends what they mean to `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<Input>) {
        for &byte in bytes {
            if let Some(paste) = &mut self.paste {
                paste.push(byte);
                if paste.ends_with(PASTE_END) {
                    self.end_paste(out);
                } else if paste.len() > MAX_PASTE + PASTE_END.len() {
                    paste.remove(MAX_PASTE);
                }
                continue;
            }
            self.pending.push(byte);
            self.try_finish(out);
        }
    }

    /// Whether an escape stands alone so far: after a short silence it was the Esc key.
    pub fn is_pending(&self) -> bool {
        self.paste.is_none() && !self.pending.is_empty()
    }

    /// The silence has passed: what is pending will not be continued.
    pub fn flush(&mut self, out: &mut Vec<Input>) {
        match std::mem::take(&mut self.pending).as_slice() {
            [] => {}
            [0x1b] => out.push(key(KeyCode::Esc, KeyModifiers::NONE)),
            [0x1b, rest] => out.push(alt(byte_key(*rest))),
            _ => {}
        }
    }

    fn end_paste(&mut self, out: &mut Vec<Input>) {
        if let Some(mut paste) = self.paste.take() {
            paste.truncate(paste.len().saturating_sub(PASTE_END.len()));
            out.push(Input::Paste(String::from_utf8_lossy(&paste).into_owned()));
        }
    }

    fn try_finish(&mut self, out: &mut Vec<Input>) {
        match parse(&self.pending) {
            Parsed::More if self.pending.len() < MAX_SEQUENCE => return,
            Parsed::More | Parsed::Nothing => {}
            Parsed::PasteStart => self.paste = Some(Vec::new()),
            Parsed::One(input) => out.push(input),
        }
        self.pending.clear();
    }
}

enum Parsed {
    More,
    Nothing,
    PasteStart,
    One(Input),
}

fn parse(bytes: &[u8]) -> Parsed {
    match bytes {
        [] | [0x1b] => Parsed::More,
        [0x1b, b'[', rest @ ..] => parse_csi(rest),
        [0x1b, b'O'] => Parsed::More,
        [0x1b, b'O', last] => parse_ss3(*last),
        // Replies of the terminal (DCS, OSC, APC): swallowed to their end.
        [0x1b, b'P' | b']' | b'_', rest @ ..] => parse_string_sequence(rest),
        [0x1b, 0x1b] => Parsed::More,
        [0x1b, 0x1b, ..] => Parsed::One(key(KeyCode::Esc, KeyModifiers::NONE)),
        [0x1b, rest @ ..] => match parse(rest) {
            Parsed::One(input) => Parsed::One(alt(input)),
            other => other,
        },
        [byte, ..] if *byte < 0x80 => Parsed::One(byte_key(*byte)),
        _ => parse_utf8(bytes),
    }
}

fn parse_utf8(bytes: &[u8]) -> Parsed {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.chars().next().map_or(Parsed::Nothing, |c| Parsed::One(char_key(c))),
        Err(e) if e.error_len().is_none() => Parsed::More,
        Err(_) => Parsed::Nothing,
    }
}

fn parse_string_sequence(rest: &[u8]) -> Parsed {
    if rest.ends_with(b"\x07") || rest.ends_with(b"\x1b\\") { Parsed::Nothing } else { Parsed::More }
}

fn byte_key(byte: u8) -> Input {
    let control = |c: char| key(KeyCode::Char(c), KeyModifiers::CONTROL);
    match byte {
        b'\r' => key(KeyCode::Enter, KeyModifiers::NONE),
        b'\t' => key(KeyCode::Tab, KeyModifiers::NONE),
        0x7f | 0x08 => key(KeyCode::Backspace, KeyModifiers::NONE),
        0x1b => key(KeyCode::Esc, KeyModifiers::NONE),
        0x00 => control(' '),
        0x01..=0x1a => control((byte - 1 + b'a') as char),
        0x1c => control('\\'),
        0x1d => control(']'),
        0x1e => control('^'),
        0x1f => control('_'),
        _ => char_key(byte as char),
    }
}

fn char_key(c: char) -> Input {
    key(KeyCode::Char(c), KeyModifiers::NONE)
}

fn key(code: KeyCode, modifiers: KeyModifiers) -> Input {
    Input::Key(KeyEvent::new(code, modifiers))
}

fn alt(input: Input) -> Input {
    match input {
        Input::Key(event) => key(event.code, event.modifiers | KeyModifiers::ALT),
        other => other,
    }
}

fn parse_ss3(last: u8) -> Parsed {
    let code = match last {
        b'P'..=b'S' => KeyCode::F(last - b'P' + 1),
        b'M' => KeyCode::Enter,
        _ => match arrow(last) {
            Some(code) => code,
            None => return Parsed::Nothing,
        },
    };
    Parsed::One(key(code, KeyModifiers::NONE))
}

fn arrow(last: u8) -> Option<KeyCode> {
    Some(match last {
        b'A' => KeyCode::Up,
        b'B' => KeyCode::Down,
        b'C' => KeyCode::Right,
        b'D' => KeyCode::Left,
        b'H' => KeyCode::Home,
        b'F' => KeyCode::End,
        _ => return None,
    })
}

/// `rest` is what follows `CSI`.
fn parse_csi(rest: &[u8]) -> Parsed {
    // The Linux console's function keys: CSI [ A..E.
    if let [b'[', tail @ ..] = rest {
        return match tail {
            [] => Parsed::More,
            [c @ b'A'..=b'E', ..] => Parsed::One(key(KeyCode::F(c - b'A' + 1), KeyModifiers::NONE)),
            _ => Parsed::Nothing,
        };
    }
    let Some(end) = rest.iter().position(|b| (0x40..=0x7e).contains(b)) else { return Parsed::More };
    let last = rest[end];
    let body = std::str::from_utf8(&rest[..end]).unwrap_or_default();
    if let Some(mouse) = body.strip_prefix('<') {
        return parse_mouse(mouse, last);
    }
    if body.starts_with(['?', '>', '=']) {
        return Parsed::Nothing;
    }
    let number = |at: usize| -> Option<u32> { body.split(';').nth(at)?.split(':').next()?.parse().ok() };
    let modifiers = modifiers(number(1).unwrap_or(1));
    let code = match last {
        b'~' => match number(0) {
            Some(200) => return Parsed::PasteStart,
            Some(n) => tilde_key(n),
            None => None,
        },
        b'u' => number(0).and_then(char::from_u32).map(unicode_key),
        b'Z' => return Parsed::One(key(KeyCode::BackTab, KeyModifiers::SHIFT)),
        b'P'..=b'S' => Some(KeyCode::F(last - b'P' + 1)),
        _ => arrow(last),
    };
    code.map_or(Parsed::Nothing, |code| Parsed::One(key(code, modifiers)))
}

fn unicode_key(c: char) -> KeyCode {
    match c {
        '\u{1b}' => KeyCode::Esc,
        '\r' => KeyCode::Enter,
        '\t' => KeyCode::Tab,
        '\u{7f}' => KeyCode::Backspace,
        c => KeyCode::Char(c),
    }
}

fn tilde_key(n: u32) -> Option<KeyCode> {
    Some(match n {
        1 | 7 => KeyCode::Home,
        2 => KeyCode::Insert,
        3 => KeyCode::Delete,
        4 | 8 => KeyCode::End,
        5 => KeyCode::PageUp,
        6 => KeyCode::PageDown,
        11..=15 => KeyCode::F((n - 10) as u8),
        17..=21 => KeyCode::F((n - 11) as u8),
        23..=24 => KeyCode::F((n - 12) as u8),
        _ => return None,
    })
}

fn modifiers(parameter: u32) -> KeyModifiers {
    let bits = parameter.saturating_sub(1);
    let mut modifiers = KeyModifiers::NONE;
    for (bit, modifier) in [(1, KeyModifiers::SHIFT), (2, KeyModifiers::ALT), (4, KeyModifiers::CONTROL)] {
        if bits & bit != 0 {
            modifiers |= modifier;
        }
    }
    modifiers
}

fn parse_mouse(body: &str, last: u8) -> Parsed {
    let mut parts = body.split(';').map(str::parse::<u16>);
    let (Some(Ok(button)), Some(Ok(x)), Some(Ok(y))) = (parts.next(), parts.next(), parts.next()) else {
        return Parsed::Nothing;
    };
    let (x, y) = (x.saturating_sub(1), y.saturating_sub(1));
    match (button, last) {
        (0, b'M') => Parsed::One(Input::Click { x, y }),
        (64, b'M') => Parsed::One(Input::ScrollUp { x, y }),
        (65, b'M') => Parsed::One(Input::ScrollDown { x, y }),
        _ => Parsed::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Input> {
        let (mut parser, mut out) = (Parser::default(), Vec::new());
        parser.feed(bytes, &mut out);
        parser.flush(&mut out);
        // However the bytes are cut, the keys are the same.
        let (mut slow, mut again) = (Parser::default(), Vec::new());
        bytes.iter().for_each(|byte| slow.feed(&[*byte], &mut again));
        slow.flush(&mut again);
        assert_eq!(out, again);
        out
    }

    fn check(bytes: &[u8], code: KeyCode, modifiers: KeyModifiers) {
        assert_eq!(keys(bytes), [key(code, modifiers)], "{bytes:?}");
    }

    #[test]
    fn keys_as_terminals_send_them() {
        let none = KeyModifiers::NONE;
        check(b"j", KeyCode::Char('j'), none);
        check("ß".as_bytes(), KeyCode::Char('ß'), none);
        check(b"\r", KeyCode::Enter, none);
        check(b"\x7f", KeyCode::Backspace, none);
        check(b"\x1b", KeyCode::Esc, none);
        check(b"\x04", KeyCode::Char('d'), KeyModifiers::CONTROL);
        check(b"\x1d", KeyCode::Char(']'), KeyModifiers::CONTROL);
        check(b"\x1bx", KeyCode::Char('x'), KeyModifiers::ALT);
        check(b"\x1b[A", KeyCode::Up, none);
        check(b"\x1bOA", KeyCode::Up, none);
        check(b"\x1b[1;5D", KeyCode::Left, KeyModifiers::CONTROL);
        check(b"\x1b[3~", KeyCode::Delete, none);
        check(b"\x1b[Z", KeyCode::BackTab, KeyModifiers::SHIFT);
        check(b"\x1b[15~", KeyCode::F(5), none);
        check(b"\x1b[24~", KeyCode::F(12), none);
        check(b"\x1bOP", KeyCode::F(1), none);
        check(b"\x1b[[B", KeyCode::F(2), none);
        check(b"\x1b[100;5u", KeyCode::Char('d'), KeyModifiers::CONTROL);
    }

    #[test]
    fn replies_of_the_terminal_are_not_keys() {
        assert_eq!(keys(b"\x1b[?62;22c\x1b[?2026;2$yq"), [char_key('q')]);
        assert_eq!(keys(b"\x1b]11;rgb:0000/0000/0000\x07q"), [char_key('q')]);
    }

    #[test]
    fn a_paste_is_one_thing_and_not_keys() {
        assert_eq!(keys(b"\x1b[200~q\nx\x1b[201~j"), [Input::Paste("q\nx".into()), char_key('j')]);
    }

    #[test]
    fn clicks() {
        assert_eq!(
            keys(b"\x1b[<0;3;5M\x1b[<0;3;5m\x1b[<65;1;1M"),
            [Input::Click { x: 2, y: 4 }, Input::ScrollDown { x: 0, y: 0 }]
        );
    }

    #[test]
    fn noise_does_not_stick() {
        let (mut parser, mut out) = (Parser::default(), Vec::new());
        parser.feed(&[0xff, 0xc3, 0x28, b'a'], &mut out);
        assert_eq!(out.last(), Some(&char_key('a')));
        parser.feed(b"\x1b[", &mut out);
        parser.feed(&[b'1'; 200], &mut out);
        out.clear();
        parser.flush(&mut out);
        parser.feed(b"b", &mut out);
        assert_eq!(out, [char_key('b')]);
    }
}
