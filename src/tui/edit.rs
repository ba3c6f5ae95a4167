//! One line of text being typed. Called by the filter bar, prompts, forms and the palette; pure.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tui_textarea::{CursorMove, TextArea};

use super::text;

/// Longest line that is kept, in bytes.
const MAX_LEN: usize = 16 << 10;

/// Text with a cursor. The cursor stands between characters.
#[derive(Clone, Debug)]
pub struct LineEdit {
    /// Always one line. Boxed: forms hold many values, few of them text that is being typed.
    area: Box<TextArea<'static>>,
    /// A proposal nobody has touched: typing replaces it, anything else takes it over.
    is_proposed: bool,
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

impl Default for LineEdit {
    fn default() -> Self {
        Self::new("")
    }
}

impl PartialEq for LineEdit {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text() && self.cursor() == other.cursor()
    }
}

impl Eq for LineEdit {}

impl LineEdit {
    pub fn new(text: impl Into<String>) -> Self {
        let mut area = TextArea::new(vec![one_line(&text.into())]);
        area.move_cursor(CursorMove::End);
        Self { area: Box::new(area), is_proposed: false }
    }

    /// Text to take as it is or to type over.
    pub fn proposed(text: impl Into<String>) -> Self {
        let line = Self::new(text);
        Self { is_proposed: !line.text().is_empty(), ..line }
    }

    /// Whether the text is still the proposal that the next character replaces.
    pub fn is_proposed(&self) -> bool {
        self.is_proposed
    }

    pub fn text(&self) -> &str {
        self.area.lines().first().map_or("", String::as_str)
    }

    pub fn set(&mut self, text: impl Into<String>) {
        *self = Self::new(text);
    }

    /// Takes a key: characters, motions, and the usual readline keys.
    pub fn key(&mut self, key: KeyEvent) -> Edited {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        let is_ours = match key.code {
            KeyCode::Char(c) if ctrl => "abdefhkuw".contains(c),
            KeyCode::Char(c) if alt => "bf".contains(c),
            KeyCode::Char(_) => self.text().len() < MAX_LEN,
            KeyCode::Backspace | KeyCode::Delete | KeyCode::Left | KeyCode::Right | KeyCode::Home | KeyCode::End => {
                true
            }
            _ => false,
        };
        if !is_ours {
            return Edited::Ignored;
        }
        if std::mem::take(&mut self.is_proposed) && matches!(key.code, KeyCode::Char(_)) && !ctrl && !alt {
            self.set("");
        }
        let is_changed = match key.code {
            // Readline's, where the widget has undo.
            KeyCode::Char('u') if ctrl => self.area.delete_line_by_head(),
            _ => self.area.input(key),
        };
        if is_changed { Edited::Changed } else { Edited::Moved }
    }

    /// Puts text in at the cursor; line ends become blanks.
    pub fn insert(&mut self, inserted: &str) {
        if std::mem::take(&mut self.is_proposed) {
            self.set("");
        }
        let clean = one_line(inserted.trim_end_matches(['\r', '\n']));
        if self.text().len() + clean.len() <= MAX_LEN {
            self.area.insert_str(clean);
        }
    }

    /// Bytes before the cursor.
    fn cursor(&self) -> usize {
        let column = self.area.cursor().1;
        self.text().char_indices().nth(column).map_or(self.text().len(), |(at, _)| at)
    }

    /// The part to show in `cells`, and the cell the cursor stands in: scrolled so that the cursor is always inside.
    pub fn view(&self, cells: usize) -> (String, usize) {
        let shown = text::sanitise(&self.text()[..self.cursor()]).into_owned();
        let before = text::width(&shown);
        if before < cells {
            let rest = text::sanitise(&self.text()[self.cursor()..]).into_owned();
            let all = format!("{shown}{rest}");
            return (text::clip_plain(&all, cells).to_owned(), before);
        }
        let tail = text::clip_start(&shown, cells.saturating_sub(1)).into_owned();
        let at = text::width(&tail);
        (tail, at)
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
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
        assert_eq!(edit.text(), "éone ");
        press(&mut edit, KeyCode::Backspace, KeyModifiers::NONE);
        assert_eq!(press(&mut edit, KeyCode::Delete, KeyModifiers::NONE), Edited::Moved);
        assert_eq!(press(&mut edit, KeyCode::Enter, KeyModifiers::NONE), Edited::Ignored);
        edit.insert("a\nb\n");
        assert_eq!(edit.text(), "éonea b");
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
