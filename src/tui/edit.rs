//! One line of text being typed. Called by the filter bar, prompts, forms and the palette; pure.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::text;

/// Longest line that is kept, in bytes.
const MAX_LEN: usize = 16 << 10;

/// Text with a cursor. The cursor stands between characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineEdit {
    text: String,
    /// Byte offset, always on a character boundary.
    cursor: usize,
}

/// What a key did to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edited {
    /// The text is another one.
    Changed,
    /// The cursor moved, or a key of the editor had nothing to do.
    Moved,
    /// Not a key of the editor.
    Ignored,
}

impl LineEdit {
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { cursor: text.len(), text }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn set(&mut self, text: impl Into<String>) {
        *self = Self::new(text);
    }

    /// Takes a key: characters, motions, and the usual readline keys.
    pub fn key(&mut self, key: KeyEvent) -> Edited {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        let before = self.text.len();
        match key.code {
            KeyCode::Char('a') if ctrl => self.cursor = 0,
            KeyCode::Char('e') if ctrl => self.cursor = self.text.len(),
            KeyCode::Char('b') if ctrl => self.cursor = self.previous(),
            KeyCode::Char('f') if ctrl => self.cursor = self.next(),
            KeyCode::Char('u') if ctrl => self.cut(0, self.cursor),
            KeyCode::Char('k') if ctrl => self.text.truncate(self.cursor),
            KeyCode::Char('w') if ctrl => self.cut(self.word_start(), self.cursor),
            KeyCode::Char('h') if ctrl => self.cut(self.previous(), self.cursor),
            KeyCode::Char('d') if ctrl => self.cut(self.cursor, self.next()),
            KeyCode::Backspace if alt || ctrl => self.cut(self.word_start(), self.cursor),
            KeyCode::Char('b') if alt => self.cursor = self.word_start(),
            KeyCode::Char('f') if alt => self.cursor = self.word_end(),
            KeyCode::Char(c) if !ctrl && !alt => self.insert(c.encode_utf8(&mut [0; 4])),
            KeyCode::Backspace => self.cut(self.previous(), self.cursor),
            KeyCode::Delete => self.cut(self.cursor, self.next()),
            KeyCode::Left if ctrl => self.cursor = self.word_start(),
            KeyCode::Right if ctrl => self.cursor = self.word_end(),
            KeyCode::Left => self.cursor = self.previous(),
            KeyCode::Right => self.cursor = self.next(),
            KeyCode::Home => self.cursor = 0,
            KeyCode::End => self.cursor = self.text.len(),
            _ => return Edited::Ignored,
        }
        if self.text.len() == before { Edited::Moved } else { Edited::Changed }
    }

    /// Puts text in at the cursor; line ends become blanks.
    pub fn insert(&mut self, inserted: &str) {
        let clean: String =
            inserted.trim_end_matches(['\r', '\n']).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if self.text.len() + clean.len() <= MAX_LEN {
            self.text.insert_str(self.cursor, &clean);
            self.cursor += clean.len();
        }
    }

    /// The part to show in `cells`, and the cell the cursor stands in: scrolled so that the cursor is always inside.
    pub fn view(&self, cells: usize) -> (String, usize) {
        let shown = text::sanitise(&self.text[..self.cursor]).into_owned();
        let before = text::width(&shown);
        if before < cells {
            let rest = text::sanitise(&self.text[self.cursor..]).into_owned();
            let all = format!("{shown}{rest}");
            return (text::clip_plain(&all, cells).to_owned(), before);
        }
        let tail = text::clip_start(&shown, cells.saturating_sub(1)).into_owned();
        let at = text::width(&tail);
        (tail, at)
    }

    fn cut(&mut self, from: usize, to: usize) {
        self.text.replace_range(from..to, "");
        self.cursor = from;
    }

    fn previous(&self) -> usize {
        self.text[..self.cursor].char_indices().next_back().map_or(0, |(at, _)| at)
    }

    fn next(&self) -> usize {
        self.text[self.cursor..].chars().next().map_or(self.cursor, |c| self.cursor + c.len_utf8())
    }

    fn word_start(&self) -> usize {
        let head = self.text[..self.cursor].trim_end_matches(|c: char| !c.is_alphanumeric());
        head.trim_end_matches(char::is_alphanumeric).len()
    }

    fn word_end(&self) -> usize {
        let tail = &self.text[self.cursor..];
        let skipped = tail.len() - tail.trim_start_matches(|c: char| !c.is_alphanumeric()).len();
        let word = tail[skipped..].find(|c: char| !c.is_alphanumeric()).unwrap_or(tail.len() - skipped);
        self.cursor + skipped + word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(edit: &mut LineEdit, code: KeyCode, modifiers: KeyModifiers) -> Edited {
        edit.key(KeyEvent::new(code, modifiers))
    }

    #[test]
    fn typing_moving_and_cutting() {
        let mut edit = LineEdit::new("one two");
        press(&mut edit, KeyCode::Char('w'), KeyModifiers::CONTROL);
        assert_eq!(edit.text(), "one ");
        press(&mut edit, KeyCode::Home, KeyModifiers::NONE);
        press(&mut edit, KeyCode::Char('é'), KeyModifiers::NONE);
        press(&mut edit, KeyCode::Right, KeyModifiers::CONTROL);
        press(&mut edit, KeyCode::Char('k'), KeyModifiers::CONTROL);
        assert_eq!(edit.text(), "éone");
        press(&mut edit, KeyCode::Backspace, KeyModifiers::NONE);
        assert_eq!(press(&mut edit, KeyCode::Delete, KeyModifiers::NONE), Edited::Moved);
        assert_eq!(press(&mut edit, KeyCode::Enter, KeyModifiers::NONE), Edited::Ignored);
        edit.insert("a\nb\n");
        assert_eq!(edit.text(), "éona b");
    }

    #[test]
    fn the_cursor_stays_in_view() {
        let edit = LineEdit::new("0123456789");
        assert_eq!(edit.view(20), ("0123456789".into(), 10));
        assert_eq!(edit.view(6), ("…6789".into(), 5));
        assert_eq!(LineEdit::new("漢字").view(3), ("…".into(), 1));
        assert_eq!(edit.view(0), (String::new(), 0));
    }
}
