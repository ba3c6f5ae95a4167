//! One key press as it is written in config files, help and footers: `ctrl-d`, `S`, `space`, `f1`. Called by the keymap and by pages.

use std::fmt;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// A key with its modifiers, in one normal form: capitals carry no shift, back-tab is shift-tab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chord {
    pub code: KeyCode,
    pub modifiers: KeyModifiers,
}

impl Chord {
    pub fn new(code: KeyCode, modifiers: KeyModifiers) -> Self {
        match code {
            KeyCode::Char(c) if modifiers.contains(KeyModifiers::SHIFT) => {
                Self { code: KeyCode::Char(upper(c)), modifiers: modifiers - KeyModifiers::SHIFT }
            }
            KeyCode::BackTab => Self { code, modifiers: modifiers - KeyModifiers::SHIFT },
            KeyCode::Tab if modifiers.contains(KeyModifiers::SHIFT) => {
                Self { code: KeyCode::BackTab, modifiers: modifiers - KeyModifiers::SHIFT }
            }
            _ => Self { code, modifiers },
        }
    }

    /// Reads a key as people write it: `j`, `G`, `ctrl-d`, `C-d`, `^d`, `alt-x`, `shift-tab`, `enter`, `f10`. `None` when it is none.
    pub fn parse(written: &str) -> Option<Self> {
        let mut rest = written.trim();
        let mut modifiers = KeyModifiers::NONE;
        if let Some(control) = rest.strip_prefix('^').filter(|tail| tail.chars().count() == 1) {
            return Some(Self::new(KeyCode::Char(control.chars().next()?.to_ascii_lowercase()), KeyModifiers::CONTROL));
        }
        while let Some((head, tail)) = rest.split_once('-').filter(|(head, tail)| !head.is_empty() && !tail.is_empty())
        {
            modifiers |= match head.to_ascii_lowercase().as_str() {
                "ctrl" | "c" | "control" => KeyModifiers::CONTROL,
                "alt" | "m" | "meta" => KeyModifiers::ALT,
                "shift" | "s" => KeyModifiers::SHIFT,
                _ => return None,
            };
            rest = tail;
        }
        Some(Self::new(parse_code(rest)?, modifiers))
    }
}

fn upper(c: char) -> char {
    c.to_uppercase().next().unwrap_or(c)
}

const NAMED: &[(&str, KeyCode)] = &[
    ("enter", KeyCode::Enter),
    ("esc", KeyCode::Esc),
    ("tab", KeyCode::Tab),
    ("backtab", KeyCode::BackTab),
    ("space", KeyCode::Char(' ')),
    ("backspace", KeyCode::Backspace),
    ("del", KeyCode::Delete),
    ("ins", KeyCode::Insert),
    ("up", KeyCode::Up),
    ("down", KeyCode::Down),
    ("left", KeyCode::Left),
    ("right", KeyCode::Right),
    ("home", KeyCode::Home),
    ("end", KeyCode::End),
    ("pgup", KeyCode::PageUp),
    ("pgdn", KeyCode::PageDown),
    ("minus", KeyCode::Char('-')),
];

fn parse_code(written: &str) -> Option<KeyCode> {
    let mut chars = written.chars();
    if let (Some(only), None) = (chars.next(), chars.next()) {
        return Some(KeyCode::Char(only));
    }
    let lower = written.to_ascii_lowercase();
    if let Some((_, code)) = NAMED.iter().find(|(name, _)| *name == lower) {
        return Some(*code);
    }
    match lower.as_str() {
        "return" => Some(KeyCode::Enter),
        "escape" => Some(KeyCode::Esc),
        "delete" => Some(KeyCode::Delete),
        "pageup" => Some(KeyCode::PageUp),
        "pagedown" => Some(KeyCode::PageDown),
        _ => lower.strip_prefix('f')?.parse().ok().filter(|n| (1..=24).contains(n)).map(KeyCode::F),
    }
}

impl From<KeyEvent> for Chord {
    fn from(event: KeyEvent) -> Self {
        Self::new(event.code, event.modifiers)
    }
}

impl fmt::Display for Chord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (modifier, written) in
            [(KeyModifiers::CONTROL, "ctrl-"), (KeyModifiers::ALT, "alt-"), (KeyModifiers::SHIFT, "shift-")]
        {
            if self.modifiers.contains(modifier) {
                f.write_str(written)?;
            }
        }
        match self.code {
            KeyCode::Char(' ') => f.write_str("space"),
            KeyCode::BackTab => f.write_str("shift-tab"),
            KeyCode::Up => f.write_str("↑"),
            KeyCode::Down => f.write_str("↓"),
            KeyCode::Left => f.write_str("←"),
            KeyCode::Right => f.write_str("→"),
            KeyCode::Char(c) => write!(f, "{c}"),
            KeyCode::F(n) => write!(f, "F{n}"),
            code => match NAMED.iter().find(|(_, named)| *named == code) {
                Some((name, _)) => f.write_str(name),
                None => write!(f, "{code:?}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(written: &str, code: KeyCode, modifiers: KeyModifiers) {
        assert_eq!(Chord::parse(written), Some(Chord { code, modifiers }), "{written}");
    }

    #[test]
    fn keys_as_people_write_them() {
        let (none, ctrl) = (KeyModifiers::NONE, KeyModifiers::CONTROL);
        check("j", KeyCode::Char('j'), none);
        check("G", KeyCode::Char('G'), none);
        check("shift-g", KeyCode::Char('G'), none);
        check("-", KeyCode::Char('-'), none);
        check("ctrl-d", KeyCode::Char('d'), ctrl);
        check("C-d", KeyCode::Char('d'), ctrl);
        check("^D", KeyCode::Char('d'), ctrl);
        check("ctrl-]", KeyCode::Char(']'), ctrl);
        check("ctrl--", KeyCode::Char('-'), ctrl);
        check("shift-tab", KeyCode::BackTab, none);
        check("Enter", KeyCode::Enter, none);
        check("f12", KeyCode::F(12), none);
        check("alt-x", KeyCode::Char('x'), KeyModifiers::ALT);
        for bad in ["", "hyper-x", "f99", "nokey", "ctrl-"] {
            assert_eq!(Chord::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_written_key_reads_back() {
        for written in ["j", "G", "ctrl-d", "space", "shift-tab", "f1", "alt-x", "del", "pgup"] {
            let chord = Chord::parse(written).unwrap();
            assert_eq!(Chord::parse(&chord.to_string()), Some(chord), "{written}");
        }
    }
}
