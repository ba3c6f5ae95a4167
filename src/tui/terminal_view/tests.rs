//! Tests of `terminal_view`, beside it because they outgrew it.

use proptest::prelude::*;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier};

use super::*;
use crate::tui::theme::Theme;

fn terminal() -> TerminalModel {
    TerminalModel::new(TtySize { rows: 4, cols: 20 }, "ctrl-]").unwrap()
}

fn painted(terminal: &TerminalModel, width: u16, height: u16) -> (Buffer, Option<Position>) {
    let mut buf = Buffer::empty(Rect::new(0, 0, width, height));
    let cursor = terminal.view(*buf.area(), &mut buf, &Theme::dark());
    (buf, cursor)
}

fn hint(terminal: &TerminalModel) -> String {
    terminal.hint(&Theme::dark()).spans.iter().map(|span| span.content.as_ref()).collect()
}

fn key(code: KeyCode, modifiers: KeyModifiers) -> KeyEvent {
    KeyEvent::new(code, modifiers)
}

#[test]
fn output_becomes_cells() {
    let theme = Theme::dark();
    let mut terminal = terminal();
    terminal.feed("$ \x1b[1;31mred\x1b[0m 漢".as_bytes());
    let mut expected = Buffer::empty(Rect::new(0, 0, 20, 4));
    expected.set_style(*expected.area(), theme.text);
    expected.set_string(0, 0, "$ ", theme.text);
    expected.set_string(2, 0, "red", theme.text.fg(Color::Indexed(1)).add_modifier(Modifier::BOLD));
    expected.set_string(6, 0, "漢", theme.text);
    let (buf, cursor) = painted(&terminal, 20, 4);
    assert_eq!(buf, expected);
    assert_eq!(cursor, Some(Position { x: 8, y: 0 }));
}

#[test]
fn keys_are_encoded_as_xterm_does() {
    let (none, ctrl, alt, shift) = (KeyModifiers::NONE, KeyModifiers::CONTROL, KeyModifiers::ALT, KeyModifiers::SHIFT);
    let cases: &[(KeyCode, KeyModifiers, &[u8])] = &[
        (KeyCode::Char('a'), none, b"a"),
        (KeyCode::Char('é'), none, "é".as_bytes()),
        (KeyCode::Char('C'), ctrl, b"\x03"),
        (KeyCode::Char(' '), ctrl, b"\0"),
        (KeyCode::Char('x'), alt, b"\x1bx"),
        (KeyCode::Char('x'), ctrl | alt, b"\x1b\x18"),
        (KeyCode::Enter, none, b"\r"),
        (KeyCode::Backspace, none, b"\x7f"),
        (KeyCode::BackTab, shift, b"\x1b[Z"),
        (KeyCode::Up, none, b"\x1b[A"),
        (KeyCode::Left, ctrl, b"\x1b[1;5D"),
        (KeyCode::End, shift, b"\x1b[1;2F"),
        (KeyCode::Delete, none, b"\x1b[3~"),
        (KeyCode::PageDown, alt, b"\x1b[6;3~"),
        (KeyCode::F(1), none, b"\x1bOP"),
        (KeyCode::F(2), ctrl, b"\x1b[1;5Q"),
        (KeyCode::F(5), none, b"\x1b[15~"),
        (KeyCode::F(12), shift, b"\x1b[24;2~"),
        (KeyCode::CapsLock, none, b""),
    ];
    for (code, modifiers, expected) in cases {
        assert_eq!(keys::encode(key(*code, *modifiers), false), *expected, "{code:?} {modifiers:?}");
    }
    assert_eq!(keys::encode(key(KeyCode::Up, none), true), b"\x1bOA");
    assert_eq!(keys::encode(key(KeyCode::Up, ctrl), true), b"\x1b[1;5A");
}

#[test]
fn pastes_are_bracketed_when_asked_for_and_cannot_break_out() {
    let mut terminal = terminal();
    assert_eq!(terminal.paste("a\r\nb\n"), b"a\rb\r");
    terminal.feed(b"\x1b[?2004h");
    assert_eq!(terminal.paste("x\x1b[20\x1b[201~1~y"), b"\x1b[200~xy\x1b[201~");
}

#[test]
fn detach_keys_detach_and_are_shown() {
    let mut terminal = terminal();
    assert_eq!(hint(&terminal), " ctrl-] detach ");
    assert_eq!(terminal.key(key(KeyCode::Char(']'), KeyModifiers::CONTROL)), TerminalKey::Detach(Vec::new()));
    let mut two = TerminalModel::new(TtySize { rows: 4, cols: 20 }, "ctrl-p,ctrl-q").unwrap();
    let typed = |terminal: &mut TerminalModel, ch| terminal.key(key(KeyCode::Char(ch), KeyModifiers::CONTROL));
    assert_eq!(typed(&mut two, 'p'), TerminalKey::Send(Vec::new()));
    assert_eq!(typed(&mut two, 'x'), TerminalKey::Send(b"\x10\x18".to_vec()));
    typed(&mut two, 'p');
    assert_eq!(typed(&mut two, 'q'), TerminalKey::Detach(Vec::new()));
    assert!(TerminalModel::new(TtySize::default(), "ctrl-%").is_err());
}

#[test]
fn the_end_is_told_and_enter_closes() {
    let mut terminal = terminal();
    assert_eq!(terminal.key(key(KeyCode::Enter, KeyModifiers::NONE)), TerminalKey::Send(b"\r".to_vec()));
    terminal.ended(Some(137));
    assert_eq!(hint(&terminal), " ended with exit code 137, Enter closes ");
    assert_eq!(terminal.key(key(KeyCode::Char('x'), KeyModifiers::NONE)), TerminalKey::Ignored);
    assert_eq!(terminal.key(key(KeyCode::Enter, KeyModifiers::NONE)), TerminalKey::Close);
    assert_eq!(painted(&terminal, 20, 4).1, None, "no cursor where nobody types");
}

#[test]
fn shift_page_up_looks_back_and_typing_returns() {
    let mut terminal = terminal();
    for n in 0..50 {
        terminal.feed(format!("line {n}\r\n").as_bytes());
    }
    let top = |terminal: &TerminalModel| -> String {
        let (buf, _) = painted(terminal, 20, 4);
        (0..20).map(|x| buf[(x, 0)].symbol()).collect::<String>().trim().to_owned()
    };
    assert_eq!(top(&terminal), "line 47");
    assert_eq!(terminal.key(key(KeyCode::PageUp, KeyModifiers::SHIFT)), TerminalKey::Scrolled);
    assert_eq!((top(&terminal).as_str(), hint(&terminal).as_str()), ("line 45", " 2 lines up ·  ctrl-] detach "));
    terminal.key(key(KeyCode::Home, KeyModifiers::SHIFT));
    assert_eq!(top(&terminal), "line 0");
    terminal.key(key(KeyCode::Char('a'), KeyModifiers::NONE));
    assert_eq!(top(&terminal), "line 47");
}

#[test]
fn questions_are_answered_and_titles_cleaned() {
    let mut terminal = terminal();
    assert_eq!(terminal.feed(b"ab\x1b[6n"), b"\x1b[1;3R");
    assert_eq!(terminal.feed(b"\x1b[5n\x1b[c\x1b[>c"), b"\x1b[0n\x1b[?6c\x1b[>0;0;0c");
    assert_eq!(terminal.feed(b"\x1b]2;evil\xc2\x9b31m\x07\x1b[21t"), b"", "a title is never reported");
    assert_eq!(terminal.title(), "evil\u{fffd}31m");
    terminal.feed(b"\x07");
    assert!(terminal.take_bell() && !terminal.take_bell());
}

#[test]
fn resizing_tells_once() {
    let mut terminal = terminal();
    assert_eq!(terminal.resize(TtySize { rows: 4, cols: 20 }), None);
    let wider = TtySize { rows: 5, cols: 30 };
    assert_eq!((terminal.resize(wider), terminal.resize(wider)), (Some(wider), None));
}

proptest! {
    /// Whatever a process writes, in whatever sizes: no panic, and no cell holds an order.
    #[test]
    fn hostile_output_stays_in_its_cells(
        output in prop::collection::vec(prop_oneof![
            any::<Vec<u8>>(),
            "\u{1b}\\[[?>]?[0-9;]{0,8}[a-zA-Z@`]".prop_map(String::into_bytes),
            "\\PC{0,12}".prop_map(String::into_bytes),
            Just("漢\u{200d}🐳\u{fe0f}\u{202e}\u{9b}e\u{301}\u{301}".as_bytes().to_vec()),
        ], 0..24),
        sizes in prop::collection::vec((0u16..30, 0u16..12), 1..4),
        scrolls in any::<bool>(),
    ) {
        let mut terminal = terminal();
        let mut sizes = sizes.into_iter().cycle();
        for bytes in output {
            terminal.feed(&bytes);
            let (cols, rows) = sizes.next().unwrap();
            terminal.resize(TtySize { rows, cols });
            if scrolls {
                terminal.key(key(KeyCode::PageUp, KeyModifiers::SHIFT));
            }
            let (buf, _) = painted(&terminal, 16, 6);
            for cell in &buf.content {
                prop_assert!(!cell.symbol().chars().any(text::is_unsafe), "{:?}", cell.symbol());
            }
            prop_assert!(!terminal.title().chars().any(text::is_unsafe));
        }
    }
}
