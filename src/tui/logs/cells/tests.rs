//! Tests of `cells`, beside it because they outgrew it.

use proptest::prelude::*;

use super::*;

fn shown(line: &[u8]) -> String {
    let (line, _) = visible(line);
    Glyphs::new(line).map(|glyph| format!("{}{}", glyph.ch, glyph.marks)).collect()
}

#[test]
fn text_is_shown_as_it_is_and_orders_as_pictures() {
    let cases: &[(&[u8], &str)] = &[
        (b"plain", "plain"),
        ("näme 漢字 e\u{301}x".as_bytes(), "näme 漢字 e\u{301}x"),
        (b"\x1b[31mred\x1b[0m", "red"),
        (b"\x1b[2Jcleared", "^[[2Jcleared"),
        (b"\x1b]0;title\x07after", "^[]0;title^Gafter"),
        (b"\x1b]52;c;aGk=\x1b\\", "^[]52;c;aGk=^[\\"),
        (b"bell\x07 back\x08", "bell^G back^H"),
        (b"del\x7f", "del^?"),
        (b"a\xffb\xc3", "a\\xffb\\xc3"),
        (b"\xc2\x9b31m", "<9b>31m"),
        ("x\u{202e}y".as_bytes(), "x<202e>y"),
        ("\u{1f469}\u{200d}\u{1f4bb}".as_bytes(), "\u{1f469}\u{1f4bb}"),
        (b"10%\r20%\r30%", "30%"),
        (b"dos\r", "dos"),
        (b"a\tb", "a       b"),
        (b"\x1b[99999999999999999999mx", "x"),
        (b"\x1b[3", "^[[3"),
    ];
    for (line, expected) in cases {
        assert_eq!(shown(line), *expected, "{:?}", String::from_utf8_lossy(line));
    }
}

#[test]
fn sgr_becomes_style() {
    let style = |line: &[u8]| Glyphs::new(line).last().map(|glyph| glyph.style).unwrap_or_default();
    assert_eq!(style(b"\x1b[1;31mx"), Style::new().fg(Color::Red).add_modifier(Modifier::BOLD));
    assert_eq!(style(b"\x1b[38;5;208mx"), Style::new().fg(Color::Indexed(208)));
    assert_eq!(style(b"\x1b[48;2;1;2;3;97mx"), Style::new().bg(Color::Rgb(1, 2, 3)).fg(Color::White));
    assert_eq!(style(b"\x1b[38:2::1:2:3mx"), Style::new().fg(Color::Rgb(1, 2, 3)));
    assert_eq!(style(b"\x1b[38:2:1:2:3mx"), Style::new().fg(Color::Rgb(1, 2, 3)));
    assert_eq!(style(b"\x1b[1;2;3;4;7m\x1b[22;23;24;27mx"), Style::new());
    assert_eq!(style(b"\x1b[31m\x1b[mx"), Style::new());
    assert_eq!(style(b"\x1b[8mx"), Style::new(), "concealed text stays visible");
}

#[test]
fn zalgo_keeps_three_marks() {
    let mut line = String::from("a");
    line.extend(std::iter::repeat_n('\u{301}', 50));
    let glyphs: Vec<_> = Glyphs::new(line.as_bytes()).collect();
    assert_eq!(glyphs.len(), 1);
    assert_eq!(glyphs[0].marks.chars().count(), 3);
}

/// Bytes in which escapes, wide characters and broken UTF-8 are likely.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<Vec<u8>>(),
        "\\PC{0,8}".prop_map(String::into_bytes),
        "\u{1b}[\\[\\]PX^_]?[0-9;:]{0,6}[mKJHh]?".prop_map(String::into_bytes),
        Just("漢\u{301}\u{200d}\u{1f469}\u{fe0f}".as_bytes().to_vec()),
        Just(b"\t\r\x07\x1b\\".to_vec()),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_glyph_is_an_order(line in hostile()) {
        for glyph in Glyphs::new(&line) {
            prop_assert!(!glyph.ch.is_control() && !text::is_unsafe(glyph.ch));
            prop_assert!(glyph.marks.chars().all(|mark| !mark.is_control() && !text::is_unsafe(mark)));
            prop_assert!(glyph.kind == Kind::Break || (1..=2).contains(&glyph.width));
            prop_assert!(glyph.ch == ' ' || glyph.ch.width() == Some(glyph.width.into()));
        }
    }

    /// Going to a row by counting gives what going there glyph by glyph gives.
    #[test]
    fn rows_are_cut_the_same_by_counting(line in hostile(), width in 1usize..12, row in 0usize..9, indent in 0usize..2) {
        let mut slow = Vec::new();
        let mut cutter = RowCutter::new(&line, Some(width), indent);
        while let Some(glyph) = cutter.next() {
            slow.push((cutter.row, cutter.column, glyph.kind, glyph.ch, glyph.plain_at, glyph.style));
        }
        let n_rows = slow.last().map_or(0, |last| last.0) + 1;
        prop_assert_eq!(RowCutter::new(&line, Some(width), indent).count_rows(), n_rows);
        let mut cutter = RowCutter::new(&line, Some(width), indent);
        prop_assert_eq!(cutter.go_to_row(row), row < n_rows);
        if row < n_rows && row > 0 {
            let mut fast = Vec::new();
            while let Some(glyph) = cutter.next() {
                fast.push((cutter.row, cutter.column, glyph.kind, glyph.ch, glyph.plain_at, glyph.style));
            }
            // A line break belongs to the row it opens, and is behind us.
            let expected: Vec<_> = slow.into_iter().filter(|glyph| glyph.0 >= row)
                .enumerate().filter(|(idx, glyph)| *idx > 0 || glyph.2 != Kind::Break).map(|(_, glyph)| glyph).collect();
            prop_assert_eq!(fast, expected);
        }
    }

    #[test]
    fn plain_offsets_agree_with_plain_text(line in hostile()) {
        let (seen, _) = visible(&line);
        let mut plain = Vec::new();
        plain_text(&line, &mut plain);
        for glyph in Glyphs::new(seen) {
            prop_assert!(glyph.plain_at < plain.len());
            if glyph.kind == Kind::Text && glyph.ch.is_ascii_graphic() {
                prop_assert_eq!(plain[glyph.plain_at], glyph.ch as u8);
            }
        }
    }
}
