//! Keys as the bytes a terminal sends: xterm's encoding (ctlseqs, "PC-Style Function Keys"). Pure.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// The bytes of a key; empty for keys that send nothing. `application_cursor` is DECCKM.
pub(super) fn encode(key: KeyEvent, application_cursor: bool) -> Vec<u8> {
    let modifiers = key.modifiers;
    let has = |modifier| modifiers.contains(modifier);
    match key.code {
        KeyCode::Char(ch) => character(ch, has(KeyModifiers::CONTROL), has(KeyModifiers::ALT)),
        KeyCode::Enter => with_alt(b"\r", modifiers),
        KeyCode::Tab if has(KeyModifiers::SHIFT) => b"\x1b[Z".to_vec(),
        KeyCode::Tab => with_alt(b"\t", modifiers),
        KeyCode::BackTab => b"\x1b[Z".to_vec(),
        KeyCode::Backspace if has(KeyModifiers::CONTROL) => with_alt(b"\x08", modifiers),
        KeyCode::Backspace => with_alt(b"\x7f", modifiers),
        KeyCode::Esc => with_alt(b"\x1b", modifiers),
        KeyCode::Null => vec![0],
        KeyCode::Up => letter('A', modifiers, application_cursor),
        KeyCode::Down => letter('B', modifiers, application_cursor),
        KeyCode::Right => letter('C', modifiers, application_cursor),
        KeyCode::Left => letter('D', modifiers, application_cursor),
        KeyCode::Home => letter('H', modifiers, application_cursor),
        KeyCode::End => letter('F', modifiers, application_cursor),
        KeyCode::KeypadBegin => letter('E', modifiers, application_cursor),
        KeyCode::Insert => number(2, modifiers),
        KeyCode::Delete => number(3, modifiers),
        KeyCode::PageUp => number(5, modifiers),
        KeyCode::PageDown => number(6, modifiers),
        KeyCode::F(n) => function(n, modifiers),
        _ => Vec::new(),
    }
}

fn character(ch: char, is_ctrl: bool, is_alt: bool) -> Vec<u8> {
    let mut bytes = if is_alt { vec![0x1b] } else { Vec::new() };
    match control(ch).filter(|_| is_ctrl) {
        Some(byte) => bytes.push(byte),
        None => bytes.extend_from_slice(ch.encode_utf8(&mut [0; 4]).as_bytes()),
    }
    bytes
}

/// The control character of a key with Ctrl, as DEC terminals have them.
fn control(ch: char) -> Option<u8> {
    match ch.to_ascii_lowercase() {
        letter @ 'a'..='z' => Some(letter as u8 - b'a' + 1),
        ' ' | '@' | '2' => Some(0x00),
        '[' | '3' => Some(0x1b),
        '\\' | '4' => Some(0x1c),
        ']' | '5' => Some(0x1d),
        '^' | '~' | '6' => Some(0x1e),
        '_' | '/' | '7' => Some(0x1f),
        '?' | '8' => Some(0x7f),
        _ => None,
    }
}

fn with_alt(bytes: &[u8], modifiers: KeyModifiers) -> Vec<u8> {
    let alt: &[u8] = if modifiers.contains(KeyModifiers::ALT) { b"\x1b" } else { b"" };
    [alt, bytes].concat()
}

/// xterm's modifier parameter; 1 is none.
fn parameter(modifiers: KeyModifiers) -> u8 {
    1 + u8::from(modifiers.contains(KeyModifiers::SHIFT))
        + 2 * u8::from(modifiers.contains(KeyModifiers::ALT))
        + 4 * u8::from(modifiers.contains(KeyModifiers::CONTROL))
}

fn letter(last: char, modifiers: KeyModifiers, application_cursor: bool) -> Vec<u8> {
    match parameter(modifiers) {
        1 if application_cursor => format!("\x1bO{last}").into_bytes(),
        1 => format!("\x1b[{last}").into_bytes(),
        parameter => format!("\x1b[1;{parameter}{last}").into_bytes(),
    }
}

fn number(n: u8, modifiers: KeyModifiers) -> Vec<u8> {
    match parameter(modifiers) {
        1 => format!("\x1b[{n}~").into_bytes(),
        parameter => format!("\x1b[{n};{parameter}~").into_bytes(),
    }
}

fn function(n: u8, modifiers: KeyModifiers) -> Vec<u8> {
    const NUMBERS: [u8; 16] = [15, 17, 18, 19, 20, 21, 23, 24, 25, 26, 28, 29, 31, 32, 33, 34];
    match n {
        1..=4 => {
            let last = char::from(b'P' + n - 1);
            match parameter(modifiers) {
                1 => format!("\x1bO{last}").into_bytes(),
                parameter => format!("\x1b[1;{parameter}{last}").into_bytes(),
            }
        }
        5..=20 => number(NUMBERS[usize::from(n) - 5], modifiers),
        _ => Vec::new(),
    }
}

const PASTE_END: &str = "\x1b[201~";

/// Pasted text as bytes. Inside brackets no end mark may come from the text: it would let the rest be typed.
pub(super) fn paste(pasted: &str, is_bracketed: bool) -> Vec<u8> {
    let text = pasted.replace("\r\n", "\r").replace('\n', "\r");
    if !is_bracketed {
        return text.into_bytes();
    }
    let mut clean = text;
    while clean.contains(PASTE_END) {
        clean = clean.replace(PASTE_END, "");
    }
    format!("\x1b[200~{clean}{PASTE_END}").into_bytes()
}
